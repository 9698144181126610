/*
 * The store in memory beyond the common contract: its map against a plain array, and its faults.
 */
#include <errno.h>

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/store/store.h"
#include "engine/store/store_map.h"
#include "engine/store/store_mem.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define KEYS     3000
#define STEPS    40000
#define VERSIONS 8

/* --- the map --- */

struct version {
    struct store_map *map;
    uint64_t values[KEYS]; /* 0: absent. */
};

static struct bytes map_key(size_t index, uint8_t *out)
{
    be32_store(out, (uint32_t)index);
    return bytes_of(out, 4);
}

static void expect_version(const struct version *v)
{
    struct map_place place = map_first(v->map);
    uint8_t key[4];
    size_t count = 0;

    for (size_t i = 0; i < KEYS; i++) {
        const struct map_entry *e = map_find(v->map, map_key(i, key));
        if (v->values[i] == 0) {
            assert_null(e);
            continue;
        }
        count++;
        assert_non_null(e);
        expect_u64(le64_load(map_entry_value(e).ptr), v->values[i]);
        assert_ptr_equal(map_at(v->map, place), e);
        place = map_next(v->map, place);
    }
    assert_null(map_at(v->map, place));
    expect_u64(map_count(v->map), count);
    expect_u64(map_bytes(v->map), count * 12);
    place = map_last(v->map);
    for (size_t i = 0; i < count; i++)
        place = map_prev(v->map, place);
    assert_null(map_at(v->map, place));
}

static void map_step(struct version *v, struct rng *rng)
{
    uint8_t key[4];
    uint8_t value[8];
    /* Runs of neighbours, so that chunks fill, split and empty. */
    const size_t start = rng_below(rng, KEYS);
    const size_t n = size_min(KEYS - start, 1 + rng_below(rng, rng_below(rng, 50) == 0 ? 500 : 4));
    const bool remove = rng_below(rng, 2) == 0;

    for (size_t i = start; i < start + n; i++) {
        if (remove) {
            assert_int_equal(map_remove(&v->map, map_key(i, key)), v->values[i] != 0);
            v->values[i] = 0;
            continue;
        }
        v->values[i] = 1 + rng_below(rng, UINT64_MAX);
        le64_store(value, v->values[i]);
        map_put(&v->map, map_key(i, key), bytes_of(value, sizeof(value)));
    }
}

static void map_keeps_its_versions(void **state)
{
    struct version *live = mem_zalloc(sizeof(*live));
    struct version *old = mem_zalloc_array(VERSIONS, sizeof(*old));
    struct rng rng;

    (void)state;
    seed_rng(&rng, 1);
    live->map = map_create();
    for (size_t i = 0; i < VERSIONS; i++)
        old[i].map = map_create();
    for (size_t step = 0; step < STEPS; step++) {
        map_step(live, &rng);
        if (rng_below(&rng, 1000) != 0)
            continue;
        struct version *v = &old[rng_below(&rng, VERSIONS)];
        expect_version(v);
        map_unref(v->map);
        memcpy(v->values, live->values, sizeof(v->values));
        v->map = map_ref(live->map);
    }
    expect_version(live);
    map_unref(live->map);
    for (size_t i = 0; i < VERSIONS; i++) {
        expect_version(&old[i]);
        map_unref(old[i].map);
    }
    mem_free(live);
    mem_free(old);
}

static void map_seeks_both_ways(void **state)
{
    struct store_map *map = map_create();
    uint8_t key[4];

    (void)state;
    assert_null(map_at(map, map_seek(map, map_key(1, key))));
    assert_null(map_at(map, map_seek_prev(map, map_key(1, key))));
    for (size_t i = 10; i < 5000; i += 10)
        map_put(&map, map_key(i, key), bytes_cstr("v"));
    for (size_t i = 0; i < 5010; i++) {
        const struct map_entry *at = map_at(map, map_seek(map, map_key(i, key)));
        const struct map_entry *before = map_at(map, map_seek_prev(map, map_key(i, key)));
        if (i > 4990)
            assert_null(at);
        else
            expect_u64(be32_load(map_entry_key(at).ptr), i <= 10 ? 10 : (i + 9) / 10 * 10);
        if (i < 10)
            assert_null(before);
        else
            expect_u64(be32_load(map_entry_key(before).ptr), size_min(i / 10 * 10, 4990));
    }
    map_unref(map);
}

/* --- faults --- */

struct fixture {
    struct store_mem_disk *disk;
    struct store *store;
    struct store_batch batch;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    const struct store_options options = {.dir = NULL};

    f->disk = store_mem_disk_create();
    store_batch_init(&f->batch, 1 << 16);
    *state = f;
    return store_mem_open(f->disk, &options, &f->store);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    store_close(f->store);
    store_mem_disk_destroy(f->disk);
    store_batch_deinit(&f->batch);
    mem_free(f);
    return 0;
}

static int write_row(struct fixture *f, const char *key, const char *row, uint32_t flags)
{
    store_batch_clear(&f->batch);
    assert_int_equal(store_batch_put(&f->batch, bytes_cstr(key), bytes_cstr(row)), 0);
    return store_write(f->store, &f->batch, flags);
}

static enum store_status read_row(struct fixture *f, const char *key, uint32_t flags)
{
    struct store_value v;

    store_get(f->store, bytes_cstr(key), flags, &v);
    const enum store_status status = v.status;
    store_value_release(&v);
    return status;
}

static void faults(struct fixture *f, struct store_mem_faults faults)
{
    store_mem_disk_set_faults(f->disk, &faults);
}

