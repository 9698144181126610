/*
 * The store on RocksDB 7.8: one database, one column family, no write-ahead log.
 *
 * Only its C API is used. The batched multi-get reads several rows per call with their blocks
 * pinned, so that a row is copied nowhere between the block cache and the caller. "Persisted"
 * reads use read tier 2, which skips the memtables while anything in them lacks a log.
 */
#include "engine/store/store_rocksdb.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/store/store_batch_sort.h"
#include "engine/store/store_frame.h"

/* Rows per call of RocksDB's multi-get, which itself works in groups of 32. */
#define MULTI_GET_ROWS_MAX 64

/* A file that a running server deletes while we open its store for reading: look again. */
#define READ_ONLY_ATTEMPTS 5

/* --- open and close --- */

static rocksdb_t *open_files(struct store_rocksdb *rs, char **out_error)
{
    static const char *const names[1] = {"default"};
    const rocksdb_options_t *const options[1] = {rs->profile};

    if (!rs->options.read_only)
        return rocksdb_open_column_families(rs->profile, rs->dir, 1, names, options, &rs->cf,
                                            out_error);
    for (int attempt = 1;; attempt++) {
        rocksdb_t *db = rocksdb_open_for_read_only_column_families(rs->profile, rs->dir, 1, names,
                                                                   options, &rs->cf, 0, out_error);
        if (*out_error == NULL || attempt == READ_ONLY_ATTEMPTS)
            return db;
        rocksdb_free(*out_error);
        *out_error = NULL;
    }
}

static int rs_open(struct store *store, struct store_fault *fault)
{
    struct store_rocksdb *rs = rocksdb_of(store);
    const bool must_exist = rs->options.must_exist || rs->options.read_only;
    bool exists = false;
    char *error = NULL;
    int err = rocksdb_dir_check(rs->dir, &exists, fault);

    if (err != 0)
        return err;
    if (!exists && must_exist)
        return store_fault_set(fault, -ERR_NOT_FOUND, "%s: there is no store", rs->dir);
    if (!exists)
        err = rocksdb_dir_mark(rs->dir, fault);
    if (err == 0 && !rs->options.read_only)
        err = rocksdb_dir_trial(rs->dir, fault);
    if (err != 0)
        return err;
    const bool direct = !rs->options.read_only && rocksdb_dir_direct(rs->dir);
    rocksdb_options_set_create_if_missing(rs->profile, !exists);
    rocksdb_options_set_use_direct_reads(rs->profile, direct && !rs->options.buffered_reads);
    rocksdb_options_set_use_direct_io_for_flush_and_compaction(
        rs->profile, direct && !rs->options.buffered_writes);
    rs->db = open_files(rs, &error);
    if (error != NULL)
        return rocksdb_error_fault(rs->dir, error, fault);
    rs->options.must_exist = true; /* A reopen must not replace a store that vanished. */
    return 0;
}

static void rs_close(struct store *store)
{
    struct store_rocksdb *rs = rocksdb_of(store);

    rocksdb_cancel_all_background_work(rs->db, 1);
    rocksdb_column_family_handle_destroy(rs->cf);
    rocksdb_close(rs->db);
    rs->db = NULL;
    rs->cf = NULL;
    rocksdb_unflushed_clear(rs);
}

static void rs_destroy(struct store *store)
{
    struct store_rocksdb *rs = rocksdb_of(store);

    rocksdb_profile_destroy(rs);
    buf_deinit(&rs->notes.keys);
    mem_free(rs->dir);
    mem_free(rs->tuning);
    mem_free(rs);
}

/* --- writing --- */

static int rs_write(struct store *store, const struct store_batch *batch, uint32_t flags,
                    struct store_fault *fault)
{
    struct store_rocksdb *rs = rocksdb_of(store);
    const bool no_wait = (flags & STORE_WRITE_NO_SLOWDOWN) != 0;
    char *error = NULL;
    uint8_t *sorted = store_batch_sorted(batch);
    rocksdb_writebatch_t *wb = rocksdb_writebatch_create_from(
        (const char *)(sorted != NULL ? sorted : batch->buf.ptr), batch->buf.len);

    mem_free(sorted);
    rocksdb_write(rs->db, no_wait ? rs->write_no_wait : rs->write_wait, wb, &error);
    rocksdb_writebatch_destroy(wb);
    if (error != NULL)
        return rocksdb_error_fault(rs->dir, error, fault);
    rocksdb_unflushed_note(rs, batch);
    return 0;
}

