/*
 * The distributions of the load generator: exact probabilities, the bijection, the notation.
 */
#include <math.h>
#include <stdbool.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "bench/load/bench_dist.h"
#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define DRAWS 200000

static struct bench_dist make(const char *text, uint64_t n)
{
    struct bench_dist_spec spec;
    struct bench_dist dist;

    expect_i64(bench_dist_parse(text, &spec), 0);
    bench_dist_init(&dist, &spec, n, &(struct bench_dist_worker){.index = 0, .count = 1});
    return dist;
}

/*
 * Chi-square over the ranks, those from the first with less than 20 expected draws on taken
 * together. The bound is eight standard deviations above the mean: it fails by chance never.
 */
static void expect_zipf(uint64_t n, double theta, struct rng *rng)
{
    uint64_t *counts = mem_zalloc_array(n, sizeof(*counts));
    struct bench_zipf zipf;
    double norm = 0.0;
    double chi2 = 0.0;
    double rest_expected = 0.0;
    double rest_count = 0.0;
    double cells = 0.0;

    bench_zipf_init(&zipf, n, theta);
    for (int i = 0; i < DRAWS; i++) {
        const uint64_t rank = bench_zipf_next(&zipf, rng);
        assert_true(rank < n);
        counts[rank]++;
    }
    for (uint64_t k = 1; k <= n; k++)
        norm += pow((double)k, -theta);
    for (uint64_t k = 1; k <= n; k++) {
        const double expected = DRAWS * pow((double)k, -theta) / norm;
        const double count = (double)counts[k - 1];
        if (expected < 20.0) {
            rest_expected += expected;
            rest_count += count;
            continue;
        }
        chi2 += (count - expected) * (count - expected) / expected;
        cells += 1.0;
    }
    if (rest_expected >= 20.0) {
        chi2 += (rest_count - rest_expected) * (rest_count - rest_expected) / rest_expected;
        cells += 1.0;
    }
    if (chi2 > cells + 8.0 * sqrt(2.0 * cells) + 8.0) {
        print_error("n %" PRIu64 " theta %.2f: chi2 %.1f over %.0f cells\n", n, theta, chi2, cells);
        fail();
    }
    mem_free(counts);
}

static void zipf_draws_follow_the_exact_probabilities(void **state UNUSED)
{
    const uint64_t sizes[] = {1, 2, 10, 1000, 100000};
    const double thetas[] = {0.3, 0.99, 1.0, 1.3, 3.0};
    struct rng rng;

    seed_rng(&rng, 1);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        for (size_t j = 0; j < ARRAY_COUNT(thetas); j++)
            expect_zipf(sizes[i], thetas[j], &rng);
    }
}

static void ranks_map_to_indexes_one_to_one(void **state UNUSED)
{
    bool seen[400];

    for (uint64_t n = 1; n <= ARRAY_COUNT(seen); n++) {
        const struct bench_dist dist = make("zipf", n);
        memset(seen, 0, sizeof(seen));
        for (uint64_t rank = 0; rank < n; rank++) {
            const uint64_t index = bench_dist_spread(&dist, rank);
            assert_true(index < n);
            assert_false(seen[index]);
            seen[index] = true;
        }
    }
}

static void neighbours_in_rank_lie_apart_also_beyond_32_bits(void **state UNUSED)
{
    const uint64_t n = UINT64_C(10000000000);
    const struct bench_dist dist = make("zipf", n);

    for (uint64_t rank = 0; rank < 1000; rank++) {
        const uint64_t a = bench_dist_spread(&dist, rank);
        const uint64_t b = bench_dist_spread(&dist, rank + 1);
        assert_true(a < n);
        assert_true((a > b ? a - b : b - a) > n / 10);
    }
}

static void hotspot_gives_its_fraction_its_probability(void **state UNUSED)
{
    struct bench_dist dist = make("hotspot:0.1:0.7", 1000);
    uint64_t counts[1000] = {0};
    uint64_t hot = 0;
    struct rng rng;

    seed_rng(&rng, 2);
    for (int i = 0; i < DRAWS; i++)
        counts[bench_dist_next(&dist, &rng)]++;
    for (uint64_t rank = 0; rank < 100; rank++)
        hot += counts[bench_dist_spread(&dist, rank)];
    assert_true(fabs((double)hot / DRAWS - 0.7) < 0.01);
}

