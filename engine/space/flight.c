/*
 * Reads under way; resident.h tells the plan, wait.c has who waits for them.
 *
 * All flights of a key stand in the same bucket, so that a change of the key finds them. Those of
 * elements, of which one collection may have thousands, have buckets of their own by key and
 * element. How many there may be at a time is bounded by a share of the memory (flights_max). A key
 * flight reads the key row. An element flight reads one element row; it may start together with
 * the key flight, and if it comes back first it waits for it. A scan brings all rows of a
 * collection in slices; between two slices the shard goes on. flight_list.c reads parts of lists.
 *
 * While reads of several rows of a collection are under way (coll->spans; of lists, strings and
 * sorted sets any reads) none of its elements leaves DRAM, dead ones included: so whatever the
 * reads bring is older than what is found, and is dropped. A large hash may be read all the time,
 * one field at a time; it would never lose any. There a change of an element makes the read of it
 * stale, and elements leave meanwhile.
 */
#include "engine/space/flight.h"

#include <errno.h>
#include <inttypes.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/space/group.h"
#include "engine/space/ks_state.h"
#include "engine/space/resident.h"
#include "engine/space/strval.h"

/* Reads under way at a time: as many as a share of the memory can take, but within these. */
#define FLIGHTS_MIN 64
#define FLIGHTS_MAX 8192
/* What one takes besides the row that it brings. */
#define FLIGHT_OWN_BYTES 1024

/*
 * Reads that gather at most before the readers get them. Handed over one by one, each wakes a
 * reader, which takes the processor from the shard's thread: figures in README.md.
 */
#define GATHERED_MAX 128

/* Rows of one batched read: RocksDB reads their blocks one after the other, threads do not. */
#define READ_BATCH_MAX 4

static struct list *bucket(struct keyspace *ks, uint64_t hash)
{
    return &ks->flights[hash & (KS_FLIGHT_BUCKETS - 1)];
}

static struct list *elem_bucket(struct keyspace *ks, const struct ks_key *key, struct bytes sub)
{
    const uint64_t hash = hash64(sub.ptr, sub.len, key->hash);

    return &ks->elem_flights[hash & (KS_FLIGHT_BUCKETS - 1)];
}

static bool same_key(const struct flight *f, const struct ks_key *key)
{
    return f->hash == key->hash && bytes_eq(flight_key(f).name, key->name);
}

struct flight *flight_find(struct keyspace *ks, enum flight_kind kind, const struct ks_key *key,
                           struct bytes sub)
{
    if (kind == FLIGHT_ELEM) {
        LIST_FOR_EACH(link, elem_bucket(ks, key, sub)) {
            struct flight *f = LIST_ITEM(link, struct flight, elem_link);
            if (!f->stale && same_key(f, key) && bytes_eq(flight_sub(f), sub))
                return f;
        }
        return NULL;
    }
    LIST_FOR_EACH(link, bucket(ks, key->hash)) {
        struct flight *f = LIST_ITEM(link, struct flight, bucket_link);
        if (f->kind == kind && !f->stale && same_key(f, key) && bytes_eq(flight_sub(f), sub))
            return f;
    }
    return NULL;
}

void ks_flights_stale_elem(struct keyspace *ks, const struct coll *coll, struct bytes sub)
{
    const struct ks_key key = ks_key_of_coll(coll);
    struct flight *f = flight_find(ks, FLIGHT_ELEM, &key, sub);

    if (f != NULL)
        f->stale = true;
}

void ks_flights_stale(struct keyspace *ks, const struct ks_key *key)
{
    if (ks->flights_count == 0)
        return;
    LIST_FOR_EACH(link, bucket(ks, key->hash)) {
        struct flight *f = LIST_ITEM(link, struct flight, bucket_link);
        if (same_key(f, key))
            f->stale = true;
    }
}

bool ks_flights_any(const struct keyspace *ks, const struct ks_key *key)
{
    if (ks->flights_count == 0)
        return false;
    LIST_FOR_EACH(link, &ks->flights[key->hash & (KS_FLIGHT_BUCKETS - 1)]) {
        if (same_key(LIST_ITEM(link, struct flight, bucket_link), key))
            return true;
    }
    return false;
}

