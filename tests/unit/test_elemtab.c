/*
 * The table of elements against a plain array: finding, iterators, scans, draws and walks.
 */
#include <stdio.h>

#include "engine/base/mem.h"

#include "engine/space/elemtab.h"
#include "engine/space/obj.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define NAMES_MAX 40000u
#define HASH_SEED 0x74696572726131ull

/* The model: number -> element. The row of an element is how often it was seen. */
struct world {
    struct elemtab tab;
    struct elem *elem[NAMES_MAX];
    uint32_t count;
    struct rng rng;
};

static struct bytes name_of(uint32_t number, char text[16])
{
    const int len = snprintf(text, 16, "f%u", number);
    return bytes_of(text, (size_t)len);
}

static uint32_t number_of(const struct elem *e)
{
    uint32_t number = 0;
    for (size_t i = 1; i < e->h.name_len; i++)
        number = number * 10 + e->data[i] - '0';
    return number;
}

static void add(struct world *w, uint32_t number)
{
    char text[16];
    struct elem *e = elem_new(name_of(number, text), 0, 0, 1);

    assert_null(w->elem[number]);
    *elem_row_ptr(e) = 0;
    w->elem[number] = e;
    w->count++;
    elemtab_insert(&w->tab, e);
}

static void drop(struct world *w, uint32_t number)
{
    elemtab_remove(&w->tab, w->elem[number]);
    mem_free(w->elem[number]);
    w->elem[number] = NULL;
    w->count--;
}

static void move(struct world *w, uint32_t number)
{
    char text[16];
    struct elem *old = w->elem[number];
    struct elem *e = elem_new(elem_sub(old), 0, 0, 1);

    *elem_row_ptr(e) = 0;
    mem_free(old);
    elemtab_replace(&w->tab, name_of(number, text), old, e);
    w->elem[number] = e;
}

static struct world *world_new(uint64_t stream)
{
    struct world *w = mem_zalloc(sizeof(*w));
    elemtab_init(&w->tab, HASH_SEED);
    seed_rng(&w->rng, stream);
    return w;
}

static void world_free(struct world *w)
{
    elemtab_deinit(&w->tab);
    expect_u64(elemtab_bytes(&w->tab), 0);
    for (uint32_t i = 0; i < NAMES_MAX; i++)
        mem_free(w->elem[i]);
    mem_free(w);
}

/* Each element comes once. */
static void check_iter(struct world *w, struct elemtab_iter *it, uint32_t names)
{
    struct elem *e;
    uint32_t seen = 0;

    while ((e = elemtab_iter_next(it)) != NULL) {
        assert_ptr_equal(w->elem[number_of(e)], e);
        assert_int_equal(*elem_row_ptr(e), 0);
        *elem_row_ptr(e) = 1;
        seen++;
    }
    expect_u64(seen, w->count);
    for (uint32_t i = 0; i < names; i++) {
        if (w->elem[i] != NULL)
            *elem_row_ptr(w->elem[i]) = 0;
    }
}

static void check_all(struct world *w, uint32_t names)
{
    char text[16];
    struct elemtab_iter it;

    expect_u64(elemtab_count(&w->tab), w->count);
    for (uint32_t i = 0; i < names; i++)
        assert_ptr_equal(elemtab_find(&w->tab, name_of(i, text)), w->elem[i]);
    elemtab_iter_init(&w->tab, &it);
    check_iter(w, &it, names);
    elemtab_iter_init_inserted(&w->tab, &it);
    check_iter(w, &it, names);
}

static void few_elements_come_as_they_were_inserted(void **state UNUSED)
{
    struct world *w = world_new(7);

    for (uint32_t n = 0; n < 63; n++) {
        struct elemtab_iter it;
        add(w, n * 17 % 63);
        if (n % 5 == 4)
            move(w, n / 2 * 17 % 63);
        elemtab_iter_init_inserted(&w->tab, &it);
        for (uint32_t i = 0; i <= n; i++)
            assert_ptr_equal(elemtab_iter_next(&it), w->elem[i * 17 % 63]);
        assert_null(elemtab_iter_next(&it));
    }
    world_free(w);
}

