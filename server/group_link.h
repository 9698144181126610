/*
 * The links of one shard to the same shard of its peers.
 *
 * Of two members the one with the higher origin number dials, so that there is one connection. A
 * link that ends is dialled again, after a pause (link_pause.h). A new connection of a peer takes
 * the place of an old one on which nothing was heard for a second: only this side does not know yet
 * that it is dead. One that lives is kept: the new one may be older, and have been held up.
 *
 * What each side says of itself in the handshake, and what must be right before a link comes up:
 *
 *     0   1  version of the frames (wire.h)
 *     1   1  origin
 *     2   2  shard
 *     4   4  zeros
 *     8   16 group id
 *     24  8  incarnation
 *     32  8  membership epoch: for the log; the core compares it in its greeting
 *
 * Owned by the shard's thread.
 */
#ifndef TIERRA_SERVER_GROUP_LINK_H
#define TIERRA_SERVER_GROUP_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"

#include "replication/link/link_pause.h"

struct group_shard;
struct link;
struct link_guest;

/* To one peer. Zero: none yet. */
struct group_link {
    struct link *link; /* NULL: there is none. */
    bool up;           /* The core has it. */
    bool told;         /* Control knows that it is up. */
    uint64_t dial_at_ms;
    struct link_pause pause;
};

void group_links_init(struct group_shard *gs);
/* The membership has changed: ends links to those who are no members any more. */
void group_links_members(struct group_shard *gs);
/* Dials what is to be dialled. */
void group_links_tick(struct group_shard *gs, uint64_t now_ms);
/* Sends what was queued: at the end of the turn. */
void group_links_flush(struct group_shard *gs);
/* To be called between turns until it says true. */
bool group_links_stop(struct group_shard *gs);
void group_links_destroy(struct group_shard *gs);

/* Somebody who wants a link with this shard. */
void group_links_accept(struct group_shard *gs, struct link_guest *take_guest);

/* Of the core; these call nothing back. */
void group_link_send(struct group_shard *gs, uint8_t origin, struct bytes frame);
void group_link_close(struct group_shard *gs, uint8_t origin, const char *why);
void group_link_greeted(struct group_shard *gs, uint8_t origin);

#endif
