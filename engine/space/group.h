/*
 * The keyspace of a member of a replication group: rows are values of the lattice (row.h).
 *
 * On a node without peers a change puts a row in place. In a group every change is joined:
 * ks_group_apply takes an op of another member, or one from the log at start, and joins its
 * operands to what is there. A local write builds the row itself (replication/mut_group.c), and
 * puts it in place with ks_group_set_key and ks_group_set_elem.
 *
 *     hot key    its key row and all elements of the type that it shows are in DRAM: whole rows,
 *                with siblings, runs, floors. Operands are joined to them there
 *     cold key   operands wait in the overlay (overlay.h) and go to the store as merge operands.
 *                Nothing is read
 *
 * When a remote op changes what a hot key is (its type, a clear vector, another generation of a
 * long string), the object is taken apart: what the store lacks of it becomes full entries of the
 * overlay, and the key is cold until somebody wants it. Remote ops never make a key hot.
 *
 * Collections are loaded whole, in one read over the rows of the key, which are neighbours: the
 * count of elements is then what is alive among them, and no count is stored. So there is no score
 * index in the store either. A collection larger than the limit for whole loads is refused.
 *
 * The key table of a group has two types more. KS_GHOST: there are rows, but nothing shows (floors
 * of counters, a clear vector, a collection without elements). KS_MAYBE: an op was applied blindly
 * and may have made or removed the key; ks_group_step reads such keys in the background and settles
 * them. Until then they count as keys: ks_count is exact when ks_group_unsettled is 0. VT_CHUNKED
 * is said only where a change of a part leaves a string for certain (group.c, after_op), so that
 * such changes of cold strings read nothing; strings in chunks are VT_STRING otherwise.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_GROUP_H
#define TIERRA_ENGINE_SPACE_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/metric.h"

#include "engine/space/keyspace.h"
#include "engine/value/row.h"

struct batch;
struct ks_wait;
struct op;

/* Types of cold entries of the key table, beside those of row.h. */
#define KS_MAYBE 14u
#define KS_GHOST 15u

/* clang-format off */
#define KS_GROUP_METRICS(X)                                                                       \
    X(operands_hot,   METRIC_COUNTER, "Row operands joined to rows in DRAM.")                      \
    X(operands_cold,  METRIC_COUNTER, "Row operands put into the overlay, with nothing read.")     \
    X(taken_apart,    METRIC_COUNTER, "Hot keys that a remote op made cold.") \
    X(loads,          METRIC_COUNTER, "Keys read whole for commands.")                             \
    X(row_loads,      METRIC_COUNTER, "Key rows read for writes of the whole key.")                \
    X(raised,         METRIC_COUNTER, "Cold keys written as a whole; no element was loaded.") \
    X(probes,         METRIC_COUNTER, "Keys read in the background to settle whether they exist.") \
    X(read_bytes,     METRIC_COUNTER, "Bytes of rows read for loads, probes and collecting.")      \
    X(poisoned_rows,  METRIC_COUNTER, "Rows that could not be joined and are marked as damaged.")  \
    X(rows_collected, METRIC_COUNTER, "Rows made simpler by garbage collection.")                  \
    X(rows_swept,     METRIC_COUNTER, "Element rows removed: nothing of them can show any more.")
/* clang-format on */
METRIC_STRUCT(ks_group_metrics, KS_GROUP_METRICS);

/* The keyspace is that of a member. */
bool ks_group_on(const struct keyspace *ks);

const struct ks_group_metrics *ks_group_metrics(const struct keyspace *ks);

/* Keys of which only a read could tell whether they exist. */
uint64_t ks_group_unsettled(const struct keyspace *ks);

/* Memory of the overlay; counted by ks_bytes. */
uint64_t ks_group_overlay_bytes(const struct keyspace *ks);

/* Starts a read for some unsettled keys. Call it every turn or so. True if there are more. */
bool ks_group_step(struct keyspace *ks);

/* --- garbage --- */

/*
 * What every member has, and what is certain to have arrived (row.h); from durable positions, and
 * `stable` not beyond what the store covers persistently. Copied. `swept` and `swept_types` are not
 * looked at: this module knows.
 */
void ks_group_set_horizons(struct keyspace *ks, const struct row_horizons *horizons);

/*
 * Goes on with what may have become simpler since the horizons moved: up to `max` keys of those
 * whose rows hold siblings, floors, contexts or an expiry that has passed. Hot ones are made
 * simpler in DRAM; cold ones are read in the background, and the rows that a clear vector covers,
 * or that a type has lost for good, are removed. Call it every turn or so. True if there is more to
 * do now.
 */
bool ks_group_collect_some(struct keyspace *ks, uint32_t max);

/* The key may have something to collect: it has expired. False: that was known, or no room. */
bool ks_group_collect_key(struct keyspace *ks, const struct ks_key *key);

/* Keys that wait for the horizons. */
uint64_t ks_group_waiting(const struct keyspace *ks);

/* --- remote ops, and replay --- */

/*
 * Joins an op, whose batch has been logged at `lsn`. Cannot fail: a row that cannot be joined is
 * marked as damaged. `expanded` ops are checked before (ks_group_check).
 */
void ks_group_apply(struct keyspace *ks, const struct ks_key *key, const struct op *op,
                    const struct batch *batch, uint64_t lsn);

/* Whether the op can be joined to rows at all: 0, -ERR_CORRUPT, -ERR_LIMIT, -ENOMEM. */
MUST_USE int ks_group_check(const struct op *op, const struct batch *batch, struct buf *scratch);

/*
 * --- local writes; the key is hot or absent, which ks_need_key sees to, or, to be written as a
 * whole, cold with its key row known (ks_need_row) ---
 */

/* The key is cold. */
bool ks_group_is_cold(struct keyspace *ks, const struct ks_key *key);

/* The key row, whatever it shows; empty if there is none. Valid until the next change. */
struct bytes ks_group_key_row(struct keyspace *ks, const struct ks_key *key);

/* Of the collection at the key, if it is resident. */
struct bytes ks_group_elem_row(const struct coll *coll, struct bytes sub);

/*
 * Puts a key row in place. Where it shows another type than before, no element of the old type is
 * alive in it: a local write has seen them all. A cold key becomes hot, with none of its elements.
 */
void ks_group_set_key(struct keyspace *ks, const struct ks_key *key, struct bytes row,
                      uint64_t lsn);

/* Puts an element's row in place; empty: there is none. */
void ks_group_set_elem(struct keyspace *ks, struct coll *coll, struct bytes sub, struct bytes row,
                       uint64_t lsn);

/*
 * Nothing is left of an element that is dead already, wherever its row is: what had removed it will
 * not be shipped.
 */
void ks_group_drop_elem(struct keyspace *ks, const struct ks_key *key, uint8_t type,
                        struct bytes sub, uint64_t lsn);

/*
 * The collection at the key, alive or, if the key is absent, an empty one of `type` that is absent
 * until its first element is set. NULL: the key is alive and has another type.
 */
struct coll *ks_group_coll(struct keyspace *ks, const struct ks_key *key, uint8_t type,
                           uint64_t now_ms, uint64_t lsn);

#endif
