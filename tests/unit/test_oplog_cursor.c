/*
 * Cursors beside a log that is written, trimmed and recycled; inspection of whole logs.
 */
#include <stdatomic.h>

#include "engine/base/clock.h"

#include "engine/io/thread.h"

#include "tests/lib/seed.h"
#include "tests/unit/test_oplog_fixture.h"

/* A thread that has done nothing for so long never will. */
#define LATE_NS UINT64_C(60000000000)

static int setup(void **state)
{
    struct fx *fx = mem_zalloc(sizeof(*fx));

    fx_setup(fx, REACTOR_AUTO);
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

static void expect_record(const struct fx *fx, const struct oplog_record *record, uint64_t lsn)
{
    uint8_t payload[FX_LEN_MAX];
    const size_t len = fx_payload(fx->payload_seed, lsn, FX_LEN_MAX, payload);

    expect_u64(record->lsn, lsn);
    expect_u64(record->seq, fx_seq(lsn));
    expect_u64(record->origin, lsn % 5);
    expect_bytes(record->payload, bytes_of(payload, len));
}

static void a_cursor_begins_at_any_record(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);
    fx_append_many(fx, 1200, 50);
    for (uint64_t lsn = 1; lsn <= 1200; lsn += 97) {
        struct oplog_cursor *cursor;
        struct oplog_record record;
        expect_i64(oplog_cursor_open(fx->dir, lsn, &cursor), 0);
        for (uint64_t at = lsn; at <= 1200; at++) {
            expect_i64(oplog_cursor_next(cursor, UINT64_MAX, &record), OPLOG_CURSOR_RECORD);
            expect_record(fx, &record, at);
        }
        expect_i64(oplog_cursor_next(cursor, UINT64_MAX, &record), OPLOG_CURSOR_END);
        expect_u64(oplog_cursor_lsn(cursor), 1201);
        oplog_cursor_close(cursor);
    }
}

static void a_cursor_follows_the_log_to_the_given_limit(void **state)
{
    struct fx *fx = *state;
    struct oplog_cursor *cursor;
    struct oplog_record record;
    uint64_t next = 1;

    /* Opened before there is a segment. */
    fx_start(fx);
    expect_i64(oplog_cursor_open(fx->dir, 1, &cursor), 0);
    expect_i64(oplog_cursor_next(cursor, UINT64_MAX, &record), OPLOG_CURSOR_END);
    for (int round = 0; round < 60; round++) {
        fx_append_many(fx, 37, 10);
        const uint64_t limit_lsn = oplog_durable_lsn(fx->log) - 5;
        while (oplog_cursor_next(cursor, limit_lsn, &record) == OPLOG_CURSOR_RECORD)
            expect_record(fx, &record, next++);
        expect_u64(next, limit_lsn + 1);
    }
    assert_true(oplog_cursor_segment(cursor) > 2);
    oplog_cursor_close(cursor);
}

static void a_cursor_goes_on_over_a_restart(void **state)
{
    struct fx *fx = *state;
    struct oplog_cursor *cursor;
    struct oplog_record record;
    uint64_t next = 1;

    fx_start(fx);
    expect_i64(oplog_cursor_open(fx->dir, 1, &cursor), 0);
    for (int round = 0; round < 5; round++) {
        fx_append_many(fx, 10, 4);
        while (oplog_cursor_next(cursor, UINT64_MAX, &record) == OPLOG_CURSOR_RECORD)
            expect_record(fx, &record, next++);
        fx_close(fx);
        expect_i64(oplog_cursor_next(cursor, UINT64_MAX, &record), OPLOG_CURSOR_END);
        fx_start(fx);
    }
    expect_u64(next, 51);
    oplog_cursor_close(cursor);
}

