/* The sockets of the reactor on io_uring; reactor_uring.c tells how they work. */
#include <errno.h>
#include <poll.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"

#include "engine/io/uring.h"

/* What a paused socket may hold back; reached only if a cancellation fails to take effect. */
#define STASH_BYTES_MAX (64u << 20)

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

static bool arm_recv(struct uring_reactor *u, struct reactor_sock *s)
{
    struct io_uring_sqe *sqe = uring_get_sqe(u);

    if (sqe == NULL)
        return false;
    io_uring_prep_recv_multishot(sqe, s->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_RECV_GROUP;
    sqe->user_data = uring_user_data(s, KIND_RECV);
    s->flags |= SOCK_RECV_ARMED;
    s->flags &= ~(uint32_t)SOCK_RECV_CANCELLED;
    s->ring_ops++;
    return true;
}

static bool arm_send(struct uring_reactor *u, struct reactor_sock *s)
{
    struct io_uring_sqe *sqe = uring_get_sqe(u);
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
    sqe->user_data = uring_user_data(s, KIND_SEND);
    s->flags |= SOCK_SEND_ARMED;
    s->ring_ops++;
    return true;
}

static bool arm_cancel(struct uring_reactor *u, struct reactor_sock *s, bool all)
{
    struct io_uring_sqe *sqe = uring_get_sqe(u);

    if (sqe == NULL)
        return false;
    if (all) {
        io_uring_prep_cancel_fd(sqe, s->fd, IORING_ASYNC_CANCEL_ALL);
        s->flags |= SOCK_CANCELLED;
    } else {
        io_uring_prep_cancel64(sqe, uring_user_data(s, KIND_RECV), 0);
        s->flags |= SOCK_RECV_CANCELLED;
    }
    sqe->user_data = uring_user_data(s, KIND_CANCEL);
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

int uring_sock_open(struct reactor *r, struct reactor_sock *s)
{
    /* On a non-blocking descriptor the ring would answer -EAGAIN instead of waiting. */
    const int err = reactor_set_nonblock(s->fd, false);

    if (err != 0)
        return err;
    sock_step(uring_of(r), s);
    return 0;
}

int uring_sock_connect(struct reactor *r, struct reactor_sock *s, const struct sockaddr *addr,
                       socklen_t addr_len)
{
    const int err = reactor_sock_start_connect(s, addr, addr_len);

    if (err != 0)
        return err;
    sock_step(uring_of(r), s);
    return 0;
}

void uring_sock_resume(struct reactor *r, struct reactor_sock *s)
{
    if (s->stash != NULL || (s->flags & SOCK_END_DUE) != 0) {
        reactor_sock_look(r, s); /* Delivered from the loop, and then the receive goes on. */
        return;
    }
    s->flags &= ~(uint32_t)SOCK_RECV_UNWANTED;
    sock_step(uring_of(r), s);
}

int uring_sock_send(struct reactor *r, struct reactor_sock *s)
{
    const int res = reactor_sock_try_send(s);

    if (res != 0)
        return res;
    sock_step(uring_of(r), s);
    return 0;
}

void uring_sock_close(struct reactor *r, struct reactor_sock *s)
{
    sock_step(uring_of(r), s);
}

/* --- completions --- */

void uring_buf_recycle(struct uring_reactor *u, uint32_t id)
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

void uring_on_recv(struct uring_reactor *u, struct reactor_sock *s, int res, uint32_t flags)
{
    if ((flags & IORING_CQE_F_MORE) == 0) {
        s->flags &= ~(uint32_t)(SOCK_RECV_ARMED | SOCK_RECV_CANCELLED);
        s->ring_ops--;
    }
    if (res > 0)
        take_data(u, s, uring_recv_ptr(u, flags), (size_t)res);
    if ((flags & IORING_CQE_F_BUFFER) != 0)
        uring_buf_recycle(u, flags >> IORING_CQE_BUFFER_SHIFT);
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

void uring_on_sent(struct uring_reactor *u, struct reactor_sock *s, int res)
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

void uring_on_cancelled(struct uring_reactor *u, struct reactor_sock *s)
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

void uring_sock_looks(struct uring_reactor *u)
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
