/*
 * Full sync with scripted peers: what a joiner asks for, where it goes on or begins anew, what it
 * ends with.
 */
#include "tests/unit/test_core_sync_fixture.h"

/* A joiner that wants a copy, its peers linked. */
static void start_joiner(struct fixture *f)
{
    struct members members = three_members(5);

    members.at[0].state = MEMBER_JOINING;
    core_set_members(f->core, &members);
    core_sync_start(f->core);
    for (uint8_t origin = PEER; origin <= FOURTH; origin++)
        link_peer(f, origin);
    tick(f, 1);
}

static struct wire_sync_rows head_of_copy(void)
{
    struct wire_sync_rows head = {.end = KEY_SLOTS,
                                  .at = posv_with(PEER, (struct pos){7, HLC(-11)}),
                                  .newest = posv_with(PEER, (struct pos){9, HLC(-9)})};

    assert_int_equal(posv_raise(&head.at, THIRD, (struct pos){4, HLC(-4)}), 0);
    assert_int_equal(posv_raise(&head.newest, THIRD, (struct pos){6, HLC(-2)}), 0);
    return head;
}

/* The first piece of a copy is stored, and the link to its donor is gone. */
static uint8_t lose_the_donor(struct fixture *f, struct wire_sync_rows *head)
{
    struct wire_sync_ask ask;

    start_joiner(f);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_JOINING);
    const uint8_t donor = asked(f, &ask);
    expect_u64(ask.after.len, 0);
    assert_false(ask.goes_on);
    head->id = ask.id;
    answer(f, donor, head, "bb");
    expect_u64(f->put_count, 1);
    expect_u64(f->begin_count, 1);
    forget_sent(f);
    core_sync_stored(f->core, 0);
    assert_int_equal(asked(f, &ask), donor); /* Only now the next piece. */
    expect_bytes(ask.after, key_of("bb"));
    assert_true(ask.goes_on);
    core_link_down(f->core, donor);
    return donor;
}

static void a_copy_goes_on_behind_the_last_key_when_the_link_is_back(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_copy();
    struct members members = three_members(5);
    struct wire_sync_ask ask;

    const uint8_t donor = lose_the_donor(f, &head);
    const unsigned before = count_sent(f, donor, WIRE_SYNC_ASK);
    tick(f, 1);
    assert_int_equal(asked(f, &ask), donor); /* Nobody else is. */
    link_peer(f, donor);
    tick(f, 1);
    expect_u64(count_sent(f, donor, WIRE_SYNC_ASK), before + 1);
    assert_int_equal(asked(f, &ask), donor);
    expect_u64(ask.id, head.id);
    assert_true(ask.goes_on);
    expect_bytes(ask.after, key_of("bb"));
    head.last = true;
    answer(f, donor, &head, "cc");
    expect_u64(f->put_rows, 2);
    expect_u64(f->begin_count, 1);
    core_sync_stored(f->core, 0);
    expect_u64(f->finish_count, 1);
    expect_u64(posv_get(&f->finish_at, PEER).seq, 7);
    expect_u64(posv_get(&f->finish_at, THIRD).seq, 4);
    assert_true(core_syncing(f->core));
    forget_sent(f);
    core_sync_finished(f->core);
    assert_false(core_syncing(f->core));
    expect_u64(vv_get(core_applied_vv(f->core), PEER), HLC(-11));
    struct wire_request request;
    assert_int_equal(wire_get_request(last_body(f, PEER, WIRE_REQUEST), &request), 0);
    assert_int_equal(request.origin, PEER);
    expect_u64(request.from_seq, 8);

    /* Rows may hold more than the vector says: no write before the logs have brought it. */
    expect_u64(posv_get(&f->finish_newest, PEER).seq, 9);
    core_set_members(f->core, &members);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_JOINING);
    send_batch(f, 8, HLC(-10), tag_of(0, 0));
    send_batch(f, 9, HLC(-9), tag_of(0, 0));
    assert_int_equal(core_may_write(f->core), CORE_WRITE_JOINING);
    core_link_down(f->core, THIRD);
    link_peer(f, THIRD);
    assert_int_equal(wire_get_request(last_body(f, THIRD, WIRE_REQUEST), &request), 0);
    struct wire_batches_head more = {
        .origin = THIRD, .generation = request.generation, .epoch = 5, .first_seq = 5};
    send_batch_as(f, THIRD, &more, HLC(-3), tag_of(0, 0));
    more.first_seq = 6;
    send_batch_as(f, THIRD, &more, HLC(-2), tag_of(0, 0));
    assert_int_equal(core_may_write(f->core), CORE_WRITE_OK);
}

