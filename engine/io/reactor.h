/*
 * The reactor: the event loop of one shard thread. Sockets, files, timers and time enter the
 * program here and nowhere else, so that a simulator can stand in for all of them.
 *
 * One turn of the loop:
 *
 *     submit what was asked for -> wait -> read the clocks -> deliver completions -> wake hook
 *       (if woken) -> timers that are due -> turn hook -> next turn
 *
 * The turn hook is the place for what is done once for all events of a turn: group commit, then
 * the replies. What it asks for goes out together with the next wait. A turn handles a bounded
 * number of events (REACTOR_TURN_*_MAX); what is left is handled in the next turn, which then does
 * not sleep, so that neither a busy socket nor many of them can starve timers or the log.
 *
 * Two implementations: io_uring (reactor_uring.c) and epoll (reactor_epoll.c); they differ in
 * nothing that a user of this header may rely on.
 *
 * Request structs are embedded in the caller's; nothing is allocated per operation. Their fields
 * are the implementation's, unless marked as the caller's. Zero ({0}) is a good initial state.
 *
 * Thread: everything is for the thread that runs the loop, except where "any thread" is said.
 * Between reactor_create and the first turn another thread may own the reactor and set it up.
 * Callbacks come from the loop only, never from within the call that asked for them; every
 * function may be called from every callback, except reactor_run, reactor_run_once and
 * reactor_destroy.
 */
#ifndef TIERRA_ENGINE_IO_REACTOR_H
#define TIERRA_ENGINE_IO_REACTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "engine/base/attr.h"
#include "engine/base/clock.h"
#include "engine/base/list.h"
#include "engine/base/metric.h"

#include "engine/io/mailbox.h"
#include "engine/io/timer.h"

struct reactor;
struct reactor_listener;
struct reactor_sock;
struct reactor_file_req;

/* Limits of one turn. */
#define REACTOR_TURN_EVENTS_MAX  1024 /* Completions or ready sockets. */
#define REACTOR_TURN_ACCEPTS_MAX 64   /* New connections per listener (epoll). */
#define REACTOR_TURN_TIMERS_MAX  512
/* The most that one call of on_data passes. */
#define REACTOR_DATA_BYTES_MAX (64u << 10)
/* Elements of the array given to reactor_sock_send. */
#define REACTOR_IOV_MAX 1024
/* A listener that ran out of file descriptors or memory tries again after this time. */
#define REACTOR_ACCEPT_BACKOFF_MS 100

/* ---- creation and running ---- */

enum reactor_backend {
    REACTOR_AUTO, /* io_uring if the kernel offers all that we need, else epoll. */
    REACTOR_URING,
    REACTOR_EPOLL,
};

struct reactor_options {
    enum reactor_backend backend;
    uint32_t max_conns;       /* Expected sockets, sizes the queues; 0: 10,000. Not enforced. */
    uint32_t recv_buf_bytes;  /* One receive buffer; 0: 16 KiB with io_uring, 64 KiB with epoll. */
    uint32_t recv_bufs_count; /* io_uring: receive buffers that all sockets share; 0: 256. */
    const struct clock_source *clock; /* NULL: the system's. Must outlive the reactor. */
};

/*
 * Returns 0; -ENOSYS or -EPERM if REACTOR_URING was asked for and the kernel does not offer it;
 * another -errno when a resource is missing.
 */
MUST_USE int reactor_create(const struct reactor_options *options, struct reactor **out);

/*
 * All sockets must be closed (on_closed came), all file requests done; listeners and timers may
 * still be there and are forgotten. NULL is allowed. Any thread, once the loop has ended.
 */
void reactor_destroy(struct reactor *r);

/* Runs turns until reactor_stop. The calling thread owns the reactor from now on. */
void reactor_run(struct reactor *r);

/*
 * Ends reactor_run after the present turn (or at once, if it is called before). Any thread.
 */
void reactor_stop(struct reactor *r);

