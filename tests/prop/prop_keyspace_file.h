/* What happens to the checkpoint of the key table between a crash and the next start. */
#ifndef TIERRA_TESTS_PROP_PROP_KEYSPACE_FILE_H
#define TIERRA_TESTS_PROP_PROP_KEYSPACE_FILE_H

#include <stdbool.h>
#include <stdint.h>

struct rng;
struct store;
struct store_mem_disk;
struct store_options;
struct vv;

/* No effect if there is nothing to copy. */
void keys_file_copy(const char *from, const char *to);

/*
 * Flips a bit of `path`, cuts it, removes it, puts the copy `old` or `alien` (of another store) in
 * its place, or, mostly, does nothing.
 */
void keys_file_harm(struct rng *rng, const char *path, const char *old, const char *alien);

/*
 * An empty store, persistent, that covers the log up to `lsn`; with the head of a journal of keys,
 * or without, as if it could not be read.
 */
struct store *keys_store_fresh(struct store_mem_disk *disk, const struct store_options *options,
                               bool head_wanted, uint64_t lsn, const struct vv *vv);

#endif
