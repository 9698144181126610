/*
 * Joins of sets on flash against arrays of flags: random sets of all sizes, dense and sparse, some
 * of whose rows are garbage of an earlier set; with any budget of steps, and a second time. Joins
 * of scores likewise, of sets and sorted sets in any mixture.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"

#include "engine/space/collmerge.h"
#include "engine/space/keyspace.h"
#include "engine/store/store.h"
#include "engine/store/store_batch.h"
#include "engine/store/store_mem.h"
#include "engine/value/row.h"
#include "engine/value/rowkey.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define SETS_MAX  5
#define UNIVERSE  400
#define ROUNDS    300
#define HASH_SEED 5

/* Rows up to here are garbage, where they are hidden. */
static const struct tag hidden = {.hlc = 100, .origin = 1};

static const double scores[] = {-(double)INFINITY, (double)INFINITY, 0, 1, -2.5, 1e300, 7};

struct model {
    bool has[UNIVERSE];
    uint8_t score[UNIVERSE]; /* Which one of `scores`. */
    double weight;
    bool hides;
    uint8_t kind; /* Of the rows. */
};

struct fixture {
    struct store_mem_disk *disk;
    struct store *store;
    struct rng rng;
    struct model sets[SETS_MAX];
    uint32_t count;
};

static void open_store(struct fixture *f)
{
    const struct store_options options = {.dir = NULL};

    f->disk = store_mem_disk_create();
    assert_int_equal(store_mem_open(f->disk, &options, &f->store), 0);
}

static void close_store(struct fixture *f)
{
    store_close(f->store);
    store_mem_disk_destroy(f->disk);
}

static struct ks_key key_of(uint32_t set, char name[24])
{
    const int len = snprintf(name, 24, "set:%u", set);

    assert_in_range(len, 5, 15);
    return ks_key_of(bytes_of(name, (size_t)len), HASH_SEED);
}

static size_t row_key(uint8_t at[64], const struct ks_key *key, uint8_t kind, uint32_t member)
{
    char text[24];
    const struct bytes sub = bytes_of(text, (size_t)snprintf(text, sizeof(text), "%u", member));

    return rowkey_store_elem(at, key->slot, key->hash, key->name, kind, sub);
}

/* `score` NULL: of a set. */
static void put_member(struct store_batch *batch, const struct ks_key *key, uint32_t member,
                       uint64_t hlc, const double *score)
{
    uint8_t at[64], row[32], value[ROW_SCORE_BYTES];
    const struct tag tag = {.hlc = hlc, .origin = 1};
    const uint8_t kind = score != NULL ? ROWKEY_KIND_ZSET : ROWKEY_KIND_SET;
    const size_t len = row_key(at, key, kind, member);

    if (score != NULL)
        row_score_store(value, *score);
    const size_t row_len =
        row_value_store(row, tag, bytes_of(value, score != NULL ? sizeof(value) : 0), 0);
    assert_int_equal(store_batch_put(batch, bytes_of(at, len), bytes_of(row, row_len)), 0);
}

static void delete_member(struct store_batch *batch, const struct ks_key *key, uint8_t kind,
                          uint32_t member)
{
    uint8_t at[64];

    assert_int_equal(store_batch_delete(batch, bytes_of(at, row_key(at, key, kind, member))), 0);
}

/* What earlier rounds left goes; a set may be empty. With `scored` some are sorted sets. */
static void make_sets(struct fixture *f, bool scored)
{
    struct store_batch batch;
    char name[24];

    store_batch_init(&batch, 1u << 20);
    f->count = 1 + (uint32_t)rng_below(&f->rng, SETS_MAX);
    for (uint32_t s = 0; s < f->count; s++) {
        struct model *m = &f->sets[s];
        const struct ks_key key = key_of(s, name);
        const uint64_t share = rng_below(&f->rng, 101);
        m->hides = rng_below(&f->rng, 2) != 0;
        m->weight = scores[rng_below(&f->rng, ARRAY_COUNT(scores))];
        m->kind = scored && rng_below(&f->rng, 2) != 0 ? ROWKEY_KIND_ZSET : ROWKEY_KIND_SET;
        for (uint32_t i = 0; i < UNIVERSE; i++) {
            delete_member(&batch, &key, ROWKEY_KIND_SET, i);
            delete_member(&batch, &key, ROWKEY_KIND_ZSET, i);
            m->has[i] = rng_below(&f->rng, 100) < share;
            m->score[i] = (uint8_t)rng_below(&f->rng, ARRAY_COUNT(scores));
            const bool garbage = !m->has[i] && m->hides && rng_below(&f->rng, 3) == 0;
            if (m->has[i] || garbage)
                put_member(&batch, &key, i, garbage ? 50 : 200,
                           m->kind == ROWKEY_KIND_ZSET ? &scores[m->score[i]] : NULL);
        }
    }
    assert_int_equal(store_write(f->store, &batch, 0), 0);
    store_batch_deinit(&batch);
}

static bool expected(const struct fixture *f, enum collmerge_op op, uint32_t member)
{
    uint32_t has = 0;

    for (uint32_t s = 0; s < f->count; s++)
        has += f->sets[s].has[member];
    switch (op) {
    case COLLMERGE_INTER:
        return has == f->count;
    case COLLMERGE_UNION:
        return has != 0;
    case COLLMERGE_DIFF:
        return has == 1 && f->sets[0].has[member];
    }
    return false;
}

static double score_in(const struct model *m, uint32_t member)
{
    return m->kind == ROWKEY_KIND_ZSET ? scores[m->score[member]] : 1.0;
}

