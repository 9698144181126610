/*
 * A resync with scripted peers: what a member that is behind the logs asks for, range by range,
 * what it refuses, when it gives up, and what it takes over of acknowledgements.
 */
#include "tests/unit/test_core_sync_fixture.h"

/* The first of two pieces has come. */
static uint8_t take_one_bucket(struct fixture *f, struct wire_sync_rows *head,
                               struct wire_sync_ask *ask)
{
    const uint8_t donor = ask_for_two_buckets(f, head, ask);

    head->last = false;
    answer(f, donor, head, "bb");
    core_sync_stored(f->core, 0);
    return donor;
}

static void a_resync_asks_range_by_range_for_what_differs(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    const uint8_t donor = take_one_bucket(f, &head, &ask);
    assert_int_equal(asked(f, &ask), donor);
    expect_bytes(ask.after, key_of("bb"));
    expect_u64(ask.range.end, 10);
    head.last = true;
    head.differ = BYTES_LIT("\x02");
    answer(f, donor, &head, "cc");
    core_sync_stored(f->core, 0);
    expect_u64(f->sum_count, 2);
    expect_u64(f->sum_first, 10);
    expect_u64(f->finish_count, 0);

    /* What is too much for sums is asked for whole. */
    const struct wire_sync_range rest = {.first = 10, .end = KEY_SLOTS, .bits = WIRE_SYNC_ALL};
    core_sync_summed(f->core, &rest);
    assert_int_equal(asked(f, &ask), donor);
    expect_u64(ask.range.first, 10);
    expect_u64(ask.after.len, 0);
    head.differ = bytes_of(NULL, 0);
    head.end = KEY_SLOTS;
    answer(f, donor, &head, "kk");
    core_sync_stored(f->core, 0);
    expect_u64(f->finish_count, 1);
    core_sync_finished(f->core);
    assert_false(core_syncing(f->core));
    expect_u64(vv_get(core_applied_vv(f->core), PEER), HLC(-9));
}

/* The checkpoint is still there, and what differs is said of it. */
static void a_range_goes_on_when_the_link_is_back(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    const uint8_t donor = take_one_bucket(f, &head, &ask);
    core_link_down(f->core, donor);
    forget_sent(f);
    greet_ahead(f, donor);
    tick(f, 1);
    assert_int_equal(asked(f, &ask), donor);
    assert_true(ask.goes_on && ask.entered);
    expect_u64(ask.id, head.id);
    expect_u64(ask.range.end, 10);
    expect_bytes(ask.range.sums, bytes_of(two_sums, 16));
    expect_bytes(ask.after, key_of("bb"));
}

/* Rows of one that are the same here, and those of another that are not, were never true at once.
 */
static void with_another_donor_a_resync_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    const uint8_t donor = take_one_bucket(f, &head, &ask);
    core_link_down(f->core, donor);
    const uint8_t second = wait_for_ask(f, &ask);
    assert_int_not_equal(second, donor);
    expect_u64(ask.range.end, 0);
    expect_u64(ask.range.bits, WIRE_SYNC_ALL);
    assert_true(ask.entered && !ask.goes_on);
    head.id = ask.id;
    head.end = 0;
    head.last = true;
    answer(f, second, &head, NULL);
    expect_u64(f->begin_count, 2);
}

/* One who has much more in these slots compares, and gives, less of them. */
static void a_donor_may_end_a_range_earlier(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    const uint8_t donor = ask_for_two_buckets(f, &head, &ask);
    head.end = 3;
    head.last = false;
    answer(f, donor, &head, "bb");
    core_sync_stored(f->core, 0);
    assert_int_equal(asked(f, &ask), donor);
    expect_u64(ask.range.end, 10); /* Another donor may not end it there. */
    head.last = true;
    head.differ = BYTES_LIT("\x02");
    answer(f, donor, &head, "cc");
    core_sync_stored(f->core, 0);
    expect_u64(f->sum_count, 2);
    expect_u64(f->sum_first, 3);
    const struct wire_sync_range range = {
        .first = 3, .end = KEY_SLOTS, .bits = 1, .sums = bytes_of(two_sums, 16)};
    core_sync_summed(f->core, &range);
    assert_int_equal(asked(f, &ask), donor);
    expect_u64(ask.range.first, 3);
    expect_u64(ask.after.len, 0);
}

