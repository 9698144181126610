/* Uses of keys, and the table of those of cold keys. */
#include "engine/space/usage.h"

#include "tests/lib/tcase.h"

#define NOW_MS 1700000000000ull
#define MINUTE 60000ull

static const struct use_rule lru = {.kind = USE_LRU};
static const struct use_rule lfu = {.kind = USE_LFU, .lfu_log_factor = 10, .lfu_decay_min = 1};

/* Top bits of hashes that differ; the table knows no more. */
static uint64_t hash_of(uint64_t i)
{
    return (i * 0x9e3779b97f4a7c15u) & ~0x7fffull;
}

static void idle_time_is_counted_in_seconds_and_survives_the_wrap(void **state)
{
    (void)state;
    const uint64_t wrap_ms = ((uint64_t)USE_MASK + 1) * 1000;

    expect_u64(use_idle_ms(use_first(&lru, NOW_MS), NOW_MS), 0);
    expect_u64(use_idle_ms(use_first(&lru, NOW_MS), NOW_MS + 90000), 90000);
    expect_u64(use_idle_ms(use_first(&lru, wrap_ms - 5000), wrap_ms + 5000), 10000);
    expect_u64(use_idle_ms(use_told(&lru, 1000, 0, NOW_MS), NOW_MS), 1000000);
    expect_u64(use_idle_ms(use_told(&lru, 10, 0, wrap_ms + 5000), wrap_ms + 5000), 10000);
    expect_u64(use_idle_ms(use_told(&lru, UINT64_MAX, 0, NOW_MS), NOW_MS), USE_MASK * 1000ull);
    expect_u64(use_again(&lru, use_first(&lru, NOW_MS), NOW_MS + 5000, 0),
               use_first(&lru, NOW_MS + 5000));
    assert_true(use_rank(&lru, use_first(&lru, NOW_MS - 9000), NOW_MS) >
                use_rank(&lru, use_first(&lru, NOW_MS - 3000), NOW_MS));
}

static void a_frequency_grows_by_chance_and_falls_with_time(void **state)
{
    (void)state;
    uint32_t use = use_first(&lfu, NOW_MS);

    expect_u64(use_frequency(&lfu, use, NOW_MS), USE_LFU_INIT);
    expect_u64(use_frequency(&lfu, use_told(&lfu, 7, 255, NOW_MS), NOW_MS), 255);
    use = use_again(&lfu, use, NOW_MS, UINT64_MAX); /* Certain at the start. */
    expect_u64(use_frequency(&lfu, use, NOW_MS), USE_LFU_INIT + 1);
    expect_u64(use_frequency(&lfu, use_again(&lfu, use, NOW_MS, UINT64_MAX / 11), NOW_MS),
               USE_LFU_INIT + 2);
    expect_u64(use_frequency(&lfu, use_again(&lfu, use, NOW_MS, UINT64_MAX / 11 + 1), NOW_MS),
               USE_LFU_INIT + 1);
    expect_u64(use_frequency(&lfu, use, NOW_MS + 2 * MINUTE), USE_LFU_INIT - 1);
    expect_u64(use_frequency(&lfu, use, NOW_MS + 100 * MINUTE), 0);
    for (int i = 0; i < 300000; i++)
        use = use_again(&lfu, use, NOW_MS, 0);
    expect_u64(use_frequency(&lfu, use, NOW_MS), 255);
    assert_true(use_rank(&lfu, use_first(&lfu, NOW_MS), NOW_MS) > use_rank(&lfu, use, NOW_MS));
    const struct use_rule still = {.kind = USE_LFU, .lfu_log_factor = 0, .lfu_decay_min = 0};
    expect_u64(use_frequency(&still, use, NOW_MS + 1000 * MINUTE), 255);
}

static void what_is_put_is_found_while_there_is_room(void **state)
{
    (void)state;
    struct usage *u = usage_create(1u << 20);
    const size_t small = usage_bytes(u);
    uint32_t use;
    uint64_t lost = 0;

    usage_fit(u, 20000);
    assert_true(usage_bytes(u) > small && usage_bytes(u) <= (1u << 20) + 64);
    for (uint32_t i = 0; i < 20000; i++)
        usage_put(u, (uint16_t)(i % 16384), hash_of(i), i + 1, &lru, NOW_MS);
    for (uint32_t i = 0; i < 20000; i++)
        lost += !usage_get(u, (uint16_t)(i % 16384), hash_of(i), &use) || use != i + 1;
    /* Full buckets, and keys that share 8 bits within one. */
    assert_true(lost < 20000 / 8);
    usage_put(u, 7, hash_of(7), use_first(&lru, NOW_MS), &lru, NOW_MS);
    assert_true(usage_get(u, 7, hash_of(7), &use));
    expect_u64(use, use_first(&lru, NOW_MS));
    usage_destroy(u);
}

static void growing_loses_nothing_and_is_bounded(void **state)
{
    (void)state;
    struct usage *u = usage_create(64u << 10);
    uint32_t use;
    uint64_t before = 0, after = 0;

    for (uint32_t i = 0; i < 1000; i++)
        usage_put(u, 1, hash_of(i), i + 1, &lru, NOW_MS);
    for (uint32_t i = 0; i < 1000; i++)
        before += usage_get(u, 1, hash_of(i), &use) && use == i + 1;
    usage_fit(u, 1u << 30);
    assert_true(usage_bytes(u) <= (64u << 10) + 64);
    for (uint32_t i = 0; i < 1000; i++)
        after += usage_get(u, 1, hash_of(i), &use) && use == i + 1;
    assert_true(before > 900);
    expect_u64(after, before);
    usage_destroy(u);
}

static void a_full_table_forgets_what_would_be_evicted_first(void **state)
{
    (void)state;
    struct usage *u = usage_create(0);
    uint32_t use;
    uint64_t old = 0, recent = 0;

    for (uint32_t i = 0; i < 40000; i++) {
        const uint64_t used_ms = NOW_MS - (i % 2 == 0 ? 1000000 : 1000);
        usage_put(u, 1, hash_of(i), use_first(&lru, used_ms), &lru, NOW_MS);
    }
    for (uint32_t i = 0; i < 40000; i++) {
        const uint64_t idle_ms = i % 2 == 0 ? 1000000 : 1000;
        const bool found = usage_get(u, 1, hash_of(i), &use) && use_idle_ms(use, NOW_MS) == idle_ms;
        old += i % 2 == 0 && found;
        recent += i % 2 != 0 && found;
    }
    assert_true(recent > 3000 && old * 10 < recent);
    usage_destroy(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idle_time_is_counted_in_seconds_and_survives_the_wrap),
        cmocka_unit_test(a_frequency_grows_by_chance_and_falls_with_time),
        cmocka_unit_test(what_is_put_is_found_while_there_is_room),
        cmocka_unit_test(growing_loses_nothing_and_is_bounded),
        cmocka_unit_test(a_full_table_forgets_what_would_be_evicted_first),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
