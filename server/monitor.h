/*
 * MONITOR: clients that are shown every command which runs on the node.
 *
 *     +1700000000.123456 [0 127.0.0.1:4242] "set" "key" "value"
 *
 * A command is shown when it has run, at the shard of its connection; one that goes to other shards
 * when it is sent there, but EXEC and what it runs by who runs it. Not shown is what Redis does not
 * show: administrative commands, and passwords (redact.h). Lines travel between shards by mail. As
 * with messages of pub/sub nobody waits for a slow reader: it is closed by the limits of class
 * pubsub of client-output-buffer-limit, or if more than MONITOR_BACKLOG_BYTES_MAX are on their way
 * to its shard.
 *
 * While nobody monitors, a command costs a load.
 *
 * Thread: the shard's.
 */
#ifndef TIERRA_SERVER_MONITOR_H
#define TIERRA_SERVER_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct cmd;
struct conn;
struct request;
struct shard;

/* Bytes of lines that are on their way to one shard. */
#define MONITOR_BACKLOG_BYTES_MAX (64u << 20)

/* False: it does so already. */
bool monitor_join(struct conn *c);
/* RESET, or the connection closes. */
void monitor_leave(struct conn *c);
bool monitor_is(const struct conn *c);

/* The command of the request has run; somebody monitors. */
void monitor_ran(const struct request *rq);

/* The command of the connection goes to other shards, or was answered without its handler. */
void monitor_show(struct conn *c, const struct cmd *cmd, uint32_t argc, const struct bytes *argv);

#endif
