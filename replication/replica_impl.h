/*
 * The inside of a replica, shared by the files that implement it: replica.c (inputs, questions,
 * the host's functions of the core), replica_log.c (records for peers that lag), replica_give.c (a
 * copy for a new member), replica_take.c (a copy made here), replica_join.c and replica_alike.c
 * (own rows beside it, in a resync), replica_same.c (sums for that), replica_lease.c (the clock),
 * replica_note.c (what the store says of itself), replica_room.c (room for what peers send),
 * replica_sums.c (sums of what is shown). Not for users of replica.h.
 */
#ifndef TIERRA_REPLICATION_REPLICA_IMPL_H
#define TIERRA_REPLICATION_REPLICA_IMPL_H

#include "engine/base/buf.h"
#include "engine/base/list.h"

#include "engine/io/mailbox.h"
#include "engine/io/pool.h"
#include "engine/space/keysums.h"
#include "engine/store/store.h"
#include "engine/store/store_batch.h"

#include "replication/replica.h"

#define REPLICA_RETRY_MS 1000u /* After an error of the disk. */

/* --- the lease of the clock --- */

#define LEASE_BYTES 24u

struct lease {
    struct pool_class cls;
    struct pool_job job;
    char *path;
    uint8_t bytes[LEASE_BYTES];
    uint64_t hlc;     /* On disk. */
    uint64_t writing; /* Being written; 0: nothing is. */
    uint64_t retry_ms;
    int err; /* The job's. */
};

/* --- records from the log --- */

/* Of each origin, no record up to `lsn` that can still be read is beyond these numbers. */
struct log_place {
    uint64_t lsn;
    struct vv seqs;
};

#define LOG_PLACES_MAX 512u

struct log_reads {
    struct pool_class read_class;
    struct pool_class close_class;
    struct list slots;   /* One for each peer that something is read for. */
    struct list cursors; /* Not in use, the one used last in front. */
    uint32_t cursors_count;
    struct log_place *places; /* Ascending. */
    uint32_t places_count;
    uint64_t step;  /* Bytes of log between two places. */
    uint64_t bytes; /* Logged since the last one. */
};

/* --- a copy made here --- */

/* One's own rows joined to those of a peer: replica_join.c. */
struct join {
    struct vv mine;   /* What the own rows have seen, */
    struct vv theirs; /* and those of the peer. */
    struct buf after; /* All rows up to this key are joined. */
    bool under_way;
    bool end;
};

/* Own rows that a peer has the same: replica_alike.c. */
struct alike {
    uint16_t first;               /* Slot where the next range begins. */
    struct wire_sync_range range; /* Summed up last; the sums stand in `sums`. */
    struct buf sums;
    struct buf differ; /* Of its buckets, those where the peer has others. */
    struct buf after;  /* All rows up to this key are in the new store. */
    bool under_way;
    bool reading; /* What the peer sent is stored: own rows are. */
    bool end;
};

enum take_state {
    TAKE_IDLE,      /* The core asks, or no copy is wanted. */
    TAKE_ROWS,      /* Rows are to be stored. */
    TAKE_WRITING,   /* They are being. */
    TAKE_SUM,       /* Of a resync: the next range of own rows is to be summed up. */
    TAKE_SUMMING,   /* Is being. */
    TAKE_ALIKE,     /* Rows of a range are stored: own ones that are the same are to follow. */
    TAKE_READING,   /* Are being read. */
    TAKE_JOIN,      /* That was all, of a resync: own rows are to be joined to them. */
    TAKE_JOINING,   /* Are being compared. */
    TAKE_FINISH,    /* That was all: to be made durable, when nobody reads what is kept. */
    TAKE_FINISHING, /* Is being. */
    TAKE_KEEP       /* Is: in a resync, the host is to make it the one that counts. */
};

