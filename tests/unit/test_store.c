/*
 * The contract of the store, kept by both implementations: one body of tests, run twice.
 *
 * Rows here are registers: 0x01, stamp (8 BE), value; they join by the greater stamp, then by the
 * greater value. DEAD is the identity. A row that begins with 0x7e is refused by the join.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/store/store.h"
#include "engine/store/store_mem.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

#define MODEL_KEYS      400
#define MODEL_ROUNDS    60
#define MODEL_OPS       60
#define MODEL_READS_MAX 90
#define ROW_BYTES_MAX   64
#define BATCH_BYTES_MAX (1u << 20)

struct fixture {
    bool memory;
    char *root;
    char *dir;
    struct store_mem_disk *disk;
    struct store_options options;
    struct store *store;
    struct store_batch batch;
};

static int join(void *ctx, struct bytes key, struct bytes existing, const struct bytes *operands,
                size_t n, struct buf *out)
{
    struct bytes best = existing;

    (void)ctx;
    (void)key;
    for (size_t i = 0; i < n; i++) {
        if (operands[i].ptr[0] == 0x7e)
            return -ERR_CORRUPT;
        if (bytes_cmp(operands[i], best) > 0)
            best = operands[i];
    }
    return buf_append_bytes(out, best);
}

static int fixture_open(struct fixture *f)
{
    char why[STORE_WHY_BYTES];

    if (f->memory)
        return store_mem_open(f->disk, &f->options, &f->store);
    return store_open(&f->options, &f->store, why, sizeof(why));
}

static int setup(void **state, bool memory)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    f->memory = memory;
    f->root = tmpdir_create();
    f->dir = tmpdir_path(f->root, "store");
    f->disk = store_mem_disk_create();
    f->options = (struct store_options){.dir = f->dir, .merge = {.merge = join}};
    store_batch_init(&f->batch, BATCH_BYTES_MAX);
    *state = f;
    return fixture_open(f);
}

static int setup_memory(void **state)
{
    return setup(state, true);
}

static int setup_rocksdb(void **state)
{
    return setup(state, false);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    store_close(f->store);
    store_mem_disk_destroy(f->disk);
    store_batch_deinit(&f->batch);
    tmpdir_remove(f->root);
    mem_free(f->dir);
    mem_free(f);
    return 0;
}

/* As a crash: what was not flushed is gone. */
static void crash(struct fixture *f)
{
    store_close(f->store);
    f->store = NULL;
    assert_int_equal(fixture_open(f), 0);
}

static struct bytes row_make(uint8_t *out, uint64_t stamp, const char *value)
{
    const struct bytes v = bytes_cstr(value);

    out[0] = 0x01;
    be64_store(out + 1, stamp);
    memcpy(out + 9, v.ptr, v.len);
    return bytes_of(out, 9 + v.len);
}

static void commit(struct fixture *f)
{
    assert_int_equal(store_write(f->store, &f->batch, 0), 0);
    store_batch_clear(&f->batch);
}

static void put(struct fixture *f, const char *key, uint64_t stamp, const char *value)
{
    uint8_t row[ROW_BYTES_MAX];

    assert_int_equal(store_batch_put(&f->batch, bytes_cstr(key), row_make(row, stamp, value)), 0);
}

static void merge(struct fixture *f, const char *key, uint64_t stamp, const char *value)
{
    uint8_t row[ROW_BYTES_MAX];

    assert_int_equal(store_batch_merge(&f->batch, bytes_cstr(key), row_make(row, stamp, value)), 0);
}

static enum store_status status_of(struct fixture *f, const char *key)
{
    struct store_value v;

    store_get(f->store, bytes_cstr(key), 0, &v);
    const enum store_status status = v.status;
    store_value_release(&v);
    return status;
}

static void expect_shown(struct fixture *f, const char *key, const char *want)
{
    struct store_value v;

    store_get(f->store, bytes_cstr(key), 0, &v);
    assert_int_equal(v.status, STORE_FOUND);
    expect_bytes(bytes_from(v.row, 9), bytes_cstr(want));
    store_value_release(&v);
    assert_int_equal(v.status, STORE_ABSENT);
}

