/*
 * Parts of strings at a member of a group: APPEND, SETRANGE, SETBIT, BITFIELD.
 *
 * A string in chunks is changed by ops on its parts, as on a node without peers (mut_string.c): a
 * STRING, which is what the key row is after the change, and for each chunk that it touches an
 * image, or bits. What has been changed elsewhere at the same time stays, chunk by chunk or bit by
 * bit (row_chunk.h). A string of one row, or one that the batch itself has SET, is written whole;
 * so is one that stands before a collection at the same key, whose elements go by the SET's clear
 * vector: a part takes away that it is there, but says nothing of them.
 *
 * All ops of a batch have one tag, and no row may see two under it that say different things:
 *
 *     STRING again         is written into the first: a string only grows, and of values of one tag
 *                          the longer one counts
 *     CHUNK                voids all that the batch has of the chunk
 *     BITS after a CHUNK   are an image as well
 *     BITS after BITS      stand beside them. Of older ones with a bit that is named again, what is
 *                          left is logged in their place; are they more than BITS_OPS_MAX, then
 *                          all are one image
 *
 * A part says nothing of the time to live: that is one of the generation, and whoever sets it
 * meanwhile need not have seen the part (row_merge.c). An EXPIRE is an op of its own, before or
 * behind a part. Where a value has a time for itself, of a node without peers or a former build,
 * the first change takes it over with an EXPIRE; not where the string stands before a collection.
 *
 * A chunk of which ops were voided is made again, as it was before the batch, with the living ops.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#include "engine/space/group.h"
#include "engine/space/strval.h"

#include "replication/mut_group_impl.h"

/* Of one op beside key and value, at most; */
#define OP_BYTES 64u
/* of what it has seen of counters. */
#define SEEN_BYTES 1024u
/* Ops with bits of a chunk in a batch that are looked through for one that is named again. */
#define BITS_OPS_MAX 512u

/* A chunk that is being changed. */
struct part {
    struct mut *m;
    const struct ks_key *key;
    struct coll *coll;
    uint64_t index;
    uint64_t name;   /* Of its ops. */
    uint64_t length; /* Of the string, after the change. */
    uint8_t sub[ROW_CHUNK_SUB_BYTES];
};

bool mut_string_ships_parts(struct mut *m, const struct ks_key *key, const struct obj *obj)
{
    if (m->group == NULL || obj == NULL || !obj_is_chunked(obj))
        return false;
    if (m->batch.len != 0)
        mut_begin_op(m); /* The batch is open; what is in it must be indexed. */
    const uint8_t kind = mut_group_kind_of_value(m, key);
    return (kind == OP_VOID && !row_asserts_type(ks_group_key_row(m->options.ks, key))) ||
           kind == OP_STRING;
}

/* Whether the log takes a change of `chunks` chunks, each of them so many ops. */
static int room(struct mut *m, const struct ks_key *key, uint64_t chunks, unsigned ops)
{
    const size_t chunk = ROW_CHUNK_BYTES + ops * (OP_BYTES + key->name.len);

    return mut_room(m, BATCH_HEADER_BYTES_MAX + SEEN_BYTES + (size_t)(chunks + 1) * chunk);
}

/* --- the key row --- */

/* The time that the value which shows has for itself; 0: none. */
static uint64_t own_time(struct mut *m, const struct ks_key *key)
{
    struct row_view view;

    CHECK(row_view(ks_group_key_row(m->options.ks, key), 0, &view) == 0);
    return view.target_type == VT_STRING ? view.expire_at_ms : 0;
}

