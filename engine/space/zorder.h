/*
 * The order of a sorted set: its elements by score, then by member bytes, as a counted B+tree.
 *
 *     inner   0  2  count   children in use
 *             2  2  cap
 *             8  .. child[cap], 32 bytes each: score and element of the first entry below (not
 *                           kept for child 0), node, number of entries below
 *
 *     leaf    0  16 previous and next leaf
 *             16 2  first   entries stand at first .. first + count, so that removal at either
 *             18 2  count   end moves nothing
 *             20 2  cap     steps that fill jemalloc's size classes
 *             24 .. score[cap], 8 bytes each
 *             .. .. element[cap], 8 bytes each
 *
 * All leaves are at the same depth. A full leaf splits in the middle, but at its end when the new
 * entry comes last or first of all, so that ascending and descending insertion fills leaves. A
 * leaf or node that becomes small is joined with a sibling if both fit in three quarters. A set
 * of up to 62 members is one leaf. 16 bytes per element and about 2.5 of overhead.
 *
 * -0.0 and 0.0 are equal; infinities are scores; NaN must not come here. Owned by one shard
 * thread; the elements belong to the caller.
 */
#ifndef TIERRA_ENGINE_SPACE_ZORDER_H
#define TIERRA_ENGINE_SPACE_ZORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct elem;
struct zorder_leaf;

struct zorder {
    void *root; /* height == 0: a leaf, or NULL; else an inner node. */
    uint64_t count;
    size_t bytes; /* Of all nodes, as allocated. */
    uint32_t height;
};

/* An entry. Valid until the next change of the index. */
struct zorder_pos {
    const struct zorder_leaf *leaf;
    uint32_t index;
    double score;
    struct elem *elem;
};

/* Allocates nothing. */
void zorder_init(struct zorder *z);
/* Leaves an empty index; the elements stay. */
void zorder_deinit(struct zorder *z);

/* The member (elem_sub) is absent. */
void zorder_insert(struct zorder *z, double score, struct elem *elem);
/* The entry is there. */
void zorder_remove(struct zorder *z, double score, const struct elem *elem);
/* The element `old` of that member, which may be freed already, is now `elem`. */
void zorder_replace(struct zorder *z, double score, struct bytes member, const struct elem *old,
                    struct elem *elem);

static inline uint64_t zorder_count(const struct zorder *z)
{
    return z->count;
}

/* Memory of the nodes, without struct zorder and the elements. */
static inline size_t zorder_bytes(const struct zorder *z)
{
    return z->bytes;
}

/* Entries before (score, member), which need not be there. */
MUST_USE uint64_t zorder_rank(const struct zorder *z, double score, struct bytes member);
/* Entries with a score below `score`, or, with `or_equal`, not above. */
MUST_USE uint64_t zorder_rank_score(const struct zorder *z, double score, bool or_equal);
/* The same by member; for indexes whose scores are all equal. */
MUST_USE uint64_t zorder_rank_lex(const struct zorder *z, struct bytes member, bool or_equal);

/* All below: false, and `pos` not set, if there is no such entry. */
MUST_USE bool zorder_at(const struct zorder *z, uint64_t rank, struct zorder_pos *pos);
MUST_USE bool zorder_first(const struct zorder *z, struct zorder_pos *pos);
MUST_USE bool zorder_last(const struct zorder *z, struct zorder_pos *pos);

/* Moves to the neighbour; false, and `pos` as it was, at the end. */
MUST_USE bool zorder_next(struct zorder_pos *pos);
MUST_USE bool zorder_prev(struct zorder_pos *pos);

#endif
