/*
 * The budget of DRAM, and whether clients may grow the data by it and by that of flash (flash.h).
 *
 * maxmemory bounds what the process really uses. The figure is the resident set as the allocator
 * and the kernel count it, measured every MEASURE_MS; between two measurements the growth of the
 * keyspaces is added.
 *
 *     0 ........ early ............ soft ............. maxmemory ... hard
 *      free       write back if      demote; writers at               writers wait; refused if
 *                 much is dirty      the pace of write-back (pace.h)  nothing can be freed
 *
 * Around the middle between soft and maxmemory inflow and write-back balance. Beyond the hard limit
 * growth is refused when what could be freed does not suffice to get below it (a few keys that
 * reads brought in do not), or when neither demotion nor write-back has made any progress for
 * seconds. Then it is refused at once: a writer that has many commands does not wait for each.
 */
#include <inttypes.h>
#include <stdio.h>

#include "engine/base/log.h"

#include "engine/io/file.h"
#include "engine/io/pool.h"
#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/space/pace.h"
#include "engine/store/store.h"

#include "replication/oplog.h"

#include "server/config.h"
#include "server/node.h"
#include "server/shard.h"

/* Between two looks at the process' memory, and two questions to the allocator, which cost more. */
#define MEASURE_MS 10
#define DETAIL_MS  50
/* Demotion starts at this part of maxmemory. */
#define SOFT_PERCENT 82
/* Between two requests to the allocator to give pages back, and when it is worth the while. */
#define PURGE_MS            50
#define PURGE_SLACK_PERCENT 5
/* Write-back of what is dirty starts earlier, when that is more than so much of maxmemory. */
#define EARLY_PERCENT 65
#define DIRTY_SHARE   8
/* What reads under way may bring is at most this part of maxmemory. */
#define READS_SHARE 32
/* Beyond the limit by so much nothing that grows is let through. */
#define HARD_PERCENT 102
/* At the limit: until it is asked again. */
#define WAIT_MS 3
/* Without demotion or write-back for so long memory is not being freed. */
#define PROGRESS_MS 5000
/* Nothing left to free for so long: growth is refused at once. */
#define STUCK_MS 1000
/* Unless the process shrinks meanwhile by such parts of maxmemory. */
#define STUCK_STEPS 512
#define NS_PER_MS   UINT64_C(1000000)

static void set(_Atomic uint64_t *value, uint64_t to)
{
    atomic_store_explicit(value, to, memory_order_relaxed);
}

/* `sh` is exact, the others are as of the end of their last turn. */
static uint64_t keyspace_bytes(const struct shard *sh)
{
    const struct node *node = sh->node;
    uint64_t bytes = ks_bytes(sh->ks);

    for (uint32_t i = 0; i < node->shards_count; i++) {
        if (i != sh->id)
            bytes += node_limit(&node->shards[i]->published.bytes);
    }
    return bytes;
}

/* On a thread of the readers' pool: it may take milliseconds. */
static void run_purge(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    (void)jobs;
    (void)n;
    mem_purge();
}

static void on_purged(struct mail *mail)
{
    struct node_budget *b =
        container_of(container_of(mail, struct pool_job, mail), struct node_budget, purge_job);

    b->purging = false;
    b->measured_at_ms = 0;
}

void node_budget_init(struct node *node)
{
    struct node_budget *b = &node->budget;

    b->purge_class = (struct pool_class){.name = "purge",
                                         .priority = POOL_BACKGROUND,
                                         .batch_max = 1,
                                         .run_batch = run_purge,
                                         .ctx = b};
    pool_add_class(node->readers, &b->purge_class);
    b->purge_job =
        (struct pool_job){.mail = {.fn = on_purged}, .reply_to = &node->shards[0]->mailbox};
}

/* What so many shards need without data. */
static uint64_t budget_least(uint32_t shards)
{
    return NODE_MAXMEMORY_MIN + (shards > 1 ? (uint64_t)shards * NODE_MAXMEMORY_SHARD : 0);
}

bool node_budget_ok(uint64_t maxmemory, uint32_t shards, char *why, size_t why_len)
{
    const uint64_t least = budget_least(shards);

    if (maxmemory == 0 || maxmemory >= least)
        return true;
    if (shards > 1)
        (void)snprintf(why, why_len, "%u shards need at least %" PRIu64 "mb", shards, least >> 20);
    else
        (void)snprintf(why, why_len,
                       "the process needs %" PRIu64 "mb without data; at least 32mb is useful",
                       least >> 20);
    return false;
}

bool node_budget_busy(const struct node *node)
{
    return node->budget.purging;
}

/*
 * Pages that the allocator keeps for reuse count as used: when they are what is in the way they
 * go back to the kernel.
 */
