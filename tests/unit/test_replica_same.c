/*
 * What two members have the same, by sums of their rows: over which slots a comparison goes, and
 * what it says of rows that cannot be read.
 */
#include "engine/base/crc16.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/store/store.h"
#include "engine/store/store_mem.h"
#include "engine/value/row.h"
#include "engine/value/rowkey.h"

#include "replication/replica_same.h"

#include "tests/lib/tcase.h"

#define SLOT_ROWS 1000u

struct fixture {
    struct store_mem_disk *disk;
    struct store *store;
    struct store_batch batch;
    struct buf sums;
    struct buf differ;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));
    const struct store_options options = {.dir = NULL};

    f->disk = store_mem_disk_create();
    store_batch_init(&f->batch, 64u << 20);
    buf_init(&f->sums, SIZE_MAX);
    buf_init(&f->differ, SIZE_MAX);
    *state = f;
    return store_mem_open(f->disk, &options, &f->store);
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    store_close(f->store);
    store_mem_disk_destroy(f->disk);
    store_batch_deinit(&f->batch);
    buf_deinit(&f->sums);
    buf_deinit(&f->differ);
    mem_free(f);
    return 0;
}

/* The key in the store of a row of a slot. */
static struct bytes key_of(uint16_t slot, uint32_t i)
{
    static uint8_t key[64];
    uint8_t name[6];

    be16_store(name, slot);
    be32_store(name + 2, i);
    return bytes_of(key, rowkey_store_key(key, slot, i, bytes_of(name, sizeof(name))));
}

/* So many rows in a slot. */
static void fill(struct fixture *f, uint16_t slot, uint32_t count)
{
    uint8_t row[64];
    const size_t len = row_value_store(row, tag_of(1, 1), BYTES_LIT("v"), 0);

    store_batch_clear(&f->batch);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(store_batch_put(&f->batch, key_of(slot, i), bytes_of(row, len)), 0);
    assert_int_equal(store_write(f->store, &f->batch, 0), 0);
}

/* Where the comparison ends. */
static uint16_t compare(struct fixture *f, const struct wire_sync_range *range)
{
    const struct store_iter_options options = {.readahead_bytes = 1u << 20};
    struct store_iter *it;
    uint16_t end = 0;

    assert_int_equal(store_iter_open(f->store, &options, &it), 0);
    assert_int_equal(replica_same_compare(it, range, &f->differ, &end), 0);
    store_iter_close(it);
    expect_u64(f->differ.len, wire_sync_differ_bytes(range->bits));
    return end;
}

/* All slots from one on, of one who has nothing there. */
static uint16_t compare_nothing(struct fixture *f, uint16_t first)
{
    static const uint8_t nothing[8];
    const struct wire_sync_range range = {
        .first = first, .end = KEY_SLOTS, .seed = 7, .sums = bytes_of(nothing, sizeof(nothing))};

    return compare(f, &range);
}

static uint16_t sum(struct fixture *f, uint16_t first, struct wire_sync_range *out)
{
    assert_int_equal(replica_same_sum(f->store, first, &f->sums, out), 0);
    return out->end;
}

static bool differs(const struct fixture *f, const struct wire_sync_range *range, struct bytes key)
{
    return wire_sync_differs(buf_bytes(&f->differ), replica_same_bucket(key, range));
}

/* One who asks may have nothing: what it is given is no more than so many rows at a time. */
static void a_range_ends_where_the_giver_has_enough(void **state)
{
    struct fixture *f = *state;
    const uint32_t enough = 2 * SAME_ROWS / SLOT_ROWS + 1;

    for (uint16_t slot = 0; slot < 2 * enough; slot++)
        fill(f, (uint16_t)(5 + slot), SLOT_ROWS);
    expect_u64(compare_nothing(f, 0), 5u + enough);
    assert_int_equal(f->differ.ptr[0], 1);
    /* As many are left: it does not end behind the last of them. */
    expect_u64(compare_nothing(f, (uint16_t)(5 + enough)), KEY_SLOTS);
    assert_int_equal(f->differ.ptr[0], 1);
    expect_u64(compare_nothing(f, (uint16_t)(5 + 2 * enough)), KEY_SLOTS);
    assert_int_equal(f->differ.ptr[0], 0);
}

/* What the asker has in slots that were not compared makes no row the same that is not. */
static void rows_behind_the_end_make_nothing_the_same(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_range range;

    for (uint16_t slot = 0; slot < 4; slot++)
        fill(f, slot, SLOT_ROWS);
    expect_u64(sum(f, 0, &range), KEY_SLOTS);
    expect_u64(compare(f, &range), KEY_SLOTS);
    for (size_t i = 0; i < f->differ.len; i++)
        assert_int_equal(f->differ.ptr[i], 0);

    fill(f, 1, 3 * SAME_ROWS);
    expect_u64(compare(f, &range), 2);
    for (uint32_t i = SLOT_ROWS; i < 3 * SAME_ROWS; i++)
        assert_true(differs(f, &range, key_of(1, i)));
}

/* Nor is more than that walked when it is all in one slot. */
static void a_slot_that_is_too_large_is_given_alone_and_whole(void **state)
{
    struct fixture *f = *state;

    fill(f, 3, SLOT_ROWS);
    for (uint32_t at = 0; at < 2; at++)
        fill(f, (uint16_t)(4 + at), 2 * SAME_ROWS_MAX + 1);
    expect_u64(compare_nothing(f, 0), 4);
    assert_int_equal(f->differ.ptr[0], 1);
    expect_u64(compare_nothing(f, 4), 5);
    assert_int_equal(f->differ.ptr[0], 0xff);
    expect_u64(compare_nothing(f, 5), 6);
}

/* Both have it, and neither knows what it is: it may be another one. */
static void a_row_that_nobody_can_read_is_not_the_same(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_range range;

    fill(f, 9, SLOT_ROWS);
    assert_int_equal(store_flush(f->store), 0);
    assert_true(store_mem_disk_corrupt(f->disk, key_of(9, 17), 33));
    expect_u64(sum(f, 0, &range), KEY_SLOTS);
    expect_u64(compare(f, &range), KEY_SLOTS);
    assert_true(differs(f, &range, key_of(9, 17)));
    uint32_t alike = 0;
    for (uint32_t i = 0; i < SLOT_ROWS; i++)
        alike += !differs(f, &range, key_of(9, i));
    assert_true(alike > SLOT_ROWS / 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_range_ends_where_the_giver_has_enough, setup, teardown),
        cmocka_unit_test_setup_teardown(rows_behind_the_end_make_nothing_the_same, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slot_that_is_too_large_is_given_alone_and_whole, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_row_that_nobody_can_read_is_not_the_same, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
