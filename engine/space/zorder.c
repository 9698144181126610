/* The order of a sorted set; zorder.h draws it. */
#include "engine/space/zorder.h"

#include <math.h>
#include <string.h>

#include "engine/base/check.h"

#include "engine/space/obj.h"
#include "engine/space/zorder_node.h"

/* --- inserting --- */

/* Puts `leaf` behind `left` in the chain of leaves. */
static void leaf_link_after(struct zorder_leaf *left, struct zorder_leaf *leaf)
{
    leaf->prev = left;
    leaf->next = left->next;
    if (leaf->next != NULL)
        leaf->next->prev = leaf;
    left->next = leaf;
}

/* The node that the step leads to. */
static void step_set(struct zorder *z, const struct zstep *path, uint32_t level, void *node)
{
    if (level == z->height)
        z->root = node;
    else /* A path has as many steps. NOLINTNEXTLINE(clang-analyzer-core.uninitialized.*) */
        path[level].node->kid[path[level].at].node = node;
}

/*
 * The node of `level` was split: `kid` is its new right sibling, counted in its parents already.
 */
static void kid_insert(struct zorder *z, struct zstep *path, uint32_t level, struct zkid kid)
{
    while (level < z->height) {
        struct zinner *node = path[level].node;
        const uint32_t at = path[level].at + 1;
        node->kid[at - 1].count -= kid.count;
        if (node->count < INNER_KIDS_MAX) {
            if (node->count == node->cap) {
                node = zinner_grow(z, node, node->count + 1u);
                step_set(z, path, level + 1, node);
            }
            zinner_put(node, at, &kid);
            return;
        }
        kid = zinner_split(z, node, at, &kid);
        level++;
    }
    CHECK(z->height < ZORDER_HEIGHT_MAX);
    struct zinner *root = zinner_new(z, 2);
    root->kid[0] = (struct zkid){.node = z->root, .count = z->count - kid.count};
    root->kid[1] = kid;
    root->count = 2;
    z->root = root;
    z->height++;
}

/* The leaf is full, the new entry belongs at `index`. */
static void insert_split(struct zorder *z, struct zstep *path, struct zorder_leaf *leaf,
                         uint32_t index, double score, struct elem *elem)
{
    struct zorder_leaf *right;

    if (index == 0 && leaf->prev == NULL) {
        /* The first of all: the full leaf becomes the right one. */
        right = leaf;
        leaf = zleaf_new(z, LEAF_CAP_NEW);
        step_set(z, path, 0, leaf);
        leaf->next = right;
        right->prev = leaf;
        zleaf_put(leaf, 0, score, elem);
    } else {
        const bool last = index == leaf->count && leaf->next == NULL;
        const uint32_t keep = last ? leaf->count : leaf->count / 2u;
        right = zleaf_new(z, last ? LEAF_CAP_NEW : zleaf_cap_for(leaf->count - keep + 1));
        leaf_link_after(leaf, right);
        zleaf_move_tail(leaf, keep, right);
        if (index > keep || last)
            zleaf_put(right, index - keep, score, elem);
        else
            zleaf_put(leaf, index, score, elem);
        if (!last)
            step_set(z, path, 0, zleaf_resize(z, leaf, zleaf_cap_for(leaf->count + 1u), false));
    }
    const struct zkid kid = {.score = zleaf_scores(right)[0],
                             .elem = zleaf_elems(right)[0],
                             .node = right,
                             .count = right->count};
    kid_insert(z, path, 0, kid);
}

void zorder_insert(struct zorder *z, double score, struct elem *elem)
{
    struct zstep path[ZORDER_HEIGHT_MAX];
    const struct zkey key = {.score = score, .member = elem_sub(elem)};

    CHECK(!isnan(score));
    z->count++;
    if (z->root == NULL)
        z->root = zleaf_new(z, 1);
    /* Equal keys would lead right: only the first of all can come at index 0 of its leaf. */
    struct zorder_leaf *leaf = tree_descend(z, &key, true, path);
    const uint32_t index = zleaf_search(leaf, &key, true);
    for (uint32_t level = 0; level < z->height; level++)
        path[level].node->kid[path[level].at].count++;
    if (leaf->count == LEAF_ENTRIES_MAX) {
        insert_split(z, path, leaf, index, score, elem);
        return;
    }
    if (leaf->count == leaf->cap) {
        leaf = zleaf_resize(z, leaf, zleaf_cap_for(leaf->count + 1u), index == 0);
        step_set(z, path, 0, leaf);
    }
    zleaf_put(leaf, index, score, elem);
}

/* --- removing --- */

/* The place of an entry that is there. */
static struct zorder_leaf *locate(const struct zorder *z, const struct zkey *key,
                                  struct zstep *path, uint32_t *out_index)
{
    CHECK(z->root != NULL);
    struct zorder_leaf *leaf = tree_descend(z, key, true, path);
    const uint32_t index = zleaf_search(leaf, key, false);
    CHECK(index < leaf->count && zleaf_elems(leaf)[index] == key->same);
    *out_index = index;
    return leaf;
}

void zorder_replace(struct zorder *z, double score, struct bytes member, const struct elem *old,
                    struct elem *elem)
{
    struct zstep path[ZORDER_HEIGHT_MAX];
    const struct zkey key = {.score = score, .member = member, .same = old};
    uint32_t index;
    struct zorder_leaf *leaf = locate(z, &key, path, &index);

    zleaf_elems(leaf)[index] = elem;
    if (index != 0)
        return;
    for (uint32_t level = 0; level < z->height; level++) {
        if (path[level].at != 0) {
            path[level].node->kid[path[level].at].elem = elem;
            return;
        }
    }
}