static void touch(struct mut *m, const struct ks_key *key, const struct coll *coll, uint64_t len)
{
    struct mut_group *g = m->group;
    struct op op;

    mut_begin_op(m);
    const struct before *b = mut_group_key_before(m, key);
    const struct ref *r = m->nops == 0 ? NULL : mut_ref_find(m, mut_name_of_value(key));
    if (r != NULL) {
        if (len == coll->count)
            return;
        op_patch_string(m->batch.ptr + r->at, 0, len);
        mut_group_op(m, r, &op);
        mut_group_make_key(m, key, &op);
        return;
    }
    op = (struct op){.kind = OP_STRING,
                     .key = key->name,
                     .generation = coll->generation,
                     .len = len,
                     .seen = mut_group_seen(g, mut_group_row_before(g, b))};
    const uint64_t own_ms = own_time(m, key);
    mut_append(m, &op, mut_group_of(key), mut_name_of_value(key));
    mut_group_make_key(m, key, &op);
    if (own_ms != 0)
        mut_group_expire_string(m, key, coll->generation, own_ms);
}

bool mut_group_own_generation(struct mut *m, const struct ks_key *key, const struct coll *coll)
{
    if (own_time(m, key) == 0)
        return true;
    if (row_asserts_type(ks_group_key_row(m->options.ks, key)))
        return false;
    touch(m, key, coll, coll->count);
    return true;
}

/* --- chunks --- */

static struct part part_of(struct mut *m, const struct ks_key *key, struct coll *coll,
                           uint64_t index, uint64_t length)
{
    struct part p = {.m = m, .key = key, .coll = coll, .index = index, .length = length};

    be32_store(p.sub, (uint32_t)index);
    p.name = mut_name_of_chunk(key, index);
    mut_begin_op(m);
    return p;
}

static struct bytes sub_of(const struct part *p)
{
    return bytes_of(p->sub, sizeof(p->sub));
}

static void put(const struct part *p, struct bytes row)
{
    ks_group_set_elem(p->m->options.ks, p->coll, sub_of(p), row, p->m->lsn);
}

/* The chunk as it was before the batch, with the living ops. */
static void make_again(const struct part *p)
{
    struct mut_group *g = p->m->group;

    buf_clear(&g->base);
    CHECK(buf_append_bytes(&g->base, mut_group_elem_before(p->m, p->key, p->coll, sub_of(p))) == 0);
    mut_begin_op(p->m);
    for (const struct ref *r = mut_ref_last(p->m, p->name); r != NULL;
         r = mut_ref_prev_name(p->m, r)) {
        struct op op;

        if (r->kind == OP_VOID)
            continue;
        mut_group_op(p->m, r, &op);
        (void)mut_group_join(&g->joined, buf_bytes(&g->base), mut_group_operand(p->m, p->key, &op));
        const struct buf swap = g->base;
        g->base = g->joined;
        g->joined = swap;
    }
    put(p, buf_bytes(&g->base));
}

/* Bytes within the chunk, from `at` of it on: what it is then, as an image. */
static void write_image(const struct part *p, size_t at, struct bytes bytes)
{
    uint8_t image[ROW_CHUNK_BYTES];
    const uint64_t start = p->index * ROW_CHUNK_BYTES;
    const size_t len = (size_t)u64_min(ROW_CHUNK_BYTES, p->length - start);

    strval_copy(p->coll, start, image, len);
    memcpy(image + at, bytes.ptr, bytes.len);
    const struct op op = {.kind = OP_CHUNK,
                          .key = p->key->name,
                          .generation = p->coll->generation,
                          .at = p->index,
                          .value = bytes_of(image, len)};
    const struct bytes before = mut_group_elem_before(p->m, p->key, p->coll, sub_of(p));
    struct ref *last = p->m->nops == 0 ? NULL : mut_ref_last(p->m, p->name);
    for (struct ref *r = last; r != NULL; r = mut_ref_prev_name(p->m, r))
        mut_ref_void(p->m, r);
    if (last != NULL)
        last->prev_name = 0; /* None of them is to be walked again. */
    mut_append(p->m, &op, mut_group_of(p->key), p->name);
    put(p, mut_group_join(&p->m->group->joined, before, mut_group_operand(p->m, p->key, &op)));
}

/*
 * Where a string that gets longer has bytes behind its end, from a chunk on. A part that has made
 * it longer may have lost, as one of another SET at the same time had seen it, and the length with
 * it, but not its chunks when a part that has not seen that wins in the end.
 */
