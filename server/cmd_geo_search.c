/*
 * Geo: searches. Options are read like Redis reads them, including which error comes first; then
 * the squares that cover the shape give ranges of scores (geohash.h), and what lies in the shape is
 * collected, ordered and sent or stored.
 */
#include <stdlib.h>

#include "engine/base/mem.h"

#include "server/geo.h"
#include "server/handlers.h"
#include "server/zset.h"

enum search_kind {
    BY_POINT,  /* GEORADIUS */
    BY_MEMBER, /* GEORADIUSBYMEMBER */
    BY_OPTIONS /* GEOSEARCH */
};

enum search_order {
    ORDER_NONE,
    ORDER_NEAREST,
    ORDER_FARTHEST
};

struct hit {
    struct bytes member; /* Borrowed from the set. */
    struct geo_point at;
    double distance; /* Metres. */
    double score;
};

struct search {
    uint8_t kind; /* enum search_kind */
    bool may_store;
    const struct coll *coll; /* NULL: no such key. */
    struct geo_shape shape;
    uint32_t store_at; /* Argument of the destination; 0: none. */
    bool store_distance;
    bool with_distance, with_hash, with_point;
    bool from, from_member, by; /* Of the shape is known. */
    bool any;
    uint8_t order; /* enum search_order */
    int64_t count; /* 0: all. */
    struct hit *hits;
    size_t hits_count;
    size_t hits_cap;
};

/* --- options; all: false after an error reply --- */

/* A length and, behind the last of them, its unit. */
static bool length_arg(struct request *rq, uint32_t at, const char *what, double *out)
{
    if (num_parse_double(rq->argv[at], out))
        return true;
    reply_error(rq->out, "ERR need numeric %s", what);
    return false;
}

static bool circle_args(struct request *rq, uint32_t at, struct geo_shape *shape)
{
    if (!length_arg(rq, at, "radius", &shape->radius))
        return false;
    if (shape->radius < 0) {
        reply_error(rq->out, "ERR radius cannot be negative");
        return false;
    }
    return geo_unit_arg(rq, at + 1, &shape->unit);
}

static bool box_args(struct request *rq, uint32_t at, struct geo_shape *shape)
{
    if (!length_arg(rq, at, "width", &shape->width) ||
        !length_arg(rq, at + 1, "height", &shape->height))
        return false;
    if (shape->width < 0 || shape->height < 0) {
        reply_error(rq->out, "ERR height or width cannot be negative");
        return false;
    }
    shape->box = true;
    return geo_unit_arg(rq, at + 2, &shape->unit);
}

static bool member_arg(struct request *rq, uint32_t at, struct search *s)
{
    if (s->coll == NULL || geo_of_member(s->coll, rq->argv[at], &s->shape.centre))
        return true;
    reply_error(rq->out, "ERR could not decode requested zset member");
    return false;
}

static bool count_arg(struct request *rq, uint32_t at, struct search *s)
{
    if (!req_i64(rq, at, &s->count))
        return false;
    if (s->count > 0)
        return true;
    reply_error(rq->out, "ERR COUNT must be > 0");
    return false;
}

/* Words without arguments. */
static bool flag_option(const struct request *rq, uint32_t i, struct search *s)
{
    if (req_is(rq, i, "WITHDIST"))
        s->with_distance = true;
    else if (req_is(rq, i, "WITHHASH"))
        s->with_hash = true;
    else if (req_is(rq, i, "WITHCOORD"))
        s->with_point = true;
    else if (req_is(rq, i, "ANY"))
        s->any = true;
    else if (req_is(rq, i, "ASC"))
        s->order = ORDER_NEAREST;
    else if (req_is(rq, i, "DESC"))
        s->order = ORDER_FARTHEST;
    else if (s->kind == BY_OPTIONS && s->may_store && req_is(rq, i, "STOREDIST"))
        s->store_distance = true;
    else
        return false;
    return true;
}

enum option_result {
    OPTION_UNKNOWN,
    OPTION_BAD, /* The error was replied. */
    OPTION_READ
};

static enum option_result result_of(bool ok)
{
    return ok ? OPTION_READ : OPTION_BAD;
}

/* Those of GEOSEARCH; `*i` moves to the last argument that was read. */
static enum option_result shape_option(struct request *rq, uint32_t *i, struct search *s)
{
    const uint32_t at = *i + 1;
    const uint32_t left = rq->argc - at;

