/*
 * Sorted sets over two tiers: which range of the order is resident, and which rows of the score
 * index the store is to lose. coll.h tells about the range.
 *
 * The index has one row per member, score | member (rowkey.h), which has the tag of the member's
 * row (row_index_store), so that sweeps treat it alike. It is derived: written in the batch that
 * writes the member's row, removed no later than in the one that writes another score or removes
 * the member. What is to be removed is remembered here from the first change of a member that the
 * store has until the next batch with rows of the set, and goes before these rows: a score that
 * comes back is put again behind its removal. It may go in a batch before that of its member; the
 * member is dirty then, so that DRAM has it, and its change is replayed after a crash.
 */
#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/space/ks_state.h"
#include "engine/space/resident.h"

/* A range that was read further than this is given up as a whole when memory is short. */
#define COVER_KEEP_BYTES (256u << 10)

static struct zset_side *side_of(struct coll *coll)
{
    if (coll->side == NULL) {
        coll->side = mem_zalloc(sizeof(*coll->side));
        for (uint32_t i = 0; i < ZSET_RANGES_MAX; i++) {
            buf_init(&coll->side->range[i].low, ZKEY_BYTES_MAX);
            buf_init(&coll->side->range[i].high, ZKEY_BYTES_MAX);
        }
        buf_init(&coll->side->gone, SIZE_MAX / 2);
    }
    return coll->side;
}

void coll_side_free(struct coll *coll)
{
    struct zset_side *side = coll->side;

    if (side == NULL)
        return;
    for (uint32_t i = 0; i < ZSET_RANGES_MAX; i++) {
        buf_deinit(&side->range[i].low);
        buf_deinit(&side->range[i].high);
    }
    buf_deinit(&side->gone);
    mem_free(side);
    coll->side = NULL;
}

uint64_t coll_side_bytes(const struct coll *coll)
{
    const struct zset_side *side = coll->side;

    if (side == NULL)
        return 0;
    uint64_t bytes = mem_usable(side) + side->gone.cap;
    for (uint32_t i = 0; i < ZSET_RANGES_MAX; i++)
        bytes += side->range[i].low.cap + side->range[i].high.cap;
    return bytes;
}

/* --- index rows that go --- */

void coll_index_add_gone(struct coll *coll, double score, struct bytes member)
{
    uint8_t head[2 + ROWKEY_SCORE_BYTES];
    struct buf *gone = &side_of(coll)->gone;

    le16_store(head, (uint16_t)member.len);
    rowkey_score_store(head + 2, score);
    CHECK(buf_append(gone, head, sizeof(head)) == 0 && buf_append_bytes(gone, member) == 0);
}

void coll_index_gone(struct coll *coll, struct elem *elem, double score)
{
    /* A score that comes and goes before the store hears of it leaves nothing there. */
    if ((elem->h.flags & (BLK_STORED | BLK_NOTED)) != BLK_STORED)
        return;
    elem->h.flags |= BLK_NOTED;
    coll_index_add_gone(coll, score, elem_sub(elem));
}

bool coll_index_take_gone(struct coll *coll, double *out_score, struct bytes *out_member)
{
    struct zset_side *side = coll->side;

    if (side == NULL || side->flying == side->gone.len)
        return false;
    const uint8_t *at = side->gone.ptr + side->flying;
    *out_score = rowkey_score_load(at + 2);
    *out_member = bytes_of(at + 2 + ROWKEY_SCORE_BYTES, le16_load(at));
    side->flying += 2 + ROWKEY_SCORE_BYTES + out_member->len;
    return true;
}

void coll_index_flown(struct keyspace *ks, struct coll *coll, bool written)
{
    struct zset_side *side = coll->side;

    if (side == NULL)
        return;
    if (written) {
        buf_consume(&side->gone, side->flying);
        if (side->gone.len == 0)
            buf_deinit(&side->gone);
    }
    side->flying = 0;
    coll_account(ks, coll);
}

