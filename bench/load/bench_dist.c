/*
 * Draws from the distributions; the header describes them.
 *
 * The Zipf sampler follows the formulation of the paper with h(x) = x^-theta, H its integral. H
 * and its inverse are written with expm1 and log1p so that theta = 1 needs no case of its own.
 */
#include "bench/load/bench_dist.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/num.h"

#define HOT_FRACTION_DEFAULT    0.2
#define HOT_PROBABILITY_DEFAULT 0.8
#define GOLDEN_RATIO_INVERSE    0.61803398874989485

__extension__ typedef unsigned __int128 uint128;

/* log1p(x) / x, and its limit at 0. */
static double log1p_ratio(double x)
{
    return fabs(x) > 1e-8 ? log1p(x) / x : 1.0 - x * (0.5 - x * (1.0 / 3.0));
}

/* expm1(x) / x, and its limit at 0. */
static double expm1_ratio(double x)
{
    return fabs(x) > 1e-8 ? expm1(x) / x : 1.0 + x * 0.5 * (1.0 + x * (1.0 / 3.0));
}

static double h_integral(const struct bench_zipf *zipf, double x)
{
    const double log_x = log(x);

    return expm1_ratio((1.0 - zipf->theta) * log_x) * log_x;
}

static double h_integral_inverse(const struct bench_zipf *zipf, double x)
{
    /* Rounding may push the argument below the pole. */
    const double t = fmax(x * (1.0 - zipf->theta), -1.0);

    return exp(log1p_ratio(t) * x);
}

static double h(const struct bench_zipf *zipf, double x)
{
    return exp(-zipf->theta * log(x));
}

void bench_zipf_init(struct bench_zipf *zipf, uint64_t n, double theta)
{
    CHECK(n > 0);
    CHECK(theta > 0.0);
    zipf->n = n;
    zipf->theta = theta;
    zipf->h_integral_x1 = h_integral(zipf, 1.5) - 1.0;
    zipf->h_integral_n = h_integral(zipf, (double)n + 0.5);
    zipf->s = 2.0 - h_integral_inverse(zipf, h_integral(zipf, 2.5) - h(zipf, 2.0));
}

uint64_t bench_zipf_next(const struct bench_zipf *zipf, struct rng *rng)
{
    const double span = zipf->h_integral_x1 - zipf->h_integral_n;
    const double n = (double)zipf->n;

    /* Rejects less than once in three draws for any theta. */
    for (;;) {
        const double u = zipf->h_integral_n + rng_double(rng) * span;
        const double x = h_integral_inverse(zipf, u);
        const double k = fmin(fmax(floor(x + 0.5), 1.0), n);

        if (k - x <= zipf->s || u >= h_integral(zipf, k + 0.5) - h(zipf, k))
            return (uint64_t)k - 1;
    }
}

/* Up to `max` numbers after colons; the count, or -1 if the text is something else. */
static int parse_numbers(const char *text, double *out, int max)
{
    int count = 0;

    while (*text == ':' && count < max) {
        const size_t len = strcspn(text + 1, ":");
        if (!num_parse_double(bytes_of(text + 1, len), &out[count]) || !isfinite(out[count]))
            return -1;
        count++;
        text += 1 + len;
    }
    return *text == '\0' ? count : -1;
}

static int parse_theta(const char *rest, struct bench_dist_spec *spec)
{
    if (parse_numbers(rest, &spec->theta, 1) < 0)
        return -ERR_SYNTAX;
    if (spec->theta <= 0.0 || spec->theta > BENCH_ZIPF_THETA_MAX)
        return -ERR_RANGE;
    return 0;
}

static int parse_hotspot(const char *rest, struct bench_dist_spec *spec)
{
    double numbers[2];
    const int count = parse_numbers(rest, numbers, 2);

    if (count != 0 && count != 2)
        return -ERR_SYNTAX;
    if (count == 2) {
        spec->hot_fraction = numbers[0];
        spec->hot_probability = numbers[1];
    }
    if (spec->hot_fraction <= 0.0 || spec->hot_fraction >= 1.0 || spec->hot_probability < 0.0 ||
        spec->hot_probability > 1.0)
        return -ERR_RANGE;
    return 0;
}

static int parse_nothing(const char *rest, struct bench_dist_spec *spec)
{
    (void)spec;
    return *rest == '\0' ? 0 : -ERR_SYNTAX;
}

