/*
 * One member: rows in memory and on disk, the log, crash and replay, garbage collection.
 *
 * The disk keeps what a real one would: records up to the last completed sync and a random part of
 * what came after, rows as of their last flush, the covered position that goes with them. A row is
 * flushed only when the log is durable up to its last effect.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/value/row_chunk.h"
#include "engine/value/row_state.h"
#include "engine/value/rowkey.h"

#include "tests/sim/sim_group.h"

#define ASK_MS          300u  /* That a started member waits for peers before it writes. */
#define RETENTION_BYTES 1500u /* Of log kept for a peer, where members are away for longer. */

static struct buf new_buf(void)
{
    struct buf b;

    buf_init(&b, SIZE_MAX);
    return b;
}

static unsigned key_at(unsigned key)
{
    if (key == GS_BITS_KEY)
        return SIM_ROWS;
    return key < SIM_KEYS ? key * (1 + SIM_TYPES * SIM_SUBS)
                          : SIM_ROWS + (key - GS_LIST_KEY) * GS_LIST_ROWS;
}

static unsigned elem_at(unsigned key, unsigned type, unsigned sub)
{
    const unsigned first = key_at(key) + 1 + (gs_is_list_key(key) ? GS_POSITIONS_MAX : 0);

    return first + type * SIM_SUBS + sub;
}

static unsigned chunk_at(unsigned chunk)
{
    return elem_at(GS_BITS_KEY, SIM_TYPES, 0) + chunk;
}

static uint64_t mono_ms(const struct gs *gs)
{
    return gs->now / GS_MS + 1000;
}

static uint64_t wall_ms(const struct gs *gs, const struct gs_member *m)
{
    return (uint64_t)(GS_WALL_MS + (int64_t)(gs->now / GS_MS) + m->skew_ms + m->step_ms);
}

uint64_t gs_clock_ms(const struct gs *gs, const struct gs_member *m)
{
    if (!m->up || gs->fault == GS_BLIND_CLOCK)
        return wall_ms(gs, m);
    return core_clock_ms(m->core, mono_ms(gs), wall_ms(gs, m));
}

uint64_t gs_now_ms(const struct gs *gs, const struct gs_member *m)
{
    return u64_max(gs_clock_ms(gs, m), hlc_ms(m->hlc));
}

/* --- rows --- */

static void row_set(struct gs_row *row, struct buf *take)
{
    buf_deinit(&row->mem);
    row->mem = *take;
}

static bool is_clean(const struct gs_row *row)
{
    return row->dirty_lsn == 0 && bytes_eq(buf_bytes(&row->mem), buf_bytes(&row->disk));
}

struct bytes gs_key_row(struct gs_member *m, unsigned key)
{
    return buf_bytes(&m->rows[key_at(key)].mem);
}

/* The element in row `at`, without what its key row has cleared. */
static struct bytes clipped_row(struct gs_member *m, unsigned key, unsigned at)
{
    struct gs_row *row = &m->rows[at];
    struct buf clipped = new_buf();
    struct vv clear;

    CHECK(row_clear(gs_key_row(m, key), &clear) == 0);
    CHECK(row_clip(buf_bytes(&row->mem), &clear, &clipped) == 0);
    /* What was clipped is an effect of what made the clear vector, and may not be written before.
     */
    if (!bytes_eq(buf_bytes(&row->mem), buf_bytes(&clipped)))
        row->max_lsn = u64_max(row->max_lsn, m->rows[key_at(key)].max_lsn);
    row_set(row, &clipped);
    return buf_bytes(&row->mem);
}

struct bytes gs_elem_row(struct gs_member *m, unsigned key, unsigned type, unsigned sub)
{
    return clipped_row(m, key, elem_at(key, type, sub));
}

struct bytes gs_list_row(struct gs_member *m, unsigned key, unsigned position)
{
    return clipped_row(m, key, key_at(key) + 1 + position);
}

struct bytes gs_chunk_row(struct gs_member *m, unsigned chunk)
{
    return buf_bytes(&m->rows[chunk_at(chunk)].mem);
}

static unsigned elems_count(const struct gs *gs, unsigned key)
{
    if (!gs_is_list_key(key))
        return SIM_TYPES * SIM_SUBS;
    return gs->retypes ? GS_LIST_ROWS - 1 : gs->lists[key - GS_LIST_KEY].count;
}

