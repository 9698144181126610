/* Rows of string chunks; row_chunk.h has their bytes and the rules of the join. */
#include "engine/value/row_chunk.h"

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#define BIT_BYTES (2 + TAG_BYTES)
#define BIT_VALUE 0x8000u

/* One generation; slices borrow from the row. */
struct entry {
    struct tag generation;
    bool has_image;
    struct tag tag; /* Of the image. */
    struct bytes image;
    struct bytes bits;
};

struct chunk {
    unsigned count;
    struct entry entry[ROW_CHUNK_GENERATIONS_MAX];
};

struct bit {
    uint32_t number;
    bool value;
    struct tag tag;
};

static struct bit bit_load(const uint8_t *src)
{
    const uint32_t raw = le16_load(src);

    return (struct bit){
        .number = raw & (BIT_VALUE - 1), .value = (raw & BIT_VALUE) != 0, .tag = tag_load(src + 2)};
}

static void bit_store(uint8_t *dst, struct bit bit)
{
    le16_store(dst, (uint16_t)(bit.number | (bit.value ? BIT_VALUE : 0)));
    tag_store(dst + 2, bit.tag);
}

/* --- reading --- */

static int tag_get(struct bytes *in, struct tag *out)
{
    struct bytes raw;

    if (!bytes_take(in, TAG_BYTES, &raw))
        return -ERR_CORRUPT;
    *out = tag_load(raw.ptr);
    return tag_is_none(*out) ? -ERR_CORRUPT : 0;
}

static int bits_get(struct bytes *in, struct entry *e)
{
    uint16_t count;
    int32_t last = -1;

    if (le16_get(in, &count) != 0 || count > ROW_CHUNK_BITS ||
        !bytes_take(in, (size_t)count * BIT_BYTES, &e->bits))
        return -ERR_CORRUPT;
    for (size_t at = 0; at < e->bits.len; at += BIT_BYTES) {
        const struct bit bit = bit_load(e->bits.ptr + at);

        if ((int32_t)bit.number <= last || bit.number >= ROW_CHUNK_BITS || tag_is_none(bit.tag))
            return -ERR_CORRUPT;
        last = (int32_t)bit.number;
    }
    return 0;
}

static int entry_get(struct bytes *in, struct entry *e)
{
    uint16_t len;

    *e = (struct entry){.has_image = false};
    if (tag_get(in, &e->generation) != 0 || le16_get(in, &len) != 0 || len > ROW_CHUNK_BYTES + 1)
        return -ERR_CORRUPT;
    e->has_image = len != 0;
    if (e->has_image && (tag_get(in, &e->tag) != 0 || !bytes_take(in, (size_t)len - 1, &e->image)))
        return -ERR_CORRUPT;
    if (bits_get(in, e) != 0)
        return -ERR_CORRUPT;
    return e->has_image || e->bits.len != 0 ? 0 : -ERR_CORRUPT;
}

static int chunk_decode(struct bytes row, struct chunk *out)
{
    uint8_t count;

    out->count = 1;
    if (row.ptr[0] == ROW_CHUNK) {
        if (row.len < ROW_CHUNK_IMAGE_AT || row.len > row_chunk_size(ROW_CHUNK_BYTES))
            return -ERR_CORRUPT;
        out->entry[0] = (struct entry){.generation = tag_load(row.ptr + 1),
                                       .has_image = true,
                                       .tag = tag_load(row.ptr + ROW_CHUNK_TAG_AT),
                                       .image = bytes_from(row, ROW_CHUNK_IMAGE_AT)};
        return tag_is_none(out->entry[0].generation) || tag_is_none(out->entry[0].tag)
                   ? -ERR_CORRUPT
                   : 0;
    }
    struct bytes in = bytes_from(row, 1);
    if (u8_get(&in, &count) != 0 || count == 0 || count > ROW_CHUNK_GENERATIONS_MAX)
        return -ERR_CORRUPT;
    out->count = count;
    for (unsigned i = 0; i < count; i++) {
        struct entry *e = &out->entry[i];
        if (entry_get(&in, e) != 0 || (i > 0 && e->generation.origin <= e[-1].generation.origin))
            return -ERR_CORRUPT;
    }
    return in.len == 0 ? 0 : -ERR_CORRUPT;
}

int row_chunk_latest(struct bytes row, struct tag *out_generation, unsigned *out_count)
{
    struct chunk chunk;
    const int err = chunk_decode(row, &chunk);

    if (err != 0)
        return err;
    *out_generation = chunk.entry[0].generation;
    for (unsigned i = 1; i < chunk.count; i++)
        *out_generation = tag_max(*out_generation, chunk.entry[i].generation);
    *out_count = chunk.count;
    return 0;
}

