/*
 * A full copy with scripted peers: what a joiner asks for, where it goes on or begins anew, what it
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
        CORE_TEST(a_joiner_is_not_behind, setup_retention),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
