/*
 * Which collections are too large to be loaded: in random orders against a model that keeps a line
 * for each key, at the bounds, and as loads of sets meet it.
 */
#include "engine/base/err.h"

#include "engine/space/ks_state.h"
#include "engine/value/row.h"

#include "tests/lib/seed.h"
#include "tests/unit/test_keyspace_fixture.h"

/* What a note is good for until it is tried again. */
#define ASKS_MAX 1024u

#define NAMES 300u
#define STEPS 200000u
#define LIMIT 4096u
#define MANY  4000u

/* --- the table alone --- */

struct line {
    uint64_t hash;
    uint64_t limit; /* 0: nothing is known. */
    uint64_t loaded;
    uint32_t asks;
};

struct world {
    struct core c;
    struct rng rng;
    struct line lines[NAMES];
};

/* Of the hash modulo the size of the table only one is remembered: the last. */
static void model_note(struct world *w, struct line *line, uint64_t loaded)
{
    for (unsigned i = 0; i < NAMES; i++) {
        if (w->lines[i].hash % KS_TOO_LARGE == line->hash % KS_TOO_LARGE)
            w->lines[i].limit = 0;
    }
    line->limit = w->c.ks->scan_bytes_max;
    line->loaded = loaded;
    line->asks = 0;
}

static bool model_ask(const struct world *w, struct line *line, uint64_t count)
{
    if (line->limit == 0 || line->limit < w->c.ks->scan_bytes_max || count < line->loaded)
        return false;
    if (line->asks == ASKS_MAX)
        return false;
    line->asks++;
    return true;
}

/* Some of another place, some of the same. */
static void name_all(struct world *w)
{
    for (unsigned i = 0; i < NAMES; i++) {
        const uint64_t above = rng_u64(&w->rng) / KS_TOO_LARGE * KS_TOO_LARGE;
        const uint64_t place = rng_below(&w->rng, i % 3 == 0 ? 2 : KS_TOO_LARGE);
        w->lines[i] = (struct line){.hash = above + place};
    }
    w->lines[0].hash = 0; /* As a place that was never used. */
}

static void step(struct world *w)
{
    struct line *line = &w->lines[rng_below(&w->rng, NAMES)];
    struct coll coll = {.hash = line->hash};
    const uint64_t what = rng_below(&w->rng, 1000);

    if (what < 150) {
        const uint64_t loaded = rng_below(&w->rng, 1000);
        ks_too_large_note(w->c.ks, &coll, loaded);
        model_note(w, line, loaded);
    } else if (what < 250) {
        const struct ks_key key = {.hash = line->hash};
        ks_too_large_forget(w->c.ks, &key);
        line->limit = 0;
    } else if (what < 280) {
        ks_set_scan_bytes_max(w->c.ks, LIMIT + rng_below(&w->rng, 3));
    } else if (what < 282) {
        ks_too_large_clear(w->c.ks);
        for (unsigned i = 0; i < NAMES; i++)
            w->lines[i].limit = 0;
    } else {
        /* Often as many as at the bound; seldom as often as until the next try. */
        const uint64_t times = rng_below(&w->rng, 500) == 0 ? ASKS_MAX + 3 : 1;
        for (uint64_t i = 0; i < times; i++) {
            coll.count = rng_below(&w->rng, 2) == 0 ? line->loaded + rng_below(&w->rng, 2) - 1
                                                    : rng_below(&w->rng, 1000);
            assert_int_equal(ks_too_large(w->c.ks, &coll), model_ask(w, line, coll.count));
        }
    }
}

static void the_table_does_as_its_model(void **state)
{
    static struct world w;

    (void)state;
    core_init(&w.c);
    seed_rng(&w.rng, 2);
    name_all(&w);
    for (unsigned i = 0; i < STEPS; i++)
        step(&w);
    core_deinit(&w.c);
}

static void nothing_is_too_large_that_was_not_noted(void **state)
{
    static struct core c;

    (void)state;
    core_init(&c);
    for (uint64_t hash = 0; hash <= 2 * KS_TOO_LARGE; hash++) {
        const struct coll coll = {.hash = hash, .count = UINT64_MAX};
        assert_false(ks_too_large(c.ks, &coll));
    }
    core_deinit(&c);
}

static void a_note_holds_for_as_many_elements_as_were_loaded(void **state)
{
    static struct core c;
    struct coll coll = {.hash = KS_TOO_LARGE + 5};
    const struct ks_key other = {.hash = 5};

    (void)state;
    core_init(&c);
    ks_set_scan_bytes_max(c.ks, LIMIT);
    ks_too_large_note(c.ks, &coll, 100);
    ks_too_large_forget(c.ks, &other); /* Of the same place. */
    coll.count = 99;
    assert_false(ks_too_large(c.ks, &coll));
    coll.count = 100;
    assert_true(ks_too_large(c.ks, &coll));
    /* With more memory it is worth a try, with less it is not. */
    ks_set_scan_bytes_max(c.ks, LIMIT + 1);
    assert_false(ks_too_large(c.ks, &coll));
    ks_set_scan_bytes_max(c.ks, LIMIT - 1);
    assert_true(ks_too_large(c.ks, &coll));
    const struct coll second = {.hash = 5, .count = 101};
    assert_false(ks_too_large(c.ks, &second));
    ks_too_large_note(c.ks, &second, 100);
    assert_false(ks_too_large(c.ks, &coll));
    assert_true(ks_too_large(c.ks, &second));
    core_deinit(&c);
}

