/*
 * The store in memory: versions of one map (store_map.h).
 *
 * The writer changes its live version; a flush makes the disk refer to it; iterators, checkpoints
 * and read-only stores refer to the version of their time. Operands are joined as they are
 * written. One lock per disk guards it all: this is not built for speed.
 */
#include "engine/store/store_mem.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/store/store_frame.h"
#include "engine/store/store_impl.h"
#include "engine/store/store_map.h"

#define MERGE_BYTES_MAX ((size_t)1 << 31)

struct mem_checkpoint {
    struct mem_checkpoint *next;
    struct store_map *map;
    char *name;
};

struct store_mem_disk {
    pthread_mutex_t lock;
    struct store_map *persisted;
    struct mem_checkpoint *checkpoints;
    struct store_mem *writer; /* The store that is open for writing; NULL: none. */
    struct store_mem_faults faults;
    uint64_t flushed_bytes;
};

struct store_mem {
    struct store base; /* Must be first. */
    struct store_options options;
    struct store_mem_disk *disk;
    struct store_map *live; /* NULL while closed. */
    uint64_t unflushed_bytes;
};

static struct store_mem *mem_of(struct store *store)
{
    return (struct store_mem *)(void *)store;
}

/* --- the disk --- */

struct store_mem_disk *store_mem_disk_create(void)
{
    struct store_mem_disk *disk = mem_zalloc(sizeof(*disk));

    CHECK(pthread_mutex_init(&disk->lock, NULL) == 0);
    disk->persisted = map_create();
    return disk;
}

void store_mem_disk_destroy(struct store_mem_disk *disk)
{
    if (disk == NULL)
        return;
    CHECK(disk->writer == NULL);
    for (struct mem_checkpoint *c = disk->checkpoints; c != NULL;) {
        struct mem_checkpoint *next = c->next;
        map_unref(c->map);
        mem_free(c->name);
        mem_free(c);
        c = next;
    }
    map_unref(disk->persisted);
    (void)pthread_mutex_destroy(&disk->lock); /* Cannot be held. */
    mem_free(disk);
}

static void disk_lock(struct store_mem_disk *disk)
{
    CHECK(pthread_mutex_lock(&disk->lock) == 0);
}

static void disk_unlock(struct store_mem_disk *disk)
{
    CHECK(pthread_mutex_unlock(&disk->lock) == 0);
}

void store_mem_disk_set_faults(struct store_mem_disk *disk, const struct store_mem_faults *faults)
{
    disk_lock(disk);
    disk->faults = *faults;
    disk_unlock(disk);
}

static struct mem_checkpoint *disk_find_checkpoint(const struct store_mem_disk *disk,
                                                   const char *dir)
{
    struct mem_checkpoint *c = disk->checkpoints;

    while (c != NULL && strcmp(c->name, dir) != 0)
        c = c->next;
    return c;
}

struct store_mem_disk *store_mem_disk_checkpoint(struct store_mem_disk *disk, const char *dir)
{
    struct store_mem_disk *copy = NULL;

    disk_lock(disk);
    const struct mem_checkpoint *c = disk_find_checkpoint(disk, dir);
    if (c != NULL) {
        copy = store_mem_disk_create();
        map_unref(copy->persisted);
        copy->persisted = map_ref(c->map);
    }
    disk_unlock(disk);
    return copy;
}

static bool map_flip(struct store_map **map, struct bytes key, size_t bit)
{
    const struct map_entry *e = map_find(*map, key);

    if (e == NULL)
        return false;
    const struct bytes frame = map_entry_value(e);
    uint8_t *copy = mem_alloc(frame.len);
    const size_t at = bit % (frame.len * 8);
    memcpy(copy, frame.ptr, frame.len);
    copy[at / 8] ^= (uint8_t)(1u << (at % 8));
    map_put(map, key, bytes_of(copy, frame.len));
    mem_free(copy);
    return true;
}

