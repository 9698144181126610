/*
 * Reads of a group's keys: whole keys for commands, and in the background to settle whether a key
 * exists.
 *
 * All rows of a key are neighbours. A flight reads them in slices and keeps what it has read; when
 * it has all of them, they are joined with the overlay as it is then. What the flusher has written
 * meanwhile makes the flight stale (ks_group_written), since it may have missed it.
 *
 * A probe reads like that, too, but settles the table's entry only, and reads no chunks of strings
 * beyond the first. The name of a key that nobody has named since it went to the store is found by
 * its slot and hash.
 *
 * A sweep, of what may be larger than what may be loaded, takes each slice as it comes, with the
 * key row that was read just before, and ends: the next one goes on from there (group_sweep.c).
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/flight.h"
#include "engine/space/group_impl.h"
#include "engine/space/group_loaded.h"
#include "engine/space/resident.h"
#include "engine/value/op.h"
#include "engine/value/row_chunk.h"

/* Probes under way, and buckets of the overlay and leaves of the table that one step looks at. */
#define PROBES_MAX   16u
#define STEP_BUCKETS 256u
#define STEP_LEAVES  16u

/* --- on the pool's threads --- */

/* Adds the row at the cursor: what follows the key in its name, and the row. */
static bool take_row(struct flight *f, struct store_iter *it)
{
    struct rowkey rk;
    struct bytes row;
    const struct bytes name = store_iter_key(it);

    if (rowkey_parse(name, &rk) != 0 || !bytes_eq(rk.key, flight_key(f).name))
        return false;
    if (store_iter_row(it, &row) != STORE_FOUND) {
        f->err = -ERR_CORRUPT;
        return false;
    }
    f->err = flight_rows_add(f, bytes_from(name, ROWKEY_HEAD_BYTES + rk.key.len), row);
    /* Chunks, which come last, say nothing of whether the key exists. */
    return f->err == 0 && (f->kind != FLIGHT_PROBE || rk.kind != ROWKEY_KIND_CHUNK);
}

/* Of a flight that begins in the middle. */
static void read_key_row(struct flight *f)
{
    const struct bytes name = flight_row_key(f);
    struct store_value value;

    store_get(f->ks->options.store, name, STORE_READ_NO_FILL, &value);
    if (value.status == STORE_FOUND)
        f->err =
            flight_rows_add(f, bytes_from(name, ROWKEY_HEAD_BYTES + (size_t)f->key_len), value.row);
    else if (value.status != STORE_ABSENT)
        f->err = value.err != 0 ? value.err : -ERR_CORRUPT;
    store_value_release(&value);
}

static void read_slices(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++) {
        struct flight *f = container_of(jobs[i], struct flight, job);
        if (f->rows.len == 0 && f->resume.len != 0)
            read_key_row(f);
        if (f->err == 0)
            flight_read_slice(f, take_row);
    }
}

/* --- what was read --- */

bool group_loaded_next(struct bytes *in, uint8_t *kind, struct bytes *sub, struct bytes *row)
{
    struct bytes name;

    if (!flight_rows_take(in, &name, row) || name.len == 0)
        return false;
    const size_t skip = 1 + (rowkey_kind_hashed(name.ptr[0]) ? ROWKEY_HASH_BYTES : 0);
    *kind = name.ptr[0];
    *sub = name.len < skip ? bytes_of(NULL, 0) : bytes_from(name, skip);
    return true;
}

struct overlay_entry *group_loaded_over(const struct loaded *l, uint8_t kind, struct bytes sub)
{
    return l->over == NULL ? NULL : overlay_find(&l->ks->group->overlay, l->over, kind, sub);
}

/* A row of the store with what the overlay has of it. */
static struct bytes joined(const struct loaded *l, struct bytes row, const struct overlay_entry *o)
{
    struct ks_group *g = l->ks->group;

    if (o != NULL && o->full)
        return overlay_row(o);
    return group_fold(g, row, o == NULL ? bytes_of(NULL, 0) : overlay_row(o));
}

