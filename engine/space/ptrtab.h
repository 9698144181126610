/*
 * Elements of one collection by subkey: the fields of a hash, the members of a set or zset.
 *
 *     0 elements   nothing
 *     1 element    its address in struct ptrtab itself
 *     more         directory by hash bits -> leaves of up to 126 entries (keytab_trie.h)
 *
 * An entry has 7 bytes: an 8-bit fingerprint, the address without its low 4 bits (44) and 3 more
 * hash bits. Nothing is ever rehashed: a full leaf splits by its next hash bit, hence no pause at
 * any size.
 *
 * The order is by hash64(subkey, 0), top bits first: that of element rows in the store, whose
 * subkeys begin with 6 hash bytes (engine/value/rowkey.h). Cursors are positions in that order, the
 * top 48 bits of the hash: stateless, and valid whatever happens between two calls.
 *
 * The table borrows the elements. Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_PTRTAB_H
#define TIERRA_ENGINE_SPACE_PTRTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/rng.h"
#include "engine/base/sum.h"

struct elem;
struct trie_leaf;

/* Embedded in a collection. Fields are for this module. */
struct ptrtab {
    uint64_t root;  /* 0, the only element, or a leaf or directory. */
    uint32_t count; /* Elements, dead ones included. */
    uint32_t units; /* Memory outside this struct, in units of 16 bytes. */
};

/* Allocates nothing. */
void ptrtab_init(struct ptrtab *t);
/* Frees the table, not the elements. The table is then empty and usable. */
void ptrtab_deinit(struct ptrtab *t);

static inline uint32_t ptrtab_count(const struct ptrtab *t)
{
    return t->count;
}

/* Memory of the table without struct ptrtab and without the elements. Exact, O(1). */
static inline size_t ptrtab_bytes(const struct ptrtab *t)
{
    return (size_t)t->units * 16;
}

static inline uint64_t ptrtab_hash(struct bytes sub)
{
    return hash64(sub.ptr, sub.len, 0);
}

/* NULL if there is none. */
struct elem *ptrtab_find(const struct ptrtab *t, struct bytes sub);

/* The same for many look-ups, each hash computed once: prefetch all of them, then find. */
struct elem *ptrtab_find_hash(const struct ptrtab *t, uint64_t hash, struct bytes sub);
void ptrtab_prefetch(const struct ptrtab *t, uint64_t hash);

/* The caller knows that there is no element of that subkey. Cannot fail. */
void ptrtab_insert(struct ptrtab *t, struct elem *elem);

/* Takes out this very element, which is in the table and still readable. */
void ptrtab_remove(struct ptrtab *t, const struct elem *elem);

/* The element at `old`, which is not read any more, is now at `elem`, with the same subkey. */
void ptrtab_move(struct ptrtab *t, struct bytes sub, const struct elem *old, struct elem *elem);

/*
 * An element, each with the same probability; NULL if the table is empty. O(1) expected. Dead ones
 * are among them: who wants a live one tries again.
 */
struct elem *ptrtab_random(const struct ptrtab *t, struct rng *rng);

/* All elements, in no order within some hash range. No insert or remove meanwhile. */
struct ptrtab_iter {
    const struct ptrtab *t;
    const uint8_t *payloads; /* Of the leaf; NULL: none yet. */
    uint64_t only;           /* Where the only element of a table stands. */
    uint64_t next_hash;      /* Where the next leaf begins; 0 after the last. */
    uint32_t left;           /* Entries of the leaf that were not shown. */
    bool started;
};

void ptrtab_iter_init(const struct ptrtab *t, struct ptrtab_iter *it);
/* NULL at the end. */
struct elem *ptrtab_iter_next(struct ptrtab_iter *it);

/*
 * Shows the elements from position `cursor` (0 at first) on in hash order: about `count`, more
 * where several share a position. Returns the cursor to go on with, 0 at the end. A sequence of
 * calls shows each element that is there all the time exactly once, whatever changes between them.
 * The callback must not change the table.
 */
typedef void (*ptrtab_scan_fn)(void *ctx, struct elem *elem, uint64_t hash);
uint64_t ptrtab_scan(const struct ptrtab *t, uint64_t cursor, size_t count, ptrtab_scan_fn fn,
                     void *ctx);

/*
 * A clock: shows about `max` elements, whole leaves, from `*hand` (0 at first) on and moves it;
 * after the last leaf it is 0. If the callback returns true the element leaves the table; it may be
 * freed by then. The callback must not change the table itself.
 */
typedef bool (*ptrtab_walk_fn)(void *ctx, struct elem *elem);
void ptrtab_walk(struct ptrtab *t, uint64_t *hand, uint32_t max, ptrtab_walk_fn fn, void *ctx);

#endif
