/* Sets: the handlers of the set group, but for those of several sets (cmd_set_algebra.c). */
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/space/coll.h"
#include "engine/space/collstream.h"

#include "server/collpick.h"
#include "server/collscan.h"
#include "server/draw.h"
#include "server/encoding.h"
#include "server/handlers.h"
#include "server/popahead.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/stream.h"

/* The set at `key`, NULL if it is absent; false after WRONGTYPE. */
static bool set_find(struct request *rq, const struct ks_key *key, struct coll **out)
{
    struct obj *obj = req_get(rq, key);

    *out = NULL;
    if (!req_type_ok(rq, obj, VT_SET))
        return false;
    if (obj != NULL)
        *out = obj_coll(obj);
    return true;
}

static bool has_member(const struct coll *set, struct bytes member)
{
    return set != NULL && coll_find(set, member) != NULL;
}

static void reply_member(struct request *rq, const struct elem *elem)
{
    reply_bulk(rq->out, elem_sub(elem));
}

/* --- reading --- */

void cmd_sismember(struct request *rq)
{
    struct coll *set;
    const struct ks_key key = req_key(rq, 1);
    if (set_find(rq, &key, &set))
        reply_i64(rq->out, has_member(set, rq->argv[2]));
}

void cmd_smismember(struct request *rq)
{
    struct coll *set;
    const struct ks_key key = req_key(rq, 1);
    if (!set_find(rq, &key, &set))
        return;
    reply_array(rq->out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++)
        reply_i64(rq->out, has_member(set, rq->argv[i]));
}

void cmd_scard(struct request *rq)
{
    struct coll *set;
    const struct ks_key key = req_key(rq, 1);
    if (set_find(rq, &key, &set))
        reply_u64(rq->out, set == NULL ? 0 : set->count);
}

/* All members, as a RESP3 set. */
static void reply_set_whole(struct request *rq, const struct coll *set)
{
    struct coll_iter it;
    const struct elem *elem;

    reply_set(rq->out, set->count);
    coll_iter_init(set, &it);
    while ((elem = coll_iter_next(&it)) != NULL)
        reply_member(rq, elem);
}

void cmd_smembers(struct request *rq)
{
    struct coll *set;
    const struct ks_key key = req_key(rq, 1);
    if (!set_find(rq, &key, &set))
        return;
    if (set == NULL)
        reply_set(rq->out, 0);
    else if (set->count <= STREAM_WALK_ABOVE ||
             !stream_walk_begin(rq, set, &(struct stream_walk_range){.n = set->count}))
        reply_set_whole(rq, set);
}

void cmd_sscan(struct request *rq)
{
    collscan_run(rq, VT_SET, 1, reply_member);
}

/* --- random members --- */

/* Different members; NULL after an error reply. */
static struct elem **pick(struct request *rq, const struct coll *set, uint64_t n)
{
    struct elem **elems = collpick(set, &rq->sh->rng, n);

    if (elems == NULL)
        reply_err_oom(rq->out, "the members do not fit into memory; use a lower count");
    return elems;
}

static void rand_unique(struct request *rq, const struct coll *set, uint64_t n)
{
    struct elem **elems = pick(rq, set, n);

    if (elems == NULL)
        return;
    reply_array(rq->out, n);
    for (uint64_t i = 0; i < n; i++)
        reply_member(rq, elems[i]);
    mem_free(elems);
}

static void reply_drawn(struct request *rq, const struct elem *elem, bool pairs)
{
    (void)pairs;
    reply_member(rq, elem);
}

void cmd_srandmember(struct request *rq)
{
    struct coll *set;
    int64_t count = 1;
    const struct ks_key key = req_key(rq, 1);
    if (rq->argc > 3) {
        reply_err_syntax(rq->out);
        return;
    }
    if (rq->argc == 3 && !req_count(rq, 2, &count))
        return;
    if (!set_find(rq, &key, &set))
        return;
    if (rq->argc == 2 && set == NULL)
        reply_null(rq->out);
    else if (rq->argc == 2)
        reply_member(rq, coll_random(set, &rq->sh->rng));
    else if (set == NULL || count == 0)
        reply_array(rq->out, 0);
    else if (count < 0)
        draw_repeated(rq, set, (uint64_t)-count, false, reply_drawn);
    else
        rand_unique(rq, set, u64_min((uint64_t)count, set->count));
}

