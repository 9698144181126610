/*
 * Hostile peers: whatever frames they send, in whatever order, a core goes on, within its bounds.
 *
 * Input: choices, a byte or more each; when they are used up the sum of all goes on choosing, so
 * that a short input is a whole run, too. A run is one core whose host keeps nothing but what it
 * has to answer, and three peers. Most frames fit what the core has asked for (a fuzzer would guess
 * no number of a copy): then what is in them is chosen, likely or not, and some are damaged before
 * their sum is made.
 */
#include <errno.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/crc16.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"
#include "engine/base/sum.h"

#include "engine/value/op.h"
#include "engine/value/row.h"

#include "replication/group/core_impl.h"
#include "replication/group/pack.h"

#include "tests/fuzz/fuzz.h"

#define SELF        1u
#define PEERS       3u /* Origins 2 to 4. */
#define STEPS       4000u
#define WALL_MS     UINT64_C(1000000000)
#define BYTES_MAX   (1u << 20)
#define MEMORY_MAX  (16u << 20)
#define WIRE_SUM_AT 12u

/* What the host has been asked for, and answers some time later. */
enum owed {
    OWE_NOTHING,
    OWE_PUT,
    OWE_SUM,
    OWE_FINISH
};

struct world {
    struct bytes in;
    struct rng rng;
    struct core *core;
    struct core_time now;
    uint64_t epoch;
    uint64_t lsn;
    unsigned wild;                      /* What is drawn is likely but for one of so many; */
    unsigned damages;                   /* likewise frames that are damaged. */
    struct core_fetch fetch[1 + PEERS]; /* By peer; id 0: none. */
    bool opens[1 + PEERS];
    bool reads[1 + PEERS];
    struct wire_sync_range range[1 + PEERS];
    enum owed owed;
    bool differs;
    uint16_t sum_first;
    struct buf batch, body, frame;
    struct wire_writer writer;
    struct pack *pack;
};

/* --- choices --- */

static uint64_t draw(struct world *w, unsigned bytes)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < bytes; i++) {
        uint8_t byte;
        n = n << 8 | (u8_get(&w->in, &byte) == 0 ? byte : (uint8_t)rng_u64(&w->rng));
    }
    return n;
}

static unsigned below(struct world *w, unsigned n)
{
    return (unsigned)draw(w, n > 128 ? 2 : 1) % n;
}

/* One of so many times. */
static bool seldom(struct world *w, unsigned n)
{
    return below(w, n) == 0;
}

/* Histories on which all agree, most of the time. */
static struct pos some_pos(struct world *w)
{
    const uint64_t seq = seldom(w, w->wild) ? draw(w, 8) : below(w, 40);
    const uint64_t hlc = seldom(w, w->wild) ? draw(w, 8) : (WALL_MS << HLC_LOGICAL_BITS) + seq;

    return (struct pos){seq, seq == 0 ? 0 : u64_max(hlc, 1)};
}

static uint8_t some_origin(struct world *w)
{
    return (uint8_t)(seldom(w, w->wild) ? draw(w, 1) : 1 + below(w, 1 + PEERS));
}

static void some_vector(struct world *w, struct posv *out)
{
    const bool wild = seldom(w, w->wild);
    unsigned count = wild ? VV_ORIGINS_MAX : below(w, 5);

    posv_init(out);
    for (; count > 0; count--) {
        const uint8_t origin = wild ? (uint8_t)draw(w, 1) : some_origin(w);
        IGNORE_RESULT(posv_raise(out, origin, some_pos(w)));
    }
}

/* --- the host --- */

static void on_send(void *ctx, uint8_t peer, struct bytes frame)
{
    size_t size;

    (void)ctx;
    CHECK(peer != SELF && wire_frame_size(frame, &size) == 0 && size == frame.len);
}

static void on_close(void *ctx, uint8_t peer)
{
    (void)ctx;
    CHECK(peer != SELF);
}

