/*
 * Lists: the handlers of the list group.
 *
 * Values are read where they stand, in the packed nodes of listq; they are valid until the list
 * changes. Replies are written first, changes come after.
 */
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

struct bytes listcmd_value_general(const struct request *rq, struct bytes row,
                                   char text[ROW_TEXT_BYTES])
{
    struct row_view view;

    /* Rows are checked when they are installed. */
    CHECK(row_view(row, rq->now_ms, &view) == 0);
    return row_text(&view, text);
}

static void reply_value(struct request *rq, const struct listq_at *at)
{
    char text[ROW_TEXT_BYTES];

    reply_bulk(rq->out, listcmd_value_at(rq, at, text));
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
        reply_bulk(rq->out, listcmd_value_at(rq, &at, text));
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

bool listcmd_room_for(struct request *rq, const struct ks_key *key, uint64_t n, size_t bytes)
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
    return count >= coll->count || listcmd_room_for(rq, key, count, 0);
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

int listcmd_copy_values(const struct request *rq, const struct coll *coll, uint64_t start,
                        uint64_t n, struct buf *out)
{
    char text[ROW_TEXT_BYTES];
    struct listq_at at;
    uint8_t len[4];
    int err = 0;

    coll_list_at(coll, start, &at);
    for (; n != 0 && err == 0; n--) {
        CHECK(listq_valid(&at));
        const struct bytes value = listcmd_value_at(rq, &at, text);
        le32_store(len, (uint32_t)value.len);
        err = buf_append(out, len, sizeof(len));
        if (err == 0)
            err = buf_append_bytes(out, value);
        listq_next(&coll->seq, &at);
    }
    return err;
}

void listcmd_anew(struct request *rq, const struct ks_key *key, const struct coll *coll,
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
    if (listcmd_copy_values(rq, coll, from, n, &stay) != 0) {
        reply_err_oom(rq->out, "what stays of the list does not fit into memory twice");
    } else if (listcmd_room_for(rq, key, n + 1, stay.len)) {
        listcmd_anew(rq, key, coll, buf_bytes(&stay), NULL, 0);
        done = true;
    }
    buf_deinit(&stay);
    return done;
}

/* The same if what goes is in DRAM. */
static bool trim_ends(struct request *rq, const struct ks_key *key, struct coll *coll,
                      uint64_t from, uint64_t behind)
{
    if (!listcmd_room_for(rq, key, from + behind, 0))
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
    const struct bytes value = listcmd_value_at(rq, &at, text);
    if (!listcmd_room_for(rq, &to_key, 2, value.len))
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