/* Rows, of two buckets of slots 0 to 9, that were not asked for. */
static void expect_refused(struct fixture *f, uint16_t end, const char *before, const char *key)
{
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    const uint8_t donor = ask_for_two_buckets(f, &head, &ask);
    head.last = false;
    if (before != NULL) {
        answer(f, donor, &head, before);
        core_sync_stored(f->core, 0);
    }
    const unsigned count = f->put_count;
    head.end = end;
    answer(f, donor, &head, key);
    expect_u64(f->put_count, count);
    expect_bye(f, donor, WIRE_DAMAGED);
}

static void rows_of_a_range_without_slots_are_refused(void **state)
{
    expect_refused(*state, 0, NULL, "aa");
}

static void rows_of_more_slots_are_refused(void **state)
{
    expect_refused(*state, 11, NULL, "aa");
}

static void rows_of_another_slot_are_refused(void **state)
{
    expect_refused(*state, 10, NULL, "kk");
}

static void rows_behind_the_end_of_a_cut_range_are_refused(void **state)
{
    expect_refused(*state, 3, NULL, "dd");
}

static void rows_that_were_given_already_are_refused(void **state)
{
    expect_refused(*state, 10, "cc", "cb");
}

static void rows_that_do_not_say_what_differs_end_the_link(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    const uint8_t donor = ask_for_two_buckets(f, &head, &ask);
    head.differ = BYTES_LIT("\x02\x02");
    answer(f, donor, &head, "bb");
    expect_u64(f->put_count, 1);
    expect_bye(f, donor, WIRE_DAMAGED);
}

static void a_flush_while_rows_are_summed_up_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    const uint8_t donor = ask_for_two_buckets(f, &head, &ask);
    head.differ = BYTES_LIT("\x03");
    answer(f, donor, &head, "bb");
    core_sync_stored(f->core, 0);
    expect_u64(f->sum_count, 2);
    core_flush(f->core, 1);
    const struct wire_sync_range range = {.first = 10, .end = 11, .bits = WIRE_SYNC_ALL};
    forget_sent(f);
    core_sync_summed(f->core, &range);
    tick(f, 1);
    (void)asked(f, &ask);
    expect_u64(ask.range.end, 0);
    assert_true(ask.entered);
}

static void own_rows_that_cannot_be_read_are_asked_for_whole(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    const uint8_t donor = ask_for_two_buckets(f, &head, &ask);
    head.differ = BYTES_LIT("\x02");
    answer(f, donor, &head, "bb");
    forget_sent(f);
    core_sync_unread(f->core);
    assert_int_equal(asked(f, &ask), donor);
    expect_u64(ask.range.first, 0);
    expect_u64(ask.range.end, 10);
    expect_u64(ask.range.bits, WIRE_SYNC_ALL);
    expect_u64(ask.after.len, 0);
    head.differ = bytes_of(NULL, 0);
    answer(f, donor, &head, "aa");
    expect_u64(f->put_count, 3);
    core_sync_stored(f->core, 0);
    expect_u64(f->sum_count, 2);
    expect_u64(f->sum_first, 10);
}

/* The donor has answered, and the host is about to put own rows aside. */
static void come_to_put_aside(struct fixture *f)
{
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    const uint8_t donor = asked(f, &ask);
    head.id = ask.id;
    head.last = true;
    answer(f, donor, &head, NULL);
    expect_u64(f->begin_count, 1);
}

/* Nothing is lost by it: what is here can be read as long as it waits. */
static void a_resync_without_room_is_given_up_until_rows_are_put_aside(void **state)
{
    struct fixture *f = *state;

    come_to_put_aside(f);
    core_set_room(f->core, CORE_ROOM_NO_COPY);
    wait_in_silence(f, 1000);
    assert_false(core_resyncing(f->core));
    assert_true(core_sync_stale(f->core));
    core_set_room(f->core, CORE_ROOM_OK);
    for (unsigned i = 0; i < 4; i++)
        tick(f, 1000);
    assert_false(core_resyncing(f->core)); /* The host has not answered yet. */
    core_sync_stored(f->core, 0);
    expect_u64(f->sum_count, 0);
    for (unsigned i = 0; i < 4 && !core_resyncing(f->core); i++)
        wait_in_silence(f, 1000);
    assert_true(core_resyncing(f->core));
    expect_u64(f->begin_count, 1);
}

