/*
 * A group of replicas in one process: real logs, keyspaces, stores in memory and pools; frames
 * through queues that delay; links that break; crashes that take what was not synced; a member that
 * joins with a copy while all this goes on; one that is unlinked for good; a flush of the group. In
 * the end all show the same, and every counter has exactly what was added to it and not lost.
 *
 * TIERRA_GROUP_FIRST=n TIERRA_GROUP_RUNS=1 repeats one run; the pools' threads are not repeated.
 */
#include <semaphore.h>
#include <stdlib.h>

#include "engine/base/mem.h"

#include "replication/group/core_impl.h"
#include "replication/oplog.h"
#include "replication/replica_impl.h"

#include "tests/lib/tcase.h"
#include "tests/prop/prop_replica_world.h"

struct scenario {
    bool joins;
    bool flushes;
    bool unlinks;
};

#define STEPS 1200u

static void run(uint64_t stream, struct scenario what)
{
    struct world *w = mem_zalloc(sizeof(*w));

    world_open(w, stream, (what.joins || what.unlinks ? 3 : 2) + (unsigned)(stream % 2),
               what.joins);
    for (unsigned step = 0; step < STEPS; step++) {
        if (step == STEPS / 4 && what.joins)
            world_join(w);
        if (step == STEPS / 4 + 20 && what.flushes) {
            const unsigned i = world_below(w, w->count);
            if (w->node[i].up)
                world_flush(w, i);
        }
        if (step == STEPS / 2 && what.unlinks) {
            const unsigned x = world_below(w, w->count);
            if (w->node[x].up)
                world_crash(w, x);
            w->gone[x] = true;
        }
        world_write_some(w);
        world_disturb(w);
        world_turn(w);
    }
    world_calm_down(w);
    world_check(w);
    world_check_sums(w);
    world_check_trimmed(w);
    world_check_sums(w);
    world_close(w);
    mem_free(w);
}

static unsigned env_number(const char *name, unsigned otherwise)
{
    const char *text = getenv(name);

    return text == NULL ? otherwise : (unsigned)strtoul(text, NULL, 10);
}

static void run_some(struct scenario what)
{
    const unsigned first = env_number("TIERRA_GROUP_FIRST", 0);
    const unsigned runs = env_number("TIERRA_GROUP_RUNS", 3);

    for (unsigned i = first; i < first + runs; i++)
        run(i, what);
}

static void replicas_converge_through_crashes(void **state)
{
    (void)state;
    run_some((struct scenario){0});
}

static void a_flush_empties_the_group(void **state)
{
    (void)state;
    run_some((struct scenario){.flushes = true});
}

static void what_a_lost_member_had_given_is_kept(void **state)
{
    (void)state;
    run_some((struct scenario){.unlinks = true});
}

static void a_new_member_gets_a_copy(void **state)
{
    (void)state;
    run_some((struct scenario){.joins = true});
}

static void a_flush_overtakes_a_copy(void **state)
{
    (void)state;
    run_some((struct scenario){.joins = true, .flushes = true});
}

/* Keeps the one reader that may do background work until it is told to go on. */
struct hold {
    struct pool_class cls;
    struct pool_job job;
    sem_t begun;
    sem_t go_on;
};

static void run_hold(void *ctx, struct pool_job **jobs, uint32_t count)
{
    struct hold *h = ctx;

    (void)jobs;
    assert_int_equal(count, 1);
    (void)sem_post(&h->begun);
    while (sem_wait(&h->go_on) != 0)
        continue;
}

static void hold_reads(struct hold *h)
{
    h->job = (struct pool_job){0};
    pool_submit(&h->cls, &h->job);
    while (sem_wait(&h->begun) != 0)
        continue;
}

static void hold_create(struct hold *h, struct pool *readers)
{
    h->cls = (struct pool_class){.name = "hold",
                                 .priority = POOL_BACKGROUND,
                                 .batch_max = 1,
                                 .run_batch = run_hold,
                                 .ctx = h};
    pool_add_class(readers, &h->cls);
    assert_int_equal(sem_init(&h->begun, 0, 0), 0);
    assert_int_equal(sem_init(&h->go_on, 0, 0), 0);
}

/* A piece of a copy is being read when the donor's store is about to go: the core hears of it. */
static void a_flush_that_meets_a_piece_being_read_does_not_end_the_copy(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));
    const struct node *donor = &w->node[0];
    const struct node *joiner = &w->node[1];
    const struct peer *peer = NULL;
    unsigned left = 50000;
    struct hold hold;

    (void)state;
    world_open(w, 5, 2, true);
    w->calm = true;
    for (unsigned i = 0; i < 300; i++) {
        world_write(w, 0);
        world_turn(w);
    }
    while (oplog_durable_lsn(donor->m.log) < oplog_applied_lsn(donor->m.log))
        world_turn(w);
    hold_create(&hold, donor->m.rig.readers);
    world_join(w);
    /* Once the copy is open, what is asked for is not read before the flush has come. */
    do {
        world_turn(w);
        assert_true(--left != 0);
    } while (donor->replica->metrics.copies_given == 0);
    peer = core_peer_find(donor->replica->core, joiner->m.origin);
    assert_non_null(peer);
    hold_reads(&hold);
    while (!peer->sync_out.busy) {
        world_turn(w);
        assert_true(--left != 0);
    }
    world_flush(w, 0);
    replica_turn(donor->replica);
    (void)sem_post(&hold.go_on);
    while (donor->replica->jobs != 0)
        node_turn(&w->node[0], w->now_ms, true);

    assert_true(peer->state == CORE_LINK_UP);
    assert_false(peer->sync_out.busy);
    world_calm_down(w);
    world_check(w);
    world_close(w);
    (void)sem_destroy(&hold.begun);
    (void)sem_destroy(&hold.go_on);
    mem_free(w);
}

