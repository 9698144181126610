/* Copying a value; keycopy.h tells what for. */
#include "server/keycopy.h"

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "server/request.h"

/* Of one op beside key, name and value. */
#define OP_BYTES 48

static size_t list_bytes(const struct coll *coll, size_t per_op)
{
    struct listq_at at;
    size_t bytes = 0;

    for (listq_first(&coll->seq, &at); listq_valid(&at); listq_next(&coll->seq, &at))
        bytes += at.row.len + 32 + per_op;
    return bytes;
}

/* What the copy will take in the log, roughly from above. */
static size_t copy_bytes(const struct obj *obj, struct bytes to)
{
    const size_t per_op = OP_BYTES + to.len;
    struct coll_iter it;
    const struct elem *elem;
    size_t bytes = per_op;

    if ((obj->h.flags & BLK_COLL) == 0)
        return per_op + obj->h.row_len + REQ_TEXT_BYTES;
    const struct coll *coll = obj_coll(obj);
    if (coll->type == VT_STRING)
        return bytes + coll->count;
    if (coll->type == VT_LIST)
        return bytes + list_bytes(coll, per_op);
    coll_iter_init(coll, &it);
    while ((elem = coll_iter_next(&it)) != NULL)
        bytes += per_op + elem->h.name_len + elem->h.row_len + 32;
    return bytes;
}

static void copy_elems(struct request *rq, const struct coll *from, struct coll *to)
{
    struct coll_iter it;
    const struct elem *elem;
    struct row_view view;
    char text[ROW_TEXT_BYTES];
    uint8_t score[ROW_SCORE_BYTES];

    coll_iter_init(from, &it);
    while ((elem = coll_iter_next(&it)) != NULL) {
        struct bytes value;
        if (from->type == VT_ZSET) {
            row_score_store(score, coll_score(elem));
            value = bytes_of(score, sizeof(score));
        } else {
            CHECK(row_view(elem_row(elem), rq->now_ms, &view) == 0);
            value = row_text(&view, text);
        }
        (void)mut_elem_set(rq->mut, to, elem_sub(elem), value);
    }
}

static void copy_list(struct request *rq, const struct coll *from, struct coll *to)
{
    struct listq_at at;
    struct row_view view;
    char text[ROW_TEXT_BYTES];

    for (listq_first(&from->seq, &at); listq_valid(&at); listq_next(&from->seq, &at)) {
        CHECK(row_view(at.row, rq->now_ms, &view) == 0);
        mut_list_push(rq->mut, to, row_text(&view, text), false);
    }
}

/* False after the error that there is no memory. */
static bool copy_chunks(struct request *rq, const struct obj *obj, const struct ks_key *to)
{
    const size_t len = strval_len(obj);
    uint8_t *value = mem_try_alloc(len);

    if (value == NULL) {
        reply_err_oom(rq->out, "the value does not fit into memory");
        return false;
    }
    strval_copy(obj_coll(obj), 0, value, len);
    mut_set(rq->mut, to, bytes_of(value, len), ks_expire_at(obj));
    mem_free(value);
    return true;
}

static void copy_string(struct request *rq, const struct obj *obj, const struct ks_key *to)
{
    char text[REQ_TEXT_BYTES];
    const struct bytes value = req_string(rq, obj, text);
    const uint8_t form = obj->h.flags & BLK_FORMS;

    mut_set(rq->mut, to, value, ks_expire_at(obj));
    if (form != 0)
        req_string_form(rq, to, form);
}

bool keycopy(struct request *rq, const struct ks_key *from, const struct ks_key *to)
{
    struct obj *obj = ks_peek(rq->ks, from, rq->now_ms);
    struct obj *old;

    CHECK(obj != NULL);
    const int err = mut_room(rq->mut, copy_bytes(obj, to->name));
    if (err != 0) {
        req_log_full(rq, err);
        return false;
    }
    if ((obj->h.flags & BLK_COLL) == 0) {
        copy_string(rq, obj, to);
        return true;
    }
    if (obj_is_chunked(obj))
        return copy_chunks(rq, obj, to);
    if (ks_find(rq->ks, to, rq->now_ms, &old, NULL) != KS_ABSENT)
        mut_del(rq->mut, to);
    const struct coll *coll = obj_coll(obj);
    const uint64_t expire_at_ms = ks_expire_at(obj);
    struct coll *copy = mut_coll(rq->mut, to, coll->type);
    if (coll->type == VT_LIST)
        copy_list(rq, coll, copy);
    else
        copy_elems(rq, coll, copy);
    copy->obj->h.flags |= coll->obj->h.flags & BLK_RAW;
    if (expire_at_ms != 0)
        mut_expire(rq->mut, to, expire_at_ms);
    return true;
}
