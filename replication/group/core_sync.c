/*
 * Full sync: a member that has nothing gets a copy of a donor's rows, then the logs from there.
 *
 * The donor makes a checkpoint of its store, whose vector V is what the store covers. The joiner
 * asks for one piece of rows after the other, in key order, and each time only when it has stored
 * the last one: one piece is in memory at a time, at either end, and writes go on everywhere
 * meanwhile. When a link breaks it goes on with another donor, or another checkpoint, behind the
 * last key that it has. Then all its positions are the least of the vectors used, and what is newer
 * comes from the logs, over rows that may have it already: that does no harm, as after a crash
 * (both vectors are closed under causality, hence so is their minimum).
 *
 * What makes that sound is that the joiner is a member before it asks: from then on it is counted,
 * with nothing acknowledged, so that no log is trimmed and nothing becomes stable beyond V at the
 * donor. What other members, who learned of it later, have trimmed comes by relay through the
 * donor.
 *
 * Rows of a checkpoint may hold more than its vector says. Until the logs have been applied up to
 * the newest that they may hold, no local write is allowed: it would be made upon what its context
 * does not name.
 *
 * A flush on the way starts it anew.
 *
 * Delta resync goes the same way (core_resync.c), but the member has rows: those that come are put
 * aside, all of them, and joined to its own in the end. Its log begins at both sides' vectors then.
 * What the donor has in the same way does not cross the link (wire.h, SYNC_ASK): the slots are gone
 * through range by range, about 16,000 rows each; a donor that has many more there ends the range
 * at an earlier slot. The member says what it has there, as sums of 1 to 2 rows each; the donor
 * sends the rows of the sums that are others there, with its last piece which these were; the
 * member adds its own rows of the other ones to what it has put aside, as if the donor had sent
 * them. The first range is empty: with it the donor is asked whether it has a checkpoint. Within a
 * range another try begins anew, as the sums of another checkpoint are others.
 *
 * A donor that says nothing is left for another one, or asked anew. It may be comparing, and then
 * that begins anew as well: hence each time it is given twice the time, until somebody answers.
 *
 * Own rows that cannot be read are no reason to wait: the slots that they are in are asked for
 * whole.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/crc16.h"
#include "engine/base/err.h"

#include "replication/group/core_impl.h"

#define IDLE_TIMEOUTS 4u /* After so many a checkpoint that nobody reads is closed. */
#define PATIENCE_MAX  2u /* A donor is waited for no longer than that. */

/* --- joiner --- */

static void ask(struct core *core)
{
    struct sync_in *in = &core->sync_in;
    struct peer *peer = core_peer_find(core, in->donor);
    struct wire_sync_ask msg = {
        .id = in->id, .entered = in->entered, .range = in->range, .after = buf_bytes(&in->after)};

    msg.range.sums = buf_bytes(&in->sums);
    in->heard_ms = core->now.mono_ms;
    if (wire_build_sync_ask(&core->batch, &msg) == 0 &&
        wire_put_body(&core->frame, WIRE_SYNC_ASK, buf_bytes(&core->batch), core->pack) == 0)
        core_send(core, peer);
    buf_shrink(&core->batch, 4 * core->options.frame_bytes);
}

/* Goes on with the donor, if it is there; else core_sync_tick finds one. */
static void ask_on(struct core *core)
{
    const struct peer *donor = core_peer_find(core, core->sync_in.donor);

    if (donor != NULL && donor->state == CORE_LINK_UP)
        ask(core);
}

void core_sync_first_range(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    in->patience = 0;
    buf_clear(&in->after);
    buf_clear(&in->sums);
    in->range = (struct wire_sync_range){.end = in->resync ? 0 : KEY_SLOTS, .bits = WIRE_SYNC_ALL};
}

/* From the first key on. */
static void restart(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    in->donor = 0;
    in->id++;
    in->has_vector = in->begun = false;
    posv_init(&in->newest);
    core_sync_first_range(core);
}

