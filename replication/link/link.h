/*
 * Links: authenticated channels of frames between members of a group, over TCP.
 *
 * A link is dialed by one side (link_dial) and accepted by the other: link_door.h listens, reads
 * the first message, and gives a link_guest to the caller, who passes it to the thread of the right
 * shard, where link_accept goes on. Both sides prove that they know the secret of the group, show
 * each other an identity, which is bytes of the caller's, and may refuse the other with a text that
 * it gets to see. From then on each frame is authenticated: a frame that was changed, cut,
 * repeated, left out or put elsewhere ends the link. Nothing is encrypted. The messages, byte by
 * byte: shake.h (handshake) and seal.h (frames).
 *
 *     link_dial   -> resolve, connect, handshake -> on_peer -> on_ready -> on_frame ... on_closed
 *     link_accept ->                   handshake -> on_peer -> on_ready -> on_frame ... on_closed
 *
 * A link does not come back by itself: its owner dials again, after a pause of its own.
 *
 * Thread: a hub holds the links of one reactor; it, its links and their callbacks belong to that
 * reactor's thread. Callbacks come from the loop only, never from within a call, and every function
 * but link_hub_destroy may be called from every callback.
 *
 * Lifetime: a link is its hub's. on_closed is the last callback, and the pointer is dead once it
 * has returned. link_drop ends a link without that callback; then the pointer is dead at once.
 */
#ifndef TIERRA_REPLICATION_LINK_LINK_H
#define TIERRA_REPLICATION_LINK_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/metric.h"

#include "engine/io/mailbox.h"

#include "replication/link/link_resolve.h"

struct link;
struct link_hub;
struct link_secret;
struct reactor;

/* ---- limits ---- */

#define LINK_IDENTITY_BYTES_MAX 256u
#define LINK_NICKNAME_BYTES_MAX 64u /* Without a terminating zero. */
/* Longest text of a refusal or goodbye, without zero; what is not printable becomes '?'. */
#define LINK_TEXT_BYTES_MAX 200u
/* Longest `why` of on_closed, with its terminating zero. */
#define LINK_WHY_BYTES_MAX 512u
/* Longest frame that any link may be set up for: the longest of wire.h. */
#define LINK_FRAME_BYTES_MAX ((size_t)(577u << 20) + 16u)
/* Accepted links of a hub that have not proved themselves; the oldest goes when one more comes. */
#define LINK_UNPROVEN_MAX 64u

/* What goes over the link: part of the handshake, so that the two cannot be taken for another. */
enum link_kind {
    LINK_CONTROL = 1, /* Node to node; the shard is 0. */
    LINK_SHARD = 2,   /* Shard to the same shard. */
    LINK_KIND_END
};

/* ---- the hub: the links of one thread ---- */

struct link_hub_options {
    struct reactor *reactor;
    /* Results of look-ups come here: drained by the owner on the reactor's thread. */
    struct mailbox *mailbox;
    struct link_resolver *resolver; /* NULL: only addresses can be dialed, no names. */
    const struct link_secret *secret;
    struct bytes nickname; /* Of the group: 1 .. LINK_NICKNAME_BYTES_MAX bytes; copied. */
    /* Limits of time; 0: the default. */
    uint32_t connect_ms;   /* Name to connection, all addresses together: 5,000. */
    uint32_t handshake_ms; /* First to last message: 5,000. */
    uint32_t close_ms;     /* For what is queued, and the peer's end: 2,000. */
};

/* All that is pointed to must outlive the hub. Never fails. */
struct link_hub *link_hub_create(const struct link_hub_options *options);

/*
 * Sends what was queued on all links since the last call: for the end of a turn. Without it the
 * same happens by a timer, a millisecond late.
 */
void link_hub_flush(struct link_hub *hub);

/*
 * For shutdown: drops all links without a callback (after what is queued, if close_ms allows, and
 * with `text` as goodbye). No link can be made any more. Run the loop and drain the mailbox until
 * link_hub_empty.
 */
