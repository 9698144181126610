/*
 * Bytes into a link: messages of the handshake first, then frames.
 *
 * A frame that arrived whole is handed out where the reactor has it; one that came in pieces is put
 * together once, by seal_read. What came in the same piece as the frame during which the user
 * paused is kept in `message`, which the handshake no longer needs.
 */
#include <errno.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "replication/link/link_impl.h"

/* ---- the handshake ---- */

static void on_bad_message(struct link *link, int err)
{
    if (err == -ERR_FORMAT)
        link_end(link, err, "it speaks version %u of the link protocol, we speak %u; %s",
                 link->message.ptr[4], SHAKE_VERSION, "upgrade the older of the two");
    else
        link_end(link, -ERR_PROTOCOL,
                 "what answers there does not speak the link protocol; is it the right port?");
}

/* Takes from `*in` what the present message lacks; acts on it when it is whole. */
static void take_message(struct link *link, struct bytes *in)
{
    uint8_t message[SHAKE_BYTES_MAX];
    size_t want;
    int err;

    while ((err = shake_size(buf_bytes(&link->message), &want)) == -ERR_TRUNCATED) {
        const size_t n = size_min(want - link->message.len, in->len);
        if (n == 0)
            return;
        err = buf_append(&link->message, in->ptr, n);
        if (err != 0) {
            link_end(link, err, "no memory for the handshake");
            return;
        }
        *in = bytes_from(*in, n);
    }
    if (err != 0) {
        on_bad_message(link, err);
        return;
    }
    CHECK(want == link->message.len);
    memcpy(message, link->message.ptr, want);
    buf_clear(&link->message);
    if (link->dialer)
        link_dialer_hears(link, bytes_of(message, want));
    else
        link_acceptor_hears(link, bytes_of(message, want));
}

/* ---- frames ---- */

static void on_bye(struct link *link, struct bytes body)
{
    char text[LINK_TEXT_BYTES_MAX + 1];
    const uint8_t code = body.ptr[0];

    link_clean_text(bytes_from(body, 1), text, sizeof(text));
    if (code == SEAL_BYE_REFUSED)
        link_end(link, -ERR_REFUSED, "it refused us: %s", text);
    else if (code == SEAL_BYE_COMPLAINT)
        link_end(link, -ERR_CLOSED, "it ended the link with a complaint: %s", text);
    else
        link_end(link, -ERR_CLOSED, "it closed the link: %s", text);
}

static void on_frame(struct link *link, const struct seal_frame *frame)
{
    const bool ready = link->state == LINK_READY;

    if (frame->kind == SEAL_BYE) {
        on_bye(link, frame->body);
        return;
    }
    /* OPEN is the first of the dialer, and comes nowhere else. */
    if ((frame->kind == SEAL_OPEN) == ready) {
        link_complain(link, -ERR_PROTOCOL, "a frame of kind %u was not to come now", frame->kind);
        return;
    }
    if (!ready) {
        link_become_ready(link);
        return;
    }
    link->figures.frames_in++;
    link->hub->metrics.frames_in++;
    link->ops->on_frame(link, link->ctx, frame->body);
}

static void on_bad_frame(struct link *link, int err)
{
    const unsigned long long number = link->reader.number;

    if (err == -ERR_AUTH) {
        link->hub->metrics.auth_failures++;
        link_complain(link, err,
                      "frame %llu is not what was sent there: changed, repeated or out of order",
                      number);
    } else if (err == -ERR_LIMIT) {
        link_complain(link, err, "frame %llu is longer than the %zu bytes that are allowed", number,
                      link->frame_bytes_max);
    } else if (err == -ENOMEM) {
        link_complain(link, err, "no memory for frame %llu", number);
    } else {
        link_complain(link, err, "frame %llu is not one of this protocol", number);
    }
}

static void take_frame(struct link *link, struct bytes *in)
{
    struct seal_frame frame;
    const int got = seal_read(&link->reader, in, &frame);

    if (got < 0)
        on_bad_frame(link, got);
    else if (got > 0)
        on_frame(link, &frame);
}

/* Acts on the bytes until they end, or the link does, or the user pauses. */
static void take_all(struct link *link, struct bytes *in)
{
    while (in->len > 0) {
        if (link->state == LINK_SHAKING)
            take_message(link, in);
        else if (link->state == LINK_AGREEING || (link->state == LINK_READY && !link->paused))
            take_frame(link, in);
        else
            return;
    }
}

/* Keeps what is left after a pause. */
static void keep_rest(struct link *link, struct bytes rest)
{
    if (rest.len == 0 || link->state != LINK_READY)
        return;
    const int err = buf_append(&link->message, rest.ptr, rest.len);
    if (err != 0)
        link_complain(link, err, "no memory for what arrived in a pause");
}

void link_on_data(struct reactor_sock *s, const uint8_t *ptr, size_t len)
{
    struct link *link = container_of(s, struct link, sock);
    struct bytes in = bytes_of(ptr, len);

    link->figures.heard_at_ms = reactor_now_ms(link->hub->reactor);
    link->figures.bytes_in += len;
    link->hub->metrics.bytes_in += len;
    take_all(link, &in);
    keep_rest(link, in);
}

void link_on_end(struct reactor_sock *s, int err)
{
    struct link *link = container_of(s, struct link, sock);

    link->ended = true;
    if (link->state == LINK_CLOSING && err == 0)
        link_closing_step(link);
    else if (err != 0)
        link_end(link, err, "the connection broke: %s", err_str(err));
    else if (link->state == LINK_READY)
        link_end(link, -ERR_TRUNCATED, "it ended the connection without a goodbye");
    else
        link_end(link, -ERR_TRUNCATED, "it ended the connection during the handshake; %s",
                 link->dialer ? "is it a member, and is that its port?" : "its log may say why");
}

/* ---- pause ---- */

void link_pause(struct link *link)
{
    link->paused = true;
    if (link->state == LINK_READY)
        reactor_sock_pause(&link->sock);
}

void link_resume(struct link *link)
{
    if (!link->paused)
        return;
    link->paused = false;
    if (link->state != LINK_READY)
        return;
    if (link->message.len != 0)
        link_mark_later(link); /* Before what the socket has. */
    else
        reactor_sock_resume(&link->sock);
}

static void take_kept(struct link *link)
{
    size_t len;
    uint8_t *kept = buf_take(&link->message, &len);
    struct bytes in = bytes_of(kept, len);

    take_all(link, &in);
    keep_rest(link, in);
    mem_free(kept);
    if (link->state == LINK_READY && !link->paused)
        reactor_sock_resume(&link->sock);
}

void link_run_later(struct link *link)
{
    if (link->state == LINK_READY && !link->paused && link->message.len != 0)
        take_kept(link);
    if (link->state == LINK_READY && link->starved &&
        link->figures.queued_bytes <= link->queue_bytes_max / 2) {
        link->starved = false;
        if (link->ops->on_room != NULL)
            link->ops->on_room(link, link->ctx);
    }
}
