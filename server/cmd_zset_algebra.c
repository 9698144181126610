/*
 * Sorted sets: union, intersection and difference. Sources are sorted sets and plain sets, whose
 * members count 1. The result is collected first: the destination may be a source.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "server/handlers.h"
#include "server/req_range.h"
#include "server/zset.h"

enum algebra_op {
    OP_UNION,
    OP_INTER,
    OP_DIFF
};
enum aggregate {
    AGGREGATE_SUM,
    AGGREGATE_MIN,
    AGGREGATE_MAX
};

struct source {
    const struct coll *coll; /* NULL: no such key. */
    double weight;
    uint32_t place; /* In the request: keeps the order of equally long ones. */
};

struct algebra {
    struct source *sources;
    uint32_t sources_count;
    uint8_t op;        /* enum algebra_op */
    uint8_t aggregate; /* enum aggregate */
    bool store;
    bool card; /* ZINTERCARD: only the number is asked for, */
    bool scores;
    int64_t limit; /* and no more than this; 0: no limit. */
    struct zset_items items;
    uint32_t *index; /* Union: members already there; index + 1 of the item, or 0. */
    size_t index_cap;
    uint64_t seed; /* Of its hash: nobody can choose members that collide. */
};

/* --- arguments; all: false after an error reply --- */

/* numkeys at argument `at`, and the keys. */
static bool parse_sources(struct request *rq, struct algebra *a, uint32_t at)
{
    int64_t n;

    if (!req_i64(rq, at, &n))
        return false;
    if (n < 1) {
        reply_error(rq->out, "ERR at least 1 input key is needed for '%s' command", rq->cmd->name);
        return false;
    }
    if (n > rq->argc - (at + 1)) {
        reply_err_syntax(rq->out);
        return false;
    }
    a->sources_count = (uint32_t)n;
    a->sources = mem_zalloc_array(a->sources_count, sizeof(*a->sources));
    for (uint32_t i = 0; i < a->sources_count; i++) {
        const struct ks_key key = req_key(rq, at + 1 + i);
        struct obj *obj = req_get(rq, &key);
        if (obj != NULL && obj->h.type != VT_ZSET && obj->h.type != VT_SET) {
            reply_err_wrongtype(rq->out);
            return false;
        }
        a->sources[i] =
            (struct source){.coll = obj == NULL ? NULL : obj_coll(obj), .weight = 1.0, .place = i};
    }
    return true;
}

static bool parse_weights(struct request *rq, struct algebra *a, uint32_t at)
{
    for (uint32_t i = 0; i < a->sources_count; i++) {
        if (!num_parse_double(rq->argv[at + i], &a->sources[i].weight)) {
            reply_error(rq->out, "ERR weight value is not a float");
            return false;
        }
    }
    return true;
}

static bool parse_aggregate(struct request *rq, struct algebra *a, uint32_t at)
{
    if (req_is(rq, at, "SUM")) {
        a->aggregate = AGGREGATE_SUM;
    } else if (req_is(rq, at, "MIN")) {
        a->aggregate = AGGREGATE_MIN;
    } else if (req_is(rq, at, "MAX")) {
        a->aggregate = AGGREGATE_MAX;
    } else {
        reply_err_syntax(rq->out);
        return false;
    }
    return true;
}

static bool parse_options(struct request *rq, struct algebra *a, uint32_t i)
{
    const bool weighted = a->op != OP_DIFF && !a->card;

    while (i < rq->argc) {
        const uint32_t left = rq->argc - i;
        if (weighted && left > a->sources_count && req_is(rq, i, "WEIGHTS")) {
            if (!parse_weights(rq, a, i + 1))
                return false;
            i += 1 + a->sources_count;
        } else if (weighted && left >= 2 && req_is(rq, i, "AGGREGATE")) {
            if (!parse_aggregate(rq, a, i + 1))
                return false;
            i += 2;
        } else if (!a->store && !a->card && req_is(rq, i, "WITHSCORES")) {
            a->scores = true;
            i++;
        } else if (a->card && left >= 2 && req_is(rq, i, "LIMIT")) {
            if (!req_i64_min(rq, i + 1, 0, "LIMIT can't be negative", &a->limit))
                return false;
            i += 2;
        } else {
            reply_err_syntax(rq->out);
            return false;
        }
    }
    return true;
}

