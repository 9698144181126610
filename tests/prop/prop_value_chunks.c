/*
 * Strings in chunks at several replicas: whatever the order, grouping and repetition in which
 * operands meet, all show what the oracle says, which knows nothing of rows
 * (prop_value_chunks_oracle.h).
 *
 * Garbage is collected meanwhile, by what replicas acknowledge, and what is not covered by that is
 * applied again. Each rule of that is needed: without it the same test finds a divergence.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/mem.h"

#include "engine/value/op.h"
#include "engine/value/row_chunk.h"
#include "engine/value/row_state.h"
#include "engine/value/rowkey.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/prop/prop_value_chunks_oracle.h"

#define REPLICAS    4
#define CHUNKS      18 /* A little more than where chunks begin. */
#define BYTES_MAX   (CHUNKS * ROW_CHUNK_BYTES)
#define CHANGES_MAX 48
#define PENDING_MAX 4
#define ROWS        (1 + CHUNKS)

enum kind {
    CHANGE_SET,   /* One long SET. */
    CHANGE_BEGIN, /* A new generation, by STRING and CHUNK. */
    CHANGE_RANGE,
    CHANGE_BITS, /* In one op, or in two of one tag. */
    CHANGE_LEN,  /* Longer, by zeros. */
    CHANGE_TIME, /* EXPIRE or PERSIST. */
    CHANGE_DEL
};

/* How the rules are broken on purpose. */
enum fault {
    SOUND,
    FOLD_EAGERLY,  /* Bits are folded that others may lack. */
    FOLD_TAGS,     /* The image gets the greatest tag of what was folded into it. */
    SWEEP_EAGERLY, /* A generation goes as soon as no value has it, */
    SWEEP_UNFIRM,  /* or while not all have what was made without what is stable. */
    TIME_OF_VALUE, /* EXPIRE is one of the value that shows. */
    TIMES_EAGERLY  /* The times of a generation go as soon as no value has it. */
};

#define RUNS_CONTROL_MAX 20000

struct change {
    enum kind kind;
    struct tag tag;
    struct vv ctx;
    struct tag generation;
    uint64_t at_ms;   /* TIME; SET and BEGIN, 0: none. */
    struct tag value; /* TIME: the one that showed. */
    uint64_t len;
    uint64_t first; /* Bytes of RANGE; the bit of BITS. */
    uint64_t end;
    uint32_t bits_count;
    uint32_t split; /* The first so many are an op of their own; 0: all in one. */
    uint64_t bits;
    uint8_t bytes[BYTES_MAX]; /* SET, BEGIN, RANGE: the string as it was after the change. */
};

struct slot {
    struct buf row;
    struct buf pending[PENDING_MAX];
    unsigned pending_count;
};

struct replica {
    struct vv vv;
    uint64_t hlc;
    unsigned next[REPLICAS]; /* Of each origin's changes. */
    struct vv acks[REPLICAS];
    /* As in core_horizon.c: what is stable, when all have what was here when it became so. */
    struct vv firm, firm_next, firm_needs;
    bool firm_waits;
    struct vv collected; /* The greatest vector that was used as stable. */
    unsigned applied[CHANGES_MAX];
    unsigned applied_count;
    struct slot slots[ROWS];
};

struct sim {
    struct rng rng;
    enum fault fault;
    unsigned count;
    struct change changes[CHANGES_MAX];
    unsigned made[REPLICAS][CHANGES_MAX];
    unsigned made_count[REPLICAS];
    struct replica replicas[REPLICAS];
    uint64_t collected;
    bool cut[REPLICAS][REPLICAS];
    unsigned dels; /* Of a hundred changes, */
    unsigned sets;
    uint32_t bits_span; /* How far bits are spread. */
};

struct shown {
    bool present;
    uint64_t len;
    uint64_t at_ms;
    uint8_t bytes[BYTES_MAX];
};

/* --- rows of a replica --- */

static void replace(struct buf *row, struct buf *with)
{
    buf_deinit(row);
    *row = *with;
}

