/*
 * Group commit: what the turns appended becomes written, then durable.
 *
 * A flight is a buffer on its way to the file. Its steps, one request at a time:
 *
 *     write run 0 -> [sync] -> write the header of the next segment, synced -> write run 1 ->
 * [sync]
 *
 * The middle ones only if a segment ended within the buffer. The sync there comes under every
 * policy: a header says that everything before it is durable. The last sync comes under ALWAYS,
 * and only if the write was not a synced one. While a flight is on its way the turns fill the other
 * buffer; a new flight starts at the end of a turn.
 *
 * Beside the flight at most one sync runs for the timer or on request; it covers what had been
 * written when it was submitted. After each advance of the durable position the watermark is
 * written, one write at a time, the newest value wins.
 *
 * Any failure of these, but for the watermark, fences the log: nothing more is submitted.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "replication/oplog_impl.h"

#define MARK_WARN_PERIOD_MS 10000u

static void flight_step(struct oplog *log);
static void sync_poll(struct oplog *log);

/* --- the watermark --- */

static void mark_poll(struct oplog *log);

static void mark_on_done(struct reactor_file_req *req, int res)
{
    struct oplog *log = container_of(req, struct oplog, mark_req);

    log->mark_busy = false;
    if (res < 0) {
        /* The slot may be damaged now: the next attempt goes to the same one, never to the good. */
        log->mark.count--;
        log->metrics.watermark_failures++;
        LOG_EVERY_MS(MARK_WARN_PERIOD_MS, LOG_LEVEL_WARN, "oplog",
                     "watermark not written dir=%s err=%s", log->options.dir, err_str(res));
    }
    mark_poll(log);
}

static void mark_poll(struct oplog *log)
{
    if (log->mark_busy || !log->mark_dirty || log->fenced)
        return;
    log->mark_dirty = false;
    log->mark_busy = true;
    log->mark.count++;
    log->mark.durable_lsn = log->durable_lsn;
    mark_encode(&log->mark, log->mark_slot);
    log->mark_req.fd = log->mark_fd;
    log->mark_req.buf = log->mark_slot;
    log->mark_req.len = MARK_SLOT_BYTES;
    log->mark_req.offset = mark_offset(&log->mark);
    log->mark_req.on_done = mark_on_done;
    reactor_file_write(log->reactor, &log->mark_req);
}

/* --- syncing --- */

static void timer_arm(struct oplog *log);

static void sync_on_timer(struct reactor_timer *timer)
{
    struct oplog *log = container_of(timer, struct oplog, sync_timer);

    if (log->fenced || log->policy != OPLOG_SYNC_EVERYSEC)
        return;
    if (log->durable_lsn < log->written_lsn && log->sync_wanted_lsn <= log->durable_lsn)
        log->sync_wanted_lsn = log->written_lsn;
    sync_poll(log);
    timer_arm(log);
}

/* The timer runs only while there is something to sync. */
static void timer_arm(struct oplog *log)
{
    if (log->policy != OPLOG_SYNC_EVERYSEC || log->fenced || timer_running(&log->sync_timer))
        return;
    if (log->durable_lsn == log->written_lsn)
        return;
    reactor_timer_start(log->reactor, &log->sync_timer,
                        reactor_now_ms(log->reactor) + log->options.sync_period_ms, sync_on_timer);
}

static void durable_to(struct oplog *log, uint64_t lsn)
{
    if (lsn <= log->durable_lsn)
        return;
    CHECK(lsn <= log->written_lsn);
    log->durable_lsn = lsn;
    if (log->sync_wanted_lsn <= lsn) {
        log->sync_wanted_lsn = log->sync_later_lsn;
        log->sync_later_lsn = 0;
    }
    log->mark_dirty = true;
    mark_poll(log);
    if (log->options.on_durable != NULL)
        log->options.on_durable(log->options.ctx, lsn);
}

static void sync_count(struct oplog *log, uint64_t at_ns)
{
    const uint64_t now_ns = reactor_now_ns(log->reactor);

    log->metrics.syncs++;
    hist_record(&log->sync_hist, now_ns > at_ns ? now_ns - at_ns : 0);
}

static void sync_on_done(struct reactor_file_req *req, int res)
{
    struct oplog *log = container_of(req, struct oplog, sync_req);

    log->sync_busy = false;
    if (log->fenced)
        return;
    if (res < 0) {
        oplog_fence(log, "sync", res);
        return;
    }
    sync_count(log, log->sync_at_ns);
    durable_to(log, log->sync_target_lsn);
    flight_step(log);
    sync_poll(log);
    timer_arm(log);
}

static void sync_submit(struct oplog *log)
{
    if (log->sync_busy)
        return;
    log->sync_busy = true;
    log->sync_target_lsn = log->written_lsn;
    log->sync_at_ns = reactor_now_ns(log->reactor);
    log->sync_req.fd = log->write_file.fd;
    log->sync_req.on_done = sync_on_done;
    reactor_file_sync(log->reactor, &log->sync_req);
}

