/*
 * Single cases of the keyspace that its property test would meet too rarely.
 */
#include <limits.h>
#include <stdio.h>

#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/le.h"

#include "engine/io/file.h"
#include "engine/space/collwalk.h"
#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/space/keyfile.h"
#include "engine/space/keylog.h"
#include "engine/space/keymerge.h"
#include "engine/space/ks_state.h"
#include "engine/space/resident.h"
#include "engine/store/store.h"
#include "engine/value/rowkey.h"

#include "replication/mutate.h"
#include "replication/oplog.h"

#include "tests/unit/test_keyspace_fixture.h"

#define MEMBERS      40
#define MANY         4000
#define STRINGS      2000
#define USED         20
#define STRING_BYTES 1000

static void add_all(struct core *c, const struct ks_key *key)
{
    add_some(c, key, MEMBERS);
}

/*
 * While the caller writes rows itself no slice may run: it would look at the store, find an old
 * row, and delete the new one that was written meanwhile.
 */
static void test_no_slice_beside_the_callers_writes(void **state)
{
    static struct core c;
    char name[16];

    (void)state;
    core_init(&c);
    const struct ks_key key = key_of(1, name);
    add_all(&c, &key);
    write_all_now(&c);
    delete (&c, &key);
    add_all(&c, &key);
    write_all_now(&c);
    assert_false(ks_busy(c.ks));
    assert_int_equal(ks_sweep_count(c.ks), 1);
    core_deinit(&c);
}

/* As damage would: one row of the set is gone, though its key row counts it. */
static void lose_a_row(struct core *c, const struct ks_key *key)
{
    uint8_t name[256];
    struct store_batch batch;

    const size_t len = rowkey_store_elem(name, key->slot, key->hash, key->name, ROWKEY_KIND_SET,
                                         bytes_cstr("member:7"));
    store_batch_init(&batch, 1u << 20);
    assert_int_equal(store_batch_delete(&batch, bytes_of(name, len)), 0);
    assert_int_equal(store_write(c->rig.store, &batch, 0), 0);
    store_batch_deinit(&batch);
}

/* A reply of fewer elements than it announces would leave the client waiting. */
static void test_a_lost_row_is_an_error(void **state)
{
    static struct core c;
    struct ks_sizes sizes;
    char name[16];

    (void)state;
    core_init(&c);
    const struct ks_key key = key_of(1, name);
    add_all(&c, &key);
    write_all_now(&c);
    do {
        (void)ks_demote_some(c.ks, UINT64_MAX, SECOND);
        ks_sizes(c.ks, &sizes);
    } while (sizes.hot_bytes != 0);
    lose_a_row(&c, &key);
    assert_int_equal(load_whole(&c, &key), -ERR_CORRUPT);
    ks_wait_unpin(&c.wait);
    core_deinit(&c);
}

static struct ks_key string_key(unsigned k, char name[16])
{
    const int len = snprintf(name, 16, "string:%u", k);

    return ks_key_of(bytes_of(name, (size_t)len), HASH_SEED);
}

/* Each value begins with the number of its key. */
static void set_strings(struct core *c, unsigned count)
{
    char name[16];
    uint8_t value[STRING_BYTES] = {0};

    for (unsigned k = 0; k < count; k++) {
        const struct ks_key key = string_key(k, name);
        le32_store(value, k);
        mut_begin(c->mut, NOW_MS);
        mut_set(c->mut, &key, bytes_of(value, sizeof(value)), 0);
        (void)mut_end(c->mut);
        oplog_turn_end(c->log);
    }
}

static void check_strings(struct core *c)
{
    char name[16];
    struct row_view view;

    for (unsigned k = 0; k < STRINGS; k++) {
        const struct ks_key key = string_key(k, name);
        need_key(c, &key);
        const struct obj *obj = ks_get(c->ks, &key, NOW_MS);
        assert_non_null(obj);
        assert_int_equal(row_view(obj_row(obj), NOW_MS, &view), 0);
        assert_int_equal(view.value.len, STRING_BYTES);
        expect_u64(le32_load(view.value.ptr), k);
        ks_wait_unpin(&c->wait);
    }
}

