/*
 * The figures of all shards in one place, for INFO, MEMORY STATS, LATENCY, ROLE.
 *
 * Every figure belongs to the thread of its shard. A struct figures therefore travels: it goes by
 * mail from shard to shard, each adds its own, and the last stop is the shard of the connection
 * that asked, whose command waits until then and reads sums only. With one shard there is nothing
 * to wait for. A node of a cluster (cluster.h) shows its own, and what the process has at shard 0.
 */
#ifndef TIERRA_SERVER_FIGURES_H
#define TIERRA_SERVER_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"

#include "engine/io/mailbox.h"
#include "engine/space/demote.h"
#include "engine/space/keyspace.h"
#include "engine/store/store.h"

#include "server/node.h"
#include "server/save.h"
#include "server/stats.h"

struct conn;
struct hist;
struct latency;
struct request;
struct resp_cmd;
struct shard;

/* Sums over the shards, unless something else is said. */
struct figures {
    /* The journey. */
    struct mail mail;
    struct shard *home;
    struct conn *conn;
    uint32_t next; /* Shard that it is sent to. */
    bool with_latency;
    bool ready;
    bool dropped; /* Nobody waits any more. */

    /* Commands and clients. `latency` of stats is NULL without with_latency. */
    struct shard_stats stats;
    uint64_t rate_commands; /* Per second. */
    uint64_t rate_in;
    uint64_t rate_out;
    uint64_t evict_total_ms; /* The longest of the shards: they evict side by side. */
    uint64_t evict_current_ms;
    uint64_t conns;
    uint64_t conns_bytes;
    uint64_t conns_postponed;
    uint64_t conns_blocked;
    uint64_t topics[3]; /* Channels, patterns, shard channels that a shard's clients listen to. */
    uint64_t messages_dropped;
    uint64_t tracking_clients;
    uint64_t tracking_keys;
    uint64_t tracking_items;
    uint64_t tracking_prefixes;
    uint64_t conns_timed; /* Of these, with a timeout. */
    uint64_t conn_in_max; /* Of one connection. */
    uint64_t conn_out_max;
    struct latency *latency;

    /* Keys. */
    uint64_t keys;
    uint64_t keys_hot;
    uint64_t keys_expiring;
    uint64_t backlog_bytes;
    struct ks_sizes sizes;
    struct ks_metrics moves;
    struct store_stats store;

    /* Stores that take no writes, and the last error of one. */
    uint32_t stores_ailing;
    uint32_t stores_closed;
    uint64_t store_reopens;
    char store_why[STORE_WHY_BYTES];

    /* The pace of writers. */
    struct {
        uint64_t drain_bytes_sec;
        uint64_t limit_bytes_sec;
        uint64_t wait_ns;           /* The longest; */
        uint64_t level0_files;      /* the most; */
        uint64_t memtables_waiting; /* likewise. */
        uint64_t batches;
    } pace;

    /* Logs. Positions are sums too: with one shard they are the log's own. */
    uint64_t log_bytes;
    uint64_t log_memory_bytes;
    uint64_t log_buffer_bytes;
    uint64_t log_segments;
    uint64_t log_appended_bytes;
    uint64_t log_syncs;
    uint64_t applied_lsn;
    uint64_t durable_lsn;
    uint64_t covered_lsn;
    uint64_t persisted_lsn;
    uint64_t changes;
    struct hist *log_sync; /* Nanoseconds. */
    bool fenced;           /* One of them. */

    /* Of shard 0. */
    struct buf replgroup; /* The section of INFO. */
    struct save_figures save;
    struct node_budget budget;
    struct {
        uint64_t used;
        uint64_t tree_bytes;
        uint64_t disk_free;
        uint64_t disk_need;
    } flash;
};

/*
 * For the dispatcher: true if conn->figures are there. Else they were sent for, and the connection
 * is to be parked.
 */
bool figures_ready(struct conn *c, const struct resp_cmd *rc);

/* For a handler: the figures, to be destroyed by the caller. */
struct figures *figures_take(struct request *rq);
void figures_destroy(struct figures *f);

/* The connection closes. */
void figures_drop(struct conn *c);

#endif
