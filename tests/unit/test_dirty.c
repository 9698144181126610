/*
 * The dirty ring against a model that keeps, of every row, the first position the store lacks.
 */
#include "engine/base/mem.h"

#include "engine/space/dirty.h"
#include "engine/space/obj.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define ROWS 3000u

/*
 * Of one row. The state of the last mark may wait, be in the batch being written, or, after a
 * change during the write, both: the batch then holds an older state.
 */
struct row {
    struct elem *elem;     /* NULL: freed. */
    uint64_t unstored_lsn; /* First change that no written batch has; 0: none. */
    uint64_t flight_lsn;   /* What unstored_lsn was when the row was taken; 0: not in flight. */
    uint64_t rewait_lsn;   /* First change since it was taken; 0: none. */
};

struct world {
    struct dirty dirty;
    struct row row[ROWS];
    struct rng rng;
    uint64_t lsn;
    uint32_t done; /* Calls of the last dirty_flight_done. */
    bool flying;
};

static uint32_t number_of(const struct row_head *head)
{
    uint32_t number;
    memcpy(&number, ((const struct elem *)(const void *)head)->data, sizeof(number));
    return number;
}

/* Any address that tells the rows apart. */
static struct coll *coll_of(uint32_t number)
{
    return (struct coll *)(uintptr_t)(number + 1); /* NOLINT(performance-no-int-to-ptr) */
}

static struct elem *elem_make(uint32_t number, size_t row_len)
{
    struct elem *e = elem_new(bytes_of(&number, sizeof(number)), 0, 0, row_len);
    memset(elem_row_ptr(e), 0, row_len);
    return e;
}

static struct world *world_new(uint64_t stream)
{
    struct world *w = mem_zalloc(sizeof(*w));
    dirty_init(&w->dirty);
    seed_rng(&w->rng, stream);
    w->lsn = 1;
    return w;
}

static void world_free(struct world *w)
{
    for (uint32_t i = 0; i < ROWS; i++)
        mem_free(w->row[i].elem);
    dirty_deinit(&w->dirty);
    mem_free(w);
}

static void mark(struct world *w, uint32_t number)
{
    struct row *row = &w->row[number];

    if (row->elem == NULL)
        row->elem = elem_make(number, 10);
    w->lsn += rng_below(&w->rng, 3);
    dirty_mark(&w->dirty, &row->elem->h, coll_of(number), w->lsn);
    if (row->unstored_lsn == 0)
        row->unstored_lsn = w->lsn;
    if (row->flight_lsn != 0 && row->rewait_lsn == 0)
        row->rewait_lsn = w->lsn;
}

static void forget(struct world *w, uint32_t number)
{
    struct row *row = &w->row[number];

    if (row->elem == NULL)
        return;
    dirty_forget(&w->dirty, &row->elem->h);
    expect_u64(row->elem->h.dirty, 0);
    mem_free(row->elem);
    *row = (struct row){0};
}

/* The row moves, and gets another length as it changes. */
static void move(struct world *w, uint32_t number)
{
    struct row *row = &w->row[number];

    if (row->elem == NULL)
        return;
    struct elem *e = elem_make(number, 10);
    e->h = row->elem->h;
    mem_free(row->elem);
    row->elem = e;
    dirty_moved(&w->dirty, &e->h);
}

static struct row_head *take_any(struct world *w, struct coll **out_coll)
{
    return dirty_take(&w->dirty, dirty_end(&w->dirty), out_coll);
}

static void take(struct world *w)
{
    struct coll *coll = NULL;
    struct row_head *head = take_any(w, &coll);

    if (head == NULL) {
        for (uint32_t i = 0; i < ROWS; i++)
            assert_true(w->row[i].unstored_lsn == 0 ||
                        (w->row[i].flight_lsn != 0 && w->row[i].rewait_lsn == 0));
        return;
    }
    const uint32_t number = number_of(head);
    struct row *row = &w->row[number];
    assert_ptr_equal(head, &row->elem->h);
    assert_ptr_equal(coll, coll_of(number));
    /* A row that changed in flight may be taken again into the same batch, in its new state. */
    assert_true(row->unstored_lsn != 0);
    assert_true(row->flight_lsn == 0 || row->rewait_lsn != 0);
    row->flight_lsn = row->unstored_lsn;
    row->rewait_lsn = 0;
    w->flying = true;
}

