/*
 * The core of replication with a scripted peer: what it refuses, what it asks for, what it sends
 * and when. How groups of cores converge is the business of tests/sim.
 */
#include <stdlib.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/list.h"
#include "engine/base/mem.h"

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
    struct core_fetch fetch;
    unsigned fetch_count;
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

static bool on_can_apply(void *ctx, size_t len)
{
    struct fixture *f = ctx;

    (void)len;
    return !f->full;
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

static void on_fetch(void *ctx, const struct core_fetch *fetch)
{
    struct fixture *f = ctx;

    f->fetch = *fetch;
    f->fetch_count++;
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
                                      .fetch = on_fetch,
                                      .event = on_event};

/* --- the script --- */

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

static int setup(void **state)
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

/* A member that has 10 batches of its own and 5 of PEER, all covered. */
static int setup_recovered(void **state)
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

/* One batch, an INCR, with what else it has seen. */
static void make_batch(struct fixture *f, uint8_t origin, struct pos pos, struct tag seen)
{
    const struct op incr = {.kind = OP_INCR, .key = BYTES_LIT("k"), .start = pos.hlc, .isum = 1};
    struct vv ctx;

    vv_init(&ctx);
    assert_int_equal(vv_raise(&ctx, seen), 0);
    buf_clear(&f->batch);
    assert_int_equal(buf_reserve(&f->batch, BATCH_HEADER_BYTES_MAX + op_size(&incr)), 0);
    buf_commit(&f->batch, batch_header_store(buf_end(&f->batch), tag_of(pos.hlc, origin), pos.seq,
                                             1, vv_empty(&ctx) ? NULL : &ctx));
    buf_commit(&f->batch, op_store(buf_end(&f->batch), &incr, pos.hlc));
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

static void send_batch(struct fixture *f, uint64_t seq, uint64_t hlc, struct tag seen)
{
    const struct wire_batches_head head = {
        .origin = PEER, .generation = f->generation, .epoch = 5, .first_seq = seq};

    send_batch_as(f, PEER, &head, hlc, seen);
}

static void send_ack(struct fixture *f, uint8_t from, uint64_t as_of_seq,
                     const struct posv *durable)
{
    const struct wire_ack ack = {.as_of_seq = as_of_seq, .durable = *durable};

    assert_int_equal(wire_put_ack(&f->out, &ack), 0);
    deliver(f, from);
}

static void send_request(struct fixture *f, uint8_t from, uint8_t origin, uint64_t from_seq)
{
    const struct wire_request request = {
        .origin = origin, .generation = 1, .from_seq = from_seq, .to_seq = WIRE_SEQ_ALL};

    assert_int_equal(wire_put_request(&f->out, &request), 0);
    deliver(f, from);
    assert_int_equal(wire_put_credit(&f->out, 1u << 20), 0);
    deliver(f, from);
}

static void log_local(struct fixture *f, uint64_t seq)
{
    const struct pos pos = {seq, HLC(0) + seq};

    make_batch(f, SELF, pos, tag_of(0, 0));
    const struct core_record record = {.seq = seq, .hlc = pos.hlc, .bytes = buf_bytes(&f->batch)};
    core_logged(f->core, ++f->lsn, &record);
}

static struct posv posv_with(uint8_t origin, struct pos pos)
{
    struct posv posv;

    posv_init(&posv);
    assert_int_equal(posv_raise(&posv, origin, pos), 0);
    return posv;
}

/* --- what was sent --- */

static unsigned count_sent(const struct fixture *f, uint8_t peer, uint8_t kind)
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

static void expect_bye(struct fixture *f, uint8_t peer, uint8_t reason)
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

/* --- greeting --- */

static void a_greeting_that_does_not_fit_is_refused_with_the_reason(void **state)
{
    struct fixture *f = *state;
    struct wire_hello hello = hello_of(PEER);

    hello.group_id[0] = 8;
    greet(f, &hello);
    expect_bye(f, PEER, WIRE_GROUP);
    tick(f, 10000);
    hello = hello_of(PEER);
    hello.protocol = 2;
    greet(f, &hello);
    expect_bye(f, PEER, WIRE_VERSION);
    tick(f, 10000);
    hello = hello_of(PEER);
    hello.incarnation = 99;
    greet(f, &hello);
    expect_bye(f, PEER, WIRE_IDENTITY);
    tick(f, 10000);
    hello = hello_of(PEER);
    hello.shard = 1;
    greet(f, &hello);
    expect_bye(f, PEER, WIRE_IDENTITY);
    tick(f, 10000);
    hello = hello_of(PEER);
    hello.epoch = 4;
    greet(f, &hello);
    expect_bye(f, PEER, WIRE_EPOCH);
    tick(f, 10000);
    link_peer(f, PEER);
    expect_u64(f->closed_count, 5);
}

static void frames_before_the_greeting_break_the_protocol(void **state)
{
    struct fixture *f = *state;

    core_link_up(f->core, PEER);
    assert_int_equal(wire_put_credit(&f->out, 5), 0);
    deliver(f, PEER);
    expect_bye(f, PEER, WIRE_PROTOCOL_ERR);
}

static void damaged_and_unknown_frames_end_the_link(void **state)
{
    struct fixture *f = *state;

    link_peer(f, PEER);
    assert_int_equal(wire_put_credit(&f->out, 5), 0);
    f->out.ptr[f->out.len - 1] ^= 1;
    deliver(f, PEER);
    expect_bye(f, PEER, WIRE_DAMAGED);
    tick(f, 1000);
    link_peer(f, PEER);
    assert_int_equal(wire_put_credit(&f->out, 5), 0);
    f->out.ptr[4] = 77;
    deliver(f, PEER);
    expect_bye(f, PEER, WIRE_UNSUPPORTED);
}

static void silence_ends_the_link(void **state)
{
    struct fixture *f = *state;

    link_peer(f, PEER);
    tick(f, CORE_TIMEOUT_MS_DEFAULT);
    assert_int_equal(f->closed_count, 0);
    tick(f, 1);
    expect_bye(f, PEER, WIRE_TIMEOUT);
    tick(f, 100);
    assert_true(core_may_link(f->core, PEER));
}

/* --- histories --- */

static void lost_own_batches_are_pulled_back_before_writes(void **state)
{
    struct fixture *f = *state;
    struct wire_hello hello = hello_of(PEER);
    struct wire_request request;

    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    hello.applied = hello.durable = posv_with(SELF, (struct pos){11, HLC(-1)});
    assert_int_equal(posv_raise(&hello.applied, PEER, (struct pos){5, HLC(-50)}), 0);
    greet(f, &hello);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OWN_LOST);
    tick(f, CORE_RELAY_MS_DEFAULT);
    assert_int_equal(wire_get_request(last_body(f, PEER, WIRE_REQUEST), &request), 0);
    assert_int_equal(request.origin, SELF);
    expect_u64(request.from_seq, 11);
    expect_u64(request.to_seq, 11);
    const struct wire_batches_head head = {.origin = SELF,
                                           .generation = request.generation,
                                           .epoch = 5,
                                           .first_seq = 11,
                                           .prev_hlc = HLC(-100)};
    send_batch_as(f, PEER, &head, HLC(-1), tag_of(0, 0));
    assert_int_equal(f->applied_origin, SELF);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    log_local(f, 12);
}

static void another_history_of_our_own_stops_writes_for_good(void **state)
{
    struct fixture *f = *state;
    struct wire_hello hello = hello_of(PEER);

    hello.applied = hello.durable = posv_with(SELF, (struct pos){10, HLC(-101)});
    greet(f, &hello);
    expect_bye(f, PEER, WIRE_FORK);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_FORKED);
}

