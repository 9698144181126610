/*
 * The public functions on rows that join, check and clip: they decode, work on states, encode.
 */
#include "engine/value/row.h"

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/value/row_chunk.h"
#include "engine/value/row_outline.h"
#include "engine/value/row_plain.h"
#include "engine/value/row_state.h"

/* States are too large for the stack; these calls are the slow paths (row_plain.h). */
static struct row_state *state_create(void)
{
    return mem_alloc(sizeof(struct row_state));
}

/* DEAD, VALUE and the like: settled, and without parts that joining could reduce. */
static bool is_simple(struct bytes row)
{
    return row.len == 0 || row.ptr[0] <= ROW_CHUNKED || row.ptr[0] == ROW_CHUNKED_TTL;
}

static bool is_dead(struct bytes row)
{
    return row.len == 0 || (row.len == 1 && row.ptr[0] == ROW_DEAD);
}

static int append_row(struct bytes row, struct buf *out)
{
    return row.len == 0 ? buf_append_u8(out, ROW_DEAD) : buf_append_bytes(out, row);
}

/* Joins rows[0 .. n) into `into`, which is initialised. */
static int join_all(struct row_state *into, const struct bytes *rows, size_t n)
{
    struct row_state *from = state_create();
    int err = 0;

    for (size_t i = 0; err == 0 && i < n; i++) {
        err = row_decode(rows[i], from);
        if (err == 0)
            err = row_state_join(into, from);
    }
    mem_free(from);
    return err;
}

static bool any_chunk(const struct bytes *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (row_is_chunk(rows[i]))
            return true;
    }
    return false;
}

int row_merge_partial(const struct bytes *operands, size_t n, struct buf *out)
{
    const size_t len = out->len;
    struct row_state *into;
    int err;

    CHECK(n >= 1);
    err = n == 2 ? row_plain_join(operands[0], operands[1], out) : 0;
    if (err != 0)
        return err < 0 ? err : 0;
    if (any_chunk(operands, n))
        return row_chunk_join(operands, n, out);
    into = state_create();
    err = row_decode(operands[0], into);
    if (err == 0)
        err = join_all(into, operands + 1, n - 1);
    if (err == 0)
        err = row_encode(into, out);
    mem_free(into);
    if (err != 0)
        buf_truncate(out, len);
    return err;
}

int row_merge(struct bytes a, struct bytes b, struct buf *out)
{
    const struct bytes both[2] = {a, b};

    if (is_simple(a) && is_simple(b)) {
        if (is_dead(a) || bytes_eq(a, b))
            return append_row(b, out);
        if (is_dead(b))
            return append_row(a, out);
    }
    return row_merge_partial(both, 2, out);
}

/* Rows of chunks have no contexts to be settled. */
static int fold_chunk(struct bytes existing, const struct bytes *operands, size_t n,
                      struct buf *out)
{
    struct buf joined;
    int err;

    if (n == 0)
        return row_chunk_join(&existing, 1, out);
    buf_init(&joined, SIZE_MAX);
    err = row_chunk_join(operands, n, &joined);
    if (err == 0) {
        const struct bytes both[2] = {existing, buf_bytes(&joined)};
        err = row_chunk_join(both, 2, out);
    }
    buf_deinit(&joined);
    return err;
}

int row_merge_fold(struct bytes existing, const struct bytes *operands, size_t n, struct buf *out)
{
    const size_t len = out->len;
    struct row_state *into;
    int err;

    if (n == 0 && is_simple(existing))
        return append_row(existing, out);
    err = n == 1 ? row_plain_fold(existing, operands[0], out) : 0;
    if (err != 0)
        return err < 0 ? err : 0;
    if (row_is_chunk(existing) || any_chunk(operands, n))
        return fold_chunk(existing, operands, n, out);
    into = state_create();
    err = row_decode(existing, into);
    if (err == 0)
        err = join_all(into, operands, n);
    if (err == 0) {
        row_state_settle(into);
        err = row_encode(into, out);
    }
    mem_free(into);
    if (err != 0)
        buf_truncate(out, len);
    return err;
}

int row_merge_store(struct bytes existing, const struct bytes *operands, size_t n, struct buf *out)
{
    if (existing.len == 0)
        return row_merge_partial(operands, n, out);
    return row_merge_fold(existing, operands, n, out);
}

int row_settle(struct bytes row, struct buf *out)
{
    return row_merge_fold(row, NULL, 0, out);
}

int row_check(struct bytes row)
{
    if (row_is_chunk(row))
        return row_chunk_check(row);
    struct row_state *state = state_create();
    struct buf again;
    int err = row_decode(row, state);

    buf_init(&again, SIZE_MAX);
    if (err == 0 && state->poison != 0)
        err = -ERR_POISON;
    if (err == 0 && row.len != 0) {
        row_state_reduce(state);
        err = row_encode(state, &again);
        if (err == 0 && !bytes_eq(row, buf_bytes(&again)))
            err = -ERR_CORRUPT;
    }
    buf_deinit(&again);
    mem_free(state);
    return err;
}

uint64_t row_string_bytes(struct bytes row)
{
    uint64_t longest = 0;

    if (row_is_chunked(row))
        return le64_load(row.ptr + ROW_CHUNKED_LEN_AT);
    if (row.len == 0 || row.ptr[0] != ROW_GENERAL)
        return 0;
    struct row_state *state = state_create();
    if (row_decode(row, state) == 0) {
        for (unsigned i = 0; i < state->sibs_count; i++)
            longest = u64_max(longest, state->sibs[i].chunked ? state->sibs[i].len : 0);
    }
    mem_free(state);
    return longest;
}

