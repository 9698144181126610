/*
 * HyperLogLogs that members wrote at the same time: what shows, what goes with a DEL or SET, and
 * what is left of them in the end.
 */
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/value/hll.h"
#include "engine/value/op.h"
#include "engine/value/row.h"
#include "engine/value/row_explain.h"

#include "tests/lib/tcase.h"

#define VALUES     8
#define SPARSE_MAX 3000

/* Registers are named by letters: 'a' is register 0, and in capitals its value is a greater one. */
struct fixture {
    struct buf row;
    struct buf values[VALUES]; /* That live as long as the test. */
    unsigned count;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    buf_init(&f->row, SIZE_MAX);
    for (unsigned i = 0; i < VALUES; i++)
        buf_init(&f->values[i], SIZE_MAX);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    buf_deinit(&f->row);
    for (unsigned i = 0; i < VALUES; i++)
        buf_deinit(&f->values[i]);
    mem_free(f);
    return 0;
}

static struct bytes hll(struct fixture *f, const char *letters, uint64_t sparse_max)
{
    struct hll_registers *registers = mem_zalloc(sizeof(*registers));
    struct buf *out = &f->values[f->count++];

    assert_true(f->count <= VALUES);
    for (; *letters != '\0'; letters++) {
        const bool great = *letters >= 'A' && *letters <= 'Z';
        registers->at[*letters - (great ? 'A' : 'a')] = great ? 9 : 1;
    }
    assert_int_equal(hll_encode(registers, sparse_max, out), 0);
    mem_free(registers);
    return buf_bytes(out);
}

static struct bytes sparse(struct fixture *f, const char *letters)
{
    return hll(f, letters, SPARSE_MAX);
}

static int join(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct buf *row = ctx;
    struct buf joined;

    (void)row_kind;
    (void)sub;
    buf_init(&joined, SIZE_MAX);
    const int err = row_merge_fold(buf_bytes(row), &operand, 1, &joined);
    buf_deinit(row);
    *row = joined;
    return err;
}

/* An op by one who had seen origin 1 up to `seen_1`, and so on. */
struct seen {
    uint64_t of[3];
};

static void apply(struct buf *row, struct tag tag, struct seen seen, struct op op)
{
    struct batch batch = {.origin = tag.origin, .hlc = tag.hlc};
    struct buf scratch;

    vv_init(&batch.ctx);
    for (uint8_t i = 0; i < 3; i++)
        assert_int_equal(vv_raise(&batch.ctx, tag_of(seen.of[i], (uint8_t)(i + 1))), 0);
    assert_int_equal(vv_raise(&batch.ctx, tag_of(tag.hlc - 1, tag.origin)), 0);
    op.key = BYTES_LIT("k");
    buf_init(&scratch, SIZE_MAX);
    assert_int_equal(op_expand(&op, &batch, 0, join, row, &scratch), 0);
    buf_deinit(&scratch);
    assert_int_equal(row_check(buf_bytes(row)), 0);
}

static void set(struct buf *row, struct tag tag, struct seen seen, struct bytes value)
{
    apply(row, tag, seen, (struct op){.kind = OP_SET, .value = value});
}

static const struct seen nothing = {{0, 0, 0}};

static struct bytes shown(struct bytes row)
{
    struct row_view view;

    assert_int_equal(row_view(row, 1, &view), 0);
    assert_true(view.present);
    assert_int_equal(view.type, VT_STRING);
    assert_int_equal(view.kind, ROW_KIND_BYTES);
    return view.value;
}

/* The value shows these letters. */
static void expect_letters(struct bytes value, const char *letters)
{
    struct hll_registers *got = mem_zalloc(sizeof(*got));
    char text[2 * 26 + 1];
    size_t len = 0;

    assert_true(hll_valid(value));
    assert_true(hll_merge(value, got));
    for (uint32_t i = 0; i < HLL_REGISTERS; i++) {
        if (got->at[i] == 0)
            continue;
        assert_true(i < 26);
        text[len++] = (char)((got->at[i] == 9 ? 'A' : 'a') + (int)i);
    }
    text[len] = '\0';
    assert_string_equal(text, letters);
    mem_free(got);
}

