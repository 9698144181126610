/*
 * The store on RocksDB beyond the common contract: its directory, damage on the disk, the filter,
 * stalls, background errors, and readers beside a writer.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/store/store.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

#define ROWS      2000
#define ROW_BYTES 200

/* Rows of this test that the filter drops begin with this byte. */
#define ROW_DROP 0x20

struct fixture {
    char *root;
    char *dir;
    struct store_options options;
    struct store *store;
    struct store_batch batch;
    char why[STORE_WHY_BYTES];
    /* Of the filter. */
    atomic_uint begins;
    atomic_uint ends;
    atomic_uint asked;
    atomic_uint asked_special;
    sem_t gate; /* A compaction waits for it if `gated`. */
    bool gated;
};

/* The greater row wins. */
static int join(void *ctx, struct bytes key, struct bytes existing, const struct bytes *operands,
                size_t n, struct buf *out)
{
    struct bytes best = existing;

    (void)ctx;
    (void)key;
    for (size_t i = 0; i < n; i++) {
        if (bytes_cmp(operands[i], best) > 0)
            best = operands[i];
    }
    return buf_append_bytes(out, best);
}

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

static int fixture_open(struct fixture *f)
{
    f->why[0] = '\0';
    return store_open(&f->options, &f->store, f->why, sizeof(f->why));
}

