/* The table of a collection's elements; elemtab.h draws it. */
#include "engine/space/elemtab.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/space/obj.h"

/* Two that hold this many together are joined. */
#define LEAF_ENTRIES_JOIN 15u
#define LEAF_CAP_MIN      3u
#define LEAF_CAP_MAX      0xffffffu
#define POINTER_BYTES     6
/* The directory doubles from this many elements per pointer on, and halves below the other. */
#define DIR_SHARE_MIN    8u
#define DIR_SHARE_SHRINK 4u
/* Draws of elemtab_random before it counts its way to an element. */
#define RANDOM_DRAWS_MAX 1024

struct leaf {
    uint32_t count;
    uint32_t cap : 24;
    uint32_t depth : 8;
    uint16_t fp[]; /* cap fingerprints, then cap pointers. */
};
STATIC_ASSERT(sizeof(struct leaf) == 8);

static uint64_t sub_hash(const struct elemtab *t, struct bytes sub)
{
    return hash64(sub.ptr, sub.len, t->seed);
}

static uint64_t elem_hash(const struct elemtab *t, const struct elem *e)
{
    return sub_hash(t, elem_sub(e));
}

/* --- leaves --- */

/* The two bytes before a pointer belong to the leaf, too: one load of 8 does. */
static struct elem *leaf_get(const struct leaf *leaf, uint32_t i)
{
    uint64_t v;
    memcpy(&v, (const uint8_t *)(leaf->fp + leaf->cap) + (size_t)i * POINTER_BYTES - 2, sizeof(v));
    return (struct elem *)(uintptr_t)(v >> 16); /* NOLINT(performance-no-int-to-ptr) */
}

static void leaf_set(struct leaf *leaf, uint32_t i, const struct elem *e)
{
    const uint64_t v = (uint64_t)(uintptr_t)e;
    CHECK(v >> 48 == 0);
    memcpy((uint8_t *)(leaf->fp + leaf->cap) + (size_t)i * POINTER_BYTES, &v, POINTER_BYTES);
}

/* Capacities whose leaves just fill a size class of jemalloc: 8 + 8 * cap bytes. */
static uint32_t cap_for(uint32_t count)
{
    static const uint8_t caps[] = {3, 5, 7, 9, 11, 13, 15, 19, 23, 27, 31, 39, 47, 55, 63};
    for (size_t i = 0; i < ARRAY_COUNT(caps); i++) {
        if (caps[i] >= count)
            return caps[i];
    }
    /* Only if many hashes share a long prefix, or on purpose. */
    return count + count / 4;
}

static struct leaf *leaf_new(struct elemtab *t, uint32_t cap, uint32_t depth)
{
    CHECK(cap >= LEAF_CAP_MIN && cap <= LEAF_CAP_MAX);
    struct leaf *leaf =
        mem_alloc(sizeof(*leaf) + (size_t)cap * (sizeof(leaf->fp[0]) + POINTER_BYTES));
    *leaf = (struct leaf){.count = 0, .cap = cap & LEAF_CAP_MAX, .depth = depth & 0xffu};
    t->bytes += mem_usable(leaf);
    return leaf;
}

static void leaf_free(struct elemtab *t, struct leaf *leaf)
{
    t->bytes -= mem_usable(leaf);
    mem_free(leaf);
}

static void leaf_append(struct leaf *leaf, uint16_t fp, const struct elem *e)
{
    CHECK(leaf->count < leaf->cap);
    leaf->fp[leaf->count] = fp;
    leaf_set(leaf, leaf->count, e);
    leaf->count++;
}

static void leaf_drop(struct leaf *leaf, uint32_t i)
{
    CHECK(i < leaf->count);
    const uint32_t last = leaf->count - 1;
    leaf->fp[i] = leaf->fp[last];
    leaf_set(leaf, i, leaf_get(leaf, last));
    leaf->count = last;
}

/* --- the directory --- */

static struct leaf **dir_of(const struct elemtab *t)
{
    return (struct leaf **)t->root;
}

/* Not of a table without leaves. */
static struct leaf *leaf_at(const struct elemtab *t, uint64_t hash)
{
    return t->bits == 0 ? t->root : dir_of(t)[hash >> (64 - t->bits)];
}