static void another_history_of_a_peer_is_noticed_in_the_greeting(void **state)
{
    struct fixture *f = *state;
    struct wire_hello hello = hello_of(PEER);

    hello.applied = hello.durable = posv_with(PEER, (struct pos){4, HLC(-50)});
    greet(f, &hello);
    expect_bye(f, PEER, WIRE_FORK);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
}

static void another_history_is_noticed_by_the_batch_before(void **state)
{
    struct fixture *f = *state;
    const struct wire_hello hello = hello_of(THIRD);
    struct wire_batches_head head = {.origin = PEER, .epoch = 5, .first_seq = 6};

    greet(f, &hello); /* Another link must not be disturbed. */
    link_peer(f, PEER);
    head.generation = f->generation;
    head.prev_hlc = HLC(-51);
    send_batch_as(f, PEER, &head, HLC(0), tag_of(0, 0));
    expect_bye(f, PEER, WIRE_FORK);
    expect_u64(f->applied_count, 0);
    assert_int_equal(f->closed_count, 1);
}

static void a_peer_that_lost_what_it_acknowledged_is_refused(void **state)
{
    struct fixture *f = *state;
    struct wire_hello hello = hello_of(PEER);

    hello.applied = hello.durable = posv_with(SELF, (struct pos){10, HLC(-100)});
    greet(f, &hello);
    core_link_down(f->core, PEER);
    hello.durable = posv_with(SELF, (struct pos){9, HLC(-101)});
    greet(f, &hello);
    expect_bye(f, PEER, WIRE_WENT_BACK);
}

