/*
 * The end of a history: all who remain freeze it, say how far they have it, and take the rest up to
 * the highest of that, the seal. What a member has of it when it answers, all will have.
 *
 * So a member answers for its rows, too. Those of a copy may hold more of the donor than the vector
 * of its checkpoint says, and if the donor is the one that is to be sealed it may be the only one
 * who has that: a seal before it would leave here what nobody else can get, and has no effects.
 * Hence a member freezes only when it has by the logs what its rows may hold of that origin
 * (`newest`), and goes on taking it until then. With nobody else who remains, there is nobody to
 * differ from.
 *
 * If no log brings it, since the donor does not come back, these rows have to go: what they hold of
 * it beyond their vector is a part of batches that nobody has, and is lost with the donor, as
 * everything beyond the seal is. Another member that has all that this one has, by the logs, gives
 * it its rows instead (core_resync.c): nothing is lost with the old ones, as this member could not
 * write since it had them. If nobody has all of it, the history cannot end while this member is one
 * of those who remain.
 *
 * Whoever is only making a copy has nothing yet, and freezes at once. What it copies may reach
 * beyond what it vouches for: its giver waits for that, so that the seal is not before it. If the
 * giver does not live to say so, or its own rows are exchanged, the seal may come to lie before it
 * after all. A copy that is under way then begins anew; one that is complete is exchanged, as
 * above, and until then there are no writes: for ever, if nobody else is left. It could not delete
 * what its own vector does not cover.
 */
#include "engine/base/check.h"
#include "engine/base/num.h"

#include "replication/group/core_impl.h"

/*
 * How far rows that `peer` gives (NULL: one that is gone) may reach into a history: of one that was
 * ended, to its seal; UINT64_MAX: there is no bound. What may end is waited for with these rows as
 * with our own; but rows that take the place of those that hold too much must be vouched for by the
 * peer's logs.
 */
static uint64_t reach_of(const struct core *core, const struct peer *peer, const struct origin *o)
{
    const struct member *member = members_find(&core->members, o->origin);

    if (member != NULL && member->state == MEMBER_SEALED)
        return member->sealed_seq;
    if (peer != NULL && o->freezing && core->sync_in.anew)
        return posv_get(&peer->durable, o->origin).seq;
    return UINT64_MAX;
}

bool core_seal_allows(const struct core *core, const struct peer *peer, const struct posv *newest)
{
    for (unsigned i = 0; i < core->origins_count; i++) {
        const struct origin *o = &core->origins[i];

        if (posv_get(newest, o->origin).seq > reach_of(core, peer, o))
            return false;
    }
    return true;
}

/* What is being copied may reach beyond an end that is known only now. */
static void look_at_copy(struct core *core)
{
    const struct sync_in *in = &core->sync_in;

    if (in->wanted && in->has_vector &&
        !core_seal_allows(core, core_peer_find(core, in->donor), &in->newest))
        core_sync_overtaken(core);
}

/* What waits beyond the end goes, what was applied beyond it must not be. */
void core_seal(struct core *core, const struct member *member)
{
    struct origin *o = &core->origins[core_origin_find(core, member->origin)];

    o->frozen = o->freezing = false;
    o->stranded_ms = 0;
    if (member->state != MEMBER_SEALED)
        return;
    if (o->queued.seq > member->sealed_seq)
        core_queue_clear(o);
    if (o->applied.seq > member->sealed_seq && !core->forked) {
        core->forked = true;
        core_event(core, CORE_BEYOND_SEAL, NULL, o->applied.seq);
    }
    look_at_copy(core);
}

/* Rows hold what others may never get, and the log has not brought it yet. */
static bool must_wait(const struct core *core, const struct origin *o)
{
    return core->peers_count > 1 && posv_get(&core->newest, o->origin).seq > o->applied.seq;
}

static void freeze(struct core *core, unsigned index)
{
    struct origin *o = &core->origins[index];

    o->freezing = false;
    o->frozen = true;
    o->stranded_ms = 0;
    core_queue_clear(o);
    /* Rows hold of that member what we do not vouch for. */
    if (core_resyncing(core) || core->sync_in.donor == o->origin)
        core_sync_overtaken(core);
    for (unsigned i = 0; i < core->peers_count; i++)
        core->peers[i]->in[index].active = false; /* What still comes is thrown away. */
}

/* The member is there, or somebody else has more of it in his log, or it waits here. */
static bool may_come(const struct core *core, unsigned index)
{
    const struct origin *o = &core->origins[index];

    for (unsigned i = 0; i < core->peers_count; i++) {
        const struct peer *peer = core->peers[i];

        if (peer->state == CORE_LINK_UP &&
            ((peer->index == index && !peer->self_behind) ||
             (posv_get(&peer->durable, o->origin).seq > o->queued.seq &&
              posv_get(&peer->trimmed, o->origin).seq <= o->queued.seq)))
            return true;
    }
    return o->queued.seq > o->applied.seq;
}

bool core_seal_stranded(const struct core *core)
{
    for (unsigned i = 0; i < core->origins_count; i++) {
        const struct origin *o = &core->origins[i];

        if (o->stranded_ms != 0 && core->now.mono_ms - o->stranded_ms >= core->options.timeout_ms)
            return true;
    }
    return false;
}

/* Rows hold what lies beyond an end that all have agreed on: no log will ever bring it. */
static bool is_beyond(const struct core *core, const struct origin *o)
{
    const struct member *member = members_find(&core->members, o->origin);

    return member != NULL && member->state == MEMBER_SEALED &&
           posv_get(&core->newest, o->origin).seq > member->sealed_seq;
}

void core_seal_tick(struct core *core)
{
    for (unsigned i = 0; i < core->origins_count; i++) {
        struct origin *o = &core->origins[i];
        const bool beyond = is_beyond(core, o);

        if (o->freezing && !must_wait(core, o))
            freeze(core, i);
        else if (!beyond && (!o->freezing || may_come(core, i)))
            o->stranded_ms = 0;
        else if (o->stranded_ms == 0)
            o->stranded_ms = core->now.mono_ms;
    }
}

void core_freeze(struct core *core, uint8_t origin)
{
    const unsigned index = core_origin_get(core, origin);

    CHECK(index != ORIGIN_NONE);
    core->origins[index].freezing = true;
    core_seal_tick(core);
}

bool core_frozen(const struct core *core, uint8_t origin, struct pos *out)
{
    const unsigned index = core_origin_find(core, origin);

    if (index == ORIGIN_NONE || !core->origins[index].frozen ||
        core->origins[index].durable.seq != core->origins[index].applied.seq)
        return false;
    *out = core->origins[index].durable;
    return true;
}
