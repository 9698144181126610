/*
 * Copies whose giver is gone for good: what those do who have put rows aside, and when a history
 * ends of which rows here hold more than their vector says.
 */
#include "tests/unit/test_core_sync_fixture.h"

/* The giver may come back; one who has nothing for us would only bring it to an end. */
static void who_has_nothing_to_give_is_asked_late(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    link_peer(f, FOURTH);
    (void)ask_for_two_buckets(f, &head, &ask);
    core_link_down(f->core, PEER);
    core_link_down(f->core, THIRD);
    forget_sent(f);
    tick(f, 1);
    expect_u64(count_sent(f, FOURTH, WIRE_SYNC_ASK), 0);
    assert_int_equal(wait_for_ask(f, &ask), FOURTH);
    assert_true(ask.entered);
}

static void who_is_left_alone_goes_on_with_what_it_had(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    struct members members = three_members(6);
    struct wire_sync_ask ask;

    fall_behind(f);
    (void)ask_for_two_buckets(f, &head, &ask);
    for (unsigned i = 1; i < members.count; i++)
        members.at[i].state = MEMBER_SEALED;
    members.at[1].sealed_seq = 5;
    core_set_members(f->core, &members);
    tick(f, 1);
    expect_u64(f->begin_count, 2); /* What came is thrown away, */
    expect_u64(f->finish_count, 1);
    expect_u64(f->finish_at.count, 0); /* and nothing joined. */
    assert_true(f->finish_joins);
    core_sync_finished(f->core);
    assert_false(core_syncing(f->core));
    expect_u64(vv_get(core_applied_vv(f->core), PEER), HLC(-50));
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
    log_local(f, 11);
}

static void ask_as_one_who_resyncs(struct fixture *f, uint8_t from, uint32_t id, bool entered)
{
    const struct wire_sync_ask ask = {
        .id = id, .entered = entered, .range = {.bits = WIRE_SYNC_ALL}};

    assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
    assert_int_equal(wire_put_body(&f->out, WIRE_SYNC_ASK, buf_bytes(&f->batch), f->pack), 0);
    deliver(f, from);
}

/* Two who both have put rows aside, and whose giver is gone, would wait for each other. */
static void who_has_put_rows_aside_gives_what_it_had_to_another_such(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    const struct posv at = posv_with(SELF, (struct pos){10, HLC(-100)});
    struct wire_sync_rows given;
    struct wire_sync_ask ask;

    fall_behind(f);
    (void)ask_for_two_buckets(f, &head, &ask);
    ask_as_one_who_resyncs(f, THIRD, 3, false);
    expect_u64(f->open_count, 0);
    ask_as_one_who_resyncs(f, THIRD, 3, true);
    expect_u64(f->open_count, 1);
    core_sync_opened(f->core, THIRD, 3, 0, &at, 0);
    expect_u64(f->read_count, 1);
    core_sync_rows(f->core, THIRD, 3, 0, &(struct core_piece){.last = true});
    assert_int_equal(wire_get_sync_rows(last_body(f, THIRD, WIRE_SYNC_ROWS), &given), 0);
    expect_u64(posv_get(&given.at, SELF).seq, 10);
    assert_true(core_resyncing(f->core)); /* Its own goes on all the while. */
    assert_int_equal(core_may_write(f->core), CORE_WRITE_RESYNC);
}

/* It has all rows of PEER, and THIRD and FOURTH read what it keeps. */
static void come_to_the_end(struct fixture *f)
{
    const struct posv at = posv_with(SELF, (struct pos){10, HLC(-100)});
    const struct wire_sync_range range = {.first = 10, .end = KEY_SLOTS, .bits = WIRE_SYNC_ALL};
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    link_peer(f, FOURTH);
    const uint8_t donor = ask_for_two_buckets(f, &head, &ask);
    for (uint8_t origin = THIRD; origin <= FOURTH; origin++) {
        ask_as_one_who_resyncs(f, origin, 3, true);
        core_sync_opened(f->core, origin, 3, 0, &at, 0);
    }
    head.differ = BYTES_LIT("\x03");
    answer(f, donor, &head, "bb");
    core_sync_stored(f->core, 0);
    core_sync_summed(f->core, &range);
    head.end = KEY_SLOTS;
    head.differ = bytes_of(NULL, 0);
    answer(f, donor, &head, NULL);
    core_sync_stored(f->core, 0);
    expect_u64(f->finish_count, 1);
    expect_u64(f->open_count, 2);
}