/*
 * The hand of the clock gave some of its members up each time that it met the set, which is once
 * in a turn over all keys: among many cold ones memory was freed too slowly, and writers were
 * refused.
 */
static void test_a_large_set_among_cold_keys_leaves_at_once(void **state)
{
    static struct core c;
    char name[16];

    (void)state;
    core_init(&c);
    set_strings(&c, STRINGS);
    chill(&c);
    const struct ks_key key = key_of(1, name);
    add_some(&c, &key, MANY);
    write_all_now(&c);
    /* As commands do all the time: its key row stays. */
    ks_wait_pin(c.ks, &key, &c.wait);
    const uint64_t before = hot_bytes(&c);

    assert_true(before > (uint64_t)MANY * 16);
    assert_true(ks_demote_some(c.ks, UINT64_MAX, SECOND));
    assert_true(hot_bytes(&c) < before / 2);
    ks_wait_unpin(&c.wait);
    chill(&c);
    core_deinit(&c);
}

/*
 * A sorted set that nobody used any more left as a whole, after all its members had been looked at:
 * 100 ms for half a million.
 */
static void test_a_large_sorted_set_leaves_in_parts(void **state)
{
    static struct core c;
    char name[16], member[16];
    uint8_t score[ROW_SCORE_BYTES];
    unsigned steps = 0;

    (void)state;
    core_init(&c);
    const struct ks_key key = key_of(1, name);
    mut_begin(c.mut, NOW_MS);
    struct coll *coll = mut_coll(c.mut, &key, VT_ZSET);
    for (unsigned i = 0; i < 5 * MANY; i++) {
        const int len = snprintf(member, sizeof(member), "member:%u", i);
        row_score_store(score, (double)i);
        (void)mut_elem_set(c.mut, coll, bytes_of(member, (size_t)len),
                           bytes_of(score, sizeof(score)));
    }
    (void)mut_end(c.mut);
    write_all_now(&c);
    for (; ks_peek_coll(c.ks, &key) != NULL; steps++) {
        assert_in_range(steps, 0, 10 * MANY);
        (void)ks_demote_some(c.ks, 1, SECOND);
    }
    assert_in_range(steps, MANY / 100, 10 * MANY);
    chill(&c);
    core_deinit(&c);
}

static unsigned hot_strings(struct core *c, unsigned count)
{
    char name[16];
    unsigned hot = 0;

    for (unsigned k = 0; k < count; k++) {
        const struct ks_key key = string_key(k, name);
        hot += ks_peek(c->ks, &key, NOW_MS) != NULL;
    }
    return hot;
}

static void demote_a_hundred_times(struct core *c)
{
    for (int slice = 0; slice < 100; slice++)
        (void)ks_demote_some(c->ks, 4096, SECOND);
}

/*
 * The hand came round some dozens of keys many times while a set waited for the store, and each of
 * its turns took a touch: GETs of other clients went to flash all the time beside a large SADD.
 */
static void test_keys_in_use_stay_while_a_large_set_is_written(void **state)
{
    static struct core c;
    char name[16];

    (void)state;
    core_init(&c);
    set_strings(&c, USED);
    write_all_now(&c);
    for (unsigned k = 0; k < USED; k++) {
        const struct ks_key used = string_key(k, name);
        assert_non_null(ks_get(c.ks, &used, NOW_MS));
    }
    const struct ks_key key = key_of(1, name);
    add_some(&c, &key, MANY);

    demote_a_hundred_times(&c);
    expect_u64(hot_strings(&c, USED), USED);

    /* Nobody has used them for some seconds. */
    for (int second = 0; second < OBJ_HEAT_MAX + 2; second++) {
        ks_demote_age(c.ks);
        demote_a_hundred_times(&c);
    }
    expect_u64(hot_strings(&c, USED), 0);
    core_deinit(&c);
}

/*
 * DEL freed all that was resident at once: tens of milliseconds for half a million members, in
 * which nobody else was served. What waits to be written goes without being written, also where a
 * new set of that name has members of the same names.
 */
