/*
 * What the tests of the op log share: a log on a real reactor in a temporary directory, records
 * whose content follows from their LSN, and copies of a log's directory to damage.
 */
#ifndef TIERRA_TESTS_UNIT_TEST_OPLOG_FIXTURE_H
#define TIERRA_TESTS_UNIT_TEST_OPLOG_FIXTURE_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/buf.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/io/file.h"
#include "engine/io/reactor.h"

#include "replication/oplog.h"
#include "replication/oplog_cursor.h"

#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

#define FX_SEGMENT_BYTES (64u << 10)
#define FX_WHY_BYTES     512

struct fx {
    char *dir; /* Of the log. */
    char *root;
    struct reactor *reactor;
    struct oplog *log;
    struct oplog_options options;
    uint64_t durable_lsn; /* By the callback. */
    unsigned fences;
    uint64_t replayed; /* Records, and the last of them. */
    uint64_t last_lsn;
    uint64_t first_lsn;
    uint64_t payload_seed;
    char why[FX_WHY_BYTES];
};

static inline void fx_on_durable(void *ctx, uint64_t lsn)
{
    struct fx *fx = ctx;

    assert_true(lsn > fx->durable_lsn);
    assert_true(lsn <= oplog_written_lsn(fx->log));
    fx->durable_lsn = lsn;
}

static inline void fx_on_fence(void *ctx, const char *why)
{
    struct fx *fx = ctx;

    fx->fences++;
    assert_true(strlen(why) > 10);
}

/* The payload of record `lsn`: length and bytes follow from it. */
static inline size_t fx_payload(uint64_t seed, uint64_t lsn, size_t len_max, uint8_t *out)
{
    struct rng rng;

    rng_seed(&rng, seed ^ (lsn * 0x9e3779b97f4a7c15u));
    const size_t len = (size_t)rng_below(&rng, len_max + 1);
    rng_bytes(&rng, out, len);
    return len;
}

static inline uint64_t fx_seq(uint64_t lsn)
{
    return lsn * 7 + 3;
}

static inline void fx_reactor(struct fx *fx, enum reactor_backend backend)
{
    const struct reactor_options options = {.backend = backend, .max_conns = 4};
    const int err = reactor_create(&options, &fx->reactor);

    if (err == -ENOSYS || err == -EPERM)
        skip();
    expect_i64(err, 0);
}

static inline void fx_setup(struct fx *fx, enum reactor_backend backend)
{
    *fx = (struct fx){.payload_seed = 1};
    fx->root = tmpdir_create();
    fx->dir = tmpdir_path(fx->root, "log");
    fx_reactor(fx, backend);
    fx->options = (struct oplog_options){
        .dir = fx->dir,
        .reactor = fx->reactor,
        .policy = OPLOG_SYNC_ALWAYS,
        .segment_bytes = FX_SEGMENT_BYTES,
        .on_durable = fx_on_durable,
        .on_fence = fx_on_fence,
        .ctx = fx,
    };
}

static inline int fx_open(struct fx *fx)
{
    return oplog_open(&fx->options, &fx->log, fx->why, sizeof(fx->why));
}

#define FX_LEN_MAX 300u

/* Checks that records come in order and are what fx_append wrote. */
static inline int fx_replay(void *ctx, const struct oplog_record *record)
{
    struct fx *fx = ctx;
    uint8_t payload[FX_LEN_MAX];
    const size_t len = fx_payload(fx->payload_seed, record->lsn, FX_LEN_MAX, payload);

    if (fx->replayed == 0)
        fx->first_lsn = record->lsn;
    else
        expect_u64(record->lsn, fx->last_lsn + 1);
    expect_u64(record->seq, fx_seq(record->lsn));
    expect_u64(record->origin, record->lsn % 5);
    expect_bytes(record->payload, bytes_of(payload, len));
    fx->replayed++;
    fx->last_lsn = record->lsn;
    return 0;
}

static inline int fx_recover(struct fx *fx, uint64_t from_lsn)
{
    fx->replayed = 0;
    fx->last_lsn = from_lsn;
    const int err = oplog_recover(fx->log, from_lsn, fx_replay, fx, fx->why, sizeof(fx->why));
    if (err == 0)
        fx->durable_lsn = oplog_durable_lsn(fx->log);
    return err;
}

static inline void fx_close(struct fx *fx)
{
    const int err = oplog_close(fx->log);

    fx->log = NULL;
    expect_i64(err, 0);
}

/* Opens, replays everything and fails on any error. */
static inline void fx_start(struct fx *fx)
{
    int err = fx_open(fx);
    if (err == 0)
        err = fx_recover(fx, 0);
    if (err != 0)
        print_error("%s\n", fx->why);
    expect_i64(err, 0);
}

/* 0, or the error of open or recover; the log is closed again in any case. */
static inline int fx_try(struct fx *fx)
{
    int err = fx_open(fx);

    if (err != 0)
        return err;
    err = fx_recover(fx, 0);
    (void)oplog_close(fx->log);
    fx->log = NULL;
    return err;
}

/* How long a test waits for what it is sure to see: a bound for what hangs, not for what is slow.
 */
#define FX_WAIT_NS_MAX (180 * UINT64_C(1000000000))

