/* Keys: the handlers that do not care what type the value has. */
#include <string.h>

#include "engine/base/err.h"

#include "engine/space/evict.h"
#include "engine/space/scan.h"

#include "server/handlers.h"
#include "server/keycopy.h"
#include "server/node.h"
#include "server/req_range.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/txn.h"

/* Where the key is; a cold one has been read first if only its row tells whether it expired. */
static bool exists(struct request *rq, const struct ks_key *key)
{
    struct obj *obj;

    return ks_find(rq->ks, key, rq->now_ms, &obj, NULL) != KS_ABSENT;
}

/* --- DEL, EXISTS, TYPE --- */

static void del_generic(struct request *rq)
{
    int64_t deleted = 0;

    for (uint32_t i = 1; i < rq->argc; i++) {
        const struct ks_key key = req_key(rq, i);
        if (!exists(rq, &key))
            continue;
        mut_del(rq->mut, &key);
        deleted++;
    }
    reply_i64(rq->out, deleted);
}

void cmd_del(struct request *rq)
{
    del_generic(rq);
}

void cmd_unlink(struct request *rq)
{
    del_generic(rq);
}

void cmd_exists(struct request *rq)
{
    int64_t count = 0;
    struct obj *obj;

    for (uint32_t i = 1; i < rq->argc; i++) {
        const struct ks_key key = req_key(rq, i);
        const bool found = ks_look(rq->ks, &key, rq->now_ms, &obj) != KS_ABSENT;
        req_count_found(rq, found);
        count += found;
    }
    reply_i64(rq->out, count);
}

void cmd_touch(struct request *rq)
{
    int64_t count = 0;
    struct obj *obj;

    for (uint32_t i = 1; i < rq->argc; i++) {
        const struct ks_key key = req_key(rq, i);
        const enum ks_where where = ks_find(rq->ks, &key, rq->now_ms, &obj, NULL);
        if (where == KS_COLD)
            ks_use_count(rq->ks, &key);
        req_count_found(rq, where != KS_ABSENT);
        count += where != KS_ABSENT;
    }
    reply_i64(rq->out, count);
}

const char *req_type_name(uint8_t type)
{
    switch (type) {
    case VT_STRING:
        return "string";
    case VT_LIST:
        return "list";
    case VT_SET:
        return "set";
    case VT_ZSET:
        return "zset";
    case VT_HASH:
        return "hash";
    case VT_STREAM:
        return "stream";
    default:
        return "none";
    }
}

void cmd_type(struct request *rq)
{
    const struct ks_key key = req_key(rq, 1);
    const uint8_t type = ks_type(rq->ks, &key, rq->now_ms);

    req_count_found(rq, type != VT_NONE);
    reply_status(rq->out, req_type_name(type));
}

/* --- expiry --- */

enum expire_flag {
    EXPIRE_NX = 1,
    EXPIRE_XX = 2,
    EXPIRE_GT = 4,
    EXPIRE_LT = 8
};

/* False after an error reply. */
static bool expire_flags(struct request *rq, unsigned *out)
{
    static const struct {
        const char *word;
        unsigned flag;
    } words[] = {{"NX", EXPIRE_NX}, {"XX", EXPIRE_XX}, {"GT", EXPIRE_GT}, {"LT", EXPIRE_LT}};

    *out = 0;
    for (uint32_t i = 3; i < rq->argc; i++) {
        size_t w = 0;
        while (w < ARRAY_COUNT(words) && !req_is(rq, i, words[w].word))
            w++;
        if (w == ARRAY_COUNT(words)) {
            reply_error(rq->out, "ERR Unsupported option %.*s", REPLY_SHOWN(rq->argv[i]));
            return false;
        }
        *out |= words[w].flag;
    }
    if ((*out & EXPIRE_NX) != 0 && (*out & ~(unsigned)EXPIRE_NX) != 0) {
        reply_error(rq->out, "ERR NX and XX, GT or LT options at the same time are not compatible");
        return false;
    }
    if ((*out & EXPIRE_GT) != 0 && (*out & EXPIRE_LT) != 0) {
        reply_error(rq->out, "ERR GT and LT options at the same time are not compatible");
        return false;
    }
    return true;
}

/* Whether the conditions let the new time in. `old_ms` 0: the key does not expire. */
static bool expire_allowed(unsigned flags, uint64_t old_ms, int64_t new_ms)
{
    if ((flags & EXPIRE_NX) != 0 && old_ms != 0)
        return false;
    if ((flags & EXPIRE_XX) != 0 && old_ms == 0)
        return false;
    if ((flags & EXPIRE_GT) != 0 && (old_ms == 0 || new_ms <= (int64_t)old_ms))
        return false;
    return (flags & EXPIRE_LT) == 0 || old_ms == 0 || new_ms < (int64_t)old_ms;
}

