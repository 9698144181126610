/*
 * How the key table grows, shrinks and is read in order: waves of random changes against a model,
 * hashes made to collide, scans while the table changes, memory to the byte.
 */
#include <stdio.h>
#include <stdlib.h>

#ifdef TIERRA_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/space/keytab.h"
#include "engine/space/obj.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define SEED 42

/* A key of the model; the hash may be made up as long as the key is cold. */
struct key {
    uint64_t hash;
    struct obj *obj; /* NULL: cold, or absent. */
    uint16_t slot;
    uint8_t type;
    bool there;
    bool ttl;
    bool touched;
    uint8_t name_len;
    char name[24];
    uint32_t seen;
};

struct model {
    struct keytab *t;
    struct key *keys;
    size_t count;
    size_t bytes_empty;
    struct rng rng;
};

/* `count` keys over `slots` slots, all absent. */
static void model_init(struct model *m, size_t count, uint32_t slots, uint64_t stream)
{
    *m = (struct model){.t = keytab_create(SEED), .count = count};
    m->bytes_empty = keytab_bytes(m->t);
    m->keys = mem_zalloc_array(count, sizeof(*m->keys));
    seed_rng(&m->rng, stream);
    for (size_t i = 0; i < count; i++) {
        struct key *key = &m->keys[i];
        key->name_len = (uint8_t)snprintf(key->name, sizeof(key->name), "key:%zu", i);
        key->hash = hash64(key->name, key->name_len, SEED);
        key->slot = (uint16_t)(i % slots);
        key->type = (uint8_t)(i % 16);
        key->ttl = i % 3 == 0;
    }
}

static void model_deinit(struct model *m)
{
    keytab_destroy(m->t);
    for (size_t i = 0; i < m->count; i++)
        mem_free(m->keys[i].obj);
    mem_free(m->keys);
}

static void insert(struct model *m, struct key *key, bool hot)
{
    key->there = true;
    key->touched = false;
    if (hot) {
        key->obj = obj_new(bytes_of(key->name, key->name_len), key->type, 0, NULL, 8);
        keytab_insert_hot(m->t, key->slot, key->hash, key->obj);
    } else {
        keytab_insert_cold(m->t, key->slot, key->hash, key->type, key->ttl);
    }
}

static enum keytab_kind find(const struct model *m, const struct key *key, struct keytab_ref *ref)
{
    return keytab_find(m->t, key->slot, key->hash, bytes_of(key->name, key->name_len), ref);
}

static void erase(struct model *m, struct key *key)
{
    struct keytab_ref ref;

    assert_int_not_equal(find(m, key, &ref), KEYTAB_NONE);
    keytab_remove(m->t, &ref);
    mem_free(key->obj);
    key->obj = NULL;
    key->there = false;
}

static void check_key(const struct model *m, const struct key *key)
{
    struct keytab_ref ref;
    const enum keytab_kind kind = find(m, key, &ref);

    if (!key->there) {
        expect_u64(kind, KEYTAB_NONE);
    } else if (key->obj != NULL) {
        expect_u64(kind, KEYTAB_HOT);
        assert_ptr_equal(ref.obj, key->obj);
        assert_true(keytab_find_hot(m->t, key->slot, key->hash, &ref));
        assert_ptr_equal(ref.obj, key->obj);
    } else {
        expect_u64(kind, KEYTAB_COLD);
        expect_u64(keytab_type(&ref), key->type);
        expect_u64(keytab_has_ttl(&ref), key->ttl);
        expect_u64(keytab_touched(&ref), key->touched);
    }
}

static void check_counts(const struct model *m, uint32_t slots)
{
    uint64_t hot = 0;
    uint64_t cold = 0;
    uint64_t ttl = 0;
    uint32_t *by_slot = mem_zalloc_array(slots, sizeof(*by_slot));

    for (size_t i = 0; i < m->count; i++) {
        const struct key *key = &m->keys[i];
        hot += key->there && key->obj != NULL;
        cold += key->there && key->obj == NULL;
        ttl += key->there && key->obj == NULL && key->ttl;
        by_slot[key->slot] += key->there;
    }
    expect_u64(keytab_count_hot(m->t), hot);
    expect_u64(keytab_count_cold(m->t), cold);
    expect_u64(keytab_count_cold_ttl(m->t), ttl);
    for (uint32_t slot = 0; slot < slots; slot++)
        expect_u64(keytab_count_slot(m->t, (uint16_t)slot), by_slot[slot]);
    mem_free(by_slot);
}

static void check_all(const struct model *m, uint32_t slots)
{
    for (size_t i = 0; i < m->count; i++)
        check_key(m, &m->keys[i]);
    check_counts(m, slots);
}

