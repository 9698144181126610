/*
 * The body of BATCHES: batches of the log, written shorter.
 *
 * Origin and sequence numbers follow from the head of the frame. HLCs and contexts are differences
 * from the batch before: between busy members a context changes by a few entries, and at most one
 * batch in a frame pays for a whole one.
 */
#include <errno.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/codec.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#include "engine/value/op.h"
#include "engine/value/row.h"

#include "replication/group/wire.h"

#define HEAD_BYTES 33u
#define COUNT_AT   (HEAD_BYTES - 4u)
/* What stands before the ops of one batch: every origin of two contexts may have changed. */
#define BATCH_BYTES_MAX (2u * VARINT_BYTES_MAX + 1u + 2u * VV_ORIGINS_MAX * (1u + VARINT_BYTES_MAX))

static void prev_init(struct wire_prev *prev, uint64_t base_hlc)
{
    prev->base_hlc = base_hlc;
    prev->hlc = base_hlc;
    vv_init(&prev->ctx);
}

static uint64_t prev_ctx(const struct wire_prev *prev, uint8_t origin)
{
    const uint64_t hlc = vv_get(&prev->ctx, origin);

    return hlc == 0 ? prev->base_hlc : hlc;
}

/* The vector without one origin. */
static void vv_without(struct vv *vv, uint8_t origin)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < vv->count; i++) {
        if (vv->origin[i] == origin)
            continue;
        vv->origin[kept] = vv->origin[i];
        vv->hlc[kept++] = vv->hlc[i];
    }
    vv->count = (uint8_t)kept;
}

/* --- writing --- */

void wire_writer_init(struct wire_writer *w, size_t bytes_target)
{
    w->bytes_target = bytes_target;
    w->plain = 0;
    w->count = 0;
    buf_init(&w->body, WIRE_BODY_BYTES_MAX);
}

void wire_writer_deinit(struct wire_writer *w)
{
    buf_deinit(&w->body);
}

void wire_writer_begin(struct wire_writer *w, const struct wire_batches_head *head)
{
    w->head = *head;
    w->count = 0;
    buf_clear(&w->body);
    buf_shrink(&w->body, 2 * w->bytes_target);
}

static int put_head(struct wire_writer *w)
{
    const int err = buf_reserve(&w->body, HEAD_BYTES);

    if (err != 0)
        return err;
    uint8_t *at = buf_end(&w->body);
    at[0] = w->head.origin;
    le64_store(at + 1, w->head.epoch);
    le64_store(at + 9, w->head.first_seq);
    le64_store(at + 17, w->head.prev_hlc);
    le32_store(at + 25, w->head.flush);
    le32_store(at + COUNT_AT, 0);
    buf_commit(&w->body, HEAD_BYTES);
    return 0;
}

/* The ops that peers need, as they need them. */
static int put_ops(struct buf *out, struct batch *batch, uint32_t *out_count)
{
    struct op op;
    int step;

    *out_count = 0;
    while ((step = batch_next(batch, &op)) == BATCH_OP) {
        if (op.kind == OP_RECLAIM)
            continue;
        op.has_count = false;
        const int err = buf_reserve(out, op_size(&op));
        if (err != 0)
            return err;
        buf_commit(out, op_store(buf_end(out), &op, batch->hlc));
        (*out_count)++;
    }
    return step;
}

/* Writes the changes of the context; returns the bytes. */
static size_t put_ctx(uint8_t *dst, const struct wire_prev *prev, const struct vv *ctx)
{
    uint8_t *at = dst + 1;
    unsigned changes = 0;

    /* What the context had and has no more is a change to 0. */
    for (unsigned i = 0; i < prev->ctx.count; i++) {
        const uint8_t origin = prev->ctx.origin[i];

        if (vv_get(ctx, origin) != 0)
            continue;
        *at++ = origin;
        at += varint_put(at, zigzag_encode((int64_t)(0 - prev_ctx(prev, origin))));
        changes++;
    }
    for (unsigned i = 0; i < ctx->count; i++) {
        const uint8_t origin = ctx->origin[i];

        if (ctx->hlc[i] == vv_get(&prev->ctx, origin))
            continue;
        *at++ = origin;
        at += varint_put(at, zigzag_encode((int64_t)(ctx->hlc[i] - prev_ctx(prev, origin))));
        changes++;
    }
    CHECK(changes <= 2 * VV_ORIGINS_MAX);
    dst[0] = (uint8_t)changes;
    return (size_t)(at - dst);
}

/* What stands before the ops. Returns the bytes. */
static size_t put_batch_head(uint8_t *dst, const struct wire_writer *w, uint64_t hlc, uint32_t nops,
                             const struct vv *ctx)
{
    const bool same = vv_equal(ctx, &w->prev.ctx);
    size_t len = varint_put(dst, hlc - w->prev.hlc);

    len += varint_put(dst + len, 2 * (uint64_t)nops + (same ? 0 : 1));
    return same ? len : len + put_ctx(dst + len, &w->prev, ctx);
}

static int put_batch(struct wire_writer *w, struct batch *batch, const struct vv *ctx)
{
    uint8_t head[BATCH_BYTES_MAX];
    const size_t start = w->body.len;
    const size_t room = put_batch_head(head, w, batch->hlc, batch->nops, ctx);
    size_t len = room;
    uint32_t nops;
    int err = buf_reserve(&w->body, BATCH_BYTES_MAX);

    if (err != 0)
        return err;
    buf_commit(&w->body, room);
    err = put_ops(&w->body, batch, &nops);
    if (err != 0)
        return err;
    if (nops != batch->nops) {
        /* Some stay at home: the number may be shorter. */
        len = put_batch_head(head, w, batch->hlc, nops, ctx);
        memmove(w->body.ptr + start + len, w->body.ptr + start + room, w->body.len - start - room);
        buf_truncate(&w->body, w->body.len - (room - len));
    }
    memcpy(w->body.ptr + start, head, len);
    return 0;
}

