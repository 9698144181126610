/*
 * When RocksDB fails: what the shard does until its store takes writes again.
 *
 *      well ----- a write, flush or compaction failed -----> ailing
 *       ^                                                      |  after a pause, 0.1 s at first,
 *       |    store_flush says that all is well again           |  twice as long each time, 30 s at
 *       +---- or the disk takes a file, and store_reopen ------+  most
 *             and store_flush succeed
 *
 * While it is ailing
 *   - dirty rows stay in DRAM, where reads find them; no batch is built;
 *   - commands that grow the data get MISCONF with the reason, others run;
 *   - no member of the group is given a copy: it begins again behind its last key, here or
 * elsewhere;
 *   - the old files stay open, and cold rows are read from them, until the disk has taken and
 * synced a small file: a disk that refuses that will not take what an open writes. An open that
 * fails nevertheless leaves the store closed until the next attempt, and cold rows unread.
 *
 * Nothing is replayed from the op log: store_reopen brings back what was in memtables, and what was
 * not there is dirty. The log keeps all of it until it is persistent, so that a crash meanwhile is
 * one as any other.
 *
 * A pause begins where the last one ended if the error comes back within a minute, so that a
 * damaged file over which each compaction stumbles does not make the store close all the time.
 *
 * Errors of compactions come to light with the next write; where there is none, a look each second
 * finds them. Attempts run on the maintenance thread; the rest belongs to the shard's.
 */
#ifndef TIERRA_SERVER_MEND_H
#define TIERRA_SERVER_MEND_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/io/pool.h"
#include "engine/store/store.h"

struct shard;

struct mend {
    bool ailing;
    char why[STORE_WHY_BYTES]; /* The last error; one line. It stays when all is well again. */
    uint64_t reopens;
    uint64_t ailing_at_ms;
    uint64_t well_at_ms;
    uint64_t next_ms; /* Of the next attempt. */
    uint32_t attempts;
    struct pool_class cls;
    struct pool_job job;
    bool busy; /* The job is under way, and these are its: */
    int job_err;
    bool job_reopened;
    char job_why[STORE_WHY_BYTES];
    uint64_t errors_seen; /* Background errors; the maintenance thread's. */
};

/* The maintenance pool is there. */
void mend_init(struct shard *sh);

/* Looks at the store's health and makes an attempt when it is time. From the timer. */
void mend_step(struct shard *sh);

/* Whether something failed in the background that no write has met. The maintenance thread. */
void mend_look(struct shard *sh);

#endif
