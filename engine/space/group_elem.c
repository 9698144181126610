/*
 * Elements of hot collections of a group, and what is derived from them.
 *
 * Every row of the type that shows is a struct elem, also those of lists and of strings in chunks;
 * dirty ones go to the store one by one. What handlers read is derived and never written: the order
 * of a sorted set, the sequence of a list (listq), the bytes of a string (chunks). An element that
 * is not alive stays while its row is not empty: floors of a counter must meet what comes later.
 */
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/space/group_impl.h"
#include "engine/value/row_chunk.h"
#include "engine/value/row_chunk_plain.h"

static bool is_alive(const struct elem *e)
{
    return (e->h.flags & BLK_DEAD) == 0;
}

/* Whether a row is an element that shows. */
static bool row_shows(const struct coll *coll, struct bytes row)
{
    struct row_view view;
    double score;

    if (group_row_dead(row))
        return false;
    if (coll->type == VT_STRING)
        return row_is_chunk(row);
    if (row_view(row, 0, &view) != 0 || !view.present)
        return false;
    return coll->type != VT_ZSET || row_score(row, &score) == 0;
}

/* --- what is derived --- */

static void list_show(struct coll *coll, struct bytes pos, struct bytes row)
{
    struct listq_at at;
    const struct listq_item item = {.position = pos, .row = row};

    if (row.len != 0)
        listq_insert(&coll->seq, &item, 0);
    else if (listq_find(&coll->seq, pos, &at))
        listq_remove(&coll->seq, &at, 0);
}

static void chunk_show(struct coll *coll, struct bytes sub, struct bytes row)
{
    uint8_t image[ROW_CHUNK_BYTES];
    size_t len = 0;
    struct tag tag;

    if (sub.len != ROW_CHUNK_SUB_BYTES)
        return;
    if (row.len == 0 || row_chunk_read(row, coll->generation, image, &len, &tag) != 0)
        len = 0;
    /* What is not known reads as zeros. */
    if (len == 0 && !chunks_known(&coll->chunks, be32_load(sub.ptr)))
        return;
    uint8_t *to = chunks_edit(&coll->chunks, be32_load(sub.ptr), coll->tag);
    memcpy(to, image, len);
    memset(to + len, 0, ROW_CHUNK_BYTES - len);
}

/* The element has `row` now, alive or (empty) not. Its place in the order is the caller's. */
static void show(struct coll *coll, struct bytes sub, struct bytes row)
{
    if (coll->type == VT_LIST)
        list_show(coll, sub, row);
    else if (coll->type == VT_STRING)
        chunk_show(coll, sub, row);
}

/* The row of a chunk holds bits, or what another generation left. */
static bool has_folds(const struct coll *coll, struct bytes row)
{
    return row_is_chunk(row) && (row.ptr[0] == ROW_CHUNKS || row.len < ROW_CHUNK_IMAGE_AT ||
                                 !tag_eq(tag_load(row.ptr + 1), coll->generation));
}

static void note_folds(struct coll *coll, struct elem *e)
{
    struct coll_folds *f = coll->folds;

    if ((e->h.flags & BLK_FOLDS) != 0 || e->h.name_len != ROW_CHUNK_SUB_BYTES ||
        !has_folds(coll, elem_row(e)))
        return;
    if (f == NULL || f->count == f->cap) {
        const uint32_t count = f == NULL ? 0 : f->count;
        const uint32_t cap = count == 0 ? 4 : 2 * count;
        f = mem_realloc(f, sizeof(*f) + (size_t)cap * sizeof(f->index[0]));
        if (count == 0)
            *f = (struct coll_folds){0};
        f->cap = cap;
        coll->folds = f;
    }
    f->index[f->count++] = be32_load(elem_sub(e).ptr);
    e->h.flags |= BLK_FOLDS;
}

struct elem *group_folds_next(struct coll *coll)
{
    struct coll_folds *f = coll->folds;
    uint8_t sub[ROW_CHUNK_SUB_BYTES];

