/*
 * What comes from peers: batches in the order of their origin and of causality, duplicates thrown
 * away, gaps asked for.
 *
 * A batch is applied when it is the next one of its origin, everything in its context is applied,
 * and the host has room. Else it is parked behind the earlier ones of its origin. A queue beyond
 * its bound takes nothing more: the stream is stopped and asked for again later, for the sender has
 * it on flash.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "replication/group/core_impl.h"

/* --- applying --- */

/* Everything that the batch has seen is here; its own origin's is, as it is the next one. */
static bool is_causal(const struct core *core, const struct batch *batch)
{
    for (unsigned i = 0; i < batch->ctx.count; i++) {
        if (batch->ctx.origin[i] != batch->origin &&
            batch->ctx.hlc[i] > vv_get(&core->applied_vv, batch->ctx.origin[i]))
            return false;
    }
    return true;
}

/* 0; -ERR_BUSY: not yet; or why never. */
static int can_apply(struct core *core, const struct batch *batch, struct bytes bytes)
{
    if (!is_causal(core, batch))
        return -ERR_BUSY;
    /* Before the host is asked: emptying the keys takes it some time. */
    core_flush(core, batch->flush);
    const int err = core->host->can_apply(core->ctx, batch, bytes);
    if (err == -ERR_BUSY)
        core->blocked = true;
    return err;
}

static void apply(struct core *core, unsigned index, const struct batch *batch, struct bytes bytes)
{
    const uint64_t lsn = core->host->apply(core->ctx, batch, bytes);

    core_note_record(core, index, lsn, (struct pos){batch->seq, batch->hlc}, bytes.len);
}

/* The first of a queue can never be applied: the queue goes, and who sent it is told. */
static void refuse_parked(struct core *core, unsigned index, const struct parked *p, int err)
{
    struct origin *o = &core->origins[index];
    struct peer *peer = core_peer_find(core, p->from);
    const uint64_t seq = p->pos.seq;

    core_queue_clear(o);
    if (peer != NULL && peer->state == CORE_LINK_UP)
        core_park(core, peer, core_reason_of(err), seq);
}

/* Applies the first of a queue if it can be. */
static bool apply_parked(struct core *core, unsigned index)
{
    struct origin *o = &core->origins[index];
    struct list_link *link = list_first(&o->queue);
    struct batch batch;

    if (link == NULL)
        return false;
    struct parked *p = LIST_ITEM(link, struct parked, link);
    const struct bytes bytes = bytes_of(p->bytes, p->len);
    CHECK(batch_open(bytes, &batch) == 0);
    const int err = can_apply(core, &batch, bytes);
    if (err != 0 && err != -ERR_BUSY)
        refuse_parked(core, index, p, err);
    if (err != 0)
        return false;
    list_remove(link);
    o->queue_bytes -= sizeof(*p) + p->len;
    apply(core, index, &batch, bytes);
    mem_free(p);
    return true;
}

void core_drain(struct core *core)
{
    bool moved = true;

    core->blocked = false;
    while (moved && !core->blocked) {
        moved = false;
        for (unsigned i = 0; i < core->origins_count; i++) {
            while (!core->blocked && apply_parked(core, i))
                moved = true;
        }
    }
}

void core_queue_clear(struct origin *o)
{
    struct list_link *link;

    while ((link = list_pop_front(&o->queue)) != NULL)
        mem_free(LIST_ITEM(link, struct parked, link));
    o->queue_bytes = 0;
    o->refused_bytes = 0;
    o->queued = o->applied;
}

static bool park(struct core *core, struct origin *o, const struct parked *what, struct bytes bytes)
{
    const size_t size = sizeof(struct parked) + bytes.len;

    if (!list_empty(&o->queue) && o->queue_bytes + size > core->options.parked_bytes_max) {
        o->refused_bytes = size;
        return false;
    }
    struct parked *p = mem_try_alloc(size);
    if (p == NULL)
        return false;
    *p = *what;
    p->len = bytes.len;
    memcpy(p->bytes, bytes.ptr, bytes.len);
    list_push_back(&o->queue, &p->link);
    o->queue_bytes += size;
    o->queued = what->pos;
    o->progress_ms = core->now.mono_ms;
    o->relay_wait_ms = 0;
    return true;
}

/* --- streams --- */

static void request(struct core *core, struct peer *peer, unsigned index, uint64_t to_seq)
{
    struct stream_in *in = &peer->in[index];

    in->generation++;
    in->next_seq = core->origins[index].queued.seq + 1;
    in->to_seq = to_seq;
    in->active = to_seq != 0;

    const struct wire_request req = {.origin = core->origins[index].origin,
                                     .generation = in->generation,
                                     .from_seq = in->next_seq,
                                     .to_seq = to_seq};
    if (wire_put_request(&core->frame, &req) == 0)
        core_send(core, peer);
}