static int on_can_apply(void *ctx, const struct batch *batch, struct bytes bytes)
{
    struct world *w = ctx;

    (void)bytes;
    CHECK(batch->seq != 0);
    if (seldom(w, 60))
        return -ERR_UNSUPPORTED;
    return seldom(w, 4) ? -ERR_BUSY : 0;
}

static uint64_t on_apply(void *ctx, const struct batch *batch, struct bytes bytes)
{
    struct world *w = ctx;
    struct posv at;

    core_position(w->core, &at);
    CHECK(batch->seq == posv_get(&at, batch->origin).seq + 1 && bytes.len != 0);
    return ++w->lsn;
}

static void on_flush(void *ctx, uint32_t flush)
{
    (void)ctx;
    CHECK(flush != 0);
}

static void on_fetch(void *ctx, const struct core_fetch *fetch)
{
    struct world *w = ctx;

    CHECK(fetch->from_seq != 0 && fetch->from_seq <= fetch->to_seq);
    w->fetch[fetch->peer - 1] = *fetch;
}

static void on_event(void *ctx, const struct core_event *event)
{
    (void)ctx;
    (void)event;
}

static void on_sync_open(void *ctx, uint8_t peer, uint32_t id)
{
    struct world *w = ctx;

    (void)id;
    w->opens[peer - 1] = true;
    w->reads[peer - 1] = false;
}

static void on_sync_read(void *ctx, uint8_t peer, const struct wire_sync_ask *ask, size_t bytes_max)
{
    struct world *w = ctx;

    CHECK(bytes_max != 0 && ask->range.first <= ask->range.end && ask->range.end <= KEY_SLOTS);
    w->reads[peer - 1] = true;
    w->range[peer - 1] = ask->range;
}

static void on_sync_close(void *ctx, uint8_t peer)
{
    struct world *w = ctx;

    w->opens[peer - 1] = w->reads[peer - 1] = false;
}

static void on_sync_begin(void *ctx)
{
    const struct world *w = ctx;

    CHECK(w->owed == OWE_NOTHING);
}

static void on_sync_sum(void *ctx, uint16_t first)
{
    struct world *w = ctx;

    CHECK(first < KEY_SLOTS);
    w->owed = OWE_SUM;
    w->sum_first = first;
}

static void on_sync_put(void *ctx, struct wire_sync_rows *rows)
{
    struct world *w = ctx;
    struct wire_row row;

    CHECK(w->owed == OWE_NOTHING);
    while (wire_sync_next(rows, &row))
        CHECK(row_check(row.row) == 0);
    w->owed = OWE_PUT;
    w->differs = rows->differ.len != 0;
}

static void on_sync_finish(void *ctx, const struct posv *at, const struct posv *newest, bool joins)
{
    struct world *w = ctx;

    (void)joins;
    CHECK(posv_leq(at, newest) || newest->count != 0 || at->count == 0);
    w->owed = OWE_FINISH;
}

static const struct core_host host = {.send = on_send,
                                      .close = on_close,
                                      .can_apply = on_can_apply,
                                      .apply = on_apply,
                                      .flush = on_flush,
                                      .fetch = on_fetch,
                                      .event = on_event,
                                      .sync_open = on_sync_open,
                                      .sync_read = on_sync_read,
                                      .sync_close = on_sync_close,
                                      .sync_begin = on_sync_begin,
                                      .sync_sum = on_sync_sum,
                                      .sync_put = on_sync_put,
                                      .sync_finish = on_sync_finish};

/* --- what the host answers --- */

static void make_batch(struct world *w, uint8_t origin, struct pos pos, const struct vv *seen)
{
    const struct op incr = {.kind = OP_INCR, .key = BYTES_LIT("k"), .start = pos.hlc, .isum = 1};
    struct vv ctx;

    vv_copy(&ctx, seen);
    buf_clear(&w->batch);
    CHECK(buf_reserve(&w->batch, BATCH_HEADER_BYTES_MAX + op_size(&incr)) == 0);
    buf_commit(&w->batch, batch_header_store(buf_end(&w->batch), tag_of(pos.hlc, origin), pos.seq,
                                             1, vv_empty(&ctx) ? NULL : &ctx));
    buf_commit(&w->batch, op_store(buf_end(&w->batch), &incr, pos.hlc));
}

