/*
 * Sorted sets that are too large to be loaded: ZRANGE and relatives, ZCOUNT, ZLEXCOUNT, ZRANK and
 * ZREVRANK read from flash.
 *
 * By rank and by score the rows of the score index are read, by member those of the members, which
 * stand in that order. Each range is one stretch of such rows, from a first place to a first one
 * beyond (struct ks_stream_span). What a range by rank shows is known from the key row; how many
 * members lie between two scores or members is counted first, as the result of set algebra is
 * (stream_sets.c). A rank is the number of rows before the member, or behind it: the index keeps no
 * numbers, so it costs as many steps of a cursor, but no memory.
 */
#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/err.h"

#include "engine/space/coll.h"
#include "engine/space/collstream.h"
#include "engine/space/keyspace.h"
#include "engine/space/resident.h"
#include "engine/value/rowkey.h"

#include "server/conn.h"
#include "server/dispatch.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/stream_impl.h"
#include "server/zrange.h"
#include "server/zset.h"

static bool is_rank(const struct cmd *cmd)
{
    return cmd->id == CMD_ID_zrank || cmd->id == CMD_ID_zrevrank;
}

/* Its reply is a number. */
static bool is_number(const struct cmd *cmd)
{
    return is_rank(cmd) || cmd->id == CMD_ID_zcount || cmd->id == CMD_ID_zlexcount;
}

/* The range is kept as a whole, as the result of set algebra (stream_sets.c). */
static bool stores(const struct cmd *cmd)
{
    return cmd->id == CMD_ID_zrangestore;
}

bool stream_is_of_order(const struct cmd *cmd)
{
    uint32_t key_at;

    return is_rank(cmd) || ((cmd->flags & CMD_WRITE) == 0 && zrange_is(cmd, &key_at)) ||
           stores(cmd);
}

/* --- places --- */

/* The stretch of rows that is asked for. */
struct stretch {
    struct ks_stream_span span;
    struct buf low;
    struct buf high;
    uint64_t n;   /* Members of it, if known; else */
    uint64_t max; /* no more than these are shown; 0: all. */
    bool known;
};

static void append(struct buf *to, const void *ptr, size_t len)
{
    CHECK(buf_append(to, ptr, len) == 0);
}

static void append_score(struct buf *to, double score)
{
    uint8_t place[ROWKEY_SCORE_BYTES];

    rowkey_score_store(place, score);
    append(to, place, sizeof(place));
}

/* The place of a member, or with `behind` the first one behind it. No member is as long as a bound
 * may be: a longer one lies right behind its beginning. */
static void append_member(struct buf *to, struct bytes member, bool behind)
{
    const bool longer = member.len > KS_NAME_BYTES_MAX;

    append(to, member.ptr, longer ? KS_NAME_BYTES_MAX : member.len);
    if (behind || longer)
        append(to, "", 1);
}

/* The first place of a score, or with `behind` the first one behind all that have it. */
static void append_bound(struct buf *to, double score, bool behind)
{
    append_score(to, score);
    /* No score has the bytes 0xff .. 0xff, which would be NaN. */
    for (size_t i = to->len; behind && i > 0 && ++to->ptr[i - 1] == 0; i--) {
    }
}

static void between_scores(const struct zrange *range, struct stretch *out)
{
    out->span.by_score = true;
    append_bound(&out->low, range->min.score, range->min.exclusive);
    append_bound(&out->high, range->max.score, !range->max.exclusive);
}

/* False: no member lies there. */
static bool between_members(const struct zrange *range, struct stretch *out)
{
    if (range->min.infinite > 0 || range->max.infinite < 0)
        return false;
    if (range->min.infinite == 0)
        append_member(&out->low, range->min.member, range->min.exclusive);
    if (range->max.infinite == 0)
        append_member(&out->high, range->max.member, !range->max.exclusive);
    return range->max.infinite != 0 || out->high.len != 0;
}

/* False: nothing is there to be shown. */
static bool of_range(const struct zrange *range, const struct coll *coll, struct stretch *out)
{
    out->span.back = range->reverse;
    if (range->by == BY_RANK) {
        out->known = true;
        out->span.by_score = true;
        out->n = zrange_positions(range, coll->count, &out->span.skip);
        return out->n != 0;
    }
    if (range->offset < 0 || range->limit == 0)
        return false;
    out->span.skip = (uint64_t)range->offset;
    out->max = range->limit < 0 ? 0 : (uint64_t)range->limit;
    if (range->by == BY_SCORE)
        between_scores(range, out);
    else if (!between_members(range, out))
        return false;
    return out->high.len == 0 || bytes_cmp(buf_bytes(&out->low), buf_bytes(&out->high)) < 0;
}