static void test_a_large_set_is_freed_in_steps(void **state)
{
    static struct core c;
    char name[16];
    unsigned steps = 1;

    (void)state;
    core_init(&c);
    ks_set_reap_above(c.ks, KS_REAP_ABOVE);
    const struct ks_key key = key_of(1, name);
    add_some(&c, &key, MANY);
    const uint64_t before = hot_bytes(&c), written = ks_metrics(c.ks)->flushed_rows;
    delete (&c, &key);
    assert_true(hot_bytes(&c) > before / 2);
    add_all(&c, &key);
    write_all_now(&c);
    expect_u64(ks_metrics(c.ks)->flushed_rows - written, MEMBERS + 1);
    for (; ks_reap_some(c.ks, 0); steps++) {
    }
    assert_in_range(steps, 3, MANY);
    assert_true(hot_bytes(&c) < before / 2);

    chill(&c);
    assert_int_equal(load_whole(&c, &key), 0);
    expect_u64(coll_resident(ks_peek_coll(c.ks, &key)), MEMBERS);
    ks_wait_unpin(&c.wait);
    core_deinit(&c);
}

/* They are in the batch: it ends with nothing of them left in DRAM. */
static void test_a_large_set_is_freed_while_it_is_written(void **state)
{
    static struct core c;
    char name[16];

    (void)state;
    core_init(&c);
    ks_set_reap_above(c.ks, KS_REAP_ABOVE);
    const struct ks_key key = key_of(1, name);
    add_some(&c, &key, MANY);
    oplog_turn_end(c.log);
    ks_flush_point(c.ks, oplog_applied_lsn(c.log), mut_vv(c.mut));
    assert_true(ks_flush_start(c.ks, 1u << 16, NOW_MS));
    while (!ks_flush_step(c.ks)) {
    }
    delete (&c, &key);
    while (ks_reap_some(c.ks, 0)) {
    }
    settle(&c);
    write_all_now(&c);
    chill(&c);
    need_key(&c, &key);
    assert_null(ks_get(c.ks, &key, NOW_MS));
    core_deinit(&c);
}

/*
 * What is small was freed at once, however much of it one command dropped: DEL of a thousand keys
 * with a thousand members each took as long as that of one with a million.
 */
static void test_many_small_sets_are_freed_in_steps(void **state)
{
    static struct core c;
    char name[16];
    unsigned steps = 1;

    (void)state;
    core_init(&c);
    ks_set_reap_above(c.ks, KS_REAP_ABOVE);
    for (unsigned k = 0; k < STRINGS; k++) {
        const struct ks_key key = key_of(k, name);
        add_all(&c, &key);
    }
    const uint64_t before = hot_bytes(&c);
    (void)ks_reap_some(c.ks, 0); /* A turn begins. */
    for (unsigned k = 0; k < STRINGS; k++) {
        const struct ks_key key = key_of(k, name);
        delete (&c, &key);
    }
    assert_in_range(hot_bytes(&c), before / 2, before - before / 8);
    for (; ks_reap_some(c.ks, 0); steps++) {
    }
    assert_in_range(steps, 2, STRINGS);
    assert_true(hot_bytes(&c) < before / 2);
    write_all_now(&c);
    core_deinit(&c);
}

/* The members that the walk shows next, at most `max`. */
static unsigned walk_on(struct coll_walk *w, unsigned max)
{
    const struct elem *elem;
    unsigned n = 0;

    for (; n < max && (elem = coll_walk_elem(w)) != NULL; n++)
        assert_true(elem_sub(elem).len > sizeof("member:") - 1);
    return n;
}

/*
 * A reply that is sent in slices shows all members, whatever becomes of the key: none leaves DRAM
 * meanwhile, and a set that is deleted, and written anew under that name, stays until the end.
 */
