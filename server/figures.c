/* The figures of all shards; figures.h tells how they come together. */
#include "server/figures.h"

#include <string.h>

#include "engine/base/hist.h"
#include "engine/base/mem.h"

#include "engine/space/flush.h"

#include "replication/oplog.h"

#include "server/blocked.h"
#include "server/conn.h"
#include "server/forward.h"
#include "server/group_view.h"
#include "server/info.h"
#include "server/latency.h"
#include "server/pubsub.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/tracking.h"
#include "server/unblock.h"

/* --- one shard --- */

static void add_commands(struct figures *f, const struct shard_stats *s)
{
    struct shard_stats *sum = &f->stats;

    for (uint32_t id = 0; id < CMD_IDS_COUNT; id++) {
        sum->cmd[id].calls += s->cmd[id].calls;
        sum->cmd[id].ns += s->cmd[id].ns;
        sum->cmd[id].rejected_calls += s->cmd[id].rejected_calls;
        sum->cmd[id].failed_calls += s->cmd[id].failed_calls;
        if (!f->with_latency || s->latency[id] == NULL)
            continue;
        if (sum->latency[id] == NULL)
            sum->latency[id] = mem_zalloc(sizeof(*sum->latency[id]));
        hist_merge(sum->latency[id], s->latency[id]);
    }
}

static void add_stats(struct figures *f, const struct shard_stats *s)
{
    struct shard_stats *sum = &f->stats;

    add_commands(f, s);
    for (uint32_t i = 0; i < s->errors_count; i++)
        stats_add_errors(sum, bytes_cstr(s->errors[i].code), s->errors[i].count);
    sum->error_replies += s->error_replies;
    sum->commands += s->commands;
    sum->connections += s->connections;
    sum->rejected_connections += s->rejected_connections;
    sum->net_in_bytes += s->net_in_bytes;
    sum->net_out_bytes += s->net_out_bytes;
    sum->reads += s->reads;
    sum->writes += s->writes;
    sum->keyspace_hits += s->keyspace_hits;
    sum->keyspace_misses += s->keyspace_misses;
    sum->expired_keys += s->expired_keys;
    sum->evicted_keys += s->evicted_keys;
    sum->evicted_clients += s->evicted_clients;
    sum->key_commands += s->key_commands;
    sum->flash_commands += s->flash_commands;
    sum->parked += s->parked;
    sum->delayed += s->delayed;
    sum->refused_memory += s->refused_memory;
    f->rate_commands += stats_rate(&s->rate_commands);
    f->rate_in += stats_rate(&s->rate_in);
    f->rate_out += stats_rate(&s->rate_out);
}

static void add_conns(struct figures *f, const struct shard *sh)
{
    f->evict_total_ms = u64_max(f->evict_total_ms, evict_total_ms(sh));
    f->evict_current_ms = u64_max(f->evict_current_ms, evict_current_ms(sh));
    f->conns += sh->conns_count;
    f->conns_postponed += shard_postponed_count(sh);
    for (int i = 0; i < PUBSUB_KINDS_COUNT; i++)
        f->topics[i] += pubsub_topics(sh->pubsub, (enum pubsub_kind)i);
    f->messages_dropped += pubsub_dropped(sh);
    f->tracking_clients += sh->tracking->clients_on;
    f->tracking_keys += sh->tracking->keys.count;
    f->tracking_items += sh->tracking->keys.items;
    f->tracking_prefixes += sh->tracking->prefixes.count;
    f->conns_blocked += blocked_count(sh->blocked);
    f->conns_timed += unblock_timed_count(sh);
    LIST_FOR_EACH(link, &sh->conns) {
        const struct conn *c = LIST_ITEM(link, struct conn, link);
        f->conns_bytes += conn_memory_bytes(c);
        f->conn_in_max = u64_max(f->conn_in_max, c->in.len);
        f->conn_out_max = u64_max(f->conn_out_max, c->out.out.len + c->sending.len);
    }
}

