/* Keys of a member of a group: joining key rows, in DRAM and in the overlay. group.h has the plan.
 */
#include "engine/space/group.h"

#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/space/expire.h"
#include "engine/space/flight.h"
#include "engine/space/group_impl.h"
#include "engine/value/listpos.h"
#include "engine/value/op.h"
#include "engine/value/row_chunk.h"

/* In a row that could not be joined. */
#define POISON_JOIN 1u

bool ks_group_on(const struct keyspace *ks)
{
    return ks->group != NULL;
}

const struct ks_group_metrics *ks_group_metrics(const struct keyspace *ks)
{
    return &ks->group->metrics;
}

uint64_t ks_group_unsettled(const struct keyspace *ks)
{
    return ks->group->maybes;
}

uint64_t ks_group_overlay_bytes(const struct keyspace *ks)
{
    return ks->group->overlay.bytes;
}

void ks_group_init(struct keyspace *ks)
{
    if (!ks->options.group)
        return;
    struct ks_group *g = mem_zalloc(sizeof(*g));

    ks->group = g;
    overlay_init(&g->overlay, &ks->dirty);
    buf_init(&g->row, UINT32_MAX);
    buf_init(&g->clipped, UINT32_MAX);
    buf_init(&g->expanded, UINT32_MAX);
    buf_init(&g->operands, UINT32_MAX);
    group_load_init(ks);
    group_gc_init(ks);
}

void ks_group_deinit(struct keyspace *ks)
{
    struct ks_group *g = ks->group;

    if (g == NULL)
        return;
    group_load_deinit(ks);
    group_gc_deinit(ks);
    overlay_deinit(&g->overlay);
    buf_deinit(&g->row);
    buf_deinit(&g->clipped);
    buf_deinit(&g->expanded);
    buf_deinit(&g->operands);
    mem_free(g);
    ks->group = NULL;
}

void group_account(struct keyspace *ks)
{
    struct ks_group *g = ks->group;

    ks->bytes += g->overlay.bytes - g->overlay_bytes;
    g->overlay_bytes = g->overlay.bytes;
}

void ks_group_clear(struct keyspace *ks)
{
    struct ks_group *g = ks->group;

    if (g == NULL)
        return;
    overlay_deinit(&g->overlay);
    overlay_init(&g->overlay, &ks->dirty);
    group_gc_deinit(ks);
    group_gc_init(ks);
    g->overlay_bytes = 0;
    g->maybes = 0;
    g->ghosts = 0;
    group_account(ks);
}

bool ks_group_busy(const struct keyspace *ks)
{
    return ks->group != NULL && group_load_busy(ks);
}

uint64_t ks_group_ghosts(const struct keyspace *ks)
{
    return ks->group == NULL ? 0 : ks->group->ghosts;
}

/* --- joining --- */

static struct bytes poison(struct buf *out)
{
    static const uint8_t row[ROW_POISON_BYTES] = {ROW_POISON, POISON_JOIN};

    buf_clear(out);
    CHECK(buf_append(out, row, sizeof(row)) == 0);
    return buf_bytes(out);
}

struct bytes group_fold(struct ks_group *g, struct bytes row, struct bytes operand)
{
    buf_clear(&g->row);
    if (row_merge_fold(row, &operand, bytes_empty(operand) ? 0 : 1, &g->row) != 0) {
        g->metrics.poisoned_rows++;
        return poison(&g->row);
    }
    return group_row_dead(buf_bytes(&g->row)) ? bytes_of(NULL, 0) : buf_bytes(&g->row);
}

static struct bytes join_operands(struct ks_group *g, struct bytes a, struct bytes b)
{
    const struct bytes both[2] = {a, b};

    buf_clear(&g->row);
    if (row_merge_partial(both, 2, &g->row) != 0) {
        g->metrics.poisoned_rows++;
        return poison(&g->row);
    }
    return buf_bytes(&g->row);
}

void group_view(struct bytes row, struct row_view *out)
{
    if (row_view(row, 0, out) != 0)
        *out = (struct row_view){0};
}

/* --- cold entries of the table --- */

static void count_cold(struct ks_group *g, uint8_t type, int delta)
{
    if (type == KS_MAYBE)
        g->maybes += (uint64_t)(int64_t)delta;
    else if (type == KS_GHOST)
        g->ghosts += (uint64_t)(int64_t)delta;
}

