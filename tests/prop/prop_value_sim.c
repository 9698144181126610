/*
 * The replicas: local changes, links, garbage collection, replays.
 */
#include "tests/prop/prop_value_sim.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/value/row_state.h"
#include "engine/value/rowkey.h"

static bool chance(struct sim *sim, unsigned percent)
{
    return rng_below(&sim->rng, 100) < percent;
}

static unsigned pick(struct sim *sim, unsigned n)
{
    return (unsigned)rng_below(&sim->rng, n);
}

static unsigned key_slot_of(unsigned key)
{
    return key * (1 + SIM_TYPES * SIM_SUBS);
}

static unsigned elem_slot_of(unsigned key, unsigned type, unsigned sub)
{
    return key_slot_of(key) + 1 + type * SIM_SUBS + sub;
}

/* --- rows of a replica --- */

static void slot_set(struct sim_slot *slot, struct buf *take_row)
{
    buf_deinit(&slot->row);
    slot->row = *take_row;
}

static struct buf new_buf(void)
{
    struct buf b;

    buf_init(&b, SIZE_MAX);
    return b;
}

/* Joins all that waits into the row. */
static struct bytes slot_fold(struct sim_slot *slot)
{
    struct bytes operands[SIM_PENDING_MAX];
    struct buf row = new_buf();

    for (unsigned i = 0; i < slot->pending_count; i++)
        operands[i] = buf_bytes(&slot->pending[i]);
    CHECK(row_merge_fold(buf_bytes(&slot->row), operands, slot->pending_count, &row) == 0);
    for (unsigned i = 0; i < slot->pending_count; i++)
        buf_deinit(&slot->pending[i]);
    slot->pending_count = 0;
    slot_set(slot, &row);
    CHECK(row_check(buf_bytes(&slot->row)) == 0);
    return buf_bytes(&slot->row);
}

/* Joins two neighbours among what waits. */
static void slot_join_some(struct sim *sim, struct sim_slot *slot)
{
    struct buf joined = new_buf();
    struct bytes two[2];
    unsigned at;

    if (slot->pending_count < 2)
        return;
    at = pick(sim, slot->pending_count - 1);
    two[0] = buf_bytes(&slot->pending[at]);
    two[1] = buf_bytes(&slot->pending[at + 1]);
    CHECK(row_merge_partial(two, 2, &joined) == 0);
    CHECK(row_check(buf_bytes(&joined)) == 0);
    buf_deinit(&slot->pending[at]);
    buf_deinit(&slot->pending[at + 1]);
    slot->pending[at] = joined;
    slot->pending_count--;
    memmove(&slot->pending[at + 1], &slot->pending[at + 2],
            (slot->pending_count - at - 1) * sizeof(slot->pending[0]));
}

struct apply {
    struct sim *sim;
    struct sim_replica *replica;
    const struct sim_change *change;
};

static int on_operand(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct apply *apply = ctx;
    const struct sim_change *change = apply->change;
    unsigned index = key_slot_of(change->key_index);

    if (row_kind != ROWKEY_KIND_KEY) {
        CHECK(bytes_eq(sub, bytes_cstr(change->sub)));
        CHECK(row_kind == op_row_kind(apply->sim->types[change->type_index]));
        index = elem_slot_of(change->key_index, change->type_index, change->sub_index);
    }
    struct sim_slot *slot = &apply->replica->slots[index];
    if (slot->pending_count == SIM_PENDING_MAX || chance(apply->sim, 30))
        slot_fold(slot);
    slot->pending[slot->pending_count] = new_buf();
    CHECK(buf_append_bytes(&slot->pending[slot->pending_count], operand) == 0);
    slot->pending_count++;
    if (chance(apply->sim, 40))
        slot_join_some(apply->sim, slot);
    return 0;
}

/* Applies the encoded batch, as a peer or a replay would. */
static void apply_batch(struct sim *sim, struct sim_replica *replica, unsigned index)
{
    const struct sim_batch *made = &sim->batches[index];
    struct apply apply = {.sim = sim, .replica = replica};
    struct buf scratch = new_buf();
    struct batch batch;
    struct op op;
    unsigned n = 0;

    CHECK(batch_open(buf_bytes(&made->bytes), &batch) == 0);
    while (batch_next(&batch, &op) == BATCH_OP) {
        apply.change = &made->changes[n++];
        CHECK(op_expand(&op, &batch, replica->applied_count + 1, on_operand, &apply, &scratch) ==
              0);
    }
    CHECK(n == made->changes_count);
    buf_deinit(&scratch);
}

