/*
 * Cursors and inspection.
 *
 * Where a cursor finds no record it looks at the next segment's header. If there is none, this is
 * the end for now. If there is one, it says where this segment ends: either here, and the cursor
 * moves on, or further on, and then the record was written since it looked: it reads once more.
 */
#include "replication/oplog_cursor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/io/file.h"

struct oplog_cursor {
    char *dir;
    uint64_t want_lsn; /* Records below are passed over. */
    struct segment_header header;
    struct segment_reader reader; /* fd -1: the log has no segment yet. */
};

/* A descriptor and the header, or an error as of segment_header_read; -ENOENT. */
static int segment_open(const char *dir, uint64_t number, int *out_fd, struct segment_header *out)
{
    char *path = segment_path(dir, number);
    const int fd = file_open(path, FILE_READ);

    mem_free(path);
    if (fd < 0)
        return fd;
    const int err = segment_header_read(fd, number, out);
    if (err != 0) {
        (void)file_close(fd);
        return err;
    }
    *out_fd = fd;
    return 0;
}

/* --- cursor --- */

/*
 * Opens the last segment that begins at or before the wanted record. 0, also if there is no
 * segment at all; -ERR_NOT_FOUND if all begin after it.
 */
static int cursor_seek(struct oplog_cursor *cursor)
{
    uint64_t *numbers = NULL;
    size_t count = 0;
    int result = 0;
    int err = segment_list(cursor->dir, &numbers, &count);

    for (size_t i = count; err == 0 && cursor->reader.fd < 0 && i-- > 0;) {
        struct segment_header header;
        int fd = -1;
        err = segment_open(cursor->dir, numbers[i], &fd, &header);
        if (err == 0 && header.first_lsn <= cursor->want_lsn) {
            cursor->header = header;
            segment_reader_init(&cursor->reader, fd, &header);
            result = 0;
            break;
        }
        if (err == 0) {
            (void)file_close(fd);
            result = -ERR_NOT_FOUND;
        }
        /* A spare; one whose header is being written; one trimmed since the list was read. */
        if (err == -ERR_NOT_FOUND || err == -ERR_CORRUPT || err == -ENOENT)
            err = 0;
    }
    mem_free(numbers);
    return err != 0 ? err : result;
}

int oplog_cursor_open(const char *dir, uint64_t lsn, struct oplog_cursor **out)
{
    struct oplog_cursor *cursor = mem_zalloc(sizeof(*cursor));

    CHECK(lsn != 0);
    cursor->dir = mem_strdup(dir);
    cursor->want_lsn = lsn;
    cursor->reader.fd = -1;
    const int err = cursor_seek(cursor);
    if (err != 0) {
        oplog_cursor_close(cursor);
        return err;
    }
    *out = cursor;
    return 0;
}

void oplog_cursor_close(struct oplog_cursor *cursor)
{
    if (cursor == NULL)
        return;
    segment_reader_deinit(&cursor->reader);
    if (cursor->reader.fd >= 0)
        (void)file_close(cursor->reader.fd);
    mem_free(cursor->dir);
    mem_free(cursor);
}

/*
 * Whether the open file still is the segment that it was: trimming takes its name away, and then
 * recycling gives it another header.
 */
static bool still_ours(const struct oplog_cursor *cursor)
{
    struct segment_header header;
    int fd = -1;

    if (segment_open(cursor->dir, cursor->header.number, &fd, &header) != 0)
        return false;
    (void)file_close(fd);
    return header.log_id == cursor->header.log_id &&
           segment_header_read(cursor->reader.fd, cursor->header.number, &header) == 0;
}

static void move_on(struct oplog_cursor *cursor, int fd, const struct segment_header *header)
{
    const int old_fd = cursor->reader.fd;

    segment_reader_deinit(&cursor->reader);
    (void)file_close(old_fd);
    cursor->header = *header;
    segment_reader_init(&cursor->reader, fd, header);
}

/*
 * There is no record at the reader's place. 0: read again, here or in the next segment;
 * OPLOG_CURSOR_END; or an error.
 */
