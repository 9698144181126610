/*
 * Full sync: a member that has nothing gets a copy of a donor's rows, then the logs from there.
 *
 * The donor makes a checkpoint of its store, whose vector V is what the store covers. The joiner
 * asks for one piece of rows after the other, in key order, and each time only when it has stored
 * the last one: one piece is in memory at a time, at either end, and writes go on everywhere
 * meanwhile. What is newer than V comes from the logs afterwards, over rows that may have it
 * already: that does no harm, as after a crash.
 *
 * A joiner that is at work for long on what it was given, for want of room, says so again and again
 * (`waits`), so that the donor does not take its silence for its end.
 *
 * A copy is of one checkpoint. When a link breaks the donor keeps it for a while, and the joiner
 * goes on behind the last key that it has. When the checkpoint is gone, as the donor restarted or
 * did not come back in time, what came of it is thrown away and the copy begins anew. Rows of two
 * checkpoints must not stand side by side. With the lesser vector the logs would bring again what
 * the other donor had collected already: of a key that had expired and was gone there, an INCR or
 * a new element without the SET and the deadline that had stood before it, so that the key is back
 * and stays. And a key row of one that has swept the elements, and hence dropped its clear vector,
 * would meet elements of one that has not.
 *
 * What makes the rest sound is that the joiner is a member before it asks: from then on it is
 * counted, with nothing acknowledged, so that no log is trimmed and nothing becomes stable beyond V
 * at the donor. What other members, who learned of it later, have trimmed comes by relay through
 * the donor.
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
 * them. The first range is empty: with it the donor is asked whether it has a checkpoint.
 *
 * A donor that says nothing is asked once more, and left for another one in the end; at once, if
 * it has given nothing yet. It may be comparing: hence each time it is given twice the time, until
 * somebody answers.
 *
 * Own rows that cannot be read are no reason to wait: the slots that they are in are asked for
 * whole.
 *
 * The donor's side of it is core_give.c.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/crc16.h"
#include "engine/base/err.h"

#include "replication/group/core_impl.h"

/* After an attempt that came to nothing the next one begins at once; then so late, and each time
 * twice as late, up to a timeout of a link. */
#define BACK_OFF_MS 100u
#define DOUBLED_MAX 10u

/* In timeouts of a link: */
#define BACK_TIMEOUTS 4u /* after so many a donor whose link is down is left for another one. */
#define PATIENCE_MAX  2u /* One that is silent is waited for the double at most so many times. */

static void send_ask(struct core *core, const struct wire_sync_ask *msg)
{
    struct sync_in *in = &core->sync_in;

    in->said_ms = core->now.mono_ms;
    if (wire_build_sync_ask(&core->batch, msg) == 0 &&
        wire_put_body(&core->frame, WIRE_SYNC_ASK, buf_bytes(&core->batch), core->pack) == 0)
        core_send(core, core_peer_find(core, in->donor));
    buf_shrink(&core->batch, 4 * core->options.frame_bytes);
}

static void ask(struct core *core)
{
    struct sync_in *in = &core->sync_in;
    struct wire_sync_ask msg = {.id = in->id,
                                .turn = ++in->turn,
                                .entered = in->entered,
                                .goes_on = in->has_vector,
                                .range = in->range,
                                .after = buf_bytes(&in->after)};

    msg.range.sums = buf_bytes(&in->sums);
    in->heard_ms = core->now.mono_ms;
    in->lost = false;
    send_ask(core, &msg);
}

/* Goes on with the donor, if it is there; else core_sync_tick finds one. */
static void ask_on(struct core *core)
{
    const struct peer *donor = core_peer_find(core, core->sync_in.donor);

    if (donor != NULL && donor->state == CORE_LINK_UP)
        ask(core);
}

