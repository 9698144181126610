/*
 * The connection of a MIGRATE to its target.
 *
 * Numeric addresses are dialled at once; names are looked up by a thread of the shard that there is
 * from the first name on, as name servers may take long. Requests go out in pieces, each of which
 * is a sign of life; replies are lines.
 *
 * The struct stays until the reactor lets go of the socket and the thread of the name, whatever has
 * become of the command meanwhile.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/io/pool.h"

#include "server/dump.h"
#include "server/migrate_impl.h"
#include "server/shard.h"

/* One send. */
#define PIECE_BYTES (256u << 10)
/* Sends in a row; then others have their turn. */
#define PIECES_MAX 4
/* Of a shard; further ones are refused. */
#define LOOKUPS_MAX 64
/* Buffers that are longer are given back when they are empty. */
#define KEEP_BYTES ((size_t)2 * MIGRATE_BATCH_BYTES)
/* Names and numbers of keys, in front of a dump and behind it. */
#define TEXT_BYTES_MAX ((size_t)2 << 20)

enum link_state {
    LINK_RESOLVES,
    LINK_CONNECTS,
    LINK_OPEN,
    LINK_BROKEN
};

enum part {
    PART_HEAD,
    PART_DUMP,
    PART_TAIL,
    PARTS
};

struct migrate_link {
    struct reactor_sock sock;
    struct shard *sh;
    struct migrate *m; /* NULL: nobody wants it any more. */
    uint8_t state;     /* enum link_state */
    bool opened;       /* There is a socket to be closed. */
    bool resolving;    /* The look-up is the thread's. */
    bool putting;      /* There is something to send. */
    struct link_resolve resolve;
    uint32_t addr; /* The next to be tried. */
    struct buf parts[PARTS];
    uint32_t part; /* What is being sent, */
    size_t at;     /* from here on. */
    struct iovec iov;
    uint32_t line_len;
    uint8_t line[MIGRATE_LINE_BYTES];
};

/* --- life --- */

static void free_if_unused(struct migrate_link *l)
{
    if (l->m != NULL || l->opened || l->resolving)
        return;
    for (uint32_t i = 0; i < PARTS; i++)
        buf_deinit(&l->parts[i]);
    mem_free(l);
}

void migrate_link_drop(struct migrate_link *l)
{
    if (l == NULL)
        return;
    l->m = NULL;
    l->state = LINK_BROKEN;
    if (l->opened)
        reactor_sock_close(&l->sock);
    else
        free_if_unused(l);
}

static void broken(struct migrate_link *l, enum migrate_broken how)
{
    l->state = LINK_BROKEN;
    if (l->m != NULL)
        migrate_broken(l->m, how);
}

enum migrate_broken migrate_link_doing(const struct migrate_link *l)
{
    if (l->state != LINK_OPEN)
        return MIGRATE_NOT_CONNECTED;
    return l->putting ? MIGRATE_NOT_WRITTEN : MIGRATE_NOT_READ;
}

/* --- sending --- */

bool migrate_link_idle(const struct migrate_link *l)
{
    return l->state == LINK_OPEN && !l->putting;
}

struct buf *migrate_link_head(struct migrate_link *l)
{
    return &l->parts[PART_HEAD];
}

struct buf *migrate_link_dump(struct migrate_link *l)
{
    return &l->parts[PART_DUMP];
}

struct buf *migrate_link_tail(struct migrate_link *l)
{
    return &l->parts[PART_TAIL];
}

static void sent_all(struct migrate_link *l)
{
    for (uint32_t i = 0; i < PARTS; i++) {
        if (l->parts[i].cap > KEEP_BYTES)
            buf_deinit(&l->parts[i]);
        else
            buf_clear(&l->parts[i]);
    }
    l->part = 0;
    l->at = 0;
    l->putting = false;
}

/* The next piece; false: there is none. */
static bool next_piece(struct migrate_link *l)
{
    while (l->part < PARTS && l->at == l->parts[l->part].len) {
        l->part++;
        l->at = 0;
    }
    if (l->part == PARTS)
        return false;
    const struct buf *b = &l->parts[l->part];
    const size_t len = size_min(b->len - l->at, PIECE_BYTES);
    l->iov = (struct iovec){.iov_base = b->ptr + l->at, .iov_len = len};
    l->at += len;
    return true;
}

static void pump(struct migrate_link *l)
{
    for (uint32_t i = 0; i < PIECES_MAX; i++) {
        if (!next_piece(l)) {
            sent_all(l);
            return;
        }
        const int r = reactor_sock_send(&l->sock, &l->iov, 1);
        if (r < 0) {
            broken(l, MIGRATE_NOT_WRITTEN);
            return;
        }
        if (r == 0)
            return;
    }
    /* It is called again by the command, which comes in the next turn. */
    migrate_moved(l->m);
}

void migrate_link_push(struct migrate_link *l)
{
    if (l->putting && l->state == LINK_OPEN && !reactor_sock_sending(&l->sock))
        pump(l);
}

void migrate_link_send(struct migrate_link *l)
{
    l->putting = true;
    migrate_link_push(l);
}

static void on_sent(struct reactor_sock *s, int err)
{
    struct migrate_link *l = container_of(s, struct migrate_link, sock);

    if (err != 0) {
        broken(l, MIGRATE_NOT_WRITTEN);
    } else if (l->state == LINK_OPEN) {
        migrate_moved(l->m);
        pump(l);
    }
}

/* --- receiving --- */

/* True: the line is whole. What does not fit is left out. */
static bool take(struct migrate_link *l, uint8_t byte)
{
    if (byte == '\n')
        return true;
    if (l->line_len < sizeof(l->line))
        l->line[l->line_len++] = byte;
    return false;
}

