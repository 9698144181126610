/* The key table; keytab.h draws it. */
#include "engine/space/keytab.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/space/obj.h"

/* A leaf that holds this many and gets one more is split. */
#define LEAF_ENTRIES_MAX 126
#define PAYLOAD_BYTES    6

#define HOT_BIT     0x1ull
#define TOUCHED_BIT 0x2ull
#define TTL_BIT     0x4ull
#define TYPE_SHIFT  3
#define TYPE_MASK   0xfull
#define COLD_SHIFT  7

struct keytab_leaf {
    uint16_t count;
    uint16_t cap;
    uint8_t depth;
    uint8_t zero[3];
    uint8_t data[];
};
STATIC_ASSERT(sizeof(struct keytab_leaf) == 8);

struct slot_root {
    struct keytab_leaf **dir; /* 2^bits pointers; NULL: the slot is empty. */
    uint32_t count;
    uint32_t bits;
};

struct keytab {
    struct slot_root root[KEY_SLOTS];
    uint64_t seed;
    uint64_t hot;
    uint64_t cold;
    uint64_t cold_ttl;
    size_t bytes;
};

/* --- entries --- */

static uint8_t *payload_at(struct keytab_leaf *leaf, uint32_t i)
{
    return leaf->data + leaf->cap + (size_t)i * PAYLOAD_BYTES;
}

static uint64_t payload_load(const struct keytab_leaf *leaf, uint32_t i)
{
    uint64_t v = 0;
    memcpy(&v, leaf->data + leaf->cap + (size_t)i * PAYLOAD_BYTES, PAYLOAD_BYTES);
    return v;
}

static void payload_store(struct keytab_leaf *leaf, uint32_t i, uint64_t v)
{
    memcpy(payload_at(leaf, i), &v, PAYLOAD_BYTES);
}

/* The top 49 bits. */
static uint64_t hash_top(uint64_t hash)
{
    return hash >> (64 - KEYTAB_HASH_BITS);
}

static uint8_t hash_fp(uint64_t hash)
{
    return (uint8_t)hash_top(hash);
}

static uint64_t hot_payload(uint64_t hash, const struct obj *obj)
{
    const uint64_t address = (uint64_t)(uintptr_t)obj;
    CHECK((address & 15) == 0 && address >> 48 == 0);
    return HOT_BIT | (hash_top(hash) >> 8 & 7) << 1 | address >> 4 << 4;
}

static struct obj *hot_obj(uint64_t payload)
{
    return (struct obj *)(uintptr_t)(payload & ~15ull); /* NOLINT(performance-no-int-to-ptr) */
}

static uint64_t cold_payload(uint64_t hash, uint8_t type, bool has_ttl, bool touched)
{
    CHECK(type <= TYPE_MASK);
    return (touched ? TOUCHED_BIT : 0) | (has_ttl ? TTL_BIT : 0) | (uint64_t)type << TYPE_SHIFT |
           hash_top(hash) >> 8 << COLD_SHIFT;
}

/* The hash of entry `i`, as far as the entry knows it. */
static uint64_t entry_hash(const struct keytab *t, const struct keytab_leaf *leaf, uint32_t i)
{
    const uint64_t payload = payload_load(leaf, i);
    if ((payload & HOT_BIT) == 0)
        return (payload >> COLD_SHIFT << 8 | leaf->data[i]) << (64 - KEYTAB_HASH_BITS);
    const struct bytes key = obj_key(hot_obj(payload));
    return hash64(key.ptr, key.len, t->seed);
}

static bool entry_matches(const struct keytab_leaf *leaf, uint32_t i, uint64_t hash,
                          struct bytes key, struct keytab_ref *ref, enum keytab_kind *kind)
{
    const uint64_t payload = payload_load(leaf, i);
    if ((payload & HOT_BIT) == 0) {
        if (payload >> COLD_SHIFT != hash_top(hash) >> 8)
            return false;
        *kind = KEYTAB_COLD;
        return true;
    }
    if ((payload >> 1 & 7) != (hash_top(hash) >> 8 & 7))
        return false;
    ref->obj = hot_obj(payload);
    *kind = KEYTAB_HOT;
    return bytes_eq(obj_key(ref->obj), key);
}

/* --- leaves --- */

/* Capacities whose leaves just fill a size class of jemalloc: 8 + 7 * cap bytes. */
static uint32_t cap_for(uint32_t count)
{
    static const uint8_t caps[] = {3,  5,  8,  10, 12, 14, 17, 21,  26,
                                   30, 35, 44, 53, 62, 72, 90, 108, 126};
    for (size_t i = 0; i < ARRAY_COUNT(caps); i++) {
        if (caps[i] >= count)
            return caps[i];
    }
    /* Only if more than 126 keys of a slot share 49 hash bits. */
    return count + count / 4;
}

