/*
 * Tags: one 9-byte name for every batch of changes.
 *
 * A tag is (HLC, origin). It is at once the timestamp by which the last writer wins, the dot of
 * observed-remove sets and the unit of causal contexts. HLC = 48 bits of milliseconds since 1970,
 * then 16 bits of logical counter; an origin never gives one twice.
 *
 * Order: by HLC; at equal HLC the lower origin number is the greater tag.
 *
 * Bytes: hlc 8 little-endian | origin 1.
 */
#ifndef TIERRA_ENGINE_VALUE_TAG_H
#define TIERRA_ENGINE_VALUE_TAG_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/le.h"

#define TAG_BYTES        9
#define HLC_LOGICAL_BITS 16

struct tag {
    uint64_t hlc; /* 0: no tag. */
    uint8_t origin;
};

static inline uint64_t hlc_make(uint64_t ms, uint16_t logical)
{
    return ms << HLC_LOGICAL_BITS | logical;
}

static inline uint64_t hlc_ms(uint64_t hlc)
{
    return hlc >> HLC_LOGICAL_BITS;
}

static inline struct tag tag_of(uint64_t hlc, uint8_t origin)
{
    return (struct tag){.hlc = hlc, .origin = origin};
}

static inline bool tag_is_none(struct tag tag)
{
    return tag.hlc == 0;
}

static inline bool tag_eq(struct tag a, struct tag b)
{
    return a.hlc == b.hlc && a.origin == b.origin;
}

/* < 0, 0, > 0. */
static inline int tag_cmp(struct tag a, struct tag b)
{
    if (a.hlc != b.hlc)
        return a.hlc > b.hlc ? 1 : -1;
    return (a.origin < b.origin) - (a.origin > b.origin);
}

static inline struct tag tag_max(struct tag a, struct tag b)
{
    return tag_cmp(a, b) < 0 ? b : a;
}

static inline void tag_store(uint8_t *dst, struct tag tag)
{
    le64_store(dst, tag.hlc);
    dst[8] = tag.origin;
}

static inline struct tag tag_load(const uint8_t *src)
{
    return (struct tag){.hlc = le64_load(src), .origin = src[8]};
}

#endif
