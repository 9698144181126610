/*
 * Numbers as text: edges by hand, the rest against snprintf and strtod over random values.
 */
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/num.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

/* Enough to meet every length and sign many times, little enough for a debug build. */
#define RANDOM_ROUNDS 20000

static void expect_parsed_i64(const char *text, int64_t want)
{
    int64_t got = 42;

    assert_true(num_parse_i64(bytes_cstr(text), &got));
    expect_i64(got, want);
}

static void integers_parse_over_the_full_range(void **state UNUSED)
{
    expect_parsed_i64("0", 0);
    expect_parsed_i64("-1", -1);
    expect_parsed_i64("10", 10);
    expect_parsed_i64("9223372036854775807", INT64_MAX);
    expect_parsed_i64("-9223372036854775808", INT64_MIN);
}

static void an_integer_has_one_spelling(void **state UNUSED)
{
    static const struct bytes refused[] = {
        BYTES_INIT(""),
        BYTES_INIT("-"),
        BYTES_INIT("+1"),
        BYTES_INIT("-0"),
        BYTES_INIT("00"),
        BYTES_INIT("01"),
        BYTES_INIT("-01"),
        BYTES_INIT(" 1"),
        BYTES_INIT("1 "),
        BYTES_INIT("1\0"),
        BYTES_INIT("1.0"),
        BYTES_INIT("1e3"),
        BYTES_INIT("0x10"),
        BYTES_INIT("--1"),
        BYTES_INIT("9223372036854775808"),
        BYTES_INIT("-9223372036854775809"),
        BYTES_INIT("18446744073709551616"),
        BYTES_INIT("99999999999999999999"),
        BYTES_INIT("100000000000000000000"),
        BYTES_INIT("1/"),
        BYTES_INIT("1:"),
    };

    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        int64_t got = 42;
        assert_false(num_parse_i64(refused[i], &got));
        expect_i64(got, 42);
    }
}

static void unsigned_integers_have_no_sign(void **state UNUSED)
{
    uint64_t got = 42;

    assert_false(num_parse_u64(BYTES_LIT("-1"), &got));
    assert_false(num_parse_u64(BYTES_LIT(""), &got));
    assert_false(num_parse_u64(BYTES_LIT("18446744073709551616"), &got));
    expect_u64(got, 42);
    assert_true(num_parse_u64(BYTES_LIT("18446744073709551615"), &got));
    expect_u64(got, UINT64_MAX);
    assert_true(num_parse_u64(BYTES_LIT("0"), &got));
    expect_u64(got, 0);
}

/* A random magnitude of a random number of bits, so that every length comes up. */
static uint64_t random_u64(struct rng *rng)
{
    return rng_u64(rng) >> rng_below(rng, 64);
}

static void check_print_i64(int64_t value)
{
    char got[NUM_I64_BYTES];
    char want[NUM_I64_BYTES];
    int64_t back = ~value;

    const int want_len = snprintf(want, sizeof(want), "%lld", (long long)value);
    expect_u64(num_print_i64(got, value), (uint64_t)want_len);
    expect_str(got, want);
    assert_true(num_parse_i64(bytes_cstr(got), &back));
    expect_i64(back, value);
}

static void integers_print_as_snprintf_does_and_parse_back(void **state UNUSED)
{
    struct rng rng;
    uint64_t power = 1;

    check_print_i64(0);
    check_print_i64(INT64_MAX);
    check_print_i64(INT64_MIN);
    for (int i = 0; i < 19; i++, power *= 10) {
        check_print_i64((int64_t)power);
        check_print_i64((int64_t)power - 1);
        check_print_i64(-(int64_t)power);
    }
    seed_rng(&rng, 1);
    for (int i = 0; i < RANDOM_ROUNDS; i++)
        check_print_i64((int64_t)(random_u64(&rng) ^ (0 - rng_below(&rng, 2))));
}

