/*
 * Strings in chunks at several replicas: whatever the order, grouping and repetition in which
 * operands meet, all show what the oracle says, which knows nothing of rows
 * (prop_value_chunks_oracle.h).
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine/value/op.h"
#include "engine/value/row_chunk.h"
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
    CHANGE_BITS,
    CHANGE_DEL
};

struct change {
    enum kind kind;
    struct tag tag;
    struct vv ctx;
    struct tag generation;
    uint64_t len;
    uint64_t first; /* Bytes of RANGE; the bit of BITS. */
    uint64_t end;
    uint32_t bits_count;
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
    struct slot slots[ROWS];
};

struct sim {
    struct rng rng;
    unsigned count;
    struct change changes[CHANGES_MAX];
    unsigned made[REPLICAS][CHANGES_MAX];
    unsigned made_count[REPLICAS];
    struct replica replicas[REPLICAS];
};

struct shown {
    bool present;
    uint64_t len;
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

static void apply(struct sim *sim, struct replica *r, const struct change *c)
{
    struct target t = {.sim = sim, .replica = r};
    const struct op string = {
        .kind = OP_STRING, .key = BYTES_LIT("k"), .generation = c->generation, .len = c->len};
    const struct op del = {.kind = OP_DEL, .key = BYTES_LIT("k")};
    const struct op set = {
        .kind = OP_SET, .key = BYTES_LIT("k"), .value = bytes_of(c->bytes, c->len)};
    const struct op bits = {.kind = OP_BITS,
                            .key = BYTES_LIT("k"),
                            .generation = c->generation,
                            .at = c->first,
                            .bits_count = (uint8_t)c->bits_count,
                            .bits = c->bits};

    if (c->kind == CHANGE_SET) {
        expand(&t, c, &set);
    } else if (c->kind == CHANGE_DEL) {
        expand(&t, c, &del);
    } else {
        expand(&t, c, &string);
        if (c->kind == CHANGE_BITS)
            expand(&t, c, &bits);
        else
            expand_images(&t, c, c->first, c->end);
    }
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

        events[n++] =
            (struct chunks_event){.kind = c->kind == CHANGE_DEL ? CHUNKS_DEL : CHUNKS_STRING,
                                  .tag = c->tag,
                                  .ctx = &c->ctx,
                                  .generation = c->generation,
                                  .len = c->len};
        if (c->kind == CHANGE_BITS)
            events[n++] = (struct chunks_event){.kind = CHUNKS_BITS,
                                                .tag = c->tag,
                                                .generation = c->generation,
                                                .at = c->first,
                                                .bits_count = c->bits_count,
                                                .bits = c->bits};
        else if (c->kind != CHANGE_DEL)
            tell_images(c, events, &n);
    }
    return n;
}

