/*
 * The state machine as a whole: start, durability, adoption of what is committed, dispatch.
 */
#include "replication/group/control.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "replication/group/control_impl.h"

uint64_t control_dirty(struct control *control)
{
    return ++control->version;
}

void control_event(struct control *control, uint8_t kind, uint8_t reason, uint8_t origin,
                   uint64_t detail)
{
    const struct control_event event = {
        .kind = kind, .reason = reason, .origin = origin, .detail = detail};

    control->host->event(control->ctx, &event);
}

/* --- making and ending --- */

static int copy_options(struct control *control, const struct control_options *options)
{
    const struct bytes nickname = bytes_cstr(options->nickname);

    if (!membership_name_valid(nickname) || options->linked_count == 0 ||
        options->linked_count > CONTROL_LINKED_MAX || options->config.shards == 0 ||
        options->config.shards > MEMBERSHIP_SHARDS_MAX)
        return -ERR_CONFIG;
    memcpy(control->nickname, nickname.ptr, nickname.len + 1);
    control->own = CONTROL_LINKED_MAX;
    for (unsigned i = 0; i < options->linked_count; i++) {
        const struct bytes name = bytes_cstr(options->linked[i].name);
        const struct bytes address = bytes_cstr(options->linked[i].address);

        if (!membership_name_valid(name) || !membership_address_valid(address))
            return -ERR_CONFIG;
        for (unsigned j = 0; j < i; j++) {
            if (bytes_eq(bytes_cstr(control->linked[j].name), name) ||
                bytes_eq(bytes_cstr(control->linked[j].address), address))
                return -ERR_CONFIG;
        }
        memcpy(control->linked[i].name, name.ptr, name.len + 1);
        memcpy(control->linked[i].address, address.ptr, address.len + 1);
        if (strcmp(options->name, control->linked[i].name) == 0)
            control->own = i;
    }
    control->linked_count = options->linked_count;
    control->config = options->config;
    control->holds_data = options->holds_data;
    return control->own == CONTROL_LINKED_MAX ? -ERR_CONFIG : 0;
}

int control_create(const struct control_options *options, const struct control_host *host,
                   void *ctx, struct control **out)
{
    struct control *control = mem_zalloc(sizeof(*control));
    int err;

    control->host = host;
    control->ctx = ctx;
    rng_seed(&control->rng, options->seed);
    control_stored_init(&control->stored);
    buf_init(&control->out, CONTROL_MSG_BYTES_MAX);
    buf_init(&control->file, CONTROL_STORED_BYTES_MAX);
    buf_init(&control->proposal.value, MEMBERSHIP_BYTES_MAX);
    err = copy_options(control, options);
    if (err == 0 && options->state.len != 0)
        err = control_stored_decode(options->state, &control->stored);
    if (err != 0) {
        control_destroy(control);
        return err;
    }
    control->version = 1;
    control->durable_version = control->stored.incarnation == 0 ? 0 : 1;
    while (control->stored.incarnation == 0)
        control->stored.incarnation = rng_u64(&control->rng);
    control->self =
        membership_by_incarnation(&control->stored.members, control->stored.incarnation);
    *out = control;
    return 0;
}

void control_destroy(struct control *control)
{
    if (control == NULL)
        return;
    for (unsigned i = 0; i < MEMBERSHIP_EVER_MAX; i++) {
        mem_free(control->frozen_seqs[i]);
        mem_free(control->proposal.seqs[i]);
    }
    control_stored_deinit(&control->stored);
    buf_deinit(&control->proposal.value);
    buf_deinit(&control->out);
    buf_deinit(&control->file);
    mem_free(control);
}

/* --- what is committed --- */

static void note_new_peers(struct control *control, uint8_t count_before)
{
    const struct membership *m = &control->stored.members;

    for (unsigned i = count_before; i < m->count; i++) {
        control->peers[i] = (struct control_peer_seen){.since_ms = control->now_ms};
        /* Who is here anew has left the group that was forced apart from this one. */
        for (unsigned j = 0; j < i; j++) {
            if (strcmp(m->at[j].name, m->at[i].name) == 0)
                control->peers[j].forked = false;
        }
    }
}

static void drop_wishes(struct control *control)
{
    const struct membership *m = &control->stored.members;

    control->want_unlink &= membership_live_set(m);
    control->want_force = control->want_force && control->want_unlink != 0;
    control->drained = false;
    if (control->stored.retiring)
        control->want_unlink = 0;
    if (!control_is_live(control)) {
        control->stored.leaving = false;
        control->draining = false;
        control->want_unlink = 0;
    }
    for (unsigned i = 0; i < CONTROL_JOINS_MAX; i++) {
        if (membership_by_incarnation(m, control->joins_incarnation[i]) != 0)
            control->joins_incarnation[i] = 0;
    }
}

void control_adopt(struct control *control, const struct membership *members)
{
    const uint8_t count_before = control->stored.members.count;
    const bool was_live = control_is_live(control);

    membership_copy(&control->stored.members, members);
    control->self = membership_by_incarnation(members, control->stored.incarnation);
    control->stored.flush_epoch = u64_max(control->stored.flush_epoch, members->flush_epoch);
    control_accept_reset(control);
    control_propose_end(control, rng_below(&control->rng, CONTROL_EPOCH_RANDOM_MS));
    control->waits_for = 0;
    note_new_peers(control, count_before);
    drop_wishes(control);
    control->refused = CONTROL_OK;
    control->members_version = control_dirty(control);
    control->flush_version = control->members_version;
    if (!was_live && control_is_live(control))
        control_event(control, members->count == 1 ? CONTROL_FOUNDED : CONTROL_JOINED, CONTROL_OK,
                      control->self, members->epoch);
    else
        control_event(control, control_is_live(control) ? CONTROL_CHANGED : CONTROL_FENCED_OFF,
                      CONTROL_OK, control->self, members->epoch);
}

