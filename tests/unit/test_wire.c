/*
 * Frames between peers: what is written is read back; what is damaged, too long or unknown is
 * refused.
 */
#include <stdlib.h>

#include "engine/base/crc16.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/rng.h"
#include "engine/base/sum.h"

#include "engine/value/op.h"
#include "engine/value/row.h"

#include "replication/group/pack.h"
#include "replication/group/wire.h"

#include "tests/lib/tcase.h"

#define ORIGIN 2

struct fixture {
    struct pack *pack;
    struct buf frame;
    struct buf scratch;
    struct buf batch;
    struct wire_writer writer;
};

static int setup(void **state)
{
    static struct fixture f;

    f.pack = pack_create();
    buf_init(&f.frame, SIZE_MAX);
    buf_init(&f.scratch, SIZE_MAX);
    buf_init(&f.batch, SIZE_MAX);
    wire_writer_init(&f.writer, 64u << 10);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    pack_destroy(f->pack);
    buf_deinit(&f->frame);
    buf_deinit(&f->scratch);
    buf_deinit(&f->batch);
    wire_writer_deinit(&f->writer);
    return 0;
}

/* Opens what stands in the frame buffer. */
static struct wire_frame opened(struct fixture *f)
{
    struct wire_frame frame;
    size_t size;

    assert_int_equal(wire_frame_size(buf_bytes(&f->frame), &size), 0);
    expect_u64(size, f->frame.len);
    assert_int_equal(wire_open(buf_bytes(&f->frame), f->pack, &f->scratch, &frame), 0);
    return frame;
}

static struct posv sample_posv(uint64_t n)
{
    struct posv posv;

    posv_init(&posv);
    for (uint8_t i = 1; i <= 5; i++)
        assert_int_equal(posv_raise(&posv, i, (struct pos){n + i, (n + i) << 16}), 0);
    return posv;
}

static void expect_posv(const struct posv *got, const struct posv *want)
{
    expect_u64(got->count, want->count);
    for (unsigned i = 0; i < want->count; i++) {
        expect_u64(got->origin[i], want->origin[i]);
        expect_u64(got->at[i].seq, want->at[i].seq);
        expect_u64(got->at[i].hlc, want->at[i].hlc);
    }
}

static void small_frames_come_back(void **state)
{
    struct fixture *f = *state;
    const struct wire_hello hello = {.protocol = WIRE_PROTOCOL,
                                     .origin = 3,
                                     .shard = 7,
                                     .group_id = {1, 2, 3},
                                     .incarnation = 0x1122334455667788,
                                     .epoch = 9,
                                     .flush = 6,
                                     .applied = sample_posv(10),
                                     .durable = sample_posv(5),
                                     .trimmed = sample_posv(1)};
    struct wire_hello hello_got;
    const struct wire_ack ack = {.as_of_seq = 77, .durable = sample_posv(3)};
    struct wire_ack ack_got;
    const struct wire_heartbeat hb = {1, 2, 3, 4, 5, 6, 7, true};
    struct wire_heartbeat hb_got;
    const struct wire_request request = {3, 4, 5, WIRE_SEQ_ALL};
    struct wire_request request_got;
    const struct wire_nack nack = {3, 4, WIRE_TRIMMED, 9};
    struct wire_nack nack_got;
    const struct wire_bye bye = {WIRE_CLOCK, 12};
    struct wire_bye bye_got;
    uint64_t credit;

    assert_int_equal(wire_put_hello(&f->frame, &hello), 0);
    assert_int_equal(wire_get_hello(opened(f).body, &hello_got), 0);
    expect_u64(hello_got.shard, 7);
    expect_u64(hello_got.incarnation, hello.incarnation);
    expect_u64(hello_got.flush, 6);
    expect_posv(&hello_got.applied, &hello.applied);
    expect_posv(&hello_got.durable, &hello.durable);
    expect_posv(&hello_got.trimmed, &hello.trimmed);
    buf_clear(&f->frame);
    assert_int_equal(wire_put_ack(&f->frame, &ack), 0);
    assert_int_equal(wire_get_ack(opened(f).body, &ack_got), 0);
    expect_u64(ack_got.as_of_seq, 77);
    expect_posv(&ack_got.durable, &ack.durable);
    buf_clear(&f->frame);
    assert_int_equal(wire_put_heartbeat(&f->frame, &hb), 0);
    assert_int_equal(wire_get_heartbeat(opened(f).body, &hb_got), 0);
    assert_memory_equal(&hb, &hb_got, offsetof(struct wire_heartbeat, flush));
    expect_u64(hb_got.flush, 7);
    assert_true(hb_got.full);
    buf_clear(&f->frame);
    assert_int_equal(wire_put_request(&f->frame, &request), 0);
    assert_int_equal(wire_get_request(opened(f).body, &request_got), 0);
    expect_u64(request_got.from_seq, 5);
    expect_u64(request_got.to_seq, WIRE_SEQ_ALL);
    buf_clear(&f->frame);
    assert_int_equal(wire_put_nack(&f->frame, &nack), 0);
    assert_int_equal(wire_get_nack(opened(f).body, &nack_got), 0);
    expect_u64(nack_got.trimmed_seq, 9);
    buf_clear(&f->frame);
    assert_int_equal(wire_put_bye(&f->frame, &bye), 0);
    assert_int_equal(wire_get_bye(opened(f).body, &bye_got), 0);
    expect_u64(bye_got.detail, 12);
    buf_clear(&f->frame);
    assert_int_equal(wire_put_credit(&f->frame, 4711), 0);
    assert_int_equal(wire_get_credit(opened(f).body, &credit), 0);
    expect_u64(credit, 4711);
}

