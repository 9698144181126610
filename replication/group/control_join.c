/*
 * Founding, asking to be let in, and judging who asks.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"

#include "replication/group/control_impl.h"

/* --- the one who asks --- */

static void refuse_self(struct control *control, uint8_t reason, const char *text)
{
    control_text_cut(control->refused_text, text);
    if (control->refused == reason)
        return;
    control->refused = reason; /* First: the host asks for the status. */
    control_event(control, CONTROL_REFUSED, reason, 0, 0);
}

static void found(struct control *control)
{
    struct membership *m = &control->draft;
    const struct control_entry *own = &control->linked[control->own];
    uint8_t group_id[MEMBERSHIP_ID_BYTES];

    rng_bytes(&control->rng, group_id, sizeof(group_id));
    membership_found(m, group_id, rng_u64(&control->rng), bytes_cstr(control->nickname),
                     &control->config);
    CHECK(membership_add(m, control->stored.incarnation, bytes_cstr(own->name),
                         bytes_cstr(own->address), MEMBERSHIP_ACTIVE) == 1);
    buf_clear(&control->file);
    CHECK(membership_encode(m, &control->file) == 0);
    control_adopt(control, m);
}

static void ask(struct control *control, unsigned at)
{
    const struct control_entry *own = &control->linked[control->own];
    struct control_msg msg;

    if (at == control->own)
        return;
    control_msg_begin(control, &msg, CONTROL_JOIN);
    msg.join.holds_data = control->holds_data;
    memcpy(msg.join.nickname, control->nickname, sizeof(msg.join.nickname));
    memcpy(msg.join.name, own->name, sizeof(msg.join.name));
    memcpy(msg.join.address, own->address, sizeof(msg.join.address));
    msg.join.config = control->config;
    control_send(control, control->linked[at].address, &msg);
}

/* The founder asks all others whether there is a group; the rest ask one after the other. */
void control_seek_tick(struct control *control)
{
    if (control->stored.members.epoch != 0)
        return;
    if (control->holds_data) {
        refuse_self(control, CONTROL_WHY_NOT_EMPTY,
                    "this node holds data or has run standalone: only an empty, new node can found "
                    "a group or join one");
        return;
    }
    /* An incarnation that a crash takes back must not have been seen by anybody. */
    if (control->durable_version == 0 || control->now_ms < control->seek_next_ms)
        return;
    const bool hard = control->refused != CONTROL_OK && control->refused != CONTROL_WHY_NO_GROUP &&
                      control->refused != CONTROL_WHY_REPLACED;
    control->seek_next_ms = control->now_ms + (hard ? 5 : 1) * CONTROL_JOIN_MS;
    if (control->own != 0 || control->group_seen) {
        control->seek_at = (control->seek_at + 1) % control->linked_count;
        if (control->seek_at == control->own)
            control->seek_at = (control->seek_at + 1) % control->linked_count;
        ask(control, control->seek_at);
        return;
    }
    if (control->linked_count == 1 ||
        control->now_ms - control->seek_started_ms >= CONTROL_FOUND_MS) {
        found(control);
        return;
    }
    for (unsigned i = 0; i < control->linked_count; i++)
        ask(control, i);
}

void control_on_refuse(struct control *control, const struct control_msg *msg)
{
    if (control->stored.members.epoch != 0)
        return;
    if (msg->reason != CONTROL_WHY_NO_GROUP && msg->reason != CONTROL_WHY_VERSION)
        control->group_seen = true;
    /* What a member of the group says is not overwritten by one that has none. */
    if (msg->reason == CONTROL_WHY_NO_GROUP && control->refused != CONTROL_OK)
        return;
    refuse_self(control, msg->reason, msg->text);
}

/* --- the one who is asked --- */

static bool address_used(const struct membership *m, const char *address)
{
    for (unsigned i = 0; i < m->count; i++) {
        if (membership_live(&m->at[i]) && strcmp(m->at[i].address, address) == 0)
            return true;
    }
    return false;
}