/* --- the range --- */

static size_t zkey_store(uint8_t *dst, double score, struct bytes member)
{
    rowkey_score_store(dst, score);
    if (member.len != 0)
        memcpy(dst + ROWKEY_SCORE_BYTES, member.ptr, member.len);
    return ROWKEY_SCORE_BYTES + member.len;
}

/* Whether a place in the order is within the range. */
static bool covers(const struct zset_range *r, struct bytes zkey)
{
    return r->covers && (r->low.len == 0 || bytes_cmp(zkey, buf_bytes(&r->low)) >= 0) &&
           (r->high.len == 0 || bytes_cmp(zkey, buf_bytes(&r->high)) <= 0);
}

/* Resident members before a place; an empty one is the begin. */
static uint64_t rank_of(const struct coll *coll, struct bytes zkey)
{
    if (zkey.len < ROWKEY_SCORE_BYTES)
        return 0;
    return zorder_rank(&coll->order, rowkey_score_load(zkey.ptr),
                       bytes_from(zkey, ROWKEY_SCORE_BYTES));
}

static uint64_t rank_of_end(const struct coll *coll, struct bytes zkey)
{
    return zkey.len == 0 ? zorder_count(&coll->order) : rank_of(coll, zkey);
}

/* How many of the wanted members the range has, which has the end where the want begins. */
static uint64_t members_in(const struct coll *coll, const struct zset_range *r,
                           const struct ks_zset_need *want)
{
    /* An entry at the upper bound itself does not count: at most one read more than needed. */
    if (want->back)
        return rank_of_end(coll, want->high) - rank_of(coll, buf_bytes(&r->low));
    return rank_of(coll, buf_bytes(&r->high)) - rank_of(coll, want->low);
}

/* Whether the range reaches to the other end of what is wanted. */
static bool reaches(const struct zset_range *r, const struct ks_zset_need *want)
{
    if (want->back)
        return r->low.len == 0 ||
               (want->low.len != 0 && bytes_cmp(want->low, buf_bytes(&r->low)) >= 0);
    return r->high.len == 0 ||
           (want->high.len != 0 && bytes_cmp(want->high, buf_bytes(&r->high)) <= 0);
}

static enum coll_zset_state state_of(const struct coll *coll, const struct zset_range *r,
                                     const struct ks_zset_need *want)
{
    const struct bytes near = want->back ? want->high : want->low;
    const struct buf *bound = want->back ? &r->high : &r->low;

    if (near.len == 0 ? !r->covers || bound->len != 0 : !covers(r, near))
        return COLL_ZSET_APART;
    return reaches(r, want) || members_in(coll, r, want) >= want->n ? COLL_ZSET_THERE
                                                                    : COLL_ZSET_BEGUN;
}

enum coll_zset_state coll_zset_state(struct coll *coll, const struct ks_zset_need *want,
                                     uint32_t *out_range)
{
    enum coll_zset_state best = COLL_ZSET_APART;

    *out_range = 0;
    if (coll->complete)
        return COLL_ZSET_THERE;
    struct zset_side *side = side_of(coll);
    for (uint32_t i = 0; i < ZSET_RANGES_MAX && best != COLL_ZSET_THERE; i++) {
        const enum coll_zset_state state = state_of(coll, &side->range[i], want);
        if (state < best) {
            best = state;
            *out_range = i;
        }
    }
    for (uint32_t i = 1; best == COLL_ZSET_APART && i < ZSET_RANGES_MAX; i++) {
        /* A new one takes the place of none, or of the one that was used longest ago. */
        const struct zset_range *r = &side->range[i], *out = &side->range[*out_range];
        if (out->covers && (!r->covers || r->used < out->used))
            *out_range = i;
    }
    side->range[*out_range].used = ++side->clock;
    return best;
}

uint64_t coll_zset_missing(const struct coll *coll, const struct ks_zset_need *want, uint32_t range)
{
    const uint64_t have = members_in(coll, &coll->side->range[range], want);

    return have < want->n ? want->n - have : 1;
}