static int cursor_at_end(struct oplog_cursor *cursor)
{
    struct segment_reader *reader = &cursor->reader;
    struct segment_header next;
    int fd = -1;
    const int err = segment_open(cursor->dir, cursor->header.number + 1, &fd, &next);

    if (err == -ERR_NOT_FOUND || err == -ERR_CORRUPT || err == -ENOENT)
        return still_ours(cursor) ? OPLOG_CURSOR_END : -ERR_NOT_FOUND;
    if (err != 0)
        return err;
    if (next.prev_end == reader->offset && next.prev_last_lsn + 1 == reader->next_lsn &&
        next.prev_chain == reader->chain && next.log_id == cursor->header.log_id) {
        move_on(cursor, fd, &next);
        return 0;
    }
    (void)file_close(fd);
    if (!still_ours(cursor))
        return -ERR_NOT_FOUND;
    if (reader->end == next.prev_end || next.prev_end <= reader->offset)
        return -ERR_CORRUPT;
    reader->end = next.prev_end;
    return 0;
}

int oplog_cursor_next(struct oplog_cursor *cursor, uint64_t limit_lsn, struct oplog_record *out)
{
    struct segment_reader *reader = &cursor->reader;

    if (reader->fd < 0) {
        const int err = cursor_seek(cursor);
        if (err != 0)
            return err;
        if (reader->fd < 0)
            return OPLOG_CURSOR_END;
    }
    for (;;) {
        if (reader->next_lsn > limit_lsn)
            return OPLOG_CURSOR_END;
        int err = segment_reader_next(reader, out);
        if (err == 0 && out->lsn < cursor->want_lsn)
            continue;
        if (err == 0) {
            cursor->want_lsn = out->lsn + 1;
            return OPLOG_CURSOR_RECORD;
        }
        if (err != -ERR_NOT_FOUND && err != -ERR_CORRUPT)
            return err;
        err = cursor_at_end(cursor);
        if (err != 0)
            return err;
    }
}

uint64_t oplog_cursor_lsn(const struct oplog_cursor *cursor)
{
    return cursor->want_lsn;
}

uint64_t oplog_cursor_segment(const struct oplog_cursor *cursor)
{
    return cursor->header.number;
}

uint64_t oplog_cursor_offset(const struct oplog_cursor *cursor)
{
    return cursor->reader.offset;
}

/* --- inspection --- */

struct inspect {
    const char *dir;
    bool records;
    struct oplog_summary *summary;
    oplog_segment_fn fn;
    void *ctx;
    struct oplog_segment_info
        pending; /* The last one with a header, until its successor is known. */
    bool has_pending;
    uint64_t chain; /* Of the pending one. */
};

static void report(struct inspect *in, const struct oplog_segment_info *info)
{
    struct oplog_summary *s = in->summary;

    s->segments_count += info->state != OPLOG_SEGMENT_SPARE;
    s->bad_count += info->state == OPLOG_SEGMENT_DAMAGED || info->state == OPLOG_SEGMENT_MISSING;
    s->bytes += info->file_bytes;
    if (s->first_lsn == 0)
        s->first_lsn = info->header.first_lsn;
    s->last_lsn = u64_max(s->last_lsn, info->last_lsn);
    if (in->fn != NULL)
        in->fn(in->ctx, info);
}

/* `next` is the successor's header; NULL: there is none. */
static void report_pending(struct inspect *in, const struct segment_header *next)
{
    struct oplog_segment_info *info = &in->pending;

    if (!in->has_pending)
        return;
    in->has_pending = false;
    if (next != NULL && !in->records) {
        info->last_lsn = next->prev_last_lsn;
        info->end = next->prev_end;
    } else if (next != NULL) {
        const bool same = info->end == next->prev_end && info->last_lsn == next->prev_last_lsn &&
                          in->chain == next->prev_chain;
        info->state = same ? OPLOG_SEGMENT_OK : OPLOG_SEGMENT_DAMAGED;
    }
    if (next != NULL && next->log_id != info->header.log_id)
        info->state = OPLOG_SEGMENT_DAMAGED;
    report(in, info);
}

/* Reads all records up to where they end. `end`: by the successor's word. */
static int inspect_records(struct inspect *in, int fd, uint64_t end)
{
    struct oplog_segment_info *info = &in->pending;
    struct segment_reader reader;
    struct segment_survey survey = {0};
    struct oplog_record record;
    int err;

    segment_reader_init(&reader, fd, &info->header);
    reader.end = end;
    while ((err = segment_reader_next(&reader, &record)) == 0)
        info->records_count++;
    info->last_lsn = reader.next_lsn - 1;
    info->end = reader.offset;
    in->chain = reader.chain;
    if (err == -ERR_NOT_FOUND || err == -ERR_CORRUPT) {
        err = segment_reader_survey(&reader, &survey);
        if (survey.records_count != 0)
            info->state =
                survey.durable_lsn >= reader.next_lsn ? OPLOG_SEGMENT_DAMAGED : OPLOG_SEGMENT_TORN;
    }
    segment_reader_deinit(&reader);
    return err;
}

