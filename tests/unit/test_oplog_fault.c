/*
 * The op log when the disk says no: each write and each sync fails once and for good; spares that
 * cannot be made.
 */
#include <unistd.h>

#include "engine/base/log.h"

#include "tests/lib/seed.h"
#include "tests/unit/test_oplog_fixture.h"

static int setup_with(void **state, enum reactor_backend backend)
{
    struct fx *fx = mem_zalloc(sizeof(*fx));

    fx_setup(fx, backend);
    *state = fx;
    return 0;
}

static int setup_uring(void **state)
{
    return setup_with(state, REACTOR_URING);
}

static int setup_epoll(void **state)
{
    return setup_with(state, REACTOR_EPOLL);
}

static int teardown(void **state)
{
    struct fx *fx = *state;

    reactor_set_file_fault(fx->reactor, NULL, NULL);
    fx_teardown(fx);
    mem_free(fx);
    return 0;
}

/* Fails the n-th operation of one kind of request, and the `repeat` - 1 after it. */
struct fault {
    bool syncs; /* Syncs and the sync part of synced writes; else the data of writes. */
    uint64_t n; /* 1 is the next; 0: none. */
    uint64_t repeat;
    int err;
    struct rng rng;
    uint64_t hits;
    uint64_t mark_hits;
    uint64_t ops; /* After the log was fenced. */
    const struct fx *fx;
};

static void fault_hook(void *ctx, const struct reactor_file_req *req, enum reactor_file_kind kind,
                       struct reactor_file_fault *out)
{
    struct fault *fault = ctx;
    const bool mark = kind == REACTOR_FILE_WRITE && req->len == MARK_SLOT_BYTES;

    fault->ops += fault->fx->fences;
    if (fault->n == 0 || (fault->syncs && kind == REACTOR_FILE_WRITE) ||
        (!fault->syncs && kind == REACTOR_FILE_SYNC))
        return;
    if (fault->n > 1) {
        fault->n--;
        return;
    }
    if (fault->repeat == 0)
        return;
    fault->repeat--;
    fault->hits++;
    fault->mark_hits += mark;
    out->err = fault->err;
    if (!fault->syncs)
        out->bytes_max = (size_t)rng_below(&fault->rng, out->bytes_max + 1);
}

/* Appends over several segments while the fault is set; the log may be fenced on the way. */
static void work(struct fx *fx)
{
    for (unsigned i = 0; i < 700 && !oplog_fenced(fx->log, NULL); i++) {
        const int err = oplog_can_append(fx->log, FX_LEN_MAX);
        if (err == -ERR_FENCED)
            break;
        expect_i64(err, 0);
        (void)fx_append(fx);
        if (i % 100 == 99)
            fx_settle(fx);
        else if (i % 9 == 0)
            fx_turn(fx);
        if (i == 350)
            oplog_request_sync(fx->log);
    }
    fx_settle(fx);
    /* The last write of the watermark. */
    for (int i = 0; i < 3; i++)
        reactor_run_once(fx->reactor, 0);
}

static void check_fenced(struct fx *fx, const struct fault *fault)
{
    const char *why = NULL;

    assert_true(oplog_fenced(fx->log, &why));
    assert_non_null(strstr(why, "failed"));
    expect_u64(fx->fences, 1);
    expect_i64(oplog_can_append(fx->log, 1), -ERR_FENCED);
    /* Appending all the same goes nowhere, and breaks nothing. */
    const uint64_t durable_lsn = oplog_durable_lsn(fx->log);
    (void)oplog_append(fx->log, BYTES_LIT("late"), 0, 0);
    oplog_turn_end(fx->log);
    oplog_request_sync(fx->log);
    reactor_run_once(fx->reactor, 0);
    expect_u64(oplog_durable_lsn(fx->log), durable_lsn);
    /* Nothing was tried again. */
    expect_u64(fault->ops, 0);
}

/* Returns whether the fault came. */
static bool run_with_fault(struct fx *fx, struct fault *fault)
{
    fx_start(fx);
    fx->fences = 0;
    reactor_set_file_fault(fx->reactor, fault_hook, fault);
    work(fx);
    reactor_set_file_fault(fx->reactor, NULL, NULL);
    const bool hit = fault->hits > fault->mark_hits;
    if (hit)
        check_fenced(fx, fault);
    else
        assert_false(oplog_fenced(fx->log, NULL));
    if (fault->mark_hits != 0)
        assert_true(oplog_metrics(fx->log)->watermark_failures > 0);
    const uint64_t acked_lsn = fx->durable_lsn;
    const int err = oplog_close(fx->log);
    fx->log = NULL;
    expect_i64(err, hit ? -ERR_FENCED : 0);

    /* The failed part is unknown: it may be there. What was acknowledged is. */
    fx_start(fx);
    assert_true(fx->last_lsn >= acked_lsn);
    fx_close(fx);
    expect_i64(file_remove_tree(fx->dir), 0);
    return fault->hits != 0;
}

static void fault_loop(struct fx *fx, bool syncs, enum oplog_policy policy,
                       enum oplog_method method)
{
    static const uint64_t repeats[] = {1, UINT64_MAX};

    fx->options.policy = policy;
    fx->options.method = method;
    fx->options.sync_period_ms = 1;
    for (size_t i = 0; i < ARRAY_COUNT(repeats); i++) {
        uint64_t n = 0;
        bool hit = true;
        while (hit) {
            n++;
            struct fault fault = {.fx = fx,
                                  .syncs = syncs,
                                  .n = n,
                                  .repeat = repeats[i],
                                  .err = n % 2 == 0 ? -EIO : -ENOSPC};
            seed_rng(&fault.rng, n);
            hit = run_with_fault(fx, &fault);
        }
        assert_true(n > 3);
    }
}