bool store_mem_disk_corrupt(struct store_mem_disk *disk, struct bytes key, size_t bit)
{
    disk_lock(disk);
    bool found = map_flip(&disk->persisted, key, bit);
    if (disk->writer != NULL && map_flip(&disk->writer->live, key, bit))
        found = true;
    disk_unlock(disk);
    return found;
}

/* --- faults; the lock is held --- */

/* One call passes: does it fail? */
static bool fault_hit(const struct store_mem_disk *disk, uint64_t *countdown)
{
    if (*countdown == 0)
        return false;
    if (*countdown > 1) {
        (*countdown)--;
        return false;
    }
    if (!disk->faults.sticky)
        *countdown = 0;
    return true;
}

/* Takes the lock after the delay of a slow disk. */
static void disk_access(struct store_mem_disk *disk)
{
    disk_lock(disk);
    const uint32_t us = disk->faults.delay_us;
    if (us == 0)
        return;
    disk_unlock(disk);
    const struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};
    (void)nanosleep(&time, NULL); /* tidy: allow nanosleep, store calls may block */
    disk_lock(disk);
}

/* --- open and close --- */

static int mem_open(struct store *store, struct store_fault *fault)
{
    struct store_mem *sm = mem_of(store);
    struct store_mem_disk *disk = sm->disk;
    int err = 0;

    disk_lock(disk);
    if (fault_hit(disk, &disk->faults.open_nth)) {
        err = store_fault_set(fault, -EIO, "memory: injected open error");
    } else if (!sm->options.read_only && disk->writer != NULL) {
        err = store_fault_set(fault, -ERR_BUSY, "memory: another store is open for writing");
    } else {
        sm->live = map_ref(disk->persisted);
        sm->unflushed_bytes = 0;
        if (!sm->options.read_only)
            disk->writer = sm;
    }
    disk_unlock(disk);
    return err;
}

static void mem_close(struct store *store)
{
    struct store_mem *sm = mem_of(store);

    disk_lock(sm->disk);
    map_unref(sm->live);
    sm->live = NULL;
    if (sm->disk->writer == sm)
        sm->disk->writer = NULL;
    disk_unlock(sm->disk);
}

static void mem_destroy(struct store *store)
{
    mem_free(store);
}

/* --- writing --- */

static void mem_merge(struct store_mem *sm, struct bytes key, struct bytes frame)
{
    const struct map_entry *e = map_find(sm->live, key);
    const struct bytes existing = e == NULL ? bytes_of(NULL, 0) : map_entry_value(e);
    struct buf out;

    buf_init(&out, MERGE_BYTES_MAX);
    frame_merge(&sm->options.merge, key, e == NULL ? NULL : &existing, &frame, 1, &out);
    map_put(&sm->live, key, buf_bytes(&out));
    buf_deinit(&out);
}

static void mem_apply(struct store_mem *sm, const struct store_batch *batch)
{
    struct bytes records = store_batch_records(batch);
    struct store_record r;

    while (store_batch_next(&records, &r)) {
        switch (r.kind) {
        case STORE_RECORD_DELETE:
            (void)map_remove(&sm->live, r.key); /* It need not be there. */
            break;
        case STORE_RECORD_PUT:
            map_put(&sm->live, r.key, r.frame);
            break;
        case STORE_RECORD_MERGE:
        default:
            mem_merge(sm, r.key, r.frame);
            break;
        }
    }
    sm->unflushed_bytes += store_batch_bytes(batch);
}

static int mem_write(struct store *store, const struct store_batch *batch, uint32_t flags,
                     struct store_fault *fault)
{
    struct store_mem *sm = mem_of(store);
    struct store_mem_faults *faults = &sm->disk->faults;
    int err = 0;

    disk_access(sm->disk);
    if ((flags & STORE_WRITE_NO_SLOWDOWN) != 0 && fault_hit(sm->disk, &faults->busy_nth))
        err = store_fault_set(fault, -ERR_BUSY, "memory: injected stall");
    else if (fault_hit(sm->disk, &faults->write_nth))
        err = store_fault_set(fault, -EIO, "memory: injected write error");
    else
        mem_apply(sm, batch);
    disk_unlock(sm->disk);
    return err;
}

