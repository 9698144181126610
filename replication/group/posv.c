/*
 * Position vectors: small sorted arrays, searched from the front.
 */
#include "replication/group/posv.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

void posv_copy(struct posv *into, const struct posv *from)
{
    into->count = from->count;
    memcpy(into->origin, from->origin, from->count);
    memcpy(into->at, from->at, from->count * sizeof(from->at[0]));
}

static unsigned place_of(const struct posv *posv, uint8_t origin)
{
    unsigned at = 0;

    while (at < posv->count && posv->origin[at] < origin)
        at++;
    return at;
}

static bool is_at(const struct posv *posv, unsigned at, uint8_t origin)
{
    return at < posv->count && posv->origin[at] == origin;
}

static int insert(struct posv *posv, unsigned at, uint8_t origin, struct pos pos)
{
    if (posv->count == VV_ORIGINS_MAX)
        return -ERR_LIMIT;
    memmove(posv->origin + at + 1, posv->origin + at, posv->count - at);
    memmove(posv->at + at + 1, posv->at + at, (posv->count - at) * sizeof(posv->at[0]));
    posv->origin[at] = origin;
    posv->at[at] = pos;
    posv->count++;
    return 0;
}

int posv_raise(struct posv *posv, uint8_t origin, struct pos pos)
{
    const unsigned at = place_of(posv, origin);

    if (pos.seq == 0)
        return 0;
    if (!is_at(posv, at, origin))
        return insert(posv, at, origin, pos);
    if (pos.seq > posv->at[at].seq)
        posv->at[at] = pos;
    return 0;
}

int posv_set(struct posv *posv, uint8_t origin, struct pos pos)
{
    const unsigned at = place_of(posv, origin);

    if (!is_at(posv, at, origin))
        return pos.seq == 0 ? 0 : insert(posv, at, origin, pos);
    if (pos.seq != 0) {
        posv->at[at] = pos;
        return 0;
    }
    posv->count--;
    memmove(posv->origin + at, posv->origin + at + 1, posv->count - at);
    memmove(posv->at + at, posv->at + at + 1, (posv->count - at) * sizeof(posv->at[0]));
    return 0;
}

bool posv_leq(const struct posv *a, const struct posv *b)
{
    for (unsigned i = 0; i < a->count; i++) {
        if (a->at[i].seq > posv_get(b, a->origin[i]).seq)
            return false;
    }
    return true;
}

void posv_to_vv(const struct posv *posv, struct vv *out)
{
    out->count = posv->count;
    for (unsigned i = 0; i < posv->count; i++) {
        out->origin[i] = posv->origin[i];
        out->hlc[i] = posv->at[i].hlc;
    }
}

size_t posv_encode(const struct posv *posv, uint8_t *dst)
{
    uint8_t *at = dst + 1;

    CHECK(posv->count <= VV_ORIGINS_MAX);
    dst[0] = posv->count;
    for (unsigned i = 0; i < posv->count; i++) {
        at[0] = posv->origin[i];
        le64_store(at + 1, posv->at[i].seq);
        le64_store(at + 9, posv->at[i].hlc);
        at += POSV_ITEM_BYTES;
    }
    return (size_t)(at - dst);
}

int posv_decode(struct bytes *in, struct posv *out)
{
    if (in->len < 1)
        return -ERR_TRUNCATED;

    const unsigned count = in->ptr[0];
    const size_t size = 1 + (size_t)count * POSV_ITEM_BYTES;

    if (count > VV_ORIGINS_MAX)
        return -ERR_CORRUPT;
    if (in->len < size)
        return -ERR_TRUNCATED;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t *item = in->ptr + 1 + i * POSV_ITEM_BYTES;

        out->origin[i] = item[0];
        out->at[i] = (struct pos){.seq = le64_load(item + 1), .hlc = le64_load(item + 9)};
        if (out->at[i].seq == 0 || out->at[i].hlc == 0 ||
            (i > 0 && out->origin[i] <= out->origin[i - 1]))
            return -ERR_CORRUPT;
    }
    out->count = (uint8_t)count;
    *in = bytes_from(*in, size);
    return 0;
}
