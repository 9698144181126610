/*
 * Increments: what Redis would answer, and what concurrent ones add up to.
 */
#include <math.h>

#include "engine/base/err.h"
#include "engine/base/num.h"

#include "engine/value/fsum.h"
#include "engine/value/row.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define HERE 1

struct fixture {
    struct buf row;
    uint64_t hlc;
};

static int setup(void **state)
{
    static struct fixture f;

    buf_init(&f.row, SIZE_MAX);
    f.hlc = hlc_make(1000, 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    buf_deinit(&f->row);
    return 0;
}

static struct tag next_tag(struct fixture *f)
{
    return tag_of(++f->hlc, HERE);
}

static void take(struct fixture *f, struct buf *row)
{
    buf_deinit(&f->row);
    f->row = *row;
    assert_int_equal(row_check(buf_bytes(&f->row)), 0);
}

static void set(struct fixture *f, const char *value)
{
    struct buf row;

    buf_init(&row, SIZE_MAX);
    assert_int_equal(buf_reserve(&row, 256), 0);
    buf_commit(&row, row_value_store(buf_end(&row), next_tag(f), bytes_cstr(value), 0));
    take(f, &row);
}

static int incr(struct fixture *f, int64_t delta, int64_t *out)
{
    struct row_incr result;
    struct buf row;
    int err;

    buf_init(&row, SIZE_MAX);
    err = row_incr_int(buf_bytes(&f->row), 0, delta, next_tag(f), &row, &result);
    if (err != 0) {
        expect_u64(row.len, 0);
        buf_deinit(&row);
        return err;
    }
    take(f, &row);
    *out = result.visible;
    return 0;
}

static int incr_float(struct fixture *f, long double delta)
{
    struct row_incr result;
    struct buf row;
    int err;

    buf_init(&row, SIZE_MAX);
    err = row_incr_float(buf_bytes(&f->row), 0, delta, next_tag(f), &row, &result);
    if (err != 0) {
        expect_u64(row.len, 0);
        buf_deinit(&row);
        return err;
    }
    take(f, &row);
    return 0;
}

static void expect_text(struct fixture *f, const char *want)
{
    char tmp[ROW_TEXT_BYTES];
    struct row_view view;

    assert_int_equal(row_view(buf_bytes(&f->row), 0, &view), 0);
    assert_true(view.present);
    expect_bytes(row_text(&view, tmp), bytes_cstr(want));
}

static void a_counter_from_nothing_is_one_run(void **state)
{
    struct fixture *f = *state;
    int64_t value = 0;

    for (int i = 1; i <= 5; i++)
        assert_int_equal(incr(f, 3, &value), 0);
    expect_i64(value, 15);
    expect_u64(f->row.len, ROW_COUNT_BYTES);
    expect_text(f, "15");
}

static void an_increment_stands_on_the_value(void **state)
{
    struct fixture *f = *state;
    int64_t value = 0;

    set(f, "-10");
    assert_int_equal(incr(f, 1, &value), 0);
    expect_i64(value, -9);
    assert_int_equal(incr(f, -1, &value), 0);
    expect_i64(value, -10);
    expect_text(f, "-10");
}

static void increments_of_one_batch_add_up(void **state)
{
    struct fixture *f = *state;
    int64_t value = 0;

    set(f, "10");
    for (int i = 0; i < 3; i++) {
        f->hlc = hlc_make(1001, 0); /* next_tag gives the same tag each time. */
        assert_int_equal(incr(f, i == 1 ? -7 : 2, &value), 0);
    }
    expect_i64(value, 7);
    expect_text(f, "7");
}

static void what_is_no_integer_is_refused(void **state)
{
    static const char *const values[] = {"", "abc", "1.5", " 1", "01", "9223372036854775808"};
    struct fixture *f = *state;
    int64_t value;

    for (unsigned i = 0; i < ARRAY_COUNT(values); i++) {
        set(f, values[i]);
        assert_int_equal(incr(f, 1, &value), -ERR_FORMAT);
        expect_text(f, values[i]);
    }
}

static void overflow_is_refused_in_both_directions(void **state)
{
    struct fixture *f = *state;
    int64_t value;

    set(f, "9223372036854775806");
    assert_int_equal(incr(f, 1, &value), 0);
    expect_i64(value, INT64_MAX);
    assert_int_equal(incr(f, 1, &value), -ERR_RANGE);
    set(f, "-9223372036854775808");
    assert_int_equal(incr(f, -1, &value), -ERR_RANGE);
    assert_int_equal(incr(f, INT64_MAX, &value), 0);
    expect_i64(value, -1);
}

static void a_run_may_span_more_than_its_own_range(void **state)
{
    struct fixture *f = *state;
    int64_t value;

    set(f, "-9223372036854775807");
    assert_int_equal(incr(f, INT64_MAX, &value), 0);
    assert_int_equal(incr(f, INT64_MAX, &value), 0);
    expect_i64(value, INT64_MAX);
    expect_text(f, "9223372036854775807");
    assert_int_equal(incr(f, -7, &value), 0);
    expect_text(f, "9223372036854775800");
}

static void a_collection_is_no_counter(void **state)
{
    struct fixture *f = *state;
    struct buf row;
    int64_t value;

    buf_init(&row, SIZE_MAX);
    assert_int_equal(buf_reserve(&row, ROW_COLL_BYTES), 0);
    buf_commit(&row, row_coll_store(buf_end(&row), VT_HASH, next_tag(f), 1, 1));
    take(f, &row);
    assert_int_equal(incr(f, 1, &value), -ERR_TYPE);
    assert_int_equal(incr_float(f, 1.0L), -ERR_TYPE);
}

static void an_expired_value_counts_as_nothing(void **state)
{
    struct fixture *f = *state;
    struct row_incr result;
    struct buf row;

    buf_init(&row, SIZE_MAX);
    assert_int_equal(buf_reserve(&row, 64), 0);
    buf_commit(&row, row_value_store(buf_end(&row), next_tag(f), BYTES_LIT("41"), 2000));
    take(f, &row);

    buf_init(&row, SIZE_MAX);
    assert_int_equal(row_incr_int(buf_bytes(&f->row), 1999, 1, next_tag(f), &row, &result), 0);
    expect_i64(result.visible, 42);
    assert_false(result.fresh);
    buf_clear(&row);
    assert_int_equal(row_incr_int(buf_bytes(&f->row), 2000, 1, next_tag(f), &row, &result), 0);
    expect_i64(result.visible, 1);
    assert_true(result.fresh);
    take(f, &row);
    expect_u64(f->row.len, ROW_COUNT_BYTES);
}

/* Redis: parse the text, add, print with 17 digits after the point, strip zeros. */
static void expect_float_like_redis(struct fixture *f, char text[NUM_LDOUBLE_BYTES],
                                    long double delta)
{
    long double value = 0.0L;

    if (text[0] != '\0')
        assert_true(num_parse_ldouble(bytes_cstr(text), &value));
    num_print_ldouble(text, value + delta);
    assert_int_equal(incr_float(f, delta), 0);
    expect_text(f, text);
}

static void float_increments_print_what_redis_prints(void **state)
{
    static const long double deltas[] = {0.1L,        0.2L,           -0.3L,  1e17L,
                                         -1e17L,      3.0e3L,         1e-17L, 5e-18L,
                                         1.0L / 3.0L, 123456789.123L, -2e30L};
    struct fixture *f = *state;
    char text[NUM_LDOUBLE_BYTES] = "";

    for (unsigned i = 0; i < ARRAY_COUNT(deltas); i++)
        expect_float_like_redis(f, text, deltas[i]);
}

static void random_float_increments_print_what_redis_prints(void **state)
{
    static const char *const bases[] = {"", "10.50", "5.0e3", "0.1", "12345678901234567", "-3"};
    struct fixture *f = *state;
    char text[NUM_LDOUBLE_BYTES];
    struct rng rng;

    seed_rng(&rng, 1);
    for (unsigned run = 0; run < 300; run++) {
        const char *base = bases[rng_below(&rng, ARRAY_COUNT(bases))];

        buf_clear(&f->row);
        if (base[0] != '\0')
            set(f, base);
        memcpy(text, base, strlen(base) + 1);
        for (unsigned i = 0; i < 50; i++) {
            const long double delta =
                ldexpl((long double)rng_double(&rng) - 0.5L, (int)rng_below(&rng, 70) - 35);
            expect_float_like_redis(f, text, delta);
        }
    }
}

static void integers_and_floats_follow_each_other(void **state)
{
    struct fixture *f = *state;
    int64_t value;

    set(f, "10");
    assert_int_equal(incr_float(f, 0.5L), 0);
    expect_text(f, "10.5");
    assert_int_equal(incr(f, 1, &value), -ERR_FORMAT);
    assert_int_equal(incr_float(f, 0.5L), 0);
    expect_text(f, "11");
    assert_int_equal(incr(f, 4, &value), 0);
    expect_i64(value, 15);
    expect_text(f, "15");
}

static void a_float_that_is_no_number_is_refused(void **state)
{
    struct fixture *f = *state;

    set(f, "abc");
    assert_int_equal(incr_float(f, 1.0L), -ERR_FORMAT);
    set(f, "1");
    assert_int_equal(incr_float(f, HUGE_VALL), -ERR_RANGE);
    expect_text(f, "1");
}

static double score_after(struct fixture *f, double delta)
{
    struct row_incr result;
    struct buf row;
    double score;

    buf_init(&row, SIZE_MAX);
    assert_int_equal(row_incr_score(buf_bytes(&f->row), delta, next_tag(f), &row, &result), 0);
    take(f, &row);
    assert_int_equal(row_score(buf_bytes(&f->row), &score), 0);
    assert_true((double)result.visible_float >= score && (double)result.visible_float <= score);
    return score;
}

static void scores_are_summed_as_doubles(void **state)
{
    struct fixture *f = *state;
    double want = 0.1;
    uint8_t base[ROW_SCORE_BYTES];
    struct buf row;
    struct rng rng;

    seed_rng(&rng, 2);
    row_score_store(base, want);
    buf_init(&row, SIZE_MAX);
    assert_int_equal(buf_reserve(&row, 64), 0);
    buf_commit(&row, row_value_store(buf_end(&row), next_tag(f), bytes_of(base, 8), 0));
    take(f, &row);
    for (unsigned i = 0; i < 5000; i++) {
        const double delta = ldexp(rng_double(&rng) - 0.5, (int)rng_below(&rng, 80) - 40);
        const double got = score_after(f, delta);

        want += delta;
        assert_true(got >= want && got <= want);
    }
}

static void a_score_may_become_infinite_but_not_undefined(void **state)
{
    struct fixture *f = *state;
    struct row_incr result;
    struct buf row;

    assert_true(isinf(score_after(f, HUGE_VAL)));
    assert_true(isinf(score_after(f, 5.0)));
    buf_init(&row, SIZE_MAX);
    assert_int_equal(row_incr_score(buf_bytes(&f->row), -HUGE_VAL, next_tag(f), &row, &result),
                     -ERR_RANGE);
    expect_u64(row.len, 0);
    buf_deinit(&row);
}

static void extended_numbers_store_and_load_exactly(void **state)
{
    static const long double values[] = {
        0.0L,      1.0L,     -1.0L,     0.1L,       1e4000L,
        -1e-4930L, 1e-4950L, HUGE_VALL, -HUGE_VALL, 18446744073709551615.0L};
    static const uint8_t one[LDOUBLE_BYTES] = {0, 0, 0, 0, 0, 0, 0, 0x80, 0xff, 0x3f};
    uint8_t raw[LDOUBLE_BYTES];
    long double got;

    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(values); i++) {
        ldouble_store(raw, values[i]);
        assert_int_equal(ldouble_load(raw, &got), 0);
        assert_true(got >= values[i] && got <= values[i]);
    }
    ldouble_store(raw, 1.0L);
    expect_bytes(bytes_of(raw, sizeof(raw)), bytes_of(one, sizeof(one)));
    raw[7] = 0; /* Not normalised. */
    assert_int_equal(ldouble_load(raw, &got), -ERR_CORRUPT);
}

