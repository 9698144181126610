/*
 * The laws of joining rows: commutative, associative, idempotent, whatever the grouping; one state
 * has one encoding. On random operands, whether or not any history could have made them, and
 * exhaustively on a small set of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"

#include "engine/value/hll.h"
#include "engine/value/op.h"
#include "engine/value/row.h"
#include "engine/value/row_outline.h"
#include "engine/value/row_plain.h"
#include "engine/value/row_state.h"
#include "engine/value/rowkey.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"

#define RUNS_DEFAULT 800
#define ROWS_MAX     12
#define ORIGINS      4

/* Few numbers, so that tags, contexts and targets meet. */
#define HLC_MAX 12
#define HLLS    5 /* Every so many values are one. */

struct laws {
    struct rng rng;
    struct buf rows[ROWS_MAX];
    unsigned count;
    bool chunks;                  /* Half of the values are in chunks. */
    uint8_t hll[HLL_DENSE_BYTES]; /* The value of the last op, if it is one. */
};

static unsigned pick(struct laws *laws, unsigned n)
{
    return (unsigned)rng_below(&laws->rng, n);
}

static struct buf new_buf(void)
{
    struct buf b;

    buf_init(&b, SIZE_MAX);
    return b;
}

static struct tag random_tag(struct laws *laws)
{
    return tag_of(1 + pick(laws, HLC_MAX), (uint8_t)(1 + pick(laws, ORIGINS)));
}

/* A HyperLogLog, or what looks like one. */
static struct bytes hll_of(struct laws *laws, struct tag tag)
{
    static struct hll_registers registers;
    const unsigned n = (unsigned)(tag.hlc * 3 + tag.origin);
    struct buf value = new_buf();

    memset(&registers, 0, sizeof(registers));
    for (unsigned i = 0; i < 4; i++)
        registers.at[(n * 7 + i * i) % 11] = (uint8_t)(1 + (n + i) % 3);
    assert_int_equal(hll_encode(&registers, n % 5 == 0 ? 0 : 3000, &value), 0);
    const size_t len = value.len - (n % 7 == 0);
    memcpy(laws->hll, value.ptr, len);
    buf_deinit(&value);
    return bytes_of(laws->hll, len);
}

static void random_seen(struct laws *laws, struct buf *out)
{
    struct buf row = new_buf();
    struct row_state *state = mem_alloc(sizeof(*state));

    row_state_init(state);
    for (unsigned i = pick(laws, 3); i > 0; i--) {
        const struct tag tag = random_tag(laws);
        const struct row_run run = {.origin = tag.origin,
                                    .start = 1,
                                    .hlc = tag.hlc,
                                    .isum = (int64_t)tag.hlc * tag.origin,
                                    .fsum = fsum_of(pick(laws, 2) == 0 ? 0.0L : 0.5L)};
        assert_int_equal(row_add_run(state, &run), 0);
    }
    assert_int_equal(row_encode(state, &row), 0);
    assert_int_equal(row_seen(buf_bytes(&row), out), 0);
    buf_deinit(&row);
    mem_free(state);
}

/* An op with random context, as its origin could have made it in some history or in none. */
static void random_op(struct laws *laws, struct op *op, struct batch *batch, struct buf *seen)
{
    static const uint8_t kinds[] = {OP_SET,    OP_SET,      OP_DEL,      OP_INCR,   OP_INCR,
                                    OP_EXPIRE, OP_ELEM_SET, OP_ELEM_SET, OP_EXPIRE, OP_ELEM_INCR};
    const struct tag tag = random_tag(laws);

    *batch = (struct batch){.origin = tag.origin, .hlc = tag.hlc};
    for (unsigned i = 1; i <= ORIGINS; i++) {
        const uint64_t hlc = i == tag.origin ? tag.hlc - 1 : pick(laws, HLC_MAX);
        assert_int_equal(vv_raise(&batch->ctx, tag_of(hlc, (uint8_t)i)), 0);
    }
    *op = (struct op){.kind = kinds[pick(laws, ARRAY_COUNT(kinds))]};
    random_seen(laws, seen);
    op->key = BYTES_LIT("k");
    op->sub = BYTES_LIT("m");
    op->type = pick(laws, 2) == 0 ? VT_HASH : VT_SET;
    /* What a tag stands for is a function of the tag, as in any history. */
    op->value = (tag.hlc + tag.origin) % HLLS == 0
                    ? hll_of(laws, tag)
                    : bytes_of("0123456789abcdef", 1 + (tag.hlc + tag.origin) % 9);
    op->seen = tag.hlc % 3 == 0 ? buf_bytes(seen) : bytes_of(NULL, 0);
    op->flags = pick(laws, 3) == 0 ? OP_COVER : 0;
    op->start = 1 + pick(laws, (unsigned)tag.hlc);
    op->isum = (int64_t)tag.hlc - 5;
    op->fsum = fsum_of(tag.hlc % 2 == 0 ? 0.0L : 0.25L);
    op->expire_at_ms = pick(laws, 3) * 100;
    op->target = random_tag(laws);
    op->target_type = (uint8_t)(pick(laws, 2) == 0 ? VT_STRING : pick(laws, 2) * VT_HASH);
    if (laws->chunks && pick(laws, 2) == 0)
        op->target_type = VT_CHUNKED;
    op->has_count = pick(laws, 4) == 0;
    op->count = pick(laws, 5);
    if (laws->chunks && op->kind == OP_SET && pick(laws, 2) == 0) {
        op->kind = OP_STRING;
        op->value = bytes_of(NULL, 0);
        op->flags = pick(laws, 2) == 0 ? OP_SHARED_TIME : 0;
        op->has_count = false;
        op->seen = pick(laws, 4) == 0 ? op->seen : bytes_of(NULL, 0);
        op->generation = pick(laws, 3) == 0 ? tag : random_tag(laws);
        op->len = tag.hlc * 300;
    }
}