/* --- batches in --- */

static void batches_are_applied_once_and_in_order(void **state)
{
    struct fixture *f = *state;
    struct core_peer_info info;

    link_peer(f, PEER);
    send_batch(f, 1, HLC(1), tag_of(0, 0));
    send_batch(f, 2, HLC(2), tag_of(0, 0));
    expect_u64(f->applied_count, 2);
    expect_u64(f->applied_seq, 2);
    /* The same again by another way. */
    link_peer(f, THIRD);
    const struct posv durable = posv_with(PEER, (struct pos){3, HLC(3)});
    send_ack(f, THIRD, 0, &durable);
    tick(f, CORE_RELAY_MS_DEFAULT);
    struct wire_request request;
    assert_int_equal(wire_get_request(last_body(f, THIRD, WIRE_REQUEST), &request), 0);
    assert_int_equal(request.origin, PEER);
    expect_u64(request.from_seq, 3);
    send_batch(f, 3, HLC(3), tag_of(0, 0));
    const struct wire_batches_head head = {
        .origin = PEER, .generation = request.generation, .epoch = 5, .first_seq = 3};
    send_batch_as(f, THIRD, &head, HLC(3), tag_of(0, 0));
    expect_u64(f->applied_count, 3);
    assert_true(core_peer_info(f->core, THIRD, &info));
    expect_u64(info.relayed_in, 0);
}

static void a_batch_waits_for_what_it_has_seen(void **state)
{
    struct fixture *f = *state;
    struct wire_request request;

    link_peer(f, PEER);
    send_batch(f, 1, HLC(10), tag_of(HLC(5), THIRD));
    send_batch(f, 2, HLC(11), tag_of(HLC(5), THIRD));
    expect_u64(f->applied_count, 0);
    /* The peer has it durably, hence can be asked for it. */
    struct posv durable = posv_with(THIRD, (struct pos){1, HLC(5)});
    assert_int_equal(posv_raise(&durable, PEER, (struct pos){2, HLC(11)}), 0);
    send_ack(f, PEER, 2, &durable);
    tick(f, CORE_RELAY_MS_DEFAULT);
    assert_int_equal(wire_get_request(last_body(f, PEER, WIRE_REQUEST), &request), 0);
    assert_int_equal(request.origin, THIRD);
    const struct wire_batches_head head = {
        .origin = THIRD, .generation = request.generation, .epoch = 5, .first_seq = 1};
    send_batch_as(f, PEER, &head, HLC(5), tag_of(0, 0));
    expect_u64(f->applied_count, 3);
    assert_int_equal(f->applied_origin, PEER);
}

static void what_finds_no_room_is_asked_for_again(void **state)
{
    struct fixture *f = *state;
    struct wire_request request;
    uint64_t seq = 1;

    link_peer(f, PEER);
    f->full = true;
    forget_sent(f);
    for (; count_sent(f, PEER, WIRE_REQUEST) == 0; seq++)
        send_batch(f, seq, HLC(seq), tag_of(0, 0));
    assert_int_equal(wire_get_request(last_body(f, PEER, WIRE_REQUEST), &request), 0);
    expect_u64(request.to_seq, 0); /* Stop. */
    assert_in_range(seq, 5, 100);
    expect_u64(f->applied_count, 0);
    f->full = false;
    tick(f, 10);
    expect_u64(f->applied_count, seq - 2);
    assert_int_equal(wire_get_request(last_body(f, PEER, WIRE_REQUEST), &request), 0);
    expect_u64(request.from_seq, seq - 1);
    expect_u64(request.to_seq, WIRE_SEQ_ALL);
    send_batch(f, seq - 1, HLC(seq - 1), tag_of(0, 0));
    expect_u64(f->applied_count, seq - 1);
}

