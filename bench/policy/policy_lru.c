/*
 * LRU, the yardstick: two pointers a resident key, and a list move on every hit.
 */
#include "bench/policy/policy.h"
#include "bench/policy/policy_queue.h"

struct lru {
    struct policy_links links;
    struct policy_queue queue;
    uint8_t *resident;
    uint32_t capacity;
    uint64_t admissions;
};

static void *create(uint32_t capacity, uint32_t keys)
{
    struct lru *lru = mem_zalloc(sizeof(*lru));

    policy_links_init(&lru->links, keys);
    policy_queue_init(&lru->queue, &lru->links);
    lru->resident = mem_zalloc(keys);
    lru->capacity = capacity;
    return lru;
}

static bool access_key(void *policy, uint32_t key, bool write)
{
    struct lru *lru = policy;
    const bool hit = lru->resident[key] != 0;

    (void)write;
    if (hit) {
        policy_queue_remove(&lru->queue, key);
    } else {
        if (lru->queue.count == lru->capacity) {
            lru->resident[lru->queue.oldest] = 0;
            policy_queue_remove(&lru->queue, lru->queue.oldest);
        }
        lru->resident[key] = 1;
        lru->admissions++;
    }
    policy_queue_push(&lru->queue, key);
    return hit;
}

static uint64_t admissions(const void *policy)
{
    return ((const struct lru *)policy)->admissions;
}

static void destroy(void *policy)
{
    struct lru *lru = policy;

    policy_links_deinit(&lru->links);
    mem_free(lru->resident);
    mem_free(lru);
}

const struct policy_kind policy_lru = {"LRU", create, access_key, admissions, destroy};
