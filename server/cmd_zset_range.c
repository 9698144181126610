/*
 * Sorted sets: ranges.
 *
 * A range by rank, score or member is first turned into a range of ranks (rank_range), which is
 * O(log n). All commands then read, count, remove or store ranks. Of a set that is resident in part
 * these are ranks among what is resident: what a range names is (need_zset.c).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"

#include "server/handlers.h"
#include "server/zrange.h"
#include "server/zset.h"

/* --- arguments --- */

/* As strtod reads it: blanks in front, no digits at all and overflow are fine, NaN is not. */
bool zrange_parse_score(struct bytes arg, struct zrange_bound *out)
{
    char text[NUM_LDOUBLE_BYTES];
    char *end;

    out->exclusive = arg.len != 0 && arg.ptr[0] == '(';
    if (out->exclusive)
        arg = bytes_from(arg, 1);
    if (arg.len >= sizeof(text))
        return false;
    if (arg.len != 0)
        memcpy(text, arg.ptr, arg.len);
    text[arg.len] = 0;
    /* As Redis reads a bound: an empty text is 0, which num_parse_double refuses. */
    out->score = strtod(text, &end); /* tidy: allow strtod, Redis' own reading */
    return *end == 0 && !isnan(out->score);
}

/* "-", "+", "[member" or "(member". */
bool zrange_parse_lex(struct bytes arg, struct zrange_bound *out)
{
    if (arg.len == 0)
        return false;
    if (arg.ptr[0] == '[' || arg.ptr[0] == '(') {
        out->exclusive = arg.ptr[0] == '(';
        out->member = bytes_from(arg, 1);
        return true;
    }
    out->infinite = arg.ptr[0] == '-' ? -1 : 1;
    return arg.len == 1 && (arg.ptr[0] == '-' || arg.ptr[0] == '+');
}

/* Arguments `min` and `max` as range->by says. False after an error reply. */
static bool parse_bounds(struct request *rq, uint32_t min, uint32_t max, struct zrange *range)
{
    switch (range->by) {
    case BY_RANK:
        return req_i64(rq, min, &range->min.rank) && req_i64(rq, max, &range->max.rank);
    case BY_SCORE:
        if (zrange_parse_score(rq->argv[min], &range->min) &&
            zrange_parse_score(rq->argv[max], &range->max))
            return true;
        reply_err_min_max_float(rq->out);
        return false;
    default:
        if (zrange_parse_lex(rq->argv[min], &range->min) &&
            zrange_parse_lex(rq->argv[max], &range->max))
            return true;
        reply_err_min_max_lex(rq->out);
        return false;
    }
}

/* The words from argument `i` on. False after an error reply. */
static bool parse_options(struct request *rq, uint32_t i, bool store, bool may_reverse,
                          struct zrange *range)
{
    for (; i < rq->argc; i++) {
        if (!store && req_is(rq, i, "WITHSCORES")) {
            range->scores = true;
        } else if (req_is(rq, i, "LIMIT") && i + 2 < rq->argc) {
            if (!req_i64(rq, i + 1, &range->offset) || !req_i64(rq, i + 2, &range->limit))
                return false;
            i += 2;
        } else if (may_reverse && !range->reverse && req_is(rq, i, "REV")) {
            range->reverse = true;
        } else if (range->by == BY_ANY && req_is(rq, i, "BYLEX")) {
            range->by = BY_LEX;
        } else if (range->by == BY_ANY && req_is(rq, i, "BYSCORE")) {
            range->by = BY_SCORE;
        } else {
            reply_err_syntax(rq->out);
            return false;
        }
    }
    if (range->by == BY_ANY)
        range->by = BY_RANK;
    return true;
}

/* What does not go together. False after an error reply. */
static bool options_fit(struct request *rq, const struct zrange *range)
{
    if (range->limit != -1 && range->by == BY_RANK)
        reply_error(rq->out, "ERR syntax error, LIMIT is only supported in combination with "
                             "either BYSCORE or BYLEX");
    else if (range->scores && range->by == BY_LEX)
        reply_error(rq->out, "ERR syntax error, WITHSCORES not supported in combination with "
                             "BYLEX");
    else
        return true;
    return false;
}

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

