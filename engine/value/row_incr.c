/*
 * Increments made here.
 *
 * An origin ships the sum of its run so far, not the delta: the latest state of a run replaces the
 * former, so that nothing is counted twice. A run that DELs have seen whole is never continued,
 * even if it is still in the row: a peer that has collected it already would count its old sum
 * again. Then a new run begins, with the tag of the increment as its start. A run that only a SET
 * has seen goes on: a concurrent SET that wins in the end must show what it has not seen of it.
 *
 * Floating point: Redis adds the delta to the number it reads from the text, and stores the text
 * of the sum. So does this; the run then gets whatever makes the row show that very sum, to twice
 * the digits of long double.
 */
#include <math.h>

#include "engine/base/mem.h"

#include "engine/value/row_outline.h"
#include "engine/value/row_state.h"

/* What all increments share. */
struct edit {
    struct row_state *state;
    struct row_winner winner;
    struct tag tag;
    bool fresh;
    struct row_run run;     /* The own run before the increment; start == tag.hlc: a new one. */
    struct row_sums sums;   /* Live sums before. */
    int64_t base_int;       /* The base, if it is an integer. */
    long double base_float; /* The base in any case. */
    bool base_is_int;
};

/* What is left of an absent or expired row is covered: floors stay, to count concurrent parts. */
static int remains_cover(struct row_state *s, struct tag tag)
{
    if (s->types_count != 0)
        return -ERR_TYPE;
    for (unsigned i = 0; i < s->runs_count; i++) {
        const struct row_run *run = &s->runs[i];
        const struct row_floor floor = {
            .cut = {.hlc = run->hlc, .origin = run->origin, .isum = run->isum, .fsum = run->fsum},
            .del_tag = tag};
        const int err = row_add_floor(s, &floor);

        if (err != 0)
            return err;
    }
    s->runs_count = 0;
    s->sibs_count = 0;
    s->exps_count = 0;
    return 0;
}

/* The own run, or a new one. */
static void run_find(struct edit *edit)
{
    const struct row_state *s = edit->state;
    struct row_cut cover;

    edit->run =
        (struct row_run){.start = edit->tag.hlc, .hlc = edit->tag.hlc, .origin = edit->tag.origin};
    row_state_cover(s, NULL, edit->tag.origin, &cover);
    for (unsigned i = 0; i < s->runs_count; i++) {
        if (s->runs[i].origin == edit->tag.origin && s->runs[i].hlc > cover.hlc)
            edit->run = s->runs[i];
    }
}

static int edit_open(struct edit *edit, struct bytes row, uint64_t now_ms, struct tag tag)
{
    int err;

    edit->tag = tag;
    edit->state = mem_alloc(sizeof(*edit->state));
    err = row_decode(row, edit->state);
    if (err == 0 && edit->state->poison != 0)
        err = -ERR_POISON;
    if (err != 0)
        return err;
    row_state_winner(edit->state, &edit->winner);
    edit->fresh = edit->winner.type == VT_NONE ||
                  (edit->winner.expire_at_ms != 0 && edit->winner.expire_at_ms <= now_ms);
    if (edit->fresh) {
        err = remains_cover(edit->state, tag);
        row_state_winner(edit->state, &edit->winner);
    } else if (edit->winner.type != VT_STRING) {
        err = -ERR_TYPE;
    }
    if (err != 0)
        return err;
    run_find(edit);
    row_state_sums(edit->state, edit->winner.sib, &edit->sums);
    return 0;
}

static void edit_close(struct edit *edit)
{
    mem_free(edit->state);
}

/* A second increment within one batch has the tag of the first: it takes its place. */
static bool replace_run(struct row_state *row, const struct row_run *run)
{
    for (unsigned i = 0; i < row->runs_count; i++) {
        if (row->runs[i].origin == run->origin && row->runs[i].hlc == run->hlc) {
            row->runs[i] = *run;
            return true;
        }
    }
    return false;
}