/* Syncs if it was asked for and all that was meant has been written. */
static void sync_poll(struct oplog *log)
{
    if (log->fenced || log->durable_lsn == log->written_lsn)
        return;
    if (log->sync_wanted_lsn > log->durable_lsn && log->written_lsn >= log->sync_wanted_lsn)
        sync_submit(log);
}

/* --- flights --- */

static void write_submit(struct oplog *log, int fd, struct bytes data, uint64_t offset,
                         reactor_file_fn on_done)
{
    log->flight_busy = true;
    log->write_at_ns = reactor_now_ns(log->reactor);
    log->write_req.fd = fd;
    log->write_req.buf = data.ptr;
    log->write_req.len = data.len;
    log->write_req.offset = offset;
    log->write_req.on_done = on_done;
    if (log->write_synced)
        reactor_file_write_sync(log->reactor, &log->write_req);
    else
        reactor_file_write(log->reactor, &log->write_req);
}

static void file_grew(struct oplog *log, uint64_t end)
{
    struct oplog_segs *segs = &log->segs;

    if (end <= log->write_file.bytes)
        return;
    log->write_file.bytes = end;
    for (size_t i = segs->count; i-- > 0;) {
        if (segs->ptr[i].number == log->write_file.number) {
            segs->ptr[i].bytes = end;
            break;
        }
    }
}

static void run_on_done(struct reactor_file_req *req, int res)
{
    struct oplog *log = container_of(req, struct oplog, write_req);
    const struct oplog_run *run = &log->flight->runs[log->flight_run];
    const uint64_t before_lsn = log->written_lsn;

    log->flight_busy = false;
    if (log->fenced)
        return;
    if (res < 0) {
        oplog_fence(log, "write", res);
        return;
    }
    log->flight_written = true;
    log->written_lsn = run->last_lsn;
    file_grew(log, req->offset + req->len);
    if (log->write_synced) {
        sync_count(log, log->write_at_ns);
        /* A synced write says nothing about what was written before it without a sync. */
        if (log->durable_lsn == before_lsn)
            durable_to(log, log->written_lsn);
    }
    flight_step(log);
    sync_poll(log);
    timer_arm(log);
}

static void run_submit(struct oplog *log, const struct oplog_run *run)
{
    struct oplog_buf *buf = log->flight;
    const size_t into = run->start % OPLOG_BLOCK_BYTES;
    const size_t whole = (into + run->bytes + OPLOG_BLOCK_BYTES - 1) & ~(OPLOG_BLOCK_BYTES - 1ul);

    CHECK(run->file.fd == log->write_file.fd);
    log->metrics.writes++;
    log->write_synced = log->policy == OPLOG_SYNC_ALWAYS && log->method != OPLOG_METHOD_FSYNC;
    if (!log->write_synced || log->method != OPLOG_METHOD_DIRECT || run->file.direct_fd < 0) {
        write_submit(log, run->file.fd, bytes_of(buf->ptr + run->start, run->bytes), run->offset,
                     run_on_done);
        /* A plain write is done within the call, though it is reported later. */
        if (!log->write_synced && log->write_req.done == run->bytes)
            log->handed_lsn = run->last_lsn;
        return;
    }
    CHECK(run->start - into + whole <= buf->cap);
    memset(buf->ptr + run->start + run->bytes, 0, whole - into - run->bytes);
    write_submit(log, run->file.direct_fd, bytes_of(buf->ptr + run->start - into, whole),
                 run->offset - into, run_on_done);
}

static void header_on_done(struct reactor_file_req *req, int res)
{
    struct oplog *log = container_of(req, struct oplog, write_req);

    log->flight_busy = false;
    if (log->fenced)
        return;
    if (res < 0) {
        oplog_fence(log, "write of a segment header", res);
        return;
    }
    /* A sync in flight means that something is not durable; the header would not be due yet. */
    CHECK(!log->sync_busy);
    oplog_file_close(&log->write_file);
    log->flight_run++;
    log->flight_written = false;
    log->write_file = log->flight->runs[log->flight_run].file;
    log->headed_number = log->write_file.number;
    log->metrics.rotations++;
    sync_count(log, log->write_at_ns);
    flight_step(log);
}

static void header_submit(struct oplog *log)
{
    const struct oplog_run *run = &log->flight->runs[log->flight_run + 1];

    segment_header_encode(&log->flight->header, log->header_block);
    log->write_synced = true;
    write_submit(log, run->file.fd, bytes_of(log->header_block, SEGMENT_HEADER_BYTES), 0,
                 header_on_done);
}