static void make_any_batch(struct world *w, uint8_t origin, struct pos pos)
{
    struct vv seen;

    vv_init(&seen);
    if (seldom(w, 2))
        IGNORE_RESULT(vv_raise(&seen, tag_of(some_pos(w).hlc, some_origin(w))));
    make_batch(w, origin, pos, &seen);
}

static void answer_copy(struct world *w)
{
    const enum owed owed = w->owed;
    const unsigned first = w->sum_first;
    const uint16_t end = (uint16_t)(first + 1 + below(w, KEY_SLOTS - first));
    static const uint8_t sums[16];
    const struct wire_sync_range range = {
        .first = w->sum_first, .end = end, .bits = 1, .seed = 7, .sums = bytes_of(sums, 16)};

    if (owed == OWE_FINISH && !core_sync_stale(w->core) && core_resyncing(w->core) &&
        !core_sync_let_go(w->core))
        return;
    w->owed = OWE_NOTHING;
    if (owed == OWE_PUT && core_resyncing(w->core) && w->differs && seldom(w, 8))
        core_sync_unread(w->core);
    else if (owed == OWE_PUT)
        core_sync_stored(w->core, seldom(w, 12) ? -ERR_CORRUPT : 0);
    else if (owed == OWE_SUM)
        core_sync_summed(w->core, &range);
    else if (owed == OWE_FINISH)
        core_sync_finished(w->core);
}

static void answer_reader(struct world *w, uint8_t origin)
{
    static const uint8_t differ[1u << (WIRE_SYNC_BITS_MAX > 3 ? WIRE_SYNC_BITS_MAX - 3 : 0)];
    const struct wire_sync_range *range = &w->range[origin - 1];
    const struct peer *peer = core_peer_find(w->core, origin);
    const bool last = !seldom(w, 3);
    const struct core_piece piece = {
        .last = last,
        .end = range->end,
        .differ = bytes_of(differ, last ? wire_sync_differ_bytes(range->bits) : 0)};
    struct posv at;

    if (peer == NULL)
        return;
    posv_copy(&at, &w->core->covered);
    const int err = seldom(w, 6) ? (seldom(w, 2) ? -ERR_CLOSED : -EIO) : 0;
    if (w->opens[origin - 1]) {
        w->opens[origin - 1] = false;
        core_sync_opened(w->core, origin, peer->sync_out.id, err, &at, w->core->flush);
    } else if (w->reads[origin - 1]) {
        w->reads[origin - 1] = false;
        core_sync_rows(w->core, origin, peer->sync_out.id, err, &piece);
    }
}

static void answer_fetch(struct world *w, uint8_t origin)
{
    const struct core_fetch fetch = w->fetch[origin - 1];
    const struct pos pos = {fetch.from_seq, (WALL_MS << HLC_LOGICAL_BITS) + fetch.from_seq};

    w->fetch[origin - 1].id = 0;
    if (fetch.id == 0)
        return;
    make_any_batch(w, fetch.origin, pos);
    const struct core_record record = {
        .seq = pos.seq, .hlc = pos.hlc, .bytes = buf_bytes(&w->batch)};
    const int err = seldom(w, 2) ? (seldom(w, 2) ? -ERR_NOT_FOUND : -EIO) : 0;
    core_fetched(w->core, fetch.id, err, &record, err == 0 ? 1 : 0);
}

/* --- frames --- */