static void oracle(const struct sim *sim, struct shown *out)
{
    static struct chunks_event events[EVENTS_MAX];
    struct tag generation;
    struct buf text;

    memset(out, 0, sizeof(*out));
    buf_init(&text, SIZE_MAX);
    out->present = chunks_oracle(events, tell(sim, events), &generation, &text);
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

static void make_kind(struct sim *sim, struct replica *r, struct change *c)
{
    static struct shown now;
    const unsigned what = (unsigned)rng_below(&sim->rng, 10);
    const struct row_view view = view_of(sim, r);

    show(sim, r, &now);
    c->generation = c->tag;
    if (what == 0) {
        c->kind = CHANGE_DEL;
        return;
    }
    if (!now.present || what == 1 || what == 2) {
        c->kind = what == 1 ? CHANGE_SET : CHANGE_BEGIN;
        c->len = what == 1 ? ROW_INLINE_BYTES_MAX + 1 + rng_below(&sim->rng, 1500)
                           : 1 + rng_below(&sim->rng, 3 * ROW_CHUNK_BYTES);
        c->end = c->len;
        fill(sim, c->bytes, 0, c->len);
        return;
    }
    c->generation = view.generation;
    if (what < 6) {
        c->kind = CHANGE_BITS;
        c->bits_count = 1 + (uint32_t)rng_below(&sim->rng, 64);
        c->first = rng_below(&sim->rng, 2) == 0 ? ROW_CHUNK_BITS - 30 + rng_below(&sim->rng, 40)
                                                : rng_below(&sim->rng, ROW_CHUNK_BITS);
        c->bits = rng_u64(&sim->rng) >> (64 - c->bits_count);
        c->len = u64_max(now.len, (c->first + c->bits_count - 1) / 8 + 1);
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

    if (r->next[from] == sim->made_count[from])
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

/* What every replica has, for good. */
static void collect(struct sim *sim, struct replica *r)
{
    struct vv stable;
    uint16_t sweep;
    struct buf out;
    const struct row_horizons horizons = {.stable = &stable};

    vv_init(&stable);
    for (uint8_t o = 0; o < REPLICAS; o++) {
        uint64_t hlc = UINT64_MAX;
        for (unsigned i = 0; i < REPLICAS; i++)
            hlc = u64_min(hlc, vv_get(&sim->replicas[i].vv, o));
        if (hlc != 0)
            assert_int_equal(vv_raise(&stable, tag_of(hlc, o)), 0);
    }
    squeeze(sim, &r->slots[0], true);
    buf_init(&out, SIZE_MAX);
    const int did = row_collect(buf_bytes(&r->slots[0].row), &horizons, &out, &sweep);
    assert_true(did >= 0);
    if (did == ROW_CHANGED)
        replace(&r->slots[0].row, &out);
    else
        buf_deinit(&out);
}

static void expect_oracle(struct sim *sim)
{
    static struct shown want, got;

    oracle(sim, &want);
    for (unsigned i = 0; i < REPLICAS; i++) {
        show(sim, &sim->replicas[i], &got);
        assert_int_equal(got.present, want.present);
        assert_int_equal(got.len, want.len);
        assert_memory_equal(got.bytes, want.bytes, BYTES_MAX);
    }
}

static void run(struct sim *sim, uint64_t seed)
{
    memset(sim, 0, sizeof(*sim));
    rng_seed(&sim->rng, seed);
    for (unsigned i = 0; i < REPLICAS; i++) {
        sim->replicas[i].hlc = 1000;
        for (unsigned s = 0; s < ROWS; s++)
            buf_init(&sim->replicas[i].slots[s].row, SIZE_MAX);
    }
    while (sim->count < CHANGES_MAX) {
        const unsigned a = (unsigned)rng_below(&sim->rng, REPLICAS);
        const unsigned b = (unsigned)rng_below(&sim->rng, REPLICAS);
        if (rng_below(&sim->rng, 4) == 0)
            make(sim, a);
        else if (rng_below(&sim->rng, 8) == 0)
            collect(sim, &sim->replicas[a]);
        else if (a != b)
            (void)deliver(sim, a, b);
    }
    for (bool more = true; more;) {
        more = false;
        for (unsigned a = 0; a < REPLICAS; a++) {
            for (unsigned b = 0; b < REPLICAS; b++)
                more = (a != b && deliver(sim, a, b)) || more;
        }
    }
    expect_oracle(sim);
    collect(sim, &sim->replicas[0]);
    expect_oracle(sim);
    for (unsigned i = 0; i < REPLICAS; i++) {
        for (unsigned s = 0; s < ROWS; s++) {
            struct slot *slot = &sim->replicas[i].slots[s];
            buf_deinit(&slot->row);
            while (slot->pending_count != 0)
                buf_deinit(&slot->pending[--slot->pending_count]);
        }
    }
}

static void replicas_of_a_string_in_chunks_agree_with_the_oracle(void **state)
{
    struct rng rng;
    static struct sim sim;
    const uint64_t runs = seed_number("TIERRA_PROP_RUNS", 300);

    (void)state;
    seed_rng(&rng, 1);
    for (uint64_t i = 0; i < runs; i++)
        run(&sim, rng_u64(&rng));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_of_a_string_in_chunks_agree_with_the_oracle),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
