/*
 * The replication of one shard with the same shard of its peers, as a pure state machine.
 *
 * No I/O, no clock, no thread, no global state: everything comes in through the functions below and
 * goes out through struct core_host, so that the same code runs under a shard's reactor and in a
 * simulator of a whole group. README.md tells the rules and why they hold.
 *
 *     local batch logged, log durable, store covers ->  core  -> send, close
 *     link up, frame, link down                     ->        -> can_apply, apply
 *     records of the log                            ->        -> fetch
 *     time                                          ->        -> event
 *
 * Host functions are called from within these functions only, and must not call back. Owned by one
 * shard's thread.
 */
#ifndef TIERRA_REPLICATION_GROUP_CORE_H
#define TIERRA_REPLICATION_GROUP_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/op.h"
#include "engine/value/vv.h"

#include "replication/group/acked.h"
#include "replication/group/members.h"
#include "replication/group/posv.h"
#include "replication/group/wire.h"

struct core;

/* --- what the host does --- */

/* Records of `origin` from `from_seq` to at most `to_seq`, about `bytes_max` bytes, at least one.
 */
struct core_fetch {
    uint64_t id;
    uint8_t peer; /* That it is for: a later one for the same peer makes this one worthless. */
    uint8_t origin;
    uint64_t from_seq;
    uint64_t to_seq;
    size_t bytes_max;
};

struct core_record {
    uint64_t seq;
    uint64_t hlc;
    struct bytes bytes; /* The batch, as op.h has it. */
};

enum core_event_kind {
    CORE_LINK_READY,   /* Greeted. */
    CORE_LINK_CLOSED,  /* By the core, or with a BYE of the peer: reason, detail. */
    CORE_OWN_LOST,     /* A peer has batches of ours that we lost: writes are refused. */
    CORE_OWN_REGAINED, /* They are back. */
    CORE_FORKED,       /* A peer has other batches of ours: only a new incarnation helps. */
    CORE_SKEW_WARN,    /* detail: the offset to a peer in ms, signed. */
    CORE_SKEW_FENCED,  /* At least two peers agree: writes are refused. */
    CORE_SKEW_OK,
    CORE_CLOCK_DOUBTED,  /* The wall clock is not followed; detail: how far it is off, signed. */
    CORE_CLOCK_FOLLOWED, /* Again. */
    CORE_PEER_BEHIND,    /* Beyond the retention: its log goes, it needs a resync. */
    CORE_SELF_BEHIND,    /* The same of us: the peer has trimmed what we need. */
    CORE_BEYOND_SEAL,    /* We have batches of an origin that was sealed before them: no writes. */
    CORE_PEER_BACK,      /* A peer that was behind has what the log does not reach back to. */
    CORE_RESYNC,         /* What we lack is in nobody's log: the rows of a peer are asked for. */
                         /* detail 1: to take the place of ours, which hold too much. */
    CORE_RESYNCED,       /* They are joined to ours. */
    CORE_ASKED,          /* After a start: detail: peers that have not said what they have of us. */
    CORE_WENT_BACK,      /* A peer knows that we had more: this is an older copy. No writes. */
    CORE_PEER_FULL,      /* A peer has no room for batches: they are kept for it. */
    CORE_PEER_ROOM,      /* It has room again. */
};

struct core_event {
    uint8_t kind; /* enum core_event_kind */
    uint8_t peer;
    uint8_t reason; /* enum wire_reason */
    uint64_t detail;
};

