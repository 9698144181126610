/* Elements of collections: look-up, changes, residency. coll.h tells the states. */
#include "engine/space/coll.h"

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/mem.h"

#include "engine/space/demote.h"
#include "engine/space/ks_state.h"

/* Of a string, one step of shedding looks at so many leaves, of which each may be 64 KiB. */
#define SHED_LEAVES_MAX 16
/*
 * By number of elements a collection is large from here on. What a step of shedding may free of
 * a list is 32 KiB, of a string a MiB: in these many bytes are what an element is.
 */
#define LARGE_SIZE        1024
#define LIST_ELEM_BYTES   256
#define STRING_ELEM_BYTES (8u << 10)

/*
 * Elements of dropped collections that are freed in one turn, for each one that waits, so that what
 * waits does not grow with what is dropped: fifty microseconds each, if it may take so long. The
 * rows of the others stay in the dirty ring until then; write-back passes them over (flush.c).
 */
#define REAP_ELEMS     512
#define REAP_COLLS_MAX 64
/*
 * Elements of small collections that are freed at once in one turn: a millisecond. What one command
 * drops beyond them, thousands of keys for example, is freed as large ones are, but for what is
 * hardly more than its key.
 */
#define DROP_ELEMS 16384
#define DROP_TINY  16

/* --- life --- */

struct coll *coll_create(struct keyspace *ks, const struct ks_key *key, uint8_t type)
{
    struct coll *coll = mem_zalloc(sizeof(*coll));

    coll->hash = key->hash;
    coll->slot = key->slot;
    coll->id = ++ks->coll_ids;
    coll->type = type;
    coll->fresh_bytes = &ks->fresh_bytes;
    elemtab_init(&coll->tab, ks->options.seed);
    if (type == VT_ZSET)
        zorder_init(&coll->order);
    else if (type == VT_LIST)
        listq_init(&coll->seq);
    else if (type == VT_STRING)
        chunks_init(&coll->chunks);
    ks->bytes += mem_class_bytes(sizeof(*coll));
    coll_account(ks, coll);
    return coll;
}

/* It is large, or no longer, or of another size than it was. */
static void size_changed(struct keyspace *ks, struct coll *coll, uint64_t size)
{
    if (size > LARGE_SIZE && !list_linked(&coll->large_link)) {
        list_push_back(&ks->large, &coll->large_link);
    } else if (size <= LARGE_SIZE && list_linked(&coll->large_link)) {
        list_remove(&coll->large_link);
    }
    size = size > LARGE_SIZE ? size : 0;
    ks->large_size += size - coll->large_size;
    coll->large_size = size;
}

/* What the table of the dead takes and has; an empty one goes. */
static void gone_account(struct coll *coll, uint64_t *bytes, uint64_t *size)
{
    if (elemtab_count(&coll->gone->tab) == 0) {
        mem_free(coll->gone);
        coll->gone = NULL;
        return;
    }
    *bytes += mem_class_bytes(sizeof(*coll->gone)) + elemtab_bytes(&coll->gone->tab);
    *size += elemtab_count(&coll->gone->tab);
}

void coll_account(struct keyspace *ks, struct coll *coll)
{
    uint64_t bytes = elemtab_bytes(&coll->tab);
    uint64_t size = elemtab_count(&coll->tab);

    if (unlikely(coll->gone != NULL))
        gone_account(coll, &bytes, &size);
    if (coll->type == VT_ZSET) {
        bytes += zorder_bytes(&coll->order) + coll_side_bytes(coll);
    } else if (coll->type == VT_LIST) {
        bytes += listq_bytes(&coll->seq) + coll_gap_bytes(coll);
        size = listq_bytes(&coll->seq) / LIST_ELEM_BYTES;
    } else if (coll->type == VT_STRING) {
        bytes += chunks_bytes(&coll->chunks);
        if (coll->folds != NULL)
            bytes += mem_usable(coll->folds);
        size = chunks_bytes(&coll->chunks) / STRING_ELEM_BYTES;
    }
    ks->bytes += bytes - coll->table_bytes;
    coll->table_bytes = bytes;
    if (unlikely(size > LARGE_SIZE || coll->large_size != 0))
        size_changed(ks, coll, size);
}

