/*
 * Giving: a checkpoint for each peer that asks for a copy, and its rows, piece by piece
 * (core_sync.c has the protocol, and the other side).
 *
 * One checkpoint is open for a peer at most, and one piece is being read for it. What it asks for
 * meanwhile is noted, and the piece thrown away if it is not what was asked for last. A checkpoint
 * keeps files of the store that would be gone: it is closed when its link's peer gives no sign of
 * life for long, when it has acknowledged what it was given, and when the rows themselves go.
 */
#include "engine/base/check.h"
#include "engine/base/crc16.h"
#include "engine/base/err.h"
#include "engine/base/num.h"

#include "replication/group/core_impl.h"

/* In timeouts of a link: */
#define IDLE_TIMEOUTS 4u  /* after so many a checkpoint counts as one that nobody reads, */
#define HOLD_TIMEOUTS 12u /* and after so many without a sign of life it is closed. */

static void read_more(struct core *core, struct peer *peer)
{
    struct sync_out *out = &peer->sync_out;
    struct wire_sync_ask ask = {
        .id = out->id, .range = out->range, .after = buf_bytes(&out->after)};

    ask.range.sums = buf_bytes(&out->sums);
    out->busy = true;
    out->ended = out->again = false;
    core->host->sync_read(core->ctx, peer->origin, &ask, core->options.sync_bytes);
}

static void send_rows(struct core *core, struct peer *peer, const struct wire_sync_rows *head,
                      const struct core_piece *piece)
{
    if (wire_build_sync_rows(&core->batch, head, piece->rows, piece->count) == 0 &&
        wire_put_body(&core->frame, WIRE_SYNC_ROWS, buf_bytes(&core->batch), core->pack) == 0)
        core_send(core, peer);
    buf_shrink(&core->batch, 4 * core->options.frame_bytes);
}

static void send_gone(struct core *core, struct peer *peer, uint32_t id, uint32_t turn)
{
    const struct wire_sync_rows head = {.id = id, .turn = turn, .gone = true};

    send_rows(core, peer, &head, &(struct core_piece){0});
}

static bool is_noted(const struct sync_out *out, const struct wire_sync_ask *msg)
{
    return out->range.first == msg->range.first && out->range.end == msg->range.end &&
           out->range.bits == msg->range.bits && out->range.seed == msg->range.seed &&
           bytes_eq(buf_bytes(&out->after), msg->after) &&
           bytes_eq(buf_bytes(&out->sums), msg->range.sums);
}

/* False: there is no memory for it. */
static bool note_ask(struct sync_out *out, const struct wire_sync_ask *msg)
{
    buf_clear(&out->after);
    buf_clear(&out->sums);
    out->range = msg->range;
    return buf_append_bytes(&out->after, msg->after) == 0 &&
           buf_append_bytes(&out->sums, msg->range.sums) == 0;
}

static void open_copy(struct core *core, struct peer *peer, uint32_t id)
{
    struct sync_out *out = &peer->sync_out;

    if (out->open)
        core->host->sync_close(core->ctx, peer->origin);
    /* At most what the checkpoint will have; of two the first counts. */
    if (!peer->behind || !peer->has_floor)
        posv_copy(&peer->floor, &core->covered);
    peer->has_floor = true;
    out->open = out->busy = true;
    out->ended = out->again = false;
    out->id = id;
    core->host->sync_open(core->ctx, peer->origin, id);
}

bool core_on_sync_ask(struct core *core, struct peer *peer, struct bytes body)
{
    struct sync_out *out = &peer->sync_out;
    struct wire_sync_ask msg;

    if (wire_get_sync_ask(body, &msg) != 0)
        return false;
    const bool is_open = out->open && out->id == msg.id;
    if (msg.waits) {
        /* A checkpoint keeps files that would be gone: not where room is scarce here, too. */
        if (is_open && core->room == CORE_ROOM_OK)
            out->alive_ms = core->now.mono_ms;
        return true;
    }
    if (msg.goes_on && !is_open) {
        send_gone(core, peer, msg.id, msg.turn);
        return true;
    }
    if (core->self_state != MEMBER_ACTIVE || (out->busy && !is_open) ||
        (core->sync_in.ending && !is_open) ||
        (core->sync_in.wanted && !core_resync_yield(core, peer, msg.entered)))
        return true; /* It will ask again, or another one. */
    /* What is being read is what is asked for once more, or no use to anybody. */
    out->again = out->busy && (out->again || !is_noted(out, &msg));
    if ((out->again || !out->busy) && !note_ask(out, &msg)) {
        out->awaited = false;
        return true;
    }
    out->turn = msg.turn;
    out->asked_ms = out->alive_ms = core->now.mono_ms;
    out->awaited = true;
    if (out->busy)
        return true;
    if (is_open)
        read_more(core, peer);
    else
        open_copy(core, peer, msg.id);
    return true;
}

