/* INFO: server, clients, stats, replication, cpu, modules, cluster, keyspace. */
#include <stddef.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/base/clock.h"

#include "replication/oplog.h"

#include "server/cluster.h"
#include "server/config.h"
#include "server/conn.h"
#include "server/figures.h"
#include "server/info.h"
#include "server/node.h"
#include "server/pubsub.h"
#include "server/session.h"
#include "server/shard.h"

static void write_versions(const struct shard *sh, struct buf *out)
{
    struct utsname name = {0};

    (void)uname(&name);
    INFO_PRINT(out,
               "# Server\r\n"
               "redis_version:" SESSION_REDIS_VERSION "\r\n"
               "redis_git_sha1:00000000\r\n"
               "redis_git_dirty:0\r\n"
               "redis_build_id:0\r\n"
               "tierra_version:" TIERRA_VERSION "\r\n"
               "redis_mode:%s\r\n"
               "os:%s %s %s\r\n"
               "arch_bits:%d\r\n"
               "multiplexing_api:%s\r\n"
               "monotonic_clock:POSIX clock_gettime\r\n"
               "atomicvar_api:c11-builtin\r\n"
               "gcc_version:%d.%d.%d\r\n",
               sh->cluster ? "cluster" : "standalone", name.sysname, name.release, name.machine,
               (int)sizeof(void *) * 8, reactor_backend_name(sh->reactor), __GNUC__, __GNUC_MINOR__,
               __GNUC_PATCHLEVEL__);
}

void info_server(const struct shard *sh, const struct figures *f, struct buf *out)
{
    const struct node *node = sh->node;
    const uint64_t now_us = clock_wall_us();
    const uint64_t up_s = (now_us / 1000 - u64_min(now_us / 1000, node->started_ms)) / 1000;
    char exe[4096];
    const ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe));

    (void)f;
    write_versions(sh, out);
    INFO_U64(out, "process_id", getpid());
    INFO_PRINT(out, "process_supervised:no\r\nrun_id:%s\r\n", node->run_id);
    INFO_U64(out, "tcp_port", sh->cluster ? cluster_port(sh->cfg, sh->id) : sh->cfg->port);
    INFO_U64(out, "server_time_usec", now_us);
    INFO_U64(out, "uptime_in_seconds", up_s);
    INFO_U64(out, "uptime_in_days", up_s / 86400);
    INFO_U64(out, "hz", 100);
    INFO_U64(out, "configured_hz", sh->cfg->hz);
    INFO_U64(out, "lru_clock", (now_us / 1000000) & 0xFFFFFF);
    INFO_PRINT(out, "executable:%.*s\r\n", len < 0 ? 0 : (int)len, exe);
    INFO_PRINT(out, "config_file:%s\r\n", sh->cfg->file == NULL ? "" : sh->cfg->file);
    INFO_U64(out, "io_threads_active", 0);
    INFO_U64(out, "shards", node->shards_count);
}

void info_clients(const struct shard *sh, const struct figures *f, struct buf *out)
{
    INFO_PRINT(out, "# Clients\r\n");
    INFO_U64(out, "connected_clients", f->conns);
    INFO_U64(out, "cluster_connections", 0);
    INFO_U64(out, "maxclients", sh->cfg->maxclients);
    INFO_U64(out, "client_recent_max_input_buffer", f->conn_in_max);
    INFO_U64(out, "client_recent_max_output_buffer", f->conn_out_max);
    INFO_U64(out, "blocked_clients", f->conns_postponed + f->conns_blocked);
    INFO_U64(out, "tracking_clients", f->tracking_clients);
    INFO_U64(out, "clients_in_timeout_table", f->conns_timed);
}

static void write_rates(const struct figures *f, struct buf *out)
{
    INFO_U64(out, "instantaneous_ops_per_sec", f->rate_commands);
    INFO_U64(out, "total_net_input_bytes", f->stats.net_in_bytes);
    INFO_U64(out, "total_net_output_bytes", f->stats.net_out_bytes);
    INFO_U64(out, "total_net_repl_input_bytes", 0);
    INFO_U64(out, "total_net_repl_output_bytes", 0);
    INFO_PRINT(out,
               "instantaneous_input_kbps:%.2f\r\n"
               "instantaneous_output_kbps:%.2f\r\n"
               "instantaneous_input_repl_kbps:0.00\r\n"
               "instantaneous_output_repl_kbps:0.00\r\n",
               (double)f->rate_in / 1024, (double)f->rate_out / 1024);
}

/* The allocator's memory is not moved, threads of no kind read for others, and there are no copies
 * of masters that could expire keys. */
static void write_absent(struct buf *out)
{
    static const char *const zeros[] = {
        "total_active_defrag_time",   "current_active_defrag_time",  "active_defrag_hits",
        "active_defrag_misses",       "active_defrag_key_hits",      "active_defrag_key_misses",
        "slave_expires_tracked_keys", "io_threaded_reads_processed", "io_threaded_writes_processed",
    };

    for (size_t i = 0; i < ARRAY_COUNT(zeros); i++)
        INFO_PRINT(out, "%s:0\r\n", zeros[i]);
}

