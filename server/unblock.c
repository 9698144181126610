/* Connections that wait in blocking commands; unblock.h tells. */
#include "server/unblock.h"

#include <math.h>

#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "server/blocked.h"
#include "server/conn.h"
#include "server/forward.h"
#include "server/request.h"
#include "server/shard.h"

enum outcome {
    OUTCOME_NONE,
    OUTCOME_TIMEOUT,
    OUTCOME_ERROR /* CLIENT UNBLOCK id ERROR */
};

/* Of a connection that waits. */
struct unblock {
    struct blocked blocked;
    struct reactor_timer timer;
    struct conn *conn;
    enum outcome outcome;
};

static struct unblock *unblock_of(struct blocked *b)
{
    return container_of(b, struct unblock, blocked);
}

/* --- for handlers --- */

bool unblock_timeout(struct request *rq, uint32_t index, uint64_t *out_ms)
{
    long double seconds;
    const uint64_t now_ms = rq->now_ms;

    if (!num_parse_ldouble(rq->argv[index], &seconds)) {
        reply_err_timeout(rq->out);
        return false;
    }
    const long double ms = ceill(seconds * 1000.0L);
    /* As Redis says it, also of what is too large for 64 bits. */
    if (ms < 0 || ms > (long double)INT64_MAX) {
        reply_err_timeout_neg(rq->out);
        return false;
    }
    if (ms > (long double)((uint64_t)INT64_MAX - now_ms)) {
        reply_error(rq->out, "ERR timeout is out of range");
        return false;
    }
    *out_ms = (uint64_t)ms;
    return true;
}

bool unblock_is_over(const struct conn *c)
{
    return c->block != NULL && c->block->outcome != OUTCOME_NONE;
}

bool unblock_ended(struct request *rq)
{
    if (likely(!unblock_is_over(rq->conn)))
        return false;
    if (rq->conn->block->outcome == OUTCOME_ERROR)
        reply_error(rq->out, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    else
        reply_null_array(rq->out);
    return true;
}

bool unblock_looks_at(const struct request *rq, const struct ks_key *key, uint8_t type)
{
    const struct unblock *u = rq->nested ? NULL : rq->conn->block;

    return likely(u == NULL) ||
           (blocked_looks_at(&u->blocked, key) && ks_type(rq->ks, key, rq->now_ms) == type);
}

/* It gets no key any more: at the end of the turn the command runs, and replies just that. */
static void end(struct unblock *u, enum outcome outcome)
{
    struct conn *c = u->conn;

    u->outcome = outcome;
    reactor_timer_stop(c->sh->reactor, &u->timer);
    blocked_remove(c->sh->blocked, &u->blocked);
    conn_stop_waiting(c);
    shard_retry_next_turn(c->sh, c);
}

static void on_timeout(struct reactor_timer *t)
{
    end(container_of(t, struct unblock, timer), OUTCOME_TIMEOUT);
}

/* The table takes no more. */
static void refuse(struct request *rq)
{
    reply_err_oom(rq->out, "too many keys are waited for");
}

static bool enter(struct request *rq, const struct unblock_wish *wish)
{
    struct conn *c = rq->conn;
    struct unblock *u = mem_zalloc(sizeof(*u));
    const uint32_t n = wish->end - wish->first;
    struct ks_key *keys = mem_zalloc_array(n, sizeof(*keys));

    for (uint32_t i = 0; i < n; i++)
        keys[i] = req_key(rq, wish->first + i);
    const bool ok = blocked_add(rq->sh->blocked, &u->blocked, wish->type, keys, n);
    mem_free(keys);
    if (!ok) {
        mem_free(u);
        return false;
    }
    u->conn = c;
    c->block = u;
    if (wish->wait_ms != 0)
        reactor_timer_start(rq->sh->reactor, &u->timer,
                            reactor_now_ms(rq->sh->reactor) + wish->wait_ms, on_timeout);
    return true;
}

void unblock_wait(struct request *rq, const struct unblock_wish *wish)
{
    struct conn *c = rq->conn;

    if (rq->nested) {
        reply_null_array(rq->out);
        return;
    }
    if (c->block != NULL) {
        blocked_again(rq->sh->blocked, &c->block->blocked);
    } else if (c->is_agent ? forward_abandoned(c) : c->ended) {
        /* Nobody is there who could be told. */
        reply_null_array(rq->out);
        return;
    } else if (!enter(rq, wish)) {
        refuse(rq);
        return;
    } else if (c->is_agent) {
        forward_set_blocked(c, true);
    }
    ks_wait_unpin(&c->wait);
    rq->parked = true;
}

/* --- the end of waiting --- */

void unblock_forget(struct conn *c)
{
    struct unblock *u = c->block;

    if (u == NULL)
        return;
    c->block = NULL;
    reactor_timer_stop(c->sh->reactor, &u->timer);
    blocked_remove(c->sh->blocked, &u->blocked);
    if (c->is_agent)
        forward_set_blocked(c, false);
    mem_free(u);
}

static struct unblock *find(struct shard *sh, uint64_t id)
{
    LIST_FOR_EACH(link, blocked_all(sh->blocked)) {
        struct unblock *u = unblock_of(LIST_ITEM(link, struct blocked, link));
        if (u->conn->id == id)
            return u;
    }
    return NULL;
}

bool unblock_client(struct shard *sh, uint64_t id, bool with_error)
{
    struct unblock *u = find(sh, id);

    if (u == NULL)
        return false;
    end(u, with_error ? OUTCOME_ERROR : OUTCOME_TIMEOUT);
    return true;
}

void unblock_abandon(struct shard *sh, uint64_t id)
{
    struct unblock *u = find(sh, id);

    if (u != NULL && u->conn->is_agent)
        forward_abandon(u->conn);
}

uint32_t unblock_timed_count(const struct shard *sh)
{
    uint32_t count = 0;

    LIST_FOR_EACH(link, blocked_all(sh->blocked))
        count += timer_running(&unblock_of(LIST_ITEM(link, struct blocked, link))->timer);
    return count;
}

size_t unblock_memory_bytes(const struct conn *c)
{
    return c->block == NULL ? 0 : sizeof(*c->block) + blocked_bytes(&c->block->blocked);
}

/* --- serving --- */

static void serve_key(struct shard *sh, const struct blocked_key *ready)
{
    for (;;) {
        const struct ks_key key = blocked_name(ready);
        const uint8_t type = ks_type(sh->ks, &key, shard_now_ms(sh));
        if (type == VT_NONE)
            return;
        struct blocked *b = blocked_try(ready, type);
        if (b == NULL || !conn_try_parked(unblock_of(b)->conn))
            return;
    }
}

void unblock_serve(struct shard *sh)
{
    struct blocked_key *key;

    /* What is served may make other keys ready: the one loop sees to them. */
    if (sh->unblocking)
        return;
    sh->unblocking = true;
    while ((key = blocked_take_ready(sh->blocked)) != NULL) {
        serve_key(sh, key);
        blocked_release(sh->blocked, key);
    }
    sh->unblocking = false;
}
