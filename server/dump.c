/* Values in Redis's serialisation, as DUMP and MIGRATE write them; rdb.h has the bytes. */
#include "server/dump.h"

#include <errno.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "server/rdb.h"
#include "server/request.h"

static int dump_string(const struct request *rq, const struct obj *obj, struct buf *out)
{
    char text[REQ_TEXT_BYTES];

    if (!obj_is_chunked(obj))
        return rdb_write_string(out, req_string(rq, obj, text));
    const size_t len = (size_t)strval_len(obj);
    uint8_t *copy = mem_try_alloc(len);
    if (copy == NULL)
        return -ENOMEM;
    strval_copy(obj_coll(obj), 0, copy, len);
    const int err = rdb_write_string(out, bytes_of(copy, len));
    mem_free(copy);
    return err;
}

static int dump_row(const struct request *rq, struct bytes row, struct buf *out)
{
    struct row_view view;
    char text[ROW_TEXT_BYTES];

    /* Rows are checked when they are installed. */
    CHECK(row_view(row, rq->now_ms, &view) == 0);
    return rdb_write_string(out, row_text(&view, text));
}

static int dump_list(const struct request *rq, const struct coll *coll, struct buf *out)
{
    struct listq_at at;
    int err = 0;

    for (listq_first(&coll->seq, &at); err == 0 && listq_valid(&at); listq_next(&coll->seq, &at))
        err = dump_row(rq, at.row, out);
    return err;
}

/* The highest score first, as Redis writes them. */
static int dump_zset(const struct coll *coll, struct buf *out)
{
    struct zorder_pos pos;
    bool more = zorder_last(&coll->order, &pos);
    int err = 0;

    for (; err == 0 && more; more = zorder_prev(&pos)) {
        err = rdb_write_string(out, elem_sub(pos.elem));
        if (err == 0)
            err = rdb_write_score(out, pos.score);
    }
    return err;
}

static int dump_elems(const struct request *rq, const struct coll *coll, struct buf *out)
{
    struct coll_iter it;
    const struct elem *elem;
    int err = 0;

    coll_iter_init(coll, &it);
    while (err == 0 && (elem = coll_iter_next(&it)) != NULL) {
        err = rdb_write_string(out, elem_sub(elem));
        if (err == 0 && coll->type == VT_HASH)
            err = dump_row(rq, elem_row(elem), out);
    }
    return err;
}

int dump_value(const struct request *rq, const struct obj *obj, struct buf *out)
{
    const uint8_t type = obj->h.type;
    const struct coll *coll = type == VT_STRING ? NULL : obj_coll(obj);
    int err = rdb_write_head(out, type, coll == NULL ? 1 : coll->count);

    if (err != 0)
        return err;
    if (coll == NULL)
        err = dump_string(rq, obj, out);
    else if (type == VT_LIST)
        err = dump_list(rq, coll, out);
    else if (type == VT_ZSET)
        err = dump_zset(coll, out);
    else
        err = dump_elems(rq, coll, out);
    return err != 0 ? err : rdb_write_footer(out);
}

/* --- in slices --- */

/* Collections with fewer elements are dumped at once. */
#define LONG_ELEMS 4096

bool dump_is_long_string(const struct obj *obj)
{
    return obj_is_chunked(obj) && strval_len(obj) > DUMP_SLICE_BYTES;
}

bool dump_is_long(const struct obj *obj)
{
    if ((obj->h.flags & BLK_COLL) == 0 || obj->h.type == VT_STRING)
        return dump_is_long_string(obj);
    const struct coll *coll = obj_coll(obj);
    return coll->complete && !coll->grouped && coll->count > LONG_ELEMS;
}

int dump_begin(struct keyspace *ks, const struct obj *obj, struct dump *d, struct buf *out)
{
    struct coll *coll = obj_coll(obj);
    int err = rdb_write_head(out, obj->h.type, coll->count);

    *d = (struct dump){.type = obj->h.type, .left = coll->count};
    if (err == 0 && d->type == VT_STRING) {
        err = rdb_write_length(out, d->left);
        /* So that it need not be moved when it grows. */
        return err != 0 ? err : buf_reserve(out, (size_t)d->left + RDB_FOOTER_BYTES);
    }
    if (err == 0)
        coll_walk_begin(ks, coll, 0, d->type == VT_ZSET, &d->walk);
    return err;
}

static int slice_of_string(struct dump *d, const struct obj *obj, struct buf *out)
{
    const uint64_t n = u64_min(d->left, DUMP_SLICE_BYTES);
    const int err = buf_reserve(out, (size_t)n);

    if (err != 0)
        return err;
    strval_copy(obj_coll(obj), d->at, buf_end(out), n);
    buf_commit(out, (size_t)n);
    d->at += n;
    d->left -= n;
    return 0;
}

static int dump_next(const struct request *rq, struct dump *d, struct buf *out)
{
    struct bytes row;
    double score = 0; /* Set where it is read; clang does not see that. */

    if (d->type == VT_LIST) {
        CHECK(coll_walk_row(&d->walk, &row));
        return dump_row(rq, row, out);
    }
    const struct elem *elem =
        d->type == VT_ZSET ? coll_walk_scored(&d->walk, &score) : coll_walk_elem(&d->walk);
    CHECK(elem != NULL);
    const int err = rdb_write_string(out, elem_sub(elem));
    if (err != 0 || d->type == VT_SET)
        return err;
    return d->type == VT_ZSET ? rdb_write_score(out, score) : dump_row(rq, elem_row(elem), out);
}

static int slice_of_coll(const struct request *rq, struct dump *d, uint64_t n, struct buf *out)
{
    const size_t bytes_max = out->len + DUMP_SLICE_BYTES;
    int err = 0;

    for (; err == 0 && n != 0 && d->left != 0 && out->len < bytes_max; n--, d->left--)
        err = dump_next(rq, d, out);
    return err;
}

int dump_some(const struct request *rq, struct dump *d, const struct obj *obj, uint64_t n,
              struct buf *out)
{
    int err = d->type == VT_STRING ? slice_of_string(d, obj, out) : slice_of_coll(rq, d, n, out);

    if (err != 0)
        return err;
    d->sum = rdb_sum(d->sum, bytes_from(buf_bytes(out), d->summed));
    d->summed = out->len;
    if (d->left != 0)
        return 0;
    err = rdb_write_footer_of(out, d->sum);
    return err != 0 ? err : 1;
}

void dump_end(struct keyspace *ks, struct dump *d)
{
    coll_walk_end(ks, &d->walk);
}
