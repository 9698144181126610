/* Strings: the handlers of the string group. */
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/strspan.h"

/* --- GET and relatives --- */

static void reply_string(struct request *rq, const struct obj *obj)
{
    char text[REQ_TEXT_BYTES];

    if (likely(!obj_is_chunked(obj)))
        reply_bulk(rq->out, req_string(rq, obj, text));
    else
        req_reply_string(rq, obj, 0, strval_len(obj));
}

/* Replies the value, or null if there is none; false after WRONGTYPE. */
static bool get_generic(struct request *rq, const struct ks_key *key)
{
    struct obj *obj = req_read(rq, key);
    if (!req_type_ok(rq, obj, VT_STRING))
        return false;
    if (obj == NULL)
        reply_null(rq->out);
    else
        reply_string(rq, obj);
    return true;
}

void cmd_get(struct request *rq)
{
    const struct ks_key key = req_key(rq, 1);
    (void)get_generic(rq, &key);
}

void cmd_strlen(struct request *rq)
{
    const struct ks_key key = req_key(rq, 1);
    struct obj *obj = req_get(rq, &key);
    if (!req_type_ok(rq, obj, VT_STRING))
        return;
    reply_u64(rq->out, obj == NULL ? 0 : req_string_len(rq, obj));
}

void cmd_mget(struct request *rq)
{
    reply_array(rq->out, rq->argc - 1);
    for (uint32_t i = 1; i < rq->argc; i++) {
        const struct ks_key key = req_key(rq, i);
        struct obj *obj = req_get(rq, &key);
        if (obj == NULL || obj->h.type != VT_STRING)
            reply_null(rq->out);
        else
            reply_string(rq, obj);
    }
}

void cmd_getdel(struct request *rq)
{
    const struct ks_key key = req_key(rq, 1);
    const bool exists = req_get(rq, &key) != NULL;
    if (get_generic(rq, &key) && exists)
        mut_del(rq->mut, &key);
}

/* GETRANGE and SUBSTR: both ends count, negative ones from the end. */
void cmd_getrange(struct request *rq)
{
    int64_t start, end;
    uint64_t first, behind;
    const struct ks_key key = req_key(rq, 1);
    if (!req_i64(rq, 2, &start) || !req_i64(rq, 3, &end))
        return;
    struct obj *obj = req_get(rq, &key);
    if (!req_type_ok(rq, obj, VT_STRING))
        return;
    const uint64_t len = obj == NULL ? 0 : req_string_len(rq, obj);
    if (strspan_clamp(start, end, len, &first, &behind))
        req_reply_string(rq, obj, first, behind - first);
    else
        reply_bulk(rq->out, bytes_of(NULL, 0));
}

/* --- SET and relatives --- */

/* In either tier. */
static bool exists(const struct request *rq, const struct ks_key *key)
{
    struct obj *obj;

    return ks_find(rq->ks, key, rq->now_ms, &obj, NULL) != KS_ABSENT;
}

enum expiry_form {
    NO_FORM,
    FORM_EX,
    FORM_PX,
    FORM_EXAT,
    FORM_PXAT
};

/* What SET and GETEX are told besides. */
struct set_options {
    enum expiry_form form;
    uint32_t form_at; /* Its number's index. */
    uint64_t expire_at_ms;
    bool nx, xx, get, keepttl, persist;
};

/* One EX, PX, EXAT or PXAT at argument `*i`, which may come again, and then counts; false if it is
 * none of them. */
static bool form_parse(struct request *rq, uint32_t *i, struct set_options *o)
{
    static const char *const words[] = {NULL, "EX", "PX", "EXAT", "PXAT"};

    for (unsigned f = FORM_EX; f <= FORM_PXAT; f++) {
        if (!req_is(rq, *i, words[f]))
            continue;
        if ((o->form != NO_FORM && o->form != f) || o->keepttl || o->persist || *i + 1 >= rq->argc)
            return false;
        o->form = (enum expiry_form)f;
        o->form_at = ++*i;
        return true;
    }
    return false;
}

static bool set_word(struct request *rq, uint32_t *i, struct set_options *o)
{
    if (req_is(rq, *i, "NX") && !o->xx)
        o->nx = true;
    else if (req_is(rq, *i, "XX") && !o->nx)
        o->xx = true;
    else if (req_is(rq, *i, "GET"))
        o->get = true;
    else if (req_is(rq, *i, "KEEPTTL") && o->form == NO_FORM)
        o->keepttl = true;
    else
        return form_parse(rq, i, o);
    return true;
}

static bool getex_word(struct request *rq, uint32_t *i, struct set_options *o)
{
    if (!req_is(rq, *i, "PERSIST") || o->form != NO_FORM)
        return form_parse(rq, i, o);
    o->persist = true;
    return true;
}