static void record_applied(struct sim_replica *replica, const struct sim_batch *batch,
                           unsigned index)
{
    replica->applied[replica->applied_count++] = index;
    CHECK(vv_raise(&replica->vv, batch->tag) == 0);
    replica->hlc = u64_max(replica->hlc, batch->tag.hlc);
}

/* --- local changes --- */

static uint64_t replica_now(const struct sim *sim, const struct sim_replica *replica)
{
    return u64_max(sim->now_ms + replica->clock_ms, hlc_ms(replica->hlc));
}

static struct bytes key_row(struct sim_replica *replica, unsigned key)
{
    return slot_fold(&replica->slots[key_slot_of(key)]);
}

/* An element's row without what the clear vector of its key covers. */
static struct bytes elem_row(struct sim_replica *replica, unsigned key, unsigned type, unsigned sub)
{
    struct sim_slot *slot = &replica->slots[elem_slot_of(key, type, sub)];
    struct buf clipped = new_buf();
    struct vv clear;

    CHECK(row_clear(key_row(replica, key), &clear) == 0);
    CHECK(row_clip(slot_fold(slot), &clear, &clipped) == 0);
    slot_set(slot, &clipped);
    return buf_bytes(&slot->row);
}

/* An increment of `row`. False if Redis would refuse it. */
static bool make_incr(struct sim *sim, struct sim_replica *replica, struct tag tag,
                      struct bytes row, struct sim_change *change)
{
    const uint64_t now_ms = replica_now(sim, replica);
    struct buf *edited = &replica->edited;
    struct row_incr incr;
    int err;

    if (change->op.type == VT_ZSET) {
        change->delta = ((long double)pick(sim, 9) - 4.0L) / 2.0L;
        err = row_incr_score(row, (double)change->delta, tag, edited, &incr);
    } else if (chance(sim, 60)) {
        const int64_t delta = (int64_t)pick(sim, 9) - 4;
        change->delta = (long double)delta;
        err = row_incr_int(row, now_ms, delta, tag, edited, &incr);
    } else {
        change->delta = ((long double)pick(sim, 9) - 4.0L) / 2.0L;
        err = row_incr_float(row, now_ms, change->delta, tag, edited, &incr);
    }
    if (err != 0) {
        CHECK(err == -ERR_FORMAT || err == -ERR_TYPE);
        return false;
    }
    change->op.start = incr.start;
    change->op.isum = incr.isum;
    change->op.fsum = incr.fsum;
    if (incr.fresh && change->op.kind == OP_INCR) {
        change->op.flags = OP_COVER;
        buf_clear(edited); /* The op has a context, which the edit alone does not know. */
    }
    struct sim_run *last = &replica->runs[change->key_index];
    if (change->op.kind == OP_INCR) {
        if (sim->fault == SIM_NO_NEW_RUNS && incr.start == tag.hlc && last->start != 0) {
            change->op.start = last->start;
            change->op.isum += last->isum;
        }
        *last = (struct sim_run){change->op.start, change->op.isum};
    }
    return true;
}

static void make_expire(struct sim *sim, struct sim_replica *replica, const struct row_view *view,
                        struct sim_batch *batch, unsigned key)
{
    struct sim_change *change = sim_change_add(batch, key, OP_EXPIRE);
    const uint64_t now_ms = replica_now(sim, replica);

    change->op.expire_at_ms = chance(sim, 25) ? 0 : now_ms + 1 + pick(sim, 30);
    change->op.target_type = view->target_type;
    change->op.target = view->target;
    CHECK(row_set_expiry(key_row(replica, key), batch->tag, change->op.expire_at_ms,
                         &replica->edited) == 0);
}

