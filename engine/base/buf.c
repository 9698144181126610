/*
 * Growth and the rarer operations of the byte buffer.
 */
#include "engine/base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

/* The first block: smaller ones would only be outgrown at once. */
#define BUF_BYTES_MIN 64

void buf_init(struct buf *b, size_t limit)
{
    CHECK(limit > 0);
    *b = (struct buf){.limit = limit};
}

void buf_deinit(struct buf *b)
{
    mem_free(b->ptr);
    *b = (struct buf){.limit = b->limit};
}

static int grow(struct buf *b, size_t n, size_t whole)
{
    CHECK(b->len <= b->limit);
    if (n > b->limit - b->len)
        return -ERR_LIMIT;

    const size_t need = b->len + n;
    size_t cap = size_max(b->cap, BUF_BYTES_MIN);
    while (cap < need) {
        /* The limit ends the doubling before it can overflow. */
        cap = cap > b->limit / 2 ? b->limit : cap * 2;
    }
    cap = size_max(size_min(size_min(cap, b->limit), whole), need);

    uint8_t *ptr = mem_try_realloc(b->ptr, cap);
    if (ptr == NULL)
        return -ENOMEM;
    b->ptr = ptr;
    b->cap = cap;
    return 0;
}

int buf_grow(struct buf *b, size_t n)
{
    return grow(b, n, SIZE_MAX);
}

int buf_reserve_of(struct buf *b, size_t n, size_t whole)
{
    return n <= b->cap - b->len ? 0 : grow(b, n, whole < b->len + n ? SIZE_MAX : whole);
}

/*
 * The text did not fit; by now its length is known. Formats into a block of its own and appends
 * that.
 */
static PRINTF_LIKE(3, 0) int buf_print_long(struct buf *b, size_t len, const char *format,
                                            va_list args)
{
    if (len > b->limit - b->len)
        return -ERR_LIMIT;
    /* The terminating zero may not fit below the limit, hence the detour. */
    char *text = mem_try_alloc(len + 1);
    if (text == NULL)
        return -ENOMEM;
    (void)vsnprintf(text, len + 1, format, args); /* The same length as before. */
    const int err = buf_append(b, text, len);
    mem_free(text);
    return err;
}

int buf_printf(struct buf *b, const char *format, ...)
{
    const size_t room = b->cap - b->len;
    va_list args;

    va_start(args, format);
    const int len = vsnprintf(room == 0 ? NULL : (char *)buf_end(b), room, format, args);
    va_end(args);
    if (len < 0)
        return -EINVAL;
    if ((size_t)len < room) {
        b->len += (size_t)len;
        return 0;
    }

    va_start(args, format);
    const int err = buf_print_long(b, (size_t)len, format, args);
    va_end(args);
    return err;
}

void buf_consume(struct buf *b, size_t n)
{
    CHECK(n <= b->len);
    if (n == 0)
        return;
    b->len -= n;
    if (b->len != 0)
        memmove(b->ptr, b->ptr + n, b->len);
}

void buf_shrink(struct buf *b, size_t slack)
{
    if (b->cap - b->len <= slack)
        return;
    if (b->len == 0) {
        buf_deinit(b);
        return;
    }
    uint8_t *ptr = mem_try_realloc(b->ptr, b->len);
    if (ptr == NULL)
        return; /* The old block is still good. */
    b->ptr = ptr;
    b->cap = b->len;
}

uint8_t *buf_take(struct buf *b, size_t *out_len)
{
    uint8_t *ptr = b->ptr;

    *out_len = b->len;
    *b = (struct buf){.limit = b->limit};
    return ptr;
}
