/* Rows of the usual forms: written, read and joined as bytes. */
#include "engine/value/row_plain.h"

#include <string.h>

#include "engine/base/codec.h"
#include "engine/base/le.h"

#include "engine/value/row_chunk_plain.h"
#include "engine/value/row_outline.h"
#include "engine/value/row_state.h"

#define PARTS_REMOVES (PART_RCTX | PART_RCTX_IS_CTX)
#define PARTS_CLEARS  (PART_CLEAR | PART_CLEAR_IS_CTX)
/* Number, tag and cuts of a value; number, type, target, tag and time of its expiry. */
#define SIB_HEAD_BYTES (1 + TAG_BYTES + 1)
#define EXP_BYTES      (1 + 1 + 2 * TAG_BYTES + 8)

/* --- writing --- */

static uint8_t *value_put(uint8_t *at, struct bytes value)
{
    at += varint_put(at, 2 * (uint64_t)value.len);
    if (value.len != 0)
        memcpy(at, value.ptr, value.len);
    return at + value.len;
}

int row_plain_append(const struct row_plain *p, struct buf *out)
{
    const size_t bound = ROW_GENERAL_HEAD_BYTES + vv_size(p->ctx) + 1 + TAG_BYTES + SIB_HEAD_BYTES +
                         ROW_CHUNKED_SIB_BYTES_MAX + p->value.len + EXP_BYTES;
    const bool expires = p->has_value && p->at_ms != 0 && p->at_ms != ROW_EXPIRE_NEVER;
    const int err = buf_reserve(out, bound);

    if (err != 0)
        return err;
    uint8_t *at = buf_end(out);
    *at++ = ROW_GENERAL;
    le16_store(at, (uint16_t)(PART_CTX | (p->removes ? PARTS_REMOVES : 0) |
                              (p->clears ? PARTS_CLEARS : 0) | (p->has_value ? PART_SIBS : 0) |
                              (expires ? PART_EXPS : 0)));
    at += 2;
    at += vv_encode(p->ctx, at);
    if (p->clears) {
        /* A vector of one. */
        *at++ = 1;
        *at++ = p->tag.origin;
        le64_store(at, p->tag.hlc);
        at += 8;
    }
    if (p->has_value) {
        *at++ = 1;
        tag_store(at, p->tag);
        at += TAG_BYTES;
        *at++ = 0; /* No cuts. */
        at = p->chunked ? row_outline_put_chunked(at, p->generation, p->len)
                        : value_put(at, p->value);
    }
    if (expires) {
        *at++ = 1;
        *at++ = VT_STRING;
        tag_store(at, p->tag);
        tag_store(at + TAG_BYTES, p->tag);
        le64_store(at + 2 * TAG_BYTES, p->at_ms);
        at += 2 * TAG_BYTES + 8;
    }
    buf_commit(out, (size_t)(at - buf_end(out)));
    return 0;
}

/* --- reading --- */

/* Both vectors as they are encoded, without their counts. Of a value in chunks only: generation,
   len. */
struct plain {
    unsigned parts;
    struct bytes ctx;
    struct bytes by;
    struct tag tag;
    struct bytes value;
    bool chunked;
    struct tag generation;
    uint64_t len;
    uint64_t at_ms;
};

static bool vector_leq(struct bytes a, struct bytes b)
{
    for (size_t at = 0; at < a.len; at += TAG_BYTES) {
        if (le64_load(a.ptr + at + 1) > row_vector_get(b, a.ptr[at]))
            return false;
    }
    return true;
}

static bool value_take(struct bytes *in, struct plain *out)
{
    struct bytes head;
    uint64_t len;

    if (!bytes_take(in, SIB_HEAD_BYTES, &head) || head.ptr[0] != 1 || head.ptr[1 + TAG_BYTES] != 0)
        return false;
    out->tag = tag_load(head.ptr + 1);
    if (tag_is_none(out->tag) || out->tag.hlc <= row_vector_get(out->ctx, out->tag.origin))
        return false;
    const size_t left = in->len;
    if (varint_get(in, &len) != 0 || left - in->len != varint_size(len))
        return false;
    out->chunked = len == 1;
    if (out->chunked)
        return row_outline_take_chunked(in, &out->generation, &out->len);
    if (len % 2 != 0 || len / 2 > SIZE_MAX)
        return false;
    return bytes_take(in, (size_t)(len / 2), &out->value);
}

