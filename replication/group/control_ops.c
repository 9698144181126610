/*
 * Commands of the operator, and what is shown to him.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"

#include "replication/group/control_impl.h"

/* The text is for a reply: if it does not fit, it is cut. */
#define SAY(text, ...) IGNORE_RESULT(buf_printf((text), __VA_ARGS__))

static int refuse_unless_live(const struct control *control, struct buf *text)
{
    if (control_is_live(control) && control->stored.retiring) {
        SAY(text, "this member has an older copy of its data and is about to begin anew");
        return -ERR_REFUSED;
    }
    if (control_is_live(control))
        return 0;
    SAY(text, "this node is not a member of a group%s",
        control->self == 0 ? "" : " any more: it must be deleted and recreated");
    return -ERR_REFUSED;
}

int control_force_unlink(struct control *control, const struct bytes *names, unsigned count,
                         bool force, struct buf *text)
{
    const struct membership *m = &control->stored.members;
    membership_set set = control->want_unlink;

    if (refuse_unless_live(control, text) != 0)
        return -ERR_REFUSED;
    for (unsigned i = 0; i < count; i++) {
        const uint8_t origin = membership_by_name(m, names[i]);

        if (origin == 0) {
            SAY(text, "no member is named %.*s", (int)size_min(names[i].len, MEMBER_NAME_BYTES),
                (const char *)names[i].ptr);
            return -ERR_NOT_FOUND;
        }
        if (origin == control->self) {
            SAY(text, "a member cannot unlink itself: use LEAVE");
            return -ERR_REFUSED;
        }
        set |= membership_bit(origin);
    }
    if ((membership_active(m) & ~set) == 0) {
        SAY(text, "no active member would stay: name fewer");
        return -ERR_REFUSED;
    }
    /* What was said of others, or of fewer, does not count. */
    const bool forced = force || (control->want_force && set == control->want_unlink);
    if (!control_majority_stays(control, set) && !forced) {
        SAY(text, "those who stay are not the majority of the group. If the others run on as a "
                  "group of their own, the two can never be put together again: repeat with FORCE "
                  "only if they are gone");
        return -ERR_REFUSED;
    }
    if (set != control->want_unlink && control->proposal.active &&
        control->proposal.wish == CONTROL_WISH_UNLINK)
        control_propose_end(control, 0);
    control->want_unlink = set;
    control->want_force = forced;
    control_settle(control);
    return 0;
}

int control_leave(struct control *control, struct buf *text)
{
    if (refuse_unless_live(control, text) != 0)
        return -ERR_REFUSED;
    if (membership_active(&control->stored.members) == membership_bit(control->self)) {
        SAY(text, "the last active member cannot leave: delete the node");
        return -ERR_REFUSED;
    }
    if (control->told.epoch == 0) {
        SAY(text, "this node is about to become a member: try again");
        return -ERR_REFUSED;
    }
    if (!control->draining) {
        control->draining = true;
        control->host->drain(control->ctx);
    }
    control_settle(control);
    return 0;
}

int control_flush(struct control *control, bool confirmed, struct buf *text)
{
    if (refuse_unless_live(control, text) != 0)
        return -ERR_REFUSED;
    if (!confirmed) {
        SAY(text, "this empties every member of the group: confirm it");
        return -ERR_REFUSED;
    }
    if (control->stored.flush_epoch >= MEMBERSHIP_FLUSH_MAX) {
        SAY(text, "all flush epochs are used up: the group cannot be emptied any more, make a new "
                  "one");
        return -ERR_REFUSED;
    }
    control->stored.flush_epoch++;
    control->flush_version = control_dirty(control);
    control_settle(control);
    return 0;
}

/* --- what is shown --- */

static uint8_t state_of(const struct control *control)
{
    const struct membership *m = &control->stored.members;

    if (m->epoch == 0)
        return control->started ? CONTROL_SEEKING : CONTROL_STARTING;
    if (control->self == 0)
        return CONTROL_UNLINKED;
    if (control->stored.retiring && control_is_live(control))
        return CONTROL_RETIRING;
    switch ((enum membership_state)m->at[control->self - 1].state) {
    case MEMBERSHIP_LEFT:
        return CONTROL_LEFT;
    case MEMBERSHIP_JOINING:
        return control->draining ? CONTROL_LEAVING : CONTROL_JOINING;
    case MEMBERSHIP_ACTIVE:
        if (control->draining)
            return CONTROL_LEAVING;
        return control->told.sum == m->sum ? CONTROL_ACTIVE : CONTROL_STARTING;
    case MEMBERSHIP_NONE:
    case MEMBERSHIP_SEALED:
    default:
        return CONTROL_UNLINKED;
    }
}

