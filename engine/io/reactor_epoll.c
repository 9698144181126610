/*
 * The reactor on epoll, for kernels and containers that refuse io_uring.
 *
 * Sockets are watched level-triggered, so that one read per event is enough: what a read leaves
 * behind is reported again in the next turn, after everybody else had theirs. All sockets share
 * one receive buffer. A send is tried at once; only what the socket does not take waits for
 * EPOLLOUT. Pausing is lazy: the descriptor leaves the set when the first event arrives that must
 * not be delivered. A descriptor that waits for nothing is taken out of the set, because
 * EPOLLHUP would be reported for it for ever.
 *
 * File writes are done in place (they end in the page cache). Syncs, and writes that are to be
 * durable, go to one helper thread, which answers through the mailbox files_done.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/io/reactor.h"
#include "engine/io/reactor_impl.h"
#include "engine/io/thread.h"

/* Events that one epoll_wait fetches. */
#define EVENTS_MAX REACTOR_TURN_EVENTS_MAX

/* What an event's data points to: the low bits of the pointer say it. */
enum {
    TAG_SOCK,
    TAG_LISTENER,
    TAG_WAKE,
    TAG_MASK = 3,
};

/* struct reactor_sock, flags. */
enum {
    SOCK_QUIET = 1 << 16,   /* An event came while it was paused: do not watch for data. */
    SOCK_IN_SET = 1 << 17,  /* epoll knows it. */
    SOCK_ASK_OUT = 1 << 18, /* EPOLLOUT is asked for. */
};

struct epoll_reactor {
    struct reactor base;
    int epoll_fd;
    int wake_fd;
    uint8_t *recv_buf;
    uint32_t recv_buf_bytes;
    int events_count;
    struct reactor_listener *accepting; /* Its callback is running. */
    struct epoll_event events[EVENTS_MAX];
    /* The helper thread and its queue of file requests. */
    struct thread helper;
    struct thread_gate helper_gate;
    struct mailbox helper_queue;
    _Atomic bool helper_stop;
};

static struct epoll_reactor *epoll_of(struct reactor *r)
{
    return container_of(r, struct epoll_reactor, base);
}

static void *tagged(void *ptr, uintptr_t tag)
{
    CHECK_SLOW(((uintptr_t)ptr & TAG_MASK) == 0);
    return (uint8_t *)ptr + tag;
}

/* ---- waiting ---- */

static void epoll_do_wait(struct reactor *r, uint64_t timeout_ns)
{
    struct epoll_reactor *e = epoll_of(r);
    struct timespec timeout = {.tv_sec = (time_t)(timeout_ns / 1000000000u),
                               .tv_nsec = (long)(timeout_ns % 1000000000u)};
    int n = -1;

    if (timeout_ns != 0 && timeout_ns != REACTOR_WAIT_FOREVER) {
        n = epoll_pwait2(e->epoll_fd, e->events, EVENTS_MAX, &timeout, NULL);
        if (n < 0 && errno == ENOSYS) {
            /* Before Linux 5.11: in milliseconds, rounded up so that timers are not early. */
            const uint64_t ms = u64_min(timeout_ns / 1000000u + 1, 60000);
            n = epoll_wait(e->epoll_fd, e->events, EVENTS_MAX, (int)ms);
        }
    } else {
        n = epoll_wait(e->epoll_fd, e->events, EVENTS_MAX, timeout_ns == 0 ? 0 : -1);
    }
    /* Only a signal can interrupt; everything else would be our mistake. */
    CHECK(n >= 0 || errno == EINTR);
    e->events_count = n < 0 ? 0 : n;
}

static void epoll_wake(struct reactor *r)
{
    const uint64_t one = 1;

    /* Fails only if the counter is full, and then it is readable anyway. */
    const ssize_t n = write(epoll_of(r)->wake_fd, &one, sizeof(one));
    (void)n;
}

/* ---- sockets ---- */

