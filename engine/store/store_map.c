/*
 * The map of chunks.
 */
#include "engine/store/store_map.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#define CHUNK_ENTRIES_MAX 128

struct map_chunk {
    atomic_uint refs;
    uint32_t count; /* 1 .. CHUNK_ENTRIES_MAX */
    struct map_entry *entries[CHUNK_ENTRIES_MAX];
};

struct store_map {
    atomic_uint refs;
    size_t count; /* Chunks. */
    size_t cap;
    size_t entries;
    uint64_t bytes;
    struct map_chunk **chunks;
};

static const struct map_place nowhere = {.chunk = SIZE_MAX, .index = 0};

/* --- references --- */

struct map_entry *map_entry_ref(struct map_entry *e)
{
    atomic_fetch_add(&e->refs, 1);
    return e;
}

void map_entry_unref(struct map_entry *e)
{
    if (atomic_fetch_sub(&e->refs, 1) == 1)
        mem_free(e);
}

static struct map_entry *entry_create(struct bytes key, struct bytes value)
{
    CHECK(key.len <= UINT32_MAX && value.len <= UINT32_MAX);
    struct map_entry *e = mem_alloc(sizeof(*e) + key.len + value.len);

    atomic_init(&e->refs, 1);
    e->key_len = (uint32_t)key.len;
    e->value_len = (uint32_t)value.len;
    memcpy(e->data, key.ptr, key.len);
    if (value.len != 0)
        memcpy(e->data + key.len, value.ptr, value.len);
    return e;
}

static void chunk_unref(struct map_chunk *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    for (size_t i = 0; i < c->count; i++)
        map_entry_unref(c->entries[i]);
    mem_free(c);
}

struct store_map *map_create(void)
{
    struct store_map *map = mem_zalloc(sizeof(*map));

    atomic_init(&map->refs, 1);
    return map;
}

struct store_map *map_ref(struct store_map *map)
{
    atomic_fetch_add(&map->refs, 1);
    return map;
}

void map_unref(struct store_map *map)
{
    if (map == NULL || atomic_fetch_sub(&map->refs, 1) != 1)
        return;
    for (size_t i = 0; i < map->count; i++)
        chunk_unref(map->chunks[i]);
    mem_free(map->chunks);
    mem_free(map);
}

size_t map_count(const struct store_map *map)
{
    return map->entries;
}

uint64_t map_bytes(const struct store_map *map)
{
    return map->bytes;
}

/* --- copies before a change --- */

static struct store_map *map_own(struct store_map *take_map)
{
    if (atomic_load(&take_map->refs) == 1)
        return take_map;
    struct store_map *map = mem_alloc(sizeof(*map));

    atomic_init(&map->refs, 1);
    map->count = take_map->count;
    map->cap = size_max(take_map->count, 1);
    map->entries = take_map->entries;
    map->bytes = take_map->bytes;
    map->chunks = mem_alloc(map->cap * sizeof(struct map_chunk *));
    for (size_t i = 0; i < map->count; i++) {
        map->chunks[i] = take_map->chunks[i];
        atomic_fetch_add(&map->chunks[i]->refs, 1);
    }
    map_unref(take_map);
    return map;
}

static struct map_chunk *chunk_own(struct store_map *map, size_t at)
{
    struct map_chunk *old = map->chunks[at];

    if (atomic_load(&old->refs) == 1)
        return old;
    struct map_chunk *c = mem_alloc(sizeof(*c));
    atomic_init(&c->refs, 1);
    c->count = old->count;
    for (size_t i = 0; i < c->count; i++)
        c->entries[i] = map_entry_ref(old->entries[i]);
    chunk_unref(old);
    map->chunks[at] = c;
    return c;
}

/* --- finding --- */

