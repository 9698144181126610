/*
 * The value store of one shard: an ordered map from row key to row, on flash.
 *
 * Two implementations stand behind one small table of functions: RocksDB (store_rocksdb.h, the
 * product) and an ordered map in memory (store_mem.h, for tests and simulation, with faults).
 *
 * What the store knows of a row is its frame (store_frame.h: version, checksum over key and row)
 * and two of its first bytes: DEAD rows read as absent, POISON rows read as corrupt. What rows mean
 * and how they join comes from the caller as callbacks, so that this folder depends on base alone.
 *
 * There is no write-ahead log here: the shard's op log is one. What store_write took is readable at
 * once and survives a crash once it is flushed. Batches become persistent whole and in order. Each
 * carries the covered position; after a crash store_covered says from where to replay.
 *
 * Threads: every call but those of store_batch.h may block on the disk and is therefore never made
 * on a shard thread, but for store_stats and store_health. Reads (get, multi_get,
 * iterators, covered, stats, health) may run on any number of threads at once, beside one writer
 * (write, flush, compact, checkpoint). A store never logs: the caller does.
 */
#ifndef TIERRA_ENGINE_STORE_STORE_H
#define TIERRA_ENGINE_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "engine/store/store_batch.h"

struct store;
struct store_cache;
struct store_iter;

/* --- rows --- */

/* First bytes of rows that the store itself understands; engine/value names them too. */
#define STORE_ROW_DEAD   0x00u /* One byte: nothing is here; physically dropped by and by. */
#define STORE_ROW_POISON 0x0fu /* Then a reason: stands where damaged data was joined. */

/* Second byte of a POISON row that the store made. */
enum store_poison {
    STORE_POISON_EXISTING = 1, /* The stored row was damaged. */
    STORE_POISON_OPERAND,      /* An operand was damaged. */
    STORE_POISON_JOIN,         /* The join refused what it was given. */
};

/* Row keys begin with a slot number below 0x4000; those from 0xff on are special rows. */
#define STORE_KEY_BYTES_MAX (160u << 10)

/* --- what the caller brings --- */

/*
 * The join of rows. Must be a pure function (any thread, several at once), associative, and must
 * not care how operands are grouped: the store folds some of them before others.
 */
struct store_merge_ops {
    /*
     * Appends the join of `existing` (empty: there is none) and operands[0 .. n), oldest first, to
     * `out`, at least one byte; n >= 1. The store has verified the checksums and seen that none of
     * them is POISON. An error makes the row POISON, except -ENOMEM, which ends the process.
     */
    int (*merge)(void *ctx, struct bytes key, struct bytes existing, const struct bytes *operands,
                 size_t n, struct buf *out);
    void *ctx;
};

/*
 * Which rows a compaction may leave out. Dropping must never change what a reader may see at any
 * later time, crash and replay included: decide by durable positions only. DEAD rows are dropped
 * without asking. Not asked for: rows with operands that the same compaction joined, rows in files
 * that are moved whole, damaged rows.
 */
struct store_filter_ops {
    /* Captures the horizons for one compaction; NULL: ask nothing this time. Background thread. */
    void *(*begin)(void *ctx);
    /* True: drop it. `run` is what begin returned. Runs on one thread per run. */
    bool (*drop)(void *run, struct bytes key, struct bytes row);
    void (*end)(void *run);
    void *ctx;
};

enum store_compression {
    STORE_COMPRESSION_DEFAULT, /* LZ4 in the last level: engine/store/README.md. */
    STORE_COMPRESSION_NONE,
    STORE_COMPRESSION_LZ4,
    STORE_COMPRESSION_ZSTD,
};

/* Zero means the default for every number. Strings are copied. */
struct store_options {
    const char *dir;              /* Created if missing (its parent must exist). */
    struct store_merge_ops merge; /* merge may be NULL: then operands must not be written. */
    struct store_filter_ops filter;
    struct store_cache *cache; /* Shared by several stores; NULL: one of block_cache_bytes. */
    size_t block_cache_bytes;
    size_t memtable_bytes; /* All write buffers together. */
    uint32_t flush_threads;
    uint32_t compaction_threads;
    uint32_t open_files_max;
    enum store_compression compression;
    bool buffered_reads;  /* Through the page cache; default: directly, where the disk can. */
    bool buffered_writes; /* The same for flush and compaction. */
    bool paranoid;        /* Verify each file after writing it; for tests. Slow. */
    bool read_only;       /* For inspection, beside a running server: sees what was flushed. */
    bool must_exist;      /* -ERR_NOT_FOUND instead of creating. */
    const char *tuning;   /* RocksDB's own options as text, applied last; for experiments. */
};

#define STORE_BLOCK_CACHE_BYTES_DEFAULT (32u << 20)
#define STORE_MEMTABLE_BYTES_DEFAULT    (64u << 20)
#define STORE_OPEN_FILES_MAX_DEFAULT    2048u

