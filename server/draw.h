/*
 * Random elements that may repeat: HRANDFIELD, SRANDMEMBER and ZRANDMEMBER with a negative count.
 *
 * How many are drawn is up to the client, whatever the collection has. Redis goes on for as many as
 * are asked for, until its memory is exhausted; here both the draws and the bytes of the reply are
 * bounded, and what is beyond is refused.
 */
#ifndef TIERRA_SERVER_DRAW_H
#define TIERRA_SERVER_DRAW_H

#include <stdbool.h>
#include <stdint.h>

struct coll;
struct elem;
struct request;

/* As many as a command may have arguments. They take about a tenth of a second. */
#define DRAWS_MAX (1u << 20)

/* Replies one element; `pairs`: with its value or score. */
typedef void draw_emit_fn(struct request *rq, const struct elem *elem, bool pairs);

/* The reply of `n` draws, above 0, from a complete collection that is not empty; or an error. */
void draw_repeated(struct request *rq, const struct coll *coll, uint64_t n, bool pairs,
                   draw_emit_fn *emit);

#endif
