/*
 * Garbage collection of a full row.
 *
 * `stable` is what every member has durably. An op made after its origin had all of it has seen all
 * of it, and every op made before has arrived here, and does not come again with a replay, because
 * acknowledgements travel behind the ops of their member. All other members have these by now, too:
 * what such an op removed here, nobody shows and builds upon. So:
 *
 *     losing value        dropped when it and a greater value are stable: whatever removes the
 *                         greater one from now on has seen both. Where several are HyperLogLogs:
 *                         when all values are stable; what they show together becomes the value of
 *                         the greatest
 *     expiry setting      the same, with the longest one as the winner. One of a generation of a
 *                         string in chunks also when nothing shows that generation any more, as its
 *                         chunks do (row_chunk.h)
 *     type assertion      of one type like values; a losing type when its element rows are gone
 *     run                 when it is stable and under a floor whose DEL is stable. A live cut is
 *                         not enough: it goes with its value, and a member that has collected the
 *                         run could not name it in the next one
 *     floor               with its run, or when the run began after it. Of an element only when the
 *                         clear vector of its key is stable, too: it takes a run without a floor,
 *                         and a member that has not heard of it goes on with that run. Below a
 *                         further one when both are stable
 *     item of a cut       when the run is a later one and the start of that is stable
 *     clear vector        when its DELs are stable and the element rows are swept
 *     expired row         whole, when all of it is stable and what shows had expired at a time
 *                         up to which everything has arrived: then nobody can have set it longer.
 *                         A value below it counts, too: who removes what shows, since it is
 *                         expired, and has not seen that value brings it to light
 */
#include "engine/base/mem.h"

#include "engine/value/row_state.h"

/* What a collection works with. */
struct gc {
    struct row_state *state;
    const struct row_horizons *horizons;
    struct buf cuts;   /* Shortened cut lists; the state borrows from it, */
    struct buf joined; /* and from what HyperLogLogs show together. */
    uint16_t sweep_types;
};

static bool is_stable(const struct gc *gc, struct tag tag)
{
    return vv_covers(gc->horizons->stable, tag);
}

static const struct row_run *run_of(const struct row_state *s, uint8_t origin)
{
    for (unsigned i = 0; i < s->runs_count; i++) {
        if (s->runs[i].origin == origin)
            return &s->runs[i];
    }
    return NULL;
}

/* --- expired --- */

static bool all_stable(const struct gc *gc)
{
    const struct row_state *s = gc->state;

    for (unsigned i = 0; i < s->sibs_count; i++) {
        if (!is_stable(gc, s->sibs[i].tag))
            return false;
    }
    for (unsigned i = 0; i < s->runs_count; i++) {
        if (!is_stable(gc, tag_of(s->runs[i].hlc, s->runs[i].origin)))
            return false;
    }
    for (unsigned i = 0; i < s->types_count; i++) {
        if (!is_stable(gc, s->types[i].tag))
            return false;
    }
    for (unsigned i = 0; i < s->exps_count; i++) {
        if (!is_stable(gc, s->exps[i].etag))
            return false;
    }
    return true;
}

/* Empties the state if what it shows is dead for good. */
static void collect_expired(struct gc *gc)
{
    struct row_state *s = gc->state;
    const uint64_t lst = gc->horizons->lst;
    struct row_winner winner;

    row_state_winner(s, &winner);
    if (winner.expire_at_ms == 0 || winner.expire_at_ms > gc->horizons->now_ms)
        return;
    /* Everything up to the deadline, and up to the winner, has arrived. */
    if (winner.expire_at_ms >= hlc_ms(lst) || winner.tag.hlc > lst)
        return;
    if (!is_stable(gc, winner.target) || !all_stable(gc))
        return;
    /* Element rows of a collection, and chunks of a string, go first. */
    for (unsigned i = 0; i < s->types_count; i++)
        gc->sweep_types |= (uint16_t)(1u << s->types[i].type);
    for (unsigned i = 0; i < s->sibs_count; i++) {
        if (s->sibs[i].chunked)
            gc->sweep_types |= (uint16_t)(1u << VT_STRING);
    }
    gc->sweep_types &= (uint16_t)~gc->horizons->swept_types;
    if (gc->sweep_types != 0)
        return;
    s->sibs_count = 0;
    s->runs_count = 0;
    s->types_count = 0;
    s->exps_count = 0;
}

/* --- what lost --- */

