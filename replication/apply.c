/* Application of other members' batches; apply.h tells the order. */
#include "replication/apply.h"

#include "engine/base/check.h"
#include "engine/base/err.h"

#include "engine/space/flush.h"
#include "engine/space/group.h"
#include "engine/value/op.h"

#include "replication/mutate_impl.h"
#include "replication/oplog.h"

const struct vv *apply_seqs(const struct mut *m)
{
    return &m->seqs;
}

/* Whether an op of another member makes sense. */
static int check_op(const struct op *op, const struct batch *batch, struct buf *scratch)
{
    if (op->key.len > KS_NAME_BYTES_MAX || op->sub.len > KS_NAME_BYTES_MAX)
        return -ERR_LIMIT;
    if (op->kind == OP_ELEM_SET && op->value.len > MUT_ELEM_BYTES_MAX)
        return -ERR_LIMIT;
    /* Reclaiming is each member's own business. */
    if (op->kind == OP_RECLAIM)
        return -ERR_CORRUPT;
    if (op->type == VT_LIST && op->kind >= OP_ELEM_SET && op->kind <= OP_ELEM_DEL &&
        listpos_check(op->sub) != 0)
        return -ERR_CORRUPT;
    return ks_group_check(op, batch, scratch);
}

/* All of it, before anything is taken: applying cannot fail. */
static int check_ops(struct mut *m, struct batch batch)
{
    struct op op;

    for (;;) {
        const int step = batch_next(&batch, &op);
        if (step != BATCH_OP)
            return step;
        const int err = check_op(&op, &batch, &m->row);
        if (err != 0)
            return err;
    }
}

/* Whether it is the next of its origin, and all that it has seen is here. */
static int check_order(const struct mut *m, const struct batch *batch)
{
    const uint64_t seq = vv_get(&m->seqs, batch->origin);

    if (batch->seq <= seq)
        return APPLY_KNOWN;
    if (batch->flush > m->flush || batch->seq != seq + 1 ||
        batch->hlc <= vv_get(&m->vv, batch->origin))
        return -ERR_RANGE;
    for (unsigned i = 0; i < batch->ctx.count; i++) {
        const uint8_t origin = batch->ctx.origin[i];
        if (origin != batch->origin && batch->ctx.hlc[i] > vv_get(&m->vv, origin))
            return -ERR_RANGE;
    }
    return 0;
}

static void apply_ops(struct mut *m, struct batch *batch, uint64_t lsn)
{
    struct op op;

    while (batch_next(batch, &op) == BATCH_OP) {
        const struct ks_key key = ks_key_of(op.key, ks_seed(m->options.ks));

        ks_group_apply(m->options.ks, &key, &op, batch, lsn);
        m->changes++;
        mut_changed(m, &key);
        if (m->options.on_remote != NULL)
            m->options.on_remote(m->options.ctx, &key, &op);
    }
}

int apply_check(struct mut *m, const struct batch *batch)
{
    struct vv vv;

    CHECK(m->group != NULL && m->depth == 0);
    int err = check_order(m, batch);
    if (err != 0)
        return err;
    vv_copy(&vv, &m->vv);
    err = vv_raise(&vv, batch_tag(batch));
    return err != 0 ? err : check_ops(m, *batch);
}

uint64_t apply_checked(struct mut *m, const struct batch *batch, struct bytes bytes)
{
    struct batch ops = *batch;

    CHECK(m->depth == 0 && batch->flush <= m->flush);
    hlc_observe(&m->hlc, batch->hlc);
    const uint64_t lsn = oplog_append(m->options.log, bytes, batch->origin, batch->seq);
    CHECK(vv_raise(&m->vv, batch_tag(batch)) == 0);
    if (batch->origin == m->options.origin)
        m->seq = batch->seq;
    CHECK(vv_raise(&m->seqs, tag_of(batch->seq, batch->origin)) == 0);
    ks_flush_seqs(m->options.ks, &m->seqs);
    if (batch->flush == m->flush)
        apply_ops(m, &ops, lsn);
    return lsn;
}

int apply_remote(struct mut *m, struct bytes bytes, uint64_t *out_lsn)
{
    struct batch batch;

    int err = batch_open(bytes, &batch);
    if (err == 0)
        err = apply_check(m, &batch);
    if (err == 0)
        err = mut_check_remote(m, bytes.len);
    if (err != 0)
        return err;
    *out_lsn = apply_checked(m, &batch, bytes);
    return APPLY_DONE;
}
