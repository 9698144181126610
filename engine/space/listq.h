/*
 * The resident elements of one list, in the order of their positions: a deque of packed nodes.
 *
 *     listq: ring of { node *, count } -> node of up to 4 KiB
 *     node:  | head | prefix | free | entry entry entry ... | free |
 *     entry: | flags 1 | suffix 4, or length 2 and position | row length 1.. | row | back
 * length 1.. |
 *
 * Entries of a node lie side by side in list order, so that a range is read from contiguous memory.
 * A push writes one entry at an end of a node, and free space is where pushes happen. A middle
 * insert or remove moves the bytes of one node. An element larger than a node has one of its own.
 *
 * Positions are byte strings whose byte order is the list order. Those of one run share all but
 * four bytes and a last one of 0x80: the node keeps the shared prefix of its first entry once, and
 * entries that have it the four bytes.
 *
 * What the store does not have yet
 * --------------------------------
 * An entry has two flags: DIRTY (the store lacks this row) and IN_STORE (the store has, or may
 * have, some row at this position). A node knows the lowest LSN of its unstored changes; nodes with
 * dirty entries stand in a queue in the order of that LSN. Removing an entry that is IN_STORE
 * leaves a tombstone {position, LSN} until the store knows; removing one that is not leaves
 * nothing.
 *
 *     listq_flush_begin   shows dirty rows and tombstones, oldest first: they are in flight now
 *     listq_flush_done    the store has them
 *     listq_flush_failed  it has not: what was in flight waits again
 *
 * One flight at a time. A row in flight counts as IN_STORE, and may be changed or removed like any
 * other: it is then dirty, or a tombstone, again. After a failed flight all entries of its nodes
 * that are IN_STORE are dirty: a few rows more than needed, never one less.
 *
 * LSNs must not go down from call to call. Cursors and the slices they give are valid until the
 * next change of the list. Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_LISTQ_H
#define TIERRA_ENGINE_SPACE_LISTQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/list.h"

struct listq_node;
struct listq_slot;

/* The longest position, in bytes. */
#define LISTQ_POSITION_BYTES_MAX 1024u

enum listq_flag {
    LISTQ_DIRTY = 1 << 0,    /* The store lacks this row; the LSN given with it counts. */
    LISTQ_IN_STORE = 1 << 1, /* The store has, or may have, a row at this position. */
};

/* Embedded in a collection. Fields are for this module. */
struct listq {
    struct listq_slot *ring; /* Nodes in list order, a ring. */
    uint8_t *tombs;          /* Tombstones: LSN 8, length 2, position; oldest first. */
    uint64_t count;
    uint64_t bytes;
    struct list waiting; /* Nodes with dirty entries, by their lowest LSN. */
    uint64_t flight_lsn; /* Lowest of the nodes in flight. */
    uint32_t ring_first;
    uint32_t ring_count;
    uint32_t ring_cap; /* Power of two, or 0. */
    uint32_t tombs_len;
    uint32_t tombs_cap;
    uint32_t tombs_flying; /* Bytes at the front that are in flight. */
    uint32_t flight;       /* Number of the present or last flight. */
    bool flying;
};

/* Allocates nothing. Must not be moved while it is in use. */
void listq_init(struct listq *q);
void listq_deinit(struct listq *q);

/* Elements. O(1). */
static inline uint64_t listq_count(const struct listq *q)
{
    return q->count;
}

/* Memory without struct listq. Exact, O(1). */
static inline uint64_t listq_bytes(const struct listq *q)
{
    return q->bytes;
}

/*
 * Memory of the nodes that the first `count` elements are in, or the last ones; no further than it
 * exceeds `enough`.
 */
uint64_t listq_bytes_of_end(const struct listq *q, bool front, uint64_t count, uint64_t enough);

/* --- elements; a fresh local push has flags LISTQ_DIRTY, one loaded from the store IN_STORE --- */

struct listq_item {
    struct bytes position;
    struct bytes row;
    uint8_t flags; /* enum listq_flag */
};

/*
 * At an end: the position is lower (higher) than all others, which is checked in debug builds only.
 * `lsn` of the change; it does not matter without LISTQ_DIRTY. None of these can fail.
 */
