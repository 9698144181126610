/*
 * Values: incompressible bytes, or values that prove themselves.
 *
 * Random values are cut from a pool of random bytes at a random multiple of 64: as cheap as a
 * copy, and with 16,384 places to start two values that meet in one block of a store hardly ever
 * share bytes. Constant values are all 'x'.
 *
 * Verifiable values carry whose they are and a checksum:
 *
 *     0   8  owner: hash of the key (and of the field), little-endian
 *     8   4  sum32 of the payload, mixed with the low half of the owner, little-endian
 *     12  .. payload
 *
 * A value that is damaged, cut, padded or belongs to another key is detected; an older value of
 * the same key is not.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_VALUE_H
#define TIERRA_BENCH_LOAD_BENCH_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/rng.h"

#define BENCH_VALUE_VERIFY_BYTES_MIN 12
#define BENCH_VALUE_POOL_BYTES       (1u << 20)

/* Shared by all workers, read-only after init. */
struct bench_value_pool {
    uint8_t *ptr;
    bool verify;
};

void bench_value_pool_init(struct bench_value_pool *pool, uint64_t seed, bool random, bool verify);
void bench_value_pool_deinit(struct bench_value_pool *pool);

/* The owner that a key, or a key and a field, stands for. */
uint64_t bench_value_owner(struct bytes key);
uint64_t bench_value_owner_field(uint64_t key_owner, struct bytes field);

/* Fills out[0 .. len); with verify, `len` is at least BENCH_VALUE_VERIFY_BYTES_MIN. */
void bench_value_write(const struct bench_value_pool *pool, struct rng *rng, uint64_t owner,
                       uint8_t *out, size_t len);

/* Whether `value` was written for `owner` by a pool with verify. */
bool bench_value_check(struct bytes value, uint64_t owner);

#endif