/* SET, DEL, INCR, EXPIRE and elements of two collection types, on one key. */
static void change_key(struct sim *sim, struct sim_replica *replica, struct sim_batch *batch,
                       unsigned key)
{
    const struct bytes row = key_row(replica, key);
    const uint64_t now_ms = replica_now(sim, replica);
    const unsigned kind = pick(sim, 100);
    struct sim_change *change;
    struct row_view view;

    CHECK(row_view(row, now_ms, &view) == 0);
    if (kind < 20) {
        change = sim_change_add(batch, key, OP_SET);
        sim_change_value(change, sim_value_or_hll(pick(sim, SIM_VALUES), batch->tag));
        if (!view.present)
            change->op.flags = OP_COVER;
        if (sim->expiry && chance(sim, 40))
            change->op.expire_at_ms = now_ms + 1 + pick(sim, 30);
    } else if (kind < 32 || (view.expired && view.type > VT_STRING && kind < 50)) {
        if (view.type != VT_NONE)
            sim_change_add(batch, key, OP_DEL);
    } else if (kind < 60) {
        change = sim_change_add(batch, key, OP_INCR);
        if (!make_incr(sim, replica, batch->tag, row, change))
            batch->changes_count--;
    } else if (kind < 75) {
        if (view.present && sim->expiry)
            make_expire(sim, replica, &view, batch, key);
    } else {
        const unsigned type = view.present && view.type == VT_SET ? 1 : pick(sim, 2);

        if (view.present && view.type != sim->types[type])
            return;
        if (!view.present && (sim_has_counters(row) || (view.type != VT_NONE && chance(sim, 50))))
            sim_change_add(batch, key, OP_DEL);
        change = sim_change_add(batch, key, OP_ELEM_SET);
        sim_change_elem(sim, change, type, pick(sim, SIM_SUBS));
        if (!view.present)
            change->op.flags = OP_COVER;
        else if (chance(sim, 35))
            change->op.kind = OP_ELEM_DEL;
        if (type == 0 && change->op.kind == OP_ELEM_SET)
            sim_change_value(change, sim_value_or_hll(pick(sim, SIM_VALUES), batch->tag));
    }
}

/* A hash of counters. */
static void change_counters(struct sim *sim, struct sim_replica *replica, struct sim_batch *batch)
{
    const unsigned sub = pick(sim, SIM_SUBS);
    const struct bytes row = elem_row(replica, SIM_COUNTER_KEY, 0, sub);
    const unsigned kind = pick(sim, 10);
    struct sim_change *change = sim_change_add(
        batch, SIM_COUNTER_KEY, kind < 6 ? OP_ELEM_INCR : (kind < 8 ? OP_ELEM_SET : OP_ELEM_DEL));

    sim_change_elem(sim, change, 0, sub);
    if (change->op.kind == OP_ELEM_SET)
        sim_change_value(change, sim_value_or_hll(pick(sim, SIM_VALUES), batch->tag));
    if (change->op.kind == OP_ELEM_INCR && !make_incr(sim, replica, batch->tag, row, change))
        batch->changes_count--;
}

/* Fills in what points into the change itself, and what it has seen. */
static void finish_change(struct sim_replica *replica, struct sim_change *change,
                          struct buf *scratch)
{
    struct op *op = &change->op;
    const bool is_elem = op->kind == OP_ELEM_SET || op->kind == OP_ELEM_DEL;

    op->key = bytes_cstr(change->key);
    op->sub = bytes_cstr(change->sub);
    op->value = bytes_of(change->value, change->value_len);
    buf_clear(scratch);
    if (is_elem)
        CHECK(row_seen(elem_row(replica, change->key_index, change->type_index, change->sub_index),
                       scratch) == 0);
    else if (op->kind == OP_SET || op->kind == OP_DEL || (op->flags & OP_COVER) != 0)
        CHECK(row_seen(key_row(replica, change->key_index), scratch) == 0);
    op->seen = buf_bytes(scratch);
}

static void encode_batch(struct sim_replica *replica, struct sim_batch *batch)
{
    struct buf scratch = new_buf();

    batch->bytes = new_buf();
    CHECK(buf_reserve(&batch->bytes, BATCH_HEADER_BYTES_MAX) == 0);
    buf_commit(&batch->bytes, batch_header_store(buf_end(&batch->bytes), batch->tag,
                                                 replica->made_count + 1, 0, &batch->ctx));
    for (unsigned i = 0; i < batch->changes_count; i++) {
        struct op *op = &batch->changes[i].op;

        finish_change(replica, &batch->changes[i], &scratch);
        CHECK(buf_reserve(&batch->bytes, op_size(op)) == 0);
        buf_commit(&batch->bytes, op_store(buf_end(&batch->bytes), op, batch->tag.hlc));
        op->seen = bytes_of(NULL, 0);
    }
    batch_header_set_nops(batch->bytes.ptr, batch->changes_count);
    buf_deinit(&scratch);
}

