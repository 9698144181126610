/*
 * One shard of a member of a replication group: the core (group/core.h) with a real log, keyspace
 * and store.
 *
 *     clients -> mut -> log, keyspace -> replica_logged ---+
 *     log:        replica_durable                          |
 *     store:      replica_covered                          +-> core -> wire->send, wire->close
 *     links:      replica_link_up, _receive, _link_down    |        -> apply_remote -> log,
 * keyspace timer:      replica_tick;   turn: replica_turn    ---+
 *
 * It knows nothing of sockets and nothing of the server, which calls it from its turn, its timer
 * and the callbacks of the log, and does what struct replica_host says.
 *
 * Life of a shard of a group:
 *
 *     1. store open            replica_look: must the store be emptied first?
 *     2. keyspace, log open    replica_recover -> struct replica_state
 *     3. mut_create            with .group and what is in the state; on_logged calls replica_logged
 *     4. the origin is known   mut_set_origin, if the shard was made without one
 *     5. replica_create        then replica_set_members, and links may come up
 *
 * A node that still looks for its group has the first three steps behind it with origin 0: nothing
 * may be written then, and nothing is logged.
 *
 * What is kept besides log and rows:
 *
 *     the note   with the covered position in the store, behind the two vectors (space/flush.h):
 *                version 2 (1) | flags 1 (1: a copy is being made) | flush epoch 4, little-endian |
 *                newest (posv.h: what the rows of a copy may hold, until the logs have brought
 *                it) | peers 1, at most 4 | as often, by ascending origins: origin 1 | what the
 *                peer had acknowledged (posv.h)
 *
 *     lease      <dir>/lease, replaced atomically: "TIERLEAS" 8 | HLC 8, little-endian |
 *                sum64 of these 8. Local batches made after the next start have a higher HLC
 *
 * The note is in the same store as the rows that it speaks of, and is persistent when they are: a
 * flush of the group is a new, empty store with the new epoch, and there is no moment with one and
 * without the other. A copy that was not finished is recognised by its flag, and emptied. Every
 * batch for the store carries it, so that what was collected on the strength of an acknowledgement
 * is in the store only with that; nothing is synced for it.
 *
 * Owned by one shard's thread. Work that blocks runs on the pools; the memory that it takes is
 * bounded by the options of the core: one piece of a copy, one frame for each peer that lags.
 */
#ifndef TIERRA_REPLICATION_REPLICA_H
#define TIERRA_REPLICATION_REPLICA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/metric.h"

#include "engine/value/vv.h"

#include "replication/group/core.h"
#include "replication/group/posv.h"

struct batch;
struct keyspace;
struct mailbox;
struct mut;
struct oplog;
struct pool;
struct replica;
struct rng;
struct store;

/* --- start --- */

/* What the store says of itself. */
struct replica_note {
    uint64_t covered_lsn;
    struct posv covered;
    struct posv newest;
    struct core_acked acked;
    uint32_t flush; /* Flush epoch. */
    bool copying;   /* Holds a part of a copy: empty it (replica_empty_note), before anything. */
};

/*
 * Reads what is persistent with the covered position. Blocks. 0, -ERR_CORRUPT, or the error of the
 * store.
 */
MUST_USE int replica_look(struct store *store, struct replica_note *out);

/*
 * What to store with the covered position of a new, empty store that takes the place of one that
 * has `copying`: at LSN 0, with these bytes.
 */
#define REPLICA_NOTE_BYTES_MAX (2 * VV_BYTES_MAX + 6 + POSV_BYTES_MAX + ACKED_BYTES_MAX)
size_t replica_empty_note(const struct replica_note *note, uint8_t *dst);

/* What recovery found: for mut_create and replica_create. */
struct replica_state {
    struct replica_note note;
    struct posv applied; /* Sequence numbers and HLCs of all origins. */
    uint64_t lsn;
    struct vv vv;   /* Of mut_options; */
    struct vv seqs; /* of mut_options; */
    uint64_t seq;   /* mut_options.seq_seen: the own of these. */
    uint64_t keys;  /* Figures for the operator. */
    uint64_t records;
    uint64_t ops;
    uint64_t bytes;
};

