/*
 * HSCAN, SSCAN and ZSCAN: their options and the walk over a collection.
 *
 * The cursor is a prefix of the hashes that order the element table, so that an element which is
 * there all the time is shown, whatever comes and goes between two calls. A small collection is
 * shown at once, as Redis shows its compact encodings.
 */
#ifndef TIERRA_SERVER_COLLSCAN_H
#define TIERRA_SERVER_COLLSCAN_H

#include <stdint.h>

struct elem;
struct request;

/* Writes what the command shows of one element: `per_elem` replies. */
typedef void collscan_emit_fn(struct request *rq, const struct elem *elem);

/* All of the command: key, cursor and options are the arguments 1, 2 and from 3 on. */
void collscan_run(struct request *rq, uint8_t type, uint32_t per_elem, collscan_emit_fn *emit);

#endif
