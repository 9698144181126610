/*
 * Looking ahead: loads into the processor's cache what several commands are about to find.
 *
 * A look-up in a large table is a chain of reads, each of which waits for memory. Done one after
 * the other the chains add up; here those of several commands advance side by side, a step of each
 * at a time, so that their waits overlap. Nothing is changed and nothing is promised: whoever comes
 * later finds the same with or without it, only sooner.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_AHEAD_H
#define TIERRA_ENGINE_SPACE_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/bytes.h"

#include "engine/space/keyspace.h"

/* One key, and at most one element of it. */
struct ks_ahead {
    struct ks_key key;
    struct bytes sub; /* If has_sub. */
    bool has_sub;
};

/* At most so many at a time. */
#define KS_AHEAD_MAX 16

void ks_ahead(const struct keyspace *ks, const struct ks_ahead *a, uint32_t n);

#endif