void core_sync_summed(struct core *core, const struct wire_sync_range *range)
{
    struct sync_in *in = &core->sync_in;

    CHECK(in->storing && in->resync);
    in->storing = false;
    if (in->stale) {
        in->stale = false;
        restart(core);
        return;
    }
    CHECK(range->first == in->range.end && range->end > range->first && range->end <= KEY_SLOTS);
    buf_clear(&in->after);
    buf_clear(&in->sums);
    in->range = *range;
    /* Without memory for the sums all rows are asked for. */
    if (buf_append_bytes(&in->sums, range->sums) != 0)
        in->range.bits = WIRE_SYNC_ALL;
    ask_on(core);
}

bool core_sync_is_donor(const struct core *core, const struct peer *peer)
{
    const struct member *member = members_find(&core->members, peer->origin);

    /* Of a history that is about to end nothing is taken, by whichever way. */
    return peer->state == CORE_LINK_UP && member != NULL && member->state == MEMBER_ACTIVE &&
           !core->origins[peer->index].frozen;
}

/* The next one in turn that can be a donor, and has what we need or is `any`; NULL: none is there.
 */
static struct peer *next_donor(struct core *core, bool any)
{
    for (unsigned i = 1; i <= core->peers_count; i++) {
        const unsigned at = (core->sync_in.donor_last + i) % core->peers_count;
        struct peer *peer = core->peers[at];

        if (core_sync_is_donor(core, peer) &&
            ((any && !core->sync_in.anew) || core_resync_helps(core, peer))) {
            core->sync_in.donor_last = at;
            return peer;
        }
    }
    return NULL;
}

static struct peer *choose_donor(struct core *core)
{
    const struct sync_in *in = &core->sync_in;
    struct peer *peer = next_donor(core, !in->resync);
    const bool silent = peer != NULL && peer->origin == in->donor && in->patience == PATIENCE_MAX;

    /* Once something was put aside, whoever can brings it to an end; but its giver may come back.
     */
    if (!in->resync || !in->entered || (peer != NULL && !silent) ||
        core->now.mono_ms - in->heard_ms <= core->options.timeout_ms)
        return peer;
    struct peer *other = next_donor(core, true);
    return other != NULL ? other : peer;
}

void core_sync_start(struct core *core)
{
    CHECK(vv_empty(&core->applied_vv));
    core->sync_in.wanted = true;
    core_sync_first_range(core);
}

bool core_syncing(const struct core *core)
{
    return core->sync_in.wanted;
}

bool core_resyncing(const struct core *core)
{
    return core->sync_in.wanted && core->sync_in.resync;
}

void core_sync_overtaken(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    if (in->storing)
        in->stale = true;
    else if (in->wanted)
        restart(core);
}

bool core_sync_stale(const struct core *core)
{
    return core->sync_in.stale;
}

/* Whoever does not ask on has given up, or asks for a new checkpoint. */
static void close_idle(struct core *core)
{
    for (unsigned i = 0; i < core->peers_count; i++) {
        struct peer *peer = core->peers[i];

        if (peer->sync_out.open && !peer->sync_out.busy &&
            core->now.mono_ms - peer->sync_out.asked_ms > IDLE_TIMEOUTS * core->options.timeout_ms)
            core_sync_link_down(core, peer);
    }
}

/*
 * A resync that nobody is left to end: with rows of a member that has none and has seen nothing,
 * one's own stay as they are.
 */
static void keep_own(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    posv_init(&in->vector);
    posv_copy(&in->newest, &core->newest);
    in->has_vector = in->begun = in->storing = true;
    in->anew = false;
    core->host->sync_begin(core->ctx);
    core->host->sync_finish(core->ctx, &in->vector, &in->newest, true);
}

