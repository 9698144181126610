/*
 * A copy made here: rows of another member's store, straight into ours, by the maintenance thread;
 * the key table learns of them when they are there. The core asks for the next piece when the last
 * is stored, so that there is one in memory.
 *
 * Every batch of rows has the note that says so; it goes with the last one, which has the vector of
 * the copy. So a start finds either no copy, or a part of one, or all of it.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"

#include "engine/space/copyin.h"
#include "engine/space/flush.h"

#include "replication/mutate.h"
#include "replication/oplog.h"
#include "replication/replica_impl.h"

#define ROW_HEAD_BYTES 8u
/* Of the rows of a piece, as the peer chooses: one frame holds no more. */
#define ROWS_BYTES_MAX (640u << 20)
/* And of the keys' journal, which is never more than that. */
#define BATCH_BYTES_MAX (2 * (size_t)ROWS_BYTES_MAX)

/* --- on the maintenance thread --- */

static void run_take(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct replica *r = ctx;
    struct take *t = &r->take;

    (void)jobs;
    CHECK(n == 1);
    t->err = store_write(r->options.store, &t->batch, 0);
    if (t->err == 0 && t->flush)
        t->err = store_flush(r->options.store);
}

/* --- batches --- */

static bool next_row(struct bytes *rows, struct bytes *key, struct bytes *row)
{
    struct bytes head;

    return bytes_take(rows, ROW_HEAD_BYTES, &head) && bytes_take(rows, le32_load(head.ptr), key) &&
           bytes_take(rows, le32_load(head.ptr + 4), row);
}

/* Everything that was copied is from before the log's begin. */
static void set_covered(struct replica *r, const struct vv *vv, const struct vv *seqs)
{
    uint8_t note[REPLICA_NOTE_BYTES_MAX];
    const size_t len = replica_covered_store(r, vv, seqs, note);

    CHECK(store_batch_set_covered(&r->take.batch, oplog_applied_lsn(r->options.log),
                                  bytes_of(note, len)) == 0);
}

static void submit(struct replica *r, enum take_state state)
{
    r->take.state = state;
    r->jobs++;
    pool_submit(&r->take.cls, &r->take.job);
}

static void write_rows(struct replica *r)
{
    struct take *t = &r->take;
    struct bytes left = buf_bytes(&t->rows);
    struct bytes key, row;
    struct vv none;

    store_batch_clear(&t->batch);
    while (next_row(&left, &key, &row) && t->refused == 0) {
        t->refused = ks_copy_put(r->options.ks, key, row, &t->batch);
        if (t->refused == 0 && store_batch_bytes(&t->batch) > ROWS_BYTES_MAX)
            t->refused = -ERR_LIMIT;
    }
    if (t->refused != 0) {
        LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "replica",
                     "a row of a copy cannot be taken shard=%u err=\"%s\"", r->options.shard,
                     err_str(t->refused));
        ks_copy_done(r->options.ks, false);
        return; /* The next tick says so. */
    }
    ks_copy_batch(r->options.ks, &t->batch);
    vv_init(&none);
    set_covered(r, &none, &none);
    t->flush = false;
    submit(r, TAKE_WRITING);
}

static void split(const struct posv *posv, struct vv *vv, struct vv *seqs)
{
    posv_to_vv(posv, vv);
    vv_init(seqs);
    for (unsigned i = 0; i < posv->count; i++)
        CHECK(vv_raise(seqs, tag_of(posv->at[i].seq, posv->origin[i])) == 0);
}

static void write_end(struct replica *r)
{
    struct take *t = &r->take;
    struct vv vv, seqs;

    split(&t->at, &vv, &seqs);
    store_batch_clear(&t->batch);
    t->copying = false;
    posv_copy(&r->newest, &t->newest);
    set_covered(r, &vv, &seqs);
    t->copying = true; /* Until it is done. */
    posv_init(&r->newest);
    t->flush = true;
    submit(r, TAKE_FINISHING);
}

/* --- what follows --- */

/* Begins what waits, if it can be. */
static void step(struct replica *r)
{
    struct take *t = &r->take;

    if (t->stale || t->refused != 0 || r->stopping || replica_flush_due(r) ||
        r->now_ms < t->retry_ms)
        return;
    if (t->state == TAKE_ROWS)
        write_rows(r);
    else if (t->state == TAKE_FINISH)
        write_end(r);
}

static void add_keys(struct replica *r)
{
    struct bytes left = buf_bytes(&r->take.rows);
    struct bytes key, row;

    ks_copy_done(r->options.ks, true);
    while (next_row(&left, &key, &row)) {
        ks_copy_key(r->options.ks, key, row);
        r->metrics.copied_rows_in++;
    }
}