/* --- life --- */

static void flight_free(struct flight *f)
{
    store_value_release(&f->value);
    buf_deinit(&f->rows);
    buf_deinit(&f->resume);
    buf_deinit(&f->far);
    buf_deinit(&f->last);
    mem_free(f);
}

/* The collection that it is for, if it is still there. */
static struct coll *coll_of(const struct flight *f)
{
    struct keytab_ref ref;
    const struct ks_key key = flight_key(f);

    if (f->coll_id == 0 ||
        keytab_find(f->ks->tab, key.slot, key.hash, key.name, &ref) != KEYTAB_HOT ||
        (ref.obj->h.flags & BLK_COLL) == 0)
        return NULL;
    struct coll *coll = obj_coll(ref.obj);
    return coll->id == f->coll_id ? coll : NULL;
}

void flight_land(struct flight *f)
{
    struct coll *coll = coll_of(f);

    list_remove(&f->bucket_link);
    if (f->kind == FLIGHT_ELEM)
        list_remove(&f->elem_link);
    f->ks->flights_count--;
    if (coll == NULL)
        return;
    coll->reads--;
    coll->spans -= f->kind != FLIGHT_ELEM;
}

/* Where a scan begins, and what it brings. */
static void scan_prepare(struct flight *f, const struct coll *coll)
{
    const struct ks_key key = flight_key(f);
    const struct bytes sub = bytes_of(flight_sub(f).ptr, ROW_CHUNK_SUB_BYTES);

    CHECK(coll != NULL);
    f->elem_kind = coll_row_kind(coll->type);
    if (f->sub_len == 0)
        return;
    CHECK(buf_reserve(&f->resume, rowkey_size(key.name, ROWKEY_KIND_CHUNK, sub)) == 0);
    buf_commit(&f->resume, rowkey_store_elem(buf_end(&f->resume), key.slot, key.hash, key.name,
                                             ROWKEY_KIND_CHUNK, sub));
}

struct flight *flight_create(struct keyspace *ks, const struct ks_key *key,
                             const struct flight_spec *spec, void (*fn)(struct mail *mail))
{
    const struct bytes sub = spec->sub;
    const size_t row_key_max = rowkey_size(key->name, spec->row_kind, sub);
    struct flight *f = mem_zalloc(sizeof(*f) + key->name.len + sub.len + row_key_max);
    uint8_t *row_key = f->data + key->name.len + sub.len;

    f->ks = ks;
    f->kind = (uint8_t)spec->kind;
    f->hash = key->hash;
    f->slot = key->slot;
    f->key_len = (uint16_t)key->name.len;
    f->sub_len = (uint16_t)sub.len;
    memcpy(f->data, key->name.ptr, key->name.len);
    if (sub.len != 0)
        memcpy(f->data + key->name.len, sub.ptr, sub.len);
    if (spec->row_kind != ROWKEY_KIND_KEY)
        f->row_key_len = (uint32_t)rowkey_store_elem(row_key, key->slot, key->hash, key->name,
                                                     spec->row_kind, sub);
    else
        f->row_key_len = (uint32_t)rowkey_store_key(row_key, key->slot, key->hash, key->name);
    list_init(&f->parked);
    list_init(&f->waiters);
    buf_init(&f->rows, UINT32_MAX);
    buf_init(&f->resume, ROWKEY_BYTES_MAX);
    buf_init(&f->far, ROWKEY_BYTES_MAX);
    buf_init(&f->last, ROWKEY_BYTES_MAX);
    f->job = (struct pool_job){.mail = {.fn = fn}, .reply_to = ks->options.mailbox};
    list_push_back(bucket(ks, key->hash), &f->bucket_link);
    if (spec->kind == FLIGHT_ELEM)
        list_push_back(elem_bucket(ks, key, sub), &f->elem_link);
    ks->flights_count++;
    if (spec->coll != NULL) {
        f->coll_id = spec->coll->id;
        spec->coll->reads++;
        spec->coll->spans += spec->kind != FLIGHT_ELEM;
    }
    if (spec->kind == FLIGHT_SCAN)
        scan_prepare(f, spec->coll);
    return f;
}

