/*
 * What is measured: the arithmetic of the open loop, the schedules, errors and merging.
 */
#include <math.h>
#include <stdio.h>

#include "bench/load/bench_arrival.h"
#include "bench/load/bench_stats.h"
#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define MS UINT64_C(1000000)

static void expect_near(uint64_t got, uint64_t want, double part)
{
    if (fabs((double)got - (double)want) <= part * (double)want)
        return;
    print_error("got %" PRIu64 ", want about %" PRIu64 "\n", got, want);
    fail();
}

static struct bench_mix mix_of(const char *text)
{
    struct bench_mix mix;

    assert_int_equal(bench_mix_parse(text, &mix), 0);
    return mix;
}

/*
 * A server that takes 0.1 ms, but stands still from 1,000 to 2,000 ms; a request every
 * millisecond for three seconds, one in flight at a time. The one that meets the stall is sent, the
 * others of that second wait for it. A closed loop would see one slow request.
 */
static void a_stall_shows_in_every_request_it_would_have_hit(void **state UNUSED)
{
    const uint64_t stall_ns = 1000 * MS;
    const uint64_t stall_end_ns = 2000 * MS;
    const struct bench_mix mix = mix_of("get");
    struct bench_arrival arrival;
    struct bench_stats stats;

    bench_stats_init(&stats, &mix, true);
    bench_arrival_init(&arrival, BENCH_ARRIVAL_UNIFORM,
                       &(struct bench_arrival_share){.rate = 1000.0, .count = 1}, 0, NULL);
    for (int i = 0; i < 3000; i++) {
        const uint64_t intended_ns = bench_arrival_at_ns(&arrival);
        const bool waits = intended_ns > stall_ns && intended_ns < stall_end_ns;
        const uint64_t sent_ns = waits ? stall_end_ns : intended_ns;
        const uint64_t begun_ns = sent_ns == stall_ns ? stall_end_ns : sent_ns;
        const struct bench_timing timing = {intended_ns, sent_ns, begun_ns + MS / 10};
        bench_stats_record(&stats, BENCH_OP_GET, &timing);
        bench_arrival_advance(&arrival, NULL);
    }

    const struct hist *latency = stats.ops[BENCH_OP_GET].latency;
    const struct hist *service = stats.ops[BENCH_OP_GET].service;
    expect_u64(hist_count(latency), 3000);
    expect_near(hist_percentile(latency, 50.0), MS / 10, 0.02);
    /* 2,000 quick ones, then 1,000 that waited 0 to 1,000 ms. */
    expect_near(hist_percentile(latency, 90.0), 700 * MS, 0.02);
    expect_near(hist_max(latency), 1000 * MS, 0.02);
    /* The service time knows of one. */
    expect_near(hist_percentile(service, 99.9), MS / 10, 0.02);
    expect_near(hist_max(service), 1000 * MS, 0.02);
    bench_stats_deinit(&stats);
}

static void uniform_schedules_of_several_workers_interleave(void **state UNUSED)
{
    for (uint32_t worker = 0; worker < 4; worker++) {
        struct bench_arrival arrival;
        bench_arrival_init(
            &arrival, BENCH_ARRIVAL_UNIFORM,
            &(struct bench_arrival_share){.rate = 1000.0, .index = worker, .count = 4}, 5 * MS,
            NULL);
        for (uint64_t i = 0; i < 100; i++) {
            expect_u64(bench_arrival_at_ns(&arrival), (5 + worker + 4 * i) * MS);
            bench_arrival_advance(&arrival, NULL);
        }
    }
}

static void poisson_gaps_have_the_mean_and_the_tail(void **state UNUSED)
{
    const int count = 100000;
    struct bench_arrival arrival;
    struct rng rng;
    int long_gaps = 0;

    seed_rng(&rng, 1);
    bench_arrival_init(&arrival, BENCH_ARRIVAL_POISSON,
                       &(struct bench_arrival_share){.rate = 20000.0, .index = 1, .count = 2}, 0,
                       &rng);
    for (int i = 0; i < count; i++) {
        const double before_ns = arrival.next_ns;
        bench_arrival_advance(&arrival, &rng);
        assert_true(arrival.next_ns >= before_ns);
        long_gaps += arrival.next_ns - before_ns > arrival.gap_ns;
    }
    /* Half the rate is this worker's: 100 microseconds a gap. */
    expect_near((uint64_t)arrival.next_ns, (uint64_t)count * MS / 10, 0.03);
    assert_true(fabs((double)long_gaps / count - exp(-1.0)) < 0.015);
}

static void requests_that_were_due_are_counted_to_the_end(void **state UNUSED)
{
    struct bench_arrival arrival;

    bench_arrival_init(&arrival, BENCH_ARRIVAL_UNIFORM,
                       &(struct bench_arrival_share){.rate = 1000.0, .count = 1}, 0, NULL);
    expect_u64(bench_arrival_skip_until(&arrival, 10 * MS, NULL), 10);
    expect_u64(bench_arrival_skip_until(&arrival, 10 * MS, NULL), 0);
    expect_u64(bench_arrival_at_ns(&arrival), 10 * MS);
}

static void add_error(struct bench_stats *stats, const char *text)
{
    bench_stats_error(stats, BENCH_OP_SET, text, strlen(text));
}

static void errors_are_counted_by_their_first_word(void **state UNUSED)
{
    const struct bench_mix mix = mix_of("set");
    struct bench_stats stats;
    struct bench_stats sum;
    char text[32];

    bench_stats_init(&stats, &mix, false);
    bench_stats_init(&sum, &mix, false);
    add_error(&stats, "OOM command not allowed");
    add_error(&stats, "OOM other reason");
    add_error(&stats, "LOADING");
    bench_stats_merge(&sum, &stats);
    bench_stats_merge(&sum, &stats);
    expect_u64(sum.word_count, 2);
    expect_str(sum.words[0].word, "OOM");
    expect_str(sum.words[0].sample, "OOM command not allowed");
    expect_u64(sum.words[0].count, 4);
    expect_u64(sum.words[1].count, 2);
    expect_u64(bench_stats_errors(&sum), 6);

    for (unsigned i = 0; i < 40; i++) {
        snprintf(text, sizeof(text), "E%u no", i);
        add_error(&stats, text);
    }
    expect_u64(stats.word_count, BENCH_ERROR_WORDS_MAX);
    expect_u64(stats.other_errors, 40 + 2 - BENCH_ERROR_WORDS_MAX);
    bench_stats_reset(&stats);
    expect_u64(bench_stats_errors(&stats), 0);
    bench_stats_deinit(&stats);
    bench_stats_deinit(&sum);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stall_shows_in_every_request_it_would_have_hit),
        cmocka_unit_test(uniform_schedules_of_several_workers_interleave),
        cmocka_unit_test(poisson_gaps_have_the_mean_and_the_tail),
        cmocka_unit_test(requests_that_were_due_are_counted_to_the_end),
        cmocka_unit_test(errors_are_counted_by_their_first_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
