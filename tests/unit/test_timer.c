/*
 * The timer wheel: against a naive model, and its promises one by one.
 */
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/io/timer.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define MODEL_TIMERS 300
#define MODEL_STEPS  20000

struct item {
    struct reactor_timer timer;
    struct fixture *f;
    uint64_t want_ms; /* 0: not running. */
    uint64_t fired;
    uint64_t again_ms; /* Starts itself anew so much later; 0: not. */
};

struct fixture {
    struct timer_wheel wheel;
    struct item *items;
    uint64_t now_ms;
    uint64_t last_ms; /* Deadline of the last timer that fired. */
    uint64_t fired;
};

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    f->items = mem_zalloc_array(MODEL_TIMERS, sizeof(f->items[0]));
    f->now_ms = 123456789;
    timer_wheel_init(&f->wheel, f->now_ms);
    for (uint32_t i = 0; i < MODEL_TIMERS; i++)
        f->items[i].f = f;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    mem_free(f->items);
    mem_free(f);
    return 0;
}

static void on_fire(struct reactor_timer *t)
{
    struct item *item = container_of(t, struct item, timer);
    struct fixture *f = item->f;

    assert_false(timer_running(t));
    assert_true(item->want_ms != 0);
    assert_true(item->want_ms <= f->now_ms);
    assert_true(item->want_ms >= f->last_ms);
    f->last_ms = item->want_ms;
    f->fired++;
    item->fired++;
    item->want_ms = 0;
    if (item->again_ms != 0) {
        item->want_ms = u64_max(t->at_ms + item->again_ms, f->wheel.now_ms + 1);
        timer_start(&f->wheel, t, item->want_ms, on_fire);
    }
}

static void start(struct item *item, uint64_t at_ms)
{
    item->want_ms = u64_max(at_ms, item->f->wheel.now_ms + 1);
    timer_start(&item->f->wheel, &item->timer, at_ms, on_fire);
}

static void stop(struct item *item)
{
    item->want_ms = 0;
    timer_stop(&item->f->wheel, &item->timer);
}

static uint64_t earliest(const struct fixture *f)
{
    uint64_t first = TIMER_NEVER;

    for (uint32_t i = 0; i < MODEL_TIMERS; i++) {
        if (f->items[i].want_ms != 0)
            first = u64_min(first, f->items[i].want_ms);
    }
    return first;
}

static void advance(struct fixture *f, uint64_t now_ms)
{
    f->now_ms = now_ms;
    f->last_ms = 0;
    (void)timer_wheel_advance(&f->wheel, now_ms, UINT32_MAX);
    for (uint32_t i = 0; i < MODEL_TIMERS; i++)
        assert_true(f->items[i].want_ms == 0 || f->items[i].want_ms > now_ms);
}

/* Deadlines of every magnitude: near ones often. */
static uint64_t random_delay(struct rng *rng)
{
    return rng_u64(rng) >> (4 + rng_below(rng, 60));
}

static void timers_fire_as_a_naive_model_says(void **state)
{
    struct fixture *f = *state;
    struct rng rng;

    seed_rng(&rng, 1);
    for (uint32_t step = 0; step < MODEL_STEPS; step++) {
        struct item *item = &f->items[rng_below(&rng, MODEL_TIMERS)];
        const uint64_t kind = rng_below(&rng, 10);
        if (kind < 5)
            start(item, f->now_ms + random_delay(&rng));
        else if (kind < 7)
            stop(item);
        else if (kind < 9)
            advance(f, f->now_ms + rng_below(&rng, 200));
        else
            advance(f, f->now_ms + (random_delay(&rng) >> 30));
        const uint64_t next = timer_wheel_next_ms(&f->wheel);
        const uint64_t first = earliest(f);
        assert_true(next <= first);
        assert_true((next == TIMER_NEVER) == (first == TIMER_NEVER));
        /* Near deadlines are told exactly. */
        if (first != TIMER_NEVER && first / TIMER_SLOTS == f->now_ms / TIMER_SLOTS)
            expect_u64(next, first);
    }
    assert_true(f->fired > 1000);
}

static void sleeping_as_told_meets_every_deadline(void **state)
{
    struct fixture *f = *state;
    struct rng rng;

    seed_rng(&rng, 2);
    for (uint32_t i = 0; i < MODEL_TIMERS; i++)
        start(&f->items[i], f->now_ms + 1 + rng_below(&rng, 10000000));
    for (uint32_t turns = 0; earliest(f) != TIMER_NEVER; turns++) {
        assert_true(turns < MODEL_TIMERS * 6);
        const uint64_t first = earliest(f);
        const uint64_t next = timer_wheel_next_ms(&f->wheel);
        assert_true(next > f->now_ms && next <= first);
        advance(f, next);
    }
    expect_u64(f->fired, MODEL_TIMERS);
}

static void a_deadline_in_the_past_means_the_next_millisecond(void **state)
{
    struct fixture *f = *state;

    start(&f->items[0], 5);
    expect_u64(timer_wheel_next_ms(&f->wheel), f->now_ms + 1);
    advance(f, f->now_ms + 1);
    expect_u64(f->items[0].fired, 1);
}

static void a_timer_that_restarts_itself_cannot_hold_the_loop(void **state)
{
    struct fixture *f = *state;

    f->items[0].again_ms = 1;
    start(&f->items[0], f->now_ms + 1);
    f->now_ms += 100000;
    expect_u64(timer_wheel_advance(&f->wheel, f->now_ms, 10), 10);
    f->items[0].again_ms = 0;
    expect_u64(timer_wheel_advance(&f->wheel, f->now_ms, 10), 1);
}

static void what_exceeds_the_limit_fires_in_the_next_turn(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 100; i++)
        start(&f->items[i], f->now_ms + 7);
    f->now_ms += 7;
    expect_u64(timer_wheel_advance(&f->wheel, f->now_ms, 60), 60);
    expect_u64(timer_wheel_next_ms(&f->wheel), f->now_ms);
    for (uint32_t i = 0; i < 100; i += 2)
        stop(&f->items[i]);
    const uint32_t left = timer_wheel_advance(&f->wheel, f->now_ms, 60);
    assert_true(left <= 40);
    expect_u64(f->fired, 60 + left);
    expect_u64(timer_wheel_next_ms(&f->wheel), TIMER_NEVER);
}

static void stopping_an_idle_timer_does_nothing(void **state)
{
    struct fixture *f = *state;

    stop(&f->items[0]);
    start(&f->items[0], f->now_ms + 1000);
    stop(&f->items[0]);
    stop(&f->items[0]);
    expect_u64(timer_wheel_next_ms(&f->wheel), TIMER_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timers_fire_as_a_naive_model_says, setup, teardown),
        cmocka_unit_test_setup_teardown(sleeping_as_told_meets_every_deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(a_deadline_in_the_past_means_the_next_millisecond, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_timer_that_restarts_itself_cannot_hold_the_loop, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_exceeds_the_limit_fires_in_the_next_turn, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(stopping_an_idle_timer_does_nothing, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
