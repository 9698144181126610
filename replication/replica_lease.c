/*
 * The lease of the clock.
 *
 * A member promises to its peers that no batch of its own will be older than a time, and keeps the
 * promise through crashes. So the promise is never beyond what is on disk, and a start begins its
 * clock there, or up to 256 ms above it (hlc.h). The lease is ahead of the clock that the member
 * goes by (core_clock_ms), not of the HLC, else it would run away with every restart.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/io/file.h"

#include "replication/mutate.h"
#include "replication/replica_impl.h"

#define LEASE_MAGIC "TIERLEAS"
/* A lease is renewed when it is less than half of this ahead of the clock. */
#define LEASE_AHEAD_MS 2000u
#define LEASE_HLC_AT   8u
#define LEASE_SUM_AT   16u

_Static_assert(LEASE_SUM_AT + 8 == LEASE_BYTES, "magic, HLC, sum");

/* Maintenance thread. */
static void write_lease(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct replica *r = ctx;

    (void)jobs;
    (void)n;
    r->lease.err = file_write_atomic(r->lease.path, bytes_of(r->lease.bytes, LEASE_BYTES));
}

static void on_written(struct mail *mail)
{
    struct replica *r =
        container_of(container_of(mail, struct pool_job, mail), struct replica, lease.job);
    struct lease *l = &r->lease;

    r->jobs--;
    if (l->err == 0) {
        l->hlc = l->writing;
    } else {
        r->metrics.lease_failures++;
        l->retry_ms = r->now_ms + REPLICA_RETRY_MS;
        LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "replica",
                     "cannot write the lease of the clock path=%s err=\"%s\"", l->path,
                     err_str(l->err));
    }
    l->writing = 0;
}

int replica_lease_open(struct replica *r, char *why, size_t why_len)
{
    struct lease *l = &r->lease;
    struct buf content;

    const size_t path_len = strlen(r->options.dir) + sizeof("/lease");
    l->path = mem_alloc(path_len);
    (void)snprintf(l->path, path_len, "%s/lease", r->options.dir);
    l->cls = (struct pool_class){.name = "lease",
                                 .priority = POOL_FOREGROUND,
                                 .batch_max = 1,
                                 .run_batch = write_lease,
                                 .ctx = r};
    pool_add_class(r->options.maintainer, &l->cls);
    l->job = (struct pool_job){.mail = {.fn = on_written}, .reply_to = r->options.mailbox};
    buf_init(&content, 4096);
    int err = file_read_all(l->path, &content);
    const uint8_t *p = content.ptr;
    if (err == 0 && (content.len != LEASE_BYTES || memcmp(p, LEASE_MAGIC, 8) != 0 ||
                     le64_load(p + LEASE_SUM_AT) != sum64(p + LEASE_HLC_AT, 8)))
        err = -ERR_CORRUPT;
    if (err == 0)
        l->hlc = le64_load(p + LEASE_HLC_AT);
    buf_deinit(&content);
    if (err == -ENOENT)
        err = 0;
    if (err != 0)
        (void)snprintf(why, why_len, "%s: %s", l->path, err_str(err));
    return err;
}

void replica_lease_close(struct replica *r)
{
    mem_free(r->lease.path);
}

void replica_lease_tick(struct replica *r)
{
    struct lease *l = &r->lease;

    if (l->writing != 0 || r->stopping || r->now_ms < l->retry_ms ||
        l->hlc >= (r->clock_ms + LEASE_AHEAD_MS / 2) << 16)
        return;
    l->writing = (r->clock_ms + LEASE_AHEAD_MS) << 16;
    memcpy(l->bytes, LEASE_MAGIC, 8);
    le64_store(l->bytes + LEASE_HLC_AT, l->writing);
    le64_store(l->bytes + LEASE_SUM_AT, sum64(l->bytes + LEASE_HLC_AT, 8));
    r->jobs++;
    pool_submit(&l->cls, &l->job);
}

uint64_t replica_lease_hlc(const struct replica *r)
{
    return u64_min(mut_hlc(r->options.mut), r->lease.hlc);
}
