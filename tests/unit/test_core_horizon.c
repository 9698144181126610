/*
 * The core of replication with scripted peers: what everybody has, how long the log is kept.
 */
#include "tests/unit/test_core_fixture.h"

/* So much of SELF, and of PEER. */
static struct posv all_up_to(uint64_t own_seq, uint64_t own_hlc, uint64_t seq, uint64_t hlc)
{
    struct posv all = posv_with(SELF, (struct pos){own_seq, own_hlc});

    assert_int_equal(posv_raise(&all, PEER, (struct pos){seq, hlc}), 0);
    return all;
}

/* The store covers so much of PEER, and what was recovered of SELF. */
static void cover_peer(struct fixture *f, uint64_t lsn, uint64_t seq, uint64_t hlc)
{
    const struct posv covered = all_up_to(10, HLC(-100), seq, hlc);

    core_covered(f->core, lsn, &covered);
}

static void an_acknowledgement_counts_when_what_came_before_it_is_here(void **state)
{
    struct fixture *f = *state;
    const struct posv all = all_up_to(10, HLC(-100), 6, HLC(1));
    struct core_horizons h;

    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        link_peer(f, origin);
        send_ack(f, origin, origin == PEER ? 6 : 0, &all);
    }
    core_horizons(f->core, &h);
    expect_u64(vv_get(&h.stable, SELF), 0);
    send_batch(f, 6, HLC(1), tag_of(0, 0));
    core_horizons(f->core, &h);
    expect_u64(vv_get(&h.stable, SELF), 0); /* Applied, but not durable. */
    core_durable(f->core, 16);
    core_horizons(f->core, &h);
    expect_u64(vv_get(&h.stable, SELF), 0); /* A crash would replay it upon what is collected. */
    cover_peer(f, 16, 6, HLC(1));
    core_horizons(f->core, &h);
    expect_u64(vv_get(&h.stable, SELF), HLC(-100));
    expect_u64(vv_get(&h.stable, PEER), HLC(1));
}

/*
 * SELF writes a value, PEER a DEL that has not seen it, of a greater value beside it. As long as
 * THIRD lacks the DEL it may count upon the greater value: nothing of what it lies above may go.
 */
static void what_all_have_counts_when_they_have_what_was_made_without_it(void **state)
{
    struct fixture *f = *state;
    const struct posv before = all_up_to(10, HLC(-100), 5, HLC(-50));
    struct core_horizons h;

    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        link_peer(f, origin);
        send_ack(f, origin, origin == PEER ? 5 : 0, &before);
    }
    core_horizons(f->core, &h);
    expect_u64(vv_get(&h.stable, SELF), HLC(-100)); /* At once: there is nothing else. */
    log_local(f, 11);
    send_batch(f, 6, HLC(1), tag_of(0, 0));
    core_durable(f->core, f->lsn);
    const struct posv all = all_up_to(11, HLC(0) + 11, 6, HLC(1));
    const struct posv no_del = all_up_to(11, HLC(0) + 11, 5, HLC(-50));
    core_covered(f->core, f->lsn, &all);
    for (uint8_t origin = PEER; origin <= FOURTH; origin++)
        send_ack(f, origin, origin == PEER ? 6 : 0, origin == THIRD ? &no_del : &all);
    for (unsigned i = 0; i < 2; i++) {
        core_horizons(f->core, &h);
        expect_u64(vv_get(&h.stable, SELF), HLC(-100));
    }
    send_ack(f, THIRD, 0, &all);
    core_horizons(f->core, &h);
    expect_u64(vv_get(&h.stable, SELF), HLC(0) + 11);
    expect_u64(vv_get(&h.stable, PEER), HLC(1));
}

/* The store is behind PEER, and both go on: what becomes stable is not long behind the store. */
static void acknowledgements_that_wait_lie_apart(void **state)
{
    struct fixture *f = *state;
    struct core_horizons h;

    for (uint8_t origin = PEER; origin <= FOURTH; origin++)
        link_peer(f, origin);
    for (uint64_t i = 1; i <= 160; i++) {
        const struct posv all = all_up_to(10 + i, HLC(0) + 10 + i, 5 + i, HLC(i));

        log_local(f, 10 + i);
        send_batch(f, 5 + i, HLC(i), tag_of(0, 0));
        for (uint8_t origin = PEER; origin <= FOURTH; origin++)
            send_ack(f, origin, origin == PEER ? 5 + i : 0, &all);
        forget_sent(f);
    }
    core_durable(f->core, f->lsn);
    for (uint64_t i = 1; i <= 160; i++) {
        const struct posv covered = all_up_to(170, HLC(0) + 170, 5 + i, HLC(i));

        core_covered(f->core, 15 + 2 * i, &covered);
        core_horizons(f->core, &h);
        const uint64_t acked = vv_get(&h.stable, SELF) - HLC(0) - 10;
        assert_in_range(acked, i < 40 ? 1 : i - 39, i);
    }
    expect_u64(vv_get(&h.stable, SELF), HLC(0) + 170);
}

