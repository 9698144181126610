/*
 * Frames from a peer: opening and reading must survive any bytes; batches that read well are
 * written again to the same.
 *
 * Input: byte 0 chooses: 0, the rest is a frame; else the rest is a body of that kind, so that the
 * fuzzer need not guess sums.
 */
#include "engine/base/buf.h"
#include "engine/base/check.h"

#include "engine/value/op.h"

#include "replication/group/pack.h"
#include "replication/group/wire.h"

#include "tests/fuzz/fuzz.h"

#define BYTES_MAX (1u << 20)

static struct pack *pack;

static void read_small(uint8_t kind, struct bytes body)
{
    struct wire_hello hello;
    struct wire_ack ack;
    struct wire_heartbeat heartbeat;
    struct wire_request request;
    struct wire_nack nack;
    struct wire_bye bye;
    struct wire_sync_ask ask;
    struct wire_sync_rows rows;
    struct wire_row row;
    uint64_t credit;

    /* Only that they return. */
    IGNORE_RESULT(kind == WIRE_HELLO && wire_get_hello(body, &hello));
    IGNORE_RESULT(kind == WIRE_ACK && wire_get_ack(body, &ack));
    IGNORE_RESULT(kind == WIRE_HEARTBEAT && wire_get_heartbeat(body, &heartbeat));
    IGNORE_RESULT(kind == WIRE_REQUEST && wire_get_request(body, &request));
    IGNORE_RESULT(kind == WIRE_CREDIT && wire_get_credit(body, &credit));
    IGNORE_RESULT(kind == WIRE_NACK && wire_get_nack(body, &nack));
    IGNORE_RESULT(kind == WIRE_BYE && wire_get_bye(body, &bye));
    IGNORE_RESULT(kind == WIRE_SYNC_ASK && wire_get_sync_ask(body, &ask));
    if (kind == WIRE_SYNC_ROWS && wire_get_sync_rows(body, &rows) == 0) {
        while (wire_sync_next(&rows, &row))
            CHECK(row.key.len != 0);
    }
}

/* What was read is written and read again: the same batches. */
static void expect_stable(const struct wire_batches_head *head, uint32_t count,
                          const struct buf *batches)
{
    struct wire_writer writer;
    struct wire_reader reader;
    struct buf again;

    wire_writer_init(&writer, WIRE_BODY_BYTES_MAX);
    wire_writer_begin(&writer, head);
    for (uint32_t i = 0; i < count; i++)
        CHECK(wire_writer_add(&writer, buf_bytes(&batches[i])) == 0);
    buf_init(&again, SIZE_MAX);
    CHECK(wire_writer_end(&writer, pack, &again) == 0);
    CHECK(wire_reader_init(&reader, buf_bytes(&writer.body)) == 0);
    for (uint32_t i = 0; i < count; i++) {
        struct batch a;
        struct batch b;

        CHECK(wire_reader_next(&reader, &again) == WIRE_BATCH);
        CHECK(batch_open(buf_bytes(&again), &a) == 0);
        CHECK(batch_open(buf_bytes(&batches[i]), &b) == 0);
        CHECK(a.seq == b.seq && a.hlc == b.hlc && a.origin == b.origin);
        CHECK(vv_equal(&a.ctx, &b.ctx));
    }
    CHECK(wire_reader_next(&reader, &again) == WIRE_END);
    buf_deinit(&again);
    wire_writer_deinit(&writer);
}

#define BATCHES_MAX 16

static void read_batches(struct bytes body)
{
    struct buf batches[BATCHES_MAX];
    struct wire_reader reader;
    uint32_t count = 0;
    int step = WIRE_BATCH;

    if (wire_reader_init(&reader, body) != 0)
        return;
    for (unsigned i = 0; i < BATCHES_MAX; i++)
        buf_init(&batches[i], BYTES_MAX);
    while (count < BATCHES_MAX && (step = wire_reader_next(&reader, &batches[count])) == WIRE_BATCH)
        count++;
    if (step >= 0 && count != 0)
        expect_stable(&reader.head, count, batches);
    for (unsigned i = 0; i < BATCHES_MAX; i++)
        buf_deinit(&batches[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_of(data, size);
    struct wire_frame frame;
    struct buf scratch;
    uint8_t kind;

    if (pack == NULL)
        pack = pack_create();
    if (u8_get(&in, &kind) != 0)
        return 0;
    buf_init(&scratch, BYTES_MAX);
    if (kind == 0) {
        size_t frame_size;

        IGNORE_RESULT(wire_frame_size(in, &frame_size)); /* Only that it returns. */
        if (wire_open(in, pack, &scratch, &frame) == 0) {
            kind = frame.kind;
            in = frame.body;
        }
    }
    if (kind == WIRE_BATCHES)
        read_batches(in);
    else
        read_small(kind, in);
    buf_deinit(&scratch);
    return 0;
}