/* The element is used, or leaves. */
static void not_fresh(const struct coll *coll, struct elem *elem)
{
    if (likely((elem->h.flags & BLK_FRESH) == 0))
        return;
    elem->h.flags &= (uint8_t)~BLK_FRESH;
    *coll->fresh_bytes -= elem_bytes(elem);
}

/* `ks`: perhaps what FLUSHALL has set aside, on another thread (clear.c). */
static void elem_drop(struct keyspace *ks, struct elem *elem)
{
    if ((elem->h.flags & BLK_FRESH) != 0)
        ks->fresh_bytes -= elem_bytes(elem);
    dirty_forget(&ks->dirty, &elem->h);
    ks->bytes -= elem_bytes(elem);
    elem_free(elem);
}

static void drop_all(struct keyspace *ks, struct elemtab *tab)
{
    struct elemtab_iter it;
    struct elem *elem;

    elemtab_iter_init(tab, &it);
    while ((elem = elemtab_iter_next(&it)) != NULL) {
        elemtab_remove(tab, elem);
        elem_drop(ks, elem);
    }
    elemtab_deinit(tab);
}

/* The write-back and demotion do not look after it any more. */
static void leave(struct keyspace *ks, struct coll *coll)
{
    if (coll->large_size != 0)
        size_changed(ks, coll, 0);
    if (list_linked(&coll->flush_link))
        list_remove(&coll->flush_link);
    if (coll->type != VT_LIST)
        return;
    dirty_forget(&ks->dirty, &coll->list_head);
    dirty_shrink(&ks->dirty, coll->unsaved);
    coll->unsaved = 0;
}

/* What it has beside the elements in its tables. */
static void drop_rest(struct keyspace *ks, struct coll *coll)
{
    leave(ks, coll);
    if (coll->type == VT_ZSET) {
        zorder_deinit(&coll->order);
        coll_side_free(coll);
    } else if (coll->type == VT_LIST) {
        listq_deinit(&coll->seq);
        coll_gap_close(coll);
    } else if (coll->type == VT_STRING) {
        strval_deinit(ks, coll);
    }
}

static uint64_t elems_left(const struct coll *coll)
{
    return elemtab_count(&coll->tab) + (coll->gone == NULL ? 0 : elemtab_count(&coll->gone->tab));
}

/* Of one that has nothing but its tables any more. */
static void account_tables(struct keyspace *ks, struct coll *coll)
{
    uint64_t bytes = elemtab_bytes(&coll->tab);

    if (coll->gone != NULL)
        bytes += mem_class_bytes(sizeof(*coll->gone)) + elemtab_bytes(&coll->gone->tab);
    ks->bytes += bytes - coll->table_bytes;
    coll->table_bytes = bytes;
}

static void free_coll(struct keyspace *ks, struct coll *coll)
{
    drop_all(ks, &coll->tab);
    if (coll->gone != NULL) {
        drop_all(ks, &coll->gone->tab);
        mem_free(coll->gone);
    }
    ks->bytes -= coll->table_bytes + mem_class_bytes(sizeof(*coll));
    mem_free_sized(coll, sizeof(*coll));
}

/* Whether it is freed in slices. */
static bool drops_slowly(struct keyspace *ks, const struct coll *coll)
{
    const uint64_t left = elems_left(coll);

    /* Replay has no turns to do it in, and what FLUSHALL has set aside is nobody's turn. */
    if (coll->grouped || ks->recovering || ks->reap_above == UINT64_MAX)
        return false;
    if (left > ks->reap_above)
        return true;
    ks->dropped += left;
    return ks->dropped > DROP_ELEMS && left > DROP_TINY;
}

void coll_destroy(struct keyspace *ks, struct coll *coll)
{
    coll->obj = NULL;
    if (unlikely(coll->walks != 0)) {
        coll->retired = true; /* coll_walk_end calls again. */
        leave(ks, coll);
        return;
    }
    drop_rest(ks, coll);
    if (!drops_slowly(ks, coll)) {
        free_coll(ks, coll);
        return;
    }
    account_tables(ks, coll);
    coll->retired = true;
    list_push_back(&ks->retired, &coll->large_link);
    ks->retired_count++;
}

/* --- those that were dropped and are large --- */

