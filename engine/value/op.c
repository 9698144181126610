/*
 * Codec of ops and batches; the header has the layout.
 */
#include "engine/value/op.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/codec.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#include "engine/value/row_chunk.h"
#include "engine/value/row_state.h"
#include "engine/value/rowkey.h"

#define BATCH_VERSION    0x20u
#define BATCH_F_CTX      0x01u
#define BATCH_F_FLUSH    0x02u
#define BATCH_FLAGS_MASK 0x0fu

/* Which parts an op of each kind has. */
enum op_part {
    HAS_SUB = 1,
    HAS_AT = 2, /* at_ms always; SET has it by flag. */
    HAS_RUN = 4,
    HAS_VALUE = 8,
    HAS_GENERATION = 16
};

static const uint8_t parts_of[OP_KIND_END] = {
    [OP_SET] = HAS_VALUE,
    [OP_INCR] = HAS_RUN,
    [OP_EXPIRE] = HAS_AT,
    [OP_ELEM_SET] = HAS_SUB | HAS_VALUE,
    [OP_ELEM_INCR] = HAS_SUB | HAS_RUN,
    [OP_ELEM_DEL] = HAS_SUB,
    [OP_KEY_MERGE] = HAS_VALUE,
    [OP_ROW_MERGE] = HAS_SUB | HAS_VALUE,
    [OP_STRING] = HAS_AT | HAS_GENERATION,
    [OP_CHUNK] = HAS_GENERATION | HAS_VALUE,
    [OP_BITS] = HAS_GENERATION,
};

static uint8_t flags_of(const struct op *op)
{
    unsigned flags = op->flags & (OP_COVER | OP_SHARED_TIME);

    if (op->kind == OP_SET && (op->expire_at_ms != 0 || op->value.len > ROW_INLINE_BYTES_MAX))
        flags |= OP_F_EXPIRE;
    if ((parts_of[op->kind] & HAS_RUN) != 0 && !fsum_is_zero(op->fsum))
        flags |= OP_F_FLOAT;
    if (op->seen.len != 0)
        flags |= OP_F_SEEN;
    if (op->has_count)
        flags |= OP_F_COUNT;
    return (uint8_t)flags;
}

static uint8_t *slice_put(uint8_t *dst, struct bytes slice)
{
    dst += varint_put(dst, slice.len);
    if (slice.len != 0)
        memcpy(dst, slice.ptr, slice.len);
    return dst + slice.len;
}

size_t op_size(const struct op *op)
{
    /* Kind, flags, type; four lengths; time; target; run; sum; count; string. */
    const size_t fixed = 3 + 4 * VARINT_BYTES_MAX + 8 + 1 + TAG_BYTES + 2 * VARINT_BYTES_MAX +
                         FSUM_BYTES + VARINT_BYTES_MAX + TAG_BYTES + 9 + 2 * VARINT_BYTES_MAX;

    return fixed + op->key.len + op->sub.len + op->value.len + op->seen.len;
}

/* Generation, and what the kind has beside it. */
static uint8_t *string_put(uint8_t *at, const struct op *op)
{
    tag_store(at, op->generation);
    at += TAG_BYTES;
    if (op->kind == OP_STRING) {
        le64_store(at, op->len);
        return at + 8;
    }
    at += varint_put(at, op->at);
    if (op->kind == OP_BITS) {
        *at++ = op->bits_count;
        at += varint_put(at, op->bits);
    }
    return at;
}

size_t op_store(uint8_t *dst, const struct op *op, uint64_t hlc)
{
    const uint8_t flags = flags_of(op);
    uint8_t *at = dst;

    CHECK(op->kind < OP_KIND_END);
    CHECK(op->key.len <= ROWKEY_NAME_BYTES_MAX);
    const unsigned parts = parts_of[op->kind];

    const bool has_value = (parts & HAS_VALUE) != 0 && op->value.len != 0;

    *at++ = (uint8_t)(op->kind | ((parts & HAS_VALUE) != 0 && !has_value ? OP_KIND_EMPTY : 0u) |
                      (flags != 0 ? OP_KIND_FLAGS : 0u));
    if (flags != 0)
        *at++ = flags;
    at = slice_put(at, op->key);
    if ((parts & HAS_SUB) != 0) {
        CHECK(op->sub.len <= ROWKEY_NAME_BYTES_MAX);
        *at++ = op->type;
        at = slice_put(at, op->sub);
    }
    if ((parts & HAS_AT) != 0 || (flags & OP_F_EXPIRE) != 0) {
        le64_store(at, op->expire_at_ms);
        at += 8;
    }
    if (op->kind == OP_EXPIRE) {
        *at++ = op->target_type;
        tag_store(at, op->target);
        at += TAG_BYTES;
    }
    if ((parts & HAS_GENERATION) != 0)
        at = string_put(at, op);
    if ((parts & HAS_RUN) != 0) {
        CHECK(op->start != 0 && op->start <= hlc);
        at += varint_put(at, hlc - op->start);
        at += varint_put(at, zigzag_encode(op->isum));
    }
    if ((flags & OP_F_FLOAT) != 0) {
        ldouble_store(at, op->fsum.hi);
        ldouble_store(at + LDOUBLE_BYTES, op->fsum.lo);
        at += FSUM_BYTES;
    }
    if ((flags & OP_F_SEEN) != 0)
        at = slice_put(at, op->seen);
    if ((flags & OP_F_COUNT) != 0)
        at += varint_put(at, op->count);
    if (has_value)
        at = slice_put(at, op->value);
    return (size_t)(at - dst);
}