static void leaf_unlink_free(struct zorder *z, struct zorder_leaf *leaf)
{
    if (leaf->prev != NULL)
        leaf->prev->next = leaf->next;
    if (leaf->next != NULL)
        leaf->next->prev = leaf->prev;
    zleaf_free(z, leaf);
}

static uint32_t kid_size(const struct zinner *parent, uint32_t at, uint32_t level)
{
    const struct zkid *kid = &parent->kid[at];
    return level == 0 ? (uint32_t)kid->count : ((const struct zinner *)kid->node)->count;
}

/* Joins child at + 1 of a node of `level` into child `at`. */
static void kids_join(struct zorder *z, struct zinner *parent, uint32_t at, uint32_t level)
{
    struct zkid *left = &parent->kid[at];
    struct zkid *right = &parent->kid[at + 1];

    if (level == 0) {
        struct zorder_leaf *leaf = left->node;
        leaf = zleaf_resize(z, leaf, zleaf_cap_for((uint32_t)(left->count + right->count)), false);
        left->node = leaf;
        zleaf_move_tail(right->node, 0, leaf);
        leaf_unlink_free(z, right->node);
    } else {
        struct zinner *from = right->node;
        struct zinner *to = left->node;
        if (to->cap < to->count + from->count)
            to = left->node = zinner_grow(z, to, (uint32_t)to->count + from->count);
        from->kid[0].score = right->score;
        from->kid[0].elem = right->elem;
        memcpy(&to->kid[to->count], from->kid, from->count * sizeof(struct zkid));
        to->count = (uint16_t)(to->count + from->count);
        zinner_free(z, from);
    }
    left->count += right->count;
    zinner_take(parent, at + 1);
}

/* Joins child `at` with a sibling if it is small and both fit well into one. */
static void kid_shrink(struct zorder *z, struct zinner *parent, uint32_t at, uint32_t level)
{
    const uint32_t max = level == 0 ? LEAF_ENTRIES_MAX : INNER_KIDS_MAX;
    const uint32_t size = kid_size(parent, at, level);

    if (size >= max / 4)
        return;
    if (at + 1u < parent->count && size + kid_size(parent, at + 1, level) <= max * 3 / 4)
        kids_join(z, parent, at, level);
    else if (at > 0 && size + kid_size(parent, at - 1, level) <= max * 3 / 4)
        kids_join(z, parent, at - 1, level);
}

/* The first entry below a node that is `level` above the leaves. */
static void kid_set_first(struct zkid *kid, uint32_t level)
{
    void *node = kid->node;
    while (level-- > 0)
        node = ((struct zinner *)node)->kid[0].node;
    kid->score = zleaf_scores(node)[0];
    kid->elem = zleaf_elems(node)[0];
}

/*
 * An entry is gone from the leaf that the path leads to; `gone`: the leaf, too; `first`: the entry
 * was its first.
 */
static void path_shrink(struct zorder *z, struct zstep *path, bool gone, bool first)
{
    for (uint32_t level = 0; level < z->height; level++) {
        /* A path has as many steps. NOLINTNEXTLINE(clang-analyzer-core.uninitialized.*) */
        struct zinner *node = path[level].node;
        const uint32_t at = path[level].at;
        node->kid[at].count--;
        if (gone) {
            zinner_take(node, at);
            first = at == 0;
        } else {
            if (first && at != 0) {
                kid_set_first(&node->kid[at], level);
                first = false;
            }
            kid_shrink(z, node, at, level);
        }
        gone = node->count == 0;
        if (gone)
            zinner_free(z, node);
    }
    if (gone) {
        z->root = NULL;
        z->height = 0;
    }
    while (z->height > 0 && ((struct zinner *)z->root)->count == 1) {
        struct zinner *old = z->root;
        z->root = old->kid[0].node;
        z->height--;
        zinner_free(z, old);
    }
}

void zorder_remove(struct zorder *z, double score, const struct elem *elem)
{
    struct zstep path[ZORDER_HEIGHT_MAX];
    const struct zkey key = {.score = score, .member = elem_sub(elem), .same = elem};
    uint32_t index;
    struct zorder_leaf *leaf = locate(z, &key, path, &index);

    zleaf_take(leaf, index);
    z->count--;
    const bool gone = leaf->count == 0;
    if (gone)
        leaf_unlink_free(z, leaf);
    else if (leaf->count < leaf->cap / 2)
        step_set(z, path, 0, zleaf_resize(z, leaf, zleaf_cap_for(leaf->count + 1u), false));
    path_shrink(z, path, gone, index == 0);
}

/* --- life --- */

void zorder_init(struct zorder *z)
{
    *z = (struct zorder){0};
}

static void tree_free(struct zorder *z)
{
    struct zstep path[ZORDER_HEIGHT_MAX];
    uint32_t level = z->height;
    void *node = z->root;

    for (;;) {
        for (; level > 0; level--) {
            path[level - 1] = (struct zstep){.node = node};
            node = ((struct zinner *)node)->kid[0].node;
        }
        zleaf_free(z, node);
        /* The way down has made the step. NOLINTNEXTLINE(clang-analyzer-core.uninitialized.*) */
        while (level < z->height && ++path[level].at == path[level].node->count) {
            zinner_free(z, path[level].node);
            level++;
        }
        if (level == z->height)
            return;
        node = path[level].node->kid[path[level].at].node;
    }
}

void zorder_deinit(struct zorder *z)
{
    if (z->root != NULL)
        tree_free(z);
    CHECK(z->bytes == 0);
    *z = (struct zorder){0};
}
