/*
 * Rows: the mergeable state of one record, as its encoded bytes.
 *
 * A row is a key (string value, or head of a collection) or one element of a collection. Its bytes
 * are the same in DRAM, in the store, as a merge operand and on the wire. Rows are values of one
 * join-semilattice (row_merge.c): merging is commutative, associative and idempotent. One state has
 * exactly one encoding; the first byte is the form:
 *
 *     0x00 DEAD       nothing. An empty slice means the same.
 *     0x01 VALUE      tag 9 | value ..                  one value, no expiry, no increments
 *     0x02 VALUE_TTL  tag 9 | at_ms 8 | value ..        the same with the expiry it was set with
 *     0x03 COUNT      origin 1 | start 8 | hlc 8 | isum 8    one integer counter run, no value
 *     0x04 COLL       type 1 | tag 9 | count 8 | count_lsn 8 key row of a plain collection
 *     0x05 CHUNKED    tag 9 | generation 9 | len 8 | at_ms 8  a string in chunks; at_ms 0: never
 *     0x06, 0x07      a chunk of such a string: row_chunk.h
 *     0x08 CHUNKED_TTL  the same as CHUNKED; at_ms is the time of the generation, and not 0
 *     0x0f POISON     reason 1                          damaged data was joined into this row
 *     0x10 GENERAL    everything else                   row_general.h
 *
 * Integers are little-endian. In memory whose life it fits, a simple form may be patched in place.
 *
 * A time of the CHUNKED form is one of the value alone, as nodes without peers and former builds
 * set it. In a group the time of such a string is one of its generation (row_state.h, exps), which
 * a change of a part leaves as it is.
 *
 * What shows: the greatest tag among values, live increments and type assertions decides the type;
 * the value with the greatest tag is the base, increments that it has not seen are added to it, to
 * a HyperLogLog what other ones hold that it has not seen (row_hll.c). If what shows has expired
 * (at_ms <= now) the key is absent, whatever else the row holds.
 *
 * Everything here is pure: no clock, no I/O, any thread.
 */
#ifndef TIERRA_ENGINE_VALUE_ROW_H
#define TIERRA_ENGINE_VALUE_ROW_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/num.h"

#include "engine/value/fsum.h"
#include "engine/value/tag.h"
#include "engine/value/vv.h"

enum value_type {
    VT_NONE = 0,
    VT_STRING = 1,
    VT_LIST = 2,
    VT_SET = 3,
    VT_ZSET = 4,
    VT_HASH = 5,
    VT_STREAM = 6,
    VT_CHUNKED = 7, /* A string in chunks, where a key table tells it from one that is one row. */
    VT_END = 16     /* Types fit four bits. */
};

enum row_form {
    ROW_DEAD = 0x00,
    ROW_VALUE = 0x01,
    ROW_VALUE_TTL = 0x02,
    ROW_COUNT = 0x03,
    ROW_COLL = 0x04,
    ROW_CHUNKED = 0x05,
    ROW_CHUNK = 0x06,
    ROW_CHUNKS = 0x07,
    ROW_CHUNKED_TTL = 0x08,
    ROW_POISON = 0x0f,
    ROW_GENERAL = 0x10
};

/* Offsets within the simple forms. */
#define ROW_TAG_AT         1
#define ROW_VALUE_AT       (1 + TAG_BYTES)
#define ROW_TTL_AT         (1 + TAG_BYTES)
#define ROW_TTL_VALUE_AT   (1 + TAG_BYTES + 8)
#define ROW_COUNT_START_AT 2
#define ROW_COUNT_HLC_AT   10
#define ROW_COUNT_SUM_AT   18
#define ROW_COUNT_BYTES    26
#define ROW_COLL_TAG_AT    2
#define ROW_COLL_COUNT_AT  (2 + TAG_BYTES)
#define ROW_COLL_LSN_AT    (2 + TAG_BYTES + 8)
#define ROW_COLL_BYTES     (2 + TAG_BYTES + 16)
#define ROW_CHUNKED_GEN_AT (1 + TAG_BYTES)
#define ROW_CHUNKED_LEN_AT (1 + 2 * TAG_BYTES)
#define ROW_CHUNKED_TTL_AT (1 + 2 * TAG_BYTES + 8)
#define ROW_CHUNKED_BYTES  (1 + 2 * TAG_BYTES + 16)
#define ROW_POISON_BYTES   2
#define ROW_EXPIRE_NEVER   UINT64_MAX /* What PERSIST sets: longer than any time. */
/* Room for the text of any number, its terminating zero included. */
#define ROW_TEXT_BYTES NUM_LDOUBLE_BYTES