static void fixture_close(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

static void reopen(struct fixture *f)
{
    fixture_close(f);
    assert_int_equal(fixture_open(f), 0);
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    f->root = tmpdir_create();
    f->dir = tmpdir_path(f->root, "store");
    f->options = (struct store_options){.dir = f->dir, .merge = {.merge = join}};
    store_batch_init(&f->batch, 1 << 20);
    *state = f;
    return sem_init(&f->gate, 0, 0) != 0 || fixture_open(f) != 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    store_close(f->store);
    store_batch_deinit(&f->batch);
    tmpdir_remove(f->root);
    (void)sem_destroy(&f->gate); /* Nobody waits. */
    mem_free(f->dir);
    mem_free(f);
    return 0;
}

static struct bytes key_of(size_t index, uint8_t *out)
{
    be32_store(out, (uint32_t)index);
    be32_store(out + 4, 0x6b657973);
    return bytes_of(out, 8);
}

static struct bytes row_of(size_t index, uint8_t first, uint8_t *out)
{
    memset(out, (int)(index % 251), ROW_BYTES);
    out[0] = first;
    be32_store(out + 1, (uint32_t)index);
    return bytes_of(out, ROW_BYTES);
}

static void put(struct fixture *f, size_t index, uint8_t first)
{
    uint8_t key[8];
    uint8_t row[ROW_BYTES];

    assert_int_equal(store_batch_put(&f->batch, key_of(index, key), row_of(index, first, row)), 0);
}

static void commit(struct fixture *f)
{
    assert_int_equal(store_write(f->store, &f->batch, 0), 0);
    store_batch_clear(&f->batch);
}

static void write_rows(struct fixture *f, uint8_t first)
{
    for (size_t i = 0; i < ROWS; i++)
        put(f, i, first);
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
}

static enum store_status status_of(struct fixture *f, size_t index, uint32_t flags)
{
    struct store_value v;
    uint8_t key[8];

    store_get(f->store, key_of(index, key), flags, &v);
    const enum store_status status = v.status;
    store_value_release(&v);
    return status;
}

static void expect_row(struct fixture *f, size_t index, uint8_t first)
{
    struct store_value v;
    uint8_t key[8], row[ROW_BYTES];

    store_get(f->store, key_of(index, key), 0, &v);
    assert_int_equal(v.status, STORE_FOUND);
    expect_bytes(v.row, row_of(index, first, row));
    store_value_release(&v);
}

/* --- the directory --- */

static void write_file(const char *dir, const char *name, const char *text)
{
    char *path = tmpdir_path(dir, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
    mem_free(path);
}

static void remove_file(const char *dir, const char *name)
{
    char *path = tmpdir_path(dir, name);

    assert_int_equal(unlink(path), 0);
    mem_free(path);
}

/* The path of some table file, or NULL; the caller frees it. */
static char *find_table(const char *dir)
{
    DIR *d = opendir(dir);
    char *path = NULL;

    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e != NULL && path == NULL; e = readdir(d)) {
        const size_t len = strlen(e->d_name);
        if (len > 4 && strcmp(e->d_name + len - 4, ".sst") == 0)
            path = tmpdir_path(dir, e->d_name);
    }
    assert_int_equal(closedir(d), 0);
    return path;
}

static void locked_store_is_busy(void **state)
{
    struct fixture *f = *state;
    struct store *second = NULL;

    assert_int_equal(store_open(&f->options, &second, f->why, sizeof(f->why)), -ERR_BUSY);
    assert_null(second);
    assert_non_null(strstr(f->why, f->dir));
    assert_int_equal(store_destroy(f->dir, f->why, sizeof(f->why)), -ERR_BUSY);
}

/* Holds the lock as another server would, until the pipe closes. */
static pid_t lock_elsewhere(const char *dir, const int ready[2], const int done[2])
{
    const pid_t pid = fork();
    char byte = 'r';

    assert_true(pid >= 0);
    if (pid != 0)
        return pid;
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    (void)close(done[1]);
    if (chdir(dir) != 0 || fcntl(open("LOCK", O_RDWR), F_SETLK, &lock) != 0)
        byte = 'x';
    (void)!write(ready[1], &byte, 1);
    (void)!read(done[0], &byte, 1);
    _exit(0);
}

static void store_locked_by_another_process_is_busy(void **state)
{
    struct fixture *f = *state;
    int ready[2];
    int done[2];
    char byte;

    fixture_close(f);
    assert_int_equal(pipe(ready) | pipe(done), 0);
    const pid_t pid = lock_elsewhere(f->dir, ready, done);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'r');
    assert_int_equal(fixture_open(f), -ERR_BUSY);
    assert_non_null(strstr(f->why, f->dir));
    assert_int_equal(close(done[1]), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(close(done[0]) | close(ready[0]) | close(ready[1]), 0);
    assert_int_equal(fixture_open(f), 0);
}

static void directory_of_something_else_is_refused(void **state)
{
    struct fixture *f = *state;

    write_rows(f, 1);
    fixture_close(f);
    write_file(f->dir, "FORMAT", "tierra store 2\n");
    assert_int_equal(fixture_open(f), -ERR_FORMAT);
    assert_non_null(strstr(f->why, "FORMAT"));
    remove_file(f->dir, "FORMAT");
    assert_int_equal(fixture_open(f), -ERR_FORMAT);
    assert_int_equal(store_destroy(f->dir, f->why, sizeof(f->why)), -ERR_FORMAT);
    write_file(f->dir, "FORMAT", "tierra store 1\n");
    assert_int_equal(fixture_open(f), 0);
    assert_int_equal(status_of(f, 5, 0), STORE_FOUND);
}

static void missing_files_are_named(void **state)
{
    struct fixture *f = *state;

    write_rows(f, 1);
    fixture_close(f);
    char *table = find_table(f->dir);
    char *away = tmpdir_path(f->root, "away");
    assert_int_equal(rename(table, away), 0);
    assert_int_equal(fixture_open(f), -ERR_CORRUPT);
    /* By its number: RocksDB looks for the old suffix last. */
    *strrchr(table, '.') = '\0';
    assert_non_null(strstr(f->why, strrchr(table, '/')));
    *strchr(strrchr(table, '/'), '\0') = '.';
    assert_int_equal(rename(away, table), 0);

    remove_file(f->dir, "CURRENT");
    assert_int_equal(fixture_open(f), -ERR_CORRUPT);
    assert_non_null(strstr(f->why, "CURRENT"));
    mem_free(table);
    mem_free(away);
}

static void absent_store_is_not_created_where_it_must_exist(void **state)
{
    struct fixture *f = *state;
    char *none = tmpdir_path(f->root, "none");
    char *deep = tmpdir_path(none, "deep");

    fixture_close(f);
    f->options.dir = none;
    f->options.must_exist = true;
    assert_int_equal(fixture_open(f), -ERR_NOT_FOUND);
    assert_non_null(strstr(f->why, none));
    f->options.must_exist = false;
    f->options.read_only = true;
    assert_int_equal(fixture_open(f), -ERR_NOT_FOUND);
    assert_int_equal(access(none, F_OK), -1);
    f->options.read_only = false;
    f->options.dir = deep;
    assert_int_equal(fixture_open(f), -ENOENT);
    assert_non_null(strstr(f->why, deep));
    mem_free(none);
    mem_free(deep);
}

static void store_whose_making_was_broken_off_is_made_again(void **state)
{
    struct fixture *f = *state;
    char *dir = tmpdir_path(f->root, "half");

    fixture_close(f);
    assert_int_equal(mkdir(dir, 0700), 0);
    write_file(dir, "FORMAT.tmp", "tier");
    write_file(dir, "MANIFEST-000001", "incomplete");
    write_file(dir, "000001.dbtmp", "MANIF");
    f->options.dir = dir;
    assert_int_equal(fixture_open(f), 0);
    write_rows(f, 1);
    assert_int_equal(status_of(f, 5, 0), STORE_FOUND);
    fixture_close(f);
    write_file(dir, "FORMAT.tmp", "tier");
    assert_int_equal(store_destroy(dir, f->why, sizeof(f->why)), 0);
    f->options.dir = f->dir;
    mem_free(dir);
}

static void bad_tuning_is_refused(void **state)
{
    struct fixture *f = *state;

    fixture_close(f);
    f->options.tuning = "no_such_option=1";
    assert_int_equal(fixture_open(f), -ERR_CONFIG);
    f->options.tuning = "block_based_table_factory={block_size=8192}";
    assert_int_equal(fixture_open(f), 0);
}

static void destroyed_store_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    write_rows(f, 1);
    fixture_close(f);
    assert_int_equal(store_destroy(f->dir, f->why, sizeof(f->why)), 0);
    assert_int_equal(access(f->dir, F_OK), -1);
    assert_int_equal(store_destroy(f->dir, f->why, sizeof(f->why)), 0);
}