void group_uncount_cold(struct keyspace *ks, const struct keytab_ref *ref)
{
    count_cold(ks->group, keytab_type(ref), -1);
}

void group_set_cold(struct keyspace *ks, const struct keytab_ref *ref, uint64_t hash, uint8_t type,
                    bool ttl)
{
    count_cold(ks->group, keytab_type(ref), -1);
    count_cold(ks->group, type, 1);
    keytab_set_cold(ks->tab, ref, hash, type, ttl, keytab_touched(ref));
}

void group_insert_cold(struct keyspace *ks, const struct ks_key *key, uint8_t type, bool ttl)
{
    count_cold(ks->group, type, 1);
    keytab_insert_cold(ks->tab, key->slot, key->hash, type, ttl);
}

static void count_entry(void *ctx, const struct keytab_entry *entry)
{
    if (entry->kind == KEYTAB_COLD)
        count_cold(ctx, keytab_type(&entry->ref), 1);
}

void ks_group_count_loaded(struct keyspace *ks)
{
    struct ks_group *g = ks->group;
    uint64_t cursor = 0;

    if (g == NULL)
        return;
    g->maybes = 0;
    g->ghosts = 0;
    do {
        cursor = keytab_walk(ks->tab, cursor, count_entry, g);
    } while (cursor != 0);
}

/* --- objects --- */

static void set_dead(struct keyspace *ks, struct obj *obj, bool dead)
{
    if (((obj->h.flags & BLK_DEAD) != 0) == dead)
        return;
    obj->h.flags ^= BLK_DEAD;
    if (dead)
        ks->tombstones++;
    else
        ks->tombstones--;
}

void group_refresh(struct keyspace *ks, const struct ks_key *key, struct obj *obj)
{
    struct row_view view;

    group_view(obj_row(obj), &view);
    const bool coll = (obj->h.flags & BLK_COLL) != 0;
    const bool dead =
        view.type == VT_NONE || (coll && view.type != VT_STRING && obj_coll(obj)->count == 0);
    const bool had = (obj->h.flags & BLK_TTL) != 0;
    const bool ttl = !dead && view.expire_at_ms != 0;

    if (!coll)
        obj->h.type = view.type;
    else
        group_coll_derive(ks, obj_coll(obj), &view);
    set_dead(ks, obj, dead);
    ks_obj_set_ttl(ks, obj, ttl);
    if (ttl && (!had || !coll || obj_coll(obj)->noted_ms != view.expire_at_ms))
        ks_expire_note(ks, key, view.expire_at_ms);
    if (coll)
        obj_coll(obj)->noted_ms = ttl ? view.expire_at_ms : 0;
}

struct obj *group_swap(struct keyspace *ks, const struct ks_key *key, struct keytab_ref *ref,
                       struct coll *coll, uint8_t type, struct bytes row)
{
    struct obj *old = ref->obj;
    struct obj *obj = obj_new(key->name, type, coll == NULL ? 0 : BLK_COLL, coll, row.len);

    if (row.len != 0)
        memcpy(obj_row_ptr(obj), row.ptr, row.len);
    ks->bytes += obj_bytes(obj);
    obj->h.flags |= old->h.flags & BLK_STORED;
    obj->heat = old->heat;
    obj->told = old->told;
    if (coll != NULL) {
        coll->obj = obj;
        /* Rows of elements that died with an earlier collection may be there still. */
        coll->stored = (old->h.flags & BLK_STORED) != 0 || ks->recovering ||
                       ((old->h.flags & BLK_COLL) != 0 && obj_coll(old)->stored);
    }
    keytab_set_hot(ks->tab, ref, key->hash, obj);
    ref->obj = obj;
    group_inherit(ks, &old->h, &obj->h, NULL);
    ks_obj_free(ks, old);
    return obj;
}

/* Of an object that is no collection: the row, as it is to be from now on. */
static struct obj *put_row(struct keyspace *ks, const struct ks_key *key,
                           const struct keytab_ref *ref, struct bytes row, uint64_t lsn)
{
    struct obj *obj = ks_obj_resize(ks, ref->obj, ref, key->hash, row.len);

    if (row.len != 0)
        memcpy(obj_row_ptr(obj), row.ptr, row.len);
    obj->h.flags &= (uint8_t)~BLK_FORMS;
    dirty_mark(&ks->dirty, &obj->h, NULL, lsn);
    return obj;
}

