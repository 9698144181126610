/*
 * What the commands on bits compute: ranges, fields, counts. Bit 0 is the most significant one of
 * the first byte.
 */
#ifndef TIERRA_SERVER_BITS_H
#define TIERRA_SERVER_BITS_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

/* A bit offset of SETBIT and its like: below 8 times the longest string. */
MUST_USE bool bits_offset(struct bytes text, uint64_t string_bytes_max, uint64_t *out);

/* --- BITCOUNT and BITPOS --- */

enum bits_error {
    BITS_OK,
    BITS_NOT_INTEGER,
    BITS_SYNTAX,
    BITS_EMPTY /* The range has no bit. */
};

struct bits_range {
    uint64_t first; /* Bits. */
    uint64_t end;   /* Not included. */
    bool end_given;
};

/*
 * The range in arguments `at` and on: [start [end [BYTE | BIT]]] of a string of `len` bytes. With
 * `start_alone` (BITPOS) the end may be missing.
 */
enum bits_error bits_range(uint32_t argc, const struct bytes *argv, uint32_t at, bool start_alone,
                           uint64_t len, struct bits_range *out);

/* Of the bits first .. end of `bytes`, how many are set; where the first `bit` is, or `end`. */
uint64_t bits_count(struct bytes bytes, uint64_t first, uint64_t end);
uint64_t bits_find(struct bytes bytes, uint64_t first, uint64_t end, bool bit);

/* --- BITFIELD --- */

enum field_kind {
    FIELD_GET,
    FIELD_SET,
    FIELD_INCRBY
};

enum field_overflow {
    FIELD_WRAP,
    FIELD_SAT,
    FIELD_FAIL
};

struct field_op {
    uint8_t kind;
    uint8_t overflow;
    bool is_signed;
    uint8_t width; /* 1 .. 64 bits */
    uint64_t offset;
    int64_t value;
};

enum field_step {
    FIELD_END,
    FIELD_OP,
    FIELD_SYNTAX,
    FIELD_BAD_OVERFLOW,
    FIELD_BAD_TYPE,
    FIELD_BAD_OFFSET,
    FIELD_BAD_VALUE
};

struct field_args {
    uint32_t argc;
    const struct bytes *argv;
    uint64_t string_bytes_max;
    uint32_t at; /* Starts as 2. */
    uint8_t overflow;
};

/* The next operation of BITFIELD. */
enum field_step field_next(struct field_args *args, struct field_op *out);

/* The field as a number, and a number as the field's bits. */
int64_t field_value(const struct field_op *op, uint64_t raw);

/*
 * What SET and INCRBY make of a field: `*out_raw` is to be stored, `*out_reply` to be replied.
 * False: it overflows and must stay as it is.
 */
bool field_change(const struct field_op *op, uint64_t raw, uint64_t *out_raw, int64_t *out_reply);

/* `width` bits from bit `bit` of the bytes on. */
uint64_t field_load(const uint8_t *bytes, uint64_t bit, uint32_t width);

#endif
