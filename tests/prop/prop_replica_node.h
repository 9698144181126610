/*
 * One member of a group with its replica, for prop_replica: real log, keyspace and pools, a store
 * in memory; what a server would do beside it; crashes that take what was not synced.
 */
#ifndef TIERRA_TESTS_PROP_PROP_REPLICA_NODE_H
#define TIERRA_TESTS_PROP_PROP_REPLICA_NODE_H

#include <stdbool.h>

#include "engine/io/pool.h"

#include "replication/replica.h"

#include "tests/prop/prop_group_member.h"

struct node {
    struct prop_member m; /* Log, keyspace, store and pools; its origin is the node's. */
    struct replica *replica;
    struct rng *rng;
    const struct replica_host *host;
    void *ctx; /* Of the host. */
    bool up;
    bool joining;    /* replica_join at each start. */
    bool cut_off;    /* It is about to crash: nothing leaves it any more. */
    bool full;       /* Says that it has no room. */
    int64_t skew_ms; /* Of its wall clock. */
    uint64_t mono_ms;
    uint64_t seed;          /* Of its hashes. */
    struct members members; /* As it knows them. */
    struct replica_state state;
    uint64_t store_number;
    struct pool_class persist_class;
    struct pool_job persist_job;
    bool persisting;
    int persist_err;
    uint64_t persist_lsn;
    struct buf persist_covered;
    uint64_t covered_lsn;
    struct vv durable_seqs; /* Of all origins, at the last crash. */
    uint64_t crashes;
    uint64_t empties;
    uint64_t emptied_at_start;
};

/* `seed` of its hashes; not open yet. */
void node_create(struct node *n, uint8_t origin, uint64_t seed);
void node_destroy(struct node *n);

void node_open(struct node *n);
/* Takes what was not synced with it; the end of the log at a random place. */
void node_crash(struct node *n);
/* In order: all is in the log and in the store. */
void node_close(struct node *n);

/* One turn at this time. `wait`: for the pools, if nothing else is to be done. */
void node_turn(struct node *n, uint64_t mono_ms, bool wait);

/* Makes the keys hot or absent. False: they must not be read any more. */
bool node_need(struct node *n, const struct ks_key *keys, unsigned count);

uint64_t node_wall_ms(const struct node *n);

struct ks_key node_key(const struct node *n, const char *name);

/* What it shows in one number, by replica_sums, is `*sum`, or that is 0 and becomes it. */
bool node_has_sum(struct node *n, uint64_t mono_ms, uint64_t *sum);

/* The host's part of emptying it. */
int node_empty(struct node *n, uint64_t lsn, struct bytes note, struct store **out);

#endif