void core_sync_tick(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    const struct peer *donor = core_peer_find(core, in->donor);

    close_idle(core);

    if (!in->wanted || in->storing)
        return;
    if (in->resync && core->durable_lsn != core->applied_lsn)
        return; /* What comes is joined to what is durable. */
    if (in->anew && !in->entered && !core_seal_stranded(core)) {
        in->wanted = false; /* It is there again, or need not wait any more. */
        return;
    }
    if (donor != NULL && donor->state == CORE_LINK_UP) {
        if (core->now.mono_ms - in->heard_ms <= (uint64_t)core->options.timeout_ms << in->patience)
            return;
        in->patience = u32_min(in->patience + 1, PATIENCE_MAX);
    }
    donor = choose_donor(core);
    in->donor = donor == NULL ? 0 : donor->origin;
    in->id++;
    /* Which buckets differ is true of one checkpoint: of another one the range comes anew. */
    if (in->range.bits != WIRE_SYNC_ALL)
        buf_clear(&in->after);
    if (donor != NULL)
        ask(core);
    else if (in->resync && !in->entered)
        in->wanted = false; /* Nothing has happened yet. */
    else if (in->resync && core_resync_is_alone(core))
        keep_own(core);
}

/* What both have. */
static void meet(struct posv *into, const struct posv *from)
{
    for (unsigned i = into->count; i-- > 0;) {
        const uint8_t origin = into->origin[i];
        const struct pos pos = posv_get(from, origin);

        if (pos.seq < into->at[i].seq)
            IGNORE_RESULT(posv_set(into, origin, pos)); /* It is listed already. */
    }
}

/* What was asked for, as far as it can be told; a range without sums is given whole. */
static bool is_asked_for(const struct sync_in *in, const struct wire_sync_rows *rows)
{
    const struct wire_sync_range *range = &in->range;

    if (rows->differ.len != (rows->last ? wire_sync_differ_bytes(range->bits) : 0))
        return false;
    if (range->bits == WIRE_SYNC_ALL)
        return rows->end == range->end;
    return rows->end > range->first && rows->end <= range->end;
}

/*
 * Keys rise (wire.h): the first and the last one tell of all. What goes on from another checkpoint,
 * without sums, may have another order within a slot: that of `after` is given once more.
 */
static bool are_behind(const struct sync_in *in, const struct wire_sync_rows *rows)
{
    const struct bytes after = buf_bytes(&in->after);
    const uint16_t slot = wire_sync_slot(rows->first_key);

    if (rows->count == 0)
        return true;
    if (slot < in->range.first || wire_sync_slot(rows->last_key) >= rows->end)
        return false;
    if (after.len == 0)
        return true;
    return in->range.bits != WIRE_SYNC_ALL ? bytes_cmp(rows->first_key, after) > 0
                                           : slot >= wire_sync_slot(after);
}

bool core_on_sync_rows(struct core *core, struct peer *peer, struct bytes body)
{
    struct sync_in *in = &core->sync_in;
    struct wire_sync_rows rows;

    if (wire_get_sync_rows(body, &rows) != 0)
        return false;
    if (!in->wanted || in->storing || rows.id != in->id || peer->origin != in->donor)
        return true; /* Of an earlier try. */
    if (!is_asked_for(in, &rows) || !are_behind(in, &rows))
        return false;
    in->patience = 0;
    if (rows.flush != core->flush) {
        /* One of us does not know yet that the group was emptied. */
        core_flush(core, rows.flush);
        restart(core);
        in->heard_ms = core->now.mono_ms;
        return true;
    }
    if (in->anew && !core_resync_replaces(core, peer, &rows))
        return true; /* Asked for again after a while: a later checkpoint may do. */
    if (in->has_vector)
        meet(&in->vector, &rows.at);
    else
        posv_copy(&in->vector, &rows.at);
    in->has_vector = true;
    for (unsigned i = 0; i < rows.newest.count; i++) {
        /* No more origins than one vector has: they are those of the members. */
        if (posv_raise(&in->newest, rows.newest.origin[i], rows.newest.at[i]) != 0)
            return false;
    }
    in->last = rows.last;
    buf_clear(&in->after);
    if (buf_append_bytes(&in->after, rows.last_key) != 0)
        return true; /* No memory: asked for again after a while. */
    if (in->last)
        in->range.end = rows.end;
    in->storing = true;
    if (in->resync && !in->begun)
        core->host->sync_begin(core->ctx);
    in->begun = in->entered = true;
    core->host->sync_put(core->ctx, &rows);
    return true;
}