/* Whether the queue of an origin takes another frame; at least what it refused the last time. */
static bool has_room(const struct core *core, const struct origin *o)
{
    return list_empty(&o->queue) ||
           (o->queue_bytes <= core->options.parked_bytes_max / 2 &&
            o->queue_bytes + o->refused_bytes <= core->options.parked_bytes_max);
}

/* The peer to ask for what is missing of an origin, or NULL: in turn, among those that have it. */
static struct peer *choose_relay(struct core *core, struct origin *o)
{
    for (unsigned i = 1; i <= core->peers_count; i++) {
        const unsigned at = (o->relay_last + i) % core->peers_count;
        struct peer *peer = core->peers[at];

        if (peer->state == CORE_LINK_UP && peer->origin != o->origin &&
            posv_get(&peer->durable, o->origin).seq > o->queued.seq &&
            posv_get(&peer->trimmed, o->origin).seq <= o->queued.seq) {
            o->relay_last = at;
            return peer;
        }
    }
    return NULL;
}

static void plan_relay(struct core *core, unsigned index)
{
    struct origin *o = &core->origins[index];
    uint64_t need_seq = 0;

    for (unsigned i = 0; i < core->peers_count && !o->frozen; i++) {
        if (core->peers[i]->state == CORE_LINK_UP)
            need_seq = u64_max(need_seq, posv_get(&core->peers[i]->durable, o->origin).seq);
    }
    const struct member *member = members_find(&core->members, o->origin);
    if (member != NULL && member->state == MEMBER_SEALED)
        need_seq = u64_min(need_seq, member->sealed_seq);
    if (need_seq <= o->queued.seq || !has_room(core, o)) {
        o->progress_ms = core->now.mono_ms;
        o->relay_wait_ms = 0;
        return;
    }
    if (core->now.mono_ms - o->progress_ms < u64_max(o->relay_wait_ms, core->options.relay_ms))
        return;
    /* Longer each time: else a long way would never bring an answer to the last question. */
    o->relay_wait_ms = u64_min(u64_max(2 * o->relay_wait_ms, 2 * core->options.relay_ms),
                               core->options.timeout_ms);
    struct peer *peer = choose_relay(core, o);
    o->progress_ms = core->now.mono_ms;
    if (peer != NULL)
        request(core, peer, index, u64_min(need_seq, posv_get(&peer->durable, o->origin).seq));
}

void core_plan(struct core *core)
{
    if (core->sync_in.wanted)
        return; /* Rows first. */
    for (unsigned i = 0; i < core->peers_count; i++) {
        struct peer *peer = core->peers[i];
        const struct origin *o = &core->origins[peer->index];

        if (peer->self_behind && o->queued.seq >= peer->behind_seq)
            peer->self_behind = false; /* What it lacks came from others. */
        if (peer->state == CORE_LINK_UP && !peer->self_behind && !peer->in[peer->index].active &&
            !o->frozen && has_room(core, o))
            request(core, peer, peer->index, WIRE_SEQ_ALL);
    }
    for (unsigned i = 0; i < core->origins_count; i++)
        plan_relay(core, i);
}

void core_on_nack(struct core *core, struct peer *peer, const struct wire_nack *nack)
{
    const unsigned index = core_origin_find(core, nack->origin);

    if (index == ORIGIN_NONE || peer->in[index].generation != nack->generation)
        return;
    peer->in[index].active = false;
    if (core->origins[index].queued.seq >= nack->trimmed_seq)
        return; /* It came another way meanwhile, and was trimmed because we have it. */
    IGNORE_RESULT(posv_raise(&peer->trimmed, nack->origin,
                             (struct pos){nack->trimmed_seq, 1})); /* At most one too many. */
    if (index == peer->index && !peer->self_behind) {
        peer->self_behind = true;
        peer->behind_seq = nack->trimmed_seq;
        core_event(core, CORE_SELF_BEHIND, peer, nack->trimmed_seq);
    }
}

/* --- batches --- */

/* What becomes of a batch: enum wire_reason, or these. */
enum taken {
    TAKEN = -1,
    STOP = -2
};

bool core_is_ahead(const struct core *core, uint64_t hlc)
{
    /* Our wall clock may be behind. */
    const uint64_t clock_ms = core_clock_ms(core, core->now.mono_ms, core->now.wall_ms);
    const uint64_t now_ms = u64_max(u64_max(clock_ms, core->now.wall_ms), hlc_ms(core->now.hlc));

    return hlc_ms(hlc) > now_ms + CORE_AHEAD_MS_MAX;
}

