/*
 * Full sync with scripted peers: what a joiner asks for, where it goes on, what it ends with; what
 * a donor gives, and to whom it does not.
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

static void a_copy_goes_on_with_another_donor_behind_the_last_key(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask;
    struct wire_sync_rows head = {.end = KEY_SLOTS,
                                  .at = posv_with(PEER, (struct pos){9, HLC(-9)}),
                                  .newest = posv_with(PEER, (struct pos){9, HLC(-9)})};
    struct members members = three_members(5);

    assert_int_equal(posv_raise(&head.newest, THIRD, (struct pos){6, HLC(-2)}), 0);
    start_joiner(f);
    assert_int_equal(core_may_write(f->core), CORE_WRITE_JOINING);
    const uint8_t first = asked(f, &ask);
    expect_u64(ask.after.len, 0);
    head.id = ask.id;
    assert_int_equal(posv_raise(&head.at, THIRD, (struct pos){4, HLC(-4)}), 0);
    answer(f, first, &head, "bb");
    expect_u64(f->put_count, 1);
    forget_sent(f);
    core_sync_stored(f->core, 0);
    assert_int_equal(asked(f, &ask), first); /* Only now the next piece. */
    expect_bytes(ask.after, key_of("bb"));

    core_link_down(f->core, first);
    tick(f, 1);
    const uint8_t second = asked(f, &ask);
    assert_int_not_equal(second, first);
    expect_bytes(ask.after, key_of("bb"));
    answer(f, second, &head, "cc"); /* With the number of the first try: thrown away. */
    expect_u64(f->put_count, 1);
    head.id = ask.id;
    head.last = true;
    head.at = posv_with(PEER, (struct pos){7, HLC(-11)});
    assert_int_equal(posv_raise(&head.at, THIRD, (struct pos){6, HLC(-2)}), 0);
    answer(f, second, &head, "cc");
    expect_u64(f->put_rows, 2);
    core_sync_stored(f->core, 0);

    /* Of both vectors what is less. */
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