/* PEER is gone: it has no say, but what it made may still be replayed. */
static void an_end_counts_when_the_store_has_all_before_it(void **state)
{
    struct fixture *f = *state;
    struct members members = three_members(6);
    const struct posv all = all_up_to(10, HLC(-100), 6, HLC(1));
    struct core_horizons h;

    members.at[1].state = MEMBER_SEALED;
    members.at[1].sealed_seq = 6;
    link_peer(f, PEER);
    send_batch(f, 6, HLC(1), tag_of(0, 0));
    core_durable(f->core, 16);
    for (uint8_t origin = THIRD; origin <= FOURTH; origin++) {
        link_peer(f, origin);
        send_ack(f, origin, 0, &all);
    }
    core_set_members(f->core, &members);
    core_horizons(f->core, &h);
    expect_u64(vv_get(&h.stable, SELF), 0);
    cover_peer(f, 16, 6, HLC(1));
    core_horizons(f->core, &h);
    expect_u64(vv_get(&h.stable, SELF), HLC(-100));
}

static void lst_is_what_all_have_promised(void **state)
{
    struct fixture *f = *state;
    struct core_horizons h;

    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        const struct wire_heartbeat hb = {.hlc = HLC(40u + origin),
                                          .seq = origin == THIRD ? 1 : 0,
                                          .wall_ms = WALL_MS,
                                          .sent_ms = 1};

        link_peer(f, origin);
        assert_int_equal(wire_put_heartbeat(&f->out, &hb), 0);
        deliver(f, origin);
    }
    tick(f, 1000);
    core_horizons(f->core, &h);
    expect_u64(h.lst, 0); /* THIRD has made a batch that is not here. */
    struct wire_heartbeat again = {.hlc = HLC(60), .wall_ms = WALL_MS, .sent_ms = 2};
    assert_int_equal(wire_put_heartbeat(&f->out, &again), 0);
    deliver(f, FOURTH);
    core_link_down(f->core, THIRD);
    link_peer(f, THIRD);
    again.hlc = HLC(50);
    assert_int_equal(wire_put_heartbeat(&f->out, &again), 0);
    deliver(f, THIRD);
    core_horizons(f->core, &h);
    expect_u64(h.lst, HLC(42));
}

/* A restart: until it is told who the others are, it cannot know what they lack. */
static void nothing_is_dropped_before_the_members_are_known(void **state)
{
    struct fixture *f = *state;
    struct core_options options = {
        .origin = SELF, .incarnation = 11, .group_id = {7}, .recovered_lsn = 10, .covered_lsn = 10};
    struct core_horizons h;
    struct core *core;

    options.recovered = options.covered = posv_with(SELF, (struct pos){10, HLC(-100)});
    core_create(&options, &host, f, &core);
    core_tick(core, &f->now);
    core_horizons(core, &h);
    expect_u64(h.trim_lsn, 0);
    expect_u64(h.lst, 0);
    expect_u64(vv_get(&h.stable, SELF), 0);
    core_destroy(core);
}

/* --- retention --- */

static int setup_retention(void **state)
{
    const struct core_options options = {.origin = SELF,
                                         .incarnation = 11,
                                         .group_id = {7},
                                         .history_bytes = 100,
                                         .retention_bytes = 2000};

    return setup_with(state, &options);
}

static void the_log_is_kept_for_a_peer_up_to_the_bound(void **state)
{
    struct fixture *f = *state;
    struct core_peer_info info;
    struct core_horizons h;
    uint64_t seq = 0;

    for (unsigned i = 0; i < 10; i++)
        log_local(f, ++seq);
    core_durable(f->core, seq);
    const struct posv covered = posv_with(SELF, (struct pos){seq, HLC(0) + seq});
    core_covered(f->core, seq, &covered);
    for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
        link_peer(f, origin);
        if (origin != FOURTH)
            send_ack(f, origin, 0, &covered);
    }
    core_horizons(f->core, &h);
    expect_u64(h.trim_lsn, 0);
    tick(f, 1000);
    assert_true(core_peer_info(f->core, FOURTH, &info));
    assert_in_range(info.retained_bytes, 200, 600);
    assert_in_range(info.retained_left_ms, 1, 10000);
    assert_false(info.behind);
    for (unsigned i = 0; i < 80; i++)
        log_local(f, ++seq);
    tick(f, 1000);
    assert_true(core_peer_info(f->core, FOURTH, &info));
    assert_true(info.behind);
    expect_u64(info.retained_left_ms, 0);
    core_horizons(f->core, &h);
    assert_in_range(h.trim_lsn, 1, 10);
}

