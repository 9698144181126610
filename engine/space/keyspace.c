/* Keys: look-up, and the changes of whole keys. keyspace.h tells the states of a key. */
#include "engine/space/keyspace.h"

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/space/demote.h"
#include "engine/space/evict.h"
#include "engine/space/group.h"
#include "engine/space/keymerge.h"
#include "engine/space/ks_state.h"
#include "engine/space/strval.h"

/* Of a loaded collection that is the whole of it: bounded later by the memory budget. */
#define SCAN_BYTES_MAX_DEFAULT (64u << 20)

int ks_create(const struct ks_options *options, struct keyspace **out)
{
    struct keyspace *ks = mem_zalloc(sizeof(*ks));

    ks->options = *options;
    ks->tab = keytab_create(options->seed);
    dirty_init(&ks->dirty);
    list_init(&ks->sweeps);
    list_init(&ks->sweeps_begun);
    list_init(&ks->sweeps_ended);
    list_init(&ks->large);
    list_init(&ks->retired);
    ks->reap_above = KS_REAP_ABOVE;
    ks_probation_init(ks);
    ks->scan_bytes_max = SCAN_BYTES_MAX_DEFAULT;
    ks_flush_init(ks);
    ks_flights_init(ks);
    ks_scan_init(ks);
    ks_streams_init(ks);
    ks_sweep_init(ks);
    ks_expire_init(ks);
    ks_clear_init(ks);
    ks_evict_init(ks);
    ks_keys_init(ks, options->keys_path);
    ks_group_init(ks);
    buf_init(&ks->scratch, UINT32_MAX);
    ks->name = mem_alloc(ROWKEY_BYTES_MAX);
    *out = ks;
    return 0;
}

void ks_destroy(struct keyspace *ks)
{
    if (ks == NULL)
        return;
    CHECK(ks->flights_count == 0);
    ks_free_all(ks);
    ks_scan_deinit(ks);
    ks_sweep_deinit(ks);
    ks_flush_deinit(ks);
    ks_expire_deinit(ks);
    ks_evict_deinit(ks);
    ks_group_deinit(ks);
    ks_keys_deinit(ks);
    buf_deinit(&ks->scratch);
    mem_free(ks->name);
    dirty_deinit(&ks->dirty);
    keytab_destroy(ks->tab);
    ks_probation_deinit(ks);
    mem_free(ks);
}

void ks_set_store(struct keyspace *ks, struct store *store, const char *keys_path)
{
    ks->options.store = store;
    ks_keys_renew(ks, keys_path);
    ks->flush.covered_lsn = ks->applied_lsn;
}

void ks_set_origin(struct keyspace *ks, uint8_t origin)
{
    CHECK(ks->options.origin == 0 && ks->applied_lsn == 0);
    ks->options.origin = origin;
}

uint64_t ks_seed(const struct keyspace *ks)
{
    return ks->options.seed;
}

struct ks_key ks_key_of_obj(const struct keyspace *ks, const struct obj *obj)
{
    return ks_key_of(obj_key(obj), ks->options.seed);
}

/* --- objects --- */

static void account(struct keyspace *ks, const struct obj *obj)
{
    ks->bytes += obj_bytes(obj);
}

static void unaccount(struct keyspace *ks, const struct obj *obj)
{
    ks->bytes -= obj_bytes(obj);
}

void ks_obj_set_ttl(struct keyspace *ks, struct obj *obj, bool ttl)
{
    const bool had = (obj->h.flags & BLK_TTL) != 0;

    if (had == ttl)
        return;
    obj->h.flags ^= BLK_TTL;
    if (ttl)
        ks->hot_ttl++;
    else
        ks->hot_ttl--;
}

void ks_obj_free(struct keyspace *ks, struct obj *obj)
{
    if ((obj->h.flags & BLK_DEAD) != 0)
        ks->tombstones--;
    ks_obj_set_ttl(ks, obj, false);
    if ((obj->h.flags & BLK_COLL) != 0)
        coll_destroy(ks, obj_coll(obj));
    dirty_forget(&ks->dirty, &obj->h);
    unaccount(ks, obj);
    obj_free(obj);
}

struct obj *ks_obj_resize(struct keyspace *ks, struct obj *obj, const struct keytab_ref *ref,
                          uint64_t hash, size_t row_len)
{
    struct obj *const before = obj;

    unaccount(ks, obj);
    obj = obj_resize(obj, row_len);
    account(ks, obj);
    if (obj != before) {
        keytab_set_hot(ks->tab, ref, hash, obj);
        dirty_moved(&ks->dirty, &obj->h);
        if ((obj->h.flags & BLK_COLL) != 0)
            obj_coll(obj)->obj = obj;
    }
    return obj;
}

