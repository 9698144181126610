/*
 * The store on RocksDB beyond the common contract: damage on the disk, the filter, stalls,
 * background errors, and readers beside a writer. Its directory: test_store_dir.c.
 */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/err.h"

#include "tests/lib/seed.h"
#include "tests/unit/test_store_fixture.h"

/* Rows of this test that the filter drops begin with this byte. */
#define ROW_DROP 0x20
/* A thread that has done nothing for so long never will. */
#define LATE_NS UINT64_C(60000000000)

static void *filter_begin(void *ctx)
{
    struct fixture *f = ctx;

    atomic_fetch_add(&f->begins, 1);
    if (f->gated)
        (void)sem_wait(&f->gate);
    return f;
}

static bool filter_drop(void *run, struct bytes key, struct bytes row)
{
    struct fixture *f = run;

    atomic_fetch_add(&f->asked, 1);
    if (key.ptr[0] == 0xff)
        atomic_fetch_add(&f->asked_special, 1);
    return row.ptr[0] == ROW_DROP;
}

static void filter_end(void *run)
{
    struct fixture *f = run;

    atomic_fetch_add(&f->ends, 1);
}

/* --- damage --- */

static void flip_byte(const char *path, off_t at)
{
    const int fd = open(path, O_RDWR | O_CLOEXEC);
    uint8_t byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    assert_int_equal(close(fd), 0);
}

static void damaged_block_spoils_its_rows_only(void **state)
{
    struct fixture *f = *state;
    struct store_value v;
    uint8_t key[8];
    uint8_t row[ROW_BYTES];
    size_t corrupt = 0;

    write_rows(f, 1);
    fixture_close(f);
    char *table = find_table(f->dir);
    flip_byte(table, 100000);
    assert_int_equal(fixture_open(f), 0);
    for (size_t i = 0; i < ROWS; i++) {
        store_get(f->store, key_of(i, key), 0, &v);
        if (v.status == STORE_CORRUPT) {
            assert_int_equal(v.err, -ERR_CORRUPT);
            corrupt++;
        } else {
            assert_int_equal(v.status, STORE_FOUND);
            expect_bytes(v.row, row_of(i, 1, row));
        }
        store_value_release(&v);
    }
    assert_true(corrupt > 0 && corrupt < 100);
    mem_free(table);
}

static void iterator_reports_a_damaged_block_and_can_go_round_it(void **state)
{
    struct fixture *f = *state;
    const struct store_iter_options all = {.fill_cache = false};
    struct store_iter *it;
    size_t seen = 0;

    write_rows(f, 1);
    fixture_close(f);
    char *table = find_table(f->dir);
    flip_byte(table, 100000);
    assert_int_equal(fixture_open(f), 0);
    assert_int_equal(store_iter_open(f->store, &all, &it), 0);
    store_iter_seek(it, bytes_cstr(""));
    for (; store_iter_valid(it); store_iter_next(it))
        seen++;
    assert_true(seen > 0 && seen < ROWS);
    assert_int_equal(store_iter_status(it), -ERR_CORRUPT);
    uint8_t key[8];
    store_iter_seek(it, key_of(seen + 100, key));
    for (seen = 0; store_iter_valid(it); store_iter_next(it))
        seen++;
    assert_true(seen > ROWS / 2);
    assert_int_equal(store_iter_status(it), 0);
    store_iter_close(it);
    mem_free(table);
}

static void damaged_row_is_corrupt_and_stays_so_when_joined(void **state)
{
    struct fixture *f = *state;
    uint8_t key[8];
    uint8_t row[ROW_BYTES];

    for (size_t flushed = 0; flushed < 2; flushed++) {
        put(f, 1, 1);
        f->batch.buf.ptr[f->batch.buf.len - 20] ^= 4; /* After the checksum was made. */
        put(f, 2, 1);
        commit(f);
        if (flushed == 1)
            reopen(f);
        assert_int_equal(status_of(f, 1, 0), STORE_CORRUPT);
        assert_int_equal(status_of(f, 2, 0), STORE_FOUND);
        assert_int_equal(store_batch_merge(&f->batch, key_of(1, key), row_of(1, 9, row)), 0);
        commit(f);
        assert_int_equal(status_of(f, 1, 0), STORE_CORRUPT);
        assert_int_equal(store_flush(f->store), 0);
        assert_int_equal(store_compact(f->store, bytes_cstr(""), bytes_cstr("")), 0);
        assert_int_equal(status_of(f, 1, 0), STORE_CORRUPT);
    }
}