/* The host waits for a moment with room itself: none is needed from the beginning to the end. */
static void moments_without_room_do_not_end_a_resync(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    for (unsigned i = 0; i < 200; i++) {
        core_set_room(f->core, i % 2 == 0 ? CORE_ROOM_NO_COPY : CORE_ROOM_OK);
        tick(f, 10);
        assert_true(core_resyncing(f->core));
    }
    const uint8_t donor = asked(f, &ask);
    head.id = ask.id;
    head.last = true;
    answer(f, donor, &head, NULL);
    core_set_room(f->core, CORE_ROOM_NONE);
    tick(f, 10);
    assert_false(core_sync_stale(f->core));
    core_set_room(f->core, CORE_ROOM_OK);
    core_sync_entered(f->core);
    core_sync_stored(f->core, 0);
    expect_u64(f->sum_count, 1);
}

/* Each attempt that came to nothing lets the next one wait longer for a moment with room. */
static void a_resync_that_was_given_up_is_more_patient(void **state)
{
    struct fixture *f = *state;

    fall_behind(f);
    for (unsigned attempt = 0; attempt < 6; attempt++) {
        unsigned held_ms = 0;

        core_set_room(f->core, CORE_ROOM_NO_COPY);
        for (; core_resyncing(f->core) && held_ms < 20000; held_ms += 1000)
            wait_in_silence(f, 1000);
        expect_u64(held_ms, u32_min(1000u << attempt, CORE_TIMEOUT_MS_DEFAULT));
        core_set_room(f->core, CORE_ROOM_OK);
        for (unsigned i = 0; i < 100 && !core_resyncing(f->core); i++)
            wait_in_silence(f, 1000);
        assert_true(core_resyncing(f->core));
    }
}

static void a_resync_that_has_put_rows_aside_is_not_given_up(void **state)
{
    struct fixture *f = *state;

    come_to_put_aside(f);
    core_sync_entered(f->core);
    core_set_room(f->core, CORE_ROOM_NO_COPY);
    wait_in_silence(f, 2 * CORE_TIMEOUT_MS_DEFAULT);
    assert_true(core_resyncing(f->core));
    assert_false(core_sync_stale(f->core));
}

/* --- what the donor knows of acknowledgements --- */

/* All of a resync, from a donor to whom FOURTH has acknowledged eight of PEER. */
static uint8_t resync_with_acked(struct fixture *f)
{
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    const uint8_t donor = ask_for_two_buckets(f, &head, &ask);
    head.differ = BYTES_LIT("\x03");
    answer(f, donor, &head, "bb");
    core_sync_stored(f->core, 0);
    const struct wire_sync_range rest = {.first = 10, .end = KEY_SLOTS, .bits = WIRE_SYNC_ALL};
    core_sync_summed(f->core, &rest);
    head.differ = bytes_of(NULL, 0);
    head.end = KEY_SLOTS;
    head.acked = (struct core_acked){.count = 2, .origin = {SELF, FOURTH}};
    head.acked.durable[0] = posv_with(SELF, (struct pos){10, HLC(-100)});
    head.acked.durable[1] = posv_with(PEER, (struct pos){8, HLC(-10)});
    answer(f, donor, &head, "kk");
    core_sync_stored(f->core, 0);
    expect_u64(f->finish_count, 1);
    return donor;
}

/* It greets as if it had never been further than `seq`. */
static void greet_with(struct fixture *f, uint64_t seq)
{
    struct wire_hello hello = hello_of(FOURTH);

    hello.durable = posv_with(PEER, (struct pos){seq, HLC((int64_t)seq - 18)});
    hello.applied = hello.durable;
    greet(f, &hello);
}

