/*
 * The op log: opening and closing, appending, positions.
 *
 * Appending writes the record's header around the payload in the buffer and gives it its place: in
 * the tail segment, or at the start of the next spare if it does not fit. oplog_can_append admits
 * only what fits into allocated blocks. If the caller then appends more than it asked about and no
 * spare is ready, the tail is made longer, so that the append never fails.
 */
#include "replication/oplog.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/io/file.h"

#include "replication/oplog_impl.h"

#define NOT_RESERVED SIZE_MAX
/* While the log closes: how often it looks whether the pool has finished. */
#define CLOSE_POLL_MS     10
#define CLOSE_MAIL_COUNT  64u
#define SEGMENT_BYTES_MIN (64u << 10)
/* Of a segment: kept free while there is no spare. */
#define TAIL_SLACK_PART 16u

METRIC_TABLE(oplog_metric_descs, OPLOG_METRICS);

/* --- small helpers --- */

void oplog_say(struct oplog_why why, const char *format, ...)
{
    va_list args;

    if (why.len == 0)
        return;
    va_start(args, format);
    (void)vsnprintf(why.text, why.len, format, args);
    va_end(args);
}

void oplog_file_close(struct oplog_file *file)
{
    if (file->fd >= 0)
        (void)file_close(file->fd); /* What matters was synced. */
    if (file->direct_fd >= 0)
        (void)file_close(file->direct_fd);
    oplog_file_clear(file);
}

int oplog_open_direct(const char *path)
{
    uint8_t *block = mem_alloc_aligned(OPLOG_BLOCK_BYTES, OPLOG_BLOCK_BYTES);
    int fd = file_open(path, FILE_READ | FILE_WRITE | FILE_DIRECT);

    if (fd >= 0 && file_read_full(fd, block, OPLOG_BLOCK_BYTES, 0) != 0) {
        (void)file_close(fd);
        fd = -1;
    }
    mem_free(block);
    return fd < 0 ? -1 : fd;
}

void oplog_fence(struct oplog *log, const char *what, int err)
{
    if (log->fenced)
        return;
    log->fenced = true;
    (void)snprintf(log->why, sizeof(log->why),
                   "%s of the op log failed: %s (%s, segment %016llx, durable up to %llu)", what,
                   err_str(err), log->options.dir, (unsigned long long)log->write_file.number,
                   (unsigned long long)log->durable_lsn);
    reactor_timer_stop(log->reactor, &log->sync_timer);
    if (log->options.on_fence != NULL)
        log->options.on_fence(log->options.ctx, log->why);
}

/* --- opening and closing --- */

static void options_default(struct oplog_options *o)
{
    if (o->segment_bytes == 0)
        o->segment_bytes = OPLOG_SEGMENT_BYTES_DEFAULT;
    if (o->buffer_bytes_max == 0)
        o->buffer_bytes_max = OPLOG_BUFFER_BYTES_MAX_DEFAULT;
    if (o->record_bytes_max == 0)
        o->record_bytes_max = OPLOG_RECORD_BYTES_MAX_DEFAULT;
    if (o->sync_period_ms == 0)
        o->sync_period_ms = OPLOG_SYNC_PERIOD_MS_DEFAULT;
    if (o->method == OPLOG_METHOD_AUTO)
        o->method = OPLOG_METHOD_DIRECT;
    o->segment_bytes = u64_max(o->segment_bytes, SEGMENT_BYTES_MIN);
    o->segment_bytes -= o->segment_bytes % OPLOG_BLOCK_BYTES;
}

static void oplog_free(struct oplog *log)
{
    struct oplog_file *tail = &log->tail;

    /* The tail and the file being written are the same but for a rotation in the buffer. */
    if (tail->fd == log->write_file.fd)
        oplog_file_clear(tail);
    oplog_file_close(tail);
    oplog_file_close(&log->write_file);
    space_deinit(log);
    commit_deinit(log);
    if (log->mark_fd >= 0)
        (void)file_close(log->mark_fd);
    if (log->lock_fd >= 0)
        (void)file_close(log->lock_fd);
    mem_free(log);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): written to by way of `say` */
