/*
 * What the members of a group agree on, as a value.
 *
 * A membership is one link of a chain: each change makes the next epoch and names the checksum of
 * the one before. It lists every member there ever was, so that an origin number is given once and
 * never again, and where the history of each former member ends, shard by shard. members.h is what
 * one shard sees of it (membership_shard).
 *
 * Lineage. Ordinary changes need a majority of the previous epoch, so that there is one next epoch.
 * A change made by force does not: it begins a lineage of its own, whose random number it adds to
 * the list of forks. Of two memberships one is older than the other exactly if its forks are the
 * first ones of the other's, and those that the other has more came later; else they were forced
 * apart and have nothing to do with each other any more. The list is short: each fork costs a
 * member.
 *
 * Bytes, as a node keeps them and as members send them. Integers are little-endian; a text is its
 * length 1 | bytes.
 *
 *     0   4  "TMBR"
 *     4   1  format version 1
 *     5   3  zeros
 *     8   16 group id
 *     24  8  epoch, from 1
 *     32  8  sum of the previous epoch's bytes; 0 in epoch 1
 *     40  8  flush epoch as of this change, at most MEMBERSHIP_FLUSH_MAX
 *     48  1  forks, then as often: epoch 8 | lineage 8; ascending, the first is the founding
 *            text nickname
 *            configuration: text sku | maxmemory 8 | maxflash 8 | text eviction policy |
 *              text clustering policy | shards 2 | text modules | tls 1
 *         1  members, then as often, in the order of their origin numbers 1, 2, ..:
 *              state 1 | incarnation 8 | text name | text address |
 *              if sealed or left, for each shard: last sequence varint
 *         8  sum64 of all that stands before: the next epoch names it
 */
#ifndef TIERRA_REPLICATION_GROUP_MEMBERSHIP_H
#define TIERRA_REPLICATION_GROUP_MEMBERSHIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "replication/group/members.h"

#define MEMBERSHIP_FORMAT         1u
#define MEMBERSHIP_ID_BYTES       16u
#define MEMBERSHIP_EVER_MAX       VV_ORIGINS_MAX
#define MEMBERSHIP_SHARDS_MAX     256u
#define MEMBER_NAME_BYTES         61u  /* With the zero. */
#define MEMBERSHIP_ADDRESS_BYTES  128u /* With the zero. */
#define MEMBERSHIP_SKU_BYTES      32u
#define MEMBERSHIP_POLICY_BYTES   32u
#define MEMBERSHIP_MODULES_BYTES  128u
#define MEMBERSHIP_NICKNAME_BYTES MEMBER_NAME_BYTES
#define MEMBERSHIP_FLUSH_MAX      UINT32_MAX /* Flush epoch: what shards and batches count with. */

/* The most that one takes, with every member sealed. */
#define MEMBERSHIP_BYTES_MAX                  \
    (49u + 16u * MEMBERSHIP_EVER_MAX + 512u + \
     MEMBERSHIP_EVER_MAX *                    \
         (9u + MEMBER_NAME_BYTES + MEMBERSHIP_ADDRESS_BYTES + 10u * MEMBERSHIP_SHARDS_MAX))

/* What all members of a group have alike. */
struct membership_config {
    char sku[MEMBERSHIP_SKU_BYTES];
    uint64_t maxmemory_bytes;
    uint64_t maxflash_bytes;
    char eviction[MEMBERSHIP_POLICY_BYTES];
    char clustering[MEMBERSHIP_POLICY_BYTES];
    uint16_t shards;
    char modules[MEMBERSHIP_MODULES_BYTES];
    bool tls;
};

enum membership_state {
    MEMBERSHIP_NONE = MEMBER_NONE,
    MEMBERSHIP_JOINING = MEMBER_JOINING, /* Receives; does not vote and does not write yet. */
    MEMBERSHIP_ACTIVE = MEMBER_ACTIVE,
    MEMBERSHIP_SEALED = MEMBER_SEALED, /* Unlinked by force. */
    MEMBERSHIP_LEFT                    /* Left by itself; for a shard it is sealed as well. */
};

struct membership_member {
    uint8_t state; /* enum membership_state */
    uint64_t incarnation;
    char name[MEMBER_NAME_BYTES];
    char address[MEMBERSHIP_ADDRESS_BYTES];
    uint64_t sealed_seq[MEMBERSHIP_SHARDS_MAX]; /* If sealed or left. */
};

struct membership_fork {
    uint64_t epoch;
    uint64_t lineage;
};

