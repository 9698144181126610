/* Questions to the order of a sorted set. */
#include <math.h>

#include "engine/base/check.h"

#include "engine/space/zorder.h"
#include "engine/space/zorder_node.h"

/* Only the functions that change an index write to its nodes. */
static struct zorder_leaf *leaf_mutable(const struct zorder_leaf *leaf)
{
    return (struct zorder_leaf *)(uintptr_t)leaf; /* NOLINT(performance-no-int-to-ptr) */
}

static bool pos_set(struct zorder_pos *pos, const struct zorder_leaf *leaf, uint32_t index)
{
    struct zorder_leaf *l = leaf_mutable(leaf);
    *pos = (struct zorder_pos){
        .leaf = l, .index = index, .score = zleaf_scores(l)[index], .elem = zleaf_elems(l)[index]};
    return true;
}

/* --- ranks --- */

static uint64_t rank_of(const struct zorder *z, const struct zkey *key, bool or_equal)
{
    struct zstep path[ZORDER_HEIGHT_MAX];
    uint64_t rank = 0;

    if (z->root == NULL)
        return 0;
    struct zorder_leaf *leaf = tree_descend(z, key, or_equal, path);
    for (uint32_t level = 0; level < z->height; level++) {
        for (uint32_t i = 0; i < path[level].at; i++)
            rank += path[level].node->kid[i].count;
    }
    return rank + zleaf_search(leaf, key, or_equal);
}

uint64_t zorder_rank(const struct zorder *z, double score, struct bytes member)
{
    const struct zkey key = {.score = score, .member = member, .kind = ZKEY_ENTRY};
    CHECK(!isnan(score));
    return rank_of(z, &key, false);
}

uint64_t zorder_rank_score(const struct zorder *z, double score, bool or_equal)
{
    const struct zkey key = {.score = score, .kind = ZKEY_SCORE};
    CHECK(!isnan(score));
    return rank_of(z, &key, or_equal);
}

uint64_t zorder_rank_lex(const struct zorder *z, struct bytes member, bool or_equal)
{
    const struct zkey key = {.member = member, .kind = ZKEY_LEX};
    return rank_of(z, &key, or_equal);
}

bool zorder_at(const struct zorder *z, uint64_t rank, struct zorder_pos *pos)
{
    if (rank >= z->count)
        return false;
    const void *node = z->root;
    for (uint32_t level = z->height; level > 0; level--) {
        const struct zinner *inner = node;
        uint32_t at = 0;
        while (rank >= inner->kid[at].count) {
            rank -= inner->kid[at].count;
            at++;
            CHECK(at < inner->count);
        }
        node = inner->kid[at].node;
    }
    return pos_set(pos, node, (uint32_t)rank);
}

/* --- positions --- */

bool zorder_first(const struct zorder *z, struct zorder_pos *pos)
{
    if (z->root == NULL)
        return false;
    const void *node = z->root;
    for (uint32_t level = z->height; level > 0; level--)
        node = ((const struct zinner *)node)->kid[0].node;
    return pos_set(pos, node, 0);
}

bool zorder_last(const struct zorder *z, struct zorder_pos *pos)
{
    if (z->root == NULL)
        return false;
    const void *node = z->root;
    for (uint32_t level = z->height; level > 0; level--) {
        const struct zinner *inner = node;
        node = inner->kid[inner->count - 1].node;
    }
    const struct zorder_leaf *leaf = node;
    return pos_set(pos, leaf, leaf->count - 1u);
}

bool zorder_next(struct zorder_pos *pos)
{
    if (pos->index + 1 < pos->leaf->count)
        return pos_set(pos, pos->leaf, pos->index + 1);
    return pos->leaf->next != NULL && pos_set(pos, pos->leaf->next, 0);
}

bool zorder_prev(struct zorder_pos *pos)
{
    if (pos->index > 0)
        return pos_set(pos, pos->leaf, pos->index - 1);
    const struct zorder_leaf *prev = pos->leaf->prev;
    return prev != NULL && pos_set(pos, prev, prev->count - 1u);
}