/* The lock is held. */
static int mem_persist(struct store_mem *sm, struct store_fault *fault)
{
    struct store_mem_disk *disk = sm->disk;

    if (fault_hit(disk, &disk->faults.flush_nth))
        return store_fault_set(fault, -EIO, "memory: injected flush error");
    map_unref(disk->persisted);
    disk->persisted = map_ref(sm->live);
    disk->flushed_bytes += sm->unflushed_bytes;
    sm->unflushed_bytes = 0;
    return 0;
}

static int mem_flush(struct store *store, struct store_fault *fault)
{
    struct store_mem *sm = mem_of(store);

    disk_access(sm->disk);
    const int err = mem_persist(sm, fault);
    disk_unlock(sm->disk);
    return err;
}

/* The difference between the live version and the persistent one. */
static int mem_save(struct store *store, struct store_batch *out, struct store_fault *fault)
{
    struct store_mem *sm = mem_of(store);
    struct map_entry *e;
    int err = 0;

    disk_lock(sm->disk);
    const struct store_map *old = sm->disk->persisted;
    struct map_place place = map_first(sm->live);
    for (; err == 0 && (e = map_at(sm->live, place)) != NULL; place = map_next(sm->live, place)) {
        if (map_find(old, map_entry_key(e)) != e)
            err = store_batch_put_frame(out, map_entry_key(e), map_entry_value(e));
    }
    place = map_first(old);
    for (; err == 0 && (e = map_at(old, place)) != NULL; place = map_next(old, place)) {
        if (map_find(sm->live, map_entry_key(e)) == NULL)
            err = store_batch_delete(out, map_entry_key(e));
    }
    disk_unlock(sm->disk);
    return err == 0 ? 0 : store_fault_set(fault, err, "memory: %s", err_str(err));
}

static int mem_checkpoint(struct store *store, const char *dir, struct store_fault *fault)
{
    struct store_mem *sm = mem_of(store);
    struct store_mem_disk *disk = sm->disk;
    int err = 0;

    disk_access(disk);
    if (disk_find_checkpoint(disk, dir) != NULL)
        err = store_fault_set(fault, -EEXIST, "%s: exists", dir);
    else
        err = mem_persist(sm, fault);
    if (err == 0) {
        struct mem_checkpoint *c = mem_alloc(sizeof(*c));
        *c = (struct mem_checkpoint){
            .next = disk->checkpoints, .map = map_ref(disk->persisted), .name = mem_strdup(dir)};
        disk->checkpoints = c;
    }
    disk_unlock(disk);
    return err;
}

static bool mem_compact_drops(const struct store_filter_ops *ops, void *run,
                              const struct map_entry *e)
{
    const struct bytes key = map_entry_key(e);
    struct bytes row;

    if (bytes_eq(key, covered_key()) || !frame_open(key, map_entry_value(e), &row) ||
        row.ptr[0] == STORE_ROW_POISON)
        return false;
    return row.ptr[0] == STORE_ROW_DEAD || (run != NULL && ops->drop(run, key, row));
}

/* Drops what a compaction would, one row of an old version after the other. */
static int mem_compact(struct store *store, struct bytes from, struct bytes to)
{
    struct store_mem *sm = mem_of(store);
    const struct store_filter_ops *ops = &sm->options.filter;

    disk_access(sm->disk);
    void *run = ops->begin == NULL ? NULL : ops->begin(ops->ctx);
    struct store_map *old = map_ref(sm->live);
    struct map_place place = bytes_empty(from) ? map_first(old) : map_seek(old, from);
    for (struct map_entry *e = map_at(old, place); e != NULL; e = map_at(old, place)) {
        if (!bytes_empty(to) && bytes_cmp(map_entry_key(e), to) > 0)
            break;
        if (mem_compact_drops(ops, run, e))
            (void)map_remove(&sm->live, map_entry_key(e)); /* It is there. */
        place = map_next(old, place);
    }
    map_unref(old);
    if (run != NULL)
        ops->end(run);
    disk_unlock(sm->disk);
    return 0;
}

