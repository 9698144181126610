/*
 * Tags: order and bytes.
 */
#include "engine/value/tag.h"

#include "tests/lib/tcase.h"

static void the_later_tag_is_the_greater(void **state)
{
    (void)state;
    assert_true(tag_cmp(tag_of(2, 9), tag_of(1, 1)) > 0);
    assert_true(tag_cmp(tag_of(1, 1), tag_of(2, 9)) < 0);
    assert_true(tag_eq(tag_max(tag_of(1, 1), tag_of(2, 9)), tag_of(2, 9)));
}

static void at_equal_time_the_lower_origin_is_the_greater(void **state)
{
    (void)state;
    assert_true(tag_cmp(tag_of(7, 1), tag_of(7, 2)) > 0);
    assert_true(tag_cmp(tag_of(7, 2), tag_of(7, 1)) < 0);
    assert_int_equal(tag_cmp(tag_of(7, 2), tag_of(7, 2)), 0);
    assert_true(tag_eq(tag_max(tag_of(7, 2), tag_of(7, 1)), tag_of(7, 1)));
}

static void no_tag_is_below_all_others(void **state)
{
    (void)state;
    assert_true(tag_is_none(tag_of(0, 0)));
    assert_false(tag_is_none(tag_of(1, 0)));
    assert_true(tag_cmp(tag_of(0, 0), tag_of(1, 255)) < 0);
}

static void bytes_are_little_endian_time_then_origin(void **state)
{
    static const uint8_t want[TAG_BYTES] = {8, 7, 6, 5, 4, 3, 2, 1, 0xab};
    uint8_t got[TAG_BYTES];

    (void)state;
    tag_store(got, tag_of(UINT64_C(0x0102030405060708), 0xab));
    expect_bytes(bytes_of(got, TAG_BYTES), bytes_of(want, TAG_BYTES));
    assert_true(tag_eq(tag_load(got), tag_of(UINT64_C(0x0102030405060708), 0xab)));
}

static void a_clock_reading_has_milliseconds_and_a_counter(void **state)
{
    (void)state;
    expect_u64(hlc_make(1000, 5), (UINT64_C(1000) << 16) + 5);
    expect_u64(hlc_ms(hlc_make(1000, 65535)), 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_later_tag_is_the_greater),
        cmocka_unit_test(at_equal_time_the_lower_origin_is_the_greater),
        cmocka_unit_test(no_tag_is_below_all_others),
        cmocka_unit_test(bytes_are_little_endian_time_then_origin),
        cmocka_unit_test(a_clock_reading_has_milliseconds_and_a_counter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