bool row_chunk_covered(struct bytes row, const struct vv *seen)
{
    struct chunk chunk;

    if (chunk_decode(row, &chunk) != 0)
        return false;
    for (unsigned i = 0; i < chunk.count; i++) {
        const struct entry *e = &chunk.entry[i];

        if (e->has_image && !vv_covers(seen, e->tag))
            return false;
        for (size_t at = 0; at < e->bits.len; at += BIT_BYTES) {
            if (!vv_covers(seen, bit_load(e->bits.ptr + at).tag))
                return false;
        }
    }
    return true;
}

void row_chunk_put_bits(uint8_t *bytes, struct row_chunk_bits bits)
{
    for (uint32_t i = 0; i < bits.count; i++)
        row_chunk_put_bit(bytes, bits.first + i, (bits.value >> (bits.count - 1 - i) & 1) != 0);
}

static void fold(const struct entry *e, uint8_t *image, size_t *out_len, struct tag *out_tag)
{
    if (e->image.len != 0)
        memcpy(image, e->image.ptr, e->image.len);
    memset(image + e->image.len, 0, ROW_CHUNK_BYTES - e->image.len);
    *out_len = e->image.len;
    *out_tag = e->tag;
    for (size_t at = 0; at < e->bits.len; at += BIT_BYTES) {
        const struct bit bit = bit_load(e->bits.ptr + at);

        row_chunk_put_bit(image, bit.number, bit.value);
        *out_len = size_max(*out_len, bit.number / 8 + 1);
        *out_tag = tag_max(*out_tag, bit.tag);
    }
}

int row_chunk_read(struct bytes row, struct tag generation, uint8_t image[ROW_CHUNK_BYTES],
                   size_t *out_len, struct tag *out_tag)
{
    struct chunk chunk;

    *out_len = 0;
    *out_tag = tag_of(0, 0);
    if (row.len == 0 || (row.len == 1 && row.ptr[0] == ROW_DEAD))
        return 0;
    if (row.ptr[0] == ROW_POISON)
        return -ERR_POISON;
    if (!row_is_chunk(row))
        return -ERR_CORRUPT;
    const int err = chunk_decode(row, &chunk);
    if (err != 0)
        return err;
    for (unsigned i = 0; i < chunk.count; i++) {
        if (tag_eq(chunk.entry[i].generation, generation))
            fold(&chunk.entry[i], image, out_len, out_tag);
    }
    return 0;
}

/* --- writing --- */

size_t row_chunk_store_bits(uint8_t *dst, struct tag generation, struct tag tag,
                            struct row_chunk_bits bits)
{
    uint8_t *at = dst;

    CHECK(bits.count != 0 && bits.count <= 64 && bits.first + bits.count <= ROW_CHUNK_BITS);
    *at++ = ROW_CHUNKS;
    *at++ = 1;
    tag_store(at, generation);
    le16_store(at + TAG_BYTES, 0);
    le16_store(at + TAG_BYTES + 2, (uint16_t)bits.count);
    at += TAG_BYTES + 4;
    for (uint32_t i = 0; i < bits.count; i++) {
        const bool value = (bits.value >> (bits.count - 1 - i) & 1) != 0;

        bit_store(at, (struct bit){.number = bits.first + i, .value = value, .tag = tag});
        at += BIT_BYTES;
    }
    return (size_t)(at - dst);
}

static bool bit_less(struct bit a, struct bit b)
{
    const int order = tag_cmp(a.tag, b.tag);

    return order != 0 ? order < 0 : !a.value && b.value;
}

/* Appends the bits of both that the image has not beaten; room is reserved. */
static void bits_join(struct bytes a, struct bytes b, const struct entry *image, struct buf *out)
{
    while (a.len != 0 || b.len != 0) {
        struct bit bit;

        if (b.len == 0 || (a.len != 0 && bit_load(a.ptr).number < bit_load(b.ptr).number)) {
            bit = bit_load(a.ptr);
            a = bytes_from(a, BIT_BYTES);
        } else if (a.len == 0 || bit_load(b.ptr).number < bit_load(a.ptr).number) {
            bit = bit_load(b.ptr);
            b = bytes_from(b, BIT_BYTES);
        } else {
            bit = bit_less(bit_load(a.ptr), bit_load(b.ptr)) ? bit_load(b.ptr) : bit_load(a.ptr);
            a = bytes_from(a, BIT_BYTES);
            b = bytes_from(b, BIT_BYTES);
        }
        if (image->has_image && tag_cmp(bit.tag, image->tag) <= 0)
            continue;
        bit_store(buf_end(out), bit);
        buf_commit(out, BIT_BYTES);
    }
}

