/*
 * The elements of one hash, set or sorted set: subkey -> struct elem, 8 bytes each.
 *
 * Extendible hashing: a directory of 2^bits pointers to leaves, each of which holds the elements
 * of one hash prefix. A collection that fits one leaf has no directory. A full leaf splits in two
 * by the next hash bit, computed again from the subkeys, so that no insertion does more than one
 * split and, rarely, the doubling of the directory, which copies pointers only.
 *
 *     leaf    0  4  count    entries in use, unsorted
 *             4  3  cap      entries that fit; steps that fill jemalloc's size classes
 *             7  1  depth    length of the hash prefix
 *             8  .. fp[cap]  low 16 bits of each hash, compared 8 at a time
 *             .. .. ptr[cap] 6 bytes each, the address of the element
 *
 * The directory may not outgrow the count, whatever the hashes are: subkeys that collide on purpose
 * make long leaves instead. Two small siblings are joined, and the directory shrinks when it is
 * much too large.
 *
 * The table does not own the elements. Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_ELEMTAB_H
#define TIERRA_ENGINE_SPACE_ELEMTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/rng.h"

struct elem;

/* A scan cursor is this many leading bits of a hash; no prefix is longer. */
#define ELEMTAB_CURSOR_BITS 48

/*
 * Entries of a leaf. One that is full is split by the next. A table of no more is one leaf, whose
 * elements stand in the order in which they came, but that the last one takes the place of one that
 * goes.
 */
#define ELEMTAB_LEAF_MAX 63u

/* Of the seed: more do not fit beside the width of the directory. */
#define ELEMTAB_SEED_BITS 56

struct elemtab {
    void *root;       /* bits == 0: the leaf or NULL; else the directory. */
    uint64_t count;   /* Elements. */
    size_t bytes;     /* Leaves and directory, as allocated. */
    uint32_t widest;  /* No leaf has held more, since the table was empty. */
    uint32_t deepest; /* Leaves as deep as the directory: while there are any, it cannot shrink. */
    uint64_t seed : ELEMTAB_SEED_BITS;
    uint64_t bits : 8;
};

/*
 * Allocates nothing. Subkeys are hashed with the low ELEMTAB_SEED_BITS of the seed. Cursors hold as
 * long as tables are made with the same one; who knows it can make subkeys that collide.
 */
void elemtab_init(struct elemtab *t, uint64_t seed);
/* Leaves an empty table of the same seed; the elements stay. */
void elemtab_deinit(struct elemtab *t);

/* NULL if it is absent. */
MUST_USE struct elem *elemtab_find(const struct elemtab *t, struct bytes sub);

uint64_t elemtab_hash(const struct elemtab *t, struct bytes sub);

/*
 * Loads into the cache what a later elemtab_find of the subkey with this hash reads. For several
 * subkeys call stage 0 for all of them, then stage 1 and so on. 0: directory; 1: leaf; 2: the
 * place in the leaf; 3: element.
 */
#define ELEMTAB_PREFETCH_STAGES 4
void elemtab_prefetch(const struct elemtab *t, uint64_t hash, unsigned stage);

/* The caller has seen that the subkey is absent. */
void elemtab_insert(struct elemtab *t, struct elem *elem);

/* The element `old` of that subkey, which may be freed already, is now `elem`. */
void elemtab_replace(struct elemtab *t, struct bytes sub, const struct elem *old,
                     struct elem *elem);

/* Of an element that is there. */
void elemtab_remove(struct elemtab *t, const struct elem *elem);

static inline uint64_t elemtab_count(const struct elemtab *t)
{
    return t->count;
}

/* Memory of the table, without struct elemtab and the elements. */
static inline size_t elemtab_bytes(const struct elemtab *t)
{
    return t->bytes;
}

/*
 * All elements, each once. Between two calls only the element just returned may be removed; if it
 * is `inserted`, none. Then those of a leaf come as they were inserted: where none was removed, all
 * of a table of up to 63.
 */
struct elemtab_iter {
    const struct elemtab *tab;
    uint64_t at;   /* The hash prefix from which this leaf is read. */
    uint64_t next; /* Where the next leaf begins; 0 after the last. */
    uint32_t left; /* Entries of this leaf yet to be returned. */
    bool more;     /* There are leaves from `next` on. */
    bool inserted; /* Set by elemtab_iter_init_inserted. */
};

void elemtab_iter_init(const struct elemtab *t, struct elemtab_iter *it);
void elemtab_iter_init_inserted(const struct elemtab *t, struct elemtab_iter *it);
/* NULL after the last. */
MUST_USE struct elem *elemtab_iter_next(struct elemtab_iter *it);

/*
 * Calls `fn` for the elements of the leaf at `cursor` and returns the next cursor, 0 after the
 * last. A scan from 0 to 0 meets every element that is there all the time, whatever else comes
 * and goes meanwhile; up to 63 per call, rarely more. `fn` must not change the table.
 */
MUST_USE uint64_t elemtab_scan(const struct elemtab *t, uint64_t cursor,
                               void (*fn)(void *ctx, struct elem *elem), void *ctx);

/* An element, each with the same probability; NULL if there is none. */
MUST_USE struct elem *elemtab_random(const struct elemtab *t, struct rng *rng);

/*
 * Visits up to `max` elements from `*hand` on, in a circle, none twice, and leaves the hand behind
 * the last. Takes out those for which `fn` returns true; `fn` may free them. Start with hand 0.
 * Returns how many it visited.
 */
uint32_t elemtab_walk(struct elemtab *t, uint64_t *hand, uint32_t max,
                      bool (*fn)(void *ctx, struct elem *elem), void *ctx);

#endif
