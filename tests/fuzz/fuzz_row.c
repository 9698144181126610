/*
 * Rows from outside: reading, showing, joining, clipping and collecting must survive any bytes, and
 * what they make of a sound row must be sound. The input is two rows: length of the first 2, rows.
 */
#include "engine/base/buf.h"
#include "engine/base/check.h"

#include "engine/value/row.h"
#include "engine/value/row_chunk.h"

#include "tests/fuzz/fuzz.h"

#define NOW_MS 1000

static void show(struct bytes row)
{
    char tmp[ROW_TEXT_BYTES];
    struct row_view view;
    double score;

    if (row_view(row, NOW_MS, &view) == 0 && view.present)
        CHECK(row_text(&view, tmp).len <= size_max(view.value.len, sizeof(tmp)));
    IGNORE_RESULT(row_score(row, &score)); /* Only that it returns. */
}

static void expect_sound(const struct buf *row)
{
    const int err = row_check(buf_bytes(row));

    CHECK(err == 0 || err == -ERR_POISON);
    show(buf_bytes(row));
}

/* A sound row of a chunk, with the key row or, as well, without. */
static void collect_chunk(struct bytes row, const struct vv *stable,
                          const struct row_generations *generations)
{
    struct buf out, again;

    buf_init(&out, SIZE_MAX);
    buf_init(&again, SIZE_MAX);
    if (row_chunk_collect(row, stable, generations, &out) == ROW_CHANGED) {
        expect_sound(&out);
        if (row_is_chunk(buf_bytes(&out)))
            CHECK(row_chunk_collect(buf_bytes(&out), stable, generations, &again) == ROW_UNCHANGED);
    }
    buf_deinit(&out);
    buf_deinit(&again);
}

static void collect_chunks(struct bytes row, const struct vv *stable, struct bytes key_row)
{
    struct row_generations generations;

    collect_chunk(row, stable, NULL);
    if (row_generations(key_row, &generations) != 0)
        return;
    collect_chunk(row, stable, &generations);
    IGNORE_RESULT(row_chunk_waits(row, &generations)); /* Only that it returns. */
}

/* Local edits and garbage collection of one sound row. */
static void edit(struct bytes row, struct bytes other)
{
    struct vv stable;
    const struct row_horizons horizons = {
        .stable = &stable, .lst = UINT64_MAX, .now_ms = NOW_MS, .swept = true, .swept_types = 6};
    struct row_incr incr;
    struct buf out;
    uint16_t sweep_types;

    buf_init(&out, SIZE_MAX);
    vv_init(&stable);
    CHECK(vv_raise(&stable, tag_of(UINT64_MAX / 2, 1)) == 0);
    if (row_is_chunk(row))
        collect_chunks(row, &stable, other);
    if (row_collect(row, &horizons, &out, &sweep_types) == ROW_CHANGED)
        expect_sound(&out);
    buf_clear(&out);
    if (row_clip(row, &stable, &out) == 0)
        expect_sound(&out);
    buf_clear(&out);
    if (row_incr_int(row, NOW_MS, -7, tag_of(UINT64_MAX, 1), &out, &incr) == 0)
        expect_sound(&out);
    buf_clear(&out);
    if (row_incr_float(row, NOW_MS, 0.5L, tag_of(UINT64_MAX, 1), &out, &incr) == 0)
        expect_sound(&out);
    buf_clear(&out);
    if (row_set_expiry(row, tag_of(UINT64_MAX, 1), NOW_MS + 1, &out) == 0)
        expect_sound(&out);
    buf_clear(&out);
    IGNORE_RESULT(row_seen(row, &out)); /* Only that it returns. */
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes rows[2];
    struct buf ab;
    struct buf ba;
    size_t first;

    if (size < 2)
        return 0;
    first = size_min(le16_load(data), size - 2);
    rows[0] = bytes_of(data + 2, first);
    rows[1] = bytes_of(data + 2 + first, size - 2 - first);
    for (unsigned i = 0; i < 2; i++) {
        show(rows[i]);
        if (row_check(rows[i]) == 0)
            edit(rows[i], rows[1 - i]);
    }
    buf_init(&ab, SIZE_MAX);
    buf_init(&ba, SIZE_MAX);
    IGNORE_RESULT(row_merge_fold(rows[0], rows + 1, 1, &ab)); /* Only that it returns. */
    buf_clear(&ab);
    if (row_check(rows[0]) == 0 && row_check(rows[1]) == 0 &&
        row_merge(rows[0], rows[1], &ab) == 0) {
        CHECK(row_merge(rows[1], rows[0], &ba) == 0);
        CHECK(bytes_eq(buf_bytes(&ab), buf_bytes(&ba)));
        expect_sound(&ab);
    }
    buf_deinit(&ab);
    buf_deinit(&ba);
    return 0;
}
