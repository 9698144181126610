/*
 * Joins of the usual rows without decoding them. Internal to this folder.
 *
 * A *plain operand* is what SET, DEL and changes of elements make where no counter was seen: a
 * GENERAL row that has, in this order, only
 *
 *     ctx
 *     rctx, clear    each only as equal to ctx; `by` of clear
 *     a value        without cuts, not covered by ctx
 *     an expiry      that came with the value
 *
 * Joined to a full row that is a value or a counter which its contexts cover, or nothing, it leaves
 * its value alone; where one of the values is in chunks only if it does not clear, for the vector
 * would stay. A change of a part of a string in chunks does not, and beside a clear vector takes
 * the place of a value that it has seen. Likewise two states of one counter run leave the later
 * one, and two assertions of one origin that a key is a collection of one type; beside other parts,
 * too, if the row has an outline (row_outline.h). These make up nearly all joins that there are;
 * whatever else there is takes the way by states (row_merge.c), with the same result
 * (prop_value_laws compares the two).
 */
#ifndef TIERRA_ENGINE_VALUE_ROW_PLAIN_H
#define TIERRA_ENGINE_VALUE_ROW_PLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "engine/value/tag.h"
#include "engine/value/vv.h"

/* A plain operand to be written. */
struct row_plain {
    const struct vv *ctx; /* Not empty. */
    struct tag tag;       /* Of the value, and of who clears. */
    bool removes;         /* With rctx, */
    bool clears;          /* with clear, */
    bool has_value;       /* with a value, */
    bool chunked;         /* that is in chunks, */
    struct bytes value;
    struct tag generation; /* of this generation, */
    uint64_t len;          /* so long; */
    uint64_t at_ms;        /* and with its expiry; 0: never. */
};

/* 0 or -ENOMEM. */
MUST_USE int row_plain_append(const struct row_plain *plain, struct buf *out);

/*
 * What row_merge_fold makes of one operand, and row_merge_partial of two. 1: appended; 0: not such
 * rows, nothing was appended; -ENOMEM.
 */
MUST_USE int row_plain_fold(struct bytes existing, struct bytes operand, struct buf *out);
MUST_USE int row_plain_join(struct bytes older, struct bytes newer, struct buf *out);

#endif
