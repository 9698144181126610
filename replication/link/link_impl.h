/*
 * What the files of a link share.
 *
 *     link_hub.c     the hub: its lists, its timer, shutdown
 *     link_dial.c    resolving, connecting, the dialer's handshake
 *     link_accept.c  guests, the acceptor's handshake
 *     link_recv.c    bytes in: messages of the handshake, frames, pause
 *     link_send.c    bytes out: the queue, sealing, sends
 *     link.c         making, ending and freeing a link
 *
 * The life of a link:
 *
 *     DIALING --> SHAKING --> AGREEING --> READY --> CLOSING --> ENDED --> freed
 *                 (accepted)  (acceptor)
 *
 * DIALING looks up and connects; SHAKING waits for messages of the handshake; AGREEING is the
 * acceptor's, which waits for the dialer's first frame. CLOSING sends what is queued, ends its
 * direction and waits for the peer to end the other. ENDED waits for the reactor to give the socket
 * back. Every state may go to ENDED, and those with a connection to CLOSING. From CLOSING on
 * nothing is delivered but on_closed.
 */
#ifndef TIERRA_REPLICATION_LINK_LINK_IMPL_H
#define TIERRA_REPLICATION_LINK_LINK_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "engine/base/buf.h"
#include "engine/base/list.h"

#include "engine/io/reactor.h"

#include "replication/link/link.h"
#include "replication/link/seal.h"
#include "replication/link/shake.h"

#define LINK_CONNECT_MS   5000u
#define LINK_HANDSHAKE_MS 5000u
#define LINK_CLOSE_MS     2000u
/* What is sealed for one send; and what one link sends in a turn before others get theirs. */
#define LINK_SEND_BYTES_MAX (256u << 10)
#define LINK_TURN_BYTES_MAX (4u << 20)
/* What is kept of the send buffers' memory when they are empty. */
#define LINK_SEND_BYTES_KEPT (256u << 10)
/* After so long without an acknowledgement from the peer's kernel the connection is broken. */
#define LINK_SILENCE_MS 30000u
/* Between two tries of the kernel to get bytes through that were lost (where it can be told so). */
#define LINK_RETRANSMIT_MS 1000u
/* One try at one address: the next one begins anew, where the kernel's would wait ever longer. */
#define LINK_ATTEMPT_MS 3000u

enum link_state {
    LINK_DIALING,
    LINK_SHAKING,
    LINK_AGREEING,
    LINK_READY,
    LINK_CLOSING,
    LINK_ENDED,
};

struct link_hub {
    struct reactor *reactor;
    struct mailbox *mailbox;
    struct link_resolver *resolver;
    const struct link_secret *secret;
    uint8_t nickname[LINK_NICKNAME_BYTES_MAX];
    size_t nickname_len;
    uint32_t connect_ms;
    uint32_t handshake_ms;
    uint32_t close_ms;
    bool stopped;
    struct list links;    /* All that are not freed. */
    struct list unproven; /* Accepted and never proven, those that close too; oldest first. */
    uint32_t unproven_count;
    struct list dirty; /* Have something to send. */
    struct list later; /* Have something to tell, from the loop: see link_run_later. */
    struct reactor_timer timer;
    uint32_t lookups; /* That a pool has. */
    struct link_metrics metrics;
};

/* A look-up outlives the link that it was for, if that ends. */
struct link_lookup {
    struct link_resolve resolve;
    struct link_hub *hub;
    struct link *link; /* NULL: nobody waits any more. */
};

struct link {
    struct reactor_sock sock;
    struct link_hub *hub;
    const struct link_ops *ops; /* NULL: dropped, no callbacks. */
    void *ctx;
    enum link_state state;
    enum link_kind kind;
    uint16_t shard;
    bool dialer;
    bool sock_open;  /* The reactor has the socket. */
    bool paused;     /* By the user. */
    bool starved;    /* A link_send found no room. */
    bool ended;      /* The peer has ended its direction. */
    bool shut;       /* We have ended ours. */
    bool challenged; /* The dialer: the challenge has come. */
    bool proven;     /* The acceptor: the proof was right. */
    struct list_link in_links;
    struct list_link in_unproven;
    struct list_link in_dirty;
    struct list_link in_later;
    struct reactor_timer timer; /* Of the present state; in ENDED without a socket: to be freed. */
    size_t frame_bytes_max;
    size_t queue_bytes_max;

