/*
 * Ops and batches: codec, and what ops do to rows.
 */
#include "engine/base/err.h"

#include "engine/value/listpos.h"
#include "engine/value/op.h"
#include "engine/value/row.h"
#include "engine/value/rowkey.h"

#include "tests/lib/tcase.h"

#define ORIGIN 2
#define HLC    UINT64_C(0x123456)

struct fixture {
    struct buf bytes;
    struct buf scratch;
    /* What op_expand gave. */
    unsigned rows_count;
    uint8_t kinds[4];
    struct buf rows[4];
};

static int setup(void **state)
{
    static struct fixture f;

    buf_init(&f.bytes, SIZE_MAX);
    buf_init(&f.scratch, SIZE_MAX);
    f.rows_count = 0;
    for (unsigned i = 0; i < 4; i++)
        buf_init(&f.rows[i], SIZE_MAX);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    buf_deinit(&f->bytes);
    buf_deinit(&f->scratch);
    for (unsigned i = 0; i < 4; i++)
        buf_deinit(&f->rows[i]);
    return 0;
}

static void start(struct fixture *f, const struct vv *ctx)
{
    buf_clear(&f->bytes);
    assert_int_equal(buf_reserve(&f->bytes, BATCH_HEADER_BYTES_MAX), 0);
    buf_commit(&f->bytes, batch_header_store(buf_end(&f->bytes), tag_of(HLC, ORIGIN), 77, 0, ctx));
}

static size_t add(struct fixture *f, const struct op *op)
{
    const size_t at = f->bytes.len;

    assert_int_equal(buf_reserve(&f->bytes, op_size(op)), 0);
    const size_t len = op_store(buf_end(&f->bytes), op, HLC);
    assert_true(len <= op_size(op));
    buf_commit(&f->bytes, len);
    batch_header_set_nops(f->bytes.ptr, le32_load(f->bytes.ptr + BATCH_NOPS_AT) + 1);
    return at;
}

static struct batch open_batch(struct fixture *f)
{
    struct batch batch;

    assert_int_equal(batch_open(buf_bytes(&f->bytes), &batch), 0);
    return batch;
}

static int on_row(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct fixture *f = ctx;

    (void)sub;
    f->kinds[f->rows_count] = row_kind;
    buf_clear(&f->rows[f->rows_count]);
    assert_int_equal(row_check(operand), 0);
    assert_int_equal(buf_append_bytes(&f->rows[f->rows_count++], operand), 0);
    return 0;
}

static void expand(struct fixture *f, const struct op *op, const struct batch *batch)
{
    f->rows_count = 0;
    assert_int_equal(op_expand(op, batch, 9, on_row, f, &f->scratch), 0);
}

/* The full row that an operand makes of `existing`. */
static struct row_view folded(struct fixture *f, struct bytes existing, struct buf *operand,
                              struct buf *out)
{
    const struct bytes operands[1] = {buf_bytes(operand)};
    struct row_view view;

    (void)f;
    buf_clear(out);
    assert_int_equal(row_merge_fold(existing, operands, 1, out), 0);
    assert_int_equal(row_check(buf_bytes(out)), 0);
    assert_int_equal(row_view(buf_bytes(out), 0, &view), 0);
    return view;
}

