/*
 * The door: from an accepted connection to a guest.
 *
 * A connection is HEARING until its first message is whole. Then either the reactor gives its
 * descriptor back (RELEASING: nothing can be lost, the dialer has to wait for our challenge) and it
 * is a guest; or it gets a REJECT and a moment to read it (REJECTED), since closing with unread
 * bytes would take the answer away from it; or it is closed at once.
 */
#include "replication/link/link_door.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/list.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/io/reactor.h"

#include "replication/link/link_resolve.h"
#include "replication/link/shake.h"

#define DOOR_HANDSHAKE_MS 5000u
#define DOOR_REJECTED_MS  1000u
#define DOOR_BACKLOG      128
#define DOOR_LOG_MS       1000u

STATIC_ASSERT(LINK_HELLO_BYTES_MAX == SHAKE_BYTES_MAX);

/* One listening socket. */
struct door_ear {
    struct reactor_listener listener;
    struct link_door *door;
};

struct link_door {
    struct reactor *reactor;
    const struct link_secret *secret;
    uint8_t nickname[LINK_NICKNAME_BYTES_MAX];
    size_t nickname_len;
    uint32_t handshake_ms;
    link_guest_fn on_guest;
    void *ctx;
    bool stopped;
    uint16_t port;
    struct door_ear ears[LINK_ADDRS_MAX];
    uint32_t ears_count;
    struct list waiting; /* HEARING and REJECTED, oldest first: metrics.waiting of them. */
    struct list leaving; /* RELEASING and CLOSING. */
    struct link_door_metrics metrics;
};

enum door_state {
    DOOR_HEARING,
    DOOR_REJECTED,
    DOOR_RELEASING,
    DOOR_CLOSING,
};

struct door_conn {
    struct reactor_sock sock;
    struct link_door *door;
    struct list_link link;
    struct reactor_timer timer;
    enum door_state state;
    struct iovec iov;
    struct shake_hello hello; /* Borrows from `got`. */
    char peer[LINK_PEER_BYTES_MAX];
    size_t len;
    uint8_t got[LINK_HELLO_BYTES_MAX];
    uint8_t reject[SHAKE_BYTES_MAX];
};

/* The rest comes in on_closed. */
static void leave(struct door_conn *conn, enum door_state state)
{
    struct link_door *door = conn->door;

    if (conn->state >= DOOR_RELEASING)
        return;
    conn->state = state;
    list_remove(&conn->link);
    door->metrics.waiting--;
    list_push_back(&door->leaving, &conn->link);
    reactor_timer_stop(door->reactor, &conn->timer);
    if (state == DOOR_RELEASING)
        reactor_sock_release(&conn->sock);
    else
        reactor_sock_close(&conn->sock);
}

static void close_conn(struct door_conn *conn)
{
    leave(conn, DOOR_CLOSING);
}

/* ---- what the first message is ---- */

static void turn_away(struct door_conn *conn)
{
    conn->door->metrics.strangers++;
    LOG_EVERY_MS(DOOR_LOG_MS, LOG_LEVEL_WARN, "link",
                 "closed a connection that does not speak the link protocol; clients belong to the "
                 "other port peer=%s",
                 conn->peer);
    close_conn(conn);
}

static void on_timer(struct reactor_timer *t)
{
    struct door_conn *conn = container_of(t, struct door_conn, timer);

    if (conn->state == DOOR_HEARING) {
        conn->door->metrics.timeouts++;
        LOG_EVERY_MS(DOOR_LOG_MS, LOG_LEVEL_WARN, "link",
                     "closed a connection that did not say who it is peer=%s", conn->peer);
    }
    close_conn(conn);
}

static void reject(struct door_conn *conn, uint8_t reason)
{
    struct reactor *reactor = conn->door->reactor;

    conn->door->metrics.refused++;
    LOG_EVERY_MS(DOOR_LOG_MS, LOG_LEVEL_WARN, "link", "rejected a connection peer=%s reason=\"%s\"",
                 conn->peer, shake_reason_str(reason));
    conn->state = DOOR_REJECTED;
    reactor_timer_start(reactor, &conn->timer, reactor_now_ms(reactor) + DOOR_REJECTED_MS,
                        on_timer);
    conn->iov = (struct iovec){
        .iov_base = conn->reject,
        .iov_len = shake_put_reject(reason, conn->reject),
    };
    /* On a new connection it goes at once; if not, it ends with the time. */
    if (reactor_sock_send(&conn->sock, &conn->iov, 1) != 1 || shutdown(conn->sock.fd, SHUT_WR) != 0)
        close_conn(conn);
}

static void judge(struct door_conn *conn)
{
    struct link_door *door = conn->door;
    const struct bytes nickname = bytes_of(door->nickname, door->nickname_len);
    uint8_t reason;

    if (shake_check_hello(door->secret, nickname, bytes_of(conn->got, conn->len), &conn->hello,
                          &reason) != 0) {
        reject(conn, reason);
        return;
    }
    leave(conn, DOOR_RELEASING);
}

