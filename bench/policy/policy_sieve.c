/*
 * SIEVE (Zhang et al., "SIEVE is simpler than LRU", NSDI 2024): a FIFO whose hand walks from the
 * oldest to the newest, clears visited bits and evicts the first key without one, in place. New
 * keys enter at the newest end, where the hand comes last.
 */
#include "bench/policy/policy.h"
#include "bench/policy/policy_queue.h"
#include "bench/policy/policy_touch.h"

enum state {
    STATE_COLD,
    STATE_RESIDENT,
    STATE_VISITED,
};

struct sieve {
    struct policy_links links;
    struct policy_queue queue;
    struct policy_touch touch;
    uint8_t *state;
    uint32_t hand;
    uint32_t capacity;
    uint64_t admissions;
    bool second_touch;
};

static struct sieve *create(uint32_t capacity, uint32_t keys, bool second_touch)
{
    struct sieve *sieve = mem_zalloc(sizeof(*sieve));

    policy_links_init(&sieve->links, keys);
    policy_queue_init(&sieve->queue, &sieve->links);
    policy_touch_init(&sieve->touch, capacity, keys);
    sieve->state = mem_zalloc(keys);
    sieve->hand = POLICY_NONE;
    sieve->capacity = capacity;
    sieve->second_touch = second_touch;
    return sieve;
}

static void *create_plain(uint32_t capacity, uint32_t keys)
{
    return create(capacity, keys, false);
}

static void *create_touch(uint32_t capacity, uint32_t keys)
{
    return create(capacity, keys, true);
}

static void evict(struct sieve *sieve)
{
    uint32_t key = sieve->hand == POLICY_NONE ? sieve->queue.oldest : sieve->hand;

    while (sieve->state[key] == STATE_VISITED) {
        sieve->state[key] = STATE_RESIDENT;
        key = sieve->links.newer[key];
        if (key == POLICY_NONE)
            key = sieve->queue.oldest;
    }
    sieve->hand = sieve->links.newer[key];
    policy_queue_remove(&sieve->queue, key);
    sieve->state[key] = STATE_COLD;
}

static bool access_key(void *policy, uint32_t key, bool write)
{
    struct sieve *sieve = policy;

    if (sieve->state[key] != STATE_COLD) {
        sieve->state[key] = STATE_VISITED;
        return true;
    }
    if (sieve->second_touch && !policy_touch_take(&sieve->touch, key) && !write) {
        policy_touch_set(&sieve->touch, key);
        return false;
    }
    if (sieve->queue.count == sieve->capacity)
        evict(sieve);
    policy_queue_push(&sieve->queue, key);
    sieve->state[key] = STATE_RESIDENT;
    sieve->admissions++;
    return false;
}

static uint64_t admissions(const void *policy)
{
    return ((const struct sieve *)policy)->admissions;
}

static void destroy(void *policy)
{
    struct sieve *sieve = policy;

    policy_links_deinit(&sieve->links);
    policy_touch_deinit(&sieve->touch);
    mem_free(sieve->state);
    mem_free(sieve);
}

const struct policy_kind policy_sieve = {"SIEVE", create_plain, access_key, admissions, destroy};
const struct policy_kind policy_sieve_touch = {"SIEVE, second touch", create_touch, access_key,
                                               admissions, destroy};
