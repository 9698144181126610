/*
 * Keyspace notifications: notify-keyspace-events.
 *
 *     __keyspace@0__:<key>     message: the event
 *     __keyevent@0__:<event>   message: the key
 *
 * No handler knows of them. Before a command runs it is noted which of its keys exist; while it
 * runs the write path tells which are changed; afterwards one table says what the event of the
 * command is, for the key of each specification, and whether a key that is gone was deleted. Ops of
 * other members raise the event of their kind: what the command was is not known here.
 *
 * Nothing is done while the directive is empty or nobody on the node listens to any channel.
 *
 * Thread: the shard's.
 */
#ifndef TIERRA_SERVER_NOTIFY_H
#define TIERRA_SERVER_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct ks_key;
struct notify;
struct op;
struct request;
struct shard;

struct notify *notify_create(void);
void notify_destroy(struct notify *n);

/* Around the run of a command. `notify_begin` returns whether notify_end is to be called. */
bool notify_begin(struct request *rq);
void notify_end(struct request *rq);

/* The key was changed. */
void notify_touch(struct notify *n, const struct ks_key *key);

/* `op` of another member was applied. */
void notify_remote(struct shard *sh, const struct ks_key *key, const struct op *op);

/* One event of `class` (enum config_event): "expired", "evicted". */
void notify_event(struct shard *sh, int class, const char *event, struct bytes key);

#endif
