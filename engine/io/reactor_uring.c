/*
 * The reactor on io_uring: one ring per shard thread. Here: the ring, files and the turn; sockets
 * and listeners are in uring_sock.c and uring_listen.c; uring.h alone includes liburing.
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
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/io/uring.h"

#define SQ_ENTRIES        1024u
#define CQ_ENTRIES_MIN    4096u
#define CQ_ENTRIES_MAX    65536u
#define CONNS_DEFAULT     10000u
#define RECV_BUF_BYTES    (16u << 10)
#define RECV_BUFS_DEFAULT 256u
#define RECV_BUFS_MAX     32768u

/* ---- files ---- */

static bool arm_file(struct uring_reactor *u, struct reactor_file_req *req)
{
    struct io_uring_sqe *sqe = uring_get_sqe(u);
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
    sqe->user_data = uring_user_data(req, KIND_FILE);
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
    sqe = uring_get_sqe(u);
    if (sqe == NULL)
        return;
    /* Multishot: every write to the eventfd reports once, the counter need not be read. */
    io_uring_prep_poll_multishot(sqe, u->wake_fd, POLLIN);
    sqe->user_data = uring_user_data(u, KIND_WAKE);
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
    void *target = uring_target(cqe->user_data);

    switch (cqe->user_data & KIND_MASK) {
    case KIND_RECV:
        uring_on_recv(u, target, cqe->res, cqe->flags);
        break;
    case KIND_SEND:
        uring_on_sent(u, target, cqe->res);
        break;
    case KIND_CANCEL:
        uring_on_cancelled(u, target);
        break;
    case KIND_ACCEPT:
        uring_on_accept(u, target, cqe->res, cqe->flags);
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
        struct reactor_sock *s = uring_target(cqe->user_data);
        if ((s->flags & (SOCK_CLOSING | SOCK_NO_RECV | SOCK_PAUSED)) != 0 || s->stash != NULL)
            continue;
        ahead[n++] = (struct reactor_ahead){
            .sock = s, .ptr = uring_recv_ptr(u, cqe->flags), .len = (size_t)cqe->res};
    }
    u->base.ahead_hook(u->base.ahead_ctx, ahead, n);
    return seen;
}

static bool uring_deliver(struct reactor *r)
{
    struct uring_reactor *u = uring_of(r);
    struct io_uring_cqe *next = NULL;
    uint32_t announced = 0; /* Completions that were looked at, and not delivered yet. */

    uring_sock_looks(u);
    uring_listener_looks(u);
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
    uring_listeners_free(u);
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
                                   .bgid = URING_RECV_GROUP};
    const int err = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (err != 0)
        return err;
    io_uring_buf_ring_init(u->buf_ring);
    for (uint32_t id = 0; id < u->bufs_count; id++)
        uring_buf_recycle(u, id);
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
