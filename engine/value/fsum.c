/*
 * Double-word arithmetic: Dekker 1971, Knuth's TwoSum. The error terms are exact because every
 * operation is rounded once to the format of long double.
 */
#include "engine/value/fsum.h"

#include <float.h>
#include <math.h>

#include "engine/base/err.h"
#include "engine/base/le.h"

#define MANTISSA_BITS 64
#define MANTISSA_TOP  (UINT64_C(1) << 63)
#define EXPONENT_BIAS 16383
#define EXPONENT_MAX  0x7fffu
#define EXPONENT_SIGN 0x8000u

/* a + b = result.hi + result.lo exactly. */
static struct fsum two_sum(long double a, long double b)
{
    const long double hi = a + b;

    if (!isfinite(hi))
        return fsum_of(hi);

    const long double b_part = hi - a;
    const long double a_part = hi - b_part;
    const long double lo = (a - a_part) + (b - b_part);

    return (struct fsum){.hi = hi, .lo = isfinite(lo) ? lo : 0.0L};
}

struct fsum fsum_add(struct fsum a, struct fsum b)
{
    struct fsum high = two_sum(a.hi, b.hi);

    if (!isfinite(high.hi))
        return high;

    const struct fsum low = two_sum(a.lo, b.lo);

    high = two_sum(high.hi, high.lo + low.hi);
    return two_sum(high.hi, high.lo + low.lo);
}

struct fsum fsum_sub(struct fsum a, struct fsum b)
{
    return fsum_add(a, (struct fsum){.hi = -b.hi, .lo = -b.lo});
}

struct fsum fsum_diff(long double a, long double b)
{
    return two_sum(a, -b);
}

long double fsum_value(struct fsum s)
{
    const long double value = s.hi + s.lo;

    return isnan(value) ? 0.0L : value;
}

void ldouble_store(uint8_t dst[LDOUBLE_BYTES], long double value)
{
    uint64_t mantissa = 0;
    unsigned exponent = 0;

    if (isnan(value)) {
        exponent = EXPONENT_MAX;
        mantissa = MANTISSA_TOP | MANTISSA_TOP >> 1;
    } else if (isinf(value)) {
        exponent = EXPONENT_MAX;
        mantissa = MANTISSA_TOP;
    } else if (value != 0.0L) {
        int power;
        long double fraction = ldexpl(frexpl(fabsl(value), &power), MANTISSA_BITS);

        /* 0.5 <= fraction < 1 became 2^63 <= fraction < 2^64; a wider format may round up to it. */
        if (LDBL_MANT_DIG > MANTISSA_BITS)
            fraction = rintl(fraction);
        if (fraction >= 0x1p64L) {
            fraction = 0x1p63L;
            power++;
        }
        mantissa = (uint64_t)fraction;
        power += EXPONENT_BIAS - 1;
        if (power <= 0) {
            /* Denormal: the exponent field 0 means the same power as 1. */
            const unsigned shift = (unsigned)(1 - power);
            mantissa = shift < MANTISSA_BITS ? mantissa >> shift : 0;
            power = 0;
        }
        exponent = (unsigned)power;
    }
    if (value < 0.0L)
        exponent |= EXPONENT_SIGN;
    le64_store(dst, mantissa);
    le16_store(dst + 8, (uint16_t)exponent);
}

int ldouble_load(const uint8_t src[LDOUBLE_BYTES], long double *out)
{
    const uint64_t mantissa = le64_load(src);
    const unsigned raw = le16_load(src + 8);
    const unsigned exponent = raw & EXPONENT_MAX;
    long double value;

    if (exponent == EXPONENT_MAX) {
        if (mantissa != MANTISSA_TOP)
            return -ERR_CORRUPT; /* Sums never hold NaN: it counts as 0 before it is stored. */
        value = HUGE_VALL;
    } else {
        const bool normal = (mantissa & MANTISSA_TOP) != 0;

        if (normal != (exponent != 0) || (mantissa == 0 && raw != 0))
            return -ERR_CORRUPT;
        const int power = (normal ? (int)exponent : 1) - EXPONENT_BIAS - (MANTISSA_BITS - 1);
        value = ldexpl((long double)mantissa, power);
    }
    *out = (raw & EXPONENT_SIGN) != 0 ? -value : value;
    return 0;
}
