/*
 * Batches of other members: what the delivery of a group hands over, in causal order.
 *
 *     peer -> delivery (replication/group/) -> apply_remote -> op log -> keyspace
 *
 * A batch is checked as a whole before anything of it is taken; then it is logged as a record of
 * its origin and sequence number, and joined to the keyspace (engine/space/group.h): in DRAM where
 * its keys are hot, else in the overlay, with nothing read from flash and nothing made hot. Whoever
 * watches its keys hears of it. Nothing of it is durable yet: acknowledge by the log's durable
 * position.
 *
 * A batch of a lower flush epoch than that of the keys is logged, and has no other effect; one of a
 * higher epoch is refused (-ERR_RANGE): the keys have to go first (mut_set_flush).
 *
 * A batch of our own origin is one that was lost here and that a peer has: it is taken like any
 * other, and the next local batch comes after it.
 *
 * The own clock follows the batch's, so that whatever is written here from now on comes after it.
 *
 * Owned by one shard thread; between batches of its own.
 */
#ifndef TIERRA_REPLICATION_APPLY_H
#define TIERRA_REPLICATION_APPLY_H

#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/vv.h"

#include "replication/mutate.h"

enum apply_outcome {
    APPLY_DONE = 0,
    APPLY_KNOWN = 1 /* It was applied before: nothing happened. */
};

/*
 * Applies one batch, as its origin's log has it. APPLY_DONE, with its position here; APPLY_KNOWN;
 * with nothing changed:
 *
 *     -ERR_CORRUPT, -ERR_FORMAT, -ERR_LIMIT   no batch, or one with an op that cannot be joined
 *     -ERR_UNSUPPORTED   it has an op of a later version: park the link, never skip it
 *     -ERR_RANGE         not the next of its origin, or something that it has seen is missing here:
 *                        delivery is not causal
 *     -ERR_BUSY, -ERR_FENCED, -ENOSPC   the log does not take it now, as mut_check
 */
MUST_USE int apply_remote(struct mut *m, struct bytes batch, uint64_t *out_lsn);

/* The same in two steps. The first does not ask the log: 0, APPLY_KNOWN or an error as above. */
MUST_USE int apply_check(struct mut *m, const struct batch *batch);

/* After apply_check said 0 and mut_check, too. `bytes`: of the batch. Returns its position. */
uint64_t apply_checked(struct mut *m, const struct batch *batch, struct bytes bytes);

/* The last sequence number applied of each origin, the own one included. */
const struct vv *apply_seqs(const struct mut *m);

#endif
