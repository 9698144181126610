/*
 * Rows of a copy of another member's store: how they get into the store and the key table of a
 * member that has nothing yet (group.h).
 *
 *     ks_copy_put .. ks_copy_put, ks_copy_batch    a batch for the store
 *     (the batch is written, on the maintenance thread)
 *     ks_copy_done, ks_copy_key .. ks_copy_key     its keys are cold ones from now on
 *
 * Rows replace what is there. They come under the names that they have there (rowkey.h), with the
 * hashes of that data directory, and get ours.
 *
 * While a copy is under way nothing else writes to the keyspace, and no command reads it: a key may
 * be there without its elements.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_COPYIN_H
#define TIERRA_ENGINE_SPACE_COPYIN_H

#include <stdbool.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct keyspace;
struct store_batch;

/*
 * Appends the row, and what belongs to it, to the batch. 0; -ERR_CORRUPT, -ERR_UNSUPPORTED: it is
 * none that can be here; -ENOMEM, -ERR_LIMIT: there is no room for it. After an error the batch is
 * good for nothing.
 */
MUST_USE int ks_copy_put(struct keyspace *ks, struct bytes key, struct bytes row,
                         struct store_batch *batch);

/* The last of the batch: what the journal of keys has to know. */
void ks_copy_batch(struct keyspace *ks, struct store_batch *batch);

/* It was written, or not: then the same rows are put again. */
void ks_copy_done(struct keyspace *ks, bool written);

/* For each row of a batch that was written: the key table learns of a key row. */
void ks_copy_key(struct keyspace *ks, struct bytes key, struct bytes row);

#endif
