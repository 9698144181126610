/*
 * Addresses of members: "host:port" as the operator wrote it, to socket addresses.
 *
 * host is a name, an IPv4 address, or an IPv6 address in brackets ("[2001:db8::1]:7000"). Addresses
 * are understood at once; names are looked up by getaddrinfo on a thread of a pool, since that
 * blocks for as long as the name servers like. Give it a pool of its own, of one or two threads:
 * dead name servers must not take the threads of others, and pool_destroy waits for the look-ups
 * that have begun.
 */
#ifndef TIERRA_REPLICATION_LINK_LINK_RESOLVE_H
#define TIERRA_REPLICATION_LINK_LINK_RESOLVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/io/mailbox.h"
#include "engine/io/pool.h"

/* Longest text of an address with its terminating zero: 255 of a name, 2 brackets, ":65535". */
#define LINK_ADDRESS_BYTES_MAX 264u
/* The same for an address that is not a name. */
#define LINK_PEER_BYTES_MAX 64u
/* Further addresses of a name are not tried. */
#define LINK_ADDRS_MAX 8u

struct link_addr {
    struct sockaddr_storage addr;
    socklen_t len;
};

/* "192.0.2.1:7000" or "[2001:db8::1]:7000". */
void link_addr_format(const struct sockaddr_storage *addr, char out[LINK_PEER_BYTES_MAX]);

/* The look-ups of a process. The caller's struct, to outlive the pool. */
struct link_resolver {
    struct pool_class cls;
};

/* Adds its class of jobs to `pool`. */
void link_resolver_init(struct link_resolver *resolver, struct pool *pool);

/* One look-up; embedded in what waits for it, untouched until its job's mail was delivered. */
struct link_resolve {
    struct pool_job job;
    char host[LINK_ADDRESS_BYTES_MAX];
    char port[6];
    bool passive; /* For listening; host may then be "*": every address of this machine. */
    /* The result: 0, -ERR_NOT_FOUND, -EAGAIN (the name servers do not answer) or another -errno. */
    int err;
    uint32_t addrs_count;
    struct link_addr addrs[LINK_ADDRS_MAX];
};

/*
 * Takes "host:port" apart into `out`, whose result it sets if the host is an address. Returns 1:
 * an address, the result is there; 0: a name, to be looked up; -ERR_SYNTAX: not an address.
 */
MUST_USE int link_resolve_parse(const char *address, struct link_resolve *out);

/* Looks the name up on the calling thread: blocks. The result is in `resolve`. */
void link_resolve_now(struct link_resolve *resolve);

/* The same on the pool; job.mail.fn and job.reply_to are the caller's. */
void link_resolve_start(struct link_resolver *resolver, struct link_resolve *resolve);

#endif
