/*
 * What happens when CONFIG SET changes an option that somebody has a copy of. Options that are
 * read where they are used need no hook; the others are all registered here.
 */
#ifndef TIERRA_SERVER_CONFIG_HOOKS_H
#define TIERRA_SERVER_CONFIG_HOOKS_H

#include "engine/base/log.h"

#include "replication/oplog.h"

struct config;
struct node;
struct shard;

/* Before the node runs. */
void config_hooks_register(struct node *node);

/* The shard has a new configuration: what it has copies of. Its thread. */
void config_follow_shard(struct shard *sh);

/* Values of options in the words of those who take them. */
enum log_level config_log_level(const struct config *cfg);
enum oplog_policy config_sync_policy(const struct config *cfg);

#endif
