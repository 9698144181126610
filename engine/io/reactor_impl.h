/*
 * What the implementations of the reactor share: the common part of the struct, and the table of
 * functions that each provides. For reactor*.c only.
 *
 * reactor.c owns the turn, the clocks, hooks, timers, wake-ups, file requests with their faults,
 * and the flags of sockets that mean the same everywhere. An implementation owns the waiting and
 * everything that touches the kernel.
 */
#ifndef TIERRA_ENGINE_IO_REACTOR_IMPL_H
#define TIERRA_ENGINE_IO_REACTOR_IMPL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "engine/io/mailbox.h"
#include "engine/io/reactor.h"
#include "engine/io/timer.h"

/* Sleep until something happens. */
#define REACTOR_WAIT_FOREVER UINT64_MAX

/* struct reactor_sock, flags. Those from bit 16 up are the implementation's. */
enum {
    SOCK_OPEN = 1 << 0,       /* Between open or connect and on_closed. */
    SOCK_PAUSED = 1 << 1,     /* By the user. */
    SOCK_CLOSING = 1 << 2,    /* No callback but on_closed from here on. */
    SOCK_CONNECTING = 1 << 3, /* on_connect is to come. */
    SOCK_SENDING = 1 << 4,    /* on_sent is to come. */
    SOCK_NO_RECV = 1 << 5,    /* The receiving side has ended, or was never there. */
    SOCK_END_DUE = 1 << 6,    /* on_end is to be called with end_err. */
    SOCK_FINISHED = 1 << 7,   /* reactor_sock_finish was called. */
    SOCK_KEEP_FD = 1 << 8,    /* Closing, but the descriptor is the user's. */
};

struct reactor_vtable {
    const char *name;

    void (*destroy)(struct reactor *r);

    /* Begin and end of reactor_run, on the thread that runs it. */
    void (*enter)(struct reactor *r);
    void (*leave)(struct reactor *r);

    /* Submits what was asked for, sleeps for at most `timeout_ns`; no callbacks. */
    void (*wait)(struct reactor *r, uint64_t timeout_ns);
    /*
     * Delivers what is there, at most REACTOR_TURN_EVENTS_MAX. True: more is waiting, the next
     * wait must not sleep.
     */
    bool (*deliver)(struct reactor *r);
    /* Interrupts the wait. Any thread. */
    void (*wake)(struct reactor *r);

    int (*listen)(struct reactor *r, struct reactor_listener *l);
    void (*unlisten)(struct reactor *r, struct reactor_listener *l);

    /* Common flags are set already. */
    int (*sock_open)(struct reactor *r, struct reactor_sock *s);
    int (*sock_connect)(struct reactor *r, struct reactor_sock *s, const struct sockaddr *addr,
                        socklen_t addr_len);
    void (*sock_resume)(struct reactor *r, struct reactor_sock *s);
    int (*sock_send)(struct reactor *r, struct reactor_sock *s);
    /* Ends with reactor_sock_finish, now or later. */
    void (*sock_close)(struct reactor *r, struct reactor_sock *s);
    int (*sock_addr)(const struct reactor_sock *s, bool peer, struct sockaddr_storage *out);

    /*
     * Does one part of a request: req->part bytes at buf + done, or a sync. Returns 1 if it is
     * done, with the result of the system call in req->res (-errno, or bytes); 0 if
     * reactor_file_finish will be called from the loop.
     */
    int (*file_start)(struct reactor *r, struct reactor_file_req *req);
};

enum reactor_wake_state {
    REACTOR_AWAKE,
    REACTOR_ASLEEP, /* A wake has to interrupt the wait. */
    REACTOR_WOKEN,  /* The next turn was asked for. */
};

struct reactor {
    const struct reactor_vtable *vt;
    const struct clock_source *clock;
    uint64_t now_ns;
    uint64_t now_ms;
    uint64_t wall_ms;
    bool more;    /* Events were left over: do not sleep. */
    bool in_turn; /* Against a turn within a turn. */
    reactor_hook_fn turn_hook;
    void *turn_ctx;
    reactor_ahead_fn ahead_hook;
    void *ahead_ctx;
    reactor_hook_fn wake_hook;
    void *wake_ctx;
    reactor_file_fault_fn file_fault;
    void *file_fault_ctx;
    struct list look;          /* Sockets that the implementation has to look at in this turn. */
    struct list closed;        /* Sockets whose on_closed is due. */
    struct mailbox files_done; /* File requests that ended off the loop, or at once. */
    struct reactor_metrics metrics;
    struct timer_wheel wheel;
    uint8_t pad[64]; /* Other threads write below. */
    _Atomic uint32_t wake_state;
    _Atomic bool stop;
};

/*
 * Each allocates its reactor, with the common part zero but for `vt`; whoever calls them fills the
 * rest by reactor_init, and so does a simulator, which has a creation function of its own.
 */
MUST_USE int reactor_uring_create(const struct reactor_options *options, struct reactor **out);
MUST_USE int reactor_epoll_create(const struct reactor_options *options, struct reactor **out);

/* `clock`: NULL for the system's. */
void reactor_init(struct reactor *r, const struct clock_source *clock);

/* ---- for the implementations ---- */

/* Puts the socket on the list of those to look at, once. */
void reactor_sock_look(struct reactor *r, struct reactor_sock *s);

/*
 * Nothing of the kernel refers to the socket any more: closes fd, if it is not -1; on_closed comes
 * in this turn or the next.
 */
void reactor_sock_finish(struct reactor *r, struct reactor_sock *s);

/*
 * The receiving side has ended: calls on_end, or remembers to when it is resumed. False: called, or
 * nothing to call.
 */
void reactor_sock_end(struct reactor_sock *s, int err);
/* Calls on_end if it is due and may be. */
void reactor_sock_end_due(struct reactor_sock *s);

/*
 * Removes `n` sent bytes from the front of s->send; true if nothing is left.
 */
bool reactor_sock_sent(struct reactor_sock *s, size_t n);

/* The send has ended: calls on_sent. */
void reactor_sock_send_done(struct reactor_sock *s, int err);

/*
 * One non-blocking attempt to send. 1: all sent. 0: the socket takes no more for now. <0: -errno.
 */
int reactor_sock_try_send(struct reactor_sock *s);

/*
 * Starts a non-blocking connect on a new socket, s->fd. Returns 0 (wait until it can be written)
 * or -errno, and then nothing is left open.
 */
int reactor_sock_start_connect(struct reactor_sock *s, const struct sockaddr *addr,
                               socklen_t addr_len);
/* The outcome, once it can be written: calls on_connect. True if it is connected and open. */
bool reactor_sock_connected(struct reactor_sock *s);

int reactor_sock_addr_of_fd(const struct reactor_sock *s, bool peer, struct sockaddr_storage *out);

/* TCP_NODELAY; what a listening socket accepts inherits it. */
void reactor_set_nodelay(int fd);

/* Sets or clears O_NONBLOCK, with one system call if it is right already. 0 or -errno. */
int reactor_set_nonblock(int fd, bool nonblock);

/* A part of the request ended with `res` (as of the system call). From the loop. */
void reactor_file_finish(struct reactor_file_req *req, int res);

/* pwrite of the present part; the result as of the system call. Any thread. */
int reactor_file_pwrite(const struct reactor_file_req *req, int rwf_flags);

/* Accepting failed: true if it should be tried again only after a pause. */
bool reactor_accept_must_wait(int err);

#endif