static void the_bound_can_be_changed(void **state)
{
    struct fixture *f = *state;
    struct core_peer_info info;
    uint64_t seq = 0;

    for (unsigned i = 0; i < 10; i++)
        log_local(f, ++seq);
    core_durable(f->core, seq);
    const struct posv covered = posv_with(SELF, (struct pos){seq, HLC(0) + seq});
    core_covered(f->core, seq, &covered);
    link_peer(f, FOURTH);
    tick(f, 1000);
    assert_true(core_peer_info(f->core, FOURTH, &info));
    assert_false(info.behind);
    core_set_retention(f->core, 100, 0);
    tick(f, 1000);

    assert_true(core_peer_info(f->core, FOURTH, &info));
    assert_true(info.behind);
}

static void send_room(struct fixture *f, bool full)
{
    const struct wire_heartbeat hb = {
        .hlc = 1, .wall_ms = f->now.wall_ms, .sent_ms = f->now.mono_ms, .full = full};

    assert_int_equal(wire_put_heartbeat(&f->out, &hb), 0);
    deliver(f, PEER);
}

static bool says_full(struct fixture *f)
{
    struct wire_heartbeat hb;

    forget_sent(f);
    tick(f, CORE_HEARTBEAT_MS_DEFAULT);
    assert_int_equal(wire_get_heartbeat(last_body(f, PEER, WIRE_HEARTBEAT), &hb), 0);
    return hb.full;
}

static void peers_hear_of_a_member_without_room(void **state)
{
    struct fixture *f = *state;

    link_peer(f, PEER);
    assert_false(says_full(f));
    core_set_room(f->core, CORE_ROOM_NO_COPY);
    assert_false(says_full(f));
    core_set_room(f->core, CORE_ROOM_NONE);
    assert_true(says_full(f));
    core_set_room(f->core, CORE_ROOM_OK);
    assert_false(says_full(f));
}

static void what_a_peer_says_of_its_room_is_told_once(void **state)
{
    static const uint8_t kinds[] = {CORE_PEER_FULL, CORE_PEER_ROOM, CORE_PEER_FULL};
    struct fixture *f = *state;
    struct core_peer_info info;

    link_peer(f, PEER);
    const unsigned before = f->events_count;
    for (unsigned i = 0; i < 6; i++) {
        send_room(f, i / 2 % 2 == 0);
        assert_true(core_peer_info(f->core, PEER, &info));
        assert_int_equal(info.full, i / 2 % 2 == 0);
    }
    expect_u64(f->events_count - before, 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(f->events[before + i].kind, kinds[i]);
        assert_int_equal(f->events[before + i].peer, PEER);
    }
    core_link_down(f->core, PEER);
    assert_true(core_peer_info(f->core, PEER, &info));
    assert_false(info.full);
}

/* What is here can be read as long as none has begun. */
static void no_resync_begins_without_room(void **state)
{
    struct fixture *f = *state;
    struct wire_hello hello = hello_of(PEER);
    struct wire_nack nack = {.origin = PEER, .reason = WIRE_TRIMMED, .trimmed_seq = 8};

    core_set_room(f->core, CORE_ROOM_NO_COPY);
    assert_int_equal(posv_raise(&hello.durable, PEER, (struct pos){9, HLC(-9)}), 0);
    assert_int_equal(posv_raise(&hello.trimmed, PEER, (struct pos){8, HLC(-10)}), 0);
    hello.applied = hello.durable;
    greet(f, &hello);
    nack.generation = f->generation;
    assert_int_equal(wire_put_nack(&f->out, &nack), 0);
    deliver(f, PEER);
    for (unsigned i = 0; i < 8; i++) {
        forget_sent(f);
        tick(f, CORE_RELAY_MS_DEFAULT);
        assert_false(core_syncing(f->core));
        expect_u64(count_sent(f, PEER, WIRE_SYNC_ASK), 0);
    }
    assert_int_equal(core_resync_waits(f->core), CORE_WAIT_RESYNC);
    for (unsigned i = 0; i < 2; i++) {
        core_set_room(f->core, CORE_ROOM_OK);
        tick(f, 1);
        assert_true(core_resyncing(f->core));
        assert_int_equal(core_resync_waits(f->core), CORE_WAIT_NOT);
        expect_u64(count_sent(f, PEER, WIRE_SYNC_ASK), i + 1);
        /* Put off, as no rows have come, when that lasts. */
        core_set_room(f->core, CORE_ROOM_NONE);
        for (unsigned ms = 0; ms < 1000u << i; ms += 500) {
            assert_true(core_syncing(f->core));
            tick(f, 500);
        }
        assert_false(core_syncing(f->core));
        assert_int_equal(core_resync_waits(f->core), CORE_WAIT_RESYNC);
    }
}

