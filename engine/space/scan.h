/*
 * Walking over all keys of both tiers: SCAN, KEYS, RANDOMKEY.
 *
 * The key table gives the order: slot, then hash. Hot keys have their names in DRAM; those of cold
 * ones are read from the store, where the rows stand in the same order, for one stretch of the
 * table at a time. Nothing is promoted. A key that is demoted between the read of a stretch and its
 * showing may have no row in what was read: demotion leaves its name with the stretch.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_SCAN_H
#define TIERRA_ENGINE_SPACE_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct keyspace;
struct ks_wait;

/* One key; `name` is valid during the call. `expired`: only its memory is still there. */
typedef void (*ks_scan_fn)(void *ctx, struct bytes name, uint8_t type, bool expired);

/* One step of a walk. */
struct ks_scan {
    uint32_t count; /* About so many keys. */
    uint64_t now_ms;
    struct ks_wait *wait; /* NULL: cold keys are left out. */
    ks_scan_fn fn;        /* Must not change the keyspace. */
    void *ctx;
};

/*
 * Shows keys from `*cursor` on (0: the start). Returns 0 and the cursor to go on with, 0 at the
 * end; or 1: names are being read, call again with the same cursor when `wait` is ready; or an
 * error of the store. Keys that are there during a whole walk are shown at least once.
 */
MUST_USE int ks_scan(struct keyspace *ks, const struct ks_scan *step, uint64_t *cursor);

/*
 * Counts the keys of a slot on from `*cursor` (0: the start), adds them to `*count`. True: that was
 * all of them; false: about `max` entries of the table were looked at, call again. Expired keys
 * count until they are reclaimed.
 */
MUST_USE bool ks_count_slot(struct keyspace *ks, uint16_t slot, uint32_t max, uint64_t *cursor,
                            uint64_t *count);

/* Entries of a slot: its keys, and deleted ones that are not written back yet. O(1). */
uint64_t ks_slot_entries(const struct keyspace *ks, uint16_t slot);

#endif
