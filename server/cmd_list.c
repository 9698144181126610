/*
 * Lists: the handlers of the list group.
 *
 * Values are read where they stand, in the packed nodes of listq; they are valid until the list
 * changes. Replies are written first, changes come after.
 */
#include <errno.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/space/listq.h"

#include "server/handlers.h"
#include "server/listcmd.h"
#include "server/req_range.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/stream.h"

/* What a position takes in the log, roughly from above. */
#define POSITION_BYTES 64

/* --- shared --- */

/* The list, or NULL if there is none or, with *ok false and the error replied, something else. */
struct coll *listcmd_get(struct request *rq, const struct ks_key *key, bool *ok)
{
    struct obj *obj = req_get(rq, key);

    *ok = req_type_ok(rq, obj, VT_LIST);
    return !*ok || obj == NULL ? NULL : obj_coll(obj);
}

static NOINLINE struct bytes value_general(const struct request *rq, struct bytes row,
                                           char text[ROW_TEXT_BYTES])
{
    struct row_view view;

    /* Rows are checked when they are installed. */
    CHECK(row_view(row, rq->now_ms, &view) == 0);
    return row_text(&view, text);
}

/* The element: a slice of the list, or of `text`. */
static ALWAYS_INLINE struct bytes value_at(const struct request *rq, const struct listq_at *at,
                                           char text[ROW_TEXT_BYTES])
{
    if (likely(at->row.len >= ROW_VALUE_AT && at->row.ptr[0] == ROW_VALUE))
        return bytes_of(at->row.ptr + ROW_VALUE_AT, at->row.len - ROW_VALUE_AT);
    return value_general(rq, at->row, text);
}

static void reply_value(struct request *rq, const struct listq_at *at)
{
    char text[ROW_TEXT_BYTES];

    reply_bulk(rq->out, value_at(rq, at, text));
}

/* `n` > 0 elements from index `start` on, in either direction. */
static void reply_elements(struct request *rq, const struct coll *coll, uint64_t start, uint64_t n,
                           bool backward)
{
    char text[ROW_TEXT_BYTES];
    struct listq_at at;

    reply_array(rq->out, n);
    coll_list_at(coll, start, &at);
    for (;;) {
        CHECK(listq_valid(&at));
        reply_bulk(rq->out, value_at(rq, &at, text));
        if (--n == 0)
            return;
        if (backward)
            listq_prev(&coll->seq, &at);
        else
            listq_next(&coll->seq, &at);
    }
}

/* Index from either end to one from the front; false if there is no such element. */
static bool index_of(const struct coll *coll, int64_t index, uint64_t *out)
{
    const int64_t size = (int64_t)coll->count;

    if (index < 0)
        index += size;
    *out = (uint64_t)index;
    return index >= 0 && index < size;
}

/* Both ends count, negative ones from the end. Returns the number of elements. */
static uint64_t range_of(const struct coll *coll, int64_t start, int64_t end, uint64_t *out_start)
{
    const int64_t size = (int64_t)coll->count;

    start = start < 0 ? i64_max(start + size, 0) : start;
    end = end < 0 ? end + size : i64_min(end, size - 1);
    *out_start = (uint64_t)start;
    return start > end || start >= size ? 0 : (uint64_t)(end - start) + 1;
}

/* Whether the log has room for `n` changes of the key beside their values. */
static bool room_for(struct request *rq, const struct ks_key *key, uint64_t n, size_t bytes)
{
    if (likely(n <= 4 && bytes == 0))
        return true;
    return req_log_room(rq, n, bytes + n * (POSITION_BYTES + key->name.len));
}

/* Removes `n` elements at an end; the list goes with its last one. */
static void drop_end(struct request *rq, const struct ks_key *key, struct coll *coll, uint64_t n,
                     bool front)
{
    if (n > 1 && n == coll->count) {
        mut_del(rq->mut, key);
        return;
    }
    for (uint64_t i = 0; i < n; i++) {
        if (!mut_list_pop(rq->mut, coll, front))
            return;
    }
}

/* --- LPUSH and relatives --- */

static void push_generic(struct request *rq, bool front, bool only_existing)
{
    bool ok;
    const struct ks_key key = req_key(rq, 1);
    struct coll *coll = listcmd_get(rq, &key, &ok);

    if (!ok)
        return;
    if (coll == NULL) {
        if (only_existing) {
            reply_i64(rq->out, 0);
            return;
        }
        coll = mut_coll(rq->mut, &key, VT_LIST);
    }
    for (uint32_t i = 2; i < rq->argc; i++)
        mut_list_push(rq->mut, coll, rq->argv[i], front);
    reply_u64(rq->out, coll->count);
}

