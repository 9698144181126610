/* Lists: changes, and which elements are resident. coll.h tells about the gap. */
#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/space/ks_state.h"
#include "engine/space/recover.h"

/* Nodes of a list that one step of shedding takes out. */
#define SHED_NODES 8
/* Elements that stay at each end. */
#define SHED_KEEP 64
/* Shorter lists have no gap of their own making: they go as a whole. */
#define SHED_COUNT_MIN 512

/* --- the gap --- */

struct list_gap *coll_gap_open(struct coll *coll, uint64_t count)
{
    CHECK(coll->gap == NULL);
    coll->complete = count == 0;
    if (count == 0)
        return NULL;
    struct list_gap *gap = mem_zalloc(sizeof(*gap));
    buf_init(&gap->low, LISTQ_POSITION_BYTES_MAX);
    buf_init(&gap->high, LISTQ_POSITION_BYTES_MAX);
    gap->count = count;
    coll->gap = gap;
    return gap;
}

void coll_gap_close(struct coll *coll)
{
    struct list_gap *gap = coll->gap;

    coll->complete = true;
    if (gap == NULL)
        return;
    buf_deinit(&gap->low);
    buf_deinit(&gap->high);
    mem_free(gap);
    coll->gap = NULL;
}

uint64_t coll_gap_bytes(const struct coll *coll)
{
    const struct list_gap *gap = coll->gap;

    return gap == NULL ? 0 : mem_usable(gap) + gap->low.cap + gap->high.cap;
}

uint64_t coll_list_front(const struct coll *coll)
{
    return coll->gap == NULL ? listq_count(&coll->seq) : coll->gap->before;
}

uint64_t coll_list_back(const struct coll *coll)
{
    return listq_count(&coll->seq) - (coll->gap == NULL ? 0 : coll->gap->before);
}

void coll_list_at(const struct coll *coll, uint64_t index, struct listq_at *out)
{
    if (unlikely(coll->gap != NULL) && index >= coll->gap->before) {
        /* What is asked for is resident. */
        CHECK(index >= coll->gap->before + coll->gap->count || index >= coll->count);
        index -= coll->gap->count;
    }
    listq_at_index(&coll->seq, index, out);
}

/* Every element is on one side or the other. */
static void check_counts(const struct coll *coll)
{
    CHECK_SLOW(coll->gap == NULL || coll->count == listq_count(&coll->seq) + coll->gap->count);
    CHECK_SLOW(coll->gap != NULL || coll->count == listq_count(&coll->seq));
}

static void set_low(struct list_gap *gap, struct bytes pos, bool in)
{
    buf_clear(&gap->low);
    CHECK(buf_append_bytes(&gap->low, pos) == 0);
    gap->low_in = in;
}

static void set_high(struct list_gap *gap, struct bytes pos, bool in)
{
    buf_clear(&gap->high);
    CHECK(buf_append_bytes(&gap->high, pos) == 0);
    gap->high_in = in;
}

static bool in_gap(const struct list_gap *gap, struct bytes pos)
{
    const int low = gap->low.len == 0 ? 1 : bytes_cmp(pos, buf_bytes(&gap->low));
    const int high = gap->high.len == 0 ? -1 : bytes_cmp(pos, buf_bytes(&gap->high));

    return (low > 0 || (low == 0 && gap->low_in)) && (high < 0 || (high == 0 && gap->high_in));
}

void coll_gap_fill(struct keyspace *ks, struct coll *coll, struct bytes pos, struct bytes row,
                   bool front)
{
    struct list_gap *gap = coll->gap;
    const struct listq_item item = {.position = pos, .row = row, .flags = LISTQ_IN_STORE};

    if (gap == NULL || !in_gap(gap, pos))
        return;
    if (!bytes_empty(row)) {
        if (front && coll_list_back(coll) == 0)
            listq_push_back(&coll->seq, &item, 0);
        else if (!front && gap->before == 0)
            listq_push_front(&coll->seq, &item, 0);
        else
            listq_insert(&coll->seq, &item, 0);
        gap->before += front;
        /* A count that says less than there is gives way: coll_gap_end. */
        gap->count -= gap->count != 0;
    }
    if (front)
        set_low(gap, pos, false);
    else
        set_high(gap, pos, false);
    check_counts(coll);
    coll_account(ks, coll);
}

void coll_gap_end(struct keyspace *ks, struct coll *coll)
{
    if (coll->gap == NULL)
        return;
    coll_gap_close(coll);
    if (coll->count != listq_count(&coll->seq)) {
        LOG_EVERY_MS(1000, LOG_LEVEL_ERROR, "space", "a list has other elements than it counted");
        coll->count = listq_count(&coll->seq);
    }
    coll_account(ks, coll);
}

