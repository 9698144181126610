/*
 * A copy made here: rows of another member's store, straight into ours, by the maintenance thread;
 * the key table learns of them when they are there. The core asks for the next piece when the last
 * is stored, so that there is one in memory. When it begins anew, from another checkpoint, the
 * store is emptied first: rows of two do not belong together.
 *
 * In a delta resync the rows come to a new store, which is thrown away if it does not get complete;
 * then one's own are joined to them (replica_join.c), and the new store takes the place of the old.
 * What the peer has the same does not come from it but from the old store (replica_alike.c).
 *
 * Every batch of rows has the note that says so; it goes with the last one, which has the vector of
 * the copy. So a start finds either no copy, or a part of one, or all of it.
 */
#include <errno.h>
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
/* Own rows that could not be read so often cannot be. */
#define UNREAD_MAX 3u
/* Of the rows of a piece, as the peer chooses: one frame holds no more. */
#define ROWS_BYTES_MAX (640u << 20)
/* What is behind the one row that a piece ends with fits, too, in the frame and here. */
STATIC_ASSERT((uint64_t)VV_ORIGINS_MAX *MUT_ELEM_BYTES_MAX + (32u << 20) <= WIRE_BODY_BYTES_MAX);
STATIC_ASSERT(WIRE_BODY_BYTES_MAX < ROWS_BYTES_MAX);
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

static void run_join(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct replica *r = ctx;

    (void)jobs;
    CHECK(n == 1);
    r->take.err = replica_join_piece(r);
}

static void run_alike(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct replica *r = ctx;

    (void)jobs;
    CHECK(n == 1);
    r->take.err = r->take.state == TAKE_SUMMING ? replica_alike_sum(r) : replica_alike_piece(r);
}

/* --- batches --- */

int replica_take_put_row(struct buf *rows, struct bytes key, struct bytes row)
{
    const int err = buf_reserve(rows, ROW_HEAD_BYTES + key.len + row.len);

    if (err != 0)
        return err;
    le32_store(buf_end(rows), (uint32_t)key.len);
    le32_store(buf_end(rows) + 4, (uint32_t)row.len);
    buf_commit(rows, ROW_HEAD_BYTES);
    CHECK(buf_append_bytes(rows, key) == 0);
    CHECK(buf_append_bytes(rows, row) == 0);
    return 0;
}

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
    struct take *t = &r->take;
    struct pool_class *cls = &t->cls;

    if (state == TAKE_JOINING)
        cls = &t->join_cls;
    else if (state == TAKE_SUMMING || state == TAKE_READING)
        cls = &t->alike_cls;
    t->state = state;
    r->jobs++;
    pool_submit(cls, &t->job);
}

/* What waits is not from the peer that is asked. */
static bool is_own(const struct take *t)
{
    return t->join.under_way || (t->alike.under_way && t->alike.reading);
}

/* All that wait, into the batch. After an error the row that was refused is from `*at` to `*end`.
 */
static int put_rows(struct replica *r, size_t *at, size_t *end)
{
    struct take *t = &r->take;
    struct bytes left = buf_bytes(&t->rows);
    struct bytes key, row;
    int err = 0;

    store_batch_clear(&t->batch);
    *end = 0;
    while (err == 0 && next_row(&left, &key, &row)) {
        *at = *end;
        *end = t->rows.len - left.len;
        err = ks_copy_put(r->options.ks, key, row, &t->batch);
        if (err == 0 && store_batch_bytes(&t->batch) > ROWS_BYTES_MAX)
            err = -ERR_LIMIT;
    }
    return err;
}

/* A row was refused. True: without it the others can be tried. */
static bool leave_out(struct replica *r, int err, size_t at, size_t end)
{
    struct take *t = &r->take;

    ks_copy_done(r->options.ks, false);
    LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "replica",
                 "a row of a copy cannot be taken shard=%u own=%d err=\"%s\"", r->options.shard,
                 is_own(t), err_str(err));
    if (!is_own(t)) {
        t->refused = err; /* The next tick says so. */
        return false;
    }
    /* The donor is not to blame. */
    if (err == -ENOMEM) {
        t->retry_ms = r->now_ms + REPLICA_RETRY_MS;
        return false;
    }
    memmove(t->rows.ptr + at, t->rows.ptr + end, t->rows.len - end);
    buf_truncate(&t->rows, t->rows.len - (end - at));
    return true;
}

