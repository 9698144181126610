/*
 * How good the eviction policies choose: a cache over both tiers, against models.
 *
 * A Zipf trace asks for keys of which half fit; a miss sets the key, and when there are too many
 * the policy evicts down to the capacity. A tenth of the keys is kept hot, so that most victims are
 * cold and their uses come from the table. Everything is counted in keys, the clock is the test's.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/space/demote.h"
#include "engine/space/evict.h"
#include "engine/space/flush.h"
#include "engine/space/keyspace.h"
#include "engine/space/resident.h"
#include "engine/store/store_mem.h"

#include "bench/load/bench_dist.h"
#include "tests/lib/rig.h"
#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define KEYS      8000
#define CAPACITY  4000
#define OPS       120000
#define WARM_OPS  40000
#define HOT_BYTES (CAPACITY / 10 * 160)
#define NOW_MS    1700000000000ull
#define OP_MS     50
#define HASH_SEED 77
#define THETA     0.9

struct cache {
    struct store_mem_disk *disk;
    struct rig rig;
    struct keyspace *ks;
    struct ks_wait wait;
    struct vv vv;
    uint64_t now_ms;
    uint64_t lsn;
    uint64_t evicted;
};

static void cache_open(struct cache *c)
{
    *c = (struct cache){.now_ms = NOW_MS, .lsn = 1, .wait = {.on_ready = rig_on_ready}};
    c->disk = store_mem_disk_create();
    rig_open(&c->rig, c->disk, 2);
    const struct ks_options options = rig_options(&c->rig, HASH_SEED);
    assert_int_equal(ks_create(&options, &c->ks), 0);
    ks_set_pressure(c->ks, true);
}

static void cache_close(struct cache *c)
{
    rig_settle(&c->rig, c->ks);
    rig_close(&c->rig, c->ks);
    store_mem_disk_destroy(c->disk);
}

static struct tag tag_now(const struct cache *c)
{
    return tag_of(hlc_make(c->now_ms, (uint16_t)c->lsn), 1);
}

static void set(struct cache *c, const struct ks_key *key, uint64_t expire_at_ms)
{
    static const char value[100];

    c->lsn++;
    ks_apply_set(c->ks, key, tag_now(c), c->lsn, bytes_of(value, sizeof(value)), expire_at_ms);
}

/* Writes everything back and lets all but the hottest tenth go. */
static void settle(struct cache *c)
{
    ks_flush_point(c->ks, c->lsn, &c->vv);
    assert_int_equal(ks_flush_now(c->ks), 0);
    struct ks_sizes sizes;
    ks_sizes(c->ks, &sizes);
    if (sizes.hot_bytes > HOT_BYTES)
        (void)ks_demote_some(c->ks, sizes.hot_bytes - HOT_BYTES, 10000000000ull);
}

static void evict(void *ctx, const struct ks_key *key, uint64_t bytes)
{
    struct cache *c = ctx;

    c->lsn++;
    c->evicted++;
    assert_true(bytes != 0);
    ks_apply_del(c->ks, key, tag_now(c), c->lsn);
}

static void evict_down(struct cache *c, const struct ks_evict_rule *rule, uint64_t count)
{
    for (int rounds = 0; ks_count(c->ks) > count; rounds++) {
        assert_true(rounds < 10000);
        const uint64_t over = ks_count(c->ks) - count;
        assert_true(ks_evict_start(c->ks, rule, (uint32_t)over, c->now_ms, evict, c));
        while (ks_evict_busy(c->ks))
            rig_turn(&c->rig);
    }
}

static struct ks_key key_of(uint64_t i, char name[24])
{
    return ks_key_of(bytes_of(name, (size_t)snprintf(name, 24, "key:%llu", (unsigned long long)i)),
                     HASH_SEED);
}

/* True: it was there. */
static bool get(struct cache *c, const struct ks_key *key)
{
    while (ks_need_key(c->ks, key, &c->wait) != 0) {
        while (c->wait.pending != 0)
            rig_turn(&c->rig);
        assert_int_equal(c->wait.err, 0);
    }
    const bool there = ks_get(c->ks, key, c->now_ms) != NULL;
    ks_wait_unpin(&c->wait);
    return there;
}

static double run_policy(const struct ks_evict_rule *rule, const struct use_rule *use, bool table)
{
    struct cache c;
    struct bench_zipf zipf;
    struct rng rng;
    uint64_t hits = 0;

    cache_open(&c);
    ks_use_set(c.ks, use, table ? 1u << 20 : 0);
    bench_zipf_init(&zipf, KEYS, THETA);
    rng_seed(&rng, 1);
    for (uint32_t i = 0; i < OPS; i++) {
        char name[24];
        c.now_ms += OP_MS;
        ks_use_tick(c.ks, c.now_ms);
        const struct ks_key key = key_of(bench_zipf_next(&zipf, &rng), name);
        const bool hit = get(&c, &key);
        hits += hit && i >= WARM_OPS;
        if (!hit)
            set(&c, &key, 0);
        if (i % 64 == 0)
            settle(&c);
        if (ks_count(c.ks) > CAPACITY + CAPACITY / 100)
            evict_down(&c, rule, CAPACITY);
    }
    assert_true(c.evicted > CAPACITY);
    cache_close(&c);
    return (double)hits / (OPS - WARM_OPS);
}