static void answers_to_an_older_request_are_thrown_away(void **state)
{
    struct fixture *f = *state;
    struct wire_batches_head head = {.origin = PEER, .epoch = 5, .first_seq = 1};

    link_peer(f, PEER);
    head.generation = f->generation - 1;
    send_batch_as(f, PEER, &head, HLC(1), tag_of(0, 0));
    expect_u64(f->applied_count, 0);
    assert_int_equal(f->closed_count, 0);
    head.generation = f->generation;
    head.first_seq = 2; /* Not what was asked for. */
    send_batch_as(f, PEER, &head, HLC(1), tag_of(0, 0));
    expect_bye(f, PEER, WIRE_PROTOCOL_ERR);
}

static void batches_from_the_future_park_the_link(void **state)
{
    struct fixture *f = *state;

    link_peer(f, PEER);
    send_batch(f, 1, HLC(CORE_AHEAD_MS_MAX), tag_of(0, 0));
    expect_u64(f->applied_count, 1);
    send_batch(f, 2, HLC(CORE_AHEAD_MS_MAX + 1), tag_of(0, 0));
    expect_u64(f->applied_count, 1);
    expect_bye(f, PEER, WIRE_CLOCK);
    tick(f, 1000);
    link_peer(f, PEER);
    send_batch(f, 2, HLC(CORE_AHEAD_MS_MAX + 1), tag_of(0, 0));
    expect_u64(f->applied_count, 2);
}

static void an_op_of_a_later_version_parks_the_link(void **state)
{
    struct fixture *f = *state;
    const struct wire_batches_head head = {.origin = PEER, .epoch = 5, .first_seq = 1};
    struct wire_batches_head asked = head;

    link_peer(f, PEER);
    asked.generation = f->generation;
    make_batch(f, PEER, (struct pos){1, HLC(1)}, tag_of(0, 0));
    const size_t ops_len = f->batch.len - BATCH_HEADER_BYTES;
    wire_writer_begin(&f->writer, &asked);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    f->writer.body.ptr[f->writer.body.len - ops_len] = OP_KIND_END;
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->out), 0);
    deliver(f, PEER);
    expect_u64(f->applied_count, 0);
    expect_bye(f, PEER, WIRE_UNSUPPORTED);
}

static void batches_behind_the_seal_are_refused(void **state)
{
    struct fixture *f = *state;
    struct members members = three_members(6);
    struct wire_hello hello = hello_of(THIRD);
    struct wire_request request;

    members.at[1].state = MEMBER_SEALED;
    members.at[1].sealed_seq = 1;
    core_set_members(f->core, &members);
    assert_false(core_may_link(f->core, PEER));
    hello.epoch = 6;
    hello.applied = hello.durable = posv_with(PEER, (struct pos){2, HLC(2)});
    greet(f, &hello);
    tick(f, CORE_RELAY_MS_DEFAULT);
    assert_int_equal(wire_get_request(last_body(f, THIRD, WIRE_REQUEST), &request), 0);
    assert_int_equal(request.origin, PEER);
    const struct wire_batches_head head = {
        .origin = PEER, .generation = request.generation, .epoch = 6, .first_seq = 1};
    expect_u64(request.to_seq, 1);
    wire_writer_begin(&f->writer, &head);
    for (uint64_t seq = 1; seq <= 2; seq++) {
        make_batch(f, PEER, (struct pos){seq, HLC(seq)}, tag_of(0, 0));
        assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    }
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->out), 0);
    deliver(f, THIRD);
    expect_u64(f->applied_count, 1);
    expect_bye(f, THIRD, WIRE_SEALED);
}