static void unsigned_integers_print_as_snprintf_does(void **state UNUSED)
{
    struct rng rng;

    seed_rng(&rng, 2);
    for (int i = 0; i < RANDOM_ROUNDS; i++) {
        const uint64_t value = i == 0 ? UINT64_MAX : random_u64(&rng);
        char got[NUM_I64_BYTES];
        char want[NUM_I64_BYTES];
        const int want_len = snprintf(want, sizeof(want), "%llu", (unsigned long long)value);
        expect_u64(num_print_u64(got, value), (uint64_t)want_len);
        expect_u64(num_digits_u64(value), (uint64_t)want_len);
        expect_str(got, want);
    }
}

/* Exactly equal, the sign of zero included. */
static void expect_same_double(double got, double want, const char *text)
{
    uint64_t got_bits;
    uint64_t want_bits;

    memcpy(&got_bits, &got, sizeof(got_bits));
    memcpy(&want_bits, &want, sizeof(want_bits));
    if (got_bits != want_bits)
        print_error("text \"%s\" got %.17g want %.17g\n", text, got, want);
    expect_u64(got_bits, want_bits);
}

static void check_parse_double(const char *text)
{
    double got = 42;

    assert_true(num_parse_double(bytes_cstr(text), &got));
    expect_same_double(got, strtod(text, NULL), text);
}

static void doubles_parse_as_strtod_does(void **state UNUSED)
{
    static const char *const texts[] = {
        "0",
        "-0",
        "0.0",
        "-0.0",
        "1.",
        ".5",
        "-.5",
        "+1",
        "3.14",
        "1e10",
        "1E-10",
        "inf",
        "-inf",
        "+inf",
        "INF",
        "0x10",
        "1e308",
        "5e-324",
        "4.9e-324",
        "2.5e-320",
        "123456789012345",
        "1234567890123456",
        "12345678901234567890",
        "0.1",
        "0.30000000000000004",
        "999999999999.999",
        "0.000000000000001",
        "-9007199254740993",
        "1.7976931348623157e308",
        "infinity",
    };

    for (size_t i = 0; i < ARRAY_COUNT(texts); i++)
        check_parse_double(texts[i]);
}

static void doubles_that_are_not_all_number_are_refused(void **state UNUSED)
{
    static const struct bytes refused[] = {
        BYTES_INIT(""),    BYTES_INIT(" 1"),   BYTES_INIT("1 "),     BYTES_INIT("\t1"),
        BYTES_INIT("1\0"), BYTES_INIT("1x"),   BYTES_INIT("."),      BYTES_INIT("-"),
        BYTES_INIT("-."),  BYTES_INIT("nan"),  BYTES_INIT("-nan"),   BYTES_INIT("NaN(1)"),
        BYTES_INIT("1e"),  BYTES_INIT("1..2"), BYTES_INIT("1.2.3"),  BYTES_INIT("1e400"),
        BYTES_INIT("e1"),  BYTES_INIT("--1"),  BYTES_INIT("-1e400"), BYTES_INIT("1e-400"),
        BYTES_INIT("1,5"), BYTES_INIT("1-"),
    };

    for (size_t i = 0; i < ARRAY_COUNT(refused); i++) {
        double got = 42;
        long double got_long = 42;
        assert_false(num_parse_double(refused[i], &got));
        expect_same_double(got, 42, "unchanged");
        /* The long double has a wider range: what is out of range for the other is not for it. */
        if (bytes_find_u8(refused[i], '4') == refused[i].len)
            assert_false(num_parse_ldouble(refused[i], &got_long));
    }
}

static void very_long_input_is_refused(void **state UNUSED)
{
    static char text[NUM_LDOUBLE_BYTES + 1];
    double got = 42;
    long double got_long = 42;

    memset(text, '0', NUM_LDOUBLE_BYTES);
    assert_false(num_parse_double(bytes_of(text, NUM_LDOUBLE_BYTES), &got));
    assert_false(num_parse_ldouble(bytes_of(text, NUM_LDOUBLE_BYTES), &got_long));
    assert_true(num_parse_double(bytes_of(text, NUM_LDOUBLE_BYTES - 1), &got));
    expect_same_double(got, 0, "zeros");
}

