/*
 * The open loop: when each request is meant to start, whatever became of the earlier ones.
 *
 * One schedule per worker, of its share of the offered rate. A worker that finds the next start
 * in the past sends at once, but the request keeps its intended start: latency counted from there
 * contains the wait, so that a stall of the server shows in every request it would have hit (no
 * coordinated omission). Because starts come in order, the requests that wait need no queue: the
 * schedule itself is the queue.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_ARRIVAL_H
#define TIERRA_BENCH_LOAD_BENCH_ARRIVAL_H

#include <stdint.h>

#include "engine/base/rng.h"

enum bench_arrival_kind {
    BENCH_ARRIVAL_POISSON, /* Exponential gaps: independent users. */
    BENCH_ARRIVAL_UNIFORM, /* Equal gaps; the workers are interleaved. */
};

struct bench_arrival {
    enum bench_arrival_kind kind;
    double gap_ns;  /* mean */
    double next_ns; /* since start_ns; 53 bits of nanoseconds are 104 days */
    uint64_t start_ns;
};

/* Which of how many equal schedules make up the rate. */
struct bench_arrival_share {
    double rate; /* Of all together, per second, above 0. */
    uint32_t index;
    uint32_t count;
};

void bench_arrival_init(struct bench_arrival *arrival, enum bench_arrival_kind kind,
                        const struct bench_arrival_share *share, uint64_t start_ns,
                        struct rng *rng);

/* The intended start of the next request, on the clock of start_ns. */
static inline uint64_t bench_arrival_at_ns(const struct bench_arrival *arrival)
{
    return arrival->start_ns + (uint64_t)arrival->next_ns;
}

/* Moves on to the request after it. */
void bench_arrival_advance(struct bench_arrival *arrival, struct rng *rng);

/* How many intended starts lie before `end_ns`; advances past them. For unsent requests. */
uint64_t bench_arrival_skip_until(struct bench_arrival *arrival, uint64_t end_ns, struct rng *rng);

#endif