static int judge(const struct core *core, const struct origin *o, const struct batch *batch)
{
    const struct member *member = members_find(&core->members, o->origin);

    if (o->frozen)
        return STOP;
    if (batch->seq <= o->queued.seq) {
        if (batch->seq == o->queued.seq && batch->hlc != o->queued.hlc)
            return WIRE_FORK;
        return TAKEN; /* A duplicate. */
    }
    if (batch->seq != o->queued.seq + 1)
        return STOP; /* What was in between was dropped. */
    if (batch->hlc <= o->queued.hlc)
        return WIRE_FORK;
    if (member == NULL || (member->state == MEMBER_SEALED && batch->seq > member->sealed_seq))
        return WIRE_SEALED;
    return core_is_ahead(core, batch->hlc) ? WIRE_CLOCK : WIRE_OK;
}

static int take_batch(struct core *core, struct peer *peer, unsigned index, struct batch *out)
{
    struct origin *o = &core->origins[index];
    const struct bytes bytes = buf_bytes(&core->batch);

    CHECK(batch_open(bytes, out) == 0);
    const int judged = judge(core, o, out);
    if (judged != WIRE_OK)
        return judged;
    const int err = list_empty(&o->queue) ? can_apply(core, out, bytes) : -ERR_BUSY;
    if (err != 0 && err != -ERR_BUSY)
        return core_reason_of(err);
    const struct parked waiting = {.pos = {out->seq, out->hlc}, .from = peer->origin};
    if (err == 0)
        apply(core, index, out, bytes);
    else if (!park(core, o, &waiting, bytes))
        return STOP;
    o->refused_bytes = 0;
    peer->batches_in++;
    peer->relayed_in += index != peer->index;
    return TAKEN;
}

/* What BYE says beside the reason (wire.h). */
static uint64_t detail_of(int reason, const struct batch *batch)
{
    if (reason == WIRE_FORK)
        return batch->origin;
    return reason == WIRE_CLOCK ? batch->hlc : batch->seq;
}

/* A batch that cannot follow what is here: of our own origin it is we who cannot go on. */
static void refuse_batch(struct core *core, struct peer *peer, unsigned index, uint8_t reason,
                         uint64_t detail)
{
    if (reason == WIRE_FORK && index == core->self)
        core_forked(core, peer);
    core_park(core, peer, reason, detail);
}

/* All batches of a frame, or as many as can be taken. */
static void take_batches(struct core *core, struct peer *peer, unsigned index,
                         struct wire_reader *reader)
{
    struct stream_in *in = &peer->in[index];
    struct batch batch;
    int step;

    while ((step = wire_reader_next(reader, &core->batch)) == WIRE_BATCH) {
        const int taken = take_batch(core, peer, index, &batch);

        if (taken == STOP) {
            request(core, peer, index, 0);
            return;
        }
        if (taken != TAKEN) {
            refuse_batch(core, peer, index, (uint8_t)taken, detail_of(taken, &batch));
            return;
        }
        in->next_seq++;
    }
    if (step != WIRE_END)
        core_park(core, peer, core_reason_of(step), in->next_seq);
    else if (in->next_seq > in->to_seq)
        in->active = false;
}

void core_on_batches(struct core *core, struct peer *peer, const struct wire_frame *frame,
                     size_t frame_len)
{
    struct wire_reader reader;

    peer->consumed += frame_len;
    if (wire_reader_init(&reader, frame->body) != 0) {
        core_park(core, peer, WIRE_DAMAGED, 0);
        return;
    }
    const unsigned index = core_origin_find(core, reader.head.origin);
    if (reader.head.epoch != core->members.epoch) {
        core_park(core, peer, WIRE_EPOCH, core->members.epoch);
        return;
    }
    if (index == ORIGIN_NONE) {
        core_park(core, peer, WIRE_PROTOCOL_ERR, reader.head.origin);
        return;
    }
    const struct stream_in *in = &peer->in[index];
    if (!in->active || in->generation != frame->generation)
        return; /* Asked for before we changed our mind. */
    if (reader.head.first_seq != in->next_seq) {
        core_park(core, peer, WIRE_PROTOCOL_ERR, reader.head.first_seq);
        return;
    }
    const struct pos queued = core->origins[index].queued;
    if (reader.head.first_seq == queued.seq + 1 && reader.head.prev_hlc != 0 &&
        reader.head.prev_hlc != queued.hlc) {
        refuse_batch(core, peer, index, WIRE_FORK, core->origins[index].origin);
        return;
    }
    take_batches(core, peer, index, &reader);
    core_drain(core);
}
