/* Texts by what begins with them; prefixtree.h tells. */
#include "server/prefixtree.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

struct ptnode {
    struct ptnode *parent;
    struct ptnode **children; /* In the order of the first bytes of their labels. */
    void *value;              /* NULL: no text ends here. */
    uint32_t children_count;
    size_t len;
    uint8_t label[]; /* Empty at the root only. */
};

static size_t node_bytes(const struct ptnode *n)
{
    return sizeof(*n) + n->len + n->children_count * sizeof(struct ptnode *);
}

static struct bytes label_of(const struct ptnode *n)
{
    return bytes_of(n->label, n->len);
}

static struct ptnode *node_new(struct prefixtree *t, struct bytes label)
{
    struct ptnode *n = mem_zalloc(sizeof(*n) + label.len);

    n->len = label.len;
    if (label.len != 0)
        memcpy(n->label, label.ptr, label.len);
    t->bytes += node_bytes(n);
    return n;
}

static void node_free(struct prefixtree *t, struct ptnode *n)
{
    t->bytes -= node_bytes(n);
    mem_free(n->children);
    mem_free(n);
}

/* The place of the child whose label begins with `first`, or of the next greater one. */
static uint32_t place_of(const struct ptnode *n, uint8_t first)
{
    uint32_t low = 0, high = n->children_count;

    while (low < high) {
        const uint32_t mid = low + (high - low) / 2;
        if (n->children[mid]->label[0] < first)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* NULL: none. */
static struct ptnode *child_of(const struct ptnode *n, uint8_t first)
{
    const uint32_t at = place_of(n, first);

    return at < n->children_count && n->children[at]->label[0] == first ? n->children[at] : NULL;
}

static void attach(struct prefixtree *t, struct ptnode *parent, struct ptnode *child)
{
    const uint32_t at = place_of(parent, child->label[0]);
    struct ptnode **list =
        mem_realloc(parent->children, (parent->children_count + 1) * sizeof(struct ptnode *));

    memmove(list + at + 1, list + at, (parent->children_count - at) * sizeof(struct ptnode *));
    list[at] = child;
    parent->children = list;
    parent->children_count++;
    child->parent = parent;
    t->bytes += sizeof(struct ptnode *);
}

static void detach(struct prefixtree *t, struct ptnode *child)
{
    struct ptnode *parent = child->parent;
    const uint32_t at = place_of(parent, child->label[0]);

    parent->children_count--;
    memmove(parent->children + at, parent->children + at + 1,
            (parent->children_count - at) * sizeof(struct ptnode *));
    t->bytes -= sizeof(struct ptnode *);
    if (parent->children_count == 0) {
        mem_free(parent->children);
        parent->children = NULL;
    }
}

/* The node at `slot` gets this label; it stays where it is, with its children. */
static void relabel(struct prefixtree *t, struct ptnode **slot, struct bytes a, struct bytes b)
{
    struct ptnode *n = *slot, *m = mem_zalloc(sizeof(*m) + a.len + b.len);

    *m = *n;
    m->len = a.len + b.len;
    if (a.len != 0)
        memcpy(m->label, a.ptr, a.len);
    if (b.len != 0)
        memcpy(m->label + a.len, b.ptr, b.len);
    for (uint32_t i = 0; i < m->children_count; i++)
        m->children[i]->parent = m;
    *slot = m;
    t->bytes += m->len;
    t->bytes -= n->len;
    mem_free(n);
}

static size_t common(struct bytes a, struct bytes b)
{
    const size_t max = size_min(a.len, b.len);
    size_t n = 0;

    while (n < max && a.ptr[n] == b.ptr[n])
        n++;
    return n;
}

/* The node where the text ends; NULL: there is none. */
static struct ptnode *find(const struct prefixtree *t, struct bytes text)
{
    struct ptnode *n = t->root;

    while (n != NULL && text.len != 0) {
        n = child_of(n, text.ptr[0]);
        if (n == NULL || !bytes_starts(text, label_of(n)))
            return NULL;
        text = bytes_from(text, n->len);
    }
    return n;
}

void *prefixtree_get(const struct prefixtree *t, struct bytes text)
{
    const struct ptnode *n = find(t, text);

    return n == NULL ? NULL : n->value;
}

/* The first `len` bytes of the label of `n` get a node of their own, above it. */
static struct ptnode *split(struct prefixtree *t, struct ptnode *n, size_t len)
{
    struct ptnode *parent = n->parent, *upper = node_new(t, bytes_of(n->label, len));

    parent->children[place_of(parent, n->label[0])] = upper;
    upper->parent = parent;
    attach(t, upper, n);
    relabel(t, &upper->children[0], bytes_from(label_of(n), len), bytes_of(NULL, 0));
    return upper;
}

void prefixtree_add(struct prefixtree *t, struct bytes text, void *value)
{
    if (t->root == NULL)
        t->root = node_new(t, bytes_of(NULL, 0));
    struct ptnode *n = t->root;
    while (text.len != 0) {
        struct ptnode *child = child_of(n, text.ptr[0]);
        if (child == NULL) {
            child = node_new(t, text);
            attach(t, n, child);
        }
        const size_t same = common(text, label_of(child));
        n = same == child->len ? child : split(t, child, same);
        text = bytes_from(text, same);
    }
    CHECK(n->value == NULL && value != NULL);
    n->value = value;
    t->count++;
}

/* Removes what is of no use any more: `n`, and a parent with one child alone. */
static void tidy(struct prefixtree *t, struct ptnode *n)
{
    if (n->value != NULL || n == t->root)
        return;
    if (n->children_count == 0) {
        struct ptnode *parent = n->parent;
        detach(t, n);
        node_free(t, n);
        n = parent;
        if (n->value != NULL || n == t->root)
            return;
    }
    if (n->children_count != 1)
        return;
    /* The child takes its place, with both labels. */
    struct ptnode *child = n->children[0];
    struct ptnode **slot = &n->parent->children[place_of(n->parent, n->label[0])];
    *slot = child;
    child->parent = n->parent;
    relabel(t, slot, label_of(n), label_of(child));
    node_free(t, n);
}

void *prefixtree_remove(struct prefixtree *t, struct bytes text)
{
    struct ptnode *n = find(t, text);

    if (n == NULL || n->value == NULL)
        return NULL;
    void *value = n->value;
    n->value = NULL;
    t->count--;
    tidy(t, n);
    if (t->count == 0)
        prefixtree_deinit(t);
    return value;
}

void prefixtree_deinit(struct prefixtree *t)
{
    struct ptnode *n = t->root;

    while (n != NULL) {
        if (n->children_count != 0) {
            n = n->children[n->children_count - 1];
            continue;
        }
        struct ptnode *parent = n->parent;
        if (parent != NULL)
            detach(t, n);
        node_free(t, n);
        n = parent;
    }
    CHECK(t->bytes == 0);
    *t = (struct prefixtree){0};
}

/* The first value at `n` or below it. */
static void *first_value(const struct ptnode *n)
{
    while (n->value == NULL && n->children_count != 0)
        n = n->children[0];
    return n->value;
}

void *prefixtree_first_of(const struct prefixtree *t, struct bytes head)
{
    const struct ptnode *n = t->root;

    while (n != NULL && head.len != 0) {
        n = child_of(n, head.ptr[0]);
        if (n == NULL)
            return NULL;
        const size_t same = common(head, label_of(n));
        if (same < size_min(head.len, n->len))
            return NULL;
        head = bytes_from(head, same);
    }
    return n == NULL ? NULL : first_value(n);
}

struct prefixtree_heads prefixtree_heads(const struct prefixtree *t, struct bytes text)
{
    return (struct prefixtree_heads){.at = t->root, .rest = text};
}

/* The node below that the text goes on with; NULL: none. */
static const struct ptnode *step(const struct ptnode *n, struct bytes *rest)
{
    const struct ptnode *child = rest->len == 0 ? NULL : child_of(n, rest->ptr[0]);

    if (child == NULL || !bytes_starts(*rest, label_of(child)))
        return NULL;
    *rest = bytes_from(*rest, child->len);
    return child;
}

void *prefixtree_heads_next(struct prefixtree_heads *h)
{
    void *value = NULL;

    while (h->at != NULL && value == NULL) {
        value = h->at->value;
        h->at = step(h->at, &h->rest);
    }
    return value;
}

/* In the order of their bytes; NULL: that was the last. */
static const struct ptnode *next_node(const struct ptnode *n)
{
    if (n->children_count != 0)
        return n->children[0];
    while (n->parent != NULL) {
        const struct ptnode *parent = n->parent;
        const uint32_t at = place_of(parent, n->label[0]) + 1;
        if (at < parent->children_count)
            return parent->children[at];
        n = parent;
    }
    return NULL;
}

void prefixtree_each(const struct prefixtree *t, void (*fn)(void *ctx, void *value), void *ctx)
{
    for (const struct ptnode *n = t->root; n != NULL; n = next_node(n)) {
        if (n->value != NULL)
            fn(ctx, n->value);
    }
}
