/*
 * A core that has started upon a directory with a history, which may be an older copy of what its
 * peers know, and a scripted peer.
 */
#include "tests/unit/test_core_fixture.h"

#define FORMER 9 /* A member no more. */

static struct core_options returned_options(void)
{
    struct core_options options = {.origin = SELF,
                                   .incarnation = 11,
                                   .group_id = {7},
                                   .ask_ms = 3000,
                                   .recovered_lsn = 10,
                                   .covered_lsn = 10};

    options.recovered = options.covered = posv_with(SELF, (struct pos){10, HLC(-100)});
    return options;
}

/* A member that has started upon a directory with a history. */
static int setup_returned(void **state)
{
    const struct core_options options = returned_options();

    return setup_with(state, &options);
}

/* What is none's any more, PEER has acknowledged 7 batches of THIRD, THIRD all there are. */
static int setup_with_acked(void **state)
{
    struct core_options options = returned_options();

    options.acked = (struct core_acked){.count = 3, .origin = {PEER, THIRD, FORMER}};
    options.acked.durable[0] = posv_with(THIRD, (struct pos){7, HLC(-70)});
    options.acked.durable[1] = options.recovered;
    options.acked.durable[2] = options.recovered;
    return setup_with(state, &options);
}

/* The peer has taken our greeting. */
static void go_on(struct fixture *f, uint8_t peer)
{
    assert_int_equal(wire_put_credit(&f->out, 1u << 20), 0);
    deliver(f, peer);
}

static void expect_asked(struct fixture *f, uint64_t missing)
{
    const struct core_event *last = &f->events[f->events_count - 1];

    assert_int_equal(last->kind, CORE_ASKED);
    expect_u64(last->detail, missing);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
}

static void a_start_writes_when_all_peers_have_said_what_they_have_of_it(void **state)
{
    struct fixture *f = *state;

    tick(f, 10);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_ASKING);
    link_peer(f, PEER);
    go_on(f, PEER);
    tick(f, 10);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_ASKING);
    core_link_down(f->core, PEER); /* It has said it. */
    link_peer(f, THIRD);
    go_on(f, THIRD);
    link_peer(f, FOURTH); /* Which may still refuse us. */
    tick(f, 10);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_ASKING);
    go_on(f, FOURTH);
    tick(f, 10);
    expect_asked(f, 0);
    log_local(f, 11);
}

static int setup_silent(void **state)
{
    const struct core_options options = {
        .origin = SELF, .incarnation = 11, .group_id = {7}, .ask_ms = 3000};

    return setup_with(state, &options);
}

/* It may have become active, and heard what the others promised, before it restarted. */
static void who_has_made_no_batch_waits_for_what_others_promise(void **state)
{
    struct fixture *f = *state;
    struct wire_heartbeat hb = {.sent_ms = 1};

    assert_false(core_has_begun(f->core));
    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        link_peer(f, origin);
        go_on(f, origin);
    }
    tick(f, 10);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_ASKING);
    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        hb.hlc = HLC(origin);
        hb.wall_ms = f->now.wall_ms;
        assert_int_equal(wire_put_heartbeat(&f->out, &hb), 0);
        deliver(f, origin);
    }
    tick(f, 10);
    expect_asked(f, 0);
    expect_u64(core_promised_hlc(f->core), HLC(FOURTH));
    log_local(f, 1);
    assert_true(core_has_begun(f->core));
}

/* All that it writes would be refused by the others, who do not follow such a clock. */
static void a_promise_from_a_clock_that_is_ahead_is_not_followed(void **state)
{
    struct fixture *f = *state;
    const uint64_t limit_ms = f->now.wall_ms + CORE_AHEAD_MS_MAX;
    struct wire_heartbeat hb = {.sent_ms = 1, .wall_ms = f->now.wall_ms};

    link_peer(f, PEER);
    go_on(f, PEER);
    tick(f, 0);
    hb.hlc = limit_ms << 16;
    assert_int_equal(wire_put_heartbeat(&f->out, &hb), 0);
    deliver(f, PEER);
    expect_u64(core_promised_hlc(f->core), limit_ms << 16);
    hb.hlc = (limit_ms + 1) << 16;
    assert_int_equal(wire_put_heartbeat(&f->out, &hb), 0);
    deliver(f, PEER);
    expect_u64(core_promised_hlc(f->core), limit_ms << 16);
}

