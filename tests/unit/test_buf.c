/*
 * The byte buffer: growth, limits, moving, failed allocations.
 */
#include <errno.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

static void a_new_buffer_is_empty_and_owns_nothing(void **state UNUSED)
{
    struct buf b;

    buf_init(&b, 10);

    assert_null(b.ptr);
    expect_u64(b.cap, 0);
    assert_true(bytes_empty(buf_bytes(&b)));
    expect_i64(buf_append(&b, NULL, 0), 0);
    buf_deinit(&b);
    buf_deinit(&b);
}

static void appended_parts_stand_in_order(void **state UNUSED)
{
    struct buf b;

    buf_init(&b, 100);
    expect_i64(buf_append(&b, "abc", 3), 0);
    expect_i64(buf_append_u8(&b, 'd'), 0);
    expect_i64(buf_append_bytes(&b, BYTES_LIT("ef")), 0);
    expect_i64(buf_printf(&b, "-%d-%s", 42, "x"), 0);

    expect_bytes(buf_bytes(&b), BYTES_LIT("abcdef-42-x"));
    buf_deinit(&b);
}

static void the_limit_can_be_filled_but_not_passed(void **state UNUSED)
{
    struct buf b;

    buf_init(&b, 5);
    expect_i64(buf_append(&b, "abcdef", 6), -ERR_LIMIT);
    expect_i64(buf_append(&b, "abcd", 4), 0);
    expect_i64(buf_append_u8(&b, 'e'), 0);
    expect_i64(buf_append_u8(&b, 'f'), -ERR_LIMIT);
    expect_i64(buf_reserve(&b, SIZE_MAX), -ERR_LIMIT);

    expect_bytes(buf_bytes(&b), BYTES_LIT("abcde"));
    assert_true(b.cap <= b.limit);
    buf_deinit(&b);
}

static void a_content_of_known_length_gets_no_more_room(void **state UNUSED)
{
    static const uint8_t piece[100];
    struct buf b;

    buf_init(&b, 1u << 20);
    for (int i = 0; i < 9; i++) {
        assert_int_equal(buf_reserve_of(&b, sizeof(piece), 900), 0);
        assert_int_equal(buf_append(&b, piece, sizeof(piece)), 0);
        /* Nobody is believed before the bytes are there. */
        assert_true(b.cap <= 128 || b.cap < b.len * 2);
    }
    expect_u64(b.cap, 900);
    /* What comes behind it doubles it, as ever. */
    assert_int_equal(buf_reserve_of(&b, sizeof(piece), 900), 0);
    expect_u64(b.cap, 1800);
    assert_int_equal(buf_reserve_of(&b, 1u << 20, SIZE_MAX), -ERR_LIMIT);
    buf_deinit(&b);
}

static void printing_can_end_exactly_at_the_limit(void **state UNUSED)
{
    struct buf b;

    buf_init(&b, 5);
    expect_i64(buf_printf(&b, "%s", "123456"), -ERR_LIMIT);
    expect_i64(buf_printf(&b, "%s", "12345"), 0);
    expect_bytes(buf_bytes(&b), BYTES_LIT("12345"));
    expect_i64(buf_printf(&b, "%s", ""), 0);
    expect_i64(buf_printf(&b, "%s", "6"), -ERR_LIMIT);
    expect_bytes(buf_bytes(&b), BYTES_LIT("12345"));
    buf_deinit(&b);
}

static void capacity_at_least_doubles(void **state UNUSED)
{
    struct buf b;
    size_t growths = 0;

    buf_init(&b, 1 << 20);
    for (size_t i = 0; i < 1 << 20; i++) {
        const size_t cap = b.cap;
        expect_i64(buf_append_u8(&b, (uint8_t)i), 0);
        growths += b.cap != cap;
    }

    assert_true(growths <= 15);
    expect_u64(b.cap, 1 << 20);
    buf_deinit(&b);
}

static void consuming_drops_from_the_front(void **state UNUSED)
{
    struct buf b;

    buf_init(&b, 100);
    expect_i64(buf_append(&b, "abcdef", 6), 0);
    buf_consume(&b, 0);
    buf_consume(&b, 2);
    expect_bytes(buf_bytes(&b), BYTES_LIT("cdef"));
    buf_consume(&b, 4);
    assert_true(bytes_empty(buf_bytes(&b)));
    buf_deinit(&b);
}

