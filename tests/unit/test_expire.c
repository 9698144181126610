/* Keys that are due: what the looks at the index on flash find, and what they leave there. */
#include <stdio.h>

#include "engine/space/demote.h"
#include "engine/space/expire.h"
#include "engine/space/flush.h"
#include "engine/space/keyspace.h"
#include "engine/store/store.h"
#include "engine/store/store_mem.h"
#include "engine/value/rowkey.h"

#include "tests/lib/rig.h"
#include "tests/lib/tcase.h"

#define HASH_SEED 77
#define NOW_MS    1700000000000ull
/* Between two looks from the begin of the index. */
#define AGAIN_MS 20000
#define SECOND   1000000000ull

struct fixture {
    struct store_mem_disk *disk;
    struct rig rig;
    struct keyspace *ks;
    struct vv vv;
    uint64_t lsn;
    uint64_t now_ms;
    bool refuses; /* Who is told of a key does not reclaim it. */
    unsigned found;
    char last[24]; /* The name found last. */
};

static void fixture_open(struct fixture *f)
{
    *f = (struct fixture){.now_ms = NOW_MS};
    f->disk = store_mem_disk_create();
    rig_open(&f->rig, f->disk, 1);
    const struct ks_options options = rig_options(&f->rig, HASH_SEED);
    assert_int_equal(ks_create(&options, &f->ks), 0);
}

static void fixture_close(struct fixture *f)
{
    rig_settle(&f->rig, f->ks);
    rig_close(&f->rig, f->ks);
    store_mem_disk_destroy(f->disk);
}

static struct ks_key key_of(const char *name)
{
    return ks_key_of(bytes_cstr(name), HASH_SEED);
}

static struct tag next_tag(struct fixture *f)
{
    f->lsn++;
    return tag_of(hlc_make(NOW_MS, (uint16_t)f->lsn), 1);
}

static void set(struct fixture *f, const char *name, uint64_t expire_at_ms)
{
    const struct ks_key key = key_of(name);
    const struct tag tag = next_tag(f);

    ks_apply_set(f->ks, &key, tag, f->lsn, BYTES_LIT("value"), expire_at_ms);
}

/* All keys become cold. */
static void chill(struct fixture *f)
{
    ks_flush_point(f->ks, f->lsn, &f->vv);
    assert_int_equal(ks_flush_now(f->ks), 0);
    for (int round = 0; round < 100 && ks_count_hot(f->ks) != 0; round++)
        (void)ks_demote_some(f->ks, UINT64_MAX, SECOND);
    expect_u64(ks_count_hot(f->ks), 0);
}

static void on_due(void *ctx, const struct ks_key *key)
{
    struct fixture *f = ctx;

    f->found++;
    (void)snprintf(f->last, sizeof(f->last), "%.*s", (int)key->name.len,
                   (const char *)key->name.ptr);
    if (f->refuses)
        return;
    const struct tag tag = next_tag(f);
    ks_apply_del(f->ks, key, tag, f->lsn);
}

/* How many keys a look from the begin of the index finds. */
static unsigned look(struct fixture *f)
{
    f->found = 0;
    f->now_ms += AGAIN_MS;
    ks_expire_look_cold(f->ks, f->now_ms, on_due, f);
    rig_settle(&f->rig, f->ks);
    return f->found;
}

static void corrupt(struct fixture *f, const char *name)
{
    uint8_t row_key[64];
    const struct ks_key key = key_of(name);
    const size_t len = rowkey_store_key(row_key, key.slot, key.hash, key.name);

    assert_true(store_mem_disk_corrupt(f->disk, bytes_of(row_key, len), 100));
}

/* Rows of the index. */
static unsigned index_rows(struct fixture *f)
{
    static const uint8_t first[] = {ROWKEY_SPECIAL, ROWKEY_EXPIRY};
    static const uint8_t beyond[] = {ROWKEY_SPECIAL, ROWKEY_EXPIRY + 1};
    const struct store_iter_options options = {.lower = bytes_of(first, sizeof(first)),
                                               .upper = bytes_of(beyond, sizeof(beyond))};
    struct store_iter *it;
    unsigned count = 0;

    assert_int_equal(store_iter_open(f->rig.store, &options, &it), 0);
    for (store_iter_seek(it, bytes_of(first, sizeof(first))); store_iter_valid(it);
         store_iter_next(it))
        count++;
    store_iter_close(it);
    return count;
}

static void a_cold_key_is_found_until_it_is_reclaimed(void **state UNUSED)
{
    struct fixture f;

    fixture_open(&f);
    set(&f, "later", NOW_MS + 10 * AGAIN_MS);
    set(&f, "due", NOW_MS + 1);
    chill(&f);
    f.refuses = true;
    expect_u64(look(&f), 1);
    expect_u64(look(&f), 1);
    f.refuses = false;
    expect_u64(look(&f), 1);
    assert_string_equal(f.last, "due");
    expect_u64(look(&f), 0);
    expect_u64(index_rows(&f), 2);
    /* The first look behind the reclaim's write-back removes the row. */
    chill(&f);
    expect_u64(look(&f), 0);
    expect_u64(index_rows(&f), 1);
    fixture_close(&f);
}

static void a_key_that_cannot_be_read_is_found_by_a_later_look(void **state UNUSED)
{
    struct fixture f;

    fixture_open(&f);
    set(&f, "due", NOW_MS + 1);
    chill(&f);
    store_mem_disk_set_faults(f.disk, &(struct store_mem_faults){.read_nth = 1});
    expect_u64(look(&f), 0);
    expect_u64(look(&f), 1);
    fixture_close(&f);
}

static void a_damaged_row_is_in_the_way_of_no_other(void **state UNUSED)
{
    struct fixture f;

    fixture_open(&f);
    set(&f, "damaged", NOW_MS + 1);
    set(&f, "due", NOW_MS + 2);
    chill(&f);
    corrupt(&f, "damaged");
    expect_u64(look(&f), 1);
    assert_string_equal(f.last, "due");
    expect_u64(look(&f), 0);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cold_key_is_found_until_it_is_reclaimed),
        cmocka_unit_test(a_key_that_cannot_be_read_is_found_by_a_later_look),
        cmocka_unit_test(a_damaged_row_is_in_the_way_of_no_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
