/*
 * List positions: order, runs that stay in one piece, no position twice.
 */
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/value/listpos.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define ELEMS_MAX 400

/* A list of positions in order, as one replica has it. */
struct list {
    struct list_meta meta;
    unsigned count;
    struct listpos elems[ELEMS_MAX];
};

static struct list *list_new(void)
{
    struct list *list = mem_zalloc(sizeof(*list));

    list_meta_init(&list->meta);
    return list;
}

static struct bytes at(const struct list *list, unsigned index)
{
    return listpos_bytes(&list->elems[index]);
}

/* Puts a position where its bytes say. Its index; it must be new. */
static unsigned put(struct list *list, const struct listpos *pos)
{
    struct list_meta seen;
    unsigned index = 0;

    assert_int_equal(listpos_check(listpos_bytes(pos)), 0);
    while (index < list->count && bytes_cmp(at(list, index), listpos_bytes(pos)) < 0)
        index++;
    if (index < list->count)
        assert_false(bytes_eq(at(list, index), listpos_bytes(pos)));
    assert_true(list->count < ELEMS_MAX);
    memmove(&list->elems[index + 1], &list->elems[index],
            (list->count - index) * sizeof(list->elems[0]));
    list->elems[index] = *pos;
    list->count++;
    assert_true(listpos_meta(listpos_bytes(pos), &seen));
    assert_int_equal(list_meta_join(&list->meta, &seen), 0);
    return index;
}

static void drop(struct list *list, unsigned index)
{
    list->count--;
    memmove(&list->elems[index], &list->elems[index + 1],
            (list->count - index) * sizeof(list->elems[0]));
}

static unsigned push_back(struct list *list, struct tag tag)
{
    struct listpos pos;

    listpos_back(list->count == 0 ? bytes_of(NULL, 0) : at(list, list->count - 1), &list->meta, tag,
                 &pos);
    return put(list, &pos);
}

static unsigned push_front(struct list *list, struct tag tag)
{
    struct listpos pos;

    listpos_front(list->count == 0 ? bytes_of(NULL, 0) : at(list, 0), &list->meta, tag, &pos);
    return put(list, &pos);
}

static void pushes_stand_at_their_ends_in_one_run(void **state)
{
    struct list *list = list_new();

    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        const unsigned last = list->count;

        assert_int_equal(push_back(list, tag_of(10 + i, 1)), last);
        assert_int_equal(push_front(list, tag_of(10 + i, 1)), 0);
    }
    for (unsigned i = 0; i < list->count; i++)
        expect_u64(list->elems[i].len, LISTPOS_FIRST_BYTES);
    expect_u64(list->meta.runs_count, 1);
    mem_free(list);
}

static void a_popped_position_is_not_given_again(void **state)
{
    struct list *list = list_new();
    struct listpos popped;

    (void)state;
    push_back(list, tag_of(1, 1));
    push_back(list, tag_of(2, 1));
    popped = list->elems[1];
    drop(list, 1);
    push_back(list, tag_of(3, 1));
    assert_true(bytes_cmp(at(list, 1), listpos_bytes(&popped)) > 0);
    mem_free(list);
}

static void after_what_was_seen_comes_what_is_pushed(void **state)
{
    struct list *list = list_new();

    (void)state;
    push_back(list, tag_of(1, 2));
    assert_int_equal(push_back(list, tag_of(2, 1)), 1);
    assert_int_equal(push_back(list, tag_of(3, 2)), 2);
    assert_int_equal(push_front(list, tag_of(4, 3)), 0);
    assert_int_equal(push_front(list, tag_of(5, 2)), 0);
    mem_free(list);
}

static void concurrent_runs_stay_in_one_piece_sorted_by_origin(void **state)
{
    struct list *base = list_new();
    struct list *a = list_new();
    struct list *b = list_new();

    (void)state;
    push_back(base, tag_of(1, 3));
    *a = *base;
    *b = *base;
    /* Origin 2 began earlier. */
    for (unsigned i = 0; i < 5; i++) {
        push_back(b, tag_of(10 + i, 2));
        push_back(a, tag_of(20 + i, 1));
    }
    for (unsigned i = 1; i < b->count; i++)
        put(a, &b->elems[i]);
    for (unsigned i = 1; i < a->count; i++)
        assert_int_equal(a->elems[i].bytes[8], i <= 5 ? 1 : 2);
    mem_free(base);
    mem_free(a);
    mem_free(b);
}