static void a_cursor_is_told_when_its_segment_was_used_again(void **state)
{
    struct fx *fx = *state;
    struct oplog_cursor *cursor;
    struct oplog_record record;

    fx_start(fx);
    fx_append_many(fx, 600, 50);
    expect_i64(oplog_cursor_open(fx->dir, 1, &cursor), 0);
    expect_i64(oplog_cursor_next(cursor, UINT64_MAX, &record), OPLOG_CURSOR_RECORD);
    for (int i = 0; i < 20; i++) {
        (void)oplog_trim(fx->log, UINT64_MAX);
        fx_append_many(fx, 300, 50);
    }
    int err;
    uint64_t next = 2;
    while ((err = oplog_cursor_next(cursor, UINT64_MAX, &record)) == OPLOG_CURSOR_RECORD)
        expect_record(fx, &record, next++);
    expect_i64(err, -ERR_NOT_FOUND);
    oplog_cursor_close(cursor);
    expect_i64(oplog_cursor_open(fx->dir, 1, &cursor), -ERR_NOT_FOUND);
}

static void a_damaged_record_stops_a_cursor(void **state)
{
    struct fx *fx = *state;
    struct oplog_cursor *cursor;
    struct oplog_record record;

    fx_start(fx);
    fx_append_many(fx, 900, 50);
    fx_close(fx);
    char *path = segment_path(fx->dir, 1);
    const int fd = file_open(path, FILE_READ | FILE_WRITE);
    expect_i64(file_write_full(fd, "damage", 6, 20000), 0);
    (void)file_close(fd);
    mem_free(path);

    expect_i64(oplog_cursor_open(fx->dir, 1, &cursor), 0);
    uint64_t next = 1;
    int err;
    while ((err = oplog_cursor_next(cursor, UINT64_MAX, &record)) == OPLOG_CURSOR_RECORD)
        expect_record(fx, &record, next++);
    expect_i64(err, -ERR_CORRUPT);
    assert_true(oplog_cursor_offset(cursor) <= 20000);
    assert_true(next > 10);
    oplog_cursor_close(cursor);
}

/* --- another thread --- */

struct follower {
    struct fx *fx;
    _Atomic uint64_t durable_lsn;
    _Atomic bool stop;
    _Atomic uint64_t read;
    uint64_t resets;
    _Atomic int err; /* The thread has ended with it. */
};

static void follow(void *arg)
{
    struct follower *f = arg;
    struct oplog_cursor *cursor = NULL;
    uint64_t next = 1;

    while (!atomic_load(&f->stop)) {
        const uint64_t limit_lsn = atomic_load(&f->durable_lsn);
        struct oplog_record record;
        uint8_t payload[FX_LEN_MAX];
        if (cursor == NULL && oplog_cursor_open(f->fx->dir, next, &cursor) != 0) {
            cursor = NULL;
            next = limit_lsn + 1;
            continue;
        }
        const int err = oplog_cursor_next(cursor, limit_lsn, &record);
        if (err == OPLOG_CURSOR_END)
            continue;
        if (err == -ERR_NOT_FOUND) {
            oplog_cursor_close(cursor);
            cursor = NULL;
            next = limit_lsn + 1;
            f->resets++;
            continue;
        }
        const size_t len = fx_payload(f->fx->payload_seed, next, FX_LEN_MAX, payload);
        if (err != 0 || record.lsn != next || !bytes_eq(record.payload, bytes_of(payload, len))) {
            atomic_store(&f->err, err == 0 ? -ERR_RANGE : err);
            break;
        }
        atomic_fetch_add(&f->read, 1);
        next++;
    }
    oplog_cursor_close(cursor);
}

static void a_reader_on_another_thread_sees_only_true_records(void **state)
{
    struct fx *fx = *state;
    struct follower f = {.fx = fx};
    struct thread thread = {0};
    struct rng rng;

    seed_rng(&rng, 1);
    fx_start(fx);
    expect_i64(thread_start(&thread, "follow", follow, &f), 0);
    /* However late the thread begins, within reason. */
    const uint64_t until_ns = clock_mono_ns() + LATE_NS;
    for (int i = 0; i < 6000 || (atomic_load(&f.read) == 0 && atomic_load(&f.err) == 0 &&
                                 clock_mono_ns() < until_ns);
         i++) {
        (void)fx_append(fx);
        if (rng_below(&rng, 10) == 0)
            fx_settle(fx);
        atomic_store(&f.durable_lsn, oplog_durable_lsn(fx->log));
        if (rng_below(&rng, 400) == 0)
            (void)oplog_trim(fx->log, oplog_durable_lsn(fx->log));
    }
    atomic_store(&f.stop, true);
    thread_join(&thread);

    expect_i64(atomic_load(&f.err), 0);
    assert_true(atomic_load(&f.read) > 0);
}

