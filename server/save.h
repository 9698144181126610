/*
 * SAVE, BGSAVE and BGREWRITEAOF: everything to the store, on purpose.
 *
 * All shards work at once, each driven by its timer:
 *
 *     FLUSH   rows that changed before the save began are written back
 *     STORE   on the maintenance thread: a checkpoint of the store, or a flush of it
 *
 * A checkpoint is a data directory of hard links, <dir>/checkpoints/<time>, without an op log:
 * hence the first start on a copy of it takes accept-loss. It is built under a name that ends in
 * .tmp; the shard that ends last renames it and removes the older ones. A flush alone lets the op
 * log drop what the store has: that is what rewriting an append-only file is for.
 *
 * Started by shard 0's thread. Other shards see the start by `ticket`, shard 0 sees the end by
 * `left`.
 */
#ifndef TIERRA_SERVER_SAVE_H
#define TIERRA_SERVER_SAVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

#include "engine/io/pool.h"
#include "engine/store/store.h"

struct node;
struct request;
struct shard;

enum save_kind {
    SAVE_FLUSH,
    SAVE_CHECKPOINT
};

#define SAVE_PATH_BYTES 4400

struct save {
    _Atomic uint64_t ticket;   /* Of the last save that was started. */
    _Atomic uint32_t left;     /* Shards that have not ended it. */
    _Atomic int err;           /* The first error of a shard; */
    char why[STORE_WHY_BYTES]; /* its text, of who set it. */
    /* Of shard 0's thread. */
    uint64_t done; /* Ticket of the last save that ended. */
    enum save_kind kind;
    bool running;
    bool flush_scheduled; /* A BGREWRITEAOF waits for the end of a checkpoint. */
    bool save_scheduled;  /* A BGSAVE SCHEDULE for that of a flush. */
    int last_err;         /* Of the last one of any kind; of the last one of each: */
    int kind_err[2];
    char last_why[STORE_WHY_BYTES]; /* Of the last one that failed. */
    uint64_t kind_count[2];         /* Ended well. */
    uint64_t kind_s[2];             /* How long the last one took; UINT64_MAX: there was none. */
    uint64_t started_s;
    uint64_t saved_s; /* End of the last checkpoint. */
    uint64_t changes; /* Before the last checkpoint that ended; */
    uint64_t changes_at_start;
    char path[SAVE_PATH_BYTES]; /* Of the checkpoint under way, without ".tmp". */
};

/* What INFO shows. */
struct save_figures {
    bool running;
    bool flush_scheduled;
    enum save_kind kind;
    int kind_err[2];
    uint64_t kind_count[2];
    uint64_t kind_s[2];
    uint64_t started_s;
    uint64_t saved_s;
    uint64_t changes; /* Before the last checkpoint that ended. */
};

/* Of one shard. */
struct save_shard {
    struct shard *sh;
    struct pool_class cls;
    struct pool_job job;
    uint64_t ticket; /* The last one that was taken up. */
    uint64_t target_lsn;
    uint64_t here_lsn; /* save_flush_here wants the rows up to it in the store. */
    bool flushing;
    bool busy; /* The job is under way. */
    bool vain; /* Store or log take no writes: the job only says so, and why. */
    char vain_why[STORE_WHY_BYTES];
};

void save_init(struct save *save, uint64_t now_s);
void save_shard_init(struct shard *sh);

/* False: one is running already. Shard 0's thread. */
bool save_start(struct node *node, enum save_kind kind);

/*
 * For a handler that replies when a save has ended: false, with the request parked, until one that
 * began after the first call has.
 */
MUST_USE bool save_wait(struct request *rq, enum save_kind kind);

/* Rows that changed up to `lsn` are to be written back without delay. To be repeated until so. */
void save_flush_up_to(struct shard *sh, uint64_t lsn);

/* The shard's timer. */
void save_step(struct shard *sh);

/* Rows are to be written back without delay. */
bool save_wants_flush(const struct shard *sh);

/* Shard 0's thread. */
void save_figures(const struct node *node, struct save_figures *out);

/*
 * For a handler that runs on every shard: false, with the request parked, until what had changed at
 * the first call is in the shard's store.
 */
MUST_USE bool save_flush_here(struct request *rq);

#endif
