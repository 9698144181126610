/* Replay of the log at start; replay.h tells the rule. */
#include "replication/replay.h"

#include "engine/base/check.h"
#include "engine/base/err.h"

#include "engine/space/flush.h"
#include "engine/space/group.h"
#include "engine/space/keyspace.h"
#include "engine/space/recover.h"
#include "engine/space/strval.h"
#include "engine/value/listpos.h"
#include "engine/value/op.h"
#include "engine/value/rowkey.h"

/* The object at the key, read from the store if need be; NULL if there is none. */
static int load(struct keyspace *ks, const struct ks_key *key, struct obj **out)
{
    const int err = ks_recover_key(ks, key);

    *out = NULL;
    if (err == 0)
        (void)ks_find(ks, key, 0, out, NULL);
    return err;
}

/* --- strings --- */

struct join {
    struct bytes row;
    struct buf *out;
};

static int join_key_row(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct join *j = ctx;

    (void)sub;
    CHECK(row_kind == ROWKEY_KIND_KEY);
    return row_merge_fold(j->row, &operand, 1, j->out);
}

/* A change of a string's key row that builds on what is there. */
static int replay_key_op(struct replay *r, const struct batch *batch, const struct op *op,
                         const struct ks_key *key, uint64_t lsn)
{
    struct obj *obj;
    struct buf out, scratch;
    struct row_view view;

    int err = load(r->ks, key, &obj);
    if (err != 0)
        return err;
    if (obj != NULL && (obj->h.flags & BLK_COLL) != 0) {
        /* Equal: the same record may have made the collection, as RENAME does. */
        if (op->kind == OP_EXPIRE && lsn >= obj_coll(obj)->lsn)
            ks_apply_expire(r->ks, key, lsn, bytes_of(NULL, 0), op->expire_at_ms);
        return 0;
    }
    buf_init(&out, UINT32_MAX);
    buf_init(&scratch, UINT32_MAX);
    struct join j = {.row = obj == NULL ? bytes_of(NULL, 0) : obj_row(obj), .out = &out};
    err = op_expand(op, batch, lsn, join_key_row, &j, &scratch);
    if (err == 0)
        err = row_view(buf_bytes(&out), 0, &view);
    if (err == 0 && view.type == VT_STRING)
        ks_apply_row(r->ks, key, lsn, buf_bytes(&out), view.expire_at_ms);
    buf_deinit(&scratch);
    buf_deinit(&out);
    return err;
}

/*
 * A change of a string in chunks. What the key is now may be of a later record, since rows are
 * written before the covered position passes them; then that record follows, and makes a string
 * that this one does not belong to.
 */
static int replay_string_op(struct replay *r, const struct batch *batch, const struct op *op,
                            const struct ks_key *key, uint64_t lsn)
{
    const struct tag tag = batch_tag(batch);
    struct obj *obj;

    if (op->kind == OP_STRING && tag_eq(op->generation, tag)) {
        (void)ks_apply_string(r->ks, key, tag, lsn, op->len, op->expire_at_ms);
        return 0;
    }
    int err = load(r->ks, key, &obj);
    if (err != 0 || obj == NULL || !obj_is_chunked(obj) ||
        !tag_eq(obj_coll(obj)->generation, op->generation))
        return err;
    struct coll *coll = obj_coll(obj);
    if (op->kind == OP_STRING) {
        ks_apply_touch(r->ks, coll, tag, lsn, u64_max(op->len, coll->count), op->expire_at_ms);
    } else if ((op->kind == OP_CHUNK ? op->at * ROW_CHUNK_BYTES + op->value.len
                                     : (op->at + op->bits_count - 1) / 8 + 1) > coll->count) {
        err = -ERR_CORRUPT; /* STRING came first, and the length never shrinks. */
    } else if (op->kind == OP_CHUNK) {
        ks_apply_patch(r->ks, coll, tag, op->at * ROW_CHUNK_BYTES, op->value);
    } else {
        const uint64_t last = op->at + op->bits_count - 1;
        err = ks_recover_bytes(r->ks, coll, op->at / 8, last / 8 + 1);
        if (err == 0)
            ks_apply_bits(r->ks, coll, tag, op->at, op->bits_count, op->bits);
    }
    return err;
}

/* --- collections --- */

static int replay_list(struct replay *r, const struct op *op, const struct ks_key *key,
                       struct coll *coll, const struct ks_elem *elem)
{
    if (listpos_check(elem->sub) != 0)
        return -ERR_CORRUPT;
    ks_recover_list(r->ks, coll, elem, op->count);
    if (op->has_count && op->count == 0)
        ks_apply_del(r->ks, key, elem->tag, elem->lsn);
    return 0;
}

struct elem_join {
    struct bytes row;
    struct buf *out;
};

static int join_elem_row(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct elem_join *j = ctx;

    (void)sub;
    return row_kind == ROWKEY_KIND_KEY ? 0 : row_merge_fold(j->row, &operand, 1, j->out);
}

/* Appends the element's row after the increment. */
static int replay_elem_incr(struct replay *r, const struct batch *batch, const struct op *op,
                            struct coll *coll, uint64_t lsn, struct buf *out)
{
    struct buf scratch;