/* Ends turns until `condition` holds; fails if it never does. */
#define FX_RUN_UNTIL(fx, condition)                            \
    do {                                                       \
        const uint64_t fx_from_ns = clock_mono_ns();           \
        while (!(condition)) {                                 \
            if (clock_mono_ns() - fx_from_ns > FX_WAIT_NS_MAX) \
                fail_msg("never came true: %s", #condition);   \
            oplog_turn_end((fx)->log);                         \
            reactor_run_once((fx)->reactor, 10);               \
        }                                                      \
    } while (0)

static inline bool fx_settled(struct fx *fx)
{
    if (oplog_fenced(fx->log, NULL) || oplog_durable_lsn(fx->log) == oplog_applied_lsn(fx->log))
        return true;
    oplog_turn_end(fx->log);
    oplog_request_sync(fx->log);
    return false;
}

/* Turns until all that was appended is durable, or the log is fenced. */
static inline void fx_settle(struct fx *fx)
{
    FX_RUN_UNTIL(fx, fx_settled(fx));
}

/* Waits where the log says that it is busy. */
static inline uint64_t fx_append(struct fx *fx)
{
    uint8_t payload[FX_LEN_MAX];
    const uint64_t lsn = oplog_next_lsn(fx->log);
    const size_t len = fx_payload(fx->payload_seed, lsn, FX_LEN_MAX, payload);

    FX_RUN_UNTIL(fx, oplog_can_append(fx->log, FX_LEN_MAX) != -ERR_BUSY);
    expect_i64(oplog_can_append(fx->log, FX_LEN_MAX), 0);
    uint8_t *room = oplog_reserve(fx->log, FX_LEN_MAX);
    memcpy(room, payload, len);
    expect_u64(oplog_commit(fx->log, len, (uint8_t)(lsn % 5), fx_seq(lsn)), lsn);
    return lsn;
}

static inline void fx_turn(struct fx *fx)
{
    oplog_turn_end(fx->log);
    reactor_run_once(fx->reactor, 0);
}

static inline void fx_append_many(struct fx *fx, uint64_t count, uint64_t per_turn)
{
    for (uint64_t i = 0; i < count; i++) {
        (void)fx_append(fx);
        if (i % per_turn == per_turn - 1)
            fx_settle(fx);
    }
    fx_settle(fx);
}

static inline void fx_teardown(struct fx *fx)
{
    (void)oplog_close(fx->log);
    reactor_destroy(fx->reactor);
    mem_free(fx->dir);
    tmpdir_remove(fx->root);
}

/* --- files --- */

struct fx_image_file {
    char name[32];
    struct buf content;
};

/* The directory of a log in memory. */
struct fx_image {
    struct fx_image_file files[32];
    size_t count;
    const char *dir;
};

static inline int fx_image_add(void *ctx, const char *name)
{
    struct fx_image *image = ctx;
    struct fx_image_file *file = &image->files[image->count++];
    char *path = tmpdir_path(image->dir, name);

    assert_true(image->count <= ARRAY_COUNT(image->files));
    (void)snprintf(file->name, sizeof(file->name), "%s", name);
    buf_init(&file->content, 1u << 30);
    expect_i64(file_read_all(path, &file->content), 0);
    mem_free(path);
    return 0;
}

static inline void fx_image_load(struct fx_image *image, const char *dir)
{
    image->count = 0;
    image->dir = dir;
    expect_i64(file_list_dir(dir, fx_image_add, image), 0);
}

static inline void fx_image_free(struct fx_image *image)
{
    for (size_t i = 0; i < image->count; i++)
        buf_deinit(&image->files[i].content);
    image->count = 0;
}

static inline struct fx_image_file *fx_image_find(struct fx_image *image, const char *name)
{
    for (size_t i = 0; i < image->count; i++) {
        if (strcmp(image->files[i].name, name) == 0)
            return &image->files[i];
    }
    return NULL;
}

static inline struct fx_image_file *fx_image_segment(struct fx_image *image, uint64_t number)
{
    char name[SEGMENT_NAME_BYTES];

    segment_name(number, name);
    return fx_image_find(image, name);
}

/* Makes `dir` hold exactly the image. */
static inline void fx_image_store(const struct fx_image *image, const char *dir)
{
    expect_i64(file_remove_tree(dir), 0);
    expect_i64(file_mkdir(dir), 0);
    for (size_t i = 0; i < image->count; i++) {
        const struct fx_image_file *file = &image->files[i];
        if (file->name[0] == '\0')
            continue;
        char *path = tmpdir_path(dir, file->name);
        const int fd = file_open(path, FILE_WRITE | FILE_CREATE | FILE_TRUNCATE);
        assert_true(fd >= 0);
        /* The zeros at the end as a hole: much of a segment is not written yet. */
        static const uint8_t zeros[4096];
        size_t len = file->content.len;
        while (len >= sizeof(zeros) &&
               memcmp(file->content.ptr + len - sizeof(zeros), zeros, sizeof(zeros)) == 0)
            len -= sizeof(zeros);
        expect_i64(file_write_full(fd, file->content.ptr, len, 0), 0);
        expect_i64(file_truncate(fd, file->content.len), 0);
        (void)file_close(fd);
        mem_free(path);
    }
}

#endif
