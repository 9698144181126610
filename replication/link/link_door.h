/*
 * The door: listens for links of other members, on the reactor of one shard.
 *
 * It reads the first message of a connection, at most LINK_HELLO_BYTES_MAX, and looks whether it is
 * of this protocol, of this group and made with its secret; then it gives the connection as a
 * link_guest to the caller, who passes it to the thread it is for. Until then nothing was sent,
 * except one message that says why somebody is not let in: unknown version, wrong secret, other
 * group. Whoever sends something else (HTTP, RESP) is closed without an answer.
 *
 * At most LINK_UNPROVEN_MAX connections wait here for their first message, each for handshake_ms;
 * when one more comes the oldest is closed. What is turned away is logged, at most one line a
 * second.
 *
 * Thread: the reactor's, except open and stop, see there.
 */
#ifndef TIERRA_REPLICATION_LINK_LINK_DOOR_H
#define TIERRA_REPLICATION_LINK_LINK_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/metric.h"

#include "replication/link/link.h"

struct link_door;

#define LINK_HELLO_BYTES_MAX 1024u

/* The guest is the callee's from here on: post it, link_accept, link_refuse or link_guest_drop it.
 */
typedef void (*link_guest_fn)(void *ctx, struct link_guest *take_guest);

struct link_door_options {
    struct reactor *reactor;
    const struct link_secret *secret; /* Must outlive the door. */
    struct bytes nickname;            /* As in link_hub_options; copied. */
    /* "host:port"; host may be "*". Port 0: any, for tests. All addresses of a name are used. */
    const char *address;
    uint32_t handshake_ms; /* 0: 5,000. */
    link_guest_fn on_guest;
    void *ctx;
};

/*
 * Listens. Returns 0; -ERR_SYNTAX, -ERR_NOT_FOUND or -errno, and then `why` (cut to `why_len` bytes
 * with its zero) names the address. Before the reactor runs, or on its thread; it blocks if the
 * host is a name.
 */
MUST_USE int link_door_open(const struct link_door_options *options, struct link_door **out,
                            char *why, size_t why_len);

/* The port that it listens on. */
uint16_t link_door_port(const struct link_door *door);

/* Stops listening and closes what waits; run the loop until link_door_empty. No on_guest comes. */
void link_door_stop(struct link_door *door);
bool link_door_empty(const struct link_door *door);

/* Must be stopped and empty, or have never run. NULL is allowed. */
void link_door_destroy(struct link_door *door);

/* clang-format off */
#define LINK_DOOR_METRICS(X)                                                                     \
    X(accepts,     METRIC_COUNTER, "Connections accepted.")                                      \
    X(guests,      METRIC_COUNTER, "Connections that were let in.")                              \
    X(strangers,   METRIC_COUNTER, "Connections that did not speak this protocol.")              \
    X(refused,     METRIC_COUNTER, "Connections with another version, secret or group.")         \
    X(timeouts,    METRIC_COUNTER, "Connections that said nothing for too long.")                \
    X(crowded_out, METRIC_COUNTER, "Connections that had to go for newer ones.")                 \
    X(waiting,     METRIC_GAUGE,   "Connections that have not said who they are.")
/* clang-format on */
METRIC_STRUCT(link_door_metrics, LINK_DOOR_METRICS);

const struct link_door_metrics *link_door_metrics(const struct link_door *door);

#endif