/* --- the filter --- */

static void filter_on(struct fixture *f)
{
    fixture_close(f);
    f->options.filter = (struct store_filter_ops){
        .begin = filter_begin, .drop = filter_drop, .end = filter_end, .ctx = f};
    assert_int_equal(fixture_open(f), 0);
}

static void compact_all(struct fixture *f)
{
    assert_int_equal(store_compact(f->store, bytes_cstr(""), bytes_cstr("")), 0);
}

static void filter_is_asked_for_rows_only_and_each_run_ends(void **state)
{
    struct fixture *f = *state;

    filter_on(f);
    for (size_t i = 0; i < ROWS; i++)
        put(f, i, i % 2 == 0 ? ROW_DROP : 1);
    assert_int_equal(store_batch_set_covered(&f->batch, 0x2020202020202020, bytes_cstr("")), 0);
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
    compact_all(f);
    for (size_t i = 0; i < ROWS; i++)
        assert_int_equal(status_of(f, i, 0), i % 2 == 0 ? STORE_ABSENT : STORE_FOUND);
    assert_true(atomic_load(&f->begins) > 0);
    assert_int_equal(atomic_load(&f->begins), atomic_load(&f->ends));
    assert_true(atomic_load(&f->asked) >= ROWS);
    assert_int_equal(atomic_load(&f->asked_special), 0);
}

static void dropped_row_does_not_uncover_an_older_one(void **state)
{
    struct fixture *f = *state;

    filter_on(f);
    write_rows(f, 1);
    compact_all(f);
    for (size_t i = 0; i < ROWS; i += 3)
        put(f, i, ROW_DROP);
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
    for (size_t pass = 0; pass < 2; pass++) {
        compact_all(f);
        for (size_t i = 0; i < ROWS; i++)
            assert_int_equal(status_of(f, i, 0), i % 3 == 0 ? STORE_ABSENT : STORE_FOUND);
    }
}

static void joined_row_is_dropped_by_a_later_compaction(void **state)
{
    struct fixture *f = *state;
    const uint8_t dead = STORE_ROW_DEAD;
    struct store_stats stats;
    uint8_t key[8];

    for (size_t i = 0; i < ROWS; i++)
        assert_int_equal(store_batch_merge(&f->batch, key_of(i, key), bytes_of(&dead, 1)), 0);
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
    compact_all(f);
    assert_int_equal(status_of(f, 7, 0), STORE_ABSENT);
    compact_all(f);
    store_stats(f->store, &stats);
    assert_true(stats.keys_estimate <= 1);
    assert_int_equal(status_of(f, 7, 0), STORE_ABSENT);
}

/* --- cache, stalls, errors --- */

static void memory_only_read_says_incomplete_until_the_block_is_cached(void **state)
{
    struct fixture *f = *state;

    write_rows(f, 1);
    assert_int_equal(status_of(f, ROWS / 2, STORE_READ_NO_FILL), STORE_FOUND);
    reopen(f);
    assert_int_equal(status_of(f, 10, STORE_READ_MEMORY_ONLY), STORE_INCOMPLETE);
    assert_int_equal(status_of(f, 10, STORE_READ_NO_FILL), STORE_FOUND);
    assert_int_equal(status_of(f, 10, STORE_READ_MEMORY_ONLY), STORE_INCOMPLETE);
    assert_int_equal(status_of(f, 10, 0), STORE_FOUND);
    assert_int_equal(status_of(f, 10, STORE_READ_MEMORY_ONLY), STORE_FOUND);
    put(f, 10, 2);
    commit(f);
    assert_int_equal(status_of(f, 10, STORE_READ_MEMORY_ONLY), STORE_FOUND);
}