/* The store has never heard of it, and there is nothing to tell. */
static bool drop_unknown(struct keyspace *ks, const struct keytab_ref *ref, struct obj *obj)
{
    if (obj->h.row_len != 0 || (obj->h.flags & (BLK_STORED | BLK_COLL)) != 0 ||
        (obj->h.flags & BLK_DEAD) == 0 || ks->recovering)
        return false;
    keytab_remove(ks->tab, ref);
    ks_obj_free(ks, obj);
    return true;
}

/* --- hot keys --- */

static struct group_shape shape_of_obj(const struct obj *obj)
{
    if ((obj->h.flags & BLK_COLL) == 0)
        return (struct group_shape){.type = obj->h.type};
    const struct coll *coll = obj_coll(obj);
    if (coll->type == VT_STRING)
        return (struct group_shape){.type = VT_CHUNKED, .generation = coll->generation};
    return (struct group_shape){.type = coll->type};
}

static bool same_shape(const struct group_shape *a, const struct group_shape *b)
{
    return a->type == b->type && (a->type != VT_CHUNKED || tag_eq(a->generation, b->generation));
}

/* A hot key, no collection any more, becomes cold. */
static void to_cold(struct keyspace *ks, const struct ks_key *key, struct keytab_ref *ref,
                    struct bytes row, const struct row_view *view, uint64_t lsn)
{
    struct ks_group *g = ks->group;
    struct obj *obj = ref->obj;
    const uint8_t type = ks_group_cold_type(row, view);
    struct overlay_key *k = overlay_key_get(&g->overlay, key);
    struct overlay_entry *e =
        overlay_put(&g->overlay, k, ROWKEY_KIND_KEY, bytes_of(NULL, 0), row, true);

    k->fresh = false;
    k->pins += obj->pins;
    CHECK(e->h.dirty == 0);
    group_inherit(ks, &obj->h, &e->h, NULL);
    dirty_mark(&ks->dirty, &e->h, NULL, lsn);
    if (ks->names_count != 0)
        ks_scan_demoted(ks, key, obj);
    count_cold(g, type, 1);
    keytab_set_cold(ks->tab, ref, key->hash, type, view->expire_at_ms != 0, true);
    ks_obj_free(ks, obj);
    g->metrics.taken_apart++;
    group_account(ks);
}

/* A hot key gets another key row. `local`: by a write that has seen all that is here. */
static void set_hot(struct keyspace *ks, const struct ks_key *key, struct keytab_ref *ref,
                    struct bytes row, bool local, uint64_t lsn)
{
    struct obj *obj = ref->obj;
    struct row_view view;
    struct vv clear, clear_before;

    group_view(row, &view);
    const struct group_shape shape = group_shape_of(&view);
    const struct group_shape before = shape_of_obj(obj);
    if ((obj->h.flags & BLK_COLL) != 0) {
        if (row_clear(row, &clear) != 0)
            vv_init(&clear);
        if (row_clear(obj_row(obj), &clear_before) != 0)
            vv_init(&clear_before);
        const bool as_before = vv_equal(&clear, &clear_before);
        if (same_shape(&shape, &before) && (as_before || local)) {
            obj = put_row(ks, key, ref, row, lsn);
            if (!as_before)
                group_coll_clip(ks, obj_coll(obj), &clear, lsn);
            group_refresh(ks, key, obj);
            return;
        }
        group_coll_apart(ks, key, obj_coll(obj), &clear, local);
        obj = group_swap(ks, key, ref, NULL, VT_NONE, bytes_of(NULL, 0));
        set_dead(ks, obj, true);
    }
    if (shape.type != VT_NONE && shape.type != VT_STRING) {
        if (!local) {
            to_cold(ks, key, ref, row, &view, lsn);
            return;
        }
        struct coll *coll = group_coll_new(ks, key, &shape);
        (void)group_swap(ks, key, ref, coll, coll->type, bytes_of(NULL, 0));
        if (row_clear(row, &clear) != 0)
            vv_init(&clear);
        group_coll_absorb(ks, key, coll, &clear);
    }
    obj = put_row(ks, key, ref, row, lsn);
    group_refresh(ks, key, obj);
    (void)drop_unknown(ks, ref, obj);
}