static void reserved_space_is_written_in_place_and_committed(void **state UNUSED)
{
    struct buf b;

    buf_init(&b, 100);
    expect_i64(buf_reserve(&b, 3), 0);
    memcpy(buf_end(&b), "xyz", 3);
    buf_commit(&b, 2);
    expect_bytes(buf_bytes(&b), BYTES_LIT("xy"));
    buf_truncate(&b, 1);
    expect_bytes(buf_bytes(&b), BYTES_LIT("x"));
    buf_deinit(&b);
}

static void taking_hands_over_memory_and_starts_anew(void **state UNUSED)
{
    struct buf b;
    size_t len = 99;

    buf_init(&b, 100);
    expect_i64(buf_append(&b, "abc", 3), 0);
    uint8_t *taken = buf_take(&b, &len);

    expect_bytes(bytes_of(taken, len), BYTES_LIT("abc"));
    assert_null(b.ptr);
    expect_u64(b.limit, 100);
    expect_i64(buf_append(&b, "d", 1), 0);
    expect_bytes(buf_bytes(&b), BYTES_LIT("d"));
    mem_free(taken);
    buf_deinit(&b);
}

static void shrinking_keeps_the_content(void **state UNUSED)
{
    struct buf b;

    buf_init(&b, 1 << 16);
    expect_i64(buf_reserve(&b, 1 << 15), 0);
    expect_i64(buf_append(&b, "abc", 3), 0);
    buf_shrink(&b, 1 << 16);
    assert_true(b.cap >= 1 << 15);
    buf_shrink(&b, 100);
    expect_u64(b.cap, 3);
    expect_bytes(buf_bytes(&b), BYTES_LIT("abc"));
    buf_clear(&b);
    buf_shrink(&b, 0);
    assert_null(b.ptr);
    buf_deinit(&b);
}

static void a_failed_allocation_changes_nothing(void **state UNUSED)
{
    struct buf b;

    buf_init(&b, 1 << 16);
    expect_i64(buf_append(&b, "abc", 3), 0);
    const struct buf before = b;

    mem_fault_set(1, 1);
    expect_i64(buf_reserve(&b, 4096), -ENOMEM);
    expect_i64(buf_printf(&b, "%4096d", 1), -ENOMEM);
    expect_u64(mem_fault_hits(), 2);
    mem_fault_set(0, 0);

    assert_ptr_equal(b.ptr, before.ptr);
    expect_u64(b.cap, before.cap);
    expect_bytes(buf_bytes(&b), BYTES_LIT("abc"));
    expect_i64(buf_printf(&b, "%4096d", 1), 0);
    expect_u64(b.len, 3 + 4096);
    buf_deinit(&b);
}

/* The model is an array with an index. */
static void random_operations_agree_with_a_model(void **state UNUSED)
{
    enum {
        LIMIT = 1000
    };
    uint8_t model[LIMIT];
    size_t model_len = 0;
    struct rng rng;
    struct buf b;

    seed_rng(&rng, 1);
    buf_init(&b, LIMIT);
    for (int i = 0; i < 20000; i++) {
        uint8_t data[128];
        const size_t n = rng_below(&rng, sizeof(data));
        if (rng_below(&rng, 3) == 0) {
            const size_t drop = size_min(n, model_len);
            buf_consume(&b, drop);
            memmove(model, model + drop, model_len - drop);
            model_len -= drop;
        } else {
            rng_bytes(&rng, data, n);
            const bool fits = n <= LIMIT - model_len;
            expect_i64(buf_append(&b, data, n), fits ? 0 : -ERR_LIMIT);
            memcpy(model + model_len, data, fits ? n : 0);
            model_len += fits ? n : 0;
        }
        expect_bytes(buf_bytes(&b), bytes_of(model, model_len));
    }
    buf_deinit(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_buffer_is_empty_and_owns_nothing),
        cmocka_unit_test(appended_parts_stand_in_order),
        cmocka_unit_test(the_limit_can_be_filled_but_not_passed),
        cmocka_unit_test(a_content_of_known_length_gets_no_more_room),
        cmocka_unit_test(printing_can_end_exactly_at_the_limit),
        cmocka_unit_test(capacity_at_least_doubles),
        cmocka_unit_test(consuming_drops_from_the_front),
        cmocka_unit_test(reserved_space_is_written_in_place_and_committed),
        cmocka_unit_test(taking_hands_over_memory_and_starts_anew),
        cmocka_unit_test(shrinking_keeps_the_content),
        cmocka_unit_test(a_failed_allocation_changes_nothing),
        cmocka_unit_test(random_operations_agree_with_a_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