static void on_data(struct reactor_sock *s, const uint8_t *ptr, size_t len)
{
    struct migrate_link *l = container_of(s, struct migrate_link, sock);

    for (size_t i = 0; i < len && l->state == LINK_OPEN; i++) {
        if (!take(l, ptr[i]))
            continue;
        const bool cr = l->line_len != 0 && l->line[l->line_len - 1] == '\r';
        const struct bytes line = bytes_of(l->line, l->line_len - cr);
        l->line_len = 0;
        migrate_heard(l->m, line);
    }
}

static void on_end(struct reactor_sock *s, int err)
{
    struct migrate_link *l = container_of(s, struct migrate_link, sock);

    (void)err;
    broken(l, l->putting ? MIGRATE_NOT_WRITTEN : MIGRATE_NOT_READ);
}

/* --- connecting --- */

static const struct reactor_sock_ops ops;

static void dial_next(struct migrate_link *l, enum migrate_broken how)
{
    l->state = LINK_CONNECTS;
    while (l->m != NULL && l->addr < l->resolve.addrs_count) {
        const struct link_addr *a = &l->resolve.addrs[l->addr++];
        if (reactor_connect(l->sh->reactor, &l->sock, (const struct sockaddr *)&a->addr, a->len,
                            &ops) == 0) {
            l->opened = true;
            l->sh->migrates.links++;
            return;
        }
    }
    broken(l, how);
}

static void on_connect(struct reactor_sock *s, int err)
{
    struct migrate_link *l = container_of(s, struct migrate_link, sock);

    if (err != 0) {
        reactor_sock_close(s);
        return;
    }
    l->state = LINK_OPEN;
    migrate_moved(l->m);
    if (l->putting)
        pump(l);
}

static void on_closed(struct reactor_sock *s)
{
    struct migrate_link *l = container_of(s, struct migrate_link, sock);

    l->opened = false;
    l->sh->migrates.links--;
    /* Redis notices the one that refuses when it writes to it. */
    if (l->m != NULL && l->state == LINK_CONNECTS)
        dial_next(l, MIGRATE_NOT_WRITTEN);
    free_if_unused(l);
}

static const struct reactor_sock_ops ops = {.on_data = on_data,
                                            .on_end = on_end,
                                            .on_sent = on_sent,
                                            .on_closed = on_closed,
                                            .on_connect = on_connect};

/* --- names --- */

static void on_resolved(struct mail *mail)
{
    struct migrate_link *l = container_of(mail, struct migrate_link, resolve.job.mail);

    l->resolving = false;
    l->sh->migrates.lookups--;
    if (l->m != NULL)
        dial_next(l, MIGRATE_NOT_CONNECTED);
    free_if_unused(l);
}

/* False: there are too many, or there is no thread. */
static bool look_up(struct migrate_link *l)
{
    struct migrate_shard *ms = &l->sh->migrates;
    const struct pool_options options = {.name = "migrate", .threads = 1};

    if (ms->lookups == LOOKUPS_MAX)
        return false;
    if (ms->names == NULL) {
        if (pool_create(&options, &ms->names) != 0) {
            ms->names = NULL;
            return false;
        }
        link_resolver_init(&ms->resolver, ms->names);
    }
    ms->lookups++;
    l->resolving = true;
    l->resolve.job.mail.fn = on_resolved;
    l->resolve.job.reply_to = &l->sh->mailbox;
    link_resolve_start(&ms->resolver, &l->resolve);
    return true;
}

/* As Redis reads a port: the digits it begins with; nobody listens at 0. */
static struct bytes port_of(struct bytes port)
{
    size_t digits = 0;

    while (digits < port.len && digits < 6 && port.ptr[digits] >= '0' && port.ptr[digits] <= '9')
        digits++;
    return digits == 0 || digits > 5 ? BYTES_LIT("0") : bytes_of(port.ptr, digits);
}

/* As link_resolve_parse. */
static int parse(struct migrate_link *l, struct bytes host, struct bytes port)
{
    char address[LINK_ADDRESS_BYTES_MAX];
    const bool bare_v6 = bytes_find_u8(host, ':') != host.len && host.ptr[0] != '[';

    if (host.len + port.len + 4 > sizeof(address))
        return -ERR_SYNTAX;
    (void)snprintf(address, sizeof(address), "%s%.*s%s:%.*s", bare_v6 ? "[" : "", (int)host.len,
                   (const char *)host.ptr, bare_v6 ? "]" : "", (int)port.len,
                   (const char *)port.ptr);
    return link_resolve_parse(address, &l->resolve);
}

void migrate_link_open(struct migrate *m, struct bytes host, struct bytes port)
{
    struct migrate_link *l = mem_zalloc(sizeof(*l));

    l->sh = m->sh;
    l->m = m;
    m->target = l;
    buf_init(&l->parts[PART_HEAD], MIGRATE_BATCH_BYTES + TEXT_BYTES_MAX);
    buf_init(&l->parts[PART_DUMP], DUMP_BYTES_MAX);
    buf_init(&l->parts[PART_TAIL], TEXT_BYTES_MAX);
    switch (parse(l, host, port_of(port))) {
    case 1:
        dial_next(l, MIGRATE_NOT_CONNECTED);
        return;
    case 0:
        if (look_up(l))
            return;
        break;
    default:
        break;
    }
    broken(l, MIGRATE_NOT_CONNECTED);
}

size_t migrate_link_bytes(const struct migrate_link *l)
{
    size_t bytes = sizeof(*l);

    for (uint32_t i = 0; i < PARTS; i++)
        bytes += l->parts[i].cap;
    return bytes;
}
