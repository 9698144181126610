/*
 * Bodies of a full sync: what is asked for, and rows.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/codec.h"
#include "engine/base/crc16.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#include "engine/value/row.h"
#include "engine/value/rowkey.h"

#include "replication/group/wire.h"

/* id, turn, flags, first and last slot, bits, seed. */
#define ASK_HEAD_BYTES 22u
#define ASK_ENTERED    1u
#define ASK_GOES_ON    2u
#define ASK_WAITS      4u
/* id, turn, what, slot, flush epoch, count. */
#define ROWS_HEAD_BYTES 19u

enum rows_what {
    ROWS_MORE,
    ROWS_LAST,
    ROWS_GONE
};

static size_t sums_bytes(uint8_t bits)
{
    return bits == WIRE_SYNC_ALL ? 0 : (size_t)8 << bits;
}

int wire_get_sync_ask(struct bytes body, struct wire_sync_ask *out)
{
    struct wire_sync_range *range = &out->range;
    uint8_t flags;

    if (le32_get(&body, &out->id) != 0 || le32_get(&body, &out->turn) != 0 ||
        u8_get(&body, &flags) != 0 || (flags & ~(ASK_ENTERED | ASK_GOES_ON | ASK_WAITS)) != 0 ||
        le16_get(&body, &range->first) != 0 || le16_get(&body, &range->end) != 0 ||
        u8_get(&body, &range->bits) != 0 || le64_get(&body, &range->seed) != 0 ||
        codec_get_bytes(&body, ROWKEY_BYTES_MAX, &out->after) != 0)
        return -ERR_CORRUPT;
    if (range->first > range->end || range->end > KEY_SLOTS ||
        (range->bits > WIRE_SYNC_BITS_MAX && range->bits != WIRE_SYNC_ALL))
        return -ERR_CORRUPT;
    out->entered = (flags & ASK_ENTERED) != 0;
    out->goes_on = (flags & ASK_GOES_ON) != 0;
    out->waits = (flags & ASK_WAITS) != 0;
    range->sums = body;
    return body.len == sums_bytes(range->bits) ? 0 : -ERR_CORRUPT;
}

int wire_build_sync_ask(struct buf *body, const struct wire_sync_ask *ask)
{
    const struct wire_sync_range *range = &ask->range;
    int err;

    CHECK(range->sums.len == sums_bytes(range->bits));
    buf_clear(body);
    err = buf_reserve(body, ASK_HEAD_BYTES);
    if (err != 0)
        return err;
    uint8_t *at = buf_end(body);
    le32_store(at, ask->id);
    le32_store(at + 4, ask->turn);
    at[8] = (uint8_t)((ask->entered ? ASK_ENTERED : 0) | (ask->goes_on ? ASK_GOES_ON : 0) |
                      (ask->waits ? ASK_WAITS : 0));
    le16_store(at + 9, range->first);
    le16_store(at + 11, range->end);
    at[13] = range->bits;
    le64_store(at + 14, range->seed);
    buf_commit(body, ASK_HEAD_BYTES);
    err = codec_put_bytes(body, ask->after);
    return err != 0 ? err : buf_append_bytes(body, range->sums);
}

int wire_build_sync_rows(struct buf *body, const struct wire_sync_rows *head,
                         const struct wire_row *rows, uint32_t count)
{
    int err;

    buf_clear(body);
    err = buf_reserve(body, ROWS_HEAD_BYTES + 2 * POSV_BYTES_MAX + ACKED_BYTES_MAX);
    if (err != 0)
        return err;
    uint8_t *at = buf_end(body);
    le32_store(at, head->id);
    le32_store(at + 4, head->turn);
    at[8] = head->last ? ROWS_LAST : ROWS_MORE;
    if (head->gone)
        at[8] = ROWS_GONE;
    le16_store(at + 9, head->end);
    le32_store(at + 11, head->flush);
    le32_store(at + 15, count);
    size_t len = ROWS_HEAD_BYTES + posv_encode(&head->at, at + ROWS_HEAD_BYTES);
    len += posv_encode(&head->newest, at + len);
    len += acked_encode(&head->acked, at + len);
    buf_commit(body, len);
    err = codec_put_bytes(body, head->differ);
    for (uint32_t i = 0; err == 0 && i < count; i++) {
        err = codec_put_bytes(body, rows[i].key);
        if (err == 0)
            err = codec_put_bytes(body, rows[i].row);
    }
    return err;
}

uint16_t wire_sync_slot(struct bytes key)
{
    if (key.len >= 2)
        return be16_load(key.ptr);
    return key.len == 0 ? 0 : (uint16_t)(key.ptr[0] << 8);
}

bool wire_sync_next(struct wire_sync_rows *rows, struct wire_row *out)
{
    if (rows->read == rows->count)
        return false;
    CHECK(codec_get_bytes(&rows->left, ROWKEY_BYTES_MAX, &out->key) == 0);
    CHECK(codec_get_bytes(&rows->left, SIZE_MAX, &out->row) == 0);
    rows->read++;
    return true;
}

/* All rows are sound, and their keys rise. */
static int check_rows(struct wire_sync_rows *rows)
{
    struct bytes left = rows->left;
    struct bytes key;
    struct bytes row;

    rows->first_key = rows->last_key = bytes_of(NULL, 0);
    for (uint32_t i = 0; i < rows->count; i++) {
        if (codec_get_bytes(&left, ROWKEY_BYTES_MAX, &key) != 0 ||
            codec_get_bytes(&left, SIZE_MAX, &row) != 0 || row_check(row) != 0 ||
            bytes_cmp(key, rows->last_key) <= 0)
            return -ERR_CORRUPT;
        rows->last_key = key;
        if (i == 0)
            rows->first_key = key;
    }
    return left.len == 0 ? 0 : -ERR_CORRUPT;
}

int wire_get_sync_rows(struct bytes body, struct wire_sync_rows *out)
{
    uint8_t what;

    if (le32_get(&body, &out->id) != 0 || le32_get(&body, &out->turn) != 0 ||
        u8_get(&body, &what) != 0 || what > ROWS_GONE || le16_get(&body, &out->end) != 0 ||
        out->end > KEY_SLOTS || le32_get(&body, &out->flush) != 0 ||
        le32_get(&body, &out->count) != 0 || posv_decode(&body, &out->at) != 0 ||
        posv_decode(&body, &out->newest) != 0 || !posv_leq(&out->at, &out->newest) ||
        acked_decode(&body, &out->acked) != 0 ||
        codec_get_bytes(&body, wire_sync_differ_bytes(WIRE_SYNC_BITS_MAX), &out->differ) != 0)
        return -ERR_CORRUPT;
    /* Whoever has more to give gives something. */
    if ((what == ROWS_MORE && out->count == 0) || (what == ROWS_GONE && out->count != 0) ||
        (out->acked.count != 0 && (what != ROWS_LAST || out->end != KEY_SLOTS)))
        return -ERR_CORRUPT;
    out->last = what == ROWS_LAST;
    out->gone = what == ROWS_GONE;
    out->read = 0;
    out->left = body;
    return check_rows(out);
}
