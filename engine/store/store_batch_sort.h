/*
 * A batch in the order of its keys.
 *
 * Rows come to a batch in the order in which they changed, which for most is no order of keys.
 * The write buffers of the store are skip lists: a row whose predecessor has just been put finds
 * its place a few steps from there, one at random passes through the whole height with a miss of
 * the processor's cache at most steps. README.md has the figures.
 */
#ifndef TIERRA_ENGINE_STORE_STORE_BATCH_SORT_H
#define TIERRA_ENGINE_STORE_STORE_BATCH_SORT_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "engine/store/store_batch.h"

/*
 * The content of `batch` sorted by key, records of one key in their order, as a copy of the same
 * length that the caller gives to mem_free; NULL where it is sorted already, is too short to be
 * worth it, or there is no memory: the batch as it stands means the same. O(n log n), no recursion
 * on what keys hold.
 */
MUST_USE uint8_t *store_batch_sorted(const struct store_batch *batch);

#endif
