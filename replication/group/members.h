/*
 * The membership of a group, as a value.
 *
 * A list of members with a number, the epoch: each change makes the next one. An origin number is
 * given once and never again; a member that lost its data comes back under another. Sealed members
 * stay in the list for ever. Who decides on changes and keeps the list is not the business of this
 * file: see membership.h, of which this is what one shard sees.
 */
#ifndef TIERRA_REPLICATION_GROUP_MEMBERS_H
#define TIERRA_REPLICATION_GROUP_MEMBERS_H

#include <stddef.h>
#include <stdint.h>

#include "engine/value/vv.h"

#define MEMBERS_MAX 5 /* That are not sealed. */

/* The numbers are part of membership.h's format. */
enum member_state {
    MEMBER_NONE = 0,
    MEMBER_JOINING = 1, /* Receives; makes no batches yet. */
    MEMBER_ACTIVE = 2,
    MEMBER_SEALED = 3 /* Has left or was unlinked: its history ends at sealed_seq. */
};

struct member {
    uint8_t origin;
    uint8_t state; /* enum member_state */
    uint64_t incarnation;
    uint64_t sealed_seq;
};

struct members {
    uint64_t epoch;
    uint8_t count;
    struct member at[VV_ORIGINS_MAX];
};

/* NULL if there is none. */
static inline const struct member *members_find(const struct members *members, uint8_t origin)
{
    for (unsigned i = 0; i < members->count; i++) {
        if (members->at[i].origin == origin)
            return &members->at[i];
    }
    return NULL;
}

#endif
