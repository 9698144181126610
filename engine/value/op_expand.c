/*
 * What an op does to rows, as operands that can be joined without reading the row.
 *
 *     op          row      operand
 *     SET         key      ctx, clear; the value with its cut and expiry; with COVER also
 *                          rctx; floors
 *     DEL         key      ctx, rctx, clear; floors
 *     INCR        key      the run; with COVER also what DEL has
 *     EXPIRE      key      the setting, and what its group has seen
 *     STRING      key      as SET; the value points to its chunks
 *     CHUNK, BITS chunk    an image; bits. A long SET has images of all its chunks
 *     ELEM_SET    element  ctx; the value with its cut
 *                 key      type assertion, count; with COVER also what DEL has
 *     ELEM_INCR   element  the run
 *                 key      as for ELEM_SET
 *     ELEM_DEL    element  ctx, rctx; floors
 *                 key      count
 *
 * "Seen" is the context of the batch. A DEL takes increments away, a SET only cuts them for its own
 * value: a concurrent SET that wins must still show those that it has not seen.
 */
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/value/listpos.h"
#include "engine/value/op.h"
#include "engine/value/row_chunk.h"
#include "engine/value/row_plain.h"
#include "engine/value/row_state.h"
#include "engine/value/rowkey.h"

struct expand {
    const struct op *op;
    const struct batch *batch;
    uint64_t lsn;
    struct row_state *state;
    struct buf *scratch;
    op_emit_fn emit;
    void *ctx;
};

static int emit(struct expand *x, uint8_t row_kind, struct bytes sub)
{
    int err;

    buf_clear(x->scratch);
    err = row_encode(x->state, x->scratch);
    row_state_init(x->state);
    if (err != 0)
        return err;
    return x->emit(x->ctx, row_kind, sub, buf_bytes(x->scratch));
}

/* A value that is stored in chunks. */
static bool is_long_set(const struct op *op)
{
    return op->kind == OP_SET && op->value.len > ROW_INLINE_BYTES_MAX;
}

static int add_value(struct expand *x)
{
    struct row_sib sib = {.tag = batch_tag(x->batch), .value = x->op->value, .cuts = x->op->seen};

    if (x->op->kind == OP_STRING || is_long_set(x->op)) {
        sib.chunked = true;
        sib.generation = x->op->kind == OP_STRING ? x->op->generation : sib.tag;
        sib.len = x->op->kind == OP_STRING ? x->op->len : x->op->value.len;
        sib.value = bytes_of(NULL, 0);
    }

    vv_copy(&x->state->ctx, &x->batch->ctx);
    return row_add_sib(x->state, &sib);
}

static int add_run(struct expand *x)
{
    const struct row_run run = {.start = x->op->start,
                                .hlc = x->batch->hlc,
                                .origin = x->batch->origin,
                                .isum = x->op->isum,
                                .fsum = x->op->fsum};

    return row_add_run(x->state, &run);
}

static int add_floors(struct expand *x)
{
    struct bytes in = x->op->seen;
    unsigned count;
    int err = row_cuts_open(&in, &count);

    for (unsigned i = 0; err == 0 && i < count; i++) {
        struct row_floor floor = {.del_tag = batch_tag(x->batch)};

        err = row_cut_get(&in, &floor.cut);
        if (err == 0)
            err = row_add_floor(x->state, &floor);
    }
    return err;
}

static int add_clear(struct expand *x)
{
    if (vv_empty(&x->batch->ctx))
        return 0;
    vv_copy(&x->state->clear, &x->batch->ctx);
    return vv_raise(&x->state->clear_by, batch_tag(x->batch));
}

/* Everything of the key that was there. */
static int add_removal(struct expand *x)
{
    int err;

    vv_copy(&x->state->ctx, &x->batch->ctx);
    vv_copy(&x->state->rctx, &x->batch->ctx);
    err = add_clear(x);
    return err == 0 ? add_floors(x) : err;
}

static int add_expiry(struct expand *x, uint8_t type, struct tag target)
{
    const uint64_t at_ms = x->op->expire_at_ms == 0 ? ROW_EXPIRE_NEVER : x->op->expire_at_ms;
    const struct row_exp exp = {
        .type = type, .target = target, .etag = batch_tag(x->batch), .at_ms = at_ms};

    return row_add_exp(x->state, &exp);
}

