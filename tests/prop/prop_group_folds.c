/*
 * Strings in chunks at real keyspaces, written bit by bit by others: bits are folded and dead
 * generations go, hot and cold, through crashes and slices, and what shows stays the same.
 *
 * The batches come from writers that are no members, and are built by hand.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/mem.h"

#include "engine/space/coll.h"
#include "engine/space/demote.h"
#include "engine/space/group.h"
#include "engine/store/store.h"
#include "engine/value/op.h"
#include "engine/value/row_chunk.h"
#include "engine/value/rowkey.h"

#include "replication/apply.h"
#include "replication/mutate.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/prop/prop_group_net.h"

#define MEMBERS     2
#define WRITERS     2
#define ORIGIN      5 /* Of the first writer. */
#define BATCHES_MAX 4096
#define BYTES_MAX   (64u << 10)
#define LONG        (ROW_INLINE_BYTES_MAX + 100)

struct writer {
    struct vv seen;
    uint64_t seq;
};

struct world {
    struct net n;
    struct ks_key key;
    struct writer writer[WRITERS];
    uint64_t hlc;
    struct tag generation;
    uint64_t len;
    struct buf batch[BATCHES_MAX];
    unsigned count;
    unsigned at[MEMBERS]; /* Batches that were applied. */
    /* For the batch that is being built. */
    struct tag tag;
    uint32_t nops;
    uint8_t bytes[BYTES_MAX]; /* What it is to be, as long as writers have seen each other. */
};

static void open_world(struct world *w)
{
    memset(w, 0, sizeof(*w));
    net_open(&w->n, MEMBERS);
    w->key = member_key("k");
    w->hlc = hlc_make(w->n.member[0].now_ms, 0);
}

static void close_world(struct world *w)
{
    net_close(&w->n);
    for (unsigned i = 0; i < w->count; i++)
        buf_deinit(&w->batch[i]);
}

/* --- writers --- */

static void begin(struct world *w, unsigned who)
{
    struct writer *from = &w->writer[who];
    struct buf *out = &w->batch[w->count];

    assert_true(w->count < BATCHES_MAX);
    buf_init(out, UINT32_MAX);
    w->tag = tag_of(++w->hlc, (uint8_t)(ORIGIN + who));
    w->nops = 0;
    assert_int_equal(buf_reserve(out, BATCH_HEADER_BYTES_MAX), 0);
    buf_commit(out, batch_header_store(buf_end(out), w->tag, ++from->seq, 0, &from->seen));
}

static void add(struct world *w, struct op op)
{
    struct buf *out = &w->batch[w->count];

    op.key = BYTES_LIT("k");
    assert_int_equal(buf_reserve(out, op_size(&op)), 0);
    buf_commit(out, op_store(buf_end(out), &op, w->tag.hlc));
    w->nops++;
}

/* `alone`: the other writer does not hear of it yet. */
static void end(struct world *w, bool alone)
{
    batch_header_set_nops(w->batch[w->count].ptr, w->nops);
    w->count++;
    for (unsigned i = 0; i < WRITERS; i++) {
        if (!alone || i == (unsigned)(w->tag.origin - ORIGIN))
            assert_int_equal(vv_raise(&w->writer[i].seen, w->tag), 0);
    }
}

static void add_string(struct world *w)
{
    add(w, (struct op){.kind = OP_STRING, .generation = w->generation, .len = w->len});
}

static void add_bits(struct world *w, uint64_t first, uint8_t count, uint64_t value)
{
    w->len = u64_max(w->len, (first + count + 7) / 8);
    add(w, (struct op){.kind = OP_BITS,
                       .generation = w->generation,
                       .at = first,
                       .bits_count = count,
                       .bits = value});
    if (first + count <= 8 * (uint64_t)BYTES_MAX)
        row_chunk_put_bits(w->bytes, (struct row_chunk_bits){
                                         .first = (uint32_t)first, .count = count, .value = value});
}

static void set(struct world *w, unsigned who, uint64_t len, uint8_t byte, bool alone)
{
    begin(w, who);
    memset(w->bytes, 0, sizeof(w->bytes));
    memset(w->bytes, byte, len);
    w->generation = w->tag;
    w->len = len;
    add(w, (struct op){.kind = OP_SET, .value = bytes_of(w->bytes, len)});
    end(w, alone);
}

static void bits(struct world *w, unsigned who, uint64_t first, uint8_t count, uint64_t value)
{
    begin(w, who);
    w->len = u64_max(w->len, (first + count + 7) / 8);
    add_string(w);
    add_bits(w, first, count, value);
    end(w, false);
}

