/*
 * The keyspace over both tiers against a naive model.
 *
 * One shard's core, real parts throughout: keyspace, write path, op log on a real file, reader and
 * maintenance threads, and the store in memory, whose disk outlasts a crash. Random commands run
 * the way the dispatcher runs them (make resident, then mut_*); in between rows are written back,
 * demoted, the store is flushed, and the whole is torn down without ceremony and recovered. After
 * every command the key must be what the model says, after every recovery all keys, and the count
 * of keys must be exact all the time.
 *
 * Checkpoints of the key table are made at random moments, some cut short by the crash; between
 * crash and start the file is damaged, removed, replaced by an old copy or by that of another
 * store, and FLUSHALL changes the store. Whatever is found, the table at start must be the one that
 * the key rows of the store give.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/err.h"

#include "engine/space/demote.h"
#include "engine/space/flush.h"
#include "engine/space/keyfile.h"
#include "engine/space/keymerge.h"
#include "engine/space/keyspace.h"
#include "engine/space/ks_state.h"
#include "engine/space/recover.h"
#include "engine/space/resident.h"
#include "engine/space/strval.h"
#include "engine/store/store.h"
#include "engine/store/store_mem.h"
#include "engine/value/rowkey.h"

#include "replication/mutate.h"
#include "replication/oplog.h"
#include "replication/replay.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/prop/prop_keyspace_core.h"
#include "tests/prop/prop_keyspace_file.h"
#include "tests/prop/prop_keyspace_model.h"
#include "tests/prop/prop_keyspace_parts.h"

/* A run that has not met all that it is about goes on, for so many times its length at most. */
#define PATIENCE 20

/* --- commands --- */

static void need_elem(struct core *c, const struct ks_key *key, struct bytes sub)
{
    for (;;) {
        int waiting = ks_need_key(c->ks, key, &c->wait);
        waiting += ks_need_elem(c->ks, key, sub, &c->wait);
        if (waiting == 0)
            return;
        wait_ready(c);
    }
}

static void check_string(const struct obj *obj, int64_t expected)
{
    struct row_view view;
    char text[ROW_TEXT_BYTES];
    int64_t value;

    assert_int_equal(row_view(obj_row(obj), NOW_MS, &view), 0);
    assert_true(num_parse_i64(row_text(&view, text), &value));
    assert_int_equal(value, expected);
}

static void need_bytes(struct core *c, const struct ks_key *key, uint64_t first, uint64_t end)
{
    while (ks_need_bytes(c->ks, key, first, end, &c->wait) != 0)
        wait_ready(c);
}

/* All of a string, or some bytes of it. */
static void check_text(struct core *c, const struct ks_key *key, const struct model_text *text,
                       bool all)
{
    struct row_view view;
    static uint8_t got[TEXT_MAX];
    const uint64_t first = all ? 0 : rng_below(&c->rng, text->len);
    const uint64_t len = all ? text->len : rng_below(&c->rng, text->len - first) + 1;
    struct bytes shown = bytes_of(got, len);

    need_bytes(c, key, first, first + len);
    const struct obj *obj = ks_get(c->ks, key, NOW_MS);
    assert_int_equal(obj_is_chunked(obj), text->len > ROW_INLINE_BYTES_MAX);
    if (obj_is_chunked(obj)) {
        assert_int_equal(strval_len(obj), text->len);
        strval_copy(obj_coll(obj), first, got, len);
    } else {
        assert_int_equal(row_view(obj_row(obj), NOW_MS, &view), 0);
        assert_int_equal(view.value.len, text->len);
        shown = bytes_of(view.value.ptr + first, len);
    }
    assert_memory_equal(shown.ptr, text->bytes + first, len);
}

static void check_elem(struct core *c, const struct ks_key *key, unsigned s,
                       const struct model_key *m)
{
    char name[16], text[ROW_TEXT_BYTES];
    struct row_view view;
    int64_t value;
    const struct bytes sub = sub_of(s, name);

    need_elem(c, key, sub);
    struct obj *obj = ks_get(c->ks, key, NOW_MS);
    assert_non_null(obj);
    const struct elem *elem = coll_find(obj_coll(obj), sub);
    assert_int_equal(elem != NULL, m->has[s]);
    if (elem == NULL)
        return;
    if (m->type == VT_ZSET) {
        assert_int_equal((int64_t)coll_score(elem), m->elem[s]);
        return;
    }
    assert_int_equal(row_view(elem_row(elem), NOW_MS, &view), 0);
    assert_true(num_parse_i64(row_text(&view, text), &value));
    assert_int_equal(value, m->elem[s]);
}