/*
 * Rows that make no sense: another donor may have better ones, from the first key on. What was
 * stored stays, hence the vectors do.
 */
static void refuse_rows(struct core *core, int err)
{
    struct sync_in *in = &core->sync_in;
    struct peer *donor = core_peer_find(core, in->donor);

    in->storing = false;
    if (in->stale) {
        in->stale = false;
        restart(core);
    }
    in->donor = 0;
    in->id++;
    core_sync_first_range(core);
    if (donor != NULL && donor->state == CORE_LINK_UP)
        core_park(core, donor, core_reason_of(err), 0);
}

void core_sync_stored(struct core *core, int err)
{
    struct sync_in *in = &core->sync_in;

    CHECK(in->storing);
    if (err != 0) {
        refuse_rows(core, err);
        return;
    }
    if (in->stale) {
        in->storing = in->stale = false;
        restart(core);
        return;
    }
    if (in->last && in->range.end < KEY_SLOTS) {
        core->host->sync_sum(core->ctx, in->range.end);
        return;
    }
    if (in->last) {
        /* Of an earlier copy: our own rows may still hold that. */
        for (unsigned i = 0; i < core->newest.count && !in->anew; i++)
            IGNORE_RESULT(posv_raise(&in->newest, core->newest.origin[i], core->newest.at[i]));
        core->host->sync_finish(core->ctx, &in->vector, &in->newest, in->resync && !in->anew);
        return;
    }
    in->storing = false;
    ask_on(core);
}

void core_sync_unread(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    CHECK(in->storing && in->resync);
    in->storing = false;
    if (in->stale) {
        in->stale = false;
        restart(core);
        return;
    }
    in->range.bits = WIRE_SYNC_ALL;
    buf_clear(&in->sums);
    buf_clear(&in->after);
    ask_on(core);
}

/* Everything up to the vector is here, durably, without having passed through the log. */
static void adopt(struct core *core, const struct posv *at)
{
    for (unsigned i = 0; i < at->count; i++) {
        const unsigned index = core_origin_get(core, at->origin[i]);

        CHECK(index != ORIGIN_NONE);
        struct origin *o = &core->origins[index];
        CHECK(list_empty(&o->queue) && o->applied.seq == 0);
        o->applied = o->durable = o->queued = at->at[i];
    }
    posv_to_vv(at, &core->applied_vv);
    posv_copy(&core->covered, at);
    core_log_reset(core);
}

void core_sync_finished(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    CHECK(in->storing);
    in->storing = false;
    if (in->stale) {
        in->stale = false;
        restart(core);
        return;
    }
    in->wanted = false;
    buf_deinit(&in->sums);
    posv_copy(&core->newest, &in->newest);
    /* What was kept is gone, also from those to whom it was given. */
    for (unsigned i = 0; i < core->peers_count; i++)
        core_sync_link_down(core, core->peers[i]);
    if (in->resync)
        core_resync_adopt(core, &in->vector);
    else
        adopt(core, &in->vector);
    core_check_newest(core);
    for (unsigned i = 0; i < core->peers_count; i++)
        core->peers[i]->ack_due = true;
    core_plan(core);
}

/* --- donor --- */

static void read_more(struct core *core, struct peer *peer)
{
    struct sync_out *out = &peer->sync_out;
    struct wire_sync_ask ask = {
        .id = out->id, .range = out->range, .after = buf_bytes(&out->after)};

    ask.range.sums = buf_bytes(&out->sums);
    out->busy = true;
    core->host->sync_read(core->ctx, peer->origin, &ask, core->options.sync_bytes);
}

