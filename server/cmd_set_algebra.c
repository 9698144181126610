/*
 * Intersection, union and difference of sets.
 *
 * Intersection walks over the smallest set and asks the others, from small to large. Union keeps
 * the addresses of what it has shown in a table of members. Difference asks the other sets for each
 * member of the first, or, if the others are small against that, makes a table of theirs.
 *
 * What is to be stored is copied first: the destination may be one of the sources.
 *
 * Sets that are too large to be loaded never come here; what is stored of them does
 * (stream_sets.c).
 */
#include <errno.h>
#include <stdlib.h>

#include "engine/base/le.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/space/collstream.h"

#include "server/handlers.h"
#include "server/request.h"
#include "server/stream.h"

/* The members of a result that is to be stored take no more. Bytes. */
#define RESULT_BYTES_MAX (512u << 20)

/* --- operands --- */

struct operands {
    struct coll **sets; /* NULL: an absent key. */
    uint32_t count;
    uint32_t absent;
};

/* The sets at arguments `first` .. first + count - 1; false after WRONGTYPE. */
static bool operands_find(struct request *rq, uint32_t first, uint32_t count, struct operands *out)
{
    *out = (struct operands){.count = count};
    out->sets = mem_zalloc_array(count, sizeof(struct coll *));
    for (uint32_t i = 0; i < count; i++) {
        const struct ks_key key = req_key(rq, first + i);
        struct obj *obj = req_read(rq, &key);
        if (!req_type_ok(rq, obj, VT_SET)) {
            mem_free(out->sets);
            return false;
        }
        if (obj == NULL)
            out->absent++;
        else
            out->sets[i] = obj_coll(obj);
    }
    return true;
}

/* --- where results go --- */

struct sink {
    struct request *rq;
    uint64_t count;
    uint64_t limit;   /* 0: none. */
    struct buf names; /* To be stored: length 2, member. */
    bool reply;
    bool store;
    int err;
};

/* False: enough. */
static bool sink_take(struct sink *sink, struct bytes member)
{
    uint8_t head[2];

    sink->count++;
    if (sink->reply)
        reply_bulk(sink->rq->out, member);
    if (sink->store) {
        le16_store(head, (uint16_t)member.len);
        sink->err = buf_append(&sink->names, head, sizeof(head));
        if (sink->err == 0)
            sink->err = buf_append_bytes(&sink->names, member);
    }
    return sink->err == 0 && sink->count != sink->limit;
}

/* --- a table of members --- */

/* Open addressing; the members stay where they are while it lives. */
struct members {
    struct bytes *slots; /* ptr NULL: free. */
    uint64_t cap;        /* A power of two, or 0. */
    uint64_t count;
    uint64_t seed; /* Of the hash: nobody can choose members that collide. */
};

static struct bytes *members_slot(const struct members *m, struct bytes member)
{
    uint64_t i = hash64(member.ptr, member.len, m->seed) & (m->cap - 1);

    while (m->slots[i].ptr != NULL && !bytes_eq(m->slots[i], member))
        i = (i + 1) & (m->cap - 1);
    return &m->slots[i];
}

static bool members_grow(struct members *m)
{
    const struct members old = *m;

    m->cap = old.cap == 0 ? 64 : old.cap * 2;
    m->slots = mem_try_zalloc(m->cap * sizeof(struct bytes));
    if (m->slots == NULL) {
        *m = old;
        return false;
    }
    for (uint64_t i = 0; i < old.cap; i++) {
        if (old.slots[i].ptr != NULL)
            *members_slot(m, old.slots[i]) = old.slots[i];
    }
    mem_free(old.slots);
    return true;
}

/* 1: added; 0: was there; or -ENOMEM. */
static int members_add(struct members *m, struct bytes member)
{
    if (m->count >= m->cap / 2 && !members_grow(m))
        return -ENOMEM;
    struct bytes *slot = members_slot(m, member);
    if (slot->ptr != NULL)
        return 0;
    *slot = member;
    m->count++;
    return 1;
}

/* --- the operations --- */

