/* Strings as bits: the handlers of the bitmap group. */
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/value/row_chunk.h"

#include "server/bits.h"
#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"

/* What one change of a field takes in the log, at most: images of two chunks, and the key row. */
#define FIELD_LOG_BYTES (2 * ROW_CHUNK_BYTES + 256)
/* A field may touch this many bytes. */
#define FIELD_BYTES_MAX 9

/* --- reading --- */

/* Up to `len` bytes from `offset` on, zeros behind the end. `obj` may be NULL. */
static void read_bytes(const struct request *rq, const struct obj *obj, uint64_t offset,
                       uint8_t *dst, size_t len)
{
    char text[REQ_TEXT_BYTES];
    const uint64_t have = obj == NULL ? 0 : req_string_len(rq, obj);
    const size_t n = offset >= have ? 0 : (size_t)u64_min(len, have - offset);

    memset(dst + n, 0, len - n);
    if (n == 0)
        return;
    if (obj_is_chunked(obj))
        strval_copy(obj_coll(obj), offset, dst, n);
    else
        memcpy(dst, req_string(rq, obj, text).ptr + offset, n);
}

/* The bytes from `offset` on that lie in one piece, up to `max`; zeros have no address. */
static struct bytes run_of(const struct request *rq, const struct obj *obj, uint64_t offset,
                           uint64_t max, char text[REQ_TEXT_BYTES])
{
    if (obj_is_chunked(obj))
        return strval_run(obj, offset, max);
    return bytes_of(req_string(rq, obj, text).ptr + offset, (size_t)max);
}

static bool reply_range_error(struct request *rq, enum bits_error err)
{
    if (err == BITS_NOT_INTEGER)
        reply_err_not_integer(rq->out);
    else if (err == BITS_SYNTAX)
        reply_err_syntax(rq->out);
    return err == BITS_NOT_INTEGER || err == BITS_SYNTAX;
}

static bool bit_offset(struct request *rq, uint32_t index, uint64_t *out)
{
    if (bits_offset(rq->argv[index], shard_bulk_bytes_max(rq->sh), out))
        return true;
    reply_error(rq->out, "ERR bit offset is not an integer or out of range");
    return false;
}

void cmd_getbit(struct request *rq)
{
    uint64_t bit;
    uint8_t byte;
    const struct ks_key key = req_key(rq, 1);
    if (!bit_offset(rq, 2, &bit))
        return;
    const struct obj *obj = req_get(rq, &key);
    if (!req_type_ok(rq, obj, VT_STRING))
        return;
    read_bytes(rq, obj, bit / 8, &byte, 1);
    reply_i64(rq->out, row_chunk_bit(&byte, bit % 8));
}

void cmd_bitcount(struct request *rq)
{
    struct bits_range range;
    char text[REQ_TEXT_BYTES];
    uint64_t count = 0;
    const struct ks_key key = req_key(rq, 1);
    const struct obj *obj = req_get(rq, &key);
    if (obj == NULL) {
        reply_i64(rq->out, 0);
        return;
    }
    if (!req_type_ok(rq, obj, VT_STRING))
        return;
    const enum bits_error err =
        bits_range(rq->argc, rq->argv, 2, false, req_string_len(rq, obj), &range);
    if (reply_range_error(rq, err))
        return;
    while (err == BITS_OK && range.first < range.end) {
        const uint64_t at = range.first / 8;
        const struct bytes run = run_of(rq, obj, at, (range.end + 7) / 8 - at, text);
        const uint64_t end = u64_min(range.end, (at + run.len) * 8);
        if (run.ptr != NULL)
            count += bits_count(run, range.first - at * 8, end - at * 8);
        range.first = end;
    }
    reply_u64(rq->out, count);
}

/* Where the first `bit` of the range is; `range->end` if there is none. */
static uint64_t find_bit(const struct request *rq, const struct obj *obj,
                         const struct bits_range *range, bool bit)
{
    char text[REQ_TEXT_BYTES];

    for (uint64_t first = range->first; first < range->end;) {
        const uint64_t at = first / 8;
        const struct bytes run = run_of(rq, obj, at, (range->end + 7) / 8 - at, text);
        const uint64_t end = u64_min(range->end, (at + run.len) * 8);
        if (run.ptr == NULL && !bit)
            return first;
        const uint64_t found =
            run.ptr == NULL ? end : at * 8 + bits_find(run, first - at * 8, end - at * 8, bit);
        if (found < end)
            return found;
        first = end;
    }
    return range->end;
}

