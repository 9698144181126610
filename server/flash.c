/* The flash budget; flash.h tells what counts and what follows. */
#include "server/flash.h"

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"

#include "engine/io/file.h"
#include "engine/space/flush.h"
#include "engine/store/store.h"

#include "replication/oplog.h"

#include "server/config.h"
#include "server/node.h"
#include "server/shard.h"

/* Between two walks: with room, and when it is short. */
#define WALK_MS       1000
#define WALK_TIGHT_MS 200
/* And sooner, when this part of the room may have been taken since. */
#define WALK_PART 32
/* Tight begins this part of the room before full. */
#define TIGHT_PERCENT 10
/* Log segments, write buffers and the log's tail are at most these parts of maxflash. */
#define SEGMENT_SHARE     64
#define SEGMENT_BYTES_MIN (1u << 20)
#define TAIL_SHARE        8
#define TAIL_BYTES_MIN    (4u << 20)
/* Segments of each log that can still be asked for: the next one, and one that is being made. */
#define SEGMENTS_AHEAD 2
/* Segments that a log keeps, the spares for recycling included. */
#define SEGMENTS_KEPT 6
/*
 * Room for a compaction, which writes its output before it deletes its input: as much as all
 * tables, but no more than level 0 and its base level may hold, or one pick of files below them.
 */
#define COMPACTION_MEMTABLES 10
#define COMPACTION_BYTES_MIN (256u << 20)
/* Between two reliefs of a shard: when it is tight, and when it is full. */
#define RELIEF_TIGHT_MS 2000
#define RELIEF_FULL_MS  500
/* Compacting is worth the while when so much of the tables may be garbage. */
#define GARBAGE_TIGHT_PART 20
#define GARBAGE_FULL_PART  64
#define GARBAGE_BYTES_MIN  (256u << 10)
#define DISK_FULL          "no space left on the device of the data directory"
#define BUDGET_FULL        "flash is full: maxflash is reached"
/* Overwritten: taken to be garbage worth compacting after so much of the tables was written. */
#define OVERWRITTEN_PART 8

/* --- measuring --- */

static void walk(struct flash *f)
{
    uint64_t total;

    f->walk.err = file_tree_bytes(f->node->dir, &f->walk.tree_bytes);
    if (f->walk.err == 0)
        f->walk.err = file_disk_space(f->node->dir, &f->walk.free_bytes, &total);
}

static void run_walk(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)jobs;
    (void)n;
    walk(ctx);
}

static uint64_t appended_bytes(const struct node *node)
{
    uint64_t bytes = oplog_metrics(node->shards[0]->log)->bytes;

    for (uint32_t i = 1; i < node->shards_count; i++)
        bytes += node_limit(&node->shards[i]->published.appended);
    return bytes;
}

void flash_publish(struct shard *sh)
{
    struct store_stats stats;

    store_stats(sh->store, &stats);
    const bool compacting = sh->relief.busy || stats.running_compactions != 0 ||
                            stats.running_flushes != 0 || stats.pending_compaction_bytes != 0;
    atomic_store_explicit(&sh->published.table_bytes, stats.live_sst_bytes, memory_order_relaxed);
    atomic_store_explicit(&sh->published.pending_bytes,
                          stats.memtable_bytes + ks_flush_backlog(sh->ks), memory_order_relaxed);
    const uint64_t log_bytes = oplog_bytes(sh->log);
    const uint64_t kept = SEGMENTS_KEPT * flash_segment_bytes(sh->node);
    atomic_store_explicit(&sh->published.trimmable_bytes, log_bytes - u64_min(log_bytes, kept),
                          memory_order_relaxed);
    atomic_store_explicit(&sh->published.compacting, compacting, memory_order_relaxed);
}

/* What the walk that begins now is to be combined with. */
static void walk_begin(struct flash *f, uint64_t now_ms)
{
    const struct node *node = f->node;
    uint64_t sst = 0;

    flash_publish(node->shards[0]);
    f->walk_at_ms = now_ms;
    f->walk_appended = appended_bytes(node);
    f->walk_pending = 0;
    f->walk_quiet = true;
    uint64_t trimmable = 0;
    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct shard *sh = node->shards[i];
        sst += node_limit(&sh->published.table_bytes);
        f->walk_pending += node_limit(&sh->published.pending_bytes);
        f->walk_quiet = f->walk_quiet && node_limit(&sh->published.compacting) == 0;
        trimmable += node_limit(&sh->published.trimmable_bytes);
    }
    atomic_store_explicit(&f->trimmable, trimmable, memory_order_relaxed);
    /* Quiet twice in a row: a compaction that was asked for may not have begun the first time. */
    const uint64_t relieved = f->walk_quiet ? atomic_load(&f->relieved) : 0;
    f->walk_gone = u64_min(relieved, f->relieved_before);
    f->relieved_before = relieved;
    const uint64_t log = flash_segment_bytes(node) * SEGMENTS_AHEAD + node_memtable_bytes(node);
    const uint64_t compaction =
        u64_max((uint64_t)node_memtable_bytes(node) * COMPACTION_MEMTABLES, COMPACTION_BYTES_MIN);
    f->disk_need = log * node->shards_count + f->walk_pending +
                   u64_min(sst + f->walk_pending, compaction * node->shards_count);
}

