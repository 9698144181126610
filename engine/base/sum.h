/*
 * Checksums and key hashes, over xxh3 behind our own names. The only file that includes xxhash.
 *
 * The values of sum64 and sum32 are part of the formats on disk and on the wire: xxh3 64-bit as
 * of xxhash 0.8 (stable since then). hash64 is for tables in memory and for row keys; short keys
 * are hashed inline. All functions: any thread.
 */
#ifndef TIERRA_ENGINE_BASE_SUM_H
#define TIERRA_ENGINE_BASE_SUM_H

#include <stddef.h>
#include <stdint.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "engine/base/attr.h"

/* Above this length the call costs nothing next to the hashing: no inline copy. Bytes. */
#define HASH64_INLINE_BYTES_MAX 128

/* XXH3 64-bit of `len` bytes, seed 0. `ptr` may be NULL if `len` is 0. */
uint64_t sum64(const void *ptr, size_t len);

uint64_t sum64_seed(const void *ptr, size_t len, uint64_t seed);

/* The low 32 bits of sum64. */
uint32_t sum32(const void *ptr, size_t len);

/* The same function as sum64_seed, quick for short input. */
static inline uint64_t hash64(const void *ptr, size_t len, uint64_t seed)
{
    if (likely(len <= HASH64_INLINE_BYTES_MAX))
        return XXH3_64bits_withSeed(ptr, len, seed);
    return sum64_seed(ptr, len, seed);
}

#endif
