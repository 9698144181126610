/*
 * The walk over all keys, while keys go from one tier to the other between the read of a stretch's
 * names and the showing.
 */
#include <stdio.h>
#include <string.h>

#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/space/group.h"
#include "engine/space/keyspace.h"
#include "engine/space/resident.h"
#include "engine/space/scan.h"
#include "engine/store/store_mem.h"
#include "engine/value/op.h"

#include "tests/lib/rig.h"
#include "tests/lib/tcase.h"

#define KEYS      300
#define COUNT     1000 /* All keys are one stretch. */
#define HASH_SEED 77
#define NOW_MS    1700000000000ull
#define SECOND    1000000000ull

struct fixture {
    struct store_mem_disk *disk;
    struct rig rig;
    struct keyspace *ks;
    struct ks_wait wait;
    struct vv vv;
    uint64_t lsn;
    uint32_t shown[KEYS];
    uint32_t expired[KEYS];
};

static void fixture_open_as(struct fixture *f, bool group)
{
    *f = (struct fixture){.lsn = 1, .wait = {.on_ready = rig_on_ready}};
    f->disk = store_mem_disk_create();
    rig_open(&f->rig, f->disk, 1);
    struct ks_options options = rig_options(&f->rig, HASH_SEED);
    options.origin = 1;
    options.group = group;
    assert_int_equal(ks_create(&options, &f->ks), 0);
}

static void fixture_open(struct fixture *f)
{
    fixture_open_as(f, false);
}

static void fixture_close(struct fixture *f)
{
    rig_settle(&f->rig, f->ks);
    rig_close(&f->rig, f->ks);
    store_mem_disk_destroy(f->disk);
}

static struct ks_key key_of(uint32_t i, char name[24])
{
    return ks_key_of(bytes_of(name, (size_t)snprintf(name, 24, "key:%u", i)), HASH_SEED);
}

/* Keys [from, to) become hot and unwritten. */
static void set(struct fixture *f, uint32_t from, uint32_t to, uint64_t expire_at_ms)
{
    char name[24];

    for (uint32_t i = from; i < to; i++) {
        const struct ks_key key = key_of(i, name);
        f->lsn++;
        ks_apply_set(f->ks, &key, tag_of(hlc_make(NOW_MS, (uint16_t)f->lsn), 1), f->lsn,
                     bytes_of("value", 5), expire_at_ms);
    }
}

/* All keys become cold. */
static void chill(struct fixture *f)
{
    struct ks_sizes sizes;

    ks_flush_point(f->ks, f->lsn, &f->vv);
    assert_int_equal(ks_flush_now(f->ks), 0);
    for (int round = 0; round < 100; round++) {
        ks_sizes(f->ks, &sizes);
        if (sizes.hot_bytes == 0)
            return;
        (void)ks_demote_some(f->ks, sizes.hot_bytes, SECOND);
    }
    fail_msg("keys stay hot");
}

static void show(void *ctx, struct bytes name, uint8_t type, bool expired)
{
    struct fixture *f = ctx;
    char text[24] = {0};
    unsigned i;

    assert_int_equal(type, VT_STRING);
    assert_in_range(name.len, 1, sizeof(text) - 1);
    memcpy(text, name.ptr, name.len);
    assert_int_equal(sscanf(text, "key:%u", &i), 1); /* NOLINT(cert-err34-c) */
    assert_in_range(i, 0, KEYS - 1);
    f->shown[i]++;
    f->expired[i] += expired;
}

static int scan(struct fixture *f)
{
    const struct ks_scan step = {
        .count = COUNT, .now_ms = NOW_MS, .wait = &f->wait, .fn = show, .ctx = f};
    uint64_t cursor = 0;

    const int err = ks_scan(f->ks, &step, &cursor);
    assert_int_equal(cursor, 0);
    return err;
}

/* The names of the only stretch are read, and not shown yet. */
static void read_names(struct fixture *f)
{
    assert_int_equal(scan(f), 1);
    while (f->wait.pending != 0)
        rig_turn(&f->rig);
    assert_int_equal(f->wait.err, 0);
}

/* Each once, and alive. */
static void assert_all_shown(struct fixture *f)
{
    assert_int_equal(scan(f), 0);
    for (uint32_t i = 0; i < KEYS; i++) {
        assert_int_equal(f->shown[i], 1);
        assert_int_equal(f->expired[i], 0);
    }
}

