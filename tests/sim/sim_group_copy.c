/*
 * Full sync, as the hosts of both sides do it: checkpoints of what is on disk, read in pieces, rows
 * that are stored after a while. Row keys are one byte here: the number of the row and one.
 */
#include <errno.h>
#include <string.h>

#include "engine/base/check.h"

#include "tests/sim/sim_group.h"

#define PIECE_ROWS 3

void gs_copy_close(struct gs_member *m, unsigned peer)
{
    struct gs_copy *copy = &m->copies[peer];

    copy->open = false;
    for (unsigned i = 0; i < SIM_ROWS; i++)
        buf_deinit(&copy->rows[i]);
}

static void later(struct gs_member *m, uint8_t kind, unsigned peer, uint32_t id)
{
    struct gs *gs = gs_of(m);

    gs_at(gs, gs_between(gs, 100, 15 * GS_MS),
          &(struct gs_event){.kind = kind, .a = m->index, .b = peer, .life = m->life, .id = id});
}

/* --- donor --- */

void gs_host_sync_open(void *ctx, uint8_t peer, uint32_t id)
{
    struct gs_member *m = ctx;

    gs_copy_close(m, GS_INDEX(peer));
    m->copies[GS_INDEX(peer)].open = true;
    m->copies[GS_INDEX(peer)].id = id;
    later(m, GS_SYNC_OPEN, GS_INDEX(peer), id);
}

void gs_host_sync_read(void *ctx, uint8_t peer, uint32_t id, struct bytes after, size_t bytes_max)
{
    struct gs_member *m = ctx;
    struct gs *gs = gs_of(m);

    (void)bytes_max;
    /* The key that it goes on behind travels as the order of the fetch. */
    gs_at(gs, gs_between(gs, 100, 10 * GS_MS),
          &(struct gs_event){.kind = GS_SYNC_READ,
                             .a = m->index,
                             .b = GS_INDEX(peer),
                             .life = m->life,
                             .id = id,
                             .fetch = {.from_seq = after.len == 0 ? 0 : after.ptr[0]}});
}

void gs_host_sync_close(void *ctx, uint8_t peer)
{
    gs_copy_close(ctx, GS_INDEX(peer));
}

static void open_copy(struct gs *gs, struct gs_member *m, unsigned peer, uint32_t id)
{
    struct gs_copy *copy = &m->copies[peer];

    if (!copy->open || copy->id != id)
        return;
    if (gs->faults && gs_chance(gs, 10)) {
        core_sync_opened(m->core, GS_ORIGIN(peer), id, -EIO, NULL, 0);
        return;
    }
    for (unsigned i = 0; i < SIM_ROWS; i++)
        CHECK(buf_append_bytes(&copy->rows[i], buf_bytes(&m->rows[i].disk)) == 0);
    copy->flush = m->flush;
    posv_copy(&copy->at, &m->covered);
    core_sync_opened(m->core, GS_ORIGIN(peer), id, 0, &copy->at, copy->flush);
}

static void read_copy(struct gs *gs, struct gs_member *m, const struct gs_event *e)
{
    const struct gs_copy *copy = &m->copies[e->b];
    struct wire_row rows[PIECE_ROWS];
    uint8_t keys[PIECE_ROWS];
    uint32_t count = 0;
    unsigned i = (unsigned)e->fetch.from_seq;

    if (!copy->open || copy->id != e->id)
        return;
    for (; i < SIM_ROWS && count < PIECE_ROWS; i++) {
        if (copy->rows[i].len <= 1)
            continue;
        keys[count] = (uint8_t)(i + 1);
        rows[count] =
            (struct wire_row){.key = bytes_of(&keys[count], 1), .row = buf_bytes(&copy->rows[i])};
        count++;
    }
    gs->totals.copied += count;
    const struct core_piece piece = {.rows = rows, .count = count, .last = i == SIM_ROWS};
    core_sync_rows(m->core, GS_ORIGIN(e->b), e->id,
                   gs->faults && !gs->calm && gs_chance(gs, 5) ? -EIO : 0, &piece);
}

/* --- joiner --- */

void gs_host_sync_begin(void *ctx)
{
    struct gs_member *m = ctx;

    CHECK(m->durable_lsn + 1 == m->next_lsn);
    m->resyncing = true;
    for (unsigned i = 0; i < SIM_ROWS; i++)
        buf_clear(&m->aside[i]);
}