/* The key is what the model says; one element of a collection, or all. */
static void check_key(struct core *c, unsigned k, bool all)
{
    char name[16];
    const struct ks_key key = key_of(k, name);
    const struct model_key *m = &c->model[k];

    need_key(c, &key);
    struct obj *obj = ks_get(c->ks, &key, NOW_MS);
    assert_int_equal(obj == NULL ? VT_NONE : obj->h.type, m->type);
    if (obj == NULL)
        return;
    assert_int_equal(ks_expire_at(obj), m->expire_at_ms);
    if (m->type == VT_STRING && m->is_text) {
        check_text(c, &key, &c->texts[k], all);
        return;
    }
    if (m->type == VT_STRING) {
        check_string(obj, m->value);
        return;
    }
    assert_int_equal(obj_coll(obj)->count, model_count(m));
    if (!all) {
        check_elem(c, &key, (unsigned)rng_below(&c->rng, SUBS), m);
        return;
    }
    for (unsigned s = 0; s < SUBS; s++)
        check_elem(c, &key, s, m);
}

static void check_count(struct core *c)
{
    uint64_t keys = 0, expiring = 0;

    for (unsigned k = 0; k < KEYS; k++) {
        keys += c->model[k].type != VT_NONE;
        expiring += c->model[k].type != VT_NONE && c->model[k].expire_at_ms != 0;
    }
    for (unsigned l = 0; l < LISTS; l++)
        keys += c->lists[l].count != 0;
    assert_int_equal(ks_count(c->ks), keys);
    assert_int_equal(ks_count_expiring(c->ks), expiring);
}

static void do_set(struct core *c, const struct ks_key *key, struct model_key *m)
{
    char text[32];
    const int64_t value = (int64_t)rng_below(&c->rng, 1000);
    const uint64_t at_ms = rng_below(&c->rng, 3) == 0 ? NOW_MS + 1000 + rng_below(&c->rng, 9) : 0;

    /* Blind: nothing is made resident. */
    mut_set(c->mut, key, number(value, text), at_ms);
    *m = (struct model_key){.type = VT_STRING, .value = value, .expire_at_ms = at_ms};
}

static void do_incr(struct core *c, const struct ks_key *key, struct model_key *m)
{
    int64_t out;
    const int64_t delta = (int64_t)rng_below(&c->rng, 100) - 50;

    if ((m->type != VT_STRING && m->type != VT_NONE) || m->is_text)
        return;
    assert_int_equal(mut_incr(c->mut, key, delta, &out), 0);
    m->type = VT_STRING;
    m->value += delta;
    assert_int_equal(out, m->value);
}

static void do_expire(struct core *c, const struct ks_key *key, struct model_key *m)
{
    if (m->type == VT_NONE)
        return;
    m->expire_at_ms = rng_below(&c->rng, 3) == 0 ? 0 : NOW_MS + 5000 + rng_below(&c->rng, 9);
    mut_expire(c->mut, key, m->expire_at_ms);
}

static void do_elem_set(struct core *c, const struct ks_key *key, struct model_key *m, unsigned s)
{
    char name[16], text[32];
    uint8_t score[ROW_SCORE_BYTES];
    const uint8_t type = m->type != VT_NONE           ? m->type
                         : rng_below(&c->rng, 2) == 0 ? VT_HASH
                                                      : VT_ZSET;

    if (type == VT_STRING)
        return;
    const int64_t value = (int64_t)rng_below(&c->rng, 1000);
    struct coll *coll = mut_coll(c->mut, key, type);
    assert_non_null(coll);
    /* Who does not know it cannot make elements that collide. */
    assert_int_equal(coll->tab.seed, HASH_SEED);
    row_score_store(score, (double)value);
    const bool created =
        mut_elem_set(c->mut, coll, sub_of(s, name),
                     type == VT_ZSET ? bytes_of(score, sizeof(score)) : number(value, text));
    assert_int_equal(created, !m->has[s]);
    m->type = type;
    m->has[s] = true;
    m->elem[s] = value;
}

