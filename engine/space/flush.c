/* Write-back of dirty rows; flush.h tells the rules. */
#include "engine/space/flush.h"

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/space/group.h"
#include "engine/space/ks_state.h"
#include "engine/space/overlay.h"
#include "engine/space/strval.h"

/*
 * Rows and bytes of one slice, which is what a turn adds to the batch: a tenth of a millisecond.
 * Counted rather than timed, so that the same input gives the same batches.
 */
#define SLICE_ROWS_MAX  256
#define SLICE_BYTES_MAX (256u << 10)
/* Rows of one batch, so that a flight of small rows is bounded, too. */
#define BATCH_ROWS_MAX 16384
/* Of one list in one slice: it cannot be divided into several of a batch. */
#define SLICE_LIST_BYTES_MAX (1u << 20)
/* Elements and deletions of one list in a batch. */
#define BATCH_LIST_ROWS_MAX 16384
/* A batch that the store refused is tried again after this time, then twice as long. */
#define RETRY_MS_MIN 10
#define RETRY_MS_MAX 1000
/* Between two questions to the store for its debt. */
#define DEBT_MS 50
/* Of one batch when everything is written at once. */
#define NOW_BATCH_BYTES (1u << 20)
/* Room beyond the asked bytes: one row may be as long as the largest value. */
#define BATCH_BYTES_MAX (640u << 20)
/* A buffer that has grown beyond this, and beyond what batches need, is freed after use. */
#define BATCH_BYTES_KEPT (2u << 20)

/* --- the points at which the covered position can stand --- */

void ks_flush_point(struct keyspace *ks, uint64_t lsn, const struct vv *vv)
{
    struct ks_flush *f = &ks->flush;

    ks->applied_lsn = lsn;
    if (f->points_count != 0) {
        const uint32_t last = (f->points_first + f->points_count - 1) % KS_POINTS_MAX;
        /* A full ring forgets its latest point: the oldest are needed first. */
        if (f->points[last].lsn == lsn || f->points_count == KS_POINTS_MAX)
            f->points_count--;
    }
    struct ks_point *p = &f->points[(f->points_first + f->points_count++) % KS_POINTS_MAX];
    p->lsn = lsn;
    p->vv = *vv;
    if (unlikely(f->point_seqs != NULL))
        vv_copy(&f->point_seqs[p - f->points], &f->seqs);
}

void ks_flush_seqs(struct keyspace *ks, const struct vv *seqs)
{
    struct ks_flush *f = &ks->flush;

    if (f->point_seqs == NULL)
        f->point_seqs = mem_zalloc_array(KS_POINTS_MAX, sizeof(*f->point_seqs));
    vv_copy(&f->seqs, seqs);
}

void ks_flush_note(struct keyspace *ks, struct bytes note)
{
    struct ks_flush *f = &ks->flush;

    CHECK(note.len <= sizeof(f->note));
    f->note_len = (uint32_t)note.len;
    if (note.len != 0)
        memcpy(f->note, note.ptr, note.len);
}

static const struct ks_point *point(const struct ks_flush *f, uint32_t i)
{
    return &f->points[(f->points_first + i) % KS_POINTS_MAX];
}

/* The latest point at or below `lsn`, or NULL. */
static const struct ks_point *point_at(const struct ks_flush *f, uint64_t lsn)
{
    const struct ks_point *found = NULL;

    for (uint32_t i = 0; i < f->points_count && point(f, i)->lsn <= lsn; i++)
        found = point(f, i);
    return found;
}

void ks_flush_begin(struct keyspace *ks, uint64_t lsn, const struct vv *vv)
{
    CHECK(ks->flush.points_count == 0);
    ks->flush.covered_lsn = lsn;
    ks_flush_point(ks, lsn, vv);
}

/* What the store covers now is the first one: no batch after this one covers less. */
static void drop_points(struct ks_flush *f)
{
    while (f->points_count > 1 && point(f, 1)->lsn <= f->covered_lsn) {
        f->points_first = (f->points_first + 1) % KS_POINTS_MAX;
        f->points_count--;
    }
}

/* --- building a batch --- */

/* A row of the batch; running out of memory here ends the process, as for any row. */
static void batch_put(struct keyspace *ks, struct bytes key, struct bytes row)
{
    CHECK(store_batch_put(&ks->flush.batch, key, row) == 0);
    ks->metrics.flushed_bytes += key.len + row.len;
}

