/* Keys and the clients that may have them; tracktab.h tells. */
#include "server/tracktab.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#define BUCKETS_MIN 64u

static size_t entry_bytes(const struct tracktab_entry *e)
{
    return sizeof(*e) + e->name_len + e->ids_cap * sizeof(*e->ids);
}

void tracktab_free(struct tracktab_entry *entry)
{
    if (entry == NULL)
        return;
    mem_free(entry->ids);
    mem_free(entry);
}

void tracktab_deinit(struct tracktab *t)
{
    for (uint64_t i = 0; i < t->buckets_count; i++) {
        struct tracktab_entry *e;
        while ((e = t->buckets[i]) != NULL) {
            t->buckets[i] = e->next;
            tracktab_free(e);
        }
    }
    mem_free(t->buckets);
    *t = (struct tracktab){0};
}

static struct tracktab_entry **bucket_of(const struct tracktab *t, uint64_t hash)
{
    return &t->buckets[hash & (t->buckets_count - 1)];
}

static void grow(struct tracktab *t)
{
    const struct tracktab old = *t;

    t->buckets_count = old.buckets_count == 0 ? BUCKETS_MIN : old.buckets_count * 2;
    t->buckets = mem_zalloc_array(t->buckets_count, sizeof(struct tracktab_entry *));
    for (uint64_t i = 0; i < old.buckets_count; i++) {
        struct tracktab_entry *e;
        while ((e = old.buckets[i]) != NULL) {
            struct tracktab_entry **bucket = bucket_of(t, e->hash);
            old.buckets[i] = e->next;
            e->next = *bucket;
            *bucket = e;
        }
    }
    t->bytes += (t->buckets_count - old.buckets_count) * sizeof(struct tracktab_entry *);
    mem_free(old.buckets);
}

/* The link that leads to the entry, or to NULL. */
static struct tracktab_entry **find(const struct tracktab *t, struct bytes name, uint64_t hash)
{
    struct tracktab_entry **at = bucket_of(t, hash);

    while (*at != NULL && ((*at)->hash != hash || !bytes_eq(tracktab_name(*at), name)))
        at = &(*at)->next;
    return at;
}

/* Where the number is, or belongs. Mostly the last: newer clients have higher ones. */
static uint32_t id_place(const struct tracktab_entry *e, uint64_t id)
{
    uint32_t low = 0, high = e->ids_count;

    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (e->ids[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add_id(struct tracktab *t, struct tracktab_entry *e, uint64_t id)
{
    const uint32_t at = id_place(e, id);

    if (at < e->ids_count && e->ids[at] == id)
        return;
    if (e->ids_count == e->ids_cap) {
        const uint32_t cap = e->ids_cap == 0 ? 1 : e->ids_cap * 2;
        e->ids = mem_realloc(e->ids, cap * sizeof(*e->ids));
        t->bytes += (cap - e->ids_cap) * sizeof(*e->ids);
        e->ids_cap = cap;
    }
    memmove(&e->ids[at + 1], &e->ids[at], (e->ids_count - at) * sizeof(*e->ids));
    e->ids[at] = id;
    e->ids_count++;
    t->items++;
}

void tracktab_add(struct tracktab *t, struct bytes name, uint64_t hash, uint64_t id)
{
    if (t->count >= t->buckets_count)
        grow(t);
    struct tracktab_entry **at = find(t, name, hash);
    struct tracktab_entry *e = *at;
    if (e == NULL) {
        e = mem_zalloc(sizeof(*e) + name.len);
        e->hash = hash;
        e->name_len = (uint32_t)name.len;
        if (name.len != 0)
            memcpy(e->name, name.ptr, name.len);
        *at = e;
        t->count++;
        t->bytes += entry_bytes(e);
    }
    add_id(t, e, id);
}

static struct tracktab_entry *take(struct tracktab *t, struct tracktab_entry **at)
{
    struct tracktab_entry *e = *at;

    *at = e->next;
    t->count--;
    t->items -= e->ids_count;
    t->bytes -= entry_bytes(e);
    return e;
}

struct tracktab_entry *tracktab_take(struct tracktab *t, struct bytes name, uint64_t hash)
{
    if (t->count == 0)
        return NULL;
    struct tracktab_entry **at = find(t, name, hash);
    return *at == NULL ? NULL : take(t, at);
}

struct tracktab_entry *tracktab_take_any(struct tracktab *t, struct rng *rng)
{
    if (t->count == 0)
        return NULL;
    uint64_t i = rng_below(rng, t->buckets_count);
    while (t->buckets[i] == NULL)
        i = (i + 1) & (t->buckets_count - 1);
    return take(t, &t->buckets[i]);
}
