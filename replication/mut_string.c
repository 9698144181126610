/*
 * Changes of parts of strings; mutate.h tells how the write path is used.
 *
 * A change of a string in chunks is a STRING op, which says what the key row is after it, and an
 * op for each chunk that it touches: its image, or bits. In one batch
 *
 *     a second STRING   is written into the first, or its expiry into a long SET
 *     a second change   of a chunk voids the op of the first, and is the image of both
 *     a change of what  the batch has SET voids the SET, and STRING and the images of all chunks
 *                       take its place
 */
#include <errno.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#include "engine/space/strval.h"

#include "replication/mutate_impl.h"

/* Of one op beside key and value, at most. */
#define OP_BYTES 64u

static struct ref *value_ref(struct mut *m, const struct ks_key *key)
{
    return m->nops == 0 ? NULL : mut_ref_find(m, mut_name_of_value(key));
}

uint64_t mut_name_of_chunk(const struct ks_key *key, uint64_t index)
{
    uint8_t sub[ROW_CHUNK_SUB_BYTES];

    be32_store(sub, (uint32_t)index);
    return mut_name_of_elem(key, bytes_of(sub, sizeof(sub)));
}

/* --- logging --- */

/* The chunk as it is now. */
static void log_image(struct mut *m, const struct ks_key *key, const struct coll *coll,
                      uint64_t index)
{
    const uint64_t at = index * ROW_CHUNK_BYTES;
    const uint64_t name = mut_name_of_chunk(key, index);
    const struct bytes image =
        chunks_run(&coll->chunks, at, u64_min(ROW_CHUNK_BYTES, coll->count - at));
    const struct op op = {.kind = OP_CHUNK,
                          .key = key->name,
                          .generation = coll->generation,
                          .at = index,
                          .value = image};

    CHECK(image.ptr != NULL);
    mut_begin_op(m);
    struct ref *r = mut_ref_find(m, name);
    if (r != NULL)
        mut_ref_void(m, r);
    mut_append(m, &op, mut_group_of(key), name);
}

static void log_images(struct mut *m, const struct ks_key *key, const struct coll *coll,
                       uint64_t first, uint64_t last)
{
    for (uint64_t i = first; i <= last; i++)
        log_image(m, key, coll, i);
}

static void log_string(struct mut *m, const struct ks_key *key, struct tag generation, uint64_t len,
                       uint64_t expire_at_ms)
{
    const struct op op = {.kind = OP_STRING,
                          .key = key->name,
                          .generation = generation,
                          .len = len,
                          .expire_at_ms = expire_at_ms};

    mut_append(m, &op, mut_group_of(key), mut_name_of_value(key));
}

/* The key row of a string in chunks after a change that follows. */
static void touch(struct mut *m, const struct ks_key *key, struct coll *coll, uint64_t len)
{
    mut_begin_op(m);
    struct ref *r = value_ref(m, key);
    if (r != NULL && r->kind == OP_STRING) {
        op_patch_string(m->batch.ptr + r->at, coll->expire_at_ms, len);
    } else if (r != NULL && r->kind == OP_SET) {
        mut_ref_void(m, r);
        log_string(m, key, coll->generation, len, coll->expire_at_ms);
        for (uint32_t i = chunks_next(&coll->chunks, 0); i != CHUNKS_NO_INDEX;
             i = chunks_next(&coll->chunks, i + 1))
            log_image(m, key, coll, i);
    } else {
        log_string(m, key, coll->generation, len, coll->expire_at_ms);
    }
    ks_apply_touch(m->options.ks, coll, m->tag, m->lsn, len, coll->expire_at_ms);
}

/* Whether the log takes a change of `chunks` chunks. */
static int room(struct mut *m, const struct ks_key *key, const struct coll *coll, uint64_t chunks)
{
    if (coll != NULL && m->batch.len != 0) {
        mut_begin_op(m); /* The batch is open; what is in it must be indexed. */
        const struct ref *r = value_ref(m, key);
        if (r != NULL && r->kind == OP_SET)
            chunks += chunks_count(coll->count);
    }
    return mut_room(m, (size_t)(chunks + 1) * (ROW_CHUNK_BYTES + OP_BYTES + key->name.len));
}

/* --- changes --- */