/* --- reading; the lock is held --- */

static void entry_release(void *owner)
{
    map_entry_unref(owner);
}

static void mem_read(struct store_mem *sm, struct bytes key, uint32_t flags,
                     struct store_value *out)
{
    struct store_mem_disk *disk = sm->disk;
    const bool persisted = (flags & STORE_READ_PERSISTED) != 0;
    struct map_entry *e = map_find(persisted ? disk->persisted : sm->live, key);
    struct bytes row = bytes_of(NULL, 0);

    const bool faulty = !bytes_eq(key, covered_key()); /* Faults are for rows. */

    *out = store_value_none(STORE_ABSENT, 0);
    if (faulty && fault_hit(disk, &disk->faults.read_nth)) {
        *out = store_value_none(STORE_ERROR, -EIO);
        return;
    }
    if (e == NULL)
        return;
    const enum store_status status = frame_read(key, map_entry_value(e), &row);
    if (status == STORE_CORRUPT || (faulty && fault_hit(disk, &disk->faults.flip_nth))) {
        *out = store_value_none(STORE_CORRUPT, -ERR_CORRUPT);
        return;
    }
    if (status == STORE_FOUND)
        *out = (struct store_value){
            .status = status, .row = row, .owner = map_entry_ref(e), .release = entry_release};
}

static void mem_get(struct store *store, struct bytes key, uint32_t flags, struct store_value *out)
{
    struct store_mem *sm = mem_of(store);
    const bool memory_only = (flags & STORE_READ_MEMORY_ONLY) != 0;

    if (memory_only)
        disk_lock(sm->disk);
    else
        disk_access(sm->disk);
    if (memory_only && sm->disk->faults.incomplete)
        *out = store_value_none(STORE_INCOMPLETE, 0);
    else
        mem_read(sm, key, flags, out);
    disk_unlock(sm->disk);
}

static void mem_multi_get(struct store *store, size_t n, const struct bytes *keys, uint32_t flags,
                          struct store_value *out)
{
    struct store_mem *sm = mem_of(store);

    disk_access(sm->disk);
    for (size_t i = 0; i < n; i++)
        mem_read(sm, keys[i], flags, &out[i]);
    disk_unlock(sm->disk);
}

static void mem_stats_fill(struct store *store, struct store_stats *out)
{
    const struct store_mem *sm = mem_of(store);

    disk_lock(sm->disk);
    out->live_sst_bytes = map_bytes(sm->disk->persisted);
    out->total_sst_bytes = out->live_sst_bytes;
    out->live_data_bytes_estimate = out->live_sst_bytes;
    out->memtable_bytes = sm->unflushed_bytes;
    out->keys_estimate = map_count(sm->live);
    out->flushed_bytes = sm->disk->flushed_bytes;
    disk_unlock(sm->disk);
}

/* --- iterating: a version that nobody changes, hence without the lock --- */

struct mem_cursor {
    struct store_iter base; /* Must be first. */
    struct store_mem_disk *disk;
    struct store_map *map;
    struct map_place place;
    struct bytes lower;
    struct bytes upper;
    uint8_t bounds[]; /* lower, then upper. */
};

static struct mem_cursor *cursor_of(struct store_iter *it)
{
    return (struct mem_cursor *)(void *)it;
}

/* The entry it stands on; NULL: none, or out of bounds. */
static const struct map_entry *cursor_entry(const struct store_iter *it)
{
    const struct mem_cursor *c = (const struct mem_cursor *)(const void *)it;
    const struct map_entry *e = map_at(c->map, c->place);

    if (e == NULL || bytes_cmp(map_entry_key(e), c->lower) < 0)
        return NULL;
    return !bytes_empty(c->upper) && bytes_cmp(map_entry_key(e), c->upper) >= 0 ? NULL : e;
}