static bool reap_one(void *ctx, struct elem *elem)
{
    elem_drop(ctx, elem);
    return true;
}

/* Frees up to `max` elements, and the collection with the last; returns how many. */
static uint32_t reap(struct keyspace *ks, struct coll *coll, uint32_t max)
{
    uint32_t freed = 0;

    if (elemtab_count(&coll->tab) != 0)
        freed = elemtab_walk(&coll->tab, &coll->shed_hand, max, reap_one, ks);
    else if (coll->gone != NULL)
        freed = elemtab_walk(&coll->gone->tab, &coll->gone->hand, max, reap_one, ks);
    account_tables(ks, coll);
    if (elems_left(coll) != 0)
        return freed;
    list_remove(&coll->large_link);
    ks->retired_count--;
    free_coll(ks, coll);
    return freed;
}

bool ks_reap_some(struct keyspace *ks, uint64_t slice_ns)
{
    ks->dropped = 0;
    if (likely(ks->retired_count == 0))
        return false;
    uint32_t left =
        REAP_ELEMS * (ks->retired_count < REAP_COLLS_MAX ? ks->retired_count : REAP_COLLS_MAX);
    const uint64_t until_ns = clock_mono_ns() + slice_ns;
    while (left != 0 && ks->retired_count != 0) {
        left -= reap(ks, LIST_ITEM(list_first(&ks->retired), struct coll, large_link),
                     left < REAP_ELEMS ? left : REAP_ELEMS);
        if (slice_ns != 0 && clock_mono_ns() >= until_ns)
            break;
    }
    return ks->retired_count != 0;
}

void ks_set_reap_above(struct keyspace *ks, uint64_t elements)
{
    ks->reap_above = elements;
}

/* --- look-up --- */

double coll_score(const struct elem *elem)
{
    double score = 0.0;

    /* Rows are checked when they are installed. */
    CHECK(row_score(elem_row(elem), &score) == 0);
    return score;
}

static struct elem *find_any(const struct coll *coll, struct bytes sub)
{
    struct elem *elem = elemtab_find(&coll->tab, sub);

    if (elem == NULL && unlikely(coll->gone != NULL))
        elem = elemtab_find(&coll->gone->tab, sub);
    return elem;
}

static bool is_live(const struct elem *elem)
{
    return (elem->h.flags & BLK_DEAD) == 0;
}

struct elem *coll_find(const struct coll *coll, struct bytes sub)
{
    struct elem *elem = find_any(coll, sub);

    if (elem == NULL)
        return NULL;
    not_fresh(coll, elem);
    if (!is_live(elem))
        return NULL;
    elem->h.flags |= BLK_TOUCHED;
    return elem;
}

bool coll_remembers(const struct coll *coll, struct bytes sub)
{
    return find_any(coll, sub) != NULL;
}

bool coll_knows(const struct coll *coll, struct bytes sub)
{
    return coll->complete || coll_remembers(coll, sub);
}

void coll_iter_init(const struct coll *coll, struct coll_iter *it)
{
    elemtab_iter_init_inserted(&coll->tab, &it->it);
}

struct elem *coll_iter_next(struct coll_iter *it)
{
    struct elem *elem;

    do {
        elem = elemtab_iter_next(&it->it);
    } while (elem != NULL && !is_live(elem));
    return elem;
}

struct scan {
    coll_scan_fn *fn;
    void *ctx;
};

static void scan_live(void *ctx, struct elem *elem)
{
    const struct scan *s = ctx;

    if (is_live(elem))
        s->fn(s->ctx, elem);
}

uint64_t coll_scan(const struct coll *coll, uint64_t cursor, coll_scan_fn *fn, void *ctx)
{
    struct scan s = {.fn = fn, .ctx = ctx};

    return elemtab_scan(&coll->tab, cursor, scan_live, &s);
}

uint64_t coll_resident(const struct coll *coll)
{
    return elemtab_count(&coll->tab) - coll->dead;
}

struct elem *coll_random(const struct coll *coll, struct rng *rng)
{
    if (coll_resident(coll) == 0)
        return NULL;
    for (;;) {
        struct elem *elem = elemtab_random(&coll->tab, rng);
        if (is_live(elem))
            return elem;
    }
}

