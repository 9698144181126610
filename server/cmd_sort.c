/* SORT and SORT_RO; sort.h has what they compute. */
#include <errno.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "server/acl.h"
#include "server/conn.h"
#include "server/group_refuse.h"
#include "server/handlers.h"
#include "server/node.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/sort.h"

/* What is to be stored takes no more. Bytes. */
#define RESULT_BYTES_MAX (512u << 20)

static void reply_no_memory(struct request *rq)
{
    reply_err_oom(rq->out, "the result does not fit into memory");
}

static bool reply_parse_error(struct request *rq, enum sort_parsed parsed)
{
    switch (parsed) {
    case SORT_OK:
        return false;
    case SORT_SYNTAX:
        reply_err_syntax(rq->out);
        break;
    case SORT_NOT_INTEGER:
        reply_err_not_integer(rq->out);
        break;
    case SORT_BY_ELSEWHERE:
        reply_error(rq->out, "ERR BY option of SORT denied in Cluster mode.");
        break;
    case SORT_GET_ELSEWHERE:
        reply_error(rq->out, "ERR GET option of SORT denied in Cluster mode.");
        break;
    }
    return true;
}

/* --- results --- */

static void reply_items(struct request *rq, struct sort *s)
{
    const struct sort_args *args = s->args;
    struct sort_value value;

    reply_array(rq->out, (s->end - s->first) * u32_max(args->gets_count, 1));
    for (uint64_t i = s->first; i < s->end && !rq->out->failed; i++) {
        if (args->gets_count == 0)
            reply_bulk(rq->out, s->items[i].element);
        for (uint32_t k = 0; k < args->gets_count; k++) {
            sort_value(s, &args->gets[k], s->items[i].element, &value);
            if (!value.found)
                reply_null(rq->out);
            else if (value.chunked != NULL)
                req_reply_string(rq, value.chunked, 0, strval_len(value.chunked));
            else
                reply_bulk(rq->out, value.bytes);
        }
    }
}

/* Length 4 and bytes. */
static int append_value(struct buf *to, const struct sort_value *value)
{
    const uint64_t len =
        value->chunked != NULL ? strval_len(value->chunked) : (uint64_t)value->bytes.len;
    uint8_t head[4];

    if (len > RESULT_BYTES_MAX)
        return -ERR_LIMIT;
    le32_store(head, (uint32_t)len);
    int err = buf_append(to, head, sizeof(head));
    if (err == 0)
        err = buf_reserve(to, (size_t)len);
    if (err != 0)
        return err;
    if (value->chunked == NULL)
        return buf_append_bytes(to, value->bytes);
    strval_copy(obj_coll(value->chunked), 0, buf_end(to), len);
    buf_commit(to, (size_t)len);
    return 0;
}

/* All that is to be stored; the source may be the destination. */
static int collect(struct sort *s, struct buf *out)
{
    const struct sort_args *args = s->args;
    struct sort_value value;
    int err = 0;

    for (uint64_t i = s->first; i < s->end && err == 0; i++) {
        value = (struct sort_value){.found = true, .bytes = s->items[i].element};
        if (args->gets_count == 0)
            err = append_value(out, &value);
        for (uint32_t k = 0; k < args->gets_count && err == 0; k++) {
            sort_value(s, &args->gets[k], s->items[i].element, &value);
            if (!value.found)
                value.bytes = bytes_of(NULL, 0);
            err = append_value(out, &value);
        }
    }
    return err;
}

/* What GET has found may be long strings. */
static bool may_be_elements(struct request *rq, struct bytes in)
{
    const char *why = NULL;

    while (in.len != 0 && why == NULL) {
        const size_t len = le32_load(in.ptr);
        why = group_forbids_elem(rq->sh, len);
        in = bytes_from(in, 4 + len);
    }
    if (why != NULL)
        reply_error(rq->out, "ERR %s", why);
    return why == NULL;
}

static void store(struct request *rq, const struct sort *s, struct bytes in)
{
    const struct ks_key key = req_key(rq, s->args->store_at);
    const uint64_t n = (s->end - s->first) * u32_max(s->args->gets_count, 1);
    struct bytes value;
    struct obj *obj;

    if (!may_be_elements(rq, in) || !req_log_room(rq, n, in.len + n * key.name.len))
        return;
    if (ks_find(rq->ks, &key, rq->now_ms, &obj, NULL) != KS_ABSENT)
        mut_del(rq->mut, &key);
    reply_u64(rq->out, n);
    if (n == 0)
        return;
    struct coll *list = mut_coll(rq->mut, &key, VT_LIST);
    while (in.len != 0) {
        const size_t len = le32_load(in.ptr);
        in = bytes_from(in, 4);
        CHECK(bytes_take(&in, len, &value));
        mut_list_push(rq->mut, list, value, false);
    }
}

