/*
 * Value sizes: one size ("100"), a uniform range ("100-4000") or a weighted mix
 * ("100:50,1000:40,10000:10"), in bytes.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_SIZE_H
#define TIERRA_BENCH_LOAD_BENCH_SIZE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/rng.h"

#define BENCH_SIZE_ENTRIES_MAX 16
#define BENCH_SIZE_BYTES_MAX   (64u << 20)

struct bench_size_entry {
    uint32_t min_bytes;
    uint32_t max_bytes;
    uint64_t weight_end; /* Sum of the weights up to and with this entry. */
};

struct bench_size {
    size_t count;
    struct bench_size_entry entries[BENCH_SIZE_ENTRIES_MAX];
};

/* Returns 0, -ERR_SYNTAX, -ERR_RANGE, or -ERR_LIMIT for too many entries. */
MUST_USE int bench_size_parse(const char *text, struct bench_size *out);

uint32_t bench_size_next(const struct bench_size *size, struct rng *rng);

/* Bytes. */
uint32_t bench_size_min(const struct bench_size *size);
uint32_t bench_size_max(const struct bench_size *size);
double bench_size_mean(const struct bench_size *size);

#endif
