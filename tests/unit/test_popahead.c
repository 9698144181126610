/*
 * Members drawn ahead of SPOP: in random orders of pops and other changes of some sets against a
 * list of what was drawn, and at the bounds. The sets are on flash and drawn from as SPOP does.
 */
#include "engine/base/mem.h"

#include "engine/space/coll.h"
#include "engine/space/collstream.h"
#include "engine/value/row.h"

#include "server/popahead.h"

#include "tests/lib/seed.h"
#include "tests/unit/test_keyspace_fixture.h"

#define SETS       4u
#define MEMBERS    600u
#define LONG_BYTES 9000u /* Seven of these are kept. */
#define STEPS      800u
#define KEPT_BYTES (64u << 10)
#define HEAD_BYTES 8u
#define KEEP       (16u << 20)
#define BESIDE     96u

/* What was drawn and not asked for, copied, in order. */
struct drawn {
    size_t len[2]; /* Member, row. */
    uint8_t bytes[LONG_BYTES + 200];
};

struct model {
    int set; /* Of which some were drawn ahead, valid if >= 0. */
    uint32_t first;
    uint32_t count;
    uint32_t last; /* So many were drawn ahead last time. */
    struct drawn drawn[POP_AHEAD_MAX];
};

struct world {
    struct core c;
    struct rng rng;
    struct pop_ahead ahead;
    struct model model;
    uint64_t left[SETS];
    uint32_t added;
    uint64_t seen[2]; /* Pops ahead, and draws. */
};

static struct bytes part_of(const struct drawn *d, unsigned part)
{
    return bytes_of(d->bytes + (part == 0 ? 0 : d->len[0]), d->len[part]);
}

/* The last set has long members. */
static struct bytes member_of(unsigned set, uint32_t number, char *text)
{
    const int len = snprintf(text, LONG_BYTES + 1, "%u:%u:", set, number);

    if (set + 1 != SETS)
        return bytes_of(text, (size_t)len);
    memset(text + len, 'x', LONG_BYTES - (size_t)len);
    return bytes_of(text, LONG_BYTES);
}

static uint32_t members(unsigned set)
{
    return set + 1 == SETS ? MEMBERS / 4 : MEMBERS;
}

static void add(struct world *w, unsigned set, uint32_t count)
{
    static char text[LONG_BYTES + 1];
    char name[16];
    const struct ks_key key = key_of(set, name);

    mut_begin(w->c.mut, NOW_MS);
    struct coll *coll = mut_coll(w->c.mut, &key, VT_SET);
    for (uint32_t i = 0; i < count; i++)
        (void)mut_elem_set(w->c.mut, coll, member_of(set, w->added++, text), bytes_of(NULL, 0));
    (void)mut_end(w->c.mut);
    w->left[set] += count;
}

static struct coll *find(struct world *w, unsigned set)
{
    char name[16];
    const struct ks_key key = key_of(set, name);

    need_key(&w->c, &key);
    return ks_peek_coll(w->c.ks, &key);
}

static void open_world(struct world *w)
{
    memset(w, 0, sizeof(*w));
    w->model.set = -1;
    core_init(&w->c);
    seed_rng(&w->rng, 2);
    for (unsigned set = 0; set < SETS; set++)
        add(w, set, members(set));
}

static void close_world(struct world *w)
{
    pop_ahead_deinit(&w->ahead);
    ks_wait_unpin(&w->c.wait);
    core_deinit(&w->c);
}

/* --- as the handler does --- */

/* `n` members at random, read from flash. */
static struct ks_stream *draw(struct world *w, unsigned set, uint64_t n)
{
    char name[16];
    const struct ks_key key = key_of(set, name);
    const struct ks_stream_span span = {.skip = 0};

