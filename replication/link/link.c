/*
 * Links: making them, ending them, and what is known of them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "replication/link/link_impl.h"
#include "replication/link/mac.h"

static void on_sock_closed(struct reactor_sock *s);

const struct reactor_sock_ops link_sock_ops = {
    .on_data = link_on_data,
    .on_end = link_on_end,
    .on_sent = link_on_sent,
    .on_closed = on_sock_closed,
    .on_connect = link_on_connect,
};

/* ---- making ---- */

struct link *link_create(struct link_hub *hub, const struct link_options *options,
                         const char *address)
{
    struct link *link = mem_zalloc(sizeof(*link));
    static const struct link_options nobody = {.frame_bytes_max = 1};

    if (options == NULL)
        options = &nobody;
    CHECK(options->frame_bytes_max >= 1);
    CHECK(options->frame_bytes_max <= LINK_FRAME_BYTES_MAX);
    CHECK(options->queue_bytes_max <= SIZE_MAX / 4);
    CHECK(options->identity.len <= LINK_IDENTITY_BYTES_MAX);
    link->hub = hub;
    link->ops = options->ops;
    link->ctx = options->ctx;
    link->kind = options->kind;
    link->shard = options->shard;
    link->frame_bytes_max = options->frame_bytes_max;
    link->queue_bytes_max = options->queue_bytes_max;
    link->identity_len = options->identity.len;
    if (options->identity.len != 0)
        memcpy(link->identity, options->identity.ptr, options->identity.len);
    (void)snprintf(link->address, sizeof(link->address), "%s", address); /* Cut is fine. */
    const size_t queue_limit = options->queue_bytes_max +
                               seal_frame_bytes(options->frame_bytes_max) +
                               seal_frame_bytes(SEAL_BYE_BYTES_MAX) + 4 * SHAKE_BYTES_MAX;
    buf_init(&link->queue, queue_limit);
    buf_init(&link->flight, queue_limit);
    buf_init(&link->message, (size_t)2 * REACTOR_DATA_BYTES_MAX);
    link->shake = mem_alloc(sizeof(*link->shake));
    shake_init(link->shake, hub->secret);
    list_push_back(&hub->links, &link->in_links);
    hub->metrics.open++;
    return link;
}

static void free_shake(struct link *link)
{
    if (link->shake == NULL)
        return;
    shake_deinit(link->shake);
    mem_free(link->shake);
    link->shake = NULL;
}

void link_use_keys(struct link *link)
{
    link->writer.mac = shake_frame_key(link->shake, link->dialer);
    seal_reader_init(&link->reader, shake_frame_key(link->shake, !link->dialer),
                     link->frame_bytes_max);
    free_shake(link);
}

void link_become_ready(struct link *link)
{
    struct link_hub *hub = link->hub;

    CHECK(link->shake == NULL);
    link->state = LINK_READY;
    reactor_timer_stop(hub->reactor, &link->timer);
    link->figures.ready_at_ms = reactor_now_ms(hub->reactor);
    hub->metrics.ready++;
    if (link->paused)
        reactor_sock_pause(&link->sock);
    link->ops->on_ready(link, link->ctx);
}

/* ---- ending ---- */

void link_clean_text(struct bytes text, char *out, size_t out_len)
{
    const size_t n = size_min(text.len, out_len - 1);

    if (n != 0)
        memcpy(out, text.ptr, n);
    for (size_t i = 0; i < n; i++) {
        if (text.ptr[i] < ' ' || text.ptr[i] > '~')
            out[i] = '?';
    }
    out[n] = '\0';
}

static PRINTF_LIKE(3, 0) void set_outcome(struct link *link, int err, const char *format,
                                          va_list args)
{
    if (link->err != 0)
        return;
    CHECK(err < 0);
    link->err = err;
    const int n = snprintf(link->why, sizeof(link->why), "peer %s: ", link->address);
    CHECK(n > 0);
    CHECK((size_t)n < sizeof(link->why));
    /* Cut is fine. */
    (void)vsnprintf(link->why + n, sizeof(link->why) - (size_t)n, format, args);
}

static void on_timer(struct reactor_timer *t);

/* Nothing goes in or out any more; the rest comes from the loop. */
static void stop(struct link *link)
{
    struct reactor *reactor = link->hub->reactor;

    if (link->state == LINK_ENDED)
        return;
    link->state = LINK_ENDED;
    link_forget_lookup(link);
    link_no_longer_unproven(link);
    if (list_linked(&link->in_dirty))
        list_remove(&link->in_dirty);
    if (list_linked(&link->in_later))
        list_remove(&link->in_later);
    link_forget_queue(link);
    if (link->sock_open) {
        reactor_timer_stop(reactor, &link->timer);
        reactor_sock_close(&link->sock);
    } else {
        reactor_timer_start(reactor, &link->timer, reactor_now_ms(reactor), on_timer);
    }
}

void link_end(struct link *link, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_outcome(link, err, format, args);
    va_end(args);
    stop(link);
}