static int on_operand(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct laws *laws = ctx;

    (void)sub;
    (void)row_kind;
    if (laws->count == ROWS_MAX)
        return 0;
    laws->rows[laws->count] = new_buf();
    assert_int_equal(buf_append_bytes(&laws->rows[laws->count++], operand), 0);
    return 0;
}

static int on_elem_operand(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    return row_kind == ROWKEY_KIND_KEY ? 0 : on_operand(ctx, row_kind, sub, operand);
}

static void make_rows(struct laws *laws, unsigned wanted)
{
    struct buf scratch = new_buf();
    struct buf seen = new_buf();
    struct batch batch;
    struct op op;

    laws->count = 0;
    while (laws->count < wanted) {
        buf_clear(&seen);
        random_op(laws, &op, &batch, &seen);
        assert_int_equal(op_expand(&op, &batch, pick(laws, 3), on_operand, laws, &scratch), 0);
    }
    buf_deinit(&scratch);
    buf_deinit(&seen);
}

static void drop_rows(struct laws *laws)
{
    for (unsigned i = 0; i < laws->count; i++)
        buf_deinit(&laws->rows[i]);
    laws->count = 0;
}

/* a := a joined with b. */
static void join(struct buf *a, struct bytes b)
{
    struct buf out = new_buf();

    assert_int_equal(row_merge(buf_bytes(a), b, &out), 0);
    assert_int_equal(row_check(buf_bytes(&out)), 0);
    buf_deinit(a);
    *a = out;
}

static struct buf copy(struct bytes bytes)
{
    struct buf b = new_buf();

    assert_int_equal(buf_append_bytes(&b, bytes), 0);
    return b;
}

static void expect_pair_laws(struct bytes a, struct bytes b)
{
    struct buf ab = copy(a);
    struct buf ba = copy(b);
    struct buf aa = copy(a);

    join(&ab, b);
    join(&ba, a);
    join(&aa, a);
    expect_bytes(buf_bytes(&ab), buf_bytes(&ba));
    expect_bytes(buf_bytes(&aa), a);
    join(&ba, buf_bytes(&ab));
    expect_bytes(buf_bytes(&ba), buf_bytes(&ab));
    join(&ba, a);
    expect_bytes(buf_bytes(&ba), buf_bytes(&ab));
    buf_deinit(&ab);
    buf_deinit(&ba);
    buf_deinit(&aa);
}

static void expect_triple_law(struct bytes a, struct bytes b, struct bytes c)
{
    struct buf left = copy(a);
    struct buf right = copy(b);
    struct buf whole = copy(a);

    join(&left, b);
    join(&left, c);
    join(&right, c);
    join(&whole, buf_bytes(&right));
    expect_bytes(buf_bytes(&whole), buf_bytes(&left));
    buf_deinit(&left);
    buf_deinit(&right);
    buf_deinit(&whole);
}

/* Folds all rows in random order and grouping. */
static struct buf join_at_random(struct laws *laws)
{
    struct buf parts[ROWS_MAX];
    unsigned count = laws->count;

    for (unsigned i = 0; i < count; i++)
        parts[i] = copy(buf_bytes(&laws->rows[i]));
    while (count > 1) {
        const unsigned a = pick(laws, count);
        unsigned b = pick(laws, count);

        if (a == b)
            continue;
        join(&parts[a], buf_bytes(&parts[b]));
        if (pick(laws, 5) == 0)
            continue; /* The same again later. */
        buf_deinit(&parts[b]);
        count--;
        if (b != count)
            parts[b] = parts[count];
    }
    return parts[0];
}

