/*
 * Addresses: taking "host:port" apart, and getaddrinfo on a pool's thread.
 */
#include "replication/link/link_resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"

void link_addr_format(const struct sockaddr_storage *addr, char out[LINK_PEER_BYTES_MAX])
{
    char host[INET6_ADDRSTRLEN] = "?";

    if (addr->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, addr, sizeof(in));
        (void)inet_ntop(AF_INET, &in.sin_addr, host, sizeof(host)); /* Large enough. */
        (void)snprintf(out, LINK_PEER_BYTES_MAX, "%s:%u", host, ntohs(in.sin_port));
    } else if (addr->ss_family == AF_INET6) {
        struct sockaddr_in6 in;
        memcpy(&in, addr, sizeof(in));
        (void)inet_ntop(AF_INET6, &in.sin6_addr, host, sizeof(host));
        (void)snprintf(out, LINK_PEER_BYTES_MAX, "[%s]:%u", host, ntohs(in.sin6_port));
    } else {
        (void)snprintf(out, LINK_PEER_BYTES_MAX, "unix");
    }
}

static int from_gai(int res)
{
    switch (res) {
    case 0:
        return 0;
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_SYSTEM:
        return errno != 0 ? -errno : -EIO;
    default:
        return -ERR_NOT_FOUND;
    }
}

static void look_up(struct link_resolve *resolve, int flags)
{
    const struct addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = flags | AI_NUMERICSERV | (resolve->passive ? AI_PASSIVE : 0),
    };
    const bool any = resolve->passive && strcmp(resolve->host, "*") == 0;
    struct addrinfo *found = NULL;

    resolve->addrs_count = 0;
    resolve->err = from_gai(getaddrinfo(any ? NULL : resolve->host, resolve->port, &hints, &found));
    if (resolve->err != 0)
        return;
    for (const struct addrinfo *it = found; it != NULL; it = it->ai_next) {
        if (resolve->addrs_count == LINK_ADDRS_MAX ||
            it->ai_addrlen > sizeof(struct sockaddr_storage))
            break;
        struct link_addr *addr = &resolve->addrs[resolve->addrs_count++];
        memset(&addr->addr, 0, sizeof(addr->addr));
        memcpy(&addr->addr, it->ai_addr, it->ai_addrlen);
        addr->len = it->ai_addrlen;
    }
    freeaddrinfo(found);
    if (resolve->addrs_count == 0)
        resolve->err = -ERR_NOT_FOUND;
}

/* 0 .. 65535, digits only. */
static bool is_port(const char *text)
{
    uint32_t value = 0;

    if (*text == '\0' || strlen(text) > 5)
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (uint32_t)(*text - '0');
    }
    return value <= UINT16_MAX;
}

/* A name that may be looked up: getaddrinfo takes odder things, as "0x7f.1", for addresses. */
static bool is_host(struct bytes host, bool bracketed)
{
    if (host.len == 0 || host.len > 255)
        return false;
    for (size_t i = 0; i < host.len; i++) {
        const uint8_t c = host.ptr[i];
        const bool plain = (c >= '0' && c <= '9') ||
                           (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') || c == '.' ||
                           c == '-' || c == '_';
        if (!plain && !(bracketed && (c == ':' || c == '%')))
            return false;
    }
    return true;
}

int link_resolve_parse(const char *address, struct link_resolve *out)
{
    const char *colon = strrchr(address, ':');

    if (colon == NULL || !is_port(colon + 1))
        return -ERR_SYNTAX;
    struct bytes host = bytes_of(address, (size_t)(colon - address));
    const bool bracketed = host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
    if (bracketed)
        host = bytes_of(host.ptr + 1, host.len - 2);
    const bool any = out->passive && bytes_eq(host, BYTES_LIT("*"));
    if (!any && !is_host(host, bracketed))
        return -ERR_SYNTAX;
    memcpy(out->host, host.ptr, host.len);
    out->host[host.len] = '\0';
    memcpy(out->port, colon + 1, strlen(colon + 1) + 1);
    look_up(out, any ? 0 : AI_NUMERICHOST);
    if (out->err == 0)
        return 1;
    /* In brackets there can be nothing but an address. */
    return bracketed || any ? -ERR_SYNTAX : 0;
}

void link_resolve_now(struct link_resolve *resolve)
{
    look_up(resolve, 0);
}

static void run_jobs(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx; /* All is in the jobs. */
    for (uint32_t i = 0; i < n; i++)
        look_up(container_of(jobs[i], struct link_resolve, job), 0);
}

void link_resolver_init(struct link_resolver *resolver, struct pool *pool)
{
    resolver->cls = (struct pool_class){
        .name = "resolve",
        .priority = POOL_BACKGROUND,
        .batch_max = 1,
        .run_batch = run_jobs,
    };
    pool_add_class(pool, &resolver->cls);
}

void link_resolve_start(struct link_resolver *resolver, struct link_resolve *resolve)
{
    pool_submit(&resolver->cls, &resolve->job);
}
