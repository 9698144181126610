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
 *     one that has begun, but not put rows aside, is given up when that lasts: what is here can be
 *         read, and emptied, again
 *
 * A moment without room does not end a resync: where DRAM is scarce there is always one between its
 * beginning and its first rows, and it would never come to them. The host waits with what it puts
 * aside for a moment with room itself. And one that was given up is more patient the next time, up
 * to a timeout of a link.
 */
#include "engine/base/num.h"

#include "replication/group/core_impl.h"

#define LASTS_MS 1000u

void core_set_room(struct core *core, enum core_room room)
{
    if (room == CORE_ROOM_OK)
        core->no_room_ms = 0;
    else if (core->no_room_ms == 0)
        core->no_room_ms = u64_max(core->now.mono_ms, 1);
    core->room = room;
}

void core_room_tick(struct core *core)
{
    const uint64_t lasts_ms =
        u64_min((uint64_t)LASTS_MS << core->sync_in.failed, core->options.timeout_ms);

    if (core->no_room_ms != 0 && core->now.mono_ms - core->no_room_ms >= lasts_ms)
        core_resync_put_off(core);
}

void core_room_heard(struct core *core, struct peer *peer, bool full)
{
    if (peer->full == full)
        return;
    peer->full = full;
    core_event(core, full ? CORE_PEER_FULL : CORE_PEER_ROOM, peer, 0);
}
