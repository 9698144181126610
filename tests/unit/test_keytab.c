/*
 * The key table against a plain array: finding, changing, counting and walking.
 */
#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/space/keytab.h"
#include "engine/space/obj.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define SEED     77
#define KEYS_MAX 200000u
#define TOP_MASK (~UINT64_C(0) << (64 - KEYTAB_HASH_BITS))

/* What the table should say about key number i. */
struct key {
    enum keytab_kind kind;
    struct obj *obj;
    uint8_t type;
    bool has_ttl;
    bool touched;
    bool seen;
};

struct world {
    struct keytab *tab;
    struct key key[KEYS_MAX];
    uint32_t slots; /* Keys are spread over the first so many. */
    uint32_t count[KEYTAB_COLD + 1];
    uint32_t ttls;
    size_t bytes_empty;
    struct rng rng;
};

static struct world *world_new(uint64_t stream, uint32_t slots)
{
    struct world *w = mem_zalloc(sizeof(*w));
    w->tab = keytab_create(SEED);
    w->slots = slots;
    w->bytes_empty = keytab_bytes(w->tab);
    seed_rng(&w->rng, stream);
    return w;
}

static void world_free(struct world *w)
{
    keytab_destroy(w->tab);
    for (uint32_t i = 0; i < KEYS_MAX; i++)
        mem_free(w->key[i].obj);
    mem_free(w);
}

struct name {
    char text[64];
    struct bytes bytes;
    uint64_t hash;
    uint16_t slot;
};

/* Slots at both ends of the range. */
static struct name name_of(const struct world *w, uint32_t number)
{
    struct name n = {{0}, {0}, 0, 0};
    const uint32_t slot = number % w->slots;

    n.bytes = bytes_of(NULL, (size_t)snprintf(n.text, sizeof(n.text), "key:%u", number));
    n.hash = hash64(n.text, n.bytes.len, SEED);
    n.slot = (uint16_t)(slot % 2 == 0 ? slot : KEY_SLOTS - slot);
    return n;
}

static struct obj *obj_make(uint32_t number)
{
    char text[64];
    const int len = snprintf(text, sizeof(text), "key:%u", number);
    return obj_new(bytes_of(text, (size_t)len), 0, 0, NULL, 0);
}

static uint32_t number_of(const struct obj *o)
{
    const struct bytes key = obj_key(o);
    uint32_t number = 0;

    for (size_t i = 4; i < key.len; i++)
        number = number * 10 + key.ptr[i] - '0';
    return number;
}

static enum keytab_kind find(const struct world *w, struct name *n, struct keytab_ref *ref)
{
    n->bytes.ptr = (const uint8_t *)n->text;
    return keytab_find(w->tab, n->slot, n->hash, n->bytes, ref);
}

static void uncount(struct world *w, uint32_t number)
{
    struct key *k = &w->key[number];
    w->count[k->kind]--;
    if (k->kind == KEYTAB_COLD)
        w->ttls -= k->has_ttl;
    mem_free(k->obj);
    *k = (struct key){.seen = k->seen};
}

static void become_hot(struct world *w, uint32_t number, struct obj *obj)
{
    w->key[number] = (struct key){.kind = KEYTAB_HOT, .obj = obj, .seen = w->key[number].seen};
    w->count[KEYTAB_HOT]++;
}

static void become_cold(struct world *w, uint32_t number, bool touched)
{
    struct key *k = &w->key[number];

    *k = (struct key){.kind = KEYTAB_COLD,
                      .type = (uint8_t)rng_below(&w->rng, 16),
                      .has_ttl = rng_below(&w->rng, 3) == 0,
                      .touched = touched,
                      .seen = k->seen};
    w->count[KEYTAB_COLD]++;
    w->ttls += k->has_ttl;
}

static void insert(struct world *w, uint32_t number, bool hot)
{
    const struct name n = name_of(w, number);

    if (hot) {
        become_hot(w, number, obj_make(number));
        keytab_insert_hot(w->tab, n.slot, n.hash, w->key[number].obj);
        return;
    }
    become_cold(w, number, false);
    keytab_insert_cold(w->tab, n.slot, n.hash, w->key[number].type, w->key[number].has_ttl);
}

static void change(struct world *w, uint32_t number, struct keytab_ref *ref, uint64_t hash)
{
    struct key *k = &w->key[number];

    switch (rng_below(&w->rng, 3)) {
    case 0: {
        struct obj *obj = obj_make(number);
        keytab_set_hot(w->tab, ref, hash, obj);
        uncount(w, number);
        become_hot(w, number, obj);
        break;
    }
    case 1: {
        const bool touched = rng_below(&w->rng, 2) == 0;
        struct obj *old = k->obj;
        k->obj = NULL;
        uncount(w, number);
        become_cold(w, number, touched);
        keytab_set_cold(w->tab, ref, hash, k->type, k->has_ttl, touched);
        mem_free(old);
        break;
    }
    default:
        keytab_remove(w->tab, ref);
        uncount(w, number);
        break;
    }
}

