/*
 * Two rows of members that have not seen the same: what only one has is new, or was removed at the
 * other.
 */
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/value/row_chunk.h"
#include "engine/value/row_state.h"

#include "tests/lib/tcase.h"

#define A 1
#define B 2

struct fixture {
    struct buf a;
    struct buf b;
    struct buf out;
    struct vv seen_a;
    struct vv seen_b;
};

static int setup(void **state)
{
    static struct fixture f;

    buf_init(&f.a, SIZE_MAX);
    buf_init(&f.b, SIZE_MAX);
    buf_init(&f.out, SIZE_MAX);
    vv_init(&f.seen_a);
    vv_init(&f.seen_b);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    buf_deinit(&f->a);
    buf_deinit(&f->b);
    buf_deinit(&f->out);
    return 0;
}

static void seen(struct vv *vv, uint64_t of_a, uint64_t of_b)
{
    vv_init(vv);
    assert_int_equal(of_a == 0 ? 0 : vv_raise(vv, tag_of(of_a, A)), 0);
    assert_int_equal(of_b == 0 ? 0 : vv_raise(vv, tag_of(of_b, B)), 0);
}

static void put_value(struct buf *row, struct tag tag, const char *value, uint64_t at_ms)
{
    uint8_t bytes[64];

    buf_clear(row);
    assert_int_equal(buf_append(row, bytes, row_value_store(bytes, tag, bytes_cstr(value), at_ms)),
                     0);
}

/* Both ways round it is the same. */
static struct bytes both(struct fixture *f)
{
    const struct row_seen_by a = {buf_bytes(&f->a), &f->seen_a};
    const struct row_seen_by b = {buf_bytes(&f->b), &f->seen_b};
    struct buf other;

    buf_init(&other, SIZE_MAX);
    buf_clear(&f->out);
    assert_int_equal(row_reconcile(&a, &b, &f->out), 0);
    assert_int_equal(row_reconcile(&b, &a, &other), 0);
    assert_true(bytes_eq(buf_bytes(&f->out), buf_bytes(&other)));
    assert_int_equal(row_check(buf_bytes(&f->out)), 0);
    buf_deinit(&other);
    return buf_bytes(&f->out);
}

static void expect_text(struct fixture *f, const char *want)
{
    struct row_view view;

    assert_int_equal(row_view(both(f), 0, &view), 0);
    assert_true(view.present);
    assert_true(bytes_eq(view.value, bytes_cstr(want)));
}

static void expect_dead(struct fixture *f)
{
    struct row_view view;

    assert_int_equal(row_view(both(f), 0, &view), 0);
    assert_int_equal(view.type, VT_NONE);
}

static void what_the_other_has_seen_and_lacks_is_gone(void **state)
{
    struct fixture *f = *state;

    put_value(&f->a, tag_of(10, A), "x", 0);
    seen(&f->seen_a, 10, 0);
    seen(&f->seen_b, 10, 20); /* Its DEL has 20. */
    expect_dead(f);
    assert_int_equal(f->out.len, 1);
}

static void what_the_other_has_not_seen_stays(void **state)
{
    struct fixture *f = *state;

    put_value(&f->a, tag_of(11, A), "x", 0);
    seen(&f->seen_a, 11, 0);
    seen(&f->seen_b, 10, 20);
    expect_text(f, "x");
}

static void an_overwritten_value_does_not_come_back(void **state)
{
    struct fixture *f = *state;

    put_value(&f->a, tag_of(10, A), "old", 0);
    put_value(&f->b, tag_of(9, B), "new", 0); /* By a clock that was behind. */
    seen(&f->seen_a, 10, 0);
    seen(&f->seen_b, 10, 9);
    expect_text(f, "new");
}

static void concurrent_values_are_both_kept(void **state)
{
    struct fixture *f = *state;
    struct row_state *s = mem_alloc(sizeof(*s));

    put_value(&f->a, tag_of(30, A), "mine", 0);
    put_value(&f->b, tag_of(20, B), "theirs", 0);
    seen(&f->seen_a, 30, 0);
    seen(&f->seen_b, 10, 20);
    expect_text(f, "mine");
    assert_int_equal(row_decode(buf_bytes(&f->out), s), 0);
    assert_int_equal(s->sibs_count, 2);
    mem_free(s);
}

