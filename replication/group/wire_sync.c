/*
 * Bodies of a full sync: what is asked for, and rows.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#include "engine/value/row.h"
#include "engine/value/rowkey.h"

#include "replication/group/wire.h"

static int slice_get(struct bytes *in, size_t len_max, struct bytes *out)
{
    uint64_t len;

    if (varint_get(in, &len) != 0 || len > len_max || len > in->len)
        return -ERR_CORRUPT;
    return bytes_take(in, (size_t)len, out) ? 0 : -ERR_CORRUPT;
}

static int slice_put(struct buf *out, struct bytes slice)
{
    const int err = buf_reserve(out, VARINT_BYTES_MAX + slice.len);

    if (err != 0)
        return err;
    buf_commit(out, varint_put(buf_end(out), slice.len));
    return buf_append_bytes(out, slice);
}

int wire_get_sync_ask(struct bytes body, struct wire_sync_ask *out)
{
    if (le32_get(&body, &out->id) != 0 || slice_get(&body, ROWKEY_BYTES_MAX, &out->after) != 0)
        return -ERR_CORRUPT;
    return body.len == 0 ? 0 : -ERR_CORRUPT;
}

int wire_build_sync_ask(struct buf *body, const struct wire_sync_ask *ask)
{
    int err;

    buf_clear(body);
    err = buf_reserve(body, 4);
    if (err != 0)
        return err;
    le32_store(buf_end(body), ask->id);
    buf_commit(body, 4);
    return slice_put(body, ask->after);
}

int wire_build_sync_rows(struct buf *body, const struct wire_sync_rows *head,
                         const struct wire_row *rows, uint32_t count)
{
    int err;

    buf_clear(body);
    err = buf_reserve(body, 13 + 2 * POSV_BYTES_MAX);
    if (err != 0)
        return err;
    uint8_t *at = buf_end(body);
    le32_store(at, head->id);
    at[4] = head->last;
    le32_store(at + 5, head->flush);
    le32_store(at + 9, count);
    size_t len = 13 + posv_encode(&head->at, at + 13);
    len += posv_encode(&head->newest, at + len);
    buf_commit(body, len);
    for (uint32_t i = 0; err == 0 && i < count; i++) {
        err = slice_put(body, rows[i].key);
        if (err == 0)
            err = slice_put(body, rows[i].row);
    }
    return err;
}

bool wire_sync_next(struct wire_sync_rows *rows, struct wire_row *out)
{
    if (rows->read == rows->count)
        return false;
    CHECK(slice_get(&rows->left, ROWKEY_BYTES_MAX, &out->key) == 0);
    CHECK(slice_get(&rows->left, SIZE_MAX, &out->row) == 0);
    rows->read++;
    return true;
}

/* All rows are sound, and their keys rise. */
static int check_rows(struct wire_sync_rows *rows)
{
    struct bytes left = rows->left;
    struct bytes key;
    struct bytes row;

    rows->last_key = bytes_of(NULL, 0);
    for (uint32_t i = 0; i < rows->count; i++) {
        if (slice_get(&left, ROWKEY_BYTES_MAX, &key) != 0 ||
            slice_get(&left, SIZE_MAX, &row) != 0 || row_check(row) != 0 ||
            bytes_cmp(key, rows->last_key) <= 0)
            return -ERR_CORRUPT;
        rows->last_key = key;
    }
    return left.len == 0 ? 0 : -ERR_CORRUPT;
}

int wire_get_sync_rows(struct bytes body, struct wire_sync_rows *out)
{
    uint8_t last;

    if (le32_get(&body, &out->id) != 0 || u8_get(&body, &last) != 0 || last > 1 ||
        le32_get(&body, &out->flush) != 0 || le32_get(&body, &out->count) != 0 ||
        posv_decode(&body, &out->at) != 0 || posv_decode(&body, &out->newest) != 0 ||
        !posv_leq(&out->at, &out->newest))
        return -ERR_CORRUPT;
    /* Whoever has more to give gives something. */
    if (last == 0 && out->count == 0)
        return -ERR_CORRUPT;
    out->last = last != 0;
    out->read = 0;
    out->left = body;
    return check_rows(out);
}
