/*
 * The timer wheel.
 *
 * Invariant: each timer in a slot has a deadline later than now_ms and lies at level
 * level_of(now_ms, at_ms), in the slot named by that digit of its deadline. Time never jumps over
 * an occupied slot: advance stops at its start and empties it first. Hence the place of a timer
 * can be computed from its deadline alone, which is how stop finds the bit to clear.
 */
#include "engine/io/timer.h"

#include "engine/base/attr.h"
#include "engine/base/check.h"

/* Bits per level. */
#define DIGIT_BITS 6
STATIC_ASSERT(TIMER_SLOTS == 1 << DIGIT_BITS);
STATIC_ASSERT(TIMER_LEVELS *DIGIT_BITS >= 64);

/* The highest digit in which the two differ; they do differ. */
static uint32_t level_of(uint64_t now_ms, uint64_t at_ms)
{
    return (63u - (uint32_t)__builtin_clzll(now_ms ^ at_ms)) / DIGIT_BITS;
}

static uint32_t slot_of(uint64_t at_ms, uint32_t level)
{
    return (uint32_t)(at_ms >> (level * DIGIT_BITS)) & (TIMER_SLOTS - 1);
}

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms)
{
    wheel->now_ms = now_ms;
    list_init(&wheel->due);
    for (uint32_t level = 0; level < TIMER_LEVELS; level++) {
        wheel->occupied[level] = 0;
        for (uint32_t slot = 0; slot < TIMER_SLOTS; slot++)
            list_init(&wheel->slots[level][slot]);
    }
}

/* Puts `t` where its deadline, which is to come, says. */
static void wheel_insert(struct timer_wheel *wheel, struct reactor_timer *t)
{
    const uint32_t level = level_of(wheel->now_ms, t->at_ms);
    const uint32_t slot = slot_of(t->at_ms, level);

    list_push_back(&wheel->slots[level][slot], &t->link);
    wheel->occupied[level] |= UINT64_C(1) << slot;
}

void timer_start(struct timer_wheel *wheel, struct reactor_timer *t, uint64_t at_ms,
                 reactor_timer_fn fn)
{
    CHECK(fn != NULL);
    timer_stop(wheel, t);
    t->at_ms = u64_max(at_ms, wheel->now_ms + 1);
    t->fn = fn;
    wheel_insert(wheel, t);
}

void timer_stop(struct timer_wheel *wheel, struct reactor_timer *t)
{
    if (!timer_running(t))
        return;
    list_remove(&t->link);
    /* Else it is in `due`. */
    if (t->at_ms > wheel->now_ms) {
        const uint32_t level = level_of(wheel->now_ms, t->at_ms);
        const uint32_t slot = slot_of(t->at_ms, level);
        if (list_empty(&wheel->slots[level][slot]))
            wheel->occupied[level] &= ~(UINT64_C(1) << slot);
    }
}

/* The start of the first occupied slot, and where it is; TIMER_NEVER if there is none. */
static uint64_t first_slot(const struct timer_wheel *wheel, uint32_t *out_level, uint32_t *out_slot)
{
    for (uint32_t level = 0; level < TIMER_LEVELS; level++) {
        if (wheel->occupied[level] == 0)
            continue;
        const uint32_t slot = (uint32_t)__builtin_ctzll(wheel->occupied[level]);
        const uint32_t above = (level + 1) * DIGIT_BITS;
        const uint64_t prefix = above >= 64 ? 0 : wheel->now_ms >> above << above;
        *out_level = level;
        *out_slot = slot;
        return prefix | ((uint64_t)slot << (level * DIGIT_BITS));
    }
    return TIMER_NEVER;
}

/* Time has reached the slot: what is due goes to `due`, the rest lower down. */
static void reach_slot(struct timer_wheel *wheel, uint64_t start_ms, uint32_t level, uint32_t slot)
{
    struct list reached;

    CHECK(start_ms > wheel->now_ms);
    wheel->now_ms = start_ms;
    wheel->occupied[level] &= ~(UINT64_C(1) << slot);
    list_init(&reached);
    list_splice_back(&reached, &wheel->slots[level][slot]);
    for (;;) {
        struct list_link *link = list_pop_front(&reached);
        if (link == NULL)
            return;
        struct reactor_timer *t = LIST_ITEM(link, struct reactor_timer, link);
        if (t->at_ms == start_ms)
            list_push_back(&wheel->due, &t->link);
        else
            wheel_insert(wheel, t);
    }
}

uint32_t timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms, uint32_t count_max)
{
    uint32_t fired = 0;

    for (;;) {
        for (; !list_empty(&wheel->due); fired++) {
            if (fired == count_max)
                return fired;
            struct reactor_timer *t = LIST_ITEM(wheel->due.head.next, struct reactor_timer, link);
            list_remove(&t->link);
            t->fn(t);
        }
        uint32_t level = 0;
        uint32_t slot = 0;
        const uint64_t start_ms = first_slot(wheel, &level, &slot);
        if (start_ms > now_ms || start_ms == TIMER_NEVER)
            break;
        reach_slot(wheel, start_ms, level, slot);
    }
    wheel->now_ms = u64_max(wheel->now_ms, now_ms);
    return fired;
}

uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel)
{
    uint32_t level = 0;
    uint32_t slot = 0;

    if (!list_empty(&wheel->due))
        return wheel->now_ms;
    return first_slot(wheel, &level, &slot);
}
