/*
 * A node as a member of a replication group.
 *
 *     group_config    the directives
 *     group_node      on shard 0's thread: who is a member (replication/group/control.h), its file,
 *                     and what is asked of all shards
 *     group_talk      messages of control to the other nodes
 *     group_shard     on each shard's thread: its replica (replication/replica.h) and its links
 *     group_view      what INFO and REPLGROUP show
 *
 * What control decides travels to the shards as mail, and so does what they answer: that nothing of
 * a member is taken any more, that all is shipped, that a copy is complete, which links are up.
 *
 * A node that has not been let in yet has no origin number: its shards are open and empty, and take
 * no writes.
 */
#ifndef TIERRA_SERVER_GROUP_NODE_H
#define TIERRA_SERVER_GROUP_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"

#include "engine/io/mailbox.h"
#include "engine/io/pool.h"
#include "engine/io/reactor.h"
#include "engine/space/group.h"

#include "replication/group/control.h"
#include "replication/link/link.h"
#include "replication/link/link_door.h"
#include "replication/link/link_resolve.h"
#include "replication/link/link_secret.h"
#include "replication/replica.h"

#include "server/group_asked.h"
#include "server/group_config.h"

struct group;
struct group_digest;
struct group_talk;
struct node;
struct shard;

/* Origin numbers are 1 .. VV_ORIGINS_MAX: arrays by origin have one place more. */
#define GROUP_ORIGINS (VV_ORIGINS_MAX + 1)

/* What one shard last said of itself. */
struct group_report {
    bool here;                     /* It has a replica, or will have none: */
    bool failed;                   /* then this. */
    const char *refusal;           /* Of writes; NULL: none. Static storage. */
    char full[CONTROL_TEXT_BYTES]; /* Why it takes nothing from peers; empty: it does. */
    struct replica_metrics metrics;
    struct ks_group_metrics keys;
    struct link_metrics links; /* Of its hub; shard 0's has those of control, too. */
    uint64_t memory_bytes;
    uint64_t unsettled_keys;
    uint64_t waiting_keys; /* For garbage collection. */
    bool is_peer[GROUP_ORIGINS];
    struct core_peer_info peer[GROUP_ORIGINS];
};

struct group {
    struct node *node;
    struct group_config config;
    struct control *control;
    struct link_secret *secret;
    struct link_door *door;
    bool door_stopped;
    struct pool *resolver_pool; /* Name servers may be slow. */
    struct link_resolver resolver;
    struct group_talk *talk;
    struct group_digest *digest;
    struct reactor_timer timer;
    bool running;

    /* The file of control's state. */
    struct buf file;
    uint64_t file_version;
    struct pool_class file_class;
    struct pool_job file_job;
    bool file_busy;
    int file_err;           /* The job's. */
    uint64_t file_retry_ms; /* 0: none waits. */

    struct group_asked frozen[GROUP_ORIGINS];
    struct group_asked drained;
    uint32_t synced;            /* Shards that have all that a new member needs. */
    bool linked[GROUP_ORIGINS]; /* All links with the member are up. */

    struct group_report *reports;    /* By shard. */
    bool (*links_up)[GROUP_ORIGINS]; /* By shard. */
};

/*
 * Reads what is configured and what was kept; the shards are opened after it. 0, or an error with a
 * line for the operator. `*out` is NULL on a node that stands alone.
 */
MUST_USE int group_open(struct node *node, struct group **out, char *why, size_t why_len);

/* Origin of this node, 0: none yet; and what a replica has to know of the group then. */
uint8_t group_origin(const struct group *g);

/* Listens for the others and starts; shards are open, the caller is shard 0's thread. */
MUST_USE int group_start(struct group *g, char *why, size_t why_len);

/* Ends what is open on shard 0's loop: to be called between its turns until it says true. */
bool group_stop(struct group *g);

/* NULL is allowed. */
void group_destroy(struct group *g);

/* --- what shards say: mail to shard 0 --- */

enum group_said {
    GROUP_SAID_FROZEN,  /* origin; seq: what is durable of it. */
    GROUP_SAID_DRAINED, /* seq: the last own. */
    GROUP_SAID_SYNCED,
    GROUP_SAID_LINK, /* origin, up, why. */
    GROUP_SAID_PAST, /* Its history is not what peers know. */
    GROUP_SAID_REPORT
};

/* Any shard's thread. `why` may be NULL. `round`: of the question (group_asked.h); 0: none. */
void group_say_seq(struct shard *sh, enum group_said what, uint8_t origin, uint64_t seq,
                   uint32_t round);
void group_say_link(struct shard *sh, uint8_t origin, bool up, const char *why);
void group_say_report(struct shard *sh, struct group_report *take_report);

#endif
