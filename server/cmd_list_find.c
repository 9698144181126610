/* LREM, LINSERT and LPOS, which look for a value from an end of the list. */
#include "engine/base/buf.h"
#include "engine/base/le.h"

#include "engine/space/listq.h"

#include "server/handlers.h"
#include "server/listcmd.h"
#include "server/req_range.h"
#include "server/request.h"

/* --- LREM --- */

struct found {
    struct buf positions; /* Length (2) and bytes of each. */
    uint64_t count;
};

/* The positions of up to `max` elements equal to `value`, from either end. */
static int find_equal(struct request *rq, const struct coll *coll, struct bytes value, uint64_t max,
                      bool backward, struct found *out)
{
    char text[ROW_TEXT_BYTES];
    uint8_t room[LISTQ_POSITION_BYTES_MAX];
    uint8_t head[2];
    struct listq_at at;
    int err = 0;

    if (backward)
        listq_last(&coll->seq, &at);
    else
        listq_first(&coll->seq, &at);
    while (listq_valid(&at) && out->count < max && err == 0) {
        if (bytes_eq(listcmd_value_at(rq, &at, text), value)) {
            const struct bytes pos = listq_position(&at, room);
            le16_store(head, (uint16_t)pos.len);
            err = buf_append(&out->positions, head, sizeof(head));
            if (err == 0)
                err = buf_append_bytes(&out->positions, pos);
            out->count++;
        }
        if (backward)
            listq_prev(&coll->seq, &at);
        else
            listq_next(&coll->seq, &at);
    }
    return err;
}

static void remove_found(struct request *rq, struct coll *coll, struct bytes found)
{
    struct listq_at at;
    struct bytes head, pos;

    while (bytes_take(&found, 2, &head) && bytes_take(&found, le16_load(head.ptr), &pos)) {
        CHECK(listq_find(&coll->seq, pos, &at));
        if (!mut_list_remove(rq->mut, coll, &at))
            return;
    }
}

/* LREM key count value: count > 0 from the front, < 0 from the back, 0 all. */
void cmd_lrem(struct request *rq)
{
    bool ok;
    int64_t count;
    struct found found = {0};
    const struct ks_key key = req_key(rq, 1);

    if (!req_i64(rq, 2, &count))
        return;
    struct coll *coll = listcmd_get(rq, &key, &ok);
    if (!ok)
        return;
    if (coll == NULL) {
        reply_i64(rq->out, 0);
        return;
    }
    buf_init(&found.positions, SIZE_MAX / 2);
    const bool all = count == 0 || count == INT64_MIN;
    const uint64_t max = all ? UINT64_MAX : (uint64_t)(count < 0 ? -count : count);
    if (find_equal(rq, coll, rq->argv[3], max, count < 0, &found) != 0) {
        reply_err_oom(rq->out, "the places of the elements do not fit into memory");
    } else if (found.count > 1 && found.count == coll->count) {
        mut_del(rq->mut, &key);
        reply_u64(rq->out, found.count);
    } else if (listcmd_room_for(rq, &key, found.count,
                                found.count <= 4 ? 0 : found.positions.len)) {
        remove_found(rq, coll, buf_bytes(&found.positions));
        reply_u64(rq->out, found.count);
    }
    buf_deinit(&found.positions);
}

/* --- LINSERT --- */

/* The first element equal to `value`. */
static bool find_first(const struct request *rq, const struct coll *coll, struct bytes value,
                       struct listq_at *at)
{
    char text[ROW_TEXT_BYTES];

    for (listq_first(&coll->seq, at); listq_valid(at); listq_next(&coll->seq, at)) {
        if (bytes_eq(listcmd_value_at(rq, at, text), value))
            return true;
    }
    return false;
}

/* The list anew, with fresh positions, and the new element before index `place`. */
static void insert_anew(struct request *rq, const struct ks_key *key, struct coll *coll,
                        uint64_t place, struct bytes value)
{
    struct buf all;
    const uint64_t n = coll->count + 1;

    buf_init(&all, SIZE_MAX / 2);
    if (listcmd_copy_values(rq, coll, 0, coll->count, &all) != 0) {
        reply_err_oom(rq->out, "the list does not fit into memory twice");
    } else if (listcmd_room_for(rq, key, n, all.len + value.len)) {
        listcmd_anew(rq, key, coll, buf_bytes(&all), &value, place);
        reply_u64(rq->out, n);
    }
    buf_deinit(&all);
}