static int setup_small_tail(void **state)
{
    const struct core_options options = {
        .origin = SELF, .incarnation = 11, .group_id = {7}, .tail_bytes_max = 150};

    return setup_with(state, &options);
}

/* Makes the next own batch now. */
static void write_now(struct fixture *f, uint64_t seq)
{
    const struct pos pos = {seq, f->now.hlc + seq};

    make_batch(f, SELF, pos, tag_of(0, 0));
    const struct core_record record = {.seq = seq, .hlc = pos.hlc, .bytes = buf_bytes(&f->batch)};
    core_logged(f->core, ++f->lsn, &record);
    core_durable(f->core, f->lsn);
}

static uint64_t lag_ms_of(const struct fixture *f)
{
    struct core_peer_info info;

    assert_true(core_peer_info(f->core, PEER, &info));
    return info.lag_ms;
}

static void lag_is_the_age_of_what_is_not_acknowledged(void **state)
{
    struct fixture *f = *state;

    write_now(f, 1);
    link_peer(f, PEER);
    const struct posv first = posv_with(SELF, (struct pos){1, f->now.hlc + 1});
    send_ack(f, PEER, 0, &first);
    expect_u64(lag_ms_of(f), 0);
    for (unsigned i = 0; i < 3600; i++) {
        const struct wire_heartbeat hb = {.hlc = 1, .wall_ms = f->now.wall_ms, .sent_ms = 1};

        assert_int_equal(wire_put_heartbeat(&f->out, &hb), 0);
        deliver(f, PEER);
        tick(f, 1000);
        forget_sent(f);
    }
    write_now(f, 2); /* After an idle hour. */
    expect_u64(lag_ms_of(f), 0);
    tick(f, 70);
    expect_u64(lag_ms_of(f), 70);
    write_now(f, 3);
    expect_u64(lag_ms_of(f), 70);
}

static void lag_of_what_is_not_in_memory_is_that_of_the_log(void **state)
{
    struct fixture *f = *state;

    link_peer(f, PEER);
    for (uint64_t seq = 1; seq <= 10; seq++)
        write_now(f, seq); /* The first ones leave the tail. */
    tick(f, 300);
    expect_u64(lag_ms_of(f), 300);
    core_link_down(f->core, PEER);
    tick(f, 10000);
    expect_u64(lag_ms_of(f), 10300);
}

/* --- clocks --- */

/* A heartbeat whose sender's clock is `offset_ms` ahead. */
int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(an_acknowledgement_counts_when_what_came_before_it_is_here, setup_recovered),
        CORE_TEST(acknowledgements_that_wait_lie_apart, setup_recovered),
        CORE_TEST(what_all_have_counts_when_they_have_what_was_made_without_it, setup_recovered),
        CORE_TEST(an_end_counts_when_the_store_has_all_before_it, setup_recovered),
        CORE_TEST(lst_is_what_all_have_promised, setup),
        CORE_TEST(nothing_is_dropped_before_the_members_are_known, setup),
        CORE_TEST(the_log_is_kept_for_a_peer_up_to_the_bound, setup_retention),
        CORE_TEST(the_bound_can_be_changed, setup_retention),
        CORE_TEST(peers_hear_of_a_member_without_room, setup),
        CORE_TEST(what_a_peer_says_of_its_room_is_told_once, setup),
        CORE_TEST(no_resync_begins_without_room, setup_behind),
        CORE_TEST(lag_is_the_age_of_what_is_not_acknowledged, setup),
        CORE_TEST(lag_of_what_is_not_in_memory_is_that_of_the_log, setup_small_tail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