static void expect_laws_at_random(struct laws *laws, uint64_t runs)
{
    for (uint64_t run = 0; run < runs; run++) {
        make_rows(laws, 2 + pick(laws, ROWS_MAX - 2));
        struct buf first = join_at_random(laws);
        struct buf second = join_at_random(laws);

        expect_bytes(buf_bytes(&second), buf_bytes(&first));
        expect_pair_laws(buf_bytes(&laws->rows[0]), buf_bytes(&laws->rows[1]));
        expect_pair_laws(buf_bytes(&first), buf_bytes(&laws->rows[1]));
        buf_deinit(&first);
        buf_deinit(&second);
        drop_rows(laws);
    }
}

static void random_operands_join_in_any_order_and_grouping(void **unused)
{
    static struct laws laws;

    (void)unused;
    seed_rng(&laws.rng, 1);
    expect_laws_at_random(&laws, seed_number("TIERRA_PROP_RUNS", RUNS_DEFAULT));
}

static void expect_laws_exhaustively(struct laws *laws)
{
    for (unsigned round = 0; round < 3; round++) {
        make_rows(laws, ROWS_MAX);
        for (unsigned i = 0; i < laws->count; i++) {
            for (unsigned j = 0; j < laws->count; j++) {
                const struct bytes a = buf_bytes(&laws->rows[i]);
                const struct bytes b = buf_bytes(&laws->rows[j]);

                expect_pair_laws(a, b);
                for (unsigned k = 0; k < laws->count; k++)
                    expect_triple_law(a, b, buf_bytes(&laws->rows[k]));
            }
        }
        drop_rows(laws);
    }
}

static void seeds_that_failed_once_obey_the_laws(void **unused)
{
    static const uint64_t random_seeds[] = {3, 16, 21, UINT64_C(12124859107113443949)};
    static struct laws laws;

    (void)unused;
    for (unsigned i = 0; i < ARRAY_COUNT(random_seeds); i++) {
        seed_rng_fixed(&laws.rng, random_seeds[i], 1);
        expect_laws_at_random(&laws, RUNS_DEFAULT);
    }
    seed_rng_fixed(&laws.rng, 26, 2);
    expect_laws_exhaustively(&laws);
}

/* Some ops of one element, as a row that knows all that there is of it. */
static struct buf random_elem(struct laws *laws)
{
    static const uint8_t kinds[] = {OP_ELEM_SET, OP_ELEM_INCR, OP_ELEM_DEL, OP_ELEM_DEL};
    struct buf scratch = new_buf(), seen = new_buf(), row = new_buf();
    struct batch batch;
    struct op op;

    laws->count = 0;
    for (unsigned n = 1 + pick(laws, 4); n != 0; n--) {
        buf_clear(&seen);
        random_op(laws, &op, &batch, &seen);
        op.kind = kinds[pick(laws, ARRAY_COUNT(kinds))];
        op.flags = 0;
        op.has_count = false;
        op.seen = buf_bytes(&seen);
        op.start = 1; /* As the runs that were seen. */
        assert_int_equal(op_expand(&op, &batch, 0, on_elem_operand, laws, &scratch), 0);
    }
    for (unsigned i = 0; i < laws->count; i++) {
        const struct bytes operand = buf_bytes(&laws->rows[i]);
        buf_clear(&scratch);
        assert_int_equal(row_merge_fold(buf_bytes(&row), &operand, 1, &scratch), 0);
        buf_clear(&row);
        assert_int_equal(buf_append_bytes(&row, buf_bytes(&scratch)), 0);
    }
    drop_rows(laws);
    buf_deinit(&scratch);
    buf_deinit(&seen);
    return row;
}

static void clip(struct buf *row, const struct vv *clear)
{
    struct buf out = new_buf();

    assert_int_equal(row_clip(buf_bytes(row), clear, &out), 0);
    assert_int_equal(row_check(buf_bytes(&out)), 0);
    buf_deinit(row);
    *row = out;
}

/*
 * An element of a hot collection is clipped when the clear vector comes, one of a cold one when it
 * is read: what comes in between must not make a difference.
 */
