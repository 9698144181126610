/* Ranges, fields and counts of bits; bits.h tells. */
#include "server/bits.h"

#include <string.h>

#include "engine/base/num.h"

/* Sums of 64-bit fields and 64-bit increments. A compiler extension, named once. */
__extension__ typedef __int128 wide;

bool bits_offset(struct bytes text, uint64_t string_bytes_max, uint64_t *out)
{
    int64_t offset;

    if (!num_parse_i64(text, &offset) || offset < 0 || (uint64_t)offset / 8 >= string_bytes_max)
        return false;
    *out = (uint64_t)offset;
    return true;
}

/* --- ranges --- */

/* The unit in argument `at`; false if it is none. */
static bool unit_is_bit(struct bytes word, bool *out)
{
    *out = bytes_eq_nocase(word, "BIT");
    return *out || bytes_eq_nocase(word, "BYTE");
}

enum bits_error bits_range(uint32_t argc, const struct bytes *argv, uint32_t at, bool start_alone,
                           uint64_t len, struct bits_range *out)
{
    int64_t start = 0, end = -1;
    bool in_bits = false;

    *out = (struct bits_range){.end_given = argc > at + 1};
    if (argc > at + 3 || (argc == at + 1 && !start_alone))
        return BITS_SYNTAX;
    if (argc > at && !num_parse_i64(argv[at], &start))
        return BITS_NOT_INTEGER;
    /* BITPOS sees its unit before its end, BITCOUNT after. */
    if (start_alone && argc == at + 3 && !unit_is_bit(argv[at + 2], &in_bits))
        return BITS_SYNTAX;
    if (argc > at + 1 && !num_parse_i64(argv[at + 1], &end))
        return BITS_NOT_INTEGER;
    if (!start_alone && argc > at && start < 0 && end < 0 && start > end)
        return BITS_EMPTY;
    if (!start_alone && argc == at + 3 && !unit_is_bit(argv[at + 2], &in_bits))
        return BITS_SYNTAX;
    const int64_t total = (int64_t)(in_bits ? len * 8 : len);
    start = i64_max(start < 0 ? start + total : start, 0);
    end = i64_min(i64_max(end < 0 ? end + total : end, 0), total - 1);
    if (start > end)
        return BITS_EMPTY;
    const uint64_t unit = in_bits ? 1 : 8;
    out->first = (uint64_t)start * unit;
    out->end = ((uint64_t)end + 1) * unit;
    return BITS_OK;
}

/* --- counting --- */

static uint64_t load64(const uint8_t *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    return word;
}

/* Bits of a byte from `from` to `to` (not included) as a mask. */
static unsigned mask_of(unsigned from, unsigned to)
{
    return (0xffu >> from) & ~(0xffu >> to) & 0xffu;
}

uint64_t bits_count(struct bytes bytes, uint64_t first, uint64_t end)
{
    uint64_t at = first / 8, count = 0;
    const uint64_t last = end / 8;

    if (first >= end)
        return 0;
    if (at == last)
        return (uint64_t)__builtin_popcount(bytes.ptr[at] &
                                            mask_of((unsigned)(first % 8), (unsigned)(end % 8)));
    if (first % 8 != 0)
        count += (uint64_t)__builtin_popcount(bytes.ptr[at++] & mask_of(first % 8, 8));
    for (; at + 8 <= last; at += 8)
        count += (uint64_t)__builtin_popcountll(load64(bytes.ptr + at));
    for (; at < last; at++)
        count += (uint64_t)__builtin_popcount(bytes.ptr[at]);
    if (end % 8 != 0)
        count += (uint64_t)__builtin_popcount(bytes.ptr[last] & mask_of(0, end % 8));
    return count;
}

uint64_t bits_find(struct bytes bytes, uint64_t first, uint64_t end, bool bit)
{
    const uint8_t other = bit ? 0 : 0xff;
    const uint64_t others = bit ? 0 : UINT64_MAX;
    uint64_t at = first;

    while (at < end) {
        if (at % 8 == 0 && end - at >= 64 && load64(bytes.ptr + at / 8) == others)
            at += 64;
        else if (at % 8 == 0 && end - at >= 8 && bytes.ptr[at / 8] == other)
            at += 8;
        else if ((bytes.ptr[at / 8] >> (7 - at % 8) & 1) == bit)
            return at;
        else
            at++;
    }
    return end;
}

/* --- BITFIELD --- */