/* What an edit in place gives is what the op gives, blindly applied. */
static void check_edited(struct sim_replica *replica, const struct sim_batch *batch)
{
    const struct sim_change *change = &batch->changes[0];
    const bool is_elem = change->op.kind == OP_ELEM_INCR;
    const unsigned index =
        is_elem ? elem_slot_of(change->key_index, change->type_index, change->sub_index)
                : key_slot_of(change->key_index);

    if (replica->edited.len != 0)
        CHECK(bytes_eq(slot_fold(&replica->slots[index]), buf_bytes(&replica->edited)));
}

static void local_change(struct sim *sim, struct sim_replica *replica)
{
    struct sim_batch *batch = &sim->batches[sim->batches_count];
    const uint64_t wall = hlc_make(sim->now_ms + replica->clock_ms, 0);
    const unsigned key = pick(sim, SIM_KEYS);

    if (sim->batches_count == SIM_BATCHES_MAX)
        return;
    batch->tag = tag_of(u64_max(wall, replica->hlc + 1), replica->origin);
    vv_copy(&batch->ctx, &replica->vv);
    batch->changes_count = 0;
    buf_clear(&replica->edited);
    if (key == SIM_COUNTER_KEY)
        change_counters(sim, replica, batch);
    else
        change_key(sim, replica, batch, key);
    if (batch->changes_count == 0)
        return;
    encode_batch(replica, batch);
    replica->made[replica->made_count++] = sim->batches_count;
    replica->next[replica - sim->replicas]++;
    apply_batch(sim, replica, sim->batches_count);
    record_applied(replica, batch, sim->batches_count);
    if (sim->fault == SIM_SOUND)
        check_edited(replica, batch);
    sim->batches_count++;
}

/* --- links --- */

static bool deliver(struct sim *sim, unsigned from, unsigned to)
{
    struct sim_replica *replica = &sim->replicas[to];
    const struct sim_replica *origin = &sim->replicas[from];
    unsigned index;

    if (from == to || sim->cut[from][to] || replica->next[from] == origin->made_count)
        return false;
    index = origin->made[replica->next[from]];
    if (!vv_leq(&sim->batches[index].ctx, &replica->vv) && sim->fault != SIM_NOT_CAUSAL)
        return false;
    replica->next[from]++;
    apply_batch(sim, replica, index);
    record_applied(replica, &sim->batches[index], index);
    return true;
}

/* The sender's clock and vector arrive behind all it has made. */
static void acknowledge(struct sim *sim, unsigned from, unsigned to)
{
    struct sim_replica *sender = &sim->replicas[from];
    struct sim_replica *replica = &sim->replicas[to];

    if (sim->cut[from][to] || replica->next[from] != sender->made_count)
        return;
    sender->hlc = u64_max(sender->hlc, hlc_make(sim->now_ms + sender->clock_ms, 0));
    replica->hlc = u64_max(replica->hlc, sender->hlc);
    vv_copy(&replica->acks[from].vv, &sender->vv);
    replica->acks[from].hlc = sender->hlc;
}

/* --- garbage --- */

static void horizons_of(struct sim *sim, struct sim_replica *replica, struct vv *out_stable,
                        struct row_horizons *out)
{
    const unsigned own = (unsigned)(replica - sim->replicas);

    vv_copy(out_stable, &replica->vv);
    out->lst = replica->hlc;
    for (unsigned i = 0; i < SIM_REPLICAS; i++) {
        if (i == own)
            continue;
        vv_meet(out_stable, &replica->acks[i].vv);
        out->lst = u64_min(out->lst, replica->acks[i].hlc);
    }
    out->stable = out_stable;
    out->now_ms = replica_now(sim, replica);
    out->swept = true;
    out->clearing = false;
    out->swept_types = 0;
}

