/*
 * Sweeps: the element rows of a collection that was deleted or overwritten.
 *
 * DEL of a collection writes its key row only. Its element rows stay in the store as garbage that
 * nobody must see, until a sweep has removed them. A sweep is {key, limit}: rows of the key whose
 * tag is at or below the limit are garbage. It lives
 *
 *     in DRAM     in a list and a table by key, asked when an element row is read;
 *     on flash    as a sweep row, written in the same batch as the key row that made it
 *                 necessary, removed by a batch after the last slice.
 *
 * The rows are removed in slices on the maintenance thread, which writes all batches: no row of
 * the key can change between the look and the delete. A key that is deleted again while its sweep
 * runs raises the limit and starts over. The sweep row itself comes and goes by the batches that
 * the shard's thread builds, in the order of what it knows: a slice that removed it could remove
 * the one that a later delete of the key has just brought, and with it the only memory of what is
 * garbage.
 */
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/space/ks_state.h"

/* Rows looked at by the slices of one batch, together. */
#define SLICE_ROWS 4096
/* Slices of different keys that are run together. */
#define SWEEP_BATCH_MAX 16

enum sweep_row {
    SWEEP_ROW_WANTED, /* To be put together with the key row. */
    SWEEP_ROW_PUT,    /* In the batch under way. */
    SWEEP_ROW_STORED,
    SWEEP_ROW_TAKEN, /* Its removal is in the batch under way. */
    SWEEP_ROW_GONE,
};

struct sweep {
    struct list_link link;
    struct list_link bucket_link;
    struct keyspace *ks;
    struct pool_job job;
    struct tag limit;
    struct tag running_limit; /* Of the slices under way. */
    uint64_t hash;
    uint16_t slot;
    uint16_t key_len;
    enum sweep_row row; /* Slices run while it is stored. */
    bool running;       /* A slice is under way. */
    bool end;           /* The last slice found the end. */
    bool ended;         /* No garbage is left; it hides what late reads bring, and its row goes. */
    int err;
    struct buf resume;
    struct store_batch batch;
    uint8_t *name; /* Scratch of the slices for one row key. */
    uint8_t key[];
};

static struct ks_key sweep_key(const struct sweep *s)
{
    return (struct ks_key){.name = bytes_of(s->key, s->key_len), .hash = s->hash, .slot = s->slot};
}

static struct list *bucket(const struct keyspace *ks, uint64_t hash)
{
    return &ks->sweep_buckets[hash & (KS_SWEEP_BUCKETS - 1)];
}

static struct sweep *find(const struct keyspace *ks, const struct ks_key *key)
{
    if (ks->sweeps_count == 0)
        return NULL;
    LIST_FOR_EACH(link, bucket(ks, key->hash)) {
        struct sweep *s = LIST_ITEM(link, struct sweep, bucket_link);
        if (s->hash == key->hash && bytes_eq(sweep_key(s).name, key->name))
            return s;
    }
    return NULL;
}

bool ks_sweep_pending(const struct keyspace *ks, const struct ks_key *key)
{
    return find(ks, key) != NULL;
}

bool ks_sweep_hides(const struct keyspace *ks, const struct ks_key *key, struct tag tag)
{
    const struct sweep *s = find(ks, key);

    return s != NULL && tag_cmp(tag, s->limit) <= 0;
}

bool ks_sweep_limit(const struct keyspace *ks, const struct ks_key *key, struct tag *out)
{
    const struct sweep *s = find(ks, key);

    if (s != NULL)
        *out = s->limit;
    return s != NULL;
}

static void on_slice(struct mail *mail);

static void buckets_create(struct keyspace *ks)
{
    ks->sweep_buckets = mem_alloc(KS_SWEEP_BUCKETS * sizeof(struct list));
    for (size_t i = 0; i < KS_SWEEP_BUCKETS; i++)
        list_init(&ks->sweep_buckets[i]);
}

static struct sweep *sweep_new(struct keyspace *ks, const struct ks_key *key)
{
    struct sweep *s = mem_zalloc(sizeof(*s) + key->name.len);

    s->ks = ks;
    s->hash = key->hash;
    s->slot = key->slot;
    s->key_len = (uint16_t)key->name.len;
    memcpy(s->key, key->name.ptr, key->name.len);
    buf_init(&s->resume, ROWKEY_BYTES_MAX);
    store_batch_init(&s->batch, 64u << 20);
    s->name = mem_alloc(rowkey_sweep_size(key->name));
    s->job = (struct pool_job){.mail = {.fn = on_slice}, .reply_to = ks->options.mailbox};
    if (ks->sweep_buckets == NULL)
        buckets_create(ks);
    list_push_back(&ks->sweeps, &s->link);
    list_push_back(bucket(ks, key->hash), &s->bucket_link);
    ks->sweeps_count++;
    return s;
}

