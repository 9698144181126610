/*
 * Row keys: layout, order, damage.
 */
#include <math.h>

#include "engine/base/crc16.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/value/rowkey.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define SLOT 0x0102
#define HASH UINT64_C(0x1112131415161718)

static void a_key_row_has_slot_hash_length_and_key(void **state)
{
    static const uint8_t want[] = {1,    2,    0x11, 0x12, 0x13, 0x14, 0x15, 0x16,
                                   0x17, 0x18, 0,    2,    'a',  'b',  0};
    uint8_t got[64];
    struct rowkey parsed;
    const size_t len = rowkey_store_key(got, SLOT, HASH, BYTES_LIT("ab"));

    (void)state;
    expect_bytes(bytes_of(got, len), bytes_of(want, sizeof(want)));
    assert_int_equal(rowkey_parse(bytes_of(got, len), &parsed), 0);
    expect_u64(parsed.slot, SLOT);
    expect_u64(parsed.hash, HASH);
    expect_u64(parsed.kind, ROWKEY_KIND_KEY);
    expect_bytes(parsed.key, BYTES_LIT("ab"));
    expect_u64(parsed.sub.len, 0);
}

static void every_kind_of_element_parses_back(void **state)
{
    static const uint8_t kinds[] = {ROWKEY_KIND_HASH, ROWKEY_KIND_SET, ROWKEY_KIND_ZSET,
                                    ROWKEY_KIND_LIST, ROWKEY_KIND_CHUNK};
    uint8_t key_row[64];
    uint8_t row[64];
    struct rowkey parsed;

    (void)state;
    rowkey_store_key(key_row, SLOT, HASH, BYTES_LIT("key"));
    for (unsigned i = 0; i < ARRAY_COUNT(kinds); i++) {
        const struct bytes key = BYTES_LIT("key");
        const struct bytes sub = BYTES_LIT("member\0x");
        const size_t len = rowkey_store_elem(row, SLOT, HASH, key, kinds[i], sub);

        expect_u64(len, rowkey_size(key, kinds[i], sub));
        assert_int_equal(rowkey_parse(bytes_of(row, len), &parsed), 0);
        expect_u64(parsed.kind, kinds[i]);
        expect_bytes(parsed.key, key);
        expect_bytes(parsed.sub, sub);
        assert_memory_equal(row, key_row, rowkey_prefix_size(key));
        assert_true(row[rowkey_prefix_size(key)] > key_row[rowkey_prefix_size(key)]);
    }
}

static void the_longest_names_fit(void **state)
{
    uint8_t *name = mem_zalloc(ROWKEY_NAME_BYTES_MAX);
    uint8_t *row = mem_alloc(ROWKEY_BYTES_MAX);
    const struct bytes longest = bytes_of(name, ROWKEY_NAME_BYTES_MAX);
    struct rowkey parsed;
    size_t len = rowkey_store_elem(row, SLOT, HASH, longest, ROWKEY_KIND_SET, longest);

    (void)state;
    assert_true(len <= ROWKEY_BYTES_MAX);
    assert_int_equal(rowkey_parse(bytes_of(row, len), &parsed), 0);
    expect_u64(parsed.key.len, ROWKEY_NAME_BYTES_MAX);
    expect_u64(parsed.sub.len, ROWKEY_NAME_BYTES_MAX);
    len = rowkey_store_zindex(row, SLOT, HASH, longest, 1.0, longest);
    expect_u64(len, rowkey_zindex_size(longest, longest));
    assert_true(len <= ROWKEY_BYTES_MAX);
    mem_free(name);
    mem_free(row);
}

static void scores_sort_as_bytes(void **state)
{
    static const double scores[] = {-HUGE_VAL, -1e300, -2.5, -2.0, -1e-300, 0.0,
                                    1e-300,    0.5,    1.0,  1e10, 1e300,   HUGE_VAL};
    uint8_t last[ROWKEY_SCORE_BYTES];
    uint8_t got[ROWKEY_SCORE_BYTES];

    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(scores); i++) {
        rowkey_score_store(got, scores[i]);
        assert_true(rowkey_score_load(got) >= scores[i] && rowkey_score_load(got) <= scores[i]);
        if (i > 0)
            assert_true(memcmp(last, got, sizeof(got)) < 0);
        memcpy(last, got, sizeof(got));
    }
    rowkey_score_store(got, 0.0);
    rowkey_score_store(last, -0.0);
    assert_memory_equal(got, last, sizeof(got));
}