static void check_key(const struct world *w, uint32_t number)
{
    const struct key *k = &w->key[number];
    struct name n = name_of(w, number);
    struct keytab_ref ref;

    assert_int_equal(find(w, &n, &ref), k->kind);
    if (k->kind == KEYTAB_HOT) {
        assert_ptr_equal(ref.obj, k->obj);
    } else if (k->kind == KEYTAB_COLD) {
        assert_int_equal(keytab_type(&ref), k->type);
        assert_int_equal(keytab_has_ttl(&ref), k->has_ttl);
        assert_int_equal(keytab_touched(&ref), k->touched);
    }
}

static void check_counts(const struct world *w)
{
    expect_u64(keytab_count_hot(w->tab), w->count[KEYTAB_HOT]);
    expect_u64(keytab_count_cold(w->tab), w->count[KEYTAB_COLD]);
    expect_u64(keytab_count_cold_ttl(w->tab), w->ttls);
}

static void check_slots(const struct world *w, uint32_t keys)
{
    uint32_t *count = mem_zalloc_array(KEY_SLOTS, sizeof(*count));

    for (uint32_t i = 0; i < keys; i++)
        count[name_of(w, i).slot] += w->key[i].kind != KEYTAB_NONE;
    for (uint32_t i = 0; i < KEY_SLOTS; i++)
        expect_u64(keytab_count_slot(w->tab, (uint16_t)i), count[i]);
    mem_free(count);
}

static void clear(struct world *w, uint32_t keys)
{
    for (uint32_t i = 0; i < keys; i++) {
        struct name n = name_of(w, i);
        struct keytab_ref ref;
        if (w->key[i].kind == KEYTAB_NONE)
            continue;
        assert_int_equal(find(w, &n, &ref), w->key[i].kind);
        keytab_remove(w->tab, &ref);
        uncount(w, i);
    }
    check_counts(w);
}

static void random_changes(struct world *w, uint32_t keys, uint32_t steps)
{
    for (uint32_t step = 0; step < steps; step++) {
        const uint32_t number = (uint32_t)rng_below(&w->rng, keys);
        struct name n = name_of(w, number);
        struct keytab_ref ref;
        const enum keytab_kind kind = find(w, &n, &ref);
        assert_int_equal(kind, w->key[number].kind);
        if (kind == KEYTAB_NONE)
            insert(w, number, rng_below(&w->rng, 2) == 0);
        else
            change(w, number, &ref, n.hash);
    }
}

static void random_changes_match_the_model(void **state UNUSED)
{
    static const struct {
        uint32_t keys;
        uint32_t slots;
    } plans[] = {{10, 1}, {300, 1}, {300, 100}, {20000, 3}, {20000, 5000}};

    for (size_t p = 0; p < ARRAY_COUNT(plans); p++) {
        struct world *w = world_new(p, plans[p].slots);
        for (uint32_t round = 0; round < 6; round++) {
            random_changes(w, plans[p].keys, plans[p].keys * 2);
            check_counts(w);
            for (uint32_t i = 0; i < plans[p].keys; i++)
                check_key(w, i);
            check_slots(w, plans[p].keys);
        }
        clear(w, plans[p].keys);
        expect_u64(keytab_bytes(w->tab), w->bytes_empty);
        world_free(w);
    }
}

static void one_slot_holds_very_many_keys(void **state UNUSED)
{
    struct world *w = world_new(10, 1);

    for (uint32_t i = 0; i < KEYS_MAX; i++)
        insert(w, i, i % 16 == 0);
    check_counts(w);
    expect_u64(keytab_count_slot(w->tab, 0), KEYS_MAX);
    for (uint32_t i = 0; i < KEYS_MAX; i++)
        check_key(w, i);
    const size_t bytes = keytab_bytes(w->tab) - w->bytes_empty;
    assert_true(bytes >= KEYS_MAX * 7 && bytes <= KEYS_MAX * 12);
    clear(w, KEYS_MAX);
    expect_u64(keytab_bytes(w->tab), w->bytes_empty);
    world_free(w);
}

/* Any number of keys whose hash bits begin alike stay apart while the bits that are kept differ. */
static void long_common_prefixes_are_split(void **state UNUSED)
{
    struct keytab *tab = keytab_create(SEED);
    struct keytab_ref ref;

    for (uint64_t i = 0; i < 1000; i++)
        keytab_insert_cold(tab, 9, i << 30, (uint8_t)(i % 16), false);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(keytab_find(tab, 9, i << 30, BYTES_LIT("x"), &ref), KEYTAB_COLD);
        assert_int_equal(keytab_type(&ref), i % 16);
    }
    assert_int_equal(keytab_find(tab, 9, UINT64_C(1000) << 30, BYTES_LIT("x"), &ref), KEYTAB_NONE);
    assert_int_equal(keytab_find(tab, 8, 0, BYTES_LIT("x"), &ref), KEYTAB_NONE);
    keytab_destroy(tab);
}

