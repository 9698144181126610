/*
 * Random elements of a collection, none twice: HRANDFIELD, SRANDMEMBER, SPOP, ZRANDMEMBER.
 *
 * Few of many are drawn one by one, and those drawn before are thrown back; a large part is taken
 * by a reservoir over all.
 */
#ifndef TIERRA_SERVER_COLLPICK_H
#define TIERRA_SERVER_COLLPICK_H

#include <stdint.h>

#include "engine/base/attr.h"

struct coll;
struct elem;
struct rng;

/*
 * `n` different live elements of a complete collection, each choice as likely as any other; n is
 * at most their number. The caller frees the result; NULL if memory is exhausted. Valid until the
 * collection changes.
 */
MUST_USE struct elem **collpick(const struct coll *coll, struct rng *rng, uint64_t n);

#endif