struct replica_recovery {
    struct keyspace *ks; /* New, of a group. */
    struct store *store;
    struct oplog *log; /* Open, not recovered. */
    uint8_t origin;    /* 0: none yet; then there may be no record. */
    /* By how much the keyspace may grow beyond its table (struct replay); UINT64_MAX: no limit. */
    uint64_t room_bytes;
    uint64_t room_bytes_min;
};

/*
 * Key table, log, and what the store lacks of it. Blocks. 0 or an error; then `why` tells the
 * operator. -ERR_BUSY: the store has `copying`.
 */
MUST_USE int replica_recover(const struct replica_recovery *recovery, struct replica_state *out,
                             char *why, size_t why_len);

/* --- the outside world --- */

/* What room is wanted for. */
enum replica_room {
    REPLICA_ROOM_BATCH, /* A batch of a peer's log. */
    REPLICA_ROOM_ROWS,  /* Rows of a copy that is being made. */
    REPLICA_ROOM_ASIDE, /* set_aside and all that will follow: a peer's rows beside ours. */
};

/*
 * `ctx` is that of the options. None of these may call the replica. Any of them may be called from
 * within any function below that takes a struct replica that is not const.
 */
struct replica_host {
    /* Queues a frame for the peer's link; the bytes are borrowed. Bounded by credit. */
    void (*send)(void *ctx, uint8_t peer, struct bytes frame);
    /* Ends the link, after what is queued; it counts as down already. */
    void (*close)(void *ctx, uint8_t peer);
    void (*event)(void *ctx, const struct core_event *event);
    /*
     * Whether so many bytes from a peer fit now: DRAM, flash. NULL: they do; else why not, in words
     * for the operator that are valid until the next call. Then they wait; asked again at each
     * tick. The log is asked by the replica itself. NULL instead of a function: always.
     */
    const char *(*no_room)(void *ctx, enum replica_room what, size_t len);
    /*
     * The group is emptied: all keys go. Makes a new, empty store that is persistent with `lsn` and
     * `note` as its covered position (store_batch_set_covered), from then on the one that counts,
     * empties the keyspace (ks_clear, ks_set_store), gives the store in `*out`. 0; -ERR_BUSY: not
     * now, asked again in the next turn; another error: asked again after a second. Only from
     * replica_turn. No local write until it has happened.
     */
    int (*empty)(void *ctx, uint64_t lsn, struct bytes note, struct store **out);
    /*
     * Delta resync: as `empty`, but the old store, to which all rows are written back first, stays
     * open in `*out_kept` and is what a start opens, until keep_new. When it is called again before
     * that, the new store is made anew. NULL: there is no delta resync.
     */
    int (*set_aside)(void *ctx, uint64_t lsn, struct bytes note, struct store **out_fresh,
                     struct store **out_kept);
    /* The new store is complete and persistent: it takes the place of the kept one, which goes. 0;
     * -ERR_BUSY; another error: asked again after a second. */
    int (*keep_new)(void *ctx);
};

/* Pointers and strings outlive the replica, but for `state`. Zero of a number: its default. */
struct replica_options {
    struct keyspace *ks;
    struct mut *mut;
    struct oplog *log;
    struct store *store;
    const char *log_dir;
    const char *dir; /* Of the shard: for the lease. */
    struct pool *readers;
    struct pool *maintainer; /* One thread. */
    struct mailbox *mailbox;
    struct rng *rng; /* Of the shard: where its clock begins. */
    uint16_t shard;
    uint8_t origin;
    uint64_t incarnation;
    uint8_t group_id[WIRE_GROUP_ID_BYTES];
    const struct replica_state *state; /* Copied. */
    const struct members *members;     /* As of now: the rows are of nobody else. */
    const struct replica_host *host;
    void *ctx;
    /* Windows, bounds and times of the core; what else is in it is not looked at. NULL: defaults.
     */
    const struct core_options *limits;
    uint32_t index_bytes; /* Of log between two places that are remembered: 4 MiB. */
    uint32_t horizons_ms; /* Between two looks at what is garbage: 1,000. */
};

/*
 * Reads the lease: blocks a little, and so may come from the start or the control state's answer.
 * 0; -ERR_CORRUPT, -errno: of the lease; -ERR_CORRUPT: what was recovered has batches of origins
 * that are not in the membership. `why` then names it.
 */
