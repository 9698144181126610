/*
 * The hybrid logical clock: what a start begins with. Two starts from the same bytes, at the same
 * time or one after the other, number their batches alike, and must not give them the same
 * readings.
 */
#include "engine/base/rng.h"

#include "replication/hlc.h"

#include "tests/lib/tcase.h"

#define WALL_MS UINT64_C(1700000000000)
#define LEASE   ((WALL_MS + 2000) << 16)
#define TICKS   200u

static struct hlc begun(struct rng *rng, uint64_t lease)
{
    struct hlc clock = {0};

    hlc_begin(&clock, lease, rng_u64(rng));
    return clock;
}

static void a_clock_never_repeats_and_follows_the_wall(void **state UNUSED)
{
    struct hlc clock = {0};

    expect_u64(hlc_tick(&clock, 5), 5u << 16);
    expect_u64(hlc_tick(&clock, 5), (5u << 16) + 1);
    expect_u64(hlc_tick(&clock, 4), (5u << 16) + 2);
    hlc_observe(&clock, 7u << 16);
    expect_u64(hlc_tick(&clock, 6), (7u << 16) + 1);
    expect_u64(hlc_tick(&clock, 8), 8u << 16);
}

static void a_start_is_above_the_lease_and_not_far(void **state UNUSED)
{
    struct rng rng;

    rng_seed(&rng, 1);
    for (unsigned i = 0; i < 1000; i++) {
        struct hlc clock = begun(&rng, LEASE);
        const uint64_t first = hlc_tick(&clock, WALL_MS);

        assert_true(first > LEASE);
        assert_true(first <= LEASE + (UINT64_C(1) << HLC_BEGIN_BITS));
        /* And in the right millisecond when the wall clock has come there. */
        expect_u64(hlc_tick(&clock, WALL_MS + 3000) >> 16, WALL_MS + 3000);
        expect_u64(hlc_tick(&clock, WALL_MS + 3000) >> 16, WALL_MS + 3000);
    }
}

/* Batch number n of both, each with a clock that stands before the lease, or runs beyond it. */
static void expect_other_readings(struct hlc a, struct hlc b, uint64_t step_ms)
{
    for (unsigned n = 0; n < TICKS; n++)
        assert_true(hlc_tick(&a, WALL_MS + n * step_ms) != hlc_tick(&b, WALL_MS + n * step_ms));
}

static void two_starts_from_one_lease_give_other_readings(void **state UNUSED)
{
    struct rng rng;

    rng_seed(&rng, 2);
    for (unsigned i = 0; i < 100; i++) {
        const struct hlc a = begun(&rng, LEASE);
        const struct hlc b = begun(&rng, LEASE);

        expect_other_readings(a, b, 0);
        expect_other_readings(a, b, 20); /* To twice the lease. */
    }
}

/* Long after: what differs is where each begins within a millisecond. */
static void so_they_do_when_the_lease_has_passed(void **state UNUSED)
{
    struct rng rng;

    rng_seed(&rng, 3);
    for (unsigned i = 0; i < 100; i++) {
        const struct hlc a = begun(&rng, (WALL_MS - 60000) << 16);
        const struct hlc b = begun(&rng, (WALL_MS - 60000) << 16);

        expect_other_readings(a, b, 1);
        expect_other_readings(a, b, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clock_never_repeats_and_follows_the_wall),
        cmocka_unit_test(a_start_is_above_the_lease_and_not_far),
        cmocka_unit_test(two_starts_from_one_lease_give_other_readings),
        cmocka_unit_test(so_they_do_when_the_lease_has_passed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