static int by_count(const void *a, const void *b)
{
    const struct coll *x = *(struct coll *const *)a;
    const struct coll *y = *(struct coll *const *)b;

    return (x->count > y->count) - (x->count < y->count);
}

static void intersect(const struct operands *ops, struct sink *sink)
{
    struct coll_iter it;
    const struct elem *elem;

    if (ops->absent != 0)
        return;
    qsort(ops->sets, ops->count, sizeof(struct coll *), by_count);
    coll_iter_init(ops->sets[0], &it);
    while ((elem = coll_iter_next(&it)) != NULL) {
        uint32_t i = 1;
        while (i < ops->count &&
               (ops->sets[i] == ops->sets[0] || coll_find(ops->sets[i], elem_sub(elem)) != NULL))
            i++;
        if (i == ops->count && !sink_take(sink, elem_sub(elem)))
            return;
    }
}

static void unite(const struct operands *ops, struct sink *sink)
{
    struct members shown = {.seed = ks_seed(sink->rq->ks)};
    struct coll_iter it;
    const struct elem *elem;

    for (uint32_t i = 0; i < ops->count; i++) {
        if (ops->sets[i] == NULL)
            continue;
        coll_iter_init(ops->sets[i], &it);
        while (sink->err == 0 && (elem = coll_iter_next(&it)) != NULL) {
            const int added = ops->count == 1 ? 1 : members_add(&shown, elem_sub(elem));
            if (added < 0)
                sink->err = added;
            else if (added != 0)
                (void)sink_take(sink, elem_sub(elem));
        }
    }
    mem_free(shown.slots);
}

/* All members of the sets behind the first. */
static int collect_others(const struct operands *ops, struct members *out)
{
    struct coll_iter it;
    const struct elem *elem;

    for (uint32_t i = 1; i < ops->count; i++) {
        if (ops->sets[i] == NULL)
            continue;
        coll_iter_init(ops->sets[i], &it);
        while ((elem = coll_iter_next(&it)) != NULL) {
            const int err = members_add(out, elem_sub(elem));
            if (err < 0)
                return err;
        }
    }
    return 0;
}

static bool in_others(const struct operands *ops, struct bytes member)
{
    for (uint32_t i = 1; i < ops->count; i++) {
        if (ops->sets[i] != NULL && coll_find(ops->sets[i], member) != NULL)
            return true;
    }
    return false;
}

static void subtract(const struct operands *ops, struct sink *sink)
{
    struct members others = {.seed = ks_seed(sink->rq->ks)};
    struct coll_iter it;
    const struct elem *elem;
    uint64_t total = 0;

    if (ops->sets[0] == NULL)
        return;
    for (uint32_t i = 1; i < ops->count; i++) {
        if (ops->sets[i] == ops->sets[0])
            return;
        total += ops->sets[i] == NULL ? 0 : ops->sets[i]->count;
    }
    if (total != 0 && total < ops->sets[0]->count * (ops->count - 1) / 2)
        sink->err = collect_others(ops, &others);
    coll_iter_init(ops->sets[0], &it);
    while (sink->err == 0 && (elem = coll_iter_next(&it)) != NULL) {
        const bool out = others.cap != 0 ? members_slot(&others, elem_sub(elem))->ptr != NULL
                                         : total != 0 && in_others(ops, elem_sub(elem));
        if (!out)
            (void)sink_take(sink, elem_sub(elem));
    }
    mem_free(others.slots);
}

/* --- commands --- */

typedef void set_op(const struct operands *ops, struct sink *sink);

static void reply_no_memory(struct request *rq)
{
    reply_err_oom(rq->out, "the result does not fit into memory");
}

static void reply_op(struct request *rq, set_op *op)
{
    struct operands ops;
    struct sink sink = {.rq = rq, .reply = true};

    if (!operands_find(rq, 1, rq->argc - 1, &ops))
        return;
    const size_t before = rq->out->out.len;
    const struct reply_mark mark = reply_deferred_begin(rq->out, 0);
    op(&ops, &sink);
    mem_free(ops.sets);
    if (sink.err == 0) {
        reply_deferred_set(rq->out, mark, sink.count);
    } else if (!rq->out->failed) {
        buf_truncate(&rq->out->out, before);
        reply_no_memory(rq);
    }
}

