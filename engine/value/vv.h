/*
 * Version vectors: for each origin, up to which HLC its ops are known.
 *
 * Because an origin's HLC strictly grows along its log, {r: h} says "all ops of r with HLC <= h".
 * Vectors are sparse and sorted by origin; an origin that is not listed has 0.
 *
 * Bytes: count 1 | count times (origin 1 | hlc 8 little-endian), origins ascending, no hlc 0.
 */
#ifndef TIERRA_ENGINE_VALUE_VV_H
#define TIERRA_ENGINE_VALUE_VV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/tag.h"

/* A group has at most five members; the rest is room for members that returned under a new slot. */
#define VV_ORIGINS_MAX 32
#define VV_BYTES_MAX   (1 + VV_ORIGINS_MAX * TAG_BYTES)

struct vv {
    uint8_t count;
    uint8_t origin[VV_ORIGINS_MAX];
    uint64_t hlc[VV_ORIGINS_MAX];
};

static inline void vv_init(struct vv *vv)
{
    vv->count = 0;
}

static inline bool vv_empty(const struct vv *vv)
{
    return vv->count == 0;
}

/* Copies only what is used. */
void vv_copy(struct vv *into, const struct vv *from);

static inline uint64_t vv_get(const struct vv *vv, uint8_t origin)
{
    for (unsigned i = 0; i < vv->count; i++) {
        if (vv->origin[i] == origin)
            return vv->hlc[i];
    }
    return 0;
}

static inline bool vv_covers(const struct vv *vv, struct tag tag)
{
    return tag.hlc <= vv_get(vv, tag.origin);
}

/*
 * Makes the vector cover `tag`. 0, or -ERR_LIMIT if its origin would be one too many; then
 * unchanged.
 */
MUST_USE int vv_raise(struct vv *vv, struct tag tag);

/* Pointwise maximum into `into`. 0 or -ERR_LIMIT; then `into` may hold a part. */
MUST_USE int vv_join(struct vv *into, const struct vv *from);

/* Pointwise minimum into `into`: what both know. */
void vv_meet(struct vv *into, const struct vv *from);

bool vv_equal(const struct vv *a, const struct vv *b);

/* a <= b at every origin. */
bool vv_leq(const struct vv *a, const struct vv *b);

static inline size_t vv_size(const struct vv *vv)
{
    return 1 + (size_t)vv->count * TAG_BYTES;
}

/* Writes vv_size bytes; returns their number. */
size_t vv_encode(const struct vv *vv, uint8_t *dst);

/* Reads from the front of `*in` and moves it on. 0, -ERR_TRUNCATED or -ERR_CORRUPT. */
MUST_USE int vv_decode(struct bytes *in, struct vv *out);

#endif