static void random_scores_keep_their_order(void **state)
{
    struct rng rng;

    (void)state;
    seed_rng(&rng, 1);
    for (unsigned i = 0; i < 100000; i++) {
        const double a = ldexp(rng_double(&rng) - 0.5, (int)rng_below(&rng, 60) - 30);
        const double b = ldexp(rng_double(&rng) - 0.5, (int)rng_below(&rng, 60) - 30);
        uint8_t raw_a[8];
        uint8_t raw_b[8];

        rowkey_score_store(raw_a, a);
        rowkey_score_store(raw_b, b);
        assert_int_equal((memcmp(raw_a, raw_b, 8) > 0) - (memcmp(raw_a, raw_b, 8) < 0),
                         (a > b) - (a < b));
    }
}

static void the_row_after_a_prefix_ends_its_range(void **state)
{
    uint8_t after[16];
    size_t len = rowkey_store_after(after, BYTES_LIT("ab\xff\xff"));

    (void)state;
    expect_bytes(bytes_of(after, len), BYTES_LIT("ac"));
    expect_u64(rowkey_store_after(after, BYTES_LIT("\xff\xff")), 0);
}

static void expiry_rows_sort_by_time_after_all_keys(void **state)
{
    uint8_t early[64];
    uint8_t late[64];
    uint8_t key_row[64];
    struct rowkey parsed;
    uint64_t at_ms;
    const struct bytes key = BYTES_LIT("key");
    const size_t len = rowkey_store_expiry(early, 255, SLOT, HASH, key);

    (void)state;
    expect_u64(len, rowkey_expiry_size(key));
    rowkey_store_expiry(late, 256, SLOT, HASH, key);
    rowkey_store_key(key_row, KEY_SLOTS - 1, UINT64_MAX, key);
    assert_true(memcmp(early, late, len) < 0);
    assert_true(memcmp(key_row, early, 2) < 0);
    assert_int_equal(rowkey_parse_expiry(bytes_of(early, len), &at_ms, &parsed), 0);
    expect_u64(at_ms, 255);
    expect_u64(parsed.slot, SLOT);
    expect_u64(parsed.hash, HASH);
    expect_bytes(parsed.key, key);
    assert_int_equal(rowkey_parse(bytes_of(early, len), &parsed), -ERR_CORRUPT);
}

static void sweep_rows_name_a_key(void **state)
{
    uint8_t row[64];
    struct rowkey parsed;
    const size_t len = rowkey_store_sweep(row, SLOT, HASH, BYTES_LIT("key"));

    (void)state;
    expect_u64(len, rowkey_sweep_size(BYTES_LIT("key")));
    assert_int_equal(rowkey_parse_sweep(bytes_of(row, len), &parsed), 0);
    expect_bytes(parsed.key, BYTES_LIT("key"));
    assert_int_equal(rowkey_parse_sweep(bytes_of(row, len - 1), &parsed), -ERR_CORRUPT);
}

static void damaged_row_keys_are_refused(void **state)
{
    uint8_t row[64];
    struct rowkey parsed;
    const size_t len =
        rowkey_store_elem(row, SLOT, HASH, BYTES_LIT("key"), ROWKEY_KIND_HASH, BYTES_LIT(""));

    (void)state;
    assert_int_equal(rowkey_parse(bytes_of(row, len), &parsed), 0);
    for (size_t cut = 0; cut < len; cut++)
        assert_int_equal(rowkey_parse(bytes_of(row, cut), &parsed), -ERR_CORRUPT);
    row[0] = 0x40;
    assert_int_equal(rowkey_parse(bytes_of(row, len), &parsed), -ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_row_has_slot_hash_length_and_key),
        cmocka_unit_test(every_kind_of_element_parses_back),
        cmocka_unit_test(the_longest_names_fit),
        cmocka_unit_test(scores_sort_as_bytes),
        cmocka_unit_test(random_scores_keep_their_order),
        cmocka_unit_test(the_row_after_a_prefix_ends_its_range),
        cmocka_unit_test(expiry_rows_sort_by_time_after_all_keys),
        cmocka_unit_test(sweep_rows_name_a_key),
        cmocka_unit_test(damaged_row_keys_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