void info_stats(const struct shard *sh, const struct figures *f, struct buf *out)
{
    (void)sh;
    INFO_PRINT(out, "# Stats\r\n");
    INFO_U64(out, "total_connections_received", f->stats.connections);
    INFO_U64(out, "total_commands_processed", f->stats.commands);
    write_rates(f, out);
    INFO_U64(out, "rejected_connections", f->stats.rejected_connections);
    INFO_U64(out, "sync_full", 0);
    INFO_U64(out, "sync_partial_ok", 0);
    INFO_U64(out, "sync_partial_err", 0);
    INFO_U64(out, "expired_keys", f->stats.expired_keys);
    INFO_U64(out, "evicted_keys", f->stats.evicted_keys);
    INFO_U64(out, "evicted_clients", f->stats.evicted_clients);
    INFO_U64(out, "total_eviction_exceeded_time", f->evict_total_ms);
    INFO_U64(out, "current_eviction_exceeded_time", f->evict_current_ms);
    INFO_U64(out, "keyspace_hits", f->stats.keyspace_hits);
    INFO_U64(out, "keyspace_misses", f->stats.keyspace_misses);
    INFO_U64(out, "pubsub_channels", f->topics[PUBSUB_CHANNEL]);
    INFO_U64(out, "pubsub_patterns", f->topics[PUBSUB_PATTERN]);
    INFO_U64(out, "pubsubshard_channels", f->topics[PUBSUB_SHARD]);
    INFO_U64(out, "pubsub_messages_dropped", f->messages_dropped);
    INFO_U64(out, "latest_fork_usec", 0);
    INFO_U64(out, "total_forks", 0);
    INFO_U64(out, "migrate_cached_sockets", 0);
    INFO_U64(out, "tracking_total_keys", f->tracking_keys);
    INFO_U64(out, "tracking_total_items", f->tracking_items);
    INFO_U64(out, "tracking_total_prefixes", f->tracking_prefixes);
    INFO_U64(out, "unexpected_error_replies", 0);
    INFO_U64(out, "total_error_replies", f->stats.error_replies);
    INFO_U64(out, "total_reads_processed", f->stats.reads);
    INFO_U64(out, "total_writes_processed", f->stats.writes);
    write_absent(out);
}

/* Written on shard 0's thread, as it is shard 0's. */
void info_replgroup(const struct shard *sh, const struct figures *f, struct buf *out)
{
    (void)sh;
    IGNORE_RESULT(buf_append_bytes(out, buf_bytes(&f->replgroup)));
}

void info_replication(const struct shard *sh, const struct figures *f, struct buf *out)
{
    const struct node *node = sh->node;

    INFO_PRINT(out, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n");
    if (sh->cfg->min_replicas_to_write > 0 && sh->cfg->min_replicas_max_lag > 0)
        INFO_U64(out, "min_slaves_good_slaves", 0);
    INFO_PRINT(out,
               "master_failover_state:no-failover\r\n"
               "master_replid:%s\r\n"
               "master_replid2:0000000000000000000000000000000000000000\r\n",
               node->run_id);
    /* A master that never had a replica counts nothing. */
    INFO_U64(out, "master_repl_offset", node->group == NULL ? 0 : f->log_appended_bytes);
    INFO_PRINT(out, "second_repl_offset:-1\r\n");
    INFO_U64(out, "repl_backlog_active", 0);
    INFO_U64(out, "repl_backlog_size", sh->cfg->repl_backlog_size);
    INFO_U64(out, "repl_backlog_first_byte_offset", 0);
    INFO_U64(out, "repl_backlog_histlen", 0);
}

static void write_times(struct buf *out, int who, const char *suffix)
{
    struct rusage r = {0};

    (void)getrusage(who, &r);
    INFO_PRINT(out, "used_cpu_sys%s:%ld.%06ld\r\nused_cpu_user%s:%ld.%06ld\r\n", suffix,
               (long)r.ru_stime.tv_sec, (long)r.ru_stime.tv_usec, suffix, (long)r.ru_utime.tv_sec,
               (long)r.ru_utime.tv_usec);
}

void info_cpu(const struct shard *sh, const struct figures *f, struct buf *out)
{
    (void)sh;
    (void)f;
    INFO_PRINT(out, "# CPU\r\n");
    write_times(out, RUSAGE_SELF, "");
    write_times(out, RUSAGE_CHILDREN, "_children");
    write_times(out, RUSAGE_THREAD, "_main_thread");
}

void info_modules(const struct shard *sh, const struct figures *f, struct buf *out)
{
    (void)sh;
    (void)f;
    INFO_PRINT(out, "# Modules\r\n");
}

void info_cluster(const struct shard *sh, const struct figures *f, struct buf *out)
{
    (void)f;
    INFO_PRINT(out, "# Cluster\r\ncluster_enabled:%d\r\n", sh->cluster);
}

void info_keyspace(const struct shard *sh, const struct figures *f, struct buf *out)
{
    (void)sh;
    INFO_PRINT(out, "# Keyspace\r\n");
    /* What Redis samples for avg_ttl is not measured here; 0 is what it shows of what it lacks. */
    if (f->keys != 0)
        INFO_PRINT(out, "db0:keys=%llu,expires=%llu,avg_ttl=0\r\n", (unsigned long long)f->keys,
                   (unsigned long long)f->keys_expiring);
}