static void put_merge_and_delete_of_one_row(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(status_of(f, "a"), STORE_ABSENT);
    put(f, "a", 5, "five");
    commit(f);
    expect_shown(f, "a", "five");
    merge(f, "a", 4, "four");
    merge(f, "b", 1, "one");
    commit(f);
    expect_shown(f, "a", "five");
    expect_shown(f, "b", "one");
    merge(f, "a", 6, "six");
    commit(f);
    expect_shown(f, "a", "six");
    assert_int_equal(store_batch_delete(&f->batch, bytes_cstr("a")), 0);
    commit(f);
    assert_int_equal(status_of(f, "a"), STORE_ABSENT);
}

static void last_record_of_a_batch_wins(void **state)
{
    struct fixture *f = *state;

    put(f, "a", 9, "first");
    assert_int_equal(store_batch_delete(&f->batch, bytes_cstr("a")), 0);
    put(f, "a", 1, "second");
    merge(f, "a", 2, "third");
    expect_u64(store_batch_count(&f->batch), 4);
    commit(f);
    expect_shown(f, "a", "third");
}

static void dead_row_reads_as_absent(void **state)
{
    struct fixture *f = *state;
    const uint8_t dead = STORE_ROW_DEAD;
    struct store_iter *it;
    const struct store_iter_options all = {.fill_cache = true};

    put(f, "a", 1, "one");
    put(f, "b", 1, "one");
    commit(f);
    assert_int_equal(store_batch_put(&f->batch, bytes_cstr("a"), bytes_of(&dead, 1)), 0);
    commit(f);
    assert_int_equal(status_of(f, "a"), STORE_ABSENT);
    assert_int_equal(store_iter_open(f->store, &all, &it), 0);
    store_iter_seek(it, bytes_cstr(""));
    assert_true(store_iter_valid(it));
    expect_bytes(store_iter_key(it), bytes_cstr("b"));
    store_iter_close(it);
    /* And it is the identity of the join. */
    merge(f, "a", 1, "again");
    commit(f);
    expect_shown(f, "a", "again");
}

static void refused_join_is_poison_until_replaced(void **state)
{
    struct fixture *f = *state;
    const uint8_t bad[] = {0x7e, 1};

    put(f, "a", 1, "one");
    put(f, "b", 1, "one");
    commit(f);
    assert_int_equal(store_batch_merge(&f->batch, bytes_cstr("a"), bytes_of(bad, 2)), 0);
    commit(f);
    assert_int_equal(status_of(f, "a"), STORE_CORRUPT);
    merge(f, "a", 9, "nine");
    commit(f);
    assert_int_equal(status_of(f, "a"), STORE_CORRUPT);
    assert_int_equal(store_flush(f->store), 0);
    assert_int_equal(store_compact(f->store, bytes_cstr(""), bytes_cstr("")), 0);
    assert_int_equal(status_of(f, "a"), STORE_CORRUPT);
    expect_shown(f, "b", "one");
    put(f, "a", 1, "repaired");
    commit(f);
    expect_shown(f, "a", "repaired");
}

static void iterator_keeps_its_moment(void **state)
{
    struct fixture *f = *state;
    struct store_iter *it;
    const struct store_iter_options options = {.lower = bytes_cstr("b"), .upper = bytes_cstr("d")};

    for (const char *k = "abcde"; *k != '\0'; k++)
        put(f, (const char[]){*k, '\0'}, 1, "old");
    commit(f);
    assert_int_equal(store_iter_open(f->store, &options, &it), 0);
    put(f, "c", 2, "new");
    assert_int_equal(store_batch_delete(&f->batch, bytes_cstr("b")), 0);
    commit(f);
    assert_int_equal(store_flush(f->store), 0);

    store_iter_seek(it, bytes_cstr(""));
    assert_true(store_iter_valid(it));
    expect_bytes(store_iter_key(it), bytes_cstr("b"));
    store_iter_next(it);
    expect_bytes(store_iter_key(it), bytes_cstr("c"));
    struct bytes row;
    assert_int_equal(store_iter_row(it, &row), STORE_FOUND);
    expect_bytes(bytes_from(row, 9), bytes_cstr("old"));
    store_iter_next(it);
    assert_false(store_iter_valid(it));
    store_iter_seek_prev(it, bytes_cstr(""));
    expect_bytes(store_iter_key(it), bytes_cstr("c"));
    store_iter_prev(it);
    expect_bytes(store_iter_key(it), bytes_cstr("b"));
    store_iter_prev(it);
    assert_false(store_iter_valid(it));
    assert_int_equal(store_iter_status(it), 0);
    store_iter_close(it);
    expect_shown(f, "c", "new");
}