/* Joins what waits into one operand, or into the row. */
static void squeeze(struct sim *sim, struct slot *slot, bool full)
{
    struct bytes operands[PENDING_MAX] = {{0}};
    struct buf out;

    if (slot->pending_count == 0)
        return;
    buf_init(&out, SIZE_MAX);
    for (unsigned i = 0; i < slot->pending_count; i++)
        operands[i] = buf_bytes(&slot->pending[i]);
    /* An operand that comes twice changes nothing. */
    if (slot->pending_count < PENDING_MAX && rng_below(&sim->rng, 4) == 0)
        operands[slot->pending_count] = operands[0];
    const size_t n =
        slot->pending_count + (operands[slot->pending_count % PENDING_MAX].ptr != NULL &&
                               slot->pending_count < PENDING_MAX);
    if (full)
        assert_int_equal(row_merge_fold(buf_bytes(&slot->row), operands, n, &out), 0);
    else
        assert_int_equal(row_merge_partial(operands, n, &out), 0);
    assert_int_equal(row_check(buf_bytes(&out)), 0);
    for (unsigned i = 0; i < slot->pending_count; i++)
        buf_deinit(&slot->pending[i]);
    slot->pending_count = 0;
    if (full)
        replace(&slot->row, &out);
    else
        slot->pending[slot->pending_count++] = out;
}

struct target {
    struct sim *sim;
    struct replica *replica;
};

static int take(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct target *t = ctx;
    const size_t at = row_kind == ROWKEY_KIND_KEY ? 0 : 1 + be32_load(sub.ptr);
    struct slot *slot = &t->replica->slots[at];

    assert_true(at < ROWS);
    assert_int_equal(row_check(operand), 0);
    if (slot->pending_count == PENDING_MAX)
        squeeze(t->sim, slot, rng_below(&t->sim->rng, 2) == 0);
    struct buf *b = &slot->pending[slot->pending_count++];
    buf_init(b, SIZE_MAX);
    return buf_append_bytes(b, operand);
}

/* --- ops of a change --- */

static void expand(struct target *t, const struct change *c, const struct op *op)
{
    struct batch batch = {.origin = c->tag.origin, .hlc = c->tag.hlc};
    struct buf scratch, log;
    struct op read;

    /* By way of the log, as any op. */
    buf_init(&log, SIZE_MAX);
    buf_init(&scratch, SIZE_MAX);
    assert_int_equal(buf_reserve(&log, op_size(op)), 0);
    buf_commit(&log, op_store(buf_end(&log), op, c->tag.hlc));
    batch.nops = 1;
    batch.ops = buf_bytes(&log);
    vv_copy(&batch.ctx, &c->ctx);
    assert_int_equal(batch_next(&batch, &read), BATCH_OP);
    assert_int_equal(op_expand(&read, &batch, 0, take, t, &scratch), 0);
    buf_deinit(&scratch);
    buf_deinit(&log);
}

static void expand_images(struct target *t, const struct change *c, uint64_t first, uint64_t end)
{
    for (uint64_t i = first / ROW_CHUNK_BYTES; i * ROW_CHUNK_BYTES < end; i++) {
        const uint64_t at = i * ROW_CHUNK_BYTES;
        const struct op op = {.kind = OP_CHUNK,
                              .key = BYTES_LIT("k"),
                              .generation = c->generation,
                              .at = i,
                              .value =
                                  bytes_of(c->bytes + at, u64_min(ROW_CHUNK_BYTES, c->len - at))};
        expand(t, c, &op);
    }
}

static void expand_bits(struct target *t, const struct change *c)
{
    struct op op = {.kind = OP_BITS,
                    .key = BYTES_LIT("k"),
                    .generation = c->generation,
                    .at = c->first,
                    .bits_count = (uint8_t)c->bits_count,
                    .bits = c->bits};

    if (c->split == 0) {
        expand(t, c, &op);
        return;
    }
    op.bits_count = (uint8_t)c->split;
    op.bits = c->bits >> (c->bits_count - c->split);
    expand(t, c, &op);
    op.at += c->split;
    op.bits_count = (uint8_t)(c->bits_count - c->split);
    op.bits = c->bits & (UINT64_MAX >> (64 - op.bits_count));
    expand(t, c, &op);
}

