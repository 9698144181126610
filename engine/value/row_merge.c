/*
 * The join of rows.
 *
 *     join(a, b) = reduce(a and b, part by part)
 *
 * Each list is a map from its key to a maximum: the latest value of an origin, the latest state of
 * its run, and so on. Contexts are vectors, joined pointwise. Reducing takes away what contexts
 * cover, and nothing else; it commutes with joining, because a context that covers the greater of
 * two items with one key covers the lesser too: it is covered by the tag that the maximum is of, or
 * by a part of the key. So operands may be joined in any order and grouping. A setting of expiry is
 * covered by its target as well as by its own tag, hence its target is part of its key: two
 * settings with one tag and different targets are two items, else one that is covered might have
 * taken the place of one that is not. In the same way a floor is covered by the tag of its DEL when
 * an element is clipped (row.c), hence the origin of that is part of its key, and the greatest tag
 * its maximum: a later DEL of one origin has seen as much of the run as its earlier ones.
 *
 * A setting of a string in chunks has its generation for target. A change of a part has that in its
 * context, too, and must leave it: of such settings contexts do not cover the target, only the
 * clear vector does.
 *
 * One thing is not in the key of what it covers: the generation of a value in chunks. There the law
 * stands on what makes operands. Values of one tag are equal, for a batch has one net op per row
 * (op.h), and a later value of an origin comes with a context that covers its earlier ones.
 *
 * Settling is what a full row allows in addition: under causal delivery whatever a context covers
 * has been applied already, so that the context itself has done its work.
 */
#include <string.h>

#include "engine/base/err.h"

#include "engine/value/row_state.h"

/* Makes room at `at` in a list of `*count` items; NULL if it is full. */
static void *list_open(void *items, size_t item_bytes, unsigned *count, unsigned max, unsigned at)
{
    uint8_t *place = (uint8_t *)items + at * item_bytes;

    if (*count == max)
        return NULL;
    memmove(place + item_bytes, place, (*count - at) * item_bytes);
    (*count)++;
    return place;
}

/*
 * Values of one tag are equal, but for what a collection has joined to one (row_hll.c); if damage
 * made them differ, all must still choose the same one.
 */
static bool sib_less(const struct row_sib *a, const struct row_sib *b)
{
    if (a->tag.hlc != b->tag.hlc)
        return a->tag.hlc < b->tag.hlc;
    if (a->chunked != b->chunked)
        return b->chunked;
    if (a->chunked) {
        /* Of one generation: the length of a losing value may have been taken over (row_collect).
         */
        const int generations = tag_cmp(a->generation, b->generation);
        if (generations != 0 || a->len != b->len)
            return generations != 0 ? generations < 0 : a->len < b->len;
    }
    const int order = bytes_cmp(a->value, b->value);
    if (order == 0)
        return bytes_cmp(a->cuts, b->cuts) < 0;
    const uint64_t weight_a = row_hll_weight(a), weight_b = row_hll_weight(b);
    return weight_a != weight_b ? weight_a < weight_b : order < 0;
}

int row_add_sib(struct row_state *s, const struct row_sib *sib)
{
    unsigned at = 0;

    while (at < s->sibs_count && s->sibs[at].tag.origin < sib->tag.origin)
        at++;
    if (at < s->sibs_count && s->sibs[at].tag.origin == sib->tag.origin) {
        if (sib_less(&s->sibs[at], sib))
            s->sibs[at] = *sib;
        return 0;
    }
    struct row_sib *place =
        list_open(s->sibs, sizeof(s->sibs[0]), &s->sibs_count, ROW_SIBS_MAX, at);
    if (place == NULL)
        return -ERR_LIMIT;
    *place = *sib;
    return 0;
}

/* Order of the encoded sums, for the choice between equal positions. */
static int sum_cmp(int64_t isum_a, struct fsum fsum_a, int64_t isum_b, struct fsum fsum_b)
{
    if (isum_a != isum_b)
        return isum_a < isum_b ? -1 : 1;
    if (fsum_a.hi < fsum_b.hi || fsum_a.hi > fsum_b.hi)
        return fsum_a.hi < fsum_b.hi ? -1 : 1;
    return (fsum_a.lo > fsum_b.lo) - (fsum_a.lo < fsum_b.lo);
}

