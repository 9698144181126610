/*
 * REPLGROUP EXPLAIN key [field | member | index]: why this value won.
 *
 * The rows of the key are brought into DRAM as any command brings them; engine/value/row_explain.h
 * takes them apart. The reply is a map with the same fields in each case:
 *
 *     key, type, state (present, expired, absent), tier (dram, flash, none), reason (a sentence),
 *     tag, value, value-bytes, expire-at-ms,
 *     values, types, counters, floors, expiries, removals    arrays, one map for each that is kept
 *     element                                                null, or a map of the same fields
 *
 * A tag is a map: time (ISO 8601), ms, counter (of the HLC), origin, member (its name).
 */
#include "engine/base/clock.h"
#include "engine/base/num.h"

#include "engine/space/group.h"
#include "engine/space/resident.h"
#include "engine/value/row_explain.h"

#include "server/conn.h"
#include "server/group_shard.h"
#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"

/* Of a value that is shown in the reply. */
#define SHOWN_BYTES_MAX 256u

struct explain {
    struct request *rq;
    struct reply *out;
    struct ks_key key;
    struct bytes row;
    bool alive;
    /* Of the element: */
    struct coll *coll; /* NULL: the key is alive as none. */
    bool score;        /* A member of a sorted set. */
};

/* --- parts of the reply --- */

static void field(struct reply *r, const char *name, const char *value)
{
    reply_bulk_cstr(r, name);
    reply_bulk_cstr(r, value);
}

static void field_tag(const struct explain *x, const char *name, struct tag tag)
{
    char time[CLOCK_ISO_BYTES];

    reply_bulk_cstr(x->out, name);
    if (tag_is_none(tag)) {
        reply_null(x->out);
        return;
    }
    clock_iso(time, hlc_ms(tag.hlc));
    reply_map(x->out, 5);
    field(x->out, "time", time);
    reply_bulk_cstr(x->out, "ms");
    reply_u64(x->out, hlc_ms(tag.hlc));
    reply_bulk_cstr(x->out, "counter");
    reply_u64(x->out, tag.hlc & ((1u << HLC_LOGICAL_BITS) - 1));
    reply_bulk_cstr(x->out, "origin");
    reply_u64(x->out, tag.origin);
    field(x->out, "member", group_shard_member_name(x->rq->sh->group, tag.origin));
}

/* Only its beginning, if it is long. */
static void reply_cut(struct reply *r, struct bytes value)
{
    reply_bulk(r, bytes_of(value.ptr, u64_min(value.len, SHOWN_BYTES_MAX)));
}

static void reply_value(const struct explain *x, struct bytes value, bool chunked)
{
    char text[NUM_DOUBLE_BYTES];

    if (chunked)
        reply_null(x->out);
    else if (x->score && value.len == ROW_SCORE_BYTES)
        reply_bulk(x->out, bytes_of(text, num_print_double(text, row_score_load(value.ptr))));
    else
        reply_cut(x->out, value);
}

/* Integers as such; what floating point increments are among, as text. */
static void reply_sum(struct reply *r, int64_t isum, struct fsum fsum)
{
    char text[NUM_LDOUBLE_BYTES];

    if (fsum_is_zero(fsum)) {
        reply_i64(r, isum);
        return;
    }
    const long double sum = fsum_value(fsum_add(fsum_of((long double)isum), fsum));
    reply_bulk(r, bytes_of(text, num_print_ldouble(text, sum)));
}

static void reply_fate(struct reply *r, const struct row_fact *fact)
{
    field(r, "outcome", row_fate_word(fact->fate));
    field(r, "why", row_fate_text(fact->fate));
}

