/* CLUSTER, ASKING, READONLY, READWRITE: the nodes of cluster.h as Redis 7.0 describes its own. */
#include <stdio.h>

#include "engine/space/scan.h"

#include "replication/oplog.h"

#include "server/cluster.h"
#include "server/config.h"
#include "server/conn.h"
#include "server/handlers.h"
#include "server/node.h"
#include "server/request.h"
#include "server/route.h"
#include "server/shard.h"

/* A node takes one line of CLUSTER NODES: id, address, name, slots and some numbers. Bytes. */
#define LINE_BYTES 512
/* Keys counted in one turn. */
#define COUNT_KEYS_MAX 65536

/* False after an error reply. */
static bool enabled(struct request *rq)
{
    if (rq->sh->cluster)
        return true;
    reply_error(rq->out, "ERR This instance has cluster support disabled");
    return false;
}

static uint32_t nodes_count(const struct request *rq)
{
    return rq->sh->node->shards_count;
}

static const char *id_of(const struct request *rq, uint32_t shard)
{
    return rq->sh->node->cluster->ids.id[shard];
}

static bool is_known(const struct request *rq, struct bytes id)
{
    for (uint32_t i = 0; i < nodes_count(rq); i++) {
        if (bytes_eq(id, bytes_cstr(id_of(rq, i))))
            return true;
    }
    return false;
}

/* The slots of a node, the last one included. */
struct range {
    uint32_t first;
    uint32_t last;
};

static struct range slots_of(const struct request *rq, uint32_t shard)
{
    return (struct range){route_first_slot(shard, nodes_count(rq)),
                          route_first_slot(shard + 1, nodes_count(rq)) - 1};
}

/* --- who the nodes are --- */

void cmd_cluster_myid(struct request *rq)
{
    if (enabled(rq))
        reply_bulk_cstr(rq->out, id_of(rq, rq->sh->id));
}

/* Nodes never fail alone, and epochs tell them apart, as masters of Redis have different ones. */
void cmd_cluster_info(struct request *rq)
{
    char text[LINE_BYTES];
    const uint32_t n = nodes_count(rq);

    if (!enabled(rq))
        return;
    const int len = snprintf(text, sizeof(text),
                             "cluster_state:ok\r\n"
                             "cluster_slots_assigned:%d\r\n"
                             "cluster_slots_ok:%d\r\n"
                             "cluster_slots_pfail:0\r\n"
                             "cluster_slots_fail:0\r\n"
                             "cluster_known_nodes:%u\r\n"
                             "cluster_size:%u\r\n"
                             "cluster_current_epoch:%u\r\n"
                             "cluster_my_epoch:%u\r\n"
                             "cluster_stats_messages_sent:0\r\n"
                             "cluster_stats_messages_received:0\r\n"
                             "total_cluster_links_buffer_limit_exceeded:0\r\n",
                             KEY_SLOTS, KEY_SLOTS, n, n, n, rq->sh->id + 1);
    reply_verbatim(rq->out, bytes_of(text, (size_t)len), "txt");
}

/* One line of CLUSTER NODES. The port of the bus is 0: there is none. */
static void describe(const struct request *rq, uint32_t shard, const char *host, struct buf *out)
{
    const struct config *cfg = rq->sh->cfg;
    const char *name = cfg->cluster_announce_hostname;
    const bool self = shard == rq->sh->id;
    const struct range slots = slots_of(rq, shard);

    IGNORE_RESULT(buf_printf(out, "%s %s:%u@0%s%s %s - 0 %llu %u connected ", id_of(rq, shard),
                             host, cluster_announced_port(cfg, shard), name[0] == '\0' ? "" : ",",
                             name, self ? "myself,master" : "master",
                             self ? 0 : (unsigned long long)rq->now_ms, shard + 1));
    if (slots.first == slots.last)
        IGNORE_RESULT(buf_printf(out, "%u\n", slots.first));
    else
        IGNORE_RESULT(buf_printf(out, "%u-%u\n", slots.first, slots.last));
}

void cmd_cluster_nodes(struct request *rq)
{
    char host[CLUSTER_HOST_BYTES];
    struct buf text;

    if (!enabled(rq))
        return;
    cluster_host(rq->conn, host);
    buf_init(&text, (size_t)nodes_count(rq) * LINE_BYTES);
    for (uint32_t i = 0; i < nodes_count(rq); i++)
        describe(rq, i, host, &text);
    reply_verbatim(rq->out, buf_bytes(&text), "txt");
    buf_deinit(&text);
}

