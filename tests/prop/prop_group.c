/*
 * The keyspaces of a group converge.
 *
 * Two to four members, each with the real keyspace over both tiers, write path, op log on files,
 * reader and maintenance threads, and the store in memory, whose disk outlasts a crash. Random
 * commands of all types run at random members, single and in batches; batches travel in random
 * orders that are causal, some of them twice; in between rows are written back, keys are demoted,
 * and members crash and replay. In the end every member has everything: then all must show the
 * same, and what the oracle says, and the number of keys must be exact.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

#include "engine/space/coll.h"
#include "engine/space/group.h"
#include "engine/space/strval.h"
#include "engine/store/store.h"
#include "engine/value/op.h"
#include "engine/value/row_chunk.h"

#include "replication/apply.h"
#include "replication/mutate.h"
#include "replication/oplog.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/prop/prop_group_member.h"
#include "tests/prop/prop_group_net.h"
#include "tests/prop/prop_group_oracle.h"

#define KEYS       10
#define SUBS       5
#define OPS_MAX    4
#define LONG_BYTES (20u << 10)

struct world {
    struct rng rng;
    struct net net;
    bool expiries;
    bool
        diverged; /* Something did not agree; if batches are delivered in order it fails at once. */
    int64_t next_value;
    uint64_t refused;
    uint64_t stream;
};

static unsigned below(struct world *w, unsigned n)
{
    return (unsigned)rng_below(&w->rng, n);
}

static struct ks_key key_of(unsigned k, char name[16])
{
    (void)snprintf(name, 16, "key:%u", k);
    return member_key(name);
}

static struct bytes sub_of(unsigned s, char name[16])
{
    const int len = snprintf(name, 16, "sub:%u", s);

    return bytes_of(name, (size_t)len);
}

/* --- batches --- */

static void deliver_some(struct world *w)
{
    if (w->net.parcels_count == 0)
        return;
    const unsigned to = below(w, w->net.members);
    for (unsigned n = 1 + below(w, 12); n != 0; n--) {
        struct parcel *p = &w->net.parcels[below(w, (unsigned)w->net.parcels_count)];
        w->refused += !net_deliver(&w->net, p, to);
    }
    /* The oldest that it lacks, so that it goes on. */
    for (size_t i = 0; i < w->net.parcels_count; i++) {
        if (!w->net.parcels[i].at[to]) {
            (void)net_deliver(&w->net, &w->net.parcels[i], to);
            break;
        }
    }
}

/* --- commands --- */

static uint64_t expiry(struct world *w, const struct prop_member *m)
{
    if (!w->expiries || below(w, 3) != 0)
        return 0;
    return m->now_ms + 1 + below(w, 40);
}

static void set_long(struct world *w, struct prop_member *m, const struct ks_key *key)
{
    uint8_t *big = mem_alloc(LONG_BYTES);

    memset(big, 'a' + (int)below(w, 26), LONG_BYTES);
    mut_set(m->mut, key, bytes_of(big, LONG_BYTES), expiry(w, m));
    mem_free(big);
}

/* Bits, half of them near the borders of chunks or the end, and ranges. */
static void change_part(struct world *w, struct prop_member *m, const struct ks_key *key,
                        uint64_t len)
{
    char text[32];
    const int text_len = snprintf(text, sizeof(text), "%lld", (long long)++w->next_value);
    const uint32_t count = 1 + below(w, 16);
    const uint64_t chunk = 1 + below(w, (unsigned)(len / ROW_CHUNK_BYTES) + 1);
    uint64_t bit = below(w, (unsigned)len * 8);
    uint64_t at = len;

    if (below(w, 2) == 0)
        bit = u64_min(chunk * ROW_CHUNK_BITS, len * 8) - below(w, 24);
    if (below(w, 4) != 0) {
        assert_int_equal(mut_string_bits(m->mut, key, bit, count, rng_u64(&w->rng) >> (64 - count)),
                         0);
        return;
    }
    if (below(w, 3) != 0)
        at = chunk * ROW_CHUNK_BYTES - below(w, 6);
    assert_int_equal(mut_string_patch(m->mut, key, at, bytes_of(text, (size_t)text_len), &len), 0);
}

