/*
 * What control sends: one message in one frame, of a connection or datagram below that delivers
 * whole frames and authenticates whom it is connected to.
 *
 * Integers are little-endian; texts, configurations and memberships as in membership.h; a ballot is
 * round 8 | origin 1; a set of origins is 4 bytes, bit i for origin i + 1.
 *
 *     0   4  "TCTL"
 *     4   1  protocol version 1; 0 .. 7 and the sum stay the same in all versions
 *     5   1  kind
 *     6   1  mode: 0 ordinary, 1 by force
 *     7   1  zero
 *     8   8  sum64_seed of all from byte 16 on, its seed being bytes 0 .. 7 as an integer
 *     16  16 group id; zeros: none yet
 *     32  8  incarnation of the sender
 *     40  8  epoch of the sender's membership; 0: none
 *     48  8  its sum
 *     56  8  flush epoch, at most MEMBERSHIP_FLUSH_MAX: the last that the sender has on disk
 *     64     body
 *
 * Bodies by kind:
 *
 *     1 HELLO     nothing: the head tells what is new
 *     2 VALUE     a membership that is committed
 *     3 PREPARE   ballot | set of those whose history is to end
 *     4 PROMISE   ballot | ballot of the accepted value, or zeros | the value, if any
 *     5 POSITIONS ballot | set of origins | for each of these, for each shard: seq varint
 *     6 ACCEPT    ballot | membership
 *     7 ACCEPTED  ballot
 *     8 REJECT    ballot that was promised to another
 *     9 JOIN      holds data 1 | text nickname | text name | text address | configuration
 *    10 REFUSE    reason 1 | text length 2 | text
 *    11 RETIRE    nothing: the sender is to be unlinked, it begins anew
 *
 * 3 to 8 are about the epoch after the one in the head. A receiver of another epoch answers with
 * HELLO or VALUE, whichever brings the two together.
 */
#ifndef TIERRA_REPLICATION_GROUP_CONTROL_MSG_H
#define TIERRA_REPLICATION_GROUP_CONTROL_MSG_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "replication/group/control.h"

#define CONTROL_PROTOCOL   1u
#define CONTROL_HEAD_BYTES 64u

enum control_kind {
    CONTROL_HELLO = 1,
    CONTROL_VALUE = 2,
    CONTROL_PREPARE = 3,
    CONTROL_PROMISE = 4,
    CONTROL_POSITIONS = 5,
    CONTROL_ACCEPT = 6,
    CONTROL_ACCEPTED = 7,
    CONTROL_REJECT = 8,
    CONTROL_JOIN = 9,
    CONTROL_REFUSE = 10,
    CONTROL_RETIRE = 11,
    CONTROL_KIND_END
};

enum control_mode {
    CONTROL_ORDINARY = 0,
    CONTROL_BY_FORCE = 1,
    CONTROL_MODES = 2
};

struct control_ballot {
    uint64_t round; /* 0: none. */
    uint8_t origin;
};

static inline int control_ballot_cmp(struct control_ballot a, struct control_ballot b)
{
    if (a.round != b.round)
        return a.round < b.round ? -1 : 1;
    return (a.origin > b.origin) - (a.origin < b.origin);
}

struct control_join {
    bool holds_data;
    char nickname[MEMBERSHIP_NICKNAME_BYTES];
    char name[MEMBER_NAME_BYTES];
    char address[MEMBERSHIP_ADDRESS_BYTES];
    struct membership_config config;
};

struct control_msg {
    uint8_t kind; /* enum control_kind */
    uint8_t mode; /* enum control_mode */
    uint8_t group_id[MEMBERSHIP_ID_BYTES];
    uint64_t incarnation;
    uint64_t epoch;
    uint64_t sum;
    uint64_t flush_epoch;

    struct control_ballot ballot;
    struct control_ballot accepted; /* PROMISE */
    membership_set set;             /* PREPARE, POSITIONS */
    struct bytes value;             /* Borrowed: a membership, or the positions. */
    struct control_join join;
    uint8_t reason; /* enum control_reason */
    char text[CONTROL_TEXT_BYTES];
};

/* Appends a ballot. 0, -ENOMEM or -ERR_LIMIT. Cuts one off the front of `*in`. 0 or -ERR_CORRUPT.
 */
MUST_USE int control_ballot_put(struct buf *out, struct control_ballot ballot);
MUST_USE int control_ballot_get(struct bytes *in, struct control_ballot *out);

/* Replaces the content of `out`. 0, -ENOMEM or -ERR_LIMIT. */
MUST_USE int control_msg_encode(const struct control_msg *msg, struct buf *out);

/*
 * 0; -ERR_CORRUPT; -ERR_UNSUPPORTED: of another protocol version. What is borrowed is `in`; values
 * are not looked into.
 */
MUST_USE int control_msg_decode(struct bytes in, struct control_msg *out);

#endif
