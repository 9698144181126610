/*
 * The op log: appending, positions, policies, segments, trimming, closing; on both backends.
 */
#include "engine/base/hist.h"

#include "engine/io/pool.h"

#include "tests/lib/seed.h"
#include "tests/unit/test_oplog_fixture.h"

static int setup_uring(void **state)
{
    struct fx *fx = mem_zalloc(sizeof(*fx));

    fx_setup(fx, REACTOR_URING);
    *state = fx;
    return 0;
}

static int setup_epoll(void **state)
{
    struct fx *fx = mem_zalloc(sizeof(*fx));

    fx_setup(fx, REACTOR_EPOLL);
    *state = fx;
    return 0;
}

static int teardown(void **state)
{
    struct fx *fx = *state;

    fx_teardown(fx);
    mem_free(fx);
    return 0;
}

static void a_new_log_is_empty(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);

    expect_u64(oplog_next_lsn(fx->log), 1);
    expect_u64(oplog_applied_lsn(fx->log), 0);
    expect_u64(oplog_durable_lsn(fx->log), 0);
    expect_u64(oplog_first_lsn(fx->log), 1);
    expect_u64(oplog_segment_count(fx->log), 0);
    expect_u64(fx->replayed, 0);
    assert_false(oplog_space_low(fx->log));
}

static void records_become_written_then_durable_and_come_back(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);
    fx_append_many(fx, 10, 3);
    expect_u64(fx->durable_lsn, 10);
    expect_u64(oplog_written_lsn(fx->log), 10);
    fx_close(fx);

    fx_start(fx);
    expect_u64(fx->replayed, 10);
    expect_u64(oplog_next_lsn(fx->log), 11);
    expect_u64(oplog_durable_lsn(fx->log), 10);
}

static void a_replay_begins_after_what_the_store_covers(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);
    fx_append_many(fx, 1000, 50);
    assert_true(oplog_segment_count(fx->log) > 2);
    fx_close(fx);

    expect_i64(fx_open(fx), 0);
    expect_i64(fx_recover(fx, 990), 0);
    expect_u64(fx->first_lsn, 991);
    expect_u64(fx->last_lsn, 1000);
}

static void one_turn_makes_one_write(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);
    fx_append_many(fx, 1, 1);
    const uint64_t before = oplog_metrics(fx->log)->writes;
    for (int i = 0; i < 40; i++)
        (void)fx_append(fx);
    fx_settle(fx);

    expect_u64(oplog_metrics(fx->log)->writes, before + 1);
}

static void turns_gather_while_a_write_is_in_flight(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);
    fx_append_many(fx, 1, 1);
    const uint64_t before = oplog_metrics(fx->log)->writes;
    for (int i = 0; i < 20; i++) {
        (void)fx_append(fx);
        oplog_turn_end(fx->log);
    }
    fx_settle(fx);

    expect_u64(oplog_metrics(fx->log)->writes, before + 2);
    expect_u64(oplog_durable_lsn(fx->log), 21);
}

static void nothing_is_called_back_from_within_a_call(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);
    (void)fx_append(fx);
    oplog_turn_end(fx->log);
    oplog_request_sync(fx->log);

    expect_u64(fx->durable_lsn, 0);
    expect_u64(oplog_written_lsn(fx->log), 0);
}

static void without_a_policy_nothing_is_synced_until_asked(void **state)
{
    struct fx *fx = *state;

    fx->options.policy = OPLOG_SYNC_NO;
    fx_start(fx);
    (void)fx_append(fx);
    FX_RUN_UNTIL(fx, oplog_written_lsn(fx->log) != 0);
    expect_u64(oplog_written_lsn(fx->log), 1);
    expect_u64(oplog_durable_lsn(fx->log), 0);

    oplog_request_sync(fx->log);
    fx_settle(fx);
    expect_u64(fx->durable_lsn, 1);
}

static void everysec_syncs_by_timer(void **state)
{
    struct fx *fx = *state;

    fx->options.policy = OPLOG_SYNC_EVERYSEC;
    fx->options.sync_period_ms = 20;
    fx_start(fx);
    (void)fx_append(fx);
    FX_RUN_UNTIL(fx, fx->durable_lsn != 0);
    expect_u64(fx->durable_lsn, 1);
}

static void a_change_to_always_syncs_what_was_only_written(void **state)
{
    struct fx *fx = *state;

    fx->options.policy = OPLOG_SYNC_NO;
    fx_start(fx);
    for (int i = 0; i < 5; i++) {
        (void)fx_append(fx);
        FX_RUN_UNTIL(fx, oplog_written_lsn(fx->log) == oplog_applied_lsn(fx->log));
    }
    expect_u64(oplog_durable_lsn(fx->log), 0);
    oplog_set_policy(fx->log, OPLOG_SYNC_ALWAYS);
    (void)fx_append(fx);
    FX_RUN_UNTIL(fx, fx->durable_lsn >= 6);
    expect_u64(fx->durable_lsn, 6);
    oplog_set_policy(fx->log, OPLOG_SYNC_EVERYSEC);
    fx_append_many(fx, 300, 7);
    fx_close(fx);

    fx_start(fx);
    expect_u64(fx->replayed, 306);
}

