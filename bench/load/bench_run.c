/* Starting, watching and ending the workers. */
#include "bench/load/bench_run.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"

#include "bench/load/bench_load.h"
#include "bench/load/bench_worker.h"

#define NS_PER_S          1e9
#define POLL_NS           20000000
#define LOAD_PIPELINE_MIN 32 /* Preloads are about throughput. */
#define LOAD_INTERVAL_S   1.0
#define EXIT_INTERRUPTED  130

/* A phase under way. */
struct phase {
    const struct bench_plan *plan;
    const struct bench_options *options;
    const struct bench_server *server;
    bool load;
    struct bench_shared shared;
    struct bench_worker **workers;
    uint32_t started;
    uint64_t begin_ns;    /* Sending starts. */
    uint64_t measured_ns; /* The measured time starts. */
    uint64_t line_at_ns;  /* The next live line. */
    uint64_t line_ns;     /* The last one. */
    uint64_t load_done;
    uint64_t load_total;
    bool measuring;
    struct bench_result *result;
};

static void stop_signals(sigset_t *out)
{
    sigemptyset(out);
    sigaddset(out, SIGINT);
    sigaddset(out, SIGTERM);
}

void bench_run_setup(void)
{
    sigset_t signals;

    stop_signals(&signals);
    CHECK(pthread_sigmask(SIG_BLOCK, &signals, NULL) == 0);
}

static double interval_s(const struct phase *phase)
{
    return phase->load ? LOAD_INTERVAL_S : phase->options->interval_s;
}

static double ms(uint64_t ns)
{
    return (double)ns / 1e6;
}

static void print_load_line(const struct phase *phase, const struct bench_interval *interval,
                            double rate, double elapsed_s)
{
    const double mean_rate = (double)phase->load_done / elapsed_s;
    const double left = (double)(phase->load_total - phase->load_done);

    fprintf(stderr,
            "preload %5.1f %%  %" PRIu64 " of %" PRIu64 " commands  %.0f/s  eta %.0f s  p99 %.1f ms"
            "  max %.1f ms  errors %" PRIu64 "\n",
            100.0 * (double)phase->load_done / (double)u64_max(1, phase->load_total),
            phase->load_done, phase->load_total, rate, mean_rate > 0.0 ? left / mean_rate : 0.0,
            ms(hist_percentile(&interval->latency, 99.0)), ms(hist_max(&interval->latency)),
            interval->errors);
}

static void print_run_line(const struct phase *phase, const struct bench_interval *interval,
                           double rate, double elapsed_s)
{
    fprintf(stderr,
            "%7.1f s  %9.0f/s  mean %.3f  p50 %.3f  p99 %.3f  p99.9 %.3f  max %.3f ms"
            "  errors %" PRIu64 "%s\n",
            elapsed_s, rate, hist_mean(&interval->latency) / 1e6,
            ms(hist_percentile(&interval->latency, 50.0)),
            ms(hist_percentile(&interval->latency, 99.0)),
            ms(hist_percentile(&interval->latency, 99.9)), ms(hist_max(&interval->latency)),
            interval->errors, phase->measuring ? "" : "  (warm-up)");
}

static void live_line(struct phase *phase, uint64_t now_ns)
{
    struct bench_interval *interval = mem_zalloc(sizeof(*interval));
    const double span_s = (double)(now_ns - phase->line_ns) / NS_PER_S;
    const double elapsed_s = (double)(now_ns - phase->begin_ns) / NS_PER_S;

    for (uint32_t i = 0; i < phase->started; i++)
        bench_worker_take_interval(phase->workers[i], interval);
    const double rate = (double)hist_count(&interval->latency) / span_s;
    phase->load_done += hist_count(&interval->latency) + interval->errors;
    if (phase->load)
        print_load_line(phase, interval, rate, elapsed_s);
    else
        print_run_line(phase, interval, rate, elapsed_s);
    phase->line_ns = now_ns;
    phase->line_at_ns = now_ns + (uint64_t)(interval_s(phase) * NS_PER_S);
    mem_free(interval);
}

static struct bench_worker *create_worker(struct phase *phase, uint32_t index)
{
    const struct bench_options *options = phase->options;
    const uint32_t count = options->threads;
    const uint64_t requests = phase->load ? 0 : options->requests;
    const uint64_t share = requests / count + (index < requests % count);
    const uint32_t load_pipeline =
        options->pipeline > LOAD_PIPELINE_MIN ? options->pipeline : LOAD_PIPELINE_MIN;
    const struct bench_worker_config config = {
        .plan = phase->plan,
        .shared = &phase->shared,
        .index = index,
        .clients = options->clients / count + (index < options->clients % count),
        .pipeline = phase->load ? load_pipeline : options->pipeline,
        .quota = requests == 0 ? UINT64_MAX : share,
        .load = phase->load,
    };

    return bench_worker_create(&config, &phase->result->failure);
}

