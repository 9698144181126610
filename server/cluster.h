/*
 * clustering-policy oss: every shard is a node of a Redis Cluster, as clients see it.
 *
 *     shard i    port + i    announced as cluster-announce-port + i    id of its own    slots:
 * route.h
 *
 * A client is told where the keys are and goes there by itself; cluster_route.c answers with -MOVED
 * what enterprise would forward. There is no bus: the nodes are threads of one process, live and
 * end together, and their slots never move. What a Redis node has for itself (keys, clients, slow
 * log, statistics, subscriptions) a shard has for itself; configuration, saves, budgets and the log
 * of the process are shared.
 *
 * Under another policy nothing of this is there.
 */
#ifndef TIERRA_SERVER_CLUSTER_H
#define TIERRA_SERVER_CLUSTER_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "server/datadir.h"

struct config;
struct conn;
struct node;

#define CLUSTER_HOST_BYTES 64
#define CLUSTER_WHY_BYTES  512

struct cluster {
    struct datadir_ids ids;
    char why[CLUSTER_WHY_BYTES]; /* Why CONFIG SET was refused; shard 0's. */
};

/*
 * Whether the directives fit together for so many shards: 0, or -ERR_CONFIG with a line for the
 * operator. Of every policy.
 */
MUST_USE int cluster_check(const struct config *cfg, uint32_t shards, char *why, size_t why_len);

/* Reads the ids of the nodes from the data directory; makes them if there are none. */
MUST_USE int cluster_open(struct node *node, char *why, size_t why_len);

/* CONFIG SET of what cluster_check looks at; without a cluster of a name alone. */
void cluster_hooks(struct node *node);

/* Where the node of a shard listens, and what port clients are told. */
uint16_t cluster_port(const struct config *cfg, uint32_t shard);
uint16_t cluster_announced_port(const struct config *cfg, uint32_t shard);

/*
 * The address of the nodes for a client: cluster-announce-ip, or where it has reached this one;
 * over a Unix socket the first address of bind that is one.
 */
void cluster_host(const struct conn *c, char out[CLUSTER_HOST_BYTES]);

/* What the client should use, as cluster-preferred-endpoint-type says. */
void cluster_endpoint(const struct conn *c, char out[CLUSTER_HOST_BYTES]);

#endif
