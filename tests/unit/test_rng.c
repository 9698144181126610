/*
 * The generator: repeatable, known values, even spread.
 */
#include "engine/base/rng.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

static void equal_seeds_give_equal_numbers(void **state UNUSED)
{
    struct rng a;
    struct rng b;

    rng_seed(&a, 7);
    rng_seed(&b, 7);
    for (int i = 0; i < 100; i++)
        expect_u64(rng_u64(&a), rng_u64(&b));
    rng_seed(&b, 8);
    assert_true(rng_u64(&a) != rng_u64(&b));
}

static void the_reference_state_gives_the_reference_numbers(void **state UNUSED)
{
    /* From the authors' C code, started with the state 1, 2, 3, 4. */
    struct rng rng = {.state = {1, 2, 3, 4}};
    const uint64_t want[] = {11520, 0, 1509978240, 1215971899390074240};

    for (size_t i = 0; i < ARRAY_COUNT(want); i++)
        expect_u64(rng_u64(&rng), want[i]);
}

static void seeding_follows_splitmix64(void **state UNUSED)
{
    struct rng rng;

    rng_seed(&rng, 0);
    expect_u64(rng.state[0], 0xe220a8397b1dcdaf);
    expect_u64(rng.state[1], 0x6e789e6aa1b965f4);
}

static void bounded_draws_stay_below_and_reach_every_value(void **state UNUSED)
{
    struct rng rng;
    uint64_t counts[7] = {0};

    seed_rng(&rng, 1);
    for (int i = 0; i < 70000; i++) {
        const uint64_t value = rng_below(&rng, 7);
        assert_true(value < 7);
        counts[value]++;
    }
    /* The standard deviation is 93: ten of them are no chance. */
    for (size_t i = 0; i < 7; i++)
        assert_true(counts[i] > 9000 && counts[i] < 11000);
    expect_u64(rng_below(&rng, 1), 0);
    assert_true(rng_below(&rng, UINT64_MAX) < UINT64_MAX);
}

static void large_bounds_are_not_biased(void **state UNUSED)
{
    /* With a plain remainder the lower third would come twice as often as the rest. */
    const uint64_t n = UINT64_MAX / 3 * 2;
    struct rng rng;
    int low = 0;

    seed_rng(&rng, 2);
    for (int i = 0; i < 30000; i++)
        low += rng_below(&rng, n) < n / 2;
    assert_true(low > 14000 && low < 16000);
}

static void fractions_are_below_one(void **state UNUSED)
{
    struct rng rng;
    double sum = 0;

    seed_rng(&rng, 3);
    for (int i = 0; i < 10000; i++) {
        const double value = rng_double(&rng);
        assert_true(value >= 0.0 && value < 1.0);
        sum += value;
    }
    assert_true(sum > 4500 && sum < 5500);
}

static void bytes_fill_exactly_the_length(void **state UNUSED)
{
    struct rng rng;
    uint8_t out[20] = {0};
    uint8_t again[20] = {0};

    rng_seed(&rng, 5);
    rng_bytes(&rng, out, 13);
    rng_seed(&rng, 5);
    rng_bytes(&rng, again, 16);

    assert_memory_equal(out, again, 13);
    expect_bytes(bytes_of(out + 13, 7), BYTES_LIT("\0\0\0\0\0\0\0"));
}

static void the_system_gives_other_bytes_each_time(void **state UNUSED)
{
    struct rng a;
    struct rng b;
    uint8_t secret[1000] = {0};

    expect_i64(rng_seed_from_os(&a), 0);
    expect_i64(rng_seed_from_os(&b), 0);
    assert_true(rng_u64(&a) != rng_u64(&b));
    expect_i64(rng_os_bytes(secret, sizeof(secret)), 0);
    /* The last hundred bytes are all zero with a chance of 2^-800. */
    assert_true(bytes_find_u8(bytes_of(secret + 900, 100), secret[899]) < 100 || secret[900] != 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_seeds_give_equal_numbers),
        cmocka_unit_test(the_reference_state_gives_the_reference_numbers),
        cmocka_unit_test(seeding_follows_splitmix64),
        cmocka_unit_test(bounded_draws_stay_below_and_reach_every_value),
        cmocka_unit_test(large_bounds_are_not_biased),
        cmocka_unit_test(fractions_are_below_one),
        cmocka_unit_test(bytes_fill_exactly_the_length),
        cmocka_unit_test(the_system_gives_other_bytes_each_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