static void del(struct world *w, unsigned who)
{
    begin(w, who);
    add(w, (struct op){.kind = OP_DEL});
    w->len = 0;
    end(w, false);
}

/* A whole chunk, of one byte. */
static void image(struct world *w, unsigned who, uint64_t chunk, uint8_t byte)
{
    const uint64_t at = chunk * ROW_CHUNK_BYTES;

    begin(w, who);
    w->len = u64_max(w->len, at + ROW_CHUNK_BYTES);
    memset(w->bytes + at, byte, ROW_CHUNK_BYTES);
    add_string(w);
    add(w, (struct op){.kind = OP_CHUNK,
                       .generation = w->generation,
                       .at = chunk,
                       .value = bytes_of(w->bytes + at, ROW_CHUNK_BYTES)});
    end(w, false);
}

/* --- members --- */

static void deliver(struct world *w, unsigned to, unsigned count)
{
    struct prop_member *m = &w->n.member[to];
    uint64_t lsn;

    for (; count != 0 && w->at[to] < w->count; count--) {
        assert_int_equal(apply_remote(m->mut, buf_bytes(&w->batch[w->at[to]++]), &lsn), APPLY_DONE);
        member_turn(m);
    }
}

static void deliver_all(struct world *w)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        deliver(w, i, UINT32_MAX);
}

static void cold(struct world *w, unsigned who)
{
    struct prop_member *m = &w->n.member[who];

    do {
        member_write_back(m, 1u << 20);
        member_idle(m);
        member_demote(m);
    } while (ks_count_hot(m->ks) != 0);
}

static void all_cold(struct world *w)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        cold(w, i);
}

static void all_hot(struct world *w)
{
    for (unsigned i = 0; i < MEMBERS; i++)
        member_need(&w->n.member[i], &w->key, 1);
}

static void crash(struct world *w, unsigned who)
{
    member_close(&w->n.member[who]);
    member_open(&w->n.member[who]);
}

static void collect(struct world *w)
{
    net_collect(&w->n, UINT32_MAX);
}

/* --- what there is --- */

/* What the members show; makes the key hot. */
static void expect_bytes_shown(struct world *w)
{
    struct buf out;

    buf_init(&out, UINT32_MAX);
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct prop_member *m = &w->n.member[i];
        net_show(m, &w->key, mut_now_ms(m->mut, m->now_ms), &out);
        assert_int_equal(out.len, w->len == 0 ? 0 : 2 + w->len + 1);
        if (w->len == 0)
            continue;
        assert_memory_equal(out.ptr + 2, w->bytes, w->len);
    }
    buf_deinit(&out);
}

struct found {
    unsigned images;
    unsigned waiting; /* With bits, or several generations. */
    unsigned others;  /* Images of another generation than the one that shows. */
    bool general;     /* The key row. */
};

static void look_at_row(const struct world *w, struct store_iter *it, struct found *out)
{
    struct rowkey rk;
    struct bytes row;

    if (rowkey_parse(store_iter_key(it), &rk) != 0 || store_iter_row(it, &row) != STORE_FOUND)
        return;
    if (rk.kind == ROWKEY_KIND_KEY)
        out->general = row.ptr[0] == ROW_GENERAL;
    else if (row.ptr[0] == ROW_CHUNKS)
        out->waiting++;
    else if (tag_eq(tag_load(row.ptr + 1), w->generation))
        out->images++;
    else
        out->others++;
}

/* In the store of a member. */
static struct found look(const struct world *w, unsigned who)
{
    const struct store_iter_options options = {0};
    struct found found = {0};
    struct store_iter *it;

    assert_int_equal(store_iter_open(w->n.member[who].rig.store, &options, &it), 0);
    for (store_iter_seek(it, bytes_of(NULL, 0)); store_iter_valid(it); store_iter_next(it))
        look_at_row(w, it, &found);
    store_iter_close(it);
    return found;
}

static void expect_folded(const struct world *w)
{
    for (unsigned i = 0; i < MEMBERS; i++) {
        const struct found found = look(w, i);

        assert_int_equal(found.waiting, 0);
        assert_int_equal(found.others, 0);
        assert_false(found.general);
        assert_true(found.images <= chunks_count(w->len));
        assert_int_equal(ks_group_metrics(w->n.member[i].ks)->poisoned_rows, 0);
    }
}