/* What of the addresses is not the preferred one, as a map. */
static void reply_other_names(struct request *rq)
{
    const struct config *cfg = rq->sh->cfg;
    char host[CLUSTER_HOST_BYTES];
    const bool ip = cfg->cluster_preferred_endpoint_type != ENDPOINT_IP;
    const bool name = cfg->cluster_preferred_endpoint_type != ENDPOINT_HOSTNAME &&
                      cfg->cluster_announce_hostname[0] != '\0';

    reply_map(rq->out, (uint64_t)ip + name);
    if (ip) {
        cluster_host(rq->conn, host);
        reply_bulk_cstr(rq->out, "ip");
        reply_bulk_cstr(rq->out, host);
    }
    if (name) {
        reply_bulk_cstr(rq->out, "hostname");
        reply_bulk_cstr(rq->out, cfg->cluster_announce_hostname);
    }
}

void cmd_cluster_slots(struct request *rq)
{
    const struct config *cfg = rq->sh->cfg;
    char endpoint[CLUSTER_HOST_BYTES];

    if (!enabled(rq))
        return;
    cluster_endpoint(rq->conn, endpoint);
    reply_array(rq->out, nodes_count(rq));
    for (uint32_t i = 0; i < nodes_count(rq); i++) {
        const struct range slots = slots_of(rq, i);
        reply_array(rq->out, 3);
        reply_u64(rq->out, slots.first);
        reply_u64(rq->out, slots.last);
        reply_array(rq->out, 4);
        reply_bulk_cstr(rq->out,
                        cfg->cluster_preferred_endpoint_type == ENDPOINT_UNKNOWN ? NULL : endpoint);
        reply_u64(rq->out, cluster_announced_port(cfg, i));
        reply_bulk_cstr(rq->out, id_of(rq, i));
        reply_other_names(rq);
    }
}

/*
 * Bytes of its log: exact here, of the last turn elsewhere. 0 without peers, as of a master that
 * never had a replica.
 */
static uint64_t offset_of(const struct request *rq, uint32_t shard)
{
    const struct shard *sh = rq->sh->node->shards[shard];

    if (rq->sh->node->group == NULL)
        return 0;
    if (sh == rq->sh)
        return oplog_metrics(sh->log)->bytes;
    return atomic_load_explicit(&sh->published.appended, memory_order_relaxed);
}

static void reply_shard(struct request *rq, uint32_t shard, const char *host, const char *endpoint)
{
    const char *name = rq->sh->cfg->cluster_announce_hostname;
    struct reply *out = rq->out;
    const struct range slots = slots_of(rq, shard);

    reply_map(out, 2);
    reply_bulk_cstr(out, "slots");
    reply_array(out, 2);
    reply_u64(out, slots.first);
    reply_u64(out, slots.last);
    reply_bulk_cstr(out, "nodes");
    reply_array(out, 1);
    reply_map(out, name[0] == '\0' ? 7 : 8);
    reply_bulk_cstr(out, "id");
    reply_bulk_cstr(out, id_of(rq, shard));
    reply_bulk_cstr(out, "port");
    reply_u64(out, cluster_announced_port(rq->sh->cfg, shard));
    reply_bulk_cstr(out, "ip");
    reply_bulk_cstr(out, host);
    reply_bulk_cstr(out, "endpoint");
    reply_bulk_cstr(out, endpoint);
    if (name[0] != '\0') {
        reply_bulk_cstr(out, "hostname");
        reply_bulk_cstr(out, name);
    }
    reply_bulk_cstr(out, "role");
    reply_bulk_cstr(out, "master");
    reply_bulk_cstr(out, "replication-offset");
    reply_u64(out, offset_of(rq, shard));
    reply_bulk_cstr(out, "health");
    reply_bulk_cstr(out, "online");
}

void cmd_cluster_shards(struct request *rq)
{
    char host[CLUSTER_HOST_BYTES], endpoint[CLUSTER_HOST_BYTES];

    if (!enabled(rq))
        return;
    cluster_host(rq->conn, host);
    cluster_endpoint(rq->conn, endpoint);
    reply_array(rq->out, nodes_count(rq));
    for (uint32_t i = 0; i < nodes_count(rq); i++)
        reply_shard(rq, i, host, endpoint);
}

/* No node has a link to another. */
void cmd_cluster_links(struct request *rq)
{
    if (enabled(rq))
        reply_array(rq->out, 0);
}

/* False after an error reply. */
static bool names_node(struct request *rq)
{
    if (!enabled(rq))
        return false;
    if (is_known(rq, rq->argv[2]))
        return true;
    reply_error(rq->out, "ERR Unknown node %.*s", (int)size_min(rq->argv[2].len, 128),
                (const char *)rq->argv[2].ptr);
    return false;
}

