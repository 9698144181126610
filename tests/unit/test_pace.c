/*
 * The pace of writers: a simulated node whose memory fills at the pace and drains at a given rate.
 */
#include "engine/base/attr.h"
#include "engine/base/num.h"

#include "engine/space/pace.h"

#include "tests/lib/tcase.h"

#define MIB       (UINT64_C(1) << 20)
#define NS_PER_MS UINT64_C(1000000)
#define ITEM      1100 /* Bytes of one write. */

struct sim {
    struct pace pace;
    struct pace_debt debt;
    uint64_t now_ns;
    uint64_t used;
    uint64_t base; /* Of `used`: does not drain. */
    uint64_t drained;
    uint64_t drain_bytes_sec;
    uint64_t soft;
    uint64_t limit;
    uint64_t admitted;     /* Bytes. */
    uint64_t wait_ns_max;  /* In the last phase. */
    uint64_t used_max;     /* In the last phase. */
    uint64_t slowest_tick; /* Bytes admitted in the worst 100 ms of the last phase. */
    uint64_t next_ns[64];  /* When client i may send. */
};

static void sim_init(struct sim *s, uint64_t limit, uint64_t drain)
{
    *s = (struct sim){.now_ns = 1000 * NS_PER_MS,
                      .limit = limit,
                      .soft = limit / 100 * 85,
                      .base = limit / 4,
                      .used = limit / 4,
                      .drain_bytes_sec = drain};
}

/* Each of 64 clients sends its next write as soon as the last one was admitted; steps of 1 ms. */
static void sim_run(struct sim *s, uint64_t ms)
{
    uint64_t tick = 0;

    s->wait_ns_max = 0;
    s->used_max = 0;
    s->slowest_tick = UINT64_MAX;
    for (uint64_t i = 0; i < ms; i++) {
        pace_set(&s->pace, s->used, s->soft, s->limit, &s->debt);
        for (size_t c = 0; c < 64; c++) {
            /* A client alone manages two writes in a millisecond: 128,000 a second together. */
            for (int n = 0; n < 2 && s->next_ns[c] <= s->now_ns; n++) {
                const uint64_t wait_ns = pace_admit(&s->pace, s->now_ns, ITEM);
                s->wait_ns_max = u64_max(s->wait_ns_max, wait_ns);
                s->next_ns[c] = s->now_ns + wait_ns;
                s->used += ITEM;
                s->admitted += ITEM;
                tick += ITEM;
            }
        }
        const uint64_t gone = u64_min(s->used - s->base, s->drain_bytes_sec / 1000);
        s->used -= gone;
        s->drained += gone;
        s->now_ns += NS_PER_MS;
        if (i % 10 == 9)
            pace_observe(&s->pace, s->now_ns, s->drained, s->used > s->soft);
        s->used_max = u64_max(s->used_max, s->used);
        if (i % 100 == 99) {
            s->slowest_tick = u64_min(s->slowest_tick, tick);
            tick = 0;
        }
    }
}

static void nobody_waits_before_the_pace_is_first_set(void **state UNUSED)
{
    struct pace pace = {0};

    expect_u64(pace_admit(&pace, 1000 * NS_PER_MS, ITEM), 0);
}

static void nobody_waits_below_the_soft_limit(void **state)
{
    struct sim s;

    (void)state;
    sim_init(&s, 256 * MIB, 200 * MIB);

    sim_run(&s, 5000);

    assert_int_equal(s.wait_ns_max, 0);
}

static void without_a_budget_only_debt_counts(void **state)
{
    struct pace p = {0};
    struct pace_debt debt = {.level0_files = 1};

    (void)state;
    pace_set(&p, 1000 * MIB, 0, 0, &debt);
    assert_int_equal(pace_admit(&p, 1, 100 * MIB), 0);
    assert_true(p.bytes_sec == UINT64_MAX);

    debt.level0_files = 40;
    pace_set(&p, 1000 * MIB, 0, 0, &debt);
    assert_true(p.bytes_sec < PACE_DEBT_BYTES_SEC / 8);
}

/* Whatever the drain is, writers end up at it, without gaps, and memory within the limit. */
static void inflow_settles_at_the_drain(void **state)
{
    static const uint64_t drains[] = {4 * MIB, 20 * MIB, 60 * MIB, 100 * MIB};
    static const uint64_t limits[] = {32 * MIB, 64 * MIB, 256 * MIB, 1024 * MIB};

    (void)state;
    for (size_t d = 0; d < sizeof(drains) / sizeof(drains[0]); d++) {
        for (size_t l = 0; l < sizeof(limits) / sizeof(limits[0]); l++) {
            struct sim s;
            sim_init(&s, limits[l], drains[d]);
            sim_run(&s, 60000);
            const uint64_t before = s.admitted;
            sim_run(&s, 10000);
            const uint64_t rate = (s.admitted - before) / 10;
            assert_in_range(rate, drains[d] / 100 * 95, drains[d] / 100 * 105);
            assert_true(s.used_max <= s.limit);
            assert_true(s.slowest_tick >= drains[d] / 10 / 2);
        }
    }
}

