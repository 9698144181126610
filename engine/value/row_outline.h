/*
 * Rows of the GENERAL form that are read and changed without a state. Internal to this folder.
 *
 * Where these rows come from: a collection that was made anew has a clear vector beside its type as
 * long as it is in DRAM, and a number that was SET and is incremented since is a value and runs. So
 * each change and each look at such keys meets them. An outline says where the parts stand in a row
 * that has, in this order, only
 *
 *     ctx
 *     rctx     only as equal to ctx
 *     clear    and its `by`
 *     a value  one, without cuts
 *     runs     without a floating point part
 *     types
 *     rows
 *
 * whole numbers of which it checks as row_decode does. Anything else takes the way by states, with
 * the same result (prop_value_laws compares the two).
 */
#ifndef TIERRA_ENGINE_VALUE_ROW_OUTLINE_H
#define TIERRA_ENGINE_VALUE_ROW_OUTLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "engine/value/tag.h"
#include "engine/value/vv.h"

struct row_view;

struct row_outline {
    unsigned parts; /* enum row_part */
    struct bytes row;
    struct bytes ctx;   /* Vectors as they are encoded, without their count. */
    struct bytes clear; /* Empty if it is that of ctx. */
    struct tag sib;     /* Tag of the value. */
    struct bytes value; /* Empty if it is in chunks: */
    bool chunked;
    struct tag generation;
    uint64_t len;
    size_t sib_at;  /* Offset of the values in the row. */
    size_t runs_at; /* Offset of the first one in the row. */
    unsigned runs_count;
    size_t types_at;
    unsigned types_count;
};

/* One of its runs. */
struct row_outline_run {
    struct bytes bytes; /* As it stands in the row. */
    uint8_t origin;
    uint64_t start;
    uint64_t hlc;
    int64_t isum;
};

/* False for what is something else, or damaged. */
MUST_USE bool row_outline_open(struct bytes row, struct row_outline *out);

/* The run of an origin; false if there is none. */
MUST_USE bool row_outline_run(const struct row_outline *o, uint8_t origin,
                              struct row_outline_run *out);

/* Appends the row with `run` (its bytes are not looked at) in place of `old`. 0 or -ENOMEM. */
MUST_USE int row_outline_put_run(const struct row_outline *o, const struct row_outline_run *old,
                                 const struct row_outline_run *run, struct buf *out);

/*
 * Appends the row joined with a later state of a run that it has, or with a later tag of an
 * assertion that it has: neither is then covered, and nothing else changes. 1; 0: not such a case,
 * nothing was appended; -ENOMEM.
 */
MUST_USE int row_outline_join_run(const struct row_outline *o, const struct row_outline_run *run,
                                  struct buf *out);
MUST_USE int row_outline_join_type(const struct row_outline *o, uint8_t type, struct tag tag,
                                   struct buf *out);

/* Appends the row with a string in chunks in place of its value. 0 or -ENOMEM. */
MUST_USE int row_outline_put_sib(const struct row_outline *o, struct tag tag, struct tag generation,
                                 uint64_t len, struct buf *out);

/* What the row shows, into `*out`, which is all zeros; false if that takes a state. */
MUST_USE bool row_outline_view(const struct row_outline *o, struct row_view *out);

/* The clear vector. */
void row_outline_clear(const struct row_outline *o, struct vv *out);

/*
 * The sum of the value, 0 if there is none, and of all runs. False if it is no integer of 64 bits.
 */
MUST_USE bool row_outline_sum(const struct row_outline *o, int64_t *out);

/* --- a value in chunks as it is encoded, behind its tag and cuts --- */

#define ROW_CHUNKED_SIB_BYTES_MAX (1 + TAG_BYTES + 10)

/* Returns the end. */
uint8_t *row_outline_put_chunked(uint8_t *at, struct tag generation, uint64_t len);
/* Behind the number that says that it is one. False unless it is sound. */
MUST_USE bool row_outline_take_chunked(struct bytes *in, struct tag *generation, uint64_t *len);

/* --- vectors as they are encoded --- */

/* The vector at the front of `*in`, which moves on, without its count; false unless it is sound and
   not empty. */
MUST_USE bool row_vector_take(struct bytes *in, struct bytes *out);
uint64_t row_vector_get(struct bytes vector, uint8_t origin);

#endif