static void covered_position_goes_with_its_batch(void **state)
{
    struct fixture *f = *state;
    struct buf vv;
    uint64_t lsn = 99;

    buf_init(&vv, 100);
    assert_int_equal(store_covered(f->store, false, &lsn, &vv), 0);
    expect_u64(lsn, 0);
    put(f, "a", 1, "one");
    assert_int_equal(store_batch_set_covered(&f->batch, 15, bytes_cstr("vector")), 0);
    expect_u64(store_batch_count(&f->batch), 1);
    commit(f);
    assert_int_equal(store_covered(f->store, false, &lsn, &vv), 0);
    expect_u64(lsn, 15);
    expect_bytes(buf_bytes(&vv), bytes_cstr("vector"));
    assert_int_equal(store_covered(f->store, true, &lsn, NULL), 0);
    expect_u64(lsn, 0);
    assert_int_equal(store_flush(f->store), 0);
    assert_int_equal(store_covered(f->store, true, &lsn, NULL), 0);
    expect_u64(lsn, 15);

    /* Later, not flushed: the persisted one stays where it is. */
    assert_int_equal(store_batch_set_covered(&f->batch, 20, bytes_cstr("")), 0);
    commit(f);
    assert_int_equal(store_covered(f->store, true, &lsn, NULL), 0);
    expect_u64(lsn, 15);
    crash(f);
    assert_int_equal(store_covered(f->store, false, &lsn, NULL), 0);
    expect_u64(lsn, 15);
    expect_shown(f, "a", "one");
    buf_deinit(&vv);
}

static void covered_position_cannot_go_down(void **state)
{
    struct fixture *f = *state;
    uint64_t lsn;

    assert_int_equal(store_batch_set_covered(&f->batch, 15, bytes_cstr("")), 0);
    commit(f);
    put(f, "a", 1, "one");
    assert_int_equal(store_batch_set_covered(&f->batch, 14, bytes_cstr("")), 0);
    assert_int_equal(store_write(f->store, &f->batch, 0), -ERR_RANGE);
    assert_int_equal(status_of(f, "a"), STORE_ABSENT);
    assert_int_equal(store_health(f->store, NULL, 0), 0);
    store_batch_clear(&f->batch);
    assert_int_equal(store_batch_set_covered(&f->batch, 15, bytes_cstr("")), 0);
    commit(f);
    assert_int_equal(store_covered(f->store, false, &lsn, NULL), 0);
    expect_u64(lsn, 15);
}

static void unflushed_batches_are_lost_whole(void **state)
{
    struct fixture *f = *state;

    put(f, "a", 1, "one");
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
    put(f, "a", 2, "two");
    put(f, "b", 2, "two");
    commit(f);
    crash(f);
    expect_shown(f, "a", "one");
    assert_int_equal(status_of(f, "b"), STORE_ABSENT);
}