/*
 * One turn; sleeps for at most `timeout_ms` (-1: as long as it takes, 0: not at all) if nothing is
 * ready. For tests, and for owners that close down step by step.
 */
void reactor_run_once(struct reactor *r, int timeout_ms);

/*
 * Makes the loop take another turn soon, in which the wake hook is called: once for any number of
 * calls before. Any thread; a system call only if the loop may be asleep. From the loop's own
 * thread it is the cheap way to ask for another turn without sleeping.
 */
void reactor_wake(struct reactor *r);

typedef void (*reactor_hook_fn)(void *ctx);

/* Once per turn, after its completions and timers. NULL: none. */
void reactor_set_turn_hook(struct reactor *r, reactor_hook_fn fn, void *ctx);
/* In a turn that was woken: the place to drain mailboxes. */
void reactor_set_wake_hook(struct reactor *r, reactor_hook_fn fn, void *ctx);

/* "io_uring" or "epoll". */
const char *reactor_backend_name(const struct reactor *r);

/* Time as of the present turn, read once after the wait. Monotonic, monotonic, since 1970. */
uint64_t reactor_now_ns(const struct reactor *r);
uint64_t reactor_now_ms(const struct reactor *r);
uint64_t reactor_wall_ms(const struct reactor *r);
/* Reads it anew for the rest of the turn: where being behind by a turn's length would show. */
uint64_t reactor_wall_refresh(struct reactor *r);

/* clang-format off */
#define REACTOR_METRICS(X)                                                                         \
    X(turns,         METRIC_COUNTER, "Turns of the loop.")                                         \
    X(events,        METRIC_COUNTER, "Completions or ready sockets handled.")                      \
    X(wakes,         METRIC_COUNTER, "Turns that another thread asked for.")                       \
    X(accepts,       METRIC_COUNTER, "Connections accepted.")                                      \
    X(accept_errors, METRIC_COUNTER, "Times that accepting stopped for want of descriptors.")      \
    X(recv_bytes,    METRIC_COUNTER, "Bytes received.")                                            \
    X(sends,         METRIC_COUNTER, "Sends asked for.")                                           \
    X(sends_at_once, METRIC_COUNTER, "Sends that the kernel took without waiting.")                \
    X(send_bytes,    METRIC_COUNTER, "Bytes that were to be sent.")                                \
    X(recv_starved,  METRIC_COUNTER, "Receives that found no free buffer and were repeated.")      \
    X(file_writes,   METRIC_COUNTER, "File writes.")                                               \
    X(file_syncs,    METRIC_COUNTER, "File syncs, those of synced writes included.")               \
    X(socks,         METRIC_GAUGE,   "Open sockets.")
/* clang-format on */
METRIC_STRUCT(reactor_metrics, REACTOR_METRICS);

/* Owned by the reactor, valid as long as it; a plain struct of the loop's thread. */
const struct reactor_metrics *reactor_metrics(const struct reactor *r);

/* ---- timers ---- */

/*
 * Calls fn(t) at `at_ms` (on the scale of reactor_now_ms) or soon after; moves `t` if it is
 * running. A time in the past means the next millisecond.
 */
void reactor_timer_start(struct reactor *r, struct reactor_timer *t, uint64_t at_ms,
                         reactor_timer_fn fn);
void reactor_timer_stop(struct reactor *r, struct reactor_timer *t);

/* ---- listening ---- */

/* `fd` is a new connection, now the callee's: reactor_sock_open it, or close it. */
typedef void (*reactor_accept_fn)(struct reactor_listener *l, int fd);

struct reactor_listener {
    struct reactor *r;
    reactor_accept_fn on_accept;
    void *impl;
    struct reactor_timer backoff;
    int fd;
    bool listening;
};

/*
 * Accepts connections on the socket `fd`, which listens already and stays the caller's; it is
 * set to send without delay (TCP_NODELAY, inherited). Returns 0 or -errno.
 */
MUST_USE int reactor_listen(struct reactor *r, struct reactor_listener *l, int fd,
                            reactor_accept_fn on_accept);

