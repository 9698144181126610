/*
 * The key table: finding and changing entries. keytab.h draws it, keytab_trie.c does the growing.
 */
#include "engine/space/keytab.h"

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/space/keytab_impl.h"
#include "engine/space/obj.h"

static struct trie_leaf *new_leaf(void *ctx, unsigned cls)
{
    struct keytab *t = ctx;

    return leafpool_new(&t->pool, cls);
}

static void free_leaf(void *ctx, struct trie_leaf *leaf, unsigned cls)
{
    struct keytab *t = ctx;

    leafpool_free(&t->pool, leaf, cls);
}

static void account(void *ctx, ptrdiff_t bytes)
{
    struct keytab *t = ctx;

    t->node_bytes += (uint64_t)bytes;
}

static uint64_t hash_obj(const void *ctx, const void *ptr)
{
    const struct keytab *t = ctx;
    const struct bytes key = obj_key(ptr);

    return hash64(key.ptr, key.len, t->seed);
}

const struct trie_ops keytab_ops = {
    .caps = {0, LEAFPOOL_CAP(1), LEAFPOOL_CAP(2), LEAFPOOL_CAP(3), LEAFPOOL_CAP(4), LEAFPOOL_CAP(5),
             LEAFPOOL_CAP(6), LEAFPOOL_CAP(7), LEAFPOOL_CAP(8), LEAFPOOL_CAP(9), LEAFPOOL_CAP(10),
             LEAFPOOL_CAP(11), LEAFPOOL_CAP(12), LEAFPOOL_CAP(13), LEAFPOOL_CAP(14)},
    .leaf_new = new_leaf,
    .leaf_free = free_leaf,
    .account = account,
    .hash = hash_obj,
};
STATIC_ASSERT(LEAFPOOL_CAP(1) >= LEAF_CAP_MIN);
STATIC_ASSERT(LEAFPOOL_CAP(LEAF_CLASSES) == LEAF_ENTRIES_MAX);

/* The pool moved a leaf. */
static void leaf_moved(void *ctx, struct trie_leaf *leaf, unsigned cls)
{
    struct keytab *t = ctx;

    trie_link(&t->root[leaf->owner].ref, leaf, trie_ref(leaf, cls, 0));
}

/* --- life --- */

struct keytab *keytab_create(uint64_t seed)
{
    struct keytab *t = mem_zalloc(sizeof(*t));

    t->root = mem_zalloc_array(KEY_SLOTS, sizeof(*t->root));
    t->seed = seed;
    leafpool_init(&t->pool, leaf_moved, t);
    return t;
}

void keytab_destroy(struct keytab *t)
{
    if (t == NULL)
        return;
    for (uint32_t slot = 0; slot < KEY_SLOTS; slot++) {
        if (t->root[slot].ref != 0) {
            const struct trie trie = keytab_trie(t, (uint16_t)slot);
            trie_clear(&trie);
        }
    }
    CHECK(t->node_bytes == 0);
    leafpool_deinit(&t->pool);
    mem_free(t->root);
    mem_free(t);
}

/* --- finding --- */

/* Whether the entry is the key, or may be it. */
static ALWAYS_INLINE enum keytab_kind entry_kind(uint64_t payload, uint64_t hash, struct bytes key)
{
    if ((payload & LEAF_HOT) != 0) {
        if ((payload >> 1 & 7) != (hash >> LEAF_HASH_SHIFT & 7))
            return KEYTAB_NONE;
        return bytes_eq(obj_key(leaf_ptr(payload)), key) ? KEYTAB_HOT : KEYTAB_NONE;
    }
    return payload >> LEAF_COLD_SHIFT == hash >> LEAF_HASH_SHIFT ? KEYTAB_COLD : KEYTAB_NONE;
}

enum keytab_kind keytab_find(const struct keytab *t, uint16_t slot, uint64_t hash, struct bytes key,
                             struct keytab_ref *ref)
{
    const uint64_t found = trie_find(t->root[slot].ref, hash);
    enum keytab_kind result = KEYTAB_NONE;