static void every_method_gives_the_same_log(void **state)
{
    static const enum oplog_method methods[] = {OPLOG_METHOD_DSYNC, OPLOG_METHOD_FSYNC,
                                                OPLOG_METHOD_DIRECT};
    struct fx *fx = *state;
    uint64_t total = 0;

    for (size_t i = 0; i < ARRAY_COUNT(methods); i++) {
        fx->options.method = methods[i];
        fx_start(fx);
        expect_u64(fx->replayed, total);
        fx_append_many(fx, 700, 9);
        total += 700;
        assert_true(hist_count(oplog_sync_hist(fx->log)) > 70);
        fx_close(fx);
    }
    fx_start(fx);
    expect_u64(fx->replayed, total);
}

static void a_record_longer_than_a_segment_gets_through(void **state)
{
    struct fx *fx = *state;
    const size_t len = 3 * FX_SEGMENT_BYTES + 17;
    uint8_t *big = mem_alloc(len);

    memset(big, 'b', len);
    fx_start(fx);
    fx_append_many(fx, 3, 1);
    expect_i64(oplog_can_append(fx->log, len), 0);
    expect_u64(oplog_append(fx->log, bytes_of(big, len), 1, 2), 4);
    fx_append_many(fx, 3, 1);
    assert_true(oplog_bytes(fx->log) > len);
    fx_close(fx);

    struct oplog_cursor *cursor;
    struct oplog_record record;
    expect_i64(oplog_cursor_open(fx->dir, 4, &cursor), 0);
    expect_i64(oplog_cursor_next(cursor, UINT64_MAX, &record), OPLOG_CURSOR_RECORD);
    expect_u64(record.lsn, 4);
    expect_bytes(record.payload, bytes_of(big, len));
    expect_i64(oplog_cursor_next(cursor, UINT64_MAX, &record), OPLOG_CURSOR_RECORD);
    expect_u64(record.lsn, 5);
    oplog_cursor_close(cursor);
    mem_free(big);
}

static void a_full_buffer_says_busy_until_it_is_written(void **state)
{
    struct fx *fx = *state;
    uint8_t payload[4096] = {0};

    fx->options.buffer_bytes_max = 32 << 10;
    fx->options.segment_bytes = 1 << 20;
    fx_start(fx);
    unsigned count = 0;
    while (oplog_can_append(fx->log, sizeof(payload)) == 0) {
        (void)oplog_append(fx->log, bytes_of(payload, sizeof(payload)), 0, 0);
        assert_true(++count < 10);
    }
    expect_i64(oplog_can_append(fx->log, sizeof(payload)), -ERR_BUSY);
    assert_true(oplog_congested(fx->log));
    fx_settle(fx);
    expect_i64(oplog_can_append(fx->log, sizeof(payload)), 0);
    assert_false(oplog_congested(fx->log));
    /* One record may be longer than the buffer, alone. */
    expect_i64(oplog_can_append(fx->log, 100 << 10), 0);
    expect_i64(oplog_can_append(fx->log, fx->options.record_bytes_max + (1u << 30)), -ERR_LIMIT);
}

static void trimming_drops_whole_segments_and_recycles_them(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);
    fx_append_many(fx, 3000, 40);
    const size_t segments = oplog_segment_count(fx->log);
    assert_true(segments > 5);
    expect_u64(oplog_trim(fx->log, 0), 0);

    const size_t dropped = oplog_trim(fx->log, 1500);
    assert_true(dropped >= 1);
    expect_u64(oplog_segment_count(fx->log), segments - dropped);
    assert_true(oplog_first_lsn(fx->log) > 1);
    assert_true(oplog_first_lsn(fx->log) <= 1501);
    (void)oplog_trim(fx->log, UINT64_MAX);
    expect_u64(oplog_segment_count(fx->log), 1);
    assert_true(oplog_metrics(fx->log)->segments_recycled > 0);
    assert_true(oplog_bytes(fx->log) <= 6 * FX_SEGMENT_BYTES);

    /* The recycled files hold old records, which must not come back. */
    fx_append_many(fx, 1000, 11);
    const uint64_t first_lsn = oplog_first_lsn(fx->log);
    fx_close(fx);
    expect_i64(fx_open(fx), 0);
    expect_i64(fx_recover(fx, first_lsn - 1), 0);
    expect_u64(fx->first_lsn, first_lsn);
    expect_u64(fx->last_lsn, 4000);
}

static void what_is_not_durable_is_not_trimmed(void **state)
{
    struct fx *fx = *state;

    fx->options.policy = OPLOG_SYNC_NO;
    fx_start(fx);
    for (int i = 0; i < 400; i++) {
        (void)fx_append(fx);
        fx_turn(fx);
    }
    const uint64_t durable_lsn = oplog_durable_lsn(fx->log);
    (void)oplog_trim(fx->log, UINT64_MAX);

    assert_true(oplog_first_lsn(fx->log) <= durable_lsn + 1);
}

