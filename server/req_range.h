/* Integer arguments within bounds, with the error texts of Redis' range parsers. */
#ifndef TIERRA_SERVER_REQ_RANGE_H
#define TIERRA_SERVER_REQ_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "server/request.h"

/*
 * Parse argument `index`, which has to be in min .. INT64_MAX; after false the error was replied:
 * `why`, whatever is wrong with it.
 */
MUST_USE static inline bool req_i64_min(struct request *rq, uint32_t index, int64_t min,
                                        const char *why, int64_t *out)
{
    if (num_parse_i64(rq->argv[index], out) && *out >= min)
        return true;
    reply_error(rq->out, "ERR %s", why);
    return false;
}

/* A count: 0 or more. */
MUST_USE static inline bool req_i64_positive(struct request *rq, uint32_t index, int64_t *out)
{
    return req_i64_min(rq, index, 0, "value is out of range, must be positive", out);
}

#endif
