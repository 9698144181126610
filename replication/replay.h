/*
 * Replay: applies the log's records to the keyspace at start, in their order.
 *
 * What a record does here is what it did when it was made (mutate.c), except that rows may be
 * newer already (engine/space/recover.h tells why that does no harm).
 */
#ifndef TIERRA_REPLICATION_REPLAY_H
#define TIERRA_REPLICATION_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "engine/value/vv.h"

#include "replication/oplog.h"

struct keyspace;

struct replay {
    struct keyspace *ks;
    uint8_t origin;     /* Our own. */
    bool group;         /* Of a group: ops are joined (space/group.h). */
    uint32_t flush;     /* In a group: batches of a lower flush epoch have no effect. */
    uint64_t bytes_max; /* Beyond this (ks_recover_held) rows are written and demoted in between, */
    uint64_t room_bytes_min; /* but not before it has grown by so many since the last time. */
    /* Results. */
    struct vv vv;   /* Starts as that of the covered position. */
    struct vv seqs; /* In a group: the last sequence number of each origin; starts likewise. */
    uint64_t seq;   /* Highest of our own. */
    uint64_t lsn;
    uint64_t records;
    uint64_t ops;
    uint64_t bytes; /* Of the records. */
    uint64_t rooms; /* How often room was made. */
};

/*
 * Reads the vectors that the store keeps with its covered position into vv, seqs and seq; what is
 * behind them is not looked at. 0 or -ERR_CORRUPT.
 */
MUST_USE int replay_covered(struct replay *r, struct bytes covered);

/* An oplog_replay_fn; ctx is the struct replay. */
MUST_USE int replay_record(void *ctx, const struct oplog_record *record);

#endif