/* --- batches --- */

/* A batch with `count` SETs of `value_len` bytes. */
static void make_batch(struct fixture *f, uint64_t seq, uint64_t hlc, const struct vv *ctx,
                       size_t value_len)
{
    static uint8_t value[100000];
    const struct op set = {
        .kind = OP_SET, .key = BYTES_LIT("some key of 16 b"), .value = bytes_of(value, value_len)};

    buf_clear(&f->batch);
    assert_int_equal(buf_reserve(&f->batch, BATCH_HEADER_BYTES_MAX + op_size(&set)), 0);
    buf_commit(&f->batch, batch_header_store(buf_end(&f->batch), tag_of(hlc, ORIGIN), seq, 1, ctx));
    buf_commit(&f->batch, op_store(buf_end(&f->batch), &set, hlc));
}

static void begin(struct fixture *f, uint64_t first_seq, uint64_t prev_hlc)
{
    const struct wire_batches_head head = {.origin = ORIGIN,
                                           .generation = 6,
                                           .epoch = 4,
                                           .first_seq = first_seq,
                                           .prev_hlc = prev_hlc};

    wire_writer_begin(&f->writer, &head);
}

static void ctx_of(unsigned i, struct vv *ctx)
{
    vv_init(ctx);
    assert_int_equal(vv_raise(ctx, tag_of(5000 + 10 * (i / 3), 1)), 0);
    if (i % 4 != 3)
        assert_int_equal(vv_raise(ctx, tag_of(5001 + i, 7)), 0);
    if (i % 5 == 0)
        assert_int_equal(vv_raise(ctx, tag_of(100, 9)), 0);
}

static void batches_come_back_with_their_contexts(void **state)
{
    struct fixture *f = *state;
    struct wire_reader reader;
    struct buf got;
    struct vv ctx;

    begin(f, 41, 8999);
    for (unsigned i = 0; i < 20; i++) {
        ctx_of(i, &ctx);
        make_batch(f, 41 + i, 9000 + 3 * i, &ctx, 20);
        assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    }
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->frame), 0);
    const struct wire_frame frame = opened(f);
    assert_int_equal(frame.kind, WIRE_BATCHES);
    assert_int_equal(wire_reader_init(&reader, frame.body), 0);
    expect_u64(reader.head.first_seq, 41);
    expect_u64(reader.head.prev_hlc, 8999);
    expect_u64(reader.count, 20);
    buf_init(&got, SIZE_MAX);
    for (unsigned i = 0; i < 20; i++) {
        assert_int_equal(wire_reader_next(&reader, &got), WIRE_BATCH);
        ctx_of(i, &ctx);
        make_batch(f, 41 + i, 9000 + 3 * i, &ctx, 20);
        expect_bytes(buf_bytes(&got), buf_bytes(&f->batch));
    }
    assert_int_equal(wire_reader_next(&reader, &got), WIRE_END);
    buf_deinit(&got);
}