static void a_frozen_origin_is_not_taken_until_it_is_sealed(void **state)
{
    struct fixture *f = *state;
    const struct members members = three_members(5);
    struct pos pos;

    link_peer(f, PEER);
    send_batch(f, 1, HLC(1), tag_of(0, 0));
    send_batch(f, 2, HLC(2), tag_of(HLC(1), THIRD)); /* Waits. */
    core_freeze(f->core, PEER);
    assert_false(core_frozen(f->core, PEER, &pos)); /* Applied, but not durable. */
    core_durable(f->core, 1);
    assert_true(core_frozen(f->core, PEER, &pos));
    expect_u64(pos.seq, 1);
    forget_sent(f);
    tick(f, 10);
    send_batch(f, 2, HLC(2), tag_of(0, 0));
    expect_u64(f->applied_count, 1);
    expect_u64(count_sent(f, PEER, WIRE_REQUEST), 0);
    core_set_members(f->core, &members); /* It was not to be, after all. */
    assert_false(core_frozen(f->core, PEER, &pos));
    tick(f, 10);
    send_batch(f, 2, HLC(2), tag_of(0, 0));
    expect_u64(f->applied_count, 2);
}

static void batches_beyond_an_agreed_seal_stop_writes(void **state)
{
    struct fixture *f = *state;
    struct members members = three_members(6);

    members.at[1].state = MEMBER_SEALED;
    members.at[1].sealed_seq = 4;
    core_set_members(f->core, &members);
    assert_int_equal(f->events[f->events_count - 1].kind, CORE_BEYOND_SEAL);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_FORKED);
}

static void a_sealed_member_is_told_so(void **state)
{
    struct fixture *f = *state;
    struct members members = three_members(6);
    struct wire_bye bye;

    members.at[1].state = MEMBER_SEALED;
    core_set_members(f->core, &members);
    core_link_up(f->core, PEER);
    assert_int_equal(wire_get_bye(last_body(f, PEER, WIRE_BYE), &bye), 0);
    assert_int_equal(bye.reason, WIRE_REMOVED);
    expect_u64(bye.detail, 6);
    assert_int_equal(f->closed_count, 1);
}

/* --- batches out --- */

static void only_what_is_durable_is_sent_and_acknowledged(void **state)
{
    struct fixture *f = *state;
    struct wire_ack ack;

    link_peer(f, PEER);
    send_request(f, PEER, SELF, 1);
    send_batch(f, 1, HLC(1), tag_of(0, 0));
    log_local(f, 1);
    tick(f, 10);
    expect_u64(count_sent(f, PEER, WIRE_BATCHES), 0);
    expect_u64(count_sent(f, PEER, WIRE_ACK), 0);
    core_durable(f->core, 1); /* The peer's batch, not ours. */
    expect_u64(count_sent(f, PEER, WIRE_BATCHES), 0);
    assert_int_equal(wire_get_ack(last_body(f, PEER, WIRE_ACK), &ack), 0);
    expect_u64(posv_get(&ack.durable, PEER).seq, 1);
    expect_u64(posv_get(&ack.durable, SELF).seq, 0);
    expect_u64(ack.as_of_seq, 1);
    core_durable(f->core, 2);
    expect_u64(count_sent(f, PEER, WIRE_BATCHES), 1);
}

static void nothing_is_sent_beyond_the_credit(void **state)
{
    struct fixture *f = *state;
    const struct wire_request request = {
        .origin = SELF, .generation = 1, .from_seq = 1, .to_seq = WIRE_SEQ_ALL};

    link_peer(f, PEER);
    assert_int_equal(wire_put_request(&f->out, &request), 0);
    deliver(f, PEER);
    log_local(f, 1);
    core_durable(f->core, 1);
    expect_u64(count_sent(f, PEER, WIRE_BATCHES), 0);
    assert_int_equal(wire_put_credit(&f->out, 1), 0);
    deliver(f, PEER);
    expect_u64(count_sent(f, PEER, WIRE_BATCHES), 1);
    log_local(f, 2);
    core_durable(f->core, 2);
    expect_u64(count_sent(f, PEER, WIRE_BATCHES), 1);
}