/* --- changes --- */

static void note_change(struct keyspace *ks, struct coll *coll, struct tag tag, uint64_t lsn)
{
    coll->tag = tag;
    coll->lsn = lsn;
    dirty_mark(&ks->dirty, &coll->obj->h, NULL, lsn);
}

/* The table that elements with these flags stand in. */
static struct elemtab *table_of(struct coll *coll, uint8_t flags)
{
    if (likely((flags & BLK_DEAD) == 0) || coll->grouped)
        return &coll->tab;
    if (coll->gone == NULL) {
        coll->gone = mem_alloc(sizeof(*coll->gone));
        coll->gone->hand = 0;
        elemtab_init(&coll->gone->tab, coll->tab.seed);
    }
    return &coll->gone->tab;
}

/* A live element is dead from now on, until the store knows. */
static void bury(struct coll *coll, struct elem *elem)
{
    CHECK(is_live(elem) && !coll->grouped);
    elemtab_remove(&coll->tab, elem);
    elem->h.flags |= BLK_DEAD;
    elemtab_insert(table_of(coll, elem->h.flags), elem);
}

static void revive(struct coll *coll, struct elem *elem)
{
    CHECK(!is_live(elem) && !coll->grouped);
    elemtab_remove(table_of(coll, elem->h.flags), elem);
    elem->h.flags &= (uint8_t) ~(BLK_DEAD | BLK_UNKNOWN);
    elemtab_insert(&coll->tab, elem);
}

/* A new element, in its table. */
static struct elem *elem_add(struct keyspace *ks, struct coll *coll, struct bytes sub,
                             struct bytes row, uint8_t flags)
{
    struct elem *elem = elem_new(sub, coll->type, flags, row.len);

    if (row.len != 0)
        memcpy(elem_row_ptr(elem), row.ptr, row.len);
    ks->bytes += elem_bytes(elem);
    elemtab_insert(table_of(coll, flags), elem);
    return elem;
}

/* Another row for an element of `tab`, which has its place in the order or not; it may move. */
static struct elem *elem_change(struct keyspace *ks, struct coll *coll, struct elem *elem,
                                bool ordered, struct bytes row)
{
    struct elem *const before = elem;
    const double old_score = ordered ? coll_score(elem) : 0.0;

    ks->bytes -= elem_bytes(elem);
    elem = elem_resize(elem, row.len);
    ks->bytes += elem_bytes(elem);
    if (elem != before) {
        elemtab_replace(&coll->tab, elem_sub(elem), before, elem);
        dirty_moved(&ks->dirty, &elem->h);
        if (ordered)
            zorder_replace(&coll->order, old_score, elem_sub(elem), before, elem);
    }
    if (row.len != 0)
        memcpy(elem_row_ptr(elem), row.ptr, row.len);
    if (ordered) {
        const double score = coll_score(elem);
        if (score != old_score) {
            coll_index_gone(coll, elem, old_score);
            zorder_remove(&coll->order, old_score, elem);
            zorder_insert(&coll->order, score, elem);
        }
    }
    return elem;
}

bool ks_apply_elem(struct keyspace *ks, struct coll *coll, struct bytes sub, struct tag tag,
                   uint64_t lsn, struct bytes row)
{
    struct elem *elem = find_any(coll, sub);
    const bool created = elem == NULL || !is_live(elem);

    if (coll->reads != 0)
        ks_flights_stale_elem(ks, coll, sub);
    if (elem == NULL) {
        elem = elem_add(ks, coll, sub, row, coll->complete && !ks->recovering ? 0 : BLK_STORED);
    } else {
        not_fresh(coll, elem);
        if (created)
            revive(coll, elem);
        elem = elem_change(ks, coll, elem, coll->type == VT_ZSET && !created, row);
    }
    if (created) {
        coll->count++;
        if (coll->type == VT_ZSET)
            zorder_insert(&coll->order, coll_score(elem), elem);
    }
    elem->h.flags |= BLK_TOUCHED;
    dirty_mark(&ks->dirty, &elem->h, coll, lsn);
    note_change(ks, coll, tag, lsn);
    coll_account(ks, coll);
    return created;
}

