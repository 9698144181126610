/*
 * Seeds of random tests.
 *
 * The seed comes from TIERRA_SEED, or from the kernel. It is printed with the command that
 * repeats the run, so that a failure is never lost.
 */
#ifndef TIERRA_TESTS_LIB_SEED_H
#define TIERRA_TESTS_LIB_SEED_H

#include <stdint.h>

#include "engine/base/rng.h"

/* The seed of this process: the same at every call, printed at the first. */
uint64_t seed_get(void);

/* A knob of a test: the number in an environment variable, or what it is without. */
uint64_t seed_number(const char *name, uint64_t by_default);

/*
 * Seeds `rng` from seed_get and `stream`: each test of a program takes a stream number of its
 * own.
 */
void seed_rng(struct rng *rng, uint64_t stream);

/* The same from a given seed: one that failed once and is to be run ever after. */
void seed_rng_fixed(struct rng *rng, uint64_t seed, uint64_t stream);

#endif
