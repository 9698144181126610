/*
 * Whether two members hold a row in the same way, told by 64 bits: for a resync that leaves out
 * what both have (replication/replica_same.h).
 *
 * Rows of equal sums are equal as row_reconcile looks at them: tags, values, runs, floors, clear
 * vectors and settings. Left out is what is a member's own business: the hash in a row's name, how
 * many elements were counted at which place of its log, contexts, which a full row does not need.
 * So garbage that one has collected and the other has not makes a difference, and costs bytes only.
 *
 *     name  = sum64 of: subkey, its seed being sum64(key, seed) + kind
 *     sum   = sum64 of the row's bytes, its seed being the complement of the name; of a GENERAL
 * row, of the bytes that it has when settled and not counted; of COLL without its count
 *
 * A seed that nobody knows before makes it hard to choose keys or values with equal sums.
 *
 * Pure, as row.h.
 */
#ifndef TIERRA_ENGINE_VALUE_ROW_SAME_H
#define TIERRA_ENGINE_VALUE_ROW_SAME_H

#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/rowkey.h"

/* Where the row stands: the same at all members, equally spread over 64 bits. */
uint64_t row_same_name(const struct rowkey *rk, uint64_t seed);

/* 0: nothing is there (DEAD). A damaged row has the sum of its bytes. Errors: -ENOMEM. */
MUST_USE int row_same_sum(struct bytes row, uint64_t name, uint64_t *out);

#endif