/* Of two who give each other rows, the one that is done must not take the other's away. */
static void who_comes_to_the_end_waits_for_those_who_read_what_goes(void **state)
{
    struct fixture *f = *state;
    const struct core_piece more = {.last = true, .end = 0};
    const struct core_piece last = {.last = true, .end = KEY_SLOTS};

    come_to_the_end(f);
    assert_false(core_sync_let_go(f->core));
    expect_u64(f->close_count, 0);
    core_sync_rows(f->core, THIRD, 3, 0, &more);
    const unsigned reads = f->read_count;
    ask_as_one_who_resyncs(f, THIRD, 3, true); /* On with it; */
    expect_u64(f->read_count, reads + 1);
    core_sync_rows(f->core, THIRD, 3, 0, &last);
    core_sync_rows(f->core, FOURTH, 3, 0, &more);
    assert_false(core_sync_let_go(f->core));
    expect_u64(f->close_count, 1); /* to its end. */
    ask_as_one_who_resyncs(f, THIRD, 4, true);
    expect_u64(f->open_count, 2); /* No more is begun, */
    wait_in_silence(f, 5 * CORE_TIMEOUT_MS_DEFAULT);
    assert_true(core_sync_let_go(f->core)); /* and who does not ask on is not waited for. */
    core_sync_finished(f->core);
    assert_false(core_syncing(f->core));
    ask_as_one_who_resyncs(f, THIRD, 4, true);
    expect_u64(f->open_count, 3);
}

static void who_comes_to_the_end_does_not_wait_for_ever(void **state)
{
    struct fixture *f = *state;
    unsigned seconds = 0;

    come_to_the_end(f);
    for (; !core_sync_let_go(f->core); seconds++) {
        wait_in_silence(f, 1000);
        for (uint8_t origin = THIRD; origin <= FOURTH; origin++) {
            core_sync_rows(f->core, origin, 3, 0, &(struct core_piece){.last = true});
            ask_as_one_who_resyncs(f, origin, 3, true);
        }
        assert_in_range(seconds, 0, 100);
    }
    expect_u64(f->close_count, 2);
    assert_in_range(seconds, 30, 100);
}

/* Its rows are a copy of PEER's, and may hold one batch more than was in the vector. */
static int setup_copied(void **state)
{
    struct core_options options = {.origin = SELF,
                                   .incarnation = 11,
                                   .group_id = {7},
                                   .recovered_lsn = 15,
                                   .covered_lsn = 15,
                                   .resync = true};

    assert_int_equal(posv_raise(&options.recovered, PEER, (struct pos){5, HLC(-50)}), 0);
    assert_int_equal(posv_raise(&options.newest, PEER, (struct pos){6, HLC(-40)}), 0);
    posv_copy(&options.covered, &options.recovered);
    return setup_with(state, &options);
}

static void a_history_ends_not_before_what_rows_of_a_copy_hold(void **state)
{
    struct fixture *f = *state;
    struct pos pos;

    link_peer(f, PEER);
    core_freeze(f->core, PEER);
    tick(f, 10);
    assert_false(core_frozen(f->core, PEER, &pos));
    send_batch(f, 6, HLC(-40), tag_of(0, 0));
    expect_u64(f->applied_seq, 6);
    core_durable(f->core, f->lsn);
    tick(f, 10);
    assert_true(core_frozen(f->core, PEER, &pos));
    expect_u64(pos.seq, 6);
    send_batch(f, 7, HLC(-30), tag_of(0, 0));
    expect_u64(f->applied_seq, 6);
}

