/*
 * What batches cost on a link: bytes per batch in the log, in a frame before and after compression
 * and as the command of a client, and the time to write and to read them.
 *
 * Usage: wire-bench [batches]
 *
 * Each batch is one op of a member of three; every tenth has seen a new batch of each of the
 * others.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/num.h"
#include "engine/base/rng.h"

#include "engine/value/op.h"
#include "engine/value/row.h"

#include "replication/group/pack.h"
#include "replication/group/wire.h"

#define BATCHES_DEFAULT 200000
#define FRAME_BYTES     (64u << 10)
#define KEYS            10000
#define VALUE_BYTES_MAX 1024
#define ORIGIN          1
#define START_MS        UINT64_C(1767225600000)

enum shape {
    INCR_ONE_KEY,
    INCR_KEYS,
    HSET_20,
    SET_100,
    SET_1024,
    SHAPES
};

static const char *const names[SHAPES] = {"INCR of one key", "INCR of 10,000 keys",
                                          "HSET, value 20", "SET, value 100", "SET, value 1024"};
static const size_t value_bytes[SHAPES] = {0, 0, 20, 100, 1024};

struct bench {
    enum shape shape;
    struct rng rng;
    uint64_t hlc;
    uint64_t seq;
    struct vv ctx;
    struct buf batch;
    uint64_t resp_bytes;
    uint64_t log_bytes;
    uint64_t body_bytes;
    uint64_t frame_bytes;
    uint64_t write_ns;
    uint64_t read_ns;
};

/* Bytes of the command as clients send it: an array of bulk strings. */
static size_t resp_size(const size_t *lens, size_t count)
{
    size_t size = 4;

    for (size_t i = 0; i < count; i++) {
        char digits[24];

        size += 5 + (size_t)snprintf(digits, sizeof(digits), "%zu", lens[i]) + lens[i];
    }
    return size;
}

static void make(struct bench *b, uint64_t i)
{
    static uint8_t value[VALUE_BYTES_MAX];
    char key[17] = "";
    struct op op = {.key = bytes_of(key, 16), .sub = BYTES_LIT("some-field")};
    const size_t incr[] = {4, 16};
    const size_t hset[] = {4, 16, op.sub.len, 20};
    const size_t set[] = {3, 16, value_bytes[b->shape]};

    snprintf(key, sizeof(key), "key:%012" PRIu64,
             b->shape == INCR_ONE_KEY ? 1 : rng_below(&b->rng, KEYS));
    b->hlc += rng_below(&b->rng, 4) == 0 ? UINT64_C(1) << HLC_LOGICAL_BITS : 1;
    if (i % 10 == 0) {
        CHECK(vv_raise(&b->ctx, tag_of(b->hlc - 300000 + i % 7, 2)) == 0);
        CHECK(vv_raise(&b->ctx, tag_of(b->hlc - 500000 + i % 5, 3)) == 0);
    }
    rng_bytes(&b->rng, value, value_bytes[b->shape]);
    op.value = bytes_of(value, value_bytes[b->shape]);
    if (b->shape <= INCR_KEYS) {
        op.kind = OP_INCR;
        op.start = b->hlc - rng_below(&b->rng, UINT64_C(1) << 36);
        op.isum = (int64_t)i;
        b->resp_bytes += resp_size(incr, ARRAY_COUNT(incr));
    } else if (b->shape == HSET_20) {
        op.kind = OP_ELEM_SET;
        op.type = VT_HASH;
        b->resp_bytes += resp_size(hset, ARRAY_COUNT(hset));
    } else {
        op.kind = OP_SET;
        b->resp_bytes += resp_size(set, ARRAY_COUNT(set));
    }
    buf_clear(&b->batch);
    CHECK(buf_reserve(&b->batch, BATCH_HEADER_BYTES_MAX + op_size(&op)) == 0);
    buf_commit(&b->batch, batch_header_store(buf_end(&b->batch), tag_of(b->hlc, ORIGIN), ++b->seq,
                                             1, &b->ctx));
    buf_commit(&b->batch, op_store(buf_end(&b->batch), &op, b->hlc));
    b->log_bytes += b->batch.len;
}

