/* The overlay of cold keys: two hash tables with chains. overlay.h tells what it is for. */
#include "engine/space/overlay.h"

#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/space/dirty.h"
#include "engine/space/keyspace.h"

#define CAP_MIN 64u

void overlay_init(struct overlay *o, struct dirty *dirty)
{
    *o = (struct overlay){.dirty = dirty, .keys_cap = CAP_MIN, .entries_cap = CAP_MIN};
    o->keys = mem_zalloc_array(o->keys_cap, sizeof(struct overlay_key *));
    o->entries = mem_zalloc_array(o->entries_cap, sizeof(struct overlay_entry *));
    o->slots = mem_alloc(KEY_SLOTS * sizeof(*o->slots));
    for (unsigned i = 0; i < KEY_SLOTS; i++)
        list_init(&o->slots[i]);
    o->bytes = mem_usable(o->keys) + mem_usable(o->entries) + mem_usable(o->slots);
}

void overlay_deinit(struct overlay *o)
{
    for (uint64_t i = 0; i < o->entries_cap && o->entries != NULL; i++) {
        while (o->entries[i] != NULL) {
            struct overlay_entry *e = o->entries[i];
            o->entries[i] = e->next;
            mem_free(e);
        }
    }
    for (uint64_t i = 0; i < o->keys_cap && o->keys != NULL; i++) {
        while (o->keys[i] != NULL) {
            struct overlay_key *k = o->keys[i];
            o->keys[i] = k->next;
            mem_free(k);
        }
    }
    mem_free(o->keys);
    mem_free(o->entries);
    mem_free(o->slots);
    *o = (struct overlay){0};
}

/* --- keys --- */

static void keys_grow(struct overlay *o)
{
    const uint64_t cap = o->keys_cap * 2;
    struct overlay_key **keys = mem_zalloc_array(cap, sizeof(struct overlay_key *));

    for (uint64_t i = 0; i < o->keys_cap; i++) {
        while (o->keys[i] != NULL) {
            struct overlay_key *k = o->keys[i];
            o->keys[i] = k->next;
            k->next = keys[k->hash & (cap - 1)];
            keys[k->hash & (cap - 1)] = k;
        }
    }
    o->bytes += mem_usable(keys) - mem_usable(o->keys);
    mem_free(o->keys);
    o->keys = keys;
    o->keys_cap = cap;
}

struct overlay_key *overlay_key_find(const struct overlay *o, const struct ks_key *key)
{
    struct overlay_key *k = o->keys[key->hash & (o->keys_cap - 1)];

    while (k != NULL && (k->hash != key->hash || !bytes_eq(overlay_key_name(k), key->name)))
        k = k->next;
    return k;
}

struct overlay_key *overlay_key_by_hash(const struct overlay *o, uint16_t slot, uint64_t hash)
{
    struct overlay_key *k = o->keys[hash & (o->keys_cap - 1)];

    while (k != NULL && (k->hash != hash || k->slot != slot))
        k = k->next;
    return k;
}

struct overlay_key *overlay_key_get(struct overlay *o, const struct ks_key *key)
{
    struct overlay_key *k = overlay_key_find(o, key);

    if (k != NULL)
        return k;
    if (o->keys_count >= o->keys_cap)
        keys_grow(o);
    k = mem_zalloc(sizeof(*k) + key->name.len);
    list_init(&k->entries);
    k->hash = key->hash;
    k->slot = key->slot;
    k->name_len = (uint16_t)key->name.len;
    if (key->name.len != 0)
        memcpy(k->name, key->name.ptr, key->name.len);
    k->next = o->keys[key->hash & (o->keys_cap - 1)];
    o->keys[key->hash & (o->keys_cap - 1)] = k;
    list_push_back(&o->slots[k->slot], &k->slot_link);
    o->keys_count++;
    o->bytes += mem_usable(k);
    return k;
}

static void key_free(struct overlay *o, struct overlay_key *k)
{
    struct overlay_key **at = &o->keys[k->hash & (o->keys_cap - 1)];

    while (*at != k)
        at = &(*at)->next;
    *at = k->next;
    list_remove(&k->slot_link);
    o->keys_count--;
    o->bytes -= mem_usable(k);
    mem_free(k);
}

/* --- entries --- */

static uint64_t entry_hash(const struct overlay_key *k, uint8_t kind, struct bytes sub)
{
    return hash64(sub.ptr, sub.len, k->hash + kind);
}