struct core_host {
    /* Queues a frame; the bytes are borrowed. What the core queues is bounded by its options. */
    void (*send)(void *ctx, uint8_t peer, struct bytes frame);
    /* Ends the link, after what is queued. For the core it is down already. */
    void (*close)(void *ctx, uint8_t peer);
    /*
     * Whether the batch can be logged and applied now: 0; -ERR_BUSY: asked again later; another
     * error: never by this host (-ERR_UNSUPPORTED, -ERR_CORRUPT): the link that brought it ends.
     */
    int (*can_apply)(void *ctx, const struct batch *batch, struct bytes bytes);
    /*
     * Logs the batch and merges it into the keyspace: cannot fail after can_apply said yes. The
     * host's HLC observes the batch's. Returns the LSN. The batch may be of our own origin: one
     * that was lost here; the next local batch then comes after it.
     */
    uint64_t (*apply)(void *ctx, const struct batch *batch, struct bytes bytes);
    /*
     * The group was emptied: all keys go, and local batches get this flush epoch from now on. A
     * batch of a lower one is still given to apply: it is logged and has no other effect. A host
     * that takes its time for it says -ERR_BUSY to can_apply until then.
     */
    void (*flush)(void *ctx, uint32_t flush);
    /* Starts reading records; core_fetched brings them, never from within. */
    void (*fetch)(void *ctx, const struct core_fetch *fetch);
    void (*event)(void *ctx, const struct core_event *event);
    /*
     * Full sync, as donor: makes a checkpoint for a peer (core_sync_opened), reads the rows of a
     * range behind a key, of those buckets only whose sums are not the same here (core_sync_rows;
     * about `bytes_max` bytes, at least one row unless they are the last), drops the checkpoint.
     * `ask` borrows from the call. A checkpoint outlives the link for a while; what was read before
     * is read once more then.
     */
    void (*sync_open)(void *ctx, uint8_t peer, uint32_t id);
    void (*sync_read)(void *ctx, uint8_t peer, const struct wire_sync_ask *ask, size_t bytes_max);
    void (*sync_close)(void *ctx, uint8_t peer);
    /*
     * As joiner: what sync_put brings from now on is of one checkpoint. Also when a flush, rows
     * that made no sense or a donor that is gone make it begin anew: then all that sync_put has
     * brought is thrown away. Of a delta resync (core_resyncing) this member has rows, and is about
     * to be given all rows of a peer: it keeps its own, which stay what counts after a crash, and
     * puts aside what is brought, until sync_finish. Everything that was applied is durable.
     */
    void (*sync_begin)(void *ctx);
    /*
     * Of a resync, behind sync_begin and a sync_put: sums up what this member has in some slots
     * from `first` on (core_sync_summed). What a peer has the same there is not sent: with the last
     * rows of the range sync_put says which buckets differ, and adds the own rows of the others to
     * what was put aside.
     */
    void (*sync_sum)(void *ctx, uint16_t first);
    /*
     * As joiner: stores rows, which replace what is there (core_sync_stored); then makes all of it
     * durable, with `at` as the covered vector (core_sync_finished), and keeps `newest`
     * (core_options). Rows borrow from the call. In a resync `at` is what the rows put aside have
     * seen, and own rows what core_position says: with `joins` both are made one (row_reconcile),
     * and the covered vector is the greater of both at each origin. Without it own rows go: `at`
     * has all that they have seen. Rows that a flush overtakes are thrown away.
     */
    void (*sync_put)(void *ctx, struct wire_sync_rows *rows);
    void (*sync_finish)(void *ctx, const struct posv *at, const struct posv *newest, bool joins);
};

/* --- limits; 0 means the default --- */

struct core_options {
    uint8_t origin;
    uint16_t shard;
    uint64_t incarnation;
    uint8_t group_id[WIRE_GROUP_ID_BYTES];
    uint32_t flush;        /* Flush epoch. */
    struct posv recovered; /* Applied, and durable, after recovery. */
    uint64_t recovered_lsn;
    struct core_acked acked; /* By core_acked. */
    struct posv newest;      /* Of a full sync: rows may hold what is up to here. */
    uint64_t covered_lsn;    /* At which the store is complete, with its vector. */
    struct posv covered;

