/* The facts of a row; see row_explain.h. */
#include "engine/value/row_explain.h"

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "engine/value/row_chunk.h"
#include "engine/value/row_state.h"

struct explain {
    const struct row_state *state;
    const struct row_explain_under *under;
    struct row_winner winner;
    bool expired;
    struct row_explained *out;
};

static bool cleared(const struct explain *x, struct tag tag)
{
    return x->under->clear != NULL && vv_covers(x->under->clear, tag);
}

static struct row_fact *add(struct explain *x, enum row_fact_kind kind, struct tag tag)
{
    struct row_fact *fact = &x->out->facts[x->out->count++];

    *fact = (struct row_fact){.kind = (uint8_t)kind, .tag = tag};
    return fact;
}

/* Of what is the winner, but for what hides it. */
static uint8_t shown_fate(const struct explain *x)
{
    return x->expired ? ROW_FATE_EXPIRED : ROW_FATE_SHOWN;
}

static uint8_t value_fate(const struct explain *x, const struct row_sib *sib)
{
    if (cleared(x, sib->tag))
        return ROW_FATE_REMOVED;
    if (x->winner.type != VT_STRING)
        return ROW_FATE_TYPE;
    if (x->winner.sib == sib)
        return shown_fate(x);
    return !x->expired && row_hll_shows(x->state, sib) ? ROW_FATE_JOINED : ROW_FATE_OLDER;
}

static void add_values(struct explain *x)
{
    for (unsigned i = 0; i < x->state->sibs_count; i++) {
        const struct row_sib *sib = &x->state->sibs[i];
        struct row_fact *fact = add(x, ROW_FACT_VALUE, sib->tag);

        fact->fate = value_fate(x, sib);
        fact->type = VT_STRING;
        fact->value = sib->value;
        fact->chunked = sib->chunked;
        fact->len = sib->chunked ? sib->len : sib->value.len;
        fact->since = sib->generation;
    }
}

static uint8_t type_fate(const struct explain *x, const struct row_type *type)
{
    if (type->type != x->winner.type)
        return ROW_FATE_TYPE;
    return tag_eq(type->tag, x->winner.tag) ? shown_fate(x) : ROW_FATE_OLDER;
}

static void add_types(struct explain *x)
{
    for (unsigned i = 0; i < x->state->types_count; i++) {
        const struct row_type *type = &x->state->types[i];
        struct row_fact *fact = add(x, ROW_FACT_TYPE, type->tag);

        fact->fate = type_fate(x, type);
        fact->type = type->type;
    }
}

/* Whether the base can be added to. */
static bool base_is_number(const struct explain *x, const struct row_sib *base)
{
    int64_t i;
    long double f;

    if (base == NULL || x->under->score)
        return true;
    return !base->chunked && (num_parse_i64(base->value, &i) || num_parse_ldouble(base->value, &f));
}

/* What of a run counts on the base of the row. */
static uint8_t run_fate(const struct explain *x, const struct row_run *run, struct row_fact *fact)
{
    const struct row_sib *base = x->winner.sib;
    struct row_cut floor, cover;

    row_state_cover(x->state, NULL, run->origin, &floor);
    row_state_cover(x->state, base, run->origin, &cover);
    if (cleared(x, tag_of(run->hlc, run->origin)) || run->hlc <= floor.hlc)
        return ROW_FATE_REMOVED;
    if (x->winner.type != VT_STRING)
        return ROW_FATE_TYPE;
    if (run->hlc <= cover.hlc)
        return ROW_FATE_REPLACED;
    if (!base_is_number(x, base))
        return ROW_FATE_WAITS;
    const bool partly = run->start <= cover.hlc;
    fact->counted = partly ? (int64_t)((row_i128)run->isum - cover.isum) : run->isum;
    fact->counted_fsum = partly ? fsum_sub(run->fsum, cover.fsum) : run->fsum;
    return x->expired ? ROW_FATE_EXPIRED : ROW_FATE_ADDED;
}

static void add_counters(struct explain *x)
{
    const struct row_state *s = x->state;

    for (unsigned i = 0; i < s->runs_count; i++) {
        const struct row_run *run = &s->runs[i];
        struct row_fact *fact = add(x, ROW_FACT_RUN, tag_of(run->hlc, run->origin));

        fact->since = tag_of(run->start, run->origin);
        fact->isum = run->isum;
        fact->fsum = run->fsum;
        fact->fate = run_fate(x, run, fact);
    }
    for (unsigned i = 0; i < s->floors_count; i++) {
        const struct row_floor *floor = &s->floors[i];
        struct row_fact *fact = add(x, ROW_FACT_FLOOR, tag_of(floor->cut.hlc, floor->cut.origin));

        fact->since = floor->del_tag;
        fact->isum = floor->cut.isum;
        fact->fsum = floor->cut.fsum;
    }
}