/* The host is at work on what the donor gave: it is to keep the rest. */
static void say_that_it_waits(struct core *core)
{
    const struct sync_in *in = &core->sync_in;
    const struct peer *donor = core_peer_find(core, in->donor);
    const struct wire_sync_ask msg = {.id = in->id,
                                      .turn = in->turn,
                                      .entered = in->entered,
                                      .goes_on = true,
                                      .waits = true,
                                      .range.bits = WIRE_SYNC_ALL};

    if (!in->stale && donor != NULL && donor->state == CORE_LINK_UP &&
        core->now.mono_ms - in->said_ms >= core->options.timeout_ms)
        send_ask(core, &msg);
}

void core_sync_first_range(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    in->patience = 0;
    buf_clear(&in->after);
    buf_clear(&in->sums);
    in->range = (struct wire_sync_range){.end = in->resync ? 0 : KEY_SLOTS, .bits = WIRE_SYNC_ALL};
}

/* From the first key on, and from another checkpoint: what was stored goes (sync_begin). */
static void restart(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    in->donor = 0;
    in->id++;
    in->has_vector = in->begun = in->lost = in->ending = false;
    posv_init(&in->newest);
    core_sync_first_range(core);
}

void core_sync_back_off(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    in->retry_ms = core->now.mono_ms;
    if (in->failed != 0)
        in->retry_ms +=
            u64_min((uint64_t)BACK_OFF_MS << (in->failed - 1), core->options.timeout_ms);
    in->failed = u32_min(in->failed + 1, DOUBLED_MAX);
}

/* The attempt has come to nothing. */
static void fail(struct core *core)
{
    core_sync_back_off(core);
    restart(core);
}

/* What the host was doing is done, but meanwhile it had become of no use. */
static bool restart_if_stale(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    if (!in->stale)
        return false;
    in->storing = in->stale = false;
    restart(core);
    return true;
}

