/*
 * The keys of the store as its key rows have them: for a table or a checkpoint of it where there
 * is no checkpoint that can be used.
 *
 * Blocks. One thread at a time.
 */
#ifndef TIERRA_ENGINE_SPACE_KEYSCAN_H
#define TIERRA_ENGINE_SPACE_KEYSCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"

struct store;

struct keyscan {
    struct store *store;
    bool group;       /* Of a replication group: which types its keys have differs (group.h). */
    struct buf after; /* Where the next slice begins; empty: at the first key. */
};

void keyscan_init(struct keyscan *s, struct store *store, bool group);
/* No effect on one that is all zeros. */
void keyscan_deinit(struct keyscan *s);

/* A key; `hash` is whole. What it returns ends the scan unless it is 0. */
typedef int (*keyscan_fn)(void *ctx, uint16_t slot, uint64_t hash, uint8_t type, bool has_ttl);

/*
 * Calls fn for the keys of the next rows, ascending by slot and hash; looks at `max` rows at most.
 * Each call sees the store as it is then. 1: there may be more; 0: that was all; -ERR_CORRUPT: a
 * key row is damaged; the error of the store or of fn.
 */
MUST_USE int keyscan_next(struct keyscan *s, uint64_t max, keyscan_fn fn, void *ctx);

#endif