static uint32_t next_behind(const struct coll *coll, uint32_t index, uint64_t end, uint64_t length)
{
    while ((index = chunks_next(&coll->chunks, index)) != CHUNKS_NO_INDEX) {
        const uint64_t start = u64_max(end, (uint64_t)index * ROW_CHUNK_BYTES);
        const uint64_t next = u64_min(length, ((uint64_t)index + 1) * ROW_CHUNK_BYTES);
        if (start >= length)
            return CHUNKS_NO_INDEX;
        const struct bytes run = chunks_run(&coll->chunks, start, next - start);
        for (size_t i = 0; run.ptr != NULL && i < run.len; i++) {
            if (run.ptr[i] != 0)
                return index;
        }
        index++;
    }
    return CHUNKS_NO_INDEX;
}

static uint64_t count_behind(const struct coll *coll, uint64_t length)
{
    const uint64_t end = coll->count;
    uint64_t count = 0;
    uint32_t i = (uint32_t)(end / ROW_CHUNK_BYTES);

    for (; end < length && (i = next_behind(coll, i, end, length)) != CHUNKS_NO_INDEX; i++)
        count++;
    return count;
}

/* Zeros behind the end that the string had, as far as it reaches now. */
static void clear_behind(struct mut *m, const struct ks_key *key, struct coll *coll, uint64_t end,
                         uint64_t length)
{
    static const uint8_t zeros[ROW_CHUNK_BYTES];
    uint32_t i = (uint32_t)(end / ROW_CHUNK_BYTES);

    for (; end < length && (i = next_behind(coll, i, end, length)) != CHUNKS_NO_INDEX; i++) {
        const struct part p = part_of(m, key, coll, i, length);
        const uint64_t first = (uint64_t)i * ROW_CHUNK_BYTES;
        const size_t at = end > first ? (size_t)(end - first) : 0;

        write_image(&p, at, bytes_of(zeros, (size_t)u64_min(ROW_CHUNK_BYTES, length - first) - at));
    }
}

/* The key row, and zeros behind the end, before a change of a part. */
static void begin_part(struct mut *m, const struct ks_key *key, struct coll *coll, uint64_t length)
{
    const uint64_t end = coll->count;

    touch(m, key, coll, length);
    clear_behind(m, key, coll, end, length);
}

/* --- bits --- */

static struct op bits_op(const struct part *p, uint64_t at, uint32_t count, uint64_t value)
{
    return (struct op){.kind = OP_BITS,
                       .key = p->key->name,
                       .generation = p->coll->generation,
                       .at = at,
                       .bits_count = (uint8_t)count,
                       .bits = count == 64 ? value : value & ((1ull << count) - 1)};
}

/* The batch has an image of the chunk, or more ops with bits than shall be looked through. */
static bool is_image(const struct part *p)
{
    uint32_t count = 0;

    for (const struct ref *r = mut_ref_last(p->m, p->name); r != NULL && count <= BITS_OPS_MAX;
         r = mut_ref_prev_name(p->m, r)) {
        if (r->kind == OP_CHUNK)
            return true;
        count += r->kind == OP_BITS;
    }
    return count > BITS_OPS_MAX;
}

/*
 * Voids the ops of the batch with bits among those from `at` to `end`, and logs what is left of
 * them: they have no bit in common, so that there are two ends at most. True if there were any.
 */
static bool take_bits(const struct part *p, uint64_t at, uint64_t end)
{
    struct op left[2];
    unsigned count = 0;
    bool any = false;
    struct ref *later = NULL;

    for (struct ref *r = mut_ref_last(p->m, p->name); r != NULL; r = mut_ref_prev_name(p->m, r)) {
        struct op op;

        if (r->kind == OP_VOID) {
            /* Not to be walked again. */
            if (later != NULL)
                later->prev_name = r->prev_name;
            continue;
        }
        later = r;
        mut_group_op(p->m, r, &op);
        const uint64_t op_end = op.at + op.bits_count;
        if (op.at >= end || op_end <= at)
            continue;
        if (op.at < at)
            left[count++] = bits_op(p, op.at, (uint32_t)(at - op.at), op.bits >> (op_end - at));
        if (op_end > end)
            left[count++] = bits_op(p, end, (uint32_t)(op_end - end), op.bits);
        mut_ref_void(p->m, r);
        any = true;
    }
    for (unsigned i = 0; i < count; i++)
        mut_append(p->m, &left[i], mut_group_of(p->key), p->name);
    return any;
}

