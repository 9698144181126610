/*
 * Numbers as text, the way Redis reads and writes them.
 *
 * Sources: util.c of Redis 7.0 (string2ll, string2d, string2ld, ll2string, d2string, ld2string,
 * memtoull).
 */
#include "engine/base/num.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"

/* Longest decimal of 64 bits. */
#define U64_DIGITS_MAX 20

/* Reads an unsigned decimal without leading zeros that is not empty. */
static bool parse_digits(const uint8_t *ptr, size_t len, uint64_t *out)
{
    uint64_t value = 0;

    if (len == 0 || len > U64_DIGITS_MAX || (ptr[0] == '0' && len > 1))
        return false;
    for (size_t i = 0; i < len; i++) {
        const uint8_t digit = (uint8_t)(ptr[i] - '0');
        if (digit > 9)
            return false;
        /* Only the last of twenty digits can overflow. */
        if (unlikely(i == U64_DIGITS_MAX - 1)) {
            if (__builtin_mul_overflow(value, 10u, &value) ||
                __builtin_add_overflow(value, digit, &value))
                return false;
        } else {
            value = value * 10 + digit;
        }
    }
    *out = value;
    return true;
}

bool num_parse_u64(struct bytes text, uint64_t *out)
{
    return parse_digits(text.ptr, text.len, out);
}

bool num_take_u64(struct bytes *in, const char *before, unsigned base, uint64_t *out)
{
    static const char digits[] = "0123456789abcdef";
    const struct bytes head = bytes_cstr(before);
    uint64_t value = 0;
    size_t n = 0;

    if (!bytes_starts(*in, head))
        return false;
    const struct bytes text = bytes_from(*in, head.len);
    for (; n < text.len; n++) {
        const char *digit = memchr(digits, text.ptr[n], base);
        if (digit == NULL)
            break;
        if (__builtin_mul_overflow(value, base, &value) ||
            __builtin_add_overflow(value, (uint64_t)(digit - digits), &value))
            return false;
    }
    if (n == 0)
        return false;
    *in = bytes_from(text, n);
    *out = value;
    return true;
}

bool num_parse_i64(struct bytes text, int64_t *out)
{
    const bool negative = text.len > 0 && text.ptr[0] == '-';
    const size_t skip = negative ? 1 : 0;
    uint64_t magnitude;

    if (text.len == 0 || !parse_digits(text.ptr + skip, text.len - skip, &magnitude))
        return false;
    if (magnitude > (uint64_t)INT64_MAX + (negative ? 1 : 0) || (negative && magnitude == 0))
        return false;
    *out = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return true;
}

/*
 * Plain decimals of up to 15 digits, the common case: both the digits as an integer and the power
 * of ten are exact doubles then, so that the one division rounds correctly (Clinger 1990). False:
 * not that simple.
 */
static bool parse_double_short(struct bytes text, double *out)
{
    static const double powers[] = {1e0, 1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const bool negative = text.len > 0 && text.ptr[0] == '-';
    int64_t mantissa = 0;
    size_t digits = 0;
    size_t fraction = 0;
    bool point = false;

    if (text.len > ARRAY_COUNT(powers) + 1)
        return false;
    for (size_t i = negative ? 1 : 0; i < text.len; i++) {
        const uint8_t c = text.ptr[i];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if ((uint8_t)(c - '0') > 9)
            return false;
        mantissa = mantissa * 10 + (c - '0');
        digits++;
        fraction += point;
    }
    if (digits == 0 || digits >= ARRAY_COUNT(powers))
        return false;
    const double value = (double)mantissa / powers[fraction];
    *out = negative ? -value : value;
    return true;
}

/*
 * Copies the input to a zero-terminated text; false for what strtod would accept and Redis does
 * not.
 */
static bool float_text(struct bytes text, char out[NUM_LDOUBLE_BYTES])
{
    if (text.len == 0 || text.len >= NUM_LDOUBLE_BYTES || isspace(text.ptr[0]))
        return false;
    memcpy(out, text.ptr, text.len);
    out[text.len] = '\0';
    return true;
}

bool num_parse_double(struct bytes text, double *out)
{
    char copy[NUM_LDOUBLE_BYTES];
    char *end;

    if (parse_double_short(text, out))
        return true;
    if (!float_text(text, copy))
        return false;
    errno = 0;
    const double value = strtod(copy, &end);
    if ((size_t)(end - copy) != text.len || isnan(value))
        return false;
    /* Out of range: to infinity or to zero. A denormal result also says ERANGE, and is welcome. */
    if (errno == ERANGE && (isinf(value) || fpclassify(value) == FP_ZERO))
        return false;
    *out = value;
    return true;
}

bool num_parse_ldouble(struct bytes text, long double *out)
{
    char copy[NUM_LDOUBLE_BYTES];
    char *end;

    if (!float_text(text, copy))
        return false;
    errno = 0;
    const long double value = strtold(copy, &end);
    if ((size_t)(end - copy) != text.len || isnan(value))
        return false;
    if (errno == ERANGE && (isinf(value) || fpclassify(value) == FP_ZERO))
        return false;
    *out = value;
    return true;
}

bool num_parse_memory(const char *text, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } units[] = {
        {"", 1},
        {"b", 1},
        {"k", 1000},
        {"kb", UINT64_C(1) << 10},
        {"m", 1000 * 1000},
        {"mb", UINT64_C(1) << 20},
        {"g", UINT64_C(1000) * 1000 * 1000},
        {"gb", UINT64_C(1) << 30},
    };
    const size_t digits = strspn(text, "0123456789");
    uint64_t value = 0;

    for (size_t i = 0; i < digits; i++) {
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(text[i] - '0'), &value))
            return false;
    }
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (bytes_eq_nocase(bytes_cstr(text + digits), units[i].name)) {
            if (__builtin_mul_overflow(value, units[i].bytes, &value))
                return false;
            *out = value;
            return true;
        }
    }
    return false;
}