    if (unlikely(found == 0))
        return KEYTAB_NONE;
    const struct leaf_view v = leaf_view(trie_ptr(found), trie_class(found), keytab_ops.caps);
    for (uint32_t base = 0; base < v.count; base += LEAF_GROUP) {
        uint32_t mask = leaf_match(v.fp + base, leaf_fp(hash));
        for (; mask != 0; mask &= mask - 1) {
            const uint32_t i = base + (uint32_t)__builtin_ctz(mask);
            if (i >= v.count)
                break;
            const uint64_t payload = leaf_load(v.payload, i);
            const enum keytab_kind kind = entry_kind(payload, hash, key);
            if (likely(kind == KEYTAB_NONE))
                continue;
            *ref = (struct keytab_ref){.leaf = trie_ptr(found),
                                       .obj = kind == KEYTAB_HOT ? leaf_ptr(payload) : NULL,
                                       .index = i,
                                       .slot = slot,
                                       .leaf_class = (uint8_t)trie_class(found)};
            if (kind == KEYTAB_HOT)
                return kind;
            /* A cold one may be another key, whose hash has the same 49 bits: go on. */
            result = kind;
        }
    }
    return result;
}

static bool entry_is_hot(const struct keytab *t, uint64_t payload, uint64_t hash)
{
    if ((payload & LEAF_HOT) == 0)
        return false;
    const struct bytes key = obj_key(leaf_ptr(payload));
    return hash64(key.ptr, key.len, t->seed) == hash;
}

bool keytab_find_hot(const struct keytab *t, uint16_t slot, uint64_t hash, struct keytab_ref *ref)
{
    const uint64_t found = trie_find(t->root[slot].ref, hash);

    if (found == 0)
        return false;
    const struct leaf_view v = leaf_view(trie_ptr(found), trie_class(found), keytab_ops.caps);
    for (uint32_t base = 0; base < v.count; base += LEAF_GROUP) {
        uint32_t mask = leaf_match(v.fp + base, leaf_fp(hash));
        for (; mask != 0; mask &= mask - 1) {
            const uint32_t i = base + (uint32_t)__builtin_ctz(mask);
            if (i >= v.count)
                break;
            const uint64_t payload = leaf_load(v.payload, i);
            if (!entry_is_hot(t, payload, hash))
                continue;
            *ref = (struct keytab_ref){.leaf = trie_ptr(found),
                                       .obj = leaf_ptr(payload),
                                       .index = i,
                                       .slot = slot,
                                       .leaf_class = (uint8_t)trie_class(found)};
            return true;
        }
    }
    return false;
}

/* The payload of the first entry with the fingerprint, or NULL. */
static const uint8_t *first_payload(uint64_t ref, uint64_t hash)
{
    const struct leaf_view v = leaf_view(trie_ptr(ref), trie_class(ref), keytab_ops.caps);

    for (uint32_t base = 0; base < v.count; base += LEAF_GROUP) {
        const uint32_t mask = leaf_match(v.fp + base, leaf_fp(hash));
        const uint32_t i = mask == 0 ? v.count : base + (uint32_t)__builtin_ctz(mask);
        if (i < v.count)
            return v.payload + (size_t)i * LEAF_PAYLOAD_BYTES;
    }
    return NULL;
}

static void prefetch_lines(const void *ptr)
{
    __builtin_prefetch(ptr);
    __builtin_prefetch((const uint8_t *)ptr + 64);
}

void keytab_ahead(const struct keytab *t, struct keytab_ahead *a, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        __builtin_prefetch(&t->root[a[i].slot]);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t root = t->root[a[i].slot].ref;
        a[i].ref = root;
        if (trie_is_node(root))
            __builtin_prefetch((const uint64_t *)trie_ptr(root) +
                               (a[i].hash >> (64 - trie_node_bits(root))));
        else if (root != 0)
            prefetch_lines(trie_ptr(root)); /* The head and up to 120 fingerprints. */
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!trie_is_node(a[i].ref))
            continue;
        a[i].ref = trie_find(a[i].ref, a[i].hash);
        if (a[i].ref != 0)
            prefetch_lines(trie_ptr(a[i].ref));
    }
    for (uint32_t i = 0; i < n; i++) {
        a[i].payload = a[i].ref == 0 ? NULL : first_payload(a[i].ref, a[i].hash);
        if (a[i].payload != NULL)
            __builtin_prefetch(a[i].payload);
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t payload = a[i].payload == NULL ? 0 : leaf_load(a[i].payload, 0);
        a[i].obj = (payload & LEAF_HOT) != 0 ? leaf_ptr(payload) : NULL;
        if (a[i].obj != NULL)
            prefetch_lines(a[i].obj);
    }
}

