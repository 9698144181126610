/*
 * The conflict tables of Redis Enterprise's Active-Active documentation, each as a schedule at real
 * keyspaces, and what follows from the same rules where the documentation says nothing.
 *
 * tests/group/conflict_tables.def has them, and says what a schedule is.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/err.h"

#include "engine/space/coll.h"
#include "engine/space/copyin.h"
#include "engine/space/demote.h"
#include "engine/space/group.h"
#include "engine/space/strval.h"
#include "engine/store/store.h"
#include "engine/store/store_batch.h"
#include "engine/value/op.h"
#include "engine/value/row_chunk.h"
#include "engine/value/rowkey.h"

#include "replication/apply.h"
#include "replication/mutate_impl.h"
#include "replication/oplog.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/prop/prop_group_steps.h"

struct row {
    const char *name;
    unsigned members;
    const char *steps;
};

static const struct row rows[] = {
#define ROW(name, members, steps)       {name, members, steps},
#define MODEL_ROW(name, members, steps) ROW(name, members, steps)
#define SERVER_ROW(name, members, steps)
#include "tests/group/conflict_tables.def"
#undef SERVER_ROW
#undef MODEL_ROW
#undef ROW
};

/* clang-format off */
/* What waits to be collected is forgotten in a crash until it is written again. */
static const struct row waiting_rows[] = {
    {"garbage: what a removal has seen goes when all have it, at the latest", 2,
     "1 HINCRBY f 5; 1 HSET g a; sync; 2 HDEL f; collect; cold; collect; rows 3; sync; collect;"
     "cold; collect; rows 2; ? 5:g=a,"},
};
/* clang-format on */

/* --- schedules --- */

static void expect(struct net *n, unsigned i, const struct ks_key *key, const char *text,
                   const struct row *row)
{
    struct buf out;
    struct prop_member *m = &n->member[i];

    buf_init(&out, UINT32_MAX);
    net_show(m, key, mut_now_ms(m->mut, m->now_ms), &out);
    const struct bytes want = strcmp(text, "-") == 0 ? bytes_of(NULL, 0) : steps_text(text);
    if (!bytes_eq(buf_bytes(&out), want))
        fail_msg("%s: member %u shows \"%.*s\" and not \"%s\"", row->name, i + 1, (int)out.len,
                 (const char *)out.ptr, text);
    buf_deinit(&out);
}

static void expect_rows(struct prop_member *m, const struct row *row, unsigned want)
{
    struct store_iter *it;
    const struct store_iter_options options = {0};
    struct rowkey rk;
    unsigned rows_count = 0;

    assert_int_equal(store_iter_open(m->rig.store, &options, &it), 0);
    for (store_iter_seek(it, bytes_of(NULL, 0)); store_iter_valid(it); store_iter_next(it))
        rows_count += rowkey_parse(store_iter_key(it), &rk) == 0;
    store_iter_close(it);
    if (rows_count != want)
        fail_msg("%s: member %u has %u rows and not %u", row->name, m->origin, rows_count, want);
}

/* Neither keys nor rows of keys are left. */
static void expect_empty(struct prop_member *m, const struct row *row)
{
    if (ks_count(m->ks) != 0 || ks_group_waiting(m->ks) != 0)
        fail_msg("%s: %llu keys are left, %llu wait", row->name,
                 (unsigned long long)ks_count(m->ks), (unsigned long long)ks_group_waiting(m->ks));
    expect_rows(m, row, 0);
}

static void deliver_from(struct net *n, unsigned from, unsigned to)
{
    member_show_all(&n->member[from]);
    for (size_t i = 0; i < n->parcels_count; i++) {
        if (n->parcels[i].from == from)
            (void)net_deliver(n, &n->parcels[i], to);
    }
    member_turn(&n->member[to]);
}

