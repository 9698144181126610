/*
 * What the tests of copies share beside test_core_fixture.h: a scripted donor, and a core that is
 * behind the logs of its peers. Each test program includes this once.
 */
#ifndef TIERRA_TESTS_UNIT_TEST_CORE_SYNC_FIXTURE_H
#define TIERRA_TESTS_UNIT_TEST_CORE_SYNC_FIXTURE_H

#include "engine/base/crc16.h"

#include "engine/value/row.h"

#include "tests/unit/test_core_fixture.h"

/* Of a slot that the first letter says. */
static struct bytes key_of(const char *key)
{
    static uint8_t bytes[3];

    bytes[0] = 0;
    bytes[1] = (uint8_t)(key[0] - 'a');
    bytes[2] = (uint8_t)key[1];
    return bytes_of(bytes, sizeof(bytes));
}

static struct bytes row_of(const char *key, uint8_t *row)
{
    return bytes_of(row, row_value_store(row, tag_of(HLC(-500), PEER), bytes_cstr(key), 0));
}

/* The peer that was asked last, and what. */
static uint8_t asked(struct fixture *f, struct wire_sync_ask *out)
{
    struct wire_frame opened;

    for (unsigned i = f->sent_count; i-- > 0;) {
        if (f->sent[i].kind != WIRE_SYNC_ASK)
            continue;
        assert_int_equal(wire_open(buf_bytes(&f->sent[i].frame), f->pack, &f->scratch, &opened), 0);
        assert_int_equal(wire_get_sync_ask(opened.body, out), 0);
        return f->sent[i].peer;
    }
    fail_msg("nothing was asked for");
    return 0;
}

/* The donor's answer to what was asked for last: one row, or none with key NULL. */
static void answer(struct fixture *f, uint8_t from, const struct wire_sync_rows *head,
                   const char *key)
{
    struct wire_sync_rows now = *head;
    struct wire_sync_ask last;
    uint8_t bytes[64];
    struct wire_row row;

    (void)asked(f, &last);
    now.turn = last.turn;
    if (key != NULL)
        row = (struct wire_row){.key = key_of(key), .row = row_of(key, bytes)};
    assert_int_equal(wire_build_sync_rows(&f->batch, &now, &row, key != NULL ? 1 : 0), 0);
    assert_int_equal(wire_put_body(&f->out, WIRE_SYNC_ROWS, buf_bytes(&f->batch), f->pack), 0);
    deliver(f, from);
}

/* All links are alive for so long, and nobody gives anything. */
static void wait_in_silence(struct fixture *f, unsigned ms)
{
    for (unsigned i = 0; i < ms; i += 1000) {
        for (uint8_t origin = PEER; origin <= FOURTH; origin++) {
            assert_int_equal(wire_put_credit(&f->out, 1), 0);
            deliver(f, origin);
        }
        forget_sent(f);
        tick(f, 1000);
    }
}

/* Until somebody is asked for rows again. */
static UNUSED uint8_t wait_for_ask(struct fixture *f, struct wire_sync_ask *out)
{
    for (unsigned seconds = 0; seconds < 200; seconds++) {
        wait_in_silence(f, 1000);
        for (unsigned i = 0; i < f->sent_count; i++) {
            if (f->sent[i].kind == WIRE_SYNC_ASK)
                return asked(f, out);
        }
    }
    fail_msg("nobody is asked");
    return 0;
}

/* A peer that has what its log has no more. */
static void greet_ahead(struct fixture *f, uint8_t origin)
{
    struct wire_hello hello = hello_of(origin);

    assert_int_equal(posv_raise(&hello.durable, PEER, (struct pos){9, HLC(-9)}), 0);
    assert_int_equal(posv_raise(&hello.trimmed, PEER, (struct pos){8, HLC(-10)}), 0);
    hello.applied = hello.durable;
    greet(f, &hello);
}

/* Both peers have what nobody's log has any more. */
static void fall_behind(struct fixture *f)
{
    for (uint8_t origin = PEER; origin <= THIRD; origin++) {
        struct wire_nack nack = {.origin = PEER, .reason = WIRE_TRIMMED, .trimmed_seq = 8};

        greet_ahead(f, origin);
        nack.generation = f->generation;
        if (origin != PEER)
            continue;
        assert_int_equal(wire_put_nack(&f->out, &nack), 0);
        deliver(f, origin);
    }
    for (unsigned i = 0; i < 4 && !core_resyncing(f->core); i++)
        tick(f, CORE_RELAY_MS_DEFAULT);
    assert_true(core_resyncing(f->core));
    tick(f, 1);
}

static const uint8_t two_sums[16];

/* The empty range is there, and the first true one is asked for: two buckets of slots 0 to 9. */
static UNUSED uint8_t ask_for_two_buckets(struct fixture *f, struct wire_sync_rows *head,
                                          struct wire_sync_ask *ask)
{
    const uint8_t donor = asked(f, ask);

    expect_u64(ask->range.first, 0);
    expect_u64(ask->range.end, 0);
    expect_u64(ask->range.bits, WIRE_SYNC_ALL);
    assert_false(ask->entered);
    head->id = ask->id;
    head->last = true;
    answer(f, donor, head, NULL);
    expect_u64(f->begin_count, 1);
    core_sync_stored(f->core, 0);
    expect_u64(f->sum_count, 1);
    expect_u64(f->sum_first, 0);
    const struct wire_sync_range range = {
        .end = 10, .bits = 1, .seed = 77, .sums = bytes_of(two_sums, 16)};
    forget_sent(f);
    core_sync_summed(f->core, &range);
    assert_int_equal(asked(f, ask), donor);
    expect_u64(ask->range.end, 10);
    expect_u64(ask->range.bits, 1);
    expect_bytes(ask->range.sums, bytes_of(two_sums, 16));
    assert_true(ask->entered);
    head->end = 10;
    return donor;
}

static UNUSED struct wire_sync_rows head_of_resync(void)
{
    return (struct wire_sync_rows){.at = posv_with(PEER, (struct pos){9, HLC(-9)}),
                                   .newest = posv_with(PEER, (struct pos){9, HLC(-9)})};
}

#endif