static void every_write_that_fails_fences_the_log_under_always(void **state)
{
    fault_loop(*state, false, OPLOG_SYNC_ALWAYS, OPLOG_METHOD_AUTO);
    fault_loop(*state, false, OPLOG_SYNC_ALWAYS, OPLOG_METHOD_FSYNC);
}

static void every_write_that_fails_fences_the_log_under_everysec(void **state)
{
    fault_loop(*state, false, OPLOG_SYNC_EVERYSEC, OPLOG_METHOD_AUTO);
}

static void every_sync_that_fails_fences_the_log_under_always(void **state)
{
    fault_loop(*state, true, OPLOG_SYNC_ALWAYS, OPLOG_METHOD_DSYNC);
    fault_loop(*state, true, OPLOG_SYNC_ALWAYS, OPLOG_METHOD_FSYNC);
}

static void every_sync_that_fails_fences_the_log_under_everysec(void **state)
{
    fault_loop(*state, true, OPLOG_SYNC_EVERYSEC, OPLOG_METHOD_AUTO);
}

/* A write that the kernel cuts short goes on. */
static void short_hook(void *ctx, const struct reactor_file_req *req, enum reactor_file_kind kind,
                       struct reactor_file_fault *out)
{
    (void)ctx;
    (void)req;
    if (kind != REACTOR_FILE_SYNC && out->bytes_max > 100)
        out->bytes_max = out->bytes_max / 2;
}

static void short_writes_are_completed(void **state)
{
    struct fx *fx = *state;

    fx->options.method = OPLOG_METHOD_DSYNC;
    fx_start(fx);
    reactor_set_file_fault(fx->reactor, short_hook, NULL);
    fx_append_many(fx, 600, 20);
    fx_close(fx);
    reactor_set_file_fault(fx->reactor, NULL, NULL);

    fx_start(fx);
    expect_u64(fx->replayed, 600);
}

/* --- no room --- */

static void block_spares(struct fx *fx, bool blocked)
{
    /* A directory under the name that spares are made as. */
    char *path = tmpdir_path(fx->dir, "spare.tmp");

    if (blocked)
        expect_i64(file_mkdir(path), 0);
    else
        expect_i64(file_rmdir(path), 0);
    mem_free(path);
}

static void a_disk_without_room_is_told_before_a_record_is_refused(void **state)
{
    struct fx *fx = *state;
    uint64_t before_low = 0;

    fx_start(fx);
    fx_append_many(fx, 1, 1);
    block_spares(fx, true);
    /* The spare at hand is used up; then none can be made. */
    while (!oplog_space_low(fx->log)) {
        fx_append_many(fx, 1, 1);
        assert_true(++before_low < 2000);
    }
    uint64_t after_low = 0;
    while (oplog_can_append(fx->log, FX_LEN_MAX) == 0) {
        fx_append_many(fx, 1, 1);
        assert_true(++after_low < 2000);
    }
    /* A whole segment's worth was left for what must go on. */
    assert_true(after_low > 200);
    expect_i64(oplog_can_append(fx->log, FX_LEN_MAX), -ENOSPC);
    assert_false(oplog_fenced(fx->log, NULL));
    assert_true(oplog_metrics(fx->log)->spare_failures > 0);

    /* Room again: the log finds out by itself. */
    block_spares(fx, false);
    FX_RUN_UNTIL(fx, !oplog_space_low(fx->log));
    fx_append_many(fx, 400, 10);
    const uint64_t applied_lsn = oplog_applied_lsn(fx->log);
    fx_close(fx);
    fx_start(fx);
    expect_u64(fx->replayed, applied_lsn);
}

static void a_trim_makes_room_without_a_new_file(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);
    fx_append_many(fx, 1, 1);
    block_spares(fx, true);
    while (!oplog_space_low(fx->log))
        fx_append_many(fx, 1, 1);
    (void)oplog_trim(fx->log, UINT64_MAX);

    assert_false(oplog_space_low(fx->log));
    fx_append_many(fx, 300, 10);
    block_spares(fx, false);
}

static void a_start_without_room_still_replays(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);
    fx_append_many(fx, 10, 1);
    fx_close(fx);
    /* Without the spare of the last run. */
    char *path = segment_path(fx->dir, 2);
    expect_i64(file_unlink(path), 0);
    mem_free(path);

    expect_i64(fx_open(fx), 0);
    block_spares(fx, true);
    expect_i64(fx_recover(fx, 0), 0);
    expect_u64(fx->replayed, 10);
    assert_true(oplog_space_low(fx->log));
    expect_i64(oplog_can_append(fx->log, 1), -ENOSPC);
    block_spares(fx, false);
}

#define ON_BOTH(test)                                         \
    {#test " (io_uring)", test, setup_uring, teardown, NULL}, \
    {                                                         \
#test " (epoll)", test, setup_epoll, teardown, NULL   \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(every_write_that_fails_fences_the_log_under_always),
        ON_BOTH(every_write_that_fails_fences_the_log_under_everysec),
        ON_BOTH(every_sync_that_fails_fences_the_log_under_always),
        ON_BOTH(every_sync_that_fails_fences_the_log_under_everysec),
        ON_BOTH(short_writes_are_completed),
        ON_BOTH(a_disk_without_room_is_told_before_a_record_is_refused),
        ON_BOTH(a_trim_makes_room_without_a_new_file),
        ON_BOTH(a_start_without_room_still_replays),
    };

    log_set_level(LOG_LEVEL_ERROR);
    /* Hundreds of runs: in memory, where syncs cost nothing. */
    if (access("/dev/shm", W_OK) == 0)
        (void)setenv("TMPDIR", "/dev/shm", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
