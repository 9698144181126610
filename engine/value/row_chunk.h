/*
 * Strings in chunks.
 *
 * A string longer than ROW_INLINE_BYTES_MAX has a key row that holds its length, and a row for each
 * chunk of 1 KiB that was ever written; a chunk without a row is zeros. What a change does not
 * touch, it neither reads nor writes.
 *
 * A SET begins a generation of the string, named by its tag: the key row tells which generation
 * shows, and chunks of another one are garbage. A change of a part (APPEND, SETRANGE, SETBIT) is,
 * for the key row, a value like one that was SET, with a tag of its own, but one that points to the
 * generation it was made on and has the length after it (row.h, CHUNKED). The time to live is that
 * of the generation, which a change of a part neither sets nor takes away (row_view.c has the
 * exception for rows of nodes without peers and former builds).
 * Values of one generation share their chunks: there the greatest tag wins chunk by chunk or bit by
 * bit, and the length is the greatest. A generation lives until a SET or DEL has seen it: that
 * takes the changes of its parts along, also those that it has not seen, as there is nothing left
 * that they could change.
 *
 * Chunk rows hold, for each generation, an image (the bytes of the chunk after a change) and the
 * bits that were set alone:
 *
 *     0x06 CHUNK    generation 9 | tag 9 | bytes ..     one image, no bits
 *     0x07 CHUNKS   n 1 | n times: generation 9 | image length + 1, or 0: none 2 |
 *                   [tag 9 | bytes] | bits 2 | times: number, bit 15: its value 2 | tag 9
 *
 * Generations stand in the order of their origins, of which each has one: its latest, which has
 * seen the ones before. Bits stand by number; bytes beyond the image are zeros. The join takes, of
 * a generation, the image with the greatest tag (of equal ones the greatest bytes) and the greatest
 * tag of each bit, then drops bits that the image has seen or beaten.
 *
 * On a node without peers a chunk row has one generation and no bits: they are folded at once.
 *
 * Garbage collection of a full chunk row, up to `stable` (row_collect.c tells what that means):
 *
 *     bit          folded into the image when it is stable. The image keeps its tag: with that of
 *                  the bit it would beat bits that are older and not stable yet, which the other
 *                  members still show. Without an image there is one with the tag of the
 *                  generation, which is older than any other one of this chunk. Images and bits
 *                  that come later have seen what was folded, so that they are later than it. Two
 *                  images of one tag differ by what was folded into them, if at all; what one of
 *                  them lacks is then in the bits beside it, so that any of the two will do
 *     generation   dropped when a clear vector covers it, or when it is stable, no value of the key
 *                  row has it, and all values in chunks that the key row has are stable. Whatever
 *                  took the last of its values is a SET or DEL, of which the clear vector covers
 *                  it, or a part of another generation: one of those values, or one that they have
 *                  seen. Whoever writes from now on has seen them, and shows it no more. While one
 *                  of them is not stable, a member that has not seen it may still show this
 *                  generation, and change it: of two strings each can be changed in parts at some
 *                  members for long, by turns in front by the tags of these
 */
#ifndef TIERRA_ENGINE_VALUE_ROW_CHUNK_H
#define TIERRA_ENGINE_VALUE_ROW_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "engine/value/row.h"
#include "engine/value/tag.h"
#include "engine/value/vv.h"

/* Strings up to here are one row. */
#define ROW_INLINE_BYTES_MAX (16u << 10)
#define ROW_CHUNK_BYTES      1024u
#define ROW_CHUNK_BITS       (8u * ROW_CHUNK_BYTES)

/*
 * Where strings end in a group: its members refuse what reaches further, so that no number from
 * outside makes them reserve memory for what it names.
 */
#define ROW_STRING_BYTES_MAX ((uint64_t)4 << 30)

#define ROW_CHUNK_GENERATIONS_MAX VV_ORIGINS_MAX
#define ROW_CHUNK_TAG_AT          (1 + TAG_BYTES)
#define ROW_CHUNK_IMAGE_AT        (1 + 2 * TAG_BYTES)

/* What the row keys of chunks end with: the index, big-endian. */
#define ROW_CHUNK_SUB_BYTES 4

