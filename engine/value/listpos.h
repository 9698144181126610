/*
 * Positions of list elements: byte strings whose order is the order of the list.
 *
 * A position is one or more steps. The first step places a run of pushed elements, each further
 * one an insertion beside the element that the steps before it name:
 *
 *     first step    rank 8 biased big-endian | run | 0x80
 *     further step  side 1 (0x40 before, 0xc0 after) | run | 0x80
 *     run           origin 1 | hlc 8 big-endian | offset 4 biased big-endian
 *
 * The 0x80 that ends a step is replaced by the side when an insertion nests there: before < the
 * element itself < after. A run belongs to one origin, and is named by the HLC that began it, so
 * that concurrent runs at one place stay in one piece each: they sort by origin, then by HLC.
 *
 * A position is never used twice: a new run has a new tag, and a run goes on only beyond the
 * furthest offset that the key row remembers (struct list_meta), whether or not the element there
 * still exists.
 *
 * Pushing costs 22 bytes a position, whatever the length of the list. Insertions after the last
 * inserted element stay at one depth; others grow by 14 bytes; a position longer than
 * LISTPOS_BYTES_MAX is refused, and the caller writes the list anew.
 */
#ifndef TIERRA_ENGINE_VALUE_LISTPOS_H
#define TIERRA_ENGINE_VALUE_LISTPOS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/tag.h"
#include "engine/value/vv.h"

#define LISTPOS_RUN_BYTES   13
#define LISTPOS_FIRST_BYTES (8 + LISTPOS_RUN_BYTES + 1)
#define LISTPOS_STEP_BYTES  (1 + LISTPOS_RUN_BYTES) /* Its side stands where an end was. */
#define LISTPOS_BYTES_MAX   1024

/* One end of a run: how far it was ever used. */
struct list_end {
    int64_t rank;
    uint64_t hlc; /* Of the run. */
    int32_t offset;
};

struct list_run {
    uint8_t origin;
    /* Of the run with the lowest rank, of several there the earliest: its lowest offset ever used.
     */
    struct list_end front;
    struct list_end back; /* Of the run with the highest rank, the latest: its highest offset. */
};

/* What the key row of a list remembers. Joining keeps the extremes. */
struct list_meta {
    bool used;
    unsigned runs_count;
    int64_t rank_min;
    int64_t rank_max;
    struct list_run runs[VV_ORIGINS_MAX]; /* By origin. */
};

struct listpos {
    uint16_t len;
    uint8_t bytes[LISTPOS_BYTES_MAX];
};

static inline struct bytes listpos_bytes(const struct listpos *pos)
{
    return bytes_of(pos->bytes, pos->len);
}

/* 0 or -ERR_CORRUPT: not a position. */
MUST_USE int listpos_check(struct bytes pos);

/*
 * The position for a push at the back or at the front. `last` (`first`): the position of the
 * present last (first) element; empty: there is none, or it is not known; then `meta` alone
 * decides. `meta`: of the key row (row_list_meta). Join what listpos_meta gives for the result into
 * it before the next push.
 */
void listpos_back(struct bytes last, const struct list_meta *meta, struct tag tag,
                  struct listpos *out);
void listpos_front(struct bytes first, const struct list_meta *meta, struct tag tag,
                   struct listpos *out);

/*
 * A position between two neighbours, which are not empty and in order. `index` numbers the
 * insertions of one batch: each takes another. 0; -ERR_LIMIT: it would be too long; -ERR_CORRUPT.
 */
MUST_USE int listpos_between(struct bytes before, struct bytes after, struct tag tag,
                             uint32_t index, struct listpos *out);

/* What a list's key row has to remember of a position. False if it is not one. */
MUST_USE bool listpos_meta(struct bytes pos, struct list_meta *out);

/* The runs stay as they are: runs_count says how many count. */
static inline void list_meta_init(struct list_meta *meta)
{
    meta->used = false;
    meta->runs_count = 0;
    meta->rank_min = 0;
    meta->rank_max = 0;
}

/*
 * The runs of one origin, for who keeps no others: an end that another origin's run shares a rank
 * with has its offset at the limit, so that no push goes on there. False: there are none, and
 * `*out` stays.
 */
bool list_meta_own(const struct list_meta *meta, uint8_t origin, struct list_run *out);

/* 0 or -ERR_LIMIT: more than VV_ORIGINS_MAX origins. */
MUST_USE int list_meta_join(struct list_meta *into, const struct list_meta *from);

#endif