static void who_remains_alone_waits_for_nothing_that_rows_hold(void **state)
{
    struct fixture *f = *state;
    struct members members = three_members(5);
    struct pos pos;

    members.count = 2;
    core_set_members(f->core, &members);
    core_freeze(f->core, PEER);
    assert_true(core_frozen(f->core, PEER, &pos));
    expect_u64(pos.seq, 5);
}

/* PEER, whose copy is here, is to be unlinked and is not there. THIRD has so much of it. */
static void be_stranded(struct fixture *f, struct pos pos)
{
    struct wire_hello hello = hello_of(THIRD);

    hello.applied = hello.durable = posv_with(PEER, pos);
    greet(f, &hello);
    core_freeze(f->core, PEER);
    tick(f, 1);
    wait_in_silence(f, CORE_TIMEOUT_MS_DEFAULT);
}

static void rows_that_hold_too_much_of_a_history_are_exchanged(void **state)
{
    struct fixture *f = *state;
    const struct pos has = {5, HLC(-50)}, older = {4, HLC(-60)}, lost = {6, HLC(-40)};
    struct wire_sync_rows head = {.last = true, .newest = posv_with(PEER, has)};
    struct wire_sync_ask ask;
    struct pos pos;

    be_stranded(f, has);
    assert_true(core_resyncing(f->core));
    assert_int_equal(asked(f, &ask), THIRD);
    head.id = ask.id;
    head.at = posv_with(PEER, older); /* Of a checkpoint that lacks what we have, */
    answer(f, THIRD, &head, NULL);
    head.at = posv_with(PEER, has);
    head.newest = posv_with(PEER, lost); /* or of one who waits, too. */
    answer(f, THIRD, &head, NULL);
    expect_u64(f->begin_count, 0);
    head.newest = posv_with(PEER, has);
    answer(f, THIRD, &head, NULL);
    expect_u64(f->begin_count, 1);
    core_sync_stored(f->core, 0);
    const struct wire_sync_range range = {.end = KEY_SLOTS, .bits = WIRE_SYNC_ALL};
    core_sync_summed(f->core, &range);
    head.end = KEY_SLOTS;
    answer(f, THIRD, &head, "bb");
    core_sync_stored(f->core, 0);
    expect_u64(f->finish_count, 1);
    assert_false(f->finish_joins);
    expect_u64(posv_get(&f->finish_newest, PEER).seq, 5);
    assert_false(core_frozen(f->core, PEER, &pos));
    core_sync_finished(f->core);
    tick(f, 1);
    assert_true(core_frozen(f->core, PEER, &pos));
    expect_u64(pos.seq, 5);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
}

/* It says what it waits for, and begins by itself. */
static void rows_are_not_exchanged_without_room(void **state)
{
    struct fixture *f = *state;

    core_set_room(f->core, CORE_ROOM_NO_COPY);
    be_stranded(f, (struct pos){5, HLC(-50)});
    assert_false(core_resyncing(f->core));
    expect_u64(count_sent(f, THIRD, WIRE_SYNC_ASK), 0);
    assert_int_equal(core_resync_waits(f->core), CORE_WAIT_EXCHANGE);
    core_set_room(f->core, CORE_ROOM_OK);
    tick(f, 1);
    assert_true(core_resyncing(f->core));
    assert_int_equal(core_resync_waits(f->core), CORE_WAIT_NOT);
    core_set_room(f->core, CORE_ROOM_NONE);
    tick(f, 1000);
    assert_int_equal(core_resync_waits(f->core), CORE_WAIT_EXCHANGE);
}

static void rows_are_not_exchanged_for_those_of_one_who_has_less(void **state)
{
    struct fixture *f = *state;

    be_stranded(f, (struct pos){4, HLC(-60)});
    wait_in_silence(f, CORE_TIMEOUT_MS_DEFAULT);
    assert_false(core_resyncing(f->core));
    expect_u64(count_sent(f, THIRD, WIRE_SYNC_ASK), 0);
}