/*
 * A use more, or the first one of a key that is made now. What a command makes anew in place of the
 * same key (SUNIONSTORE) has been used once more.
 */
static void note_use(struct keyspace *ks, const struct ks_key *key, bool first)
{
    struct ks_use *u = &ks->use;
    const uint64_t command = u->commands == NULL ? 0 : *u->commands;
    uint32_t use = u->fresh;

    if (u->commands != NULL && u->counted_command == command && u->counted_hash == key->hash)
        return;
    u->counted_command = command;
    u->counted_hash = key->hash;
    if (!first && u->rule.kind == USE_LFU && usage_get(u->table, key->slot, key->hash, &use))
        use = use_again(&u->rule, use, u->now_ms, rng_u64(&u->rng));
    usage_put(u->table, key->slot, key->hash, use, &u->rule, u->now_ms);
}

/* One use more, where uses are kept. */
static void count_use(struct keyspace *ks, const struct ks_key *key)
{
    if (unlikely(ks->use.table != NULL))
        note_use(ks, key, false);
}

void ks_use_first(struct keyspace *ks, const struct ks_key *key)
{
    const struct ks_use *u = &ks->use;

    if (u->table != NULL)
        usage_put(u->table, key->slot, key->hash, u->fresh, &u->rule, u->now_ms);
}

void ks_use_count(struct keyspace *ks, const struct ks_key *key)
{
    count_use(ks, key);
}

static void warm(struct obj *obj)
{
    if (obj->heat < OBJ_HEAT_MAX)
        obj->heat++;
}

/* --- reading --- */

uint64_t ks_expire_at(const struct obj *obj)
{
    struct row_view view;

    if (likely((obj->h.flags & BLK_TTL) == 0))
        return 0;
    if ((obj->h.flags & BLK_COLL) != 0)
        return obj_coll(obj)->expire_at_ms;
    /* Rows are checked when they are installed. */
    CHECK(row_view(obj_row(obj), 0, &view) == 0);
    return view.expire_at_ms;
}

/* As ks_find, without counting it as a use. */
static enum ks_where look_up(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms,
                             struct obj **out, bool *out_expired)
{
    struct keytab_ref ref;
    const enum keytab_kind kind = keytab_find(ks->tab, key->slot, key->hash, key->name, &ref);

    if (out_expired != NULL)
        *out_expired = false;
    if (kind == KEYTAB_NONE)
        return KS_ABSENT;
    if (kind == KEYTAB_COLD) {
        if (keytab_type(&ref) == KS_GHOST)
            return KS_ABSENT;
        if (likely(ks->group == NULL || !keytab_has_ttl(&ref)) ||
            !ks_group_cold_expired(ks, key, now_ms))
            return KS_COLD;
        if (out_expired != NULL)
            *out_expired = true;
        return KS_ABSENT;
    }
    struct obj *obj = ref.obj;
    if (unlikely((obj->h.flags & (BLK_DEAD | BLK_TTL)) != 0)) {
        if ((obj->h.flags & BLK_DEAD) != 0)
            return KS_ABSENT;
        const uint64_t at_ms = ks_expire_at(obj);
        if (at_ms != 0 && at_ms <= now_ms) {
            if (out_expired != NULL)
                *out_expired = true;
            ks->metrics.expired_reads++;
            return KS_ABSENT;
        }
    }
    *out = obj;
    return KS_HOT;
}

enum ks_where ks_find(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms,
                      struct obj **out, bool *out_expired)
{
    const enum ks_where where = look_up(ks, key, now_ms, out, out_expired);

    if (where == KS_HOT) {
        ks->metrics.hot_reads++;
        warm(*out);
        count_use(ks, key);
    }
    return where;
}

enum ks_where ks_look(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms,
                      struct obj **out)
{
    const enum ks_where where = look_up(ks, key, now_ms, out, NULL);

    if (where == KS_HOT) {
        ks->metrics.hot_reads++;
        warm(*out);
    }
    return where;
}

struct obj *ks_peek(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms)
{
    struct obj *obj;

    return look_up(ks, key, now_ms, &obj, NULL) == KS_HOT ? obj : NULL;
}

bool ks_is_absent(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms)
{
    struct obj *obj;

    return look_up(ks, key, now_ms, &obj, NULL) == KS_ABSENT;
}

