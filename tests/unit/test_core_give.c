/*
 * Full sync with scripted peers, the giving side: what a donor gives, how long it keeps a
 * checkpoint, and to whom it gives nothing.
 */
#include <errno.h>

#include "engine/base/crc16.h"

#include "engine/value/row.h"

#include "tests/unit/test_core_fixture.h"

static struct bytes row_of(const char *value, uint8_t *row)
{
    return bytes_of(row, row_value_store(row, tag_of(HLC(-500), PEER), bytes_cstr(value), 0));
}

/* From the first key on, or of a checkpoint of which that key is there. */
static void ask_for(struct fixture *f, uint8_t from, uint32_t id, const char *after)
{
    static uint32_t turn;
    const struct wire_sync_ask ask = {.id = id,
                                      .turn = ++turn,
                                      .goes_on = after[0] != '\0',
                                      .range = {.end = KEY_SLOTS, .bits = WIRE_SYNC_ALL},
                                      .after = bytes_cstr(after)};

    assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
    assert_int_equal(wire_put_body(&f->out, WIRE_SYNC_ASK, buf_bytes(&f->batch), f->pack), 0);
    deliver(f, from);
}

static void say_that_one_waits(struct fixture *f, uint8_t from, uint32_t id)
{
    const struct wire_sync_ask ask = {
        .id = id, .goes_on = true, .waits = true, .range.bits = WIRE_SYNC_ALL};

    assert_int_equal(wire_build_sync_ask(&f->batch, &ask), 0);
    assert_int_equal(wire_put_body(&f->out, WIRE_SYNC_ASK, buf_bytes(&f->batch), f->pack), 0);
    deliver(f, from);
}

/* What was given last. */
static struct wire_sync_rows given(struct fixture *f, uint8_t to)
{
    struct wire_sync_rows rows;

    assert_int_equal(wire_get_sync_rows(last_body(f, to, WIRE_SYNC_ROWS), &rows), 0);
    return rows;
}

static const struct posv *own_vector(void)
{
    static struct posv at;

    at = posv_with(SELF, (struct pos){10, HLC(-100)});
    return &at;
}

static void a_donor_reads_piece_by_piece_from_one_checkpoint(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[64];
    const struct wire_row row = {.key = BYTES_LIT("aa"), .row = row_of("v", bytes)};
    const struct core_piece piece = {.rows = &row, .count = 1};

    link_peer(f, PEER);
    ask_for(f, PEER, 3, "");
    expect_u64(f->open_count, 1);
    ask_for(f, PEER, 3, ""); /* Not twice at a time. */
    expect_u64(f->open_count, 1);
    core_sync_opened(f->core, PEER, 3, 0, own_vector(), 0);
    expect_u64(f->read_count, 1);
    core_sync_rows(f->core, PEER, 3, 0, &piece);
    const struct wire_sync_rows rows = given(f, PEER);
    expect_u64(rows.id, 3);
    expect_u64(posv_get(&rows.at, SELF).seq, 10);
    assert_false(rows.last);
    ask_for(f, PEER, 3, "aa");
    expect_u64(f->open_count, 1);
    expect_u64(f->read_count, 2);
    expect_bytes(bytes_of(f->read_after, f->read_after_len), BYTES_LIT("aa"));
}

/* On the strength of it something may be gone from the rows: as of their end. */
static void the_last_rows_say_what_others_have_acknowledged(void **state)
{
    struct fixture *f = *state;
    const struct core_piece part = {.last = true, .end = 7};
    const struct core_piece end = {.last = true, .end = KEY_SLOTS};

    link_peer(f, PEER);
    link_peer(f, THIRD);
    ask_for(f, PEER, 3, "");
    core_sync_opened(f->core, PEER, 3, 0, own_vector(), 0);
    core_sync_rows(f->core, PEER, 3, 0, &part);
    expect_u64(given(f, PEER).acked.count, 0);
    ask_for(f, PEER, 3, "aa");
    send_ack(f, THIRD, 0, own_vector());
    core_sync_rows(f->core, PEER, 3, 0, &end);
    const struct wire_sync_rows rows = given(f, PEER);
    expect_u64(rows.acked.count, 1);
    expect_u64(rows.acked.origin[0], THIRD);
    expect_u64(posv_get(&rows.acked.durable[0], SELF).seq, 10);
}

