/*
 * One shard of a member: its replica, and a link to the same shard of each peer.
 *
 * Of two members the one with the higher origin number dials, so that there is one connection. A
 * link that ends is dialled again, after a pause that grows.
 *
 * Everything here belongs to the shard's thread.
 */
#ifndef TIERRA_SERVER_GROUP_SHARD_H
#define TIERRA_SERVER_GROUP_SHARD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "replication/group/membership.h"

#include "server/group_node.h"

struct batch;
struct group_shard;
struct link_guest;
struct link_hub;
struct shard;

/* The membership, as far as a shard needs it. */
struct group_members {
    uint8_t origin; /* This node's; 0: none. */
    uint64_t incarnation;
    uint64_t flush_epoch;
    uint8_t group_id[MEMBERSHIP_ID_BYTES];
    struct members members;
    char address[GROUP_ORIGINS][MEMBERSHIP_ADDRESS_BYTES]; /* By origin; */
    char name[GROUP_ORIGINS][MEMBER_NAME_BYTES];           /* likewise. */
};

/* The shard is of a member: its group_shard; NULL on a node that stands alone. */
MUST_USE struct group_shard *group_shard_create(struct shard *sh);

/* Nothing may be asked of it any more. */
bool group_shard_stopping(const struct group_shard *gs);

/* Ends links and work under way: to be called between turns until it says true. */
bool group_shard_stop(struct group_shard *gs);
/* NULL is allowed. */
void group_shard_destroy(struct group_shard *gs);

/* The links of the shard's thread. */
struct link_hub *group_shard_hub(struct group_shard *gs);

/* Passes a connection to the shard, from any thread. */
void group_shard_pass(struct shard *sh, struct link_guest *take_guest);

/* --- start --- */

/* The store is open: one that holds a part of a copy is replaced by an empty one. Blocks. */
MUST_USE int group_shard_look(struct group_shard *gs, char *why, size_t why_len);

struct group_shard_recovery {
    uint8_t origin;      /* 0: none yet. */
    uint64_t room_bytes; /* These two as struct replica_recovery. */
    uint64_t room_bytes_min;
};

/* Key table and log (replica_recover). `*out` is the group_shard's. */
MUST_USE int group_shard_recover(struct group_shard *gs, const struct group_shard_recovery *how,
                                 const struct replica_state **out, char *why, size_t why_len);

/* --- orders of shard 0 --- */

void group_shard_set_members(struct group_shard *gs, const struct group_members *members);
/* `round` goes with the answer. */
void group_shard_freeze(struct group_shard *gs, uint8_t origin, uint32_t round);
void group_shard_drain(struct group_shard *gs, uint32_t round);
void group_shard_flush(struct group_shard *gs, uint64_t epoch);
/* No write any more: peers know more of this node than it does. */
void group_shard_retire(struct group_shard *gs);

/* What is shown here is summed up (group_digest.h); what was asked for before is given up. */
void group_shard_sums(struct group_shard *gs, uint32_t number, const struct replica_sums_ask *ask);

/*
 * The store is to be reopened: gives back what is open on it. To be called again and again until
 * that is done: a peer may ask anew. True: nothing is open.
 */
MUST_USE bool group_shard_release_store(struct group_shard *gs);

/* --- the shard's turn, its timer, its log and its store --- */

void group_shard_tick(struct group_shard *gs);
void group_shard_turn(struct group_shard *gs);
/* What the turn has queued for peers leaves. */
void group_shard_turn_end(struct group_shard *gs);
void group_shard_durable(struct group_shard *gs, uint64_t lsn);
/* What the store says of its persistent covered position. */
void group_shard_covered(struct group_shard *gs, uint64_t lsn, struct bytes covered);
/* Of mut_options; `ctx` is the shard. */
void group_shard_logged(void *ctx, uint64_t lsn, const struct batch *batch, struct bytes bytes);

/* The wall clock, as far as it is believed (replica_clock_ms). */
uint64_t group_shard_clock_ms(const struct group_shard *gs);

/* Peers do not need the log up to here. */
uint64_t group_shard_trim_lsn(const struct group_shard *gs);

/* NULL: a client may write; else why not, in words for it. Static storage. Likewise: may read. */
const char *group_shard_refusal(const struct group_shard *gs);
const char *group_shard_read_refusal(const struct group_shard *gs);

/* Of a member, former ones too; empty if the origin is unknown. */
const char *group_shard_member_name(const struct group_shard *gs, uint8_t origin);

/* The refusals will pass: the node is on its way into the group. */
bool group_shard_is_new(const struct group_shard *gs);

#endif
