/*
 * Texts, to be found by what begins with them and by what they begin with: a radix tree.
 *
 *     root "" - "user:" -> value          A node has the bytes that lead from its parent to it.
 *                 \- "1" -> value         One without a value has at least two children.
 *                 \- "27" -> value
 *
 * The texts that `text` begins with are on one way down from the root: finding them costs the
 * length of the text, however many others there are, and whatever they look like. Children stand in
 * the order of their first bytes. Nothing is recursive: the depth is a client's to choose.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_SERVER_PREFIXTREE_H
#define TIERRA_SERVER_PREFIXTREE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct ptnode;

struct prefixtree {
    struct ptnode *root; /* NULL: empty. */
    uint64_t count;
    size_t bytes;
};

/* Zero ({0}) is empty; this leaves it so. The values stay their owner's. */
void prefixtree_deinit(struct prefixtree *t);

/* The value of the text; NULL: it is not there. */
void *prefixtree_get(const struct prefixtree *t, struct bytes text);

/* The text must not be there, the value not be NULL. */
void prefixtree_add(struct prefixtree *t, struct bytes text, void *value);

/* Takes the text out and gives its value; NULL: it is not there. */
void *prefixtree_remove(struct prefixtree *t, struct bytes text);

/* The first text, by its bytes, that begins with this one, or is it; NULL: none. */
void *prefixtree_first_of(const struct prefixtree *t, struct bytes head);

/* Those that `text` begins with, the shortest first. The tree does not change meanwhile. */
struct prefixtree_heads {
    const struct ptnode *at;
    struct bytes rest;
};
struct prefixtree_heads prefixtree_heads(const struct prefixtree *t, struct bytes text);
/* The value of the next one; NULL: that was all. */
void *prefixtree_heads_next(struct prefixtree_heads *h);

/* All, by their bytes. */
void prefixtree_each(const struct prefixtree *t, void (*fn)(void *ctx, void *value), void *ctx);

#endif
