/*
 * The list as its users see it: pushing, popping, cursors. listq_node.c does the work in the nodes,
 * listq_flush.c what concerns the store.
 */
#include "engine/space/listq.h"

#include "engine/space/listq_flush.h"
#include "engine/space/listq_node.h"

void listq_init(struct listq *q)
{
    *q = (struct listq){.flight = 1};
    list_init(&q->waiting);
}

void listq_deinit(struct listq *q)
{
    nodes_clear(q);
    tombs_clear(q);
    CHECK(q->bytes == 0);
}

void listq_clear(struct listq *q)
{
    nodes_clear(q);
    tombs_clear(q);
}

uint64_t listq_bytes_of_end(const struct listq *q, bool front, uint64_t count, uint64_t enough)
{
    uint64_t bytes = 0, seen = 0;

    for (uint32_t i = 0; i < q->ring_count && seen < count && bytes <= enough; i++) {
        const struct listq_slot *slot = slot_at(q, front ? i : q->ring_count - 1 - i);
        seen += slot->count;
        bytes += NODE_HEAD_BYTES + slot->node->size;
    }
    return bytes;
}

/* --- cursors --- */

static void at_set(const struct listq *q, uint32_t ring, uint32_t offset, struct listq_at *out)
{
    struct entry entry;
    const struct listq_node *node = node_at(q, ring);

    entry_load(node, offset, &entry);
    *out = (struct listq_at){.node = node, .row = entry.row, .ring = ring, .offset = offset};
}

/* The entry at the place, or beyond the end. */
static void at_place(const struct listq *q, struct place place, struct listq_at *out)
{
    if (place.ring < q->ring_count && place.offset < node_at(q, place.ring)->end)
        at_set(q, place.ring, place.offset, out);
    else
        *out = (struct listq_at){.node = NULL};
}

/* Where the next entry begins. */
static uint32_t at_end(const struct listq_at *at)
{
    const uint32_t end = (uint32_t)(at->row.ptr + at->row.len - at->node->data);

    return end + back_size(end - at->offset);
}

void listq_first(const struct listq *q, struct listq_at *out)
{
    const uint32_t offset = q->ring_count == 0 ? 0 : node_at(q, 0)->begin;

    at_place(q, (struct place){.offset = offset}, out);
}

static void at_last_of(const struct listq *q, uint32_t ring, struct listq_at *out)
{
    const struct listq_node *node = node_at(q, ring);

    at_set(q, ring, node->end - back_load(node->data + node->end), out);
}

void listq_last(const struct listq *q, struct listq_at *out)
{
    if (q->ring_count == 0)
        *out = (struct listq_at){.node = NULL};
    else
        at_last_of(q, q->ring_count - 1, out);
}

void listq_next(const struct listq *q, struct listq_at *at)
{
    const uint32_t offset = at_end(at);

    if (likely(offset < at->node->end))
        at_set(q, at->ring, offset, at);
    else if (at->ring + 1 < q->ring_count)
        at_set(q, at->ring + 1, node_at(q, at->ring + 1)->begin, at);
    else
        *at = (struct listq_at){.node = NULL};
}

void listq_prev(const struct listq *q, struct listq_at *at)
{
    if (likely(at->offset > at->node->begin))
        at_set(q, at->ring, at->offset - back_load(at->node->data + at->offset), at);
    else if (at->ring > 0)
        at_last_of(q, at->ring - 1, at);
    else
        *at = (struct listq_at){.node = NULL};
}

/* Entry number `index` of a node. */
static void at_index_of(const struct listq *q, uint32_t ring, uint64_t index, struct listq_at *out)
{
    const struct listq_node *node = node_at(q, ring);
    const uint64_t count = slot_at(q, ring)->count;
    struct entry entry;
    uint32_t offset;

    if (index < count / 2) {
        offset = node->begin;
        for (; index > 0; index--, offset += entry.size)
            entry_load(node, offset, &entry);
    } else {
        offset = node->end;
        for (; index < count; index++)
            offset -= back_load(node->data + offset);
    }
    at_set(q, ring, offset, out);
}

void listq_at_index(const struct listq *q, uint64_t index, struct listq_at *out)
{
    uint32_t ring;

    if (index >= q->count) {
        *out = (struct listq_at){.node = NULL};
        return;
    }
    if (index < q->count / 2) {
        for (ring = 0; index >= slot_at(q, ring)->count; ring++)
            index -= slot_at(q, ring)->count;
    } else {
        uint64_t left = q->count;
        for (ring = q->ring_count; index < left;)
            left -= slot_at(q, --ring)->count;
        index -= left;
    }
    at_index_of(q, ring, index, out);
}

