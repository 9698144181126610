/*
 * The command line of tierra-bench. One table in the source holds name, argument, range and help
 * text of every option; getopt_long and --help both come from it.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_OPTIONS_H
#define TIERRA_BENCH_LOAD_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/attr.h"

#include "bench/load/bench_arrival.h"
#include "bench/load/bench_dist.h"
#include "bench/load/bench_ops.h"
#include "bench/load/bench_size.h"

#define BENCH_KEY_BYTES_MAX 1024

/* In server_pid: ask the server (INFO) for it. */
#define BENCH_PID_AUTO (-1)

/* In the order of the table. */
/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): one exists. */
struct bench_options {
    /* Server. */
    const char *host;
    uint32_t port;
    const char *socket_path; /* Instead of host and port. */
    const char *user;
    const char *password;
    /* Load. */
    uint32_t threads;
    uint32_t clients;
    uint32_t pipeline;
    uint64_t requests;
    double duration_s;
    double warmup_s;
    double rate; /* Per second; 0 is the closed loop. */
    enum bench_arrival_kind arrival;
    const char *arrival_text;
    uint32_t tick_us; /* Open loop: 0 wakes for every arrival and reply. */
    double timeout_s;
    uint64_t seed;
    /* Data. */
    uint64_t keys;
    const char *key_prefix;
    uint32_t key_bytes;
    struct bench_dist_spec key_dist;
    const char *key_dist_text; /* As given; the same below. */
    uint64_t fields;
    struct bench_dist_spec field_dist;
    const char *field_dist_text;
    struct bench_size value_size;
    const char *value_size_text;
    bool value_random;
    /* Requests. */
    struct bench_mix mix;
    const char *mix_text;
    enum bench_family generic_family;
    uint32_t multi;
    uint64_t range;
    uint64_t ttl_s;
    bool preload;
    bool preload_only;
    bool keep_going;
    bool verify;
    /* Output. */
    const char *json_path;
    double interval_s;
    bool hit_stats;
    int server_pid; /* 0 is none. */
    const char *label;
};

enum bench_options_result {
    BENCH_OPTIONS_RUN,
    BENCH_OPTIONS_HELP, /* Help was asked for, and printed to stdout. */
};

/*
 * Fills `*out` with the defaults and the command line. Texts are borrowed from argv. Errors are
 * explained on stderr. Returns enum bench_options_result or -ERR_CONFIG.
 */
MUST_USE int bench_options_parse(int argc, char **argv, struct bench_options *out);

/* The defaults alone, for tests; the seed is a constant there. */
void bench_options_default(struct bench_options *out);

/* What the options say against each other; NULL if nothing, else why they cannot be run. */
const char *bench_options_check(const struct bench_options *options);

#endif
