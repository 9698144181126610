/*
 * Batches from a log or a peer: reading and expanding must survive any bytes; what reads well is
 * written back as it was read, and gives sound operands.
 */
#include "engine/base/buf.h"
#include "engine/base/check.h"

#include "engine/value/op.h"
#include "engine/value/row.h"

#include "tests/fuzz/fuzz.h"

static int on_row(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct op *op = ctx;
    struct row_view view;

    (void)row_kind;
    (void)sub;
    /* Raw operands come as they are; ours are sound. */
    if (op->kind != OP_KEY_MERGE && op->kind != OP_ROW_MERGE)
        CHECK(row_check(operand) == 0);
    IGNORE_RESULT(row_view(operand, 1000, &view)); /* Only that it returns. */
    return 0;
}

/* What was read, written and read again, is the same. */
static void expect_stable(const struct op *op, uint64_t hlc)
{
    struct batch batch = {.hlc = hlc, .nops = 1};
    struct op again;
    struct buf out;

    buf_init(&out, SIZE_MAX);
    CHECK(buf_reserve(&out, op_size(op)) == 0);
    const size_t len = op_store(buf_end(&out), op, hlc);
    CHECK(len <= op_size(op));
    buf_commit(&out, len);
    batch.ops = buf_bytes(&out);
    CHECK(batch_next(&batch, &again) == BATCH_OP);
    CHECK(again.kind == op->kind && again.type == op->type);
    CHECK(bytes_eq(again.key, op->key) && bytes_eq(again.sub, op->sub));
    CHECK(bytes_eq(again.value, op->value) && bytes_eq(again.seen, op->seen));
    CHECK(again.isum == op->isum && again.start == op->start && again.count == op->count);
    CHECK(again.len == op->len && again.at == op->at && again.bits == op->bits);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct batch batch;
    struct buf scratch;
    struct op op;

    if (batch_open(bytes_of(data, size), &batch) != 0)
        return 0;
    buf_init(&scratch, SIZE_MAX);
    while (batch_next(&batch, &op) == BATCH_OP) {
        expect_stable(&op, batch.hlc);
        IGNORE_RESULT(op_expand(&op, &batch, 5, on_row, &op, &scratch)); /* Only that it returns. */
    }
    buf_deinit(&scratch);
    return 0;
}
