/*
 * The op log after damage, crashes and lost files: what recovery must give back, and when it must
 * refuse.
 */
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/le.h"

#include "replication/oplog_mark.h"

#include "tests/lib/seed.h"
#include "tests/unit/test_oplog_fixture.h"

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

static void write_out(struct fx *fx)
{
    FX_RUN_UNTIL(fx, oplog_written_lsn(fx->log) == oplog_applied_lsn(fx->log));
}

static bool mark_is_written(const struct fx *fx)
{
    struct mark mark = {0};
    char *path = tmpdir_path(fx->dir, MARK_FILE_NAME);
    const int fd = file_open(path, FILE_READ);

    mem_free(path);
    assert_true(fd >= 0);
    const int err = mark_read(fd, &mark);
    (void)file_close(fd);
    return err == 0 && mark.durable_lsn == oplog_durable_lsn(fx->log);
}

/* Ends the log without closing it properly: what stands in the files is put back afterwards. */
static void crash_to(struct fx *fx, const struct fx_image *image)
{
    (void)oplog_close(fx->log);
    fx->log = NULL;
    fx_image_store(image, fx->dir);
}

/* `synced` records under ALWAYS, then `more` that are only written; the image of that. */
static void make_crashed(struct fx *fx, unsigned synced, unsigned more, struct fx_image *image)
{
    fx_start(fx);
    fx_append_many(fx, synced, 1);
    oplog_set_policy(fx->log, OPLOG_SYNC_NO);
    for (unsigned i = 0; i < more; i++) {
        (void)fx_append(fx);
        write_out(fx);
    }
    FX_RUN_UNTIL(fx, mark_is_written(fx));
    fx_image_load(image, fx->dir);
}

/* Offsets at which the records of segment `number` end, [0] = where the first begins. */
static size_t record_ends(const char *dir, uint64_t number, uint64_t *ends, size_t cap)
{
    struct segment_header header;
    struct segment_reader reader;
    struct oplog_record record;
    size_t count = 0;
    char *path = segment_path(dir, number);
    const int fd = file_open(path, FILE_READ);

    expect_i64(segment_header_read(fd, number, &header), 0);
    segment_reader_init(&reader, fd, &header);
    do {
        assert_true(count < cap);
        ends[count++] = reader.offset;
    } while (segment_reader_next(&reader, &record) == 0);
    segment_reader_deinit(&reader);
    (void)file_close(fd);
    mem_free(path);
    return count;
}

enum tear {
    TEAR_CUT,
    TEAR_ZEROS,
    TEAR_GARBAGE,
    TEAR_KINDS,
};

static void tear(struct fx_image_file *file, uint64_t at, enum tear kind, struct rng *rng)
{
    if (kind == TEAR_CUT)
        buf_truncate(&file->content, at);
    else if (kind == TEAR_ZEROS)
        memset(file->content.ptr + at, 0, file->content.len - at);
    else
        rng_bytes(rng, file->content.ptr + at, file->content.len - at);
}

static void image_copy(struct fx_image *to, const struct fx_image *from)
{
    to->count = from->count;
    for (size_t i = 0; i < from->count; i++) {
        memcpy(to->files[i].name, from->files[i].name, sizeof(to->files[i].name));
        buf_init(&to->files[i].content, 1u << 30);
        expect_i64(buf_append_bytes(&to->files[i].content, buf_bytes(&from->files[i].content)), 0);
    }
}

#define TORN_SYNCED 3u
#define TORN_MORE   4u