    size_t window_bytes;      /* In flight to one peer: 4 MiB. */
    size_t frame_bytes;       /* Target of one BATCHES frame: 64 KiB. */
    size_t parked_bytes_max;  /* Of each origin, waiting here to be applied: 4 MiB. */
    size_t tail_bytes_max;    /* Last own batches in memory, shared by all links: 4 MiB. */
    size_t sync_bytes;        /* Of rows in one piece of a full sync: 1 MiB. */
    uint32_t ack_ms;          /* Least time between two ACKs: 2. */
    uint32_t heartbeat_ms;    /* 100 */
    uint32_t timeout_ms;      /* Silence that ends a link: 5,000. */
    uint32_t relay_ms;        /* Behind for so long: ask another peer: 200. */
    uint32_t ask_ms;          /* A start with a history: how long peers are waited for; 0: not. */
    uint64_t retention_bytes; /* Of log kept for a peer; 0: no bound. */
    uint64_t retention_ms;    /* 0: no bound. */
    uint64_t history_bytes;   /* Of log between two positions that are remembered: 1 MiB. */
    bool resync;              /* The host can do a delta resync. */
    uint32_t sync_id;         /* Random: a donor must not take us for who we were before a start. */
};

#define CORE_WINDOW_BYTES_DEFAULT  (4u << 20)
#define CORE_FRAME_BYTES_DEFAULT   (64u << 10)
#define CORE_PARKED_BYTES_DEFAULT  (4u << 20)
#define CORE_TAIL_BYTES_DEFAULT    (4u << 20)
#define CORE_SYNC_BYTES_DEFAULT    (1u << 20)
#define CORE_HISTORY_BYTES_DEFAULT (1u << 20)
#define CORE_ACK_MS_DEFAULT        2u
#define CORE_HEARTBEAT_MS_DEFAULT  100u
#define CORE_TIMEOUT_MS_DEFAULT    5000u
#define CORE_RELAY_MS_DEFAULT      200u
#define CORE_AHEAD_MS_MAX          60000u /* Batches further in the future park the link. */
#define CORE_SKEW_WARN_MS          100
#define CORE_SKEW_FENCE_MS         500

/* The host and `ctx` outlive the core. */
void core_create(const struct core_options *options, const struct core_host *host, void *ctx,
                 struct core **out);
/* NULL is allowed. */
void core_destroy(struct core *core);

/* --- inputs --- */

struct core_time {
    uint64_t mono_ms;
    uint64_t wall_ms; /* As it is; HLC and lease go by core_clock_ms. */
    /* Every local batch from now on, also after a crash, has a higher HLC. */
    uint64_t hlc;
};

/* At least every 10 ms, and before what happens at a new time. */
void core_tick(struct core *core, const struct core_time *now);

/* What the host has room for; before core_tick. At first there is room. */
enum core_room {
    CORE_ROOM_OK,
    CORE_ROOM_NO_COPY, /* Not for the rows of a peer beside its own: no resync begins. */
    CORE_ROOM_NONE,    /* Not for batches either: can_apply says so, and peers are told. */
};

void core_set_room(struct core *core, enum core_room room);

/*
 * The membership, first and after each change; it contains this member. Links to others than its
 * peers end; after a new epoch all do, and come up again. A sealed origin is taken up to its
 * sealed_seq, from whichever peer has it.
 */
void core_set_members(struct core *core, const struct members *members);

/*
 * The group is to be emptied. Calls the host's flush, if the epoch is new; so does the first batch
 * or greeting with a higher one. Epochs are merged by maximum.
 */
void core_flush(struct core *core, uint32_t flush);
uint32_t core_flush_epoch(const struct core *core);

/*
 * For an origin that is to be sealed: nothing of it is taken any more, until the next
 * core_set_members, but for what the rows of a copy may hold of it already: that is waited for.
 * core_frozen is true when all that was taken is durable: then `*out` is what this member has of
 * it, and vouches for. The highest of all members' is where it is sealed.
 */
void core_freeze(struct core *core, uint8_t origin);
bool core_frozen(const struct core *core, uint8_t origin, struct pos *out);

/* A local batch was logged. The bytes are borrowed. Only while core_may_write says so. */
void core_logged(struct core *core, uint64_t lsn, const struct core_record *record);