MUST_USE int replica_create(const struct replica_options *options, struct replica **out, char *why,
                            size_t why_len);

/*
 * False while work of its own is on the pools: call it until true before replica_destroy, with the
 * mailbox drained in between. Starts nothing any more, closes what it has open on the store. No
 * input may come any more but this.
 */
bool replica_stop(struct replica *r);

/* Stopped, or the pools are destroyed and the mailbox is drained. NULL is allowed. */
void replica_destroy(struct replica *r);

/* --- inputs --- */

/* At least every 10 ms, and before what happens at a new time. */
void replica_tick(struct replica *r, uint64_t mono_ms, uint64_t wall_ms);

/*
 * The end of a turn, before oplog_turn_end: settles keys, collects garbage, both in bounded slices;
 * empties the keyspace when it is due. What is left goes on in the next turn: at the next tick at
 * the latest.
 */
void replica_turn(struct replica *r);

/* mut_options.on_logged. */
void replica_logged(struct replica *r, uint64_t lsn, const struct batch *batch, struct bytes bytes);

/* oplog_options.on_durable. */
void replica_durable(struct replica *r, uint64_t lsn);

/* What store_covered(persisted_only) says: bytes as they are with the position. -ERR_CORRUPT. */
MUST_USE int replica_covered(struct replica *r, uint64_t lsn, struct bytes covered);

/* First, and after each change. From the first one on links may come up. */
void replica_set_members(struct replica *r, const struct members *members);

/*
 * This member is new, and there are others that may have something: a copy is wanted first. After
 * replica_set_members; at each start until replica_synced. No effect when there is something here
 * already.
 */
void replica_join(struct replica *r);

/* How much log is kept for a peer, and for how long (struct core_options). */
void replica_set_retention(struct replica *r, uint64_t bytes, uint64_t ms);

/* Nothing of the origin is taken any more, until the next replica_set_members. */
void replica_freeze(struct replica *r, uint8_t origin);
/* All that was taken of it is durable: `*out` is its last. */
bool replica_frozen(const struct replica *r, uint8_t origin, struct pos *out);

/* The group's flush epoch. Lower ones than that there is are ignored. */
void replica_flush(struct replica *r, uint32_t epoch);
/* Of the keys here: what replica_flush asks for is reached when the keys have gone. */
uint32_t replica_flush_epoch(const struct replica *r);

/* The origin is a member's; nothing happens if it is no peer. */
void replica_link_up(struct replica *r, uint8_t origin);
void replica_link_down(struct replica *r, uint8_t origin);
/* One whole frame (wire_frame_size). */
void replica_receive(struct replica *r, uint8_t origin, struct bytes frame);

/*
 * The store is about to be reopened: gives back what is open on it, as far as nothing runs. A copy
 * that a peer was being given starts anew. True: nothing is open.
 */
bool replica_release_store(struct replica *r);

/* --- questions --- */

/*
 * Whether local writes are allowed: NULL, or why not, in words for a client. Static storage. To be
 * asked right before each batch: a command that waited asks again when it runs.
 */
const char *replica_may_write(const struct replica *r);

/* It is not, for a moment: after a start, until peers have said what they have of this member. */
bool replica_asks(const struct replica *r);

/*
 * Whether commands may look at keys at all: not while a copy is being made, for a key may be there
 * without its elements, and not while the keys are about to be emptied. NULL, or why not.
 */
const char *replica_may_read(const struct replica *r);

/*
 * Why nothing of what peers write is taken for want of room, for some time already; NULL: it is.
 * Valid until the next tick.
 */
const char *replica_full(const struct replica *r);

/* A link to the peer is worth trying now. */
bool replica_may_link(const struct replica *r, uint8_t origin);

/*
 * Everything is here that makes a new member ready: no copy is wanted any more, and what its rows
 * may hold has come by the logs, too.
 */
bool replica_synced(const struct replica *r);

/*
 * All that is here is durable and acknowledged by all peers; `*out_seq`: the last own batch. Stop
 * writes first.
 */
bool replica_drained(const struct replica *r, uint64_t *out_seq);

