/* Integer arguments within bounds, with the error texts of Redis' range parsers. */
#ifndef TIERRA_SERVER_REQ_RANGE_H
#define TIERRA_SERVER_REQ_RANGE_H

#include <limits.h>
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

/* The number of a database. */
MUST_USE static inline bool req_db(struct request *rq, uint32_t index, int64_t *out)
{
    if (!req_i64(rq, index, out))
        return false;
    if (*out >= INT_MIN && *out <= INT_MAX)
        return true;
    reply_error(rq->out, "ERR value is out of range, value must between %d and %d", INT_MIN,
                INT_MAX);
    return false;
}

#endif
