/* The sorted sets of the property test of the keyspace: their ranges, and their index on flash. */
#include "engine/space/flush.h"
#include "engine/space/ks_state.h"
#include "engine/space/resident.h"
#include "engine/store/store.h"
#include "engine/value/rowkey.h"

#include "replication/mutate.h"
#include "replication/oplog.h"

#include "tests/lib/tcase.h"
#include "tests/prop/prop_keyspace_parts.h"

static void need_zset(struct core *c, const struct ks_key *key, const struct ks_zset_need *want)
{
    for (;;) {
        const int waiting = ks_need_zset(c->ks, key, want, &c->wait);
        assert_true(waiting >= 0);
        if (waiting == 0)
            return;
        wait_ready(c);
    }
}

/* Some members by rank, from either end. */
static void check_ranks(struct core *c, const struct ks_key *key, const struct entry *e, uint64_t n)
{
    char name[16];
    struct zorder_pos pos;
    const bool back = rng_below(&c->rng, 2) == 0;
    const uint64_t first = rng_below(&c->rng, n), some = 1 + rng_below(&c->rng, n - first);
    const struct ks_zset_need want = {.n = back ? n - first : first + some, .back = back};

    need_zset(c, key, &want);
    const struct coll *coll = ks_peek_coll(c->ks, key);
    c->partial_zsets += !coll->complete;
    for (uint64_t i = first; i < first + some; i++) {
        uint64_t at;
        assert_true(coll_zset_rank(coll, i, &at));
        assert_true(zorder_at(&coll->order, at, &pos));
        assert_int_equal((int64_t)pos.score, e[i].score);
        assert_true(bytes_eq(elem_sub(pos.elem), sub_of(e[i].sub, name)));
        assert_true(coll_zset_rank_of(coll, pos.elem, &at));
        assert_int_equal(at, i);
    }
}

/* All members between two scores. */
static void check_scores(struct core *c, const struct ks_key *key, const struct entry *e,
                         uint64_t n)
{
    char name[16];
    uint8_t low[ROWKEY_SCORE_BYTES], high[ROWKEY_SCORE_BYTES];
    struct zorder_pos pos;
    const int64_t from = (int64_t)rng_below(&c->rng, 900),
                  to = from + (int64_t)rng_below(&c->rng, 300);
    uint64_t count = 0;

    rowkey_score_store(low, (double)from);
    rowkey_score_store(high, (double)to + 0.5);
    const struct ks_zset_need want = {.low = bytes_of(low, sizeof(low)),
                                      .high = bytes_of(high, sizeof(high)),
                                      .n = UINT64_MAX,
                                      .back = rng_below(&c->rng, 2) == 0};
    need_zset(c, key, &want);
    const struct coll *coll = ks_peek_coll(c->ks, key);
    const uint64_t first = zorder_rank_score(&coll->order, (double)from, false);
    bool more = zorder_at(&coll->order, first, &pos);
    for (uint64_t i = 0; i < n; i++) {
        if (e[i].score < from || e[i].score > to)
            continue;
        count++;
        assert_true(more);
        assert_true(bytes_eq(elem_sub(pos.elem), sub_of(e[i].sub, name)));
        uint64_t rank;
        assert_true(!coll_zset_rank_of(coll, pos.elem, &rank) || rank == i);
        more = zorder_next(&pos);
    }
    assert_int_equal(zorder_rank_score(&coll->order, (double)to, true) - first, count);
}

void check_ranges(struct core *c)
{
    char name[16];
    struct entry e[SUBS];
    const unsigned k = (unsigned)rng_below(&c->rng, KEYS);
    const struct ks_key key = key_of(k, name);
    const uint64_t n = c->model[k].type == VT_ZSET ? sorted(&c->model[k], e) : 0;

    if (n == 0)
        return;
    if (rng_below(&c->rng, 2) == 0)
        check_ranks(c, &key, e, n);
    else
        check_scores(c, &key, e, n);
}

void check_index(struct core *c)
{
    const struct store_iter_options options = {0};
    struct store_iter *it;
    struct rowkey rk;
    struct bytes row;
    struct row_view view;
    int64_t k;
    uint64_t rows = 0, members = 0;
    char name[16];

    while (ks_flush_needed(c->ks)) {
        ks_flush_point(c->ks, oplog_applied_lsn(c->log), mut_vv(c->mut));
        if (ks_flush_start(c->ks, 1u << 20, NOW_MS))
            ks_flush_on_durable(c->ks, oplog_durable_lsn(c->log));
        turn(c);
    }
    while (ks_busy(c->ks))
        turn(c);
    assert_int_equal(store_iter_open(c->rig.store, &options, &it), 0);
    for (store_iter_seek(it, bytes_of(NULL, 0)); store_iter_valid(it); store_iter_next(it)) {
        if (rowkey_parse(store_iter_key(it), &rk) != 0 || rk.kind != ROWKEY_KIND_ZINDEX)
            continue;
        assert_int_equal(store_iter_row(it, &row), STORE_FOUND);
        assert_int_equal(row_view(row, NOW_MS, &view), 0);
        const struct ks_key key = ks_key_of(rk.key, HASH_SEED);
        if (ks_sweep_hides(c->ks, &key, view.tag))
            continue;
        assert_true(num_parse_i64(bytes_from(rk.key, 4), &k) && k < KEYS);
        const struct model_key *m = &c->model[k];
        assert_int_equal(m->type, VT_ZSET);
        unsigned s = 0;
        while (s < SUBS && !bytes_eq(sub_of(s, name), bytes_from(rk.sub, ROWKEY_SCORE_BYTES)))
            s++;
        assert_true(s < SUBS && m->has[s]);
        assert_int_equal((int64_t)rowkey_score_load(rk.sub.ptr), m->elem[s]);
        rows++;
    }
    store_iter_close(it);
    for (k = 0; k < KEYS; k++)
        members += c->model[k].type == VT_ZSET ? model_count(&c->model[k]) : 0;
    assert_int_equal(rows, members);
}