/* What the donor has collected on the strength of it is not here either. */
static void rows_come_with_what_their_giver_knows_of_acknowledgements(void **state)
{
    struct fixture *f = *state;
    const struct members members = three_members(5);
    struct wire_bye bye;
    struct core_options options = {.origin = SELF, .incarnation = 11, .group_id = {7}};

    (void)resync_with_acked(f);
    core_acked(f->core, &options.acked); /* It is to be kept with the end of the resync. */
    core_sync_finished(f->core);
    greet_with(f, 7);
    expect_bye(f, FOURTH, WIRE_WENT_BACK);
    assert_int_equal(wire_get_bye(last_body(f, FOURTH, WIRE_BYE), &bye), 0);
    expect_u64(bye.detail, wire_lost(PEER, 8));

    core_destroy(f->core);
    core_create(&options, &host, f, &f->core);
    tick(f, 1);
    core_set_members(f->core, &members);
    greet_with(f, 7);
    expect_bye(f, FOURTH, WIRE_WENT_BACK);
    tick(f, 10000);
    greet_with(f, 8);
    assert_int_equal(f->events[f->events_count - 1].kind, CORE_LINK_READY);
}

/* What it has said may have been sent before what the donor heard. */
static void who_is_linked_greets_again_if_more_is_known_of_it(void **state)
{
    struct fixture *f = *state;
    struct core_peer_info info;

    link_peer(f, FOURTH);
    const uint8_t donor = resync_with_acked(f);
    expect_bye(f, FOURTH, WIRE_CLOSED);
    assert_true(core_peer_info(f->core, donor, &info));
    assert_int_equal(info.state, CORE_LINK_UP);
    core_sync_finished(f->core);
    tick(f, 1000);
    greet_with(f, 9);
    assert_int_equal(f->events[f->events_count - 1].kind, CORE_LINK_READY);
}

/* One that has put rows aside can give none: of two that ask each other it goes first. */
static void who_cannot_give_any_more_is_given_to(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask = {.id = 3, .range = {.bits = WIRE_SYNC_ALL}};

    fall_behind(f);
    for (unsigned i = 0; i < 2; i++) {
        ask.entered = i == 1;
        assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
        assert_int_equal(wire_put_body(&f->out, WIRE_SYNC_ASK, buf_bytes(&f->batch), f->pack), 0);
        deliver(f, THIRD);
        expect_u64(f->open_count, i);
        assert_int_equal(core_resyncing(f->core), i == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(a_resync_asks_range_by_range_for_what_differs, setup_behind),
        CORE_TEST(a_range_goes_on_when_the_link_is_back, setup_behind),
        CORE_TEST(with_another_donor_a_resync_begins_anew, setup_behind),
        CORE_TEST(a_donor_may_end_a_range_earlier, setup_behind),
        CORE_TEST(rows_of_a_range_without_slots_are_refused, setup_behind),
        CORE_TEST(rows_of_more_slots_are_refused, setup_behind),
        CORE_TEST(rows_of_another_slot_are_refused, setup_behind),
        CORE_TEST(rows_behind_the_end_of_a_cut_range_are_refused, setup_behind),
        CORE_TEST(rows_that_were_given_already_are_refused, setup_behind),
        CORE_TEST(rows_that_do_not_say_what_differs_end_the_link, setup_behind),
        CORE_TEST(a_flush_while_rows_are_summed_up_begins_anew, setup_behind),
        CORE_TEST(own_rows_that_cannot_be_read_are_asked_for_whole, setup_behind),
        CORE_TEST(a_resync_without_room_is_given_up_until_rows_are_put_aside, setup_behind),
        CORE_TEST(moments_without_room_do_not_end_a_resync, setup_behind),
        CORE_TEST(a_resync_that_was_given_up_is_more_patient, setup_behind),
        CORE_TEST(a_resync_that_has_put_rows_aside_is_not_given_up, setup_behind),
        CORE_TEST(rows_come_with_what_their_giver_knows_of_acknowledgements, setup_behind),
        CORE_TEST(who_is_linked_greets_again_if_more_is_known_of_it, setup_behind),
        CORE_TEST(who_cannot_give_any_more_is_given_to, setup_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
