/*
 * The key table of a shard: every key that exists, in 7 bytes each.
 *
 * A key's place is its slot (14 bits) and then the bits of its 64-bit hash from the top down: this
 * is the order of the rows in the store, too. Each of the 16,384 slots has a small extendible hash
 * table of its own:
 *
 *     slot root -> directory[2^bits] -> leaf, which holds the keys of one hash prefix
 *
 *     leaf    0  2  count     entries in use, unsorted
 *             2  2  cap       entries that fit; steps that fill jemalloc's size classes
 *             4  1  depth     length of the hash prefix
 *             8  .. fp[cap]   8 bits of the hash each, compared 16 at a time
 *             .. .. payload[cap], 6 bytes each:
 *                     hot     bit 0 set | 3 hash bits | pointer to the object >> 4 (44 bits)
 *                     cold    bit 0 clear | touched | has TTL | type (4 bits) | 41 hash bits
 *
 * The fingerprint and the 41 bits are the top 49 bits of the hash, hence a cold entry can be told
 * from any other key of its slot but for one in 2^49, and can be moved when its leaf splits
 * without knowing its name. A full leaf splits in two by the next bit; the hash of a hot entry is
 * computed again from its key. No operation does more work than one split and, rarely, the
 * doubling of one slot's directory.
 *
 * Owned by one shard thread. References and objects' addresses within it are valid until the next
 * call that inserts or removes.
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
struct keytab_leaf;
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
    struct keytab_leaf *leaf;
    struct obj *obj; /* Hot entries only. */
    uint32_t index;
    uint16_t slot;
};

MUST_USE struct keytab *keytab_create(uint64_t seed);
/* Does not free the objects. NULL is allowed. */
void keytab_destroy(struct keytab *t);

/* A cold match is by hash alone. `ref` is set unless the result is KEYTAB_NONE. */
MUST_USE enum keytab_kind keytab_find(const struct keytab *t, uint16_t slot, uint64_t hash,
                                      struct bytes key, struct keytab_ref *ref);

/* The caller has seen that the key is not there. */
void keytab_insert_hot(struct keytab *t, uint16_t slot, uint64_t hash, struct obj *obj);
/* `hash`: the top KEYTAB_HASH_BITS count. */
void keytab_insert_cold(struct keytab *t, uint16_t slot, uint64_t hash, uint8_t type, bool has_ttl);

/* Changes of the entry in place. */
void keytab_set_hot(struct keytab *t, const struct keytab_ref *ref, uint64_t hash, struct obj *obj);
void keytab_set_cold(struct keytab *t, const struct keytab_ref *ref, uint64_t hash, uint8_t type,
                     bool has_ttl, bool touched);
void keytab_remove(struct keytab *t, const struct keytab_ref *ref);

/* Of a cold entry. */
uint8_t keytab_type(const struct keytab_ref *ref);
bool keytab_has_ttl(const struct keytab_ref *ref);
bool keytab_touched(const struct keytab_ref *ref);
void keytab_set_touched(const struct keytab_ref *ref, bool touched);

uint64_t keytab_count_hot(const struct keytab *t);
uint64_t keytab_count_cold(const struct keytab *t);
uint64_t keytab_count_cold_ttl(const struct keytab *t);
/* Entries of one slot, hot and cold. */
uint32_t keytab_count_slot(const struct keytab *t, uint16_t slot);
/* Memory of the table itself, as allocated. */
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

/* The cursor at which a slot begins. */
static inline uint64_t keytab_cursor(uint16_t slot, uint64_t hash)
{
    return (uint64_t)slot << KEYTAB_CURSOR_HASH_BITS | hash >> (64 - KEYTAB_CURSOR_HASH_BITS);
}

#endif
