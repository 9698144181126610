/*
 * The directives of a replication group, checked together: what is missing, what contradicts, and
 * what a group needs of the others (noeviction, a log that is synced).
 */
#ifndef TIERRA_SERVER_GROUP_CONFIG_H
#define TIERRA_SERVER_GROUP_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/attr.h"

#include "replication/group/control.h"

#include "server/config_linked.h"

struct config;

struct group_config {
    unsigned linked_count;
    unsigned own; /* Which one this node is. */
    struct config_linked linked[MEMBERS_MAX];
};

/* The node is, or is to become, a member of a group. */
bool group_configured(const struct config *cfg);

/* 0, or -ERR_CONFIG with a line for the operator. Without group-nickname none of it may be set. */
MUST_USE int group_config_read(const struct config *cfg, struct group_config *out, char *why,
                               size_t why_len);

/* For control_create; borrows from both. */
void group_config_control(const struct config *cfg, const struct group_config *g, unsigned shards,
                          struct control_options *out);

#endif