static void expand_change(struct sim *sim, struct replica *r, const struct change *c)
{
    struct target t = {.sim = sim, .replica = r};
    const bool of_value = sim->fault == TIME_OF_VALUE;
    const struct op string = {.kind = OP_STRING,
                              .key = BYTES_LIT("k"),
                              .flags = OP_SHARED_TIME,
                              .generation = c->generation,
                              .len = c->len,
                              .expire_at_ms = c->at_ms};
    const struct op del = {.kind = OP_DEL, .key = BYTES_LIT("k")};
    const struct op set = {.kind = OP_SET,
                           .key = BYTES_LIT("k"),
                           .flags = OP_SHARED_TIME,
                           .value = bytes_of(c->bytes, c->len),
                           .expire_at_ms = c->at_ms};
    const struct op expire = {.kind = OP_EXPIRE,
                              .key = BYTES_LIT("k"),
                              .expire_at_ms = c->at_ms,
                              .target_type = of_value ? VT_STRING : VT_CHUNKED,
                              .target = of_value ? c->value : c->generation};

    if (c->kind == CHANGE_TIME) {
        expand(&t, c, &expire);
    } else if (c->kind == CHANGE_SET) {
        expand(&t, c, &set);
    } else if (c->kind == CHANGE_DEL) {
        expand(&t, c, &del);
    } else {
        expand(&t, c, &string);
        if (c->kind == CHANGE_BITS)
            expand_bits(&t, c);
        else if (c->kind != CHANGE_LEN)
            expand_images(&t, c, c->first, c->end);
    }
}

static void apply(struct sim *sim, struct replica *r, const struct change *c)
{
    expand_change(sim, r, c);
    r->applied[r->applied_count++] = (unsigned)(c - sim->changes);
    assert_int_equal(vv_raise(&r->vv, c->tag), 0);
    r->hlc = u64_max(r->hlc, c->tag.hlc);
}

/* --- what shows --- */

static struct row_view view_of(struct sim *sim, struct replica *r)
{
    struct row_view view;

    squeeze(sim, &r->slots[0], true);
    assert_int_equal(row_view(buf_bytes(&r->slots[0].row), 0, &view), 0);
    return view;
}

static void show(struct sim *sim, struct replica *r, struct shown *out)
{
    const struct row_view view = view_of(sim, r);
    uint8_t image[ROW_CHUNK_BYTES];
    size_t len;
    struct tag tag;

    memset(out, 0, sizeof(*out));
    out->present = view.present;
    if (!view.present)
        return;
    assert_int_equal(view.kind, ROW_KIND_CHUNKS);
    out->len = view.count;
    out->at_ms = view.expire_at_ms;
    for (unsigned i = 0; i < CHUNKS; i++) {
        squeeze(sim, &r->slots[1 + i], true);
        assert_int_equal(
            row_chunk_read(buf_bytes(&r->slots[1 + i].row), view.generation, image, &len, &tag), 0);
        memcpy(out->bytes + (size_t)i * ROW_CHUNK_BYTES, image, len);
    }
    memset(out->bytes + out->len, 0, BYTES_MAX - out->len);
}

/* --- what the oracle is told --- */

#define EVENTS_MAX (CHANGES_MAX * (1 + CHUNKS))

static void tell_images(const struct change *c, struct chunks_event *events, size_t *n)
{
    for (uint64_t i = c->first / ROW_CHUNK_BYTES; i * ROW_CHUNK_BYTES < c->end; i++) {
        const uint64_t at = i * ROW_CHUNK_BYTES;

        events[(*n)++] = (struct chunks_event){
            .kind = CHUNKS_IMAGE,
            .tag = c->tag,
            .generation = c->generation,
            .at = i,
            .bytes = bytes_of(c->bytes + at, u64_min(ROW_CHUNK_BYTES, c->len - at))};
    }
}

