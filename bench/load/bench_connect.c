/* Opening connections and blocking calls. */
#include "bench/load/bench_connect.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/err.h"

#include "bench/load/bench_reply.h"

#define REQUEST_BYTES_MAX (64u << 10)
#define RECEIVE_BYTES     (8u << 10)

static int explain(struct bench_error *error, int err, const char *what)
{
    snprintf(error->text, sizeof(error->text), "%s: %s", what, err_str(err));
    return err;
}

static void set_timeouts(int fd, double timeout_s)
{
    const struct timeval timeout = {
        .tv_sec = (time_t)timeout_s,
        .tv_usec = (suseconds_t)((timeout_s - (double)(time_t)timeout_s) * 1e6),
    };

    /* Without them a dead server is noticed later; nothing else depends on it. */
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

static int open_socket(int family, const struct sockaddr *address, socklen_t len, double timeout_s)
{
    const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -errno;
    set_timeouts(fd, timeout_s);
    if (connect(fd, address, len) != 0) {
        /* A connect that timed out says EINPROGRESS, which would puzzle the reader. */
        const int err = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
        close(fd);
        return err;
    }
    if (family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    return fd;
}

static int connect_unix(const struct bench_options *options, struct bench_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    const size_t len = strlen(options->socket_path);
    if (len >= sizeof(address.sun_path))
        return explain(error, -ENAMETOOLONG, options->socket_path);
    memcpy(address.sun_path, options->socket_path, len);
    const int fd = open_socket(AF_UNIX, (const struct sockaddr *)&address, sizeof(address),
                               options->timeout_s);
    return fd < 0 ? explain(error, fd, options->socket_path) : fd;
}

static int connect_tcp(const struct bench_options *options, struct bench_error *error)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list;
    char port[16];
    char name[BENCH_ERROR_TEXT_BYTES / 2];
    int fd = -EADDRNOTAVAIL;

    snprintf(port, sizeof(port), "%u", (unsigned)options->port);
    snprintf(name, sizeof(name), "%s port %s", options->host, port);
    const int failed = getaddrinfo(options->host, port, &hints, &list);
    if (failed != 0) {
        snprintf(error->text, sizeof(error->text), "%s: %s", name, gai_strerror(failed));
        return -EHOSTUNREACH;
    }
    for (const struct addrinfo *at = list; at != NULL; at = at->ai_next) {
        fd = open_socket(at->ai_family, at->ai_addr, at->ai_addrlen, options->timeout_s);
        if (fd >= 0)
            break;
    }
    freeaddrinfo(list);
    return fd < 0 ? explain(error, fd, name) : fd;
}

static int authenticate(int fd, const struct bench_options *options, struct bench_error *error)
{
    const char *arguments[3] = {"AUTH"};
    size_t count = 1;

    if (options->password == NULL)
        return 0;
    if (options->user != NULL)
        arguments[count++] = options->user;
    arguments[count++] = options->password;
    return bench_call(fd, arguments, count, NULL, error);
}

int bench_connect(const struct bench_options *options, struct bench_error *error)
{
    const int fd =
        options->socket_path != NULL ? connect_unix(options, error) : connect_tcp(options, error);
    if (fd < 0)
        return fd;
    const int err = authenticate(fd, options, error);
    if (err != 0) {
        close(fd);
        return err;
    }
    return fd;
}

static int send_all(int fd, struct bytes data)
{
    while (data.len > 0) {
        const ssize_t sent = send(fd, data.ptr, data.len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        data = bytes_from(data, (size_t)sent);
    }
    return 0;
}

static int send_command(int fd, const char *const *arguments, size_t count)
{
    struct buf request;
    int err;

    buf_init(&request, REQUEST_BYTES_MAX);
    err = buf_printf(&request, "*%zu\r\n", count);
    for (size_t i = 0; err == 0 && i < count; i++)
        err = buf_printf(&request, "$%zu\r\n%s\r\n", strlen(arguments[i]), arguments[i]);
    if (err == 0)
        err = send_all(fd, buf_bytes(&request));
    buf_deinit(&request);
    return err;
}

static void keep_piece(void *ctx, const struct bench_reply_piece *piece)
{
    struct buf *out = ctx;

    /* A reply beyond the caller's limit loses what does not fit. */
    IGNORE_RESULT(buf_append(out, piece->ptr, piece->len));
}

static int receive_reply(int fd, struct bench_reply *reply)
{
    uint8_t data[RECEIVE_BYTES];
    size_t used;

    for (;;) {
        const ssize_t len = recv(fd, data, sizeof(data), 0);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
        if (len == 0)
            return -ERR_CLOSED;
        const int result = bench_reply_feed(reply, data, (size_t)len, &used);
        if (result < 0)
            return result;
        if (result == BENCH_REPLY_DONE)
            return used == (size_t)len ? 0 : -ERR_PROTOCOL;
    }
}

int bench_call(int fd, const char *const *arguments, size_t count, struct buf *out,
               struct bench_error *error)
{
    struct bench_reply reply;
    int err = send_command(fd, arguments, count);

    bench_reply_init(&reply, out == NULL ? NULL : keep_piece, out);
    if (err == 0)
        err = receive_reply(fd, &reply);
    if (err != 0)
        return explain(error, err, arguments[0]);
    if (reply.info.type == '-') {
        snprintf(error->text, sizeof(error->text), "%s: %.*s", arguments[0],
                 (int)reply.info.text_len, reply.info.text);
        return -ERR_REFUSED;
    }
    return 0;
}