static bool run_less(const struct row_run *a, const struct row_run *b)
{
    if (a->hlc != b->hlc)
        return a->hlc < b->hlc;
    if (a->start != b->start)
        return a->start < b->start;
    return sum_cmp(a->isum, a->fsum, b->isum, b->fsum) < 0;
}

int row_add_run(struct row_state *s, const struct row_run *run)
{
    unsigned at = 0;

    while (at < s->runs_count && s->runs[at].origin < run->origin)
        at++;
    if (at < s->runs_count && s->runs[at].origin == run->origin) {
        if (run_less(&s->runs[at], run))
            s->runs[at] = *run;
        return 0;
    }
    struct row_run *place =
        list_open(s->runs, sizeof(s->runs[0]), &s->runs_count, ROW_RUNS_MAX, at);
    if (place == NULL)
        return -ERR_LIMIT;
    *place = *run;
    return 0;
}

int row_floor_cmp(const struct row_floor *a, const struct row_floor *b)
{
    const int origins = (int)a->cut.origin - (int)b->cut.origin;

    return origins != 0 ? origins : (int)a->del_tag.origin - (int)b->del_tag.origin;
}

static bool floor_less(const struct row_floor *a, const struct row_floor *b)
{
    if (a->del_tag.hlc != b->del_tag.hlc)
        return a->del_tag.hlc < b->del_tag.hlc;
    if (a->cut.hlc != b->cut.hlc)
        return a->cut.hlc < b->cut.hlc;
    return sum_cmp(a->cut.isum, a->cut.fsum, b->cut.isum, b->cut.fsum) < 0;
}

int row_add_floor(struct row_state *s, const struct row_floor *floor)
{
    unsigned at = 0;

    while (at < s->floors_count && row_floor_cmp(&s->floors[at], floor) < 0)
        at++;
    if (at < s->floors_count && row_floor_cmp(&s->floors[at], floor) == 0) {
        if (floor_less(&s->floors[at], floor))
            s->floors[at] = *floor;
        return 0;
    }
    struct row_floor *place =
        list_open(s->floors, sizeof(s->floors[0]), &s->floors_count, ROW_FLOORS_MAX, at);
    if (place == NULL)
        return -ERR_LIMIT;
    *place = *floor;
    return 0;
}

int row_add_type(struct row_state *s, const struct row_type *type)
{
    unsigned at = 0;

    while (at < s->types_count &&
           (s->types[at].type < type->type ||
            (s->types[at].type == type->type && s->types[at].tag.origin < type->tag.origin)))
        at++;
    if (at < s->types_count && s->types[at].type == type->type &&
        s->types[at].tag.origin == type->tag.origin) {
        s->types[at].tag = tag_max(s->types[at].tag, type->tag);
        return 0;
    }
    struct row_type *place =
        list_open(s->types, sizeof(s->types[0]), &s->types_count, ROW_TYPES_MAX, at);
    if (place == NULL)
        return -ERR_LIMIT;
    *place = *type;
    return 0;
}

int row_group_cmp(uint8_t type_a, struct tag target_a, uint8_t type_b, struct tag target_b)
{
    if (type_a != type_b)
        return type_a < type_b ? -1 : 1;
    return row_group_has_target(type_a) ? tag_cmp(target_a, target_b) : 0;
}

int row_exp_cmp(const struct row_exp *a, const struct row_exp *b)
{
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    const int targets = tag_cmp(a->target, b->target);
    return targets != 0 ? targets : (int)a->etag.origin - (int)b->etag.origin;
}

static bool exp_less(const struct row_exp *a, const struct row_exp *b)
{
    return a->etag.hlc != b->etag.hlc ? a->etag.hlc < b->etag.hlc : a->at_ms < b->at_ms;
}