/* False after an error reply. */
static bool words_parse(struct request *rq, uint32_t first, struct set_options *o,
                        bool (*word)(struct request *, uint32_t *, struct set_options *))
{
    for (uint32_t i = first; i < rq->argc; i++)
        if (!word(rq, &i, o)) {
            reply_err_syntax(rq->out);
            return false;
        }
    return true;
}

/* False after an error reply. It comes after all words, as Redis does it. */
static bool form_deadline(struct request *rq, struct set_options *o)
{
    const bool absolute = o->form == FORM_EXAT || o->form == FORM_PXAT;
    const int64_t unit_ms = o->form == FORM_EX || o->form == FORM_EXAT ? 1000 : 1;

    return o->form == NO_FORM || req_deadline(rq, o->form_at, unit_ms, absolute, &o->expire_at_ms);
}

/* GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]: the number is of no interest where there
 * is no string. */
void cmd_getex(struct request *rq)
{
    struct set_options o = {0};
    const struct ks_key key = req_key(rq, 1);

    if (!words_parse(rq, 2, &o, getex_word))
        return;
    struct obj *obj = req_read(rq, &key);
    if (obj == NULL) {
        reply_null(rq->out);
        return;
    }
    if (!req_type_ok(rq, obj, VT_STRING) || !form_deadline(rq, &o))
        return;
    reply_string(rq, obj);
    if (o.form == NO_FORM && !o.persist)
        return;
    if (o.persist && ks_expire_at(obj) == 0)
        return;
    if (o.expire_at_ms != 0 && o.expire_at_ms <= rq->now_ms)
        mut_del(rq->mut, &key);
    else
        mut_expire(rq->mut, &key, o.expire_at_ms);
}

void cmd_set(struct request *rq)
{
    struct set_options o = {0};
    const struct ks_key key = req_key(rq, 1);

    if (rq->argc == 3) {
        mut_set(rq->mut, &key, rq->argv[2], 0);
        reply_ok(rq->out);
        return;
    }
    if (!words_parse(rq, 3, &o, set_word) || !form_deadline(rq, &o))
        return;
    if (o.nx || o.xx || o.get || o.keepttl) {
        /* Cold, unless GET or KEEPTTL have asked for it. */
        const struct obj *obj = req_get(rq, &key);
        const bool there = exists(rq, &key);
        if (o.get && !get_generic(rq, &key))
            return;
        if ((o.nx && there) || (o.xx && !there)) {
            if (!o.get)
                reply_null(rq->out);
            return;
        }
        if (o.keepttl && obj != NULL)
            o.expire_at_ms = ks_expire_at(obj);
    }
    if (o.form != NO_FORM && o.expire_at_ms <= rq->now_ms) {
        if (exists(rq, &key))
            mut_del(rq->mut, &key);
    } else {
        mut_set(rq->mut, &key, rq->argv[2], o.expire_at_ms);
    }
    if (!o.get)
        reply_ok(rq->out);
}

void cmd_setnx(struct request *rq)
{
    const struct ks_key key = req_key(rq, 1);
    const bool absent = !exists(rq, &key);
    if (absent)
        mut_set(rq->mut, &key, rq->argv[2], 0);
    reply_i64(rq->out, absent);
}

static void setex_generic(struct request *rq, int64_t unit_ms)
{
    uint64_t at_ms;
    const struct ks_key key = req_key(rq, 1);
    if (!req_deadline(rq, 2, unit_ms, false, &at_ms))
        return;
    mut_set(rq->mut, &key, rq->argv[3], at_ms);
    reply_ok(rq->out);
}

void cmd_setex(struct request *rq)
{
    setex_generic(rq, 1000);
}

void cmd_psetex(struct request *rq)
{
    setex_generic(rq, 1);
}

void cmd_getset(struct request *rq)
{
    const struct ks_key key = req_key(rq, 1);
    if (get_generic(rq, &key))
        mut_set(rq->mut, &key, rq->argv[2], 0);
}

void cmd_mset(struct request *rq)
{
    if (rq->argc % 2 == 0) {
        reply_err_arity(rq->out, rq->cmd->name);
        return;
    }
    for (uint32_t i = 1; i < rq->argc; i += 2) {
        const struct ks_key key = req_key(rq, i);
        mut_set(rq->mut, &key, rq->argv[i + 1], 0);
    }
    reply_ok(rq->out);
}