static const struct op samples[] = {
    {.kind = OP_SET, .key = BYTES_INIT("key"), .value = BYTES_INIT("value")},
    {.kind = OP_SET, .key = BYTES_INIT("key"), .value = BYTES_INIT(""), .expire_at_ms = 99},
    {.kind = OP_SET,
     .key = BYTES_INIT("key"),
     .value = BYTES_INIT("v"),
     .seen = BYTES_INIT("\1\2\7\0\0\0\0\0\0\0\0\4")},
    {.kind = OP_DEL, .key = BYTES_INIT("")},
    {.kind = OP_INCR, .key = BYTES_INIT("key"), .start = HLC - 5, .isum = -300, .flags = OP_COVER},
    {.kind = OP_INCR, .key = BYTES_INIT("key"), .start = HLC, .isum = 1, .fsum = {.hi = 0.5L}},
    {.kind = OP_EXPIRE,
     .key = BYTES_INIT("key"),
     .expire_at_ms = 1234,
     .target_type = VT_HASH,
     .target = {.hlc = 55, .origin = 1}},
    {.kind = OP_ELEM_SET,
     .key = BYTES_INIT("key"),
     .type = VT_HASH,
     .sub = BYTES_INIT("field"),
     .value = BYTES_INIT("value"),
     .has_count = true,
     .count = 3},
    {.kind = OP_ELEM_INCR,
     .key = BYTES_INIT("key"),
     .type = VT_ZSET,
     .sub = BYTES_INIT("member"),
     .start = 1,
     .fsum = {.hi = 2.5L}},
    {.kind = OP_ELEM_DEL,
     .key = BYTES_INIT("key"),
     .type = VT_SET,
     .sub = BYTES_INIT("member"),
     .has_count = true},
    {.kind = OP_KEY_MERGE, .key = BYTES_INIT("key"), .value = BYTES_INIT("\0")},
    {.kind = OP_ROW_MERGE,
     .key = BYTES_INIT("key"),
     .type = ROWKEY_KIND_LIST,
     .sub = BYTES_INIT("pos"),
     .value = BYTES_INIT("\0")},
    {.kind = OP_RECLAIM, .key = BYTES_INIT("key")},
    {.kind = OP_STRING,
     .key = BYTES_INIT("key"),
     .generation = {.hlc = 55, .origin = 1},
     .len = 70000,
     .expire_at_ms = 99},
    {.kind = OP_CHUNK,
     .key = BYTES_INIT("key"),
     .generation = {.hlc = 55, .origin = 1},
     .at = 300,
     .value = BYTES_INIT("image")},
    {.kind = OP_BITS,
     .key = BYTES_INIT("key"),
     .generation = {.hlc = 55, .origin = 1},
     .at = 1ull << 40,
     .bits_count = 64,
     .bits = 1ull << 63},
};

static void expect_same(const struct op *got, const struct op *want)
{
    assert_int_equal(got->kind, want->kind);
    assert_int_equal(got->type, want->type);
    assert_int_equal(got->flags & OP_COVER, want->flags & OP_COVER);
    expect_bytes(got->key, want->key);
    expect_bytes(got->sub, want->sub);
    expect_bytes(got->value, want->value);
    expect_bytes(got->seen, want->seen);
    expect_u64(got->expire_at_ms, want->expire_at_ms);
    assert_int_equal(got->target_type, want->target_type);
    assert_true(tag_eq(got->target, want->target));
    expect_u64(got->start, want->start);
    expect_i64(got->isum, want->isum);
    assert_true(got->fsum.hi >= want->fsum.hi && got->fsum.hi <= want->fsum.hi);
    assert_int_equal(got->has_count, want->has_count);
    expect_u64(got->count, want->count);
    assert_true(tag_eq(got->generation, want->generation));
    expect_u64(got->len, want->len);
    expect_u64(got->at, want->at);
    expect_u64(got->bits, want->bits);
    assert_int_equal(got->bits_count, want->bits_count);
}

static void ops_of_all_kinds_are_read_back(void **state)
{
    struct fixture *f = *state;
    struct batch batch;
    struct op op;

    start(f, NULL);
    for (unsigned i = 0; i < ARRAY_COUNT(samples); i++)
        add(f, &samples[i]);
    batch = open_batch(f);
    expect_u64(batch.nops, ARRAY_COUNT(samples));
    for (unsigned i = 0; i < ARRAY_COUNT(samples); i++) {
        assert_int_equal(batch_next(&batch, &op), BATCH_OP);
        expect_same(&op, &samples[i]);
    }
    assert_int_equal(batch_next(&batch, &op), BATCH_END);
}

static void the_header_says_who_and_when(void **state)
{
    struct fixture *f = *state;
    struct batch batch;
    struct vv ctx;

    start(f, NULL);
    expect_u64(f->bytes.len, BATCH_HEADER_BYTES);
    batch = open_batch(f);
    expect_u64(batch.seq, 77);
    assert_true(tag_eq(batch_tag(&batch), tag_of(HLC, ORIGIN)));
    assert_false(batch.has_ctx);
    expect_u64(vv_get(&batch.ctx, ORIGIN), HLC - 1);

    vv_init(&ctx);
    assert_int_equal(vv_raise(&ctx, tag_of(5, 1)), 0);
    start(f, &ctx);
    batch = open_batch(f);
    assert_true(batch.has_ctx);
    expect_u64(vv_get(&batch.ctx, 1), 5);
    expect_u64(vv_get(&batch.ctx, ORIGIN), HLC - 1);

    assert_int_equal(vv_raise(&ctx, tag_of(HLC, ORIGIN)), 0);
    start(f, &ctx);
    assert_int_equal(batch_open(buf_bytes(&f->bytes), &batch), -ERR_CORRUPT);
    f->bytes.ptr[0] = 0x10;
    assert_int_equal(batch_open(buf_bytes(&f->bytes), &batch), -ERR_FORMAT);
}

