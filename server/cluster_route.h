/*
 * What a node of a cluster does with a command, under clustering-policy oss (cluster.h), where
 * route.h would send it to another shard:
 *
 *     keys of one slot, this shard's     run
 *     keys of one slot, another's        -MOVED slot host:port
 *     keys of several slots              -CROSSSLOT, whatever the command
 *     MULTI                              each command as it is queued, and at EXEC all of them
 *                                        together: their keys have one slot
 *     EVERY_SHARD, ANY_SHARD             run: this node's keys, clients, statistics
 *     FIRST_SHARD                        shard 0 runs it, as configuration and saves are the
 *                                        process's; not within MULTI
 *     FIGURES                            run, once the figures of the process are here; likewise
 *
 * Shard channels (SSUBSCRIBE, SUNSUBSCRIBE, SPUBLISH) are taken for keys.
 *
 * Thread: the connection's shard.
 */
#ifndef TIERRA_SERVER_CLUSTER_ROUTE_H
#define TIERRA_SERVER_CLUSTER_ROUTE_H

#include "server/route.h"

/* As route(). */
enum route_result cluster_route(struct conn *c, const struct resp_cmd *rc,
                                const struct dispatch_plan *plan);

#endif