static void stores_share_a_cache(void **state)
{
    struct fixture *f = *state;
    struct fixture other = {.options = f->options};
    char *dir = tmpdir_path(f->root, "other");

    fixture_close(f);
    struct store_cache *cache = store_cache_create(4 << 20);
    f->options.cache = cache;
    other.options.cache = cache;
    other.options.dir = dir;
    assert_int_equal(fixture_open(f), 0);
    assert_int_equal(fixture_open(&other), 0);
    store_batch_init(&other.batch, 1 << 20);
    write_rows(f, 1);
    write_rows(&other, 2);
    const size_t before = store_cache_usage(cache);
    for (size_t i = 0; i < ROWS; i++) {
        assert_int_equal(status_of(f, i, 0), STORE_FOUND);
        assert_int_equal(status_of(&other, i, 0), STORE_FOUND);
    }
    assert_true(store_cache_usage(cache) > before + ROWS * (size_t)ROW_BYTES);
    store_cache_set_bytes(cache, 1 << 16);
    assert_true(store_cache_usage(cache) < ROWS * (size_t)ROW_BYTES);
    store_cache_destroy(cache);
    assert_int_equal(status_of(f, 1, 0), STORE_FOUND);
    fixture_close(&other);
    store_batch_deinit(&other.batch);
    mem_free(dir);
}

static void stalled_write_is_busy_for_who_does_not_wait(void **state)
{
    struct fixture *f = *state;
    struct store_stats stats;
    bool stalled = false;

    fixture_close(f);
    f->options.tuning = "level0_file_num_compaction_trigger=1;level0_slowdown_writes_trigger=2;"
                        "level0_stop_writes_trigger=3";
    f->options.memtable_bytes = 1 << 20;
    f->gated = true;
    f->options.filter = (struct store_filter_ops){
        .begin = filter_begin, .drop = filter_drop, .end = filter_end, .ctx = f};
    assert_int_equal(fixture_open(f), 0);
    /* While a memtable is written it is busy as well, which passes by itself. */
    const uint64_t until_ns = clock_mono_ns() + LATE_NS;
    while (!stalled && clock_mono_ns() < until_ns) {
        store_batch_clear(&f->batch);
        for (size_t row = 0; row < ROWS; row++)
            put(f, row, 1);
        const int err = store_write(f->store, &f->batch, STORE_WRITE_NO_SLOWDOWN);
        assert_true(err == 0 || err == -ERR_BUSY);
        store_stats(f->store, &stats);
        stalled = err != 0 && (stats.write_stopped == 1 || stats.delayed_write_bytes_sec != 0);
    }
    assert_true(stalled);
    assert_int_equal(store_health(f->store, NULL, 0), 0);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(sem_post(&f->gate), 0);
    assert_int_equal(store_write(f->store, &f->batch, 0), 0); /* Waits. */
}

/* Each flush makes a file, and the second stops writes until a compaction that cannot end. */
static void flush_that_stops_writes_does_not_wait_for_the_compaction(void **state)
{
    struct fixture *f = *state;
    struct store_stats stats;

    fixture_close(f);
    f->options.tuning = "level0_file_num_compaction_trigger=2;level0_slowdown_writes_trigger=2;"
                        "level0_stop_writes_trigger=2";
    f->gated = true;
    f->options.filter = (struct store_filter_ops){
        .begin = filter_begin, .drop = filter_drop, .end = filter_end, .ctx = f};
    assert_int_equal(fixture_open(f), 0);
    for (uint8_t round = 1; round <= 2; round++) {
        put(f, 1, round);
        put(f, 2, round); /* Files of one key are moved, not compacted. */
        commit(f);
        assert_int_equal(store_flush(f->store), 0);
    }
    store_stats(f->store, &stats);
    expect_u64(stats.write_stopped, 1);
    assert_int_equal(store_health(f->store, NULL, 0), 0);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(sem_post(&f->gate), 0);
    put(f, 1, 3);
    commit(f); /* Waits. */
    expect_row(f, 1, 3);
}

