/*
 * One reply of the replies of several shards.
 *
 * Each part is the whole reply of one shard to its part of a command. An error of any part is the
 * reply, unless the kind says otherwise.
 *
 * Owned by the connection's shard.
 */
#ifndef TIERRA_SERVER_JOIN_H
#define TIERRA_SERVER_JOIN_H

#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct join;
struct reply;

enum join_kind {
    JOIN_FIRST,  /* They are the same: "OK". */
    JOIN_OK,     /* "OK", unless all are the same other text. */
    JOIN_ANY,    /* Errors count only if all are errors. */
    JOIN_SUM,    /* Integers. */
    JOIN_MAX,    /* Integers: the greatest. */
    JOIN_ARRAY,  /* Arrays: all elements, in the order of the shards. */
    JOIN_UNION,  /* Arrays of strings: each string once. */
    JOIN_SUMS,   /* Arrays of the same length: integers are added, other elements are the same. */
    JOIN_PLACE,  /* Arrays: each element at the place that join_place gave it. */
    JOIN_LINES,  /* Texts of lines: in the order of the numbers behind "id=". */
    JOIN_NEWEST, /* Arrays of arrays that begin with a number: the greatest first. */
    JOIN_STAMPED /* Arrays of pairs of a number and an element: likewise, the elements only. */
};

MUST_USE struct join *join_create(enum join_kind kind, uint32_t parts);
void join_destroy(struct join *j); /* NULL is allowed. */

uint32_t join_parts(const struct join *j);

/* PLACE: the next element of the reply is the next one of `part`. */
void join_place(struct join *j, uint32_t part);

/* SUM, ARRAY, NEWEST, STAMPED: no more than this. */
void join_limit(struct join *j, uint64_t limit);

/* The reply of `part`; copied. */
void join_add(struct join *j, uint32_t part, struct bytes text);

/* All parts are there. */
void join_reply(struct join *j, struct reply *out);

/*
 * Bytes of the RESP element at the start of `in`, with all that it contains. 0: `in` does not hold
 * a whole one.
 */
MUST_USE size_t join_element_bytes(struct bytes in);

#endif