/* --- reading --- */

static int run_get(struct bytes *in, uint64_t hlc, bool is_float, struct op *op)
{
    uint64_t age;
    uint64_t zigzag;

    if (varint_get(in, &age) != 0 || varint_get(in, &zigzag) != 0 || age >= hlc)
        return -ERR_CORRUPT;
    op->start = hlc - age;
    op->isum = zigzag_decode(zigzag);
    if (!is_float)
        return 0;

    struct bytes sum;

    if (!bytes_take(in, FSUM_BYTES, &sum) || ldouble_load(sum.ptr, &op->fsum.hi) != 0 ||
        ldouble_load(sum.ptr + LDOUBLE_BYTES, &op->fsum.lo) != 0)
        return -ERR_CORRUPT;
    return 0;
}

static int sub_get(struct bytes *in, struct op *op)
{
    if (u8_get(in, &op->type) != 0 || codec_get_bytes(in, ROWKEY_NAME_BYTES_MAX, &op->sub) != 0)
        return -ERR_CORRUPT;
    if (op->kind == OP_ROW_MERGE)
        return op->type == ROWKEY_KIND_KEY ? -ERR_CORRUPT : 0;
    return op_row_kind(op->type) == ROWKEY_KIND_KEY ? -ERR_CORRUPT : 0;
}

static int time_get(struct bytes *in, struct op *op)
{
    struct bytes target;

    if (le64_get(in, &op->expire_at_ms) != 0)
        return -ERR_CORRUPT;
    if (op->kind != OP_EXPIRE)
        return 0; /* 0 in those that may be written into. */
    if (u8_get(in, &op->target_type) != 0 || !bytes_take(in, TAG_BYTES, &target))
        return -ERR_CORRUPT;
    op->target = tag_load(target.ptr);
    return op->target_type >= VT_END || tag_is_none(op->target) ? -ERR_CORRUPT : 0;
}

static int string_get(struct bytes *in, struct op *op)
{
    struct bytes generation;

    if (!bytes_take(in, TAG_BYTES, &generation))
        return -ERR_CORRUPT;
    op->generation = tag_load(generation.ptr);
    if (tag_is_none(op->generation))
        return -ERR_CORRUPT;
    if (op->kind == OP_STRING)
        return le64_get(in, &op->len);
    if (varint_get(in, &op->at) != 0)
        return -ERR_CORRUPT;
    if (op->kind == OP_CHUNK)
        return op->at > UINT32_MAX ? -ERR_CORRUPT : 0;
    if (u8_get(in, &op->bits_count) != 0 || varint_get(in, &op->bits) != 0)
        return -ERR_CORRUPT;
    /* The last bit must be in a chunk that has an index. */
    if (op->bits_count == 0 || op->bits_count > 64 ||
        op->at > (uint64_t)UINT32_MAX * ROW_CHUNK_BITS ||
        (op->bits_count < 64 && op->bits >> op->bits_count != 0))
        return -ERR_CORRUPT;
    return 0;
}

/* Kind and flags. */
static int head_get(struct bytes *in, struct op *op, uint8_t *out_kind)
{
    if (u8_get(in, out_kind) != 0)
        return -ERR_CORRUPT;
    op->kind = (uint8_t)(*out_kind & OP_KIND_MASK);
    if (op->kind >= OP_KIND_END)
        return -ERR_UNSUPPORTED;
    if ((*out_kind & OP_KIND_EMPTY) != 0 && (parts_of[op->kind] & HAS_VALUE) == 0)
        return -ERR_CORRUPT;
    if ((*out_kind & OP_KIND_FLAGS) == 0)
        return 0;
    if (u8_get(in, &op->flags) != 0 || op->flags == 0)
        return -ERR_CORRUPT;
    return (op->flags & ~OP_F_KNOWN) != 0 ? -ERR_UNSUPPORTED : 0;
}