int flight_wait(struct flight *f, struct ks_wait *wait)
{
    f->ks->metrics.cold_reads += wait != NULL;
    if (wait != NULL)
        ks_wait_on(&f->waiters, wait);
    return 1;
}

int flight_rows_add(struct flight *f, struct bytes sub, struct bytes row)
{
    uint8_t head[FLIGHT_ROW_HEAD_BYTES];

    flight_row_head(head, sub.len, row.len);
    int err = buf_reserve(&f->rows, sizeof(head) + sub.len + row.len);
    if (err == 0)
        err = buf_append(&f->rows, head, sizeof(head));
    if (err == 0)
        err = buf_append_bytes(&f->rows, sub);
    return err == 0 ? buf_append_bytes(&f->rows, row) : err;
}

bool flight_rows_take(struct bytes *rows, struct bytes *out_sub, struct bytes *out_row)
{
    if (rows->len == 0)
        return false;
    const size_t sub_len = le32_load(rows->ptr), row_len = le32_load(rows->ptr + 4);
    *rows = bytes_from(*rows, FLIGHT_ROW_HEAD_BYTES);
    CHECK(bytes_take(rows, sub_len, out_sub) && bytes_take(rows, row_len, out_row));
    return true;
}

/* --- on the pool's threads --- */

static bool contains(const struct bytes *keys, uint32_t count, struct bytes key)
{
    for (uint32_t i = 0; i < count; i++) {
        if (keys[i].len == key.len && bytes_eq(keys[i], key))
            return true;
    }
    return false;
}

static void read_batch(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct keyspace *ks = ctx;
    struct bytes keys[READ_BATCH_MAX] = {{0}};
    struct store_value values[READ_BATCH_MAX];
    struct flight *flights[READ_BATCH_MAX];
    uint32_t count = 0;

    for (uint32_t i = 0; i < n; i++) {
        struct flight *f = container_of(jobs[i], struct flight, job);
        const struct bytes key = flight_row_key(f);
        if (contains(keys, count, key)) {
            /* A stale flight and its successor: a batch must not name a row twice. */
            store_get(ks->options.store, key, STORE_READ_NO_FILL, &f->value);
            continue;
        }
        keys[count] = key;
        flights[count++] = f;
    }
    store_multi_get(ks->options.store, count, keys, STORE_READ_NO_FILL, values);
    for (uint32_t i = 0; i < count; i++)
        flights[i]->value = values[i];
}

/* Appends the element at the cursor to the slice; false if it is not an element of the key. */
static bool scan_row(struct flight *f, struct store_iter *it)
{
    struct rowkey rk;
    struct bytes row;

    if (rowkey_parse(store_iter_key(it), &rk) != 0 || !bytes_eq(rk.key, flight_key(f).name))
        return false;
    if (rk.kind != f->elem_kind)
        return true;
    if (f->sub_len != 0 && bytes_cmp(rk.sub, bytes_from(flight_sub(f), ROW_CHUNK_SUB_BYTES)) > 0)
        return false; /* Behind the span. */
    if (store_iter_row(it, &row) != STORE_FOUND) {
        f->err = -ERR_CORRUPT;
        return false;
    }
    f->err = flight_rows_add(f, rk.sub, row);
    return f->err == 0;
}

void flight_read_slice(struct flight *f, bool (*take)(struct flight *f, struct store_iter *it))
{
    struct store_iter *it;
    const struct store_iter_options options = {.readahead_bytes = 128u << 10};
    const size_t from = f->rows.len;
    const uint32_t rows_max = f->kind == FLIGHT_SWEEP ? FLIGHT_SWEEP_ROWS : FLIGHT_SLICE_ROWS;
    uint32_t rows = 0;

    f->err = store_iter_open(f->ks->options.store, &options, &it);
    if (f->err != 0)
        return;
    f->end = true;
    store_iter_seek(it, f->resume.len != 0 ? buf_bytes(&f->resume) : flight_row_key(f));
    for (; store_iter_valid(it); store_iter_next(it)) {
        if (rows++ == rows_max || f->rows.len - from >= FLIGHT_SLICE_BYTES) {
            buf_clear(&f->resume);
            f->err = buf_append_bytes(&f->resume, store_iter_key(it));
            f->end = false;
            break;
        }
        if (!take(f, it))
            break;
    }
    if (f->err == 0)
        f->err = store_iter_status(it);
    store_iter_close(it);
}

