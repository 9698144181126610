/*
 * Why a row shows what it shows: one state for each fate, made by the ops that make it.
 */
#include "engine/base/err.h"

#include "engine/value/op.h"
#include "engine/value/row_explain.h"
#include "engine/value/rowkey.h"

#include "tests/lib/tcase.h"

#define NOW_MS 5000u

struct fixture {
    struct buf row;     /* Of the key. */
    struct buf element; /* Of its element "e". */
    struct buf seen;
    struct row_explained explained;
};

static int setup(void **state)
{
    static struct fixture f;

    buf_init(&f.row, SIZE_MAX);
    buf_init(&f.element, SIZE_MAX);
    buf_init(&f.seen, SIZE_MAX);
    f.explained = (struct row_explained){.facts = NULL};
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    row_explained_deinit(&f->explained);
    buf_deinit(&f->row);
    buf_deinit(&f->element);
    buf_deinit(&f->seen);
    return 0;
}

static int join(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct fixture *f = ctx;
    struct buf *row = row_kind == ROWKEY_KIND_KEY ? &f->row : &f->element;
    struct buf joined;

    (void)sub;
    buf_init(&joined, SIZE_MAX);
    const int err = row_merge_fold(buf_bytes(row), &operand, 1, &joined);
    buf_deinit(row);
    *row = joined;
    return err;
}

/* An op by one who had seen `ctx`; NULL: what is its own alone. */
static void make(struct fixture *f, struct tag tag, const struct vv *ctx, struct op op)
{
    struct batch batch = {.origin = tag.origin, .hlc = tag.hlc};
    struct buf scratch;

    if (ctx != NULL)
        batch.ctx = *ctx;
    assert_int_equal(vv_raise(&batch.ctx, tag_of(tag.hlc - 1, tag.origin)), 0);
    op.key = BYTES_LIT("k");
    buf_init(&scratch, SIZE_MAX);
    assert_int_equal(op_expand(&op, &batch, 0, join, f, &scratch), 0);
    buf_deinit(&scratch);
}

static void make_set(struct fixture *f, struct tag tag, const char *value)
{
    make(f, tag, NULL, (struct op){.kind = OP_SET, .value = bytes_cstr(value)});
}

static void make_incr(struct fixture *f, struct tag tag, uint64_t start, int64_t isum)
{
    make(f, tag, NULL, (struct op){.kind = OP_INCR, .start = start, .isum = isum});
}

static struct vv vv_all(uint64_t hlc)
{
    struct vv vv;

    vv_init(&vv);
    for (uint8_t origin = 1; origin <= 3; origin++)
        assert_int_equal(vv_raise(&vv, tag_of(hlc, origin)), 0);
    return vv;
}

static void explain(struct fixture *f, struct bytes row, const struct row_explain_under *under)
{
    row_explained_deinit(&f->explained);
    assert_int_equal(row_explain(row, under, &f->explained), 0);
}

static void explain_key(struct fixture *f)
{
    explain(f, buf_bytes(&f->row), &(struct row_explain_under){.now_ms = NOW_MS});
}

/* The fact of this kind with this tag. */
static const struct row_fact *fact_at(const struct fixture *f, enum row_fact_kind kind,
                                      struct tag tag)
{
    for (unsigned i = 0; i < f->explained.count; i++) {
        if (f->explained.facts[i].kind == kind && tag_eq(f->explained.facts[i].tag, tag))
            return &f->explained.facts[i];
    }
    fail_msg("no such fact");
    return NULL;
}

static void expect_fate(const struct fixture *f, enum row_fact_kind kind, struct tag tag,
                        enum row_fate fate)
{
    assert_string_equal(row_fate_word(fact_at(f, kind, tag)->fate), row_fate_word((uint8_t)fate));
}

static void nothing_has_no_facts_and_damage_is_told(void **state)
{
    struct fixture *f = *state;
    struct row_explained none;
    const struct row_explain_under under = {.now_ms = NOW_MS};
    static const uint8_t bad[] = {ROW_GENERAL, 0xff, 0xff};
    static const uint8_t poison[] = {ROW_POISON, 1};

    explain(f, bytes_of(NULL, 0), &under);
    expect_u64(f->explained.count, 0);
    assert_int_equal(f->explained.view.type, VT_NONE);
    assert_int_equal(row_explain(bytes_of(bad, sizeof(bad)), &under, &none), -ERR_CORRUPT);
    assert_int_equal(row_explain(bytes_of(poison, sizeof(poison)), &under, &none), -ERR_POISON);
}