/* --- inspection --- */

struct found {
    uint64_t states[OPLOG_SEGMENT_MISSING + 1];
    uint64_t records;
};

static void on_segment(void *ctx, const struct oplog_segment_info *info)
{
    struct found *found = ctx;

    found->states[info->state]++;
    found->records += info->records_count;
}

static void inspection_of_a_sound_log_finds_all_records(void **state)
{
    struct fx *fx = *state;
    struct oplog_summary summary;
    struct found found = {0};

    fx_start(fx);
    fx_append_many(fx, 1200, 50);
    for (int live = 1; live >= 0; live--) {
        memset(&found, 0, sizeof(found));
        expect_i64(oplog_inspect(fx->dir, true, &summary, on_segment, &found), 0);
        expect_u64(found.records, 1200);
        expect_u64(summary.first_lsn, 1);
        expect_u64(summary.last_lsn, 1200);
        expect_u64(summary.bad_count, 0);
        expect_u64(summary.segments_count, found.states[OPLOG_SEGMENT_OK]);
        expect_u64(found.states[OPLOG_SEGMENT_SPARE], 1);
        expect_i64(summary.mark_err, 0);
        assert_false(summary.lost);
        if (live == 1)
            fx_close(fx);
    }
    expect_i64(oplog_inspect(fx->dir, false, &summary, NULL, NULL), 0);
    assert_true(summary.segments_count > 3);
    expect_u64(summary.mark.durable_lsn, 1200);
}

static void damage_segment(struct fx *fx, uint64_t number, uint64_t offset)
{
    char *path = segment_path(fx->dir, number);
    const int fd = file_open(path, FILE_READ | FILE_WRITE);

    expect_i64(file_write_full(fd, "damage", 6, offset), 0);
    (void)file_close(fd);
    mem_free(path);
}

static void inspection_finds_planted_damage(void **state)
{
    struct fx *fx = *state;
    struct oplog_summary summary;
    struct found found = {0};

    fx_start(fx);
    fx_append_many(fx, 1500, 50);
    fx_close(fx);
    damage_segment(fx, 2, 30000);
    expect_i64(oplog_inspect(fx->dir, true, &summary, on_segment, &found), 0);
    expect_u64(summary.bad_count, 1);
    expect_u64(found.states[OPLOG_SEGMENT_DAMAGED], 1);

    char *path = segment_path(fx->dir, 3);
    expect_i64(file_unlink(path), 0);
    mem_free(path);
    memset(&found, 0, sizeof(found));
    expect_i64(oplog_inspect(fx->dir, true, &summary, on_segment, &found), 0);
    expect_u64(found.states[OPLOG_SEGMENT_MISSING], 1);
    assert_true(summary.bad_count >= 2);
    damage_segment(fx, 1, 100);
    expect_i64(oplog_inspect(fx->dir, true, &summary, NULL, NULL), 0);
    assert_true(summary.bad_count >= 3);
}

static void inspection_says_when_the_end_is_lost(void **state)
{
    struct fx *fx = *state;
    struct oplog_summary summary;

    fx_start(fx);
    fx_append_many(fx, 20, 1);
    fx_close(fx);
    char *path = segment_path(fx->dir, 1);
    const int fd = file_open(path, FILE_READ | FILE_WRITE);
    expect_i64(file_truncate(fd, SEGMENT_HEADER_BYTES + 500), 0);
    (void)file_close(fd);
    mem_free(path);

    expect_i64(oplog_inspect(fx->dir, true, &summary, NULL, NULL), 0);
    assert_true(summary.lost);
    expect_u64(summary.mark.durable_lsn, 20);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_cursor_begins_at_any_record),
        TEST(a_cursor_follows_the_log_to_the_given_limit),
        TEST(a_cursor_goes_on_over_a_restart),
        TEST(a_cursor_is_told_when_its_segment_was_used_again),
        TEST(a_damaged_record_stops_a_cursor),
        TEST(a_reader_on_another_thread_sees_only_true_records),
        TEST(inspection_of_a_sound_log_finds_all_records),
        TEST(inspection_finds_planted_damage),
        TEST(inspection_says_when_the_end_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