/* The log is not needed for peers up to here: trim at the lower of this and the store's. */
uint64_t replica_trim_lsn(const struct replica *r);

/* The time that this member goes by: core_clock_ms. */
uint64_t replica_clock_ms(const struct replica *r, uint64_t mono_ms, uint64_t wall_ms);

/* All that was applied. */
void replica_position(const struct replica *r, struct posv *out);

/* False if it is no peer. */
bool replica_peer_info(const struct replica *r, uint8_t origin, struct core_peer_info *out);

/* --- sums: whether members show the same --- */

struct replica_sums_ask {
    uint64_t at_ms; /* Of expiry (row_sum.h), beyond the end of the walk: else it is in vain. */
    uint16_t first; /* Buckets (row_sum.h) from here */
    uint16_t end;   /* to before here. */
    uint32_t keys_bytes_max; /* 0: no names are wanted. */
};

/* Per name: sum 8 | length 2 | name, little-endian. */
#define REPLICA_SUMS_KEY_BYTES 10u

struct replica_sums {
    /* 0; -ERR_BUSY: the keys were exchanged meanwhile; -ERR_RANGE: at_ms has passed; of the store.
     */
    int err;
    uint32_t flush;    /* Flush epoch. */
    struct posv lower; /* What is summed has all of this, */
    struct posv upper; /* and nothing beyond this. Equal: it is exact. */
    uint64_t keys;
    uint64_t damaged; /* Rows that could not be read. */
    uint64_t bytes;
    const uint64_t *sums; /* ROW_SUM_BUCKETS; NULL after an error. */
    struct bytes names;   /* As above; */
    bool keys_cut;        /* there are more. */
};

/*
 * Begins to sum up what is shown here, in the background; gives up what is under way or was not
 * fetched. Rows that the store lacks must go there up to an LSN for it to go on:
 * replica_sums_wants_flush.
 */
void replica_sums_start(struct replica *r, const struct replica_sums_ask *ask);
bool replica_sums_wants_flush(const struct replica *r, uint64_t *out_lsn);
/* NULL as long as it is under way, or there is none. Valid until replica_sums_end. */
const struct replica_sums *replica_sums_result(const struct replica *r);
void replica_sums_end(struct replica *r);

/* clang-format off */
#define REPLICA_METRICS(X)                                                                       \
    X(applied_batches,  METRIC_COUNTER, "Batches of other members applied.")                     \
    X(applied_bytes,    METRIC_COUNTER, "Bytes of these.")                                       \
    X(refused_batches,  METRIC_COUNTER, "Batches that cannot be applied; their link was ended.") \
    X(waits_for_room,   METRIC_COUNTER, "Times that a batch had to wait for room.")              \
    X(log_reads,        METRIC_COUNTER, "Reads of the log for peers that lag.")                  \
    X(log_read_records, METRIC_COUNTER, "Records that these sent on.")                           \
    X(log_read_skipped, METRIC_COUNTER, "Records that they passed over.")                        \
    X(copies_given,     METRIC_COUNTER, "Copies of all rows begun for new members.")             \
    X(copied_rows_out,  METRIC_COUNTER, "Rows read for them.")                                   \
    X(copied_rows_in,   METRIC_COUNTER, "Rows stored of a copy made here.")                      \
    X(resyncs,          METRIC_COUNTER, "Delta resyncs: rows of a peer joined to those here.")   \
    X(rows_alike,       METRIC_COUNTER, "Rows that a peer has the same: not sent by it.")        \
    X(ranges_unread,    METRIC_COUNTER, "Ranges of own rows not read: a peer gave all of them.") \
    X(rows_joined,      METRIC_COUNTER, "Rows that these made of one's own and the peer's.")    \
    X(flushes,          METRIC_COUNTER, "Times that the group was emptied.")                     \
    X(lease_failures,   METRIC_COUNTER, "Writes of the lease of the clock that failed.")
/* clang-format on */
METRIC_STRUCT(replica_metrics, REPLICA_METRICS);

const struct replica_metrics *replica_metrics(const struct replica *r);
const struct metric_desc *replica_metric_table(size_t *out_count);

/* Of the core, of reads and copies under way. Bounded. */
size_t replica_memory_bytes(const struct replica *r);

#endif
