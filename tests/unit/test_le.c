/*
 * Integers as bytes: byte order, varints, zigzag.
 */
#include "engine/base/le.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

static void little_endian_puts_the_low_byte_first(void **state UNUSED)
{
    uint8_t out[8];

    le16_store(out, 0x0102);
    expect_bytes(bytes_of(out, 2), BYTES_LIT("\x02\x01"));
    le32_store(out, 0x01020304);
    expect_bytes(bytes_of(out, 4), BYTES_LIT("\x04\x03\x02\x01"));
    le64_store(out, 0x0102030405060708);
    expect_bytes(bytes_of(out, 8), BYTES_LIT("\x08\x07\x06\x05\x04\x03\x02\x01"));
    expect_u64(le64_load(out), 0x0102030405060708);
    expect_u64(le32_load(out), 0x05060708);
    expect_u64(le16_load(out), 0x0708);
}

static void big_endian_puts_the_high_byte_first(void **state UNUSED)
{
    uint8_t out[8];

    be16_store(out, 0x0102);
    expect_bytes(bytes_of(out, 2), BYTES_LIT("\x01\x02"));
    be32_store(out, 0x01020304);
    expect_bytes(bytes_of(out, 4), BYTES_LIT("\x01\x02\x03\x04"));
    be64_store(out, 0x0102030405060708);
    expect_bytes(bytes_of(out, 8), BYTES_LIT("\x01\x02\x03\x04\x05\x06\x07\x08"));
    expect_u64(be64_load(out), 0x0102030405060708);
    expect_u64(be32_load(out), 0x01020304);
    expect_u64(be16_load(out), 0x0102);
}

static void getting_moves_on_or_changes_nothing(void **state UNUSED)
{
    struct bytes in = BYTES_LIT("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f");
    uint8_t v8 = 0;
    uint16_t v16 = 0;
    uint32_t v32 = 0;
    uint64_t v64 = 0;

    expect_i64(u8_get(&in, &v8), 0);
    expect_i64(le16_get(&in, &v16), 0);
    expect_i64(le32_get(&in, &v32), 0);
    expect_i64(le64_get(&in, &v64), 0);
    expect_u64(v8, 1);
    expect_u64(v16, 0x0302);
    expect_u64(v32, 0x07060504);
    expect_u64(v64, 0x0f0e0d0c0b0a0908);
    expect_u64(in.len, 0);
    expect_i64(u8_get(&in, &v8), -ERR_TRUNCATED);
    in = BYTES_LIT("\xff");
    expect_i64(le16_get(&in, &v16), -ERR_TRUNCATED);
    expect_i64(le32_get(&in, &v32), -ERR_TRUNCATED);
    expect_i64(le64_get(&in, &v64), -ERR_TRUNCATED);
    expect_u64(in.len, 1);
    expect_u64(v16, 0x0302);
}

static void check_varint(uint64_t value, struct bytes want)
{
    uint8_t out[VARINT_BYTES_MAX];
    uint64_t back = ~value;
    const size_t len = varint_put(out, value);
    struct bytes in = bytes_of(out, len);

    expect_u64(len, varint_size(value));
    if (want.ptr != NULL)
        expect_bytes(in, want);
    expect_i64(varint_get(&in, &back), 0);
    expect_u64(back, value);
    expect_u64(in.len, 0);
}

static void varints_have_their_published_form(void **state UNUSED)
{
    check_varint(0, BYTES_LIT("\x00"));
    check_varint(1, BYTES_LIT("\x01"));
    check_varint(127, BYTES_LIT("\x7f"));
    check_varint(128, BYTES_LIT("\x80\x01"));
    check_varint(300, BYTES_LIT("\xac\x02"));
    check_varint(16384, BYTES_LIT("\x80\x80\x01"));
    check_varint(UINT64_MAX, BYTES_LIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));
}

static void varints_of_every_size_come_back(void **state UNUSED)
{
    struct rng rng;

    for (unsigned bit = 0; bit < 64; bit++) {
        const uint64_t power = UINT64_C(1) << bit;
        check_varint(power, bytes_of(NULL, 0));
        check_varint(power - 1, bytes_of(NULL, 0));
    }
    seed_rng(&rng, 1);
    for (int i = 0; i < 10000; i++)
        check_varint(rng_u64(&rng) >> rng_below(&rng, 64), bytes_of(NULL, 0));
}

static void bad_varints_are_refused_and_nothing_moves(void **state UNUSED)
{
    static const struct {
        struct bytes in;
        int err;
    } cases[] = {
        {BYTES_INIT(""), -ERR_TRUNCATED},
        {BYTES_INIT("\x80"), -ERR_TRUNCATED},
        {BYTES_INIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff"), -ERR_TRUNCATED},
        /* Longer than need be. */
        {BYTES_INIT("\x80\x00"), -ERR_CORRUPT},
        {BYTES_INIT("\xff\x80\x00"), -ERR_CORRUPT},
        /* Beyond 64 bits. */
        {BYTES_INIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), -ERR_CORRUPT},
        {BYTES_INIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81"), -ERR_CORRUPT},
        {BYTES_INIT("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), -ERR_CORRUPT},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct bytes in = cases[i].in;
        uint64_t value = 77;
        expect_i64(varint_get(&in, &value), cases[i].err);
        expect_bytes(in, cases[i].in);
        expect_u64(value, 77);
    }
}

static void zigzag_keeps_small_magnitudes_small(void **state UNUSED)
{
    const int64_t values[] = {0, -1, 1, -2, 2};

    for (size_t i = 0; i < ARRAY_COUNT(values); i++)
        expect_u64(zigzag_encode(values[i]), i);
    expect_u64(zigzag_encode(INT64_MAX), UINT64_MAX - 1);
    expect_u64(zigzag_encode(INT64_MIN), UINT64_MAX);
}

static void zigzag_comes_back(void **state UNUSED)
{
    struct rng rng;

    expect_i64(zigzag_decode(zigzag_encode(INT64_MIN)), INT64_MIN);
    expect_i64(zigzag_decode(zigzag_encode(INT64_MAX)), INT64_MAX);
    seed_rng(&rng, 2);
    for (int i = 0; i < 10000; i++) {
        const int64_t value = (int64_t)rng_u64(&rng);
        expect_i64(zigzag_decode(zigzag_encode(value)), value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(little_endian_puts_the_low_byte_first),
        cmocka_unit_test(big_endian_puts_the_high_byte_first),
        cmocka_unit_test(getting_moves_on_or_changes_nothing),
        cmocka_unit_test(varints_have_their_published_form),
        cmocka_unit_test(varints_of_every_size_come_back),
        cmocka_unit_test(bad_varints_are_refused_and_nothing_moves),
        cmocka_unit_test(zigzag_keeps_small_magnitudes_small),
        cmocka_unit_test(zigzag_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
