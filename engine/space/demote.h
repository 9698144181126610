/*
 * Demotion: which keys leave DRAM when memory is short.
 *
 * The order is that of S3-FIFO (Yang et al., SOSP 2023) with a clock for its main queue. A key
 * that a read brought stands on probation, in a FIFO; at its end it becomes cold again unless it
 * was touched meanwhile. All other hot keys are visited by a clock hand that walks the key table:
 * touches since its last visit are counted (to 3), each visit takes one away, a key without is
 * demoted. A cold key remembers one touch, so that its next read admits it at once (the ghost).
 *
 * A collection that is large in DRAM is not left to that hand, which would meet it once a turn: all
 * of these stand in a list, and each in turn lets some of its elements go, as many in all as keep
 * step with the hand, or as the time allows where the hand meets cold keys only. Hashes and sets
 * shrink that way until they are large no more, sorted sets until they have 8,192 members; then the
 * key goes as others do.
 *
 * While large collections wait for the write-back, and have a good part of DRAM, keys lose a touch
 * a second at most (ks_demote_age): the hand finds little then and comes round all the time.
 *
 * Only clean rows can leave; dirty ones are brought to the store first (flush.h). Work is done in
 * slices of bounded time.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_DEMOTE_H
#define TIERRA_ENGINE_SPACE_DEMOTE_H

#include <stdbool.h>
#include <stdint.h>

struct keyspace;

/* Memory is short, or not: decides whether reads admit at once. */
void ks_set_pressure(struct keyspace *ks, bool pressure);

/*
 * Frees about `bytes` of DRAM, for at most `slice_ns`; less when the time is over or what is left
 * is dirty or in use. True: something was freed, or will be by the next slice.
 */
bool ks_demote_some(struct keyspace *ks, uint64_t bytes, uint64_t slice_ns);

/* To be called once a second: the next turn of the hand takes a touch of each key away. */
void ks_demote_age(struct keyspace *ks);

/*
 * A step of freeing the elements of large hashes, sets and sorted sets that were deleted or written
 * over, and of small ones where these were many in one turn; true if more are left. For each turn:
 * the delete itself takes the same time for any number. It ends after `slice_ns`; 0: when its part
 * of all that waits is done. ks_demote_some does so, too, as memory is short then.
 */
bool ks_reap_some(struct keyspace *ks, uint64_t slice_ns);
/* Collections of more elements than this are freed that way. Default KS_REAP_ABOVE. */
#define KS_REAP_ABOVE 2048
void ks_set_reap_above(struct keyspace *ks, uint64_t elements);

/* Bytes of keys, elements and the key table in DRAM, as allocated. */
uint64_t ks_bytes(const struct keyspace *ks);

/* Of that, what the keys and elements take: what demotion could free if none were in use. */
uint64_t ks_hot_bytes(const struct keyspace *ks);

/* What the keyspace consists of, for INFO. */
struct ks_sizes {
    uint64_t keytab_bytes;
    uint64_t hot_bytes; /* Of keys and elements. */
    uint64_t probation; /* Keys on probation, those that left meanwhile included. */
    uint64_t tombstones;
    uint64_t dirty_rows; /* Rows that wait for write-back, gone ones included. */
    uint64_t reads;      /* Under way. */
    uint64_t sweeps;     /* Deleted collections whose rows are being removed. */
};
void ks_sizes(const struct keyspace *ks, struct ks_sizes *out);

/* Largest collection that is loaded whole, and bounds what is pinned. */
void ks_set_scan_bytes_max(struct keyspace *ks, uint64_t bytes);
uint64_t ks_scan_bytes_max(const struct keyspace *ks);

#endif