/* Short decimals take a path of their own. */
static void random_decimals_parse_as_strtod_does(void **state UNUSED)
{
    struct rng rng;

    seed_rng(&rng, 3);
    for (int i = 0; i < RANDOM_ROUNDS; i++) {
        char text[64];
        const uint64_t whole = random_u64(&rng) >> rng_below(&rng, 32);
        const uint64_t fraction = random_u64(&rng) >> rng_below(&rng, 32);
        const char *sign = rng_below(&rng, 2) == 0 ? "-" : "";
        if (rng_below(&rng, 4) == 0)
            (void)snprintf(text, sizeof(text), "%s%llu", sign, (unsigned long long)whole);
        else
            (void)snprintf(text, sizeof(text), "%s%llu.%0*llu", sign, (unsigned long long)whole,
                           (int)rng_below(&rng, 10), (unsigned long long)fraction);
        check_parse_double(text);
    }
}

static void check_print_double(double value, const char *want)
{
    char got[NUM_DOUBLE_BYTES];

    expect_u64(num_print_double(got, value), strlen(want));
    expect_str(got, want);
}

static void doubles_print_as_replies_of_redis(void **state UNUSED)
{
    check_print_double(0.0, "0");
    check_print_double(-0.0, "-0");
    check_print_double(1.0, "1");
    check_print_double(-17.0, "-17");
    check_print_double(3.1, "3.1000000000000001");
    check_print_double(0.5, "0.5");
    check_print_double(1e20, "1e+20");
    check_print_double(1e17, "1e+17");
    check_print_double(4503599627370495.0, "4503599627370495");
    check_print_double(-4503599627370497.0, "-4503599627370497");
    check_print_double(HUGE_VAL, "inf");
    check_print_double(-HUGE_VAL, "-inf");
    check_print_double((double)NAN, "nan");
    check_print_double(-(double)NAN, "nan");
    check_print_double(DBL_MAX, "1.7976931348623157e+308");
    check_print_double(-DBL_TRUE_MIN, "-4.9406564584124654e-324");
}

static double random_double(struct rng *rng)
{
    double value;

    do {
        const uint64_t bits = rng_u64(rng);
        memcpy(&value, &bits, sizeof(value));
    } while (!isfinite(value));
    return rng_below(rng, 3) == 0 ? (double)(int64_t)random_u64(rng) : value;
}

static void random_doubles_print_as_snprintf_does_and_parse_back(void **state UNUSED)
{
    struct rng rng;

    seed_rng(&rng, 4);
    for (int i = 0; i < RANDOM_ROUNDS; i++) {
        const double value = random_double(&rng);
        char want[NUM_DOUBLE_BYTES];
        double back = 0;
        (void)snprintf(want, sizeof(want), "%.17g", value);
        check_print_double(value, want);
        assert_true(num_parse_double(bytes_cstr(want), &back));
        expect_same_double(back, value, want);
    }
}

static void check_print_ldouble(const char *text, const char *want)
{
    static char got[NUM_LDOUBLE_BYTES];
    long double value = 0;

    assert_true(num_parse_ldouble(bytes_cstr(text), &value));
    expect_u64(num_print_ldouble(got, value), strlen(want));
    expect_str(got, want);
}

static void long_doubles_print_as_incrbyfloat_does(void **state UNUSED)
{
    check_print_ldouble("0", "0");
    check_print_ldouble("-0", "0");
    check_print_ldouble("10.50", "10.5");
    check_print_ldouble("3.0e3", "3000");
    check_print_ldouble("5.0e3", "5000");
    check_print_ldouble("0.1", "0.1");
    check_print_ldouble("-3.14", "-3.14");
    check_print_ldouble("100", "100");
    check_print_ldouble("1e-30", "0");
    check_print_ldouble("-1e-30", "0");
    check_print_ldouble("17179869185.5", "17179869185.5");
    check_print_ldouble("inf", "inf");
    check_print_ldouble("-inf", "-inf");
}

