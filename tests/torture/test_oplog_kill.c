/*
 * Kills a process that writes an op log, at random moments, and opens the log again: what it had
 * been told was durable is there, what is there is right, and no start is refused.
 */
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/log.h"

#include "engine/io/pool.h"

#include "tests/lib/seed.h"
#include "tests/unit/test_oplog_fixture.h"

#define ROUNDS 120
/* How long a round waits for its writer at most, which takes long on a busy machine. */
#define START_MS_MAX 60000

/* What survives the writer. */
struct witness {
    _Atomic uint64_t durable_lsn;
    _Atomic uint64_t covered_lsn; /* What was trimmed away. */
};

struct writer {
    struct fx fx;
    struct witness *witness;
    struct pool *pool;
    struct pool_class jobs;
    struct mailbox mailbox;
    struct rng rng;
};

static void on_durable(void *ctx, uint64_t lsn)
{
    struct writer *w = ctx;

    atomic_store(&w->witness->durable_lsn, lsn);
}

static void on_wake(void *ctx)
{
    (void)mailbox_drain(ctx, 16);
}

static void writer_setup(struct writer *w, char *dir, unsigned round)
{
    static const enum oplog_policy policies[] = {OPLOG_SYNC_ALWAYS, OPLOG_SYNC_EVERYSEC,
                                                 OPLOG_SYNC_NO};
    const struct pool_options pool_options = {.name = "kill", .threads = 1};
    struct fx *fx = &w->fx;

    fx->dir = dir;
    fx->payload_seed = 1;
    fx_reactor(fx, round % 4 == 3 ? REACTOR_EPOLL : REACTOR_AUTO);
    expect_i64(pool_create(&pool_options, &w->pool), 0);
    oplog_pool_class(&w->jobs);
    pool_add_class(w->pool, &w->jobs);
    mailbox_init(&w->mailbox, fx->reactor);
    reactor_set_wake_hook(fx->reactor, on_wake, &w->mailbox);
    fx->options = (struct oplog_options){
        .dir = dir,
        .reactor = fx->reactor,
        .jobs = &w->jobs,
        .mailbox = &w->mailbox,
        /* Mostly ALWAYS: it has the most to keep. */
        .policy = round % 3 == 2 ? policies[rng_below(&w->rng, 3)] : OPLOG_SYNC_ALWAYS,
        .method = (enum oplog_method)(round % 4),
        .segment_bytes = FX_SEGMENT_BYTES,
        .sync_period_ms = 2,
        .on_durable = on_durable,
        .ctx = w,
    };
}

/* Never returns. */
static void write_until_killed(struct writer *w)
{
    struct fx *fx = &w->fx;

    expect_i64(fx_open(fx), 0);
    expect_i64(oplog_recover(fx->log, atomic_load(&w->witness->covered_lsn), NULL, NULL, fx->why,
                             sizeof(fx->why)),
               0);
    for (;;) {
        for (uint64_t i = rng_below(&w->rng, 20); i > 0; i--) {
            if (oplog_can_append(fx->log, FX_LEN_MAX) == 0)
                (void)fx_append(fx);
        }
        oplog_turn_end(fx->log);
        if (rng_below(&w->rng, 30) == 0)
            oplog_request_sync(fx->log);
        if (rng_below(&w->rng, 60) == 0) {
            const uint64_t lsn = rng_below(&w->rng, oplog_durable_lsn(fx->log) + 1);
            /* Said before it is done: the store's word comes first. */
            if (lsn > atomic_load(&w->witness->covered_lsn))
                atomic_store(&w->witness->covered_lsn, lsn);
            (void)oplog_trim(fx->log, lsn);
        }
        reactor_run_once(fx->reactor, rng_below(&w->rng, 4) == 0 ? 1 : 0);
    }
}

/* Until something more is durable. */
static void await_writes(const struct witness *witness, uint64_t before)
{
    for (unsigned i = 0; i < START_MS_MAX && atomic_load(&witness->durable_lsn) == before; i++)
        (void)usleep(1000);
}

static void check_log(const char *dir, const struct witness *witness)
{
    struct fx fx = {.payload_seed = 1};
    const uint64_t covered_lsn = atomic_load(&witness->covered_lsn);

    fx_reactor(&fx, REACTOR_EPOLL);
    fx.options = (struct oplog_options){
        .dir = dir, .reactor = fx.reactor, .segment_bytes = FX_SEGMENT_BYTES};
    int err = fx_open(&fx);
    if (err == 0)
        err = fx_recover(&fx, covered_lsn);
    if (err != 0)
        fail_msg("%s", fx.why);
    assert_true(fx.replayed == 0 || fx.first_lsn == covered_lsn + 1);
    assert_true(oplog_applied_lsn(fx.log) >= atomic_load(&witness->durable_lsn));
    expect_u64(oplog_applied_lsn(fx.log), fx.last_lsn);
    (void)oplog_close(fx.log);
    reactor_destroy(fx.reactor);
}

static void nothing_acknowledged_is_lost_when_the_process_is_killed(void **state)
{
    char *root = tmpdir_create();
    char *dir = tmpdir_path(root, "log");
    struct witness *witness =
        mmap(NULL, sizeof(*witness), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct rng rng;

    (void)state;
    assert_ptr_not_equal(witness, MAP_FAILED);
    seed_rng(&rng, 1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        const uint64_t seed = rng_u64(&rng);
        const uint64_t before = atomic_load(&witness->durable_lsn);
        const pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct writer *w = mem_zalloc(sizeof(*w));
            w->witness = witness;
            rng_seed(&w->rng, seed);
            writer_setup(w, dir, round);
            write_until_killed(w);
        }
        if (round % 4 != 0) /* The others may die while they open the log. */
            await_writes(witness, before);
        (void)usleep((useconds_t)(1000 + rng_below(&rng, 40000)));
        int status = 0;
        expect_i64(kill(pid, SIGKILL), 0);
        expect_i64(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        expect_i64(WTERMSIG(status), SIGKILL);
        check_log(dir, witness);
    }
    /* It must have done something. */
    assert_true(atomic_load(&witness->durable_lsn) >= ROUNDS / 4 * 3);
    print_message("durable up to %llu, trimmed up to %llu\n",
                  (unsigned long long)atomic_load(&witness->durable_lsn),
                  (unsigned long long)atomic_load(&witness->covered_lsn));
    (void)munmap(witness, sizeof(*witness));
    mem_free(dir);
    tmpdir_remove(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_acknowledged_is_lost_when_the_process_is_killed),
    };

    log_set_level(LOG_LEVEL_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