static void write_rows(struct replica *r)
{
    struct take *t = &r->take;
    size_t at = 0, end = 0;
    struct vv none;
    int err;

    while ((err = put_rows(r, &at, &end)) != 0) {
        if (!leave_out(r, err, at, end))
            return;
    }
    ks_copy_batch(r->options.ks, &t->batch);
    vv_init(&none);
    set_covered(r, &none, &none);
    t->flush = false;
    t->has_rows = t->kept == NULL;
    submit(r, TAKE_WRITING);
}

static void split(const struct posv *posv, struct vv *vv, struct vv *seqs)
{
    posv_to_vv(posv, vv);
    vv_init(seqs);
    for (unsigned i = 0; i < posv->count; i++)
        CHECK(vv_raise(seqs, tag_of(posv->at[i].seq, posv->origin[i])) == 0);
}

/* What the rows have seen when they are complete. */
static void final_position(const struct replica *r, struct posv *out)
{
    posv_copy(out, &r->take.at);
    if (r->take.kept == NULL)
        return;
    core_position(r->core, out);
    for (unsigned i = 0; i < r->take.at.count; i++)
        CHECK(posv_raise(out, r->take.at.origin[i], r->take.at.at[i]) == 0);
}

static void write_end(struct replica *r)
{
    struct take *t = &r->take;
    const struct posv newest = r->newest;
    struct posv at;
    struct vv vv, seqs;

    final_position(r, &at);
    split(&at, &vv, &seqs);
    store_batch_clear(&t->batch);
    t->copying = false;
    posv_copy(&r->newest, &t->newest);
    set_covered(r, &vv, &seqs);
    t->copying = true; /* Until it is done. */
    posv_copy(&r->newest, &newest);
    t->flush = true;
    submit(r, TAKE_FINISHING);
}

/* --- what follows --- */

/* What is being taken will be thrown away. */
static bool is_stale(const struct replica *r)
{
    return r->take.stale || core_sync_stale(r->core);
}

/* Peers may be reading the store that goes (core_resync.c). Never from within the core. */
static bool may_end(struct replica *r)
{
    return r->take.kept == NULL || (core_sync_let_go(r->core) && replica_give_close_all(r));
}

/* Begins what waits, if it can be. */
static void step(struct replica *r)
{
    struct take *t = &r->take;

    if (is_stale(r) || t->refused != 0 || r->stopping || replica_flush_due(r) || t->aside_due ||
        r->now_ms < t->retry_ms)
        return;
    if (t->state == TAKE_ROWS && replica_no_room(r, REPLICA_ROOM_ROWS, t->rows.len) != NULL)
        return; /* Tried again with the next tick. */
    if (t->state == TAKE_ROWS)
        write_rows(r);
    else if (t->state == TAKE_SUM)
        submit(r, TAKE_SUMMING);
    else if (t->state == TAKE_ALIKE)
        submit(r, TAKE_READING);
    else if (t->state == TAKE_JOIN)
        submit(r, TAKE_JOINING);
    else if (t->state == TAKE_FINISH && may_end(r))
        write_end(r);
}

static void add_keys(struct replica *r)
{
    struct bytes left = buf_bytes(&r->take.rows);
    struct bytes key, row;

    ks_copy_done(r->options.ks, true);
    while (next_row(&left, &key, &row)) {
        ks_copy_key(r->options.ks, key, row);
        if (r->take.join.under_way)
            r->metrics.rows_joined++;
        else if (r->take.alike.under_way && r->take.alike.reading)
            r->metrics.rows_alike++;
        else
            r->metrics.copied_rows_in++;
    }
}

static void answer_rows(struct replica *r)
{
    struct take *t = &r->take;
    const int refused = t->refused;

    t->state = TAKE_IDLE;
    t->aside_due = false; /* Of what is refused or stale: if it begins again, that says so. */
    t->stale = t->join.under_way = t->alike.under_way = false;
    t->refused = 0;
    buf_shrink(&t->rows, 4 * CORE_SYNC_BYTES_DEFAULT);
    core_sync_stored(r->core, refused);
}

