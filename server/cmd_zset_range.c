/*
 * Sorted sets: ranges.
 *
 * A range by rank, score or member is first turned into a range of ranks (rank_range), which is
 * O(log n). All commands then read, count, remove or store ranks. Of a set that is resident in part
 * these are ranks among what is resident: what a range names is (need_zset.c).
 */
#include "engine/base/check.h"

#include "server/handlers.h"
#include "server/stream.h"
#include "server/zrange.h"
#include "server/zset.h"

/* --- ranks --- */

/* Members outside the lower end. */
static uint64_t rank_of_min(const struct zorder *order, const struct zrange *range)
{
    const struct zrange_bound *b = &range->min;

    if (range->by == BY_SCORE)
        return zorder_rank_score(order, b->score, b->exclusive);
    if (b->infinite != 0)
        return b->infinite < 0 ? 0 : zorder_count(order);
    return zorder_rank_lex(order, b->member, b->exclusive);
}

/* Members up to the upper end. */
static uint64_t rank_of_max(const struct zorder *order, const struct zrange *range)
{
    const struct zrange_bound *b = &range->max;

    if (range->by == BY_SCORE)
        return zorder_rank_score(order, b->score, !b->exclusive);
    if (b->infinite != 0)
        return b->infinite < 0 ? 0 : zorder_count(order);
    return zorder_rank_lex(order, b->member, !b->exclusive);
}

/* By score or member, offset and limit applied: as zrange_positions. */
static uint64_t span(const struct zorder *order, const struct zrange *range, uint64_t *out_start)
{
    const uint64_t low = rank_of_min(order, range);
    const uint64_t high = rank_of_max(order, range);

    if (high <= low || range->offset < 0 || (uint64_t)range->offset >= high - low)
        return 0;
    const uint64_t n = high - low - (uint64_t)range->offset;
    *out_start = (range->reverse ? zorder_count(order) - high : low) + (uint64_t)range->offset;
    return range->limit < 0 ? n : u64_min(n, (uint64_t)range->limit);
}

/* The number of members in the range; the first is at `*out_start` in the direction of reading. */
static uint64_t rank_range(const struct coll *coll, const struct zrange *range, uint64_t *out_start)
{
    *out_start = 0;
    if (range->by != BY_RANK)
        return span(&coll->order, range, out_start);
    const uint64_t n = zrange_positions(range, coll->count, out_start);
    if (likely(coll->complete) || n == 0)
        return n;
    /* Of the members that are resident: the same ones have other ranks. */
    uint64_t at;
    const uint64_t first = *out_start;
    CHECK(coll_zset_rank(coll, range->reverse ? coll->count - 1 - first : first, &at));
    *out_start = range->reverse ? zorder_count(&coll->order) - 1 - at : at;
    return n;
}

/* Calls for each of `n` members. */
static void seek(const struct coll *coll, const struct zrange *range, uint64_t start,
                 struct zorder_pos *pos)
{
    CHECK(zorder_at(&coll->order, range->reverse ? zorder_count(&coll->order) - 1 - start : start,
                    pos));
}

static bool step(const struct zrange *range, struct zorder_pos *pos)
{
    return range->reverse ? zorder_prev(pos) : zorder_next(pos);
}

static void reply_range(struct request *rq, struct coll *coll, const struct zrange *range)
{
    uint64_t start = 0;
    struct zorder_pos pos;
    const uint64_t n = rank_range(coll, range, &start);
    const bool nested = range->scores && rq->out->proto == 3;
    const struct stream_walk_range walk = {
        .n = n, .skip = start, .back = range->reverse, .scores = range->scores};

    if (unlikely(n > STREAM_WALK_ABOVE) && stream_walk_begin(rq, coll, &walk))
        return;
    zset_reply_head(rq->out, n, range->scores);
    if (n == 0)
        return;
    seek(coll, range, start, &pos);
    for (uint64_t i = 1;; i++) {
        zset_reply(rq->out, elem_sub(pos.elem), pos.score, range->scores, nested);
        if (i == n)
            return;
        CHECK(step(range, &pos));
    }
}

