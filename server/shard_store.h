/*
 * Which directory a shard's store is in, and how it gets another one.
 *
 *     shard-000/CURRENT         "store-000001\n": the store that counts, replaced atomically
 *     shard-000/store-000001/   its RocksDB
 *     shard-000/keys-000001     the checkpoint of its key table (engine/space/keyfile.h)
 *     shard-000/oplog/          the log
 *
 * A store that CURRENT does not name, and its checkpoint, are left over from a flush or a delta
 * resync that was cut short, and are removed at start.
 */
#ifndef TIERRA_SERVER_SHARD_STORE_H
#define TIERRA_SERVER_SHARD_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/io/pool.h"
#include "engine/store/store.h"

struct shard;

/* The empty store that FLUSHALL is to take, opened in the background. Fields are the module's. */
struct shard_next_store {
    struct pool_class open_class;
    struct pool_job job;
    struct store_options options;
    struct store *store; /* NULL: none is open. */
    uint64_t number;
    char dir[4400];
    int err;   /* Of the last attempt. */
    bool busy; /* The job is under way. */
};

/* Before the others; the maintenance pool is there. */
void shard_store_init(struct shard *sh);

/* Opens the store that counts, or makes the first one. Blocks. */
MUST_USE int shard_store_open(struct shard *sh, char *why, size_t why_len);

/* The path of the checkpoint of the key table. */
void shard_keys_path(const struct shard *sh, char *out, size_t out_len);

/*
 * Writes CURRENT if the store is the first one. After the log was made: where there is CURRENT and
 * no log, the log was lost.
 */
MUST_USE int shard_store_keep(struct shard *sh, char *why, size_t why_len);

/*
 * At start, before there is a keyspace: an empty store, with `covered` as its covered position at
 * LSN 0, takes the place of the one that is open. Blocks. After an error nothing has changed.
 */
MUST_USE int shard_store_restart(struct shard *sh, struct bytes covered, char *why, size_t why_len);

/*
 * Has the empty store that shard_store_renew will take opened by the maintenance thread, which
 * takes tens of milliseconds. True: that is done, or was tried in vain, so that renew is to say
 * why.
 */
bool shard_store_prepare(struct shard *sh);
/* At the end, without a maintenance thread: closes it if it was not used. */
void shard_store_drop_next(struct shard *sh);

/*
 * Makes an empty store that covers the log up to `lsn` (`covered`: what stands with the position),
 * and from then on the one that counts; the keyspace forgets its keys. After an error nothing has
 * changed. Nothing may be under way, no retired store either. Blocks until the position is
 * persistent, and for the start of an empty store if none is prepared; the old one is closed and
 * deleted in the background (shard.retired).
 */
MUST_USE int shard_store_renew(struct shard *sh, uint64_t lsn, struct bytes covered, char *why,
                               size_t why_len);

/*
 * Delta resync, in two steps. The first: as shard_store_renew, but the store that is open stays so,
 * and CURRENT names it until the second: after a crash nothing has changed. Done once more it
 * throws away what came since the last time. Its rows are all in it: nothing of the keyspace is
 * dirty.
 */
MUST_USE int shard_store_set_aside(struct shard *sh, uint64_t lsn, struct bytes covered, char *why,
                                   size_t why_len);
/* The second: the new store, complete and persistent, counts. Nothing is open on the other. */
MUST_USE int shard_store_keep_new(struct shard *sh);

#endif
