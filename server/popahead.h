/*
 * Members of a large set that were drawn ahead of SPOP.
 *
 * SPOP of a set that is too large to be loaded waits until the store has the set, and draws from
 * its rows (stream_random.c). One after the other would pay that for each member. So when a set is
 * popped again and again, and nothing else changes it, some more are drawn than are asked for, and
 * the next calls take those, in the order of the draws: several different members drawn at random
 * are what as many calls would have drawn. Any other change of the set makes them void; that it
 * leaves DRAM does not. One set of a shard at a time has some. Shard thread.
 */
#ifndef TIERRA_SERVER_POPAHEAD_H
#define TIERRA_SERVER_POPAHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

struct coll;
struct ks_stream;

/* Drawn ahead at most; they take some ms. */
#define POP_AHEAD_MAX 16u

/* Zero ({0}) has none. */
struct pop_ahead {
    struct buf key;     /* Of the set; empty also if there are none. */
    uint64_t lsn;       /* Of its last change, a pop: else they are void. */
    struct buf members; /* Of each: lengths of member and row, 4 bytes each, member, row. */
    size_t at;
    uint32_t count;
    uint32_t drawn; /* So many were drawn ahead last time. */
};

void pop_ahead_deinit(struct pop_ahead *p);

/* Whether there are `n` more of the set. */
bool pop_ahead_has(const struct pop_ahead *p, const struct coll *set, uint64_t n);

/* How many to draw ahead now that some have to be drawn: more each time that all were used. */
uint32_t pop_ahead_more(const struct pop_ahead *p, const struct coll *set);

/* The next one, borrowed until pop_ahead_keep; there is one. */
void pop_ahead_take(struct pop_ahead *p, struct bytes *out_member, struct bytes *out_row);

/* Some were popped: what is left of them is as good as before. */
void pop_ahead_popped(struct pop_ahead *p, const struct coll *set);

/* Those of the stream that were not popped are kept for the next calls, in place of others. */
void pop_ahead_keep(struct pop_ahead *p, const struct coll *set, struct ks_stream *rows);

#endif
