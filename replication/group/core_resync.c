/*
 * Delta resync: a member that has rows and a history, but lacks batches that are in nobody's log
 * any more, since it was away for longer than they are kept.
 *
 * With V of what it has applied, it asks for all rows of a peer D, in pieces, as a new member does
 * (core_sync.c), whose checkpoint has everything up to the vector W, and puts them aside. Then both
 * are made one, row by row (row_reconcile.h of the value code: the absence rule). What only it has,
 * and W covers, was removed at D while it was away, and goes; what W does not cover are batches
 * that D has not seen yet, mostly its own, and stays. What only D has, and V covers, was removed
 * here. Afterwards it has everything up to the greater of V and W at each origin, which is closed
 * under causality as both are, and goes on with the logs from there. Its own batches that others
 * lack are in its log, or, if that was trimmed too, the others need its rows in the same way.
 *
 * What that stands on:
 *
 *     V is durable, and nothing is applied meanwhile: streams are stopped, clients may not write
 *     `stable` and LST count the member as long as it is one, as if its log were there. So floors,
 *         clear vectors and losing values that its batches might still need are where they were.
 *         What goes without a horizon, values and elements that a SET or DEL has seen, is what the
 *         absence rule is for
 *     D keeps its log from before its checkpoint on (peer.floor), until the member says that it has
 *         W, or until it is gone again for longer than the log is kept
 *     all rows are of one checkpoint, else it begins anew: each has everything up to W, and V has
 *         seen all that D has collected of it. With the lesser W of two checkpoints a part of what
 *         was collected would count as removed, and the rest of the same row as new to D
 *
 * When it begins: of some origin a peer has more than we, and no peer that is linked can give the
 * next batch from its log. It is put off a little, for a link that is about to come up; and as long
 * as there is no room for the rows of a peer beside ours, since nothing can be read once it has
 * begun.
 *
 * Two members may lack something of each other, when both wrote for long. Of two that ask each
 * other, or of more that ask in a circle, who has the higher origin number gives first: with the
 * lowest one among those who wait there is always one that is served. But who has put rows aside
 * already cannot put his wish off any more, and goes before all who have not: its giver may have
 * gone.
 *
 * Of two who both have put rows aside, each gives the other what it has kept: its own rows, which
 * are what they were when it began, with everything up to V, and which no one changes before all is
 * joined. So the giver of both may be gone for good. Where nobody is left who could give, the
 * member goes on with its own rows.
 *
 * When all is joined, what was kept goes, and whoever reads it would have to begin anew, with one
 * that may be as far itself: two would take the rows away from each other for ever. So from then on
 * nobody begins to read it, and those who do are let come to their end (core_sync_let_go).
 *
 * Rows that hold too much (core_seal.c) are not joined to those that come: nothing tells what is to
 * go. They are exchanged for those of a peer, of a checkpoint that has V, so that nothing is lost
 * with them, and that does not hold too much itself. The log stays: the own batches that others
 * lack are none by then. If none does for that, but the member that is to be unlinked is linked and
 * has the rest in its rows, its rows are joined as in any resync. Which of both ways comes to an
 * end is not known before: as long as a wish is of no avail, they are tried in turn. (A member that
 * kept to the exchange once waited for ever, as did the peer that it asked again and again, since
 * who gives does not begin a resync.)
 */
#include "engine/base/check.h"

#include "replication/group/core_impl.h"

/* What a member may have of an origin: nothing beyond its seal. */
static uint64_t last_seq(const struct core *core, const struct peer *peer, uint8_t origin)
{
    const struct member *member = members_find(&core->members, origin);
    const uint64_t seq = posv_get(&peer->durable, origin).seq;

    return member != NULL && member->state == MEMBER_SEALED ? u64_min(seq, member->sealed_seq)
                                                            : seq;
}

/* A linked peer has batches that we lack, and so has its log. */
static bool can_send(const struct core *core, const struct peer *peer, unsigned index)
{
    const struct origin *o = &core->origins[index];

    if (index == peer->index)
        return !peer->self_behind;
    return posv_get(&peer->trimmed, o->origin).seq <= o->queued.seq;
}

enum need {
    NEED_NOTHING,
    NEED_SOON, /* Whose batches they are says so itself. */
    NEED_LATER /* It is not linked; it may still have them. */
};

static enum need need_of(const struct core *core, unsigned index)
{
    const struct origin *o = &core->origins[index];
    enum need need = NEED_NOTHING;

    if (o->frozen)
        return NEED_NOTHING;
    for (unsigned i = 0; i < core->peers_count; i++) {
        const struct peer *peer = core->peers[i];

        if (peer->state != CORE_LINK_UP || last_seq(core, peer, o->origin) <= o->queued.seq)
            continue;
        if (can_send(core, peer, index))
            return NEED_NOTHING;
        if (need != NEED_SOON)
            need = peer->index == index ? NEED_SOON : NEED_LATER;
    }
    return need;
}

/* The peer has all that we have, and stays. */
static bool has_ours(const struct core *core, const struct peer *peer)
{
    struct posv applied;

    core_applied_posv(core, &applied);
    return !core->origins[peer->index].freezing && posv_leq(&applied, &peer->durable);
}

/* No more is known to be in its rows than in its log: else it waits as we do. */
bool core_resync_replaces(const struct core *core, const struct peer *peer,
                          const struct wire_sync_rows *rows)
{
    struct posv applied;

    core_applied_posv(core, &applied);
    return has_ours(core, peer) && posv_leq(&applied, &rows->at);
}