static void voided_ops_are_skipped(void **state)
{
    struct fixture *f = *state;
    struct batch batch;
    struct op op;
    size_t at;

    start(f, NULL);
    at = add(f, &samples[0]);
    add(f, &samples[3]);
    op_void(f->bytes.ptr + at);
    at = add(f, &samples[7]);
    op_void(f->bytes.ptr + at);
    batch = open_batch(f);
    assert_int_equal(batch_next(&batch, &op), BATCH_OP);
    assert_int_equal(op.kind, OP_DEL);
    assert_int_equal(batch_next(&batch, &op), BATCH_END);
}

static void a_cut_batch_is_an_error_wherever_it_is_cut(void **state)
{
    struct fixture *f = *state;
    struct batch batch;
    struct op op;

    start(f, NULL);
    for (unsigned i = 0; i < ARRAY_COUNT(samples); i++)
        add(f, &samples[i]);
    for (size_t len = 0; len < f->bytes.len; len++) {
        int got = batch_open(bytes_of(f->bytes.ptr, len), &batch);

        while (got == 0 || got == BATCH_OP) {
            got = batch_next(&batch, &op);
            assert_true(got != BATCH_END);
        }
        assert_int_equal(got, -ERR_CORRUPT);
    }
}

static void an_unknown_kind_is_not_skipped(void **state)
{
    struct fixture *f = *state;
    struct batch batch;
    struct op op;
    size_t at;

    start(f, NULL);
    at = add(f, &samples[0]);
    f->bytes.ptr[at] = OP_KIND_END;
    batch = open_batch(f);
    assert_int_equal(batch_next(&batch, &op), -ERR_UNSUPPORTED);
}

static void a_set_replaces_what_it_has_seen_and_keeps_what_it_has_not(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    uint8_t old[32];
    struct batch batch;
    struct row_view view;

    buf_init(&out, SIZE_MAX);
    start(f, NULL);
    batch = open_batch(f);
    expand(f, &samples[0], &batch);
    expect_u64(f->rows_count, 1);
    assert_int_equal(f->kinds[0], ROWKEY_KIND_KEY);

    view = folded(f, bytes_of(old, row_value_store(old, tag_of(5, ORIGIN), BYTES_LIT("x"), 0)),
                  &f->rows[0], &out);
    expect_bytes(view.value, BYTES_LIT("value"));
    assert_int_equal(out.ptr[0], ROW_VALUE);

    view = folded(f, bytes_of(old, row_value_store(old, tag_of(HLC + 1, 1), BYTES_LIT("x"), 0)),
                  &f->rows[0], &out);
    expect_bytes(view.value, BYTES_LIT("x"));
    assert_int_equal(out.ptr[0], ROW_GENERAL);
    buf_deinit(&out);
}

/* An expired counter may be collected here and not there: the next SET must end it everywhere. */
static void a_set_of_an_absent_key_covers_counters_that_it_could_not_see(void **state)
{
    struct fixture *f = *state;
    struct op set = {.kind = OP_SET, .key = BYTES_LIT("k"), .value = BYTES_LIT("5")};
    struct buf out;
    uint8_t count[ROW_COUNT_BYTES];
    struct batch batch;
    struct row_view view;
    struct vv ctx;
    char text[ROW_TEXT_BYTES];

    vv_init(&ctx);
    assert_int_equal(vv_raise(&ctx, tag_of(100, 7)), 0);
    buf_init(&out, SIZE_MAX);
    row_count_store(count, 90, tag_of(95, 7), 2);
    start(f, &ctx);
    batch = open_batch(f);
    expand(f, &set, &batch);
    view = folded(f, bytes_of(count, sizeof(count)), &f->rows[0], &out);
    expect_bytes(row_text(&view, text), BYTES_LIT("7"));

    set.flags = OP_COVER;
    f->rows_count = 0;
    expand(f, &set, &batch);
    view = folded(f, bytes_of(count, sizeof(count)), &f->rows[0], &out);
    expect_bytes(row_text(&view, text), BYTES_LIT("5"));
    assert_int_equal(out.ptr[0], ROW_VALUE);

    /* What it has not seen counts, as always. */
    row_count_store(count, 90, tag_of(101, 7), 2);
    view = folded(f, bytes_of(count, sizeof(count)), &f->rows[0], &out);
    expect_bytes(row_text(&view, text), BYTES_LIT("7"));
    buf_deinit(&out);
}