bool core_on_sync_ask(struct core *core, struct peer *peer, struct bytes body)
{
    struct sync_out *out = &peer->sync_out;
    struct wire_sync_ask msg;

    if (wire_get_sync_ask(body, &msg) != 0)
        return false;
    if (core->self_state != MEMBER_ACTIVE || out->busy ||
        (core->sync_in.wanted && !core_resync_yield(core, peer, msg.entered)))
        return true; /* It will ask again, or another one. */
    const bool goes_on = out->open && out->id == msg.id;
    /* Of the checkpoint where that range was begun nothing is left. */
    if (!goes_on && msg.after.len != 0 && msg.range.bits != WIRE_SYNC_ALL)
        return true;
    buf_clear(&out->after);
    buf_clear(&out->sums);
    if (buf_append_bytes(&out->after, msg.after) != 0 ||
        buf_append_bytes(&out->sums, msg.range.sums) != 0)
        return true;
    out->range = msg.range;
    out->asked_ms = core->now.mono_ms;
    if (goes_on) {
        read_more(core, peer);
        return true;
    }
    if (out->open)
        core->host->sync_close(core->ctx, peer->origin);
    /* At most what the checkpoint will have; of two the first counts. */
    if (!peer->behind || !peer->has_floor)
        posv_copy(&peer->floor, &core->covered);
    peer->has_floor = true;
    out->open = out->busy = true;
    out->id = msg.id;
    core->host->sync_open(core->ctx, peer->origin, msg.id);
    return true;
}

/* Whose work is done; NULL: the link or the try is gone. */
static struct peer *worked_for(struct core *core, uint8_t origin, uint32_t id)
{
    struct peer *peer = core_peer_find(core, origin);

    if (peer == NULL || !peer->sync_out.open || peer->sync_out.id != id)
        return NULL;
    peer->sync_out.busy = false;
    return peer;
}

void core_sync_opened(struct core *core, uint8_t origin, uint32_t id, int err,
                      const struct posv *at, uint32_t flush)
{
    struct peer *peer = worked_for(core, origin, id);

    if (peer == NULL)
        return;
    peer->sync_out.open = err == 0; /* The joiner asks again after a while. */
    if (err != 0)
        return;
    posv_copy(&peer->sync_out.at, at);
    core_durable_posv(core, &peer->sync_out.newest);
    for (unsigned i = 0; i < core->newest.count; i++)
        IGNORE_RESULT(
            posv_raise(&peer->sync_out.newest, core->newest.origin[i], core->newest.at[i]));
    peer->sync_out.flush = flush;
    read_more(core, peer);
}

void core_sync_rows(struct core *core, uint8_t origin, uint32_t id, int err,
                    const struct core_piece *piece)
{
    struct peer *peer = worked_for(core, origin, id);

    if (peer == NULL || err != 0)
        return;
    const struct wire_sync_rows head = {.id = id,
                                        .last = piece->last,
                                        .end = piece->end,
                                        .differ = piece->differ,
                                        .flush = peer->sync_out.flush,
                                        .at = peer->sync_out.at,
                                        .newest = peer->sync_out.newest};
    if (wire_build_sync_rows(&core->batch, &head, piece->rows, piece->count) == 0 &&
        wire_put_body(&core->frame, WIRE_SYNC_ROWS, buf_bytes(&core->batch), core->pack) == 0)
        core_send(core, peer);
    buf_shrink(&core->batch, 4 * core->options.frame_bytes);
    if (piece->last && piece->end == KEY_SLOTS)
        core_sync_link_down(core, peer); /* Nothing is to be kept open for it. */
}

bool core_sync_giving(const struct core *core)
{
    for (unsigned i = 0; i < core->peers_count; i++) {
        if (core->peers[i]->sync_out.open)
            return true;
    }
    return false;
}

void core_sync_link_down(struct core *core, struct peer *peer)
{
    if (peer->sync_out.open)
        core->host->sync_close(core->ctx, peer->origin);
    peer->sync_out.open = peer->sync_out.busy = false;
    buf_deinit(&peer->sync_out.sums);
}