static void buf_release(struct oplog_buf *buf)
{
    /* Only after a while: growing again, page by page, is what costs. */
    const bool large = buf->cap > OPLOG_BUFFER_BYTES_KEEP && buf->len < buf->cap / 4;

    buf->large_count = large ? buf->large_count + 1 : 0;
    buf->len = 0;
    buf->runs_count = 0;
    if (buf->large_count == OPLOG_BUFFER_LARGE_FLIGHTS) {
        mem_free(buf->ptr);
        buf->ptr = NULL;
        buf->cap = 0;
        buf->large_count = 0;
    }
}

static void flight_end(struct oplog *log)
{
    buf_release(log->flight);
    log->flight = NULL;
    log->metrics.buffer_bytes = oplog_pending_bytes(log);
}

/* The next step of the flight, unless a request of it is under way. */
static void flight_step(struct oplog *log)
{
    if (log->flight == NULL || log->flight_busy || log->fenced)
        return;

    const struct oplog_run *run = &log->flight->runs[log->flight_run];
    const bool last = log->flight_run + 1 == log->flight->runs_count;
    if (!log->flight_written && run->bytes != 0) {
        run_submit(log, run);
        return;
    }
    log->flight_written = true;
    if (log->durable_lsn < log->written_lsn && (!last || log->policy == OPLOG_SYNC_ALWAYS)) {
        sync_submit(log);
        return;
    }
    if (last)
        flight_end(log);
    else
        header_submit(log);
}

/* The buffer that is filled next begins with the block that the last one left unfinished. */
static void fill_begin(struct oplog *log, struct oplog_buf *buf, const struct oplog_buf *before)
{
    const size_t into = before == NULL ? 0 : before->len % OPLOG_BLOCK_BYTES;

    commit_room(buf, into);
    if (into != 0)
        memcpy(buf->ptr, before->ptr + before->len - into, into);
    buf->len = into;
    buf->runs_count = 1;
    buf->runs[0] = (struct oplog_run){
        .file = log->tail, .offset = log->tail_offset, .start = into, .last_lsn = log->last_lsn};
    log->fill = buf;
}

void commit_advance(struct oplog *log)
{
    if (log->flight != NULL || log->fenced || !oplog_buf_used(log->fill))
        return;
    log->flight = log->fill;
    log->flight_run = 0;
    log->flight_written = false;
    fill_begin(log, log->flight == &log->bufs[0] ? &log->bufs[1] : &log->bufs[0], log->flight);
    flight_step(log);
}

/* --- buffers --- */

void commit_room(struct oplog_buf *buf, size_t more)
{
    /* Behind the content: padding to a block before a second run, and after the last one. */
    const size_t need = buf->len + more + 2 * OPLOG_BLOCK_BYTES;
    size_t cap = size_max(buf->cap, OPLOG_BUFFER_BYTES_MIN);

    if (need <= buf->cap)
        return;
    while (cap < need && cap < OPLOG_BUFFER_BYTES_DOUBLE)
        cap *= 2;
    if (cap < need)
        cap = size_max(need, cap + cap / 4);
    uint8_t *ptr = mem_alloc_aligned(OPLOG_BLOCK_BYTES, cap);
    if (buf->len != 0)
        memcpy(ptr, buf->ptr, buf->len);
    mem_free(buf->ptr);
    buf->ptr = ptr;
    buf->cap = cap;
}

/* --- start, end, requests --- */

void commit_init(struct oplog *log)
{
    log->header_block = mem_alloc_aligned(OPLOG_BLOCK_BYTES, SEGMENT_HEADER_BYTES);
    fill_begin(log, &log->bufs[0], NULL);
}

void commit_deinit(struct oplog *log)
{
    reactor_timer_stop(log->reactor, &log->sync_timer);
    mem_free(log->header_block);
    mem_free(log->bufs[0].ptr);
    mem_free(log->bufs[1].ptr);
    log->header_block = NULL;
}

bool commit_idle(const struct oplog *log)
{
    return !log->flight_busy && !log->sync_busy && !log->mark_busy;
}

void oplog_turn_end(struct oplog *log)
{
    CHECK(log->reserved == SIZE_MAX);
    commit_advance(log);
}

void oplog_request_sync(struct oplog *log)
{
    const uint64_t applied_lsn = oplog_applied_lsn(log);

    if (log->durable_lsn >= applied_lsn)
        return;
    if (log->sync_wanted_lsn <= log->durable_lsn)
        log->sync_wanted_lsn = applied_lsn;
    else
        log->sync_later_lsn = applied_lsn;
    sync_poll(log);
}

void commit_policy_changed(struct oplog *log)
{
    if (log->policy == OPLOG_SYNC_ALWAYS)
        oplog_request_sync(log);
    if (log->policy != OPLOG_SYNC_EVERYSEC)
        reactor_timer_stop(log->reactor, &log->sync_timer);
    timer_arm(log);
}