    while (f != NULL && f->at < f->count) {
        be32_store(sub, f->index[f->at]);
        struct elem *e = elemtab_find(&coll->tab, bytes_of(sub, sizeof(sub)));
        if (e != NULL && has_folds(coll, elem_row(e)))
            return e;
        if (e != NULL)
            e->h.flags &= (uint8_t)~BLK_FOLDS;
        f->index[f->at] = f->index[--f->count];
    }
    if (f != NULL && f->count == 0) {
        mem_free(f);
        coll->folds = NULL;
    }
    return NULL;
}

void group_coll_derive(struct keyspace *ks, struct coll *coll, const struct row_view *view)
{
    struct list_meta meta;

    if (view->type != coll->type)
        return;
    coll->tag = view->tag;
    coll->expire_at_ms = view->expire_at_ms;
    if (coll->type == VT_STRING) {
        coll->count = view->count;
        coll->generation = view->generation;
    } else if (coll->type == VT_LIST && row_list_meta(obj_row(coll->obj), &meta) == 0) {
        coll_list_set_meta(coll, &meta, ks->options.origin);
    }
}

struct coll *group_coll_new(struct keyspace *ks, const struct ks_key *key,
                            const struct group_shape *shape)
{
    struct coll *coll = coll_create(ks, key, shape->type == VT_CHUNKED ? VT_STRING : shape->type);

    coll->grouped = true;
    coll->complete = true;
    coll->generation = shape->generation;
    return coll;
}

/* --- changes --- */

static struct elem *add(struct keyspace *ks, struct coll *coll, struct bytes sub, struct bytes row,
                        uint8_t flags)
{
    struct elem *e = elem_new(sub, coll->type, flags | BLK_DEAD, row.len);

    if (row.len != 0)
        memcpy(elem_row_ptr(e), row.ptr, row.len);
    ks->bytes += elem_bytes(e);
    elemtab_insert(&coll->tab, e);
    coll->dead++;
    return e;
}

static struct elem *resize(struct keyspace *ks, struct coll *coll, struct elem *e, size_t row_len)
{
    struct elem *const before = e;

    ks->bytes -= elem_bytes(e);
    e = elem_resize(e, row_len);
    ks->bytes += elem_bytes(e);
    if (e != before) {
        elemtab_replace(&coll->tab, elem_sub(e), before, e);
        dirty_moved(&ks->dirty, &e->h);
    }
    return e;
}

/* The element is dead for what is derived, until revive. */
static void hide(struct coll *coll, struct elem *e)
{
    if (!is_alive(e))
        return;
    if (coll->type == VT_ZSET)
        zorder_remove(&coll->order, coll_score(e), e);
    e->h.flags |= BLK_DEAD;
    coll->dead++;
    if (coll->type != VT_STRING)
        coll->count--;
}

static void revive(struct coll *coll, struct elem *e)
{
    e->h.flags &= (uint8_t)~BLK_DEAD;
    coll->dead--;
    if (coll->type != VT_STRING)
        coll->count++;
    if (coll->type == VT_ZSET)
        zorder_insert(&coll->order, coll_score(e), e);
}

static void forget(struct keyspace *ks, struct coll *coll, struct elem *e)
{
    CHECK(!is_alive(e));
    coll->dead--;
    elemtab_remove(&coll->tab, e);
    dirty_forget(&ks->dirty, &e->h);
    ks->bytes -= elem_bytes(e);
    elem_free(e);
}

/* Of a chunk: what some bits, joined to its row, have changed. False: it takes more than that. */
static bool bits_show(struct coll *coll, struct bytes sub, struct bytes row, struct bytes operand)
{
    if (coll->type != VT_STRING || sub.len != ROW_CHUNK_SUB_BYTES || operand.len == 0)
        return false;
    /* Bits of another generation make no chunk. */
    if (!chunks_known(&coll->chunks, be32_load(sub.ptr)))
        return false;
    uint8_t *image = chunks_edit(&coll->chunks, be32_load(sub.ptr), coll->tag);
    return row_chunk_show_bits(row, operand, coll->generation, image);
}

