/* Hashes: the handlers of the hash group. */
#include <math.h>

#include "engine/base/mem.h"

#include "server/collpick.h"
#include "server/collscan.h"
#include "server/draw.h"
#include "server/encoding.h"
#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/stream.h"

/* The hash at `key`, NULL if it is absent; false after WRONGTYPE. */
static bool hash_find(struct request *rq, const struct ks_key *key, struct coll **out)
{
    struct obj *obj = req_get(rq, key);

    *out = NULL;
    if (!req_type_ok(rq, obj, VT_HASH))
        return false;
    if (obj != NULL)
        *out = obj_coll(obj);
    return true;
}

static struct elem *field_find(const struct coll *hash, struct bytes field)
{
    return hash == NULL ? NULL : coll_find(hash, field);
}

static struct bytes field_value(const struct request *rq, const struct elem *elem,
                                char text[REQ_TEXT_BYTES])
{
    struct row_view view;

    /* Rows are checked when they are installed. */
    CHECK(row_view(elem_row(elem), rq->now_ms, &view) == 0);
    return row_text(&view, text);
}

static void reply_field(struct request *rq, const struct elem *elem)
{
    reply_bulk(rq->out, elem_sub(elem));
}

static void reply_value(struct request *rq, const struct elem *elem)
{
    char text[REQ_TEXT_BYTES];

    if (elem == NULL)
        reply_null(rq->out);
    else
        reply_bulk(rq->out, field_value(rq, elem, text));
}

static void reply_pair(struct request *rq, const struct elem *elem)
{
    reply_field(rq, elem);
    reply_value(rq, elem);
}

/* --- reading --- */

void cmd_hget(struct request *rq)
{
    struct coll *hash;
    const struct ks_key key = req_key(rq, 1);
    if (hash_find(rq, &key, &hash))
        reply_value(rq, field_find(hash, rq->argv[2]));
}

void cmd_hmget(struct request *rq)
{
    struct coll *hash;
    const struct ks_key key = req_key(rq, 1);
    if (!hash_find(rq, &key, &hash))
        return;
    reply_array(rq->out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++)
        reply_value(rq, field_find(hash, rq->argv[i]));
}

void cmd_hlen(struct request *rq)
{
    struct coll *hash;
    const struct ks_key key = req_key(rq, 1);
    if (hash_find(rq, &key, &hash))
        reply_u64(rq->out, hash == NULL ? 0 : hash->count);
}

void cmd_hexists(struct request *rq)
{
    struct coll *hash;
    const struct ks_key key = req_key(rq, 1);
    if (hash_find(rq, &key, &hash))
        reply_i64(rq->out, field_find(hash, rq->argv[2]) != NULL);
}

void cmd_hstrlen(struct request *rq)
{
    struct coll *hash;
    char text[REQ_TEXT_BYTES];
    const struct ks_key key = req_key(rq, 1);
    if (!hash_find(rq, &key, &hash))
        return;
    const struct elem *elem = field_find(hash, rq->argv[2]);
    reply_u64(rq->out, elem == NULL ? 0 : field_value(rq, elem, text).len);
}

/* `head`: reply_map or reply_array. */
static void reply_all(struct request *rq, void (*head)(struct reply *, uint64_t),
                      collscan_emit_fn *emit)
{
    struct coll *hash;
    struct coll_iter it;
    const struct elem *elem;
    const struct ks_key key = req_key(rq, 1);

    if (!hash_find(rq, &key, &hash))
        return;
    if (hash == NULL) {
        head(rq->out, 0);
        return;
    }
    if (unlikely(hash->count > STREAM_WALK_ABOVE) &&
        stream_walk_begin(rq, hash, &(struct stream_walk_range){.n = hash->count}))
        return;
    head(rq->out, hash->count);
    coll_iter_init(hash, &it);
    while ((elem = coll_iter_next(&it)) != NULL)
        emit(rq, elem);
}

void cmd_hgetall(struct request *rq)
{
    reply_all(rq, reply_map, reply_pair);
}

void cmd_hkeys(struct request *rq)
{
    reply_all(rq, reply_array, reply_field);
}

void cmd_hvals(struct request *rq)
{
    reply_all(rq, reply_array, reply_value);
}

void cmd_hscan(struct request *rq)
{
    collscan_run(rq, VT_HASH, 2, reply_pair);
}

/* --- HRANDFIELD --- */

static void rand_head(struct request *rq, uint64_t n, bool values)
{
    reply_array(rq->out, values && rq->out->proto == 2 ? n * 2 : n);
}

static void rand_elem(struct request *rq, const struct elem *elem, bool values)
{
    if (!values) {
        reply_field(rq, elem);
        return;
    }
    if (rq->out->proto > 2)
        reply_array(rq->out, 2);
    reply_pair(rq, elem);
}

/* Different fields. */
static void rand_unique(struct request *rq, const struct coll *hash, uint64_t n, bool values)
{
    struct elem **elems = collpick(hash, &rq->sh->rng, n);

    if (elems == NULL) {
        reply_err_oom(rq->out, "the fields do not fit into memory; use a lower count");
        return;
    }
    rand_head(rq, n, values);
    for (uint64_t i = 0; i < n; i++)
        rand_elem(rq, elems[i], values);
    mem_free(elems);
}

