/*
 * The core of replication with scripted peers: whose clock is wrong, and which time a member goes
 * by.
 */
#include "tests/unit/test_core_fixture.h"

static void beat(struct fixture *f, uint8_t from, int64_t offset_ms)
{
    const struct wire_heartbeat hb = {.hlc = 1,
                                      .wall_ms = (uint64_t)((int64_t)f->now.wall_ms + offset_ms),
                                      .sent_ms = 1,
                                      .echo_ms = f->now.mono_ms};

    assert_int_equal(wire_put_heartbeat(&f->out, &hb), 0);
    deliver(f, from);
}

static void writes_are_refused_when_two_peers_say_that_our_clock_is_off(void **state)
{
    struct fixture *f = *state;

    for (uint8_t origin = PEER; origin <= FOURTH; origin++)
        link_peer(f, origin);
    beat(f, PEER, 90);
    tick(f, 1);
    const unsigned before = f->events_count;
    beat(f, THIRD, 700);
    tick(f, 1);
    assert_int_equal(f->events[before].kind, CORE_SKEW_WARN);
    expect_i64((int64_t)f->events[before].detail, 700);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK); /* One alone may be wrong. */
    beat(f, FOURTH, -700);
    tick(f, 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK); /* They do not agree. */
    for (unsigned i = 0; i < 8; i++)
        beat(f, FOURTH, 650);
    tick(f, 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_SKEW);
    for (uint8_t origin = THIRD; origin <= FOURTH; origin++) {
        for (unsigned i = 0; i < 8; i++)
            beat(f, origin, 10);
    }
    tick(f, 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
}

#define HOUR_MS INT64_C(3600000)

/* The wall clock is stepped; `tick` goes by it alone. */
static void step(struct fixture *f, int64_t ms)
{
    f->now.wall_ms += (uint64_t)ms;
    f->now.mono_ms++;
    core_tick(f->core, &f->now);
}

static uint64_t clock_of(const struct fixture *f)
{
    return core_clock_ms(f->core, f->now.mono_ms, f->now.wall_ms);
}

static void link_all(struct fixture *f)
{
    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        link_peer(f, origin);
        beat(f, origin, 0);
    }
    tick(f, 1);
}

static bool told(const struct fixture *f, enum core_event_kind kind)
{
    for (unsigned i = 0; i < f->events_count; i++) {
        if (f->events[i].kind == kind)
            return true;
    }
    return false;
}

/* `by_ms`: an hour ahead or back. Right again before the first peer could say a word about it. */
static void step_and_back(struct fixture *f, int64_t by_ms)
{
    const uint64_t right_ms = f->now.wall_ms;

    step(f, by_ms);
    expect_u64(clock_of(f), right_ms + 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    assert_true(core_clock_promises(f->core));
    f->now.mono_ms += 9; /* Also between ticks. */
    expect_u64(clock_of(f), right_ms + 10);
    step(f, -by_ms + 10);
    expect_u64(clock_of(f), f->now.wall_ms);
}

static void a_clock_that_is_an_hour_off_for_a_moment_is_not_followed(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    step_and_back(f, HOUR_MS);
    step_and_back(f, -HOUR_MS);
    assert_true(told(f, CORE_CLOCK_DOUBTED) && told(f, CORE_CLOCK_FOLLOWED));
    assert_false(told(f, CORE_SKEW_FENCED));
}

static void a_step_is_followed_when_most_of_the_peers_have_made_it_too(void **state)
{
    struct fixture *f = *state;

    link_all(f);
    const uint64_t before_ms = f->now.wall_ms;
    step(f, HOUR_MS);
    for (unsigned i = 0; i < 100; i++) {
        for (uint8_t origin = PEER; origin <= FOURTH; origin++)
            beat(f, origin, -HOUR_MS);
        tick(f, 10);
    }
    expect_u64(clock_of(f), before_ms + 1 + 1000); /* However long they stay. */
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    beat(f, PEER, 0);
    tick(f, 1);
    expect_u64(clock_of(f), before_ms + 1 + 1001);
    beat(f, THIRD, 0);
    tick(f, 1);
    expect_u64(clock_of(f), f->now.wall_ms);
    /* A step of theirs is no reason to follow. */
    for (uint8_t origin = PEER; origin <= FOURTH; origin++)
        beat(f, origin, -HOUR_MS);
    tick(f, 1);
    expect_u64(clock_of(f), f->now.wall_ms);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_SKEW); /* But writes would be refused. */
    assert_false(core_clock_promises(f->core));
}