struct obj *ks_get(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms)
{
    struct obj *obj;

    return ks_find(ks, key, now_ms, &obj, NULL) == KS_HOT ? obj : NULL;
}

struct coll *ks_peek_coll(struct keyspace *ks, const struct ks_key *key)
{
    struct keytab_ref ref;

    if (keytab_find(ks->tab, key->slot, key->hash, key->name, &ref) != KEYTAB_HOT ||
        (ref.obj->h.flags & (BLK_COLL | BLK_DEAD)) != BLK_COLL)
        return NULL;
    return obj_coll(ref.obj);
}

uint8_t ks_type(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms)
{
    struct keytab_ref ref;
    struct obj *obj;

    switch (ks_look(ks, key, now_ms, &obj)) {
    case KS_HOT:
        return obj->h.type;
    case KS_COLD:
        if (keytab_find(ks->tab, key->slot, key->hash, key->name, &ref) != KEYTAB_COLD)
            return VT_NONE;
        return keytab_type(&ref) == VT_CHUNKED ? VT_STRING : keytab_type(&ref);
    case KS_ABSENT:
        break;
    }
    return VT_NONE;
}

uint64_t ks_count(const struct keyspace *ks)
{
    return keytab_count_hot(ks->tab) + keytab_count_cold(ks->tab) - ks->tombstones -
           ks_group_ghosts(ks);
}

uint64_t ks_count_hot(const struct keyspace *ks)
{
    return keytab_count_hot(ks->tab) - ks->tombstones;
}

uint64_t ks_count_expiring(const struct keyspace *ks)
{
    return ks->hot_ttl + keytab_count_cold_ttl(ks->tab);
}

uint64_t ks_bytes(const struct keyspace *ks)
{
    return ks->bytes + keytab_bytes(ks->tab) + usage_bytes(ks->use.table);
}

const struct ks_metrics *ks_metrics(const struct keyspace *ks)
{
    return &ks->metrics;
}

bool ks_busy(const struct keyspace *ks)
{
    return ks->flights_count != 0 || ks->streams_count != 0 || ks->names_reading != 0 ||
           ks->flush.busy || ks->clearing || ks_sweep_running(ks) || ks_expire_looking(ks) ||
           ks_evict_busy(ks) || ks_keys_merging(ks) || ks_group_busy(ks);
}

/* --- changing --- */

/* A tombstone comes to life again; and nothing is left of how the former string was made. */
static void revive(struct keyspace *ks, struct obj *obj)
{
    if ((obj->h.flags & (BLK_DEAD | BLK_FORMS)) == 0)
        return;
    if ((obj->h.flags & BLK_DEAD) != 0)
        ks->tombstones--;
    obj->h.flags &= (uint8_t) ~(BLK_DEAD | BLK_FORMS);
}

/* Nothing alive stands there. What has expired is judged by the clock of uses: to a second. */
static bool is_vacant(const struct keyspace *ks, const struct ks_place *at)
{
    if (at->kind != KEYTAB_HOT)
        return at->kind == KEYTAB_NONE || keytab_type(&at->ref) == KS_GHOST;
    const uint64_t at_ms = (at->ref.obj->h.flags & BLK_DEAD) != 0 ? 1 : ks_expire_at(at->ref.obj);
    return at_ms != 0 && at_ms <= ks->use.now_ms;
}

/* A key is written whole: its first use if it is made now, else one more. */
static void count_write(struct keyspace *ks, const struct ks_key *key, const struct ks_place *at)
{
    if (unlikely(ks->use.table != NULL))
        note_use(ks, key, is_vacant(ks, at));
}

void ks_obj_place(struct keyspace *ks, const struct ks_key *key, struct ks_place *at,
                  struct obj *obj, struct tag tag)
{
    struct keytab_ref *ref = &at->ref;

    account(ks, obj);
    count_write(ks, key, at);
    if (at->kind == KEYTAB_NONE) {
        keytab_insert_hot(ks->tab, key->slot, key->hash, obj);
        return;
    }
    obj->h.flags |= BLK_STORED;
    ks_flights_stale(ks, key);
    if (at->kind == KEYTAB_COLD) {
        obj_tell(obj, keytab_type(ref), keytab_has_ttl(ref));
        if (keytab_type(ref) != VT_STRING)
            ks_sweep_add(ks, key, tag);
        keytab_set_hot(ks->tab, ref, key->hash, obj);
        return;
    }
    struct obj *old = ref->obj;
    obj->told = old->told;
    if ((old->h.flags & BLK_COLL) != 0 && obj_coll(old)->stored)
        ks_sweep_add(ks, key, tag);
    keytab_set_hot(ks->tab, ref, key->hash, obj);
    dirty_inherit(&ks->dirty, &old->h, &obj->h);
    ks_obj_free(ks, old);
}

