/*
 * The part of the reactor that is the same everywhere: creation, the turn, wake-ups, timers.
 *
 * Sleeping and waking: one word holds AWAKE, ASLEEP or WOKEN. The loop goes to sleep only by
 * changing AWAKE to ASLEEP; a waker exchanges the word for WOKEN and interrupts the wait only if it
 * was ASLEEP. Whatever the order, either the loop sees WOKEN and does not sleep, or the waker sees
 * ASLEEP and interrupts. After the wait the loop exchanges the word for AWAKE before it looks at
 * mailboxes, so that a message which it misses wakes it again.
 */
#include "engine/io/reactor.h"

#include <errno.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/io/reactor_impl.h"

/* File completions of one turn. */
#define FILES_DONE_MAX 1024
#define NS_PER_MS      1000000u

static void read_clocks(struct reactor *r)
{
    r->now_ns = clock_source_mono_ns(r->clock);
    r->now_ms = r->now_ns / NS_PER_MS;
    r->wall_ms = clock_source_wall_ms(r->clock);
}

void reactor_init(struct reactor *r, const struct clock_source *clock)
{
    r->clock = clock != NULL ? clock : clock_real();
    list_init(&r->look);
    list_init(&r->closed);
    mailbox_init(&r->files_done, r);
    atomic_init(&r->wake_state, REACTOR_AWAKE);
    atomic_init(&r->stop, false);
    read_clocks(r);
    timer_wheel_init(&r->wheel, r->now_ms);
}

int reactor_create(const struct reactor_options *options, struct reactor **out)
{
    struct reactor *r = NULL;
    int err = -ENOSYS;

    CHECK(options->recv_buf_bytes <= REACTOR_DATA_BYTES_MAX);
    if (options->backend != REACTOR_EPOLL)
        err = reactor_uring_create(options, &r);
    if (err != 0 && options->backend != REACTOR_URING)
        err = reactor_epoll_create(options, &r);
    if (err != 0)
        return err;
    reactor_init(r, options->clock);
    *out = r;
    return 0;
}

void reactor_destroy(struct reactor *r)
{
    if (r == NULL)
        return;
    CHECK(r->metrics.socks == 0);
    CHECK(list_empty(&r->closed));
    r->vt->destroy(r);
}

const char *reactor_backend_name(const struct reactor *r)
{
    return r->vt->name;
}

uint64_t reactor_now_ns(const struct reactor *r)
{
    return r->now_ns;
}

uint64_t reactor_now_ms(const struct reactor *r)
{
    return r->now_ms;
}

uint64_t reactor_wall_ms(const struct reactor *r)
{
    return r->wall_ms;
}

uint64_t reactor_wall_refresh(struct reactor *r)
{
    r->wall_ms = clock_source_wall_ms(r->clock);
    return r->wall_ms;
}

const struct reactor_metrics *reactor_metrics(const struct reactor *r)
{
    return &r->metrics;
}

void reactor_set_turn_hook(struct reactor *r, reactor_hook_fn fn, void *ctx)
{
    r->turn_hook = fn;
    r->turn_ctx = ctx;
}

void reactor_set_ahead_hook(struct reactor *r, reactor_ahead_fn fn, void *ctx)
{
    r->ahead_hook = fn;
    r->ahead_ctx = ctx;
}

void reactor_set_wake_hook(struct reactor *r, reactor_hook_fn fn, void *ctx)
{
    r->wake_hook = fn;
    r->wake_ctx = ctx;
}

void reactor_timer_start(struct reactor *r, struct reactor_timer *t, uint64_t at_ms,
                         reactor_timer_fn fn)
{
    timer_start(&r->wheel, t, at_ms, fn);
}

void reactor_timer_stop(struct reactor *r, struct reactor_timer *t)
{
    timer_stop(&r->wheel, t);
}

void reactor_wake(struct reactor *r)
{
    /* An exchange even if it is woken already: it orders the caller's message before the look. */
    if (atomic_exchange(&r->wake_state, REACTOR_WOKEN) == REACTOR_ASLEEP)
        r->vt->wake(r);
}

void reactor_stop(struct reactor *r)
{
    atomic_store(&r->stop, true);
    reactor_wake(r);
}

/* How long the wait of this turn may be, given what is known now. */
static uint64_t wait_limit_ns(struct reactor *r, uint64_t timeout_ns)
{
    if (timeout_ns == 0 || r->more || !list_empty(&r->look) || !list_empty(&r->closed))
        return 0;
    const uint64_t next_ms = timer_wheel_next_ms(&r->wheel);
    if (next_ms == TIMER_NEVER)
        return timeout_ns;
    /* The hooks took time since the clock was last read. */
    const uint64_t now_ns = clock_source_mono_ns(r->clock);
    uint64_t next_ns;
    if (__builtin_mul_overflow(next_ms, (uint64_t)NS_PER_MS, &next_ns))
        return timeout_ns;
    return next_ns <= now_ns ? 0 : u64_min(timeout_ns, next_ns - now_ns);
}

static void deliver_closed(struct reactor *r)
{
    for (;;) {
        struct list_link *link = list_pop_front(&r->closed);
        if (link == NULL)
            return;
        struct reactor_sock *s = LIST_ITEM(link, struct reactor_sock, link);
        const struct reactor_sock_ops *ops = s->ops;
        s->flags = 0;
        r->metrics.socks--;
        ops->on_closed(s);
    }
}

static void turn(struct reactor *r, uint64_t timeout_ns)
{
    uint64_t limit_ns = wait_limit_ns(r, timeout_ns);

    CHECK(!r->in_turn);
    r->in_turn = true;
    if (limit_ns != 0) {
        uint32_t state = REACTOR_AWAKE;
        if (!atomic_compare_exchange_strong(&r->wake_state, &state, REACTOR_ASLEEP))
            limit_ns = 0;
    }
    r->vt->wait(r, limit_ns);
    const bool woken = atomic_exchange(&r->wake_state, REACTOR_AWAKE) == REACTOR_WOKEN;

    read_clocks(r);
    r->metrics.turns++;
    r->more = r->vt->deliver(r);
    (void)mailbox_drain(&r->files_done, FILES_DONE_MAX);
    if (woken) {
        r->metrics.wakes++;
        if (r->wake_hook != NULL)
            r->wake_hook(r->wake_ctx);
    }
    (void)timer_wheel_advance(&r->wheel, r->now_ms, REACTOR_TURN_TIMERS_MAX);
    deliver_closed(r);
    if (r->turn_hook != NULL)
        r->turn_hook(r->turn_ctx);
    r->in_turn = false;
}

void reactor_run(struct reactor *r)
{
    r->vt->enter(r);
    while (!atomic_load_explicit(&r->stop, memory_order_acquire))
        turn(r, REACTOR_WAIT_FOREVER);
    atomic_store(&r->stop, false);
    r->vt->leave(r);
}

void reactor_run_once(struct reactor *r, int timeout_ms)
{
    turn(r, timeout_ms < 0 ? REACTOR_WAIT_FOREVER : (uint64_t)timeout_ms * NS_PER_MS);
}