static unsigned elem_type(const struct gs *gs, unsigned key, unsigned elem)
{
    if (!gs_is_list_key(key))
        return gs->history.types[elem / SIM_SUBS];
    return elem < GS_POSITIONS_MAX ? VT_LIST
                                   : gs->history.types[(elem - GS_POSITIONS_MAX) / SIM_SUBS];
}

/* Breaks a rule on purpose: what a value replaces is not cleared. */
static struct bytes without_clear(struct bytes operand, struct buf *out)
{
    struct row_state *state = mem_alloc(sizeof(*state));

    CHECK(row_decode(operand, state) == 0);
    if (state->sibs_count != 0) {
        vv_init(&state->clear);
        vv_init(&state->clear_by);
    }
    CHECK(row_encode(state, out) == 0);
    mem_free(state);
    return buf_bytes(out);
}

struct apply {
    const struct gs *gs;
    struct gs_member *m;
    const struct op *op;
    uint64_t lsn;
};

static int on_operand(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct apply *apply = ctx;
    const unsigned key = (unsigned)apply->op->key.ptr[1] - '0';
    unsigned at = key_at(key);
    struct buf joined = new_buf();

    CHECK(gs_has_key(apply->gs, key));
    if (row_kind == ROWKEY_KIND_CHUNK) {
        CHECK(key == GS_BITS_KEY && sub.len == ROW_CHUNK_SUB_BYTES);
        CHECK(be32_load(sub.ptr) < GS_CHUNKS);
        at = chunk_at(be32_load(sub.ptr));
    } else if (row_kind == op_row_kind(VT_LIST)) {
        const unsigned position = gs_list_find(apply->gs, key, sub);

        CHECK(position < GS_POSITIONS_MAX);
        at = key_at(key) + 1 + position;
    } else if (row_kind != ROWKEY_KIND_KEY) {
        at = elem_at(key, row_kind == op_row_kind(VT_SET) ? 1 : 0, (unsigned)sub.ptr[1] - '0');
    }
    struct gs_row *row = &apply->m->rows[at];
    struct buf damaged = new_buf();
    if (apply->gs->fault == GS_KEEP_PARTS && at == key_at(GS_BITS_KEY))
        operand = without_clear(operand, &damaged);
    CHECK(row_merge_fold(buf_bytes(&row->mem), &operand, 1, &joined) == 0);
    buf_deinit(&damaged);
    row_set(row, &joined);
    row->max_lsn = apply->lsn;
    if (row->dirty_lsn == 0)
        row->dirty_lsn = apply->lsn;
    return 0;
}

static void apply_rows(const struct gs *gs, struct gs_member *m, struct bytes bytes, uint64_t lsn)
{
    struct apply apply = {.gs = gs, .m = m, .lsn = lsn};
    struct buf scratch = new_buf();
    struct batch batch;
    struct op op;

    CHECK(batch_open(bytes, &batch) == 0);
    CHECK(batch.flush <= m->flush);
    if (batch.flush < m->flush && gs->fault != GS_KEEP_FLUSHED)
        batch.nops_read = batch.nops = 0;
    while (batch_next(&batch, &op) == BATCH_OP) {
        apply.op = &op;
        CHECK(op_expand(&op, &batch, lsn, on_operand, &apply, &scratch) == 0);
    }
    buf_deinit(&scratch);
}

/* --- the log --- */

static void record_free(struct gs_record *record)
{
    buf_deinit(&record->bytes);
    mem_free(record);
}

uint64_t gs_member_log(struct gs *gs, struct gs_member *m, const struct batch *batch,
                       struct bytes bytes, unsigned index)
{
    struct gs_record *record = mem_zalloc(sizeof(*record));

    CHECK(m->log_count < GS_LOG_MAX);
    record->lsn = m->next_lsn++;
    record->seq = batch->seq;
    record->hlc = batch->hlc;
    record->origin = batch->origin;
    record->batch = index;
    record->bytes = new_buf();
    CHECK(buf_append_bytes(&record->bytes, bytes) == 0);
    m->log[m->log_count++] = record;
    if (batch->origin == GS_ORIGIN(m->index))
        m->seq = batch->seq;
    m->hlc = u64_max(m->hlc, batch->hlc);
    apply_rows(gs, m, bytes, record->lsn);
    return record->lsn;
}

