/*
 * What a SORT within a transaction needs beyond its key: the keys that its patterns lead to.
 *
 * EXEC runs without a gap, so they have to be there before. The elements may be others by then:
 * those that are there now are tried, and the arguments of the commands before it in the queue,
 * which may become elements. If what it meets then is on flash all the same, it replies an error.
 */
#ifndef TIERRA_SERVER_NEED_SORT_H
#define TIERRA_SERVER_NEED_SORT_H

#include <stdint.h>

#include "engine/base/attr.h"

struct ks_wait;
struct shard;
struct txn;

/*
 * Of the queued command `index`, a SORT or SORT_RO whose key was asked for. Results as
 * sort_prepare.
 * `*words`: the arguments that were tried for this transaction, 0 at first.
 */
MUST_USE int need_sort(const struct shard *sh, const struct txn *txn, uint32_t index,
                       struct ks_wait *wait, uint64_t *words);

#endif
