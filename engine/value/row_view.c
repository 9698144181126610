/*
 * What a row shows.
 *
 * The visible value of a counter: the base (the value with the greatest tag; 0 if there is none),
 * plus, for each origin in order, what its run holds beyond the cover:
 *
 *     cover = the latest of the origin's floors and the base's cut
 *     run.hlc <= cover.hlc                nothing: all of it was seen
 *     run.start <= cover.hlc < run.hlc    run sum - cover sum
 *     cover.hlc < run.start               run sum
 *
 * HyperLogLogs show all that concurrent values of the key hold (row_hll.c).
 *
 * Integers are summed in 128 bits and saturated; floating point in double words, in the order of
 * origins, so that all members print the same digits.
 */
#include "engine/base/mem.h"

#include "engine/value/row_chunk.h"
#include "engine/value/row_outline.h"
#include "engine/value/row_state.h"

void row_state_cover(const struct row_state *s, const struct row_sib *base, uint8_t origin,
                     struct row_cut *out)
{
    struct row_cut cut;

    *out = (struct row_cut){.origin = origin};
    for (unsigned i = 0; i < s->floors_count; i++) {
        if (s->floors[i].cut.origin == origin && s->floors[i].cut.hlc > out->hlc)
            *out = s->floors[i].cut;
    }
    if (base != NULL && row_cuts_find(base->cuts, origin, &cut) && cut.hlc > out->hlc)
        *out = cut;
}

void row_state_sums(const struct row_state *s, const struct row_sib *base, struct row_sums *out)
{
    out->isum = 0;
    out->fsum = fsum_of(0.0L);
    out->has_float = false;
    for (unsigned i = 0; i < s->runs_count; i++) {
        const struct row_run *run = &s->runs[i];
        struct fsum fsum = run->fsum;
        struct row_cut cover;

        row_state_cover(s, base, run->origin, &cover);
        if (run->hlc <= cover.hlc)
            continue;
        out->isum += run->isum;
        if (run->start <= cover.hlc) {
            out->isum -= cover.isum;
            fsum = fsum_sub(fsum, cover.fsum);
        }
        if (fsum_is_zero(fsum))
            continue;
        out->has_float = true;
        out->fsum = fsum_add(out->fsum, fsum);
    }
}

/* The greatest tag of a live increment on `base`. */
static struct tag live_tag(const struct row_state *s, const struct row_sib *base)
{
    struct tag tag = tag_of(0, 0);

    for (unsigned i = 0; i < s->runs_count; i++) {
        const struct row_run *run = &s->runs[i];
        struct row_cut cover;

        row_state_cover(s, base, run->origin, &cover);
        if (run->hlc > cover.hlc)
            tag = tag_max(tag, tag_of(run->hlc, run->origin));
    }
    return tag;
}

/* The longest setting of a group; ROW_EXPIRE_NEVER: PERSIST. */
static uint64_t longest_of(const struct row_state *s, uint8_t type, struct tag target)
{
    uint64_t at_ms = 0;

    for (unsigned i = 0; i < s->exps_count; i++) {
        const struct row_exp *exp = &s->exps[i];

        if (row_group_cmp(exp->type, exp->target, type, target) == 0)
            at_ms = u64_max(at_ms, exp->at_ms);
    }
    return at_ms;
}

/*
 * The longest setting of what shows. That of a string in chunks is one of its generation; but a
 * value may have a time of its own, from a node without peers or a former build, until it is
 * replaced. A PERSIST of such a one says nothing, so that it may be collected.
 */
static void set_expiry(const struct row_state *s, struct row_winner *out)
{
    uint64_t at_ms = longest_of(s, out->target_type, out->target);

    if ((at_ms == 0 || at_ms == ROW_EXPIRE_NEVER) && out->sib != NULL && out->sib->chunked) {
        out->target_type = VT_CHUNKED;
        out->target = out->sib->generation;
        at_ms = longest_of(s, out->target_type, out->target);
    }
    out->expire_at_ms = at_ms == ROW_EXPIRE_NEVER ? 0 : at_ms;
}