/* The members of a result: collected here, or read from flash (stream.h). */
struct result {
    struct bytes names;
    struct ks_stream *read;
};

static bool result_next(struct result *r, struct bytes *out)
{
    struct ks_stream_elem elem;

    if (r->read != NULL) {
        const bool more = ks_stream_next(r->read, &elem);
        *out = more ? elem.sub : bytes_of(NULL, 0);
        return more;
    }
    if (r->names.len == 0)
        return false;
    const size_t len = le16_load(r->names.ptr);
    r->names = bytes_from(r->names, 2);
    CHECK(bytes_take(&r->names, len, out));
    return true;
}

static void store_result(struct request *rq, struct result *result, uint64_t count, size_t bytes)
{
    const struct ks_key key = req_key(rq, 1);
    struct bytes member;
    struct obj *obj;

    if (!req_log_room(rq, count, bytes))
        return;
    if (ks_find(rq->ks, &key, rq->now_ms, &obj, NULL) != KS_ABSENT)
        mut_del(rq->mut, &key);
    reply_u64(rq->out, count);
    if (count == 0)
        return;
    struct coll *set = mut_coll(rq->mut, &key, VT_SET);
    while (result_next(result, &member))
        (void)mut_elem_set(rq->mut, set, member, bytes_of(NULL, 0));
}

static void store_op(struct request *rq, set_op *op)
{
    struct operands ops;
    struct sink sink = {.rq = rq, .store = true};
    struct result result = {.read = stream_result(rq->conn)};

    if (result.read != NULL) {
        store_result(rq, &result, ks_stream_counted(result.read), ks_stream_bytes(result.read));
        return;
    }
    if (!operands_find(rq, 2, rq->argc - 2, &ops))
        return;
    buf_init(&sink.names, RESULT_BYTES_MAX);
    op(&ops, &sink);
    mem_free(ops.sets);
    result.names = buf_bytes(&sink.names);
    if (sink.err == 0)
        store_result(rq, &result, sink.count, result.names.len);
    else
        reply_no_memory(rq);
    buf_deinit(&sink.names);
}

void cmd_sinter(struct request *rq)
{
    reply_op(rq, intersect);
}

void cmd_sunion(struct request *rq)
{
    reply_op(rq, unite);
}

void cmd_sdiff(struct request *rq)
{
    reply_op(rq, subtract);
}

void cmd_sinterstore(struct request *rq)
{
    store_op(rq, intersect);
}

void cmd_sunionstore(struct request *rq)
{
    store_op(rq, unite);
}

void cmd_sdiffstore(struct request *rq)
{
    store_op(rq, subtract);
}

/* SINTERCARD numkeys key .. [LIMIT limit] */
void cmd_sintercard(struct request *rq)
{
    struct operands ops;
    struct sink sink = {.rq = rq};
    int64_t keys_count, limit = 0;

    if (!num_parse_i64(rq->argv[1], &keys_count) || keys_count < 1) {
        reply_error(rq->out, "ERR numkeys should be greater than 0");
        return;
    }
    if (keys_count > (int64_t)rq->argc - 2) {
        reply_error(rq->out, "ERR Number of keys can't be greater than number of args");
        return;
    }
    for (uint32_t i = 2 + (uint32_t)keys_count; i < rq->argc; i += 2) {
        if (i + 1 >= rq->argc || !req_is(rq, i, "LIMIT")) {
            reply_err_syntax(rq->out);
            return;
        }
        if (!num_parse_i64(rq->argv[i + 1], &limit) || limit < 0) {
            reply_error(rq->out, "ERR LIMIT can't be negative");
            return;
        }
    }
    if (!operands_find(rq, 2, (uint32_t)keys_count, &ops))
        return;
    sink.limit = (uint64_t)limit;
    intersect(&ops, &sink);
    mem_free(ops.sets);
    reply_u64(rq->out, sink.count);
}