static size_t tell(const struct sim *sim, struct chunks_event *events)
{
    size_t n = 0;

    for (unsigned i = 0; i < sim->count; i++) {
        const struct change *c = &sim->changes[i];

        events[n++] = (struct chunks_event){.kind = c->kind == CHANGE_DEL    ? CHUNKS_DEL
                                                    : c->kind == CHANGE_TIME ? CHUNKS_TIME
                                                                             : CHUNKS_STRING,
                                            .tag = c->tag,
                                            .ctx = &c->ctx,
                                            .generation = c->generation,
                                            .at_ms = c->at_ms,
                                            .len = c->len};
        if (c->kind == CHANGE_BITS)
            events[n++] = (struct chunks_event){.kind = CHUNKS_BITS,
                                                .tag = c->tag,
                                                .generation = c->generation,
                                                .at = c->first,
                                                .bits_count = c->bits_count,
                                                .bits = c->bits};
        else if (c->kind != CHANGE_DEL && c->kind != CHANGE_TIME)
            tell_images(c, events, &n);
    }
    return n;
}

static void oracle(const struct sim *sim, struct shown *out)
{
    static struct chunks_event events[EVENTS_MAX];
    const size_t n = tell(sim, events);
    struct tag generation;
    struct buf text;

    memset(out, 0, sizeof(*out));
    buf_init(&text, SIZE_MAX);
    out->present = chunks_oracle(events, n, &generation, &text);
    if (out->present)
        out->at_ms = chunks_oracle_time(events, n, generation);
    out->len = text.len;
    if (text.len != 0)
        memcpy(out->bytes, text.ptr, text.len);
    buf_deinit(&text);
}

/* --- steps --- */

static void fill(struct sim *sim, uint8_t *bytes, uint64_t first, uint64_t end)
{
    const uint8_t seed = (uint8_t)rng_u64(&sim->rng);

    for (uint64_t i = first; i < end; i++)
        bytes[i] = (uint8_t)(seed + i);
}

static void make_whole(struct sim *sim, struct change *c)
{
    const bool set = rng_below(&sim->rng, 2) == 0;

    c->kind = set ? CHANGE_SET : CHANGE_BEGIN;
    c->len = set ? ROW_INLINE_BYTES_MAX + 1 + rng_below(&sim->rng, 1500)
                 : 1 + rng_below(&sim->rng, 3 * ROW_CHUNK_BYTES);
    c->end = c->len;
    c->at_ms = rng_below(&sim->rng, 3) == 0 ? 1 + rng_below(&sim->rng, 9) : 0;
    fill(sim, c->bytes, 0, c->len);
}

static void make_bits(struct sim *sim, struct change *c, uint64_t len)
{
    c->kind = CHANGE_BITS;
    c->bits_count = 1 + (uint32_t)rng_below(&sim->rng, 64);
    /* Not far from the border of two chunks. */
    c->first = ROW_CHUNK_BITS - sim->bits_span + rng_below(&sim->rng, sim->bits_span + 40);
    c->bits = rng_u64(&sim->rng) >> (64 - c->bits_count);
    c->split = rng_below(&sim->rng, 2) == 0 ? 0 : (uint32_t)rng_below(&sim->rng, c->bits_count);
    c->len = u64_max(len, (c->first + c->bits_count - 1) / 8 + 1);
}