int row_add_exp(struct row_state *s, const struct row_exp *exp)
{
    unsigned at = 0;

    for (; at < s->exps_count; at++) {
        const int order = row_exp_cmp(&s->exps[at], exp);

        if (order > 0)
            break;
        if (order == 0) {
            if (exp_less(&s->exps[at], exp))
                s->exps[at] = *exp;
            return 0;
        }
    }
    struct row_exp *place =
        list_open(s->exps, sizeof(s->exps[0]), &s->exps_count, ROW_EXPS_MAX, at);
    if (place == NULL)
        return -ERR_LIMIT;
    *place = *exp;
    return 0;
}

int row_add_group(struct row_state *s, const struct row_group *group)
{
    unsigned at = 0;

    for (; at < s->groups_count; at++) {
        struct row_group *other = &s->groups[at];
        const int order = row_group_cmp(other->type, other->target, group->type, group->target);

        if (order > 0)
            break;
        if (order == 0)
            return vv_join(&other->seen, &group->seen);
    }
    struct row_group *place =
        list_open(s->groups, sizeof(s->groups[0]), &s->groups_count, ROW_GROUPS_MAX, at);
    if (place == NULL)
        return -ERR_LIMIT;
    *place = *group;
    return 0;
}

void row_add_count(struct row_state *s, uint64_t count, uint64_t lsn)
{
    if (lsn > s->count_lsn || (lsn == s->count_lsn && count > s->count)) {
        s->count = count;
        s->count_lsn = lsn;
    }
}

/* --- join --- */

static int join_lists(struct row_state *into, const struct row_state *from)
{
    int err = 0;

    for (unsigned i = 0; err == 0 && i < from->sibs_count; i++)
        err = row_add_sib(into, &from->sibs[i]);
    for (unsigned i = 0; err == 0 && i < from->runs_count; i++)
        err = row_add_run(into, &from->runs[i]);
    for (unsigned i = 0; err == 0 && i < from->floors_count; i++)
        err = row_add_floor(into, &from->floors[i]);
    for (unsigned i = 0; err == 0 && i < from->types_count; i++)
        err = row_add_type(into, &from->types[i]);
    for (unsigned i = 0; err == 0 && i < from->exps_count; i++)
        err = row_add_exp(into, &from->exps[i]);
    for (unsigned i = 0; err == 0 && i < from->groups_count; i++)
        err = row_add_group(into, &from->groups[i]);
    return err;
}

bool row_state_has_rows(const struct row_state *s)
{
    bool any = s->rows || s->types_count != 0;

    for (unsigned i = 0; !any && i < s->sibs_count; i++)
        any = s->sibs[i].chunked;
    return any;
}

int row_state_join(struct row_state *into, const struct row_state *from)
{
    int err;

    if (into->poison != 0 || from->poison != 0) {
        const uint8_t poison = into->poison > from->poison ? into->poison : from->poison;

        row_state_init(into);
        into->poison = poison;
        return 0;
    }
    into->rows = row_state_has_rows(into) || row_state_has_rows(from);
    err = vv_join(&into->ctx, &from->ctx);
    if (err == 0)
        err = vv_join(&into->rctx, &from->rctx);
    if (err == 0)
        err = vv_join(&into->clear, &from->clear);
    if (err == 0)
        err = vv_join(&into->clear_by, &from->clear_by);
    if (err == 0)
        err = join_lists(into, from);
    if (err == 0)
        err = list_meta_join(&into->list, &from->list);
    if (err != 0)
        return err;
    row_add_count(into, from->count, from->count_lsn);
    row_state_reduce(into);
    return 0;
}

static void reduce_values(struct row_state *s)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < s->sibs_count; i++) {
        const struct row_sib *sib = &s->sibs[i];

        /* A change of a part goes with what it changed. */
        if (!vv_covers(&s->ctx, sib->tag) &&
            !(sib->chunked && vv_covers(&s->clear, sib->generation)))
            s->sibs[kept++] = *sib;
    }
    s->sibs_count = kept;
    kept = 0;
    for (unsigned i = 0; i < s->runs_count; i++) {
        if (!vv_covers(&s->rctx, tag_of(s->runs[i].hlc, s->runs[i].origin)))
            s->runs[kept++] = s->runs[i];
    }
    s->runs_count = kept;
    kept = 0;
    for (unsigned i = 0; i < s->types_count; i++) {
        if (!vv_covers(&s->ctx, s->types[i].tag) && !vv_covers(&s->clear, s->types[i].tag))
            s->types[kept++] = s->types[i];
    }
    s->types_count = kept;
}

