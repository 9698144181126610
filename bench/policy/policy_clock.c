/*
 * CLOCK with two bits: the hand walks a ring of resident keys, takes one from each count it meets
 * and evicts the first key that has none left. A hit counts up to three. No list and no pointer:
 * any fixed order of the resident keys will do for the ring, such as that of the key table.
 */
#include "bench/policy/policy.h"
#include "bench/policy/policy_queue.h"
#include "bench/policy/policy_touch.h"

#define COUNT_MAX 3

struct clock_policy {
    struct policy_touch touch;
    uint32_t *ring;  /* Keys. */
    uint8_t *counts; /* Of keys: hits not yet taken; only of resident ones. */
    uint8_t *resident;
    uint32_t filled;
    uint32_t hand;
    uint32_t capacity;
    uint64_t admissions;
    bool second_touch;
};

static struct clock_policy *create(uint32_t capacity, uint32_t keys, bool second_touch)
{
    struct clock_policy *clock = mem_zalloc(sizeof(*clock));

    policy_touch_init(&clock->touch, capacity, keys);
    clock->ring = mem_zalloc_array(capacity, sizeof(*clock->ring));
    clock->counts = mem_zalloc(keys);
    clock->resident = mem_zalloc(keys);
    clock->capacity = capacity;
    clock->second_touch = second_touch;
    return clock;
}

static void *create_plain(uint32_t capacity, uint32_t keys)
{
    return create(capacity, keys, false);
}

static void *create_touch(uint32_t capacity, uint32_t keys)
{
    return create(capacity, keys, true);
}

static void step(struct clock_policy *clock)
{
    clock->hand = clock->hand + 1 == clock->capacity ? 0 : clock->hand + 1;
}

/* A free place of the ring. */
static uint32_t find_place(struct clock_policy *clock)
{
    if (clock->filled < clock->capacity)
        return clock->filled++;
    while (clock->counts[clock->ring[clock->hand]] > 0) {
        clock->counts[clock->ring[clock->hand]]--;
        step(clock);
    }
    const uint32_t place = clock->hand;
    clock->resident[clock->ring[place]] = 0;
    step(clock);
    return place;
}

static bool access_key(void *policy, uint32_t key, bool write)
{
    struct clock_policy *clock = policy;

    if (clock->resident[key] != 0) {
        clock->counts[key] = (uint8_t)(clock->counts[key] + (clock->counts[key] < COUNT_MAX));
        return true;
    }
    if (clock->second_touch && !policy_touch_take(&clock->touch, key) && !write) {
        policy_touch_set(&clock->touch, key);
        return false;
    }
    clock->ring[find_place(clock)] = key;
    clock->resident[key] = 1;
    clock->counts[key] = 0;
    clock->admissions++;
    return false;
}

static uint64_t admissions(const void *policy)
{
    return ((const struct clock_policy *)policy)->admissions;
}

static void destroy(void *policy)
{
    struct clock_policy *clock = policy;

    policy_touch_deinit(&clock->touch);
    mem_free(clock->ring);
    mem_free(clock->counts);
    mem_free(clock->resident);
    mem_free(clock);
}

const struct policy_kind policy_clock = {"CLOCK, 2 bits", create_plain, access_key, admissions,
                                         destroy};
const struct policy_kind policy_clock_touch = {"CLOCK, 2 bits, second touch", create_touch,
                                               access_key, admissions, destroy};