static int rs_flush(struct store *store, struct store_fault *fault)
{
    const struct store_rocksdb *rs = rocksdb_of(store);
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create(); /* Waits by default. */
    char *error = NULL;

    rocksdb_flush_cf(rs->db, options, rs->cf, &error);
    rocksdb_flushoptions_destroy(options);
    if (error != NULL)
        return rocksdb_error_fault(rs->dir, error, fault);
    /* With nothing to flush RocksDB does not say that it takes no writes any more. */
    rocksdb_writebatch_t *nothing = rocksdb_writebatch_create();
    rocksdb_write(rs->db, rs->write_no_wait, nothing, &error);
    rocksdb_writebatch_destroy(nothing);
    if (error == NULL || !rocksdb_error_incomplete(error))
        return rocksdb_error_fault(rs->dir, error, fault);
    rocksdb_free(error); /* It takes them when compactions have ended. */
    return 0;
}

static int rs_checkpoint(struct store *store, const char *dir, struct store_fault *fault)
{
    const struct store_rocksdb *rs = rocksdb_of(store);
    struct stat st;
    char *error = NULL;

    if (stat(dir, &st) == 0)
        return store_fault_set(fault, -EEXIST, "%s: exists", dir);
    rocksdb_checkpoint_t *checkpoint = rocksdb_checkpoint_object_create(rs->db, &error);
    if (error != NULL)
        return rocksdb_error_fault(rs->dir, error, fault);
    /* 0: always flush first. Any other value leaves the memtable out, as there is no log. */
    rocksdb_checkpoint_create(checkpoint, dir, 0, &error);
    rocksdb_checkpoint_object_destroy(checkpoint);
    if (error != NULL)
        return rocksdb_error_fault(rs->dir, error, fault);
    return rocksdb_dir_mark(dir, fault);
}

static const char *range_end(struct bytes key)
{
    return bytes_empty(key) ? NULL : (const char *)key.ptr;
}

static int rs_compact(struct store *store, struct bytes from, struct bytes to)
{
    const struct store_rocksdb *rs = rocksdb_of(store);
    rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();

    /* Automatic compactions go on beside it. The C API does not say how it went. */
    rocksdb_compactoptions_set_exclusive_manual_compaction(options, 0);
    rocksdb_compact_range_cf_opt(rs->db, rs->cf, options, range_end(from), from.len, range_end(to),
                                 to.len);
    rocksdb_compactoptions_destroy(options);
    return 0;
}

static int rs_suggest_compact(struct store *store, struct bytes from, struct bytes to)
{
    const struct store_rocksdb *rs = rocksdb_of(store);
    char *error = NULL;

    rocksdb_suggest_compact_range_cf(rs->db, rs->cf, range_end(from), from.len, range_end(to),
                                     to.len, &error);
    return rocksdb_error_take(error);
}

/* --- reading --- */

static void slice_release(void *owner)
{
    rocksdb_pinnableslice_destroy(owner);
}

static struct store_value value_of_error(char *take_error)
{
    if (rocksdb_error_incomplete(take_error)) {
        rocksdb_free(take_error);
        return store_value_none(STORE_INCOMPLETE, 0);
    }
    const int err = rocksdb_error_take(take_error);
    return store_value_none(err == -ERR_CORRUPT ? STORE_CORRUPT : STORE_ERROR, err);
}

/* What a read gave: an error, nothing (both NULL), or a slice, whose owner becomes `*out`. */
static void value_set(struct bytes key, rocksdb_pinnableslice_t *take_slice, char *take_error,
                      struct store_value *out)
{
    struct bytes row = bytes_of(NULL, 0);
    size_t len;

    if (take_error != NULL) {
        *out = value_of_error(take_error);
        return;
    }
    if (take_slice == NULL) {
        *out = store_value_none(STORE_ABSENT, 0);
        return;
    }
    const char *frame = rocksdb_pinnableslice_value(take_slice, &len);
    const enum store_status status = frame_read(key, bytes_of(frame, len), &row);
    if (status == STORE_FOUND) {
        *out = (struct store_value){
            .status = status, .row = row, .owner = take_slice, .release = slice_release};
        return;
    }
    rocksdb_pinnableslice_destroy(take_slice);
    *out = store_value_none(status, status == STORE_CORRUPT ? -ERR_CORRUPT : 0);
}