static void a_torn_tail_is_cut_at_every_byte_and_a_synced_record_never(void **state)
{
    struct fx *fx = *state;
    struct fx_image image;
    struct rng rng;
    uint64_t ends[TORN_SYNCED + TORN_MORE + 2];

    seed_rng(&rng, 1);
    make_crashed(fx, TORN_SYNCED, TORN_MORE, &image);
    const size_t count = record_ends(fx->dir, 1, ends, ARRAY_COUNT(ends));
    expect_u64(count, TORN_SYNCED + TORN_MORE + 1);
    crash_to(fx, &image);

    for (uint64_t at = SEGMENT_HEADER_BYTES; at <= ends[count - 1]; at++) {
        for (unsigned kind = 0; kind < TEAR_KINDS; kind++) {
            struct fx_image torn;
            image_copy(&torn, &image);
            tear(fx_image_segment(&torn, 1), at, (enum tear)kind, &rng);
            fx_image_store(&torn, fx->dir);
            const int err = fx_try(fx);
            uint64_t whole = 0;
            while (whole + 1 < count && ends[whole + 1] <= at)
                whole++;
            /* Zeros may happen to be what stood there. */
            if (whole < TORN_SYNCED && err != -ERR_LOST) {
                expect_u64(whole, TORN_SYNCED - 1);
                expect_u64(fx->replayed, TORN_SYNCED);
            }
            if (whole >= TORN_SYNCED) {
                expect_i64(err, 0);
                assert_true(fx->replayed == whole || fx->replayed == whole + 1);
            }
            fx_image_free(&torn);
        }
    }
    fx_image_free(&image);
}

static void after_a_cut_the_log_goes_on_and_leftovers_stay_dead(void **state)
{
    struct fx *fx = *state;
    struct fx_image image;
    uint64_t ends[64];

    /* The first unsynced record is lost, later ones are still there, as after a power cut. */
    make_crashed(fx, 10, 20, &image);
    expect_u64(record_ends(fx->dir, 1, ends, ARRAY_COUNT(ends)), 31);
    crash_to(fx, &image);
    memset(fx_image_segment(&image, 1)->content.ptr + ends[10], 0, 16);
    fx_image_store(&image, fx->dir);
    fx_image_free(&image);

    fx_start(fx);
    expect_u64(fx->replayed, 10);
    fx->payload_seed = 2; /* What is appended now differs from what was cut. */
    fx_append_many(fx, 20, 3);
    fx_close(fx);
    fx->payload_seed = 1;
    expect_i64(fx_open(fx), 0);
    expect_i64(oplog_recover(fx->log, 10, NULL, NULL, fx->why, sizeof(fx->why)), 0);
    expect_u64(oplog_next_lsn(fx->log), 31);
    fx_close(fx);
    fx->payload_seed = 2;
    expect_i64(fx_open(fx), 0);
    expect_i64(fx_recover(fx, 10), 0);
    expect_u64(fx->replayed, 20);
}

static void a_hole_before_a_record_that_knew_it_durable_refuses_to_start(void **state)
{
    struct fx *fx = *state;
    struct fx_image image;
    uint64_t ends[64];

    make_crashed(fx, 10, 1, &image);
    (void)record_ends(fx->dir, 1, ends, ARRAY_COUNT(ends));
    crash_to(fx, &image);
    /* The watermark is as old as it can be after a power cut. */
    struct mark mark;
    struct buf *marks = &fx_image_find(&image, MARK_FILE_NAME)->content;
    expect_i64(mark_decode(marks->ptr, &mark), 0);
    mark.durable_lsn = 0;
    mark_encode(&mark, marks->ptr);
    mark_encode(&mark, marks->ptr + MARK_SLOT_STEP);
    fx_image_segment(&image, 1)->content.ptr[ends[4] + 40] ^= 1;
    fx_image_store(&image, fx->dir);
    fx_image_free(&image);

    expect_i64(fx_try(fx), -ERR_CORRUPT);
    char place[64];
    (void)snprintf(place, sizeof(place), "0000000000000001.log offset %llu",
                   (unsigned long long)ends[4]);
    assert_non_null(strstr(fx->why, place));
}

/* --- every bit --- */

static void check_flip(struct fx *fx, struct fx_image *image, size_t file, size_t at,
                       uint64_t synced)
{
    for (unsigned bit = 0; bit < 8; bit++) {
        image->files[file].content.ptr[at] ^= (uint8_t)(1u << bit);
        fx_image_store(image, fx->dir);
        const int err = fx_try(fx); /* Checks what comes back. */
        image->files[file].content.ptr[at] ^= (uint8_t)(1u << bit);
        if (err == 0 && fx->replayed >= synced)
            continue;
        if (err == 0)
            fail_msg("byte %zu of %s: %llu records of %llu, silently", at, image->files[file].name,
                     (unsigned long long)fx->replayed, (unsigned long long)synced);
        assert_true(fx->why[0] != '\0');
    }
}

