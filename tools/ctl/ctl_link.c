/* A connection to a node: ctl_link.h tells what it is. */
#include "tools/ctl/ctl_link.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/num.h"

#define READ_BYTES     16384
#define LINE_BYTES_MAX 65536

static int fail(struct link *link, int err, const char *what)
{
    (void)snprintf(link->why, sizeof(link->why), "%s: %s", what, err_str(err));
    return err;
}

/* --- opening --- */

/* Waits until the socket can be read (or written). 0, -ETIMEDOUT or -errno. */
static int wait_for(const struct link *link, short events)
{
    struct pollfd p = {.fd = link->fd, .events = events};
    const uint64_t end_ns = clock_mono_ns() + (uint64_t)link->timeout_ms * 1000000;

    for (;;) {
        const uint64_t now_ns = clock_mono_ns();
        const uint64_t left_ms = now_ns >= end_ns ? 0 : (end_ns - now_ns) / 1000000 + 1;
        const int n = poll(&p, 1, (int)left_ms);
        if (n > 0)
            return 0;
        if (n == 0)
            return -ETIMEDOUT;
        if (errno != EINTR)
            return -errno;
    }
}

static int connect_to(struct link *link, const struct sockaddr *address, socklen_t len)
{
    int err = 0;
    socklen_t err_len = sizeof(err);

    link->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (link->fd < 0)
        return -errno;
    if (connect(link->fd, address, len) == 0)
        return 0;
    err = -errno;
    if (err == -EINPROGRESS) {
        int so_error = 0;
        err = wait_for(link, POLLOUT);
        if (err == 0 && getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &so_error, &err_len) != 0)
            err = -errno;
        else if (err == 0)
            err = -so_error;
    }
    if (err != 0) {
        (void)close(link->fd); /* Nothing was sent. */
        link->fd = -1;
    }
    return err;
}

