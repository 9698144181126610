/*
 * What the tests of the core share: one core whose host remembers what it was told, and a scripted
 * peer that makes any frames. Each test program includes this once.
 */
#ifndef TIERRA_TESTS_UNIT_TEST_CORE_FIXTURE_H
#define TIERRA_TESTS_UNIT_TEST_CORE_FIXTURE_H

#include <stdlib.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/list.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/value/op.h"

#include "replication/group/core.h"
#include "replication/group/pack.h"

#include "tests/lib/tcase.h"

#define SELF    1
#define PEER    2
#define THIRD   3
#define FOURTH  4
#define WALL_MS UINT64_C(1000000000)
/* So many ms after the start. */
#define HLC(ms) ((uint64_t)((int64_t)WALL_MS + (int64_t)(ms)) << HLC_LOGICAL_BITS)

#define FRAMES_MAX 64
#define EVENTS_MAX 32

struct sent {
    uint8_t peer;
    uint8_t kind;
    struct buf frame;
};

struct fixture {
    struct core *core;
    struct core_time now;
    struct pack *pack;
    struct buf scratch;
    struct buf out; /* A frame of the scripted peer. */
    struct buf batch;
    struct wire_writer writer;
    struct sent sent[FRAMES_MAX];
    unsigned sent_count;
    struct core_event events[EVENTS_MAX];
    unsigned events_count;
    unsigned closed_count;
    uint64_t lsn;
    unsigned applied_count;
    uint64_t applied_seq;
    uint8_t applied_origin;
    bool full;
    int refuses; /* What can_apply says to this one. */
    uint64_t refused_seq;
    struct core_fetch fetch;
    unsigned fetch_count;
    uint32_t flush;
    unsigned flush_count;
    uint32_t open_id; /* Of the last sync_open. */
    unsigned open_count;
    unsigned close_count;
    unsigned read_count;
    struct wire_sync_range read_range; /* Its sums do not count. */
    uint8_t read_after[8];             /* Short keys only. */
    size_t read_after_len;
    unsigned begin_count;
    unsigned sum_count;
    uint16_t sum_first;
    unsigned put_count;
    unsigned put_rows;
    unsigned finish_count;
    bool finish_joins;
    struct posv finish_at;
    struct posv finish_newest;
    uint32_t generation; /* Of the core's last request to PEER for its own batches. */
};

/* --- the host --- */

static void on_send(void *ctx, uint8_t peer, struct bytes frame)
{
    struct fixture *f = ctx;
    struct wire_frame opened;
    struct wire_request request;

    assert_in_range(f->sent_count, 0, FRAMES_MAX - 1);
    struct sent *sent = &f->sent[f->sent_count++];
    sent->peer = peer;
    sent->kind = frame.ptr[4];
    buf_init(&sent->frame, SIZE_MAX);
    assert_int_equal(buf_append_bytes(&sent->frame, frame), 0);
    if (sent->kind != WIRE_REQUEST || peer != PEER)
        return;
    assert_int_equal(wire_open(frame, f->pack, &f->scratch, &opened), 0);
    assert_int_equal(wire_get_request(opened.body, &request), 0);
    if (request.origin == PEER)
        f->generation = request.generation;
}

static void on_close(void *ctx, uint8_t peer)
{
    struct fixture *f = ctx;

    (void)peer;
    f->closed_count++;
}

static int on_can_apply(void *ctx, const struct batch *batch, struct bytes bytes)
{
    const struct fixture *f = ctx;

    assert_true(bytes.len >= BATCH_HEADER_BYTES);
    if (f->refuses != 0 && batch->seq == f->refused_seq)
        return f->refuses;
    return f->full ? -ERR_BUSY : 0;
}

static uint64_t on_apply(void *ctx, const struct batch *batch, struct bytes bytes)
{
    struct fixture *f = ctx;

    assert_false(f->full);
    assert_true(bytes.len >= BATCH_HEADER_BYTES);
    f->applied_count++;
    f->applied_seq = batch->seq;
    f->applied_origin = batch->origin;
    return ++f->lsn;
}

static void on_flush(void *ctx, uint32_t flush)
{
    struct fixture *f = ctx;

    f->flush = flush;
    f->flush_count++;
}