static void random_use_reopens_equal(void **state)
{
    static const enum oplog_policy policies[] = {OPLOG_SYNC_NO, OPLOG_SYNC_EVERYSEC,
                                                 OPLOG_SYNC_ALWAYS};
    struct fx *fx = *state;
    struct rng rng;
    uint64_t trimmed_lsn = 0;

    seed_rng(&rng, 1);
    fx->options.sync_period_ms = 2;
    for (unsigned round = 0; round < 12; round++) {
        fx->options.policy = policies[rng_below(&rng, 3)];
        fx->options.method = (enum oplog_method)rng_below(&rng, 4);
        expect_i64(fx_open(fx), 0);
        expect_i64(fx_recover(fx, trimmed_lsn), 0);
        expect_u64(oplog_next_lsn(fx->log), fx->last_lsn + 1);
        const uint64_t ops = rng_below(&rng, 1500);
        for (uint64_t i = 0; i < ops; i++) {
            (void)fx_append(fx);
            if (rng_below(&rng, 4) == 0)
                oplog_turn_end(fx->log);
            if (rng_below(&rng, 8) == 0)
                reactor_run_once(fx->reactor, 0);
            if (rng_below(&rng, 50) == 0)
                oplog_set_policy(fx->log, policies[rng_below(&rng, 3)]);
            if (rng_below(&rng, 50) == 0)
                oplog_request_sync(fx->log);
            if (rng_below(&rng, 300) == 0) {
                (void)oplog_trim(fx->log, rng_below(&rng, oplog_next_lsn(fx->log)));
                trimmed_lsn = oplog_first_lsn(fx->log) - 1;
            }
        }
        fx->last_lsn = oplog_applied_lsn(fx->log);
        fx_close(fx);
    }
}

static void a_log_in_use_is_not_opened_twice(void **state)
{
    struct fx *fx = *state;
    struct oplog *second = NULL;

    fx_start(fx);
    expect_i64(oplog_open(&fx->options, &second, fx->why, sizeof(fx->why)), -ERR_BUSY);
    assert_non_null(strstr(fx->why, "in use"));
}

/* --- with a pool --- */

static void drain_mailbox(void *ctx)
{
    (void)mailbox_drain(ctx, 16);
}

static void segments_are_made_on_the_pool(void **state)
{
    struct fx *fx = *state;
    const struct pool_options pool_options = {.name = "test", .threads = 1};
    struct pool *pool;
    struct pool_class jobs;
    struct mailbox mailbox;

    expect_i64(pool_create(&pool_options, &pool), 0);
    oplog_pool_class(&jobs);
    pool_add_class(pool, &jobs);
    mailbox_init(&mailbox, fx->reactor);
    reactor_set_wake_hook(fx->reactor, drain_mailbox, &mailbox);
    fx->options.jobs = &jobs;
    fx->options.mailbox = &mailbox;
    fx_start(fx);
    fx_append_many(fx, 2000, 10);
    assert_true(oplog_segment_count(fx->log) > 3);
    (void)oplog_trim(fx->log, 1000);
    fx_append_many(fx, 1000, 10);
    const uint64_t first_lsn = oplog_first_lsn(fx->log);
    fx_close(fx);
    reactor_set_wake_hook(fx->reactor, NULL, NULL);
    mailbox_deinit(&mailbox);
    pool_destroy(pool);

    fx->options.jobs = NULL;
    fx->options.mailbox = NULL;
    expect_i64(fx_open(fx), 0);
    expect_i64(fx_recover(fx, first_lsn - 1), 0);
    expect_u64(fx->last_lsn, 3000);
}

#define ON_BOTH(test)                                         \
    {#test " (io_uring)", test, setup_uring, teardown, NULL}, \
    {                                                         \
#test " (epoll)", test, setup_epoll, teardown, NULL   \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(a_new_log_is_empty),
        ON_BOTH(records_become_written_then_durable_and_come_back),
        ON_BOTH(a_replay_begins_after_what_the_store_covers),
        ON_BOTH(one_turn_makes_one_write),
        ON_BOTH(turns_gather_while_a_write_is_in_flight),
        ON_BOTH(nothing_is_called_back_from_within_a_call),
        ON_BOTH(without_a_policy_nothing_is_synced_until_asked),
        ON_BOTH(everysec_syncs_by_timer),
        ON_BOTH(a_change_to_always_syncs_what_was_only_written),
        ON_BOTH(every_method_gives_the_same_log),
        ON_BOTH(a_record_longer_than_a_segment_gets_through),
        ON_BOTH(a_full_buffer_says_busy_until_it_is_written),
        ON_BOTH(trimming_drops_whole_segments_and_recycles_them),
        ON_BOTH(what_is_not_durable_is_not_trimmed),
        ON_BOTH(random_use_reopens_equal),
        ON_BOTH(a_log_in_use_is_not_opened_twice),
        ON_BOTH(segments_are_made_on_the_pool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
