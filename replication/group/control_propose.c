/*
 * The proposer: one proposal at a time, for the next epoch.
 *
 * Phase one: a ballot above all that were seen, promised by the majority of the active members (by
 * force: by all active survivors). If one of these has accepted a value, the highest one is this
 * proposal's too; else it is what is wished for here. To unlink, the positions of all survivors are
 * needed. Phase two: the same majority accepts; then it is committed.
 *
 * The own promise is durable before anybody hears of the ballot: after a crash no ballot is used
 * for a second value.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "replication/group/control_impl.h"

#define WISHES   (3u + CONTROL_JOINS_MAX + CONTROL_MODES)
#define RETRY_MS 300u
/* Each so many times those hear it too who have answered: lest they take it over. */
#define RESENDS_TO_ALL 4u
#define FIRST_JOIN     3u
#define FIRST_FINISH   (FIRST_JOIN + CONTROL_JOINS_MAX)

static membership_set survivors(const struct control *control, membership_set unlink)
{
    return membership_live_set(&control->stored.members) & ~unlink;
}

bool control_majority_stays(const struct control *control, membership_set unlink)
{
    const membership_set active = membership_active(&control->stored.members);

    return 2 * membership_set_count(active & ~unlink) > membership_set_count(active);
}

/* Whether those in `set` decide about the proposal. */
static bool is_quorum(const struct control *control, membership_set set)
{
    const struct control_proposal *p = &control->proposal;
    const membership_set active = membership_active(&control->stored.members);

    if (p->mode == CONTROL_BY_FORCE)
        return (active & ~p->unlink & ~set) == 0;
    return 2 * membership_set_count(active & set) > membership_set_count(active);
}

void control_propose_end(struct control *control, uint64_t wait_ms)
{
    control->proposal.active = false;
    buf_clear(&control->proposal.value);
    control->next_try_ms = control->now_ms + wait_ms;
}

/* --- wishes --- */

/* Whether the wish at `turn` is open; what it is goes into the proposal. */
static bool wish_at(struct control *control, unsigned turn)
{
    struct control_proposal *p = &control->proposal;
    const struct membership *m = &control->stored.members;
    const membership_set active = membership_active(m);

    p->mode = CONTROL_ORDINARY;
    p->unlink = 0;
    if (turn == 0) {
        p->wish = CONTROL_WISH_LEAVE;
        return control->drained && active != membership_bit(control->self);
    }
    if (turn == 1) {
        p->wish = CONTROL_WISH_UNLINK;
        p->unlink = control->want_unlink;
        if (p->unlink == 0 || control_majority_stays(control, p->unlink))
            return p->unlink != 0;
        p->mode = CONTROL_BY_FORCE;
        return control->want_force && (active & ~p->unlink) != 0;
    }
    if (turn == 2) {
        p->wish = CONTROL_WISH_ACTIVATE;
        return control->want_active && m->at[control->self - 1].state == MEMBERSHIP_JOINING;
    }
    if (turn < FIRST_FINISH) {
        p->wish = CONTROL_WISH_JOIN;
        p->join = turn - FIRST_JOIN;
        return control->joins_incarnation[p->join] != 0;
    }
    p->wish = CONTROL_WISH_FINISH;
    p->mode = (uint8_t)(turn - FIRST_FINISH);
    const struct control_slot *slot = &control->stored.slots[p->mode];
    if (p->mode == CONTROL_BY_FORCE || control_majority_stays(control, slot->unlink))
        p->unlink = slot->unlink;
    return (p->unlink != 0 || slot->accepted.round != 0) &&
           control->now_ms - control->pending_since_ms[p->mode] >= control->takeover_ms;
}

static void begin(struct control *control)
{
    struct control_proposal *p = &control->proposal;
    struct control_slot *slot = &control->stored.slots[p->mode];
    const unsigned shards = control->stored.members.config.shards;

    control->highest_round = u64_max(control->highest_round, slot->promised.round) + 1;
    p->active = true;
    p->accepting = false;
    p->ballot = (struct control_ballot){control->highest_round, control->self};
    p->freeze = control_freeze_set(control, p->unlink);
    control_note_unlink(control, p->mode, p->unlink);
    slot->promised = p->ballot;
    control->pending_since_ms[p->mode] = control->now_ms;
    p->own_version = control_dirty(control);
    p->promised = p->positioned = p->accepted = 0;
    p->best = (struct control_ballot){0, 0};
    buf_clear(&p->value);
    p->started_ms = control->now_ms;
    p->sent_ms = 0;
    p->sends = 0;
    for (unsigned i = 0; i < MEMBERSHIP_EVER_MAX; i++) {
        if ((p->freeze >> i & 1) == 0)
            continue;
        mem_free(p->seqs[i]);
        p->seqs[i] = mem_zalloc_array(shards, sizeof(*p->seqs[i]));
    }
}

