/*
 * Sorted sets: union, intersection and difference. Sources are sorted sets and plain sets, whose
 * members count 1. The result is collected first: the destination may be a source. Sets that are
 * too large to be loaded never come here; what is stored of them does (stream_sets.c).
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/space/collmerge.h"

#include "server/handlers.h"
#include "server/stream.h"
#include "server/zalgebra.h"
#include "server/zset.h"

struct source {
    const struct coll *coll; /* NULL: no such key. */
    double weight;
    uint32_t place; /* In the request: keeps the order of equally long ones. */
};

struct algebra {
    struct zalgebra asked;
    struct source *sources; /* As many as keys are named. */
    struct zset_items items;
    uint32_t *index; /* Union: members already there; index + 1 of the item, or 0. */
    size_t index_cap;
    uint64_t seed; /* Of its hash: nobody can choose members that collide. */
};

/* --- arguments; all: false after an error reply --- */

static bool find_sources(struct request *rq, struct algebra *a)
{
    a->sources = mem_zalloc_array(a->asked.keys_count, sizeof(*a->sources));
    for (uint32_t i = 0; i < a->asked.keys_count; i++) {
        const struct ks_key key = req_key(rq, a->asked.keys_at + i);
        struct obj *obj = req_read(rq, &key);
        if (obj != NULL && obj->h.type != VT_ZSET && obj->h.type != VT_SET) {
            reply_err_wrongtype(rq->out);
            return false;
        }
        a->sources[i] = (struct source){.coll = obj == NULL ? NULL : obj_coll(obj), .place = i};
    }
    return true;
}

static bool parse(struct request *rq, struct algebra *a)
{
    enum zalgebra_error err = zalgebra_keys(rq->cmd, rq->argc, rq->argv, &a->asked);

    if (err == ZALGEBRA_OK && !find_sources(rq, a))
        return false;
    if (err == ZALGEBRA_OK)
        err = zalgebra_options(rq->argc, rq->argv, &a->asked);
    if (err != ZALGEBRA_OK) {
        zalgebra_reply_error(rq->out, rq->cmd, err);
        return false;
    }
    for (uint32_t i = 0; i < a->asked.keys_count; i++)
        a->sources[i].weight = zalgebra_weight(&a->asked, rq->argv, i);
    return true;
}

/* --- sums --- */

static double score_in(const struct coll *coll, const struct elem *elem)
{
    return coll->type == VT_ZSET ? coll_score(elem) : 1.0;
}

static double aggregated(const struct algebra *a, double sum, double score)
{
    return collmerge_aggregate(a->asked.aggregate, sum, score);
}

/* --- union --- */

static size_t index_slot(const struct algebra *a, struct bytes member)
{
    size_t slot = hash64(member.ptr, member.len, a->seed) & (a->index_cap - 1);

    while (a->index[slot] != 0 && !bytes_eq(a->items.at[a->index[slot] - 1].member, member))
        slot = (slot + 1) & (a->index_cap - 1);
    return slot;
}

/* An index that is at most half full when all sources differ. */
static int index_make(struct algebra *a)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < a->asked.keys_count; i++)
        n += a->sources[i].coll == NULL ? 0 : a->sources[i].coll->count;
    if (n > UINT32_MAX / 4)
        return -ENOMEM;
    a->index_cap = 64;
    while (a->index_cap < 2 * n)
        a->index_cap *= 2;
    a->index = mem_try_zalloc(a->index_cap * sizeof(*a->index));
    return a->index == NULL ? -ENOMEM : 0;
}

static int union_add(struct algebra *a, struct bytes member, double score)
{
    const size_t slot = index_slot(a, member);

    if (a->index[slot] != 0) {
        struct zset_item *item = &a->items.at[a->index[slot] - 1];
        item->score = aggregated(a, item->score, score);
        return 0;
    }
    const int err = zset_items_add(&a->items, member, score);
    if (err == 0)
        a->index[slot] = (uint32_t)a->items.count;
    return err;
}

static int run_union(struct algebra *a)
{
    struct coll_iter it;
    const struct elem *elem;
    int err = index_make(a);

    for (uint32_t i = 0; i < a->asked.keys_count && err == 0; i++) {
        const struct source *s = &a->sources[i];
        if (s->coll == NULL)
            continue;
        coll_iter_init(s->coll, &it);
        while (err == 0 && (elem = coll_iter_next(&it)) != NULL)
            err = union_add(a, elem_sub(elem),
                            collmerge_weighted(score_in(s->coll, elem), s->weight));
    }
    return err;
}

/* --- intersection and difference --- */