static struct vv stable_up_to(uint64_t a, uint64_t b, uint64_t c)
{
    const uint64_t hlc[3] = {a, b, c};
    struct vv vv;

    vv_init(&vv);
    for (uint8_t i = 0; i < 3; i++)
        assert_int_equal(vv_raise(&vv, tag_of(hlc[i], (uint8_t)(i + 1))), 0);
    return vv;
}

/* Collects; what it shows is the same before and after. Returns what row_collect does. */
static int collect(struct buf *row, const struct vv *stable)
{
    const struct row_horizons horizons = {.stable = stable, .lst = 100, .now_ms = 1};
    struct buf before, after;
    uint16_t sweep;

    buf_init(&before, SIZE_MAX);
    buf_init(&after, SIZE_MAX);
    assert_int_equal(buf_append_bytes(&before, shown(buf_bytes(row))), 0);
    const int result = row_collect(buf_bytes(row), &horizons, &after, &sweep);
    assert_true(result >= 0);
    if (result == ROW_CHANGED) {
        assert_int_equal(row_check(buf_bytes(&after)), 0);
        buf_clear(row);
        assert_int_equal(buf_append_bytes(row, buf_bytes(&after)), 0);
    }
    expect_bytes(shown(buf_bytes(row)), buf_bytes(&before));
    buf_deinit(&before);
    buf_deinit(&after);
    return result;
}

static void settle(struct buf *row)
{
    struct buf out;

    buf_init(&out, SIZE_MAX);
    assert_int_equal(row_settle(buf_bytes(row), &out), 0);
    buf_deinit(row);
    *row = out;
}

static void what_was_added_at_the_same_time_shows_together(void **state)
{
    struct fixture *f = *state;

    set(&f->row, tag_of(10, 1), nothing, sparse(f, "abC"));
    set(&f->row, tag_of(12, 2), nothing, sparse(f, "bcD"));
    expect_letters(shown(buf_bytes(&f->row)), "abCD");
    set(&f->row, tag_of(11, 3), nothing, sparse(f, "e"));
    expect_letters(shown(buf_bytes(&f->row)), "abCDe");
    assert_false(hll_is_dense(shown(buf_bytes(&f->row))));
}

static void whoever_has_seen_all_writes_all(void **state)
{
    struct fixture *f = *state;

    set(&f->row, tag_of(10, 1), nothing, sparse(f, "a"));
    set(&f->row, tag_of(12, 2), nothing, sparse(f, "b"));
    set(&f->row, tag_of(14, 1), (struct seen){{13, 12, 0}}, sparse(f, "abc"));
    settle(&f->row);
    expect_u64(f->row.len, row_value_size(f->values[2].len, false));
    expect_bytes(shown(buf_bytes(&f->row)), buf_bytes(&f->values[2]));
}

static void a_del_and_a_set_take_what_they_have_seen(void **state)
{
    struct fixture *f = *state;

    set(&f->row, tag_of(10, 1), nothing, sparse(f, "a"));
    set(&f->row, tag_of(12, 2), nothing, sparse(f, "b"));
    apply(&f->row, tag_of(14, 3), (struct seen){{0, 12, 0}}, (struct op){.kind = OP_DEL});
    expect_letters(shown(buf_bytes(&f->row)), "a");
    /* It has seen `a`, and of what is new nothing. */
    set(&f->row, tag_of(16, 2), (struct seen){{0, 15, 0}}, sparse(f, "c"));
    set(&f->row, tag_of(17, 3), (struct seen){{10, 0, 16}}, sparse(f, "ad"));
    expect_letters(shown(buf_bytes(&f->row)), "acd");
}

static void another_string_hides_what_is_older(void **state)
{
    struct fixture *f = *state;

    set(&f->row, tag_of(10, 1), nothing, sparse(f, "a"));
    set(&f->row, tag_of(12, 2), nothing, BYTES_LIT("text"));
    expect_bytes(shown(buf_bytes(&f->row)), BYTES_LIT("text"));
    set(&f->row, tag_of(14, 3), nothing, sparse(f, "b"));
    expect_letters(shown(buf_bytes(&f->row)), "b");
    /* It has seen the text. */
    set(&f->row, tag_of(15, 3), (struct seen){{0, 12, 14}}, sparse(f, "bc"));
    expect_letters(shown(buf_bytes(&f->row)), "abc");
}

