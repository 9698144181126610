/*
 * What a replication group has no use for: commands and settings that are refused in it, each with
 * the alternative.
 */
#ifndef TIERRA_SERVER_GROUP_REFUSE_H
#define TIERRA_SERVER_GROUP_REFUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes;
struct cmd;
struct node;
struct shard;

/* NULL, or the text of the error, without its code. Static storage. */
const char *group_forbids(const struct cmd *cmd);

/* The same of arguments: a field or element that is too long (mutate.h). */
const char *group_forbids_args(const struct cmd *cmd, uint32_t argc, const struct bytes *argv);

/* The same of a value that is about to be one of a collection; the shard need not be of a group. */
const char *group_forbids_elem(const struct shard *sh, size_t len);

/* Registers what CONFIG SET must ask. The node is a member. */
void group_refuse_hooks(struct node *node);

#endif
