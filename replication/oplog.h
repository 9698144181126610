/*
 * The op log of one shard: its only write-ahead log and its replication stream.
 *
 * Records are opaque batches of ops. Each has an LSN (1, 2, 3, ...; never a gap, never twice) and
 * carries the origin and the origin's sequence number as the caller gave them. What a shard does in
 * one turn goes to the file in one write (group commit); while a write is in flight the following
 * turns gather in the other buffer.
 *
 *     can_append -> reserve -> (caller encodes in place) -> commit = LSN     any number per turn
 *     turn_end                                                               submits one write
 *     on_durable(lsn)                                                        held replies leave
 *
 * Three positions, applied >= written >= durable:
 *   applied   the last record committed to the buffer;
 *   written   handed to the kernel: survives the death of the process;
 *   durable   synced: survives the loss of power.
 *
 * A write or sync of the log that failed is never retried, because the kernel may have dropped the
 * pages it could not write: the log is then fenced, says why, and takes no record until it is
 * opened anew. What was in flight is unknown, neither done nor undone. A full disk does not come
 * to that: a spare segment is allocated ahead, and when that fails oplog_space_low() says so while
 * at least the rest of the active segment is still free.
 *
 * The log is bounded in memory (buffer_bytes_max) and belongs to its shard's thread, callbacks
 * included. File format: oplog_segment.h. Start: open, recover, append. Reading: oplog_cursor.h.
 */
#ifndef TIERRA_REPLICATION_OPLOG_H
#define TIERRA_REPLICATION_OPLOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/metric.h"

#include "replication/oplog_segment.h"

struct hist;
struct mailbox;
struct oplog;
struct pool_class;
struct reactor;

/* When the log is synced without being asked. The order is that of growing safety. */
enum oplog_policy {
    OPLOG_SYNC_NO,       /* Only on request, at the end of a segment and at close. */
    OPLOG_SYNC_EVERYSEC, /* Every sync_period_ms, beside the writes. */
    OPLOG_SYNC_ALWAYS,   /* With every write. */
};

/* How a write becomes durable; figures in replication/README.md. */
enum oplog_method {
    OPLOG_METHOD_AUTO,   /* The best by measurement. */
    OPLOG_METHOD_DSYNC,  /* One write with the flag RWF_DSYNC. */
    OPLOG_METHOD_FSYNC,  /* A write, then fdatasync. */
    OPLOG_METHOD_DIRECT, /* O_DIRECT and RWF_DSYNC: whole blocks past the page cache. */
};

#define OPLOG_SEGMENT_BYTES_DEFAULT    (64u << 20)
#define OPLOG_BUFFER_BYTES_MAX_DEFAULT (32u << 20)
#define OPLOG_RECORD_BYTES_MAX_DEFAULT (576u << 20) /* A value of 512 MiB, its key and room. */
#define OPLOG_SYNC_PERIOD_MS_DEFAULT   1000u

/* Zero means the default for every number. The strings and pointers outlive the log. */
struct oplog_options {
    const char *dir; /* Created if it is missing (its parent must exist). */
    struct reactor *reactor;
    /*
     * Where segment files are made and deleted: a class of the pool, set up by oplog_pool_class and
     * added, and the shard's mailbox for its answers. Without a pool (NULL, both) the log does that
     * work itself, blocking: for tools and tests.
     */
    struct pool_class *jobs;
    struct mailbox *mailbox;
    enum oplog_policy policy;
    enum oplog_method method;
    uint64_t segment_bytes;  /* A multiple of 4096, at least 64 KiB. */
    size_t buffer_bytes_max; /* Not yet written and in flight; a longer record comes alone. */
    size_t record_bytes_max; /* Payload; a record longer than a segment gets one of its own. */
    uint32_t sync_period_ms; /* Of OPLOG_SYNC_EVERYSEC. */
    bool accept_loss;        /* The operator's word: start though records are missing. */
    bool must_exist;         /* Where there is no log, it was lost. */
    bool no_recycle;         /* Trimmed segments are deleted instead of being used again. */

    /* The durable position moved to `lsn`. From the reactor, never from within a call. */
    void (*on_durable)(void *ctx, uint64_t lsn);
    /* Once, when the log is fenced. From the reactor, never from within a call. May be NULL. */
    void (*on_fence)(void *ctx, const char *why);
    void *ctx;
};

/* --- start and end --- */

/* Fills in the class of jobs that one pool needs for the logs of all its shards. */
void oplog_pool_class(struct pool_class *out);

/*
 * Opens the log in `options->dir` or makes a new one; reads the segments' headers and checks their
 * chain, but no record. Blocks: for the start of a shard only. Returns 0 and the log, which the
 * caller closes; or -ERR_CORRUPT (chain or header damaged), -ERR_LOST (segments are missing),
 * -ERR_FORMAT, -ERR_BUSY (another process has it), -errno. After an error `why` holds one line for
 * the operator, with file and offset.
 */
MUST_USE int oplog_open(const struct oplog_options *options, struct oplog **out, char *why,
                        size_t why_len);

/*
 * Takes one record, whose payload is valid during the call; a result other than 0 stops the replay
 * and becomes its own.
 */
typedef int (*oplog_replay_fn)(void *ctx, const struct oplog_record *record);

