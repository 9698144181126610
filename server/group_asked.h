/*
 * A question to all shards, which answer with a sequence number each.
 *
 * It may be asked anew before all have answered, and an answer to the earlier one may be on its way
 * then: it says what was true before, so it must not count. Hence the round that goes with the
 * question and comes back with the answer.
 *
 * Owned by shard 0's thread.
 */
#ifndef TIERRA_SERVER_GROUP_ASKED_H
#define TIERRA_SERVER_GROUP_ASKED_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "replication/group/membership.h"

/* All zeros: nothing was asked yet. */
struct group_asked {
    bool asked;
    uint32_t round;
    uint32_t answers;
    bool answered[MEMBERSHIP_SHARDS_MAX];
    uint64_t seqs[MEMBERSHIP_SHARDS_MAX];
};

/* Asks, or asks anew. Returns the round, never 0. */
static inline uint32_t group_asked_begin(struct group_asked *asked)
{
    const uint32_t round = asked->round == UINT32_MAX ? 1 : asked->round + 1;

    *asked = (struct group_asked){.asked = true, .round = round};
    return round;
}

/* One of `shards` has answered. True: all have now, and `seqs` holds what they said. */
static inline MUST_USE bool group_asked_answer(struct group_asked *asked, uint32_t shards,
                                               uint32_t shard, uint32_t round, uint64_t seq)
{
    if (!asked->asked || round != asked->round)
        return false;
    asked->answers += !asked->answered[shard];
    asked->answered[shard] = true;
    asked->seqs[shard] = seq;
    asked->asked = asked->answers < shards;
    return !asked->asked;
}

#endif