static bool expiry_take(struct bytes *in, struct plain *out)
{
    struct bytes exp;

    if (!bytes_take(in, EXP_BYTES, &exp) || exp.ptr[0] != 1 || exp.ptr[1] != VT_STRING ||
        !tag_eq(tag_load(exp.ptr + 2), out->tag) ||
        !tag_eq(tag_load(exp.ptr + 2 + TAG_BYTES), out->tag))
        return false;
    out->at_ms = le64_load(exp.ptr + 2 + 2 * TAG_BYTES);
    return out->at_ms != 0 && out->at_ms != ROW_EXPIRE_NEVER;
}

/* Its context has seen the generation of its own value, which is in chunks. */
static bool is_cleared(const struct plain *p)
{
    return p->generation.hlc <= row_vector_get(p->ctx, p->generation.origin);
}

/* False for what is something else, or damaged. */
static bool plain_open(struct bytes row, struct plain *out)
{
    if (row.len < ROW_GENERAL_HEAD_BYTES || row.ptr[0] != ROW_GENERAL)
        return false;
    const unsigned parts = le16_load(row.ptr + 1);
    const unsigned removes = parts & PARTS_REMOVES;
    const unsigned clears = parts & PARTS_CLEARS;
    out->parts = parts;
    out->by = out->value = bytes_of(NULL, 0);
    out->tag = tag_of(0, 0);
    out->chunked = false;
    out->at_ms = 0;
    if ((parts & ~(unsigned)(PART_CTX | PARTS_REMOVES | PARTS_CLEARS | PART_SIBS | PART_EXPS)) !=
            0 ||
        (parts & PART_CTX) == 0 || (removes != 0 && removes != PARTS_REMOVES) ||
        (clears != 0 && clears != PARTS_CLEARS) || (parts & (PART_SIBS | PART_EXPS)) == PART_EXPS)
        return false;
    row = bytes_from(row, ROW_GENERAL_HEAD_BYTES);
    return row_vector_take(&row, &out->ctx) && (clears == 0 || row_vector_take(&row, &out->by)) &&
           ((parts & PART_SIBS) == 0 || value_take(&row, out)) &&
           (!out->chunked || clears == 0 || !is_cleared(out)) &&
           ((parts & PART_EXPS) == 0 || expiry_take(&row, out)) && row.len == 0;
}

static bool is_dead(struct bytes row)
{
    return row.len == 0 || (row.len == 1 && row.ptr[0] == ROW_DEAD);
}

/* --- joining --- */

static bool is_value(struct bytes row)
{
    if (row.ptr[0] == ROW_VALUE)
        return row.len >= ROW_VALUE_AT;
    return row.ptr[0] == ROW_VALUE_TTL && row.len >= ROW_TTL_VALUE_AT &&
           le64_load(row.ptr + ROW_TTL_AT) != 0 &&
           le64_load(row.ptr + ROW_TTL_AT) != ROW_EXPIRE_NEVER;
}

static bool is_count(struct bytes row)
{
    return row.len == ROW_COUNT_BYTES && row.ptr[0] == ROW_COUNT &&
           le64_load(row.ptr + ROW_COUNT_START_AT) != 0 &&
           le64_load(row.ptr + ROW_COUNT_START_AT) <= le64_load(row.ptr + ROW_COUNT_HLC_AT);
}

/* A change of a part without a time for itself, to a string whose generation has one: that stays.
 */
static bool keeps_time(const struct plain *p, struct bytes row)
{
    return p->chunked && p->at_ms == 0 && row_is_chunked(row) && row.ptr[0] == ROW_CHUNKED_TTL &&
           tag_eq(p->generation, tag_load(row.ptr + ROW_CHUNKED_GEN_AT));
}

/*
 * The full row is one that the operand takes away as a whole. Where one of them is in chunks, the
 * clear vector of the other stays.
 */
static bool covers(const struct plain *p, struct bytes row)
{
    const bool clears = (p->parts & PARTS_CLEARS) != 0;

    if (p->chunked && clears)
        return false;
    if (is_dead(row))
        return true;
    if (is_value(row) ||
        (!clears && row_chunked_sound(row) && (row.ptr[0] == ROW_CHUNKED || keeps_time(p, row)))) {
        const struct tag tag = tag_load(row.ptr + ROW_TAG_AT);
        return !tag_is_none(tag) && tag.hlc <= row_vector_get(p->ctx, tag.origin);
    }
    return is_count(row) && (p->parts & PART_RCTX) != 0 &&
           le64_load(row.ptr + ROW_COUNT_HLC_AT) <= row_vector_get(p->ctx, row.ptr[1]);
}

