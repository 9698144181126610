/*
 * Pieces of formats come back, and nothing moves on an error.
 */
#include "engine/base/codec.h"

#include "tests/lib/tcase.h"

static void integers_stand_as_formats_have_them(void **state UNUSED)
{
    static const uint8_t want[] = {2, 1, 4, 3, 2, 1, 8, 7, 6, 5, 4, 3, 2, 1, 0xac, 2};
    struct buf b;

    buf_init(&b, sizeof(want));
    expect_i64(codec_put_le16(&b, 0x0102), 0);
    expect_i64(codec_put_le32(&b, 0x01020304), 0);
    expect_i64(codec_put_le64(&b, 0x0102030405060708), 0);
    expect_i64(codec_put_varint(&b, 300), 0);
    expect_i64(codec_put_varint(&b, 0), -ERR_LIMIT);
    expect_bytes(buf_bytes(&b), bytes_of(want, sizeof(want)));
    buf_deinit(&b);
}

static void bytes_come_back_behind_their_length(void **state UNUSED)
{
    struct bytes got;
    struct bytes in;
    struct buf b;

    buf_init(&b, 6);
    expect_i64(codec_put_bytes(&b, BYTES_LIT("abc")), 0);
    expect_i64(codec_put_bytes(&b, BYTES_LIT("de")), -ERR_LIMIT);
    expect_u64(b.len, 4); /* Not half of it. */
    expect_i64(codec_put_bytes(&b, BYTES_LIT("")), 0);
    expect_i64(codec_put_bytes(&b, BYTES_LIT("")), 0);
    in = buf_bytes(&b);
    expect_i64(codec_get_bytes(&in, 3, &got), 0);
    expect_bytes(got, BYTES_LIT("abc"));
    expect_i64(codec_get_bytes(&in, 0, &got), 0);
    expect_u64(got.len, 0);
    expect_u64(in.len, 1);
    buf_deinit(&b);
}

static void a_length_is_not_trusted(void **state UNUSED)
{
    const uint8_t raw[] = {3, 'a', 'b', 'c'};
    const uint8_t cut[] = {0x80};
    struct bytes got;
    struct bytes in = bytes_of(raw, sizeof(raw));

    expect_i64(codec_get_bytes(&in, 2, &got), -ERR_CORRUPT); /* Longer than it may be. */
    expect_u64(in.len, 4);
    in.len = 3;
    expect_i64(codec_get_bytes(&in, SIZE_MAX, &got), -ERR_CORRUPT); /* Than there is. */
    expect_u64(in.len, 3);
    in = bytes_of(cut, sizeof(cut));
    expect_i64(codec_get_bytes(&in, SIZE_MAX, &got), -ERR_TRUNCATED);
    expect_u64(in.len, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_stand_as_formats_have_them),
        cmocka_unit_test(bytes_come_back_behind_their_length),
        cmocka_unit_test(a_length_is_not_trusted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
