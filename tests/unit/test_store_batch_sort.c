/*
 * A sorted batch has the records of the batch, by key, those of one key in their order.
 */
#include "engine/base/mem.h"

#include "engine/store/store_batch_sort.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define BATCH_BYTES_MAX (1u << 20)
#define KEY_BYTES_MAX   40
#define ROUNDS          300

/* Keys of a small alphabet that share their beginnings, of any length, often the same. */
static struct bytes some_key(struct rng *rng, uint8_t *out)
{
    static const uint8_t letters[] = {0x00, 0x01, 0xff};
    const size_t shared = rng_below(rng, 4) * 8;
    const size_t own = 1 + rng_below(rng, KEY_BYTES_MAX - 24);

    memset(out, 0x40, shared);
    for (size_t i = 0; i < own; i++)
        out[shared + i] = letters[rng_below(rng, i < 4 ? 3 : 2)];
    return bytes_of(out, shared + own);
}

static void fill(struct store_batch *batch, struct rng *rng, uint32_t rows)
{
    uint8_t key[KEY_BYTES_MAX], row[8];

    for (uint32_t i = 0; i < rows; i++) {
        const struct bytes name = some_key(rng, key);
        const struct bytes value = bytes_of(row, 1 + rng_below(rng, sizeof(row)));
        rng_bytes(rng, row, sizeof(row));
        const uint64_t kind = rng_below(rng, 4);
        if (kind == 0)
            assert_int_equal(store_batch_delete(batch, name), 0);
        else if (kind == 1)
            assert_int_equal(store_batch_merge(batch, name, value), 0);
        else
            assert_int_equal(store_batch_put(batch, name, value), 0);
    }
    if (rng_below(rng, 2) == 0)
        assert_int_equal(store_batch_set_covered(batch, 7, bytes_cstr("vv")), 0);
}

/* The place of the first record not taken that has the least key: a sort by selection. */
static size_t least(const struct store_record *records, const bool *taken, size_t n)
{
    size_t found = n;

    for (size_t i = 0; i < n; i++) {
        if (!taken[i] && (found == n || bytes_cmp(records[i].key, records[found].key) < 0))
            found = i;
    }
    return found;
}

static void check_sorted(const struct store_batch *batch, const uint8_t *sorted)
{
    struct bytes rest = store_batch_records(batch);
    struct bytes got = bytes_of(sorted + STORE_BATCH_HEADER_BYTES, rest.len);
    struct store_record record, *records = mem_zalloc_array(1000, sizeof(*records));
    bool *taken = mem_zalloc_array(1000, sizeof(*taken));
    size_t n = 0;

    assert_memory_equal(sorted, batch->buf.ptr, STORE_BATCH_HEADER_BYTES);
    while (store_batch_next(&rest, &records[n]))
        n++;
    for (size_t i = 0; i < n; i++) {
        const size_t want = least(records, taken, n);
        taken[want] = true;
        assert_true(store_batch_next(&got, &record));
        assert_int_equal(record.kind, records[want].kind);
        expect_bytes(record.key, records[want].key);
        expect_bytes(record.frame, records[want].frame);
    }
    assert_int_equal(got.len, 0);
    mem_free(records);
    mem_free(taken);
}

static void keeps_the_order_of_one_key(void **state)
{
    struct store_batch batch;
    struct rng rng;
    unsigned sorted_count = 0;

    (void)state;
    seed_rng(&rng, 1);
    store_batch_init(&batch, BATCH_BYTES_MAX);
    for (int round = 0; round < ROUNDS; round++) {
        store_batch_clear(&batch);
        fill(&batch, &rng, (uint32_t)rng_below(&rng, 200));
        uint8_t *sorted = store_batch_sorted(&batch);
        if (sorted == NULL)
            continue;
        sorted_count++;
        check_sorted(&batch, sorted);
        mem_free(sorted);
    }
    assert_true(sorted_count > ROUNDS / 2);
    store_batch_deinit(&batch);
}

static void leaves_what_is_in_order(void **state)
{
    struct store_batch batch;
    uint8_t key[2] = {0};

    (void)state;
    store_batch_init(&batch, BATCH_BYTES_MAX);
    assert_null(store_batch_sorted(&batch));
    for (key[0] = 0; key[0] < 100; key[0]++)
        assert_int_equal(store_batch_put(&batch, bytes_of(key, 2), bytes_cstr("row")), 0);
    assert_null(store_batch_sorted(&batch));
    key[0] = 50;
    assert_int_equal(store_batch_delete(&batch, bytes_of(key, 2)), 0);
    uint8_t *sorted = store_batch_sorted(&batch);
    assert_non_null(sorted);
    check_sorted(&batch, sorted);
    mem_free(sorted);
    store_batch_deinit(&batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keeps_the_order_of_one_key),
        cmocka_unit_test(leaves_what_is_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