/* The core is told what is durable; a broken rule tells it more. */
static void report_durable(struct gs *gs, struct gs_member *m)
{
    uint64_t lsn = m->durable_lsn;

    for (unsigned i = 0; i < m->log_count; i++) {
        const struct gs_record *record = m->log[i];
        const bool own = record->origin == GS_ORIGIN(m->index);

        if (record->lsn == lsn + 1 &&
            ((gs->fault == GS_ACK_EARLY && !own) || (gs->fault == GS_SHIP_EARLY && own)))
            lsn = record->lsn;
    }
    core_durable(m->core, lsn);
}

void gs_member_sync_start(struct gs *gs, struct gs_member *m)
{
    gs_at(gs, 5 * GS_MS, &(struct gs_event){.kind = GS_SYNC_START, .a = m->index});
    if (!m->up || m->paused || m->syncing || m->durable_lsn + 1 == m->next_lsn)
        return;
    m->syncing = true;
    m->sync_until = m->next_lsn - 1;
    const uint64_t stalled = m->stall_until > gs->now ? m->stall_until - gs->now : 0;
    gs_at(gs, stalled + gs_between(gs, 100, gs_chance(gs, 90) ? 3 * GS_MS : 60 * GS_MS),
          &(struct gs_event){.kind = GS_SYNC_DONE, .a = m->index, .life = m->life});
}

void gs_member_sync_done(struct gs *gs, struct gs_member *m)
{
    m->syncing = false;
    m->durable_lsn = m->sync_until;
    report_durable(gs, m);
}

void gs_member_fetch(struct gs *gs, struct gs_member *m, const struct core_fetch *fetch)
{
    struct core_record records[64];
    size_t count = 0;
    size_t bytes = 0;
    uint64_t seq = fetch->from_seq;

    if (gs->faults && gs_chance(gs, 3)) {
        core_fetched(m->core, fetch->id, -EIO, NULL, 0);
        return;
    }
    for (unsigned i = 0; i < m->log_count && count < 64 && bytes < fetch->bytes_max; i++) {
        const struct gs_record *record = m->log[i];

        if (record->origin != fetch->origin || record->seq < seq || seq > fetch->to_seq)
            continue;
        if (record->seq != seq)
            break; /* The first ones were trimmed. */
        records[count++] = (struct core_record){
            .seq = seq++, .hlc = record->hlc, .bytes = buf_bytes(&record->bytes)};
        bytes += record->bytes.len;
    }
    core_fetched(m->core, fetch->id, count == 0 ? -ERR_NOT_FOUND : 0, records, count);
}

/* --- the host of the core --- */

struct host {
    struct gs *gs;
    struct gs_member *m;
};

/* Members stand in an array in the simulation. */
struct gs *gs_of(struct gs_member *m)
{
    return container_of(m - m->index, struct gs, members[0]);
}

static struct host host_of(void *ctx)
{
    struct gs_member *m = ctx;

    return (struct host){.gs = gs_of(m), .m = m};
}

static void host_send(void *ctx, uint8_t peer, struct bytes frame)
{
    const struct host h = host_of(ctx);

    gs_net_send(h.gs, h.m->index, GS_INDEX(peer), frame);
}

static void host_close(void *ctx, uint8_t peer)
{
    const struct host h = host_of(ctx);

    gs_net_close(h.gs, h.m->index, GS_INDEX(peer));
}

static int host_can_apply(void *ctx, const struct batch *batch, struct bytes bytes)
{
    (void)batch;
    (void)bytes;
    return host_of(ctx).m->refuses ? -ERR_BUSY : 0;
}

/* The batch that came is the one that was made. */
static void check_arrived(const struct sim_batch *made, const struct batch *batch)
{
    struct batch want;

    CHECK(batch_open(buf_bytes(&made->bytes), &want) == 0);
    CHECK(want.origin == batch->origin && want.hlc == batch->hlc && want.nops == batch->nops);
    CHECK(bytes_eq(want.ops, batch->ops) && want.flush == batch->flush);
    CHECK(vv_equal(&want.ctx, &batch->ctx));
}