static void failed_flush_ends_with_a_reopen_that_loses_nothing(void **state)
{
    struct fixture *f = *state;
    char *away = tmpdir_path(f->root, "away");

    write_rows(f, 1);
    put(f, 1, 2);
    commit(f);
    assert_int_equal(rename(f->dir, away), 0);
    assert_true(store_flush(f->store) < 0);
    assert_true(store_health(f->store, f->why, sizeof(f->why)) < 0);
    assert_non_null(strstr(f->why, f->dir));
    assert_int_equal(status_of(f, 1, 0), STORE_FOUND);
    assert_int_equal(store_reopen(f->store, 0, f->why, sizeof(f->why)), -ERR_NOT_FOUND);
    assert_int_equal(status_of(f, 1, 0), STORE_ERROR);
    assert_int_equal(store_write(f->store, &f->batch, 0), -ERR_CLOSED);

    assert_int_equal(rmdir(f->dir), -1); /* The failed reopen made nothing. */
    assert_int_equal(rename(away, f->dir), 0);
    assert_int_equal(store_reopen(f->store, 0, f->why, sizeof(f->why)), 0);
    assert_int_equal(store_health(f->store, NULL, 0), 0);
    expect_row(f, 1, 2);
    put(f, 3, 5);
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
    reopen(f);
    expect_row(f, 1, 2);
    expect_row(f, 3, 5);
    mem_free(away);
}

/* More notes between two reopens than are kept at once, flushes in between: old ones are dropped.
 */
static void reopen_knows_the_deletes_since_the_last_flush(void **state)
{
    struct fixture *f = *state;
    bool present[ROWS] = {false};
    struct rng rng;
    uint8_t key[8], row[ROW_BYTES];

    f->options.memtable_bytes = 1 << 20;
    reopen(f);
    seed_rng(&rng, 7);
    for (size_t round = 0; round < 400; round++) {
        for (size_t i = 0; i < 500; i++) {
            const size_t index = rng_below(&rng, ROWS);
            const struct bytes k = key_of(index, key);
            const uint64_t kind = rng_below(&rng, 8);
            present[index] = kind < 2;
            if (kind == 0)
                put(f, index, 3);
            else if (kind == 1)
                assert_int_equal(store_batch_merge(&f->batch, k, row_of(index, 3, row)), 0);
            else
                assert_int_equal(store_batch_delete(&f->batch, k), 0);
        }
        commit(f);
        if (round % 200 != 199)
            continue;
        assert_int_equal(store_reopen(f->store, 0, f->why, sizeof(f->why)), 0);
        for (size_t i = 0; i < ROWS; i++)
            assert_int_equal(status_of(f, i, 0), present[i] ? STORE_FOUND : STORE_ABSENT);
    }
}

static void figures_add_up(void **state)
{
    struct fixture *f = *state;
    struct store_stats s;
    uint64_t files = 0;
    uint64_t bytes = 0;

    for (uint8_t round = 1; round < 4; round++)
        write_rows(f, round);
    put(f, 1, 9);
    commit(f);
    store_stats(f->store, &s);
    for (size_t i = 0; i < STORE_LEVELS_MAX; i++) {
        files += s.level_files[i];
        bytes += s.level_bytes[i];
    }
    assert_true(files > 0);
    expect_u64(bytes, s.live_sst_bytes);
    assert_true(s.total_sst_bytes >= s.live_sst_bytes);
    assert_true(s.memtable_bytes > ROW_BYTES);
    assert_true(s.keys_estimate >= ROWS);
    /* In GiB with three digits. */
    assert_true(s.flushed_bytes > 3 * ROWS * (uint64_t)ROW_BYTES / 2);
    expect_u64(s.background_errors, 0);
    expect_u64(s.write_stopped, 0);
}