static void a_step_half_of_the_way_to_the_others_is_followed(void **state)
{
    struct fixture *f = *state;

    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        link_peer(f, origin);
        beat(f, origin, HOUR_MS);
    }
    tick(f, 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_SKEW); /* We are behind, */
    assert_true(core_clock_promises(f->core));                  /* which harms nobody. */
    step(f, HOUR_MS / 2);
    expect_u64(clock_of(f), f->now.wall_ms);
    step(f, HOUR_MS / 2);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    step(f, -HOUR_MS);
    expect_u64(clock_of(f), f->now.wall_ms + (uint64_t)HOUR_MS + 1); /* Away from them: not. */
}

static void one_of_two_goes_on_as_before(void **state)
{
    struct fixture *f = *state;
    const uint64_t before_ms = f->now.wall_ms;

    link_peer(f, PEER);
    beat(f, PEER, 0);
    tick(f, 1);
    step(f, HOUR_MS);
    for (unsigned i = 0; i < 800; i++) {
        beat(f, PEER, -HOUR_MS);
        tick(f, 1000);
        forget_sent(f);
    }
    expect_u64(clock_of(f), before_ms + 2 + 800000);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    beat(f, PEER, 0);
    tick(f, 1);
    expect_u64(clock_of(f), f->now.wall_ms);
}

static void a_member_alone_follows_a_step_that_lasts(void **state)
{
    struct fixture *f = *state;

    link_peer(f, PEER);
    beat(f, PEER, 0);
    tick(f, 1);
    step(f, HOUR_MS);
    beat(f, PEER, -HOUR_MS);
    tick(f, 4000); /* Patience begins when the link is gone. */
    core_link_down(f->core, PEER);
    tick(f, 599999);
    assert_true(clock_of(f) + (uint64_t)HOUR_MS - 1 <= f->now.wall_ms);
    tick(f, 1);
    expect_u64(clock_of(f), f->now.wall_ms);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
}

static void slewing_pauses_and_small_steps_are_followed(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 10000; i++) {
        step(f, i % 2 == 0 ? 2 : 1); /* Half a second in a second. */
        expect_u64(clock_of(f), f->now.wall_ms);
    }
    step(f, CORE_SKEW_FENCE_MS);
    expect_u64(clock_of(f), f->now.wall_ms);
    tick(f, 600000); /* SIGSTOP: both clocks went on. */
    expect_u64(clock_of(f), f->now.wall_ms);
    assert_false(told(f, CORE_CLOCK_DOUBTED));
}

/* A start whose lease is `lease_ms` ahead of the wall clock. */
static void start_at(struct fixture *f, int64_t lease_ms)
{
    const struct core_options options = {.origin = SELF, .incarnation = 11, .group_id = {7}};
    const struct members members = three_members(5);

    core_destroy(f->core);
    f->events_count = 0;
    core_create(&options, &host, f, &f->core);
    f->now.hlc =
        lease_ms == INT64_MIN ? 0 : (f->now.wall_ms + (uint64_t)lease_ms) << HLC_LOGICAL_BITS;
    core_tick(f->core, &f->now);
    core_set_members(f->core, &members);
}

static void a_start_near_its_lease_goes_by_its_clock(void **state)
{
    struct fixture *f = *state;

    for (int64_t lease_ms = -60000; lease_ms <= 60000; lease_ms += 30000) {
        start_at(f, lease_ms);
        expect_u64(clock_of(f), f->now.wall_ms);
        assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    }
    start_at(f, 61000); /* It was stepped back. */
    assert_int_equal(core_may_write(f->core), CORE_WRITE_CLOCK);
    start_at(f, -61000);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_CLOCK);
}

static void a_start_far_from_its_lease_waits_for_a_peer(void **state)
{
    struct fixture *f = *state;

    start_at(f, -HOUR_MS);
    tick(f, 4000);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_CLOCK);
    assert_false(core_clock_promises(f->core));
    link_peer(f, PEER);
    tick(f, 4000); /* It is there, but has said nothing of its clock. */
    assert_int_equal(core_may_write(f->core), CORE_WRITE_CLOCK);
    beat(f, PEER, 0);
    tick(f, 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    expect_u64(clock_of(f), f->now.wall_ms);

    start_at(f, INT64_MIN); /* No lease: a new member. The clock is wrong. */
    link_peer(f, PEER);
    beat(f, PEER, -HOUR_MS);
    tick(f, 1);
    expect_u64(clock_of(f), f->now.wall_ms - (uint64_t)HOUR_MS);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    assert_true(core_clock_promises(f->core));
    link_peer(f, THIRD); /* That one was the wrong one. */
    beat(f, THIRD, 0);
    tick(f, 1);
    expect_u64(clock_of(f), f->now.wall_ms);

    start_at(f, HOUR_MS + 1000); /* The clock was set back an hour. */
    link_peer(f, PEER);
    beat(f, PEER, HOUR_MS);
    tick(f, 1);
    expect_u64(clock_of(f), f->now.wall_ms + (uint64_t)HOUR_MS);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);

    start_at(f, -HOUR_MS); /* Two of three say no: by the later one of these. */
    for (uint8_t origin = PEER; origin <= FOURTH; origin++)
        link_peer(f, origin);
    beat(f, PEER, -HOUR_MS);
    beat(f, THIRD, 0);
    beat(f, FOURTH, -HOUR_MS + 100);
    tick(f, 1);
    expect_u64(clock_of(f), f->now.wall_ms - (uint64_t)HOUR_MS + 100);
}

