/*
 * Segment files: spares made ahead, trimmed ones recycled or deleted.
 *
 * A spare is made under another name, allocated, synced and only then given its number, so that a
 * file with a segment's name always has its blocks. Under ALWAYS it is also filled with zeros: a
 * synced write to blocks that were only reserved has to change the file's extents as well, and
 * takes half as long again (figures in README.md). A recycled segment has its blocks written
 * already; its old header, with a lower number, marks it as a spare, and the seed of its new number
 * makes the old records invalid.
 *
 * All of this blocks, hence runs as jobs on the pool, one at a time and in order: files leave from
 * the oldest end and each change of the directory is durable before the next, so that no crash
 * leaves a hole in the numbers.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/io/file.h"

#include "replication/oplog_impl.h"

#define ZERO_CHUNK_BYTES     (1u << 20)
#define SPARE_WARN_PERIOD_MS 60000u

/* --- lists --- */

void segs_push(struct oplog_segs *segs, const struct oplog_seg *seg)
{
    if (segs->count == segs->cap) {
        segs->cap = size_max(16, segs->cap * 2);
        segs->ptr = mem_realloc(segs->ptr, segs->cap * sizeof(*segs->ptr));
    }
    segs->ptr[segs->count++] = *seg;
}

void segs_pop_front(struct oplog_segs *segs)
{
    CHECK(segs->count != 0);
    segs->count--;
    memmove(segs->ptr, segs->ptr + 1, segs->count * sizeof(*segs->ptr));
}

/* --- on the pool's thread --- */

static int job_open(struct oplog_job *job, const char *path)
{
    const int fd = file_open(path, FILE_READ | FILE_WRITE);

    if (fd < 0)
        return fd;
    job->out.fd = fd;
    job->out.direct_fd = job->direct ? oplog_open_direct(path) : -1;
    job->out.number = job->to;
    job->out.bytes = job->bytes;
    return 0;
}

static int write_zeros(struct oplog_job *job, int fd)
{
    uint8_t *zeros = mem_zalloc(ZERO_CHUNK_BYTES);
    int err = 0;

    for (uint64_t at = 0; at < job->bytes && err == 0; at += ZERO_CHUNK_BYTES) {
        const size_t len = (size_t)u64_min(ZERO_CHUNK_BYTES, job->bytes - at);
        if (atomic_load_explicit(&job->hurry, memory_order_relaxed))
            break;
        err = file_write_full(fd, zeros, len, at);
        /* Piece by piece, so that a sync of the log does not queue behind all of it. */
        if (err == 0)
            err = file_sync(fd, false);
    }
    mem_free(zeros);
    return err;
}

static char *tmp_path(const char *dir)
{
    const size_t bytes = strlen(dir) + sizeof("/" OPLOG_SPARE_TMP);
    char *path = mem_alloc(bytes);

    (void)snprintf(path, bytes, "%s/%s", dir, OPLOG_SPARE_TMP);
    return path;
}

/* If it stays, the next attempt or the next start takes it. */
static void drop_file(const char *path)
{
    const int err = file_unlink(path);

    if (err != 0 && err != -ENOENT)
        LOG_WARN("oplog", "file not deleted path=%s err=%s", path, err_str(err));
}

static int job_create(struct oplog_job *job)
{
    char *tmp = tmp_path(job->dir);
    char *path = segment_path(job->dir, job->to);
    const int fd = file_open(tmp, FILE_READ | FILE_WRITE | FILE_CREATE | FILE_TRUNCATE);
    int err = fd < 0 ? fd : 0;

    if (err == 0)
        err = file_preallocate(fd, job->bytes);
    if (err == 0 && job->zero)
        err = write_zeros(job, fd);
    if (err == 0)
        err = file_sync(fd, true);
    if (fd >= 0)
        (void)file_close(fd);
    if (err == 0)
        err = file_rename(tmp, path);
    else
        drop_file(tmp); /* Gives back what was allocated. */
    if (err == 0)
        err = file_sync_dir(job->dir);
    if (err == 0)
        err = job_open(job, path);
    mem_free(tmp);
    mem_free(path);
    return err;
}

static int job_recycle(struct oplog_job *job)
{
    char *from = segment_path(job->dir, job->from);
    char *to = segment_path(job->dir, job->to);
    int err = file_rename(from, to);

    if (err == 0)
        err = file_sync_dir(job->dir);
    if (err == 0)
        err = job_open(job, to);
    mem_free(from);
    mem_free(to);
    return err;
}

static int job_delete(const struct oplog_job *job)
{
    char *path = segment_path(job->dir, job->from);
    int err = file_unlink(path);

    if (err == 0 || err == -ENOENT)
        err = file_sync_dir(job->dir);
    mem_free(path);
    return err;
}

static void job_run(struct oplog_job *job)
{
    switch (job->kind) {
    case OPLOG_JOB_CREATE:
        job->result = job_create(job);
        return;
    case OPLOG_JOB_RECYCLE:
        job->result = job_recycle(job);
        return;
    case OPLOG_JOB_DELETE:
        job->result = job_delete(job);
        return;
    }
    UNREACHABLE();
}

static void job_run_batch(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++)
        job_run(container_of(jobs[i], struct oplog_job, job));
}

void oplog_pool_class(struct pool_class *out)
{
    *out = (struct pool_class){
        .name = "oplog",
        .priority = POOL_BACKGROUND,
        .batch_max = 1,
        .run_batch = job_run_batch,
    };
}

/* --- on the shard's thread --- */

uint64_t space_next_number(const struct oplog *log)
{
    const uint64_t last = log->segs.count == 0 ? 0 : log->segs.ptr[log->segs.count - 1].number;

    return last + log->spares_count + 1;
}

