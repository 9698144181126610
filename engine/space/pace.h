/*
 * Pace: how fast clients may grow the data while DRAM is short. A pure module: no clock, no I/O.
 *
 * What memory takes must go to the store before it can be freed, so in the long run writers go as
 * fast as write-back does. The pace makes it so without a cliff: bytes are admitted at a rate that
 * follows the measured rate of write-back (drain) and the state of two reservoirs, DRAM above
 * `soft` and the store's debt (files in level 0, bytes that wait for compaction).
 *
 *     factor
 *       4 |----.                         used: how far DRAM has come from soft (0) to limit (1)
 *         |     \                        rate = drain * factor, at least PACE_BYTES_SEC_MIN
 *       1 |......\.................
 *         |       \.
 *    1/32 |         `---------
 *         +--+----+---+----+--->  used
 *           free  1/2      1
 *
 * The factor falls by the power of two, 1 in the middle: there inflow equals drain, which is the
 * point where it settles; each eighth of the way changes it by the factor of 2^(5/4) only, so that
 * a measurement that is off moves the rate a little. Below the first quarter nobody waits.
 *
 * The store's debt sets a second rate of its own, PACE_DEBT_BYTES_SEC halved for each step of debt,
 * so that its own stall conditions, which are sudden, are never met. The lower rate holds.
 *
 * Bytes are admitted by a virtual clock (GCRA): each request moves the time at which the next one
 * is due by bytes / rate; a request waits until its own time. Waits therefore add up to the rate
 * whatever the number of connections is, and the clock may lag behind by PACE_BURST_NS only. A
 * request never waits longer than PACE_WAIT_NS_MAX: what is admitted early then stays owed.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_PACE_H
#define TIERRA_ENGINE_SPACE_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* The rate is never lower than this: who waits gets through. Bytes a second. */
#define PACE_BYTES_SEC_MIN (UINT64_C(256) << 10)
/* The measured drain counts as at least this: with an idle store it is not known. */
#define PACE_DRAIN_BYTES_SEC_MIN (UINT64_C(8) << 20)
/* The rate that the store's debt allows where it begins to count; halved with each step. */
#define PACE_DEBT_BYTES_SEC (UINT64_C(256) << 20)
#define PACE_BURST_NS       UINT64_C(2000000)
#define PACE_WAIT_NS_MAX    UINT64_C(1000000000)

/* What the store reports of its debt. */
struct pace_debt {
    uint64_t level0_files;
    uint64_t pending_bytes; /* Estimate of what compaction has still to move. */
};

struct pace {
    uint64_t drain_bytes_sec; /* Measured, smoothed; 0: not yet. */
    uint64_t drained;         /* As last observed; */
    uint64_t observed_ns;     /* when that was. */
    uint64_t bytes_sec;       /* Admitted; UINT64_MAX, or 0 before it is first set: nobody waits. */
    uint64_t due_ns;          /* When the next request is due. */
    uint64_t wait_ns;         /* Of the last request that had to wait. */
};

/*
 * The write-back has brought `drained` bytes to the store so far. `busy`: it had something to do
 * all the time since the last call; else the span does not count. Call it every 10 ms or so.
 */
void pace_observe(struct pace *p, uint64_t now_ns, uint64_t drained, bool busy);

/* Sets the rate. `used`: of DRAM; soft < limit, or limit 0: no budget, only the debt counts. */
void pace_set(struct pace *p, uint64_t used, uint64_t soft, uint64_t limit,
              const struct pace_debt *debt);

/*
 * Admits a request that adds `bytes`: the nanoseconds that it has to wait before it runs, without
 * asking again; 0: none.
 */
uint64_t pace_admit(struct pace *p, uint64_t now_ns, uint64_t bytes);

#endif