static void answer_rows(struct replica *r)
{
    struct take *t = &r->take;
    const int refused = t->refused;

    t->state = TAKE_IDLE;
    t->stale = false;
    t->refused = 0;
    buf_shrink(&t->rows, 4 * CORE_SYNC_BYTES_DEFAULT);
    core_sync_stored(r->core, refused);
}

/* It is all here, unless a flush has overtaken it: then the core has begun anew. */
static void answer_finish(struct replica *r)
{
    struct take *t = &r->take;
    struct vv vv, seqs;

    t->state = TAKE_IDLE;
    t->stale = false;
    core_sync_finished(r->core);
    if (core_syncing(r->core))
        return;
    t->copying = false;
    posv_copy(&r->newest, &t->newest);
    split(&t->at, &vv, &seqs);
    mut_adopt(r->options.mut, &vv, &seqs);
    replica_note_changed(r);
    LOG_NOTICE("replica", "a copy is complete shard=%u rows=%llu", r->options.shard,
               (unsigned long long)r->metrics.copied_rows_in);
}

static void on_written(struct mail *mail)
{
    struct replica *r =
        container_of(container_of(mail, struct pool_job, mail), struct replica, take.job);
    struct take *t = &r->take;
    const bool rows = t->state == TAKE_WRITING;

    r->jobs--;
    if (t->err != 0) {
        LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "replica", "cannot store a copy shard=%u err=\"%s\"",
                     r->options.shard, err_str(t->err));
        t->state = rows ? TAKE_ROWS : TAKE_FINISH;
        t->retry_ms = r->now_ms + REPLICA_RETRY_MS;
        if (rows)
            ks_copy_done(r->options.ks, false);
        return;
    }
    if (rows)
        add_keys(r);
    if (r->stopping)
        return;
    if (rows)
        answer_rows(r);
    else
        answer_finish(r);
}

/* --- from the core: it must not be called from within these --- */

/* 0, -ENOMEM or -ERR_LIMIT: the peer decides how much it is. */
static int keep_row(struct buf *rows, const struct wire_row *row)
{
    const int err = buf_reserve(rows, ROW_HEAD_BYTES + row->key.len + row->row.len);

    if (err != 0)
        return err;
    le32_store(buf_end(rows), (uint32_t)row->key.len);
    le32_store(buf_end(rows) + 4, (uint32_t)row->row.len);
    buf_commit(rows, ROW_HEAD_BYTES);
    CHECK(buf_append_bytes(rows, row->key) == 0);
    CHECK(buf_append_bytes(rows, row->row) == 0);
    return 0;
}

void replica_take_rows(struct replica *r, struct wire_sync_rows *rows)
{
    struct take *t = &r->take;
    struct wire_row row;

    CHECK(t->state == TAKE_IDLE);
    buf_clear(&t->rows);
    while (t->refused == 0 && wire_sync_next(rows, &row))
        t->refused = keep_row(&t->rows, &row);
    t->state = TAKE_ROWS;
    step(r);
}

void replica_take_finish(struct replica *r, const struct posv *at, const struct posv *newest)
{
    struct take *t = &r->take;

    CHECK(t->state == TAKE_IDLE);
    posv_copy(&t->at, at);
    posv_copy(&t->newest, newest);
    t->state = TAKE_FINISH;
    step(r);
}

void replica_take_flushed(struct replica *r)
{
    r->take.stale = r->take.state != TAKE_IDLE;
}

/* --- life --- */

void replica_take_begin(struct replica *r)
{
    r->take.copying = true;
    replica_note_changed(r);
    core_sync_start(r->core);
}

bool replica_take_idle(const struct replica *r)
{
    return r->take.state != TAKE_WRITING && r->take.state != TAKE_FINISHING;
}

void replica_take_tick(struct replica *r)
{
    struct take *t = &r->take;

    if (r->stopping)
        return;
    if (t->state == TAKE_ROWS && (t->stale || t->refused != 0))
        answer_rows(r);
    else if (t->state == TAKE_FINISH && t->stale)
        answer_finish(r);
    else
        step(r);
}

void replica_take_init(struct replica *r)
{
    struct take *t = &r->take;

    store_batch_init(&t->batch, BATCH_BYTES_MAX);
    buf_init(&t->rows, ROWS_BYTES_MAX);
    t->cls = (struct pool_class){.name = "copy",
                                 .priority = POOL_FOREGROUND,
                                 .batch_max = 1,
                                 .run_batch = run_take,
                                 .ctx = r};
    pool_add_class(r->options.maintainer, &t->cls);
    t->job = (struct pool_job){.mail = {.fn = on_written}, .reply_to = r->options.mailbox};
}

void replica_take_deinit(struct replica *r)
{
    store_batch_deinit(&r->take.batch);
    buf_deinit(&r->take.rows);
}
