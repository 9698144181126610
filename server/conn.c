/* One client connection; conn.h tells how it works. */
#include "server/conn.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "server/acl.h"
#include "server/acl_file.h"
#include "server/client_room.h"
#include "server/dispatch.h"
#include "server/figures.h"
#include "server/forward.h"
#include "server/migrate.h"
#include "server/monitor.h"
#include "server/pubsub.h"
#include "server/shard.h"
#include "server/stream.h"
#include "server/tracking.h"
#include "server/txn.h"
#include "server/unblock.h"

/*
 * A buffer above this is given back when it is empty, and so is one above a quarter of what may
 * wait, if memory is so short that this is less. Bytes.
 */
#define BUF_KEEP_BYTES (64u << 10)
/* Commands looked at behind a parked one. */
#define LOOKAHEAD_COMMANDS 64
/* Commands of one connection in one go; the rest goes on in the next turn. */
#define RUN_COMMANDS_MAX 4096

static struct conn *conn_of(struct reactor_sock *s)
{
    return container_of(s, struct conn, sock);
}

static size_t keep_bytes(const struct conn *c)
{
    return size_min(BUF_KEEP_BYTES, c->sh->input_bytes_max / 4);
}

void conn_touch(struct conn *c)
{
    if (!list_linked(&c->turn_link))
        list_push_back(&c->sh->turn_conns, &c->turn_link);
}

/* It takes more or less room than before. */
static void count_room(struct conn *c)
{
    if (unlikely(c->sh->room.limit != 0))
        client_room_count(c);
}

/* --- input --- */

/* Appends what was not consumed; false if the client sent more than it may. */
static bool in_keep(struct conn *c, struct bytes rest)
{
    if (bytes_empty(rest))
        return true;
    /* A long argument under way gets no more room than it needs. */
    const size_t whole = c->parser.in_bulk ? resp_wanted(&c->parser) : SIZE_MAX;
    if (buf_reserve_of(&c->in, rest.len, whole) == 0 && buf_append_bytes(&c->in, rest) == 0)
        return true;
    LOG_NOTICE("server", "client closed: query buffer limit reached id=%llu",
               (unsigned long long)c->id);
    conn_close(c);
    return false;
}

/*
 * Starts the reads of the commands that follow a parked one, of `first` bytes at the start of `in`.
 * Each is looked at once, however often the parked one is tried.
 */
static void look_ahead(struct conn *c, struct bytes in, size_t first)
{
    struct resp_parser parser;
    struct resp_cmd *cmd = &c->sh->ahead_cmd;
    const struct resp_limits limits = shard_resp_limits(c->sh, c);

    c->ahead_bytes = size_max(c->ahead_bytes, first);
    resp_parser_init(&parser);
    while (c->ahead_count < LOOKAHEAD_COMMANDS && ks_may_read_ahead(c->sh->ks)) {
        if (resp_parse(&parser, &limits, bytes_from(in, c->ahead_bytes), cmd) != RESP_READY)
            return;
        dispatch_prefetch(c, cmd);
        c->ahead_bytes += cmd->consumed;
        c->ahead_count++;
    }
}

/* A command is done with: the next is the first of the input. */
static void ahead_consume(struct conn *c, size_t len)
{
    c->ahead_bytes -= size_min(c->ahead_bytes, len);
    c->ahead_count -= c->ahead_count != 0;
}

/* The commands of one input while they run. */
struct run {
    struct bytes rest; /* What was not consumed yet. */
    uint32_t count;    /* Commands so far. */
    uint64_t began_ns; /* shard_go_begin */
};

/* True while the connection may run another command. */
static bool may_run(const struct conn *c)
{
    return !c->closing && !c->closed && !c->parked;
}

/* Runs the command at the start of the input, or parks it. */
static void run_command(struct conn *c, struct run *r, const struct resp_cmd *cmd,
                        const struct dispatch_plan *plan)
{
    c->now = cmd;
    const bool parked = dispatch(c, cmd, plan) == DISPATCH_PARKED;
    c->now = NULL;
    if (unlikely(parked)) {
        c->parked = true;
        c->parked_bytes = cmd->consumed;
        /* What waits for room would only have less of it. */
        if (c->wait.pending != 0)
            look_ahead(c, r->rest, cmd->consumed);
        return;
    }
    if (unlikely(c->ahead_bytes != 0))
        ahead_consume(c, cmd->consumed);
    r->rest = bytes_from(r->rest, cmd->consumed);
    r->count++;
    if (unlikely(r->count == RUN_COMMANDS_MAX || shard_go_is_long(c->sh, r->began_ns))) {
        c->parked = true;
        c->parked_bytes = 0;
        shard_retry_next_turn(c->sh, c);
    }
}

