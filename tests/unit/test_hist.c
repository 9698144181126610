/*
 * The histogram: bucket borders, precision, percentiles against sorted values.
 */
#include <stdlib.h>

#include "engine/base/hist.h"
#include "engine/base/mem.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

static void every_bucket_starts_where_the_last_one_ends(void **state UNUSED)
{
    expect_u64(hist_bucket(0), 0);
    for (size_t i = 0; i + 1 < HIST_BUCKETS; i++) {
        const uint64_t top = hist_bucket_top(i);
        expect_u64(hist_bucket(top), i);
        expect_u64(hist_bucket(top + 1), i + 1);
    }
}

static void small_values_are_exact_and_large_ones_within_two_percent(void **state UNUSED)
{
    struct rng rng;

    for (uint64_t value = 0; value < 128; value++)
        expect_u64(hist_bucket_top(hist_bucket(value)), value);
    seed_rng(&rng, 1);
    for (int i = 0; i < 10000; i++) {
        const uint64_t value = rng_u64(&rng) >> (24 + rng_below(&rng, 40));
        const uint64_t top = hist_bucket_top(hist_bucket(value));
        assert_true(top >= value);
        assert_true(top - value <= value / 64);
    }
}

static void an_empty_histogram_says_zero(void **state UNUSED)
{
    struct hist *hist = mem_zalloc(sizeof(*hist));

    expect_u64(hist_count(hist), 0);
    expect_u64(hist_min(hist), 0);
    expect_u64(hist_max(hist), 0);
    expect_u64(hist_percentile(hist, 50), 0);
    assert_true(!(hist_mean(hist) > 0));
    mem_free(hist);
}

static void percentiles_of_one_to_a_hundred_are_themselves(void **state UNUSED)
{
    struct hist *hist = mem_alloc(sizeof(*hist));

    hist_reset(hist);
    for (uint64_t value = 1; value <= 100; value++)
        hist_record(hist, value);

    expect_u64(hist_percentile(hist, 0), 1);
    expect_u64(hist_percentile(hist, 1), 1);
    expect_u64(hist_percentile(hist, 50), 50);
    expect_u64(hist_percentile(hist, 99), 99);
    expect_u64(hist_percentile(hist, 99.5), 100);
    expect_u64(hist_percentile(hist, 100), 100);
    expect_u64(hist_count(hist), 100);
    expect_u64(hist_min(hist), 1);
    expect_u64(hist_max(hist), 100);
    expect_u64((uint64_t)(hist_mean(hist) * 10), 505);
    mem_free(hist);
}

static void values_beyond_the_range_count_and_keep_the_maximum(void **state UNUSED)
{
    struct hist *hist = mem_zalloc(sizeof(*hist));

    hist_record_n(hist, UINT64_MAX / 4, 3);
    hist_record_n(hist, 5, 0);

    expect_u64(hist_count(hist), 3);
    expect_u64(hist_percentile(hist, 50), UINT64_MAX / 4);
    expect_u64(hist_max(hist), UINT64_MAX / 4);
    expect_u64(hist_min(hist), UINT64_MAX / 4);
    mem_free(hist);
}

static void a_single_value_is_every_percentile(void **state UNUSED)
{
    struct hist *hist = mem_zalloc(sizeof(*hist));

    hist_record(hist, 1000003);
    expect_u64(hist_percentile(hist, 0), 1000003);
    expect_u64(hist_percentile(hist, 50), 1000003);
    expect_u64(hist_percentile(hist, 100), 1000003);
    mem_free(hist);
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a;
    const uint64_t right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static void percentiles_agree_with_sorted_values_and_merging(void **state UNUSED)
{
    enum {
        COUNT = 5000
    };
    static uint64_t values[COUNT];
    struct hist *all = mem_zalloc(sizeof(*all));
    struct hist *parts = mem_zalloc_array(2, sizeof(*parts));
    struct rng rng;

    seed_rng(&rng, 2);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = rng_u64(&rng) >> (24 + rng_below(&rng, 40));
        hist_record(all, values[i]);
        hist_record(&parts[i % 2], values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), compare_u64);
    hist_merge(&parts[0], &parts[1]);

    for (size_t percent = 1; percent <= 100; percent++) {
        const uint64_t exact = values[COUNT * percent / 100 - 1];
        const uint64_t got = hist_percentile(all, (double)percent);
        assert_true(got >= exact);
        assert_true(got - exact <= exact / 64);
    }
    assert_memory_equal(&parts[0], all, sizeof(*all));
    mem_free(parts);
    mem_free(all);
}

static void merging_with_an_empty_one_changes_nothing(void **state UNUSED)
{
    struct hist *pair = mem_zalloc_array(2, sizeof(*pair));

    hist_record(&pair[0], 7);
    hist_merge(&pair[0], &pair[1]);
    expect_u64(hist_min(&pair[0]), 7);
    expect_u64(hist_count(&pair[0]), 1);
    hist_merge(&pair[1], &pair[0]);
    expect_u64(hist_min(&pair[1]), 7);
    mem_free(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bucket_starts_where_the_last_one_ends),
        cmocka_unit_test(small_values_are_exact_and_large_ones_within_two_percent),
        cmocka_unit_test(an_empty_histogram_says_zero),
        cmocka_unit_test(percentiles_of_one_to_a_hundred_are_themselves),
        cmocka_unit_test(values_beyond_the_range_count_and_keep_the_maximum),
        cmocka_unit_test(a_single_value_is_every_percentile),
        cmocka_unit_test(percentiles_agree_with_sorted_values_and_merging),
        cmocka_unit_test(merging_with_an_empty_one_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
