/*
 * The pool.
 *
 * One lock guards the queues and the stack of idle threads; it is held for a few pointer moves
 * only. Each thread sleeps on a gate of its own, so that a wake reaches exactly one.
 *
 * Wakes: `waking` is set from the moment a sleeping thread is called until it has looked at the
 * queues. While it is set nobody calls another; the called thread itself does, if there is still
 * work after it took its share. A burst of submits costs the submitter one wake, whatever its size.
 */
#include "engine/io/pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/io/thread.h"

#define PRIORITIES 2

struct pool_worker {
    struct pool *pool;
    struct thread thread;
    struct thread_gate gate;
    struct pool_worker *idle_next;
    struct pool_job *jobs[POOL_BATCH_MAX];
};

struct pool {
    pthread_mutex_t lock;
    /* Under the lock. */
    struct list ready[PRIORITIES]; /* Classes with jobs. */
    struct pool_worker *idle;      /* Top: the one that slept last. */
    bool waking;
    bool stop;
    uint32_t background_running;
    uint32_t takes; /* Since the background was last preferred. */
    struct pool_metrics metrics;
    /* Constant. */
    uint32_t threads;
    uint32_t nice;
    uint32_t background_max; /* Threads that background jobs may occupy. */
    struct pool_worker workers[];
};

/* ---- queues, under the lock ---- */

static bool can_take(const struct pool *pool, enum pool_priority priority)
{
    if (list_empty(&pool->ready[priority]))
        return false;
    return priority == POOL_FOREGROUND || pool->stop ||
           pool->background_running < pool->background_max;
}

static bool work_waits(const struct pool *pool)
{
    return can_take(pool, POOL_FOREGROUND) || can_take(pool, POOL_BACKGROUND);
}

/* The class whose turn it is, or NULL. It goes to the end of its list. */
static struct pool_class *pick_class(struct pool *pool)
{
    enum pool_priority priority = POOL_FOREGROUND;

    if (!work_waits(pool))
        return NULL;
    pool->takes++;
    if (!can_take(pool, POOL_FOREGROUND) ||
        (pool->takes >= POOL_BACKGROUND_SHARE && can_take(pool, POOL_BACKGROUND))) {
        priority = POOL_BACKGROUND;
        pool->takes = 0;
    }
    struct list_link *link = pool->ready[priority].head.next;
    list_remove(link);
    list_push_back(&pool->ready[priority], link);
    return LIST_ITEM(link, struct pool_class, link);
}

/* Moves the share of one thread from the class to `jobs`. */
static uint32_t take_jobs(struct pool *pool, struct pool_class *cls, struct pool_job **jobs)
{
    const uint32_t share = (cls->queued + pool->threads - 1) / pool->threads;
    const uint32_t n = share < cls->batch_max ? share : cls->batch_max;

    for (uint32_t i = 0; i < n; i++) {
        jobs[i] = cls->first;
        cls->first = cls->first->next;
    }
    cls->queued -= n;
    if (cls->first == NULL) {
        CHECK(cls->queued == 0);
        cls->last = NULL;
        list_remove(&cls->link);
    }
    pool->metrics.queued -= n;
    return n;
}

/* The thread to call for what waits; the caller opens its gate after unlocking. NULL: none. */
static struct pool_worker *pick_idle(struct pool *pool)
{
    struct pool_worker *worker = pool->idle;

    if (worker == NULL || pool->waking || !work_waits(pool))
        return NULL;
    pool->idle = worker->idle_next;
    pool->waking = true;
    pool->metrics.wakes++;
    return worker;
}

static void lock(struct pool *pool)
{
    CHECK(pthread_mutex_lock(&pool->lock) == 0);
}

static void unlock(struct pool *pool)
{
    CHECK(pthread_mutex_unlock(&pool->lock) == 0);
}

/* ---- threads ---- */

/* Posts the completions; neighbours for the same mailbox go together. The jobs are gone then. */
static void reply(struct pool_job **jobs, uint32_t n)
{
    struct mail_chain chain = {0};
    struct mailbox *to = NULL;

    for (uint32_t i = 0; i < n; i++) {
        struct mailbox *reply_to = jobs[i]->reply_to;
        if (reply_to == NULL)
            continue;
        if (reply_to != to && to != NULL) {
            mailbox_post_chain(to, chain);
            chain = (struct mail_chain){0};
        }
        to = reply_to;
        mail_chain_add(&chain, &jobs[i]->mail);
    }
    if (to != NULL)
        mailbox_post_chain(to, chain);
}

