/* Eviction; eviction.h tells when. */
#include "server/eviction.h"

#include "engine/space/evict.h"
#include "engine/space/flush.h"

#include "replication/mutate.h"
#include "replication/oplog.h"

#include "server/config.h"
#include "server/latency.h"
#include "server/node.h"
#include "server/notify.h"
#include "server/shard.h"

/* Of maxmemory: for the uses of keys; without maxmemory. Bytes. */
#define COLD_SHARE         16
#define COLD_BYTES_DEFAULT (256u << 20)
/* Log bytes of a reclaim beyond the key's name. */
#define RECLAIM_BYTES 64
/* So long are uses counted for who asks for idle times. */
#define ASKED_MS (24u * 60 * 60 * 1000)
/* What a key takes besides its row and name: frame, place in the tables. */
#define KEY_BYTES 64
/* For DRAM: keys of one batch, and the time in which what was freed shows in what is measured. */
#define BATCH_KEYS    2048
#define BATCH_REST_MS 60

static bool by_use(int64_t policy)
{
    return policy == POLICY_ALLKEYS_LRU || policy == POLICY_VOLATILE_LRU ||
           policy == POLICY_ALLKEYS_LFU || policy == POLICY_VOLATILE_LFU;
}

static bool expiring_only(int64_t policy)
{
    return policy == POLICY_VOLATILE_LRU || policy == POLICY_VOLATILE_LFU ||
           policy == POLICY_VOLATILE_RANDOM || policy == POLICY_VOLATILE_TTL;
}

bool evict_is_by_use(const struct config *cfg)
{
    return by_use(cfg->maxmemory_policy);
}

bool evict_is_lfu(const struct config *cfg)
{
    return cfg->maxmemory_policy == POLICY_ALLKEYS_LFU ||
           cfg->maxmemory_policy == POLICY_VOLATILE_LFU;
}

void evict_follow(struct shard *sh)
{
    struct evict *e = &sh->evict;
    const struct config *cfg = sh->cfg;
    const uint64_t share = cfg->maxmemory == 0 ? COLD_BYTES_DEFAULT : cfg->maxmemory / COLD_SHARE;

    if (e->asked_ms != 0 && reactor_now_ms(sh->reactor) - e->asked_ms > ASKED_MS)
        e->asked_ms = 0;
    const bool counted = by_use(cfg->maxmemory_policy) || e->asked_ms != 0;
    const uint64_t cold = counted ? share / sh->node->shards_count : 0;

    ks_use_tick(sh->ks, reactor_wall_ms(sh->reactor));
    if (e->policy == cfg->maxmemory_policy && e->log_factor == cfg->lfu_log_factor &&
        e->decay_min == cfg->lfu_decay_time && e->cold_bytes_max == cold)
        return;
    e->policy = cfg->maxmemory_policy;
    e->log_factor = cfg->lfu_log_factor;
    e->decay_min = cfg->lfu_decay_time;
    e->cold_bytes_max = cold;
    const struct use_rule rule = {.kind = evict_is_lfu(cfg) ? USE_LFU : USE_LRU,
                                  .lfu_log_factor = (uint32_t)cfg->lfu_log_factor,
                                  .lfu_decay_min = (uint32_t)cfg->lfu_decay_time};
    ks_use_set(sh->ks, &rule, cold);
}

void evict_ask_idle(struct shard *sh)
{
    sh->evict.asked_ms = reactor_now_ms(sh->reactor);
    evict_follow(sh);
}

static uint64_t dram_excess(const struct shard *sh)
{
    return sh->cfg->maxmemory_policy == POLICY_NOEVICTION ? 0 : shortage_bytes(sh->node);
}

