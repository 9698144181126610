/*
 * One seed per process. Test programs have one thread when they ask for it.
 */
#include "tests/lib/seed.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/num.h"

uint64_t seed_get(void)
{
    static bool known;
    static uint64_t seed;

    if (known)
        return seed;
    CHECK(rng_os_bytes(&seed, sizeof(seed)) == 0);
    seed = seed_number("TIERRA_SEED", seed);
    known = true;
    printf("seed %" PRIu64 ", to repeat: TIERRA_SEED=%" PRIu64 " %s\n", seed, seed,
           program_invocation_name);
    (void)fflush(stdout); /* A crash must not swallow the seed. */
    return seed;
}

uint64_t seed_number(const char *name, uint64_t by_default)
{
    const char *text = getenv(name); /* NOLINT(concurrency-mt-unsafe) */
    uint64_t number = by_default;

    if (text != NULL && !num_parse_u64(bytes_cstr(text), &number)) {
        (void)fprintf(stderr, "%s is not a number\n", name);
        exit(2); /* NOLINT(concurrency-mt-unsafe) */
    }
    return number;
}

void seed_rng_fixed(struct rng *rng, uint64_t seed, uint64_t stream)
{
    struct rng base;

    rng_seed(&base, seed);
    rng_seed(rng, rng_u64(&base) ^ (stream * UINT64_C(0x9e3779b97f4a7c15)));
}

void seed_rng(struct rng *rng, uint64_t stream)
{
    seed_rng_fixed(rng, seed_get(), stream);
}