void group_collected(struct keyspace *ks, const struct ks_key *key, struct keytab_ref *ref,
                     struct bytes row)
{
    struct obj *obj = put_row(ks, key, ref, row, group_lsn(ks));

    group_refresh(ks, key, obj);
    (void)drop_unknown(ks, ref, obj);
}

/* An object for a key that is absent: dead, with nothing. */
static void insert_dead(struct keyspace *ks, const struct ks_key *key, struct keytab_ref *ref)
{
    struct obj *obj = obj_new(key->name, VT_NONE, 0, NULL, 0);

    ks->bytes += obj_bytes(obj);
    if (ks->recovering)
        obj->h.flags |= BLK_STORED;
    ks_flights_stale(ks, key);
    keytab_insert_hot(ks->tab, key->slot, key->hash, obj);
    set_dead(ks, obj, true);
    CHECK(keytab_find(ks->tab, key->slot, key->hash, key->name, ref) == KEYTAB_HOT);
}

/* A cold key whose key row is known is written as a whole: an object that is dead, with nothing. */
static void raise_cold(struct keyspace *ks, const struct ks_key *key, struct keytab_ref *ref)
{
    struct overlay_entry *e = group_known(ks, key);

    CHECK(e != NULL);
    struct obj *obj = obj_new(key->name, VT_NONE, BLK_STORED, NULL, 0);
    ks->bytes += obj_bytes(obj);
    ks_flights_stale(ks, key);
    group_uncount_cold(ks, ref);
    keytab_set_hot(ks->tab, ref, key->hash, obj);
    ref->obj = obj;
    set_dead(ks, obj, true);
    obj->pins = (uint8_t)u64_min(e->key->pins, UINT8_MAX);
    e->key->pins = 0;
    e->key->fresh = false;
    group_inherit(ks, &e->h, &obj->h, NULL);
    overlay_remove(&ks->group->overlay, e);
    group_account(ks);
    ks->group->metrics.raised++;
}

void ks_group_set_key(struct keyspace *ks, const struct ks_key *key, struct bytes row, uint64_t lsn)
{
    struct keytab_ref ref;
    const enum keytab_kind kind = keytab_find(ks->tab, key->slot, key->hash, key->name, &ref);

    ks->group->lsn = lsn;
    if (kind == KEYTAB_COLD)
        raise_cold(ks, key, &ref);
    if (group_row_dead(row))
        row = bytes_of(NULL, 0);
    if (kind == KEYTAB_NONE)
        insert_dead(ks, key, &ref);
    set_hot(ks, key, &ref, row, true, lsn);
}

bool ks_group_is_cold(struct keyspace *ks, const struct ks_key *key)
{
    struct keytab_ref ref;

    return keytab_find(ks->tab, key->slot, key->hash, key->name, &ref) == KEYTAB_COLD;
}

struct bytes ks_group_key_row(struct keyspace *ks, const struct ks_key *key)
{
    struct keytab_ref ref;
    const enum keytab_kind kind = keytab_find(ks->tab, key->slot, key->hash, key->name, &ref);

    if (unlikely(kind == KEYTAB_COLD)) {
        const struct overlay_entry *e = group_known(ks, key);
        CHECK(e != NULL);
        return overlay_row(e);
    }
    return kind == KEYTAB_HOT ? obj_row(ref.obj) : bytes_of(NULL, 0);
}

