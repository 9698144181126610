/*
 * Rows: what they show, join to, and are collected to.
 */
#include "engine/value/row.h"

#include "tests/lib/tcase.h"

#define NOW_MS 5000

/* A row for the length of a test. */
struct fixture {
    struct buf row;
    struct buf other;
};

static int setup(void **state)
{
    static struct fixture f;

    buf_init(&f.row, SIZE_MAX);
    buf_init(&f.other, SIZE_MAX);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    buf_deinit(&f->row);
    buf_deinit(&f->other);
    return 0;
}

static struct bytes value_row(struct buf *out, struct tag tag, const char *value, uint64_t at_ms)
{
    buf_clear(out);
    assert_int_equal(buf_reserve(out, 128), 0);
    buf_commit(out, row_value_store(buf_end(out), tag, bytes_cstr(value), at_ms));
    assert_int_equal(row_check(buf_bytes(out)), 0);
    return buf_bytes(out);
}

static struct row_view view_at(struct bytes row, uint64_t now_ms)
{
    struct row_view view;

    assert_int_equal(row_view(row, now_ms, &view), 0);
    return view;
}

static void no_row_and_a_dead_row_show_nothing(void **state)
{
    (void)state;
    assert_false(view_at(bytes_of(NULL, 0), NOW_MS).present);
    assert_false(view_at(bytes_of("\0", 1), NOW_MS).present);
    assert_int_equal(view_at(bytes_of("\0", 1), NOW_MS).type, VT_NONE);
}

static void a_value_shows_as_it_was_set(void **state)
{
    static const uint8_t want[] = {1, 7, 0, 0, 0, 0, 0, 0, 0, 3, 'h', 'i'};
    struct fixture *f = *state;
    const struct bytes row = value_row(&f->row, tag_of(7, 3), "hi", 0);
    const struct row_view view = view_at(row, NOW_MS);

    expect_bytes(row, bytes_of(want, sizeof(want)));
    expect_u64(row.len, row_value_size(2, false));
    assert_true(view.present);
    assert_int_equal(view.type, VT_STRING);
    expect_bytes(view.value, BYTES_LIT("hi"));
    expect_u64(view.expire_at_ms, 0);
    assert_true(tag_eq(view.tag, tag_of(7, 3)));
}

static void a_value_hides_at_its_deadline(void **state)
{
    struct fixture *f = *state;
    const struct bytes row = value_row(&f->row, tag_of(7, 3), "hi", NOW_MS);

    assert_true(view_at(row, NOW_MS - 1).present);
    assert_false(view_at(row, NOW_MS).present);
    assert_true(view_at(row, NOW_MS).expired);
    expect_u64(view_at(row, NOW_MS).expire_at_ms, NOW_MS);
    expect_u64(row.len, row_value_size(2, true));
}

static void the_greater_tag_shows_and_no_other_comes_back_when_it_expires(void **state)
{
    struct fixture *f = *state;
    struct buf winner;
    struct row_view view;

    buf_init(&winner, SIZE_MAX);
    value_row(&f->row, tag_of(7, 3), "low", 0);
    value_row(&winner, tag_of(8, 2), "high", NOW_MS);
    assert_int_equal(row_merge(buf_bytes(&f->row), buf_bytes(&winner), &f->other), 0);
    assert_int_equal(row_check(buf_bytes(&f->other)), 0);
    view = view_at(buf_bytes(&f->other), NOW_MS - 1);
    expect_bytes(view.value, BYTES_LIT("high"));
    expect_u64(view.expire_at_ms, NOW_MS);
    view = view_at(buf_bytes(&f->other), NOW_MS);
    assert_false(view.present);
    assert_true(view.expired);
    buf_deinit(&winner);
}

static void the_later_value_of_one_origin_replaces_the_former(void **state)
{
    struct fixture *f = *state;
    struct buf later;

    buf_init(&later, SIZE_MAX);
    value_row(&f->row, tag_of(7, 3), "old", 0);
    value_row(&later, tag_of(8, 3), "new", 0);
    assert_int_equal(row_merge(buf_bytes(&f->row), buf_bytes(&later), &f->other), 0);
    expect_bytes(buf_bytes(&f->other), buf_bytes(&later));
    buf_deinit(&later);
}

static void a_counter_and_a_collection_show_their_numbers(void **state)
{
    uint8_t row[64];
    char tmp[ROW_TEXT_BYTES];
    struct row_view view;
    size_t len = row_count_store(row, 5, tag_of(9, 2), -42);

    (void)state;
    view = view_at(bytes_of(row, len), NOW_MS);
    assert_int_equal(view.kind, ROW_KIND_INT);
    expect_i64(view.i, -42);
    expect_bytes(row_text(&view, tmp), BYTES_LIT("-42"));
    assert_int_equal(row_check(bytes_of(row, len)), 0);

    len = row_coll_store(row, VT_ZSET, tag_of(9, 2), 3, 77);
    view = view_at(bytes_of(row, len), NOW_MS);
    assert_int_equal(view.type, VT_ZSET);
    expect_u64(view.count, 3);
    expect_u64(view.count_lsn, 77);
    assert_int_equal(row_check(bytes_of(row, len)), 0);
}

