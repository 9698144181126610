/* Rows of string chunks, joined as bytes; row_chunk_plain.h tells which. */
#include "engine/value/row_chunk_plain.h"

#include "engine/base/le.h"

#include "engine/value/row.h"

#define BIT_BYTES (2 + TAG_BYTES)
#define BIT_VALUE 0x8000u
/* Form, number of generations, generation, length of the image. */
#define HEAD_BYTES (2 + TAG_BYTES + 2)

/* A row of one generation. */
struct plain {
    struct tag generation;
    bool has_image;
    struct tag tag; /* Of the image. */
    struct bytes image;
    struct bytes bits;
};

static uint32_t bit_number(const uint8_t *bit)
{
    return le16_load(bit) & (BIT_VALUE - 1);
}

static bool bit_value(const uint8_t *bit)
{
    return (le16_load(bit) & BIT_VALUE) != 0;
}

/* --- reading --- */

static bool open_image(struct bytes row, struct plain *out)
{
    if (row.len < ROW_CHUNK_IMAGE_AT || row.len > row_chunk_size(ROW_CHUNK_BYTES))
        return false;
    *out = (struct plain){.generation = tag_load(row.ptr + 1),
                          .has_image = true,
                          .tag = tag_load(row.ptr + ROW_CHUNK_TAG_AT),
                          .image = bytes_from(row, ROW_CHUNK_IMAGE_AT),
                          .bits = bytes_from(row, row.len)};
    return !tag_is_none(out->generation) && !tag_is_none(out->tag);
}

/* False for what has several generations, or is damaged; single bits are not looked at. */
static bool plain_open(struct bytes row, struct plain *out)
{
    struct bytes tag, count;

    if (row.len != 0 && row.ptr[0] == ROW_CHUNK)
        return open_image(row, out);
    if (row.len < HEAD_BYTES || row.ptr[0] != ROW_CHUNKS || row.ptr[1] != 1)
        return false;
    const unsigned len = le16_load(row.ptr + 2 + TAG_BYTES);
    *out = (struct plain){.generation = tag_load(row.ptr + 2), .has_image = len != 0};
    row = bytes_from(row, HEAD_BYTES);
    if (tag_is_none(out->generation) || len > ROW_CHUNK_BYTES + 1)
        return false;
    if (out->has_image) {
        if (!bytes_take(&row, TAG_BYTES, &tag) || !bytes_take(&row, len - 1, &out->image))
            return false;
        out->tag = tag_load(tag.ptr);
        if (tag_is_none(out->tag))
            return false;
    }
    if (!bytes_take(&row, 2, &count))
        return false;
    out->bits = row;
    return row.len != 0 && row.len == le16_load(count.ptr) * (size_t)BIT_BYTES &&
           row.len <= ROW_CHUNK_BITS * (size_t)BIT_BYTES;
}

/* Some bits and nothing else, each of them sound. */
static bool is_some_bits(const struct plain *p)
{
    int32_t last = -1;

    if (p->has_image || p->bits.len > ROW_CHUNK_PLAIN_BITS_MAX * (size_t)BIT_BYTES)
        return false;
    for (size_t at = 0; at < p->bits.len; at += BIT_BYTES) {
        const int32_t number = (int32_t)bit_number(p->bits.ptr + at);

        if (number <= last || number >= (int32_t)ROW_CHUNK_BITS ||
            tag_is_none(tag_load(p->bits.ptr + at + 2)))
            return false;
        last = number;
    }
    return true;
}