static void make_kind(struct sim *sim, struct replica *r, struct change *c)
{
    static struct shown now;
    const unsigned what = (unsigned)rng_below(&sim->rng, 100);
    const struct row_view view = view_of(sim, r);

    show(sim, r, &now);
    c->generation = c->tag;
    if (what < sim->dels) {
        c->kind = CHANGE_DEL;
        return;
    }
    if (!now.present || what < sim->dels + sim->sets) {
        make_whole(sim, c);
        return;
    }
    c->generation = view.generation;
    if (rng_below(&sim->rng, 8) == 0) {
        c->kind = CHANGE_TIME;
        c->at_ms = rng_below(&sim->rng, 3) == 0 ? 0 : 1 + rng_below(&sim->rng, 9);
        c->value = view.tag;
        return;
    }
    if (what >= 50) {
        make_bits(sim, c, now.len);
        return;
    }
    if (what >= 45) {
        c->kind = CHANGE_LEN;
        c->len = u64_min(now.len + rng_below(&sim->rng, 100), BYTES_MAX);
        return;
    }
    c->kind = CHANGE_RANGE;
    c->first = rng_below(&sim->rng, 2) == 0 ? now.len : rng_below(&sim->rng, 3 * ROW_CHUNK_BYTES);
    c->end = u64_min(c->first + 1 + rng_below(&sim->rng, 1500), BYTES_MAX);
    c->first = u64_min(c->first, BYTES_MAX - 1);
    c->len = u64_max(now.len, c->end);
    memcpy(c->bytes, now.bytes, BYTES_MAX);
    fill(sim, c->bytes, c->first, c->end);
    /* Images are whole chunks. */
    c->first -= c->first % ROW_CHUNK_BYTES;
}

static void make(struct sim *sim, unsigned at)
{
    struct replica *r = &sim->replicas[at];
    struct change *c = &sim->changes[sim->count];

    memset(c, 0, sizeof(*c));
    r->hlc += 1 + rng_below(&sim->rng, 3);
    c->tag = tag_of(r->hlc, (uint8_t)at);
    vv_copy(&c->ctx, &r->vv);
    assert_int_equal(vv_raise(&c->ctx, tag_of(r->hlc - 1, (uint8_t)at)), 0);
    make_kind(sim, r, c);
    sim->made[at][sim->made_count[at]++] = sim->count++;
    r->next[at]++;
    apply(sim, r, c);
}

/* True if there was something to deliver. */
static bool deliver(struct sim *sim, unsigned to, unsigned from)
{
    struct replica *r = &sim->replicas[to];

    if (r->next[from] == sim->made_count[from] || sim->cut[from][to])
        return false;
    const struct change *c = &sim->changes[sim->made[from][r->next[from]]];
    struct vv need;
    vv_copy(&need, &c->ctx);
    for (unsigned i = 0; i < need.count; i++) {
        /* Its own former changes have come before it, in order. */
        if (need.origin[i] != from && need.hlc[i] > vv_get(&r->vv, need.origin[i]))
            return false;
    }
    r->next[from]++;
    apply(sim, r, c);
    return true;
}

/* --- garbage --- */

/* The sender's vector arrives behind all it has made. */
static void acknowledge(struct sim *sim, unsigned from, unsigned to)
{
    if (sim->replicas[to].next[from] == sim->made_count[from] && !sim->cut[from][to])
        vv_copy(&sim->replicas[to].acks[from], &sim->replicas[from].vv);
}

static void horizon(struct sim *sim, struct replica *r, struct vv *out)
{
    const unsigned own = (unsigned)(r - sim->replicas);
    struct vv acked;

    vv_copy(&acked, &r->vv);
    for (unsigned i = 0; i < REPLICAS; i++) {
        if (i != own)
            vv_meet(&acked, &r->acks[i]);
    }
    vv_copy(out, &acked);
    for (unsigned i = 0; i < 2; i++) {
        if (r->firm_waits && !vv_leq(&r->firm_needs, &acked))
            break;
        if (r->firm_waits)
            vv_copy(&r->firm, &r->firm_next);
        vv_copy(&r->firm_next, &acked);
        vv_copy(&r->firm_needs, &r->vv);
        r->firm_waits = true;
    }
    /* Folding needs less. */
    if (sim->fault != SWEEP_UNFIRM && sim->fault != FOLD_TAGS)
        vv_meet(out, &r->firm);
    assert_int_equal(vv_join(&r->collected, out), 0);
}

/* The image gets the tag of the latest stable bit of the chunk. */
static void fold_tags(const struct sim *sim, unsigned chunk, const struct vv *stable,
                      struct buf *row)
{
    const struct tag generation = tag_load(row->ptr + 2);
    const size_t len = row->len < 22 || row->ptr[0] != ROW_CHUNKS || row->ptr[1] != 1
                           ? 0
                           : le16_load(row->ptr + 2 + TAG_BYTES);
    struct tag latest = tag_of(0, 0);
    uint8_t image[ROW_CHUNK_IMAGE_AT + ROW_CHUNK_BYTES];
    struct buf out;