/* Bits within the chunk, as an image. */
static void write_bits_image(const struct part *p, uint64_t bit, struct row_chunk_bits bits)
{
    uint8_t bytes[9]; /* 64 bits touch no more. */
    const uint64_t first = bit / 8;
    const size_t len = (size_t)((bit + bits.count - 1) / 8 - first + 1);

    strval_copy(p->coll, first, bytes, len);
    bits.first = (uint32_t)(bit % 8);
    row_chunk_put_bits(bytes, bits);
    write_image(p, (size_t)(first % ROW_CHUNK_BYTES), bytes_of(bytes, len));
}

/* Bits within the chunk. */
static void write_bits(const struct part *p, uint64_t bit, uint32_t count, uint64_t value)
{
    struct mut *m = p->m;
    const struct op op = bits_op(p, bit, count, value);
    const struct bytes row = ks_group_elem_row(p->coll, sub_of(p));
    bool again = m->nops != 0 && mut_ref_last(m, p->name) != NULL &&
                 row_chunk_has(row, op.generation, m->tag, (uint32_t)(bit % ROW_CHUNK_BITS), count);

    if (again && is_image(p)) {
        write_bits_image(p, bit, (struct row_chunk_bits){.count = count, .value = value});
        return;
    }
    (void)mut_group_elem_before(m, p->key, p->coll, sub_of(p)); /* Kept, before it changes. */
    if (again)
        again = take_bits(p, bit, bit + count);
    mut_append(m, &op, mut_group_of(p->key), p->name);
    if (again)
        make_again(p);
    else
        put(p, mut_group_join(&m->group->joined, row, mut_group_operand(m, p->key, &op)));
}

/* --- changes of strings in chunks --- */

static int patch_chunks(struct mut *m, const struct ks_key *key, struct coll *coll, uint64_t offset,
                        struct bytes patch, uint64_t *out_len)
{
    const uint64_t first = offset / ROW_CHUNK_BYTES;
    const uint64_t last = (offset + patch.len - 1) / ROW_CHUNK_BYTES;
    const uint64_t len = u64_max(coll->count, offset + patch.len);
    const int err = room(m, key, last - first + 1 + count_behind(coll, len), 1);

    if (err != 0)
        return err;
    begin_part(m, key, coll, len);
    for (uint64_t i = first; i <= last; i++) {
        const struct part p = part_of(m, key, coll, i, len);
        const size_t at = (size_t)(offset % ROW_CHUNK_BYTES);
        const size_t n = size_min(patch.len, ROW_CHUNK_BYTES - at);

        write_image(&p, at, bytes_of(patch.ptr, n));
        offset += n;
        patch = bytes_from(patch, n);
    }
    mut_changed(m, key);
    *out_len = len;
    return 0;
}

/* Whether the bits have the value already. */
static bool bits_are(const struct coll *coll, uint64_t bit, uint32_t count, uint64_t value)
{
    uint8_t is[9], shall[9]; /* 64 bits touch no more. */
    const uint64_t first = bit / 8;
    const size_t len = (size_t)((bit + count - 1) / 8 - first + 1);

    strval_copy(coll, first, is, len);
    memcpy(shall, is, len);
    row_chunk_put_bits(shall, (struct row_chunk_bits){
                                  .first = (uint32_t)(bit % 8), .count = count, .value = value});
    return memcmp(is, shall, len) == 0;
}