/* From the list in which it is to another. */
static void move(struct sweep *s, struct list *to)
{
    list_remove(&s->link);
    list_push_back(to, &s->link);
}

static void set_ended(struct sweep *s, bool ended)
{
    s->ks->sweeps_ended_count += ended;
    s->ks->sweeps_ended_count -= s->ended;
    s->ended = ended;
}

static void sweep_free(struct sweep *s)
{
    set_ended(s, false);
    list_remove(&s->link);
    list_remove(&s->bucket_link);
    s->ks->sweeps_count--;
    buf_deinit(&s->resume);
    store_batch_deinit(&s->batch);
    mem_free(s->name);
    mem_free(s);
}

/* The rows with the tag of the change itself belong to what comes after it. */
void ks_sweep_add(struct keyspace *ks, const struct ks_key *key, struct tag tag)
{
    struct sweep *s = find(ks, key);

    ks_too_large_forget(ks, key);
    if (s == NULL)
        s = sweep_new(ks, key);
    s->limit = tag_of(tag.hlc - 1, tag.origin);
    s->row = SWEEP_ROW_WANTED;
    if (s->ended) {
        /* Needed once more. */
        set_ended(s, false);
        move(s, &ks->sweeps);
        s->end = false;
        buf_clear(&s->resume);
    }
}

void ks_sweep_load(struct keyspace *ks, const struct ks_key *key, struct tag limit)
{
    struct sweep *s = sweep_new(ks, key);

    s->limit = limit;
    s->row = SWEEP_ROW_STORED;
}

/* Appends the sweep row to the batch that brings the key row. */
void ks_sweep_put(struct keyspace *ks, const struct ks_key *key)
{
    /* The store keeps rows of at least one byte whose first is none of its own: a tag's would be.
     */
    uint8_t row[1 + TAG_BYTES] = {0x01};
    struct sweep *s = find(ks, key);

    if (s == NULL || s->row != SWEEP_ROW_WANTED)
        return;
    tag_store(row + 1, s->limit);
    const size_t len = rowkey_store_sweep(ks->name, key->slot, key->hash, key->name);
    CHECK(store_batch_put(&ks->flush.batch, bytes_of(ks->name, len), bytes_of(row, sizeof(row))) ==
          0);
    s->row = SWEEP_ROW_PUT;
    move(s, &ks->sweeps);
}

void ks_sweep_take(struct keyspace *ks)
{
    LIST_FOR_EACH(link, &ks->sweeps_ended) {
        struct sweep *s = LIST_ITEM(link, struct sweep, link);
        if (s->row != SWEEP_ROW_STORED)
            continue;
        const struct ks_key key = sweep_key(s);
        const size_t len = rowkey_store_sweep(ks->name, key.slot, key.hash, key.name);
        CHECK(store_batch_delete(&ks->flush.batch, bytes_of(ks->name, len)) == 0);
        s->row = SWEEP_ROW_TAKEN;
    }
}

/* Those that were needed again meanwhile are wanted, whatever became of the batch. */
static void batch_done(struct sweep *s, bool written)
{
    if (s->row == SWEEP_ROW_PUT)
        s->row = written ? SWEEP_ROW_STORED : SWEEP_ROW_WANTED;
    else if (s->row == SWEEP_ROW_TAKEN)
        s->row = written ? SWEEP_ROW_GONE : SWEEP_ROW_STORED;
}

/* --- slices --- */

/* Maintenance thread: collects what the slice finds. */
static void find_garbage(struct sweep *s, struct store_iter *it, uint32_t rows_max)
{
    struct rowkey rk;
    struct bytes row;
    struct row_view view;
    const struct ks_key key = sweep_key(s);
    uint32_t rows = 0;

    uint8_t *prefix = s->name;
    const size_t prefix_len = rowkey_store_prefix(prefix, key.slot, key.hash, key.name);
    s->end = true;
    store_iter_seek(it, s->resume.len != 0 ? buf_bytes(&s->resume) : bytes_of(prefix, prefix_len));
    for (; store_iter_valid(it) && s->err == 0; store_iter_next(it)) {
        const struct bytes name = store_iter_key(it);
        if (rowkey_parse(name, &rk) != 0 || !bytes_eq(rk.key, key.name))
            break;
        if (rows++ == rows_max) {
            buf_clear(&s->resume);
            s->err = buf_append_bytes(&s->resume, name);
            s->end = false;
            break;
        }
        if (rk.kind == ROWKEY_KIND_KEY || store_iter_row(it, &row) != STORE_FOUND ||
            row_view(row, 0, &view) != 0 || tag_cmp(view.tag, s->running_limit) > 0)
            continue;
        s->err = store_batch_delete(&s->batch, name);
    }
    if (s->err == 0)
        s->err = store_iter_status(it);
}