static void write_range(struct mut *m, struct coll *coll, uint64_t offset, struct bytes bytes)
{
    while (bytes.len != 0) {
        const size_t len = size_min(bytes.len, ROW_CHUNK_BYTES - offset % ROW_CHUNK_BYTES);

        ks_apply_patch(m->options.ks, coll, m->tag, offset, bytes_of(bytes.ptr, len));
        offset += len;
        bytes = bytes_from(bytes, len);
    }
}

static uint64_t last_chunk(uint64_t offset, size_t len)
{
    return (offset + len - 1) / ROW_CHUNK_BYTES;
}

static int patch_chunks(struct mut *m, const struct ks_key *key, struct coll *coll, uint64_t offset,
                        struct bytes patch, uint64_t *out_len)
{
    const uint64_t first = offset / ROW_CHUNK_BYTES, last = last_chunk(offset, patch.len);
    const uint64_t len = u64_max(coll->count, offset + patch.len);
    const int err = room(m, key, coll, last - first + 1);

    if (err != 0)
        return err;
    touch(m, key, coll, len);
    write_range(m, coll, offset, patch);
    log_images(m, key, coll, first, last);
    mut_changed(m, key);
    *out_len = len;
    return 0;
}

/* A string of one row, or none, becomes one in chunks. */
static int patch_into_chunks(struct mut *m, const struct ks_key *key, uint64_t expire_at_ms,
                             uint64_t offset, struct bytes patch, uint64_t *out_len)
{
    const struct bytes old = buf_bytes(&m->row);
    const uint64_t len = u64_max(old.len, offset + patch.len);
    const uint64_t last = last_chunk(offset, patch.len);
    uint64_t first = offset / ROW_CHUNK_BYTES;
    const int err = room(m, key, NULL, chunks_count(old.len) + last - first + 1);

    if (err != 0)
        return err;
    mut_begin_op(m);
    if (m->nops != 0)
        mut_void_key(m, mut_group_of(key));
    log_string(m, key, m->tag, len, expire_at_ms);
    struct coll *coll = ks_apply_string(m->options.ks, key, m->tag, m->lsn, len, expire_at_ms);
    write_range(m, coll, 0, old);
    write_range(m, coll, offset, patch);
    if (old.len != 0) {
        log_images(m, key, coll, 0, last_chunk(0, old.len));
        first = u64_max(first, last_chunk(0, old.len) + 1);
    }
    log_images(m, key, coll, first, last);
    mut_changed(m, key);
    *out_len = len;
    return 0;
}

/* Puts the text of a string of one row (NULL: none) into m->row. */
static int text_of(struct mut *m, const struct obj *obj)
{
    struct row_view view;
    char text[ROW_TEXT_BYTES];

    buf_clear(&m->row);
    if (obj == NULL)
        return 0;
    /* Rows are checked when they are installed. */
    CHECK(row_view(obj_row(obj), m->now_ms, &view) == 0);
    return buf_append_bytes(&m->row, row_text(&view, text));
}

int mut_string_patch(struct mut *m, const struct ks_key *key, uint64_t offset, struct bytes patch,
                     uint64_t *out_len)
{
    CHECK(!bytes_empty(patch));
    if (unlikely(m->group != NULL)) {
        if (offset + patch.len > ROW_STRING_BYTES_MAX)
            return -ERR_LIMIT;
        return mut_group_patch(m, key, offset, patch, out_len);
    }
    const struct obj *obj = ks_get(m->options.ks, key, m->now_ms);
    if (obj != NULL && obj_is_chunked(obj))
        return patch_chunks(m, key, obj_coll(obj), offset, patch, out_len);
    int err = text_of(m, obj);
    if (err != 0)
        return err;
    const uint64_t expire_at_ms = obj == NULL ? 0 : ks_expire_at(obj);
    const uint64_t len = u64_max(m->row.len, offset + patch.len);
    if (len > ROW_INLINE_BYTES_MAX)
        return patch_into_chunks(m, key, expire_at_ms, offset, patch, out_len);
    err = buf_reserve(&m->row, (size_t)len - m->row.len);
    if (err == 0)
        err = mut_room(m, (size_t)len + OP_BYTES + key->name.len);
    if (err != 0)
        return err;
    memset(buf_end(&m->row), 0, (size_t)len - m->row.len);
    buf_commit(&m->row, (size_t)len - m->row.len);
    memcpy(m->row.ptr + offset, patch.ptr, patch.len);
    mut_set(m, key, buf_bytes(&m->row), expire_at_ms);
    *out_len = len;
    return 0;
}

