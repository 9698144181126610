/*
 * Timers: a hierarchical wheel with a resolution of one millisecond.
 *
 * Level l has 64 slots of 64^l ms each; 11 levels cover the whole 64-bit range, so that no
 * deadline needs a special case. A timer lies at the level of the highest 6-bit digit in which its
 * deadline differs from the wheel's time:
 *
 *     now        = ... 03 | 17 | 40        level 0: deadlines that share all but the last digit
 *     deadline A = ... 03 | 17 | 52   ->   level 0, slot 52
 *     deadline B = ... 03 | 21 | 05   ->   level 1, slot 21
 *
 * Hence everything at a lower level is due before everything at a higher one, and the next slot
 * to look at is the lowest set bit of the lowest occupied level: a bitmap per level finds it
 * without a scan. When time reaches a slot of a higher level, its timers are put in again and come
 * to lie lower. Start and stop are O(1); a timer is moved at most once per level.
 *
 * (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", scheme 7.)
 *
 * Timers fire in the order of their deadlines; those of the same millisecond in no promised order.
 * Nothing is allocated: the timer is embedded in its owner. One thread.
 */
#ifndef TIERRA_ENGINE_IO_TIMER_H
#define TIERRA_ENGINE_IO_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/list.h"

#define TIMER_LEVELS 11
#define TIMER_SLOTS  64

/* No deadline at all. */
#define TIMER_NEVER UINT64_MAX

struct reactor_timer;

/*
 * The timer is idle again when this is called: it may be started anew, or its memory freed. Always
 * from the loop, never from within timer_start.
 */
typedef void (*reactor_timer_fn)(struct reactor_timer *t);

/* Zero ({0}) is an idle timer. */
struct reactor_timer {
    struct list_link link;
    uint64_t at_ms;
    reactor_timer_fn fn;
};

struct timer_wheel {
    uint64_t now_ms;                 /* The last millisecond that has been handled. */
    uint64_t occupied[TIMER_LEVELS]; /* Bit s: slot s holds timers. */
    struct list due;                 /* Reached, not yet fired; in order. */
    struct list slots[TIMER_LEVELS][TIMER_SLOTS];
};

void timer_wheel_init(struct timer_wheel *wheel, uint64_t now_ms);

/*
 * Starts `t`, or moves it if it is running. A deadline in the past means the first
 * millisecond that has not been handled, so that a timer which starts itself anew cannot keep
 * the loop busy.
 */
void timer_start(struct timer_wheel *wheel, struct reactor_timer *t, uint64_t at_ms,
                 reactor_timer_fn fn);

/* Does nothing if `t` is idle. */
void timer_stop(struct timer_wheel *wheel, struct reactor_timer *t);

static inline bool timer_running(const struct reactor_timer *t)
{
    return list_linked(&t->link);
}

/*
 * Fires what is due at `now_ms`, at most `count_max` timers; the rest stays due. Returns the
 * number fired. Callbacks may start and stop any timer.
 */
uint32_t timer_wheel_advance(struct timer_wheel *wheel, uint64_t now_ms, uint32_t count_max);

/*
 * A time not after the first deadline (exact within 64 ms, else the start of its slot), at which
 * timer_wheel_advance should be called; TIMER_NEVER if no timer is running.
 */
uint64_t timer_wheel_next_ms(const struct timer_wheel *wheel);

#endif
