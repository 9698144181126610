/*
 * MIGRATE: keys travel to another node, a redis-server or a Tierra, as RESTORE commands.
 *
 *     cmd_migrate     arguments, which keys there are; the command is parked, its client waits
 *     RESOLVING       names are looked up on a thread of their own       \  migrate_link.c
 *     CONNECTING                                                         /
 *     greeting        AUTH, SELECT -> their replies: nothing is sent before
 *     flowing         key after key: read from flash if need be, dumped, sent; a reply for each
 *     end             +OK, or the first error; the connection to the target is closed
 *
 * The command runs on the shard of its keys, by the connection or its agent, and is dispatched
 * again whenever something has come: rows from flash, replies, the end of the time. So keys are
 * deleted as by any write command, and nobody waits for it.
 *
 * Between its dump and the reply of the target a key is held (txn.h, watch_hold): commands that
 * write it wait, as for a reply that is being read from flash (stream.h). What changes it all the
 * same (a write of another member of a group, expiry, eviction, FLUSHALL) is noticed, and the key
 * stays. A key that the target has accepted is deleted, which is an op like that of DEL; with COPY
 * nothing is held then. What is still to be sent is not held either: it is sent as it will be then.
 *
 * A long value is dumped in slices, one a turn (dump.h), and held from the first one on; with COPY
 * until the last.
 *
 * At most MIGRATE_KEYS_MAX keys are on their way, and MIGRATE_BATCH_BYTES beside one dump that is
 * longer. All dumps of a shard together take no more than one value that may be loaded, a quarter
 * of maxmemory; beyond that a key is refused and stays.
 *
 * The timeout is that of Redis: for connecting, and then between two signs of life of the target.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_SERVER_MIGRATE_H
#define TIERRA_SERVER_MIGRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/list.h"

#include "replication/link/link_resolve.h"

/* Under way in a shard. */
#define MIGRATES_MAX 256u
/* Sent and not answered yet, of one command. */
#define MIGRATE_KEYS_MAX 128u
/* A batch of requests is sent when it is so long; what is longer alone is sent by itself. */
#define MIGRATE_BATCH_BYTES (256u << 10)

struct conn;
struct migrate;
struct pool;
struct shard;

/* Of one shard. */
struct migrate_shard {
    struct list all; /* struct migrate */
    uint32_t count;
    uint32_t links;     /* Sockets to targets that are not closed yet. */
    uint32_t lookups;   /* Names that are being looked up, also those that nobody waits for. */
    struct pool *names; /* NULL until there was a name. */
    struct link_resolver resolver;
};

/* The command is over, or will not go on. No effect if there is none. */
void migrate_drop(struct conn *c);

/* The client of an agent is gone. */
void migrate_abandon(struct shard *sh, uint64_t id);

/* A row of its key could not be read: `*err` is its own to tell, and 0 then. True. */
bool migrate_keeps(struct conn *c, int *err);

size_t migrate_memory_bytes(const struct conn *c);

#endif
