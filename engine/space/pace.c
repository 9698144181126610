/* The rate at which clients may grow the data; pace.h tells how it is found. */
#include "engine/space/pace.h"

#include "engine/base/num.h"

#define NS_PER_SEC UINT64_C(1000000000)

/* The drain follows with this time constant: some memtables' worth. */
#define DRAIN_TAU_NS UINT64_C(500000000)
/* A span of observation; a longer one says nothing of now. */
#define OBSERVE_NS_MIN UINT64_C(5000000)
#define OBSERVE_NS_MAX NS_PER_SEC

/* Exponents are in 1/256. Nobody waits below a quarter of the way; one in its middle. */
#define EXP_ONE       256
#define FREE_PART     4
#define FACTOR_SLOPE  (10 * EXP_ONE)
#define FACTOR_CENTRE (FACTOR_SLOPE / 2)
/* No less than 1/32 of the drain. */
#define FACTOR_EXP_MIN (-5 * EXP_ONE)

/* Debt: where it begins to count, and what halves the rate once more. */
#define LEVEL0_FREE        16
#define LEVEL0_HALVES      6
#define PENDING_FREE       (UINT64_C(8) << 30)
#define PENDING_HALVES     (UINT64_C(4) << 30)
#define DEBT_EXP_MAX       (12 * EXP_ONE)
#define DEBT_COUNT_MAX     (UINT64_C(1) << 20)
#define DEBT_PENDING_SHIFT 20

/* value * 2^(exp / 256): the shift exactly, between powers linearly, which is 6 % off at most. */
static uint64_t scale(uint64_t value, int32_t exp)
{
    const int32_t whole = exp >> 8;
    const uint64_t part = (uint64_t)(exp & (EXP_ONE - 1));
    const uint64_t grown = value + value * part / EXP_ONE;

    return whole >= 0 ? grown << whole : grown >> -whole;
}

void pace_observe(struct pace *p, uint64_t now_ns, uint64_t drained, bool busy)
{
    const uint64_t span_ns = now_ns - p->observed_ns;

    if (p->observed_ns != 0 && span_ns < OBSERVE_NS_MIN)
        return;
    const uint64_t bytes = drained - u64_min(p->drained, drained);
    const bool counts = p->observed_ns != 0 && busy && span_ns <= OBSERVE_NS_MAX;
    p->drained = drained;
    p->observed_ns = now_ns;
    if (!counts)
        return;
    const uint64_t rate = bytes * NS_PER_SEC / span_ns;
    if (p->drain_bytes_sec == 0)
        p->drain_bytes_sec = rate;
    /* old + (new - old) * span / (span + tau), kept unsigned. */
    const uint64_t whole = span_ns + DRAIN_TAU_NS;
    if (rate >= p->drain_bytes_sec)
        p->drain_bytes_sec += (rate - p->drain_bytes_sec) / 1000 * span_ns / (whole / 1000);
    else
        p->drain_bytes_sec -= (p->drain_bytes_sec - rate) / 1000 * span_ns / (whole / 1000);
}

/* What DRAM allows. */
static uint64_t memory_rate(const struct pace *p, uint64_t used, uint64_t soft, uint64_t limit)
{
    if (limit <= soft || used <= soft + (limit - soft) / FREE_PART)
        return UINT64_MAX;
    /* In 1/1024 of the way; beyond the limit it is the same as twice the way. */
    const uint64_t way = u64_min((used - soft) / ((limit - soft) / 1024 + 1), 2048);
    const int32_t exp = FACTOR_CENTRE - (int32_t)(way * FACTOR_SLOPE / 1024);
    return scale(u64_max(p->drain_bytes_sec, PACE_DRAIN_BYTES_SEC_MIN),
                 exp < FACTOR_EXP_MIN ? FACTOR_EXP_MIN : exp);
}

/* What the store's debt allows. */
static uint64_t debt_rate(const struct pace_debt *debt)
{
    const uint64_t files = u64_min(debt->level0_files, DEBT_COUNT_MAX);
    const uint64_t files_over = files - u64_min(files, LEVEL0_FREE);
    const uint64_t bytes_over = debt->pending_bytes - u64_min(debt->pending_bytes, PENDING_FREE);
    const uint64_t exp =
        u64_max(files_over * EXP_ONE / LEVEL0_HALVES, (bytes_over >> DEBT_PENDING_SHIFT) * EXP_ONE /
                                                          (PENDING_HALVES >> DEBT_PENDING_SHIFT));

    if (exp == 0)
        return UINT64_MAX;
    return scale(PACE_DEBT_BYTES_SEC, -(int32_t)u64_min(exp, DEBT_EXP_MAX));
}

void pace_set(struct pace *p, uint64_t used, uint64_t soft, uint64_t limit,
              const struct pace_debt *debt)
{
    const uint64_t rate = u64_min(memory_rate(p, used, soft, limit), debt_rate(debt));

    p->bytes_sec = u64_max(rate, PACE_BYTES_SEC_MIN);
    if (p->bytes_sec == UINT64_MAX)
        p->wait_ns = 0;
}

static bool is_free(const struct pace *p)
{
    return p->bytes_sec == UINT64_MAX || p->bytes_sec == 0;
}

uint64_t pace_admit(struct pace *p, uint64_t now_ns, uint64_t bytes)
{
    if (is_free(p))
        return 0;
    const uint64_t from_ns = u64_max(p->due_ns, now_ns - u64_min(now_ns, PACE_BURST_NS));
    /* Where the rate was lower before: what is due later than the longest wait is forgiven. */
    const uint64_t due_ns = u64_min(from_ns, now_ns + PACE_WAIT_NS_MAX);
    const uint64_t cost_ns = bytes >= UINT64_C(1) << 32
                                 ? PACE_WAIT_NS_MAX
                                 : u64_min(bytes * NS_PER_SEC / p->bytes_sec, PACE_WAIT_NS_MAX);

    p->due_ns = due_ns + cost_ns;
    if (due_ns <= now_ns)
        return 0;
    p->wait_ns = due_ns - now_ns;
    return p->wait_ns;
}