void core_sync_summed(struct core *core, const struct wire_sync_range *range)
{
    struct sync_in *in = &core->sync_in;

    CHECK(in->storing && in->resync);
    in->storing = false;
    if (restart_if_stale(core))
        return;
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

/* `silent`: a donor that is left, since it gives nothing; 0: none. */
static struct peer *choose_donor(struct core *core, uint8_t silent)
{
    const struct sync_in *in = &core->sync_in;
    struct peer *peer = next_donor(core, !in->resync);

    /* Once something was put aside, whoever can brings it to an end; but its giver may come back.
     */
    if (!in->resync || !in->entered || (peer != NULL && peer->origin != silent) ||
        core->now.mono_ms - in->heard_ms <= core->options.timeout_ms)
        return peer;
    struct peer *other = next_donor(core, true);
    return other != NULL ? other : peer;
}

static bool any_donor(const struct core *core)
{
    for (unsigned i = 0; i < core->peers_count; i++) {
        if (core_sync_is_donor(core, core->peers[i]))
            return true;
    }
    return false;
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

/* Whether so many timeouts of a link have passed since then. */
bool core_sync_over(const struct core *core, uint64_t since_ms, unsigned timeouts)
{
    return core->now.mono_ms - since_ms > timeouts * (uint64_t)core->options.timeout_ms;
}

/* The host makes what there is the only thing; what it keeps is soon gone (core_sync_let_go). */
static void end_copy(struct core *core, bool joins)
{
    struct sync_in *in = &core->sync_in;

    in->ending = true;
    in->let_go_ms = 0;
    core->host->sync_finish(core->ctx, &in->vector, &in->newest, joins);
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
    end_copy(core, true);
}

/* The donor is asked already, or once more. False: it is left for another one. */
static bool stay_with(struct core *core, const struct peer *donor)
{
    struct sync_in *in = &core->sync_in;

    if (donor == NULL)
        return false;
    if (donor->state != CORE_LINK_UP)
        return in->has_vector &&
               (!core_sync_over(core, in->lost_ms, BACK_TIMEOUTS) || !any_donor(core));
    if (!in->lost) {
        if (core->now.mono_ms - in->heard_ms <= (uint64_t)core->options.timeout_ms << in->patience)
            return true;
        if (!in->has_vector || in->patience == PATIENCE_MAX) {
            in->patience = u32_min(in->patience + 1, PATIENCE_MAX);
            return false;
        }
        in->patience++;
    } else if (!in->has_vector) {
        return false;
    }
    ask(core);
    return true;
}

void core_sync_tick(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    core_sync_close_idle(core);
    if (in->storing && !in->ending)
        say_that_it_waits(core);
    if (!in->wanted || in->storing)
        return;
    if (in->resync && core->durable_lsn != core->applied_lsn)
        return; /* What comes is joined to what is durable. */
    if (in->anew && !in->entered && !core_seal_stranded(core)) {
        in->wanted = false; /* It is there again, or need not wait any more. */
        return;
    }
    const uint8_t asked = in->donor;
    if (asked == 0 && core->now.mono_ms < in->retry_ms)
        return;
    if (stay_with(core, core_peer_find(core, asked)))
        return;
    if (asked != 0)
        core_resync_turn(core);
    const bool silent = in->patience == PATIENCE_MAX;
    if (in->has_vector)
        restart(core); /* Its checkpoint is gone, for us. */
    const struct peer *donor = choose_donor(core, silent ? asked : 0);
    in->donor = donor == NULL ? 0 : donor->origin;
    in->id++;
    if (donor != NULL)
        ask(core);
    else if (in->resync && !in->entered)
        in->wanted = false; /* Nothing has happened yet. */
    else if (in->resync && core_resync_is_alone(core))
        keep_own(core);
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

/* Keys rise (wire.h): the first and the last one tell of all. */
static bool are_behind(const struct sync_in *in, const struct wire_sync_rows *rows)
{
    if (rows->count == 0)
        return true;
    return wire_sync_slot(rows->first_key) >= in->range.first &&
           wire_sync_slot(rows->last_key) < rows->end &&
           bytes_cmp(rows->first_key, buf_bytes(&in->after)) > 0;
}

/*
 * What is copied becomes ours, and our HLC follows it: origins that are known here, with the same
 * histories, and no times that are far ahead. WIRE_OK, or why the link ends.
 */
static uint8_t judge_vector(const struct core *core, const struct posv *posv, uint64_t *out_detail)
{
    for (unsigned i = 0; i < posv->count; i++) {
        const unsigned index = core_origin_find(core, posv->origin[i]);

        *out_detail = posv->origin[i];
        if (index == ORIGIN_NONE || !pos_consistent(posv->at[i], core->origins[index].applied))
            return WIRE_PROTOCOL_ERR;
        *out_detail = posv->at[i].hlc;
        if (core_is_ahead(core, posv->at[i].hlc))
            return WIRE_CLOCK;
    }
    return WIRE_OK;
}

static uint8_t judge_rows(const struct core *core, const struct wire_sync_rows *rows,
                          uint64_t *out_detail)
{
    if (!is_asked_for(&core->sync_in, rows) || !are_behind(&core->sync_in, rows))
        return WIRE_DAMAGED;
    uint8_t reason = judge_vector(core, &rows->at, out_detail);
    if (reason == WIRE_OK)
        reason = judge_vector(core, &rows->newest, out_detail);
    for (unsigned i = 0; reason == WIRE_OK && i < rows->acked.count; i++)
        reason = judge_vector(core, &rows->acked.durable[i], out_detail);
    return reason;
}

/* All pieces of a checkpoint say the same of it. */
static bool is_of_checkpoint(struct sync_in *in, const struct wire_sync_rows *rows)
{
    if (!in->has_vector) {
        posv_copy(&in->vector, &rows->at);
        posv_copy(&in->newest, &rows->newest);
        in->has_vector = true;
    }
    return posv_leq(&in->vector, &rows->at) && posv_leq(&rows->at, &in->vector) &&
           posv_leq(&in->newest, &rows->newest) && posv_leq(&rows->newest, &in->newest);
}

/* WIRE_OK, or why the link ends. */
static uint8_t take_rows(struct core *core, const struct peer *peer, struct bytes body,
                         uint64_t *out_detail)
{
    struct sync_in *in = &core->sync_in;
    struct wire_sync_rows rows;

    *out_detail = WIRE_SYNC_ROWS;
    if (wire_get_sync_rows(body, &rows) != 0)
        return WIRE_DAMAGED;
    if (!in->wanted || in->storing || rows.id != in->id || rows.turn != in->turn ||
        peer->origin != in->donor)
        return WIRE_OK; /* Of an earlier try. */
    if (rows.gone) {
        fail(core);
        return WIRE_OK;
    }
    const uint8_t reason = judge_rows(core, &rows, out_detail);
    if (reason != WIRE_OK)
        return reason;
    in->patience = 0;
    if (rows.flush != core->flush) {
        /* One of us does not know yet that the group was emptied. */
        core_flush(core, rows.flush);
        fail(core);
        in->heard_ms = core->now.mono_ms;
        return WIRE_OK;
    }
    if (!core_seal_allows(core, peer, &rows.newest) ||
        (in->anew && !core_resync_replaces(core, peer, &rows))) {
        core_resync_turn(core);
        return WIRE_OK; /* Asked for again after a while: a later checkpoint may do. */
    }
    if (!is_of_checkpoint(in, &rows)) {
        *out_detail = WIRE_SYNC_ROWS;
        return WIRE_DAMAGED;
    }
    in->last = rows.last;
    buf_clear(&in->after);
    if (buf_append_bytes(&in->after, rows.last_key) != 0)
        return WIRE_OK; /* No memory: asked for again after a while. */
    if (in->last)
        in->range.end = rows.end;
    core_return_vouched(core, &rows.acked);
    in->storing = true;
    if (!in->begun)
        core->host->sync_begin(core->ctx);
    in->begun = true;
    core->host->sync_put(core->ctx, &rows);
    return WIRE_OK;
}

void core_on_sync_rows(struct core *core, struct peer *peer, struct bytes body)
{
    uint64_t detail;
    const uint8_t reason = take_rows(core, peer, body, &detail);

    if (reason == WIRE_OK)
        return;
    if (core->sync_in.wanted && !core->sync_in.storing && peer->origin == core->sync_in.donor)
        fail(core); /* From somebody else. */
    core_park(core, peer, reason, detail);
}

/* Rows that make no sense: another donor may have better ones, from the first key on. */
static void refuse_rows(struct core *core, int err)
{
    struct sync_in *in = &core->sync_in;
    struct peer *donor = core_peer_find(core, in->donor);

    in->storing = in->stale = false;
    fail(core);
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
    if (restart_if_stale(core))
        return;
    in->entered = true;
    if (in->last && in->range.end < KEY_SLOTS) {
        core->host->sync_sum(core->ctx, in->range.end);
        return;
    }
    if (in->last) {
        /* Of an earlier copy: our own rows may still hold that. */
        for (unsigned i = 0; i < core->newest.count && !in->anew; i++)
            IGNORE_RESULT(posv_raise(&in->newest, core->newest.origin[i], core->newest.at[i]));
        end_copy(core, in->resync && !in->anew);
        return;
    }
    in->storing = false;
    ask_on(core);
}

void core_sync_entered(struct core *core)
{
    CHECK(core->sync_in.storing && core->sync_in.resync && !core->sync_in.stale);
    core->sync_in.entered = true;
}

void core_sync_unread(struct core *core)
{
    struct sync_in *in = &core->sync_in;

    CHECK(in->storing && in->resync);
    in->storing = false;
    if (restart_if_stale(core))
        return;
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
    if (restart_if_stale(core))
        return;
    in->wanted = in->ending = false;
    in->failed = 0;
    buf_deinit(&in->sums);
    posv_copy(&core->newest, &in->newest);
    /* What was kept is gone, also from those to whom it was given. */
    core_sync_close_all(core);
    if (in->resync)
        core_resync_adopt(core, &in->vector);
    else
        adopt(core, &in->vector);
    core_check_newest(core);
    for (unsigned i = 0; i < core->peers_count; i++)
        core->peers[i]->ack_due = true;
    core_plan(core);
}