/* Where segment `number` ends by its successor's word; UINT64_MAX if there is none. */
static uint64_t end_by_successor(const struct inspect *in, uint64_t number)
{
    struct segment_header next;
    int fd = -1;

    if (segment_open(in->dir, number + 1, &fd, &next) != 0)
        return UINT64_MAX;
    (void)file_close(fd);
    return next.prev_end;
}

static int inspect_used(struct inspect *in, int fd, const struct oplog_segment_info *info)
{
    const uint64_t expected = in->has_pending ? in->pending.number + 1 : info->number;

    report_pending(in, expected == info->number ? &info->header : NULL);
    for (uint64_t number = expected; number < info->number; number++) {
        const struct oplog_segment_info missing = {.number = number,
                                                   .state = OPLOG_SEGMENT_MISSING};
        report(in, &missing);
    }
    in->pending = *info;
    in->has_pending = true;
    return in->records ? inspect_records(in, fd, end_by_successor(in, info->number)) : 0;
}

static int inspect_segment(struct inspect *in, uint64_t number, bool last)
{
    struct oplog_segment_info info = {.number = number};
    char *path = segment_path(in->dir, number);
    const int fd = file_open(path, FILE_READ);
    int err = fd < 0 ? fd : file_size(fd, &info.file_bytes);

    mem_free(path);
    if (err == 0)
        err = segment_header_read(fd, number, &info.header);
    if (err == 0) {
        info.last_lsn = info.header.first_lsn - 1;
        err = inspect_used(in, fd, &info);
    } else if (err == -ERR_NOT_FOUND || err == -ERR_CORRUPT || err == -ERR_FORMAT) {
        /* In the middle even zeros are damage. */
        info.state = err == -ERR_NOT_FOUND && last ? OPLOG_SEGMENT_SPARE : OPLOG_SEGMENT_DAMAGED;
        if (err == -ERR_CORRUPT && last)
            info.state = OPLOG_SEGMENT_TORN;
        report_pending(in, NULL);
        report(in, &info);
        err = 0;
    } else if (err == -ENOENT) {
        err = 0; /* Trimmed since the list was read. */
    }
    if (fd >= 0)
        (void)file_close(fd);
    return err;
}

static void inspect_mark(const char *dir, struct oplog_summary *out)
{
    const size_t bytes = strlen(dir) + sizeof("/" MARK_FILE_NAME);
    char *path = mem_alloc(bytes);

    (void)snprintf(path, bytes, "%s/%s", dir, MARK_FILE_NAME);
    const int fd = file_open(path, FILE_READ);
    out->mark_err = fd < 0 ? fd : mark_read(fd, &out->mark);
    if (fd >= 0)
        (void)file_close(fd);
    mem_free(path);
}

static size_t used_count(const char *dir, const uint64_t *numbers, size_t count)
{
    for (; count > 0; count--) {
        struct segment_header header;
        int fd = -1;
        if (segment_open(dir, numbers[count - 1], &fd, &header) == 0) {
            (void)file_close(fd);
            break;
        }
    }
    return count;
}

int oplog_inspect(const char *dir, bool records, struct oplog_summary *out, oplog_segment_fn fn,
                  void *ctx)
{
    struct inspect in = {.dir = dir, .records = records, .summary = out, .fn = fn, .ctx = ctx};
    uint64_t *numbers = NULL;
    size_t count = 0;

    *out = (struct oplog_summary){0};
    /* First: it may be older than the records that are read after it, never newer. */
    inspect_mark(dir, out);
    int err = segment_list(dir, &numbers, &count);
    const size_t used = err == 0 ? used_count(dir, numbers, count) : 0;
    for (size_t i = 0; i < count && err == 0; i++)
        err = inspect_segment(&in, numbers[i], i >= used);
    report_pending(&in, NULL);
    mem_free(numbers);
    out->lost = records && out->last_lsn < out->mark.durable_lsn &&
                out->mark.durable_lsn > out->mark.accepted_lsn;
    return err;
}