/* Some bytes of what stands in w->frame are others, and its sum is right. */
static void damage(struct world *w)
{
    uint8_t *frame = w->frame.ptr;
    const size_t len = w->frame.len - WIRE_HEADER_BYTES;

    for (unsigned i = 1 + below(w, 3); i > 0 && len != 0; i--)
        frame[WIRE_HEADER_BYTES + draw(w, 2) % len] = (uint8_t)draw(w, 1);
    le64_store(frame + WIRE_SUM_AT,
               sum64_seed(frame + WIRE_HEADER_BYTES, len, le64_load(frame)) ^ le32_load(frame + 8));
}

/* What the peer had acknowledged, and of us no more than there is. */
static void go_on_from(const struct world *w, const struct peer *peer, struct posv *out)
{
    const struct pos own = w->core->origins[w->core->self].durable;

    for (unsigned i = 0; i < peer->durable.count; i++)
        IGNORE_RESULT(posv_raise(out, peer->durable.origin[i], peer->durable.at[i]));
    if (posv_get(out, SELF).seq > own.seq)
        IGNORE_RESULT(posv_set(out, SELF, own));
}

static void put_hello(struct world *w, uint8_t origin)
{
    struct wire_hello hello = {.protocol = WIRE_PROTOCOL,
                               .origin = origin,
                               .group_id = {7},
                               .incarnation = 10u + origin,
                               .epoch = w->epoch,
                               .flush = seldom(w, 30) ? 1 : 0};

    some_vector(w, &hello.applied);
    if (!seldom(w, 8))
        go_on_from(w, core_peer_find(w->core, origin), &hello.applied);
    posv_copy(&hello.durable, &hello.applied);
    if (seldom(w, 3))
        some_vector(w, &hello.trimmed);
    else
        posv_copy(&hello.trimmed, &hello.durable);
    CHECK(wire_put_hello(&w->frame, &hello) == 0);
}

static void put_batches(struct world *w, const struct peer *peer)
{
    const unsigned index = below(w, w->core->origins_count);
    const struct stream_in *in = &peer->in[index];
    struct pos pos = {in->next_seq, 0};
    const struct wire_batches_head head = {.origin = w->core->origins[index].origin,
                                           .generation = in->generation,
                                           .epoch = w->epoch,
                                           .first_seq = u64_max(pos.seq, 1)};

    wire_writer_begin(&w->writer, &head);
    for (unsigned i = 1 + below(w, 3); i > 0; i--) {
        const uint64_t hlc = (WALL_MS << HLC_LOGICAL_BITS) + head.first_seq + w->writer.count;
        pos = (struct pos){head.first_seq + w->writer.count, seldom(w, 40) ? draw(w, 8) : hlc};
        make_any_batch(w, head.origin, (struct pos){pos.seq, u64_max(pos.hlc, 1)});
        if (wire_writer_add(&w->writer, buf_bytes(&w->batch)) != 0)
            break;
    }
    if (w->writer.count != 0)
        CHECK(wire_writer_end(&w->writer, w->pack, &w->frame) == 0);
}

static void put_sync_ask(struct world *w, const struct peer *peer)
{
    static const uint8_t sums[16];
    const bool whole = seldom(w, 2);
    const uint16_t first = (uint16_t)below(w, KEY_SLOTS + 1);
    const uint8_t after[3] = {0, (uint8_t)draw(w, 1), 'x'};
    const struct wire_sync_ask ask = {
        .id = seldom(w, 3) ? (uint32_t)below(w, 4) : peer->sync_out.id,
        .turn = (uint32_t)below(w, 256),
        .entered = seldom(w, 2),
        .goes_on = seldom(w, 2),
        .range = {.first = first,
                  .end = (uint16_t)(first + below(w, KEY_SLOTS + 1u - first)),
                  .bits = (uint8_t)(whole ? WIRE_SYNC_ALL : 1),
                  .seed = draw(w, 1),
                  .sums = bytes_of(sums, whole ? 0 : 16)},
        .after = bytes_of(after, seldom(w, 2) ? 0 : 3)};

    CHECK(wire_build_sync_ask(&w->body, &ask) == 0);
    CHECK(wire_put_body(&w->frame, WIRE_SYNC_ASK, buf_bytes(&w->body), w->pack) == 0);
}