/* All members before the one, or behind it. */
static void beside(const struct elem *elem, bool behind, struct stretch *out)
{
    struct buf *to = behind ? &out->low : &out->high;

    out->span.by_score = true;
    append_score(to, coll_score(elem));
    append_member(to, elem_sub(elem), behind);
}

/* --- the stages --- */

/* The range is empty. What is stored then, nothing, the handler knows. */
static enum stream_result reply_nothing(struct conn *c, const struct cmd *cmd)
{
    if (stores(cmd))
        return STREAM_RUN;
    if (is_number(cmd))
        reply_u64(&c->out, 0);
    else
        reply_array(&c->out, 0);
    stream_drop(c);
    return STREAM_DONE;
}

static enum stream_result read_stretch(struct conn *c, const struct dispatch_plan *plan,
                                       const struct coll *coll, struct stretch *stretch)
{
    struct stream *st = c->stream;

    stretch->span.low = buf_bytes(&stretch->low);
    stretch->span.high = buf_bytes(&stretch->high);
    st->rows = ks_stream_create(c->sh->ks, &plan->key, coll, &stretch->span);
    st->storing = stores(plan->cmd);
    st->counts = !stretch->known || st->storing;
    if (st->storing)
        ks_stream_count(st->rows, stretch->known ? stretch->n : stretch->max,
                        stream_kept_max(c->sh), STREAM_SCORED_BYTES);
    else if (st->counts)
        ks_stream_count(st->rows, stretch->max, is_number(plan->cmd) ? 0 : STREAM_KEEP_BYTES,
                        STREAM_KEEP_BESIDE);
    else
        st->left = stretch->n;
    stream_set_stage(st, STAGE_OPENING);
    ks_stream_read(st->rows, &c->wait);
    return STREAM_PARKED;
}

enum stream_result stream_order_begin(struct conn *c, const struct coll *coll,
                                      const struct dispatch_plan *plan, const struct resp_cmd *rc)
{
    struct zrange range;
    struct stretch stretch = {.n = 0};
    const struct elem *elem = NULL;
    enum stream_result result = STREAM_DONE;

    c->stream->storing = false;
    if (stores(plan->cmd) && stream_stores_other(c->sh)) {
        shard_retry_after(c->sh, c, STREAM_FLUSH_LOOK_MS);
        return STREAM_PARKED;
    }
    if (is_rank(plan->cmd)) {
        if (ks_need_elem(c->sh->ks, &plan->key, rc->argv[2], &c->wait) != 0)
            return STREAM_PARKED;
        elem = coll_find(coll, rc->argv[2]);
        if (elem == NULL)
            return STREAM_GONE;
    } else if (zrange_parse(plan->cmd, rc->argc, rc->argv, &range) != ZRANGE_OK) {
        return STREAM_GONE; /* Never, as nothing was asked for. */
    }
    buf_init(&stretch.low, ZKEY_BYTES_MAX + 1);
    buf_init(&stretch.high, ZKEY_BYTES_MAX + 1);
    bool any = true;
    if (elem != NULL) {
        beside(elem, plan->cmd->id == CMD_ID_zrevrank, &stretch);
    } else {
        c->stream->scores = range.scores;
        any = of_range(&range, coll, &stretch);
    }
    if (any)
        result = read_stretch(c, plan, coll, &stretch);
    else
        result = reply_nothing(c, plan->cmd);
    buf_deinit(&stretch.low);
    buf_deinit(&stretch.high);
    return result;
}

static enum stream_result counting(struct conn *c, const struct cmd *cmd)
{
    return stream_counted(c, cmd, ks_stream_end(c->stream->rows),
                          is_number(cmd) ? STREAM_SHOWS_NUMBER : STREAM_SHOWS_SCORED);
}

enum stream_result stream_order_step(struct conn *c, const struct cmd *cmd)
{
    struct stream *st = c->stream;

    /* Nothing was sent yet. */
    if (stream_forbidden(c->sh) != NULL)
        return stream_refuse(c, stream_forbidden(c->sh));
    if (st->counts) {
        /* What is to be stored keeps writers back. */
        if (!st->storing)
            stream_set_stage(st, STAGE_COUNTING);
        return counting(c, cmd);
    }
    if (ks_stream_err(st->rows) != 0)
        return stream_refuse(c, err_str(ks_stream_err(st->rows)));
    zset_reply_head(&c->out, st->left, st->scores);
    stream_set_stage(st, STAGE_FLOWING);
    return stream_flow(c, cmd);
}

void stream_order_reply(struct conn *c, const struct ks_stream_elem *elem)
{
    const bool scores = c->stream->scores;

    zset_reply(&c->out, elem->sub, elem->score, scores, scores && c->out.proto == 3);
}