static void expire_generic(struct request *rq, int64_t unit_ms, bool absolute)
{
    int64_t value, at_ms;
    unsigned flags;
    const struct ks_key key = req_key(rq, 1);

    if (!expire_flags(rq, &flags) || !req_i64(rq, 2, &value))
        return;
    if (__builtin_mul_overflow(value, unit_ms, &at_ms) ||
        (!absolute && __builtin_add_overflow(at_ms, req_now_for_ttl(rq), &at_ms))) {
        reply_err_expire_time(rq->out, rq->cmd->name);
        return;
    }
    struct obj *obj = req_get(rq, &key);
    if (obj == NULL || !expire_allowed(flags, ks_expire_at(obj), at_ms)) {
        reply_i64(rq->out, 0);
        return;
    }
    if (at_ms <= (int64_t)rq->now_ms)
        mut_del(rq->mut, &key);
    else
        mut_expire(rq->mut, &key, (uint64_t)at_ms);
    reply_i64(rq->out, 1);
}

void cmd_expire(struct request *rq)
{
    expire_generic(rq, 1000, false);
}

void cmd_pexpire(struct request *rq)
{
    expire_generic(rq, 1, false);
}

void cmd_expireat(struct request *rq)
{
    expire_generic(rq, 1000, true);
}

void cmd_pexpireat(struct request *rq)
{
    expire_generic(rq, 1, true);
}

static void ttl_generic(struct request *rq, bool milliseconds, bool absolute)
{
    const struct ks_key key = req_key(rq, 1);
    struct obj *obj = req_look(rq, &key);
    const uint64_t at_ms = obj == NULL ? 0 : ks_expire_at(obj);

    if (obj == NULL) {
        reply_i64(rq->out, -2);
    } else if (at_ms == 0) {
        reply_i64(rq->out, -1);
    } else {
        const uint64_t ms = absolute ? at_ms : at_ms - u64_min(at_ms, rq->now_ms);
        reply_u64(rq->out, milliseconds ? ms : (ms + (absolute ? 0 : 500)) / 1000);
    }
}

void cmd_ttl(struct request *rq)
{
    ttl_generic(rq, false, false);
}

void cmd_pttl(struct request *rq)
{
    ttl_generic(rq, true, false);
}

void cmd_expiretime(struct request *rq)
{
    ttl_generic(rq, false, true);
}

void cmd_pexpiretime(struct request *rq)
{
    ttl_generic(rq, true, true);
}

void cmd_persist(struct request *rq)
{
    const struct ks_key key = req_key(rq, 1);
    struct obj *obj = req_get(rq, &key);
    const bool had = obj != NULL && ks_expire_at(obj) != 0;

    /* In a group it also beats an EXPIRE elsewhere, of which this node may not know yet. */
    if (had || (obj != NULL && rq->sh->node->group != NULL))
        mut_expire(rq->mut, &key, 0);
    reply_i64(rq->out, had);
}

/* --- RENAME, COPY --- */

/* False after an error reply, which `copy` has made. */
static bool move_value(struct request *rq, const struct ks_key *from, const struct ks_key *to)
{
    if (!keycopy(rq, from, to))
        return false;
    ks_use_move(rq->ks, from, ks_peek(rq->ks, from, rq->now_ms), to);
    mut_del(rq->mut, from);
    return true;
}

static void rename_generic(struct request *rq, bool nx)
{
    const struct ks_key from = req_key(rq, 1);
    const struct ks_key to = req_key(rq, 2);
    const bool same = bytes_eq(from.name, to.name);

    if (req_get(rq, &from) == NULL) {
        reply_err_no_such_key(rq->out);
        return;
    }
    if (nx && (same || exists(rq, &to))) {
        reply_i64(rq->out, 0);
        return;
    }
    if (!same && !move_value(rq, &from, &to))
        return;
    if (nx)
        reply_i64(rq->out, 1);
    else
        reply_ok(rq->out);
}

void cmd_rename(struct request *rq)
{
    rename_generic(rq, false);
}

void cmd_renamenx(struct request *rq)
{
    rename_generic(rq, true);
}

/* COPY source destination [DB n] [REPLACE] */
void cmd_copy(struct request *rq)
{
    const struct ks_key from = req_key(rq, 1);
    const struct ks_key to = req_key(rq, 2);
    bool replace = false;
    int64_t db;

    for (uint32_t i = 3; i < rq->argc; i++) {
        if (req_is(rq, i, "REPLACE")) {
            replace = true;
        } else if (req_is(rq, i, "DB") && i + 1 < rq->argc) {
            i++;
            if (!req_db(rq, i, &db))
                return;
            if (db != 0) {
                if (rq->sh->cluster)
                    reply_error(rq->out, "ERR Copying to another database is not allowed in "
                                         "cluster mode");
                else
                    reply_err_db_index(rq->out);
                return;
            }
        } else {
            reply_err_syntax(rq->out);
            return;
        }
    }
    if (bytes_eq(from.name, to.name)) {
        reply_err_same_object(rq->out);
        return;
    }
    if (req_read(rq, &from) == NULL || (exists(rq, &to) && !replace)) {
        reply_i64(rq->out, 0);
        return;
    }
    if (!keycopy(rq, &from, &to))
        return;
    ks_use_first(rq->ks, &to);
    reply_i64(rq->out, 1);
}
