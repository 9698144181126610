/*
 * The table of keys and who may have them, against a plain list of pairs.
 */
#include <stdio.h>

#include "engine/base/num.h"
#include "engine/base/rng.h"

#include "server/tracktab.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define NAMES 300
#define IDS   8

static uint64_t hash_of(uint32_t name)
{
    return name % 40; /* Many share one. */
}

static struct bytes text_of(uint32_t name, char text[16])
{
    return bytes_of(text, (size_t)snprintf(text, 16, "key:%u", name));
}

static uint32_t number_of(const struct tracktab_entry *e)
{
    const struct bytes digits = bytes_from(tracktab_name(e), sizeof("key:") - 1);
    int64_t number = -1;

    assert_true(num_parse_i64(digits, &number) && number >= 0 && number < NAMES);
    return (uint32_t)number;
}

struct model {
    bool has[NAMES][IDS];
    uint64_t keys;
    uint64_t items;
};

static void model_forget(struct model *m, uint32_t name)
{
    uint64_t held = 0;

    for (uint32_t i = 0; i < IDS; i++) {
        held += m->has[name][i];
        m->has[name][i] = false;
    }
    m->items -= held;
    m->keys -= held != 0;
}

static void expect_entry(const struct model *m, uint32_t name, const struct tracktab_entry *e)
{
    char text[16];
    uint32_t n = 0;

    expect_bytes(tracktab_name(e), text_of(name, text));
    for (uint32_t i = 0; i < IDS; i++) {
        if (!m->has[name][i])
            continue;
        assert_true(n < e->ids_count);
        expect_u64(e->ids[n++], i);
    }
    expect_u64(e->ids_count, n);
    assert_true(n != 0);
}

static void add(struct tracktab *t, struct model *m, uint32_t name, uint32_t id)
{
    bool known = false;
    char text[16];

    for (uint32_t i = 0; i < IDS; i++)
        known |= m->has[name][i];
    m->keys += !known;
    m->items += !m->has[name][id];
    m->has[name][id] = true;
    tracktab_add(t, text_of(name, text), hash_of(name), id);
}

static void random_changes_agree_with_a_list_of_pairs(void **state UNUSED)
{
    struct tracktab t = {0};
    struct model m = {0};
    struct rng rng;
    char text[16];

    seed_rng(&rng, 1);
    for (uint32_t step = 0; step < 20000; step++) {
        uint32_t name = (uint32_t)rng_below(&rng, NAMES);
        struct tracktab_entry *e = NULL;
        if (rng_below(&rng, 4) != 0) {
            add(&t, &m, name, (uint32_t)rng_below(&rng, IDS));
        } else if (rng_below(&rng, 4) != 0) {
            e = tracktab_take(&t, text_of(name, text), hash_of(name));
        } else {
            e = tracktab_take_any(&t, &rng);
            assert_int_equal(e == NULL, m.keys == 0);
            if (e != NULL)
                name = number_of(e);
        }
        if (e != NULL) {
            expect_entry(&m, name, e);
            tracktab_free(e);
            model_forget(&m, name);
        }
        expect_u64(t.count, m.keys);
        expect_u64(t.items, m.items);
    }
    tracktab_deinit(&t);
    expect_u64(t.bytes, 0);
}

static void bytes_are_those_of_the_buckets_when_nothing_is_left(void **state UNUSED)
{
    struct tracktab t = {0};
    struct model m = {0};
    struct rng rng;

    rng_seed(&rng, 1);
    for (uint32_t name = 0; name < NAMES; name++) {
        for (uint32_t id = IDS; id > 0; id--)
            add(&t, &m, name, id - 1);
    }
    assert_true(t.bytes > NAMES * (sizeof(struct tracktab_entry) + IDS * sizeof(uint64_t)));
    for (struct tracktab_entry *e; (e = tracktab_take_any(&t, &rng)) != NULL;)
        tracktab_free(e);
    expect_u64(t.bytes, t.buckets_count * sizeof(struct tracktab_entry *));
    tracktab_deinit(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_changes_agree_with_a_list_of_pairs),
        cmocka_unit_test(bytes_are_those_of_the_buckets_when_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
