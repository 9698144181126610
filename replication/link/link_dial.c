/*
 * The dialer: name to address, address to connection, and its side of the handshake.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "replication/link/link_impl.h"

/* Headers of Debian 12 do not have it. Without it a connection over which nothing went for 4 s
 * waits 3.2 s for its next try, although all is well again. */
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif

/* ---- the look-up ---- */

void link_forget_lookup(struct link *link)
{
    if (link->lookup == NULL)
        return;
    link->lookup->link = NULL;
    link->lookup = NULL;
}

static void take_addrs(struct link *link, const struct link_resolve *resolve)
{
    if (resolve->err != 0) {
        link_end(link, resolve->err, "its name cannot be resolved: %s%s", err_str(resolve->err),
                 resolve->err == -EAGAIN ? " (the name servers do not answer)" : "");
        return;
    }
    memcpy(link->addrs, resolve->addrs, sizeof(link->addrs));
    link->addrs_count = resolve->addrs_count;
    link_dial_next(link);
}

static void on_resolved(struct mail *mail)
{
    struct link_lookup *lookup = container_of(mail, struct link_lookup, resolve.job.mail);
    struct link *link = lookup->link;

    lookup->hub->lookups--;
    if (link != NULL) {
        link->lookup = NULL;
        take_addrs(link, &lookup->resolve);
    }
    mem_free(lookup);
}

static void look_up(struct link *link, struct link_lookup *lookup)
{
    struct link_hub *hub = link->hub;

    lookup->hub = hub;
    lookup->link = link;
    lookup->resolve.job.mail.fn = on_resolved;
    lookup->resolve.job.reply_to = hub->mailbox;
    link->lookup = lookup;
    hub->lookups++;
    link_start_timer(link, link->connect_until_ms);
    link_resolve_start(hub->resolver, &lookup->resolve);
}

struct link *link_dial(struct link_hub *hub, const char *address,
                       const struct link_options *options)
{
    if (hub->stopped)
        return NULL;
    struct link *link = link_create(hub, options, address);
    struct link_lookup *lookup = mem_zalloc(sizeof(*lookup));
    const int parsed = strlen(address) < LINK_ADDRESS_BYTES_MAX
                           ? link_resolve_parse(address, &lookup->resolve)
                           : -ERR_SYNTAX;

    hub->metrics.dials++;
    link->dialer = true;
    link->state = LINK_DIALING;
    link->connect_until_ms = reactor_now_ms(hub->reactor) + hub->connect_ms;
    if (parsed == 0 && hub->resolver != NULL) {
        look_up(link, lookup);
        return link;
    }
    if (parsed == 1)
        take_addrs(link, &lookup->resolve);
    else if (parsed == 0)
        link_end(link, -ERR_NOT_FOUND, "it is a name, and names are not resolved here");
    else
        link_end(link, -ERR_SYNTAX, "not an address of the form host:port or [ipv6]:port");
    mem_free(lookup);
    return link;
}

/* ---- the connection ---- */

void link_dial_next(struct link *link)
{
    struct reactor *reactor = link->hub->reactor;

    while (link->addr_index < link->addrs_count) {
        const uint64_t now_ms = reactor_now_ms(reactor);
        const uint32_t left = link->addrs_count - link->addr_index;
        const struct link_addr *addr = &link->addrs[link->addr_index++];
        if (now_ms >= link->connect_until_ms) {
            link->connect_err = -ETIMEDOUT;
            break;
        }
        link->connect_err = reactor_connect(
            reactor, &link->sock, (const struct sockaddr *)&addr->addr, addr->len, &link_sock_ops);
        if (link->connect_err == 0) {
            link->sock_open = true;
            /* Each address gets its part of the time. */
            const uint64_t part_ms = (link->connect_until_ms - now_ms + left - 1) / left;
            link_start_timer(link, now_ms + u64_min(part_ms, LINK_ATTEMPT_MS));
            return;
        }
    }
    link_end(link, link->connect_err, "cannot connect: %s", err_str(link->connect_err));
}

void link_dial_timeout(struct link *link)
{
    if (!link->sock_open) {
        link_end(link, -ETIMEDOUT, "its name was not resolved within %u ms", link->hub->connect_ms);
        return;
    }
    link->connect_err = -ETIMEDOUT;
    reactor_sock_close(&link->sock);
}

void link_set_sock_options(int fd)
{
    const int on = 1;
    const unsigned silence_ms = LINK_SILENCE_MS;
    const int retransmit_ms = LINK_RETRANSMIT_MS;

    /* Best effort: who sends heartbeats notices by himself, a Unix socket has none of these, and
     * Linux before 6.15 not the last. */
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_RTO_MAX_MS, &retransmit_ms, sizeof(retransmit_ms));
}

