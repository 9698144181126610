/*
 * CLIENT TRACKING: telling clients which keys of their caches are not valid any more.
 *
 *     shard of a key      a command that only reads -> table: key -> client numbers (tracktab.h)
 *                         the key changes -> takes the entry out; a message for each client
 *     shard of a client   message -> "invalidate" to the client, or to whom it redirects
 *     BCAST               keys that change are collected, and sent at the end of the turn to each
 *                         shard that has clients with prefixes
 *
 * A key changes by a client's command, by expiry or eviction, by another member of the group; the
 * write path says so (mut_options.on_change). A flush invalidates all keys at once: null instead of
 * keys.
 *
 * What a client is told about its own command follows the reply. Between shards a message stands
 * behind the replies of whatever the client had under way when it arrived, so that it never
 * overtakes the reply that brought the value. The number of a client tells its shard
 * (tracking_shard_of).
 *
 * Limits: tracking-table-max-keys, of all shards together, and TABLE_SHARE of maxmemory; beyond,
 * keys at random are invalidated and forgotten. Prefixes count for their client
 * (maxmemory-clients), and are refused when those of all clients take TABLE_SHARE of maxmemory.
 * Messages under way to one shard are bounded too: beyond, its clients are told that all keys are
 * invalid. A client that does not read them is closed by the limits of class pubsub of
 * client-output-buffer-limit.
 *
 * While nobody tracks, a change costs two loads, a command one.
 *
 * Thread: the shard's, unless something else is said.
 */
#ifndef TIERRA_SERVER_TRACKING_H
#define TIERRA_SERVER_TRACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/list.h"

#include "server/prefixtree.h"
#include "server/tracktab.h"

struct cmd;
struct conn;
struct ks_key;
struct request;
struct shard;

/* Of one that tracks, did so, or to which another one redirects. Until it closes. */
struct tracking_client {
    struct list_link link; /* In the table by number. */
    struct conn *conn;
    uint64_t redirect;          /* Number of the client that gets the messages; 0: this one. */
    struct prefixtree prefixes; /* Of BCAST (tracking_bcast.h). */
    struct list subs;           /* The same. */
    size_t subs_bytes;
    bool on;
    bool bcast;
    bool optin;
    bool optout;
    bool noloop;
    bool caching; /* CLIENT CACHING was given for the next command. */
    bool broken;  /* Whom it redirects to is gone. */
    bool target;  /* Others redirect to it. */
    /* CLIENT TRACKING waits until another shard has said whether this client is there. */
    uint64_t asked;
    bool answered;
    bool found;
};

/* Of a shard. */
struct tracking {
    struct tracktab keys;
    struct list *clients; /* Buckets, by number. */
    struct prefixtree prefixes;
    size_t prefixes_bytes; /* What they take, as each client has them. */
    uint64_t clients_on;
    struct buf changed;             /* Of this turn: writer 8, length 2, name. */
    struct buf own;                 /* For the client whose command runs: length 4, keys. */
    bool muted;                     /* One message stands for all changes: FLUSHALL. */
    uint32_t over;                  /* Turns in a row above the limit. */
    _Atomic uint32_t listeners;     /* Clients that track, or are redirected to. Any thread. */
    _Atomic uint32_t bcast_clients; /* Likewise. */
    _Atomic uint64_t backlog_bytes; /* On their way here. */
    _Atomic bool lost;              /* Some of them were dropped. */
};

MUST_USE struct tracking *tracking_create(void);
void tracking_destroy(struct tracking *t); /* All connections are closed. */

static inline uint32_t tracking_shard_of(uint64_t id, uint32_t shards)
{
    return shards == 1 ? 0 : (uint32_t)(id % shards);
}

/* --- what happens to keys --- */

/* A key was changed, or is gone. */
void tracking_changed(struct shard *sh, const struct ks_key *key);

/* The same; quick if nobody could have it. `bcast`: somebody on the node asked for prefixes. */
static inline void tracking_touch(struct shard *sh, const struct tracking *t, bool bcast,
                                  const struct ks_key *key)
{
    if (unlikely(t->keys.count != 0 || bcast))
        tracking_changed(sh, key);
}

/* All of them are gone. */
void tracking_flushed(struct shard *sh);

/* A command that only reads has run for a client whose reads are to be remembered. */
void tracking_remember(struct shard *sh, const struct conn *c, const struct cmd *cmd, uint32_t argc,
                       const struct bytes *argv);

/* --- the life of a command --- */

/* Behind the reply to the command of `c`: what it made invalid for the client itself. */
void tracking_follow(struct conn *c);
static inline bool tracking_follows(const struct tracking *t)
{
    return t->own.len != 0;
}

/* It is over: CLIENT CACHING was for it. */
void tracking_over(struct conn *c, const struct cmd *cmd);

/* End of a turn, if there is something. */
void tracking_turn(struct shard *sh);
static inline bool tracking_due(const struct tracking *t)
{
    return t->keys.count != 0 || t->changed.len != 0;
}

/* --- clients --- */

struct tracking_options {
    uint64_t redirect;
    const struct bytes **prefixes; /* Arguments. */
    uint32_t prefixes_count;
    bool bcast;
    bool optin;
    bool optout;
    bool noloop;
};

/* As Redis' enableTracking; the options fit. */
void tracking_enable(struct conn *c, const struct tracking_options *options);
void tracking_disable(struct conn *c);

/* CLIENT CACHING. */
void tracking_set_caching(struct conn *c);

/* Whether there is such a client, to be redirected to. > 0: `c` will be resumed; call again. */
int tracking_find_target(struct conn *c, uint64_t id, bool *out_found);

/* What it does now; `on` is false if it does not. */
const struct tracking_client *tracking_of(const struct conn *c);

/* Whether there is room for the prefixes. */
bool tracking_prefixes_fit(const struct conn *c, const struct tracking_options *options);

/* A prefix of the client that begins like this one, or is its begin. False: none. */
bool tracking_overlaps(const struct conn *c, struct bytes prefix, struct bytes *out);

/* Calls `fn` for each prefix of the client. */
void tracking_each_prefix(const struct conn *c, void (*fn)(void *ctx, struct bytes prefix),
                          void *ctx);

/* The connection closes. */
void tracking_leave(struct conn *c);

size_t tracking_memory_bytes(const struct conn *c);

/* What the keys of this shard's table may take, and the prefixes of its clients; 0: any. */
uint64_t tracking_bytes_max(const struct shard *sh);

#endif