static void of_two_values_the_older_one_lost(void **state)
{
    struct fixture *f = *state;

    make_set(f, tag_of(10, 1), "old");
    make_set(f, tag_of(11, 2), "new");
    explain_key(f);
    expect_u64(f->explained.count, 2);
    expect_fate(f, ROW_FACT_VALUE, tag_of(11, 2), ROW_FATE_SHOWN);
    expect_fate(f, ROW_FACT_VALUE, tag_of(10, 1), ROW_FATE_OLDER);
    expect_bytes(fact_at(f, ROW_FACT_VALUE, tag_of(10, 1))->value, BYTES_LIT("old"));
    expect_bytes(f->explained.view.value, BYTES_LIT("new"));
}

static void of_two_types_the_older_one_lost(void **state)
{
    struct fixture *f = *state;
    const struct op hset = {
        .kind = OP_ELEM_SET, .type = VT_HASH, .sub = BYTES_LIT("e"), .value = BYTES_LIT("v")};

    make_set(f, tag_of(10, 1), "string");
    make_incr(f, tag_of(10, 3), 10, 4);
    make(f, tag_of(11, 2), NULL, hset);
    explain_key(f);
    expect_fate(f, ROW_FACT_TYPE, tag_of(11, 2), ROW_FATE_SHOWN);
    expect_fate(f, ROW_FACT_VALUE, tag_of(10, 1), ROW_FATE_TYPE);
    expect_fate(f, ROW_FACT_RUN, tag_of(10, 3), ROW_FATE_TYPE);
    make_set(f, tag_of(12, 1), "string again");
    explain_key(f);
    expect_fate(f, ROW_FACT_TYPE, tag_of(11, 2), ROW_FATE_TYPE);
    expect_fate(f, ROW_FACT_VALUE, tag_of(12, 1), ROW_FATE_SHOWN);
}

static void of_increments_counts_what_the_value_was_set_without(void **state)
{
    struct fixture *f = *state;
    struct vv all = vv_all(12);

    make_incr(f, tag_of(10, 1), 10, 5);
    make_incr(f, tag_of(11, 2), 11, 7);
    assert_int_equal(row_seen(buf_bytes(&f->row), &f->seen), 0);
    make(f, tag_of(13, 3), &all,
         (struct op){.kind = OP_SET, .value = BYTES_LIT("100"), .seen = buf_bytes(&f->seen)});
    make_incr(f, tag_of(14, 2), 11, 9); /* Two more, concurrently. */
    explain_key(f);
    expect_i64(f->explained.view.i, 102);
    expect_fate(f, ROW_FACT_VALUE, tag_of(13, 3), ROW_FATE_SHOWN);
    expect_fate(f, ROW_FACT_RUN, tag_of(10, 1), ROW_FATE_REPLACED);
    expect_fate(f, ROW_FACT_RUN, tag_of(14, 2), ROW_FATE_ADDED);
    expect_i64(fact_at(f, ROW_FACT_RUN, tag_of(14, 2))->isum, 9);
    expect_i64(fact_at(f, ROW_FACT_RUN, tag_of(14, 2))->counted, 2);
    expect_u64(fact_at(f, ROW_FACT_RUN, tag_of(14, 2))->since.hlc, 11);
}

static void of_a_removed_counter_the_floor_tells(void **state)
{
    struct fixture *f = *state;
    struct vv all = vv_all(12);

    make_incr(f, tag_of(10, 1), 10, 5);
    make_incr(f, tag_of(11, 2), 11, 7);
    assert_int_equal(row_seen(buf_bytes(&f->row), &f->seen), 0);
    make(f, tag_of(13, 3), &all, (struct op){.kind = OP_DEL, .seen = buf_bytes(&f->seen)});
    explain_key(f);
    assert_false(f->explained.view.present);
    expect_u64(f->explained.count, 2);
    expect_i64(fact_at(f, ROW_FACT_FLOOR, tag_of(10, 1))->isum, 5);
    expect_i64(fact_at(f, ROW_FACT_FLOOR, tag_of(11, 2))->isum, 7);
    assert_true(tag_eq(fact_at(f, ROW_FACT_FLOOR, tag_of(11, 2))->since, tag_of(13, 3)));
    make_incr(f, tag_of(14, 2), 11, 10);
    explain_key(f);
    expect_i64(f->explained.view.i, 3);
    expect_fate(f, ROW_FACT_RUN, tag_of(14, 2), ROW_FATE_ADDED);
    expect_i64(fact_at(f, ROW_FACT_RUN, tag_of(14, 2))->counted, 3);
}