/* Payloads that are short: every bit of the records costs a start. */
static uint64_t seed_of_short_payloads(uint64_t records)
{
    uint8_t payload[FX_LEN_MAX];

    for (uint64_t seed = 1;; seed++) {
        size_t bytes = 0;
        for (uint64_t lsn = 1; lsn <= records; lsn++)
            bytes += fx_payload(seed, lsn, FX_LEN_MAX, payload);
        if (bytes > 20 && bytes < 60)
            return seed;
    }
}

static void no_flipped_bit_gives_a_wrong_record_or_a_silent_loss(void **state)
{
    struct fx *fx = *state;
    struct fx_image image;

    fx->payload_seed = seed_of_short_payloads(3);
    /* Two segments with few records: each start begins one. */
    fx_start(fx);
    fx_append_many(fx, 1, 1);
    const uint64_t first = oplog_metrics(fx->log)->bytes;
    fx_close(fx);
    fx_start(fx);
    fx_append_many(fx, 2, 1);
    const uint64_t second = oplog_metrics(fx->log)->bytes;
    FX_RUN_UNTIL(fx, mark_is_written(fx));
    fx_image_load(&image, fx->dir);
    crash_to(fx, &image);

    for (size_t i = 0; i < image.count; i++) {
        const struct fx_image_file *file = &image.files[i];
        uint64_t number;
        if (strcmp(file->name, MARK_FILE_NAME) == 0) {
            for (size_t at = 0; at < MARK_SLOT_BYTES; at++) {
                check_flip(fx, &image, i, at, 3);
                check_flip(fx, &image, i, at + MARK_SLOT_STEP, 3);
            }
        }
        if (!segment_name_parse(file->name, &number))
            continue;
        const uint64_t end = SEGMENT_HEADER_BYTES + (number == 1 ? first : second) + 64;
        for (size_t at = 0; at < end && at < file->content.len; at++) {
            /* The zeros of the header: one in 61. */
            if (at > 80 && at < SEGMENT_HEADER_BYTES - 8 && at % 61 != 0)
                continue;
            check_flip(fx, &image, i, at, 3);
        }
    }
    fx_image_free(&image);
}

/* --- missing and foreign files --- */

static void segments_make(struct fx *fx, struct fx_image *image)
{
    fx_start(fx);
    fx_append_many(fx, 1500, 30);
    FX_RUN_UNTIL(fx, mark_is_written(fx));
    fx_image_load(image, fx->dir);
    crash_to(fx, image);
}

static int count_records(void *ctx, const struct oplog_record *record)
{
    uint64_t *count = ctx;

    (void)record;
    ++*count;
    return 0;
}

static void a_missing_segment_is_noticed_wherever_it_was(void **state)
{
    struct fx *fx = *state;
    struct fx_image image;
    unsigned segments = 0;

    segments_make(fx, &image);
    for (size_t i = 0; i < image.count; i++) {
        struct segment_header header;
        uint64_t number;
        char name[32];
        if (!segment_name_parse(image.files[i].name, &number) ||
            segment_header_decode(image.files[i].content.ptr, &header) != 0)
            continue;
        segments++;
        memcpy(name, image.files[i].name, sizeof(name));
        image.files[i].name[0] = '\0';
        fx_image_store(&image, fx->dir);
        memcpy(image.files[i].name, name, sizeof(name));
        expect_i64(fx_try(fx), -ERR_LOST);
        assert_non_null(strstr(fx->why, "missing"));

        /* The operator's word: what is there comes back, once and for all. */
        uint64_t count = 0;
        fx->options.accept_loss = true;
        expect_i64(fx_open(fx), 0);
        expect_i64(oplog_recover(fx->log, 0, count_records, &count, fx->why, sizeof(fx->why)), 0);
        assert_true(count < 1500);
        assert_true(count > 1000);
        expect_u64(oplog_next_lsn(fx->log), 1501);
        (void)oplog_append(fx->log, BYTES_LIT("after"), 0, 0);
        fx->durable_lsn = 1500;
        fx_settle(fx);
        fx_close(fx);
        fx->options.accept_loss = false;
        uint64_t again = 0;
        expect_i64(fx_open(fx), 0);
        expect_i64(oplog_recover(fx->log, 0, count_records, &again, fx->why, sizeof(fx->why)), 0);
        expect_u64(again, count + 1);
        fx_close(fx);
    }
    assert_true(segments >= 4);
    fx_image_free(&image);
}