struct coll *ks_group_coll(struct keyspace *ks, const struct ks_key *key, uint8_t type,
                           uint64_t now_ms, uint64_t lsn)
{
    struct keytab_ref ref;
    struct obj *obj = ks_get(ks, key, now_ms);

    if (obj != NULL)
        return obj->h.type == type ? obj_coll(obj) : NULL;
    const enum keytab_kind kind = keytab_find(ks->tab, key->slot, key->hash, key->name, &ref);
    CHECK(kind != KEYTAB_COLD);
    ks->group->lsn = lsn;
    if (kind == KEYTAB_NONE)
        insert_dead(ks, key, &ref);
    obj = ref.obj;
    struct vv clear;
    if (row_clear(obj_row(obj), &clear) != 0)
        vv_init(&clear);
    if ((obj->h.flags & BLK_COLL) != 0) {
        if (obj_coll(obj)->type == type)
            return obj_coll(obj);
        group_coll_apart(ks, key, obj_coll(obj), &clear, false);
    }
    const struct group_shape shape = {.type = type};
    struct coll *coll = group_coll_new(ks, key, &shape);
    buf_clear(&ks->group->clipped);
    CHECK(buf_append_bytes(&ks->group->clipped, obj_row(obj)) == 0);
    obj = group_swap(ks, key, &ref, coll, type, buf_bytes(&ks->group->clipped));
    set_dead(ks, obj, true);
    group_coll_absorb(ks, key, coll, &clear);
    return coll;
}

/* --- cold keys --- */

struct apply {
    struct keyspace *ks;
    const struct ks_key *key;
    uint64_t lsn;
    bool fresh; /* The key was nowhere when the op came. */
};

/* Joins an operand to the row's entry of the overlay, or makes one. */
static void merge_cold(const struct apply *a, uint8_t kind, struct bytes sub, struct bytes operand)
{
    struct keyspace *ks = a->ks;
    struct ks_group *g = ks->group;
    struct overlay_key *k = overlay_key_find(&g->overlay, a->key);
    const struct overlay_entry *had = k == NULL ? NULL : overlay_find(&g->overlay, k, kind, sub);
    const bool full = had == NULL ? a->fresh || (k != NULL && k->fresh) : had->full;
    struct bytes row;

    g->metrics.operands_cold++;
    if (full)
        row = group_fold(g, had == NULL ? bytes_of(NULL, 0) : overlay_row(had), operand);
    else if (had != NULL)
        row = join_operands(g, overlay_row(had), operand);
    else
        row = operand;
    if (had == NULL && full && row.len == 0)
        return; /* It takes away what was never there. */
    if (k == NULL) {
        k = overlay_key_get(&g->overlay, a->key);
        k->fresh = a->fresh;
    }
    struct overlay_entry *e = overlay_put(&g->overlay, k, kind, sub, row, full);
    dirty_mark(&ks->dirty, &e->h, NULL, a->lsn);
    group_account(ks);
}

struct cold_state {
    uint8_t type;
    bool ttl;
};

/*
 * Whether a STRING of another batch's generation leaves a string behind, whatever it has seen. It
 * takes values away that it has seen, and is none itself where a SET or DEL had seen its
 * generation: with both nothing may be left. VT_CHUNKED says that the key row had no clear vector,
 * and no op that brings one leaves that type.
 */
static bool part_stays(struct cold_state s, const struct op *op)
{
    const bool expires = op->expire_at_ms != 0 && op->expire_at_ms != ROW_EXPIRE_NEVER;

    /* Without a time it leaves the generation's as it is. */
    return s.type == VT_CHUNKED && (s.ttl || !expires);
}

/* What an op makes of a key of which the table says `s`, and which nobody reads. */
static struct cold_state after_op(struct cold_state s, const struct op *op, struct tag tag)
{
    const struct cold_state maybe = {.type = KS_MAYBE, .ttl = s.ttl || op->expire_at_ms != 0};
    const bool is_string = s.type == VT_STRING || s.type == VT_CHUNKED;

    switch ((enum op_kind)op->kind) {
    case OP_STRING:
        if (!tag_eq(op->generation, tag))
            return part_stays(s, op) ? s : maybe;
        FALLTHROUGH; /* It begins a generation. */
    case OP_SET:
        return is_string && !maybe.ttl ? (struct cold_state){.type = VT_STRING} : maybe;
    case OP_INCR:
        return s.type == VT_STRING && (op->flags & OP_COVER) == 0 ? s : maybe;
    case OP_ELEM_SET:
    case OP_ELEM_INCR:
        return s.type == op->type ? s : maybe;
    case OP_EXPIRE:
        s.ttl |= op->expire_at_ms != 0;
        return s;
    case OP_CHUNK:
    case OP_BITS:
        return s;
    case OP_VOID:
    case OP_DEL:
    case OP_KEY_MERGE:
    case OP_ROW_MERGE:
    case OP_ELEM_DEL:
    case OP_RECLAIM:
    case OP_KIND_END:
        break;
    }
    return s.type == KS_GHOST && (op->kind == OP_DEL || op->kind == OP_ELEM_DEL) ? s : maybe;
}