static void clipping_an_element_early_or_late_is_the_same(void **unused)
{
    static struct laws laws;
    const uint64_t runs = 10 * seed_number("TIERRA_PROP_RUNS", RUNS_DEFAULT);

    (void)unused;
    seed_rng(&laws.rng, 3);
    for (uint64_t run = 0; run < runs; run++) {
        struct buf a = random_elem(&laws), b = random_elem(&laws);
        struct buf late = copy(buf_bytes(&a)), early = copy(buf_bytes(&a));
        struct vv clear;

        vv_init(&clear);
        for (uint8_t i = 1; i <= ORIGINS; i++)
            assert_int_equal(vv_raise(&clear, tag_of(pick(&laws, HLC_MAX), i)), 0);
        join(&late, buf_bytes(&b));
        clip(&late, &clear);
        clip(&early, &clear);
        join(&early, buf_bytes(&b));
        clip(&early, &clear);
        expect_bytes(buf_bytes(&early), buf_bytes(&late));
        clip(&b, &clear);
        join(&b, buf_bytes(&a));
        clip(&b, &clear);
        expect_bytes(buf_bytes(&b), buf_bytes(&late));
        buf_deinit(&a);
        buf_deinit(&b);
        buf_deinit(&early);
        buf_deinit(&late);
    }
}

/*
 * Two settings of one tag and group, and a SET that has seen the target of the one that would win:
 * what it takes away must not depend on which of them it meets first.
 */
static void a_setting_whose_target_is_gone_takes_no_other_with_it(void **unused)
{
    static const uint8_t types[] = {VT_NONE, VT_HASH};
    static struct laws laws;

    (void)unused;
    for (unsigned t = 0; t < ARRAY_COUNT(types); t++) {
        struct buf scratch = new_buf();
        struct batch set = {.origin = 3, .hlc = 3};
        const struct batch setting = {.origin = 2, .hlc = 7};
        struct op op = {.kind = OP_SET, .key = BYTES_LIT("k"), .value = BYTES_LIT("v")};

        laws.count = 0;
        assert_int_equal(vv_raise(&set.ctx, tag_of(7, 2)), 0);
        assert_int_equal(op_expand(&op, &set, 0, on_operand, &laws, &scratch), 0);
        op = (struct op){.kind = OP_EXPIRE, .key = BYTES_LIT("k"), .target_type = types[t]};
        for (unsigned i = 0; i < 2; i++) {
            op.target = i == 0 ? tag_of(1, 2) : tag_of(11, 4);
            op.expire_at_ms = i == 0 ? 200 : 100;
            assert_int_equal(op_expand(&op, &setting, 0, on_operand, &laws, &scratch), 0);
        }
        for (unsigned i = 0; i < 3; i++) {
            for (unsigned j = 0; j < 3; j++) {
                for (unsigned k = 0; k < 3; k++)
                    expect_triple_law(buf_bytes(&laws.rows[i]), buf_bytes(&laws.rows[j]),
                                      buf_bytes(&laws.rows[k]));
            }
        }
        drop_rows(&laws);
        buf_deinit(&scratch);
    }
}

static void a_small_set_of_operands_obeys_the_laws_exhaustively(void **unused)
{
    static struct laws laws;

    (void)unused;
    seed_rng(&laws.rng, 2);
    expect_laws_exhaustively(&laws);
}

static void simple_rows_obey_the_laws_exhaustively(void **unused)
{
    uint8_t rows[9][32];
    struct bytes all[9];

    (void)unused;
    all[0] = bytes_of("\0", 1);
    for (unsigned i = 0; i < 2; i++) {
        const struct tag tag = tag_of(5 + i, (uint8_t)(2 - i));

        all[1 + i] = bytes_of(rows[1 + i], row_value_store(rows[1 + i], tag, BYTES_LIT("v"), 0));
        all[3 + i] = bytes_of(rows[3 + i], row_value_store(rows[3 + i], tag_of(9, tag.origin),
                                                           BYTES_LIT("w"), 1000 + i));
        all[5 + i] = bytes_of(rows[5 + i], row_count_store(rows[5 + i], 3, tag, 7));
        all[7 + i] =
            bytes_of(rows[7 + i], row_coll_store(rows[7 + i], (uint8_t)(VT_SET + i), tag, i, i));
    }
    for (unsigned i = 0; i < 9; i++) {
        for (unsigned j = 0; j < 9; j++) {
            expect_pair_laws(all[i], all[j]);
            for (unsigned k = 0; k < 9; k++)
                expect_triple_law(all[i], all[j], all[k]);
        }
    }
}

static void poison_absorbs_everything(void **unused)
{
    static const uint8_t poison[2] = {ROW_POISON, 3};
    static struct laws laws;

    (void)unused;
    seed_rng(&laws.rng, 3);
    make_rows(&laws, 4);
    for (unsigned i = 0; i < 4; i++) {
        struct buf joined = copy(buf_bytes(&laws.rows[i]));
        struct buf out = new_buf();

        assert_int_equal(row_merge(buf_bytes(&joined), bytes_of(poison, 2), &out), 0);
        expect_bytes(buf_bytes(&out), bytes_of(poison, 2));
        buf_deinit(&joined);
        buf_deinit(&out);
    }
    drop_rows(&laws);
}