uint64_t listq_index(const struct listq *q, const struct listq_at *at)
{
    uint64_t index = 0;
    struct entry entry;

    if (at->ring < q->ring_count / 2) {
        for (uint32_t i = 0; i < at->ring; i++)
            index += slot_at(q, i)->count;
    } else {
        index = q->count;
        for (uint32_t i = at->ring; i < q->ring_count; i++)
            index -= slot_at(q, i)->count;
    }
    for (uint32_t offset = at->node->begin; offset < at->offset; offset += entry.size, index++)
        entry_load(at->node, offset, &entry);
    return index;
}

/* Of a node: the first entry that is not before the position; `*out_same`: at it. */
static uint32_t offset_find(const struct listq_node *node, struct bytes position, bool *out_same)
{
    const bool shares = node_shares(node, position);
    uint8_t room[NODE_PREFIX_BYTES_MAX + ENTRY_SUFFIX_BYTES + 1];
    uint32_t offset = node->begin;
    struct entry entry;

    for (; offset < node->end; offset += entry.size) {
        int order;
        entry_load(node, offset, &entry);
        if (shares && (entry.flags & ENTRY_WHOLE) == 0)
            order = memcmp(entry.suffix.ptr, position.ptr + node->prefix_len, ENTRY_SUFFIX_BYTES);
        else
            order = bytes_cmp(entry_position(node, &entry, room), position);
        *out_same = order == 0;
        if (order >= 0)
            return offset;
    }
    *out_same = false;
    return offset;
}

/* The place of the first entry that is not before the position; `*out_same`: at it. */
static struct place place_find(const struct listq *q, struct bytes position, bool *out_same)
{
    uint32_t low = 0;
    uint32_t high = q->ring_count;

    /* The last node that does not begin behind it. */
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (node_cmp(node_at(q, middle), position) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    struct place at = {.ring = low == 0 ? 0 : low - 1};
    *out_same = false;
    if (q->ring_count != 0)
        at.offset = offset_find(node_at(q, at.ring), position, out_same);
    return at;
}

bool listq_find(const struct listq *q, struct bytes position, struct listq_at *out)
{
    bool same;
    struct place at = place_find(q, position, &same);

    if (at.ring + 1 < q->ring_count && at.offset == node_at(q, at.ring)->end) {
        at.ring++;
        at.offset = node_at(q, at.ring)->begin;
    }
    at_place(q, at, out);
    return same;
}

struct bytes listq_position(const struct listq_at *at, uint8_t *out)
{
    struct entry entry;