/* Makes epoll watch what the socket waits for now. Returns 0 or -errno. */
static int sock_watch(struct epoll_reactor *e, struct reactor_sock *s)
{
    const bool recv = (s->flags & (SOCK_NO_RECV | SOCK_QUIET | SOCK_CONNECTING)) == 0;
    const bool out = (s->flags & (SOCK_SENDING | SOCK_CONNECTING)) != 0;
    struct epoll_event event = {.data.ptr = tagged(s, TAG_SOCK)};
    int op = EPOLL_CTL_MOD;

    event.events = (recv ? (uint32_t)EPOLLIN : 0) | (out ? (uint32_t)EPOLLOUT : 0);
    if ((s->flags & SOCK_IN_SET) == 0) {
        if (event.events == 0)
            return 0;
        op = EPOLL_CTL_ADD;
    } else if (event.events == 0) {
        op = EPOLL_CTL_DEL;
    }
    if (epoll_ctl(e->epoll_fd, op, s->fd, &event) != 0)
        return -errno;
    s->flags &= ~(uint32_t)(SOCK_IN_SET | SOCK_ASK_OUT);
    if (event.events != 0)
        s->flags |= SOCK_IN_SET;
    if (out)
        s->flags |= SOCK_ASK_OUT;
    return 0;
}

/* The same from a place that cannot fail: an error ends the connection, from the loop. */
static void sock_watch_or_end(struct reactor *r, struct reactor_sock *s)
{
    const int err = sock_watch(epoll_of(r), s);

    if (err == 0)
        return;
    if ((s->flags & SOCK_NO_RECV) == 0) {
        s->flags |= SOCK_NO_RECV | SOCK_END_DUE;
        s->end_err = err;
    }
    reactor_sock_look(r, s);
}

static int epoll_sock_open(struct reactor *r, struct reactor_sock *s)
{
    const int err = reactor_set_nonblock(s->fd, true);

    return err != 0 ? err : sock_watch(epoll_of(r), s);
}

static int epoll_sock_connect(struct reactor *r, struct reactor_sock *s,
                              const struct sockaddr *addr, socklen_t addr_len)
{
    int err = reactor_sock_start_connect(s, addr, addr_len);

    if (err != 0)
        return err;
    err = sock_watch(epoll_of(r), s);
    if (err != 0)
        (void)close(s->fd);
    return err;
}

static void epoll_sock_resume(struct reactor *r, struct reactor_sock *s)
{
    if ((s->flags & SOCK_END_DUE) != 0)
        reactor_sock_look(r, s);
    if ((s->flags & SOCK_QUIET) == 0)
        return;
    s->flags &= ~(uint32_t)SOCK_QUIET;
    sock_watch_or_end(r, s);
}

static int epoll_sock_send(struct reactor *r, struct reactor_sock *s)
{
    const int res = reactor_sock_try_send(s);

    if (res != 0)
        return res;
    return sock_watch(epoll_of(r), s);
}