static void a_segment_from_another_history_is_noticed(void **state)
{
    struct fx *fx = *state;
    struct fx_image base;
    struct fx_image one;
    struct fx_image two;

    segments_make(fx, &base);
    /* Two continuations of the same log, each record as long as in the other. */
    for (int i = 0; i < 2; i++) {
        fx_image_store(&base, fx->dir);
        fx_start(fx);
        for (int k = 0; k < 6000; k++) {
            const char text[2] = {'a', (char)('a' + i)};
            (void)oplog_append(fx->log, bytes_of(text, 2 - (size_t)(k % 2)), 0, 0);
            if (k % 50 == 0)
                fx_settle(fx);
        }
        fx_settle(fx);
        fx_image_load(i == 0 ? &one : &two, fx->dir);
        crash_to(fx, &base);
    }

    unsigned swapped = 0;
    for (size_t i = 0; i < one.count; i++) {
        struct fx_image_file *other = fx_image_find(&two, one.files[i].name);
        struct segment_header header;
        if (one.files[i].content.len < SEGMENT_HEADER_BYTES || other == NULL ||
            segment_header_decode(one.files[i].content.ptr, &header) != 0 ||
            bytes_eq(buf_bytes(&one.files[i].content), buf_bytes(&other->content)))
            continue;
        const struct buf mine = one.files[i].content;
        one.files[i].content = other->content;
        fx_image_store(&one, fx->dir);
        one.files[i].content = mine;
        uint64_t count = 0;
        expect_i64(fx_open(fx), 0);
        const int err = oplog_recover(fx->log, 0, count_records, &count, fx->why, sizeof(fx->why));
        (void)oplog_close(fx->log);
        fx->log = NULL;
        /* Nobody can vouch for the last one but its predecessor: it has none to vouch for it. */
        if (fx_image_segment(&one, header.number + 1) != NULL && err == 0) {
            struct segment_header next;
            assert_true(segment_header_decode(
                            fx_image_segment(&one, header.number + 1)->content.ptr, &next) != 0);
        } else if (err != 0) {
            expect_i64(err, -ERR_CORRUPT);
            assert_non_null(strstr(fx->why, "replaced"));
            swapped++;
        }
    }
    assert_true(swapped >= 1);
    fx_image_free(&base);
    fx_image_free(&one);
    fx_image_free(&two);
}

static void a_segment_of_another_log_is_noticed(void **state)
{
    struct fx *fx = *state;
    struct fx_image one;
    struct fx_image two;

    segments_make(fx, &one);
    expect_i64(file_remove_tree(fx->dir), 0);
    segments_make(fx, &two);
    const struct buf own = fx_image_segment(&two, 2)->content;
    fx_image_segment(&two, 2)->content = fx_image_segment(&one, 2)->content;
    fx_image_store(&two, fx->dir);
    fx_image_segment(&two, 2)->content = own;

    expect_i64(fx_try(fx), -ERR_CORRUPT);
    assert_non_null(strstr(fx->why, "another log"));
    fx_image_free(&one);
    fx_image_free(&two);
}

