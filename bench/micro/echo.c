/*
 * The floor of the server: the reactor, and a PING as cheap as it can be.
 *
 *     echo-bench uring|epoll <port>
 *     redis-benchmark -p <port> -c 50 -P 16 -n 2000000 -q -t ping_mbulk
 *
 * Replies leave in the turn hook, as those of the server do. A request is recognised by its "G"
 * (one per PING), which is all that this program knows of the protocol. It ends with SIGINT or
 * SIGTERM and prints turns, events and processor time.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "engine/base/err.h"
#include "engine/base/list.h"
#include "engine/base/mem.h"

#include "engine/io/reactor.h"

#define PONG       "+PONG\r\n"
#define PONG_BYTES (sizeof(PONG) - 1)
#define PONGS_MAX  4096

struct conn {
    struct reactor_sock sock;
    struct list_link dirty; /* Replies are owed. */
    struct iovec iov;
    uint64_t owed;
};

static struct reactor *reactor;
static struct list dirty;
static char pongs[PONGS_MAX * PONG_BYTES];

static void conn_flush(struct conn *conn)
{
    while (conn->owed > 0 && !reactor_sock_sending(&conn->sock)) {
        const uint64_t n = u64_min(conn->owed, PONGS_MAX);
        conn->owed -= n;
        conn->iov = (struct iovec){.iov_base = pongs, .iov_len = n * PONG_BYTES};
        if (reactor_sock_send(&conn->sock, &conn->iov, 1) < 0) {
            reactor_sock_close(&conn->sock);
            return;
        }
    }
}

static void on_turn(void *ctx UNUSED)
{
    for (;;) {
        struct list_link *link = list_pop_front(&dirty);
        if (link == NULL)
            return;
        conn_flush(LIST_ITEM(link, struct conn, dirty));
    }
}

static void on_data(struct reactor_sock *s, const uint8_t *ptr, size_t len)
{
    struct conn *conn = container_of(s, struct conn, sock);

    for (size_t i = 0; i < len; i++)
        conn->owed += ptr[i] == 'G';
    if (conn->owed > 0 && !list_linked(&conn->dirty))
        list_push_back(&dirty, &conn->dirty);
}

static void on_end(struct reactor_sock *s, int err UNUSED)
{
    reactor_sock_close(s);
}

static void on_sent(struct reactor_sock *s, int err)
{
    struct conn *conn = container_of(s, struct conn, sock);

    if (err != 0)
        reactor_sock_close(s);
    else
        conn_flush(conn);
}

static void on_closed(struct reactor_sock *s)
{
    struct conn *conn = container_of(s, struct conn, sock);

    if (list_linked(&conn->dirty))
        list_remove(&conn->dirty);
    mem_free(conn);
}

static const struct reactor_sock_ops conn_ops = {
    .on_data = on_data,
    .on_end = on_end,
    .on_sent = on_sent,
    .on_closed = on_closed,
};

static void on_accept(struct reactor_listener *l, int fd)
{
    struct conn *conn = mem_zalloc(sizeof(*conn));

    if (reactor_sock_open(l->r, &conn->sock, fd, &conn_ops) != 0)
        abort();
}

static void on_signal(int number UNUSED)
{
    /* A store and a write to an eventfd. NOLINTNEXTLINE(bugprone-signal-handler) */
    reactor_stop(reactor);
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int on = 1;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, 511) != 0)
        return -1;
    return fd;
}

static void print_figures(void)
{
    const struct reactor_metrics *m = reactor_metrics(reactor);
    struct rusage usage;

    (void)getrusage(RUSAGE_SELF, &usage);
    printf("%s turns=%llu events=%llu sends=%llu at_once=%llu user_ms=%ld system_ms=%ld\n",
           reactor_backend_name(reactor), (unsigned long long)m->turns,
           (unsigned long long)m->events, (unsigned long long)m->sends,
           (unsigned long long)m->sends_at_once,
           usage.ru_utime.tv_sec * 1000 + usage.ru_utime.tv_usec / 1000,
           usage.ru_stime.tv_sec * 1000 + usage.ru_stime.tv_usec / 1000);
}

int main(int argc, char **argv)
{
    struct reactor_options options = {.backend = REACTOR_AUTO};
    struct reactor_listener listener = {0};

    if (argc != 3) {
        fprintf(stderr, "usage: echo-bench uring|epoll port\n");
        return 2;
    }
    options.backend = strcmp(argv[1], "epoll") == 0 ? REACTOR_EPOLL : REACTOR_URING;
    list_init(&dirty);
    for (size_t i = 0; i < PONGS_MAX; i++)
        memcpy(pongs + i * PONG_BYTES, PONG, PONG_BYTES);
    const int fd = listen_on((uint16_t)strtoul(argv[2], NULL, 10));
    int err = fd < 0 ? -1 : reactor_create(&options, &reactor);
    if (err == 0)
        err = reactor_listen(reactor, &listener, fd, on_accept);
    if (err != 0) {
        fprintf(stderr, "cannot start: %s\n", err_str(err));
        return 1;
    }
    reactor_set_turn_hook(reactor, on_turn, NULL);
    (void)signal(SIGINT, on_signal);
    (void)signal(SIGTERM, on_signal);
    reactor_run(reactor);
    print_figures();
    return 0;
}