static void a_silent_donor_is_left(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask;

    start_joiner(f);
    const uint8_t first = asked(f, &ask);
    wait_in_silence(f, CORE_TIMEOUT_MS_DEFAULT + 1000);
    assert_int_not_equal(asked(f, &ask), first);
}

/* Rows of two checkpoints, or donors, do not belong together. */
static void another_donor_gives_its_copy_from_the_first_key(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_copy();
    struct wire_sync_ask ask;

    const uint8_t first = lose_the_donor(f, &head);
    const uint8_t second = wait_for_ask(f, &ask);
    assert_int_not_equal(second, first);
    expect_u64(ask.after.len, 0);
    assert_false(ask.goes_on);
    answer(f, second, &head, "cc"); /* With the number of the first try: thrown away. */
    expect_u64(f->put_count, 1);
    expect_u64(f->begin_count, 1);
    head.id = ask.id;
    head.last = true;
    head.at = posv_with(PEER, (struct pos){9, HLC(-9)});
    answer(f, second, &head, "aa");
    expect_u64(f->put_count, 2);
    expect_u64(f->begin_count, 2); /* What the first one gave goes. */
    core_sync_stored(f->core, 0);
    expect_u64(posv_get(&f->finish_at, PEER).seq, 9);
    expect_u64(posv_get(&f->finish_at, THIRD).seq, 0);
}

/* It restarted, and its checkpoint did not: it says so, and is asked for another one. */
static void a_checkpoint_that_is_gone_begins_the_copy_anew(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_copy();
    struct wire_sync_ask ask;

    const uint8_t donor = lose_the_donor(f, &head);
    link_peer(f, donor);
    tick(f, 1);
    const struct wire_sync_rows gone = {.id = head.id, .gone = true};
    answer(f, donor, &gone, NULL);
    tick(f, 1);
    const uint8_t next = asked(f, &ask);
    expect_u64(ask.after.len, 0);
    assert_false(ask.goes_on);
    assert_int_not_equal(ask.id, head.id);
    head.id = ask.id;
    answer(f, next, &head, "aa");
    expect_u64(f->begin_count, 2);
}

/* A donor whose checkpoints do not last is not asked with every tick. */
static void attempts_that_come_to_nothing_are_made_less_and_less_often(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask;
    unsigned attempts = 0;

    start_joiner(f);
    for (unsigned ticks = 0; ticks < 300; ticks++) {
        unsigned asks = 0;

        for (uint8_t origin = PEER; origin <= FOURTH; origin++)
            asks += count_sent(f, origin, WIRE_SYNC_ASK);
        if (asks != 0) {
            const uint8_t donor = asked(f, &ask);
            const struct wire_sync_rows gone = {.id = ask.id, .gone = true};

            answer(f, donor, &gone, NULL);
            attempts++;
        }
        forget_sent(f);
        tick(f, 10);
    }
    assert_in_range(attempts, 3, 7); /* In three seconds: 0, 0, 0.1, 0.3, 0.7, 1.5. */
}

/* What does not say the same of the checkpoint is of another one. */
static void rows_of_another_checkpoint_end_the_link(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_copy();
    struct wire_sync_ask ask;

    const uint8_t donor = lose_the_donor(f, &head);
    link_peer(f, donor);
    tick(f, 1);
    assert_int_equal(posv_raise(&head.at, THIRD, (struct pos){5, HLC(-3)}), 0);
    answer(f, donor, &head, "cc");
    expect_u64(f->put_count, 1);
    expect_bye(f, donor, WIRE_DAMAGED);
    tick(f, 1);
    assert_int_not_equal(asked(f, &ask), donor);
    assert_false(ask.goes_on);
}

/* With nobody else it is worth waiting for. */
static void an_only_donor_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_copy();
    struct wire_sync_ask ask;

    const uint8_t donor = lose_the_donor(f, &head);
    for (uint8_t origin = PEER; origin <= FOURTH; origin++)
        core_link_down(f->core, origin);
    for (unsigned i = 0; i < 100; i++)
        tick(f, 1000);
    forget_sent(f);
    link_peer(f, donor);
    tick(f, 1);
    assert_int_equal(asked(f, &ask), donor);
    assert_true(ask.goes_on);
    expect_bytes(ask.after, key_of("bb"));
}