static void on_data(struct reactor_sock *s, const uint8_t *ptr, size_t len)
{
    struct door_conn *conn = container_of(s, struct door_conn, sock);
    const size_t n = size_min(len, sizeof(conn->got) - conn->len);
    size_t want;

    if (conn->state != DOOR_HEARING)
        return;
    memcpy(conn->got + conn->len, ptr, n);
    conn->len += n;
    const int err = shake_size(bytes_of(conn->got, conn->len), &want);
    if (err == -ERR_TRUNCATED)
        return;
    if (err == -ERR_FORMAT)
        reject(conn, SHAKE_NO_VERSION);
    else if (err != 0)
        turn_away(conn);
    else if (want != conn->len || n != len)
        reject(conn, SHAKE_MALFORMED); /* It must not go on before it was challenged. */
    else
        judge(conn);
}

static void on_end(struct reactor_sock *s, int err)
{
    struct door_conn *conn = container_of(s, struct door_conn, sock);

    (void)err; /* Whatever it is, it is nobody's connection yet. */
    close_conn(conn);
}

static void on_sent(struct reactor_sock *s, int err)
{
    (void)err;
    close_conn(container_of(s, struct door_conn, sock));
}

static struct link_guest *make_guest(const struct door_conn *conn)
{
    struct link_guest *guest = mem_zalloc(sizeof(*guest) + conn->len);

    guest->kind = conn->hello.kind;
    guest->shard = conn->hello.shard;
    guest->fd = conn->sock.fd;
    guest->hello_len = conn->len;
    memcpy(guest->hello, conn->got, conn->len);
    guest->identity =
        bytes_of(guest->hello + (conn->hello.identity.ptr - conn->got), conn->hello.identity.len);
    memcpy(guest->peer, conn->peer, sizeof(guest->peer));
    return guest;
}

static void on_closed(struct reactor_sock *s)
{
    struct door_conn *conn = container_of(s, struct door_conn, sock);
    struct link_door *door = conn->door;
    struct link_guest *guest = conn->state == DOOR_RELEASING ? make_guest(conn) : NULL;

    list_remove(&conn->link);
    mem_free(conn);
    if (guest == NULL)
        return;
    if (door->stopped) {
        link_guest_drop(guest);
        return;
    }
    door->metrics.guests++;
    door->on_guest(door->ctx, guest);
}

static const struct reactor_sock_ops conn_ops = {
    .on_data = on_data,
    .on_end = on_end,
    .on_sent = on_sent,
    .on_closed = on_closed,
};

/* ---- accepting ---- */

static void make_room(struct link_door *door)
{
    if (door->metrics.waiting < LINK_UNPROVEN_MAX)
        return;
    struct door_conn *oldest = LIST_ITEM(list_first(&door->waiting), struct door_conn, link);
    door->metrics.crowded_out++;
    LOG_EVERY_MS(DOOR_LOG_MS, LOG_LEVEL_WARN, "link",
                 "too many connections that do not say who they are, closed the oldest peer=%s",
                 oldest->peer);
    close_conn(oldest);
}

static void on_accept(struct reactor_listener *l, int fd)
{
    struct link_door *door = container_of(l, struct door_ear, listener)->door;
    struct door_conn *conn = mem_zalloc(sizeof(*conn));
    struct sockaddr_storage addr;
    socklen_t addr_len = sizeof(addr);

    door->metrics.accepts++;
    memset(&addr, 0, sizeof(addr));
    make_room(door);
    conn->door = door;
    if (getpeername(fd, (struct sockaddr *)&addr, &addr_len) != 0 ||
        reactor_sock_open(door->reactor, &conn->sock, fd, &conn_ops) != 0) {
        /* It has gone already, or there is no memory for it: the dialer comes again. */
        (void)close(fd);
        mem_free(conn);
        return;
    }
    link_addr_format(&addr, conn->peer);
    list_push_back(&door->waiting, &conn->link);
    door->metrics.waiting++;
    reactor_timer_start(door->reactor, &conn->timer,
                        reactor_now_ms(door->reactor) + door->handshake_ms, on_timer);
}

/* ---- opening ---- */

