/*
 * Frames between the same shard of two members.
 *
 * All integers are little-endian. A frame:
 *
 *     0   4  length of the body as it stands here, at most WIRE_BODY_BYTES_MAX
 *     4   1  kind
 *     5   1  flags: 1 = packed: the body is raw length 4 | zstd; only of BATCHES, SYNC_ASK and
 *            SYNC_ROWS: all others are short, also when opened
 *     6   2  zeros
 *     8   4  generation: of BATCHES, else 0
 *     12  8  sum64_seed of the body, its seed being bytes 0 .. 7 as an integer, xor the generation
 *     20     body
 *
 * Bodies by kind (vectors as in posv.h):
 *
 *     1 HELLO      protocol version 1 | origin 1 | shard 2 | zeros 4 | group id 16 |
 *                  incarnation 8 | membership epoch 8 | flush epoch 4 | zeros 4 |
 *                  applied vector | durable vector | trimmed vector
 *     2 BATCHES    origin 1 | epoch 8 | first seq 8 | prev hlc 8 | flush epoch 4 | count 4,
 *                  then count times
 *                      hlc varint       minus that of the batch before, or prev hlc
 *                      shape varint     twice the number of ops, plus 1 if the context is not
 *                                       that of the batch before (of the first: empty); then
 *                      changes 1        of the context, then as often: origin 1 |
 *                                       zigzag varint of its HLC minus what the frame
 *                                       said of this origin last, or prev hlc
 *                      ops as in op.h
 *     3 ACK        as-of seq 8 | durable vector
 *     4 HEARTBEAT  hlc 8 | seq 8 | wall 8 | sent 8 | echo 8 | held 8 |
 *                  flush epoch 4 | full 1 | zeros 3
 *     5 REQUEST    origin 1 | generation 4 | from seq 8 | to seq 8
 *     6 CREDIT     total 8
 *     7 NACK       origin 1 | generation 4 | reason 1 | trimmed seq 8
 *     8 BYE        reason 1 | detail 8
 *     9 SYNC_ASK   id 4 | turn 4 | flags 1: 1 = entered, 2 = goes on, 4 = waits | first slot 2 |
 *                  slot beyond the last 2 | bits 1 | seed 8 | length varint | last row key that
 *                  is here | sums: 2^bits times 8; with bits 255: none
 *    10 SYNC_ROWS  id 4 | turn 4 | what 1: 0, 1 = last, 2 = gone | slot beyond the last 2 |
 *                  flush epoch 4 | count 4 | vector | newest vector | acknowledged (acked.h) |
 *                  length varint | differ, then count times length varint | row key | length varint
 * | row
 *
 * HELLO is the first frame of either side. What it says of itself, `applied` of its own origin, is
 * the as-of seq of its durable vector (see ACK).
 *
 * BATCHES answer a REQUEST and carry its generation: what was asked for before the last REQUEST for
 * this origin is thrown away when it arrives. It stands in the header, so that peers that are
 * equally far get one frame, written, packed and summed once. The batches are consecutive. `prev
 * hlc` is the HLC of the batch before the first (0: not known), so that the receiver sees whether
 * it continues the same history. All have the one flush epoch. A batch's context lacks its own
 * origin, as that is always its HLC - 1. Counts of elements and reclaims stay at home.
 *
 * ACK: "all of this is durable here, and what I make from now on, after my batch `as-of`, has seen
 * it". It counts at the receiver only when its store covers everything up to as-of: then nothing
 * that was made without knowing what the vector covers can still arrive, or be replayed.
 *
 * HEARTBEAT: "every batch of mine with an HLC up to `hlc` has a seq up to `seq`, now and after any
 * crash". It counts when everything up to `seq` is here durably. `wall` is the sender's clock in
 * milliseconds, `sent` its monotonic one; `echo` returns the receiver's last `sent` (0: none yet),
 * and `held` says for how many milliseconds it was held. The flush epoch is there for members that
 * make no batch which could tell of it. `full` is 1 if the sender has no room to take batches.
 *
 * REQUEST: send the batches of `origin` from `from seq` to `to seq` (all ones: and everything that
 * comes later; 0: stop), as they become durable at the sender. CREDIT: since the link came up,
 * BATCHES frames may be begun while their bytes are below `total`. NACK: cannot be served, the log
 * begins only after `trimmed seq`.
 *
 * SYNC_ASK: send the next rows of some slots behind a key (rowkey.h). `id` says of which
 * checkpoint; one that `goes on` has rows of it already, and takes none of another. `turn` is
 * returned: what is asked for once more has another one, and its first answer is thrown away.
 * `entered`: rows were put aside already in a resync, so that I can give none myself before it has
 * come to its end. `waits`: nothing is asked for, nor answered, yet: what was sent is still being
 * stored, perhaps without room for long, and the checkpoint is wanted on. With sums: only those
 * that I do not have in the same way. Each row has a name of 64 bits and a sum
 * (engine/value/row_same.h); the first `bits` of the name say to which of the buckets it belongs,
 * whose sum is that of its rows, modulo 2^64. SYNC_ROWS: here they are, in key order, from a
 * checkpoint that has everything up to the vector, and nothing beyond the newest vector; with
 * `last` there is no more in these slots; `gone`: there is no such checkpoint any more. With `last`
 * `differ` has a bit per bucket (bit i & 7 of byte i >> 3), set where the sums are not the same:
 * all rows of these were sent, none of the others. Without sums, or `last`, it is empty. With sums
 * the giver may end the range at an earlier slot than was asked for, so that what it compares at a
 * time is bounded: what it sends, and `differ`, are then of the slots before that. With the last
 * rows of the last slot the giver says what it knows of what others have acknowledged: on the
 * strength of that something may be gone from the rows. Otherwise that is empty.
 *
 * Nothing unknown is ever skipped: not a kind of frame, a flag, or a kind of op.
 */
