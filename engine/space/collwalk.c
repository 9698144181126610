/* Collections in DRAM, in slices; collwalk.h tells what they show. */
#include "engine/space/collwalk.h"

#include "engine/base/check.h"

#include "engine/space/ks_state.h"

void coll_walk_begin(struct keyspace *ks, struct coll *coll, uint64_t skip, bool back,
                     struct coll_walk *w)
{
    CHECK(coll->complete && !coll->grouped && coll->type != VT_STRING);
    *w = (struct coll_walk){.coll = coll, .lsn = coll->lsn, .back = back};
    if (coll->type == VT_LIST) {
        const uint64_t last = coll->count - 1;
        w->any = skip < coll->count;
        if (w->any)
            coll_list_at(coll, back ? last - skip : skip, &w->at.list);
    } else if (coll->type == VT_ZSET) {
        const uint64_t last = zorder_count(&coll->order) - 1;
        w->any = skip <= last && zorder_at(&coll->order, back ? last - skip : skip, &w->at.order);
    } else {
        coll_iter_init(coll, &w->at.all);
    }
    coll->walks++;
    ks->walks_count++;
}

bool coll_walk_holds(const struct coll_walk *w)
{
    return w->coll->retired || w->coll->lsn == w->lsn;
}

static void show_row(struct bytes row, struct ks_stream_elem *out)
{
    /* Rows are checked when they are installed. */
    CHECK(row_view(row, 0, &out->view) == 0);
}

static bool next_of_all(struct coll_walk *w, struct ks_stream_elem *out)
{
    const struct elem *elem = coll_iter_next(&w->at.all);

    if (elem == NULL)
        return false;
    out->sub = elem_sub(elem);
    if (w->coll->type == VT_HASH)
        show_row(elem_row(elem), out);
    return true;
}

static void next_of_list(struct coll_walk *w, struct ks_stream_elem *out)
{
    struct listq_at *at = &w->at.list;

    show_row(at->row, out);
    if (w->back)
        listq_prev(&w->coll->seq, at);
    else
        listq_next(&w->coll->seq, at);
    w->any = listq_valid(at);
}

static void next_of_order(struct coll_walk *w, struct ks_stream_elem *out)
{
    struct zorder_pos *at = &w->at.order;

    out->sub = elem_sub(at->elem);
    out->score = at->score;
    w->any = w->back ? zorder_prev(at) : zorder_next(at);
}

bool coll_walk_next(struct coll_walk *w, struct ks_stream_elem *out)
{
    const uint8_t type = w->coll->type;

    if (type == VT_HASH || type == VT_SET)
        return next_of_all(w, out);
    if (!w->any)
        return false;
    if (type == VT_LIST)
        next_of_list(w, out);
    else
        next_of_order(w, out);
    return true;
}

void coll_walk_end(struct keyspace *ks, struct coll_walk *w)
{
    struct coll *coll = w->coll;

    if (coll == NULL)
        return;
    w->coll = NULL;
    ks->walks_count--;
    if (--coll->walks == 0 && coll->retired)
        coll_destroy(ks, coll);
}

uint32_t ks_walks(const struct keyspace *ks)
{
    return ks->walks_count;
}
