/*
 * The inside of the key table, for the files that implement it.
 */
#ifndef TIERRA_ENGINE_SPACE_KEYTAB_IMPL_H
#define TIERRA_ENGINE_SPACE_KEYTAB_IMPL_H

#include "engine/space/keytab.h"
#include "engine/space/keytab_pool.h"
#include "engine/space/keytab_trie.h"

struct slot_root {
    uint64_t ref; /* Of the slot's trie. */
    uint32_t count;
};
STATIC_ASSERT(sizeof(struct slot_root) == 16);

struct keytab {
    struct slot_root *root; /* KEY_SLOTS of them. */
    uint64_t seed;
    uint64_t hot;
    uint64_t cold;
    uint64_t cold_ttl;
    uint64_t node_bytes; /* Directory nodes and big leaves. */
    struct leafpool pool;
    bool walking; /* Removed entries are settled by the walk. */
};

extern const struct trie_ops keytab_ops;

/* The trie of a slot. */
static inline struct trie keytab_trie(struct keytab *t, uint16_t slot)
{
    return (struct trie){.ops = &keytab_ops, .ctx = t, .root = &t->root[slot].ref, .owner = slot};
}

#endif