/* --- strings in chunks --- */

static int emit_chunk(const struct expand *x, uint64_t index)
{
    uint8_t sub[ROW_CHUNK_SUB_BYTES];

    be32_store(sub, (uint32_t)index);
    return x->emit(x->ctx, ROWKEY_KIND_CHUNK, bytes_of(sub, sizeof(sub)), buf_bytes(x->scratch));
}

static int emit_image(const struct expand *x, struct tag generation, uint64_t index,
                      struct bytes image)
{
    buf_clear(x->scratch);
    const int err = buf_reserve(x->scratch, row_chunk_size(image.len));
    if (err != 0)
        return err;
    buf_commit(x->scratch,
               row_chunk_store(buf_end(x->scratch), generation, batch_tag(x->batch), image));
    return emit_chunk(x, index);
}

/* All chunks of a long value. */
static int emit_images(struct expand *x)
{
    struct bytes left = x->op->value;
    int err = 0;

    for (uint64_t index = 0; err == 0 && left.len != 0; index++) {
        const struct bytes image = bytes_of(left.ptr, size_min(left.len, ROW_CHUNK_BYTES));

        err = emit_image(x, batch_tag(x->batch), index, image);
        left = bytes_from(left, image.len);
    }
    return err;
}

/* Bits of one chunk, or of two neighbours. */
static int emit_bits(const struct expand *x)
{
    const struct op *op = x->op;
    uint32_t left = op->bits_count;
    uint64_t at = op->at;
    int err = 0;

    while (err == 0 && left != 0) {
        struct row_chunk_bits bits = {.first = (uint32_t)(at % ROW_CHUNK_BITS)};

        bits.count = (uint32_t)u64_min(left, ROW_CHUNK_BITS - bits.first);
        left -= bits.count;
        bits.value = op->bits >> left;
        buf_clear(x->scratch);
        err = buf_reserve(x->scratch, ROW_CHUNK_BITS_BYTES_MAX);
        if (err != 0)
            break;
        buf_commit(x->scratch, row_chunk_store_bits(buf_end(x->scratch), op->generation,
                                                    batch_tag(x->batch), bits));
        err = emit_chunk(x, at / ROW_CHUNK_BITS);
        at += bits.count;
    }
    return err;
}

/* --- keys --- */

/* The time that a value comes with. */
static int add_time(struct expand *x)
{
    const struct op *op = x->op;
    const bool chunked = op->kind == OP_STRING || is_long_set(op);

    if (op->expire_at_ms == 0 || op->expire_at_ms == ROW_EXPIRE_NEVER)
        return 0;
    if (!chunked || (op->flags & OP_SHARED_TIME) == 0)
        return add_expiry(x, VT_STRING, batch_tag(x->batch));
    return add_expiry(x, VT_CHUNKED, op->kind == OP_STRING ? op->generation : batch_tag(x->batch));
}

static int expand_set(struct expand *x)
{
    int err = add_value(x);

    /* A change of a part keeps the generation that it belongs to. */
    if (err == 0 && (x->op->kind == OP_SET || tag_eq(x->op->generation, batch_tag(x->batch))))
        err = add_clear(x);
    if (err == 0 && x->op->kind == OP_SET && (x->op->flags & OP_COVER) != 0) {
        vv_copy(&x->state->rctx, &x->batch->ctx);
        err = add_floors(x);
    }
    if (err == 0)
        err = add_time(x);
    if (err == 0)
        err = emit(x, ROWKEY_KIND_KEY, bytes_of(NULL, 0));
    return err == 0 && is_long_set(x->op) ? emit_images(x) : err;
}

static int expand_incr(struct expand *x)
{
    int err = add_run(x);

    if (err == 0 && (x->op->flags & OP_COVER) != 0)
        err = add_removal(x);
    return err == 0 ? emit(x, ROWKEY_KIND_KEY, bytes_of(NULL, 0)) : err;
}

static int expand_expire(struct expand *x)
{
    struct row_group group = {.type = x->op->target_type};
    int err = add_expiry(x, x->op->target_type, x->op->target);

    if (row_group_has_target(group.type))
        group.target = x->op->target;
    vv_copy(&group.seen, &x->batch->ctx);
    if (err == 0 && !vv_empty(&group.seen))
        err = row_add_group(x->state, &group);
    return err == 0 ? emit(x, ROWKEY_KIND_KEY, bytes_of(NULL, 0)) : err;
}