static uint64_t host_apply(void *ctx, const struct batch *batch, struct bytes bytes)
{
    const struct host h = host_of(ctx);
    const unsigned index = h.gs->made[GS_INDEX(batch->origin)][batch->seq];

    CHECK(!h.m->refuses);
    if (index == 0) {
        /* Flushed, and gone from the history: whoever was unlinked may still learn of it. */
        CHECK(!gs_counts(h.gs, h.m->index));
        return gs_member_log(h.gs, h.m, batch, bytes, 0);
    }
    const struct sim_batch *made = &h.gs->history.batches[index - 1];
    if (h.gs->fault == GS_NOT_CAUSAL)
        bytes = buf_bytes(&made->bytes); /* What came says nothing of its context. */
    else if (h.gs->fault == GS_SOUND)
        check_arrived(made, batch);
    return gs_member_log(h.gs, h.m, batch, bytes, index - 1);
}

static void host_flush(void *ctx, uint32_t flush)
{
    const struct host h = host_of(ctx);

    gs_trace(h.gs, "member %u is emptied: %u", h.m->index, flush);
    CHECK(flush > h.m->flush);
    h.m->flush = flush;
    for (unsigned i = 0; i < h.gs->rows_count; i++) {
        buf_clear(&h.m->rows[i].mem);
        buf_clear(&h.m->rows[i].disk);
        h.m->rows[i].dirty_lsn = 0;
    }
}

static void host_fetch(void *ctx, const struct core_fetch *fetch)
{
    const struct host h = host_of(ctx);
    const uint64_t stalled = h.m->stall_until > h.gs->now ? h.m->stall_until - h.gs->now : 0;

    gs_at(
        h.gs, stalled + gs_between(h.gs, 50, 8 * GS_MS),
        &(struct gs_event){.kind = GS_FETCH, .a = h.m->index, .life = h.m->life, .fetch = *fetch});
}

static void host_event(void *ctx, const struct core_event *event)
{
    static const char *const names[] = {
        "link ready",  "link closed", "own lost",        "own regained",  "forked",
        "skew warn",   "skew fenced", "skew over",       "clock doubted", "clock followed",
        "peer behind", "self behind", "beyond the seal", "peer back",     "resync",
        "resynced",    "asked",       "went back",       "peer full",     "peer has room"};
    STATIC_ASSERT(ARRAY_COUNT(names) == CORE_PEER_ROOM + 1);
    const struct host h = host_of(ctx);
    const bool bad_close = event->kind == CORE_LINK_CLOSED && event->reason != WIRE_CLOSED &&
                           event->reason != WIRE_EPOCH && event->reason != WIRE_TIMEOUT &&
                           event->reason != WIRE_OK && event->reason != WIRE_REMOVED;

    gs_trace(h.gs, "member %u: %s, peer %u, %s, %llu", h.m->index, names[event->kind],
             GS_INDEX(event->peer), wire_reason_str(event->reason),
             (unsigned long long)event->detail);
    if (!bad_close && event->kind != CORE_FORKED && event->kind != CORE_OWN_LOST &&
        event->kind != CORE_PEER_BEHIND && event->kind != CORE_SELF_BEHIND &&
        event->kind != CORE_BEYOND_SEAL && event->kind != CORE_WENT_BACK)
        return;
    if (!gs_counts(h.gs, h.m->index))
        return; /* It may be left behind. */
    h.gs->totals.behind += event->kind == CORE_PEER_BEHIND;
    if (h.gs->lags && (event->kind == CORE_PEER_BEHIND || event->kind == CORE_SELF_BEHIND))
        return;
    if (event->kind == CORE_SELF_BEHIND && h.m->index == h.gs->joiner)
        return; /* Others trimmed before they knew of it; its donor did not. */
    gs_fail(h.gs, "member %u: %s, peer %u %s", h.m->index, names[event->kind],
            GS_INDEX(event->peer), wire_reason_str(event->reason));
}

static const struct core_host core_host = {.send = host_send,
                                           .close = host_close,
                                           .can_apply = host_can_apply,
                                           .apply = host_apply,
                                           .flush = host_flush,
                                           .fetch = host_fetch,
                                           .event = host_event,
                                           .sync_open = gs_host_sync_open,
                                           .sync_read = gs_host_sync_read,
                                           .sync_close = gs_host_sync_close,
                                           .sync_begin = gs_host_sync_begin,
                                           .sync_sum = gs_host_sync_sum,
                                           .sync_put = gs_host_sync_put,
                                           .sync_finish = gs_host_sync_finish};

