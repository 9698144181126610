/*
 * The one copy of xxh3's code for long input.
 */
#include "engine/base/sum.h"

uint64_t sum64(const void *ptr, size_t len)
{
    return XXH3_64bits(ptr, len);
}

uint64_t sum64_seed(const void *ptr, size_t len, uint64_t seed)
{
    return XXH3_64bits_withSeed(ptr, len, seed);
}

uint32_t sum32(const void *ptr, size_t len)
{
    return (uint32_t)sum64(ptr, len);
}