static void answer_sum(struct replica *r)
{
    struct take *t = &r->take;

    t->state = TAKE_IDLE;
    t->stale = false;
    core_sync_summed(r->core, &t->alike.range);
}

/* The new store takes the place of the old one. False: not yet. */
static bool keep_new(struct replica *r)
{
    struct take *t = &r->take;
    const int err = r->options.host->keep_new(r->options.ctx);

    if (err == 0)
        return true;
    t->state = TAKE_KEEP;
    if (err != -ERR_BUSY)
        t->retry_ms = r->now_ms + REPLICA_RETRY_MS;
    return false;
}

/* It is all here, unless a flush has overtaken it: then the core has begun anew. */
static void answer_finish(struct replica *r)
{
    struct take *t = &r->take;
    struct posv at;
    struct vv vv, seqs;

    if (t->kept != NULL && !is_stale(r)) {
        if (!keep_new(r))
            return; /* Tried again with the next tick. */
        r->metrics.resyncs++;
    }
    final_position(r, &at);
    t->state = TAKE_IDLE;
    t->aside_due = false;
    t->stale = t->join.under_way = false;
    core_sync_finished(r->core);
    if (core_syncing(r->core))
        return;
    t->copying = t->has_rows = false;
    t->kept = NULL;
    buf_deinit(&t->alike.sums);
    posv_copy(&r->newest, &t->newest);
    split(&at, &vv, &seqs);
    mut_adopt(r->options.mut, &vv, &seqs);
    replica_note_changed(r);
    LOG_NOTICE("replica", "a copy is complete shard=%u rows=%llu", r->options.shard,
               (unsigned long long)r->metrics.copied_rows_in);
}

/* Own rows of a resync could not be read; then it is tried once more. */
static bool is_unread(struct replica *r, enum take_state again)
{
    struct take *t = &r->take;

    if (t->err == 0) {
        t->unread = 0;
        return false;
    }
    LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "replica", "cannot read rows to join shard=%u err=\"%s\"",
                 r->options.shard, err_str(t->err));
    t->unread = u32_min(t->unread + 1, UNREAD_MAX);
    t->state = again;
    t->retry_ms = r->now_ms + REPLICA_RETRY_MS;
    return true;
}

/* What is damaged stays so; other errors of the disk may pass. */
static bool is_given_up(const struct take *t)
{
    return t->err == -ERR_CORRUPT || (t->unread == UNREAD_MAX && t->err != -ENOMEM);
}

/* Own rows of a range go without saying what they are: the peer gives all that it has there. */
static void leave_own(struct replica *r)
{
    struct take *t = &r->take;

    LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "replica",
                 "own rows cannot be read, a peer is asked for them shard=%u slots=%u-%u",
                 r->options.shard, t->alike.range.first, t->alike.range.end - 1u);
    r->metrics.ranges_unread++;
    t->unread = 0;
    t->retry_ms = 0;
}

static void on_summed(struct replica *r)
{
    struct take *t = &r->take;

    if (r->stopping)
        return;
    if (is_unread(r, TAKE_SUM)) {
        if (!is_given_up(t))
            return;
        /* Only this slot: the next range begins behind it. */
        t->alike.range = (struct wire_sync_range){
            .first = t->alike.first, .end = (uint16_t)(t->alike.first + 1), .bits = WIRE_SYNC_ALL};
        leave_own(r);
    }
    answer_sum(r);
}

static void answer_unread(struct replica *r)
{
    struct take *t = &r->take;

    leave_own(r);
    t->state = TAKE_IDLE;
    t->stale = t->alike.under_way = false;
    buf_clear(&t->rows);
    core_sync_unread(r->core);
}