static int append_value(const struct plain *p, struct buf *out)
{
    const int err =
        buf_reserve(out, row_value_size(p->value.len, p->at_ms != 0) + ROW_CHUNKED_BYTES);

    if (err == 0 && p->chunked)
        buf_commit(out, row_chunked_store(buf_end(out), p->tag, p->generation, p->len, p->at_ms));
    else if (err == 0)
        buf_commit(out, row_value_store(buf_end(out), p->tag, p->value, p->at_ms));
    return err == 0 ? 1 : err;
}

/* The part in place of the value that it has seen, with the time of their generation. */
static int append_part(const struct plain *p, struct bytes row, struct buf *out)
{
    const int err = buf_reserve(out, ROW_CHUNKED_BYTES);

    if (err != 0)
        return err;
    uint8_t *at = buf_end(out);
    buf_commit(out, row_chunked_store(at, p->tag, p->generation, p->len,
                                      le64_load(row.ptr + ROW_CHUNKED_TTL_AT)));
    at[0] = ROW_CHUNKED_TTL;
    return 1;
}

static int append(struct bytes row, struct buf *out)
{
    const int err = buf_append_bytes(out, row);

    return err == 0 ? 1 : err;
}

static bool is_coll(struct bytes row)
{
    return row.len == ROW_COLL_BYTES && row.ptr[0] == ROW_COLL && row.ptr[1] > VT_STRING &&
           row.ptr[1] < VT_END && !tag_is_none(tag_load(row.ptr + ROW_COLL_TAG_AT));
}

static struct row_outline_run run_of_count(struct bytes row)
{
    return (struct row_outline_run){.origin = row.ptr[1],
                                    .start = le64_load(row.ptr + ROW_COUNT_START_AT),
                                    .hlc = le64_load(row.ptr + ROW_COUNT_HLC_AT),
                                    .isum = (int64_t)le64_load(row.ptr + ROW_COUNT_SUM_AT)};
}

/* A GENERAL row with a count or an assertion of which it has an earlier one. */
static int join_outline(const struct row_outline *o, struct bytes row, struct buf *out)
{
    if (is_count(row)) {
        const struct row_outline_run run = run_of_count(row);
        return row_outline_join_run(o, &run, out);
    }
    if (!is_coll(row) || le64_load(row.ptr + ROW_COLL_LSN_AT) != 0 ||
        le64_load(row.ptr + ROW_COLL_COUNT_AT) != 0)
        return 0;
    return row_outline_join_type(o, row.ptr[1], tag_load(row.ptr + ROW_COLL_TAG_AT), out);
}

/* Of two states of one run the later one. */
static int join_counts(struct bytes a, struct bytes b, struct buf *out)
{
    static const uint8_t order[2] = {ROW_COUNT_HLC_AT, ROW_COUNT_START_AT};

    if (!is_count(a) || !is_count(b) || a.ptr[1] != b.ptr[1])
        return 0;
    for (unsigned i = 0; i < 2; i++) {
        const uint64_t of_a = le64_load(a.ptr + order[i]);
        const uint64_t of_b = le64_load(b.ptr + order[i]);
        if (of_a != of_b)
            return append(of_a < of_b ? b : a, out);
    }
    const int64_t sum_a = (int64_t)le64_load(a.ptr + ROW_COUNT_SUM_AT);
    return append(sum_a < (int64_t)le64_load(b.ptr + ROW_COUNT_SUM_AT) ? b : a, out);
}

/* Of two assertions the later tag, and of two counts the later one. */
static int join_colls(struct bytes a, struct bytes b, struct buf *out)
{
    if (!is_coll(a) || !is_coll(b) || a.ptr[1] != b.ptr[1])
        return 0;
    const struct tag tag_a = tag_load(a.ptr + ROW_COLL_TAG_AT);
    const struct tag tag_b = tag_load(b.ptr + ROW_COLL_TAG_AT);
    if (tag_a.origin != tag_b.origin)
        return 0;
    const uint64_t lsn_a = le64_load(a.ptr + ROW_COLL_LSN_AT);
    const uint64_t lsn_b = le64_load(b.ptr + ROW_COLL_LSN_AT);
    const uint64_t count_a = le64_load(a.ptr + ROW_COLL_COUNT_AT);
    const uint64_t count_b = le64_load(b.ptr + ROW_COLL_COUNT_AT);
    const bool of_b = lsn_b > lsn_a || (lsn_b == lsn_a && count_b > count_a);
    uint8_t row[ROW_COLL_BYTES];

    const size_t len = row_coll_store(row, a.ptr[1], tag_a.hlc < tag_b.hlc ? tag_b : tag_a,
                                      of_b ? count_b : count_a, of_b ? lsn_b : lsn_a);
    return append(bytes_of(row, len), out);
}