static void keys_written_and_demoted_after_the_read_are_shown(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f);
    set(&f, 0, KEYS / 2, 0);
    chill(&f);
    set(&f, KEYS / 2, KEYS, 0);
    read_names(&f);
    chill(&f);
    assert_all_shown(&f);
    fixture_close(&f);
}

/* Of the second half an old row was read; some are demoted twice, some are hot again. */
static void keys_are_shown_once_and_as_they_are_now(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f);
    set(&f, 0, KEYS / 2, 0);
    set(&f, KEYS / 2, KEYS, NOW_MS - 1);
    chill(&f);
    read_names(&f);
    set(&f, KEYS / 2, KEYS, 0);
    chill(&f);
    set(&f, KEYS / 4, KEYS, 0);
    chill(&f);
    set(&f, KEYS - 10, KEYS, 0);
    assert_all_shown(&f);
    fixture_close(&f);
}

/* --- names that are too long for one stretch --- */

#define LONG_NAMES 170
#define LONG_BYTES 60000u

static struct ks_key long_key_of(uint32_t i, char name[LONG_BYTES])
{
    memset(name, 'x', LONG_BYTES);
    (void)key_of(i, name);
    return ks_key_of(bytes_of(name, LONG_BYTES), HASH_SEED);
}

static void show_long(void *ctx, struct bytes name, uint8_t type, bool expired)
{
    struct fixture *f = ctx;
    char text[24] = {0};
    unsigned i;

    (void)type;
    (void)expired;
    assert_int_equal(name.len, LONG_BYTES);
    memcpy(text, name.ptr, sizeof(text) - 1);
    assert_int_equal(sscanf(text, "key:%u", &i), 1); /* NOLINT(cert-err34-c) */
    assert_in_range(i, 0, LONG_NAMES - 1);
    f->shown[i]++;
}

/* A whole walk, with all keys asked for at once. */
static void walk_long(struct fixture *f)
{
    const struct ks_scan step = {
        .count = COUNT, .now_ms = NOW_MS, .wait = &f->wait, .fn = show_long, .ctx = f};
    uint64_t cursor = 0;
    int err = 1;

    for (int calls = 0; err != 0 || cursor != 0; calls++) {
        assert_in_range(calls, 0, 1000);
        err = ks_scan(f->ks, &step, &cursor);
        assert_in_range(err, 0, 1);
        while (f->wait.pending != 0)
            rig_turn(&f->rig);
    }
    for (uint32_t i = 0; i < LONG_NAMES; i++)
        assert_int_equal(f->shown[i], 1);
}

/* The names of a stretch had a limit, and the reply to SCAN was an error that told of damage. */
static void names_beyond_the_limit_of_a_stretch_are_shown_in_several(void **state)
{
    static char name[LONG_BYTES];
    struct fixture f;

    (void)state;
    fixture_open(&f);
    for (uint32_t i = 0; i < LONG_NAMES; i++) {
        const struct ks_key key = long_key_of(i, name);
        f.lsn++;
        ks_apply_set(f.ks, &key, tag_of(hlc_make(NOW_MS, (uint16_t)f.lsn), 1), f.lsn,
                     bytes_of("value", 5), 0);
    }
    chill(&f);
    walk_long(&f);
    fixture_close(&f);
}

/* They were read again for ever, until they had left the overlay. */
static void names_in_the_overlay_beyond_the_limit_are_shown(void **state)
{
    static char name[LONG_BYTES];
    struct fixture f;

    (void)state;
    fixture_open_as(&f, true);
    for (uint32_t i = 0; i < LONG_NAMES; i++) {
        const struct ks_key key = long_key_of(i, name);
        const struct op op = {.kind = OP_SET, .key = key.name, .value = bytes_of("value", 5)};
        const struct batch batch = {
            .origin = 2, .seq = i + 1, .hlc = hlc_make(NOW_MS, (uint16_t)i)};
        ks_group_apply(f.ks, &key, &op, &batch, ++f.lsn);
    }
    walk_long(&f);
    ks_flush_point(f.ks, f.lsn, &f.vv);
    assert_int_equal(ks_flush_now(f.ks), 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_written_and_demoted_after_the_read_are_shown),
        cmocka_unit_test(keys_are_shown_once_and_as_they_are_now),
        cmocka_unit_test(names_beyond_the_limit_of_a_stretch_are_shown_in_several),
        cmocka_unit_test(names_in_the_overlay_beyond_the_limit_are_shown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