static void a_start_waits_for_peers_that_are_away_but_not_for_ever(void **state)
{
    struct fixture *f = *state;

    link_peer(f, PEER);
    go_on(f, PEER);
    tick(f, 0);
    tick(f, 2999);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_ASKING);
    tick(f, 1);
    expect_asked(f, 2);
}

static void a_start_on_an_older_copy_uses_no_seq_twice(void **state)
{
    struct fixture *f = *state;
    struct wire_hello hello = hello_of(PEER);

    hello.applied = hello.durable = posv_with(SELF, (struct pos){12, HLC(-1)});
    greet(f, &hello);
    tick(f, 0);
    tick(f, 3000);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OWN_LOST);
    const struct wire_bye bye = {.reason = WIRE_WENT_BACK, .detail = wire_lost(SELF, 12)};
    assert_int_equal(wire_put_bye(&f->out, &bye), 0);
    deliver(f, PEER);
    assert_int_equal(f->events[f->events_count - 1].kind, CORE_WENT_BACK);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_WENT_BACK);
    tick(f, 20000);
    assert_false(core_may_link(f->core, PEER));
    assert_false(core_may_link(f->core, THIRD));
}

static void what_is_lost_of_ours_is_not_drained(void **state)
{
    struct fixture *f = *state;
    struct posv own = posv_with(SELF, (struct pos){10, HLC(-100)});

    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        struct wire_hello hello = hello_of(origin);

        assert_false(core_drained(f->core));
        if (origin == FOURTH)
            own = posv_with(SELF, (struct pos){12, HLC(-1)});
        hello.applied = hello.durable = own;
        greet(f, &hello);
    }
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OWN_LOST);
    assert_false(core_drained(f->core));
}

static void hear_bye(struct fixture *f, uint8_t reason, uint64_t detail)
{
    const struct wire_bye bye = {.reason = reason, .detail = detail};

    assert_int_equal(wire_put_bye(&f->out, &bye), 0);
    deliver(f, PEER);
    assert_int_equal(f->events[f->events_count - 1].kind, CORE_LINK_CLOSED);
    tick(f, 10000); /* Until it may link again. */
}

static void nobody_ends_an_incarnation_before_he_has_greeted(void **state)
{
    struct fixture *f = *state;
    struct wire_hello hello = hello_of(PEER);

    core_link_up(f->core, PEER);
    hear_bye(f, WIRE_WENT_BACK, wire_lost(SELF, 12));
    core_link_up(f->core, PEER);
    hear_bye(f, WIRE_FORK, SELF);
    hello.incarnation++; /* Of another, who is refused: what it says then is not heard. */
    greet(f, &hello);
    hear_bye(f, WIRE_WENT_BACK, wire_lost(SELF, 12));
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    assert_true(core_may_link(f->core, PEER));
}

static void who_lacks_nothing_that_is_named_has_not_gone_back(void **state)
{
    struct fixture *f = *state;
    static const uint64_t have[] = {(uint64_t)SELF << 56 | 10, (uint64_t)PEER << 56 | 5, 0, 12,
                                    UINT64_MAX};

    for (unsigned i = 0; i < ARRAY_COUNT(have); i++) {
        link_peer(f, PEER);
        hear_bye(f, WIRE_WENT_BACK, have[i]);
        assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
        assert_true(core_may_link(f->core, PEER));
    }
}

static void batches_of_others_count_as_well(void **state)
{
    struct fixture *f = *state;

    link_peer(f, PEER);
    const struct wire_bye bye = {.reason = WIRE_WENT_BACK, .detail = wire_lost(PEER, 6)};
    assert_int_equal(wire_put_bye(&f->out, &bye), 0);
    deliver(f, PEER);
    assert_int_equal(f->events[f->events_count - 1].kind, CORE_WENT_BACK);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_WENT_BACK);
}