static void scan_batch(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++)
        flight_read_slice(container_of(jobs[i], struct flight, job), scan_row);
}

/* --- back on the shard's thread --- */

/* All flights of a key that has become a resident collection count as its reads. */
static void adopt(struct keyspace *ks, const struct ks_key *key, struct coll *coll)
{
    LIST_FOR_EACH(link, bucket(ks, key->hash)) {
        struct flight *f = LIST_ITEM(link, struct flight, bucket_link);
        if (f->coll_id == 0 && f->kind != FLIGHT_KEY && same_key(f, key)) {
            f->coll_id = coll->id;
            coll->reads++;
            coll->spans += f->kind != FLIGHT_ELEM;
        }
    }
}

static int read_error(const struct flight *f)
{
    if (f->value.status == STORE_FOUND || f->value.status == STORE_ABSENT)
        return 0;
    return f->value.err != 0 ? f->value.err : -ERR_CORRUPT;
}

static void key_landed(struct flight *f)
{
    struct keytab_ref ref;
    struct row_view view;
    struct keyspace *ks = f->ks;
    const struct ks_key key = flight_key(f);

    if (keytab_find(ks->tab, key.slot, key.hash, key.name, &ref) != KEYTAB_COLD)
        return;
    f->err = ks_key_row_check(f->value.row, &view);
    if (f->err != 0)
        return;
    if (view.type == VT_NONE) {
        /* The entry in the table was another key's, or the key has gone meanwhile. */
        ks->metrics.row_read_misses++;
        keytab_remove(ks->tab, &ref);
        return;
    }
    struct obj *obj = ks_install(ks, &key, &ref, f->value.row, &view);
    if ((obj->h.flags & BLK_COLL) != 0)
        adopt(ks, &key, obj_coll(obj));
    ks_probation_add(ks, &key);
}

bool flight_row_ok(struct flight *f, const struct coll *coll, const struct ks_key *key,
                   struct bytes *row)
{
    struct row_view view;
    double score;

    if (bytes_empty(*row))
        return true;
    f->err = row_view(*row, 0, &view);
    if (f->err == 0 && coll->type == VT_ZSET && view.present)
        f->err = row_score(*row, &score);
    if (f->err != 0)
        return false;
    if (!view.present || ks_sweep_hides(f->ks, key, view.tag))
        *row = bytes_of(NULL, 0);
    return true;
}

static void elem_landed(struct flight *f)
{
    struct coll *coll = coll_of(f);

    if (coll == NULL)
        return;
    const struct ks_key key = flight_key(f);
    struct bytes row = f->value.row;
    if (!flight_row_ok(f, coll, &key, &row))
        return;
    if (coll->type != VT_STRING) {
        coll_install_fresh(f->ks, coll, flight_sub(f), row);
        return;
    }
    f->err = strval_install(coll, flight_sub(f), row);
    coll_account(f->ks, coll);
}

void flight_finish(struct flight *f, int err)
{
    struct keyspace *ks = f->ks;

    ks_wake_pinning(&f->waiters, ks, f->slot, f->hash, err);
    flight_free(f);
    ks_wake_room(ks);
}

void flight_part_land(struct flight *f, int (*install)(struct flight *f, struct coll *coll))
{
    struct coll *coll = f->stale ? NULL : coll_of(f);
    int err = f->err;

    f->ks->metrics.row_reads++;
    f->ks->metrics.stale_reads += f->stale;
    if (err == 0 && coll != NULL)
        err = install(f, coll);
    f->ks->metrics.row_read_errors += err != 0;
    flight_land(f);
    flight_finish(f, coll == NULL ? 0 : err);
}

/* What a key or element flight has brought becomes resident. */
static void take_row(struct flight *f)
{
    if (!f->stale && f->err == 0) {
        if (f->kind == FLIGHT_KEY)
            key_landed(f);
        else
            elem_landed(f);
    }
    flight_land(f);
}