static void pick(struct control *control)
{
    if (control->now_ms < control->next_try_ms)
        return;
    for (unsigned i = 0; i < WISHES; i++) {
        const unsigned turn = (control->turn + i) % WISHES;

        if (wish_at(control, turn)) {
            control->turn = turn + 1;
            begin(control);
            return;
        }
    }
}

/* --- the value --- */

/* The change that is wished for, in control->draft. False: there is none to make any more. */
static bool make_change(struct control *control)
{
    const struct control_proposal *p = &control->proposal;
    struct membership *m = &control->draft;

    membership_copy(m, &control->stored.members);
    membership_next(m);
    m->flush_epoch = control->told_flush; /* What is on disk, as in messages. */
    if (p->wish == CONTROL_WISH_JOIN) {
        const struct control_join *join = &control->joins[p->join];
        const uint64_t incarnation = control->joins_incarnation[p->join];
        char text[CONTROL_TEXT_BYTES];

        control->joins_incarnation[p->join] = 0;
        return incarnation != 0 &&
               control_judge_join(control, incarnation, join, text) == CONTROL_OK &&
               membership_add(m, incarnation, bytes_cstr(join->name), bytes_cstr(join->address),
                              MEMBERSHIP_JOINING) != 0;
    }
    if (p->wish == CONTROL_WISH_ACTIVATE) {
        membership_set_active(m, control->self);
        return true;
    }
    if (p->wish == CONTROL_WISH_LEAVE) {
        membership_seal(m, control->self, MEMBERSHIP_LEFT, control->stored.leave_seqs);
        return true;
    }
    for (uint8_t origin = 1; origin <= m->count; origin++) {
        if ((p->freeze & ~p->unlink & membership_bit(origin)) != 0)
            membership_seal_again(m, origin, p->seqs[origin - 1]);
        if ((p->unlink & membership_bit(origin)) != 0)
            membership_seal(m, origin, MEMBERSHIP_SEALED, p->seqs[origin - 1]);
    }
    if (p->mode == CONTROL_BY_FORCE)
        membership_fork(m, rng_u64(&control->rng));
    return p->unlink != 0;
}

static void send_phase(struct control *control)
{
    struct control_proposal *p = &control->proposal;
    const struct membership *m = &control->stored.members;
    const membership_set answered =
        p->accepting ? p->accepted : (p->unlink == 0 ? p->promised : p->promised & p->positioned);
    membership_set to = survivors(control, p->unlink) & ~membership_bit(control->self);
    struct control_msg msg;

    if (p->sent_ms != 0 && control->now_ms - p->sent_ms < CONTROL_RESEND_MS)
        return;
    p->sent_ms = control->now_ms;
    if (p->sends++ % RESENDS_TO_ALL != 0)
        to &= ~answered;
    control_msg_begin(control, &msg, p->accepting ? CONTROL_ACCEPT : CONTROL_PREPARE);
    msg.mode = p->mode;
    msg.ballot = p->ballot;
    msg.set = p->unlink;
    msg.value = buf_bytes(&p->value);
    for (uint8_t origin = 1; origin <= m->count; origin++) {
        if ((to & membership_bit(origin)) != 0)
            control_send(control, m->at[origin - 1].address, &msg);
    }
}

static void start_accepting(struct control *control)
{
    struct control_proposal *p = &control->proposal;
    struct control_slot *slot = &control->stored.slots[p->mode];

    if (p->best.round == 0) {
        buf_clear(&p->value);
        if (!make_change(control) || membership_encode(&control->draft, &p->value) != 0) {
            control_propose_end(control, 0);
            return;
        }
    }
    p->accepting = true;
    p->sent_ms = 0;
    p->sends = 0;
    p->started_ms = control->now_ms;
    buf_clear(&slot->value);
    if (buf_append_bytes(&slot->value, buf_bytes(&p->value)) != 0) {
        slot->accepted = (struct control_ballot){0, 0};
        control_propose_end(control, RETRY_MS);
        return;
    }
    slot->accepted = p->ballot;
    p->own_version = control_dirty(control);
}

static void commit(struct control *control)
{
    struct membership *m = &control->incoming;
    const membership_set before = membership_live_set(&control->stored.members);

    CHECK(membership_decode(buf_bytes(&control->proposal.value), m) == 0);
    control_adopt(control, m);
    for (uint8_t origin = 1; origin <= m->count; origin++) {
        if (origin != control->self &&
            ((before | membership_live_set(m)) & membership_bit(origin)) != 0)
            control_send_value(control, m->at[origin - 1].address);
    }
}

/* --- progress --- */

/* A promise carries what was accepted before. */
static void consider(struct control *control, struct control_ballot accepted, struct bytes value)
{
    struct control_proposal *p = &control->proposal;

    if (accepted.round == 0 || control_ballot_cmp(accepted, p->best) <= 0 ||
        membership_decode(value, &control->incoming) != 0 || !control_is_next(control, p->mode))
        return;
    buf_clear(&p->value);
    if (buf_append_bytes(&p->value, value) == 0)
        p->best = accepted;
    else
        control_propose_end(control, RETRY_MS);
}