static void a_run_goes_on_and_is_not_counted_twice(void **state)
{
    struct fixture *f = *state;
    struct row_view view;
    uint8_t bytes[ROW_COUNT_BYTES];

    row_count_store(bytes, 5, tag_of(10, A), 3);
    assert_int_equal(buf_append(&f->a, bytes, sizeof(bytes)), 0);
    row_count_store(bytes, 5, tag_of(7, A), 2);
    assert_int_equal(buf_append(&f->b, bytes, sizeof(bytes)), 0);
    seen(&f->seen_a, 10, 0);
    seen(&f->seen_b, 7, 20);
    assert_int_equal(row_view(both(f), 0, &view), 0);
    assert_int_equal(view.i, 3);
}

static void set_exp(struct buf *row, struct tag target, struct tag etag, uint64_t at_ms)
{
    struct row_state *s = mem_alloc(sizeof(*s));
    struct buf out;

    buf_init(&out, SIZE_MAX);
    assert_int_equal(row_decode(buf_bytes(row), s), 0);
    const struct row_exp exp = {.type = VT_STRING, .target = target, .etag = etag, .at_ms = at_ms};
    assert_int_equal(row_add_exp(s, &exp), 0);
    assert_int_equal(row_encode(s, &out), 0);
    mem_free(s);
    buf_deinit(row);
    *row = out;
}

static uint64_t expires(struct fixture *f)
{
    struct row_view view;

    assert_int_equal(row_view(both(f), 0, &view), 0);
    assert_true(view.present);
    return view.expire_at_ms;
}

/* Collecting gives a setting that is alone the tag of its value. */
static void a_setting_that_one_side_has_collected_is_the_same(void **state)
{
    struct fixture *f = *state;

    put_value(&f->a, tag_of(10, A), "x", 0);
    put_value(&f->b, tag_of(10, A), "x", 500);
    set_exp(&f->a, tag_of(10, A), tag_of(12, B), 500);
    seen(&f->seen_a, 10, 12);
    seen(&f->seen_b, 15, 12);
    assert_int_equal(expires(f), 500);
    assert_int_equal(f->out.ptr[0], ROW_VALUE_TTL);
}

static void a_setting_that_was_replaced_while_away_is_gone(void **state)
{
    struct fixture *f = *state;

    put_value(&f->a, tag_of(10, A), "x", 500);
    put_value(&f->b, tag_of(10, A), "x", 0);
    set_exp(&f->b, tag_of(10, A), tag_of(12, B), 300);
    seen(&f->seen_a, 10, 0);
    seen(&f->seen_b, 10, 12);
    assert_int_equal(expires(f), 300);
    /* PERSIST, when it is stable, leaves no setting at all. */
    put_value(&f->b, tag_of(10, A), "x", 0);
    assert_int_equal(expires(f), 0);
}

static void a_chunk_goes_when_all_of_it_was_seen(void **state)
{
    struct fixture *f = *state;
    uint8_t row[64];

    assert_int_equal(
        buf_append(&f->a, row,
                   row_chunk_store(row, tag_of(5, A), tag_of(10, A), bytes_cstr("bytes"))),
        0);
    seen(&f->seen_a, 10, 0);
    seen(&f->seen_b, 9, 20);
    assert_true(bytes_eq(both(f), buf_bytes(&f->a)));
    seen(&f->seen_b, 10, 20);
    expect_dead(f);
}

static void damage_is_told(void **state)
{
    struct fixture *f = *state;
    const struct row_seen_by bad = {bytes_cstr("\x10zz"), &f->seen_a};
    const struct row_seen_by none = {bytes_of(NULL, 0), &f->seen_b};

    assert_int_equal(buf_append_u8(&f->out, 7), 0);
    assert_int_equal(row_reconcile(&bad, &none, &f->out), -ERR_CORRUPT);
    assert_int_equal(f->out.len, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_the_other_has_seen_and_lacks_is_gone, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_other_has_not_seen_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(an_overwritten_value_does_not_come_back, setup, teardown),
        cmocka_unit_test_setup_teardown(concurrent_values_are_both_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_goes_on_and_is_not_counted_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(a_setting_that_one_side_has_collected_is_the_same, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_setting_that_was_replaced_while_away_is_gone, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_chunk_goes_when_all_of_it_was_seen, setup, teardown),
        cmocka_unit_test_setup_teardown(damage_is_told, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