/*
 * No on_accept after the return: `l` and `fd` are the caller's to free and close. Connections
 * that the kernel had accepted and not delivered are closed. Does nothing if it is not listening.
 */
void reactor_unlisten(struct reactor *r, struct reactor_listener *l);

/* ---- sockets ---- */

struct reactor_sock_ops {
    /* Bytes arrived; valid during the call only; 1 .. REACTOR_DATA_BYTES_MAX. */
    void (*on_data)(struct reactor_sock *s, const uint8_t *ptr, size_t len);
    /*
     * No more bytes will come: the peer ended its direction (0) or the connection failed (-errno).
     * After all data, at most once, not while paused. The socket is still to be closed, and after
     * 0 it can still be sent to.
     */
    void (*on_end)(struct reactor_sock *s, int err);
    /* The send that returned 0 ended: all of it is in the kernel's hands (0), or -errno. */
    void (*on_sent)(struct reactor_sock *s, int err);
    /* The last call for this socket: the memory is the caller's again. */
    void (*on_closed)(struct reactor_sock *s);
    /* For reactor_connect: connected (0), or -errno and then only close is left. */
    void (*on_connect)(struct reactor_sock *s, int err);
};

struct reactor_sock {
    const struct reactor_sock_ops *ops;
    struct reactor *r;
    int fd;
    uint32_t flags;        /* Of the implementation. */
    uint32_t ring_ops;     /* Operations that the kernel has not completed yet. */
    int32_t end_err;       /* What on_end is to say, once it may. */
    struct list_link link; /* In one of the loop's lists of sockets to look at. */
    struct msghdr send;    /* What is left to send. */
    void *stash;           /* Bytes that came after a pause. */
};

/* Bytes that a call of on_data is about to pass. */
struct reactor_ahead {
    struct reactor_sock *sock;
    const uint8_t *ptr;
    size_t len;
};
#define REACTOR_AHEAD_MAX 8

/*
 * A hint (io_uring only): what up to REACTOR_AHEAD_MAX of the next calls of on_data will pass, in
 * their order, so that the memory they will read can be loaded together. Nothing may be done to the
 * sockets here. Of what was announced some may not come, if a callback before closes or pauses the
 * socket; what comes is as announced. Each call takes back what the one before announced and has
 * not come; `n` may be 0.
 */
typedef void (*reactor_ahead_fn)(void *ctx, const struct reactor_ahead *ahead, uint32_t n);
void reactor_set_ahead_hook(struct reactor *r, reactor_ahead_fn fn, void *ctx);

/*
 * Takes over the connected stream socket `fd` (TCP or Unix; it is closed at the end) and begins to
 * receive. Returns 0 or -errno; after an error `fd` is still the caller's. `ops` must outlive `s`.
 */
MUST_USE int reactor_sock_open(struct reactor *r, struct reactor_sock *s, int fd,
                               const struct reactor_sock_ops *ops);

/*
 * Creates a socket and connects it to `addr`; on_connect tells the outcome, data flows from then
 * on. For a limit of time start a timer and close. Returns 0, and then it must be closed whatever
 * happens, or -errno.
 */
MUST_USE int reactor_connect(struct reactor *r, struct reactor_sock *s, const struct sockaddr *addr,
                             socklen_t addr_len, const struct reactor_sock_ops *ops);

/*
 * From now on neither on_data nor on_end is called, not even for what has arrived already; the
 * kernel's window fills and the peer has to wait. Cheap: if nothing arrives before the resume, no
 * system call is made.
 */
void reactor_sock_pause(struct reactor_sock *s);
/* What arrived in the meantime is delivered from the loop, in order; nothing is lost. */
void reactor_sock_resume(struct reactor_sock *s);

/*
 * Whether the peer has ended its direction or the connection has failed, also behind bytes that are
 * not received while the socket is paused. One system call.
 */
bool reactor_sock_hung_up(const struct reactor_sock *s);