/* --- positions --- */

void coll_list_meta(const struct coll *coll, struct list_meta *out)
{
    out->used = coll->ranked;
    out->rank_min = coll->rank_min;
    out->rank_max = coll->rank_max;
    out->runs_count = coll->run.front.hlc != 0;
    out->runs[0] = coll->run;
}

void coll_list_set_meta(struct coll *coll, const struct list_meta *meta, uint8_t origin)
{
    coll->ranked = meta->used;
    coll->rank_min = meta->rank_min;
    coll->rank_max = meta->rank_max;
    /* Without own runs that of before stays. */
    (void)list_meta_own(meta, origin, &coll->run);
}

/* The list remembers that the position was used. */
static void note_position(struct keyspace *ks, struct coll *coll, struct bytes pos)
{
    struct list_meta meta, used;

    CHECK(listpos_meta(pos, &used));
    coll_list_meta(coll, &meta);
    CHECK(list_meta_join(&meta, &used) == 0);
    coll_list_set_meta(coll, &meta, ks->options.origin);
}

/* --- changes --- */

/* An element was pushed in front of the gap. */
static void gap_below(struct list_gap *gap, struct bytes pos)
{
    if (likely(gap == NULL))
        return;
    gap->before++;
    if (gap->low.len == 0)
        set_low(gap, pos, false);
}

/* And behind it. */
static void gap_above(struct list_gap *gap, struct bytes pos)
{
    if (unlikely(gap != NULL) && gap->high.len == 0)
        set_high(gap, pos, false);
}

/* `bytes` more wait for the store. */
static void note_unsaved(struct keyspace *ks, struct coll *coll, uint64_t lsn, size_t bytes)
{
    dirty_mark(&ks->dirty, &coll->list_head, coll, lsn);
    dirty_mark(&ks->dirty, &coll->obj->h, NULL, lsn);
    coll->unsaved += bytes;
    dirty_grow(&ks->dirty, bytes);
}

static void changed(struct keyspace *ks, struct coll *coll, struct tag tag, uint64_t lsn,
                    size_t bytes)
{
    coll->tag = tag;
    coll->lsn = lsn;
    check_counts(coll);
    note_unsaved(ks, coll, lsn, bytes);
    coll_account(ks, coll);
}

void ks_apply_list_put(struct keyspace *ks, struct coll *coll, const struct ks_elem *elem,
                       enum ks_list_place place)
{
    const struct bytes pos = elem->sub;
    const struct listq_item item = {.position = pos, .row = elem->row, .flags = LISTQ_DIRTY};
    const uint64_t before = listq_count(&coll->seq);

    note_position(ks, coll, pos);
    if (place == KS_LIST_FRONT) {
        listq_push_front(&coll->seq, &item, elem->lsn);
        gap_below(coll->gap, pos);
    } else if (place == KS_LIST_BACK) {
        listq_push_back(&coll->seq, &item, elem->lsn);
        gap_above(coll->gap, pos);
    } else {
        listq_insert(&coll->seq, &item, elem->lsn);
        CHECK(coll->gap == NULL || listq_count(&coll->seq) == before);
    }
    coll->count += listq_count(&coll->seq) - before;
    changed(ks, coll, elem->tag, elem->lsn, pos.len + elem->row.len);
}

void ks_apply_list_del(struct keyspace *ks, struct coll *coll, struct bytes pos, struct tag tag,
                       uint64_t lsn, enum ks_list_place place)
{
    struct listq_at at;

    if (place == KS_LIST_FRONT) {
        CHECK(coll_list_front(coll) != 0);
        listq_pop_front(&coll->seq, lsn);
        if (coll->gap != NULL)
            coll->gap->before--;
    } else if (place == KS_LIST_BACK) {
        CHECK(coll_list_back(coll) != 0);
        listq_pop_back(&coll->seq, lsn);
    } else {
        CHECK(coll->gap == NULL);
        CHECK(listq_find(&coll->seq, pos, &at));
        listq_remove(&coll->seq, &at, lsn);
        coll->holes = true;
    }
    coll->count--;
    changed(ks, coll, tag, lsn, pos.len);
}

/* --- recovery --- */

/*
 * While records are replayed a list holds only what they say, dirty elements and deletions, over
 * what the store has; no gap is kept. With the rows written, it is wholly on flash.
 */