int mut_string_lengthen(struct mut *m, const struct ks_key *key, uint64_t len)
{
    const struct obj *obj = ks_get(m->options.ks, key, m->now_ms);
    uint64_t new_len;

    if (mut_string_ships_parts(m, key, obj))
        return mut_group_lengthen(m, key, obj_coll(obj), len);
    if (m->group != NULL || obj == NULL || !obj_is_chunked(obj))
        return mut_string_patch(m, key, len - 1, bytes_of("\0", 1), &new_len);
    const int err = room(m, key, obj_coll(obj), 0);
    if (err != 0)
        return err;
    touch(m, key, obj_coll(obj), len);
    mut_changed(m, key);
    return 0;
}

/* --- bits --- */

/* Of a string of one row: the bytes that the bits are in are written as a patch. */
static int bits_of_row(struct mut *m, const struct ks_key *key, const struct obj *obj, uint64_t bit,
                       struct row_chunk_bits bits)
{
    uint8_t bytes[9] = {0}; /* 64 bits touch no more. */
    const uint64_t first = bit / 8;
    const size_t len = (size_t)((bit + bits.count - 1) / 8 - first + 1);
    uint64_t new_len;

    const int err = text_of(m, obj);
    if (err != 0)
        return err;
    if (first < m->row.len)
        memcpy(bytes, m->row.ptr + first, size_min(len, m->row.len - (size_t)first));
    bits.first = (uint32_t)(bit % 8);
    row_chunk_put_bits(bytes, bits);
    return mut_string_patch(m, key, first, bytes_of(bytes, len), &new_len);
}

int mut_string_bits(struct mut *m, const struct ks_key *key, uint64_t bit, uint32_t count,
                    uint64_t value)
{
    const struct obj *obj = ks_get(m->options.ks, key, m->now_ms);
    const uint64_t last_bit = bit + count - 1;
    const uint64_t first = bit / ROW_CHUNK_BITS, last = last_bit / ROW_CHUNK_BITS;

    if (unlikely(m->group != NULL))
        return last_bit / 8 >= ROW_STRING_BYTES_MAX ? -ERR_LIMIT
                                                    : mut_group_bits(m, key, bit, count, value);
    if (obj == NULL || !obj_is_chunked(obj))
        return bits_of_row(m, key, obj, bit,
                           (struct row_chunk_bits){.count = count, .value = value});
    struct coll *coll = obj_coll(obj);
    const int err = room(m, key, coll, 2);
    if (err != 0)
        return err;
    touch(m, key, coll, u64_max(coll->count, last_bit / 8 + 1));
    mut_begin_op(m);
    const bool again = mut_ref_find(m, mut_name_of_chunk(key, first)) != NULL;
    ks_apply_bits(m->options.ks, coll, m->tag, bit, count, value);
    if (again || last != first) {
        log_images(m, key, coll, first, last);
    } else {
        const struct op op = {.kind = OP_BITS,
                              .key = key->name,
                              .generation = coll->generation,
                              .at = bit,
                              .bits_count = (uint8_t)count,
                              .bits = value};
        mut_append(m, &op, mut_group_of(key), mut_name_of_chunk(key, first));
    }
    mut_changed(m, key);
    return 0;
}

/* --- expiry --- */

void mut_string_expire(struct mut *m, const struct ks_key *key, struct coll *coll,
                       uint64_t expire_at_ms)
{
    const struct op op = {.kind = OP_EXPIRE,
                          .key = key->name,
                          .expire_at_ms = expire_at_ms,
                          .target_type = VT_STRING,
                          .target = coll->tag};

    mut_begin_op(m);
    struct ref *r = value_ref(m, key);
    if (r != NULL && (r->kind == OP_SET || r->kind == OP_STRING)) {
        op_patch_expiry(m->batch.ptr + r->at, expire_at_ms);
    } else {
        r = m->nops == 0 ? NULL : mut_ref_find(m, mut_name_of_expiry(key));
        if (r != NULL)
            mut_ref_void(m, r);
        mut_append(m, &op, mut_group_of(key), mut_name_of_expiry(key));
    }
    ks_apply_expire(m->options.ks, key, m->lsn, bytes_of(NULL, 0), expire_at_ms);
    mut_changed(m, key);
}
