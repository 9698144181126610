/*
 * Why a row shows what it shows: its parts as a list of facts, each with the tag that it is judged
 * by, and what became of it. For operators; what is shown is decided in row_view.c, and these are
 * its rules:
 *
 *     value    the greatest tag among values is the base of a string; HyperLogLogs that are older
 *              are joined to it, if it is one (row_hll.c)
 *     run      what one member has added to the base; of it counts what neither the base nor a DEL
 *              has seen
 *     type     a collection: the greatest tag among these and the string decides what the key is
 *     expiry   of settings of what is shown, the longest counts
 *
 * Pure, as row.h.
 */
#ifndef TIERRA_ENGINE_VALUE_ROW_EXPLAIN_H
#define TIERRA_ENGINE_VALUE_ROW_EXPLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/fsum.h"
#include "engine/value/row.h"
#include "engine/value/tag.h"
#include "engine/value/vv.h"

/* In this order. */
enum row_fact_kind {
    ROW_FACT_VALUE,  /* A value that was set: `value`, or `len` bytes in chunks of `since`. */
    ROW_FACT_TYPE,   /* A change by which the key is a collection of `type`. */
    ROW_FACT_RUN,    /* What tag.origin added from `since` to `tag`: isum, fsum; counted. */
    ROW_FACT_FLOOR,  /* DELs, the last one `since`, have taken its run up to `tag`: isum, fsum. */
    ROW_FACT_EXPIRY, /* at_ms, set at `tag` for what was written at `since`, of `type`. */
    ROW_FACT_CLEAR   /* DELs have removed all elements, and types, of tag.origin up to `tag`. */
};

enum row_fate {
    ROW_FATE_SHOWN,
    ROW_FATE_ADDED,    /* It counts beside the base. */
    ROW_FATE_JOINED,   /* What it holds is part of what is shown. */
    ROW_FATE_EXPIRED,  /* It would be shown. */
    ROW_FATE_OLDER,    /* Another one has a greater tag. */
    ROW_FATE_TYPE,     /* A change of another type has a greater tag. */
    ROW_FATE_REMOVED,  /* A DEL has seen it. */
    ROW_FATE_REPLACED, /* What is shown was set by one who had seen it. */
    ROW_FATE_WAITS,    /* The base is no number: nothing can be added to it. */
    ROW_FATE_SHORTER,  /* Another setting is longer. */
    ROW_FATE_OTHER,    /* It belongs to something that is not shown. */
    ROW_FATES_COUNT
};

struct row_fact {
    uint8_t kind; /* enum row_fact_kind */
    uint8_t fate; /* enum row_fate; of FLOOR and CLEAR: SHOWN. */
    uint8_t type; /* enum value_type */
    bool chunked;
    struct tag tag;
    struct tag since;
    struct bytes value; /* Borrowed from the row. */
    uint64_t len;
    uint64_t at_ms; /* ROW_EXPIRE_NEVER: PERSIST. */
    int64_t isum;
    struct fsum fsum;
    int64_t counted; /* The part of isum, and of fsum, that counts. */
    struct fsum counted_fsum;
};

struct row_explained {
    struct row_view view; /* Borrows from the row. */
    struct row_fact *facts;
    unsigned count;
};

/* What is not in the row itself. */
struct row_explain_under {
    uint64_t now_ms;
    const struct vv *clear; /* Of an element: the clear vector of its key; NULL: none. */
    bool score;             /* A member of a sorted set: its value is a score. */
};

/*
 * Explains a key row or an element row; not a chunk of a string. An empty row has no facts. 0,
 * -ERR_CORRUPT or -ERR_POISON. To be deinitialised, while the row is there.
 */
MUST_USE int row_explain(struct bytes row, const struct row_explain_under *under,
                         struct row_explained *out);
void row_explained_deinit(struct row_explained *explained);

/* One word each, and a sentence. Static storage. */
const char *row_fate_word(uint8_t fate);
const char *row_fate_text(uint8_t fate);

#endif