    if (req_is(rq, *i, "FROMMEMBER") && left >= 1 && (!s->from || s->from_member)) {
        *i += 1;
        s->from = s->from_member = true;
        return result_of(member_arg(rq, at, s));
    }
    if (req_is(rq, *i, "FROMLONLAT") && left >= 2 && !s->from_member) {
        *i += 2;
        s->from = true;
        return result_of(geo_point_arg(rq, at, &s->shape.centre));
    }
    if (req_is(rq, *i, "BYRADIUS") && left >= 2 && (!s->by || !s->shape.box)) {
        *i += 2;
        s->by = true;
        return result_of(circle_args(rq, at, &s->shape));
    }
    if (req_is(rq, *i, "BYBOX") && left >= 3 && (!s->by || s->shape.box)) {
        *i += 3;
        s->by = true;
        return result_of(box_args(rq, at, &s->shape));
    }
    return OPTION_UNKNOWN;
}

static enum option_result store_option(struct request *rq, uint32_t *i, struct search *s)
{
    const bool distance = req_is(rq, *i, "STOREDIST");

    if (!s->may_store || *i + 1 >= rq->argc || (!distance && !req_is(rq, *i, "STORE")))
        return OPTION_UNKNOWN;
    *i += 1;
    s->store_at = *i;
    s->store_distance = distance;
    return OPTION_READ;
}

static bool read_options(struct request *rq, uint32_t first, struct search *s)
{
    for (uint32_t i = first; i < rq->argc; i++) {
        enum option_result result;
        if (flag_option(rq, i, s))
            continue;
        if (req_is(rq, i, "COUNT") && i + 1 < rq->argc)
            result = result_of(count_arg(rq, ++i, s));
        else if (s->kind == BY_OPTIONS)
            result = shape_option(rq, &i, s);
        else
            result = store_option(rq, &i, s);
        if (result == OPTION_UNKNOWN)
            reply_err_syntax(rq->out);
        if (result != OPTION_READ)
            return false;
    }
    return true;
}

static bool options_ok(struct request *rq, const struct search *s)
{
    const int name_len = (int)size_min(rq->argv[0].len, 128);
    const char *name = (const char *)rq->argv[0].ptr;

    if (s->store_at != 0 && (s->with_distance || s->with_hash || s->with_point))
        reply_error(rq->out,
                    "ERR %s is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
                    s->kind == BY_OPTIONS ? "GEOSEARCHSTORE" : "STORE option in GEORADIUS");
    else if (s->kind == BY_OPTIONS && !s->from)
        reply_error(rq->out,
                    "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for %.*s",
                    name_len, name);
    else if (s->kind == BY_OPTIONS && !s->by)
        reply_error(rq->out, "ERR exactly one of BYRADIUS and BYBOX can be specified for %.*s",
                    name_len, name);
    else if (s->any && s->count == 0)
        reply_error(rq->out, "ERR the ANY argument requires COUNT argument");
    else
        return true;
    return false;
}

/* --- the search --- */

/* False: no memory. */
static bool hit_add(struct search *s, const struct hit *hit)
{
    if (s->hits_count == s->hits_cap) {
        const size_t cap = s->hits_cap == 0 ? 32 : 2 * s->hits_cap;
        struct hit *hits = mem_try_realloc(s->hits, cap * sizeof(*hits));
        if (hits == NULL)
            return false;
        s->hits = hits;
        s->hits_cap = cap;
    }
    s->hits[s->hits_count++] = *hit;
    return true;
}

/* False: no memory. */
static bool search_cell(struct search *s, const struct geo_cell *cell, uint64_t limit)
{
    const struct zorder *order = &s->coll->order;
    struct zorder_pos pos;
    bool more = zorder_at(order, zorder_rank_score(order, (double)cell->min, false), &pos);

    for (; more && pos.score < (double)cell->end && s->hits_count < limit;
         more = zorder_next(&pos)) {
        struct hit hit = {.member = elem_sub(pos.elem), .score = pos.score};
        hit.at = geo_decode(pos.score);
        if (geo_within(&s->shape, hit.at, &hit.distance) && !hit_add(s, &hit))
            return false;
    }
    return true;
}

static bool search_all(struct search *s)
{
    struct geo_cell cells[GEO_CELLS_MAX];
    const uint32_t n = geo_cells(&s->shape, cells);
    const uint64_t limit = s->any ? (uint64_t)s->count : UINT64_MAX;

    for (uint32_t i = 0; i < n && s->hits_count < limit; i++) {
        if (!search_cell(s, &cells[i], limit))
            return false;
    }
    return true;
}