static size_t leaf_size(uint32_t cap)
{
    return sizeof(struct keytab_leaf) + (size_t)cap * (1 + PAYLOAD_BYTES);
}

static struct keytab_leaf *leaf_new(struct keytab *t, uint32_t cap, uint8_t depth)
{
    CHECK(cap <= UINT16_MAX);
    struct keytab_leaf *leaf = mem_alloc(leaf_size(cap));
    *leaf = (struct keytab_leaf){.cap = (uint16_t)cap, .depth = depth};
    t->bytes += mem_usable(leaf);
    return leaf;
}

static void leaf_free(struct keytab *t, struct keytab_leaf *leaf)
{
    t->bytes -= mem_usable(leaf);
    mem_free(leaf);
}

static void leaf_append(struct keytab_leaf *leaf, uint8_t fp, uint64_t payload)
{
    CHECK(leaf->count < leaf->cap);
    leaf->data[leaf->count] = fp;
    payload_store(leaf, leaf->count, payload);
    leaf->count++;
}

static struct keytab_leaf *leaf_copy(struct keytab *t, const struct keytab_leaf *from, uint32_t cap)
{
    struct keytab_leaf *leaf = leaf_new(t, cap, from->depth);
    for (uint32_t i = 0; i < from->count; i++)
        leaf_append(leaf, from->data[i], payload_load(from, i));
    return leaf;
}

static size_t dir_index(const struct slot_root *root, uint64_t hash)
{
    return root->bits == 0 ? 0 : (size_t)(hash >> (64 - root->bits));
}

/* Points the part of the directory that a leaf covers at another leaf. */
static void dir_set(struct slot_root *root, uint64_t hash, uint8_t depth, struct keytab_leaf *leaf)
{
    const size_t n = (size_t)1 << (root->bits - depth);
    const size_t first = dir_index(root, hash) & ~(n - 1);
    for (size_t i = 0; i < n; i++)
        root->dir[first + i] = leaf;
}

static void dir_double(struct keytab *t, struct slot_root *root)
{
    const size_t n = (size_t)1 << root->bits;
    struct keytab_leaf **dir = mem_alloc(2 * n * sizeof(struct keytab_leaf *));
    for (size_t i = 0; i < n; i++)
        dir[2 * i] = dir[2 * i + 1] = root->dir[i];
    t->bytes += mem_usable(dir);
    t->bytes -= mem_usable(root->dir);
    mem_free(root->dir);
    root->dir = dir;
    root->bits++;
}

/* For `count` entries and one more, unless that is for the next split to make room for. */
static struct keytab_leaf *half_new(struct keytab *t, uint32_t count, uint8_t depth)
{
    return leaf_new(t, cap_for(count < LEAF_ENTRIES_MAX ? count + 1 : count), depth);
}

/* Splits the full leaf that covers `hash` by the next bit. */
static void leaf_split(struct keytab *t, struct slot_root *root, struct keytab_leaf *old,
                       uint64_t hash)
{
    const uint8_t depth = (uint8_t)(old->depth + 1);
    uint64_t ones[(LEAF_ENTRIES_MAX + 64) / 64] = {0};
    uint32_t count[2] = {0, 0};

    if (root->bits < depth)
        dir_double(t, root);
    for (uint32_t i = 0; i < old->count; i++) {
        const uint64_t bit = entry_hash(t, old, i) >> (64 - depth) & 1;
        ones[i / 64] |= bit << i % 64;
        count[bit]++;
    }
    struct keytab_leaf *half[2] = {half_new(t, count[0], depth), half_new(t, count[1], depth)};
    for (uint32_t i = 0; i < old->count; i++)
        leaf_append(half[ones[i / 64] >> i % 64 & 1], old->data[i], payload_load(old, i));
    const uint64_t bit = 1ull << (64 - depth);
    dir_set(root, hash & ~bit, depth, half[0]);
    dir_set(root, hash | bit, depth, half[1]);
    leaf_free(t, old);
}

/* The leaf for `hash`, with room for one more entry. */
static struct keytab_leaf *leaf_with_room(struct keytab *t, struct slot_root *root, uint64_t hash)
{
    if (root->dir == NULL) {
        root->dir = mem_alloc(sizeof(struct keytab_leaf *));
        t->bytes += mem_usable(root->dir);
        root->bits = 0;
        root->dir[0] = leaf_new(t, cap_for(1), 0);
    }
    for (;;) {
        struct keytab_leaf *leaf = root->dir[dir_index(root, hash)];
        if (leaf->count < leaf->cap)
            return leaf;
        if (leaf->count >= LEAF_ENTRIES_MAX && leaf->depth < KEYTAB_HASH_BITS) {
            leaf_split(t, root, leaf, hash);
            continue;
        }
        struct keytab_leaf *larger = leaf_copy(t, leaf, cap_for(leaf->count + 1u));
        dir_set(root, hash, leaf->depth, larger);
        leaf_free(t, leaf);
        return larger;
    }
}