static void a_lost_tail_is_counted_and_can_be_accepted(void **state)
{
    struct fx *fx = *state;
    struct fx_image image;
    uint64_t ends[64];

    make_crashed(fx, 20, 0, &image);
    (void)record_ends(fx->dir, 1, ends, ARRAY_COUNT(ends));
    crash_to(fx, &image);
    buf_truncate(&fx_image_segment(&image, 1)->content, ends[12]);
    fx_image_store(&image, fx->dir);
    fx_image_free(&image);

    expect_i64(fx_try(fx), -ERR_LOST);
    assert_non_null(strstr(fx->why, "8 are missing"));
    assert_non_null(strstr(fx->why, "watermark"));
    assert_non_null(strstr(fx->why, "accept-loss"));
    expect_i64(fx_try(fx), -ERR_LOST);

    fx->options.accept_loss = true;
    fx_start(fx);
    expect_u64(fx->replayed, 12);
    /* The numbers of what was lost are not given to other records. */
    expect_u64(oplog_next_lsn(fx->log), 21);
    fx_close(fx);
    fx->options.accept_loss = false;
    fx_start(fx);
    expect_u64(fx->replayed, 12);
    fx_append_many(fx, 5, 1);
    fx_close(fx);
    expect_i64(fx_open(fx), 0);
    uint64_t count = 0;
    expect_i64(oplog_recover(fx->log, 0, count_records, &count, fx->why, sizeof(fx->why)), 0);
    expect_u64(count, 17);
    expect_u64(oplog_next_lsn(fx->log), 26);
}

static void a_log_behind_the_store_is_refused(void **state)
{
    struct fx *fx = *state;

    expect_i64(fx_open(fx), 0);
    expect_i64(fx_recover(fx, 7), -ERR_LOST);
    assert_non_null(strstr(fx->why, "the store"));
    (void)oplog_close(fx->log);
    fx->log = NULL;
    fx_start(fx);
}

static void a_log_that_begins_after_what_the_store_covers_is_refused(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);
    fx_append_many(fx, 1500, 30);
    (void)oplog_trim(fx->log, 1000);
    assert_true(oplog_first_lsn(fx->log) > 10);
    fx_close(fx);

    expect_i64(fx_open(fx), 0);
    expect_i64(fx_recover(fx, 5), -ERR_LOST);
    assert_non_null(strstr(fx->why, "the store needs 6"));
}

static void a_missing_or_damaged_watermark_is_refused(void **state)
{
    struct fx *fx = *state;
    struct fx_image image;

    make_crashed(fx, 5, 0, &image);
    crash_to(fx, &image);
    struct fx_image_file *mark = fx_image_find(&image, MARK_FILE_NAME);
    memset(mark->content.ptr, 0x55, mark->content.len);
    fx_image_store(&image, fx->dir);
    expect_i64(fx_try(fx), -ERR_CORRUPT);
    mark->name[0] = '\0';
    fx_image_store(&image, fx->dir);
    expect_i64(fx_try(fx), -ERR_LOST);
    assert_non_null(strstr(fx->why, MARK_FILE_NAME));

    fx->options.accept_loss = true;
    expect_i64(fx_try(fx), 0);
    fx->options.accept_loss = false;
    expect_i64(fx_try(fx), 0);
    expect_u64(fx->replayed, 5);
    fx_image_free(&image);
}

static void a_torn_header_of_a_segment_without_records_is_no_loss(void **state)
{
    struct fx *fx = *state;
    struct fx_image image;
    struct rng rng;

    seed_rng(&rng, 2);
    make_crashed(fx, 5, 0, &image);
    crash_to(fx, &image);
    struct buf *spare = &fx_image_segment(&image, 2)->content;
    rng_bytes(&rng, spare->ptr, 512);
    fx_image_store(&image, fx->dir);
    fx_image_free(&image);

    fx_start(fx);
    expect_u64(fx->replayed, 5);
    fx_append_many(fx, 500, 10);
    fx_close(fx);
    fx_start(fx);
    expect_u64(fx->replayed, 505);
}