/* The next own rows that are the same at the peer, or none of them any more. */
static void on_read(struct replica *r)
{
    struct take *t = &r->take;

    if (r->stopping)
        return;
    if (is_unread(r, TAKE_ALIKE)) {
        if (is_given_up(t))
            answer_unread(r);
        return;
    }
    t->alike.reading = true;
    if (t->rows.len == 0 && t->alike.end) {
        answer_rows(r);
        return;
    }
    t->state = t->rows.len != 0 ? TAKE_ROWS : TAKE_ALIKE;
    step(r);
}

/* The next rows that a resync changes, or none of them any more. */
static void on_joined(struct replica *r)
{
    struct take *t = &r->take;

    if (is_unread(r, TAKE_JOIN))
        return;
    if (t->rows.len != 0)
        t->state = TAKE_ROWS;
    else
        t->state = t->join.end ? TAKE_FINISH : TAKE_JOIN;
    step(r);
}

/* Rows are in the store: what comes behind them. */
static void on_stored(struct replica *r)
{
    struct take *t = &r->take;

    if (t->join.under_way && !is_stale(r)) {
        t->state = t->join.end ? TAKE_FINISH : TAKE_JOIN;
        step(r);
    } else if (t->alike.under_way && !t->alike.end && !is_stale(r)) {
        t->state = TAKE_ALIKE;
        step(r);
    } else {
        answer_rows(r);
    }
}

static void on_written(struct mail *mail)
{
    struct replica *r =
        container_of(container_of(mail, struct pool_job, mail), struct replica, take.job);
    struct take *t = &r->take;
    const bool rows = t->state == TAKE_WRITING;

    r->jobs--;
    if (t->state == TAKE_JOINING) {
        on_joined(r);
        return;
    }
    if (t->state == TAKE_SUMMING) {
        on_summed(r);
        return;
    }
    if (t->state == TAKE_READING) {
        on_read(r);
        return;
    }
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
        on_stored(r);
    else
        answer_finish(r);
}

/* --- from the core: it must not be called from within these --- */

void replica_take_rows(struct replica *r, struct wire_sync_rows *rows)
{
    struct take *t = &r->take;
    struct wire_row row;

    CHECK(t->state == TAKE_IDLE);
    buf_clear(&t->rows);
    while (t->refused == 0 && wire_sync_next(rows, &row))
        t->refused = replica_take_put_row(&t->rows, row.key, row.row);
    /* Behind the last rows of a range those come that the peer has the same. */
    t->alike.under_way = rows->differ.len != 0;
    t->alike.reading = t->alike.end = false;
    buf_clear(&t->alike.after);
    buf_clear(&t->alike.differ);
    if (t->refused == 0)
        t->refused = buf_append_bytes(&t->alike.differ, rows->differ);
    if (t->alike.under_way)
        t->alike.range.end = rows->end; /* The peer may have compared less. */
    t->state = TAKE_ROWS;
    step(r);
}

void replica_take_sum(struct replica *r, uint16_t first)
{
    struct take *t = &r->take;

    CHECK(t->state == TAKE_IDLE);
    t->alike.first = first;
    t->state = TAKE_SUM;
    step(r);
}

bool replica_take_is_stuck(const struct replica *r)
{
    return r->take.unread == UNREAD_MAX;
}

void replica_take_finish(struct replica *r, const struct posv *at, const struct posv *newest,
                         bool joins)
{
    struct take *t = &r->take;

    CHECK(t->state == TAKE_IDLE);
    posv_copy(&t->at, at);
    posv_copy(&t->newest, newest);
    t->state = TAKE_FINISH;
    if (joins) {
        t->state = TAKE_JOIN;
        t->join.under_way = true;
        t->join.end = false;
        buf_clear(&t->join.after);
        vv_copy(&t->join.mine, core_applied_vv(r->core));
        posv_to_vv(at, &t->join.theirs);
    }
    if (joins || t->kept == NULL)
        step(r); /* Else with the next tick: the core is to be asked. */
}

void replica_take_aside(struct replica *r)
{
    r->take.aside_due = core_resyncing(r->core) || r->take.has_rows;
    r->take.unread = 0;
}

/* A new store in the place of this one, beside it in a resync. */
static int renew(struct replica *r, struct bytes note, struct store **out_fresh,
                 struct store **out_kept)
{
    const struct replica_host *host = r->options.host;
    const uint64_t lsn = oplog_applied_lsn(r->options.log);