static void on_fetch(void *ctx, const struct core_fetch *fetch)
{
    struct fixture *f = ctx;

    f->fetch = *fetch;
    f->fetch_count++;
}

static void on_sync_open(void *ctx, uint8_t peer, uint32_t id)
{
    struct fixture *f = ctx;

    (void)peer;
    f->open_id = id;
    f->open_count++;
}

static void on_sync_read(void *ctx, uint8_t peer, const struct wire_sync_ask *ask, size_t bytes_max)
{
    struct fixture *f = ctx;
    const struct bytes after = ask->after;

    (void)peer;
    assert_int_equal(ask->id, f->open_id);
    f->read_range = ask->range;
    assert_true(bytes_max != 0 && after.len <= sizeof(f->read_after));
    if (after.len != 0)
        memcpy(f->read_after, after.ptr, after.len);
    f->read_after_len = after.len;
    f->read_count++;
}

static void on_sync_close(void *ctx, uint8_t peer)
{
    struct fixture *f = ctx;

    (void)peer;
    f->close_count++;
}

static void on_sync_begin(void *ctx)
{
    struct fixture *f = ctx;

    f->begin_count++;
}

static void on_sync_sum(void *ctx, uint16_t first)
{
    struct fixture *f = ctx;

    f->sum_first = first;
    f->sum_count++;
}

static void on_sync_put(void *ctx, struct wire_sync_rows *rows)
{
    struct fixture *f = ctx;
    struct wire_row row;

    f->put_count++;
    while (wire_sync_next(rows, &row))
        f->put_rows++;
}

static void on_sync_finish(void *ctx, const struct posv *at, const struct posv *newest, bool joins)
{
    struct fixture *f = ctx;

    f->finish_count++;
    f->finish_joins = joins;
    posv_copy(&f->finish_at, at);
    posv_copy(&f->finish_newest, newest);
}