static void small_batches_take_few_bytes(void **state)
{
    struct fixture *f = *state;
    struct op incr = {.kind = OP_INCR, .key = BYTES_LIT("some key of 16 b"), .start = 9000};
    struct vv ctx;

    ctx_of(0, &ctx);
    begin(f, 1, 0);
    for (unsigned i = 0; i < 100; i++) {
        const uint64_t hlc = 9000 + 7 * i;

        incr.isum = i + 1;
        buf_clear(&f->batch);
        assert_int_equal(buf_reserve(&f->batch, BATCH_HEADER_BYTES_MAX + op_size(&incr)), 0);
        buf_commit(&f->batch,
                   batch_header_store(buf_end(&f->batch), tag_of(hlc, ORIGIN), 1 + i, 1, &ctx));
        buf_commit(&f->batch, op_store(buf_end(&f->batch), &incr, hlc));
        assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    }
    /* The goal is 40 bytes for a small op, before compression. */
    assert_in_range(f->writer.body.len, 1, 100 * 26);
    const struct op sadd = {.kind = OP_ELEM_SET,
                            .type = VT_SET,
                            .key = BYTES_LIT("some key of 16 b"),
                            .sub = BYTES_LIT("0123456789")};
    begin(f, 1, 0);
    for (unsigned i = 0; i < 100; i++) {
        const uint64_t hlc = 9000 + 7 * i;

        buf_clear(&f->batch);
        assert_int_equal(buf_reserve(&f->batch, BATCH_HEADER_BYTES_MAX + op_size(&sadd)), 0);
        buf_commit(&f->batch,
                   batch_header_store(buf_end(&f->batch), tag_of(hlc, ORIGIN), 1 + i, 1, &ctx));
        buf_commit(&f->batch, op_store(buf_end(&f->batch), &sadd, hlc));
        assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    }
    assert_in_range(f->writer.body.len, 1, 100 * 34);
}

/* The header alone tells which request a frame answers. */
static void a_frame_is_made_the_answer_to_another_request(void **state)
{
    struct fixture *f = *state;
    struct wire_frame frame;
    size_t size;

    begin(f, 1, 0);
    make_batch(f, 1, 50, NULL, 1000);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->frame), 0);
    assert_int_equal(opened(f).generation, 6);
    wire_frame_set_generation(f->frame.ptr, 0xfedcba98);
    assert_int_equal(opened(f).generation, 0xfedcba98);
    expect_bytes(opened(f).body, buf_bytes(&f->writer.body));
    /* No other frame has one. */
    buf_clear(&f->frame);
    assert_int_equal(wire_put_credit(&f->frame, 5), 0);
    assert_int_equal(opened(f).generation, 0);
    wire_frame_set_generation(f->frame.ptr, 1);
    assert_int_equal(wire_frame_size(buf_bytes(&f->frame), &size), -ERR_PROTOCOL);
    assert_int_equal(wire_open(buf_bytes(&f->frame), f->pack, &f->scratch, &frame), -ERR_PROTOCOL);
}

/* Ops that were replaced within their batch are not sent, and not taken. */
static void voided_ops_do_not_travel(void **state)
{
    struct fixture *f = *state;
    struct wire_reader reader;
    struct buf got;

    buf_init(&got, SIZE_MAX);
    begin(f, 1, 0);
    make_batch(f, 1, 50, NULL, 5);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    const size_t ops_len = f->batch.len - BATCH_HEADER_BYTES;
    op_void(f->writer.body.ptr + f->writer.body.len - ops_len);
    assert_int_equal(wire_reader_init(&reader, buf_bytes(&f->writer.body)), 0);
    assert_int_equal(wire_reader_next(&reader, &got), -ERR_CORRUPT);
    op_void(f->batch.ptr + BATCH_HEADER_BYTES);
    begin(f, 1, 0);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    assert_int_equal(wire_reader_init(&reader, buf_bytes(&f->writer.body)), 0);
    assert_int_equal(wire_reader_next(&reader, &got), WIRE_BATCH);
    expect_u64(got.len, BATCH_HEADER_BYTES);
    buf_deinit(&got);
}

