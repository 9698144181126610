/*
 * The table of those who wait for keys: order, readiness, who is under way.
 */
#include <stdio.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/value/row.h"

#include "server/blocked.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

static struct ks_key key_of(const char *name)
{
    return ks_key_of(bytes_cstr(name), 1);
}

static struct blocked_table *t;

static void wait_for(struct blocked *b, uint8_t type, const char *a, const char *other)
{
    const struct ks_key keys[] = {key_of(a), key_of(other)};

    assert_true(blocked_add(t, b, type, keys, 2));
}

static void touch(const char *name)
{
    const struct ks_key key = key_of(name);

    blocked_touch(t, &key);
}

/* The next ready key must be `name`. */
static struct blocked_key *take(const char *name)
{
    struct blocked_key *key = blocked_take_ready(t);

    assert_non_null(key);
    expect_bytes(blocked_name(key).name, bytes_cstr(name));
    return key;
}

static int setup(void **state UNUSED)
{
    t = blocked_create();
    return 0;
}

static int teardown(void **state UNUSED)
{
    blocked_destroy(t);
    return 0;
}

static void the_oldest_waiter_of_a_type_is_tried_first(void **state UNUSED)
{
    struct blocked a = {0}, b = {0}, z = {0};

    wait_for(&z, VT_ZSET, "k", "m");
    wait_for(&a, VT_LIST, "k", "l");
    wait_for(&b, VT_LIST, "l", "k");
    expect_u64(blocked_count(t), 3);
    touch("k");
    struct blocked_key *key = take("k");
    assert_ptr_equal(blocked_try(key, VT_LIST), &a);
    /* Nobody behind one that is under way. */
    assert_null(blocked_try(key, VT_LIST));
    assert_ptr_equal(blocked_try(key, VT_ZSET), &z);
    blocked_remove(t, &a);
    assert_ptr_equal(blocked_try(key, VT_LIST), &b);
    blocked_remove(t, &b);
    blocked_remove(t, &z);
    blocked_release(t, key);
    expect_u64(blocked_count(t), 0);
}

static void keys_are_ready_in_the_order_of_touches_and_once(void **state UNUSED)
{
    struct blocked a = {0};

    wait_for(&a, VT_LIST, "k", "l");
    touch("other");
    assert_false(blocked_any_ready(t));
    touch("l");
    touch("k");
    touch("l");
    blocked_release(t, take("l"));
    blocked_release(t, take("k"));
    assert_null(blocked_take_ready(t));
    blocked_remove(t, &a);
}

static void who_was_tried_in_vain_keeps_its_place_and_lets_others_try(void **state UNUSED)
{
    struct blocked a = {0}, b = {0};
    const struct ks_key k = key_of("k"), l = key_of("l");

    wait_for(&a, VT_LIST, "k", "l");
    wait_for(&b, VT_LIST, "k", "l");
    touch("k");
    struct blocked_key *key = take("k");
    assert_ptr_equal(blocked_try(key, VT_LIST), &a);
    assert_true(blocked_looks_at(&a, &k));
    assert_false(blocked_looks_at(&a, &l));
    blocked_release(t, key);
    blocked_again(t, &a);
    assert_true(blocked_looks_at(&a, &l));
    /* Both keys: something may have come to either while it was under way. */
    key = take("k");
    assert_ptr_equal(blocked_try(key, VT_LIST), &a);
    blocked_remove(t, &a);
    assert_ptr_equal(blocked_try(key, VT_LIST), &b);
    blocked_release(t, key);
    blocked_release(t, take("l"));
    blocked_remove(t, &b);
}

static void a_taken_key_outlives_its_last_waiter(void **state UNUSED)
{
    struct blocked a = {0};

    wait_for(&a, VT_LIST, "k", "k");
    expect_u64(a.places_count, 1);
    touch("k");
    struct blocked_key *key = take("k");
    blocked_remove(t, &a);
    blocked_remove(t, &a);
    assert_null(blocked_try(key, VT_LIST));
    blocked_release(t, key);
}

static void more_keys_than_the_limit_are_refused(void **state UNUSED)
{
    const uint32_t n = BLOCKED_PLACES_MAX;
    struct blocked a = {0}, b = {0};
    struct ks_key *keys = mem_zalloc_array(n, sizeof(*keys));
    const size_t before = blocked_table_bytes(t);

    for (uint32_t i = 0; i < n; i++)
        keys[i] = key_of("k");
    assert_true(blocked_add(t, &a, VT_LIST, keys, n));
    assert_false(blocked_add(t, &b, VT_LIST, keys, 1));
    assert_true(blocked_table_bytes(t) >= before + blocked_bytes(&a));
    blocked_remove(t, &a);
    assert_true(blocked_add(t, &b, VT_LIST, keys, 1));
    blocked_remove(t, &b);
    expect_u64(blocked_table_bytes(t), before);
    mem_free(keys);
}

#define WAITERS 200
#define STEPS   20000

/* The waiter that came first among those of `name`, by a plain list. */
static void a_random_run_agrees_with_a_plain_list(void **state UNUSED)
{
    struct blocked waiters[WAITERS] = {0};
    uint64_t came[WAITERS] = {0};
    char wants[WAITERS][2][8];
    struct rng rng;

    seed_rng(&rng, 1);
    for (uint64_t step = 1; step <= STEPS; step++) {
        const uint32_t i = (uint32_t)rng_below(&rng, WAITERS);
        char name[8];
        (void)snprintf(name, sizeof(name), "k%u", (unsigned)rng_below(&rng, 300));
        if (came[i] == 0) {
            for (int k = 0; k < 2; k++)
                (void)snprintf(wants[i][k], sizeof(wants[i][k]), "k%u",
                               (unsigned)rng_below(&rng, 300));
            wait_for(&waiters[i], VT_LIST, wants[i][0], wants[i][1]);
            came[i] = step;
            continue;
        }
        if (rng_below(&rng, 2) == 0) {
            blocked_remove(t, &waiters[i]);
            came[i] = 0;
            continue;
        }
        touch(name);
        struct blocked *oldest = NULL;
        for (uint32_t w = 0; w < WAITERS; w++) {
            if (came[w] != 0 && (oldest == NULL || came[w] < came[oldest - waiters]) &&
                (strcmp(wants[w][0], name) == 0 || strcmp(wants[w][1], name) == 0))
                oldest = &waiters[w];
        }
        struct blocked_key *key = blocked_take_ready(t);
        assert_int_equal(key != NULL, oldest != NULL);
        if (key == NULL)
            continue;
        assert_ptr_equal(blocked_try(key, VT_LIST), oldest);
        blocked_release(t, key);
        blocked_remove(t, oldest);
        came[oldest - waiters] = 0;
        while ((key = blocked_take_ready(t)) != NULL)
            blocked_release(t, key);
    }
    for (uint32_t w = 0; w < WAITERS; w++)
        blocked_remove(t, &waiters[w]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_oldest_waiter_of_a_type_is_tried_first),
        TEST(keys_are_ready_in_the_order_of_touches_and_once),
        TEST(who_was_tried_in_vain_keeps_its_place_and_lets_others_try),
        TEST(a_taken_key_outlives_its_last_waiter),
        TEST(more_keys_than_the_limit_are_refused),
        TEST(a_random_run_agrees_with_a_plain_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
