/* The uncovered end of a log; inspect_tail.h tells what it is for. */
#include "tools/inspect/inspect_tail.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "engine/value/op.h"
#include "engine/value/row.h"

#include "replication/oplog_cursor.h"

#define BUCKETS_MIN 1024

/* A key, or an element: then `elem` and the sub follows the key. */
struct entry {
    struct entry *next;
    uint64_t hash;
    uint32_t key_len;
    uint32_t sub_len;
    bool elem;
    bool alive;          /* Of elements. */
    uint32_t generation; /* Of elements: older than the key's, it does not count. */
    struct tail_key tk;  /* Of keys. */
    uint8_t bytes[];
};

struct tail {
    struct entry **buckets;
    size_t buckets_count;
    size_t count;
    uint64_t bytes;
    uint64_t records;
    uint64_t last_lsn;
    bool complete;
};

static uint64_t hash_of(struct bytes key, struct bytes sub, bool elem)
{
    const uint64_t seed = hash64(key.ptr, key.len, elem);

    return elem ? hash64(sub.ptr, sub.len, seed) : seed;
}

static bool same(const struct entry *e, struct bytes key, struct bytes sub, bool elem)
{
    return e->elem == elem && bytes_eq(bytes_of(e->bytes, e->key_len), key) &&
           bytes_eq(bytes_of(e->bytes + e->key_len, e->sub_len), sub);
}

static struct entry *find(const struct tail *tail, struct bytes key, struct bytes sub, bool elem)
{
    const uint64_t hash = hash_of(key, sub, elem);
    struct entry *e = tail->buckets[hash & (tail->buckets_count - 1)];

    while (e != NULL && (e->hash != hash || !same(e, key, sub, elem)))
        e = e->next;
    return e;
}

static void grow(struct tail *tail)
{
    const size_t old_count = tail->buckets_count;
    struct entry **old = tail->buckets;

    tail->buckets_count = old_count * 2;
    tail->buckets = mem_zalloc_array(tail->buckets_count, sizeof(struct entry *));
    for (size_t i = 0; i < old_count; i++) {
        for (struct entry *e = old[i], *next; e != NULL; e = next) {
            struct entry **bucket = &tail->buckets[e->hash & (tail->buckets_count - 1)];
            next = e->next;
            e->next = *bucket;
            *bucket = e;
        }
    }
    mem_free(old);
}

static struct entry *find_or_add(struct tail *tail, struct bytes key, struct bytes sub, bool elem)
{
    struct entry *e = find(tail, key, sub, elem);

    if (e != NULL)
        return e;
    if (tail->count >= tail->buckets_count)
        grow(tail);
    e = mem_zalloc(sizeof(*e) + key.len + sub.len);
    e->hash = hash_of(key, sub, elem);
    e->elem = elem;
    e->key_len = (uint32_t)key.len;
    e->sub_len = (uint32_t)sub.len;
    if (key.len != 0)
        memcpy(e->bytes, key.ptr, key.len);
    if (sub.len != 0)
        memcpy(e->bytes + key.len, sub.ptr, sub.len);
    struct entry **bucket = &tail->buckets[e->hash & (tail->buckets_count - 1)];
    e->next = *bucket;
    *bucket = e;
    tail->count++;
    tail->bytes += sizeof(*e) + key.len + sub.len;
    return e;
}

/* --- ops --- */

static void take_clear(struct tail_key *tk, uint8_t type)
{
    tk->cleared = true;
    tk->unknown = false;
    tk->generation++;
    tk->type = type;
    tk->set_count = 0;
    tk->has_count = true;
    tk->count = 0;
}

static void take_elem(struct tail *tail, struct tail_key *tk, const struct op *op)
{
    const bool alive = op->kind != OP_ELEM_DEL;
    struct entry *e = find_or_add(tail, op->key, op->sub, true);
    const bool was_alive = e->alive && e->generation == tk->generation;

    if (tk->type != VT_NONE && tk->type != op->type)
        tk->unknown = true;
    tk->type = op->type;
    tk->set_count += (uint64_t)alive - (uint64_t)was_alive;
    e->alive = alive;
    e->generation = tk->generation;
    tk->has_count = op->has_count;
    tk->count = op->count;
    if (op->has_count && op->count == 0)
        take_clear(tk, VT_NONE); /* The last element takes its key along. */
}

