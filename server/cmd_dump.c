/*
 * DUMP and RESTORE: values in Redis's serialisation (rdb.h), so that they travel between the two.
 *
 * RESTORE reads all of the dump before it changes anything, and ships what the value is: a clear of
 * what was there, and elements.
 */
#include <errno.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/evict.h"

#include "server/config.h"
#include "server/dump.h"
#include "server/group_refuse.h"
#include "server/handlers.h"
#include "server/rdb.h"
#include "server/request.h"
#include "server/shard.h"

/* Elements of a restored value take no more. Bytes. */
#define RESTORE_BYTES_MAX (512u << 20)

static void reply_no_memory(struct request *rq)
{
    reply_err_oom(rq->out, "the value does not fit into memory");
}

/* --- DUMP --- */

void cmd_dump(struct request *rq)
{
    struct buf out;
    const struct ks_key key = req_key(rq, 1);
    const struct obj *obj = req_get(rq, &key);

    if (obj == NULL) {
        reply_null(rq->out);
        return;
    }
    buf_init(&out, DUMP_BYTES_MAX);
    if (dump_value(rq, obj, &out) == 0)
        reply_bulk(rq->out, buf_bytes(&out));
    else
        reply_no_memory(rq);
    buf_deinit(&out);
}

/* --- RESTORE --- */

struct restore {
    bool replace;
    bool absolute;
    int64_t idle_s;    /* -1: not given. */
    int64_t frequency; /* Likewise. */
    int64_t ttl_ms;
};

/* IDLETIME or FREQ; what the policy in force is not about is checked and not kept. */
static bool restore_number(struct request *rq, uint32_t at, struct restore *r, bool idle)
{
    int64_t *out = idle ? &r->idle_s : &r->frequency;

    if (!req_i64(rq, at, out))
        return false;
    if (idle && *out < 0) {
        reply_error(rq->out, "ERR Invalid IDLETIME value, must be >= 0");
        return false;
    }
    if (!idle && (*out < 0 || *out > 255)) {
        reply_error(rq->out, "ERR Invalid FREQ value, must be >= 0 and <= 255");
        return false;
    }
    return true;
}

/* False after an error reply. */
static bool restore_options(struct request *rq, struct restore *r)
{
    for (uint32_t i = 4; i < rq->argc; i++) {
        const bool more = i + 1 < rq->argc;
        if (req_is(rq, i, "REPLACE")) {
            r->replace = true;
        } else if (req_is(rq, i, "ABSTTL")) {
            r->absolute = true;
        } else if (req_is(rq, i, "IDLETIME") && more && r->frequency == -1) {
            if (!restore_number(rq, ++i, r, true))
                return false;
        } else if (req_is(rq, i, "FREQ") && more && r->idle_s == -1) {
            if (!restore_number(rq, ++i, r, false))
                return false;
        } else {
            reply_err_syntax(rq->out);
            return false;
        }
    }
    return true;
}

static bool restore_ttl(struct request *rq, struct restore *r)
{
    if (!req_i64(rq, 2, &r->ttl_ms))
        return false;
    if (r->ttl_ms >= 0)
        return true;
    reply_error(rq->out, "ERR Invalid TTL value, must be >= 0");
    return false;
}

/* Whether names are short enough to be keys of rows, and the log has room. */
static bool restore_fits(struct request *rq, const struct rdb_value *v)
{
    struct bytes in = buf_bytes(&v->items);
    struct bytes item, value;

    while (v->type != VT_STRING && rdb_item(&in, &item)) {
        if (v->type != VT_LIST && item.len > KS_NAME_BYTES_MAX) {
            reply_err_key_too_long(rq->out);
            return false;
        }
        value = item;
        if (v->type != VT_LIST && v->type != VT_SET && !rdb_item(&in, &value))
            break;
        const char *why = group_forbids_elem(rq->sh, value.len);
        if (why != NULL) {
            reply_error(rq->out, "ERR %s", why);
            return false;
        }
    }
    /* Positions of lists and the like, beside what is there. */
    return req_log_room(rq, v->count, v->items.len + v->count * 32);
}

static void restore_elems(struct request *rq, const struct ks_key *key, const struct rdb_value *v)
{
    struct bytes in = buf_bytes(&v->items);
    struct bytes item, value;
    struct coll *coll = mut_coll(rq->mut, key, v->type);

    while (rdb_item(&in, &item)) {
        value = bytes_of(NULL, 0);
        if (v->type == VT_LIST) {
            mut_list_push(rq->mut, coll, item, false);
            continue;
        }
        if (v->type != VT_SET)
            CHECK(rdb_item(&in, &value));
        (void)mut_elem_set(rq->mut, coll, item, value);
    }
}

/* Puts the value in the place of whatever is there. `expire_at_ms` 0: never. */
static void restore_value(struct request *rq, const struct ks_key *key, const struct rdb_value *v,
                          uint64_t expire_at_ms)
{
    struct obj *old;

    if (v->type == VT_STRING) {
        struct bytes in = buf_bytes(&v->items);
        struct bytes text;
        CHECK(rdb_item(&in, &text));
        mut_set(rq->mut, key, text, expire_at_ms);
        return;
    }
    if (ks_find(rq->ks, key, rq->now_ms, &old, NULL) != KS_ABSENT)
        mut_del(rq->mut, key);
    restore_elems(rq, key, v);
    if (expire_at_ms != 0)
        mut_expire(rq->mut, key, expire_at_ms);
}

static void restore_run(struct request *rq, const struct ks_key *key, const struct restore *r,
                        const struct rdb_value *v)
{
    struct obj *old;
    int64_t at_ms = r->ttl_ms;

    if (!restore_fits(rq, v))
        return;
    if (at_ms != 0 && !r->absolute && __builtin_add_overflow(at_ms, req_now_for_ttl(rq), &at_ms)) {
        reply_err_expire_time(rq->out, rq->cmd->name);
        return;
    }
    if (at_ms != 0 && at_ms <= (int64_t)rq->now_ms) {
        if (ks_find(rq->ks, key, rq->now_ms, &old, NULL) != KS_ABSENT)
            mut_del(rq->mut, key);
    } else {
        restore_value(rq, key, v, (uint64_t)at_ms);
        ks_use_first(rq->ks, key);
        ks_use_tell(rq->ks, key, r->idle_s, r->frequency);
    }
    reply_ok(rq->out);
}

/* RESTORE key ttl dump [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency] */
void cmd_restore(struct request *rq)
{
    struct obj *old;
    struct rdb_value v;
    struct restore r = {.idle_s = -1, .frequency = -1};
    const struct ks_key key = req_key(rq, 1);

    if (!restore_options(rq, &r))
        return;
    if (!r.replace && ks_find(rq->ks, &key, rq->now_ms, &old, NULL) != KS_ABSENT) {
        reply_err_busykey(rq->out);
        return;
    }
    if (!restore_ttl(rq, &r))
        return;
    if (!rdb_footer_ok(rq->argv[3])) {
        reply_error(rq->out, "ERR DUMP payload version or checksum are wrong");
        return;
    }
    rdb_value_init(&v, RESTORE_BYTES_MAX);
    const int err = rdb_read(rq->argv[3], ks_seed(rq->ks), &v);
    if (err == 0)
        restore_run(rq, &key, &r, &v);
    else if (err == -ENOMEM || err == -ERR_LIMIT)
        reply_no_memory(rq);
    else
        reply_error(rq->out, "ERR Bad data format");
    rdb_value_deinit(&v);
}