static bool type_of(struct bytes word, struct field_op *op)
{
    int64_t width;

    if (word.len < 2 || (word.ptr[0] != 'i' && word.ptr[0] != 'u'))
        return false;
    op->is_signed = word.ptr[0] == 'i';
    if (!num_parse_i64(bytes_from(word, 1), &width) || width < 1 ||
        width > (op->is_signed ? 64 : 63))
        return false;
    op->width = (uint8_t)width;
    return true;
}

/* "#3" is the fourth field of that width. */
static bool field_offset(const struct field_args *args, struct bytes word, struct field_op *op)
{
    int64_t index;
    uint64_t offset;

    if (word.len == 0 || word.ptr[0] != '#')
        return bits_offset(word, args->string_bytes_max, &op->offset);
    if (!num_parse_i64(bytes_from(word, 1), &index) || index < 0 ||
        __builtin_mul_overflow((uint64_t)index, (uint64_t)op->width, &offset) ||
        offset / 8 >= args->string_bytes_max)
        return false;
    op->offset = offset;
    return true;
}

static bool overflow_of(struct bytes word, uint8_t *out)
{
    if (bytes_eq_nocase(word, "WRAP"))
        *out = FIELD_WRAP;
    else if (bytes_eq_nocase(word, "SAT"))
        *out = FIELD_SAT;
    else if (bytes_eq_nocase(word, "FAIL"))
        *out = FIELD_FAIL;
    else
        return false;
    return true;
}

enum field_step field_next(struct field_args *args, struct field_op *out)
{
    while (args->at + 1 < args->argc && bytes_eq_nocase(args->argv[args->at], "OVERFLOW")) {
        if (!overflow_of(args->argv[args->at + 1], &args->overflow))
            return FIELD_BAD_OVERFLOW;
        args->at += 2;
    }
    if (args->at == args->argc)
        return FIELD_END;
    const uint32_t left = args->argc - args->at - 1;
    const struct bytes *argv = args->argv + args->at;
    *out = (struct field_op){.overflow = args->overflow};
    if (bytes_eq_nocase(argv[0], "GET") && left >= 2)
        out->kind = FIELD_GET;
    else if (bytes_eq_nocase(argv[0], "SET") && left >= 3)
        out->kind = FIELD_SET;
    else if (bytes_eq_nocase(argv[0], "INCRBY") && left >= 3)
        out->kind = FIELD_INCRBY;
    else
        return FIELD_SYNTAX;
    if (!type_of(argv[1], out))
        return FIELD_BAD_TYPE;
    if (!field_offset(args, argv[2], out))
        return FIELD_BAD_OFFSET;
    if (out->kind != FIELD_GET && !num_parse_i64(argv[3], &out->value))
        return FIELD_BAD_VALUE;
    args->at += out->kind == FIELD_GET ? 3 : 4;
    return FIELD_OP;
}

uint64_t field_load(const uint8_t *bytes, uint64_t bit, uint32_t width)
{
    uint64_t raw = 0;

    for (uint32_t i = 0; i < width; i++, bit++)
        raw = raw << 1 | (bytes[bit / 8] >> (7 - bit % 8) & 1);
    return raw;
}

int64_t field_value(const struct field_op *op, uint64_t raw)
{
    const unsigned unused = 64u - op->width;

    return op->is_signed ? (int64_t)(raw << unused) >> unused : (int64_t)raw;
}

static wide number_of(const struct field_op *op, uint64_t raw)
{
    return op->is_signed ? (wide)field_value(op, raw) : (wide)raw;
}

bool field_change(const struct field_op *op, uint64_t raw, uint64_t *out_raw, int64_t *out_reply)
{
    const uint64_t mask = UINT64_MAX >> (64 - op->width);
    const wide max = op->is_signed ? (wide)(mask >> 1) : (wide)mask;
    const wide min = op->is_signed ? -max - 1 : 0;
    const wide old = number_of(op, raw);
    wide sum;

    if (op->kind == FIELD_INCRBY)
        sum = old + op->value;
    else
        sum = op->is_signed ? (wide)op->value : (wide)(uint64_t)op->value;
    if (sum > max || sum < min) {
        if (op->overflow == FIELD_FAIL)
            return false;
        if (op->overflow == FIELD_SAT)
            sum = sum > max ? max : min;
    }
    *out_raw = (uint64_t)sum & mask;
    *out_reply = field_value(op, op->kind == FIELD_INCRBY ? *out_raw : raw);
    return true;
}
