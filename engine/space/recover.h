/*
 * Start of a keyspace: the key table from the store, and the changes that the store lacks.
 *
 * ks_recover_table makes every key cold: from the checkpoint of the key table and the journal of
 * keys (keylog.h), or else by reading the key rows once. Then the log's records are applied in
 * their order (replication/replay.c). A row in the store may be newer than the record that is
 * replayed, since rows are written before the covered position passes them; but then the record
 * that made it so follows, and the end is the same. So whole values and elements are put in place
 * without being read; only what a change builds on is read first: the key row of a collection, a
 * counter.
 *
 * Everything here blocks: for the start only, before the shard's loop runs.
 */
#ifndef TIERRA_ENGINE_SPACE_RECOVER_H
#define TIERRA_ENGINE_SPACE_RECOVER_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/space/keyspace.h"

/*
 * Fills the empty key table. Returns 0 or the error of the store; then `why` names the row or
 * file.
 */
MUST_USE int ks_recover_table(struct keyspace *ks, char *why, size_t why_len);

/*
 * Everything up to `lsn` is replayed; `vv` as of ks_flush_point. Until then each element that a
 * record creates counts as one that the store may have already: rows of elements and their key row
 * may have been written by different batches, of which only the first was persistent at the crash.
 * What was replayed of lists is written to the store now. 0 or the error of the store.
 */
struct vv;
MUST_USE int ks_recover_done(struct keyspace *ks, uint64_t lsn, const struct vv *vv);

/* Makes a cold key hot; no effect on others. 0 or the error of the store. */
MUST_USE int ks_recover_key(struct keyspace *ks, const struct ks_key *key);

/* The same for one element of a hot collection that is no list. */
MUST_USE int ks_recover_elem(struct keyspace *ks, struct coll *coll, struct bytes sub);

/* The same for the chunks of a hot string with the bytes `first` .. `end` (not included). */
MUST_USE int ks_recover_bytes(struct keyspace *ks, struct coll *coll, uint64_t first, uint64_t end);

/*
 * Puts an element of a list in place, or removes it (empty row), whatever the store has of the
 * list: nothing of it is read. `count`: elements after the change.
 */
void ks_recover_list(struct keyspace *ks, struct coll *coll, const struct ks_elem *elem,
                     uint64_t count);

/*
 * Puts an element in place, or removes it (empty row), whatever was there. `count`: elements of
 * the collection after the change.
 */
void ks_recover_put(struct keyspace *ks, struct coll *coll, const struct ks_elem *elem,
                    uint64_t count);

/* DRAM of the keyspace and of the list of what the store lacks, as far as replay makes it grow. */
uint64_t ks_recover_held(const struct keyspace *ks);

/* Makes a half of what is hot and clean cold. */
void ks_recover_demote(struct keyspace *ks);

/* Writes all dirty rows to the store; `lsn` and `vv` as of ks_flush_point. 0 or the store's error.
 */
MUST_USE int ks_recover_flush(struct keyspace *ks, uint64_t lsn, const struct vv *vv);

#endif
