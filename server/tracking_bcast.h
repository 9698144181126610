/*
 * BCAST: prefixes of clients, and who is told of the keys that changed in a turn; tracking.h tells.
 * For tracking.c only.
 *
 *     tracking.prefixes          text -> prefix -> its subs      of all clients of the shard
 *     tracking_client.prefixes   text -> sub                     of one client
 *
 * The keys of a turn are in the order of their names, so that those of a prefix stand side by side:
 * each key is walked down the tree of the shard once, which finds its prefixes, and each prefix
 * found tells its clients of its part of the keys. Prefixes that nothing begins with cost nothing.
 */
#ifndef TIERRA_SERVER_TRACKING_BCAST_H
#define TIERRA_SERVER_TRACKING_BCAST_H

#include <stddef.h>

#include "engine/base/bytes.h"

struct buf;
struct tracking_client;

/* Head of a changed key: writer 8, length 2. */
#define TRACKING_CHANGED_HEAD_BYTES 10u

/* The client is told of keys that begin so; nothing happens if it is already. */
void tracking_bcast_add(struct tracking_client *tc, struct bytes text);
/* And is told of none any more. */
void tracking_bcast_drop(struct tracking_client *tc);

size_t tracking_bcast_bytes(const struct tracking_client *tc);

/* A name, as RESP has it. */
void tracking_append_key(struct buf *to, struct bytes name);

#endif