static uint64_t leaf_begin(const struct leaf *leaf, uint64_t hash)
{
    return leaf->depth == 0 ? 0 : hash >> (64 - leaf->depth) << (64 - leaf->depth);
}

/* Where the next leaf begins; 0 after the last. */
static uint64_t leaf_end(const struct leaf *leaf, uint64_t hash)
{
    return leaf->depth == 0 ? 0 : leaf_begin(leaf, hash) + (1ull << (64 - leaf->depth));
}

/* Points all that a leaf of this depth covers at `leaf`. */
static void dir_set(struct elemtab *t, uint64_t hash, uint32_t depth, struct leaf *leaf)
{
    if (t->bits == 0) {
        t->root = leaf;
        return;
    }
    const size_t n = (size_t)1 << (t->bits - depth);
    const size_t first = (size_t)(hash >> (64 - t->bits)) & ~(n - 1);
    for (size_t i = 0; i < n; i++)
        dir_of(t)[first + i] = leaf;
}

/* Makes `dir` the directory in place of the present one, if there is one. */
static void dir_replace(struct elemtab *t, struct leaf **dir, uint8_t bits)
{
    if (t->bits != 0) {
        t->bytes -= mem_usable(t->root);
        mem_free(t->root);
    }
    t->bytes += mem_usable(dir);
    t->root = dir;
    t->bits = bits;
}

static void dir_double(struct elemtab *t)
{
    const size_t n = (size_t)1 << t->bits;
    struct leaf **dir = mem_alloc(2 * n * sizeof(struct leaf *));
    for (size_t i = 0; i < n; i++)
        dir[2 * i] = dir[2 * i + 1] = t->bits == 0 ? t->root : dir_of(t)[i];
    dir_replace(t, dir, (uint8_t)(t->bits + 1));
    t->deepest = 0;
}

/* No leaf is as deep as the directory. */
static void dir_halve(struct elemtab *t)
{
    const uint8_t bits = (uint8_t)(t->bits - 1);
    const size_t n = (size_t)1 << bits;
    if (bits == 0) {
        struct leaf *only = dir_of(t)[0];
        t->bytes -= mem_usable(t->root);
        mem_free(t->root);
        t->root = only;
        t->bits = 0;
        return;
    }
    struct leaf **dir = mem_alloc(n * sizeof(struct leaf *));
    for (size_t i = 0; i < n; i++) {
        dir[i] = dir_of(t)[2 * i];
        t->deepest += dir[i]->depth == bits;
    }
    dir_replace(t, dir, bits);
}

/* --- growing --- */

/* Moves entries [from, to) into a leaf of their own, with room for one more. */
static struct leaf *leaf_part(struct elemtab *t, const struct leaf *old, uint32_t from, uint32_t to,
                              uint32_t depth)
{
    const uint32_t count = to - from;
    struct leaf *leaf = leaf_new(t, cap_for(count == ELEMTAB_LEAF_MAX ? count : count + 1), depth);
    for (uint32_t i = from; i < to; i++)
        leaf_append(leaf, old->fp[i], leaf_get(old, i));
    return leaf;
}

/* Sorts the entries by the hash bit after the first `depth` - 1; returns how many have 0. */
static uint32_t leaf_partition(const struct elemtab *t, struct leaf *leaf, uint32_t depth)
{
    uint32_t zeros = 0;
    uint32_t end = leaf->count;
    /* Their names are hashed anew: all of them are fetched together, not one after the other. */
    for (uint32_t i = 0; i < end; i++)
        __builtin_prefetch(leaf_get(leaf, i));
    while (zeros < end) {
        struct elem *e = leaf_get(leaf, zeros);
        if ((elem_hash(t, e) >> (64 - depth) & 1) == 0) {
            zeros++;
            continue;
        }
        end--;
        const uint16_t fp = leaf->fp[zeros];
        leaf->fp[zeros] = leaf->fp[end];
        leaf_set(leaf, zeros, leaf_get(leaf, end));
        leaf->fp[end] = fp;
        leaf_set(leaf, end, e);
    }
    return zeros;
}

