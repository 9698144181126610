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
 */
#ifndef TIERRA_REPLICATION_HLC_H
#define TIERRA_REPLICATION_HLC_H

#include <stdint.h>

struct hlc {
    uint64_t last; /* The highest reading given or seen; 0 at the start. */
};

/* A new reading, above every earlier one. `wall_ms` since 1970. */
static inline uint64_t hlc_tick(struct hlc *clock, uint64_t wall_ms)
{
    const uint64_t wall = wall_ms << 16;
    clock->last = wall > clock->last ? wall : clock->last + 1;
    return clock->last;
}

static inline void hlc_observe(struct hlc *clock, uint64_t seen)
{
    if (seen > clock->last)
        clock->last = seen;
}

#endif
