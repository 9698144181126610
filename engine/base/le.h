/*
 * Integers as bytes: little-endian and big-endian load and store, LEB128 varints, zigzag.
 *
 * Formats on disk and on the wire are little-endian and go through these functions, never through a
 * cast. Big-endian is for keys whose byte order must be their numeric order.
 *
 * A varint is unsigned LEB128: seven bits per byte, low bits first, top bit set on all but the
 * last. Only the shortest form is accepted, so that equal values have equal bytes.
 */
#ifndef TIERRA_ENGINE_BASE_LE_H
#define TIERRA_ENGINE_BASE_LE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/err.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define LE_SWAP16(v) (v)
#define LE_SWAP32(v) (v)
#define LE_SWAP64(v) (v)
#define BE_SWAP16(v) __builtin_bswap16(v)
#define BE_SWAP32(v) __builtin_bswap32(v)
#define BE_SWAP64(v) __builtin_bswap64(v)
#else
#define LE_SWAP16(v) __builtin_bswap16(v)
#define LE_SWAP32(v) __builtin_bswap32(v)
#define LE_SWAP64(v) __builtin_bswap64(v)
#define BE_SWAP16(v) (v)
#define BE_SWAP32(v) (v)
#define BE_SWAP64(v) (v)
#endif

static inline uint16_t le16_load(const void *ptr)
{
    uint16_t v;

    memcpy(&v, ptr, sizeof(v));
    return LE_SWAP16(v);
}

static inline uint32_t le32_load(const void *ptr)
{
    uint32_t v;

    memcpy(&v, ptr, sizeof(v));
    return LE_SWAP32(v);
}

static inline uint64_t le64_load(const void *ptr)
{
    uint64_t v;

    memcpy(&v, ptr, sizeof(v));
    return LE_SWAP64(v);
}

static inline void le16_store(void *ptr, uint16_t value)
{
    const uint16_t v = LE_SWAP16(value);

    memcpy(ptr, &v, sizeof(v));
}

static inline void le32_store(void *ptr, uint32_t value)
{
    const uint32_t v = LE_SWAP32(value);

    memcpy(ptr, &v, sizeof(v));
}

static inline void le64_store(void *ptr, uint64_t value)
{
    const uint64_t v = LE_SWAP64(value);

    memcpy(ptr, &v, sizeof(v));
}

static inline uint16_t be16_load(const void *ptr)
{
    uint16_t v;

    memcpy(&v, ptr, sizeof(v));
    return BE_SWAP16(v);
}

static inline uint32_t be32_load(const void *ptr)
{
    uint32_t v;

    memcpy(&v, ptr, sizeof(v));
    return BE_SWAP32(v);
}

static inline uint64_t be64_load(const void *ptr)
{
    uint64_t v;

    memcpy(&v, ptr, sizeof(v));
    return BE_SWAP64(v);
}

static inline void be16_store(void *ptr, uint16_t value)
{
    const uint16_t v = BE_SWAP16(value);

    memcpy(ptr, &v, sizeof(v));
}

static inline void be32_store(void *ptr, uint32_t value)
{
    const uint32_t v = BE_SWAP32(value);

    memcpy(ptr, &v, sizeof(v));
}

static inline void be64_store(void *ptr, uint64_t value)
{
    const uint64_t v = BE_SWAP64(value);

    memcpy(ptr, &v, sizeof(v));
}

/*
 * The *_get functions read from the front of `*in` and move it on. 0 or -ERR_TRUNCATED, then
 * unchanged.
 */
static inline MUST_USE int u8_get(struct bytes *in, uint8_t *out)
{
    if (in->len < 1)
        return -ERR_TRUNCATED;
    *out = in->ptr[0];
    *in = bytes_from(*in, 1);
    return 0;
}

static inline MUST_USE int le16_get(struct bytes *in, uint16_t *out)
{
    if (in->len < sizeof(*out))
        return -ERR_TRUNCATED;
    *out = le16_load(in->ptr);
    *in = bytes_from(*in, sizeof(*out));
    return 0;
}

static inline MUST_USE int le32_get(struct bytes *in, uint32_t *out)
{
    if (in->len < sizeof(*out))
        return -ERR_TRUNCATED;
    *out = le32_load(in->ptr);
    *in = bytes_from(*in, sizeof(*out));
    return 0;
}

static inline MUST_USE int le64_get(struct bytes *in, uint64_t *out)
{
    if (in->len < sizeof(*out))
        return -ERR_TRUNCATED;
    *out = le64_load(in->ptr);
    *in = bytes_from(*in, sizeof(*out));
    return 0;
}

/* The longest varint of a 64-bit value. */
#define VARINT_BYTES_MAX 10

/* How many bytes varint_put writes for `value`. */
static inline size_t varint_size(uint64_t value)
{
    const unsigned bits = 64u - (unsigned)__builtin_clzll(value | 1);

    return (bits + 6u) / 7u;
}

/*
 * Writes `value` at `out`, which has room for VARINT_BYTES_MAX bytes (or varint_size). Bytes
 * written.
 */
static inline size_t varint_put(uint8_t *out, uint64_t value)
{
    size_t n = 0;

    while (value >= 0x80) {
        out[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    out[n++] = (uint8_t)value;
    return n;
}

/*
 * Reads a varint from the front of `*in` and moves it on. 0, -ERR_TRUNCATED (more bytes could
 * complete it) or -ERR_CORRUPT (beyond 64 bits, or not the shortest form); after an error nothing
 * changed.
 */
static inline MUST_USE int varint_get(struct bytes *in, uint64_t *out)
{
    uint64_t value = 0;

    for (size_t i = 0; i < VARINT_BYTES_MAX; i++) {
        if (i == in->len)
            return -ERR_TRUNCATED;
        const uint8_t byte = in->ptr[i];
        /*
         * The tenth byte has one bit left; a zero last byte after another could have been left
         * out.
         */
        if ((i == VARINT_BYTES_MAX - 1 && byte > 1) || (i > 0 && byte == 0))
            return -ERR_CORRUPT;
        value |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *out = value;
            *in = bytes_from(*in, i + 1);
            return 0;
        }
    }
    return -ERR_CORRUPT;
}

/* Signed to unsigned so that small magnitudes stay small: 0, -1, 1, -2 become 0, 1, 2, 3. */
static inline uint64_t zigzag_encode(int64_t value)
{
    const uint64_t sign = value < 0 ? UINT64_MAX : 0;

    return ((uint64_t)value << 1) ^ sign;
}

static inline int64_t zigzag_decode(uint64_t value)
{
    return (int64_t)((value >> 1) ^ (0 - (value & 1)));
}

#endif