/*
 * What lost shares its chunks and its length with all values of its generation. The winner may be
 * of another one, and a value that is not stable yet of this one wins later.
 */
static void keep_len(struct row_state *s, const struct row_sib *lost)
{
    for (unsigned i = 0; i < s->sibs_count; i++) {
        struct row_sib *sib = &s->sibs[i];

        if (sib->chunked && lost->chunked && tag_eq(sib->generation, lost->generation))
            sib->len = u64_max(sib->len, lost->len);
    }
}

/* What stays of HyperLogLogs must show what all of them do. 0, -ENOMEM; 1: it is not time yet. */
static int join_hlls(struct gc *gc)
{
    struct row_state *s = gc->state;
    struct row_sib *winner = &s->sibs[0];

    if (row_hll_count(s) < 2)
        return 0;
    for (unsigned i = 0; i < s->sibs_count; i++) {
        if (!is_stable(gc, s->sibs[i].tag))
            return 1;
        if (tag_cmp(s->sibs[i].tag, winner->tag) > 0)
            winner = &s->sibs[i];
    }
    const int err = row_hll_join(s, &gc->joined);
    if (err == 0 && gc->joined.len != 0)
        winner->value = buf_bytes(&gc->joined);
    return err;
}

static int collect_sibs(struct gc *gc)
{
    struct row_state *s = gc->state;
    struct tag winner = tag_of(0, 0);
    unsigned kept = 0;
    const int err = join_hlls(gc);

    if (err != 0)
        return err < 0 ? err : 0;
    for (unsigned i = 0; i < s->sibs_count; i++) {
        if (is_stable(gc, s->sibs[i].tag))
            winner = tag_max(winner, s->sibs[i].tag);
    }
    for (unsigned i = 0; i < s->sibs_count; i++) {
        if (!is_stable(gc, s->sibs[i].tag) || tag_cmp(s->sibs[i].tag, winner) >= 0)
            s->sibs[kept++] = s->sibs[i];
        else
            keep_len(s, &s->sibs[i]);
    }
    s->sibs_count = kept;
    return 0;
}

/* Of one type, the greatest stable assertion stands for the stable ones below it. */
static void collect_types(struct gc *gc)
{
    struct row_state *s = gc->state;
    unsigned kept = 0;

    for (unsigned i = 0; i < s->types_count; i++) {
        struct tag winner = tag_of(0, 0);

        for (unsigned j = 0; j < s->types_count; j++) {
            if (s->types[j].type == s->types[i].type && is_stable(gc, s->types[j].tag))
                winner = tag_max(winner, s->types[j].tag);
        }
        if (!is_stable(gc, s->types[i].tag) || tag_cmp(s->types[i].tag, winner) >= 0)
            gc->state->types[kept++] = s->types[i];
    }
    s->types_count = kept;
}

/* Whether any assertion of the type is not stable yet. */
static bool type_unstable(const struct gc *gc, uint8_t type)
{
    for (unsigned i = 0; i < gc->state->types_count; i++) {
        if (gc->state->types[i].type == type && !is_stable(gc, gc->state->types[i].tag))
            return true;
    }
    return false;
}

/* A type that lost for good: values at once, collections when their element rows are gone. */
static void collect_conflict(struct gc *gc)
{
    struct row_state *s = gc->state;
    struct row_winner winner;
    unsigned kept = 0;

    row_state_winner(s, &winner);
    if (winner.type == VT_NONE || !is_stable(gc, winner.tag) || !is_stable(gc, winner.target))
        return;
    if (winner.type != VT_STRING) {
        for (unsigned i = 0; i < s->sibs_count; i++) {
            if (!is_stable(gc, s->sibs[i].tag))
                s->sibs[kept++] = s->sibs[i];
        }
        s->sibs_count = kept;
    }
    kept = 0;
    for (unsigned i = 0; i < s->types_count; i++) {
        const uint8_t type = s->types[i].type;
        const uint16_t bit = (uint16_t)(1u << type);

        if (type != winner.type && !type_unstable(gc, type)) {
            if ((gc->horizons->swept_types & bit) != 0)
                continue;
            gc->sweep_types |= bit;
        }
        s->types[kept++] = s->types[i];
    }
    s->types_count = kept;
}

/* --- expiry settings --- */

static bool exp_longer(const struct row_exp *a, const struct row_exp *b)
{
    const int etags = tag_cmp(a->etag, b->etag);

    if (a->at_ms != b->at_ms)
        return a->at_ms > b->at_ms;
    return etags != 0 ? etags > 0 : tag_cmp(a->target, b->target) > 0;
}

