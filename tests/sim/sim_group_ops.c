/*
 * Random local changes, made as a shard makes them: what is there is read, the op says what it has
 * seen, and the batch has the vector of all that is applied as its context.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"

#include "tests/sim/sim_group.h"

#define CHANGES_OF_KEY_MAX 3

uint64_t gs_deadline(struct gs *gs, const struct gs_member *m)
{
    return gs_now_ms(gs, m) + 1 + gs_pick(gs, gs_chance(gs, 50) ? 60 : 1500);
}

/* An increment of `row`. False if Redis would refuse it. */
static bool make_incr(struct gs *gs, struct gs_member *m, struct tag tag, struct bytes row,
                      struct sim_change *change)
{
    const uint64_t now_ms = gs_now_ms(gs, m);
    struct row_incr incr;
    int err;

    buf_clear(&m->edited);
    if (change->op.type == VT_ZSET) {
        change->delta = ((long double)gs_pick(gs, 9) - 4.0L) / 2.0L;
        err = row_incr_score(row, (double)change->delta, tag, &m->edited, &incr);
    } else if (gs_chance(gs, 60)) {
        const int64_t delta = (int64_t)gs_pick(gs, 9) - 4;

        change->delta = (long double)delta;
        err = row_incr_int(row, now_ms, delta, tag, &m->edited, &incr);
    } else {
        change->delta = ((long double)gs_pick(gs, 9) - 4.0L) / 2.0L;
        err = row_incr_float(row, now_ms, change->delta, tag, &m->edited, &incr);
    }
    if (err != 0) {
        CHECK(err == -ERR_FORMAT || err == -ERR_TYPE);
        return false;
    }
    change->op.start = incr.start;
    change->op.isum = incr.isum;
    change->op.fsum = incr.fsum;
    if (incr.fresh && change->op.kind == OP_INCR)
        change->op.flags = OP_COVER;
    return true;
}

/* PFADD writes its value as SET does; so does every change of a string that is no counter. */
static void make_value(struct gs *gs, struct tag tag, struct sim_change *change)
{
    const unsigned number = gs_pick(gs, SIM_VALUES);

    sim_change_value(change, gs->hlls ? sim_value_or_hll(number, tag) : number);
}

static void make_expire(struct gs *gs, const struct gs_member *m, const struct row_view *view,
                        struct sim_change *change)
{
    change->op.expire_at_ms = gs_chance(gs, 25) ? 0 : gs_deadline(gs, m);
    change->op.target_type = view->target_type;
    change->op.target = view->target;
}

/* RESTORE, COPY, SORT and the algebra of sets and sorted sets: a clear and all elements. */
static void replace(struct gs *gs, struct gs_member *m, struct sim_batch *batch, unsigned key,
                    const struct row_view *view)
{
    const unsigned type = gs_pick(gs, SIM_TYPES);

    if (view->type != VT_NONE || sim_has_counters(gs_key_row(m, key)))
        sim_change_add(batch, key, OP_DEL);
    for (unsigned sub = 0; sub < SIM_SUBS; sub++) {
        struct sim_change *change = sim_change_add(batch, key, OP_ELEM_SET);

        sim_change_elem(&gs->history, change, type, sub);
        change->op.flags = OP_COVER;
        if (type == 0)
            make_value(gs, batch->tag, change);
    }
}

static void change_elem(struct gs *gs, struct gs_member *m, struct sim_batch *batch, unsigned key,
                        const struct row_view *view)
{
    const unsigned type = view->present && view->type == VT_SET ? 1 : gs_pick(gs, 2);
    struct sim_change *change;

    if (view->present && view->type != gs->history.types[type])
        return;
    /* OP_COVER of an element op cannot say what was seen of counters: then a DEL must. */
    if (!view->present &&
        (sim_has_counters(gs_key_row(m, key)) || (view->type != VT_NONE && gs_chance(gs, 50))))
        sim_change_add(batch, key, OP_DEL);
    change = sim_change_add(batch, key, OP_ELEM_SET);
    sim_change_elem(&gs->history, change, type, gs_pick(gs, SIM_SUBS));
    if (!view->present)
        change->op.flags = OP_COVER;
    else if (gs_chance(gs, 35))
        change->op.kind = OP_ELEM_DEL;
    if (type == 0 && change->op.kind == OP_ELEM_SET)
        make_value(gs, batch->tag, change);
}