static void nobody_goes_back_while_it_runs(void **state)
{
    struct fixture *f = *state;

    link_peer(f, PEER);
    go_on(f, PEER);
    hear_bye(f, WIRE_WENT_BACK, wire_lost(SELF, 12));
    link_peer(f, PEER);
    hear_bye(f, WIRE_WENT_BACK, wire_lost(SELF, 12));
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
}

static void a_peer_with_less_of_us_tells_that_it_is_something_else(void **state)
{
    struct fixture *f = *state;
    struct wire_bye bye = {.reason = WIRE_FORK, .detail = THIRD};

    link_peer(f, PEER);
    assert_int_equal(wire_put_bye(&f->out, &bye), 0);
    deliver(f, PEER);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK); /* Not of us. */
    tick(f, 10000);
    link_peer(f, PEER);
    bye.detail = SELF;
    assert_int_equal(wire_put_bye(&f->out, &bye), 0);
    deliver(f, PEER);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_FORKED);
}

/* What a peer gives back as our batch 11 does not follow our batch 10. */
static void expect_other_batches(struct fixture *f, uint64_t prev_hlc, uint64_t hlc)
{
    struct wire_hello hello = hello_of(PEER);
    struct wire_request request;

    hello.applied = hello.durable = posv_with(SELF, (struct pos){11, HLC(-1)});
    greet(f, &hello);
    tick(f, CORE_RELAY_MS_DEFAULT);
    assert_int_equal(wire_get_request(last_body(f, PEER, WIRE_REQUEST), &request), 0);
    assert_int_equal(request.origin, SELF);
    const struct wire_batches_head head = {.origin = SELF,
                                           .generation = request.generation,
                                           .epoch = 5,
                                           .first_seq = 11,
                                           .prev_hlc = prev_hlc};
    send_batch_as(f, PEER, &head, hlc, tag_of(0, 0));
    expect_u64(f->applied_count, 0);
    expect_bye(f, PEER, WIRE_FORK);
    assert_int_equal(f->events[f->events_count - 2].kind, CORE_FORKED);
    assert_int_equal(f->events[f->events_count - 2].peer, PEER);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_FORKED);
    tick(f, 10000);
    assert_false(core_may_link(f->core, PEER));
    assert_false(core_may_link(f->core, THIRD));
}

static void batches_of_our_own_that_follow_others_stop_writes_for_good(void **state)
{
    expect_other_batches(*state, HLC(-101), HLC(-1));
}

static void batches_of_our_own_that_are_older_than_ours_stop_writes_for_good(void **state)
{
    expect_other_batches(*state, 0, HLC(-100));
}

static void what_a_peer_had_acknowledged_is_known_after_a_start(void **state)
{
    struct fixture *f = *state;
    struct wire_hello hello = hello_of(PEER);
    struct wire_bye bye;

    hello.applied = hello.durable = posv_with(THIRD, (struct pos){6, HLC(-71)});
    greet(f, &hello);
    expect_bye(f, PEER, WIRE_WENT_BACK);
    assert_int_equal(wire_get_bye(last_body(f, PEER, WIRE_BYE), &bye), 0);
    expect_u64(bye.detail, wire_lost(THIRD, 7));
    /* What it did not say of us before our start, it has said now. */
    link_peer(f, FOURTH);
    go_on(f, FOURTH);
    hello = hello_of(THIRD);
    hello.applied = hello.durable = posv_with(SELF, (struct pos){10, HLC(-100)});
    greet(f, &hello);
    go_on(f, THIRD);
    tick(f, 10);
    expect_asked(f, 0);
    hello = hello_of(PEER);
    hello.applied = hello.durable = posv_with(THIRD, (struct pos){8, HLC(-60)});
    tick(f, 10000); /* Until it may link again. */
    greet(f, &hello);
    assert_int_equal(f->events[f->events_count - 1].kind, CORE_LINK_READY);
}