    entry_load(at->node, at->offset, &entry);
    const struct bytes position = entry_position(at->node, &entry, out);
    if (position.ptr != out)
        memcpy(out, position.ptr, position.len);
    return bytes_of(out, position.len);
}

uint8_t listq_flags(const struct listq_at *at)
{
    return at->node->data[at->offset] & (LISTQ_DIRTY | LISTQ_IN_STORE);
}

/* --- changes --- */

static void insert_at(struct listq *q, struct place *at, const struct listq_item *item,
                      uint64_t lsn)
{
    entry_insert(q, at, item);
    if ((item->flags & LISTQ_DIRTY) != 0)
        node_mark(q, node_at(q, at->ring), lsn);
}

/* Whether the position is behind the last entry of the node. */
static bool is_behind(const struct listq_node *node, struct bytes position)
{
    bool same;

    return offset_find(node, position, &same) == node->end;
}

void listq_push_front(struct listq *q, const struct listq_item *item, uint64_t lsn)
{
    struct place at = {0};

    if (q->ring_count != 0) {
        at.offset = node_at(q, 0)->begin;
        CHECK_SLOW(node_cmp(node_at(q, 0), item->position) > 0);
    }
    insert_at(q, &at, item, lsn);
}

void listq_push_back(struct listq *q, const struct listq_item *item, uint64_t lsn)
{
    struct place at = {0};

    if (q->ring_count != 0) {
        at.ring = q->ring_count - 1;
        const struct listq_node *node = node_at(q, at.ring);
        at.offset = node->end;
        CHECK_SLOW(is_behind(node, item->position));
    }
    insert_at(q, &at, item, lsn);
}

/* Puts another row and other flags in the place of an entry. */
static void replace_at(struct listq *q, struct place *at, struct bytes row, uint8_t flags,
                       uint64_t lsn)
{
    uint8_t room[LISTQ_POSITION_BYTES_MAX];
    struct listq_node *node = node_at(q, at->ring);
    struct entry entry;

    entry_load(node, at->offset, &entry);
    if (entry.row.len == row.len) {
        entry_overwrite(node, &entry, row);
        node->data[at->offset] = (uint8_t)(flags | (entry.flags & ENTRY_WHOLE));
        if ((flags & LISTQ_DIRTY) != 0)
            node_mark(q, node, lsn);
        return;
    }
    const struct bytes position = entry_position(node, &entry, room);
    if (position.ptr != room)
        memcpy(room, position.ptr, position.len);
    const struct listq_item item = {
        .position = bytes_of(room, position.len), .row = row, .flags = flags};
    /* The row may have been dirty since then. */
    const uint64_t older = list_linked(&node->link) ? node->lsn : lsn;
    const uint32_t flight = node->flight;
    entry_remove(q, at);
    /* At the end of a list there is no node to insert into but the one before. */
    if (q->ring_count != 0 && at->ring == q->ring_count)
        *at = (struct place){.ring = at->ring - 1, .offset = node_at(q, at->ring - 1)->end};
    entry_insert(q, at, &item);
    node = node_at(q, at->ring);
    if ((flags & LISTQ_DIRTY) != 0)
        node_mark_older(q, node, older);
    /* If the row before is in flight, and that fails, it has been dirty since then, too. */
    if (flight == q->flight)
        node->flight = flight;
}

void listq_insert(struct listq *q, const struct listq_item *item, uint64_t lsn)
{
    bool same;
    struct place at = place_find(q, item->position, &same);

    if (!same) {
        insert_at(q, &at, item, lsn);
        return;
    }
    const uint8_t before = node_at(q, at.ring)->data[at.offset];
    replace_at(q, &at, item->row, (uint8_t)(item->flags | (before & LISTQ_IN_STORE)), lsn);
}

static void remove_at(struct listq *q, struct place *at, uint64_t lsn)
{
    const struct listq_node *node = node_at(q, at->ring);

    if ((node->data[at->offset] & LISTQ_IN_STORE) != 0) {
        uint8_t room[NODE_PREFIX_BYTES_MAX + ENTRY_SUFFIX_BYTES + 1];
        struct entry entry;
        entry_load(node, at->offset, &entry);
        tomb_add(q, entry_position(node, &entry, room), lsn);
    }
    entry_remove(q, at);
}

void listq_remove(struct listq *q, struct listq_at *at, uint64_t lsn)
{
    struct place place = {.ring = at->ring, .offset = at->offset};

    remove_at(q, &place, lsn);
    at_place(q, place, at);
}

void listq_pop_front(struct listq *q, uint64_t lsn)
{
    CHECK(q->ring_count != 0);
    struct place at = {.offset = node_at(q, 0)->begin};

    remove_at(q, &at, lsn);
}

void listq_pop_back(struct listq *q, uint64_t lsn)
{
    CHECK(q->ring_count != 0);
    const struct listq_node *node = node_at(q, q->ring_count - 1);
    struct place at = {.ring = q->ring_count - 1,
                       .offset = node->end - back_load(node->data + node->end)};

    remove_at(q, &at, lsn);
}

void listq_bury(struct listq *q, struct bytes position, uint64_t lsn)
{
    tomb_add(q, position, lsn);
}

/* --- leaving DRAM --- */

/* Index of the first entry of node `ring`. */
static uint64_t node_index(const struct listq *q, uint32_t ring)
{
    uint64_t index = 0;

    for (uint32_t i = 0; i < ring; i++)
        index += slot_at(q, i)->count;
    return index;
}

/* Sees to it that a node begins with entry `index`, which is in node `ring`. */
static void cut_node(struct listq *q, uint32_t ring, uint64_t index)
{
    const uint64_t first = node_index(q, ring);
    struct listq_at at;

    if (index <= first || index >= first + slot_at(q, ring)->count)
        return;
    at_index_of(q, ring, index - first, &at);
    const struct place place = {.ring = ring, .offset = at.offset};
    node_split(q, &place);
}

struct listq_stretch listq_evictable(struct listq *q, uint64_t index, uint64_t low, uint64_t high)
{
    struct listq_at at;

    CHECK(low <= index && index < high && high <= q->count);
    listq_at_index(q, index, &at);
    if (node_is_busy(q, at.node))
        return (struct listq_stretch){.first = index};
    cut_node(q, at.ring, high);
    cut_node(q, at.ring, low);
    listq_at_index(q, index, &at);
    return (struct listq_stretch){.first = node_index(q, at.ring),
                                  .count = slot_at(q, at.ring)->count};
}

void listq_evict(struct listq *q, const struct listq_stretch *stretch)
{
    struct listq_at at;

    listq_at_index(q, stretch->first, &at);
    CHECK(slot_at(q, at.ring)->count == stretch->count);
    node_drop(q, at.ring);
}