/* Whose work is done; NULL: the copy is gone. */
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
    if (peer->sync_out.awaited)
        read_more(core, peer);
}

void core_sync_rows(struct core *core, uint8_t origin, uint32_t id, int err,
                    const struct core_piece *piece)
{
    struct peer *peer = worked_for(core, origin, id);

    if (peer == NULL)
        return;
    struct sync_out *out = &peer->sync_out;
    if (err == -ERR_CLOSED) {
        if (out->awaited)
            send_gone(core, peer, id, out->turn);
        core_sync_close(core, peer);
        return;
    }
    if (out->again && out->awaited) {
        read_more(core, peer);
        return;
    }
    if (err != 0 || !out->awaited)
        return; /* It is asked for once more. */
    out->awaited = false;
    out->ended = piece->last && piece->end == KEY_SLOTS;
    struct wire_sync_rows head = {.id = id,
                                  .turn = out->turn,
                                  .last = piece->last,
                                  .end = piece->end,
                                  .differ = piece->differ,
                                  .flush = out->flush,
                                  .at = out->at,
                                  .newest = out->newest};

    /* As of now: no less than when the rows were what they are. */
    if (out->ended)
        core_acked(core, &head.acked);
    send_rows(core, peer, &head, piece);
}

bool core_sync_giving(const struct core *core)
{
    for (unsigned i = 0; i < core->peers_count; i++) {
        const struct sync_out *out = &core->peers[i]->sync_out;

        if (out->open && !out->ended && !core_sync_over(core, out->asked_ms, IDLE_TIMEOUTS))
            return true;
    }
    return false;
}

bool core_sync_let_go(struct core *core)
{
    struct sync_in *in = &core->sync_in;
    bool open = false;

    CHECK(in->ending);
    if (in->let_go_ms == 0)
        in->let_go_ms = u64_max(core->now.mono_ms, 1);
    const bool late = core_sync_over(core, in->let_go_ms, HOLD_TIMEOUTS);
    for (unsigned i = 0; i < core->peers_count; i++) {
        struct peer *peer = core->peers[i];
        const struct sync_out *out = &peer->sync_out;

        if (late || (out->ended && !out->busy) ||
            core_sync_over(core, out->asked_ms, IDLE_TIMEOUTS))
            core_sync_close(core, peer);
        open = open || out->open;
    }
    return !open;
}

void core_sync_acked(struct core *core, struct peer *peer)
{
    const struct sync_out *out = &peer->sync_out;

    if (out->open && out->ended && !out->busy && posv_leq(&out->at, &peer->durable))
        core_sync_close(core, peer); /* Nothing is to be kept open for it. */
}

void core_sync_link_down(struct core *core, struct peer *peer)
{
    struct sync_in *in = &core->sync_in;

    peer->sync_out.awaited = false;
    if (peer->origin != in->donor || in->lost)
        return;
    in->lost = true;
    in->lost_ms = core->now.mono_ms;
}

void core_sync_close(struct core *core, struct peer *peer)
{
    struct sync_out *out = &peer->sync_out;

    if (out->open)
        core->host->sync_close(core->ctx, peer->origin);
    out->open = out->busy = out->awaited = false;
    buf_deinit(&out->sums);
}

void core_sync_close_all(struct core *core)
{
    for (unsigned i = 0; i < core->peers_count; i++)
        core_sync_close(core, core->peers[i]);
}

/* Whoever does not ask on has given up, or asks for a new checkpoint. */
void core_sync_close_idle(struct core *core)
{
    for (unsigned i = 0; i < core->peers_count; i++) {
        struct peer *peer = core->peers[i];

        if (peer->sync_out.open && !peer->sync_out.busy &&
            core_sync_over(core, peer->sync_out.alive_ms, HOLD_TIMEOUTS))
            core_sync_close(core, peer);
    }
}