static void inserts_stand_between_their_neighbours(void **state)
{
    struct list *list = list_new();
    struct rng rng;

    (void)state;
    seed_rng(&rng, 1);
    push_back(list, tag_of(1, 1));
    push_back(list, tag_of(2, 1));
    for (unsigned i = 0; i < ELEMS_MAX - 2; i++) {
        const unsigned where = 1 + (unsigned)rng_below(&rng, list->count - 1);
        const struct tag tag = tag_of(10 + i, (uint8_t)(1 + rng_below(&rng, 3)));
        struct listpos pos;
        const int err = listpos_between(at(list, where - 1), at(list, where), tag, 0, &pos);

        assert_int_equal(err, 0);
        assert_int_equal(put(list, &pos), where);
    }
    mem_free(list);
}

static void inserting_after_the_last_insertion_does_not_grow(void **state)
{
    struct list *list = list_new();
    unsigned where = 0;

    (void)state;
    push_back(list, tag_of(1, 1));
    push_back(list, tag_of(2, 1));
    for (unsigned i = 0; i < 100; i++) {
        struct listpos pos;

        assert_int_equal(
            listpos_between(at(list, where), at(list, where + 1), tag_of(10 + i, 2), 0, &pos), 0);
        where = put(list, &pos);
        expect_u64(pos.len, LISTPOS_FIRST_BYTES + LISTPOS_STEP_BYTES);
    }
    mem_free(list);
}

static void several_insertions_of_one_batch_differ(void **state)
{
    struct list *list = list_new();
    unsigned where = 0;

    (void)state;
    push_back(list, tag_of(1, 1));
    push_back(list, tag_of(2, 1));
    for (unsigned i = 0; i < 10; i++) {
        struct listpos pos;

        assert_int_equal(
            listpos_between(at(list, where), at(list, where + 1), tag_of(10, 2), i, &pos), 0);
        where = put(list, &pos);
    }
    assert_int_equal(where, 10);
    mem_free(list);
}

static void concurrent_insertions_at_one_place_do_not_interleave(void **state)
{
    struct list *a = list_new();
    struct list *b = list_new();
    unsigned where_a = 0;
    unsigned where_b = 0;

    (void)state;
    push_back(a, tag_of(1, 1));
    push_back(a, tag_of(2, 1));
    *b = *a;
    for (unsigned i = 0; i < 5; i++) {
        struct listpos pos;

        assert_int_equal(
            listpos_between(at(a, where_a), at(a, where_a + 1), tag_of(10 + 2 * i, 2), 0, &pos), 0);
        where_a = put(a, &pos);
        assert_int_equal(
            listpos_between(at(b, where_b), at(b, where_b + 1), tag_of(9 + 2 * i, 3), 0, &pos), 0);
        where_b = put(b, &pos);
    }
    for (unsigned i = 1; i <= 5; i++)
        put(a, &b->elems[i]);
    for (unsigned i = 1; i <= 10; i++)
        assert_int_equal(a->elems[i].bytes[LISTPOS_FIRST_BYTES], i <= 5 ? 2 : 3);
    mem_free(a);
    mem_free(b);
}

static void a_position_that_would_be_too_long_is_refused(void **state)
{
    struct list *list = list_new();
    struct listpos pos;
    int err = 0;
    unsigned i = 0;

    (void)state;
    push_back(list, tag_of(1, 1));
    push_back(list, tag_of(2, 1));
    /* Always before the last insertion. */
    for (; err == 0 && i < ELEMS_MAX - 2; i++) {
        err = listpos_between(at(list, 0), at(list, 1), tag_of(10 + i, 2), 0, &pos);
        if (err == 0)
            assert_int_equal(put(list, &pos), 1);
    }
    assert_int_equal(err, -ERR_LIMIT);
    assert_true(i > 60);
    mem_free(list);
}

static void expect_same_end(const struct list_end *got, const struct list_end *want)
{
    expect_i64(got->rank, want->rank);
    expect_u64(got->hlc, want->hlc);
    expect_i64(got->offset, want->offset);
}

static void expect_same_meta(const struct list_meta *got, const struct list_meta *want)
{
    expect_i64(got->rank_min, want->rank_min);
    expect_i64(got->rank_max, want->rank_max);
    expect_u64(got->runs_count, want->runs_count);
    for (unsigned i = 0; i < want->runs_count; i++) {
        expect_u64(got->runs[i].origin, want->runs[i].origin);
        expect_same_end(&got->runs[i].front, &want->runs[i].front);
        expect_same_end(&got->runs[i].back, &want->runs[i].back);
    }
}

