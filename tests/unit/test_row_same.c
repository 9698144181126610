/*
 * Sums by which members tell each other what they have the same: what counts in a row, and what is
 * a member's own business.
 */
#include "engine/base/mem.h"

#include "engine/value/row_same.h"
#include "engine/value/row_state.h"

#include "tests/lib/tcase.h"

#define A 1
#define B 2

static uint64_t sum_of(struct bytes row)
{
    uint64_t sum;

    assert_int_equal(row_same_sum(row, 7, &sum), 0);
    return sum;
}

static struct bytes value_row(uint8_t *dst, struct tag tag, const char *value, uint64_t at_ms)
{
    return bytes_of(dst, row_value_store(dst, tag, bytes_cstr(value), at_ms));
}

static void nothing_has_no_sum(void **state)
{
    static const uint8_t dead[] = {ROW_DEAD};

    (void)state;
    expect_u64(sum_of(bytes_of(NULL, 0)), 0);
    expect_u64(sum_of(bytes_of(dead, 1)), 0);
}

static void a_value_has_another_sum_by_bytes_tag_and_expiry(void **state)
{
    uint8_t bytes[64];
    const uint64_t sum = sum_of(value_row(bytes, tag_of(5, A), "v", 0));

    (void)state;
    assert_true(sum != 0);
    expect_u64(sum_of(value_row(bytes, tag_of(5, A), "v", 0)), sum);
    assert_true(sum_of(value_row(bytes, tag_of(5, A), "w", 0)) != sum);
    assert_true(sum_of(value_row(bytes, tag_of(5, B), "v", 0)) != sum);
    assert_true(sum_of(value_row(bytes, tag_of(6, A), "v", 0)) != sum);
    assert_true(sum_of(value_row(bytes, tag_of(5, A), "v", 99)) != sum);
}

static void the_sum_of_a_value_is_bound_to_its_name(void **state)
{
    uint8_t bytes[64];
    const struct bytes row = value_row(bytes, tag_of(5, A), "v", 0);
    uint64_t other;

    (void)state;
    assert_int_equal(row_same_sum(row, 8, &other), 0);
    assert_true(other != sum_of(row));
}

static void how_many_elements_were_counted_does_not_count(void **state)
{
    uint8_t a[ROW_COLL_BYTES], b[ROW_COLL_BYTES];

    (void)state;
    (void)row_coll_store(a, VT_SET, tag_of(5, A), 10, 100);
    (void)row_coll_store(b, VT_SET, tag_of(5, A), 11, 70);
    expect_u64(sum_of(bytes_of(b, sizeof(b))), sum_of(bytes_of(a, sizeof(a))));
    (void)row_coll_store(b, VT_HASH, tag_of(5, A), 10, 100);
    assert_true(sum_of(bytes_of(b, sizeof(b))) != sum_of(bytes_of(a, sizeof(a))));
}

/* A state in its GENERAL form, whatever it holds. */
static void encode(const struct row_state *state, struct buf *out)
{
    buf_clear(out);
    assert_int_equal(row_encode(state, out), 0);
}

static void contexts_and_counts_of_a_general_row_do_not_count(void **state)
{
    struct row_state *s = mem_alloc(sizeof(*s));
    uint8_t bytes[64];
    struct buf row;

    (void)state;
    buf_init(&row, SIZE_MAX);
    row_state_init(s);
    s->types[s->types_count++] = (struct row_type){.type = VT_SET, .tag = tag_of(5, A)};
    row_add_count(s, 3, 30);
    assert_int_equal(vv_raise(&s->ctx, tag_of(4, B)), 0);
    encode(s, &row);
    assert_int_equal(row.ptr[0], ROW_GENERAL);
    const size_t len = row_coll_store(bytes, VT_SET, tag_of(5, A), 8, 9);
    expect_u64(sum_of(buf_bytes(&row)), sum_of(bytes_of(bytes, len)));

    assert_int_equal(vv_raise(&s->clear, tag_of(4, B)), 0);
    assert_int_equal(vv_raise(&s->clear_by, tag_of(4, B)), 0);
    encode(s, &row);
    const uint64_t cleared = sum_of(buf_bytes(&row));
    assert_true(cleared != sum_of(bytes_of(bytes, len)));
    row_add_count(s, 4, 40);
    encode(s, &row);
    expect_u64(sum_of(buf_bytes(&row)), cleared);
    buf_deinit(&row);
    mem_free(s);
}

static void a_damaged_row_has_a_sum_of_its_own(void **state)
{
    static const uint8_t damaged[] = {ROW_GENERAL, 0xff, 0xff, 1}, other[] = {ROW_GENERAL, 0xff, 2};

    (void)state;
    assert_true(sum_of(bytes_of(damaged, sizeof(damaged))) != 0);
    assert_true(sum_of(bytes_of(damaged, sizeof(damaged))) !=
                sum_of(bytes_of(other, sizeof(other))));
}

static void names_do_not_depend_on_the_hash_of_a_directory(void **state)
{
    struct rowkey a = {.slot = 3,
                       .kind = ROWKEY_KIND_SET,
                       .hash = 1,
                       .key = BYTES_LIT("k"),
                       .sub = BYTES_LIT("m")};
    struct rowkey b = a;

    (void)state;
    b.hash = 2;
    expect_u64(row_same_name(&b, 9), row_same_name(&a, 9));
    assert_true(row_same_name(&b, 10) != row_same_name(&a, 9));
    b.kind = ROWKEY_KIND_HASH;
    assert_true(row_same_name(&b, 9) != row_same_name(&a, 9));
    b = a;
    b.sub = BYTES_LIT("n");
    assert_true(row_same_name(&b, 9) != row_same_name(&a, 9));
    b = a;
    b.key = BYTES_LIT("l");
    assert_true(row_same_name(&b, 9) != row_same_name(&a, 9));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_has_no_sum),
        cmocka_unit_test(a_value_has_another_sum_by_bytes_tag_and_expiry),
        cmocka_unit_test(the_sum_of_a_value_is_bound_to_its_name),
        cmocka_unit_test(how_many_elements_were_counted_does_not_count),
        cmocka_unit_test(contexts_and_counts_of_a_general_row_do_not_count),
        cmocka_unit_test(a_damaged_row_has_a_sum_of_its_own),
        cmocka_unit_test(names_do_not_depend_on_the_hash_of_a_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