static void an_empty_table_allocates_nothing(void **state UNUSED)
{
    struct elemtab t;
    struct elemtab_iter it;
    struct rng rng = {{1, 2, 3, 4}};
    uint64_t hand = 0;

    assert_true(sizeof(t) <= 40);
    elemtab_init(&t, HASH_SEED);
    expect_u64(elemtab_bytes(&t), 0);
    assert_null(elemtab_find(&t, BYTES_LIT("a")));
    assert_null(elemtab_random(&t, &rng));
    elemtab_iter_init(&t, &it);
    assert_null(elemtab_iter_next(&it));
    expect_u64(elemtab_scan(&t, 0, NULL, NULL), 0);
    expect_u64(elemtab_walk(&t, &hand, 10, NULL, NULL), 0);
    elemtab_deinit(&t);
}

static void one_element_costs_little(void **state UNUSED)
{
    struct world *w = world_new(1);

    add(w, 0);
    assert_true(elemtab_bytes(&w->tab) >= 32 && elemtab_bytes(&w->tab) <= 48);
    drop(w, 0);
    expect_u64(elemtab_bytes(&w->tab), 0);
    world_free(w);
}

static void random_changes_match_the_model(void **state UNUSED)
{
    static const uint32_t names[] = {4, 70, 1000, NAMES_MAX};
    struct world *w = world_new(2);

    for (size_t round = 0; round < ARRAY_COUNT(names) * 2; round++) {
        const uint32_t n = names[round % ARRAY_COUNT(names)];
        for (uint32_t up = 10; up-- > 0;) {
            for (uint32_t step = 0; step < n / 2; step++) {
                const uint32_t i = (uint32_t)rng_below(&w->rng, n);
                if (w->elem[i] == NULL) {
                    if (rng_below(&w->rng, 10) < up)
                        add(w, i);
                } else if (rng_below(&w->rng, 10) >= up) {
                    drop(w, i);
                } else {
                    move(w, i);
                }
            }
            if (up % 3 == 0)
                check_all(w, n);
        }
        for (uint32_t i = 0; i < n; i++) {
            if (w->elem[i] != NULL)
                drop(w, i);
        }
        expect_u64(elemtab_bytes(&w->tab), 0);
    }
    world_free(w);
}

static void removal_gives_memory_back(void **state UNUSED)
{
    struct world *w = world_new(3);

    for (uint32_t i = 0; i < NAMES_MAX; i++)
        add(w, i);
    const size_t full = elemtab_bytes(&w->tab);
    assert_true(full <= NAMES_MAX * 12);
    for (uint32_t i = 100; i < NAMES_MAX; i++)
        drop(w, i);
    check_all(w, NAMES_MAX);
    assert_true(elemtab_bytes(&w->tab) < 100 * 80);
    world_free(w);
}

static void the_element_just_returned_may_be_removed(void **state UNUSED)
{
    struct world *w = world_new(4);
    struct elemtab_iter it;
    struct elem *e;

    for (uint32_t keep = 0; keep < 5; keep++) {
        for (uint32_t i = 0; i < NAMES_MAX; i++) {
            if (w->elem[i] == NULL)
                add(w, i);
        }
        uint32_t seen = 0;
        elemtab_iter_init(&w->tab, &it);
        while ((e = elemtab_iter_next(&it)) != NULL) {
            assert_int_equal(*elem_row_ptr(e), 0);
            *elem_row_ptr(e) = 1;
            seen++;
            if (rng_below(&w->rng, 1000) >= keep * keep * keep * 10)
                drop(w, number_of(e));
        }
        expect_u64(seen, NAMES_MAX);
        for (uint32_t i = 0; i < NAMES_MAX; i++) {
            if (w->elem[i] != NULL)
                *elem_row_ptr(w->elem[i]) = 0;
        }
        check_all(w, NAMES_MAX);
    }
    world_free(w);
}

static void see(void *ctx, struct elem *e)
{
    struct world *w = ctx;

    assert_ptr_equal(w->elem[number_of(e)], e);
    *elem_row_ptr(e) = 1;
}

