/*
 * What goes to peers: the batches that they asked for, once they are durable here, as far as their
 * credit goes.
 *
 * The last own batches are kept in memory, for links that keep up; everything else is read from the
 * log. Whoever lags therefore costs one frame of memory, not a backlog. Peers that keep up are
 * given their frames in turn, so that each frame is made once and sent to all of them.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "replication/group/core_impl.h"

#define FETCH_RETRY_MS 100u /* After the log could not be read. */

/* --- the tail --- */

static struct tail_item *tail_at(struct core *core, uint64_t seq)
{
    return &core->tail[seq & (TAIL_MAX - 1)];
}

static void tail_drop(struct core *core)
{
    struct tail_item *item = tail_at(core, core->tail_first);

    core->tail_bytes -= item->len;
    mem_free(item->bytes);
    item->bytes = NULL;
    core->tail_first++;
}

void core_tail_clear(struct core *core)
{
    core->shared.first_seq = 0;
    while (core->tail_first != core->tail_end)
        tail_drop(core);
}

void core_tail_add(struct core *core, const struct core_record *record)
{
    if (record->bytes.len > core->options.tail_bytes_max / 2) {
        core_tail_clear(core);
        core->tail_first = core->tail_end = 0;
        return;
    }
    if (core->tail_end != record->seq) {
        core_tail_clear(core);
        core->tail_first = core->tail_end = record->seq;
    }
    while (core->tail_first != core->tail_end &&
           (core->tail_end - core->tail_first == TAIL_MAX ||
            core->tail_bytes + record->bytes.len > core->options.tail_bytes_max))
        tail_drop(core);
    struct tail_item *item = tail_at(core, record->seq);
    *item = (struct tail_item){.pos = {record->seq, record->hlc}, .len = record->bytes.len};
    item->bytes = mem_alloc(record->bytes.len);
    memcpy(item->bytes, record->bytes.ptr, record->bytes.len);
    core->tail_bytes += item->len;
    core->tail_end++;
}

static bool tail_has(const struct core *core, uint64_t seq)
{
    return seq >= core->tail_first && seq < core->tail_end;
}

uint64_t core_tail_first(const struct core *core, uint64_t seq, uint64_t *out_hlc)
{
    const uint64_t first = u64_max(seq, core->tail_first);

    if (!tail_has(core, first))
        return 0;
    *out_hlc = core->tail[first & (TAIL_MAX - 1)].pos.hlc;
    return first;
}

/* --- frames --- */

static void begin_frame(struct core *core, const struct stream_out *out, unsigned index)
{
    const struct wire_batches_head head = {.origin = core->origins[index].origin,
                                           .generation = out->generation,
                                           .epoch = core->members.epoch,
                                           .first_seq = out->next_seq,
                                           .prev_hlc = out->prev_hlc};

    wire_writer_begin(&core->writer, &head);
}

/* Sends what was added, if anything. */
static void end_frame(struct core *core, struct peer *peer, struct stream_out *out)
{
    if (core->writer.count == 0)
        return;
    const size_t start = core->frame.len;
    if (wire_writer_end(&core->writer, core->pack, &core->frame) != 0)
        return; /* No memory: the next tick tries again. */
    out->next_seq += core->writer.count;
    out->prev_hlc = core->writer.prev.hlc;
    out->verify = false;
    peer->sent += core->frame.len - start;
    peer->sent_unpacked += core->writer.body.len;
    peer->sent_batches += core->writer.count;
    core_send(core, peer);
}

static bool has_credit(const struct peer *peer)
{
    return peer->sent < peer->credit;
}

/* The batches from where the peer is, up to `to_seq` or to the end of a frame. */
static bool make_shared(struct core *core, const struct stream_out *out, uint64_t to_seq)
{
    struct shared_frame *s = &core->shared;

    s->first_seq = 0;
    buf_clear(&s->bytes);
    buf_shrink(&s->bytes, 4 * core->options.frame_bytes);
    begin_frame(core, out, core->self);
    for (uint64_t seq = out->next_seq; seq <= to_seq && tail_has(core, seq); seq++) {
        const struct tail_item *item = tail_at(core, seq);
        const int err = wire_writer_add(&core->writer, bytes_of(item->bytes, item->len));

        CHECK(err != -ERR_CORRUPT && err != -ERR_FORMAT && err != -ERR_UNSUPPORTED);
        if (err != 0)
            break;
    }
    /* No memory: the next tick tries again. */
    if (core->writer.count == 0 || wire_writer_end(&core->writer, core->pack, &s->bytes) != 0)
        return false;
    s->first_seq = out->next_seq;
    s->end_seq = out->next_seq + core->writer.count;
    s->epoch = core->members.epoch;
    s->prev_hlc = out->prev_hlc;
    s->last_hlc = core->writer.prev.hlc;
    s->unpacked_bytes = core->writer.body.len;
    return true;
}

static bool is_shared(const struct core *core, const struct stream_out *out, uint64_t to_seq)
{
    const struct shared_frame *s = &core->shared;

    return s->first_seq == out->next_seq && s->end_seq - 1 <= to_seq &&
           s->epoch == core->members.epoch && s->prev_hlc == out->prev_hlc;
}