/* Only our queue is left to be sent. */
static void stop_after_queue(struct link *link)
{
    struct link_hub *hub = link->hub;

    if (link->state >= LINK_CLOSING)
        return;
    CHECK(link->sock_open);
    link->state = LINK_CLOSING;
    buf_deinit(&link->message);
    reactor_timer_start(hub->reactor, &link->timer, reactor_now_ms(hub->reactor) + hub->close_ms,
                        on_timer);
    /* Else the end of the peer would not be seen. */
    reactor_sock_resume(&link->sock);
    link_pump(link);
}

void link_end_after_queue(struct link *link, int err, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    set_outcome(link, err, format, args);
    va_end(args);
    stop_after_queue(link);
}

/* Our last frame, after which nothing but the end can come; without memory for it, without. */
static void put_bye(struct link *link, enum seal_bye code, const char *text)
{
    const uint8_t byte = (uint8_t)code;
    struct bytes rest = bytes_cstr(text);

    rest.len = size_min(rest.len, LINK_TEXT_BYTES_MAX);
    IGNORE_RESULT(link_put_frame(link, SEAL_BYE, bytes_of(&byte, 1), rest));
}

void link_complain(struct link *link, int err, const char *format, ...)
{
    char text[LINK_TEXT_BYTES_MAX + 1];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args); /* Cut is fine. */
    va_end(args);
    if (link->state == LINK_AGREEING || link->state == LINK_READY)
        put_bye(link, SEAL_BYE_COMPLAINT, text);
    link_end_after_queue(link, err, "%s", text);
}

void link_refuse_peer(struct link *link, const char *text)
{
    link->hub->metrics.refused++;
    put_bye(link, SEAL_BYE_REFUSED, text);
    link_end_after_queue(link, -ERR_REFUSED, "refused here: %s", text);
}

void link_closing_step(struct link *link)
{
    if (link->state != LINK_CLOSING || link->queue.len != 0 || link->sent != link->flight.len ||
        reactor_sock_sending(&link->sock))
        return;
    if (link->ended) {
        stop(link);
        return;
    }
    if (link->shut)
        return;
    link->shut = true;
    if (shutdown(link->sock.fd, SHUT_WR) != 0)
        stop(link);
}

static void on_timer(struct reactor_timer *t)
{
    struct link *link = container_of(t, struct link, timer);

    switch (link->state) {
    case LINK_DIALING:
        link_dial_timeout(link);
        return;
    case LINK_SHAKING:
    case LINK_AGREEING:
        link_end(link, -ETIMEDOUT, "it did not complete the handshake within %u ms",
                 link->hub->handshake_ms);
        return;
    case LINK_CLOSING:
        stop(link);
        return;
    case LINK_ENDED:
        link_finish(link);
        return;
    case LINK_READY:
        break;
    }
    CHECK(false); /* No timer runs then. */
}

void link_start_timer(struct link *link, uint64_t at_ms)
{
    reactor_timer_start(link->hub->reactor, &link->timer, at_ms, on_timer);
}

static void on_sock_closed(struct reactor_sock *s)
{
    struct link *link = container_of(s, struct link, sock);

    link->sock_open = false;
    if (link->state == LINK_DIALING)
        link_dial_next(link);
    else
        link_finish(link);
}

void link_finish(struct link *link)
{
    struct link_hub *hub = link->hub;

    CHECK(link->state == LINK_ENDED);
    CHECK(!link->sock_open);
    if (link->ops != NULL)
        link->ops->on_closed(link, link->ctx, link->err, link->why);
    CHECK(link->lookup == NULL);
    CHECK(!timer_running(&link->timer));
    list_remove(&link->in_links);
    hub->metrics.open--;
    free_shake(link);
    mac_destroy(link->writer.mac);
    if (link->reader.mac != NULL)
        seal_reader_deinit(&link->reader);
    buf_deinit(&link->message);
    buf_deinit(&link->queue);
    buf_deinit(&link->flight);
    mem_free(link->refusal);
    mem_free(link);
}

void link_close(struct link *link, const char *text)
{
    if (link->state >= LINK_CLOSING)
        return;
    const char *said = text != NULL ? text : "no reason given";
    if (link->state < LINK_AGREEING) {
        link_end(link, -ERR_CANCELLED, "closed here: %s", said);
        return;
    }
    if (text != NULL)
        put_bye(link, SEAL_BYE_GOODBYE, text);
    link_end_after_queue(link, -ERR_CANCELLED, "closed here: %s", said);
}

void link_drop(struct link *link)
{
    link->ops = NULL;
    link_close(link, NULL);
}

/* ---- what is known ---- */

bool link_is_ready(const struct link *link)
{
    return link->state == LINK_READY;
}

bool link_is_dialer(const struct link *link)
{
    return link->dialer;
}

struct bytes link_peer_identity(const struct link *link)
{
    const bool known = link->dialer || link->proven;

    return bytes_of(link->peer_identity, known ? link->peer_identity_len : 0);
}

const char *link_peer_address(const struct link *link)
{
    return link->address;
}

void link_figures(const struct link *link, struct link_figures *out)
{
    *out = link->figures;
}
