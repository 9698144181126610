/*
 * Threads: start with a name, join, pin; and a gate, on which one thread waits for another.
 */
#ifndef TIERRA_ENGINE_IO_THREAD_H
#define TIERRA_ENGINE_IO_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

/* Bytes of a thread's name with its terminating zero: the kernel's limit. */
#define THREAD_NAME_BYTES 16

typedef void (*thread_fn)(void *arg);

/* Zero ({0}) is no thread. */
struct thread {
    pthread_t id;
    thread_fn fn;
    void *arg;
    char name[THREAD_NAME_BYTES];
    bool started;
};

/*
 * Runs fn(arg) on a new thread; a longer `name` is cut. All signals are blocked there, so that the
 * main thread gets them. `t` must stay until thread_join. Returns 0 or -errno.
 */
MUST_USE int thread_start(struct thread *t, const char *name, thread_fn fn, void *arg);

/* Waits for the end of the thread; does nothing if it was never started. */
void thread_join(struct thread *t);

/* Ties the calling thread to one CPU. Returns 0 or -errno. */
MUST_USE int thread_pin_self(uint32_t cpu);

/*
 * The calling thread, and those that it starts from now on, yield the CPUs to the others of the
 * process by `steps` of nice (1 to 19; each is a fifth of the CPU time beside a thread that wants
 * all of it). It cannot be taken back.
 */
void thread_lower_self(uint32_t steps);

/*
 * The calling thread asks for short slices of CPU time: its share stays as it is, but when it wakes
 * it gets a CPU sooner, before threads whose slices are longer (sched(7), since Linux 6.12).
 * Threads that it starts are the same, thread_lower_self ends it.
 */
void thread_prompt_self(void);

/* CPUs that this process may use; at least 1. */
uint32_t thread_cpu_count(void);

/*
 * Gate: one waiter, any number of openers. An opening that comes before the wait is remembered,
 * once. A futex: nothing but one atomic operation as long as nobody has to sleep or be woken.
 * Zero ({0}) is closed.
 */
struct thread_gate {
    _Atomic uint32_t state;
};

/* Waits until the gate is open, and closes it behind itself. */
void thread_gate_wait(struct thread_gate *gate);
/* The same, for at most `timeout_ms`; false if the time is over. */
bool thread_gate_wait_ms(struct thread_gate *gate, uint32_t timeout_ms);
void thread_gate_open(struct thread_gate *gate);

#endif