static void do_elem_incr(struct core *c, const struct ks_key *key, struct model_key *m, unsigned s)
{
    char name[16];
    int64_t out;
    long double out_float;
    const int64_t delta = (int64_t)rng_below(&c->rng, 100) - 50;

    if (m->type != VT_HASH && m->type != VT_ZSET)
        return;
    struct coll *coll = mut_coll(c->mut, key, m->type);
    if (m->type == VT_HASH) {
        assert_int_equal(mut_elem_incr(c->mut, coll, sub_of(s, name), delta, &out), 0);
    } else {
        assert_int_equal(
            mut_elem_incr_float(c->mut, coll, sub_of(s, name), (long double)delta, &out_float), 0);
        out = (int64_t)out_float;
    }
    m->elem[s] = (m->has[s] ? m->elem[s] : 0) + delta;
    m->has[s] = true;
    assert_int_equal(out, m->elem[s]);
}

static void do_elem_del(struct core *c, const struct ks_key *key, struct model_key *m, unsigned s)
{
    char name[16];

    if ((m->type != VT_HASH && m->type != VT_ZSET) || !m->has[s])
        return;
    struct coll *coll = mut_coll(c->mut, key, m->type);
    m->has[s] = false;
    const bool left = mut_elem_del(c->mut, coll, sub_of(s, name));
    assert_int_equal(left, model_count(m) != 0);
    if (!left)
        *m = (struct model_key){0};
}

static void command(struct core *c)
{
    char name[16], sub[16];
    const unsigned k = (unsigned)rng_below(&c->rng, KEYS);
    const unsigned s = (unsigned)rng_below(&c->rng, SUBS);
    const unsigned what = (unsigned)rng_below(&c->rng, 100);
    const struct ks_key key = key_of(k, name);
    struct model_key *m = &c->model[k];

    while (mut_check(c->mut, 1000) != 0)
        turn(c);
    if (what >= 10)
        need_elem(c, &key, sub_of(s, sub));
    /* Many at once, so that collections come to be longer than what is read together. */
    for (unsigned i = 0; what >= 36 && what < 39 && i < SUBS; i++)
        need_elem(c, &key, sub_of(i, sub));
    mut_begin(c->mut, NOW_MS);
    if (what < 10) {
        do_set(c, &key, m);
    } else if (what < 20) {
        if (m->type != VT_NONE)
            mut_del(c->mut, &key);
        *m = (struct model_key){0};
    } else if (what < 30) {
        do_incr(c, &key, m);
    } else if (what < 36) {
        do_expire(c, &key, m);
    } else if (what < 39) {
        for (unsigned i = 0; i < SUBS; i++) {
            if (rng_below(&c->rng, 8) != 0)
                do_elem_set(c, &key, m, i);
        }
    } else if (what < 70) {
        do_elem_set(c, &key, m, s);
    } else if (what < 80) {
        do_elem_incr(c, &key, m, s);
    } else {
        do_elem_del(c, &key, m, s);
    }
    /* Sometimes several commands are one batch, as in EXEC. */
    if (what % 7 == 0 && (m->type == VT_STRING || m->type == VT_NONE)) {
        do_incr(c, &key, m);
        do_incr(c, &key, m);
        do_expire(c, &key, m);
    }
    (void)mut_end(c->mut);
    check_key(c, k, false);
}

/* --- strings by their parts --- */

static uint64_t text_offset(struct core *c)
{
    static const uint64_t places[] = {0, 1024, 16384, 20480, 65536, 70000};
    const uint64_t near = places[rng_below(&c->rng, ARRAY_COUNT(places))] + rng_below(&c->rng, 5);

    return rng_below(&c->rng, 2) == 0 ? near : rng_below(&c->rng, TEXT_MAX - 4000);
}

static void do_set_text(struct core *c, const struct ks_key *key, unsigned k)
{
    struct model_text *text = &c->texts[k];
    const uint64_t at_ms = rng_below(&c->rng, 3) == 0 ? NOW_MS + 1000 + rng_below(&c->rng, 9) : 0;

    text->len = 1 + text_offset(c);
    for (size_t i = 0; i < text->len; i++)
        text->bytes[i] = (uint8_t)('a' + (text->len + i * 7) % 26);
    mut_set(c->mut, key, bytes_of(text->bytes, text->len), at_ms);
    c->model[k] = (struct model_key){.type = VT_STRING, .is_text = true, .expire_at_ms = at_ms};
}

/* The model as a text of at least `len` bytes. */
static struct model_text *as_text(struct core *c, unsigned k, uint64_t len)
{
    char number_text[32];
    struct model_key *m = &c->model[k];
    struct model_text *text = &c->texts[k];