#ifndef TIERRA_REPLICATION_GROUP_WIRE_H
#define TIERRA_REPLICATION_GROUP_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "engine/value/vv.h"

#include "replication/group/acked.h"
#include "replication/group/posv.h"

struct pack;

/* Raised when frames change, or what they mean: since 8, elements are bounded (apply.c), and a list
 * remembers its positions beyond a DEL (row_merge.c); since 9, rows come with what the giver knows
 * of acknowledgements; since 10, the time of a string in chunks is one of its generation. */
#define WIRE_PROTOCOL       10u
#define WIRE_HEADER_BYTES   20u
#define WIRE_GROUP_ID_BYTES 16u
/* Packed or not: the longest record of the log, which comes alone, and what stands around it. */
#define WIRE_BODY_BYTES_MAX (577u << 20)
/* Longest of all frames but BATCHES and those of a full sync. */
#define WIRE_SMALL_BYTES_MAX (WIRE_HEADER_BYTES + 48u + 3u * POSV_BYTES_MAX)
/* Below this many bytes packing is not tried. */
#define WIRE_PACK_BYTES_MIN 512u
#define WIRE_BATCHES_MAX    65536u /* In one frame. */

enum wire_kind {
    WIRE_HELLO = 1,
    WIRE_BATCHES = 2,
    WIRE_ACK = 3,
    WIRE_HEARTBEAT = 4,
    WIRE_REQUEST = 5,
    WIRE_CREDIT = 6,
    WIRE_NACK = 7,
    WIRE_BYE = 8,
    WIRE_SYNC_ASK = 9,
    WIRE_SYNC_ROWS = 10,
    WIRE_KIND_END
};