static void give_back(struct node *node, uint64_t now_ms)
{
    struct node_budget *b = &node->budget;
    const uint64_t maxmemory = node_limit(&node->limits.maxmemory);

    if (maxmemory == 0 || b->rss <= node_limit(&node->limits.soft) || b->purging ||
        now_ms - b->purged_at_ms < PURGE_MS ||
        b->mem.resident < b->mem.allocated + maxmemory / 100 * PURGE_SLACK_PERCENT)
        return;
    b->purged_at_ms = now_ms;
    b->purging = true;
    pool_submit(&b->purge_class, &b->purge_job);
}

void node_set_limits(struct node *node)
{
    const uint64_t asked = node->cfg->maxmemory;
    const uint64_t least = budget_least(node->shards_count);
    const uint64_t maxmemory = asked == 0 ? 0 : u64_max(asked, least);
    const uint64_t kept = node_limit(&node->limits.cold) != 0 ? 0 : maxmemory;

    /* CONFIG SET takes less, as Redis does. Reads and deletes go on in what they need. */
    set(&node->limits.starved, asked != 0 && asked < least);
    set(&node->limits.maxmemory, maxmemory);
    set(&node->limits.early, kept / 100 * EARLY_PERCENT);
    set(&node->limits.soft, kept / 100 * SOFT_PERCENT);
    set(&node->limits.hard, maxmemory / 100 * HARD_PERCENT);
    set(&node->limits.maxflash, node->cfg->maxflash);
}

void node_press(struct shard *sh)
{
    const struct node_limits *l = &sh->node->limits;
    const uint64_t maxmemory = node_limit(&l->maxmemory);

    ks_set_pressure(sh->ks, maxmemory != 0 && node_limit(&l->used) > node_limit(&l->soft));
    ks_set_scan_bytes_max(sh->ks, maxmemory == 0 ? UINT64_MAX : maxmemory / 4);
    shard_set_input_bytes_max(sh);
    ks_set_reads_bytes_max(
        sh->ks, maxmemory == 0 ? UINT64_MAX : maxmemory / READS_SHARE / sh->node->shards_count);
}

void node_measure(struct node *node, uint64_t now_ms)
{
    struct node_budget *b = &node->budget;

    if (b->measured_at_ms != 0 && now_ms - b->measured_at_ms < MEASURE_MS)
        return;
    b->measured_at_ms = now_ms == 0 ? 1 : now_ms;
    node_set_limits(node);
    b->rss = mem_rss_bytes();
    if (b->detailed_at_ms == 0 || now_ms - b->detailed_at_ms >= DETAIL_MS) {
        b->detailed_at_ms = b->measured_at_ms;
        mem_stats(&b->mem);
    }
    b->allocated_peak = u64_max(b->allocated_peak, b->mem.allocated);
    b->rss_peak = u64_max(b->rss_peak, b->rss);
    set(&node->limits.used, b->rss);
    give_back(node, now_ms);
    set(&node->limits.shard_bytes, keyspace_bytes(node->shards[0]));
    flash_measure(node, now_ms);
    shortage_measure(node, now_ms);
    node_press(node->shards[0]);
}

/* As of now: the last measurement, and what the keyspaces have grown since. */
static uint64_t used_now(const struct shard *sh)
{
    const struct node_limits *l = &sh->node->limits;
    const uint64_t bytes = keyspace_bytes(sh);
    const uint64_t measured = node_limit(&l->shard_bytes);
    const uint64_t used = node_limit(&l->used);

    return bytes >= measured ? used + (bytes - measured) : used - u64_min(used, measured - bytes);
}

uint64_t node_overshoot(const struct shard *sh)
{
    const struct node_limits *l = &sh->node->limits;

    if (node_limit(&l->maxmemory) == 0)
        return 0;
    const uint64_t used = used_now(sh), soft = node_limit(&l->soft);
    return used > soft ? used - soft : 0;
}

/*
 * Enough is hot to get rid of `excess`, or rows are on their way to the store. Else keys alone, or
 * what does not depend on them, fill DRAM.
 */
static bool can_free(const struct shard *sh, uint64_t excess)
{
    const struct node *node = sh->node;
    uint64_t hot = ks_hot_bytes(sh->ks);
    bool writing = ks_flush_needed(sh->ks);

    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct shard *other = node->shards[i];
        if (i == sh->id)
            continue;
        hot += node_limit(&other->published.hot_bytes);
        writing |= node_limit(&other->published.writing) != 0;
    }
    return writing || hot > excess;
}

uint64_t node_progress(const struct shard *sh)
{
    const struct ks_metrics *m = ks_metrics(sh->ks);

    return m->demotions + m->demoted_elements + m->flushes;
}

/* What any shard frees helps all. */
static uint64_t progress_of_all(const struct shard *sh)
{
    const struct node *node = sh->node;
    uint64_t sum = node_progress(sh);

    for (uint32_t i = 0; i < node->shards_count; i++) {
        if (i != sh->id)
            sum += node_limit(&node->shards[i]->published.progress);
    }
    return sum;
}