/* The number of ops gets shorter by a byte when so many stay at home. */
static void a_batch_of_many_ops_of_which_one_travels_comes_back(void **state)
{
    struct fixture *f = *state;
    const struct op del = {.kind = OP_DEL, .key = BYTES_LIT("key")};
    const unsigned count = 1000;
    struct wire_reader reader;
    struct batch batch;
    struct buf got;
    struct op op;

    buf_init(&got, SIZE_MAX);
    assert_int_equal(buf_reserve(&f->batch, count * 100), 0);
    buf_commit(&f->batch,
               batch_header_store(buf_end(&f->batch), tag_of(50, ORIGIN), 1, count, NULL));
    for (unsigned i = 0; i < count; i++) {
        uint8_t *at = buf_end(&f->batch);
        buf_commit(&f->batch, op_store(at, &del, 50));
        if (i != 700)
            op_void(at);
    }
    begin(f, 1, 0);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    make_batch(f, 2, 60, NULL, 5);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    assert_int_equal(wire_reader_init(&reader, buf_bytes(&f->writer.body)), 0);
    assert_int_equal(wire_reader_next(&reader, &got), WIRE_BATCH);
    assert_int_equal(batch_open(buf_bytes(&got), &batch), 0);
    expect_u64(batch.nops, 1);
    assert_int_equal(batch_next(&batch, &op), BATCH_OP);
    assert_int_equal(op.kind, OP_DEL);
    assert_int_equal(wire_reader_next(&reader, &got), WIRE_BATCH);
    expect_bytes(buf_bytes(&got), buf_bytes(&f->batch));
    assert_int_equal(wire_reader_next(&reader, &got), WIRE_END);
    buf_deinit(&got);
}

static void what_is_of_no_use_to_peers_stays_at_home(void **state)
{
    struct fixture *f = *state;
    const struct op reclaim = {.kind = OP_RECLAIM, .key = BYTES_LIT("k")};
    const struct op elem = {.kind = OP_ELEM_SET,
                            .type = 3,
                            .key = BYTES_LIT("set"),
                            .sub = BYTES_LIT("member"),
                            .has_count = true,
                            .count = 12};
    struct wire_reader reader;
    struct batch batch;
    struct buf got;
    struct op op;

    assert_int_equal(buf_reserve(&f->batch, 1000), 0);
    buf_commit(&f->batch, batch_header_store(buf_end(&f->batch), tag_of(50, ORIGIN), 1, 2, NULL));
    buf_commit(&f->batch, op_store(buf_end(&f->batch), &reclaim, 50));
    buf_commit(&f->batch, op_store(buf_end(&f->batch), &elem, 50));
    begin(f, 1, 0);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->frame), 0);
    assert_int_equal(wire_reader_init(&reader, opened(f).body), 0);
    buf_init(&got, SIZE_MAX);
    assert_int_equal(wire_reader_next(&reader, &got), WIRE_BATCH);
    assert_int_equal(batch_open(buf_bytes(&got), &batch), 0);
    expect_u64(batch.nops, 1);
    assert_int_equal(batch_next(&batch, &op), BATCH_OP);
    assert_int_equal(op.kind, OP_ELEM_SET);
    assert_false(op.has_count);
    buf_deinit(&got);
}

static void a_batch_beyond_the_target_comes_alone(void **state)
{
    struct fixture *f = *state;

    begin(f, 1, 0);
    make_batch(f, 1, 50, NULL, 10);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    make_batch(f, 2, 60, NULL, 100000);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), -ERR_LIMIT);
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->frame), 0);
    begin(f, 2, 50);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    buf_clear(&f->frame);
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->frame), 0);
    assert_in_range(f->frame.len, 1, 5000); /* Zeros pack well. */
    expect_u64(opened(f).body.len, f->writer.body.len);
}

