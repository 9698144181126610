/* Who waits for which keys; blocked.h tells. A chained hash table over the keys. */
#include "server/blocked.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#define BUCKETS_MIN 64u

struct blocked_key {
    struct list_link bucket_link;
    struct list_link ready_link;
    struct list places; /* struct blocked_place, by key_link. */
    uint64_t hash;
    uint16_t slot;
    uint16_t name_len;
    bool held; /* Taken from the ready ones: its memory stays. */
    uint8_t name[];
};

/* One waiter's place at one key. */
struct blocked_place {
    struct list_link key_link;
    struct blocked *by;
    struct blocked_key *key;
};

struct blocked_table {
    struct list *buckets;
    uint32_t buckets_count;
    uint32_t keys_count;
    uint32_t places_count;
    uint32_t waiters_count;
    size_t bytes;
    struct list ready;
    struct list waiters;
};

static struct list *buckets_create(uint32_t n)
{
    struct list *buckets = mem_alloc(n * sizeof(*buckets));

    for (uint32_t i = 0; i < n; i++)
        list_init(&buckets[i]);
    return buckets;
}

struct blocked_table *blocked_create(void)
{
    struct blocked_table *t = mem_zalloc(sizeof(*t));

    t->buckets_count = BUCKETS_MIN;
    t->buckets = buckets_create(t->buckets_count);
    t->bytes = sizeof(*t) + t->buckets_count * sizeof(*t->buckets);
    list_init(&t->ready);
    list_init(&t->waiters);
    return t;
}

void blocked_destroy(struct blocked_table *t)
{
    if (t == NULL)
        return;
    CHECK(t->waiters_count == 0 && t->keys_count == 0);
    mem_free(t->buckets);
    mem_free(t);
}

/* --- keys --- */

static struct list *bucket_of(const struct blocked_table *t, uint64_t hash)
{
    return &t->buckets[hash & (t->buckets_count - 1)];
}

static bool is_key(const struct blocked_key *k, const struct ks_key *key)
{
    return k->hash == key->hash && bytes_eq(bytes_of(k->name, k->name_len), key->name);
}

static struct blocked_key *find_key(const struct blocked_table *t, const struct ks_key *key)
{
    LIST_FOR_EACH(link, bucket_of(t, key->hash)) {
        struct blocked_key *k = LIST_ITEM(link, struct blocked_key, bucket_link);
        if (is_key(k, key))
            return k;
    }
    return NULL;
}

static void grow(struct blocked_table *t)
{
    struct list *old = t->buckets;
    const uint32_t count = t->buckets_count;
    struct list_link *link;

    t->buckets_count = count * 4;
    t->buckets = buckets_create(t->buckets_count);
    t->bytes += (t->buckets_count - count) * sizeof(*t->buckets);
    for (uint32_t i = 0; i < count; i++) {
        while ((link = list_pop_front(&old[i])) != NULL) {
            const struct blocked_key *k = LIST_ITEM(link, struct blocked_key, bucket_link);
            list_push_back(bucket_of(t, k->hash), link);
        }
    }
    mem_free(old);
}

static struct blocked_key *add_key(struct blocked_table *t, const struct ks_key *key)
{
    const size_t bytes = sizeof(struct blocked_key) + key->name.len;

    if (t->keys_count >= t->buckets_count)
        grow(t);
    struct blocked_key *k = mem_zalloc(bytes);
    list_init(&k->places);
    k->hash = key->hash;
    k->slot = key->slot;
    k->name_len = (uint16_t)key->name.len;
    if (key->name.len != 0)
        memcpy(k->name, key->name.ptr, key->name.len);
    list_push_back(bucket_of(t, k->hash), &k->bucket_link);
    t->keys_count++;
    t->bytes += bytes;
    return k;
}

/* Nobody waits for it any more. */
static void drop_if_unused(struct blocked_table *t, struct blocked_key *k)
{
    if (!list_empty(&k->places) || k->held)
        return;
    if (list_linked(&k->ready_link))
        list_remove(&k->ready_link);
    list_remove(&k->bucket_link);
    t->keys_count--;
    t->bytes -= sizeof(*k) + k->name_len;
    mem_free(k);
}

static void make_ready(struct blocked_table *t, struct blocked_key *k)
{
    if (!list_linked(&k->ready_link))
        list_push_back(&t->ready, &k->ready_link);
}

