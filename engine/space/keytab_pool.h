/*
 * Memory for the leaves of a key table: without holes.
 *
 * A general allocator would keep what leaves leave behind when they grow: all leaves of a table are
 * about equally full and change their class at about the same time. Here the leaves of a class
 * stand side by side in chunks, and when one goes the last one of the class moves into its place;
 * its owner is told by the callback. Unused memory is the end of one chunk for each class; chunks
 * are a sixteenth of their class or 4 KiB, whatever is more.
 *
 * A leaf of class c (1 to LEAF_CLASSES) has c * 64 bytes and is 64-byte aligned.
 */
#ifndef TIERRA_ENGINE_SPACE_KEYTAB_POOL_H
#define TIERRA_ENGINE_SPACE_KEYTAB_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/space/keytab_leaf.h"

#define LEAFPOOL_LINE_BYTES 64u
/* The entries of a leaf of class c. */
#define LEAFPOOL_CAP(c) ((uint8_t)((LEAFPOOL_LINE_BYTES * (c) - sizeof(struct trie_leaf)) / 7))

struct leafpool_chunk {
    uint8_t *leaves;
    uint32_t count; /* Leaves that it has room for. */
};

/* The leaves of one class. All chunks before `chunks_used - 1` are full. */
struct leafpool_class {
    struct leafpool_chunk *chunks;
    uint32_t chunks_cap;
    uint32_t chunks_used;
    uint32_t used;  /* Leaves in the last used chunk: 0 only if there is no used chunk. */
    bool spare;     /* There is one more chunk behind, empty. */
    uint64_t bytes; /* Of the chunks. */
};

struct leafpool {
    struct leafpool_class cls[LEAF_CLASSES + 1];
    uint64_t bytes; /* All memory, exactly. */
    /* The leaf that was somewhere else is at `leaf` now. */
    void (*moved)(void *ctx, struct trie_leaf *leaf, unsigned cls);
    void *ctx;
};

void leafpool_init(struct leafpool *pool, void (*moved)(void *, struct trie_leaf *, unsigned),
                   void *ctx);
/* Frees the leaves too. */
void leafpool_deinit(struct leafpool *pool);

struct trie_leaf *leafpool_new(struct leafpool *pool, unsigned cls);
void leafpool_free(struct leafpool *pool, struct trie_leaf *leaf, unsigned cls);

#endif