/* The key comes, goes, or changes its state. */
static void change(struct model *m, struct key *key, unsigned insert_percent)
{
    const bool inserts = rng_below(&m->rng, 100) < insert_percent;
    struct keytab_ref ref;

    if (!key->there) {
        if (inserts)
            insert(m, key, rng_below(&m->rng, 2) != 0);
        return;
    }
    assert_int_not_equal(find(m, key, &ref), KEYTAB_NONE);
    switch (rng_below(&m->rng, 3)) {
    case 0:
        if (!inserts)
            erase(m, key);
        break;
    case 1:
        if (key->obj != NULL)
            break;
        key->obj = obj_new(bytes_of(key->name, key->name_len), key->type, 0, NULL, 8);
        keytab_set_hot(m->t, &ref, key->hash, key->obj);
        break;
    default:
        if (key->obj == NULL)
            break;
        key->touched = rng_below(&m->rng, 2) != 0;
        keytab_set_cold(m->t, &ref, key->hash, key->type, key->ttl, key->touched);
        mem_free(key->obj);
        key->obj = NULL;
    }
}

static void erase_all(struct model *m)
{
    for (size_t i = 0; i < m->count; i++) {
        if (m->keys[i].there)
            erase(m, &m->keys[i]);
    }
    expect_u64(keytab_bytes(m->t), m->bytes_empty);
}

static void run_waves(size_t count, uint32_t slots, uint64_t stream)
{
    struct model m;

    model_init(&m, count, slots, stream);
    for (unsigned wave = 0; wave < 4; wave++) {
        for (size_t i = 0; i < count * 6; i++)
            change(&m, &m.keys[rng_below(&m.rng, count)], wave % 2 == 0 ? 95 : 10);
        check_all(&m, slots);
    }
    erase_all(&m);
    check_all(&m, slots);
    model_deinit(&m);
}

static void waves_of_changes_leave_what_a_model_has_and_no_memory_behind(void **state UNUSED)
{
    run_waves(20000, 512, 1);
}

static void one_slot_can_have_all_the_keys(void **state UNUSED)
{
    run_waves(40000, 1, 2);
}

/* --- collisions --- */

/* Hashes that agree in the bits of `mask`. */
static void run_colliding(uint64_t mask, size_t count)
{
    struct model m;

    model_init(&m, count, 3, 3);
    for (size_t i = 0; i < count; i++) {
        m.keys[i].hash |= mask;
        insert(&m, &m.keys[i], false);
    }
    check_all(&m, 3);
    for (size_t i = 0; i < count; i += 2)
        erase(&m, &m.keys[i]);
    check_all(&m, 3);
    erase_all(&m);
    model_deinit(&m);
}

static void all_keys_may_have_the_same_fingerprint(void **state UNUSED)
{
    run_colliding(0xffull << 15, 5000);
}

static void all_hashes_may_begin_with_the_same_20_bits(void **state UNUSED)
{
    run_colliding(~0ull << 44, 5000);
}

static void all_hashes_may_begin_with_more_bits_than_the_directory_takes(void **state UNUSED)
{
    run_colliding(~0ull << 32, 400);
}

static void equal_hashes_of_cold_keys_do_not_hide_a_hot_one(void **state UNUSED)
{
    struct keytab *t = keytab_create(SEED);
    struct keytab_ref ref;
    const struct bytes name = BYTES_LIT("the hot one");
    const uint64_t hash = hash64(name.ptr, name.len, SEED);
    struct obj *obj = obj_new(name, 1, 0, NULL, 0);

    for (int i = 0; i < 1000; i++)
        keytab_insert_cold(t, 7, hash, 2, false);
    keytab_insert_hot(t, 7, hash, obj);
    for (int i = 0; i < 1000; i++)
        keytab_insert_cold(t, 7, hash, 2, false);

    expect_u64(keytab_find(t, 7, hash, name, &ref), KEYTAB_HOT);
    assert_ptr_equal(ref.obj, obj);
    expect_u64(keytab_find(t, 7, hash, BYTES_LIT("another"), &ref), KEYTAB_COLD);
    for (int i = 0; i < 2001; i++) {
        assert_int_not_equal(keytab_find(t, 7, hash, name, &ref), KEYTAB_NONE);
        keytab_remove(t, &ref);
    }
    expect_u64(keytab_find(t, 7, hash, name, &ref), KEYTAB_NONE);
    keytab_destroy(t);
    mem_free(obj);
}

