/*
 * Write-back: what the batches say of themselves. In a group every one carries the note, also the
 * first ones after a start, which cover nothing new, and those behind one that the store refused.
 */
#include "engine/base/mem.h"

#include "engine/space/flush.h"
#include "engine/space/keyspace.h"
#include "engine/store/store.h"
#include "engine/store/store_mem.h"

#include "tests/lib/rig.h"
#include "tests/lib/tcase.h"

#define HASH_SEED 77
#define NOW_MS    1700000000000ull
/* More than one batch has when everything is written at once. */
#define VALUE_BYTES (1100u << 10)

struct fixture {
    struct store_mem_disk *disk;
    struct rig rig;
    struct keyspace *ks;
    struct vv vv;
    uint64_t lsn;
};

static int setup(void **state)
{
    static struct fixture f;

    f = (struct fixture){.disk = store_mem_disk_create()};
    rig_open(&f.rig, f.disk, 1);
    const struct ks_options options = rig_options(&f.rig, HASH_SEED);
    assert_int_equal(ks_create(&options, &f.ks), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    rig_settle(&f->rig, f->ks);
    rig_close(&f->rig, f->ks);
    store_mem_disk_destroy(f->disk);
    return 0;
}

static void note(struct fixture *f, const char *text)
{
    ks_flush_note(f->ks, bytes_cstr(text));
}

static void point(struct fixture *f)
{
    ks_flush_point(f->ks, f->lsn, &f->vv);
}

/* A large value at the next position. */
static void set(struct fixture *f, const char *name)
{
    uint8_t *value = mem_zalloc(VALUE_BYTES);
    const struct ks_key key = ks_key_of(bytes_cstr(name), HASH_SEED);
    const struct tag tag = tag_of(hlc_make(NOW_MS, (uint16_t)++f->lsn), 1);

    ks_apply_set(f->ks, &key, tag, f->lsn, bytes_of(value, VALUE_BYTES), 0);
    assert_int_equal(vv_raise(&f->vv, tag), 0);
    mem_free(value);
}

static void expect_covered(const struct fixture *f, uint64_t lsn, const char *text)
{
    struct buf covered;
    struct vv vv;
    uint64_t got;

    buf_init(&covered, 4096);
    assert_int_equal(store_covered(f->rig.store, false, &got, &covered), 0);
    struct bytes in = buf_bytes(&covered);
    assert_int_equal(vv_decode(&in, &vv), 0);
    expect_u64(got, lsn);
    expect_u64(vv_get(&vv, 1), lsn == 0 ? 0 : hlc_make(NOW_MS, (uint16_t)lsn));
    expect_bytes(in, bytes_cstr(text));
    buf_deinit(&covered);
}

static void begin(struct fixture *f)
{
    ks_flush_begin(f->ks, f->lsn, &f->vv);
}

static void the_first_batch_carries_the_note(void **state)
{
    struct fixture *f = *state;

    begin(f);
    note(f, "first");
    set(f, "a");
    set(f, "b"); /* Within one turn: there is no point between them. */
    assert_int_equal(ks_flush_batch_now(f->ks), 0);
    assert_true(ks_flush_needed(f->ks));
    expect_covered(f, 0, "first");
    note(f, "second");
    point(f);
    assert_int_equal(ks_flush_batch_now(f->ks), 0);
    assert_false(ks_flush_needed(f->ks));
    expect_covered(f, 2, "second");
}

/* One that would have covered everything fails; the next one has less of it. */
static void so_does_the_one_after_a_failure(void **state)
{
    static const struct store_mem_faults once = {.write_nth = 1};
    struct fixture *f = *state;

    begin(f);
    for (unsigned i = 0; i < 3; i++) {
        set(f, i == 0 ? "a" : i == 1 ? "b" : "c");
        point(f);
    }
    note(f, "first");
    store_mem_disk_set_faults(f->disk, &once);
    assert_true(ks_flush_start(f->ks, UINT64_C(8) << 20, 0));
    while (!ks_flush_step(f->ks)) {
    }
    ks_flush_on_durable(f->ks, f->lsn);
    rig_settle(&f->rig, f->ks);
    assert_true(ks_flush_needed(f->ks));
    note(f, "second");
    assert_int_equal(ks_flush_batch_now(f->ks), 0);
    assert_true(ks_flush_needed(f->ks));
    expect_covered(f, 0, "second");
    assert_int_equal(ks_flush_now(f->ks), 0);
    expect_covered(f, 3, "second");
}

/* It is what garbage collection does, to rows that the store has: their position is an old one. */
static void a_change_of_what_is_covered_takes_nothing_back(void **state)
{
    struct fixture *f = *state;

    begin(f);
    set(f, "a");
    set(f, "b");
    point(f);
    note(f, "first");
    assert_int_equal(ks_flush_now(f->ks), 0);
    expect_covered(f, 2, "first");
    f->lsn = 0;
    set(f, "a");
    set(f, "b");
    note(f, "second");
    assert_int_equal(ks_flush_batch_now(f->ks), 0);
    assert_true(ks_flush_needed(f->ks));
    expect_covered(f, 2, "second");
}

/* What is here without having passed through the log: a copy that is complete. */
static void a_point_that_is_given_again_counts(void **state)
{
    struct fixture *f = *state;

    begin(f);
    assert_int_equal(vv_raise(&f->vv, tag_of(hlc_make(NOW_MS, 9), 2)), 0);
    point(f);
    note(f, "copied");
    set(f, "a");
    set(f, "b");
    point(f);
    assert_int_equal(ks_flush_batch_now(f->ks), 0);

    struct buf covered;
    struct vv vv;
    uint64_t lsn;
    buf_init(&covered, 4096);
    assert_int_equal(store_covered(f->rig.store, false, &lsn, &covered), 0);
    struct bytes in = buf_bytes(&covered);
    assert_int_equal(vv_decode(&in, &vv), 0);
    expect_u64(lsn, 0);
    expect_u64(vv_get(&vv, 2), hlc_make(NOW_MS, 9));
    buf_deinit(&covered);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_batch_carries_the_note, setup, teardown),
        cmocka_unit_test_setup_teardown(so_does_the_one_after_a_failure, setup, teardown),
        cmocka_unit_test_setup_teardown(a_change_of_what_is_covered_takes_nothing_back, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_point_that_is_given_again_counts, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
