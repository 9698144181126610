/*
 * Slices: comparison, prefix, case, cutting.
 */
#include "engine/base/bytes.h"

#include "tests/lib/tcase.h"

static const struct bytes hello = BYTES_INIT("hello");

static void empty_slices_are_equal_whatever_they_point_to(void **state UNUSED)
{
    assert_true(bytes_eq(bytes_of(NULL, 0), BYTES_LIT("")));
    expect_i64(bytes_cmp(bytes_of(NULL, 0), BYTES_LIT("")), 0);
    assert_true(bytes_empty(bytes_of(NULL, 0)));
}

static void equality_needs_length_and_content(void **state UNUSED)
{
    assert_true(bytes_eq(hello, bytes_cstr("hello")));
    assert_false(bytes_eq(hello, BYTES_LIT("hell")));
    assert_false(bytes_eq(hello, BYTES_LIT("hellO")));
    assert_true(bytes_eq(BYTES_LIT("a\0b"), bytes_of("a\0b", 3)));
    assert_false(bytes_eq(BYTES_LIT("a\0b"), BYTES_LIT("a\0c")));
}

static void order_is_by_byte_value_then_by_length(void **state UNUSED)
{
    assert_true(bytes_cmp(BYTES_LIT("a"), BYTES_LIT("b")) < 0);
    assert_true(bytes_cmp(BYTES_LIT("b"), BYTES_LIT("a")) > 0);
    assert_true(bytes_cmp(BYTES_LIT("a"), BYTES_LIT("aa")) < 0);
    assert_true(bytes_cmp(BYTES_LIT("b"), BYTES_LIT("aa")) > 0);
    assert_true(bytes_cmp(BYTES_LIT(""), BYTES_LIT("\0")) < 0);
    /* Bytes are unsigned. */
    assert_true(bytes_cmp(BYTES_LIT("\x7f"), BYTES_LIT("\x80")) < 0);
}

static void prefix_includes_the_empty_and_the_whole(void **state UNUSED)
{
    assert_true(bytes_starts(hello, BYTES_LIT("")));
    assert_true(bytes_starts(hello, BYTES_LIT("hel")));
    assert_true(bytes_starts(hello, hello));
    assert_false(bytes_starts(hello, BYTES_LIT("hello!")));
    assert_false(bytes_starts(hello, BYTES_LIT("el")));
}

static void case_is_ignored_for_ascii_letters_only(void **state UNUSED)
{
    assert_true(bytes_eq_nocase(BYTES_LIT("GeT"), "get"));
    assert_true(bytes_eq_nocase(BYTES_LIT("get"), "GET"));
    assert_true(bytes_eq_nocase(BYTES_LIT(""), ""));
    assert_false(bytes_eq_nocase(BYTES_LIT("get"), "gets"));
    assert_false(bytes_eq_nocase(BYTES_LIT("gets"), "get"));
    assert_false(bytes_eq_nocase(BYTES_LIT("get\0"), "get"));
    /* Neighbours of the letters differ by the same bit as the letters do. */
    assert_false(bytes_eq_nocase(BYTES_LIT("["), "{"));
    assert_false(bytes_eq_nocase(BYTES_LIT("@"), "`"));
    assert_false(bytes_eq_nocase(BYTES_LIT("\xc4"), "\xe4"));
}

static void taking_cuts_off_the_front_or_changes_nothing(void **state UNUSED)
{
    struct bytes rest = hello;
    struct bytes part = bytes_of(NULL, 0);

    assert_true(bytes_take(&rest, 2, &part));
    expect_bytes(part, BYTES_LIT("he"));
    expect_bytes(rest, BYTES_LIT("llo"));
    assert_false(bytes_take(&rest, 4, &part));
    expect_bytes(part, BYTES_LIT("he"));
    expect_bytes(rest, BYTES_LIT("llo"));
    assert_true(bytes_take(&rest, 3, &part));
    assert_true(bytes_empty(rest));
    assert_true(bytes_take(&rest, 0, &part));
    assert_true(bytes_empty(part));
}

static void the_rest_of_an_empty_slice_is_empty(void **state UNUSED)
{
    expect_u64(bytes_from(bytes_of(NULL, 0), 0).len, 0);
    expect_u64(bytes_from(hello, 5).len, 0);
    expect_bytes(bytes_from(hello, 1), BYTES_LIT("ello"));
}

static void finding_a_byte_gives_the_first_or_the_length(void **state UNUSED)
{
    expect_u64(bytes_find_u8(hello, 'l'), 2);
    expect_u64(bytes_find_u8(hello, 'z'), 5);
    expect_u64(bytes_find_u8(bytes_of(NULL, 0), 'z'), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_slices_are_equal_whatever_they_point_to),
        cmocka_unit_test(equality_needs_length_and_content),
        cmocka_unit_test(order_is_by_byte_value_then_by_length),
        cmocka_unit_test(prefix_includes_the_empty_and_the_whole),
        cmocka_unit_test(case_is_ignored_for_ascii_letters_only),
        cmocka_unit_test(taking_cuts_off_the_front_or_changes_nothing),
        cmocka_unit_test(the_rest_of_an_empty_slice_is_empty),
        cmocka_unit_test(finding_a_byte_gives_the_first_or_the_length),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
