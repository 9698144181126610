/*
 * The key table of a shard: every key that exists, in 7 bytes each and a little.
 *
 * A key's place is its slot (14 bits) and then the bits of its 64-bit hash from the top down: this
 * is the order of the rows in the store, too. Each of the 16,384 slots has an extendible hash table
 * of its own (keytab_trie.h):
 *
 *     slot root -> directory by hash bits -> leaf of up to 126 entries (keytab_leaf.h)
 *
 * An entry is 8 bits of the hash, compared 16 at a time, and for a hot key the address of its
 * object, for a cold one its type, whether it expires, a touched mark and 41 bits more of the hash.
 * By its slot and 49 hash bits a cold entry is told from any other key of its slot but for one in
 * 2^49, and can be moved when its leaf splits without knowing its name. A hot key is compared by
 * name, and is found before a cold one of the same bits.
 *
 * A full leaf splits in two by the next bit; the hash of a hot entry is computed again from its
 * key. No operation does more work than one split and the doubling of a directory node of 2 KiB.
 * Leaves shrink and merge when entries go. They stand in memory without holes (keytab_pool.h),
 * hence inserts and removes may move any of them.
 *
 * Owned by one shard thread. References are valid until the next call that inserts or removes.
 */
#ifndef TIERRA_ENGINE_SPACE_KEYTAB_H
#define TIERRA_ENGINE_SPACE_KEYTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/crc16.h"

struct keytab;
struct trie_leaf;
struct obj;

/* Bits of the hash that a cold entry keeps. */
#define KEYTAB_HASH_BITS 49
/* A cursor is slot and 48 hash bits; after the last key it is 0. */
#define KEYTAB_CURSOR_HASH_BITS 48

enum keytab_kind {
    KEYTAB_NONE,
    KEYTAB_HOT,
    KEYTAB_COLD
};

struct keytab_ref {
    struct trie_leaf *leaf;
    struct obj *obj; /* Hot entries only. */
    uint32_t index;
    uint16_t slot;
    uint8_t leaf_class;
};

MUST_USE struct keytab *keytab_create(uint64_t seed);
/* Does not free the objects. NULL is allowed. */
void keytab_destroy(struct keytab *t);

/* A cold match is by hash alone. `ref` is set unless the result is KEYTAB_NONE. */
MUST_USE enum keytab_kind keytab_find(const struct keytab *t, uint16_t slot, uint64_t hash,
                                      struct bytes key, struct keytab_ref *ref);

/* A hot key by its full hash, its name unknown. */
MUST_USE bool keytab_find_hot(const struct keytab *t, uint16_t slot, uint64_t hash,
                              struct keytab_ref *ref);

/*
 * Loads into the cache what later calls of keytab_find for several keys will read: the steps of all
 * of them are taken side by side, so that they wait for memory together.
 */
#define KEYTAB_AHEAD_BYTES 128 /* Of each object. */

struct keytab_ahead {
    uint64_t hash;
    uint16_t slot;
    /* Result: an object with the hash's fingerprint, most likely the key's; NULL: none is hot. */
    const struct obj *obj;
    /* keytab_ahead's own: */
    uint64_t ref;
    const uint8_t *payload;
};
void keytab_ahead(const struct keytab *t, struct keytab_ahead *a, uint32_t n);

/* The caller has seen that the key is not there. */
void keytab_insert_hot(struct keytab *t, uint16_t slot, uint64_t hash, struct obj *obj);
/* `hash`: the top KEYTAB_HASH_BITS count. */
void keytab_insert_cold(struct keytab *t, uint16_t slot, uint64_t hash, uint8_t type, bool has_ttl);

/*
 * For loading many: as above, for `count` entries of one slot, faster if they come in ascending
 * order.
 */
struct keytab_cold {
    uint64_t hash;
    uint8_t type;
    bool has_ttl;
};
void keytab_load_cold(struct keytab *t, uint16_t slot, const struct keytab_cold *entries,
                      size_t count);

/*
 * Changes of the entry in place. The reference goes on being valid; its `obj` is not updated. Of a
 * hot entry neither reads the old object.
 */
void keytab_set_hot(struct keytab *t, const struct keytab_ref *ref, uint64_t hash, struct obj *obj);
void keytab_set_cold(struct keytab *t, const struct keytab_ref *ref, uint64_t hash, uint8_t type,
                     bool has_ttl, bool touched);
void keytab_remove(struct keytab *t, const struct keytab_ref *ref);

/* Of a cold entry. */
uint8_t keytab_type(const struct keytab_ref *ref);
bool keytab_has_ttl(const struct keytab_ref *ref);
bool keytab_touched(const struct keytab_ref *ref);

uint64_t keytab_count_hot(const struct keytab *t);
uint64_t keytab_count_cold(const struct keytab *t);
uint64_t keytab_count_cold_ttl(const struct keytab *t);
/* Entries of one slot, hot and cold. */
uint32_t keytab_count_slot(const struct keytab *t, uint16_t slot);
/* Memory of the table itself, as allocated. Exact, O(1). */
size_t keytab_bytes(const struct keytab *t);

/* One entry during a walk. */
struct keytab_entry {
    enum keytab_kind kind;
    uint16_t slot;
    uint64_t hash; /* Cold: its top KEYTAB_HASH_BITS. Hot: 0, not computed. */
    struct keytab_ref ref;
};

/* May turn the entry hot or cold or remove it; must not insert, nor touch another entry. */
typedef void (*keytab_walk_fn)(void *ctx, const struct keytab_entry *entry);

/*
 * Calls `fn` for the entries of the leaf at `cursor` that are not before it, and returns the
 * cursor of the next leaf that has any, 0 after the last. A walk from 0 to 0 meets every entry
 * that is there all the time, whatever else is inserted, removed or split meanwhile. Up to 126
 * entries per call, rarely more.
 */
uint64_t keytab_walk(struct keytab *t, uint64_t cursor, keytab_walk_fn fn, void *ctx);

/*
 * Like keytab_walk, for SCAN: calls `fn` for about `count` entries from the cursor on in the order
 * of their hashes, more where several share a cursor. Every entry that is there all the time is met
 * exactly once, any other at most once. The hash of hot entries is given too. `fn` must not change
 * the table. A call costs at least one leaf: sorting it and hashing the names of its hot keys.
 */
uint64_t keytab_scan(const struct keytab *t, uint64_t cursor, size_t count, keytab_walk_fn fn,
                     void *ctx);

/* The cursor at which a slot begins. */
static inline uint64_t keytab_cursor(uint16_t slot, uint64_t hash)
{
    const uint64_t slot_begin = slot * (UINT64_C(1) << KEYTAB_CURSOR_HASH_BITS);

    return slot_begin | (hash >> (64 - KEYTAB_CURSOR_HASH_BITS));
}

#endif