void cmd_lpush(struct request *rq)
{
    push_generic(rq, true, false);
}

void cmd_rpush(struct request *rq)
{
    push_generic(rq, false, false);
}

void cmd_lpushx(struct request *rq)
{
    push_generic(rq, true, true);
}

void cmd_rpushx(struct request *rq)
{
    push_generic(rq, false, true);
}

/* --- LPOP, RPOP, LMPOP --- */

/* One element, as a bulk string. */
void listcmd_pop_one(struct request *rq, struct coll *coll, bool front)
{
    struct listq_at at;

    if (front)
        listq_first(&coll->seq, &at);
    else
        listq_last(&coll->seq, &at);
    reply_value(rq, &at);
    (void)mut_list_pop(rq->mut, coll, front);
}

/* Up to `count` > 0 elements, as an array; there is room for it in the log. */
void listcmd_pop_many(struct request *rq, const struct ks_key *key, struct coll *coll,
                      uint64_t count, bool front)
{
    const uint64_t n = u64_min(count, coll->count);

    reply_elements(rq, coll, front ? 0 : coll->count - 1, n, !front);
    drop_end(rq, key, coll, n, front);
}

bool listcmd_room_for_pop(struct request *rq, const struct ks_key *key, const struct coll *coll,
                          uint64_t count)
{
    return count >= coll->count || room_for(rq, key, count, 0);
}

static void pop_generic(struct request *rq, bool front)
{
    bool ok;
    int64_t count = -1;

    if (rq->argc > 3) {
        reply_err_arity(rq->out, rq->cmd->name);
        return;
    }
    if (rq->argc == 3 && !req_i64_positive(rq, 2, &count))
        return;
    const struct ks_key key = req_key(rq, 1);
    struct coll *coll = listcmd_get(rq, &key, &ok);
    if (!ok)
        return;
    if (coll == NULL && count < 0)
        reply_null(rq->out);
    else if (coll == NULL)
        reply_null_array(rq->out);
    else if (count < 0)
        listcmd_pop_one(rq, coll, front);
    else if (count == 0)
        reply_array(rq->out, 0);
    else if (listcmd_room_for_pop(rq, &key, coll, (uint64_t)count))
        listcmd_pop_many(rq, &key, coll, (uint64_t)count, front);
}

void cmd_lpop(struct request *rq)
{
    pop_generic(rq, true);
}

void cmd_rpop(struct request *rq)
{
    pop_generic(rq, false);
}

/* LEFT or RIGHT; false after an error reply. */
bool listcmd_end(struct request *rq, uint32_t index, bool *out_front)
{
    *out_front = req_is(rq, index, "LEFT");
    if (*out_front || req_is(rq, index, "RIGHT"))
        return true;
    reply_err_syntax(rq->out);
    return false;
}

/* COUNT behind LEFT or RIGHT; false after an error reply. */
bool listcmd_count(struct request *rq, uint32_t at, int64_t *out)
{
    *out = 1;
    if (at == rq->argc)
        return true;
    if (req_is(rq, at, "COUNT") && at + 1 < rq->argc) {
        if (!req_i64_min(rq, at + 1, 1, "count should be greater than 0", out))
            return false;
        if (at + 2 == rq->argc)
            return true;
    }
    reply_err_syntax(rq->out);
    return false;
}

/* LMPOP numkeys key .. LEFT | RIGHT [COUNT count] */
void cmd_lmpop(struct request *rq)
{
    bool ok, front;
    int64_t keys, count;

    if (!req_i64_min(rq, 1, 1, "numkeys should be greater than 0", &keys))
        return;
    if (keys > rq->argc - 3) {
        reply_err_syntax(rq->out);
        return;
    }
    const uint32_t where = (uint32_t)keys + 2;
    if (!listcmd_end(rq, where, &front) || !listcmd_count(rq, where + 1, &count))
        return;
    for (uint32_t i = 2; i < where; i++) {
        const struct ks_key key = req_key(rq, i);
        struct coll *coll = listcmd_get(rq, &key, &ok);
        if (!ok)
            return;
        if (coll == NULL)
            continue;
        if (!listcmd_room_for_pop(rq, &key, coll, (uint64_t)count))
            return;
        reply_array(rq->out, 2);
        reply_bulk(rq->out, key.name);
        listcmd_pop_many(rq, &key, coll, (uint64_t)count, front);
        return;
    }
    reply_null_array(rq->out);
}

/* --- LLEN, LRANGE, LINDEX --- */

void cmd_llen(struct request *rq)
{
    bool ok;
    const struct ks_key key = req_key(rq, 1);
    const struct coll *coll = listcmd_get(rq, &key, &ok);

    if (ok)
        reply_u64(rq->out, coll == NULL ? 0 : coll->count);
}