void gs_change_key(struct gs *gs, struct gs_member *m, struct sim_batch *batch, unsigned key)
{
    const unsigned kind = gs_pick(gs, 100);
    struct sim_change *change;
    struct row_view view;

    CHECK(row_view(gs_key_row(m, key), gs_now_ms(gs, m), &view) == 0);
    if (kind < 20) {
        change = sim_change_add(batch, key, OP_SET);
        make_value(gs, batch->tag, change);
        if (!view.present)
            change->op.flags = OP_COVER;
        if (gs->expiry && gs_chance(gs, 40))
            change->op.expire_at_ms = gs_deadline(gs, m);
    } else if (kind < 32 || (view.expired && view.type > VT_STRING && kind < 50)) {
        if (view.type != VT_NONE)
            sim_change_add(batch, key, OP_DEL);
    } else if (kind < 60) {
        change = sim_change_add(batch, key, OP_INCR);
        if (!make_incr(gs, m, batch->tag, gs_key_row(m, key), change))
            batch->changes_count--;
    } else if (kind < 75) {
        if (view.present && gs->expiry)
            make_expire(gs, m, &view, sim_change_add(batch, key, OP_EXPIRE));
    } else if (gs->many && gs_chance(gs, 30)) {
        replace(gs, m, batch, key, &view);
    } else {
        change_elem(gs, m, batch, key, &view);
    }
}

/* Elements as counters, of a collection that is never removed as a whole. */
static void change_counters(struct gs *gs, struct gs_member *m, struct sim_batch *batch)
{
    const unsigned sub = gs_pick(gs, SIM_SUBS);
    const struct bytes row = gs_elem_row(m, SIM_COUNTER_KEY, 0, sub);
    const unsigned kind = gs_pick(gs, 10);
    struct sim_change *change = sim_change_add(
        batch, SIM_COUNTER_KEY, kind < 6 ? OP_ELEM_INCR : (kind < 8 ? OP_ELEM_SET : OP_ELEM_DEL));

    sim_change_elem(&gs->history, change, 0, sub);
    if (change->op.kind == OP_ELEM_SET)
        make_value(gs, batch->tag, change);
    if (change->op.kind == OP_ELEM_INCR && !make_incr(gs, m, batch->tag, row, change))
        batch->changes_count--;
}

static void finish_change(struct gs_member *m, struct sim_change *change, struct buf *scratch)
{
    struct op *op = &change->op;
    const bool is_elem = op->kind == OP_ELEM_SET || op->kind == OP_ELEM_DEL;

    op->key = bytes_cstr(change->key);
    op->sub = bytes_cstr(change->sub);
    op->value = bytes_of(change->value, change->value_len);
    buf_clear(scratch);
    if (is_elem)
        CHECK(row_seen(gs_elem_row(m, change->key_index, change->type_index, change->sub_index),
                       scratch) == 0);
    else if (op->kind == OP_SET || op->kind == OP_STRING || op->kind == OP_DEL ||
             (op->flags & OP_COVER) != 0)
        CHECK(row_seen(gs_key_row(m, change->key_index), scratch) == 0);
    op->seen = buf_bytes(scratch);
}

static void encode(const struct gs *gs, struct gs_member *m, struct sim_batch *batch,
                   const struct gs_list_batch *list, const struct gs_bits_batch *bits)
{
    unsigned nops = batch->changes_count;
    const uint64_t seq = m->seq + 1;
    struct buf scratch;

    buf_init(&scratch, SIZE_MAX);
    buf_init(&batch->bytes, SIZE_MAX);
    CHECK(buf_reserve(&batch->bytes, BATCH_HEADER_BYTES_MAX) == 0);
    buf_commit(&batch->bytes, batch_header_store_flush(buf_end(&batch->bytes), batch->tag, seq, 0,
                                                       m->flush, &batch->ctx));
    for (unsigned i = 0; i < batch->changes_count; i++) {
        struct op *op = &batch->changes[i].op;

        finish_change(m, &batch->changes[i], &scratch);
        const struct op told =
            gs->fault == GS_VALUE_TIME ? gs_bits_time_of_value(m, batch, op) : *op;
        CHECK(buf_reserve(&batch->bytes, op_size(&told)) == 0);
        buf_commit(&batch->bytes, op_store(buf_end(&batch->bytes), &told, batch->tag.hlc));
        op->seen = bytes_of(NULL, 0);
    }
    nops += gs_list_encode(gs, m, list, batch) + gs_bits_encode(bits, batch);
    batch_header_set_nops(batch->bytes.ptr, nops);
    buf_deinit(&scratch);
}

