/* INFO: memory, persistence. */
#include <stdio.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/mem.h"

#include "engine/space/demote.h"
#include "engine/store/store.h"

#include "replication/oplog.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/figures.h"
#include "server/info.h"
#include "server/node.h"
#include "server/shard.h"

static double percent(uint64_t part, uint64_t whole)
{
    return whole == 0 ? 0 : 100.0 * (double)part / (double)whole;
}

static double ratio(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

void info_measure_memory(const struct figures *f, struct info_memory *out)
{
    struct mem_stats mem;

    *out = (struct info_memory){.startup = f->budget.allocated_at_start};
    mem_stats(&mem);
    out->used = mem.allocated;
    out->peak = u64_max(f->budget.allocated_peak, mem.allocated);
    out->clients = f->conns_bytes;
    out->keytab = f->sizes.keytab_bytes;
    out->oplog = f->log_memory_bytes;
    out->store =
        f->store.memtable_bytes + f->store.table_readers_bytes + f->store.block_cache_bytes;
    out->overhead =
        u64_min(out->startup + out->clients + out->keytab + out->oplog + out->store, out->used);
    out->dataset = out->used - out->overhead;
    out->dataset_percent = percent(out->dataset, out->used - u64_min(out->startup, out->used));
    out->peak_percent = percent(out->used, out->peak);
}

/* "1.50M", as Redis writes sizes. */
static void write_human(struct buf *out, const char *name, uint64_t bytes)
{
    static const char units[] = "BKMGTP";
    double value = (double)bytes;
    size_t unit = 0;

    while (value >= 1024 && unit < sizeof(units) - 2) {
        value /= 1024;
        unit++;
    }
    if (unit == 0)
        INFO_PRINT(out, "%s:%lluB\r\n", name, (unsigned long long)bytes);
    else
        INFO_PRINT(out, "%s:%.2f%c\r\n", name, value, units[unit]);
}

static void write_allocator(const struct info_memory *m, struct buf *out)
{
    struct mem_stats mem;
    const uint64_t rss = mem_rss_bytes();

    mem_stats(&mem);
    INFO_PRINT(out, "allocator_frag_ratio:%.2f\r\n", ratio(mem.active, mem.allocated));
    INFO_U64(out, "allocator_frag_bytes", mem.active - u64_min(mem.allocated, mem.active));
    INFO_PRINT(out, "allocator_rss_ratio:%.2f\r\n", ratio(mem.resident, mem.active));
    INFO_PRINT(out, "allocator_rss_bytes:%lld\r\n", (long long)(mem.resident - mem.active));
    INFO_PRINT(out, "rss_overhead_ratio:%.2f\r\n", ratio(rss, mem.resident));
    INFO_PRINT(out, "rss_overhead_bytes:%lld\r\n", (long long)(rss - mem.resident));
    INFO_PRINT(out, "mem_fragmentation_ratio:%.2f\r\n", ratio(rss, m->used));
    INFO_PRINT(out, "mem_fragmentation_bytes:%lld\r\n", (long long)(rss - m->used));
    INFO_U64(out, "mem_not_counted_for_evict", 0);
    INFO_U64(out, "mem_replication_backlog", 0);
    INFO_U64(out, "mem_total_replication_buffers", 0);
    INFO_U64(out, "mem_clients_slaves", 0);
    INFO_U64(out, "mem_clients_normal", m->clients);
    INFO_U64(out, "mem_cluster_links", 0);
    INFO_U64(out, "mem_aof_buffer", m->oplog);
    INFO_PRINT(out, "mem_allocator:%s\r\n", mem_allocator());
    INFO_U64(out, "active_defrag_running", 0);
    INFO_U64(out, "lazyfree_pending_objects", 0);
    INFO_U64(out, "lazyfreed_objects", 0);
}

/* There are no scripts and no functions. */
static void write_scripts(struct buf *out)
{
    static const char *const zeros[] = {
        "used_memory_lua",          "used_memory_vm_eval",  "used_memory_scripts_eval",
        "number_of_cached_scripts", "number_of_functions",  "number_of_libraries",
        "used_memory_vm_functions", "used_memory_vm_total", "used_memory_functions",
        "used_memory_scripts",
    };

    for (size_t i = 0; i < sizeof(zeros) / sizeof(zeros[0]); i++)
        INFO_PRINT(out, "%s:0\r\n", zeros[i]);
    INFO_PRINT(out, "used_memory_lua_human:0B\r\n"
                    "used_memory_vm_total_human:0B\r\n"
                    "used_memory_scripts_human:0B\r\n");
}

void info_memory(const struct shard *sh, const struct figures *f, struct buf *out)
{
    const struct config *cfg = sh->cfg;
    struct info_memory m;
    struct mem_stats mem;
    const uint64_t rss = mem_rss_bytes();
    const uint64_t system = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);

    info_measure_memory(f, &m);
    mem_stats(&mem);
    INFO_PRINT(out, "# Memory\r\n");
    INFO_U64(out, "used_memory", m.used);
    write_human(out, "used_memory_human", m.used);
    INFO_U64(out, "used_memory_rss", rss);
    write_human(out, "used_memory_rss_human", rss);
    INFO_U64(out, "used_memory_peak", m.peak);
    write_human(out, "used_memory_peak_human", m.peak);
    INFO_PRINT(out, "used_memory_peak_perc:%.2f%%\r\n", m.peak_percent);
    INFO_U64(out, "used_memory_overhead", m.overhead);
    INFO_U64(out, "used_memory_startup", m.startup);
    INFO_U64(out, "used_memory_dataset", m.dataset);
    INFO_PRINT(out, "used_memory_dataset_perc:%.2f%%\r\n", m.dataset_percent);
    INFO_U64(out, "allocator_allocated", mem.allocated);
    INFO_U64(out, "allocator_active", mem.active);
    INFO_U64(out, "allocator_resident", mem.resident);
    INFO_U64(out, "total_system_memory", system);
    write_human(out, "total_system_memory_human", system);
    write_scripts(out);
    INFO_U64(out, "maxmemory", cfg->maxmemory);
    write_human(out, "maxmemory_human", cfg->maxmemory);
    INFO_PRINT(out, "maxmemory_policy:%s\r\n", config_enum_name(cfg, CONFIG_ID_maxmemory_policy));
    write_allocator(&m, out);
}