static const rocksdb_readoptions_t *read_options(const struct store_rocksdb *rs, uint32_t flags)
{
    if ((flags & STORE_READ_PERSISTED) != 0)
        return rs->reads[READ_PERSISTED];
    if ((flags & STORE_READ_MEMORY_ONLY) != 0)
        return rs->reads[READ_MEMORY];
    return rs->reads[(flags & STORE_READ_NO_FILL) != 0 ? READ_NO_FILL : READ_FILL];
}

static void rs_get(struct store *store, struct bytes key, uint32_t flags, struct store_value *out)
{
    const struct store_rocksdb *rs = rocksdb_of(store);
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(rs->db, read_options(rs, flags), rs->cf,
                                                           (const char *)key.ptr, key.len, &error);

    value_set(key, slice, error, out);
}

static void rs_explain(struct store *store, struct bytes key, struct store_fault *fault)
{
    const struct store_rocksdb *rs = rocksdb_of(store);
    char *error = NULL;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(rs->db, rs->reads[READ_NO_FILL], rs->cf,
                                                           (const char *)key.ptr, key.len, &error);

    if (slice != NULL)
        rocksdb_pinnableslice_destroy(slice);
    IGNORE_RESULT(rocksdb_error_fault(rs->dir, error, fault)); /* Set in `fault`. */
}

static void multi_get_part(const struct store_rocksdb *rs, size_t n, const struct bytes *keys,
                           uint32_t flags, struct store_value *out)
{
    const char *pointers[MULTI_GET_ROWS_MAX];
    size_t lengths[MULTI_GET_ROWS_MAX];
    rocksdb_pinnableslice_t *slices[MULTI_GET_ROWS_MAX];
    char *errors[MULTI_GET_ROWS_MAX];

    for (size_t i = 0; i < n; i++) {
        pointers[i] = (const char *)keys[i].ptr;
        lengths[i] = keys[i].len;
    }
    rocksdb_batched_multi_get_cf(rs->db, read_options(rs, flags), rs->cf, n, pointers, lengths,
                                 slices, errors, (flags & STORE_READ_SORTED) != 0);
    for (size_t i = 0; i < n; i++)
        value_set(keys[i], slices[i], errors[i], &out[i]);
}

static void rs_multi_get(struct store *store, size_t n, const struct bytes *keys, uint32_t flags,
                         struct store_value *out)
{
    const struct store_rocksdb *rs = rocksdb_of(store);

    if (n == 1) { /* Without the arrays that RocksDB allocates for a group. */
        rs_get(store, keys[0], flags, &out[0]);
        return;
    }
    for (size_t done = 0; done < n;) {
        const size_t step = size_min(n - done, MULTI_GET_ROWS_MAX);
        multi_get_part(rs, step, keys + done, flags, out + done);
        done += step;
    }
}

static const struct store_ops rs_ops = {
    .open = rs_open,
    .close = rs_close,
    .destroy = rs_destroy,
    .write = rs_write,
    .flush = rs_flush,
    .save = rocksdb_unflushed_save,
    .checkpoint = rs_checkpoint,
    .compact = rs_compact,
    .suggest_compact = rs_suggest_compact,
    .get = rs_get,
    .explain = rs_explain,
    .multi_get = rs_multi_get,
    .iter_open = rocksdb_iter_open,
    .stats = rocksdb_stats,
    .debt = rocksdb_debt,
};

int store_open(const struct store_options *options, struct store **out, char *why, size_t why_len)
{
    struct store_fault fault = {.err = 0};
    struct store_rocksdb *rs = mem_zalloc(sizeof(*rs));

    CHECK(options->dir != NULL);
    rs->options = *options;
    rs->dir = mem_strdup(options->dir);
    rs->options.dir = rs->dir;
    rs->tuning = options->tuning == NULL ? NULL : mem_strdup(options->tuning);
    rs->options.tuning = rs->tuning;
    rocksdb_unflushed_init(rs);
    const int err = rocksdb_profile_create(rs, &fault);
    if (err != 0) {
        store_why(why, why_len, fault.text);
        rs_destroy(&rs->base);
        return err;
    }
    return store_start(&rs->base, &rs_ops, options->read_only, out, why, why_len);
}