/* LINSERT key BEFORE | AFTER pivot value */
void cmd_linsert(struct request *rq)
{
    bool ok;
    struct listq_at at;
    const struct ks_key key = req_key(rq, 1);
    const bool before = req_is(rq, 2, "BEFORE");

    if (!before && !req_is(rq, 2, "AFTER")) {
        reply_err_syntax(rq->out);
        return;
    }
    struct coll *coll = listcmd_get(rq, &key, &ok);
    if (!ok)
        return;
    if (coll == NULL) {
        reply_i64(rq->out, 0);
        return;
    }
    if (!find_first(rq, coll, rq->argv[3], &at)) {
        reply_i64(rq->out, -1);
        return;
    }
    if (mut_list_insert(rq->mut, coll, &at, before, rq->argv[4]) == 0)
        reply_u64(rq->out, coll->count);
    else
        insert_anew(rq, &key, coll, listq_index(&coll->seq, &at) + !before, rq->argv[4]);
}

/* --- LPOS --- */

struct lpos {
    int64_t rank;
    int64_t count; /* -1: one index, not an array. */
    int64_t max_len;
};

/* False after an error reply. */
static bool lpos_options(struct request *rq, struct lpos *p)
{
    for (uint32_t i = 3; i < rq->argc; i += 2) {
        const bool pair = i + 1 < rq->argc;
        if (pair && req_is(rq, i, "RANK")) {
            if (!req_i64(rq, i + 1, &p->rank))
                return false;
            /* Redis negates it, which leaves it as it is: every match counts. */
            if (p->rank == INT64_MIN)
                p->rank = -1;
            if (p->rank == 0) {
                reply_error(rq->out,
                            "ERR RANK can't be zero: use 1 to start from the first match, 2 from "
                            "the second ... or use negative to start from the end of the list");
                return false;
            }
        } else if (pair && req_is(rq, i, "COUNT")) {
            if (!req_i64_min(rq, i + 1, 0, "COUNT can't be negative", &p->count))
                return false;
        } else if (pair && req_is(rq, i, "MAXLEN")) {
            if (!req_i64_min(rq, i + 1, 0, "MAXLEN can't be negative", &p->max_len))
                return false;
        } else {
            reply_err_syntax(rq->out);
            return false;
        }
    }
    return true;
}

/* Replies the indexes of the matches; returns how many. */
static uint64_t lpos_reply(struct request *rq, const struct coll *coll, const struct lpos *p)
{
    char text[ROW_TEXT_BYTES];
    struct listq_at at;
    const bool backward = p->rank < 0;
    uint64_t skip = (uint64_t)(backward ? -p->rank : p->rank) - 1;
    const uint64_t max = p->count < 0 ? 1 : p->count == 0 ? UINT64_MAX : (uint64_t)p->count;
    const uint64_t len = p->max_len == 0 ? coll->count : u64_min((uint64_t)p->max_len, coll->count);
    uint64_t found = 0;

    if (backward)
        listq_last(&coll->seq, &at);
    else
        listq_first(&coll->seq, &at);
    for (uint64_t i = 0; i < len && found < max; i++) {
        if (bytes_eq(listcmd_value_at(rq, &at, text), rq->argv[2])) {
            if (skip == 0) {
                reply_u64(rq->out, backward ? coll->count - i - 1 : i);
                found++;
            } else {
                skip--;
            }
        }
        if (backward)
            listq_prev(&coll->seq, &at);
        else
            listq_next(&coll->seq, &at);
    }
    return found;
}

/* LPOS key value [RANK rank] [COUNT count] [MAXLEN len] */
void cmd_lpos(struct request *rq)
{
    bool ok;
    struct lpos p = {.rank = 1, .count = -1};
    const struct ks_key key = req_key(rq, 1);

    if (!lpos_options(rq, &p))
        return;
    const struct coll *coll = listcmd_get(rq, &key, &ok);
    if (!ok)
        return;
    if (p.count < 0) {
        if (coll == NULL || lpos_reply(rq, coll, &p) == 0)
            reply_null(rq->out);
    } else if (coll == NULL) {
        reply_array(rq->out, 0);
    } else {
        const struct reply_mark mark = reply_deferred_begin(rq->out, 1);
        const uint64_t found = lpos_reply(rq, coll, &p);
        reply_deferred_array(rq->out, mark, found);
    }
}