/* -1: there was none, or there is none now. */
static void write_seconds(struct buf *out, const char *name, uint64_t seconds)
{
    INFO_PRINT(out, "%s:%lld\r\n", name, seconds == UINT64_MAX ? -1LL : (long long)seconds);
}

static void write_save(const struct save_figures *save, enum save_kind kind,
                       const char *in_progress, const char *last_s, const char *now_s,
                       struct buf *out)
{
    const bool running = save->running && save->kind == kind;

    INFO_PRINT(out, "%s:%d\r\n", in_progress, running);
    write_seconds(out, last_s, save->kind_s[kind]);
    write_seconds(out, now_s, running ? clock_wall_ms() / 1000 - save->started_s : UINT64_MAX);
}

/* No process is forked: nothing is copied on write. */
static void write_forks(struct buf *out)
{
    INFO_U64(out, "current_cow_peak", 0);
    INFO_U64(out, "current_cow_size", 0);
    INFO_U64(out, "current_cow_size_age", 0);
    INFO_PRINT(out, "current_fork_perc:0.00\r\n");
    INFO_U64(out, "rdb_last_cow_size", 0);
    INFO_U64(out, "aof_last_cow_size", 0);
    INFO_U64(out, "module_fork_in_progress", 0);
    INFO_U64(out, "module_fork_last_cow_size", 0);
}

void info_persistence(const struct shard *sh, const struct figures *f, struct buf *out)
{
    const struct save_figures *save = &f->save;

    (void)sh;
    INFO_PRINT(out, "# Persistence\r\nloading:0\r\nasync_loading:0\r\n");
    INFO_U64(out, "rdb_changes_since_last_save", f->changes - save->changes);
    write_save(save, SAVE_CHECKPOINT, "rdb_bgsave_in_progress", "rdb_last_bgsave_time_sec",
               "rdb_current_bgsave_time_sec", out);
    INFO_U64(out, "rdb_last_save_time", save->saved_s);
    INFO_PRINT(out, "rdb_last_bgsave_status:%s\r\n",
               save->kind_err[SAVE_CHECKPOINT] == 0 ? "ok" : "err");
    INFO_U64(out, "rdb_saves", save->kind_count[SAVE_CHECKPOINT]);
    INFO_U64(out, "aof_enabled", 1);
    write_save(save, SAVE_FLUSH, "aof_rewrite_in_progress", "aof_last_rewrite_time_sec",
               "aof_current_rewrite_time_sec", out);
    INFO_U64(out, "aof_rewrite_scheduled", save->flush_scheduled);
    INFO_PRINT(out, "aof_last_bgrewrite_status:%s\r\n",
               save->kind_err[SAVE_FLUSH] == 0 ? "ok" : "err");
    INFO_U64(out, "aof_rewrites", save->kind_count[SAVE_FLUSH]);
    INFO_PRINT(out, "aof_last_write_status:%s\r\n", f->fenced ? "err" : "ok");
    write_forks(out);
    INFO_U64(out, "aof_current_size", f->log_bytes);
    INFO_U64(out, "aof_pending_rewrite", save->flush_scheduled);
    INFO_U64(out, "aof_buffer_length", f->log_buffer_bytes);
}
