/*
 * Ops: changes as they stand in the log and go to peers.
 *
 * A batch is one command, MULTI or script: one origin, one sequence number, one tag, and at most
 * one net op per row. All its ops have the tag (batch hlc, batch origin), so ops hold none. The
 * context of a batch is all that the origin had applied when it made it: a vector, left out if it
 * is {origin: hlc - 1}, as it always is on a node without peers. The flush epoch counts how often
 * the group had been emptied when its origin made the batch, left out while that is 0; a batch of a
 * lower epoch than that of the keyspace has no effect any more.
 *
 * Batch:
 *
 *     offset  size
 *     0       1     version (high four bits: 2) and flags (1: vector, 2: flush epoch)
 *     1       1     origin
 *     2       8     seq, little-endian
 *     10      8     hlc, little-endian
 *     18      4     number of ops, little-endian
 *     22      ..    flush epoch, 4, little-endian, if flagged, not 0
 *             ..    vector (vv.h), if flagged; then the ops
 *
 * Op: kind 1 | flags 1, unless they are 0 | varint klen | key | then by kind, in this order (all
 * lengths varints). Of the kind byte the low five bits are the kind, 0x20 says that the value is
 * empty and left out, 0x40 that flags follow, 0x80 that the op was voided:
 *
 *     type 1, slen, sub                  ELEM_SET ELEM_INCR ELEM_DEL; ROW_MERGE (type = row kind)
 *     at_ms 8                            SET with OP_F_EXPIRE; EXPIRE
 *     target type 1, target tag 9        EXPIRE
 *     generation 9                       STRING CHUNK BITS
 *     length 8                           STRING
 *     index                              CHUNK
 *     bit offset, count 1, bits          BITS
 *     hlc - start, isum zigzag, fsum 20 if OP_F_FLOAT   INCR ELEM_INCR
 *     seen len, seen                     with OP_F_SEEN
 *     count                              with OP_F_COUNT
 *     vlen, value                        SET ELEM_SET KEY_MERGE ROW_MERGE CHUNK
 *
 * The flags of a SET and STRING say whose time at_ms is (OP_SHARED_TIME). A SET of more than
 * ROW_INLINE_BYTES_MAX and STRING have an at_ms always, 0 for never, so that a
 * later change of the batch can be written into them.
 */
#ifndef TIERRA_ENGINE_VALUE_OP_H
#define TIERRA_ENGINE_VALUE_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "engine/value/fsum.h"
#include "engine/value/tag.h"
#include "engine/value/vv.h"

/* The numbers are part of the formats: never change one. */
enum op_kind {
    OP_VOID = 0,      /* Nothing: a change that a later one of its batch replaced. */
    OP_SET = 1,       /* key = value, expire_at_ms. Replaces whatever is there. */
    OP_DEL = 2,       /* The key, of whatever type. */
    OP_INCR = 3,      /* A counter at the key: the run so far (start, isum, fsum). */
    OP_EXPIRE = 4,    /* expire_at_ms (0: persist) of the target. */
    OP_ELEM_SET = 5,  /* Element `sub` of the collection of `type` = value. */
    OP_ELEM_INCR = 6, /* A counter at the element. */
    OP_ELEM_DEL = 7,
    OP_KEY_MERGE = 8, /* value: a raw operand for the key row. */
    OP_ROW_MERGE = 9, /* value: a raw operand for an element row; `type` holds the row kind. */
    OP_RECLAIM = 10,  /* The expired or evicted key goes away here; never shipped. */
    /* The key as a string in chunks, `len` bytes: of a generation that it had seen, or a new one,
       all zeros, if `generation` is the tag of the batch. CHUNK and BITS of the batch are its
       content. */
    OP_STRING = 11,
    OP_CHUNK = 12, /* value: the bytes of chunk `at` after the change. */
    OP_BITS = 13,  /* bits_count bits from bit `at` of the string on. */
    OP_KIND_END
};

/*
 * The op found the key absent (or expired), or an element op creates its collection anew: what may
 * be left of the key elsewhere, up to the batch's context, is covered too. Always right on a fresh
 * key; costs nothing but this bit. Set by the caller; not needed on nodes without peers. On an
 * element op it cannot say what was seen of the key's counters: if row_seen of the key row gives
 * something, put an OP_DEL with it into the batch as well.
 * A SET of an absent key has it too: its counters may have expired and been collected here, so that
 * `seen` says nothing of them, and not yet elsewhere, where they would count on.
 */
#define OP_COVER 0x01u
/*
 * Of a SET of more than ROW_INLINE_BYTES_MAX, or of a STRING: its time is one of the generation, as
 * that of an EXPIRE with VT_CHUNKED is, and no change of a part takes it away. Set by members of a
 * group; elsewhere, and in logs of former builds, the time is one of the value.
 */
#define OP_SHARED_TIME 0x20u
/* The rest is set by the codec. */
#define OP_F_EXPIRE 0x02u
#define OP_F_FLOAT  0x04u
#define OP_F_SEEN   0x08u
#define OP_F_COUNT  0x10u
#define OP_F_KNOWN  0x3fu

/* In the stored kind byte: */
#define OP_KIND_MASK   0x1fu
#define OP_KIND_EMPTY  0x20u
#define OP_KIND_FLAGS  0x40u
#define OP_KIND_VOIDED 0x80u /* The length of the op stays. */