/* Names and sizes in the directory, as one number. */
static uint64_t dir_print(const char *dir)
{
    DIR *d = opendir(dir);
    uint64_t sum = 0;

    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        struct stat st;
        if (e->d_name[0] == '.')
            continue;
        assert_int_equal(fstatat(dirfd(d), e->d_name, &st, 0), 0);
        uint64_t name = 0;
        for (const char *c = e->d_name; *c != '\0'; c++)
            name = name * 31 + (uint8_t)*c;
        sum += name * ((uint64_t)st.st_size + 1) + st.st_ino;
    }
    assert_int_equal(closedir(d), 0);
    return sum;
}

static void reading_only_writes_nothing(void **state)
{
    struct fixture *f = *state;
    struct fixture reader = {.options = f->options};

    write_rows(f, 1);
    const uint64_t before = dir_print(f->dir);
    reader.options.read_only = true;
    assert_int_equal(fixture_open(&reader), 0);
    assert_int_equal(status_of(&reader, 5, 0), STORE_FOUND);
    fixture_close(&reader);
    expect_u64(dir_print(f->dir), before);
    fixture_close(f);
    const uint64_t closed = dir_print(f->dir);
    assert_int_equal(fixture_open(&reader), 0);
    fixture_close(&reader);
    expect_u64(dir_print(f->dir), closed);
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
    int err = 0;

    fixture_close(f);
    f->options.tuning = "level0_file_num_compaction_trigger=1;level0_slowdown_writes_trigger=2;"
                        "level0_stop_writes_trigger=3";
    f->options.memtable_bytes = 1 << 20;
    f->gated = true;
    f->options.filter = (struct store_filter_ops){
        .begin = filter_begin, .drop = filter_drop, .end = filter_end, .ctx = f};
    assert_int_equal(fixture_open(f), 0);
    for (size_t i = 0; i < 1000 && err == 0; i++) {
        store_batch_clear(&f->batch);
        for (size_t row = 0; row < ROWS; row++)
            put(f, row, 1);
        err = store_write(f->store, &f->batch, STORE_WRITE_NO_SLOWDOWN);
    }
    assert_int_equal(err, -ERR_BUSY);
    struct store_stats stats;
    store_stats(f->store, &stats);
    assert_true(stats.write_stopped == 1 || stats.delayed_write_bytes_sec != 0);
    assert_int_equal(store_health(f->store, NULL, 0), 0);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal(sem_post(&f->gate), 0);
    assert_int_equal(store_write(f->store, &f->batch, 0), 0); /* Waits. */
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

/* More deletes than are noted at once, flushes in between: notes of old ones are dropped. */
static void reopen_knows_the_deletes_since_the_last_flush(void **state)
{
    struct fixture *f = *state;
    bool present[ROWS] = {false};
    struct rng rng;
    uint8_t key[8];

    f->options.memtable_bytes = 1 << 20;
    reopen(f);
    seed_rng(&rng, 7);
    for (size_t round = 0; round < 400; round++) {
        for (size_t i = 0; i < 500; i++) {
            const size_t index = rng_below(&rng, ROWS);
            present[index] = rng_below(&rng, 4) == 0;
            if (present[index])
                put(f, index, 3);
            else
                assert_int_equal(store_batch_delete(&f->batch, key_of(index, key)), 0);
        }
        commit(f);
        if (round % 50 != 49)
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
    for (uint32_t round = 2; round < RACE_ROUNDS; round++) {
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

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(locked_store_is_busy),
        TEST(store_locked_by_another_process_is_busy),
        TEST(directory_of_something_else_is_refused),
        TEST(missing_files_are_named),
        TEST(absent_store_is_not_created_where_it_must_exist),
        TEST(store_whose_making_was_broken_off_is_made_again),
        TEST(bad_tuning_is_refused),
        TEST(destroyed_store_leaves_nothing),
        TEST(reading_only_writes_nothing),
        TEST(damaged_block_spoils_its_rows_only),
        TEST(iterator_reports_a_damaged_block_and_can_go_round_it),
        TEST(damaged_row_is_corrupt_and_stays_so_when_joined),
        TEST(filter_is_asked_for_rows_only_and_each_run_ends),
        TEST(dropped_row_does_not_uncover_an_older_one),
        TEST(joined_row_is_dropped_by_a_later_compaction),
        TEST(memory_only_read_says_incomplete_until_the_block_is_cached),
        TEST(stores_share_a_cache),
        TEST(stalled_write_is_busy_for_who_does_not_wait),
        TEST(reopen_knows_the_deletes_since_the_last_flush),
        TEST(failed_flush_ends_with_a_reopen_that_loses_nothing),
        TEST(figures_add_up),
        TEST(readers_never_see_an_older_row_beside_a_writer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