void link_hub_stop(struct link_hub *hub, const char *text);

/* No link, socket, timer or look-up is left. */
bool link_hub_empty(const struct link_hub *hub);

/* Must be empty. NULL is allowed. */
void link_hub_destroy(struct link_hub *hub);

/* clang-format off */
#define LINK_METRICS(X)                                                                          \
    X(dials,         METRIC_COUNTER, "Links dialed.")                                            \
    X(accepts,       METRIC_COUNTER, "Connections accepted for a handshake.")                    \
    X(ready,         METRIC_COUNTER, "Handshakes that succeeded.")                               \
    X(refused,       METRIC_COUNTER, "Peers that were refused here.")                            \
    X(auth_failures, METRIC_COUNTER, "Handshakes and frames whose MAC was wrong.")               \
    X(frames_in,     METRIC_COUNTER, "Frames received.")                                         \
    X(frames_out,    METRIC_COUNTER, "Frames queued to be sent.")                                \
    X(bytes_in,      METRIC_COUNTER, "Bytes received, handshake and framing included.")          \
    X(bytes_out,     METRIC_COUNTER, "Bytes given to the kernel, likewise.")                     \
    X(sends,         METRIC_COUNTER, "Sends in which they went.")                                \
    X(open,          METRIC_GAUGE,   "Links, in whatever state.")                                \
    X(queued_bytes,  METRIC_GAUGE,   "Bytes queued and not yet given to the kernel.")
/* clang-format on */
METRIC_STRUCT(link_metrics, LINK_METRICS);

const struct link_metrics *link_hub_metrics(const struct link_hub *hub);

/* ---- guests: accepted connections on their way to a shard ---- */

/*
 * A connection whose first message has arrived, is well formed, of this group and made by someone
 * who knows the secret; but it may be a repetition of an old one, so that nothing may be decided by
 * it except which thread goes on. Made by link_door.h; whoever has it passes it on, or ends it.
 */
struct link_guest {
    struct mail mail; /* The owner's of the moment: to post it to a shard. */
    enum link_kind kind;
    uint16_t shard;
    struct bytes identity;          /* As claimed; valid as long as the guest. */
    char peer[LINK_PEER_BYTES_MAX]; /* Address of the other end, as text. */
    int fd;
    size_t hello_len;
    uint8_t hello[]; /* The first message. */
};

/* Closes the connection of a guest for whom nobody is there. NULL is allowed. Any thread. */
void link_guest_drop(struct link_guest *take_guest);

/* ---- links ---- */

struct link_ops {
    /*
     * The peer has proved that it knows the secret, and link_peer_identity is what it says of
     * itself. NULL: welcome; else a text (copied, LINK_TEXT_BYTES_MAX) with which it is refused:
     * on_closed follows with -ERR_REFUSED. Not NULL.
     */
    const char *(*on_peer)(struct link *link, void *ctx);
    /* Both sides have agreed; link_send works from here on. Not NULL. */
    void (*on_ready)(struct link *link, void *ctx);
    /*
     * A frame as it was given to link_send at the other end; valid during the call, no alignment.
     * May be empty. Not NULL.
     */
    void (*on_frame)(struct link *link, void *ctx, struct bytes frame);
    /*
     * The end, whatever state it was in. `why`: a text for log and status that names the peer's
     * address and what is to be done; valid during the call. Not NULL.
     *
     *     -ERR_CANCELLED  link_close here
     *     -ERR_CLOSED     the peer said goodbye; its text is in `why`
     *     -ERR_REFUSED    the peer refused us, or we it; the text is in `why`
     *     -ERR_AUTH       not the same secret; or a frame with a wrong MAC, number or length
     *     -ERR_FORMAT     the peer speaks another version of this protocol
     *     -ERR_PROTOCOL   the peer is no member (another program), or does not keep to the rules
     *     -ERR_LIMIT      a frame beyond frame_bytes_max
     *     -ERR_TRUNCATED  the connection ended without a goodbye
     *     -ERR_NOT_FOUND  the name does not resolve; -ERR_SYNTAX: the text is no address
     *     -ETIMEDOUT, -ECONNREFUSED, -ECONNRESET, .. the connection failed
     */
    void (*on_closed)(struct link *link, void *ctx, int err, const char *why);
    /* There is room in the queue again, after link_send had said -ERR_LIMIT. NULL: not needed. */
    void (*on_room)(struct link *link, void *ctx);
};