/* --- life --- */

struct keytab *keytab_create(uint64_t seed)
{
    struct keytab *t = mem_zalloc(sizeof(*t));
    t->seed = seed;
    t->bytes = mem_usable(t);
    return t;
}

static void root_clear(struct keytab *t, struct slot_root *root)
{
    if (root->dir == NULL)
        return;
    for (size_t i = 0; i < (size_t)1 << root->bits;) {
        struct keytab_leaf *leaf = root->dir[i];
        i += (size_t)1 << (root->bits - leaf->depth);
        leaf_free(t, leaf);
    }
    t->bytes -= mem_usable(root->dir);
    mem_free(root->dir);
    *root = (struct slot_root){0};
}

void keytab_destroy(struct keytab *t)
{
    if (t == NULL)
        return;
    for (size_t i = 0; i < KEY_SLOTS; i++)
        root_clear(t, &t->root[i]);
    mem_free(t);
}

/* --- finding --- */

#ifdef __SSE2__
enum keytab_kind keytab_find(const struct keytab *t, uint16_t slot, uint64_t hash, struct bytes key,
                             struct keytab_ref *ref)
{
    const struct slot_root *root = &t->root[slot];
    if (root->dir == NULL)
        return KEYTAB_NONE;
    struct keytab_leaf *leaf = root->dir[dir_index(root, hash)];
    const __m128i fp = _mm_set1_epi8((char)hash_fp(hash));
    enum keytab_kind kind;

    ref->leaf = leaf;
    ref->slot = slot;
    for (uint32_t base = 0; base < leaf->count; base += 16) {
        /* Reading past the fingerprints ends within the payloads: 7 * cap >= 16. */
        const __m128i some = _mm_loadu_si128((const __m128i *)(const void *)(leaf->data + base));
        uint32_t mask = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(some, fp));
        for (; mask != 0; mask &= mask - 1) {
            ref->index = base + (uint32_t)__builtin_ctz(mask);
            if (ref->index < leaf->count && entry_matches(leaf, ref->index, hash, key, ref, &kind))
                return kind;
        }
    }
    return KEYTAB_NONE;
}
#else
enum keytab_kind keytab_find(const struct keytab *t, uint16_t slot, uint64_t hash, struct bytes key,
                             struct keytab_ref *ref)
{
    const struct slot_root *root = &t->root[slot];
    if (root->dir == NULL)
        return KEYTAB_NONE;
    struct keytab_leaf *leaf = root->dir[dir_index(root, hash)];
    const uint8_t fp = hash_fp(hash);
    enum keytab_kind kind;

    ref->leaf = leaf;
    ref->slot = slot;
    for (ref->index = 0; ref->index < leaf->count; ref->index++) {
        if (leaf->data[ref->index] == fp && entry_matches(leaf, ref->index, hash, key, ref, &kind))
            return kind;
    }
    return KEYTAB_NONE;
}
#endif

/* --- changing --- */

void keytab_insert_hot(struct keytab *t, uint16_t slot, uint64_t hash, struct obj *obj)
{
    struct slot_root *root = &t->root[slot];
    leaf_append(leaf_with_room(t, root, hash), hash_fp(hash), hot_payload(hash, obj));
    root->count++;
    t->hot++;
}

void keytab_insert_cold(struct keytab *t, uint16_t slot, uint64_t hash, uint8_t type, bool has_ttl)
{
    struct slot_root *root = &t->root[slot];
    leaf_append(leaf_with_room(t, root, hash), hash_fp(hash),
                cold_payload(hash, type, has_ttl, false));
    root->count++;
    t->cold++;
    t->cold_ttl += has_ttl;
}

/* Takes the entry out of the counts. */
static void uncount(struct keytab *t, uint64_t payload)
{
    if ((payload & HOT_BIT) != 0) {
        t->hot--;
    } else {
        t->cold--;
        t->cold_ttl -= (payload & TTL_BIT) != 0;
    }
}

void keytab_set_hot(struct keytab *t, const struct keytab_ref *ref, uint64_t hash, struct obj *obj)
{
    uncount(t, payload_load(ref->leaf, ref->index));
    payload_store(ref->leaf, ref->index, hot_payload(hash, obj));
    t->hot++;
}