/* The log is durable up to `lsn`. */
void core_durable(struct core *core, uint64_t lsn);

/* The store is complete, persistently, up to `lsn`, where all that was applied was `at`. */
void core_covered(struct core *core, uint64_t lsn, const struct posv *at);

/* `origin`: the peer's. */
void core_link_up(struct core *core, uint8_t origin);
void core_link_down(struct core *core, uint8_t origin);

/* One whole frame (wire_frame_size) of a link that is up. */
void core_receive(struct core *core, uint8_t origin, struct bytes bytes);

/*
 * The answer to `fetch`. `err` 0: records in order, without a gap, from from_seq on;
 * -ERR_NOT_FOUND: trimmed; else it is tried again.
 */
void core_fetched(struct core *core, uint64_t id, int err, const struct core_record *records,
                  size_t count);

/* --- full sync --- */

/*
 * A new member that has nothing wants a copy: once, after core_set_members and before anything is
 * applied. Until core_syncing is false nothing else is taken. A start that finds an unfinished copy
 * empties the store first.
 */
void core_sync_start(struct core *core);
bool core_syncing(const struct core *core);
/* Of these, a resync: by itself, from core_tick (core_resync.c). */
bool core_resyncing(const struct core *core);
/* One is due, and waits for room. */
enum core_wait {
    CORE_WAIT_NOT,
    CORE_WAIT_RESYNC,   /* For what no log has any more. */
    CORE_WAIT_EXCHANGE, /* Of rows that hold too much of a member that is to be unlinked. */
};

enum core_wait core_resync_waits(const struct core *core);
/*
 * In a resync: own rows are put aside now, so that it cannot be given up any more. Before
 * core_sync_stored, which says so as well; not of what is stale.
 */
void core_sync_entered(struct core *core);
/* `err` not 0: the rows make no sense. The link that brought them ends, another donor is asked. */
void core_sync_stored(struct core *core, int err);
/*
 * Instead of core_sync_stored, in a resync: own rows that are to follow those of a range cannot be
 * read. The range is asked for once more, whole, so that no own row is.
 */
void core_sync_unread(struct core *core);
void core_sync_finished(struct core *core);
/*
 * Between sync_finish and core_sync_finished, if what was kept is to go: peers that read it shall
 * not any more. No other begins to; who does is let come to the end, for a minute at most. True:
 * nothing is open. Else asked again.
 */
bool core_sync_let_go(struct core *core);
/* What sync_sum has found: at least one slot. The sums are borrowed. */
void core_sync_summed(struct core *core, const struct wire_sync_range *range);
/* What is being stored will be thrown away: a flush, or a freeze, has overtaken it. */
bool core_sync_stale(const struct core *core);

/* `at` and `flush`: of the checkpoint. `err` not 0: it could not be made. */
void core_sync_opened(struct core *core, uint8_t origin, uint32_t id, int err,
                      const struct posv *at, uint32_t flush);

/* What sync_read has read: some rows, in the order of their keys. */
struct core_piece {
    const struct wire_row *rows;
    uint32_t count;
    bool last;           /* There are no more in the range, */
    uint16_t end;        /* which ends before this slot: with sums it may be cut. */
    struct bytes differ; /* With the last ones (wire.h). */
};

/* `err`: -ERR_CLOSED: the checkpoint is gone; else it is tried again. */
void core_sync_rows(struct core *core, uint8_t origin, uint32_t id, int err,
                    const struct core_piece *piece);

/* --- questions --- */

enum core_write {
    CORE_WRITE_OK = 0,
    CORE_WRITE_JOINING, /* Not active yet, or sealed; or the rows of a copy are ahead of the logs.
                         */
    CORE_WRITE_OWN_LOST,
    CORE_WRITE_RESYNC, /* What was missed is being fetched as rows. */
    CORE_WRITE_FORKED,
    CORE_WRITE_SKEW,
    CORE_WRITE_ASKING,    /* Just started: peers may know more of us than we do. */
    CORE_WRITE_WENT_BACK, /* They do, and we had acknowledged it: an older copy, for good. */
    CORE_WRITE_CLOCK,     /* After the start nobody has said yet whether our clock is right. */
};