static void some_acked(struct world *w, struct core_acked *out)
{
    uint8_t origin = 0;

    out->count = (uint8_t)below(w, CORE_PEERS_MAX + 1);
    for (unsigned i = 0; i < out->count; i++) {
        origin = (uint8_t)(origin + 1 + seldom(w, 2));
        out->origin[i] = origin;
        some_vector(w, &out->durable[i]);
    }
}

static void put_sync_rows(struct world *w)
{
    static const uint8_t differ[1u << WIRE_SYNC_BITS_MAX];
    const struct sync_in *in = &w->core->sync_in;
    const bool likely = !seldom(w, 8);
    struct wire_sync_rows head = {.id = in->id,
                                  .turn = in->turn,
                                  .gone = seldom(w, 12),
                                  .last = !seldom(w, 3),
                                  .end =
                                      likely ? in->range.end : (uint16_t)below(w, KEY_SLOTS + 1u),
                                  .flush = seldom(w, 30) ? 1 : w->core->flush};
    uint8_t key[3] = {0}, bytes[64];
    const struct wire_row row = {
        .key = bytes_of(key, 3),
        .row = bytes_of(bytes, row_value_store(bytes, tag_of(draw(w, 3) + 1, some_origin(w)),
                                               BYTES_LIT("v"), 0))};

    key[1] = (uint8_t)(likely ? in->range.first : draw(w, 1));
    key[2] = (uint8_t)draw(w, 1);
    if (head.last)
        head.differ = bytes_of(differ, wire_sync_differ_bytes(in->range.bits));
    if (in->has_vector && likely) {
        posv_copy(&head.at, &in->vector);
        posv_copy(&head.newest, &in->newest);
    } else {
        some_vector(w, &head.at);
        posv_copy(&head.newest, &head.at);
    }
    if (head.end == KEY_SLOTS && (head.last || !likely))
        some_acked(w, &head.acked);
    const uint32_t count = head.gone || (head.last && seldom(w, 2)) ? 0 : 1;
    CHECK(wire_build_sync_rows(&w->body, &head, &row, count) == 0);
    CHECK(wire_put_body(&w->frame, WIRE_SYNC_ROWS, buf_bytes(&w->body), w->pack) == 0);
}

static int put_small(struct world *w, const struct peer *peer, uint8_t kind)
{
    struct wire_ack ack = {.as_of_seq = below(w, 40)};
    const struct wire_heartbeat hb = {.hlc = some_pos(w).hlc,
                                      .seq = draw(w, 1),
                                      .wall_ms = seldom(w, 8) ? draw(w, 8) : w->now.wall_ms,
                                      .sent_ms = draw(w, 2),
                                      .echo_ms = seldom(w, 8) ? draw(w, 8) : w->now.mono_ms,
                                      .flush = seldom(w, 60) ? 1 : 0,
                                      .full = seldom(w, 2)};
    const uint8_t origin = seldom(w, 2) ? peer->origin : some_origin(w);
    const unsigned index = core_origin_find(w->core, origin);
    const struct wire_request request = {.origin = origin,
                                         .generation = (uint32_t)draw(w, 1),
                                         .from_seq = u64_max(some_pos(w).seq, 1),
                                         .to_seq = seldom(w, 2) ? WIRE_SEQ_ALL : draw(w, 1)};
    const struct wire_nack nack = {.origin = origin,
                                   .generation =
                                       index == ORIGIN_NONE ? 0 : peer->in[index].generation,
                                   .reason = WIRE_TRIMMED,
                                   .trimmed_seq = posv_get(&peer->durable, origin).seq};
    const struct wire_bye bye = {.reason = (uint8_t)draw(w, 1), .detail = draw(w, 8)};

    some_vector(w, &ack.durable);
    if (!seldom(w, 20))
        go_on_from(w, peer, &ack.durable);
    switch (kind) {
    case WIRE_ACK:
        return wire_put_ack(&w->frame, &ack);
    case WIRE_HEARTBEAT:
        return wire_put_heartbeat(&w->frame, &hb);
    case WIRE_REQUEST:
        return wire_put_request(&w->frame, &request);
    case WIRE_CREDIT:
        return wire_put_credit(&w->frame, draw(w, 2));
    case WIRE_NACK:
        return wire_put_nack(&w->frame, &nack);
    default:
        return seldom(w, 60) ? wire_put_bye(&w->frame, &bye) : wire_put_credit(&w->frame, 1 << 20);
    }
}