/* A change of a part of a string in chunks, and the value that it has seen beside a clear vector.
 */
static int fold_part(const struct plain *p, struct bytes existing, struct buf *out)
{
    const unsigned parts = (unsigned)PART_CLEAR | PART_SIBS;
    struct row_outline o;

    if (p->parts != ((unsigned)PART_CTX | PART_SIBS) || !p->chunked ||
        !row_outline_open(existing, &o) || o.parts != parts || !o.chunked ||
        o.sib.hlc > row_vector_get(p->ctx, o.sib.origin) ||
        p->generation.hlc <= row_vector_get(o.clear, p->generation.origin))
        return 0;
    const int err = row_outline_put_sib(&o, p->tag, p->generation, p->len, out);
    return err == 0 ? 1 : err;
}

int row_plain_fold(struct bytes existing, struct bytes operand, struct buf *out)
{
    static const uint8_t dead_row[1] = {ROW_DEAD};
    const struct bytes dead = bytes_of(dead_row, sizeof(dead_row));
    struct row_outline o;
    struct plain p;

    if (is_dead(existing) && (is_count(operand) || is_coll(operand)))
        return append(operand, out);
    if (operand.len == 0)
        return 0;
    switch ((enum row_form)operand.ptr[0]) {
    case ROW_GENERAL:
        if (!plain_open(operand, &p))
            return 0;
        if (!covers(&p, existing))
            return fold_part(&p, existing, out);
        if ((p.parts & PART_SIBS) == 0)
            return append(dead, out);
        return keeps_time(&p, existing) ? append_part(&p, existing, out) : append_value(&p, out);
    case ROW_COUNT:
    case ROW_COLL:
        /* A full row has no contexts. */
        if (row_outline_open(existing, &o))
            return (o.parts & PART_CTX) == 0 ? join_outline(&o, operand, out) : 0;
        return operand.ptr[0] == ROW_COUNT ? join_counts(existing, operand, out)
                                           : join_colls(existing, operand, out);
    case ROW_CHUNK:
    case ROW_CHUNKS:
        return row_chunk_plain_join(existing, operand, out);
    case ROW_DEAD:
    case ROW_VALUE:
    case ROW_VALUE_TTL:
    case ROW_CHUNKED:
    case ROW_CHUNKED_TTL:
    case ROW_POISON:
    default:
        return 0;
    }
}

/* Everything that the older one says, the newer one says, too, or takes back. */
static bool says_more(const struct plain *newer, const struct plain *older)
{
    const unsigned marks = PART_RCTX | PART_CLEAR;

    /* That there were chunks is remembered. */
    if (older->chunked && !newer->chunked)
        return false;
    return (older->parts & marks & ~newer->parts) == 0 && vector_leq(older->ctx, newer->ctx) &&
           vector_leq(older->by, newer->by) &&
           ((older->parts & PART_SIBS) == 0 ||
            older->tag.hlc <= row_vector_get(newer->ctx, older->tag.origin));
}

int row_plain_join(struct bytes older, struct bytes newer, struct buf *out)
{
    struct row_outline o;
    struct plain a, b;

    if (older.len == 0 || newer.len == 0)
        return 0;
    if (row_is_chunk(newer))
        return row_chunk_plain_join(older, newer, out);
    if (older.ptr[0] != newer.ptr[0])
        return row_outline_open(older, &o) ? join_outline(&o, newer, out) : 0;
    if (newer.ptr[0] == ROW_COUNT)
        return join_counts(older, newer, out);
    if (newer.ptr[0] == ROW_COLL)
        return join_colls(older, newer, out);
    if (newer.ptr[0] != ROW_GENERAL || !plain_open(newer, &b) || !plain_open(older, &a) ||
        !says_more(&b, &a))
        return 0;
    return append(newer, out);
}