static void walk_end(struct flash *f)
{
    if (f->walk.err != 0) {
        LOG_EVERY_MS(60000, LOG_LEVEL_WARN, "server",
                     "cannot measure the data directory dir=%s err=\"%s\"", f->node->dir,
                     err_str(f->walk.err));
        return;
    }
    f->tree_bytes = f->walk.tree_bytes;
    f->disk_free = f->walk.free_bytes;
    f->appended = f->walk_appended;
    f->pending = f->walk_pending;
    /* What could be given back of the keys evicted before the last relief is in the figures now. */
    const uint64_t gone = u64_min(f->walk_gone, atomic_load(&f->evicted));
    atomic_fetch_sub(&f->evicted, gone);
    atomic_fetch_sub(&f->relieved, u64_min(gone, atomic_load(&f->relieved)));
}

static void on_walked(struct mail *mail)
{
    struct flash *f = container_of(container_of(mail, struct pool_job, mail), struct flash, job);

    f->walking = false;
    walk_end(f);
    flash_set_level(f->node);
}

int flash_open(struct node *node)
{
    struct flash *f = &node->flash;

    f->node = node;
    f->cls = (struct pool_class){.name = "flash",
                                 .priority = POOL_BACKGROUND,
                                 .batch_max = 1,
                                 .run_batch = run_walk,
                                 .ctx = f};
    pool_add_class(node->readers, &f->cls);
    walk_begin(f, 0);
    walk(f);
    walk_end(f);
    flash_set_level(node);
    return f->walk.err;
}

/* What has come since the last walk: each byte of the log is followed by one of a table. */
static uint64_t since_walk(const struct node *node)
{
    const uint64_t appended = appended_bytes(node);

    return 2 * (appended - u64_min(node->flash.appended, appended));
}

static bool walk_due(const struct node *node, uint64_t now_ms)
{
    const struct flash *f = &node->flash;
    const uint64_t every_ms = flash_level(f) == FLASH_FREE ? WALK_MS : WALK_TIGHT_MS;
    const uint64_t since = since_walk(node);

    if (flash_level(f) == FLASH_UNSURE || now_ms - f->walk_at_ms >= every_ms ||
        since >= f->disk_free / WALK_PART)
        return true;
    return node->cfg->maxflash != 0 && since >= node->cfg->maxflash / WALK_PART;
}

void flash_measure(struct node *node, uint64_t now_ms)
{
    struct flash *f = &node->flash;

    flash_set_level(node);
    if (f->walking || !walk_due(node, now_ms))
        return;
    f->walking = true;
    walk_begin(f, now_ms);
    f->job = (struct pool_job){.mail = {.fn = on_walked}, .reply_to = &node->shards[0]->mailbox};
    pool_submit(&f->cls, &f->job);
}

bool flash_walking(const struct node *node)
{
    return node->flash.walking;
}

/* --- levels --- */

/* Clients' growth ends here. */
static uint64_t full_bytes(const struct node *node)
{
    const uint64_t maxflash = node_limit(&node->limits.maxflash);
    const uint64_t reserve =
        maxflash / 100 * (uint64_t)node->cfg->replication_oom_threshold_percent;

    return maxflash - reserve;
}

static uint64_t tight_bytes(const struct node *node)
{
    return full_bytes(node) / 100 * (100 - TIGHT_PERCENT);
}

/* If so many bytes have come since the last walk. */
static enum flash_level level_at(const struct node *node, uint64_t since, const char **out_why)
{
    const struct flash *f = &node->flash;
    const uint64_t used = f->tree_bytes + f->pending + since;
    const uint64_t need = f->disk_need + since;

    if (f->disk_free < need) {
        *out_why = DISK_FULL;
        return FLASH_FULL;
    }
    if (node->cfg->maxflash != 0 && used >= full_bytes(node)) {
        *out_why = BUDGET_FULL;
        return FLASH_FULL;
    }
    if (f->disk_free < need + f->disk_need / 2 ||
        (node->cfg->maxflash != 0 && used >= tight_bytes(node)))
        return FLASH_TIGHT;
    return FLASH_FREE;
}