    if (len == 0)
        return;
    for (unsigned i = 0; i < sim->count; i++) {
        const struct change *c = &sim->changes[i];
        if (c->kind == CHANGE_BITS && tag_eq(c->generation, generation) &&
            vv_covers(stable, c->tag) && c->first / ROW_CHUNK_BITS <= chunk &&
            (c->first + c->bits_count - 1) / ROW_CHUNK_BITS >= chunk)
            latest = tag_max(latest, c->tag);
    }
    if (tag_is_none(latest))
        return;
    const size_t size = row_chunk_store(image, generation, latest,
                                        bytes_of(row->ptr + 4 + 2 * (size_t)TAG_BYTES, len - 1));
    buf_init(&out, SIZE_MAX);
    assert_int_equal(row_merge(buf_bytes(row), bytes_of(image, size), &out), 0);
    replace(row, &out);
}

static void collect_chunk(struct sim *sim, struct replica *r, unsigned chunk,
                          const struct vv *stable, const struct row_generations *generations)
{
    struct slot *slot = &r->slots[1 + chunk];
    struct buf out;

    squeeze(sim, slot, true);
    const struct bytes row = buf_bytes(&slot->row);
    if (!row_is_chunk(row))
        return;
    buf_init(&out, SIZE_MAX);
    if (sim->fault == FOLD_EAGERLY)
        stable = &r->vv;
    if (sim->fault == SWEEP_EAGERLY && row_chunk_collect(row, &r->vv, NULL, &out) == ROW_UNCHANGED)
        stable = &r->vv;
    buf_clear(&out);
    const int did =
        row_chunk_collect(row, stable, sim->fault == FOLD_EAGERLY ? NULL : generations, &out);
    assert_true(did >= 0);
    if (did == ROW_UNCHANGED) {
        buf_deinit(&out);
        return;
    }
    assert_int_equal(row_check(buf_bytes(&out)), 0);
    if (sim->fault == FOLD_TAGS)
        fold_tags(sim, chunk, stable, &out);
    replace(&slot->row, &out);
    sim->collected++;
}

/* Breaks a rule on purpose. */
static void drop_times(struct buf *row)
{
    struct row_state *state = mem_alloc(sizeof(*state));
    unsigned kept = 0;
    struct buf out;

    assert_int_equal(row_decode(buf_bytes(row), state), 0);
    for (unsigned i = 0; i < state->exps_count; i++) {
        bool has = false;
        for (unsigned j = 0; j < state->sibs_count; j++)
            has |= tag_eq(state->sibs[j].generation, state->exps[i].target);
        if (has)
            state->exps[kept++] = state->exps[i];
    }
    state->exps_count = kept;
    buf_init(&out, SIZE_MAX);
    assert_int_equal(row_encode(state, &out), 0);
    mem_free(state);
    replace(row, &out);
}

static void collect(struct sim *sim, struct replica *r)
{
    struct row_generations generations;
    struct vv stable;
    uint16_t sweep;
    struct buf out;
    const struct row_horizons horizons = {.stable = &stable, .swept = true};

    horizon(sim, r, &stable);
    squeeze(sim, &r->slots[0], true);
    buf_init(&out, SIZE_MAX);
    assert_int_equal(row_generations(buf_bytes(&r->slots[0].row), &generations), 0);
    for (unsigned i = 0; i < CHUNKS; i++)
        collect_chunk(sim, r, i, &stable, &generations);
    const int did = row_collect(buf_bytes(&r->slots[0].row), &horizons, &out, &sweep);
    assert_true(did >= 0);
    if (did == ROW_CHANGED)
        replace(&r->slots[0].row, &out);
    else
        buf_deinit(&out);
    if (sim->fault == TIMES_EAGERLY)
        drop_times(&r->slots[0].row);
}

