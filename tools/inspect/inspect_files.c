/* The table files of a store; inspect_files.h tells what for. */
#include "tools/inspect/inspect_files.h"

#include <stdio.h>
#include <string.h>

#include <rocksdb/c.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

struct files {
    rocksdb_options_t *options;
    rocksdb_t *db;
    const rocksdb_livefiles_t *list;
};

/* NOLINTBEGIN(readability-function-size): RocksDB's signatures */

/* Rows are not looked at: any join will do that keeps a reader going. */
static char *merge_any(void *state, const char *key, size_t key_len, const char *existing,
                       size_t existing_len, const char *const *operands, const size_t *lengths,
                       int count, unsigned char *success, size_t *new_len)
{
    (void)state, (void)key, (void)key_len, (void)existing, (void)existing_len;
    (void)operands, (void)lengths, (void)count;
    *success = 1;
    *new_len = 0;
    return mem_alloc(1);
}

static char *merge_some(void *state, const char *key, size_t key_len, const char *const *operands,
                        const size_t *lengths, int count, unsigned char *success, size_t *new_len)
{
    return merge_any(state, key, key_len, NULL, 0, operands, lengths, count, success, new_len);
}

/* NOLINTEND(readability-function-size) */

static void merge_free(void *state, const char *value, size_t len)
{
    (void)state, (void)len;
    mem_free(unconst(value));
}

static void merge_destroy(void *state)
{
    (void)state;
}

static const char *merge_name(void *state)
{
    (void)state;
    return "tierra.inspect";
}

int files_open(const char *dir, struct files **out, char *why, size_t why_len)
{
    struct files *files = mem_zalloc(sizeof(*files));
    char *error = NULL;

    files->options = rocksdb_options_create();
    rocksdb_options_set_merge_operator(
        files->options, rocksdb_mergeoperator_create(NULL, merge_destroy, merge_any, merge_some,
                                                     merge_free, merge_name));
    files->db = rocksdb_open_for_read_only(files->options, dir, 0, &error);
    if (error != NULL) {
        (void)snprintf(why, why_len, "%s: %s", dir, error);
        rocksdb_free(error);
        files->db = NULL;
        files_close(files);
        return -ERR_CORRUPT;
    }
    files->list = rocksdb_livefiles(files->db);
    *out = files;
    return 0;
}

void files_close(struct files *files)
{
    if (files == NULL)
        return;
    if (files->list != NULL)
        rocksdb_livefiles_destroy(files->list);
    if (files->db != NULL)
        rocksdb_close(files->db);
    rocksdb_options_destroy(files->options);
    mem_free(files);
}

int files_count(const struct files *files)
{
    return rocksdb_livefiles_count(files->list);
}

void files_get(const struct files *files, int index, struct files_info *out)
{
    size_t len;

    out->name = rocksdb_livefiles_name(files->list, index);
    out->level = rocksdb_livefiles_level(files->list, index);
    out->bytes = rocksdb_livefiles_size(files->list, index);
    out->entries = rocksdb_livefiles_entries(files->list, index);
    out->deletions = rocksdb_livefiles_deletions(files->list, index);
    const char *key = rocksdb_livefiles_smallestkey(files->list, index, &len);
    out->smallest = bytes_of(key, len);
    key = rocksdb_livefiles_largestkey(files->list, index, &len);
    out->largest = bytes_of(key, len);
}

void files_explain(struct files *files, struct bytes from, struct bytes to, char *why,
                   size_t why_len)
{
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();
    char *error = NULL;

    why[0] = '\0';
    if (!bytes_empty(to))
        rocksdb_readoptions_set_iterate_upper_bound(read, (const char *)to.ptr, to.len);
    rocksdb_iterator_t *it = rocksdb_create_iterator(files->db, read);
    if (bytes_empty(from))
        rocksdb_iter_seek_to_first(it);
    else
        rocksdb_iter_seek(it, (const char *)from.ptr, from.len);
    while (rocksdb_iter_valid(it))
        rocksdb_iter_next(it);
    rocksdb_iter_get_error(it, &error);
    if (error != NULL) {
        (void)snprintf(why, why_len, "%s", error);
        rocksdb_free(error);
    }
    rocksdb_iter_destroy(it);
    rocksdb_readoptions_destroy(read);
}