static void bound_set(struct buf *bound, struct bytes zkey)
{
    buf_clear(bound);
    CHECK(buf_append_bytes(bound, zkey) == 0);
}

void coll_zset_cover(struct keyspace *ks, struct coll *coll, const struct coll_zset_read *read)
{
    struct zset_range *r = &side_of(coll)->range[read->range];

    if (read->anew) {
        r->covers = true;
        r->bytes = 0;
        bound_set(read->back ? &r->high : &r->low, read->from);
    }
    bound_set(read->back ? &r->low : &r->high, read->to);
    r->bytes += read->bytes;
    if (r->low.len == 0 && r->high.len == 0) {
        coll->complete = true;
        for (uint32_t i = 0; i < ZSET_RANGES_MAX; i++)
            coll->side->range[i].covers = false;
    }
    coll_account(ks, coll);
}

bool coll_zset_keeps(const struct coll *coll, const struct elem *elem, uint8_t *room)
{
    if (coll->side == NULL)
        return false;
    const size_t len = zkey_store(room, coll_score(elem), elem_sub(elem));
    for (uint32_t i = 0; i < ZSET_RANGES_MAX; i++) {
        if (covers(&coll->side->range[i], bytes_of(room, len)))
            return true;
    }
    return false;
}

void coll_zset_shed(struct coll *coll)
{
    for (uint32_t i = 0; coll->side != NULL && i < ZSET_RANGES_MAX; i++) {
        struct zset_range *r = &coll->side->range[i];
        /* Longer ones, and those that others were asked for since. */
        if (r->bytes > COVER_KEEP_BYTES || r->used + ZSET_RANGES_MAX < coll->side->clock)
            r->covers = false;
    }
}

void coll_zset_uncover(struct coll *coll)
{
    for (uint32_t i = 0; coll->side != NULL && i < ZSET_RANGES_MAX; i++)
        coll->side->range[i].covers = false;
}

bool coll_zset_rank(const struct coll *coll, uint64_t rank, uint64_t *out)
{
    const uint64_t resident = zorder_count(&coll->order);

    *out = rank;
    if (coll->complete)
        return rank < resident;
    for (uint32_t i = 0; coll->side != NULL && i < ZSET_RANGES_MAX; i++) {
        const struct zset_range *r = &coll->side->range[i];
        if (!r->covers)
            continue;
        if (r->low.len == 0 && rank < rank_of(coll, buf_bytes(&r->high)))
            return true;
        if (r->high.len != 0 || coll->count - rank > resident)
            continue;
        *out = resident - (coll->count - rank);
        if (*out >= rank_of(coll, buf_bytes(&r->low)))
            return true;
        *out = rank;
    }
    return false;
}

/* Whether the range has the member, `before` elements of the set being resident before it. */
static bool range_tells(const struct coll *coll, const struct zset_range *r, struct bytes zkey,
                        uint64_t before, uint64_t *out)
{
    if (!covers(r, zkey) || (r->low.len != 0 && r->high.len != 0))
        return false;
    *out = r->low.len == 0 ? before : coll->count - (zorder_count(&coll->order) - before);
    return true;
}

bool coll_zset_rank_of(const struct coll *coll, const struct elem *elem, uint64_t *out)
{
    const struct bytes member = elem_sub(elem);
    const uint64_t before = zorder_rank(&coll->order, coll_score(elem), member);
    bool known = false;

    if (coll->complete) {
        *out = before;
        return true;
    }
    if (coll->side == NULL)
        return false;
    uint8_t *place = mem_alloc(ROWKEY_SCORE_BYTES + member.len);
    const size_t len = zkey_store(place, coll_score(elem), member);
    for (uint32_t i = 0; i < ZSET_RANGES_MAX && !known; i++)
        known = range_tells(coll, &coll->side->range[i], bytes_of(place, len), before, out);
    mem_free(place);
    return known;
}