static void pop_one(struct request *rq, struct coll *set)
{
    const struct elem *elem = coll_random(set, &rq->sh->rng);

    reply_member(rq, elem);
    (void)mut_elem_del(rq->mut, set, elem_sub(elem));
}

/* Fewer than all, so that the set stays. */
static void pop_some(struct request *rq, struct coll *set, uint64_t n)
{
    size_t bytes = 0;
    struct elem **elems = pick(rq, set, n);

    if (elems == NULL)
        return;
    for (uint64_t i = 0; i < n; i++)
        bytes += elem_sub(elems[i]).len;
    if (req_log_room(rq, n, bytes)) {
        reply_set(rq->out, n);
        for (uint64_t i = 0; i < n; i++) {
            reply_member(rq, elems[i]);
            /* Removes this block alone. */
            (void)mut_elem_del(rq->mut, set, elem_sub(elems[i]));
        }
    }
    mem_free(elems);
}

static bool refuse_differing(struct request *rq)
{
    reply_error(rq->out, "ERR members of this set on flash are not those that it has in DRAM; run "
                         "tierra-inspect verify");
    return false;
}

/* Makes a member that was read on flash resident; false after an error. */
static bool bring(struct request *rq, struct coll *set, struct bytes member, struct bytes row)
{
    ks_stream_install(rq->ks, set, member, row);
    return coll_find(set, member) != NULL || refuse_differing(rq);
}

/* The first `n` that were read; and what they log, roughly. */
static bool bring_drawn(struct request *rq, struct coll *set, struct ks_stream *rows, uint64_t n,
                        size_t *bytes)
{
    struct ks_stream_elem elem;

    *bytes = 0;
    ks_stream_show_again(rows);
    for (uint64_t i = 0; i < n; i++) {
        if (!ks_stream_next(rows, &elem))
            return refuse_differing(rq);
        if (!bring(rq, set, elem.sub, elem.row))
            return false;
        *bytes += elem.sub.len;
    }
    ks_stream_show_again(rows);
    return true;
}

/* Of a set that is too large to be loaded; those that go were drawn on flash (stream_random.c). */
static void pop_drawn(struct request *rq, struct coll *set, uint64_t n)
{
    const struct ks_key key = req_key(rq, 1);
    struct ks_stream *rows = stream_result(rq->conn);
    struct ks_stream_elem elem;
    size_t bytes;

    n = u64_min(n, set->count);
    if (!bring_drawn(rq, set, rows, n, &bytes))
        return;
    const bool whole = n == set->count;
    if (!whole && !req_log_room(rq, n, bytes))
        return;
    if (rq->argc == 3)
        reply_set(rq->out, n);
    for (; n != 0 && ks_stream_next(rows, &elem); n--) {
        reply_bulk(rq->out, elem.sub);
        if (!whole)
            (void)mut_elem_del(rq->mut, set, elem.sub);
    }
    if (whole)
        mut_del(rq->mut, &key);
    else
        pop_ahead_keep(&rq->sh->pop_ahead, set, rows);
}

/* Those that were drawn before for this: the dispatcher has seen that there are enough. */
static void pop_ahead(struct request *rq, struct coll *set, uint64_t n)
{
    struct pop_ahead *ahead = &rq->sh->pop_ahead;
    struct bytes member[POP_AHEAD_MAX], row;

    CHECK(n <= POP_AHEAD_MAX && n < set->count);
    for (uint64_t i = 0; i < n; i++) {
        pop_ahead_take(ahead, &member[i], &row);
        if (!bring(rq, set, member[i], row))
            return;
    }
    if (rq->argc == 3)
        reply_set(rq->out, n);
    for (uint64_t i = 0; i < n; i++) {
        reply_bulk(rq->out, member[i]);
        (void)mut_elem_del(rq->mut, set, member[i]);
    }
    pop_ahead_popped(ahead, set);
}

