/*
 * CRC-64: the published check value, and sums of parts.
 */
#include "engine/base/crc64.h"

#include "tests/lib/tcase.h"

static void the_check_value_is_right(void **state UNUSED)
{
    expect_u64(crc64(0, BYTES_LIT("123456789")), UINT64_C(0xe9c6d914c4b8d9ca));
    expect_u64(crc64(0, BYTES_LIT("")), 0);
}

static void a_sum_goes_on(void **state UNUSED)
{
    expect_u64(crc64(crc64(0, BYTES_LIT("1234")), BYTES_LIT("56789")),
               crc64(0, BYTES_LIT("123456789")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_check_value_is_right),
        cmocka_unit_test(a_sum_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
