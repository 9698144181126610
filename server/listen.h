/*
 * Listening sockets of a node: TCP addresses of `bind` and the Unix socket. Shard 0 accepts, and
 * hands each connection to the shard that has the fewest; under clustering-policy oss to the one
 * whose port it came to, or whose Unix socket: that of shard 0 is `unixsocket`, the others' have
 * the shard's number behind it (".1").
 */
#ifndef TIERRA_SERVER_LISTEN_H
#define TIERRA_SERVER_LISTEN_H

#include <stddef.h>

#include "engine/base/attr.h"

struct node;

/* Makes room; the number of shards is known. */
void listen_init(struct node *node);

/* Returns 0 or -errno; then `why` names the address. */
MUST_USE int listen_open(struct node *node, char *why, size_t why_len);
void listen_close(struct node *node);

#endif
