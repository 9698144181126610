/*
 * A member whose disk is not what its peers know: it takes a new incarnation.
 *
 * Two ways lead here. A member that came back upon an older copy of its directory learns that it
 * lacks what it had acknowledged, or that peers have other batches of it (core_return.c): it can
 * never go on as itself. It says so on disk (`retiring`), votes and proposes no more, and asks one
 * active member after the other to unlink it. Or a node without anything asks to be let in under
 * the name and the address of a member that has been silent for a while and has no link: who else
 * can be reached there? In both cases the one who is asked makes the wish of FORCE-UNLINK its own,
 * so that the old history ends as any other does: what only some received is exchanged, up to an
 * end that all survivors agree on.
 *
 * - No data is thrown away for the word of one peer. Only when the membership says that the old
 *   incarnation is over does the retiring node set its directory aside and begin as a new one
 *   (control_retired, the server).
 * - Of two that both are to retire neither helps the other: a group that was restored as a whole
 *   from copies of different days waits for its operator.
 * - In a group of two, one alone is no majority. It ends the other's history all the same, by
 *   force: whose vote is missing is the one who asks, and his incarnation decides nothing any more.
 *   In larger groups the operator has to help where no majority is left.
 */
#include <stdio.h>

#include "replication/group/control_impl.h"

/* A wish to unlink the old incarnation. False: it is not to be had from this node. */
static bool wish_its_end(struct control *control, uint8_t origin)
{
    const membership_set active = membership_active(&control->stored.members);
    const membership_set self = membership_bit(control->self);
    const membership_set set = control->want_unlink | membership_bit(origin);
    const bool pair = set == membership_bit(origin) && active == (self | set);

    if (control->stored.retiring || control->stored.leaving || control->draining ||
        (active & self) == 0)
        return false;
    if (set == control->want_unlink)
        return true;
    if (!pair && !control_majority_stays(control, set))
        return false;
    if (control->proposal.active && control->proposal.wish == CONTROL_WISH_UNLINK)
        control_propose_end(control, 0);
    control->want_unlink = set;
    control->want_force = pair;
    control_event(control, CONTROL_REPLACES, CONTROL_OK, origin, 0);
    return true;
}

void control_on_retire(struct control *control, uint8_t origin)
{
    (void)wish_its_end(control, origin); /* It asks again. */
}

bool control_replaces(struct control *control, const struct control_join *join, char *text)
{
    const struct membership *m = &control->stored.members;
    const uint8_t origin = membership_by_name(m, bytes_cstr(join->name));

    if (origin == 0 || origin == control->self || join->holds_data ||
        strcmp(m->at[origin - 1].address, join->address) != 0)
        return false;
    const struct control_peer_seen *seen = &control->peers[origin - 1];
    if (seen->up || control->now_ms - seen->since_ms < CONTROL_SILENT_MS ||
        control->now_ms - seen->heard_ms < CONTROL_SILENT_MS) {
        (void)snprintf(text, CONTROL_TEXT_BYTES,
                       "%s was a member until now: if this is it, without its data, it takes its "
                       "place when that one has been silent for %u s",
                       join->name, CONTROL_SILENT_MS / 1000);
        return true;
    }
    if (!wish_its_end(control, origin))
        return false;
    (void)snprintf(text, CONTROL_TEXT_BYTES,
                   "%s is being unlinked as the member that it was: then it is let in anew",
                   join->name);
    return true;
}

void control_retire_tick(struct control *control)
{
    const struct membership *m = &control->stored.members;
    struct control_msg msg;

    if (!control->stored.retiring || control->durable_version < control->retire_version)
        return;
    /* One after the other, lest they compete. */
    for (unsigned i = 1; i <= m->count; i++) {
        const uint8_t origin = (uint8_t)((control->retire_at + i - 1) % m->count + 1);

        if (origin == control->self || m->at[origin - 1].state != MEMBERSHIP_ACTIVE)
            continue;
        control->retire_at = origin;
        control_msg_begin(control, &msg, CONTROL_RETIRE);
        control_send(control, m->at[origin - 1].address, &msg);
        return;
    }
}

void control_retire(struct control *control)
{
    if (control->stored.retiring || !control_is_live(control))
        return;
    control->stored.retiring = true;
    control_propose_end(control, 0);
    control->want_unlink = 0;
    control->want_force = false;
    control->retire_version = control_dirty(control);
    control_settle(control);
}

uint64_t control_incarnation(const struct control *control)
{
    return control->stored.incarnation;
}

bool control_retired(const struct control *control)
{
    return control->stored.retiring && !control_is_live(control);
}