static bool image_less(const struct entry *a, const struct entry *b)
{
    if (a->has_image != b->has_image)
        return b->has_image;
    const int order = tag_cmp(a->tag, b->tag);
    return order != 0 ? order < 0 : bytes_cmp(a->image, b->image) < 0;
}

/*
 * Appends a generation up to the number of its bits, which bits_end sets, at `*out_at`. Reserves
 * room for `bits_bytes`. 0 or -ENOMEM.
 */
static int entry_begin(const struct entry *e, size_t bits_bytes, struct buf *out, size_t *out_at)
{
    const int err = buf_reserve(out, 2 * (size_t)TAG_BYTES + 4 + (size_t)e->image.len + bits_bytes);

    if (err != 0)
        return err;
    tag_store(buf_end(out), e->generation);
    le16_store(buf_end(out) + TAG_BYTES, (uint16_t)(e->has_image ? e->image.len + 1 : 0));
    buf_commit(out, TAG_BYTES + 2);
    if (e->has_image) {
        tag_store(buf_end(out), e->tag);
        if (e->image.len != 0)
            memcpy(buf_end(out) + TAG_BYTES, e->image.ptr, e->image.len);
        buf_commit(out, TAG_BYTES + e->image.len);
    }
    *out_at = out->len;
    buf_commit(out, 2);
    return 0;
}

static void bits_end(struct buf *out, size_t at)
{
    le16_store(out->ptr + at, (uint16_t)((out->len - at - 2) / BIT_BYTES));
}

/* Appends one generation in the long form; `b` may be NULL. 0 or -ENOMEM. */
static int entry_put(const struct entry *a, const struct entry *b, struct buf *out)
{
    static const struct entry nothing = {.has_image = false};
    const struct entry *other = b == NULL ? &nothing : b;
    const struct entry *image = image_less(a, other) ? other : a;
    struct entry joined = *image;
    size_t at;

    joined.generation = a->generation;
    const int err = entry_begin(&joined, a->bits.len + other->bits.len, out, &at);
    if (err != 0)
        return err;
    bits_join(a->bits, other->bits, image, out);
    bits_end(out, at);
    return 0;
}

/* Whether the row from `at` on, in the long form, has the short one; makes it so. */
static void shorten(struct buf *out, size_t at)
{
    struct chunk chunk;
    const struct bytes row = bytes_from(buf_bytes(out), at);

    if (chunk_decode(row, &chunk) != 0 || chunk.count != 1 || !chunk.entry[0].has_image ||
        chunk.entry[0].bits.len != 0)
        return;
    const struct entry e = chunk.entry[0];
    uint8_t *dst = out->ptr + at;
    dst[0] = ROW_CHUNK;
    tag_store(dst + 1, e.generation);
    tag_store(dst + ROW_CHUNK_TAG_AT, e.tag);
    memmove(dst + ROW_CHUNK_IMAGE_AT, e.image.ptr, e.image.len);
    buf_truncate(out, at + row_chunk_size(e.image.len));
}

/* Order of their origins; NULL comes last. */
static int entry_cmp(const struct entry *a, const struct entry *b)
{
    if (a == NULL || b == NULL)
        return a == NULL ? 1 : -1;
    return (a->generation.origin > b->generation.origin) -
           (a->generation.origin < b->generation.origin);
}

/* Of one origin: the later generation, or both parts of the same. */
static int entry_join(const struct entry *a, const struct entry *b, struct buf *out)
{
    const int order = tag_cmp(a->generation, b->generation);

    if (order == 0)
        return entry_put(a, b, out);
    return entry_put(order > 0 ? a : b, NULL, out);
}