/* --- collections --- */

/* The key row's part of an element op. */
static int expand_key(struct expand *x)
{
    const struct op *op = x->op;
    const struct row_type type = {.type = op->type, .tag = batch_tag(x->batch)};
    struct list_meta list;
    int err = 0;

    if (op->has_count && x->lsn != 0)
        row_add_count(x->state, op->count, x->lsn);
    if (op->kind != OP_ELEM_DEL) {
        err = row_add_type(x->state, &type);
        if (err == 0 && op->type == VT_LIST && listpos_meta(op->sub, &list))
            err = list_meta_join(&x->state->list, &list);
        if (err == 0 && (op->flags & OP_COVER) != 0) {
            vv_copy(&x->state->ctx, &x->batch->ctx);
            vv_copy(&x->state->rctx, &x->batch->ctx);
            err = add_clear(x);
        }
    } else if (x->state->count_lsn == 0) {
        return 0; /* Nothing to say. */
    }
    return err == 0 ? emit(x, ROWKEY_KIND_KEY, bytes_of(NULL, 0)) : err;
}

static int expand_elem(struct expand *x)
{
    const struct op *op = x->op;
    int err;

    if (op->kind == OP_ELEM_INCR) {
        err = add_run(x);
    } else if (op->kind == OP_ELEM_SET) {
        err = add_value(x);
    } else {
        vv_copy(&x->state->ctx, &x->batch->ctx);
        vv_copy(&x->state->rctx, &x->batch->ctx);
        err = add_floors(x);
    }
    if (err == 0)
        err = emit(x, op_row_kind(op->type), op->sub);
    return err == 0 ? expand_key(x) : err;
}

static int expand(struct expand *x)
{
    const struct bytes none = bytes_of(NULL, 0);
    int err;

    switch ((enum op_kind)x->op->kind) {
    case OP_SET:
    case OP_STRING:
        return expand_set(x);
    case OP_DEL:
    case OP_RECLAIM:
        err = add_removal(x);
        return err == 0 ? emit(x, ROWKEY_KIND_KEY, none) : err;
    case OP_INCR:
        return expand_incr(x);
    case OP_EXPIRE:
        return expand_expire(x);
    case OP_ELEM_SET:
    case OP_ELEM_INCR:
    case OP_ELEM_DEL:
        return expand_elem(x);
    case OP_KEY_MERGE:
    case OP_ROW_MERGE:
        err = row_is_chunk(x->op->value) ? row_check(x->op->value)
                                         : row_decode(x->op->value, x->state);
        if (err != 0)
            return err;
        if (x->op->kind == OP_KEY_MERGE)
            return x->emit(x->ctx, ROWKEY_KIND_KEY, none, x->op->value);
        return x->emit(x->ctx, x->op->type, x->op->sub, x->op->value);
    case OP_CHUNK:
    case OP_BITS: /* These are plain. */
    case OP_VOID:
    case OP_KIND_END:
    default:
        return 0;
    }
}

/* --- the usual ops, without a state --- */

bool op_is_plain(const struct op *op, const struct batch *batch)
{
    if (op->kind > OP_STRING)
        return true; /* CHUNK and BITS: their rows have no contexts. */
    if (op->seen.len != 0 || vv_empty(&batch->ctx))
        return false;
    switch ((enum op_kind)op->kind) {
    case OP_SET:
        return !is_long_set(op);
    case OP_DEL:
        return true;
    case OP_STRING:
        return (op->flags & OP_SHARED_TIME) == 0 || op->expire_at_ms == 0;
    case OP_ELEM_DEL:
        return !op->has_count;
    case OP_ELEM_SET:
        return (op->flags & OP_COVER) == 0 && op->type != VT_LIST;
    case OP_INCR:
        return (op->flags & OP_COVER) == 0 && fsum_is_zero(op->fsum);
    case OP_ELEM_INCR:
        return (op->flags & OP_COVER) == 0 && fsum_is_zero(op->fsum) && op->type != VT_LIST;
    case OP_VOID:
    case OP_EXPIRE:
    case OP_KEY_MERGE:
    case OP_ROW_MERGE:
    case OP_RECLAIM:
    case OP_CHUNK:
    case OP_BITS:
    case OP_KIND_END:
        break;
    }
    return false;
}