int wire_writer_add(struct wire_writer *w, struct bytes bytes)
{
    const size_t start = w->body.len;
    struct batch batch;
    struct vv ctx;
    int err = batch_open(bytes, &batch);

    if (err != 0)
        return err;
    if (w->count == 0) {
        prev_init(&w->prev, w->head.prev_hlc);
        w->head.flush = batch.flush;
    }
    if (batch.origin != w->head.origin || batch.seq != w->head.first_seq + w->count ||
        batch.hlc <= w->prev.hlc)
        return -ERR_CORRUPT;
    if (w->count == WIRE_BATCHES_MAX || batch.flush != w->head.flush ||
        (w->count != 0 && w->body.len + bytes.len > w->bytes_target))
        return -ERR_LIMIT;
    if (w->count == 0)
        err = put_head(w);
    vv_copy(&ctx, &batch.ctx);
    vv_without(&ctx, batch.origin);
    if (err == 0)
        err = put_batch(w, &batch, &ctx);
    if (err != 0) {
        buf_truncate(&w->body, start);
        return err;
    }
    w->prev.hlc = batch.hlc;
    vv_copy(&w->prev.ctx, &ctx);
    w->count++;
    le32_store(w->body.ptr + COUNT_AT, w->count);
    return 0;
}

/* --- reading --- */

int wire_reader_init(struct wire_reader *r, struct bytes body)
{
    r->head.generation = 0;
    if (u8_get(&body, &r->head.origin) != 0 || le64_get(&body, &r->head.epoch) != 0 ||
        le64_get(&body, &r->head.first_seq) != 0 || le64_get(&body, &r->head.prev_hlc) != 0 ||
        le32_get(&body, &r->head.flush) != 0 || le32_get(&body, &r->count) != 0)
        return -ERR_CORRUPT;
    if (r->count == 0 || r->count > WIRE_BATCHES_MAX || r->head.first_seq == 0 ||
        r->head.first_seq > UINT64_MAX - r->count)
        return -ERR_CORRUPT;
    r->read = 0;
    r->left = body;
    prev_init(&r->prev, r->head.prev_hlc);
    return 0;
}

static int get_ctx(struct wire_reader *r)
{
    struct vv *ctx = &r->prev.ctx;
    uint8_t changes;

    if (u8_get(&r->left, &changes) != 0 || changes == 0)
        return -ERR_CORRUPT;
    for (unsigned i = 0; i < changes; i++) {
        uint8_t origin;
        uint64_t zigzag;

        if (u8_get(&r->left, &origin) != 0 || varint_get(&r->left, &zigzag) != 0 ||
            origin == r->head.origin)
            return -ERR_CORRUPT;
        const uint64_t hlc = prev_ctx(&r->prev, origin) + (uint64_t)zigzag_decode(zigzag);
        vv_without(ctx, origin);
        if (vv_raise(ctx, tag_of(hlc, origin)) != 0)
            return -ERR_CORRUPT;
    }
    return 0;
}

/* The next ops, which must be ones that we know. 0, -ERR_CORRUPT or -ERR_UNSUPPORTED. */
static int get_ops(struct bytes *in, uint64_t hlc, uint64_t nops, struct bytes *out)
{
    const uint8_t *start = in->ptr;
    struct op op;
    bool voided;

    for (uint64_t i = 0; i < nops; i++) {
        const int err = op_load(in, hlc, &op, &voided);
        if (err != 0)
            return err;
        if (voided || op.kind == OP_RECLAIM || op.has_count)
            return -ERR_CORRUPT;
        if ((op.kind == OP_KEY_MERGE || op.kind == OP_ROW_MERGE) && row_check(op.value) != 0)
            return -ERR_CORRUPT;
    }
    *out = bytes_of(start, (size_t)(in->ptr - start));
    return 0;
}

static int get_batch(struct wire_reader *r, struct buf *out)
{
    uint64_t age;
    uint64_t shape;
    struct bytes ops;

    if (varint_get(&r->left, &age) != 0 || age == 0 || age > UINT64_MAX - r->prev.hlc ||
        varint_get(&r->left, &shape) != 0 || shape / 2 > UINT32_MAX ||
        (shape % 2 != 0 && get_ctx(r) != 0))
        return -ERR_CORRUPT;
    r->prev.hlc += age;
    int err = get_ops(&r->left, r->prev.hlc, shape / 2, &ops);
    if (err != 0)
        return err;
    buf_clear(out);
    err = buf_reserve(out, BATCH_HEADER_BYTES_MAX + ops.len);
    if (err != 0)
        return err;
    buf_commit(out, batch_header_store_flush(buf_end(out), tag_of(r->prev.hlc, r->head.origin),
                                             r->head.first_seq + r->read, (uint32_t)(shape / 2),
                                             r->head.flush,
                                             vv_empty(&r->prev.ctx) ? NULL : &r->prev.ctx));
    IGNORE_RESULT(buf_append_bytes(out, ops)); /* There is room. */
    /* That no context knows of itself or of its future. */
    struct batch batch;
    return batch_open(buf_bytes(out), &batch) == 0 ? 0 : -ERR_CORRUPT;
}

int wire_reader_next(struct wire_reader *r, struct buf *out)
{
    if (r->read == r->count)
        return r->left.len == 0 ? WIRE_END : -ERR_CORRUPT;
    const int err = get_batch(r, out);
    if (err != 0)
        return err;
    r->read++;
    return WIRE_BATCH;
}