static int join_two(struct bytes left, struct bytes right, struct buf *out)
{
    struct chunk a, b;
    const size_t start = out->len;
    unsigned i = 0, j = 0, count = 0;

    int err = chunk_decode(left, &a);
    if (err == 0)
        err = chunk_decode(right, &b);
    if (err == 0)
        err = buf_reserve(out, 2);
    if (err != 0)
        return err;
    out->ptr[out->len] = ROW_CHUNKS;
    buf_commit(out, 2);
    for (; err == 0 && (i < a.count || j < b.count); count++) {
        const struct entry *left_entry = i < a.count ? &a.entry[i] : NULL;
        const struct entry *right_entry = j < b.count ? &b.entry[j] : NULL;
        const int order = entry_cmp(left_entry, right_entry);

        if (order < 0)
            err = entry_put(left_entry, NULL, out);
        else if (order > 0)
            err = entry_put(right_entry, NULL, out);
        else
            err = entry_join(left_entry, right_entry, out);
        i += order <= 0;
        j += order >= 0;
    }
    if (count > ROW_CHUNK_GENERATIONS_MAX)
        err = -ERR_LIMIT;
    if (err != 0)
        return err;
    out->ptr[start + 1] = (uint8_t)count;
    shorten(out, start);
    return 0;
}

/* Appends what one row joins to alone: itself. */
static int join_one(struct bytes row, struct buf *out)
{
    struct chunk chunk;
    const int err = chunk_decode(row, &chunk);

    return err == 0 ? buf_append_bytes(out, row) : err;
}

/* Whether the row adds nothing. */
static bool is_nothing(struct bytes row)
{
    return row.len == 0 || (row.len == 1 && row.ptr[0] == ROW_DEAD);
}

/* A damaged row that is to be joined: the reason for all; NULL: there is none. */
static const struct bytes *poison_of(const struct bytes *rows, size_t n)
{
    const struct bytes *found = NULL;

    for (size_t i = 0; i < n; i++) {
        if (rows[i].len != ROW_POISON_BYTES || rows[i].ptr[0] != ROW_POISON)
            continue;
        if (found == NULL || rows[i].ptr[1] > found->ptr[1])
            found = &rows[i];
    }
    return found;
}

int row_chunk_join(const struct bytes *rows, size_t n, struct buf *out)
{
    const size_t start = out->len;
    const struct bytes *poison = poison_of(rows, n);
    struct buf joined, next;
    int err = 0;

    if (poison != NULL)
        return buf_append_bytes(out, *poison);
    buf_init(&joined, SIZE_MAX);
    buf_init(&next, SIZE_MAX);
    for (size_t i = 0; err == 0 && i < n; i++) {
        if (is_nothing(rows[i]))
            continue;
        if (!row_is_chunk(rows[i])) {
            err = -ERR_CORRUPT;
            break;
        }
        buf_clear(&next);
        err = joined.len == 0 ? join_one(rows[i], &next)
                              : join_two(buf_bytes(&joined), rows[i], &next);
        const struct buf swap = joined;
        joined = next;
        next = swap;
    }
    if (err == 0)
        err = buf_append_bytes(out, buf_bytes(&joined));
    buf_deinit(&joined);
    buf_deinit(&next);
    if (err != 0)
        buf_truncate(out, start);
    return err;
}

bool row_chunk_has(struct bytes row, struct tag generation, struct tag tag, uint32_t first,
                   uint32_t count)
{
    const struct entry *e = NULL;
    struct chunk chunk;

    if (!row_is_chunk(row) || chunk_decode(row, &chunk) != 0)
        return false;
    for (unsigned i = 0; i < chunk.count; i++) {
        if (tag_eq(chunk.entry[i].generation, generation))
            e = &chunk.entry[i];
    }
    if (e == NULL)
        return false;
    bool has = e->has_image && tag_eq(e->tag, tag);
    for (size_t at = 0; !has && at < e->bits.len; at += BIT_BYTES) {
        const struct bit bit = bit_load(e->bits.ptr + at);
        has = bit.number >= first && bit.number - first < count && tag_eq(bit.tag, tag);
    }
    return has;
}

/* --- garbage --- */

static bool is_dead(const struct entry *e, const struct vv *stable,
                    const struct row_generations *generations)
{
    if (generations == NULL)
        return false;
    if (vv_covers(&generations->clear, e->generation))
        return true;
    for (unsigned i = 0; i < generations->count; i++) {
        if (tag_eq(generations->alive[i], e->generation) ||
            !vv_covers(stable, generations->tags[i]))
            return false;
    }
    return vv_covers(stable, e->generation);
}

/*
 * Whether there are bits to fold. Without an image there will be one with the tag of the
 * generation: only damage has bits of that tag or older ones, and such a row is left alone.
 */
