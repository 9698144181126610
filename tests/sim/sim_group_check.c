/*
 * What must be true: at every event of memory, and in the end of what the members show and keep.
 */
#include <inttypes.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/value/row_chunk.h"
#include "engine/value/row_state.h"

#include "tests/sim/sim_group.h"

#define BYTES_SLACK (64u << 10)

void gs_check_bounds(struct gs *gs)
{
    for (unsigned i = 0; i < gs->members_count; i++) {
        static size_t fixed;
        const struct gs_member *m = &gs->members[i];

        if (!m->up)
            continue;
        if (fixed == 0)
            fixed = core_memory_bytes(m->core) + BYTES_SLACK;
        if (core_memory_bytes(m->core) > fixed)
            gs_fail(gs, "member %u: the core takes %zu bytes", i, core_memory_bytes(m->core));
    }
    for (unsigned i = 0; i < gs->pairs_count; i++) {
        for (unsigned side = 0; side < 2; side++) {
            if (gs->pairs[i].way[side].bytes > BYTES_SLACK)
                gs_fail(gs, "%zu bytes in flight", gs->pairs[i].way[side].bytes);
        }
    }
}

static uint64_t end_ms(const struct gs *gs)
{
    uint64_t end = 0;

    for (unsigned i = 0; i < gs->members_count; i++)
        if (gs_counts(gs, i))
            end = u64_max(end, gs_now_ms(gs, &gs->members[i]));
    return end + 1;
}

static void check_key(struct gs *gs, unsigned key, uint64_t now_ms)
{
    struct sim_shown want;

    oracle_show(&gs->history, key, now_ms, &want);
    for (unsigned i = 0; i < gs->members_count; i++) {
        struct sim_shown got;

        if (!gs_counts(gs, i))
            continue;
        gs_show(gs, &gs->members[i], key, now_ms, &got);
        if (sim_shown_equal(&want, &got))
            continue;
        if (gs->trace) {
            sim_shown_print("want", &want);
            sim_shown_print("got", &got);
        }
        gs_fail(gs, "key %u differs at member %u, at %" PRIu64, key, i, now_ms);
    }
}

static void trace_bits(const struct gs *gs, const char *name, const struct buf *text)
{
    gs_trace(gs, "%s: %zu bytes", name, text->len);
    for (size_t i = 0; i < text->len; i += ROW_CHUNK_BYTES)
        gs_trace(gs, "  chunk %zu: %016" PRIx64, i / ROW_CHUNK_BYTES,
                 text->len - i < 8 ? 0 : be64_load(text->ptr + i));
}

static bool same_list(const struct gs_list_shown *a, const struct gs_list_shown *b)
{
    if (a->count != b->count)
        return false;
    for (unsigned i = 0; i < a->count; i++) {
        if (a->elems[i].position != b->elems[i].position || a->elems[i].value != b->elems[i].value)
            return false;
    }
    return true;
}

static void trace_list(const struct gs *gs, const char *name, const struct sim_shown *key,
                       const struct gs_list_shown *shown)
{
    if (gs->trace)
        sim_shown_print(name, key);
    for (unsigned i = 0; i < shown->count; i++)
        gs_trace(gs, "  e%u at position %u", shown->elems[i].value, shown->elems[i].position);
}

static void check_list(struct gs *gs, unsigned key, uint64_t now_ms)
{
    struct sim_shown want;
    struct sim_shown got;
    struct gs_list_shown want_elems;
    struct gs_list_shown got_elems;

    gs_list_oracle(gs, key, now_ms, &want, &want_elems);
    for (unsigned i = 0; i < gs->members_count; i++) {
        if (!gs_counts(gs, i))
            continue;
        gs_list_show(gs, &gs->members[i], key, now_ms, &got, &got_elems);
        if (sim_shown_equal(&want, &got) && same_list(&want_elems, &got_elems))
            continue;
        trace_list(gs, "want", &want, &want_elems);
        trace_list(gs, "got", &got, &got_elems);
        gs_fail(gs, "key %u, a list or not, differs at member %u, at %" PRIu64, key, i, now_ms);
    }
}

/* The content, where the key is a string in chunks; check_key has looked at the rest. */
static void check_bits(struct gs *gs, uint64_t now_ms)
{
    struct sim_shown shown;
    struct tag generation;
    struct buf want, got;

    oracle_show(&gs->history, GS_BITS_KEY, now_ms, &shown);
    if (!shown.present || shown.type != VT_STRING || strncmp(shown.text, "chunks", 6) != 0)
        return;
    buf_init(&want, SIZE_MAX);
    buf_init(&got, SIZE_MAX);
    gs_bits_oracle(gs, &generation, &want);
    for (unsigned i = 0; i < gs->members_count; i++) {
        if (!gs_counts(gs, i))
            continue;
        buf_clear(&got);
        gs_bits_show(gs, &gs->members[i], now_ms, &got);
        if (bytes_eq(buf_bytes(&want), buf_bytes(&got)))
            continue;
        trace_bits(gs, "want", &want);
        trace_bits(gs, "got", &got);
        gs_fail(gs, "the string in chunks differs at member %u, at %" PRIu64, i, now_ms);
    }
    buf_deinit(&want);
    buf_deinit(&got);
}

