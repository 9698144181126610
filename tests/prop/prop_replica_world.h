/*
 * The world of prop_replica: nodes, the network between them, what they wrote, and what must be
 * so in the end. One thread, but for the nodes' pools; a world at a time.
 */
#ifndef TIERRA_TESTS_PROP_PROP_REPLICA_WORLD_H
#define TIERRA_TESTS_PROP_PROP_REPLICA_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/list.h"

#include "tests/lib/seed.h"
#include "tests/prop/prop_replica_node.h"

#define NODES_MAX 4u

/* From one node to another. */
struct way {
    struct list queue;
    uint64_t last_ms;
    bool closed; /* The sender has ended the link, after what is queued. */
};

/* What a node added to counters, by the sequence number of its batch. */
struct added {
    uint8_t counter; /* Its number and 1; 0: none. */
    uint32_t flush;
    int64_t delta;
};

struct world {
    uint64_t stream;
    struct rng rng;
    uint64_t now_ms;
    unsigned count;
    struct node node[NODES_MAX];
    bool gone[NODES_MAX]; /* Unlinked. */
    struct way way[NODES_MAX][NODES_MAX];
    bool linked[NODES_MAX][NODES_MAX]; /* Both directions are set together. */
    struct members members;
    struct added *added[NODES_MAX];
    uint64_t seq[NODES_MAX]; /* Own batches that were made and not lost. */
    uint64_t sealed[NODES_MAX];
    uint32_t flush;
    unsigned flusher; /* Index; NODES_MAX: none. */
    unsigned full;    /* Has no room; index; NODES_MAX: by chance. */
    bool calm;
    unsigned joiner; /* Index; NODES_MAX: none. */
    bool knows_all;
    struct posv to_reach; /* What others had when all knew of the joiner. */
    struct {
        uint64_t batches, lost, broken, log_reads, copied, refused;
    } totals;
};

/* `count` nodes, one of which comes later if `joins`. `stream` chooses all that is random. */
void world_open(struct world *w, uint64_t stream, unsigned count, bool joins);
void world_close(struct world *w);

unsigned world_below(struct world *w, unsigned n);

/* Some time passes: frames arrive, nodes do what they have to. */
void world_turn(struct world *w);

/* One batch on node `i`, if it takes writes. */
void world_write(struct world *w, unsigned i);
void world_write_some(struct world *w);

/* Crashes and starts, by chance. */
void world_disturb(struct world *w);
void world_crash(struct world *w, unsigned i);

void world_join(struct world *w);
void world_flush(struct world *w, unsigned i);

/* No more faults, until all have the same positions. */
void world_calm_down(struct world *w);

/* All show the same, and counters what was added. */
void world_check(struct world *w);
/* The digests agree, whatever each has collected of its garbage by now. */
void world_check_sums(struct world *w);
/* Nobody needs the log any more, and it goes, but for its last segments. */
void world_check_trimmed(struct world *w);

#endif