static void on_event(void *ctx, const struct core_event *event)
{
    struct fixture *f = ctx;

    assert_in_range(f->events_count, 0, EVENTS_MAX - 1);
    f->events[f->events_count++] = *event;
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

/* --- the script: what a program does not need is marked unused --- */

static void forget_sent(struct fixture *f)
{
    for (unsigned i = 0; i < f->sent_count; i++)
        buf_deinit(&f->sent[i].frame);
    f->sent_count = 0;
}

static void tick(struct fixture *f, uint64_t ms)
{
    f->now.mono_ms += ms;
    f->now.wall_ms += ms;
    f->now.hlc = f->now.wall_ms << HLC_LOGICAL_BITS;
    core_tick(f->core, &f->now);
}

static struct members three_members(uint64_t epoch)
{
    return (struct members){.epoch = epoch,
                            .count = 4,
                            .at = {{.origin = SELF, .state = MEMBER_ACTIVE, .incarnation = 11},
                                   {.origin = PEER, .state = MEMBER_ACTIVE, .incarnation = 12},
                                   {.origin = THIRD, .state = MEMBER_ACTIVE, .incarnation = 13},
                                   {.origin = FOURTH, .state = MEMBER_ACTIVE, .incarnation = 14}}};
}

static int setup_with(void **state, const struct core_options *options)
{
    static struct fixture f;
    const struct members members = three_members(5);

    memset(&f, 0, sizeof(f));
    f.pack = pack_create();
    buf_init(&f.scratch, SIZE_MAX);
    buf_init(&f.out, SIZE_MAX);
    buf_init(&f.batch, SIZE_MAX);
    wire_writer_init(&f.writer, 64u << 10);
    f.now = (struct core_time){.mono_ms = 5000, .wall_ms = WALL_MS};
    f.lsn = options->recovered_lsn;
    core_create(options, &host, &f, &f.core);
    tick(&f, 0);
    core_set_members(f.core, &members);
    *state = &f;
    return 0;
}

static UNUSED int setup(void **state)
{
    const struct core_options options = {.origin = SELF,
                                         .incarnation = 11,
                                         .group_id = {7},
                                         .window_bytes = 4096,
                                         .frame_bytes = 1024,
                                         .parked_bytes_max = 1024,
                                         .tail_bytes_max = 2048};

    return setup_with(state, &options);
}

/* With ten batches of its own and five of PEER: it can resync. */
static UNUSED int setup_behind(void **state)
{
    struct core_options options = {.origin = SELF,
                                   .incarnation = 11,
                                   .group_id = {7},
                                   .recovered_lsn = 15,
                                   .covered_lsn = 15,
                                   .resync = true};

    assert_int_equal(posv_raise(&options.recovered, SELF, (struct pos){10, HLC(-100)}), 0);
    assert_int_equal(posv_raise(&options.recovered, PEER, (struct pos){5, HLC(-50)}), 0);
    posv_copy(&options.covered, &options.recovered);
    return setup_with(state, &options);
}

/* A member that has 10 batches of its own and 5 of PEER, all covered. */
static UNUSED int setup_recovered(void **state)
{
    struct core_options options = {
        .origin = SELF, .incarnation = 11, .group_id = {7}, .recovered_lsn = 15, .covered_lsn = 15};

    assert_int_equal(posv_raise(&options.recovered, SELF, (struct pos){10, HLC(-100)}), 0);
    assert_int_equal(posv_raise(&options.recovered, PEER, (struct pos){5, HLC(-50)}), 0);
    posv_copy(&options.covered, &options.recovered);
    return setup_with(state, &options);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    core_destroy(f->core);
    forget_sent(f);
    pack_destroy(f->pack);
    buf_deinit(&f->scratch);
    buf_deinit(&f->out);
    buf_deinit(&f->batch);
    wire_writer_deinit(&f->writer);
    return 0;
}

/* The core receives what stands in f->out. */
static void deliver(struct fixture *f, uint8_t from)
{
    core_receive(f->core, from, buf_bytes(&f->out));
    buf_clear(&f->out);
}

static struct wire_hello hello_of(uint8_t origin)
{
    return (struct wire_hello){.protocol = WIRE_PROTOCOL,
                               .origin = origin,
                               .group_id = {7},
                               .incarnation = 10u + origin,
                               .epoch = 5};
}

static void greet(struct fixture *f, const struct wire_hello *hello)
{
    core_link_up(f->core, hello->origin);
    assert_int_equal(wire_put_hello(&f->out, hello), 0);
    deliver(f, hello->origin);
}

static void link_peer(struct fixture *f, uint8_t origin)
{
    const struct wire_hello hello = hello_of(origin);

    greet(f, &hello);
    const struct core_event *last = &f->events[f->events_count - 1];
    assert_int_equal(last->kind, CORE_LINK_READY);
    assert_int_equal(last->peer, origin);
}

static void store_batch(struct fixture *f, const struct op *op, struct tag tag, uint64_t seq,
                        const struct vv *ctx)
{
    buf_clear(&f->batch);
    assert_int_equal(buf_reserve(&f->batch, BATCH_HEADER_BYTES_MAX + op_size(op)), 0);
    buf_commit(&f->batch,
               batch_header_store(buf_end(&f->batch), tag, seq, 1, vv_empty(ctx) ? NULL : ctx));
    buf_commit(&f->batch, op_store(buf_end(&f->batch), op, tag.hlc));
}

/* One batch, an INCR, with what else it has seen. */
static void make_batch(struct fixture *f, uint8_t origin, struct pos pos, struct tag seen)
{
    const struct op incr = {.kind = OP_INCR, .key = BYTES_LIT("k"), .start = pos.hlc, .isum = 1};
    struct vv ctx;

    vv_init(&ctx);
    assert_int_equal(vv_raise(&ctx, seen), 0);
    store_batch(f, &incr, tag_of(pos.hlc, origin), pos.seq, &ctx);
}

static void send_batch_as(struct fixture *f, uint8_t from, const struct wire_batches_head *head,
                          uint64_t hlc, struct tag seen)
{
    make_batch(f, head->origin, (struct pos){head->first_seq, hlc}, seen);
    wire_writer_begin(&f->writer, head);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->out), 0);
    deliver(f, from);
}

