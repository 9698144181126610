/* The nodes of a cluster: ports, addresses, ids; cluster.h tells. */
#include "server/cluster.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"
#include "engine/base/rng.h"

#include "engine/io/file.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/group_config.h"
#include "server/node.h"
#include "server/shard.h"

/* What refusals begin with, unless it is said already whose they are. */
#define BEFORE    "clustering-policy oss: "
#define PORT_MAX  65535
#define PATH_ROOM 4200

/* --- what fits together --- */

static int refuse(char *why, size_t why_len, const char *text)
{
    (void)snprintf(why, why_len, BEFORE "%s", text);
    return -ERR_CONFIG;
}

/* A run of ports, one a shard. */
static int check_run(const char *what, int64_t first, uint32_t shards, char *why, size_t why_len)
{
    const int64_t last = first + (int64_t)shards - 1;

    if (last <= PORT_MAX)
        return 0;
    (void)snprintf(why, why_len,
                   BEFORE "%u shards from %s %d on would need ports up to %d, and %d is the "
                          "highest; set a lower one, or fewer shards",
                   shards, what, (int)first, (int)last, PORT_MAX);
    return -ERR_CONFIG;
}

/* The port behind the last colon; 0: there is none. */
static int64_t port_of(const char *address)
{
    const char *colon = strrchr(address, ':');
    int64_t port;

    if (colon == NULL || !num_parse_i64(bytes_cstr(colon + 1), &port))
        return 0;
    return port;
}

/* The next of the addresses to listen on, without the '-' of one that may be missing. */
static bool next_bound(struct bytes *rest, struct bytes *out)
{
    if (rest->len == 0)
        return false;
    const size_t len = bytes_find_u8(*rest, ' ');
    *out = bytes_of(rest->ptr, len);
    if (out->len != 0 && out->ptr[0] == '-')
        *out = bytes_from(*out, 1);
    *rest = bytes_from(*rest, len == rest->len ? len : len + 1);
    return true;
}

static bool is_any(struct bytes host)
{
    return bytes_eq(host, BYTES_LIT("*")) || bytes_eq(host, BYTES_LIT("::*")) ||
           bytes_eq(host, BYTES_LIT("0.0.0.0")) || bytes_eq(host, BYTES_LIT("::"));
}

/* Whether listening at `address` would take one of the addresses of bind. */
static bool same_address(const struct config *cfg, const char *address)
{
    const struct bytes host = bytes_of(address, (size_t)(strrchr(address, ':') - address));
    struct bytes rest = bytes_cstr(cfg->bind);
    struct bytes bound;

    while (next_bound(&rest, &bound)) {
        if (is_any(host) || is_any(bound) || bytes_eq(bound, host))
            return true;
    }
    return false;
}

/* The other members come to a port of their own. */
static int check_group(const struct config *cfg, uint32_t shards, char *why, size_t why_len)
{
    struct group_config group;

    if (!group_configured(cfg))
        return 0;
    const int err = group_config_read(cfg, &group, why, why_len);
    if (err != 0)
        return err;
    const char *address =
        cfg->group_bind[0] != '\0' ? cfg->group_bind : group.linked[group.own].address;
    const int64_t port = port_of(address);
    if (port < cfg->port || port >= cfg->port + (int64_t)shards || !same_address(cfg, address))
        return 0;
    (void)snprintf(why, why_len,
                   BEFORE "clients have the ports %d to %d (port, one a shard), and %s, where this "
                          "member listens for the others, is one of them",
                   (int)cfg->port, (int)cfg->port + (int)shards - 1, address);
    return -ERR_CONFIG;
}

/* Such a text goes into the error that redirects a client, and into lines of CLUSTER NODES. */
static bool is_made_of(const char *text, const char *others)
{
    static const char usual[] = "0123456789abcdefghijklmnopqrstuvwxyz"
                                "ABCDEFGHIJKLMNOPQRSTUVWXYZ.-";
    const size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        if (strchr(usual, text[i]) == NULL && strchr(others, text[i]) == NULL)
            return false;
    }
    return len < CLUSTER_HOST_BYTES;
}

