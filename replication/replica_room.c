/*
 * Room for what peers send, as an operator sees it.
 *
 * Whether something can be taken is asked each time that there is something (can_apply, the rows of
 * a copy), and a moment without room is everyday life: DRAM is being written back, a walk over the
 * directory is under way. It becomes a state, which is shown, logged and told to the peers, when
 * there was no room for a second; and it ends when there was room for a second.
 */
#include <errno.h>
#include <stdio.h>

#include "engine/base/log.h"

#include "replication/oplog.h"
#include "replication/replica_impl.h"

#define LASTS_MS 1000u
/* Between two pairs of lines in the log: at the edge of a budget room comes and goes. */
#define SAY_MS 10000u
/* A batch that was refused is tried again with each tick, as long as it waits. */
#define ASKED_MS 1000u

/* --- questions --- */

static const char *log_without_room(const struct replica *r, size_t len)
{
    struct oplog *log = r->options.log;

    if (oplog_fenced(log, NULL))
        return "a write of the op log failed: nothing is taken until a restart";
    /* If it is busy it will have room in a moment. */
    return oplog_can_append(log, len) == -ENOSPC ? "no space left on the device for the op log"
                                                 : NULL;
}

const char *replica_no_room(struct replica *r, enum replica_room what, size_t len)
{
    const struct replica_host *host = r->options.host;

    return host->no_room == NULL ? NULL : host->no_room(r->options.ctx, what, len);
}

const char *replica_no_room_for_batch(struct replica *r, size_t len)
{
    r->room.asked_ms = r->now_ms;
    r->room.asked_bytes = len;
    return replica_no_room(r, REPLICA_ROOM_BATCH, len);
}

const char *replica_full(const struct replica *r)
{
    return r->room.full ? r->room.why : NULL;
}

/* --- the state --- */

/* Why what comes next is not taken. */
static const char *find_why(struct replica *r)
{
    const struct room *room = &r->room;
    const struct take *t = &r->take;
    const bool waits = r->now_ms - room->asked_ms < ASKED_MS;
    const size_t len = waits ? room->asked_bytes : 0;
    const char *why = log_without_room(r, len);

    if (why != NULL)
        return why;
    const bool begins = t->aside_due && t->kept == NULL && core_resyncing(r->core);
    if (begins || core_resync_waits(r->core) != CORE_WAIT_NOT)
        return replica_no_room(r, REPLICA_ROOM_ASIDE, 0);
    if (t->copying)
        return replica_no_room(r, REPLICA_ROOM_ROWS, t->rows.len);
    return replica_no_room(r, REPLICA_ROOM_BATCH, len);
}

/* Batches that can be taken are, meanwhile. */
static const char exchange[] =
    "a member is to be unlinked that rows here have more of than anybody's log: they wait to be "
    "exchanged for those of a peer: ";

static void note_why(struct replica *r, const char *why)
{
    const bool exchanges = core_resync_waits(r->core) == CORE_WAIT_EXCHANGE;

    (void)snprintf(r->room.why, sizeof(r->room.why), "%s%s", exchanges ? exchange : "", why);
}

static void becomes_full(struct replica *r)
{
    struct room *room = &r->room;

    room->full = true;
    room->full_ms = r->now_ms;
    room->said = room->said_ms == 0 || r->now_ms - room->said_ms >= SAY_MS;
    if (!room->said)
        return;
    room->said_ms = r->now_ms;
    LOG_WARN("replica",
             "no room for what peers write: it is neither taken nor acknowledged, they keep it in "
             "their logs by oplog-retention-bytes and -time. Delete keys here, raise maxflash or "
             "maxmemory, or free the disk: it goes on by itself shard=%u why=\"%s\"",
             r->options.shard, room->why);
}

static void has_room_again(struct replica *r)
{
    struct room *room = &r->room;

    room->full = false;
    if (room->said)
        LOG_NOTICE("replica", "there is room again for what peers write shard=%u after_ms=%llu",
                   r->options.shard, (unsigned long long)(r->now_ms - room->full_ms));
}

void replica_room_tick(struct replica *r)
{
    struct room *room = &r->room;
    const char *why = find_why(r);

    if (why != NULL)
        note_why(r, why);
    if ((why != NULL) == room->full)
        room->other_ms = 0;
    else if (room->other_ms == 0)
        room->other_ms = r->now_ms;
    else if (r->now_ms - room->other_ms >= LASTS_MS) {
        room->other_ms = 0;
        if (why != NULL)
            becomes_full(r);
        else
            has_room_again(r);
    }
    if (room->full)
        core_set_room(r->core, CORE_ROOM_NONE);
    else if (why != NULL || replica_no_room(r, REPLICA_ROOM_ASIDE, 0) != NULL)
        core_set_room(r->core, CORE_ROOM_NO_COPY);
    else
        core_set_room(r->core, CORE_ROOM_OK);
}