static void a_start_without_peers_does_not_wait_for_long(void **state)
{
    struct fixture *f = *state;
    const struct members alone = {
        .epoch = 5,
        .count = 1,
        .at = {{.origin = SELF, .state = MEMBER_ACTIVE, .incarnation = 11}}};

    start_at(f, -HOUR_MS);
    tick(f, CORE_TIMEOUT_MS_DEFAULT - 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_CLOCK);
    tick(f, 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    expect_u64(clock_of(f), f->now.wall_ms);
    start_at(f, HOUR_MS);
    tick(f, CORE_TIMEOUT_MS_DEFAULT);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    expect_u64(clock_of(f), f->now.wall_ms + (uint64_t)HOUR_MS);
    start_at(f, -HOUR_MS);
    core_set_members(f->core, &alone);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
}

/* A link over which nothing goes for long leaves samples behind that are not true any more. */
static void a_step_of_a_peer_is_seen_at_once(void **state)
{
    struct fixture *f = *state;
    struct core_peer_info info;

    link_peer(f, PEER);
    for (unsigned i = 0; i < 8; i++)
        beat(f, PEER, 20);
    beat(f, PEER, HOUR_MS);
    assert_true(core_peer_info(f->core, PEER, &info));
    expect_i64(info.offset_ms, HOUR_MS);
    const struct wire_heartbeat odd = {
        .hlc = 1, .wall_ms = UINT64_MAX, .sent_ms = 1, .echo_ms = f->now.mono_ms};
    assert_int_equal(wire_put_heartbeat(&f->out, &odd), 0);
    deliver(f, PEER);
    assert_true(core_peer_info(f->core, PEER, &info));
    expect_i64(info.offset_ms, HOUR_MS); /* That is no time. */
}

/* Ticks are some milliseconds apart at both ends, and stay so for as long as nothing disturbs. */
static void a_heartbeat_that_seems_held_for_too_long_counts(void **state)
{
    struct fixture *f = *state;
    struct wire_heartbeat hb = {.hlc = 1, .sent_ms = 1, .echo_ms = f->now.mono_ms, .held_ms = 4};
    struct core_peer_info info;

    link_peer(f, PEER);
    hb.wall_ms = f->now.wall_ms + 700;
    assert_int_equal(wire_put_heartbeat(&f->out, &hb), 0);
    deliver(f, PEER);
    assert_true(core_peer_info(f->core, PEER, &info));
    expect_i64(info.offset_ms, 700);
    hb.held_ms = 60000; /* That is none of ours. */
    hb.wall_ms = f->now.wall_ms + 900;
    assert_int_equal(wire_put_heartbeat(&f->out, &hb), 0);
    deliver(f, PEER);
    assert_true(core_peer_info(f->core, PEER, &info));
    expect_i64(info.offset_ms, 700);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(a_clock_that_is_an_hour_off_for_a_moment_is_not_followed, setup),
        CORE_TEST(a_step_is_followed_when_most_of_the_peers_have_made_it_too, setup),
        CORE_TEST(a_step_half_of_the_way_to_the_others_is_followed, setup),
        CORE_TEST(one_of_two_goes_on_as_before, setup),
        CORE_TEST(a_member_alone_follows_a_step_that_lasts, setup),
        CORE_TEST(slewing_pauses_and_small_steps_are_followed, setup),
        CORE_TEST(a_start_near_its_lease_goes_by_its_clock, setup),
        CORE_TEST(a_start_far_from_its_lease_waits_for_a_peer, setup),
        CORE_TEST(a_start_without_peers_does_not_wait_for_long, setup),
        CORE_TEST(a_step_of_a_peer_is_seen_at_once, setup),
        CORE_TEST(a_heartbeat_that_seems_held_for_too_long_counts, setup),
        CORE_TEST(writes_are_refused_when_two_peers_say_that_our_clock_is_off, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