/* The longest setting counts; of equal ones the one with the greatest tag is named. */
static bool exp_beaten(const struct row_state *s, const struct row_exp *exp)
{
    for (unsigned i = 0; i < s->exps_count; i++) {
        const struct row_exp *other = &s->exps[i];

        if (row_group_cmp(exp->type, exp->target, other->type, other->target) != 0)
            continue;
        if (other->at_ms > exp->at_ms ||
            (other->at_ms == exp->at_ms && tag_cmp(other->etag, exp->etag) > 0))
            return true;
    }
    return false;
}

static void add_expiries(struct explain *x)
{
    for (unsigned i = 0; i < x->state->exps_count; i++) {
        const struct row_exp *exp = &x->state->exps[i];
        struct row_fact *fact = add(x, ROW_FACT_EXPIRY, exp->etag);

        fact->since = exp->target;
        fact->type = exp->type == VT_CHUNKED ? (uint8_t)VT_STRING : exp->type;
        fact->at_ms = exp->at_ms;
        if (x->winner.type == VT_NONE ||
            row_group_cmp(exp->type, exp->target, x->winner.target_type, x->winner.target) != 0)
            fact->fate = ROW_FATE_OTHER;
        else
            fact->fate = exp_beaten(x->state, exp) ? ROW_FATE_SHORTER : ROW_FATE_SHOWN;
    }
}

static void add_clears(struct explain *x)
{
    const struct vv *clear = &x->state->clear;

    for (unsigned i = 0; i < clear->count; i++)
        (void)add(x, ROW_FACT_CLEAR, tag_of(clear->hlc[i], clear->origin[i]));
}

static void explain(const struct row_state *s, const struct row_explain_under *under,
                    struct row_explained *out)
{
    struct explain x = {.state = s, .under = under, .out = out};
    const size_t count = (size_t)s->sibs_count + s->types_count + s->runs_count + s->floors_count +
                         s->exps_count + s->clear.count;

    row_state_winner(s, &x.winner);
    x.expired = x.winner.expire_at_ms != 0 && x.winner.expire_at_ms <= under->now_ms;
    out->facts = mem_alloc((count + 1) * sizeof(*out->facts));
    add_values(&x);
    add_types(&x);
    add_counters(&x);
    add_expiries(&x);
    add_clears(&x);
    CHECK(out->count == count);
}

int row_explain(struct bytes row, const struct row_explain_under *under, struct row_explained *out)
{
    struct row_explained explained = {.facts = NULL};

    if (row_is_chunk(row))
        return -ERR_CORRUPT;
    int err = row_view(row, under->now_ms, &explained.view);
    if (err != 0)
        return err;
    struct row_state *state = mem_alloc(sizeof(*state));
    err = row_decode(row, state);
    if (err == 0)
        explain(state, under, &explained);
    mem_free(state);
    if (err == 0)
        *out = explained;
    return err;
}

void row_explained_deinit(struct row_explained *explained)
{
    mem_free(explained->facts);
    explained->facts = NULL;
    explained->count = 0;
}

/* clang-format off */
static const struct {
    const char *word;
    const char *text;
} fates[] = {
    [ROW_FATE_SHOWN] = {"shown", "it has the greatest tag"},
    [ROW_FATE_ADDED] = {"added", "no value was set by one who had seen it: it counts"},
    [ROW_FATE_JOINED] = {"joined", "a HyperLogLog: what is shown has all that it has"},
    [ROW_FATE_EXPIRED] = {"expired", "it has the greatest tag, but its time to live has passed"},
    [ROW_FATE_OLDER] = {"older", "another one has a greater tag"},
    [ROW_FATE_TYPE] = {"type-conflict", "a change of another type has a greater tag"},
    [ROW_FATE_REMOVED] = {"removed", "a removal has seen it"},
    [ROW_FATE_REPLACED] = {"replaced", "who set what is shown had seen it"},
    [ROW_FATE_WAITS] = {"not-a-number", "what is shown is no number: nothing can be added to it"},
    [ROW_FATE_SHORTER] = {"shorter", "another setting is longer"},
    [ROW_FATE_OTHER] = {"not-shown", "what it was set for is not shown"},
};
/* clang-format on */
STATIC_ASSERT(ARRAY_COUNT(fates) == ROW_FATES_COUNT);

const char *row_fate_word(uint8_t fate)
{
    return fates[fate].word;
}

const char *row_fate_text(uint8_t fate)
{
    return fates[fate].text;
}