static void done_one(void *ctx, struct row_head *head, struct coll *coll)
{
    struct world *w = ctx;
    const uint32_t number = number_of(head);
    struct row *row = &w->row[number];

    assert_ptr_equal(head, &row->elem->h);
    assert_ptr_equal(coll, coll_of(number));
    assert_true(row->flight_lsn != 0 && row->rewait_lsn == 0);
    expect_u64(head->dirty, 0);
    w->done++;
    if (rng_below(&w->rng, 2) == 0) {
        /* As the eviction of a row that is clean now. */
        mem_free(row->elem);
        *row = (struct row){0};
    }
}

static void finish(struct world *w, bool failed)
{
    uint32_t want = 0;

    for (uint32_t i = 0; i < ROWS; i++)
        want += w->row[i].flight_lsn != 0 && w->row[i].rewait_lsn == 0;
    w->done = 0;
    if (failed)
        dirty_flight_failed(&w->dirty);
    else
        dirty_flight_done(&w->dirty, done_one, w);
    if (!failed)
        expect_u64(w->done, want);
    for (uint32_t i = 0; i < ROWS; i++) {
        struct row *row = &w->row[i];
        if (row->flight_lsn == 0)
            continue;
        if (!failed)
            row->unstored_lsn = row->rewait_lsn;
        row->flight_lsn = 0;
        row->rewait_lsn = 0;
    }
    w->flying = false;
}

/* What waits in the ring must not be taken for covered, if the flight gets written. */
static void check_lowest(struct world *w)
{
    uint64_t lowest = UINT64_MAX;
    bool any = false;

    for (uint32_t i = 0; i < ROWS; i++) {
        const struct row *row = &w->row[i];
        const uint64_t waits = row->flight_lsn != 0 ? row->rewait_lsn : row->unstored_lsn;
        if (waits != 0)
            lowest = u64_min(lowest, waits);
        any = any || row->unstored_lsn != 0;
        if (row->elem != NULL && row->unstored_lsn == 0)
            expect_u64(row->elem->h.dirty, 0);
    }
    assert_true(dirty_lowest_lsn(&w->dirty) <= lowest);
    if (any)
        assert_true(dirty_any(&w->dirty));
}

static void random_turn(struct world *w, uint32_t writes)
{
    const uint32_t rows = 1u + (uint32_t)rng_below(&w->rng, ROWS);

    for (uint32_t i = 0; i < writes; i++) {
        const uint32_t number = (uint32_t)rng_below(&w->rng, rows);
        switch (rng_below(&w->rng, 8)) {
        case 0:
            forget(w, number);
            break;
        case 1:
            move(w, number);
            break;
        case 2:
        case 3:
            take(w);
            break;
        default:
            mark(w, number);
            break;
        }
    }
    check_lowest(w);
    if (w->flying && rng_below(&w->rng, 3) == 0)
        finish(w, rng_below(&w->rng, 3) == 0);
    check_lowest(w);
}

static void drain(struct world *w)
{
    finish(w, false);
    while (dirty_waiting(&w->dirty) != 0)
        take(w);
    finish(w, false);
    assert_false(dirty_any(&w->dirty));
    expect_u64(dirty_lowest_lsn(&w->dirty), UINT64_MAX);
    for (uint32_t i = 0; i < ROWS; i++)
        expect_u64(w->row[i].unstored_lsn, 0);
}

static void no_unstored_change_is_ever_covered(void **state UNUSED)
{
    struct world *w = world_new(1);

    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t turn = 0; turn < 60; turn++)
            random_turn(w, 1u << round % 11);
        drain(w);
    }
    world_free(w);
}