/* Elements below `stay` are there all the time; the others come (grow) or go. */
static void scan_while_changing(struct world *w, uint32_t stay, bool grow)
{
    uint64_t cursor = 0;
    uint64_t last = 0;
    uint32_t next = stay;

    for (uint32_t i = 0; i < (grow ? stay : NAMES_MAX); i++) {
        if (w->elem[i] == NULL)
            add(w, i);
    }
    do {
        cursor = elemtab_scan(&w->tab, cursor, see, w);
        assert_true(cursor == 0 || cursor > last);
        assert_true(cursor >> ELEMTAB_CURSOR_BITS == 0);
        last = cursor;
        for (uint32_t n = 0; n < 300 && next < NAMES_MAX; n++, next++) {
            if (grow)
                add(w, next);
            else
                drop(w, next);
        }
    } while (cursor != 0);
    for (uint32_t i = 0; i < stay; i++) {
        assert_int_equal(*elem_row_ptr(w->elem[i]), 1);
        *elem_row_ptr(w->elem[i]) = 0;
    }
    for (uint32_t i = stay; i < NAMES_MAX; i++) {
        if (w->elem[i] != NULL)
            drop(w, i);
    }
}

static void a_scan_meets_all_that_stay(void **state UNUSED)
{
    struct world *w = world_new(5);

    scan_while_changing(w, 1, true);
    scan_while_changing(w, 100, true);
    scan_while_changing(w, 5000, true);
    scan_while_changing(w, 5000, false);
    world_free(w);
}

static void draws_are_uniform(void **state UNUSED)
{
    static const uint32_t counts[] = {1, 10, 200, 1000};
    struct world *w = world_new(6);
    uint32_t *hits = mem_zalloc_array(NAMES_MAX, sizeof(*hits));

    for (size_t c = 0; c < ARRAY_COUNT(counts); c++) {
        while (w->count < counts[c])
            add(w, w->count);
        memset(hits, 0, NAMES_MAX * sizeof(*hits));
        for (uint32_t i = 0; i < counts[c] * 400; i++)
            hits[number_of(elemtab_random(&w->tab, &w->rng))]++;
        /* The standard deviation is 20. */
        for (uint32_t i = 0; i < counts[c]; i++)
            assert_true(hits[i] > 240 && hits[i] < 560);
    }
    mem_free(hits);
    world_free(w);
}

static bool see_and_maybe_free(void *ctx, struct elem *e)
{
    struct world *w = ctx;
    const uint32_t number = number_of(e);

    assert_ptr_equal(w->elem[number], e);
    if (rng_below(&w->rng, 4) != 0) {
        ++*elem_row_ptr(e);
        return false;
    }
    mem_free(e);
    w->elem[number] = NULL;
    w->count--;
    return true;
}

static void a_walk_goes_round_and_removes(void **state UNUSED)
{
    struct world *w = world_new(7);
    uint64_t hand = 0;
    uint64_t steps = 0;

    for (uint32_t i = 0; i < NAMES_MAX; i++)
        add(w, i);
    while (w->count > 0) {
        const uint32_t max = (uint32_t)rng_below(&w->rng, 500) + 1;
        const uint32_t want = (uint32_t)size_min(max, w->count);
        expect_u64(elemtab_walk(&w->tab, &hand, max, see_and_maybe_free, w), want);
        expect_u64(elemtab_count(&w->tab), w->count);
        steps += want;
    }
    /* Each is visited 4 times on the average. */
    assert_true(steps > NAMES_MAX * 3 && steps < NAMES_MAX * 5);
    expect_u64(elemtab_bytes(&w->tab), 0);
    world_free(w);
}

static bool count_visit(void *ctx UNUSED, struct elem *e)
{
    ++*elem_row_ptr(e);
    return false;
}

static void a_walk_is_fair(void **state UNUSED)
{
    struct world *w = world_new(8);
    uint64_t hand = 0;

    for (uint32_t i = 0; i < 3000; i++)
        add(w, i);
    for (uint32_t i = 0; i < 3000; i++)
        expect_u64(elemtab_walk(&w->tab, &hand, 7, count_visit, NULL), 7);
    for (uint32_t i = 0; i < 3000; i++)
        assert_int_equal(*elem_row_ptr(w->elem[i]), 7);
    world_free(w);
}

