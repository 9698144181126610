/*
 * bench-policy: plays traces against the eviction orders and prints hit ratio and admissions.
 *
 *     bench-policy [keys] [accesses] [theta] [seed]
 *
 * Traces, each `accesses` long after as many to warm up:
 *
 *     zipf         reads by Zipf's law over the keys
 *     scan         the same, and after every keys / 4 of them a walk over keys / 8 keys in a row,
 *                  as a client that reads everything once makes
 *     once         every third read is of a key that comes back only much later
 *     drift        the popular keys change: the ranks move on over the keys, one lap in the trace
 *     blind        every fifth access is a write of a uniformly drawn key
 *     uniform      no key is better than another
 *
 * The hit ratio is that of reads. "best set" keeps the keys that the second half of the trace will
 * read most, all the time: the bound for any order where popularity does not change.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/bytes.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"
#include "engine/base/rng.h"

#include "bench/load/bench_dist.h"
#include "bench/policy/policy.h"

#define WRITE_BIT    (UINT32_C(1) << 31)
#define KEYS_MAX     (WRITE_BIT - 1)
#define ACCESSES_MAX (UINT64_C(1) << 30)
#define DRIFT_STEPS  200
#define CACHE_PARTS  3

static const double cache_parts[CACHE_PARTS] = {0.01, 0.1, 0.25};

struct trace {
    uint32_t *accesses; /* Twice the length: the first half warms up. */
    uint64_t length;
    uint32_t keys;
    double theta;
    struct rng rng;
    struct bench_dist zipf;
};

static uint32_t draw_zipf(struct trace *trace)
{
    return (uint32_t)bench_dist_next(&trace->zipf, &trace->rng);
}

static uint32_t draw_uniform(struct trace *trace)
{
    return (uint32_t)rng_below(&trace->rng, trace->keys);
}

static uint32_t make_zipf(struct trace *trace, uint64_t i)
{
    (void)i;
    return draw_zipf(trace);
}

static uint32_t make_scan(struct trace *trace, uint64_t i)
{
    const uint64_t calm = trace->keys / 4;
    const uint64_t walk = trace->keys / 8;
    const uint64_t round = i / (calm + walk);
    const uint64_t at = i % (calm + walk);

    if (at < calm)
        return draw_zipf(trace);
    return (uint32_t)((round * walk + at - calm) % trace->keys);
}

static uint32_t make_once(struct trace *trace, uint64_t i)
{
    return i % 3 == 0 ? (uint32_t)(i / 3 % trace->keys) : draw_zipf(trace);
}

static uint32_t make_drift(struct trace *trace, uint64_t i)
{
    const uint64_t step = i * DRIFT_STEPS / (2 * trace->length);

    return (uint32_t)((draw_zipf(trace) + step * trace->keys / DRIFT_STEPS) % trace->keys);
}

static uint32_t make_blind(struct trace *trace, uint64_t i)
{
    return i % 5 == 0 ? draw_uniform(trace) | WRITE_BIT : draw_zipf(trace);
}

static uint32_t make_uniform(struct trace *trace, uint64_t i)
{
    (void)i;
    return draw_uniform(trace);
}

static const struct {
    const char *name;
    uint32_t (*make)(struct trace *trace, uint64_t i);
} trace_kinds[] = {
    {"zipf", make_zipf},   {"scan", make_scan},   {"once", make_once},
    {"drift", make_drift}, {"blind", make_blind}, {"uniform", make_uniform},
};

static const struct policy_kind *const policies[] = {
    &policy_lru,   &policy_clock,       &policy_clock_touch, &policy_clock_apart,
    &policy_sieve, &policy_sieve_touch, &policy_s3fifo,      &policy_s3fifo_touch,
};

/* What a policy made of the second half of a trace. */
struct outcome {
    double hit_ratio;
    double admissions; /* Per access. */
};

static struct outcome play(const struct trace *trace, const struct policy_kind *kind,
                           uint32_t capacity)
{
    void *policy = kind->create(capacity, trace->keys);
    uint64_t admissions_before = 0;
    uint64_t reads = 0;
    uint64_t hits = 0;

    for (uint64_t i = 0; i < 2 * trace->length; i++) {
        const uint32_t access = trace->accesses[i];
        const bool write = (access & WRITE_BIT) != 0;
        if (i == trace->length)
            admissions_before = kind->admissions(policy);
        const bool hit = kind->access(policy, access & ~WRITE_BIT, write);
        if (i < trace->length || write)
            continue;
        reads++;
        hits += hit;
    }
    const uint64_t admissions = kind->admissions(policy) - admissions_before;
    kind->destroy(policy);
    return (struct outcome){
        .hit_ratio = reads == 0 ? 0.0 : (double)hits / (double)reads,
        .admissions = (double)admissions / (double)trace->length,
    };
}