static const struct row_sib *greatest_sib(const struct row_state *s)
{
    const struct row_sib *base = NULL;

    for (unsigned i = 0; i < s->sibs_count; i++) {
        if (base == NULL || tag_cmp(s->sibs[i].tag, base->tag) > 0)
            base = &s->sibs[i];
    }
    return base;
}

void row_state_winner(const struct row_state *s, struct row_winner *out)
{
    const struct row_sib *base = greatest_sib(s);
    const struct tag live = live_tag(s, base);

    *out = (struct row_winner){.type = VT_NONE};
    if (base != NULL || !tag_is_none(live)) {
        out->type = VT_STRING;
        out->sib = base;
        out->counter = !tag_is_none(live);
        out->tag = base == NULL ? live : tag_max(base->tag, live);
        out->target_type = base == NULL ? VT_NONE : VT_STRING;
        out->target = base == NULL ? live : base->tag;
    }
    for (unsigned i = 0; i < s->types_count; i++) {
        if (tag_cmp(s->types[i].tag, out->tag) <= 0)
            continue;
        *out = (struct row_winner){.type = s->types[i].type,
                                   .tag = s->types[i].tag,
                                   .target_type = s->types[i].type,
                                   .target = s->types[i].tag};
    }
    if (out->type != VT_NONE)
        set_expiry(s, out);
}

static int64_t saturate(row_i128 sum)
{
    if (sum > INT64_MAX)
        return INT64_MAX;
    return sum < INT64_MIN ? INT64_MIN : (int64_t)sum;
}

/* The length of a string in chunks: all values of its generation share them. */
static void view_chunked(const struct row_state *s, const struct row_sib *base,
                         struct row_view *out)
{
    out->kind = ROW_KIND_CHUNKS;
    out->generation = base->generation;
    for (unsigned i = 0; i < s->sibs_count; i++) {
        if (s->sibs[i].chunked && tag_eq(s->sibs[i].generation, base->generation))
            out->count = u64_max(out->count, s->sibs[i].len);
    }
}

/* A chunk has nothing to show by itself: the key row tells which generation does. */
static int view_chunk(struct bytes row, struct row_view *out)
{
    unsigned count;
    const int err = row_chunk_latest(row, &out->tag, &count);

    if (err != 0)
        return err;
    out->present = true;
    out->type = VT_STRING;
    out->generation = out->tag;
    return 0;
}

/* The value of a string that is shown. */
static void view_string(const struct row_state *s, const struct row_winner *winner,
                        struct row_view *out)
{
    struct row_sums sums;
    int64_t base_int = 0;
    long double base = 0.0L;

    if (winner->sib != NULL && winner->sib->chunked) {
        view_chunked(s, winner->sib, out);
        return; /* Increments wait until they are covered. */
    }
    if (winner->sib != NULL)
        out->value = s->joined.len != 0 ? s->joined : winner->sib->value;
    if (!winner->counter)
        return;
    row_state_sums(s, winner->sib, &sums);

    const bool is_int = winner->sib == NULL || num_parse_i64(winner->sib->value, &base_int);

    if (!is_int && !num_parse_ldouble(winner->sib->value, &base))
        return; /* Not a number: increments wait until they are covered. */
    if (is_int && !sums.has_float) {
        out->kind = ROW_KIND_INT;
        out->i = saturate(base_int + sums.isum);
        return;
    }
    if (is_int)
        base = (long double)(base_int + sums.isum);
    else
        base += (long double)sums.isum;
    out->kind = ROW_KIND_FLOAT;
    out->f = fsum_value(fsum_add(fsum_of(base), sums.fsum));
}

