/*
 * Sums of floating point increments.
 *
 * A sum is the unevaluated pair hi + lo, lo at most half a unit in the last place of hi: twice the
 * digits of long double. With it the sum of one origin reproduces, bit for bit, what Redis would
 * have stored after each INCRBYFLOAT, whatever the base it stands on.
 *
 * Bytes: each part is an 80-bit extended number, mantissa 8 little-endian (integer bit explicit) |
 * sign and exponent 2 little-endian, the layout of the x87. Machines with another long double
 * round to it when they store.
 */
#ifndef TIERRA_ENGINE_VALUE_FSUM_H
#define TIERRA_ENGINE_VALUE_FSUM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#define LDOUBLE_BYTES 10
#define FSUM_BYTES    (2 * LDOUBLE_BYTES)

struct fsum {
    long double hi;
    long double lo; /* 0 if hi is not finite. */
};

static inline bool fsum_is_zero(struct fsum s)
{
    return s.hi == 0.0L && s.lo == 0.0L;
}

static inline struct fsum fsum_of(long double value)
{
    return (struct fsum){.hi = value, .lo = 0.0L};
}

struct fsum fsum_add(struct fsum a, struct fsum b);
struct fsum fsum_sub(struct fsum a, struct fsum b);

/* a - b, exact if both are finite. */
struct fsum fsum_diff(long double a, long double b);

/* Rounded to the nearest long double; NaN (infinities that cancel) counts as 0. */
long double fsum_value(struct fsum s);

/* One part, exact. Zero has one spelling: the sign of zero is dropped. */
void ldouble_store(uint8_t dst[LDOUBLE_BYTES], long double value);
/* 0 or -ERR_CORRUPT: not a number in its normal form. */
MUST_USE int ldouble_load(const uint8_t src[LDOUBLE_BYTES], long double *out);

#endif