static void collect_row(struct sim *sim, struct sim_slot *slot, const struct row_horizons *horizons,
                        uint16_t *out_sweep_types)
{
    struct buf smaller = new_buf();
    const int got = row_collect(slot_fold(slot), horizons, &smaller, out_sweep_types);

    CHECK(got >= 0);
    if (got == ROW_UNCHANGED) {
        buf_deinit(&smaller);
        return;
    }
    CHECK(row_check(buf_bytes(&smaller)) == 0);
    CHECK(smaller.len <= size_max(slot->row.len, ROW_COLL_BYTES));
    slot_set(slot, &smaller);
    sim->collected_rows++;
}

static void collect_key(struct sim *sim, struct sim_replica *replica, unsigned key,
                        struct row_horizons *horizons)
{
    struct sim_slot *slot = &replica->slots[key_slot_of(key)];
    uint16_t sweep_types = 0;
    uint16_t ignored;

    horizons->clearing = row_clearing(slot_fold(slot), horizons->stable);
    for (unsigned t = 0; t < SIM_TYPES; t++) {
        for (unsigned s = 0; s < SIM_SUBS; s++) {
            elem_row(replica, key, t, s);
            collect_row(sim, &replica->slots[elem_slot_of(key, t, s)], horizons, &ignored);
        }
    }
    horizons->swept_types = 0;
    collect_row(sim, slot, horizons, &sweep_types);
    for (unsigned t = 0; t < SIM_TYPES; t++) {
        for (unsigned s = 0; (sweep_types & 1u << sim->types[t]) != 0 && s < SIM_SUBS; s++) {
            struct sim_slot *elem = &replica->slots[elem_slot_of(key, t, s)];
            struct buf clipped = new_buf();

            CHECK(row_clip(slot_fold(elem), horizons->stable, &clipped) == 0);
            slot_set(elem, &clipped);
        }
    }
    if (sweep_types != 0) {
        horizons->swept_types = sweep_types;
        collect_row(sim, slot, horizons, &ignored);
    }
}

/* Breaks a rule on purpose. */
static void damage_row(enum sim_fault fault, struct sim_slot *slot)
{
    struct row_state *state = mem_alloc(sizeof(*state));
    struct buf row = new_buf();

    CHECK(row_decode(slot_fold(slot), state) == 0);
    if (fault == SIM_EAGER_FLOORS)
        state->floors_count = 0;
    while (fault == SIM_EAGER_LOSERS && state->sibs_count > 1) {
        const bool first = tag_cmp(state->sibs[0].tag, state->sibs[1].tag) > 0;

        state->sibs_count--;
        if (!first)
            state->sibs[0] = state->sibs[1];
        for (unsigned i = 1; i < state->sibs_count; i++)
            state->sibs[i] = state->sibs[i + 1];
    }
    row_state_settle(state);
    CHECK(row_encode(state, &row) == 0);
    mem_free(state);
    slot_set(slot, &row);
}

static void collect(struct sim *sim, struct sim_replica *replica)
{
    struct row_horizons horizons;
    struct vv stable;

    horizons_of(sim, replica, &stable, &horizons);
    if (sim->fault == SIM_EAGER_EXPIRED) {
        vv_copy(&stable, &replica->vv);
        horizons.lst = UINT64_MAX;
    }
    CHECK(vv_join(&replica->collected, &stable) == 0);
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        if (sim->fault == SIM_EAGER_FLOORS || sim->fault == SIM_EAGER_LOSERS)
            damage_row(sim->fault, &replica->slots[key_slot_of(key)]);
        else
            collect_key(sim, replica, key, &horizons);
    }
}

/*
 * A crash: the end of the log is applied again to rows that have it already. Nothing that was used
 * as stable is replayed, because that comes from the position up to which the store is complete.
 */
static void replay(struct sim *sim, struct sim_replica *replica)
{
    unsigned from = 0;

    for (unsigned i = 0; i < replica->applied_count; i++) {
        if (vv_covers(&replica->collected, sim->batches[replica->applied[i]].tag))
            from = i + 1;
    }
    if (from == replica->applied_count)
        return;
    from += pick(sim, replica->applied_count - from);
    for (unsigned i = from; i < replica->applied_count; i++)
        apply_batch(sim, replica, replica->applied[i]);
}

/* --- the run --- */