static void a_delete_leaves_nothing_of_a_plain_value(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    uint8_t old[32];
    struct batch batch;

    buf_init(&out, SIZE_MAX);
    start(f, NULL);
    batch = open_batch(f);
    expand(f, &samples[3], &batch);
    folded(f, bytes_of(old, row_value_store(old, tag_of(5, ORIGIN), BYTES_LIT("x"), 9)),
           &f->rows[0], &out);
    expect_bytes(buf_bytes(&out), bytes_of("\0", 1));
    buf_deinit(&out);
}

/* RocksDB joins operands among themselves before it looks for an older row. */
static void operands_that_the_store_joins_early_still_act_on_the_older_row(void **state)
{
    struct fixture *f = *state;
    struct buf early;
    struct buf out;
    uint8_t old[32];
    struct batch batch;
    struct bytes operand;

    buf_init(&early, SIZE_MAX);
    buf_init(&out, SIZE_MAX);
    start(f, NULL);
    batch = open_batch(f);
    expand(f, &samples[3], &batch);
    const struct bytes row =
        bytes_of(old, row_value_store(old, tag_of(5, ORIGIN), BYTES_LIT("x"), 0));

    operand = buf_bytes(&f->rows[0]);
    assert_int_equal(row_merge_store(bytes_of(NULL, 0), &operand, 1, &early), 0);
    operand = buf_bytes(&early);
    assert_int_equal(row_merge_store(row, &operand, 1, &out), 0);
    expect_bytes(buf_bytes(&out), bytes_of("\0", 1));

    /* Settled too early, the delete has nothing left to say. */
    buf_clear(&early);
    buf_clear(&out);
    operand = buf_bytes(&f->rows[0]);
    assert_int_equal(row_merge_fold(bytes_of(NULL, 0), &operand, 1, &early), 0);
    operand = buf_bytes(&early);
    assert_int_equal(row_merge_fold(row, &operand, 1, &out), 0);
    expect_bytes(buf_bytes(&out), row);
    buf_deinit(&early);
    buf_deinit(&out);
}

static void a_deleted_collection_leaves_a_clear_vector(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    uint8_t old[ROW_COLL_BYTES];
    struct batch batch;
    struct vv clear;

    buf_init(&out, SIZE_MAX);
    start(f, NULL);
    batch = open_batch(f);
    expand(f, &samples[3], &batch);
    assert_false(folded(f, bytes_of(old, row_coll_store(old, VT_SET, tag_of(5, ORIGIN), 1, 1)),
                        &f->rows[0], &out)
                     .present);
    assert_int_equal(row_clear(buf_bytes(&out), &clear), 0);
    expect_u64(vv_get(&clear, ORIGIN), HLC - 1);
    buf_deinit(&out);
}

static void an_element_also_asserts_the_type_and_the_count_of_its_key(void **state)
{
    struct fixture *f = *state;
    struct buf out;
    struct batch batch;
    struct row_view view;

    buf_init(&out, SIZE_MAX);
    start(f, NULL);
    batch = open_batch(f);
    expand(f, &samples[7], &batch);
    expect_u64(f->rows_count, 2);
    assert_int_equal(f->kinds[0], ROWKEY_KIND_HASH);
    assert_int_equal(f->kinds[1], ROWKEY_KIND_KEY);
    view = folded(f, bytes_of(NULL, 0), &f->rows[0], &out);
    expect_bytes(view.value, BYTES_LIT("value"));
    view = folded(f, bytes_of(NULL, 0), &f->rows[1], &out);
    assert_int_equal(view.type, VT_HASH);
    expect_u64(view.count, 3);
    expect_u64(view.count_lsn, 9);
    assert_int_equal(out.ptr[0], ROW_COLL);
    buf_deinit(&out);
}

static void a_damaged_raw_operand_is_refused(void **state)
{
    const struct op bad = {.kind = OP_KEY_MERGE, .key = BYTES_LIT("k"), .value = BYTES_LIT("?")};
    struct fixture *f = *state;
    struct batch batch;

    start(f, NULL);
    batch = open_batch(f);
    f->rows_count = 0;
    assert_int_equal(op_expand(&bad, &batch, 0, on_row, f, &f->scratch), -ERR_CORRUPT);
    expect_u64(f->rows_count, 0);
}