static void looking_ahead_finds_what_is_hot(void **state UNUSED)
{
    struct model m;
    struct keytab_ahead ahead[16];
    struct keytab_ref ref;
    uint32_t hot = 0;
    uint32_t found = 0;

    model_init(&m, 5000, 4, 4);
    for (size_t i = 0; i < m.count; i++) {
        if (i % 3 != 0)
            insert(&m, &m.keys[i], i % 3 == 1);
    }
    for (size_t i = 0; i + ARRAY_COUNT(ahead) <= m.count; i += ARRAY_COUNT(ahead)) {
        const struct key *keys = &m.keys[i];
        for (size_t k = 0; k < ARRAY_COUNT(ahead); k++)
            ahead[k] = (struct keytab_ahead){.hash = keys[k].hash, .slot = keys[k].slot};
        keytab_ahead(m.t, ahead, ARRAY_COUNT(ahead));
        for (size_t k = 0; k < ARRAY_COUNT(ahead); k++) {
            if (!keytab_find_hot(m.t, keys[k].slot, keys[k].hash, &ref))
                continue;
            hot++;
            found += ahead[k].obj == ref.obj;
        }
    }
    /* Another entry may have the same fingerprint and stand before it. */
    assert_true(hot > 1000);
    assert_true(found > hot / 2);
    model_deinit(&m);
}

/* --- in order --- */

struct seen {
    struct model *m;
    uint64_t cursor; /* Of the entry before. */
    bool ordered;
};

/* The model key of an entry: names of hot keys are their numbers, cold ones go by hash. */
static struct key *key_of(struct model *m, const struct keytab_entry *entry)
{
    if (entry->kind == KEYTAB_HOT) {
        char text[24] = {0};
        const struct bytes name = obj_key(entry->ref.obj);
        memcpy(text, name.ptr, name.len);
        return &m->keys[strtoul(text + 4, NULL, 10)];
    }
    for (size_t i = 0; i < m->count; i++) {
        struct key *key = &m->keys[i];
        if (key->there && key->obj == NULL && key->slot == entry->slot &&
            (key->hash ^ entry->hash) >> (64 - KEYTAB_HASH_BITS) == 0)
            return key;
    }
    return NULL;
}

static void see(void *ctx, const struct keytab_entry *entry)
{
    struct seen *s = ctx;
    struct key *key = key_of(s->m, entry);

    CHECK(key != NULL);
    key->seen++;
    if (!s->ordered)
        return;
    if (entry->kind == KEYTAB_HOT)
        expect_u64(entry->hash, key->hash);
    assert_true(keytab_cursor(entry->slot, entry->hash) >= s->cursor);
    s->cursor = keytab_cursor(entry->slot, entry->hash);
}

/* Reads all of the table while keys with an odd number come and go. */
static void run_reading(struct model *m, bool ordered, size_t count)
{
    struct seen s = {.m = m, .ordered = ordered};
    uint64_t cursor = 0;

    for (size_t i = 0; i < m->count; i++) {
        m->keys[i].seen = 0;
        if (!m->keys[i].there && i % 2 == 0)
            insert(m, &m->keys[i], i % 4 == 0);
    }
    do {
        cursor = ordered ? keytab_scan(m->t, cursor, count, see, &s)
                         : keytab_walk(m->t, cursor, see, &s);
        for (size_t i = 0; i < 50; i++) {
            struct key *key = &m->keys[rng_below(&m->rng, m->count / 2) * 2 + 1];
            if (key->there)
                erase(m, key);
            else
                insert(m, key, rng_below(&m->rng, 2) != 0);
        }
    } while (cursor != 0);
    for (size_t i = 0; i < m->count; i++) {
        if (i % 2 == 0)
            expect_u64(m->keys[i].seen, 1);
        else
            assert_true(m->keys[i].seen <= 1);
    }
}

static void scans_meet_each_lasting_key_once_while_others_come_and_go(void **state UNUSED)
{
    struct model m;

    model_init(&m, 3000, 5, 5);
    run_reading(&m, false, 0);
    run_reading(&m, true, 1);
    run_reading(&m, true, 10);
    run_reading(&m, true, 1000);
    run_reading(&m, true, 100000);
    check_all(&m, 5);
    model_deinit(&m);
}

static void a_scan_shows_as_many_keys_as_were_asked_for(void **state UNUSED)
{
    struct model m;
    uint64_t cursor = 0;
    size_t calls = 0;

    model_init(&m, 3000, 700, 6);
    for (size_t i = 0; i < m.count; i++)
        insert(&m, &m.keys[i], false);
    struct seen s = {.m = &m, .ordered = true};
    do {
        cursor = keytab_scan(m.t, cursor, 10, see, &s);
        calls++;
    } while (cursor != 0);
    expect_u64(calls, 300);
    model_deinit(&m);
}

