/*
 * Sockets and listeners: what does not depend on the implementation.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/check.h"

#include "engine/io/reactor.h"
#include "engine/io/reactor_impl.h"

int reactor_listen(struct reactor *r, struct reactor_listener *l, int fd,
                   reactor_accept_fn on_accept)
{
    CHECK(!l->listening);
    *l = (struct reactor_listener){.r = r, .on_accept = on_accept, .fd = fd};
    const int err = r->vt->listen(r, l);
    l->listening = err == 0;
    return err;
}

void reactor_unlisten(struct reactor *r, struct reactor_listener *l)
{
    if (!l->listening)
        return;
    l->listening = false;
    reactor_timer_stop(r, &l->backoff);
    r->vt->unlisten(r, l);
}

bool reactor_accept_must_wait(int err)
{
    /* A connection that broke before it was accepted is no reason to wait; the rest is. */
    return err != -ECONNABORTED && err != -EINTR && err != -EPROTO && err != -EAGAIN;
}

static void sock_init(struct reactor *r, struct reactor_sock *s, int fd,
                      const struct reactor_sock_ops *ops)
{
    CHECK((s->flags & SOCK_OPEN) == 0);
    CHECK(ops->on_data != NULL);
    CHECK(ops->on_closed != NULL);
    *s = (struct reactor_sock){.ops = ops, .r = r, .fd = fd, .flags = SOCK_OPEN};
}

int reactor_sock_open(struct reactor *r, struct reactor_sock *s, int fd,
                      const struct reactor_sock_ops *ops)
{
    sock_init(r, s, fd, ops);
    const int err = r->vt->sock_open(r, s);
    if (err != 0) {
        s->flags = 0;
        return err;
    }
    r->metrics.socks++;
    return 0;
}

int reactor_connect(struct reactor *r, struct reactor_sock *s, const struct sockaddr *addr,
                    socklen_t addr_len, const struct reactor_sock_ops *ops)
{
    CHECK(ops->on_connect != NULL);
    sock_init(r, s, -1, ops);
    s->flags |= SOCK_CONNECTING;
    const int err = r->vt->sock_connect(r, s, addr, addr_len);
    if (err != 0) {
        s->flags = 0;
        return err;
    }
    r->metrics.socks++;
    return 0;
}

int reactor_sock_start_connect(struct reactor_sock *s, const struct sockaddr *addr,
                               socklen_t addr_len)
{
    const int fd = socket(addr->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    reactor_set_nodelay(fd);
    if (connect(fd, addr, addr_len) != 0 && errno != EINPROGRESS) {
        const int err = -errno;
        (void)close(fd);
        return err;
    }
    s->fd = fd;
    return 0;
}

bool reactor_sock_connected(struct reactor_sock *s)
{
    int err = 0;
    socklen_t len = sizeof(err);

    if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0)
        err = errno;
    s->flags &= ~(uint32_t)SOCK_CONNECTING;
    if (err != 0)
        s->flags |= SOCK_NO_RECV;
    s->ops->on_connect(s, -err);
    return err == 0 && (s->flags & SOCK_CLOSING) == 0;
}

void reactor_sock_pause(struct reactor_sock *s)
{
    s->flags |= SOCK_PAUSED;
}

void reactor_sock_resume(struct reactor_sock *s)
{
    if ((s->flags & SOCK_PAUSED) == 0)
        return;
    s->flags &= ~(uint32_t)SOCK_PAUSED;
    if ((s->flags & SOCK_CLOSING) == 0)
        s->r->vt->sock_resume(s->r, s);
}

bool reactor_sock_hung_up(const struct reactor_sock *s)
{
    struct pollfd asked = {.fd = s->fd, .events = POLLRDHUP};

    return poll(&asked, 1, 0) > 0;
}

int reactor_sock_send(struct reactor_sock *s, struct iovec *iov, size_t n)
{
    struct reactor *r = s->r;
    uint64_t bytes = 0;

    CHECK((s->flags & (SOCK_SENDING | SOCK_CONNECTING)) == 0);
    CHECK(n >= 1);
    CHECK(n <= REACTOR_IOV_MAX);
    if ((s->flags & SOCK_CLOSING) != 0)
        return -ECANCELED;
    for (size_t i = 0; i < n; i++)
        bytes += iov[i].iov_len;
    CHECK(bytes > 0);
    r->metrics.sends++;
    r->metrics.send_bytes += bytes;
    s->send.msg_iov = iov;
    s->send.msg_iovlen = n;
    s->flags |= SOCK_SENDING;
    const int res = r->vt->sock_send(r, s);
    if (res != 0) {
        s->flags &= ~(uint32_t)SOCK_SENDING;
        r->metrics.sends_at_once += res > 0;
    }
    return res;
}