static void of_concurrent_expiries_the_longest_shows_and_persist_beats_all(void **state)
{
    struct fixture *f = *state;
    struct buf row;
    struct buf set[3];

    buf_init(&row, SIZE_MAX);
    value_row(&row, tag_of(7, 1), "v", 0);
    for (unsigned i = 0; i < 3; i++) {
        const uint64_t at_ms = i == 2 ? 0 : 100 - 10 * i;

        buf_init(&set[i], SIZE_MAX);
        assert_int_equal(
            row_set_expiry(buf_bytes(&row), tag_of(8 + i, (uint8_t)(2 + i)), at_ms, &set[i]), 0);
    }
    assert_int_equal(row_merge(buf_bytes(&set[0]), buf_bytes(&set[1]), &f->row), 0);
    expect_u64(view_at(buf_bytes(&f->row), 0).expire_at_ms, 100);
    assert_int_equal(row_merge(buf_bytes(&f->row), buf_bytes(&set[2]), &f->other), 0);
    expect_u64(view_at(buf_bytes(&f->other), 0).expire_at_ms, 0);
    assert_true(view_at(buf_bytes(&f->other), 1000).present);
    buf_deinit(&row);
    for (unsigned i = 0; i < 3; i++)
        buf_deinit(&set[i]);
}

static void without_peers_an_expiry_keeps_a_value_simple(void **state)
{
    struct fixture *f = *state;
    struct buf want;

    buf_init(&want, SIZE_MAX);
    value_row(&f->row, tag_of(7, 1), "v", 0);
    value_row(&want, tag_of(7, 1), "v", NOW_MS);
    assert_int_equal(row_set_expiry_alone(buf_bytes(&f->row), NOW_MS, &f->other), 0);
    expect_bytes(buf_bytes(&f->other), buf_bytes(&want));
    buf_clear(&f->row);
    assert_int_equal(row_set_expiry_alone(buf_bytes(&f->other), 0, &f->row), 0);
    value_row(&want, tag_of(7, 1), "v", 0);
    expect_bytes(buf_bytes(&f->row), buf_bytes(&want));
    buf_deinit(&want);
}

static void an_expiry_of_nothing_is_refused(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(row_set_expiry(bytes_of("\0", 1), tag_of(1, 1), 5, &f->row), -ERR_NOT_FOUND);
    assert_int_equal(row_set_expiry_alone(bytes_of(NULL, 0), 5, &f->row), -ERR_NOT_FOUND);
    expect_u64(f->row.len, 0);
}

static void stable_settings_fold_into_the_simple_form(void **state)
{
    struct fixture *f = *state;
    struct vv stable;
    struct buf want;
    const struct row_horizons horizons = {.stable = &stable};
    uint16_t sweep;

    vv_init(&stable);
    buf_init(&want, SIZE_MAX);
    value_row(&want, tag_of(7, 1), "v", 0);
    assert_int_equal(row_set_expiry(buf_bytes(&want), tag_of(9, 1), NOW_MS, &f->row), 0);
    assert_int_equal(row_collect(buf_bytes(&f->row), &horizons, &f->other, &sweep), ROW_UNCHANGED);
    assert_int_equal(vv_raise(&stable, tag_of(9, 1)), 0);
    assert_int_equal(row_collect(buf_bytes(&f->row), &horizons, &f->other, &sweep), ROW_CHANGED);
    value_row(&want, tag_of(7, 1), "v", NOW_MS);
    expect_bytes(buf_bytes(&f->other), buf_bytes(&want));
    buf_deinit(&want);
}

static void an_expired_row_goes_only_when_everything_up_to_its_deadline_has_arrived(void **state)
{
    struct fixture *f = *state;
    const uint64_t set = hlc_make(4000, 0);
    struct vv stable;
    struct row_horizons horizons = {.stable = &stable, .now_ms = NOW_MS + 100};
    uint16_t sweep;

    vv_init(&stable);
    value_row(&f->row, tag_of(set, 1), "v", NOW_MS);
    horizons.lst = hlc_make(NOW_MS + 100, 0);
    assert_int_equal(row_collect(buf_bytes(&f->row), &horizons, &f->other, &sweep), ROW_UNCHANGED);
    assert_int_equal(vv_raise(&stable, tag_of(set, 1)), 0);
    horizons.lst = hlc_make(NOW_MS, 0);
    assert_int_equal(row_collect(buf_bytes(&f->row), &horizons, &f->other, &sweep), ROW_UNCHANGED);
    horizons.lst = hlc_make(NOW_MS + 1, 0);
    assert_int_equal(row_collect(buf_bytes(&f->row), &horizons, &f->other, &sweep), ROW_CHANGED);
    expect_bytes(buf_bytes(&f->other), bytes_of("\0", 1));
}