/* Puts the changed run into the row and writes the row. */
static int edit_finish(struct edit *edit, struct buf *out, struct row_incr *result)
{
    int err;

    edit->run.hlc = edit->tag.hlc;
    err = replace_run(edit->state, &edit->run) ? 0 : row_add_run(edit->state, &edit->run);
    if (err == 0)
        err = row_encode(edit->state, out);
    if (err != 0)
        return err;
    result->start = edit->run.start;
    result->isum = edit->run.isum;
    result->fsum = edit->run.fsum;
    result->fresh = edit->fresh;
    return 0;
}

/* Reads the base as a number. */
static int base_read(struct edit *edit)
{
    edit->base_int = 0;
    edit->base_is_int = true;
    if (edit->winner.sib != NULL)
        edit->base_is_int = num_parse_i64(edit->winner.sib->value, &edit->base_int);
    edit->base_float = (long double)edit->base_int;
    if (!edit->base_is_int && !num_parse_ldouble(edit->winner.sib->value, &edit->base_float))
        return -ERR_FORMAT;
    return 0;
}

static bool is_float(const struct edit *edit)
{
    return !edit->base_is_int || edit->sums.has_float;
}

/* What the row shows now, unrounded; the order of additions is that of row_view. */
static struct fsum shown(const struct edit *edit)
{
    long double base = edit->base_float;

    if (edit->base_is_int)
        base = (long double)(edit->base_int + edit->sums.isum);
    else
        base += (long double)edit->sums.isum;
    return fsum_add(fsum_of(base), edit->sums.fsum);
}

/* The integer that Redis would read from the text; false if the text is none. */
static bool int_from_text(const struct edit *edit, int64_t *out)
{
    char tmp[ROW_TEXT_BYTES];

    if (!edit->winner.counter)
        return false;
    const size_t len = num_print_ldouble(tmp, fsum_value(shown(edit)));
    return num_parse_i64(bytes_of(tmp, len), out);
}

/* The float part of the run takes what makes the row show `target`. */
static void run_reach(struct edit *edit, long double target)
{
    edit->run.fsum = fsum_add(edit->run.fsum, fsum_sub(fsum_of(target), shown(edit)));
}

static int incr_int(struct edit *edit, int64_t delta, int64_t *out_visible)
{
    row_i128 sum;
    int64_t isum;
    int64_t visible;

    if (base_read(edit) != 0)
        return -ERR_FORMAT;
    if (is_float(edit)) {
        if (!int_from_text(edit, &visible))
            return -ERR_FORMAT;
        sum = visible;
    } else {
        sum = edit->base_int + edit->sums.isum;
    }
    /* Concurrent increments may have left the range: what leads back into it is taken. */
    sum += delta;
    if (sum < INT64_MIN || sum > INT64_MAX)
        return -ERR_RANGE;
    *out_visible = (int64_t)sum;
    if (!is_float(edit) && !__builtin_add_overflow(edit->run.isum, delta, &isum)) {
        edit->run.isum = isum;
        return 0;
    }
    /* A run that spans more than 64 bits goes on in its float part, which holds them exactly. */
    run_reach(edit, (long double)sum);
    return 0;
}

/* Rows that need not be decoded. 1: done; 0: take the long way; or an error. */
static int incr_int_fast(struct bytes row, int64_t delta, struct tag tag, struct buf *out,
                         struct row_incr *result)
{
    uint64_t start = tag.hlc;
    int64_t sum = delta;
    const bool fresh = row.len == 0 || (row.len == 1 && row.ptr[0] == ROW_DEAD);
    int err;

    if (!fresh) {
        if (row.len != ROW_COUNT_BYTES || row.ptr[0] != ROW_COUNT || row.ptr[1] != tag.origin)
            return 0;
        start = le64_load(row.ptr + ROW_COUNT_START_AT);
        if (__builtin_add_overflow((int64_t)le64_load(row.ptr + ROW_COUNT_SUM_AT), delta, &sum))
            return -ERR_RANGE;
    }
    err = buf_reserve(out, ROW_COUNT_BYTES);
    if (err != 0)
        return err;
    buf_commit(out, row_count_store(buf_end(out), start, tag, sum));
    *result = (struct row_incr){.start = start, .isum = sum, .visible = sum, .fresh = fresh};
    return 1;
}

