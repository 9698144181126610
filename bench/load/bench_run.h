/*
 * One phase of a benchmark, preload or measurement: starts the workers, watches them, prints live
 * lines to stderr, ends by time, count, signal or failure, and adds up what they measured.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_RUN_H
#define TIERRA_BENCH_LOAD_BENCH_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "bench/load/bench_connect.h"
#include "bench/load/bench_request.h"
#include "bench/load/bench_server.h"
#include "bench/load/bench_stats.h"

struct bench_result {
    struct bench_stats stats;
    struct bench_sample before; /* Of the server; at the start of the measured time. */
    struct bench_sample after;
    double elapsed_s;        /* Of the measured time, to the last reply. */
    double generator_cpu_s;  /* All threads. */
    double busiest_fraction; /* Of the busiest thread: its CPU time by the elapsed time. */
    uint64_t unsent;
    uint64_t unanswered;
    bool interrupted;
    bool failed;
    struct bench_error failure;
};

/*
 * Blocks SIGINT and SIGTERM for this thread and those it starts; the phases wait for them. A
 * second one during a phase ends the program at once.
 */
void bench_run_setup(void);

/*
 * Runs a phase: the preload if `load`. `out` is filled in any case and large: not for the stack of
 * a small thread; bench_result_deinit frees what it holds. Returns 0, or the negative error of a
 * phase that could not start.
 */
MUST_USE int bench_run(const struct bench_plan *plan, const struct bench_server *server, bool load,
                       struct bench_result *out);
void bench_result_deinit(struct bench_result *result);

#endif