static void retry_on_timer(struct reactor_timer *timer)
{
    space_poll(container_of(timer, struct oplog, spare_timer));
}

static void retry_later(struct oplog *log)
{
    reactor_timer_start(log->reactor, &log->spare_timer,
                        reactor_now_ms(log->reactor) + OPLOG_SPARE_RETRY_MS, retry_on_timer);
}

static void spare_failed(struct oplog *log, int err)
{
    log->metrics.spare_failures++;
    log->space_low = log->spares_count == 0;
    LOG_EVERY_MS(SPARE_WARN_PERIOD_MS, LOG_LEVEL_WARN, "oplog",
                 "no spare segment: growth is refused dir=%s bytes=%llu err=%s", log->options.dir,
                 (unsigned long long)log->options.segment_bytes, err_str(err));
    retry_later(log);
}

static void spare_add(struct oplog *log, const struct oplog_file *spare)
{
    CHECK(log->spares_count < OPLOG_SPARES_MAX);
    log->spares[log->spares_count++] = *spare;
    log->space_low = false;
}

/* The oldest segment of the trash has been recycled or deleted, or could not be. */
static void trash_done(struct oplog *log)
{
    const struct oplog_job *job = &log->job;

    log->trash_bytes -= log->trash.ptr[0].bytes;
    if (job->result == 0) {
        segs_pop_front(&log->trash);
        /* There may be room for a spare now. */
        reactor_timer_stop(log->reactor, &log->spare_timer);
        return;
    }
    /* The others wait for it: a hole in the numbers would look like a loss. */
    LOG_EVERY_MS(SPARE_WARN_PERIOD_MS, LOG_LEVEL_WARN, "oplog",
                 "segment not removed dir=%s number=%016llx err=%s", log->options.dir,
                 (unsigned long long)job->from, err_str(job->result));
    log->trash.ptr[0].bytes = 0;
    retry_later(log);
}

static void job_finish(struct oplog *log)
{
    struct oplog_job *job = &log->job;

    log->job_busy = false;
    if (job->kind != OPLOG_JOB_CREATE)
        trash_done(log);
    if (job->kind == OPLOG_JOB_DELETE)
        return;
    if (job->result != 0) {
        spare_failed(log, job->result);
        return;
    }
    if (job->kind == OPLOG_JOB_RECYCLE)
        log->metrics.segments_recycled++;
    spare_add(log, &job->out);
}

static void job_on_done(struct mail *mail)
{
    struct pool_job *job = container_of(mail, struct pool_job, mail);
    struct oplog *log = container_of(job, struct oplog_job, job)->log;

    job_finish(log);
    space_poll(log);
}

/* False if there is nothing to do. */
static bool job_prepare(struct oplog *log)
{
    struct oplog_job *job = &log->job;
    const bool may_retry = !timer_running(&log->spare_timer);

    *job = (struct oplog_job){
        .log = log,
        .dir = log->options.dir,
        .bytes = log->options.segment_bytes,
        .direct = log->method == OPLOG_METHOD_DIRECT,
        .zero = log->policy == OPLOG_SYNC_ALWAYS && log->ready,
        .to = space_next_number(log),
    };
    oplog_file_clear(&job->out);
    if (log->trash.count != 0 && (log->trash.ptr[0].bytes != 0 || may_retry)) {
        const struct oplog_seg *seg = &log->trash.ptr[0];
        const bool recycle = !log->options.no_recycle && seg->bytes == job->bytes &&
                             log->spares_count < OPLOG_SPARES_MAX;
        job->kind = recycle ? OPLOG_JOB_RECYCLE : OPLOG_JOB_DELETE;
        job->from = seg->number;
        return true;
    }
    job->kind = OPLOG_JOB_CREATE;
    return log->spares_count == 0 && may_retry;
}

void space_poll(struct oplog *log)
{
    /* Bounded: each round empties the trash or fills the spares by one. */
    while (!log->job_busy && !log->closing && job_prepare(log)) {
        log->job_busy = true;
        if (log->options.jobs != NULL) {
            log->job.job.mail.fn = job_on_done;
            log->job.job.reply_to = log->options.mailbox;
            pool_submit(log->options.jobs, &log->job.job);
            return;
        }
        job_run(&log->job);
        job_finish(log);
    }
}

void space_make_first(struct oplog *log)
{
    if (log->spares_count != 0 || !job_prepare(log))
        return;
    job_run(&log->job);
    job_finish(log);
}

size_t oplog_trim(struct oplog *log, uint64_t lsn)
{
    const uint64_t limit_lsn = u64_min(lsn, log->durable_lsn);
    struct oplog_segs *segs = &log->segs;
    size_t dropped = 0;

    /* Only if its successor's header is durable: else the chain would have no end. */
    while (segs->count > 1 && segs->ptr[0].last_lsn <= limit_lsn &&
           segs->ptr[1].number <= log->headed_number) {
        log->trash_bytes += segs->ptr[0].bytes;
        segs_push(&log->trash, &segs->ptr[0]);
        segs_pop_front(segs);
        dropped++;
    }
    if (dropped != 0) {
        log->metrics.segments_trimmed += dropped;
        space_poll(log);
    }
    return dropped;
}

void space_deinit(struct oplog *log)
{
    reactor_timer_stop(log->reactor, &log->spare_timer);
    for (size_t i = 0; i < log->spares_count; i++)
        oplog_file_close(&log->spares[i]);
    log->spares_count = 0;
    mem_free(log->segs.ptr);
    mem_free(log->trash.ptr);
}