/* --- changing --- */

static uint64_t load(const struct keytab_ref *ref)
{
    const struct leaf_view v = leaf_view(ref->leaf, ref->leaf_class, keytab_ops.caps);

    CHECK(ref->index < v.count);
    return leaf_load(v.payload, ref->index);
}

static void store(const struct keytab_ref *ref, uint64_t payload)
{
    const struct leaf_view v = leaf_view(ref->leaf, ref->leaf_class, keytab_ops.caps);

    CHECK(ref->index < v.count);
    leaf_store(v.payload, ref->index, payload);
}

static void insert(struct keytab *t, uint16_t slot, uint64_t hash, uint64_t payload)
{
    const struct trie trie = keytab_trie(t, slot);

    CHECK(!t->walking);
    trie_insert(&trie, hash, payload);
    t->root[slot].count++;
}

void keytab_insert_hot(struct keytab *t, uint16_t slot, uint64_t hash, struct obj *obj)
{
    insert(t, slot, hash, leaf_hot(hash, obj));
    t->hot++;
}

void keytab_insert_cold(struct keytab *t, uint16_t slot, uint64_t hash, uint8_t type, bool has_ttl)
{
    insert(t, slot, hash, leaf_cold(hash, type, has_ttl, false));
    t->cold++;
    t->cold_ttl += has_ttl;
}

void keytab_load_cold(struct keytab *t, uint16_t slot, const struct keytab_cold *entries,
                      size_t count)
{
    for (size_t i = 0; i < count; i++)
        keytab_insert_cold(t, slot, entries[i].hash, entries[i].type, entries[i].has_ttl);
}

/* Takes the entry out of the counts. */
static void uncount(struct keytab *t, uint64_t payload)
{
    if ((payload & LEAF_HOT) != 0) {
        t->hot--;
    } else {
        t->cold--;
        t->cold_ttl -= (payload & LEAF_TTL) != 0;
    }
}

void keytab_set_hot(struct keytab *t, const struct keytab_ref *ref, uint64_t hash, struct obj *obj)
{
    uncount(t, load(ref));
    store(ref, leaf_hot(hash, obj));
    t->hot++;
}

void keytab_set_cold(struct keytab *t, const struct keytab_ref *ref, uint64_t hash, uint8_t type,
                     bool has_ttl, bool touched)
{
    uncount(t, load(ref));
    store(ref, leaf_cold(hash, type, has_ttl, touched));
    t->cold++;
    t->cold_ttl += has_ttl;
}

void keytab_remove(struct keytab *t, const struct keytab_ref *ref)
{
    const struct trie trie = keytab_trie(t, ref->slot);

    uncount(t, load(ref));
    t->root[ref->slot].count--;
    trie_take(ref->leaf, ref->leaf_class, keytab_ops.caps, ref->index);
    if (!t->walking)
        trie_settle(&trie, ref->leaf, ref->leaf_class);
}

uint8_t keytab_type(const struct keytab_ref *ref)
{
    return (uint8_t)(load(ref) >> LEAF_TYPE_SHIFT & LEAF_TYPE_MASK);
}

bool keytab_has_ttl(const struct keytab_ref *ref)
{
    return (load(ref) & LEAF_TTL) != 0;
}

bool keytab_touched(const struct keytab_ref *ref)
{
    return (load(ref) & LEAF_TOUCHED) != 0;
}

/* --- figures --- */

uint64_t keytab_count_hot(const struct keytab *t)
{
    return t->hot;
}

uint64_t keytab_count_cold(const struct keytab *t)
{
    return t->cold;
}

uint64_t keytab_count_cold_ttl(const struct keytab *t)
{
    return t->cold_ttl;
}

uint32_t keytab_count_slot(const struct keytab *t, uint16_t slot)
{
    return t->root[slot].count;
}

size_t keytab_bytes(const struct keytab *t)
{
    return mem_class_bytes(sizeof(*t)) + mem_class_bytes(KEY_SLOTS * sizeof(*t->root)) +
           t->node_bytes + t->pool.bytes;
}