/* As Redis: what is not a number is 0, but in an intersection for all products but the first. */
static double expected_score(const struct fixture *f, enum collmerge_op op,
                             enum collmerge_aggregate how, uint32_t member)
{
    double sum = 0;
    bool first = true;

    if (op == COLLMERGE_DIFF)
        return score_in(&f->sets[0], member);
    for (uint32_t s = 0; s < f->count; s++) {
        const struct model *m = &f->sets[s];
        if (!m->has[member])
            continue;
        double score = score_in(m, member) * m->weight;
        if (isnan(score) && (first || op == COLLMERGE_UNION))
            score = 0;
        const bool replaces = how == COLLMERGE_MIN ? score < sum : score > sum;
        if (!first && how == COLLMERGE_SUM)
            sum = isnan(sum + score) ? 0 : sum + score;
        else if (first || replaces)
            sum = score;
        first = false;
    }
    return sum;
}

/* `how` NULL: not of scores. */
static void expect_all(struct fixture *f, struct collmerge *m, enum collmerge_op op,
                       const enum collmerge_aggregate *how)
{
    bool seen[UNIVERSE] = {false};
    struct collmerge_row row;
    enum collmerge_result result;
    const uint64_t budget = 1 + rng_below(&f->rng, 200);
    int64_t cost = (int64_t)budget, member;

    while ((result = collmerge_next(m, &cost, &row)) != COLLMERGE_END) {
        if (result == COLLMERGE_PAUSE) {
            assert_true(cost <= 0);
            cost = (int64_t)budget;
            continue;
        }
        assert_true(num_parse_i64(row.member, &member) && member >= 0 && member < UNIVERSE);
        assert_false(seen[member]);
        seen[member] = true;
        if (how != NULL)
            assert_true(row.score == expected_score(f, op, *how, (uint32_t)member));
    }
    assert_int_equal(collmerge_err(m), 0);
    for (uint32_t i = 0; i < UNIVERSE; i++)
        assert_int_equal(seen[i], expected(f, op, i));
}

static void sets_are_joined(void **state)
{
    struct fixture f = {.count = 0};
    char name[24];

    (void)state;
    seed_rng(&f.rng, 1);
    open_store(&f);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const enum collmerge_op op = (enum collmerge_op)(round % 3);
        make_sets(&f, false);
        struct collmerge *m = collmerge_create(op, f.count);
        for (uint32_t s = 0; s < f.count; s++) {
            const struct ks_key key = key_of(s, name);
            collmerge_add(m, &key, f.sets[s].hides ? &hidden : NULL);
        }
        assert_int_equal(collmerge_open(m, f.store), 0);
        expect_all(&f, m, op, NULL);
        collmerge_rewind(m);
        expect_all(&f, m, op, NULL);
        collmerge_close(m);
        collmerge_destroy(m);
    }
    close_store(&f);
}

static void scores_are_joined(void **state)
{
    struct fixture f = {.count = 0};
    char name[24];

    (void)state;
    seed_rng(&f.rng, 2);
    open_store(&f);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        const enum collmerge_op op = (enum collmerge_op)(round % 3);
        const enum collmerge_aggregate how = (enum collmerge_aggregate)(round / 3 % 3);
        make_sets(&f, true);
        struct collmerge *m = collmerge_create(op, f.count);
        for (uint32_t s = 0; s < f.count; s++) {
            const struct ks_key key = key_of(s, name);
            const struct collmerge_scored set = {.key = &key,
                                                 .hidden = f.sets[s].hides ? &hidden : NULL,
                                                 .how = how,
                                                 .weight = f.sets[s].weight,
                                                 .kind = f.sets[s].kind};
            collmerge_add_scored(m, &set);
        }
        assert_int_equal(collmerge_open(m, f.store), 0);
        expect_all(&f, m, op, &how);
        collmerge_rewind(m);
        expect_all(&f, m, op, &how);
        collmerge_close(m);
        collmerge_destroy(m);
    }
    close_store(&f);
}

/* A member whose row cannot be read is an error, once it matters. */
static void damage_is_told(void **state)
{
    struct fixture f = {.count = 2};
    struct store_batch batch;
    struct collmerge_row row;
    char name[24];
    uint8_t at[64];
    int64_t cost = 1000;

    (void)state;
    open_store(&f);
    store_batch_init(&batch, 1u << 20);
    for (uint32_t s = 0; s < 2; s++) {
        const struct ks_key key = key_of(s, name);
        put_member(&batch, &key, 7, 200, NULL);
    }
    assert_int_equal(store_write(f.store, &batch, 0), 0);
    store_batch_deinit(&batch);
    const struct ks_key key = key_of(1, name);
    const size_t len =
        rowkey_store_elem(at, key.slot, key.hash, key.name, ROWKEY_KIND_SET, BYTES_LIT("7"));
    assert_true(store_mem_disk_corrupt(f.disk, bytes_of(at, len), 13));

    struct collmerge *m = collmerge_create(COLLMERGE_INTER, 2);
    for (uint32_t s = 0; s < 2; s++) {
        const struct ks_key source = key_of(s, name);
        collmerge_add(m, &source, NULL);
    }
    assert_int_equal(collmerge_open(m, f.store), 0);
    assert_int_equal(collmerge_next(m, &cost, &row), COLLMERGE_END);
    assert_int_equal(collmerge_err(m), -ERR_CORRUPT);
    collmerge_close(m);
    collmerge_destroy(m);
    close_store(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_are_joined),
        cmocka_unit_test(scores_are_joined),
        cmocka_unit_test(damage_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