/* It may be comparing for longer than that, and the answer is slow on its way. */
static void a_donor_is_given_more_time_when_nobody_answers(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask;
    struct wire_sync_rows head = head_of_copy();

    start_joiner(f);
    wait_in_silence(f, CORE_TIMEOUT_MS_DEFAULT + 1000);
    const uint8_t second = asked(f, &ask);
    wait_in_silence(f, 2 * CORE_TIMEOUT_MS_DEFAULT);
    assert_int_equal(count_sent(f, second, WIRE_SYNC_ASK), 0);
    head.id = ask.id;
    head.turn = ask.turn;
    uint8_t bytes[64];
    const struct wire_row row = {.key = key_of("bb"), .row = row_of("bb", bytes)};
    assert_int_equal(wire_build_sync_rows(&f->batch, &head, &row, 1), 0);
    assert_int_equal(wire_put_body(&f->out, WIRE_SYNC_ROWS, buf_bytes(&f->batch), f->pack), 0);
    deliver(f, second);
    expect_u64(f->put_count, 1);
    core_sync_stored(f->core, 0);

    /* Of its checkpoint something has come: it is asked once more, and left in the end. */
    for (unsigned times = 1; times <= 2; times++) {
        wait_in_silence(f, times * CORE_TIMEOUT_MS_DEFAULT + 1000);
        assert_int_equal(asked(f, &ask), second);
        expect_u64(ask.id, head.id);
        expect_bytes(ask.after, key_of("bb"));
    }
    answer(f, second, &(struct wire_sync_rows){.id = head.id + 1, .gone = true}, NULL);
    wait_in_silence(f, 4 * CORE_TIMEOUT_MS_DEFAULT + 1000);
    assert_int_not_equal(asked(f, &ask), second);
    expect_u64(ask.after.len, 0);
}

/* Without room it may be at work on a piece for as long as it likes. */
static void a_donor_hears_of_one_who_is_still_storing(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask;
    struct wire_sync_rows head = head_of_copy();

    start_joiner(f);
    const uint8_t donor = asked(f, &ask);
    head.id = ask.id;
    answer(f, donor, &head, "bb");
    expect_u64(f->put_count, 1);
    for (unsigned times = 0; times < 20; times++) {
        (void)wait_for_ask(f, &ask); /* It fails after a minute without one. */
        assert_int_equal(asked(f, &ask), donor);
        assert_true(ask.waits);
        expect_u64(ask.id, head.id);
    }
    answer(f, donor, &head, "cc"); /* Nothing was asked for. */
    answer(f, donor, &(struct wire_sync_rows){.id = head.id, .gone = true}, NULL);
    expect_u64(f->put_count, 1);
    forget_sent(f);
    core_sync_stored(f->core, 0);
    assert_int_equal(asked(f, &ask), donor);
    assert_true(ask.goes_on && !ask.waits);
    expect_bytes(ask.after, key_of("bb"));
}

static void rows_that_make_no_sense_end_the_link(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask;
    struct wire_sync_rows head = {.end = KEY_SLOTS,
                                  .at = posv_with(PEER, (struct pos){9, HLC(-9)}),
                                  .newest = posv_with(PEER, (struct pos){9, HLC(-9)})};

    start_joiner(f);
    const uint8_t first = asked(f, &ask);
    head.id = ask.id;
    answer(f, first, &head, "bb");
    core_sync_stored(f->core, -ERR_CORRUPT);
    expect_bye(f, first, WIRE_DAMAGED);
    assert_true(core_syncing(f->core));
    forget_sent(f);
    tick(f, 1);
    assert_int_not_equal(asked(f, &ask), first);
    expect_u64(ask.after.len, 0);
}

static void expect_bad_vector(struct fixture *f, const struct posv *at, uint8_t reason)
{
    struct wire_sync_ask ask;

    const uint8_t donor = asked(f, &ask);
    const struct wire_sync_rows head = {
        .id = ask.id, .last = true, .end = ask.range.end, .at = *at, .newest = *at};
    const unsigned count = f->put_count;
    answer(f, donor, &head, NULL);
    expect_bye(f, donor, reason);
    expect_u64(f->put_count, count);
    assert_true(core_syncing(f->core));
}

/* They would become ours, and more of them than there is place for. */
static void rows_of_origins_that_nobody_knows_end_the_link(void **state)
{
    struct fixture *f = *state;
    struct posv at = posv_with(PEER, (struct pos){9, HLC(-9)});

    start_joiner(f);
    for (unsigned i = 0; at.count < VV_ORIGINS_MAX; i++)
        assert_int_equal(posv_raise(&at, (uint8_t)(100 + i), (struct pos){1, HLC(-9)}), 0);
    expect_bad_vector(f, &at, WIRE_PROTOCOL_ERR);
}