/* The same of an element, under the key's clear vector. */
struct bytes group_loaded_elem(const struct loaded *l, struct bytes row,
                               const struct overlay_entry *o)
{
    struct ks_group *g = l->ks->group;
    struct bytes out = joined(l, row, o);

    if (group_row_dead(out))
        return bytes_of(NULL, 0);
    if (vv_empty(&l->clear) || row_is_chunk(out))
        return out;
    buf_clear(&g->clipped);
    if (row_clip(out, &l->clear, &g->clipped) != 0)
        return out;
    out = buf_bytes(&g->clipped);
    return group_row_dead(out) ? bytes_of(NULL, 0) : out;
}

/* Begins with the key row. 0 or -ENOMEM. */
static int loaded_init(struct loaded *l, const struct flight *f)
{
    struct bytes in = buf_bytes(&f->rows), sub, row = {0}, stored = {0};
    uint8_t kind;

    *l = (struct loaded){.ks = f->ks, .key = flight_key(f), .any = in.len != 0};
    l->over = overlay_key_find(&f->ks->group->overlay, &l->key);
    l->rows = in;
    buf_init(&l->key_row, UINT32_MAX);
    if (group_loaded_next(&in, &kind, &sub, &row) && kind == ROWKEY_KIND_KEY) {
        stored = row;
        l->rows = in;
    }
    const struct bytes joined_row =
        joined(l, stored, group_loaded_over(l, ROWKEY_KIND_KEY, bytes_of(NULL, 0)));
    if (!group_row_dead(joined_row)) {
        const int err = buf_append_bytes(&l->key_row, joined_row);
        if (err != 0)
            return err;
    }
    group_view(buf_bytes(&l->key_row), &l->view);
    l->shape = group_shape_of(&l->view);
    if (row_clear(buf_bytes(&l->key_row), &l->clear) != 0)
        vv_init(&l->clear);
    return 0;
}

/* --- becoming hot --- */

/* The element takes its entry's place in the ring. */
static void take_entry(struct loaded *l, struct coll *coll, struct elem *e, struct overlay_entry *o)
{
    group_inherit(l->ks, &o->h, &e->h, coll);
    overlay_remove(&l->ks->group->overlay, o);
    /* It may have been the last. */
    l->over = overlay_key_find(&l->ks->group->overlay, &l->key);
}

static void install_elem(struct loaded *l, struct coll *coll, struct bytes sub, struct bytes row,
                         struct overlay_entry *o)
{
    if (elemtab_find(&coll->tab, sub) != NULL)
        return;
    const struct bytes full = group_loaded_elem(l, row, o);
    if (full.len == 0 && o == NULL)
        return; /* Garbage that waits to be swept. */
    struct elem *e = group_elem_load(l->ks, coll, sub, full, true);
    if (o != NULL)
        take_entry(l, coll, e, o);
}

static void install_elems(struct loaded *l, struct coll *coll)
{
    const uint8_t want = coll_row_kind(coll->type);
    struct bytes in = l->rows, sub, row;
    uint8_t kind;

    while (group_loaded_next(&in, &kind, &sub, &row)) {
        if (kind == want)
            install_elem(l, coll, sub, row, group_loaded_over(l, kind, sub));
    }
    /* Those that the store does not have. The key's record lives as long as its last entry. */
    struct list_link *link = l->over == NULL ? NULL : list_first(&l->over->entries);
    while (link != NULL) {
        struct overlay_entry *o = LIST_ITEM(link, struct overlay_entry, link);
        link = link->next == &l->over->entries.head ? NULL : link->next;
        if (o->kind == want)
            install_elem(l, coll, overlay_sub(o), bytes_of(NULL, 0), o);
    }
}

static bool is_plain(const struct loaded *l)
{
    return l->shape.type == VT_NONE || l->shape.type == VT_STRING;
}

