/* The checkpoint of the key table: what is written is read, and damage is noticed. */
#include <errno.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/io/file.h"
#include "engine/space/keyfile.h"
#include "engine/value/row.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

/* Enough for several blocks, and for a slot whose keys span two. */
#define KEYS 40000

struct fixture {
    char *dir;
    char *path;
    struct rng rng;
    uint16_t slot[KEYS];
    uint64_t state[KEYS];
    uint32_t count;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    seed_rng(&f->rng, 1);
    f->dir = tmpdir_create();
    f->path = tmpdir_path(f->dir, "keys-000001");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    mem_free(f->path);
    tmpdir_remove(f->dir);
    mem_free(f);
    return 0;
}

/* Ascending keys: a third of them in one slot, the rest anywhere behind. */
static void make_keys(struct fixture *f, uint32_t count)
{
    uint16_t slot = 3;
    uint64_t hash = 0;

    f->count = count;
    for (uint32_t i = 0; i < count; i++) {
        if (i > count / 3 && rng_below(&f->rng, 4) == 0) {
            slot = (uint16_t)(slot + 1);
            hash = 0;
        }
        hash += (1 + rng_below(&f->rng, 1u << 30)) << KEYSTATE_CUT_BITS;
        f->slot[i] = slot;
        f->state[i] = keystate_of(hash, (uint8_t)(1 + rng_below(&f->rng, VT_STREAM)),
                                  rng_below(&f->rng, 2) == 0);
    }
}

static void write_keys(struct fixture *f)
{
    const struct keyfile_head head = {.id = 7, .base = 11, .covered_lsn = 13, .written_ms = 17};
    struct keyfile_writer w;

    assert_int_equal(keyfile_create(&w, f->path, &head), 0);
    for (uint32_t i = 0; i < f->count; i++)
        assert_int_equal(keyfile_add(&w, f->slot[i], f->state[i]), 0);
    assert_int_equal(keyfile_finish(&w), 0);
}

/* 0 when all is read and as it was written. */
static int read_keys(const struct fixture *f)
{
    struct keyfile_reader r;
    struct keyfile_group g;
    uint32_t at = 0;
    int step;

    const int err = keyfile_open(&r, f->path);
    if (err != 0)
        return err;
    assert_int_equal(r.head.id, 7);
    assert_int_equal(r.head.base, 11);
    assert_int_equal(r.head.covered_lsn, 13);
    assert_int_equal(r.head.written_ms, 17);
    while ((step = keyfile_next(&r, &g)) > 0) {
        for (uint32_t i = 0; i < g.count; i++, at++) {
            assert_true(at < f->count);
            assert_int_equal(g.slot, f->slot[at]);
            assert_int_equal(keystate_load(g.states + (size_t)i * KEYSTATE_BYTES), f->state[at]);
        }
    }
    keyfile_close(&r);
    if (step == 0)
        assert_int_equal(at, f->count);
    return step;
}

static void a_file_gives_back_its_keys(void **state)
{
    static const uint32_t counts[] = {0, 1, 2, 9362, 9363, KEYS};
    struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_COUNT(counts); i++) {
        make_keys(f, counts[i]);
        write_keys(f);
        assert_int_equal(read_keys(f), 0);
    }
}

static void a_flipped_bit_is_noticed_wherever_it_is(void **state)
{
    struct fixture *f = *state;
    struct buf good;

    make_keys(f, 300);
    write_keys(f);
    buf_init(&good, 1u << 20);
    assert_int_equal(file_read_all(f->path, &good), 0);
    for (size_t bit = 0; bit < good.len * 8; bit++) {
        good.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        const int fd = file_open(f->path, FILE_WRITE);
        assert_true(fd >= 0);
        assert_int_equal(file_write_full(fd, good.ptr, good.len, 0), 0);
        assert_int_equal(file_close(fd), 0);
        assert_true(read_keys(f) < 0);
        good.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    buf_deinit(&good);
}

static void a_file_that_is_cut_or_continued_is_noticed(void **state)
{
    struct fixture *f = *state;
    struct buf good;

    make_keys(f, KEYS);
    write_keys(f);
    buf_init(&good, 1u << 20);
    assert_int_equal(file_read_all(f->path, &good), 0);
    for (int i = 0; i < 50; i++) {
        const size_t len = (size_t)rng_below(&f->rng, good.len);
        assert_int_equal(file_write_atomic(f->path, bytes_of(good.ptr, len)), 0);
        assert_true(read_keys(f) < 0);
    }
    assert_int_equal(buf_append_u8(&good, 0), 0);
    assert_int_equal(file_write_atomic(f->path, buf_bytes(&good)), 0);
    assert_int_equal(read_keys(f), -ERR_CORRUPT);
    buf_deinit(&good);
}

static void what_is_begun_leaves_the_old_file_alone(void **state)
{
    const struct keyfile_head head = {.id = 8};
    struct fixture *f = *state;
    struct keyfile_writer w;

    make_keys(f, 10);
    write_keys(f);
    assert_int_equal(keyfile_create(&w, f->path, &head), 0);
    assert_int_equal(keyfile_add(&w, 1, keystate_of(1ull << 40, VT_STRING, false)), 0);
    assert_int_equal(read_keys(f), 0);
    keyfile_abort(&w);
    assert_int_equal(read_keys(f), 0);
    keyfile_remove(f->path);
    assert_int_equal(read_keys(f), -ENOENT);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_file_gives_back_its_keys),
        TEST(a_flipped_bit_is_noticed_wherever_it_is),
        TEST(a_file_that_is_cut_or_continued_is_noticed),
        TEST(what_is_begun_leaves_the_old_file_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