static void reopen_keeps_what_was_not_flushed(void **state)
{
    struct fixture *f = *state;
    struct store_value held;
    uint64_t lsn;
    char why[STORE_WHY_BYTES];

    put(f, "gone", 1, "one");
    put(f, "joined", 1, "one");
    put(f, "held", 1, "one");
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
    put(f, "new", 1, "one");
    merge(f, "joined", 2, "two");
    merge(f, "operand", 2, "two");
    assert_int_equal(store_batch_delete(&f->batch, bytes_cstr("gone")), 0);
    assert_int_equal(store_batch_set_covered(&f->batch, 7, bytes_cstr("vv")), 0);
    commit(f);
    store_get(f->store, bytes_cstr("held"), STORE_READ_NO_FILL, &held);
    assert_int_equal(store_reopen(f->store, 0, why, sizeof(why)), 0);

    expect_shown(f, "new", "one");
    expect_shown(f, "joined", "two");
    expect_shown(f, "operand", "two");
    assert_int_equal(status_of(f, "gone"), STORE_ABSENT);
    expect_bytes(bytes_from(held.row, 9), bytes_cstr("one"));
    store_value_release(&held);
    assert_int_equal(store_covered(f->store, false, &lsn, NULL), 0);
    expect_u64(lsn, 7);
    assert_int_equal(store_covered(f->store, true, &lsn, NULL), 0);
    expect_u64(lsn, 0);
    assert_int_equal(store_flush(f->store), 0);
    crash(f);
    expect_shown(f, "new", "one");
    assert_int_equal(status_of(f, "gone"), STORE_ABSENT);
}

static void reopen_waits_for_iterators_only_so_long(void **state)
{
    struct fixture *f = *state;
    struct store_iter *it;
    struct store_value v;
    const struct store_iter_options all = {.fill_cache = true};
    char why[STORE_WHY_BYTES];

    put(f, "b", 1, "one");
    commit(f);
    assert_int_equal(store_iter_open(f->store, &all, &it), 0);
    assert_int_equal(store_reopen(f->store, 5, why, sizeof(why)), -ERR_BUSY);
    assert_true(store_is_open(f->store));
    expect_shown(f, "b", "one");
    store_iter_get(it, bytes_cstr("b"), 0, &v);
    assert_int_equal(v.status, STORE_FOUND);
    store_value_release(&v);
    store_iter_close(it);
    assert_int_equal(store_reopen(f->store, 5, why, sizeof(why)), 0);
    expect_shown(f, "b", "one");
}

struct reader {
    struct fixture *f;
    atomic_bool stop;
    uint64_t reads;
    uint64_t wrong;
};

static void *read_on(void *arg)
{
    struct reader *r = arg;
    struct store_value v;

    while (!atomic_load(&r->stop)) {
        store_get(r->f->store, bytes_cstr("a"), 0, &v);
        r->wrong += v.status != STORE_FOUND || !bytes_eq(bytes_from(v.row, 9), bytes_cstr("one"));
        r->reads++;
        store_value_release(&v);
    }
    return NULL;
}

static void readers_wait_for_a_reopen_and_see_no_older_row(void **state)
{
    struct fixture *f = *state;
    struct reader readers[4] = {{.f = f}, {.f = f}, {.f = f}, {.f = f}};
    pthread_t threads[4];
    char why[STORE_WHY_BYTES];

    put(f, "a", 1, "old");
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
    put(f, "a", 2, "one");
    commit(f);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_on, &readers[i]), 0);
    for (size_t i = 0; i < 20; i++)
        assert_int_equal(store_reopen(f->store, 60000, why, sizeof(why)), 0);
    for (size_t i = 0; i < 4; i++) {
        atomic_store(&readers[i].stop, true);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        expect_u64(readers[i].wrong, 0);
    }
}