/* Why a link ends, or why one is refused. The numbers are part of the format. */
enum wire_reason {
    WIRE_OK = 0,
    WIRE_CLOSED = 1,       /* The sender stops, or has no memory to go on. */
    WIRE_GROUP = 2,        /* Another group. */
    WIRE_VERSION = 3,      /* Another protocol version. */
    WIRE_IDENTITY = 4,     /* Not the member, incarnation or shard that was expected. */
    WIRE_EPOCH = 5,        /* Another membership epoch; detail: the sender's. */
    WIRE_DAMAGED = 6,      /* Bytes that are no frame, or whose sum is wrong. */
    WIRE_PROTOCOL_ERR = 7, /* A frame that was not to come now. */
    WIRE_UNSUPPORTED = 8,  /* An op or frame of a later version; detail: seq. */
    WIRE_CLOCK = 9,        /* Ops too far in the future; detail: their HLC. */
    WIRE_FORK = 10,        /* One seq of an origin with two contents; detail: the origin. */
    WIRE_WENT_BACK = 11,   /* The receiver lost what it had acknowledged; detail: wire_lost. */
    WIRE_TRIMMED = 12,     /* The log begins later: full or delta sync. */
    WIRE_SEALED = 13,      /* The origin was sealed before this seq. */
    WIRE_TIMEOUT = 14,     /* Nothing was heard. */
    WIRE_REMOVED = 15,     /* The receiver is no member. */
    WIRE_REASON_END
};

/* A short English text. Static storage. */
const char *wire_reason_str(uint8_t reason);

struct wire_hello {
    uint8_t protocol;
    uint8_t origin;
    uint16_t shard;
    uint8_t group_id[WIRE_GROUP_ID_BYTES];
    uint64_t incarnation;
    uint64_t epoch;
    uint32_t flush;
    struct posv applied;
    struct posv durable;
    struct posv trimmed; /* Up to here batches may be gone from the log. */
};

struct wire_ack {
    uint64_t as_of_seq;
    struct posv durable;
};

struct wire_heartbeat {
    uint64_t hlc;
    uint64_t seq;
    uint64_t wall_ms;
    uint64_t sent_ms;
    uint64_t echo_ms;
    uint64_t held_ms;
    uint32_t flush;
    bool full;
};

#define WIRE_SEQ_ALL UINT64_MAX

struct wire_request {
    uint8_t origin;
    uint32_t generation;
    uint64_t from_seq;
    uint64_t to_seq;
};

struct wire_nack {
    uint8_t origin;
    uint32_t generation;
    uint8_t reason; /* enum wire_reason */
    uint64_t trimmed_seq;
};

struct wire_bye {
    uint8_t reason; /* enum wire_reason */
    uint64_t detail;
};

/* Of WENT_BACK: up to where the receiver had acknowledged which origin. The highest byte is that
 * origin, the rest the seq. */
#define WIRE_LOST_SEQ_MAX ((UINT64_C(1) << 56) - 1)

static inline uint64_t wire_lost(uint8_t origin, uint64_t seq)
{
    return (uint64_t)origin << 56 | (seq < WIRE_LOST_SEQ_MAX ? seq : WIRE_LOST_SEQ_MAX);
}

static inline uint8_t wire_lost_origin(uint64_t detail)
{
    return (uint8_t)(detail >> 56);
}

static inline uint64_t wire_lost_seq(uint64_t detail)
{
    return detail & WIRE_LOST_SEQ_MAX;
}

/* --- frames --- */

/*
 * The size of the frame at the front of `in`, in `*out`: 0; -ERR_TRUNCATED: needs at least `*out`
 * bytes to tell or to be complete; -ERR_PROTOCOL: no frame.
 */
MUST_USE int wire_frame_size(struct bytes in, size_t *out);

/* enum wire_kind, of a frame that has a size. Whoever does not want the kind need not open it. */
static inline uint8_t wire_frame_kind(struct bytes in)
{
    return in.ptr[4];
}

struct wire_frame {
    uint8_t kind;
    uint32_t generation; /* Of BATCHES. */
    struct bytes body;
};

