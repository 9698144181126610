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

const struct elem *coll_walk_elem(struct coll_walk *w)
{
    return coll_iter_next(&w->at.all);
}

bool coll_walk_row(struct coll_walk *w, struct bytes *out)
{
    struct listq_at *at = &w->at.list;

    if (!w->any)
        return false;
    *out = at->row;
    if (w->back)
        listq_prev(&w->coll->seq, at);
    else
        listq_next(&w->coll->seq, at);
    w->any = listq_valid(at);
    return true;
}

const struct elem *coll_walk_scored(struct coll_walk *w, double *score)
{
    struct zorder_pos *at = &w->at.order;
    const struct elem *elem = at->elem;

    if (!w->any)
        return NULL;
    *score = at->score;
    w->any = w->back ? zorder_prev(at) : zorder_next(at);
    return elem;
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
