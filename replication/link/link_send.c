/*
 * Bytes out of a link.
 *
 * What is queued in a turn stands in one buffer, `queue`; the end of the turn makes it `flight`,
 * seals it piece by piece and sends it, while the next turns fill the other buffer. So many small
 * frames are one send, and a long one is neither hashed nor handed over at once.
 */
#include <errno.h>

#include "engine/base/check.h"
#include "engine/base/err.h"

#include "replication/link/link_impl.h"

static void count_queued(struct link *link, size_t n)
{
    link->figures.queued_bytes += n;
    link->hub->metrics.queued_bytes += n;
}

static void count_unqueued(struct link *link, size_t n)
{
    CHECK(n <= link->figures.queued_bytes);
    link->figures.queued_bytes -= n;
    link->hub->metrics.queued_bytes -= n;
}

void link_say(struct link *link, const uint8_t *message, size_t len)
{
    CHECK(link->queue.len == link->queue_plain); /* No frame before the end of the handshake. */
    if (buf_append(&link->queue, message, len) != 0) {
        link_end(link, -ENOMEM, "no memory for the handshake");
        return;
    }
    link->queue_plain += len;
    count_queued(link, len);
    link_pump(link);
}

int link_put_frame(struct link *link, enum seal_kind kind, struct bytes a, struct bytes b)
{
    const int err = seal_put(&link->queue, kind, a, b);

    if (err != 0)
        return err;
    count_queued(link, seal_frame_bytes(a.len + b.len));
    return 0;
}

static bool has_room(const struct link *link, size_t frame_bytes)
{
    const size_t queued = (size_t)link->figures.queued_bytes;

    return queued == 0 ||
           (queued <= link->queue_bytes_max && frame_bytes <= link->queue_bytes_max - queued);
}

int link_send(struct link *link, struct bytes frame)
{
    if (link->state != LINK_READY)
        return -ERR_CLOSED;
    CHECK(frame.len <= link->frame_bytes_max);
    if (!has_room(link, seal_frame_bytes(frame.len))) {
        link->starved = true;
        return -ERR_LIMIT;
    }
    const int err = link_put_frame(link, SEAL_DATA, frame, bytes_of(NULL, 0));
    if (err != 0)
        return err;
    link->figures.frames_out++;
    link->hub->metrics.frames_out++;
    link_mark_dirty(link);
    return 0;
}

void link_flush(struct link *link)
{
    link_pump(link);
}

size_t link_queued_bytes(const struct link *link)
{
    return (size_t)link->figures.queued_bytes;
}

void link_forget_queue(struct link *link)
{
    count_unqueued(link, (size_t)link->figures.queued_bytes);
}

/* flight[sent .. sealed) is in the kernel's hands. */
static void on_taken(struct link *link)
{
    const size_t n = link->sealed - link->sent;

    link->sent = link->sealed;
    link->figures.bytes_out += n;
    link->hub->metrics.bytes_out += n;
    count_unqueued(link, n);
}

/* `flight` is empty: false if there is nothing else. */
static bool next_flight(struct link *link)
{
    buf_clear(&link->flight);
    buf_shrink(&link->flight, LINK_SEND_BYTES_KEPT);
    link->sent = 0;
    link->sealed = 0;
    if (link->queue.len == 0)
        return false;
    const struct buf empty = link->flight;
    link->flight = link->queue;
    link->queue = empty;
    link->sealed = link->queue_plain;
    link->queue_plain = 0;
    return true;
}

/* One send. Returns what reactor_sock_send does. */
static int send_some(struct link *link)
{
    struct buf *flight = &link->flight;

    if (link->sealed < flight->len)
        link->sealed =
            seal_write(&link->writer, flight->ptr, link->sealed, flight->len, LINK_SEND_BYTES_MAX);
    link->iov = (struct iovec){
        .iov_base = flight->ptr + link->sent,
        .iov_len = link->sealed - link->sent,
    };
    link->hub->metrics.sends++;
    return reactor_sock_send(&link->sock, &link->iov, 1);
}

void link_pump(struct link *link)
{
    size_t budget = LINK_TURN_BYTES_MAX;

    if (link->state == LINK_DIALING || link->state == LINK_ENDED)
        return;
    while (!reactor_sock_sending(&link->sock)) {
        if (link->sent == link->flight.len && !next_flight(link))
            break;
        if (budget == 0) {
            link_mark_dirty(link);
            return;
        }
        const int res = send_some(link);
        if (res < 0) {
            link_end(link, res, "sending failed: %s", err_str(res));
            return;
        }
        if (res == 0)
            break;
        budget -= size_min(budget, link->sealed - link->sent);
        on_taken(link);
    }
    if (link->starved && link->figures.queued_bytes <= link->queue_bytes_max / 2)
        link_mark_later(link);
    link_closing_step(link);
}

void link_on_sent(struct reactor_sock *s, int err)
{
    struct link *link = container_of(s, struct link, sock);

    if (err != 0) {
        link_end(link, err, "sending failed: %s", err_str(err));
        return;
    }
    on_taken(link);
    link_pump(link);
}