/* --- simple rows: building --- */

static inline size_t row_value_size(size_t value_len, bool ttl)
{
    return (ttl ? ROW_TTL_VALUE_AT : ROW_VALUE_AT) + value_len;
}

/* `expire_at_ms` 0: never. The row_*_store functions return the bytes written. */
static inline size_t row_value_store(uint8_t *dst, struct tag tag, struct bytes value,
                                     uint64_t expire_at_ms)
{
    const bool ttl = expire_at_ms != 0 && expire_at_ms != ROW_EXPIRE_NEVER;
    const size_t at = ttl ? ROW_TTL_VALUE_AT : ROW_VALUE_AT;

    dst[0] = ttl ? ROW_VALUE_TTL : ROW_VALUE;
    tag_store(dst + ROW_TAG_AT, tag);
    if (ttl)
        le64_store(dst + ROW_TTL_AT, expire_at_ms);
    if (value.len != 0)
        memcpy(dst + at, value.ptr, value.len);
    return at + value.len;
}

static inline size_t row_count_store(uint8_t *dst, uint64_t start, struct tag tag, int64_t isum)
{
    dst[0] = ROW_COUNT;
    dst[1] = tag.origin;
    le64_store(dst + ROW_COUNT_START_AT, start);
    le64_store(dst + ROW_COUNT_HLC_AT, tag.hlc);
    le64_store(dst + ROW_COUNT_SUM_AT, (uint64_t)isum);
    return ROW_COUNT_BYTES;
}

/* `type` is a collection type. `count` elements as of log position `lsn`; both 0: not counted. */
static inline size_t row_coll_store(uint8_t *dst, uint8_t type, struct tag tag, uint64_t count,
                                    uint64_t lsn)
{
    dst[0] = ROW_COLL;
    dst[1] = type;
    tag_store(dst + ROW_COLL_TAG_AT, tag);
    le64_store(dst + ROW_COLL_COUNT_AT, count);
    le64_store(dst + ROW_COLL_LSN_AT, lsn);
    return ROW_COLL_BYTES;
}

/* The key row of a string in chunks, `len` bytes long. `expire_at_ms` 0: never. */
static inline size_t row_chunked_store(uint8_t *dst, struct tag tag, struct tag generation,
                                       uint64_t len, uint64_t expire_at_ms)
{
    dst[0] = ROW_CHUNKED;
    tag_store(dst + ROW_TAG_AT, tag);
    tag_store(dst + ROW_CHUNKED_GEN_AT, generation);
    le64_store(dst + ROW_CHUNKED_LEN_AT, len);
    le64_store(dst + ROW_CHUNKED_TTL_AT, expire_at_ms == ROW_EXPIRE_NEVER ? 0 : expire_at_ms);
    return ROW_CHUNKED_BYTES;
}

/* By its form: a string in chunks and nothing else, sound or not. */
static inline bool row_is_chunked(struct bytes row)
{
    return row.len == ROW_CHUNKED_BYTES &&
           (row.ptr[0] == ROW_CHUNKED || row.ptr[0] == ROW_CHUNKED_TTL);
}

/* And with what such a row must have. */
static inline bool row_chunked_sound(struct bytes row)
{
    if (!row_is_chunked(row))
        return false;
    const uint64_t at_ms = le64_load(row.ptr + ROW_CHUNKED_TTL_AT);

    return !tag_is_none(tag_load(row.ptr + ROW_TAG_AT)) &&
           !tag_is_none(tag_load(row.ptr + ROW_CHUNKED_GEN_AT)) && at_ms != ROW_EXPIRE_NEVER &&
           (at_ms != 0 || row.ptr[0] == ROW_CHUNKED);
}

/* The base of a sorted set member: 8 bytes, to be stored as the value of its row. -0 is kept. */
#define ROW_SCORE_BYTES 8
static inline void row_score_store(uint8_t dst[ROW_SCORE_BYTES], double score)
{
    uint64_t bits;

    memcpy(&bits, &score, sizeof(bits));
    le64_store(dst, bits);
}

static inline double row_score_load(const uint8_t src[ROW_SCORE_BYTES])
{
    const uint64_t bits = le64_load(src);
    double score;

    memcpy(&score, &bits, sizeof(score));
    return score;
}

/*
 * The row of a member in the score index (rowkey.h): a VALUE with the tag of the member's row. Its
 * value is empty, or "-" for a score of -0, which the order does not tell from 0.
 */