static void what_is_not_in_memory_is_read_from_the_log(void **state)
{
    struct fixture *f = *state;
    struct core_record records[2];
    struct buf first;
    struct wire_nack nack;

    link_peer(f, PEER);
    send_request(f, PEER, SELF, 6);
    expect_u64(f->fetch_count, 1);
    expect_u64(f->fetch.from_seq, 5); /* The one before, for its HLC. */
    expect_u64(f->fetch.to_seq, 10);
    core_fetched(f->core, f->fetch.id, -ERR_NOT_FOUND, NULL, 0);
    expect_u64(f->fetch_count, 2);
    expect_u64(f->fetch.from_seq, 6); /* That one may be gone. */
    make_batch(f, SELF, (struct pos){6, HLC(-104)}, tag_of(0, 0));
    buf_init(&first, SIZE_MAX);
    assert_int_equal(buf_append_bytes(&first, buf_bytes(&f->batch)), 0);
    make_batch(f, SELF, (struct pos){7, HLC(-103)}, tag_of(0, 0));
    records[0] = (struct core_record){6, HLC(-104), buf_bytes(&first)};
    records[1] = (struct core_record){7, HLC(-103), buf_bytes(&f->batch)};
    core_fetched(f->core, f->fetch.id, 0, records, 2);
    expect_u64(count_sent(f, PEER, WIRE_BATCHES), 1);
    expect_u64(f->fetch.from_seq, 8);
    core_fetched(f->core, f->fetch.id, -ERR_NOT_FOUND, NULL, 0);
    assert_int_equal(wire_get_nack(last_body(f, PEER, WIRE_NACK), &nack), 0);
    assert_int_equal(nack.reason, WIRE_TRIMMED);
    expect_u64(nack.trimmed_seq, 8);
    buf_deinit(&first);
}

/* --- horizons --- */

static void an_acknowledgement_counts_when_what_came_before_it_is_here(void **state)
{
    struct fixture *f = *state;
    struct posv all = posv_with(SELF, (struct pos){10, HLC(-100)});
    struct core_horizons h;

    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        link_peer(f, origin);
        send_ack(f, origin, origin == PEER ? 6 : 0, &all);
    }
    core_horizons(f->core, &h);
    expect_u64(vv_get(&h.stable, SELF), 0);
    send_batch(f, 6, HLC(1), tag_of(0, 0));
    core_horizons(f->core, &h);
    expect_u64(vv_get(&h.stable, SELF), 0); /* Applied, but not durable. */
    core_durable(f->core, 16);
    core_horizons(f->core, &h);
    expect_u64(vv_get(&h.stable, SELF), HLC(-100));
    expect_u64(vv_get(&h.stable, PEER), 0);
}

static void lst_is_what_all_have_promised(void **state)
{
    struct fixture *f = *state;
    struct core_horizons h;

    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        const struct wire_heartbeat hb = {.hlc = HLC(40u + origin),
                                          .seq = origin == THIRD ? 1 : 0,
                                          .wall_ms = WALL_MS,
                                          .sent_ms = 1};

        link_peer(f, origin);
        assert_int_equal(wire_put_heartbeat(&f->out, &hb), 0);
        deliver(f, origin);
    }
    tick(f, 1000);
    core_horizons(f->core, &h);
    expect_u64(h.lst, 0); /* THIRD has made a batch that is not here. */
    struct wire_heartbeat again = {.hlc = HLC(60), .wall_ms = WALL_MS, .sent_ms = 2};
    assert_int_equal(wire_put_heartbeat(&f->out, &again), 0);
    deliver(f, FOURTH);
    core_link_down(f->core, THIRD);
    link_peer(f, THIRD);
    again.hlc = HLC(50);
    assert_int_equal(wire_put_heartbeat(&f->out, &again), 0);
    deliver(f, THIRD);
    core_horizons(f->core, &h);
    expect_u64(h.lst, HLC(42));
}

/* --- retention --- */

static int setup_retention(void **state)
{
    const struct core_options options = {.origin = SELF,
                                         .incarnation = 11,
                                         .group_id = {7},
                                         .history_bytes = 100,
                                         .retention_bytes = 2000};

    return setup_with(state, &options);
}

static void the_log_is_kept_for_a_peer_up_to_the_bound(void **state)
{
    struct fixture *f = *state;
    struct core_peer_info info;
    struct core_horizons h;
    uint64_t seq = 0;

    for (unsigned i = 0; i < 10; i++)
        log_local(f, ++seq);
    core_durable(f->core, seq);
    const struct posv covered = posv_with(SELF, (struct pos){seq, HLC(0) + seq});
    core_covered(f->core, seq, &covered);
    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        link_peer(f, origin);
        if (origin != FOURTH)
            send_ack(f, origin, 0, &covered);
    }
    core_horizons(f->core, &h);
    expect_u64(h.trim_lsn, 0);
    tick(f, 1000);
    assert_true(core_peer_info(f->core, FOURTH, &info));
    assert_in_range(info.retained_bytes, 200, 600);
    assert_in_range(info.retained_left_ms, 1, 10000);
    assert_false(info.behind);
    for (unsigned i = 0; i < 80; i++)
        log_local(f, ++seq);
    tick(f, 1000);
    assert_true(core_peer_info(f->core, FOURTH, &info));
    assert_true(info.behind);
    expect_u64(info.retained_left_ms, 0);
    core_horizons(f->core, &h);
    assert_in_range(h.trim_lsn, 1, 10);
}