static void batch_delete(struct keyspace *ks, struct bytes key)
{
    CHECK(store_batch_delete(&ks->flush.batch, key) == 0);
    ks->metrics.flushed_deletes++;
}

/* Of a group: the key row stands with the object, whatever it is; what nobody sees is kept. */
static void put_group_row(struct keyspace *ks, struct obj *obj, const struct ks_key *key,
                          struct bytes row_key)
{
    const bool dead = (obj->h.flags & BLK_DEAD) != 0;

    obj->h.flags |= BLK_STORED;
    batch_put(ks, row_key, obj_row(obj));
    ks_group_note_row(ks, key, obj_row(obj));
    ks_keys_note(ks, key, dead ? KS_GHOST : ks_obj_table_type(obj), (obj->h.flags & BLK_TTL) != 0);
    obj->told = 0;
    if ((obj->h.flags & BLK_TTL) != 0)
        ks_expire_put(ks, key, ks_expire_at(obj));
}

static void put_key_row(struct keyspace *ks, struct obj *obj)
{
    const struct ks_key key = ks_key_of_obj(ks, obj);

    /* Both write their row keys to ks->name, each for the time of its put. */
    if (unlikely(ks->sweeps_count != 0))
        ks_sweep_put(ks, &key);
    const struct bytes row_key =
        bytes_of(ks->name, rowkey_store_key(ks->name, key.slot, key.hash, key.name));

    if (unlikely(ks->group != NULL) && obj->h.row_len != 0) {
        put_group_row(ks, obj, &key, row_key);
        return;
    }
    if ((obj->h.flags & BLK_DEAD) != 0) {
        batch_delete(ks, row_key);
        ks_keys_note(ks, &key, VT_NONE, false);
        obj->told = 0;
        return;
    }
    obj->h.flags |= BLK_STORED;
    if (obj->told != ks_obj_state(obj)) {
        ks_keys_note(ks, &key, ks_obj_table_type(obj), (obj->h.flags & BLK_TTL) != 0);
        /* Not known until the batch is written with the row as it is now. */
        obj->told = 0;
    }
    if ((obj->h.flags & BLK_COLL) != 0)
        batch_put(ks, row_key, coll_key_row(ks, obj_coll(obj)));
    if (obj_is_chunked(obj))
        strval_put(ks, obj_coll(obj), batch_put);
    else if ((obj->h.flags & BLK_COLL) == 0)
        batch_put(ks, row_key, obj_row(obj));
    if ((obj->h.flags & BLK_TTL) != 0)
        ks_expire_put(ks, &key, ks_expire_at(obj));
}

/* Before the first row of a sorted set in a batch: the index rows that go. */
static void put_index_gone(struct keyspace *ks, const struct ks_key *key, struct coll *coll)
{
    double score;
    struct bytes member;
    bool any = false;

    for (; coll_index_take_gone(coll, &score, &member); any = true)
        batch_delete(ks, bytes_of(ks->name, rowkey_store_zindex(ks->name, key->slot, key->hash,
                                                                key->name, score, member)));
    if (any && !list_linked(&coll->flush_link))
        list_push_back(&ks->flush.lists, &coll->flush_link);
}

/* The index row of a member; its value has the tag that tells garbage (sweep.c). */
static void put_index_row(struct keyspace *ks, const struct ks_key *key, const struct elem *elem)
{
    struct row_view view;
    uint8_t row[ROW_INDEX_BYTES_MAX];

    CHECK(row_view(elem_row(elem), 0, &view) == 0);
    const size_t len = row_index_store(row, view.tag, coll_score(elem));
    batch_put(ks,
              bytes_of(ks->name, rowkey_store_zindex(ks->name, key->slot, key->hash, key->name,
                                                     coll_score(elem), elem_sub(elem))),
              bytes_of(row, len));
}

static void put_elem_row(struct keyspace *ks, struct coll *coll, struct elem *elem)
{
    uint8_t *name = ks->name;
    const struct ks_key key = ks_key_of_coll(coll);

    if (coll->type == VT_ZSET && !coll->grouped) {
        elem->h.flags &= (uint8_t)~BLK_NOTED;
        put_index_gone(ks, &key, coll);
        if ((elem->h.flags & BLK_DEAD) == 0)
            put_index_row(ks, &key, elem);
    }
    const struct bytes row_key =
        bytes_of(name, rowkey_store_elem(name, key.slot, key.hash, key.name,
                                         coll_row_kind(coll->type), elem_sub(elem)));

    if ((elem->h.flags & BLK_DEAD) != 0 && (!coll->grouped || elem->h.row_len == 0)) {
        batch_delete(ks, row_key);
        return;
    }
    if (coll->grouped)
        ks_group_note_row(ks, &key, elem_row(elem));
    elem->h.flags |= BLK_STORED;
    coll->stored = true;
    batch_put(ks, row_key, elem_row(elem));
}