static void to_what_is_no_number_nothing_is_added(void **state)
{
    struct fixture *f = *state;

    make_incr(f, tag_of(10, 1), 10, 5);
    make_set(f, tag_of(11, 2), "8 bytes!");
    explain_key(f);
    expect_fate(f, ROW_FACT_RUN, tag_of(10, 1), ROW_FATE_WAITS);
    expect_i64(fact_at(f, ROW_FACT_RUN, tag_of(10, 1))->counted, 0);
}

static void of_two_deadlines_the_shorter_one_lost_and_that_of_a_loser_counts_not(void **state)
{
    struct fixture *f = *state;
    const struct tag old = tag_of(9, 3), value = tag_of(10, 1);

    make(f, old, NULL,
         (struct op){.kind = OP_SET, .value = BYTES_LIT("old"), .expire_at_ms = NOW_MS * 9});
    make_set(f, value, "v");
    for (uint8_t i = 0; i < 2; i++)
        make(f, tag_of(11u + i, (uint8_t)(2 + i)), NULL,
             (struct op){.kind = OP_EXPIRE,
                         .target_type = VT_STRING,
                         .target = value,
                         .expire_at_ms = NOW_MS - 2 + i});
    explain_key(f);
    assert_true(f->explained.view.expired);
    expect_fate(f, ROW_FACT_VALUE, value, ROW_FATE_EXPIRED);
    expect_fate(f, ROW_FACT_VALUE, old, ROW_FATE_OLDER);
    expect_fate(f, ROW_FACT_EXPIRY, tag_of(11, 2), ROW_FATE_SHORTER);
    expect_fate(f, ROW_FACT_EXPIRY, tag_of(12, 3), ROW_FATE_SHOWN);
    expect_u64(fact_at(f, ROW_FACT_EXPIRY, tag_of(12, 3))->at_ms, NOW_MS - 1);
    expect_fate(f, ROW_FACT_EXPIRY, old, ROW_FATE_OTHER);
}

static void an_element_is_judged_under_the_removals_of_its_key(void **state)
{
    struct fixture *f = *state;
    const struct op add = {.kind = OP_ELEM_SET, .type = VT_SET, .sub = BYTES_LIT("e")};
    struct vv all = vv_all(11), clear;
    struct row_explain_under under = {.now_ms = NOW_MS, .clear = &clear};

    make(f, tag_of(10, 1), NULL, add);
    make(f, tag_of(12, 2), &all, (struct op){.kind = OP_DEL});
    make(f, tag_of(13, 3), NULL, add);
    assert_int_equal(row_clear(buf_bytes(&f->row), &clear), 0);
    explain(f, buf_bytes(&f->element), &under);
    expect_fate(f, ROW_FACT_VALUE, tag_of(10, 1), ROW_FATE_REMOVED);
    expect_fate(f, ROW_FACT_VALUE, tag_of(13, 3), ROW_FATE_SHOWN);
    explain_key(f);
    assert_true(f->explained.view.present);
    assert_non_null(fact_at(f, ROW_FACT_CLEAR, tag_of(11, 1)));
}

static void a_score_is_a_number_whatever_its_bytes(void **state)
{
    struct fixture *f = *state;
    uint8_t score[ROW_SCORE_BYTES];
    struct row_explain_under under = {.now_ms = NOW_MS, .score = true};

    row_score_store(score, 2.5);
    make(f, tag_of(10, 1), NULL,
         (struct op){.kind = OP_ELEM_SET,
                     .type = VT_ZSET,
                     .sub = BYTES_LIT("e"),
                     .value = bytes_of(score, sizeof(score))});
    make(f, tag_of(11, 2), NULL,
         (struct op){
             .kind = OP_ELEM_INCR, .type = VT_ZSET, .sub = BYTES_LIT("e"), .start = 11, .isum = 4});
    explain(f, buf_bytes(&f->element), &under);
    expect_fate(f, ROW_FACT_RUN, tag_of(11, 2), ROW_FATE_ADDED);
    assert_true(row_score_load(fact_at(f, ROW_FACT_VALUE, tag_of(10, 1))->value.ptr) == 2.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_has_no_facts_and_damage_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(of_two_values_the_older_one_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(of_two_types_the_older_one_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(of_increments_counts_what_the_value_was_set_without, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(of_a_removed_counter_the_floor_tells, setup, teardown),
        cmocka_unit_test_setup_teardown(to_what_is_no_number_nothing_is_added, setup, teardown),
        cmocka_unit_test_setup_teardown(
            of_two_deadlines_the_shorter_one_lost_and_that_of_a_loser_counts_not, setup, teardown),
        cmocka_unit_test_setup_teardown(an_element_is_judged_under_the_removals_of_its_key, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_score_is_a_number_whatever_its_bytes, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
