/*
 * Replies of large collections that are in DRAM, sent in slices: HGETALL, HKEYS, HVALS, SMEMBERS,
 * LRANGE, ZRANGE and relatives.
 *
 * The handler begins a walk (engine/space/collwalk.h) instead of writing its reply, and some of the
 * reply is written in each turn, while no more waits to be sent than OUT_BYTES_MAX. The reply is
 * what the collection was when the command ran: a write of the key waits until the walk is over.
 * That it is soon, however slow the client is: the walk is hurried then, it goes on turn by turn
 * and what it shows waits to be sent. So it is where a client takes nothing for STREAM_STALL_MS,
 * and before FLUSHALL. Deletion by expiry or eviction does not wait.
 *
 * No new walk of a collection begins while one is hurried, and for WANTED_MS after the last time
 * that a write had to wait: or readers, one behind the other, would hold writers back for ever.
 */
#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/space/collwalk.h"

#include "server/conn.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/stream_impl.h"
#include "server/tracking.h"
#include "server/zset.h"

/* Of all walks together in one turn: a quarter of a millisecond. */
#define SLICE_ELEMS 2048
/* But each does so many at least, */
#define SLICE_ELEMS_MIN 128
/* and no more bytes than that. */
#define SLICE_BYTES (64u << 10)
/* Two tries of a write that is held back lie less apart. */
#define WANTED_MS      5
#define WANTED_LOOK_MS 2

static bool may_walk(const struct request *rq, const struct coll *coll)
{
    const struct conn *c = rq->conn;

    return !rq->nested && coll->complete && !coll->grouped && !c->is_agent && c->fw == NULL &&
           c->sh->group == NULL && c->reply_mode == CONN_REPLY_ON && !c->sh->flushing &&
           !c->sh->stopping;
}

static bool is_wanted(const struct coll *coll, uint64_t now_ms)
{
    return coll->wanted_ms != 0 && (uint32_t)now_ms - coll->wanted_ms < WANTED_MS;
}

bool stream_walk_begin(struct request *rq, struct coll *coll, const struct stream_walk_range *range)
{
    struct conn *c = rq->conn;
    struct shard *sh = rq->sh;

    if (!may_walk(rq, coll))
        return false;
    rq->parked = true;
    if (is_wanted(coll, reactor_now_ms(sh->reactor))) {
        rq->stats->keyspace_hits--; /* It is looked up again. */
        shard_retry_after(sh, c, WANTED_LOOK_MS);
        return true;
    }
    struct stream *st = mem_zalloc(sizeof(*st) + sizeof(struct stream_key));
    st->conn = c;
    st->seq = ++sh->streams_seq;
    st->keys_count = 1;
    st->keys[0] = (struct stream_key){.hash = coll->hash, .slot = coll->slot, .there = true};
    st->left = range->n;
    st->scores = range->scores;
    st->stage = STAGE_WALKING;
    coll_walk_begin(rq->ks, coll, range->skip, range->back, &st->walk);
    c->stream = st;
    list_push_back(&sh->streams, &st->link);
    sh->streams_shut++;
    if (unlikely(c->tracks))
        tracking_remember(sh, c, rq->cmd, rq->argc, rq->argv);
    stream_reply_head(c, rq->cmd);
    shard_retry_next_turn(sh, c);
    return true;
}

bool stream_walks(const struct stream *st)
{
    return st->stage == STAGE_WALKING;
}

void stream_walk_hurry(struct stream *st)
{
    struct conn *c = st->conn;

    st->hurried = true;
    st->full = false;
    shard_retry_next_turn(c->sh, c);
}

void stream_walk_want(struct stream *st)
{
    /* 0: never. */
    st->walk.coll->wanted_ms = (uint32_t)reactor_now_ms(st->conn->sh->reactor) | 1;
    stream_walk_hurry(st);
}

/* Nothing that was promised is missing: no command changes what is walked over. */
static enum stream_result break_off(struct conn *c)
{
    LOG_ERROR("server", "client closed: what its reply shows was changed meanwhile id=%llu",
              (unsigned long long)c->id);
    stream_drop(c);
    c->out.failed = true;
    return STREAM_DONE;
}

enum stream_result stream_walk_step(struct conn *c, const struct cmd *cmd)
{
    struct stream *st = c->stream;
    struct ks_stream_elem elem;
    const uint64_t share = SLICE_ELEMS / ks_walks(c->sh->ks);
    uint64_t n = u64_min(st->left, u64_max(share, SLICE_ELEMS_MIN));
    const size_t bytes_max = c->out.out.len + SLICE_BYTES;

    if (!coll_walk_holds(&st->walk))
        return break_off(c);
    if (!st->hurried && c->out.out.len + c->sending.len > STREAM_OUT_BYTES_MAX) {
        st->full = true;
        return STREAM_PARKED;
    }
    st->moved_ms = reactor_now_ms(c->sh->reactor);
    st->left -= n;
    for (; n != 0 && c->out.out.len < bytes_max; n--) {
        CHECK(coll_walk_next(&st->walk, &elem));
        stream_reply_elem(c, cmd, &elem);
    }
    st->left += n;
    if (st->left == 0 || c->out.failed) {
        stream_drop(c);
        return STREAM_DONE;
    }
    shard_retry_next_turn(c->sh, c);
    return STREAM_PARKED;
}
