/*
 * Connections that wait in BLPOP and its relatives: how they come to wait, and what ends it.
 *
 *     handler finds nothing -> unblock_wait: the command is parked, its keys stand in the table
 *     a write touches a key -> the key is ready; at the end of that command, transaction or turn
 *       unblock_serve tries the waiters, the oldest first: the command is dispatched again
 *     the time is over, CLIENT UNBLOCK -> the command is dispatched again, and replies that
 *     the connection closes -> the place is given up
 *
 * So a command that waits is no state of its own but a parked one, and what it does in the end is
 * logged as what it did: a pop. When it is tried it may have to read cold data; it keeps its place,
 * and those behind it wait. Only that command is run when it is served; what the client has sent
 * behind it goes on at the end of the turn.
 *
 * Of several shards: the agent at the owner of the keys waits (forward.h).
 *
 * Thread: the shard of the connection or agent.
 */
#ifndef TIERRA_SERVER_UNBLOCK_H
#define TIERRA_SERVER_UNBLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct conn;
struct ks_key;
struct request;
struct shard;
struct unblock;

/* --- for handlers --- */

/* A blocking command: the type of value it wants, and the arguments that are its keys. */
struct unblock_wish {
    uint8_t type; /* enum value_type */
    uint32_t first;
    uint32_t end;
    uint64_t wait_ms; /* 0: for ever. */
};

/* Seconds of argument `index` to milliseconds; after false the error was replied. */
MUST_USE bool unblock_timeout(struct request *rq, uint32_t index, uint64_t *out_ms);

/* First thing in a handler: true if it has waited in vain; that was replied. */
MUST_USE bool unblock_ended(struct request *rq);

/*
 * Whether the handler is to look at this key. One that has waited looks at what woke it only, and
 * not at a value of another type.
 */
MUST_USE bool unblock_looks_at(const struct request *rq, const struct ks_key *key, uint8_t type);

/* There is nothing: the command waits, or goes on waiting; within EXEC it replies nil. */
void unblock_wait(struct request *rq, const struct unblock_wish *wish);

/* --- for others --- */

/* The command has run, was refused, or its connection closes. No effect if it did not wait. */
void unblock_forget(struct conn *c);

/* Tries who waits for keys that are ready. */
void unblock_serve(struct shard *sh);

/*
 * Ends the wait of a connection, or an agent, by its client's number; it replies at the end of the
 * turn. False: it does not wait.
 */
bool unblock_client(struct shard *sh, uint64_t id, bool with_error);

/* The client of an agent is gone. */
void unblock_abandon(struct shard *sh, uint64_t id);

/* It has waited in vain: nothing else holds up its command, which replies that and does nothing. */
bool unblock_is_over(const struct conn *c);

/* Those of a shard that wait with a timeout. */
uint32_t unblock_timed_count(const struct shard *sh);

/* For the memory budget and CLIENT LIST. */
size_t unblock_memory_bytes(const struct conn *c);

#endif
