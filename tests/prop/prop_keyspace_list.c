/* The lists of the property test of the keyspace: commands, and what must be there after them. */
#include <stdio.h>

#include "engine/space/ks_state.h"
#include "engine/space/resident.h"

#include "replication/mutate.h"

#include "tests/lib/tcase.h"
#include "tests/prop/prop_keyspace_parts.h"

static struct ks_key list_key(unsigned l, char name[16])
{
    const int len = snprintf(name, 16, "list:%u", l);

    return ks_key_of(bytes_of(name, (size_t)len), HASH_SEED);
}

static struct coll *need_list(struct core *c, const struct ks_key *key, uint64_t front,
                              uint64_t back)
{
    for (;;) {
        const int waiting = ks_need_list(c->ks, key, front, back, &c->wait);
        assert_true(waiting >= 0);
        if (waiting == 0)
            break;
        wait_ready(c);
    }
    struct coll *coll = ks_peek_coll(c->ks, key);
    c->partial += coll != NULL && coll->gap != NULL;
    return coll;
}

static void check_element(const struct coll *coll, struct model_list *m, uint64_t index)
{
    struct listq_at at;
    struct row_view view;
    char text[ROW_TEXT_BYTES];
    int64_t value;

    coll_list_at(coll, index, &at);
    assert_true(listq_valid(&at));
    assert_int_equal(row_view(at.row, NOW_MS, &view), 0);
    assert_true(num_parse_i64(row_text(&view, text), &value));
    assert_int_equal(value, *model_at(m, index));
}

void check_list(struct core *c, unsigned l, bool all)
{
    char name[16];
    struct model_list *m = &c->lists[l];
    const struct ks_key key = list_key(l, name);
    const uint64_t front = all ? m->count : u64_min(m->count, rng_below(&c->rng, 200));
    const uint64_t back = all ? 0 : u64_min(m->count, rng_below(&c->rng, 200));
    const struct coll *coll = need_list(c, &key, front, back);

    assert_int_equal(coll == NULL ? 0 : coll->count, m->count);
    for (uint64_t i = 0; i < front; i++)
        check_element(coll, m, i);
    for (uint64_t i = m->count - back; i < m->count; i++)
        check_element(coll, m, i);
}

static void list_push(struct core *c, const struct ks_key *key, struct model_list *m, bool front)
{
    char text[32];
    const int64_t value = c->next_value++;

    if (m->count == LIST_MAX)
        return;
    mut_list_push(c->mut, mut_coll(c->mut, key, VT_LIST), number(value, text), front);
    m->count++;
    if (front)
        m->first = (m->first + LIST_MAX - 1) % LIST_MAX;
    *model_at(m, front ? 0 : m->count - 1) = value;
}

static void list_pop(struct core *c, const struct ks_key *key, struct model_list *m, bool front)
{
    const bool left = mut_list_pop(c->mut, ks_peek_coll(c->ks, key), front);

    m->first = (m->first + front) % LIST_MAX;
    m->count--;
    assert_int_equal(left, m->count != 0);
}

/* Sets, inserts or removes one element somewhere. */
static void list_within(struct core *c, const struct ks_key *key, struct model_list *m)
{
    char text[32];
    struct listq_at at;
    const unsigned what = (unsigned)rng_below(&c->rng, 3);
    const uint64_t index = rng_below(&c->rng, m->count);
    const int64_t value = c->next_value++;
    struct coll *coll = ks_peek_coll(c->ks, key);

    coll_list_at(coll, index, &at);
    if (what == 0) {
        mut_list_set(c->mut, coll, &at, number(value, text));
        *model_at(m, index) = value;
    } else if (what == 1 && m->count < LIST_MAX) {
        if (mut_list_insert(c->mut, coll, &at, true, number(value, text)) != 0)
            return;
        m->count++;
        for (uint64_t i = m->count - 1; i > index; i--)
            *model_at(m, i) = *model_at(m, i - 1);
        *model_at(m, index) = value;
    } else if (what == 2) {
        (void)mut_list_remove(c->mut, coll, &at);
        for (uint64_t i = index; i + 1 < m->count; i++)
            *model_at(m, i) = *model_at(m, i + 1);
        m->count--;
    }
}

void list_command(struct core *c)
{
    char name[16];
    const unsigned l = (unsigned)rng_below(&c->rng, LISTS);
    const unsigned what = (unsigned)rng_below(&c->rng, 100);
    const struct ks_key key = list_key(l, name);
    struct model_list *m = &c->lists[l];
    const bool front = rng_below(&c->rng, 2) == 0;
    const uint64_t n = rng_below(&c->rng, 120);

    while (mut_check(c->mut, 1000) != 0)
        turn(c);
    if (what < 50)
        need_key(c, &key);
    else if (what < 90)
        (void)need_list(c, &key, front ? n : 0, front ? 0 : n);
    else
        (void)need_list(c, &key, m->count, 0);
    mut_begin(c->mut, NOW_MS);
    if (what < 50) {
        for (uint64_t i = 0; i < n; i++)
            list_push(c, &key, m, front);
    } else if (what < 90) {
        for (uint64_t i = 0; i < n && m->count != 0; i++)
            list_pop(c, &key, m, front);
    } else if (what < 97) {
        for (int i = 0; i < 5 && m->count != 0; i++)
            list_within(c, &key, m);
    } else if (m->count != 0) {
        mut_del(c->mut, &key);
        m->count = 0;
    }
    (void)mut_end(c->mut);
    check_list(c, l, false);
}