static void string_command(struct world *w, struct prop_member *m, const struct ks_key *key)
{
    char text[32];
    const int len = snprintf(text, sizeof(text), "%lld", (long long)++w->next_value);
    struct obj *obj = ks_get(m->ks, key, mut_now_ms(m->mut, m->now_ms));
    int64_t i;
    uint64_t n;

    if (obj != NULL && obj->h.type != VT_STRING)
        return;
    if (obj != NULL && obj_is_chunked(obj) && below(w, 5) != 0) {
        change_part(w, m, key, strval_len(obj));
        return;
    }
    switch (below(w, 4) == 0 ? below(w, 8) : below(w, 6)) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        if (mut_incr(m->mut, key, (int64_t)below(w, 100) - 30, &i) != 0)
            mut_set(m->mut, key, bytes_of(text, (size_t)len), 0);
        return;
    case 5:
        assert_int_equal(
            mut_string_patch(m->mut, key, below(w, 3), bytes_of(text, (size_t)len), &n), 0);
        return;
    case 6:
        set_long(w, m, key);
        return;
    default:
        mut_set(m->mut, key, bytes_of(text, (size_t)len), expiry(w, m));
    }
}

static void elem_command(struct world *w, struct prop_member *m, const struct ks_key *key,
                         uint8_t type)
{
    char name[16], text[32];
    uint8_t score[ROW_SCORE_BYTES];
    int64_t i;
    long double f;
    const struct bytes sub = sub_of(below(w, SUBS), name);
    struct coll *coll = mut_coll(m->mut, key, type);

    if (coll == NULL)
        return;
    const unsigned what = below(w, 10);
    if (what < 3 && coll_find(coll, sub) != NULL) {
        (void)mut_elem_del(m->mut, coll, sub);
    } else if (what < 6 && type == VT_HASH) {
        if (mut_elem_incr(m->mut, coll, sub, (int64_t)below(w, 50) - 10, &i) == 0)
            return;
        (void)mut_elem_set(m->mut, coll, sub, bytes_of("1", 1));
    } else if (what < 6 && type == VT_ZSET) {
        assert_int_equal(mut_elem_incr_float(m->mut, coll, sub, (long double)below(w, 50), &f), 0);
    } else if (type == VT_ZSET) {
        row_score_store(score, (double)below(w, 1000));
        (void)mut_elem_set(m->mut, coll, sub, bytes_of(score, sizeof(score)));
    } else if (type == VT_HASH) {
        const int len = snprintf(text, sizeof(text), "%s%lld", below(w, 2) == 0 ? "" : "v",
                                 (long long)++w->next_value);
        (void)mut_elem_set(m->mut, coll, sub, bytes_of(text, (size_t)len));
    } else {
        (void)mut_elem_set(m->mut, coll, sub, bytes_of(NULL, 0));
    }
}

static void list_command(struct world *w, struct prop_member *m, const struct ks_key *key)
{
    char text[32];
    struct listq_at at;
    const int len = snprintf(text, sizeof(text), "e%lld", (long long)++w->next_value);
    const struct bytes value = bytes_of(text, (size_t)len);
    struct coll *coll = mut_coll(m->mut, key, VT_LIST);

    if (coll == NULL)
        return;
    const unsigned what = coll->count == 0 ? below(w, 2) : below(w, 8);
    if (what > 3)
        coll_list_at(coll, below(w, (unsigned)coll->count), &at);
    switch (what) {
    case 0:
    case 1:
        mut_list_push(m->mut, coll, value, what == 0);
        break;
    case 2:
    case 3:
        (void)mut_list_pop(m->mut, coll, what == 2);
        break;
    case 4:
        (void)mut_list_remove(m->mut, coll, &at);
        break;
    case 5:
        mut_list_set(m->mut, coll, &at, value);
        break;
    default:
        if (mut_list_insert(m->mut, coll, &at, what == 6, value) != 0)
            mut_list_push(m->mut, coll, value, true);
    }
}

static void command(struct world *w, struct prop_member *m, unsigned k)
{
    char name[16];
    const struct ks_key key = key_of(k, name);
    static const uint8_t types[] = {VT_STRING, VT_HASH, VT_SET, VT_ZSET, VT_LIST};
    const uint64_t now_ms = mut_now_ms(m->mut, m->now_ms);
    const bool there = ks_get(m->ks, &key, now_ms) != NULL;

    if (there && below(w, 12) == 0) {
        mut_del(m->mut, &key);
        return;
    }
    if (there && w->expiries && below(w, 10) == 0) {
        mut_expire(m->mut, &key, below(w, 3) == 0 ? 0 : now_ms + 1 + below(w, 40));
        return;
    }
    /* Each key is mostly of one type. */
    const uint8_t type = types[below(w, 6) == 0 ? below(w, 5) : k % 5];
    if (type == VT_STRING)
        string_command(w, m, &key);
    else if (type == VT_LIST)
        list_command(w, m, &key);
    else
        elem_command(w, m, &key, type);
}