static void store_range(struct request *rq, const struct ks_key *to, const struct coll *coll,
                        const struct zrange *range)
{
    uint64_t start = 0;
    struct zorder_pos pos;
    struct zset_items items = {0};
    const uint64_t n = coll == NULL ? 0 : rank_range(coll, range, &start);
    int err = 0;

    if (n != 0)
        seek(coll, range, start, &pos);
    for (uint64_t i = 0; i < n && err == 0; i++) {
        err = zset_items_add(&items, elem_sub(pos.elem), pos.score);
        if (i + 1 < n)
            CHECK(step(range, &pos));
    }
    if (err == 0)
        zset_items_store(rq, to, &items);
    else
        reply_err_oom(rq->out, "the result does not fit into memory");
    zset_items_free(&items);
}

/* --- ZRANGE and relatives --- */

/* The range and the set that it is of, which may be NULL; false after an error reply. */
static bool range_get(struct request *rq, struct zrange *range, struct coll **out)
{
    bool ok;
    uint32_t at;
    const enum zrange_error err = zrange_parse(rq->cmd, rq->argc, rq->argv, range);

    if (err != ZRANGE_OK) {
        zrange_reply_error(rq->out, err);
        return false;
    }
    (void)zrange_is(rq->cmd, &at);
    const struct ks_key key = req_key(rq, at);
    *out = rq->cmd->id == CMD_ID_zrangestore ? zset_read(rq, &key, &ok) : zset_get(rq, &key, &ok);
    return ok;
}

static void zrange_generic(struct request *rq)
{
    struct zrange range;
    struct coll *coll;

    if (!range_get(rq, &range, &coll))
        return;
    if (coll == NULL)
        reply_array(rq->out, 0);
    else
        reply_range(rq, coll, &range);
}

void cmd_zrange(struct request *rq)
{
    zrange_generic(rq);
}

void cmd_zrevrange(struct request *rq)
{
    zrange_generic(rq);
}

void cmd_zrangebyscore(struct request *rq)
{
    zrange_generic(rq);
}

void cmd_zrevrangebyscore(struct request *rq)
{
    zrange_generic(rq);
}

void cmd_zrangebylex(struct request *rq)
{
    zrange_generic(rq);
}

void cmd_zrevrangebylex(struct request *rq)
{
    zrange_generic(rq);
}

void cmd_zrangestore(struct request *rq)
{
    struct zrange range;
    struct coll *coll;
    struct ks_stream *read = stream_result(rq->conn);
    const struct ks_key to = req_key(rq, 1);

    if (read != NULL)
        zset_read_store(rq, &to, read);
    else if (range_get(rq, &range, &coll))
        store_range(rq, &to, coll, &range);
}

/* --- ZCOUNT, ZLEXCOUNT, ZREMRANGEBY.. --- */

static void zcount_generic(struct request *rq)
{
    uint64_t start = 0;
    struct zrange range;
    struct coll *coll;

    if (range_get(rq, &range, &coll))
        reply_u64(rq->out, coll == NULL ? 0 : rank_range(coll, &range, &start));
}

void cmd_zcount(struct request *rq)
{
    zcount_generic(rq);
}

void cmd_zlexcount(struct request *rq)
{
    zcount_generic(rq);
}

static void zremrange_generic(struct request *rq)
{
    uint64_t start = 0;
    struct zrange range;
    struct coll *coll;

    if (!range_get(rq, &range, &coll))
        return;
    const struct ks_key key = req_key(rq, 1);
    /* The members need not be there for that. */
    if (coll != NULL && !coll->complete && zrange_is_all(&range, coll->count)) {
        reply_u64(rq->out, coll->count);
        mut_del(rq->mut, &key);
        return;
    }
    const uint64_t n = coll == NULL ? 0 : rank_range(coll, &range, &start);
    if (n != 0) {
        if (!zset_can_remove(rq, &key, coll, start, n))
            return;
        zset_remove_ranks(rq, &key, coll, start, n);
    }
    reply_u64(rq->out, n);
}

void cmd_zremrangebyrank(struct request *rq)
{
    zremrange_generic(rq);
}

void cmd_zremrangebyscore(struct request *rq)
{
    zremrange_generic(rq);
}

void cmd_zremrangebylex(struct request *rq)
{
    zremrange_generic(rq);
}