static int open_socket(struct link *link, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return fail(link, -ENAMETOOLONG, path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    const int err =
        connect_to(link, (const struct sockaddr *)(const void *)&address, sizeof(address));
    return err == 0 ? 0 : fail(link, err, path);
}

static int open_host(struct link *link, const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char where[256];
    int err = -EHOSTUNREACH;

    (void)snprintf(where, sizeof(where), "%s:%s", host, port);
    const int found = getaddrinfo(host, port, &hints, &list);
    if (found != 0) {
        (void)snprintf(link->why, sizeof(link->why), "%s: %s", where, gai_strerror(found));
        return err;
    }
    for (const struct addrinfo *a = list; a != NULL && err != 0; a = a->ai_next)
        err = connect_to(link, a->ai_addr, a->ai_addrlen);
    freeaddrinfo(list);
    return err == 0 ? 0 : fail(link, err, where);
}

int link_open(struct link *link, const struct link_address *address)
{
    *link = (struct link){.fd = -1, .timeout_ms = address->timeout_ms};
    buf_init(&link->in, LINK_REPLY_BYTES_MAX);
    if (address->socket != NULL)
        return open_socket(link, address->socket);
    return open_host(link, address->host, address->port);
}

void link_close(struct link *link)
{
    if (link->fd >= 0)
        (void)close(link->fd); /* All replies were read, or do not matter. */
    link->fd = -1;
    buf_deinit(&link->in);
}

/* --- writing and reading --- */

static int send_all(struct link *link, struct bytes data)
{
    while (data.len != 0) {
        const ssize_t n = send(link->fd, data.ptr, data.len, MSG_NOSIGNAL);
        int err = 0;
        if (n >= 0)
            data = bytes_from(data, (size_t)n);
        else if (errno == EAGAIN)
            err = wait_for(link, POLLOUT);
        else if (errno != EINTR)
            err = -errno;
        if (err != 0)
            return fail(link, err, "cannot send");
    }
    return 0;
}

static int receive(struct link *link)
{
    int err = buf_reserve(&link->in, READ_BYTES);

    if (err != 0)
        return fail(link, err, "the reply is too long");
    err = wait_for(link, POLLIN);
    if (err != 0)
        return fail(link, err, "no reply");
    const ssize_t n = recv(link->fd, buf_end(&link->in), READ_BYTES, 0);
    if (n > 0) {
        buf_commit(&link->in, (size_t)n);
        return 0;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return fail(link, n == 0 ? -ECONNRESET : -errno, "the connection ended");
}

/* --- replies --- */

/* The line at `at` without its end, and where it goes on. False: it is not whole yet. */
static bool line_at(const struct buf *in, size_t at, struct bytes *out, size_t *next)
{
    const struct bytes rest = bytes_from(buf_bytes(in), at);
    const size_t len = bytes_find_u8(rest, '\n');

    if (len == rest.len || len == 0)
        return false;
    *out = bytes_of(rest.ptr, len - (rest.ptr[len - 1] == '\r'));
    *next = at + len + 1;
    return true;
}

/* One item at `*at`, which moves on. 1; 0: not whole yet; -ERR_PROTOCOL. */
static int item_at(const struct buf *in, size_t *at, struct item *out)
{
    struct bytes line;
    size_t next;

    if (!line_at(in, *at, &line, &next))
        return in->len - *at > LINE_BYTES_MAX ? -ERR_PROTOCOL : 0;
    if (line.len == 0)
        return -ERR_PROTOCOL;
    const uint8_t kind = line.ptr[0];
    *out = (struct item){.text = bytes_from(line, 1)};
    if (kind == '+' || kind == '-') {
        out->kind = kind == '+' ? ITEM_STATUS : ITEM_ERROR;
        *at = next;
        return 1;
    }
    if (kind == '_') {
        out->kind = ITEM_NIL;
        *at = next;
        return 1;
    }
    if (strchr(":$*%", kind) == NULL || !num_parse_i64(out->text, &out->number))
        return -ERR_PROTOCOL;
    out->kind = kind == ':'   ? ITEM_INTEGER
                : kind == '*' ? ITEM_ARRAY
                : kind == '%' ? ITEM_MAP
                              : ITEM_BULK;
    if (kind == '%') {
        if (out->number < 0 || out->number > LINK_REPLY_BYTES_MAX)
            return -ERR_PROTOCOL;
        out->number *= 2;
    }
    if (kind != ':' && out->number < 0)
        out->kind = ITEM_NIL;
    if (out->kind == ITEM_BULK) {
        if ((uint64_t)out->number > LINK_REPLY_BYTES_MAX)
            return -ERR_LIMIT;
        if (in->len - next < (size_t)out->number + 2)
            return 0;
        out->text = bytes_of(in->ptr + next, (size_t)out->number);
        next += (size_t)out->number + 2;
    }
    *at = next;
    return 1;
}

/* Whether the reply is whole: goes over its items, `*at` and `*left` items to come. */
static int scan(const struct buf *in, size_t *at, uint64_t *left)
{
    struct item item;

    while (*left != 0) {
        const int step = item_at(in, at, &item);
        if (step != 1)
            return step;
        *left -= 1;
        /* Each item takes at least three bytes, so that more cannot come. */
        const bool container = item.kind == ITEM_ARRAY || item.kind == ITEM_MAP;
        if (container && (uint64_t)item.number > LINK_REPLY_BYTES_MAX / 3)
            return -ERR_LIMIT;
        if (container)
            *left += (uint64_t)item.number;
    }
    return 1;
}

static int send_command(struct link *link, size_t argc, const struct bytes *argv)
{
    struct buf out;

    buf_init(&out, LINK_REPLY_BYTES_MAX);
    int err = buf_printf(&out, "*%zu\r\n", argc);
    for (size_t i = 0; i < argc && err == 0; i++) {
        err = buf_printf(&out, "$%zu\r\n", argv[i].len);
        if (err == 0)
            err = buf_append_bytes(&out, argv[i]);
        if (err == 0)
            err = buf_append(&out, "\r\n", 2);
    }
    err = err == 0 ? send_all(link, buf_bytes(&out)) : fail(link, err, "the command is too long");
    buf_deinit(&out);
    return err;
}

int link_call(struct link *link, size_t argc, const struct bytes *argv)
{
    size_t at = 0;
    uint64_t left = 1;

    buf_clear(&link->in);
    link->at = 0;
    int err = send_command(link, argc, argv);
    while (err == 0) {
        const int step = scan(&link->in, &at, &left);
        if (step == 1)
            return 0;
        err = step == 0 ? receive(link) : fail(link, step, "not a reply");
    }
    return err;
}

bool link_item(struct link *link, struct item *out)
{
    return link->at < link->in.len && item_at(&link->in, &link->at, out) == 1;
}
