/*
 * Which keys of a group have something to collect.
 *
 * Rows that are not simple (row.h, GENERAL) hold what only matters until every member has it. When
 * such a row goes to the store, its key is noted here, and looked at each time that the horizons
 * have moved, until nothing is left to collect of it. What has expired is noted by whoever finds
 * it.
 *
 *     queue: keys in the order of their last look; each with the number of the horizons then
 *
 * The queue is bounded. A key that finds no room is noted again when a row of it is written next.
 *
 * A hot key is made simpler in DRAM, except where that would take element rows away: those are on
 * flash, too, and go when the key is cold. So a hot collection that has expired is made cold first.
 *
 * A string in chunks may have a million rows, of which few hold bits, or what is left of other
 * generations. A hot one has a list of them (coll->folds). A cold one is read slice by slice, each
 * with the key row as it is then (group_load.c); where it was left off stands here (group_pass).
 * What one call does of either is bounded; the key then stays the first of the queue.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/space/flush.h"
#include "engine/space/group_impl.h"
#include "engine/value/row_chunk.h"
#include "engine/value/rowkey.h"

#define KEYS_MAX 65536u
#define BUCKETS  4096u
/* Reads for it under way, at most, so that commands find the readers free. */
#define SWEEPS_MAX 8u
/* Elements of a hot collection that are looked at. */
#define ELEMS_MAX 4096u
/* What one call does of strings in chunks: rows, and their bytes in units of a chunk. */
#define FOLDS_MAX 256u
/* Changes that wait for the store, beyond which the next slice of a cold key waits. */
#define BACKLOG_BYTES_MAX (32u << 20)
/* The same of the overlay, at least. */
#define OVERLAY_BYTES_MIN (4u << 20)

struct gc_key {
    struct list_link link;   /* In the queue. */
    struct list_link bucket; /* Of its hash. */
    uint64_t looked;         /* Number of the horizons when it was looked at last. */
    uint64_t folding;        /* The stable_number at which the list of a hot string was begun, */
    uint64_t folded;         /* and that at which all of it was looked at. */
    uint64_t rests;          /* A cold one is left alone at this stable_number, */
    uint64_t rests_until;    /* and until these horizons. */
    struct group_pass *pass; /* NULL: none is under way. */
    uint64_t hash;
    uint16_t slot;
    uint16_t name_len;
    uint8_t name[];
};

struct group_gc {
    struct list queue;
    struct list buckets[BUCKETS];
    uint64_t count;
    uint64_t number;        /* Of the horizons; 0: none are known. */
    uint64_t stable_number; /* The same of `stable`, which does not move while a peer is away. */
    uint32_t folds;         /* Left to this call. */
    struct vv stable;
    struct row_horizons horizons;
    struct buf row;
};

void group_gc_init(struct keyspace *ks)
{
    struct group_gc *gc = mem_zalloc(sizeof(*gc));

    list_init(&gc->queue);
    for (unsigned i = 0; i < BUCKETS; i++)
        list_init(&gc->buckets[i]);
    buf_init(&gc->row, UINT32_MAX);
    ks->group->gc = gc;
}

static void end_pass(struct gc_key *k)
{
    if (k->pass == NULL)
        return;
    buf_deinit(&k->pass->resume);
    mem_free(k->pass);
    k->pass = NULL;
}

static void forget(struct group_gc *gc, struct gc_key *k)
{
    list_remove(&k->link);
    list_remove(&k->bucket);
    gc->count--;
    end_pass(k);
    mem_free(k);
}

void group_gc_deinit(struct keyspace *ks)
{
    struct group_gc *gc = ks->group->gc;

    while (!list_empty(&gc->queue))
        forget(gc, LIST_ITEM(list_first(&gc->queue), struct gc_key, link));
    buf_deinit(&gc->row);
    mem_free(gc);
    ks->group->gc = NULL;
}

static struct gc_key *find(const struct group_gc *gc, const struct ks_key *key)
{
    LIST_FOR_EACH(link, &gc->buckets[key->hash & (BUCKETS - 1)]) {
        struct gc_key *k = LIST_ITEM(link, struct gc_key, bucket);
        if (k->hash == key->hash && bytes_eq(bytes_of(k->name, k->name_len), key->name))
            return k;
    }
    return NULL;
}

