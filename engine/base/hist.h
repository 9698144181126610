/*
 * Log-linear histogram, for latencies and sizes.
 *
 * Values below 128 have a bucket each. Above, every power of two is cut into 64 buckets of equal
 * width:
 *
 *     value     0 1 2 .. 127 | 128,129 | 130,131 | .. | 254,255 | 256..259 | ..
 *     bucket    0 1 2 .. 127 |   128   |   129   | .. |   191   |   192    | ..
 *
 * so that a bucket is never wider than 1/64 (1.6 %) of its values, from 1 ns to 18 minutes in
 * nanoseconds. A larger value counts in the last bucket; minimum, maximum and sum are exact. The
 * idea is that of HdrHistogram. Recording is O(1) without branches on the data but the clamp. 18
 * KiB each. Owned by one thread; merge to read across threads.
 */
#ifndef TIERRA_ENGINE_BASE_HIST_H
#define TIERRA_ENGINE_BASE_HIST_H

#include <stddef.h>
#include <stdint.h>

#define HIST_SUB_BITS   6
#define HIST_VALUE_BITS 40
#define HIST_VALUE_MAX  (UINT64_C(1) << HIST_VALUE_BITS)
#define HIST_BUCKETS    (((HIST_VALUE_BITS - HIST_SUB_BITS + 1) << HIST_SUB_BITS) + 1)

struct hist {
    uint64_t count;
    uint64_t sum; /* Wraps after 2^64: five centuries of nanoseconds. */
    uint64_t min; /* Of no meaning while empty. */
    uint64_t max;
    uint64_t counts[HIST_BUCKETS];
};

/* Empties it; a zeroed struct is empty too. */
void hist_reset(struct hist *hist);

/* Counts `value` `n` times. */
void hist_record_n(struct hist *hist, uint64_t value, uint64_t n);

static inline void hist_record(struct hist *hist, uint64_t value)
{
    hist_record_n(hist, value, 1);
}

/*
 * The smallest value that is at least as large as `percent` (0 .. 100) percent of the values,
 * rounded up to the end of its bucket and never above the maximum; 0 if empty. O(HIST_BUCKETS).
 */
uint64_t hist_percentile(const struct hist *hist, double percent);

static inline uint64_t hist_count(const struct hist *hist)
{
    return hist->count;
}

static inline uint64_t hist_max(const struct hist *hist)
{
    return hist->max;
}

static inline uint64_t hist_min(const struct hist *hist)
{
    return hist->count == 0 ? 0 : hist->min;
}

double hist_mean(const struct hist *hist);

/* Adds all of `from` to `into`. */
void hist_merge(struct hist *into, const struct hist *from);

/* Bucket of a value, and the largest value of a bucket: for exporters and tests. */
size_t hist_bucket(uint64_t value);
uint64_t hist_bucket_top(size_t bucket);

#endif
