/*
 * The key table at start: from its checkpoint and the journal of keys, or, where they cannot be
 * used, from the key rows of the store, which makes a new checkpoint at the same time.
 */
#include "engine/space/keyload.h"

#include <errno.h>
#include <stdio.h>

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/log.h"

#include "engine/space/group.h"
#include "engine/space/keyscan.h"
#include "engine/space/ks_state.h"
#include "engine/space/recover.h"

/* Keys given to the table at once. */
#define LOAD_KEYS 512
/* Changes whose places in the table are loaded into the processor's cache together. */
#define AHEAD_CHANGES 32

/* --- from the checkpoint --- */

/* Takes `state` to be what the store has of the key. */
static void apply(struct keytab *tab, uint16_t slot, uint64_t state)
{
    struct keytab_ref ref;
    const uint64_t hash = keystate_hash(state);
    const uint8_t type = keystate_type(state);
    const bool ttl = keystate_has_ttl(state);
    const bool there = keytab_find(tab, slot, hash, bytes_of(NULL, 0), &ref) == KEYTAB_COLD;

    if (there && type == VT_NONE)
        keytab_remove(tab, &ref);
    else if (there)
        keytab_set_cold(tab, &ref, hash, type, ttl, false);
    else if (type != VT_NONE)
        keytab_insert_cold(tab, slot, hash, type, ttl);
}

struct loading {
    struct keytab *tab;
    struct keyload *out;
};

static int apply_row(void *ctx, struct bytes entries)
{
    const struct loading *l = ctx;
    struct keytab_ahead ahead[AHEAD_CHANGES];
    uint64_t states[AHEAD_CHANGES];

    while (entries.len != 0) {
        uint32_t n = 0;
        for (; entries.len != 0 && n < AHEAD_CHANGES; n++) {
            const int err = keylog_entry_get(&entries, &ahead[n].slot, &states[n]);
            if (err != 0)
                return err;
            ahead[n].hash = keystate_hash(states[n]);
        }
        keytab_ahead(l->tab, ahead, n);
        for (uint32_t i = 0; i < n; i++)
            apply(l->tab, ahead[i].slot, states[i]);
        l->out->changes += n;
    }
    return 0;
}

static void load_group(struct keytab *tab, const struct keyfile_group *g)
{
    struct keytab_cold cold[LOAD_KEYS];
    const uint8_t *from = g->states;

    for (uint32_t left = g->count; left != 0;) {
        const uint32_t n = left < LOAD_KEYS ? left : LOAD_KEYS;
        for (uint32_t i = 0; i < n; i++, from += KEYSTATE_BYTES) {
            const uint64_t state = keystate_load(from);
            cold[i] = (struct keytab_cold){.hash = keystate_hash(state),
                                           .type = keystate_type(state),
                                           .has_ttl = keystate_has_ttl(state)};
        }
        keytab_load_cold(tab, g->slot, cold, n);
        left -= n;
    }
}

/* The file's keys; a store that never had a checkpoint has all in its journal. */
static int load_file(struct keytab *tab, const char *path, struct keyload *out)
{
    struct keyfile_reader r;
    struct keyfile_group group;

    int err = keyfile_open(&r, path);
    if (err == -ENOENT)
        return 0;
    if (err != 0)
        return err;
    out->file = r.head;
    if (r.head.id != out->head.id || r.head.base > out->head.last) {
        keyfile_close(&r);
        return -ERR_LOST;
    }
    while ((err = keyfile_next(&r, &group)) > 0)
        load_group(tab, &group);
    out->offset = r.offset;
    keyfile_close(&r);
    return err;
}

int keyload_table(struct keytab *tab, struct store *store, const char *path, struct keyload *out)
{
    struct loading l = {.tab = tab, .out = out};

    *out = (struct keyload){.what = "journal"};
    int err = keylog_read_head(store, false, &out->head);
    if (err != 0)
        return err;
    out->what = "checkpoint";
    err = load_file(tab, path, out);
    if (err != 0)
        return err;
    /* What is missing at the front of a journal was removed when there was a checkpoint. */
    out->what = out->file.base == 0 ? "checkpoint, which is missing," : "journal";
    struct keylog_span span = {.next = out->file.base + 1, .last = out->head.last};
    return keylog_read(store, &span, UINT64_MAX, apply_row, &l);
}

/* --- from the key rows --- */

struct scan {
    struct keyspace *ks;
    struct keyfile_writer file; /* The new checkpoint; fd -1: none. */
    int file_err;
};

static int add_key(void *ctx, uint16_t slot, uint64_t hash, uint8_t type, bool has_ttl)
{
    struct scan *s = ctx;

    keytab_insert_cold(s->ks->tab, slot, hash, type, has_ttl);
    if (s->file.fd >= 0 && s->file_err == 0)
        s->file_err = keyfile_add(&s->file, slot, keystate_of(hash, type, has_ttl));
    return 0;
}

static int read_key_rows(struct scan *s)
{
    struct keyscan rows;

    keyscan_init(&rows, s->ks->options.store, s->ks->group != NULL);
    const int err = keyscan_next(&rows, UINT64_MAX, add_key, s);
    keyscan_deinit(&rows);
    return err;
}