/* A value that is there is not empty. */
static int value_get(struct bytes *in, struct op *op)
{
    if (codec_get_bytes(in, SIZE_MAX, &op->value) != 0 || op->value.len == 0)
        return -ERR_CORRUPT;
    return op->kind == OP_CHUNK && op->value.len > ROW_CHUNK_BYTES ? -ERR_CORRUPT : 0;
}

int op_load(struct bytes *in, uint64_t hlc, struct op *op, bool *out_voided)
{
    uint8_t kind;

    memset(op, 0, sizeof(*op));
    const int err = head_get(in, op, &kind);
    if (err != 0)
        return err;
    *out_voided = (kind & OP_KIND_VOIDED) != 0 || op->kind == OP_VOID;

    const unsigned parts = parts_of[op->kind];
    const bool is_float = (op->flags & OP_F_FLOAT) != 0;

    if ((is_float && (parts & HAS_RUN) == 0) ||
        ((op->flags & OP_F_EXPIRE) != 0 && op->kind != OP_SET) ||
        ((op->flags & OP_SHARED_TIME) != 0 && op->kind != OP_SET && op->kind != OP_STRING))
        return -ERR_CORRUPT;
    if (codec_get_bytes(in, ROWKEY_NAME_BYTES_MAX, &op->key) != 0)
        return -ERR_CORRUPT;
    if ((parts & HAS_SUB) != 0 && sub_get(in, op) != 0)
        return -ERR_CORRUPT;
    if (((parts & HAS_AT) != 0 || (op->flags & OP_F_EXPIRE) != 0) && time_get(in, op) != 0)
        return -ERR_CORRUPT;
    if ((parts & HAS_GENERATION) != 0 && string_get(in, op) != 0)
        return -ERR_CORRUPT;
    if ((parts & HAS_RUN) != 0 && run_get(in, hlc, is_float, op) != 0)
        return -ERR_CORRUPT;
    if ((op->flags & OP_F_SEEN) != 0 &&
        (codec_get_bytes(in, SIZE_MAX, &op->seen) != 0 || row_cuts_check(op->seen) != 0))
        return -ERR_CORRUPT;
    op->has_count = (op->flags & OP_F_COUNT) != 0;
    if (op->has_count && varint_get(in, &op->count) != 0)
        return -ERR_CORRUPT;
    return (parts & HAS_VALUE) != 0 && (kind & OP_KIND_EMPTY) == 0 ? value_get(in, op) : 0;
}

uint64_t op_string_end(const struct op *op)
{
    if (op->kind == OP_STRING)
        return op->len;
    if (op->kind == OP_CHUNK)
        return (op->at + 1) * ROW_CHUNK_BYTES;
    return op->kind == OP_BITS ? (op->at + op->bits_count - 1) / 8 + 1 : 0;
}

/* Of one that is not voided. */
static uint8_t stored_kind(const uint8_t *stored)
{
    return (uint8_t)(stored[0] & (OP_KIND_MASK | OP_KIND_VOIDED));
}

/* Where at_ms stands in an op that was stored here. */
static uint8_t *stored_time(uint8_t *stored)
{
    const size_t head = (stored[0] & OP_KIND_FLAGS) != 0 ? 2 : 1;
    struct bytes in = bytes_of(stored + head, VARINT_BYTES_MAX);
    uint64_t key_len = 0;

    CHECK(varint_get(&in, &key_len) == 0);
    return stored + (in.ptr - stored) + key_len;
}

void op_patch_expiry(uint8_t *stored, uint64_t expire_at_ms)
{
    CHECK(stored_kind(stored) == OP_STRING ||
          (stored_kind(stored) == OP_SET && (stored[1] & OP_F_EXPIRE) != 0));
    le64_store(stored_time(stored), expire_at_ms);
}

void op_patch_string(uint8_t *stored, uint64_t expire_at_ms, uint64_t len)
{
    CHECK(stored_kind(stored) == OP_STRING);
    op_patch_expiry(stored, expire_at_ms);
    le64_store(stored_time(stored) + 8 + TAG_BYTES, len);
}

/* --- batches --- */

size_t batch_header_store(uint8_t *dst, struct tag tag, uint64_t seq, uint32_t nops,
                          const struct vv *ctx)
{
    return batch_header_store_flush(dst, tag, seq, nops, 0, ctx);
}