static void multi_get_gives_each_row_its_own_result(void **state)
{
    struct fixture *f = *state;
    struct bytes keys[100];
    char names[100][8];
    struct store_value out[100];
    const uint8_t bad[] = {0x7e, 1};

    for (size_t i = 0; i < 100; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "k%02zu", 99 - i);
        keys[i] = bytes_cstr(names[i]);
        if (i % 3 == 0)
            put(f, names[i], i, names[i]);
        if (i % 3 == 1)
            assert_int_equal(store_batch_merge(&f->batch, keys[i], bytes_of(bad, 2)), 0);
        if (i == 50)
            commit(f);
    }
    commit(f);
    for (size_t flushed = 0; flushed < 2; flushed++) {
        store_multi_get(f->store, 100, keys, STORE_READ_NO_FILL, out);
        for (size_t i = 0; i < 100; i++) {
            static const enum store_status want[] = {STORE_FOUND, STORE_CORRUPT, STORE_ABSENT};
            assert_int_equal(out[i].status, want[i % 3]);
            if (i % 3 == 0)
                expect_bytes(bytes_from(out[i].row, 9), keys[i]);
            store_value_release(&out[i]);
        }
        assert_int_equal(store_flush(f->store), 0);
    }
}

static void checkpoint_is_a_store_of_its_moment(void **state)
{
    struct fixture *f = *state;
    char *dir = tmpdir_path(f->root, "copy");
    uint64_t lsn;

    put(f, "a", 1, "one");
    assert_int_equal(store_batch_set_covered(&f->batch, 7, bytes_cstr("")), 0);
    commit(f);
    assert_int_equal(store_checkpoint(f->store, dir), 0);
    assert_int_equal(store_checkpoint(f->store, dir), -EEXIST);
    put(f, "a", 2, "two");
    commit(f);
    assert_int_equal(store_flush(f->store), 0);

    struct fixture copy = {.memory = f->memory, .options = f->options};
    copy.options.dir = dir;
    copy.disk = store_mem_disk_checkpoint(f->disk, dir);
    assert_int_equal(fixture_open(&copy), 0);
    expect_shown(&copy, "a", "one");
    assert_int_equal(store_covered(copy.store, true, &lsn, NULL), 0);
    expect_u64(lsn, 7);
    store_close(copy.store);
    store_mem_disk_destroy(copy.disk);
    mem_free(dir);
}

static void read_only_store_sees_what_was_flushed(void **state)
{
    struct fixture *f = *state;
    struct fixture reader = {.memory = f->memory, .options = f->options, .disk = f->disk};

    put(f, "a", 1, "one");
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
    put(f, "b", 1, "one");
    commit(f);
    reader.options.read_only = true;
    assert_int_equal(fixture_open(&reader), 0);
    expect_shown(&reader, "a", "one");
    assert_int_equal(status_of(&reader, "b"), STORE_ABSENT);

    /* The writer goes on beside it, and what the reader sees stays. */
    put(f, "a", 2, "two");
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
    assert_int_equal(store_compact(f->store, bytes_cstr(""), bytes_cstr("")), 0);
    expect_shown(&reader, "a", "one");
    store_close(reader.store);
    expect_shown(f, "a", "two");
}

static void compaction_drops_dead_rows(void **state)
{
    struct fixture *f = *state;
    const uint8_t dead = STORE_ROW_DEAD;
    struct store_stats stats;
    char key[16];

    for (size_t i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof(key), "k%03zu", i);
        put(f, key, 1, "one");
    }
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
    for (size_t i = 0; i < 200; i += 2) {
        (void)snprintf(key, sizeof(key), "k%03zu", i);
        assert_int_equal(store_batch_put(&f->batch, bytes_cstr(key), bytes_of(&dead, 1)), 0);
    }
    commit(f);
    assert_int_equal(store_flush(f->store), 0);
    assert_int_equal(store_compact(f->store, bytes_cstr(""), bytes_cstr("")), 0);
    for (size_t i = 0; i < 200; i++) {
        (void)snprintf(key, sizeof(key), "k%03zu", i);
        assert_int_equal(status_of(f, key), i % 2 == 0 ? STORE_ABSENT : STORE_FOUND);
    }
    store_stats(f->store, &stats);
    expect_u64(stats.keys_estimate, 100);
}

static void empty_batch_changes_nothing(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(store_write(f->store, &f->batch, STORE_WRITE_NO_SLOWDOWN), 0);
    assert_int_equal(store_flush(f->store), 0);
    assert_int_equal(store_health(f->store, NULL, 0), 0);
}

/* --- random operations against a plain array --- */

