/* What all handlers share; request.h tells. */
#include "server/request.h"

#include "engine/base/check.h"

#include "server/shard.h"

struct ks_key req_key(const struct request *rq, uint32_t index)
{
    return ks_key_of(rq->argv[index], ks_seed(rq->ks));
}

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

struct bytes req_string(const struct request *rq, const struct obj *obj, char text[REQ_TEXT_BYTES])
{
    struct row_view view;

    /* Rows are checked when they are installed. */
    CHECK(row_view(obj_row(obj), rq->now_ms, &view) == 0);
    return row_text(&view, text);
}

bool req_deadline(struct request *rq, uint32_t index, int64_t unit_ms, bool absolute,
                  uint64_t *out_at_ms)
{
    int64_t value;
    int64_t at_ms;

    if (!req_i64(rq, index, &value))
        return false;
    if (value <= 0 || __builtin_mul_overflow(value, unit_ms, &at_ms) ||
        (!absolute && __builtin_add_overflow(at_ms, (int64_t)rq->now_ms, &at_ms))) {
        reply_err_expire_time(rq->out, rq->cmd->name);
        return false;
    }
    *out_at_ms = (uint64_t)at_ms;
    return true;
}
