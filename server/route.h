/*
 * Which shard runs a command, under clustering-policy enterprise.
 *
 * Shard i of n owns the slots s with s * n / 16384 == i: a contiguous range, so that the order of
 * SCAN is that of the shards. The dispatcher asks here before anything of a command happens:
 *
 *     one key, or several of one slot      the owner: here, or forwarded (forward.h)
 *     keys of several slots                DEL, UNLINK, MSET, MGET, EXISTS, TOUCH, MIGRATE: a part
 *                                          for each shard (scatter.h); all others: CROSSSLOT
 *     MULTI .. EXEC, WATCH                 all keys, watched ones too, on one shard; else CROSSSLOT
 *     EVERY_SHARD                          a part for each shard
 *     FIRST_SHARD                          shard 0, which owns configuration and saves
 *     FIGURES                              here, once the figures of all shards are here
 *     anything else                        here, once all replies before it are there
 *
 * Commands of one connection for one shard run in their order; those for different shards run side
 * by side, and only their replies are put in order.
 *
 * Thread: the connection's shard.
 */
#ifndef TIERRA_SERVER_ROUTE_H
#define TIERRA_SERVER_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/crc16.h"

struct cmd;
struct conn;
struct dispatch_plan;
struct resp_cmd;
struct shard;

static inline uint32_t route_shard_of(uint16_t slot, uint32_t shards)
{
    return (uint32_t)slot * shards / KEY_SLOTS;
}

/* The first slot of a shard; KEY_SLOTS behind the last one. */
static inline uint32_t route_first_slot(uint32_t shard, uint32_t shards)
{
    return (shard * KEY_SLOTS + shards - 1) / shards;
}

enum route_result {
    ROUTE_HERE, /* Go on with it. */
    ROUTE_DONE, /* It is on its way, or was refused with a reply. */
    ROUTE_WAIT, /* Park it: replies before it, or figures, are on their way. */
};

/* The command has been admitted: arity, permissions, length of names. */
enum route_result route(struct conn *c, const struct resp_cmd *rc,
                        const struct dispatch_plan *plan);

/* Whether all keys of a command that is looked ahead at are this shard's. */
bool route_is_here(struct shard *sh, const struct cmd *cmd, const struct resp_cmd *rc);

#endif
