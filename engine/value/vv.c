/*
 * Version vectors: small sorted arrays, searched from the front.
 */
#include "engine/value/vv.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

void vv_copy(struct vv *into, const struct vv *from)
{
    into->count = from->count;
    memcpy(into->origin, from->origin, from->count);
    memcpy(into->hlc, from->hlc, from->count * sizeof(from->hlc[0]));
}

int vv_raise(struct vv *vv, struct tag tag)
{
    unsigned at = 0;

    if (tag.hlc == 0)
        return 0;
    while (at < vv->count && vv->origin[at] < tag.origin)
        at++;
    if (at < vv->count && vv->origin[at] == tag.origin) {
        vv->hlc[at] = u64_max(vv->hlc[at], tag.hlc);
        return 0;
    }
    if (vv->count == VV_ORIGINS_MAX)
        return -ERR_LIMIT;
    memmove(vv->origin + at + 1, vv->origin + at, vv->count - at);
    memmove(vv->hlc + at + 1, vv->hlc + at, (vv->count - at) * sizeof(vv->hlc[0]));
    vv->origin[at] = tag.origin;
    vv->hlc[at] = tag.hlc;
    vv->count++;
    return 0;
}

int vv_join(struct vv *into, const struct vv *from)
{
    for (unsigned i = 0; i < from->count; i++) {
        const int err = vv_raise(into, tag_of(from->hlc[i], from->origin[i]));

        if (err != 0)
            return err;
    }
    return 0;
}

void vv_meet(struct vv *into, const struct vv *from)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < into->count; i++) {
        const uint64_t hlc = u64_min(into->hlc[i], vv_get(from, into->origin[i]));

        if (hlc == 0)
            continue;
        into->origin[kept] = into->origin[i];
        into->hlc[kept] = hlc;
        kept++;
    }
    into->count = (uint8_t)kept;
}

bool vv_equal(const struct vv *a, const struct vv *b)
{
    return a->count == b->count && memcmp(a->origin, b->origin, a->count) == 0 &&
           memcmp(a->hlc, b->hlc, a->count * sizeof(a->hlc[0])) == 0;
}

bool vv_leq(const struct vv *a, const struct vv *b)
{
    for (unsigned i = 0; i < a->count; i++) {
        if (a->hlc[i] > vv_get(b, a->origin[i]))
            return false;
    }
    return true;
}

size_t vv_encode(const struct vv *vv, uint8_t *dst)
{
    uint8_t *at = dst + 1;

    CHECK(vv->count <= VV_ORIGINS_MAX);
    dst[0] = vv->count;
    for (unsigned i = 0; i < vv->count; i++) {
        at[0] = vv->origin[i];
        le64_store(at + 1, vv->hlc[i]);
        at += TAG_BYTES;
    }
    return (size_t)(at - dst);
}

int vv_decode(struct bytes *in, struct vv *out)
{
    if (in->len < 1)
        return -ERR_TRUNCATED;

    const unsigned count = in->ptr[0];
    const size_t size = 1 + (size_t)count * TAG_BYTES;

    if (count > VV_ORIGINS_MAX)
        return -ERR_CORRUPT;
    if (in->len < size)
        return -ERR_TRUNCATED;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *entry = in->ptr + 1 + i * TAG_BYTES;
        const uint64_t hlc = le64_load(entry + 1);

        if (hlc == 0 || (i > 0 && entry[0] <= entry[-TAG_BYTES]))
            return -ERR_CORRUPT;
        out->origin[i] = entry[0];
        out->hlc[i] = hlc;
    }
    out->count = (uint8_t)count;
    *in = bytes_from(*in, size);
    return 0;
}