static void epoll_sock_close(struct reactor *r, struct reactor_sock *s)
{
    /*
     * Closing takes it out of the set, if it is closed. Events already fetched find SOCK_CLOSING.
     * An error would mean that it is not in the set.
     */
    if ((s->flags & SOCK_KEEP_FD) != 0)
        (void)epoll_ctl(epoll_of(r)->epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
    reactor_sock_finish(r, s);
}

static void on_readable(struct epoll_reactor *e, struct reactor_sock *s)
{
    ssize_t n;

    if ((s->flags & SOCK_PAUSED) != 0) {
        s->flags |= SOCK_QUIET;
        sock_watch_or_end(&e->base, s);
        return;
    }
    do {
        n = recv(s->fd, e->recv_buf, e->recv_buf_bytes, 0);
    } while (n < 0 && errno == EINTR);
    if (n > 0) {
        e->base.metrics.recv_bytes += (uint64_t)n;
        s->ops->on_data(s, e->recv_buf, (size_t)n);
        return;
    }
    if (n < 0 && errno == EAGAIN)
        return;
    reactor_sock_end(s, n == 0 ? 0 : -errno);
    if ((s->flags & SOCK_CLOSING) == 0)
        sock_watch_or_end(&e->base, s);
}

static void on_writable(struct epoll_reactor *e, struct reactor_sock *s)
{
    if ((s->flags & SOCK_CONNECTING) != 0) {
        (void)reactor_sock_connected(s);
    } else {
        const int res = reactor_sock_try_send(s);
        if (res == 0)
            return;
        reactor_sock_send_done(s, res < 0 ? res : 0);
    }
    /* The callback may have asked for another send that waits as well. */
    if ((s->flags & SOCK_CLOSING) == 0 &&
        ((s->flags & SOCK_ASK_OUT) != 0) != ((s->flags & SOCK_SENDING) != 0))
        sock_watch_or_end(&e->base, s);
}

static void on_sock_event(struct epoll_reactor *e, struct reactor_sock *s, uint32_t events)
{
    const uint32_t broken = events & (EPOLLERR | EPOLLHUP);
    const uint32_t waits_out = SOCK_SENDING | SOCK_CONNECTING;

    if ((events & EPOLLOUT) != 0 || broken != 0) {
        if ((s->flags & SOCK_CLOSING) == 0 && (s->flags & waits_out) != 0)
            on_writable(e, s);
    }
    if ((events & EPOLLIN) != 0 || broken != 0) {
        const uint32_t stops = SOCK_CLOSING | SOCK_NO_RECV | SOCK_QUIET | SOCK_CONNECTING;
        if ((s->flags & stops) == 0)
            on_readable(e, s);
    }
}

/* ---- listeners ---- */

static int listener_watch(struct epoll_reactor *e, struct reactor_listener *l)
{
    /* Exclusive: of several loops that share the socket one is woken, not all. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE,
                                .data.ptr = tagged(l, TAG_LISTENER)};

    return epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, l->fd, &event) == 0 ? 0 : -errno;
}

static void on_backoff_over(struct reactor_timer *t)
{
    struct reactor_listener *l = container_of(t, struct reactor_listener, backoff);

    if (listener_watch(epoll_of(l->r), l) != 0)
        reactor_timer_start(l->r, t, l->r->now_ms + REACTOR_ACCEPT_BACKOFF_MS, on_backoff_over);
}

static int epoll_listen(struct reactor *r, struct reactor_listener *l)
{
    const int err = reactor_set_nonblock(l->fd, true);

    reactor_set_nodelay(l->fd);
    return err != 0 ? err : listener_watch(epoll_of(r), l);
}

static void epoll_unlisten(struct reactor *r, struct reactor_listener *l)
{
    struct epoll_reactor *e = epoll_of(r);

    /* During a back-off it is not in the set. */
    (void)epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
    /* The memory may be freed next: forget what was fetched for it. */
    if (e->accepting == l)
        e->accepting = NULL;
    for (int i = 0; i < e->events_count; i++) {
        if (e->events[i].data.ptr == tagged(l, TAG_LISTENER))
            e->events[i].data.ptr = tagged(e, TAG_WAKE);
    }
}

static void on_acceptable(struct epoll_reactor *e, struct reactor_listener *l)
{
    struct reactor *r = &e->base;

    e->accepting = l;
    for (uint32_t i = 0; i < REACTOR_TURN_ACCEPTS_MAX && e->accepting == l; i++) {
        const int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            r->metrics.accepts++;
            l->on_accept(l, fd);
            continue;
        }
        if (errno == EAGAIN)
            return;
        if (!reactor_accept_must_wait(-errno))
            continue;
        r->metrics.accept_errors++;
        (void)epoll_ctl(e->epoll_fd, EPOLL_CTL_DEL, l->fd, NULL);
        reactor_timer_start(r, &l->backoff, r->now_ms + REACTOR_ACCEPT_BACKOFF_MS, on_backoff_over);
        return;
    }
}

/* ---- delivering ---- */

/* Sockets whose end could not be told in time. */
static void deliver_looks(struct epoll_reactor *e)
{
    struct list looks;

    list_init(&looks);
    list_splice_back(&looks, &e->base.look);
    for (;;) {
        struct list_link *link = list_pop_front(&looks);
        if (link == NULL)
            return;
        struct reactor_sock *s = LIST_ITEM(link, struct reactor_sock, link);
        reactor_sock_end_due(s);
    }
}