    if (!m->is_text) {
        const struct bytes shown = number(m->value, number_text);
        text->len = m->type == VT_NONE ? 0 : shown.len;
        memcpy(text->bytes, shown.ptr, text->len);
    }
    m->type = VT_STRING;
    m->is_text = true;
    if (len > text->len) {
        memset(text->bytes + text->len, 0, len - text->len);
        text->len = len;
    }
    return text;
}

static void do_patch(struct core *c, const struct ks_key *key, unsigned k, uint64_t offset)
{
    uint8_t patch[3000];
    uint64_t len;
    const size_t n = 1 + (size_t)rng_below(&c->rng, rng_below(&c->rng, 2) == 0 ? 20 : 3000);

    for (size_t i = 0; i < n; i++)
        patch[i] = (uint8_t)('A' + (n + i) % 26);
    assert_int_equal(mut_string_patch(c->mut, key, offset, bytes_of(patch, n), &len), 0);
    struct model_text *text = as_text(c, k, offset + n);
    memcpy(text->bytes + offset, patch, n);
    assert_int_equal(len, text->len);
}

static void do_bits(struct core *c, const struct ks_key *key, unsigned k, uint64_t offset)
{
    const uint32_t count = 1 + (uint32_t)rng_below(&c->rng, 64);
    const uint64_t bit = offset * 8 + rng_below(&c->rng, 8);
    const uint64_t value = rng_u64(&c->rng) >> (64 - count);

    assert_int_equal(mut_string_bits(c->mut, key, bit, count, value), 0);
    struct model_text *text = as_text(c, k, (bit + count - 1) / 8 + 1);
    for (uint32_t i = 0; i < count; i++)
        row_chunk_put_bit(text->bytes, bit + i, (value >> (count - 1 - i) & 1) != 0);
}

/* One batch of up to four changes of a string. */
static void string_command(struct core *c)
{
    char name[16];
    int64_t out;
    const unsigned k = (unsigned)rng_below(&c->rng, KEYS);
    const struct ks_key key = key_of(k, name);
    struct model_key *m = &c->model[k];
    const unsigned changes = rng_below(&c->rng, 3) == 0 ? 4 : 1;
    const uint64_t offset = text_offset(c);

    while (mut_check(c->mut, 400000) != 0)
        turn(c);
    need_key(c, &key);
    /* A single change finds what it needs and no more. */
    need_bytes(c, &key, changes == 1 ? offset : 0, changes == 1 ? offset + 3100 : TEXT_MAX);
    mut_begin(c->mut, NOW_MS);
    for (unsigned i = 0; i < changes; i++) {
        const unsigned what = (unsigned)rng_below(&c->rng, 10);
        const bool is_string = m->type == VT_NONE || m->type == VT_STRING;
        if (what == 0) {
            do_set_text(c, &key, k);
        } else if (what == 1 && m->type != VT_NONE) {
            mut_del(c->mut, &key);
            *m = (struct model_key){0};
        } else if (what == 2) {
            do_expire(c, &key, m);
        } else if (what == 3 && m->is_text && c->texts[k].len > ROW_INLINE_BYTES_MAX) {
            assert_int_equal(mut_incr(c->mut, &key, 1, &out), -ERR_FORMAT);
        } else if (what < 7 && is_string) {
            do_patch(c, &key, k, offset);
        } else if (is_string) {
            do_bits(c, &key, k, offset);
        }
    }
    (void)mut_end(c->mut);
    check_key(c, k, false);
}

/* --- what happens beside the commands --- */

static void write_back(struct core *c)
{
    ks_flush_point(c->ks, oplog_applied_lsn(c->log), mut_vv(c->mut));
    const uint64_t bytes_max = rng_below(&c->rng, 4) == 0 ? 1u << 20 : 5000;
    (void)ks_flush_start(c->ks, 1 + rng_below(&c->rng, bytes_max), NOW_MS);
    flush_step(c);
    if (rng_below(&c->rng, 2) == 0)
        settle(c);
}

static void demote(struct core *c)
{
    ks_set_pressure(c->ks, true);
    for (int i = 0; i < 6; i++)
        (void)ks_demote_some(c->ks, UINT64_MAX / 2, 1000000);
}

/* --- the checkpoint of the key table --- */