/* --- outputs --- */

static void tell_members(struct control *control)
{
    const struct membership *m = &control->stored.members;

    if (m->epoch == 0 || control->durable_version < control->members_version ||
        (control->told.epoch == m->epoch && control->told.sum == m->sum))
        return;
    membership_copy(&control->told, m);
    control->host->members(control->ctx, &control->told);
    control->drained = false;
    control->draining = control_is_live(control) && (control->draining || control->stored.leaving);
    if (control->draining)
        control->host->drain(control->ctx);
}

static void tell_freeze(struct control *control)
{
    const struct membership *m = &control->stored.members;

    if (m->epoch == 0 || control->told.epoch != m->epoch || control->told.sum != m->sum)
        return;
    const membership_set wanted =
        control_freeze_set(control, control->stored.slots[CONTROL_ORDINARY].unlink |
                                        control->stored.slots[CONTROL_BY_FORCE].unlink);
    for (uint8_t origin = 1; origin <= m->count; origin++) {
        if ((wanted & ~control->freezing & membership_bit(origin)) == 0)
            continue;
        control->freezing |= membership_bit(origin);
        control->host->freeze(control->ctx, origin);
    }
}

static void tell_flush(struct control *control)
{
    if (control->stored.flush_epoch == control->told_flush ||
        control->durable_version < control->flush_version)
        return;
    control->told_flush = control->stored.flush_epoch;
    control->hello_ms = control->now_ms; /* The others hear of it at the next tick. */
    control->host->flush(control->ctx, control->told_flush);
}

static void persist(struct control *control)
{
    if (control->asked_version != 0 || control->durable_version == control->version)
        return;
    /* The limit has room for the largest. */
    CHECK(control_stored_encode(&control->stored, &control->file) == 0);
    control->asked_version = control->version;
    control->host->persist(control->ctx, control->version, buf_bytes(&control->file));
}

/* All that follows from what has just happened. */
void control_settle(struct control *control)
{
    tell_members(control);
    tell_freeze(control);
    tell_flush(control);
    control_propose_tick(control);
    control_pay(control);
    persist(control);
}

/* --- inputs --- */

static void start(struct control *control)
{
    control->started = true;
    control->seek_started_ms = control->now_ms;
    control->seek_next_ms = control->now_ms;
    control->seek_at = control->linked_count - 1; /* The founder is asked first. */
    control->takeover_ms = CONTROL_TAKEOVER_MS + rng_below(&control->rng, CONTROL_TAKEOVER_MS);
    for (unsigned i = 0; i < MEMBERSHIP_EVER_MAX; i++)
        control->peers[i].since_ms = control->now_ms;
    for (unsigned i = 0; i < CONTROL_MODES; i++) {
        control->pending_since_ms[i] = control->now_ms;
        control->highest_round =
            u64_max(control->highest_round, control->stored.slots[i].promised.round);
    }
    control->unlinking_since_ms = control->now_ms;
}

void control_tick(struct control *control, uint64_t now_ms)
{
    CHECK(now_ms >= control->now_ms);
    control->now_ms = now_ms;
    if (!control->started)
        start(control);
    control_seek_tick(control);
    control_gossip_tick(control);
    control_settle(control);
}

void control_persisted(struct control *control, uint64_t version)
{
    CHECK(version == control->asked_version);
    control->durable_version = version;
    control->asked_version = 0;
    control_settle(control);
}

void control_frozen(struct control *control, uint8_t origin, const uint64_t *seqs)
{
    const unsigned shards = control->stored.members.config.shards;

    CHECK(origin != 0 && origin <= MEMBERSHIP_EVER_MAX);
    if ((control->freezing & membership_bit(origin)) == 0)
        return;
    uint64_t **into = &control->frozen_seqs[origin - 1];
    if (*into == NULL)
        *into = mem_zalloc_array(shards, sizeof(**into));
    memcpy(*into, seqs, shards * sizeof(*seqs));
    control->frozen |= membership_bit(origin);
    control_settle(control);
}

void control_drained(struct control *control, const uint64_t *seqs)
{
    if (!control->draining || control->told.epoch != control->stored.members.epoch)
        return;
    control->drained = true;
    control->stored.leaving = true;
    memcpy(control->stored.leave_seqs, seqs, control->stored.members.config.shards * sizeof(*seqs));
    control_dirty(control);
    control_settle(control);
}

void control_synced(struct control *control)
{
    control->want_active = true;
    control_settle(control);
}

void control_link(struct control *control, uint8_t origin, bool up, const char *why)
{
    CHECK(origin != 0 && origin <= MEMBERSHIP_EVER_MAX);
    struct control_peer_seen *seen = &control->peers[origin - 1];

    if (seen->up != up)
        seen->since_ms = control->now_ms;
    seen->up = up;
    if (up)
        seen->forked = false;
    if (why != NULL)
        control_text_cut(seen->error, why);
}

/* --- questions --- */

const struct membership *control_members(const struct control *control)
{
    return control->told.epoch == 0 ? NULL : &control->told;
}

bool control_may_write(const struct control *control)
{
    /* What is adopted and not durable yet counts when it forbids. */
    return control->told.epoch != 0 && control->self != 0 && !control->draining &&
           !control->stored.leaving && !control->stored.retiring &&
           control->stored.members.at[control->self - 1].state == MEMBERSHIP_ACTIVE &&
           control->self <= control->told.count &&
           control->told.at[control->self - 1].state == MEMBERSHIP_ACTIVE;
}
