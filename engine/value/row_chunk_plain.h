/*
 * Joins of the usual rows of string chunks without decoding them. Internal to this folder, but for
 * row_chunk_show_bits.
 *
 * Usual are rows of one generation (row_chunk.h), and as the newer one what an op makes of them: an
 * image, joined to another image, or some bits, joined to whatever the row has. The bits of the
 * older row are not looked at one by one: those of the newer one are searched among them, and
 * what lies between is copied. So a bit costs little more than the bytes of its row, however many
 * bits wait in it. Anything else takes the way of row_chunk_join, with the same result
 * (prop_value_bits compares the two). An older row whose bits are damaged stays so; it is not
 * noticed here, but where it is read.
 */
#ifndef TIERRA_ENGINE_VALUE_ROW_CHUNK_PLAIN_H
#define TIERRA_ENGINE_VALUE_ROW_CHUNK_PLAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "engine/value/row_chunk.h"
#include "engine/value/tag.h"

/* The most bits of the newer row: those of an op, or of some. */
#define ROW_CHUNK_PLAIN_BITS_MAX 64u

/* Appends the join. 1; 0: not such rows, nothing was appended; -ENOMEM. */
MUST_USE int row_chunk_plain_join(struct bytes older, struct bytes newer, struct buf *out);

/*
 * `image` is what the chunk showed of `generation` before `operand` was joined to its row, which
 * made `row` of it: shows what that has changed. False, with nothing changed, if it takes a
 * row_chunk_read: the operand is more than some bits, or there are other generations.
 */
MUST_USE bool row_chunk_show_bits(struct bytes row, struct bytes operand, struct tag generation,
                                  uint8_t image[ROW_CHUNK_BYTES]);

#endif