bool reactor_sock_sending(const struct reactor_sock *s)
{
    return (s->flags & SOCK_SENDING) != 0;
}

void reactor_sock_close(struct reactor_sock *s)
{
    CHECK((s->flags & SOCK_OPEN) != 0);
    if ((s->flags & SOCK_CLOSING) != 0)
        return;
    s->flags |= SOCK_CLOSING;
    s->r->vt->sock_close(s->r, s);
}

void reactor_sock_release(struct reactor_sock *s)
{
    CHECK((s->flags & (SOCK_CLOSING | SOCK_CONNECTING | SOCK_SENDING)) == 0);
    s->flags |= SOCK_KEEP_FD;
    reactor_sock_close(s);
}

int reactor_sock_addr(const struct reactor_sock *s, bool peer, struct sockaddr_storage *out)
{
    return s->r->vt->sock_addr(s, peer, out);
}

/* ---- for the implementations ---- */

void reactor_sock_look(struct reactor *r, struct reactor_sock *s)
{
    if (!list_linked(&s->link))
        list_push_back(&r->look, &s->link);
}

void reactor_sock_finish(struct reactor *r, struct reactor_sock *s)
{
    CHECK((s->flags & SOCK_CLOSING) != 0);
    CHECK((s->flags & SOCK_FINISHED) == 0);
    CHECK(s->ring_ops == 0);
    s->flags |= SOCK_FINISHED;
    if ((s->flags & SOCK_KEEP_FD) == 0) {
        if (s->fd >= 0)
            (void)close(s->fd); /* Nothing can be done about an error, the descriptor is gone. */
        s->fd = -1;
    }
    if (list_linked(&s->link))
        list_remove(&s->link);
    list_push_back(&r->closed, &s->link);
}

void reactor_sock_end_due(struct reactor_sock *s)
{
    if ((s->flags & SOCK_END_DUE) == 0 || (s->flags & (SOCK_PAUSED | SOCK_CLOSING)) != 0)
        return;
    s->flags &= ~(uint32_t)SOCK_END_DUE;
    if (s->ops->on_end != NULL)
        s->ops->on_end(s, s->end_err);
}

void reactor_sock_end(struct reactor_sock *s, int err)
{
    if ((s->flags & SOCK_NO_RECV) != 0)
        return;
    s->flags |= SOCK_NO_RECV | SOCK_END_DUE;
    s->end_err = err;
    reactor_sock_end_due(s);
}

bool reactor_sock_sent(struct reactor_sock *s, size_t n)
{
    struct msghdr *send = &s->send;

    while (send->msg_iovlen > 0 && n >= send->msg_iov->iov_len) {
        n -= send->msg_iov->iov_len;
        send->msg_iov++;
        send->msg_iovlen--;
    }
    if (send->msg_iovlen == 0) {
        CHECK(n == 0);
        return true;
    }
    send->msg_iov->iov_base = (uint8_t *)send->msg_iov->iov_base + n;
    send->msg_iov->iov_len -= n;
    return false;
}

void reactor_sock_send_done(struct reactor_sock *s, int err)
{
    s->flags &= ~(uint32_t)SOCK_SENDING;
    s->ops->on_sent(s, err);
}

int reactor_sock_try_send(struct reactor_sock *s)
{
    const struct msghdr *msg = &s->send;
    const int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
    ssize_t n;

    do {
        n = msg->msg_iovlen == 1 ? send(s->fd, msg->msg_iov->iov_base, msg->msg_iov->iov_len, flags)
                                 : sendmsg(s->fd, msg, flags);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EAGAIN ? 0 : -errno;
    return reactor_sock_sent(s, (size_t)n) ? 1 : 0;
}

int reactor_sock_addr_of_fd(const struct reactor_sock *s, bool peer, struct sockaddr_storage *out)
{
    socklen_t len = sizeof(*out);
    struct sockaddr_storage addr;

    memset(&addr, 0, sizeof(addr));
    struct sockaddr *generic = (struct sockaddr *)&addr;
    if ((peer ? getpeername(s->fd, generic, &len) : getsockname(s->fd, generic, &len)) != 0)
        return -errno;
    *out = addr;
    return 0;
}

void reactor_set_nodelay(int fd)
{
    const int on = 1;

    /* A Unix socket has no such option, and needs none. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

int reactor_set_nonblock(int fd, bool nonblock)
{
    const int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -errno;
    const int wanted = nonblock ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    if (wanted != flags && fcntl(fd, F_SETFL, wanted) != 0)
        return -errno;
    return 0;
}