static void leaf_split(struct elemtab *t, struct leaf *old, uint64_t hash)
{
    const uint32_t depth = old->depth + 1u;
    const uint64_t bit = 1ull << (64 - depth);

    if (t->bits < depth)
        dir_double(t);
    const uint32_t zeros = leaf_partition(t, old, depth);
    dir_set(t, hash & ~bit, depth, leaf_part(t, old, 0, zeros, depth));
    dir_set(t, hash | bit, depth, leaf_part(t, old, zeros, old->count, depth));
    if (depth == t->bits)
        t->deepest += 2;
    leaf_free(t, old);
}

static bool leaf_may_split(const struct elemtab *t, const struct leaf *leaf)
{
    if (leaf->count < ELEMTAB_LEAF_MAX || leaf->depth == ELEMTAB_CURSOR_BITS)
        return false;
    return leaf->depth < t->bits || t->count >= (uint64_t)DIR_SHARE_MIN << t->bits;
}

static struct leaf *leaf_resize(struct elemtab *t, struct leaf *old, uint64_t hash, uint32_t cap)
{
    struct leaf *leaf = leaf_new(t, cap, old->depth);
    memcpy(leaf->fp, old->fp, old->count * sizeof(old->fp[0]));
    memcpy(leaf->fp + leaf->cap, old->fp + old->cap, (size_t)old->count * POINTER_BYTES);
    leaf->count = old->count;
    dir_set(t, hash, leaf->depth, leaf);
    leaf_free(t, old);
    return leaf;
}

void elemtab_insert(struct elemtab *t, struct elem *elem)
{
    const uint64_t hash = elem_hash(t, elem);

    if (t->root == NULL)
        t->root = leaf_new(t, LEAF_CAP_MIN, 0);
    struct leaf *leaf = leaf_at(t, hash);
    while (leaf->count == leaf->cap) {
        if (leaf_may_split(t, leaf)) {
            leaf_split(t, leaf, hash);
            leaf = leaf_at(t, hash);
        } else {
            leaf = leaf_resize(t, leaf, hash, cap_for(leaf->count + 1));
        }
    }
    leaf_append(leaf, (uint16_t)hash, elem);
    if (leaf->count > t->widest)
        t->widest = leaf->count;
    t->count++;
}

/* --- life --- */

void elemtab_init(struct elemtab *t, uint64_t seed)
{
    *t = (struct elemtab){.seed = seed & ((1ull << ELEMTAB_SEED_BITS) - 1)};
}

void elemtab_deinit(struct elemtab *t)
{
    uint64_t at = 0;

    while (t->root != NULL) {
        struct leaf *leaf = leaf_at(t, at);
        at = leaf_end(leaf, at);
        leaf_free(t, leaf);
        if (at != 0)
            continue;
        if (t->bits != 0) {
            t->bytes -= mem_usable(t->root);
            mem_free(t->root);
        }
        t->root = NULL;
    }
    CHECK(t->bytes == 0);
    elemtab_init(t, t->seed);
}

/* --- finding --- */

/*
 * The first entry from `from` on with that fingerprint; the count if there is none. Reading past
 * the fingerprints ends within the pointers: a leaf has room for 3 at least.
 */
static inline uint32_t leaf_next_fp(const struct leaf *leaf, uint32_t from, uint16_t fp)
{
#ifdef __SSE2__
    const __m128i want = _mm_set1_epi16((short)fp);
    while (from < leaf->count) {
        const __m128i some = _mm_loadu_si128((const __m128i *)(const void *)(leaf->fp + from));
        const uint32_t mask = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi16(some, want));
        if (mask != 0) {
            from += (uint32_t)__builtin_ctz(mask) / 2;
            break;
        }
        from += 8;
    }
    return from < leaf->count ? from : leaf->count;
#else
    while (from < leaf->count && leaf->fp[from] != fp)
        from++;
    return from;
#endif
}

struct elem *elemtab_find(const struct elemtab *t, struct bytes sub)
{
    if (t->root == NULL)
        return NULL;
    const uint64_t hash = sub_hash(t, sub);
    const struct leaf *leaf = leaf_at(t, hash);
    for (uint32_t i = 0; (i = leaf_next_fp(leaf, i, (uint16_t)hash)) < leaf->count; i++) {
        struct elem *e = leaf_get(leaf, i);
        if (bytes_eq(elem_sub(e), sub))
            return e;
    }
    return NULL;
}

uint64_t elemtab_hash(const struct elemtab *t, struct bytes sub)
{
    return sub_hash(t, sub);
}