/* The table after a blind op. */
static void note_cold(struct keyspace *ks, const struct ks_key *key, const struct op *op,
                      struct tag tag)
{
    struct ks_group *g = ks->group;
    struct keytab_ref ref;
    struct row_view view = {0};
    const enum keytab_kind kind = keytab_find(ks->tab, key->slot, key->hash, key->name, &ref);
    const struct overlay_key *k = overlay_key_find(&g->overlay, key);
    const struct overlay_entry *e =
        k == NULL ? NULL : overlay_find(&g->overlay, k, ROWKEY_KIND_KEY, bytes_of(NULL, 0));
    struct cold_state s = {.type = KS_GHOST};

    if (kind == KEYTAB_HOT || k == NULL)
        return;
    if (kind == KEYTAB_COLD)
        s = (struct cold_state){.type = keytab_type(&ref), .ttl = keytab_has_ttl(&ref)};
    if (e != NULL && e->full) {
        group_view(overlay_row(e), &view);
        s.ttl = view.expire_at_ms != 0;
        const bool added =
            (op->kind == OP_ELEM_SET || op->kind == OP_ELEM_INCR) && op->type == view.type;
        const uint8_t type = ks_group_cold_type(overlay_row(e), &view);
        if (added)
            s.type = view.type;
        else if (type != KS_MAYBE || op->kind != OP_EXPIRE)
            s.type = type;
    } else {
        s = after_op(s, op, tag);
    }
    if (kind == KEYTAB_NONE)
        group_insert_cold(ks, key, s.type, s.ttl);
    else if (s.type != keytab_type(&ref) || s.ttl != keytab_has_ttl(&ref))
        group_set_cold(ks, &ref, key->hash, s.type, s.ttl);
}

/* --- ops --- */

static void merge_key(const struct apply *a, struct bytes operand)
{
    struct keyspace *ks = a->ks;
    struct keytab_ref ref;

    if (keytab_find(ks->tab, a->key->slot, a->key->hash, a->key->name, &ref) != KEYTAB_HOT) {
        merge_cold(a, ROWKEY_KIND_KEY, bytes_of(NULL, 0), operand);
        return;
    }
    ks->group->metrics.operands_hot++;
    const struct bytes row = group_fold(ks->group, obj_row(ref.obj), operand);
    set_hot(ks, a->key, &ref, row, false, a->lsn);
}

static void merge_elem(const struct apply *a, uint8_t kind, struct bytes sub, struct bytes operand)
{
    struct keyspace *ks = a->ks;
    struct keytab_ref ref;

    if (keytab_find(ks->tab, a->key->slot, a->key->hash, a->key->name, &ref) != KEYTAB_HOT ||
        (ref.obj->h.flags & BLK_COLL) == 0 || coll_row_kind(obj_coll(ref.obj)->type) != kind) {
        merge_cold(a, kind, sub, operand);
        return;
    }
    ks->group->metrics.operands_hot++;
    group_elem_merge(ks, obj_coll(ref.obj), sub, operand, a->lsn);
    group_refresh(ks, a->key, obj_coll(ref.obj)->obj);
}

/* The operand of the key row is joined first: it decides where those of elements go. */
static int on_operand(void *ctx, uint8_t kind, struct bytes sub, struct bytes operand)
{
    const struct apply *a = ctx;
    struct buf *out = &a->ks->group->operands;
    uint8_t head[7];

    if (kind == ROWKEY_KIND_KEY) {
        merge_key(a, operand);
        return 0;
    }
    head[0] = kind;
    le16_store(head + 1, (uint16_t)sub.len);
    le32_store(head + 3, (uint32_t)operand.len);
    CHECK(buf_append(out, head, sizeof(head)) == 0 && buf_append_bytes(out, sub) == 0 &&
          buf_append_bytes(out, operand) == 0);
    return 0;
}