static bool has_folds(const struct entry *e, const struct vv *stable)
{
    bool any = false;

    for (size_t at = 0; at < e->bits.len; at += BIT_BYTES) {
        const struct tag tag = bit_load(e->bits.ptr + at).tag;

        if (vv_covers(stable, tag))
            any = true;
        else if (!e->has_image && tag_cmp(tag, e->generation) <= 0)
            return false;
    }
    return any;
}

/* Appends the generation with its stable bits in the image. 0 or -ENOMEM. */
static int entry_fold(const struct entry *e, const struct vv *stable, struct buf *out)
{
    uint8_t image[ROW_CHUNK_BYTES];
    struct entry folded = *e;
    size_t len = e->image.len, count_at;

    if (len != 0)
        memcpy(image, e->image.ptr, len);
    memset(image + len, 0, ROW_CHUNK_BYTES - len);
    for (size_t at = 0; at < e->bits.len; at += BIT_BYTES) {
        const struct bit bit = bit_load(e->bits.ptr + at);

        if (!vv_covers(stable, bit.tag))
            continue;
        row_chunk_put_bit(image, bit.number, bit.value);
        len = size_max(len, bit.number / 8 + 1);
    }
    folded.has_image = true;
    folded.tag = e->has_image ? e->tag : e->generation;
    folded.image = bytes_of(image, len);
    const int err = entry_begin(&folded, e->bits.len, out, &count_at);
    if (err != 0)
        return err;
    for (size_t at = 0; at < e->bits.len; at += BIT_BYTES) {
        const struct bit bit = bit_load(e->bits.ptr + at);

        if (vv_covers(stable, bit.tag))
            continue;
        bit_store(buf_end(out), bit);
        buf_commit(out, BIT_BYTES);
    }
    bits_end(out, count_at);
    return 0;
}

/* Appends the row without its dead generations, stable bits folded. */
static int collect(const struct chunk *chunk, const struct vv *stable,
                   const struct row_generations *generations, struct buf *out)
{
    const size_t start = out->len;
    unsigned kept = 0;
    int err = buf_reserve(out, 2);

    if (err != 0)
        return err;
    out->ptr[start] = ROW_CHUNKS;
    buf_commit(out, 2);
    for (unsigned i = 0; err == 0 && i < chunk->count; i++) {
        const struct entry *e = &chunk->entry[i];

        if (is_dead(e, stable, generations))
            continue;
        err = has_folds(e, stable) ? entry_fold(e, stable, out) : entry_put(e, NULL, out);
        kept++;
    }
    if (err != 0)
        return err;
    if (kept == 0) {
        buf_truncate(out, start);
        return buf_append_u8(out, ROW_DEAD);
    }
    out->ptr[start + 1] = (uint8_t)kept;
    shorten(out, start);
    return 0;
}

int row_chunk_collect(struct bytes row, const struct vv *stable,
                      const struct row_generations *generations, struct buf *out)
{
    const size_t start = out->len;
    struct chunk chunk;
    bool any = false;
    int err = chunk_decode(row, &chunk);

    for (unsigned i = 0; err == 0 && i < chunk.count; i++)
        any = any || is_dead(&chunk.entry[i], stable, generations) ||
              has_folds(&chunk.entry[i], stable);
    if (!any)
        return err == 0 ? ROW_UNCHANGED : err;
    err = collect(&chunk, stable, generations, out);
    if (err == 0)
        return ROW_CHANGED;
    buf_truncate(out, start);
    return err;
}

bool row_chunk_waits(struct bytes row, const struct row_generations *generations)
{
    struct tag generation;
    unsigned count;

    if (row.ptr[0] == ROW_CHUNKS)
        return true;
    if (row_chunk_latest(row, &generation, &count) != 0)
        return false;
    for (unsigned i = 0; i < generations->count; i++) {
        if (tag_eq(generations->alive[i], generation))
            return false;
    }
    return true;
}

int row_chunk_check(struct bytes row)
{
    struct chunk chunk;
    const int err = chunk_decode(row, &chunk);

    if (err != 0 || row.ptr[0] == ROW_CHUNK)
        return err;
    for (unsigned i = 0; i < chunk.count; i++) {
        const struct entry *e = &chunk.entry[i];

        for (size_t at = 0; e->has_image && at < e->bits.len; at += BIT_BYTES) {
            if (tag_cmp(bit_load(e->bits.ptr + at).tag, e->tag) <= 0)
                return -ERR_CORRUPT;
        }
    }
    const bool is_short =
        chunk.count == 1 && chunk.entry[0].has_image && chunk.entry[0].bits.len == 0;
    return is_short ? -ERR_CORRUPT : 0;
}