/* Room for the text of an error, with the name of the file. */
#define STORE_WHY_BYTES 512

/* --- start and end --- */

/*
 * A block cache that several stores share. Memory is taken as it fills. Any thread. Destroy may
 * come before the stores that use it are closed.
 */
MUST_USE struct store_cache *store_cache_create(size_t bytes);
void store_cache_destroy(struct store_cache *cache);
void store_cache_set_bytes(struct store_cache *cache, size_t bytes);
size_t store_cache_usage(const struct store_cache *cache);

/*
 * Opens or creates the RocksDB store in options->dir (store_mem_open is the other kind). Returns 0
 * and the store, which the caller closes; -ERR_BUSY: another process has it open; -ERR_FORMAT: not
 * a store, or of a newer version; -ERR_CORRUPT; -ERR_NOT_FOUND; -errno. After an error `why` holds
 * one line for the operator that names the file.
 */
MUST_USE int store_open(const struct store_options *options, struct store **out, char *why,
                        size_t why_len);

/*
 * Frees the store. What was not flushed is lost, as in a crash: call store_flush before. All
 * iterators must be closed and all values released. NULL is allowed.
 */
void store_close(struct store *store);

/*
 * Closes the files and opens them again: the way out of a sticky background error. What was not
 * flushed is kept: it is taken from memory first and written again before anybody may read. Calls
 * that come meanwhile wait for the end, those under way and iterators are waited for, `wait_ms` at
 * most: -ERR_BUSY then, and nothing happened. Returns as store_open. After another error the store
 * is as it was, if nothing could be kept, or else closed: then every call returns -ERR_CLOSED until
 * a reopen succeeds, which still has what was not flushed. Values that were read stay valid. The
 * writer's thread. Blocks.
 */
MUST_USE int store_reopen(struct store *store, uint32_t wait_ms, char *why, size_t why_len);

/* False after a reopen that failed, and during one. Cheap; any thread. */
bool store_is_open(const struct store *store);

/* Deletes a closed RocksDB store with its directory. Returns 0 (also if it was not there),
 * -ERR_BUSY or -errno. */
MUST_USE int store_destroy(const char *dir, char *why, size_t why_len);

/* --- writing --- */

enum store_write_flags {
    STORE_WRITE_NO_SLOWDOWN = 1, /* -ERR_BUSY instead of waiting for flushes and compactions. */
};

/*
 * Applies the batch, all or nothing; it is unchanged and can be cleared or tried again. An empty
 * batch is fine. Returns 0; -ERR_BUSY (only with STORE_WRITE_NO_SLOWDOWN: back off and retry);
 * -ERR_RANGE: the covered position would go down; -EIO, -ENOSPC and the like: see store_health;
 * -ERR_CLOSED. Blocks.
 */
MUST_USE int store_write(struct store *store, const struct store_batch *batch, uint32_t flags);

/* Makes everything written so far persistent. Blocks for the time of the disk. Errors as write. */
MUST_USE int store_flush(struct store *store);

/*
 * A copy of the store as of now, by hard links, in `dir`, which must not exist; flushes first. It
 * can be opened by store_open. Returns 0 or an error as store_flush; -EEXIST. Blocks.
 */
MUST_USE int store_checkpoint(struct store *store, const char *dir);

/* Compacts the keys from `from` to `to` (empty: no bound), down to the lowest level. Blocks long.
 */
MUST_USE int store_compact(struct store *store, struct bytes from, struct bytes to);

/* Asks that the files over these keys be compacted in the background. Cheap. */
MUST_USE int store_suggest_compact(struct store *store, struct bytes from, struct bytes to);

/* --- reading --- */

enum store_status {
    STORE_FOUND,
    STORE_ABSENT,     /* Never written, deleted, or DEAD. */
    STORE_CORRUPT,    /* Damaged row, block or file: never shown as a value. */
    STORE_INCOMPLETE, /* Only with STORE_READ_MEMORY_ONLY: would need the disk. */
    STORE_ERROR,      /* See err. */
};

/* A row that was read. Owns its memory (a pinned block) until store_value_release. */
struct store_value {
    enum store_status status;
    int err;          /* Of STORE_ERROR and STORE_CORRUPT: -errno or -ERR_*; else 0. */
    struct bytes row; /* Of STORE_FOUND; else empty. */
    void *owner;
    void (*release)(void *owner);
};

/* Gives the memory back; the value then is ABSENT. Any thread. No effect the second time. */
void store_value_release(struct store_value *value);

enum store_read_flags {
    STORE_READ_NO_FILL = 1,     /* Blocks read do not enter the block cache. */
    STORE_READ_MEMORY_ONLY = 2, /* Memtable and block cache; store_get only. */
    STORE_READ_SORTED = 4,      /* The keys of a multi_get ascend. */
    STORE_READ_PERSISTED = 128, /* What would survive a crash now; store_get only. */
};