static void elem_remove(struct keyspace *ks, struct coll *coll, struct elem *elem)
{
    elemtab_remove(table_of(coll, elem->h.flags), elem);
    elem_drop(ks, elem);
}

void ks_apply_elem_del(struct keyspace *ks, struct coll *coll, struct bytes sub, struct tag tag,
                       uint64_t lsn)
{
    struct elem *elem = find_any(coll, sub);

    CHECK(elem != NULL && is_live(elem));
    if (coll->reads != 0)
        ks_flights_stale_elem(ks, coll, sub);
    not_fresh(coll, elem);
    if (coll->type == VT_ZSET) {
        zorder_remove(&coll->order, coll_score(elem), elem);
        coll_index_gone(coll, elem, coll_score(elem));
    }
    coll->count--;
    if ((elem->h.flags & BLK_STORED) == 0 && coll->reads == 0) {
        elem_remove(ks, coll, elem);
    } else {
        bury(coll, elem);
        dirty_mark(&ks->dirty, &elem->h, coll, lsn);
    }
    note_change(ks, coll, tag, lsn);
    coll_account(ks, coll);
}

/* Recovery: the element is dead, whatever DRAM and the store have of it. */
void coll_bury(struct keyspace *ks, struct coll *coll, struct bytes sub, uint64_t lsn)
{
    struct elem *elem = find_any(coll, sub);

    if (elem == NULL) {
        elem = elem_add(ks, coll, sub, bytes_of(NULL, 0), BLK_DEAD | BLK_STORED);
    } else if (is_live(elem)) {
        if (coll->type == VT_ZSET) {
            zorder_remove(&coll->order, coll_score(elem), elem);
            coll_index_gone(coll, elem, coll_score(elem));
        }
        elem->h.flags |= BLK_STORED;
        bury(coll, elem);
    }
    dirty_mark(&ks->dirty, &elem->h, coll, lsn);
    dirty_mark(&ks->dirty, &coll->obj->h, NULL, lsn);
    coll_account(ks, coll);
}

/* --- tiers --- */

void coll_install(struct keyspace *ks, struct coll *coll, struct bytes sub, struct bytes row)
{
    if (find_any(coll, sub) != NULL)
        return;
    const bool dead = bytes_empty(row);
    struct elem *elem =
        elem_add(ks, coll, sub, row, dead ? BLK_DEAD | BLK_UNKNOWN : BLK_STORED | BLK_TOUCHED);
    if (!dead && coll->type == VT_ZSET)
        zorder_insert(&coll->order, coll_score(elem), elem);
    coll_account(ks, coll);
}

void coll_install_fresh(struct keyspace *ks, struct coll *coll, struct bytes sub, struct bytes row)
{
    if (find_any(coll, sub) != NULL)
        return;
    coll_install(ks, coll, sub, row);
    struct elem *elem = find_any(coll, sub);
    elem->h.flags |= BLK_FRESH;
    ks->fresh_bytes += elem_bytes(elem);
}

void coll_elem_clean(struct keyspace *ks, struct coll *coll, struct elem *elem)
{
    /* In a group a dead element that has a row still keeps others from coming back. */
    if (is_live(elem) || (coll->grouped && elem->h.row_len != 0))
        return;
    /* A read under way may bring the row as it was: the dead one must be there to refuse it. */
    elem->h.flags = (uint8_t)((elem->h.flags & ~BLK_STORED) | BLK_UNKNOWN);
    if (coll->reads != 0)
        return;
    coll->dead -= coll->grouped;
    elem_remove(ks, coll, elem);
    coll_account(ks, coll);
}

/* Somebody waits for it, or did: of these no more is kept than may wait (resident.h). */
static bool is_kept(const struct keyspace *ks, const struct elem *elem)
{
    return (elem->h.flags & BLK_FRESH) != 0 && !ks_fresh_full(ks);
}

static bool all_clean(const struct keyspace *ks, const struct elemtab *tab)
{
    struct elemtab_iter it;
    const struct elem *elem;

    elemtab_iter_init(tab, &it);
    while ((elem = elemtab_iter_next(&it)) != NULL) {
        if (elem->h.dirty != 0 || is_kept(ks, elem))
            return false;
    }
    return true;
}