void gs_member_tick(struct gs *gs, struct gs_member *m)
{
    const struct core_time now = {
        .mono_ms = mono_ms(gs), .wall_ms = wall_ms(gs, m), .hlc = u64_min(m->hlc, m->lease)};

    core_set_room(m->core, m->refuses ? CORE_ROOM_NONE : CORE_ROOM_OK);
    core_tick(m->core, &now);
    if (!core_has_begun(m->core))
        m->hlc = u64_max(m->hlc, core_promised_hlc(m->core));
    if (core_clock_promises(m->core) || gs->fault == GS_BLIND_CLOCK) {
        const uint64_t clock_ms = gs_clock_ms(gs, m);

        m->hlc = u64_max(m->hlc, hlc_make(clock_ms, 0));
        /* By the clock: else each restart would move the HLC ahead. */
        if (hlc_make(clock_ms + 1000, 0) > m->lease)
            m->lease = hlc_make(clock_ms + 2000, 0);
    }
    report_durable(gs, m);
}

/* --- life --- */

void gs_member_start(struct gs *gs, struct gs_member *m)
{
    struct core_options options = {.origin = GS_ORIGIN(m->index),
                                   .shard = 3,
                                   .incarnation = 100 + m->index,
                                   .flush = m->flush,
                                   .recovered_lsn = m->next_lsn - 1,
                                   .covered_lsn = m->covered_lsn,
                                   .newest = m->newest,
                                   .acked = m->acked,
                                   .covered = m->covered,
                                   .recovered = m->covered,
                                   .window_bytes = 2048,
                                   .frame_bytes = 512,
                                   .parked_bytes_max = 2048,
                                   .tail_bytes_max = 1024,
                                   .history_bytes = 512,
                                   .timeout_ms = 2000,
                                   .ask_ms = m->life == 0 ? 0 : ASK_MS,
                                   .resync = true,
                                   .retention_bytes = gs->lags ? RETENTION_BYTES : 0};

    for (unsigned i = 0; i < gs->rows_count; i++) {
        struct gs_row *row = &m->rows[i];

        buf_clear(&row->mem);
        CHECK(buf_append_bytes(&row->mem, buf_bytes(&row->disk)) == 0);
        row->dirty_lsn = row->max_lsn = 0;
    }
    for (unsigned i = 0; i < m->log_count; i++) {
        const struct gs_record *record = m->log[i];

        m->hlc = u64_max(m->hlc, record->hlc);
        if (record->lsn <= m->covered_lsn)
            continue;
        apply_rows(gs, m, buf_bytes(&record->bytes), record->lsn);
        CHECK(posv_raise(&options.recovered, record->origin,
                         (struct pos){record->seq, record->hlc}) == 0);
    }
    m->hlc = u64_max(m->hlc, m->lease);
    m->seq = posv_get(&options.recovered, GS_ORIGIN(m->index)).seq;
    m->up = true;
    m->paused = false;
    m->syncing = false;
    core_create(&options, &core_host, m, &m->core);
    gs_member_tick(gs, m);
    gs_set_members(gs, m);
    if (m->lacks)
        core_sync_start(m->core);
}

void gs_member_init(struct gs *gs, unsigned index)
{
    struct gs_member *m = &gs->members[index];

    m->index = index;
    m->next_lsn = 1;
    m->epoch = 1;
    m->skew_ms = (int64_t)gs_pick(gs, 60) - 30;
    m->edited = new_buf();
    for (unsigned i = 0; i < gs->rows_count; i++) {
        m->rows[i].mem = new_buf();
        m->rows[i].disk = new_buf();
    }
    m->put = new_buf();
    m->sums = new_buf();
    m->differ = new_buf();
    for (unsigned i = 0; i < gs->rows_count; i++)
        m->aside[i] = new_buf();
    for (unsigned i = 0; i < GS_MEMBERS_MAX; i++) {
        for (unsigned j = 0; j < gs->rows_count; j++)
            m->copies[i].rows[j] = new_buf();
        m->copies[i].sums = new_buf();
    }
    if (index != gs->joiner)
        gs_member_start(gs, m);
}