static void all(struct net *n, const char *what)
{
    for (unsigned i = 0; i < n->members; i++) {
        struct prop_member *m = &n->member[i];
        if (strcmp(what, "cold") == 0) {
            steps_cold(m);
        } else if (strcmp(what, "wait") == 0) {
            m->now_ms += 1000;
        } else {
            assert_string_equal(what, "crash");
            member_close(m);
            member_open(m);
        }
    }
}

/* `between`: what every member does after each step, or NULL. */
static void run_row(const struct row *row, const char *between, unsigned loads_small)
{
    static struct net n;
    char steps[1024];
    char *save = NULL;
    bool same = false;
    const struct ks_key key = member_key("k");

    n = (struct net){.loads_small = loads_small};
    net_open(&n, row->members);
    assert_true(strlen(row->steps) < sizeof(steps));
    (void)snprintf(steps, sizeof(steps), "%s", row->steps);
    for (char *step = strtok_r(steps, ";", &save); step != NULL;
         step = strtok_r(NULL, ";", &save)) {
        char *word[STEPS_WORDS_MAX + 1] = {NULL}, *save_word = NULL;
        unsigned count = 0;
        for (char *w = strtok_r(step, " ", &save_word); w != NULL && count < STEPS_WORDS_MAX;
             w = strtok_r(NULL, " ", &save_word))
            word[count++] = w;
        if (count == 0)
            continue;
        const unsigned who = (unsigned)(word[0][0] - '1');
        if (strcmp(word[0], "collect") == 0) {
            net_collect(&n, UINT32_MAX);
        } else if (strcmp(word[0], "empty") == 0) {
            for (unsigned i = 0; i < n.members; i++)
                expect_empty(&n.member[i], row);
        } else if (strcmp(word[0], "rows") == 0) {
            for (unsigned i = 0; i < n.members; i++)
                expect_rows(&n.member[i], row, (unsigned)steps_int(word[1]));
        } else if (word[0][1] == '>') {
            deliver_from(&n, who, (unsigned)(word[0][2] - '1'));
        } else if (strcmp(word[0], "same") == 0) {
            same = true;
        } else if (strcmp(word[0], "sync") == 0) {
            net_deliver_all(&n);
        } else if (strcmp(word[0], "?") == 0) {
            for (unsigned i = 0; i < n.members; i++)
                expect(&n, i, &key, word[1], row);
        } else if (isdigit((unsigned char)word[0][0]) == 0) {
            all(&n, word[0]);
        } else if (word[0][1] == '?') {
            expect(&n, who, &key, word[1], row);
        } else {
            for (unsigned i = 0; i < n.members && !same; i++)
                n.member[i].now_ms += 10;
            same = false;
            steps_commands(&n.member[who], &key, word + 1);
        }
        if (between != NULL)
            all(&n, between);
    }
    net_close(&n);
}

static void run_rows(const struct row *all_rows, size_t count, const char *between, uint64_t stream)
{
    struct rng rng;

    seed_rng(&rng, stream);
    for (size_t i = 0; i < count; i++)
        run_row(&all_rows[i], between, (unsigned)rng_below(&rng, 1u << NET_MEMBERS_MAX));
}

static void tables_hold_for_hot_keys(void **state)
{
    (void)state;
    run_rows(rows, ARRAY_COUNT(rows), NULL, 10);
}

static void tables_hold_for_cold_keys(void **state)
{
    (void)state;
    run_rows(rows, ARRAY_COUNT(rows), "cold", 11);
}

static void tables_hold_through_crashes(void **state)
{
    (void)state;
    run_rows(rows, ARRAY_COUNT(rows), "crash", 12);
}

static void what_waits_to_be_collected_is_looked_at_again(void **state)
{
    (void)state;
    run_rows(waiting_rows, ARRAY_COUNT(waiting_rows), NULL, 13);
    run_rows(waiting_rows, ARRAY_COUNT(waiting_rows), "cold", 14);
}

/* --- what is refused, and what is not read --- */

