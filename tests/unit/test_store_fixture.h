/*
 * What the tests of the store on RocksDB share: a store in a directory of its own, whose rows join
 * to the greater one, and rows to fill it with.
 */
#ifndef TIERRA_TESTS_UNIT_TEST_STORE_FIXTURE_H
#define TIERRA_TESTS_UNIT_TEST_STORE_FIXTURE_H

#include <dirent.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/store/store.h"

#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

#define ROWS      2000
#define ROW_BYTES 200

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
static inline int join(void *ctx, struct bytes key, struct bytes existing,
                       const struct bytes *operands, size_t n, struct buf *out)
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

static inline int fixture_open(struct fixture *f)
{
    f->why[0] = '\0';
    return store_open(&f->options, &f->store, f->why, sizeof(f->why));
}

static inline void fixture_close(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
}

static inline void reopen(struct fixture *f)
{
    fixture_close(f);
    assert_int_equal(fixture_open(f), 0);
}

static inline int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    f->root = tmpdir_create();
    f->dir = tmpdir_path(f->root, "store");
    f->options = (struct store_options){.dir = f->dir, .merge = {.merge = join}};
    store_batch_init(&f->batch, 1 << 20);
    *state = f;
    return sem_init(&f->gate, 0, 0) != 0 || fixture_open(f) != 0;
}

static inline int teardown(void **state)
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

static inline struct bytes key_of(size_t index, uint8_t *out)
{
    be32_store(out, (uint32_t)index);
    be32_store(out + 4, 0x6b657973);
    return bytes_of(out, 8);
}

static inline struct bytes row_of(size_t index, uint8_t first, uint8_t *out)
{
    memset(out, (int)(index % 251), ROW_BYTES);
    out[0] = first;
    be32_store(out + 1, (uint32_t)index);
    return bytes_of(out, ROW_BYTES);
}

static inline void put(struct fixture *f, size_t index, uint8_t first)
{
    uint8_t key[8];
    uint8_t row[ROW_BYTES];

    assert_int_equal(store_batch_put(&f->batch, key_of(index, key), row_of(index, first, row)), 0);
}

static inline void commit(struct fixture *f)
{
    assert_int_equal(store_write(f->store, &f->batch, 0), 0);
    store_batch_clear(&f->batch);
}

static inline void write_rows(struct fixture *f, uint8_t first)
{
    for (size_t i = 0; i < ROWS; i++)
        put(f, i, first);
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
}

static inline enum store_status status_of(struct fixture *f, size_t index, uint32_t flags)
{
    struct store_value v;
    uint8_t key[8];

    store_get(f->store, key_of(index, key), flags, &v);
    const enum store_status status = v.status;
    store_value_release(&v);
    return status;
}

static inline void expect_row(struct fixture *f, size_t index, uint8_t first)
{
    struct store_value v;
    uint8_t key[8], row[ROW_BYTES];

    store_get(f->store, key_of(index, key), 0, &v);
    assert_int_equal(v.status, STORE_FOUND);
    expect_bytes(v.row, row_of(index, first, row));
    store_value_release(&v);
}

/* The path of some table file, or NULL; the caller frees it. */
static inline char *find_table(const char *dir)
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

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
