/* The nodes of zorder: room, shifting and splitting. */
#include "engine/space/zorder_node.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

/* --- leaves --- */

uint32_t zleaf_cap_for(uint32_t count)
{
    /* 24 + 16 * cap bytes: 40, 56, .. 128, then four sizes up to each power of two. */
    static const uint8_t caps[] = {1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 18, 22, 26, 30, 38, 46, 54, 62};
    for (size_t i = 0; i < ARRAY_COUNT(caps); i++) {
        if (caps[i] >= count)
            return caps[i];
    }
    return LEAF_ENTRIES_MAX;
}

struct zorder_leaf *zleaf_new(struct zorder *z, uint32_t cap)
{
    struct zorder_leaf *leaf =
        mem_alloc(sizeof(*leaf) + cap * (sizeof(double) + sizeof(struct elem *)));
    *leaf = (struct zorder_leaf){.cap = (uint16_t)cap};
    z->bytes += mem_usable(leaf);
    return leaf;
}

void zleaf_free(struct zorder *z, struct zorder_leaf *leaf)
{
    z->bytes -= mem_usable(leaf);
    mem_free(leaf);
}

struct zorder_leaf *zleaf_resize(struct zorder *z, struct zorder_leaf *leaf, uint32_t cap,
                                 bool room_in_front)
{
    CHECK(leaf->count <= cap);
    struct zorder_leaf *to = zleaf_new(z, cap);
    to->prev = leaf->prev;
    to->next = leaf->next;
    to->first = room_in_front ? (uint16_t)(cap - leaf->count) : 0;
    to->count = leaf->count;
    memcpy(zleaf_scores(to), zleaf_scores(leaf), leaf->count * sizeof(double));
    memcpy(zleaf_elems(to), zleaf_elems(leaf), leaf->count * sizeof(struct elem *));
    if (to->prev != NULL)
        to->prev->next = to;
    if (to->next != NULL)
        to->next->prev = to;
    zleaf_free(z, leaf);
    return to;
}

/* Moves `n` entries from `index` on by one place, back (-1) or forth (1). */
static void leaf_shift(struct zorder_leaf *leaf, uint32_t index, uint32_t n, int by)
{
    double *score = zleaf_scores(leaf) + index;
    struct elem **elem = zleaf_elems(leaf) + index;
    memmove(score + by, score, n * sizeof(*score));
    memmove(elem + by, elem, n * sizeof(struct elem *));
}

void zleaf_put(struct zorder_leaf *leaf, uint32_t index, double score, struct elem *elem)
{
    CHECK(leaf->count < leaf->cap && index <= leaf->count);
    const bool room_behind = leaf->first + leaf->count < leaf->cap;
    /* The shorter part gives way, if there is room on its side. */
    if (leaf->first > 0 && (!room_behind || index < leaf->count / 2u)) {
        leaf_shift(leaf, 0, index, -1);
        leaf->first--;
    } else {
        leaf_shift(leaf, index, leaf->count - index, 1);
    }
    leaf->count++;
    zleaf_scores(leaf)[index] = score;
    zleaf_elems(leaf)[index] = elem;
}

void zleaf_take(struct zorder_leaf *leaf, uint32_t index)
{
    CHECK(index < leaf->count);
    if (index < leaf->count / 2u) {
        leaf_shift(leaf, 0, index, 1);
        leaf->first++;
    } else {
        leaf_shift(leaf, index + 1, leaf->count - index - 1u, -1);
    }
    leaf->count--;
}

void zleaf_move_tail(struct zorder_leaf *leaf, uint32_t index, struct zorder_leaf *to)
{
    const size_t n = leaf->count - index;
    CHECK(index <= leaf->count && n + to->first + to->count <= to->cap);
    memcpy(zleaf_scores(to) + to->count, zleaf_scores(leaf) + index, n * sizeof(double));
    memcpy(zleaf_elems(to) + to->count, zleaf_elems(leaf) + index, n * sizeof(struct elem *));
    to->count = (uint16_t)(to->count + n);
    leaf->count = (uint16_t)index;
}

/* --- inner nodes --- */

struct zinner *zinner_new(struct zorder *z, uint32_t kids)
{
    /* 8 + 32 * cap bytes stay just below a power of two. */
    uint32_t cap = 3;
    while (cap < kids)
        cap = 2 * cap + 1;
    CHECK(cap <= INNER_KIDS_MAX);
    struct zinner *inner = mem_alloc(sizeof(*inner) + cap * sizeof(struct zkid));
    *inner = (struct zinner){.cap = (uint16_t)cap};
    z->bytes += mem_usable(inner);
    return inner;
}

void zinner_free(struct zorder *z, struct zinner *inner)
{
    z->bytes -= mem_usable(inner);
    mem_free(inner);
}

struct zinner *zinner_grow(struct zorder *z, struct zinner *inner, uint32_t kids)
{
    struct zinner *to = zinner_new(z, kids);
    memcpy(to->kid, inner->kid, inner->count * sizeof(struct zkid));
    to->count = inner->count;
    zinner_free(z, inner);
    return to;
}

void zinner_put(struct zinner *inner, uint32_t at, const struct zkid *kid)
{
    CHECK(inner->count < inner->cap && at <= inner->count);
    memmove(&inner->kid[at + 1], &inner->kid[at], (inner->count - at) * sizeof(*kid));
    inner->kid[at] = *kid;
    inner->count++;
}

void zinner_take(struct zinner *inner, uint32_t at)
{
    CHECK(at < inner->count);
    memmove(&inner->kid[at], &inner->kid[at + 1], (inner->count - at - 1u) * sizeof(struct zkid));
    inner->count--;
}

struct zkid zinner_split(struct zorder *z, struct zinner *inner, uint32_t at,
                         const struct zkid *kid)
{
    /* Insertion at the end goes on there, most likely: the left node stays full. */
    const uint32_t keep = at == inner->count ? inner->count : inner->count / 2u;
    struct zinner *right = zinner_new(z, INNER_KIDS_MAX);

    CHECK(at > 0);
    right->count = (uint16_t)(inner->count - keep);
    memcpy(right->kid, &inner->kid[keep], right->count * sizeof(*kid));
    inner->count = (uint16_t)keep;
    if (at >= keep && (at > keep || right->count == 0))
        zinner_put(right, at - keep, kid);
    else
        zinner_put(inner, at, kid);
    struct zkid made = {.score = right->kid[0].score, .elem = right->kid[0].elem, .node = right};
    for (uint32_t i = 0; i < right->count; i++)
        made.count += right->kid[i].count;
    return made;
}
