/*
 * Eviction: which keys are deleted, from both tiers, when flash is short.
 *
 * A round compares a sample of keys and evicts the best victims among them:
 *
 *     sample    leaves of the key table at random places, `samples` keys for each victim wanted
 *     rank      by use (usage.h) or time of expiry; hot keys have both at hand
 *     read      names of cold victims, and what is not known of cold keys, from the store, in the
 *               background: a cold key's place in the table tells where its row is
 *     evict     the highest ranks: the callback deletes them
 *
 * What is not known of a cold key: its use if it was not used since the start, or was
 * forgotten (then its last change counts as its last use), and when it expires. If something is not
 * known, the keys with something unknown are read before they are compared.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_EVICT_H
#define TIERRA_ENGINE_SPACE_EVICT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/space/keyspace.h"
#include "engine/space/usage.h"

enum ks_evict_by {
    KS_EVICT_BY_USE,
    KS_EVICT_BY_EXPIRY, /* The nearest first; with expiring_only. */
    KS_EVICT_BY_CHANCE
};

struct ks_evict_rule {
    enum ks_evict_by by;
    bool expiring_only; /* Keys without an expiry stay. */
    uint32_t samples;   /* Keys compared for each victim; at least 1. */
};

/* `bytes`: of the key's row and name, a rough figure for collections. Deletes it, or not. */
typedef void (*ks_evict_fn)(void *ctx, const struct ks_key *key, uint64_t bytes);

/*
 * Begins a round for up to `max` victims, at most KS_EVICT_ROUND_MAX. `fn` is called for each: now,
 * or later from the shard's mailbox. False: no key may be evicted under the rule, or this sample
 * has met none; nothing is under way then. Not while a round is under way.
 */
#define KS_EVICT_ROUND_MAX 64
bool ks_evict_start(struct keyspace *ks, const struct ks_evict_rule *rule, uint32_t max,
                    uint64_t now_ms, ks_evict_fn fn, void *ctx);

/* A round is under way. */
bool ks_evict_busy(const struct keyspace *ks);

/* Whether there is any key that could be evicted. O(1). */
bool ks_evict_possible(const struct keyspace *ks, bool expiring_only);

/*
 * How uses are counted from now on; what is there keeps its bits, which may mean something else.
 * `bytes_max`: memory for the uses of keys; 0: none are kept.
 */
void ks_use_set(struct keyspace *ks, const struct use_rule *rule, size_t bytes_max);

/* Of a hot key: as it is kept, else its last write (of a collection: its creation). */
uint32_t ks_use_of(const struct keyspace *ks, const struct ks_key *key, const struct obj *obj);

/*
 * `*commands` grows with each command: look-ups of one key in a row by the same command are one
 * use. NULL: each is one.
 */
void ks_use_once(struct keyspace *ks, const uint64_t *commands);

/* A use of a cold key that stays cold; those of others are counted by the look-up. */
void ks_use_count(struct keyspace *ks, const struct ks_key *key);

/*
 * A key comes with its use (RESTORE): how long it was not used, or how often it was. Nothing is
 * kept if the rule is about the other (a value < 0), or if no uses are kept.
 */
void ks_use_tell(struct keyspace *ks, const struct ks_key *key, int64_t idle_s, int64_t frequency);

/* A key that stood there, or not, is another one now (COPY): its first use. */
void ks_use_first(struct keyspace *ks, const struct ks_key *key);

/* A key takes over the use of a hot one, whose name it gets (RENAME). */
void ks_use_move(struct keyspace *ks, const struct ks_key *from, const struct obj *obj,
                 const struct ks_key *to);

/* The wall clock, by which uses are counted. Every turn or so. */
void ks_use_tick(struct keyspace *ks, uint64_t now_ms);

#endif
