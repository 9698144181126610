/*
 * Preloading: the stream of commands that writes every key and collection of a mix once.
 *
 * Worker i of n loads the keys i, i + n, i + 2n, .. of each family that the mix touches, in order;
 * collections in commands of up to plan->load_elements_max elements. Lists grow if they are loaded
 * twice; everything else is overwritten.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_LOAD_H
#define TIERRA_BENCH_LOAD_BENCH_LOAD_H

#include <stddef.h>
#include <stdint.h>

#include "bench/load/bench_request.h"

struct bench_load {
    const struct bench_plan *plan;
    struct bench_load_item item; /* The next one, its count aside. */
    uint64_t first_key;
    uint64_t key_stride;
};

void bench_load_init(struct bench_load *load, const struct bench_plan *plan, uint32_t worker);

/* Writes the next command to `out` and returns its length; 0 at the end. */
size_t bench_load_next(struct bench_load *load, struct bench_gen *gen, uint8_t *out);

/* Commands that all workers together will send. */
uint64_t bench_load_total(const struct bench_plan *plan);

#endif