/* Of keys of which the key rows are known, at least: nothing of them is read but that. */
static void overwrite(struct world *w, struct prop_member *m, unsigned k)
{
    static const uint8_t types[] = {VT_HASH, VT_SET, VT_ZSET};
    char name[16];
    const struct ks_key key = key_of(k, name);
    const bool there = !ks_is_absent(m->ks, &key, mut_now_ms(m->mut, m->now_ms));

    switch (below(w, 5)) {
    case 0:
    case 1:
        if (there)
            mut_del(m->mut, &key);
        break;
    case 2:
        mut_set(m->mut, &key, bytes_of(name, strlen(name)), expiry(w, m));
        break;
    case 3:
        set_long(w, m, &key);
        break;
    default:
        if (there)
            mut_del(m->mut, &key);
        if (below(w, 4) == 0)
            list_command(w, m, &key);
        else
            elem_command(w, m, &key, types[below(w, 3)]);
    }
}

static void run_batch(struct world *w, struct prop_member *m)
{
    const bool whole = below(w, 6) == 0;
    unsigned ks[OPS_MAX];
    char names[OPS_MAX][16];
    struct ks_key keys[OPS_MAX];
    const unsigned n = below(w, 4) == 0 ? 1 + below(w, OPS_MAX) : 1;

    for (unsigned i = 0; i < n; i++) {
        ks[i] = i != 0 && below(w, 2) == 0 ? ks[0] : below(w, KEYS);
        keys[i] = key_of(ks[i], names[i]);
    }
    if (whole)
        member_need_rows(m, keys, n);
    else
        member_need(m, keys, n);
    assert_int_equal(mut_check(m->mut, 1u << 16), 0);
    mut_begin(m->mut, m->now_ms);
    for (unsigned i = 0; i < n; i++) {
        if (whole)
            overwrite(w, m, ks[i]);
        else
            command(w, m, ks[i]);
    }
    (void)mut_end(m->mut);
    ks_wait_unpin(&m->wait);
    member_turn(m);
}

/* --- what shows --- */

static void differ(struct world *w, const char *name, const char *who, const struct buf *a,
                   const struct buf *b)
{
    w->diverged = true;
    if (!w->net.causal)
        return;
    oracle_print(w->net.oracle, bytes_of(name, strlen(name)));
    fail_msg("%s differs from %s in run %llu\n  %.*s\n  %.*s", name, who,
             (unsigned long long)w->stream, (int)size_min(a->len, 900), (const char *)a->ptr,
             (int)size_min(b->len, 900), (const char *)b->ptr);
}

/* Keys that have an object: those that expired count until they are collected. */
static uint64_t keys_there(struct prop_member *m)
{
    uint64_t there = 0;
    char name[16];

    for (unsigned k = 0; k < KEYS; k++) {
        const struct ks_key key = key_of(k, name);
        struct obj *obj;
        bool expired;
        member_need(m, &key, 1);
        there += ks_find(m->ks, &key, m->now_ms, &obj, &expired) == KS_HOT || expired;
    }
    return there;
}

static void check(struct world *w)
{
    struct buf first, other;
    char name[16];
    uint64_t now_ms = 0;

    buf_init(&first, UINT32_MAX);
    buf_init(&other, UINT32_MAX);
    for (unsigned i = 0; i < w->net.members; i++)
        now_ms = u64_max(now_ms, mut_now_ms(w->net.member[i].mut, w->net.member[i].now_ms));
    for (unsigned k = 0; k < KEYS; k++) {
        const struct ks_key key = key_of(k, name);
        net_show(&w->net.member[0], &key, now_ms, &first);
        for (unsigned i = 1; i < w->net.members; i++) {
            net_show(&w->net.member[i], &key, now_ms, &other);
            if (!bytes_eq(buf_bytes(&first), buf_bytes(&other)))
                differ(w, name, "another member", &first, &other);
        }
        buf_clear(&other);
        if (oracle_show(w->net.oracle, key.name, &other) &&
            !bytes_eq(buf_bytes(&first), buf_bytes(&other)))
            differ(w, name, "the oracle", &first, &other);
    }
    buf_deinit(&first);
    buf_deinit(&other);
}