struct list_flush {
    struct keyspace *ks;
    struct ks_key key;
};

static void list_put(void *ctx, struct bytes pos, struct bytes row)
{
    struct list_flush *l = ctx;
    uint8_t *name = l->ks->name;

    batch_put(l->ks,
              bytes_of(name, rowkey_store_elem(name, l->key.slot, l->key.hash, l->key.name,
                                               ROWKEY_KIND_LIST, pos)),
              row);
}

static void list_delete(void *ctx, struct bytes pos)
{
    struct list_flush *l = ctx;
    uint8_t *name = l->ks->name;

    batch_delete(l->ks, bytes_of(name, rowkey_store_elem(name, l->key.slot, l->key.hash,
                                                         l->key.name, ROWKEY_KIND_LIST, pos)));
}

/*
 * A list's changes, as many as the batch has room for: the ring knows one position for the list as
 * a whole. True if some are left.
 */
static bool put_list(struct keyspace *ks, struct coll *coll, uint64_t bytes_max)
{
    struct list_flush l = {.ks = ks, .key = ks_key_of_coll(coll)};
    const uint64_t before = store_batch_bytes(&ks->flush.batch);

    coll->stored = true;
    (void)listq_flush_begin(&coll->seq, BATCH_LIST_ROWS_MAX, bytes_max - before, list_put,
                            list_delete, &l);
    list_push_back(&ks->flush.lists, &coll->flush_link);
    const uint64_t lsn = listq_lowest_lsn(&coll->seq);
    const uint64_t bytes = store_batch_bytes(&ks->flush.batch) - before;
    const uint64_t gone = lsn == UINT64_MAX ? coll->unsaved : u64_min(bytes, coll->unsaved);
    dirty_shrink(&ks->dirty, gone);
    coll->unsaved -= gone;
    if (lsn == UINT64_MAX)
        return false;
    dirty_return(&ks->dirty, &coll->list_head, coll, lsn);
    return true;
}

/* The lists, sorted sets and strings of the batch: it was written, or not. */
static void lists_done(struct keyspace *ks, bool written)
{
    struct list_link *link;

    while ((link = list_pop_front(&ks->flush.lists)) != NULL) {
        struct coll *coll = LIST_ITEM(link, struct coll, flush_link);
        if (coll->type == VT_STRING) {
            strval_put_done(ks, coll, written);
            continue;
        }
        if (coll->type == VT_ZSET) {
            coll_index_flown(ks, coll, written);
            continue;
        }
        if (!written) {
            listq_flush_failed(&coll->seq);
            continue;
        }
        listq_flush_done(&coll->seq);
        if (ks->recovering && !listq_dirty(&coll->seq))
            coll_list_forget(ks, coll);
    }
}

/*
 * Adds a slice to the batch. True if the batch is complete. What changes while it is built enters
 * the ring behind its end, so that no row or list is in it twice.
 */
static bool build_slice(struct keyspace *ks)
{
    struct ks_flush *f = &ks->flush;
    struct coll *coll;
    const uint64_t before = store_batch_bytes(&f->batch);
    const uint64_t slice_max = u64_min(before + SLICE_BYTES_MAX, f->bytes_max);

    for (uint32_t i = 0; i < SLICE_ROWS_MAX && store_batch_bytes(&f->batch) < slice_max; i++) {
        struct row_head *row = dirty_take(&ks->dirty, f->end, &coll);
        if (row == NULL)
            return true;
        if (unlikely(coll != NULL && coll->retired)) {
            dirty_forget(&ks->dirty, row);
            continue;
        }
        ks->metrics.flushed_rows++;
        if (row->type == OVERLAY_ROW) {
            ks_group_put(ks, row);
        } else if (coll == NULL) {
            put_key_row(ks, container_of(row, struct obj, h));
        } else if (row == &coll->list_head) {
            if (put_list(ks, coll, u64_min(before + SLICE_LIST_BYTES_MAX, f->bytes_max)))
                return true;
        } else {
            put_elem_row(ks, coll, container_of(row, struct elem, h));
        }
    }
    return store_batch_bytes(&f->batch) >= f->bytes_max || ks->dirty.flight_count >= BATCH_ROWS_MAX;
}