/*
 * An object for `key` in place of what stands there, with room for the row. What was a collection
 * is dropped: its rows in the store are swept.
 */
static struct obj *replace(struct keyspace *ks, const struct ks_key *key, struct ks_place *at,
                           uint8_t type, struct tag tag, size_t row_len)
{
    struct obj *obj;

    if (at->kind == KEYTAB_HOT && (at->ref.obj->h.flags & BLK_COLL) == 0) {
        count_write(ks, key, at);
        obj = ks_obj_resize(ks, at->ref.obj, &at->ref, key->hash, row_len);
        revive(ks, obj);
        obj->h.type = type;
        return obj;
    }
    obj = obj_new(key->name, type, 0, NULL, row_len);
    ks_obj_place(ks, key, at, obj, tag);
    return obj;
}

void ks_apply_set(struct keyspace *ks, const struct ks_key *key, struct tag tag, uint64_t lsn,
                  struct bytes value, uint64_t expire_at_ms)
{
    if (unlikely(value.len > ROW_INLINE_BYTES_MAX)) {
        struct coll *coll = ks_apply_string(ks, key, tag, lsn, value.len, expire_at_ms);
        ks_apply_fill(ks, coll, tag, value);
        return;
    }
    struct ks_place at = ks_place_of(ks, key);
    struct obj *obj =
        replace(ks, key, &at, VT_STRING, tag, row_value_size(value.len, expire_at_ms != 0));

    row_value_store(obj_row_ptr(obj), tag, value, expire_at_ms);
    ks_obj_set_ttl(ks, obj, expire_at_ms != 0);
    dirty_mark(&ks->dirty, &obj->h, NULL, lsn);
    if (unlikely(expire_at_ms != 0))
        ks_expire_note(ks, key, expire_at_ms);
}

void ks_apply_row(struct keyspace *ks, const struct ks_key *key, uint64_t lsn, struct bytes row,
                  uint64_t expire_at_ms)
{
    struct ks_place at = ks_place_of(ks, key);

    CHECK(at.kind != KEYTAB_COLD);
    struct obj *obj = replace(ks, key, &at, VT_STRING, (struct tag){0}, row.len);
    memcpy(obj_row_ptr(obj), row.ptr, row.len);
    ks_obj_set_ttl(ks, obj, expire_at_ms != 0);
    dirty_mark(&ks->dirty, &obj->h, NULL, lsn);
    if (expire_at_ms != 0)
        ks_expire_note(ks, key, expire_at_ms);
}

void ks_apply_del(struct keyspace *ks, const struct ks_key *key, struct tag tag, uint64_t lsn)
{
    struct ks_place at = ks_place_of(ks, key);

    if (at.kind == KEYTAB_NONE)
        return;
    if (at.kind == KEYTAB_HOT) {
        struct obj *old = at.ref.obj;
        const bool rows = (old->h.flags & BLK_COLL) != 0 && obj_coll(old)->stored;
        if ((old->h.flags & (BLK_STORED | BLK_DEAD)) == 0 && !rows) {
            /* The store has never heard of it. */
            keytab_remove(ks->tab, &at.ref);
            ks_obj_free(ks, old);
            return;
        }
    }
    struct obj *obj = replace(ks, key, &at, VT_NONE, tag, 0);
    ks_obj_set_ttl(ks, obj, false);
    if ((obj->h.flags & BLK_DEAD) == 0) {
        obj->h.flags |= BLK_DEAD;
        ks->tombstones++;
    }
    dirty_mark(&ks->dirty, &obj->h, NULL, lsn);
}

void ks_apply_expire(struct keyspace *ks, const struct ks_key *key, uint64_t lsn, struct bytes row,
                     uint64_t expire_at_ms)
{
    struct keytab_ref ref;
    const enum keytab_kind kind = keytab_find(ks->tab, key->slot, key->hash, key->name, &ref);

    CHECK(kind == KEYTAB_HOT);
    struct obj *obj = ref.obj;
    if ((obj->h.flags & BLK_COLL) == 0) {
        obj = ks_obj_resize(ks, obj, &ref, key->hash, row.len);
        memcpy(obj_row_ptr(obj), row.ptr, row.len);
    } else {
        obj_coll(obj)->expire_at_ms = expire_at_ms;
        obj_coll(obj)->lsn = lsn;
    }
    ks_obj_set_ttl(ks, obj, expire_at_ms != 0);
    dirty_mark(&ks->dirty, &obj->h, NULL, lsn);
    if (expire_at_ms != 0)
        ks_expire_note(ks, key, expire_at_ms);
}

