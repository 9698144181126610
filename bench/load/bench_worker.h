/*
 * One thread of the generator: an epoll loop over non-blocking connections.
 *
 * Closed loop: a connection keeps up to `pipeline` requests in flight; when half of them are
 * answered it sends as many again in one call. Open loop: requests start by a schedule
 * (bench_arrival.h) on whichever connection has room, and wait, with their clock running, if none
 * has.
 *
 * What keeps it light: requests are made in one buffer and replies read into another, both of the
 * thread and so always in cache; a request costs no allocation; a ready socket costs one recv, one
 * clock reading and one send; EPOLLOUT is asked for only when a send was cut short.
 *
 * Times are taken per read: the replies in one read get the time after it, the requests sent in
 * answer to it start at that time too.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_WORKER_H
#define TIERRA_BENCH_LOAD_BENCH_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/hist.h"

#include "bench/load/bench_connect.h"
#include "bench/load/bench_request.h"
#include "bench/load/bench_stats.h"

/* What the workers of a run share, beside the plan. */
struct bench_shared {
    _Atomic uint64_t latest; /* See bench_dist.h. */
    _Atomic bool stop;       /* Send nothing more, wait shortly for what is in flight. */
};

struct bench_worker_config {
    const struct bench_plan *plan;
    struct bench_shared *shared;
    uint32_t index; /* Of options->threads. */
    uint32_t clients;
    uint32_t pipeline;
    uint64_t quota; /* Requests to send at most. */
    bool load;      /* Preload this worker's share of the keys instead of the mix. */
};

struct bench_worker;

/* Opens the connections. NULL on failure, explained in `*error`. */
MUST_USE struct bench_worker *bench_worker_create(const struct bench_worker_config *config,
                                                  struct bench_error *error);
void bench_worker_destroy(struct bench_worker *worker);

/*
 * Starts the thread, which sends from `start_ns` until `end_ns` (monotonic) and ends by itself
 * once all replies are in. Returns 0 or -errno.
 */
MUST_USE int bench_worker_start(struct bench_worker *worker, uint64_t start_ns, uint64_t end_ns);
void bench_worker_join(struct bench_worker *worker);

/* Since the last call; any thread, while the worker runs. */
struct bench_interval {
    struct hist latency;
    uint64_t errors;
};

/* Adds this worker's latest interval to `*into`. */
void bench_worker_take_interval(struct bench_worker *worker, struct bench_interval *into);

/* Forgets what was measured so far: the warm-up is over. Any thread. */
void bench_worker_reset(struct bench_worker *worker);

/* True once the loop has ended; any thread. */
bool bench_worker_finished(struct bench_worker *worker);

/* After join only. */
struct bench_worker_result {
    const struct bench_stats *stats;
    uint64_t last_reply_ns; /* Monotonic; 0 if there was none. */
    uint64_t cpu_ns;        /* Of the thread, since the last reset. */
    uint64_t unsent;        /* Open loop: due by the end, but no connection had room. */
    uint64_t unanswered;    /* In flight when the worker gave up. */
    const char *failure;    /* NULL, or why it gave up. */
};

void bench_worker_result(const struct bench_worker *worker, struct bench_worker_result *out);

#endif