/*
 * Sends all bytes of `iov[0..n)`, n in 1..REACTOR_IOV_MAX. Returns
 *   1: done at once; there is no on_sent, memory and array are the caller's again;
 *   0: on its way; on_sent will tell, unless the socket is closed before. Until then array and
 *      memory belong to the reactor, which changes the array;
 *  <0: -errno, there is no on_sent; the connection is broken (-ECANCELED: it is being closed).
 * One send at a time per socket: none while another is on its way.
 */
MUST_USE int reactor_sock_send(struct reactor_sock *s, struct iovec *iov, size_t n);

/* A send is on its way. */
bool reactor_sock_sending(const struct reactor_sock *s);

/*
 * Closes the socket; of a send on its way the rest is dropped, without on_sent. on_closed comes
 * once, from the loop; until then the struct, and the memory of a send on its way, must stay.
 * No other callback comes after this call. A second call does nothing.
 */
void reactor_sock_close(struct reactor_sock *s);

/*
 * The same, except that the descriptor stays open: in on_closed it is `s->fd`, and the caller's,
 * to be opened on another reactor, say. Bytes that arrive after this call may be lost, so that it
 * is for a moment in which the peer has to wait. Nothing may be on its way to be sent.
 */
void reactor_sock_release(struct reactor_sock *s);

/*
 * The address of the peer, or our own. Returns 0 or -errno. A system call: remember the result.
 */
MUST_USE int reactor_sock_addr(const struct reactor_sock *s, bool peer,
                               struct sockaddr_storage *out);

/* ---- files ---- */

/*
 * `res` is 0 or -errno. An error of a write leaves any part of the range written. What to do after
 * a failed sync is the caller's: the pages may be marked clean, so that repeating it proves
 * nothing.
 */
typedef void (*reactor_file_fn)(struct reactor_file_req *req, int res);

struct reactor_file_req {
    /* The caller's: set before the call. */
    int fd;
    const void *buf;
    size_t len;
    uint64_t offset;
    reactor_file_fn on_done;
    /* The reactor's. */
    struct reactor *r;
    struct mail mail;
    size_t done; /* Bytes written so far. */
    size_t part; /* Bytes of the operation in flight. */
    int fault;
    int res;
    uint8_t kind;
};

/*
 * Three requests; on_done always comes later, from the loop. The request, and `buf` of the
 * writes, must stay untouched until then. No order holds between requests in flight: a sync covers
 * the writes whose on_done came before it was asked for.
 *
 * write:      writes all of `buf` at `offset`, continuing after short writes. Ends in the page
 *             cache and is done within the call: `fd` was opened without O_DIRECT.
 * sync:       fdatasync. Uses only fd and on_done.
 * write_sync: a write that is durable when it is done; other writes are not covered.
 */
void reactor_file_write(struct reactor *r, struct reactor_file_req *req);
void reactor_file_sync(struct reactor *r, struct reactor_file_req *req);
void reactor_file_write_sync(struct reactor *r, struct reactor_file_req *req);

enum reactor_file_kind {
    REACTOR_FILE_WRITE,
    REACTOR_FILE_SYNC,
    REACTOR_FILE_WRITE_SYNC,
};

/*
 * Fault injection, for tests: asked before each file operation. It leaves `*fault` alone, or sets
 * what is to happen: only the first `bytes_max` bytes of what is left are written, and then the
 * request fails with `err` (-errno), or goes on with the rest if `err` is 0 (a short write). A
 * synced write asks as WRITE_SYNC; with bytes_max at its start value and an err the write is made
 * and the sync fails.
 */
struct reactor_file_fault {
    size_t bytes_max; /* Starts as the number of bytes that are left to write; 0 for a sync. */
    int err;          /* Starts as 0. */
};
typedef void (*reactor_file_fault_fn)(void *ctx, const struct reactor_file_req *req,
                                      enum reactor_file_kind kind,
                                      struct reactor_file_fault *fault);

/* NULL: none. */
void reactor_set_file_fault(struct reactor *r, reactor_file_fault_fn fn, void *ctx);

#endif