void cmd_bitpos(struct request *rq)
{
    int64_t bit;
    struct bits_range range;
    const struct ks_key key = req_key(rq, 1);
    if (!req_i64(rq, 2, &bit))
        return;
    if (bit != 0 && bit != 1) {
        reply_error(rq->out, "ERR The bit argument must be 1 or 0.");
        return;
    }
    const struct obj *obj = req_get(rq, &key);
    if (obj == NULL) {
        reply_i64(rq->out, bit != 0 ? -1 : 0);
        return;
    }
    if (!req_type_ok(rq, obj, VT_STRING))
        return;
    const enum bits_error err =
        bits_range(rq->argc, rq->argv, 3, true, req_string_len(rq, obj), &range);
    if (reply_range_error(rq, err))
        return;
    if (err == BITS_EMPTY) {
        reply_i64(rq->out, -1);
        return;
    }
    const uint64_t at = find_bit(rq, obj, &range, bit != 0);
    /* Behind a string that ends by itself there are zeros. */
    if (at == range.end && (bit != 0 || range.end_given))
        reply_i64(rq->out, -1);
    else
        reply_u64(rq->out, at);
}

/* --- SETBIT --- */

void cmd_setbit(struct request *rq)
{
    uint64_t bit;
    int64_t value;
    uint8_t byte;
    const struct ks_key key = req_key(rq, 1);
    if (!bit_offset(rq, 2, &bit))
        return;
    if (!num_parse_i64(rq->argv[3], &value) || (value != 0 && value != 1)) {
        reply_error(rq->out, "ERR bit is not an integer or out of range");
        return;
    }
    const struct obj *obj = req_get(rq, &key);
    if (!req_type_ok(rq, obj, VT_STRING))
        return;
    read_bytes(rq, obj, bit / 8, &byte, 1);
    const bool old = row_chunk_bit(&byte, bit % 8);
    const bool longer = obj == NULL || bit / 8 >= req_string_len(rq, obj);
    const bool changes =
        old != (value != 0) || longer || mut_string_ships_parts(rq->mut, &key, obj);
    const int err = changes ? mut_string_bits(rq->mut, &key, bit, 1, (uint64_t)value) : 0;
    if (err != 0) {
        req_log_full(rq, err);
        return;
    }
    req_string_form(rq, &key, BLK_RAW);
    reply_i64(rq->out, old);
}

/* --- BITFIELD --- */

static void reply_field_error(struct request *rq, enum field_step step)
{
    switch (step) {
    case FIELD_BAD_OVERFLOW:
        reply_error(rq->out, "ERR Invalid OVERFLOW type specified");
        return;
    case FIELD_BAD_TYPE:
        reply_error(rq->out, "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 "
                             "is not supported but i64 is.");
        return;
    case FIELD_BAD_OFFSET:
        reply_error(rq->out, "ERR bit offset is not an integer or out of range");
        return;
    case FIELD_BAD_VALUE:
        reply_err_not_integer(rq->out);
        return;
    case FIELD_SYNTAX:
    case FIELD_OP:
    case FIELD_END:
        break;
    }
    reply_err_syntax(rq->out);
}

/* What the operations come to, before the first of them runs. */
struct fields {
    uint32_t count;
    uint32_t writes;
    uint64_t end; /* Bytes up to the last bit that is written. */
};

static struct field_args field_args(const struct request *rq)
{
    return (struct field_args){.argc = rq->argc,
                               .argv = rq->argv,
                               .string_bytes_max = shard_bulk_bytes_max(rq->sh),
                               .at = 2};
}

/* False after the error reply. */
static bool fields_parse(struct request *rq, struct fields *out)
{
    struct field_args args = field_args(rq);
    struct field_op op;
    enum field_step step;

    *out = (struct fields){0};
    while ((step = field_next(&args, &op)) == FIELD_OP) {
        out->count++;
        if (op.kind == FIELD_GET)
            continue;
        out->writes++;
        out->end = u64_max(out->end, (op.offset + op.width - 1) / 8 + 1);
    }
    if (step == FIELD_END)
        return true;
    reply_field_error(rq, step);
    return false;
}

/* The string as one row while its fields are changed. */
struct field_text {
    uint8_t *bytes; /* NULL: it is in chunks, and changed in place. */
    size_t len;
};

static void load_field(struct request *rq, const struct ks_key *key, const struct field_text *text,
                       const struct field_op *op, uint8_t dst[FIELD_BYTES_MAX])
{
    const uint64_t at = op->offset / 8;

    if (text->bytes == NULL) {
        read_bytes(rq, ks_get(rq->ks, key, rq->now_ms), at, dst, FIELD_BYTES_MAX);
        return;
    }
    memset(dst, 0, FIELD_BYTES_MAX);
    if (at < text->len)
        memcpy(dst, text->bytes + at, size_min(FIELD_BYTES_MAX, text->len - (size_t)at));
}