static void store_items(struct request *rq, struct sort *s)
{
    struct buf values;

    buf_init(&values, RESULT_BYTES_MAX);
    if (collect(s, &values) == 0)
        store(rq, s, buf_bytes(&values));
    else
        reply_no_memory(rq);
    buf_deinit(&values);
}

/* --- the command --- */

/* Loads and orders; false: an error was replied, or the command will be called again. */
static bool prepare(struct request *rq, struct sort *s, const struct coll *coll)
{
    int err = coll == NULL ? 0 : sort_load(s, coll);

    if (err == 0 && rq->nested)
        err = sort_order(s); /* What could be known was brought before EXEC (need_sort.h). */
    else if (err == 0)
        err = sort_prepare(s, &rq->conn->sort_walk, &rq->conn->wait);
    if (err > 0) {
        rq->parked = true;
        rq->conn->waited = true;
    } else if (err == -ERR_LIMIT) {
        ks_wait_cancel(&rq->conn->wait);
        reply_err_oom(rq->out, "what the patterns lead to is larger than a quarter of maxmemory");
    } else if (err != 0) {
        reply_no_memory(rq);
    }
    return err == 0;
}

/* Whether all that GET shows is resident: of a transaction, the one that could not wait. */
static bool all_resident(struct sort *s)
{
    struct sort_value value;

    for (uint64_t i = s->first; i < s->end && !s->cold; i++) {
        for (uint32_t k = 0; k < s->args->gets_count; k++)
            sort_value(s, &s->args->gets[k], s->items[i].element, &value);
    }
    return !s->cold;
}

static void show(struct request *rq, struct sort *s)
{
    if (s->cold || (rq->nested && !all_resident(s)))
        reply_error(rq->out, "ERR a pattern leads to a key on flash that was not known when the "
                             "transaction began; use SORT outside of MULTI");
    else if (s->not_number)
        reply_error(rq->out, "ERR One or more scores can't be converted into double");
    else if (s->args->store_at != 0)
        store_items(rq, s);
    else
        reply_items(rq, s);
}

/*
 * What patterns lead to is known only when they are followed, so the user must be allowed to read
 * whatever it is. After false the error was replied.
 */
static bool patterns_allowed(struct request *rq, const struct sort_args *args)
{
    const struct conn *c = rq->conn;
    const bool by = args->has_by && !args->unsorted;

    if (likely((c->gate & ACL_GATE_USER) == 0) || (!by && args->gets_count == 0) ||
        acl_reads_all_keys(c->user, rq->cmd, rq->argc, rq->argv, &rq->sh->keys))
        return true;
    reply_error(rq->out, "ERR %s option of SORT denied due to insufficient ACL permissions.",
                by ? "BY" : "GET");
    return false;
}

static void run(struct request *rq, bool may_store)
{
    const struct ks_key key = req_key(rq, 1);
    const bool confined = rq->sh->node->shards_count > 1;
    struct sort_args args;
    struct sort s;

    if (reply_parse_error(
            rq, sort_parse(rq->argc, rq->argv, may_store, confined ? key.slot : -1, &args)))
        return;
    if (!patterns_allowed(rq, &args)) {
        sort_args_deinit(&args);
        return;
    }
    const struct obj *obj = req_read(rq, &key);
    if (obj != NULL && (obj->h.type == VT_STRING || obj->h.type == VT_HASH)) {
        reply_err_wrongtype(rq->out);
    } else {
        sort_begin(&s, rq->ks, rq->now_ms, &args);
        if (prepare(rq, &s, obj == NULL ? NULL : obj_coll(obj)))
            show(rq, &s);
        sort_end(&s);
    }
    sort_args_deinit(&args);
}

/*
 * SORT key [BY pattern] [LIMIT offset count] [GET pattern ..] [ASC | DESC] [ALPHA] [STORE
 * destination]
 */
void cmd_sort(struct request *rq)
{
    run(rq, true);
}

void cmd_sort_ro(struct request *rq)
{
    run(rq, false);
}
