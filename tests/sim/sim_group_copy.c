/*
 * Full sync, as the hosts of both sides do it: checkpoints of what is on disk, read in pieces, rows
 * that are stored after a while. Row keys are two bytes here, the slot: the number of the row; each
 * row has a slot of its own. Ranges are cut by the donor where their seed says so.
 */
#include <errno.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/crc16.h"

#include "engine/value/row_same.h"

#include "tests/sim/sim_group.h"

#define PIECE_ROWS 3
#define KEY_BYTES  2u
/* Ranges of which own rows cannot be read. */
#define UNREAD_ONE_OF 16u

void gs_copy_close(struct gs_member *m, unsigned peer)
{
    struct gs_copy *copy = &m->copies[peer];

    copy->open = false;
    for (unsigned i = 0; i < gs_of(m)->rows_count; i++)
        buf_deinit(&copy->rows[i]);
    buf_deinit(&copy->sums);
}

static uint64_t name_of(unsigned row, uint64_t seed)
{
    const uint8_t key = (uint8_t)row;
    const struct rowkey rk = {.key = bytes_of(&key, 1)};

    return row_same_name(&rk, seed);
}

/* Adds the sums of rows of a range to, or takes them from, what stands in `sums`. */
static void add_sums(const struct wire_sync_range *range, unsigned row, struct bytes bytes,
                     bool off, struct buf *sums)
{
    const uint64_t name = name_of(row, range->seed);
    uint8_t *at = sums->ptr + (size_t)8 * wire_sync_bucket(name, range->bits);
    uint64_t sum;

    CHECK(row_same_sum(bytes, name, &sum) == 0);
    le64_store(at, off ? le64_load(at) - sum : le64_load(at) + sum);
}