static int start_workers(struct phase *phase)
{
    const struct bench_options *options = phase->options;
    const bool by_time = !phase->load && options->requests == 0;
    const double seconds = options->warmup_s + options->duration_s;

    for (uint32_t i = 0; i < options->threads; i++) {
        phase->workers[i] = create_worker(phase, i);
        if (phase->workers[i] == NULL)
            return -ECONNREFUSED;
    }
    phase->begin_ns = clock_mono_ns();
    phase->line_ns = phase->begin_ns;
    phase->line_at_ns = phase->begin_ns + (uint64_t)(interval_s(phase) * NS_PER_S);
    const uint64_t end_ns = by_time ? phase->begin_ns + (uint64_t)(seconds * NS_PER_S) : UINT64_MAX;
    for (uint32_t i = 0; i < options->threads; i++) {
        CHECK(bench_worker_start(phase->workers[i], phase->begin_ns, end_ns) == 0);
        phase->started++;
    }
    return 0;
}

/* The warm-up is over. */
static void begin_measuring(struct phase *phase, uint64_t now_ns)
{
    for (uint32_t i = 0; i < phase->started; i++)
        bench_worker_reset(phase->workers[i]);
    phase->measuring = true;
    phase->measured_ns = now_ns;
    phase->line_ns = now_ns;
    bench_server_sample(phase->server, phase->options, &phase->result->before);
}

static bool all_finished(const struct phase *phase)
{
    for (uint32_t i = 0; i < phase->started; i++) {
        if (!bench_worker_finished(phase->workers[i]))
            return false;
    }
    return true;
}

/* True if one gave up: then the others need not go on. */
static bool any_failed(const struct phase *phase)
{
    struct bench_worker_result result;

    for (uint32_t i = 0; i < phase->started; i++) {
        if (!bench_worker_finished(phase->workers[i]))
            continue;
        bench_worker_result(phase->workers[i], &result);
        if (result.failure != NULL)
            return true;
    }
    return false;
}

static void on_signal(struct phase *phase)
{
    if (phase->result->interrupted)
        _exit(EXIT_INTERRUPTED);
    fprintf(stderr, "tierra-bench: interrupted, waiting for replies in flight\n");
    phase->result->interrupted = true;
    atomic_store(&phase->shared.stop, true);
}

static void watch(struct phase *phase)
{
    const struct timespec poll = {.tv_nsec = POLL_NS};
    const uint64_t warm_ns =
        phase->begin_ns + (uint64_t)((phase->load ? 0.0 : phase->options->warmup_s) * NS_PER_S);
    sigset_t signals;

    stop_signals(&signals);
    while (!all_finished(phase)) {
        if (sigtimedwait(&signals, NULL, &poll) > 0)
            on_signal(phase);
        const uint64_t now_ns = clock_mono_ns();
        if (!phase->measuring && now_ns >= warm_ns)
            begin_measuring(phase, now_ns);
        if (interval_s(phase) > 0.0 && now_ns >= phase->line_at_ns)
            live_line(phase, now_ns);
        if (any_failed(phase))
            atomic_store(&phase->shared.stop, true);
    }
}

static void collect(struct phase *phase)
{
    struct bench_result *out = phase->result;
    struct bench_worker_result result;
    uint64_t last_ns = phase->measured_ns;
    uint64_t busiest_ns = 0;

    for (uint32_t i = 0; i < phase->started; i++) {
        bench_worker_join(phase->workers[i]);
        bench_worker_result(phase->workers[i], &result);
        bench_stats_merge(&out->stats, result.stats);
        last_ns = u64_max(last_ns, result.last_reply_ns);
        busiest_ns = u64_max(busiest_ns, result.cpu_ns);
        out->generator_cpu_s += (double)result.cpu_ns / NS_PER_S;
        out->unsent += result.unsent;
        out->unanswered += result.unanswered;
        if (result.failure != NULL && !out->failed) {
            out->failed = true;
            snprintf(out->failure.text, sizeof(out->failure.text), "%s", result.failure);
        }
    }
    out->elapsed_s = (double)(last_ns - phase->measured_ns) / NS_PER_S;
    if (out->elapsed_s > 0.0)
        out->busiest_fraction = (double)busiest_ns / NS_PER_S / out->elapsed_s;
}

int bench_run(const struct bench_plan *plan, const struct bench_server *server, bool load,
              struct bench_result *out)
{
    const struct bench_options *options = plan->options;
    struct phase phase = {
        .plan = plan,
        .options = options,
        .server = server,
        .load = load,
        .load_total = load ? bench_load_total(plan) : 0,
        .result = out,
    };

    memset(out, 0, sizeof(*out));
    bench_stats_init(&out->stats, &options->mix, options->rate > 0.0);
    phase.workers = mem_zalloc_array(options->threads, sizeof(struct bench_worker *));
    /* Without a warm-up the measured time begins before the first request. */
    const bool at_once = load || options->warmup_s <= 0.0;
    if (at_once)
        bench_server_sample(server, options, &out->before);
    const int err = start_workers(&phase);
    if (err == 0) {
        phase.measuring = at_once;
        phase.measured_ns = phase.begin_ns;
        watch(&phase);
        collect(&phase);
        bench_server_sample(server, options, &out->after);
    } else {
        out->failed = true;
    }
    for (uint32_t i = 0; i < options->threads; i++)
        bench_worker_destroy(phase.workers[i]);
    mem_free(phase.workers);
    return err;
}

void bench_result_deinit(struct bench_result *result)
{
    bench_stats_deinit(&result->stats);
}