/* --- rows that are joined as bytes (row_plain.h) --- */

/* The same by states, whatever the rows are. */
static struct buf by_states(struct bytes a, struct bytes b, bool settled)
{
    struct row_state *into = mem_alloc(sizeof(*into));
    struct row_state *from = mem_alloc(sizeof(*from));
    struct buf out = new_buf();

    assert_int_equal(row_decode(a, into), 0);
    assert_int_equal(row_decode(b, from), 0);
    assert_int_equal(row_state_join(into, from), 0);
    if (settled)
        row_state_settle(into);
    assert_int_equal(row_encode(into, &out), 0);
    mem_free(into);
    mem_free(from);
    return out;
}

static void expect_same_as_states(struct laws *laws, struct bytes a, struct bytes b,
                                  unsigned *out_folded, unsigned *out_joined)
{
    struct buf full = new_buf();
    struct buf folded = new_buf();
    struct buf joined = new_buf();
    struct buf expected;

    assert_int_equal(row_settle(a, &full), 0);
    if (pick(laws, 8) == 0)
        buf_clear(&full);
    const int fold = row_plain_fold(buf_bytes(&full), b, &folded);
    const int join = row_plain_join(a, b, &joined);
    assert_true(fold >= 0 && join >= 0);
    if (fold == 1) {
        expected = by_states(buf_bytes(&full), b, true);
        expect_bytes(buf_bytes(&folded), buf_bytes(&expected));
        buf_deinit(&expected);
    }
    if (join == 1) {
        expected = by_states(a, b, false);
        expect_bytes(buf_bytes(&joined), buf_bytes(&expected));
        buf_deinit(&expected);
    }
    /* Nothing is left behind by what could not be done. */
    assert_true(fold == 1 || folded.len == 0);
    assert_true(join == 1 || joined.len == 0);
    *out_folded += (unsigned)fold;
    *out_joined += (unsigned)join;
    buf_deinit(&full);
    buf_deinit(&folded);
    buf_deinit(&joined);
}

static void rows_join_as_bytes_as_they_do_as_states(void **unused)
{
    static struct laws laws;
    unsigned folded = 0, joined = 0;

    (void)unused;
    laws.chunks = true;
    seed_rng(&laws.rng, 5);
    for (unsigned run = 0; run < 4000; run++) {
        make_rows(&laws, ROWS_MAX);
        for (unsigned i = 1; i < laws.count; i++)
            expect_same_as_states(&laws, buf_bytes(&laws.rows[i - 1]), buf_bytes(&laws.rows[i]),
                                  &folded, &joined);
        drop_rows(&laws);
    }
    /* 7,600 and 100 as a rule: random contexts seldom cover each other. */
    assert_true(folded > 4000);
    assert_true(joined > 40);
}

/* --- rows that are read as bytes (row_outline.h) --- */

/* The row with a part that changes nothing of what it shows, and for which it takes a state. */
static struct buf without_outline(struct bytes row)
{
    struct row_state *state = mem_alloc(sizeof(*state));
    struct buf out = new_buf();
    struct row_outline outline;
    const struct row_floor floor = {.cut = {.origin = ORIGINS + 1, .hlc = 1},
                                    .del_tag = tag_of(1, ORIGINS + 1)};

    assert_int_equal(row_decode(row, state), 0);
    assert_int_equal(row_add_floor(state, &floor), 0);
    assert_int_equal(row_encode(state, &out), 0);
    assert_false(row_outline_open(buf_bytes(&out), &outline));
    mem_free(state);
    return out;
}

static void expect_same_view(struct bytes row, struct bytes other)
{
    struct row_view a, b;
    struct vv clear_a, clear_b;
    const int err = row_view(other, 50, &b);

    assert_int_equal(row_view(row, 50, &a), err);
    expect_bytes(a.value, b.value);
    assert_true(a.present == b.present && a.expired == b.expired && a.type == b.type &&
                a.kind == b.kind && a.target_type == b.target_type);
    assert_true(tag_eq(a.tag, b.tag) && tag_eq(a.target, b.target) &&
                tag_eq(a.generation, b.generation));
    assert_true(a.i == b.i && a.f == b.f && a.count == b.count && a.count_lsn == b.count_lsn &&
                a.expire_at_ms == b.expire_at_ms);
    assert_int_equal(row_clear(row, &clear_a), 0);
    assert_int_equal(row_clear(other, &clear_b), 0);
    assert_true(vv_equal(&clear_a, &clear_b));
}

