/*
 * HyperLogLog values against an array of registers, in both encodings.
 */
#include <math.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/value/hll.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define SPARSE_MAX 3000

static struct bytes value_of(const struct hll *h)
{
    return bytes_of(h->ptr, h->len);
}

static void expect_registers(const struct hll *h, const struct hll_registers *want)
{
    struct hll_registers *got = mem_zalloc(sizeof(*got));

    assert_true(hll_valid(value_of(h)));
    assert_true(hll_merge(value_of(h), got));
    assert_memory_equal(got, want, sizeof(*got));
    mem_free(got);
}

static void hashes_are_those_of_redis(void **state UNUSED)
{
    /* PFADD k a b c, and the runs that PFDEBUG DECODE of redis-server 7.0.15 shows. */
    static const char *const elements[] = {"a", "b", "c"};
    struct hll h;
    struct hll_run run;
    uint32_t reg;
    uint8_t value;
    size_t at = 0;
    uint32_t runs[7], n = 0;

    assert_int_equal(hll_init(&h, bytes_of(NULL, 0)), 0);
    for (size_t i = 0; i < ARRAY_COUNT(elements); i++) {
        hll_hash(bytes_cstr(elements[i]), &reg, &value);
        assert_int_equal(hll_raise(&h, reg, value, SPARSE_MAX), 1);
    }
    while (hll_run_at(value_of(&h), &at, &run)) {
        assert_true(n < ARRAY_COUNT(runs));
        runs[n++] = run.value == 0 ? run.count : 100000 + run.value * 10u + run.count;
    }
    static const uint32_t want[] = {8436, 100011, 4274, 100021, 3068, 100011, 603};
    expect_u64(n, ARRAY_COUNT(want));
    assert_memory_equal(runs, want, sizeof(want));
    hll_deinit(&h);
}

/* Random registers, neighbours often, values small: runs split and merge. */
static void a_value_holds_what_was_raised(void **state UNUSED)
{
    struct rng rng;

    seed_rng(&rng, 1);
    for (int round = 0; round < 30; round++) {
        struct hll_registers *model = mem_zalloc(sizeof(*model));
        struct hll h;
        const uint64_t sparse_max = rng_below(&rng, 2) != 0 ? SPARSE_MAX : 1u << 20;
        const uint32_t span = 1u + (uint32_t)rng_below(&rng, HLL_REGISTERS);
        const uint64_t high = rng_below(&rng, 10) == 0 ? HLL_VALUE_MAX : 4;

        assert_int_equal(hll_init(&h, bytes_of(NULL, 0)), 0);
        for (int i = 0; i < 3000; i++) {
            const uint32_t reg = (uint32_t)rng_below(&rng, span);
            const uint8_t value = (uint8_t)(1 + rng_below(&rng, high));
            const int want = value > model->at[reg];
            assert_int_equal(hll_raise(&h, reg, value, sparse_max), want);
            model->at[reg] = value > model->at[reg] ? value : model->at[reg];
            if (i % 100 == 0)
                expect_registers(&h, model);
        }
        expect_registers(&h, model);
        assert_int_equal(hll_to_dense(&h), 0);
        expect_u64(h.len, HLL_DENSE_BYTES);
        expect_registers(&h, model);
        hll_deinit(&h);
        mem_free(model);
    }
}

static void the_estimate_is_near(void **state UNUSED)
{
    uint64_t elements = 0;
    struct hll_registers *registers = mem_zalloc(sizeof(*registers));

    for (uint64_t n = 10; n <= 1000000; n *= 10) {
        for (; elements < n; elements++) {
            uint8_t element[8], value;
            uint32_t reg;
            le64_store(element, elements);
            hll_hash(bytes_of(element, sizeof(element)), &reg, &value);
            registers->at[reg] = value > registers->at[reg] ? value : registers->at[reg];
        }
        /* Four standard errors. */
        assert_true(fabs((double)hll_estimate(registers) / (double)n - 1) < 4 * 0.00813);
    }
    mem_free(registers);
}

static void a_count_is_kept_until_a_change(void **state UNUSED)
{
    for (int dense = 0; dense < 2; dense++) {
        struct hll h;
        uint64_t count = 0;

        assert_int_equal(hll_init(&h, bytes_of(NULL, 0)), 0);
        if (dense != 0)
            assert_int_equal(hll_to_dense(&h), 0);
        assert_int_equal(hll_raise(&h, 7, 3, SPARSE_MAX), 1);
        assert_false(hll_cached(value_of(&h), &count));
        hll_keep_count(&h, (UINT64_C(1) << 63) - 1);
        assert_true(hll_valid(value_of(&h)));
        assert_true(hll_cached(value_of(&h), &count));
        expect_u64(count, (UINT64_C(1) << 63) - 1);
        assert_int_equal(hll_raise(&h, 7, 3, SPARSE_MAX), 0);
        assert_true(hll_cached(value_of(&h), &count));
        assert_int_equal(hll_raise(&h, 7, 4, SPARSE_MAX), 1);
        assert_false(hll_cached(value_of(&h), &count));
        /* What registers that no hash can give are estimated as. */
        hll_keep_count(&h, UINT64_C(1) << 63);
        assert_false(hll_cached(value_of(&h), &count));
        hll_deinit(&h);
    }
}