static void install(struct loaded *l, struct keytab_ref *ref)
{
    struct keyspace *ks = l->ks;
    struct overlay_entry *o = group_loaded_over(l, ROWKEY_KIND_KEY, bytes_of(NULL, 0));
    const struct bytes row = buf_bytes(&l->key_row);
    struct coll *coll = is_plain(l) ? NULL : group_coll_new(ks, &l->key, &l->shape);
    struct obj *obj = obj_new(l->key.name, coll == NULL ? l->view.type : coll->type,
                              BLK_STORED | (coll == NULL ? 0 : BLK_COLL), coll, row.len);

    if (row.len != 0)
        memcpy(obj_row_ptr(obj), row.ptr, row.len);
    ks->bytes += obj_bytes(obj);
    /* What is in DRAM now goes to the store without the overlay. */
    if (l->over != NULL) {
        l->over->fresh = false;
        obj->pins = (uint8_t)u64_min(l->over->pins, UINT8_MAX);
        l->over->pins = 0;
    }
    /* Another read of it will bring what is old by the time that the key is cold again. */
    ks_flights_stale(ks, &l->key);
    group_uncount_cold(ks, ref);
    keytab_set_hot(ks->tab, ref, l->key.hash, obj);
    if (coll != NULL) {
        coll->obj = obj;
        coll->stored = true;
        group_coll_derive(ks, coll, &l->view);
        install_elems(l, coll);
        coll_account(ks, coll);
        /* What was noted is forgotten in a crash. */
        if (coll->folds != NULL)
            (void)ks_group_collect_key(ks, &l->key);
        o = group_loaded_over(l, ROWKEY_KIND_KEY, bytes_of(NULL, 0));
    }
    if (o != NULL) {
        group_inherit(ks, &o->h, &obj->h, NULL);
        overlay_remove(&ks->group->overlay, o);
    }
    group_refresh(ks, &l->key, obj);
    group_account(ks);
    ks->metrics.promotions++;
}

/* --- settling an entry of the table --- */

static bool elem_alive(const struct loaded *l, struct bytes row, const struct overlay_entry *o)
{
    struct row_view view;
    const struct bytes full = group_loaded_elem(l, row, o);

    return full.len != 0 && row_view(full, 0, &view) == 0 && view.present;
}

static bool any_alive(const struct loaded *l)
{
    const uint8_t want = coll_row_kind(l->shape.type);
    struct bytes in = l->rows, sub, row;
    uint8_t kind;

    while (group_loaded_next(&in, &kind, &sub, &row)) {
        if (kind == want && elem_alive(l, row, group_loaded_over(l, kind, sub)))
            return true;
    }
    if (l->over == NULL)
        return false;
    LIST_FOR_EACH(link, &l->over->entries) {
        const struct overlay_entry *o = LIST_ITEM(link, struct overlay_entry, link);
        if (o->kind == want && elem_alive(l, bytes_of(NULL, 0), o))
            return true;
    }
    return false;
}

/* `all`: all rows of the key were read. */
static void settle(struct loaded *l, const struct keytab_ref *ref, bool all)
{
    uint8_t type = ks_group_cold_type(buf_bytes(&l->key_row), &l->view);

    if (!l->any && l->over == NULL) {
        group_uncount_cold(l->ks, ref);
        keytab_remove(l->ks->tab, ref);
        return;
    }
    if (type == KS_MAYBE)
        type = all && !any_alive(l) ? KS_GHOST : l->shape.type;
    group_set_cold(l->ks, ref, l->key.hash, type, l->view.expire_at_ms != 0);
}

/* --- back on the shard's thread --- */

/* All of the key has come, and may be loaded. */
static bool fits(const struct flight *f)
{
    /* A slice is as long as its last row, which may be larger than what may be loaded. */
    return f->end && f->rows.len <= f->ks->scan_bytes_max;
}

/* And it is little enough to be loaded for a write of the whole key. */
static bool is_small(const struct flight *f)
{
    const uint32_t max = f->ks->options.small_bytes_max;

    return fits(f) && (max == 0 || f->rows.len <= max);
}

/* The key row of a key that is not loaded stays for those who wait for it. */
static void keep_row(struct loaded *l, const struct flight *f)
{
    struct overlay *o = &l->ks->group->overlay;

    if (list_empty(&f->waiters))
        return;
    struct overlay_key *k = overlay_key_get(o, &l->key);
    struct overlay_entry *e =
        overlay_put(o, k, ROWKEY_KIND_KEY, bytes_of(NULL, 0), buf_bytes(&l->key_row), true);
    CHECK(e->key == k);
    group_account(l->ks);
}

/*
 * Of a load: rows that came with the last slice, and of which nothing is left under the clear
 * vector, do not count for what may be loaded. It only grows while the others come.
 */
