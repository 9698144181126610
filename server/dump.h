/*
 * A value in Redis's serialisation (rdb.h), footer included: for DUMP, and for MIGRATE.
 *
 * Thread: the shard's.
 */
#ifndef TIERRA_SERVER_DUMP_H
#define TIERRA_SERVER_DUMP_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"

#include "engine/space/collwalk.h"

struct keyspace;
struct obj;
struct request;

/* No dump is longer, footer included. */
#define DUMP_BYTES_MAX (1u << 30)

/* A living value that is resident as a whole, into an empty buffer. 0, -ENOMEM or -ERR_LIMIT. */
MUST_USE int dump_value(const struct request *rq, const struct obj *obj, struct buf *out);

/*
 * In slices, for values that would keep the shard busy for too long:
 *
 *     begin -> some, some, .. (1: it is whole) -> end
 *
 * The value must not be changed meanwhile, which the owner sees to. The elements of a collection
 * stay in DRAM until the end (collwalk.h); of a string the owner brings each slice.
 */
#define DUMP_SLICE_ELEMS 2048u
#define DUMP_SLICE_BYTES (1u << 20)

struct dump {
    struct coll_walk walk; /* Of a collection. */
    uint64_t at;           /* Of a string: bytes that have been written. */
    uint64_t left;         /* Elements or bytes. */
    uint64_t sum;          /* Of the dump up to `summed`. */
    size_t summed;
    uint8_t type; /* enum value_type */
};

/* A string that is worth it; and a collection, which is resident as a whole. */
bool dump_is_long_string(const struct obj *obj);
bool dump_is_long(const struct obj *obj);

/* Each 0, or 1 as said, or -ENOMEM or -ERR_LIMIT. `n`: elements at most. */
MUST_USE int dump_begin(struct keyspace *ks, const struct obj *obj, struct dump *d,
                        struct buf *out);
MUST_USE int dump_some(const struct request *rq, struct dump *d, const struct obj *obj, uint64_t n,
                       struct buf *out);
/* Also in the middle. */
void dump_end(struct keyspace *ks, struct dump *d);

#endif