static void expect_same_incr(struct laws *laws, struct bytes row, struct bytes other)
{
    const struct tag tag = tag_of(HLC_MAX + pick(laws, 2), (uint8_t)(1 + pick(laws, ORIGINS)));
    const int64_t delta = pick(laws, 8) == 0 ? INT64_MAX - 3 : (int64_t)pick(laws, 200) - 100;
    struct row_incr a, b;
    struct buf out = new_buf(), out_other = new_buf();
    const int err = row_incr_int(other, 50, delta, tag, &out_other, &b);

    assert_int_equal(row_incr_int(row, 50, delta, tag, &out, &a), err);
    if (err == 0) {
        assert_true(a.start == b.start && a.isum == b.isum && a.visible == b.visible &&
                    a.fresh == b.fresh && a.fsum.hi == b.fsum.hi && a.fsum.lo == b.fsum.lo);
        struct buf again = without_outline(buf_bytes(&out));
        expect_bytes(buf_bytes(&again), buf_bytes(&out_other));
        buf_deinit(&again);
    }
    buf_deinit(&out);
    buf_deinit(&out_other);
}

/* Joined with a count and with an assertion of some origin. */
static unsigned expect_same_folds(struct laws *laws, struct bytes row)
{
    uint8_t raw[2][ROW_COLL_BYTES];
    unsigned folded = 0;

    for (unsigned i = 0; i < 2; i++) {
        const struct tag tag = tag_of(1 + pick(laws, HLC_MAX + 2), (uint8_t)(1 + pick(laws, 4)));
        const size_t len =
            i == 0 ? row_count_store(raw[i], 1 + pick(laws, (unsigned)tag.hlc), tag,
                                     (int64_t)pick(laws, 300) - 150)
                   : row_coll_store(raw[i], pick(laws, 2) == 0 ? VT_HASH : VT_SET, tag, 0, 0);
        struct buf expected = by_states(row, bytes_of(raw[i], len), true);
        struct buf out = new_buf();
        if (row_plain_fold(row, bytes_of(raw[i], len), &out) == 1) {
            expect_bytes(buf_bytes(&out), buf_bytes(&expected));
            folded++;
        }
        buf_deinit(&out);
        buf_deinit(&expected);
    }
    return folded;
}

static unsigned expect_same_outline(struct laws *laws, struct bytes row)
{
    struct buf other = without_outline(row);
    const unsigned folded = expect_same_folds(laws, row);

    expect_same_view(row, buf_bytes(&other));
    expect_same_incr(laws, row, buf_bytes(&other));
    buf_deinit(&other);
    return folded;
}

static void rows_are_read_as_bytes_as_they_are_as_states(void **unused)
{
    static struct laws laws;
    struct row_outline outline;
    unsigned outlines = 0, folded = 0;

    (void)unused;
    laws.chunks = true;
    seed_rng(&laws.rng, 7);
    for (unsigned run = 0; run < 4000; run++) {
        struct buf full = new_buf();
        make_rows(&laws, ROWS_MAX);
        for (unsigned i = 0; i < laws.count; i++) {
            struct buf next = by_states(buf_bytes(&full), buf_bytes(&laws.rows[i]), true);
            buf_deinit(&full);
            full = next;
            if (!row_outline_open(buf_bytes(&full), &outline))
                continue;
            outlines++;
            folded += expect_same_outline(&laws, buf_bytes(&full));
        }
        buf_deinit(&full);
        drop_rows(&laws);
    }
    /* 5,500 and 700 as a rule. */
    assert_true(outlines > 2000);
    assert_true(folded > 300);
}

/* A change of a key by one who has seen all of `seen`, or most of it. */
static void next_op(struct laws *laws, struct bytes row, const struct vv *seen, struct tag tag,
                    struct op *op, struct batch *batch)
{
    static const uint8_t kinds[] = {OP_STRING, OP_STRING, OP_STRING, OP_STRING, OP_STRING,
                                    OP_STRING, OP_STRING, OP_SET,    OP_DEL,    OP_EXPIRE};
    struct row_view view;