void elemtab_prefetch(const struct elemtab *t, uint64_t hash, unsigned stage)
{
    if (t->root == NULL)
        return;
    if (stage == 0) {
        if (t->bits != 0)
            __builtin_prefetch(&dir_of(t)[hash >> (64 - t->bits)]);
        return;
    }
    const struct leaf *leaf = leaf_at(t, hash);
    if (stage == 1) {
        /* The head and the fingerprints of 60 entries. */
        __builtin_prefetch(leaf);
        __builtin_prefetch((const uint8_t *)leaf + 64);
        return;
    }
    const uint32_t i = leaf_next_fp(leaf, 0, (uint16_t)hash);
    if (stage == 2) /* Of an absent one: where it would be put. */
        __builtin_prefetch((const uint8_t *)(leaf->fp + leaf->cap) + (size_t)i * POINTER_BYTES);
    else if (i < leaf->count)
        __builtin_prefetch(leaf_get(leaf, i));
}

/* The place of an element known to be in the leaf. */
static uint32_t leaf_index(const struct leaf *leaf, uint64_t hash, const struct elem *e)
{
    uint32_t i = leaf_next_fp(leaf, 0, (uint16_t)hash);
    while (i < leaf->count && leaf_get(leaf, i) != e)
        i = leaf_next_fp(leaf, i + 1, (uint16_t)hash);
    CHECK(i < leaf->count);
    return i;
}

void elemtab_replace(struct elemtab *t, struct bytes sub, const struct elem *old, struct elem *elem)
{
    CHECK(t->root != NULL);
    const uint64_t hash = sub_hash(t, sub);
    struct leaf *leaf = leaf_at(t, hash);
    leaf_set(leaf, leaf_index(leaf, hash, old), elem);
}

/* --- shrinking --- */

/*
 * Joins the leaf at `hash` with its sibling while both together are small, and so on upwards. The
 * sibling's entries come behind those of the leaf, where an iterator that stands in it, and counts
 * down, does not look.
 */
static struct leaf *leaf_join(struct elemtab *t, struct leaf *leaf, uint64_t hash)
{
    while (leaf->depth > 0) {
        struct leaf *sibling = leaf_at(t, hash ^ 1ull << (64 - leaf->depth));
        const uint32_t count = leaf->count + sibling->count;
        if (sibling->depth != leaf->depth || count > LEAF_ENTRIES_JOIN)
            break;
        if (count > leaf->cap)
            leaf = leaf_resize(t, leaf, hash, cap_for(count));
        for (uint32_t i = 0; i < sibling->count; i++)
            leaf_append(leaf, sibling->fp[i], leaf_get(sibling, i));
        leaf_free(t, sibling);
        if (leaf->depth == t->bits)
            t->deepest -= 2;
        leaf->depth = (leaf->depth - 1u) & 0xffu;
        dir_set(t, hash, leaf->depth, leaf);
    }
    while (t->bits > 0 && t->deepest == 0 && t->count < (uint64_t)DIR_SHARE_SHRINK << t->bits)
        dir_halve(t);
    return leaf;
}

/* Gives memory back after removals from the leaf at `hash`. */
static void leaf_trim(struct elemtab *t, uint64_t hash)
{
    if (t->count == 0) {
        elemtab_deinit(t);
        return;
    }
    struct leaf *leaf = leaf_at(t, hash);
    if (leaf->count <= LEAF_ENTRIES_JOIN / 2)
        leaf = leaf_join(t, leaf, hash);
    if (leaf->cap > LEAF_CAP_MIN && leaf->count < leaf->cap / 2)
        (void)leaf_resize(t, leaf, hash, cap_for(leaf->count + 1));
}

void elemtab_remove(struct elemtab *t, const struct elem *elem)
{
    CHECK(t->root != NULL);
    const uint64_t hash = elem_hash(t, elem);
    struct leaf *leaf = leaf_at(t, hash);
    leaf_drop(leaf, leaf_index(leaf, hash, elem));
    t->count--;
    leaf_trim(t, hash);
}

/* --- visiting --- */

/* Whether entry `i` of the leaf that covers `at` is not before it. */
static bool leaf_reached(const struct elemtab *t, const struct leaf *leaf, uint32_t i, uint64_t at)
{
    return leaf_begin(leaf, at) == at || elem_hash(t, leaf_get(leaf, i)) >= at;
}