static void a_damaged_header_before_records_is_refused_and_set_aside_on_request(void **state)
{
    struct fx *fx = *state;
    struct fx_image image;

    make_crashed(fx, 5, 0, &image);
    crash_to(fx, &image);
    fx_image_segment(&image, 1)->content.ptr[40] ^= 4;
    fx_image_store(&image, fx->dir);
    fx_image_free(&image);

    expect_i64(fx_try(fx), -ERR_CORRUPT);
    assert_non_null(strstr(fx->why, "0000000000000001.log offset 0"));
    fx->options.accept_loss = true;
    fx_start(fx);
    expect_u64(fx->replayed, 0);
    expect_u64(oplog_next_lsn(fx->log), 6);
    fx_close(fx);
    struct file_info info;
    char *path = tmpdir_path(fx->dir, "0000000000000001.log.bad");
    expect_i64(file_stat(path, &info), 0);
    expect_u64(info.type, FILE_TYPE_REGULAR);
    mem_free(path);
    fx->options.accept_loss = false;
    fx_start(fx);
}

static void a_newer_version_is_refused_by_name(void **state)
{
    struct fx *fx = *state;
    struct fx_image image;

    make_crashed(fx, 5, 0, &image);
    crash_to(fx, &image);
    uint8_t *block = fx_image_segment(&image, 1)->content.ptr;
    le32_store(block + 8, SEGMENT_VERSION + 1);
    le64_store(block + SEGMENT_HEADER_BYTES - 8, sum64(block, SEGMENT_HEADER_BYTES - 8));
    fx_image_store(&image, fx->dir);
    fx_image_free(&image);

    expect_i64(fx_try(fx), -ERR_FORMAT);
}

static int stop_at_three(void *ctx, const struct oplog_record *record)
{
    (void)ctx;
    return record->lsn == 3 ? -ERR_UNSUPPORTED : 0;
}

static void an_error_of_the_replay_ends_it(void **state)
{
    struct fx *fx = *state;

    fx_start(fx);
    fx_append_many(fx, 5, 1);
    fx_close(fx);
    expect_i64(fx_open(fx), 0);
    fx->payload_seed = 1;
    expect_i64(oplog_recover(fx->log, 0, stop_at_three, NULL, fx->why, sizeof(fx->why)),
               -ERR_UNSUPPORTED);
}

/* --- power cuts --- */

#define CUT_BLOCK 512u

/*
 * What a power cut may leave: of each block either what was synced or what was written since. All
 * of a segment that has a successor, and all headers, are synced.
 */
static void power_cut(struct fx_image *synced, struct fx_image *written, struct rng *rng)
{
    uint64_t headed = 0;

    for (size_t i = 0; i < written->count; i++) {
        struct segment_header header;
        uint64_t number;
        const struct buf *content = &written->files[i].content;
        if (segment_name_parse(written->files[i].name, &number) &&
            content->len >= SEGMENT_HEADER_BYTES &&
            segment_header_decode(content->ptr, &header) == 0 && header.number == number)
            headed = number > headed ? number : headed;
    }
    for (size_t i = 0; i < written->count; i++) {
        struct fx_image_file *now = &written->files[i];
        const struct fx_image_file *before = fx_image_find(synced, now->name);
        uint64_t number;
        if (!segment_name_parse(now->name, &number) || number != headed)
            continue;
        for (size_t at = SEGMENT_HEADER_BYTES; at < now->content.len; at += CUT_BLOCK) {
            const size_t len = size_min(CUT_BLOCK, now->content.len - at);
            if (rng_below(rng, 2) == 0)
                continue;
            if (before != NULL && before->content.len >= at + len)
                memcpy(now->content.ptr + at, before->content.ptr + at, len);
            else
                memset(now->content.ptr + at, 0, len);
        }
    }
}

