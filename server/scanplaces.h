/*
 * Where walks of ZSCAN over sorted sets on flash go on.
 *
 * Rows of members stand in the order of their names, which no cursor of 64 bits can tell. So the
 * cursor is a hash of the member with which the next page begins (ks_stream_place), and the last
 * some hundred of these members are remembered here. One that was forgotten, or given before a
 * restart, is looked for in the rows.
 *
 * Bounded in number and bytes: the oldest goes. Owned by one shard thread.
 */
#ifndef TIERRA_SERVER_SCANPLACES_H
#define TIERRA_SERVER_SCANPLACES_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"

struct scan_places;

/* NULL is allowed. */
void scan_places_destroy(struct scan_places *t);

/* The next page of the set with this hash begins at `member`. `*t` NULL: it is made. */
void scan_places_keep(struct scan_places **t, uint64_t key_hash, uint64_t place,
                      struct bytes member);

/* False: unknown. Valid until the next call of keep. `t` may be NULL. */
bool scan_places_find(const struct scan_places *t, uint64_t key_hash, uint64_t place,
                      struct bytes *out);

#endif