/* --- loads --- */

static uint64_t loads(const struct core *c)
{
    return ks_metrics(c->ks)->scans;
}

static int load_in_vain(struct core *c, const struct ks_key *key)
{
    const int err = load_whole(c, key);

    ks_wait_unpin(&c->wait);
    c->wait.err = 0; /* For the next one. */
    return err;
}

/* A set on flash that is larger than what may be loaded, as one load has found. */
static struct ks_key meet_large_set(struct core *c, char name[16])
{
    const struct ks_key key = key_of(1, name);

    core_init(c);
    ks_set_scan_bytes_max(c->ks, LIMIT);
    add_some(c, &key, MANY);
    chill(c);
    assert_int_equal(load_in_vain(c, &key), -ERR_LIMIT);
    expect_u64(loads(c), 1);
    return key;
}

static void leave(struct core *c, const struct ks_key *key)
{
    ks_wait_unpin(&c->wait);
    chill(c);
    assert_null(ks_peek_coll(c->ks, key));
}

/* Also when it has left DRAM. */
static void a_set_is_loaded_in_vain_once_in_many_times(void **state)
{
    static struct core c;
    char name[16];

    (void)state;
    const struct ks_key key = meet_large_set(&c, name);
    for (unsigned i = 0; i < ASKS_MAX; i++) {
        if (i % 200 == 0)
            leave(&c, &key);
        assert_int_equal(load_in_vain(&c, &key), -ERR_LIMIT);
    }
    expect_u64(loads(&c), 1);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(load_in_vain(&c, &key), -ERR_LIMIT);
    expect_u64(loads(&c), 2);
    core_deinit(&c);
}

static void with_more_memory_it_is_loaded(void **state)
{
    static struct core c;
    char name[16];

    (void)state;
    const struct ks_key key = meet_large_set(&c, name);
    ks_set_scan_bytes_max(c.ks, 1u << 20);
    assert_int_equal(load_whole(&c, &key), 0);
    assert_true(ks_peek_coll(c.ks, &key)->complete);
    expect_u64(loads(&c), 2);
    leave(&c, &key);
    ks_set_scan_bytes_max(c.ks, LIMIT);
    assert_int_equal(load_in_vain(&c, &key), -ERR_LIMIT);
    expect_u64(loads(&c), 2);
    core_deinit(&c);
}

static struct bytes member_of(unsigned i, char text[16])
{
    return bytes_of(text, (size_t)snprintf(text, 16, "member:%u", i));
}

/* Read together, not one after the other. */
static void need_some(struct core *c, const struct ks_key *key, unsigned first, unsigned end)
{
    char text[16];
    int waiting;

    do {
        waiting = 0;
        for (unsigned i = first; i < end; i++)
            waiting += ks_need_elem(c->ks, key, member_of(i, text), &c->wait);
        wait_ready(c);
    } while (waiting != 0);
}

static void remove_some(struct core *c, const struct ks_key *key, unsigned first, unsigned end)
{
    char text[16];

    need_key(c, key);
    need_some(c, key, first, end);
    mut_begin(c->mut, NOW_MS);
    struct coll *coll = mut_coll(c->mut, key, VT_SET);
    for (unsigned i = first; i < end; i++)
        assert_true(mut_elem_del(c->mut, coll, member_of(i, text)));
    (void)mut_end(c->mut);
    ks_wait_unpin(&c->wait);
}

static void when_few_are_left_it_is_loaded(void **state)
{
    static struct core c;
    char name[16];

    (void)state;
    const struct ks_key key = meet_large_set(&c, name);
    remove_some(&c, &key, 10, MANY);
    chill(&c);
    assert_int_equal(load_whole(&c, &key), 0);
    expect_u64(ks_peek_coll(c.ks, &key)->count, 10);
    ks_wait_unpin(&c.wait);
    core_deinit(&c);
}

/* Another one of that name may have smaller elements. */
static void a_set_that_is_gone_is_forgotten(void **state)
{
    static struct core c;
    char name[16];

    (void)state;
    const struct ks_key key = meet_large_set(&c, name);
    need_key(&c, &key);
    delete (&c, &key);
    ks_wait_unpin(&c.wait);
    add_some(&c, &key, MANY);
    chill(&c);
    assert_int_equal(load_in_vain(&c, &key), -ERR_LIMIT);
    expect_u64(loads(&c), 2);
    core_deinit(&c);
}

static void after_a_flush_all_are_forgotten(void **state)
{
    static struct core c;
    char name[16];

    (void)state;
    const struct ks_key key = meet_large_set(&c, name);
    const struct coll coll = {.hash = key.hash, .count = MANY};
    settle(&c);
    assert_true(ks_too_large(c.ks, &coll));
    ks_clear(c.ks);
    assert_false(ks_too_large(c.ks, &coll));
    settle(&c);
    core_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_does_as_its_model),
        cmocka_unit_test(nothing_is_too_large_that_was_not_noted),
        cmocka_unit_test(a_note_holds_for_as_many_elements_as_were_loaded),
        cmocka_unit_test(a_set_is_loaded_in_vain_once_in_many_times),
        cmocka_unit_test(with_more_memory_it_is_loaded),
        cmocka_unit_test(when_few_are_left_it_is_loaded),
        cmocka_unit_test(a_set_that_is_gone_is_forgotten),
        cmocka_unit_test(after_a_flush_all_are_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