static void what_looks_like_one_and_is_damaged_is_another_string(void **state)
{
    struct fixture *f = *state;
    const struct bytes damaged = BYTES_LIT("HYLL\1\0\0\0\0\0\0\0\0\0\0\0\x7f\xfe");

    set(&f->row, tag_of(10, 1), nothing, sparse(f, "a"));
    set(&f->row, tag_of(12, 2), nothing, damaged);
    expect_bytes(shown(buf_bytes(&f->row)), damaged);
    set(&f->row, tag_of(14, 3), nothing, sparse(f, "b"));
    expect_letters(shown(buf_bytes(&f->row)), "b");
    const struct vv stable = stable_up_to(10, 12, 14);
    assert_int_equal(collect(&f->row, &stable), ROW_CHANGED);
    expect_u64(f->row.ptr[0], ROW_VALUE);
}

static void of_dense_ones_the_result_is_dense(void **state)
{
    struct fixture *f = *state;

    set(&f->row, tag_of(10, 1), nothing, hll(f, "a", 0));
    set(&f->row, tag_of(12, 2), nothing, sparse(f, "b"));
    expect_letters(shown(buf_bytes(&f->row)), "ab");
    assert_true(hll_is_dense(shown(buf_bytes(&f->row))));
}

static void what_adds_nothing_changes_no_byte(void **state)
{
    struct fixture *f = *state;

    /* With a number of elements in it, which a joined value never has. */
    set(&f->row, tag_of(10, 1), nothing, sparse(f, "a"));
    (void)sparse(f, "ab");
    f->values[1].ptr[8] = 2;
    f->values[1].ptr[15] = 0;
    set(&f->row, tag_of(12, 2), nothing, buf_bytes(&f->values[1]));
    expect_bytes(shown(buf_bytes(&f->row)), buf_bytes(&f->values[1]));
    const struct vv stable = stable_up_to(10, 12, 0);
    assert_int_equal(collect(&f->row, &stable), ROW_CHANGED);
    expect_u64(f->row.len, row_value_size(f->values[1].len, false));
}

static void nothing_is_dropped_until_all_is_stable(void **state)
{
    struct fixture *f = *state;
    const struct vv some = stable_up_to(10, 0, 14), all = stable_up_to(10, 12, 14);

    set(&f->row, tag_of(10, 1), nothing, sparse(f, "a"));
    set(&f->row, tag_of(12, 2), nothing, sparse(f, "b"));
    set(&f->row, tag_of(14, 3), nothing, sparse(f, "c"));
    settle(&f->row);
    assert_int_equal(collect(&f->row, &some), ROW_UNCHANGED);
    assert_int_equal(collect(&f->row, &all), ROW_CHANGED);
    assert_int_equal(f->row.ptr[0], ROW_VALUE);
    expect_letters(shown(buf_bytes(&f->row)), "abc");
    assert_int_equal(collect(&f->row, &all), ROW_UNCHANGED);
}