/* True if the set is one of which members are read as they are popped. */
static bool pop_on_flash(struct request *rq, struct coll *set, uint64_t n)
{
    if (likely(set == NULL || set->complete || n == 0))
        return false;
    if (stream_result(rq->conn) != NULL)
        pop_drawn(rq, set, n);
    else if (pop_ahead_has(&rq->sh->pop_ahead, set, n))
        pop_ahead(rq, set, n);
    else
        return false;
    return true;
}

void cmd_spop(struct request *rq)
{
    struct coll *set;
    int64_t count = 0;
    const struct ks_key key = req_key(rq, 1);
    if (rq->argc > 3) {
        reply_err_syntax(rq->out);
        return;
    }
    if (rq->argc == 3 && (!num_parse_i64(rq->argv[2], &count) || count < 0)) {
        reply_err_not_positive(rq->out);
        return;
    }
    if (!set_find(rq, &key, &set))
        return;
    if (pop_on_flash(rq, set, rq->argc == 2 ? 1 : (uint64_t)count))
        return;
    if (rq->argc == 2 && set == NULL) {
        reply_null(rq->out);
    } else if (rq->argc == 2) {
        pop_one(rq, set);
    } else if (set == NULL || count == 0) {
        reply_set(rq->out, 0);
    } else if ((uint64_t)count >= set->count) {
        reply_set_whole(rq, set);
        mut_del(rq->mut, &key);
    } else {
        pop_some(rq, set, (uint64_t)count);
    }
}

/* --- writing --- */

void cmd_sadd(struct request *rq)
{
    struct coll *set;
    uint64_t created = 0;
    const struct ks_key key = req_key(rq, 1);
    if (!set_find(rq, &key, &set))
        return;
    for (uint32_t i = 2; i < rq->argc; i++) {
        if (unlikely(rq->argv[i].len > KS_NAME_BYTES_MAX)) {
            reply_err_key_too_long(rq->out);
            return;
        }
    }
    if (set == NULL)
        set = mut_coll(rq->mut, &key, VT_SET);
    for (uint32_t i = 2; i < rq->argc; i++)
        created += mut_elem_set(rq->mut, set, rq->argv[i], bytes_of(NULL, 0));
    reply_u64(rq->out, created);
}

void cmd_srem(struct request *rq)
{
    struct coll *set;
    uint64_t removed = 0;
    const struct ks_key key = req_key(rq, 1);
    if (!set_find(rq, &key, &set))
        return;
    for (uint32_t i = 2; i < rq->argc && set != NULL; i++) {
        const struct elem *elem = coll_find(set, rq->argv[i]);
        if (elem == NULL)
            continue;
        removed++;
        encoding_keep(rq, set, elem);
        if (!mut_elem_del(rq->mut, set, rq->argv[i]))
            set = NULL;
    }
    reply_u64(rq->out, removed);
}

void cmd_smove(struct request *rq)
{
    struct coll *source, *target;
    const struct ks_key from = req_key(rq, 1);
    const struct ks_key to = req_key(rq, 2);
    const struct bytes member = rq->argv[3];
    /* A source that is absent ends it, whatever the destination is. */
    if (req_get(rq, &from) == NULL) {
        reply_i64(rq->out, 0);
        return;
    }
    if (!set_find(rq, &from, &source) || !set_find(rq, &to, &target))
        return;
    const struct elem *elem = coll_find(source, member);
    const bool found = elem != NULL;
    if (found && source != target) {
        encoding_keep(rq, source, elem);
        (void)mut_elem_del(rq->mut, source, member);
        if (target == NULL)
            target = mut_coll(rq->mut, &to, VT_SET);
        (void)mut_elem_set(rq->mut, target, member, bytes_of(NULL, 0));
    }
    reply_i64(rq->out, found);
}