/* Of one range, at most: so that there are about as many ranges with many rows as with few. */
static unsigned range_rows(const struct gs *gs)
{
    return u32_max(8, gs->rows_count / 8);
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

void gs_host_sync_read(void *ctx, uint8_t peer, const struct wire_sync_ask *ask, size_t bytes_max)
{
    struct gs_member *m = ctx;
    struct gs *gs = gs_of(m);
    struct gs_copy *copy = &m->copies[GS_INDEX(peer)];

    (void)bytes_max;
    copy->range = ask->range;
    if (ask->range.bits != WIRE_SYNC_ALL) {
        const unsigned cut = ask->range.first + 1u + (unsigned)(ask->range.seed % range_rows(gs));

        if (cut < gs->rows_count && cut < ask->range.end)
            copy->range.end = (uint16_t)cut;
    }
    buf_clear(&copy->sums);
    CHECK(buf_append_bytes(&copy->sums, ask->range.sums) == 0);
    /* The key that it goes on behind travels as the order of the fetch. */
    gs_at(gs, gs_between(gs, 100, 10 * GS_MS),
          &(struct gs_event){
              .kind = GS_SYNC_READ,
              .a = m->index,
              .b = GS_INDEX(peer),
              .life = m->life,
              .id = ask->id,
              .fetch = {.from_seq = ask->after.len == 0 ? 0 : be16_load(ask->after.ptr) + 1u}});
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
    if (gs->faults && !gs->calm && gs_chance(gs, 10)) {
        core_sync_opened(m->core, GS_ORIGIN(peer), id, -EIO, NULL, 0);
        return;
    }
    for (unsigned i = 0; i < gs->rows_count; i++)
        CHECK(buf_append_bytes(&copy->rows[i], buf_bytes(&m->rows[i].disk)) == 0);
    copy->flush = m->flush;
    posv_copy(&copy->at, &m->covered);
    core_sync_opened(m->core, GS_ORIGIN(peer), id, 0, &copy->at, copy->flush);
}

/* A bit per bucket whose sum is not that of these rows. */
static void compare(const struct gs *gs, const struct gs_copy *copy, struct buf *differ)
{
    const struct wire_sync_range *range = &copy->range;
    const size_t len = wire_sync_differ_bytes(range->bits);
    struct buf sums;

    buf_init(&sums, SIZE_MAX);
    CHECK(buf_append_bytes(&sums, buf_bytes(&copy->sums)) == 0 && buf_reserve(differ, len) == 0);
    if (len != 0)
        memset(buf_end(differ), 0, len);
    buf_commit(differ, len);
    for (unsigned i = range->first; len != 0 && i < gs->rows_count && i < range->end; i++)
        add_sums(range, i, buf_bytes(&copy->rows[i]), true, &sums);
    for (unsigned i = 0; 8 * i < sums.len && gs->fault != GS_ALL_ALIKE; i++) {
        if (le64_load(sums.ptr + (size_t)8 * i) != 0)
            differ->ptr[i >> 3] |= (uint8_t)(1u << (i & 7));
    }
    buf_deinit(&sums);
}

static bool is_wanted(const struct gs_copy *copy, unsigned row, struct bytes differ)
{
    const struct wire_sync_range *range = &copy->range;

    return copy->rows[row].len > 1 &&
           (range->bits == WIRE_SYNC_ALL ||
            wire_sync_differs(differ, wire_sync_bucket(name_of(row, range->seed), range->bits)));
}

static void read_copy(struct gs *gs, struct gs_member *m, const struct gs_event *e)
{
    const struct gs_copy *copy = &m->copies[e->b];
    const unsigned end = u32_min(copy->range.end, gs->rows_count);
    struct wire_row rows[PIECE_ROWS];
    uint8_t keys[PIECE_ROWS][KEY_BYTES];
    uint32_t count = 0;
    unsigned i = u32_max((unsigned)e->fetch.from_seq, copy->range.first);
    struct buf differ;

    if (!copy->open || copy->id != e->id)
        return;
    buf_init(&differ, SIZE_MAX);
    compare(gs, copy, &differ);
    for (; i < end && count < PIECE_ROWS; i++) {
        if (!is_wanted(copy, i, buf_bytes(&differ)))
            continue;
        be16_store(keys[count], (uint16_t)i);
        rows[count] = (struct wire_row){.key = bytes_of(keys[count], KEY_BYTES),
                                        .row = buf_bytes(&copy->rows[i])};
        count++;
    }
    gs->totals.copied += count;
    const struct core_piece piece = {.rows = rows,
                                     .count = count,
                                     .last = i >= end,
                                     .end = copy->range.end,
                                     .differ = i >= end ? buf_bytes(&differ) : bytes_of(NULL, 0)};
    core_sync_rows(m->core, GS_ORIGIN(e->b), e->id,
                   gs->faults && !gs->calm && gs_chance(gs, 5) ? -EIO : 0, &piece);
    buf_deinit(&differ);
}

/* --- joiner --- */

void gs_host_sync_begin(void *ctx)
{
    struct gs_member *m = ctx;

    CHECK(m->durable_lsn + 1 == m->next_lsn);
    m->resyncing = !m->lacks;
    for (unsigned i = 0; i < gs_of(m)->rows_count; i++)
        buf_clear(m->lacks ? &m->rows[i].mem : &m->aside[i]);
}

void gs_host_sync_sum(void *ctx, uint16_t first)
{
    later(ctx, GS_SYNC_SUM, 0, first);
}

static void sum_rows(struct gs *gs, struct gs_member *m, uint16_t first)
{
    const unsigned end = u32_min(first + range_rows(gs), gs->rows_count);
    const uint8_t bits = (uint8_t)gs_pick(gs, 5);

    CHECK(m->resyncing || core_sync_stale(m->core));
    m->sum = (struct wire_sync_range){.first = first,
                                      .end = end == gs->rows_count ? KEY_SLOTS : (uint16_t)end,
                                      .bits = bits,
                                      .seed = rng_u64(&gs->rng)};
    buf_clear(&m->sums);
    CHECK(buf_reserve(&m->sums, (size_t)8 << bits) == 0);
    memset(buf_end(&m->sums), 0, (size_t)8 << bits);
    buf_commit(&m->sums, (size_t)8 << bits);
    for (unsigned i = first; i < end; i++)
        add_sums(&m->sum, i, buf_bytes(&m->rows[i].mem), false, &m->sums);
    m->sum.sums = buf_bytes(&m->sums);
    core_sync_summed(m->core, &m->sum);
}

void gs_host_sync_put(void *ctx, struct wire_sync_rows *rows)
{
    struct gs_member *m = ctx;
    struct wire_row row;

    buf_clear(&m->put);
    m->put_flush = m->flush;
    buf_clear(&m->differ);
    CHECK(buf_append_bytes(&m->differ, rows->differ) == 0);
    if (rows->differ.len != 0)
        m->sum.end = rows->end;
    while (wire_sync_next(rows, &row)) {
        CHECK(row.key.len == KEY_BYTES && be16_load(row.key.ptr) < gs_of(m)->rows_count);
        CHECK(row.row.len < 256 * 256 && buf_reserve(&m->put, 4 + row.row.len) == 0);
        memcpy(buf_end(&m->put), row.key.ptr, KEY_BYTES);
        le16_store(buf_end(&m->put) + 2, (uint16_t)row.row.len);
        memcpy(buf_end(&m->put) + 4, row.row.ptr, row.row.len);
        buf_commit(&m->put, 4 + row.row.len);
    }
    later(m, GS_SYNC_PUT, 0, 0);
}

void gs_host_sync_finish(void *ctx, const struct posv *at, const struct posv *newest, bool joins)
{
    struct gs_member *m = ctx;

    m->put_flush = m->flush;
    m->put_joins = joins;
    posv_copy(&m->put_at, at);
    posv_copy(&m->put_newest, newest);
    later(m, GS_SYNC_FINISH, 0, 0);
}

/* What was not sent as it is the same here. */
static void put_alike(struct gs_member *m)
{
    for (unsigned i = m->sum.first; i < gs_of(m)->rows_count && i < m->sum.end; i++) {
        const uint32_t bucket = wire_sync_bucket(name_of(i, m->sum.seed), m->sum.bits);

        if (wire_sync_differs(buf_bytes(&m->differ), bucket))
            continue;
        buf_clear(&m->aside[i]);
        CHECK(buf_append_bytes(&m->aside[i], buf_bytes(&m->rows[i].mem)) == 0);
        gs_of(m)->totals.alike += m->rows[i].mem.len > 1;
    }
}

/* Some own rows of the range are damaged: as its seed says. */
static bool are_unread(struct gs_member *m)
{
    return gs_of(m)->faults && m->sum.seed % UNREAD_ONE_OF == 0;
}

static void put_rows(struct gs_member *m)
{
    struct bytes left = buf_bytes(&m->put);

    /* A flush in between has emptied the rows, and empties these. */
    while (left.len != 0 && m->put_flush == m->flush && gs_of(m)->fault != GS_EMPTY_COPY) {
        const unsigned at = be16_load(left.ptr);
        struct buf *row = m->resyncing ? &m->aside[at] : &m->rows[at].mem;
        const size_t len = le16_load(left.ptr + 2);

        buf_clear(row);
        CHECK(buf_append(row, left.ptr + 4, len) == 0);
        left = bytes_from(left, 4 + len);
    }
    if (m->differ.len != 0 && are_unread(m)) {
        gs_of(m)->totals.unread++;
        core_sync_unread(m->core);
        return;
    }
    if (m->differ.len != 0 && m->put_flush == m->flush)
        put_alike(m);
    core_sync_stored(m->core, 0);
}

/* What was put aside, and what was there. */
static void join_aside(struct gs *gs, struct gs_member *m)
{
    struct vv theirs;

    CHECK(m->durable_lsn + 1 == m->next_lsn);
    posv_to_vv(&m->put_at, &theirs);
    for (unsigned i = 0; i < gs->rows_count; i++) {
        const struct row_seen_by mine = {buf_bytes(&m->rows[i].mem), core_applied_vv(m->core)};
        const struct row_seen_by other = {buf_bytes(&m->aside[i]), &theirs};
        struct buf joined;

        buf_init(&joined, SIZE_MAX);
        if (!m->put_joins)
            CHECK(buf_append_bytes(&joined, other.row) == 0);
        else if (gs->fault == GS_KEEP_REMOVED)
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
    gs->totals.renewed += !m->put_joins;
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
        core_acked(m->core, &m->acked);
        m->seq = posv_get(&m->covered, GS_ORIGIN(m->index)).seq;
        m->covered_lsn = m->next_lsn - 1;
        for (unsigned i = 0; i < gs->rows_count; i++) {
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
    else if (e->kind == GS_SYNC_SUM)
        sum_rows(gs, m, (uint16_t)e->id);
    else if (e->kind == GS_SYNC_PUT)
        put_rows(m);
    else
        finish(gs, m);
}
