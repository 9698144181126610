/*
 * The sum of a key: what must be the same at all members that have the same ops, in 64 bits.
 *
 * Summed is what a client sees, and where it is, not how it is kept: type, value, expiry; fields,
 * members with their scores, list elements with their positions, the bytes of a string whether in
 * one row or in chunks. Not summed are tags, siblings, runs, floors, clear vectors and tombstones:
 * garbage collection takes of them what it may at each member at another time.
 *
 *     key sum      = sum64 of: name sum 8 | type 1 | expire_at_ms 8 | elements 8 | content 8
 *     content      = of a string in one row: sum64(value); else the sum of all element sums
 *     element sum  = sum64(value, seed = sum64(subkey, seed = row kind)); score: its 8 bytes
 *     chunk sum    = likewise, without the zeros at its end; 0 if nothing is left
 *
 * All rows of the key are given, the key row first, the others in any order. A key that shows
 * nothing at `at_ms`, or a collection without elements, has the sum 0.
 *
 * Pure, as row.h.
 */
#ifndef TIERRA_ENGINE_VALUE_ROW_SUM_H
#define TIERRA_ENGINE_VALUE_ROW_SUM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/crc16.h"

#include "engine/value/row.h"
#include "engine/value/vv.h"

/* Sums of keys are added up by buckets of slots. */
#define ROW_SUM_BUCKETS      1024u
#define ROW_SUM_BUCKET_SLOTS (KEY_SLOTS / ROW_SUM_BUCKETS)

struct row_sum {
    uint64_t at_ms;
    bool alive;
    bool has_clear;
    struct row_view view; /* Of the key row. Its value borrows from nothing: it is summed. */
    struct vv clear;
    uint64_t name;
    uint64_t content;
    uint64_t elements;
    struct buf settled; /* Scratch. */
    struct buf clipped;
};

/* `at_ms`: the time of expiry, the same for all who compare, and not before any of their clocks. */
void row_sum_init(struct row_sum *s, uint64_t at_ms);
void row_sum_deinit(struct row_sum *s);

/*
 * Begins a key with its key row; empty: it has none. 0, -ERR_CORRUPT, -ERR_POISON, -ENOMEM: then
 * the key counts as absent.
 */
MUST_USE int row_sum_key(struct row_sum *s, struct bytes name, struct bytes row);

/* Another of its rows (rowkey.h: kind and sub). Errors likewise; then the row is left out. */
MUST_USE int row_sum_elem(struct row_sum *s, uint8_t kind, struct bytes sub, struct bytes row);

/* The sum of the key, 0 if nothing shows. */
uint64_t row_sum_end(const struct row_sum *s);

#endif