static void raise_seqs(struct control_proposal *p, unsigned index, unsigned shards,
                       const uint64_t *seqs)
{
    for (unsigned shard = 0; shard < shards; shard++)
        p->seqs[index][shard] = u64_max(p->seqs[index][shard], seqs[shard]);
}

/* What this node says to its own proposal, once that is durable. */
static void note_own(struct control *control)
{
    struct control_proposal *p = &control->proposal;
    const struct control_slot *slot = &control->stored.slots[p->mode];
    const membership_set self = membership_bit(control->self);

    if (p->accepting) {
        if (control_ballot_cmp(slot->accepted, p->ballot) == 0)
            p->accepted |= self;
        return;
    }
    if ((p->promised & self) == 0) {
        p->promised |= self;
        consider(control, slot->accepted, buf_bytes(&slot->value));
    }
    if ((p->positioned & self) == 0 && (p->freeze & ~control->frozen) == 0) {
        p->positioned |= self;
        for (unsigned i = 0; i < MEMBERSHIP_EVER_MAX; i++) {
            if ((p->freeze >> i & 1) != 0)
                raise_seqs(p, i, control->stored.members.config.shards, control->frozen_seqs[i]);
        }
    }
}

static void note_waits(struct control *control)
{
    const struct control_proposal *p = &control->proposal;
    const membership_set have = p->accepting ? p->accepted : p->promised;

    control->waits_positions = !p->accepting && is_quorum(control, have);
    control->waits_for =
        survivors(control, p->unlink) & ~(control->waits_positions ? p->positioned : have);
}

static void step(struct control *control)
{
    struct control_proposal *p = &control->proposal;
    const struct control_slot *slot = &control->stored.slots[p->mode];

    if (control->durable_version >= p->own_version)
        note_own(control);
    if (!p->active || control->durable_version < p->own_version)
        return;
    if (!p->accepting && control_ballot_cmp(slot->promised, p->ballot) != 0) {
        control_propose_end(control, RETRY_MS);
        return;
    }
    if (!p->accepting && is_quorum(control, p->promised) &&
        (p->best.round != 0 || (survivors(control, p->unlink) & ~p->positioned) == 0 ||
         p->unlink == 0))
        start_accepting(control);
    if (!p->active)
        return;
    if (p->accepting && is_quorum(control, p->accepted)) {
        commit(control);
        return;
    }
    send_phase(control);
    if (control->now_ms - p->started_ms >= RETRY_MS)
        note_waits(control);
    if (control->now_ms - p->started_ms >= CONTROL_PATIENCE_MS)
        control_propose_end(control, RETRY_MS + rng_below(&control->rng, RETRY_MS));
}

void control_propose_tick(struct control *control)
{
    if (!control->started || !control_is_live(control) || control->stored.retiring)
        return;
    if (!control->proposal.active)
        pick(control);
    if (control->proposal.active)
        step(control);
}

/* --- answers --- */

static bool is_ours(const struct control *control, const struct control_msg *msg, bool accepting)
{
    const struct control_proposal *p = &control->proposal;

    return p->active && p->accepting == accepting && p->mode == msg->mode &&
           control_ballot_cmp(p->ballot, msg->ballot) == 0;
}

void control_on_promise(struct control *control, uint8_t origin, const struct control_msg *msg)
{
    if (!is_ours(control, msg, false) || (control->proposal.unlink & membership_bit(origin)) != 0)
        return;
    control->proposal.promised |= membership_bit(origin);
    consider(control, msg->accepted, msg->value);
}

void control_on_positions(struct control *control, uint8_t origin, const struct control_msg *msg)
{
    struct control_proposal *p = &control->proposal;
    const unsigned shards = control->stored.members.config.shards;
    uint64_t seqs[MEMBERSHIP_SHARDS_MAX];
    struct bytes in = msg->value;

    if (!is_ours(control, msg, false) || msg->set != p->freeze ||
        (p->positioned & membership_bit(origin)) != 0)
        return;
    /* A half of it counts for nothing: what it raised is no lower than it has to be. */
    for (unsigned i = 0; i < MEMBERSHIP_EVER_MAX; i++) {
        if ((p->freeze >> i & 1) == 0)
            continue;
        for (unsigned shard = 0; shard < shards; shard++) {
            if (varint_get(&in, &seqs[shard]) != 0)
                return;
        }
        raise_seqs(p, i, shards, seqs);
    }
    if (in.len == 0)
        p->positioned |= membership_bit(origin);
}

void control_on_accepted(struct control *control, uint8_t origin, const struct control_msg *msg)
{
    if (is_ours(control, msg, true))
        control->proposal.accepted |= membership_bit(origin);
}

void control_on_reject(struct control *control, const struct control_msg *msg)
{
    const struct control_proposal *p = &control->proposal;

    if (p->active && p->mode == msg->mode && control_ballot_cmp(p->ballot, msg->ballot) < 0)
        control_propose_end(control,
                            CONTROL_REJECT_MS + rng_below(&control->rng, CONTROL_REJECT_RANDOM_MS));
}
