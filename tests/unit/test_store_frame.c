/*
 * Frames, their join, and the format of batches.
 */
#include <errno.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/store/store_batch.h"
#include "engine/store/store_frame.h"
#include "engine/store/store_impl.h"

#include "tests/lib/tcase.h"

#define FRAME_BYTES_MAX 256

static const struct bytes key = {.ptr = (const uint8_t *)"some key", .len = 8};

static size_t frame_make(uint8_t *out, struct bytes row_key, struct bytes row)
{
    frame_header_store(out, row_key, row);
    memcpy(out + FRAME_HEADER_BYTES, row.ptr, row.len);
    return FRAME_HEADER_BYTES + row.len;
}

static void frame_has_a_fixed_layout(void **state)
{
    uint8_t frame[FRAME_BYTES_MAX];
    struct bytes row;
    const size_t len = frame_make(frame, key, bytes_cstr("\x01row"));

    (void)state;
    expect_u64(len, 5 + 4);
    expect_u64(frame[0], 1);
    /* Written down so that a change of the checksum is a change of the format. */
    expect_u64(le32_load(frame + 1), 2731812681);
    assert_true(frame_open(key, bytes_of(frame, len), &row));
    expect_bytes(row, bytes_cstr("\x01row"));
}

static void every_flipped_bit_is_seen(void **state)
{
    uint8_t frame[FRAME_BYTES_MAX];
    const size_t len = frame_make(frame, key, bytes_cstr("\x01 the row of this test"));
    struct bytes row;

    (void)state;
    for (size_t bit = 0; bit < len * 8; bit++) {
        frame[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_false(frame_open(key, bytes_of(frame, len), &row));
        assert_int_equal(frame_read(key, bytes_of(frame, len), &row), STORE_CORRUPT);
        frame[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t cut = 0; cut < len; cut++)
        assert_false(frame_open(key, bytes_of(frame, cut), &row));
    assert_true(frame_open(key, bytes_of(frame, len), &row));
}

static void row_of_another_key_is_corrupt(void **state)
{
    uint8_t frame[FRAME_BYTES_MAX];
    const size_t len = frame_make(frame, key, bytes_cstr("\x01row"));
    struct bytes row;

    (void)state;
    assert_int_equal(frame_read(bytes_cstr("some kez"), bytes_of(frame, len), &row), STORE_CORRUPT);
}

static void dead_is_absent_and_poison_is_corrupt(void **state)
{
    uint8_t frame[FRAME_BYTES_MAX];
    const uint8_t dead[] = {STORE_ROW_DEAD};
    const uint8_t poison[] = {STORE_ROW_POISON, STORE_POISON_JOIN};
    struct bytes row;

    (void)state;
    size_t len = frame_make(frame, key, bytes_of(dead, sizeof(dead)));
    assert_int_equal(frame_read(key, bytes_of(frame, len), &row), STORE_ABSENT);
    len = frame_make(frame, key, bytes_of(poison, sizeof(poison)));
    assert_int_equal(frame_read(key, bytes_of(frame, len), &row), STORE_CORRUPT);
}

/* --- join --- */

/* Concatenates, so that the order and the grouping show. */
static int concatenate(void *ctx, struct bytes row_key, struct bytes existing,
                       const struct bytes *operands, size_t n, struct buf *out)
{
    size_t *calls = ctx;

    (*calls)++;
    expect_bytes(row_key, key);
    int err = buf_append_bytes(out, existing);
    for (size_t i = 0; err == 0 && i < n; i++)
        err = operands[i].ptr[0] == '!' ? -ERR_CORRUPT : buf_append_bytes(out, operands[i]);
    return err;
}

struct join_test {
    uint8_t frames[300][16];
    struct bytes operands[300];
    struct buf out;
    size_t calls;
    struct store_merge_ops ops;
};

static struct join_test *join_create(size_t n)
{
    struct join_test *t = mem_zalloc(sizeof(*t));

    for (size_t i = 0; i < n; i++) {
        const uint8_t row[] = {(uint8_t)('a' + i % 26)};
        t->operands[i] = bytes_of(t->frames[i], frame_make(t->frames[i], key, bytes_of(row, 1)));
    }
    buf_init(&t->out, 1 << 16);
    t->ops = (struct store_merge_ops){.merge = concatenate, .ctx = &t->calls};
    return t;
}

static void join_destroy(struct join_test *t)
{
    buf_deinit(&t->out);
    mem_free(t);
}

static void expect_poison(const struct join_test *t, uint8_t reason)
{
    const uint8_t want[] = {STORE_ROW_POISON, reason};
    struct bytes row;

    assert_true(frame_open(key, buf_bytes(&t->out), &row));
    expect_bytes(row, bytes_of(want, sizeof(want)));
}

static void join_keeps_order_and_folds_long_lists(void **state)
{
    struct join_test *t = join_create(300);
    uint8_t base[32];
    struct bytes row;

    (void)state;
    const struct bytes existing = bytes_of(base, frame_make(base, key, bytes_cstr("base-")));
    frame_merge(&t->ops, key, &existing, t->operands, 300, &t->out);
    assert_true(frame_open(key, buf_bytes(&t->out), &row));
    expect_u64(row.len, 305);
    expect_bytes(bytes_of(row.ptr, 8), bytes_cstr("base-abc"));
    for (size_t i = 0; i < 300; i++)
        expect_u64(row.ptr[5 + i], 'a' + i % 26);
    assert_true(t->calls > 1 && t->calls < 10);
    join_destroy(t);
}

static void join_with_damage_is_poison_that_names_its_cause(void **state)
{
    struct join_test *t = join_create(5);
    uint8_t base[32];

    (void)state;
    const struct bytes existing = bytes_of(base, frame_make(base, key, bytes_cstr("base")));
    base[7] ^= 1;
    frame_merge(&t->ops, key, &existing, t->operands, 5, &t->out);
    expect_poison(t, STORE_POISON_EXISTING);
    base[7] ^= 1;
    t->frames[3][5] ^= 1;
    frame_merge(&t->ops, key, &existing, t->operands, 5, &t->out);
    expect_poison(t, STORE_POISON_OPERAND);
    (void)frame_make(t->frames[3], key, bytes_cstr("!"));
    frame_merge(&t->ops, key, NULL, t->operands, 5, &t->out);
    expect_poison(t, STORE_POISON_JOIN);
    t->ops.merge = NULL;
    frame_merge(&t->ops, key, NULL, t->operands, 1, &t->out);
    expect_poison(t, STORE_POISON_JOIN);
    join_destroy(t);
}

static void poison_stays_poison_with_its_reason(void **state)
{
    struct join_test *t = join_create(3);
    uint8_t base[32];
    const uint8_t poison[] = {STORE_ROW_POISON, 77};

    (void)state;
    const struct bytes bad =
        bytes_of(base, frame_make(base, key, bytes_of(poison, sizeof(poison))));
    frame_merge(&t->ops, key, &bad, t->operands, 3, &t->out);
    expect_poison(t, 77);
    t->operands[1] = bad;
    frame_merge(&t->ops, key, NULL, t->operands, 3, &t->out);
    expect_poison(t, 77);
    join_destroy(t);
}

/* --- batches --- */

static void batch_gives_back_what_was_put_in(void **state)
{
    struct store_batch b;
    struct store_record r;
    struct bytes row;

    (void)state;
    store_batch_init(&b, 4096);
    expect_u64(store_batch_records(&b).len, 0);
    assert_int_equal(store_batch_put(&b, key, bytes_cstr("one")), 0);
    assert_int_equal(store_batch_delete(&b, key), 0);
    assert_int_equal(store_batch_merge(&b, key, bytes_cstr("two")), 0);
    assert_int_equal(store_batch_set_covered(&b, 258, bytes_cstr("vv")), 0);
    expect_u64(store_batch_count(&b), 3);
    expect_u64(le64_load(b.buf.ptr), 0);
    expect_u64(le32_load(b.buf.ptr + 8), 4);

    struct bytes left = store_batch_records(&b);
    assert_true(store_batch_next(&left, &r));
    assert_int_equal(r.kind, STORE_RECORD_PUT);
    assert_int_equal(frame_read(key, r.frame, &row), STORE_FOUND);
    expect_bytes(row, bytes_cstr("one"));
    assert_true(store_batch_next(&left, &r));
    assert_int_equal(r.kind, STORE_RECORD_DELETE);
    expect_bytes(r.key, key);
    assert_true(store_batch_next(&left, &r));
    assert_int_equal(r.kind, STORE_RECORD_MERGE);
    assert_true(store_batch_next(&left, &r));
    expect_bytes(r.key, covered_key());
    assert_int_equal(frame_read(r.key, r.frame, &row), STORE_FOUND);
    expect_bytes(row, bytes_of("\x01\x02\x01\0\0\0\0\0\0vv", 11));
    assert_false(store_batch_next(&left, &r));

    store_batch_clear(&b);
    expect_u64(store_batch_bytes(&b), 0);
    assert_false(b.has_covered);
    store_batch_deinit(&b);
}

static void full_batch_refuses_and_stays_as_it_was(void **state)
{
    struct store_batch b;
    uint8_t big[200] = {1};

    (void)state;
    store_batch_init(&b, 256);
    assert_int_equal(store_batch_put(&b, key, bytes_cstr("one")), 0);
    const size_t bytes = store_batch_bytes(&b);
    assert_int_equal(store_batch_put(&b, key, bytes_of(big, sizeof(big))), -ERR_LIMIT);
    assert_int_equal(store_batch_set_covered(&b, 1, bytes_of(big, sizeof(big))), -ERR_LIMIT);
    expect_u64(store_batch_bytes(&b), bytes);
    expect_u64(store_batch_count(&b), 1);
    assert_false(b.has_covered);
    assert_int_equal(store_batch_set_covered(&b, 1, bytes_cstr("")), 0);
    store_batch_deinit(&b);
}

static void batch_survives_exhausted_memory(void **state)
{
    struct store_batch b;
    uint8_t row[100] = {1};
    uint64_t failures = 0;
    uint64_t done = 0;

    (void)state;
    store_batch_init(&b, 1 << 20);
    for (uint64_t i = 0; i < 200; i++) {
        mem_fault_set(1 + i % 2, 0);
        const int err = i % 3 == 0 ? store_batch_merge(&b, key, bytes_of(row, sizeof(row)))
                                   : store_batch_put(&b, key, bytes_of(row, sizeof(row)));
        mem_fault_set(0, 0);
        assert_true(err == 0 || err == -ENOMEM);
        failures += err != 0;
        done += err == 0;
        expect_u64(store_batch_count(&b), done);
    }
    assert_true(failures > 0 && done > 0);
    store_batch_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_has_a_fixed_layout),
        cmocka_unit_test(every_flipped_bit_is_seen),
        cmocka_unit_test(row_of_another_key_is_corrupt),
        cmocka_unit_test(dead_is_absent_and_poison_is_corrupt),
        cmocka_unit_test(join_keeps_order_and_folds_long_lists),
        cmocka_unit_test(join_with_damage_is_poison_that_names_its_cause),
        cmocka_unit_test(poison_stays_poison_with_its_reason),
        cmocka_unit_test(batch_gives_back_what_was_put_in),
        cmocka_unit_test(full_batch_refuses_and_stays_as_it_was),
        cmocka_unit_test(batch_survives_exhausted_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
