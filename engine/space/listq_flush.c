/*
 * What the store does not have yet of a list; listq.h explains the flight.
 */
#include "engine/space/listq_flush.h"

#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "engine/space/listq_node.h"

#define TOMB_HEAD_BYTES     10u
#define TOMBS_CAP_BYTES_MIN 64u

/* --- tombstones --- */

static void tombs_resize(struct listq *q, uint32_t cap)
{
    q->tombs = mem_realloc(q->tombs, cap);
    q->bytes += mem_class_bytes(cap) - (q->tombs_cap == 0 ? 0 : mem_class_bytes(q->tombs_cap));
    q->tombs_cap = cap;
}

void tombs_clear(struct listq *q)
{
    mem_free(q->tombs);
    q->bytes -= q->tombs_cap == 0 ? 0 : mem_class_bytes(q->tombs_cap);
    q->tombs = NULL;
    q->tombs_cap = 0;
    q->tombs_len = 0;
    q->tombs_flying = 0;
}

void tomb_add(struct listq *q, struct bytes position, uint64_t lsn)
{
    const uint32_t size = TOMB_HEAD_BYTES + (uint32_t)position.len;

    CHECK(q->tombs_len < UINT32_MAX / 4);
    if (q->tombs_cap - q->tombs_len < size) {
        const size_t wish = size_max(q->tombs_len + size + q->tombs_len / 2, TOMBS_CAP_BYTES_MIN);
        tombs_resize(q, (uint32_t)mem_class_bytes(wish));
    }
    uint8_t *to = q->tombs + q->tombs_len;
    le64_store(to, lsn);
    le16_store(to + 8, (uint16_t)position.len);
    memcpy(to + TOMB_HEAD_BYTES, position.ptr, position.len);
    q->tombs_len += size;
}

/* Those in flight are in the store. */
static void tombs_done(struct listq *q)
{
    if (q->tombs_flying == 0)
        return;
    if (q->tombs_flying == q->tombs_len) {
        tombs_clear(q);
        return;
    }
    q->tombs_len -= q->tombs_flying;
    memmove(q->tombs, q->tombs + q->tombs_flying, q->tombs_len);
    q->tombs_flying = 0;
    if (q->tombs_cap > TOMBS_CAP_BYTES_MIN && q->tombs_len < q->tombs_cap / 4)
        tombs_resize(q, (uint32_t)mem_class_bytes(size_max(q->tombs_len, TOMBS_CAP_BYTES_MIN)));
}

/* --- what waits --- */

static struct listq_node *waiting_first(const struct listq *q)
{
    struct list_link *link = list_first(&q->waiting);

    return link == NULL ? NULL : LIST_ITEM(link, struct listq_node, link);
}

bool listq_dirty(const struct listq *q)
{
    return q->flying || q->tombs_len != 0 || !list_empty(&q->waiting);
}

uint64_t listq_lowest_lsn(const struct listq *q)
{
    const struct listq_node *node = waiting_first(q);
    uint64_t lsn = node == NULL ? UINT64_MAX : node->lsn;

    if (q->tombs_flying < q->tombs_len)
        lsn = u64_min(lsn, le64_load(q->tombs + q->tombs_flying));
    return lsn;
}

/* What a call of listq_flush_begin has shown. */
struct shown {
    size_t rows;
    size_t bytes;
};

static void tombs_take(struct listq *q, struct shown *shown, size_t rows_max, listq_delete_fn del,
                       void *ctx)
{
    while (q->tombs_flying < q->tombs_len && shown->rows < rows_max) {
        const uint8_t *tomb = q->tombs + q->tombs_flying;
        const uint32_t len = le16_load(tomb + 8);
        del(ctx, bytes_of(tomb + TOMB_HEAD_BYTES, len));
        q->tombs_flying += TOMB_HEAD_BYTES + len;
        shown->rows++;
        shown->bytes += len;
    }
}

static void node_take(struct listq *q, struct listq_node *node, struct shown *shown,
                      listq_put_fn put, void *ctx)
{
    uint8_t room[NODE_PREFIX_BYTES_MAX + ENTRY_SUFFIX_BYTES + 1];
    struct entry entry;

    for (uint32_t offset = node->begin; offset < node->end; offset += entry.size) {
        entry_load(node, offset, &entry);
        if ((entry.flags & LISTQ_DIRTY) == 0)
            continue;
        const struct bytes position = entry_position(node, &entry, room);
        put(ctx, position, entry.row);
        node->data[offset] = (uint8_t)((entry.flags & ~LISTQ_DIRTY) | LISTQ_IN_STORE);
        shown->rows++;
        shown->bytes += position.len + entry.row.len;
    }
    q->flight_lsn = u64_min(q->flight_lsn, node->lsn);
    node->flight = q->flight;
    list_remove(&node->link);
}

size_t listq_flush_begin(struct listq *q, size_t rows_max, size_t bytes_max, listq_put_fn put,
                         listq_delete_fn del, void *ctx)
{
    struct shown shown = {0};
    struct listq_node *node;

    if (!q->flying) {
        q->flying = true;
        q->flight++;
        q->flight_lsn = UINT64_MAX;
    }
    /* Deletions come first: a position that is there again is put behind its deletion. */
    tombs_take(q, &shown, rows_max, del, ctx);
    while (shown.rows < rows_max && shown.bytes < bytes_max && (node = waiting_first(q)) != NULL)
        node_take(q, node, &shown, put, ctx);
    return shown.rows;
}

void listq_flush_done(struct listq *q)
{
    q->flying = false;
    tombs_done(q);
}

/* Entries that were in flight, and others that the store has, are dirty again. */
static void node_return(struct listq *q, struct listq_node *node)
{
    struct entry entry;

    for (uint32_t offset = node->begin; offset < node->end; offset += entry.size) {
        entry_load(node, offset, &entry);
        if ((entry.flags & LISTQ_IN_STORE) != 0)
            node->data[offset] |= LISTQ_DIRTY;
    }
    if (list_linked(&node->link))
        list_remove(&node->link);
    node->lsn = q->flight_lsn;
    list_push_front(&q->waiting, &node->link);
}

void listq_flush_failed(struct listq *q)
{
    q->flying = false;
    q->tombs_flying = 0;
    for (uint32_t i = 0; i < q->ring_count; i++) {
        if (node_at(q, i)->flight == q->flight)
            node_return(q, node_at(q, i));
    }
}