/* The place of the first bit from `from` on that has this number or a greater one. */
static size_t find_bit(struct bytes bits, size_t from, uint32_t number)
{
    size_t low = from / BIT_BYTES, high = bits.len / BIT_BYTES;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;

        if (bit_number(bits.ptr + middle * BIT_BYTES) < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low * BIT_BYTES;
}

/* --- joining --- */

static int append(struct bytes row, struct buf *out)
{
    const int err = buf_append_bytes(out, row);

    return err == 0 ? 1 : err;
}

/* Of two images of one generation. */
static bool image_less(const struct plain *a, const struct plain *b)
{
    const int order = tag_cmp(a->tag, b->tag);

    return order != 0 ? order < 0 : bytes_cmp(a->image, b->image) < 0;
}

/* Of two states of one bit. */
static bool bit_less(const uint8_t *a, const uint8_t *b)
{
    const int order = tag_cmp(tag_load(a + 2), tag_load(b + 2));

    return order != 0 ? order < 0 : !bit_value(a) && bit_value(b);
}

static void put(struct buf *out, const uint8_t *ptr, size_t len)
{
    if (len != 0)
        memcpy(buf_end(out), ptr, len);
    buf_commit(out, len);
}

/* What stands before the bits, whose number follows; room is reserved. */
static void put_head(const struct plain *p, struct buf *out)
{
    uint8_t *at = buf_end(out);

    at[0] = ROW_CHUNKS;
    at[1] = 1;
    tag_store(at + 2, p->generation);
    le16_store(at + 2 + TAG_BYTES, (uint16_t)(p->has_image ? p->image.len + 1 : 0));
    buf_commit(out, HEAD_BYTES);
    if (p->has_image) {
        tag_store(buf_end(out), p->tag);
        buf_commit(out, TAG_BYTES);
        put(out, p->image.ptr, p->image.len);
    }
    buf_commit(out, 2);
}

static bool is_beaten(const struct plain *p, const uint8_t *bit)
{
    return p->has_image && tag_cmp(tag_load(bit + 2), p->tag) <= 0;
}

/* Appends the bits of `p` and those of `b` that its image has not beaten. */
static void put_bits(const struct plain *p, struct bytes b, struct buf *out)
{
    size_t from = 0;

    for (const uint8_t *bit = b.ptr; bit != b.ptr + b.len; bit += BIT_BYTES) {
        if (is_beaten(p, bit))
            continue;
        const size_t at = find_bit(p->bits, from, bit_number(bit));
        put(out, p->bits.ptr + from, at - from);
        from = at;
        if (at != p->bits.len && bit_number(p->bits.ptr + at) == bit_number(bit)) {
            const uint8_t *old = p->bits.ptr + at;
            put(out, bit_less(old, bit) ? bit : old, BIT_BYTES);
            from += BIT_BYTES;
        } else {
            put(out, bit, BIT_BYTES);
        }
    }
    put(out, p->bits.ptr + from, p->bits.len - from);
}

static int join_bits(struct bytes older, const struct plain *p, struct bytes bits, struct buf *out)
{
    bool any = false;

    for (const uint8_t *bit = bits.ptr; !any && bit != bits.ptr + bits.len; bit += BIT_BYTES)
        any = !is_beaten(p, bit);
    if (!any)
        return append(older, out);
    const int err =
        buf_reserve(out, HEAD_BYTES + TAG_BYTES + p->image.len + 2 + p->bits.len + bits.len);
    if (err != 0)
        return err;
    put_head(p, out);
    const size_t bits_at = out->len;
    put_bits(p, bits, out);
    le16_store(out->ptr + bits_at - 2, (uint16_t)((out->len - bits_at) / BIT_BYTES));
    return 1;
}

int row_chunk_plain_join(struct bytes older, struct bytes newer, struct buf *out)
{
    struct plain a, b;

    if (!plain_open(newer, &b) || (b.bits.len != 0 && !is_some_bits(&b)))
        return 0;
    if (older.len == 0 || (older.len == 1 && older.ptr[0] == ROW_DEAD))
        return append(newer, out);
    if (!plain_open(older, &a) || !tag_eq(a.generation, b.generation))
        return 0;
    if (b.bits.len != 0)
        return join_bits(older, &a, b.bits, out);
    return a.bits.len == 0 ? append(image_less(&a, &b) ? newer : older, out) : 0;
}

/* --- showing --- */

bool row_chunk_show_bits(struct bytes row, struct bytes operand, struct tag generation,
                         uint8_t image[ROW_CHUNK_BYTES])
{
    struct plain a, b;
    size_t from = 0;

    if (!plain_open(operand, &b) || b.bits.len == 0 || !is_some_bits(&b) || !plain_open(row, &a) ||
        !tag_eq(a.generation, generation) || !tag_eq(b.generation, generation))
        return false;
    for (const uint8_t *bit = b.bits.ptr; bit != b.bits.ptr + b.bits.len; bit += BIT_BYTES) {
        from = find_bit(a.bits, from, bit_number(bit));
        /* One that is not there was beaten by the image. */
        if (from != a.bits.len && bit_number(a.bits.ptr + from) == bit_number(bit))
            row_chunk_put_bit(image, bit_number(bit), bit_value(a.bits.ptr + from));
    }
    return true;
}
