/* Making and checking values; the header has the layout. */
#include "bench/load/bench_value.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#define POOL_STEP_BYTES 64

void bench_value_pool_init(struct bench_value_pool *pool, uint64_t seed, bool random, bool verify)
{
    struct rng rng;

    pool->ptr = mem_alloc(BENCH_VALUE_POOL_BYTES);
    pool->verify = verify;
    if (random) {
        rng_seed(&rng, seed);
        rng_bytes(&rng, pool->ptr, BENCH_VALUE_POOL_BYTES);
    } else {
        memset(pool->ptr, 'x', BENCH_VALUE_POOL_BYTES);
    }
}

void bench_value_pool_deinit(struct bench_value_pool *pool)
{
    mem_free(pool->ptr);
    pool->ptr = NULL;
}

uint64_t bench_value_owner(struct bytes key)
{
    return hash64(key.ptr, key.len, 0);
}

uint64_t bench_value_owner_field(uint64_t key_owner, struct bytes field)
{
    return hash64(field.ptr, field.len, key_owner);
}

static void fill(const struct bench_value_pool *pool, struct rng *rng, uint8_t *out, size_t len)
{
    const size_t places = BENCH_VALUE_POOL_BYTES / POOL_STEP_BYTES;
    size_t at = ((size_t)rng_u64(rng) % places) * POOL_STEP_BYTES;

    while (len > 0) {
        const size_t n = size_min(len, BENCH_VALUE_POOL_BYTES - at);
        memcpy(out, pool->ptr + at, n);
        out += n;
        len -= n;
        at = 0;
    }
}

static uint32_t payload_sum(struct bytes value, uint64_t owner)
{
    const struct bytes payload = bytes_from(value, BENCH_VALUE_VERIFY_BYTES_MIN);

    return sum32(payload.ptr, payload.len) ^ (uint32_t)owner;
}

void bench_value_write(const struct bench_value_pool *pool, struct rng *rng, uint64_t owner,
                       uint8_t *out, size_t len)
{
    if (!pool->verify) {
        fill(pool, rng, out, len);
        return;
    }
    CHECK(len >= BENCH_VALUE_VERIFY_BYTES_MIN);
    fill(pool, rng, out + BENCH_VALUE_VERIFY_BYTES_MIN, len - BENCH_VALUE_VERIFY_BYTES_MIN);
    le64_store(out, owner);
    le32_store(out + 8, payload_sum(bytes_of(out, len), owner));
}

bool bench_value_check(struct bytes value, uint64_t owner)
{
    return value.len >= BENCH_VALUE_VERIFY_BYTES_MIN && le64_load(value.ptr) == owner &&
           le32_load(value.ptr + 8) == payload_sum(value, owner);
}