static void read_frame(struct bench *b, struct pack *pack, const struct buf *frame)
{
    static struct buf scratch = {.limit = WIRE_BODY_BYTES_MAX};
    static struct buf batch = {.limit = WIRE_BODY_BYTES_MAX};
    const uint64_t start_ns = clock_mono_ns();
    struct wire_reader reader;
    struct wire_frame opened;
    int step;

    CHECK(wire_open(buf_bytes(frame), pack, &scratch, &opened) == 0);
    CHECK(wire_reader_init(&reader, opened.body) == 0);
    while ((step = wire_reader_next(&reader, &batch)) == WIRE_BATCH) {
    }
    CHECK(step == WIRE_END);
    b->read_ns += clock_mono_ns() - start_ns;
}

static void end_frame(struct bench *b, struct wire_writer *writer, struct pack *pack)
{
    static struct buf frame = {.limit = WIRE_BODY_BYTES_MAX};
    const uint64_t start_ns = clock_mono_ns();

    buf_clear(&frame);
    CHECK(wire_writer_end(writer, pack, &frame) == 0);
    b->write_ns += clock_mono_ns() - start_ns;
    b->body_bytes += writer->body.len;
    b->frame_bytes += frame.len;
    read_frame(b, pack, &frame);
}

static void begin_frame(struct wire_writer *writer, uint64_t first_seq, uint64_t prev_hlc)
{
    const struct wire_batches_head head = {.origin = ORIGIN,
                                           .generation = 1,
                                           .epoch = 1,
                                           .first_seq = first_seq,
                                           .prev_hlc = prev_hlc};

    wire_writer_begin(writer, &head);
}

static void run(enum shape shape, uint64_t count)
{
    struct bench b = {.shape = shape, .hlc = hlc_make(START_MS, 0)};
    struct pack *pack = pack_create();
    struct wire_writer writer;

    rng_seed(&b.rng, 1);
    buf_init(&b.batch, SIZE_MAX);
    wire_writer_init(&writer, FRAME_BYTES);
    begin_frame(&writer, 1, b.hlc);
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t before = b.hlc;

        make(&b, i);
        const uint64_t start_ns = clock_mono_ns();
        int err = wire_writer_add(&writer, buf_bytes(&b.batch));
        b.write_ns += clock_mono_ns() - start_ns;
        if (err != 0) {
            end_frame(&b, &writer, pack);
            begin_frame(&writer, b.seq, before);
            err = wire_writer_add(&writer, buf_bytes(&b.batch));
        }
        CHECK(err == 0);
    }
    end_frame(&b, &writer, pack);
    const double n = (double)count;
    printf("%-20s %8.1f %8.1f %8.1f %8.1f %9.0f %9.0f\n", names[shape], (double)b.resp_bytes / n,
           (double)b.log_bytes / n, (double)b.body_bytes / n, (double)b.frame_bytes / n,
           (double)b.write_ns / n, (double)b.read_ns / n);
    buf_deinit(&b.batch);
    wire_writer_deinit(&writer);
    pack_destroy(pack);
}

int main(int argc, char **argv)
{
    uint64_t count = BATCHES_DEFAULT;

    if (argc > 2 || (argc == 2 && (!num_parse_u64(bytes_cstr(argv[1]), &count) || count == 0))) {
        (void)fprintf(stderr, "usage: wire-bench [batches]\n");
        return 1;
    }
    printf("%-20s %8s %8s %8s %8s %9s %9s\n", "bytes a batch", "RESP", "log", "frame", "packed",
           "write ns", "read ns");
    for (enum shape shape = 0; shape < SHAPES; shape++)
        run(shape, count);
    return 0;
}