void cmd_lrange(struct request *rq)
{
    bool ok;
    int64_t start, end;
    uint64_t from = 0;
    const struct ks_key key = req_key(rq, 1);

    if (!req_i64(rq, 2, &start) || !req_i64(rq, 3, &end))
        return;
    struct coll *coll = listcmd_get(rq, &key, &ok);
    if (!ok)
        return;
    const uint64_t n = coll == NULL ? 0 : range_of(coll, start, end, &from);
    if (n == 0)
        reply_array(rq->out, 0);
    else if (n <= STREAM_WALK_ABOVE ||
             !stream_walk_begin(rq, coll, &(struct stream_walk_range){.n = n, .skip = from}))
        reply_elements(rq, coll, from, n, false);
}

void cmd_lindex(struct request *rq)
{
    bool ok;
    int64_t index;
    uint64_t i;
    struct listq_at at;
    const struct ks_key key = req_key(rq, 1);
    const struct coll *coll = listcmd_get(rq, &key, &ok);

    if (!ok)
        return;
    if (coll == NULL) {
        reply_null(rq->out);
        return;
    }
    if (!req_i64(rq, 2, &index))
        return;
    if (!index_of(coll, index, &i)) {
        reply_null(rq->out);
        return;
    }
    coll_list_at(coll, i, &at);
    reply_value(rq, &at);
}

/* --- LSET, LTRIM --- */

void cmd_lset(struct request *rq)
{
    bool ok;
    int64_t index;
    uint64_t i;
    struct listq_at at;
    const struct ks_key key = req_key(rq, 1);
    struct coll *coll = listcmd_get(rq, &key, &ok);

    if (!ok)
        return;
    if (coll == NULL) {
        reply_err_no_such_key(rq->out);
        return;
    }
    if (!req_i64(rq, 2, &index))
        return;
    if (!index_of(coll, index, &i)) {
        reply_err_index_range(rq->out);
        return;
    }
    coll_list_at(coll, i, &at);
    mut_list_set(rq->mut, coll, &at, rq->argv[3]);
    reply_ok(rq->out);
}

/* The values of `n` elements from index `start` on, each behind its length, 4 bytes. */
static int copy_values(const struct request *rq, const struct coll *coll, uint64_t start,
                       uint64_t n, struct buf *out)
{
    char text[ROW_TEXT_BYTES];
    struct listq_at at;
    uint8_t len[4];
    int err = 0;

    coll_list_at(coll, start, &at);
    for (; n != 0 && err == 0; n--) {
        CHECK(listq_valid(&at));
        const struct bytes value = value_at(rq, &at, text);
        le32_store(len, (uint32_t)value.len);
        err = buf_append(out, len, sizeof(len));
        if (err == 0)
            err = buf_append_bytes(out, value);
        listq_next(&coll->seq, &at);
    }
    return err;
}

/* The list becomes these values, and `one` before index `place`; its expiry stays. */
static void list_anew(struct request *rq, const struct ks_key *key, const struct coll *coll,
                      struct bytes values, const struct bytes *one, uint64_t place)
{
    struct bytes head, value;
    uint64_t n = 0;
    const uint64_t expire_at_ms = ks_expire_at(coll->obj);

    mut_del(rq->mut, key);
    struct coll *to = mut_coll(rq->mut, key, VT_LIST);
    for (; bytes_take(&values, 4, &head) && bytes_take(&values, le32_load(head.ptr), &value); n++) {
        if (one != NULL && n == place)
            mut_list_push(rq->mut, to, *one, false);
        mut_list_push(rq->mut, to, value, false);
    }
    if (one != NULL && n == place)
        mut_list_push(rq->mut, to, *one, false);
    if (expire_at_ms != 0)
        mut_expire(rq->mut, key, expire_at_ms);
}

/*
 * Little stays of a list of which most is on flash, and need not be read to go. False after an
 * error, or if it has to wait.
 */
static bool trim_anew(struct request *rq, const struct ks_key *key, const struct coll *coll,
                      uint64_t from, uint64_t n)
{
    struct buf stay;
    bool done = false;

    buf_init(&stay, SIZE_MAX / 2);
    if (copy_values(rq, coll, from, n, &stay) != 0) {
        reply_err_oom(rq->out, "what stays of the list does not fit into memory twice");
    } else if (room_for(rq, key, n + 1, stay.len)) {
        list_anew(rq, key, coll, buf_bytes(&stay), NULL, 0);
        done = true;
    }
    buf_deinit(&stay);
    return done;
}