static void batches_that_make_no_sense_change_nothing(void **state)
{
    static struct net n;
    struct buf copy;
    uint64_t lsn;

    (void)state;
    n = (struct net){0};
    buf_init(&copy, UINT32_MAX);
    net_open(&n, 2);
    steps_send(&n, "SET a");
    steps_send(&n, "SET b");
    member_show_all(&n.member[0]);
    struct mut *to = n.member[1].mut;
    const struct bytes first = buf_bytes(&n.parcels[0].bytes);

    /* The second before the first. */
    assert_int_equal(apply_remote(to, buf_bytes(&n.parcels[1].bytes), &lsn), -ERR_RANGE);
    for (size_t len = 0; len < first.len; len++)
        assert_true(apply_remote(to, bytes_of(first.ptr, len), &lsn) < 0);
    buf_clear(&copy);
    assert_int_equal(buf_append_bytes(&copy, first), 0);
    copy.ptr[BATCH_HEADER_BYTES] = OP_KIND_END;
    assert_int_equal(apply_remote(to, buf_bytes(&copy), &lsn), -ERR_UNSUPPORTED);
    copy.ptr[BATCH_HEADER_BYTES] = OP_RECLAIM;
    assert_true(apply_remote(to, buf_bytes(&copy), &lsn) < 0);
    copy.ptr[0] = 0xf0;
    assert_int_equal(apply_remote(to, buf_bytes(&copy), &lsn), -ERR_FORMAT);
    assert_int_equal(oplog_applied_lsn(n.member[1].log), 0);
    assert_int_equal(n.member[1].changes, 0);

    assert_int_equal(apply_remote(to, first, &lsn), APPLY_DONE);
    assert_int_equal(apply_remote(to, first, &lsn), APPLY_KNOWN);
    assert_int_equal(oplog_applied_lsn(n.member[1].log), 1);
    assert_int_equal(n.member[1].changes, 1);
    /* Its own ones come back. */
    assert_int_equal(apply_remote(n.member[0].mut, first, &lsn), APPLY_KNOWN);
    buf_deinit(&copy);
    net_close(&n);
}

#define PAST_LAST_CHUNK ((uint32_t)(ROW_STRING_BYTES_MAX / ROW_CHUNK_BYTES))
#define GENERATION                            \
    {                                         \
        .hlc = (uint64_t)1 << 20, .origin = 1 \
    }

/* Strings end where ROW_STRING_BYTES_MAX says, wherever what is longer comes from. */
static void ops_that_reach_too_far_are_refused(void **state)
{
    static struct net n;
    static const struct tag generation = GENERATION;
    static uint8_t long_row[ROW_CHUNKED_BYTES], chunk_row[ROW_CHUNK_IMAGE_AT + 1];
    static const uint8_t past_last[ROW_CHUNK_SUB_BYTES] = {0, 0x40, 0, 0};
    const struct bytes chunk =
        bytes_of(chunk_row, row_chunk_store(chunk_row, generation, generation, steps_text("a")));
    const uint64_t bits = 8 * ROW_STRING_BYTES_MAX;
    struct op bad[] = {
        {.kind = OP_STRING, .len = ROW_STRING_BYTES_MAX + 1},
        {.kind = OP_CHUNK, .at = PAST_LAST_CHUNK, .value = steps_text("a")},
        {.kind = OP_CHUNK, .at = UINT32_MAX, .value = steps_text("a")},
        {.kind = OP_BITS, .at = bits, .bits_count = 1},
        {.kind = OP_BITS, .at = bits - 1, .bits_count = 2},
        {.kind = OP_KEY_MERGE,
         .value = bytes_of(long_row, row_chunked_store(long_row, generation, generation,
                                                       ROW_STRING_BYTES_MAX + 1, 0))},
        {.kind = OP_KEY_MERGE, .value = chunk},
        {.kind = OP_ROW_MERGE, .type = ROWKEY_KIND_CHUNK, .value = chunk},
        {.kind = OP_ROW_MERGE, .type = ROWKEY_KIND_HASH, .sub = steps_text("a"), .value = chunk},
        {.kind = OP_ROW_MERGE, .type = ROWKEY_KIND_ZINDEX},
        {.kind = OP_ROW_MERGE,
         .type = ROWKEY_KIND_CHUNK,
         .sub = bytes_of(past_last, sizeof(past_last)),
         .value = chunk},
    };
    struct buf out;
    uint64_t lsn;

    (void)state;
    n = (struct net){0};
    net_open(&n, 2);
    buf_init(&out, UINT32_MAX);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        bad[i].key = steps_text("k");
        bad[i].generation = generation;
        const struct bytes batch = steps_batch(&out, generation, 1, NULL, &bad[i], 1);
        assert_true(apply_remote(n.member[1].mut, batch, &lsn) < 0);
    }
    assert_int_equal(oplog_applied_lsn(n.member[1].log), 0);
    buf_deinit(&out);
    net_close(&n);
}

