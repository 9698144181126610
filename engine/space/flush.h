/*
 * Write-back: brings dirty rows to the store, in the order of their first unstored change.
 *
 *     ring -> batch (built on the shard's thread) -> [log durable up to the batch] -> store_write
 *                   in slices, one a turn                          on the maintenance thread
 *
 * A batch costs a sync of the log, which takes tens of milliseconds where the disk is busy, so it
 * should hold some MiB when much waits; hence the slices.
 *
 * One batch is under way at a time. Each carries the covered position (dirty.h): with the batch in
 * the store, everything the log holds up to there is. A position is a point that ks_flush_point
 * gave, so that its version vector is known exactly.
 *
 * No row enters the store before the log is durable up to its last change: else a crash could
 * leave the store ahead of the log.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_FLUSH_H
#define TIERRA_ENGINE_SPACE_FLUSH_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct keyspace;
struct store_debt;
struct vv;

/*
 * Everything up to `lsn` is applied; `vv` is the version vector there. Once per turn at most. The
 * same position again: this vector counts from now on.
 */
void ks_flush_point(struct keyspace *ks, uint64_t lsn, const struct vv *vv);

/*
 * At a start, before a row is changed and after ks_flush_seqs: what the store covers. Then every
 * batch has a covered position.
 */
void ks_flush_begin(struct keyspace *ks, uint64_t lsn, const struct vv *vv);

/*
 * In a group: the last sequence number applied of each origin, as of the points from now on. What
 * the store keeps with the covered position is then the vector of HLCs followed by this one.
 */
void ks_flush_seqs(struct keyspace *ks, const struct vv *seqs);

/*
 * In a group: bytes that the store keeps behind the two vectors from the next batch on; at most
 * KS_NOTE_BYTES_MAX. Copied. After ks_flush_begin each batch carries them.
 */
#define KS_NOTE_BYTES_MAX 2752u
void ks_flush_note(struct keyspace *ks, struct bytes note);

/*
 * Begins a batch of up to `bytes_max` bytes of rows, if nothing is under way. Returns false if
 * there is nothing to do, or something is under way. ks_flush_step fills it.
 */
bool ks_flush_start(struct keyspace *ks, uint64_t bytes_max, uint64_t now_ms);

/*
 * Adds a slice of bounded work to the batch being built, if there is one. True: the batch is
 * complete with this slice and waits for the log (ks_flush_on_durable). Once a turn, after
 * ks_flush_point.
 */
bool ks_flush_step(struct keyspace *ks);

/* A batch is being built. */
bool ks_flush_building(const struct keyspace *ks);

/* The log is durable up to `lsn`: a batch that waits for it may go. */
void ks_flush_on_durable(struct keyspace *ks, uint64_t lsn);

/*
 * The log will never be durable any further: a batch that is being built or waits for it is given
 * up, and its rows stay dirty. Nothing may be started after it.
 */
void ks_flush_give_up(struct keyspace *ks);

/*
 * Writes everything that waits, now, on this thread: at start and at the end, when the loop does
 * not run and the log is durable. Returns 0 or the error of the store.
 */
MUST_USE int ks_flush_now(struct keyspace *ks);

/* The same for one batch, of a MiB or so. */
MUST_USE int ks_flush_batch_now(struct keyspace *ks);

/* Something is under way. */
bool ks_flush_busy(const struct keyspace *ks);

/* Rows wait, or are under way. */
bool ks_flush_needed(const struct keyspace *ks);

/* Bytes of rows that wait, roughly. */
uint64_t ks_flush_backlog(const struct keyspace *ks);

/* The covered position of the last batch that the store took. */
uint64_t ks_flush_covered(const struct keyspace *ks);

/* What the store had still to do when a batch was written last, 50 ms old at least at times. */
void ks_flush_debt(const struct keyspace *ks, struct store_debt *out);

#endif