/*
 * Opens one whole frame. A packed body is expanded into `scratch` (which it replaces); else the
 * body borrows from `in`. 0; -ERR_PROTOCOL: unknown kind or flag; -ERR_CORRUPT; -ERR_LIMIT: beyond
 * the limit of `scratch`; -ENOMEM.
 */
MUST_USE int wire_open(struct bytes in, struct pack *pack, struct buf *scratch,
                       struct wire_frame *out);

/* Whole frames, appended. 0 or -ENOMEM, -ERR_LIMIT. */
MUST_USE int wire_put_hello(struct buf *out, const struct wire_hello *hello);
MUST_USE int wire_put_ack(struct buf *out, const struct wire_ack *ack);
MUST_USE int wire_put_heartbeat(struct buf *out, const struct wire_heartbeat *heartbeat);
MUST_USE int wire_put_request(struct buf *out, const struct wire_request *request);
MUST_USE int wire_put_credit(struct buf *out, uint64_t total);
MUST_USE int wire_put_nack(struct buf *out, const struct wire_nack *nack);
MUST_USE int wire_put_bye(struct buf *out, const struct wire_bye *bye);

/* Makes a whole BATCHES frame the answer to another request. */
void wire_frame_set_generation(uint8_t *frame, uint32_t generation);

/* Bodies. 0 or -ERR_CORRUPT; nothing may follow. */
MUST_USE int wire_get_hello(struct bytes body, struct wire_hello *out);
MUST_USE int wire_get_ack(struct bytes body, struct wire_ack *out);
MUST_USE int wire_get_heartbeat(struct bytes body, struct wire_heartbeat *out);
MUST_USE int wire_get_request(struct bytes body, struct wire_request *out);
MUST_USE int wire_get_credit(struct bytes body, uint64_t *out);
MUST_USE int wire_get_nack(struct bytes body, struct wire_nack *out);
MUST_USE int wire_get_bye(struct bytes body, struct wire_bye *out);

/* --- full sync: wire_sync.c --- */

/* Buckets of a range are 2^bits; WIRE_SYNC_ALL: there are no sums, all rows are wanted. */
#define WIRE_SYNC_BITS_MAX 16u
#define WIRE_SYNC_ALL      255u

/* Slots `first` to before `end`, and what the one who asks has there. */
struct wire_sync_range {
    uint16_t first;
    uint16_t end;
    uint8_t bits;
    uint64_t seed;
    struct bytes sums; /* 8 << bits, little-endian. */
};

/* The bytes of `differ`. */
static inline size_t wire_sync_differ_bytes(uint8_t bits)
{
    return bits == WIRE_SYNC_ALL ? 0 : (((size_t)1 << bits) + 7) >> 3;
}

/* The bucket of a row by its name. */
static inline uint32_t wire_sync_bucket(uint64_t name, uint8_t bits)
{
    return bits == 0 ? 0 : (uint32_t)(name >> (64 - bits));
}

/* The slot of a row by its key, which begins with it. */
uint16_t wire_sync_slot(struct bytes key);

static inline bool wire_sync_differs(struct bytes differ, uint32_t bucket)
{
    return (differ.ptr[bucket >> 3] & (1u << (bucket & 7))) != 0;
}

struct wire_sync_ask {
    uint32_t id;
    uint32_t turn;
    bool entered;
    bool goes_on;
    bool waits; /* Then the rest is not looked at. */
    struct wire_sync_range range;
    struct bytes after; /* Empty: from the start of the range. */
};

struct wire_row {
    struct bytes key; /* As rowkey.h has it. */
    struct bytes row;
};

struct wire_sync_rows {
    uint32_t id;
    uint32_t turn;
    bool last;
    bool gone;    /* Then nothing else is said. */
    uint16_t end; /* Slot before which the rows are, and where the range ends at the giver. */
    uint32_t flush;
    struct posv at;
    struct posv newest;
    struct core_acked acked; /* With the end of all: what its giver knows. */
    struct bytes differ;     /* Of the last ones, if there were sums. */
    uint32_t count;
    uint32_t read;
    struct bytes left; /* What wire_sync_next has not read yet. */
    struct bytes first_key;
    struct bytes last_key;
};