/* Whether all other sources have the member; its score then. */
static bool in_all(const struct algebra *a, const struct elem *elem, double *out)
{
    const struct source *first = &a->sources[0];
    double sum = collmerge_weighted(score_in(first->coll, elem), first->weight);

    for (uint32_t i = 1; i < a->asked.keys_count; i++) {
        const struct source *s = &a->sources[i];
        const struct elem *other = coll_find(s->coll, elem_sub(elem));
        if (other == NULL)
            return false;
        sum = aggregated(a, sum, score_in(s->coll, other) * s->weight);
    }
    *out = sum;
    return true;
}

static int run_inter(struct algebra *a)
{
    double score;
    struct coll_iter it;
    const struct elem *elem;
    int err = 0;

    /* The shortest comes first: if there is none, all is said. */
    if (a->sources[0].coll == NULL)
        return 0;
    coll_iter_init(a->sources[0].coll, &it);
    while (err == 0 && (elem = coll_iter_next(&it)) != NULL) {
        if (!in_all(a, elem, &score))
            continue;
        if (a->asked.card)
            a->items.count++;
        else
            err = zset_items_add(&a->items, elem_sub(elem), score);
        if (a->asked.card && a->asked.limit != 0 && a->items.count >= (uint64_t)a->asked.limit)
            break;
    }
    return err;
}

static int run_diff(struct algebra *a)
{
    struct coll_iter it;
    const struct elem *elem;
    const struct coll *first = a->sources[0].coll;
    int err = 0;

    if (first == NULL)
        return 0;
    coll_iter_init(first, &it);
    while (err == 0 && (elem = coll_iter_next(&it)) != NULL) {
        uint32_t i = 1;
        while (i < a->asked.keys_count && (a->sources[i].coll == NULL ||
                                           coll_find(a->sources[i].coll, elem_sub(elem)) == NULL))
            i++;
        if (i == a->asked.keys_count)
            err = zset_items_add(&a->items, elem_sub(elem), score_in(first, elem));
    }
    return err;
}

/* --- all --- */

/* The shortest first, as sums depend on the order. */
static int compare_sources(const void *a, const void *b)
{
    const struct source *x = a, *y = b;
    const uint64_t m = x->coll == NULL ? 0 : x->coll->count;
    const uint64_t n = y->coll == NULL ? 0 : y->coll->count;

    if (m != n)
        return m < n ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

static int compare_items(const void *a, const void *b)
{
    const struct zset_item *x = a, *y = b;

    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return bytes_cmp(x->member, y->member);
}

static int run(struct algebra *a)
{
    if (a->asked.op == COLLMERGE_DIFF)
        return run_diff(a);
    qsort(a->sources, a->asked.keys_count, sizeof(*a->sources), compare_sources);
    return a->asked.op == COLLMERGE_UNION ? run_union(a) : run_inter(a);
}

static void reply_items(struct request *rq, struct algebra *a)
{
    const bool scores = a->asked.scores, nested = scores && rq->out->proto == 3;

    if (a->items.count > 1)
        qsort(a->items.at, a->items.count, sizeof(*a->items.at), compare_items);
    zset_reply_head(rq->out, a->items.count, scores);
    for (size_t i = 0; i < a->items.count; i++)
        zset_reply(rq->out, a->items.at[i].member, a->items.at[i].score, scores, nested);
}

static void algebra_generic(struct request *rq)
{
    struct algebra a = {.seed = ks_seed(rq->ks)};

    if (parse(rq, &a)) {
        if (run(&a) != 0) {
            reply_err_oom(rq->out, "the result does not fit into memory");
        } else if (a.asked.card) {
            reply_u64(rq->out, a.items.count);
        } else if (a.asked.store) {
            const struct ks_key to = req_key(rq, 1);
            zset_items_store(rq, &to, &a.items);
        } else {
            reply_items(rq, &a);
        }
    }
    zset_items_free(&a.items);
    mem_free(a.index);
    mem_free(a.sources);
}

static void store_generic(struct request *rq)
{
    struct ks_stream *read = stream_result(rq->conn);
    const struct ks_key to = req_key(rq, 1);

    if (read != NULL)
        zset_read_store(rq, &to, read);
    else
        algebra_generic(rq);
}

void cmd_zunion(struct request *rq)
{
    algebra_generic(rq);
}

void cmd_zinter(struct request *rq)
{
    algebra_generic(rq);
}

void cmd_zdiff(struct request *rq)
{
    algebra_generic(rq);
}

void cmd_zunionstore(struct request *rq)
{
    store_generic(rq);
}

void cmd_zinterstore(struct request *rq)
{
    store_generic(rq);
}

void cmd_zdiffstore(struct request *rq)
{
    store_generic(rq);
}

void cmd_zintercard(struct request *rq)
{
    algebra_generic(rq);
}