struct take {
    struct pool_class cls;
    struct pool_job job;
    struct store_batch batch;
    struct buf rows; /* key length 4, row length 4, key, row; little-endian. */
    uint32_t count;
    enum take_state state;
    bool aside_due;     /* What comes waits for the host's set_aside, or for an empty store. */
    bool has_rows;      /* Of a copy that is no resync: the store has some. */
    struct store *kept; /* Of a resync: our own rows; NULL: it is none. */
    struct pool_class join_cls;
    struct join join;
    struct pool_class alike_cls;
    struct alike alike;
    bool copying;    /* The store has a part of a copy, or will soon. */
    bool stale;      /* What waits is from before a flush. */
    bool flush;      /* The job's: make it persistent. */
    int refused;     /* What waits makes no sense. */
    int err;         /* The job's. */
    uint32_t unread; /* How often own rows could not be read; up to UNREAD_MAX. */
    uint64_t retry_ms;
    struct posv at; /* Of TAKE_FINISH. */
    struct posv newest;
};

/* --- sums of what is shown --- */

enum sums_state {
    SUMS_IDLE,
    SUMS_WRITING, /* What is to be in the store by then is being written back. */
    SUMS_PAUSE,   /* A slice has been read; the next one begins with the next tick. */
    SUMS_READING, /* A slice is being read. */
    SUMS_DONE
};

struct sums {
    struct pool_class cls;
    struct pool_job job;
    enum sums_state state;
    struct replica_sums_ask ask;
    struct replica_sums_ask next; /* If `again`: asked for while a slice was being read. */
    bool again;
    uint64_t lsn; /* To be in the store before it is read. */
    uint64_t begun_ms;
    struct replica_sums result;
    /* The job's while it runs. */
    struct keysums *walk;
    struct buf keys;
    int err;
};

/* --- room for what peers send --- */

#define ROOM_WHY_BYTES 384u

struct room {
    bool full;                /* There was none for a while. */
    bool said;                /* In the log. */
    uint64_t other_ms;        /* Since when it is the other way round; 0: it is not. */
    uint64_t full_ms;         /* Since when it is full. */
    uint64_t said_ms;         /* The last time. */
    uint64_t asked_ms;        /* When a batch was last asked for, */
    size_t asked_bytes;       /* and its length. */
    char why[ROOM_WHY_BYTES]; /* There was none the last time. */
};

/* --- all of it --- */

struct replica {
    struct replica_options options;
    struct core *core;
    struct replica_metrics metrics;
    uint64_t now_ms;   /* Monotonic. */
    uint64_t clock_ms; /* core_clock_ms, as of the last tick. */
    uint32_t jobs;     /* On the pools. */
    bool stopping;
    bool has_members;
    uint32_t flush;        /* Of the keys. */
    uint32_t flush_wanted; /* Of the group: the keys go when it is higher. */
    uint64_t empty_retry_ms;
    struct posv newest; /* What the rows of a copy may hold. */
    uint64_t durable_lsn;
    uint64_t horizons_at_ms;
    uint64_t trim_lsn;
    struct lease lease;
    struct log_reads reads;
    struct pool_class give_class;
    struct list gives; /* One for each peer that was ever given a copy. */
    struct take take;
    struct sums sums;
    struct room room;
};

/* The keys are about to go. */
static inline bool replica_flush_due(const struct replica *r)
{
    return r->flush_wanted != r->flush;
}

/* --- replica_note.c --- */

/* What the store keeps behind the two vectors, as it is now; into `dst`. */
size_t replica_note_store(const struct replica *r, uint8_t *dst);
/* The vectors, then the note. */
size_t replica_covered_store(const struct replica *r, const struct vv *vv, const struct vv *seqs,
                             uint8_t *dst);
/* Tells the keyspace of the note as it is now. */
void replica_note_changed(struct replica *r);
/* What the store keeps; all but covered_lsn. 0 or -ERR_CORRUPT. */
MUST_USE int replica_note_parse(struct bytes covered, struct replica_note *out);

