/*
 * Draws among the rows of a set: each element as often as the others, none twice where that is
 * asked for, no garbage; with any budget of steps. Seeds are fixed, hence the counts are.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/num.h"

#include "engine/space/colldraw.h"
#include "engine/space/keyspace.h"
#include "engine/store/store.h"
#include "engine/store/store_batch.h"
#include "engine/store/store_mem.h"
#include "engine/value/row.h"
#include "engine/value/rowkey.h"

#include "tests/lib/tcase.h"

#define HASH_SEED 5
#define MEMBERS   400u
/* As many draws of each, on average: the deviation is 10. */
#define TIMES 100u
#define FEW   300u
#define MANY  500u

static const struct tag hidden = {.hlc = 100, .origin = 1};

struct fixture {
    struct store_mem_disk *disk;
    struct store *store;
    struct store_iter *it;
    uint8_t prefix[64];
    uint8_t upper[64];
    size_t prefix_len;
};

static void put_member(struct store_batch *batch, const struct ks_key *key, uint32_t member,
                       uint64_t hlc)
{
    char text[24];
    uint8_t at[64], row[32];
    const struct tag tag = {.hlc = hlc, .origin = 1};
    const struct bytes sub = bytes_of(text, (size_t)snprintf(text, sizeof(text), "%u", member));
    const size_t len = rowkey_store_elem(at, key->slot, key->hash, key->name, ROWKEY_KIND_SET, sub);

    assert_int_equal(
        store_batch_put(batch, bytes_of(at, len),
                        bytes_of(row, row_value_store(row, tag, bytes_of(NULL, 0), 0))),
        0);
}

/* A set of `count` members, and as many rows of garbage; another one behind it. */
static void fixture_open(struct fixture *f, uint32_t count)
{
    const struct store_options options = {.dir = NULL};
    const struct ks_key key = ks_key_of(BYTES_LIT("set"), HASH_SEED);
    struct ks_key next = key;
    struct store_batch batch;

    f->disk = store_mem_disk_create();
    assert_int_equal(store_mem_open(f->disk, &options, &f->store), 0);
    store_batch_init(&batch, 1u << 20);
    next.name = BYTES_LIT("seu");
    for (uint32_t i = 0; i < count; i++) {
        put_member(&batch, &key, i, 200);
        put_member(&batch, &key, MEMBERS + i, 50);
        put_member(&batch, &next, i, 200);
    }
    assert_int_equal(store_write(f->store, &batch, 0), 0);
    store_batch_deinit(&batch);
    f->prefix_len = rowkey_store_prefix(f->prefix, key.slot, key.hash, key.name);
    f->prefix[f->prefix_len++] = ROWKEY_KIND_SET;
    memcpy(f->upper, f->prefix, f->prefix_len);
    f->upper[f->prefix_len - 1]++;
    const struct store_iter_options bounds = {.lower = bytes_of(f->prefix, f->prefix_len),
                                              .upper = bytes_of(f->upper, f->prefix_len)};
    assert_int_equal(store_iter_open(f->store, &bounds, &f->it), 0);
}

static void fixture_close(struct fixture *f)
{
    store_iter_close(f->it);
    store_close(f->store);
    store_mem_disk_destroy(f->disk);
}

/* Counts how often each member comes in `n` draws. */
static void draw(struct fixture *f, const struct colldraw_options *options, uint32_t *times)
{
    struct colldraw *d = colldraw_create(options);
    struct colldraw_row row;
    int64_t cost = 1, member;
    int err = 0;

    memset(times, 0, MEMBERS * sizeof(*times));
    while (colldraw_left(d) != 0) {
        switch (colldraw_next(d, f->it, &cost, &row, &err)) {
        case COLLDRAW_ROW:
            assert_true(num_parse_i64(row.sub, &member) && member >= 0 && member < MEMBERS);
            times[member]++;
            break;
        case COLLDRAW_PAUSE:
            assert_true(cost <= 0);
            cost = 100;
            break;
        case COLLDRAW_FAILED:
            fail_msg("%s", err_str(err));
        }
    }
    colldraw_destroy(d);
}

static struct colldraw_options options_of(const struct fixture *f, uint64_t count, uint64_t n)
{
    return (struct colldraw_options){.prefix = bytes_of(f->prefix, f->prefix_len),
                                     .hidden = &hidden,
                                     .count = count,
                                     .n = n,
                                     .seed = 7};
}

static void each_is_as_likely_as_the_others(void **state)
{
    struct fixture f;
    uint32_t times[MEMBERS];

    (void)state;
    fixture_open(&f, MEMBERS);
    const struct colldraw_options options = options_of(&f, MEMBERS, (uint64_t)MEMBERS * TIMES);
    draw(&f, &options, times);
    for (uint32_t i = 0; i < MEMBERS; i++)
        assert_in_range(times[i], TIMES - 50, TIMES + 50); /* Five deviations. */
    fixture_close(&f);
}

static void none_is_drawn_twice(void **state)
{
    struct fixture f;
    uint32_t times[MEMBERS], drawn = 0;

    (void)state;
    fixture_open(&f, MEMBERS);
    struct colldraw_options options = options_of(&f, MEMBERS, MEMBERS / 2);
    options.distinct = true;
    draw(&f, &options, times);
    for (uint32_t i = 0; i < MEMBERS; i++) {
        assert_true(times[i] <= 1);
        drawn += times[i];
    }
    assert_int_equal(drawn, MEMBERS / 2);
    fixture_close(&f);
}

/* Windows that are empty, or all in one. */
static void counts_may_be_wrong(void **state)
{
    static const uint64_t counts[] = {1, 3, MANY, 20000};
    struct fixture f;
    uint32_t times[MEMBERS];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        fixture_open(&f, FEW);
        const struct colldraw_options options = options_of(&f, counts[i], 200);
        draw(&f, &options, times);
        for (uint32_t k = FEW; k < MEMBERS; k++)
            assert_int_equal(times[k], 0);
        fixture_close(&f);
    }
}

static void a_set_without_members_is_damage(void **state)
{
    struct fixture f;
    struct colldraw_row row;
    int64_t cost = INT64_MAX;
    int err = 0;

    (void)state;
    fixture_open(&f, 0);
    const struct colldraw_options options = options_of(&f, 5, 1);
    struct colldraw *d = colldraw_create(&options);
    assert_int_equal(colldraw_next(d, f.it, &cost, &row, &err), COLLDRAW_FAILED);
    assert_int_equal(err, -ERR_CORRUPT);
    colldraw_destroy(d);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_is_as_likely_as_the_others),
        cmocka_unit_test(none_is_drawn_twice),
        cmocka_unit_test(counts_may_be_wrong),
        cmocka_unit_test(a_set_without_members_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