static int emit_plain(const struct expand *x, uint8_t row_kind, struct bytes sub)
{
    const struct op *op = x->op;
    const bool is_key = row_kind == ROWKEY_KIND_KEY;
    const bool is_del = op->kind == OP_DEL || op->kind == OP_ELEM_DEL;
    const struct row_plain plain = {.ctx = &x->batch->ctx,
                                    .tag = batch_tag(x->batch),
                                    .removes = is_del || (is_key && (op->flags & OP_COVER) != 0),
                                    .clears = is_key,
                                    .has_value = !is_del,
                                    .value = op->value,
                                    .at_ms = is_key ? op->expire_at_ms : 0};

    buf_clear(x->scratch);
    const int err = row_plain_append(&plain, x->scratch);
    return err == 0 ? x->emit(x->ctx, row_kind, sub, buf_bytes(x->scratch)) : err;
}

/* A change of a part keeps the generation that it belongs to. */
static int emit_string(const struct expand *x)
{
    const struct op *op = x->op;
    const struct row_plain plain = {.ctx = &x->batch->ctx,
                                    .tag = batch_tag(x->batch),
                                    .clears = tag_eq(op->generation, batch_tag(x->batch)),
                                    .has_value = true,
                                    .chunked = true,
                                    .generation = op->generation,
                                    .len = op->len,
                                    .at_ms = op->expire_at_ms};

    buf_clear(x->scratch);
    const int err = row_plain_append(&plain, x->scratch);
    return err == 0 ? x->emit(x->ctx, ROWKEY_KIND_KEY, bytes_of(NULL, 0), buf_bytes(x->scratch))
                    : err;
}

static int emit_run(const struct expand *x, uint8_t row_kind, struct bytes sub)
{
    uint8_t row[ROW_COUNT_BYTES];
    const size_t len = row_count_store(row, x->op->start, batch_tag(x->batch), x->op->isum);

    return x->emit(x->ctx, row_kind, sub, bytes_of(row, len));
}

/* That the key is a collection of the op's type. */
static int emit_type(const struct expand *x)
{
    const struct op *op = x->op;
    const bool counted = op->has_count && x->lsn != 0;
    uint8_t row[ROW_COLL_BYTES];
    const size_t len = row_coll_store(row, op->type, batch_tag(x->batch), counted ? op->count : 0,
                                      counted ? x->lsn : 0);

    return x->emit(x->ctx, ROWKEY_KIND_KEY, bytes_of(NULL, 0), bytes_of(row, len));
}

static int expand_plain(const struct expand *x)
{
    const struct op *op = x->op;
    const struct bytes none = bytes_of(NULL, 0);
    int err;

    if (op->kind == OP_SET || op->kind == OP_DEL)
        return emit_plain(x, ROWKEY_KIND_KEY, none);
    if (op->kind == OP_STRING)
        return emit_string(x);
    if (op->kind == OP_CHUNK)
        return emit_image(x, op->generation, op->at, op->value);
    if (op->kind == OP_BITS)
        return emit_bits(x);
    if (op->kind == OP_INCR)
        return emit_run(x, ROWKEY_KIND_KEY, none);
    if (op->kind == OP_ELEM_INCR)
        err = emit_run(x, op_row_kind(op->type), op->sub);
    else
        err = emit_plain(x, op_row_kind(op->type), op->sub);
    return err != 0 || op->kind == OP_ELEM_DEL ? err : emit_type(x);
}

int op_expand(const struct op *op, const struct batch *batch, uint64_t lsn, op_emit_fn emit_row,
              void *ctx, struct buf *scratch)
{
    struct expand x = {
        .op = op, .batch = batch, .lsn = lsn, .scratch = scratch, .emit = emit_row, .ctx = ctx};
    int err;

    if (op_is_plain(op, batch))
        return expand_plain(&x);
    x.state = mem_alloc(sizeof(*x.state));
    row_state_init(x.state);
    err = expand(&x);
    mem_free(x.state);
    return err;
}
