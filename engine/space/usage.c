/* Uses of keys; usage.h tells what they are. */
#include "engine/space/usage.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/space/keytab.h"

#define WAYS        4u
#define BUCKETS_MIN 1024u
#define LFU_MAX     255u

/* --- uses --- */

static uint32_t second_of(uint64_t ms)
{
    return (uint32_t)(ms / 1000) & USE_MASK;
}

static uint32_t minute_of(uint64_t ms)
{
    return (uint32_t)(ms / 60000) & 0xffffu;
}

uint32_t use_first(const struct use_rule *rule, uint64_t now_ms)
{
    return rule->kind == USE_LRU ? second_of(now_ms) : minute_of(now_ms) << 8 | USE_LFU_INIT;
}

uint32_t use_frequency(const struct use_rule *rule, uint32_t use, uint64_t now_ms)
{
    const uint32_t counter = use & LFU_MAX;
    const uint32_t minutes = (minute_of(now_ms) - (use >> 8)) & 0xffffu;
    const uint32_t periods = rule->lfu_decay_min == 0 ? 0 : minutes / rule->lfu_decay_min;

    return periods > counter ? 0 : counter - periods;
}

uint32_t use_again(const struct use_rule *rule, uint32_t use, uint64_t now_ms, uint64_t chance)
{
    if (rule->kind == USE_LRU)
        return second_of(now_ms);
    uint32_t counter = use_frequency(rule, use, now_ms);
    if (counter < LFU_MAX) {
        const uint64_t above = counter > USE_LFU_INIT ? counter - USE_LFU_INIT : 0;
        /* chance is uniform: below 2^64 / n with probability 1 / n. */
        if (chance <= UINT64_MAX / (above * rule->lfu_log_factor + 1))
            counter++;
    }
    return minute_of(now_ms) << 8 | counter;
}

uint32_t use_at(const struct use_rule *rule, uint64_t changed_ms)
{
    return use_first(rule, changed_ms);
}

uint32_t use_told(const struct use_rule *rule, uint64_t idle_s, uint8_t frequency, uint64_t now_ms)
{
    /* Further back than the field reaches would look like a use to come. */
    const uint32_t idle = (uint32_t)u64_min(idle_s, USE_MASK);

    return rule->kind == USE_LRU ? (second_of(now_ms) - idle) & USE_MASK
                                 : minute_of(now_ms) << 8 | frequency;
}

uint64_t use_idle_ms(uint32_t use, uint64_t now_ms)
{
    return (uint64_t)((second_of(now_ms) - use) & USE_MASK) * 1000;
}

uint64_t use_rank(const struct use_rule *rule, uint32_t use, uint64_t now_ms)
{
    if (rule->kind == USE_LRU)
        return use_idle_ms(use, now_ms) / 1000;
    return LFU_MAX - use_frequency(rule, use, now_ms);
}

/* --- the table --- */

struct usage {
    uint32_t *cells; /* buckets * WAYS; 0: free. */
    uint64_t buckets;
    uint64_t buckets_max;
    bool any; /* Something was put. */
};

struct usage *usage_create(size_t bytes_max)
{
    struct usage *u = mem_zalloc(sizeof(*u));

    u->buckets = BUCKETS_MIN;
    u->buckets_max = u64_max(bytes_max / (WAYS * sizeof(*u->cells)), BUCKETS_MIN);
    u->cells = mem_zalloc_array(u->buckets * WAYS, sizeof(*u->cells));
    return u;
}

void usage_destroy(struct usage *u)
{
    if (u == NULL)
        return;
    mem_free(u->cells);
    mem_free(u);
}

size_t usage_bytes(const struct usage *u)
{
    return u == NULL ? 0 : sizeof(*u) + u->buckets * WAYS * sizeof(*u->cells);
}

void usage_fit(struct usage *u, uint64_t keys)
{
    uint64_t buckets = u->buckets;

    /* A third more cells than keys: buckets fill unevenly. */
    while (keys + keys / 3 > buckets * WAYS && buckets * 2 <= u->buckets_max)
        buckets *= 2;
    if (buckets == u->buckets)
        return;
    const size_t bytes = buckets * WAYS * sizeof(*u->cells);
    uint32_t *cells = u->any ? mem_alloc(bytes) : mem_zalloc(bytes);
    for (uint64_t at = 0; u->any && at < buckets; at += u->buckets)
        memcpy(cells + at * WAYS, u->cells, u->buckets * WAYS * sizeof(*cells));
    mem_free(u->cells);
    u->cells = cells;
    u->buckets = buckets;
}

struct place {
    uint32_t *bucket;
    uint32_t tag; /* In the upper 8 bits; never 0. */
};

static struct place place_of(const struct usage *u, uint16_t slot, uint64_t hash)
{
    /* Of a cold key no more is known. */
    uint64_t x = hash >> (64 - KEYTAB_HASH_BITS) ^ (uint64_t)slot << KEYTAB_HASH_BITS;

    x *= 0x9e3779b97f4a7c15u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    const uint32_t tag = (uint32_t)(x >> 56);
    return (struct place){.bucket = u->cells + (x & (u->buckets - 1)) * WAYS,
                          .tag = (tag == 0 ? 1 : tag) << USE_BITS};
}

void usage_put(struct usage *u, uint16_t slot, uint64_t hash, uint32_t use,
               const struct use_rule *rule, uint64_t now_ms)
{
    const struct place p = place_of(u, slot, hash);
    uint64_t worst_rank = 0;
    uint32_t worst = 0;

    CHECK(use <= USE_MASK);
    u->any = true;
    for (uint32_t i = 0; i < WAYS; i++) {
        if ((p.bucket[i] & ~USE_MASK) == p.tag) {
            p.bucket[i] = p.tag | use;
            return;
        }
    }
    for (uint32_t i = 0; i < WAYS; i++) {
        if (p.bucket[i] == 0) {
            p.bucket[i] = p.tag | use;
            return;
        }
        const uint64_t rank = use_rank(rule, p.bucket[i] & USE_MASK, now_ms);
        if (rank >= worst_rank) {
            worst_rank = rank;
            worst = i;
        }
    }
    if (use_rank(rule, use, now_ms) <= worst_rank)
        p.bucket[worst] = p.tag | use;
}

bool usage_get(const struct usage *u, uint16_t slot, uint64_t hash, uint32_t *out)
{
    const struct place p = place_of(u, slot, hash);

    for (uint32_t i = 0; i < WAYS; i++) {
        if ((p.bucket[i] & ~USE_MASK) == p.tag) {
            *out = p.bucket[i] & USE_MASK;
            return true;
        }
    }
    return false;
}
