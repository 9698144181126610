/*
 * Whether members show the same: what they tell each other for it, and how it is judged.
 *
 * Each member sums up what it shows, in buckets of slots (engine/value/row_sum.h). That takes a
 * while, in which ops come and go; so with the sums it says, for each shard, a lower and an upper
 * position: the sums have every op up to the lower one and none beyond the upper one. Of two
 * members whose sums of a bucket differ:
 *
 *     all four positions are the same      DIFFERS: they show different things for the same ops
 *     in the round before both had the     DIFFERS: what either shows has not changed since, and
 *     sums that they have now, and the     each has by now what the other had then
 *     lower position of each is not below
 *     the upper one of the other then
 *     else                                 MOVING: some ops may be on their way; ask again
 *
 * Equal sums are SAME; that the members agree is certain where the windows of both overlap, which
 * means that neither has, at its lower position, what the other lacks at its upper one.
 *
 * Messages, each one frame of a control connection (server/group_talk.h), integers little-endian:
 *
 *     0   4  "TDIG"
 *     4   1  version 1
 *     5   1  kind
 *     6   1  origin of the sender
 *     7   1  zero
 *     8   8  sum64_seed of all from byte 16 on, its seed being bytes 0 .. 7 as an integer
 *     16  16 group id
 *     32  8  number of the question, chosen by the one who asks
 *     40     body
 *
 *     1 ASK     at_ms 8 | first bucket 2 | bucket beyond the last 2 | bytes of names wanted 4
 *     2 ANSWER  status 1 (enum digest_status) | names are cut 1 | flush epoch 4 | keys 8 |
 *               damaged rows 8 | first bucket 2 | bucket beyond 2 | shards 2 | for each shard:
 *               lower posv, upper posv (posv.h) | for each bucket: sum 8 | length 4 | names, each:
 *               sum 8 | length 2 | name.  Of a status other than OK: the first byte alone
 *
 * Pure.
 */
#ifndef TIERRA_REPLICATION_GROUP_DIGEST_H
#define TIERRA_REPLICATION_GROUP_DIGEST_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "engine/value/row_sum.h"

#include "replication/group/membership.h"
#include "replication/group/posv.h"

#define DIGEST_NAMES_BYTES_MAX (64u << 10)

enum digest_kind {
    DIGEST_ASK = 1,
    DIGEST_ANSWER = 2
};

enum digest_status {
    DIGEST_OK = 0,
    DIGEST_WORKING = 1, /* The answer is still to come. */
    DIGEST_BUSY = 2,    /* The keys are being exchanged: a flush, a copy. */
    DIGEST_LATE = 3,    /* It took longer than until at_ms. */
    DIGEST_FAILED = 4,
    DIGEST_STATUS_END
};

struct digest_ask {
    uint64_t at_ms;
    uint16_t first;
    uint16_t end;
    uint32_t names_bytes_max; /* 0: none are wanted. */
};

/* What one member says. */
struct digest_side {
    uint8_t status; /* enum digest_status; nothing else counts unless OK. */
    bool names_cut;
    uint32_t flush;
    uint64_t keys;
    uint64_t damaged;
    uint16_t first;
    uint16_t end;
    uint16_t shards_count;
    struct posv lower[MEMBERSHIP_SHARDS_MAX];
    struct posv upper[MEMBERSHIP_SHARDS_MAX];
    uint64_t sums[ROW_SUM_BUCKETS]; /* By bucket; 0 outside of first .. end. */
    struct buf names;
};

/* Large: on the heap, never NULL. */
MUST_USE struct digest_side *digest_side_create(void);
void digest_side_destroy(struct digest_side *side); /* NULL is allowed. */

/* --- messages --- */

struct digest_head {
    uint8_t kind;
    uint8_t origin;
    uint8_t group_id[MEMBERSHIP_ID_BYTES];
    uint64_t number;
};

/* By its first bytes. */
bool digest_is_message(struct bytes in);

/* Replace the content of `out`. 0, -ENOMEM, or -ERR_LIMIT. */
MUST_USE int digest_put_ask(const struct digest_head *head, const struct digest_ask *ask,
                            struct buf *out);
MUST_USE int digest_put_answer(const struct digest_head *head, const struct digest_side *side,
                               struct buf *out);

/* 0, -ERR_CORRUPT or -ERR_UNSUPPORTED; `*out_body` is for the functions below. */
MUST_USE int digest_open(struct bytes in, struct digest_head *out, struct bytes *out_body);
/* 0 or -ERR_CORRUPT. */
MUST_USE int digest_get_ask(struct bytes body, struct digest_ask *out);
/* 0, -ERR_CORRUPT or -ENOMEM; then what is in `out` does not count. */
MUST_USE int digest_get_answer(struct bytes body, struct digest_side *out);

/* The next of the names; false at the end, or if what follows is damaged. */
bool digest_next_name(struct bytes *names, struct bytes *out_name, uint64_t *out_sum);

/* --- judgement --- */

enum digest_verdict {
    DIGEST_SAME,
    DIGEST_MOVING,
    DIGEST_DIFFERS
};

/* The sums of both can be of the same ops: their windows overlap. */
bool digest_overlap(const struct digest_side *a, const struct digest_side *b);

/*
 * Of one bucket. `a_before`, `b_before`: what both said in the round before; NULL: there was none.
 * All are OK.
 */
enum digest_verdict digest_judge(uint16_t bucket, const struct digest_side *a,
                                 const struct digest_side *b, const struct digest_side *a_before,
                                 const struct digest_side *b_before);

#endif