/* Random bytes are tried once in a while only. */
static void what_does_not_pack_is_left_alone_for_a_while(void **state)
{
    struct fixture *f = *state;
    struct rng rng;
    struct op set = {.kind = OP_SET, .key = BYTES_LIT("k")};
    uint8_t noise[2000];
    unsigned packed = 0;

    rng_seed(&rng, 1);
    rng_bytes(&rng, noise, sizeof(noise));
    for (unsigned i = 0; i < 40; i++) {
        set.value = bytes_of(noise, sizeof(noise));
        if (i == 2)
            memset(noise, 'x', sizeof(noise)); /* From now on it would. */
        buf_clear(&f->batch);
        buf_clear(&f->frame);
        assert_int_equal(buf_reserve(&f->batch, BATCH_HEADER_BYTES_MAX + op_size(&set)), 0);
        buf_commit(&f->batch,
                   batch_header_store(buf_end(&f->batch), tag_of(50, ORIGIN), 1, 1, NULL));
        buf_commit(&f->batch, op_store(buf_end(&f->batch), &set, 50));
        begin(f, 1, 0);
        assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
        assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->frame), 0);
        expect_u64(opened(f).body.len, f->writer.body.len);
        packed += f->frame.len < 1000;
    }
    expect_u64(packed, 40 - 32);
}

static void batches_out_of_order_are_not_written(void **state)
{
    struct fixture *f = *state;

    begin(f, 5, 40);
    make_batch(f, 6, 50, NULL, 1);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), -ERR_CORRUPT);
    make_batch(f, 5, 40, NULL, 1);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), -ERR_CORRUPT);
    make_batch(f, 5, 41, NULL, 1);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
}

static void an_op_of_a_later_version_is_told_apart_from_damage(void **state)
{
    struct fixture *f = *state;
    struct wire_reader reader;
    struct buf got;

    begin(f, 1, 0);
    make_batch(f, 1, 50, NULL, 1);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->frame), 0);
    /* The op's kind is the first byte of the ops, which end the body. */
    const size_t ops_len = f->batch.len - BATCH_HEADER_BYTES;
    uint8_t *kind = f->writer.body.ptr + f->writer.body.len - ops_len;
    assert_int_equal(*kind, OP_SET);
    buf_init(&got, SIZE_MAX);
    *kind = OP_KIND_END;
    assert_int_equal(wire_reader_init(&reader, buf_bytes(&f->writer.body)), 0);
    assert_int_equal(wire_reader_next(&reader, &got), -ERR_UNSUPPORTED);
    *kind = OP_DEL; /* The value that follows belongs to nothing. */
    assert_int_equal(wire_reader_init(&reader, buf_bytes(&f->writer.body)), 0);
    assert_int_equal(wire_reader_next(&reader, &got), WIRE_BATCH);
    assert_int_equal(wire_reader_next(&reader, &got), -ERR_CORRUPT);
    *kind = OP_RECLAIM;
    assert_int_equal(wire_reader_init(&reader, buf_bytes(&f->writer.body)), 0);
    assert_int_equal(wire_reader_next(&reader, &got), -ERR_CORRUPT);
    buf_deinit(&got);
}