static void keys_with_the_same_cursor_come_together(void **state UNUSED)
{
    struct model m;

    model_init(&m, 300, 1, 7);
    /* The cursor has one bit less than a cold entry. */
    for (size_t i = 0; i < m.count; i++) {
        m.keys[i].hash = (i / 2) << 20 | (i & 1) << 15;
        insert(&m, &m.keys[i], false);
    }
    struct seen s = {.m = &m, .ordered = true};
    uint64_t cursor = keytab_scan(m.t, 0, 1, see, &s);
    expect_u64(m.keys[0].seen, 1);
    expect_u64(m.keys[1].seen, 1);
    expect_u64(m.keys[2].seen, 0);
    while (cursor != 0)
        cursor = keytab_scan(m.t, cursor, 3, see, &s);
    for (size_t i = 0; i < m.count; i++)
        expect_u64(m.keys[i].seen, 1);
    model_deinit(&m);
}

static void any_number_is_a_cursor(void **state UNUSED)
{
    struct model m;

    model_init(&m, 2000, 16384, 8);
    for (size_t i = 0; i < m.count; i++)
        insert(&m, &m.keys[i], i % 2 == 0);
    struct seen s = {.m = &m};
    for (int i = 0; i < 2000; i++) {
        const uint64_t cursor = rng_u64(&m.rng) >> rng_below(&m.rng, 64);
        const uint64_t next = keytab_scan(m.t, cursor, 1, see, &s);
        assert_true(next == 0 || next > cursor);
        const uint64_t after = keytab_walk(m.t, cursor, see, &s);
        assert_true(after == 0 || after > cursor);
    }
    model_deinit(&m);
}

static void loading_many_is_the_same_as_inserting_each(void **state UNUSED)
{
    struct model m;

    model_init(&m, 5000, 2, 9);
    for (uint16_t slot = 0; slot < 2; slot++) {
        struct keytab_cold *cold = mem_zalloc_array(m.count, sizeof(*cold));
        size_t n = 0;
        for (size_t i = slot; i < m.count; i += 2) {
            m.keys[i].there = true;
            cold[n++] = (struct keytab_cold){
                .hash = m.keys[i].hash, .type = m.keys[i].type, .has_ttl = m.keys[i].ttl};
        }
        keytab_load_cold(m.t, slot, cold, n);
        mem_free(cold);
    }
    check_all(&m, 2);
    model_deinit(&m);
}

#ifdef TIERRA_HAVE_JEMALLOC
/* Bytes that this thread holds, as the allocator counts them. */
static uint64_t allocated(void)
{
    uint64_t *more;
    uint64_t *less;
    size_t size = sizeof(more);

    assert_int_equal(mallctl("thread.allocatedp", (void *)&more, &size, NULL, 0), 0);
    assert_int_equal(mallctl("thread.deallocatedp", (void *)&less, &size, NULL, 0), 0);
    return *more - *less;
}

static void the_bytes_are_those_that_the_allocator_counts(void **state UNUSED)
{
    struct model m;

    model_init(&m, 100000, 100, 10);
    const uint64_t before = allocated() - keytab_bytes(m.t);
    for (size_t i = 0; i < m.count; i++) {
        insert(&m, &m.keys[i], false);
        if (i % 1000 == 0)
            expect_u64(keytab_bytes(m.t), allocated() - before);
    }
    for (size_t i = 0; i < m.count; i++) {
        erase(&m, &m.keys[i]);
        if (i % 1000 == 0)
            expect_u64(keytab_bytes(m.t), allocated() - before);
    }
    model_deinit(&m);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waves_of_changes_leave_what_a_model_has_and_no_memory_behind),
        cmocka_unit_test(one_slot_can_have_all_the_keys),
        cmocka_unit_test(all_keys_may_have_the_same_fingerprint),
        cmocka_unit_test(all_hashes_may_begin_with_the_same_20_bits),
        cmocka_unit_test(all_hashes_may_begin_with_more_bits_than_the_directory_takes),
        cmocka_unit_test(equal_hashes_of_cold_keys_do_not_hide_a_hot_one),
        cmocka_unit_test(looking_ahead_finds_what_is_hot),
        cmocka_unit_test(scans_meet_each_lasting_key_once_while_others_come_and_go),
        cmocka_unit_test(a_scan_shows_as_many_keys_as_were_asked_for),
        cmocka_unit_test(keys_with_the_same_cursor_come_together),
        cmocka_unit_test(any_number_is_a_cursor),
        cmocka_unit_test(loading_many_is_the_same_as_inserting_each),
#ifdef TIERRA_HAVE_JEMALLOC
        cmocka_unit_test(the_bytes_are_those_that_the_allocator_counts),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
