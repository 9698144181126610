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
#include "engine/base/num.h"

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
#include "tests/prop/prop_group_net.h"

#define WORDS_MAX 20

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

/* --- commands --- */

static struct bytes text_of(const char *word)
{
    return bytes_of(word, strlen(word));
}

static int64_t int_of(const char *word)
{
    int64_t value;

    assert_true(num_parse_i64(text_of(word), &value));
    return value;
}

static void elem_command(struct prop_member *m, const struct ks_key *key, char **word)
{
    uint8_t score[ROW_SCORE_BYTES];
    int64_t i;
    long double f;
    const char *cmd = word[0];
    const uint8_t type = cmd[0] == 'H' ? VT_HASH : cmd[0] == 'S' ? VT_SET : VT_ZSET;
    struct coll *coll = mut_coll(m->mut, key, type);

    assert_non_null(coll);
    if (strcmp(cmd, "HSET") == 0) {
        (void)mut_elem_set(m->mut, coll, text_of(word[1]), text_of(word[2]));
    } else if (strcmp(cmd, "HINCRBY") == 0) {
        assert_int_equal(mut_elem_incr(m->mut, coll, text_of(word[1]), int_of(word[2]), &i), 0);
    } else if (strcmp(cmd, "SADD") == 0) {
        (void)mut_elem_set(m->mut, coll, text_of(word[1]), bytes_of(NULL, 0));
    } else if (strcmp(cmd, "ZADD") == 0) {
        row_score_store(score, strtod(word[1], NULL));
        (void)mut_elem_set(m->mut, coll, text_of(word[2]), bytes_of(score, sizeof(score)));
    } else if (strcmp(cmd, "ZINCRBY") == 0) {
        assert_int_equal(
            mut_elem_incr_float(m->mut, coll, text_of(word[2]), strtold(word[1], NULL), &f), 0);
    } else if (coll_find(coll, text_of(word[1])) != NULL) {
        (void)mut_elem_del(m->mut, coll, text_of(word[1])); /* HDEL, SREM, ZREM */
    }
}

static void list_command(struct prop_member *m, const struct ks_key *key, char **word)
{
    struct listq_at at;
    const char *cmd = word[0];
    struct coll *coll = mut_coll(m->mut, key, VT_LIST);

    assert_non_null(coll);
    if (strcmp(cmd, "LSET") == 0) {
        coll_list_at(coll, strtoull(word[1], NULL, 10), &at);
        mut_list_set(m->mut, coll, &at, text_of(word[2]));
    } else if (strcmp(cmd, "LINSERT") == 0) {
        struct row_view view;
        for (listq_first(&coll->seq, &at); listq_valid(&at); listq_next(&coll->seq, &at)) {
            assert_int_equal(row_view(at.row, 0, &view), 0);
            if (bytes_eq(view.value, text_of(word[1])))
                break;
        }
        assert_int_equal(mut_list_insert(m->mut, coll, &at, false, text_of(word[2])), 0);
    } else if (strcmp(cmd + 1, "PUSH") == 0) {
        mut_list_push(m->mut, coll, text_of(word[1]), cmd[0] == 'L');
    } else {
        assert_string_equal(cmd + 1, "POP");
        (void)mut_list_pop(m->mut, coll, cmd[0] == 'L');
    }
}

static void command(struct prop_member *m, const struct ks_key *key, char **word)
{
    const char *cmd = word[0];
    int64_t i;

    if (strcmp(cmd, "SET") == 0)
        mut_set(m->mut, key, text_of(word[1]), 0);
    else if (strcmp(cmd, "DEL") == 0)
        mut_del(m->mut, key);
    else if (strcmp(cmd, "INCRBY") == 0)
        assert_int_equal(mut_incr(m->mut, key, int_of(word[1]), &i), 0);
    else if (strcmp(cmd, "EXPIRE") == 0)
        mut_expire(m->mut, key, strtoull(word[1], NULL, 10));
    else if (strcmp(cmd, "PERSIST") == 0)
        mut_expire(m->mut, key, 0);
    else if (cmd[0] == 'L' || cmd[0] == 'R')
        list_command(m, key, word);
    else
        elem_command(m, key, word);
}