/* Large: keep it on the heap, copy it by membership_copy. */
struct membership {
    uint64_t epoch; /* 0: there is none. */
    uint64_t prev_sum;
    uint64_t sum; /* As of the last encode or decode. */
    uint64_t flush_epoch;
    uint8_t group_id[MEMBERSHIP_ID_BYTES];
    uint8_t forks_count;
    uint8_t count;
    struct membership_fork forks[MEMBERSHIP_EVER_MAX];
    char nickname[MEMBERSHIP_NICKNAME_BYTES];
    struct membership_config config;
    struct membership_member at[MEMBERSHIP_EVER_MAX]; /* By origin number, less one. */
};

/* Sets of origin numbers. */
typedef uint32_t membership_set;

static inline membership_set membership_bit(uint8_t origin)
{
    return (membership_set)1 << (origin - 1);
}

static inline unsigned membership_set_count(membership_set set)
{
    return (unsigned)__builtin_popcount(set);
}

/* 1 to 60 letters, digits and hyphens, these not at the ends nor two in a row. */
bool membership_name_valid(struct bytes name);

/* Printable ASCII without blanks, 1 to 127 bytes. */
bool membership_address_valid(struct bytes address);

void membership_copy(struct membership *into, const struct membership *from);

/* NULL: there is no such member. */
static inline const struct membership_member *membership_find(const struct membership *m,
                                                              uint8_t origin)
{
    return origin == 0 || origin > m->count ? NULL : &m->at[origin - 1];
}

static inline bool membership_live(const struct membership_member *member)
{
    return member->state == MEMBERSHIP_JOINING || member->state == MEMBERSHIP_ACTIVE;
}

/* Those who vote; those who receive, too. */
membership_set membership_active(const struct membership *m);
membership_set membership_live_set(const struct membership *m);

/* Former members: unlinked or left. */
membership_set membership_ended(const struct membership *m);

/* Origin numbers; 0: none. By name: only of members that are not sealed and have not left. */
uint8_t membership_by_incarnation(const struct membership *m, uint64_t incarnation);
uint8_t membership_by_name(const struct membership *m, struct bytes name);

/* Which number this lineage has. */
static inline uint64_t membership_lineage(const struct membership *m)
{
    return m->forks_count == 0 ? 0 : m->forks[m->forks_count - 1].lineage;
}

/* --- changes; each on a copy, after membership_next --- */

/* Epoch 1 without members yet. */
void membership_found(struct membership *m, const uint8_t group_id[MEMBERSHIP_ID_BYTES],
                      uint64_t lineage, struct bytes nickname,
                      const struct membership_config *config);

/* Makes `*m` the next epoch of itself, with nothing changed yet. */
void membership_next(struct membership *m);

/* The change is made by force: a new lineage. */
void membership_fork(struct membership *m, uint64_t lineage);

/*
 * Adds a member; its origin number. 0: all are used up, or there are five. Name and address must be
 * valid, and not in use.
 */
MUST_USE uint8_t membership_add(struct membership *m, uint64_t incarnation, struct bytes name,
                                struct bytes address, enum membership_state state);
void membership_set_active(struct membership *m, uint8_t origin);
/* `seqs`: one for each shard of the configuration. */
void membership_seal(struct membership *m, uint8_t origin, enum membership_state state,
                     const uint64_t *seqs);
/* Of a former member: nobody has more any more. */
void membership_seal_again(struct membership *m, uint8_t origin, const uint64_t *seqs);

/* --- comparing --- */

enum membership_order {
    MEMBERSHIP_SAME,
    MEMBERSHIP_OLDER,  /* The second continues the first. */
    MEMBERSHIP_NEWER,  /* The first continues the second. */
    MEMBERSHIP_FORKED, /* Forced apart. */
    MEMBERSHIP_OTHER   /* Another group. */
};

enum membership_order membership_compare(const struct membership *a, const struct membership *b);

/*
 * Whether there is any difference; appends each to `out`, as "maxmemory is 5 here and 6 in the
 * group; ..", as far as its limit goes.
 */
bool membership_config_diff(const struct membership_config *here,
                            const struct membership_config *group, struct buf *out);

/* --- views and bytes --- */

void membership_shard(const struct membership *m, unsigned shard, struct members *out);

/* Appends the bytes and sets m->sum. 0, -ENOMEM or -ERR_LIMIT. */
MUST_USE int membership_encode(struct membership *m, struct buf *out);

/* All of `in`. 0, -ERR_CORRUPT, or -ERR_FORMAT: of a later version. `*out` may be half written. */
MUST_USE int membership_decode(struct bytes in, struct membership *out);

/* The configuration alone, as it stands in a membership. */
MUST_USE int membership_config_encode(const struct membership_config *config, struct buf *out);
MUST_USE int membership_config_decode(struct bytes *in, struct membership_config *out);

/* A text as above: cut off the front of `*in` into `out` of `size` bytes, with a zero. */
MUST_USE int membership_text_get(struct bytes *in, char *out, size_t size);
MUST_USE int membership_text_put(struct buf *out, const char *text);

#endif
