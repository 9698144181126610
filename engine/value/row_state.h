/*
 * The decoded state of a row and its GENERAL form. Internal to this folder.
 *
 * A state is a join-semilattice: each part below is either a maximum, or a set of dots from which
 * contexts take away (row_merge.c has the join).
 *
 *     ctx      what SETs and DELs have seen: values and type assertions with tag <= ctx are gone
 *     rctx     what DELs have seen: increments with tag <= rctx are gone
 *     clear    like ctx for type assertions, for the element rows of the key, which are other rows,
 *              and for generations of strings in chunks; `by` are the tags of what made it
 *     sibs     concurrent values, at most one per origin: a later one covers the former
 *     runs     per origin the latest state of its counter run: (start, hlc, sums so far)
 *     floors   per origin and origin of a DEL, how far the latest such DEL has counted the run: up
 *              to hlc, with these sums; the furthest one counts
 *     types    per collection type and origin the latest tag that asserted it
 *     exps     expiry settings: per type, target and origin of etag the latest one; the group of a
 *              setting is its type, for values also its target. VT_CHUNKED: the target is the
 *              generation of a string in chunks, and part of the group as well
 *     ectx     per group, what later settings have seen: settings with etag <= it are gone
 *     count    elements as counted here at log position lsn; greatest lsn
 *     list     ranks and offsets ever used, so that no position is used twice (listpos.h); after a
 *              DEL as long as its clear vector is there
 *     rows     type assertions were joined and removed again: element rows may exist
 *     joined   what HyperLogLogs among the values show together, if that is none of them
 *
 * joined follows from the values (row_hll.c): it is made when a row is encoded, not joined.
 * ctx, rctx and ectx are only in operands; row_settle takes them out of full rows.
 *
 * GENERAL form: 0x10 | present 2 (bit per part, in this order) | parts. All integers
 * little-endian, n a varint, lists in ascending order of their key:
 *
 *     0  count   count 8 | lsn 8
 *     1  ctx     vv
 *     2  rctx    vv, or nothing with bit 12: equal to ctx
 *     3  clear   vv, or nothing with bit 13: equal to ctx; then `by` vv
 *     4  sibs    n | n times: tag 9 | cut list | 2 * vlen varint | value, or, of a string in
 *                chunks: tag 9 | cut list | 1 | generation 9 | len varint
 *     5  runs    n | n times: origin 1 | start 8 | hlc 8 | sum
 *     6  floors  n | n times: origin 1 | hlc 8 | sum | del tag 9
 *     7  types   n | n times: type 1 | tag 9
 *     8  exps    n | n times: type 1 | target 9 | etag 9 | at_ms 8
 *     9  ectx    n | n times: type 1 | target 9 (values and generations only) | vv
 *     10 list    min rank 8 | max rank 8 | n | n times: origin 1 | front, back: rank 8 hlc 8
 *                offset 4
 *     11 rows    nothing
 *     14 joined  len varint | value (hll.h)
 *
 *     sum      = kind 1 (bit 0: fsum follows) | isum zigzag varint | fsum 20
 *     cut list = n 1 | n times: origin 1 | hlc 8 | sum
 */
#ifndef TIERRA_ENGINE_VALUE_ROW_STATE_H
#define TIERRA_ENGINE_VALUE_ROW_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "engine/value/fsum.h"
#include "engine/value/listpos.h"
#include "engine/value/row.h"
#include "engine/value/tag.h"
#include "engine/value/vv.h"

/* Far above what five members make; a row beyond it is refused with -ERR_LIMIT. */
#define ROW_SIBS_MAX   VV_ORIGINS_MAX
#define ROW_RUNS_MAX   VV_ORIGINS_MAX
#define ROW_FLOORS_MAX 128
#define ROW_TYPES_MAX  64
#define ROW_EXPS_MAX   128
#define ROW_GROUPS_MAX 16

#define ROW_GENERAL_HEAD_BYTES 3

