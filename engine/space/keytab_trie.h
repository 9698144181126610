/*
 * Extendible hashing in bounded steps: the structure that key table and element tables share.
 *
 *     root reference -> directory node, 2^bits references -> leaf
 *                                                         -> directory node -> leaf
 *
 * A directory node takes the next 1 to 8 bits of the hash, from the top down; a leaf of depth d
 * holds all entries that begin with its d bits, and 2^(bits left over) references of its node point
 * to it. A reference is 0 where there are no entries. When a leaf is full it moves to the next
 * larger class; in the largest it splits in two by its next bit. When its node has no bit left the
 * node doubles, and at 256 references a node of two is put below it instead. So no step moves more
 * than one leaf and 2 KiB of references, whatever the hashes are. At 32 bits leaves stop splitting
 * and grow. Taking entries out undoes all of this: leaves move to smaller classes, buddies merge,
 * nodes halve.
 *
 * A reference is the address of a node or leaf (16-byte aligned), with
 *     bits 0 to 3    class of the leaf, 1 to 14, LEAF_CLASS_BIG; 0: a node
 *     bits 56 to 63  bits of the node
 *
 * The trie is a root reference in its owner; memory for leaves and the hashes of hot entries come
 * by callbacks. Every leaf knows its place (prefix, depth, owner), so that leaf_free may move
 * another leaf of its class into the hole and tell the trie by trie_link.
 */
#ifndef TIERRA_ENGINE_SPACE_KEYTAB_TRIE_H
#define TIERRA_ENGINE_SPACE_KEYTAB_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "engine/space/keytab_leaf.h"

#define TRIE_DEPTH_MAX     32u
#define TRIE_NODE_BITS_MAX 8u

struct trie_ops {
    uint8_t caps[LEAF_CLASSES + 1]; /* Entries by class, from class 1; the last LEAF_ENTRIES_MAX. */
    struct trie_leaf *(*leaf_new)(void *ctx, unsigned cls);
    /* The leaf is in no trie any more. Another leaf of the class may move to its place. */
    void (*leaf_free)(void *ctx, struct trie_leaf *leaf, unsigned cls);
    /* Directory nodes and big leaves: so many bytes more, or less. */
    void (*account)(void *ctx, ptrdiff_t bytes);
    /* The hash of what a hot entry points to. */
    uint64_t (*hash)(const void *ctx, const void *ptr);
};

/* A trie for the time of a call. */
struct trie {
    const struct trie_ops *ops;
    void *ctx;
    uint64_t *root;
    uint16_t owner;
};

static inline unsigned trie_class(uint64_t ref)
{
    return (unsigned)(ref & 15);
}

static inline bool trie_is_node(uint64_t ref)
{
    return (ref & 15) == 0 && ref != 0;
}

static inline unsigned trie_node_bits(uint64_t ref)
{
    return (unsigned)(ref >> 56);
}

/* The node or leaf behind a reference. */
static inline void *trie_ptr(uint64_t ref)
{
    return (void *)(uintptr_t)(ref & 0xfffffffffff0ull); /* NOLINT(performance-no-int-to-ptr) */
}

static inline uint64_t trie_ref(const void *ptr, unsigned cls, unsigned bits)
{
    const uint64_t address = (uint64_t)(uintptr_t)ptr;

    CHECK((address & 15) == 0 && address >> 48 == 0);
    return address | cls | (uint64_t)bits << 56;
}

/* A place in a trie: the reference for the entries whose hashes begin with `depth` given bits. */
struct trie_at {
    uint64_t *entry; /* The reference. */
    uint64_t *node;  /* The reference of the node that it stands in; NULL: it is the root. */
    unsigned depth;
};

/* NOLINTNEXTLINE(readability-non-const-parameter): the place may be the root itself. */
static ALWAYS_INLINE void trie_locate(uint64_t *root, uint64_t hash, struct trie_at *at)
{
    *at = (struct trie_at){.entry = root};
    while (trie_is_node(*at->entry)) {
        const unsigned bits = trie_node_bits(*at->entry);
        uint64_t *refs = trie_ptr(*at->entry);
        at->node = at->entry;
        at->entry = refs + (hash << at->depth >> (64 - bits));
        at->depth += bits;
    }
}

/* The reference to the leaf for `hash`, or 0. */
static ALWAYS_INLINE uint64_t trie_find(uint64_t root, uint64_t hash)
{
    while (trie_is_node(root)) {
        const unsigned bits = trie_node_bits(root);
        root = ((const uint64_t *)trie_ptr(root))[hash >> (64 - bits)];
        hash <<= bits;
    }
    return root;
}

/* The first hash behind those that begin like `hash` in `depth` bits; 0: there is none. */
static inline uint64_t trie_after(uint64_t hash, unsigned depth)
{
    return depth == 0 ? 0 : ((hash >> (64 - depth)) + 1) << (64 - depth);
}

/*
 * The first leaf at or after `*hash`, as a reference; 0: none to the end. `*hash` becomes the first
 * hash behind what the leaf covers, 0 if that is the end.
 */
uint64_t trie_next(uint64_t *root, uint64_t *hash);

/* Adds an entry. */
void trie_insert(const struct trie *trie, uint64_t hash, uint64_t payload);

/* Takes out entry `i`: the last one comes into its place. trie_settle has to follow some time. */
void trie_take(struct trie_leaf *leaf, unsigned cls, const uint8_t *caps, uint32_t i);

/*
 * After trie_take: gives memory back where it is worth while. The leaf and references to other
 * leaves are void then.
 */
void trie_settle(const struct trie *trie, struct trie_leaf *leaf, unsigned cls);

/* Points what the leaf covers at `ref`: the leaf itself at a new address, or 0. */
void trie_link(uint64_t *root, const struct trie_leaf *leaf, uint64_t ref);

/* Frees all leaves and nodes. */
void trie_clear(const struct trie *trie);

/* The hash of an entry: all of it if it is hot, the top 49 bits if it is cold. */
static inline uint64_t trie_entry_hash(const struct trie_ops *ops, const void *ctx, uint8_t fp,
                                       uint64_t payload)
{
    if ((payload & LEAF_HOT) != 0)
        return ops->hash(ctx, leaf_ptr(payload));
    return leaf_cold_hash(fp, payload);
}

/* Loads the blocks of all hot entries of a leaf into the cache. */
static inline void leaf_prefetch(const struct leaf_view *v)
{
    for (uint32_t i = 0; i < v->count; i++) {
        const uint64_t payload = leaf_load(v->payload, i);
        if ((payload & LEAF_HOT) != 0)
            __builtin_prefetch(leaf_ptr(payload));
    }
}

#endif
