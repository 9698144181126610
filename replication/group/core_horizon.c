/*
 * What everybody has: acknowledgements and heartbeats, and what follows from them.
 *
 * An ACK of m counts for `stable` only when the store covers every batch that m had made by then
 * (as-of). Batches that m makes later have seen what it acknowledged; so a batch that comes from
 * now on has seen all that is stable, whoever made it. ACKs overtake batches, because batches wait
 * for credit and for the disk; hence the wait. That a batch is durable is not enough: from the
 * covered position on a crash replays the log, and a copy goes on, and both bring it once more,
 * upon rows of which more is collected by then. (An EXPIRE of what a DEL had removed, which its
 * maker had not seen, came back as a setting without its list: the clear vector had gone.) A few of
 * them wait at a time: the first, which is never put off, the last, and of those between the ones
 * that lie the furthest apart; so `stable` is behind the store by little more than that is behind
 * its peers.
 *
 * What is stable by that is given out only when all peers have acknowledged, too, what was applied
 * here when it became so: among that is every batch that had been made without it. Else a member
 * may still show what such a batch removes. (A string E had expired, and was stable. Beside it
 * another member had written a greater one, and removed that, before it heard of E. A third one
 * had both values, and not yet the DEL: it showed the greater one, and an INCR on that says nothing
 * of E. Here the DEL had come, so that E was what showed, and went; with the INCR the key came
 * back, without a deadline.)
 *
 * A heartbeat of m counts for LST when every batch up to its seq is durable here: what is replayed
 * then is in the row that expires, which is kept until all of it is stable, or was removed there by
 * what has seen it. The end of a sealed history counts as an ACK does.
 */
#include <string.h>

#include "engine/base/check.h"

#include "replication/group/core_impl.h"

/* No clock is there; the HLC that follows what peers promise must never run over. */
#define PROMISE_MS_MAX (UINT64_C(1) << 47)

static void settle(struct core *core, struct peer *peer)
{
    const uint64_t covered = posv_get(&core->covered, peer->origin).seq;
    const uint64_t seq = core->origins[peer->index].durable.seq;
    unsigned done = 0;

    while (done < peer->acks_count && peer->acks[done].as_of_seq <= covered)
        posv_copy(&peer->usable, &peer->acks[done++].durable);
    peer->acks_count -= done;
    memmove(peer->acks, peer->acks + done, peer->acks_count * sizeof(peer->acks[0]));
    done = 0;
    while (done < peer->heard_count && peer->heard[done].seq <= seq)
        peer->heard_hlc = u64_max(peer->heard_hlc, peer->heard[done++].hlc);
    peer->heard_count -= done;
    memmove(peer->heard, peer->heard + done, peer->heard_count * sizeof(peer->heard[0]));
}

/* Makes room for one: of those between the first and the last, where they lie closest. */
static void thin_acks(struct peer *peer)
{
    unsigned at = 1;

    for (unsigned i = 2; i + 1 < peer->acks_count; i++) {
        if (peer->acks[i + 1].as_of_seq - peer->acks[i - 1].as_of_seq <
            peer->acks[at + 1].as_of_seq - peer->acks[at - 1].as_of_seq)
            at = i;
    }
    peer->acks_count--;
    memmove(&peer->acks[at], &peer->acks[at + 1], (peer->acks_count - at) * sizeof(peer->acks[0]));
}

void core_on_ack(struct core *core, struct peer *peer, const struct wire_ack *ack)
{
    const struct pos own = posv_get(&ack->durable, core->options.origin);

    if (!posv_leq(&peer->durable, &ack->durable)) {
        core_park(core, peer, WIRE_WENT_BACK, core_what_it_lost(peer, &ack->durable));
        return;
    }
    if (own.seq != 0 && !core_note_own(core, peer, own)) {
        core_park(core, peer, WIRE_FORK, core->options.origin);
        return;
    }
    posv_copy(&peer->durable, &ack->durable);
    core_log_acked(core, peer);
    core_sync_acked(core, peer);
    if (peer->acks_count == ACKS_MAX)
        thin_acks(peer);
    struct ack *place = &peer->acks[peer->acks_count++];
    place->as_of_seq = ack->as_of_seq;
    posv_copy(&place->durable, &ack->durable);
    settle(core, peer);
}

void core_on_heartbeat(struct core *core, struct peer *peer, const struct wire_heartbeat *hb)
{
    const bool first = peer->echo_ms == 0;

    core_flush(core, hb->flush);
    peer->echo_ms = hb->sent_ms;
    peer->echo_at_ms = core->now.mono_ms;
    /* Nobody takes for heard what is ahead of his own clock: it is a clock gone wrong. */
    if (hlc_ms(hb->hlc) <= PROMISE_MS_MAX && !core_is_ahead(core, hb->hlc))
        peer->promised_hlc = u64_max(peer->promised_hlc, hb->hlc);
    core_clock_sample(core, peer, hb);
    core_room_heard(core, peer, hb->full);
    if (peer->heard_count == ACKS_MAX)
        peer->heard_count--;
    peer->heard[peer->heard_count++] = (struct heard){.seq = hb->seq, .hlc = hb->hlc};
    settle(core, peer);
    if (first)
        core_send_heartbeat(core, peer); /* Until then it knows nothing of our clock. */
}