/* A clock would follow it for ever. */
static void rows_from_the_future_end_the_link(void **state)
{
    struct fixture *f = *state;
    const struct posv at = posv_with(PEER, (struct pos){9, HLC(2 * CORE_AHEAD_MS_MAX)});

    start_joiner(f);
    expect_bad_vector(f, &at, WIRE_CLOCK);
}

static void rows_with_another_history_end_the_link(void **state)
{
    struct fixture *f = *state;
    const struct posv at = posv_with(PEER, (struct pos){9, HLC(-60)}); /* Its fifth is of -50. */

    fall_behind(f);
    expect_bad_vector(f, &at, WIRE_PROTOCOL_ERR);
}

static void a_flush_on_the_way_starts_the_copy_anew(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask;
    struct wire_sync_rows head = {.end = KEY_SLOTS,
                                  .at = posv_with(PEER, (struct pos){9, HLC(-9)}),
                                  .newest = posv_with(PEER, (struct pos){9, HLC(-9)})};

    start_joiner(f);
    const uint8_t first = asked(f, &ask);
    head.id = ask.id;
    answer(f, first, &head, "bb");
    core_flush(f->core, 1); /* While the rows are being stored. */
    expect_u64(f->flush, 1);
    forget_sent(f);
    core_sync_stored(f->core, 0);
    tick(f, 1);
    const uint8_t donor = asked(f, &ask);
    expect_u64(ask.after.len, 0);
    assert_int_not_equal(ask.id, head.id);
    head.id = ask.id; /* A checkpoint from before the flush. */
    answer(f, donor, &head, "bb");
    expect_u64(f->put_count, 1);
    tick(f, 1);
    (void)asked(f, &ask);
    head.id = ask.id;
    head.flush = 2; /* One from after a later flush tells of it. */
    answer(f, asked(f, &ask), &head, "bb");
    expect_u64(f->flush, 2);
    expect_u64(f->put_count, 1);
}

/* --- what differs only --- */

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

/* --- beside it --- */

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

/* A joiner has acknowledged nothing: that must not make it one that is given up. */
static void a_joiner_is_not_behind(void **state)
{
    struct fixture *f = *state;
    struct members members = three_members(5);
    struct core_peer_info info;

    members.at[1].state = MEMBER_JOINING;
    core_set_members(f->core, &members);
    for (uint64_t seq = 1; seq <= 100; seq++)
        log_local(f, seq);
    tick(f, 1000);
    assert_true(core_peer_info(f->core, PEER, &info));
    assert_false(info.behind);
    assert_true(core_peer_info(f->core, THIRD, &info));
    assert_true(info.behind);
}

static int setup_retention(void **state)
{
    const struct core_options options = {.origin = SELF,
                                         .incarnation = 11,
                                         .group_id = {7},
                                         .history_bytes = 100,
                                         .retention_bytes = 2000};

    return setup_with(state, &options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(a_copy_goes_on_behind_the_last_key_when_the_link_is_back, setup),
        CORE_TEST(another_donor_gives_its_copy_from_the_first_key, setup),
        CORE_TEST(a_checkpoint_that_is_gone_begins_the_copy_anew, setup),
        CORE_TEST(attempts_that_come_to_nothing_are_made_less_and_less_often, setup),
        CORE_TEST(a_resync_without_room_is_given_up_until_rows_are_put_aside, setup_behind),
        CORE_TEST(moments_without_room_do_not_end_a_resync, setup_behind),
        CORE_TEST(a_resync_that_was_given_up_is_more_patient, setup_behind),
        CORE_TEST(a_resync_that_has_put_rows_aside_is_not_given_up, setup_behind),
        CORE_TEST(rows_of_another_checkpoint_end_the_link, setup),
        CORE_TEST(an_only_donor_is_waited_for, setup),
        CORE_TEST(a_silent_donor_is_left, setup),
        CORE_TEST(a_donor_is_given_more_time_when_nobody_answers, setup),
        CORE_TEST(a_donor_hears_of_one_who_is_still_storing, setup),
        CORE_TEST(rows_that_make_no_sense_end_the_link, setup),
        CORE_TEST(rows_of_origins_that_nobody_knows_end_the_link, setup),
        CORE_TEST(rows_from_the_future_end_the_link, setup),
        CORE_TEST(rows_with_another_history_end_the_link, setup_behind),
        CORE_TEST(a_flush_on_the_way_starts_the_copy_anew, setup),
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
        CORE_TEST(rows_come_with_what_their_giver_knows_of_acknowledgements, setup_behind),
        CORE_TEST(who_is_linked_greets_again_if_more_is_known_of_it, setup_behind),
        CORE_TEST(who_cannot_give_any_more_is_given_to, setup_behind),
        CORE_TEST(a_joiner_is_not_behind, setup_retention),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