struct model_row {
    bool present;
    size_t len;
    uint8_t row[ROW_BYTES_MAX];
};

struct model {
    struct model_row now[MODEL_KEYS];
    struct model_row flushed[MODEL_KEYS];
    uint64_t lsn;
    uint64_t flushed_lsn;
};

/* Keys of uneven length, in the order of their numbers. */
static struct bytes model_key(size_t index, uint8_t *out)
{
    be16_store(out, (uint16_t)index);
    memset(out + 2, 'k', 1 + index % 20);
    return bytes_of(out, 3 + index % 20);
}

static struct bytes model_row(const struct model_row *m)
{
    return bytes_of(m->row, m->len);
}

static void model_set(struct model_row *m, struct bytes row)
{
    m->present = true;
    m->len = row.len;
    memcpy(m->row, row.ptr, row.len);
}

static void model_batch(struct fixture *f, struct model *m, struct rng *rng)
{
    uint8_t key_bytes[32];
    uint8_t row_bytes[ROW_BYTES_MAX];

    for (uint64_t n = rng_below(rng, MODEL_OPS); n > 0; n--) {
        const size_t index = rng_below(rng, MODEL_KEYS);
        const struct bytes key = model_key(index, key_bytes);
        struct model_row *r = &m->now[index];
        rng_bytes(rng, row_bytes, sizeof(row_bytes));
        row_bytes[0] = (uint8_t)(rng_below(rng, 10) == 0 ? STORE_ROW_DEAD : 0x01);
        const size_t len = row_bytes[0] == STORE_ROW_DEAD ? 1 : 9 + rng_below(rng, 50);
        const struct bytes row = bytes_of(row_bytes, len);
        switch (rng_below(rng, 4)) {
        case 0:
            assert_int_equal(store_batch_delete(&f->batch, key), 0);
            r->present = false;
            break;
        case 1:
            assert_int_equal(store_batch_put(&f->batch, key, row), 0);
            model_set(r, row);
            break;
        default:
            assert_int_equal(store_batch_merge(&f->batch, key, row), 0);
            if (!r->present || bytes_cmp(row, model_row(r)) > 0)
                model_set(r, row);
            break;
        }
    }
    m->lsn += 1 + rng_below(rng, 5);
    assert_int_equal(store_batch_set_covered(&f->batch, m->lsn, bytes_cstr("vv")), 0);
    commit(f);
}

static bool model_shows(const struct model_row *r)
{
    return r->present && r->row[0] != STORE_ROW_DEAD;
}

static void model_compare_reads(struct fixture *f, const struct model *m, struct rng *rng)
{
    uint8_t key_bytes[MODEL_READS_MAX][32];
    struct bytes keys[MODEL_READS_MAX];
    struct store_value out[MODEL_READS_MAX];
    const size_t n = 1 + rng_below(rng, MODEL_READS_MAX);
    const size_t start = rng_below(rng, MODEL_KEYS - n);

    for (size_t i = 0; i < n; i++)
        keys[i] = model_key(start + i, key_bytes[i]);
    store_multi_get(f->store, n, keys, rng_below(rng, 2) == 0 ? STORE_READ_SORTED : 0, out);
    for (size_t i = 0; i < n; i++) {
        const struct model_row *r = &m->now[start + i];
        assert_int_equal(out[i].status, model_shows(r) ? STORE_FOUND : STORE_ABSENT);
        if (model_shows(r))
            expect_bytes(out[i].row, model_row(r));
        store_value_release(&out[i]);
        store_get(f->store, keys[i], STORE_READ_MEMORY_ONLY, &out[i]);
        if (out[i].status != STORE_INCOMPLETE)
            assert_int_equal(out[i].status, model_shows(r) ? STORE_FOUND : STORE_ABSENT);
        store_value_release(&out[i]);
    }
}

