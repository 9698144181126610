/*
 * Commands on their way between shards, and the order of their replies.
 *
 * A connection lives on one shard, its home. What it sends for another shard, the owner, is
 * collected in a struct forward, one per connection and owner, and goes there as one message per
 * turn:
 *
 *     home    route -> forward_put -> staged ... end of the turn -> mailbox of the owner
 *     owner   for each command: dispatch, as for a connection of its own: it may park there, for
 *             cold data, for room in the log, for memory. When all have run the message waits until
 *             the owner's log is as safe as appendfsync asks -> mailbox of the home shard
 *     home    replies -> their slots -> conn->out, as far as no earlier reply is missing
 *
 * The agent is what runs the commands at the owner: a struct conn without a socket. Whatever the
 * dispatcher and the handlers do with a connection they do with it. A watched key (WATCH) stands
 * with the agent, hence at its owner, and EXEC is run by it.
 *
 * A message belongs to one thread at a time and passes with the mail: no lock, nothing shared. At
 * most one per connection and owner is under way; what comes meanwhile is staged for the next one.
 * A connection whose staged commands exceed FORWARD_COMMANDS_MAX or FORWARD_BYTES_MAX runs no more
 * commands until it has caught up, so that the number of messages is bounded by the number of
 * connections and their size by the input of each. Messages of one turn for one shard go as one
 * chain: one atomic operation and at most one wake.
 *
 * Replies: `slots` are the forwarded commands in the order in which they came. Replies of the home
 * shard that come behind one of them wait in `later`.
 */
#ifndef TIERRA_SERVER_FORWARD_H
#define TIERRA_SERVER_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/list.h"

#include "engine/io/mailbox.h"

struct conn;
struct forward;
struct join;
struct shard;

/* Staged or waiting for replies, of one connection. */
#define FORWARD_COMMANDS_MAX 4096
#define FORWARD_BYTES_MAX    (1u << 20)

/* The reply of one command that went to other shards. */
struct forward_slot {
    struct list_link link;
    struct join *join; /* It has several parts; NULL: one. */
    struct buf reply;  /* Of one part, if an earlier reply is missing. */
    uint32_t missing;  /* Parts that have not replied yet. */
    bool silent;       /* CLIENT REPLY OFF, SKIP. */
    bool session;      /* EXEC that may have changed the session: nothing runs beside it. */
    size_t after;      /* Bytes of `later` that follow it. */
};

/* What a connection that has forwarded something keeps at its home. */
struct forward_home {
    struct list slots;
    uint32_t slots_count;
    struct buf later;
    size_t later_sent;
    size_t ready;         /* conn->out up to here is in order; what is behind belongs to `later`. */
    size_t staged;        /* Bytes. */
    uint32_t releasing;   /* Agents that are to forget their transactions, and may not have. */
    uint32_t away;        /* Messages and questions at other shards: the memory must stay. */
    bool waiting;         /* Parked until all replies are there. */
    bool exclusive;       /* No command runs before all replies are there. */
    bool blocking;        /* The last one is a blocking command: it may wait for its key. */
    bool orphaned;        /* The socket is closed. */
    struct forward *to[]; /* By owner. */
};

/* Of one shard. */
struct forward_shard {
    struct list staging; /* struct forward with commands to send. */
    struct list agents;  /* All that are here, by conn->link. */
    struct list done;    /* Those that have run in this turn, by conn->turn_link. */
    struct list held;    /* Those that wait for the log, in its order. */
    struct list idle;    /* To be used again. */
    uint32_t idle_count;
    struct mail_chain *outbox; /* By shard: posted once per turn; */
    bool posting;              /* there is something in one. */
    uint64_t messages;         /* Sent to other shards; */
    uint64_t commands;         /* commands in them. */
};

void forward_shard_init(struct forward_shard *f, uint32_t shards_count);
void forward_shard_deinit(struct forward_shard *f);

/* --- at home --- */

/* What the connection keeps for this, made on first use. */
struct forward_home *forward_of_conn(struct conn *c);

/* Some reply is missing. */
bool forward_pending(const struct conn *c);

/* Commands for `owner` are staged or under way. */
bool forward_busy(const struct conn *c, uint32_t owner);

/* True if the connection must wait until all replies are there; it is resumed then. */
bool forward_full(const struct conn *c);
void forward_wait(struct conn *c);

/* The place of the next reply. Takes `join`, which tells the number of parts; NULL: one. */
struct forward_slot *forward_slot_add(struct conn *c, struct join *join);

/* Stages the command for `owner`, which may be the connection's own shard. */
void forward_put(struct conn *c, struct forward_slot *slot, uint32_t part, uint32_t owner,
                 uint32_t argc, const struct bytes *argv);

/* The agent at `owner` if the connection has one that is not under way; made if there is none. */
struct conn *forward_agent(struct conn *c, uint32_t owner);

/* The agent at `owner` holds, or holds no more, what must stay between commands: watched keys. */
void forward_pin(struct conn *c, uint32_t owner, bool pinned);

/* A blocking command is at another shard; it may wait there. */
void forward_set_blocking(struct conn *c);

/* It does wait there for a key, as far as is known. */
bool forward_waits(const struct conn *c);

/* A command of it that waits for a key is at another shard; its reply may be on its way already. */
bool forward_may_wait(const struct conn *c);

/* A key that it watches at another shard was touched, as far as is known while nothing is away. */
bool forward_dirty(const struct conn *c);

/*
 * Lets the agent at `owner` forget its transaction, behind what is under way. No transaction of the
 * connection may begin before forward_releases says that it has.
 */
void forward_release(struct conn *c, uint32_t owner);
bool forward_releases(const struct conn *c);

/* No command runs before all replies are there, which are missing. */
bool forward_exclusive(const struct conn *c);

/* Puts replies that were written since behind the missing ones. End of a run of commands. */
void forward_keep(struct conn *c);

/* `len` bytes of conn->out have been sent. */
void forward_sent(struct conn *c, size_t len);

/* The client sends no more: a blocking command under way that would wait for a key does not. */
void forward_ended(struct conn *c);

/* The connection closes. */
void forward_close(struct conn *c);

/* The socket is closed. True if the memory must stay; conn_free comes later then. */
bool forward_orphan(struct conn *c);
void forward_free(struct conn *c);

/* Bytes that the connection holds for this. */
size_t forward_memory_bytes(const struct conn *c);

/* A message to another shard, behind what was sent to it before; it leaves in this turn. */
void forward_post(struct shard *from, uint32_t to, struct mail *mail);

/* --- at the owner --- */

/* The command that the agent had parked may run. */
void forward_resume(struct conn *agent);

/* conn_try_parked for an agent. */
bool forward_try_parked(struct conn *agent);

/* The agent waits for a key, or does not any more. */
void forward_set_blocked(struct conn *agent, bool blocked);

/* The client is gone: nobody waits for what the agent does. */
bool forward_abandoned(struct conn *agent);

/* Ends the parked command of such an agent; it has no effect. */
void forward_abandon(struct conn *agent);

/* Gives up what is parked: the node stops. */
void forward_stop(struct shard *sh);

/* --- the turn of a shard --- */

/* Sends what was staged. */
void forward_send_staged(struct shard *sh);

/* The owner's log has failed: messages that wait for it close the connections they came from. */
void forward_give_up(struct shard *sh);

/* Sends the replies for which the log is safe up to `safe_lsn`; those of this turn need `hold`. */
void forward_turn_end(struct shard *sh, uint64_t hold_lsn, uint64_t safe_lsn);

#endif