static void reply_fact(const struct explain *x, const struct row_fact *fact)
{
    struct reply *r = x->out;

    switch ((enum row_fact_kind)fact->kind) {
    case ROW_FACT_VALUE:
        reply_map(r, 5);
        field_tag(x, "tag", fact->tag);
        reply_bulk_cstr(r, "value");
        reply_value(x, fact->value, fact->chunked);
        reply_bulk_cstr(r, "value-bytes");
        reply_u64(r, fact->len);
        reply_fate(r, fact);
        return;
    case ROW_FACT_TYPE:
        reply_map(r, 4);
        field_tag(x, "tag", fact->tag);
        field(r, "type", req_type_name(fact->type));
        reply_fate(r, fact);
        return;
    case ROW_FACT_RUN:
        reply_map(r, 6);
        field_tag(x, "tag", fact->tag);
        field_tag(x, "since", fact->since);
        reply_bulk_cstr(r, "sum");
        reply_sum(r, fact->isum, fact->fsum);
        reply_bulk_cstr(r, "counted");
        reply_sum(r, fact->counted, fact->counted_fsum);
        reply_fate(r, fact);
        return;
    case ROW_FACT_FLOOR:
        reply_map(r, 3);
        field_tag(x, "tag", fact->tag);
        reply_bulk_cstr(r, "sum");
        reply_sum(r, fact->isum, fact->fsum);
        field_tag(x, "removed-by", fact->since);
        return;
    case ROW_FACT_EXPIRY:
        reply_map(r, 6);
        field_tag(x, "tag", fact->tag);
        reply_bulk_cstr(r, "expire-at-ms");
        reply_i64(r, fact->at_ms == ROW_EXPIRE_NEVER ? -1 : (int64_t)fact->at_ms);
        field(r, "of-type", fact->type == VT_NONE ? "counter" : req_type_name(fact->type));
        field_tag(x, "of", fact->since);
        reply_fate(r, fact);
        return;
    case ROW_FACT_CLEAR:
        reply_map(r, 1);
        field_tag(x, "up-to", fact->tag);
        return;
    }
    UNREACHABLE();
}

static void reply_facts(const struct explain *x, const struct row_explained *e)
{
    static const char *const names[] = {
        [ROW_FACT_VALUE] = "values", [ROW_FACT_TYPE] = "types",      [ROW_FACT_RUN] = "counters",
        [ROW_FACT_FLOOR] = "floors", [ROW_FACT_EXPIRY] = "expiries", [ROW_FACT_CLEAR] = "removals"};
    unsigned at = 0;

    for (unsigned kind = 0; kind < ARRAY_COUNT(names); kind++) {
        unsigned end = at;

        while (end < e->count && e->facts[end].kind == kind)
            end++;
        reply_bulk_cstr(x->out, names[kind]);
        reply_array(x->out, end - at);
        for (; at < end; at++)
            reply_fact(x, &e->facts[at]);
    }
}

/* --- in words --- */

static unsigned count_fate(const struct row_explained *e, enum row_fact_kind kind,
                           enum row_fate fate)
{
    unsigned count = 0;

    for (unsigned i = 0; i < e->count; i++)
        count += e->facts[i].kind == kind && e->facts[i].fate == fate;
    return count;
}

static const char *reason_absent(const struct row_explained *e)
{
    if (e->view.type > VT_STRING)
        return "none of its elements is left";
    if (e->count != 0)
        return "it was removed; what removals have seen is kept until every member has them";
    return "nothing is known of it here: it never was, or every member has its removal";
}

static const char *reason(const struct explain *x, const struct row_explained *e)
{
    if (e->view.expired)
        return "what has the greatest tag has expired, and nothing else takes its place";
    if (!x->alive)
        return reason_absent(e);
    if (e->view.type > VT_STRING)
        return "the change with the greatest tag made it this type; each element is judged alone";
    const bool base = count_fate(e, ROW_FACT_VALUE, ROW_FATE_SHOWN) != 0;
    const bool added = count_fate(e, ROW_FACT_RUN, ROW_FATE_ADDED) != 0;
    if (!base)
        return "it is a counter: the sum of what each member added";
    if (added)
        return "the value with the greatest tag, and increments that it was set without";
    return "the value with the greatest tag";
}

static const char *state_of(const struct explain *x, const struct row_explained *e)
{
    if (x->alive)
        return "present";
    return e->view.expired ? "expired" : "absent";
}

/* What GET, HGET and ZSCORE give. */
static void reply_shown(const struct explain *x, const struct row_explained *e)
{
    char text[ROW_TEXT_BYTES];
    double score;

    reply_bulk_cstr(x->out, "value");
    if (!x->alive || e->view.type != VT_STRING || e->view.kind == ROW_KIND_CHUNKS)
        reply_null(x->out);
    else if (x->score && row_score(x->row, &score) == 0)
        reply_bulk(x->out, bytes_of(text, num_print_double(text, score)));
    else
        reply_cut(x->out, row_text(&e->view, text));
    reply_bulk_cstr(x->out, "value-bytes");
    if (!x->alive || e->view.type != VT_STRING)
        reply_null(x->out);
    else
        reply_u64(x->out,
                  e->view.kind == ROW_KIND_CHUNKS ? e->view.count : row_text(&e->view, text).len);
}

