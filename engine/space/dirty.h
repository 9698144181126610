/*
 * The dirty ring: which resident rows the store does not have yet, in the order of their first
 * unstored change.
 *
 *      head                                   tail
 *       v                                      v
 *     [ lsn 40, row ][ gone ][ lsn 42, row ][ lsn 57, row ]      entries, first in first out
 *       |
 *       dirty_take: moves entries to the flight, the rows of the store batch being written
 *
 * A row knows its place by the number in row_head.dirty, so that freeing, moving or changing it
 * again costs O(1) and no search:
 *     0                    clean
 *     1 .. 2^30            ring sequence number (mod 2^30) + 1
 *     2^31 + i             entry i of the flight
 * A row that changes while it is in flight leaves the flight and enters the ring again with the
 * new position, because the batch being written holds its old state.
 *
 * The covered position of a batch is one less than the lowest LSN left in the ring after the take
 * (DESIGN: the write-ahead rule): every effect up to there is in this batch or an earlier one. One
 * flight exists at a time, which is what makes that rule sound.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_DIRTY_H
#define TIERRA_ENGINE_SPACE_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "engine/space/obj.h"

struct coll;

struct dirty_entry {
    uint64_t lsn;         /* Of the first change that the store lacks. */
    struct row_head *row; /* NULL: the row was freed or changed again. */
    struct coll *coll;    /* The collection of an element row; NULL for key rows. */
};

struct dirty {
    struct dirty_entry *ring; /* cap entries, index = sequence number & (cap - 1). */
    uint32_t cap;             /* Power of two. */
    uint32_t head;            /* Sequence numbers, mod 2^30. */
    uint32_t tail;
    uint64_t bytes; /* Row bytes waiting in the ring, roughly: what is left to write. */
    struct dirty_entry *flight;
    uint32_t flight_count;
    uint32_t flight_cap;
    uint64_t failed_lsn;   /* Lowest position of a flight that failed; 0: none. It stays in force */
    uint32_t failed_until; /* until the head of the ring has come to this sequence number. */
    uint64_t flight_lsn;   /* failed_lsn while the flight was taken: bounds its rows, too; or 0. */
};

void dirty_init(struct dirty *d);
void dirty_deinit(struct dirty *d);

/*
 * Notes that `row` changed at `lsn`. Keeps the earlier position if it was waiting already. Cannot
 * fail. Positions must not go down from call to call.
 */
void dirty_mark(struct dirty *d, struct row_head *row, struct coll *coll, uint64_t lsn);

/* The row is about to be freed: forgets it. No effect on a clean row. */
void dirty_forget(struct dirty *d, struct row_head *row);

/* The row was moved by realloc: `row` is its new address, with the content it had. */
void dirty_moved(struct dirty *d, struct row_head *row);

/*
 * `heir` stands for the same row from now on: it waits from where `row` did, so that a change of
 * `row` that the store lacks stays uncovered. `heir` is clean before; `row` is clean afterwards.
 */
void dirty_inherit(struct dirty *d, struct row_head *row, struct row_head *heir);

/* What a row that waits or is in flight is an element of, from now on. */
void dirty_set_coll(struct dirty *d, struct row_head *row, struct coll *coll);

/* True if some row waits or is in flight. */
static inline bool dirty_any(const struct dirty *d)
{
    return d->head != d->tail || d->flight_count != 0;
}

/* Entries in the ring, gone ones included. */
static inline uint32_t dirty_waiting(const struct dirty *d)
{
    return (d->tail - d->head) & 0x3fffffffu;
}

/* The lowest position that waits in the ring; UINT64_MAX if it is empty. Drops gone entries. */
uint64_t dirty_lowest_lsn(struct dirty *d);

/* The place behind all that waits now. */
static inline uint32_t dirty_end(const struct dirty *d)
{
    return d->tail;
}

/*
 * Takes the oldest row out of the ring into the flight; NULL if the ring is empty or the row
 * entered it after `end` was given out. `*out_coll` as it was marked.
 */
MUST_USE struct row_head *dirty_take(struct dirty *d, uint32_t end, struct coll **out_coll);

/*
 * Only a part of what stands for `row`, which was just taken, is in the flight: it waits again,
 * before all others; `lsn`: of the first change that is left.
 */
void dirty_return(struct dirty *d, struct row_head *row, struct coll *coll, uint64_t lsn);

/* What a waiting row stands for has become longer or shorter by so many bytes. */
static inline void dirty_grow(struct dirty *d, uint64_t bytes)
{
    d->bytes += bytes;
}
static inline void dirty_shrink(struct dirty *d, uint64_t bytes)
{
    d->bytes -= bytes < d->bytes ? bytes : d->bytes;
}

/*
 * The flight was written: calls `fn` for each row that did not change or go meanwhile, now clean
 * (fn may free it), and empties the flight.
 */
void dirty_flight_done(struct dirty *d,
                       void (*fn)(void *ctx, struct row_head *row, struct coll *coll), void *ctx);

/*
 * The write of the flight failed: its rows wait again, before all others. A row that changed
 * while it was in flight waits already, but at a later position than its oldest unstored change:
 * the flight's lowest position therefore bounds dirty_lowest_lsn until everything that waits now
 * has been taken.
 */
void dirty_flight_failed(struct dirty *d);

#endif
