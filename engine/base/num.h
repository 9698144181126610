/*
 * Strict parsing and Redis-exact printing of numbers.
 *
 * Parsers take the whole input or refuse it: no blanks, no rest. They return false and leave
 * `*out` alone on refusal. Integers follow Redis's string2ll (one spelling per value), floating
 * point follows its string2d and string2ld. Printing follows ll2string, d2string and ld2string of
 * Redis 7.0, so that replies are equal byte by byte. The process runs in the "C" locale. All
 * functions: any thread.
 */
#ifndef TIERRA_ENGINE_BASE_NUM_H
#define TIERRA_ENGINE_BASE_NUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

/* Room for any output of the printers, the terminating zero included. */
#define NUM_I64_BYTES    21
#define NUM_DOUBLE_BYTES 32
/*
 * The largest long double has 4,933 digits before the point. Also the longest floating point
 * input.
 */
#define NUM_LDOUBLE_BYTES 5120

/* Decimal, optional '-', no '+', no leading zeros, no "-0"; the full range of int64_t. */
MUST_USE bool num_parse_i64(struct bytes text, int64_t *out);

/* Decimal digits, no sign, no leading zeros; the full range of uint64_t. */
MUST_USE bool num_parse_u64(struct bytes text, uint64_t *out);

/*
 * Takes from `*in` the text `before` and the number behind it: digits of base 10 or 16 (lower
 * case), leading zeros too. Otherwise false, and `*in` stays.
 */
MUST_USE bool num_take_u64(struct bytes *in, const char *before, unsigned base, uint64_t *out);

/*
 * What strtod accepts, infinities and hexadecimal included, but no NaN, no leading blank, no
 * overflow and no underflow to zero.
 */
MUST_USE bool num_parse_double(struct bytes text, double *out);
MUST_USE bool num_parse_ldouble(struct bytes text, long double *out);

/*
 * A size as redis.conf writes it: digits and a unit b, k (1000), kb (1024), m, mb, g, gb in any
 * case.
 */
MUST_USE bool num_parse_memory(const char *text, uint64_t *out);

/* The printers add a zero at the end and return the length without it. */
size_t num_print_i64(char out[NUM_I64_BYTES], int64_t value);
size_t num_print_u64(char out[NUM_I64_BYTES], uint64_t value);

/* The length of num_print_u64, without printing. */
size_t num_digits_u64(uint64_t value);

/* Whole numbers below 2^52 without point or exponent, else "%.17g"; "inf", "-inf", "nan", "-0". */
size_t num_print_double(char out[NUM_DOUBLE_BYTES], double value);

/* For people (INCRBYFLOAT, HINCRBYFLOAT): "%.17Lf" without trailing zeros; "inf", "-inf", "nan". */
size_t num_print_ldouble(char out[NUM_LDOUBLE_BYTES], long double value);

#endif
