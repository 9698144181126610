/*
 * Messages: who is told what is committed, and where each message goes that comes in.
 *
 * Every member says to every other, twice a second, which epoch it has; whoever has a later one
 * answers with it. That is all there is to a commit, and to catching up. The unlinked are told the
 * same way: by the membership that they are no longer in.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"

#include "replication/group/control_impl.h"

/* Each so many times the unlinked hear it too: all that they know may be gone. */
#define HELLOS_TO_ALL 8u

/* --- sending --- */

void control_msg_begin(const struct control *control, struct control_msg *msg, uint8_t kind)
{
    const struct membership *m = &control->stored.members;

    memset(msg, 0, sizeof(*msg));
    msg->kind = kind;
    msg->incarnation = control->stored.incarnation;
    msg->flush_epoch = control->told_flush; /* On disk: a crash must not take it back. */
    if (m->epoch == 0)
        return;
    memcpy(msg->group_id, m->group_id, MEMBERSHIP_ID_BYTES);
    msg->epoch = m->epoch;
    msg->sum = m->sum;
}

void control_send(struct control *control, const char *address, const struct control_msg *msg)
{
    /* Without memory it is as good as lost on the way. */
    if (control_msg_encode(msg, &control->out) == 0)
        control->host->send(control->ctx, address, buf_bytes(&control->out));
}

void control_send_value(struct control *control, const char *address)
{
    struct control_msg msg;

    control_msg_begin(control, &msg, CONTROL_VALUE);
    buf_clear(&control->file);
    if (membership_encode(&control->stored.members, &control->file) != 0)
        return;
    msg.value = buf_bytes(&control->file);
    control_send(control, address, &msg);
}

static void send_hello(struct control *control, const char *address)
{
    struct control_msg msg;

    control_msg_begin(control, &msg, CONTROL_HELLO);
    control_send(control, address, &msg);
}

void control_send_refuse(struct control *control, const char *address, uint8_t reason,
                         const char *text)
{
    struct control_msg msg;

    control_msg_begin(control, &msg, CONTROL_REFUSE);
    msg.reason = reason;
    control_text_cut(msg.text, text);
    control_send(control, address, &msg);
}

void control_gossip_tick(struct control *control)
{
    const struct membership *m = &control->stored.members;

    if (!control_is_live(control) || control->now_ms < control->hello_ms)
        return;
    control->hello_ms = control->now_ms + CONTROL_HELLO_MS;
    control_retire_tick(control);
    const bool all = control->hellos++ % HELLOS_TO_ALL == 0;
    for (uint8_t origin = 1; origin <= m->count; origin++) {
        const struct membership_member *member = &m->at[origin - 1];

        if (origin != control->self &&
            (membership_live(member) || (all && member->state == MEMBERSHIP_SEALED)))
            send_hello(control, member->address);
    }
}

/* --- receiving --- */

static const char forked_text[] =
    "the groups were forced apart: one of them has to be deleted and its members recreated";

static void note_fork(struct control *control, const char *from, uint8_t origin, bool answer)
{
    if (answer)
        control_send_refuse(control, from, CONTROL_WHY_FORKED, forked_text);
    if (origin == 0)
        return;
    struct control_peer_seen *seen = &control->peers[origin - 1];
    seen->forked_ms = control->now_ms;
    if (seen->forked)
        return;
    seen->forked = true;
    seen->since_ms = control->now_ms;
    memcpy(seen->error, forked_text, sizeof(forked_text));
    control_event(control, CONTROL_FORK_SEEN, CONTROL_WHY_FORKED, origin, 0);
}

static void on_value(struct control *control, const char *from, uint8_t origin,
                     const struct control_msg *msg)
{
    struct membership *got = &control->incoming;

    if (membership_decode(msg->value, got) != 0)
        return;
    if (control->stored.members.epoch == 0) {
        if (strcmp(got->nickname, control->nickname) == 0 && !control->holds_data &&
            membership_by_incarnation(got, control->stored.incarnation) != 0)
            control_adopt(control, got);
        return;
    }
    switch (membership_compare(&control->stored.members, got)) {
    case MEMBERSHIP_OLDER:
        control_adopt(control, got);
        break;
    case MEMBERSHIP_NEWER:
        control_send_value(control, from);
        break;
    case MEMBERSHIP_FORKED:
        note_fork(control, from, origin, true);
        break;
    case MEMBERSHIP_SAME:
    case MEMBERSHIP_OTHER:
    default:
        break;
    }
}

static void on_flush_epoch(struct control *control, uint64_t epoch)
{
    if (epoch <= control->stored.flush_epoch)
        return;
    control->stored.flush_epoch = epoch;
    control->flush_version = control_dirty(control);
}

