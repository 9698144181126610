/* What all handlers share; request.h tells. */
#include "server/request.h"

#include <errno.h>
#include <inttypes.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "server/shard.h"

/* An element op's fields other than key and element, at most. */
#define OP_OVERHEAD_BYTES 48

bool req_type_ok(struct request *rq, const struct obj *obj, uint8_t type)
{
    if (likely(obj == NULL || obj->h.type == type))
        return true;
    reply_err_wrongtype(rq->out);
    return false;
}

bool req_i64(struct request *rq, uint32_t index, int64_t *out)
{
    if (num_parse_i64(rq->argv[index], out))
        return true;
    reply_err_not_integer(rq->out);
    return false;
}

bool req_count(struct request *rq, uint32_t index, int64_t *out)
{
    if (!req_i64(rq, index, out))
        return false;
    if (*out != INT64_MIN)
        return true;
    reply_error(rq->out, "ERR value is out of range, value must between %" PRId64 " and %" PRId64,
                -INT64_MAX, INT64_MAX);
    return false;
}

bool req_log_room(struct request *rq, uint64_t ops, size_t bytes)
{
    const size_t op_bytes = OP_OVERHEAD_BYTES + rq->argv[1].len;
    size_t len;

    int err = size_mul_overflow(ops, op_bytes, &len) || size_add_overflow(len, bytes, &len)
                  ? -ERR_LIMIT
                  : mut_room(rq->mut, len);
    if (likely(err == 0))
        return true;
    req_log_full(rq, err);
    return false;
}

void req_log_full(struct request *rq, int err)
{
    if (err == -ERR_BUSY && !rq->nested) {
        rq->parked = true;
        shard_retry_next_turn(rq->sh, rq->conn);
    } else if (err == -ERR_LIMIT) {
        reply_error(rq->out, "ERR the result is too large for one record of the op log");
    } else if (err == -ENOMEM) {
        reply_err_oom(rq->out, "the value does not fit into memory");
    } else {
        reply_err_oom(rq->out, err == -ENOSPC ? "no space left on the device for the op log"
                                              : "the op log is full at the moment");
    }
}

struct bytes req_string(const struct request *rq, const struct obj *obj, char text[REQ_TEXT_BYTES])
{
    struct row_view view;

    CHECK(!obj_is_chunked(obj));
    /* Rows are checked when they are installed. */
    CHECK(row_view(obj_row(obj), rq->now_ms, &view) == 0);
    return row_text(&view, text);
}

uint64_t req_string_len(const struct request *rq, const struct obj *obj)
{
    char text[REQ_TEXT_BYTES];

    return obj_is_chunked(obj) ? strval_len(obj) : req_string(rq, obj, text).len;
}

void req_string_form(const struct request *rq, const struct ks_key *key, uint8_t form)
{
    struct obj *obj = ks_peek(rq->ks, key, rq->now_ms);

    /* One in chunks is raw anyway. */
    if (obj != NULL && (obj->h.flags & BLK_COLL) == 0)
        obj->h.flags |= form;
}

void req_reply_string(struct request *rq, const struct obj *obj, uint64_t offset, uint64_t len)
{
    char text[REQ_TEXT_BYTES];

    if (likely(!obj_is_chunked(obj))) {
        reply_bulk(rq->out, bytes_of(req_string(rq, obj, text).ptr + (size_t)offset, (size_t)len));
        return;
    }
    uint8_t *at = reply_bulk_space(rq->out, (size_t)len);
    if (at != NULL)
        strval_copy(obj_coll(obj), offset, at, len);
}

int64_t req_now_for_ttl(struct request *rq)
{
    (void)reactor_wall_refresh(rq->sh->reactor);
    rq->now_ms = shard_now_ms(rq->sh);
    return (int64_t)rq->now_ms;
}

bool req_deadline(struct request *rq, uint32_t index, int64_t unit_ms, bool absolute,
                  uint64_t *out_at_ms)
{
    int64_t value;
    int64_t at_ms;

    if (!req_i64(rq, index, &value))
        return false;
    if (value <= 0 || __builtin_mul_overflow(value, unit_ms, &at_ms) ||
        (!absolute && __builtin_add_overflow(at_ms, req_now_for_ttl(rq), &at_ms))) {
        reply_err_expire_time(rq->out, rq->cmd->name);
        return false;
    }
    *out_at_ms = (uint64_t)at_ms;
    return true;
}