static void damaged_values_are_refused(void **state UNUSED)
{
    struct hll_registers *registers = mem_zalloc(sizeof(*registers));
    struct hll h;

    assert_false(hll_valid(BYTES_LIT("")));
    assert_false(hll_valid(BYTES_LIT("HYLL\1")));
    assert_false(hll_valid(BYTES_LIT("HYLX\1\0\0\0\0\0\0\0\0\0\0\0\x7f\xff")));
    assert_false(hll_valid(BYTES_LIT("HYLL\2\0\0\0\0\0\0\0\0\0\0\0\x7f\xff")));
    assert_false(hll_valid(BYTES_LIT("HYLL\0\0\0\0\0\0\0\0\0\0\0\0\x7f\xff")));
    /* Valid heads over too few registers, too many, and half a run. */
    const struct bytes bad[] = {BYTES_LIT("HYLL\1\0\0\0\0\0\0\0\0\0\0\0"),
                                BYTES_LIT("HYLL\1\0\0\0\0\0\0\0\0\0\0\0\x7f\xfe"),
                                BYTES_LIT("HYLL\1\0\0\0\0\0\0\0\0\0\0\0\x7f\xff\x80"),
                                BYTES_LIT("HYLL\1\0\0\0\0\0\0\0\0\0\0\0\x7f")};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_true(hll_valid(bad[i]));
        assert_false(hll_merge(bad[i], registers));
        assert_int_equal(hll_init(&h, bad[i]), 0);
        assert_int_equal(hll_to_dense(&h), -ERR_CORRUPT);
        hll_deinit(&h);
    }
    assert_int_equal(hll_init(&h, bad[0]), 0);
    assert_int_equal(hll_raise(&h, 5, 1, SPARSE_MAX), -ERR_CORRUPT);
    hll_deinit(&h);
    mem_free(registers);
}

static void expect_encoded(const struct hll_registers *registers, uint64_t sparse_max, bool sparse)
{
    struct hll_registers *got = mem_zalloc(sizeof(*got));
    struct buf out;
    uint64_t cached;

    buf_init(&out, SIZE_MAX);
    assert_int_equal(buf_append(&out, "before", 6), 0);
    assert_int_equal(hll_encode(registers, sparse_max, &out), 0);
    const struct bytes value = bytes_from(buf_bytes(&out), 6);
    assert_true(hll_valid(value));
    assert_int_equal(hll_is_dense(value), !sparse);
    assert_true(!sparse || value.len <= sparse_max);
    assert_false(hll_cached(value, &cached));
    assert_true(hll_merge(value, got));
    assert_memory_equal(got, registers, sizeof(*got));
    buf_deinit(&out);
    mem_free(got);
}

static void registers_become_a_value(void **state UNUSED)
{
    struct hll_registers *registers = mem_zalloc(sizeof(*registers));
    struct rng rng;

    seed_rng(&rng, 3);
    expect_encoded(registers, SPARSE_MAX, true);
    expect_encoded(registers, 0, false);
    /* More and more of them, neighbours often. */
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t reg = (uint32_t)rng_below(&rng, HLL_REGISTERS);
        for (uint64_t n = rng_below(&rng, 9); n != 0 && reg < HLL_REGISTERS; n--, reg++)
            registers->at[reg] = (uint8_t)(1 + rng_below(&rng, i % 2 == 0 ? 2 : 32));
        /* Each takes 1 byte, and zeros before it 2. */
        expect_encoded(registers, UINT64_MAX, true);
        expect_encoded(registers, 0, false);
    }
    expect_encoded(registers, 40, false);
    /* What a sparse value has no room for. */
    registers->at[HLL_REGISTERS - 1] = 33;
    expect_encoded(registers, UINT64_MAX, false);
    mem_free(registers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_are_those_of_redis),
        cmocka_unit_test(a_value_holds_what_was_raised),
        cmocka_unit_test(the_estimate_is_near),
        cmocka_unit_test(a_count_is_kept_until_a_change),
        cmocka_unit_test(registers_become_a_value),
        cmocka_unit_test(damaged_values_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