#define ROW_INDEX_BYTES_MAX (ROW_VALUE_AT + 1)
static inline size_t row_index_store(uint8_t dst[ROW_INDEX_BYTES_MAX], struct tag tag, double score)
{
    const bool minus = score == 0.0 && signbit(score) != 0;

    return row_value_store(dst, tag, bytes_of("-", minus ? 1 : 0), 0);
}

/* --- reading --- */

enum row_kind {
    ROW_KIND_BYTES,
    ROW_KIND_INT,   /* A counter: `i` is the value, saturated to 64 bits. */
    ROW_KIND_FLOAT, /* A counter with floating point increments: `f`. */
    ROW_KIND_CHUNKS /* A string in chunks: `count` bytes in the chunks of `generation`. */
};

struct row_view {
    bool present;
    bool expired;   /* Not present, because what would show has expired. */
    uint8_t type;   /* VT_STRING also for elements; VT_NONE if the row is dead. */
    uint8_t kind;   /* enum row_kind. */
    struct tag tag; /* Greatest tag of what shows. */
    /* What an expiry setting of this row must name: op.target_type and op.target. */
    uint8_t target_type;
    struct tag target;
    uint64_t expire_at_ms; /* 0: never. */
    struct bytes value;    /* ROW_KIND_BYTES; borrowed from the row. */
    int64_t i;
    uint64_t count; /* Collections: elements as of count_lsn; count_lsn 0: never counted. */
    uint64_t count_lsn;
    struct tag generation;
    long double f;
};

/* The slow half of row_view. */
MUST_USE NOINLINE int row_view_general(struct bytes row, uint64_t now_ms, struct row_view *out);

/*
 * What the row shows at `now_ms`: in a group the time of the shard's HLC, never a clock behind it,
 * or else what one member has dropped as expired is still alive at another. 0; -ERR_CORRUPT,
 * -ERR_POISON: then `*out` is not present. An expired row has present false and keeps type, tag and
 * expire_at_ms.
 */
static inline MUST_USE int row_view(struct bytes row, uint64_t now_ms, struct row_view *out)
{
    const uint8_t *p = row.ptr;

    memset(out, 0, offsetof(struct row_view, f));
    out->f = 0.0L;
    if (row.len <= 1)
        return row.len == 0 || p[0] == ROW_DEAD ? 0 : -ERR_CORRUPT;
    if (likely(p[0] == ROW_VALUE && row.len >= ROW_VALUE_AT)) {
        out->present = true;
        out->type = out->target_type = VT_STRING;
        out->tag = out->target = tag_load(p + ROW_TAG_AT);
        out->value = bytes_of(p + ROW_VALUE_AT, row.len - ROW_VALUE_AT);
        return 0;
    }
    if (p[0] == ROW_VALUE_TTL && row.len >= ROW_TTL_VALUE_AT) {
        out->expire_at_ms = le64_load(p + ROW_TTL_AT);
        out->expired = out->expire_at_ms <= now_ms;
        out->present = !out->expired;
        out->type = out->target_type = VT_STRING;
        out->tag = out->target = tag_load(p + ROW_TAG_AT);
        out->value = bytes_of(p + ROW_TTL_VALUE_AT, row.len - ROW_TTL_VALUE_AT);
        return 0;
    }
    if (p[0] == ROW_COUNT && row.len == ROW_COUNT_BYTES) {
        out->present = true;
        out->type = VT_STRING;
        out->target_type = VT_NONE;
        out->kind = ROW_KIND_INT;
        out->tag = out->target = tag_of(le64_load(p + ROW_COUNT_HLC_AT), p[1]);
        out->i = (int64_t)le64_load(p + ROW_COUNT_SUM_AT);
        return 0;
    }
    if (p[0] == ROW_COLL && row.len == ROW_COLL_BYTES) {
        out->present = true;
        out->type = out->target_type = p[1];
        out->tag = out->target = tag_load(p + ROW_COLL_TAG_AT);
        out->count = le64_load(p + ROW_COLL_COUNT_AT);
        out->count_lsn = le64_load(p + ROW_COLL_LSN_AT);
        return 0;
    }
    return row_view_general(row, now_ms, out);
}

/* The type as a key table keeps it: tells strings in chunks from others. */
static inline uint8_t row_table_type(const struct row_view *view)
{
    return view->kind == ROW_KIND_CHUNKS ? VT_CHUNKED : view->type;
}

/*
 * The value as Redis shows it: bytes as they are, numbers printed into `tmp`. The result borrows
 * from the row or from `tmp`.
 */
struct bytes row_text(const struct row_view *view, char tmp[ROW_TEXT_BYTES]);

/* Of a row of the score index: its score of 0 is -0. */
static inline bool row_index_is_minus(const struct row_view *view)
{
    return view->value.len != 0;
}