static const struct row_group *group_find(const struct row_state *s, const struct row_exp *exp)
{
    for (unsigned i = 0; i < s->groups_count; i++) {
        if (row_group_cmp(s->groups[i].type, s->groups[i].target, exp->type, exp->target) == 0)
            return &s->groups[i];
    }
    return NULL;
}

/*
 * What a setting is of has been replaced or removed. A generation is only by what clears: a change
 * of a part has seen it as well, and leaves it.
 */
static bool target_gone(const struct row_state *s, uint8_t type, struct tag target)
{
    return (type != VT_CHUNKED && vv_covers(&s->ctx, target)) ||
           (type > VT_STRING && vv_covers(&s->clear, target));
}

void row_state_reduce(struct row_state *s)
{
    unsigned kept = 0;

    reduce_values(s);
    for (unsigned i = 0; i < s->groups_count; i++) {
        const struct row_group *group = &s->groups[i];

        if (!row_group_has_target(group->type) || !target_gone(s, group->type, group->target)) {
            if (kept != i)
                s->groups[kept] = *group;
            kept++;
        }
    }
    s->groups_count = kept;
    kept = 0;
    for (unsigned i = 0; i < s->exps_count; i++) {
        const struct row_exp *exp = &s->exps[i];
        const struct row_group *group = group_find(s, exp);

        if (target_gone(s, exp->type, exp->target) ||
            (group != NULL && vv_covers(&group->seen, exp->etag)))
            continue;
        s->exps[kept++] = *exp;
    }
    s->exps_count = kept;
}

/* --- settling --- */

/* Whether a setting can still show, now or after any later change. */
static bool exp_has_target(const struct row_state *s, const struct row_exp *exp)
{
    struct row_cut cut;

    /*
     * The clear vector has taken it away if its collection was deleted. Likewise a generation, of
     * which a value may come back after the last one is gone (row_chunk.h).
     */
    if (exp->type > VT_STRING)
        return true;
    if (exp->type == VT_STRING) {
        for (unsigned i = 0; i < s->sibs_count; i++) {
            if (tag_eq(s->sibs[i].tag, exp->target))
                return true;
        }
        return false;
    }
    for (unsigned i = 0; i < s->floors_count; i++) {
        cut = s->floors[i].cut;
        if (cut.origin == exp->target.origin && cut.hlc >= exp->target.hlc)
            return false;
    }
    for (unsigned i = 0; i < s->sibs_count; i++) {
        if (row_cuts_find(s->sibs[i].cuts, exp->target.origin, &cut) && cut.hlc >= exp->target.hlc)
            return false;
    }
    /* A DEL took the run away, and the floor was collected since: then no run is left, or another.
     */
    for (unsigned i = 0; i < s->runs_count; i++) {
        if (s->runs[i].origin == exp->target.origin)
            return s->runs[i].start <= exp->target.hlc;
    }
    return false;
}

void row_state_settle(struct row_state *s)
{
    const bool rows = row_state_has_rows(s);
    unsigned kept = 0;

    vv_init(&s->ctx);
    vv_init(&s->rctx);
    s->groups_count = 0;
    if (!rows) {
        /* Never a collection, or a string in chunks: there is nothing to clear. */
        vv_init(&s->clear);
        vv_init(&s->clear_by);
    }
    /* Kept beside the vector, as the evidence for the next time. */
    s->rows = rows && !vv_empty(&s->clear);
    for (unsigned i = 0; i < s->exps_count; i++) {
        if (exp_has_target(s, &s->exps[i]))
            s->exps[kept++] = s->exps[i];
    }
    s->exps_count = kept;
    if (s->types_count == 0) {
        s->count = 0;
        s->count_lsn = 0;
    }
    /*
     * An LSET that has not seen the DEL may bring an element back, and with it a part of what was
     * used of its run: positions are remembered as long as such a change can come.
     */
    if (s->types_count == 0 && vv_empty(&s->clear)) {
        s->list.used = false;
        s->list.runs_count = 0;
    }
}