static void differences_are_exact(void **state)
{
    struct rng rng;

    (void)state;
    seed_rng(&rng, 3);
    for (unsigned i = 0; i < 10000; i++) {
        const long double a =
            ldexpl((long double)rng_double(&rng) - 0.5L, (int)rng_below(&rng, 120) - 60);
        const long double b =
            ldexpl((long double)rng_double(&rng) - 0.5L, (int)rng_below(&rng, 120) - 60);
        const long double back = fsum_value(fsum_add(fsum_of(a), fsum_diff(b, a)));

        assert_true(back >= b && back <= b);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_counter_from_nothing_is_one_run),
        TEST(an_increment_stands_on_the_value),
        TEST(increments_of_one_batch_add_up),
        TEST(what_is_no_integer_is_refused),
        TEST(overflow_is_refused_in_both_directions),
        TEST(a_run_may_span_more_than_its_own_range),
        TEST(a_collection_is_no_counter),
        TEST(an_expired_value_counts_as_nothing),
        TEST(float_increments_print_what_redis_prints),
        TEST(random_float_increments_print_what_redis_prints),
        TEST(integers_and_floats_follow_each_other),
        TEST(a_float_that_is_no_number_is_refused),
        TEST(scores_are_summed_as_doubles),
        TEST(a_score_may_become_infinite_but_not_undefined),
        TEST(extended_numbers_store_and_load_exactly),
        TEST(differences_are_exact),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