/* A checkpoint that is open, of which a piece is being read. */
static void begin_to_give(struct fixture *f)
{
    link_peer(f, PEER);
    ask_for(f, PEER, 3, "");
    core_sync_opened(f->core, PEER, 3, 0, own_vector(), 0);
    expect_u64(f->read_count, 1);
}

static void a_checkpoint_outlives_a_broken_link(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[64];
    const struct wire_row row = {.key = BYTES_LIT("bb"), .row = row_of("v", bytes)};
    const struct core_piece piece = {.rows = &row, .count = 1};

    begin_to_give(f);
    core_sync_rows(f->core, PEER, 3, 0, &piece);
    const uint32_t turn = given(f, PEER).turn;
    ask_for(f, PEER, 3, "bb");
    core_link_down(f->core, PEER);
    forget_sent(f);
    core_sync_rows(f->core, PEER, 3, 0, &piece); /* There is no link. */
    expect_u64(f->sent_count, 0);

    link_peer(f, PEER);
    ask_for(f, PEER, 3, "bb");
    expect_u64(f->read_count, 3);
    core_link_down(f->core, PEER);
    link_peer(f, PEER);
    core_sync_rows(f->core, PEER, 3, 0, &piece); /* Nobody waits on this one yet. */
    expect_u64(count_sent(f, PEER, WIRE_SYNC_ROWS), 0);
    ask_for(f, PEER, 3, "bb");
    expect_u64(f->read_count, 4);
    core_link_down(f->core, PEER);
    link_peer(f, PEER);
    ask_for(f, PEER, 3, "bb"); /* What is being read is what is wanted. */
    expect_u64(f->read_count, 4);
    core_sync_rows(f->core, PEER, 3, 0, &piece);
    expect_u64(count_sent(f, PEER, WIRE_SYNC_ROWS), 1);
    expect_u64(given(f, PEER).turn, turn + 4);
    expect_u64(f->open_count, 1);
    expect_u64(f->close_count, 0);
}

/* Not for ever: whoever was away for too long, and one that is given a new one, has no more of it.
 */
static void a_checkpoint_that_nobody_reads_is_closed(void **state)
{
    struct fixture *f = *state;

    begin_to_give(f);
    core_sync_rows(f->core, PEER, 3, -EIO, NULL); /* It is asked for once more. */
    core_link_down(f->core, PEER);
    for (unsigned i = 0; f->close_count == 0 && i < 1000; i++)
        tick(f, 1000);
    expect_u64(f->close_count, 1);
    link_peer(f, PEER);
    ask_for(f, PEER, 3, "aa");
    assert_true(given(f, PEER).gone);
    ask_for(f, PEER, 4, "");
    expect_u64(f->open_count, 2);
}

/* One that cannot store what it has says so, and is given time; nothing else is. */
static void a_checkpoint_is_kept_for_one_who_waits(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[64];
    const struct wire_row row = {.key = BYTES_LIT("aa"), .row = row_of("v", bytes)};
    const struct core_piece piece = {.rows = &row, .count = 1};

    begin_to_give(f);
    core_sync_rows(f->core, PEER, 3, 0, &piece);
    forget_sent(f);
    for (unsigned i = 0; i < 200; i++) {
        say_that_one_waits(f, PEER, 3);
        forget_sent(f);
        tick(f, CORE_TIMEOUT_MS_DEFAULT - 1);
        expect_u64(count_sent(f, PEER, WIRE_SYNC_ROWS), 0);
    }
    expect_u64(f->close_count, 0);
    expect_u64(f->read_count, 1);
    ask_for(f, PEER, 3, "aa");
    expect_u64(f->read_count, 2);
    core_sync_rows(f->core, PEER, 3, -EIO, NULL);
    for (unsigned i = 0; f->close_count == 0 && i < 1000; i++) {
        say_that_one_waits(f, PEER, 2); /* For another one. */
        forget_sent(f);
        tick(f, 1000);
    }
    expect_u64(f->close_count, 1);
}

