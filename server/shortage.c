/* What demotion cannot help; shortage.h tells when that is. */
#include "server/shortage.h"

#include <inttypes.h>

#include "engine/base/attr.h"
#include "engine/base/log.h"
#include "engine/base/num.h"

#include "engine/space/demote.h"
#include "engine/space/flush.h"

#include "replication/oplog.h"

#include "server/config.h"
#include "server/node.h"
#include "server/shard.h"

/* Measurements, of MEASURE_MS each. */
#define SHORTAGE_TICKS 200
#define SHORTAGE_MS    2000
/* The process has become smaller: by such parts of the least maxmemory. */
#define SHORTAGE_STEPS 512

void shortage_follow(struct shard *sh, uint64_t now_ms)
{
    struct shortage_stored *s = &sh->stored;
    const bool all = !ks_flush_needed(sh->ks);

    if (!all && ks_flush_covered(sh->ks) < s->lsn)
        return;
    /* All of what was dirty at the last mark. */
    atomic_store_explicit(&sh->published.stored_ms, all ? now_ms : s->at_ms, memory_order_relaxed);
    s->lsn = oplog_applied_lsn(sh->log);
    s->at_ms = now_ms;
}

uint64_t shortage_bytes(const struct node *node)
{
    return node_limit(&node->shortage.bytes);
}

/* What is too much; nothing if maxmemory is enough for a process without data. */
static uint64_t excess(const struct node *node)
{
    const uint64_t used = node_limit(&node->limits.used), asked = node->cfg->maxmemory;

    return node_limit(&node->limits.starved) != 0 && used > asked ? used - asked : 0;
}

static uint64_t hot_bytes(const struct node *node)
{
    uint64_t bytes = ks_hot_bytes(node->shards[0]->ks);

    for (uint32_t i = 1; i < node->shards_count; i++)
        bytes += node_limit(&node->shards[i]->published.hot_bytes);
    return bytes;
}

static bool compacts(const struct node *node)
{
    /* The timers of the others do. */
    flash_publish(node->shards[0]);
    for (uint32_t i = 0; i < node->shards_count; i++) {
        if (node_limit(&node->shards[i]->published.compacting) != 0)
            return true;
    }
    return false;
}

/* Each shard's store has all that was dirty then. */
static bool stored_since(const struct node *node, uint64_t since_ms)
{
    for (uint32_t i = 0; i < node->shards_count; i++) {
        if (node_limit(&node->shards[i]->published.stored_ms) < since_ms)
            return false;
    }
    return true;
}

static void begin_anew(struct shortage *s, uint64_t now_ms, uint64_t bytes)
{
    s->since_ms = now_ms;
    s->least = bytes;
    s->ticks = 0;
}

static void helped(struct shortage *s)
{
    if (!s->counts || s->ticks == 0) {
        s->counts = false;
        s->since_ms = 0;
        return;
    }
    s->ticks--;
}

static void unhelped(struct node *node, uint64_t now_ms, uint64_t bytes)
{
    struct shortage *s = &node->shortage;
    const uint64_t step = node_limit(&node->limits.maxmemory) / SHORTAGE_STEPS;

    if (!s->counts && (s->since_ms == 0 || bytes + step < s->least))
        begin_anew(s, now_ms, bytes);
    s->ticks = u32_min(s->ticks + 1, SHORTAGE_TICKS);
    if (s->counts || s->ticks < SHORTAGE_TICKS || now_ms - s->since_ms < SHORTAGE_MS ||
        !stored_since(node, s->since_ms))
        return;
    s->counts = true;
    LOG_WARN("server",
             "keys are evicted: maxmemory is below what the process needs without data "
             "maxmemory=%" PRIu64 " used=%" PRIu64 " policy=%s",
             node->cfg->maxmemory, node_limit(&node->limits.used),
             config_enum_name(node->cfg, CONFIG_ID_maxmemory_policy));
}

void shortage_measure(struct node *node, uint64_t now_ms)
{
    struct shortage *s = &node->shortage;
    const bool evicts = node->cfg->maxmemory_policy != POLICY_NOEVICTION;
    const uint64_t bytes = evicts ? excess(node) : 0;
    uint64_t wanted = 0;

    if (likely(bytes == 0)) {
        s->counts = false;
        s->since_ms = 0;
    } else if (hot_bytes(node) > bytes) {
        helped(s);
    } else if (!compacts(node)) {
        unhelped(node, now_ms, bytes);
        wanted = s->counts ? bytes : 0;
    }
    atomic_store_explicit(&s->bytes, wanted, memory_order_relaxed);
}