bool ks_group_collect_key(struct keyspace *ks, const struct ks_key *key)
{
    struct group_gc *gc = ks->group->gc;

    if (gc->count == KEYS_MAX || find(gc, key) != NULL)
        return false;
    struct gc_key *k = mem_zalloc(sizeof(*k) + key->name.len);
    k->hash = key->hash;
    k->slot = key->slot;
    k->name_len = (uint16_t)key->name.len;
    if (key->name.len != 0)
        memcpy(k->name, key->name.ptr, key->name.len);
    list_push_back(&gc->queue, &k->link);
    list_push_back(&gc->buckets[key->hash & (BUCKETS - 1)], &k->bucket);
    gc->count++;
    return true;
}

void group_gc_note(struct keyspace *ks, const struct ks_key *key, struct bytes row)
{
    if (row.len != 0 && (row.ptr[0] == ROW_GENERAL || row.ptr[0] == ROW_CHUNKS))
        (void)ks_group_collect_key(ks, key);
}

void ks_group_note_row(struct keyspace *ks, const struct ks_key *key, struct bytes row)
{
    group_gc_note(ks, key, row);
}

void group_gc_done(struct keyspace *ks, const struct ks_key *key)
{
    struct group_gc *gc = ks->group->gc;
    struct gc_key *k = find(gc, key);

    if (k != NULL)
        forget(gc, k);
}

struct group_pass *group_gc_pass(struct keyspace *ks, const struct ks_key *key)
{
    struct gc_key *k = find(ks->group->gc, key);

    if (k == NULL)
        return NULL;
    if (k->pass == NULL) {
        k->pass = mem_zalloc(sizeof(*k->pass));
        buf_init(&k->pass->resume, ROWKEY_BYTES_MAX);
    }
    return k->pass;
}

void group_gc_again(struct keyspace *ks, const struct ks_key *key)
{
    struct group_gc *gc = ks->group->gc;
    struct gc_key *k = find(gc, key);

    if (k == NULL)
        return;
    k->looked = 0;
    list_remove(&k->link);
    list_push_front(&gc->queue, &k->link);
}

void group_gc_rest(struct keyspace *ks, const struct ks_key *key, uint32_t horizons)
{
    struct gc_key *k = find(ks->group->gc, key);

    if (k == NULL)
        return;
    k->rests = ks->group->gc->stable_number;
    k->rests_until = ks->group->gc->number + horizons;
}

uint64_t ks_group_waiting(const struct keyspace *ks)
{
    return ks->group->gc->count;
}

void ks_group_set_horizons(struct keyspace *ks, const struct row_horizons *horizons)
{
    struct group_gc *gc = ks->group->gc;

    gc->stable_number += gc->number == 0 || !vv_equal(&gc->stable, horizons->stable);
    gc->horizons = *horizons;
    vv_copy(&gc->stable, horizons->stable);
    gc->horizons.stable = &gc->stable;
    gc->horizons.swept = false;
    gc->horizons.swept_types = 0;
    gc->number++;
}

const struct row_horizons *group_gc_horizons(const struct keyspace *ks)
{
    const struct group_gc *gc = ks->group->gc;

    return gc->number == 0 ? NULL : &gc->horizons;
}

/* --- hot keys --- */

static void collect_elems(struct keyspace *ks, struct coll *coll)
{
    struct group_gc *gc = ks->group->gc;
    struct row_horizons h = gc->horizons;
    struct elemtab_iter it;
    struct elem *e;
    uint16_t none;
    uint64_t count = 0;

    if (elemtab_count(&coll->tab) > ELEMS_MAX)
        return;
    struct elem **all = mem_alloc((elemtab_count(&coll->tab) + 1) * sizeof(struct elem *));
    elemtab_iter_init(&coll->tab, &it);
    while ((e = elemtab_iter_next(&it)) != NULL)
        all[count++] = e;
    h.clearing = row_clearing(obj_row(coll->obj), h.stable);
    /* A change moves or frees no other element. */
    for (uint64_t i = 0; i < count; i++) {
        const struct bytes row = elem_row(all[i]);
        buf_clear(&gc->row);
        if (row.len == 0 || row.ptr[0] != ROW_GENERAL ||
            row_collect(row, &h, &gc->row, &none) != ROW_CHANGED)
            continue;
        struct buf *name = &ks->group->operands;
        buf_clear(name);
        CHECK(buf_append_bytes(name, elem_sub(all[i])) == 0);
        ks_group_set_elem(ks, coll, buf_bytes(name), buf_bytes(&gc->row), group_lsn(ks));
        ks->group->metrics.rows_collected++;
    }
    mem_free(all);
}

