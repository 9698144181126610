/*
 * Compiler attributes and the few macros that every layer needs.
 *
 * GNU attributes are used only through the names defined here, so that a reader meets one spelling
 * and a port has one place to look at.
 */
#ifndef TIERRA_ENGINE_BASE_ATTR_H
#define TIERRA_ENGINE_BASE_ATTR_H

#include <stddef.h>
#include <stdint.h>

/* The result carries an error or an ownership that must not be dropped. */
#define MUST_USE __attribute__((warn_unused_result))
/* Drops a MUST_USE result on purpose; say why. A cast to void does not silence gcc. */
#define IGNORE_RESULT(expression) ((void)!(expression))
/* Argument number f is a printf format, a the number of its first argument. */
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NORETURN          __attribute__((noreturn))
#define ALWAYS_INLINE     inline __attribute__((always_inline))
#define NOINLINE          __attribute__((noinline))
#define UNUSED            __attribute__((unused))
#define FALLTHROUGH       __attribute__((fallthrough))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* The struct of `type` whose `member` is at `ptr`. */
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* The pointer without its const, for interfaces of others that forgot the word. */
static inline void *unconst(const void *ptr)
{
    return (void *)(uintptr_t)ptr; /* NOLINT(performance-no-int-to-ptr) */
}

#define ARRAY_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define STATIC_ASSERT(condition) _Static_assert(condition, #condition)

static inline size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t size_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

static inline uint32_t u32_min(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t u32_max(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static inline uint64_t u64_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t u64_max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline int64_t i64_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t i64_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif
