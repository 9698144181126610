/*
 * The reactor on io_uring: one ring per shard thread. The only file that knows liburing.
 *
 * The ring. SINGLE_ISSUER and DEFER_TASKRUN: completions are made only when this thread enters
 * the kernel to fetch them, which batches them and interrupts nothing; a kernel without it gets
 * COOP_TASKRUN. The ring is created disabled and enabled in the first turn, because the thread
 * that enables it is the one that it then belongs to. No SQPOLL: on a machine of few cores its
 * thread would take one of them.
 *
 * Receiving: one multishot receive per socket, which the kernel answers again and again from a ring
 * of buffers shared by all sockets. It ends when the buffers run out (-ENOBUFS), when the
 * completion queue is full, or when cancelled; sock_step then starts it anew. A buffer goes back to
 * the kernel as soon as on_data has returned.
 *
 * A socket is a small state machine: the flags say what is wanted and what is with the kernel, and
 * sock_step brings the second in line with the first. It can be called at any time, any number of
 * times; when the submission queue has no room the socket stays on the list of those to look at and
 * the next turn goes on. `ring_ops` counts what is with the kernel: a closing socket is given
 * back when it reaches 0.
 *
 * Pausing is lazy: the receive is left alone until something arrives that must not be delivered.
 * That goes into the socket's stash, and only then the receive is cancelled. What arrives before
 * the cancellation takes effect joins the stash; it is bounded by what the kernel gives in one go.
 *
 * Completions: user_data is the address of the request with its kind in the low three bits.
 * Completions that do not fit into the queue are kept by the kernel (FEAT_NODROP) and fetched by
 * the next wait.
 *
 * Files: a write that ends in the page cache is a plain pwrite: the ring would hand it to a kernel
 * thread, since ext4 cannot do it without blocking, which costs 30 us instead of 1. Writes
 * with O_DIRECT, durable writes and syncs go through the ring. Figures: README.md.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <liburing.h>

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/io/reactor.h"
#include "engine/io/reactor_impl.h"

#define SQ_ENTRIES        1024u
#define CQ_ENTRIES_MIN    4096u
#define CQ_ENTRIES_MAX    65536u
#define CONNS_DEFAULT     10000u
#define RECV_BUF_BYTES    (16u << 10)
#define RECV_BUFS_DEFAULT 256u
#define RECV_BUFS_MAX     32768u
#define RECV_GROUP        0u
/* What a paused socket may hold back; reached only if a cancellation fails to take effect. */
#define STASH_BYTES_MAX (64u << 20)

/* Low bits of user_data. */
enum {
    KIND_NOTHING, /* Nobody is interested. */
    KIND_RECV,
    KIND_SEND, /* Or the poll of a connect. */
    KIND_CANCEL,
    KIND_ACCEPT,
    KIND_FILE,
    KIND_WAKE,
    KIND_MASK = 7,
};

/* struct reactor_sock, flags. */
enum {
    SOCK_RECV_ARMED = 1 << 16,     /* A receive is with the kernel. */
    SOCK_RECV_UNWANTED = 1 << 17,  /* Paused, and something came: there should be none. */
    SOCK_RECV_CANCELLED = 1 << 18, /* The present receive was asked to be cancelled. */
    SOCK_SEND_ARMED = 1 << 19,     /* A send, or the poll of a connect. */
    SOCK_CANCELLED = 1 << 20,      /* Closing: everything was asked to be cancelled. */
};

/* What came after a pause: bytes.ptr[at .. len). */
struct stash {
    struct buf bytes;
    size_t at;
};

/* Outlives the caller's struct until the kernel has let go of it. */
struct uring_listener {
    struct reactor_listener *l; /* NULL: unlistened. */
    struct list_link link;      /* Among all of the reactor. */
    struct list_link look;      /* To be looked at in the next turn. */
    int fd;
    bool armed;
};

struct uring_reactor {
    struct reactor base;
    struct io_uring ring;
    bool ring_made;
    bool enabled;
    bool wake_armed;
    bool ring_fd_registered;
    int wake_fd;
    struct io_uring_buf_ring *buf_ring;
    uint8_t *bufs;
    uint32_t buf_bytes;
    uint32_t bufs_count;
    struct list listeners;
    struct list listener_looks;
    struct mail_chain files_wait; /* File requests that found the submission queue full. */
};

static struct uring_reactor *uring_of(struct reactor *r)
{
    return container_of(r, struct uring_reactor, base);
}

static uint64_t user_data(const void *ptr, uint64_t kind)
{
    CHECK_SLOW(((uintptr_t)ptr & KIND_MASK) == 0);
    return (uint64_t)(uintptr_t)ptr | kind;
}

static void *target_of(uint64_t user_data)
{
    return (void *)(uintptr_t)(user_data &
                               ~(uint64_t)KIND_MASK); /* NOLINT(performance-no-int-to-ptr) */
}

/* NULL if there is no room even after handing over what is queued. */
static struct io_uring_sqe *get_sqe(struct uring_reactor *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    if (sqe == NULL && u->enabled) {
        /* An error leaves the queue full, which the second attempt finds out. */
        (void)io_uring_submit(&u->ring);
        sqe = io_uring_get_sqe(&u->ring);
    }
    return sqe;
}

/* ---- sockets ---- */

static bool arm_recv(struct uring_reactor *u, struct reactor_sock *s)
{
    struct io_uring_sqe *sqe = get_sqe(u);

    if (sqe == NULL)
        return false;
    io_uring_prep_recv_multishot(sqe, s->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = RECV_GROUP;
    sqe->user_data = user_data(s, KIND_RECV);
    s->flags |= SOCK_RECV_ARMED;
    s->flags &= ~(uint32_t)SOCK_RECV_CANCELLED;
    s->ring_ops++;
    return true;
}

static bool arm_send(struct uring_reactor *u, struct reactor_sock *s)
{
    struct io_uring_sqe *sqe = get_sqe(u);
    const struct msghdr *msg = &s->send;
    const int flags = MSG_NOSIGNAL | MSG_WAITALL;

    if (sqe == NULL)
        return false;
    if ((s->flags & SOCK_CONNECTING) != 0)
        io_uring_prep_poll_add(sqe, s->fd, POLLOUT);
    else if (msg->msg_iovlen == 1)
        io_uring_prep_send(sqe, s->fd, msg->msg_iov->iov_base, msg->msg_iov->iov_len, flags);
    else
        io_uring_prep_sendmsg(sqe, s->fd, msg, (unsigned)flags);
    sqe->user_data = user_data(s, KIND_SEND);
    s->flags |= SOCK_SEND_ARMED;
    s->ring_ops++;
    return true;
}

static bool arm_cancel(struct uring_reactor *u, struct reactor_sock *s, bool all)
{
    struct io_uring_sqe *sqe = get_sqe(u);

    if (sqe == NULL)
        return false;
    if (all) {
        io_uring_prep_cancel_fd(sqe, s->fd, IORING_ASYNC_CANCEL_ALL);
        s->flags |= SOCK_CANCELLED;
    } else {
        io_uring_prep_cancel64(sqe, user_data(s, KIND_RECV), 0);
        s->flags |= SOCK_RECV_CANCELLED;
    }
    sqe->user_data = user_data(s, KIND_CANCEL);
    s->ring_ops++;
    return true;
}

static void stash_free(struct stash *stash)
{
    if (stash == NULL)
        return;
    buf_deinit(&stash->bytes);
    mem_free(stash);
}

/* False if there was no room in the submission queue. */
static bool step_closing(struct uring_reactor *u, struct reactor_sock *s)
{
    if ((s->flags & SOCK_FINISHED) != 0)
        return true;
    if (s->ring_ops == 0) {
        stash_free(s->stash);
        s->stash = NULL;
        reactor_sock_finish(&u->base, s);
        return true;
    }
    return (s->flags & SOCK_CANCELLED) != 0 || arm_cancel(u, s, true);
}

static bool step_open(struct uring_reactor *u, struct reactor_sock *s)
{
    const uint32_t flags = s->flags;

    if ((flags & (SOCK_SENDING | SOCK_CONNECTING)) != 0 && (flags & SOCK_SEND_ARMED) == 0 &&
        !arm_send(u, s))
        return false;
    if ((flags & (SOCK_NO_RECV | SOCK_CONNECTING)) != 0)
        return true;
    if ((flags & SOCK_RECV_ARMED) == 0)
        return (flags & SOCK_RECV_UNWANTED) != 0 || arm_recv(u, s);
    if ((flags & SOCK_RECV_UNWANTED) != 0 && (flags & SOCK_RECV_CANCELLED) == 0)
        return arm_cancel(u, s, false);
    return true;
}

/* Gives the kernel what it lacks for the state that is wanted. */
static void sock_step(struct uring_reactor *u, struct reactor_sock *s)
{
    const bool closing = (s->flags & SOCK_CLOSING) != 0;

    if (!(closing ? step_closing(u, s) : step_open(u, s)))
        reactor_sock_look(&u->base, s);
}

static int uring_sock_open(struct reactor *r, struct reactor_sock *s)
{
    /* On a non-blocking descriptor the ring would answer -EAGAIN instead of waiting. */
    const int err = reactor_set_nonblock(s->fd, false);

    if (err != 0)
        return err;
    sock_step(uring_of(r), s);
    return 0;
}

static int uring_sock_connect(struct reactor *r, struct reactor_sock *s,
                              const struct sockaddr *addr, socklen_t addr_len)
{
    const int err = reactor_sock_start_connect(s, addr, addr_len);

    if (err != 0)
        return err;
    sock_step(uring_of(r), s);
    return 0;
}

static void uring_sock_resume(struct reactor *r, struct reactor_sock *s)
{
    if (s->stash != NULL || (s->flags & SOCK_END_DUE) != 0) {
        reactor_sock_look(r, s); /* Delivered from the loop, and then the receive goes on. */
        return;
    }
    s->flags &= ~(uint32_t)SOCK_RECV_UNWANTED;
    sock_step(uring_of(r), s);
}

static int uring_sock_send(struct reactor *r, struct reactor_sock *s)
{
    const int res = reactor_sock_try_send(s);

    if (res != 0)
        return res;
    sock_step(uring_of(r), s);
    return 0;
}

static void uring_sock_close(struct reactor *r, struct reactor_sock *s)
{
    sock_step(uring_of(r), s);
}

/* ---- completions of sockets ---- */

static void buf_recycle(struct uring_reactor *u, uint32_t id)
{
    io_uring_buf_ring_add(u->buf_ring, u->bufs + (size_t)id * u->buf_bytes, u->buf_bytes,
                          (unsigned short)id, io_uring_buf_ring_mask(u->bufs_count), 0);
    io_uring_buf_ring_advance(u->buf_ring, 1);
}

/* Keeps bytes that must not be delivered now. */
static void stash_add(struct reactor_sock *s, const uint8_t *ptr, size_t len)
{
    struct stash *stash = s->stash;

    if (stash == NULL) {
        stash = mem_zalloc(sizeof(*stash));
        buf_init(&stash->bytes, STASH_BYTES_MAX);
        s->stash = stash;
    }
    if (buf_append(&stash->bytes, ptr, len) != 0) {
        s->flags |= SOCK_NO_RECV | SOCK_END_DUE;
        s->end_err = -ENOBUFS;
    }
}

/* Where the bytes of a receive stand. */
static const uint8_t *recv_ptr(const struct uring_reactor *u, uint32_t flags)
{
    return u->bufs + (size_t)(flags >> IORING_CQE_BUFFER_SHIFT) * u->buf_bytes;
}

static void take_data(struct uring_reactor *u, struct reactor_sock *s, const uint8_t *ptr,
                      size_t len)
{
    if ((s->flags & (SOCK_CLOSING | SOCK_NO_RECV)) != 0)
        return;
    u->base.metrics.recv_bytes += len;
    if ((s->flags & SOCK_PAUSED) != 0 || s->stash != NULL) {
        s->flags |= SOCK_RECV_UNWANTED;
        stash_add(s, ptr, len);
        return;
    }
    s->ops->on_data(s, ptr, len);
}

static void on_recv(struct uring_reactor *u, struct reactor_sock *s, int res, uint32_t flags)
{
    if ((flags & IORING_CQE_F_MORE) == 0) {
        s->flags &= ~(uint32_t)(SOCK_RECV_ARMED | SOCK_RECV_CANCELLED);
        s->ring_ops--;
    }
    if (res > 0)
        take_data(u, s, recv_ptr(u, flags), (size_t)res);
    if ((flags & IORING_CQE_F_BUFFER) != 0)
        buf_recycle(u, flags >> IORING_CQE_BUFFER_SHIFT);
    if (res == -ENOBUFS)
        u->base.metrics.recv_starved++;
    else if (res <= 0 && res != -ECANCELED && res != -EINTR && res != -EAGAIN &&
             (s->flags & (SOCK_CLOSING | SOCK_NO_RECV)) == 0) {
        s->flags |= SOCK_NO_RECV | SOCK_END_DUE;
        s->end_err = res;
        if (s->stash == NULL)
            reactor_sock_end_due(s);
    }
    sock_step(u, s);
}

static void on_sent(struct uring_reactor *u, struct reactor_sock *s, int res)
{
    s->flags &= ~(uint32_t)SOCK_SEND_ARMED;
    s->ring_ops--;
    if ((s->flags & SOCK_CLOSING) == 0) {
        if ((s->flags & SOCK_CONNECTING) != 0)
            (void)reactor_sock_connected(s);
        else if (res < 0 && res != -EINTR && res != -EAGAIN)
            reactor_sock_send_done(s, res);
        else if (res >= 0 && reactor_sock_sent(s, (size_t)res))
            reactor_sock_send_done(s, 0);
    }
    sock_step(u, s);
}

static void on_cancelled(struct uring_reactor *u, struct reactor_sock *s)
{
    s->ring_ops--;
    sock_step(u, s);
}

/* A part of what was held back; the rest in the next turn, so that others get theirs. */
static void deliver_stash(struct uring_reactor *u, struct reactor_sock *s)
{
    struct stash *stash = s->stash;
    const size_t len = size_min(stash->bytes.len - stash->at, REACTOR_DATA_BYTES_MAX);

    /* The callback may close the socket, which must not free the bytes that it is reading. */
    s->stash = NULL;
    s->ops->on_data(s, stash->bytes.ptr + stash->at, len);
    stash->at += len;
    if ((s->flags & SOCK_CLOSING) != 0 || stash->at == stash->bytes.len) {
        stash_free(stash);
        return;
    }
    s->stash = stash;
    reactor_sock_look(&u->base, s);
}

static void deliver_look(struct uring_reactor *u, struct reactor_sock *s)
{
    if ((s->flags & (SOCK_CLOSING | SOCK_PAUSED)) == 0) {
        if (s->stash != NULL)
            deliver_stash(u, s);
        if (s->stash == NULL) {
            reactor_sock_end_due(s);
            if ((s->flags & SOCK_PAUSED) == 0)
                s->flags &= ~(uint32_t)SOCK_RECV_UNWANTED;
        }
    }
    sock_step(u, s);
}

static void deliver_looks(struct uring_reactor *u)
{
    struct list looks;

    list_init(&looks);
    list_splice_back(&looks, &u->base.look);
    for (;;) {
        struct list_link *link = list_pop_front(&looks);
        if (link == NULL)
            return;
        deliver_look(u, LIST_ITEM(link, struct reactor_sock, link));
    }
}

/* ---- listeners ---- */

static void listener_look(struct uring_reactor *u, struct uring_listener *ul)
{
    if (!list_linked(&ul->look))
        list_push_back(&u->listener_looks, &ul->look);
}

static void arm_accept(struct uring_reactor *u, struct uring_listener *ul)
{
    struct io_uring_sqe *sqe = get_sqe(u);

    if (sqe == NULL) {
        listener_look(u, ul);
        return;
    }
    io_uring_prep_multishot_accept(sqe, ul->fd, NULL, NULL, SOCK_CLOEXEC);
    sqe->user_data = user_data(ul, KIND_ACCEPT);
    ul->armed = true;
}

static void on_backoff_over(struct reactor_timer *t)
{
    struct reactor_listener *l = container_of(t, struct reactor_listener, backoff);

    arm_accept(uring_of(l->r), l->impl);
}

static void on_accept(struct uring_reactor *u, struct uring_listener *ul, int res, uint32_t flags)
{
    struct reactor_listener *l = ul->l;

    if ((flags & IORING_CQE_F_MORE) == 0)
        ul->armed = false;
    if (l == NULL && res >= 0) {
        (void)close(res); /* Accepted before the listener went away. */
    } else if (res >= 0) {
        u->base.metrics.accepts++;
        l->on_accept(l, res);
    } else if (l != NULL && reactor_accept_must_wait(res)) {
        u->base.metrics.accept_errors++;
        reactor_timer_start(&u->base, &l->backoff, u->base.now_ms + REACTOR_ACCEPT_BACKOFF_MS,
                            on_backoff_over);
        return;
    }
    if (!ul->armed)
        listener_look(u, ul);
}

/* Nothing else frees a listener, so that none goes away under a callback. */
static void deliver_listener_looks(struct uring_reactor *u)
{
    struct list looks;

    list_init(&looks);
    list_splice_back(&looks, &u->listener_looks);
    for (;;) {
        struct list_link *link = list_pop_front(&looks);
        if (link == NULL)
            return;
        struct uring_listener *ul = LIST_ITEM(link, struct uring_listener, look);
        if (ul->armed)
            continue;
        if (ul->l != NULL) {
            arm_accept(u, ul);
            continue;
        }
        list_remove(&ul->link);
        mem_free(ul);
    }
}

static int uring_listen(struct reactor *r, struct reactor_listener *l)
{
    struct uring_reactor *u = uring_of(r);
    const int err = reactor_set_nonblock(l->fd, false);

    if (err != 0)
        return err;
    reactor_set_nodelay(l->fd);
    struct uring_listener *ul = mem_zalloc(sizeof(*ul));
    ul->l = l;
    ul->fd = l->fd;
    l->impl = ul;
    list_push_back(&u->listeners, &ul->link);
    arm_accept(u, ul);
    return 0;
}

static void uring_unlisten(struct reactor *r, struct reactor_listener *l)
{
    struct uring_reactor *u = uring_of(r);
    struct uring_listener *ul = l->impl;
    struct io_uring_sync_cancel_reg cancel = {
        .addr = user_data(ul, KIND_ACCEPT), .fd = -1, .timeout = {.tv_sec = -1, .tv_nsec = -1}};

    ul->l = NULL;
    l->impl = NULL;
    if (ul->armed && u->enabled) {
        /*
         * At once, so that the port is free when the caller has closed its descriptor. If it
         * fails, the next connection finds out that nobody listens.
         */
        (void)io_uring_submit(&u->ring);
        (void)io_uring_register_sync_cancel(&u->ring, &cancel);
        (void)io_uring_get_events(&u->ring);
    }
    listener_look(u, ul);
}

/* ---- files ---- */

static bool arm_file(struct uring_reactor *u, struct reactor_file_req *req)
{
    struct io_uring_sqe *sqe = get_sqe(u);
    const uint8_t *ptr = req->buf;

    if (sqe == NULL)
        return false;
    if (req->kind == REACTOR_FILE_SYNC) {
        io_uring_prep_fsync(sqe, req->fd, IORING_FSYNC_DATASYNC);
    } else {
        io_uring_prep_write(sqe, req->fd, ptr + req->done, (unsigned)req->part,
                            req->offset + req->done);
        sqe->rw_flags = req->kind == REACTOR_FILE_WRITE_SYNC ? RWF_DSYNC : 0;
    }
    sqe->user_data = user_data(req, KIND_FILE);
    return true;
}

static int uring_file_start(struct reactor *r, struct reactor_file_req *req)
{
    struct uring_reactor *u = uring_of(r);

    if (req->kind == REACTOR_FILE_WRITE) {
        req->res = reactor_file_pwrite(req, 0);
        return 1;
    }
    if (u->files_wait.first != NULL || !arm_file(u, req))
        mail_chain_add(&u->files_wait, &req->mail);
    return 0;
}

/* Tries again with what found the submission queue full, in order. */
static void retry_files(struct uring_reactor *u)
{
    while (u->files_wait.first != NULL) {
        struct mail *mail = u->files_wait.first;
        if (!arm_file(u, container_of(mail, struct reactor_file_req, mail)))
            return;
        u->files_wait.first = mail->next;
        if (mail->next == NULL)
            u->files_wait.last = NULL;
    }
}

/* ---- waiting and delivering ---- */

static void enable(struct uring_reactor *u)
{
    if (u->enabled)
        return;
    /* By hand: the shared library of liburing 2.3 forgets to export io_uring_enable_rings. */
    CHECK(io_uring_register((unsigned)u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0);
    u->enabled = true;
}

static void arm_wake(struct uring_reactor *u)
{
    struct io_uring_sqe *sqe;

    if (u->wake_armed)
        return;
    sqe = get_sqe(u);
    if (sqe == NULL)
        return;
    /* Multishot: every write to the eventfd reports once, the counter need not be read. */
    io_uring_prep_poll_multishot(sqe, u->wake_fd, POLLIN);
    sqe->user_data = user_data(u, KIND_WAKE);
    u->wake_armed = true;
}

static void on_wake(struct uring_reactor *u, uint32_t flags)
{
    uint64_t count;

    if ((flags & IORING_CQE_F_MORE) != 0)
        return;
    /* Armed anew it would report at once what is in the counter. */
    const ssize_t n = read(u->wake_fd, &count, sizeof(count));
    (void)n;
    u->wake_armed = false;
}

static void uring_wake(struct reactor *r)
{
    const uint64_t one = 1;

    /* Fails only if the counter is full, and then it is readable anyway. */
    const ssize_t n = write(uring_of(r)->wake_fd, &one, sizeof(one));
    (void)n;
}

static void uring_wait(struct reactor *r, uint64_t timeout_ns)
{
    struct uring_reactor *u = uring_of(r);
    struct io_uring_cqe *cqe = NULL;
    int res;

    enable(u);
    arm_wake(u);
    retry_files(u);
    if (!u->wake_armed || u->files_wait.first != NULL || !list_empty(&u->listener_looks))
        timeout_ns = 0;
    if (timeout_ns == 0) {
        res = io_uring_submit_and_get_events(&u->ring);
    } else if (timeout_ns == REACTOR_WAIT_FOREVER) {
        res = io_uring_submit_and_wait(&u->ring, 1);
    } else {
        struct __kernel_timespec timeout = {.tv_sec = (int64_t)(timeout_ns / 1000000000u),
                                            .tv_nsec = (int64_t)(timeout_ns % 1000000000u)};
        res = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, &timeout, NULL);
    }
    /* EAGAIN, EBUSY: short of memory or of room; completions free some, then it is tried again. */
    CHECK(res >= 0 || res == -ETIME || res == -EINTR || res == -EAGAIN || res == -EBUSY);
}

static void deliver_one(struct uring_reactor *u, const struct io_uring_cqe *cqe)
{
    void *target = target_of(cqe->user_data);

    switch (cqe->user_data & KIND_MASK) {
    case KIND_RECV:
        on_recv(u, target, cqe->res, cqe->flags);
        break;
    case KIND_SEND:
        on_sent(u, target, cqe->res);
        break;
    case KIND_CANCEL:
        on_cancelled(u, target);
        break;
    case KIND_ACCEPT:
        on_accept(u, target, cqe->res, cqe->flags);
        break;
    case KIND_FILE:
        reactor_file_finish(target, cqe->res);
        break;
    case KIND_WAKE:
        on_wake(u, cqe->flags);
        break;
    default:
        UNREACHABLE();
    }
}

/* Announces the receives among the next completions; returns how many completions it saw. */
static uint32_t look_ahead(struct uring_reactor *u)
{
    struct reactor_ahead ahead[REACTOR_AHEAD_MAX];
    struct io_uring_cqe *cqe = NULL;
    uint32_t seen = 0;
    uint32_t n = 0;
    unsigned head;

    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        if (seen == REACTOR_AHEAD_MAX)
            break;
        seen++;
        if ((cqe->user_data & KIND_MASK) != KIND_RECV || cqe->res <= 0)
            continue;
        struct reactor_sock *s = target_of(cqe->user_data);
        if ((s->flags & (SOCK_CLOSING | SOCK_NO_RECV | SOCK_PAUSED)) != 0 || s->stash != NULL)
            continue;
        ahead[n++] = (struct reactor_ahead){
            .sock = s, .ptr = recv_ptr(u, cqe->flags), .len = (size_t)cqe->res};
    }
    u->base.ahead_hook(u->base.ahead_ctx, ahead, n);
    return seen;
}

static bool uring_deliver(struct reactor *r)
{
    struct uring_reactor *u = uring_of(r);
    struct io_uring_cqe *next = NULL;
    uint32_t announced = 0; /* Completions that were looked at, and not delivered yet. */

    deliver_looks(u);
    deliver_listener_looks(u);
    for (uint32_t i = 0; i < REACTOR_TURN_EVENTS_MAX; i++) {
        if (io_uring_cq_ready(&u->ring) == 0)
            return false;
        if (announced == 0 && r->ahead_hook != NULL)
            announced = look_ahead(u);
        announced -= announced != 0;
        CHECK(io_uring_peek_cqe(&u->ring, &next) == 0);
        /* A copy, because the callbacks may enter the kernel, which may use the place again. */
        const struct io_uring_cqe cqe = {
            .user_data = next->user_data, .res = next->res, .flags = next->flags};
        io_uring_cqe_seen(&u->ring, next);
        r->metrics.events++;
        deliver_one(u, &cqe);
    }
    return io_uring_cq_ready(&u->ring) != 0;
}

/* ---- creation ---- */

static void uring_enter(struct reactor *r)
{
    struct uring_reactor *u = uring_of(r);

    enable(u);
    /* Saves the kernel a look-up per turn; it works without. Belongs to this thread. */
    u->ring_fd_registered = io_uring_register_ring_fd(&u->ring) == 1;
}

static void uring_leave(struct reactor *r)
{
    struct uring_reactor *u = uring_of(r);

    if (u->ring_fd_registered)
        (void)io_uring_unregister_ring_fd(&u->ring);
    u->ring_fd_registered = false;
}

static void uring_destroy(struct reactor *r)
{
    struct uring_reactor *u = uring_of(r);

    if (u->ring_made)
        io_uring_queue_exit(&u->ring);
    if (u->wake_fd >= 0)
        (void)close(u->wake_fd);
    for (;;) {
        struct list_link *link = list_pop_front(&u->listeners);
        if (link == NULL)
            break;
        mem_free(LIST_ITEM(link, struct uring_listener, link));
    }
    mem_free(u->buf_ring);
    mem_free(u->bufs);
    mem_free(u);
}

static const struct reactor_vtable uring_vtable = {
    .name = "io_uring",
    .destroy = uring_destroy,
    .enter = uring_enter,
    .leave = uring_leave,
    .wait = uring_wait,
    .deliver = uring_deliver,
    .wake = uring_wake,
    .listen = uring_listen,
    .unlisten = uring_unlisten,
    .sock_open = uring_sock_open,
    .sock_connect = uring_sock_connect,
    .sock_resume = uring_sock_resume,
    .sock_send = uring_sock_send,
    .sock_close = uring_sock_close,
    .sock_addr = reactor_sock_addr_of_fd,
    .file_start = uring_file_start,
};

/* The smallest power of two that is at least `n`, within the limits. */
static uint32_t power_of_two(uint32_t n, uint32_t min, uint32_t max)
{
    uint32_t power = min;

    while (power < n && power < max)
        power *= 2;
    return power;
}

static int make_ring(struct uring_reactor *u, uint32_t conns)
{
    static const unsigned kinds[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED,
        IORING_SETUP_COOP_TASKRUN,
    };
    int err = -ENOSYS;

    for (size_t i = 0; i < ARRAY_COUNT(kinds); i++) {
        struct io_uring_params params = {
            .flags = kinds[i] | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP,
            /* Each connection may have a receive and a send to report in the same turn. */
            .cq_entries = power_of_two(2 * conns, CQ_ENTRIES_MIN, CQ_ENTRIES_MAX),
        };
        err = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &params);
        if (err == 0) {
            u->ring_made = true;
            u->enabled = (kinds[i] & IORING_SETUP_R_DISABLED) == 0;
            return 0;
        }
        if (err != -EINVAL)
            return err;
    }
    return err;
}

/* The operations that we use, and the versions that brought multishot receive (6.0). */
static int probe_ring(struct uring_reactor *u)
{
    static const int needed[] = {IORING_OP_ACCEPT, IORING_OP_RECV, IORING_OP_SEND,
                                 IORING_OP_SENDMSG, IORING_OP_WRITE, IORING_OP_FSYNC,
                                 IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL,
                                 /* Not used: it came in the same version, which no flag tells. */
                                 IORING_OP_SEND_ZC};
    const unsigned features = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_FAST_POLL;
    bool all = (u->ring.features & features) == features;
    struct io_uring_probe *probe = io_uring_get_probe_ring(&u->ring);

    if (probe == NULL)
        return -ENOSYS;
    for (size_t i = 0; i < ARRAY_COUNT(needed); i++)
        all = all && io_uring_opcode_supported(probe, needed[i]);
    io_uring_free_probe(probe);
    return all ? 0 : -ENOSYS;
}