/* 64 clients share the rate: nobody waits much longer than 64 writes take. */
static void waits_are_bounded_by_what_is_ahead(void **state)
{
    struct sim s;

    (void)state;
    sim_init(&s, 64 * MIB, 10 * MIB);
    sim_run(&s, 20000);
    sim_run(&s, 10000);

    assert_true(s.wait_ns_max <= 4 * UINT64_C(64) * ITEM * 1000 * NS_PER_MS / (10 * MIB));
}

static void it_follows_a_drain_that_changes(void **state)
{
    static const uint64_t drains[] = {80 * MIB, 10 * MIB, 80 * MIB, 30 * MIB};
    struct sim s;

    (void)state;
    sim_init(&s, 256 * MIB, drains[0]);
    for (size_t i = 0; i < sizeof(drains) / sizeof(drains[0]); i++) {
        s.drain_bytes_sec = drains[i];
        sim_run(&s, 10000);
        assert_true(s.used_max <= s.limit);
        const uint64_t before = s.admitted;
        sim_run(&s, 5000);
        assert_in_range((s.admitted - before) / 5, drains[i] / 100 * 90, drains[i] / 100 * 110);
    }
}

static void a_stop_of_the_drain_stops_nobody_for_good(void **state)
{
    struct sim s;

    (void)state;
    sim_init(&s, 256 * MIB, 50 * MIB);
    sim_run(&s, 10000);
    s.drain_bytes_sec = 0;

    sim_run(&s, 3000);

    assert_true(s.slowest_tick >= PACE_BYTES_SEC_MIN / 10 / 2);
    assert_true(s.wait_ns_max <= PACE_WAIT_NS_MAX);
    assert_true(s.used_max <= s.limit / 100 * 103);
}

/* Each further file takes a part away; never so much that it is a cliff. */
static void debt_slows_by_steps(void **state)
{
    struct pace p = {0};
    uint64_t last = PACE_DEBT_BYTES_SEC;

    (void)state;
    for (uint64_t files = 17; files <= 56; files++) {
        const struct pace_debt debt = {.level0_files = files};
        pace_set(&p, 0, 0, 0, &debt);
        assert_true(p.bytes_sec < last);
        assert_true(p.bytes_sec > last / 4 * 3);
        last = p.bytes_sec;
    }
    const struct pace_debt all = {.level0_files = UINT64_MAX, .pending_bytes = UINT64_MAX};
    pace_set(&p, 0, 0, 0, &all);
    assert_true(p.bytes_sec == PACE_BYTES_SEC_MIN);
}

static void extreme_figures_do_no_harm(void **state)
{
    struct pace p = {0};
    const struct pace_debt none = {.level0_files = 0};

    (void)state;
    pace_observe(&p, 1, UINT64_MAX, true);
    pace_observe(&p, 1 + 10 * NS_PER_MS, 0, true);
    pace_set(&p, UINT64_MAX, 85, 100, &none);
    assert_true(p.bytes_sec >= PACE_BYTES_SEC_MIN);
    assert_true(pace_admit(&p, 0, UINT64_MAX) <= PACE_WAIT_NS_MAX);
    assert_true(pace_admit(&p, 0, UINT64_MAX) <= PACE_WAIT_NS_MAX);
    assert_true(pace_admit(&p, 1, 1) <= PACE_WAIT_NS_MAX);
}

/* The clock does not save up: after a pause no more than the burst goes at once. */
static void a_pause_is_not_saved_up(void **state)
{
    struct pace p = {.bytes_sec = 10 * MIB};
    uint64_t bytes = 0;

    (void)state;
    (void)pace_admit(&p, NS_PER_MS, ITEM);
    while (pace_admit(&p, 3600 * 1000 * NS_PER_MS, ITEM) == 0)
        bytes += ITEM;

    assert_in_range(bytes, 10 * MIB * PACE_BURST_NS / (1000 * NS_PER_MS),
                    10 * MIB * PACE_BURST_NS / (1000 * NS_PER_MS) + 2 * ITEM);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_waits_before_the_pace_is_first_set),
        cmocka_unit_test(nobody_waits_below_the_soft_limit),
        cmocka_unit_test(without_a_budget_only_debt_counts),
        cmocka_unit_test(inflow_settles_at_the_drain),
        cmocka_unit_test(waits_are_bounded_by_what_is_ahead),
        cmocka_unit_test(it_follows_a_drain_that_changes),
        cmocka_unit_test(a_stop_of_the_drain_stops_nobody_for_good),
        cmocka_unit_test(debt_slows_by_steps),
        cmocka_unit_test(extreme_figures_do_no_harm),
        cmocka_unit_test(a_pause_is_not_saved_up),
    };

    return cmocka_run_group_tests_name("pace", tests, NULL, NULL);
}