/* --- walking --- */

struct walk {
    struct world *w;
    uint32_t *by_hash; /* Open addressing: hash -> number + 1, for cold entries. */
    uint32_t met;
    bool change;
};

#define INDEX_SIZE (1u << 19)

static void index_all(struct walk *walk)
{
    walk->by_hash = mem_zalloc_array(INDEX_SIZE, sizeof(*walk->by_hash));
    for (uint32_t i = 0; i < KEYS_MAX; i++) {
        uint32_t at = (uint32_t)(name_of(walk->w, i).hash >> 40) % INDEX_SIZE;
        while (walk->by_hash[at] != 0)
            at = (at + 1) % INDEX_SIZE;
        walk->by_hash[at] = i + 1;
    }
}

static uint32_t number_by_hash(const struct walk *walk, uint16_t slot, uint64_t hash)
{
    for (uint32_t at = (uint32_t)(hash >> 40) % INDEX_SIZE;; at = (at + 1) % INDEX_SIZE) {
        assert_true(walk->by_hash[at] != 0);
        const struct name n = name_of(walk->w, walk->by_hash[at] - 1);
        if (n.slot == slot && (n.hash & TOP_MASK) == (hash & TOP_MASK))
            return walk->by_hash[at] - 1;
    }
}

static void meet(void *ctx, const struct keytab_entry *entry)
{
    struct walk *walk = ctx;
    struct world *w = walk->w;
    struct keytab_ref ref = entry->ref;
    const uint32_t number = entry->kind == KEYTAB_HOT
                                ? number_of(entry->ref.obj)
                                : number_by_hash(walk, entry->slot, entry->hash);

    assert_int_equal(entry->kind, w->key[number].kind);
    w->key[number].seen = true;
    walk->met++;
    if (walk->change)
        change(w, number, &ref, name_of(w, number).hash);
}

/* Keys below `stay` are there all the time; `coming` others come and go at each step. */
static uint32_t walk_all(struct walk *walk, uint32_t stay, uint32_t coming)
{
    struct world *w = walk->w;
    uint64_t cursor = 0;
    uint64_t last = 0;
    uint32_t next = stay;

    walk->met = 0;
    for (uint32_t i = 0; i < KEYS_MAX; i++)
        w->key[i].seen = w->key[i].kind == KEYTAB_NONE;
    do {
        cursor = keytab_walk(w->tab, cursor, meet, walk);
        assert_true(cursor == 0 || cursor > last);
        last = cursor;
        for (uint32_t n = 0; n < coming && next < KEYS_MAX; n++, next++)
            insert(w, next, n % 2 == 0);
    } while (cursor != 0);
    for (uint32_t i = 0; i < stay; i++)
        assert_true(w->key[i].seen);
    return walk->met;
}

static void a_walk_meets_all_that_stay(void **state UNUSED)
{
    static const uint32_t slots[] = {1, 2, 100};

    for (size_t s = 0; s < ARRAY_COUNT(slots); s++) {
        struct world *w = world_new(20 + s, slots[s]);
        struct walk walk = {.w = w};
        index_all(&walk);
        expect_u64(walk_all(&walk, 0, 0), 0);
        for (uint32_t i = 0; i < 10000; i++)
            insert(w, i, i % 3 == 0);
        expect_u64(walk_all(&walk, 10000, 0), 10000);
        assert_true(walk_all(&walk, 10000, 200) >= 10000);
        check_counts(w);
        mem_free(walk.by_hash);
        world_free(w);
    }
}

static void a_walk_may_change_what_it_meets(void **state UNUSED)
{
    static const uint32_t slots[] = {1, 700, KEY_SLOTS - 1};

    for (size_t s = 0; s < ARRAY_COUNT(slots); s++) {
        struct world *w = world_new(30 + s, slots[s]);
        struct walk walk = {.w = w, .change = true};
        index_all(&walk);
        for (uint32_t i = 0; i < 20000; i++)
            insert(w, i, i % 2 == 0);
        /* A quarter goes at each. */
        for (uint32_t n = 0; n < 40; n++) {
            walk_all(&walk, 20000, 0);
            check_counts(w);
        }
        for (uint32_t i = 0; i < 20000; i++)
            check_key(w, i);
        clear(w, 20000);
        expect_u64(keytab_bytes(w->tab), w->bytes_empty);
        mem_free(walk.by_hash);
        world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_match_the_model),
        cmocka_unit_test(one_slot_holds_very_many_keys),
        cmocka_unit_test(long_common_prefixes_are_split),
        cmocka_unit_test(a_walk_meets_all_that_stay),
        cmocka_unit_test(a_walk_may_change_what_it_meets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