static void drop_garbage(struct flight *f)
{
    struct loaded l;
    struct bytes sub, row;
    uint8_t kind;

    if (f->kind != FLIGHT_GROUP || f->err != 0 || f->stale || fits(f))
        return;
    f->err = loaded_init(&l, f);
    if (f->err != 0 || vv_empty(&l.clear)) {
        f->scanned_bytes = f->rows.len;
        buf_deinit(&l.key_row);
        return;
    }
    uint8_t *const begin = f->rows.ptr;
    const size_t first = (size_t)u64_max(f->scanned_bytes, f->rows.len - l.rows.len);
    struct bytes in = bytes_from(buf_bytes(&f->rows), first);
    size_t to = first;
    while (in.len != 0) {
        const struct bytes from = in;
        if (!group_loaded_next(&in, &kind, &sub, &row))
            in = bytes_from(from, from.len);
        else if (!row_is_chunk(row) && row_covered(row, &l.clear) &&
                 group_loaded_over(&l, kind, sub) == NULL)
            continue;
        memmove(begin + to, from.ptr, from.len - in.len);
        to += from.len - in.len;
    }
    f->rows.len = to;
    f->scanned_bytes = to;
    buf_deinit(&l.key_row);
}

/*
 * Whether the first slice of a key will do: no more is asked for, or nothing but the key row shows,
 * whatever others have left behind.
 */
static bool has_enough(struct flight *f)
{
    struct loaded l;

    if ((f->kind != FLIGHT_GROUP && f->kind != FLIGHT_ROW) || f->slices++ != 0 || f->stale ||
        f->err != 0 || fits(f))
        return false;
    f->err = loaded_init(&l, f);
    const bool plain = is_plain(&l);
    buf_deinit(&l.key_row);
    return f->err == 0 && (f->kind == FLIGHT_ROW || plain);
}

static int landed(struct flight *f, bool all)
{
    struct keyspace *ks = f->ks;
    struct keytab_ref ref;
    struct loaded l;
    const struct ks_key key = flight_key(f);

    if (keytab_find(ks->tab, key.slot, key.hash, key.name, &ref) != KEYTAB_COLD)
        return 0;
    const int err = loaded_init(&l, f);
    if (err == 0 && f->kind == FLIGHT_ROW && !is_small(f) && !is_plain(&l)) {
        keep_row(&l, f);
    } else if (err == 0 && (f->kind == FLIGHT_GROUP || f->kind == FLIGHT_ROW)) {
        install(&l, &ref);
        ks_probation_add(ks, &key);
    } else if (err == 0 && f->kind == FLIGHT_PROBE) {
        settle(&l, &ref, all);
    } else if (err == 0 && all && group_gc_horizons(ks) != NULL) {
        group_loaded_collect(&l, &ref);
    }
    buf_deinit(&l.key_row);
    return err;
}

/*
 * Takes the slice of a sweep, whatever the key shows: also what a DEL has left of a value may be
 * more than what may be loaded. False if the slice is all there is of it.
 */
static bool part_landed(struct flight *f)
{
    struct keytab_ref ref;
    struct loaded l;
    const struct ks_key key = flight_key(f);
    bool part;

    if (f->kind != FLIGHT_SWEEP || f->slices++ != 0)
        return false;
    if (f->stale && f->resumed)
        group_gc_again(f->ks, &key);
    if (f->stale || f->err != 0 || group_gc_horizons(f->ks) == NULL ||
        keytab_find(f->ks->tab, key.slot, key.hash, key.name, &ref) != KEYTAB_COLD)
        return f->resumed;
    f->err = loaded_init(&l, f);
    part = f->err != 0 || f->resumed || !f->end || l.shape.type == VT_CHUNKED;
    if (f->err == 0 && part)
        group_loaded_collect_part(&l, &ref, f);
    buf_deinit(&l.key_row);
    return part;
}