void gs_member_deinit(struct gs_member *m)
{
    const struct gs *gs = gs_of(m);

    if (m->up)
        core_destroy(m->core);
    for (unsigned i = 0; i < m->log_count; i++)
        record_free(m->log[i]);
    for (unsigned i = 0; i < gs->rows_count; i++) {
        buf_deinit(&m->rows[i].mem);
        buf_deinit(&m->rows[i].disk);
        buf_deinit(&m->aside[i]);
    }
    for (unsigned i = 0; i < GS_MEMBERS_MAX; i++)
        gs_copy_close(m, i);
    buf_deinit(&m->put);
    buf_deinit(&m->sums);
    buf_deinit(&m->differ);
    buf_deinit(&m->edited);
}

void gs_member_crash(struct gs *gs, struct gs_member *m)
{
    unsigned keep = 0;

    while (keep < m->log_count && m->log[keep]->lsn <= m->durable_lsn)
        keep++;
    keep += gs_pick(gs, m->log_count - keep + 1);
    gs_trace(gs, "member %u crashes, loses %u records", m->index, m->log_count - keep);
    for (unsigned i = keep; i < m->log_count; i++) {
        struct gs_record *record = m->log[i];

        if (record->origin == GS_ORIGIN(m->index)) {
            gs->lost[record->batch] = true;
            gs->totals.lost++;
        }
        record_free(record);
    }
    m->next_lsn -= m->log_count - keep;
    m->log_count = keep;
    m->durable_lsn = m->next_lsn - 1;
    m->up = false;
    m->resyncing = false;
    m->life++;
    for (unsigned i = 0; i < GS_MEMBERS_MAX; i++)
        gs_copy_close(m, i);
    m->hlc = 0;
    core_destroy(m->core);
    m->core = NULL;
    gs->totals.crashes++;
    gs_net_member_down(gs, m->index);
}

void gs_member_flush(struct gs *gs, struct gs_member *m, bool all)
{
    uint64_t lsn = m->next_lsn - 1;

    if (m->lacks || core_syncing(m->core))
        return;
    core_acked(m->core, &m->acked);
    for (unsigned i = 0; i < gs->rows_count; i++) {
        struct gs_row *row = &m->rows[i];

        if (is_clean(row))
            continue;
        if (row->max_lsn > m->durable_lsn || (!all && gs_chance(gs, 40))) {
            if (row->dirty_lsn != 0)
                lsn = u64_min(lsn, row->dirty_lsn - 1);
            continue;
        }
        buf_clear(&row->disk);
        CHECK(buf_append_bytes(&row->disk, buf_bytes(&row->mem)) == 0);
        row->dirty_lsn = 0;
    }
    lsn = u64_min(lsn, m->durable_lsn);
    for (unsigned i = 0; i < m->log_count; i++) {
        const struct gs_record *record = m->log[i];

        if (record->lsn > m->covered_lsn && record->lsn <= lsn)
            CHECK(posv_raise(&m->covered, record->origin, (struct pos){record->seq, record->hlc}) ==
                  0);
    }
    m->covered_lsn = u64_max(m->covered_lsn, lsn);
    core_covered(m->core, m->covered_lsn, &m->covered);
}

/* --- garbage --- */

static void collect_row(struct gs *gs, struct gs_row *row, const struct row_horizons *horizons,
                        uint16_t *out_sweep_types)
{
    struct buf smaller = new_buf();
    const int got = row_collect(buf_bytes(&row->mem), horizons, &smaller, out_sweep_types);

    CHECK(got >= 0);
    if (got == ROW_UNCHANGED) {
        buf_deinit(&smaller);
        return;
    }
    CHECK(row_check(buf_bytes(&smaller)) == 0);
    row_set(row, &smaller);
    gs->totals.collected++;
}

/* Breaks a rule on purpose: the generation goes as soon as the key row has no value of it. */
static bool is_swept_early(struct bytes row, const struct row_generations *generations)
{
    struct tag generation;
    unsigned count;

    CHECK(row_chunk_latest(row, &generation, &count) == 0);
    for (unsigned i = 0; i < generations->count; i++) {
        if (tag_eq(generations->alive[i], generation))
            return false;
    }
    return count == 1;
}

