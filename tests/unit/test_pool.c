/*
 * The pool: completeness, batches, order and priorities, with real threads.
 */
#include <stdatomic.h>
#include <string.h>

#include "engine/base/mem.h"

#include "engine/io/mailbox.h"
#include "engine/io/pool.h"
#include "engine/io/reactor.h"
#include "engine/io/thread.h"

#include "tests/lib/tcase.h"

#define JOBS 20000

struct work {
    struct pool_job job;
    struct fixture *f;
    uint32_t input;
    uint32_t output;
};

struct fixture {
    struct pool *pool;
    struct reactor *r;
    struct mailbox mb;
    struct pool_class cls;
    struct pool_class other;
    struct work *works;
    uint32_t done;
    _Atomic uint32_t batch_seen; /* The largest. */
    _Atomic uint32_t running;
    _Atomic uint32_t running_seen;
    /* For jobs that wait until they are let go. */
    struct thread_gate started;
    struct thread_gate release;
    /* The order in which jobs ran; written by one thread. */
    uint32_t order[256];
    uint32_t order_count;
};

static void remember_max(_Atomic uint32_t *max, uint32_t value)
{
    uint32_t old = atomic_load(max);

    while (old < value && !atomic_compare_exchange_weak(max, &old, value))
        continue;
}

/* What every job of these tests does, whatever else its class does. */
static void double_all(struct pool_job **jobs, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        struct work *work = container_of(jobs[i], struct work, job);
        work->output = 2 * work->input;
    }
}

static void double_it(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct fixture *f = ctx;

    remember_max(&f->batch_seen, n);
    remember_max(&f->running_seen, atomic_fetch_add(&f->running, 1) + 1);
    double_all(jobs, n);
    atomic_fetch_sub(&f->running, 1);
}

/* The first job of the test waits, so that the others queue up behind it. */
static void wait_for_release(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct fixture *f = ctx;

    double_all(jobs, n);
    thread_gate_open(&f->started);
    thread_gate_wait(&f->release);
}

static void write_down(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct fixture *f = ctx;

    double_all(jobs, n);
    for (uint32_t i = 0; i < n; i++)
        f->order[f->order_count++] = container_of(jobs[i], struct work, job)->input;
}

static void on_done(struct mail *mail)
{
    struct work *work = container_of(mail, struct work, job.mail);

    expect_u64(work->output, 2 * work->input);
    work->f->done++;
}

static void wake_hook(void *ctx)
{
    struct fixture *f = ctx;

    (void)mailbox_drain(&f->mb, 1000);
}

static int setup(void **state)
{
    const struct reactor_options options = {.backend = REACTOR_AUTO};
    struct fixture *f = mem_zalloc(sizeof(*f));

    assert_int_equal(reactor_create(&options, &f->r), 0);
    mailbox_init(&f->mb, f->r);
    reactor_set_wake_hook(f->r, wake_hook, f);
    f->works = mem_zalloc_array(JOBS, sizeof(f->works[0]));
    for (uint32_t i = 0; i < JOBS; i++) {
        f->works[i].f = f;
        f->works[i].input = i;
        f->works[i].job.mail.fn = on_done;
        f->works[i].job.reply_to = &f->mb;
    }
    f->cls =
        (struct pool_class){.name = "double", .batch_max = 16, .run_batch = double_it, .ctx = f};
    f->other =
        (struct pool_class){.name = "other", .batch_max = 16, .run_batch = write_down, .ctx = f};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    mailbox_deinit(&f->mb);
    reactor_destroy(f->r);
    mem_free(f->works);
    mem_free(f);
    return 0;
}

static void open_pool(struct fixture *f, uint32_t threads)
{
    const struct pool_options options = {.name = "test-pool-name", .threads = threads};

    assert_int_equal(pool_create(&options, &f->pool), 0);
    pool_add_class(f->pool, &f->cls);
    pool_add_class(f->pool, &f->other);
}

static void every_job_is_run_once_by_eight_threads(void **state)
{
    struct fixture *f = *state;
    struct pool_metrics metrics;

    open_pool(f, 8);
    for (uint32_t i = 0; i < JOBS; i++) {
        pool_submit(&f->cls, &f->works[i].job);
        if (i % 64 == 0)
            reactor_run_once(f->r, 0);
    }
    while (f->done < JOBS)
        reactor_run_once(f->r, -1);
    pool_metrics(f->pool, &metrics);
    expect_u64(metrics.jobs, JOBS);
    expect_u64(metrics.queued, 0);
    expect_u64(metrics.threads, 8);
    assert_true(metrics.wakes <= metrics.jobs);
    assert_true(atomic_load(&f->batch_seen) <= f->cls.batch_max);
    assert_true(atomic_load(&f->running_seen) <= 8);
    pool_destroy(f->pool);
    expect_u64(f->done, JOBS);
}

static void one_job_at_a_time_comes_back_each_time(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 8);
    for (uint32_t i = 0; i < 2000; i++) {
        pool_submit(&f->cls, &f->works[i].job);
        while (f->done <= i)
            reactor_run_once(f->r, -1);
    }
    pool_destroy(f->pool);
}

struct submitter {
    struct thread thread;
    struct fixture *f;
    uint32_t from;
    uint32_t to;
};

static void submit_range(void *arg)
{
    struct submitter *s = arg;

    for (uint32_t i = s->from; i < s->to; i++)
        pool_submit(&s->f->cls, &s->f->works[i].job);
}

