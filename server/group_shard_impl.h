/* What the files of group_shard share. */
#ifndef TIERRA_SERVER_GROUP_SHARD_IMPL_H
#define TIERRA_SERVER_GROUP_SHARD_IMPL_H

#include <stdbool.h>
#include <stdint.h>

#include "replication/replica.h"

#include "server/group_link.h"
#include "server/group_shard.h"

struct group_shard {
    struct shard *sh;
    struct replica_state state; /* Of recovery. */
    struct replica *replica;    /* NULL: the node has no origin number yet. */
    bool had_origin;            /* At the start. */
    bool failed;                /* There is no replica, and there will be none. */
    bool stopping;
    bool left;         /* Writes have ended for good; */
    bool retired;      /* also: upon an older copy of the data. */
    uint32_t draining; /* The round whose answer is still owed; 0: none. */
    bool synced_told;
    bool copy_asked;
    bool sums_asked;
    uint32_t sums_number;
    uint32_t freezing[GROUP_ORIGINS]; /* Likewise. */
    uint64_t reported_ms;
    struct group_members members;
    struct link_hub *hub;
    bool hub_stopped;
    struct group_link links[GROUP_ORIGINS]; /* By origin of the peer. */
};

#endif
