/*
 * From a parsed command to its handler: the one place to read in order to know what can happen to
 * a command before it runs.
 *
 *     look up -> arity -> AUTH and ACL -> shard -> fuses (memory, flash, log) -> MULTI queue
 *       -> residency (needs.h) -> run
 *
 * A command whose keys another shard owns is forwarded there and goes through the same steps again
 * (route.h, forward.h); one for several shards is taken apart (scatter.h).
 *
 * A command that cannot run yet is parked: for cold data, for room in the log, or for the delay
 * that slows writers when memory is short. It is then tried again from the start; nothing of it
 * has happened. Handlers never wait; one that blocks (BLPOP) is parked, too (unblock.h).
 */
#ifndef TIERRA_SERVER_DISPATCH_H
#define TIERRA_SERVER_DISPATCH_H

#include <stdbool.h>

#include "engine/space/keyspace.h"

#include "server/command.h"
#include "server/resp.h"

struct cmd;
struct conn;
struct request;
struct shard;

enum dispatch_result {
    DISPATCH_DONE,   /* A reply was written, or none is due. */
    DISPATCH_PARKED, /* Call again when conn_resume says so. */
};

/* What is found out about a command before its turn, once; it depends on its arguments alone. */
struct dispatch_plan {
    const struct cmd *cmd; /* NULL: unknown. */
    bool container;        /* The first word has subcommands. */
    uint32_t key_at;       /* Argument of the one key that it names; 0: none, several, too long. */
    struct cmd_need need;  /* Of that key; */
    struct ks_key key;     /* likewise. */
};

void dispatch_plan(const struct shard *sh, const struct resp_cmd *rc, struct dispatch_plan *out);

/* That of the key, of a command that is known: `plan->cmd`. */
void dispatch_plan_keys(const struct shard *sh, uint32_t argc, const struct bytes *argv,
                        struct dispatch_plan *plan);

enum dispatch_result dispatch(struct conn *c, const struct resp_cmd *rc,
                              const struct dispatch_plan *plan);

/* Ends what the attempts of a parked command remember; dispatch does so with the last one. */
void dispatch_forget(struct conn *c);

/* A refusal: counted, and within MULTI it ends the transaction. The error was replied. */
void dispatch_reject(struct conn *c, const struct cmd *cmd);

/* Within MULTI these run at once; all others are queued. */
bool dispatch_runs_in_multi(const struct cmd *cmd);

/* Starts the reads that the command will need. No effect that a client could see. */
void dispatch_prefetch(struct conn *c, const struct resp_cmd *rc);

/*
 * Runs a queued command of a transaction: everything is resident, checks are done. The request's
 * connection, out and now_ms are set. Returns when it ended, which is `from_ns` of the next; 0: it
 * is the first. For statistics and the slow log, which have each of them, as in Redis.
 */
uint64_t dispatch_queued(struct request *rq, uint64_t from_ns);

/* CLIENT REPLY OFF and SKIP: takes back what was replied since the output was `before` long. */
void dispatch_silence(struct conn *c, size_t before);

#endif
