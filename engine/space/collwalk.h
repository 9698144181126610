/*
 * The elements of a collection that is in DRAM as a whole, as they were at one moment, taken in
 * slices: for replies that would keep a shard busy for too long if they were made at once.
 *
 *     begin -> next, next, .. -> (others run) -> next, .. -> end
 *
 * Nothing is copied: whoever wants to change the collection has to wait until the walk has ended,
 * which the owner sees to. The keyspace itself lets no element leave DRAM meanwhile, and what is
 * deleted, expires or is evicted leaves the key table at once, but stays as it is until then.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_COLLWALK_H
#define TIERRA_ENGINE_SPACE_COLLWALK_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/space/coll.h"

struct keyspace;

struct coll_walk {
    struct coll *coll; /* NULL: there is no walk. */
    uint64_t lsn;      /* Of the collection's last change. */
    bool back;
    bool any; /* An element of a list or sorted set is next. */
    union {
        struct coll_iter all; /* Of a hash or set, */
        struct listq_at list; /* a list, */
        struct zorder_pos order;
    } at;
};

/*
 * Of a hash, set, sorted set or list that is complete and in no group. From the element `skip` on,
 * in the order of a list or of scores, or with `back` against it; of a hash or set from the first
 * one on, in the order of its table.
 */
void coll_walk_begin(struct keyspace *ks, struct coll *coll, uint64_t skip, bool back,
                     struct coll_walk *w);

/* False: it was changed meanwhile, and the walk can only end. */
bool coll_walk_holds(const struct coll_walk *w);

/*
 * The next element of a hash or set; of a list, its row; of a sorted set, with its score. Valid
 * until the walk ends; NULL or false behind the last.
 */
MUST_USE const struct elem *coll_walk_elem(struct coll_walk *w);
MUST_USE bool coll_walk_row(struct coll_walk *w, struct bytes *out);
MUST_USE const struct elem *coll_walk_scored(struct coll_walk *w, double *score);

/* Nothing happens if there is none. */
void coll_walk_end(struct keyspace *ks, struct coll_walk *w);

/* Of all of the keyspace. ks_clear has to wait for them. */
uint32_t ks_walks(const struct keyspace *ks);

#endif