static void check_counts(struct world *w)
{
    for (unsigned i = 0; i < w->net.members; i++) {
        struct prop_member *m = &w->net.member[i];
        member_settle(m);
        const uint64_t count = ks_count(m->ks);
        assert_int_equal(count, keys_there(m));
        assert_int_equal(ks_count(m->ks), count);
    }
}

/* --- a run --- */

static void crash(struct world *w, unsigned i)
{
    struct prop_member *m = &w->net.member[i];

    /* Nothing that was shown to others is lost: the log is closed in order. */
    if (below(w, 2) == 0)
        member_persist(m);
    member_close(m);
    member_open(m);
    (void)w;
}

static void step(struct world *w)
{
    const unsigned i = below(w, w->net.members);
    struct prop_member *m = &w->net.member[i];

    m->now_ms += below(w, 4);
    switch (below(w, 24)) {
    case 0:
    case 1:
        member_write_back(m, 1u + below(w, 4000));
        break;
    case 2:
        member_write_back(m, 1u << 20);
        member_idle(m);
        member_demote(m);
        break;
    case 3:
        member_demote(m);
        break;
    case 4:
        (void)ks_group_step(m->ks);
        break;
    case 5:
        if (below(w, 6) == 0)
            crash(w, i);
        break;
    case 6:
        if (below(w, 4) == 0)
            member_persist(m);
        break;
    default:
        if (below(w, 3) == 0)
            deliver_some(w);
        else
            run_batch(w, m);
    }
    member_turn(m);
}

static void world_open(struct world *w, uint64_t stream)
{
    seed_rng(&w->rng, stream);
    w->stream = stream;
    w->net.oracle = oracle_create();
    w->net.loads_small = below(w, 1u << NET_MEMBERS_MAX);
    net_open(&w->net, 2 + (unsigned)(stream % 3));
    for (unsigned i = 0; i < w->net.members; i++)
        w->net.member[i].now_ms += below(w, 30); /* Clocks differ. */
}

static void world_close(struct world *w)
{
    net_close(&w->net);
    oracle_destroy(w->net.oracle);
}

static void run(uint64_t stream, bool expiries)
{
    struct world w = {.expiries = expiries};

    world_open(&w, stream);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 150; i++)
            step(&w);
        net_deliver_all(&w.net);
        if (below(&w, 2) == 0)
            net_collect(&w.net, below(&w, 16));
        if (round == 1)
            crash(&w, below(&w, w.net.members));
        check(&w);
        check_counts(&w);
    }
    world_close(&w);
}

static void run_all(uint64_t stream, bool expiries)
{
    const uint64_t first = seed_number("TIERRA_GROUP_FIRST", 0);
    const uint64_t runs = seed_number("TIERRA_GROUP_RUNS", 8);

    for (uint64_t i = first; i < first + runs; i++)
        run(stream + i, expiries);
}

static void members_converge_to_what_the_ops_say(void **state)
{
    (void)state;
    run_all(0, false);
}

static void members_agree_on_what_has_expired(void **state)
{
    (void)state;
    run_all(1000000, true);
}

/*
 * The first two exchange everything at once; the third hears of the second only, so that it takes
 * batches before what they have seen: removals do nothing, then.
 */
static void skewed_step(struct world *w)
{
    run_batch(w, &w->net.member[below(w, 2)]);
    for (size_t i = 0; i < w->net.parcels_count; i++) {
        struct parcel *p = &w->net.parcels[i];
        for (unsigned to = 0; to < 3; to++) {
            if (!p->at[to] && (to < 2 || p->from == 1))
                (void)net_deliver(&w->net, p, to);
        }
    }
}

static void without_causal_delivery_members_diverge(void **state)
{
    unsigned diverged = 0;

    (void)state;
    for (unsigned i = 0; i < 20 && diverged == 0; i++) {
        struct world w = {0};
        world_open(&w, 2000002 + 3 * i); /* Three members. */
        w.net.causal = false;
        for (unsigned j = 0; j < 100; j++)
            skewed_step(&w);
        net_deliver_all(&w.net);
        check(&w);
        diverged += w.diverged;
        world_close(&w);
    }
    assert_int_not_equal(diverged, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_converge_to_what_the_ops_say),
        cmocka_unit_test(members_agree_on_what_has_expired),
        cmocka_unit_test(without_causal_delivery_members_diverge),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