static void add_keys(struct figures *f, const struct shard *sh)
{
    const struct ks_metrics *m = ks_metrics(sh->ks);
    struct ks_sizes s;

    f->keys += ks_count(sh->ks);
    f->keys_hot += ks_count_hot(sh->ks);
    f->keys_expiring += ks_count_expiring(sh->ks);
    f->backlog_bytes += ks_flush_backlog(sh->ks);
    ks_sizes(sh->ks, &s);
    f->sizes.keytab_bytes += s.keytab_bytes;
    f->sizes.hot_bytes += s.hot_bytes;
    f->sizes.probation += s.probation;
    f->sizes.tombstones += s.tombstones;
    f->sizes.dirty_rows += s.dirty_rows;
    f->sizes.reads += s.reads;
    f->sizes.sweeps += s.sweeps;
#define ADD(name, type, help) f->moves.name += m->name;
    KS_METRICS(ADD)
#undef ADD
}

static void add_store(struct figures *f, const struct shard *sh)
{
    struct store_stats *sum = &f->store;
    struct store_stats s;

    store_stats(sh->store, &s);
    sum->live_sst_bytes += s.live_sst_bytes;
    sum->total_sst_bytes += s.total_sst_bytes;
    sum->memtable_bytes += s.memtable_bytes;
    sum->table_readers_bytes += s.table_readers_bytes;
    sum->pending_compaction_bytes += s.pending_compaction_bytes;
    sum->running_flushes += s.running_flushes;
    sum->running_compactions += s.running_compactions;
    sum->write_stopped += s.write_stopped;
    sum->delayed_write_bytes_sec = u64_max(sum->delayed_write_bytes_sec, s.delayed_write_bytes_sec);
    sum->background_errors += s.background_errors;
    sum->flushed_bytes += s.flushed_bytes;
    sum->compacted_bytes += s.compacted_bytes;
    sum->block_cache_bytes = s.block_cache_bytes; /* All shards share it. */
    f->stores_ailing += sh->mend.ailing;
    f->stores_closed += sh->mend.ailing && !store_is_open(sh->store);
    f->store_reopens += sh->mend.reopens;
    if (sh->mend.why[0] != '\0' && (sh->mend.ailing || f->store_why[0] == '\0'))
        memcpy(f->store_why, sh->mend.why, sizeof(f->store_why));
    for (int k = 0; k < STORE_LEVELS_MAX; k++) {
        sum->level_files[k] += s.level_files[k];
        sum->level_bytes[k] += s.level_bytes[k];
    }
}

static void add_log(struct figures *f, const struct shard *sh)
{
    const struct oplog_metrics *m = oplog_metrics(sh->log);

    f->log_bytes += oplog_bytes(sh->log);
    f->log_memory_bytes += oplog_memory_bytes(sh->log);
    f->log_buffer_bytes += m->buffer_bytes;
    f->log_segments += oplog_segment_count(sh->log);
    f->log_appended_bytes += m->bytes;
    f->log_syncs += m->syncs;
    f->applied_lsn += oplog_applied_lsn(sh->log);
    f->durable_lsn += oplog_durable_lsn(sh->log);
    f->covered_lsn += ks_flush_covered(sh->ks);
    f->persisted_lsn += sh->persisted_lsn;
    f->changes += mut_changes(sh->mut);
    f->fenced = f->fenced || oplog_fenced(sh->log, NULL);
    hist_merge(f->log_sync, oplog_sync_hist(sh->log));
}

static void add_pace(struct figures *f, const struct shard *sh)
{
    const bool limited = sh->pace.bytes_sec != UINT64_MAX;
    struct store_debt debt;

    ks_flush_debt(sh->ks, &debt);
    f->pace.drain_bytes_sec += sh->pace.drain_bytes_sec;
    f->pace.limit_bytes_sec += limited ? sh->pace.bytes_sec : 0;
    f->pace.wait_ns = u64_max(f->pace.wait_ns, limited ? sh->pace.wait_ns : 0);
    f->pace.level0_files = u64_max(f->pace.level0_files, debt.level0_files);
    f->pace.memtables_waiting = u64_max(f->pace.memtables_waiting, debt.memtables_waiting);
    f->pace.batches += ks_flush_busy(sh->ks);
}