/* --- tests --- */

static void some_bits(struct world *w)
{
    set(w, 0, LONG, 'a', false);
    bits(w, 0, 7, 1, 0);
    bits(w, 1, 8190, 4, 9);
    bits(w, 1, 7, 2, 3);
    bits(w, 0, (uint64_t)8 * 30000, 1, 1); /* A chunk without an image. */
    image(w, 0, 3, 'b');
    bits(w, 1, (uint64_t)3 * ROW_CHUNK_BITS + 10, 64, 0x123456789abcdef0);
}

static void bits_of_hot_strings_fold_when_all_have_them(void **state)
{
    static struct world w;

    (void)state;
    open_world(&w);
    some_bits(&w);
    deliver(&w, 0, UINT32_MAX);
    deliver(&w, 1, 1);
    all_hot(&w);
    collect(&w);
    assert_int_equal(look(&w, 0).waiting, 4);
    deliver_all(&w);
    expect_bytes_shown(&w);
    collect(&w);
    assert_int_equal(look(&w, 0).waiting + look(&w, 1).waiting, 0);
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct prop_member *m = &w.n.member[i];
        assert_null(obj_coll(ks_get(m->ks, &w.key, m->now_ms))->folds);
        assert_true(ks_group_metrics(m->ks)->rows_collected >= 4);
    }
    expect_bytes_shown(&w);
    all_cold(&w);
    collect(&w); /* The clear vector of the SET. */
    expect_folded(&w);
    assert_int_equal(ks_group_waiting(w.n.member[0].ks), 0);
    expect_bytes_shown(&w);
    close_world(&w);
}

static void bits_of_cold_strings_fold_when_all_have_them(void **state)
{
    static struct world w;

    (void)state;
    open_world(&w);
    some_bits(&w);
    deliver(&w, 0, UINT32_MAX);
    deliver(&w, 1, 1);
    collect(&w);
    assert_int_equal(look(&w, 0).waiting, 4);
    deliver_all(&w);
    collect(&w);
    for (unsigned i = 0; i < MEMBERS; i++) {
        assert_int_equal(ks_count_hot(w.n.member[i].ks), 0);
        assert_int_equal(ks_group_metrics(w.n.member[i].ks)->loads, 0);
        assert_int_equal(ks_group_waiting(w.n.member[i].ks), 0);
    }
    expect_folded(&w);
    expect_bytes_shown(&w);
    close_world(&w);
}

/* What waits is forgotten in a crash, and found again by the next who loads the key. */
static void bits_fold_after_a_crash(void **state)
{
    static struct world w;

    (void)state;
    open_world(&w);
    some_bits(&w);
    deliver(&w, 0, UINT32_MAX);
    deliver(&w, 1, 1);
    collect(&w);
    deliver_all(&w);
    for (unsigned i = 0; i < MEMBERS; i++) {
        cold(&w, i);
        member_persist(&w.n.member[i]);
        crash(&w, i);
        assert_int_equal(look(&w, i).waiting, 4);
    }
    collect(&w);
    expect_bytes_shown(&w);
    collect(&w);
    for (unsigned i = 0; i < MEMBERS; i++)
        assert_int_equal(look(&w, i).waiting, 0);
    expect_bytes_shown(&w);
    close_world(&w);
}

/* Two SETs of which none has seen the other: no clear vector covers the one that loses. */
static void two_at_once(struct world *w, bool hot)
{
    open_world(w);
    set(w, 0, LONG + 5000, 'a', true);
    set(w, 1, LONG, 'b', true);
    deliver_all(w);
    for (unsigned i = 0; i < WRITERS; i++)
        assert_int_equal(
            vv_raise(&w->writer[1 - i].seen, tag_of(w->hlc - 1 + i, (uint8_t)(ORIGIN + i))), 0);
    bits(w, 0, 100, 8, 255);
    if (hot)
        all_hot(w);
    deliver(w, 0, UINT32_MAX);
    collect(w);
    deliver_all(w);
    if (hot)
        expect_bytes_shown(w);
    collect(w);
    if (hot)
        assert_int_equal(look(w, 0).waiting + look(w, 0).others, 0);
    all_cold(w);
    collect(w);
    expect_folded(w);
    assert_int_equal(ks_group_waiting(w->n.member[0].ks), 0);
    assert_int_equal(look(w, 0).images, chunks_count(LONG));
    expect_bytes_shown(w);
    close_world(w);
}