static bool epoll_deliver(struct reactor *r)
{
    struct epoll_reactor *e = epoll_of(r);

    deliver_looks(e);
    for (int i = 0; i < e->events_count; i++) {
        uint8_t *ptr = e->events[i].data.ptr;
        const uintptr_t tag = (uintptr_t)ptr & TAG_MASK;
        void *target = ptr - tag;
        r->metrics.events++;
        if (tag == TAG_SOCK)
            on_sock_event(e, target, e->events[i].events);
        else if (tag == TAG_LISTENER)
            on_acceptable(e, target);
    }
    e->events_count = 0;
    return false; /* What was left over is reported again: the set is level-triggered. */
}

/* ---- files ---- */

static void on_part_done(struct mail *mail)
{
    struct reactor_file_req *req = container_of(mail, struct reactor_file_req, mail);

    reactor_file_finish(req, req->res);
}

/* On the helper thread. */
static void help(struct mail *mail)
{
    struct reactor_file_req *req = container_of(mail, struct reactor_file_req, mail);

    if (req->kind == REACTOR_FILE_SYNC)
        req->res = fdatasync(req->fd) == 0 ? 0 : -errno;
    else
        req->res = reactor_file_pwrite(req, RWF_DSYNC);
    req->mail.fn = on_part_done;
    mailbox_post(&req->r->files_done, &req->mail);
}

static void helper_main(void *arg)
{
    struct epoll_reactor *e = arg;

    for (;;) {
        while (mailbox_drain(&e->helper_queue, UINT32_MAX) > 0)
            continue;
        if (atomic_load(&e->helper_stop))
            return;
        thread_gate_wait(&e->helper_gate);
    }
}

static int epoll_file_start(struct reactor *r, struct reactor_file_req *req)
{
    struct epoll_reactor *e = epoll_of(r);

    if (req->kind == REACTOR_FILE_WRITE) {
        req->res = reactor_file_pwrite(req, 0);
        return 1;
    }
    req->mail.fn = help;
    mailbox_post(&e->helper_queue, &req->mail);
    thread_gate_open(&e->helper_gate);
    return 0;
}

/* ---- creation ---- */

static void epoll_nothing(struct reactor *r UNUSED)
{
}

static void epoll_destroy(struct reactor *r)
{
    struct epoll_reactor *e = epoll_of(r);

    atomic_store(&e->helper_stop, true);
    thread_gate_open(&e->helper_gate);
    thread_join(&e->helper);
    if (e->wake_fd >= 0)
        (void)close(e->wake_fd);
    if (e->epoll_fd >= 0)
        (void)close(e->epoll_fd);
    mem_free(e->recv_buf);
    mem_free(e);
}

static const struct reactor_vtable epoll_vtable = {
    .name = "epoll",
    .destroy = epoll_destroy,
    .enter = epoll_nothing,
    .leave = epoll_nothing,
    .wait = epoll_do_wait,
    .deliver = epoll_deliver,
    .wake = epoll_wake,
    .listen = epoll_listen,
    .unlisten = epoll_unlisten,
    .sock_open = epoll_sock_open,
    .sock_connect = epoll_sock_connect,
    .sock_resume = epoll_sock_resume,
    .sock_send = epoll_sock_send,
    .sock_close = epoll_sock_close,
    .sock_addr = reactor_sock_addr_of_fd,
    .file_start = epoll_file_start,
};

int reactor_epoll_create(const struct reactor_options *options, struct reactor **out)
{
    struct epoll_reactor *e = mem_zalloc(sizeof(*e));
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = tagged(e, TAG_WAKE)};
    int err = 0;

    e->base.vt = &epoll_vtable;
    e->recv_buf_bytes =
        options->recv_buf_bytes != 0 ? options->recv_buf_bytes : REACTOR_DATA_BYTES_MAX;
    e->recv_buf = mem_alloc(e->recv_buf_bytes);
    mailbox_init(&e->helper_queue, NULL);
    e->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    e->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    /* Edge-triggered: every write reports once, and the counter need not be read. */
    if (e->epoll_fd < 0 || e->wake_fd < 0 ||
        epoll_ctl(e->epoll_fd, EPOLL_CTL_ADD, e->wake_fd, &event) != 0)
        err = -errno;
    if (err == 0)
        err = thread_start(&e->helper, "io-sync", helper_main, e);
    if (err != 0) {
        epoll_destroy(&e->base);
        return err;
    }
    *out = &e->base;
    return 0;
}