/* --- sums --- */

static double score_in(const struct coll *coll, const struct elem *elem)
{
    return coll->type == VT_ZSET ? coll_score(elem) : 1.0;
}

static double weighted(double score, double weight)
{
    const double product = score * weight;

    return isnan(product) ? 0.0 : product;
}

static double aggregated(const struct algebra *a, double sum, double score)
{
    switch (a->aggregate) {
    case AGGREGATE_SUM:
        sum += score;
        /* Of the two infinities. */
        return isnan(sum) ? 0.0 : sum;
    case AGGREGATE_MIN:
        return score < sum ? score : sum;
    default:
        return score > sum ? score : sum;
    }
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

    for (uint32_t i = 0; i < a->sources_count; i++)
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

    for (uint32_t i = 0; i < a->sources_count && err == 0; i++) {
        const struct source *s = &a->sources[i];
        if (s->coll == NULL)
            continue;
        coll_iter_init(s->coll, &it);
        while (err == 0 && (elem = coll_iter_next(&it)) != NULL)
            err = union_add(a, elem_sub(elem), weighted(score_in(s->coll, elem), s->weight));
    }
    return err;
}

/* --- intersection and difference --- */

/* Whether all other sources have the member; its score then. */
static bool in_all(const struct algebra *a, const struct elem *elem, double *out)
{
    const struct source *first = &a->sources[0];
    double sum = weighted(score_in(first->coll, elem), first->weight);

    for (uint32_t i = 1; i < a->sources_count; i++) {
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
        if (a->card)
            a->items.count++;
        else
            err = zset_items_add(&a->items, elem_sub(elem), score);
        if (a->card && a->limit != 0 && a->items.count >= (uint64_t)a->limit)
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
        while (i < a->sources_count && (a->sources[i].coll == NULL ||
                                        coll_find(a->sources[i].coll, elem_sub(elem)) == NULL))
            i++;
        if (i == a->sources_count)
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
    if (a->op == OP_DIFF)
        return run_diff(a);
    qsort(a->sources, a->sources_count, sizeof(*a->sources), compare_sources);
    return a->op == OP_UNION ? run_union(a) : run_inter(a);
}

static void reply_items(struct request *rq, struct algebra *a)
{
    const bool nested = a->scores && rq->out->proto == 3;

    if (a->items.count > 1)
        qsort(a->items.at, a->items.count, sizeof(*a->items.at), compare_items);
    zset_reply_head(rq->out, a->items.count, a->scores);
    for (size_t i = 0; i < a->items.count; i++)
        zset_reply(rq->out, a->items.at[i].member, a->items.at[i].score, a->scores, nested);
}

static void algebra_generic(struct request *rq, uint8_t op, bool store, bool card)
{
    const uint32_t at = store ? 2 : 1;
    struct algebra a = {.op = op, .store = store, .card = card, .seed = ks_seed(rq->ks)};

    if (parse_sources(rq, &a, at) && parse_options(rq, &a, at + 1 + a.sources_count)) {
        if (run(&a) != 0) {
            reply_err_oom(rq->out, "the result does not fit into memory");
        } else if (card) {
            reply_u64(rq->out, a.items.count);
        } else if (store) {
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

void cmd_zunion(struct request *rq)
{
    algebra_generic(rq, OP_UNION, false, false);
}

void cmd_zinter(struct request *rq)
{
    algebra_generic(rq, OP_INTER, false, false);
}

void cmd_zdiff(struct request *rq)
{
    algebra_generic(rq, OP_DIFF, false, false);
}

void cmd_zunionstore(struct request *rq)
{
    algebra_generic(rq, OP_UNION, true, false);
}

void cmd_zinterstore(struct request *rq)
{
    algebra_generic(rq, OP_INTER, true, false);
}

void cmd_zdiffstore(struct request *rq)
{
    algebra_generic(rq, OP_DIFF, true, false);
}

void cmd_zintercard(struct request *rq)
{
    algebra_generic(rq, OP_INTER, false, true);
}