/* The rows of a string that hold more than an image. True if there are more for the next call. */
static bool collect_folds(struct keyspace *ks, struct coll *coll)
{
    struct group_gc *gc = ks->group->gc;
    struct row_generations generations;
    uint8_t sub[ROW_CHUNK_SUB_BYTES];
    struct elem *e = NULL;

    if (row_generations(obj_row(coll->obj), &generations) != 0)
        return false;
    while (gc->folds != 0 && (e = group_folds_next(coll)) != NULL) {
        const struct bytes row = elem_row(e);
        const size_t units = 1 + row.len / ROW_CHUNK_BYTES;
        gc->folds -= (uint32_t)size_min(units, gc->folds);
        coll->folds->at++;
        buf_clear(&gc->row);
        if (row_chunk_collect(row, gc->horizons.stable, &generations, &gc->row) != ROW_CHANGED)
            continue;
        memcpy(sub, elem_sub(e).ptr, sizeof(sub));
        ks_group_set_elem(ks, coll, bytes_of(sub, sizeof(sub)), buf_bytes(&gc->row), group_lsn(ks));
        ks->group->metrics.rows_collected++;
        /* If nothing is left to collect, it is found to be so. */
        if (coll->folds != NULL)
            coll->folds->at--;
    }
    if (e != NULL)
        return true;
    if (coll->folds != NULL)
        coll->folds->at = 0;
    coll_account(ks, coll);
    return false;
}

enum looked {
    LOOKED,
    LOOK_AGAIN, /* There is more to do with it now. */
    LOOK_DONE   /* Nothing is left to collect. */
};

static bool is_string(const struct obj *obj)
{
    return (obj->h.flags & BLK_COLL) != 0 && obj_coll(obj)->type == VT_STRING;
}

/* A string of which everything is as simple as it will be. */
static bool is_simple(const struct obj *obj)
{
    struct row_view view;

    group_view(obj_row(obj), &view);
    return is_string(obj) && obj->h.row_len != 0 && obj_row(obj).ptr[0] != ROW_GENERAL &&
           view.expire_at_ms == 0 && obj_coll(obj)->folds == NULL;
}

static enum looked collect_hot(struct keyspace *ks, const struct ks_key *key, struct gc_key *k,
                               struct keytab_ref *ref)
{
    struct group_gc *gc = ks->group->gc;
    const bool coll = (ref->obj->h.flags & BLK_COLL) != 0;
    struct row_view view, after;
    uint16_t lost;

    if (ref->obj->pins != 0)
        return LOOKED;
    group_view(obj_row(ref->obj), &view);
    if (coll && !is_string(ref->obj))
        collect_elems(ks, obj_coll(ref->obj));
    buf_clear(&gc->row);
    const int err = row_collect(obj_row(ref->obj), &gc->horizons, &gc->row, &lost);
    if (err == ROW_CHANGED) {
        struct bytes row = buf_bytes(&gc->row);
        if (group_row_dead(row))
            row = bytes_of(NULL, 0);
        group_view(row, &after);
        if (!coll || (after.type == view.type && tag_eq(after.generation, view.generation))) {
            group_collected(ks, key, ref, row);
            ks->group->metrics.rows_collected++;
        }
    }
    if (keytab_find(ks->tab, key->slot, key->hash, key->name, ref) != KEYTAB_HOT)
        return LOOKED;
    /* What the key row has lost by now may be dead in the chunks. */
    if (is_string(ref->obj) && k->folded != gc->stable_number) {
        if (k->folding == 0)
            k->folding = gc->stable_number;
        if (collect_folds(ks, obj_coll(ref->obj)))
            return LOOK_AGAIN;
        k->folded = k->folding;
        k->folding = 0;
    }
    /* Its element rows are to go: that is for a cold key. */
    if (lost != 0 && (ref->obj->h.flags & (BLK_COLL | BLK_DEAD)) == BLK_COLL)
        (void)ks_demote(ks, ref, false);
    else if (is_simple(ref->obj))
        return LOOK_DONE;
    return LOOKED;
}