static int make_bufs(struct uring_reactor *u, const struct reactor_options *options)
{
    const uint32_t count =
        options->recv_bufs_count != 0 ? options->recv_bufs_count : RECV_BUFS_DEFAULT;

    u->buf_bytes = options->recv_buf_bytes != 0 ? options->recv_buf_bytes : RECV_BUF_BYTES;
    u->bufs_count = power_of_two(count, 1, RECV_BUFS_MAX);
    const size_t ring_bytes = u->bufs_count * sizeof(struct io_uring_buf);
    u->buf_ring = mem_alloc_aligned(4096, ring_bytes);
    memset(u->buf_ring, 0, ring_bytes);
    u->bufs = mem_alloc_aligned(4096, (size_t)u->bufs_count * u->buf_bytes);
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)u->buf_ring,
                                   .ring_entries = u->bufs_count,
                                   .bgid = RECV_GROUP};
    const int err = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (err != 0)
        return err;
    io_uring_buf_ring_init(u->buf_ring);
    for (uint32_t id = 0; id < u->bufs_count; id++)
        buf_recycle(u, id);
    return 0;
}

int reactor_uring_create(const struct reactor_options *options, struct reactor **out)
{
    struct uring_reactor *u = mem_zalloc(sizeof(*u));
    int err;

    u->base.vt = &uring_vtable;
    list_init(&u->listeners);
    list_init(&u->listener_looks);
    u->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    err = u->wake_fd < 0 ? -errno : 0;
    if (err == 0)
        err = make_ring(u, options->max_conns != 0 ? options->max_conns : CONNS_DEFAULT);
    if (err == 0)
        err = probe_ring(u);
    if (err == 0)
        err = make_bufs(u, options);
    if (err != 0) {
        uring_destroy(&u->base);
        return err;
    }
    *out = &u->base;
    return 0;
}
