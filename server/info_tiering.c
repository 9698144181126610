/* INFO tiering: what is where, how it moves, and what the budgets say. Sums over the shards. */
#include <stddef.h>

#include "engine/base/hist.h"
#include "engine/base/mem.h"

#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/store/store.h"

#include "replication/oplog.h"

#include "server/config.h"
#include "server/info.h"
#include "server/node.h"
#include "server/shard.h"

static void write_keys(const struct node *node, struct buf *out)
{
    struct ks_sizes sum = {0}, s;
    uint64_t hot = 0, backlog = 0;
    const uint64_t keys = node_keys(node);

    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct keyspace *ks = node->shards[i]->ks;
        ks_sizes(ks, &s);
        hot += ks_count_hot(ks);
        backlog += ks_flush_backlog(ks);
        sum.keytab_bytes += s.keytab_bytes;
        sum.hot_bytes += s.hot_bytes;
        sum.probation += s.probation;
        sum.tombstones += s.tombstones;
        sum.dirty_rows += s.dirty_rows;
        sum.reads += s.reads;
        sum.sweeps += s.sweeps;
    }
    const uint64_t cold = keys - u64_min(hot, keys);
    INFO_U64(out, "hot_keys", hot);
    INFO_U64(out, "cold_keys", cold);
    INFO_U64(out, "hot_bytes", sum.hot_bytes);
    INFO_U64(out, "keytab_bytes", sum.keytab_bytes);
    /* A cold key costs its place in the table and nothing else. */
    INFO_PRINT(out, "bytes_per_cold_key:%.2f\r\n",
               keys == 0 ? 0 : (double)sum.keytab_bytes / (double)keys);
    INFO_U64(out, "probation_keys", sum.probation);
    INFO_U64(out, "tombstones", sum.tombstones);
    INFO_U64(out, "dirty_rows", sum.dirty_rows);
    INFO_U64(out, "dirty_backlog_bytes", backlog);
    INFO_U64(out, "reads_under_way", sum.reads);
    INFO_U64(out, "sweeps_under_way", sum.sweeps);
}

static void write_moves(const struct node *node, struct buf *out)
{
    struct ks_metrics m = {0};

    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct ks_metrics *s = ks_metrics(node->shards[i]->ks);
#define ADD(name, type, help) m.name += s->name;
        KS_METRICS(ADD)
#undef ADD
    }
    const uint64_t waited = INFO_STAT(node, flash_commands);
    const uint64_t commands = INFO_STAT(node, key_commands);
    /* Commands that had to wait for flash, and their share in all that name keys. */
    INFO_U64(out, "flash_hits", waited);
    INFO_PRINT(out, "flash_hit_ratio:%.6f\r\n",
               commands == 0 ? 0 : (double)waited / (double)commands);
    INFO_U64(out, "flash_waits", INFO_STAT(node, parked));
#define WRITE(name, type, help) INFO_U64(out, #name, m.name);
    KS_METRICS(WRITE)
#undef WRITE
}

static void write_levels(const struct store_stats *s, struct buf *out)
{
    for (int i = 0; i < STORE_LEVELS_MAX; i++) {
        if (s->level_files[i] != 0)
            INFO_PRINT(out, "level%d:files=%llu,bytes=%llu\r\n", i,
                       (unsigned long long)s->level_files[i],
                       (unsigned long long)s->level_bytes[i]);
    }
}

static void write_store(const struct node *node, struct buf *out)
{
    struct store_stats sum = {0}, s;

    for (uint32_t i = 0; i < node->shards_count; i++) {
        store_stats(node->shards[i]->store, &s);
        sum.live_sst_bytes += s.live_sst_bytes;
        sum.total_sst_bytes += s.total_sst_bytes;
        sum.memtable_bytes += s.memtable_bytes;
        sum.pending_compaction_bytes += s.pending_compaction_bytes;
        sum.running_flushes += s.running_flushes;
        sum.running_compactions += s.running_compactions;
        sum.write_stopped += s.write_stopped;
        sum.delayed_write_bytes_sec =
            u64_max(sum.delayed_write_bytes_sec, s.delayed_write_bytes_sec);
        sum.background_errors += s.background_errors;
        sum.flushed_bytes += s.flushed_bytes;
        sum.compacted_bytes += s.compacted_bytes;
        sum.block_cache_bytes = s.block_cache_bytes; /* All shards share it. */
        for (int k = 0; k < STORE_LEVELS_MAX; k++) {
            sum.level_files[k] += s.level_files[k];
            sum.level_bytes[k] += s.level_bytes[k];
        }
    }
    INFO_U64(out, "sst_bytes", sum.total_sst_bytes);
    INFO_U64(out, "sst_live_bytes", sum.live_sst_bytes);
    write_levels(&sum, out);
    INFO_U64(out, "memtable_bytes", sum.memtable_bytes);
    INFO_U64(out, "block_cache_bytes", sum.block_cache_bytes);
    INFO_U64(out, "pending_compaction_bytes", sum.pending_compaction_bytes);
    INFO_U64(out, "running_flushes", sum.running_flushes);
    INFO_U64(out, "running_compactions", sum.running_compactions);
    INFO_U64(out, "write_stalled", sum.write_stopped != 0);
    INFO_U64(out, "write_delayed_bytes_sec", sum.delayed_write_bytes_sec);
    INFO_U64(out, "store_errors", sum.background_errors);
    INFO_U64(out, "store_flushed_bytes", sum.flushed_bytes);
    INFO_U64(out, "store_compacted_bytes", sum.compacted_bytes);
}

