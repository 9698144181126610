/*
 * What a member knows of what the others have acknowledged.
 *
 * Garbage is collected on the strength of it, so it goes wherever rows go: it is kept with them, in
 * the note of the store (replica.h), and sent behind them (wire.h, SYNC_ROWS).
 *
 * Bytes: count 1 | count times (origin 1 | vector as in posv.h), origins ascending.
 */
#ifndef TIERRA_REPLICATION_GROUP_ACKED_H
#define TIERRA_REPLICATION_GROUP_ACKED_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "replication/group/members.h"
#include "replication/group/posv.h"

#define CORE_PEERS_MAX  (MEMBERS_MAX - 1)
#define ACKED_BYTES_MAX (1u + CORE_PEERS_MAX * (1u + POSV_BYTES_MAX))

struct core_acked {
    uint8_t count;
    uint8_t origin[CORE_PEERS_MAX]; /* Ascending. */
    struct posv durable[CORE_PEERS_MAX];
};

/* Writes up to ACKED_BYTES_MAX bytes; returns their number. */
size_t acked_encode(const struct core_acked *acked, uint8_t *dst);

/* Reads from the front of `*in` and moves it on. 0 or -ERR_CORRUPT. */
MUST_USE int acked_decode(struct bytes *in, struct core_acked *out);

#endif