    write_all_now(&w->c);
    struct coll *coll = find(w, set);
    struct ks_stream *rows = ks_stream_create(w->c.ks, &key, coll, &span);
    ks_stream_draw(rows, coll->count, n, rng_u64(&w->rng), true);
    ks_stream_gather(rows, KEEP, BESIDE);
    do {
        ks_stream_read(rows, &w->c.wait);
        wait_ready(&w->c);
        assert_int_equal(ks_stream_err(rows), 0);
    } while (!ks_stream_end(rows));
    assert_true(ks_stream_kept(rows));
    ks_stream_show_again(rows);
    return rows;
}

static void pop(struct world *w, unsigned set, struct bytes member, struct bytes row)
{
    struct coll *coll = find(w, set);

    /* It was there all the time: else it has been popped or removed before. */
    ks_stream_install(w->c.ks, coll, member, row);
    assert_non_null(coll_find(coll, member));
    mut_begin(w->c.mut, NOW_MS);
    assert_true(mut_elem_del(w->c.mut, coll, member));
    (void)mut_end(w->c.mut);
    w->left[set]--;
    expect_u64(coll->count, w->left[set]);
}

/* What is next in the stream is kept as long as all of it takes no more than may be kept. */
static void model_keep(struct world *w, unsigned set, struct ks_stream *rows)
{
    struct model *m = &w->model;
    struct ks_stream_elem elem;
    size_t bytes = 0;
    bool fits = true;

    m->set = (int)set;
    m->first = m->count = m->last = 0;
    while (ks_stream_next(rows, &elem)) {
        bytes += HEAD_BYTES + elem.sub.len + elem.row.len;
        if (!fits)
            continue;
        m->last++;
        fits = bytes <= KEPT_BYTES;
        if (!fits)
            continue;
        struct drawn *d = &m->drawn[m->count++];
        d->len[0] = elem.sub.len;
        d->len[1] = elem.row.len;
        assert_in_range(elem.sub.len + elem.row.len, 1, sizeof(d->bytes));
        memcpy(d->bytes, elem.sub.ptr, elem.sub.len);
        memcpy(d->bytes + elem.sub.len, elem.row.ptr, elem.row.len);
    }
}

static void draw_and_pop(struct world *w, unsigned set, uint32_t n)
{
    const struct coll *coll = find(w, set);
    const uint32_t more = pop_ahead_more(&w->ahead, coll);
    struct ks_stream *rows = draw(w, set, n + more);
    struct ks_stream_elem elem;

    for (uint32_t i = 0; i < n; i++) {
        assert_true(ks_stream_next(rows, &elem));
        pop(w, set, elem.sub, elem.row);
    }
    model_keep(w, set, rows);
    ks_stream_show_again(rows);
    for (uint32_t i = 0; i < n; i++)
        assert_true(ks_stream_next(rows, &elem));
    pop_ahead_keep(&w->ahead, find(w, set), rows);
    ks_stream_destroy(rows);
    w->seen[1]++;
}

static void pop_ahead(struct world *w, unsigned set, uint32_t n)
{
    struct model *m = &w->model;
    struct bytes member, row;

    for (uint32_t i = 0; i < n; i++) {
        const struct drawn *d = &m->drawn[m->first++];
        pop_ahead_take(&w->ahead, &member, &row);
        expect_bytes(member, part_of(d, 0));
        expect_bytes(row, part_of(d, 1));
        pop(w, set, member, row);
        m->count--;
    }
    pop_ahead_popped(&w->ahead, find(w, set));
    w->seen[0]++;
}

/* --- random orders --- */

static void check(struct world *w)
{
    const struct model *m = &w->model;

    for (unsigned set = 0; set < SETS; set++) {
        const struct coll *coll = find(w, set);
        const bool valid = m->set == (int)set;
        const uint32_t more = m->last >= POP_AHEAD_MAX / 2 ? POP_AHEAD_MAX : 2 * m->last + 1;

        expect_u64(pop_ahead_more(&w->ahead, coll), valid ? more : 0);
        for (uint64_t n = 1; n <= POP_AHEAD_MAX + 1; n++)
            assert_int_equal(pop_ahead_has(&w->ahead, coll, n), valid && n <= m->count);
        assert_false(pop_ahead_has(&w->ahead, coll, UINT64_MAX));
    }
}