static void on_slice(struct mail *mail)
{
    struct flight *f = container_of(container_of(mail, struct pool_job, mail), struct flight, job);
    struct ks_group *g = f->ks->group;
    const bool probe = f->kind == FLIGHT_PROBE || f->kind == FLIGHT_SWEEP;
    drop_garbage(f);
    const bool part = part_landed(f) || has_enough(f);
    const bool full = f->rows.len > f->ks->scan_bytes_max;

    if (!part && f->err == 0 && !f->stale && !f->end && !full) {
        pool_submit(&g->load_class, &f->job);
        return;
    }
    f->ks->metrics.row_reads++;
    g->metrics.read_bytes += f->rows.len;
    f->ks->metrics.stale_reads += f->stale;
    if (f->kind != FLIGHT_SWEEP && part)
        f->err = landed(f, false);
    else if (!part && f->err == 0 && !f->stale)
        f->err = full && !probe ? -ERR_LIMIT : landed(f, !full);
    f->ks->metrics.row_read_errors += f->err != 0;
    g->probes -= probe;
    flight_land(f);
    flight_finish(f, f->stale ? 0 : f->err);
}

static struct flight *start(struct keyspace *ks, const struct ks_key *key, enum flight_kind kind,
                            struct bytes resume)
{
    struct flight *f = flight_create(ks, key, &(struct flight_spec){.kind = kind}, on_slice);

    f->resumed = resume.len != 0;
    f->err = buf_append_bytes(&f->resume, resume);
    pool_submit(&ks->group->load_class, &f->job);
    return f;
}

int group_need(struct keyspace *ks, const struct ks_key *key, enum flight_kind kind,
               struct ks_wait *wait)
{
    struct ks_group *g = ks->group;
    struct flight *f = flight_find(ks, kind, key, bytes_of(NULL, 0));

    if (f == NULL) {
        f = start(ks, key, kind, bytes_of(NULL, 0));
        g->probes += kind == FLIGHT_PROBE;
        g->metrics.probes += kind == FLIGHT_PROBE;
        g->metrics.loads += kind == FLIGHT_GROUP;
        g->metrics.row_loads += kind == FLIGHT_ROW;
    }
    return flight_wait(f, wait);
}

int ks_group_need(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait)
{
    return group_need(ks, key, FLIGHT_GROUP, wait);
}

/* --- unsettled keys --- */

/* The search for the name of a cold key. */
struct group_name {
    struct pool_job job;
    struct keyspace *ks;
    uint64_t hash;
    uint16_t slot;
    bool found;
    bool ended;
    bool sure; /* Nothing was in the overlay when it began. */
    struct buf name;
};

static uint64_t cold_bits(uint64_t hash)
{
    return hash >> (64 - KEYTAB_HASH_BITS);
}

static void search_name(struct group_name *n)
{
    struct store_iter *it;
    struct rowkey rk;
    uint8_t from[10];
    const struct store_iter_options options = {0};

    if (store_iter_open(n->ks->options.store, &options, &it) != 0)
        return;
    be16_store(from, n->slot);
    be64_store(from + 2, cold_bits(n->hash) << (64 - KEYTAB_HASH_BITS));
    store_iter_seek(it, bytes_of(from, sizeof(from)));
    n->found = store_iter_valid(it) && rowkey_parse(store_iter_key(it), &rk) == 0 &&
               rk.slot == n->slot && cold_bits(rk.hash) == cold_bits(n->hash) &&
               buf_append_bytes(&n->name, rk.key) == 0;
    n->ended = store_iter_status(it) == 0;
    store_iter_close(it);
}

static void search_names(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++)
        search_name(container_of(jobs[i], struct group_name, job));
}

static void probe(struct keyspace *ks, const struct ks_key *key)
{
    struct ks_group *g = ks->group;

    if (flight_find(ks, FLIGHT_PROBE, key, bytes_of(NULL, 0)) != NULL)
        return;
    g->probes++;
    g->metrics.probes++;
    (void)start(ks, key, FLIGHT_PROBE, bytes_of(NULL, 0));
}