/* --- waiters --- */

static bool waits_for(const struct blocked *b, const struct blocked_key *k)
{
    /* It is the last one there if it has come just now. */
    return !list_empty(&k->places) &&
           LIST_ITEM(list_last(&k->places), struct blocked_place, key_link)->by == b;
}

bool blocked_add(struct blocked_table *t, struct blocked *b, uint8_t type,
                 const struct ks_key *keys, uint32_t n)
{
    CHECK(b->places == NULL && n != 0);
    if (n > BLOCKED_PLACES_MAX - t->places_count)
        return false;
    *b = (struct blocked){
        .type = type, .places = mem_zalloc_array(n, sizeof(*b->places)), .places_cap = n};
    for (uint32_t i = 0; i < n; i++) {
        struct blocked_key *k = find_key(t, &keys[i]);
        if (k == NULL)
            k = add_key(t, &keys[i]);
        if (waits_for(b, k))
            continue;
        struct blocked_place *place = &b->places[b->places_count++];
        place->by = b;
        place->key = k;
        list_push_back(&k->places, &place->key_link);
    }
    list_push_back(&t->waiters, &b->link);
    t->waiters_count++;
    t->places_count += n;
    t->bytes += blocked_bytes(b);
    return true;
}

/* Those behind it have their turn. */
static void pass_on(struct blocked_table *t, struct blocked *b)
{
    for (uint32_t i = 0; b->under_way && i < b->places_count; i++)
        make_ready(t, b->places[i].key);
    b->under_way = false;
    b->serving = NULL;
}

void blocked_remove(struct blocked_table *t, struct blocked *b)
{
    if (b->places == NULL)
        return;
    pass_on(t, b);
    for (uint32_t i = 0; i < b->places_count; i++) {
        list_remove(&b->places[i].key_link);
        drop_if_unused(t, b->places[i].key);
    }
    list_remove(&b->link);
    t->waiters_count--;
    t->places_count -= b->places_cap;
    t->bytes -= blocked_bytes(b);
    mem_free(b->places);
    *b = (struct blocked){0};
}

void blocked_again(struct blocked_table *t, struct blocked *b)
{
    CHECK(b->places != NULL);
    pass_on(t, b);
}

bool blocked_looks_at(const struct blocked *b, const struct ks_key *key)
{
    return b->serving == NULL || is_key(b->serving, key);
}

struct list *blocked_all(struct blocked_table *t)
{
    return &t->waiters;
}

uint32_t blocked_count(const struct blocked_table *t)
{
    return t->waiters_count;
}

size_t blocked_bytes(const struct blocked *b)
{
    return b->places_cap * sizeof(*b->places);
}

size_t blocked_table_bytes(const struct blocked_table *t)
{
    return t->bytes;
}

/* --- what is ready --- */

void blocked_touch(struct blocked_table *t, const struct ks_key *key)
{
    if (likely(t->keys_count == 0))
        return;
    struct blocked_key *k = find_key(t, key);
    if (k != NULL)
        make_ready(t, k);
}

bool blocked_any_ready(const struct blocked_table *t)
{
    return !list_empty(&t->ready);
}

struct blocked_key *blocked_take_ready(struct blocked_table *t)
{
    struct list_link *link = list_pop_front(&t->ready);

    if (link == NULL)
        return NULL;
    struct blocked_key *k = LIST_ITEM(link, struct blocked_key, ready_link);
    CHECK(!k->held);
    k->held = true;
    return k;
}

void blocked_release(struct blocked_table *t, struct blocked_key *k)
{
    k->held = false;
    drop_if_unused(t, k);
}

struct ks_key blocked_name(const struct blocked_key *k)
{
    return (struct ks_key){
        .name = bytes_of(k->name, k->name_len), .hash = k->hash, .slot = k->slot};
}

struct blocked *blocked_try(const struct blocked_key *k, uint8_t type)
{
    LIST_FOR_EACH(link, &k->places) {
        struct blocked *b = LIST_ITEM(link, struct blocked_place, key_link)->by;
        if (b->type != type)
            continue;
        if (b->under_way)
            return NULL;
        b->under_way = true;
        b->serving = k;
        return b;
    }
    return NULL;
}