void gs_check_agreed(struct gs *gs)
{
    const uint64_t end = end_ms(gs);

    for (unsigned key = 0; key < SIM_KEYS; key++) {
        for (uint64_t now_ms = end; now_ms <= end + 2000; now_ms += 250)
            check_key(gs, key, now_ms);
    }
    for (unsigned key = GS_LIST_KEY; key < SIM_KEYS + gs->lists_count; key++) {
        for (uint64_t now_ms = end; now_ms <= end + 2000; now_ms += 250)
            check_list(gs, key, now_ms);
    }
    for (uint64_t now_ms = end; gs->bits && now_ms <= end + 2000; now_ms += 250) {
        check_key(gs, GS_BITS_KEY, now_ms);
        check_bits(gs, now_ms);
    }
}

/* A run that went on after a DEL had seen a part of it: its floor is part of the value. */
static bool floors_needed(const struct row_state *state)
{
    for (unsigned i = 0; i < state->floors_count; i++) {
        const struct row_cut *cut = &state->floors[i].cut;
        bool needed = false;

        for (unsigned j = 0; j < state->runs_count; j++) {
            const struct row_run *run = &state->runs[j];

            needed |= run->origin == cut->origin && run->start <= cut->hlc && run->hlc > cut->hlc;
        }
        if (!needed)
            return false;
    }
    return true;
}

/* One setting of a kind: a value may have one, and the counter beside it. */
static bool settings_alone(const struct row_state *state)
{
    for (unsigned i = 1; i < state->exps_count; i++) {
        const struct row_exp *a = &state->exps[i - 1];
        const struct row_exp *b = &state->exps[i];

        if (row_group_cmp(a->type, a->target, b->type, b->target) == 0)
            return false;
    }
    return true;
}

/* Each of a generation that is there. */
static bool settings_shown(const struct row_state *state)
{
    for (unsigned i = 0; i < state->exps_count; i++) {
        const struct row_exp *exp = &state->exps[i];

        if (exp->type == VT_CHUNKED && (state->sibs_count == 0 || !state->sibs[0].chunked ||
                                        !tag_eq(state->sibs[0].generation, exp->target)))
            return false;
    }
    return true;
}

/* Nothing is kept for concurrent changes that cannot come any more. */
static bool is_tidy(const struct gs *gs, const struct buf *row)
{
    struct row_state *state = mem_alloc(sizeof(*state));

    CHECK(row_decode(buf_bytes(row), state) == 0);
    const bool tidy = state->sibs_count <= 1 && state->types_count <= 1 && floors_needed(state) &&
                      state->groups_count == 0 && settings_alone(state) && settings_shown(state) &&
                      vv_empty(&state->ctx) && vv_empty(&state->rctx) && vv_empty(&state->clear);
    if (row->len > 1)
        gs_trace(gs,
                 "left: %u values, %u types, %u runs, %u floors, %u groups, %u settings, "
                 "contexts of %u %u %u %u",
                 state->sibs_count, state->types_count, state->runs_count, state->floors_count,
                 state->groups_count, state->exps_count, state->ctx.count, state->rctx.count,
                 state->clear.count, state->clear_by.count);
    mem_free(state);
    return tidy;
}

/* Bits are in the image, and it is one of the string that shows. */
static bool is_tidy_chunk(struct gs_member *m, struct bytes row)
{
    struct row_view view;
    struct tag generation;
    unsigned count;

    CHECK(row_view(gs_key_row(m, GS_BITS_KEY), 0, &view) == 0);
    CHECK(row_chunk_latest(row, &generation, &count) == 0);
    return row.ptr[0] == ROW_CHUNK && view.type == VT_STRING && view.kind == ROW_KIND_CHUNKS &&
           tag_eq(view.generation, generation);
}

/* Elements of what a key no longer is are gone. */
static void check_swept(struct gs *gs, struct gs_member *m, unsigned key)
{
    struct row_view view;

    if (gs_is_list_key(key) && !gs->retypes)
        return; /* It has no rows of other types. */
    CHECK(row_view(gs_key_row(m, key), 0, &view) == 0);
    for (unsigned t = 0; t < SIM_TYPES; t++) {
        for (unsigned s = 0; view.type != gs->history.types[t] && s < SIM_SUBS; s++) {
            if (gs_elem_row(m, key, t, s).len > 1)
                gs_fail(gs, "an element of key %u, which is none of its type, is left at member %u",
                        key, m->index);
        }
    }
}

void gs_check_collected(struct gs *gs)
{
    for (unsigned i = 0; i < gs->members_count; i++) {
        for (unsigned key = 0; gs_counts(gs, i) && key < GS_KEYS_MAX; key++) {
            if (gs_has_key(gs, key))
                check_swept(gs, &gs->members[i], key);
        }
    }
    for (unsigned row = 0; row < gs->rows_count; row++) {
        const struct buf *first = &gs->members[gs->unlinked == 0 ? 1 : 0].rows[row].mem;

        for (unsigned i = 0; i < gs->members_count; i++) {
            const struct buf *mine = &gs->members[i].rows[row].mem;

            if (!gs_counts(gs, i))
                continue;
            if (row_is_chunk(buf_bytes(mine)) ? !is_tidy_chunk(&gs->members[i], buf_bytes(mine))
                                              : !is_tidy(gs, mine))
                gs_fail(gs, "row %u at member %u is not collected: %zu bytes", row, i, mine->len);
            if ((mine->len > 1) != (first->len > 1))
                gs_fail(gs, "row %u is dead at one of members 0 and %u", row, i);
        }
    }
    for (unsigned i = 0; i < gs->members_count; i++) {
        if (gs_counts(gs, i) && gs->members[i].log_count > 16)
            gs_fail(gs, "member %u keeps %u records", i, gs->members[i].log_count);
    }
}