static void take_op(struct tail *tail, const struct batch *batch, const struct op *op)
{
    struct tail_key *tk = &find_or_add(tail, op->key, bytes_of(NULL, 0), false)->tk;

    switch ((enum op_kind)op->kind) {
    case OP_SET:
        take_clear(tk, VT_STRING);
        break;
    case OP_STRING:
        if (tag_eq(op->generation, batch_tag(batch)))
            take_clear(tk, VT_STRING);
        break;
    case OP_DEL:
    case OP_RECLAIM:
        take_clear(tk, VT_NONE);
        break;
    case OP_ELEM_SET:
    case OP_ELEM_INCR:
    case OP_ELEM_DEL:
        take_elem(tail, tk, op);
        break;
    case OP_INCR:
        tk->type = VT_STRING;
        break;
    case OP_EXPIRE:
    case OP_VOID:
    case OP_CHUNK:
    case OP_BITS:
        break;
    case OP_KEY_MERGE:
    case OP_ROW_MERGE:
    case OP_KIND_END:
    default:
        tk->unknown = true;
        break;
    }
}

static int take_record(struct tail *tail, const struct oplog_record *record)
{
    struct batch batch;
    struct op op;
    int step;

    tail->records++;
    tail->last_lsn = record->lsn;
    if (tail->bytes > TAIL_BYTES_MAX) {
        tail->complete = false;
        return 0;
    }
    const int err = batch_open(record->payload, &batch);
    if (err != 0)
        return err;
    while ((step = batch_next(&batch, &op)) == BATCH_OP)
        take_op(tail, &batch, &op);
    return step == BATCH_END ? 0 : step;
}

int tail_open(const char *dir, uint64_t lsn, struct tail **out, char *why, size_t why_len)
{
    struct tail *tail = mem_zalloc(sizeof(*tail));
    struct oplog_cursor *cursor = NULL;
    struct oplog_record record;

    tail->buckets_count = BUCKETS_MIN;
    tail->buckets = mem_zalloc_array(BUCKETS_MIN, sizeof(struct entry *));
    tail->last_lsn = lsn;
    tail->complete = true;
    *out = tail;
    int err = oplog_cursor_open(dir, lsn + 1, &cursor);
    while (err == 0) {
        err = oplog_cursor_next(cursor, UINT64_MAX, &record);
        if (err == OPLOG_CURSOR_RECORD)
            err = take_record(tail, &record);
    }
    if (err < 0) {
        char name[SEGMENT_NAME_BYTES] = "";
        if (cursor != NULL)
            segment_name(oplog_cursor_segment(cursor), name);
        (void)snprintf(why, why_len, "%s/%s: offset %" PRIu64 ", record %" PRIu64 ": %s", dir, name,
                       cursor == NULL ? 0 : oplog_cursor_offset(cursor),
                       cursor == NULL ? lsn + 1 : oplog_cursor_lsn(cursor), err_str(err));
        tail->complete = err == -ENOENT; /* There is no log. */
    }
    oplog_cursor_close(cursor);
    return err < 0 ? err : 0;
}

void tail_close(struct tail *tail)
{
    if (tail == NULL)
        return;
    for (size_t i = 0; i < tail->buckets_count; i++) {
        for (struct entry *e = tail->buckets[i], *next; e != NULL; e = next) {
            next = e->next;
            mem_free(e);
        }
    }
    mem_free(tail->buckets);
    mem_free(tail);
}

uint64_t tail_records(const struct tail *tail)
{
    return tail->records;
}

uint64_t tail_last_lsn(const struct tail *tail)
{
    return tail->last_lsn;
}

bool tail_complete(const struct tail *tail)
{
    return tail->complete;
}

const struct tail_key *tail_find(const struct tail *tail, struct bytes key)
{
    const struct entry *e = find(tail, key, bytes_of(NULL, 0), false);

    return e == NULL ? NULL : &e->tk;
}

bool tail_has_elem(const struct tail *tail, struct bytes key, const struct tail_key *tk,
                   struct bytes sub)
{
    if (tk->cleared)
        return true; /* Nothing of the store counts. */
    const struct entry *e = find(tail, key, sub, true);
    return e != NULL && e->generation == tk->generation;
}