/* Runs one batch with the lock released, and calls the next thread before. */
static void run_class(struct pool_worker *worker, struct pool_class *cls)
{
    struct pool *pool = worker->pool;
    const bool background = cls->priority == POOL_BACKGROUND;
    const uint32_t n = take_jobs(pool, cls, worker->jobs);

    pool->metrics.running++;
    pool->metrics.batches++;
    pool->metrics.jobs += n;
    pool->background_running += background;
    struct pool_worker *next = pick_idle(pool);
    unlock(pool);
    if (next != NULL)
        thread_gate_open(&next->gate);
    cls->run_batch(cls->ctx, worker->jobs, n);
    reply(worker->jobs, n);
    lock(pool);
    pool->background_running -= background;
    pool->metrics.running--;
}

static void worker_main(void *arg)
{
    struct pool_worker *worker = arg;
    struct pool *pool = worker->pool;

    if (pool->nice != 0)
        thread_lower_self(pool->nice);
    lock(pool);
    for (;;) {
        struct pool_class *cls = pick_class(pool);
        if (cls != NULL) {
            run_class(worker, cls);
            continue;
        }
        if (pool->stop)
            break;
        worker->idle_next = pool->idle;
        pool->idle = worker;
        unlock(pool);
        thread_gate_wait(&worker->gate);
        lock(pool);
        pool->waking = false;
    }
    unlock(pool);
}

/* ---- interface ---- */

int pool_create(const struct pool_options *options, struct pool **out)
{
    const uint32_t threads = options->threads;
    struct pool *pool;

    CHECK(threads >= 1);
    CHECK(threads <= POOL_THREADS_MAX);
    pool = mem_zalloc(sizeof(*pool) + threads * sizeof(pool->workers[0]));
    CHECK(pthread_mutex_init(&pool->lock, NULL) == 0);
    for (uint32_t i = 0; i < PRIORITIES; i++)
        list_init(&pool->ready[i]);
    pool->threads = threads;
    pool->nice = options->nice;
    pool->background_max = threads > 1 ? threads / 2 : 1;
    pool->metrics.threads = threads;
    for (uint32_t i = 0; i < threads; i++) {
        struct pool_worker *worker = &pool->workers[i];
        char name[THREAD_NAME_BYTES];
        worker->pool = pool;
        (void)snprintf(name, sizeof(name), "%.10s-%u", options->name, i % 100);
        const int err = thread_start(&worker->thread, name, worker_main, worker);
        if (err != 0) {
            pool_destroy(pool);
            return err;
        }
    }
    *out = pool;
    return 0;
}

void pool_destroy(struct pool *pool)
{
    if (pool == NULL)
        return;
    lock(pool);
    pool->stop = true;
    struct pool_worker *idle = pool->idle;
    pool->idle = NULL;
    unlock(pool);
    while (idle != NULL) {
        struct pool_worker *next = idle->idle_next;
        thread_gate_open(&idle->gate);
        idle = next;
    }
    for (uint32_t i = 0; i < pool->threads; i++)
        thread_join(&pool->workers[i].thread);
    CHECK(pool->metrics.queued == 0);
    CHECK(pthread_mutex_destroy(&pool->lock) == 0);
    mem_free(pool);
}

void pool_add_class(struct pool *pool, struct pool_class *cls)
{
    CHECK(cls->pool == NULL);
    CHECK(cls->run_batch != NULL);
    CHECK(cls->batch_max >= 1);
    CHECK(cls->batch_max <= POOL_BATCH_MAX);
    cls->pool = pool;
}

void pool_submit(struct pool_class *cls, struct pool_job *job)
{
    pool_submit_chain(cls, job, job, 1);
}

void pool_submit_chain(struct pool_class *cls, struct pool_job *first, struct pool_job *last,
                       uint32_t n)
{
    struct pool *pool = cls->pool;

    CHECK(n >= 1);
    last->next = NULL;
    lock(pool);
    CHECK(!pool->stop);
    if (cls->last == NULL) {
        cls->first = first;
        list_push_back(&pool->ready[cls->priority], &cls->link);
    } else {
        cls->last->next = first;
    }
    cls->last = last;
    cls->queued += n;
    pool->metrics.queued += n;
    struct pool_worker *worker = pick_idle(pool);
    unlock(pool);
    if (worker != NULL)
        thread_gate_open(&worker->gate);
}

void pool_metrics(struct pool *pool, struct pool_metrics *out)
{
    lock(pool);
    *out = pool->metrics;
    unlock(pool);
}
