/*
 * Replicas converge, to what the history of changes means, whatever the order of delivery and the
 * grouping of joins, with garbage collection and replays on; and each rule is needed: without it
 * the same test finds a divergence.
 *
 * TIERRA_PROP_RUNS: how many groups to simulate (default: a few seconds' worth).
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/prop/prop_value_sim.h"

#define RUNS_DEFAULT     300
#define RUNS_CONTROL_MAX 20000

static struct sim sim;

/* Whether all replicas and the oracle agree on all keys, now and later. */
static bool agreed(bool loud)
{
    const uint64_t end_ms = sim_end_ms(&sim);

    for (unsigned key = 0; key < SIM_KEYS; key++) {
        for (uint64_t now_ms = end_ms; now_ms <= end_ms + 45; now_ms += 9) {
            struct sim_shown want;

            oracle_show(&sim, key, now_ms, &want);
            for (unsigned i = 0; i < SIM_REPLICAS; i++) {
                struct sim_shown got;

                sim_show(&sim, i, key, now_ms, &got);
                if (sim_shown_equal(&want, &got))
                    continue;
                if (loud) {
                    printf("key %u, replica %u, at %llu\n", key, i, (unsigned long long)now_ms);
                    sim_shown_print("want", &want);
                    sim_shown_print("got", &got);
                }
                return false;
            }
        }
    }
    return true;
}

/* Whether all replicas show the same. */
static bool converged(void)
{
    const uint64_t end_ms = sim_end_ms(&sim);

    for (unsigned key = 0; key < SIM_KEYS; key++) {
        struct sim_shown first;

        sim_show(&sim, 0, key, end_ms, &first);
        for (unsigned i = 1; i < SIM_REPLICAS; i++) {
            struct sim_shown other;

            sim_show(&sim, i, key, end_ms, &other);
            if (!sim_shown_equal(&first, &other))
                return false;
        }
    }
    return true;
}

static void run_one(uint64_t seed, enum sim_fault fault)
{
    sim_init(&sim, seed, fault);
    const unsigned steps = 40 + (unsigned)rng_below(&sim.rng, 300);
    for (unsigned i = 0; i < steps; i++)
        sim_step(&sim);
    sim_quiesce(&sim);
}

static void replicas_converge_to_what_the_history_means(void **state)
{
    const uint64_t runs = seed_number("TIERRA_PROP_RUNS", RUNS_DEFAULT);
    uint64_t collected = 0;
    uint64_t batches = 0;
    struct rng rng;

    (void)state;
    seed_rng(&rng, 1);
    for (uint64_t run = 0; run < runs; run++) {
        const uint64_t seed = rng_u64(&rng);

        run_one(seed, SIM_SOUND);
        if (!agreed(true))
            fail_msg("run %llu, simulation seed %llu", (unsigned long long)run,
                     (unsigned long long)seed);
        for (unsigned round = 0; round < 2; round++) {
            sim_collect_all(&sim);
            if (!agreed(true))
                fail_msg("run %llu, simulation seed %llu, after collection",
                         (unsigned long long)run, (unsigned long long)seed);
        }
        collected += sim.collected_rows;
        batches += sim.batches_count;
        sim_deinit(&sim);
    }
    printf("%llu groups, %llu batches, %llu rows collected\n", (unsigned long long)runs,
           (unsigned long long)batches, (unsigned long long)collected);
}

/* When all is stable nothing is left of what does not show. */
static void stable_rows_hold_no_garbage(void **state)
{
    struct rng rng;

    (void)state;
    seed_rng(&rng, 2);
    for (unsigned run = 0; run < 100; run++) {
        run_one(rng_u64(&rng), SIM_SOUND);
        sim.now_ms += 1000; /* All expiry times have passed. */
        for (unsigned round = 0; round < 3; round++)
            sim_collect_all(&sim);
        for (unsigned key = 0; key < SIM_COUNTER_KEY; key++) {
            struct sim_shown shown;

            sim_show(&sim, 0, key, sim_end_ms(&sim), &shown);
            for (unsigned i = 0; !shown.present && i < SIM_REPLICAS; i++)
                expect_u64(sim_key_row(&sim, i, key).len, 1);
        }
        sim_deinit(&sim);
    }
}

static void expect_caught(enum sim_fault fault, uint64_t stream)
{
    unsigned caught = 0;
    unsigned run = 0;
    struct rng rng;

    seed_rng(&rng, stream);
    for (; run < RUNS_CONTROL_MAX && caught == 0; run++) {
        run_one(rng_u64(&rng), fault);
        caught += fault == SIM_NO_NEW_RUNS ? !agreed(false) : !converged();
        sim_deinit(&sim);
    }
    printf("caught in run %u\n", run);
    assert_true(caught != 0);
}

static void dropping_losers_at_once_is_caught(void **state)
{
    (void)state;
    expect_caught(SIM_EAGER_LOSERS, 10);
}

static void dropping_floors_at_once_is_caught(void **state)
{
    (void)state;
    expect_caught(SIM_EAGER_FLOORS, 11);
}

static void delivery_that_is_not_causal_is_caught(void **state)
{
    (void)state;
    expect_caught(SIM_NOT_CAUSAL, 12);
}

static void dropping_expired_rows_by_the_own_clock_is_caught(void **state)
{
    (void)state;
    expect_caught(SIM_EAGER_EXPIRED, 13);
}

static void going_on_with_a_counted_run_is_caught(void **state)
{
    (void)state;
    expect_caught(SIM_NO_NEW_RUNS, 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_converge_to_what_the_history_means),
        cmocka_unit_test(stable_rows_hold_no_garbage),
        cmocka_unit_test(dropping_losers_at_once_is_caught),
        cmocka_unit_test(dropping_floors_at_once_is_caught),
        cmocka_unit_test(delivery_that_is_not_causal_is_caught),
        cmocka_unit_test(dropping_expired_rows_by_the_own_clock_is_caught),
        cmocka_unit_test(going_on_with_a_counted_run_is_caught),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
