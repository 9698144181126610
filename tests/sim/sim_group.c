/*
 * Groups of two to five members converge to what the history of changes means, whatever happens to
 * links, disks, clocks and processes, and throw away what they no longer need; and each rule that
 * the core keeps is needed: without it the same runs find a divergence.
 *
 * One seed is one run. TIERRA_SEED=n TIERRA_SIM_RUNS=1 repeats one, TIERRA_SIM_TRACE=1 tells what
 * happens in it. TIERRA_SIM_RUNS: how many (default: a few seconds' worth). TIERRA_SIM_SHAPE: all
 * of this shape (bits of enum gs_shape), instead of what the seed says. All that fail are named.
 */
#include "tests/sim/sim_group.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define RUNS_DEFAULT     400
#define RUNS_CONTROL_MAX 5000
#define SHAPE_BY_SEED    UINT64_MAX
#define FAILURES_MAX     20 /* After so many the rest is not run. */

static struct gs gs;

static void add_totals(struct gs_totals *sum, const struct gs_totals *t)
{
    sum->events += t->events;
    sum->batches += t->batches;
    sum->lost += t->lost;
    sum->crashes += t->crashes;
    sum->cuts += t->cuts;
    sum->relayed += t->relayed;
    sum->collected += t->collected;
    sum->frames += t->frames;
    sum->bytes += t->bytes;
    sum->trimmed += t->trimmed;
    sum->copied += t->copied;
    sum->unlinks += t->unlinks;
    sum->joins += t->joins;
    sum->flushes += t->flushes;
    sum->behind += t->behind;
    sum->resyncs += t->resyncs;
    sum->renewed += t->renewed;
    sum->unread += t->unread;
    sum->brought_back += t->brought_back;
    sum->alike += t->alike;
    sum->steps += t->steps;
    sum->stepped_batches += t->stepped_batches;
    sum->pushed += t->pushed;
    sum->popped += t->popped;
    sum->moved += t->moved;
    sum->retyped += t->retyped;
    sum->begun += t->begun;
    sum->parts += t->parts;
    sum->folded += t->folded;
    sum->swept += t->swept;
}

/* Most as they come, each fourth of one of the shapes of the negative controls. */
static unsigned shape_of(uint64_t seed)
{
    const uint64_t given = seed_number("TIERRA_SIM_SHAPE", SHAPE_BY_SEED);

    if (given != SHAPE_BY_SEED)
        return (unsigned)given;
    return seed % 4 != 0 ? (unsigned)GS_AS_IT_COMES : GS_HARSH | (unsigned)(seed / 4 % GS_SHAPES);
}

static void groups_converge_to_what_the_history_means(void **state)
{
    const uint64_t runs = seed_number("TIERRA_SIM_RUNS", RUNS_DEFAULT);
    const uint64_t base = seed_get();
    struct gs_totals sum = {0};
    unsigned failures = 0;

    (void)state;
    for (uint64_t run = 0; run < runs && failures < FAILURES_MAX; run++) {
        const unsigned shape = shape_of(base + run);

        gs_init(&gs, base + run, GS_SOUND, shape);
        gs.trace = seed_number("TIERRA_SIM_TRACE", 0) != 0;
        if (!gs_run(&gs)) {
            failures++;
            printf("%s; to repeat: TIERRA_SEED=%" PRIu64 " TIERRA_SIM_SHAPE=%u TIERRA_SIM_RUNS=1\n",
                   gs.why, base + run, shape);
        }
        add_totals(&sum, &gs.totals);
        gs_deinit(&gs);
    }
    if (failures != 0)
        fail_msg("%u groups failed", failures);
    printf("%" PRIu64 " groups: %" PRIu64 " events, %" PRIu64 " batches, %" PRIu64
           " of them lost in %" PRIu64 " crashes, %" PRIu64 " cuts, %" PRIu64 " relayed, %" PRIu64
           " rows collected, %" PRIu64 " records trimmed, %" PRIu64 " unlinked, %" PRIu64
           " joined, %" PRIu64 " rows copied, %" PRIu64 " times behind, %" PRIu64
           " resyncs that left out %" PRIu64 " rows, %" PRIu64 " that took all, %" PRIu64
           " ranges unread, %" PRIu64 " brought back, %" PRIu64 " flushes, %" PRIu64
           " clocks an hour off, %" PRIu64 " batches meanwhile, %" PRIu64
           " elements of lists, %" PRIu64 " removed, %" PRIu64 " moved, %" PRIu64
           " lists to or from other types, %" PRIu64 " strings in chunks, %" PRIu64
           " changes of parts, %" PRIu64 " of their rows folded, %" PRIu64 " swept, %" PRIu64
           " frames, %" PRIu64 " bytes\n",
           runs, sum.events, sum.batches, sum.lost, sum.crashes, sum.cuts, sum.relayed,
           sum.collected, sum.trimmed, sum.unlinks, sum.joins, sum.copied, sum.behind, sum.resyncs,
           sum.alike, sum.renewed, sum.unread, sum.brought_back, sum.flushes, sum.steps,
           sum.stepped_batches, sum.pushed, sum.popped, sum.moved, sum.retyped, sum.begun,
           sum.parts, sum.folded, sum.swept, sum.frames, sum.bytes);
    if (runs < RUNS_DEFAULT)
        return;
    /* All of it happens. */
    assert_true(sum.unlinks != 0 && sum.joins != 0 && sum.flushes != 0 && sum.resyncs != 0);
    assert_true(sum.unread != 0);
    assert_true(sum.steps != 0 && sum.stepped_batches != 0);
    assert_true(sum.pushed != 0 && sum.popped != 0 && sum.moved != 0 && sum.retyped != 0);
    assert_true(sum.begun != 0 && sum.parts != 0 && sum.folded != 0 && sum.swept != 0);
    assert_true(sum.lost != 0 && sum.relayed != 0 && sum.collected != 0 && sum.trimmed != 0);
}

