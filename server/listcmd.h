/*
 * What the commands of lists share (cmd_list.c, cmd_list_find.c), also with those that block
 * (cmd_block.c).
 */
#ifndef TIERRA_SERVER_LISTCMD_H
#define TIERRA_SERVER_LISTCMD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/space/listq.h"
#include "engine/value/row.h"

struct buf;
struct coll;
struct ks_key;
struct request;

/* The list, or NULL if there is none or, with *ok false and the error replied, something else. */
struct coll *listcmd_get(struct request *rq, const struct ks_key *key, bool *ok);

/* The slow half of listcmd_value_at. */
NOINLINE struct bytes listcmd_value_general(const struct request *rq, struct bytes row,
                                            char text[ROW_TEXT_BYTES]);

/* The element: a slice of the list, or of `text`. */
static ALWAYS_INLINE struct bytes
listcmd_value_at(const struct request *rq, const struct listq_at *at, char text[ROW_TEXT_BYTES])
{
    if (likely(at->row.len >= ROW_VALUE_AT && at->row.ptr[0] == ROW_VALUE))
        return bytes_of(at->row.ptr + ROW_VALUE_AT, at->row.len - ROW_VALUE_AT);
    return listcmd_value_general(rq, at->row, text);
}

/* Whether the log has room for `n` changes of the key beside their values; false as req_log_room.
 */
MUST_USE bool listcmd_room_for(struct request *rq, const struct ks_key *key, uint64_t n,
                               size_t bytes);

/* The values of `n` elements from index `start` on, each behind its length, 4 bytes. */
MUST_USE int listcmd_copy_values(const struct request *rq, const struct coll *coll, uint64_t start,
                                 uint64_t n, struct buf *out);

/* The list becomes these values, and `one` before index `place`; its expiry stays. */
void listcmd_anew(struct request *rq, const struct ks_key *key, const struct coll *coll,
                  struct bytes values, const struct bytes *one, uint64_t place);

/* LEFT or RIGHT; false after an error reply. */
MUST_USE bool listcmd_end(struct request *rq, uint32_t index, bool *out_front);

/* COUNT behind LEFT or RIGHT; false after an error reply. */
MUST_USE bool listcmd_count(struct request *rq, uint32_t at, int64_t *out);

/* Whether the log has room for a pop of `count`; false as req_log_room. */
MUST_USE bool listcmd_room_for_pop(struct request *rq, const struct ks_key *key,
                                   const struct coll *coll, uint64_t count);

/* Pops up to `count` > 0 elements and replies them as an array; there is room in the log. */
void listcmd_pop_many(struct request *rq, const struct ks_key *key, struct coll *coll,
                      uint64_t count, bool front);

/* Pops one element and replies it. */
void listcmd_pop_one(struct request *rq, struct coll *coll, bool front);

/* Moves one element of the list to the key in argument 2, and replies it or an error. */
void listcmd_move(struct request *rq, struct coll *from, bool from_front, bool to_front);

#endif
