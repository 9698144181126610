/*
 * The store in memory: the same contract without a disk, for tests and simulation.
 *
 * What a disk would hold lives in a struct store_mem_disk that outlasts the stores opened on it, so
 * that a simulated crash is close and open: what was flushed is there, the rest is gone. Faults are
 * set on the disk and happen in whatever store is open on it.
 */
#ifndef TIERRA_ENGINE_STORE_STORE_MEM_H
#define TIERRA_ENGINE_STORE_STORE_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct store;
struct store_options;
struct store_mem_disk;

/* Each counts down: 1 is the next call, 0 never. A fault hits once unless `sticky`. */
struct store_mem_faults {
    uint64_t write_nth; /* store_write returns -EIO and writes nothing. */
    uint64_t flush_nth; /* store_flush returns -EIO and persists nothing. */
    uint64_t open_nth;  /* An open or reopen returns -EIO. */
    uint64_t busy_nth;  /* store_write with NO_SLOWDOWN returns -ERR_BUSY. */
    uint64_t read_nth;  /* A row read gives STORE_ERROR with -EIO. */
    uint64_t flip_nth;  /* A row read has one bit flipped: STORE_CORRUPT. */
    uint32_t delay_us;  /* Every call but memory-only gets sleeps that long. */
    bool incomplete;    /* Every memory-only get says STORE_INCOMPLETE. */
    bool sticky;        /* Once a countdown has run out, every later call fails too. */
};

/* All functions: any thread. */
MUST_USE struct store_mem_disk *store_mem_disk_create(void);
/* No store may be open on it. NULL is allowed. */
void store_mem_disk_destroy(struct store_mem_disk *disk);
void store_mem_disk_set_faults(struct store_mem_disk *disk, const struct store_mem_faults *faults);

/*
 * Flips a bit of the row stored under `key`, persistently. False if there is none.
 */
MUST_USE bool store_mem_disk_corrupt(struct store_mem_disk *disk, struct bytes key, size_t bit);

/*
 * A disk with the content of the checkpoint that was taken under the name `dir`; NULL if there is
 * none. The caller destroys it.
 */
MUST_USE struct store_mem_disk *store_mem_disk_checkpoint(struct store_mem_disk *disk,
                                                          const char *dir);

/*
 * Opens a store on `disk`; one at a time (-ERR_BUSY), beside any number of read-only ones, which
 * see what is persistent. options->dir and the sizes are not used. Close with store_close.
 */
MUST_USE int store_mem_open(struct store_mem_disk *disk, const struct store_options *options,
                            struct store **out);

#endif