/* Runs the commands that are all there and simple to parse; false if the first is not. */
static bool run_window(struct conn *c, struct run *r)
{
    struct window *w = &c->sh->window;
    const struct resp_limits limits = shard_resp_limits(c->sh, c);
    const struct window_next *next = window_take(w, c, r->rest);

    if (next != NULL) {
        run_command(c, r, &next->cmd, &next->plan);
        return true;
    }
    if (unlikely(w->busy))
        return false;
    const uint32_t count = window_fill(c->sh, &c->parser, &limits, r->rest);
    w->busy = true;
    for (uint32_t i = 0; i < count && may_run(c); i++)
        run_command(c, r, &w->cmds[i], &w->plans[i]);
    w->busy = false;
    return count != 0;
}

/* Runs one command, which may be incomplete or wrong; false if there is none more to run. */
static bool run_parsed(struct conn *c, struct run *r)
{
    const struct resp_limits limits = shard_resp_limits(c->sh, c);
    struct dispatch_plan plan;

    switch (resp_parse(&c->parser, &limits, r->rest, &c->cmd)) {
    case RESP_READY:
        dispatch_plan(c->sh, &c->cmd, &plan);
        run_command(c, r, &c->cmd, &plan);
        resp_cmd_ran(&c->cmd);
        return true;
    case RESP_MORE:
        r->rest = bytes_from(r->rest, c->cmd.consumed);
        return false;
    case RESP_ERROR:
        reply_error(&c->out, "ERR %s", c->cmd.error);
        break;
    case RESP_HTTP:
        LOG_WARN("server", "possible attack: HTTP on the Redis port addr=%s", c->addr);
        break;
    }
    conn_close_after_reply(c);
    r->rest.len = 0;
    return false;
}

/*
 * Runs the commands of `in`. Returns how many bytes were consumed; the rest is an incomplete
 * command, or one that waits and what follows it.
 */
static size_t conn_run(struct conn *c, struct bytes in)
{
    struct run r = {.rest = in, .began_ns = shard_go_begin(c->sh)};

    c->running = true;
    while (may_run(c) && !bytes_empty(r.rest)) {
        if (!run_window(c, &r) && !run_parsed(c, &r))
            break;
    }
    const size_t done = in.len - r.rest.len;
    c->running = false;
    if (unlikely(c->fw != NULL))
        forward_keep(c);
    if (c->out.failed)
        conn_close(c);
    else if (c->out.out.len != 0 || c->closing)
        conn_touch(c);
    return done;
}

static void pause_if_full(struct conn *c)
{
    if (!c->paused && c->parked && c->in.len >= c->sh->input_bytes_max) {
        c->paused = true;
        reactor_sock_pause(&c->sock);
    }
}

static void run_kept_input(struct conn *c)
{
    const size_t done = conn_run(c, buf_bytes(&c->in));
    if (c->closed)
        return;
    buf_consume(&c->in, done);
    if (c->in.cap > keep_bytes(c) && c->in.len < c->in.cap / 4)
        buf_shrink(&c->in, 0);
    /* What nothing waits for is the start of a command: its rest must come, however long it is. */
    if (c->paused && (!c->parked || c->in.len < c->sh->input_bytes_max / 2)) {
        c->paused = false;
        reactor_sock_resume(&c->sock);
    }
}

