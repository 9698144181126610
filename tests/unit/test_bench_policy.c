/*
 * The models of eviction orders: small traces with known outcomes, and two CLOCKs that must agree.
 */
#include "bench/load/bench_dist.h"
#include "bench/policy/policy.h"
#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

/* Plays the letters of `trace` (upper case: a write); the hits as a text of '.' and '+'. */
static void expect_hits(const struct policy_kind *kind, uint32_t capacity, const char *trace,
                        const char *want)
{
    void *policy = kind->create(capacity, 26);
    char got[64] = {0};

    for (size_t i = 0; trace[i] != '\0'; i++) {
        const bool write = trace[i] < 'a';
        const uint32_t key = (uint32_t)(trace[i] - (write ? 'A' : 'a'));
        got[i] = kind->access(policy, key, write) ? '+' : '.';
    }
    expect_str(got, want);
    kind->destroy(policy);
}

static void lru_evicts_the_least_recently_used(void **state UNUSED)
{
    expect_hits(&policy_lru, 3, "abcadbac", "...+..+.");
}

static void clock_spares_what_was_hit(void **state UNUSED)
{
    expect_hits(&policy_clock, 3, "abcaadeab", "...++..+.");
}

static void sieve_evicts_in_place(void **state UNUSED)
{
    expect_hits(&policy_sieve, 3, "abcadaeda", "...+.+.++");
}

static void the_second_touch_admits(void **state UNUSED)
{
    expect_hits(&policy_clock_touch, 3, "aaabbb", "..+..+");
    expect_hits(&policy_sieve_touch, 3, "aaabbb", "..+..+");
    expect_hits(&policy_clock_apart, 3, "aaabbb", "..+..+");
}

static void a_write_makes_its_key_resident(void **state UNUSED)
{
    expect_hits(&policy_clock_touch, 3, "Aab", ".+.");
    expect_hits(&policy_sieve_touch, 3, "Aab", ".+.");
    expect_hits(&policy_clock_apart, 3, "Aab", ".+.");
    expect_hits(&policy_s3fifo, 3, "Aab", ".+.");
}

static void the_ring_and_the_queue_are_the_same_clock(void **state UNUSED)
{
    const struct bench_dist_spec spec = {.kind = BENCH_DIST_ZIPF, .theta = 0.9};
    void *ring = policy_clock_touch.create(100, 2000);
    void *queue = policy_clock_apart.create(100, 2000);
    struct bench_dist dist;
    struct rng rng;

    seed_rng(&rng, 1);
    bench_dist_init(&dist, &spec, 2000, &(struct bench_dist_worker){.count = 1});
    for (int i = 0; i < 200000; i++) {
        const uint32_t key = (uint32_t)bench_dist_next(&dist, &rng);
        assert_true(policy_clock_touch.access(ring, key, false) ==
                    policy_clock_apart.access(queue, key, false));
    }
    expect_u64(policy_clock_touch.admissions(ring), policy_clock_apart.admissions(queue));
    policy_clock_touch.destroy(ring);
    policy_clock_apart.destroy(queue);
}

static void no_order_keeps_more_than_its_room(void **state UNUSED)
{
    static const struct policy_kind *const kinds[] = {
        &policy_lru,   &policy_clock,       &policy_clock_touch, &policy_clock_apart,
        &policy_sieve, &policy_sieve_touch, &policy_s3fifo,      &policy_s3fifo_touch,
    };

    /* A cycle one longer than the room cannot hit every time, and one as long always can. */
    for (size_t k = 0; k < ARRAY_COUNT(kinds); k++) {
        void *policy = kinds[k]->create(50, 51);
        uint32_t misses = 0;
        for (uint32_t i = 0; i < 51 * 100; i++)
            misses += !kinds[k]->access(policy, i % 51, false);
        assert_true(misses >= 100);
        for (uint32_t i = 0; i < 50 * 100; i++)
            kinds[k]->access(policy, i % 50, false);
        for (uint32_t i = 0; i < 50; i++)
            assert_true(kinds[k]->access(policy, i, false));
        kinds[k]->destroy(policy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lru_evicts_the_least_recently_used),
        cmocka_unit_test(clock_spares_what_was_hit),
        cmocka_unit_test(sieve_evicts_in_place),
        cmocka_unit_test(the_second_touch_admits),
        cmocka_unit_test(a_write_makes_its_key_resident),
        cmocka_unit_test(the_ring_and_the_queue_are_the_same_clock),
        cmocka_unit_test(no_order_keeps_more_than_its_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
