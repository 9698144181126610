/*
 * REPLGROUP DIGEST: whether all members show the same, or which keys differ.
 *
 *     client -> group_digest_run (shard 0) --ASK--> every active member, this one too
 *     each member:  shard 0 -> its shards (replica_sums) -> shard 0 --ANSWER-->
 *     all have answered: judged bucket by bucket (replication/group/digest.h). What is not certain
 *     is asked again, some rounds; of buckets that differ the keys are asked for
 *
 * One run at a time; what peers ask meanwhile is answered beside it. A member whose sums take long
 * says so when it is asked again; one that says nothing for ANSWER_MS counts as missing.
 *
 * Shard 0's thread, but for group_digest_said.
 */
#ifndef TIERRA_SERVER_GROUP_DIGEST_H
#define TIERRA_SERVER_GROUP_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "replication/group/digest.h"

#include "server/group_node.h"

struct group_digest;
struct replica_sums;
struct shard;

#define DIGEST_BUCKETS_TOLD_MAX 64u  /* In a reply. */
#define DIGEST_KEYS_TOLD_MAX    100u /* Likewise. */

MUST_USE struct group_digest *group_digest_create(struct group *g);
void group_digest_destroy(struct group_digest *d); /* NULL is allowed. */

/* Often: it sends, gives up, begins the next round. */
void group_digest_tick(struct group_digest *d, uint64_t now_ms);

/* A message of another node, of any content. */
void group_digest_receive(struct group_digest *d, struct bytes message);

/* Of a shard, from any thread: what was asked of it has this result. */
void group_digest_said(struct shard *sh, uint32_t number, const struct replica_sums *sums);

/* --- a run --- */

enum digest_result {
    DIGEST_RUNS,      /* It is under way. */
    DIGEST_AGREE,     /* All members show the same. */
    DIGEST_DIFFER,    /* Some buckets differ for certain. */
    DIGEST_UNSETTLED, /* Some differ, but ops may be on their way: too much changes. */
    DIGEST_INCOMPLETE /* No member differs, but not all have answered. */
};

/* What a bucket or a key differs at; members: bit i for origin i + 1. */
struct digest_difference {
    uint16_t bucket;
    uint32_t members;
    struct bytes name; /* Of a key. */
};

struct digest_run {
    uint8_t result; /* enum digest_result */
    uint8_t own;    /* Origin of this node. */
    uint32_t asked; /* Members, as bits. */
    uint32_t answered;
    uint8_t status[GROUP_ORIGINS]; /* enum digest_status of those that did not give sums. */
    uint32_t rounds;
    uint64_t at_ms;
    uint64_t own_keys;                /* Of this node; */
    uint64_t own_damaged;             /* likewise. */
    uint64_t position[GROUP_ORIGINS]; /* Batches of each member that were applied here. */
    uint32_t moving;                  /* Buckets. */
    uint32_t differing;
    uint32_t buckets_count;
    struct digest_difference buckets[DIGEST_BUCKETS_TOLD_MAX];
    uint32_t keys_count;
    struct digest_difference keys[DIGEST_KEYS_TOLD_MAX];
    bool keys_cut;
};

/*
 * Begins a run. Returns its ticket; 0: one is running. The result of the last run stays until the
 * next one begins.
 */
uint64_t group_digest_start(struct group_digest *d);

/* The run with that ticket. NULL: another one has begun since. Valid until the next tick. */
const struct digest_run *group_digest_look(const struct group_digest *d, uint64_t ticket);

#endif
