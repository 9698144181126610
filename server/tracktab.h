/*
 * Which clients may have which keys in a cache of their own: key -> client numbers.
 *
 *     bucket -> entry { hash, name, numbers in ascending order } -> entry ..
 *
 * A client that is gone, or tracks no more, stays until its keys change: whoever takes an entry
 * out looks whether the number still means somebody. Chained hashing, at most one entry a bucket on
 * the mean.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_SERVER_TRACKTAB_H
#define TIERRA_SERVER_TRACKTAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct rng;

struct tracktab_entry {
    struct tracktab_entry *next;
    uint64_t hash;
    uint64_t *ids;
    uint32_t ids_count;
    uint32_t ids_cap;
    uint32_t name_len;
    uint8_t name[];
};

struct tracktab {
    struct tracktab_entry **buckets;
    uint64_t buckets_count; /* A power of two, or 0. */
    uint64_t count;         /* Keys. */
    uint64_t items;         /* Numbers, of all keys. */
    uint64_t bytes;
};

/* Zero ({0}) is empty. */
void tracktab_deinit(struct tracktab *t);

/* The client may have the key. `hash` of the name: the same in all calls. */
void tracktab_add(struct tracktab *t, struct bytes name, uint64_t hash, uint64_t id);

/* Removes the key and gives its entry, to be freed by tracktab_free; NULL if nobody has it. */
MUST_USE struct tracktab_entry *tracktab_take(struct tracktab *t, struct bytes name, uint64_t hash);
/* The same with one at random; NULL if the table is empty. */
MUST_USE struct tracktab_entry *tracktab_take_any(struct tracktab *t, struct rng *rng);
void tracktab_free(struct tracktab_entry *entry);

static inline struct bytes tracktab_name(const struct tracktab_entry *entry)
{
    return bytes_of(entry->name, entry->name_len);
}

#endif