/* The score of a sorted set member's row. 0, -ERR_NOT_FOUND (dead), -ERR_CORRUPT, -ERR_POISON. */
MUST_USE int row_score(struct bytes row, double *out);

/* The whole structure, to be called on bytes from outside: 0, -ERR_POISON or -ERR_CORRUPT. */
MUST_USE int row_check(struct bytes row);

/* The longest string in chunks that a sound key row names, also among what does not show; or 0. */
uint64_t row_string_bytes(struct bytes row);

/*
 * The times that an operand of a key row sets, whatever they are of; returns how many. Which of
 * them shows, if any, is known when it has met the row.
 */
#define ROW_TIMES_MAX 128
unsigned row_times(struct bytes row, uint64_t out[ROW_TIMES_MAX]);

/* Whether a sound key row says that the key is a collection, shown or not. */
bool row_asserts_type(struct bytes row);

/*
 * Whether every change in the row has a tag <= `clear`, so that an element row under a key with
 * this clear vector is dead. False for what cannot be read.
 */
MUST_USE bool row_covered(struct bytes row, const struct vv *clear);

/*
 * Appends an element row without what `clear` covers (DEAD if nothing is left). Elements read
 * from below a key row that has a clear vector pass through here before they are used.
 */
MUST_USE int row_clip(struct bytes row, const struct vv *clear, struct buf *out);

/* The clear vector of a key row; empty for the simple forms. 0, -ERR_CORRUPT or -ERR_POISON. */
MUST_USE int row_clear(struct bytes row, struct vv *out);

struct list_meta;
/* What the key row of a list remembers of positions (listpos.h); unused if there is nothing. */
MUST_USE int row_list_meta(struct bytes row, struct list_meta *out);

/*
 * Appends the key row of a list (GENERAL form): as row_coll_store, and what it remembers of
 * positions. Its expiry as row_set_expiry_alone sets it. 0, -ENOMEM or -ERR_LIMIT.
 */
MUST_USE int row_list_append(struct tag tag, uint64_t count, uint64_t lsn,
                             const struct list_meta *meta, uint64_t expire_at_ms, struct buf *out);

/* --- joining --- */

/*
 * Appends the join of two rows to `out`. Errors: -ERR_CORRUPT (damaged input), -ERR_LIMIT (more
 * than VV_ORIGINS_MAX origins), -ENOMEM; after an error `out` is as it was. POISON joined with
 * anything is POISON.
 */
MUST_USE int row_merge(struct bytes a, struct bytes b, struct buf *out);

/*
 * Appends the join of operands only, oldest first: what may still wait for older state. n >= 1.
 */
MUST_USE int row_merge_partial(const struct bytes *operands, size_t n, struct buf *out);

/*
 * Appends `existing` (empty: there is none) joined with all operands, then settled: the full row.
 * Only where `existing` is known to be all there is: never for operands that will yet meet an older
 * row, for the contexts that are to act on it would be gone. n >= 0.
 */
MUST_USE int row_merge_fold(struct bytes existing, const struct bytes *operands, size_t n,
                            struct buf *out);

/*
 * The merge callback of the store, which cannot tell a missing row from one that it has not looked
 * for: without `existing` the result keeps its contexts, with one it is settled. So a row that was
 * only ever made of operands comes back unsettled: it shows the right thing; row_settle makes it
 * simple once it is loaded. n >= 1.
 */
MUST_USE int row_merge_store(struct bytes existing, const struct bytes *operands, size_t n,
                             struct buf *out);

/*
 * Drops what only served operands that were still to come: contexts, and expiry settings whose
 * target is gone. Right only for a full row under causal delivery: everything in its contexts has
 * been applied to it.
 */
MUST_USE int row_settle(struct bytes row, struct buf *out);

/* A full row of one member, and what that member has seen of all members' ops. */
struct row_seen_by {
    struct bytes row; /* Empty: there is none. */
    const struct vv *seen;
};

/*
 * Appends the full row that has seen what `a` and `b` have together: what only one of them has, and
 * the other has seen, was removed there (row_reconcile.c). Both stem from members of which neither
 * has collected anything that the other had not seen. Symmetric. Errors as row_merge; DEAD if
 * nothing is left.
 */
MUST_USE int row_reconcile(const struct row_seen_by *a, const struct row_seen_by *b,
                           struct buf *out);

/*
 * What is known to be known; all from durable positions. No op up to `stable`, and none that has
 * not seen all of that, may be applied later, for the first time or again: what the store covers
 * persistently, from where replay starts, must reach beyond all of these.
 */