struct link_options {
    const struct link_ops *ops; /* Must outlive the link. */
    void *ctx;
    enum link_kind kind;    /* link_accept: must be the guest's, or the guest is refused. */
    uint16_t shard;         /* The same. 0 for LINK_CONTROL. */
    struct bytes identity;  /* Our own; at most LINK_IDENTITY_BYTES_MAX; copied. */
    size_t frame_bytes_max; /* Of frames received and sent: 1 .. LINK_FRAME_BYTES_MAX. */
    size_t queue_bytes_max; /* Of the send queue; one frame fits an empty queue in any case. */
};

/*
 * Starts a link to "host:port" (link_resolve.h; copied). All errors come by on_closed. NULL after
 * link_hub_stop.
 */
struct link *link_dial(struct link_hub *hub, const char *address,
                       const struct link_options *options);

/*
 * Goes on with a guest, on the thread of the hub. All errors come by on_closed. NULL, and the guest
 * is dropped, after link_hub_stop.
 */
struct link *link_accept(struct link_hub *hub, struct link_guest *take_guest,
                         const struct link_options *options);

/*
 * For a guest that has no place here ("no such shard"): completes the handshake up to the proof and
 * refuses with `text` (copied), so that a stranger who repeats an old message learns nothing.
 */
void link_refuse(struct link_hub *hub, struct link_guest *take_guest, const char *text);

/*
 * Queues a copy of `frame` (0 .. frame_bytes_max bytes). It leaves with the next link_flush or
 * link_hub_flush. Returns 0; -ERR_LIMIT: no room now; -ERR_CLOSED: not ready, or no longer;
 * -ENOMEM. After an error nothing was queued. O(length).
 */
MUST_USE int link_send(struct link *link, struct bytes frame);

/* Sends what is queued, in one system call if it is not much. The on_closed of a failure is later.
 */
void link_flush(struct link *link);

/* Bytes, framing included, that are queued and not yet in the kernel's hands. */
size_t link_queued_bytes(const struct link *link);

/*
 * No on_frame from now on until the resume; the peer has to wait once the kernel's buffers are
 * full. A peer that goes away is noticed only after the resume.
 */
void link_pause(struct link *link);
/* Frames that have arrived in the meantime are delivered from the loop. */
void link_resume(struct link *link);

/*
 * Ends the link after what is queued, with `text` as goodbye (copied; NULL: none is said). No
 * on_frame comes after this; on_closed comes with -ERR_CANCELLED once the peer has ended its side,
 * close_ms at most. A second call does nothing.
 */
void link_close(struct link *link, const char *text);

/* Like link_close(link, NULL), but there is no callback any more: the pointer is dead. */
void link_drop(struct link *link);

/* ---- what is known of a link ---- */

bool link_is_ready(const struct link *link);
bool link_is_dialer(const struct link *link);
/* Empty before on_peer. Valid as long as the link. */
struct bytes link_peer_identity(const struct link *link);
/* What was dialed, or the address of the guest. Valid as long as the link. */
const char *link_peer_address(const struct link *link);

struct link_figures {
    uint64_t frames_in;
    uint64_t frames_out;
    uint64_t bytes_in; /* Framing included. */
    uint64_t bytes_out;
    uint64_t queued_bytes;
    uint64_t ready_at_ms; /* On the scale of reactor_now_ms; 0: not yet. */
    uint64_t heard_at_ms; /* Of the last byte received. */
};

void link_figures(const struct link *link, struct link_figures *out);

#endif
