/*
 * The order of a sorted set against a sorted array.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"

#include "engine/space/obj.h"
#include "engine/space/zorder.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define ENTRIES_MAX 30000u

struct entry {
    double score;
    struct elem *elem;
};

/* The model: entries in order. */
struct world {
    struct zorder z;
    struct entry entry[ENTRIES_MAX];
    uint32_t count;
    uint32_t names; /* Given so far, so that none comes twice. */
    struct rng rng;
};

static struct world *world_new(uint64_t stream)
{
    struct world *w = mem_zalloc(sizeof(*w));
    zorder_init(&w->z);
    seed_rng(&w->rng, stream);
    return w;
}

static void world_free(struct world *w)
{
    zorder_deinit(&w->z);
    for (uint32_t i = 0; i < w->count; i++)
        mem_free(w->entry[i].elem);
    mem_free(w);
}

/* Entries before (score, member). */
static uint32_t model_rank(const struct world *w, double score, struct bytes member)
{
    uint32_t low = 0;
    uint32_t high = w->count;
    while (low < high) {
        const uint32_t mid = (low + high) / 2;
        const struct entry *e = &w->entry[mid];
        if (e->score < score || (e->score == score && bytes_cmp(elem_sub(e->elem), member) < 0))
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

/* A member with a random beginning, so that its place among equal scores is random. */
static struct elem *elem_make(struct world *w)
{
    char text[32];
    const int len =
        snprintf(text, sizeof(text), "%c%u", (int)('a' + rng_below(&w->rng, 26)), w->names++);
    return elem_new(bytes_of(text, (size_t)len), 0, 0, 0);
}

static void add(struct world *w, double score)
{
    struct elem *e = elem_make(w);
    const uint32_t at = model_rank(w, score, elem_sub(e));

    assert_true(w->count < ENTRIES_MAX);
    memmove(&w->entry[at + 1], &w->entry[at], (w->count - at) * sizeof(w->entry[0]));
    w->entry[at] = (struct entry){.score = score, .elem = e};
    w->count++;
    zorder_insert(&w->z, score, e);
}

static void drop(struct world *w, uint32_t at)
{
    const struct entry e = w->entry[at];
    zorder_remove(&w->z, e.score, e.elem);
    w->count--;
    memmove(&w->entry[at], &w->entry[at + 1], (w->count - at) * sizeof(w->entry[0]));
    mem_free(e.elem);
}

static void move(struct world *w, uint32_t at)
{
    struct elem *old = w->entry[at].elem;
    struct elem *e = elem_new(elem_sub(old), 0, 0, 0);

    mem_free(old);
    zorder_replace(&w->z, w->entry[at].score, elem_sub(e), old, e);
    w->entry[at].elem = e;
}

/* `found` and `pos` are what a search for entry number `at` gave; -1 and the count are none. */
static void expect_pos(const struct world *w, bool found, const struct zorder_pos *pos, int64_t at)
{
    assert_int_equal(found, at >= 0 && at < w->count);
    if (!found)
        return;
    assert_ptr_equal(pos->elem, w->entry[at].elem);
    assert_true(pos->score == w->entry[at].score);
}

static void check_order(const struct world *w)
{
    struct zorder_pos pos = {0};

    expect_u64(zorder_count(&w->z), w->count);
    bool found = zorder_first(&w->z, &pos);
    for (int64_t i = 0; i < w->count; i++) {
        expect_pos(w, found, &pos, i);
        found = zorder_next(&pos);
    }
    assert_false(found);
    found = zorder_last(&w->z, &pos);
    for (int64_t i = (int64_t)w->count - 1; i >= 0; i--) {
        expect_pos(w, found, &pos, i);
        found = zorder_prev(&pos);
    }
    assert_false(found);
}

/* All questions about a score and a member, which may be those of an entry. */
static void check_near(const struct world *w, double score, struct bytes member)
{
    struct zorder_pos pos = {0};
    uint32_t low = 0;

    while (low < w->count && w->entry[low].score < score)
        low++;
    uint32_t high = low;
    while (high < w->count && w->entry[high].score == score)
        high++;
    expect_u64(zorder_rank(&w->z, score, member), model_rank(w, score, member));
    expect_u64(zorder_rank_score(&w->z, score, false), low);
    expect_u64(zorder_rank_score(&w->z, score, true), high);
    expect_pos(w, zorder_at(&w->z, high, &pos), &pos, high);
}

static double score_any(struct world *w, uint64_t spread)
{
    switch (rng_below(&w->rng, 40)) {
    case 0:
        return HUGE_VAL;
    case 1:
        return -HUGE_VAL;
    case 2:
        return -0.0;
    case 3:
        return 0.0;
    default:
        return ((double)rng_below(&w->rng, spread) - (double)spread / 2) / 4;
    }
}

static void check_some(struct world *w, uint64_t spread)
{
    check_order(w);
    for (int i = 0; i < 40; i++) {
        check_near(w, score_any(w, spread), BYTES_LIT("m1"));
        if (w->count == 0)
            continue;
        const struct entry *e = &w->entry[rng_below(&w->rng, w->count)];
        check_near(w, e->score, elem_sub(e->elem));
    }
}

static void random_changes_match_the_model(void **state UNUSED)
{
    static const uint64_t spreads[] = {1, 10, 1000, UINT64_C(1) << 50};
    static const uint32_t sizes[] = {5, 70, 700, 7000};
    struct world *w = world_new(1);

    for (size_t round = 0; round < ARRAY_COUNT(spreads) * ARRAY_COUNT(sizes); round++) {
        const uint64_t spread = spreads[round % 4];
        const uint32_t size = sizes[round / 4];
        for (uint32_t up = 10; up-- > 0;) {
            for (uint32_t step = 0; step < size / 2; step++) {
                if (w->count == 0 || rng_below(&w->rng, 10) < up)
                    add(w, score_any(w, spread));
                else if (rng_below(&w->rng, 4) == 0)
                    move(w, (uint32_t)rng_below(&w->rng, w->count));
                else
                    drop(w, (uint32_t)rng_below(&w->rng, w->count));
            }
            if (up % 3 == 0)
                check_some(w, spread);
        }
        while (w->count > 0)
            drop(w, (uint32_t)rng_below(&w->rng, w->count));
        expect_u64(zorder_bytes(&w->z), 0);
        check_some(w, spread);
    }
    world_free(w);
}

static void both_ends_work_as_queues(void **state UNUSED)
{
    struct world *w = world_new(2);

    for (uint32_t way = 0; way < 8; way++) {
        const bool down = (way & 1) != 0;
        for (uint32_t i = 0; i < 5000; i++) {
            add(w, down ? -(double)i : (double)i);
            if ((way & 2) != 0 && i >= 1000)
                drop(w, (way & 4) != 0 ? 0 : w->count - 1);
        }
        check_order(w);
        while (w->count > 0) {
            drop(w, (way & 4) != 0 ? 0 : w->count - 1);
            if (w->count % 1111 == 0)
                check_order(w);
        }
        expect_u64(zorder_bytes(&w->z), 0);
    }
    world_free(w);
}

/* Every entry changes its address, those that the inner nodes know included. */
static void all_elements_may_move(void **state UNUSED)
{
    struct world *w = world_new(3);

    for (uint32_t i = 0; i < 10000; i++)
        add(w, (double)rng_below(&w->rng, 3));
    for (uint32_t i = 0; i < w->count; i++)
        move(w, i);
    check_order(w);
    for (uint32_t i = 0; i < w->count; i += 97)
        check_near(w, w->entry[i].score, elem_sub(w->entry[i].elem));
    while (w->count > 0) {
        const uint32_t at = (uint32_t)rng_below(&w->rng, w->count);
        move(w, at);
        drop(w, at);
    }
    world_free(w);
}

static void members_of_one_score_are_sought_by_bytes(void **state UNUSED)
{
    static const uint32_t sizes[] = {0, 1, 60, 5000};
    struct world *w = world_new(4);
    char text[8];

    for (size_t s = 0; s < ARRAY_COUNT(sizes); s++) {
        while (w->count < sizes[s])
            add(w, 0.0);
        for (uint32_t i = 0; i < 2000; i++) {
            const int len =
                snprintf(text, sizeof(text), "%c%u", (int)('a' + rng_below(&w->rng, 28)),
                         (unsigned)rng_below(&w->rng, 5000));
            const struct bytes member = bytes_of(text, (size_t)len);
            const uint32_t low = model_rank(w, 0.0, member);
            const bool there = low < w->count && bytes_eq(elem_sub(w->entry[low].elem), member);
            const uint32_t high = low + there;
            expect_u64(zorder_rank_lex(&w->z, member, false), low);
            expect_u64(zorder_rank_lex(&w->z, member, true), high);
        }
    }
    world_free(w);
}

static void an_entry_costs_about_20_bytes(void **state UNUSED)
{
    for (uint32_t way = 0; way < 3; way++) {
        struct world *w = world_new(5);
        for (uint32_t i = 0; i < 12000; i++) {
            add(w, way == 0 ? (double)(rng_u64(&w->rng) >> 12) : way == 1 ? (double)i : -(double)i);
        }
        assert_true(zorder_bytes(&w->z) < w->count * 20);
        world_free(w);
    }
}

static void removal_gives_memory_back(void **state UNUSED)
{
    struct world *w = world_new(6);

    for (uint32_t i = 0; i < 12000; i++)
        add(w, (double)(rng_u64(&w->rng) >> 12));
    while (w->count > 600)
        drop(w, (uint32_t)rng_below(&w->rng, w->count));
    assert_true(zorder_bytes(&w->z) < w->count * 32);
    check_order(w);
    world_free(w);
}

static void an_empty_index_allocates_nothing(void **state UNUSED)
{
    struct zorder z;
    struct zorder_pos pos;

    zorder_init(&z);
    expect_u64(zorder_bytes(&z), 0);
    assert_false(zorder_first(&z, &pos));
    assert_false(zorder_last(&z, &pos));
    assert_false(zorder_at(&z, 0, &pos));
    expect_u64(zorder_rank(&z, 1, BYTES_LIT("a")), 0);
    zorder_deinit(&z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_index_allocates_nothing),
        cmocka_unit_test(random_changes_match_the_model),
        cmocka_unit_test(both_ends_work_as_queues),
        cmocka_unit_test(all_elements_may_move),
        cmocka_unit_test(members_of_one_score_are_sought_by_bytes),
        cmocka_unit_test(an_entry_costs_about_20_bytes),
        cmocka_unit_test(removal_gives_memory_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