/* Replace `body`. 0, -ENOMEM or -ERR_LIMIT. Of `head`: all up to differ. */
MUST_USE int wire_build_sync_ask(struct buf *body, const struct wire_sync_ask *ask);
MUST_USE int wire_build_sync_rows(struct buf *body, const struct wire_sync_rows *head,
                                  const struct wire_row *rows, uint32_t count);

/* Appends the frame around a body, packed if that pays. 0, -ENOMEM or -ERR_LIMIT. */
MUST_USE int wire_put_body(struct buf *out, uint8_t kind, struct bytes body, struct pack *pack);

/*
 * 0 or -ERR_CORRUPT. All rows are sound (row.h) and their keys rise; the keys are not looked into:
 * the host parses them (rowkey.h) and refuses what is none.
 */
MUST_USE int wire_get_sync_ask(struct bytes body, struct wire_sync_ask *out);
MUST_USE int wire_get_sync_rows(struct bytes body, struct wire_sync_rows *out);

/* The next row; false after the last. */
bool wire_sync_next(struct wire_sync_rows *rows, struct wire_row *out);

/* --- batches: wire_batches.c --- */

/* What the two sides of a BATCHES frame remember of the batch before. */
struct wire_prev {
    uint64_t base_hlc; /* The prev hlc of the frame. */
    uint64_t hlc;
    struct vv ctx; /* Without the own origin. */
};

struct wire_batches_head {
    uint8_t origin;
    uint32_t generation; /* A reader has 0: it is in struct wire_frame. */
    uint64_t epoch;
    uint64_t first_seq;
    uint64_t prev_hlc; /* 0: not known. */
    uint32_t flush;    /* Of the first batch. */
};

/* Builds one frame. */
struct wire_writer {
    size_t bytes_target;
    unsigned plain; /* So many frames are not packed. */
    struct wire_batches_head head;
    uint32_t count;
    struct wire_prev prev;
    struct buf body;
};

/* A body of more than `bytes_target` has one batch only. Memory is kept from one use to the next.
 */
void wire_writer_init(struct wire_writer *w, size_t bytes_target);
void wire_writer_deinit(struct wire_writer *w);

void wire_writer_begin(struct wire_writer *w, const struct wire_batches_head *head);

/*
 * Adds the next batch, as it stands in the log. 0; -ERR_CORRUPT, -ERR_UNSUPPORTED, -ERR_FORMAT: of
 * the batch, or it is not the next one; -ERR_LIMIT: the frame is full, or the batch has another
 * flush epoch; -ENOMEM. After an error
 * nothing was added.
 */
MUST_USE int wire_writer_add(struct wire_writer *w, struct bytes batch);

/*
 * Appends the frame, packed if that pays. After a frame that packing made hardly shorter the next
 * few are not packed. 0, -ENOMEM or -ERR_LIMIT.
 */
MUST_USE int wire_writer_end(struct wire_writer *w, struct pack *pack, struct buf *out);

/* Reads one body. */
struct wire_reader {
    struct wire_batches_head head;
    uint32_t count;
    uint32_t read;
    struct wire_prev prev;
    struct bytes left;
};

/* 0 or -ERR_CORRUPT. `body` must outlive the reader. */
MUST_USE int wire_reader_init(struct wire_reader *r, struct bytes body);

enum wire_step {
    WIRE_END = 0,
    WIRE_BATCH = 1
};

/*
 * Replaces `out` by the next batch, as op.h has it, with all of its ops checked. WIRE_BATCH;
 * WIRE_END after the last, if nothing else follows; -ERR_CORRUPT; -ERR_UNSUPPORTED: an op of a
 * later version; -ERR_LIMIT, -ENOMEM.
 */
MUST_USE int wire_reader_next(struct wire_reader *r, struct buf *out);

#endif