static void read_done(struct flight *f)
{
    f->ks->metrics.row_read_errors += f->err != 0;
    flight_finish(f, f->stale ? 0 : f->err);
}

/* An element without its collection waits for a read of the key row, if there is one. */
static bool park(struct flight *f)
{
    const struct ks_key key = flight_key(f);
    struct flight *first = NULL;

    if (f->kind == FLIGHT_ELEM && f->coll_id == 0 && !f->stale)
        first = flight_find(f->ks, FLIGHT_KEY, &key, bytes_of(NULL, 0));
    if (first != NULL)
        list_push_back(&first->parked, &f->park_link);
    return first != NULL;
}

/* The mean size of what the last some hundred reads have brought. */
static void note_size(struct keyspace *ks, size_t len)
{
    const uint64_t size = FLIGHT_OWN_BYTES + len;

    ks->flight_bytes = ks->flight_bytes - ks->flight_bytes / 256 + size / 256 + 1;
}

uint32_t ks_flights_max(const struct keyspace *ks)
{
    return (uint32_t)u64_max(
        FLIGHTS_MIN, u64_min(FLIGHTS_MAX, ks->flights_bytes_max / u64_max(ks->flight_bytes, 1)));
}

void ks_set_reads_bytes_max(struct keyspace *ks, uint64_t bytes)
{
    ks->flights_bytes_max = bytes;
}

bool ks_fresh_full(const struct keyspace *ks)
{
    return ks->fresh_bytes > ks->flights_bytes_max;
}

bool ks_may_read_ahead(const struct keyspace *ks)
{
    const uint64_t coming = ks->flights_count * ks->flight_bytes;

    /* The other half is for those who cannot go on without. */
    return ks->flights_count < ks_flights_max(ks) / 2 && list_empty(&ks->room) &&
           ks->fresh_bytes + coming < ks->flights_bytes_max;
}

static void on_read(struct mail *mail)
{
    struct flight *f = container_of(container_of(mail, struct pool_job, mail), struct flight, job);
    struct list_link *link;

    f->err = read_error(f);
    note_size(f->ks, f->value.row.len);
    f->ks->metrics.row_reads++;
    f->ks->metrics.stale_reads += f->stale;
    if (park(f))
        return;
    take_row(f);
    while ((link = list_pop_front(&f->parked)) != NULL) {
        struct flight *elem = LIST_ITEM(link, struct flight, park_link);
        if (!park(elem)) {
            take_row(elem);
            read_done(elem);
        }
    }
    read_done(f);
}

static void install_row(struct flight *f, struct coll *coll, const struct ks_key *key,
                        struct bytes sub, struct bytes row)
{
    f->scanned_bytes += sub.len + row.len;
    if (!flight_row_ok(f, coll, key, &row) || bytes_empty(row))
        return;
    f->scanned_rows++;
    if (coll->type == VT_STRING)
        f->err = strval_install(coll, sub, row);
    else
        coll_install(f->ks, coll, sub, row);
    /* Not behind the slice: what was met until then is what is remembered (toolarge.c). */
    if (f->err == 0 && f->scanned_bytes > f->ks->scan_bytes_max)
        f->err = -ERR_LIMIT;
}

static int install_slice(struct flight *f, struct coll *coll)
{
    struct flight_row ordered[FLIGHT_ORDERED_MAX];
    struct bytes in = buf_bytes(&f->rows);
    const struct ks_key key = flight_key(f);
    struct bytes sub, row;
    uint32_t count = 0;

    if (coll->type == VT_HASH && coll->count <= FLIGHT_ORDERED_MAX && f->end)
        count = flight_rows_by_age(&in, ordered);
    for (uint32_t i = 0; i < count && f->err == 0; i++)
        install_row(f, coll, &key, ordered[i].sub, ordered[i].row);
    while (f->err == 0 && flight_rows_take(&in, &sub, &row))
        install_row(f, coll, &key, sub, row);
    if (f->err != 0)
        return f->err;
    return f->scanned_bytes > f->ks->scan_bytes_max ? -ERR_LIMIT : 0;
}

