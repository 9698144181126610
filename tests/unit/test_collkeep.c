/*
 * What is kept to be sorted against a sorted array: in one pass or in as many as the room takes,
 * with equal scores and members of all lengths; as a whole or not at all; and in any order.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

#include "engine/space/collkeep.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define MEMBERS_MAX 500
#define ROUNDS      200
#define BESIDE      16
#define ORDERS      6000

struct item {
    char member[48];
    double score;
};

static int by_score(const void *a, const void *b)
{
    const struct item *x = a, *y = b;

    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return strcmp(x->member, y->member);
}

static struct bytes name_of(const struct item *item)
{
    return bytes_of(item->member, strlen(item->member));
}

static uint32_t make_items(struct rng *rng, struct item *items)
{
    static const double scores[] = {-(double)INFINITY, (double)INFINITY, 0, 1, -2.5, 1e300, 7};
    const uint32_t n = (uint32_t)rng_below(rng, MEMBERS_MAX) + 1;

    for (uint32_t i = 0; i < n; i++) {
        (void)snprintf(items[i].member, sizeof(items[i].member), "%u%.*s", i,
                       (int)rng_below(rng, 30), "..............................");
        items[i].score = scores[rng_below(rng, ARRAY_COUNT(scores))];
    }
    return n;
}

static void add_all(struct collkeep *k, const struct item *items, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        assert_int_equal(collkeep_add(k, name_of(&items[i]), items[i].score), 0);
}

static void all_are_shown_in_order(void **state)
{
    struct rng rng;
    struct bytes member;
    double score;
    struct item *items = mem_alloc(2 * MEMBERS_MAX * sizeof(*items)), *sorted = items + MEMBERS_MAX;

    (void)state;
    seed_rng(&rng, 1);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const uint32_t n = make_items(&rng, items);
        const uint64_t room = 1 + rng_below(&rng, (uint64_t)n * (BESIDE + 20));
        struct collkeep *k = collkeep_create(room, BESIDE, false);
        uint32_t shown = 0;
        memcpy(sorted, items, n * sizeof(*items));
        qsort(sorted, n, sizeof(*sorted), by_score);
        add_all(k, items, n);
        assert_int_equal(collkeep_sort(k), 0);
        while (shown < n) {
            const bool lacks = collkeep_lacks(k);
            uint64_t bytes = 0;
            while (collkeep_next(k, &member, &score)) {
                assert_true(bytes_eq(member, name_of(&sorted[shown])));
                assert_true(score == sorted[shown].score);
                bytes += member.len + BESIDE;
                shown++;
            }
            assert_int_equal(lacks, shown < n);
            assert_true(bytes <= room + BESIDE + sizeof(items->member));
            if (!lacks)
                break;
            assert_int_equal(collkeep_pass(k), 0);
            assert_false(collkeep_next(k, &member, &score));
            add_all(k, items, n);
            assert_int_equal(collkeep_sort(k), 0);
        }
        assert_int_equal(shown, n);
        collkeep_destroy(k);
    }
    mem_free(items);
}

static void all_or_nothing(void **state)
{
    struct rng rng;
    struct bytes member;
    double score;
    struct item *items = mem_alloc(MEMBERS_MAX * sizeof(*items));

    (void)state;
    seed_rng(&rng, 2);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const uint32_t n = make_items(&rng, items);
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < n; i++)
            bytes += name_of(&items[i]).len + BESIDE;
        for (uint32_t less = 0; less < 2; less++) {
            struct collkeep *k = collkeep_create(bytes - less, BESIDE, true);
            uint32_t shown = 0;
            add_all(k, items, n);
            assert_int_equal(collkeep_lacks(k), less != 0);
            assert_int_equal(collkeep_sort(k), 0);
            for (uint32_t twice = 0; twice < 2; twice++) {
                while (collkeep_next(k, &member, &score))
                    shown++;
                collkeep_show_again(k);
            }
            assert_int_equal(shown, less != 0 ? 0 : 2 * n);
            collkeep_destroy(k);
        }
    }
    mem_free(items);
}

/* Three members have six orders: each comes about a thousand times. */
static void each_order_is_as_likely(void **state)
{
    static const struct item items[] = {{"0", 0}, {"1", 1}, {"2", 2}};
    uint32_t seen[27] = {0}, orders = 0;
    struct rng rng;
    struct bytes member;
    double score;

    (void)state;
    rng_seed(&rng, 3);
    struct collkeep *k = collkeep_create(1000, BESIDE, true);
    add_all(k, items, 3);
    for (uint32_t i = 0; i < ORDERS; i++) {
        uint32_t order = 0;
        assert_int_equal(collkeep_shuffle(k, &rng), 0);
        while (collkeep_next(k, &member, &score))
            order = order * 3 + (uint32_t)score;
        seen[order]++;
    }
    for (uint32_t i = 0; i < ARRAY_COUNT(seen); i++) {
        orders += seen[i] != 0;
        assert_true(seen[i] == 0 || (seen[i] > 800 && seen[i] < 1200));
    }
    assert_int_equal(orders, 6);
    collkeep_destroy(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_are_shown_in_order),
        cmocka_unit_test(all_or_nothing),
        cmocka_unit_test(each_order_is_as_likely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