void keytab_set_cold(struct keytab *t, const struct keytab_ref *ref, uint64_t hash, uint8_t type,
                     bool has_ttl, bool touched)
{
    uncount(t, payload_load(ref->leaf, ref->index));
    payload_store(ref->leaf, ref->index, cold_payload(hash, type, has_ttl, touched));
    t->cold++;
    t->cold_ttl += has_ttl;
}

void keytab_remove(struct keytab *t, const struct keytab_ref *ref)
{
    struct keytab_leaf *leaf = ref->leaf;
    struct slot_root *root = &t->root[ref->slot];

    CHECK(ref->index < leaf->count);
    uncount(t, payload_load(leaf, ref->index));
    const uint32_t last = leaf->count - 1u;
    leaf->data[ref->index] = leaf->data[last];
    payload_store(leaf, ref->index, payload_load(leaf, last));
    leaf->count = (uint16_t)last;
    if (--root->count == 0)
        root_clear(t, root);
}

uint8_t keytab_type(const struct keytab_ref *ref)
{
    return (uint8_t)(payload_load(ref->leaf, ref->index) >> TYPE_SHIFT & TYPE_MASK);
}

bool keytab_has_ttl(const struct keytab_ref *ref)
{
    return (payload_load(ref->leaf, ref->index) & TTL_BIT) != 0;
}

bool keytab_touched(const struct keytab_ref *ref)
{
    return (payload_load(ref->leaf, ref->index) & TOUCHED_BIT) != 0;
}

void keytab_set_touched(const struct keytab_ref *ref, bool touched)
{
    const uint64_t payload = payload_load(ref->leaf, ref->index) & ~TOUCHED_BIT;
    payload_store(ref->leaf, ref->index, payload | (touched ? TOUCHED_BIT : 0));
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
    return t->bytes;
}

/* --- walking --- */

/* Calls fn for the entries of a leaf at or after `from` (the hash bits of a cursor). */
static void leaf_visit(struct keytab *t, uint16_t slot, struct keytab_leaf *leaf, uint64_t from,
                       keytab_walk_fn fn, void *ctx)
{
    for (uint32_t i = leaf->count; i-- > 0;) {
        const uint64_t payload = payload_load(leaf, i);
        struct keytab_entry e = {.slot = slot, .ref = {.leaf = leaf, .index = i, .slot = slot}};
        if (from != 0 && entry_hash(t, leaf, i) >> (64 - KEYTAB_CURSOR_HASH_BITS) < from)
            continue;
        if ((payload & HOT_BIT) != 0) {
            e.kind = KEYTAB_HOT;
            e.ref.obj = hot_obj(payload);
        } else {
            e.kind = KEYTAB_COLD;
            e.hash = entry_hash(t, leaf, i);
        }
        const bool last_of_slot = t->root[slot].count == 1;
        fn(ctx, &e);
        /* The removal of a slot's last key frees its leaves. */
        if (last_of_slot && t->root[slot].count == 0)
            return;
    }
}

uint64_t keytab_walk(struct keytab *t, uint64_t cursor, keytab_walk_fn fn, void *ctx)
{
    uint32_t slot = (uint32_t)(cursor >> KEYTAB_CURSOR_HASH_BITS);
    uint64_t from = cursor & ((1ull << KEYTAB_CURSOR_HASH_BITS) - 1);
    uint64_t next = 0;

    for (; slot < KEY_SLOTS && t->root[slot].dir == NULL; slot++)
        from = 0;
    if (slot >= KEY_SLOTS)
        return 0;
    struct slot_root *root = &t->root[slot];
    struct keytab_leaf *leaf = root->dir[dir_index(root, from << (64 - KEYTAB_CURSOR_HASH_BITS))];
    /* Where the leaf's prefix ends; 0 after the last one of the slot. */
    const unsigned below =
        KEYTAB_CURSOR_HASH_BITS - (unsigned)size_min(leaf->depth, KEYTAB_CURSOR_HASH_BITS);
    next = ((from >> below) + 1) << below & ((1ull << KEYTAB_CURSOR_HASH_BITS) - 1);
    const uint64_t begin = from >> below << below;
    leaf_visit(t, (uint16_t)slot, leaf, from == begin ? 0 : from, fn, ctx);
    if (next != 0)
        return (uint64_t)slot << KEYTAB_CURSOR_HASH_BITS | next;
    for (slot++; slot < KEY_SLOTS && t->root[slot].dir == NULL; slot++)
        ;
    return slot >= KEY_SLOTS ? 0 : (uint64_t)slot << KEYTAB_CURSOR_HASH_BITS;
}