static void on_data(struct reactor_sock *s, const uint8_t *ptr, size_t len)
{
    struct conn *c = conn_of(s);

    c->active_ms = reactor_wall_ms(c->sh->reactor);
    c->bytes_in += len;
    c->sh->stats.net_in_bytes += len;
    c->sh->stats.reads++;
    if (c->closing)
        return;
    if (c->in.len == 0 && !c->parked) {
        const size_t done = conn_run(c, bytes_of(ptr, len));
        if (!c->closed && !c->closing)
            (void)in_keep(c, bytes_of(ptr + done, len - done));
    } else if (in_keep(c, bytes_of(ptr, len)) && !c->parked) {
        run_kept_input(c);
    }
    if (!c->closed)
        pause_if_full(c);
    if (unlikely(c->sh->room.limit != 0)) {
        /* At once: the next connection of this turn may ask who is there. */
        client_room_count(c);
        client_room_keep(c->sh);
    }
}

void conn_resume(struct conn *c)
{
    if (unlikely(c->is_agent)) {
        forward_resume(c);
        return;
    }
    if (c->closed || !c->parked)
        return;
    c->parked = false;
    /* Called from within its own command: the loop in conn_run goes on by itself. */
    CHECK(!c->running);
    run_kept_input(c);
    if (!c->closed && c->ended && !c->parked)
        conn_close_after_reply(c);
}

bool conn_try_parked(struct conn *c)
{
    struct resp_limits limits = shard_resp_limits(c->sh, c);
    struct dispatch_plan plan;

    /* It was taken in by the limits of that time. */
    limits.unauthenticated = false;

    if (unlikely(c->is_agent))
        return forward_try_parked(c);
    CHECK(c->parked && !c->running && !c->closed);
    /* It was whole when it was parked. */
    CHECK(resp_parse(&c->parser, &limits, buf_bytes(&c->in), &c->cmd) == RESP_READY);
    dispatch_plan(c->sh, &c->cmd, &plan);
    c->now = &c->cmd;
    const bool parked = dispatch(c, &c->cmd, &plan) == DISPATCH_PARKED;
    c->now = NULL;
    if (parked)
        return false;
    resp_cmd_ran(&c->cmd);
    ahead_consume(c, c->parked_bytes);
    buf_consume(&c->in, c->parked_bytes);
    c->parked_bytes = 0; /* What is behind it waits for the next turn. */
    if (unlikely(c->fw != NULL))
        forward_keep(c);
    if (c->out.failed) {
        conn_close(c);
        return true;
    }
    conn_touch(c);
    shard_retry_next_turn(c->sh, c);
    return true;
}

void conn_stop_waiting(struct conn *c)
{
    ks_wait_cancel(&c->wait);
    reactor_timer_stop(c->sh->reactor, &c->retry);
    c->postponed = false;
}

static void on_end(struct reactor_sock *s, int err)
{
    struct conn *c = conn_of(s);

    c->ended = true;
    /*
     * After a half-close the commands that are here still get their replies; but a client that
     * waits for a key is taken to be gone, as by Redis, and gets none.
     */
    if (err != 0 || c->block != NULL || forward_waits(c))
        conn_close(c);
    else if (!c->parked)
        conn_close_after_reply(c);
    if (!c->closed && c->fw != NULL)
        forward_ended(c);
}

void conn_look_for_end(struct conn *c)
{
    if (unlikely(c->paused) && (c->block != NULL || forward_waits(c)) &&
        reactor_sock_hung_up(&c->sock))
        conn_close(c);
}

/* --- output --- */

/* Sends the first `len` bytes of the replies. */
static void send_part(struct conn *c, size_t len)
{
    if (len == c->out.out.len) {
        const struct buf empty = c->sending;
        c->sending = c->out.out;
        c->out.out = empty;
        c->out.out.limit = c->sending.limit;
        buf_clear(&c->out.out);
    } else {
        buf_clear(&c->sending);
        if (buf_append(&c->sending, c->out.out.ptr, len) != 0) {
            conn_close(c);
            return;
        }
        buf_consume(&c->out.out, len);
    }
    if (unlikely(c->fw != NULL))
        forward_sent(c, len);
    c->bytes_out += len;
    c->sh->stats.net_out_bytes += len;
    c->sh->stats.writes++;
    c->iov = (struct iovec){.iov_base = c->sending.ptr, .iov_len = c->sending.len};
    const int r = reactor_sock_send(&c->sock, &c->iov, 1);
    if (r < 0) {
        conn_close(c);
    } else if (r == 1) {
        if (c->sending.cap > keep_bytes(c))
            buf_deinit(&c->sending);
        else
            buf_clear(&c->sending);
        if (unlikely(c->stream != NULL))
            stream_sent(c);
    }
}