static void a_copy_that_is_acknowledged_is_closed(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[64];
    const struct wire_row row = {.key = BYTES_LIT("aa"), .row = row_of("v", bytes)};
    struct core_piece piece = {.rows = &row, .count = 1};

    begin_to_give(f);
    core_sync_rows(f->core, PEER, 3, 0, &piece);
    send_ack(f, PEER, 5, own_vector()); /* Has that anyway. */
    expect_u64(f->close_count, 0);
    ask_for(f, PEER, 3, "aa");
    piece.last = true;
    piece.end = KEY_SLOTS;
    core_sync_rows(f->core, PEER, 3, 0, &piece);
    expect_u64(f->close_count, 0); /* It may get lost. */
    send_ack(f, PEER, 5, own_vector());
    expect_u64(f->close_count, 1);
}

static void a_checkpoint_from_before_a_flush_is_gone(void **state)
{
    struct fixture *f = *state;

    begin_to_give(f);
    core_flush(f->core, 1);
    expect_u64(f->close_count, 1);
    core_sync_rows(f->core, PEER, 3, -ERR_CLOSED, NULL);
    expect_u64(count_sent(f, PEER, WIRE_SYNC_ROWS), 0);
    ask_for(f, PEER, 3, "aa");
    assert_true(given(f, PEER).gone);
}

static void a_checkpoint_that_the_host_has_lost_is_gone(void **state)
{
    struct fixture *f = *state;

    begin_to_give(f);
    core_sync_rows(f->core, PEER, 3, -ERR_CLOSED, NULL);
    assert_true(given(f, PEER).gone);
    expect_u64(f->close_count, 1);
}

/* A joiner that restarted, and whose number is the same by chance: it has nothing any more. */
static void what_was_read_for_another_question_is_not_given(void **state)
{
    struct fixture *f = *state;
    uint8_t bytes[64];
    const struct wire_row row = {.key = BYTES_LIT("cc"), .row = row_of("v", bytes)};
    const struct core_piece piece = {.rows = &row, .count = 1};

    begin_to_give(f);
    core_sync_rows(f->core, PEER, 3, 0, &piece);
    ask_for(f, PEER, 3, "bb");
    expect_u64(f->read_count, 2);
    core_link_down(f->core, PEER);
    link_peer(f, PEER);
    forget_sent(f);
    ask_for(f, PEER, 3, "");
    core_sync_rows(f->core, PEER, 3, 0, &piece); /* Behind "bb". */
    expect_u64(count_sent(f, PEER, WIRE_SYNC_ROWS), 0);
    expect_u64(f->read_count, 3);
    expect_u64(f->read_after_len, 0);
    core_sync_rows(f->core, PEER, 3, 0, &piece);
    expect_u64(count_sent(f, PEER, WIRE_SYNC_ROWS), 1);
}

static void a_joiner_is_no_donor(void **state)
{
    struct fixture *f = *state;
    struct members members = three_members(5);

    members.at[0].state = MEMBER_JOINING;
    core_set_members(f->core, &members);
    link_peer(f, PEER);
    ask_for(f, PEER, 3, "");
    expect_u64(f->open_count, 0);
    assert_int_equal(f->closed_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CORE_TEST(the_last_rows_say_what_others_have_acknowledged, setup_recovered),
        CORE_TEST(a_donor_reads_piece_by_piece_from_one_checkpoint, setup_recovered),
        CORE_TEST(a_checkpoint_outlives_a_broken_link, setup_recovered),
        CORE_TEST(a_checkpoint_that_nobody_reads_is_closed, setup_recovered),
        CORE_TEST(a_checkpoint_is_kept_for_one_who_waits, setup_recovered),
        CORE_TEST(a_copy_that_is_acknowledged_is_closed, setup_recovered),
        CORE_TEST(a_checkpoint_from_before_a_flush_is_gone, setup_recovered),
        CORE_TEST(a_checkpoint_that_the_host_has_lost_is_gone, setup_recovered),
        CORE_TEST(what_was_read_for_another_question_is_not_given, setup_recovered),
        CORE_TEST(a_joiner_is_no_donor, setup),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