/* `operand`: what has made `row` of the former one, or empty. */
static void set_elem(struct keyspace *ks, struct coll *coll, struct bytes sub, struct bytes row,
                     struct bytes operand, uint64_t lsn)
{
    struct elem *e = elemtab_find(&coll->tab, sub);
    const bool shows = row_shows(coll, row);
    const bool showed = e != NULL && is_alive(e);

    if (group_row_dead(row))
        row = bytes_of(NULL, 0);
    if (e == NULL && row.len == 0)
        return;
    if (e == NULL) {
        e = add(ks, coll, sub, row, coll->stored ? BLK_STORED : 0);
    } else {
        hide(coll, e);
        e = resize(ks, coll, e, row.len);
        if (row.len != 0)
            memcpy(elem_row_ptr(e), row.ptr, row.len);
    }
    if (shows)
        revive(coll, e);
    if ((shows || showed) && !(shows && bits_show(coll, sub, row, operand)))
        show(coll, sub, shows ? row : bytes_of(NULL, 0));
    e->h.flags |= BLK_TOUCHED;
    if (coll->type == VT_STRING)
        note_folds(coll, e);
    if (row.len == 0 && (e->h.flags & BLK_STORED) == 0)
        forget(ks, coll, e);
    else
        dirty_mark(&ks->dirty, &e->h, coll, lsn);
    coll->lsn = lsn;
    /* The key comes and goes with its first and last element. */
    if (coll->type != VT_STRING && ((coll->obj->h.flags & BLK_DEAD) != 0) != (coll->count == 0)) {
        const struct ks_key key = ks_key_of_coll(coll);
        group_refresh(ks, &key, coll->obj);
        /* The journal of keys is to know it. */
        dirty_mark(&ks->dirty, &coll->obj->h, NULL, lsn);
    }
    coll_account(ks, coll);
}

void ks_group_set_elem(struct keyspace *ks, struct coll *coll, struct bytes sub, struct bytes row,
                       uint64_t lsn)
{
    set_elem(ks, coll, sub, row, bytes_of(NULL, 0), lsn);
}

struct bytes ks_group_elem_row(const struct coll *coll, struct bytes sub)
{
    const struct elem *e = elemtab_find(&coll->tab, sub);

    return e == NULL ? bytes_of(NULL, 0) : elem_row(e);
}

void ks_group_drop_elem(struct keyspace *ks, const struct ks_key *key, uint8_t type,
                        struct bytes sub, uint64_t lsn)
{
    struct overlay *over = &ks->group->overlay;
    struct overlay_key *k = overlay_key_find(over, key);
    struct overlay_entry *o = k == NULL ? NULL : overlay_find(over, k, coll_row_kind(type), sub);
    struct keytab_ref ref;

    if (keytab_find(ks->tab, key->slot, key->hash, key->name, &ref) == KEYTAB_HOT &&
        (ref.obj->h.flags & BLK_COLL) != 0 && obj_coll(ref.obj)->type == type)
        ks_group_set_elem(ks, obj_coll(ref.obj), sub, bytes_of(NULL, 0), lsn);
    if (o == NULL)
        return;
    o = overlay_put(over, k, coll_row_kind(type), sub, bytes_of(NULL, 0), true);
    dirty_mark(&ks->dirty, &o->h, NULL, lsn);
    group_account(ks);
}

void group_elem_merge(struct keyspace *ks, struct coll *coll, struct bytes sub,
                      struct bytes operand, uint64_t lsn)
{
    const struct bytes row = group_fold(ks->group, ks_group_elem_row(coll, sub), operand);

    set_elem(ks, coll, sub, row, operand, lsn);
}

void group_coll_clip(struct keyspace *ks, struct coll *coll, const struct vv *clear, uint64_t lsn)
{
    struct buf *clipped = &ks->group->clipped;
    struct elemtab_iter it;
    struct elem **list;
    uint64_t count = 0;

    list = mem_alloc((size_t)(elemtab_count(&coll->tab) + 1) * sizeof(struct elem *));
    struct elem *e;
    elemtab_iter_init(&coll->tab, &it);
    while ((e = elemtab_iter_next(&it)) != NULL)
        list[count++] = e;
    /* A change moves or frees no other element. */
    for (uint64_t i = 0; i < count; i++) {
        const struct bytes row = elem_row(list[i]);
        buf_clear(clipped);
        if (row.len == 0 || row_is_chunk(row) || row_clip(row, clear, clipped) != 0 ||
            bytes_eq(row, buf_bytes(clipped)))
            continue;
        /* The name is in the block that may move. */
        struct buf *name = &ks->group->operands;
        buf_clear(name);
        CHECK(buf_append_bytes(name, elem_sub(list[i])) == 0);
        ks_group_set_elem(ks, coll, buf_bytes(name), buf_bytes(clipped), lsn);
    }
    mem_free(list);
}

