/*
 * What demotion cannot help: maxmemory is below what the process needs without data (node.h calls
 * it starved; only CONFIG SET takes so little), and stays exceeded though nothing is left to
 * demote. Then eviction (eviction.h) deletes keys for it, under a policy that evicts.
 *
 * Each measurement of memory (node_budget.c, every 10 ms) is found to be
 *
 *     served     maxmemory is enough for a process without data, or not exceeded;
 *     helped     all that is hot, dirty rows included, is more than what is too much: demotion, or
 *                write-back before it, can still get below maxmemory;
 *     unsure     a store compacts or writes its buffers, whose memory comes back by itself;
 *     unhelped   neither.
 *
 * It counts when so many measurements as SHORTAGE_TICKS have been unhelped, over as much time at
 * least, none in between was served or helped, all that was dirty when it began has come to the
 * store, and the process has not become smaller since: each time it has, by SHORTAGE_STEPS of the
 * least maxmemory, all of that begins anew, so that what demotion, the allocator and the store give
 * back is waited for. So neither a load nor a maxmemory that is low for a moment evicts.
 *
 * It ends with the first measurement that is served, or when as many were helped as it took. In
 * one that is helped or unsure nothing is evicted either.
 *
 * Where maxmemory is enough for a process without data, but the index of cold keys fills it, growth
 * is refused under any policy. Eviction could not be steered by what is measured there: the key
 * table keeps its leaves for new keys, and the deletes first take more than they give back.
 *
 * Thread: shard 0's, but for what is said to be any.
 */
#ifndef TIERRA_SERVER_SHORTAGE_H
#define TIERRA_SERVER_SHORTAGE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct node;
struct shard;

struct shortage {
    uint64_t since_ms; /* Unhelped since, monotonic; 0: not. */
    uint64_t least;    /* What was too much then. */
    uint32_t ticks;    /* Measurements since. */
    bool counts;
    _Atomic uint64_t bytes; /* Too much, and keys should go for it now; 0: not. Any thread reads. */
};

/* How far the write-back of a shard is. Its thread. */
struct shortage_stored {
    uint64_t lsn;   /* When the store has come to this, */
    uint64_t at_ms; /* it has all that was dirty then. */
};

/* After each measurement of memory. */
void shortage_measure(struct node *node, uint64_t now_ms);

/* From the timer of each shard, on its thread. */
void shortage_follow(struct shard *sh, uint64_t now_ms);

/* By how much DRAM is exceeded, if keys should be evicted for it now; else 0. Any thread. */
uint64_t shortage_bytes(const struct node *node);

#endif
