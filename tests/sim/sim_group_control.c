/*
 * Unlinking a member by force, as an agreement that every survivor keeps through crashes.
 */
#include "engine/base/check.h"

#include "tests/sim/sim_group.h"

void gs_set_members(struct gs *gs, struct gs_member *m)
{
    struct members members = {.epoch = m->epoch, .count = (uint8_t)gs->members_count};

    for (unsigned i = 0; i < gs->members_count; i++) {
        members.at[i] =
            (struct member){.origin = GS_ORIGIN(i), .state = MEMBER_ACTIVE, .incarnation = 100 + i};
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
    for (unsigned i = 0; i < gs->members_count; i++) {
        if (i != gs->unlinked && !gs->members[i].answered)
            return;
    }
    gs->sealed = true;
    gs_trace(gs, "member %u is sealed at %llu", gs->unlinked, (unsigned long long)gs->sealed_seq);
    /* What it made beyond the seal was never made. */
    for (uint64_t seq = gs->sealed_seq + 1; seq <= SIM_BATCHES_MAX; seq++) {
        const unsigned index = gs->made[gs->unlinked][seq];

        if (index != 0)
            gs->lost[index - 1] = true;
    }
}

void gs_control(struct gs *gs)
{
    if (gs->unlinked == gs->members_count || gs->now < gs->unlink_at)
        return;
    for (unsigned i = 0; i < gs->members_count; i++) {
        struct gs_member *m = &gs->members[i];

        if (i == gs->unlinked || !m->up || m->paused || gs_chance(gs, 60))
            continue;
        if (!gs->sealed) {
            prepare(gs, m);
        } else if (m->epoch == 1) {
            m->epoch = 2;
            gs_set_members(gs, m);
        }
    }
    if (!gs->sealed)
        agree(gs);
}