struct coll *ks_apply_coll(struct keyspace *ks, const struct ks_key *key, uint8_t type,
                           struct tag tag, uint64_t lsn)
{
    struct ks_place at = ks_place_of(ks, key);

    CHECK(at.kind != KEYTAB_COLD);
    if (at.kind == KEYTAB_HOT && (at.ref.obj->h.flags & (BLK_DEAD | BLK_COLL)) == BLK_COLL &&
        at.ref.obj->h.type != VT_STRING)
        return obj_coll(at.ref.obj);
    struct coll *coll = coll_create(ks, key, type);
    struct obj *obj = obj_new(key->name, type, BLK_COLL, coll, 0);
    coll->obj = obj;
    coll->tag = tag;
    coll->lsn = lsn;
    coll->complete = true;
    /* In place of nothing, a tombstone, or a string that expired. */
    ks_obj_place(ks, key, &at, obj, tag);
    coll->stored = ks->recovering || ks_sweep_pending(ks, key);
    dirty_mark(&ks->dirty, &obj->h, NULL, lsn);
    return coll;
}

/* --- tiers --- */

int ks_key_row_check(struct bytes row, struct row_view *out)
{
    struct list_meta meta;

    int err = row_view(row, 0, out);
    if (err != 0 || out->type != VT_LIST)
        return err;
    err = row_list_meta(row, &meta);
    return err == 0 && out->count != 0 && !meta.used ? -ERR_CORRUPT : err;
}

/* Of a list, what its key row remembers; the elements are on flash. */
static void install_list(struct keyspace *ks, struct coll *coll, struct bytes row)
{
    struct list_meta meta;

    CHECK(row_list_meta(row, &meta) == 0); /* ks_key_row_check */
    coll_list_set_meta(coll, &meta, ks->options.origin);
    (void)coll_gap_open(coll, coll->count);
    coll_account(ks, coll);
}

struct obj *ks_install(struct keyspace *ks, const struct ks_key *key, const struct keytab_ref *ref,
                       struct bytes row, const struct row_view *view)
{
    struct obj *obj;

    if (view->type == VT_STRING && view->kind != ROW_KIND_CHUNKS) {
        obj = obj_new(key->name, VT_STRING, BLK_STORED, NULL, row.len);
        memcpy(obj_row_ptr(obj), row.ptr, row.len);
    } else {
        struct coll *coll = coll_create(ks, key, view->type);
        obj = obj_new(key->name, view->type, BLK_COLL | BLK_STORED, coll, 0);
        coll->obj = obj;
        coll->tag = view->tag;
        coll->lsn = view->count_lsn;
        coll->count = view->count;
        coll->expire_at_ms = view->expire_at_ms;
        coll->generation = view->generation;
        coll->stored = true;
        if (view->type == VT_LIST)
            install_list(ks, coll, row);
    }
    account(ks, obj);
    ks_obj_set_ttl(ks, obj, view->expire_at_ms != 0);
    obj_tell(obj, keytab_type(ref), keytab_has_ttl(ref));
    keytab_set_hot(ks->tab, ref, key->hash, obj);
    if (view->expire_at_ms != 0)
        ks_expire_note(ks, key, view->expire_at_ms);
    ks->metrics.promotions++;
    return obj;
}

bool ks_demote(struct keyspace *ks, const struct keytab_ref *ref, bool touched)
{
    struct obj *obj = ref->obj;

    if (obj->h.dirty != 0 || (obj->h.flags & BLK_DEAD) != 0)
        return false;
    if ((obj->h.flags & BLK_COLL) != 0 &&
        (obj_coll(obj)->walks != 0 || !coll_clean(ks, obj_coll(obj))))
        return false;
    const struct ks_key key = ks_key_of_obj(ks, obj);
    const bool ttl = (obj->h.flags & BLK_TTL) != 0;
    if (unlikely(ks->names_count != 0))
        ks_scan_demoted(ks, &key, obj);
    keytab_set_cold(ks->tab, ref, key.hash, ks_obj_table_type(obj), ttl, touched);
    ks_obj_free(ks, obj);
    ks->metrics.demotions++;
    return true;
}