static void nth_write_fails_and_health_says_so_until_one_succeeds(void **state)
{
    struct fixture *f = *state;
    char why[STORE_WHY_BYTES];

    faults(f, (struct store_mem_faults){.write_nth = 2});
    assert_int_equal(write_row(f, "a", "1", 0), 0);
    assert_int_equal(write_row(f, "b", "1", 0), -EIO);
    assert_int_equal(store_health(f->store, why, sizeof(why)), -EIO);
    expect_str(why, "memory: injected write error");
    assert_int_equal(read_row(f, "b", 0), STORE_ABSENT);
    assert_int_equal(write_row(f, "b", "1", 0), 0);
    assert_int_equal(store_health(f->store, NULL, 0), 0);
}

static void sticky_fault_stays_until_it_is_taken_away(void **state)
{
    struct fixture *f = *state;
    char why[STORE_WHY_BYTES];

    faults(f, (struct store_mem_faults){.flush_nth = 1, .sticky = true});
    assert_int_equal(write_row(f, "a", "1", 0), 0);
    assert_int_equal(store_flush(f->store), -EIO);
    assert_int_equal(store_flush(f->store), -EIO);
    assert_int_equal(store_health(f->store, NULL, 0), -EIO);
    faults(f, (struct store_mem_faults){.sticky = false});
    assert_int_equal(store_reopen(f->store, 0, why, sizeof(why)), 0);
    assert_int_equal(store_health(f->store, NULL, 0), 0);
    assert_int_equal(read_row(f, "a", 0), STORE_FOUND);
}

static void failed_reopen_keeps_what_was_not_flushed_for_the_next(void **state)
{
    struct fixture *f = *state;
    char why[STORE_WHY_BYTES];

    assert_int_equal(write_row(f, "a", "1", 0), 0);
    faults(f, (struct store_mem_faults){.open_nth = 1, .write_nth = 1});
    assert_int_equal(store_reopen(f->store, 0, why, sizeof(why)), -EIO);
    expect_str(why, "memory: injected open error");
    assert_false(store_is_open(f->store));
    assert_int_equal(read_row(f, "a", 0), STORE_ERROR);
    assert_int_equal(store_reopen(f->store, 0, why, sizeof(why)), -EIO);
    expect_str(why, "memory: injected write error");
    assert_int_equal(store_health(f->store, NULL, 0), -EIO);
    assert_int_equal(store_reopen(f->store, 0, why, sizeof(why)), 0);
    assert_int_equal(read_row(f, "a", 0), STORE_FOUND);
}

static void stall_is_busy_only_for_who_does_not_wait(void **state)
{
    struct fixture *f = *state;

    faults(f, (struct store_mem_faults){.busy_nth = 1, .sticky = true});
    assert_int_equal(write_row(f, "a", "1", STORE_WRITE_NO_SLOWDOWN), -ERR_BUSY);
    assert_int_equal(store_health(f->store, NULL, 0), 0);
    assert_int_equal(write_row(f, "a", "1", 0), 0);
}

static void reads_fail_flip_and_are_incomplete_as_told(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(write_row(f, "a", "1", 0), 0);
    faults(f, (struct store_mem_faults){.read_nth = 2, .flip_nth = 2});
    assert_int_equal(read_row(f, "a", 0), STORE_FOUND);
    assert_int_equal(read_row(f, "a", 0), STORE_ERROR);
    assert_int_equal(read_row(f, "a", 0), STORE_CORRUPT);
    assert_int_equal(read_row(f, "a", 0), STORE_FOUND);
    faults(f, (struct store_mem_faults){.incomplete = true});
    assert_int_equal(read_row(f, "a", STORE_READ_MEMORY_ONLY), STORE_INCOMPLETE);
    assert_int_equal(read_row(f, "a", 0), STORE_FOUND);
}

static void flipped_bit_on_the_disk_stays(void **state)
{
    struct fixture *f = *state;
    char why[STORE_WHY_BYTES];

    assert_int_equal(write_row(f, "a", "1", 0), 0);
    assert_int_equal(store_flush(f->store), 0);
    assert_false(store_mem_disk_corrupt(f->disk, bytes_cstr("b"), 3));
    assert_true(store_mem_disk_corrupt(f->disk, bytes_cstr("a"), 33));
    assert_int_equal(read_row(f, "a", 0), STORE_CORRUPT);
    assert_int_equal(store_reopen(f->store, 0, why, sizeof(why)), 0);
    assert_int_equal(read_row(f, "a", 0), STORE_CORRUPT);
    assert_int_equal(write_row(f, "a", "2", 0), 0);
    assert_int_equal(read_row(f, "a", 0), STORE_FOUND);
}

static void slow_disk_takes_its_time(void **state)
{
    struct fixture *f = *state;

    faults(f, (struct store_mem_faults){.delay_us = 3000});
    const uint64_t start = clock_mono_ns();
    assert_int_equal(read_row(f, "a", 0), STORE_ABSENT);
    assert_true(clock_mono_ns() - start >= 3000000);
}

static void one_writer_at_a_time(void **state)
{
    struct fixture *f = *state;
    const struct store_options options = {.dir = NULL};
    struct store *second = NULL;

    assert_int_equal(store_mem_open(f->disk, &options, &second), -ERR_BUSY);
    assert_null(second);
}

#define FAULT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_keeps_its_versions),
        cmocka_unit_test(map_seeks_both_ways),
        FAULT(nth_write_fails_and_health_says_so_until_one_succeeds),
        FAULT(sticky_fault_stays_until_it_is_taken_away),
        FAULT(failed_reopen_keeps_what_was_not_flushed_for_the_next),
        FAULT(stall_is_busy_only_for_who_does_not_wait),
        FAULT(reads_fail_flip_and_are_incomplete_as_told),
        FAULT(flipped_bit_on_the_disk_stays),
        FAULT(slow_disk_takes_its_time),
        FAULT(one_writer_at_a_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