static void view_state(const struct row_state *s, uint64_t now_ms, struct row_view *out)
{
    struct row_winner winner;

    row_state_winner(s, &winner);
    if (winner.type == VT_NONE)
        return;
    out->type = winner.type;
    out->tag = winner.tag;
    out->target_type = winner.target_type;
    out->target = winner.target;
    out->expire_at_ms = winner.expire_at_ms;
    out->expired = winner.expire_at_ms != 0 && winner.expire_at_ms <= now_ms;
    out->present = !out->expired;
    if (winner.type == VT_STRING) {
        view_string(s, &winner, out);
        return;
    }
    out->count = s->count;
    out->count_lsn = s->count_lsn;
}

/* A string in chunks and nothing else; false, with nothing written, for what is not sound. */
static bool view_plain_chunked(struct bytes row, uint64_t now_ms, struct row_view *out)
{
    if (!row_chunked_sound(row))
        return false;
    const bool shared = row.ptr[0] == ROW_CHUNKED_TTL;
    const struct tag tag = tag_load(row.ptr + ROW_TAG_AT);
    const struct tag generation = tag_load(row.ptr + ROW_CHUNKED_GEN_AT);
    const uint64_t at_ms = le64_load(row.ptr + ROW_CHUNKED_TTL_AT);
    out->type = VT_STRING;
    out->kind = ROW_KIND_CHUNKS;
    out->tag = tag;
    out->generation = generation;
    /* A time of its own, if it has one (set_expiry). */
    out->target_type = at_ms != 0 && !shared ? VT_STRING : VT_CHUNKED;
    out->target = at_ms != 0 && !shared ? tag : generation;
    out->count = le64_load(row.ptr + ROW_CHUNKED_LEN_AT);
    out->expire_at_ms = at_ms;
    out->expired = at_ms != 0 && at_ms <= now_ms;
    out->present = !out->expired;
    return true;
}

int row_view_general(struct bytes row, uint64_t now_ms, struct row_view *out)
{
    struct row_outline outline;

    if (view_plain_chunked(row, now_ms, out))
        return 0;
    if (row_outline_open(row, &outline) && row_outline_view(&outline, out))
        return 0;
    if (row_is_chunk(row))
        return view_chunk(row, out);
    struct row_state *state = mem_alloc(sizeof(*state));
    int err = row_decode(row, state);

    if (err == 0 && state->poison != 0)
        err = -ERR_POISON;
    if (err == 0)
        view_state(state, now_ms, out);
    mem_free(state);
    return err;
}

struct bytes row_text(const struct row_view *view, char tmp[ROW_TEXT_BYTES])
{
    switch ((enum row_kind)view->kind) {
    case ROW_KIND_INT:
        return bytes_of(tmp, num_print_i64(tmp, view->i));
    case ROW_KIND_FLOAT:
        return bytes_of(tmp, num_print_ldouble(tmp, view->f));
    case ROW_KIND_BYTES:
    case ROW_KIND_CHUNKS:
    default:
        return view->value;
    }
}

double row_state_score(const struct row_state *s, const struct row_sib *base)
{
    struct row_sums sums;
    double score = 0.0;

    if (base != NULL && base->value.len == ROW_SCORE_BYTES)
        score = row_score_load(base->value.ptr);
    row_state_sums(s, base, &sums);
    if (!sums.has_float && sums.isum == 0)
        return score;
    return (double)fsum_value(
        fsum_add(fsum_of((long double)score + (long double)sums.isum), sums.fsum));
}

int row_score(struct bytes row, double *out)
{
    struct row_state *state;
    struct row_winner winner;
    int err;

    if (row.len == ROW_VALUE_AT + ROW_SCORE_BYTES && row.ptr[0] == ROW_VALUE) {
        *out = row_score_load(row.ptr + ROW_VALUE_AT);
        return 0;
    }
    state = mem_alloc(sizeof(*state));
    err = row_decode(row, state);
    if (err == 0 && state->poison != 0)
        err = -ERR_POISON;
    if (err == 0) {
        row_state_winner(state, &winner);
        if (winner.type == VT_STRING)
            *out = row_state_score(state, winner.sib);
        else
            err = -ERR_NOT_FOUND;
    }
    mem_free(state);
    return err;
}