STATIC_ASSERT(ROW_TIMES_MAX == ROW_EXPS_MAX);

unsigned row_times(struct bytes row, uint64_t out[ROW_TIMES_MAX])
{
    unsigned count = 0;

    if (row.len < ROW_GENERAL_HEAD_BYTES || row.ptr[0] != ROW_GENERAL ||
        (le16_load(row.ptr + 1) & PART_EXPS) == 0)
        return 0;
    struct row_state *state = state_create();
    if (row_decode(row, state) == 0) {
        for (unsigned i = 0; i < state->exps_count; i++) {
            if (state->exps[i].at_ms != ROW_EXPIRE_NEVER)
                out[count++] = state->exps[i].at_ms;
        }
    }
    mem_free(state);
    return count;
}

bool row_asserts_type(struct bytes row)
{
    if (row.len != 0 && row.ptr[0] == ROW_COLL)
        return true;
    return row.len >= 3 && row.ptr[0] == ROW_GENERAL && (le16_load(row.ptr + 1) & PART_TYPES) != 0;
}

/* --- below a clear vector --- */

bool row_covered(struct bytes row, const struct vv *clear)
{
    struct row_state *state;
    bool covered = true;

    if (is_dead(row))
        return true;
    if ((row.ptr[0] == ROW_VALUE || row.ptr[0] == ROW_VALUE_TTL) && row.len >= ROW_VALUE_AT)
        return vv_covers(clear, tag_load(row.ptr + ROW_TAG_AT));
    if (row.ptr[0] == ROW_COUNT && row.len == ROW_COUNT_BYTES)
        return le64_load(row.ptr + ROW_COUNT_HLC_AT) <= vv_get(clear, row.ptr[1]);
    state = state_create();
    if (row_decode(row, state) != 0 || state->poison != 0)
        covered = false;
    for (unsigned i = 0; covered && i < state->sibs_count; i++)
        covered = vv_covers(clear, state->sibs[i].tag);
    for (unsigned i = 0; covered && i < state->runs_count; i++)
        covered = vv_covers(clear, tag_of(state->runs[i].hlc, state->runs[i].origin));
    for (unsigned i = 0; covered && i < state->floors_count; i++)
        covered = vv_covers(clear, state->floors[i].del_tag);
    mem_free(state);
    return covered;
}

/*
 * Floors go with the rest of what the key's removal has seen: whoever has swept the row does not
 * have them any more. A run that goes on after that counts as a whole.
 */
static void clip_floors(struct row_state *s, const struct vv *clear)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < s->floors_count; i++) {
        if (!vv_covers(clear, s->floors[i].del_tag))
            s->floors[kept++] = s->floors[i];
    }
    s->floors_count = kept;
}

int row_clip(struct bytes row, const struct vv *clear, struct buf *out)
{
    struct row_state *state;
    int err;

    if (is_simple(row))
        return row_covered(row, clear) ? buf_append_u8(out, ROW_DEAD) : append_row(row, out);
    state = state_create();
    err = row_decode(row, state);
    if (err == 0 && state->poison == 0) {
        vv_copy(&state->ctx, clear);
        vv_copy(&state->rctx, clear);
        clip_floors(state, clear);
        row_state_reduce(state);
        row_state_settle(state);
    }
    if (err == 0)
        err = row_encode(state, out);
    mem_free(state);
    return err;
}

int row_clear(struct bytes row, struct vv *out)
{
    struct row_outline outline;
    struct row_state *state;
    int err;

    vv_init(out);
    if (is_simple(row))
        return 0;
    if (row_outline_open(row, &outline)) {
        row_outline_clear(&outline, out);
        return 0;
    }
    state = state_create();
    err = row_decode(row, state);
    if (err == 0 && state->poison != 0)
        err = -ERR_POISON;
    if (err == 0)
        vv_copy(out, &state->clear);
    mem_free(state);
    return err;
}

int row_list_meta(struct bytes row, struct list_meta *out)
{
    struct row_state *state;
    int err;

    list_meta_init(out);
    if (is_simple(row))
        return 0;
    state = state_create();
    err = row_decode(row, state);
    if (err == 0 && state->poison != 0)
        err = -ERR_POISON;
    if (err == 0)
        *out = state->list;
    mem_free(state);
    return err;
}

int row_list_append(struct tag tag, uint64_t count, uint64_t lsn, const struct list_meta *meta,
                    uint64_t expire_at_ms, struct buf *out)
{
    struct row_state *state = state_create();

    row_state_init(state);
    state->types[0] = (struct row_type){.type = VT_LIST, .tag = tag};
    state->types_count = 1;
    state->count = count;
    state->count_lsn = lsn;
    int err = list_meta_join(&state->list, meta);
    if (err == 0 && expire_at_ms != 0 && expire_at_ms != ROW_EXPIRE_NEVER) {
        const struct row_exp exp = {
            .type = VT_LIST, .target = tag, .etag = tag, .at_ms = expire_at_ms};
        err = row_add_exp(state, &exp);
    }
    if (err == 0)
        err = row_encode(state, out);
    mem_free(state);
    return err;
}
