/*
 * Transactions of one connection: MULTI queues commands, EXEC runs them without a gap, WATCH makes
 * EXEC fail if a watched key was touched.
 *
 * Queued commands are copied, since their bytes leave the input before EXEC comes. A watched key
 * stands in the shard's table of watches, so that a write finds its watchers by the key's hash.
 */
#ifndef TIERRA_SERVER_TXN_H
#define TIERRA_SERVER_TXN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/list.h"

struct cmd;
struct conn;
struct ks_key;
struct resp_cmd;

/* One queued command: `argv` in the order of `data`. */
struct txn_cmd {
    const struct cmd *cmd;
    struct bytes *argv;
    uint32_t argc;
};

#define TXN_NO_SHARD UINT32_MAX

struct txn {
    bool active; /* After MULTI. */
    bool failed; /* A command could not be queued: EXEC aborts. */
    /* A watched key was touched; set by its shard's thread. Of an agent home reads it, too. */
    _Atomic bool dirty;
    struct txn_cmd *cmds;
    uint32_t cmds_count;
    uint32_t cmds_cap;
    size_t bytes;   /* Of the queued arguments. */
    uint32_t shard; /* Owner of its keys, if there are several shards; TXN_NO_SHARD: none yet. */
    struct list watches;  /* struct watch, by its txn_link, */
    size_t watches_bytes; /* and what they take. */
};

/* The connection's transaction, made on first use. */
struct txn *txn_of(struct conn *c);

/* Frees it with its watches. No effect if there is none. */
void txn_destroy(struct conn *c);

/* The queue, and the names watched here. */
size_t txn_memory_bytes(const struct conn *c);

/* After MULTI? */
bool txn_active(const struct conn *c);

/* Copies the command into the queue; false if there is no memory. */
bool txn_queue(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc);

/* The queue goes to another connection, the agent at the owner of the keys (forward.h). */
void txn_hand_over(struct conn *from, struct conn *to);

/* A command was refused while queueing. */
void txn_fail(struct conn *c);

/* Forgets the queue and the watches: after EXEC or DISCARD. */
void txn_reset(struct conn *c);

void txn_watch(struct conn *c, const struct ks_key *key, uint64_t now_ms);
void txn_unwatch(struct conn *c);

/* True if a watched key expired since it was watched. */
bool txn_expired(struct conn *c, uint64_t now_ms);

/* The key was changed: marks its watchers. Called for each change, hence quick if nobody watches.
 */
struct watch_table;
struct watch_table *watch_table_create(void);
void watch_table_destroy(struct watch_table *table);
void watch_touch(struct watch_table *table, const struct ks_key *key);
/* It had expired, and is removed. Who began to watch it since then sees no change. */
void watch_touch_expired(struct watch_table *table, const struct ks_key *key);
/* All keys were removed: FLUSHALL. */
void watch_touch_all(struct watch_table *table);
uint64_t watch_count(const struct watch_table *table); /* By WATCH. */

/*
 * For MIGRATE: from now on `*changed` becomes true when the key is changed or removed, by whatever
 * way, and watch_holds tells that commands which write it have to wait. Who holds one counts in
 * sh->streams_shut (stream_holds_back).
 */
struct watch;
struct watch *watch_hold(struct watch_table *table, const struct ks_key *key,
                         _Atomic bool *changed);
void watch_release(struct watch_table *table, struct watch *watch);
bool watch_holds(const struct watch_table *table, const struct ks_key *key);

#endif