/* --- from and to the overlay --- */

struct elem *group_elem_load(struct keyspace *ks, struct coll *coll, struct bytes sub,
                             struct bytes row, bool stored)
{
    struct elem *e = add(ks, coll, sub, row, stored ? BLK_STORED : 0);

    if (row_shows(coll, row)) {
        revive(coll, e);
        show(coll, sub, row);
    }
    if (coll->type == VT_STRING)
        note_folds(coll, e);
    return e;
}

/* An element's row under a clear vector; empty if nothing is left of it. */
static struct bytes clip(struct ks_group *g, struct bytes row, const struct vv *clear)
{
    if (row.len != 0 && !row_is_chunk(row)) {
        buf_clear(&g->clipped);
        if (row_clip(row, clear, &g->clipped) == 0)
            row = buf_bytes(&g->clipped);
    }
    return group_row_dead(row) ? bytes_of(NULL, 0) : row;
}

void group_coll_apart(struct keyspace *ks, const struct ks_key *key, struct coll *coll,
                      const struct vv *clear, bool seen)
{
    struct ks_group *g = ks->group;
    struct elemtab_iter it;
    struct elem *e;
    const uint8_t kind = coll_row_kind(coll->type);

    elemtab_iter_init(&coll->tab, &it);
    while ((e = elemtab_iter_next(&it)) != NULL) {
        if (e->h.dirty == 0)
            continue;
        const struct bytes row = clip(g, elem_row(e), clear);
        /* What the store has of it is as dead. Floors that the same batch has made are not. */
        if (seen && (row.len == 0 || is_alive(e)))
            continue;
        struct overlay_key *k = overlay_key_get(&g->overlay, key);
        struct overlay_entry *o = overlay_put(&g->overlay, k, kind, elem_sub(e), row, true);
        k->fresh = false;
        CHECK(o->h.dirty == 0);
        group_inherit(ks, &e->h, &o->h, NULL);
    }
    group_account(ks);
}

void group_inherit(struct keyspace *ks, struct row_head *from, struct row_head *heir,
                   struct coll *coll)
{
    const bool waits = from->dirty != 0;

    dirty_inherit(&ks->dirty, from, heir);
    if (heir->dirty != 0)
        dirty_set_coll(&ks->dirty, heir, coll);
    else if (waits)
        dirty_mark(&ks->dirty, heir, coll, group_lsn(ks));
}

void group_coll_absorb(struct keyspace *ks, const struct ks_key *key, struct coll *coll,
                       const struct vv *clear)
{
    struct ks_group *g = ks->group;
    struct overlay_key *k = overlay_key_find(&g->overlay, key);
    const uint8_t kind = coll_row_kind(coll->type);
    struct list_link *link = k == NULL ? NULL : list_first(&k->entries);

    if (k != NULL)
        k->fresh = false; /* What is in DRAM goes to the store without it. */
    while (link != NULL) {
        struct overlay_entry *o = LIST_ITEM(link, struct overlay_entry, link);
        link = link->next == &k->entries.head ? NULL : link->next;
        if (o->kind != kind)
            continue;
        /* A local write has seen it all: it is gone, which the store must learn. */
        const struct bytes row = o->full ? clip(g, overlay_row(o), clear) : bytes_of(NULL, 0);
        struct elem *e = add(ks, coll, overlay_sub(o), row, BLK_STORED);
        group_inherit(ks, &o->h, &e->h, coll);
        coll->stored = true;
        overlay_remove(&g->overlay, o);
    }
    coll_account(ks, coll);
    group_account(ks);
}
