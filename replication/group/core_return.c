/*
 * Coming back: a start upon a directory with a history may be one upon an older copy of it.
 *
 * What such a copy lacks of its own batches, peers have: if it wrote before it knew, it would give
 * their numbers and tags a second time, and what it had acknowledged would be refused by all. So no
 * write is allowed after a start until every peer has greeted, and thereby said how many of our
 * batches it has, and gone on after our greeting; or until those that can be reached had `ask_ms`
 * to do so: a member whose peers are all away goes on after that, as it must. What is known to be
 * lost is fetched (own_lost). One that has no batch yet waits for what they promise, too: it may
 * have restarted between that and its first batch, which must come after it.
 *
 * A peer knows even more: what we had acknowledged to it. If that is beyond what we have, floors
 * and clear vectors that we have not seen may be gone everywhere (`stable` was made of that
 * acknowledgement), and going on as the same member could diverge. Then the peer refuses us with
 * WIRE_WENT_BACK, and this incarnation is over.
 *
 * Peers restart as well, and all of them may have done so before we return. So each keeps what the
 * others have acknowledged (core_acked) with its rows: in the same batch of the store, at the
 * latest, as what it collects on the strength of it. A peer that has lost what it knew of us in a
 * crash has lost with it what it had collected, and its rows and log are what they were before: to
 * it we are a member that was away, whose writes count as made beside all that it missed.
 *
 * And whoever takes the rows of another (a copy, a resync) takes with them what that one has
 * collected. So they come with what it knows of acknowledgements, as of their end, and both are
 * kept by the same write. An ACK that was sent earlier than what the giver had heard may still be
 * on its way to us: what was vouched for is held against greetings only, and a link on which less
 * has been said ends, for a greeting that was sent afterwards.
 *
 * That ends writes and leads to data set aside, so a peer's word alone does not do: it must have
 * greeted on this link as the member that it is; say which batch of which origin we had
 * acknowledged, which we do not have durably; and not have gone on after a greeting of ours since
 * our start, for what is durable here never goes back while we run. Else the link ends, no more.
 */
#include "engine/base/check.h"
#include "engine/base/num.h"

#include "replication/group/core_impl.h"

bool core_has_begun(const struct core *core)
{
    return core->origins[core->self].applied.seq != 0;
}

/* Who has not begun yet needs to know from when on it may (core_promised_hlc). */
static unsigned unmet(const struct core *core)
{
    const bool begun = core_has_begun(core);
    unsigned count = 0;

    for (unsigned i = 0; i < core->peers_count; i++) {
        const struct peer *peer = core->peers[i];

        count += peer->met && (begun || peer->promised_hlc != 0) ? 0 : 1;
    }
    return count;
}

void core_return_tick(struct core *core)
{
    if (!core->asking || core->members.count == 0)
        return;
    if (core->asked_ms == 0)
        core->asked_ms = u64_max(core->now.mono_ms, 1);
    const unsigned missing = unmet(core);
    if (missing != 0 && core->now.mono_ms - core->asked_ms < core->options.ask_ms)
        return;
    core->asking = false;
    core_event(core, CORE_ASKED, NULL, missing);
}

void core_forked(struct core *core, const struct peer *peer)
{
    if (core->forked)
        return;
    core->forked = true;
    core_event(core, CORE_FORKED, peer, 0);
}

void core_went_back(struct core *core, const struct peer *peer, uint64_t detail)
{
    const unsigned index = core_origin_find(core, wire_lost_origin(detail));

    if (core->went_back || peer->took || index == ORIGIN_NONE ||
        wire_lost_seq(detail) <= core->origins[index].durable.seq)
        return;
    core->went_back = true;
    core_event(core, CORE_WENT_BACK, peer, detail);
}

void core_return_peer(const struct core *core, struct peer *peer)
{
    const struct core_acked *acked = &core->options.acked;

    for (unsigned i = 0; i < acked->count; i++) {
        if (acked->origin[i] == peer->origin)
            posv_copy(&peer->durable, &acked->durable[i]);
    }
}

/* The end of a range that is not the last says nothing. */
void core_return_vouched(struct core *core, const struct core_acked *acked)
{
    for (unsigned i = 0; i < acked->count; i++) {
        struct peer *peer = core_peer_find(core, acked->origin[i]);
        const struct posv *durable = &acked->durable[i];

        if (peer == NULL)
            continue; /* This member itself: who has gone back is told so with the greeting. */
        for (unsigned j = 0; j < durable->count; j++)
            CHECK(posv_raise(&peer->vouched, durable->origin[j], durable->at[j]) == 0);
        if ((peer->state == CORE_LINK_UP || peer->state == CORE_LINK_GREETING) &&
            !posv_leq(&peer->vouched, &peer->durable))
            core_park(core, peer, WIRE_CLOSED, 0);
    }
}

bool core_return_has_all(const struct peer *peer, const struct posv *durable)
{
    return posv_leq(&peer->durable, durable) && posv_leq(&peer->vouched, durable);
}

static void add_acked(struct core_acked *out, const struct peer *peer)
{
    unsigned at = out->count++;

    for (; at > 0 && out->origin[at - 1] > peer->origin; at--) {
        out->origin[at] = out->origin[at - 1];
        posv_copy(&out->durable[at], &out->durable[at - 1]);
    }
    out->origin[at] = peer->origin;
    posv_copy(&out->durable[at], &peer->durable);
    for (unsigned i = 0; i < peer->vouched.count; i++)
        IGNORE_RESULT(posv_raise(&out->durable[at], peer->vouched.origin[i], peer->vouched.at[i]));
}

void core_acked(const struct core *core, struct core_acked *out)
{
    if (core->members.count == 0) {
        *out = core->options.acked; /* Who of them is still a member is not known yet. */
        return;
    }
    out->count = 0;
    for (unsigned i = 0; i < core->peers_count; i++) {
        if (core->peers[i]->durable.count != 0 || core->peers[i]->vouched.count != 0)
            add_acked(out, core->peers[i]);
    }
}

uint64_t core_what_it_lost(const struct peer *peer, const struct posv *durable)
{
    const struct posv *known = posv_leq(&peer->durable, durable) ? &peer->vouched : &peer->durable;
    uint8_t origin = peer->origin; /* Its own, if it lost of several. */

    for (unsigned i = 0; i < known->count; i++) {
        if (posv_get(known, origin).seq > posv_get(durable, origin).seq)
            break;
        origin = known->origin[i];
    }
    return wire_lost(origin, posv_get(known, origin).seq);
}