void flash_set_level(struct node *node)
{
    struct flash *f = &node->flash;
    const char *why = NULL;
    const uint64_t since = since_walk(node);

    const uint64_t used = f->tree_bytes + f->pending + since;
    atomic_store_explicit(&f->used, used, memory_order_relaxed);
    const uint64_t need = u64_min(f->disk_need + since, f->disk_free);
    atomic_store_explicit(&f->disk_spare, f->disk_free - need, memory_order_relaxed);
    enum flash_level level = level_at(node, since, &why);
    if (level == FLASH_FULL && level_at(node, 0, &why) != FLASH_FULL)
        level = FLASH_UNSURE;
    if (level == FLASH_FULL && flash_level(f) != FLASH_FULL)
        LOG_EVERY_MS(10000, LOG_LEVEL_WARN, "server",
                     "growth is refused why=\"%s\" used=%llu maxflash=%llu disk_free=%llu", why,
                     (unsigned long long)used, (unsigned long long)node->cfg->maxflash,
                     (unsigned long long)f->disk_free);
    if (why != NULL)
        atomic_store_explicit(&f->why, why, memory_order_relaxed);
    atomic_store_explicit(&f->level, (int)level, memory_order_relaxed);
}

const char *flash_why(const struct flash *f)
{
    const char *why = atomic_load_explicit(&f->why, memory_order_relaxed);

    return why == NULL ? "flash is full" : why;
}

const char *flash_remote_why(const struct node *node, bool aside)
{
    const struct flash *f = &node->flash;
    const uint64_t maxflash = node_limit(&node->limits.maxflash);

    if (node_limit(&f->disk_spare) == 0)
        return DISK_FULL;
    return maxflash != 0 && node_limit(&f->used) >= maxflash && !aside ? BUDGET_FULL : NULL;
}

const char *flash_aside_why(const struct node *node)
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < node->shards_count; i++)
        bytes += node_limit(&node->shards[i]->published.table_bytes);
    return node_limit(&node->flash.disk_spare) > bytes
               ? NULL
               : "not enough space left on the device for the rows of a peer beside those of this "
                 "node, which a resync keeps until it is complete";
}

uint64_t flash_excess(const struct node *node)
{
    const struct flash *f = &node->flash;
    const uint64_t evicted = atomic_load_explicit(&f->evicted, memory_order_relaxed);

    if (node_limit(&node->limits.maxflash) == 0)
        return 0;
    const uint64_t limit = tight_bytes(node) + evicted;
    const uint64_t all = node_limit(&f->used);
    const uint64_t used = all - u64_min(node_limit(&f->trimmable), all);
    return used > limit ? used - limit : 0;
}

void flash_note_evicted(struct shard *sh, uint64_t bytes)
{
    sh->relief.evicted += bytes;
    atomic_fetch_add(&sh->node->flash.evicted, bytes);
}

uint64_t flash_segment_bytes(const struct node *node)
{
    const uint64_t maxflash = node_limit(&node->limits.maxflash);
    const uint64_t wanted = node->cfg->oplog_segment_bytes;

    CHECK(node->shards_count != 0);
    if (maxflash == 0)
        return wanted;
    const uint64_t share = maxflash / SEGMENT_SHARE / node->shards_count;
    return u64_min(wanted, u64_max(share / SEGMENT_BYTES_MIN, 1) * SEGMENT_BYTES_MIN);
}

uint64_t flash_log_tail_bytes(const struct node *node, uint64_t bytes)
{
    const uint64_t maxflash = node_limit(&node->limits.maxflash);
    CHECK(node->shards_count != 0);
    if (maxflash == 0)
        return bytes;
    const uint64_t share = maxflash / TAIL_SHARE / node->shards_count;
    return u64_min(bytes, u64_max(share, TAIL_BYTES_MIN));
}

/* --- relief --- */

static void run_relief(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct shard *sh = ctx;

    (void)jobs;
    (void)n;
    sh->relief.err = store_flush(sh->store);
    if (sh->relief.err == 0 && sh->relief.compact)
        sh->relief.err = store_suggest_compact(sh->store, bytes_of(NULL, 0), bytes_of(NULL, 0));
}