/* Of a generation that no value has any more, nor will have. */
static bool is_of_no_value(const struct gc *gc, const struct row_exp *exp)
{
    const struct row_state *s = gc->state;

    if (exp->type != VT_CHUNKED || !is_stable(gc, exp->etag) || !is_stable(gc, exp->target))
        return false;
    for (unsigned i = 0; i < s->sibs_count; i++) {
        if (s->sibs[i].chunked &&
            (tag_eq(s->sibs[i].generation, exp->target) || !is_stable(gc, s->sibs[i].tag)))
            return false;
    }
    return true;
}

static void collect_exps(struct gc *gc)
{
    struct row_state *s = gc->state;
    bool drop[ROW_EXPS_MAX] = {false};
    unsigned kept = 0;

    for (unsigned i = 0; i < s->exps_count; i++) {
        struct row_exp *exp = &s->exps[i];
        bool alone = true;

        drop[i] = is_of_no_value(gc, exp);
        for (unsigned j = 0; j < s->exps_count; j++) {
            const struct row_exp *other = &s->exps[j];

            if (i == j || row_group_cmp(exp->type, exp->target, other->type, other->target) != 0)
                continue;
            alone = false;
            if (is_stable(gc, exp->etag) && is_stable(gc, other->etag) && exp_longer(other, exp))
                drop[i] = true;
        }
        if (!alone || !is_stable(gc, exp->etag) || !is_stable(gc, exp->target))
            continue;
        /* The only one: PERSIST needs no setting, another may count as set with its value. */
        if (exp->at_ms == ROW_EXPIRE_NEVER)
            drop[i] = true;
        exp->etag = exp->target;
    }
    for (unsigned i = 0; i < s->exps_count; i++) {
        if (!drop[i])
            s->exps[kept++] = s->exps[i];
    }
    s->exps_count = kept;
}

/* --- counters --- */

/* Another stable floor of the run counts in its place; of equals the last one stays. */
static bool floor_below(const struct gc *gc, unsigned i)
{
    const struct row_state *s = gc->state;
    const struct row_cut *cut = &s->floors[i].cut;

    for (unsigned j = 0; j < s->floors_count; j++) {
        const struct row_cut *other = &s->floors[j].cut;

        if (j != i && other->origin == cut->origin && is_stable(gc, s->floors[j].del_tag) &&
            (other->hlc > cut->hlc || (other->hlc == cut->hlc && j > i)))
            return true;
    }
    return false;
}

/* The run, too, if all of it is under the floor. */
static bool floor_done(struct gc *gc, const struct row_floor *floor)
{
    struct row_state *s = gc->state;
    const struct row_run *run = run_of(s, floor->cut.origin);

    if (run == NULL)
        return true;
    const bool under = run->hlc <= floor->cut.hlc;
    if (!is_stable(gc, tag_of(under ? run->hlc : run->start, run->origin)))
        return false;
    if (!under)
        return run->start > floor->cut.hlc;
    const unsigned at = (unsigned)(run - s->runs);
    s->runs_count--;
    memmove(&s->runs[at], &s->runs[at + 1], (s->runs_count - at) * sizeof(s->runs[0]));
    return true;
}

static void collect_floors(struct gc *gc)
{
    struct row_state *s = gc->state;
    bool drop[ROW_FLOORS_MAX] = {false};
    unsigned kept = 0;

    for (unsigned i = 0; !gc->horizons->clearing && i < s->floors_count; i++)
        drop[i] = is_stable(gc, s->floors[i].del_tag) &&
                  (floor_below(gc, i) || floor_done(gc, &s->floors[i]));
    for (unsigned i = 0; i < s->floors_count; i++) {
        if (!drop[i])
            s->floors[kept++] = s->floors[i];
    }
    s->floors_count = kept;
}

