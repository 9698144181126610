/* The schedule of the open loop; the header explains it. */
#include "bench/load/bench_arrival.h"

#include <math.h>

#include "engine/base/check.h"

#define NS_PER_S 1e9

void bench_arrival_init(struct bench_arrival *arrival, enum bench_arrival_kind kind,
                        const struct bench_arrival_share *share, uint64_t start_ns, struct rng *rng)
{
    CHECK(share->rate > 0.0);
    CHECK(share->index < share->count);
    *arrival = (struct bench_arrival){
        .kind = kind,
        .gap_ns = NS_PER_S * (double)share->count / share->rate,
        .start_ns = start_ns,
    };
    if (kind == BENCH_ARRIVAL_UNIFORM)
        arrival->next_ns = NS_PER_S / share->rate * (double)share->index;
    else
        bench_arrival_advance(arrival, rng);
}

void bench_arrival_advance(struct bench_arrival *arrival, struct rng *rng)
{
    double gaps = 1.0;

    /* The draw is in [0, 1): one minus it is never zero, and the logarithm finite. */
    if (arrival->kind == BENCH_ARRIVAL_POISSON)
        gaps = -log1p(-rng_double(rng));
    arrival->next_ns += arrival->gap_ns * gaps;
}

uint64_t bench_arrival_skip_until(struct bench_arrival *arrival, uint64_t end_ns, struct rng *rng)
{
    uint64_t count = 0;

    while (bench_arrival_at_ns(arrival) < end_ns) {
        bench_arrival_advance(arrival, rng);
        count++;
    }
    return count;
}
