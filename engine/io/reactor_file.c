/*
 * File requests: short writes, faults and completions, for every implementation.
 *
 * A request is done in parts. Usually there is one; a short write or an injected fault makes more.
 * A part that the implementation finishes at once is not reported at once: on_done always comes
 * from the loop, by way of the mailbox files_done, which the next turn drains.
 */
#include <errno.h>
#include <sys/uio.h>

#include "engine/base/check.h"

#include "engine/io/reactor.h"
#include "engine/io/reactor_impl.h"

int reactor_file_pwrite(const struct reactor_file_req *req, int rwf_flags)
{
    const struct iovec iov = {
        .iov_base = (uint8_t *)unconst(req->buf) + req->done,
        .iov_len = req->part,
    };
    const ssize_t n = pwritev2(req->fd, &iov, 1, (off_t)(req->offset + req->done), rwf_flags);

    return n < 0 ? -errno : (int)n;
}

/* Takes the result of a part into account. True if the request has ended, with req->res. */
static bool account(struct reactor_file_req *req, int res)
{
    if (res == -EINTR || res == -EAGAIN)
        return false;
    if (res >= 0 && req->kind != REACTOR_FILE_SYNC) {
        CHECK((size_t)res <= req->part);
        req->done += (size_t)res;
        /* No progress and no reason given: a loop over it would not end. */
        if (res == 0)
            res = -EIO;
    }
    if (res >= 0 && req->fault < 0)
        res = req->fault;
    req->res = res < 0 ? res : 0;
    return res < 0 || req->done == req->len;
}

/* Asks the fault hook what is to become of the next part. */
static void plan_part(struct reactor *r, struct reactor_file_req *req)
{
    struct reactor_file_fault fault = {.bytes_max = req->len - req->done};

    if (r->file_fault != NULL)
        r->file_fault(r->file_fault_ctx, req, (enum reactor_file_kind)req->kind, &fault);
    CHECK(fault.err <= 0);
    /* One operation cannot be longer than an int can say. */
    req->part = size_min(size_min(fault.bytes_max, req->len - req->done), 1u << 30);
    req->fault = fault.err;
}

/* Goes on with the request until it waits (false) or has ended (true). */
static bool step(struct reactor *r, struct reactor_file_req *req)
{
    for (;;) {
        plan_part(r, req);
        if (req->fault < 0 && req->part == 0) {
            req->res = req->fault;
            return true;
        }
        if (r->vt->file_start(r, req) == 0)
            return false;
        if (account(req, req->res))
            return true;
    }
}

void reactor_file_finish(struct reactor_file_req *req, int res)
{
    if (account(req, res) || step(req->r, req))
        req->on_done(req, req->res);
}

static void on_done_mail(struct mail *mail)
{
    struct reactor_file_req *req = container_of(mail, struct reactor_file_req, mail);

    req->on_done(req, req->res);
}

static void start(struct reactor *r, struct reactor_file_req *req, enum reactor_file_kind kind)
{
    CHECK(req->on_done != NULL);
    req->r = r;
    req->kind = (uint8_t)kind;
    req->done = 0;
    req->res = 0;
    if (kind == REACTOR_FILE_SYNC)
        req->len = 0;
    const bool nothing = kind != REACTOR_FILE_SYNC && req->len == 0;
    if (nothing || step(r, req)) {
        req->mail.fn = on_done_mail;
        mailbox_post(&r->files_done, &req->mail);
    }
}

void reactor_file_write(struct reactor *r, struct reactor_file_req *req)
{
    r->metrics.file_writes++;
    start(r, req, REACTOR_FILE_WRITE);
}

void reactor_file_sync(struct reactor *r, struct reactor_file_req *req)
{
    r->metrics.file_syncs++;
    start(r, req, REACTOR_FILE_SYNC);
}

void reactor_file_write_sync(struct reactor *r, struct reactor_file_req *req)
{
    r->metrics.file_writes++;
    r->metrics.file_syncs++;
    start(r, req, REACTOR_FILE_WRITE_SYNC);
}

void reactor_set_file_fault(struct reactor *r, reactor_file_fault_fn fn, void *ctx)
{
    r->file_fault = fn;
    r->file_fault_ctx = ctx;
}