static int by_distance(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;

    return (x->distance > y->distance) - (x->distance < y->distance);
}

static int by_distance_down(const void *a, const void *b)
{
    return by_distance(b, a);
}

/* --- replies --- */

static void reply_hits(struct request *rq, const struct search *s, size_t n)
{
    const uint64_t extra = (uint64_t)s->with_distance + s->with_hash + s->with_point;

    reply_array(rq->out, n);
    for (size_t i = 0; i < n; i++) {
        const struct hit *hit = &s->hits[i];
        if (extra != 0)
            reply_array(rq->out, extra + 1);
        reply_bulk(rq->out, hit->member);
        if (s->with_distance)
            geo_reply_distance(rq, hit->distance / s->shape.unit);
        if (s->with_hash)
            reply_i64(rq->out, (int64_t)hit->score);
        if (s->with_point)
            geo_reply_point(rq, hit->at);
    }
}

static void store_hits(struct request *rq, const struct search *s, size_t n)
{
    const struct ks_key to = req_key(rq, s->store_at);
    struct zset_items items = {0};
    int err = 0;

    for (size_t i = 0; i < n && err == 0; i++) {
        const struct hit *hit = &s->hits[i];
        err = zset_items_add(&items, hit->member,
                             s->store_distance ? hit->distance / s->shape.unit : hit->score);
    }
    if (err == 0)
        zset_items_store(rq, &to, &items);
    else
        reply_err_oom(rq->out, "the result does not fit into memory");
    zset_items_free(&items);
}

static void finish(struct request *rq, struct search *s)
{
    /* The nearest are meant, unless any will do. */
    if (s->count != 0 && s->order == ORDER_NONE && !s->any)
        s->order = ORDER_NEAREST;
    if (s->coll != NULL && !search_all(s)) {
        reply_err_oom(rq->out, "the result does not fit into memory");
        return;
    }
    if (s->order != ORDER_NONE && s->hits_count > 1)
        qsort(s->hits, s->hits_count, sizeof(*s->hits),
              s->order == ORDER_NEAREST ? by_distance : by_distance_down);
    const size_t n = s->count == 0 ? s->hits_count : size_min(s->hits_count, (size_t)s->count);
    if (s->store_at != 0)
        store_hits(rq, s, n);
    else
        reply_hits(rq, s, n);
}

/* The arguments before the options, whose index is the result; 0 after an error reply. */
static uint32_t read_head(struct request *rq, struct search *s)
{
    switch (s->kind) {
    case BY_POINT:
        return geo_point_arg(rq, 2, &s->shape.centre) && circle_args(rq, 4, &s->shape) ? 6 : 0;
    case BY_MEMBER:
        /* Of an absent key even the radius may be anything. */
        if (s->coll == NULL)
            return 5;
        return member_arg(rq, 2, s) && circle_args(rq, 3, &s->shape) ? 5 : 0;
    default:
        s->store_at = s->may_store ? 1 : 0;
        return s->may_store ? 3 : 2;
    }
}

static void search(struct request *rq, uint8_t kind, bool may_store)
{
    bool ok;
    struct search s = {.kind = kind, .may_store = may_store, .shape = {.unit = 1}};
    const struct ks_key key = req_key(rq, kind == BY_OPTIONS && may_store ? 2 : 1);

    s.coll = zset_read(rq, &key, &ok);
    if (!ok)
        return;
    const uint32_t first = read_head(rq, &s);
    if (first != 0 && read_options(rq, first, &s) && options_ok(rq, &s))
        finish(rq, &s);
    mem_free(s.hits);
}

void cmd_georadius(struct request *rq)
{
    search(rq, BY_POINT, true);
}

void cmd_georadius_ro(struct request *rq)
{
    search(rq, BY_POINT, false);
}

void cmd_georadiusbymember(struct request *rq)
{
    search(rq, BY_MEMBER, true);
}

void cmd_georadiusbymember_ro(struct request *rq)
{
    search(rq, BY_MEMBER, false);
}

void cmd_geosearch(struct request *rq)
{
    search(rq, BY_OPTIONS, false);
}

void cmd_geosearchstore(struct request *rq)
{
    search(rq, BY_OPTIONS, true);
}
