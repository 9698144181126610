/*
 * The commands that wait for an element: BLPOP and relatives of lists and sorted sets.
 *
 * Each looks for an element first, as its relative that does not block; only if there is none it
 * waits (unblock.h). It then runs again from the start.
 */
#include "engine/base/check.h"

#include "engine/space/coll.h"
#include "engine/space/obj.h"

#include "server/conn.h"
#include "server/handlers.h"
#include "server/listcmd.h"
#include "server/req_range.h"
#include "server/unblock.h"
#include "server/zset.h"

/*
 * The first collection of the wanted type among the keys that the command is to look at. NULL with
 * *ok true: there is none; false: the error was replied.
 */
static struct coll *first_coll(struct request *rq, const struct unblock_wish *wish,
                               struct ks_key *out_key, bool *ok)
{
    *ok = true;
    for (uint32_t i = wish->first; i < wish->end; i++) {
        *out_key = req_key(rq, i);
        if (!unblock_looks_at(rq, out_key, wish->type))
            continue;
        struct coll *coll =
            wish->type == VT_LIST ? listcmd_get(rq, out_key, ok) : zset_get(rq, out_key, ok);
        if (!*ok || coll != NULL)
            return coll;
    }
    return NULL;
}

/* As first_coll. NULL: the command waits for one, or the error was replied. */
static struct coll *ready_coll(struct request *rq, const struct unblock_wish *wish,
                               struct ks_key *out_key)
{
    bool ok;
    struct coll *coll = first_coll(rq, wish, out_key, &ok);

    if (ok && coll == NULL)
        unblock_wait(rq, wish);
    return ok ? coll : NULL;
}

/* --- lists --- */

static void pop_list(struct request *rq, bool front)
{
    struct ks_key key;
    struct unblock_wish wish = {.type = VT_LIST, .first = 1, .end = rq->argc - 1};

    if (unblock_ended(rq) || !unblock_timeout(rq, rq->argc - 1, &wish.wait_ms))
        return;
    struct coll *coll = ready_coll(rq, &wish, &key);
    if (coll == NULL)
        return;
    reply_array(rq->out, 2);
    reply_bulk(rq->out, key.name);
    listcmd_pop_one(rq, coll, front);
}

void cmd_blpop(struct request *rq)
{
    pop_list(rq, true);
}

void cmd_brpop(struct request *rq)
{
    pop_list(rq, false);
}

/* BLMPOP timeout numkeys key .. LEFT | RIGHT [COUNT count] */
void cmd_blmpop(struct request *rq)
{
    bool front;
    int64_t keys, count;
    struct ks_key key;
    struct unblock_wish wish = {.type = VT_LIST, .first = 3};

    if (unblock_ended(rq))
        return;
    if (!req_i64_min(rq, 2, 1, "numkeys should be greater than 0", &keys))
        return;
    if (keys > rq->argc - 4) {
        reply_err_syntax(rq->out);
        return;
    }
    wish.end = (uint32_t)keys + 3;
    if (!listcmd_end(rq, wish.end, &front) || !listcmd_count(rq, wish.end + 1, &count) ||
        !unblock_timeout(rq, 1, &wish.wait_ms))
        return;
    struct coll *coll = ready_coll(rq, &wish, &key);
    if (coll == NULL)
        return;
    if (!listcmd_room_for_pop(rq, &key, coll, (uint64_t)count))
        return;
    reply_array(rq->out, 2);
    reply_bulk(rq->out, key.name);
    listcmd_pop_many(rq, &key, coll, (uint64_t)count, front);
}

/* Source and destination are arguments 1 and 2. */
static void move(struct request *rq, uint32_t timeout_at, bool from_front, bool to_front)
{
    bool ok;
    struct ks_key key;
    struct unblock_wish wish = {.type = VT_LIST, .first = 1, .end = 2};

    if (!unblock_timeout(rq, timeout_at, &wish.wait_ms))
        return;
    struct coll *from = first_coll(rq, &wish, &key, &ok);
    if (!ok)
        return;
    if (from != NULL)
        listcmd_move(rq, from, from_front, to_front);
    else if (rq->nested)
        reply_null(rq->out);
    else
        unblock_wait(rq, &wish);
}

/* BLMOVE source destination LEFT | RIGHT LEFT | RIGHT timeout */
void cmd_blmove(struct request *rq)
{
    bool from_front, to_front;

    if (!unblock_ended(rq) && listcmd_end(rq, 3, &from_front) && listcmd_end(rq, 4, &to_front))
        move(rq, 5, from_front, to_front);
}

void cmd_brpoplpush(struct request *rq)
{
    if (!unblock_ended(rq))
        move(rq, 3, false, true);
}

/* --- sorted sets --- */

static void pop_zset(struct request *rq, bool max)
{
    struct ks_key key;
    struct zorder_pos pos;
    struct unblock_wish wish = {.type = VT_ZSET, .first = 1, .end = rq->argc - 1};

    if (unblock_ended(rq) || !unblock_timeout(rq, rq->argc - 1, &wish.wait_ms))
        return;
    struct coll *coll = ready_coll(rq, &wish, &key);
    if (coll == NULL)
        return;
    CHECK(max ? zorder_last(&coll->order, &pos) : zorder_first(&coll->order, &pos));
    reply_array(rq->out, 3);
    reply_bulk(rq->out, key.name);
    zset_reply(rq->out, elem_sub(pos.elem), pos.score, true, false);
    (void)mut_elem_del(rq->mut, coll, elem_sub(pos.elem));
}

void cmd_bzpopmin(struct request *rq)
{
    pop_zset(rq, false);
}

void cmd_bzpopmax(struct request *rq)
{
    pop_zset(rq, true);
}

/* BZMPOP timeout numkeys key .. MIN | MAX [COUNT count] */
void cmd_bzmpop(struct request *rq)
{
    int64_t keys, count;
    struct ks_key key;
    struct unblock_wish wish = {.type = VT_ZSET, .first = 3};

    if (unblock_ended(rq))
        return;
    if (!req_i64_min(rq, 2, 1, "numkeys should be greater than 0", &keys))
        return;
    wish.end = keys >= rq->argc ? rq->argc : (uint32_t)keys + 3;
    if (wish.end >= rq->argc || (!req_is(rq, wish.end, "MIN") && !req_is(rq, wish.end, "MAX"))) {
        reply_err_syntax(rq->out);
        return;
    }
    const bool max = req_is(rq, wish.end, "MAX");
    if (!zset_pop_count(rq, wish.end + 1, &count) || !unblock_timeout(rq, 1, &wish.wait_ms))
        return;
    struct coll *coll = ready_coll(rq, &wish, &key);
    if (coll == NULL)
        return;
    zset_mpop(rq, &key, coll, (uint64_t)count, max);
}