static void generations_that_lost_go(void **state)
{
    static struct world w;

    (void)state;
    two_at_once(&w, false);
    two_at_once(&w, true);
}

/* A string of `chunks` chunks with a bit in each. */
static void sparse(struct world *w, unsigned chunks)
{
    for (uint64_t i = 0; i < chunks; i += 50) {
        begin(w, 0);
        w->len = u64_max(w->len, (i + 50) * ROW_CHUNK_BYTES);
        add_string(w);
        for (uint64_t c = i; c < i + 50; c++)
            add_bits(w, (c + 1) * ROW_CHUNK_BITS - 1, 1, 1);
        end(w, false);
    }
}

/* A cold string that is more than may be loaded. */
static void open_large(struct world *w)
{
    open_world(w);
    for (unsigned i = 0; i < MEMBERS; i++)
        ks_set_scan_bytes_max(w->n.member[i].ks, 10000);
    set(w, 0, LONG, 'a', false);
    sparse(w, 2000);
    deliver_all(w);
    all_cold(w);
}

/* More than may be loaded, and several slices. */
static void large_cold_strings_are_swept_in_slices(void **state)
{
    static struct world w;

    (void)state;
    open_large(&w);
    assert_int_equal(look(&w, 0).waiting, 2000);
    collect(&w);
    expect_folded(&w);
    assert_int_equal(look(&w, 0).images, 2000);
    /* Now it is 2 MB. */
    bits(&w, 1, 5, 1, 1);
    bits(&w, 1, (uint64_t)1999 * ROW_CHUNK_BITS + 5, 1, 1);
    deliver_all(&w);
    const uint64_t reads = ks_metrics(w.n.member[0].ks)->row_reads;
    collect(&w);
    expect_folded(&w);
    assert_true(ks_metrics(w.n.member[0].ks)->row_reads >= reads + 4);
    for (unsigned i = 0; i < MEMBERS; i++) {
        assert_int_equal(ks_group_waiting(w.n.member[i].ks), 0);
        assert_int_equal(ks_group_metrics(w.n.member[i].ks)->loads, 0);
        ks_set_scan_bytes_max(w.n.member[i].ks, 100u << 20);
    }
    all_hot(&w);
    const struct obj *obj = ks_get(w.n.member[0].ks, &w.key, w.n.member[0].now_ms);
    const struct chunks *chunks = &obj_coll(obj)->chunks;
    assert_int_equal(chunks_run(chunks, 0, 1).ptr[0], 'a' | 4);
    assert_int_equal(chunks_run(chunks, (uint64_t)1999 * ROW_CHUNK_BYTES, 1).ptr[0], 4);
    for (uint64_t i = 1; i <= 2000; i++)
        assert_int_equal(chunks_run(chunks, i * ROW_CHUNK_BYTES - 1, 1).ptr[0] & 1, 1);
    close_world(&w);
}

/* Nothing shows, but it is as large. */
static void what_a_del_left_is_swept_in_slices(void **state)
{
    static struct world w;

    (void)state;
    open_large(&w);
    collect(&w);
    del(&w, 1);
    deliver_all(&w);
    all_cold(&w);
    collect(&w);
    for (unsigned i = 0; i < MEMBERS; i++) {
        const struct found found = look(&w, i);

        assert_int_equal(found.images + found.waiting + found.others, 0);
        assert_int_equal(ks_group_waiting(w.n.member[i].ks), 0);
    }
    close_world(&w);
}

/* However far behind the end of what shows they are. */
static void bits_of_a_generation_that_lost_make_no_chunk(void **state)
{
    const uint32_t far = 100000;
    static struct world w;

    (void)state;
    open_world(&w);
    set(&w, 0, LONG, 'a', true);
    const struct tag lost = w.generation;
    set(&w, 1, LONG, 'b', true);
    deliver_all(&w);
    all_hot(&w);
    begin(&w, 0);
    add(&w, (struct op){.kind = OP_BITS,
                        .generation = lost,
                        .at = (uint64_t)far * ROW_CHUNK_BITS,
                        .bits_count = 1,
                        .bits = 1});
    end(&w, true);
    deliver_all(&w);
    for (unsigned i = 0; i < MEMBERS; i++) {
        const struct obj *obj = ks_get(w.n.member[i].ks, &w.key, w.n.member[i].now_ms);
        assert_false(chunks_known(&obj_coll(obj)->chunks, far));
    }
    close_world(&w);
}