static void what_ends_where_strings_do_is_taken_and_none_is_made_longer(void **state)
{
    static struct net n;
    static const struct tag generation = GENERATION;
    const uint64_t bits = 8 * ROW_STRING_BYTES_MAX;
    const struct ks_key key = member_key("k");
    const struct op ops[] = {
        {.kind = OP_STRING, .key = key.name, .generation = GENERATION, .len = ROW_STRING_BYTES_MAX},
        {.kind = OP_CHUNK,
         .key = key.name,
         .generation = GENERATION,
         .at = PAST_LAST_CHUNK - 1,
         .value = steps_text("a")},
        {.kind = OP_BITS,
         .key = key.name,
         .generation = GENERATION,
         .at = bits - 2,
         .bits_count = 2,
         .bits = 3},
    };
    struct buf out;
    uint64_t lsn;

    (void)state;
    n = (struct net){0};
    net_open(&n, 2);
    buf_init(&out, UINT32_MAX);
    struct prop_member *to = &n.member[1];
    const struct bytes batch =
        steps_batch(&out, generation, 1, NULL, ops, sizeof(ops) / sizeof(ops[0]));
    assert_int_equal(apply_remote(to->mut, batch, &lsn), APPLY_DONE);
    member_need(to, &key, 1);
    assert_int_equal(strval_len(ks_get(to->ks, &key, 0)), ROW_STRING_BYTES_MAX);
    assert_true(ks_bytes(to->ks) < 2u << 20);
    mut_begin(to->mut, to->now_ms);
    assert_int_equal(mut_string_patch(to->mut, &key, ROW_STRING_BYTES_MAX, steps_text("a"), &lsn),
                     -ERR_LIMIT);
    assert_int_equal(mut_string_bits(to->mut, &key, bits - 1, 2, 0), -ERR_LIMIT);
    assert_int_equal(mut_end(to->mut), 0);
    buf_deinit(&out);
    net_close(&n);
}

static int copy_of(struct keyspace *ks, struct bytes name, struct bytes row)
{
    static struct store_batch batch;

    store_batch_init(&batch, 4096);
    const int err = ks_copy_put(ks, name, row, &batch);
    ks_copy_done(ks, false);
    store_batch_deinit(&batch);
    return err;
}

