/*
 * The touched bit of cold keys: set by a first miss, it makes the second one an admission.
 *
 * Bits age by a hand that walks all keys and clears behind itself, so far for every bit set that a
 * lap takes twice `capacity` of them: a key has to come back before twice as many others have
 * missed as there is room for. (Once: half as many admissions, but slower to warm up and to follow
 * a change. Four times: admits noise.) One bit a key, no queue, no timestamps.
 */
#ifndef TIERRA_BENCH_POLICY_POLICY_TOUCH_H
#define TIERRA_BENCH_POLICY_POLICY_TOUCH_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/mem.h"

#define POLICY_TOUCH_LAP 2 /* Times the capacity. */

struct policy_touch {
    uint8_t *bits; /* One byte a key here, for simplicity. */
    uint32_t keys;
    uint32_t step;
    uint32_t hand;
};

static inline void policy_touch_init(struct policy_touch *touch, uint32_t capacity, uint32_t keys)
{
    touch->bits = mem_zalloc(keys);
    touch->keys = keys;
    touch->step = keys / capacity / POLICY_TOUCH_LAP + 1;
    touch->hand = 0;
}

static inline void policy_touch_deinit(struct policy_touch *touch)
{
    mem_free(touch->bits);
}

static inline void policy_touch_set(struct policy_touch *touch, uint32_t key)
{
    for (uint32_t i = 0; i < touch->step; i++) {
        touch->bits[touch->hand] = 0;
        touch->hand = touch->hand + 1 == touch->keys ? 0 : touch->hand + 1;
    }
    touch->bits[key] = 1;
}

/* Whether the bit was set; clears it. */
static inline bool policy_touch_take(struct policy_touch *touch, uint32_t key)
{
    const bool was = touch->bits[key] != 0;

    touch->bits[key] = 0;
    return was;
}

#endif