void gs_host_sync_put(void *ctx, struct wire_sync_rows *rows)
{
    struct gs_member *m = ctx;
    struct wire_row row;

    buf_clear(&m->put);
    m->put_flush = m->flush;
    while (wire_sync_next(rows, &row)) {
        CHECK(row.key.len == 1 && row.key.ptr[0] <= SIM_ROWS && row.row.len < 256 * 256);
        CHECK(buf_reserve(&m->put, 3 + row.row.len) == 0);
        buf_end(&m->put)[0] = row.key.ptr[0];
        le16_store(buf_end(&m->put) + 1, (uint16_t)row.row.len);
        memcpy(buf_end(&m->put) + 3, row.row.ptr, row.row.len);
        buf_commit(&m->put, 3 + row.row.len);
    }
    later(m, GS_SYNC_PUT, 0, 0);
}

void gs_host_sync_finish(void *ctx, const struct posv *at, const struct posv *newest)
{
    struct gs_member *m = ctx;

    m->put_flush = m->flush;
    posv_copy(&m->put_at, at);
    posv_copy(&m->put_newest, newest);
    later(m, GS_SYNC_FINISH, 0, 0);
}

static void put_rows(struct gs_member *m)
{
    struct bytes left = buf_bytes(&m->put);

    /* A flush in between has emptied the rows, and empties these. */
    while (left.len != 0 && m->put_flush == m->flush && gs_of(m)->fault != GS_EMPTY_COPY) {
        const unsigned at = left.ptr[0] - 1u;
        struct buf *row = m->resyncing ? &m->aside[at] : &m->rows[at].mem;
        const size_t len = le16_load(left.ptr + 1);

        buf_clear(row);
        CHECK(buf_append(row, left.ptr + 3, len) == 0);
        left = bytes_from(left, 3 + len);
    }
    core_sync_stored(m->core, 0);
}

/* What was put aside, and what was there. */
static void join_aside(struct gs *gs, struct gs_member *m)
{
    struct vv theirs;

    CHECK(m->durable_lsn + 1 == m->next_lsn);
    posv_to_vv(&m->put_at, &theirs);
    for (unsigned i = 0; i < SIM_ROWS; i++) {
        const struct row_seen_by mine = {buf_bytes(&m->rows[i].mem), core_applied_vv(m->core)};
        const struct row_seen_by other = {buf_bytes(&m->aside[i]), &theirs};
        struct buf joined;

        buf_init(&joined, SIZE_MAX);
        if (gs->fault == GS_KEEP_REMOVED)
            CHECK(row_merge(mine.row, other.row, &joined) == 0);
        else
            CHECK(row_reconcile(&mine, &other, &joined) == 0);
        CHECK(row_check(buf_bytes(&joined)) == 0);
        buf_deinit(&m->rows[i].mem);
        m->rows[i].mem = joined;
        m->rows[i].dirty_lsn = 0;
        buf_clear(&m->aside[i]);
    }
    m->resyncing = false;
    gs->totals.resyncs++;
}

static void finish(struct gs *gs, struct gs_member *m)
{
    if (!core_sync_stale(m->core)) {
        CHECK(m->put_flush == m->flush);
        m->lacks = false;
        if (m->resyncing)
            join_aside(gs, m);
        core_position(m->core, &m->covered);
        for (unsigned i = 0; i < m->put_at.count; i++) {
            CHECK(posv_raise(&m->covered, m->put_at.origin[i], m->put_at.at[i]) == 0);
            m->hlc = u64_max(m->hlc, m->put_at.at[i].hlc);
        }
        posv_copy(&m->newest, &m->put_newest);
        m->seq = posv_get(&m->covered, GS_ORIGIN(m->index)).seq;
        m->covered_lsn = m->next_lsn - 1;
        for (unsigned i = 0; i < SIM_ROWS; i++) {
            buf_clear(&m->rows[i].disk);
            CHECK(buf_append_bytes(&m->rows[i].disk, buf_bytes(&m->rows[i].mem)) == 0);
        }
        gs_trace(gs, "member %u has its copy", m->index);
    }
    core_sync_finished(m->core);
    CHECK(m->lacks == (core_syncing(m->core) && !core_resyncing(m->core)));
}

void gs_copy_event(struct gs *gs, struct gs_member *m, const struct gs_event *e)
{
    if (e->kind == GS_SYNC_OPEN)
        open_copy(gs, m, e->b, e->id);
    else if (e->kind == GS_SYNC_READ)
        read_copy(gs, m, e);
    else if (e->kind == GS_SYNC_PUT)
        put_rows(m);
    else
        finish(gs, m);
}