void cmd_cluster_replicas(struct request *rq)
{
    if (names_node(rq))
        reply_array(rq->out, 0);
}

void cmd_cluster_slaves(struct request *rq)
{
    cmd_cluster_replicas(rq);
}

void cmd_cluster_count_failure_reports(struct request *rq)
{
    if (names_node(rq))
        reply_u64(rq->out, 0);
}

/* --- slots --- */

void cmd_cluster_keyslot(struct request *rq)
{
    if (enabled(rq))
        reply_u64(rq->out, key_slot(rq->argv[2]));
}

void cmd_cluster_countkeysinslot(struct request *rq)
{
    struct conn_walk *walk = &rq->conn->walk;
    int64_t slot;

    if (!enabled(rq) || !req_i64(rq, 2, &slot))
        return;
    if (slot < 0 || slot >= KEY_SLOTS) {
        reply_error(rq->out, "ERR Invalid slot");
        return;
    }
    do {
        if (ks_count_slot(rq->ks, (uint16_t)slot, COUNT_KEYS_MAX, &walk->cursor, &walk->count)) {
            reply_u64(rq->out, walk->count);
            walk->cursor = 0;
            walk->count = 0;
            return;
        }
    } while (rq->nested);
    /* The others have a turn. */
    rq->parked = true;
    shard_retry_next_turn(rq->sh, rq->conn);
}

/* --- what does not change --- */

static void reply_fixed(struct request *rq)
{
    if (enabled(rq))
        reply_error(rq->out,
                    "ERR %s is not possible: the nodes of this cluster are the shards of "
                    "one server, and their number and slots are fixed",
                    rq->cmd->name);
}

/* What would move slots or nodes. */
#define FIXED(name)                             \
    void cmd_cluster_##name(struct request *rq) \
    {                                           \
        reply_fixed(rq);                        \
    }
FIXED(addslots)
FIXED(addslotsrange)
FIXED(bumpepoch)
FIXED(delslots)
FIXED(delslotsrange)
FIXED(flushslots)
FIXED(forget)
FIXED(meet)
FIXED(replicate)
FIXED(set_config_epoch)
FIXED(setslot)
#undef FIXED

/* False after an error reply: argument 2 may be one of two words, or missing. */
static bool has_mode(struct request *rq, const char *one, const char *other)
{
    if (!enabled(rq))
        return false;
    if (rq->argc > 3)
        reply_err_subcommand_syntax(rq->out, rq->argv);
    else if (rq->argc == 3 && !req_is(rq, 2, one) && !req_is(rq, 2, other))
        reply_err_syntax(rq->out);
    else
        return true;
    return false;
}

void cmd_cluster_reset(struct request *rq)
{
    if (has_mode(rq, "HARD", "SOFT"))
        reply_fixed(rq);
}

void cmd_cluster_failover(struct request *rq)
{
    if (has_mode(rq, "FORCE", "TAKEOVER"))
        reply_error(rq->out, "ERR You should send CLUSTER FAILOVER to a replica");
}

/* The ids are on disk since they were made. */
void cmd_cluster_saveconfig(struct request *rq)
{
    if (enabled(rq))
        reply_ok(rq->out);
}

void cmd_cluster_help(struct request *rq)
{
    static const char *const lines[] = {
        "COUNTKEYSINSLOT <slot>",
        "    Return the number of keys in <slot>.",
        "GETKEYSINSLOT <slot> <count>",
        "    Return key names stored by current node in a slot.",
        "INFO",
        "    Return information about the cluster.",
        "KEYSLOT <key>",
        "    Return the hash slot for <key>.",
        "LINKS",
        "    Return information about all network links between this node and its peers:",
        "    there are none, as the nodes are shards of one server.",
        "MYID",
        "    Return the node id.",
        "NODES",
        "    Return cluster configuration seen by node. Output format:",
        "    <id> <ip:port> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
        "REPLICAS <node-id>",
        "    Return <node-id> replicas.",
        "SHARDS",
        "    Return information about slot range mappings and the nodes associated with them.",
        "SLOTS",
        "    Return information about slots range mappings. Each range is made of:",
        "    start, end, master and replicas IP addresses, ports and ids",
        NULL,
    };

    if (enabled(rq))
        reply_help(rq->out, "CLUSTER", lines);
}

/* --- connections --- */

/* No slot is ever on its way from node to node. */
void cmd_asking(struct request *rq)
{
    if (enabled(rq))
        reply_ok(rq->out);
}

/* There are no replicas to read from. */
void cmd_readonly(struct request *rq)
{
    if (enabled(rq))
        reply_ok(rq->out);
}

void cmd_readwrite(struct request *rq)
{
    if (enabled(rq))
        reply_ok(rq->out);
}
