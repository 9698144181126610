/* Values in Redis's serialisation, as DUMP and MIGRATE write them; rdb.h has the bytes. */
#include "server/dump.h"

#include <errno.h>

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
