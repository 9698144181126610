/* INFO tiering: what is where, how it moves, and what the budgets say. Sums over the shards. */
#include <stddef.h>

#include "engine/base/hist.h"
#include "engine/base/mem.h"

#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/store/store.h"

#include "replication/oplog.h"

#include "server/config.h"
#include "server/figures.h"
#include "server/info.h"
#include "server/node.h"
#include "server/shard.h"

static void write_keys(const struct figures *f, struct buf *out)
{
    const struct ks_sizes *s = &f->sizes;
    const uint64_t keys = f->keys, hot = f->keys_hot;
    const uint64_t cold = keys - u64_min(hot, keys);
    INFO_U64(out, "hot_keys", hot);
    INFO_U64(out, "cold_keys", cold);
    INFO_U64(out, "hot_bytes", s->hot_bytes);
    INFO_U64(out, "keytab_bytes", s->keytab_bytes);
    /* A cold key costs its place in the table and nothing else. */
    INFO_PRINT(out, "bytes_per_cold_key:%.2f\r\n",
               keys == 0 ? 0 : (double)s->keytab_bytes / (double)keys);
    INFO_U64(out, "probation_keys", s->probation);
    INFO_U64(out, "tombstones", s->tombstones);
    INFO_U64(out, "dirty_rows", s->dirty_rows);
    INFO_U64(out, "dirty_backlog_bytes", f->backlog_bytes);
    INFO_U64(out, "reads_under_way", s->reads);
    INFO_U64(out, "sweeps_under_way", s->sweeps);
}

static void write_moves(const struct figures *f, struct buf *out)
{
    const uint64_t waited = f->stats.flash_commands;
    const uint64_t commands = f->stats.key_commands;
    /* Commands that had to wait for flash, and their share in all that name keys. */
    INFO_U64(out, "flash_hits", waited);
    INFO_PRINT(out, "flash_hit_ratio:%.6f\r\n",
               commands == 0 ? 0 : (double)waited / (double)commands);
    INFO_U64(out, "flash_waits", f->stats.parked);
#define WRITE(name, type, help) INFO_U64(out, #name, f->moves.name);
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

static void write_store(const struct store_stats *s, struct buf *out)
{
    INFO_U64(out, "sst_bytes", s->total_sst_bytes);
    INFO_U64(out, "sst_live_bytes", s->live_sst_bytes);
    write_levels(s, out);
    INFO_U64(out, "memtable_bytes", s->memtable_bytes);
    INFO_U64(out, "block_cache_bytes", s->block_cache_bytes);
    INFO_U64(out, "pending_compaction_bytes", s->pending_compaction_bytes);
    INFO_U64(out, "running_flushes", s->running_flushes);
    INFO_U64(out, "running_compactions", s->running_compactions);
    INFO_U64(out, "write_stalled", s->write_stopped != 0);
    INFO_U64(out, "write_delayed_bytes_sec", s->delayed_write_bytes_sec);
    INFO_U64(out, "store_errors", s->background_errors);
    INFO_U64(out, "store_flushed_bytes", s->flushed_bytes);
    INFO_U64(out, "store_compacted_bytes", s->compacted_bytes);
}

/* What RocksDB failed with, if it did (mend.h). */
static void write_health(const struct figures *f, struct buf *out)
{
    INFO_PRINT(out, "store_status:%s\r\n",
               f->stores_closed != 0   ? "closed"
               : f->stores_ailing != 0 ? "err"
                                       : "ok");
    INFO_PRINT(out, "store_last_error:%s\r\n", f->store_why);
    INFO_U64(out, "store_reopens", f->store_reopens);
}

static void write_log(const struct figures *f, struct buf *out)
{
    INFO_U64(out, "log_bytes", f->log_bytes);
    INFO_U64(out, "log_appended_bytes", f->log_appended_bytes);
    INFO_U64(out, "log_segments", f->log_segments);
    INFO_U64(out, "applied_lsn", f->applied_lsn);
    INFO_U64(out, "durable_lsn", f->durable_lsn);
    INFO_U64(out, "covered_lsn", f->covered_lsn);
    INFO_U64(out, "persisted_lsn", f->persisted_lsn);
    INFO_U64(out, "log_syncs", f->log_syncs);
    INFO_PRINT(out, "log_sync_p99_usec:%.3f\r\n", (double)hist_percentile(f->log_sync, 99) / 1000);
}

/* The pace of writers: sums, and the longest wait. Without a limit the rate shows as 0. */
static void write_pace(const struct figures *f, struct buf *out)
{
    INFO_U64(out, "pace_drain_bytes_sec", f->pace.drain_bytes_sec);
    INFO_U64(out, "pace_limit_bytes_sec", f->pace.limit_bytes_sec);
    INFO_U64(out, "pace_wait_usec", f->pace.wait_ns / 1000);
    INFO_U64(out, "pace_level0_files", f->pace.level0_files);
    INFO_U64(out, "pace_memtables_waiting", f->pace.memtables_waiting);
    INFO_U64(out, "batches_under_way", f->pace.batches);
}

void info_tiering(const struct shard *sh, const struct figures *f, struct buf *out)
{
    const struct node_limits *l = &sh->node->limits;

    INFO_PRINT(out, "# Tiering\r\n");
    write_keys(f, out);
    write_moves(f, out);
    write_store(&f->store, out);
    write_health(f, out);
    write_log(f, out);
    INFO_U64(out, "budget_maxmemory", node_limit(&l->maxmemory));
    INFO_U64(out, "budget_early", node_limit(&l->early));
    INFO_U64(out, "budget_soft", node_limit(&l->soft));
    INFO_U64(out, "budget_hard", node_limit(&l->hard));
    INFO_U64(out, "budget_used", node_limit(&l->used));
    INFO_U64(out, "budget_used_peak", f->budget.rss_peak);
    INFO_U64(out, "budget_overshoot", node_overshoot(sh));
    write_pace(f, out);
    INFO_U64(out, "maxflash", sh->cfg->maxflash);
    INFO_U64(out, "flash_used", f->flash.used);
    INFO_U64(out, "flash_dir_bytes", f->flash.tree_bytes);
    INFO_U64(out, "flash_level", (uint64_t)flash_level(&sh->node->flash));
    INFO_U64(out, "flash_disk_free", f->flash.disk_free);
    INFO_U64(out, "flash_disk_needed", f->flash.disk_need);
    INFO_U64(out, "flash_evicted_pending", atomic_load(&sh->node->flash.evicted));
    INFO_U64(out, "delayed_writers", f->stats.delayed);
    INFO_U64(out, "refused_writers", f->stats.refused_memory);
}