    int err = ks_recover_elem(r->ks, coll, op->sub);
    if (err != 0)
        return err;
    const struct elem *elem = coll_find(coll, op->sub);
    struct elem_join j = {.row = elem == NULL ? bytes_of(NULL, 0) : elem_row(elem), .out = out};
    buf_init(&scratch, UINT32_MAX);
    err = op_expand(op, batch, lsn, join_elem_row, &j, &scratch);
    buf_deinit(&scratch);
    return err;
}

static int replay_elem_op(struct replay *r, const struct batch *batch, const struct op *op,
                          const struct ks_key *key, uint64_t lsn)
{
    const struct tag tag = batch_tag(batch);
    struct obj *obj;
    struct buf row;

    int err = load(r->ks, key, &obj);
    if (err != 0)
        return err;
    if (obj != NULL && obj->h.type != op->type) {
        /* The key has another type later on: this change is buried by the one that did that. */
        return 0;
    }
    struct coll *coll = ks_apply_coll(r->ks, key, op->type, tag, lsn);
    buf_init(&row, UINT32_MAX);
    if (op->kind == OP_ELEM_SET)
        err = op_full_row(op, tag, &row) == 1 ? 0 : -ERR_CORRUPT;
    else if (op->kind == OP_ELEM_INCR)
        err = replay_elem_incr(r, batch, op, coll, lsn, &row);
    const struct ks_elem elem = {.sub = op->sub, .row = buf_bytes(&row), .tag = tag, .lsn = lsn};
    if (err == 0 && op->type == VT_LIST) {
        err = replay_list(r, op, key, coll, &elem);
    } else if (err == 0) {
        /* The score in the store tells which row of its index goes. */
        if (op->type == VT_ZSET)
            err = ks_recover_elem(r->ks, coll, op->sub);
        if (err != 0)
            goto out;
        ks_recover_put(r->ks, coll, &elem, op->count);
        if (coll->count == 0)
            ks_apply_del(r->ks, key, tag, lsn);
    }
out:
    buf_deinit(&row);
    return err;
}

/* --- records --- */

static int replay_op(struct replay *r, const struct batch *batch, const struct op *op, uint64_t lsn)
{
    const struct ks_key key = ks_key_of(op->key, ks_seed(r->ks));

    r->ops++;
    if (r->group) {
        ks_group_apply(r->ks, &key, op, batch, lsn);
        return 0;
    }
    switch ((enum op_kind)op->kind) {
    case OP_SET:
        ks_apply_set(r->ks, &key, batch_tag(batch), lsn, op->value, op->expire_at_ms);
        return 0;
    case OP_DEL:
    case OP_RECLAIM:
        ks_apply_del(r->ks, &key, batch_tag(batch), lsn);
        return 0;
    case OP_STRING:
    case OP_CHUNK:
    case OP_BITS:
        return replay_string_op(r, batch, op, &key, lsn);
    case OP_INCR:
    case OP_EXPIRE:
    case OP_KEY_MERGE:
        return replay_key_op(r, batch, op, &key, lsn);
    case OP_ELEM_SET:
    case OP_ELEM_INCR:
    case OP_ELEM_DEL:
        return replay_elem_op(r, batch, op, &key, lsn);
    case OP_VOID:
        return 0;
    case OP_ROW_MERGE:
    case OP_KIND_END:
        break;
    }
    return -ERR_UNSUPPORTED;
}

int replay_covered(struct replay *r, struct bytes covered)
{
    int err = covered.len == 0 ? 0 : vv_decode(&covered, &r->vv);

    if (err == 0 && covered.len != 0)
        err = vv_decode(&covered, &r->seqs);
    if (err == 0)
        r->seq = vv_get(&r->seqs, r->origin);
    if (err == 0 && r->group)
        ks_flush_seqs(r->ks, &r->seqs);
    return err;
}

/*
 * Writes what is replayed, and lets some of it go. What cannot leave is no reason to do that again
 * after each record.
 */
static int make_room(struct replay *r)
{
    const int err = ks_recover_flush(r->ks, r->lsn, &r->vv);

    if (err != 0)
        return err;
    ks_recover_demote(r->ks);
    r->rooms++;
    r->bytes_max = u64_max(r->bytes_max, ks_recover_held(r->ks) + r->room_bytes_min);
    return 0;
}

int replay_record(void *ctx, const struct oplog_record *record)
{
    struct replay *r = ctx;
    struct batch batch;
    struct op op;

    int err = batch_open(record->payload, &batch);
    /* The keys went before the first batch of a higher epoch was taken. */
    if (err == 0 && r->group && batch.flush > r->flush)
        err = -ERR_CORRUPT;
    if (err != 0)
        return err;
    while (!r->group || batch.flush == r->flush) {
        const int step = batch_next(&batch, &op);
        if (step == BATCH_END)
            break;
        err = step == BATCH_OP ? replay_op(r, &batch, &op, record->lsn) : step;
        if (err != 0)
            return err;
    }
    r->lsn = record->lsn;
    r->records++;
    r->bytes += record->payload.len;
    if (record->origin == r->origin)
        r->seq = record->seq;
    err = vv_raise(&r->vv, batch_tag(&batch));
    if (err == 0 && r->group) {
        err = vv_raise(&r->seqs, tag_of(record->seq, record->origin));
        ks_flush_seqs(r->ks, &r->seqs);
    }
    if (err == 0 && unlikely(ks_recover_held(r->ks) > r->bytes_max))
        err = make_room(r);
    return err;
}
