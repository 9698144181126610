/*
 * Gives a changed configuration, and changed users (acl.h), to all shards.
 *
 * CONFIG SET and ACL SETUSER run on shard 0 and change what the node has. The other shards read
 * copies of their own; after a change each gets a new one by mail and puts it in the place of the
 * old between two turns, so that no reader ever sees a value change under it.
 */
#ifndef TIERRA_SERVER_CONFIG_SHARE_H
#define TIERRA_SERVER_CONFIG_SHARE_H

#include <stdbool.h>
#include <stdint.h>

struct node;

/* Sends it out; the number of this configuration. Shard 0's thread. */
uint64_t config_share(struct node *node);

/* Every shard has this one, or a later one. */
bool config_shared(const struct node *node, uint64_t number);

#endif