int bench_dist_parse(const char *text, struct bench_dist_spec *out)
{
    static const struct {
        const char *name;
        enum bench_dist_kind kind;
        int (*parse)(const char *rest, struct bench_dist_spec *spec);
    } names[] = {
        {"uniform", BENCH_DIST_UNIFORM, parse_nothing},
        {"zipf", BENCH_DIST_ZIPF, parse_theta},
        {"hotspot", BENCH_DIST_HOTSPOT, parse_hotspot},
        {"sequential", BENCH_DIST_SEQUENTIAL, parse_nothing},
        {"latest", BENCH_DIST_LATEST, parse_theta},
    };
    const size_t len = strcspn(text, ":");

    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        if (strlen(names[i].name) != len || strncmp(names[i].name, text, len) != 0)
            continue;
        struct bench_dist_spec spec = {
            .kind = names[i].kind,
            .theta = BENCH_ZIPF_THETA_DEFAULT,
            .hot_fraction = HOT_FRACTION_DEFAULT,
            .hot_probability = HOT_PROBABILITY_DEFAULT,
        };
        const int err = names[i].parse(text + len, &spec);
        if (err == 0)
            *out = spec;
        return err;
    }
    return -ERR_SYNTAX;
}

static uint64_t greatest_common_divisor(uint64_t a, uint64_t b)
{
    while (b != 0) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

void bench_dist_init(struct bench_dist *dist, const struct bench_dist_spec *spec, uint64_t n,
                     const struct bench_dist_worker *worker)
{
    CHECK(n > 0);
    CHECK(worker->count > 0);
    *dist = (struct bench_dist){
        .spec = *spec,
        .n = n,
        .next = worker->index % n,
        .stride = worker->count,
        .latest = worker->latest,
    };
    if (spec->kind == BENCH_DIST_ZIPF || spec->kind == BENCH_DIST_LATEST)
        bench_zipf_init(&dist->zipf, n, spec->theta);
    dist->hot_count = u64_max(1, (uint64_t)((double)n * spec->hot_fraction));
    dist->multiplier = u64_max(1, (uint64_t)((double)n * GOLDEN_RATIO_INVERSE));
    /* Ends soon: n + 1 is coprime to n at the latest, and gaps between such numbers are short. */
    while (greatest_common_divisor(dist->multiplier, n) != 1)
        dist->multiplier++;
    dist->offset = n / 3;
}

uint64_t bench_dist_spread(const struct bench_dist *dist, uint64_t rank)
{
    /* A 64-bit division is several times cheaper, and enough for most runs. */
    if (likely(dist->n <= UINT32_MAX))
        return (rank * dist->multiplier + dist->offset) % dist->n;
    return (uint64_t)(((uint128)rank * dist->multiplier + dist->offset) % dist->n);
}

static uint64_t next_hotspot(struct bench_dist *dist, struct rng *rng)
{
    const uint64_t cold_count = dist->n - dist->hot_count;
    const bool hot = cold_count == 0 || rng_double(rng) < dist->spec.hot_probability;
    const uint64_t rank =
        hot ? rng_below(rng, dist->hot_count) : dist->hot_count + rng_below(rng, cold_count);

    return bench_dist_spread(dist, rank);
}

static uint64_t next_sequential(struct bench_dist *dist)
{
    const uint64_t index = dist->next;

    dist->next = (index + dist->stride) % dist->n;
    return index;
}

static uint64_t next_latest(struct bench_dist *dist, struct rng *rng)
{
    const uint64_t written = atomic_load_explicit(dist->latest, memory_order_relaxed);
    const uint64_t back = bench_zipf_next(&dist->zipf, rng);

    /* Index (written - 1) mod n is the newest; before the first write that is the last key. */
    return (written % dist->n + 2 * dist->n - 1 - back) % dist->n;
}

uint64_t bench_dist_next(struct bench_dist *dist, struct rng *rng)
{
    switch (dist->spec.kind) {
    case BENCH_DIST_UNIFORM:
        return rng_below(rng, dist->n);
    case BENCH_DIST_ZIPF:
        return bench_dist_spread(dist, bench_zipf_next(&dist->zipf, rng));
    case BENCH_DIST_HOTSPOT:
        return next_hotspot(dist, rng);
    case BENCH_DIST_SEQUENTIAL:
        return next_sequential(dist);
    case BENCH_DIST_LATEST:
        return next_latest(dist, rng);
    }
    UNREACHABLE();
}

uint64_t bench_dist_next_write(struct bench_dist *dist, struct rng *rng)
{
    if (dist->spec.kind != BENCH_DIST_LATEST)
        return bench_dist_next(dist, rng);
    return atomic_fetch_add_explicit(dist->latest, 1, memory_order_relaxed) % dist->n;
}
