/* Listening sockets; listen.h tells which. */
#include "server/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "server/acl_users.h"
#include "server/cluster.h"
#include "server/config.h"
#include "server/node.h"
#include "server/shard.h"

/* Words of bind, at most (config_value.c). */
#define LISTEN_ADDRESSES_MAX 16

static bool is_loopback(int fd)
{
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);

    if (getpeername(fd, (struct sockaddr *)&addr, &len) != 0)
        return false;
    if (addr.ss_family == AF_INET)
        return ntohl(((struct sockaddr_in *)(void *)&addr)->sin_addr.s_addr) >> 24 == 127;
    if (addr.ss_family == AF_INET6) {
        const struct in6_addr *a = &((struct sockaddr_in6 *)(void *)&addr)->sin6_addr;
        return IN6_IS_ADDR_LOOPBACK(a) || (IN6_IS_ADDR_V4MAPPED(a) && a->s6_addr[12] == 127);
    }
    return true;
}

/* protected-mode: without a password only this machine may connect. */
static bool refused(const struct node *node, int fd, bool local)
{
    static const char text[] =
        "-DENIED Tierra is running in protected mode because protected mode is enabled and no "
        "password is set for the default user. In this mode connections are only accepted from "
        "the loopback interface. Set requirepass, or protected-mode no if the network is "
        "trusted.\r\n";

    if (!node->cfg->protected_mode || !node->users->first->nopass || local || is_loopback(fd))
        return false;
    IGNORE_RESULT(write(fd, text, sizeof(text) - 1)); /* The client may be gone already. */
    (void)close(fd);
    return true;
}

/* maxclients holds for the node. */
static bool full(const struct node *node, int fd)
{
    static const char text[] = "-ERR max number of clients reached\r\n";

    if (atomic_load_explicit(&node->conns_count, memory_order_relaxed) <
        (uint64_t)node->cfg->maxclients)
        return false;
    IGNORE_RESULT(write(fd, text, sizeof(text) - 1)); /* The client may be gone already. */
    (void)close(fd);
    return true;
}

/* The shard with the fewest connections; among equals the next in turn. */
static struct shard *next_shard(struct node *node)
{
    struct shard *best = node->shards[0];
    uint32_t least = UINT32_MAX;

    CHECK(node->shards_count != 0);
    for (uint32_t i = 0; i < node->shards_count; i++) {
        struct shard *sh = node->shards[(node->next_shard + i) % node->shards_count];
        const uint32_t count = atomic_load_explicit(&sh->conns_given, memory_order_relaxed);
        if (count < least) {
            least = count;
            best = sh;
        }
    }
    node->next_shard = (best->id + 1) % node->shards_count;
    return best;
}

static void on_accept(struct reactor_listener *l, int fd)
{
    const struct node_listener *nl = container_of(l, struct node_listener, l);
    struct node *node = nl->node;
    const bool local = nl->local;

    if (refused(node, fd, local) || full(node, fd)) {
        node->shards[0]->stats.rejected_connections++;
        return;
    }
    if (!local && node->cfg->tcp_keepalive > 0) {
        const int on = 1, seconds = (int)node->cfg->tcp_keepalive;
        (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &seconds, sizeof(seconds));
    }
    shard_accept(nl->shard != NULL ? nl->shard : next_shard(node), fd, local);
}

/* Ports, and Unix sockets: one a shard, or one. */
static uint32_t doors(const struct node *node)
{
    return node->cfg->clustering_policy == CLUSTERING_OSS ? node->shards_count : 1;
}

void listen_init(struct node *node)
{
    node->listeners_max = (LISTEN_ADDRESSES_MAX + 1) * doors(node);
    node->listeners = mem_zalloc_array(node->listeners_max, sizeof(*node->listeners));
}

static int add(struct node *node, uint32_t door, int fd, bool local)
{
    struct shard *sh = node->shards[0];

    if (node->listeners_count == node->listeners_max)
        return -ERR_LIMIT;
    struct node_listener *nl = &node->listeners[node->listeners_count];
    *nl = (struct node_listener){.node = node, .fd = fd, .local = local};
    if (node->cluster != NULL)
        nl->shard = node->shards[door];
    const int err = reactor_listen(sh->reactor, &nl->l, fd, on_accept);
    if (err == 0)
        node->listeners_count++;
    return err;
}

