/*
 * What two members have the same: a resync leaves it out (group/core_sync.c tells the way).
 *
 * One who asks walks its rows from a slot on until it has SAME_ROWS of them or SAME_BYTES, to the
 * end of a slot, and sums them up in buckets of 1 to 2 rows (wire.h, engine/value/row_same.h). One
 * who gives takes the sums of its own rows of these slots from them: what is not zero then differs.
 * Slots are the range because rows stand in another order within a slot at each member.
 *
 * Bounded: one who gives ends the range where it has twice SAME_ROWS or SAME_BYTES, to the end of a
 * slot, as the asker may have few rows in it or none. The sums of what the asker has behind that
 * make buckets differ that do not, never the other way. A slot with more than SAME_ROWS_MAX rows or
 * SAME_BYTES_MAX is not summed up but asked for whole; one who has more than twice that in a slot
 * does not compare it but gives it whole.
 *
 * Blocks, on a pool's thread.
 */
#ifndef TIERRA_REPLICATION_REPLICA_SAME_H
#define TIERRA_REPLICATION_REPLICA_SAME_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "replication/group/wire.h"

struct store;
struct store_iter;

#define SAME_ROWS      16384u
#define SAME_BYTES     (16u << 20)
#define SAME_ROWS_MAX  (1u << 17)
#define SAME_BYTES_MAX (32u << 20)

/* The next range from `first` on; its sums stand in `sums`. 0, -ENOMEM, or the error of the store.
 */
MUST_USE int replica_same_sum(struct store *store, uint16_t first, struct buf *sums,
                              struct wire_sync_range *out);

/*
 * Which buckets differ (wire.h) from what the cursor shows, before the slot `*end`; it is moved.
 * Errors likewise.
 */
MUST_USE int replica_same_compare(struct store_iter *it, const struct wire_sync_range *range,
                                  struct buf *differ, uint16_t *end);

/* The bucket of a row by its key in the store. */
uint32_t replica_same_bucket(struct bytes key, const struct wire_sync_range *range);

/* Key of the first row of a slot; of KEY_SLOTS: beyond all of them. */
#define SAME_SLOT_BYTES 2u
struct bytes replica_same_slot(uint8_t dst[SAME_SLOT_BYTES], uint16_t slot);

#endif