void core_send_ack(struct core *core, struct peer *peer)
{
    struct wire_ack ack = {.as_of_seq = core->origins[core->self].applied.seq};

    if (peer->state != CORE_LINK_UP || !peer->ack_due ||
        core->now.mono_ms - peer->ack_sent_ms < core->options.ack_ms)
        return;
    core_durable_posv(core, &ack.durable);
    if (wire_put_ack(&core->frame, &ack) != 0)
        return;
    peer->ack_due = false;
    peer->ack_sent_ms = core->now.mono_ms;
    core_send(core, peer);
}

void core_send_heartbeat(struct core *core, struct peer *peer)
{
    const uint64_t now_ms = core->now.mono_ms;
    const struct wire_heartbeat hb = {.hlc = core->now.hlc,
                                      .seq = core->origins[core->self].applied.seq,
                                      .wall_ms = core->now.wall_ms,
                                      .sent_ms = now_ms,
                                      .echo_ms = peer->echo_ms,
                                      .held_ms = peer->echo_ms == 0 ? 0 : now_ms - peer->echo_at_ms,
                                      .flush = core->flush,
                                      .full = core->room == CORE_ROOM_NONE};

    peer->heartbeat_sent_ms = now_ms;
    if (wire_put_heartbeat(&core->frame, &hb) == 0)
        core_send(core, peer);
}

void core_position(const struct core *core, struct posv *out)
{
    core_applied_posv(core, out);
}

bool core_drained(const struct core *core)
{
    struct posv applied, durable;

    core_applied_posv(core, &applied);
    core_durable_posv(core, &durable);
    /* What was lost of ours is still to come, and others have it already. */
    bool all = !core->own_lost && posv_leq(&applied, &durable);
    for (unsigned i = 0; i < core->peers_count; i++)
        all = all && posv_leq(&applied, &core->peers[i]->durable);
    return all;
}

/* --- horizons --- */

/* All of a sealed origin's history is here, and will not come again. */
static bool is_complete(const struct core *core, const struct member *member)
{
    return posv_get(&core->covered, member->origin).seq >= member->sealed_seq;
}

/* What the peer has, when nothing that it made before can still arrive; it may be replayed. */
static const struct posv *acked_by(const struct core *core, const struct peer *peer)
{
    const uint64_t seq = core->origins[peer->index].durable.seq;
    const struct posv *acked = &peer->usable;

    for (unsigned i = 0; i < peer->acks_count && peer->acks[i].as_of_seq <= seq; i++)
        acked = &peer->acks[i].durable;
    return acked;
}

/*
 * Leaves of `stable` what was so at a moment of which all that had been applied here is
 * acknowledged by all peers by now: `acked` is what they all have. That need not wait for the
 * store: what is replayed was in the row, and what shows goes only when all of it is stable.
 */
static void firm_up(struct core *core, const struct vv *acked, struct vv *stable)
{
    struct firm *firm = &core->firm;

    /* Twice: in a quiet group what is stable now is firm at once. */
    for (unsigned i = 0; i < 2; i++) {
        if (firm->waits && !vv_leq(&firm->needs, acked))
            break;
        if (firm->waits)
            vv_copy(&firm->now, &firm->next);
        vv_copy(&firm->next, stable);
        vv_copy(&firm->needs, &core->applied_vv);
        firm->waits = true;
    }
    vv_meet(stable, &firm->now);
}

void core_horizons(struct core *core, struct core_horizons *out)
{
    struct posv durable;
    struct vv acked;
    struct vv vv;

    if (core->members.count == 0) {
        /* Who the others are is not known yet, and so not what they lack. */
        vv_init(&out->stable);
        out->lst = out->trim_lsn = 0;
        return;
    }
    core_durable_posv(core, &durable);
    posv_to_vv(&core->covered, &out->stable);
    posv_to_vv(&durable, &vv);
    vv_meet(&out->stable, &vv);
    out->lst = core->now.hlc;
    vv_copy(&acked, &core->applied_vv);
    for (unsigned i = 0; i < core->peers_count; i++) {
        struct peer *peer = core->peers[i];

        settle(core, peer);
        posv_to_vv(&peer->usable, &vv);
        vv_meet(&out->stable, &vv);
        posv_to_vv(acked_by(core, peer), &vv);
        vv_meet(&acked, &vv);
        out->lst = u64_min(out->lst, peer->heard_hlc);
    }
    for (unsigned i = 0; i < core->members.count; i++) {
        const struct member *member = &core->members.at[i];

        /* What is still to come of it may have seen nothing of what the others have. */
        if (member->state == MEMBER_SEALED && !is_complete(core, member)) {
            out->lst = 0;
            vv_init(&out->stable);
        }
    }
    firm_up(core, &acked, &out->stable);
    out->trim_lsn = core_log_trim(core);
}