    *batch = (struct batch){.origin = tag.origin, .hlc = tag.hlc};
    assert_int_equal(vv_raise(&batch->ctx, tag_of(tag.hlc - 1, tag.origin)), 0);
    for (unsigned i = 0; i < seen->count; i++) {
        const uint64_t hlc =
            pick(laws, 6) == 0 ? pick(laws, (unsigned)seen->hlc[i] + 1) : seen->hlc[i];
        assert_int_equal(vv_raise(&batch->ctx, tag_of(hlc, seen->origin[i])), 0);
    }
    assert_int_equal(row_view(row, 0, &view), 0);
    *op = (struct op){.kind = kinds[pick(laws, ARRAY_COUNT(kinds))],
                      .key = BYTES_LIT("k"),
                      .value = BYTES_LIT("v"),
                      .len = tag.hlc * 300,
                      .generation = view.generation,
                      .target_type = VT_STRING,
                      .target = tag_is_none(view.tag) ? tag : view.tag,
                      .expire_at_ms = pick(laws, 6) == 0 ? 40 + 60 * pick(laws, 2) : 0};
    if (pick(laws, 2) == 0 && !tag_is_none(view.generation)) {
        op->target_type = VT_CHUNKED;
        op->target = view.generation;
    }
    if (tag_is_none(op->generation) || pick(laws, 12) == 0)
        op->generation = tag;
    else if (pick(laws, 12) == 0)
        op->generation = tag_of(1 + pick(laws, (unsigned)tag.hlc), (uint8_t)(1 + pick(laws, 4)));
}

/* The same string in chunks after its row was collected; in some its generation has a time. */
static void make_simple(struct laws *laws, struct buf *row)
{
    struct row_view view;

    assert_int_equal(row_view(buf_bytes(row), 0, &view), 0);
    if (view.kind != ROW_KIND_CHUNKS)
        return;
    if (view.expire_at_ms == 0 && pick(laws, 3) == 0)
        view.expire_at_ms = 100;
    buf_clear(row);
    assert_int_equal(buf_reserve(row, ROW_CHUNKED_BYTES), 0);
    buf_commit(row, row_chunked_store(buf_end(row), view.tag, view.generation, view.count,
                                      view.expire_at_ms));
    if (view.expire_at_ms != 0 && view.target_type == VT_CHUNKED)
        row->ptr[0] = ROW_CHUNKED_TTL;
}

static void parts_of_a_string_fold_as_bytes_as_they_do_as_states(void **unused)
{
    static struct laws laws;
    unsigned plain = 0, beside = 0, timed = 0;

    (void)unused;
    seed_rng(&laws.rng, 8);
    for (unsigned run = 0; run < 400; run++) {
        struct buf row = new_buf(), scratch = new_buf();
        struct vv seen;

        vv_init(&seen);
        for (unsigned hlc = 2; hlc < 40; hlc++) {
            const struct tag tag = tag_of(hlc, (uint8_t)(1 + pick(&laws, ORIGINS)));
            struct batch batch;
            struct buf out = new_buf();
            struct op op;
            next_op(&laws, buf_bytes(&row), &seen, tag, &op, &batch);
            laws.count = 0;
            assert_int_equal(op_expand(&op, &batch, 0, on_operand, &laws, &scratch), 0);
            const struct bytes operand = buf_bytes(&laws.rows[0]);
            struct buf next = by_states(buf_bytes(&row), operand, true);
            if (row_plain_fold(buf_bytes(&row), operand, &out) == 1) {
                expect_bytes(buf_bytes(&out), buf_bytes(&next));
                plain += row.len != 0 && row.ptr[0] == ROW_CHUNKED;
                timed += row.len != 0 && row.ptr[0] == ROW_CHUNKED_TTL;
                beside += row.len != 0 && row.ptr[0] == ROW_GENERAL;
            }
            buf_deinit(&out);
            buf_deinit(&row);
            row = next;
            if (pick(&laws, 4) == 0)
                make_simple(&laws, &row);
            struct buf other = without_outline(buf_bytes(&row));
            expect_same_view(buf_bytes(&row), buf_bytes(&other));
            buf_deinit(&other);
            drop_rows(&laws);
            assert_int_equal(vv_raise(&seen, tag), 0);
        }
        buf_deinit(&row);
        buf_deinit(&scratch);
    }
    /* 2,300, 500 and 1,500 as a rule. */
    assert_true(plain > 500);
    assert_true(timed > 100);
    assert_true(beside > 500);
}

/* What a plain op means, part by part. */
static void plain_state(const struct op *op, const struct batch *batch, bool is_key, uint64_t lsn,
                        struct row_state *out)
{
    const bool is_elem_op = op->kind >= OP_ELEM_SET && op->kind <= OP_ELEM_DEL;
    const struct tag tag = batch_tag(batch);