uint8_t control_judge_join(struct control *control, uint64_t incarnation,
                           const struct control_join *join, char *text)
{
    const struct membership *m = &control->stored.members;
    const uint8_t known = membership_by_incarnation(m, incarnation);
    struct buf diff;

    if (strcmp(join->nickname, m->nickname) != 0) {
        (void)snprintf(text, CONTROL_TEXT_BYTES,
                       "this is group %s, not %s: check group-nickname and linked-databases",
                       m->nickname, join->nickname);
        return CONTROL_WHY_GROUP;
    }
    if (known != 0) {
        (void)snprintf(text, CONTROL_TEXT_BYTES,
                       "%s %s: it must be deleted and recreated to join again", join->name,
                       m->at[known - 1].state == MEMBERSHIP_LEFT ? "has left the group"
                                                                 : "was unlinked");
        return CONTROL_WHY_UNLINKED;
    }
    if (join->holds_data) {
        (void)snprintf(text, CONTROL_TEXT_BYTES,
                       "%s holds data or has run standalone: only an empty, new node can join",
                       join->name);
        return CONTROL_WHY_NOT_EMPTY;
    }
    buf_init(&diff, CONTROL_TEXT_BYTES - 1);
    const bool differs = membership_config_diff(&join->config, &m->config, &diff);
    if (differs && diff.len != 0)
        (void)snprintf(text, CONTROL_TEXT_BYTES, "%.*s", (int)diff.len, (const char *)diff.ptr);
    else if (differs)
        (void)snprintf(text, CONTROL_TEXT_BYTES, "the configuration differs");
    buf_deinit(&diff);
    if (differs)
        return CONTROL_WHY_CONFIG;
    if (control_replaces(control, join, text))
        return CONTROL_WHY_REPLACED;
    if (membership_by_name(m, bytes_cstr(join->name)) != 0 || address_used(m, join->address)) {
        (void)snprintf(
            text, CONTROL_TEXT_BYTES,
            "the name %s or the address %s is in use by another member: choose another, or "
            "unlink that member first",
            join->name, join->address);
        return CONTROL_WHY_NAME;
    }
    if (membership_set_count(membership_live_set(m)) == MEMBERS_MAX) {
        (void)snprintf(text, CONTROL_TEXT_BYTES,
                       "the group has %d members, no more are possible: unlink one first",
                       MEMBERS_MAX);
        return CONTROL_WHY_FULL;
    }
    if (m->count == MEMBERSHIP_EVER_MAX) {
        (void)snprintf(text, CONTROL_TEXT_BYTES,
                       "the group had %d members over time, no more are possible: make a new group",
                       MEMBERSHIP_EVER_MAX);
        return CONTROL_WHY_FULL;
    }
    return CONTROL_OK;
}

static void queue(struct control *control, const struct control_msg *msg)
{
    unsigned at = CONTROL_JOINS_MAX;

    for (unsigned i = 0; i < CONTROL_JOINS_MAX; i++) {
        if (control->joins_incarnation[i] == msg->incarnation)
            return;
        if (control->joins_incarnation[i] == 0)
            at = i;
    }
    if (at == CONTROL_JOINS_MAX)
        return; /* It asks again. */
    control->joins_incarnation[at] = msg->incarnation;
    control->joins[at] = msg->join;
}

void control_on_join(struct control *control, const char *from, const struct control_msg *msg)
{
    static const uint8_t no_group[MEMBERSHIP_ID_BYTES];
    const struct membership *m = &control->stored.members;
    char text[CONTROL_TEXT_BYTES];

    if (m->epoch == 0) {
        control_send_refuse(control, from, CONTROL_WHY_NO_GROUP, "has no group yet");
        return;
    }
    if (memcmp(msg->group_id, no_group, sizeof(no_group)) != 0) {
        control_send_refuse(control, from, CONTROL_WHY_GROUP,
                            "belongs to another group: check linked-databases");
        return;
    }
    if (!control_is_live(control)) {
        control_send_refuse(control, from, CONTROL_WHY_FENCED,
                            "was unlinked from the group itself: ask another member");
        return;
    }
    const uint8_t known = membership_by_incarnation(m, msg->incarnation);
    if (known != 0 && membership_live(&m->at[known - 1])) {
        control_send_value(control, from); /* It has been let in already. */
        return;
    }
    const uint8_t reason = control_judge_join(control, msg->incarnation, &msg->join, text);
    if (reason != CONTROL_OK)
        control_send_refuse(control, from, reason, text);
    else
        queue(control, msg);
}