static void test_a_set_stays_while_it_is_walked_over(void **state)
{
    static struct core c;
    char name[16];
    struct coll_walk one, other;

    (void)state;
    core_init(&c);
    ks_set_reap_above(c.ks, KS_REAP_ABOVE);
    const struct ks_key key = key_of(1, name);
    add_some(&c, &key, MANY);
    write_all_now(&c);
    const uint64_t before = hot_bytes(&c);
    coll_walk_begin(c.ks, ks_peek_coll(c.ks, &key), 0, false, &one);
    assert_int_equal(walk_on(&one, 10), 10);
    ks_set_pressure(c.ks, true);
    for (int i = 0; i < 100; i++)
        (void)ks_demote_some(c.ks, UINT64_MAX, SECOND);
    expect_u64(coll_resident(ks_peek_coll(c.ks, &key)), MANY);
    coll_walk_begin(c.ks, ks_peek_coll(c.ks, &key), 0, false, &other);
    assert_int_equal(walk_on(&other, MANY / 2), MANY / 2);

    delete (&c, &key);
    add_all(&c, &key);
    write_all_now(&c);
    while (ks_reap_some(c.ks, 0)) {
    }
    assert_true(hot_bytes(&c) >= before);
    expect_u64(ks_walks(c.ks), 2);
    assert_true(coll_walk_holds(&one) && coll_walk_holds(&other));
    assert_int_equal(walk_on(&one, UINT_MAX), MANY - 10);
    coll_walk_end(c.ks, &one);
    assert_int_equal(walk_on(&other, UINT_MAX), MANY - MANY / 2);
    coll_walk_end(c.ks, &other);
    coll_walk_end(c.ks, &other);
    while (ks_reap_some(c.ks, 0)) {
    }
    assert_true(hot_bytes(&c) < before / 2);
    expect_u64(coll_resident(ks_peek_coll(c.ks, &key)), MEMBERS);
    core_deinit(&c);
}

/* A change that did not wait is noticed. */
static void test_a_walk_notices_a_change(void **state)
{
    static struct core c;
    char name[16];
    struct coll_walk w;

    (void)state;
    core_init(&c);
    const struct ks_key key = key_of(1, name);
    add_all(&c, &key);
    coll_walk_begin(c.ks, ks_peek_coll(c.ks, &key), 0, false, &w);
    assert_true(coll_walk_holds(&w));
    add_some(&c, &key, MEMBERS + 1);
    assert_false(coll_walk_holds(&w));
    coll_walk_end(c.ks, &w);
    core_deinit(&c);
}

static void remove_some(struct core *c, const struct ks_key *key, unsigned from, unsigned to)
{
    char member[16];

    mut_begin(c->mut, NOW_MS);
    struct coll *coll = mut_coll(c->mut, key, VT_SET);
    for (unsigned i = from; i < to; i++) {
        const int len = snprintf(member, sizeof(member), "member:%u", i);
        assert_true(mut_elem_del(c->mut, coll, bytes_of(member, (size_t)len)));
    }
    (void)mut_end(c->mut);
}

static const struct coll *set_of(struct core *c, const struct ks_key *key)
{
    const struct coll *coll = ks_peek_coll(c->ks, key);

    assert_non_null(coll);
    return coll;
}

static uint64_t gone_count(const struct coll *coll)
{
    return coll->gone == NULL ? 0 : elemtab_count(&coll->gone->tab);
}

/*
 * SPOP draws from the table of those that are there: it drew from the removed ones, too, which
 * stayed in it until the store was told, over and over again when a few were left.
 */