static bool ships_parts(const struct request *rq, const struct ks_key *key)
{
    return mut_string_ships_parts(rq->mut, key, ks_get(rq->ks, key, rq->now_ms));
}

/*
 * Room for `writes` fields of a string in chunks; in a group each may write all of it, if this
 * batch has made it long. False: there is none at the moment, and the command waits for its turn,
 * in which the string is there already and takes parts. Behind the first reply it could not.
 */
static bool fields_room(struct request *rq, const struct ks_key *key, uint32_t writes)
{
    const struct obj *obj = ks_get(rq->ks, key, rq->now_ms);
    size_t each = FIELD_LOG_BYTES, len;

    if (rq->nested || !obj_is_chunked(obj))
        return true;
    if (rq->sh->group != NULL && !ships_parts(rq, key))
        each += (size_t)req_string_len(rq, obj);
    if (size_mul_overflow(writes, each, &len) || mut_room(rq->mut, len) != -ERR_BUSY)
        return true;
    req_log_full(rq, -ERR_BUSY);
    return false;
}

/* Between the replies of other fields: the command may not wait. */
static void reply_field_full(struct request *rq, int err)
{
    if (err == -ERR_BUSY)
        reply_err_oom(rq->out, "the op log is full at the moment");
    else
        req_log_full(rq, err);
}

/*
 * One operation, with its reply. Of a string in chunks that is written whole, in a group or after a
 * SET in the same transaction, the log may have no room: then the error stands in the field's
 * place.
 */
static bool run_field(struct request *rq, const struct ks_key *key, struct field_text *text,
                      const struct field_op *op)
{
    uint8_t near[FIELD_BYTES_MAX];
    uint64_t new_raw;
    int64_t shown;

    load_field(rq, key, text, op, near);
    const uint64_t raw = field_load(near, op->offset % 8, op->width);
    if (op->kind == FIELD_GET) {
        reply_i64(rq->out, field_value(op, raw));
        return false;
    }
    if (!field_change(op, raw, &new_raw, &shown)) {
        reply_null(rq->out);
        return false;
    }
    if (text->bytes == NULL && (new_raw != raw || ships_parts(rq, key))) {
        const int err = mut_string_bits(rq->mut, key, op->offset, op->width, new_raw);
        if (err != 0)
            reply_field_full(rq, err);
        else
            reply_i64(rq->out, shown);
        return false;
    }
    reply_i64(rq->out, shown);
    if (new_raw == raw)
        return false;
    for (uint32_t i = 0; i < op->width; i++)
        row_chunk_put_bit(text->bytes, op->offset + i, (new_raw >> (op->width - 1u - i) & 1) != 0);
    return true;
}

/* Makes the string reach to the last bit that is written; false after the error reply. */
static bool extend(struct request *rq, const struct ks_key *key, uint64_t end)
{
    const struct obj *obj = ks_get(rq->ks, key, rq->now_ms);

    if (end <= (obj == NULL ? 0 : req_string_len(rq, obj)))
        return true;
    const int err = mut_string_lengthen(rq->mut, key, end);
    if (err != 0)
        req_log_full(rq, err);
    return err == 0;
}

/* `changed`: the text is not what is there even if no field changes. */
static void run_fields(struct request *rq, const struct ks_key *key, struct field_text *text,
                       bool changed)
{
    struct field_args args = field_args(rq);
    struct field_op op;

    while (field_next(&args, &op) == FIELD_OP)
        changed = run_field(rq, key, text, &op) || changed;
    if (!changed)
        return;
    const struct obj *obj = ks_get(rq->ks, key, rq->now_ms);
    mut_set(rq->mut, key, bytes_of(text->bytes, text->len), obj == NULL ? 0 : ks_expire_at(obj));
}