bool core_resync_helps(const struct core *core, const struct peer *peer)
{
    if (!core_sync_is_donor(core, peer))
        return false;
    if (core->sync_in.anew)
        return has_ours(core, peer);
    for (unsigned i = 0; i < core->origins_count; i++) {
        if (need_of(core, i) != NEED_NOTHING &&
            last_seq(core, peer, core->origins[i].origin) > core->origins[i].queued.seq)
            return true;
    }
    return false;
}

bool core_resync_is_alone(const struct core *core)
{
    for (unsigned i = 0; i < core->peers_count; i++) {
        const struct member *member = members_find(&core->members, core->peers[i]->origin);

        if (member != NULL && member->state == MEMBER_ACTIVE &&
            (!core->sync_in.anew || has_ours(core, core->peers[i])))
            return false;
    }
    return true;
}

static bool any_helps(const struct core *core)
{
    for (unsigned i = 0; i < core->peers_count; i++) {
        if (core_resync_helps(core, core->peers[i]))
            return true;
    }
    return false;
}

static void begin(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    core_event(core, CORE_RESYNC, NULL, in->anew);
    core_sync_close_all(core); /* Of what nobody has asked on for a while. */
    in->wanted = in->resync = true;
    in->entered = in->begun = in->has_vector = in->stale = in->lost = false;
    in->donor = 0;
    core_sync_first_range(core);
    posv_init(&in->newest);
    for (unsigned i = 0; i < core->origins_count; i++) {
        core_queue_clear(&core->origins[i]);
        for (unsigned j = 0; j < core->peers_count; j++)
            core->peers[j]->in[i].active = false; /* What still comes is thrown away. */
    }
}

/* Without room what is here can be read. */
static void begin_with_room(struct core *core)
{
    if (core->room == CORE_ROOM_OK && core->now.mono_ms >= core->sync_in.retry_ms)
        begin(core);
    else if (core->room != CORE_ROOM_OK)
        core->resync_wait = core->sync_in.anew ? CORE_WAIT_EXCHANGE : CORE_WAIT_RESYNC;
}

void core_resync_check(struct core *core)
{
    enum need need = NEED_NOTHING;

    core->resync_wait = CORE_WAIT_NOT;
    if (!core->options.resync || core->sync_in.wanted || core->sync_in.storing || core->forked ||
        core->went_back || core->self_state == MEMBER_SEALED || core->members.count == 0 ||
        core_sync_giving(core))
        return;
    core->sync_in.anew = core_seal_stranded(core);
    if (core->sync_in.anew && any_helps(core)) {
        begin_with_room(core);
        return;
    }
    core->sync_in.anew = false;
    for (unsigned i = 0; i < core->origins_count && need != NEED_SOON; i++) {
        const enum need more = need_of(core, i);

        need = more == NEED_NOTHING ? need : more;
    }
    if (need == NEED_NOTHING) {
        core->stuck_ms = 0;
        core->sync_in.failed = 0;
        return;
    }
    if (core->stuck_ms == 0)
        core->stuck_ms = core->now.mono_ms;
    if (core->now.mono_ms - core->stuck_ms >=
            (need == NEED_SOON ? core->options.relay_ms : core->options.timeout_ms) &&
        any_helps(core))
        begin_with_room(core);
}

void core_resync_turn(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    if (!in->wanted || !in->resync || in->entered)
        return;
    const bool anew = in->anew;
    in->anew = !anew && core_seal_stranded(core);
    if (in->anew != anew && any_helps(core))
        begin(core);
    else
        in->anew = anew;
}

enum core_wait core_resync_waits(const struct core *core)
{
    return core->resync_wait;
}

void core_resync_put_off(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    if (!in->wanted || !in->resync || in->entered)
        return;
    in->wanted = false;
    in->stale = in->storing; /* The host has not begun with it, and will not. */
    in->donor = 0;
    in->id++;
    core_sync_back_off(core);
}

bool core_resync_yield(struct core *core, const struct peer *asker, bool entered)
{
    const struct member *member = members_find(&core->members, asker->origin);
    const struct sync_in *in = &core->sync_in;

    if (!in->resync)
        return false;
    if (in->entered)
        return entered; /* What was kept is given. */
    if (!entered && asker->origin > core->options.origin && member != NULL &&
        member->state == MEMBER_ACTIVE)
        return false;
    core_resync_put_off(core);
    return true;
}

void core_resync_adopt(struct core *core, const struct posv *at)
{
    CHECK(core->durable_lsn == core->applied_lsn && core->syncs_count == 0);
    for (unsigned i = 0; i < at->count; i++) {
        const unsigned index = core_origin_get(core, at->origin[i]);

        CHECK(index != ORIGIN_NONE);
        struct origin *o = &core->origins[index];
        CHECK(list_empty(&o->queue));
        if (at->at[i].seq <= o->applied.seq)
            continue;
        o->applied = o->durable = o->queued = at->at[i];
        CHECK(vv_raise(&core->applied_vv, tag_of(at->at[i].hlc, o->origin)) == 0);
        /* These have not passed through the log: nobody can have them from it. */
        IGNORE_RESULT(posv_raise(&core->trimmed, o->origin, at->at[i]));
    }
    core->stuck_ms = 0;
    core->covered_lsn = core->applied_lsn;
    core_applied_posv(core, &core->covered);
    core_log_reset(core);
    if (core->own_lost && core->origins[core->self].applied.seq >= core->own_known) {
        core->own_lost = false;
        core_event(core, CORE_OWN_REGAINED, NULL, core->own_known);
    }
    core_event(core, CORE_RESYNCED, NULL, 0);
}
