/*
 * Position vectors: for each origin, the last batch that is known, by sequence number and HLC.
 *
 * A version vector (vv.h) is the same without the sequence numbers. Delivery counts batches, so
 * that a gap shows; causality compares HLCs. Both grow together: of two positions of one origin
 * the one with the higher seq has the higher HLC, or the origin has forked.
 *
 * Bytes: count 1 | count times (origin 1 | seq 8 | hlc 8), little-endian, origins ascending, no
 * seq 0 and no hlc 0.
 */
#ifndef TIERRA_REPLICATION_GROUP_POSV_H
#define TIERRA_REPLICATION_GROUP_POSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/vv.h"

#define POSV_ITEM_BYTES 17
#define POSV_BYTES_MAX  (1 + VV_ORIGINS_MAX * POSV_ITEM_BYTES)

struct pos {
    uint64_t seq; /* 0: nothing. */
    uint64_t hlc;
};

/* Whether both can be of one history: seq and HLC grow together. */
static inline bool pos_consistent(struct pos a, struct pos b)
{
    return (a.seq < b.seq) == (a.hlc < b.hlc) && (a.seq == b.seq) == (a.hlc == b.hlc);
}

struct posv {
    uint8_t count;
    uint8_t origin[VV_ORIGINS_MAX];
    struct pos at[VV_ORIGINS_MAX];
};

static inline void posv_init(struct posv *posv)
{
    posv->count = 0;
}

/* Copies only what is used. */
void posv_copy(struct posv *into, const struct posv *from);

/* {0, 0} if the origin is not listed. */
static inline struct pos posv_get(const struct posv *posv, uint8_t origin)
{
    for (unsigned i = 0; i < posv->count; i++) {
        if (posv->origin[i] == origin)
            return posv->at[i];
    }
    return (struct pos){0, 0};
}

/* Raises the position of `origin` if `pos` is higher. 0, or -ERR_LIMIT: one origin too many. */
MUST_USE int posv_raise(struct posv *posv, uint8_t origin, struct pos pos);

/* Sets it, also lower; seq 0 removes it. 0 or -ERR_LIMIT. */
MUST_USE int posv_set(struct posv *posv, uint8_t origin, struct pos pos);

/* Whether `a` has at no origin a higher seq than `b`. */
bool posv_leq(const struct posv *a, const struct posv *b);

void posv_to_vv(const struct posv *posv, struct vv *out);

/* Writes up to POSV_BYTES_MAX bytes; returns their number. */
size_t posv_encode(const struct posv *posv, uint8_t *dst);

/* Reads from the front of `*in` and moves it on. 0, -ERR_TRUNCATED or -ERR_CORRUPT. */
MUST_USE int posv_decode(struct bytes *in, struct posv *out);

#endif
