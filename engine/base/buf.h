/*
 * A growable byte buffer with a hard limit.
 *
 * The content is ptr[0 .. len). Capacity doubles up to `limit`, so appending is O(1) on average.
 * Memory comes from mem_try_realloc: a size chosen by a client can fail with -ENOMEM, never
 * abort. Everything returned by pointer or as struct bytes is valid until the next call that
 * changes the buffer. Owned by one thread.
 */
#ifndef TIERRA_ENGINE_BASE_BUF_H
#define TIERRA_ENGINE_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/check.h"

struct buf {
    uint8_t *ptr; /* NULL until the first byte. */
    size_t len;
    size_t cap;
    size_t limit; /* The content never gets longer than this. */
};

/* `limit` in bytes, above 0. Allocates nothing. */
void buf_init(struct buf *b, size_t limit);

/* Frees the memory. The buffer is then empty and usable, with its limit. */
void buf_deinit(struct buf *b);

/* Empties the buffer and keeps its memory. */
static inline void buf_clear(struct buf *b)
{
    b->len = 0;
}

/* The slow path of buf_reserve. */
MUST_USE NOINLINE int buf_grow(struct buf *b, size_t n);

/*
 * Makes room for `n` more bytes. Returns 0, -ERR_LIMIT or -ENOMEM; after an error nothing
 * changed.
 */
static ALWAYS_INLINE MUST_USE int buf_reserve(struct buf *b, size_t n)
{
    if (likely(n <= b->cap - b->len))
        return 0;
    return buf_grow(b, n);
}

/*
 * The same for a content that will be `whole` bytes long as far as is known: the block is not made
 * longer than that, nor more than twice as long as what is there, unless `n` does not fit in it.
 */
MUST_USE int buf_reserve_of(struct buf *b, size_t n, size_t whole);

/* Where the next byte goes; write at most what was reserved there, then buf_commit. */
static inline uint8_t *buf_end(struct buf *b)
{
    return b->ptr + b->len;
}

/* Counts `n` bytes written at buf_end as content. */
static inline void buf_commit(struct buf *b, size_t n)
{
    CHECK(n <= b->cap - b->len);
    b->len += n;
}

static inline struct bytes buf_bytes(const struct buf *b)
{
    return bytes_of(b->ptr, b->len);
}

/* The appending functions return 0, -ERR_LIMIT or -ENOMEM; after an error nothing changed. */
static inline MUST_USE int buf_append(struct buf *b, const void *ptr, size_t n)
{
    const int err = buf_reserve(b, n);

    if (unlikely(err != 0))
        return err;
    if (likely(n != 0))
        memcpy(b->ptr + b->len, ptr, n);
    b->len += n;
    return 0;
}

static inline MUST_USE int buf_append_bytes(struct buf *b, struct bytes data)
{
    return buf_append(b, data.ptr, data.len);
}

static inline MUST_USE int buf_append_u8(struct buf *b, uint8_t value)
{
    const int err = buf_reserve(b, 1);

    if (unlikely(err != 0))
        return err;
    b->ptr[b->len++] = value;
    return 0;
}

/* Appends formatted text, without a terminating zero. */
MUST_USE int buf_printf(struct buf *b, const char *format, ...) PRINTF_LIKE(2, 3);

/* Drops the first `n` bytes (at most the length). O(rest): the rest moves to the front. */
void buf_consume(struct buf *b, size_t n);

/* Cuts the content to its first `len` bytes. */
static inline void buf_truncate(struct buf *b, size_t len)
{
    CHECK(len <= b->len);
    b->len = len;
}

/* Gives memory beyond the content back if more than `slack` bytes are unused. */
void buf_shrink(struct buf *b, size_t slack);

/*
 * Hands the memory over: the caller owns the result (mem_free; NULL if there is none) and the
 * buffer starts anew. `*out_len` is the length of the content.
 */
MUST_USE uint8_t *buf_take(struct buf *b, size_t *out_len);

#endif