/* A crash: what was not used as stable is applied again to rows that have it already. */
static void replay(struct sim *sim, struct replica *r)
{
    unsigned from = 0;

    for (unsigned i = 0; i < r->applied_count; i++) {
        if (vv_covers(&r->collected, sim->changes[r->applied[i]].tag))
            from = i + 1;
    }
    for (unsigned i = from; i < r->applied_count; i++)
        expand_change(sim, r, &sim->changes[r->applied[i]]);
}

/* All is acknowledged, and collected. */
static void collect_all(struct sim *sim)
{
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < REPLICAS * REPLICAS; i++)
            acknowledge(sim, i / REPLICAS, i % REPLICAS);
        for (unsigned i = 0; i < REPLICAS; i++)
            collect(sim, &sim->replicas[i]);
    }
}

/* Of each chunk the image of what shows is left, and nothing else. */
static void expect_no_garbage(struct sim *sim)
{
    struct row_generations generations;

    for (unsigned i = 0; i < REPLICAS; i++) {
        const struct slot *slots = sim->replicas[i].slots;

        assert_int_equal(row_generations(buf_bytes(&slots[0].row), &generations), 0);
        assert_true(generations.count <= 1 && vv_empty(&generations.clear));
        /* Neither are times, but for that of the string. */
        assert_true(slots[0].row.len <= 1 || row_is_chunked(buf_bytes(&slots[0].row)));
        for (unsigned c = 1; c < ROWS; c++) {
            if (row_is_chunk(buf_bytes(&slots[c].row)))
                assert_false(row_chunk_waits(buf_bytes(&slots[c].row), &generations));
        }
    }
}

/* Whether all replicas show what the oracle says. */
static bool agreed(struct sim *sim, bool loud)
{
    static struct shown want, got;

    oracle(sim, &want);
    for (unsigned i = 0; i < REPLICAS; i++) {
        show(sim, &sim->replicas[i], &got);
        if (got.present == want.present && got.len == want.len && got.at_ms == want.at_ms &&
            memcmp(got.bytes, want.bytes, BYTES_MAX) == 0)
            continue;
        if (loud)
            printf("replica %u: present %d, length %llu, until %llu; wanted %d, %llu, %llu\n", i,
                   got.present, (unsigned long long)got.len, (unsigned long long)got.at_ms,
                   want.present, (unsigned long long)want.len, (unsigned long long)want.at_ms);
        return false;
    }
    return true;
}

static void open_sim(struct sim *sim, uint64_t seed, enum fault fault)
{
    memset(sim, 0, sizeof(*sim));
    rng_seed(&sim->rng, seed);
    sim->fault = fault;
    sim->dels = (unsigned)rng_below(&sim->rng, 8);
    sim->sets = (unsigned)rng_below(&sim->rng, 15);
    sim->bits_span = rng_below(&sim->rng, 2) == 0 ? 8 : 300;
    for (unsigned i = 0; i < REPLICAS; i++) {
        struct replica *r = &sim->replicas[i];

        r->hlc = 1000 + rng_below(&sim->rng, 40);
        for (unsigned s = 0; s < ROWS; s++)
            buf_init(&r->slots[s].row, SIZE_MAX);
    }
}

static void close_sim(struct sim *sim)
{
    for (unsigned i = 0; i < REPLICAS; i++) {
        for (unsigned s = 0; s < ROWS; s++) {
            struct slot *slot = &sim->replicas[i].slots[s];
            buf_deinit(&slot->row);
            while (slot->pending_count != 0)
                buf_deinit(&slot->pending[--slot->pending_count]);
        }
    }
}

/* Some of what the other one has made, and often, when that is all, what it has. */
static void exchange(struct sim *sim, unsigned to, unsigned from)
{
    while (deliver(sim, to, from) && rng_below(&sim->rng, 8) != 0) {
    }
    if (rng_below(&sim->rng, 3) != 0)
        acknowledge(sim, from, to);
}

