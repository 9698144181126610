/*
 * Messages of control (replication/group/control.h) between nodes, and those of digests
 * (replication/group/digest.h), which their first bytes tell from them.
 *
 * A node sends on links that it dials itself and receives on those that others dial, so that two
 * nodes have up to two. Links are made when there is something to send and end after a minute
 * without. What is sent while one is being made waits, a little; control repeats what matters.
 *
 * In the handshake a node says the address at which it is reached: where answers go. That needs no
 * further proof: who knows the secret of the group may say anything in its messages, too.
 *
 * Shard 0's thread.
 */
#ifndef TIERRA_SERVER_GROUP_TALK_H
#define TIERRA_SERVER_GROUP_TALK_H

#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct control;
struct group_digest;
struct group_talk;
struct link_guest;
struct link_hub;

/* All are borrowed and outlive it; `own`: where this node is reached. */
MUST_USE struct group_talk *group_talk_create(struct link_hub *hub, struct control *control,
                                              struct group_digest *digest, const char *own);
/* The hub has no links any more. NULL is allowed. */
void group_talk_destroy(struct group_talk *talk);

void group_talk_send(struct group_talk *talk, const char *address, struct bytes message);
void group_talk_accept(struct group_talk *talk, struct link_guest *take_guest);

/* Now and then. */
void group_talk_tick(struct group_talk *talk, uint64_t now_ms);

#endif