void elemtab_iter_init(const struct elemtab *t, struct elemtab_iter *it)
{
    *it = (struct elemtab_iter){.tab = t, .more = true};
}

void elemtab_iter_init_inserted(const struct elemtab *t, struct elemtab_iter *it)
{
    *it = (struct elemtab_iter){.tab = t, .more = true, .inserted = true};
}

struct elem *elemtab_iter_next(struct elemtab_iter *it)
{
    const struct elemtab *t = it->tab;

    while (t->root != NULL) {
        const struct leaf *leaf = leaf_at(t, it->at);
        while (it->left > 0) {
            it->left--;
            const uint32_t i = it->inserted ? leaf->count - 1 - it->left : it->left;
            if (leaf_reached(t, leaf, i, it->at))
                return leaf_get(leaf, i);
        }
        if (!it->more)
            break;
        it->at = it->next;
        leaf = leaf_at(t, it->at);
        it->left = leaf->count;
        it->next = leaf_end(leaf, it->at);
        it->more = it->next != 0;
    }
    return NULL;
}

uint64_t elemtab_scan(const struct elemtab *t, uint64_t cursor,
                      void (*fn)(void *ctx, struct elem *elem), void *ctx)
{
    const uint64_t at = cursor << (64 - ELEMTAB_CURSOR_BITS);
    if (t->root == NULL)
        return 0;
    const struct leaf *leaf = leaf_at(t, at);
    for (uint32_t i = 0; i < leaf->count; i++) {
        if (leaf_reached(t, leaf, i, at))
            fn(ctx, leaf_get(leaf, i));
    }
    return leaf_end(leaf, at) >> (64 - ELEMTAB_CURSOR_BITS);
}

/* Element number `n` of all, in the order of the leaves. */
static struct elem *elem_number(const struct elemtab *t, uint64_t n)
{
    uint64_t at = 0;
    const struct leaf *leaf = leaf_at(t, at);
    while (n >= leaf->count) {
        n -= leaf->count;
        at = leaf_end(leaf, at);
        CHECK(at != 0);
        leaf = leaf_at(t, at);
    }
    return leaf_get(leaf, (uint32_t)n);
}

struct elem *elemtab_random(const struct elemtab *t, struct rng *rng)
{
    if (t->count == 0)
        return NULL;
    /*
     * A leaf is hit in proportion to the share of the hashes that it covers, hence the draw
     * within it is from as many times the widest leaf: all elements have the same chance.
     */
    for (int draw = 0; draw < RANDOM_DRAWS_MAX; draw++) {
        const struct leaf *leaf = leaf_at(t, rng_u64(rng));
        const uint64_t i = rng_below(rng, (uint64_t)t->widest << (t->bits - leaf->depth));
        if (i < leaf->count)
            return leaf_get(leaf, (uint32_t)i);
    }
    return elem_number(t, rng_below(rng, t->count));
}

uint32_t elemtab_walk(struct elemtab *t, uint64_t *hand, uint32_t max,
                      bool (*fn)(void *ctx, struct elem *elem), void *ctx)
{
    /* The hand is a hash prefix and the entries of that leaf that are left, 0 for all. */
    const uint64_t left_mask = (1ull << (64 - ELEMTAB_CURSOR_BITS)) - 1;
    const uint32_t limit = (uint32_t)u64_min(max, t->count);
    uint64_t at = *hand & ~left_mask;
    uint32_t left = (uint32_t)(*hand & left_mask);
    uint32_t visited = 0;

    while (visited < limit) {
        struct leaf *leaf = leaf_at(t, at);
        left = left == 0 ? leaf->count : (uint32_t)size_min(left, leaf->count);
        const uint32_t before = leaf->count;
        for (; left > 0 && visited < limit; visited++) {
            left--;
            if (fn(ctx, leaf_get(leaf, left)))
                leaf_drop(leaf, left);
        }
        const uint64_t end = leaf_end(leaf, at);
        const uint32_t removed = before - leaf->count;
        t->count -= removed;
        if (removed != 0)
            leaf_trim(t, at);
        if (left == 0)
            at = end;
    }
    *hand = at | u64_min(left, left_mask);
    return visited;
}