/* Of the process; on shard 0's thread. */
static void add_process(struct figures *f, const struct node *node)
{
    save_figures(node, &f->save);
    group_view_info(node->group, &f->replgroup);
    f->budget = node->budget;
    f->flash.used = node_limit(&node->flash.used);
    f->flash.tree_bytes = node->flash.tree_bytes;
    f->flash.disk_free = node->flash.disk_free;
    f->flash.disk_need = node->flash.disk_need;
}

static void add(struct figures *f, struct shard *sh)
{
    add_pace(f, sh);
    add_stats(f, &sh->stats);
    add_conns(f, sh);
    add_keys(f, sh);
    add_store(f, sh);
    add_log(f, sh);
    if (f->with_latency)
        latency_merge(f->latency, sh->latency);
    if (sh->id == 0)
        add_process(f, sh->node);
}

/* --- the journey --- */

static struct figures *create(struct shard *home, bool with_latency)
{
    struct figures *f = mem_zalloc(sizeof(*f));

    f->home = home;
    f->with_latency = with_latency;
    f->log_sync = mem_zalloc(sizeof(*f->log_sync));
    f->latency = latency_create();
    buf_init(&f->replgroup, INFO_BYTES_MAX);
    return f;
}

void figures_destroy(struct figures *f)
{
    if (f == NULL)
        return;
    stats_reset(&f->stats);
    mem_free(f->log_sync);
    latency_destroy(f->latency);
    buf_deinit(&f->replgroup);
    mem_free(f);
}

static void on_stop(struct mail *mail);

static void travel(struct figures *f)
{
    const struct node *node = f->home->node;

    while (f->next < node->shards_count &&
           (f->next == f->home->id || (f->home->cluster && f->next != 0)))
        f->next++;
    struct shard *to = f->next < node->shards_count ? node->shards[f->next] : f->home;
    f->mail.fn = on_stop;
    mailbox_post(&to->mailbox, &f->mail);
}

static void come_home(struct figures *f)
{
    struct conn *c = f->conn;

    add(f, f->home);
    f->ready = true;
    c->fw->away--;
    if (!f->dropped) {
        conn_resume(c);
        return;
    }
    figures_destroy(f);
    if (c->fw->orphaned && c->fw->away == 0)
        conn_free(c);
}

static void on_stop(struct mail *mail)
{
    struct figures *f = container_of(mail, struct figures, mail);
    const struct node *node = f->home->node;

    if (f->next >= node->shards_count) {
        come_home(f);
        return;
    }
    struct shard *sh = node->shards[f->next++];
    if (sh->cluster)
        add_process(f, node);
    else
        add(f, sh);
    travel(f);
}

/* They are large: for LATENCY, and where INFO names sections. */
static bool wants_latency(uint32_t argc, const struct bytes *argv)
{
    return argc > 1 || bytes_eq_nocase(argv[0], "latency");
}

bool figures_ready(struct conn *c, const struct resp_cmd *rc)
{
    if (c->figures != NULL)
        return c->figures->ready;
    c->figures = create(c->sh, wants_latency(rc->argc, rc->argv));
    c->figures->conn = c;
    forward_of_conn(c)->away++;
    travel(c->figures);
    return false;
}

struct figures *figures_take(struct request *rq)
{
    struct figures *f = rq->conn->figures;

    rq->conn->figures = NULL;
    if (f != NULL)
        return f;
    f = create(rq->sh, wants_latency(rq->argc, rq->argv));
    add(f, rq->sh);
    return f;
}

void figures_drop(struct conn *c)
{
    struct figures *f = c->figures;

    c->figures = NULL;
    if (f == NULL)
        return;
    if (f->ready)
        figures_destroy(f);
    else
        f->dropped = true;
}