static void waits_text(const struct control *control, char *out)
{
    const struct membership *m = &control->stored.members;
    struct buf text;

    out[0] = '\0';
    if (control->waits_for == 0)
        return;
    buf_init(&text, CONTROL_TEXT_BYTES - 1);
    SAY(&text, "waits for");
    for (uint8_t origin = 1; origin <= m->count; origin++) {
        if ((control->waits_for & membership_bit(origin)) != 0)
            SAY(&text, " %s", m->at[origin - 1].name);
    }
    if (control->waits_positions)
        SAY(&text, ": it may have writes that no other has, and its STATUS says what it "
                   "waits for; it can be unlinked as well");
    else
        SAY(&text, ": not enough members answer");
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    buf_deinit(&text);
}

static bool is_apart(const struct control *control, uint8_t origin)
{
    const struct control_peer_seen *seen = &control->peers[origin - 1];

    return seen->forked && control->now_ms - seen->forked_ms < CONTROL_APART_MS;
}

/* Who has a group of his own, though he was a member of this one. */
static void apart_of(const struct control *control, struct control_status *out)
{
    const struct membership *m = &control->stored.members;
    struct buf text;

    if (!control_is_live(control))
        return; /* This node goes on in neither. */
    for (uint8_t origin = 1; origin <= m->count; origin++) {
        if (is_apart(control, origin))
            out->apart |= membership_bit(origin);
    }
    if (out->apart == 0)
        return;
    buf_init(&text, CONTROL_TEXT_BYTES - 1);
    SAY(&text, "the group was forced apart, and there is another one with");
    for (uint8_t origin = 1; origin <= m->count; origin++) {
        if ((out->apart & membership_bit(origin)) != 0)
            SAY(&text, " %s", m->at[origin - 1].name);
    }
    SAY(&text, ": the two never exchange anything again; the data directories of one of them must "
               "be deleted, then its members can join the other anew");
    memcpy(out->apart_text, text.ptr, text.len);
    buf_deinit(&text);
}

void control_status(const struct control *control, struct control_status *out)
{
    const struct membership *m = &control->stored.members;

    *out = (struct control_status){.state = state_of(control),
                                   .origin = control->self,
                                   .epoch = m->epoch,
                                   .flush_epoch = control->stored.flush_epoch,
                                   .refused = control->refused,
                                   .waits_for = control->waits_for};
    if (m->epoch != 0)
        out->lineage = membership_lineage(m);
    out->unlinking = control->stored.slots[CONTROL_ORDINARY].unlink |
                     control->stored.slots[CONTROL_BY_FORCE].unlink | control->want_unlink;
    if (control->refused != CONTROL_OK)
        memcpy(out->refused_text, control->refused_text, sizeof(out->refused_text));
    waits_text(control, out->waits_text);
    apart_of(control, out);
}

const char *control_link_state_str(uint8_t state)
{
    static const char *const names[] = {
        [CONTROL_LINKED] = "Linked",
        [CONTROL_LINKING] = "Linking",
        [CONTROL_LINK_FAILED] = "LinkFailed",
        [CONTROL_UNLINKING] = "Unlinking",
        [CONTROL_UNLINK_FAILED] = "UnlinkFailed",
    };

    return state < ARRAY_COUNT(names) ? names[state] : "?";
}

bool control_peer(const struct control *control, uint8_t origin, struct control_peer *out)
{
    const struct membership_member *member = membership_find(&control->stored.members, origin);
    const membership_set unlinking = control->stored.slots[CONTROL_ORDINARY].unlink |
                                     control->stored.slots[CONTROL_BY_FORCE].unlink |
                                     control->want_unlink;

    if (member == NULL || !membership_live(member) || origin == control->self)
        return false;
    const struct control_peer_seen *seen = &control->peers[origin - 1];
    const uint64_t for_ms = control->now_ms - seen->since_ms;
    out->since_ms = seen->since_ms;
    memcpy(out->error, seen->error, sizeof(out->error));
    if ((unlinking & membership_bit(origin)) != 0) {
        out->since_ms = control->unlinking_since_ms;
        out->state = CONTROL_UNLINKING;
        if (control->waits_for != 0 &&
            control->now_ms - control->unlinking_since_ms >= CONTROL_LINK_FAIL_MS) {
            out->state = CONTROL_UNLINK_FAILED;
            waits_text(control, out->error);
        }
    } else if (seen->forked) {
        out->state = CONTROL_LINK_FAILED;
    } else if (seen->up) {
        out->state = CONTROL_LINKED;
    } else {
        /* A new member is given the time that a full copy takes to begin. */
        out->state = for_ms >= CONTROL_LINK_FAIL_MS ? CONTROL_LINK_FAILED : CONTROL_LINKING;
    }
    return true;
}