static void rows_of_a_copy_that_reach_too_far_are_refused(void **state)
{
    static struct net n;
    static uint8_t name[ROWKEY_BYTES_MAX];
    static const struct tag generation = GENERATION;
    uint8_t row[ROW_CHUNKED_BYTES];
    uint8_t sub[ROW_CHUNK_SUB_BYTES];
    const struct ks_key key = member_key("k");

    (void)state;
    n = (struct net){0};
    net_open(&n, 1);
    struct keyspace *ks = n.member[0].ks;
    const struct bytes at = bytes_of(name, rowkey_store_key(name, key.slot, key.hash, key.name));
    for (unsigned i = 0; i < 4; i++) {
        const size_t len =
            row_chunked_store(row, generation, generation, ROW_STRING_BYTES_MAX + i % 2, i / 2);
        row[0] = i < 2 ? ROW_CHUNKED : ROW_CHUNKED_TTL;
        assert_int_equal(copy_of(ks, at, bytes_of(row, len)), i % 2 == 0 ? 0 : -ERR_LIMIT);
    }
    const struct bytes chunk =
        bytes_of(row, row_chunk_store(row, generation, generation, steps_text("a")));
    assert_int_equal(copy_of(ks, at, chunk), -ERR_CORRUPT);
    for (unsigned more = 0; more < 2; more++) {
        be32_store(sub, PAST_LAST_CHUNK - 1 + more);
        const size_t len = rowkey_store_elem(name, key.slot, key.hash, key.name, ROWKEY_KIND_CHUNK,
                                             bytes_of(sub, sizeof(sub)));
        assert_int_equal(copy_of(ks, bytes_of(name, len), chunk), more == 0 ? 0 : -ERR_LIMIT);
    }
    net_close(&n);
}

/* A peer decides how large a copy's rows are: what there is no room for is refused, and no more. */
static void a_row_of_a_copy_that_has_no_room_is_refused(void **state)
{
    static struct net n;
    static const uint8_t value[200];
    static uint8_t name[ROWKEY_BYTES_MAX];
    static struct store_batch batch;
    uint8_t row[256];
    const struct ks_key key = member_key("k");

    (void)state;
    n = (struct net){0};
    net_open(&n, 1);
    struct keyspace *ks = n.member[0].ks;
    const size_t row_len =
        row_value_store(row, tag_of(hlc_make(1, 0), 1), bytes_of(value, sizeof(value)), 2000000);
    const struct bytes at = bytes_of(name, rowkey_store_key(name, key.slot, key.hash, key.name));

    for (size_t room = 16;; room += 16) {
        store_batch_init(&batch, room);
        const int err = ks_copy_put(ks, at, bytes_of(row, row_len), &batch);
        ks_copy_done(ks, false);
        store_batch_deinit(&batch);
        if (err == 0)
            break;
        assert_true(err == -ENOMEM || err == -ERR_LIMIT);
        assert_true(room < 1024);
    }
    net_close(&n);
}

/* A member that lost its disk hears of its own batches, and goes on behind them. */
static void own_batches_that_were_lost_come_back(void **state)
{
    static struct net n;
    struct ks_key key = member_key("k");
    struct buf out;
    uint64_t lsn;

    (void)state;
    n = (struct net){0};
    buf_init(&out, UINT32_MAX);
    net_open(&n, 2);
    steps_send(&n, "INCRBY 5");
    steps_send(&n, "INCRBY 2");
    net_deliver_all(&n);
    member_close(&n.member[0]);
    member_destroy(&n.member[0]);
    member_create(&n.member[0], 1);
    n.member[0].on_record = NULL;
    member_open(&n.member[0]);
    for (size_t i = 0; i < n.parcels_count; i++)
        assert_int_equal(apply_remote(n.member[0].mut, buf_bytes(&n.parcels[i].bytes), &lsn),
                         APPLY_DONE);
    steps_send(&n, "INCRBY 100");
    assert_int_equal(vv_get(apply_seqs(n.member[0].mut), 1), 3);
    net_show(&n.member[0], &key, n.member[0].now_ms, &out);
    assert_true(bytes_eq(buf_bytes(&out), steps_text("1:107,")));
    buf_deinit(&out);
    net_close(&n);
}

