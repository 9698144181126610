/*
 * Which collections are too large to be loaded.
 *
 * The key row counts elements, not bytes: that a collection is too large shows when a load of all
 * has brought as much as may be loaded, and is given up. What was loaded until then counts for the
 * rest: as long as the collection has as many elements as those, no other load is begun. That is
 * remembered here, as the collection itself leaves DRAM soon; else each SPOP of a set of long
 * members would read as much as may be loaded before it drew one (large_pops.py: 83 loads in 400
 * calls). Elements may have become shorter since: now and then it is tried all the same.
 */
#include <string.h>

#include "engine/space/ks_state.h"

/* As often as that it is not tried. */
#define ASKS_MAX 1024

static struct ks_too_large *place(struct keyspace *ks, uint64_t hash)
{
    return &ks->too_large[hash % KS_TOO_LARGE];
}

void ks_too_large_note(struct keyspace *ks, const struct coll *coll, uint64_t loaded)
{
    *place(ks, coll->hash) =
        (struct ks_too_large){.hash = coll->hash, .limit = ks->scan_bytes_max, .loaded = loaded};
}

bool ks_too_large(struct keyspace *ks, const struct coll *coll)
{
    struct ks_too_large *t = place(ks, coll->hash);

    return t->limit != 0 && t->hash == coll->hash && t->limit >= ks->scan_bytes_max &&
           coll->count >= t->loaded && t->asks++ < ASKS_MAX;
}

void ks_too_large_forget(struct keyspace *ks, const struct ks_key *key)
{
    struct ks_too_large *t = place(ks, key->hash);

    if (t->hash == key->hash)
        t->limit = 0;
}

void ks_too_large_clear(struct keyspace *ks)
{
    memset(ks->too_large, 0, sizeof(ks->too_large));
}