static void test_removed_members_are_not_drawn_from(void **state)
{
    static struct core c;
    const unsigned removed = MANY - 10;
    char name[16];

    (void)state;
    core_init(&c);
    const struct ks_key key = key_of(1, name);
    add_some(&c, &key, MANY);
    write_all_now(&c);
    remove_some(&c, &key, 0, removed);
    expect_u64(elemtab_count(&set_of(&c, &key)->tab), MANY - removed);
    expect_u64(gone_count(set_of(&c, &key)), removed);
    assert_true(coll_remembers(set_of(&c, &key), bytes_cstr("member:7")));
    assert_null(coll_find(set_of(&c, &key), bytes_cstr("member:7")));

    add_some(&c, &key, MEMBERS);
    expect_u64(elemtab_count(&set_of(&c, &key)->tab), MANY - removed + MEMBERS);
    expect_u64(gone_count(set_of(&c, &key)), removed - MEMBERS);
    assert_non_null(coll_find(set_of(&c, &key), bytes_cstr("member:7")));

    write_all_now(&c);
    assert_null(set_of(&c, &key)->gone);
    chill(&c);
    assert_int_equal(load_whole(&c, &key), 0);
    expect_u64(coll_resident(set_of(&c, &key)), MANY - removed + MEMBERS);
    ks_wait_unpin(&c.wait);

    /* A set that goes takes them along. */
    remove_some(&c, &key, 0, MEMBERS / 2);
    expect_u64(gone_count(set_of(&c, &key)), MEMBERS / 2);
    delete (&c, &key);
    chill(&c);
    core_deinit(&c);
}

/* Replay used to hold all that it replayed, whatever maxmemory was. */
static void test_replay_stays_within_its_bytes(void **state)
{
    static struct core c;
    const uint64_t row_bytes_max = 2 * STRING_BYTES;

    (void)state;
    core_init(&c);
    set_strings(&c, STRINGS);
    core_close(&c);
    c.replay_bytes_max = STRINGS * STRING_BYTES / 4;
    core_open(&c);

    assert_true(c.replay_rooms >= 4);
    assert_true(c.replay_bytes_seen <= c.replay_bytes_max + REPLAY_ROOM_BYTES_MIN + row_bytes_max);
    expect_u64(ks_count(c.ks), STRINGS);
    check_strings(&c);
    core_deinit(&c);
}

/* It wrote to the store whatever was dirty beyond some MB, also where there was room for all. */
static void test_replay_with_room_writes_nothing(void **state)
{
    static struct core c;

    (void)state;
    core_init(&c);
    set_strings(&c, STRINGS);
    core_close(&c);
    c.replay_bytes_max = 4 * STRINGS * STRING_BYTES;
    core_open(&c);

    expect_u64(c.replay_rooms, 0);
    expect_u64(ks_count_hot(c.ks), STRINGS);
    check_strings(&c);
    core_deinit(&c);
}

/* --- the checkpoint of the key table --- */

static void make_checkpoint(struct core *c)
{
    write_all_now(c);
    assert_int_equal(store_flush(c->rig.store), 0);
    assert_true(ks_keys_start(c->ks, NOW_MS));
    while (ks_busy(c->ks))
        turn(c);
}

/* The key that was not there before makes the journal differ from the checkpoint. */
static void add_one_string(struct core *c)
{
    char name[16];
    const struct ks_key key = string_key(STRINGS, name);

    mut_begin(c->mut, NOW_MS);
    mut_set(c->mut, &key, bytes_cstr("one more"), 0);
    (void)mut_end(c->mut);
}

enum harm {
    HARM_HEADER,
    HARM_BLOCK,
    HARM_CUT,
    HARM_REMOVE,
    HARM_END
};

static void harm_checkpoint(const struct core *c, enum harm harm)
{
    struct buf content;

    buf_init(&content, 1u << 20);
    assert_int_equal(file_read_all(c->keys_path, &content), 0);
    assert_true(content.len > KEYFILE_HEADER_BYTES + 100);
    if (harm == HARM_REMOVE) {
        keyfile_remove(c->keys_path);
    } else {
        const size_t len = harm == HARM_CUT ? content.len / 2 : content.len;
        content.ptr[harm == HARM_HEADER ? 20 : content.len - 50] ^= 1;
        assert_int_equal(file_write_atomic(c->keys_path, bytes_of(content.ptr, len)), 0);
    }
    buf_deinit(&content);
}