/* Positions are sums, too: with one shard they are the log's own. */
static void write_log(const struct node *node, struct buf *out)
{
    uint64_t bytes = 0, segments = 0, applied = 0, durable = 0, covered = 0, persisted = 0;
    uint64_t syncs = 0;
    struct hist *hist = mem_zalloc(sizeof(*hist));

    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct shard *sh = node->shards[i];
        bytes += oplog_bytes(sh->log);
        segments += oplog_segment_count(sh->log);
        applied += oplog_applied_lsn(sh->log);
        durable += oplog_durable_lsn(sh->log);
        covered += ks_flush_covered(sh->ks);
        persisted += sh->persisted_lsn;
        syncs += oplog_metrics(sh->log)->syncs;
        hist_merge(hist, oplog_sync_hist(sh->log));
    }
    INFO_U64(out, "log_bytes", bytes);
    INFO_U64(out, "log_segments", segments);
    INFO_U64(out, "applied_lsn", applied);
    INFO_U64(out, "durable_lsn", durable);
    INFO_U64(out, "covered_lsn", covered);
    INFO_U64(out, "persisted_lsn", persisted);
    INFO_U64(out, "log_syncs", syncs);
    INFO_PRINT(out, "log_sync_p99_usec:%.3f\r\n", (double)hist_percentile(hist, 99) / 1000);
    mem_free(hist);
}

/* The pace of writers: sums, and the longest wait. Without a limit the rate shows as 0. */
static void write_pace(const struct node *node, struct buf *out)
{
    uint64_t drain = 0, rate = 0, wait_ns = 0, files = 0, memtables = 0, batches = 0;

    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct shard *sh = node->shards[i];
        struct store_debt debt;
        ks_flush_debt(sh->ks, &debt);
        drain += sh->pace.drain_bytes_sec;
        rate += sh->pace.bytes_sec == UINT64_MAX ? 0 : sh->pace.bytes_sec;
        wait_ns = u64_max(wait_ns, sh->pace.bytes_sec == UINT64_MAX ? 0 : sh->pace.wait_ns);
        files = u64_max(files, debt.level0_files);
        memtables = u64_max(memtables, debt.memtables_waiting);
        batches += ks_flush_busy(sh->ks);
    }
    INFO_U64(out, "pace_drain_bytes_sec", drain);
    INFO_U64(out, "pace_limit_bytes_sec", rate);
    INFO_U64(out, "pace_wait_usec", wait_ns / 1000);
    INFO_U64(out, "pace_level0_files", files);
    INFO_U64(out, "pace_memtables_waiting", memtables);
    INFO_U64(out, "batches_under_way", batches);
}

void info_tiering(struct shard *sh, struct buf *out)
{
    const struct node *node = sh->node;
    const struct node_budget *b = &node->budget;

    INFO_PRINT(out, "# Tiering\r\n");
    write_keys(node, out);
    write_moves(node, out);
    write_store(node, out);
    write_log(node, out);
    INFO_U64(out, "budget_maxmemory", b->maxmemory);
    INFO_U64(out, "budget_early", b->early);
    INFO_U64(out, "budget_soft", b->soft);
    INFO_U64(out, "budget_hard", b->hard);
    INFO_U64(out, "budget_used", b->used);
    INFO_U64(out, "budget_used_peak", b->rss_peak);
    INFO_U64(out, "budget_overshoot", node_overshoot(node));
    write_pace(node, out);
    INFO_U64(out, "maxflash", node->cfg->maxflash);
    INFO_U64(out, "flash_used", node->flash.used);
    INFO_U64(out, "flash_dir_bytes", node->flash.tree_bytes);
    INFO_U64(out, "flash_level", (uint64_t)flash_level(&node->flash));
    INFO_U64(out, "flash_disk_free", node->flash.disk_free);
    INFO_U64(out, "flash_disk_needed", node->flash.disk_need);
    INFO_U64(out, "flash_evicted_pending", atomic_load(&node->flash.evicted));
    INFO_U64(out, "delayed_writers", INFO_STAT(node, delayed));
    INFO_U64(out, "refused_writers", INFO_STAT(node, refused_memory));
}