/*
 * Runs that failed once: what was unlinked had given a copy with more than its vector; in the last
 * of these, who wished an exchange of rows asked for ever one who waited as well. In the others the
 * replay of a batch met rows of which more had been collected than the batch had seen. Of two
 * strings in chunks one was swept that had no value at a member, but still at others.
 */
static void groups_that_once_diverged_converge(void **state)
{
    static const struct {
        uint64_t seed;
        unsigned shape;
    } runs[] = {{551, GS_HARSH | GS_UNLINKS | GS_LAGS},
                {937, GS_HARSH | GS_UNLINKS | GS_LAGS},
                {1195, GS_HARSH | GS_UNLINKS | GS_LAGS},
                {1453, GS_HARSH | GS_UNLINKS | GS_LAGS},
                {1896, GS_HARSH | GS_UNLINKS | GS_LAGS},
                {90006918, GS_HARSH | GS_UNLINKS | GS_LAGS},
                {42040607, GS_AS_IT_COMES},
                {42004103, GS_HARSH | GS_LEAVES | GS_CRASHES | GS_EXPIRES},
                {13294, GS_HARSH | GS_STRINGS},
                {21523, GS_HARSH | GS_STRINGS}};

    (void)state;
    for (unsigned i = 0; i < ARRAY_COUNT(runs); i++) {
        gs_init(&gs, runs[i].seed, GS_SOUND, runs[i].shape);
        if (!gs_run(&gs))
            fail_msg("%s, seed %" PRIu64, gs.why, runs[i].seed);
        gs_deinit(&gs);
    }
}

/* What they wrote is what the others have, whatever happens meanwhile. */
static void members_leave_and_nothing_is_lost(void **state)
{
    const uint64_t runs = seed_number("TIERRA_SIM_RUNS", RUNS_DEFAULT) / 4;
    const uint64_t base = seed_get();

    (void)state;
    for (uint64_t run = 0; run < runs; run++) {
        const unsigned other =
            (unsigned)(base + run) & (GS_CRASHES | GS_EXPIRES | GS_FLUSHES | GS_LAGS);

        gs_init(&gs, base + run, GS_SOUND, GS_HARSH | GS_LEAVES | other);
        gs.trace = seed_number("TIERRA_SIM_TRACE", 0) != 0;
        if (!gs_run(&gs))
            fail_msg("%s; seed %" PRIu64 " of those that leave", gs.why, base + run);
        assert_true(gs.sealed);
        gs_deinit(&gs);
    }
}

static void expect_caught(enum gs_fault fault, unsigned shape)
{
    const uint64_t base = seed_get();
    unsigned run = 0;
    bool caught = false;

    for (; run < RUNS_CONTROL_MAX && !caught; run++) {
        gs_init(&gs, base + run, fault, shape | GS_HARSH);
        caught = !gs_run(&gs);
        gs_deinit(&gs);
    }
    printf("caught in run %u: %s\n", run, gs.why);
    assert_true(caught);
    /* With the rule the same run is sound. */
    gs_init(&gs, base + run - 1, GS_SOUND, shape | GS_HARSH);
    if (!gs_run(&gs))
        fail_msg("%s, with the rule too", gs.why);
    gs_deinit(&gs);
}

static void delivery_that_is_not_causal_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_NOT_CAUSAL, GS_AS_IT_COMES);
}

static void dropping_losers_at_once_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_EAGER_LOSERS, GS_AS_IT_COMES);
}

static void dropping_floors_at_once_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_EAGER_FLOORS, GS_AS_IT_COMES);
}

static void acknowledging_what_is_not_durable_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_ACK_EARLY, GS_CRASHES);
}