static void reply_explained(const struct explain *x, const struct row_explained *e)
{
    field(x->out, "state", state_of(x, e));
    field(x->out, "reason", reason(x, e));
    field_tag(x, "tag", e->view.tag);
    reply_shown(x, e);
    reply_bulk_cstr(x->out, "expire-at-ms");
    reply_i64(x->out, e->view.expire_at_ms == 0 ? -1 : (int64_t)e->view.expire_at_ms);
    reply_facts(x, e);
}

/* --- the element --- */

/* The row of an element, by its name or, in a list, its index; empty if there is none. */
static struct bytes element_row(const struct explain *x)
{
    uint8_t position[LISTQ_POSITION_BYTES_MAX];
    const struct request *rq = x->rq;
    struct listq_at at;
    int64_t index;

    if (x->coll == NULL || x->coll->type == VT_STRING)
        return bytes_of(NULL, 0);
    if (x->coll->type != VT_LIST)
        return ks_group_elem_row(x->coll, rq->argv[3]);
    if (!num_parse_i64(rq->argv[3], &index))
        return bytes_of(NULL, 0);
    index += index < 0 ? (int64_t)x->coll->count : 0;
    if (index < 0 || (uint64_t)index >= x->coll->count)
        return bytes_of(NULL, 0);
    coll_list_at(x->coll, (uint64_t)index, &at);
    return ks_group_elem_row(x->coll, listq_position(&at, position));
}

static void reply_element(const struct explain *key)
{
    struct explain x = {.rq = key->rq, .out = key->out, .key = key->key};
    struct row_explained e;

    reply_bulk_cstr(x.out, "element");
    if (x.rq->argc == 3) {
        reply_null(x.out);
        return;
    }
    x.coll = key->alive ? ks_peek_coll(x.rq->ks, &x.key) : NULL;
    x.row = element_row(&x);
    x.score = x.coll != NULL && x.coll->type == VT_ZSET;
    const struct row_explain_under under = {.now_ms = x.rq->now_ms, .score = x.score};
    if (row_explain(x.row, &under, &e) != 0) {
        reply_null(x.out);
        return;
    }
    x.alive = e.view.present;
    reply_map(x.out, 13);
    reply_bulk_cstr(x.out, "name");
    reply_bulk(x.out, x.rq->argv[3]);
    reply_explained(&x, &e);
    row_explained_deinit(&e);
}

/* --- the key --- */

/* A command may read: 0; > 0: it waits; < 0: it is too large. */
static int need(const struct request *rq, const struct ks_key *key)
{
    int waiting = ks_need_key(rq->ks, key, &rq->conn->wait);
    const struct coll *coll = ks_peek_coll(rq->ks, key);

    if (waiting != 0 || coll == NULL || rq->argc == 3)
        return waiting;
    if (coll->type == VT_LIST)
        return ks_need_whole(rq->ks, key, &rq->conn->wait);
    return ks_need_elem(rq->ks, key, rq->argv[3], &rq->conn->wait);
}

static void reply_key(struct explain *x)
{
    const struct row_explain_under under = {.now_ms = x->rq->now_ms};
    struct row_explained e;
    const char *tier = "dram";

    x->row = ks_group_key_row(x->rq->ks, &x->key);
    x->alive = ks_peek(x->rq->ks, &x->key, x->rq->now_ms) != NULL;
    const int err = row_explain(x->row, &under, &e);
    if (err != 0) {
        reply_error(x->out, "ERR the row of this key is damaged: %s", err_str(err));
        return;
    }
    if (x->rq->conn->waited)
        tier = "flash";
    else if (x->row.len == 0)
        tier = "none";
    reply_map(x->out, 16);
    reply_bulk_cstr(x->out, "key");
    reply_bulk(x->out, x->key.name);
    field(x->out, "type", x->alive ? req_type_name(e.view.type) : "none");
    field(x->out, "tier", tier);
    reply_explained(x, &e);
    reply_element(x);
    row_explained_deinit(&e);
}

void cmd_replgroup_explain(struct request *rq)
{
    struct explain x = {.rq = rq, .out = rq->out};

    if (rq->sh->group == NULL) {
        reply_err_no_group(rq->out);
        return;
    }
    if (rq->argc == 4 && rq->argv[3].len > KS_NAME_BYTES_MAX) {
        reply_err_key_too_long(rq->out);
        return;
    }
    x.key = req_key(rq, 2);
    const int waiting = need(rq, &x.key);
    if (waiting > 0) {
        rq->conn->waited = true;
        rq->parked = true;
    } else if (waiting < 0) {
        reply_err_oom(rq->out, "the value is larger than a quarter of maxmemory");
    } else {
        reply_key(&x);
    }
}