int oplog_open(const struct oplog_options *options, struct oplog **out, char *why, size_t why_len)
{
    struct oplog *log = mem_zalloc(sizeof(*log));
    const struct oplog_why say = {.text = why, .len = why_len};

    CHECK(options->reactor != NULL);
    CHECK((options->jobs == NULL) == (options->mailbox == NULL));
    oplog_say(say, "%s", "");
    log->options = *options;
    options_default(&log->options);
    CHECK(log->options.record_bytes_max <= UINT32_MAX);
    log->reactor = options->reactor;
    log->policy = options->policy;
    log->method = log->options.method;
    log->lock_fd = -1;
    log->mark_fd = -1;
    log->reserved = NOT_RESERVED;
    oplog_file_clear(&log->tail);
    oplog_file_clear(&log->write_file);
    commit_init(log);

    const int err = recover_open(log, say);
    if (err != 0) {
        oplog_free(log);
        return err;
    }
    *out = log;
    return 0;
}

static void close_turn(struct oplog *log)
{
    reactor_run_once(log->reactor, log->job_busy ? CLOSE_POLL_MS : -1);
    if (log->options.mailbox != NULL)
        (void)mailbox_drain(log->options.mailbox, CLOSE_MAIL_COUNT);
}

int oplog_close(struct oplog *log)
{
    if (log == NULL)
        return 0;
    log->closing = true;
    reactor_timer_stop(log->reactor, &log->spare_timer);
    atomic_store_explicit(&log->job.hurry, true, memory_order_relaxed);
    while (!log->fenced && log->ready && log->durable_lsn < oplog_applied_lsn(log)) {
        commit_advance(log);
        oplog_request_sync(log);
        close_turn(log);
    }
    while (!commit_idle(log) || log->job_busy)
        close_turn(log);

    int err = log->fenced ? -ERR_FENCED : 0;
    if (log->ready && !log->fenced) {
        log->mark.durable_lsn = log->durable_lsn;
        /* The log itself is safe; an older watermark is only a weaker witness. */
        const int mark_err = mark_write_sync(log->mark_fd, &log->mark);
        if (mark_err != 0)
            LOG_WARN("oplog", "watermark not written dir=%s err=%s", log->options.dir,
                     err_str(mark_err));
    }
    oplog_free(log);
    return err;
}

/* --- appending --- */

static bool tail_fits(const struct oplog *log, uint64_t bytes)
{
    return log->tail.fd >= 0 && log->tail_offset + bytes <= log->options.segment_bytes;
}

/* A record that makes its segment longer than was allocated: is there room on the disk? */
static int room_for_long(const struct oplog *log, uint64_t bytes)
{
    uint64_t free_bytes;
    uint64_t total_bytes;
    const int err = file_disk_space(log->options.dir, &free_bytes, &total_bytes);

    if (err != 0)
        return err;
    return free_bytes / 2 >= bytes ? 0 : -ENOSPC;
}

/* The tail is full and there is no spare, or nearly so. */
static int no_room(struct oplog *log)
{
    atomic_store_explicit(&log->job.hurry, true, memory_order_relaxed);
    return log->space_low && log->spares_count == 0 ? -ENOSPC : -ERR_BUSY;
}

