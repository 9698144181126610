/*
 * Seeding and the slower draws of the generator.
 *
 * xoshiro256** 1.0 and splitmix64, public domain reference code by David Blackman and Sebastiano
 * Vigna (prng.di.unimi.it), rewritten. Bounded draws: Lemire, "Fast Random Integer Generation in
 * an Interval", 2019.
 */
#include "engine/base/rng.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "engine/base/attr.h"
#include "engine/base/check.h"

__extension__ typedef unsigned __int128 uint128;

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void rng_seed(struct rng *rng, uint64_t seed)
{
    /* splitmix64 never gives four zeros in a row, the one state that xoshiro cannot leave. */
    for (size_t i = 0; i < ARRAY_COUNT(rng->state); i++)
        rng->state[i] = splitmix64(&seed);
}

int rng_os_bytes(void *out, size_t len)
{
    uint8_t *at = out;

    while (len > 0) {
        const ssize_t got = getrandom(at, len, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        at += got;
        len -= (size_t)got;
    }
    return 0;
}

int rng_seed_from_os(struct rng *rng)
{
    uint64_t seed;
    const int err = rng_os_bytes(&seed, sizeof(seed));

    if (err != 0)
        return err;
    rng_seed(rng, seed);
    return 0;
}

uint64_t rng_below(struct rng *rng, uint64_t n)
{
    CHECK(n > 0);
    /* The high half of a product is the draw; low halves below 2^64 mod n would be a bias. */
    uint128 product = (uint128)rng_u64(rng) * n;
    if ((uint64_t)product < n) {
        const uint64_t bias = (0 - n) % n;
        while ((uint64_t)product < bias)
            product = (uint128)rng_u64(rng) * n;
    }
    return (uint64_t)(product >> 64);
}

void rng_bytes(struct rng *rng, void *out, size_t len)
{
    uint8_t *at = out;

    while (len > 0) {
        const uint64_t value = rng_u64(rng);
        const size_t n = size_min(len, sizeof(value));
        memcpy(at, &value, n);
        at += n;
        len -= n;
    }
}