static void uniform_reaches_every_index_alike(void **state UNUSED)
{
    struct bench_dist dist = make("uniform", 100);
    uint64_t counts[100] = {0};
    struct rng rng;

    seed_rng(&rng, 3);
    for (int i = 0; i < DRAWS; i++)
        counts[bench_dist_next(&dist, &rng)]++;
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++)
        assert_true(fabs((double)counts[i] - DRAWS / 100.0) < 8.0 * sqrt(DRAWS / 100.0));
}

static void sequential_workers_share_the_indexes(void **state UNUSED)
{
    struct bench_dist_spec spec;
    bool seen[90] = {false};

    expect_i64(bench_dist_parse("sequential", &spec), 0);
    for (uint64_t worker = 0; worker < 3; worker++) {
        struct bench_dist dist;
        bench_dist_init(&dist, &spec, ARRAY_COUNT(seen),
                        &(struct bench_dist_worker){.index = worker, .count = 3});
        for (size_t i = 0; i < ARRAY_COUNT(seen) / 3; i++) {
            const uint64_t index = bench_dist_next(&dist, NULL);
            assert_false(seen[index]);
            seen[index] = true;
        }
        /* And around. */
        expect_u64(bench_dist_next(&dist, NULL), worker);
    }
}

static void latest_reads_stay_close_behind_the_writes(void **state UNUSED)
{
    _Atomic uint64_t latest = 0;
    struct bench_dist_spec spec;
    struct bench_dist dist;
    struct rng rng;
    int close = 0;

    seed_rng(&rng, 4);
    expect_i64(bench_dist_parse("latest", &spec), 0);
    bench_dist_init(&dist, &spec, 1000,
                    &(struct bench_dist_worker){.index = 0, .count = 1, .latest = &latest});
    for (uint64_t i = 0; i < 1500; i++)
        expect_u64(bench_dist_next_write(&dist, &rng), i % 1000);
    for (int i = 0; i < 1000; i++) {
        const uint64_t index = bench_dist_next(&dist, &rng);
        assert_true(index < 1000);
        close += index >= 400 && index < 500;
    }
    /* The newest hundred of a thousand have 0.69 of the weight at theta 0.99. */
    assert_true(close > 600);
    assert_true(close < 780);
}

static void the_notation_has_defaults_and_limits(void **state UNUSED)
{
    static const char *const wrong[] = {
        "",          "zip",       "zipfy",     "zipf:",    "zipf:a", "zipf:1:2", "hotspot:0.1",
        "uniform:1", "hotspot::", "zipf:0.9x", "zipf:nan", "latest:"};
    static const char *const beyond[] = {"zipf:0",        "zipf:-1",       "zipf:11",
                                         "hotspot:0:0.5", "hotspot:1:0.5", "hotspot:0.1:1.1"};
    struct bench_dist_spec spec;

    expect_i64(bench_dist_parse("zipf", &spec), 0);
    assert_true(fabs(spec.theta - 0.99) < 1e-9);
    expect_i64(bench_dist_parse("hotspot:0.25:0.5", &spec), 0);
    assert_true(fabs(spec.hot_fraction - 0.25) < 1e-9);
    for (size_t i = 0; i < ARRAY_COUNT(wrong); i++)
        expect_i64(bench_dist_parse(wrong[i], &spec), -ERR_SYNTAX);
    for (size_t i = 0; i < ARRAY_COUNT(beyond); i++)
        expect_i64(bench_dist_parse(beyond[i], &spec), -ERR_RANGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zipf_draws_follow_the_exact_probabilities),
        cmocka_unit_test(ranks_map_to_indexes_one_to_one),
        cmocka_unit_test(neighbours_in_rank_lie_apart_also_beyond_32_bits),
        cmocka_unit_test(hotspot_gives_its_fraction_its_probability),
        cmocka_unit_test(uniform_reaches_every_index_alike),
        cmocka_unit_test(sequential_workers_share_the_indexes),
        cmocka_unit_test(latest_reads_stay_close_behind_the_writes),
        cmocka_unit_test(the_notation_has_defaults_and_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