/* A checkpoint that cannot be read was the end of all later ones, and the journal grew for ever. */
static void test_a_damaged_checkpoint_is_made_anew(void **state)
{
    static struct core c;
    struct ks_keys_info info;
    uint64_t last;

    (void)state;
    for (enum harm harm = 0; harm < HARM_END; harm++) {
        core_init(&c);
        set_strings(&c, STRINGS);
        make_checkpoint(&c);
        harm_checkpoint(&c, harm);
        add_one_string(&c);
        make_checkpoint(&c);

        ks_keys_info(c.ks, &info);
        expect_u64(info.base, info.last);
        assert_int_equal(keylog_read_last(c.rig.store, &last), 0);
        expect_u64(last, 0);
        core_close(&c);
        core_open(&c);
        ks_keys_info(c.ks, &info);
        assert_true(info.loaded);
        expect_u64(ks_count(c.ks), STRINGS + 1);
        core_deinit(&c);
    }
}

static void test_a_start_beside_a_damaged_checkpoint_reads_the_rows(void **state)
{
    static struct core c;
    struct ks_keys_info info;

    (void)state;
    for (enum harm harm = 0; harm < HARM_END; harm++) {
        core_init(&c);
        set_strings(&c, STRINGS);
        make_checkpoint(&c);
        harm_checkpoint(&c, harm);
        add_one_string(&c);
        write_all_now(&c);
        assert_int_equal(store_flush(c.rig.store), 0);
        core_close(&c);
        core_open(&c);

        ks_keys_info(c.ks, &info);
        assert_false(info.loaded);
        expect_u64(ks_count(c.ks), STRINGS + 1);
        core_deinit(&c);
    }
}

/*
 * Reads that gather are nobody's yet, but they are under way: a change makes them stale, and many
 * do not wait for the end of the turn.
 */
static void test_gathered_reads_go_together(void **state)
{
    static struct core c;
    const uint8_t changed[] = {0xff, 0xff, 0xff, 0xff};
    const uint32_t most = 128, more = 5;
    char name[16];

    (void)state;
    core_init(&c);
    set_strings(&c, STRINGS);
    chill(&c);
    const struct ks_metrics before = *ks_metrics(c.ks);
    for (unsigned k = 0; k < most + more; k++) {
        const struct ks_key key = string_key(k, name);
        assert_int_equal(ks_need_key(c.ks, &key, NULL), 1);
    }
    expect_u64(c.ks->gathered_count, more);
    const struct ks_key last = string_key(most, name);
    mut_begin(c.mut, NOW_MS);
    mut_set(c.mut, &last, bytes_of(changed, sizeof(changed)), 0);
    (void)mut_end(c.mut);
    ks_submit_reads(c.ks);
    expect_u64(c.ks->gathered_count, 0);
    ks_submit_reads(c.ks);
    settle(&c);
    expect_u64(ks_metrics(c.ks)->row_reads - before.row_reads, most + more);
    expect_u64(ks_metrics(c.ks)->stale_reads - before.stale_reads, 1);

    const struct obj *obj = ks_get(c.ks, &last, NOW_MS);
    struct row_view view;
    assert_non_null(obj);
    assert_int_equal(row_view(obj_row(obj), NOW_MS, &view), 0);
    expect_u64(view.value.len, sizeof(changed));
    core_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_slice_beside_the_callers_writes),
        cmocka_unit_test(test_a_lost_row_is_an_error),
        cmocka_unit_test(test_a_large_set_among_cold_keys_leaves_at_once),
        cmocka_unit_test(test_a_large_sorted_set_leaves_in_parts),
        cmocka_unit_test(test_keys_in_use_stay_while_a_large_set_is_written),
        cmocka_unit_test(test_a_large_set_is_freed_in_steps),
        cmocka_unit_test(test_a_large_set_is_freed_while_it_is_written),
        cmocka_unit_test(test_many_small_sets_are_freed_in_steps),
        cmocka_unit_test(test_a_set_stays_while_it_is_walked_over),
        cmocka_unit_test(test_a_walk_notices_a_change),
        cmocka_unit_test(test_removed_members_are_not_drawn_from),
        cmocka_unit_test(test_replay_stays_within_its_bytes),
        cmocka_unit_test(test_replay_with_room_writes_nothing),
        cmocka_unit_test(test_gathered_reads_go_together),
        cmocka_unit_test(test_a_damaged_checkpoint_is_made_anew),
        cmocka_unit_test(test_a_start_beside_a_damaged_checkpoint_reads_the_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