size_t batch_header_store_flush(uint8_t *dst, struct tag tag, uint64_t seq, uint32_t nops,
                                uint32_t flush, const struct vv *ctx)
{
    uint8_t *at = dst + BATCH_HEADER_BYTES;

    dst[0] = (uint8_t)(BATCH_VERSION | (ctx != NULL ? BATCH_F_CTX : 0) |
                       (flush != 0 ? BATCH_F_FLUSH : 0));
    dst[1] = tag.origin;
    le64_store(dst + 2, seq);
    le64_store(dst + 10, tag.hlc);
    le32_store(dst + BATCH_NOPS_AT, nops);
    if (flush != 0) {
        le32_store(at, flush);
        at += 4;
    }
    if (ctx != NULL)
        at += vv_encode(ctx, at);
    return (size_t)(at - dst);
}

int batch_open(struct bytes bytes, struct batch *out)
{
    if (bytes.len < 1)
        return -ERR_CORRUPT;
    if ((bytes.ptr[0] & ~BATCH_FLAGS_MASK) != BATCH_VERSION ||
        (bytes.ptr[0] & BATCH_FLAGS_MASK & ~(BATCH_F_CTX | BATCH_F_FLUSH)) != 0)
        return -ERR_FORMAT;
    if (bytes.len < BATCH_HEADER_BYTES)
        return -ERR_CORRUPT;
    out->has_ctx = (bytes.ptr[0] & BATCH_F_CTX) != 0;
    out->origin = bytes.ptr[1];
    out->seq = le64_load(bytes.ptr + 2);
    out->hlc = le64_load(bytes.ptr + 10);
    out->nops = le32_load(bytes.ptr + BATCH_NOPS_AT);
    out->nops_read = 0;
    out->ops = bytes_from(bytes, BATCH_HEADER_BYTES);
    vv_init(&out->ctx);
    out->flush = 0;
    if ((bytes.ptr[0] & BATCH_F_FLUSH) != 0 &&
        (le32_get(&out->ops, &out->flush) != 0 || out->flush == 0))
        return -ERR_CORRUPT;
    if (out->hlc == 0 || (out->has_ctx && vv_decode(&out->ops, &out->ctx) != 0))
        return -ERR_CORRUPT;
    /* A batch that knows of itself or of its future is not one. */
    if (vv_get(&out->ctx, out->origin) >= out->hlc)
        return -ERR_CORRUPT;
    return vv_raise(&out->ctx, tag_of(out->hlc - 1, out->origin)) == 0 ? 0 : -ERR_CORRUPT;
}

int batch_next(struct batch *batch, struct op *out)
{
    bool voided;

    do {
        if (batch->nops_read == batch->nops)
            return batch->ops.len == 0 ? BATCH_END : -ERR_CORRUPT;

        const int err = op_load(&batch->ops, batch->hlc, out, &voided);

        if (err != 0)
            return err;
        batch->nops_read++;
    } while (voided);
    return BATCH_OP;
}

uint8_t op_row_kind(uint8_t type)
{
    static const uint8_t kinds[VT_END] = {
        [VT_LIST] = ROWKEY_KIND_LIST,
        [VT_SET] = ROWKEY_KIND_SET,
        [VT_ZSET] = ROWKEY_KIND_ZSET,
        [VT_HASH] = ROWKEY_KIND_HASH,
    };

    return type < VT_END ? kinds[type] : (uint8_t)ROWKEY_KIND_KEY;
}

int op_full_row(const struct op *op, struct tag tag, struct buf *out)
{
    const bool is_del = op->kind == OP_DEL || op->kind == OP_RECLAIM || op->kind == OP_ELEM_DEL;
    const bool is_set = op->kind == OP_SET || op->kind == OP_ELEM_SET;
    const uint64_t at_ms = op->kind == OP_SET ? op->expire_at_ms : 0;
    int err;

    if (!is_del && !is_set)
        return 0;
    if (is_del) {
        err = buf_append_u8(out, ROW_DEAD);
        return err == 0 ? 1 : err;
    }
    if (op->kind == OP_SET && op->value.len > ROW_INLINE_BYTES_MAX) {
        err = buf_reserve(out, ROW_CHUNKED_BYTES);
        if (err == 0)
            buf_commit(out, row_chunked_store(buf_end(out), tag, tag, op->value.len, at_ms));
        return err == 0 ? 1 : err;
    }
    err = buf_reserve(out, row_value_size(op->value.len, at_ms != 0));
    if (err != 0)
        return err;
    buf_commit(out, row_value_store(buf_end(out), tag, op->value, at_ms));
    return 1;
}
