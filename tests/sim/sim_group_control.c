/*
 * Changes of membership, as agreements that every member keeps through crashes: a member is
 * unlinked by force, leaves, or one joins.
 */
#include "engine/base/check.h"

#include "tests/sim/sim_group.h"

void gs_set_members(struct gs *gs, struct gs_member *m)
{
    const bool alone = gs->joiner != gs->members_count && m->epoch == 1;
    struct members members = {.epoch = m->epoch,
                              .count = (uint8_t)(gs->members_count - (alone ? 1 : 0))};

    /* The joiner is the last one. */
    for (unsigned i = 0; i < members.count; i++) {
        members.at[i] =
            (struct member){.origin = GS_ORIGIN(i), .state = MEMBER_ACTIVE, .incarnation = 100 + i};
        if (m->epoch == 2 && i == gs->joiner)
            members.at[i].state = MEMBER_JOINING;
        if (m->epoch == 2 && i == gs->unlinked) {
            members.at[i].state = MEMBER_SEALED;
            members.at[i].sealed_seq = gs->sealed_seq;
        }
    }
    core_set_members(m->core, &members);
    if (m->frozen && m->epoch == 1)
        core_freeze(m->core, GS_ORIGIN(gs->unlinked));
}

/* One survivor freezes, and answers as soon as it can vouch for what it has. */
static void prepare(struct gs *gs, struct gs_member *m)
{
    struct pos pos;

    if (!m->frozen) {
        m->frozen = true;
        core_freeze(m->core, GS_ORIGIN(gs->unlinked));
    }
    if (m->answered || !core_frozen(m->core, GS_ORIGIN(gs->unlinked), &pos))
        return;
    m->answered = true;
    gs->sealed_seq = u64_max(gs->sealed_seq, pos.seq);
}

static void agree(struct gs *gs)
{
    unsigned answered = 0;

    for (unsigned i = 0; i < gs->members_count; i++)
        answered += gs->members[i].answered;
    if (answered < (gs->fault == GS_SEAL_OF_SOME ? 1 : gs->members_count - 1))
        return;
    gs->sealed = true;
    gs_trace(gs, "member %u is sealed at %llu", gs->unlinked, (unsigned long long)gs->sealed_seq);
    /* What it made beyond the seal was never made. */
    for (uint64_t seq = gs->sealed_seq + 1; seq <= SIM_BATCHES_MAX; seq++) {
        const unsigned index = gs->made[gs->unlinked][seq];

        if (index != 0)
            gs->lost[index - 1] = true;
    }
}

/* All know of the joiner, durably: what was made by now it must have before it may write. */
static bool is_counted(const struct gs *gs)
{
    for (unsigned i = 0; i < gs->members_count; i++) {
        if (gs->members[i].epoch == 1)
            return false;
    }
    return true;
}

static bool may_activate(const struct gs *gs)
{
    const struct gs_member *m = &gs->members[gs->joiner];

    if (!gs->counted || !m->up || m->lacks || m->epoch == 3)
        return gs->counted && m->epoch == 3;
    for (unsigned i = 0; i < gs->target; i++) {
        if (!gs->lost[i] && !vv_covers(core_applied_vv(m->core), gs->history.batches[i].tag))
            return false;
    }
    return true;
}

/* One member learns of the next step. */
static void learn(struct gs *gs, struct gs_member *m, bool activate)
{
    if (m->epoch == 1)
        m->epoch = 2;
    else if (activate && m->epoch == 2)
        m->epoch = 3;
    else
        return;
    if (m->index == gs->joiner)
        m->hlc = u64_max(m->hlc, core_promised_hlc(m->core));
    gs_set_members(gs, m);
}

static void join(struct gs *gs)
{
    const bool activate = may_activate(gs);

    for (unsigned i = 0; i < gs->members_count; i++) {
        struct gs_member *m = &gs->members[i];

        /* The joiner first: it must have what was made when it becomes active anywhere. */
        if (m->up && !m->paused && gs_chance(gs, 40) &&
            (i == gs->joiner || m->epoch == 1 || gs->members[gs->joiner].epoch == 3))
            learn(gs, m, activate);
    }
    if (!gs->counted && is_counted(gs)) {
        gs->counted = true;
        gs->target = gs->history.batches_count;
    }
}

/* It has been told to leave: when all have what it has, that is its end. */
static void leave(struct gs *gs)
{
    const struct gs_member *m = &gs->members[gs->unlinked];

    if (gs->sealed || !m->up || m->paused)
        return;
    if (!gs->leaving)
        gs_trace(gs, "member %u is to leave", m->index);
    gs->leaving = true;
    if (gs->fault != GS_LEAVE_EARLY && !core_drained(m->core))
        return;
    gs->sealed = true;
    gs->sealed_seq = m->seq;
    gs->left_flush = m->flush;
    gs_trace(gs, "member %u leaves at %llu", m->index, (unsigned long long)m->seq);
}

void gs_control(struct gs *gs)
{
    if (gs->joiner != gs->members_count && gs->now >= gs->join_at)
        join(gs);
    if (gs->unlinked == gs->members_count || gs->now < gs->unlink_at)
        return;
    if (gs->leaves)
        leave(gs);
    for (unsigned i = 0; i < gs->members_count; i++) {
        struct gs_member *m = &gs->members[i];

        if (i == gs->unlinked || !m->up || m->paused || gs_chance(gs, 60) ||
            (gs->leaves && !gs->sealed))
            continue;
        if (!gs->sealed) {
            prepare(gs, m);
        } else if (m->epoch == 1) {
            m->epoch = 2;
            gs_set_members(gs, m);
            core_flush(m->core, gs->left_flush);
        }
    }
    if (!gs->sealed)
        agree(gs);
}
