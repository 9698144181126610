/*
 * What the files of the RocksDB store share. Nobody else includes this, or rocksdb/c.h.
 */
#ifndef TIERRA_ENGINE_STORE_STORE_ROCKSDB_H
#define TIERRA_ENGINE_STORE_STORE_ROCKSDB_H

#include <rocksdb/c.h>

#include "engine/store/store_impl.h"

/* Read options, made once; RocksDB only reads them. */
enum store_rocksdb_read {
    READ_FILL,
    READ_NO_FILL,
    READ_MEMORY,
    READ_PERSISTED,
    READ_COUNT,
};

/* Keys of deletes and operands in memtables (store_rocksdb_unflushed.c). */
struct rocksdb_notes {
    struct buf keys;
    uint64_t written; /* Records since the open. */
    size_t look_at;   /* Bytes of notes. */
};

struct store_rocksdb {
    struct store base; /* Must be first. */
    struct store_options options;
    char *dir; /* Owned, as options.dir and tuning point to it. */
    char *tuning;
    rocksdb_cache_t *cache; /* Shared or own: RocksDB counts the references. */
    rocksdb_options_t *profile;
    rocksdb_writeoptions_t *write_wait;
    rocksdb_writeoptions_t *write_no_wait;
    rocksdb_readoptions_t *reads[READ_COUNT];
    rocksdb_t *db; /* NULL while closed. */
    rocksdb_column_family_handle_t *cf;
    struct rocksdb_notes notes; /* The writer's. */
};

/* --- store_rocksdb_options.c --- */

/* Fills cache, profile, and the read and write options. 0, or -ERR_CONFIG for a bad tuning text. */
MUST_USE int rocksdb_profile_create(struct store_rocksdb *rs, struct store_fault *fault);
void rocksdb_profile_destroy(struct store_rocksdb *rs);

/* --- store_rocksdb_merge.c --- */

/* Gives the profile the merge operator and the compaction filter, both calling back into `rs`. */
void rocksdb_merge_install(struct store_rocksdb *rs);

/* --- store_rocksdb_dir.c --- */

/*
 * Says whether `dir` holds a store: 0 and *out_exists; -ERR_FORMAT, -ERR_CORRUPT, -errno with
 * fault.
 */
MUST_USE int rocksdb_dir_check(const char *dir, bool *out_exists, struct store_fault *fault);
/* Makes the directory a store by its format file, durably. */
MUST_USE int rocksdb_dir_mark(const char *dir, struct store_fault *fault);
/*
 * Whether what an open writes would find room: a first write to RocksDB's report that fails would
 * end the process (README.md). 0, or -errno with fault.
 */
MUST_USE int rocksdb_dir_trial(const char *dir, struct store_fault *fault);
/* Whether files in `dir` can be read past the page cache. */
bool rocksdb_dir_direct(const char *dir);

/* --- store_rocksdb_error.c --- */

/* It would have had to wait. Told by the text, because a busy lock has the same number. */
bool rocksdb_error_incomplete(const char *error);
/* The number for a text of RocksDB, which is freed. `error` NULL: 0. */
MUST_USE int rocksdb_error_take(char *take_error);
/* The same, and the text goes to `fault` with the name of the directory. */
MUST_USE int rocksdb_error_fault(const char *dir, char *take_error, struct store_fault *fault);

/* --- store_rocksdb_iter.c, store_rocksdb_stats.c --- */

MUST_USE int rocksdb_iter_open(struct store *store, const struct store_iter_options *options,
                               struct store_iter **out);
void rocksdb_stats(struct store *store, struct store_stats *out);
void rocksdb_debt(struct store *store, struct store_debt *out);

/* --- store_rocksdb_unflushed.c --- */

void rocksdb_unflushed_init(struct store_rocksdb *rs);
/* The database is closed: nothing is left of it. */
void rocksdb_unflushed_clear(struct store_rocksdb *rs);
/* The batch was written. */
void rocksdb_unflushed_note(struct store_rocksdb *rs, const struct store_batch *batch);
MUST_USE int rocksdb_unflushed_save(struct store *store, struct store_batch *out,
                                    struct store_fault *fault);

static inline struct store_rocksdb *rocksdb_of(struct store *store)
{
    return (struct store_rocksdb *)(void *)store;
}

#endif