/* Every kind of op, at keys that are on flash only. */
static void remote_ops_on_cold_keys_read_nothing_and_promote_nothing(void **state)
{
    static struct net n;
    static const char *const ops[] = {"SET a",    "EXPIRE 2000000", "SET 5",       "INCRBY 3",
                                      "DEL",      "SADD a",         "SADD b",      "SREM a",
                                      "DEL",      "ZADD 1 x",       "ZINCRBY 2 x", "ZREM x",
                                      "HSET f a", "HINCRBY g 2",    "HDEL f",      "DEL",
                                      "RPUSH a",  "LPUSH b",        "LSET 0 c",    "RPOP"};

    (void)state;
    n = (struct net){0};
    net_open(&n, 2);
    struct prop_member *to = &n.member[1];
    const uint64_t empty = ks_group_overlay_bytes(to->ks);
    for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        steps_send(&n, ops[i]);
        const uint64_t reads = ks_metrics(to->ks)->row_reads;
        net_deliver_all(&n);
        assert_int_equal(ks_metrics(to->ks)->row_reads, reads);
        assert_int_equal(ks_group_metrics(to->ks)->loads, 0);
        assert_int_equal(ks_metrics(to->ks)->promotions, 0);
        assert_int_equal(ks_count_hot(to->ks), 0);
        member_write_back(to, 1u << 20);
        member_idle(to);
        assert_true(ks_group_overlay_bytes(to->ks) <= empty + 1024);
    }
    assert_int_equal(ks_group_metrics(to->ks)->operands_hot, 0);
    const struct ks_key key = member_key("k");
    member_settle(to);
    assert_int_equal(ks_count(to->ks), 1);
    struct buf out;
    buf_init(&out, UINT32_MAX);
    net_show(to, &key, to->now_ms, &out);
    assert_true(bytes_eq(buf_bytes(&out), steps_text("2:c,")));
    buf_deinit(&out);
    net_close(&n);
}

/* --- cold keys that are written as a whole --- */

/* Of keys that are written as a whole: what may be loaded is less than a slice. */
static void a_key_of_large_rows_is_written_over(void **state)
{
    static struct net n;
    static const char *const values[] = {"HSET f a", "SET a", "RPUSH a"};
    static const char *const writes[] = {"DEL", "SET b"};

    (void)state;
    for (unsigned loads_small = 0; loads_small < 2; loads_small++) {
        n = (struct net){.loads_small = loads_small};
        net_open(&n, 1);
        struct prop_member *m = &n.member[0];
        for (size_t i = 0; i < ARRAY_COUNT(values) * ARRAY_COUNT(writes); i++) {
            steps_send(&n, values[i / 2]);
            steps_cold(m);
            ks_set_scan_bytes_max(m->ks, 1);
            steps_send(&n, writes[i % 2]);
            assert_int_equal(ks_count(m->ks), i % 2);
            ks_set_scan_bytes_max(m->ks, UINT64_MAX);
            steps_send(&n, "DEL");
        }
        net_close(&n);
    }
}

/* What was known for a command does not stay when that has run, whatever the key has become. */
static void what_is_known_of_a_cold_key_does_not_stay(void **state)
{
    static struct net n;
    const struct ks_key key = member_key("k");
    char *set[] = {(char[]){"SET"}, (char[]){"s"}, NULL};

    (void)state;
    n = (struct net){0};
    net_open(&n, 2);
    struct prop_member *to = &n.member[1];
    const uint64_t empty = ks_group_overlay_bytes(to->ks);
    steps_send(&n, "HSET f a");
    net_deliver_all(&n);
    steps_cold(to);
    steps_send(&n, "HSET g b");
    net_deliver_all(&n);
    to->now_ms += 20;
    steps_commands(to, &key, set);
    assert_int_equal(ks_group_metrics(to->ks)->raised, 1);
    /* It is taken apart while what was above is still to be written. */
    n.member[0].now_ms += 1000;
    steps_send(&n, "HSET h c");
    net_deliver_all(&n);
    assert_int_equal(ks_group_metrics(to->ks)->taken_apart, 1);
    member_write_back(to, 1u << 20);
    member_idle(to);
    assert_int_equal(ks_group_overlay_bytes(to->ks), empty);
    net_close(&n);
}