/* --- readers beside a writer --- */

#define RACE_KEYS    200
#define RACE_ROUNDS  300
#define RACE_THREADS 4

struct race {
    struct fixture *f;
    atomic_uint round; /* Every row carries at least this. */
    atomic_bool stop;
    atomic_uint reads;
    atomic_uint failures;
};

static void *race_read(void *arg)
{
    struct race *r = arg;
    uint8_t key_bytes[RACE_KEYS][8];
    struct bytes keys[RACE_KEYS];
    struct store_value out[RACE_KEYS];

    for (size_t i = 0; i < RACE_KEYS; i++)
        keys[i] = key_of(i, key_bytes[i]);
    while (!atomic_load(&r->stop)) {
        const uint32_t least = atomic_load(&r->round);
        store_multi_get(r->f->store, RACE_KEYS, keys, 0, out);
        for (size_t i = 0; i < RACE_KEYS; i++) {
            if (out[i].status != STORE_FOUND || be32_load(out[i].row.ptr + 1) < least)
                atomic_fetch_add(&r->failures, 1);
            store_value_release(&out[i]);
        }
        atomic_fetch_add(&r->reads, 1);
    }
    return NULL;
}

static void race_write(struct fixture *f, uint32_t round, bool is_merge)
{
    uint8_t key[8];
    uint8_t row[ROW_BYTES] = {1};

    be32_store(row + 1, round);
    for (size_t i = 0; i < RACE_KEYS; i++) {
        const struct bytes k = key_of(i, key);
        const struct bytes r = bytes_of(row, sizeof(row));
        assert_int_equal(
            is_merge ? store_batch_merge(&f->batch, k, r) : store_batch_put(&f->batch, k, r), 0);
    }
    commit(f);
}

static void readers_never_see_an_older_row_beside_a_writer(void **state)
{
    struct fixture *f = *state;
    struct race r = {.f = f};
    pthread_t threads[RACE_THREADS];
    struct rng rng;

    seed_rng(&rng, 1);
    race_write(f, 1, false);
    atomic_store(&r.round, 1);
    for (size_t i = 0; i < RACE_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, race_read, &r), 0);
    /* However late the threads begin, within reason. */
    const uint64_t until_ns = clock_mono_ns() + LATE_NS;
    for (uint32_t round = 2;
         round < RACE_ROUNDS || (atomic_load(&r.reads) == 0 && clock_mono_ns() < until_ns);
         round++) {
        race_write(f, round, rng_below(&rng, 3) != 0);
        atomic_store(&r.round, round);
        if (rng_below(&rng, 10) == 0)
            assert_int_equal(store_flush(f->store), 0);
        if (rng_below(&rng, 40) == 0)
            compact_all(f);
    }
    atomic_store(&r.stop, true);
    for (size_t i = 0; i < RACE_THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(atomic_load(&r.reads) > 0);
    assert_int_equal(atomic_load(&r.failures), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(damaged_block_spoils_its_rows_only),
        TEST(iterator_reports_a_damaged_block_and_can_go_round_it),
        TEST(damaged_row_is_corrupt_and_stays_so_when_joined),
        TEST(filter_is_asked_for_rows_only_and_each_run_ends),
        TEST(dropped_row_does_not_uncover_an_older_one),
        TEST(joined_row_is_dropped_by_a_later_compaction),
        TEST(memory_only_read_says_incomplete_until_the_block_is_cached),
        TEST(stores_share_a_cache),
        TEST(stalled_write_is_busy_for_who_does_not_wait),
        TEST(flush_that_stops_writes_does_not_wait_for_the_compaction),
        TEST(reopen_knows_the_deletes_since_the_last_flush),
        TEST(failed_flush_ends_with_a_reopen_that_loses_nothing),
        TEST(figures_add_up),
        TEST(readers_never_see_an_older_row_beside_a_writer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