/* The batch is complete: what the store covers with it. */
static void build_end(struct keyspace *ks)
{
    struct ks_flush *f = &ks->flush;

    f->building = false;
    if (unlikely(ks->sweeps_count != 0))
        ks_sweep_take(ks);
    ks_keys_put(ks, &f->batch);
    /* What is left in the ring is what the store will not have; what it covers, it goes on doing:
     * rows that garbage collection made simpler may be from before. */
    const uint64_t lowest = dirty_lowest_lsn(&ks->dirty);
    const uint64_t lsn = lowest == UINT64_MAX ? ks->applied_lsn : lowest - 1;
    const struct ks_point *p = point_at(f, u64_max(lsn, f->covered_lsn));
    f->covered_building = 0;
    /* What was collected on the strength of the note must not get there without it. */
    CHECK_SLOW(f->note_len == 0 || (p != NULL && p->lsn >= f->covered_lsn));
    if (p != NULL && p->lsn >= f->covered_lsn) {
        uint8_t vv[2 * VV_BYTES_MAX + KS_NOTE_BYTES_MAX];
        size_t len = vv_encode(&p->vv, vv);
        if (unlikely(f->point_seqs != NULL))
            len += vv_encode(&f->point_seqs[p - f->points], vv + len);
        if (unlikely(f->note_len != 0))
            memcpy(vv + len, f->note, f->note_len);
        len += f->note_len;
        CHECK(store_batch_set_covered(&f->batch, p->lsn, bytes_of(vv, len)) == 0);
        f->covered_building = p->lsn;
    }
}

/* --- the life of a batch --- */

bool ks_flush_start(struct keyspace *ks, uint64_t bytes_max, uint64_t now_ms)
{
    struct ks_flush *f = &ks->flush;

    if (f->busy || !dirty_any(&ks->dirty) || now_ms < f->retry_at_ms)
        return false;
    store_batch_clear(&f->batch);
    f->busy = true;
    f->building = true;
    f->end = dirty_end(&ks->dirty);
    f->bytes_max = bytes_max;
    f->now_ms = now_ms;
    return true;
}

bool ks_flush_step(struct keyspace *ks)
{
    struct ks_flush *f = &ks->flush;

    if (!f->building || !build_slice(ks))
        return false;
    build_end(ks);
    f->waiting = true;
    f->batch_lsn = ks->applied_lsn;
    ks->options.request_sync(ks->options.ctx);
    return true;
}

bool ks_flush_building(const struct keyspace *ks)
{
    return ks->flush.building;
}

void ks_flush_on_durable(struct keyspace *ks, uint64_t lsn)
{
    struct ks_flush *f = &ks->flush;

    if (!f->waiting || lsn < f->batch_lsn)
        return;
    f->waiting = false;
    pool_submit(&f->cls, &f->job);
}

/* Maintenance thread. */
static void write_batch(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct ks_flush *f = ctx;

    CHECK(n == 1);
    (void)jobs;
    f->err = store_write(f->ks->options.store, &f->batch, 0);
    const uint64_t now_ms = clock_mono_ns() / 1000000;
    if (now_ms - f->debt_at_ms < DEBT_MS)
        return;
    f->debt_at_ms = now_ms;
    store_debt(f->ks->options.store, &f->debt_found);
}

static void row_clean(void *ctx, struct row_head *row, struct coll *coll)
{
    struct keyspace *ks = ctx;
    struct keytab_ref ref;

    if (row->type == OVERLAY_ROW) {
        ks_group_written(ks, row);
        return;
    }
    if (coll != NULL) {
        if (row != &coll->list_head && !coll->retired)
            coll_elem_clean(ks, coll, container_of(row, struct elem, h));
        return;
    }
    struct obj *obj = container_of(row, struct obj, h);
    if ((obj->h.flags & BLK_DEAD) == 0) {
        obj_tell(obj, ks_obj_table_type(obj), (obj->h.flags & BLK_TTL) != 0);
        return;
    }
    const struct ks_key key = ks_key_of_obj(ks, obj);
    CHECK(keytab_find(ks->tab, key.slot, key.hash, key.name, &ref) == KEYTAB_HOT);
    if (ks->group != NULL) {
        (void)ks_group_demote_dead(ks, &ref);
        return;
    }
    keytab_remove(ks->tab, &ref);
    ks_obj_free(ks, obj);
}

