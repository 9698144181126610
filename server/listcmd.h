/*
 * What the commands of lists share with those that block (cmd_list.c, cmd_block.c).
 */
#ifndef TIERRA_SERVER_LISTCMD_H
#define TIERRA_SERVER_LISTCMD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

struct coll;
struct ks_key;
struct request;

/* The list, or NULL if there is none or, with *ok false and the error replied, something else. */
struct coll *listcmd_get(struct request *rq, const struct ks_key *key, bool *ok);

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