bool coll_clean(const struct keyspace *ks, const struct coll *coll)
{
    if (coll->reads != 0 || list_linked(&coll->flush_link))
        return false;
    if (coll->type == VT_LIST && !coll->grouped)
        return coll->list_head.dirty == 0;
    if (coll->type == VT_STRING && !coll->grouped)
        return true; /* Its object is dirty if a chunk is. */
    return all_clean(ks, &coll->tab) && (coll->gone == NULL || all_clean(ks, &coll->gone->tab));
}

struct bytes coll_key_row(struct keyspace *ks, const struct coll *coll)
{
    uint8_t plain[ROW_COLL_BYTES], string[ROW_CHUNKED_BYTES];
    struct list_meta meta;
    struct buf *out = &ks->scratch;

    buf_clear(out);
    if (coll->type == VT_STRING) {
        const size_t len =
            row_chunked_store(string, coll->tag, coll->generation, coll->count, coll->expire_at_ms);
        CHECK(buf_append(out, string, len) == 0);
        return buf_bytes(out);
    }
    if (coll->type == VT_LIST) {
        coll_list_meta(coll, &meta);
        CHECK(row_list_append(coll->tag, coll->count, coll->lsn, &meta, coll->expire_at_ms, out) ==
              0);
        return buf_bytes(out);
    }
    const struct bytes row =
        bytes_of(plain, row_coll_store(plain, coll->type, coll->tag, coll->count, coll->lsn));
    const int err = coll->expire_at_ms == 0 ? buf_append_bytes(out, row)
                                            : row_set_expiry_alone(row, coll->expire_at_ms, out);
    CHECK(err == 0);
    return buf_bytes(out);
}

uint8_t coll_row_kind(uint8_t type)
{
    switch (type) {
    case VT_HASH:
        return ROWKEY_KIND_HASH;
    case VT_SET:
        return ROWKEY_KIND_SET;
    case VT_ZSET:
        return ROWKEY_KIND_ZSET;
    case VT_STRING:
        return ROWKEY_KIND_CHUNK;
    default:
        return ROWKEY_KIND_LIST;
    }
}

struct shed {
    struct keyspace *ks;
    struct coll *coll;
    bool any;
};

static bool shed_one(void *ctx, struct elem *elem)
{
    struct shed *s = ctx;

    if (elem->h.dirty != 0 || is_kept(s->ks, elem))
        return false;
    if ((elem->h.flags & BLK_TOUCHED) != 0) {
        elem->h.flags &= (uint8_t)~BLK_TOUCHED;
        s->any = true;
        return false;
    }
    if (is_live(elem)) {
        if (s->coll->type == VT_ZSET && coll_zset_keeps(s->coll, elem, s->ks->name))
            return false;
        if (s->coll->type == VT_ZSET)
            zorder_remove(&s->coll->order, coll_score(elem), elem);
        s->coll->complete = false;
        s->ks->metrics.demoted_elements++;
    }
    elem_drop(s->ks, elem);
    s->any = true;
    return true;
}

/* Whether an element that leaves cannot come back as it was before (flight.c). */
static bool may_shed(const struct coll *coll)
{
    return coll->type == VT_HASH || coll->type == VT_SET ? coll->spans == 0 : coll->reads == 0;
}

bool coll_shed(struct keyspace *ks, struct coll *coll)
{
    struct shed s = {.ks = ks, .coll = coll};

    if (coll->grouped || coll->walks != 0)
        return false; /* It goes as a whole, or not now. */
    if (coll->type == VT_LIST)
        return coll_list_shed(ks, coll);
    if (!may_shed(coll))
        return false;
    if (coll->type == VT_STRING) {
        s.any = chunks_shed(&coll->chunks, SHED_LEAVES_MAX);
        if (s.any)
            coll->complete = false;
        coll_account(ks, coll);
        return s.any;
    }
    if (coll->type == VT_ZSET)
        coll_zset_shed(coll);
    (void)elemtab_walk(&coll->tab, &coll->shed_hand, COLL_SHED_SIZE, shed_one, &s);
    if (coll->gone != NULL)
        (void)elemtab_walk(&coll->gone->tab, &coll->gone->hand, COLL_SHED_SIZE, shed_one, &s);
    coll_account(ks, coll);
    return s.any;
}
