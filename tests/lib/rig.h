/*
 * What a keyspace stands on, for tests: a loop, a mailbox and pools as in the server, and the store
 * in memory. The log, if there is to be one, is the test's.
 */
#ifndef TIERRA_TESTS_LIB_RIG_H
#define TIERRA_TESTS_LIB_RIG_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"

#include "engine/io/mailbox.h"
#include "engine/space/keyspace.h"

struct buf;
struct ks_wait;
struct pool;
struct reactor;
struct store;
struct store_mem_disk;

struct rig {
    struct reactor *reactor;
    struct mailbox mailbox;
    struct pool *readers;
    struct pool *maintainer;
    struct store *store;
};

/* Opens the store on `disk`, which outlasts it. The mailbox needs `r` to stay where it is. */
void rig_open(struct rig *r, struct store_mem_disk *disk, uint32_t readers);
/* Ends the threads, then `ks`, which they work for, and the rest. The keyspace is not busy. */
void rig_close(struct rig *r, struct keyspace *ks);

/* Of a keyspace on it, whose syncs are done as soon as they are asked for: there is no log. */
struct ks_options rig_options(struct rig *r, uint64_t seed);

/* One turn of the loop; waits for at most a millisecond. */
void rig_turn(struct rig *r);
/* Turns until nothing is under way in the keyspace. */
void rig_settle(struct rig *r, const struct keyspace *ks);

/* store_merge_ops.merge. */
int rig_merge_rows(void *ctx, struct bytes key, struct bytes existing, const struct bytes *operands,
                   size_t n, struct buf *out);
/* ks_wait.on_ready of a test that asks again by itself. */
void rig_on_ready(struct ks_wait *wait);

#endif