static void model_compare_scan(struct fixture *f, const struct model *m, struct rng *rng)
{
    uint8_t low[32];
    uint8_t high[32];
    uint8_t at[32];
    const size_t from = rng_below(rng, MODEL_KEYS);
    const size_t to = from + rng_below(rng, MODEL_KEYS - from);
    const struct store_iter_options options = {.lower = model_key(from, low),
                                               .upper = model_key(to, high)};
    struct store_iter *it;
    struct bytes row;

    assert_int_equal(store_iter_open(f->store, &options, &it), 0);
    store_iter_seek(it, bytes_cstr(""));
    for (size_t i = from; i < to; i++) {
        if (!model_shows(&m->now[i]))
            continue;
        assert_true(store_iter_valid(it));
        expect_bytes(store_iter_key(it), model_key(i, at));
        assert_int_equal(store_iter_row(it, &row), STORE_FOUND);
        expect_bytes(row, model_row(&m->now[i]));
        store_iter_next(it);
    }
    assert_false(store_iter_valid(it));
    store_iter_seek_prev(it, model_key(to, high));
    for (size_t i = to; i > from; i--) {
        if (!model_shows(&m->now[i - 1]))
            continue;
        assert_true(store_iter_valid(it));
        expect_bytes(store_iter_key(it), model_key(i - 1, at));
        store_iter_prev(it);
    }
    assert_false(store_iter_valid(it));
    assert_int_equal(store_iter_status(it), 0);
    store_iter_close(it);
}

static void random_operations_match_a_model(void **state)
{
    struct fixture *f = *state;
    struct model *m = mem_zalloc(sizeof(*m));
    struct rng rng;
    uint64_t lsn;
    char why[STORE_WHY_BYTES];

    seed_rng(&rng, f->memory ? 1 : 2);
    for (size_t round = 0; round < MODEL_ROUNDS; round++) {
        model_batch(f, m, &rng);
        const uint64_t what = rng_below(&rng, 12);
        if (what < 4) {
            assert_int_equal(store_flush(f->store), 0);
            memcpy(m->flushed, m->now, sizeof(m->now));
            m->flushed_lsn = m->lsn;
        } else if (what == 4) {
            assert_int_equal(store_compact(f->store, bytes_cstr(""), bytes_cstr("")), 0);
            assert_int_equal(store_covered(f->store, true, &lsn, NULL), 0);
            if (lsn == m->lsn) { /* A compaction may flush before. */
                memcpy(m->flushed, m->now, sizeof(m->now));
                m->flushed_lsn = lsn;
            }
        } else if (what == 5) {
            crash(f);
            memcpy(m->now, m->flushed, sizeof(m->now));
            m->lsn = m->flushed_lsn;
        } else if (what < 8) {
            assert_int_equal(store_reopen(f->store, 0, why, sizeof(why)), 0);
        }
        assert_int_equal(store_covered(f->store, true, &lsn, NULL), 0);
        expect_u64(lsn, m->flushed_lsn);
        model_compare_reads(f, m, &rng);
        model_compare_scan(f, m, &rng);
    }
    mem_free(m);
}

#define BOTH(test)                                                 \
    cmocka_unit_test_setup_teardown(test, setup_memory, teardown), \
        cmocka_unit_test_setup_teardown(test, setup_rocksdb, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(put_merge_and_delete_of_one_row),
        BOTH(last_record_of_a_batch_wins),
        BOTH(dead_row_reads_as_absent),
        BOTH(refused_join_is_poison_until_replaced),
        BOTH(iterator_keeps_its_moment),
        BOTH(covered_position_goes_with_its_batch),
        BOTH(covered_position_cannot_go_down),
        BOTH(unflushed_batches_are_lost_whole),
        BOTH(reopen_keeps_what_was_not_flushed),
        BOTH(reopen_waits_for_iterators_only_so_long),
        BOTH(readers_wait_for_a_reopen_and_see_no_older_row),
        BOTH(multi_get_gives_each_row_its_own_result),
        BOTH(checkpoint_is_a_store_of_its_moment),
        BOTH(read_only_store_sees_what_was_flushed),
        BOTH(compaction_drops_dead_rows),
        BOTH(empty_batch_changes_nothing),
        BOTH(random_operations_match_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