static void send_frame(struct world *w, uint8_t origin)
{
    const struct peer *peer = core_peer_find(w->core, origin);
    const uint8_t kind = (uint8_t)(1 + below(w, WIRE_KIND_END - 1));

    if (peer == NULL)
        return;
    buf_clear(&w->frame);
    if (peer->state == CORE_LINK_GREETING || (kind == WIRE_HELLO && seldom(w, 20)))
        put_hello(w, origin);
    else if (kind == WIRE_BATCHES)
        put_batches(w, peer);
    else if (kind == WIRE_SYNC_ASK)
        put_sync_ask(w, peer);
    else if (kind == WIRE_SYNC_ROWS || (core_syncing(w->core) && seldom(w, 2)))
        put_sync_rows(w);
    else
        CHECK(put_small(w, peer, kind) == 0);
    if (w->frame.len != 0 && seldom(w, w->damages))
        damage(w);
    core_receive(w->core, origin, buf_bytes(&w->frame));
}

/* --- a run --- */

static struct members members_of(const struct world *w, uint8_t own_state)
{
    struct members m = {.epoch = w->epoch, .count = 1 + PEERS};

    for (unsigned i = 0; i <= PEERS; i++)
        m.at[i] = (struct member){
            .origin = (uint8_t)(1 + i), .state = MEMBER_ACTIVE, .incarnation = 11 + i};
    m.at[0].state = own_state;
    return m;
}

static void change_members(struct world *w)
{
    struct members m = members_of(w, w->core->self_state);
    const unsigned i = 1 + below(w, PEERS);
    const struct member *now = members_find(&w->core->members, m.at[i].origin);

    m.epoch = ++w->epoch;
    for (unsigned j = 0; j < m.count; j++)
        m.at[j] = *members_find(&w->core->members, m.at[j].origin);
    if (now->state != MEMBER_SEALED) {
        m.at[i].state = MEMBER_SEALED;
        m.at[i].sealed_seq = some_pos(w).seq;
    }
    core_set_members(w->core, &m);
}

static void pass_time(struct world *w)
{
    const uint64_t ms = seldom(w, 20) ? 2000 : below(w, 200);

    w->now.mono_ms += ms;
    w->now.wall_ms += ms;
    w->now.hlc = w->now.wall_ms << HLC_LOGICAL_BITS;
    if (seldom(w, 20))
        core_set_room(w->core, (enum core_room)below(w, CORE_ROOM_NONE + 1));
    core_tick(w->core, &w->now);
}

static void write_local(struct world *w)
{
    const struct pos last = w->core->origins[w->core->self].applied;
    const struct vv *seen = core_applied_vv(w->core);
    struct pos pos = {last.seq + 1, u64_max(w->now.hlc, core_promised_hlc(w->core))};

    if (core_may_write(w->core) != CORE_WRITE_OK)
        return;
    for (unsigned i = 0; i < seen->count; i++)
        pos.hlc = u64_max(pos.hlc, seen->hlc[i]);
    pos.hlc++;
    make_batch(w, SELF, pos, seen);
    const struct core_record record = {
        .seq = pos.seq, .hlc = pos.hlc, .bytes = buf_bytes(&w->batch)};
    core_logged(w->core, ++w->lsn, &record);
}

