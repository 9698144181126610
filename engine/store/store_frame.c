/*
 * Frames of rows, and their join.
 */
#include "engine/store/store_frame.h"

#include <errno.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/sum.h"

/* Operands joined at once; longer lists are folded, which a join does not notice. */
#define MERGE_OPERANDS_MAX 64

static uint32_t frame_sum(struct bytes key, struct bytes row)
{
    return (uint32_t)sum64_seed(row.ptr, row.len, sum64(key.ptr, key.len));
}

void frame_header_store(uint8_t *out, struct bytes key, struct bytes row)
{
    out[0] = FRAME_VERSION;
    le32_store(out + 1, frame_sum(key, row));
}

bool frame_open(struct bytes key, struct bytes frame, struct bytes *out_row)
{
    if (frame.len <= FRAME_HEADER_BYTES || frame.ptr[0] != FRAME_VERSION)
        return false;
    const struct bytes row = bytes_from(frame, FRAME_HEADER_BYTES);
    if (le32_load(frame.ptr + 1) != frame_sum(key, row))
        return false;
    *out_row = row;
    return true;
}

enum store_status frame_read(struct bytes key, struct bytes frame, struct bytes *out_row)
{
    struct bytes row;

    if (!frame_open(key, frame, &row) || row.ptr[0] == STORE_ROW_POISON)
        return STORE_CORRUPT;
    if (row.ptr[0] == STORE_ROW_DEAD)
        return STORE_ABSENT;
    *out_row = row;
    return STORE_FOUND;
}

/* Appends or dies: a join that ran out of memory must not become a POISON row for ever. */
static void merge_append(struct buf *out, const void *ptr, size_t n)
{
    const int err = buf_append(out, ptr, n);

    CHECK(err == 0);
}

/* Replaces what is in `out` by the frame of `row`. */
static void merge_set(struct bytes key, struct bytes row, struct buf *out)
{
    uint8_t header[FRAME_HEADER_BYTES];

    frame_header_store(header, key, row);
    buf_clear(out);
    merge_append(out, header, sizeof(header));
    merge_append(out, row.ptr, row.len);
}

static void merge_poison(struct bytes key, enum store_poison reason, struct buf *out)
{
    const uint8_t row[2] = {STORE_ROW_POISON, (uint8_t)reason};

    merge_set(key, bytes_of(row, sizeof(row)), out);
}

/*
 * Opens one input. False: `out` has got the result, because a damaged or POISON row makes the
 * whole join POISON, whatever else takes part in it.
 */
static bool merge_input(struct bytes key, struct bytes frame, enum store_poison reason,
                        struct bytes *out_row, struct buf *out)
{
    if (!frame_open(key, frame, out_row)) {
        merge_poison(key, reason, out);
        return false;
    }
    if (out_row->ptr[0] != STORE_ROW_POISON)
        return true;
    merge_set(key, *out_row, out);
    return false;
}

/* Joins up to MERGE_OPERANDS_MAX opened rows into `out` as a frame. False: it is POISON. */
static bool merge_rows(const struct store_merge_ops *ops, struct bytes key, struct bytes existing,
                       const struct bytes *rows, size_t n, struct buf *out)
{
    static const uint8_t blank[FRAME_HEADER_BYTES];

    buf_clear(out);
    merge_append(out, blank, sizeof(blank));
    const int err =
        ops->merge == NULL ? -ERR_UNSUPPORTED : ops->merge(ops->ctx, key, existing, rows, n, out);
    CHECK(err != -ENOMEM);
    if (err != 0 || out->len <= FRAME_HEADER_BYTES) {
        merge_poison(key, STORE_POISON_JOIN, out);
        return false;
    }
    frame_header_store(out->ptr, key, bytes_from(buf_bytes(out), FRAME_HEADER_BYTES));
    return true;
}

void frame_merge(const struct store_merge_ops *ops, struct bytes key, const struct bytes *existing,
                 const struct bytes *operands, size_t n, struct buf *out)
{
    struct bytes rows[MERGE_OPERANDS_MAX];
    struct bytes base = bytes_of(NULL, 0);
    struct buf folded;

    if (existing != NULL && !merge_input(key, *existing, STORE_POISON_EXISTING, &base, out))
        return;
    buf_init(&folded, out->limit);
    for (size_t done = 0; done < n;) {
        const size_t step = size_min(n - done, MERGE_OPERANDS_MAX);
        bool good = true;
        for (size_t i = 0; good && i < step; i++)
            good = merge_input(key, operands[done + i], STORE_POISON_OPERAND, &rows[i], out);
        if (!good || !merge_rows(ops, key, base, rows, step, out))
            break;
        done += step;
        if (done < n) {
            buf_clear(&folded);
            merge_append(&folded, out->ptr + FRAME_HEADER_BYTES, out->len - FRAME_HEADER_BYTES);
            base = buf_bytes(&folded);
        }
    }
    buf_deinit(&folded);
}
