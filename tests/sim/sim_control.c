/*
 * Nodes agree on who is a member, whatever happens to networks, disks and processes, and however
 * many operators change it at once; and each rule of the agreement is needed: without it the same
 * runs find two memberships of one epoch, or a history that ended too early.
 *
 * One seed is one run. TIERRA_SEED=n TIERRA_SIM_RUNS=1 repeats one, TIERRA_SIM_TRACE=1 tells what
 * happens in it. TIERRA_SIM_RUNS: how many (default: a few seconds' worth).
 */
#include "tests/sim/sim_control.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define RUNS_DEFAULT     300
#define RUNS_CONTROL_MAX 20000

static struct cs cs;

static void add_totals(struct cs_totals *sum, const struct cs_totals *t)
{
    sum->events += t->events;
    sum->epochs += t->epochs;
    sum->forks += t->forks;
    sum->crashes += t->crashes;
    sum->joins += t->joins;
    sum->unlinks += t->unlinks;
    sum->leaves += t->leaves;
    sum->flushes += t->flushes;
    sum->refusals += t->refusals;
    sum->forks_seen += t->forks_seen;
}

static void nodes_agree_on_who_is_a_member(void **state)
{
    const uint64_t runs = seed_number("TIERRA_SIM_RUNS", RUNS_DEFAULT);
    const uint64_t base = seed_get();
    struct cs_totals sum = {0};

    (void)state;
    for (uint64_t run = 0; run < runs; run++) {
        cs_init(&cs, base + run, CS_SOUND, (base + run) % 2 != 0);
        cs.trace = seed_number("TIERRA_SIM_TRACE", 0) != 0;
        if (!cs_run(&cs))
            fail_msg("%s; to repeat: TIERRA_SEED=%" PRIu64 " TIERRA_SIM_RUNS=1", cs.why,
                     base + run);
        add_totals(&sum, &cs.totals);
        cs_deinit(&cs);
    }
    printf("%" PRIu64 " groups: %" PRIu64 " events, %" PRIu64 " epochs, %" PRIu64
           " of them by force, %" PRIu64 " crashes, %" PRIu64 " joins, %" PRIu64
           " commands to unlink, %" PRIu64 " to leave, %" PRIu64 " to flush, %" PRIu64
           " refusals, %" PRIu64 " forks seen\n",
           runs, sum.events, sum.epochs, sum.forks, sum.crashes, sum.joins, sum.unlinks, sum.leaves,
           sum.flushes, sum.refusals, sum.forks_seen);
}

static void expect_caught(enum cs_fault fault)
{
    const uint64_t base = seed_get();
    unsigned run = 0;
    bool caught = false;

    for (; run < RUNS_CONTROL_MAX && !caught; run++) {
        cs_init(&cs, base + run, fault, true);
        caught = !cs_run(&cs);
        cs_deinit(&cs);
    }
    printf("caught in run %u: %s\n", run, cs.why);
    assert_true(caught);
    /* With the rule the same run is sound. */
    cs_init(&cs, base + run - 1, CS_SOUND, true);
    if (!cs_run(&cs))
        fail_msg("%s, with the rule too", cs.why);
    cs_deinit(&cs);
}

static void accepts_that_are_not_on_disk_are_caught(void **state)
{
    (void)state;
    expect_caught(CS_LOST_ACCEPTS);
}

static void promises_that_are_not_on_disk_are_caught(void **state)
{
    (void)state;
    expect_caught(CS_LOST_PROMISES);
}

static void frozen_histories_that_are_not_on_disk_are_caught(void **state)
{
    (void)state;
    expect_caught(CS_LOST_FREEZE);
}

static void an_end_made_from_some_survivors_is_caught(void **state)
{
    (void)state;
    expect_caught(CS_F_OF_SOME);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_agree_on_who_is_a_member),
        cmocka_unit_test(accepts_that_are_not_on_disk_are_caught),
        cmocka_unit_test(promises_that_are_not_on_disk_are_caught),
        cmocka_unit_test(frozen_histories_that_are_not_on_disk_are_caught),
        cmocka_unit_test(an_end_made_from_some_survivors_is_caught),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
