/*
 * Seeded pseudo-random numbers: xoshiro256** by Blackman and Vigna, its state filled by splitmix64.
 *
 * The only source of randomness in the program. Everything random takes a struct rng from its
 * owner, so that a test can repeat a run from its seed. Not for secrets: those use rng_os_bytes.
 * Owned by one thread.
 */
#ifndef TIERRA_ENGINE_BASE_RNG_H
#define TIERRA_ENGINE_BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"

struct rng {
    uint64_t state[4];
};

/* The same seed gives the same numbers, on every machine. Any seed is good. */
void rng_seed(struct rng *rng, uint64_t seed);

/* Seeds from the kernel. Returns 0 or -errno. */
MUST_USE int rng_seed_from_os(struct rng *rng);

/* Fills `out` with `len` bytes fit for secrets. Returns 0 or -errno. Any thread. */
MUST_USE int rng_os_bytes(void *out, size_t len);

static inline uint64_t rng_rotate(uint64_t v, unsigned bits)
{
    return (v << bits) | (v >> (64u - bits));
}

static inline uint64_t rng_u64(struct rng *rng)
{
    uint64_t *s = rng->state;
    const uint64_t result = rng_rotate(s[1] * 5, 7) * 9;
    const uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rng_rotate(s[3], 45);
    return result;
}

/* Uniform in 0 .. n - 1, without bias; n > 0. */
uint64_t rng_below(struct rng *rng, uint64_t n);

/* Uniform in [0, 1), 53 bits. */
static inline double rng_double(struct rng *rng)
{
    return (double)(rng_u64(rng) >> 11) * 0x1.0p-53;
}

/* Fills `out` with `len` pseudo-random bytes. */
void rng_bytes(struct rng *rng, void *out, size_t len);

#endif