struct row_horizons {
    /* Every member has all ops up to here, and all that have not seen all of these. */
    const struct vv *stable;
    uint64_t lst; /* HLC: every op of every origin up to here is in this row. */
    uint64_t now_ms;
    bool swept; /* The element rows that the clear vector covers are physically gone. */
    /* Of an element row: row_clearing of its key row. */
    bool clearing;
    /* Bit per type: element rows of that losing type with stable tags are physically gone; of
       strings, their chunks. */
    uint16_t swept_types;
};

enum row_collected {
    ROW_UNCHANGED = 0,
    ROW_CHANGED = 1, /* A simpler row with the same meaning was appended. */
};

/* Whether the clear vector of a key row, if it has one, was made by ops that are not stable. */
MUST_USE bool row_clearing(struct bytes row, const struct vv *stable);

/*
 * Garbage collection of a full row. Returns enum row_collected (nothing is appended if
 * ROW_UNCHANGED) or an error as row_merge. `*out_sweep_types`: types that lost for good; when
 * their element rows with stable tags are removed, call again with swept_types.
 */
MUST_USE int row_collect(struct bytes row, const struct row_horizons *horizons, struct buf *out,
                         uint16_t *out_sweep_types);

/* What a full key row says of strings in chunks (row_chunk.h). */
struct row_generations {
    struct vv clear; /* What it covers is dead. */
    unsigned count;
    struct tag alive[VV_ORIGINS_MAX]; /* Generations of its values, */
    struct tag tags[VV_ORIGINS_MAX];  /* and their tags. */
};

/* Any key row will do. 0; -ERR_CORRUPT, -ERR_POISON: nothing is known. */
MUST_USE int row_generations(struct bytes row, struct row_generations *out);

/* --- local edits: full row in, full row appended to `out` --- */

/*
 * EXPIRE (`at_ms` since 1970) and PERSIST (0) of what the row shows; the caller has seen that it is
 * present. In a group: the setting keeps a tag of its own, so that it joins with concurrent ones.
 * -ERR_NOT_FOUND if nothing is alive in the row.
 */
MUST_USE int row_set_expiry(struct bytes row, struct tag etag, uint64_t at_ms, struct buf *out);

/*
 * The same on a node without peers, where nothing can be concurrent: VALUE and VALUE_TTL stay
 * simple. Joining a group later is no problem: what the founder has is then everyone's.
 */
MUST_USE int row_set_expiry_alone(struct bytes row, uint64_t at_ms, struct buf *out);

/* What an increment did, and what its op needs. */
struct row_incr {
    uint64_t start; /* First HLC of the run. */
    int64_t isum;   /* Sums of the run so far. */
    struct fsum fsum;
    int64_t visible;           /* row_incr_int */
    long double visible_float; /* row_incr_float, row_incr_score */
    /* The row was absent or expired: the op must carry OP_COVER, and row_seen of the old row. */
    bool fresh;
};

/*
 * INCRBY. An absent or expired row counts as 0; what is left of it is covered, and its expiry with
 * it. A run that DELs have seen whole is never continued. Within one batch the later increment
 * takes the place of the former; an increment after a SET or DEL of the same batch must be folded
 * into a SET of its result by the caller, since both have one tag. 0; -ERR_FORMAT: not an integer;
 * -ERR_RANGE: would overflow; -ERR_TYPE: a collection, also one that expired (delete it first);
 * -ERR_CORRUPT, -ERR_POISON, -ENOMEM. After an error nothing was appended.
 */
MUST_USE int row_incr_int(struct bytes row, uint64_t now_ms, int64_t delta, struct tag tag,
                          struct buf *out, struct row_incr *out_incr);

/*
 * INCRBYFLOAT: as row_incr_int; -ERR_FORMAT: not a number; -ERR_RANGE: NaN or infinite. The value
 * is what Redis would have computed from the text of the old one.
 */
MUST_USE int row_incr_float(struct bytes row, uint64_t now_ms, long double delta, struct tag tag,
                            struct buf *out, struct row_incr *out_incr);

/*
 * ZINCRBY on a member's row, in double arithmetic. An absent row counts as 0. -ERR_RANGE: the
 * result is not a number.
 */
MUST_USE int row_incr_score(struct bytes row, double delta, struct tag tag, struct buf *out,
                            struct row_incr *out_incr);

/*
 * Appends what a SET or DEL of this row has seen of its counters: op.seen. Nothing is appended for
 * rows without counters. O(1) for VALUE, VALUE_TTL, COLL and DEAD.
 */
MUST_USE int row_seen(struct bytes row, struct buf *out);

#endif
