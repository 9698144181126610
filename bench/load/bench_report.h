/*
 * The results, as a table for people and as JSON for scripts.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_REPORT_H
#define TIERRA_BENCH_LOAD_BENCH_REPORT_H

#include <stdio.h>

#include "engine/base/attr.h"

#include "bench/load/bench_options.h"
#include "bench/load/bench_run.h"
#include "bench/load/bench_server.h"

/* What was run, against what. `load` and `run` are NULL if there was no such phase. */
struct bench_report {
    const struct bench_options *options;
    const struct bench_server *server;
    const struct bench_result *load;
    const struct bench_result *run;
};

/* The server's work per operation in a phase; only with a known process. */
struct bench_cost {
    double cpu_us;
    double read_bytes;
    double write_bytes;
    double cores; /* CPU time by elapsed time. */
};

/* False if it is not known. */
bool bench_report_cost(const struct bench_result *result, struct bench_cost *out);

void bench_report_header(const struct bench_report *report, FILE *out);
void bench_report_phase(const struct bench_report *report, const struct bench_result *result,
                        FILE *out);

/* Writes all phases to the file `path` ("-" is stdout). Returns 0 or -errno. */
MUST_USE int bench_report_json(const struct bench_report *report, const char *path);

#endif
