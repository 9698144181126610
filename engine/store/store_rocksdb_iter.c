/*
 * Cursors over RocksDB.
 */
#include <string.h>

#include "engine/base/mem.h"

#include "engine/store/store_rocksdb.h"

struct rocksdb_cursor {
    struct store_iter base; /* Must be first. */
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *read; /* RocksDB keeps pointers to it and to the bounds. */
    struct bytes lower;
    struct bytes upper;
    uint8_t bounds[]; /* lower, then upper. */
};

static struct rocksdb_cursor *cursor_of(struct store_iter *it)
{
    return (struct rocksdb_cursor *)(void *)it;
}

static const struct rocksdb_cursor *cursor_of_const(const struct store_iter *it)
{
    return (const struct rocksdb_cursor *)(const void *)it;
}

static void cursor_close(struct store_iter *it)
{
    struct rocksdb_cursor *c = cursor_of(it);

    rocksdb_iter_destroy(c->it);
    rocksdb_readoptions_destroy(c->read);
    mem_free(c);
}

static void cursor_seek(struct store_iter *it, struct bytes key)
{
    struct rocksdb_cursor *c = cursor_of(it);

    if (bytes_empty(key))
        rocksdb_iter_seek_to_first(c->it);
    else
        rocksdb_iter_seek(c->it, (const char *)key.ptr, key.len);
}

static void cursor_seek_prev(struct store_iter *it, struct bytes key)
{
    struct rocksdb_cursor *c = cursor_of(it);

    if (bytes_empty(key))
        rocksdb_iter_seek_to_last(c->it);
    else
        rocksdb_iter_seek_for_prev(c->it, (const char *)key.ptr, key.len);
}

static void cursor_next(struct store_iter *it)
{
    rocksdb_iter_next(cursor_of(it)->it);
}

static void cursor_prev(struct store_iter *it)
{
    rocksdb_iter_prev(cursor_of(it)->it);
}

static bool cursor_valid(const struct store_iter *it)
{
    return rocksdb_iter_valid(cursor_of_const(it)->it) != 0;
}

static struct bytes cursor_key(const struct store_iter *it)
{
    size_t len;
    const char *ptr = rocksdb_iter_key(cursor_of_const(it)->it, &len);

    return bytes_of(ptr, len);
}

static struct bytes cursor_frame(const struct store_iter *it)
{
    size_t len;
    const char *ptr = rocksdb_iter_value(cursor_of_const(it)->it, &len);

    return bytes_of(ptr, len);
}

static int cursor_status(const struct store_iter *it)
{
    char *error = NULL;

    rocksdb_iter_get_error(cursor_of_const(it)->it, &error);
    return rocksdb_error_take(error);
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

static rocksdb_readoptions_t *cursor_read_options(const struct rocksdb_cursor *c,
                                                  const struct store_iter_options *options)
{
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();

    rocksdb_readoptions_set_fill_cache(read, options->fill_cache);
    rocksdb_readoptions_set_readahead_size(read, options->readahead_bytes);
    /* Files that only this cursor kept are deleted in the background, not by its close. */
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(read, 1);
    if (!bytes_empty(c->lower))
        rocksdb_readoptions_set_iterate_lower_bound(read, (const char *)c->lower.ptr, c->lower.len);
    if (!bytes_empty(c->upper))
        rocksdb_readoptions_set_iterate_upper_bound(read, (const char *)c->upper.ptr, c->upper.len);
    return read;
}

int rocksdb_iter_open(struct store *store, const struct store_iter_options *options,
                      struct store_iter **out)
{
    const struct store_rocksdb *rs = rocksdb_of(store);
    struct rocksdb_cursor *c = mem_zalloc(sizeof(*c) + options->lower.len + options->upper.len);

    if (options->lower.len != 0)
        memcpy(c->bounds, options->lower.ptr, options->lower.len);
    if (options->upper.len != 0)
        memcpy(c->bounds + options->lower.len, options->upper.ptr, options->upper.len);
    c->lower = bytes_of(c->bounds, options->lower.len);
    c->upper = bytes_of(c->bounds + options->lower.len, options->upper.len);
    c->base.ops = &cursor_ops;
    c->read = cursor_read_options(c, options);
    c->it = rocksdb_create_iterator_cf(rs->db, c->read, rs->cf);
    *out = &c->base;
    return 0;
}