static void a_row_waits_at_its_first_change(void **state UNUSED)
{
    struct world *w = world_new(2);
    struct coll *coll;

    w->row[0].elem = elem_make(0, 1);
    w->row[1].elem = elem_make(1, 1);
    dirty_mark(&w->dirty, &w->row[0].elem->h, NULL, 5);
    dirty_mark(&w->dirty, &w->row[1].elem->h, NULL, 6);
    dirty_mark(&w->dirty, &w->row[0].elem->h, NULL, 7);
    expect_u64(dirty_lowest_lsn(&w->dirty), 5);
    assert_ptr_equal(take_any(w, &coll), &w->row[0].elem->h);
    assert_null(coll);
    expect_u64(dirty_lowest_lsn(&w->dirty), 6);
    dirty_forget(&w->dirty, &w->row[1].elem->h);
    expect_u64(dirty_lowest_lsn(&w->dirty), UINT64_MAX);
    assert_null(take_any(w, &coll));
    world_free(w);
}

/* A batch that is built bit by bit ends where the ring ended when it began. */
static void what_changes_later_is_not_taken_before_an_end(void **state UNUSED)
{
    struct world *w = world_new(12);
    struct coll *coll;

    for (uint32_t number = 0; number < 3; number++)
        mark(w, number);
    const uint32_t end = dirty_end(&w->dirty);
    assert_ptr_equal(dirty_take(&w->dirty, end, &coll), &w->row[0].elem->h);
    mark(w, 0);
    forget(w, 1);
    assert_ptr_equal(dirty_take(&w->dirty, end, &coll), &w->row[2].elem->h);

    assert_null(dirty_take(&w->dirty, end, &coll));
    assert_ptr_equal(take_any(w, &coll), &w->row[0].elem->h);
    assert_null(take_any(w, &coll));
    /* The head may have come beyond the end. */
    assert_null(dirty_take(&w->dirty, end, &coll));
    world_free(w);
}

static void a_failed_write_holds_the_position_down(void **state UNUSED)
{
    struct world *w = world_new(3);
    struct coll *coll;

    w->row[0].elem = elem_make(0, 1);
    struct row_head *head = &w->row[0].elem->h;
    dirty_mark(&w->dirty, head, NULL, 5);
    assert_ptr_equal(take_any(w, &coll), head);
    dirty_mark(&w->dirty, head, NULL, 9);
    expect_u64(dirty_lowest_lsn(&w->dirty), 9);
    dirty_flight_failed(&w->dirty);
    assert_true(dirty_lowest_lsn(&w->dirty) <= 5);
    assert_ptr_equal(take_any(w, &coll), head);
    expect_u64(dirty_lowest_lsn(&w->dirty), UINT64_MAX);
    world_free(w);
}

static void two_failed_writes_hold_the_position_down(void **state UNUSED)
{
    struct world *w = world_new(5);
    struct coll *coll;

    w->row[0].elem = elem_make(0, 1);
    struct row_head *head = &w->row[0].elem->h;
    dirty_mark(&w->dirty, head, NULL, 5);
    assert_ptr_equal(take_any(w, &coll), head);
    dirty_mark(&w->dirty, head, NULL, 9);
    dirty_flight_failed(&w->dirty);
    assert_ptr_equal(take_any(w, &coll), head);
    expect_u64(dirty_lowest_lsn(&w->dirty), UINT64_MAX);
    /* The entry says 9, but the store still lacks the change of 5. */
    dirty_flight_failed(&w->dirty);
    assert_true(dirty_lowest_lsn(&w->dirty) <= 5);
    world_free(w);
}

static void sequence_numbers_wrap(void **state UNUSED)
{
    struct world *w = world_new(4);

    /* As after a thousand million rows. */
    w->dirty.head = w->dirty.tail = 0x3fffffffu - 700;
    for (uint32_t turn = 0; turn < 100; turn++)
        random_turn(w, 200);
    drain(w);
    assert_true(w->dirty.tail < 0x20000000u);
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_waits_at_its_first_change),
        cmocka_unit_test(what_changes_later_is_not_taken_before_an_end),
        cmocka_unit_test(a_failed_write_holds_the_position_down),
        cmocka_unit_test(two_failed_writes_hold_the_position_down),
        cmocka_unit_test(no_unstored_change_is_ever_covered),
        cmocka_unit_test(sequence_numbers_wrap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
