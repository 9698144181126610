/*
 * The hybrid logical clock of a shard (Kulkarni et al., "Logical Physical Clocks", 2014).
 *
 * A reading has 48 bits of wall-clock milliseconds and 16 bits of logical counter, so that it
 * follows real time closely, never goes back and never repeats:
 *
 *     tick:     last = max(last + 1, wall << 16)
 *     observe:  last = max(last, seen)
 *
 * If more than 65,535 ticks fall into one millisecond the counter runs over into the next one: the
 * clock is then a little ahead of the wall clock and waits for it.
 *
 * Start-up must observe the highest reading found in the log and in the store before the first
 * tick: then a clock that was set back does no harm. Owned by one shard thread.
 *
 * In a group, two processes may start from the same bytes: a copy of the directory, and the
 * original. Both know the same lease and the same numbers of their batches, and no reading of one
 * may be one of the other. So each start draws where its clock begins, and where in each
 * millisecond:
 *
 *     begin:    last = max(last, lease + 24 random bits)     up to 256 ms
 *     tick:     last = max(last + 1, wall << 16 | salt)      salt: 15 random bits
 *
 * Until the wall clock has passed that begin, batch number n of two starts has the same reading
 * with a chance of 1 in 16,777,216; later, and only if both make it in the same millisecond, 1 in
 * 32,768. Readings of batches of other numbers may meet: then the histories differ before that,
 * which peers notice.
 */
#ifndef TIERRA_REPLICATION_HLC_H
#define TIERRA_REPLICATION_HLC_H

#include <stdint.h>

struct hlc {
    uint64_t last; /* The highest reading given or seen; 0 at the start. */
    uint64_t salt; /* The bits of this start; 0 without a group. */
};

/* A new reading, above every earlier one. `wall_ms` since 1970. */
static inline uint64_t hlc_tick(struct hlc *clock, uint64_t wall_ms)
{
    const uint64_t wall = wall_ms << 16 | clock->salt;
    clock->last = wall > clock->last ? wall : clock->last + 1;
    return clock->last;
}

static inline void hlc_observe(struct hlc *clock, uint64_t seen)
{
    if (seen > clock->last)
        clock->last = seen;
}

/* Bits of `chance` that say by how much a start is beyond the lease; the salt is above them. */
#define HLC_BEGIN_BITS 24
#define HLC_SALT_BITS  15

/* Once, at a start in a group. `chance`: random, of this start alone. */
static inline void hlc_begin(struct hlc *clock, uint64_t lease, uint64_t chance)
{
    hlc_observe(clock, lease + (chance & ((UINT64_C(1) << HLC_BEGIN_BITS) - 1)));
    clock->salt = (chance >> HLC_BEGIN_BITS) & ((UINT64_C(1) << HLC_SALT_BITS) - 1);
}

#endif