/*
 * One cursor for all: each has a key of its own, and this thread alone writes. Without readahead:
 * most collections are small.
 */
static void sweep_batch(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct keyspace *ks = ctx;
    struct store_iter *it;
    const struct store_iter_options options = {0};
    const int err = store_iter_open(ks->options.store, &options, &it);

    for (uint32_t i = 0; i < n; i++) {
        struct sweep *s = container_of(jobs[i], struct sweep, job);
        store_batch_clear(&s->batch);
        s->err = err;
        if (err == 0)
            find_garbage(s, it, SLICE_ROWS / n);
    }
    if (err == 0)
        store_iter_close(it);
    for (uint32_t i = 0; i < n; i++) {
        struct sweep *s = container_of(jobs[i], struct sweep, job);
        if (s->err == 0 && store_batch_count(&s->batch) != 0)
            s->err = store_write(ks->options.store, &s->batch, 0);
    }
}

static void start_slice(struct sweep *s)
{
    s->ks->sweeps_running += !s->running;
    s->running = true;
    s->running_limit = s->limit;
    pool_submit(&s->ks->sweep_class, &s->job);
}

/*
 * A read that started before the rows were removed may still bring one: what is to hide it stays
 * until no read of the key is under way, and until its row is gone.
 */
static void free_ended(struct keyspace *ks)
{
    LIST_FOR_EACH_SAFE(link, &ks->sweeps_ended) {
        struct sweep *s = LIST_ITEM(link, struct sweep, link);
        const struct ks_key key = sweep_key(s);
        if (s->row == SWEEP_ROW_GONE && !ks_flights_any(ks, &key))
            sweep_free(s);
    }
}

static void on_slice(struct mail *mail)
{
    struct sweep *s = container_of(container_of(mail, struct pool_job, mail), struct sweep, job);
    struct keyspace *ks = s->ks;

    s->running = false;
    ks->sweeps_running--;
    if (s->err != 0) {
        /* Tried again with the next batch. */
        LOG_EVERY_MS(1000, LOG_LEVEL_WARN, "space", "cannot sweep err=\"%s\"", err_str(s->err));
        buf_clear(&s->resume);
        move(s, &ks->sweeps);
        return;
    }
    ks->metrics.flushed_deletes += store_batch_count(&s->batch);
    if (tag_cmp(s->limit, s->running_limit) != 0) {
        /* Deleted again: over once more, when its new sweep row is there. */
        buf_clear(&s->resume);
        if (s->row == SWEEP_ROW_STORED)
            start_slice(s);
        else
            move(s, &ks->sweeps);
        return;
    }
    if (!s->end) {
        start_slice(s);
        return;
    }
    ks->metrics.sweeps++;
    set_ended(s, true);
    move(s, &ks->sweeps_ended);
    /* Many may wait for the batch that takes their rows away. */
    store_batch_deinit(&s->batch);
    buf_deinit(&s->resume);
}

void ks_sweep_batch_done(struct keyspace *ks, bool written)
{
    LIST_FOR_EACH(link, &ks->sweeps)
        batch_done(LIST_ITEM(link, struct sweep, link), written);
    LIST_FOR_EACH(link, &ks->sweeps_ended)
        batch_done(LIST_ITEM(link, struct sweep, link), written);
    free_ended(ks);
    /* A slice beside writes of this thread could delete a row that is newer than its look. */
    if (ks->recovering || ks->writing_here)
        return;
    LIST_FOR_EACH_SAFE(link, &ks->sweeps) {
        struct sweep *s = LIST_ITEM(link, struct sweep, link);
        if (s->row != SWEEP_ROW_STORED)
            continue;
        if (!s->running)
            start_slice(s);
        move(s, &ks->sweeps_begun);
    }
}

uint64_t ks_sweep_count(const struct keyspace *ks)
{
    return ks->sweeps_count - ks->sweeps_ended_count;
}

bool ks_sweep_running(const struct keyspace *ks)
{
    return ks->sweeps_running != 0;
}

void ks_sweep_init(struct keyspace *ks)
{
    ks->sweep_class = (struct pool_class){.name = "sweep",
                                          .priority = POOL_BACKGROUND,
                                          .batch_max = SWEEP_BATCH_MAX,
                                          .run_batch = sweep_batch,
                                          .ctx = ks};
    pool_add_class(ks->options.maintainer, &ks->sweep_class);
}

static void free_list(struct list *sweeps)
{
    while (!list_empty(sweeps))
        sweep_free(LIST_ITEM(list_first(sweeps), struct sweep, link));
}

void ks_sweep_deinit(struct keyspace *ks)
{
    free_list(&ks->sweeps);
    free_list(&ks->sweeps_begun);
    free_list(&ks->sweeps_ended);
    mem_free(ks->sweep_buckets);
    ks->sweep_buckets = NULL;
}