void sim_init(struct sim *sim, uint64_t seed, enum sim_fault fault)
{
    memset(sim, 0, sizeof(*sim));
    rng_seed(&sim->rng, seed);
    sim->fault = fault;
    sim->collect = chance(sim, 70) || fault != SIM_SOUND;
    sim->expiry = chance(sim, 60) || fault == SIM_EAGER_EXPIRED;
    sim->types[0] = seed % 3 == 0 ? VT_ZSET : VT_HASH;
    sim->types[1] = VT_SET;
    sim->now_ms = 1000;
    for (unsigned i = 0; i < SIM_REPLICAS; i++) {
        struct sim_replica *replica = &sim->replicas[i];

        replica->origin = (uint8_t)(i + 1);
        replica->clock_ms = pick(sim, 12);
        replica->edited = new_buf();
        for (unsigned j = 0; j < SIM_ROWS; j++)
            replica->slots[j].row = new_buf();
    }
}

void sim_deinit(struct sim *sim)
{
    for (unsigned i = 0; i < sim->batches_count; i++)
        buf_deinit(&sim->batches[i].bytes);
    for (unsigned i = 0; i < SIM_REPLICAS; i++) {
        buf_deinit(&sim->replicas[i].edited);
        for (unsigned j = 0; j < SIM_ROWS; j++) {
            slot_fold(&sim->replicas[i].slots[j]);
            buf_deinit(&sim->replicas[i].slots[j].row);
        }
    }
}

void sim_step(struct sim *sim)
{
    const unsigned what = pick(sim, 100);
    const unsigned from = pick(sim, SIM_REPLICAS);
    const unsigned to = pick(sim, SIM_REPLICAS);

    if (what < 35) {
        local_change(sim, &sim->replicas[from]);
    } else if (what < 70) {
        deliver(sim, from, to);
    } else if (what < 80) {
        acknowledge(sim, from, to);
    } else if (what < 88) {
        if (sim->collect)
            collect(sim, &sim->replicas[from]);
    } else if (what < 92) {
        sim->cut[from][to] = !sim->cut[from][to];
    } else if (what < 97) {
        sim->now_ms += pick(sim, 12);
    } else if (sim->fault == SIM_SOUND) {
        replay(sim, &sim->replicas[from]);
    }
}

void sim_quiesce(struct sim *sim)
{
    bool moved = true;

    memset(sim->cut, 0, sizeof(sim->cut));
    while (moved) {
        moved = false;
        for (unsigned i = 0; i < SIM_REPLICAS * SIM_REPLICAS; i++)
            moved |= deliver(sim, i / SIM_REPLICAS, i % SIM_REPLICAS);
    }
    for (unsigned i = 0; i < SIM_REPLICAS; i++) {
        for (unsigned j = 0; j < SIM_REPLICAS; j++)
            CHECK(i == j || sim->replicas[i].next[j] == sim->replicas[j].made_count);
    }
}

void sim_collect_all(struct sim *sim)
{
    for (unsigned i = 0; i < SIM_REPLICAS * SIM_REPLICAS; i++)
        acknowledge(sim, i / SIM_REPLICAS, i % SIM_REPLICAS);
    for (unsigned i = 0; i < SIM_REPLICAS; i++)
        collect(sim, &sim->replicas[i]);
}

uint64_t sim_end_ms(const struct sim *sim)
{
    uint64_t end_ms = sim->now_ms + 12;

    for (unsigned i = 0; i < SIM_REPLICAS; i++)
        end_ms = u64_max(end_ms, hlc_ms(sim->replicas[i].hlc) + 1);
    return end_ms;
}

struct bytes sim_key_row(struct sim *sim, unsigned replica, unsigned key)
{
    return key_row(&sim->replicas[replica], key);
}

void sim_show(struct sim *sim, unsigned index, unsigned key, uint64_t now_ms, struct sim_shown *out)
{
    struct sim_replica *replica = &sim->replicas[index];
    struct row_view view;

    memset(out, 0, sizeof(*out));
    CHECK(row_view(key_row(replica, key), now_ms, &view) == 0);
    out->present = view.present;
    out->type = view.type;
    out->expire_at_ms = view.expire_at_ms;
    if (view.present && view.type == VT_STRING)
        sim_show_text(&view, out->text);
    for (unsigned t = 0; view.present && t < SIM_TYPES; t++) {
        for (unsigned s = 0; view.type == sim->types[t] && s < SIM_SUBS; s++) {
            out->elem_present[t][s] =
                sim_show_elem(elem_row(replica, key, t, s), view.type, out->elem_text[t][s]);
        }
    }
}