/* The own run of a number that was set, or has other runs, too. As above. */
static int incr_int_outline(struct bytes row, int64_t delta, struct tag tag, struct buf *out,
                            struct row_incr *result)
{
    struct row_outline outline;
    struct row_outline_run old, run;
    int64_t sum;

    if (!row_outline_open(row, &outline) || (outline.parts & (PART_TYPES | PART_CTX)) != 0 ||
        !row_outline_run(&outline, tag.origin, &old) || !row_outline_sum(&outline, &sum) ||
        old.hlc > tag.hlc)
        return 0;
    run = old;
    run.hlc = tag.hlc;
    if (__builtin_add_overflow(sum, delta, &sum) ||
        __builtin_add_overflow(old.isum, delta, &run.isum))
        return 0;
    const int err = row_outline_put_run(&outline, &old, &run, out);
    *result = (struct row_incr){.start = run.start, .isum = run.isum, .visible = sum};
    return err == 0 ? 1 : err;
}

int row_incr_int(struct bytes row, uint64_t now_ms, int64_t delta, struct tag tag, struct buf *out,
                 struct row_incr *out_incr)
{
    struct row_incr result;
    struct edit edit;
    int err = incr_int_fast(row, delta, tag, out, &result);

    if (err == 0)
        err = incr_int_outline(row, delta, tag, out, &result);
    if (err != 0) {
        if (err < 0)
            return err;
        *out_incr = result;
        return 0;
    }
    result = (struct row_incr){0};
    err = edit_open(&edit, row, now_ms, tag);
    if (err == 0)
        err = incr_int(&edit, delta, &result.visible);
    if (err == 0)
        err = edit_finish(&edit, out, &result);
    edit_close(&edit);
    if (err == 0)
        *out_incr = result;
    return err;
}

/* The number that Redis would read. */
static long double float_visible(const struct edit *edit)
{
    char tmp[ROW_TEXT_BYTES];
    long double visible = fsum_value(shown(edit));
    size_t len;

    if (!edit->sums.has_float || !isfinite(visible))
        return visible;
    len = num_print_ldouble(tmp, visible);
    /* What was printed is a number. Too long to be read again: then nothing was rounded off. */
    if (!num_parse_ldouble(bytes_of(tmp, len), &visible))
        return fsum_value(shown(edit));
    return visible;
}

static int incr_float(struct edit *edit, long double delta, long double *out_visible)
{
    long double visible;

    if (base_read(edit) != 0)
        return -ERR_FORMAT;
    visible = float_visible(edit) + delta;
    if (!isfinite(visible))
        return -ERR_RANGE;
    run_reach(edit, visible);
    *out_visible = visible;
    return 0;
}

int row_incr_float(struct bytes row, uint64_t now_ms, long double delta, struct tag tag,
                   struct buf *out, struct row_incr *out_incr)
{
    struct row_incr result = {0};
    struct edit edit;
    int err = edit_open(&edit, row, now_ms, tag);

    if (err == 0)
        err = incr_float(&edit, delta, &result.visible_float);
    if (err == 0)
        err = edit_finish(&edit, out, &result);
    edit_close(&edit);
    if (err == 0)
        *out_incr = result;
    return err;
}

static int incr_score(struct edit *edit, double delta, long double *out_visible)
{
    const double old = row_state_score(edit->state, edit->winner.sib);
    const double sum = old + delta;

    if (isnan(sum))
        return -ERR_RANGE;
    *out_visible = (long double)sum;
    if (isfinite(sum)) {
        const struct fsum change = fsum_diff((long double)sum, (long double)old);
        edit->run.fsum = fsum_add(edit->run.fsum, change);
    } else if (isfinite(old)) {
        edit->run.fsum = fsum_of((long double)sum);
    }
    return 0;
}

int row_incr_score(struct bytes row, double delta, struct tag tag, struct buf *out,
                   struct row_incr *out_incr)
{
    struct row_incr result = {0};
    struct edit edit;
    int err = edit_open(&edit, row, 0, tag);

    if (err == 0)
        err = incr_score(&edit, delta, &result.visible_float);
    if (err == 0)
        err = edit_finish(&edit, out, &result);
    edit_close(&edit);
    if (err == 0)
        *out_incr = result;
    return err;
}