/* --- clocks --- */

/* A heartbeat whose sender's clock is `offset_ms` ahead. */
static void beat(struct fixture *f, uint8_t from, int64_t offset_ms)
{
    const struct wire_heartbeat hb = {.hlc = 1,
                                      .wall_ms = (uint64_t)((int64_t)f->now.wall_ms + offset_ms),
                                      .sent_ms = 1,
                                      .echo_ms = f->now.mono_ms};

    assert_int_equal(wire_put_heartbeat(&f->out, &hb), 0);
    deliver(f, from);
}

static void writes_are_refused_when_two_peers_say_that_our_clock_is_off(void **state)
{
    struct fixture *f = *state;

    for (uint8_t origin = PEER; origin <= FOURTH; origin++)
        link_peer(f, origin);
    beat(f, PEER, 90);
    tick(f, 1);
    const unsigned before = f->events_count;
    beat(f, THIRD, 700);
    tick(f, 1);
    assert_int_equal(f->events[before].kind, CORE_SKEW_WARN);
    expect_i64((int64_t)f->events[before].detail, 700);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK); /* One alone may be wrong. */
    beat(f, FOURTH, -700);
    tick(f, 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK); /* They do not agree. */
    for (unsigned i = 0; i < 8; i++)
        beat(f, FOURTH, 650);
    tick(f, 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_SKEW);
    for (uint8_t origin = THIRD; origin <= FOURTH; origin++) {
        for (unsigned i = 0; i < 8; i++)
            beat(f, origin, 10);
    }
    tick(f, 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
}

#define CORE_TEST(name, set_up) cmocka_unit_test_setup_teardown(name, set_up, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(a_greeting_that_does_not_fit_is_refused_with_the_reason, setup),
        CORE_TEST(frames_before_the_greeting_break_the_protocol, setup),
        CORE_TEST(damaged_and_unknown_frames_end_the_link, setup),
        CORE_TEST(silence_ends_the_link, setup),
        CORE_TEST(lost_own_batches_are_pulled_back_before_writes, setup_recovered),
        CORE_TEST(another_history_of_our_own_stops_writes_for_good, setup_recovered),
        CORE_TEST(another_history_of_a_peer_is_noticed_in_the_greeting, setup_recovered),
        CORE_TEST(another_history_is_noticed_by_the_batch_before, setup_recovered),
        CORE_TEST(a_peer_that_lost_what_it_acknowledged_is_refused, setup_recovered),
        CORE_TEST(batches_are_applied_once_and_in_order, setup),
        CORE_TEST(a_batch_waits_for_what_it_has_seen, setup),
        CORE_TEST(what_finds_no_room_is_asked_for_again, setup),
        CORE_TEST(answers_to_an_older_request_are_thrown_away, setup),
        CORE_TEST(batches_from_the_future_park_the_link, setup),
        CORE_TEST(an_op_of_a_later_version_parks_the_link, setup),
        CORE_TEST(batches_behind_the_seal_are_refused, setup),
        CORE_TEST(a_frozen_origin_is_not_taken_until_it_is_sealed, setup),
        CORE_TEST(batches_beyond_an_agreed_seal_stop_writes, setup_recovered),
        CORE_TEST(a_sealed_member_is_told_so, setup),
        CORE_TEST(only_what_is_durable_is_sent_and_acknowledged, setup),
        CORE_TEST(nothing_is_sent_beyond_the_credit, setup),
        CORE_TEST(what_is_not_in_memory_is_read_from_the_log, setup_recovered),
        CORE_TEST(an_acknowledgement_counts_when_what_came_before_it_is_here, setup_recovered),
        CORE_TEST(lst_is_what_all_have_promised, setup),
        CORE_TEST(the_log_is_kept_for_a_peer_up_to_the_bound, setup_retention),
        CORE_TEST(writes_are_refused_when_two_peers_say_that_our_clock_is_off, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