static void entries_grow(struct overlay *o)
{
    const uint64_t cap = o->entries_cap * 2;
    struct overlay_entry **entries = mem_zalloc_array(cap, sizeof(struct overlay_entry *));

    for (uint64_t i = 0; i < o->entries_cap; i++) {
        while (o->entries[i] != NULL) {
            struct overlay_entry *e = o->entries[i];
            o->entries[i] = e->next;
            e->next = entries[e->hash & (cap - 1)];
            entries[e->hash & (cap - 1)] = e;
        }
    }
    o->bytes += mem_usable(entries) - mem_usable(o->entries);
    mem_free(o->entries);
    o->entries = entries;
    o->entries_cap = cap;
}

struct overlay_entry *overlay_find(const struct overlay *o, const struct overlay_key *k,
                                   uint8_t kind, struct bytes sub)
{
    const uint64_t hash = entry_hash(k, kind, sub);
    struct overlay_entry *e = o->entries[hash & (o->entries_cap - 1)];

    while (e != NULL &&
           (e->hash != hash || e->key != k || e->kind != kind || !bytes_eq(overlay_sub(e), sub)))
        e = e->next;
    return e;
}

/* Where the pointer to the entry stands. */
static struct overlay_entry **place_of(struct overlay *o, const struct overlay_entry *e)
{
    struct overlay_entry **at = &o->entries[e->hash & (o->entries_cap - 1)];

    while (*at != e)
        at = &(*at)->next;
    return at;
}

/* Another block for the entry, with room for the row. */
static struct overlay_entry *entry_resize(struct overlay *o, struct overlay_entry *e,
                                          size_t row_len)
{
    struct overlay_entry **at = place_of(o, e);
    struct overlay_entry *moved = mem_alloc(sizeof(*e) + e->h.name_len + row_len);

    memcpy(moved, e, sizeof(*e) + e->h.name_len);
    *at = moved;
    list_remove(&e->link);
    moved->link = (struct list_link){0};
    list_push_back(&moved->key->entries, &moved->link);
    dirty_moved(o->dirty, &moved->h);
    o->bytes += mem_usable(moved) - mem_usable(e);
    mem_free(e);
    return moved;
}

static struct overlay_entry *entry_new(struct overlay *o, struct overlay_key *k, uint8_t kind,
                                       struct bytes sub, size_t row_len)
{
    struct overlay_entry *e = mem_zalloc(sizeof(*e) + sub.len + row_len);

    if (o->entries_count >= o->entries_cap)
        entries_grow(o);
    e->h.type = OVERLAY_ROW;
    e->h.name_len = (uint16_t)sub.len;
    e->kind = kind;
    e->key = k;
    e->hash = entry_hash(k, kind, sub);
    if (sub.len != 0)
        memcpy(e->data, sub.ptr, sub.len);
    e->next = o->entries[e->hash & (o->entries_cap - 1)];
    o->entries[e->hash & (o->entries_cap - 1)] = e;
    list_push_back(&k->entries, &e->link);
    o->entries_count++;
    o->bytes += mem_usable(e);
    return e;
}

struct overlay_entry *overlay_put(struct overlay *o, struct overlay_key *k, uint8_t kind,
                                  struct bytes sub, struct bytes row, bool full)
{
    struct overlay_entry *e = overlay_find(o, k, kind, sub);

    if (e == NULL)
        e = entry_new(o, k, kind, sub, row.len);
    else if (e->h.row_len != row.len)
        e = entry_resize(o, e, row.len);
    e->h.row_len = (uint32_t)row.len;
    e->full = full;
    if (row.len != 0)
        memcpy(e->data + e->h.name_len, row.ptr, row.len);
    return e;
}

uint64_t overlay_row_bytes(const struct overlay *o)
{
    return o->bytes - mem_usable(o->keys) - mem_usable(o->entries) - mem_usable(o->slots);
}

void overlay_remove(struct overlay *o, struct overlay_entry *e)
{
    struct overlay_key *k = e->key;

    dirty_forget(o->dirty, &e->h);
    *place_of(o, e) = e->next;
    list_remove(&e->link);
    o->entries_count--;
    o->bytes -= mem_usable(e);
    mem_free(e);
    if (list_empty(&k->entries))
        key_free(o, k);
}
