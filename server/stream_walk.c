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
 * No new walk of a collection begins while a write waits: or readers, one behind the other, would
 * hold writers back for ever. It has waited when the collection is another one, or for WANTED_MS
 * after its last try and the end of the last walk that held it back; then its client has gone, or
 * it changed nothing.
 */
#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/space/collwalk.h"
#include "engine/value/row.h"

#include "server/conn.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/stream_impl.h"
#include "server/tracking.h"
#include "server/zset.h"

/* Of all walks together in one turn. */
#define SLICE_ELEMS 2048
/* But each does so many at least, */
#define SLICE_ELEMS_MIN 128
/* and no more bytes than that. */
#define SLICE_BYTES (64u << 10)
/* A write that is held back tries again sooner, also where the thread has to wait for a core. */
#define WANTED_MS      100
#define WANTED_LOOK_MS 2

/* What is shown of each element, which is decided once: there are many. */
enum walk_form {
    WALK_NAMES,  /* Of a hash or set, */
    WALK_VALUES, /* a hash, */
    WALK_PAIRS,
    WALK_LIST,
    WALK_MEMBERS, /* a sorted set. */
    WALK_SCORES
};

static enum walk_form form_of(const struct cmd *cmd, const struct coll *coll, bool scores)
{
    if (coll->type == VT_LIST)
        return WALK_LIST;
    if (coll->type == VT_ZSET)
        return scores ? WALK_SCORES : WALK_MEMBERS;
    if (cmd->id == CMD_ID_hgetall)
        return WALK_PAIRS;
    return cmd->id == CMD_ID_hvals ? WALK_VALUES : WALK_NAMES;
}

static bool may_walk(const struct request *rq, const struct coll *coll)
{
    const struct conn *c = rq->conn;

    return !rq->nested && coll->complete && !coll->grouped && !c->is_agent && c->fw == NULL &&
           c->sh->group == NULL && c->reply_mode == CONN_REPLY_ON && !c->sh->flushing &&
           !c->sh->stopping;
}

/* Low bits; not 0, which is never. */
static uint32_t time_now(const struct shard *sh)
{
    return (uint32_t)reactor_now_ms(sh->reactor) | 1;
}

static bool is_wanted(const struct shard *sh, const struct coll *coll)
{
    return coll->wanted_ms != 0 && coll->wanted_lsn == (uint32_t)coll->lsn &&
           time_now(sh) - coll->wanted_ms < WANTED_MS;
}

bool stream_walk_begin(struct request *rq, struct coll *coll, const struct stream_walk_range *range)
{
    struct conn *c = rq->conn;
    struct shard *sh = rq->sh;

    if (!may_walk(rq, coll))
        return false;
    rq->parked = true;
    if (is_wanted(sh, coll)) {
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
    st->form = (uint8_t)form_of(rq->cmd, coll, range->scores);
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

void stream_walk_end(struct stream *st)
{
    struct shard *sh = st->conn->sh;
    struct coll *coll = st->walk.coll;

    if (coll == NULL)
        return;
    if (is_wanted(sh, coll))
        coll->wanted_ms = time_now(sh);
    coll_walk_end(sh->ks, &st->walk);
}

bool stream_walks(const struct stream *st)
{
    return st->stage == STAGE_WALKING;
}

bool stream_walk_lost(const struct stream *st)
{
    return stream_walks(st) && st->walk.coll->retired;
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
    struct coll *coll = st->walk.coll;

    coll->wanted_ms = time_now(st->conn->sh);
    coll->wanted_lsn = (uint32_t)coll->lsn;
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

/* --- elements: each function writes up to `n`, until `r` has `bytes`, and returns how many not ---
 */

static ALWAYS_INLINE void reply_row(struct reply *r, struct bytes row)
{
    struct row_view view;
    char text[ROW_TEXT_BYTES];

    if (likely(row.len >= ROW_VALUE_AT && row.ptr[0] == ROW_VALUE)) {
        reply_bulk(r, bytes_of(row.ptr + ROW_VALUE_AT, row.len - ROW_VALUE_AT));
        return;
    }
    /* Rows are checked when they are installed. */
    CHECK(row_view(row, 0, &view) == 0);
    reply_bulk(r, row_text(&view, text));
}

static ALWAYS_INLINE uint64_t reply_table(struct reply *r, struct coll_walk *w, uint64_t n,
                                          size_t bytes, bool names, bool values)
{
    for (; n != 0 && r->out.len < bytes; n--) {
        const struct elem *elem = coll_walk_elem(w);
        CHECK(elem != NULL);
        if (names)
            reply_bulk(r, elem_sub(elem));
        if (values)
            reply_row(r, elem_row(elem));
    }
    return n;
}

static uint64_t reply_list(struct reply *r, struct coll_walk *w, uint64_t n, size_t bytes)
{
    struct bytes row;

    for (; n != 0 && r->out.len < bytes; n--) {
        CHECK(coll_walk_row(w, &row));
        reply_row(r, row);
    }
    return n;
}

static ALWAYS_INLINE uint64_t reply_order(struct reply *r, struct coll_walk *w, uint64_t n,
                                          size_t bytes, bool scores)
{
    const bool nested = scores && r->proto == 3;
    double score;

    for (; n != 0 && r->out.len < bytes; n--) {
        const struct elem *elem = coll_walk_scored(w, &score);
        CHECK(elem != NULL);
        zset_reply(r, elem_sub(elem), score, scores, nested);
    }
    return n;
}

static uint64_t reply_some(struct reply *r, struct stream *st, uint64_t n, size_t bytes)
{
    switch ((enum walk_form)st->form) {
    case WALK_NAMES:
        return reply_table(r, &st->walk, n, bytes, true, false);
    case WALK_VALUES:
        return reply_table(r, &st->walk, n, bytes, false, true);
    case WALK_PAIRS:
        return reply_table(r, &st->walk, n, bytes, true, true);
    case WALK_LIST:
        return reply_list(r, &st->walk, n, bytes);
    case WALK_MEMBERS:
        return reply_order(r, &st->walk, n, bytes, false);
    case WALK_SCORES:
        return reply_order(r, &st->walk, n, bytes, true);
    }
    UNREACHABLE();
}

enum stream_result stream_walk_step(struct conn *c)
{
    struct stream *st = c->stream;
    const uint64_t share = SLICE_ELEMS / ks_walks(c->sh->ks);
    const uint64_t n = u64_min(st->left, u64_max(share, SLICE_ELEMS_MIN));
    const size_t bytes_max = c->out.out.len + SLICE_BYTES;

    if (!coll_walk_holds(&st->walk))
        return break_off(c);
    if (!st->hurried && c->out.out.len + c->sending.len > STREAM_OUT_BYTES_MAX) {
        st->full = true;
        return STREAM_PARKED;
    }
    st->moved_ms = reactor_now_ms(c->sh->reactor);
    st->left -= n - reply_some(&c->out, st, n, bytes_max);
    if (st->left == 0 || c->out.failed) {
        stream_drop(c);
        return STREAM_DONE;
    }
    shard_retry_next_turn(c->sh, c);
    return STREAM_PARKED;
}