/* Any change of the set but a pop, on which none of what was drawn may be given any more. */
static void change(struct world *w, unsigned set)
{
    char name[16];
    const struct ks_key key = key_of(set, name);
    const struct model *m = &w->model;

    (void)find(w, set);
    if (m->set == (int)set && m->count != 0 && rng_below(&w->rng, 2) == 0) {
        const struct drawn *d = &m->drawn[m->first + rng_below(&w->rng, m->count)];
        pop(w, set, part_of(d, 0), part_of(d, 1)); /* SREM of one of these. */
    } else if (rng_below(&w->rng, 3) == 0) {
        mut_begin(w->c.mut, NOW_MS);
        mut_expire(w->c.mut, &key, rng_below(&w->rng, 2) == 0 ? 0 : NOW_MS + 1000000);
        (void)mut_end(w->c.mut);
    } else if (rng_below(&w->rng, 3) == 0) {
        delete (&w->c, &key);
        w->left[set] = 0;
        ks_wait_unpin(&w->c.wait);
        add(w, set, members(set));
    } else {
        add(w, set, 1);
    }
    if (w->model.set == (int)set)
        w->model.set = -1;
}

static void step(struct world *w)
{
    const bool again = w->model.set >= 0 && rng_below(&w->rng, 4) != 0;
    const unsigned set = again ? (unsigned)w->model.set : (unsigned)rng_below(&w->rng, SETS);
    const uint32_t n = 1 + (uint32_t)rng_below(&w->rng, rng_below(&w->rng, 3) == 0 ? 16 : 2);
    const bool here = w->model.set == (int)set;

    if (rng_below(&w->rng, 40) == 0) {
        change(w, set);
    } else if (rng_below(&w->rng, 20) == 0) {
        ks_wait_unpin(&w->c.wait);
        chill(&w->c); /* Leaving DRAM is no change. */
    } else if (w->left[set] < members(set) / 2) {
        add(w, set, members(set) / 2);
        w->model.set = here ? -1 : w->model.set;
    } else if (here && n <= w->model.count) {
        pop_ahead(w, set, n);
    } else if (w->model.set < 0 || here || rng_below(&w->rng, 8) == 0) {
        draw_and_pop(w, set, n);
    }
    check(w);
    ks_wait_unpin(&w->c.wait);
    oplog_turn_end(w->c.log);
}

static void pops_give_what_was_drawn_as_long_as_nothing_else_changes_the_set(void **state)
{
    static struct world w;

    (void)state;
    open_world(&w);
    check(&w);
    for (unsigned i = 0; i < STEPS; i++)
        step(&w);
    for (unsigned i = 0; i < ARRAY_COUNT(w.seen); i++)
        assert_in_range(w.seen[i], STEPS / 20, STEPS);
    close_world(&w);
}

/* --- bounds --- */

static void more_are_drawn_each_time_that_all_were_used(void **state)
{
    static const uint32_t wanted[] = {0, 1, 3, 7, 15, 16, 16};
    static struct world w;

    (void)state;
    open_world(&w);
    for (unsigned i = 0; i < ARRAY_COUNT(wanted); i++) {
        expect_u64(pop_ahead_more(&w.ahead, find(&w, 0)), wanted[i]);
        draw_and_pop(&w, 0, 1);
        for (uint32_t left = wanted[i]; left != 0; left--) {
            assert_true(pop_ahead_has(&w.ahead, find(&w, 0), left));
            assert_false(pop_ahead_has(&w.ahead, find(&w, 0), left + 1));
            pop_ahead(&w, 0, 1);
        }
    }
    add(&w, 0, 1);
    expect_u64(pop_ahead_more(&w.ahead, find(&w, 0)), 0);
    close_world(&w);
}

