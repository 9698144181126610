/*
 * Which key (or element) the next request takes: distributions over the indexes 0 .. n - 1.
 *
 *     uniform                       every index alike
 *     zipf[:theta]                  the k-th most popular index has weight 1 / k^theta (0.99)
 *     hotspot[:fraction:probability] a fraction (0.2) of the indexes gets the probability (0.8)
 *     sequential                    0, 1, 2, .. and around; the workers take turns
 *     latest[:theta]                writes go to the next index in turn, reads Zipf-close behind
 *
 * Popular ranks are spread over the indexes by the bijection rank -> (rank * a + b) mod n with a
 * near n / golden ratio and coprime to n: neighbours in popularity are far apart, and unlike a
 * hash the map loses no index, so that the probabilities stay exactly those of Zipf.
 *
 * Zipf is drawn by rejection-inversion (Hoermann and Derflinger, "Rejection-inversion to generate
 * variates from monotone discrete distributions", 1996): no table, any n and any theta, about two
 * transcendental functions a draw.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_DIST_H
#define TIERRA_BENCH_LOAD_BENCH_DIST_H

#include <stdatomic.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/rng.h"

enum bench_dist_kind {
    BENCH_DIST_UNIFORM,
    BENCH_DIST_ZIPF,
    BENCH_DIST_HOTSPOT,
    BENCH_DIST_SEQUENTIAL,
    BENCH_DIST_LATEST,
};

struct bench_dist_spec {
    enum bench_dist_kind kind;
    double theta;           /* zipf, latest: above 0, at most BENCH_ZIPF_THETA_MAX */
    double hot_fraction;    /* hotspot: of the indexes, above 0 and below 1 */
    double hot_probability; /* hotspot: of the draws, 0 .. 1 */
};

#define BENCH_ZIPF_THETA_DEFAULT 0.99
#define BENCH_ZIPF_THETA_MAX     10.0

/* Reads the notation above. Returns 0, -ERR_SYNTAX or -ERR_RANGE. */
MUST_USE int bench_dist_parse(const char *text, struct bench_dist_spec *out);

/* The state of the Zipf sampler; the names are the paper's. */
struct bench_zipf {
    uint64_t n;
    double theta;
    double h_integral_x1;
    double h_integral_n;
    double s;
};

/* `n` and `theta` above 0. O(1). */
void bench_zipf_init(struct bench_zipf *zipf, uint64_t n, double theta);

/* A rank in 0 .. n - 1, 0 the most popular. */
uint64_t bench_zipf_next(const struct bench_zipf *zipf, struct rng *rng);

struct bench_dist {
    struct bench_dist_spec spec;
    struct bench_zipf zipf;
    uint64_t n;
    uint64_t hot_count;
    uint64_t multiplier; /* The bijection's a and b. */
    uint64_t offset;
    uint64_t next;   /* sequential */
    uint64_t stride; /* sequential: the number of workers */
    _Atomic uint64_t *latest;
};

/* Who draws: worker `index` of `count`, and what they share. */
struct bench_dist_worker {
    uint64_t index;
    uint64_t count;
    _Atomic uint64_t *latest; /* Indexes written so far; one for all workers; `latest` only. */
};

/* `n` above 0. */
void bench_dist_init(struct bench_dist *dist, const struct bench_dist_spec *spec, uint64_t n,
                     const struct bench_dist_worker *worker);

/* An index in 0 .. n - 1, for a read. */
uint64_t bench_dist_next(struct bench_dist *dist, struct rng *rng);

/* The same for a write: differs under `latest` only. */
uint64_t bench_dist_next_write(struct bench_dist *dist, struct rng *rng);

/* The index of a popularity rank. */
uint64_t bench_dist_spread(const struct bench_dist *dist, uint64_t rank);

#endif