/* Whether local writes are allowed. */
enum core_write core_may_write(const struct core *core);

/* As in core_options; counts from the next look at the peers on. */
void core_set_retention(struct core *core, uint64_t bytes, uint64_t ms);

/* Whether a link to the peer is worth trying now. */
bool core_may_link(const struct core *core, uint8_t origin);

/*
 * The highest HLC that any peer has promised not to use again, as far as was heard since the start.
 * The HLC of a member must have observed it before its first batch, or that would be older than
 * what counts as heard: at each tick until it has begun, since a start forgets it.
 */
uint64_t core_promised_hlc(const struct core *core);
/* This member has made a batch. */
bool core_has_begun(const struct core *core);

/*
 * The time that this member goes by: its wall clock, unless that was stepped and nobody has
 * confirmed it (core_clock.c). As of the last tick, for a reading of both clocks.
 */
uint64_t core_clock_ms(const struct core *core, uint64_t mono_ms, uint64_t wall_ms);
/* That time is known, since the start. */
bool core_clock_known(const struct core *core);
/* HLC and lease may go on with it, although nothing was written. */
bool core_clock_promises(const struct core *core);

/* All that is applied: the context of a local batch. */
const struct vv *core_applied_vv(const struct core *core);

struct core_horizons {
    struct vv stable;  /* For row_horizons. */
    uint64_t lst;      /* For row_horizons; 0: nothing may expire for good. */
    uint64_t trim_lsn; /* The log is not needed up to here. */
};

void core_horizons(struct core *core, struct core_horizons *out);

enum core_link_state {
    CORE_LINK_DOWN,
    CORE_LINK_GREETING,
    CORE_LINK_UP,
    CORE_LINK_PARKED /* Refused for a while: `reason`. */
};

struct core_peer_info {
    uint8_t origin;
    uint8_t state;  /* enum core_link_state */
    uint8_t reason; /* Why the last link ended. */
    bool behind;    /* Needs a resync from us. */
    bool self_behind;
    bool full;         /* It has no room, and takes no batches. */
    int64_t offset_ms; /* Its clock minus ours. */
    uint64_t rtt_ms;
    uint64_t lag_batches;        /* Own batches that it has not acknowledged. */
    uint64_t lag_ms;             /* Age of the first of these; by its HLC, if it is in memory. */
    uint64_t retained_bytes;     /* Log kept for it. */
    uint64_t retained_left_ms;   /* Until the bound at the present rate; UINT64_MAX: never. */
    uint64_t bytes_out;          /* BATCHES frames, since the link came up; */
    uint64_t bytes_unpacked_out; /* their bodies before compression; */
    uint64_t batches_out;        /* what was in them. */
    uint64_t bytes_in;
    uint64_t batches_in; /* New ones, since the core was made. */
    uint64_t relayed_in; /* Of these, of other origins than the peer. */
};

/* False if it is no peer. */
bool core_peer_info(const struct core *core, uint8_t origin, struct core_peer_info *out);

/* All that is applied. */
void core_position(const struct core *core, struct posv *out);

/*
 * What each peer has acknowledged, durably at its side, to this member or to those whose rows it
 * has taken: for the next core, so that a peer that has less then is known to be an older copy of
 * itself, whoever else remembers it. To be kept durably no later than the first effect of a garbage
 * collection with the horizons of core_horizons (ask for it before them), and with the end of a
 * copy or resync (sync_finish).
 */
void core_acked(const struct core *core, struct core_acked *out);

/* All that is applied is durable, and every peer has acknowledged it. */
bool core_drained(const struct core *core);

/* Of the whole core: buffers, queues. Bounded by the options. */
size_t core_memory_bytes(const struct core *core);

#endif
