/*
 * CRC16 and slots, against the published check value, a bitwise model and known slots of Redis
 * Cluster.
 */
#include "engine/base/crc16.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

static uint16_t crc16_bitwise(struct bytes data)
{
    unsigned crc = 0;

    for (size_t i = 0; i < data.len; i++) {
        crc ^= (unsigned)data.ptr[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000) != 0 ? (crc << 1) ^ 0x1021 : crc << 1;
        crc &= 0xffff;
    }
    return (uint16_t)crc;
}

static void the_check_value_of_the_specification_holds(void **state UNUSED)
{
    expect_u64(crc16(BYTES_LIT("123456789")), 0x31c3);
    expect_u64(crc16(bytes_of(NULL, 0)), 0);
}

static void the_table_agrees_with_the_bitwise_definition(void **state UNUSED)
{
    struct rng rng;

    seed_rng(&rng, 1);
    for (int i = 0; i < 2000; i++) {
        uint8_t data[64];
        const size_t len = rng_below(&rng, sizeof(data) + 1);
        rng_bytes(&rng, data, len);
        expect_u64(crc16(bytes_of(data, len)), crc16_bitwise(bytes_of(data, len)));
    }
}

static void known_keys_have_their_known_slots(void **state UNUSED)
{
    expect_u64(key_slot(BYTES_LIT("foo")), 12182);
    expect_u64(key_slot(BYTES_LIT("bar")), 5061);
    expect_u64(key_slot(BYTES_LIT("123456789")), 12739);
    expect_u64(key_slot(BYTES_LIT("")), 0);
}

static void a_hashtag_alone_decides_the_slot(void **state UNUSED)
{
    const uint64_t user = key_slot(BYTES_LIT("user1000"));

    expect_u64(key_slot(BYTES_LIT("{user1000}.following")), user);
    expect_u64(key_slot(BYTES_LIT("{user1000}.followers")), user);
    expect_u64(key_slot(BYTES_LIT("foo{bar}{zap}")), key_slot(BYTES_LIT("bar")));
    /* The tag starts at the first '{' and ends at the next '}'. */
    expect_u64(key_slot(BYTES_LIT("foo{{bar}}zap")), key_slot(BYTES_LIT("{bar")));
}

static void an_empty_or_open_hashtag_is_no_hashtag(void **state UNUSED)
{
    const struct bytes keys[] = {BYTES_LIT("foo{}{bar}"), BYTES_LIT("foo{bar"),
                                 BYTES_LIT("foo}bar{"), BYTES_LIT("{"), BYTES_LIT("{}")};

    for (size_t i = 0; i < ARRAY_COUNT(keys); i++)
        expect_u64(key_slot(keys[i]), crc16_bitwise(keys[i]) % KEY_SLOTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_check_value_of_the_specification_holds),
        cmocka_unit_test(the_table_agrees_with_the_bitwise_definition),
        cmocka_unit_test(known_keys_have_their_known_slots),
        cmocka_unit_test(a_hashtag_alone_decides_the_slot),
        cmocka_unit_test(an_empty_or_open_hashtag_is_no_hashtag),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