/* A store without a head, or with a damaged one, gets one. */
static int make_head(struct keyspace *ks, struct keylog_head *head)
{
    struct store_batch batch;

    int err = keylog_new_id(&head->id);
    if (err == 0)
        err = keylog_read_last(ks->options.store, &head->last);
    if (err != 0)
        return err;
    store_batch_init(&batch, 4096);
    keylog_put_head(&batch, head);
    err = store_write(ks->options.store, &batch, 0);
    store_batch_deinit(&batch);
    return err;
}

static void file_begin(struct scan *s, const struct keylog_head *head)
{
    const struct keyfile_head h = {
        .id = head->id, .base = head->last, .written_ms = clock_wall_ms()};

    s->file.fd = -1;
    if (s->ks->keys.path != NULL)
        s->file_err = keyfile_create(&s->file, s->ks->keys.path, &h);
}

/* The journal goes on without a checkpoint: the next start reads the key rows again. */
static void file_end(struct scan *s, bool complete)
{
    struct ks_keys *k = &s->ks->keys;

    if (s->file.fd >= 0 && complete && s->file_err == 0)
        s->file_err = keyfile_finish(&s->file);
    else
        keyfile_abort(&s->file);
    k->base = s->file.head.base;
    k->changes = 0;
    k->written_ms = s->file.head.written_ms;
    if (s->file_err != 0)
        LOG_WARN("space", "cannot write a checkpoint of the key table path=%s err=\"%s\"", k->path,
                 err_str(s->file_err));
}

static void say(char *why, size_t why_len, const char *what, int err)
{
    (void)snprintf(why, why_len, "%s: %s", what, err_str(err));
}

/* Fills the table from the store, and makes a checkpoint of it. */
static int scan(struct keyspace *ks, struct keylog_head *head, char *why, size_t why_len)
{
    struct scan s = {.ks = ks};

    keytab_destroy(ks->tab);
    ks->tab = keytab_create(ks->options.seed);
    const bool make = ks->keys.path != NULL && head->id == 0;
    if (make) {
        const int err = make_head(ks, head);
        if (err != 0) {
            say(why, why_len, "cannot write to the store", err);
            return err;
        }
    }
    file_begin(&s, head);
    int err = read_key_rows(&s);
    file_end(&s, err == 0);
    if (err != 0)
        say(why, why_len, "a key row of the store is damaged; see tierra-inspect verify", err);
    /* So that the next start can use it even after a crash. An empty store is read quickly. */
    if (err == 0 && make && keytab_count_cold(ks->tab) != 0) {
        err = store_flush(ks->options.store);
        if (err != 0)
            say(why, why_len, "cannot write to the store", err);
    }
    return err;
}

/* --- all of it --- */

static int load_sweeps(struct keyspace *ks)
{
    static const uint8_t first[2] = {ROWKEY_SPECIAL, ROWKEY_SWEEP};
    static const uint8_t beyond[2] = {ROWKEY_SPECIAL, ROWKEY_SWEEP + 1};
    const struct store_iter_options options = {.lower = bytes_of(first, 2),
                                               .upper = bytes_of(beyond, 2)};
    struct store_iter *it;
    struct rowkey rk;
    struct bytes row;

    int err = store_iter_open(ks->options.store, &options, &it);
    if (err != 0)
        return err;
    store_iter_seek(it, bytes_of(NULL, 0));
    for (; store_iter_valid(it) && err == 0; store_iter_next(it)) {
        err = rowkey_parse_sweep(store_iter_key(it), &rk);
        if (err != 0)
            break;
        if (store_iter_row(it, &row) != STORE_FOUND || row.len != 1 + TAG_BYTES) {
            err = -ERR_CORRUPT;
            break;
        }
        const struct ks_key key = {.name = rk.key, .hash = rk.hash, .slot = rk.slot};
        ks_sweep_load(ks, &key, tag_load(row.ptr + 1));
    }
    if (err == 0)
        err = store_iter_status(it);
    store_iter_close(it);
    return err;
}

/* What the journal goes on from. */
static void take_loaded(struct ks_keys *k, const struct keyload *l)
{
    k->base = l->file.base;
    k->covered_lsn = l->file.covered_lsn;
    k->written_ms = l->file.written_ms;
    k->changes = l->changes;
    k->loaded = true;
}

int ks_recover_table(struct keyspace *ks, char *why, size_t why_len)
{
    struct ks_keys *k = &ks->keys;
    struct keyload l = {.what = ""};
    const uint64_t began_ns = clock_mono_ns();

    ks->recovering = true;
    int err = load_sweeps(ks);
    if (err != 0) {
        say(why, why_len, "cannot read the store", err);
        return err;
    }
    err = k->path == NULL ? -ERR_NOT_FOUND : keyload_table(ks->tab, ks->options.store, k->path, &l);
    if (err == 0) {
        take_loaded(k, &l);
    } else {
        if (err != -ERR_NOT_FOUND)
            LOG_WARN("space",
                     "the %s of the key table cannot be used, reading all key rows path=%s "
                     "err=\"%s\"",
                     l.what, k->path, err_str(err));
        err = scan(ks, &l.head, why, why_len);
    }
    if (err != 0)
        return err;
    k->head = l.head;
    ks_group_count_loaded(ks);
    LOG_NOTICE("space", "key table from=%s keys=%llu changes=%llu ms=%llu",
               k->loaded ? "checkpoint" : "rows", (unsigned long long)ks_count(ks),
               (unsigned long long)k->changes,
               (unsigned long long)((clock_mono_ns() - began_ns) / 1000000));
    return 0;
}