static void evict_key(void *ctx, const struct ks_key *key, uint64_t bytes)
{
    struct shard *sh = ctx;

    /* The state may have ended while the victims were read. */
    if (sh->evict.for_dram && dram_excess(sh) == 0)
        return;
    if (mut_check(sh->mut, key->name.len + RECLAIM_BYTES) != 0)
        return;
    mut_begin(sh->mut, shard_now_ms(sh));
    (void)mut_reclaim(sh->mut, key);
    (void)mut_end(sh->mut);
    sh->stats.evicted_keys++;
    notify_event(sh, EVENT_EVICTED, "evicted", key->name);
    if (!sh->evict.for_dram) {
        flash_note_evicted(sh, bytes + KEY_BYTES);
        return;
    }
    sh->evict.batch++;
    sh->evict.batch_lsn = oplog_applied_lsn(sh->log);
}

static enum ks_evict_by order_of(int64_t policy)
{
    if (by_use(policy))
        return KS_EVICT_BY_USE;
    return policy == POLICY_VOLATILE_TTL ? KS_EVICT_BY_EXPIRY : KS_EVICT_BY_CHANCE;
}

/* Begins or ends the time that INFO tells. */
static void note_time(struct shard *sh, bool exceeded)
{
    struct evict *e = &sh->evict;
    const uint64_t now_ms = reactor_now_ms(sh->reactor);

    if (exceeded && e->since_ms == 0) {
        e->since_ms = now_ms;
    } else if (!exceeded && e->since_ms != 0) {
        e->exceeded_ms += now_ms - e->since_ms;
        latency_note(sh->latency, "eviction-cycle", now_ms - e->since_ms,
                     sh->cfg->latency_monitor_threshold);
        e->since_ms = 0;
    }
}

/* How many keys may be evicted for DRAM now: the rest of a batch. */
static uint32_t dram_victims(struct shard *sh)
{
    struct evict *e = &sh->evict;
    const uint64_t now_ms = reactor_now_ms(sh->reactor);

    if (e->batch >= BATCH_KEYS) {
        if (ks_flush_needed(sh->ks) && ks_flush_covered(sh->ks) < e->batch_lsn)
            return 0;
        e->batch = 0;
        e->rest_ms = now_ms + BATCH_REST_MS;
    }
    return now_ms < e->rest_ms ? 0 : u32_min(BATCH_KEYS - e->batch, KS_EVICT_ROUND_MAX);
}

void evict_step(struct shard *sh)
{
    const int64_t policy = sh->cfg->maxmemory_policy;

    if (likely(policy == POLICY_NOEVICTION && sh->evict.since_ms == 0))
        return;
    const uint64_t flash = policy == POLICY_NOEVICTION ? 0 : flash_excess(sh->node);
    const uint64_t dram = dram_excess(sh);
    note_time(sh, flash != 0 || dram != 0);
    /* While the store takes no writes it gets no deletes either, and they would free nothing. */
    if ((flash == 0 && dram == 0) || sh->mend.ailing || sh->flushing || ks_evict_busy(sh->ks) ||
        oplog_fenced(sh->log, NULL) || shard_paused(sh))
        return;
    const uint32_t victims = flash != 0 ? KS_EVICT_ROUND_MAX : dram_victims(sh);
    if (victims == 0)
        return;
    sh->evict.for_dram = flash == 0;
    const struct ks_evict_rule rule = {.by = order_of(policy),
                                       .expiring_only = expiring_only(policy),
                                       .samples = (uint32_t)sh->cfg->maxmemory_samples};
    if (ks_evict_start(sh->ks, &rule, victims, reactor_wall_ms(sh->reactor), evict_key, sh))
        reactor_wake(sh->reactor);
}

bool evict_possible(const struct shard *sh)
{
    const int64_t policy = sh->cfg->maxmemory_policy;

    return policy != POLICY_NOEVICTION && ks_evict_possible(sh->ks, expiring_only(policy));
}

uint64_t evict_current_ms(const struct shard *sh)
{
    return sh->evict.since_ms == 0 ? 0 : reactor_now_ms(sh->reactor) - sh->evict.since_ms;
}

uint64_t evict_total_ms(const struct shard *sh)
{
    return sh->evict.exceeded_ms + evict_current_ms(sh);
}