static void the_largest_long_double_fits(void **state UNUSED)
{
    static char got[NUM_LDOUBLE_BYTES];

    expect_u64(num_print_ldouble(got, -LDBL_MAX), LDBL_MAX_10_EXP + 2);
}

static void memory_sizes_have_the_units_of_redis_conf(void **state UNUSED)
{
    static const struct {
        const char *text;
        uint64_t want;
    } cases[] = {
        {"0", 0},
        {"100", 100},
        {"100b", 100},
        {"1k", 1000},
        {"1kb", 1024},
        {"2M", 2000000},
        {"256mb", 268435456},
        {"1G", 1000000000},
        {"1gB", 1073741824},
        {"18446744073709551615", UINT64_MAX},
        /* As Redis: no digits are 0. */
        {"", 0},
        {"mb", 0},
    };

    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        uint64_t got = 42;
        assert_true(num_parse_memory(cases[i].text, &got));
        expect_u64(got, cases[i].want);
    }
}

static void other_memory_sizes_are_refused(void **state UNUSED)
{
    static const char *const texts[] = {"-1",
                                        "tb",
                                        "1tb",
                                        "1 mb",
                                        "1mbx",
                                        "1.5gb",
                                        "18446744073709551616",
                                        "18446744073709551615gb"};

    for (size_t i = 0; i < ARRAY_COUNT(texts); i++) {
        uint64_t got = 42;
        assert_false(num_parse_memory(texts[i], &got));
        expect_u64(got, 42);
    }
}

static void a_number_is_taken_from_behind_a_text(void **state)
{
    struct bytes in = BYTES_LIT("at 0012, 0x00ffg");
    const struct bytes all = in;
    uint64_t value;

    (void)state;
    assert_true(num_take_u64(&in, "at ", 10, &value));
    expect_u64(value, 12);
    assert_true(num_take_u64(&in, ", 0x", 16, &value));
    expect_u64(value, 255);
    expect_bytes(in, BYTES_LIT("g"));
    in = all;
    assert_false(num_take_u64(&in, "At ", 10, &value));
    assert_false(num_take_u64(&in, "at 0012,", 10, &value));
    assert_false(num_take_u64(&in, "at 0012, 0x00ffg more", 10, &value));
    expect_bytes(in, all);
    in = BYTES_LIT("18446744073709551615");
    assert_true(num_take_u64(&in, "", 10, &value));
    expect_u64(value, UINT64_MAX);
    in = BYTES_LIT("18446744073709551616");
    assert_false(num_take_u64(&in, "", 10, &value));
    in = BYTES_LIT("10000000000000000");
    assert_false(num_take_u64(&in, "", 16, &value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_taken_from_behind_a_text),
        cmocka_unit_test(integers_parse_over_the_full_range),
        cmocka_unit_test(an_integer_has_one_spelling),
        cmocka_unit_test(unsigned_integers_have_no_sign),
        cmocka_unit_test(integers_print_as_snprintf_does_and_parse_back),
        cmocka_unit_test(unsigned_integers_print_as_snprintf_does),
        cmocka_unit_test(doubles_parse_as_strtod_does),
        cmocka_unit_test(doubles_that_are_not_all_number_are_refused),
        cmocka_unit_test(very_long_input_is_refused),
        cmocka_unit_test(random_decimals_parse_as_strtod_does),
        cmocka_unit_test(doubles_print_as_replies_of_redis),
        cmocka_unit_test(random_doubles_print_as_snprintf_does_and_parse_back),
        cmocka_unit_test(long_doubles_print_as_incrbyfloat_does),
        cmocka_unit_test(the_largest_long_double_fits),
        cmocka_unit_test(memory_sizes_have_the_units_of_redis_conf),
        cmocka_unit_test(other_memory_sizes_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