/* Its checkpoint is gone: what the first try has brought must not stand beside the second's rows.
 */
static void a_copy_whose_donor_restarts_begins_with_an_empty_store(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));
    const struct node *donor = &w->node[0];
    const struct node *joiner = &w->node[1];
    unsigned left = 50000;

    (void)state;
    world_open(w, 6, 2, true);
    w->calm = true;
    for (unsigned i = 0; i < 300; i++) {
        world_write(w, 0);
        world_turn(w);
    }
    while (oplog_durable_lsn(donor->m.log) < oplog_applied_lsn(donor->m.log))
        world_turn(w);
    world_join(w);
    do {
        world_turn(w);
        assert_true(--left != 0);
    } while (joiner->replica == NULL || joiner->replica->metrics.copied_rows_in == 0);
    assert_true(core_syncing(joiner->replica->core));
    const uint64_t empties = joiner->empties;

    world_crash(w, 0);
    world_calm_down(w);
    assert_true(joiner->empties > empties);
    assert_false(core_syncing(joiner->replica->core));
    world_check(w);
    world_close(w);
    mem_free(w);
}

static uint64_t applied_seq(const struct node *n, uint8_t origin)
{
    struct posv at;

    replica_position(n->replica, &at);
    return posv_get(&at, origin).seq;
}

/* Until it says so, which takes it a while. */
static void await_full(struct world *w, const struct node *n)
{
    unsigned left = 50000;

    while (replica_full(n->replica) == NULL) {
        world_turn(w);
        assert_true(--left != 0);
    }
    expect_str(replica_full(n->replica), "full");
}

static void await_room(struct world *w, const struct node *n)
{
    unsigned left = 50000;

    while (replica_full(n->replica) != NULL) {
        world_turn(w);
        assert_true(--left != 0);
    }
}

/* Also that it has taken it, for what is not taken cannot be lost with a crash. */
static void nothing_is_taken_or_acknowledged_without_room(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));
    const struct node *writer = &w->node[0];
    const struct node *full = &w->node[1];
    struct core_peer_info info;
    unsigned left = 50000;

    (void)state;
    world_open(w, 6, 2, false);
    world_calm_down(w);
    const uint64_t before = applied_seq(full, writer->m.origin);
    w->full = 1;
    for (unsigned i = 0; i < 300; i++) {
        world_write(w, i % 2);
        world_turn(w);
    }
    await_full(w, full);
    do {
        world_turn(w);
        assert_true(--left != 0);
        assert_true(replica_peer_info(writer->replica, full->m.origin, &info));
    } while (!info.full);

    expect_u64(applied_seq(full, writer->m.origin), before);
    expect_u64(info.lag_batches, applied_seq(writer, writer->m.origin) - before);
    assert_true(info.lag_batches >= 100);
    expect_u64(applied_seq(writer, full->m.origin), applied_seq(full, full->m.origin));
    assert_null(replica_may_read(full->replica));

    w->full = NODES_MAX;
    world_calm_down(w);
    await_room(w, full);
    world_check(w);
    world_check_sums(w);
    world_check_trimmed(w);
    world_close(w);
    mem_free(w);
}

static void a_copy_waits_for_room(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));
    const struct node *joiner = &w->node[1];
    unsigned left = 50000;

    (void)state;
    world_open(w, 7, 2, true);
    w->calm = true;
    for (unsigned i = 0; i < 300; i++) {
        world_write(w, 0);
        world_turn(w);
    }
    w->full = 1;
    world_join(w);
    do {
        world_turn(w);
        assert_true(--left != 0);
    } while (joiner->replica == NULL || joiner->replica->take.state != TAKE_ROWS);
    await_full(w, joiner);
    assert_int_equal(joiner->replica->take.state, TAKE_ROWS);
    expect_u64(joiner->replica->metrics.copied_rows_in, 0);
    assert_non_null(replica_may_read(joiner->replica));

    w->full = NODES_MAX;
    world_calm_down(w);
    world_check(w);
    world_check_sums(w);
    world_close(w);
    mem_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flush_that_meets_a_piece_being_read_does_not_end_the_copy),
        cmocka_unit_test(a_copy_whose_donor_restarts_begins_with_an_empty_store),
        cmocka_unit_test(nothing_is_taken_or_acknowledged_without_room),
        cmocka_unit_test(a_copy_waits_for_room),
        cmocka_unit_test(replicas_converge_through_crashes),
        cmocka_unit_test(a_flush_empties_the_group),
        cmocka_unit_test(what_a_lost_member_had_given_is_kept),
        cmocka_unit_test(a_new_member_gets_a_copy),
        cmocka_unit_test(a_flush_overtakes_a_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