enum row_part {
    PART_COUNT = 1 << 0,
    PART_CTX = 1 << 1,
    PART_RCTX = 1 << 2,
    PART_CLEAR = 1 << 3,
    PART_SIBS = 1 << 4,
    PART_RUNS = 1 << 5,
    PART_FLOORS = 1 << 6,
    PART_TYPES = 1 << 7,
    PART_EXPS = 1 << 8,
    PART_ECTX = 1 << 9,
    PART_LIST = 1 << 10,
    PART_ROWS = 1 << 11,
    PART_RCTX_IS_CTX = 1 << 12,
    PART_CLEAR_IS_CTX = 1 << 13,
    PART_JOINED = 1 << 14,
    PART_ALL = (1 << 15) - 1
};

/* How far somebody has seen the run of an origin. */
struct row_cut {
    uint64_t hlc;
    uint8_t origin;
    int64_t isum;
    struct fsum fsum;
};

struct row_sib {
    struct tag tag;
    bool chunked; /* Its value is in the chunks of `generation`, `len` bytes (row_chunk.h). */
    struct tag generation;
    uint64_t len;
    struct bytes value; /* Borrowed from the encoded row. */
    struct bytes cuts;  /* Encoded cut list, valid; empty if there are none. */
};

struct row_run {
    uint64_t start;
    uint64_t hlc;
    uint8_t origin;
    int64_t isum;
    struct fsum fsum;
};

struct row_floor {
    struct row_cut cut;
    struct tag del_tag;
};

struct row_type {
    uint8_t type;
    struct tag tag;
};

struct row_exp {
    /* VT_STRING: of the value `target`; VT_NONE: of the counter; VT_CHUNKED: of the generation
       `target`; else collection. */
    uint8_t type;
    struct tag target;
    struct tag etag;
    uint64_t at_ms; /* ROW_EXPIRE_NEVER: persist. Never 0. */
};

struct row_group {
    uint8_t type;
    struct tag target; /* None unless row_group_has_target. */
    struct vv seen;
};

struct row_state {
    uint8_t poison; /* Reason + 1; 0: sound. Nothing else counts if it is set. */
    bool rows;
    unsigned sibs_count;
    unsigned runs_count;
    unsigned floors_count;
    unsigned types_count;
    unsigned exps_count;
    unsigned groups_count;
    uint64_t count;
    uint64_t count_lsn;
    struct vv ctx;
    struct vv rctx;
    struct vv clear;
    struct vv clear_by;
    struct row_sib sibs[ROW_SIBS_MAX];       /* By origin. */
    struct row_run runs[ROW_RUNS_MAX];       /* By origin. */
    struct row_floor floors[ROW_FLOORS_MAX]; /* By origin, origin of del_tag. */
    struct row_type types[ROW_TYPES_MAX];    /* By type, origin. */
    struct row_exp exps[ROW_EXPS_MAX];       /* By type, target, origin of etag. */
    struct row_group groups[ROW_GROUPS_MAX]; /* By group. */
    struct list_meta list;
    struct bytes joined; /* As decoded; borrowed from the encoded row. Empty: what wins shows. */
};

/* --- row_codec.c --- */

/* An empty state: what DEAD means. Touches only the counters. */
void row_state_init(struct row_state *state);

/* Slices of `*out` borrow from `row`. 0 or -ERR_CORRUPT. */
MUST_USE int row_decode(struct bytes row, struct row_state *out);

/* Appends the one encoding of the state. 0, -ERR_LIMIT, -ENOMEM. */
MUST_USE int row_encode(const struct row_state *state, struct buf *out);

/* Reads one item of a cut list that has been validated, or not: 0 or -ERR_CORRUPT. */
MUST_USE int row_cut_get(struct bytes *in, struct row_cut *out);
void row_cut_put(struct buf *out, const struct row_cut *cut);
/* Room for one item. */
#define ROW_CUT_BYTES_MAX (1 + 8 + 1 + 10 + FSUM_BYTES)

/* The number of items at the front of a cut list; moves on to the first. 0 for an empty slice. */
MUST_USE int row_cuts_open(struct bytes *in, unsigned *out_count);

