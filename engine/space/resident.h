/*
 * Residency: whether what a command names is in DRAM, and fetching it if not.
 *
 *     ks_need_*  -> 0: there.  1: a read is under way; `wait`, if given, is called back.
 *
 * A command asks for everything it names. If all answers are 0 it runs at once; else it is parked
 * with one struct ks_wait, and when the last of its reads has come it is tried again from the
 * start. Several commands that need the same row share one read ("flight").
 *
 *     shard: flight ---> pool thread: store_multi_get ---> mailbox ---> shard: verify, install
 *
 * A row that is written while its read is in flight makes that flight stale: what it brings is
 * dropped, and read again if somebody still waits.
 *
 * A key that has come while its command still waits for others is pinned, through as many rounds as
 * the command takes: else a command that names several cold keys, or one that learns only from the
 * key row what else it needs, could chase them for ever when memory is short. The owner of the
 * struct ks_wait says when the command is over.
 *
 * How many reads are under way is bounded (ks_set_reads_bytes_max); who needs one more queues, the
 * oldest first, and reads ahead are not started at all when half of that is under way. A pin keeps
 * the key row of a hash or set, but not its elements, or one that is read all the time would only
 * grow. A command that had to try HOLD_ROUNDS times becomes the holder, if there is none: its pins
 * keep the elements, too. So what all commands need together may be more than fits; each has its
 * turn.
 *
 * An element that a read of its own has brought is fresh until a command finds or changes it, and
 * does not leave meanwhile: else a command of one field might read its row twice. What is fresh is
 * bounded as reads under way are; beyond that it may leave, and nothing more is read ahead.
 *
 * What a read brings becomes hot on probation: probationers stand in a small queue (probation.h)
 * and go cold again at its end unless they were touched a second time.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_RESIDENT_H
#define TIERRA_ENGINE_SPACE_RESIDENT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/list.h"

struct keyspace;
struct ks_key;

/* Embedded in whoever waits. Zero ({0}) is idle. */
struct ks_wait {
    void (*on_ready)(struct ks_wait *wait); /* Set by the owner before ks_need_*. */
    struct list flights;                    /* Its places in the queues of flights. */
    struct list pins;                       /* What has come already, and must stay until then. */
    uint32_t pending;
    uint32_t rounds;        /* So often its reads have come, and it had to try again. */
    bool queued;            /* For room to start a read, */
    bool served;            /* and its turn has come. */
    struct keyspace *holds; /* It is the holder of this one. */
    int err;                /* The first error of its reads; 0 if all is well. */
};

/* The key row: type, expiry, count; all of a string. `wait` NULL: only start the read. */
MUST_USE int ks_need_key(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait);

/*
 * In a group: what a write of the whole key has to know of it, whatever is in its place, which is
 * its key row, and whether it exists. It may stay cold.
 */
MUST_USE int ks_need_row(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait);

/* Existence and type alone: reads only if the key table cannot tell. */
MUST_USE int ks_need_existence(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait);

/* The key row, and one element (field, member) if the key is a hash, set or sorted set. */
MUST_USE int ks_need_elem(struct keyspace *ks, const struct ks_key *key, struct bytes sub,
                          struct ks_wait *wait);

/*
 * The key row and, if the key is a list, its first `front` and last `back` elements (or all that
 * there are). < 0: -ERR_LIMIT, they do not fit into a quarter of the memory; nothing was started.
 */
MUST_USE int ks_need_list(struct keyspace *ks, const struct ks_key *key, uint64_t front,
                          uint64_t back, struct ks_wait *wait);

/*
 * A part of the order of a sorted set, between two places (score bytes | member, rowkey.h; empty:
 * the begin, the end), but no more than `n` members of it from the low or, with `back`, from the
 * high end.
 */
struct ks_zset_need {
    struct bytes low;
    struct bytes high;
    uint64_t n;
    uint64_t n_max;     /* -ERR_LIMIT if more members have to be read, or */
    uint64_t bytes_max; /* more bytes have been, for a part that is not complete. 0: no limit but
                           that of all. */
    bool back;
};

/* The key row and, if the key is a sorted set, that part of it. < 0 as ks_need_list. */
MUST_USE int ks_need_zset(struct keyspace *ks, const struct ks_key *key,
                          const struct ks_zset_need *want, struct ks_wait *wait);

/* Everything. < 0 as ks_need_list. */
MUST_USE int ks_need_whole(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait);

/*
 * The key is hot already: it stays so while the others that the command names are read, and until
 * ks_wait_unpin. For a command that has to wait although this key is there.
 */
void ks_wait_pin(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait);

/* The command has run, or was refused: what was kept for it may go. */
void ks_wait_release(struct ks_wait *wait);
static inline void ks_wait_unpin(struct ks_wait *wait)
{
    if (wait->rounds != 0 || (wait->pins.head.next != NULL && !list_empty(&wait->pins)))
        ks_wait_release(wait);
}

/* Whether a read that nobody waits for yet would be started. */
bool ks_may_read_ahead(const struct keyspace *ks);

/* How much the reads under way may bring, all together. Bytes. */
void ks_set_reads_bytes_max(struct keyspace *ks, uint64_t bytes);

/*
 * From now on reads of rows gather, and the owner hands them to the readers together at the end of
 * each turn by ks_submit_reads; many are handed over before that. Otherwise each is at once.
 */
void ks_gather_reads(struct keyspace *ks);
void ks_submit_reads(struct keyspace *ks);

/* The owner no longer wants to be called, nor anything kept. No effect on an idle one. */
void ks_wait_cancel(struct ks_wait *wait);

#endif