static UNUSED void send_batch(struct fixture *f, uint64_t seq, uint64_t hlc, struct tag seen)
{
    const struct wire_batches_head head = {
        .origin = PEER, .generation = f->generation, .epoch = 5, .first_seq = seq};

    send_batch_as(f, PEER, &head, hlc, seen);
}

/* A SET of so many bytes that do not pack. */
static UNUSED void send_noise(struct fixture *f, uint64_t seq, uint64_t hlc, struct tag seen,
                              size_t len)
{
    const struct wire_batches_head head = {
        .origin = PEER, .generation = f->generation, .epoch = 5, .first_seq = seq};
    static uint8_t noise[8192];
    struct rng rng;
    struct vv ctx;

    assert_in_range(len, 1, sizeof(noise));
    rng_seed(&rng, seq);
    rng_bytes(&rng, noise, len);
    vv_init(&ctx);
    assert_int_equal(vv_raise(&ctx, seen), 0);
    const struct op set = {.kind = OP_SET, .key = BYTES_LIT("k"), .value = bytes_of(noise, len)};
    store_batch(f, &set, tag_of(hlc, PEER), seq, &ctx);
    wire_writer_begin(&f->writer, &head);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->out), 0);
    deliver(f, PEER);
}

static UNUSED void send_ack(struct fixture *f, uint8_t from, uint64_t as_of_seq,
                            const struct posv *durable)
{
    const struct wire_ack ack = {.as_of_seq = as_of_seq, .durable = *durable};

    assert_int_equal(wire_put_ack(&f->out, &ack), 0);
    deliver(f, from);
}

static UNUSED void send_request(struct fixture *f, uint8_t from, uint8_t origin, uint64_t from_seq)
{
    const struct wire_request request = {
        .origin = origin, .generation = 1, .from_seq = from_seq, .to_seq = WIRE_SEQ_ALL};

    assert_int_equal(wire_put_request(&f->out, &request), 0);
    deliver(f, from);
    assert_int_equal(wire_put_credit(&f->out, 1u << 20), 0);
    deliver(f, from);
}

static UNUSED void log_local(struct fixture *f, uint64_t seq)
{
    const struct pos pos = {seq, HLC(0) + seq};

    make_batch(f, SELF, pos, tag_of(0, 0));
    const struct core_record record = {.seq = seq, .hlc = pos.hlc, .bytes = buf_bytes(&f->batch)};
    core_logged(f->core, ++f->lsn, &record);
}

static UNUSED struct posv posv_with(uint8_t origin, struct pos pos)
{
    struct posv posv;

    posv_init(&posv);
    assert_int_equal(posv_raise(&posv, origin, pos), 0);
    return posv;
}

/* --- what was sent --- */

static UNUSED unsigned count_sent(const struct fixture *f, uint8_t peer, uint8_t kind)
{
    unsigned n = 0;

    for (unsigned i = 0; i < f->sent_count; i++)
        n += f->sent[i].peer == peer && f->sent[i].kind == kind;
    return n;
}

/* The last frame of a kind to a peer. */
static struct bytes last_body(struct fixture *f, uint8_t peer, uint8_t kind)
{
    struct wire_frame opened;

    for (unsigned i = f->sent_count; i-- > 0;) {
        if (f->sent[i].peer != peer || f->sent[i].kind != kind)
            continue;
        assert_int_equal(wire_open(buf_bytes(&f->sent[i].frame), f->pack, &f->scratch, &opened), 0);
        return opened.body;
    }
    fail_msg("no frame of kind %u to peer %u", kind, peer);
    return bytes_of(NULL, 0);
}

static UNUSED void expect_bye(struct fixture *f, uint8_t peer, uint8_t reason)
{
    struct wire_bye bye;
    struct core_peer_info info;

    assert_int_equal(wire_get_bye(last_body(f, peer, WIRE_BYE), &bye), 0);
    expect_str(wire_reason_str(bye.reason), wire_reason_str(reason));
    assert_true(core_peer_info(f->core, peer, &info));
    assert_int_equal(info.state, CORE_LINK_PARKED);
    assert_int_equal(info.reason, reason);
    assert_false(core_may_link(f->core, peer));
}

#define CORE_TEST(name, set_up) cmocka_unit_test_setup_teardown(name, set_up, teardown)

#endif