/*
 * Replays every record after `from_lsn` in order, cuts a torn tail, compares with the watermark and
 * makes the log ready for appending. Called exactly once, before the first append; 0 replays all.
 * Blocks. Returns 0; -ERR_CORRUPT: a bad record that was once durable; -ERR_LOST: fewer records
 * than were durable (options.accept_loss overrides; the LSNs that were lost are not used again);
 * -errno; or what `fn` returned. After an error `why` says what the operator can do, and the log
 * can only be closed.
 */
MUST_USE int oplog_recover(struct oplog *log, uint64_t from_lsn, oplog_replay_fn fn, void *ctx,
                           char *why, size_t why_len);

/*
 * Writes and syncs what is left, waits for it (it runs the reactor) and frees the log. Returns 0,
 * or -ERR_FENCED if not everything could be made durable. NULL is allowed.
 */
int oplog_close(struct oplog *log);

/* --- appending --- */

/*
 * Whether a record of up to `len` payload bytes can be appended now: 0; -ERR_FENCED; -ERR_BUSY:
 * the buffer is full, or the next segment is still being made: try again in a later turn; -ENOSPC:
 * no segment to put it in; -ERR_LIMIT: longer than record_bytes_max. A few compares; for a record
 * longer than a segment a statfs.
 */
MUST_USE int oplog_can_append(struct oplog *log, size_t len);

/*
 * Room for a payload of up to `max_len` bytes, at most record_bytes_max; never NULL. Only after
 * oplog_can_append said 0 in this turn: then also for more bytes or records than were asked about
 * (the buffer grows beyond its bound and the segment beyond its size). Valid until the commit
 * that must follow before any other call on the log. If the log was fenced meanwhile, records still
 * get their LSNs and go nowhere.
 */
MUST_USE uint8_t *oplog_reserve(struct oplog *log, size_t max_len);

/* Finishes the reserved record with its first `len` bytes (at most max_len). Cannot fail. */
uint64_t oplog_commit(struct oplog *log, size_t len, uint8_t origin, uint64_t seq);

/* reserve, copy, commit. */
uint64_t oplog_append(struct oplog *log, struct bytes payload, uint8_t origin, uint64_t seq);

/* Submits what was appended since the last write, unless one is in flight. Never blocks. */
void oplog_turn_end(struct oplog *log);

/* The LSN that the next commit returns. */
uint64_t oplog_next_lsn(const struct oplog *log);

/* --- durability --- */

uint64_t oplog_applied_lsn(const struct oplog *log);
uint64_t oplog_written_lsn(const struct oplog *log);
uint64_t oplog_durable_lsn(const struct oplog *log);

/*
 * Asks that everything applied by now becomes durable soon, whatever the policy; on_durable tells.
 * Cheap, and idempotent while such a sync is under way.
 */
void oplog_request_sync(struct oplog *log);

/* Takes effect with the next write; a change to ALWAYS also syncs what is not yet durable. */
void oplog_set_policy(struct oplog *log, enum oplog_policy policy);
void oplog_set_sync_period(struct oplog *log, uint32_t period_ms);
enum oplog_policy oplog_policy(const struct oplog *log);

/* More than half of the buffer is taken: slow the writers down. */
bool oplog_congested(const struct oplog *log);

/* No spare segment could be allocated: refuse growth. Clears itself when one could. */
bool oplog_space_low(const struct oplog *log);

/* True after a failed write or sync; `why`, if not NULL, gets a text owned by the log. */
bool oplog_fenced(const struct oplog *log, const char **why);

/* --- size and trim --- */

/*
 * Drops whole segments whose records are all at or below `lsn`, never the active one. The caller
 * vouches that nobody needs them. Returns the number of segments dropped.
 */
size_t oplog_trim(struct oplog *log, uint64_t lsn);

/* The lowest LSN a reader can still get; applied + 1 if the log is empty. */
uint64_t oplog_first_lsn(const struct oplog *log);
size_t oplog_segment_count(const struct oplog *log);

/* On flash: segments and spare, as allocated. */
uint64_t oplog_bytes(const struct oplog *log);

/* In memory: buffers, as allocated. */
size_t oplog_memory_bytes(const struct oplog *log);

/* clang-format off */
#define OPLOG_METRICS(X)                                                                          \
    X(records,            METRIC_COUNTER, "Records appended.")                                    \
    X(bytes,              METRIC_COUNTER, "Bytes appended, record headers included.")             \
    X(writes,             METRIC_COUNTER, "Writes of records submitted.")                         \
    X(syncs,              METRIC_COUNTER, "Syncs completed, synced writes included.")             \
    X(rotations,          METRIC_COUNTER, "Segments begun.")                                      \
    X(segments_trimmed,   METRIC_COUNTER, "Segments dropped because nobody needs them.")          \
    X(segments_recycled,  METRIC_COUNTER, "Of these, the ones that were used again.")             \
    X(spare_failures,     METRIC_COUNTER, "Attempts to allocate a segment that failed.")          \
    X(watermark_failures, METRIC_COUNTER, "Writes of the watermark that failed.")                 \
    X(buffer_bytes,       METRIC_GAUGE,   "Bytes appended but not yet written.")
/* clang-format on */

METRIC_STRUCT(oplog_metrics, OPLOG_METRICS);

/* Valid while the log is open. */
const struct oplog_metrics *oplog_metrics(const struct oplog *log);
const struct metric_desc *oplog_metric_table(size_t *out_count);

/* Nanoseconds from the submission of a sync or synced write to its completion. */
const struct hist *oplog_sync_hist(const struct oplog *log);

#endif