static void shipping_what_is_not_durable_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_SHIP_EARLY, GS_CRASHES);
}

static void dropping_expired_rows_by_the_own_clock_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_OWN_CLOCK, GS_EXPIRES);
}

static void a_copy_without_its_rows_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_EMPTY_COPY, GS_JOINS);
}

static void merging_what_was_flushed_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_KEEP_FLUSHED, GS_FLUSHES);
}

static void an_end_made_from_some_survivors_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_SEAL_OF_SOME, GS_UNLINKS);
}

static void acknowledgements_that_overtake_are_caught(void **state)
{
    (void)state;
    expect_caught(GS_ACK_OVERTAKES, GS_AS_IT_COMES);
}

static void a_resync_that_keeps_what_was_removed_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_KEEP_REMOVED, GS_LAGS);
}

static void a_resync_that_leaves_out_what_differs_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_ALL_ALIKE, GS_LAGS);
}

static void following_a_clock_that_was_stepped_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_BLIND_CLOCK, GS_AS_IT_COMES);
}

static void leaving_before_all_have_it_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_LEAVE_EARLY, GS_LEAVES);
}

static void positions_made_from_what_is_there_are_caught(void **state)
{
    (void)state;
    expect_caught(GS_FORGET_RUNS, GS_AS_IT_COMES);
}

static void a_move_that_leaves_what_it_moves_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_HALF_MOVE, GS_AS_IT_COMES);
}

static void a_list_beside_what_it_replaces_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_LEAVE_OLD, GS_AS_IT_COMES);
}

static void dropping_losing_types_at_once_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_EAGER_TYPES, GS_AS_IT_COMES);
}

static void a_set_that_keeps_parts_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_KEEP_PARTS, GS_STRINGS);
}

static void telling_of_a_bit_twice_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_BITS_AGAIN, GS_STRINGS);
}

static void folding_bits_at_once_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_EAGER_FOLD, GS_STRINGS);
}

static void an_image_as_late_as_its_bits_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_FOLD_TAGS, GS_STRINGS);
}

static void sweeping_chunks_at_once_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_EAGER_SWEEP, GS_STRINGS);
}

static void a_part_beside_a_collection_that_lost_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_PART_BESIDE, GS_STRINGS);
}

static void a_time_that_a_part_takes_away_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_VALUE_TIME, GS_STRINGS | GS_EXPIRES);
}

static void dropping_times_of_what_may_come_back_is_caught(void **state)
{
    (void)state;
    expect_caught(GS_EAGER_TIMES, GS_STRINGS | GS_EXPIRES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(groups_converge_to_what_the_history_means),
        cmocka_unit_test(groups_that_once_diverged_converge),
        cmocka_unit_test(members_leave_and_nothing_is_lost),
        cmocka_unit_test(delivery_that_is_not_causal_is_caught),
        cmocka_unit_test(dropping_losers_at_once_is_caught),
        cmocka_unit_test(dropping_floors_at_once_is_caught),
        cmocka_unit_test(acknowledging_what_is_not_durable_is_caught),
        cmocka_unit_test(shipping_what_is_not_durable_is_caught),
        cmocka_unit_test(dropping_expired_rows_by_the_own_clock_is_caught),
        cmocka_unit_test(a_copy_without_its_rows_is_caught),
        cmocka_unit_test(merging_what_was_flushed_is_caught),
        cmocka_unit_test(an_end_made_from_some_survivors_is_caught),
        cmocka_unit_test(acknowledgements_that_overtake_are_caught),
        cmocka_unit_test(a_resync_that_keeps_what_was_removed_is_caught),
        cmocka_unit_test(a_resync_that_leaves_out_what_differs_is_caught),
        cmocka_unit_test(following_a_clock_that_was_stepped_is_caught),
        cmocka_unit_test(leaving_before_all_have_it_is_caught),
        cmocka_unit_test(positions_made_from_what_is_there_are_caught),
        cmocka_unit_test(a_move_that_leaves_what_it_moves_is_caught),
        cmocka_unit_test(a_list_beside_what_it_replaces_is_caught),
        cmocka_unit_test(dropping_losing_types_at_once_is_caught),
        cmocka_unit_test(a_set_that_keeps_parts_is_caught),
        cmocka_unit_test(telling_of_a_bit_twice_is_caught),
        cmocka_unit_test(folding_bits_at_once_is_caught),
        cmocka_unit_test(an_image_as_late_as_its_bits_is_caught),
        cmocka_unit_test(sweeping_chunks_at_once_is_caught),
        cmocka_unit_test(a_part_beside_a_collection_that_lost_is_caught),
        cmocka_unit_test(a_time_that_a_part_takes_away_is_caught),
        cmocka_unit_test(dropping_times_of_what_may_come_back_is_caught),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