static void pieces_of_a_copy_come_back(void **state)
{
    struct fixture *f = *state;
    static const uint8_t row_bytes[] = {0x00};
    struct wire_row rows[3] = {{.key = BYTES_LIT("a"), .row = bytes_of(row_bytes, 1)},
                               {.key = BYTES_LIT("ab"), .row = bytes_of(row_bytes, 1)},
                               {.key = BYTES_LIT("b"), .row = bytes_of(row_bytes, 1)}};
    struct wire_sync_rows head = {
        .id = 3,
        .turn = 70000,
        .last = true,
        .end = KEY_SLOTS,
        .flush = 2,
        .at = sample_posv(4),
        .newest = sample_posv(5),
        .acked = {.count = 2, .origin = {2, 4}, .durable = {sample_posv(3), sample_posv(1)}},
        .differ = BYTES_LIT("\x05")};
    struct wire_sync_rows got;
    struct wire_row row;

    assert_int_equal(wire_build_sync_rows(&f->batch, &head, rows, 3), 0);
    assert_int_equal(wire_put_body(&f->frame, WIRE_SYNC_ROWS, buf_bytes(&f->batch), f->pack), 0);
    assert_int_equal(wire_get_sync_rows(opened(f).body, &got), 0);
    expect_u64(got.id, 3);
    expect_u64(got.turn, 70000);
    assert_true(got.last && !got.gone);
    expect_u64(got.end, KEY_SLOTS);
    expect_u64(got.flush, 2);
    expect_posv(&got.at, &head.at);
    expect_posv(&got.newest, &head.newest);
    expect_u64(got.acked.count, 2);
    expect_u64(got.acked.origin[1], 4);
    expect_posv(&got.acked.durable[0], &head.acked.durable[0]);
    expect_posv(&got.acked.durable[1], &head.acked.durable[1]);
    expect_bytes(got.differ, head.differ);
    expect_bytes(got.first_key, rows[0].key);
    expect_bytes(got.last_key, rows[2].key);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(wire_sync_next(&got, &row));
        expect_bytes(row.key, rows[i].key);
        expect_bytes(row.row, rows[i].row);
    }
    assert_false(wire_sync_next(&got, &row));
    for (size_t len = 0; len < f->batch.len; len++)
        assert_int_equal(wire_get_sync_rows(bytes_of(f->batch.ptr, len), &got), -ERR_CORRUPT);
    le16_store(f->batch.ptr + 9, 7); /* With the end of all only. */
    assert_int_equal(wire_get_sync_rows(buf_bytes(&f->batch), &got), -ERR_CORRUPT);
    head.acked.origin[1] = 2;
    assert_int_equal(wire_build_sync_rows(&f->batch, &head, rows, 3), 0);
    assert_int_equal(wire_get_sync_rows(buf_bytes(&f->batch), &got), -ERR_CORRUPT);
    head.acked.origin[1] = 4;
    assert_int_equal(wire_build_sync_rows(&f->batch, &head, rows, 3), 0);
    le16_store(f->batch.ptr + 9, KEY_SLOTS + 1);
    assert_int_equal(wire_get_sync_rows(buf_bytes(&f->batch), &got), -ERR_CORRUPT);
    rows[2].key = rows[1].key; /* Keys must rise: else resuming would lose rows. */
    assert_int_equal(wire_build_sync_rows(&f->batch, &head, rows, 3), 0);
    assert_int_equal(wire_get_sync_rows(buf_bytes(&f->batch), &got), -ERR_CORRUPT);
}