void cmd_hrandfield(struct request *rq)
{
    struct coll *hash;
    int64_t count = 1;
    const bool values = rq->argc == 4;
    const struct ks_key key = req_key(rq, 1);
    if (rq->argc >= 3) {
        if (!req_count(rq, 2, &count))
            return;
        if (rq->argc > 4 || (values && !req_is(rq, 3, "WITHVALUES"))) {
            reply_err_syntax(rq->out);
            return;
        }
        if (values && (count < -(INT64_MAX / 2) || count > INT64_MAX / 2)) {
            reply_err_out_of_range(rq->out);
            return;
        }
    }
    if (!hash_find(rq, &key, &hash))
        return;
    if (rq->argc == 2 && hash == NULL)
        reply_null(rq->out);
    else if (rq->argc == 2)
        reply_field(rq, coll_random(hash, &rq->sh->rng));
    else if (hash == NULL || count == 0)
        reply_array(rq->out, 0);
    else if (count < 0)
        draw_repeated(rq, hash, (uint64_t)-count, values, rand_elem);
    else
        rand_unique(rq, hash, u64_min((uint64_t)count, hash->count), values);
}

/* --- writing --- */

/* No field name is too long, of arguments 2, 2 + step ..; else replies an error. */
static bool fields_ok(struct request *rq, uint32_t step)
{
    for (uint32_t i = 2; i < rq->argc; i += step) {
        if (unlikely(rq->argv[i].len > KS_NAME_BYTES_MAX)) {
            reply_err_key_too_long(rq->out);
            return false;
        }
    }
    return true;
}

/* Sets all pairs; false after an error, else the number of new fields. */
static bool set_fields(struct request *rq, uint64_t *out_created)
{
    struct coll *hash;
    const struct ks_key key = req_key(rq, 1);
    uint64_t created = 0;

    if (rq->argc % 2 != 0) {
        reply_err_arity(rq->out, rq->cmd->name);
        return false;
    }
    if (!hash_find(rq, &key, &hash) || !fields_ok(rq, 2))
        return false;
    if (hash == NULL)
        hash = mut_coll(rq->mut, &key, VT_HASH);
    for (uint32_t i = 2; i < rq->argc; i += 2)
        created += mut_elem_set(rq->mut, hash, rq->argv[i], rq->argv[i + 1]);
    *out_created = created;
    return true;
}

void cmd_hset(struct request *rq)
{
    uint64_t created;
    if (set_fields(rq, &created))
        reply_u64(rq->out, created);
}

void cmd_hmset(struct request *rq)
{
    uint64_t created;
    if (set_fields(rq, &created))
        reply_ok(rq->out);
}

void cmd_hsetnx(struct request *rq)
{
    struct coll *hash;
    const struct ks_key key = req_key(rq, 1);
    if (!hash_find(rq, &key, &hash) || !fields_ok(rq, 2))
        return;
    const bool absent = field_find(hash, rq->argv[2]) == NULL;
    if (absent) {
        hash = mut_coll(rq->mut, &key, VT_HASH);
        (void)mut_elem_set(rq->mut, hash, rq->argv[2], rq->argv[3]);
    }
    reply_i64(rq->out, absent);
}

void cmd_hdel(struct request *rq)
{
    struct coll *hash;
    uint64_t removed = 0;
    const struct ks_key key = req_key(rq, 1);
    if (!hash_find(rq, &key, &hash))
        return;
    for (uint32_t i = 2; i < rq->argc && hash != NULL; i++) {
        const struct elem *elem = coll_find(hash, rq->argv[i]);
        if (elem == NULL)
            continue;
        removed++;
        encoding_keep(rq, hash, elem);
        if (!mut_elem_del(rq->mut, hash, rq->argv[i]))
            hash = NULL;
    }
    reply_u64(rq->out, removed);
}

/* --- counters --- */

void cmd_hincrby(struct request *rq)
{
    struct coll *hash;
    int64_t delta, value;
    const struct ks_key key = req_key(rq, 1);
    if (!req_i64(rq, 3, &delta) || !hash_find(rq, &key, &hash) || !fields_ok(rq, 2))
        return;
    /* An absent field takes any number: no error leaves a new hash empty. */
    if (hash == NULL)
        hash = mut_coll(rq->mut, &key, VT_HASH);
    const int err = mut_elem_incr(rq->mut, hash, rq->argv[2], delta, &value);
    if (err == 0)
        reply_i64(rq->out, value);
    else if (err == -ERR_RANGE)
        reply_err_overflow(rq->out);
    else
        reply_err_hash_integer(rq->out);
}

void cmd_hincrbyfloat(struct request *rq)
{
    struct coll *hash;
    long double delta, value;
    char text[REQ_TEXT_BYTES];
    const struct ks_key key = req_key(rq, 1);
    if (!num_parse_ldouble(rq->argv[3], &delta)) {
        reply_err_not_float(rq->out);
        return;
    }
    if (!isfinite(delta)) {
        reply_error(rq->out, "ERR value is NaN or Infinity");
        return;
    }
    if (!hash_find(rq, &key, &hash) || !fields_ok(rq, 2))
        return;
    if (hash == NULL)
        hash = mut_coll(rq->mut, &key, VT_HASH);
    const int err = mut_elem_incr_float(rq->mut, hash, rq->argv[2], delta, &value);
    if (err == 0)
        reply_bulk(rq->out, bytes_of(text, num_print_ldouble(text, value)));
    else if (err == -ERR_RANGE)
        reply_err_nan_inf(rq->out);
    else
        reply_err_hash_float(rq->out);
}
