/*
 * The budget of DRAM, and whether clients may grow the data by it and by that of flash (flash.h).
 *
 * maxmemory bounds what the process really uses. The figure is the resident set as the allocator
 * and the kernel count it, measured every MEASURE_MS; between two measurements the growth of the
 * keyspaces is added. Up to `soft` nothing happens. Above it shards write back and demote; writers
 * are slowed in proportion to how far the use has gone from soft towards the limit. At the limit
 * writers wait; growth is refused if that does not help within seconds (dispatch.c).
 *
 *     0 ............ soft ............... maxmemory
 *     free           demote, slow down    refuse growth
 */
#include <stdio.h>

#include "engine/base/log.h"

#include "engine/io/file.h"
#include "engine/space/demote.h"
#include "engine/space/flush.h"

#include "replication/oplog.h"

#include "server/config.h"
#include "server/node.h"
#include "server/shard.h"

/* Between two looks at the process' memory. */
#define MEASURE_MS 50
/* Demotion starts at this part of maxmemory. */
#define SOFT_PERCENT 85
/* Between two requests to the allocator to give pages back, and when it is worth the while. */
#define PURGE_MS            500
#define PURGE_SLACK_PERCENT 5
/* The longest that a writer waits before it is let through or refused. */
#define DELAY_MS_MAX 20
/* At the limit: until it is asked again. */
#define WAIT_MS 3

static uint64_t keyspace_bytes(const struct node *node)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < node->shards_count; i++)
        bytes += ks_bytes(node->shards[i]->ks);
    return bytes;
}

/*
 * Pages that the allocator keeps for reuse count as used: when they are what is in the way they
 * go back to the kernel.
 */
static void give_back(struct node_budget *b, uint64_t now_ms)
{
    if (b->maxmemory == 0 || b->rss <= b->soft || now_ms - b->purged_at_ms < PURGE_MS ||
        b->mem.resident < b->mem.allocated + b->maxmemory / 100 * PURGE_SLACK_PERCENT)
        return;
    b->purged_at_ms = now_ms;
    mem_purge();
    b->rss = mem_rss_bytes();
    b->used = b->rss;
}

void node_measure(struct node *node, uint64_t now_ms)
{
    struct node_budget *b = &node->budget;

    if (b->measured_at_ms != 0 && now_ms - b->measured_at_ms < MEASURE_MS)
        return;
    b->measured_at_ms = now_ms == 0 ? 1 : now_ms;
    b->maxmemory = node->cfg->maxmemory;
    b->soft = b->maxmemory / 100 * SOFT_PERCENT;
    b->rss = mem_rss_bytes();
    mem_stats(&b->mem);
    b->allocated_peak = u64_max(b->allocated_peak, b->mem.allocated);
    b->rss_peak = u64_max(b->rss_peak, b->rss);
    b->used = b->rss;
    give_back(b, now_ms);
    b->shard_bytes = keyspace_bytes(node);
    flash_measure(node, now_ms);
    for (uint32_t i = 0; i < node->shards_count; i++) {
        ks_set_pressure(node->shards[i]->ks, b->maxmemory != 0 && b->used > b->soft);
        ks_set_scan_bytes_max(node->shards[i]->ks,
                              b->maxmemory == 0 ? UINT64_MAX : b->maxmemory / 4);
    }
}

/* As of now: the last measurement, and what the keyspaces have grown since. */
static uint64_t used_now(const struct node *node)
{
    const uint64_t bytes = keyspace_bytes(node);
    const struct node_budget *b = &node->budget;

    if (bytes >= b->shard_bytes)
        return b->used + (bytes - b->shard_bytes);
    return b->used - u64_min(b->used, b->shard_bytes - bytes);
}

uint64_t node_overshoot(const struct node *node)
{
    if (node->budget.maxmemory == 0)
        return 0;
    const uint64_t used = used_now(node);
    return used > node->budget.soft ? used - node->budget.soft : 0;
}

/* Something is hot, or on its way to the store: memory will be freed. */
static bool can_free(const struct node *node)
{
    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct keyspace *ks = node->shards[i]->ks;
        if (ks_flush_needed(ks) || ks_count_hot(ks) != 0)
            return true;
    }
    return false;
}

enum node_growth node_growth(struct node *node, const struct shard *sh, const char **out_why,
                             uint32_t *out_delay_ms)
{
    const struct node_budget *b = &node->budget;

    (void)sh;
    const enum flash_level flash = flash_level(&node->flash);
    if (unlikely(flash >= FLASH_UNSURE)) {
        *out_why = flash_why(&node->flash);
        *out_delay_ms = WAIT_MS;
        return flash == FLASH_FULL ? NODE_GROWTH_REFUSED : NODE_GROWTH_WAIT;
    }
    if (b->maxmemory == 0)
        return NODE_GROWTH_OK;
    const uint64_t used = used_now(node);
    if (used <= b->soft)
        return NODE_GROWTH_OK;
    if (used >= b->maxmemory) {
        *out_why = "DRAM is full and the flash tier does not keep up, or keys alone fill it";
        *out_delay_ms = WAIT_MS;
        return can_free(node) ? NODE_GROWTH_WAIT : NODE_GROWTH_REFUSED;
    }
    /* Half way to the limit nothing is delayed yet: write-back has the time to catch up. */
    const uint64_t half = b->soft + (b->maxmemory - b->soft) / 2;
    if (used <= half)
        return NODE_GROWTH_OK;
    *out_delay_ms = 1 + (uint32_t)((used - half) * DELAY_MS_MAX / (b->maxmemory - half));
    return NODE_GROWTH_SLOW;
}