/* What the core is told of the batch. */
static void tell_core(struct gs *gs, struct gs_member *m, const struct sim_batch *made,
                      uint64_t lsn)
{
    struct core_record record = {
        .seq = m->seq, .hlc = made->tag.hlc, .bytes = buf_bytes(&made->bytes)};
    struct buf bare;
    struct batch batch;

    buf_init(&bare, SIZE_MAX);
    if (gs->fault == GS_NOT_CAUSAL) {
        CHECK(batch_open(record.bytes, &batch) == 0);
        CHECK(buf_reserve(&bare, BATCH_HEADER_BYTES_MAX) == 0);
        buf_commit(&bare, batch_header_store(buf_end(&bare), made->tag, m->seq, batch.nops, NULL));
        CHECK(buf_append_bytes(&bare, batch.ops) == 0);
        record.bytes = buf_bytes(&bare);
        /* What is read from the log says nothing either. */
        struct buf *logged = &m->log[m->log_count - 1]->bytes;
        buf_clear(logged);
        CHECK(buf_append_bytes(logged, record.bytes) == 0);
    }
    core_logged(m->core, lsn, &record);
    buf_deinit(&bare);
}

static unsigned other_key(unsigned key)
{
    return key == 0 ? 1 : 0;
}

static void change_list(struct gs *gs, struct gs_member *m, struct tag tag,
                        struct gs_list_batch *list)
{
    struct gs_list_edit e;

    gs_list_open(gs, m, tag, list, GS_LIST_KEY, &e);
    gs_list_change(&e);
}

/* One command, or one MULTI. */
static void change(struct gs *gs, struct gs_member *m, struct sim_batch *made,
                   struct gs_list_batch *list, struct gs_bits_batch *bits)
{
    if (gs->bits && gs_chance(gs, 60)) {
        gs_bits_change(gs, m, made, bits);
        return;
    }
    const unsigned key =
        gs->lists_count != 0 && gs_chance(gs, 50) ? GS_LIST_KEY : gs_pick(gs, SIM_KEYS);

    if (key == GS_LIST_KEY && gs->retypes)
        gs_retype_change(gs, m, made, list);
    else if (key == GS_LIST_KEY)
        change_list(gs, m, made->tag, list);
    else if (key == SIM_COUNTER_KEY)
        change_counters(gs, m, made);
    else
        gs_change_key(gs, m, made, key);
    /* MULTI, RENAME, COPY, SMOVE. */
    if ((gs->many || key == GS_LIST_KEY) && made->changes_count + list->count != 0 &&
        made->changes_count + CHANGES_OF_KEY_MAX <= SIM_CHANGES_MAX && gs_chance(gs, 25))
        gs_change_key(gs, m, made, other_key(key));
}

void gs_local_change(struct gs *gs, struct gs_member *m)
{
    const unsigned index = gs->history.batches_count;
    struct sim_batch *made = &gs->history.batches[index];
    struct gs_list_batch *list = &gs->list_batches[index];
    struct gs_bits_batch *bits = &gs->bits_batches[index];
    struct batch batch;

    if (index == SIM_BATCHES_MAX || core_may_write(m->core) != CORE_WRITE_OK)
        return;
    m->hlc = u64_max(m->hlc + 1, hlc_make(gs_clock_ms(gs, m), 0));
    made->tag = tag_of(m->hlc, GS_ORIGIN(m->index));
    vv_copy(&made->ctx, core_applied_vv(m->core));
    made->changes_count = list->count = 0;
    memset(bits, 0, sizeof(*bits));
    change(gs, m, made, list, bits);
    if (made->changes_count + list->count == 0)
        return;
    encode(gs, m, made, list, bits);
    /* Whoever was sealed may go on, for nobody. */
    gs->lost[index] = gs->sealed && m->index == gs->unlinked;
    gs->flush[index] = m->flush;
    gs->history.batches_count++;
    gs->made[m->index][m->seq + 1] = index + 1;
    gs->totals.batches++;
    gs->totals.stepped_batches += m->step_ms != 0;
    CHECK(batch_open(buf_bytes(&made->bytes), &batch) == 0);
    const uint64_t lsn = gs_member_log(gs, m, &batch, buf_bytes(&made->bytes), index);
    tell_core(gs, m, made, lsn);
    gs_bits_check_made(gs, m, bits);
}