/* A whole list from outside: 0 or -ERR_CORRUPT. */
MUST_USE int row_cuts_check(struct bytes cuts);

/* The item of `origin`; false if there is none. `cuts` is valid. */
bool row_cuts_find(struct bytes cuts, uint8_t origin, struct row_cut *out);

/* --- row_merge.c --- */

/* Joins `from` into `into`. The result borrows from both rows. 0 or -ERR_LIMIT. */
MUST_USE int row_state_join(struct row_state *into, const struct row_state *from);

/* Whether the key has, or may have had, rows beside its key row. */
bool row_state_has_rows(const struct row_state *state);

/* Takes away what the contexts cover. */
void row_state_reduce(struct row_state *state);

/* See row_settle. */
void row_state_settle(struct row_state *state);

/* Adds with the rule of its part; keeps the order. 0 or -ERR_LIMIT. */
MUST_USE int row_add_sib(struct row_state *state, const struct row_sib *sib);
MUST_USE int row_add_run(struct row_state *state, const struct row_run *run);
MUST_USE int row_add_floor(struct row_state *state, const struct row_floor *floor);
MUST_USE int row_add_type(struct row_state *state, const struct row_type *type);
MUST_USE int row_add_exp(struct row_state *state, const struct row_exp *exp);
MUST_USE int row_add_group(struct row_state *state, const struct row_group *group);
void row_add_count(struct row_state *state, uint64_t count, uint64_t lsn);

/* < 0, 0, > 0: order of floors; 0: of these the later one counts. */
int row_floor_cmp(const struct row_floor *a, const struct row_floor *b);

/* < 0, 0, > 0: order of expiry settings; 0: of these the later one counts. */
int row_exp_cmp(const struct row_exp *a, const struct row_exp *b);

/* Whether settings of this type are of one value, or generation, and no other. */
static inline bool row_group_has_target(uint8_t type)
{
    return type == VT_STRING || type == VT_CHUNKED;
}

/* < 0, 0, > 0: order of groups. */
int row_group_cmp(uint8_t type_a, struct tag target_a, uint8_t type_b, struct tag target_b);

/* --- row_hll.c --- */

/* How many of the values look like HyperLogLogs. */
unsigned row_hll_count(const struct row_state *state);

/* Appends what the HyperLogLogs that show do so together, if that is none of them. 0, -ENOMEM. */
MUST_USE int row_hll_join(const struct row_state *state, struct buf *out);

/* Of a decoded state: whether the value, which is one of its, is part of what it shows joined. */
bool row_hll_shows(const struct row_state *state, const struct row_sib *sib);

/* Of two HyperLogLogs of one tag the one that has more weighs more; other values nothing. */
uint64_t row_hll_weight(const struct row_sib *sib);

/* --- row_view.c --- */

/* What shows, before its value is computed. */
struct row_winner {
    uint8_t type; /* VT_NONE: nothing. */
    struct tag tag;
    const struct row_sib *sib; /* The base of a string; NULL: only increments. */
    bool counter;              /* Increments are live. */
    uint8_t target_type;
    struct tag target;
    uint64_t expire_at_ms; /* 0: never. */
};

void row_state_winner(const struct row_state *state, struct row_winner *out);

/* How far the run of `origin` is covered: by the latest of its floors and the base's cut; hlc 0:
 * none. */
void row_state_cover(const struct row_state *state, const struct row_sib *base, uint8_t origin,
                     struct row_cut *out);

/* A compiler extension, named once. */
__extension__ typedef __int128 row_i128;

/* Sums of all live increments. `*out_float`: some are floating point. */
struct row_sums {
    row_i128 isum;
    struct fsum fsum;
    bool has_float;
};
void row_state_sums(const struct row_state *state, const struct row_sib *base,
                    struct row_sums *out);

/* The score of a sorted set member that stands on `base` (NULL: on 0). */
double row_state_score(const struct row_state *state, const struct row_sib *base);

#endif
