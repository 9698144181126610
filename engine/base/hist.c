/*
 * The log-linear histogram; the header describes the buckets.
 *
 * For a value v of 2^(6+e) .. 2^(7+e) - 1 the bucket is 64 * e + (v >> e): the shift leaves the
 * top seven bits, of which the first is always one and thereby steps over to the next group of
 * 64.
 */
#include "engine/base/hist.h"

#include <string.h>

#include "engine/base/check.h"

#define SUB_COUNT (1u << HIST_SUB_BITS)

static unsigned hist_shift(uint64_t value)
{
    /* The value has a bit at or above SUB_COUNT set, so that small ones get shift 0. */
    return 63u - HIST_SUB_BITS - (unsigned)__builtin_clzll(value | SUB_COUNT);
}

size_t hist_bucket(uint64_t value)
{
    const uint64_t clamped = u64_min(value, HIST_VALUE_MAX);
    const unsigned shift = hist_shift(clamped);

    return (size_t)(((uint64_t)shift << HIST_SUB_BITS) + (clamped >> shift));
}

uint64_t hist_bucket_top(size_t bucket)
{
    CHECK(bucket < HIST_BUCKETS);
    if (bucket < 2 * SUB_COUNT)
        return bucket;
    const unsigned shift = (unsigned)(bucket >> HIST_SUB_BITS) - 1;
    const uint64_t top_bits = (bucket & (SUB_COUNT - 1)) + SUB_COUNT;

    return ((top_bits + 1) << shift) - 1;
}

void hist_reset(struct hist *hist)
{
    memset(hist, 0, sizeof(*hist));
}

void hist_record_n(struct hist *hist, uint64_t value, uint64_t n)
{
    if (unlikely(n == 0))
        return;
    if (hist->count == 0 || value < hist->min)
        hist->min = value;
    if (value > hist->max)
        hist->max = value;
    hist->count += n;
    hist->sum += value * n;
    hist->counts[hist_bucket(value)] += n;
}

uint64_t hist_percentile(const struct hist *hist, double percent)
{
    CHECK(percent >= 0.0);
    CHECK(percent <= 100.0);
    if (hist->count == 0)
        return 0;

    /* The rank that must be reached, from 1; rounded up. */
    const double exact = (double)hist->count * percent / 100.0;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0)
        rank++;
    rank = u64_min(rank, hist->count);

    uint64_t seen = 0;
    for (size_t i = 0; i < HIST_BUCKETS; i++) {
        seen += hist->counts[i];
        /*
         * The last bucket holds all that is too large for the others: only the maximum bounds it.
         */
        if (seen >= rank && i < HIST_BUCKETS - 1)
            return u64_max(u64_min(hist_bucket_top(i), hist->max), hist->min);
    }
    return hist->max;
}

double hist_mean(const struct hist *hist)
{
    return hist->count == 0 ? 0.0 : (double)hist->sum / (double)hist->count;
}

void hist_merge(struct hist *into, const struct hist *from)
{
    if (from->count == 0)
        return;
    into->min = into->count == 0 ? from->min : u64_min(into->min, from->min);
    into->max = u64_max(into->max, from->max);
    into->count += from->count;
    into->sum += from->sum;
    for (size_t i = 0; i < HIST_BUCKETS; i++)
        into->counts[i] += from->counts[i];
}