static void rows_are_not_exchanged_when_the_rest_comes_after_all(void **state)
{
    struct fixture *f = *state;
    struct wire_hello hello = hello_of(PEER);
    struct pos pos;

    be_stranded(f, (struct pos){5, HLC(-50)});
    assert_true(core_resyncing(f->core));
    hello.applied = hello.durable = posv_with(PEER, (struct pos){6, HLC(-40)});
    greet(f, &hello);
    tick(f, 1);
    assert_false(core_resyncing(f->core));
    send_batch(f, 6, HLC(-40), tag_of(0, 0));
    core_durable(f->core, f->lsn);
    tick(f, 1);
    assert_true(core_frozen(f->core, PEER, &pos));
    expect_u64(pos.seq, 6);
}

/* PEER's log has it no more, and here is no room for its rows yet. */
static void lack_what_no_log_has(struct fixture *f)
{
    struct wire_nack nack = {.origin = PEER, .reason = WIRE_TRIMMED, .trimmed_seq = 8};

    core_set_room(f->core, CORE_ROOM_NONE);
    greet_ahead(f, PEER);
    nack.generation = f->generation;
    assert_int_equal(wire_put_nack(&f->out, &nack), 0);
    deliver(f, PEER);
}

/* PEER is there, and has the rest, but only in its rows; THIRD waits for that as we do. */
static void who_asks_for_an_exchange_in_vain_asks_who_has_the_rest(void **state)
{
    struct fixture *f = *state;
    const struct pos has = {5, HLC(-50)}, all = {9, HLC(-9)};
    struct wire_sync_rows head = {.last = true, .at = posv_with(PEER, has)};
    struct wire_sync_ask ask;

    lack_what_no_log_has(f);
    be_stranded(f, has);
    assert_false(core_resyncing(f->core));
    core_set_room(f->core, CORE_ROOM_OK);
    tick(f, 1);
    assert_int_equal(asked(f, &ask), THIRD);
    head.id = ask.id;
    head.newest = posv_with(PEER, all);
    answer(f, THIRD, &head, NULL);
    tick(f, 1);
    assert_int_equal(asked(f, &ask), PEER);
    head.id = ask.id;
    head.at = posv_with(PEER, all);
    answer(f, PEER, &head, NULL);
    expect_u64(f->begin_count, 1);
}

/* THIRD says nothing at all. */
static void who_waits_for_an_exchange_in_vain_asks_who_has_the_rest(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask;

    lack_what_no_log_has(f);
    be_stranded(f, (struct pos){5, HLC(-50)});
    core_set_room(f->core, CORE_ROOM_OK);
    tick(f, 1);
    assert_int_equal(asked(f, &ask), THIRD);
    assert_int_equal(wait_for_ask(f, &ask), PEER);
}

/* A joiner has a piece of THIRD's rows, which may hold nine of PEER; THIRD has eight by its log. */
static void copy_from_third(struct fixture *f, struct wire_sync_rows *head)
{
    struct members members = three_members(5);
    struct wire_hello hello = hello_of(THIRD);
    struct wire_sync_ask ask;

    members.at[0].state = MEMBER_JOINING;
    core_set_members(f->core, &members);
    core_sync_start(f->core);
    hello.applied = hello.durable = posv_with(PEER, (struct pos){8, HLC(-90) + 8});
    greet(f, &hello);
    tick(f, 1);
    assert_int_equal(asked(f, &ask), THIRD);
    *head = (struct wire_sync_rows){.id = ask.id,
                                    .end = KEY_SLOTS,
                                    .at = posv_with(PEER, (struct pos){7, HLC(-90) + 7}),
                                    .newest = posv_with(PEER, (struct pos){9, HLC(-90) + 9})};
    answer(f, THIRD, head, "bb");
    expect_u64(f->put_count, 1);
}