void node_pace(struct shard *sh)
{
    const struct node_limits *l = &sh->node->limits;
    const uint64_t maxmemory = node_limit(&l->maxmemory);
    const uint64_t progress = progress_of_all(sh);
    const uint64_t used = maxmemory == 0 ? 0 : used_now(sh);
    struct store_debt debt;

    ks_flush_debt(sh->ks, &debt);
    const struct pace_debt owed = {.level0_files = debt.level0_files,
                                   .pending_bytes = debt.pending_compaction_bytes};
    pace_observe(&sh->pace, reactor_now_ns(sh->reactor), ks_metrics(sh->ks)->flushed_bytes,
                 ks_flush_needed(sh->ks) && node_wants_flush(sh));
    pace_set(&sh->pace, used, node_limit(&l->soft), maxmemory, &owed);
    if (used < node_limit(&l->hard))
        sh->stuck_at_ms = 0;
    if (progress != sh->progress_seen || used < node_limit(&l->hard)) {
        sh->progress_seen = progress;
        sh->progress_at_ms = reactor_now_ms(sh->reactor);
    }
}

bool node_wants_flush(const struct shard *sh)
{
    const struct node_limits *l = &sh->node->limits;
    const uint64_t maxmemory = node_limit(&l->maxmemory);

    if (maxmemory == 0)
        return false;
    const uint64_t used = used_now(sh);
    return used > node_limit(&l->soft) ||
           (used > node_limit(&l->early) &&
            ks_flush_backlog(sh->ks) * sh->node->shards_count > maxmemory / DIRTY_SHARE);
}

/* At the limit: what is being freed is waited for, however long that takes. */
static enum node_growth wait_or_refuse(struct shard *sh, uint64_t excess, uint32_t *out_delay_ms)
{
    const uint64_t step = node_limit(&sh->node->limits.maxmemory) / STUCK_STEPS;
    const uint64_t now_ms = reactor_now_ms(sh->reactor);

    *out_delay_ms = WAIT_MS;
    if (can_free(sh, excess)) {
        sh->stuck_at_ms = 0;
        return now_ms - sh->progress_at_ms < PROGRESS_MS ? NODE_GROWTH_LATER : NODE_GROWTH_REFUSED;
    }
    /* What the allocator and the store give back takes its time. */
    if (sh->stuck_at_ms == 0 || excess + step < sh->stuck_excess) {
        sh->stuck_at_ms = now_ms;
        sh->stuck_excess = excess;
    }
    return now_ms - sh->stuck_at_ms < STUCK_MS ? NODE_GROWTH_LATER : NODE_GROWTH_REFUSED;
}

const char *node_remote_refusal(struct shard *sh, uint64_t bytes, bool aside)
{
    const struct node *node = sh->node;
    const uint64_t maxmemory = node_limit(&node->limits.maxmemory);
    const uint64_t beyond = (uint64_t)sh->cfg->replication_oom_threshold_percent;

    if (sh->mend.ailing)
        return sh->mend.why;
    const char *why = flash_remote_why(node, aside);
    if (why != NULL)
        return why;
    if (maxmemory == 0 || used_now(sh) + bytes < maxmemory / 100 * (HARD_PERCENT + beyond))
        return NULL;
    return "DRAM is full: maxmemory is reached, and what replication-oom-threshold-percent keeps "
           "for peers is used";
}

enum node_growth node_growth(struct shard *sh, uint64_t bytes, const char **out_why,
                             uint32_t *out_delay_ms)
{
    const struct node *node = sh->node;
    const struct node_limits *l = &node->limits;
    const enum flash_level flash = flash_level(&node->flash);

    if (unlikely(sh->mend.ailing)) {
        *out_why = sh->mend.why;
        return NODE_GROWTH_FAILED;
    }
    if (unlikely(flash >= FLASH_UNSURE)) {
        *out_why = flash_why(&node->flash);
        *out_delay_ms = WAIT_MS;
        return flash == FLASH_FULL && !evict_possible(sh) ? NODE_GROWTH_REFUSED : NODE_GROWTH_WAIT;
    }
    if (unlikely(node_limit(&l->starved) != 0)) {
        *out_why = "maxmemory is below what the process needs without data";
        return NODE_GROWTH_REFUSED;
    }
    if (node_limit(&l->maxmemory) != 0) {
        const uint64_t used = used_now(sh), hard = node_limit(&l->hard);
        *out_why = "DRAM is full and the flash tier does not keep up, or keys alone fill it";
        if (used >= hard)
            return wait_or_refuse(sh, used - hard, out_delay_ms);
    }
    const uint64_t wait_ns = pace_admit(&sh->pace, reactor_now_ns(sh->reactor), bytes);
    if (likely(wait_ns < NS_PER_MS / 2))
        return NODE_GROWTH_OK;
    *out_delay_ms = (uint32_t)((wait_ns + NS_PER_MS / 2) / NS_PER_MS);
    return NODE_GROWTH_SLOW;
}
