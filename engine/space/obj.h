/*
 * Resident rows: the memory blocks of keys and elements.
 *
 *   struct obj, one block per resident key
 *     0   4  dirty     place in the dirty ring (dirty.h); 0: the store has this row
 *     4   4  row_len
 *     8   2  name_len  of the key
 *     10  1  type      enum value_type
 *     11  1  flags     enum blk_flag
 *     12  1  heat      2 bits, 0 .. OBJ_HEAT_MAX: touches since the clock hand passed; and
 *              told      5 bits: what the journal of keys last said of it (keylog.h),
 *                        type << 1 | expires; 0: nothing, or not known
 *     13  1  pins      waiting commands that need it to stay
 *     14  .. [pointer to struct coll, 8 bytes, if BLK_COLL] key, row bytes
 *
 *   struct elem, one block per resident element of a hash, set or sorted set
 *     0  12  as above; name_len is that of the subkey
 *     12  .. subkey, row bytes
 *
 * The row bytes are the same that stand in the store (engine/value/row.h). Blocks are 16-byte
 * aligned, so that the key table can keep a pointer in 44 bits. A block may move when its row
 * changes length: whoever holds its address (key table, dirty ring, collection) must be told.
 */
#ifndef TIERRA_ENGINE_SPACE_OBJ_H
#define TIERRA_ENGINE_SPACE_OBJ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/mem.h"

struct coll;

enum blk_flag {
    BLK_COLL = 1 << 0,      /* obj: a collection; its pointer stands before the key. */
    BLK_DEAD = 1 << 1,      /* Deleted; stays until the store knows. */
    BLK_STORED = 1 << 2,    /* The store may hold some version of this row. */
    BLK_TTL = 1 << 3,       /* obj: has an expiry. */
    BLK_UNKNOWN = 1 << 4,   /* elem, dead: stands for a row that was read and is not there. */
    BLK_RAW = 1 << 4,       /* obj: changed in place, or large once, as OBJECT ENCODING tells. */
    BLK_TOUCHED = 1 << 5,   /* elem: used since the shedding hand passed. */
    BLK_TEXT = 1 << 5,      /* obj, a string: not kept as an integer, likewise. */
    BLK_PROBATION = 1 << 6, /* obj: loaded by a read, not yet admitted. */
    BLK_FRESH = 1 << 6,     /* elem: loaded by a read of its own, not yet used. */
    BLK_NOTED = 1 << 7,     /* elem: the index row of the score that the store has is to go. */
    BLK_FOLDS = 1 << 7      /* elem, of a string of a group: it stands in coll->folds. */
};

/* What the last changes made of a value; gone with the next one, and when the key leaves DRAM. */
#define BLK_FORMS ((uint8_t)(BLK_RAW | BLK_TEXT))

#define OBJ_HEAT_MAX 3

/* The pointer to a collection. */
#define OBJ_COLL_BYTES 8
STATIC_ASSERT(sizeof(void *) == OBJ_COLL_BYTES);

struct row_head {
    uint32_t dirty;
    uint32_t row_len;
    uint16_t name_len;
    uint8_t type;
    uint8_t flags;
};
STATIC_ASSERT(sizeof(struct row_head) == 12);

struct obj {
    struct row_head h;
    uint8_t heat : 2;
    uint8_t told : 5;
    uint8_t pins;
    uint8_t data[]; /* Begins within the padding: the struct is never copied or assigned whole. */
};
#define OBJ_HEAD_BYTES offsetof(struct obj, data)
STATIC_ASSERT(OBJ_HEAD_BYTES == 14);

struct elem {
    struct row_head h;
    uint8_t data[];
};
STATIC_ASSERT(sizeof(struct elem) == 12);

/* The class of a block with so many bytes behind its head. */
static inline size_t blk_bytes(size_t head, size_t len)
{
    CHECK(len <= SIZE_MAX / 4);
    return mem_class_bytes(head + len);
}

static inline void obj_tell(struct obj *o, unsigned type, bool has_ttl)
{
    o->told = (type << 1 | has_ttl) & 0x1f;
}