void cmd_msetnx(struct request *rq)
{
    if (rq->argc % 2 == 0) {
        reply_err_arity(rq->out, rq->cmd->name);
        return;
    }
    for (uint32_t i = 1; i < rq->argc; i += 2) {
        const struct ks_key key = req_key(rq, i);
        if (exists(rq, &key)) {
            reply_i64(rq->out, 0);
            return;
        }
    }
    for (uint32_t i = 1; i < rq->argc; i += 2) {
        const struct ks_key key = req_key(rq, i);
        mut_set(rq->mut, &key, rq->argv[i + 1], 0);
    }
    reply_i64(rq->out, 1);
}

/* --- changes of a part --- */

/* False after the error that the result would be too long. */
static bool length_ok(struct request *rq, uint64_t offset, size_t len)
{
    size_t total;
    if (!size_add_overflow(offset, len, &total) && total <= shard_bulk_bytes_max(rq->sh))
        return true;
    reply_err_string_limit(rq->out);
    return false;
}

/* Writes `patch` (not empty) at `offset`, and replies the new length; false after an error. */
static bool patch(struct request *rq, const struct ks_key *key, uint64_t offset, struct bytes patch)
{
    uint64_t len;

    if (!length_ok(rq, offset, patch.len))
        return false;
    const int err = mut_string_patch(rq->mut, key, offset, patch, &len);
    if (err != 0) {
        req_log_full(rq, err);
        return false;
    }
    reply_u64(rq->out, len);
    return true;
}

void cmd_append(struct request *rq)
{
    const struct ks_key key = req_key(rq, 1);
    struct obj *obj = req_get(rq, &key);
    if (!req_type_ok(rq, obj, VT_STRING))
        return;
    const uint64_t len = obj == NULL ? 0 : req_string_len(rq, obj);
    if (rq->argv[2].len != 0) {
        if (patch(rq, &key, len, rq->argv[2]) && obj != NULL)
            req_string_form(rq, &key, BLK_RAW);
        return;
    }
    if (obj == NULL) {
        mut_set(rq->mut, &key, rq->argv[2], 0);
    } else {
        mut_changed(rq->mut, &key);
        req_string_form(rq, &key, BLK_RAW);
    }
    reply_u64(rq->out, len);
}

void cmd_setrange(struct request *rq)
{
    int64_t offset;
    const struct ks_key key = req_key(rq, 1);
    if (!req_i64(rq, 2, &offset))
        return;
    if (offset < 0) {
        reply_err_offset_range(rq->out);
        return;
    }
    struct obj *obj = req_get(rq, &key);
    if (!req_type_ok(rq, obj, VT_STRING))
        return;
    if (rq->argv[3].len == 0)
        reply_u64(rq->out, obj == NULL ? 0 : req_string_len(rq, obj));
    else if (patch(rq, &key, (uint64_t)offset, rq->argv[3]))
        req_string_form(rq, &key, BLK_RAW);
}

/* --- counters --- */

static void incr_generic(struct request *rq, int64_t delta)
{
    int64_t value;
    const struct ks_key key = req_key(rq, 1);
    if (!req_type_ok(rq, req_get(rq, &key), VT_STRING))
        return;
    const int err = mut_incr(rq->mut, &key, delta, &value);
    if (err == 0)
        reply_i64(rq->out, value);
    else if (err == -ERR_RANGE)
        reply_err_overflow(rq->out);
    else
        reply_err_not_integer(rq->out);
}

void cmd_incr(struct request *rq)
{
    incr_generic(rq, 1);
}

void cmd_decr(struct request *rq)
{
    incr_generic(rq, -1);
}

void cmd_incrby(struct request *rq)
{
    int64_t delta;
    if (req_i64(rq, 2, &delta))
        incr_generic(rq, delta);
}

void cmd_decrby(struct request *rq)
{
    int64_t delta;
    if (!req_i64(rq, 2, &delta))
        return;
    if (delta == INT64_MIN)
        reply_error(rq->out, "ERR decrement would overflow");
    else
        incr_generic(rq, -delta);
}

void cmd_incrbyfloat(struct request *rq)
{
    long double delta, value;
    char text[REQ_TEXT_BYTES];
    const struct ks_key key = req_key(rq, 1);
    if (!req_type_ok(rq, req_get(rq, &key), VT_STRING))
        return;
    if (!num_parse_ldouble(rq->argv[2], &delta)) {
        reply_err_not_float(rq->out);
        return;
    }
    const int err = mut_incr_float(rq->mut, &key, delta, &value);
    if (err == 0) {
        req_string_form(rq, &key, BLK_TEXT);
        reply_bulk(rq->out, bytes_of(text, num_print_ldouble(text, value)));
    } else if (err == -ERR_RANGE) {
        reply_err_nan_inf(rq->out);
    } else {
        reply_err_not_float(rq->out);
    }
}

void cmd_substr(struct request *rq)
{
    cmd_getrange(rq);
}
