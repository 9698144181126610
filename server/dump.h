/*
 * A value in Redis's serialisation (rdb.h), footer included: for DUMP, and for MIGRATE.
 *
 * Thread: the shard's.
 */
#ifndef TIERRA_SERVER_DUMP_H
#define TIERRA_SERVER_DUMP_H

#include "engine/base/attr.h"
#include "engine/base/buf.h"

struct obj;
struct request;

/* No dump is longer, footer included. */
#define DUMP_BYTES_MAX (1u << 30)

/* A living value that is resident as a whole, into an empty buffer. 0, -ENOMEM or -ERR_LIMIT. */
MUST_USE int dump_value(const struct request *rq, const struct obj *obj, struct buf *out);

#endif