/* Reads one row. Blocks unless STORE_READ_MEMORY_ONLY, which takes microseconds. */
void store_get(struct store *store, struct bytes key, uint32_t flags, struct store_value *out);

/*
 * Reads keys[0 .. n) into out[0 .. n), in the order given. The keys must be distinct. One bad row
 * does not spoil the others. Blocks.
 */
void store_multi_get(struct store *store, size_t n, const struct bytes *keys, uint32_t flags,
                     struct store_value *out);

/*
 * The highest covered position, with its version vector appended to `vv` (NULL: not wanted);
 * position 0 and nothing if none was ever written. With `persisted_only` that of the newest batch
 * that would survive a crash now. Returns 0, -ERR_CORRUPT, -ERR_CLOSED or -errno. Blocks.
 */
MUST_USE int store_covered(struct store *store, bool persisted_only, uint64_t *out_lsn,
                           struct buf *vv);

/* --- iterating --- */

struct store_iter_options {
    struct bytes lower;     /* First key that may be shown; empty: none. Copied. */
    struct bytes upper;     /* First key beyond; empty: none. Copied. */
    bool fill_cache;        /* Else blocks read do not enter the block cache. */
    size_t readahead_bytes; /* 0: by itself when it reads in sequence. */
};

/*
 * A cursor over the rows as they are now, whatever is written later. DEAD rows and the covered
 * position are not shown. It starts nowhere: seek first. It keeps old files alive: close it soon.
 * May move from thread to thread. Returns 0, -ERR_CLOSED.
 */
MUST_USE int store_iter_open(struct store *store, const struct store_iter_options *options,
                             struct store_iter **out);
void store_iter_close(struct store_iter *it);

/* To the first row at or after `key`; empty: to the first of all. Blocks, as next and prev do. */
void store_iter_seek(struct store_iter *it, struct bytes key);
/* To the last row at or before `key`; empty: to the last of all. */
void store_iter_seek_prev(struct store_iter *it, struct bytes key);
void store_iter_next(struct store_iter *it);
void store_iter_prev(struct store_iter *it);

/*
 * store_get for who has a cursor: store_get itself could wait for a reopen, and that for the
 * cursor. Sees rows that are later than the cursor's.
 */
void store_iter_get(struct store_iter *it, struct bytes key, uint32_t flags,
                    struct store_value *out);

/* On a row? If not: the end, or an error (store_iter_status). */
bool store_iter_valid(const struct store_iter *it);

/* Valid until the cursor moves; only on a row. */
struct bytes store_iter_key(const struct store_iter *it);

/* STORE_FOUND and the row, or STORE_CORRUPT: then the cursor can go on to the next. */
MUST_USE enum store_status store_iter_row(const struct store_iter *it, struct bytes *out_row);

/*
 * 0 after a clean end. -ERR_CORRUPT: a block could not be read; a seek beyond it may go on.
 * -errno.
 */
MUST_USE int store_iter_status(const struct store_iter *it);

/* --- figures --- */

#define STORE_LEVELS_MAX 7

struct store_stats {
    uint64_t live_sst_bytes;
    uint64_t total_sst_bytes; /* With files that only an iterator still needs. */
    uint64_t memtable_bytes;  /* All write buffers, as allocated. */
    uint64_t memtables_waiting;
    uint64_t block_cache_bytes; /* Of the whole cache, if it is shared. */
    uint64_t block_cache_pinned_bytes;
    uint64_t table_readers_bytes;
    uint64_t keys_estimate;
    uint64_t live_data_bytes_estimate;
    uint64_t pending_compaction_bytes;
    uint64_t running_flushes;
    uint64_t running_compactions;
    uint64_t write_stopped;           /* 1: a write would wait. */
    uint64_t delayed_write_bytes_sec; /* 0: not slowed down. */
    uint64_t background_errors;
    uint64_t flushed_bytes;   /* Since open, to 1 MiB or so. */
    uint64_t compacted_bytes; /* Written by compaction since open, to 10 MiB or so. */
    uint64_t level_files[STORE_LEVELS_MAX];
    uint64_t level_bytes[STORE_LEVELS_MAX];
};

/* What the store has still to do; the more, the sooner it makes writers wait. */
struct store_debt {
    uint64_t level0_files;
    uint64_t memtables_waiting; /* For a flush. */
    uint64_t pending_compaction_bytes;
};

/* Microseconds, and the store's mutex: not on a shard thread. Zeros if the store is closed. */
void store_debt(struct store *store, struct store_debt *out);

/* Takes tens of microseconds, and the store's mutex: from a timer, not per command. */
void store_stats(struct store *store, struct store_stats *out);

/*
 * 0, or the error of the last write or flush if it failed: no write will succeed until the cause
 * is gone or store_reopen. `why` (may be NULL) gets its text. Cheap.
 */
int store_health(struct store *store, char *why, size_t why_len);

#endif
