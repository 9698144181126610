/*
 * Which members of a sorted set a command needs in DRAM.
 *
 * A sorted set may be resident in one range of its order only. What a command needs of it follows
 * from its arguments and the number of members, so it is asked for when the key row is there.
 */
#ifndef TIERRA_SERVER_NEED_ZSET_H
#define TIERRA_SERVER_NEED_ZSET_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "server/command.h"

struct coll;
struct keyspace;
struct ks_key;
struct ks_wait;

struct zset_asked {
    const struct cmd *cmd;
    uint32_t spec; /* Of the key among the specifications. */
    uint32_t argc;
    const struct bytes *argv;
    uint64_t moved; /* Members that other commands of the transaction add and remove. */
    /* What is more, and not in DRAM, is not read here (-ERR_LIMIT), as it can be streamed; 0: it
     * cannot. */
    uint64_t members_max;
    uint64_t bytes_max;
};

/* Whether the command needs a part of the order, and not just anything or all. */
bool need_zset_is_part(const struct cmd *cmd);

/* Of such a command. Asks for it: results as ks_need_zset. `coll` is hot and not complete. */
MUST_USE int need_zset(struct keyspace *ks, const struct ks_key *key, const struct coll *coll,
                       const struct zset_asked *asked, struct ks_wait *wait);

/* Members that a call of the command adds and removes. */
uint64_t need_zset_moved(const struct cmd *cmd, uint32_t argc, const struct bytes *argv);

#endif
