/*
 * Sets of sets that are on flash, joined as they are read: intersection, union and difference of
 * the member rows of several keys, which are sets or sorted sets.
 *
 * Rows of members stand by hash and name (rowkey.h), the same for every key, so that one walk with
 * one cursor a set finds what the sets have in common. An intersection leaps: each cursor goes to
 * the place of the others, by a few steps or else by a seek, so that a small set costs seeks in the
 * large one, not a walk over it. A difference leaps in all but the first set. A row that waits to
 * be swept is none.
 *
 * Rows of members of sorted sets stand by name, and are joined likewise. Where both kinds are named
 * there is no common order: the sets of one kind are walked over, and those of the other are asked
 * for each member, by a seek. A union then walks over the others, and leaves out what it has shown.
 *
 * A join may be one of scores: each member's score in a set (1 in a plain set) times the weight of
 * the set, aggregated in the order in which the sets were added; of a difference the score in the
 * first. What is not a number becomes 0, as in Redis.
 *
 *     create -> add, add, .. on the shard's thread;  open -> next, next, .. -> close on a reader's
 *
 * Used by collstream.c, which sees to it that the cursors see one moment.
 */
#ifndef TIERRA_ENGINE_SPACE_COLLMERGE_H
#define TIERRA_ENGINE_SPACE_COLLMERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/tag.h"

struct collmerge;
struct ks_key;
struct store;

enum collmerge_op {
    COLLMERGE_INTER, /* of all */
    COLLMERGE_UNION,
    COLLMERGE_DIFF /* of the first and all others */
};

enum collmerge_aggregate {
    COLLMERGE_SUM,
    COLLMERGE_MIN,
    COLLMERGE_MAX
};

/* Two scores of a member. */
double collmerge_aggregate(enum collmerge_aggregate how, double sum, double score);
/* A score times a weight. */
double collmerge_weighted(double score, double weight);

/* Room for `sets` sets, at least 1. */
MUST_USE struct collmerge *collmerge_create(enum collmerge_op op, uint32_t sets);

/* Of an intersection the smallest first. `hidden`: rows up to this tag are garbage; or NULL. */
void collmerge_add(struct collmerge *m, const struct ks_key *key, const struct tag *hidden);

/* Instead of that, for a join of scores. */
struct collmerge_scored {
    const struct ks_key *key;
    const struct tag *hidden;
    enum collmerge_aggregate how; /* The same of all. */
    double weight;
    uint8_t kind; /* ROWKEY_KIND_SET or ROWKEY_KIND_ZSET */
};
void collmerge_add_scored(struct collmerge *m, const struct collmerge_scored *set);

/* Opens the cursors; 0 or a negative error, then it is to be closed all the same. */
MUST_USE int collmerge_open(struct collmerge *m, struct store *store);

/* To the begin; what was opened stays as it was then. */
void collmerge_rewind(struct collmerge *m);

struct collmerge_row {
    struct bytes member; /* Borrowed, until the next call. */
    struct bytes row;
    double score; /* Of a join of scores. */
};
enum collmerge_result {
    COLLMERGE_ROW,
    COLLMERGE_PAUSE, /* `cost` is spent; to be called again. */
    COLLMERGE_END    /* Or an error. */
};
/* `*cost`: what may be spent, in steps of a cursor; counted down. */
enum collmerge_result collmerge_next(struct collmerge *m, int64_t *cost, struct collmerge_row *out);

/* Why it has ended: 0, -ERR_CORRUPT, -ENOMEM, -errno. */
int collmerge_err(const struct collmerge *m);

/* Whether cursors are open. */
bool collmerge_is_open(const struct collmerge *m);
/* Closes the cursors. */
void collmerge_close(struct collmerge *m);
/* After the close. NULL is allowed. */
void collmerge_destroy(struct collmerge *m);

#endif
