/*
 * A borrowed slice of memory: pointer and length.
 *
 * Passed by value. It owns nothing; it is valid until its owner is next changed. A slice of
 * length 0 may have any pointer, NULL included.
 */
#ifndef TIERRA_ENGINE_BASE_BYTES_H
#define TIERRA_ENGINE_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/attr.h"
#include "engine/base/check.h"

struct bytes {
    const uint8_t *ptr;
    size_t len;
};

static inline struct bytes bytes_of(const void *ptr, size_t len)
{
    return (struct bytes){.ptr = ptr, .len = len};
}

/* The text without its terminating zero. */
static inline struct bytes bytes_cstr(const char *text)
{
    return (struct bytes){.ptr = (const uint8_t *)text, .len = strlen(text)};
}

/* A string literal as initialiser of static storage, as in a table; zero bytes in it count. */
#define BYTES_INIT(text)                                              \
    {                                                                 \
        .ptr = (const uint8_t *)("" text ""), .len = sizeof(text) - 1 \
    }

/* A string literal as an expression. */
#define BYTES_LIT(text) ((struct bytes)BYTES_INIT(text))

static inline bool bytes_empty(struct bytes b)
{
    return b.len == 0;
}

static inline bool bytes_eq(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Order by bytes, then by length: < 0, 0, > 0. */
static inline int bytes_cmp(struct bytes a, struct bytes b)
{
    const size_t len = a.len < b.len ? a.len : b.len;
    const int order = len == 0 ? 0 : memcmp(a.ptr, b.ptr, len);

    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

static inline bool bytes_starts(struct bytes b, struct bytes prefix)
{
    return b.len >= prefix.len && bytes_eq(bytes_of(b.ptr, prefix.len), prefix);
}

/* ASCII only, as the names of commands and options are. */
static inline uint8_t ascii_lower(uint8_t c)
{
    return (uint8_t)(c - 'A') < 26 ? (uint8_t)(c | 0x20) : c;
}

static inline bool bytes_eq_nocase(struct bytes b, const char *text)
{
    if (b.len != strlen(text))
        return false;
    for (size_t i = 0; i < b.len; i++) {
        if (ascii_lower(b.ptr[i]) != ascii_lower((uint8_t)text[i]))
            return false;
    }
    return true;
}

/* The part from `start` (at most the length) to the end. */
static inline struct bytes bytes_from(struct bytes b, size_t start)
{
    CHECK(start <= b.len);
    return (struct bytes){.ptr = b.len == 0 ? b.ptr : b.ptr + start, .len = b.len - start};
}

/*
 * Cuts `n` bytes off the front of `*in` into `*out`; false, and nothing changed, if it is
 * shorter.
 */
static inline MUST_USE bool bytes_take(struct bytes *in, size_t n, struct bytes *out)
{
    if (n > in->len)
        return false;
    *out = bytes_of(in->ptr, n);
    *in = bytes_from(*in, n);
    return true;
}

/* The index of the first `c`, or the length if there is none. */
static inline size_t bytes_find_u8(struct bytes b, uint8_t c)
{
    const uint8_t *found = b.len == 0 ? NULL : memchr(b.ptr, c, b.len);

    return found == NULL ? b.len : (size_t)(found - b.ptr);
}

#endif