static void collect_chunk(struct gs *gs, struct gs_member *m, struct gs_row *row,
                          const struct row_generations *generations, const struct vv *stable)
{
    const bool folds = row->mem.ptr[0] == ROW_CHUNKS;
    struct buf out = new_buf();
    int got = ROW_CHANGED;

    if (gs->fault == GS_EAGER_SWEEP && is_swept_early(buf_bytes(&row->mem), generations))
        CHECK(buf_append_u8(&out, ROW_DEAD) == 0);
    else if (gs->fault == GS_EAGER_FOLD)
        got = row_chunk_collect(buf_bytes(&row->mem), core_applied_vv(m->core), NULL, &out);
    else
        got = row_chunk_collect(buf_bytes(&row->mem), stable, generations, &out);
    CHECK(got >= 0);
    if (got == ROW_UNCHANGED) {
        buf_deinit(&out);
        return;
    }
    CHECK(row_check(buf_bytes(&out)) == 0);
    if (gs->fault == GS_FOLD_TAGS)
        gs_bits_raise_image(buf_bytes(&row->mem), stable, &out);
    /* What the key row says is an effect of what made it so, and may not be written before. */
    row->max_lsn = u64_max(row->max_lsn, m->rows[key_at(GS_BITS_KEY)].max_lsn);
    row_set(row, &out);
    gs->totals.folded += folds && row_is_chunk(buf_bytes(&row->mem));
    gs->totals.swept += !row_is_chunk(buf_bytes(&row->mem));
}

/* Bits that are stable go into images, generations that nothing shows any more go. */
/* `all`: the string has expired for good. */
static void collect_chunks(struct gs *gs, struct gs_member *m, const struct vv *stable, bool all)
{
    struct row_generations generations;

    CHECK(row_generations(gs_key_row(m, GS_BITS_KEY), &generations) == 0);
    if (all)
        generations.count = 0;
    for (unsigned i = 0; i < GS_CHUNKS; i++) {
        if (row_is_chunk(gs_chunk_row(m, i)))
            collect_chunk(gs, m, &m->rows[chunk_at(i)], &generations, stable);
    }
}

/* Element rows are gone only when they are gone on disk. */
static bool elems_clean(const struct gs *gs, const struct gs_member *m, unsigned key)
{
    for (unsigned i = 0; key == GS_BITS_KEY && i < GS_CHUNKS; i++) {
        if (!is_clean(&m->rows[chunk_at(i)]))
            return false;
    }
    for (unsigned i = 1; i <= elems_count(gs, key); i++) {
        if (!is_clean(&m->rows[key_at(key) + i]))
            return false;
    }
    return true;
}

static void collect_key(struct gs *gs, struct gs_member *m, unsigned key,
                        struct row_horizons *horizons)
{
    struct gs_row *row = &m->rows[key_at(key)];
    uint16_t sweep_types = 0;
    uint16_t ignored;

    horizons->clearing = row_clearing(buf_bytes(&row->mem), horizons->stable);
    for (unsigned i = 0; i < elems_count(gs, key); i++) {
        (void)clipped_row(m, key, key_at(key) + 1 + i);
        collect_row(gs, &row[1 + i], horizons, &ignored);
    }
    if (key == GS_BITS_KEY)
        collect_chunks(gs, m, horizons->stable, false);
    horizons->swept = elems_clean(gs, m, key);
    horizons->swept_types = 0;
    collect_row(gs, row, horizons, &sweep_types);
    for (unsigned i = 0; i < elems_count(gs, key); i++) {
        struct gs_row *elem = &row[1 + i];
        struct buf clipped;

        if ((sweep_types & 1u << elem_type(gs, key, i)) == 0)
            continue;
        clipped = new_buf();
        CHECK(row_clip(buf_bytes(&elem->mem), horizons->stable, &clipped) == 0);
        row_set(elem, &clipped);
    }
    if (key == GS_BITS_KEY && (sweep_types & 1u << VT_STRING) != 0)
        collect_chunks(gs, m, horizons->stable, true);
    if (sweep_types != 0 && elems_clean(gs, m, key)) {
        horizons->swept_types = sweep_types;
        collect_row(gs, row, horizons, &ignored);
    }
}

