/*
 * Room: a member whose disk or DRAM is full takes no batches, and says so.
 *
 * Nothing of what keeps the group sound is done here. can_apply refuses, what has come waits in its
 * queue, streams are stopped when that is full (core_in.c), nothing is acknowledged, and so the
 * others keep their logs, by their bounds, as for one that is away. It goes on when can_apply says
 * yes. What is here is what else follows:
 *
 *     peers are told with each heartbeat, so that they can say why their logs grow
 *     no resync begins: it would need room for all rows once more, and takes the reads away
 */
#include "replication/group/core_impl.h"

void core_set_room(struct core *core, enum core_room room)
{
    core->room = room;
    if (room != CORE_ROOM_OK)
        core_resync_put_off(core);
}

void core_room_heard(struct core *core, struct peer *peer, bool full)
{
    if (peer->full == full)
        return;
    peer->full = full;
    core_event(core, full ? CORE_PEER_FULL : CORE_PEER_ROOM, peer, 0);
}
