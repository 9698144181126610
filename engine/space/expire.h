/*
 * Expiry: which keys are due.
 *
 * A key whose time has passed is hidden from reads at that moment (keyspace.c). Reclaiming its
 * memory and its rows comes later, within a budget. Two indexes find what is due:
 *
 *     in DRAM    a heap of {time, slot, hash}, for keys that were hot when their expiry was set or
 *                read. Entries are not removed when the expiry changes: a stale one is noticed when
 *                it comes up.
 *     on flash   index rows, in the order of time, written with the key row. One is removed by the
 *                look that finds its key row gone or changed, so that nothing is forgotten if the
 *                key is not reclaimed when it is found: the log may take nothing just then, or a
 *                crash may come before it does. The look goes on from a remembered place, and
 *                begins anew from time to time, for those, and for rows with an earlier time that
 *                have come since.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_EXPIRE_H
#define TIERRA_ENGINE_SPACE_EXPIRE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/space/keyspace.h"

/* Called for each key that is due; may delete it, and nothing else. */
typedef void (*ks_expire_fn)(void *ctx, const struct ks_key *key);

/*
 * Calls `fn` for up to `max` keys that have expired by `now_ms`. Returns how many it looked at:
 * less than `max` means that nothing more is due in DRAM.
 */
uint32_t ks_expire_some(struct keyspace *ks, uint64_t now_ms, uint32_t max, ks_expire_fn fn,
                        void *ctx);

/*
 * Looks for expired cold keys in the background; `fn` is called later from the shard's mailbox.
 * Does nothing while such a look is under way. Call it every second or so.
 */
void ks_expire_look_cold(struct keyspace *ks, uint64_t now_ms, ks_expire_fn fn, void *ctx);

#endif