static int listen_tcp(struct node *node, uint32_t door, const char *host)
{
    char port[8];
    const int on = 1;
    struct addrinfo *found = NULL;
    const struct addrinfo hints = {
        .ai_family = strchr(host, ':') != NULL || strcmp(host, "::*") == 0 ? AF_INET6 : AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_flags = AI_PASSIVE};
    const char *node_name = strcmp(host, "*") == 0     ? "0.0.0.0"
                            : strcmp(host, "::*") == 0 ? "::"
                                                       : host;

    (void)snprintf(port, sizeof(port), "%u", cluster_port(node->cfg, door));
    if (getaddrinfo(node_name, port, &hints, &found) != 0)
        return -EADDRNOTAVAIL;
    int err = -EADDRNOTAVAIL;
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0) {
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
        if (found->ai_family == AF_INET6)
            (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
        err = bind(fd, found->ai_addr, found->ai_addrlen) == 0 &&
                      listen(fd, (int)node->cfg->tcp_backlog) == 0
                  ? add(node, door, fd, false)
                  : -errno;
        if (err != 0)
            (void)close(fd);
    } else {
        err = -errno;
    }
    freeaddrinfo(found);
    return err;
}

/* False: too long. */
static bool unix_path(const struct node *node, uint32_t door, struct sockaddr_un *out)
{
    char number[16] = "";

    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (door != 0)
        (void)snprintf(number, sizeof(number), ".%u", door);
    const int len =
        snprintf(out->sun_path, sizeof(out->sun_path), "%s%s", node->cfg->unixsocket, number);
    return len > 0 && (size_t)len < sizeof(out->sun_path);
}

static int listen_unix(struct node *node, uint32_t door)
{
    struct sockaddr_un addr;
    const char *path = addr.sun_path;

    if (!unix_path(node, door, &addr))
        return -ENAMETOOLONG;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    (void)unlink(path);
    /* Nobody may connect before the mode is set. */
    const mode_t mask = umask(0177);
    int err = bind(fd, (struct sockaddr *)&addr, sizeof(addr)) == 0 ? 0 : -errno;
    (void)umask(mask);
    if (err == 0 && node->cfg->unixsocketperm != 0 &&
        chmod(path, (mode_t)node->cfg->unixsocketperm) != 0)
        err = -errno;
    if (err == 0 && listen(fd, (int)node->cfg->tcp_backlog) != 0)
        err = -errno;
    if (err == 0)
        err = add(node, door, fd, true);
    if (err != 0)
        (void)close(fd);
    return err;
}

/* One port at all addresses. */
static int open_port(struct node *node, uint32_t door, char *why, size_t why_len)
{
    char words[4096];
    char *rest = NULL;

    (void)snprintf(words, sizeof(words), "%s", node->cfg->bind);
    for (char *host = strtok_r(words, " ", &rest); host != NULL;
         host = strtok_r(NULL, " ", &rest)) {
        const bool optional = host[0] == '-';
        const int err = listen_tcp(node, door, host + optional);
        if (err == 0 || (optional && (err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT)))
            continue;
        (void)snprintf(why, why_len,
                       "cannot listen on %s port %u: %s; choose another with port "
                       "or bind",
                       host + optional, cluster_port(node->cfg, door), err_str(err));
        return err;
    }
    return 0;
}

static int open_door(struct node *node, uint32_t door, char *why, size_t why_len)
{
    int err = node->cfg->port != 0 ? open_port(node, door, why, why_len) : 0;

    if (err != 0 || node->cfg->unixsocket[0] == '\0')
        return err;
    err = listen_unix(node, door);
    if (err != 0)
        (void)snprintf(why, why_len, "cannot listen on unixsocket %s: %s", node->cfg->unixsocket,
                       err_str(err));
    return err;
}

int listen_open(struct node *node, char *why, size_t why_len)
{
    for (uint32_t door = 0; door < doors(node); door++) {
        const int err = open_door(node, door, why, why_len);
        if (err != 0)
            return err;
    }
    if (node->listeners_count == 0) {
        (void)snprintf(why, why_len, "nothing to listen on: port is 0 and there is no unixsocket");
        return -EADDRNOTAVAIL;
    }
    return 0;
}

void listen_close(struct node *node)
{
    for (uint32_t i = 0; i < node->listeners_count; i++) {
        reactor_unlisten(node->shards[0]->reactor, &node->listeners[i].l);
        (void)close(node->listeners[i].fd);
    }
    node->listeners_count = 0;
    for (uint32_t door = 0; door < doors(node) && node->cfg->unixsocket[0] != '\0'; door++) {
        struct sockaddr_un addr;
        if (unix_path(node, door, &addr))
            (void)unlink(addr.sun_path);
    }
}