static void expect_acked(const struct core *core, unsigned at, uint8_t origin, uint8_t of,
                         uint64_t seq)
{
    struct core_acked acked;

    core_acked(core, &acked);
    assert_in_range(at, 0, acked.count - 1);
    assert_int_equal(acked.origin[at], origin);
    expect_u64(posv_get(&acked.durable[at], of).seq, seq);
}

static void what_peers_acknowledged_is_kept_for_the_next_start(void **state)
{
    struct fixture *f = *state;
    struct core_options options = returned_options();
    struct core_acked acked;
    struct core *core;

    /* Of members only, once these are known. */
    core_acked(f->core, &acked);
    assert_int_equal(acked.count, 2);
    expect_acked(f->core, 0, PEER, THIRD, 7);
    expect_acked(f->core, 1, THIRD, SELF, 10);
    link_peer(f, FOURTH);
    const struct posv more = posv_with(SELF, (struct pos){9, HLC(-101)});
    send_ack(f, FOURTH, 0, &more);
    expect_acked(f->core, 2, FOURTH, SELF, 9);
    core_link_down(f->core, FOURTH);
    expect_acked(f->core, 2, FOURTH, SELF, 9);
    core_acked(f->core, &options.acked);
    core_create(&options, &host, f, &core);
    core_acked(core, &acked);
    assert_int_equal(acked.count, 3);
    expect_acked(core, 2, FOURTH, SELF, 9);
    core_destroy(core);
}

/* The log goes no further than that either, whether or not the peer is there. */
static void the_log_is_kept_by_what_was_acknowledged(void **state)
{
    struct fixture *f = *state;
    const struct posv all = posv_with(SELF, (struct pos){10, HLC(-100)});
    struct wire_hello hello = hello_of(PEER);
    struct core_horizons h;

    link_peer(f, FOURTH);
    send_ack(f, FOURTH, 0, &all);
    core_horizons(f->core, &h);
    expect_u64(h.trim_lsn, 0); /* PEER had not acknowledged it. */
    hello.applied = posv_with(THIRD, (struct pos){7, HLC(-70)});
    assert_int_equal(posv_raise(&hello.applied, SELF, (struct pos){10, HLC(-100)}), 0);
    posv_copy(&hello.durable, &hello.applied);
    greet(f, &hello);
    core_horizons(f->core, &h);
    expect_u64(h.trim_lsn, 10); /* THIRD had, and has not come back. */
    expect_u64(vv_get(&h.stable, SELF), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(a_start_writes_when_all_peers_have_said_what_they_have_of_it, setup_returned),
        CORE_TEST(a_start_waits_for_peers_that_are_away_but_not_for_ever, setup_returned),
        CORE_TEST(a_start_on_an_older_copy_uses_no_seq_twice, setup_returned),
        CORE_TEST(who_has_made_no_batch_waits_for_what_others_promise, setup_silent),
        CORE_TEST(a_promise_from_a_clock_that_is_ahead_is_not_followed, setup_silent),
        CORE_TEST(what_is_lost_of_ours_is_not_drained, setup_returned),
        CORE_TEST(nobody_ends_an_incarnation_before_he_has_greeted, setup_recovered),
        CORE_TEST(who_lacks_nothing_that_is_named_has_not_gone_back, setup_recovered),
        CORE_TEST(batches_of_others_count_as_well, setup_recovered),
        CORE_TEST(nobody_goes_back_while_it_runs, setup_recovered),
        CORE_TEST(what_a_peer_had_acknowledged_is_known_after_a_start, setup_with_acked),
        CORE_TEST(what_peers_acknowledged_is_kept_for_the_next_start, setup_with_acked),
        CORE_TEST(the_log_is_kept_by_what_was_acknowledged, setup_with_acked),
        CORE_TEST(a_peer_with_less_of_us_tells_that_it_is_something_else, setup_recovered),
        CORE_TEST(batches_of_our_own_that_follow_others_stop_writes_for_good, setup_recovered),
        CORE_TEST(batches_of_our_own_that_are_older_than_ours_stop_writes_for_good,
                  setup_recovered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