/* Notes that what was collected since the last mark waits for `lsn`. */
static void hold(struct conn *c, uint64_t lsn)
{
    const size_t end = c->out.out.len;
    const size_t held = c->marks_count == 0 ? 0 : c->marks[c->marks_count - 1].end;
    if (end == held)
        return;
    if (c->marks_count == CONN_MARKS_MAX)
        c->marks_count--;
    c->marks[c->marks_count++] = (struct conn_mark){.lsn = lsn, .end = end};
}

/* How many bytes of the replies may leave; forgets the marks that are passed. */
static size_t release(struct conn *c, uint64_t safe_lsn)
{
    uint32_t passed = 0;
    size_t len = 0;

    while (passed < c->marks_count && c->marks[passed].lsn <= safe_lsn)
        len = c->marks[passed++].end;
    c->marks_count -= passed;
    memmove(c->marks, c->marks + passed, c->marks_count * sizeof(c->marks[0]));
    for (uint32_t i = 0; i < c->marks_count; i++)
        c->marks[i].end -= len;
    return len;
}

static void close_if_done(struct conn *c)
{
    if (!c->closed && c->closing && c->out.out.len == 0 && !reactor_sock_sending(&c->sock) &&
        !forward_pending(c))
        conn_close(c);
}

void conn_give_up(struct conn *c)
{
    if (c->closed || (c->out.out.len == 0 && !forward_pending(c)))
        return;
    if (c->fw != NULL) {
        /* Replies of other shards are to come in between. */
        conn_close(c);
        return;
    }
    c->marks_count = 0;
    buf_clear(&c->out.out);
    reply_error(&c->out, "MISCONF the op log failed: whether the writes that have no reply yet are "
                         "durable is unknown");
    c->closing = true;
    conn_touch(c);
}

void conn_release(struct conn *c, uint64_t safe_lsn)
{
    if (c->closed)
        return;
    if (!reactor_sock_sending(&c->sock)) {
        const size_t len = release(c, safe_lsn);
        if (len != 0)
            send_part(c, len);
    }
    if (!c->closed && c->marks_count != 0 && !list_linked(&c->held_link))
        list_push_back(&c->sh->held_conns, &c->held_link);
    count_room(c);
    close_if_done(c);
}

void conn_flush(struct conn *c, uint64_t hold_lsn, uint64_t safe_lsn)
{
    if (c->closed)
        return;
    if (unlikely(c->out.failed)) {
        conn_close(c);
        return;
    }
    if (hold_lsn > safe_lsn || c->marks_count != 0) {
        hold(c, hold_lsn);
        conn_release(c, safe_lsn);
        return;
    }
    if (c->out.out.len != 0 && !reactor_sock_sending(&c->sock))
        send_part(c, c->out.out.len);
    count_room(c);
    close_if_done(c);
}

static void on_sent(struct reactor_sock *s, int err)
{
    struct conn *c = conn_of(s);

    if (err != 0) {
        conn_close(c);
        return;
    }
    if (c->sending.cap > keep_bytes(c))
        buf_deinit(&c->sending);
    else
        buf_clear(&c->sending);
    if (c->out.out.len != 0 || c->closing)
        conn_touch(c);
    if (unlikely(c->stream != NULL))
        stream_sent(c);
    count_room(c);
}

bool conn_has_unsent(const struct conn *c)
{
    return c->out.out.len != 0 && !c->out.failed && !reactor_sock_sending(&c->sock) &&
           c->parked_bytes == 0 && c->block == NULL && c->stream == NULL && !forward_pending(c);
}

void conn_follow_limits(struct conn *c)
{
    /* What is there already, before RESET, may leave. The two buffers change places. */
    const size_t waiting = c->out.out.len + c->sending.len;
    /* Of one that is closed the last reply may be of any length. */
    const bool stranger = (c->gate & ACL_GATE_AUTH) != 0 && !c->doomed;
    /* The limits of listeners are looked at for each message. */
    const size_t all = pubsub_listens(c) ? UINT32_MAX : shard_output_bytes_max(c->sh);

    c->out.out.limit = stranger ? waiting + CONN_STRANGER_OUTPUT_BYTES_MAX : size_max(all, waiting);
    c->sending.limit = c->out.out.limit;
    c->in.limit = size_max(shard_query_bytes_max(c->sh), c->in.len);
}