static void what_is_asked_for_comes_back(void **state)
{
    struct fixture *f = *state;
    static const uint8_t sums[8 << 2] = {1, 2, 3};
    struct wire_sync_ask ask = {.id = 9,
                                .turn = 70000,
                                .entered = true,
                                .range = {.first = 5,
                                          .end = KEY_SLOTS,
                                          .bits = 2,
                                          .seed = 77,
                                          .sums = bytes_of(sums, sizeof(sums))},
                                .after = BYTES_LIT("ab")};
    struct wire_sync_ask got;

    assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
    assert_int_equal(wire_put_body(&f->frame, WIRE_SYNC_ASK, buf_bytes(&f->batch), f->pack), 0);
    assert_int_equal(wire_get_sync_ask(opened(f).body, &got), 0);
    expect_u64(got.id, 9);
    expect_u64(got.turn, 70000);
    assert_true(got.entered && !got.goes_on);
    expect_u64(got.range.first, 5);
    expect_u64(got.range.end, KEY_SLOTS);
    expect_u64(got.range.bits, 2);
    expect_u64(got.range.seed, 77);
    expect_bytes(got.range.sums, ask.range.sums);
    expect_bytes(got.after, ask.after);
    for (size_t len = 0; len < f->batch.len; len++)
        assert_int_equal(wire_get_sync_ask(bytes_of(f->batch.ptr, len), &got), -ERR_CORRUPT);
    f->batch.ptr[13] = 3; /* More buckets than sums. */
    assert_int_equal(wire_get_sync_ask(buf_bytes(&f->batch), &got), -ERR_CORRUPT);
    f->batch.ptr[13] = WIRE_SYNC_BITS_MAX + 1;
    assert_int_equal(wire_get_sync_ask(buf_bytes(&f->batch), &got), -ERR_CORRUPT);
    ask.range = (struct wire_sync_range){.first = 6, .end = 5, .bits = WIRE_SYNC_ALL};
    assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
    assert_int_equal(wire_get_sync_ask(buf_bytes(&f->batch), &got), -ERR_CORRUPT);
    ask.range.end = KEY_SLOTS + 1;
    assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
    assert_int_equal(wire_get_sync_ask(buf_bytes(&f->batch), &got), -ERR_CORRUPT);
    ask.range.first = ask.range.end = 6;
    ask.entered = false;
    ask.goes_on = true;
    assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
    assert_int_equal(wire_get_sync_ask(buf_bytes(&f->batch), &got), 0);
    assert_true(got.goes_on && !got.entered && !got.waits);
    ask.waits = true;
    assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
    assert_int_equal(wire_get_sync_ask(buf_bytes(&f->batch), &got), 0);
    assert_true(got.goes_on && !got.entered && got.waits);
    f->batch.ptr[8] = 8; /* A flag that nobody knows. */
    assert_int_equal(wire_get_sync_ask(buf_bytes(&f->batch), &got), -ERR_CORRUPT);
}

static void that_a_checkpoint_is_gone_comes_back(void **state)
{
    struct fixture *f = *state;
    static const uint8_t row_bytes[] = {0x00};
    const struct wire_row row = {.key = BYTES_LIT("a"), .row = bytes_of(row_bytes, 1)};
    const struct wire_sync_rows head = {.id = 3, .turn = 4, .gone = true};
    struct wire_sync_rows got;

    assert_int_equal(wire_build_sync_rows(&f->batch, &head, NULL, 0), 0);
    assert_int_equal(wire_get_sync_rows(buf_bytes(&f->batch), &got), 0);
    assert_true(got.gone && !got.last);
    expect_u64(got.id, 3);
    expect_u64(got.turn, 4);
    assert_int_equal(wire_build_sync_rows(&f->batch, &head, &row, 1), 0);
    assert_int_equal(wire_get_sync_rows(buf_bytes(&f->batch), &got), -ERR_CORRUPT);
}

/* --- damage --- */

static void every_flipped_bit_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct wire_frame frame;
    size_t size;

    begin(f, 1, 0);
    make_batch(f, 1, 50, NULL, 1000);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->frame), 0);
    for (size_t bit = 0; bit < f->frame.len * 8; bit++) {
        f->frame.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (wire_frame_size(buf_bytes(&f->frame), &size) == 0)
            assert_int_not_equal(wire_open(buf_bytes(&f->frame), f->pack, &f->scratch, &frame), 0);
        f->frame.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    (void)opened(f);
}

static void every_cut_end_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct wire_reader reader;
    struct vv ctx;
    struct buf got;

    begin(f, 1, 0);
    for (unsigned i = 0; i < 3; i++) {
        ctx_of(i, &ctx);
        make_batch(f, 1 + i, 9000 + i, &ctx, 9);
        assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    }
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->frame), 0);
    buf_init(&got, SIZE_MAX);
    for (size_t len = 0; len < f->writer.body.len; len++) {
        int step = wire_reader_init(&reader, bytes_of(f->writer.body.ptr, len));

        while (step == 0 || step == WIRE_BATCH) {
            step = wire_reader_next(&reader, &got);
            assert_int_not_equal(step, WIRE_END);
        }
        assert_int_equal(step, -ERR_CORRUPT);
    }
    buf_deinit(&got);
}

