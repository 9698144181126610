/*
 * RocksDB's merge operator and compaction filter over the callbacks of the caller.
 *
 * Both run on background threads and inside reads, several at once, and touch nothing of the store
 * but its options, which do not change while it is open.
 *
 * The filter factory asks the caller once per compaction, so that all rows of one compaction are
 * judged by the same horizons. RocksDB does not show the filter what a merge gave in the same
 * compaction: a row that has just become DEAD goes in the next one.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/store/store_frame.h"
#include "engine/store/store_rocksdb.h"

/* A row holds a string chunk or a small value; this only stops a runaway join. */
#define MERGE_BYTES_MAX ((size_t)1 << 31)

/* Operands whose slices fit on the stack. */
#define MERGE_STACK_OPERANDS 32

static void state_keep(void *state)
{
    (void)state; /* The store outlives its options. */
}

static const char *state_name(void *state)
{
    (void)state;
    return "tierra.row.1";
}

/* Operands as RocksDB gives them. */
struct merge_list {
    const char *const *pointers;
    const size_t *lengths;
    size_t count;
};

static char *merge_run(const struct store_rocksdb *rs, struct bytes key,
                       const struct bytes *existing, const struct merge_list *list, size_t *out_len)
{
    struct bytes stack[MERGE_STACK_OPERANDS];
    const size_t n = list->count;
    struct bytes *operands = stack;
    struct buf out;

    CHECK(n > 0);
    if (n > MERGE_STACK_OPERANDS)
        operands = mem_alloc(n * sizeof(*operands));
    for (size_t i = 0; i < n; i++)
        operands[i] = bytes_of(list->pointers[i], list->lengths[i]);
    buf_init(&out, MERGE_BYTES_MAX);
    frame_merge(&rs->options.merge, key, existing, operands, n, &out);
    if (operands != stack)
        mem_free(operands);
    return (char *)buf_take(&out, out_len);
}

/* NOLINTBEGIN(readability-function-size, readability-non-const-parameter): RocksDB's signatures */

static char *merge_full(void *state, const char *key, size_t key_len, const char *existing,
                        size_t existing_len, const char *const *list, const size_t *lengths,
                        int count, unsigned char *out_success, size_t *out_len)
{
    const struct bytes base = bytes_of(existing, existing_len);
    const struct merge_list operands = {
        .pointers = list, .lengths = lengths, .count = (size_t)count};

    *out_success = 1;
    return merge_run(state, bytes_of(key, key_len), existing == NULL ? NULL : &base, &operands,
                     out_len);
}

static char *merge_partial(void *state, const char *key, size_t key_len, const char *const *list,
                           const size_t *lengths, int count, unsigned char *out_success,
                           size_t *out_len)
{
    const struct merge_list operands = {
        .pointers = list, .lengths = lengths, .count = (size_t)count};

    *out_success = 1;
    return merge_run(state, bytes_of(key, key_len), NULL, &operands, out_len);
}

static void merge_free(void *state, const char *value, size_t len)
{
    void *own; /* RocksDB hands our own memory back as const. */

    (void)state;
    (void)len;
    memcpy(&own, &value, sizeof(own));
    mem_free(own);
}

/* One compaction's filter. */
struct filter_run {
    const struct store_filter_ops *ops;
    void *run; /* NULL: only DEAD rows go. */
};

static void filter_end(void *state)
{
    struct filter_run *f = state;

    if (f->run != NULL)
        f->ops->end(f->run);
    mem_free(f);
}

static unsigned char filter_drop(void *state, int level, const char *key, size_t key_len,
                                 const char *value, size_t value_len, char **new_value,
                                 size_t *new_len, unsigned char *changed)
{
    const struct filter_run *f = state;
    const struct bytes row_key = bytes_of(key, key_len);
    struct bytes row;

    (void)level;
    (void)new_value;
    (void)new_len;
    *changed = 0;
    const bool asks = f->run != NULL && !bytes_eq(row_key, covered_key());
    const bool dead =
        value_len == FRAME_HEADER_BYTES + 1 && (uint8_t)value[FRAME_HEADER_BYTES] == STORE_ROW_DEAD;
    if (!asks && !dead)
        return 0;
    /* Damage stays where it is, so that a read reports it. */
    if (!frame_open(row_key, bytes_of(value, value_len), &row))
        return 0;
    return dead || (row.ptr[0] != STORE_ROW_POISON && f->ops->drop(f->run, row_key, row));
}

/* NOLINTEND(readability-function-size, readability-non-const-parameter) */

static rocksdb_compactionfilter_t *filter_begin(void *state,
                                                rocksdb_compactionfiltercontext_t *context)
{
    const struct store_rocksdb *rs = state;
    const struct store_filter_ops *ops = &rs->options.filter;
    struct filter_run *f = mem_alloc(sizeof(*f));

    (void)context;
    f->ops = ops;
    f->run = ops->begin == NULL ? NULL : ops->begin(ops->ctx);
    return rocksdb_compactionfilter_create(f, filter_end, filter_drop, state_name);
}

void rocksdb_merge_install(struct store_rocksdb *rs)
{
    rocksdb_options_set_merge_operator(
        rs->profile, rocksdb_mergeoperator_create(rs, state_keep, merge_full, merge_partial,
                                                  merge_free, state_name));
    rocksdb_options_set_compaction_filter_factory(
        rs->profile,
        rocksdb_compactionfilterfactory_create(rs, state_keep, filter_begin, state_name));
}