static void on_relief(struct mail *mail)
{
    struct shard *sh =
        container_of(container_of(mail, struct pool_job, mail), struct shard, relief.job);

    sh->relief.busy = false;
    if (sh->relief.err != 0) {
        LOG_EVERY_MS(10000, LOG_LEVEL_WARN, "server", "cannot give flash back shard=%u err=\"%s\"",
                     sh->id, err_str(sh->relief.err));
        if (sh->relief.stage == FLASH_EVICTED_FLUSHED)
            sh->relief.stage = FLASH_EVICTED_MARKED;
        return;
    }
    if (sh->relief.stage == FLASH_EVICTED_FLUSHED)
        sh->relief.stage = FLASH_EVICTED_DONE;
    /* What the store has now the log need not keep. */
    shard_look_persisted(sh);
}

void flash_relief_init(struct shard *sh)
{
    struct flash_relief *r = &sh->relief;

    r->cls = (struct pool_class){.name = "relief",
                                 .priority = POOL_BACKGROUND,
                                 .batch_max = 1,
                                 .run_batch = run_relief,
                                 .ctx = sh};
    pool_add_class(sh->maintainer, &r->cls);
}

enum garbage {
    GARBAGE_LITTLE,
    GARBAGE_MUCH,
    GARBAGE_UNKNOWN /* Compactions run, and may remove it. */
};

/* Whether the tables hold so much that is deleted or overwritten that compacting them helps. */
static enum garbage garbage(const struct shard *sh, enum flash_level level)
{
    const struct flash_relief *r = &sh->relief;
    const struct ks_metrics *m = ks_metrics(sh->ks);
    struct store_stats s;

    store_stats(sh->store, &s);
    if (s.running_compactions != 0 || s.pending_compaction_bytes != 0)
        return GARBAGE_UNKNOWN;
    const uint64_t rows = u64_max(s.keys_estimate, 1);
    const uint64_t deletes = u64_min(m->flushed_deletes - r->deletes_seen, rows);
    const uint64_t dead = deletes * (s.live_sst_bytes / rows + 1);
    const uint64_t part = level == FLASH_FULL ? GARBAGE_FULL_PART : GARBAGE_TIGHT_PART;
    if (dead >= u64_max(s.live_sst_bytes / part, GARBAGE_BYTES_MIN))
        return GARBAGE_MUCH;
    return level == FLASH_FULL &&
                   m->flushed_bytes - r->bytes_seen > s.live_sst_bytes / OVERWRITTEN_PART
               ? GARBAGE_MUCH
               : GARBAGE_LITTLE;
}

/* How far the evicted keys of the shard are from being given back. */
static void follow_evicted(struct shard *sh)
{
    struct flash_relief *r = &sh->relief;

    if (r->stage == FLASH_EVICTED_DONE && sh->persisted_lsn >= r->marked_lsn) {
        atomic_fetch_add(&sh->node->flash.relieved, r->marked);
        r->stage = FLASH_EVICTED_NONE;
    }
    if (r->stage != FLASH_EVICTED_NONE || r->evicted == 0)
        return;
    r->marked = r->evicted;
    r->marked_lsn = oplog_applied_lsn(sh->log);
    r->evicted = 0;
    r->stage = FLASH_EVICTED_MARKED;
}

void flash_relief_step(struct shard *sh)
{
    struct flash_relief *r = &sh->relief;
    const struct flash *f = &sh->node->flash;
    const uint64_t now_ms = reactor_now_ms(sh->reactor);
    const enum flash_level level = flash_level(f);

    follow_evicted(sh);
    if ((level == FLASH_FREE && !r->log_long) || r->busy || sh->flushing || sh->mend.ailing ||
        now_ms - r->began_ms < (level == FLASH_FULL ? RELIEF_FULL_MS : RELIEF_TIGHT_MS))
        return;
    const uint64_t covered = ks_flush_covered(sh->ks);
    const enum garbage dead = level == FLASH_FREE ? GARBAGE_LITTLE : garbage(sh, level);
    r->compact = dead == GARBAGE_MUCH;
    const bool needed = r->compact || covered > sh->persisted_lsn;
    if (r->stage == FLASH_EVICTED_MARKED && covered >= r->marked_lsn && dead != GARBAGE_UNKNOWN)
        r->stage = needed ? FLASH_EVICTED_FLUSHED : FLASH_EVICTED_DONE;
    if (!needed)
        return;
    if (r->compact) {
        r->deletes_seen = ks_metrics(sh->ks)->flushed_deletes;
        r->bytes_seen = ks_metrics(sh->ks)->flushed_bytes;
    }
    r->began_ms = now_ms;
    r->busy = true;
    r->job = (struct pool_job){.mail = {.fn = on_relief}, .reply_to = &sh->mailbox};
    pool_submit(&r->cls, &r->job);
}