/* Exact LRU of the same trace: by position of the last use. */
static double run_lru(void)
{
    static uint32_t last[KEYS];
    static bool there[KEYS];
    struct bench_zipf zipf;
    struct rng rng;
    uint64_t hits = 0, count = 0;

    bench_zipf_init(&zipf, KEYS, THETA);
    rng_seed(&rng, 1);
    memset(there, 0, sizeof(there));
    for (uint32_t i = 0; i < OPS; i++) {
        const uint64_t k = bench_zipf_next(&zipf, &rng);
        hits += there[k] && i >= WARM_OPS;
        count += !there[k];
        there[k] = true;
        last[k] = i;
        if (count <= CAPACITY)
            continue;
        uint32_t oldest = UINT32_MAX;
        for (uint32_t j = 0; j < KEYS; j++) {
            if (there[j] && (oldest == UINT32_MAX || last[j] < last[oldest]))
                oldest = j;
        }
        there[oldest] = false;
        count--;
    }
    return (double)hits / (OPS - WARM_OPS);
}

static void lru_and_lfu_choose_better_than_chance_and_nearly_as_the_model(void **state)
{
    (void)state;
    const struct use_rule lru = {.kind = USE_LRU};
    const struct use_rule lfu = {.kind = USE_LFU, .lfu_log_factor = 1, .lfu_decay_min = 10};
    struct ks_evict_rule rule = {.by = KS_EVICT_BY_USE, .samples = 5};

    const double exact = run_lru();
    const double by_lru = run_policy(&rule, &lru, true);
    const double by_lfu = run_policy(&rule, &lfu, true);
    const double blind = run_policy(&rule, &lru, false);
    rule.by = KS_EVICT_BY_CHANCE;
    const double chance = run_policy(&rule, &lru, false);
    print_message("hits: exact LRU %.4f, allkeys-lru %.4f, allkeys-lfu %.4f, random %.4f, LRU by "
                  "last writes of cold keys %.4f\n",
                  exact, by_lru, by_lfu, chance, blind);
    assert_true(by_lru > exact - 0.01);
    /* Of what chance loses to the exact LRU most is won back. */
    assert_true(by_lru - chance > (exact - chance) * 0.6);
    assert_true(by_lfu - chance > (exact - chance) * 0.6);
}

/* Keys below `expiring` expire, the k-th one at NOW_MS + 1000000 - k * 1000. */
static void fill(struct cache *c, uint32_t keys, uint32_t expiring, uint32_t step)
{
    char name[24];

    for (uint32_t i = 0; i < keys; i++) {
        const struct ks_key key = key_of(i, name);
        set(c, &key, i % step == 0 && i / step < expiring ? NOW_MS + 1000000 - i * 100 : 0);
    }
    settle(c);
}

static void volatile_policies_take_keys_with_an_expiry_only(void **state)
{
    (void)state;
    static const enum ks_evict_by orders[] = {KS_EVICT_BY_USE, KS_EVICT_BY_EXPIRY,
                                              KS_EVICT_BY_CHANCE};
    const struct use_rule lru = {.kind = USE_LRU};
    char name[24];

    for (size_t o = 0; o < ARRAY_COUNT(orders); o++) {
        struct cache c;
        const struct ks_evict_rule rule = {.by = orders[o], .expiring_only = true, .samples = 5};
        cache_open(&c);
        ks_use_tick(c.ks, c.now_ms);
        ks_use_set(c.ks, &lru, 1u << 20);
        fill(&c, 2000, 20, 100);
        expect_u64(ks_count_expiring(c.ks), 20);
        assert_true(ks_evict_possible(c.ks, true));
        for (int rounds = 0; ks_count_expiring(c.ks) != 0; rounds++) {
            assert_true(rounds < 100000);
            (void)ks_evict_start(c.ks, &rule, 8, c.now_ms, evict, &c);
            while (ks_evict_busy(c.ks))
                rig_turn(&c.rig);
        }
        expect_u64(ks_count(c.ks), 1980);
        assert_false(ks_evict_possible(c.ks, true));
        assert_false(ks_evict_start(c.ks, &rule, 8, c.now_ms, evict, &c));
        assert_true(ks_evict_possible(c.ks, false));
        for (uint32_t i = 0; i < 2000; i++) {
            const struct ks_key key = key_of(i, name);
            assert_int_equal(get(&c, &key), i % 100 != 0);
        }
        cache_close(&c);
    }
}

/* The half that is evicted first expires sooner, by and large. */
static void the_nearest_expiry_goes_first(void **state)
{
    (void)state;
    struct cache c;
    char name[24];
    const struct ks_evict_rule rule = {
        .by = KS_EVICT_BY_EXPIRY, .expiring_only = true, .samples = 10};
    uint64_t sooner = 0, left = 0;

    cache_open(&c);
    fill(&c, 2000, 2000, 1);
    evict_down(&c, &rule, 1000);
    for (uint32_t i = 0; i < 2000; i++) {
        const struct ks_key key = key_of(i, name);
        const bool there = get(&c, &key);
        left += there;
        sooner += there && i >= 1000; /* The higher, the sooner. */
    }
    expect_u64(left, 1000);
    print_message("%llu of 1000 left expire sooner than the median\n", (unsigned long long)sooner);
    assert_true(sooner < 200);
    cache_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(volatile_policies_take_keys_with_an_expiry_only),
        cmocka_unit_test(the_nearest_expiry_goes_first),
        cmocka_unit_test(lru_and_lfu_choose_better_than_chance_and_nearly_as_the_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
