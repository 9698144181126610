/*
 * What the files of the reactor on io_uring share. reactor_uring.c tells how it works; only they
 * include this and liburing.
 */
#ifndef TIERRA_ENGINE_IO_URING_H
#define TIERRA_ENGINE_IO_URING_H

#include <liburing.h>

#include "engine/base/check.h"

#include "engine/io/reactor.h"
#include "engine/io/reactor_impl.h"

/* Of the ring of receive buffers. */
#define URING_RECV_GROUP 0u

/* What the low bits of user_data say about the address in it. */
enum uring_kind {
    KIND_NOTHING, /* Nobody is interested. */
    KIND_RECV,
    KIND_SEND, /* Or the poll of a connect. */
    KIND_CANCEL,
    KIND_ACCEPT,
    KIND_FILE,
    KIND_WAKE,
    KIND_MASK = 7,
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

static inline struct uring_reactor *uring_of(struct reactor *r)
{
    return container_of(r, struct uring_reactor, base);
}

static inline uint64_t uring_user_data(const void *ptr, uint64_t kind)
{
    CHECK_SLOW(((uintptr_t)ptr & KIND_MASK) == 0);
    return (uint64_t)(uintptr_t)ptr | kind;
}

static inline void *uring_target(uint64_t user_data)
{
    /* Made by uring_user_data. NOLINTNEXTLINE(performance-no-int-to-ptr) */
    return (void *)(uintptr_t)(user_data & ~(uint64_t)KIND_MASK);
}

/* NULL if there is no room even after handing over what is queued. */
static inline struct io_uring_sqe *uring_get_sqe(struct uring_reactor *u)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

    if (sqe == NULL && u->enabled) {
        /* An error leaves the queue full, which the second attempt finds out. */
        (void)io_uring_submit(&u->ring);
        sqe = io_uring_get_sqe(&u->ring);
    }
    return sqe;
}

/* --- sockets: uring_sock.c --- */

/* Where the bytes of a receive stand; `flags` are the completion's. */
static inline const uint8_t *uring_recv_ptr(const struct uring_reactor *u, uint32_t flags)
{
    return u->bufs + (size_t)(flags >> IORING_CQE_BUFFER_SHIFT) * u->buf_bytes;
}

/* Gives a receive buffer to the kernel. */
void uring_buf_recycle(struct uring_reactor *u, uint32_t id);

int uring_sock_open(struct reactor *r, struct reactor_sock *s);
int uring_sock_connect(struct reactor *r, struct reactor_sock *s, const struct sockaddr *addr,
                       socklen_t addr_len);
void uring_sock_resume(struct reactor *r, struct reactor_sock *s);
int uring_sock_send(struct reactor *r, struct reactor_sock *s);
void uring_sock_close(struct reactor *r, struct reactor_sock *s);

/* Completions of KIND_RECV, KIND_SEND and KIND_CANCEL. */
void uring_on_recv(struct uring_reactor *u, struct reactor_sock *s, int res, uint32_t flags);
void uring_on_sent(struct uring_reactor *u, struct reactor_sock *s, int res);
void uring_on_cancelled(struct uring_reactor *u, struct reactor_sock *s);

/* Sockets that had to wait for this turn, for room in the ring or to give others theirs. */
void uring_sock_looks(struct uring_reactor *u);

/* --- listeners: uring_listen.c --- */

struct uring_listener;

int uring_listen(struct reactor *r, struct reactor_listener *l);
void uring_unlisten(struct reactor *r, struct reactor_listener *l);

/* A completion of KIND_ACCEPT. */
void uring_on_accept(struct uring_reactor *u, struct uring_listener *ul, int res, uint32_t flags);

/* The same as for sockets. Nothing else frees a listener: none goes away under a callback. */
void uring_listener_looks(struct uring_reactor *u);

/* All of them, when the ring is gone. */
void uring_listeners_free(struct uring_reactor *u);

#endif
