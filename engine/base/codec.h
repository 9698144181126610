/*
 * Pieces of formats: integers, and bytes behind their length, appended to a buffer and cut off the
 * front of bytes. Integers as le.h has them.
 */
#ifndef TIERRA_ENGINE_BASE_CODEC_H
#define TIERRA_ENGINE_BASE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

/* The putting functions append. 0, -ERR_LIMIT or -ENOMEM; after an error nothing changed. */
static inline MUST_USE int codec_put_le16(struct buf *out, uint16_t value)
{
    uint8_t bytes[sizeof(value)];

    le16_store(bytes, value);
    return buf_append(out, bytes, sizeof(bytes));
}

static inline MUST_USE int codec_put_le32(struct buf *out, uint32_t value)
{
    uint8_t bytes[sizeof(value)];

    le32_store(bytes, value);
    return buf_append(out, bytes, sizeof(bytes));
}

static inline MUST_USE int codec_put_le64(struct buf *out, uint64_t value)
{
    uint8_t bytes[sizeof(value)];

    le64_store(bytes, value);
    return buf_append(out, bytes, sizeof(bytes));
}

static inline MUST_USE int codec_put_varint(struct buf *out, uint64_t value)
{
    uint8_t bytes[VARINT_BYTES_MAX];

    return buf_append(out, bytes, varint_put(bytes, value));
}

/* The length as a varint, and the bytes. */
static inline MUST_USE int codec_put_bytes(struct buf *out, struct bytes bytes)
{
    uint8_t len[VARINT_BYTES_MAX];
    const size_t len_bytes = varint_put(len, bytes.len);

    if (bytes.len > SIZE_MAX - VARINT_BYTES_MAX)
        return -ERR_LIMIT;
    const int err = buf_reserve(out, len_bytes + bytes.len);
    if (err != 0)
        return err;
    IGNORE_RESULT(buf_append(out, len, len_bytes)); /* There is room for both. */
    IGNORE_RESULT(buf_append_bytes(out, bytes));
    return 0;
}

/*
 * What codec_put_bytes put, of at most `len_max` bytes: borrowed. 0, -ERR_TRUNCATED (the length is
 * not whole) or -ERR_CORRUPT; after an error nothing changed.
 */
static inline MUST_USE int codec_get_bytes(struct bytes *in, size_t len_max, struct bytes *out)
{
    struct bytes rest = *in;
    uint64_t len;
    const int err = varint_get(&rest, &len);

    if (err != 0)
        return err;
    if (len > len_max || len > rest.len)
        return -ERR_CORRUPT;
    *out = bytes_of(rest.ptr, (size_t)len);
    *in = bytes_from(rest, (size_t)len);
    return 0;
}

#endif