static void no_power_cut_loses_what_was_durable_or_stops_the_start(void **state)
{
    struct fx *fx = *state;
    struct rng rng;

    seed_rng(&rng, 3);
    fx->options.method = OPLOG_METHOD_DSYNC;
    for (unsigned round = 0; round < 150; round++) {
        struct fx_image synced;
        struct fx_image written;
        fx_start(fx);
        assert_true(fx->replayed == oplog_applied_lsn(fx->log));
        oplog_set_policy(fx->log, OPLOG_SYNC_ALWAYS);
        for (uint64_t i = rng_below(&rng, 60); i > 0; i--) {
            (void)fx_append(fx);
            if (rng_below(&rng, 3) == 0)
                fx_settle(fx);
        }
        fx_settle(fx);
        for (int i = 0; i < 3; i++)
            reactor_run_once(fx->reactor, 0);
        fx_image_load(&synced, fx->dir);
        oplog_set_policy(fx->log, OPLOG_SYNC_NO);
        for (uint64_t i = rng_below(&rng, 60); i > 0; i--) {
            (void)fx_append(fx);
            if (rng_below(&rng, 3) == 0)
                write_out(fx);
        }
        write_out(fx);
        const uint64_t durable_lsn = oplog_durable_lsn(fx->log);
        fx_image_load(&written, fx->dir);
        power_cut(&synced, &written, &rng);
        crash_to(fx, &written);
        const int err = fx_try(fx);
        if (err != 0)
            fail_msg("round %u: %s", round, fx->why);
        assert_true(fx->last_lsn >= durable_lsn);
        fx_image_free(&synced);
        fx_image_free(&written);
        /* Keeps the directory small. */
        expect_i64(fx_open(fx), 0);
        expect_i64(fx_recover(fx, 0), 0);
        fx_close(fx);
        if (round % 15 == 14)
            expect_i64(file_remove_tree(fx->dir), 0);
    }
}

/* --- what is delivered is durable --- */

/* The file that was synced last; in place of the C library's, which does no more either. */
static _Atomic ino_t synced_inode;

/* NOLINTNEXTLINE(readability-inconsistent-declaration-parameter-name): the other is reserved */
int fdatasync(int fd)
{
    struct stat st;

    if (fstat(fd, &st) == 0)
        atomic_store(&synced_inode, st.st_ino);
    return (int)syscall(SYS_fdatasync, fd);
}

struct witness {
    struct fx *fx;
    ino_t inode;
};

static int replay_synced(void *ctx, const struct oplog_record *record)
{
    const struct witness *w = ctx;

    assert_true(atomic_load(&synced_inode) == w->inode);
    return fx_replay(w->fx, record);
}

static void nothing_is_delivered_before_it_is_durable(void **state)
{
    struct fx *fx = *state;
    struct fx_image image;
    struct stat st;

    make_crashed(fx, 3, 20, &image);
    crash_to(fx, &image);
    fx_image_free(&image);
    char *path = segment_path(fx->dir, 1);
    assert_int_equal(stat(path, &st), 0);
    mem_free(path);
    struct witness w = {.fx = fx, .inode = st.st_ino};
    atomic_store(&synced_inode, 0);
    expect_i64(fx_open(fx), 0);
    fx->replayed = 0;
    expect_i64(oplog_recover(fx->log, 0, replay_synced, &w, fx->why, sizeof(fx->why)), 0);
    expect_u64(fx->replayed, 23);
    fx->durable_lsn = oplog_durable_lsn(fx->log);
    fx_close(fx);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_torn_tail_is_cut_at_every_byte_and_a_synced_record_never),
        TEST(after_a_cut_the_log_goes_on_and_leftovers_stay_dead),
        TEST(a_hole_before_a_record_that_knew_it_durable_refuses_to_start),
        TEST(no_flipped_bit_gives_a_wrong_record_or_a_silent_loss),
        TEST(a_missing_segment_is_noticed_wherever_it_was),
        TEST(a_segment_from_another_history_is_noticed),
        TEST(a_segment_of_another_log_is_noticed),
        TEST(a_lost_tail_is_counted_and_can_be_accepted),
        TEST(a_log_behind_the_store_is_refused),
        TEST(a_log_that_begins_after_what_the_store_covers_is_refused),
        TEST(a_missing_or_damaged_watermark_is_refused),
        TEST(a_torn_header_of_a_segment_without_records_is_no_loss),
        TEST(a_damaged_header_before_records_is_refused_and_set_aside_on_request),
        TEST(a_newer_version_is_refused_by_name),
        TEST(an_error_of_the_replay_ends_it),
        TEST(nothing_is_delivered_before_it_is_durable),
        TEST(no_power_cut_loses_what_was_durable_or_stops_the_start),
    };

    /* Thousands of starts: in memory, where syncs cost nothing. */
    if (access("/dev/shm", W_OK) == 0)
        (void)setenv("TMPDIR", "/dev/shm", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
