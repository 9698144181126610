/*
 * The acceptor: what is promised and accepted, and answered once it is on disk.
 *
 * Positions are an answer of their own, as they take longer: the cores have to stop and what they
 * took has to become durable. Until the epoch is over nothing more is taken of that origin, also
 * after a crash, so that an answer stays true whoever makes use of it.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/codec.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "replication/group/control_impl.h"

void control_accept_reset(struct control *control)
{
    for (unsigned i = 0; i < CONTROL_MODES; i++) {
        struct control_slot *slot = &control->stored.slots[i];

        slot->promised = (struct control_ballot){0, 0};
        slot->accepted = (struct control_ballot){0, 0};
        slot->unlink = 0;
        buf_clear(&slot->value);
    }
    memset(control->debts, 0, sizeof(control->debts));
    for (unsigned i = 0; i < MEMBERSHIP_EVER_MAX; i++) {
        mem_free(control->frozen_seqs[i]);
        control->frozen_seqs[i] = NULL;
    }
    control->freezing = 0;
    control->frozen = 0;
    control->highest_round = 0;
}

static void reject(struct control *control, uint8_t origin, uint8_t mode)
{
    struct control_msg msg;

    control_msg_begin(control, &msg, CONTROL_REJECT);
    msg.mode = mode;
    msg.ballot = control->stored.slots[mode].promised;
    control_send(control, control->stored.members.at[origin - 1].address, &msg);
}

void control_note_unlink(struct control *control, uint8_t mode, membership_set unlink)
{
    struct control_slot *slot = &control->stored.slots[mode];

    if (unlink != 0 && (control->stored.slots[0].unlink | control->stored.slots[1].unlink) == 0)
        control->unlinking_since_ms = control->now_ms;
    if (mode == CONTROL_BY_FORCE && slot->unlink != unlink) {
        /* An agreement of other survivors: what was accepted for the old one is not theirs. */
        slot->accepted = (struct control_ballot){0, 0};
        buf_clear(&slot->value);
        slot->unlink = 0;
    }
    slot->unlink |= unlink;
}

void control_on_prepare(struct control *control, uint8_t origin, const struct control_msg *msg)
{
    const struct membership *m = &control->stored.members;
    struct control_slot *slot = &control->stored.slots[msg->mode];
    struct control_debt *debt = &control->debts[origin - 1];
    const int order = control_ballot_cmp(msg->ballot, slot->promised);

    if (msg->ballot.origin != origin || msg->ballot.round == 0 ||
        (msg->set & ~membership_live_set(m)) != 0 ||
        (msg->set & membership_bit(control->self)) != 0 ||
        (msg->mode == CONTROL_BY_FORCE && msg->set == 0))
        return;
    if (order < 0) {
        reject(control, origin, msg->mode);
        return;
    }
    control->pending_since_ms[msg->mode] = control->now_ms; /* Somebody works on it. */
    if (order > 0) {
        control_note_unlink(control, msg->mode, msg->set);
        slot->promised = msg->ballot;
        debt->version[msg->mode] = control_dirty(control);
        if (control->proposal.active && control->proposal.mode == msg->mode &&
            !control->proposal.accepting)
            control_propose_end(control, CONTROL_YIELD_MS +
                                             rng_below(&control->rng, CONTROL_YIELD_RANDOM_MS));
    }
    /* The same once more: the answer may have been lost. */
    debt->promise[msg->mode] = true;
    debt->accepted[msg->mode] = false;
    debt->positions[msg->mode] = msg->set != 0;
    debt->set[msg->mode] = control_freeze_set(control, msg->set);
}

void control_on_accept(struct control *control, uint8_t origin, const struct control_msg *msg)
{
    struct control_slot *slot = &control->stored.slots[msg->mode];
    struct control_debt *debt = &control->debts[origin - 1];

    if (msg->ballot.origin != origin || msg->ballot.round == 0 ||
        membership_decode(msg->value, &control->incoming) != 0 ||
        !control_is_next(control, msg->mode))
        return;
    if (control_ballot_cmp(msg->ballot, slot->promised) < 0) {
        reject(control, origin, msg->mode);
        return;
    }
    control->pending_since_ms[msg->mode] = control->now_ms;
    if (control_ballot_cmp(msg->ballot, slot->accepted) != 0) {
        /* By force there is one agreement for each set; a joining member may have missed the
         * PREPARE that named this one. */
        if (msg->mode == CONTROL_BY_FORCE)
            control_note_unlink(control, msg->mode,
                                membership_live_set(&control->stored.members) &
                                    ~membership_live_set(&control->incoming));
        buf_clear(&slot->value);
        CHECK(buf_append_bytes(&slot->value, msg->value) == 0); /* It was decoded: it fits. */
        slot->promised = msg->ballot;
        slot->accepted = msg->ballot;
        debt->version[msg->mode] = control_dirty(control);
    }
    debt->promise[msg->mode] = false;
    debt->accepted[msg->mode] = true;
}

/* --- answers --- */

static void send_promise(struct control *control, uint8_t mode, const char *address)
{
    const struct control_slot *slot = &control->stored.slots[mode];
    struct control_msg msg;

    control_msg_begin(control, &msg, CONTROL_PROMISE);
    msg.mode = mode;
    msg.ballot = slot->promised;
    msg.accepted = slot->accepted;
    msg.value = buf_bytes(&slot->value);
    control_send(control, address, &msg);
}

static void send_positions(struct control *control, uint8_t mode, membership_set set,
                           const char *address)
{
    const unsigned shards = control->stored.members.config.shards;
    struct control_msg msg;

    control_msg_begin(control, &msg, CONTROL_POSITIONS);
    msg.mode = mode;
    msg.ballot = control->stored.slots[mode].promised;
    msg.set = set;
    buf_clear(&control->file);
    for (unsigned i = 0; i < MEMBERSHIP_EVER_MAX; i++) {
        for (unsigned shard = 0; shard < shards && (set >> i & 1) != 0; shard++) {
            if (codec_put_varint(&control->file, control->frozen_seqs[i][shard]) != 0)
                return;
        }
    }
    msg.value = buf_bytes(&control->file);
    control_send(control, address, &msg);
}

static void send_accepted(struct control *control, uint8_t mode, const char *address)
{
    struct control_msg msg;

    control_msg_begin(control, &msg, CONTROL_ACCEPTED);
    msg.mode = mode;
    msg.ballot = control->stored.slots[mode].accepted;
    control_send(control, address, &msg);
}

static void pay(struct control *control, uint8_t origin, uint8_t mode)
{
    const struct control_slot *slot = &control->stored.slots[mode];
    struct control_debt *debt = &control->debts[origin - 1];
    const char *address = control->stored.members.at[origin - 1].address;

    if (control->durable_version < debt->version[mode])
        return;
    if (slot->promised.origin != origin) { /* Promised to another since. */
        debt->promise[mode] = debt->positions[mode] = debt->accepted[mode] = false;
        return;
    }
    if (debt->promise[mode])
        send_promise(control, mode, address);
    debt->promise[mode] = false;
    if (debt->accepted[mode] && slot->accepted.origin == origin)
        send_accepted(control, mode, address);
    debt->accepted[mode] = false;
    if (debt->positions[mode] && (debt->set[mode] & ~control->frozen) == 0) {
        send_positions(control, mode, debt->set[mode], address);
        debt->positions[mode] = false;
    }
}

void control_pay(struct control *control)
{
    for (uint8_t origin = 1; origin <= control->stored.members.count; origin++) {
        for (unsigned mode = 0; mode < CONTROL_MODES; mode++)
            pay(control, origin, (uint8_t)mode);
    }
}