/* The commands of one batch: `word` ends with NULL, "+" stands between them. */
static void commands(struct prop_member *m, const struct ks_key *key, char **word)
{
    const bool whole = strcmp(word[0], "SET") == 0 || strcmp(word[0], "DEL") == 0;

    if (whole)
        member_need_rows(m, key, 1);
    else
        member_need(m, key, 1);
    assert_int_equal(mut_check(m->mut, 4096), 0);
    mut_begin(m->mut, m->now_ms);
    for (char **first = word; *first != NULL; first = word) {
        while (*word != NULL && strcmp(*word, "+") != 0)
            word++;
        if (*word != NULL)
            *word++ = NULL;
        command(m, key, first);
    }
    (void)mut_end(m->mut);
    ks_wait_unpin(&m->wait);
    member_turn(m);
}

/* --- schedules --- */

static void expect(struct net *n, unsigned i, const struct ks_key *key, const char *text,
                   const struct row *row)
{
    struct buf out;
    struct prop_member *m = &n->member[i];

    buf_init(&out, UINT32_MAX);
    net_show(m, key, mut_now_ms(m->mut, m->now_ms), &out);
    const struct bytes want = strcmp(text, "-") == 0 ? bytes_of(NULL, 0) : text_of(text);
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

static void cold(struct prop_member *m)
{
    do {
        member_write_back(m, 1u << 20);
        member_idle(m);
        member_demote(m);
    } while (ks_count_hot(m->ks) != 0);
}

static void all(struct net *n, const char *what)
{
    for (unsigned i = 0; i < n->members; i++) {
        struct prop_member *m = &n->member[i];
        if (strcmp(what, "cold") == 0) {
            cold(m);
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
        char *word[WORDS_MAX + 1] = {NULL}, *save_word = NULL;
        unsigned count = 0;
        for (char *w = strtok_r(step, " ", &save_word); w != NULL && count < WORDS_MAX;
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
                expect_rows(&n.member[i], row, (unsigned)int_of(word[1]));
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
            commands(&n.member[who], &key, word + 1);
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

static void send(struct net *n, const char *steps)
{
    struct ks_key key = member_key("k");
    char text[64];
    char *word[WORDS_MAX + 1] = {NULL}, *save = NULL;

    (void)snprintf(text, sizeof(text), "%s", steps);
    word[0] = strtok_r(text, " ", &save);
    for (unsigned i = 1; i < WORDS_MAX && word[i - 1] != NULL; i++)
        word[i] = strtok_r(NULL, " ", &save);
    n->member[0].now_ms += 10;
    commands(&n->member[0], &key, word);
}

static void batches_that_make_no_sense_change_nothing(void **state)
{
    static struct net n;
    struct buf copy;
    uint64_t lsn;

    (void)state;
    n = (struct net){0};
    buf_init(&copy, UINT32_MAX);
    net_open(&n, 2);
    send(&n, "SET a");
    send(&n, "SET b");
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

/* A batch whose ops are made by hand; `seen` (NULL: nothing) of other members. */
static struct bytes batch_of(struct buf *out, struct tag tag, uint64_t seq, const struct vv *seen,
                             const struct op *ops, unsigned count)
{
    buf_clear(out);
    assert_int_equal(buf_reserve(out, BATCH_HEADER_BYTES_MAX), 0);
    buf_commit(out, batch_header_store(buf_end(out), tag, seq, count, seen));
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(buf_reserve(out, op_size(&ops[i])), 0);
        buf_commit(out, op_store(buf_end(out), &ops[i], tag.hlc));
    }
    return buf_bytes(out);
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
        bytes_of(chunk_row, row_chunk_store(chunk_row, generation, generation, text_of("a")));
    const uint64_t bits = 8 * ROW_STRING_BYTES_MAX;
    struct op bad[] = {
        {.kind = OP_STRING, .len = ROW_STRING_BYTES_MAX + 1},
        {.kind = OP_CHUNK, .at = PAST_LAST_CHUNK, .value = text_of("a")},
        {.kind = OP_CHUNK, .at = UINT32_MAX, .value = text_of("a")},
        {.kind = OP_BITS, .at = bits, .bits_count = 1},
        {.kind = OP_BITS, .at = bits - 1, .bits_count = 2},
        {.kind = OP_KEY_MERGE,
         .value = bytes_of(long_row, row_chunked_store(long_row, generation, generation,
                                                       ROW_STRING_BYTES_MAX + 1, 0))},
        {.kind = OP_KEY_MERGE, .value = chunk},
        {.kind = OP_ROW_MERGE, .type = ROWKEY_KIND_CHUNK, .value = chunk},
        {.kind = OP_ROW_MERGE, .type = ROWKEY_KIND_HASH, .sub = text_of("a"), .value = chunk},
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
        bad[i].key = text_of("k");
        bad[i].generation = generation;
        const struct bytes batch = batch_of(&out, generation, 1, NULL, &bad[i], 1);
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
         .value = text_of("a")},
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
        batch_of(&out, generation, 1, NULL, ops, sizeof(ops) / sizeof(ops[0]));
    assert_int_equal(apply_remote(to->mut, batch, &lsn), APPLY_DONE);
    member_need(to, &key, 1);
    assert_int_equal(strval_len(ks_get(to->ks, &key, 0)), ROW_STRING_BYTES_MAX);
    assert_true(ks_bytes(to->ks) < 2u << 20);
    mut_begin(to->mut, to->now_ms);
    assert_int_equal(mut_string_patch(to->mut, &key, ROW_STRING_BYTES_MAX, text_of("a"), &lsn),
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
        bytes_of(row, row_chunk_store(row, generation, generation, text_of("a")));
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
    send(&n, "INCRBY 5");
    send(&n, "INCRBY 2");
    net_deliver_all(&n);
    member_close(&n.member[0]);
    member_destroy(&n.member[0]);
    member_create(&n.member[0], 1);
    n.member[0].on_record = NULL;
    member_open(&n.member[0]);
    for (size_t i = 0; i < n.parcels_count; i++)
        assert_int_equal(apply_remote(n.member[0].mut, buf_bytes(&n.parcels[i].bytes), &lsn),
                         APPLY_DONE);
    send(&n, "INCRBY 100");
    assert_int_equal(vv_get(apply_seqs(n.member[0].mut), 1), 3);
    net_show(&n.member[0], &key, n.member[0].now_ms, &out);
    assert_true(bytes_eq(buf_bytes(&out), text_of("1:107,")));
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
        send(&n, ops[i]);
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
    assert_true(bytes_eq(buf_bytes(&out), text_of("2:c,")));
    buf_deinit(&out);
    net_close(&n);
}

/* --- parts of strings at cold keys --- */

#define LONG_BYTES 20000u

/* Time of ops made by hand. */
static struct tag tag_at(unsigned time, uint8_t origin)
{
    return tag_of(((uint64_t)1 << 20) + time, origin);
}

struct remote {
    struct prop_member *to;
    uint64_t seqs[NET_MEMBERS_MAX + 1]; /* By origin. */
    struct buf out;
};

static void remote_open(struct remote *r, struct net *n)
{
    *r = (struct remote){.to = &n->member[NET_MEMBERS_MAX - 1]};
    *n = (struct net){0};
    net_open(n, NET_MEMBERS_MAX);
    buf_init(&r->out, UINT32_MAX);
}

static void remote_close(struct remote *r, struct net *n)
{
    buf_deinit(&r->out);
    net_close(n);
}

/* A batch of `origin` at `time` that has seen another one's up to `seen`. */
static void remote_ops(struct remote *r, struct tag tag, struct tag seen, struct op *ops,
                       unsigned count)
{
    struct vv vv;
    uint64_t lsn;

    vv_init(&vv);
    if (!tag_is_none(seen))
        assert_int_equal(vv_raise(&vv, seen), 0);
    for (unsigned i = 0; i < count; i++)
        ops[i].key = text_of("k");
    const struct bytes batch = batch_of(&r->out, tag, ++r->seqs[tag.origin], &vv, ops, count);
    assert_int_equal(apply_remote(r->to->mut, batch, &lsn), APPLY_DONE);
    member_turn(r->to);
}

static void remote_long_set(struct remote *r, struct tag tag, struct tag seen)
{
    static const uint8_t zeros[LONG_BYTES];
    struct op op = {.kind = OP_SET, .value = bytes_of(zeros, sizeof(zeros))};

    remote_ops(r, tag, seen, &op, 1);
}

/* One bit. */
static void remote_bit(struct remote *r, struct tag tag, struct tag seen, struct tag generation,
                       uint64_t at, uint64_t at_ms)
{
    struct op ops[] = {
        {.kind = OP_STRING, .generation = generation, .len = LONG_BYTES, .expire_at_ms = at_ms},
        {.kind = OP_BITS, .generation = generation, .at = at, .bits_count = 1, .bits = 1},
    };

    remote_ops(r, tag, seen, ops, 2);
}

static void write_back(struct prop_member *m)
{
    member_write_back(m, 1u << 20);
    member_idle(m);
}

static void collect_all(struct prop_member *m)
{
    struct vv stable;

    for (unsigned i = 0; i < 3; i++) {
        member_cover(m, &stable);
        member_collect(m, &stable, UINT64_MAX, m->now_ms);
        member_settle(m);
    }
}

static void expect_settled(struct prop_member *m, uint64_t keys)
{
    assert_int_equal(ks_group_unsettled(m->ks), 0);
    assert_int_equal(ks_count(m->ks), keys);
}

static void bits_of_cold_strings_read_nothing(void **state)
{
    static struct net n;
    struct remote r;
    const struct tag none = {0}, generation = tag_at(1, 1);
    const uint64_t at_ms = 1000000000000;
    struct op image = {.kind = OP_CHUNK, .generation = generation, .at = 3, .value = text_of("a")};
    struct op expire = {.kind = OP_EXPIRE,
                        .target_type = VT_STRING,
                        .target = tag_at(19, 1),
                        .expire_at_ms = at_ms};

    (void)state;
    remote_open(&r, &n);
    remote_long_set(&r, generation, none);
    write_back(r.to);
    member_settle(r.to);
    collect_all(r.to);
    /* It was a string that began anew: the first part is looked at once more. */
    remote_bit(&r, tag_at(2, 1), none, generation, 7, 0);
    member_settle(r.to);
    collect_all(r.to);
    const uint64_t reads = ks_metrics(r.to->ks)->row_reads;
    for (unsigned i = 3; i < 20; i++) {
        remote_bit(&r, tag_at(i, 1), none, generation, i * 1000, 0);
        expect_settled(r.to, 1);
        if (i % 3 == 0)
            write_back(r.to);
    }
    remote_ops(&r, tag_at(25, 2), tag_at(19, 1), &expire, 1);
    remote_bit(&r, tag_at(26, 1), tag_at(25, 2), generation, 8, at_ms);
    expect_settled(r.to, 1);
    remote_ops(&r, tag_at(30, 1), none, &image, 1);
    write_back(r.to);
    assert_int_equal(ks_metrics(r.to->ks)->row_reads, reads);
    assert_int_equal(ks_count_hot(r.to->ks), 0);
    remote_close(&r, &n);
}

static void settle_cold(struct prop_member *m)
{
    write_back(m);
    member_settle(m);
    cold(m);
}

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
            send(&n, values[i / 2]);
            cold(m);
            ks_set_scan_bytes_max(m->ks, 1);
            send(&n, writes[i % 2]);
            assert_int_equal(ks_count(m->ks), i % 2);
            ks_set_scan_bytes_max(m->ks, UINT64_MAX);
            send(&n, "DEL");
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
    send(&n, "HSET f a");
    net_deliver_all(&n);
    cold(to);
    send(&n, "HSET g b");
    net_deliver_all(&n);
    to->now_ms += 20;
    commands(to, &key, set);
    assert_int_equal(ks_group_metrics(to->ks)->raised, 1);
    /* It is taken apart while what was above is still to be written. */
    n.member[0].now_ms += 1000;
    send(&n, "HSET h c");
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
        (void)mut_elem_set(m->mut, coll, text_of(name), text_of("v"));
    }
    (void)mut_end(m->mut);
    cold(m);
    send(n, "DEL");
    cold(m);
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
        (void)mut_elem_set(from->mut, coll, text_of("f"), bytes_of(value, sizeof(value)));
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

static struct row_view view_of_key(struct prop_member *m)
{
    const struct ks_key key = member_key("k");
    struct row_view view;

    assert_int_equal(row_view(ks_group_key_row(m->ks, &key), 0, &view), 0);
    return view;
}

/*
 * A time that a node without peers, or a former build, has given a value in chunks: it shows, and
 * the first change here makes it one of the generation. Not where the string stands before a hash:
 * a part takes away that there is one, and its elements would be left.
 */
static void a_time_of_a_value_becomes_one_of_its_generation(void **state)
{
    static struct net n;
    const struct ks_key key = member_key("k");
    const struct tag none = {0}, generation = tag_at(1, 1);
    const uint64_t at_ms = 1000000000000;

    (void)state;
    for (unsigned what = 0; what < 5; what++) {
        struct op hash = {.kind = OP_ELEM_SET, .type = VT_HASH, .sub = text_of("f")};
        const bool lost = what > 2;
        struct remote r;

        remote_open(&r, &n);
        struct prop_member *to = r.to;
        if (lost)
            remote_ops(&r, tag_at(1, 2), none, &hash, 1);
        remote_long_set(&r, generation, none);
        remote_bit(&r, tag_at(2, 1), none, generation, 1000, at_ms);
        settle_cold(to);
        member_need(to, &key, 1);
        assert_true(view_of_key(to).target_type == VT_STRING);
        assert_true(view_of_key(to).expire_at_ms == at_ms);
        mut_begin(to->mut, to->now_ms);
        if (what == 0)
            assert_int_equal(mut_string_bits(to->mut, &key, 7, 1, 1), 0);
        else
            mut_expire(to->mut, &key, what % 2 == 1 ? 0 : at_ms + 1);
        (void)mut_end(to->mut);
        member_turn(to);
        const struct row_view view = view_of_key(to);
        assert_true(lost || (view.target_type == VT_CHUNKED && tag_eq(view.target, generation)));
        assert_true(view.expire_at_ms == (what == 0 ? at_ms : what % 2 == 1 ? 0 : at_ms + 1));
        assert_true(row_asserts_type(ks_group_key_row(to->ks, &key)) == lost);
        /* A part of which the maker has seen nothing of that leaves it. */
        remote_bit(&r, tag_at(3, 1), none, generation, 2000, 0);
        assert_true(lost || view_of_key(to).expire_at_ms == view.expire_at_ms);
        remote_close(&r, &n);
    }
}

/* A probe of a string reads its key row, and no more than one of its chunks. */
static void a_probe_reads_no_chunks(void **state)
{
    static struct net n;
    struct remote r;
    const struct tag none = {0}, generation = tag_at(1, 1);

    (void)state;
    remote_open(&r, &n);
    remote_long_set(&r, generation, none);
    write_back(r.to);
    for (unsigned i = 2; i < 10; i++) {
        const uint64_t before = ks_group_metrics(r.to->ks)->read_bytes;
        remote_bit(&r, tag_at(i, 1), none, generation, i * 1000, 0);
        member_settle(r.to);
        write_back(r.to);
        member_settle(r.to);
        expect_settled(r.to, 1);
        assert_true(ks_group_metrics(r.to->ks)->read_bytes - before < 4 * ROW_CHUNK_BYTES);
    }
    assert_true(ks_group_metrics(r.to->ks)->probes != 0);
    remote_close(&r, &n);
}

/*
 * 3 has set v, 1 a long string later; 2 deletes that and has not seen v, which shows then. A part
 * of the long string by one who has seen both, and not the DEL, takes v away and is none itself.
 */
static void a_part_may_leave_nothing(void **state)
{
    static struct net n;
    struct remote r;
    const struct tag none = {0}, v = tag_at(1, 3), generation = tag_at(2, 1);

    (void)state;
    for (unsigned when = 0; when < 16; when++) {
        struct op set = {.kind = OP_SET, .value = text_of("v")};
        struct op del = {.kind = OP_DEL};
        remote_open(&r, &n);
        remote_ops(&r, v, none, &set, 1);
        if ((when & 1) != 0)
            settle_cold(r.to);
        remote_long_set(&r, generation, none);
        if ((when & 2) != 0)
            settle_cold(r.to);
        remote_ops(&r, tag_at(3, 2), generation, &del, 1);
        if ((when & 4) != 0) {
            settle_cold(r.to);
            expect_settled(r.to, 1);
        }
        if ((when & 8) != 0) {
            member_close(r.to);
            member_open(r.to);
        }
        remote_bit(&r, tag_at(4, 1), v, generation, 7, 0);
        settle_cold(r.to);
        expect_settled(r.to, 0);
        remote_close(&r, &n);
    }
}

/* Every chunk of the resident string is what its row holds. */
static void expect_chunks(const struct coll *coll)
{
    uint8_t sub[ROW_CHUNK_SUB_BYTES];
    uint8_t image[ROW_CHUNK_BYTES], shown[ROW_CHUNK_BYTES];
    struct tag tag;

    for (uint32_t i = 0; i * ROW_CHUNK_BYTES < LONG_BYTES; i++) {
        size_t len;
        be32_store(sub, i);
        const struct bytes row = ks_group_elem_row(coll, bytes_of(sub, sizeof(sub)));
        memset(image, 0, sizeof(image));
        assert_int_equal(row_chunk_read(row, coll->generation, image, &len, &tag), 0);
        strval_copy(coll, (uint64_t)i * ROW_CHUNK_BYTES, shown, sizeof(shown));
        assert_memory_equal(shown, image, sizeof(shown));
    }
}

/* Some bits, or an image, by one who has seen all but perhaps what another one did last. */
static void remote_part(struct remote *r, struct rng *rng, unsigned time, struct tag generation)
{
    static uint8_t image[ROW_CHUNK_BYTES];
    const struct tag tag = tag_at(time, (uint8_t)(1 + rng_below(rng, 3)));
    const bool all = rng_below(rng, 3) != 0;
    const struct tag seen = tag_of(tag.hlc - 1, (uint8_t)(1 + tag.origin % 3));
    struct op ops[] = {
        {.kind = OP_STRING, .generation = generation, .len = LONG_BYTES},
        {.kind = OP_BITS,
         .generation = generation,
         .at = rng_below(rng, 2) == 0 ? rng_below(rng, 100) + 8100
                                      : rng_below(rng, 8 * LONG_BYTES - 64),
         .bits_count = (uint8_t)(1 + rng_below(rng, 64))},
    };

    ops[1].bits = rng_u64(rng) >> (64 - ops[1].bits_count);
    if (rng_below(rng, 10) == 0) {
        memset(image, (int)time, sizeof(image));
        ops[1] = (struct op){.kind = OP_CHUNK,
                             .generation = generation,
                             .at = rng_below(rng, 3),
                             .value = bytes_of(image, sizeof(image))};
    }
    const uint64_t known = vv_get(&r->to->mut->vv, seen.origin);
    remote_ops(r, tag, all && known != 0 ? tag_of(known, seen.origin) : (struct tag){0}, ops, 2);
}

static void hot_strings_show_what_their_rows_hold(void **state)
{
    static struct net n;
    const struct ks_key key = member_key("k");
    const struct tag none = {0};
    struct remote r;
    struct rng rng;
    struct tag generation = tag_at(1, 1);

    (void)state;
    seed_rng(&rng, 1);
    remote_open(&r, &n);
    remote_long_set(&r, generation, none);
    for (unsigned time = 2; time < 2000; time++) {
        member_need(r.to, &key, 1);
        if (rng_below(&rng, 400) == 0) {
            generation = tag_at(time, (uint8_t)(1 + rng_below(&rng, 3)));
            remote_long_set(&r, generation, none);
        } else {
            remote_part(&r, &rng, time, generation);
        }
        if (rng_below(&rng, 50) == 0)
            settle_cold(r.to);
        member_need(r.to, &key, 1);
        const struct obj *obj = ks_get(r.to->ks, &key, 0);
        assert_non_null(obj);
        assert_true(obj_is_chunked(obj));
        expect_chunks(obj_coll(obj));
    }
    assert_true(ks_group_metrics(r.to->ks)->operands_hot > 1000);
    remote_close(&r, &n);
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
        cmocka_unit_test(bits_of_cold_strings_read_nothing),
        cmocka_unit_test(a_time_of_a_value_becomes_one_of_its_generation),
        cmocka_unit_test(a_probe_reads_no_chunks),
        cmocka_unit_test(hot_strings_show_what_their_rows_hold),
        cmocka_unit_test(a_part_may_leave_nothing),
        cmocka_unit_test(remote_ops_on_cold_keys_read_nothing_and_promote_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