/* Whether all rows that the key row counts were there; a reply of fewer would be no reply. */
static int check_count(const struct keyspace *ks, const struct coll *coll)
{
    const bool counted = coll->type == VT_HASH || coll->type == VT_SET || coll->type == VT_ZSET;

    if (!counted || ks->recovering || coll_resident(coll) == coll->count)
        return 0;
    LOG_EVERY_MS(1000, LOG_LEVEL_ERROR, "space",
                 "a key counts other elements than the store has; DEL it counted=%" PRIu64
                 " found=%" PRIu64,
                 coll->count, coll_resident(coll));
    return -ERR_CORRUPT;
}

static void on_scanned(struct mail *mail)
{
    struct flight *f = container_of(container_of(mail, struct pool_job, mail), struct flight, job);
    struct coll *coll = f->stale ? NULL : coll_of(f);
    int err = f->err;

    if (coll != NULL && err == 0)
        err = install_slice(f, coll);
    if (coll != NULL && err == 0 && !f->end) {
        buf_clear(&f->rows);
        pool_submit(&f->ks->scan_class, &f->job);
        return;
    }
    f->ks->metrics.scans++;
    if (coll != NULL && err == 0)
        err = check_count(f->ks, coll);
    if (coll != NULL) {
        if (err == 0 && f->sub_len != 0)
            strval_span_done(coll, flight_sub(f));
        else
            coll->complete = coll->complete || err == 0;
        if (err == -ERR_LIMIT)
            ks_too_large_note(f->ks, coll, f->scanned_rows);
        coll_account(f->ks, coll);
    }
    flight_land(f);
    flight_finish(f, coll == NULL ? 0 : err);
}

/* --- to the pool --- */

void ks_submit_reads(struct keyspace *ks)
{
    if (ks->gathered_count == 0)
        return;
    pool_submit_chain(&ks->read_class, ks->gathered_first, ks->gathered_last, ks->gathered_count);
    ks->gathered_first = NULL;
    ks->gathered_last = NULL;
    ks->gathered_count = 0;
}

void ks_gather_reads(struct keyspace *ks)
{
    ks->gathers = true;
}

static void submit_read(struct keyspace *ks, struct flight *f)
{
    f->job.next = NULL;
    if (ks->gathered_last == NULL)
        ks->gathered_first = &f->job;
    else
        ks->gathered_last->next = &f->job;
    ks->gathered_last = &f->job;
    ks->gathered_count++;
    if (!ks->gathers || ks->gathered_count == GATHERED_MAX)
        ks_submit_reads(ks);
}

/* --- what a command asks --- */

static int need_read(struct keyspace *ks, const struct ks_key *key, const struct flight_spec *spec,
                     struct ks_wait *wait)
{
    const bool scan = spec->kind == FLIGHT_SCAN;
    struct flight *f = flight_find(ks, spec->kind, key, spec->sub);

    if (f == NULL && wait == NULL && !ks_may_read_ahead(ks))
        return 1;
    if (f == NULL && wait != NULL && ks_wait_for_room(ks, wait))
        return 1;
    if (f == NULL) {
        f = flight_create(ks, key, spec, scan ? on_scanned : on_read);
        if (scan)
            pool_submit(&ks->scan_class, &f->job);
        else
            submit_read(ks, f);
    }
    return flight_wait(f, wait);
}

static int need_key_row(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait)
{
    if (ks->group != NULL)
        return ks_group_need(ks, key, wait);
    return need_read(ks, key, &(struct flight_spec){.kind = FLIGHT_KEY}, wait);
}

/* As ks_need_key; ref->obj is the key's object if it is hot, else NULL. */
static int need_key(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait,
                    struct keytab_ref *ref)
{
    switch (keytab_find(ks->tab, key->slot, key->hash, key->name, ref)) {
    case KEYTAB_NONE:
        ref->obj = NULL;
        return 0;
    case KEYTAB_HOT:
        /* It may have to outlast the reads of the others that the command names. */
        if (ref->obj->heat == 0)
            ref->obj->heat = 1;
        return 0;
    case KEYTAB_COLD:
        break;
    }
    return need_key_row(ks, key, wait);
}

int ks_need_key(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait)
{
    struct keytab_ref ref;

    return need_key(ks, key, wait, &ref);
}