static void step(struct sim *sim)
{
    const unsigned what = (unsigned)rng_below(&sim->rng, 64);
    const unsigned a = (unsigned)rng_below(&sim->rng, REPLICAS);
    const unsigned b = (unsigned)rng_below(&sim->rng, REPLICAS);

    if (what < 10)
        make(sim, a);
    else if (what < 18)
        collect(sim, &sim->replicas[a]);
    else if (what < 20)
        replay(sim, &sim->replicas[a]);
    else if (what < 22)
        sim->cut[a][b] = rng_below(&sim->rng, 3) == 0;
    else if (a != b)
        exchange(sim, a, b);
}

static void deliver_all(struct sim *sim)
{
    memset(sim->cut, 0, sizeof(sim->cut));
    for (bool more = true; more;) {
        more = false;
        for (unsigned a = 0; a < REPLICAS; a++) {
            for (unsigned b = 0; b < REPLICAS; b++)
                more = (a != b && deliver(sim, a, b)) || more;
        }
    }
}

static void run(struct sim *sim, uint64_t seed, enum fault fault)
{
    open_sim(sim, seed, fault);
    /* In some, all begin with the same string. */
    if (rng_below(&sim->rng, 3) != 0) {
        make(sim, 0);
        deliver_all(sim);
    }
    while (sim->count < CHANGES_MAX)
        step(sim);
    deliver_all(sim);
}

static void replicas_of_a_string_in_chunks_agree_with_the_oracle(void **state)
{
    struct rng rng;
    static struct sim sim;
    const uint64_t runs = seed_number("TIERRA_PROP_RUNS", 300);
    uint64_t collected = 0;

    (void)state;
    seed_rng(&rng, 1);
    for (uint64_t i = 0; i < runs; i++) {
        const uint64_t seed = rng_u64(&rng);

        run(&sim, seed, SOUND);
        bool sound = agreed(&sim, true);
        collected += sim.collected;
        for (unsigned round = 0; round < 3; round++) {
            collect_all(&sim);
            sound = sound && agreed(&sim, true);
        }
        if (!sound)
            fail_msg("run %llu, simulation seed %llu", (unsigned long long)i,
                     (unsigned long long)seed);
        expect_no_garbage(&sim);
        close_sim(&sim);
    }
    printf("%llu groups, %llu chunk rows collected\n", (unsigned long long)runs,
           (unsigned long long)collected);
}

static void expect_caught(enum fault fault)
{
    static struct sim sim;
    unsigned runs = 0;
    bool caught = false;
    struct rng rng;

    seed_rng(&rng, 10 + (uint64_t)fault);
    for (; runs < RUNS_CONTROL_MAX && !caught; runs++) {
        run(&sim, rng_u64(&rng), fault);
        caught = !agreed(&sim, false);
        close_sim(&sim);
    }
    printf("caught in run %u\n", runs);
    assert_true(caught);
}

static void folding_what_is_not_stable_is_caught(void **state)
{
    (void)state;
    expect_caught(FOLD_EAGERLY);
}

static void folding_with_the_greatest_tag_is_caught(void **state)
{
    (void)state;
    expect_caught(FOLD_TAGS);
}

static void sweeping_what_no_value_has_is_caught(void **state)
{
    (void)state;
    expect_caught(SWEEP_EAGERLY);
}

static void sweeping_before_all_show_the_same_is_caught(void **state)
{
    (void)state;
    expect_caught(SWEEP_UNFIRM);
}

static void a_time_of_the_value_is_caught(void **state)
{
    (void)state;
    expect_caught(TIME_OF_VALUE);
}

static void dropping_times_of_what_no_value_has_is_caught(void **state)
{
    (void)state;
    expect_caught(TIMES_EAGERLY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_of_a_string_in_chunks_agree_with_the_oracle),
        cmocka_unit_test(folding_what_is_not_stable_is_caught),
        cmocka_unit_test(folding_with_the_greatest_tag_is_caught),
        cmocka_unit_test(sweeping_what_no_value_has_is_caught),
        cmocka_unit_test(sweeping_before_all_show_the_same_is_caught),
        cmocka_unit_test(a_time_of_the_value_is_caught),
        cmocka_unit_test(dropping_times_of_what_no_value_has_is_caught),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