static void on_agreement(struct control *control, uint8_t origin, const struct control_msg *msg)
{
    control->highest_round = u64_max(control->highest_round, msg->ballot.round);
    switch ((enum control_kind)msg->kind) {
    case CONTROL_PREPARE:
        control_on_prepare(control, origin, msg);
        break;
    case CONTROL_PROMISE:
        control_on_promise(control, origin, msg);
        break;
    case CONTROL_POSITIONS:
        control_on_positions(control, origin, msg);
        break;
    case CONTROL_ACCEPT:
        control_on_accept(control, origin, msg);
        break;
    case CONTROL_ACCEPTED:
        control_on_accepted(control, origin, msg);
        break;
    case CONTROL_REJECT:
        control_on_reject(control, msg);
        break;
    case CONTROL_HELLO:
    case CONTROL_VALUE:
    case CONTROL_JOIN:
    case CONTROL_REFUSE:
    case CONTROL_RETIRE:
    case CONTROL_KIND_END:
    default:
        break;
    }
}

/* The two have different memberships: whoever is behind is helped on. */
static void on_other_epoch(struct control *control, const char *from, uint8_t origin,
                           const struct control_msg *msg)
{
    const struct membership *m = &control->stored.members;

    if (msg->epoch < m->epoch)
        control_send_value(control, from);
    else if (msg->epoch > m->epoch)
        send_hello(control, from);
    else
        note_fork(control, from, origin, true);
}

/* We are fenced: whoever does not know even what we know is told that much. */
static void on_fenced_msg(struct control *control, const char *from, const struct control_msg *msg)
{
    const struct membership *m = &control->stored.members;

    if (memcmp(msg->group_id, m->group_id, MEMBERSHIP_ID_BYTES) == 0 && msg->epoch < m->epoch &&
        msg->kind != CONTROL_VALUE && msg->kind != CONTROL_REFUSE)
        control_send_value(control, from);
}

static void on_group_msg(struct control *control, const char *from, const struct control_msg *msg)
{
    const struct membership *m = &control->stored.members;
    const uint8_t origin = membership_by_incarnation(m, msg->incarnation);

    if (msg->kind == CONTROL_REFUSE) {
        if (msg->reason == CONTROL_WHY_FORKED && msg->sum != m->sum)
            note_fork(control, from, origin, false);
        return;
    }
    if (msg->epoch == 0) {
        /* It has no group; if it was let in, it does not know yet. */
        if (origin != 0 && membership_live(&m->at[origin - 1]))
            control_send_value(control, from);
        return;
    }
    if (memcmp(msg->group_id, m->group_id, MEMBERSHIP_ID_BYTES) != 0) {
        control_send_refuse(control, from, CONTROL_WHY_GROUP,
                            "belongs to another group: check linked-databases");
        return;
    }
    if (origin != 0)
        control->peers[origin - 1].heard_ms = control->now_ms; /* It is alive in any epoch. */
    if (msg->kind == CONTROL_VALUE) {
        on_value(control, from, origin, msg);
        return;
    }
    if (msg->epoch != m->epoch || msg->sum != m->sum) {
        on_other_epoch(control, from, origin, msg);
        return;
    }
    if (origin == 0 || !membership_live(&m->at[origin - 1]) || origin == control->self)
        return;
    on_flush_epoch(control, msg->flush_epoch);
    if (msg->kind == CONTROL_RETIRE)
        control_on_retire(control, origin);
    else if (!control->stored.retiring) /* What it had promised may be lost, too. */
        on_agreement(control, origin, msg);
}

void control_receive(struct control *control, const char *from, struct bytes bytes)
{
    struct control_msg msg;
    const int err = control_msg_decode(bytes, &msg);

    if (!control->started || !membership_address_valid(bytes_cstr(from)))
        return;
    if (err == -ERR_UNSUPPORTED) {
        char text[CONTROL_TEXT_BYTES];

        (void)snprintf(text, sizeof(text), "speaks protocol version %u: upgrade the older node",
                       CONTROL_PROTOCOL);
        control_send_refuse(control, from, CONTROL_WHY_VERSION, text);
    }
    if (err != 0 || msg.incarnation == control->stored.incarnation)
        return;
    if (msg.kind == CONTROL_JOIN) {
        control_on_join(control, from, &msg);
    } else if (control->stored.members.epoch == 0) {
        if (msg.kind == CONTROL_REFUSE)
            control_on_refuse(control, &msg);
        else if (msg.kind == CONTROL_VALUE)
            on_value(control, from, 0, &msg);
        else if (msg.epoch != 0)
            send_hello(control, from); /* We are a member that does not know it yet. */
    } else if (control_is_live(control)) {
        on_group_msg(control, from, &msg);
    } else {
        on_fenced_msg(control, from, &msg);
    }
    control_settle(control);
}
