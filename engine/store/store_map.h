/*
 * An ordered map in memory whose versions can be kept: for the store in memory.
 *
 *     map: [ chunk | chunk | chunk ]         sorted array of pointers, each chunk not empty
 *              |
 *              v
 *            [ entry | entry | ... ]         sorted array of up to 128 pointers
 *                       |
 *                       v
 *                     key, value             never changed
 *
 * Maps, chunks and entries are counted references. A change copies what somebody else refers to and
 * changes the rest in place, so a snapshot is one reference and costs one copied array at the next
 * change. Finding is two binary searches, inserting moves at most one chunk and one array.
 *
 * One thread at a time per map and those that share parts with it; releasing entries and dropping
 * references: any thread.
 */
#ifndef TIERRA_ENGINE_STORE_STORE_MAP_H
#define TIERRA_ENGINE_STORE_STORE_MAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct map_entry {
    atomic_uint refs;
    uint32_t key_len;
    uint32_t value_len;
    uint8_t data[]; /* Key, value. */
};

struct store_map;

static inline struct bytes map_entry_key(const struct map_entry *e)
{
    return bytes_of(e->data, e->key_len);
}

static inline struct bytes map_entry_value(const struct map_entry *e)
{
    return bytes_of(e->data + e->key_len, e->value_len);
}

struct map_entry *map_entry_ref(struct map_entry *e);
void map_entry_unref(struct map_entry *e);

/* An empty map with one reference. */
MUST_USE struct store_map *map_create(void);
struct store_map *map_ref(struct store_map *map);
/* NULL is allowed. */
void map_unref(struct store_map *map);

/* Entries, and the bytes of their keys and values. */
size_t map_count(const struct store_map *map);
uint64_t map_bytes(const struct store_map *map);

/* Each replaces `*map`, whose reference it takes, by the changed map. */
void map_put(struct store_map **map, struct bytes key, struct bytes value);
/* False: it was not there. */
bool map_remove(struct store_map **map, struct bytes key);

/* A place in one map, which must live as long; chunk >= the number of chunks: nowhere. */
struct map_place {
    size_t chunk;
    size_t index;
};

/* The first entry at or after `key`; the last at or before. */
struct map_place map_seek(const struct store_map *map, struct bytes key);
struct map_place map_seek_prev(const struct store_map *map, struct bytes key);
struct map_place map_first(const struct store_map *map);
struct map_place map_last(const struct store_map *map);
struct map_place map_next(const struct store_map *map, struct map_place place);
struct map_place map_prev(const struct store_map *map, struct map_place place);

/* NULL: nowhere. Borrowed from the map. */
struct map_entry *map_at(const struct store_map *map, struct map_place place);

/* The entry with this key; NULL: none. Borrowed from the map. */
struct map_entry *map_find(const struct store_map *map, struct bytes key);

#endif