static void keep_greatest_type(struct row_state *state)
{
    while (state->types_count > 1) {
        const bool first = tag_cmp(state->types[0].tag, state->types[1].tag) > 0;

        state->types_count--;
        if (!first)
            state->types[0] = state->types[1];
        for (unsigned i = 1; i < state->types_count; i++)
            state->types[i] = state->types[i + 1];
    }
}

static void keep_shown_times(struct row_state *state)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < state->exps_count; i++) {
        bool shown = state->exps[i].type != VT_CHUNKED;

        for (unsigned j = 0; j < state->sibs_count; j++)
            shown |=
                state->sibs[j].chunked && tag_eq(state->sibs[j].generation, state->exps[i].target);
        if (shown)
            state->exps[kept++] = state->exps[i];
    }
    state->exps_count = kept;
}

/* Breaks a rule on purpose. */
static void damage_row(enum gs_fault fault, struct gs_row *row)
{
    struct row_state *state = mem_alloc(sizeof(*state));
    struct buf out = new_buf();

    CHECK(row_decode(buf_bytes(&row->mem), state) == 0);
    if (fault == GS_EAGER_FLOORS)
        state->floors_count = 0;
    if (fault == GS_EAGER_TYPES)
        keep_greatest_type(state);
    if (fault == GS_EAGER_TIMES)
        keep_shown_times(state);
    while (fault == GS_EAGER_LOSERS && state->sibs_count > 1) {
        const bool first = tag_cmp(state->sibs[0].tag, state->sibs[1].tag) > 0;

        state->sibs_count--;
        if (!first)
            state->sibs[0] = state->sibs[1];
        for (unsigned i = 1; i < state->sibs_count; i++)
            state->sibs[i] = state->sibs[i + 1];
    }
    row_state_settle(state);
    CHECK(row_encode(state, &out) == 0);
    mem_free(state);
    row_set(row, &out);
}

static void trim(struct gs *gs, struct gs_member *m, uint64_t lsn)
{
    unsigned first = 0;

    CHECK(lsn <= m->covered_lsn);
    while (first < m->log_count && m->log[first]->lsn <= lsn)
        record_free(m->log[first++]);
    m->log_count -= first;
    memmove(m->log, m->log + first, m->log_count * sizeof(*m->log)); /* NOLINT: of pointers */
    gs->totals.trimmed += first;
}

void gs_member_collect(struct gs *gs, struct gs_member *m)
{
    struct core_horizons horizons;
    struct row_horizons rows = {.now_ms = gs_now_ms(gs, m)};

    if (core_syncing(m->core))
        return;
    core_horizons(m->core, &horizons);
    if (gs->fault == GS_OWN_CLOCK) {
        vv_copy(&horizons.stable, core_applied_vv(m->core));
        horizons.lst = UINT64_MAX;
    }
    rows.stable = &horizons.stable;
    rows.lst = horizons.lst;
    for (unsigned key = 0; key < GS_KEYS_MAX; key++) {
        if (!gs_has_key(gs, key))
            continue;
        if (gs->fault == GS_EAGER_FLOORS || gs->fault == GS_EAGER_LOSERS ||
            (gs->fault == GS_EAGER_TYPES && key >= SIM_KEYS) ||
            (gs->fault == GS_EAGER_TIMES && key == GS_BITS_KEY))
            damage_row(gs->fault, &m->rows[key_at(key)]);
        collect_key(gs, m, key, &rows);
    }
    trim(gs, m, horizons.trim_lsn);
}

/* --- what clients see --- */

void gs_show(const struct gs *gs, struct gs_member *m, unsigned key, uint64_t now_ms,
             struct sim_shown *out)
{
    struct row_view view;

    memset(out, 0, sizeof(*out));
    CHECK(row_view(gs_key_row(m, key), now_ms, &view) == 0);
    out->present = view.present;
    out->type = view.type;
    out->expire_at_ms = view.expire_at_ms;
    if (view.present && view.type == VT_STRING)
        sim_show_text(&view, out->text);
    for (unsigned t = 0; view.present && t < SIM_TYPES; t++) {
        for (unsigned s = 0; view.type == gs->history.types[t] && s < SIM_SUBS; s++) {
            out->elem_present[t][s] =
                sim_show_elem(gs_elem_row(m, key, t, s), view.type, out->elem_text[t][s]);
        }
    }
}