int oplog_can_append(struct oplog *log, size_t len)
{
    const size_t bytes = segment_record_bytes(len);
    const size_t pending = oplog_pending_bytes(log);

    CHECK(log->ready);
    if (unlikely(log->fenced))
        return -ERR_FENCED;
    if (unlikely(len > log->options.record_bytes_max))
        return -ERR_LIMIT;
    if (unlikely(pending != 0 && pending + bytes > log->options.buffer_bytes_max))
        return -ERR_BUSY;
    if (unlikely(bytes > log->options.segment_bytes - SEGMENT_HEADER_BYTES)) {
        const int err = room_for_long(log, bytes);
        if (err != 0)
            return err;
        return log->spares_count != 0 && log->fill->runs_count == 1 ? 0 : no_room(log);
    }
    /* A buffer holds the end of one segment and the start of the next, not of a third. */
    if (likely(log->spares_count != 0 && log->fill->runs_count == 1))
        return 0;
    /* A caller that asked for too little must not get into blocks that are not allocated. */
    return tail_fits(log, bytes + log->options.segment_bytes / TAIL_SLACK_PART) ? 0 : no_room(log);
}

static struct segment_header next_header(const struct oplog *log, uint64_t number)
{
    const bool first = log->segs.count == 0;

    return (struct segment_header){
        .log_id = log->id,
        .number = number,
        .first_lsn = log->next_lsn,
        .prev_last_lsn = log->last_lsn,
        .prev_end = first ? 0 : log->tail_offset,
        .prev_chain = log->chain,
        .created_ms = reactor_wall_ms(log->reactor),
        .flags = log->last_lsn + 1 == log->next_lsn ? 0 : SEGMENT_FLAG_GAP,
    };
}

/* From here on records go to the next spare. */
static void rotate(struct oplog *log)
{
    struct oplog_buf *buf = log->fill;
    const struct oplog_file spare = log->spares[0];

    CHECK(log->spares_count != 0);
    CHECK(buf->runs_count == 1);
    log->spares_count--;
    memmove(log->spares, log->spares + 1, log->spares_count * sizeof(log->spares[0]));

    buf->header = next_header(log, spare.number);
    if (log->segs.count != 0) {
        struct oplog_seg *last = &log->segs.ptr[log->segs.count - 1];
        CHECK(spare.number == last->number + 1);
        last->last_lsn = log->last_lsn;
    }
    segs_push(&log->segs, &(struct oplog_seg){.number = spare.number,
                                              .first_lsn = log->next_lsn,
                                              .last_lsn = log->next_lsn - 1,
                                              .bytes = spare.bytes});
    log->tail = spare;
    log->tail_seed = segment_seed(log->id, spare.number);
    log->tail_offset = SEGMENT_HEADER_BYTES;
    log->tail_empty = true;

    const size_t pad = -buf->len % OPLOG_BLOCK_BYTES;
    commit_room(buf, pad);
    memset(buf->ptr + buf->len, 0, pad);
    buf->len += pad;
    buf->runs[1] = (struct oplog_run){
        .file = spare, .offset = log->tail_offset, .start = buf->len, .last_lsn = log->last_lsn};
    buf->runs_count = 2;
    space_poll(log);
}

uint8_t *oplog_reserve(struct oplog *log, size_t max_len)
{
    const size_t bytes = segment_record_bytes(max_len);
    struct oplog_buf *buf = log->fill;

    CHECK(log->reserved == NOT_RESERVED);
    CHECK(max_len <= log->options.record_bytes_max);
    if (unlikely(!tail_fits(log, bytes))) {
        const bool worth = log->tail.fd < 0 || !log->tail_empty;
        if (worth && log->spares_count != 0 && buf->runs_count == 1)
            rotate(log);
        CHECK(log->tail.fd >= 0); /* oplog_can_append would have said no. */
    }
    commit_room(buf, bytes);
    log->reserved = max_len;
    return buf->ptr + buf->len + SEGMENT_RECORD_HEADER_BYTES;
}