static int compare_descending(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a;
    const uint32_t y = *(const uint32_t *)b;

    return (x < y) - (x > y);
}

/* The hit ratios of the best fixed sets of the sizes in cache_parts. */
static void best_sets(const struct trace *trace, double out[CACHE_PARTS])
{
    uint32_t *counts = mem_zalloc_array(trace->keys, sizeof(*counts));
    uint64_t reads = 0;

    for (uint64_t i = trace->length; i < 2 * trace->length; i++) {
        if ((trace->accesses[i] & WRITE_BIT) != 0)
            continue;
        counts[trace->accesses[i]]++;
        reads++;
    }
    qsort(counts, trace->keys, sizeof(*counts), compare_descending);
    for (size_t part = 0; part < CACHE_PARTS; part++) {
        const uint32_t capacity = (uint32_t)(cache_parts[part] * trace->keys);
        uint64_t hits = 0;
        for (uint32_t i = 0; i < capacity; i++)
            hits += counts[i];
        out[part] = (double)hits / (double)reads;
    }
    mem_free(counts);
}

static void print_trace(const struct trace *trace, const char *name)
{
    double best[CACHE_PARTS];

    printf("\n%-30s", name);
    for (size_t part = 0; part < CACHE_PARTS; part++)
        printf("  %5.0f %% cached  ", cache_parts[part] * 100.0);
    printf("\n%-30s", "");
    for (size_t part = 0; part < CACHE_PARTS; part++)
        printf("  %7s %7s", "hits %", "adm %");
    printf("\n");
    for (size_t i = 0; i < ARRAY_COUNT(policies); i++) {
        printf("%-30s", policies[i]->name);
        for (size_t part = 0; part < CACHE_PARTS; part++) {
            const uint32_t capacity = (uint32_t)(cache_parts[part] * trace->keys);
            const struct outcome outcome = play(trace, policies[i], capacity);
            printf("  %7.2f %7.2f", outcome.hit_ratio * 100.0, outcome.admissions * 100.0);
        }
        printf("\n");
    }
    best_sets(trace, best);
    printf("%-30s", "best set");
    for (size_t part = 0; part < CACHE_PARTS; part++)
        printf("  %7.2f %7s", best[part] * 100.0, "");
    printf("\n");
}

static void run(struct trace *trace, uint64_t seed)
{
    const struct bench_dist_spec spec = {.kind = BENCH_DIST_ZIPF, .theta = trace->theta};
    const struct bench_dist_worker alone = {.index = 0, .count = 1};

    trace->accesses = mem_zalloc_array(2 * trace->length, sizeof(*trace->accesses));
    bench_dist_init(&trace->zipf, &spec, trace->keys, &alone);
    for (size_t kind = 0; kind < ARRAY_COUNT(trace_kinds); kind++) {
        rng_seed(&trace->rng, seed);
        for (uint64_t i = 0; i < 2 * trace->length; i++)
            trace->accesses[i] = trace_kinds[kind].make(trace, i);
        print_trace(trace, trace_kinds[kind].name);
    }
    mem_free(trace->accesses);
}

/* Argument number `index`, or the default; the program ends if it is no number in the range. */
static uint64_t argument(int argc, char **argv, int index, uint64_t initial, uint64_t max)
{
    uint64_t value = initial;

    if (index >= argc)
        return initial;
    if (!num_parse_u64(bytes_cstr(argv[index]), &value) || value == 0 || value > max) {
        fprintf(stderr, "bench-policy: %s is not within 1 .. %" PRIu64 "\n", argv[index], max);
        _Exit(1);
    }
    return value;
}

int main(int argc, char **argv)
{
    struct trace trace = {
        .keys = (uint32_t)argument(argc, argv, 1, 100000, KEYS_MAX),
        .length = argument(argc, argv, 2, 500000, ACCESSES_MAX),
        .theta = BENCH_ZIPF_THETA_DEFAULT,
    };

    if (argc > 3 && (!num_parse_double(bytes_cstr(argv[3]), &trace.theta) || trace.theta <= 0.0)) {
        fprintf(stderr, "bench-policy: theta must be above 0\n");
        return 1;
    }
    if (trace.keys < 1000) {
        fprintf(stderr, "bench-policy: at least 1000 keys\n");
        return 1;
    }
    const uint64_t seed = argument(argc, argv, 4, 1, UINT64_MAX);
    printf("%u keys, %" PRIu64 " accesses after as many to warm up, theta %.2f, seed %" PRIu64
           "; adm: admissions per 100 accesses\n",
           (unsigned)trace.keys, trace.length, trace.theta, seed);
    run(&trace, seed);
    return 0;
}