/* Shortens the cut list of one value. 0 or -ENOMEM. */
static int collect_cuts(struct gc *gc, struct row_sib *sib)
{
    struct bytes in = sib->cuts;
    const size_t head = gc->cuts.len;
    unsigned count;
    unsigned kept = 0;
    int err = row_cuts_open(&in, &count);

    if (err != 0 || count == 0)
        return err;
    err = buf_reserve(&gc->cuts, 1 + count * (size_t)ROW_CUT_BYTES_MAX);
    if (err != 0)
        return err;
    buf_commit(&gc->cuts, 1);
    for (unsigned i = 0; i < count; i++) {
        struct row_cut cut;

        err = row_cut_get(&in, &cut);
        if (err != 0)
            return err;
        const struct row_run *run = run_of(gc->state, cut.origin);
        if (run != NULL && run->start > cut.hlc && is_stable(gc, tag_of(run->start, run->origin)))
            continue;
        row_cut_put(&gc->cuts, &cut);
        kept++;
    }
    gc->cuts.ptr[head] = (uint8_t)kept;
    if (kept != count)
        sib->cuts = bytes_of(gc->cuts.ptr + head, kept == 0 ? 0 : gc->cuts.len - head);
    return 0;
}

static int collect_all_cuts(struct gc *gc)
{
    size_t size = 0;
    int err;

    for (unsigned i = 0; i < gc->state->sibs_count; i++)
        size += gc->state->sibs[i].cuts.len == 0 ? 0 : VV_ORIGINS_MAX * ROW_CUT_BYTES_MAX + 1;
    /* All at once: slices into the buffer must not move. */
    err = buf_reserve(&gc->cuts, size);
    for (unsigned i = 0; err == 0 && i < gc->state->sibs_count; i++)
        err = collect_cuts(gc, &gc->state->sibs[i]);
    return err;
}

static int collect(struct gc *gc)
{
    struct row_state *s = gc->state;
    int err;

    collect_expired(gc);
    err = collect_sibs(gc);
    if (err != 0)
        return err;
    collect_types(gc);
    collect_conflict(gc);
    collect_exps(gc);
    collect_floors(gc);
    err = collect_all_cuts(gc);
    if (err != 0)
        return err;
    if (gc->horizons->swept && vv_leq(&s->clear_by, gc->horizons->stable)) {
        vv_init(&s->clear);
        vv_init(&s->clear_by);
    }
    s->rows = !vv_empty(&s->clear);
    row_state_settle(s);
    return 0;
}

bool row_clearing(struct bytes row, const struct vv *stable)
{
    struct row_state *state;
    bool clearing = true;

    if (row.len == 0 || row.ptr[0] != ROW_GENERAL)
        return false;
    state = mem_alloc(sizeof(*state));
    if (row_decode(row, state) == 0)
        clearing = !vv_leq(&state->clear_by, stable);
    mem_free(state);
    return clearing;
}

int row_generations(struct bytes row, struct row_generations *out)
{
    struct row_state *state = mem_alloc(sizeof(*state));
    int err = row_decode(row, state);

    if (err == 0 && state->poison != 0)
        err = -ERR_POISON;
    if (err == 0) {
        vv_copy(&out->clear, &state->clear);
        out->count = 0;
        for (unsigned i = 0; i < state->sibs_count; i++) {
            if (!state->sibs[i].chunked)
                continue;
            out->alive[out->count] = state->sibs[i].generation;
            out->tags[out->count++] = state->sibs[i].tag;
        }
    }
    mem_free(state);
    return err;
}

int row_collect(struct bytes row, const struct row_horizons *horizons, struct buf *out,
                uint16_t *out_sweep_types)
{
    const size_t len = out->len;
    struct gc gc = {.horizons = horizons};
    int err;

    *out_sweep_types = 0;
    if (row.len == 0 || row.ptr[0] == ROW_DEAD || row.ptr[0] == ROW_VALUE ||
        row.ptr[0] == ROW_COUNT || row.ptr[0] == ROW_COLL)
        return ROW_UNCHANGED;
    gc.state = mem_alloc(sizeof(*gc.state));
    buf_init(&gc.cuts, SIZE_MAX);
    buf_init(&gc.joined, SIZE_MAX);
    err = row_decode(row, gc.state);
    if (err == 0 && gc.state->poison != 0)
        err = -ERR_POISON;
    if (err == 0)
        err = collect(&gc);
    if (err == 0)
        err = row_encode(gc.state, out);
    buf_deinit(&gc.cuts);
    buf_deinit(&gc.joined);
    mem_free(gc.state);
    if (err != 0) {
        buf_truncate(out, len);
        return err;
    }
    *out_sweep_types = gc.sweep_types;
    if (bytes_eq(row, bytes_of(out->ptr + len, out->len - len))) {
        buf_truncate(out, len);
        return ROW_UNCHANGED;
    }
    return ROW_CHANGED;
}