void ks_recover_list(struct keyspace *ks, struct coll *coll, const struct ks_elem *elem,
                     uint64_t count)
{
    const struct listq_item item = {
        .position = elem->sub, .row = elem->row, .flags = LISTQ_DIRTY | LISTQ_IN_STORE};
    struct listq_at at;

    CHECK(ks->recovering);
    coll_gap_close(coll);
    /*
     * Also of one that goes: where the store has a later state of the key, without the list, this
     * may be the first that is heard of it, and a list of elements must know positions.
     */
    note_position(ks, coll, elem->sub);
    if (!bytes_empty(elem->row)) {
        listq_insert(&coll->seq, &item, elem->lsn);
    } else if (listq_find(&coll->seq, elem->sub, &at)) {
        listq_remove(&coll->seq, &at, elem->lsn);
    } else {
        listq_bury(&coll->seq, elem->sub, elem->lsn);
    }
    /* A key row from after this change knows better. */
    if (elem->lsn >= coll->lsn) {
        coll->tag = elem->tag;
        coll->lsn = elem->lsn;
        coll->count = count;
    }
    note_unsaved(ks, coll, elem->lsn, elem->sub.len + elem->row.len);
    coll_account(ks, coll);
    ks->recovered_lists = true;
}

void coll_list_forget(struct keyspace *ks, struct coll *coll)
{
    CHECK(!listq_dirty(&coll->seq));
    listq_clear(&coll->seq);
    coll_gap_close(coll);
    (void)coll_gap_open(coll, coll->count);
    coll_account(ks, coll);
}

/* --- leaving DRAM --- */

/* The position of the element at an index of what is resident. */
static struct bytes position_at(const struct coll *coll, uint64_t index, uint8_t *room)
{
    struct listq_at at;

    listq_at_index(&coll->seq, index, &at);
    return listq_position(&at, room);
}

/*
 * The stretch goes. The gap then begins or ends with an element of the stretch, not at the element
 * beside it: between the two there may be a row that the store is still to lose, of an element
 * that was popped before the other was pushed.
 */
static void evict(struct coll *coll, const struct listq_stretch *stretch, bool low, bool high)
{
    uint8_t room[LISTQ_POSITION_BYTES_MAX];

    if (low)
        set_low(coll->gap, position_at(coll, stretch->first, room), true);
    if (high)
        set_high(coll->gap, position_at(coll, stretch->first + stretch->count - 1, room), true);
    listq_evict(&coll->seq, stretch);
}

/* The last node in front of the gap goes, or the first behind it. */
static bool widen_front(struct coll *coll)
{
    const uint64_t front = coll_list_front(coll);

    if (front <= SHED_KEEP)
        return false;
    const struct listq_stretch s = listq_evictable(&coll->seq, front - 1, SHED_KEEP, front);
    if (s.count == 0)
        return false;
    evict(coll, &s, true, false);
    coll->gap->count += s.count;
    coll->gap->before -= s.count;
    return true;
}

static bool widen_back(struct coll *coll)
{
    const uint64_t front = coll_list_front(coll), back = coll_list_back(coll);

    if (back <= SHED_KEEP)
        return false;
    const struct listq_stretch s =
        listq_evictable(&coll->seq, front, front, front + back - SHED_KEEP);
    if (s.count == 0)
        return false;
    evict(coll, &s, false, true);
    coll->gap->count += s.count;
    return true;
}

static bool widen(struct coll *coll)
{
    if (coll_list_front(coll) >= coll_list_back(coll))
        return widen_front(coll) || widen_back(coll);
    return widen_back(coll) || widen_front(coll);
}

/* Makes a gap near the middle; false if the nodes there cannot go. */
static bool begin_gap(struct coll *coll)
{
    const uint64_t count = listq_count(&coll->seq);
    struct listq_stretch s = {0};

    for (uint64_t part = 2; part < 7 && s.count == 0; part++)
        s = listq_evictable(&coll->seq, count * part / 8, SHED_KEEP, count - SHED_KEEP);
    if (s.count == 0)
        return false;
    coll_gap_open(coll, s.count)->before = s.first;
    evict(coll, &s, true, true);
    return true;
}

bool coll_list_shed(struct keyspace *ks, struct coll *coll)
{
    const uint64_t before = listq_count(&coll->seq);
    uint32_t nodes = 0;

    /* A row between others that the store is still to lose must not come back through a gap. */
    if (coll->holes && listq_has_tombs(&coll->seq))
        return false;
    coll->holes = false;
    if (coll->reads != 0 || before < SHED_COUNT_MIN || ks->recovering)
        return false;
    while (nodes < SHED_NODES && (coll->gap != NULL ? widen(coll) : begin_gap(coll)))
        nodes++;
    ks->metrics.demoted_elements += before - listq_count(&coll->seq);
    check_counts(coll);
    coll_account(ks, coll);
    return nodes != 0;
}