int ks_need_existence(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait)
{
    struct keytab_ref ref;

    if (keytab_find(ks->tab, key->slot, key->hash, key->name, &ref) != KEYTAB_COLD ||
        (!keytab_has_ttl(&ref) && keytab_type(&ref) != KS_MAYBE))
        return 0;
    if (ks->group != NULL)
        return ks_need_row(ks, key, wait);
    return need_key_row(ks, key, wait);
}

int ks_need_elem(struct keyspace *ks, const struct ks_key *key, struct bytes sub,
                 struct ks_wait *wait)
{
    struct keytab_ref ref;
    struct coll *coll = NULL;
    uint8_t type;

    switch (keytab_find(ks->tab, key->slot, key->hash, key->name, &ref)) {
    case KEYTAB_NONE:
        return 0;
    case KEYTAB_HOT:
        if ((ref.obj->h.flags & (BLK_COLL | BLK_DEAD)) != BLK_COLL)
            return 0;
        coll = obj_coll(ref.obj);
        if (coll->type == VT_LIST || coll->type == VT_STRING || coll_knows(coll, sub))
            return 0;
        type = coll->type;
        break;
    case KEYTAB_COLD:
        if (ks->group != NULL)
            return ks_group_need(ks, key, wait);
        type = keytab_type(&ref);
        if (type == VT_STRING || type == VT_CHUNKED || type == VT_LIST)
            return 0;
        break;
    default:
        UNREACHABLE();
    }
    const struct flight_spec spec = {
        .kind = FLIGHT_ELEM, .row_kind = coll_row_kind(type), .sub = sub, .coll = coll};
    return need_read(ks, key, &spec, wait);
}

int ks_need_chunk(struct keyspace *ks, const struct ks_key *key, struct bytes sub,
                  struct coll *coll, struct ks_wait *wait)
{
    const struct flight_spec spec = {
        .kind = FLIGHT_ELEM, .row_kind = ROWKEY_KIND_CHUNK, .sub = sub, .coll = coll};

    return need_read(ks, key, &spec, wait);
}

int ks_need_scan(struct keyspace *ks, const struct ks_key *key, struct bytes span,
                 struct coll *coll, struct ks_wait *wait)
{
    const struct flight_spec spec = {.kind = FLIGHT_SCAN, .sub = span, .coll = coll};

    return need_read(ks, key, &spec, wait);
}

int ks_need_whole(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait)
{
    struct keytab_ref ref;
    const int waiting = need_key(ks, key, wait, &ref);

    if (waiting != 0 || ref.obj == NULL || (ref.obj->h.flags & (BLK_COLL | BLK_DEAD)) != BLK_COLL)
        return waiting;
    struct coll *coll = obj_coll(ref.obj);
    if (coll->complete)
        return 0;
    if (coll->type == VT_LIST)
        return ks_need_list(ks, key, coll->count, 0, wait);
    if (coll->type == VT_STRING && coll->count > ks->scan_bytes_max)
        return -ERR_LIMIT;
    if (ks_too_large(ks, coll))
        return -ERR_LIMIT; /* Once is enough to find out. */
    return ks_need_scan(ks, key, bytes_of(NULL, 0), coll, wait);
}

void ks_flights_init(struct keyspace *ks)
{
    ks->read_class = (struct pool_class){.name = "read",
                                         .priority = POOL_FOREGROUND,
                                         .batch_max = READ_BATCH_MAX,
                                         .run_batch = read_batch,
                                         .ctx = ks};
    ks->scan_class = (struct pool_class){.name = "scan",
                                         .priority = POOL_BACKGROUND,
                                         .batch_max = 1,
                                         .run_batch = scan_batch,
                                         .ctx = ks};
    pool_add_class(ks->options.readers, &ks->read_class);
    pool_add_class(ks->options.readers, &ks->scan_class);
    for (size_t i = 0; i < KS_FLIGHT_BUCKETS; i++) {
        list_init(&ks->flights[i]);
        list_init(&ks->elem_flights[i]);
    }
    list_init(&ks->room);
    ks->flight_bytes = FLIGHT_OWN_BYTES;
    ks->flights_bytes_max = UINT64_MAX;
    flight_list_init(ks);
    flight_zset_init(ks);
}