/* What was recovered is of members, whether or not they still are. 0, or -ERR_CORRUPT with `why`.
 */
MUST_USE int replica_check_origins(const struct replica_state *state, const struct members *members,
                                   char *why, size_t why_len);

/* --- replica_lease.c --- */

MUST_USE int replica_lease_open(struct replica *r, char *why, size_t why_len);
void replica_lease_close(struct replica *r);
void replica_lease_tick(struct replica *r);
/* What every local batch from now on is above, also after a crash. */
uint64_t replica_lease_hlc(const struct replica *r);

/* --- replica_log.c --- */

void replica_log_init(struct replica *r);
void replica_log_deinit(struct replica *r);
/* A record was logged. */
void replica_log_note(struct replica *r, uint64_t lsn, size_t len);
void replica_log_tick(struct replica *r);
void replica_log_fetch(struct replica *r, const struct core_fetch *fetch);
/* Closes what is not in use. */
void replica_log_stop(struct replica *r);
size_t replica_log_bytes(const struct replica *r);

/* --- replica_give.c --- */

void replica_give_init(struct replica *r);
void replica_give_deinit(struct replica *r);
void replica_give_open(struct replica *r, uint8_t peer, uint32_t id);
void replica_give_read(struct replica *r, uint8_t peer, const struct wire_sync_ask *ask,
                       size_t bytes_max);
void replica_give_close(struct replica *r, uint8_t peer);
/* Closes all. True: nothing is open on the store. */
bool replica_give_close_all(struct replica *r);
size_t replica_give_bytes(const struct replica *r);

/* --- replica_room.c --- */

/* NULL: there is; else why not (struct replica_host). */
const char *replica_no_room(struct replica *r, enum replica_room what, size_t len);
/* The same of a batch that has come. */
const char *replica_no_room_for_batch(struct replica *r, size_t len);
/* Before core_tick. */
void replica_room_tick(struct replica *r);

/* --- replica_sums.c --- */

void replica_sums_init(struct replica *r);
void replica_sums_deinit(struct replica *r);
void replica_sums_tick(struct replica *r);
/* Nothing is being read. */
bool replica_sums_idle(const struct replica *r);
size_t replica_sums_bytes(const struct replica *r);

/* --- replica_take.c --- */

void replica_take_init(struct replica *r);
void replica_take_deinit(struct replica *r);
void replica_take_begin(struct replica *r);
/* Rows of another checkpoint follow: what there is of a copy goes, own rows are put aside. */
void replica_take_aside(struct replica *r);
void replica_take_sum(struct replica *r, uint16_t first);
void replica_take_rows(struct replica *r, struct wire_sync_rows *rows);
void replica_take_finish(struct replica *r, const struct posv *at, const struct posv *newest,
                         bool joins);
/* Own rows could not be read, time after time. */
bool replica_take_is_stuck(const struct replica *r);
/* The group was emptied: what waits is worthless. */
void replica_take_flushed(struct replica *r);
/* Goes on with what waits, answers the core. Never from within it. */
void replica_take_tick(struct replica *r);
/* The host puts the own rows aside, or throws a part of a copy away, when it can. From
 * replica_turn. */
void replica_take_set_aside(struct replica *r);
size_t replica_take_bytes(const struct replica *r);
/* Nothing is being written. */
bool replica_take_idle(const struct replica *r);
/* 0, -ENOMEM or -ERR_LIMIT: a peer decides how much it is. */
MUST_USE int replica_take_put_row(struct buf *rows, struct bytes key, struct bytes row);

/* --- replica_alike.c --- */

/* Maintenance thread: sums of the next range; own rows that are the same, into take.rows. */
MUST_USE int replica_alike_sum(struct replica *r);
MUST_USE int replica_alike_piece(struct replica *r);

/* --- replica_join.c --- */

/* Maintenance thread: the next rows that change, into take.rows. 0 or the error of a store. */
MUST_USE int replica_join_piece(struct replica *r);

#endif
