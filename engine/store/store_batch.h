/*
 * A batch of changes to a store, as one flat buffer.
 *
 * Built on the shard's thread without a lock and without a call into RocksDB, then handed over as
 * a whole to the thread that calls store_write. Each row is framed and checksummed here
 * (store_frame.h), next to where it was computed.
 *
 * The buffer is RocksDB's own batch format, so that writing it costs one copy and no call per
 * row; the format is that of its write-ahead log and has not changed since 2012:
 *     0   8  sequence number, zero
 *     8   4  number of records, LE
 *     12  .. records: kind(1), key length (varint), key; put and merge also value length (varint),
 *            value. Kinds: 0 delete, 1 put, 2 merge
 *
 * Later records of a batch win over earlier ones of the same key. Owned by one thread at a time.
 */
#ifndef TIERRA_ENGINE_STORE_STORE_BATCH_H
#define TIERRA_ENGINE_STORE_STORE_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#define STORE_BATCH_HEADER_BYTES 12u

struct store_batch {
    struct buf buf; /* Empty, or header and records. */
    uint32_t count; /* Rows; the covered position is not one. */
    uint32_t blind; /* Of these, deletes and operands: what a walk over the rows does not show. */
    uint64_t covered_lsn;
    bool has_covered;
};

/* `bytes_max` bounds the buffer, frames and keys included. Allocates nothing. */
void store_batch_init(struct store_batch *batch, size_t bytes_max);
void store_batch_deinit(struct store_batch *batch);

/* Empties the batch and keeps its memory. */
void store_batch_clear(struct store_batch *batch);

/*
 * Each returns 0, -ERR_LIMIT or -ENOMEM; after an error nothing changed. `row` is at least one
 * byte. Put replaces whatever was there, merge joins through store_merge_ops.
 */
MUST_USE int store_batch_put(struct store_batch *batch, struct bytes key, struct bytes row);
MUST_USE int store_batch_merge(struct store_batch *batch, struct bytes key, struct bytes row);
MUST_USE int store_batch_delete(struct store_batch *batch, struct bytes key);

/*
 * With this batch every effect up to `lsn` is in the store; `vv` is the version vector at that
 * position, opaque here. At most once per batch. Positions must not go down from batch to batch.
 */
MUST_USE int store_batch_set_covered(struct store_batch *batch, uint64_t lsn, struct bytes vv);

/* Rows in the batch, and the bytes that store_write will copy. */
static inline uint32_t store_batch_count(const struct store_batch *batch)
{
    return batch->count;
}

static inline size_t store_batch_bytes(const struct store_batch *batch)
{
    return batch->buf.len;
}

enum store_record_kind {
    STORE_RECORD_DELETE = 0,
    STORE_RECORD_PUT = 1,
    STORE_RECORD_MERGE = 2,
};

/* One record as store implementations and tests see it; slices into the batch. */
struct store_record {
    enum store_record_kind kind;
    struct bytes key;
    struct bytes frame; /* Empty for a delete. */
};

/* The records of a batch from its first; pass the result on to store_batch_next. */
struct bytes store_batch_records(const struct store_batch *batch);

/* Cuts the first record off `*records`; false at the end. */
MUST_USE bool store_batch_next(struct bytes *records, struct store_record *out);

#endif
