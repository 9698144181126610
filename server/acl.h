/*
 * The users of a node: where they are kept, how a change reaches every shard and connection, and
 * who may log in.
 *
 * Shard 0 makes the changes: a new set of users (acl_users.h), which it follows at once and every
 * other shard between two of its turns, when it gets it with the configuration (config_share.h). To
 * follow is to give each connection the user of the same name and serial; one whose user is gone,
 * or that listens to a channel which its user has lost, is closed. The reply to the change leaves
 * when all shards have followed.
 *
 * A command is checked where it comes in, at the home of its connection, before anything else of it
 * happens (dispatch.h); commands in a transaction when they are queued, and when they run. What
 * another shard is asked to do for a connection is not checked again. A connection of the default
 * user as it is at the start pays one test of `gate`.
 */
#ifndef TIERRA_SERVER_ACL_H
#define TIERRA_SERVER_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "server/acl_check.h"
#include "server/acl_users.h"

struct config;
struct conn;
struct node;
struct shard;
struct txn_cmd;

/* conn->gate: what its commands have to be asked; 0: nothing. */
enum acl_gate {
    ACL_GATE_AUTH = 1 << 0, /* It has not logged in, and must. */
    ACL_GATE_USER = 1 << 1, /* Its user may not do everything. */
};

/* --- the node; shard 0's thread --- */

/*
 * The users of the start: the default one with requirepass, then those of the configuration or of
 * the ACL file. Returns 0 or -ERR_CONFIG with a reason. Blocks on the disk.
 */
MUST_USE int acl_open(struct node *node, char *why, size_t why_len);
void acl_close(struct node *node);

/* By what rules of clients and files are read now. */
struct acl_env acl_env_of(const struct shard *sh);

/*
 * These hold from now on for shard 0, and with the next config_share for the others. A connection
 * whose command is running is closed after its reply.
 */
void acl_adopt(struct node *node, struct acl_users *take_users);

/* A serial for a user that is made. */
uint64_t acl_next_serial(struct node *node);

/* The default user gets this password; empty: none is needed. False: there is no SHA-256. */
MUST_USE bool acl_set_requirepass(struct node *node, const char *password);

/* For CONFIG REWRITE (config_users_now): `ctx` is the node. */
MUST_USE int acl_print_directives(void *ctx, bool asked, struct buf *out);

/* The path of aclfile, absolute; "" if there is none. */
void acl_path(const struct node *node, char *out, size_t out_len);

/* --- a shard; its thread --- */

/* Takes over a set: every connection gets its user of it, or is closed. */
void acl_follow(struct shard *sh, struct acl_users *take_users);

/* A new connection: the default user, logged in if that needs nothing. Also RESET. */
void acl_greet(struct conn *c);

/* The connection's memory is about to be freed. */
void acl_forget(struct conn *c);

/* Logs in. False: unknown, off, or another password; the ACL log has it then, by `command`. */
MUST_USE bool acl_login(struct conn *c, struct bytes command, struct bytes name,
                        struct bytes password);

/* The user of an agent that ran EXEC, which may have logged in, becomes that of its connection. */
void acl_take(struct conn *c, const struct conn *agent);
/* The agent acts for the connection. Thread: whose the agent is. */
void acl_lend(struct conn *agent, const struct conn *c);

/* All its replies are there: closes it if its user is gone. */
void acl_close_doomed(struct conn *c);

/* `conn` may run it, or the error was replied and logged. Not within EXEC. */
MUST_USE bool acl_admits(struct conn *c, const struct cmd *cmd, uint32_t argc,
                         const struct bytes *argv);

/* Likewise one that EXEC is about to run: the rules may have changed since it was queued. */
MUST_USE bool acl_admits_queued(struct conn *c, const struct txn_cmd *q);

#endif