static void many_threads_may_submit(void **state)
{
    struct fixture *f = *state;
    struct submitter submitters[4];

    open_pool(f, 8);
    memset(submitters, 0, sizeof(submitters));
    for (uint32_t i = 0; i < 4; i++) {
        submitters[i].f = f;
        submitters[i].from = i * (JOBS / 4);
        submitters[i].to = (i + 1) * (JOBS / 4);
        assert_int_equal(
            thread_start(&submitters[i].thread, "submit", submit_range, &submitters[i]), 0);
    }
    while (f->done < JOBS)
        reactor_run_once(f->r, -1);
    for (uint32_t i = 0; i < 4; i++)
        thread_join(&submitters[i].thread);
    pool_destroy(f->pool);
}

/* Links works [from, to) and submits them together. */
static void submit_chain(struct fixture *f, struct pool_class *cls, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i + 1 < to; i++)
        f->works[i].job.next = &f->works[i + 1].job;
    pool_submit_chain(cls, &f->works[from].job, &f->works[to - 1].job, to - from);
}

static void a_short_queue_is_spread_and_a_long_one_is_batched(void **state)
{
    struct fixture *f = *state;
    struct pool_metrics metrics;

    open_pool(f, 4);
    submit_chain(f, &f->cls, 0, 4);
    while (f->done < 4)
        reactor_run_once(f->r, -1);
    expect_u64(atomic_load(&f->batch_seen), 1);
    submit_chain(f, &f->cls, 4, 4 + 4000);
    while (f->done < 4004)
        reactor_run_once(f->r, -1);
    expect_u64(atomic_load(&f->batch_seen), 16);
    pool_metrics(f->pool, &metrics);
    assert_true(metrics.batches < 400);
    /* The submits woke one thread each, and the threads one another: not one per job. */
    assert_true(metrics.wakes < 400);
    pool_destroy(f->pool);
}

static void one_thread_keeps_the_order(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 1);
    submit_chain(f, &f->other, 0, 100);
    for (uint32_t i = 100; i < 200; i++)
        pool_submit(&f->other, &f->works[i].job);
    while (f->done < 200)
        reactor_run_once(f->r, -1);
    pool_destroy(f->pool);
    for (uint32_t i = 0; i < 200; i++)
        expect_u64(f->order[i], i);
}

static void the_foreground_goes_first_and_the_background_does_not_starve(void **state)
{
    struct fixture *f = *state;
    struct pool_class back = {.name = "back",
                              .priority = POOL_BACKGROUND,
                              .batch_max = 1,
                              .run_batch = write_down,
                              .ctx = f};
    uint32_t background_at[4];
    uint32_t found = 0;

    f->cls.run_batch = wait_for_release;
    f->other.batch_max = 1;
    open_pool(f, 1);
    pool_add_class(f->pool, &back);
    pool_submit(&f->cls, &f->works[255].job);
    thread_gate_wait(&f->started);
    submit_chain(f, &back, 200, 204);
    submit_chain(f, &f->other, 0, 100);
    thread_gate_open(&f->release);
    while (f->done < 105)
        reactor_run_once(f->r, -1);
    pool_destroy(f->pool);
    for (uint32_t i = 0; i < 104; i++) {
        if (f->order[i] >= 200)
            background_at[found++] = i;
    }
    expect_u64(found, 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_in_range(background_at[i], (i + 1) * (POOL_BACKGROUND_SHARE - 2),
                        (i + 1) * POOL_BACKGROUND_SHARE);
}

static void background_jobs_leave_threads_free(void **state)
{
    struct fixture *f = *state;
    struct pool_class back = {.name = "back",
                              .priority = POOL_BACKGROUND,
                              .batch_max = 1,
                              .run_batch = wait_for_release,
                              .ctx = f};

    open_pool(f, 2);
    pool_add_class(f->pool, &back);
    submit_chain(f, &back, 1000, 1002);
    thread_gate_wait(&f->started);
    /* One thread hangs in the background job; the other serves the foreground. */
    submit_chain(f, &f->other, 0, 100);
    while (f->done < 100)
        reactor_run_once(f->r, -1);
    thread_gate_open(&f->release);
    thread_gate_wait(&f->started);
    thread_gate_open(&f->release);
    while (f->done < 102)
        reactor_run_once(f->r, -1);
    pool_destroy(f->pool);
}

static void destroying_runs_what_is_queued(void **state)
{
    struct fixture *f = *state;

    open_pool(f, 3);
    submit_chain(f, &f->cls, 0, 1000);
    f->works[5000].job.reply_to = NULL;
    pool_submit(&f->cls, &f->works[5000].job);
    pool_destroy(f->pool);
    while (f->done < 1000)
        reactor_run_once(f->r, 0);
    expect_u64(f->works[5000].output, 10000);
    pool_destroy(NULL);
}

int main(void)
{
#define POOL_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        POOL_TEST(every_job_is_run_once_by_eight_threads),
        POOL_TEST(one_job_at_a_time_comes_back_each_time),
        POOL_TEST(many_threads_may_submit),
        POOL_TEST(a_short_queue_is_spread_and_a_long_one_is_batched),
        POOL_TEST(one_thread_keeps_the_order),
        POOL_TEST(the_foreground_goes_first_and_the_background_does_not_starve),
        POOL_TEST(background_jobs_leave_threads_free),
        POOL_TEST(destroying_runs_what_is_queued),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