size_t num_digits_u64(uint64_t value)
{
    size_t digits = 1;

    for (; value >= 10000; value /= 10000)
        digits += 4;
    if (value >= 1000)
        return digits + 3;
    if (value >= 100)
        return digits + 2;
    return value >= 10 ? digits + 1 : digits;
}

size_t num_print_u64(char out[NUM_I64_BYTES], uint64_t value)
{
    /* Two digits per division. */
    static const char pairs[] = "00010203040506070809"
                                "10111213141516171819"
                                "20212223242526272829"
                                "30313233343536373839"
                                "40414243444546474849"
                                "50515253545556575859"
                                "60616263646566676869"
                                "70717273747576777879"
                                "80818283848586878889"
                                "90919293949596979899";
    const size_t len = num_digits_u64(value);
    char *at = out + len;

    *at = '\0';
    while (value >= 100) {
        at -= 2;
        memcpy(at, pairs + (value % 100) * 2, 2);
        value /= 100;
    }
    if (value >= 10)
        memcpy(out, pairs + value * 2, 2);
    else
        out[0] = (char)('0' + value);
    return len;
}

size_t num_print_i64(char out[NUM_I64_BYTES], int64_t value)
{
    if (value >= 0)
        return num_print_u64(out, (uint64_t)value);
    /* Negated as unsigned: the smallest value has no positive twin. Its 19 digits leave room. */
    char digits[NUM_I64_BYTES];
    const size_t len = num_print_u64(digits, 0 - (uint64_t)value);

    out[0] = '-';
    memcpy(out + 1, digits, len + 1);
    return len + 1;
}

/* NaN and the infinities; 0 if `value` is none of them. */
static size_t print_special(char *out, size_t size, long double value)
{
    const char *text = NULL;

    if (isnan(value))
        text = "nan";
    else if (isinf(value))
        text = value > 0 ? "inf" : "-inf";
    if (text == NULL)
        return 0;
    const size_t len = strlen(text);
    CHECK(len < size);
    memcpy(out, text, len + 1);
    return len;
}

size_t num_print_double(char out[NUM_DOUBLE_BYTES], double value)
{
    /* Within 2^52 every whole double prints in "%.17g" as the integer it is, only slower. */
    const double whole_limit = 4503599627370496.0;
    const size_t special = print_special(out, NUM_DOUBLE_BYTES, (long double)value);

    if (special != 0)
        return special;
    if (value > -whole_limit && value < whole_limit) {
        const int64_t whole = (int64_t)value;
        /* Zero has a sign that an integer cannot hold. */
        if ((double)whole == value && (whole != 0 || !signbit(value)))
            return num_print_i64(out, whole);
    }
    const int len = snprintf(out, NUM_DOUBLE_BYTES, "%.17g", value);
    CHECK(len > 0 && len < NUM_DOUBLE_BYTES);
    return (size_t)len;
}

size_t num_print_ldouble(char out[NUM_LDOUBLE_BYTES], long double value)
{
    const size_t special = print_special(out, NUM_LDOUBLE_BYTES, value);

    if (special != 0)
        return special;
    const int printed = snprintf(out, NUM_LDOUBLE_BYTES, "%.17Lf", value);
    CHECK(printed > 0 && printed < NUM_LDOUBLE_BYTES);

    /* The format always has a point; the zeros before it must stay. */
    size_t len = (size_t)printed;
    while (out[len - 1] == '0')
        len--;
    if (out[len - 1] == '.')
        len--;
    /* What rounded to zero from below. */
    if (len == 2 && out[0] == '-' && out[1] == '0') {
        out[0] = '0';
        len = 1;
    }
    out[len] = '\0';
    return len;
}