void ks_group_apply(struct keyspace *ks, const struct ks_key *key, const struct op *op,
                    const struct batch *batch, uint64_t lsn)
{
    struct ks_group *g = ks->group;
    struct keytab_ref ref;
    struct apply a = {.ks = ks, .key = key, .lsn = lsn};

    a.fresh = !ks->recovering &&
              keytab_find(ks->tab, key->slot, key->hash, key->name, &ref) == KEYTAB_NONE;
    g->lsn = lsn;
    buf_clear(&g->operands);
    /* The op was expanded once before it was logged. */
    if (op_expand(op, batch, 0, on_operand, &a, &g->expanded) != 0)
        g->metrics.poisoned_rows++;
    for (struct bytes in = buf_bytes(&g->operands); in.len != 0;) {
        struct bytes sub, operand;
        const uint8_t kind = in.ptr[0];
        const size_t sub_len = le16_load(in.ptr + 1), len = le32_load(in.ptr + 3);
        in = bytes_from(in, 7);
        CHECK(bytes_take(&in, sub_len, &sub));
        CHECK(bytes_take(&in, len, &operand));
        merge_elem(&a, kind, sub, operand);
    }
    note_cold(ks, key, op, batch_tag(batch));
}

/* The name of a chunk is its index, and its string ends where all do. */
static int check_chunk(struct bytes sub, struct bytes row)
{
    if (sub.len != ROW_CHUNK_SUB_BYTES || !(group_row_dead(row) || row_is_chunk(row)))
        return -ERR_CORRUPT;
    const uint64_t end = ((uint64_t)be32_load(sub.ptr) + 1) * ROW_CHUNK_BYTES;
    return end > ROW_STRING_BYTES_MAX ? -ERR_LIMIT : 0;
}

/* Kinds of rows that a member of a group has. */
static bool is_known(uint8_t kind)
{
    return kind == ROWKEY_KIND_KEY || kind == ROWKEY_KIND_HASH || kind == ROWKEY_KIND_SET ||
           kind == ROWKEY_KIND_ZSET || kind == ROWKEY_KIND_LIST || kind == ROWKEY_KIND_CHUNK;
}

int group_check_row(uint8_t kind, struct bytes sub, struct bytes row)
{
    if (!is_known(kind))
        return -ERR_UNSUPPORTED;
    if (sub.len > KS_NAME_BYTES_MAX || (kind == ROWKEY_KIND_LIST && listpos_check(sub) != 0))
        return -ERR_CORRUPT;
    const int err = row_check(row);
    if (err != 0)
        return err;
    if (kind == ROWKEY_KIND_CHUNK)
        return check_chunk(sub, row);
    if (row_is_chunk(row))
        return -ERR_CORRUPT;
    return kind == ROWKEY_KIND_KEY && row_string_bytes(row) > ROW_STRING_BYTES_MAX ? -ERR_LIMIT : 0;
}

static int check_operand(void *ctx, uint8_t kind, struct bytes sub, struct bytes operand)
{
    (void)ctx;
    return group_check_row(kind, sub, operand);
}

int ks_group_check(const struct op *op, const struct batch *batch, struct buf *scratch)
{
    if (op->kind >= OP_STRING && op_string_end(op) > ROW_STRING_BYTES_MAX)
        return -ERR_LIMIT;
    /* Nothing that the codec has let through makes a bad row of it. */
    if (op_is_plain(op, batch))
        return op->sub.len > KS_NAME_BYTES_MAX ? -ERR_CORRUPT : 0;
    return op_expand(op, batch, 0, check_operand, NULL, scratch);
}

/* --- going cold --- */

/* A dead object that the store knows: becomes a ghost in the table, or goes. */
bool ks_group_demote_dead(struct keyspace *ks, const struct keytab_ref *ref)
{
    struct obj *obj = ref->obj;
    const struct ks_key key = ks_key_of_obj(ks, obj);

    if (obj->h.dirty != 0 || obj->pins != 0 ||
        ((obj->h.flags & BLK_COLL) != 0 && !coll_clean(ks, obj_coll(obj))))
        return false;
    if (obj->h.row_len == 0) {
        keytab_remove(ks->tab, ref);
    } else {
        count_cold(ks->group, KS_GHOST, 1);
        keytab_set_cold(ks->tab, ref, key.hash, KS_GHOST, false, false);
    }
    ks_obj_free(ks, obj);
    return true;
}