/* A DEL that has seen the expired value only, made where the other one has not arrived, leaves it.
 */
static void an_expired_row_stays_while_a_value_below_it_is_not_everywhere(void **state)
{
    struct fixture *f = *state;
    const struct tag low = tag_of(hlc_make(3900, 0), 1);
    const struct tag high = tag_of(hlc_make(4000, 0), 2);
    struct vv stable;
    const struct row_horizons horizons = {
        .stable = &stable, .lst = hlc_make(NOW_MS + 1, 0), .now_ms = NOW_MS + 100};
    struct buf expired;
    uint16_t sweep;

    vv_init(&stable);
    assert_int_equal(vv_raise(&stable, high), 0);
    buf_init(&expired, SIZE_MAX);
    value_row(&f->other, low, "low", 0);
    value_row(&expired, high, "high", NOW_MS);
    assert_int_equal(row_merge(buf_bytes(&f->other), buf_bytes(&expired), &f->row), 0);
    buf_clear(&f->other);
    assert_int_equal(row_collect(buf_bytes(&f->row), &horizons, &f->other, &sweep), ROW_UNCHANGED);
    assert_int_equal(vv_raise(&stable, low), 0);
    assert_int_equal(row_collect(buf_bytes(&f->row), &horizons, &f->other, &sweep), ROW_CHANGED);
    expect_bytes(buf_bytes(&f->other), bytes_of("\0", 1));
    buf_deinit(&expired);
}

static void what_a_clear_vector_covers_is_clipped(void **state)
{
    struct fixture *f = *state;
    struct vv clear;

    vv_init(&clear);
    assert_int_equal(vv_raise(&clear, tag_of(7, 1)), 0);
    value_row(&f->row, tag_of(7, 1), "v", 0);
    assert_true(row_covered(buf_bytes(&f->row), &clear));
    assert_int_equal(row_clip(buf_bytes(&f->row), &clear, &f->other), 0);
    expect_bytes(buf_bytes(&f->other), bytes_of("\0", 1));
    value_row(&f->row, tag_of(8, 1), "v", 0);
    assert_false(row_covered(buf_bytes(&f->row), &clear));
    buf_clear(&f->other);
    assert_int_equal(row_clip(buf_bytes(&f->row), &clear, &f->other), 0);
    expect_bytes(buf_bytes(&f->other), buf_bytes(&f->row));
}

static void damaged_rows_are_errors(void **state)
{
    static const uint8_t poison[] = {ROW_POISON, 1};
    static const char *const bad[] = {"\x01", "\x01short", "\x02too short", "\x03", "\x04",
                                      "\x05", "\x10",      "\x10\xff\xff",  "\xff"};
    struct fixture *f = *state;
    struct row_view view;

    for (unsigned i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(row_view(bytes_cstr(bad[i]), 0, &view), -ERR_CORRUPT);
        assert_int_equal(row_check(bytes_cstr(bad[i])), -ERR_CORRUPT);
        assert_int_equal(row_merge(bytes_cstr(bad[i]), BYTES_LIT("\x01 12345678x"), &f->row),
                         -ERR_CORRUPT);
        expect_u64(f->row.len, 0);
    }
    assert_int_equal(row_view(bytes_of(poison, 2), 0, &view), -ERR_POISON);
    assert_int_equal(row_check(bytes_of(poison, 2)), -ERR_POISON);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_row_and_a_dead_row_show_nothing),
        TEST(a_value_shows_as_it_was_set),
        TEST(a_value_hides_at_its_deadline),
        TEST(the_greater_tag_shows_and_no_other_comes_back_when_it_expires),
        TEST(the_later_value_of_one_origin_replaces_the_former),
        TEST(a_counter_and_a_collection_show_their_numbers),
        TEST(of_concurrent_expiries_the_longest_shows_and_persist_beats_all),
        TEST(without_peers_an_expiry_keeps_a_value_simple),
        TEST(an_expiry_of_nothing_is_refused),
        TEST(stable_settings_fold_into_the_simple_form),
        TEST(an_expired_row_goes_only_when_everything_up_to_its_deadline_has_arrived),
        TEST(an_expired_row_stays_while_a_value_below_it_is_not_everywhere),
        TEST(what_a_clear_vector_covers_is_clipped),
        TEST(damaged_rows_are_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