/* What a DEL leaves of a hash. */
static void leave_garbage(struct net *n, unsigned fields)
{
    struct prop_member *m = &n->member[0];
    const struct ks_key key = member_key("k");
    char name[16];

    mut_begin(m->mut, m->now_ms);
    struct coll *coll = mut_coll(m->mut, &key, VT_HASH);
    for (unsigned i = 0; i < fields; i++) {
        (void)snprintf(name, sizeof(name), "f%u", i);
        (void)mut_elem_set(m->mut, coll, steps_text(name), steps_text("v"));
    }
    (void)mut_end(m->mut);
    steps_cold(m);
    steps_send(n, "DEL");
    steps_cold(m);
}

/* What waits for the store holds up the sweeping of large keys, and nothing else. */
static void a_sweep_that_waits_holds_up_no_other(void **state)
{
    static struct net n;
    static uint8_t value[600u << 10];
    const struct ks_key absent = member_key("absent");
    struct vv stable;

    (void)state;
    n = (struct net){0};
    net_open(&n, 2);
    struct prop_member *m = &n.member[0], *from = &n.member[1];
    const struct ks_group_metrics *metrics = ks_group_metrics(m->ks);
    leave_garbage(&n, 2000);
    net_deliver_all(&n);
    member_cover(m, &stable);
    const struct row_horizons h = {.stable = &stable};
    ks_group_set_horizons(m->ks, &h);
    while (metrics->rows_swept == 0) {
        (void)ks_group_collect_some(m->ks, 1);
        member_turn(m);
    }
    const uint64_t waiting = ks_group_waiting(m->ks);
    for (unsigned i = 0; i < 9; i++) {
        const struct ks_key key = member_key((char[]){'b', (char)('0' + i), 0});
        mut_begin(from->mut, from->now_ms);
        struct coll *coll = mut_coll(from->mut, &key, VT_HASH);
        (void)mut_elem_set(from->mut, coll, steps_text("f"), bytes_of(value, sizeof(value)));
        (void)mut_end(from->mut);
        net_deliver_all(&n);
    }
    assert_true(ks_group_overlay_bytes(m->ks) > 4u << 20);
    const uint64_t swept = metrics->rows_swept;
    assert_true(ks_group_collect_key(m->ks, &absent));
    ks_group_set_horizons(m->ks, &h);
    assert_true(ks_group_collect_some(m->ks, 16));
    member_idle(m);
    assert_int_equal(ks_group_waiting(m->ks), waiting);
    assert_int_equal(metrics->rows_swept, swept);
    while (metrics->rows_swept < 2000) {
        member_write_back(m, 64u << 20);
        member_idle(m);
        (void)ks_group_collect_some(m->ks, 16);
        member_idle(m);
    }
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_of_large_rows_is_written_over),
        cmocka_unit_test(what_is_known_of_a_cold_key_does_not_stay),
        cmocka_unit_test(a_sweep_that_waits_holds_up_no_other),
        cmocka_unit_test(a_row_of_a_copy_that_has_no_room_is_refused),
        cmocka_unit_test(tables_hold_for_hot_keys),
        cmocka_unit_test(tables_hold_for_cold_keys),
        cmocka_unit_test(tables_hold_through_crashes),
        cmocka_unit_test(what_waits_to_be_collected_is_looked_at_again),
        cmocka_unit_test(batches_that_make_no_sense_change_nothing),
        cmocka_unit_test(ops_that_reach_too_far_are_refused),
        cmocka_unit_test(what_ends_where_strings_do_is_taken_and_none_is_made_longer),
        cmocka_unit_test(rows_of_a_copy_that_reach_too_far_are_refused),
        cmocka_unit_test(own_batches_that_were_lost_come_back),
        cmocka_unit_test(remote_ops_on_cold_keys_read_nothing_and_promote_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