/* By rank: positions in the direction of reading. Returns how many. */
static uint64_t positions(const struct zrange *range, int64_t size, uint64_t *out_start)
{
    int64_t start = range->min.rank;
    int64_t end = range->max.rank;

    start = start < 0 ? i64_max(start + size, 0) : start;
    end = end < 0 ? end + size : i64_min(end, size - 1);
    *out_start = (uint64_t)start;
    return start > end || start >= size ? 0 : (uint64_t)(end - start) + 1;
}

/* The same by score or member, offset and limit applied. */
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
    const uint64_t n = positions(range, (int64_t)coll->count, out_start);
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

static void reply_range(struct request *rq, const struct coll *coll, const struct zrange *range)
{
    uint64_t start = 0;
    struct zorder_pos pos;
    const uint64_t n = rank_range(coll, range, &start);
    const bool nested = range->scores && rq->out->proto == 3;

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

/* The key is argument `at`, the bounds follow. `by` and `reverse` as the command fixes them. */
static void zrange_generic(struct request *rq, uint32_t at, uint8_t by, bool reverse)
{
    bool ok;
    const bool store = at == 2;
    struct zrange range = {.by = by, .reverse = reverse, .limit = -1};

    if (!parse_options(rq, at + 3, store, by == BY_ANY, &range) || !options_fit(rq, &range))
        return;
    const bool swap = range.reverse && range.by != BY_RANK;
    if (!parse_bounds(rq, swap ? at + 2 : at + 1, swap ? at + 1 : at + 2, &range))
        return;
    const struct ks_key key = req_key(rq, at);
    const struct coll *coll = zset_get(rq, &key, &ok);
    if (!ok)
        return;
    if (store) {
        const struct ks_key to = req_key(rq, 1);
        store_range(rq, &to, coll, &range);
    } else if (coll == NULL) {
        reply_array(rq->out, 0);
    } else {
        reply_range(rq, coll, &range);
    }
}

void cmd_zrange(struct request *rq)
{
    zrange_generic(rq, 1, BY_ANY, false);
}

void cmd_zrevrange(struct request *rq)
{
    zrange_generic(rq, 1, BY_RANK, true);
}

void cmd_zrangebyscore(struct request *rq)
{
    zrange_generic(rq, 1, BY_SCORE, false);
}

void cmd_zrevrangebyscore(struct request *rq)
{
    zrange_generic(rq, 1, BY_SCORE, true);
}

void cmd_zrangebylex(struct request *rq)
{
    zrange_generic(rq, 1, BY_LEX, false);
}

void cmd_zrevrangebylex(struct request *rq)
{
    zrange_generic(rq, 1, BY_LEX, true);
}

void cmd_zrangestore(struct request *rq)
{
    zrange_generic(rq, 2, BY_ANY, false);
}

/* --- ZCOUNT, ZLEXCOUNT, ZREMRANGEBY.. --- */

static void zcount_generic(struct request *rq, uint8_t by)
{
    bool ok;
    uint64_t start = 0;
    struct zrange range = {.by = by, .limit = -1};
    const struct ks_key key = req_key(rq, 1);

    if (!parse_bounds(rq, 2, 3, &range))
        return;
    const struct coll *coll = zset_get(rq, &key, &ok);
    if (ok)
        reply_u64(rq->out, coll == NULL ? 0 : rank_range(coll, &range, &start));
}

void cmd_zcount(struct request *rq)
{
    zcount_generic(rq, BY_SCORE);
}

void cmd_zlexcount(struct request *rq)
{
    zcount_generic(rq, BY_LEX);
}

static void zremrange_generic(struct request *rq, uint8_t by)
{
    bool ok;
    uint64_t start = 0;
    struct zrange range = {.by = by, .limit = -1};
    const struct ks_key key = req_key(rq, 1);

    if (!parse_bounds(rq, 2, 3, &range))
        return;
    struct coll *coll = zset_get(rq, &key, &ok);
    if (!ok)
        return;
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
    zremrange_generic(rq, BY_RANK);
}

void cmd_zremrangebyscore(struct request *rq)
{
    zremrange_generic(rq, BY_SCORE);
}

void cmd_zremrangebylex(struct request *rq)
{
    zremrange_generic(rq, BY_LEX);
}
