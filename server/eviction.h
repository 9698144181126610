/*
 * Eviction under maxmemory-policy: what engine/space/evict.h finds is deleted while the flash
 * budget (flash.h) is exceeded, or DRAM is and demotion cannot help (shortage.h).
 *
 * An evicted key leaves both tiers and the log has it as a reclaim, like an expiry. A round of at
 * most KS_EVICT_ROUND_MAX keys runs per turn of the loop. Clients that want to grow the data go on
 * until growth is refused; then they wait for the evictions, and are refused if no key may be
 * evicted.
 *
 * For DRAM a batch of keys is evicted in such rounds; the next begins when the store has the
 * deletes, which are in DRAM until then, and memory has been measured after that. Each shard evicts
 * its part.
 *
 * Uses of keys are counted under the policies that choose by them, and as long as somebody asks for
 * idle times.
 *
 * The shard's thread.
 */
#ifndef TIERRA_SERVER_EVICTION_H
#define TIERRA_SERVER_EVICTION_H

#include <stdbool.h>
#include <stdint.h>

struct config;
struct shard;

struct evict {
    int64_t policy; /* What the keyspace was told last; -1: nothing. */
    int64_t log_factor;
    int64_t decay_min;
    uint64_t cold_bytes_max;
    uint64_t asked_ms;    /* Somebody asked for an idle time then, monotonic; 0: not lately. */
    uint64_t since_ms;    /* Evicting since then; 0: not. */
    uint64_t exceeded_ms; /* Total time of it before. */
    bool for_dram;        /* The round under way; else for flash. */
    uint32_t batch;       /* Of DRAM: so many keys of this batch are evicted, */
    uint64_t batch_lsn;   /* the last of them here in the log. */
    uint64_t rest_ms;     /* No batch before then, monotonic. */
};

/* Tells the keyspace how uses are counted. The timer, and at once when an option has changed. */
void evict_follow(struct shard *sh);

/* Somebody asks how long a key was not used: uses are counted from now on, for a day. */
void evict_ask_idle(struct shard *sh);

/* One round if it is needed. Every turn. */
void evict_step(struct shard *sh);

/* Keys may be evicted, and there are some. */
bool evict_possible(const struct shard *sh);

/* Milliseconds spent with the budget exceeded: now, and in all. */
uint64_t evict_current_ms(const struct shard *sh);
uint64_t evict_total_ms(const struct shard *sh);

/* Whether victims are chosen by their use; and whether uses are counted as frequencies. */
bool evict_is_by_use(const struct config *cfg);
bool evict_is_lfu(const struct config *cfg);

#endif