/* `row` with what an op on a list makes of its key row; seen: all of member 1 up to there. */
static void join_list_op(struct fixture *f, struct buf *row, const struct op *op, struct tag tag,
                         uint64_t seen)
{
    struct batch batch = {.origin = tag.origin, .hlc = tag.hlc};
    struct buf out;

    assert_int_equal(seen == 0 ? 0 : vv_raise(&batch.ctx, tag_of(seen, 1)), 0);
    expand(f, op, &batch);
    for (unsigned i = 0; i < f->rows_count; i++) {
        if (f->kinds[i] != ROWKEY_KIND_KEY)
            continue;
        buf_init(&out, SIZE_MAX);
        (void)folded(f, buf_bytes(row), &f->rows[i], &out);
        buf_deinit(row);
        *row = out;
    }
}

/* Member 1 pushes three, 2 deletes the list, and 3, which knows of no DEL, sets the second one. */
static void what_an_lset_brings_back_beside_a_del_gives_no_position_again(void **state)
{
    struct fixture *f = *state;
    struct op op = {.kind = OP_ELEM_SET, .type = VT_LIST, .key = BYTES_LIT("k")};
    const struct op del = {.kind = OP_DEL, .key = BYTES_LIT("k")};
    struct listpos used[3];
    struct listpos pos;
    struct list_meta meta;
    struct buf row;

    buf_init(&row, SIZE_MAX);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(row_list_meta(buf_bytes(&row), &meta), 0);
        listpos_back(bytes_of(NULL, 0), &meta, tag_of(10 + i, 1), &used[i]);
        op.sub = listpos_bytes(&used[i]);
        join_list_op(f, &row, &op, tag_of(10 + i, 1), 9 + i);
    }
    join_list_op(f, &row, &del, tag_of(20, 2), 12);
    op.sub = listpos_bytes(&used[1]);
    join_list_op(f, &row, &op, tag_of(21, 3), 12);
    assert_int_equal(row_list_meta(buf_bytes(&row), &meta), 0);
    listpos_back(bytes_of(NULL, 0), &meta, tag_of(30, 1), &pos);
    assert_true(bytes_cmp(listpos_bytes(&used[2]), listpos_bytes(&pos)) < 0);
    listpos_front(bytes_of(NULL, 0), &meta, tag_of(30, 1), &pos);
    assert_true(bytes_cmp(listpos_bytes(&pos), listpos_bytes(&used[0])) < 0);
    buf_deinit(&row);
}

static void where_nothing_is_concurrent_some_ops_are_the_row(void **state)
{
    struct fixture *f = *state;
    struct row_view view;

    assert_int_equal(op_full_row(&samples[1], tag_of(HLC, ORIGIN), &f->bytes), 1);
    assert_int_equal(f->bytes.ptr[0], ROW_VALUE_TTL);
    assert_int_equal(row_view(buf_bytes(&f->bytes), 0, &view), 0);
    expect_u64(view.expire_at_ms, 99);
    buf_clear(&f->bytes);
    assert_int_equal(op_full_row(&samples[3], tag_of(HLC, ORIGIN), &f->bytes), 1);
    expect_bytes(buf_bytes(&f->bytes), bytes_of("\0", 1));
    buf_clear(&f->bytes);
    assert_int_equal(op_full_row(&samples[4], tag_of(HLC, ORIGIN), &f->bytes), 0);
    expect_u64(f->bytes.len, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ops_of_all_kinds_are_read_back),
        TEST(the_header_says_who_and_when),
        TEST(voided_ops_are_skipped),
        TEST(a_cut_batch_is_an_error_wherever_it_is_cut),
        TEST(an_unknown_kind_is_not_skipped),
        TEST(a_set_replaces_what_it_has_seen_and_keeps_what_it_has_not),
        TEST(a_set_of_an_absent_key_covers_counters_that_it_could_not_see),
        TEST(a_delete_leaves_nothing_of_a_plain_value),
        TEST(operands_that_the_store_joins_early_still_act_on_the_older_row),
        TEST(a_deleted_collection_leaves_a_clear_vector),
        TEST(an_element_also_asserts_the_type_and_the_count_of_its_key),
        TEST(a_damaged_raw_operand_is_refused),
        TEST(what_an_lset_brings_back_beside_a_del_gives_no_position_again),
        TEST(where_nothing_is_concurrent_some_ops_are_the_row),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