void link_on_connect(struct reactor_sock *s, int err)
{
    struct link *link = container_of(s, struct link, sock);
    struct link_hub *hub = link->hub;
    const struct shake_hello hello = {
        .kind = link->kind,
        .shard = link->shard,
        .nickname = bytes_of(hub->nickname, hub->nickname_len),
        .identity = bytes_of(link->identity, link->identity_len),
    };
    uint8_t message[SHAKE_BYTES_MAX];
    size_t len;

    if (err != 0) {
        link->connect_err = err;
        reactor_sock_close(s);
        return;
    }
    link_set_sock_options(s->fd);
    link->state = LINK_SHAKING;
    link_start_timer(link, reactor_now_ms(hub->reactor) + hub->handshake_ms);
    err = shake_put_hello(link->shake, &hello, message, &len);
    if (err != 0)
        link_end(link, err, "no random bytes for the handshake: %s", err_str(err));
    else
        link_say(link, message, len);
}

/* ---- the handshake ---- */

static void on_challenge(struct link *link, struct bytes message)
{
    uint8_t proof[SHAKE_BYTES_MAX];

    if (link->challenged || shake_on_challenge(link->shake, message) != 0) {
        link_end(link, -ERR_PROTOCOL, "its challenge was not to come now, or is malformed");
        return;
    }
    link->challenged = true;
    link_say(link, proof, shake_put_proof(link->shake, proof));
}

static void on_welcome(struct link *link, struct bytes message)
{
    struct bytes identity;
    const int err = shake_on_welcome(link->shake, message, &identity);

    if (err != 0) {
        link->hub->metrics.auth_failures += err == -ERR_AUTH;
        link_end(link, err, "its welcome is %s",
                 err == -ERR_AUTH ? "not authentic: it does not know the group secret"
                                  : "malformed");
        return;
    }
    memcpy(link->peer_identity, identity.ptr, identity.len);
    link->peer_identity_len = identity.len;
    link_use_keys(link);
    /* Whatever happens now can be told by a frame. */
    link->state = LINK_AGREEING;
    const char *refusal = link->ops == NULL ? NULL : link->ops->on_peer(link, link->ctx);
    if (link->state != LINK_AGREEING)
        return;
    if (refusal != NULL) {
        link_refuse_peer(link, refusal);
        return;
    }
    if (link_put_frame(link, SEAL_OPEN, bytes_of(NULL, 0), bytes_of(NULL, 0)) != 0) {
        link_end(link, -ENOMEM, "no memory for the handshake");
        return;
    }
    link_mark_dirty(link);
    link_become_ready(link);
}

static void on_refuse(struct link *link, struct bytes message)
{
    char clean[LINK_TEXT_BYTES_MAX + 1];
    struct bytes text;
    const int err = shake_on_refuse(link->shake, message, &text);

    if (err != 0) {
        link->hub->metrics.auth_failures += err == -ERR_AUTH;
        link_end(link, err, "its refusal is %s",
                 err == -ERR_AUTH ? "not authentic: it does not know the group secret"
                                  : "malformed");
        return;
    }
    link_clean_text(text, clean, sizeof(clean));
    link_end(link, -ERR_REFUSED, "it refused us: %s", clean);
}

static void on_reject(struct link *link, struct bytes message)
{
    uint8_t reason;

    if (shake_parse_reject(message, &reason) != 0)
        link_end(link, -ERR_PROTOCOL, "its rejection is malformed");
    else if (reason == SHAKE_NO_SECRET)
        link_end(link, -ERR_AUTH, "it rejected us: %s; compare the files of group-secret-file",
                 shake_reason_str(reason));
    else
        link_end(link, reason == SHAKE_NO_VERSION ? -ERR_FORMAT : -ERR_REFUSED,
                 "it rejected us: %s", shake_reason_str(reason));
}

void link_dialer_hears(struct link *link, struct bytes message)
{
    switch (message.ptr[5]) {
    case SHAKE_CHALLENGE:
        on_challenge(link, message);
        return;
    case SHAKE_REJECT:
        on_reject(link, message);
        return;
    case SHAKE_WELCOME:
    case SHAKE_REFUSE:
        if (!link->challenged)
            break;
        if (message.ptr[5] == SHAKE_WELCOME)
            on_welcome(link, message);
        else
            on_refuse(link, message);
        return;
    default:
        break;
    }
    link_end(link, -ERR_PROTOCOL, "message %u of the handshake was not to come now",
             message.ptr[5]);
}
