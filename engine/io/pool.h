/*
 * Pool: a bounded number of threads for calls that block, as RocksDB's reads do.
 *
 * A job belongs to a class; a class has a function that runs several of its jobs at once, because
 * a batched read costs less than single ones. A thread takes ceil(queued / threads) jobs of one
 * class, at most batch_max: while the queue is short the jobs spread over the threads, when it
 * grows the batches do.
 *
 * Wakes are the main cost on a machine with few cores, hence as few as possible: a submit wakes at
 * most one thread, and none while a woken one is still on its way to the queue; that thread wakes
 * the next one if it leaves something behind. Idle threads wait in last-in-first-out order: the
 * one with the warmest cache goes first, the rest sleep on. Nobody spins.
 *
 * Two priorities: foreground classes go first; of any POOL_BACKGROUND_SHARE takes one prefers the
 * background, so that it cannot starve. Background jobs occupy at most half of the threads (at
 * least one). Classes of the same priority take turns.
 *
 * Order: jobs of one class start in the order in which they were submitted; with one thread they
 * also end in it.
 *
 * The queue holds the callers' structs and has no limit of its own: who submits must bound its jobs
 * in flight.
 */
#ifndef TIERRA_ENGINE_IO_POOL_H
#define TIERRA_ENGINE_IO_POOL_H

#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/list.h"
#include "engine/base/metric.h"

#include "engine/io/mailbox.h"

#define POOL_THREADS_MAX      64
#define POOL_BATCH_MAX        256
#define POOL_BACKGROUND_SHARE 16

struct pool;
struct pool_job;

enum pool_priority {
    POOL_FOREGROUND, /* A client waits. */
    POOL_BACKGROUND,
};

/* Runs jobs[0..n), 1 <= n <= batch_max, on a thread of the pool; results go into the jobs. */
typedef void (*pool_batch_fn)(void *ctx, struct pool_job **jobs, uint32_t n);

/* The caller's, to outlive its jobs and the pool. Set the first part, leave the rest zero. */
struct pool_class {
    const char *name;
    enum pool_priority priority;
    uint32_t batch_max; /* 1 .. POOL_BATCH_MAX */
    pool_batch_fn run_batch;
    void *ctx;
    /* The pool's. */
    struct pool *pool;
    struct list_link link; /* Among the classes of its priority that have jobs. */
    struct pool_job *first;
    struct pool_job *last;
    uint32_t queued;
};

struct pool_job {
    struct mail mail;         /* fn is the caller's: called on the thread that drains reply_to. */
    struct mailbox *reply_to; /* The caller's. NULL: no completion, the job is gone once it ran. */
    struct pool_job *next;
};

struct pool_options {
    const char *name; /* Of the threads, cut to 10 bytes; a number is appended. */
    uint32_t threads; /* 1 .. POOL_THREADS_MAX */
    uint32_t nice;    /* Steps by which they yield the CPUs to others: thread_lower_self. */
};

/* Starts the threads. Returns 0 or -errno. */
MUST_USE int pool_create(const struct pool_options *options, struct pool **out);

/*
 * Runs what is queued, ends the threads and waits for them. The completions are in their
 * mailboxes then. NULL is allowed.
 */
void pool_destroy(struct pool *pool);

/* Before the first submit of the class. Any thread. */
void pool_add_class(struct pool *pool, struct pool_class *cls);

/*
 * Never waits for a job: takes a lock that is held for a few pointer moves only. Job, and what it
 * points to, are the pool's until mail.fn is called. Any thread.
 */
void pool_submit(struct pool_class *cls, struct pool_job *job);

/* The same for a chain of `n` jobs linked by `next`, `first` to `last`: one lock, one wake. */
void pool_submit_chain(struct pool_class *cls, struct pool_job *first, struct pool_job *last,
                       uint32_t n);

/* clang-format off */
#define POOL_METRICS(X)                                                                        \
    X(jobs,    METRIC_COUNTER, "Jobs run.")                                                    \
    X(batches, METRIC_COUNTER, "Batches in which they ran.")                                   \
    X(wakes,   METRIC_COUNTER, "Times that a sleeping thread was woken.")                      \
    X(queued,  METRIC_GAUGE,   "Jobs that wait for a thread.")                                 \
    X(running, METRIC_GAUGE,   "Threads that run a batch.")                                    \
    X(threads, METRIC_GAUGE,   "Threads of the pool.")
/* clang-format on */
METRIC_STRUCT(pool_metrics, POOL_METRICS);

/* A copy of the figures. Any thread. */
void pool_metrics(struct pool *pool, struct pool_metrics *out);

#endif
