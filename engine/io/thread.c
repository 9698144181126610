/*
 * Threads and gates.
 */
#include "engine/io/thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/clock.h"

/* The shortest slice that the kernel gives. */
#define PROMPT_SLICE_NS 100000u

static void *thread_main(void *arg)
{
    struct thread *t = arg;

    /* A name that cannot be set is only missing in a debugger. */
    (void)pthread_setname_np(pthread_self(), t->name);
    t->fn(t->arg);
    return NULL;
}

int thread_start(struct thread *t, const char *name, thread_fn fn, void *arg)
{
    sigset_t all;
    sigset_t old;

    CHECK(!t->started);
    t->fn = fn;
    t->arg = arg;
    (void)snprintf(t->name, sizeof(t->name), "%s", name);
    /* The mask is inherited. */
    (void)sigfillset(&all);
    CHECK(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
    const int err = pthread_create(&t->id, NULL, thread_main, t);
    CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    if (err != 0)
        return -err;
    t->started = true;
    return 0;
}

void thread_join(struct thread *t)
{
    if (!t->started)
        return;
    CHECK(pthread_join(t->id, NULL) == 0);
    t->started = false;
}

int thread_pin_self(uint32_t cpu)
{
    cpu_set_t set;

    if (cpu >= CPU_SETSIZE)
        return -EINVAL;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return -pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

/* The first version of what the kernel calls sched_attr; its header and libc's exclude each other.
 */
struct fair_attr {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime; /* Of the fair policies: the slice, ns; 0 is the kernel's own choice. */
    uint64_t deadline;
    uint64_t period;
};

/*
 * Of a thread, on Linux. A slice is heeded since Linux 6.12, before that and outside of the fair
 * policies it changes nothing. What cannot be had leaves the thread as it is.
 */
static void schedule_self(int32_t more_nice, uint64_t slice_ns)
{
    struct fair_attr attr = {.size = sizeof(attr)};

    if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) != 0)
        return;
    attr.nice += more_nice;
    attr.runtime = slice_ns;
    if (attr.policy == SCHED_OTHER || attr.policy == SCHED_BATCH)
        (void)syscall(SYS_sched_setattr, 0, &attr, 0);
}

void thread_lower_self(uint32_t steps)
{
    schedule_self((int32_t)steps, 0);
}

void thread_prompt_self(void)
{
    schedule_self(0, PROMPT_SLICE_NS);
}

uint32_t thread_cpu_count(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return 1;
    const int count = CPU_COUNT(&set);
    return count < 1 ? 1 : (uint32_t)count;
}

/* ---- gate ---- */

enum {
    GATE_CLOSED,
    GATE_OPEN,
    GATE_AWAITED, /* Closed, and the waiter sleeps or is about to. */
};

/* Returns 0, or -errno of the futex call; spurious returns are allowed. */
static int futex_wait(_Atomic uint32_t *word, uint32_t value, const struct timespec *timeout)
{
    if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, timeout, NULL, 0) == 0)
        return 0;
    return -errno;
}

/* Takes an opening, or announces the wait. True if the gate was open. */
static bool gate_pass(struct thread_gate *gate)
{
    uint32_t state = GATE_OPEN;

    if (atomic_compare_exchange_strong_explicit(&gate->state, &state, GATE_CLOSED,
                                                memory_order_acquire, memory_order_relaxed))
        return true;
    if (state == GATE_CLOSED &&
        !atomic_compare_exchange_strong_explicit(&gate->state, &state, GATE_AWAITED,
                                                 memory_order_acquire, memory_order_acquire)) {
        /* Opened in between; the exchange sees what any further opener did before. */
        (void)atomic_exchange_explicit(&gate->state, GATE_CLOSED, memory_order_acquire);
        return true;
    }
    return false;
}

void thread_gate_wait(struct thread_gate *gate)
{
    while (!gate_pass(gate))
        (void)futex_wait(&gate->state, GATE_AWAITED, NULL);
}

bool thread_gate_wait_ms(struct thread_gate *gate, uint32_t timeout_ms)
{
    const uint64_t end_ns = clock_mono_ns() + (uint64_t)timeout_ms * 1000000u;

    while (!gate_pass(gate)) {
        const uint64_t now_ns = clock_mono_ns();
        if (now_ns >= end_ns)
            return false;
        const uint64_t left_ns = end_ns - now_ns;
        const struct timespec timeout = {.tv_sec = (time_t)(left_ns / 1000000000u),
                                         .tv_nsec = (long)(left_ns % 1000000000u)};
        (void)futex_wait(&gate->state, GATE_AWAITED, &timeout);
    }
    return true;
}

void thread_gate_open(struct thread_gate *gate)
{
    const uint32_t old = atomic_exchange_explicit(&gate->state, GATE_OPEN, memory_order_acq_rel);

    if (old == GATE_AWAITED)
        (void)syscall(SYS_futex, &gate->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}