static const char bad_hostname[] =
    "Hostnames may only contain alphanumeric characters, hyphens or dots";

static int check_names(const struct config *cfg, char *why, size_t why_len)
{
    if (!is_made_of(cfg->cluster_announce_ip, ":%_"))
        return refuse(why, why_len, "cluster-announce-ip is not an address");
    if (!is_made_of(cfg->cluster_announce_hostname, ""))
        return refuse(why, why_len, bad_hostname);
    return 0;
}

int cluster_check(const struct config *cfg, uint32_t shards, char *why, size_t why_len)
{
    const bool on = cfg->clustering_policy == CLUSTERING_OSS;

    if (cfg->cluster_enabled && !on) {
        (void)snprintf(why, why_len,
                       "cluster-enabled yes: set clustering-policy oss, which makes each shard a "
                       "node of the cluster");
        return -ERR_CONFIG;
    }
    if (!on)
        return 0;
    if (cfg->port == 0)
        return refuse(why, why_len,
                      "port is 0, and clients are sent from shard to shard by TCP ports; set port "
                      "(a unixsocket alone is not enough)");
    int err = check_run("port", cfg->port, shards, why, why_len);
    if (err == 0)
        err = check_run("cluster-announce-port", cfg->cluster_announce_port, shards, why, why_len);
    if (err == 0)
        err = check_names(cfg, why, why_len);
    return err == 0 ? check_group(cfg, shards, why, why_len) : err;
}

static bool validate(void *ctx, const struct config *cfg, const char **out_reason)
{
    struct node *node = ctx;
    struct cluster *cluster = node->cluster;

    if (cluster_check(cfg, node->shards_count, cluster->why, sizeof(cluster->why)) == 0)
        return true;
    /* The frame of CONFIG SET names the directive. */
    *out_reason = strncmp(cluster->why, BEFORE, sizeof(BEFORE) - 1) == 0
                      ? cluster->why + sizeof(BEFORE) - 1
                      : cluster->why;
    return false;
}

/* Without a cluster; as Redis. */
static bool validate_hostname(void *ctx, const struct config *cfg, const char **out_reason)
{
    (void)ctx;
    *out_reason = bad_hostname;
    return is_made_of(cfg->cluster_announce_hostname, "");
}

static void validate_by(struct node *node, enum config_id id, config_hook_fn fn)
{
    struct config_hook hook = node->cfg->hook[id];

    hook.validate = fn;
    hook.ctx = node;
    config_hook(node->cfg, id, hook);
}

void cluster_hooks(struct node *node)
{
    static const enum config_id looked_at[] = {
        CONFIG_ID_cluster_announce_ip, CONFIG_ID_cluster_announce_port,
        CONFIG_ID_cluster_announce_hostname, CONFIG_ID_port, CONFIG_ID_bind};

    if (node->cluster == NULL)
        validate_by(node, CONFIG_ID_cluster_announce_hostname, validate_hostname);
    for (size_t i = 0; node->cluster != NULL && i < ARRAY_COUNT(looked_at); i++)
        validate_by(node, looked_at[i], validate);
}

/* --- ids --- */

static int make_ids(struct node *node, const char *path, char *why, size_t why_len)
{
    static const char digits[] = "0123456789abcdef";
    struct datadir_ids *ids = &node->cluster->ids;
    struct rng rng;

    int err = rng_seed_from_os(&rng);
    ids->count = err == 0 ? node->shards_count : 0;
    for (uint32_t i = 0; i < ids->count; i++) {
        for (size_t k = 0; k < DATADIR_ID_DIGITS; k++)
            ids->id[i][k] = digits[rng_below(&rng, 16)];
    }
    char *text = mem_alloc(DATADIR_IDS_BYTES);
    if (err == 0)
        err = file_write_atomic(path, bytes_of(text, datadir_ids_print(text, ids)));
    mem_free(text);
    if (err != 0)
        (void)snprintf(why, why_len, "cannot write %s: %s", path, err_str(err));
    return err;
}