/* The first index whose key is at or after `key`; the count if there is none. */
static size_t chunk_lower(const struct map_chunk *c, struct bytes key)
{
    size_t low = 0;
    size_t high = c->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (bytes_cmp(map_entry_key(c->entries[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The chunk where `key` is or belongs: the last whose first key is at or before it, else 0. */
static size_t map_chunk_of(const struct store_map *map, struct bytes key)
{
    size_t low = 0;
    size_t high = map->count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (bytes_cmp(map_entry_key(map->chunks[middle]->entries[0]), key) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low == 0 ? 0 : low - 1;
}

struct map_entry *map_at(const struct store_map *map, struct map_place place)
{
    if (place.chunk >= map->count)
        return NULL;
    return map->chunks[place.chunk]->entries[place.index];
}

struct map_place map_first(const struct store_map *map)
{
    return map->count == 0 ? nowhere : (struct map_place){.chunk = 0, .index = 0};
}

struct map_place map_last(const struct store_map *map)
{
    if (map->count == 0)
        return nowhere;
    const size_t last = map->count - 1;
    return (struct map_place){.chunk = last, .index = map->chunks[last]->count - 1};
}

struct map_place map_next(const struct store_map *map, struct map_place place)
{
    if (place.index + 1 < map->chunks[place.chunk]->count)
        return (struct map_place){.chunk = place.chunk, .index = place.index + 1};
    if (place.chunk + 1 < map->count)
        return (struct map_place){.chunk = place.chunk + 1, .index = 0};
    return nowhere;
}

struct map_place map_prev(const struct store_map *map, struct map_place place)
{
    if (place.index > 0)
        return (struct map_place){.chunk = place.chunk, .index = place.index - 1};
    if (place.chunk == 0)
        return nowhere;
    const size_t chunk = place.chunk - 1;
    return (struct map_place){.chunk = chunk, .index = map->chunks[chunk]->count - 1};
}

struct map_place map_seek(const struct store_map *map, struct bytes key)
{
    if (map->count == 0)
        return nowhere;
    const size_t chunk = map_chunk_of(map, key);
    const size_t index = chunk_lower(map->chunks[chunk], key);

    if (index < map->chunks[chunk]->count)
        return (struct map_place){.chunk = chunk, .index = index};
    return chunk + 1 < map->count ? (struct map_place){.chunk = chunk + 1, .index = 0} : nowhere;
}

struct map_place map_seek_prev(const struct store_map *map, struct bytes key)
{
    const struct map_place place = map_seek(map, key);
    const struct map_entry *e = map_at(map, place);

    if (e == NULL)
        return map_last(map);
    return bytes_eq(map_entry_key(e), key) ? place : map_prev(map, place);
}

struct map_entry *map_find(const struct store_map *map, struct bytes key)
{
    struct map_entry *e = map_at(map, map_seek(map, key));

    return e != NULL && bytes_eq(map_entry_key(e), key) ? e : NULL;
}

/* --- changing --- */

static void map_insert_chunk(struct store_map *map, size_t at, struct map_chunk *c)
{
    if (map->count == map->cap) {
        map->cap = size_max(map->cap * 2, 8);
        map->chunks = mem_realloc(map->chunks, map->cap * sizeof(struct map_chunk *));
    }
    memmove(map->chunks + at + 1, map->chunks + at, (map->count - at) * sizeof(struct map_chunk *));
    map->chunks[at] = c;
    map->count++;
}

/* Moves the upper half of a full chunk into a new one behind it. */
static void map_split(struct store_map *map, size_t at)
{
    struct map_chunk *c = map->chunks[at];
    struct map_chunk *upper = mem_alloc(sizeof(*upper));
    const uint32_t half = c->count / 2;

    atomic_init(&upper->refs, 1);
    upper->count = c->count - half;
    memcpy(upper->entries, c->entries + half, upper->count * sizeof(struct map_entry *));
    c->count = half;
    map_insert_chunk(map, at + 1, upper);
}

static void map_insert(struct store_map *map, size_t at, struct map_entry *take_entry)
{
    const struct bytes key = map_entry_key(take_entry);
    struct map_chunk *c;

    if (map->count == 0) {
        c = mem_alloc(sizeof(*c));
        atomic_init(&c->refs, 1);
        c->count = 0;
        map_insert_chunk(map, 0, c);
    }
    c = chunk_own(map, at);
    if (c->count == CHUNK_ENTRIES_MAX) {
        map_split(map, at);
        c = map->chunks[map_chunk_of(map, key)];
    }
    const size_t index = chunk_lower(c, key);
    memmove(c->entries + index + 1, c->entries + index,
            (c->count - index) * sizeof(struct map_entry *));
    c->entries[index] = take_entry;
    c->count++;
    map->entries++;
}

void map_put(struct store_map **map, struct bytes key, struct bytes value)
{
    struct store_map *m = map_own(*map);
    struct map_entry *fresh = entry_create(key, value);
    const struct map_place place = map_seek(m, key);
    struct map_entry *old = map_at(m, place);

    *map = m;
    m->bytes += key.len + value.len;
    if (old == NULL || !bytes_eq(map_entry_key(old), key)) {
        map_insert(m, m->count == 0 ? 0 : map_chunk_of(m, key), fresh);
        return;
    }
    m->bytes -= (uint64_t)old->key_len + old->value_len;
    chunk_own(m, place.chunk)->entries[place.index] = fresh;
    map_entry_unref(old);
}

bool map_remove(struct store_map **map, struct bytes key)
{
    if (map_find(*map, key) == NULL)
        return false;
    struct store_map *m = map_own(*map);
    const struct map_place place = map_seek(m, key);
    struct map_chunk *c = chunk_own(m, place.chunk);
    struct map_entry *old = c->entries[place.index];

    *map = m;
    m->bytes -= (uint64_t)old->key_len + old->value_len;
    m->entries--;
    map_entry_unref(old);
    c->count--;
    memmove(c->entries + place.index, c->entries + place.index + 1,
            (c->count - place.index) * sizeof(struct map_entry *));
    if (c->count != 0)
        return true;
    chunk_unref(c);
    m->count--;
    memmove(m->chunks + place.chunk, m->chunks + place.chunk + 1,
            (m->count - place.chunk) * sizeof(struct map_chunk *));
    return true;
}