struct op {
    uint8_t kind;
    uint8_t type;  /* Of the collection, enum value_type; ROW_MERGE: the row kind (rowkey.h). */
    uint8_t flags; /* OP_COVER, OP_SHARED_TIME; decoding gives all flags back. */
    uint8_t target_type; /* EXPIRE: from row_view; VT_CHUNKED: `target` is a generation. */
    bool has_count;      /* `count` is given. */
    uint8_t bits_count;  /* BITS: 1 .. 64 */
    struct bytes key;
    struct bytes sub;
    struct bytes value;
    struct bytes seen; /* row_seen of the row before the change; empty if there are no counters. */
    uint64_t expire_at_ms; /* 0: never. */
    struct tag target;     /* EXPIRE: from row_view. */
    uint64_t start;        /* INCR: from row_incr. */
    int64_t isum;
    uint64_t count; /* Elements of the collection after this op, as known here; not shipped. */
    struct tag generation; /* STRING, CHUNK, BITS. */
    uint64_t len;          /* STRING. */
    uint64_t at;           /* CHUNK: its index; BITS: the first bit. */
    uint64_t bits;         /* BITS: the first is the most significant of bits_count. */
    struct fsum fsum;
};

/* An upper bound of what op_store writes. */
size_t op_size(const struct op *op);

/* Encodes the op of a batch with `hlc`. Returns the bytes written. */
size_t op_store(uint8_t *dst, const struct op *op, uint64_t hlc);

/*
 * Reads an op of a batch with `hlc` from the front of `*in`, which moves on, voided or not. Its
 * slices borrow from `*in`. 0, -ERR_CORRUPT or -ERR_UNSUPPORTED (an op kind of a later version).
 */
MUST_USE int op_load(struct bytes *in, uint64_t hlc, struct op *op, bool *out_voided);

/* How far the string in chunks reaches that a STRING, CHUNK or BITS names; 0 for others. */
uint64_t op_string_end(const struct op *op);

/* Voids the op at `stored`, as written by op_store; its length stays. */
static inline void op_void(uint8_t *stored)
{
    stored[0] |= OP_KIND_VOIDED;
}

/*
 * Writes into a stored STRING, or SET of more than ROW_INLINE_BYTES_MAX: what a later change of its
 * batch made of its expiry and, of a STRING, its length.
 */
void op_patch_expiry(uint8_t *stored, uint64_t expire_at_ms);
void op_patch_string(uint8_t *stored, uint64_t expire_at_ms, uint64_t len);

/* --- batches --- */

#define BATCH_HEADER_BYTES     22
#define BATCH_HEADER_BYTES_MAX (BATCH_HEADER_BYTES + 4 + VV_BYTES_MAX)
#define BATCH_NOPS_AT          18

struct batch {
    uint8_t origin;
    bool has_ctx; /* The vector was in the batch. */
    uint64_t seq;
    uint64_t hlc;
    uint32_t nops;
    uint32_t nops_read;
    uint32_t flush;   /* Flush epoch. */
    struct bytes ops; /* What batch_next has not read yet. */
    struct vv ctx;    /* Always covers (hlc - 1, origin). The owner may join more into it. */
};

static inline struct tag batch_tag(const struct batch *batch)
{
    return tag_of(batch->hlc, batch->origin);
}

/* `ctx` NULL: none. Returns the bytes written: BATCH_HEADER_BYTES without a vector. */
size_t batch_header_store(uint8_t *dst, struct tag tag, uint64_t seq, uint32_t nops,
                          const struct vv *ctx);

/* The same with a flush epoch. */
size_t batch_header_store_flush(uint8_t *dst, struct tag tag, uint64_t seq, uint32_t nops,
                                uint32_t flush, const struct vv *ctx);

/* Patches the number of ops into a stored header. */
static inline void batch_header_set_nops(uint8_t *header, uint32_t nops)
{
    le32_store(header + BATCH_NOPS_AT, nops);
}

/* Reads the header; the slices borrow from `bytes`. 0, -ERR_FORMAT (version), -ERR_CORRUPT. */
MUST_USE int batch_open(struct bytes bytes, struct batch *out);

enum batch_step {
    BATCH_END = 0,
    BATCH_OP = 1
};

/*
 * The next op; voided ones are skipped. BATCH_OP; BATCH_END after the last, if nothing but it
 * remains; -ERR_CORRUPT; -ERR_UNSUPPORTED: an op kind of a later version (never skip it: park).
 */
MUST_USE int batch_next(struct batch *batch, struct op *out);

/* --- what an op does to rows --- */

/*
 * Called for each row that an op touches. `row_kind` and `sub` as for rowkey_store_elem (KEY: no
 * sub). `operand` is valid during the call. An error ends the expansion and is returned.
 */
typedef int (*op_emit_fn)(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand);

/*
 * The row operands of an op, for rows that need not be read: joined with the row by row_merge_fold
 * they are the op's effect. Element ops also give an operand for the key row (type assertion and
 * count as of log position `lsn`; 0: no count). 0, or the error of `emit`, -ENOMEM, -ERR_LIMIT.
 * `scratch` is overwritten.
 */
MUST_USE int op_expand(const struct op *op, const struct batch *batch, uint64_t lsn,
                       op_emit_fn emit, void *ctx, struct buf *scratch);

/*
 * An op of a kind whose operands are written as they stand, without making a state: they are sound
 * whatever the op says, if it was decoded from a batch.
 */
bool op_is_plain(const struct op *op, const struct batch *batch);

/* The row kind of elements of a collection type; ROWKEY_KIND_KEY if it has no element rows. */
uint8_t op_row_kind(uint8_t type);

/*
 * Whether the op alone decides its row where nothing is concurrent (a node without peers): SET,
 * DEL, RECLAIM, ELEM_SET, ELEM_DEL. Then appends that row to `out` and returns 1; else 0; -ENOMEM.
 */
MUST_USE int op_full_row(const struct op *op, struct tag tag, struct buf *out);

#endif
