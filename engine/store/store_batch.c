/*
 * Building and reading batches.
 */
#include "engine/store/store_batch.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/le.h"

#include "engine/store/store_frame.h"
#include "engine/store/store_impl.h"

#define BATCH_COUNT_OFFSET 8

void store_batch_init(struct store_batch *batch, size_t bytes_max)
{
    *batch = (struct store_batch){.count = 0};
    buf_init(&batch->buf, bytes_max);
}

void store_batch_deinit(struct store_batch *batch)
{
    store_batch_clear(batch);
    buf_deinit(&batch->buf);
}

void store_batch_clear(struct store_batch *batch)
{
    buf_clear(&batch->buf);
    batch->count = 0;
    batch->blind = 0;
    batch->covered_lsn = 0;
    batch->has_covered = false;
}

/* Makes room for a record of at most `n` bytes, and for the header before the first. */
static int batch_reserve(struct store_batch *batch, size_t n)
{
    struct buf *b = &batch->buf;
    const size_t header = b->len == 0 ? STORE_BATCH_HEADER_BYTES : 0;
    const int err = buf_reserve(b, n + header);

    if (err != 0)
        return err;
    if (header != 0)
        memset(buf_end(b), 0, header);
    buf_commit(b, header);
    return 0;
}

/* `at` is where the record goes; returns its end. */
static uint8_t *batch_put_key(uint8_t *at, enum store_record_kind kind, struct bytes key)
{
    *at++ = (uint8_t)kind;
    at += varint_put(at, key.len);
    memcpy(at, key.ptr, key.len);
    return at + key.len;
}

static void batch_finish(struct store_batch *batch, const uint8_t *end)
{
    struct buf *b = &batch->buf;

    buf_commit(b, (size_t)(end - buf_end(b)));
    le32_store(b->ptr + BATCH_COUNT_OFFSET, le32_load(b->ptr + BATCH_COUNT_OFFSET) + 1);
}

static int batch_append(struct store_batch *batch, enum store_record_kind kind, struct bytes key,
                        struct bytes row)
{
    CHECK(key.len != 0 && key.len <= STORE_KEY_BYTES_MAX);
    CHECK(row.len != 0);
    const size_t fixed = 1 + 2 * VARINT_BYTES_MAX + FRAME_HEADER_BYTES;
    const int err = batch_reserve(batch, fixed + key.len + row.len);

    if (err != 0)
        return err;
    uint8_t *at = batch_put_key(buf_end(&batch->buf), kind, key);
    at += varint_put(at, FRAME_HEADER_BYTES + row.len);
    frame_header_store(at, key, row);
    at += FRAME_HEADER_BYTES;
    memcpy(at, row.ptr, row.len);
    batch_finish(batch, at + row.len);
    return 0;
}

int store_batch_put(struct store_batch *batch, struct bytes key, struct bytes row)
{
    const int err = batch_append(batch, STORE_RECORD_PUT, key, row);

    batch->count += err == 0;
    return err;
}

int store_batch_merge(struct store_batch *batch, struct bytes key, struct bytes row)
{
    const int err = batch_append(batch, STORE_RECORD_MERGE, key, row);

    batch->count += err == 0;
    batch->blind += err == 0;
    return err;
}

int store_batch_delete(struct store_batch *batch, struct bytes key)
{
    CHECK(key.len != 0 && key.len <= STORE_KEY_BYTES_MAX);
    const int err = batch_reserve(batch, 1 + VARINT_BYTES_MAX + key.len);

    if (err != 0)
        return err;
    batch_finish(batch, batch_put_key(buf_end(&batch->buf), STORE_RECORD_DELETE, key));
    batch->count++;
    batch->blind++;
    return 0;
}

int store_batch_put_frame(struct store_batch *batch, struct bytes key, struct bytes frame)
{
    const int err = batch_reserve(batch, 1 + 2 * VARINT_BYTES_MAX + key.len + frame.len);

    if (err != 0)
        return err;
    uint8_t *at = batch_put_key(buf_end(&batch->buf), STORE_RECORD_PUT, key);
    at += varint_put(at, frame.len);
    if (frame.len != 0)
        memcpy(at, frame.ptr, frame.len);
    batch_finish(batch, at + frame.len);
    batch->count++;
    return 0;
}

uint32_t store_batch_records_count(const struct store_batch *batch)
{
    return batch->buf.len == 0 ? 0 : le32_load(batch->buf.ptr + BATCH_COUNT_OFFSET);
}

int store_batch_set_covered(struct store_batch *batch, uint64_t lsn, struct bytes vv)
{
    struct buf row;

    CHECK(!batch->has_covered);
    buf_init(&row, COVERED_ROW_HEADER_BYTES + vv.len);
    int err = buf_reserve(&row, COVERED_ROW_HEADER_BYTES + vv.len);
    if (err == 0) {
        covered_row_store(buf_end(&row), lsn, vv);
        buf_commit(&row, COVERED_ROW_HEADER_BYTES + vv.len);
        err = batch_append(batch, STORE_RECORD_PUT, covered_key(), buf_bytes(&row));
    }
    buf_deinit(&row);
    if (err != 0)
        return err;
    batch->has_covered = true;
    batch->covered_lsn = lsn;
    return 0;
}

struct bytes store_batch_records(const struct store_batch *batch)
{
    const struct bytes all = buf_bytes(&batch->buf);

    return all.len == 0 ? all : bytes_from(all, STORE_BATCH_HEADER_BYTES);
}

static struct bytes batch_take_slice(struct bytes *records)
{
    struct bytes slice;
    uint64_t len;

    CHECK(varint_get(records, &len) == 0);
    CHECK(bytes_take(records, len, &slice));
    return slice;
}

bool store_batch_next(struct bytes *records, struct store_record *out)
{
    uint8_t kind;

    if (u8_get(records, &kind) != 0)
        return false;
    CHECK(kind <= STORE_RECORD_MERGE);
    out->kind = (enum store_record_kind)kind;
    out->key = batch_take_slice(records);
    out->frame = kind == STORE_RECORD_DELETE ? bytes_of(NULL, 0) : batch_take_slice(records);
    return true;
}
