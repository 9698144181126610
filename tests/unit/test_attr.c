/*
 * The helpers of attr.h.
 */
#include "engine/base/attr.h"

#include "tests/lib/tcase.h"

struct outer {
    int before;
    int member;
};

STATIC_ASSERT(ARRAY_COUNT(((const int[]){1, 2, 3})) == 3);

static void container_of_finds_the_struct_around_a_member(void **state UNUSED)
{
    struct outer outer = {0};

    assert_ptr_equal(container_of(&outer.member, struct outer, member), &outer);
}

static void min_and_max_hold_over_the_whole_range(void **state UNUSED)
{
    expect_u64(size_min(3, SIZE_MAX), 3);
    expect_u64(size_max(3, SIZE_MAX), SIZE_MAX);
    expect_u64(u64_min(UINT64_MAX, 0), 0);
    expect_u64(u64_max(UINT64_MAX, 0), UINT64_MAX);
    expect_i64(i64_min(INT64_MIN, 1), INT64_MIN);
    expect_i64(i64_max(INT64_MIN, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(container_of_finds_the_struct_around_a_member),
        cmocka_unit_test(min_and_max_hold_over_the_whole_range),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