static inline size_t obj_key_at(const struct obj *o)
{
    return (o->h.flags & BLK_COLL) != 0 ? OBJ_COLL_BYTES : 0;
}

static inline struct bytes obj_key(const struct obj *o)
{
    return bytes_of(o->data + obj_key_at(o), o->h.name_len);
}

static inline uint8_t *obj_row_ptr(struct obj *o)
{
    return o->data + obj_key_at(o) + o->h.name_len;
}

static inline struct bytes obj_row(const struct obj *o)
{
    return bytes_of(o->data + obj_key_at(o) + o->h.name_len, o->h.row_len);
}

/* Of an object with BLK_COLL. */
static inline struct coll *obj_coll(const struct obj *o)
{
    struct coll *coll;

    memcpy(&coll, o->data, OBJ_COLL_BYTES);
    return coll;
}

/*
 * The memory of the block, exact without asking the allocator, whose look-up is a miss of the
 * cache: it was asked for as a whole class, and is exchanged whenever its class would be another.
 */
static inline size_t obj_bytes(const struct obj *o)
{
    return blk_bytes(OBJ_HEAD_BYTES, obj_key_at(o) + o->h.name_len + o->h.row_len);
}

static inline void obj_free(struct obj *o)
{
    mem_free_sized(o, obj_bytes(o));
}

/* A new object with room for the row; `flags` with BLK_COLL takes `coll`. */
static inline struct obj *obj_new(struct bytes key, uint8_t type, uint8_t flags, struct coll *coll,
                                  size_t row_len)
{
    const size_t at = (flags & BLK_COLL) != 0 ? OBJ_COLL_BYTES : 0;
    struct obj *o = mem_alloc(blk_bytes(OBJ_HEAD_BYTES, at + key.len + row_len));

    o->h = (struct row_head){
        .row_len = (uint32_t)row_len, .name_len = (uint16_t)key.len, .type = type, .flags = flags};
    o->heat = 0;
    o->told = 0;
    o->pins = 0;
    if (at != 0)
        memcpy(o->data, &coll, OBJ_COLL_BYTES);
    if (key.len != 0)
        memcpy(o->data + at, key.ptr, key.len);
    return o;
}

/*
 * Room for a row of `row_len` bytes in place of the present one, whose first bytes are kept. The
 * result may be another address.
 */
static inline MUST_USE struct obj *obj_resize(struct obj *o, size_t row_len)
{
    const size_t bytes = blk_bytes(OBJ_HEAD_BYTES, obj_key_at(o) + o->h.name_len + row_len);

    if (bytes != obj_bytes(o))
        o = mem_realloc(o, bytes);
    o->h.row_len = (uint32_t)row_len;
    return o;
}

static inline struct bytes elem_sub(const struct elem *e)
{
    return bytes_of(e->data, e->h.name_len);
}

static inline uint8_t *elem_row_ptr(struct elem *e)
{
    return e->data + e->h.name_len;
}

static inline struct bytes elem_row(const struct elem *e)
{
    return bytes_of(e->data + e->h.name_len, e->h.row_len);
}

static inline size_t elem_bytes(const struct elem *e)
{
    return blk_bytes(sizeof(*e), (size_t)e->h.name_len + e->h.row_len);
}

static inline void elem_free(struct elem *e)
{
    mem_free_sized(e, elem_bytes(e));
}

static inline struct elem *elem_new(struct bytes sub, uint8_t type, uint8_t flags, size_t row_len)
{
    struct elem *e = mem_alloc(blk_bytes(sizeof(*e), sub.len + row_len));

    *e = (struct elem){.h = {.row_len = (uint32_t)row_len,
                             .name_len = (uint16_t)sub.len,
                             .type = type,
                             .flags = flags}};
    if (sub.len != 0)
        memcpy(e->data, sub.ptr, sub.len);
    return e;
}

static inline MUST_USE struct elem *elem_resize(struct elem *e, size_t row_len)
{
    const size_t bytes = blk_bytes(sizeof(*e), e->h.name_len + row_len);

    if (bytes != elem_bytes(e))
        e = mem_realloc(e, bytes);
    e->h.row_len = (uint32_t)row_len;
    return e;
}

#endif