static void on_name(struct mail *mail)
{
    struct group_name *n =
        container_of(container_of(mail, struct pool_job, mail), struct group_name, job);
    struct ks_group *g = n->ks->group;
    struct keytab_ref ref;

    g->name = NULL;
    if (n->found) {
        const struct ks_key key = ks_key_of(buf_bytes(&n->name), n->ks->options.seed);
        probe(n->ks, &key);
    } else if (n->ended && n->sure &&
               keytab_find(n->ks->tab, n->slot, n->hash, bytes_of(NULL, 0), &ref) == KEYTAB_COLD &&
               keytab_type(&ref) == KS_MAYBE) {
        group_uncount_cold(n->ks, &ref);
        keytab_remove(n->ks->tab, &ref);
    }
    buf_deinit(&n->name);
    mem_free(n);
}

struct search {
    struct keyspace *ks;
    bool found;
    uint64_t hash;
    uint16_t slot;
};

static void look(void *ctx, const struct keytab_entry *entry)
{
    struct search *s = ctx;

    if (s->found || entry->kind != KEYTAB_COLD || keytab_type(&entry->ref) != KS_MAYBE)
        return;
    s->found = true;
    s->hash = entry->hash;
    s->slot = entry->slot;
}

/* By the table, one after the other. */
static void step_table(struct keyspace *ks)
{
    struct ks_group *g = ks->group;
    struct search s = {.ks = ks};

    for (unsigned i = 0; i < STEP_LEAVES && !s.found && g->name == NULL; i++) {
        const uint64_t at = g->probe_cursor;
        g->probe_cursor = keytab_walk(ks->tab, at, look, &s);
        if (s.found)
            g->probe_cursor = at; /* There may be more in this leaf. */
        else if (g->probe_cursor == 0)
            break;
    }
    if (!s.found)
        return;
    struct group_name *n = mem_zalloc(sizeof(*n));
    n->ks = ks;
    n->hash = s.hash;
    n->slot = s.slot;
    n->sure = g->overlay.keys_count == 0;
    buf_init(&n->name, KS_NAME_BYTES_MAX);
    n->job = (struct pool_job){.mail = {.fn = on_name}, .reply_to = ks->options.mailbox};
    g->name = n;
    pool_submit(&g->name_class, &n->job);
}

/* By the overlay, which knows the names. */
static void step_overlay(struct keyspace *ks)
{
    struct ks_group *g = ks->group;
    struct keytab_ref ref;

    for (unsigned i = 0; i < STEP_BUCKETS && g->probes < PROBES_MAX; i++) {
        g->probe_bucket = (g->probe_bucket + 1) & (g->overlay.keys_cap - 1);
        for (struct overlay_key *k = g->overlay.keys[g->probe_bucket]; k != NULL; k = k->next) {
            const struct ks_key key = {
                .name = overlay_key_name(k), .hash = k->hash, .slot = k->slot};
            if (keytab_find(ks->tab, key.slot, key.hash, key.name, &ref) == KEYTAB_COLD &&
                keytab_type(&ref) == KS_MAYBE)
                probe(ks, &key);
        }
    }
}

void group_sweep(struct keyspace *ks, const struct ks_key *key, struct bytes resume)
{
    if (flight_find(ks, FLIGHT_SWEEP, key, bytes_of(NULL, 0)) != NULL)
        return;
    ks->group->probes++;
    (void)start(ks, key, FLIGHT_SWEEP, resume);
}

bool ks_group_step(struct keyspace *ks)
{
    struct ks_group *g = ks->group;

    if (g == NULL || g->maybes == 0)
        return false;
    if (g->overlay.keys_count != 0)
        step_overlay(ks);
    if (g->probes == 0 && g->name == NULL)
        step_table(ks);
    return true;
}

bool group_load_busy(const struct keyspace *ks)
{
    return ks->group->name != NULL;
}

void group_load_init(struct keyspace *ks)
{
    struct ks_group *g = ks->group;

    g->load_class = (struct pool_class){.name = "load",
                                        .priority = POOL_FOREGROUND,
                                        .batch_max = 1,
                                        .run_batch = read_slices,
                                        .ctx = ks};
    g->name_class = (struct pool_class){.name = "name",
                                        .priority = POOL_BACKGROUND,
                                        .batch_max = 1,
                                        .run_batch = search_names,
                                        .ctx = ks};
    pool_add_class(ks->options.readers, &g->load_class);
    pool_add_class(ks->options.readers, &g->name_class);
}

void group_load_deinit(struct keyspace *ks)
{
    CHECK(ks->group->name == NULL);
}