/* Adds `count` elements whose hashes agree with that of the first under `mask`. */
static void add_colliding(struct world *w, uint32_t count, uint64_t mask)
{
    uint64_t want = 0;
    char text[64] = {0};

    for (uint32_t i = 0, n = 0; n < count; i++) {
        const int len = snprintf(text, sizeof(text), "c%u", i);
        const uint64_t hash = elemtab_hash(&w->tab, bytes_of(text, (size_t)len)) & mask;
        if (n == 0)
            want = hash;
        if (hash != want)
            continue;
        w->elem[n] = elem_new(bytes_of(text, (size_t)len), 0, 0, 1);
        *elem_row_ptr(w->elem[n]) = 0;
        elemtab_insert(&w->tab, w->elem[n++]);
        w->count++;
    }
}

static void check_colliding(struct world *w, uint32_t count)
{
    struct elemtab_iter it;
    uint32_t seen = 0;

    elemtab_iter_init(&w->tab, &it);
    while (elemtab_iter_next(&it) != NULL)
        seen++;
    expect_u64(seen, w->count);
    for (uint32_t i = 0; i < count; i++)
        assert_ptr_equal(elemtab_find(&w->tab, elem_sub(w->elem[i])), w->elem[i]);
    for (uint32_t i = 0; i < count; i += 2)
        drop(w, i);
    for (uint32_t i = 1; i < count; i += 2)
        assert_ptr_equal(elemtab_find(&w->tab, elem_sub(w->elem[i])), w->elem[i]);
    for (uint32_t i = 0; i < w->count; i++)
        assert_non_null(elemtab_random(&w->tab, &w->rng));
    for (uint32_t i = 1; i < count; i += 2)
        drop(w, i);
    expect_u64(elemtab_bytes(&w->tab), 0);
}

/* Subkeys made to collide under one seed are spread under another; so after the table was empty. */
static void another_seed_spreads_what_collides(void **state UNUSED)
{
    struct world *w = world_new(11);
    struct world *other = world_new(11);

    add_colliding(w, 50, 0xffff);
    elemtab_init(&other->tab, HASH_SEED + 1);
    for (int round = 0; round < 2; round++) {
        uint32_t same = 0;
        const uint64_t first = elemtab_hash(&other->tab, elem_sub(w->elem[0])) & 0xffff;
        for (uint32_t i = 0; i < 50; i++) {
            const struct bytes sub = elem_sub(w->elem[i]);
            same += (elemtab_hash(&other->tab, sub) & 0xffff) == first;
            assert_int_equal(elemtab_hash(&w->tab, sub) & 0xffff,
                             elemtab_hash(&w->tab, elem_sub(w->elem[0])) & 0xffff);
        }
        assert_in_range(same, 1, 5);
        add(other, 1);
        drop(other, 1);
        expect_u64(elemtab_bytes(&other->tab), 0);
    }
    check_colliding(w, 50);
    world_free(other);
    world_free(w);
}

static void equal_fingerprints_are_told_apart(void **state UNUSED)
{
    struct world *w = world_new(9);

    add_colliding(w, 50, 0xffff);
    check_colliding(w, 50);
    world_free(w);
}

static void colliding_hashes_do_not_swell_the_directory(void **state UNUSED)
{
    struct world *w = world_new(10);

    add_colliding(w, 400, 0xfffull << 52);
    assert_true(elemtab_bytes(&w->tab) < 400 * 16);
    check_colliding(w, 400);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_table_allocates_nothing),
        cmocka_unit_test(few_elements_come_as_they_were_inserted),
        cmocka_unit_test(one_element_costs_little),
        cmocka_unit_test(random_changes_match_the_model),
        cmocka_unit_test(removal_gives_memory_back),
        cmocka_unit_test(the_element_just_returned_may_be_removed),
        cmocka_unit_test(a_scan_meets_all_that_stay),
        cmocka_unit_test(draws_are_uniform),
        cmocka_unit_test(a_walk_goes_round_and_removes),
        cmocka_unit_test(a_walk_is_fair),
        cmocka_unit_test(another_seed_spreads_what_collides),
        cmocka_unit_test(equal_fingerprints_are_told_apart),
        cmocka_unit_test(colliding_hashes_do_not_swell_the_directory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