    row_state_init(out);
    if (is_key && is_elem_op) {
        assert_int_equal(row_add_type(out, &(struct row_type){.type = op->type, .tag = tag}), 0);
        if (op->has_count && lsn != 0)
            row_add_count(out, op->count, lsn);
        return;
    }
    if (op->kind == OP_INCR || op->kind == OP_ELEM_INCR) {
        const struct row_run run = {
            .origin = tag.origin, .start = op->start, .hlc = tag.hlc, .isum = op->isum};
        assert_int_equal(row_add_run(out, &run), 0);
        return;
    }
    vv_copy(&out->ctx, &batch->ctx);
    if (op->kind == OP_DEL || op->kind == OP_ELEM_DEL || (op->flags & OP_COVER) != 0)
        vv_copy(&out->rctx, &batch->ctx);
    if (is_key && (op->kind != OP_STRING || tag_eq(op->generation, tag))) {
        vv_copy(&out->clear, &batch->ctx);
        assert_int_equal(vv_raise(&out->clear_by, tag), 0);
    }
    if (op->kind == OP_SET || op->kind == OP_ELEM_SET)
        assert_int_equal(row_add_sib(out, &(struct row_sib){.tag = tag, .value = op->value}), 0);
    if (op->kind == OP_STRING) {
        const struct row_sib sib = {
            .tag = tag, .chunked = true, .generation = op->generation, .len = op->len};
        assert_int_equal(row_add_sib(out, &sib), 0);
    }
    if ((op->kind == OP_SET || op->kind == OP_STRING) && op->expire_at_ms != 0 &&
        op->expire_at_ms != ROW_EXPIRE_NEVER) {
        const struct row_exp exp = {
            .type = VT_STRING, .target = tag, .etag = tag, .at_ms = op->expire_at_ms};
        assert_int_equal(row_add_exp(out, &exp), 0);
    }
}

struct plain_check {
    const struct op *op;
    const struct batch *batch;
    uint64_t lsn;
    unsigned rows;
};

static int on_plain_operand(void *ctx, uint8_t row_kind, struct bytes sub, struct bytes operand)
{
    struct plain_check *check = ctx;
    struct row_state *state = mem_alloc(sizeof(*state));
    struct buf expected = new_buf();

    (void)sub;
    plain_state(check->op, check->batch, row_kind == ROWKEY_KIND_KEY, check->lsn, state);
    assert_int_equal(row_encode(state, &expected), 0);
    expect_bytes(operand, buf_bytes(&expected));
    assert_int_equal(row_check(operand), 0);
    check->rows++;
    buf_deinit(&expected);
    mem_free(state);
    return 0;
}

static void plain_ops_have_the_operands_that_states_have(void **unused)
{
    static struct laws laws;
    struct buf scratch = new_buf();
    struct buf seen = new_buf();
    unsigned plain[OP_KIND_END] = {0};
    struct batch batch;
    struct op op;

    (void)unused;
    laws.chunks = true;
    seed_rng(&laws.rng, 6);
    for (unsigned run = 0; run < 20000; run++) {
        buf_clear(&seen);
        random_op(&laws, &op, &batch, &seen);
        if (pick(&laws, 8) == 0 && op.kind == OP_ELEM_SET)
            op.kind = OP_ELEM_DEL;
        if (pick(&laws, 8) == 0)
            op.expire_at_ms = ROW_EXPIRE_NEVER;
        if (!op_is_plain(&op, &batch))
            continue;
        struct plain_check check = {.op = &op, .batch = &batch, .lsn = pick(&laws, 3)};
        assert_int_equal(op_expand(&op, &batch, check.lsn, on_plain_operand, &check, &scratch), 0);
        assert_true(check.rows == (op.kind == OP_ELEM_SET || op.kind == OP_ELEM_INCR ? 2 : 1));
        plain[op.kind]++;
    }
    assert_true(plain[OP_STRING] != 0);
    assert_true(plain[OP_SET] != 0 && plain[OP_DEL] != 0 && plain[OP_INCR] != 0);
    assert_true(plain[OP_ELEM_SET] != 0 && plain[OP_ELEM_DEL] != 0 && plain[OP_ELEM_INCR] != 0);
    buf_deinit(&scratch);
    buf_deinit(&seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operands_join_in_any_order_and_grouping),
        cmocka_unit_test(seeds_that_failed_once_obey_the_laws),
        cmocka_unit_test(a_setting_whose_target_is_gone_takes_no_other_with_it),
        cmocka_unit_test(clipping_an_element_early_or_late_is_the_same),
        cmocka_unit_test(a_small_set_of_operands_obeys_the_laws_exhaustively),
        cmocka_unit_test(simple_rows_obey_the_laws_exhaustively),
        cmocka_unit_test(poison_absorbs_everything),
        cmocka_unit_test(rows_join_as_bytes_as_they_do_as_states),
        cmocka_unit_test(parts_of_a_string_fold_as_bytes_as_they_do_as_states),
        cmocka_unit_test(rows_are_read_as_bytes_as_they_are_as_states),
        cmocka_unit_test(plain_ops_have_the_operands_that_states_have),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