static void cursor_close(struct store_iter *it)
{
    struct mem_cursor *c = cursor_of(it);

    disk_lock(c->disk);
    map_unref(c->map);
    disk_unlock(c->disk);
    mem_free(c);
}

static void cursor_seek(struct store_iter *it, struct bytes key)
{
    struct mem_cursor *c = cursor_of(it);

    c->place = map_seek(c->map, bytes_cmp(key, c->lower) < 0 ? c->lower : key);
}

static void cursor_seek_prev(struct store_iter *it, struct bytes key)
{
    struct mem_cursor *c = cursor_of(it);
    const bool bounded = !bytes_empty(c->upper);

    if (bounded && (bytes_empty(key) || bytes_cmp(key, c->upper) >= 0)) {
        c->place = map_seek_prev(c->map, c->upper);
        const struct map_entry *e = map_at(c->map, c->place);
        if (e != NULL && bytes_eq(map_entry_key(e), c->upper))
            c->place = map_prev(c->map, c->place);
        return;
    }
    c->place = bytes_empty(key) ? map_last(c->map) : map_seek_prev(c->map, key);
}

static void cursor_next(struct store_iter *it)
{
    struct mem_cursor *c = cursor_of(it);

    c->place = map_next(c->map, c->place);
}

static void cursor_prev(struct store_iter *it)
{
    struct mem_cursor *c = cursor_of(it);

    c->place = map_prev(c->map, c->place);
}

static bool cursor_valid(const struct store_iter *it)
{
    return cursor_entry(it) != NULL;
}

static struct bytes cursor_key(const struct store_iter *it)
{
    return map_entry_key(cursor_entry(it));
}

static struct bytes cursor_frame(const struct store_iter *it)
{
    return map_entry_value(cursor_entry(it));
}

static int cursor_status(const struct store_iter *it)
{
    (void)it;
    return 0;
}

static const struct store_iter_ops cursor_ops = {
    .close = cursor_close,
    .seek = cursor_seek,
    .seek_prev = cursor_seek_prev,
    .next = cursor_next,
    .prev = cursor_prev,
    .valid = cursor_valid,
    .key = cursor_key,
    .frame = cursor_frame,
    .status = cursor_status,
};

static int mem_iter_open(struct store *store, const struct store_iter_options *options,
                         struct store_iter **out)
{
    struct store_mem *sm = mem_of(store);
    struct mem_cursor *c = mem_zalloc(sizeof(*c) + options->lower.len + options->upper.len);

    if (options->lower.len != 0)
        memcpy(c->bounds, options->lower.ptr, options->lower.len);
    if (options->upper.len != 0)
        memcpy(c->bounds + options->lower.len, options->upper.ptr, options->upper.len);
    c->lower = bytes_of(c->bounds, options->lower.len);
    c->upper = bytes_of(c->bounds + options->lower.len, options->upper.len);
    c->base.ops = &cursor_ops;
    c->disk = sm->disk;
    disk_access(sm->disk);
    c->map = map_ref(sm->live);
    disk_unlock(sm->disk);
    c->place = (struct map_place){.chunk = SIZE_MAX};
    *out = &c->base;
    return 0;
}

static const struct store_ops mem_ops = {
    .open = mem_open,
    .close = mem_close,
    .destroy = mem_destroy,
    .write = mem_write,
    .flush = mem_flush,
    .save = mem_save,
    .checkpoint = mem_checkpoint,
    .compact = mem_compact,
    .suggest_compact = mem_compact,
    .get = mem_get,
    .multi_get = mem_multi_get,
    .iter_open = mem_iter_open,
    .stats = mem_stats_fill,
};

int store_mem_open(struct store_mem_disk *disk, const struct store_options *options,
                   struct store **out)
{
    struct store_mem *sm = mem_zalloc(sizeof(*sm));

    sm->options = *options;
    sm->disk = disk;
    return store_start(&sm->base, &mem_ops, options->read_only, out, NULL, 0);
}
