/*
 * The resident part of a string in chunks of ROW_CHUNK_BYTES.
 *
 *     leaves[ ] -> leaf of 64 chunks:  known, dirty, flight   bit per chunk
 *                                      data[64]               NULL: zeros, if known
 *                                      tag of each chunk
 *                                      block                  many chunks in one piece
 *
 * A chunk is known when its bytes are here, or it is known to be zeros; of others only the store
 * can tell. A value that is set whole has one block for each leaf, so that it is read in runs of
 * up to 64 KiB and freed as fast; chunks that come alone are blocks of their own, and so are some
 * at the end of a value that would leave a part of the allocator's size class unused. The bits say
 * what the store lacks: a change of a part writes back what it touched and nothing else.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_CHUNKS_H
#define TIERRA_ENGINE_SPACE_CHUNKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/bytes.h"

#include "engine/value/row_chunk.h"
#include "engine/value/tag.h"

#define CHUNKS_PER_LEAF 64u
#define CHUNKS_NO_INDEX UINT32_MAX

struct chunk_leaf;

struct chunks {
    struct chunk_leaf **leaves; /* NULL: nothing of the leaf is known. */
    uint32_t cap;
    uint32_t shed_hand;
    uint32_t dirty; /* Chunks that the store lacks, without those in flight. */
    size_t bytes;   /* Memory, as allocated. */
};

/* Allocates nothing. */
void chunks_init(struct chunks *c);
void chunks_deinit(struct chunks *c);

static inline size_t chunks_bytes(const struct chunks *c)
{
    return c->bytes;
}

/* The chunks of `len` bytes. */
static inline uint32_t chunks_count(uint64_t len)
{
    return (uint32_t)((len + ROW_CHUNK_BYTES - 1) / ROW_CHUNK_BYTES);
}

/* Into an empty one: the whole value, all of it dirty. */
void chunks_set(struct chunks *c, struct bytes value, struct tag tag);

bool chunks_known(const struct chunks *c, uint32_t index);

/*
 * The chunk that is to be changed, dirty from now on: ROW_CHUNK_BYTES, zeros where nothing was. It
 * was known, or is to be written over as a whole.
 */
uint8_t *chunks_edit(struct chunks *c, uint32_t index, struct tag tag);

/* A chunk as the store has it, or (`image` empty) has not. No effect on a known one. */
void chunks_install(struct chunks *c, uint32_t index, struct bytes image, struct tag tag);

/*
 * The longest run of bytes that lies in one piece from `offset` on, up to `max` of them. `ptr`
 * NULL: these are zeros. What is not known reads as zeros.
 */
struct bytes chunks_run(const struct chunks *c, uint64_t offset, uint64_t max);

/* The first chunk with data from `index` on; CHUNKS_NO_INDEX: none. */
uint32_t chunks_next(const struct chunks *c, uint32_t index);

/* --- write-back --- */

typedef void chunks_flush_fn(void *ctx, uint32_t index, const uint8_t *data, struct tag tag);

/* Calls `fn` for every dirty chunk; they are in flight from then on. One flight at a time. */
void chunks_flush_begin(struct chunks *c, chunks_flush_fn *fn, void *ctx);
void chunks_flush_done(struct chunks *c);
void chunks_flush_failed(struct chunks *c);

/* Lets the leaves among the next `max` go that are clean and were not used since the last time. */
bool chunks_shed(struct chunks *c, uint32_t max);

#endif
