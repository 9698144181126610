/*
 * Inside zorder: the nodes of the tree and the search within one. zorder.h draws them.
 */
#ifndef TIERRA_ENGINE_SPACE_ZORDER_NODE_H
#define TIERRA_ENGINE_SPACE_ZORDER_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/space/obj.h"
#include "engine/space/zorder.h"

#define LEAF_ENTRIES_MAX 62u
/* Of a leaf that is added at either end, where more entries are likely. */
#define LEAF_CAP_NEW   30u
#define INNER_KIDS_MAX 63u
/* Nodes have 15 children at least, or cannot be joined: far more than memory can hold. */
#define ZORDER_HEIGHT_MAX 16u

struct zorder_leaf {
    struct zorder_leaf *prev;
    struct zorder_leaf *next;
    uint16_t first;
    uint16_t count;
    uint16_t cap;
    uint16_t zero;
    double score[]; /* cap scores, then cap pointers. */
};
STATIC_ASSERT(sizeof(struct zorder_leaf) == 24);

struct zkid {
    double score; /* Of the first entry below, and its element; not kept for child 0. */
    struct elem *elem;
    void *node;
    uint64_t count;
};
STATIC_ASSERT(sizeof(struct zkid) == 32);

struct zinner {
    uint16_t count;
    uint16_t cap;
    uint32_t zero;
    struct zkid kid[];
};
STATIC_ASSERT(sizeof(struct zinner) == 8);

/* One step of the way from the root to a leaf. */
struct zstep {
    struct zinner *node;
    uint32_t at;
};

enum zkey_kind {
    ZKEY_ENTRY, /* Score, then member. */
    ZKEY_SCORE, /* Score alone. */
    ZKEY_LEX    /* Member alone. */
};

struct zkey {
    double score;
    struct bytes member;
    const struct elem *same; /* Known to have that member; never read. Or NULL. */
    enum zkey_kind kind;
};

static inline double *zleaf_scores(struct zorder_leaf *leaf)
{
    return leaf->score + leaf->first;
}

static inline struct elem **zleaf_elems(struct zorder_leaf *leaf)
{
    return (struct elem **)(void *)(leaf->score + leaf->cap) + leaf->first;
}

/* Smallest capacity for that many entries whose leaf fills a size class of jemalloc. */
uint32_t zleaf_cap_for(uint32_t count);
MUST_USE struct zorder_leaf *zleaf_new(struct zorder *z, uint32_t cap);
void zleaf_free(struct zorder *z, struct zorder_leaf *leaf);
/* Another leaf in place of `leaf`, its neighbours told; free space is behind, or in front. */
MUST_USE struct zorder_leaf *zleaf_resize(struct zorder *z, struct zorder_leaf *leaf, uint32_t cap,
                                          bool room_in_front);
/* There is room. */
void zleaf_put(struct zorder_leaf *leaf, uint32_t index, double score, struct elem *elem);
void zleaf_take(struct zorder_leaf *leaf, uint32_t index);
/* Moves the entries from `index` on to the end of `to`, which has room behind. */
void zleaf_move_tail(struct zorder_leaf *leaf, uint32_t index, struct zorder_leaf *to);

MUST_USE struct zinner *zinner_new(struct zorder *z, uint32_t kids);
void zinner_free(struct zorder *z, struct zinner *inner);
/* Another node in place of `inner` with room for `kids`. */
MUST_USE struct zinner *zinner_grow(struct zorder *z, struct zinner *inner, uint32_t kids);
/* There is room. */
void zinner_put(struct zinner *inner, uint32_t at, const struct zkid *kid);
void zinner_take(struct zinner *inner, uint32_t at);
/* Splits a full node while `kid` is inserted at `at` > 0; returns the new right sibling. */
MUST_USE struct zkid zinner_split(struct zorder *z, struct zinner *inner, uint32_t at,
                                  const struct zkid *kid);

/* Scores below `score`, or not above it, in an ascending array; `stride` in words of 8 bytes. */
static ALWAYS_INLINE uint32_t scores_before(const double *scores, size_t stride, uint32_t n,
                                            double score, bool or_equal)
{
    const double *base = scores;

    if (n == 0)
        return 0;
    while (n > 1) {
        const uint32_t half = n / 2;
        const double mid = base[(half - 1) * stride];
        base = (or_equal ? mid <= score : mid < score) ? base + half * stride : base;
        n -= half;
    }
    return (uint32_t)((size_t)(base - scores) / stride) +
           (or_equal ? *base <= score : *base < score);
}

/* Whether the member of `e` comes before the key's. */
static inline bool member_before(const struct elem *e, const struct zkey *key, bool or_equal)
{
    if (e == key->same)
        return or_equal;
    const int order = bytes_cmp(elem_sub(e), key->member);
    return order < 0 || (order == 0 && or_equal);
}

/* Entries before the key, or equal to it, in an array of `n`. */
static ALWAYS_INLINE uint32_t entries_before(const double *scores, struct elem *const *elems,
                                             size_t stride, uint32_t n, const struct zkey *key,
                                             bool or_equal)
{
    uint32_t low = 0;
    uint32_t high = n;

    if (key->kind != ZKEY_LEX) {
        low = scores_before(scores, stride, n, key->score, key->kind == ZKEY_SCORE && or_equal);
        if (key->kind == ZKEY_SCORE || low == n || scores[low * stride] > key->score)
            return low;
        high = low + scores_before(scores + low * stride, stride, n - low, key->score, true);
    }
    while (low < high) {
        const uint32_t mid = low + (high - low) / 2;
        if (member_before(elems[mid * stride], key, or_equal))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static inline uint32_t zleaf_search(struct zorder_leaf *leaf, const struct zkey *key, bool or_equal)
{
    return entries_before(zleaf_scores(leaf), zleaf_elems(leaf), 1, leaf->count, key, or_equal);
}

/* The child whose entries, or whose neighbour on the right begins, at the place of the key. */
static inline uint32_t zinner_route(const struct zinner *inner, const struct zkey *key,
                                    bool or_equal)
{
    const struct zkid *kid = &inner->kid[1];
    return entries_before(&kid->score, &kid->elem, sizeof(*kid) / sizeof(uint64_t),
                          inner->count - 1u, key, or_equal);
}

/* Begins to load the leaf of a child, while its scores are not needed yet. */
static inline void zleaf_prefetch(const struct zkid *kid)
{
    const char *at = kid->node;
    const size_t size = sizeof(struct zorder_leaf) + (size_t)kid->count * sizeof(double);

    for (size_t i = 0; i < size; i += 64)
        __builtin_prefetch(at + i);
}

/*
 * Leads to the leaf where the search of `key` ends, noting the way in `path`, of z->height steps,
 * the leaf's parent first.
 */
static inline struct zorder_leaf *tree_descend(const struct zorder *z, const struct zkey *key,
                                               bool or_equal, struct zstep *path)
{
    void *node = z->root;

    for (uint32_t level = z->height; level-- > 0;) {
        struct zinner *inner = node;
        const uint32_t at = zinner_route(inner, key, or_equal);
        path[level] = (struct zstep){.node = inner, .at = at};
        if (level == 0)
            zleaf_prefetch(&inner->kid[at]);
        node = inner->kid[at].node;
    }
    return node;
}

#endif
