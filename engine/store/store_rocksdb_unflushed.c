/*
 * What of a RocksDB is in memtables only, so that it can be written again after a reopen.
 *
 * Puts are read from the memtables themselves: a cursor of read tier 3 sees no file, hence works
 * however broken the disk is. Two kinds of records it does not show: deletes, and operands as such
 * (it joins them without what lies in the files). The keys of these are noted as they are written,
 *
 *     keys   [ number 8 | length 4 | key ] ..     number: of the record, counted from the open on
 *
 * and each is looked up once for the batch: a row, or a delete. Memtables become files in the order
 * in which they were filled; so with n records left in them, all up to `written` - n are persistent
 * and their notes are dropped. That is looked at when the notes have doubled: they take no more
 * memory than twice what the memtables need for the same keys, or NOTES_BYTES_MIN.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/store/store_rocksdb.h"

#define NOTE_HEAD_BYTES 12
#define NOTES_BYTES_MIN (1u << 20)
#define NOTES_BYTES_MAX UINT32_MAX
/* Of RocksDB: memtables and no file. */
#define READ_TIER_MEMTABLES 3

void rocksdb_unflushed_init(struct store_rocksdb *rs)
{
    buf_init(&rs->notes.keys, NOTES_BYTES_MAX);
    rs->notes.look_at = NOTES_BYTES_MIN;
}

void rocksdb_unflushed_clear(struct store_rocksdb *rs)
{
    buf_deinit(&rs->notes.keys);
    rs->notes = (struct rocksdb_notes){.written = 0};
    rocksdb_unflushed_init(rs);
}

/* Cuts a note off `*in`; false at the end. */
static bool note_take(struct bytes *in, uint64_t *out_number, struct bytes *out_key)
{
    if (in->len == 0)
        return false;
    *out_number = le64_load(in->ptr);
    const size_t len = le32_load(in->ptr + 8);
    *in = bytes_from(*in, NOTE_HEAD_BYTES);
    CHECK(bytes_take(in, len, out_key));
    return true;
}

static uint64_t entries_of(const struct store_rocksdb *rs, const char *property)
{
    uint64_t n = 0;

    CHECK(rocksdb_property_int_cf(rs->db, rs->cf, property, &n) == 0);
    return n;
}

/* Drops the notes of records that are in files. */
static void notes_trim(struct store_rocksdb *rs)
{
    struct rocksdb_notes *notes = &rs->notes;
    struct bytes in = buf_bytes(&notes->keys);
    struct bytes key;
    uint64_t number;
    size_t gone = 0;

    /* The active one first: between the two questions it may become one of the others. */
    uint64_t left = entries_of(rs, "rocksdb.num-entries-active-mem-table");
    left += entries_of(rs, "rocksdb.num-entries-imm-mem-tables");
    const uint64_t persistent = notes->written - u64_min(left, notes->written);
    while (note_take(&in, &number, &key) && number <= persistent)
        gone = notes->keys.len - in.len;
    buf_consume(&notes->keys, gone);
    buf_shrink(&notes->keys, NOTES_BYTES_MIN);
    notes->look_at = size_max(2 * notes->keys.len, NOTES_BYTES_MIN);
}

void rocksdb_unflushed_note(struct store_rocksdb *rs, const struct store_batch *batch)
{
    struct rocksdb_notes *notes = &rs->notes;
    struct bytes records = store_batch_records(batch);
    struct store_record r;
    uint8_t head[NOTE_HEAD_BYTES];

    if (batch->blind == 0) {
        notes->written += store_batch_records_count(batch);
        return;
    }
    while (store_batch_next(&records, &r)) {
        notes->written++;
        if (r.kind == STORE_RECORD_PUT)
            continue;
        le64_store(head, notes->written);
        le32_store(head + 8, (uint32_t)r.key.len);
        /* Running out of memory here ends the process, as for any row. */
        CHECK(buf_append(&notes->keys, head, sizeof(head)) == 0);
        CHECK(buf_append_bytes(&notes->keys, r.key) == 0);
    }
    if (notes->keys.len > notes->look_at)
        notes_trim(rs);
}

/* --- saving --- */

static int save_puts(struct store_rocksdb *rs, struct store_batch *out, struct store_fault *fault)
{
    char *error = NULL;
    size_t key_len, frame_len;
    int err = 0;
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();

    rocksdb_readoptions_set_read_tier(read, READ_TIER_MEMTABLES);
    rocksdb_iterator_t *it = rocksdb_create_iterator_cf(rs->db, read, rs->cf);
    for (rocksdb_iter_seek_to_first(it); err == 0 && rocksdb_iter_valid(it) != 0;
         rocksdb_iter_next(it)) {
        const char *key = rocksdb_iter_key(it, &key_len);
        const char *frame = rocksdb_iter_value(it, &frame_len);
        err = store_batch_put_frame(out, bytes_of(key, key_len), bytes_of(frame, frame_len));
    }
    rocksdb_iter_get_error(it, &error);
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(read);
    if (error != NULL)
        return rocksdb_error_fault(rs->dir, error, fault);
    return err == 0 ? 0
                    : store_fault_set(fault, err, "%s: cannot keep what was not flushed: %s",
                                      rs->dir, err_str(err));
}

/* A delete is found in a memtable; only an operand needs the files. */
static int save_noted(struct store_rocksdb *rs, struct bytes key, struct store_batch *out,
                      struct store_fault *fault)
{
    char *error = NULL;
    size_t len;
    int err;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(rs->db, rs->reads[READ_NO_FILL], rs->cf,
                                                           (const char *)key.ptr, key.len, &error);

    if (error != NULL)
        return rocksdb_error_fault(rs->dir, error, fault);
    if (slice == NULL) {
        err = store_batch_delete(out, key);
    } else {
        const char *frame = rocksdb_pinnableslice_value(slice, &len);
        err = store_batch_put_frame(out, key, bytes_of(frame, len));
        rocksdb_pinnableslice_destroy(slice);
    }
    return err == 0 ? 0
                    : store_fault_set(fault, err, "%s: cannot keep what was not flushed: %s",
                                      rs->dir, err_str(err));
}

static int key_cmp(const void *a, const void *b)
{
    const struct bytes *left = a, *right = b;

    return bytes_cmp(*left, *right);
}

/* The keys of all notes in their order, in an array for the caller to free; they point into them.
 */
static struct bytes *noted_keys(const struct store_rocksdb *rs, size_t *out_n)
{
    const struct bytes all = buf_bytes(&rs->notes.keys);
    struct bytes in = all, key;
    uint64_t number;
    size_t n = 0;

    while (note_take(&in, &number, &key))
        n++;
    struct bytes *keys = mem_alloc(size_max(n, 1) * sizeof(*keys));
    in = all;
    for (size_t i = 0; i < n; i++)
        CHECK(note_take(&in, &number, &keys[i]));
    qsort(keys, n, sizeof(*keys), key_cmp);
    *out_n = n;
    return keys;
}

int rocksdb_unflushed_save(struct store *store, struct store_batch *out, struct store_fault *fault)
{
    struct store_rocksdb *rs = rocksdb_of(store);
    size_t n;
    int err;

    notes_trim(rs);
    err = save_puts(rs, out, fault);
    struct bytes *keys = noted_keys(rs, &n);
    for (size_t i = 0; err == 0 && i < n; i++) {
        if (i == 0 || !bytes_eq(keys[i - 1], keys[i]))
            err = save_noted(rs, keys[i], out, fault);
    }
    mem_free(keys);
    return err;
}
