/*
 * What INFO and REPLGROUP show of a group: what control knows, and what the shards reported last (a
 * tenth of a second ago at most). Shard 0's thread.
 */
#ifndef TIERRA_SERVER_GROUP_VIEW_H
#define TIERRA_SERVER_GROUP_VIEW_H

#include "engine/base/buf.h"

#include "server/group_node.h"

/* One member. Texts are borrowed from the group, or are static. */
struct group_view {
    const char *name;
    const char *address;
    const char *member_state;
    const char *link_state; /* Empty: this node itself, or a former member. */
    char link_error[CONTROL_TEXT_BYTES];
    /* Over the shards: sums, but for times, of which it is the longest. */
    struct core_peer_info sum;
};

void group_view_member(const struct group *g, uint8_t origin, struct group_view *out);

const char *group_view_state(uint8_t state); /* enum control_state */
const char *group_view_link(uint8_t state);  /* enum core_link_state */
/* Whether a peer takes what is written here: "ok" or "full". */
const char *group_view_peer_room(const struct core_peer_info *p);

/* Those who have neither left nor been unlinked. */
uint64_t group_view_members(const struct group *g);

/* Why a shard takes no writes; NULL: all do. */
const char *group_view_refusal(const struct group *g);

/* Why a shard takes nothing of what peers write, for want of room; NULL: all do. */
const char *group_view_full(const struct group *g);

/* The section of INFO; `g` may be NULL. */
void group_view_info(const struct group *g, struct buf *out);

#endif