static inline size_t row_chunk_size(size_t image_len)
{
    return ROW_CHUNK_IMAGE_AT + image_len;
}

/* `image`: at most ROW_CHUNK_BYTES. Returns the bytes written. */
static inline size_t row_chunk_store(uint8_t *dst, struct tag generation, struct tag tag,
                                     struct bytes image)
{
    dst[0] = ROW_CHUNK;
    tag_store(dst + 1, generation);
    tag_store(dst + ROW_CHUNK_TAG_AT, tag);
    if (image.len != 0)
        memcpy(dst + ROW_CHUNK_IMAGE_AT, image.ptr, image.len);
    return row_chunk_size(image.len);
}

/* Bits that one op sets: `count` of them, from bit `first` of the chunk on. */
struct row_chunk_bits {
    uint32_t first;
    uint32_t count; /* 1 .. 64; first + count <= ROW_CHUNK_BITS */
    uint64_t value; /* The first bit is the most significant of `count`. */
};

#define ROW_CHUNK_BITS_BYTES_MAX (2 + TAG_BYTES + 4 + 64 * (2 + TAG_BYTES))

/* An operand that sets bits. Returns the bytes written. */
size_t row_chunk_store_bits(uint8_t *dst, struct tag generation, struct tag tag,
                            struct row_chunk_bits bits);

/* As SETBIT counts: bit 0 is the most significant one of the first byte. */
static inline bool row_chunk_bit(const uint8_t *bytes, uint64_t bit)
{
    return (bytes[bit >> 3] >> (7 - (bit & 7)) & 1) != 0;
}

static inline void row_chunk_put_bit(uint8_t *bytes, uint64_t bit, bool value)
{
    const uint8_t mask = (uint8_t)(0x80u >> (bit & 7));

    bytes[bit >> 3] = (uint8_t)(value ? bytes[bit >> 3] | mask : bytes[bit >> 3] & ~mask);
}

void row_chunk_put_bits(uint8_t *bytes, struct row_chunk_bits bits);

/* By its form: a row of a chunk, sound or not. */
static inline bool row_is_chunk(struct bytes row)
{
    return row.len != 0 && (row.ptr[0] == ROW_CHUNK || row.ptr[0] == ROW_CHUNKS);
}

/*
 * What a chunk row holds of a generation, bits folded in: `image` gets `*out_len` bytes, the rest
 * of the chunk is zeros. `*out_tag`: the greatest of its tags; none if it has nothing of that
 * generation. DEAD and empty rows have nothing. 0, -ERR_CORRUPT, -ERR_POISON.
 */
MUST_USE int row_chunk_read(struct bytes row, struct tag generation, uint8_t image[ROW_CHUNK_BYTES],
                            size_t *out_len, struct tag *out_tag);

/* The greatest generation, and how many there are. 0 or -ERR_CORRUPT. */
MUST_USE int row_chunk_latest(struct bytes row, struct tag *out_generation, unsigned *out_count);

/* Whether every change in the row of a chunk has a tag <= `seen`; false for what cannot be read. */
MUST_USE bool row_chunk_covered(struct bytes row, const struct vv *seen);

/*
 * Whether the change with this tag has written one of `count` bits from `first` on, of a sound row:
 * by themselves, or with the image.
 */
bool row_chunk_has(struct bytes row, struct tag generation, struct tag tag, uint32_t first,
                   uint32_t count);

/*
 * Garbage collection of a full chunk row; `generations`: of the key row as it was at the same time
 * or since (NULL: bits are folded, nothing is dropped). Returns enum row_collected (nothing is
 * appended if ROW_UNCHANGED; DEAD if nothing is left), -ERR_CORRUPT or -ENOMEM.
 */
MUST_USE int row_chunk_collect(struct bytes row, const struct vv *stable,
                               const struct row_generations *generations, struct buf *out);

/* Whether a chunk row, sound, has something that will be collected some time. */
bool row_chunk_waits(struct bytes row, const struct row_generations *generations);

/* --- for row.c, which sends rows of these forms here --- */

/* Appends the join of rows, at least one of which is a chunk's. Errors as row_merge. */
MUST_USE int row_chunk_join(const struct bytes *rows, size_t n, struct buf *out);
MUST_USE int row_chunk_check(struct bytes row);

#endif