    /* The handshake; freed when it is over. */
    struct shake *shake;
    struct buf message; /* A message that came in pieces; later, bytes that came during a pause. */
    uint8_t identity[LINK_IDENTITY_BYTES_MAX];
    size_t identity_len;
    uint8_t peer_identity[LINK_IDENTITY_BYTES_MAX];
    size_t peer_identity_len;
    char *refusal; /* For link_refuse. */

    struct seal_reader reader;

    /*
     * `queue` is filled while `flight` is sent: flight[0 .. sent) is in the kernel's hands, up to
     * `sealed` it has its MACs, and that is what the reactor was asked to send. The first
     * `queue_plain` bytes of `queue` are messages of the handshake, not frames.
     */
    struct buf queue;
    struct buf flight;
    size_t queue_plain;
    size_t sealed;
    size_t sent;
    struct iovec iov;
    struct seal_writer writer;

    /* Dialing. */
    struct link_lookup *lookup;
    struct link_addr addrs[LINK_ADDRS_MAX];
    uint32_t addrs_count;
    uint32_t addr_index;
    uint64_t connect_until_ms;
    int connect_err; /* Of the last address. */

    char address[LINK_ADDRESS_BYTES_MAX];
    struct link_figures figures;
    int err; /* For on_closed. */
    char why[LINK_WHY_BYTES_MAX];
};

/* ---- link.c ---- */

extern const struct reactor_sock_ops link_sock_ops;

/* NULL options: a guest that is refused. */
struct link *link_create(struct link_hub *hub, const struct link_options *options,
                         const char *address);

/*
 * Ends the link with this outcome, at once, unless it has one already; on_closed comes from the
 * loop. The text begins with the peer's address.
 */
void link_end(struct link *link, int err, const char *format, ...) PRINTF_LIKE(3, 4);

/* Likewise, but what is queued is sent first: for a last word. */
void link_end_after_queue(struct link *link, int err, const char *format, ...) PRINTF_LIKE(3, 4);

/* After WELCOME: refuses the peer by a frame. */
void link_refuse_peer(struct link *link, const char *text);

/* Likewise, the last word being a complaint with the same text. */
void link_complain(struct link *link, int err, const char *format, ...) PRINTF_LIKE(3, 4);

/* In CLOSING: goes on if all is sent. */
void link_closing_step(struct link *link);

/* The loop has given the socket back, or there was none. Frees the link. */
void link_finish(struct link *link);

/* The timer of the present state. */
void link_start_timer(struct link *link, uint64_t at_ms);

/* The handshake is over: keys, figures, on_ready. */
void link_become_ready(struct link *link);

/* Both have the keys of the frames from here on. */
void link_use_keys(struct link *link);

/* Copies at most `len` bytes of `text`, printable ones as they are, others as '?', with a zero. */
void link_clean_text(struct bytes text, char *out, size_t out_len);

/* ---- link_hub.c ---- */

/* The link needs a call of link_pump at the end of the turn. */
void link_mark_dirty(struct link *link);
/* The link needs a call of link_run_later from the loop. */
void link_mark_later(struct link *link);

/* ---- link_send.c ---- */

/* Queues a message of the handshake, and sends it. */
void link_say(struct link *link, const uint8_t *message, size_t len);
/* Queues a frame whatever the limit of the queue. Returns 0 or -ENOMEM, and then nothing happened.
 */
MUST_USE int link_put_frame(struct link *link, enum seal_kind kind, struct bytes a, struct bytes b);
/* Sends what it can. No callback of the user's. */
void link_pump(struct link *link);
void link_on_sent(struct reactor_sock *s, int err);
/* What was queued is gone, for the figures. */
void link_forget_queue(struct link *link);

/* ---- link_recv.c ---- */

void link_on_data(struct reactor_sock *s, const uint8_t *ptr, size_t len);
void link_on_end(struct reactor_sock *s, int err);
/* on_room, and what came during a pause. */
void link_run_later(struct link *link);

/* ---- link_dial.c, link_accept.c ---- */

/* Of a new connection. */
void link_set_sock_options(int fd);
void link_on_connect(struct reactor_sock *s, int err);
/* The present address did not answer: the next one. */
void link_dial_next(struct link *link);
/* Time is up for the look-up or the present address. */
void link_dial_timeout(struct link *link);
/* One whole message of the handshake. */
void link_dialer_hears(struct link *link, struct bytes message);
void link_acceptor_hears(struct link *link, struct bytes message);

/* The look-up goes on without the link. */
void link_forget_lookup(struct link *link);
void link_no_longer_unproven(struct link *link);

#endif