/* What follows from the outcome of a batch. */
static void batch_done(struct keyspace *ks)
{
    struct ks_flush *f = &ks->flush;

    f->busy = false;
    f->debt = f->debt_found;
    ks_keys_done(ks, f->err == 0);
    if (f->err != 0) {
        ks->metrics.flush_failures++;
        f->retry_at_ms =
            f->now_ms + u64_min((uint64_t)RETRY_MS_MIN << u64_min(f->retries, 10), RETRY_MS_MAX);
        f->retries++;
        LOG_EVERY_MS(1000, LOG_LEVEL_ERROR, "space", "cannot write to the store err=\"%s\"",
                     err_str(f->err));
        ks_sweep_batch_done(ks, false);
        lists_done(ks, false);
        dirty_flight_failed(&ks->dirty);
        return;
    }
    f->retries = 0;
    f->retry_at_ms = 0;
    ks->metrics.flushes++;
    if (f->covered_building != 0)
        f->covered_lsn = f->covered_building;
    drop_points(f);
    lists_done(ks, true);
    dirty_flight_done(&ks->dirty, row_clean, ks);
    ks_sweep_batch_done(ks, true);
    if (f->batch.buf.cap > u64_max(2 * f->bytes_max, BATCH_BYTES_KEPT)) {
        store_batch_deinit(&f->batch);
        store_batch_init(&f->batch, BATCH_BYTES_MAX);
    }
}

/* Back on the shard's thread. */
static void on_written(struct mail *mail)
{
    batch_done(container_of(container_of(mail, struct pool_job, mail), struct ks_flush, job)->ks);
}

int ks_flush_batch_now(struct keyspace *ks)
{
    struct ks_flush *f = &ks->flush;

    CHECK(!f->busy && !ks_sweep_running(ks));
    if (!dirty_any(&ks->dirty))
        return 0;
    ks->writing_here = true;
    store_batch_clear(&f->batch);
    f->bytes_max = NOW_BATCH_BYTES;
    f->end = dirty_end(&ks->dirty);
    while (!build_slice(ks)) {
    }
    build_end(ks);
    f->err = store_write(ks->options.store, &f->batch, 0);
    batch_done(ks);
    ks->writing_here = false;
    return f->err;
}

void ks_flush_give_up(struct keyspace *ks)
{
    struct ks_flush *f = &ks->flush;

    if (f->building)
        build_end(ks);
    else if (!f->waiting)
        return;
    f->waiting = false;
    f->err = -ERR_CLOSED;
    batch_done(ks);
}

int ks_flush_now(struct keyspace *ks)
{
    int err = 0;

    while (dirty_any(&ks->dirty) && err == 0)
        err = ks_flush_batch_now(ks);
    return err;
}

bool ks_flush_busy(const struct keyspace *ks)
{
    return ks->flush.busy;
}

bool ks_flush_needed(const struct keyspace *ks)
{
    return dirty_any(&ks->dirty);
}

uint64_t ks_flush_backlog(const struct keyspace *ks)
{
    return ks->dirty.bytes;
}

void ks_flush_debt(const struct keyspace *ks, struct store_debt *out)
{
    *out = ks->flush.debt;
}

uint64_t ks_flush_covered(const struct keyspace *ks)
{
    return ks->flush.covered_lsn;
}

void ks_flush_init(struct keyspace *ks)
{
    struct ks_flush *f = &ks->flush;

    f->ks = ks;
    list_init(&f->lists);
    store_batch_init(&f->batch, BATCH_BYTES_MAX);
    f->cls = (struct pool_class){.name = "flush",
                                 .priority = POOL_FOREGROUND,
                                 .batch_max = 1,
                                 .run_batch = write_batch,
                                 .ctx = f};
    pool_add_class(ks->options.maintainer, &f->cls);
    f->job = (struct pool_job){.mail = {.fn = on_written}, .reply_to = ks->options.mailbox};
}

void ks_flush_deinit(struct keyspace *ks)
{
    CHECK(!ks->flush.busy);
    store_batch_deinit(&ks->flush.batch);
    mem_free(ks->flush.point_seqs);
}
