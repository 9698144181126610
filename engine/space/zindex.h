/*
 * The order of a zset: elements by (score, member bytes).
 *
 * A B+tree whose leaves hold scores and element pointers side by side, 16 bytes an element, and
 * whose inner nodes know for each child its first entry and how many elements are below it: rank
 * and access by rank cost one descent. Leaves and inner nodes are linked left to right. A node has
 * the allocator's size for what it holds, in small steps up to 1 KiB.
 *
 * Scores compare as numbers (0 and -0 are equal), never NaN. The tree borrows the elements and
 * reads their subkeys where scores are equal: an element must be taken out before it is freed or
 * its subkey changes, and zindex_move has to be told when it moves.
 *
 * Ranks count from 0. Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_ZINDEX_H
#define TIERRA_ENGINE_SPACE_ZINDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct elem;
struct zindex_leaf;

/* Embedded in a collection. Fields are for this module. */
struct zindex {
    void *root; /* NULL, a leaf if height is 1, else an inner node. */
    uint64_t bytes;
    uint32_t count;
    uint32_t height; /* Levels. */
};

/* Allocates nothing. */
void zindex_init(struct zindex *z);
/* Frees the tree, not the elements. The index is then empty and usable. */
void zindex_deinit(struct zindex *z);

static inline uint32_t zindex_count(const struct zindex *z)
{
    return z->count;
}

/* Memory of the tree without struct zindex and without the elements. Exact, O(1). */
static inline uint64_t zindex_bytes(const struct zindex *z)
{
    return z->bytes;
}

/* The element is not in the tree. Cannot fail. */
void zindex_insert(struct zindex *z, double score, struct elem *elem);

/* The element is in the tree with that score. */
void zindex_remove(struct zindex *z, double score, const struct elem *elem);

/* Another score for an element of the tree; cheap if its place stays. */
void zindex_update(struct zindex *z, double score, double new_score, struct elem *elem);

/*
 * The element at `old` was moved (realloc) to `elem`: same subkey, same score. `old` may be freed
 * already: it is not read.
 */
void zindex_move(struct zindex *z, double score, const struct elem *old, struct elem *elem);

/* Takes out the first or last element; NULL if there is none. */
struct elem *zindex_pop_first(struct zindex *z, double *out_score);
struct elem *zindex_pop_last(struct zindex *z, double *out_score);

/*
 * A place between elements. In the order of the tree: before all of a score, before or after a
 * member of it (which need not exist), after all of the score.
 */
enum zindex_side {
    ZINDEX_BEFORE_SCORE, /* The member does not matter. */
    ZINDEX_BEFORE_MEMBER,
    ZINDEX_AFTER_MEMBER,
    ZINDEX_AFTER_SCORE, /* The member does not matter. */
};

struct zindex_bound {
    double score;
    struct bytes member;
    enum zindex_side side;
};

/* How many elements are before the place: ZRANK, ZCOUNT, ZLEXCOUNT. O(log n). */
uint32_t zindex_rank(const struct zindex *z, const struct zindex_bound *bound);

/*
 * An iterator. `elem` is NULL beyond either end. Valid until the tree changes. To remove while
 * walking: zindex_remove, then zindex_at_rank or zindex_seek again.
 */
struct zindex_at {
    struct elem *elem;
    double score;
    const struct zindex_leaf *leaf;
    uint32_t index;
};

/* The element of that rank; beyond the end if there is none. O(log n). */
void zindex_at_rank(const struct zindex *z, uint32_t rank, struct zindex_at *out);
/* The first element after the place, or the last one before it. O(log n). */
void zindex_seek(const struct zindex *z, const struct zindex_bound *bound, struct zindex_at *out);
void zindex_seek_back(const struct zindex *z, const struct zindex_bound *bound,
                      struct zindex_at *out);
void zindex_first(const struct zindex *z, struct zindex_at *out);
void zindex_last(const struct zindex *z, struct zindex_at *out);

/* `at->elem` is not NULL. */
void zindex_next(struct zindex_at *at);
void zindex_prev(struct zindex_at *at);

#endif
