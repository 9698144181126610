/*
 * What a replication group has no use for: commands and settings that are refused in it, each with
 * the alternative.
 */
#ifndef TIERRA_SERVER_GROUP_REFUSE_H
#define TIERRA_SERVER_GROUP_REFUSE_H

struct cmd;
struct node;

/* NULL, or the text of the error, without its code. Static storage. */
const char *group_forbids(const struct cmd *cmd);

/* Registers what CONFIG SET must ask. The node is a member. */
void group_refuse_hooks(struct node *node);

#endif
