/*
 * The packed list against a sorted array, with a model of the store behind both: what is flushed,
 * fails or is removed must leave the store with the list in the end.
 */
#include <stdlib.h>

#ifdef TIERRA_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/space/listq.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define ELEMS_MAX     4096u
#define POSITION_MAX  128u
#define ROW_BYTES_MAX 9000u
#define RUN_BYTES     22u

/* A row is told by its number: its bytes follow from it. */
struct elem_model {
    uint8_t position[POSITION_MAX];
    uint32_t position_len;
    uint32_t row; /* Number; 0: none. */
    uint64_t lsn; /* Of the oldest change that the store lacks, 0: none. */
    uint64_t was; /* In flight: what that was before. */
};

/* Sorted by position. */
struct table {
    struct elem_model *at;
    size_t count;
};

struct world {
    struct listq q;
    struct table list;
    struct table store;
    struct table flight; /* Row 0: a deletion. */
    struct rng rng;
    uint64_t lsn;
    uint32_t rows;
    int32_t front; /* Offsets of the next pushes. */
    int32_t back;
    bool flying;
    uint8_t *buffer;
};

static struct bytes position_of(const struct elem_model *e)
{
    return bytes_of(e->position, e->position_len);
}

/* Where the position is, or belongs. */
static size_t table_find(const struct table *t, struct bytes position, bool *same)
{
    size_t low = 0;
    size_t high = t->count;

    *same = false;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = bytes_cmp(position_of(&t->at[middle]), position);
        if (order == 0) {
            *same = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void table_remove(struct table *t, size_t i)
{
    memmove(&t->at[i], &t->at[i + 1], (t->count - i - 1) * sizeof(*t->at));
    t->count--;
}

static struct elem_model *table_put(struct table *t, struct bytes position, uint32_t row,
                                    uint64_t lsn)
{
    bool same;
    const size_t i = table_find(t, position, &same);

    if (!same) {
        CHECK(t->count < 4 * ELEMS_MAX);
        memmove(&t->at[i + 1], &t->at[i], (t->count - i) * sizeof(*t->at));
        t->count++;
        t->at[i].position_len = (uint32_t)position.len;
        memcpy(t->at[i].position, position.ptr, position.len);
    }
    t->at[i].row = row;
    t->at[i].lsn = lsn;
    return &t->at[i];
}

/* Lengths: mostly short, some long, few longer than a node. */
static struct bytes row_of(uint32_t number, uint8_t *buffer)
{
    const uint32_t mixed = number * 2654435761u;
    const uint32_t kind = mixed >> 24;
    const size_t len = kind < 200 ? mixed % 30 : kind < 254 ? mixed % 400 : mixed % ROW_BYTES_MAX;

    for (size_t i = 0; i < len; i++)
        buffer[i] = (uint8_t)(number >> (i % 4 * 8));
    return bytes_of(buffer, len);
}

static void world_init(struct world *w, uint64_t stream)
{
    *w = (struct world){.lsn = 10, .front = -1};
    listq_init(&w->q);
    seed_rng(&w->rng, stream);
    w->list.at = mem_zalloc_array(4 * ELEMS_MAX, sizeof(*w->list.at));
    w->store.at = mem_zalloc_array(4 * ELEMS_MAX, sizeof(*w->store.at));
    w->flight.at = mem_zalloc_array(4 * ELEMS_MAX, sizeof(*w->flight.at));
    w->buffer = mem_alloc(ROW_BYTES_MAX);
}

static void world_deinit(struct world *w)
{
    listq_deinit(&w->q);
    mem_free(w->list.at);
    mem_free(w->store.at);
    mem_free(w->flight.at);
    mem_free(w->buffer);
}

/* A position as pushes have it. `run` changes the bytes that a run shares. */
static struct bytes run_position(uint8_t *out, uint8_t run, int32_t offset)
{
    memset(out, 7, RUN_BYTES);
    out[0] = run;
    be32_store(out + 17, (uint32_t)offset ^ 0x80000000u);
    out[21] = 0x80;
    return bytes_of(out, RUN_BYTES);
}

/* Something between an element and the next: nested below it, as insertions are. */
static bool nested_position(struct world *w, size_t i, uint8_t *out, struct bytes *position)
{
    const struct elem_model *e = &w->list.at[i];
    bool same;

    if (e->position_len + 14 > POSITION_MAX)
        return false;
    memcpy(out, e->position, e->position_len);
    out[e->position_len - 1] = 0xc0;
    rng_bytes(&w->rng, out + e->position_len, 13);
    out[e->position_len + 13] = 0x80;
    *position = bytes_of(out, e->position_len + 14);
    (void)table_find(&w->list, *position, &same);
    return !same;
}

/* --- checks --- */

static void check_elem(struct world *w, const struct listq_at *at, size_t i)
{
    uint8_t room[LISTQ_POSITION_BYTES_MAX];
    const struct elem_model *e = &w->list.at[i];

    assert_true(listq_valid(at));
    expect_bytes(listq_position(at, room), position_of(e));
    expect_bytes(at->row, row_of(e->row, w->buffer));
}

/* The list must not forget a change: what it says is lowest is not above what the model knows. */
static void check_lowest(const struct world *w)
{
    uint64_t lowest = UINT64_MAX;

    for (size_t i = 0; i < w->list.count; i++) {
        if (w->list.at[i].lsn != 0)
            lowest = u64_min(lowest, w->list.at[i].lsn);
    }
    for (size_t i = 0; i < w->store.count; i++) {
        const struct elem_model *e = &w->store.at[i];
        if (e->lsn != 0)
            lowest = u64_min(lowest, e->lsn);
    }
    assert_true(listq_lowest_lsn(&w->q) <= lowest);
    if (lowest != UINT64_MAX)
        assert_true(listq_dirty(&w->q));
}

static void check_all(struct world *w)
{
    struct listq_at at;
    size_t i = 0;

    expect_u64(listq_count(&w->q), w->list.count);
    for (listq_first(&w->q, &at); listq_valid(&at); listq_next(&w->q, &at))
        check_elem(w, &at, i++);
    expect_u64(i, w->list.count);
    for (listq_last(&w->q, &at); listq_valid(&at); listq_prev(&w->q, &at))
        check_elem(w, &at, --i);
    expect_u64(i, 0);
    for (int k = 0; k < 20 && w->list.count != 0; k++) {
        i = rng_below(&w->rng, w->list.count);
        listq_at_index(&w->q, i, &at);
        check_elem(w, &at, i);
        expect_u64(listq_index(&w->q, &at), i);
        assert_true(listq_find(&w->q, position_of(&w->list.at[i]), &at));
        check_elem(w, &at, i);
    }
    listq_at_index(&w->q, w->list.count, &at);
    assert_false(listq_valid(&at));
    check_lowest(w);
}

/* --- changes --- */

static void push(struct world *w, bool front)
{
    uint8_t room[POSITION_MAX];
    const uint8_t run = rng_below(&w->rng, 50) == 0 ? 2 : 1;
    const uint32_t row = ++w->rows;
    struct bytes position;

    if (front)
        position = run_position(room, run == 1 ? 100 : 99, w->front--);
    else
        position = run_position(room, run == 1 ? 100 : 101, w->back++);
    bool same;
    const size_t i = table_find(&w->list, position, &same);
    if (same || w->list.count >= ELEMS_MAX)
        return;
    const struct listq_item item = {
        .position = position, .row = row_of(row, w->buffer), .flags = LISTQ_DIRTY};
    w->lsn++;
    if (i == 0 && front)
        listq_push_front(&w->q, &item, w->lsn);
    else if (i == w->list.count)
        listq_push_back(&w->q, &item, w->lsn);
    else
        listq_insert(&w->q, &item, w->lsn);
    (void)table_put(&w->list, position, row, w->lsn);
}

static void insert_within(struct world *w)
{
    uint8_t room[POSITION_MAX];
    struct bytes position;

    if (w->list.count == 0 || w->list.count >= ELEMS_MAX ||
        !nested_position(w, rng_below(&w->rng, w->list.count), room, &position))
        return;
    const uint32_t row = ++w->rows;
    const struct listq_item item = {
        .position = position, .row = row_of(row, w->buffer), .flags = LISTQ_DIRTY};
    listq_insert(&w->q, &item, ++w->lsn);
    (void)table_put(&w->list, position, row, w->lsn);
}

static void set_row(struct world *w)
{
    struct listq_at at;

    if (w->list.count == 0)
        return;
    const size_t i = rng_below(&w->rng, w->list.count);
    struct elem_model *e = &w->list.at[i];
    e->row = ++w->rows;
    w->lsn++;
    const struct listq_item item = {
        .position = position_of(e), .row = row_of(e->row, w->buffer), .flags = LISTQ_DIRTY};
    listq_insert(&w->q, &item, w->lsn);
    listq_at_index(&w->q, i, &at);
    check_elem(w, &at, i);
    if (e->lsn == 0)
        e->lsn = w->lsn;
}

/* The store has, or will have, a row that is to go. */
static void note_removed(struct world *w, struct bytes position)
{
    bool stored;
    bool flying;
    const size_t i = table_find(&w->store, position, &stored);
    const size_t k = table_find(&w->flight, position, &flying);

    if (stored)
        w->store.at[i].lsn = w->lsn;
    else if (flying && w->flight.at[k].row != 0)
        w->flight.at[k].lsn = w->lsn;
}

static void remove_some(struct world *w, bool ends)
{
    struct listq_at at;

    if (w->list.count == 0)
        return;
    size_t i = rng_below(&w->rng, w->list.count);
    w->lsn++;
    if (ends && rng_below(&w->rng, 2) == 0) {
        i = 0;
        listq_pop_front(&w->q, w->lsn);
    } else if (ends) {
        i = w->list.count - 1;
        listq_pop_back(&w->q, w->lsn);
    } else {
        listq_at_index(&w->q, i, &at);
        listq_remove(&w->q, &at, w->lsn);
        if (i + 1 == w->list.count)
            assert_false(listq_valid(&at));
    }
    note_removed(w, position_of(&w->list.at[i]));
    table_remove(&w->list, i);
    if (!ends && i < w->list.count)
        check_elem(w, &at, i);
}

/* --- the store --- */

static void on_put(void *ctx, struct bytes position, struct bytes row)
{
    struct world *w = ctx;
    bool same;
    const size_t i = table_find(&w->list, position, &same);

    CHECK(same);
    expect_bytes(row, row_of(w->list.at[i].row, w->buffer));
    table_put(&w->flight, position, w->list.at[i].row, 0)->was = w->list.at[i].lsn;
    w->list.at[i].lsn = 0;
}

static void on_delete(void *ctx, struct bytes position)
{
    struct world *w = ctx;
    bool same;
    const size_t i = table_find(&w->store, position, &same);

    struct elem_model *e = table_put(&w->flight, position, 0, 0);
    if (!same)
        return;
    e->was = w->store.at[i].lsn;
    w->store.at[i].lsn = 0;
}

static void flush_done(struct world *w)
{
    for (size_t i = 0; i < w->flight.count; i++) {
        const struct elem_model *e = &w->flight.at[i];
        bool same;
        if (e->row != 0) {
            (void)table_put(&w->store, position_of(e), e->row, e->lsn);
            continue;
        }
        const size_t k = table_find(&w->store, position_of(e), &same);
        if (same)
            table_remove(&w->store, k);
    }
    w->flight.count = 0;
    w->flying = false;
    listq_flush_done(&w->q);
}

/* All that was in flight and still matters waits again. */
static void flush_failed(struct world *w)
{
    bool same;

    for (size_t i = 0; i < w->flight.count; i++) {
        const struct elem_model *e = &w->flight.at[i];
        const size_t k = table_find(&w->list, position_of(e), &same);
        if (same && e->row != 0)
            w->list.at[k].lsn = e->was;
        const size_t s = table_find(&w->store, position_of(e), &same);
        if (same && e->row == 0)
            w->store.at[s].lsn = e->was;
    }
    w->flight.count = 0;
    w->flying = false;
    listq_flush_failed(&w->q);
}

static void flush(struct world *w, bool fail)
{
    const size_t rows = 1 + rng_below(&w->rng, 300);

    (void)listq_flush_begin(&w->q, rows, rng_below(&w->rng, 20000), on_put, on_delete, w);
    w->flying = true;
    /* Changes while the batch is being written. */
    for (int i = 0; i < 10; i++) {
        set_row(w);
        push(w, i % 2 == 0);
        remove_some(w, i % 3 == 0);
    }
    if (fail)
        flush_failed(w);
    else
        flush_done(w);
}

/* Until nothing waits: then the store has the list. */
static void drain(struct world *w)
{
    struct listq_at at;
    size_t i = 0;

    while (listq_flush_begin(&w->q, 100, 5000, on_put, on_delete, w) != 0)
        flush_done(w);
    flush_done(w);
    assert_false(listq_dirty(&w->q));
    expect_u64(listq_lowest_lsn(&w->q), UINT64_MAX);
    expect_u64(w->store.count, w->list.count);
    for (; i < w->list.count; i++) {
        expect_bytes(position_of(&w->store.at[i]), position_of(&w->list.at[i]));
        expect_u64(w->store.at[i].row, w->list.at[i].row);
    }
    for (listq_first(&w->q, &at); listq_valid(&at); listq_next(&w->q, &at))
        expect_u64(listq_flags(&at), LISTQ_IN_STORE);
}

/* --- tests --- */

static void a_new_list_is_empty_and_owns_nothing(void **state UNUSED)
{
    struct listq q;
    struct listq_at at;

    listq_init(&q);
    expect_u64(listq_count(&q), 0);
    expect_u64(listq_bytes(&q), 0);
    listq_first(&q, &at);
    assert_false(listq_valid(&at));
    listq_last(&q, &at);
    assert_false(listq_valid(&at));
    assert_false(listq_find(&q, BYTES_LIT("x"), &at));
    assert_false(listq_valid(&at));
    assert_false(listq_dirty(&q));
    listq_deinit(&q);
}

static void run_random(uint64_t stream, unsigned within_percent)
{
    struct world w;

    world_init(&w, stream);
    for (unsigned wave = 0; wave < 6; wave++) {
        for (int i = 0; i < 4000; i++) {
            const unsigned dice = (unsigned)rng_below(&w.rng, 100);
            const bool grow = rng_below(&w.rng, 100) < (wave % 2 == 0 ? 80 : 20);
            if (dice < within_percent) {
                if (grow)
                    insert_within(&w);
                else
                    remove_some(&w, false);
            } else if (dice < 90) {
                if (grow)
                    push(&w, rng_below(&w.rng, 2) == 0);
                else
                    remove_some(&w, true);
            } else {
                set_row(&w);
            }
            if (i % 100 == 0)
                flush(&w, rng_below(&w.rng, 3) == 0);
            if (i % 500 == 0)
                check_all(&w);
        }
        check_all(&w);
        if (wave % 2 == 0) {
            drain(&w);
            check_all(&w);
        }
    }
    while (w.list.count != 0)
        remove_some(&w, w.list.count % 2 == 0);
    drain(&w);
    expect_u64(listq_bytes(&w.q), 0);
    world_deinit(&w);
}

static void random_pushes_and_pops_match_a_model(void **state UNUSED)
{
    run_random(1, 0);
}

static void random_changes_anywhere_match_a_model(void **state UNUSED)
{
    run_random(2, 45);
}

static void only_insertions_and_removals_within_match_a_model(void **state UNUSED)
{
    run_random(3, 85);
}

static void a_list_can_be_cleared_at_any_time(void **state UNUSED)
{
    struct world w;

    world_init(&w, 4);
    for (int i = 0; i < 1000; i++)
        push(&w, i % 2 == 0);
    (void)listq_flush_begin(&w.q, 10, 10, on_put, on_delete, &w);
    for (int i = 0; i < 100; i++)
        remove_some(&w, true);
    listq_clear(&w.q);
    expect_u64(listq_count(&w.q), 0);
    expect_u64(listq_bytes(&w.q), 0);
    listq_flush_failed(&w.q);
    assert_false(listq_dirty(&w.q));
    world_deinit(&w);
}

static void an_element_that_the_store_never_had_leaves_no_tombstone(void **state UNUSED)
{
    uint8_t room[POSITION_MAX];
    struct world w;

    world_init(&w, 5);
    const struct listq_item fresh = {
        .position = run_position(room, 1, 1), .row = BYTES_LIT("a"), .flags = LISTQ_DIRTY};
    listq_push_back(&w.q, &fresh, 1);
    listq_pop_back(&w.q, 2);
    assert_false(listq_dirty(&w.q));

    const struct listq_item stored = {
        .position = run_position(room, 1, 2), .row = BYTES_LIT("b"), .flags = LISTQ_IN_STORE};
    listq_push_back(&w.q, &stored, 3);
    assert_false(listq_dirty(&w.q));
    listq_pop_front(&w.q, 4);
    assert_true(listq_dirty(&w.q));
    expect_u64(listq_lowest_lsn(&w.q), 4);
    world_deinit(&w);
}

static void a_pushed_element_costs_few_bytes(void **state UNUSED)
{
    uint8_t room[POSITION_MAX];
    struct listq q;

    listq_init(&q);
    for (int32_t i = 0; i < 10000; i++) {
        const struct listq_item item = {.position = run_position(room, 1, i),
                                        .row = BYTES_LIT("tag......value")};
        listq_push_back(&q, &item, 0);
    }
    /* 14 of the row, 7 around it, and the heads of nodes. */
    assert_true(listq_bytes(&q) < 10000 * 22);
    listq_deinit(&q);
}

/* What stands at one end does not count for the other. */
static void the_bytes_of_an_end_are_those_of_its_nodes(void **state UNUSED)
{
    static const uint8_t long_row[3000];
    uint8_t room[POSITION_MAX];
    struct listq q;

    listq_init(&q);
    expect_u64(listq_bytes_of_end(&q, true, 1, UINT64_MAX), 0);
    for (int32_t i = 0; i < 2000; i++) {
        const struct listq_item item = {.position = run_position(room, 1, i),
                                        .row = i < 1000 ? BYTES_LIT("tag")
                                                        : bytes_of(long_row, sizeof(long_row))};
        listq_push_back(&q, &item, 0);
    }
    assert_true(listq_bytes_of_end(&q, true, 1, UINT64_MAX) <= 4096);
    assert_true(listq_bytes_of_end(&q, true, 900, UINT64_MAX) < 1000 * 30);
    assert_true(listq_bytes_of_end(&q, false, 900, UINT64_MAX) > 900 * sizeof(long_row));
    assert_true(listq_bytes_of_end(&q, false, 900, 10000) <= 10000 + 4096);
    expect_u64(listq_bytes_of_end(&q, true, 0, UINT64_MAX), 0);
    const uint64_t all = listq_bytes_of_end(&q, true, 5000, UINT64_MAX);
    expect_u64(listq_bytes_of_end(&q, false, 5000, UINT64_MAX), all);
    assert_true(all <= listq_bytes(&q));
    listq_deinit(&q);
}

#ifdef TIERRA_HAVE_JEMALLOC
/* Bytes that this thread holds, as the allocator counts them. */
static uint64_t allocated(void)
{
    uint64_t *more;
    uint64_t *less;
    size_t size = sizeof(more);

    assert_int_equal(mallctl("thread.allocatedp", (void *)&more, &size, NULL, 0), 0);
    assert_int_equal(mallctl("thread.deallocatedp", (void *)&less, &size, NULL, 0), 0);
    return *more - *less;
}

static void the_bytes_are_those_that_the_allocator_counts(void **state UNUSED)
{
    struct world w;

    world_init(&w, 6);
    const uint64_t before = allocated();
    for (int i = 0; i < 20000; i++) {
        if (rng_below(&w.rng, 100) < (i < 10000 ? 70u : 40u))
            insert_within(&w);
        else
            remove_some(&w, rng_below(&w.rng, 2) == 0);
        if (i % 3 == 0)
            push(&w, i % 2 == 0);
        if (i % 200 == 0)
            flush(&w, false);
        expect_u64(listq_bytes(&w.q), allocated() - before);
    }
    world_deinit(&w);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_list_is_empty_and_owns_nothing),
        cmocka_unit_test(random_pushes_and_pops_match_a_model),
        cmocka_unit_test(random_changes_anywhere_match_a_model),
        cmocka_unit_test(only_insertions_and_removals_within_match_a_model),
        cmocka_unit_test(a_list_can_be_cleared_at_any_time),
        cmocka_unit_test(an_element_that_the_store_never_had_leaves_no_tombstone),
        cmocka_unit_test(a_pushed_element_costs_few_bytes),
        cmocka_unit_test(the_bytes_of_an_end_are_those_of_its_nodes),
#ifdef TIERRA_HAVE_JEMALLOC
        cmocka_unit_test(the_bytes_are_those_that_the_allocator_counts),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