static int read_ids(struct node *node, const char *path, struct bytes text, char *why,
                    size_t why_len)
{
    struct datadir_ids *ids = &node->cluster->ids;

    if (datadir_ids_parse(text, ids) && ids->count == node->shards_count)
        return 0;
    (void)snprintf(why, why_len,
                   "%s: not the ids of %u cluster nodes; restore the file, or delete it: the nodes "
                   "get new ids then",
                   path, node->shards_count);
    return -ERR_FORMAT;
}

int cluster_open(struct node *node, char *why, size_t why_len)
{
    char path[PATH_ROOM];
    struct buf text;

    if (node->cfg->clustering_policy != CLUSTERING_OSS)
        return 0;
    node->cfg->cluster_enabled = true;
    node->cluster = mem_zalloc(sizeof(*node->cluster));
    (void)snprintf(path, sizeof(path), "%s/" DATADIR_CLUSTER_FILE, node->dir);
    buf_init(&text, DATADIR_IDS_BYTES);
    int err = file_read_all(path, &text);
    if (err == -ENOENT) {
        err = make_ids(node, path, why, why_len);
    } else if (err == 0 || err == -ERR_LIMIT) {
        err = read_ids(node, path, buf_bytes(&text), why, why_len);
    } else {
        (void)snprintf(why, why_len, "cannot read %s: %s", path, err_str(err));
    }
    buf_deinit(&text);
    return err;
}

/* --- addresses --- */

uint16_t cluster_port(const struct config *cfg, uint32_t shard)
{
    return (uint16_t)(cfg->port + (int64_t)shard);
}

uint16_t cluster_announced_port(const struct config *cfg, uint32_t shard)
{
    const int64_t first = cfg->cluster_announce_port;

    return first == 0 ? cluster_port(cfg, shard) : (uint16_t)(first + (int64_t)shard);
}

static void put(char out[CLUSTER_HOST_BYTES], struct bytes host)
{
    const size_t len = size_min(host.len, CLUSTER_HOST_BYTES - 1);

    memcpy(out, host.ptr, len);
    out[len] = '\0';
}

/* "1.2.3.4:6379" or "[::1]:6379". */
static struct bytes without_port(const char *address)
{
    const char *colon = strrchr(address, ':');
    struct bytes host =
        colon == NULL ? bytes_cstr(address) : bytes_of(address, (size_t)(colon - address));

    if (host.len > 2 && host.ptr[0] == '[')
        host = bytes_of(host.ptr + 1, host.len - 2);
    return host;
}

/* Where a client on this machine reaches the ports. */
static struct bytes bound_host(const struct config *cfg)
{
    struct bytes rest = bytes_cstr(cfg->bind);
    struct bytes bound;

    while (next_bound(&rest, &bound)) {
        if (!is_any(bound))
            return bound;
    }
    return BYTES_LIT("127.0.0.1");
}

void cluster_host(const struct conn *c, char out[CLUSTER_HOST_BYTES])
{
    const struct config *cfg = c->sh->cfg;

    if (cfg->cluster_announce_ip[0] != '\0')
        put(out, bytes_cstr(cfg->cluster_announce_ip));
    else if (c->local)
        put(out, bound_host(cfg));
    else
        put(out, without_port(c->laddr));
}

void cluster_endpoint(const struct conn *c, char out[CLUSTER_HOST_BYTES])
{
    const char *name = c->sh->cfg->cluster_announce_hostname;

    switch (c->sh->cfg->cluster_preferred_endpoint_type) {
    case ENDPOINT_HOSTNAME:
        put(out, name[0] == '\0' ? BYTES_LIT("?") : bytes_cstr(name));
        break;
    case ENDPOINT_UNKNOWN:
        out[0] = '\0';
        break;
    default:
        cluster_host(c, out);
        break;
    }
}