static void lengths_beyond_the_limits_are_refused_before_they_are_read(void **state)
{
    uint8_t header[WIRE_HEADER_BYTES] = {0};
    size_t size;

    (void)state;
    header[4] = WIRE_BATCHES;
    le32_store(header, WIRE_BODY_BYTES_MAX);
    assert_int_equal(wire_frame_size(bytes_of(header, sizeof(header)), &size), -ERR_TRUNCATED);
    expect_u64(size, WIRE_HEADER_BYTES + WIRE_BODY_BYTES_MAX);
    le32_store(header, WIRE_BODY_BYTES_MAX + 1);
    assert_int_equal(wire_frame_size(bytes_of(header, sizeof(header)), &size), -ERR_PROTOCOL);
    header[4] = WIRE_ACK;
    le32_store(header, WIRE_SMALL_BYTES_MAX + 1);
    assert_int_equal(wire_frame_size(bytes_of(header, sizeof(header)), &size), -ERR_PROTOCOL);
    le32_store(header, 0);
    header[4] = WIRE_KIND_END;
    assert_int_equal(wire_frame_size(bytes_of(header, sizeof(header)), &size), -ERR_PROTOCOL);
    header[4] = WIRE_ACK;
    header[5] = 2;
    assert_int_equal(wire_frame_size(bytes_of(header, sizeof(header)), &size), -ERR_PROTOCOL);
    header[5] = 1; /* Packed, a small frame could claim to be long. */
    assert_int_equal(wire_frame_size(bytes_of(header, sizeof(header)), &size), -ERR_PROTOCOL);
    header[4] = WIRE_SYNC_ROWS;
    assert_int_equal(wire_frame_size(bytes_of(header, sizeof(header)), &size), 0);
}

/* A packed body that claims more than it may is refused without allocating it. */
static void a_packed_length_is_not_trusted(void **state)
{
    struct fixture *f = *state;
    struct wire_frame frame;

    begin(f, 1, 0);
    make_batch(f, 1, 50, NULL, 5000);
    assert_int_equal(wire_writer_add(&f->writer, buf_bytes(&f->batch)), 0);
    assert_int_equal(wire_writer_end(&f->writer, f->pack, &f->frame), 0);
    assert_int_equal(f->frame.ptr[5], 1);
    static const uint32_t lengths[] = {0, 1, WIRE_BODY_BYTES_MAX + 1, UINT32_MAX};
    for (size_t i = 0; i < ARRAY_COUNT(lengths); i++) {
        le32_store(f->frame.ptr + WIRE_HEADER_BYTES, lengths[i]);
        wire_frame_set_generation(f->frame.ptr, 0); /* Then the sum is that of the body alone. */
        le64_store(f->frame.ptr + 12,
                   sum64_seed(f->frame.ptr + WIRE_HEADER_BYTES, f->frame.len - WIRE_HEADER_BYTES,
                              le64_load(f->frame.ptr)));
        assert_int_equal(wire_open(buf_bytes(&f->frame), f->pack, &f->scratch, &frame),
                         -ERR_CORRUPT);
    }
}

static void reasons_have_texts(void **state)
{
    (void)state;
    for (unsigned i = 0; i < WIRE_REASON_END; i++)
        assert_non_null(wire_reason_str((uint8_t)i));
    expect_str(wire_reason_str(WIRE_REASON_END), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(small_frames_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(batches_come_back_with_their_contexts, setup, teardown),
        cmocka_unit_test_setup_teardown(small_batches_take_few_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(a_frame_is_made_the_answer_to_another_request, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(voided_ops_do_not_travel, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_of_many_ops_of_which_one_travels_comes_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_is_of_no_use_to_peers_stays_at_home, setup, teardown),
        cmocka_unit_test_setup_teardown(a_batch_beyond_the_target_comes_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(what_does_not_pack_is_left_alone_for_a_while, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(batches_out_of_order_are_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(an_op_of_a_later_version_is_told_apart_from_damage, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(pieces_of_a_copy_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_asked_for_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(that_a_checkpoint_is_gone_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(every_flipped_bit_is_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(every_cut_end_is_noticed, setup, teardown),
        cmocka_unit_test(lengths_beyond_the_limits_are_refused_before_they_are_read),
        cmocka_unit_test_setup_teardown(a_packed_length_is_not_trusted, setup, teardown),
        cmocka_unit_test(reasons_have_texts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
