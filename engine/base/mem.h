/*
 * Memory: the only module that calls the allocator.
 *
 * mem_alloc and its relatives abort when memory is exhausted, because budgets refuse work long
 * before. Sizes that a client or a peer chooses go through mem_try_*, which return NULL instead.
 *
 * With TIERRA_JEMALLOC jemalloc replaces malloc for the whole process, RocksDB included; without it
 * (sanitizers) the same functions run on the system's malloc. All functions: any thread.
 */
#ifndef TIERRA_ENGINE_BASE_MEM_H
#define TIERRA_ENGINE_BASE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"

/* `size` may be 0: the result is then a unique pointer that can be freed. Never NULL. */
MUST_USE void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
MUST_USE void *mem_zalloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
/* `count` zeroed elements of `size` bytes; aborts if the product overflows. */
MUST_USE void *mem_zalloc_array(size_t count, size_t size)
    __attribute__((malloc, alloc_size(1, 2), returns_nonnull));
MUST_USE void *mem_realloc(void *ptr, size_t size) __attribute__((alloc_size(2), returns_nonnull));
/* `alignment`: a power of two and a multiple of sizeof(void *). Freed by mem_free. */
MUST_USE void *mem_alloc_aligned(size_t alignment, size_t size)
    __attribute__((malloc, alloc_size(2), returns_nonnull));
MUST_USE char *mem_strdup(const char *text) __attribute__((malloc, returns_nonnull));

/* NULL on exhaustion; mem_try_realloc then leaves the old block as it was. */
MUST_USE void *mem_try_alloc(size_t size) __attribute__((malloc, alloc_size(1)));
MUST_USE void *mem_try_zalloc(size_t size) __attribute__((malloc, alloc_size(1)));
MUST_USE void *mem_try_realloc(void *ptr, size_t size) __attribute__((alloc_size(2)));

/* NULL is allowed. */
void mem_free(void *ptr);

/* The bytes that the block really takes, for accounting; 0 for NULL. */
size_t mem_usable(const void *ptr);

/*
 * mem_free for a block whose requested size the caller knows: saves the allocator a look-up.
 * `size` is what was last passed to mem_alloc or mem_realloc, or any size of the same class. `ptr`
 * is not NULL.
 */
void mem_free_sized(void *ptr, size_t size);

/*
 * The bytes that a block of `size` takes: the allocator's size classes, four to each doubling.
 * Blocks of one class are interchangeable, so that a structure that keeps the sizes it asked for
 * knows its memory exactly, without asking the allocator. Any thread. The same without jemalloc.
 */
static inline size_t mem_class_bytes(size_t size)
{
    if (likely(size <= 128))
        return size <= 8 ? 8 : (size + 15) & ~(size_t)15;
    const unsigned top = 63u - (unsigned)__builtin_clzll((unsigned long long)(size - 1));
    const size_t step = (size_t)1 << (top - 2);

    return (size + step - 1) & ~(step - 1);
}

/* `*out` is the exact result; true means that it overflowed and `*out` must not be used. */
static inline MUST_USE bool size_add_overflow(size_t a, size_t b, size_t *out)
{
    return __builtin_add_overflow(a, b, out);
}

static inline MUST_USE bool size_mul_overflow(size_t a, size_t b, size_t *out)
{
    return __builtin_mul_overflow(a, b, out);
}

/* All in bytes. Without jemalloc, active and retained are estimates from the heap's own figures. */
struct mem_stats {
    uint64_t allocated; /* Handed out to the program. */
    uint64_t active;    /* In pages that hold at least one allocation. */
    uint64_t resident;  /* Backed by physical pages, the allocator's own included. */
    uint64_t retained;  /* Address space kept for reuse. */
};

/*
 * Costs some microseconds (jemalloc refreshes its counters): call it from a timer, not per
 * command.
 */
void mem_stats(struct mem_stats *out);

/* The name and version of the allocator in use, for INFO. */
const char *mem_allocator(void);

/* Resident set size of the process as the kernel counts it; 0 if it cannot be read. One pread. */
uint64_t mem_rss_bytes(void);

/* Asks the allocator to give unused pages back to the kernel. May take milliseconds. */
void mem_purge(void);

/*
 * Fault injection, for tests: the n-th mem_try_* call from now (1 is the next one) and the
 * `repeat` calls after it return NULL. n = 0 switches it off.
 */
void mem_fault_set(uint64_t n, uint64_t repeat);
/*
 * How many calls failed since the last mem_fault_set: 0 means that the code under test got
 * through.
 */
uint64_t mem_fault_hits(void);

#endif