/* One frame from the tail, if the peer has asked for it and has credit. True if it was sent. */
static bool send_tail(struct core *core, struct peer *peer)
{
    struct stream_out *out = &peer->out[core->self];
    const uint64_t to_seq = u64_min(out->to_seq, core->origins[core->self].durable.seq);
    const struct shared_frame *s = &core->shared;

    /* What is being read from the log comes from there, or it would come twice. */
    if (peer->fetch_id != 0 && peer->fetch_index == core->self)
        return false;
    if (peer->state != CORE_LINK_UP || !out->active || !has_credit(peer) ||
        out->next_seq > to_seq || !tail_has(core, out->next_seq) ||
        (out->verify && !tail_has(core, out->next_seq - 1)))
        return false;
    if (out->prev_hlc == 0 && tail_has(core, out->next_seq - 1))
        out->prev_hlc = tail_at(core, out->next_seq - 1)->pos.hlc;
    if (!is_shared(core, out, to_seq) && !make_shared(core, out, to_seq))
        return false;
    wire_frame_set_generation(s->bytes.ptr, out->generation);
    peer->sent += s->bytes.len;
    peer->sent_unpacked += s->unpacked_bytes;
    peer->sent_batches += s->end_seq - s->first_seq;
    out->next_seq = s->end_seq;
    out->prev_hlc = s->last_hlc;
    out->verify = false;
    core->host->send(core->ctx, peer->origin, buf_bytes(&s->bytes));
    return true;
}

static void start_fetch(struct core *core, struct peer *peer, unsigned index, uint64_t to_seq)
{
    const struct stream_out *out = &peer->out[index];
    const struct core_fetch fetch = {.id = ++core->fetch_last,
                                     .peer = peer->origin,
                                     .origin = core->origins[index].origin,
                                     .from_seq = out->next_seq - (out->verify ? 1 : 0),
                                     .to_seq = to_seq,
                                     .bytes_max = core->options.frame_bytes};

    peer->fetch_id = fetch.id;
    peer->fetch_index = index;
    core->host->fetch(core->ctx, &fetch);
}

/* What the tail does not have. */
static void pump_stream(struct core *core, struct peer *peer, unsigned index)
{
    struct stream_out *out = &peer->out[index];
    const uint64_t to_seq = u64_min(out->to_seq, core->origins[index].durable.seq);

    if (!out->active)
        return;
    if (out->next_seq > out->to_seq)
        out->active = false;
    if (out->next_seq <= to_seq && has_credit(peer) && peer->fetch_id == 0 &&
        core->now.mono_ms >= peer->fetch_retry_ms)
        start_fetch(core, peer, index, to_seq);
}

void core_pump(struct core *core, struct peer *peer)
{
    if (peer->state != CORE_LINK_UP)
        return;
    while (send_tail(core, peer))
        continue;
    for (unsigned i = 0; i < core->origins_count; i++)
        pump_stream(core, peer, i);
}

void core_pump_all(struct core *core)
{
    bool moved;

    do {
        moved = false;
        for (unsigned i = 0; i < core->peers_count; i++)
            moved |= send_tail(core, core->peers[i]);
    } while (moved);
    for (unsigned i = 0; i < core->peers_count; i++)
        core_pump(core, core->peers[i]);
}

/* --- asked --- */

void core_on_request(struct core *core, struct peer *peer, const struct wire_request *request)
{
    const unsigned index = core_origin_find(core, request->origin);

    if (index == ORIGIN_NONE) {
        core_park(core, peer, WIRE_PROTOCOL_ERR, request->origin);
        return;
    }
    if (peer->fetch_id != 0 && peer->fetch_index == index)
        peer->fetch_id = 0;
    peer->out[index] = (struct stream_out){.active = request->to_seq >= request->from_seq,
                                           .verify = request->from_seq > 1,
                                           .generation = request->generation,
                                           .next_seq = request->from_seq,
                                           .to_seq = request->to_seq};
    core_pump(core, peer);
}

static void refuse(struct core *core, struct peer *peer, unsigned index)
{
    struct stream_out *out = &peer->out[index];
    const struct wire_nack nack = {.origin = core->origins[index].origin,
                                   .generation = out->generation,
                                   .reason = WIRE_TRIMMED,
                                   .trimmed_seq = out->next_seq};

    out->active = false;
    if (wire_put_nack(&core->frame, &nack) == 0)
        core_send(core, peer);
}

/* Sends the records, one or more frames of them. */
static void send_records(struct core *core, struct peer *peer, const struct core_record *records,
                         size_t count)
{
    struct stream_out *out = &peer->out[peer->fetch_index];
    size_t i = 0;

    if (count != 0 && records[0].seq + 1 == out->next_seq) {
        out->prev_hlc = records[0].hlc;
        out->verify = false;
        i = 1;
    }
    while (i < count) {
        const size_t start = i;

        CHECK(records[i].seq == out->next_seq);
        begin_frame(core, out, peer->fetch_index);
        while (i < count) {
            const int err = wire_writer_add(&core->writer, records[i].bytes);

            if (err == -ERR_CORRUPT || err == -ERR_FORMAT || err == -ERR_UNSUPPORTED) {
                core_park(core, peer, WIRE_DAMAGED, records[i].seq);
                return;
            }
            if (err != 0)
                break;
            i++;
        }
        if (i == start)
            return; /* No memory: asked again at the next tick. */
        end_frame(core, peer, out);
    }
}

void core_fetched(struct core *core, uint64_t id, int err, const struct core_record *records,
                  size_t count)
{
    struct peer *peer = NULL;

    for (unsigned i = 0; i < core->peers_count; i++) {
        if (core->peers[i]->fetch_id == id)
            peer = core->peers[i];
    }
    if (peer == NULL || peer->state != CORE_LINK_UP)
        return; /* The link or the stream is gone. */
    struct stream_out *out = &peer->out[peer->fetch_index];
    peer->fetch_id = 0;
    if (err == 0)
        send_records(core, peer, records, count);
    else if (err != -ERR_NOT_FOUND)
        peer->fetch_retry_ms = core->now.mono_ms + FETCH_RETRY_MS;
    else if (out->verify)
        out->verify = false; /* The one before is gone; perhaps only that. */
    else
        refuse(core, peer, peer->fetch_index);
    core_pump(core, peer);
}