void listq_push_front(struct listq *q, const struct listq_item *item, uint64_t lsn);
void listq_push_back(struct listq *q, const struct listq_item *item, uint64_t lsn);

/*
 * Where the position belongs. If it is there already, the row is replaced; the flags are then
 * those given, and IN_STORE stays. O(log nodes + node).
 */
void listq_insert(struct listq *q, const struct listq_item *item, uint64_t lsn);

/* A cursor on an element; node NULL: beyond either end. Fields but `row` are for this module. */
struct listq_at {
    const struct listq_node *node;
    struct bytes row; /* Of the element. */
    uint32_t ring;    /* Place of the node. */
    uint32_t offset;  /* Of the entry in its node. */
};

static inline bool listq_valid(const struct listq_at *at)
{
    return at->node != NULL;
}

void listq_first(const struct listq *q, struct listq_at *out);
void listq_last(const struct listq *q, struct listq_at *out);
/* By index from 0. Walks the counts of the nodes from the nearer end. */
void listq_at_index(const struct listq *q, uint64_t index, struct listq_at *out);
/* The element at exactly this position; false, and the first one after it, if there is none. */
bool listq_find(const struct listq *q, struct bytes position, struct listq_at *out);
/* `at` is valid. */
void listq_next(const struct listq *q, struct listq_at *at);
void listq_prev(const struct listq *q, struct listq_at *at);
/* Index of the element. Walks the counts of the nodes from the nearer end. */
uint64_t listq_index(const struct listq *q, const struct listq_at *at);

/* Writes the position to `out`, which has LISTQ_POSITION_BYTES_MAX bytes. */
struct bytes listq_position(const struct listq_at *at, uint8_t *out);
uint8_t listq_flags(const struct listq_at *at);

/* Removes the element, with a tombstone if it is IN_STORE; the cursor moves to the next one. */
void listq_remove(struct listq *q, struct listq_at *at, uint64_t lsn);
/* The same for the first and last element; the list is not empty. */
void listq_pop_front(struct listq *q, uint64_t lsn);
void listq_pop_back(struct listq *q, uint64_t lsn);

/* The store may have a row at this position, which is in no node, and is to lose it. */
void listq_bury(struct listq *q, struct bytes position, uint64_t lsn);

/* Deletions that the store has not made yet: waiting or in flight. */
static inline bool listq_has_tombs(const struct listq *q)
{
    return q->tombs_len != 0;
}

/* Neighbours that can leave DRAM together. */
struct listq_stretch {
    uint64_t first; /* Index of the first. */
    uint64_t count; /* 0: nothing can go. */
};

/*
 * The elements of the node of element `index`, or those of them from index `low` to below `high`
 * on, if the store has all of the node: clean and not in flight. They stand in a node of their own
 * then.
 */
struct listq_stretch listq_evictable(struct listq *q, uint64_t index, uint64_t low, uint64_t high);

/* Takes them out of DRAM; the owner remembers what is missing. Nothing was changed in between. */
void listq_evict(struct listq *q, const struct listq_stretch *stretch);

/*
 * Removes all elements, without tombstones, and forgets those there are: for DEL, where the key row
 * buries what the store has. A flight under way is to be finished as usual.
 */
void listq_clear(struct listq *q);

/* --- the store --- */

/* True if something waits or is in flight. */
bool listq_dirty(const struct listq *q);
/*
 * The lowest LSN of what waits, not of what is in flight; UINT64_MAX if nothing waits. A lower
 * bound: where a node's first changes are gone already it can be less than needed.
 */
uint64_t listq_lowest_lsn(const struct listq *q);

/* A row that the store lacks, and a position whose row is to be deleted there. */
typedef void (*listq_put_fn)(void *ctx, struct bytes position, struct bytes row);
typedef void (*listq_delete_fn)(void *ctx, struct bytes position);

/*
 * Shows what waits, oldest first by node, until at least `rows_max` rows or `bytes_max` bytes are
 * shown, and puts it in flight. Returns the rows shown; 0: nothing waits. Several calls may fill
 * one flight. The callbacks must not change the list.
 */
size_t listq_flush_begin(struct listq *q, size_t rows_max, size_t bytes_max, listq_put_fn put,
                         listq_delete_fn del, void *ctx);
void listq_flush_done(struct listq *q);
void listq_flush_failed(struct listq *q);

#endif