/* A listening socket on `addr`. Returns it or -errno. */
static int listen_at(const struct link_addr *addr)
{
    const int fd = socket(addr->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int on = 1;

    if (fd < 0)
        return -errno;
    bool good = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
    /* IPv4 has a socket of its own. */
    if (good && addr->addr.ss_family == AF_INET6)
        good = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0;
    if (good && bind(fd, (const struct sockaddr *)&addr->addr, addr->len) == 0 &&
        listen(fd, DOOR_BACKLOG) == 0)
        return fd;
    const int err = -errno;
    (void)close(fd);
    return err;
}

static void set_port(struct link_addr *addr, uint16_t port)
{
    /* At the same place in both families. */
    STATIC_ASSERT(offsetof(struct sockaddr_in, sin_port) ==
                  offsetof(struct sockaddr_in6, sin6_port));
    const uint16_t network = htons(port);

    memcpy((uint8_t *)&addr->addr + offsetof(struct sockaddr_in, sin_port), &network,
           sizeof(network));
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage addr;
    socklen_t len = sizeof(addr);
    uint16_t network;

    if (getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
        return 0;
    memcpy(&network, (const uint8_t *)&addr + offsetof(struct sockaddr_in, sin_port),
           sizeof(network));
    return ntohs(network);
}

/* One more address. Returns 0 or -errno. */
static int add_ear(struct link_door *door, struct link_addr *addr)
{
    struct door_ear *ear = &door->ears[door->ears_count];

    /* Port 0: all get the one that the first was given. */
    if (door->port != 0)
        set_port(addr, door->port);
    const int fd = listen_at(addr);
    if (fd < 0)
        return fd;
    ear->door = door;
    const int err = reactor_listen(door->reactor, &ear->listener, fd, on_accept);
    if (err != 0) {
        (void)close(fd);
        return err;
    }
    door->ears_count++;
    door->port = port_of(fd);
    return 0;
}

/* Listens at all addresses of a name that this machine has: at least one. */
static int listen_all(struct link_door *door, struct link_resolve *resolve)
{
    int first_err = 0;

    for (uint32_t i = 0; i < resolve->addrs_count; i++) {
        const int err = add_ear(door, &resolve->addrs[i]);
        /* In use is a mistake even if another address is free; not ours, or not IPv6, is not. */
        if (err == -EADDRINUSE || err == -EACCES)
            return err;
        if (err != 0 && first_err == 0)
            first_err = err;
    }
    return door->ears_count != 0 ? 0 : first_err;
}

static int open_at(struct link_door *door, const char *address, char *why, size_t why_len)
{
    struct link_resolve *resolve = mem_zalloc(sizeof(*resolve));

    resolve->passive = true;
    int err = strlen(address) < LINK_ADDRESS_BYTES_MAX ? link_resolve_parse(address, resolve)
                                                       : -ERR_SYNTAX;
    if (err == 0)
        link_resolve_now(resolve);
    if (err >= 0)
        err = resolve->err;
    if (err == 0)
        err = listen_all(door, resolve);
    mem_free(resolve);
    if (err != 0)
        /* Cut is fine. */
        (void)snprintf(why, why_len, "cannot listen for members of the group at %s: %s%s", address,
                       err_str(err),
                       err == -EADDRNOTAVAIL ? " (no address of this machine; give one of its own, "
                                               "or *:port)"
                                             : "");
    return err;
}

int link_door_open(const struct link_door_options *options, struct link_door **out, char *why,
                   size_t why_len)
{
    struct link_door *door = mem_zalloc(sizeof(*door));

    CHECK(options->nickname.len >= 1);
    CHECK(options->nickname.len <= LINK_NICKNAME_BYTES_MAX);
    door->reactor = options->reactor;
    door->secret = options->secret;
    memcpy(door->nickname, options->nickname.ptr, options->nickname.len);
    door->nickname_len = options->nickname.len;
    door->handshake_ms = options->handshake_ms != 0 ? options->handshake_ms : DOOR_HANDSHAKE_MS;
    door->on_guest = options->on_guest;
    door->ctx = options->ctx;
    list_init(&door->waiting);
    list_init(&door->leaving);
    const int err = open_at(door, options->address, why, why_len);
    if (err != 0) {
        link_door_stop(door);
        mem_free(door);
        return err;
    }
    *out = door;
    return 0;
}

uint16_t link_door_port(const struct link_door *door)
{
    return door->port;
}

/* ---- the end ---- */

void link_door_stop(struct link_door *door)
{
    door->stopped = true;
    for (uint32_t i = 0; i < door->ears_count; i++) {
        reactor_unlisten(door->reactor, &door->ears[i].listener);
        (void)close(door->ears[i].listener.fd); /* The descriptor is gone whatever it says. */
    }
    door->ears_count = 0;
    struct list_link *it;
    while ((it = list_first(&door->waiting)) != NULL)
        close_conn(LIST_ITEM(it, struct door_conn, link));
}

bool link_door_empty(const struct link_door *door)
{
    return list_empty(&door->waiting) && list_empty(&door->leaving);
}

void link_door_destroy(struct link_door *door)
{
    if (door == NULL)
        return;
    link_door_stop(door);
    CHECK(link_door_empty(door));
    mem_free(door);
}

const struct link_door_metrics *link_door_metrics(const struct link_door *door)
{
    return &door->metrics;
}