/* Nothing but the name tells them apart: each was made by the change that made the other. */
static void of_two_sets_with_one_position_one_has_some(void **state)
{
    static struct world w;
    char name[2][16];

    (void)state;
    open_world(&w);
    const struct ks_key one = key_of(0, name[0]), other = key_of(1, name[1]);
    (void)find(&w, 0);
    (void)find(&w, 1);
    mut_begin(w.c.mut, NOW_MS);
    mut_expire(w.c.mut, &one, NOW_MS + 1000000);
    mut_expire(w.c.mut, &other, NOW_MS + 1000000);
    (void)mut_end(w.c.mut);
    assert_true(find(&w, 0)->lsn == find(&w, 1)->lsn);
    struct ks_stream *rows = draw(&w, 0, 3);
    pop_ahead_keep(&w.ahead, find(&w, 0), rows);
    ks_stream_destroy(rows);
    assert_true(pop_ahead_has(&w.ahead, find(&w, 0), 3));
    assert_false(pop_ahead_has(&w.ahead, find(&w, 1), 1));
    expect_u64(pop_ahead_more(&w.ahead, find(&w, 1)), 0);
    close_world(&w);
}

/* As many as fit to the byte, and one less where they are longer by one. */
static void what_is_kept_is_bounded(void **state)
{
    static struct world w;
    static char text[KEPT_BYTES];
    char name[16];
    const struct ks_key key = key_of(SETS, name);
    const unsigned count = 8;
    size_t len = 100;

    (void)state;
    open_world(&w);
    memset(text, 'y', sizeof(text));
    for (unsigned round = 0; round < 3; round++) {
        struct ks_stream_elem elem;

        mut_begin(w.c.mut, NOW_MS);
        struct coll *coll = mut_coll(w.c.mut, &key, VT_SET);
        for (unsigned i = 0; i < 2 * count; i++) {
            text[0] = (char)('a' + i);
            (void)mut_elem_set(w.c.mut, coll, bytes_of(text, len), bytes_of(NULL, 0));
        }
        (void)mut_end(w.c.mut);
        ks_wait_unpin(&w.c.wait);
        struct ks_stream *rows = draw(&w, SETS, count);
        assert_true(ks_stream_next(rows, &elem));
        const size_t beside = elem.row.len + HEAD_BYTES;
        ks_stream_show_again(rows);
        pop_ahead_keep(&w.ahead, find(&w, SETS), rows);
        ks_stream_destroy(rows);
        const uint32_t kept = round == 2 ? count - 1 : count;
        assert_true(pop_ahead_has(&w.ahead, find(&w, SETS), kept));
        assert_false(pop_ahead_has(&w.ahead, find(&w, SETS), kept + 1));
        len = KEPT_BYTES / count - beside + round;
        need_key(&w.c, &key);
        delete (&w.c, &key);
    }
    close_world(&w);
}

/* A set without a name is not what nothing has. */
static void without_a_draw_there_are_none(void **state)
{
    static struct world w;
    const struct ks_key key = ks_key_of(bytes_of(NULL, 0), HASH_SEED);

    (void)state;
    open_world(&w);
    add_some(&w.c, &key, 10);
    assert_false(pop_ahead_has(&w.ahead, ks_peek_coll(w.c.ks, &key), 1));
    expect_u64(pop_ahead_more(&w.ahead, ks_peek_coll(w.c.ks, &key)), 0);
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pops_give_what_was_drawn_as_long_as_nothing_else_changes_the_set),
        cmocka_unit_test(more_are_drawn_each_time_that_all_were_used),
        cmocka_unit_test(of_two_sets_with_one_position_one_has_some),
        cmocka_unit_test(what_is_kept_is_bounded),
        cmocka_unit_test(without_a_draw_there_are_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