static void joining_what_is_remembered_keeps_the_extremes(void **state)
{
    struct list *list = list_new();
    struct list_meta forward;
    struct list_meta backward;
    struct list_meta one;

    (void)state;
    for (unsigned i = 0; i < 6; i++) {
        push_back(list, tag_of(1 + i, (uint8_t)(1 + i % 2)));
        push_front(list, tag_of(1 + i, (uint8_t)(1 + i % 3)));
    }
    list_meta_init(&forward);
    list_meta_init(&backward);
    for (unsigned i = 0; i < list->count; i++) {
        assert_true(listpos_meta(at(list, i), &one));
        assert_int_equal(list_meta_join(&forward, &one), 0);
        assert_true(listpos_meta(at(list, list->count - 1 - i), &one));
        assert_int_equal(list_meta_join(&backward, &one), 0);
        assert_int_equal(list_meta_join(&backward, &one), 0);
    }
    expect_u64(forward.runs_count, 3);
    expect_same_meta(&forward, &backward);
    expect_i64(forward.rank_min, list->meta.rank_min);
    expect_i64(forward.rank_max, list->meta.rank_max);
    mem_free(list);
}

/* The elements of an earlier own run may come back (row_merge.c) when a later one has begun there.
 */
static void pushes_at_the_ends_stand_outside_of_all_own_runs(void **state)
{
    struct list *list = list_new();
    struct list *anew = list_new();

    (void)state;
    push_back(list, tag_of(1, 1));
    push_front(list, tag_of(1, 1));
    push_back(anew, tag_of(2, 1));
    put(list, &anew->elems[0]);
    for (unsigned i = 0; i < 3; i++) {
        struct listpos pos;

        listpos_front(bytes_of(NULL, 0), &list->meta, tag_of(3 + i, 1), &pos);
        expect_u64(put(list, &pos), 0);
        listpos_back(bytes_of(NULL, 0), &list->meta, tag_of(3 + i, 1), &pos);
        const unsigned count = list->count;
        expect_u64(put(list, &pos), count);
    }
    mem_free(list);
    mem_free(anew);
}

/* Who keeps only its own runs must not go on with one beside which another origin's stands. */
static void own_runs_alone_say_which_ends_others_share(void **state)
{
    struct list *list = list_new();
    struct list *other = list_new();
    struct list_meta own;
    struct listpos pos;

    (void)state;
    push_back(list, tag_of(1, 1));
    push_back(other, tag_of(1, 2));
    put(list, &other->elems[0]);
    own = list->meta;
    own.runs_count = 1;
    assert_true(list_meta_own(&list->meta, 1, &own.runs[0]));
    listpos_back(bytes_of(NULL, 0), &own, tag_of(2, 1), &pos);
    expect_u64(put(list, &pos), 2);
    assert_true(list_meta_own(&list->meta, 1, &own.runs[0]));
    listpos_front(bytes_of(NULL, 0), &own, tag_of(3, 1), &pos);
    expect_u64(put(list, &pos), 0);
    assert_false(list_meta_own(&list->meta, 3, &own.runs[0]));
    mem_free(list);
    mem_free(other);
}

static void what_is_no_position_is_refused(void **state)
{
    struct list *list = list_new();
    struct list_meta meta;
    struct listpos pos;

    (void)state;
    push_back(list, tag_of(1, 1));
    pos = list->elems[0];
    for (uint16_t len = 0; len < pos.len; len++)
        assert_int_equal(listpos_check(bytes_of(pos.bytes, len)), -ERR_CORRUPT);
    pos.bytes[LISTPOS_FIRST_BYTES - 1] = 0x40;
    assert_int_equal(listpos_check(listpos_bytes(&pos)), -ERR_CORRUPT);
    assert_false(listpos_meta(listpos_bytes(&pos), &meta));
    assert_int_equal(listpos_between(at(list, 0), at(list, 0), tag_of(2, 1), 0, &pos),
                     -ERR_CORRUPT);
    mem_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pushes_stand_at_their_ends_in_one_run),
        cmocka_unit_test(a_popped_position_is_not_given_again),
        cmocka_unit_test(after_what_was_seen_comes_what_is_pushed),
        cmocka_unit_test(concurrent_runs_stay_in_one_piece_sorted_by_origin),
        cmocka_unit_test(inserts_stand_between_their_neighbours),
        cmocka_unit_test(inserting_after_the_last_insertion_does_not_grow),
        cmocka_unit_test(several_insertions_of_one_batch_differ),
        cmocka_unit_test(concurrent_insertions_at_one_place_do_not_interleave),
        cmocka_unit_test(a_position_that_would_be_too_long_is_refused),
        cmocka_unit_test(joining_what_is_remembered_keeps_the_extremes),
        cmocka_unit_test(pushes_at_the_ends_stand_outside_of_all_own_runs),
        cmocka_unit_test(own_runs_alone_say_which_ends_others_share),
        cmocka_unit_test(what_is_no_position_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
