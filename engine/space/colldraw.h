/*
 * Random elements of a hash or set on flash, without a look at the others.
 *
 * Rows of fields and members stand by 48 bits of a hash (rowkey.h). Their space is cut into equal
 * windows, as many as leave 16 to 31 elements in each on average. A draw takes a window, reads
 * what is there, and takes one of its c elements, but with probability c / r only; else it is
 * repeated. So each element is as likely as any other, as long as no window has more than r: at six
 * standard deviations above the average less than one in a million has, whose elements come a
 * little too seldom.
 *
 *     hash  0 |....|....|....|....|....|....| 2^48       try:  x  x  take
 *
 * A draw takes two or three tries on average, each of them a seek and some steps of a cursor. More
 * elements in a window would mean fewer tries, but more bytes to read where values are long.
 *
 * Used by collstream.c, on a reader's thread.
 */
#ifndef TIERRA_ENGINE_SPACE_COLLDRAW_H
#define TIERRA_ENGINE_SPACE_COLLDRAW_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/tag.h"

struct colldraw;
struct store_iter;

/* Elements that may be drawn if none may come twice: they are remembered. */
#define COLLDRAW_DISTINCT_MAX 4096u

struct colldraw_options {
    struct bytes prefix;      /* Of the row keys. Copied. */
    const struct tag *hidden; /* Rows up to this tag are garbage; NULL: none is. */
    uint64_t count;           /* Elements that there are. */
    uint64_t n;               /* To be drawn, all together. */
    uint64_t seed;            /* Of the choices. */
    bool distinct; /* None twice: n is at most COLLDRAW_DISTINCT_MAX and half of count. */
};

MUST_USE struct colldraw *colldraw_create(const struct colldraw_options *options);
/* NULL is allowed. */
void colldraw_destroy(struct colldraw *d);

/* Still to be drawn. */
uint64_t colldraw_left(const struct colldraw *d);

struct colldraw_row {
    struct bytes sub; /* Borrowed, until the next call. */
    struct bytes row;
};
enum colldraw_result {
    COLLDRAW_ROW,
    COLLDRAW_PAUSE, /* `cost` is spent; to be called again. */
    COLLDRAW_FAILED
};
/*
 * The next one. `it` shows the rows of these keys. `*cost`: what may be spent, in steps of a
 * cursor; counted down. `*err` if it failed: -ERR_CORRUPT, also if there seem to be no elements;
 * -ENOMEM, -errno.
 */
MUST_USE enum colldraw_result colldraw_next(struct colldraw *d, struct store_iter *it,
                                            int64_t *cost, struct colldraw_row *out, int *err);

#endif
