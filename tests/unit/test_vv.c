/*
 * Version vectors: algebra and codec.
 */
#include "engine/base/err.h"

#include "engine/value/vv.h"

#include "tests/lib/tcase.h"

static struct vv vv_of(uint64_t a, uint64_t b, uint64_t c)
{
    struct vv vv;

    vv_init(&vv);
    assert_int_equal(vv_raise(&vv, tag_of(c, 3)), 0);
    assert_int_equal(vv_raise(&vv, tag_of(a, 1)), 0);
    assert_int_equal(vv_raise(&vv, tag_of(b, 2)), 0);
    return vv;
}

static void an_origin_that_is_not_listed_has_zero(void **state)
{
    const struct vv vv = vv_of(5, 0, 7);

    (void)state;
    assert_int_equal(vv.count, 2);
    expect_u64(vv_get(&vv, 1), 5);
    expect_u64(vv_get(&vv, 2), 0);
    expect_u64(vv_get(&vv, 3), 7);
    assert_true(vv_covers(&vv, tag_of(5, 1)));
    assert_false(vv_covers(&vv, tag_of(6, 1)));
    assert_false(vv_covers(&vv, tag_of(1, 2)));
}

static void raising_never_lowers(void **state)
{
    struct vv vv = vv_of(5, 6, 7);

    (void)state;
    assert_int_equal(vv_raise(&vv, tag_of(4, 1)), 0);
    expect_u64(vv_get(&vv, 1), 5);
    assert_int_equal(vv_raise(&vv, tag_of(9, 2)), 0);
    expect_u64(vv_get(&vv, 2), 9);
}

static void join_is_the_maximum_and_meet_the_minimum(void **state)
{
    const struct vv a = vv_of(5, 0, 7);
    const struct vv b = vv_of(4, 6, 0);
    struct vv join;
    struct vv meet;
    struct vv want = vv_of(5, 6, 7);

    (void)state;
    vv_copy(&join, &a);
    assert_int_equal(vv_join(&join, &b), 0);
    assert_true(vv_equal(&join, &want));
    assert_true(vv_leq(&a, &join));
    assert_true(vv_leq(&b, &join));
    assert_false(vv_leq(&join, &a));

    vv_copy(&meet, &a);
    vv_meet(&meet, &b);
    want = vv_of(4, 0, 0);
    assert_true(vv_equal(&meet, &want));
}

static void an_origin_too_many_is_refused(void **state)
{
    struct vv vv;

    (void)state;
    vv_init(&vv);
    for (unsigned i = 0; i < VV_ORIGINS_MAX; i++)
        assert_int_equal(vv_raise(&vv, tag_of(1, (uint8_t)i)), 0);
    assert_int_equal(vv_raise(&vv, tag_of(1, VV_ORIGINS_MAX)), -ERR_LIMIT);
    assert_int_equal(vv_raise(&vv, tag_of(2, 0)), 0);
    assert_int_equal(vv_size(&vv), VV_BYTES_MAX);
}

static void decoding_gives_back_what_was_encoded(void **state)
{
    const struct vv vv = vv_of(5, UINT64_MAX, 7);
    uint8_t raw[VV_BYTES_MAX + 1];
    const size_t len = vv_encode(&vv, raw);
    struct bytes in = bytes_of(raw, len + 1);
    struct vv got;

    (void)state;
    expect_u64(len, vv_size(&vv));
    assert_int_equal(vv_decode(&in, &got), 0);
    expect_u64(in.len, 1);
    assert_true(vv_equal(&vv, &got));
    for (size_t cut = 0; cut < len; cut++) {
        in = bytes_of(raw, cut);
        assert_int_equal(vv_decode(&in, &got), -ERR_TRUNCATED);
    }
}

static void bytes_in_another_order_are_refused(void **state)
{
    const struct vv vv = vv_of(5, 6, 7);
    uint8_t raw[VV_BYTES_MAX];
    const size_t len = vv_encode(&vv, raw);
    struct bytes in = bytes_of(raw, len);
    struct vv got;

    (void)state;
    raw[1] = 2; /* Twice the same origin. */
    assert_int_equal(vv_decode(&in, &got), -ERR_CORRUPT);
    raw[1] = 1;
    raw[2] = 0; /* A zero reading. */
    assert_int_equal(vv_decode(&in, &got), -ERR_CORRUPT);
    raw[0] = VV_ORIGINS_MAX + 1;
    assert_int_equal(vv_decode(&in, &got), -ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_origin_that_is_not_listed_has_zero),
        cmocka_unit_test(raising_never_lowers),
        cmocka_unit_test(join_is_the_maximum_and_meet_the_minimum),
        cmocka_unit_test(an_origin_too_many_is_refused),
        cmocka_unit_test(decoding_gives_back_what_was_encoded),
        cmocka_unit_test(bytes_in_another_order_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