static void cover(struct world *w)
{
    struct core_horizons horizons;
    struct posv at;

    core_durable(w->core, w->lsn);
    core_position(w->core, &at);
    if (!core_syncing(w->core))
        core_covered(w->core, w->lsn, &at);
    core_horizons(w->core, &horizons);
}

static void step(struct world *w)
{
    const uint8_t origin = (uint8_t)(2 + below(w, PEERS));

    switch (below(w, 16)) {
    case 0:
        if (core_may_link(w->core, origin))
            core_link_up(w->core, origin);
        return;
    case 1:
        if (seldom(w, 20))
            core_link_down(w->core, origin);
        return;
    case 2:
        cover(w);
        return;
    case 3:
        write_local(w);
        return;
    case 4:
        answer_copy(w);
        return;
    case 5:
        answer_reader(w, origin);
        return;
    case 6:
        answer_fetch(w, origin);
        return;
    case 7:
        if (seldom(w, 40))
            change_members(w);
        else if (seldom(w, 40))
            core_freeze(w->core, origin);
        return;
    case 8:
    case 9:
        pass_time(w);
        return;
    default:
        send_frame(w, origin);
        return;
    }
}

static void begin(struct world *w)
{
    struct core_options options = {.origin = SELF,
                                   .incarnation = 11,
                                   .group_id = {7},
                                   .resync = !seldom(w, 4),
                                   .window_bytes = 4096,
                                   .frame_bytes = 1024,
                                   .parked_bytes_max = 1024,
                                   .tail_bytes_max = 2048,
                                   .retention_bytes = seldom(w, 2) ? 2000 : 0,
                                   .history_bytes = 100};
    const bool joins = seldom(w, 3);

    w->wild = seldom(w, 2) ? 20 : 2000;
    w->damages = seldom(w, 2) ? 10 : 2000;
    const struct pos newest = some_pos(w);

    w->now = (struct core_time){.mono_ms = 5000, .wall_ms = WALL_MS + 1000};
    w->now.hlc = w->now.wall_ms << HLC_LOGICAL_BITS;
    w->epoch = 5;
    for (uint8_t origin = 1; origin <= 1 + PEERS && !joins; origin++) {
        const uint64_t seq = below(w, 20);
        const struct pos pos = {seq, (WALL_MS << HLC_LOGICAL_BITS) + seq};
        CHECK(posv_raise(&options.recovered, origin, pos) == 0);
        w->lsn += seq;
    }
    options.recovered_lsn = options.covered_lsn = w->lsn;
    posv_copy(&options.covered, &options.recovered);
    if (!joins && newest.seq < 100 && seldom(w, 4))
        CHECK(posv_raise(&options.newest, 2, newest) == 0);
    core_create(&options, &host, w, &w->core);
    core_tick(w->core, &w->now);
    const struct members m = members_of(w, joins ? MEMBER_JOINING : MEMBER_ACTIVE);
    core_set_members(w->core, &m);
    if (joins)
        core_sync_start(w->core);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world *w = mem_zalloc(sizeof(*w));

    w->in = bytes_of(data, size);
    rng_seed(&w->rng, size == 0 ? 0 : sum64(data, size));
    w->pack = pack_create();
    buf_init(&w->batch, BYTES_MAX);
    buf_init(&w->body, BYTES_MAX);
    buf_init(&w->frame, BYTES_MAX);
    wire_writer_init(&w->writer, 64u << 10);
    begin(w);
    for (unsigned i = 0; i < STEPS; i++) {
        step(w);
        CHECK(core_memory_bytes(w->core) < MEMORY_MAX);
    }
    core_destroy(w->core);
    wire_writer_deinit(&w->writer);
    buf_deinit(&w->batch);
    buf_deinit(&w->body);
    buf_deinit(&w->frame);
    pack_destroy(w->pack);
    mem_free(w);
    return 0;
}