uint64_t oplog_commit(struct oplog *log, size_t len, uint8_t origin, uint64_t seq)
{
    struct oplog_buf *buf = log->fill;
    struct oplog_run *run = &buf->runs[buf->runs_count - 1];
    uint8_t *at = buf->ptr + buf->len;
    const size_t bytes = segment_record_bytes(len);
    const struct oplog_record record = {
        .lsn = log->next_lsn,
        .seq = seq,
        .payload = bytes_of(at + SEGMENT_RECORD_HEADER_BYTES, len),
        .durable_lsn = log->durable_lsn,
        .origin = origin,
    };

    CHECK(log->reserved != NOT_RESERVED);
    CHECK(len <= log->reserved);
    log->reserved = NOT_RESERVED;
    log->next_lsn++;
    log->last_lsn = record.lsn;
    if (unlikely(log->fenced))
        return record.lsn;
    log->chain = segment_chain(log->chain, segment_record_encode(at, log->tail_seed, &record));
    buf->len += bytes;
    run->bytes += bytes;
    run->last_lsn = record.lsn;
    log->tail_offset += bytes;
    log->tail_empty = false;
    log->metrics.records++;
    log->metrics.bytes += bytes;
    log->metrics.buffer_bytes += bytes;
    return record.lsn;
}

uint64_t oplog_append(struct oplog *log, struct bytes payload, uint8_t origin, uint64_t seq)
{
    uint8_t *room = oplog_reserve(log, payload.len);

    if (payload.len != 0)
        memcpy(room, payload.ptr, payload.len);
    return oplog_commit(log, payload.len, origin, seq);
}

/* --- positions and state --- */

uint64_t oplog_next_lsn(const struct oplog *log)
{
    return log->next_lsn;
}

uint64_t oplog_applied_lsn(const struct oplog *log)
{
    return log->next_lsn - 1;
}

uint64_t oplog_written_lsn(const struct oplog *log)
{
    return u64_max(log->written_lsn, log->handed_lsn);
}

uint64_t oplog_durable_lsn(const struct oplog *log)
{
    return log->durable_lsn;
}

void oplog_set_policy(struct oplog *log, enum oplog_policy policy)
{
    log->policy = policy;
    commit_policy_changed(log);
}

void oplog_set_sync_period(struct oplog *log, uint32_t period_ms)
{
    log->options.sync_period_ms = period_ms == 0 ? OPLOG_SYNC_PERIOD_MS_DEFAULT : period_ms;
    reactor_timer_stop(log->reactor, &log->sync_timer);
    commit_policy_changed(log);
}

enum oplog_policy oplog_policy(const struct oplog *log)
{
    return log->policy;
}

bool oplog_congested(const struct oplog *log)
{
    return oplog_pending_bytes(log) > log->options.buffer_bytes_max / 2;
}

bool oplog_space_low(const struct oplog *log)
{
    return log->space_low;
}

bool oplog_fenced(const struct oplog *log, const char **why)
{
    if (why != NULL)
        *why = log->why;
    return log->fenced;
}

uint64_t oplog_first_lsn(const struct oplog *log)
{
    return log->segs.count == 0 ? log->next_lsn : log->segs.ptr[0].first_lsn;
}

size_t oplog_segment_count(const struct oplog *log)
{
    return log->segs.count;
}

uint64_t oplog_bytes(const struct oplog *log)
{
    uint64_t bytes = log->trash_bytes;

    for (size_t i = 0; i < log->segs.count; i++)
        bytes += log->segs.ptr[i].bytes;
    for (size_t i = 0; i < log->spares_count; i++)
        bytes += log->spares[i].bytes;
    return bytes;
}

size_t oplog_memory_bytes(const struct oplog *log)
{
    return sizeof(*log) + log->bufs[0].cap + log->bufs[1].cap + SEGMENT_HEADER_BYTES +
           (log->segs.cap + log->trash.cap) * sizeof(struct oplog_seg);
}

const struct oplog_metrics *oplog_metrics(const struct oplog *log)
{
    return &log->metrics;
}

const struct metric_desc *oplog_metric_table(size_t *out_count)
{
    *out_count = ARRAY_COUNT(oplog_metric_descs);
    return oplog_metric_descs;
}

const struct hist *oplog_sync_hist(const struct oplog *log)
{
    return &log->sync_hist;
}
