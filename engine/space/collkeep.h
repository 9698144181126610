/*
 * Members and scores that are kept until all have been read, and shown in another order than they
 * came in: by score, or by chance.
 *
 *     create -> add, add, .. -> sort or shuffle -> next, next, ..
 *
 * What may be kept is bounded. Beyond that either nothing is (`all`), or the members of the least
 * scores are: whenever the room is used up, the greater half goes, and what is greater still is not
 * taken any more. Then the owner adds the same members again, as often as it takes:
 *
 *     .. next, next -> pass -> add, add, ..    what was shown before is left out
 *
 * A member with its head (score 8 | length 4, in the machine's order) stands in one buffer, beside
 * it 16 bytes of the order. Pure; owned by one thread at a time.
 */
#ifndef TIERRA_ENGINE_SPACE_COLLKEEP_H
#define TIERRA_ENGINE_SPACE_COLLKEEP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct collkeep;
struct rng;

/* `bytes`: of all members together, each with `beside` bytes beside its name. */
MUST_USE struct collkeep *collkeep_create(uint64_t bytes, uint32_t beside, bool all);
/* NULL is allowed. */
void collkeep_destroy(struct collkeep *k);

/* 0 or -ENOMEM. No score is NaN. */
MUST_USE int collkeep_add(struct collkeep *k, struct bytes member, double score);

/* Some of what was added, and not shown before, is not kept. */
bool collkeep_lacks(const struct collkeep *k);

/* All were added: they are shown by score and member, or each order is as likely as any other. 0 or
 * -ENOMEM. */
MUST_USE int collkeep_sort(struct collkeep *k);
MUST_USE int collkeep_shuffle(struct collkeep *k, struct rng *rng);

/* The next one, valid until the next add or pass. False: there is none. */
MUST_USE bool collkeep_next(struct collkeep *k, struct bytes *member, double *score);

/* From the first one that is kept on, again. */
void collkeep_show_again(struct collkeep *k);

/* All were shown, in the order of scores: the same members are added again. */
MUST_USE int collkeep_pass(struct collkeep *k);

/* What it takes, but for the order. */
size_t collkeep_bytes(const struct collkeep *k);

#endif