/* --- the walk --- */

static void look_at_hot(struct keyspace *ks, const struct ks_key *key, struct gc_key *k,
                        struct keytab_ref *ref)
{
    end_pass(k);
    k->rests = k->rests_until = 0;
    switch (collect_hot(ks, key, k, ref)) {
    case LOOKED:
        break;
    case LOOK_AGAIN:
        group_gc_again(ks, key);
        break;
    case LOOK_DONE:
        forget(ks->group->gc, k);
        break;
    }
}

/* What waits in the overlay, beyond which what is swept waits. */
static uint64_t overlay_max(const struct keyspace *ks)
{
    const uint64_t dram = ks->options.dram_bytes;

    return dram == 0 ? BACKLOG_BYTES_MAX : u64_max(dram / 16, OVERLAY_BYTES_MIN);
}

/*
 * A long string may have as much to write as it is long, and what a large set leaves takes more in
 * the overlay than on flash: the next slice waits for write-back.
 */
static bool must_wait(const struct keyspace *ks, const struct gc_key *k)
{
    return k->pass != NULL && k->pass->resume.len != 0 &&
           (ks_flush_backlog(ks) > BACKLOG_BYTES_MAX ||
            overlay_row_bytes(&ks->group->overlay) > overlay_max(ks));
}

static void look_at_cold(struct keyspace *ks, const struct ks_key *key, struct gc_key *k)
{
    const struct group_gc *gc = ks->group->gc;
    const struct bytes resume = k->pass == NULL ? bytes_of(NULL, 0) : buf_bytes(&k->pass->resume);

    k->folded = k->folding = 0;
    if (k->rests == gc->stable_number || gc->number < k->rests_until)
        return;
    k->rests = 0;
    group_sweep(ks, key, resume);
}

/* False: it waits, and stays where it is in the queue. */
static bool look_at(struct keyspace *ks, struct gc_key *k)
{
    struct group_gc *gc = ks->group->gc;
    struct keytab_ref ref;
    const struct ks_key key = {
        .name = bytes_of(k->name, k->name_len), .hash = k->hash, .slot = k->slot};

    if (must_wait(ks, k))
        return false;
    k->looked = gc->number;
    list_remove(&k->link);
    list_push_back(&gc->queue, &k->link);
    switch (keytab_find(ks->tab, key.slot, key.hash, key.name, &ref)) {
    case KEYTAB_NONE:
        forget(gc, k);
        break;
    case KEYTAB_HOT:
        look_at_hot(ks, &key, k, &ref);
        break;
    case KEYTAB_COLD:
        look_at_cold(ks, &key, k);
        break;
    }
    return true;
}

bool ks_group_collect_some(struct keyspace *ks, uint32_t max)
{
    struct ks_group *g = ks->group;
    struct group_gc *gc = g == NULL ? NULL : g->gc;
    bool waits = false;

    if (gc == NULL || gc->number == 0)
        return false;
    gc->folds = FOLDS_MAX;
    struct list_link *link = list_first(&gc->queue);
    for (uint32_t i = 0; i < max && link != NULL; i++) {
        struct gc_key *k = LIST_ITEM(link, struct gc_key, link);
        if (k->looked == gc->number)
            return waits;
        if (g->probes >= SWEEPS_MAX || gc->folds == 0)
            return true;
        /* Those behind one that waits go on. */
        link = link->next == &gc->queue.head ? NULL : link->next;
        waits |= !look_at(ks, k);
    }
    return !list_empty(&gc->queue);
}