/* --- life --- */

void conn_free(struct conn *c)
{
    if (c->fw != NULL)
        forward_free(c);
    buf_deinit(&c->in);
    buf_deinit(&c->sending);
    buf_deinit(&c->walk.names);
    reply_deinit(&c->out);
    resp_cmd_deinit(&c->cmd);
    mem_free(c->name);
    acl_forget(c);
    shard_conn_gone(c->sh, c);
    mem_free(c);
}

static void on_closed(struct reactor_sock *s)
{
    struct conn *c = conn_of(s);

    if (c->fw == NULL || !forward_orphan(c))
        conn_free(c);
}

static const struct reactor_sock_ops conn_ops = {
    .on_data = on_data, .on_end = on_end, .on_sent = on_sent, .on_closed = on_closed};

struct conn *conn_of_sock(struct reactor_sock *s)
{
    return s->ops == &conn_ops ? conn_of(s) : NULL;
}

bool conn_idle(const struct conn *c)
{
    return may_run(c) && c->in.len == 0;
}

static void unlink_if(struct list_link *link)
{
    if (list_linked(link))
        list_remove(link);
}

void conn_close(struct conn *c)
{
    if (c->closed)
        return;
    c->closed = true;
    c->closing = true;
    conn_stop_waiting(c);
    acl_file_drop(c);
    migrate_drop(c);
    stream_drop(c);
    if (c->sh->flush_conn == c)
        shard_flush_cancel(c->sh);
    unblock_forget(c);
    monitor_leave(c);
    tracking_leave(c);
    pubsub_leave(c);
    if (c->fw != NULL)
        forward_close(c);
    txn_destroy(c);
    figures_drop(c);
    client_room_forget(c);
    unlink_if(&c->turn_link);
    unlink_if(&c->held_link);
    unlink_if(&c->retry_link);
    unlink_if(&c->link);
    reactor_sock_close(&c->sock);
}

void conn_close_after_reply(struct conn *c)
{
    c->closing = true;
    conn_touch(c);
}

static void address_text(const struct conn *c, bool peer, char out[64])
{
    struct sockaddr_storage addr;

    if (c->local || reactor_sock_addr(&c->sock, peer, &addr) != 0) {
        (void)snprintf(out, 64, "%s:0", c->local ? shard_unixsocket(c->sh) : "?");
        return;
    }
    shard_format_addr(&addr, out, 64);
}

struct conn *conn_open(struct shard *sh, int fd, bool local)
{
    struct conn *c = mem_zalloc(sizeof(*c));

    c->sh = sh;
    c->local = local;
    buf_init(&c->in, shard_query_bytes_max(sh));
    reply_init(&c->out, shard_output_bytes_max(sh), &sh->reply_env);
    c->out.proto = 2;
    buf_init(&c->sending, shard_output_bytes_max(sh));
    buf_init(&c->walk.names, shard_output_bytes_max(sh));
    acl_greet(c);
    if (reactor_sock_open(sh->reactor, &c->sock, fd, &conn_ops) != 0) {
        (void)close(fd);
        buf_deinit(&c->in);
        reply_deinit(&c->out);
        acl_forget(c);
        mem_free(c);
        return NULL;
    }
    c->created_ms = c->active_ms = reactor_wall_ms(sh->reactor);
    address_text(c, true, c->addr);
    address_text(c, false, c->laddr);
    list_push_back(&sh->conns, &c->link);
    return c;
}

size_t conn_memory_bytes(const struct conn *c)
{
    return sizeof(*c) + c->in.cap + c->out.out.cap + c->sending.cap +
           c->cmd.argv_cap * sizeof(*c->cmd.argv) + forward_memory_bytes(c) + txn_memory_bytes(c) +
           unblock_memory_bytes(c) + migrate_memory_bytes(c) + pubsub_memory_bytes(c) +
           tracking_memory_bytes(c);
}

size_t conn_room_bytes(const struct conn *c)
{
    const size_t wanted = c->parser.in_bulk ? resp_wanted(&c->parser) : 0;

    return conn_memory_bytes(c) + wanted - size_min(wanted, c->in.cap);
}