static int bits_in_chunks(struct mut *m, const struct ks_key *key, struct coll *coll, uint64_t bit,
                          uint32_t count, uint64_t value)
{
    const uint64_t end = bit + count;
    const uint64_t len = u64_max(coll->count, (end - 1) / 8 + 1);
    const bool same = len == coll->count && bits_are(coll, bit, count, value);
    /* Bits, and what is left at both ends of older ones. */
    const int err = room(m, key, 2 + count_behind(coll, len), 3);

    if (err != 0)
        return err;
    begin_part(m, key, coll, len);
    while (bit < end) {
        const struct part p = part_of(m, key, coll, bit / ROW_CHUNK_BITS, len);
        const uint64_t to = u64_min(end, (p.index + 1) * ROW_CHUNK_BITS);

        write_bits(&p, bit, (uint32_t)(to - bit), value >> (end - to));
        bit = to;
    }
    /* An op it is: what another member makes of the bits at the same time is weighed against it. */
    if (!same)
        mut_changed(m, key);
    return 0;
}

/* --- others are written whole --- */

static int patch_whole(struct mut *m, const struct ks_key *key, const struct obj *obj,
                       uint64_t offset, struct bytes patch, uint64_t *out_len)
{
    const uint64_t expire_at_ms = obj == NULL ? 0 : ks_expire_at(obj);
    struct buf *text = &m->group->text;

    mut_group_text(m, obj);
    const uint64_t len = u64_max(text->len, offset + patch.len);
    int err = mut_room(m, (size_t)len + key->name.len + BATCH_HEADER_BYTES_MAX);
    if (err == 0)
        err = buf_reserve(text, (size_t)len - text->len);
    if (err != 0)
        return err;
    memset(buf_end(text), 0, (size_t)len - text->len);
    buf_commit(text, (size_t)len - text->len);
    memcpy(text->ptr + offset, patch.ptr, patch.len);
    mut_group_set(m, key, buf_bytes(text), expire_at_ms);
    *out_len = len;
    return 0;
}

static int bits_of_whole(struct mut *m, const struct ks_key *key, const struct obj *obj,
                         uint64_t bit, struct row_chunk_bits bits)
{
    uint8_t bytes[9] = {0}; /* 64 bits touch no more. */
    const uint64_t first = bit / 8;
    const size_t len = (size_t)((bit + bits.count - 1) / 8 - first + 1);
    const struct buf *text = &m->group->text;
    uint64_t new_len;

    mut_group_text(m, obj);
    if (first < text->len)
        memcpy(bytes, text->ptr + first, size_min(len, text->len - (size_t)first));
    bits.first = (uint32_t)(bit % 8);
    row_chunk_put_bits(bytes, bits);
    return patch_whole(m, key, obj, first, bytes_of(bytes, len), &new_len);
}

/* --- */

int mut_group_patch(struct mut *m, const struct ks_key *key, uint64_t offset, struct bytes patch,
                    uint64_t *out_len)
{
    const struct obj *obj = ks_get(m->options.ks, key, m->now_ms);

    if (mut_string_ships_parts(m, key, obj))
        return patch_chunks(m, key, obj_coll(obj), offset, patch, out_len);
    return patch_whole(m, key, obj, offset, patch, out_len);
}

int mut_group_bits(struct mut *m, const struct ks_key *key, uint64_t bit, uint32_t count,
                   uint64_t value)
{
    const struct obj *obj = ks_get(m->options.ks, key, m->now_ms);

    if (mut_string_ships_parts(m, key, obj))
        return bits_in_chunks(m, key, obj_coll(obj), bit, count, value);
    return bits_of_whole(m, key, obj, bit, (struct row_chunk_bits){.count = count, .value = value});
}

int mut_group_lengthen(struct mut *m, const struct ks_key *key, struct coll *coll, uint64_t len)
{
    const int err = room(m, key, count_behind(coll, len), 1);

    if (err != 0)
        return err;
    begin_part(m, key, coll, len);
    mut_changed(m, key);
    return 0;
}
