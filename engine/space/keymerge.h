/*
 * Keeping the checkpoint of the key table up to date.
 *
 * A new checkpoint is the old one and the part of the journal that is persistent in the store:
 *
 *     COUNT    the journal is read once: how many entries for each slot
 *     PLACE    and again: the entries of each slot together, in the order of time
 *     MERGE    old checkpoint and entries, both ascending, into the new file
 *     FORGET   when that is durable under its name: rows of the journal are removed
 *
 * all on the maintenance thread, in slices of some milliseconds, so that batches need not wait
 * long. The shard's thread starts each slice and gives no time but that: what is read does not
 * change, however the keys do meanwhile. The old file stays in place until the new one is durable.
 * The journal is forgotten after that: a crash in between leaves rows that the checkpoint has
 * already, which a start passes over. What fails, or is cut short, leaves everything as it was.
 *
 * Where the old checkpoint or the journal cannot be used, a new one is made of the key rows:
 *
 *     REMAKE   all key rows are read, in slices; the store is flushed; the file is complete
 *
 * else each attempt would fail likewise, and the journal grow for ever.
 *
 * DRAM: 8 bytes an entry while it runs, KS_KEYS_DUE_MAX and what is persistent beyond at most.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_KEYMERGE_H
#define TIERRA_ENGINE_SPACE_KEYMERGE_H

#include <stdbool.h>
#include <stdint.h>

struct keyspace;

/* By the number of keys a checkpoint is due after an eighth of them has changed, within: */
#define KS_KEYS_DUE_MIN   65536u
#define KS_KEYS_DUE_MAX   4194304u
#define KS_KEYS_DUE_SHARE 8u

/* Changes of the set of keys after which a checkpoint is due; 0: by the number of keys. */
void ks_keys_set_due(struct keyspace *ks, uint64_t changes);

/* Starts a new checkpoint if one is due, and it is not tried too soon after a failure. */
void ks_keys_step(struct keyspace *ks, uint64_t now_ms);

/* The same, due or not. False: one is under way, or there is nothing new. */
bool ks_keys_start(struct keyspace *ks, uint64_t now_ms);

/* Cuts short what is under way: ks_busy is false soon. */
void ks_keys_stop(struct keyspace *ks);

/* The store is another one, whose checkpoint is `path`. */
void ks_keys_renew(struct keyspace *ks, const char *path);

struct ks_keys_info {
    uint64_t base; /* What the checkpoint has of the journal. */
    uint64_t last; /* What the journal has. */
    uint64_t changes;
    uint64_t covered_lsn;
    uint64_t written_ms;
    bool merging;
    bool loaded; /* The start used a checkpoint. */
};
void ks_keys_info(const struct keyspace *ks, struct ks_keys_info *out);

#endif