static void a_copy_begins_anew_when_it_reaches_beyond_a_seal(void **state)
{
    struct fixture *f = *state;
    struct members members = three_members(6);
    struct wire_hello hello = hello_of(THIRD);
    struct wire_sync_rows head;
    struct wire_sync_ask ask;

    copy_from_third(f, &head);
    core_freeze(f->core, PEER);
    assert_false(core_sync_stale(f->core));
    members.at[0].state = MEMBER_JOINING;
    members.at[1].state = MEMBER_SEALED;
    members.at[1].sealed_seq = 9;
    core_set_members(f->core, &members);
    assert_false(core_sync_stale(f->core));
    members.at[1].sealed_seq = 8;
    core_set_members(f->core, &members);
    assert_true(core_sync_stale(f->core));
    core_sync_stored(f->core, 0);

    tick(f, 1000);
    hello.epoch = 6;
    hello.applied = hello.durable = posv_with(PEER, (struct pos){8, HLC(-90) + 8});
    greet(f, &hello);
    tick(f, 1);
    assert_int_equal(asked(f, &ask), THIRD);
    assert_int_not_equal(ask.id, head.id);
    assert_false(ask.goes_on);
    head.id = ask.id;
    answer(f, THIRD, &head, "aa"); /* The same again. */
    expect_u64(f->put_count, 1);
    head.newest = posv_with(PEER, (struct pos){8, HLC(-90) + 8});
    answer(f, THIRD, &head, "aa");
    expect_u64(f->put_count, 2);
    expect_u64(f->begin_count, 2);
}

/* PEER's history, of which rows here hold six, was ended after five. */
static void end_before_what_rows_hold(struct fixture *f, unsigned others)
{
    struct members members = three_members(6);
    struct wire_hello hello = hello_of(THIRD);

    members.count = (uint8_t)(2 + others);
    members.at[1].state = MEMBER_SEALED;
    members.at[1].sealed_seq = 5;
    core_set_members(f->core, &members);
    hello.epoch = 6;
    hello.applied = hello.durable = posv_with(PEER, (struct pos){5, HLC(-50)});
    if (others != 0)
        greet(f, &hello);
    tick(f, 1);
}

static void rows_beyond_a_seal_are_exchanged(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask;

    end_before_what_rows_hold(f, 1);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_JOINING);
    assert_int_equal(wait_for_ask(f, &ask), THIRD);
    assert_true(core_resyncing(f->core));
}

/* A write of its own could not see, nor delete, what its vector does not cover. */
static void who_remains_alone_with_more_than_a_seal_does_not_write(void **state)
{
    struct fixture *f = *state;

    end_before_what_rows_hold(f, 0);
    wait_in_silence(f, CORE_TIMEOUT_MS_DEFAULT);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_JOINING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(who_has_nothing_to_give_is_asked_late, setup_behind),
        CORE_TEST(who_is_left_alone_goes_on_with_what_it_had, setup_behind),
        CORE_TEST(who_has_put_rows_aside_gives_what_it_had_to_another_such, setup_behind),
        CORE_TEST(who_comes_to_the_end_waits_for_those_who_read_what_goes, setup_behind),
        CORE_TEST(who_comes_to_the_end_does_not_wait_for_ever, setup_behind),
        CORE_TEST(a_history_ends_not_before_what_rows_of_a_copy_hold, setup_copied),
        CORE_TEST(who_remains_alone_waits_for_nothing_that_rows_hold, setup_copied),
        CORE_TEST(rows_that_hold_too_much_of_a_history_are_exchanged, setup_copied),
        CORE_TEST(rows_are_not_exchanged_without_room, setup_copied),
        CORE_TEST(rows_are_not_exchanged_for_those_of_one_who_has_less, setup_copied),
        CORE_TEST(rows_are_not_exchanged_when_the_rest_comes_after_all, setup_copied),
        CORE_TEST(a_copy_begins_anew_when_it_reaches_beyond_a_seal, setup),
        CORE_TEST(rows_beyond_a_seal_are_exchanged, setup_copied),
        CORE_TEST(who_remains_alone_with_more_than_a_seal_does_not_write, setup_copied),
        CORE_TEST(who_asks_for_an_exchange_in_vain_asks_who_has_the_rest, setup_copied),
        CORE_TEST(who_waits_for_an_exchange_in_vain_asks_who_has_the_rest, setup_copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