/* What one member has collected meets what another has not, in either order. */
static void a_collected_row_joins_with_the_one_it_was(void **state)
{
    struct fixture *f = *state;
    const struct vv all = stable_up_to(10, 12, 0);
    const struct vv seen = stable_up_to(20, 20, 20);
    struct buf collected, out;

    buf_init(&collected, SIZE_MAX);
    buf_init(&out, SIZE_MAX);
    /* By bytes the value that it was is greater than the joined one. */
    set(&f->row, tag_of(10, 1), nothing, sparse(f, "Z"));
    set(&f->row, tag_of(12, 2), nothing, sparse(f, "a"));
    settle(&f->row);
    assert_int_equal(buf_append_bytes(&collected, buf_bytes(&f->row)), 0);
    assert_int_equal(collect(&collected, &all), ROW_CHANGED);
    assert_true(bytes_cmp(shown(buf_bytes(&collected)), buf_bytes(&f->values[1])) < 0);
    for (unsigned i = 0; i < 2; i++) {
        const struct bytes a = buf_bytes(i == 0 ? &collected : &f->row);
        const struct bytes b = buf_bytes(i == 0 ? &f->row : &collected);

        buf_clear(&out);
        assert_int_equal(row_merge(a, b, &out), 0);
        assert_int_equal(row_check(buf_bytes(&out)), 0);
        expect_bytes(shown(buf_bytes(&out)), shown(buf_bytes(&collected)));
        buf_clear(&out);
        assert_int_equal(row_reconcile(&(struct row_seen_by){.row = a, .seen = &seen},
                                       &(struct row_seen_by){.row = b, .seen = &seen}, &out),
                         0);
        expect_bytes(buf_bytes(&out), buf_bytes(&collected));
    }
    buf_deinit(&collected);
    buf_deinit(&out);
}

static void the_time_to_live_is_that_of_the_greatest(void **state)
{
    struct fixture *f = *state;
    struct row_view view;

    apply(&f->row, tag_of(10, 1), nothing,
          (struct op){.kind = OP_SET, .value = sparse(f, "a"), .expire_at_ms = 5});
    set(&f->row, tag_of(12, 2), nothing, sparse(f, "b"));
    assert_int_equal(row_view(buf_bytes(&f->row), 9, &view), 0);
    assert_true(view.present);
    expect_letters(view.value, "ab");
    apply(&f->row, tag_of(14, 3), nothing,
          (struct op){.kind = OP_SET, .value = sparse(f, "c"), .expire_at_ms = 5});
    assert_int_equal(row_view(buf_bytes(&f->row), 9, &view), 0);
    assert_true(view.expired);
}

static void each_is_explained(void **state)
{
    struct fixture *f = *state;
    const struct row_explain_under under = {.now_ms = 1};
    struct row_explained explained;

    set(&f->row, tag_of(10, 1), nothing, BYTES_LIT("text"));
    set(&f->row, tag_of(12, 2), nothing, sparse(f, "a"));
    set(&f->row, tag_of(14, 3), nothing, sparse(f, "b"));
    assert_int_equal(row_explain(buf_bytes(&f->row), &under, &explained), 0);
    expect_u64(explained.count, 3);
    assert_int_equal(explained.facts[0].fate, ROW_FATE_OLDER);
    assert_int_equal(explained.facts[1].fate, ROW_FATE_JOINED);
    assert_int_equal(explained.facts[2].fate, ROW_FATE_SHOWN);
    expect_letters(explained.view.value, "ab");
    row_explained_deinit(&explained);
}

static void a_row_that_says_something_else_is_not_sound(void **state)
{
    struct fixture *f = *state;
    struct row_view view;

    set(&f->row, tag_of(10, 1), nothing, sparse(f, "a"));
    set(&f->row, tag_of(12, 2), nothing, sparse(f, "b"));
    /* The last byte is that of the joined value. */
    f->row.ptr[f->row.len - 1] ^= 1;
    assert_int_equal(row_check(buf_bytes(&f->row)), -ERR_CORRUPT);
    /* Cut within it. */
    f->row.len--;
    assert_int_equal(row_view(buf_bytes(&f->row), 1, &view), -ERR_CORRUPT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_was_added_at_the_same_time_shows_together),
        TEST(whoever_has_seen_all_writes_all),
        TEST(a_del_and_a_set_take_what_they_have_seen),
        TEST(another_string_hides_what_is_older),
        TEST(what_looks_like_one_and_is_damaged_is_another_string),
        TEST(of_dense_ones_the_result_is_dense),
        TEST(what_adds_nothing_changes_no_byte),
        TEST(nothing_is_dropped_until_all_is_stable),
        TEST(a_collected_row_joins_with_the_one_it_was),
        TEST(the_time_to_live_is_that_of_the_greatest),
        TEST(each_is_explained),
        TEST(a_row_that_says_something_else_is_not_sound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