/* The same if what goes is in DRAM. */
static bool trim_ends(struct request *rq, const struct ks_key *key, struct coll *coll,
                      uint64_t from, uint64_t behind)
{
    if (!room_for(rq, key, from + behind, 0))
        return false;
    drop_end(rq, key, coll, from, true);
    drop_end(rq, key, coll, behind, false);
    return true;
}

static bool trim(struct request *rq, const struct ks_key *key, struct coll *coll, uint64_t from,
                 uint64_t n)
{
    const uint64_t behind = coll->count - n - from;

    if (n == 0) {
        mut_del(rq->mut, key);
        return true;
    }
    if (coll->gap != NULL && (from > coll_list_front(coll) || behind > coll_list_back(coll)))
        return trim_anew(rq, key, coll, from, n);
    return trim_ends(rq, key, coll, from, behind);
}

void cmd_ltrim(struct request *rq)
{
    bool ok;
    int64_t start, end;
    uint64_t from = 0;
    const struct ks_key key = req_key(rq, 1);

    if (!req_i64(rq, 2, &start) || !req_i64(rq, 3, &end))
        return;
    struct coll *coll = listcmd_get(rq, &key, &ok);
    if (!ok)
        return;
    if (coll != NULL) {
        const uint64_t n = range_of(coll, start, end, &from);
        if (n == coll->count)
            mut_changed(rq->mut, &key);
        else if (!trim(rq, &key, coll, from, n))
            return;
    }
    reply_ok(rq->out);
}

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
        if (bytes_eq(value_at(rq, &at, text), value)) {
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
    } else if (room_for(rq, &key, found.count, found.count <= 4 ? 0 : found.positions.len)) {
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
        if (bytes_eq(value_at(rq, at, text), value))
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
    if (copy_values(rq, coll, 0, coll->count, &all) != 0) {
        reply_err_oom(rq->out, "the list does not fit into memory twice");
    } else if (room_for(rq, key, n, all.len + value.len)) {
        list_anew(rq, key, coll, buf_bytes(&all), &value, place);
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
        if (bytes_eq(value_at(rq, &at, text), rq->argv[2])) {
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

/* --- LMOVE, RPOPLPUSH --- */

/*
 * Within one list. The element is pushed before the old one goes: a list of one keeps its expiry.
 */
static void rotate(struct request *rq, struct coll *coll, const struct listq_at *at,
                   struct bytes value, bool from_front, bool to_front)
{
    uint8_t small[512];
    uint8_t *copy = value.len <= sizeof(small) ? small : mem_alloc(value.len);

    if (value.len != 0)
        memcpy(copy, value.ptr, value.len);
    if (from_front == to_front) {
        mut_list_set(rq->mut, coll, at, bytes_of(copy, value.len));
    } else {
        mut_list_push(rq->mut, coll, bytes_of(copy, value.len), to_front);
        (void)mut_list_pop(rq->mut, coll, from_front);
    }
    if (copy != small)
        mem_free(copy);
}

void listcmd_move(struct request *rq, struct coll *from, bool from_front, bool to_front)
{
    bool ok;
    char text[ROW_TEXT_BYTES];
    struct listq_at at;
    const struct ks_key to_key = req_key(rq, 2);

    struct coll *to = listcmd_get(rq, &to_key, &ok);
    if (!ok)
        return;
    if (from_front)
        listq_first(&from->seq, &at);
    else
        listq_last(&from->seq, &at);
    const struct bytes value = value_at(rq, &at, text);
    if (!room_for(rq, &to_key, 2, value.len))
        return;
    reply_bulk(rq->out, value);
    if (from == to) {
        rotate(rq, from, &at, value, from_front, to_front);
        return;
    }
    if (to == NULL)
        to = mut_coll(rq->mut, &to_key, VT_LIST);
    mut_list_push(rq->mut, to, value, to_front);
    (void)mut_list_pop(rq->mut, from, from_front);
}

static void move_generic(struct request *rq, bool from_front, bool to_front)
{
    bool ok;
    const struct ks_key from_key = req_key(rq, 1);
    struct coll *from = listcmd_get(rq, &from_key, &ok);

    if (!ok)
        return;
    if (from == NULL)
        reply_null(rq->out);
    else
        listcmd_move(rq, from, from_front, to_front);
}

/* LMOVE source destination LEFT | RIGHT LEFT | RIGHT */
void cmd_lmove(struct request *rq)
{
    bool from_front, to_front;

    if (listcmd_end(rq, 3, &from_front) && listcmd_end(rq, 4, &to_front))
        move_generic(rq, from_front, to_front);
}

void cmd_rpoplpush(struct request *rq)
{
    move_generic(rq, false, true);
}