static void a_call_does_a_bounded_part_of_a_large_string(void **state)
{
    static struct world w;
    struct vv stable;

    (void)state;
    open_world(&w);
    set(&w, 0, LONG, 'a', false);
    deliver_all(&w);
    all_hot(&w);
    sparse(&w, 1000);
    deliver_all(&w);
    struct prop_member *m = &w.n.member[0];
    member_cover(m, &stable);
    const struct row_horizons h = {.stable = &stable};
    ks_group_set_horizons(m->ks, &h);
    uint64_t before = ks_group_metrics(m->ks)->rows_collected;
    unsigned calls = 0;
    for (bool more = true; more; calls++) {
        more = ks_group_collect_some(m->ks, 16);
        const uint64_t now = ks_group_metrics(m->ks)->rows_collected;
        assert_true(now - before <= 257);
        before = now;
    }
    assert_true(calls >= 4);
    assert_null(obj_coll(ks_get(m->ks, &w.key, m->now_ms))->folds);
    close_world(&w);
}

/* --- at random --- */

static void write_random(struct world *w, struct rng *rng)
{
    const unsigned who = (unsigned)rng_below(rng, WRITERS);
    const unsigned what = (unsigned)rng_below(rng, 100);
    const unsigned count = 1 + (unsigned)rng_below(rng, 64);

    if (w->len != 0 && what < 2)
        del(w, who);
    else if (what < 4)
        set(w, who, 1 + rng_below(rng, 2000), (uint8_t)rng_u64(rng), false);
    else if (w->len <= ROW_INLINE_BYTES_MAX || what < 8)
        set(w, who, LONG + rng_below(rng, 10000), (uint8_t)rng_u64(rng), false);
    else if (what < 15)
        image(w, who, rng_below(rng, BYTES_MAX / ROW_CHUNK_BYTES), (uint8_t)rng_u64(rng));
    else
        bits(w, who,
             rng_below(rng, 2) == 0 ? ROW_CHUNK_BITS - 32 + rng_below(rng, 40)
                                    : rng_below(rng, 8 * BYTES_MAX - 64),
             (uint8_t)count, rng_u64(rng) >> (64 - count));
}

static void happen(struct world *w, struct rng *rng)
{
    const unsigned who = (unsigned)rng_below(rng, MEMBERS);
    struct prop_member *m = &w->n.member[who];

    switch (rng_below(rng, 16)) {
    case 0:
        collect(w);
        break;
    case 1:
        cold(w, who);
        break;
    case 2:
        member_need(m, &w->key, 1);
        break;
    case 3:
        crash(w, who);
        break;
    case 4:
        member_write_back(m, 1u << (10 + rng_below(rng, 8)));
        break;
    case 5:
        member_persist(m);
        break;
    case 6:
    case 7:
    case 8:
        deliver(w, who, (unsigned)rng_below(rng, 10));
        break;
    default:
        write_random(w, rng);
        break;
    }
}

static void what_shows_stays_the_same(void **state)
{
    static struct world w;
    const uint64_t runs = seed_number("TIERRA_PROP_RUNS", 10);
    struct rng rng;

    (void)state;
    seed_rng(&rng, 1);
    for (uint64_t run = 0; run < runs; run++) {
        open_world(&w);
        write_random(&w, &rng);
        for (unsigned i = 0; i < 200; i++)
            happen(&w, &rng);
        deliver_all(&w);
        expect_bytes_shown(&w);
        /* What is forgotten in a crash is found when it is loaded. */
        for (unsigned i = 0; i < 2; i++) {
            collect(&w);
            expect_bytes_shown(&w);
        }
        /* What a short string has under its clear vector is swept when it is cold. */
        all_cold(&w);
        collect(&w);
        for (unsigned i = 0; i < MEMBERS; i++)
            assert_int_equal(look(&w, i).waiting + look(&w, i).others, 0);
        expect_bytes_shown(&w);
        close_world(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_of_hot_strings_fold_when_all_have_them),
        cmocka_unit_test(bits_of_cold_strings_fold_when_all_have_them),
        cmocka_unit_test(bits_fold_after_a_crash),
        cmocka_unit_test(generations_that_lost_go),
        cmocka_unit_test(large_cold_strings_are_swept_in_slices),
        cmocka_unit_test(what_a_del_left_is_swept_in_slices),
        cmocka_unit_test(bits_of_a_generation_that_lost_make_no_chunk),
        cmocka_unit_test(a_call_does_a_bounded_part_of_a_large_string),
        cmocka_unit_test(what_shows_stays_the_same),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