    if (core_resyncing(r->core))
        return host->set_aside(r->options.ctx, lsn, note, out_fresh, out_kept);
    *out_kept = NULL;
    return host->empty(r->options.ctx, lsn, note, out_fresh);
}

void replica_take_set_aside(struct replica *r)
{
    struct take *t = &r->take;
    uint8_t note[REPLICA_NOTE_BYTES_MAX];
    struct store *fresh, *kept;
    struct vv none;

    if (is_stale(r))
        return; /* The next tick answers. */
    /* If it begins again, what has come goes, and makes room. */
    if (core_resyncing(r->core) && t->kept == NULL &&
        replica_no_room(r, REPLICA_ROOM_ASIDE, 0) != NULL)
        return;
    /* What is kept stays, and what is given of it. */
    if (r->now_ms < t->retry_ms || !replica_take_idle(r) || !replica_sums_idle(r) ||
        (t->kept == NULL && !replica_give_close_all(r)))
        return;
    vv_init(&none);
    const bool copying = t->copying;
    t->copying = true;
    const size_t len = replica_covered_store(r, &none, &none, note);
    const int err = renew(r, bytes_of(note, len), &fresh, &kept);
    if (err != 0) {
        t->copying = copying;
        if (err != -ERR_BUSY)
            t->retry_ms = r->now_ms + REPLICA_RETRY_MS;
        return;
    }
    t->aside_due = t->has_rows = false;
    t->kept = kept;
    if (kept != NULL)
        core_sync_entered(r->core);
    r->options.store = fresh;
    replica_note_changed(r);
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

size_t replica_take_bytes(const struct replica *r)
{
    const struct take *t = &r->take;
    /* The job's while they are summed up. */
    const size_t sums = t->state == TAKE_SUMMING ? 0 : t->alike.sums.cap;

    return t->rows.cap + store_batch_bytes(&t->batch) + sums + t->alike.differ.cap;
}

bool replica_take_idle(const struct replica *r)
{
    return r->take.state != TAKE_WRITING && r->take.state != TAKE_FINISHING &&
           r->take.state != TAKE_JOINING && r->take.state != TAKE_SUMMING &&
           r->take.state != TAKE_READING;
}

void replica_take_tick(struct replica *r)
{
    struct take *t = &r->take;

    if (r->stopping)
        return;
    const bool stale = is_stale(r);
    if ((t->state == TAKE_ROWS && (stale || t->refused != 0)) || (t->state == TAKE_ALIKE && stale))
        answer_rows(r);
    else if (t->state == TAKE_SUM && stale)
        answer_sum(r);
    else if ((t->state == TAKE_KEEP && (stale || r->now_ms >= t->retry_ms)) ||
             ((t->state == TAKE_FINISH || t->state == TAKE_JOIN) && stale))
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
    buf_init(&t->join.after, UINT32_MAX);
    t->join_cls = (struct pool_class){.name = "join",
                                      .priority = POOL_FOREGROUND,
                                      .batch_max = 1,
                                      .run_batch = run_join,
                                      .ctx = r};
    pool_add_class(r->options.maintainer, &t->join_cls);
    buf_init(&t->alike.after, UINT32_MAX);
    buf_init(&t->alike.sums, SIZE_MAX);
    buf_init(&t->alike.differ, SIZE_MAX);
    t->alike_cls = (struct pool_class){.name = "alike",
                                       .priority = POOL_FOREGROUND,
                                       .batch_max = 1,
                                       .run_batch = run_alike,
                                       .ctx = r};
    pool_add_class(r->options.maintainer, &t->alike_cls);
    t->job = (struct pool_job){.mail = {.fn = on_written}, .reply_to = r->options.mailbox};
}

void replica_take_deinit(struct replica *r)
{
    store_batch_deinit(&r->take.batch);
    buf_deinit(&r->take.rows);
    buf_deinit(&r->take.join.after);
    buf_deinit(&r->take.alike.after);
    buf_deinit(&r->take.alike.sums);
    buf_deinit(&r->take.alike.differ);
}