static void checkpoint(struct core *c)
{
    struct ks_keys_info info;

    if (rng_below(&c->rng, 2) == 0) {
        settle(c);
        assert_int_equal(store_flush(c->rig.store), 0);
    }
    ks_keys_info(c->ks, &info);
    if (rng_below(&c->rng, 4) == 0 && !info.merging)
        keys_file_harm(&c->rng, c->keys_path, c->keys_old, c->keys_alien);
    (void)ks_keys_start(c->ks, NOW_MS);
    for (uint64_t turns = rng_below(&c->rng, 8); turns != 0; turns--)
        turn(c);
    if (rng_below(&c->rng, 2) == 0)
        settle(c);
    ks_keys_info(c->ks, &info);
    c->checkpoints += info.written_ms != 0;
    if (rng_below(&c->rng, 4) == 0 && !info.merging)
        keys_file_copy(c->keys_path, c->keys_old);
}

/* As shard_flush_all does it for a large data set. */
static void flush_all(struct core *c)
{
    struct store_mem_disk *disk = store_mem_disk_create();
    const struct store_options options = {.merge = {.merge = rig_merge_rows}};
    const uint64_t lsn = oplog_applied_lsn(c->log);

    ks_keys_stop(c->ks);
    settle(c);
    while (oplog_durable_lsn(c->log) < lsn) {
        oplog_request_sync(c->log);
        turn(c);
    }
    ks_flush_point(c->ks, lsn, mut_vv(c->mut));
    ks_clear(c->ks);
    struct store *fresh =
        keys_store_fresh(disk, &options, rng_below(&c->rng, 4) != 0, lsn, mut_vv(c->mut));
    keys_file_copy(c->keys_path, c->keys_alien);
    /* Its number is in the file's name; here the old file may even be in its place. */
    if (rng_below(&c->rng, 2) == 0)
        keyfile_remove(c->keys_path);
    store_close(c->rig.store);
    store_mem_disk_destroy(c->disk);
    c->rig.store = fresh;
    c->disk = disk;
    ks_set_store(c->ks, fresh, c->keys_path);
    memset(c->model, 0, sizeof(c->model));
    memset(c->lists, 0, sizeof(c->lists));
    c->flushes++;
}

static void crash(struct core *c)
{
    struct ks_keys_info info;

    if (rng_below(&c->rng, 2) == 0) {
        settle(c);
        assert_int_equal(store_flush(c->rig.store), 0);
        if (rng_below(&c->rng, 2) == 0) {
            for (int i = 0; i < 3; i++)
                write_back(c);
        }
    }
    ks_keys_stop(c->ks);
    core_close(c);
    keys_file_harm(&c->rng, c->keys_path, c->keys_old, c->keys_alien);
    core_open(c);
    c->recoveries++;
    c->rooms += c->replay_rooms;
    ks_keys_info(c->ks, &info);
    c->loaded += info.loaded;
    c->scanned += !info.loaded;
    check_count(c);
    for (unsigned k = 0; k < KEYS; k++)
        check_key(c, k, true);
    for (unsigned l = 0; l < LISTS; l++)
        check_list(c, l, rng_below(&c->rng, 2) == 0);
    if (rng_below(&c->rng, 3) == 0)
        check_index(c);
}

/* The run has met what it is about. */
static bool has_met_all(const struct core *c)
{
    return c->waits > 0 && c->partial > 0 && c->partial_zsets > 0 && c->recoveries > 0 &&
           c->checkpoints > 0 && c->flushes > 0 && c->loaded > 0 && c->scanned > 0 && c->rooms > 0;
}

static void keyspace_equals_the_model_through_tiers_and_crashes(void **state)
{
    static struct core c;
    const uint64_t steps = seed_number("TIERRA_PROP_RUNS", 12000);

    (void)state;
    core_init(&c);
    for (uint64_t i = 0; i < steps || (!has_met_all(&c) && i < steps * PATIENCE); i++) {
        const unsigned what = (unsigned)rng_below(&c.rng, 1000);
        if (what < 60)
            write_back(&c);
        else if (what < 100)
            demote(&c);
        else if (what < 104)
            crash(&c);
        else if (what < 116)
            checkpoint(&c);
        else if (what < 117)
            flush_all(&c);
        else if (what < 350)
            list_command(&c);
        else if (what < 500)
            string_command(&c);
        else if (what < 580)
            check_ranges(&c);
        else
            command(&c);
        ks_wait_unpin(&c.wait);
        if (i % 16 == 0)
            turn(&c);
        check_count(&c);
    }
    assert_true(has_met_all(&c));
    core_deinit(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keyspace_equals_the_model_through_tiers_and_crashes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
