/*
 * Checksums and hashes: fixed values, since they are part of the formats.
 */
#include "engine/base/sum.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

static void values_are_those_of_xxh3(void **state UNUSED)
{
    /* From the xxhash 0.8 test vectors: XXH3_64bits of nothing, seed 0. */
    expect_u64(sum64(NULL, 0), 0x2d06800538d394c2);
    expect_u64(sum64("", 0), 0x2d06800538d394c2);
    expect_u64(sum32("", 0), 0x38d394c2);
}

static void all_forms_agree_at_every_length(void **state UNUSED)
{
    uint8_t data[700];
    struct rng rng;

    seed_rng(&rng, 1);
    rng_bytes(&rng, data, sizeof(data));
    for (size_t len = 0; len <= sizeof(data); len++) {
        const uint64_t seed = rng_u64(&rng);
        expect_u64(hash64(data, len, seed), sum64_seed(data, len, seed));
        expect_u64(hash64(data, len, 0), sum64(data, len));
        expect_u64(sum32(data, len), sum64(data, len) & 0xffffffff);
    }
}

static void one_changed_bit_changes_the_sum(void **state UNUSED)
{
    uint8_t data[200];
    struct rng rng;

    seed_rng(&rng, 2);
    rng_bytes(&rng, data, sizeof(data));
    const uint64_t before = sum64(data, sizeof(data));
    for (size_t bit = 0; bit < sizeof(data) * 8; bit++) {
        const uint8_t mask = (uint8_t)(1u << (bit % 8));
        data[bit / 8] ^= mask;
        assert_true(sum64(data, sizeof(data)) != before);
        assert_true(sum32(data, sizeof(data)) != (uint32_t)before);
        data[bit / 8] ^= mask;
    }
    expect_u64(sum64(data, sizeof(data)), before);
}

static void the_seed_and_the_length_count(void **state UNUSED)
{
    assert_true(hash64("key", 3, 1) != hash64("key", 3, 2));
    assert_true(hash64("key", 3, 1) != hash64("key\0", 4, 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_those_of_xxh3),
        cmocka_unit_test(all_forms_agree_at_every_length),
        cmocka_unit_test(one_changed_bit_changes_the_sum),
        cmocka_unit_test(the_seed_and_the_length_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
