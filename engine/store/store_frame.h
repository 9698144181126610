/*
 * The frame of a row on flash:
 *
 *     0  1  version, 1
 *     1  4  low 32 bits of xxh3-64 of the row, seeded with xxh3-64 of its key; LE
 *     5  .. row, at least one byte
 *
 * The seed ties the row to its key: a row found under another key is as damaged as one with a
 * flipped bit. Frames are made when a batch is built and checked at every read, join and
 * compaction that would drop one. Pure functions, any thread.
 */
#ifndef TIERRA_ENGINE_STORE_STORE_FRAME_H
#define TIERRA_ENGINE_STORE_STORE_FRAME_H

#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/store/store.h"

#define FRAME_VERSION      1
#define FRAME_HEADER_BYTES 5

/* Writes FRAME_HEADER_BYTES at `out` for a row that follows them. */
void frame_header_store(uint8_t *out, struct bytes key, struct bytes row);

/* Whether version and checksum fit; then the row, which may be DEAD or POISON. */
MUST_USE bool frame_open(struct bytes key, struct bytes frame, struct bytes *out_row);

/* As a reader sees it: FOUND, ABSENT (DEAD) or CORRUPT (damaged or POISON); the row if FOUND. */
MUST_USE enum store_status frame_read(struct bytes key, struct bytes frame, struct bytes *out_row);

/*
 * Joins frames into `out`, which is empty: the frame of the result. Never fails: damage gives a
 * POISON row. `existing`: NULL if there is none.
 */
void frame_merge(const struct store_merge_ops *ops, struct bytes key, const struct bytes *existing,
                 const struct bytes *operands, size_t n, struct buf *out);

#endif