static void bitfield(struct request *rq, bool read_only)
{
    struct fields fields;
    struct field_text text = {0};
    const struct ks_key key = req_key(rq, 1);

    if (!fields_parse(rq, &fields))
        return;
    if (fields.writes != 0 && read_only) {
        reply_error(rq->out, "ERR BITFIELD_RO only supports the GET subcommand");
        return;
    }
    const struct obj *obj = fields.writes == 0 ? req_read(rq, &key) : req_get(rq, &key);
    if (!req_type_ok(rq, obj, VT_STRING))
        return;
    /* One that is made here, and is one row, is written once. */
    const bool made = fields.writes != 0 && obj == NULL && fields.end <= ROW_INLINE_BYTES_MAX;
    if (fields.writes != 0) {
        if (!req_log_room(rq, fields.writes,
                          (size_t)fields.writes * FIELD_LOG_BYTES +
                              2 * (size_t)ROW_INLINE_BYTES_MAX) ||
            (!made && (!extend(rq, &key, fields.end) || !fields_room(rq, &key, fields.writes))))
            return;
        obj = ks_get(rq->ks, &key, rq->now_ms);
    }
    if (made || (obj != NULL && !obj_is_chunked(obj))) {
        text.len = made ? (size_t)fields.end : (size_t)req_string_len(rq, obj);
        text.bytes = mem_alloc(size_max(text.len, 1));
        read_bytes(rq, obj, 0, text.bytes, text.len);
    }
    reply_array(rq->out, fields.count);
    run_fields(rq, &key, &text, made);
    if (fields.writes != 0)
        req_string_form(rq, &key, BLK_RAW);
    mem_free(text.bytes);
}

void cmd_bitfield(struct request *rq)
{
    bitfield(rq, false);
}

void cmd_bitfield_ro(struct request *rq)
{
    bitfield(rq, true);
}

/* --- BITOP --- */

enum bitop {
    BITOP_AND,
    BITOP_OR,
    BITOP_XOR,
    BITOP_NOT,
    BITOP_NONE
};

static enum bitop bitop_of(const struct request *rq)
{
    static const char *const names[] = {"AND", "OR", "XOR", "NOT"};
    unsigned op = 0;

    while (op < BITOP_NONE && !req_is(rq, 1, names[op]))
        op++;
    return (enum bitop)op;
}

static void join_run(uint8_t *into, struct bytes run, enum bitop op)
{
    static const uint8_t zeros[ROW_CHUNK_BYTES];
    const uint8_t *from = run.ptr;

    /* Zeros come a chunk at a time at most. */
    if (from == NULL)
        from = zeros;
    for (size_t i = 0; i < run.len; i++) {
        if (op == BITOP_AND)
            into[i] &= from[i];
        else if (op == BITOP_OR)
            into[i] |= from[i];
        else if (op == BITOP_XOR)
            into[i] ^= from[i];
        else
            into[i] = (uint8_t)~from[i];
    }
}

/* `result` has `len` bytes, and after the first source what that has. */
static void join_source(struct request *rq, uint32_t index, enum bitop op, uint8_t *result,
                        uint64_t len)
{
    char text[REQ_TEXT_BYTES];
    const struct ks_key key = req_key(rq, index);
    const struct obj *obj = ks_get(rq->ks, &key, rq->now_ms);
    const uint64_t have = obj == NULL ? 0 : req_string_len(rq, obj);

    if (index == 3 && op != BITOP_NOT) {
        read_bytes(rq, obj, 0, result, (size_t)len);
        return;
    }
    for (uint64_t at = 0; at < have;) {
        const struct bytes run = run_of(rq, obj, at, have - at, text);
        join_run(result + at, run, op);
        at += run.len;
    }
    if (op == BITOP_AND)
        memset(result + have, 0, (size_t)(len - have));
}

void cmd_bitop(struct request *rq)
{
    const enum bitop op = bitop_of(rq);
    const struct ks_key to = req_key(rq, 2);
    struct obj *old;
    uint64_t len = 0;

    if (op == BITOP_NONE) {
        reply_err_syntax(rq->out);
        return;
    }
    if (op == BITOP_NOT && rq->argc != 4) {
        reply_error(rq->out, "ERR BITOP NOT must be called with a single source key.");
        return;
    }
    for (uint32_t i = 3; i < rq->argc; i++) {
        const struct ks_key key = req_key(rq, i);
        const struct obj *obj = req_read(rq, &key);
        if (!req_type_ok(rq, obj, VT_STRING))
            return;
        len = u64_max(len, obj == NULL ? 0 : req_string_len(rq, obj));
    }
    if (len == 0) {
        if (ks_find(rq->ks, &to, rq->now_ms, &old, NULL) != KS_ABSENT)
            mut_del(rq->mut, &to);
        reply_i64(rq->out, 0);
        return;
    }
    if (!req_log_room(rq, 1, (size_t)len))
        return;
    uint8_t *result = mem_try_alloc((size_t)len);
    if (result == NULL) {
        reply_err_oom(rq->out, "the value does not fit into memory");
        return;
    }
    for (uint32_t i = 3; i < rq->argc; i++)
        join_source(rq, i, op, result, len);
    mut_set(rq->mut, &to, bytes_of(result, (size_t)len), 0);
    req_string_form(rq, &to, BLK_RAW);
    mem_free(result);
    reply_u64(rq->out, len);
}
