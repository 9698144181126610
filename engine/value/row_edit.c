/*
 * Local edits of expiry, and what a change has seen of counters.
 */
#include "engine/base/mem.h"

#include "engine/value/row_state.h"

/* Takes the settings of what shows out of the state. */
static void group_empty(struct row_state *s, const struct row_winner *winner)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < s->exps_count; i++) {
        const struct row_exp *exp = &s->exps[i];

        if (row_group_cmp(exp->type, exp->target, winner->target_type, winner->target) != 0)
            s->exps[kept++] = *exp;
    }
    s->exps_count = kept;
}

/* `etag` none: take the target's own. */
static int expiry_set(struct bytes row, struct tag etag, uint64_t at_ms, struct buf *out)
{
    struct row_state *state = mem_alloc(sizeof(*state));
    struct row_winner winner;
    int err = row_decode(row, state);

    if (err == 0 && state->poison != 0)
        err = -ERR_POISON;
    if (err == 0) {
        row_state_winner(state, &winner);
        if (winner.type == VT_NONE)
            err = -ERR_NOT_FOUND;
    }
    if (err == 0) {
        group_empty(state, &winner);
        const struct row_exp exp = {.type = winner.target_type,
                                    .target = winner.target,
                                    .etag = tag_is_none(etag) ? winner.target : etag,
                                    .at_ms = at_ms};
        if (at_ms != 0)
            err = row_add_exp(state, &exp);
    }
    if (err == 0)
        err = row_encode(state, out);
    mem_free(state);
    return err;
}

int row_set_expiry(struct bytes row, struct tag etag, uint64_t at_ms, struct buf *out)
{
    return expiry_set(row, etag, at_ms == 0 ? ROW_EXPIRE_NEVER : at_ms, out);
}

int row_set_expiry_alone(struct bytes row, uint64_t at_ms, struct buf *out)
{
    const uint64_t at = at_ms == ROW_EXPIRE_NEVER ? 0 : at_ms;
    struct row_view view;
    int err;

    if (row.len < ROW_VALUE_AT || row.ptr[0] > ROW_VALUE_TTL)
        return expiry_set(row, tag_of(0, 0), at, out);
    err = row_view(row, 0, &view);
    if (err == 0)
        err = buf_reserve(out, row_value_size(view.value.len, at != 0));
    if (err != 0)
        return err;
    buf_commit(out, row_value_store(buf_end(out), view.tag, view.value, at));
    return 0;
}

int row_seen(struct bytes row, struct buf *out)
{
    struct row_state *state;
    unsigned count = 0;
    int err;

    if (row.len <= 1 || row.ptr[0] == ROW_VALUE || row.ptr[0] == ROW_VALUE_TTL ||
        row.ptr[0] == ROW_COLL)
        return 0;
    state = mem_alloc(sizeof(*state));
    err = row_decode(row, state);
    if (err == 0 && state->poison != 0)
        err = -ERR_POISON;
    if (err == 0 && state->runs_count != 0)
        err = buf_reserve(out, 1 + state->runs_count * (size_t)ROW_CUT_BYTES_MAX);
    if (err != 0 || state->runs_count == 0) {
        mem_free(state);
        return err;
    }

    const size_t head = out->len;

    buf_commit(out, 1);
    for (unsigned i = 0; i < state->runs_count; i++) {
        const struct row_run *run = &state->runs[i];
        const struct row_cut cut = {
            .hlc = run->hlc, .origin = run->origin, .isum = run->isum, .fsum = run->fsum};
        struct row_cut floor;

        row_state_cover(state, NULL, run->origin, &floor);
        if (run->hlc <= floor.hlc)
            continue; /* A DEL has seen it already. */
        row_cut_put(out, &cut);
        count++;
    }
    out->ptr[head] = (uint8_t)count;
    if (count == 0)
        buf_truncate(out, head);
    mem_free(state);
    return 0;
}