/* It may be comparing for longer than that, and would begin anew each time. */
static void a_donor_is_given_more_time_when_nobody_answers(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask;
    struct wire_sync_rows head = {.end = KEY_SLOTS,
                                  .at = posv_with(PEER, (struct pos){9, HLC(-9)}),
                                  .newest = posv_with(PEER, (struct pos){9, HLC(-9)})};

    start_joiner(f);
    wait_in_silence(f, CORE_TIMEOUT_MS_DEFAULT + 1000);
    const uint8_t second = asked(f, &ask);
    wait_in_silence(f, 2 * CORE_TIMEOUT_MS_DEFAULT);
    head.id = ask.id;
    answer(f, second, &head, "bb");
    expect_u64(f->put_count, 1);
    core_sync_stored(f->core, 0);
    wait_in_silence(f, CORE_TIMEOUT_MS_DEFAULT + 1000);
    assert_int_not_equal(asked(f, &ask), second);
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

/* What differs is said of one checkpoint: rows that another one did not send must not be missing.
 */
static void another_donor_is_asked_for_a_range_from_its_begin(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_rows head = head_of_resync();
    struct wire_sync_ask ask;

    fall_behind(f);
    const uint8_t donor = take_one_bucket(f, &head, &ask);
    core_link_down(f->core, donor);
    tick(f, 1);
    assert_int_not_equal(asked(f, &ask), donor);
    expect_u64(ask.range.end, 10);
    expect_bytes(ask.range.sums, bytes_of(two_sums, 16));
    expect_u64(ask.after.len, 0);
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

/* --- donor --- */

static void ask_for(struct fixture *f, uint8_t from, uint32_t id, const char *after)
{
    const struct wire_sync_ask ask = {
        .id = id, .range = {.end = KEY_SLOTS, .bits = WIRE_SYNC_ALL}, .after = bytes_cstr(after)};

    assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
    assert_int_equal(wire_put_body(&f->out, WIRE_SYNC_ASK, buf_bytes(&f->batch), f->pack), 0);
    deliver(f, from);
}

static void a_donor_reads_piece_by_piece_from_one_checkpoint(void **state)
{
    struct fixture *f = *state;
    const struct posv at = posv_with(SELF, (struct pos){10, HLC(-100)});
    uint8_t bytes[64];
    const struct wire_row row = {.key = BYTES_LIT("aa"), .row = row_of("v", bytes)};
    const struct core_piece piece = {.rows = &row, .count = 1};
    struct wire_sync_rows rows;

    link_peer(f, PEER);
    ask_for(f, PEER, 3, "");
    expect_u64(f->open_count, 1);
    ask_for(f, PEER, 3, ""); /* Not twice at a time. */
    expect_u64(f->open_count, 1);
    core_sync_opened(f->core, PEER, 3, 0, &at, 0);
    expect_u64(f->read_count, 1);
    core_sync_rows(f->core, PEER, 3, 0, &piece);
    assert_int_equal(wire_get_sync_rows(last_body(f, PEER, WIRE_SYNC_ROWS), &rows), 0);
    expect_u64(rows.id, 3);
    expect_u64(posv_get(&rows.at, SELF).seq, 10);
    assert_false(rows.last);
    ask_for(f, PEER, 3, "aa");
    expect_u64(f->open_count, 1);
    expect_u64(f->read_count, 2);
    expect_bytes(bytes_of(f->read_after, f->read_after_len), BYTES_LIT("aa"));
    core_link_down(f->core, PEER);
    expect_u64(f->close_count, 1);
    forget_sent(f);
    core_sync_rows(f->core, PEER, 3, 0, &piece); /* Too late. */
    expect_u64(count_sent(f, PEER, WIRE_SYNC_ROWS), 0);
}

/* Who comes back for the rest of a range, of whose checkpoint nothing is left, begins it anew. */
static void the_rest_of_a_range_is_not_given_from_another_checkpoint(void **state)
{
    struct fixture *f = *state;
    struct wire_sync_ask ask = {.id = 3,
                                .range = {.end = 10, .bits = 1, .sums = bytes_of(two_sums, 16)},
                                .after = BYTES_LIT("aa")};

    link_peer(f, PEER);
    assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
    assert_int_equal(wire_put_body(&f->out, WIRE_SYNC_ASK, buf_bytes(&f->batch), f->pack), 0);
    deliver(f, PEER);
    expect_u64(f->open_count, 0);
    ask.after = bytes_of(NULL, 0);
    assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
    assert_int_equal(wire_put_body(&f->out, WIRE_SYNC_ASK, buf_bytes(&f->batch), f->pack), 0);
    deliver(f, PEER);
    expect_u64(f->open_count, 1);
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

static void a_joiner_is_no_donor(void **state)
{
    struct fixture *f = *state;

    start_joiner(f);
    ask_for(f, PEER, 3, "");
    expect_u64(f->open_count, 0);
    assert_int_equal(f->closed_count, 0);
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
        CORE_TEST(a_copy_goes_on_with_another_donor_behind_the_last_key, setup),
        CORE_TEST(a_silent_donor_is_left, setup),
        CORE_TEST(a_donor_is_given_more_time_when_nobody_answers, setup),
        CORE_TEST(rows_that_make_no_sense_end_the_link, setup),
        CORE_TEST(a_flush_on_the_way_starts_the_copy_anew, setup),
        CORE_TEST(a_resync_asks_range_by_range_for_what_differs, setup_behind),
        CORE_TEST(another_donor_is_asked_for_a_range_from_its_begin, setup_behind),
        CORE_TEST(a_donor_may_end_a_range_earlier, setup_behind),
        CORE_TEST(rows_of_a_range_without_slots_are_refused, setup_behind),
        CORE_TEST(rows_of_more_slots_are_refused, setup_behind),
        CORE_TEST(rows_of_another_slot_are_refused, setup_behind),
        CORE_TEST(rows_behind_the_end_of_a_cut_range_are_refused, setup_behind),
        CORE_TEST(rows_that_were_given_already_are_refused, setup_behind),
        CORE_TEST(rows_that_do_not_say_what_differs_end_the_link, setup_behind),
        CORE_TEST(a_flush_while_rows_are_summed_up_begins_anew, setup_behind),
        CORE_TEST(own_rows_that_cannot_be_read_are_asked_for_whole, setup_behind),
        CORE_TEST(the_rest_of_a_range_is_not_given_from_another_checkpoint, setup_recovered),
        CORE_TEST(who_cannot_give_any_more_is_given_to, setup_behind),
        CORE_TEST(a_donor_reads_piece_by_piece_from_one_checkpoint, setup_recovered),
        CORE_TEST(a_joiner_is_no_donor, setup),
        CORE_TEST(a_joiner_is_not_behind, setup_retention),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
