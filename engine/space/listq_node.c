/*
 * The inside of listq's nodes: room for entries, splitting and joining. listq_node.h has the bytes.
 */
#include "engine/space/listq_node.h"

#include "engine/base/mem.h"

/* The smallest block of a node. */
#define NODE_BYTES_MIN 96u
/* A node of at least this size moves to a smaller block when 7 of 8 bytes are free. */
#define NODE_SHRINK_BYTES_MIN 512u
/* Neighbours are joined when one has less than the first and both together less than the other. */
#define NODE_JOIN_ONE_BYTES  (NODE_BYTES_MAX / 4)
#define NODE_JOIN_BOTH_BYTES (NODE_BYTES_MAX / 4 * 3)

/* --- the ring --- */

static size_t ring_bytes(uint32_t cap)
{
    return cap == 0 ? 0 : mem_class_bytes(cap * sizeof(struct listq_slot));
}

static void ring_resize(struct listq *q, uint32_t cap)
{
    struct listq_slot *ring = cap == 0 ? NULL : mem_alloc(cap * sizeof(*ring));

    CHECK(q->ring_count <= cap);
    for (uint32_t i = 0; i < q->ring_count; i++)
        ring[i] = *slot_at(q, i);
    mem_free(q->ring);
    q->bytes += ring_bytes(cap) - ring_bytes(q->ring_cap);
    q->ring = ring;
    q->ring_cap = cap;
    q->ring_first = 0;
}

/* Makes a place for a node before node `i`; the shorter side gives way. */
static void ring_insert(struct listq *q, uint32_t i, struct listq_node *node)
{
    if (q->ring_count == q->ring_cap)
        ring_resize(q, q->ring_cap == 0 ? 1 : q->ring_cap * 2);
    q->ring_count++;
    if (i < q->ring_count / 2) {
        q->ring_first = (q->ring_first - 1) & (q->ring_cap - 1);
        for (uint32_t k = 0; k < i; k++)
            *slot_at(q, k) = *slot_at(q, k + 1);
    } else {
        for (uint32_t k = q->ring_count - 1; k > i; k--)
            *slot_at(q, k) = *slot_at(q, k - 1);
    }
    *slot_at(q, i) = (struct listq_slot){.node = node};
}

static void ring_remove(struct listq *q, uint32_t i)
{
    if (i < q->ring_count / 2) {
        for (uint32_t k = i; k > 0; k--)
            *slot_at(q, k) = *slot_at(q, k - 1);
        q->ring_first = (q->ring_first + 1) & (q->ring_cap - 1);
    } else {
        for (uint32_t k = i; k + 1 < q->ring_count; k++)
            *slot_at(q, k) = *slot_at(q, k + 1);
    }
    q->ring_count--;
    if (q->ring_count == 0)
        ring_resize(q, 0);
    else if (q->ring_count <= q->ring_cap / 4)
        ring_resize(q, q->ring_cap / 2);
}

/* --- nodes --- */

/* Room for `need` bytes of prefix and entries. */
static struct listq_node *node_new(struct listq *q, size_t need)
{
    const size_t block = mem_class_bytes(size_max(NODE_HEAD_BYTES + need, NODE_BYTES_MIN));
    struct listq_node *node = mem_alloc(block);

    *node = (struct listq_node){.size = (uint32_t)(block - NODE_HEAD_BYTES)};
    /* Not that of the present flight. */
    node->flight = q->flight - 1;
    q->bytes += block;
    return node;
}

static void node_free(struct listq *q, struct listq_node *node)
{
    const size_t block = NODE_HEAD_BYTES + node->size;

    if (list_linked(&node->link))
        list_remove(&node->link);
    q->bytes -= block;
    mem_free_sized(node, block);
}

/* `to` stands in the queue of waiting nodes where `from` stands, with its position. */
static void node_copy_state(struct listq_node *to, struct listq_node *from)
{
    to->flight = from->flight;
    if (!list_linked(&from->link))
        return;
    to->lsn = from->lsn;
    list_insert_after(&from->link, &to->link);
}

void node_mark_older(struct listq *q, struct listq_node *node, uint64_t lsn)
{
    struct list_link *after = q->waiting.head.prev;

    if (list_linked(&node->link)) {
        if (node->lsn <= lsn)
            return;
        after = node->link.prev;
        list_remove(&node->link);
    }
    while (after != &q->waiting.head && LIST_ITEM(after, struct listq_node, link)->lsn > lsn)
        after = after->prev;
    node->lsn = lsn;
    list_insert_after(after, &node->link);
}

static void node_set_prefix(struct listq_node *node, struct bytes prefix)
{
    node->prefix_len = (uint16_t)prefix.len;
    if (prefix.len != 0)
        memcpy(node->data, prefix.ptr, prefix.len);
}

/* Moves node `i` to a block for `need` bytes; `front`: the free space is before the entries. */
static void node_resize(struct listq *q, uint32_t i, size_t need, bool front)
{
    struct listq_node *old = node_at(q, i);
    struct listq_node *node = node_new(q, need);
    const uint32_t used = node_used(old);

    node_copy_state(node, old);
    node_set_prefix(node, bytes_of(old->data, old->prefix_len));
    node->begin = front ? node->size - used : node->prefix_len;
    node->end = node->begin + used;
    CHECK(node->begin >= node->prefix_len && node->end <= node->size);
    memcpy(node->data + node->begin, old->data + old->begin, used);
    slot_at(q, i)->node = node;
    node_free(q, old);
}

/* --- entries --- */

/* What positions of the same run have in common; empty: nothing that is worth sharing. */
static struct bytes prefix_of(struct bytes position)
{
    const size_t rest = ENTRY_SUFFIX_BYTES + 1;

    if (position.len <= rest || position.len - rest > NODE_PREFIX_BYTES_MAX ||
        position.ptr[position.len - 1] != ENTRY_LAST_BYTE)
        return bytes_of(NULL, 0);
    return bytes_of(position.ptr, position.len - rest);
}

bool node_shares(const struct listq_node *node, struct bytes position)
{
    return node->prefix_len != 0 &&
           position.len == (size_t)node->prefix_len + ENTRY_SUFFIX_BYTES + 1 &&
           position.ptr[position.len - 1] == ENTRY_LAST_BYTE &&
           memcmp(node->data, position.ptr, node->prefix_len) == 0;
}

struct bytes entry_position(const struct listq_node *node, const struct entry *entry, uint8_t *out)
{
    if ((entry->flags & ENTRY_WHOLE) != 0)
        return entry->suffix;
    memcpy(out, node->data, node->prefix_len);
    memcpy(out + node->prefix_len, entry->suffix.ptr, ENTRY_SUFFIX_BYTES);
    out[node->prefix_len + ENTRY_SUFFIX_BYTES] = ENTRY_LAST_BYTE;
    return bytes_of(out, (size_t)node->prefix_len + ENTRY_SUFFIX_BYTES + 1);
}

int node_cmp(const struct listq_node *node, struct bytes position)
{
    uint8_t room[NODE_PREFIX_BYTES_MAX + ENTRY_SUFFIX_BYTES + 1];
    struct entry entry;

    entry_load(node, node->begin, &entry);
    return bytes_cmp(entry_position(node, &entry, room), position);
}

static uint32_t row_len_size(size_t len)
{
    return back_size((uint32_t)len);
}

/* Bytes of the entry without its back length. */
static uint32_t entry_len(const struct listq_item *item, bool whole)
{
    const size_t position = whole ? 2 + item->position.len : ENTRY_SUFFIX_BYTES;
    const size_t len = 1 + position + row_len_size(item->row.len) + item->row.len;

    CHECK(len < UINT32_MAX - NODE_BYTES_MAX);
    return (uint32_t)len;
}

static uint32_t entry_size(const struct listq_item *item, bool whole)
{
    const uint32_t len = entry_len(item, whole);

    return len + back_size(len);
}

static void entry_store(uint8_t *to, const struct listq_item *item, bool whole, uint32_t size)
{
    uint8_t *const end = to + size;
    const struct bytes position = item->position;
    size_t len = item->row.len;

    *to++ = (uint8_t)(item->flags | (whole ? ENTRY_WHOLE : 0));
    if (unlikely(whole)) {
        *to++ = (uint8_t)position.len;
        *to++ = (uint8_t)(position.len >> 8);
        memcpy(to, position.ptr, position.len);
        to += position.len;
    } else {
        memcpy(to, position.ptr + position.len - 1 - ENTRY_SUFFIX_BYTES, ENTRY_SUFFIX_BYTES);
        to += ENTRY_SUFFIX_BYTES;
    }
    for (; len >= 0x80; len >>= 7)
        *to++ = (uint8_t)(len | 0x80);
    *to++ = (uint8_t)len;
    if (item->row.len != 0)
        memcpy(to, item->row.ptr, item->row.len);
    to += item->row.len;
    const uint32_t back = (uint32_t)(end - to);
    uint32_t rest = size - back;
    for (uint32_t n = 0; n < back; n++, rest >>= 7)
        end[-1 - (ptrdiff_t)n] = (uint8_t)((rest & 0x7f) | (n + 1 < back ? 0x80 : 0));
}

/* --- making room --- */

/* Opens a gap of `size` bytes at `offset`; the node has so much free. Returns where the gap is. */
static uint32_t node_open(struct listq_node *node, uint32_t offset, uint32_t size)
{
    const uint32_t front = node->begin - node->prefix_len;
    const uint32_t back = node->size - node->end;
    const uint32_t before = offset - node->begin;
    const uint32_t after = node->end - offset;
    uint32_t down = 0; /* How far the part before moves. */

    if (back < size || (front >= size && before < after))
        down = front < size ? front : size;
    const uint32_t up = size - down;
    CHECK(up <= back);
    if (down != 0 && before != 0)
        memmove(node->data + node->begin - down, node->data + node->begin, before);
    if (up != 0 && after != 0)
        memmove(node->data + offset + up, node->data + offset, after);
    node->begin -= down;
    node->end += up;
    return offset - down;
}

/* A node for the item alone, before node `i`. */
static void node_add(struct listq *q, uint32_t i, const struct listq_item *item, bool front)
{
    const struct bytes prefix = prefix_of(item->position);
    size_t need = prefix.len + entry_size(item, prefix.len == 0);

    /* A list that fills more than one node will fill another. */
    if (q->ring_count != 0)
        need = size_max(need, NODE_BYTES_MAX - NODE_HEAD_BYTES);
    struct listq_node *node = node_new(q, need);
    node_set_prefix(node, prefix);
    node->begin = node->end = front ? node->size : node->prefix_len;
    ring_insert(q, i, node);
}

void node_split(struct listq *q, const struct place *at)
{
    struct listq_node *node = node_at(q, at->ring);
    const uint32_t moved = node->end - at->offset;
    struct listq_node *tail = node_new(q, (size_t)node->prefix_len + moved);
    uint64_t count = 0;
    struct entry entry;

    for (uint32_t offset = at->offset; offset < node->end; offset += entry.size, count++)
        entry_load(node, offset, &entry);
    node_set_prefix(tail, bytes_of(node->data, node->prefix_len));
    tail->begin = tail->prefix_len;
    tail->end = tail->begin + moved;
    memcpy(tail->data + tail->begin, node->data + at->offset, moved);
    node->end = at->offset;
    /* Either may have what was dirty or in flight. */
    node_copy_state(tail, node);
    ring_insert(q, at->ring + 1, tail);
    slot_at(q, at->ring + 1)->count = count;
    slot_at(q, at->ring)->count -= count;
}

/*
 * Sees to it that the node of the place has `size` bytes free, or that the place is in a new node
 * for the item. The entry's form may change with the node.
 */
static NOINLINE void make_room(struct listq *q, struct place *at, const struct listq_item *item,
                               uint32_t size)
{
    struct listq_node *node = node_at(q, at->ring);
    const bool first = at->offset == node->begin;
    const bool last = at->offset == node->end;
    const size_t need = (size_t)node->prefix_len + node_used(node) + size;

    if (NODE_HEAD_BYTES + need <= NODE_BYTES_MAX) {
        const uint32_t before = at->offset - node->begin;
        /* Doubling, until it is as large as nodes get. */
        const size_t wish = size_min(2 * (size_t)node->size, NODE_BYTES_MAX - NODE_HEAD_BYTES);
        node_resize(q, at->ring, size_max(need, wish), first && !last);
        at->offset = node_at(q, at->ring)->begin + before;
        return;
    }
    if (!first && !last) {
        /* The next round finds room at the end of this one, or adds a node behind it. */
        node_split(q, at);
        return;
    }
    at->ring += last;
    node_add(q, at->ring, item, first && !last);
    at->offset = node_at(q, at->ring)->begin;
}

void entry_insert(struct listq *q, struct place *at, const struct listq_item *item)
{
    CHECK(item->position.len <= LISTQ_POSITION_BYTES_MAX);
    if (q->ring_count == 0) {
        node_add(q, 0, item, false);
        *at = (struct place){.offset = node_at(q, 0)->begin};
    }
    /* At most a split and a new node. */
    for (;;) {
        struct listq_node *node = node_at(q, at->ring);
        const bool whole = !node_shares(node, item->position);
        const uint32_t size = entry_size(item, whole);
        if (unlikely(node->size - node->prefix_len - node_used(node) < size)) {
            make_room(q, at, item, size);
            continue;
        }
        at->offset = node_open(node, at->offset, size);
        entry_store(node->data + at->offset, item, whole, size);
        slot_at(q, at->ring)->count++;
        q->count++;
        return;
    }
}

/* --- removing --- */

static bool same_prefix(const struct listq_node *a, const struct listq_node *b)
{
    return bytes_eq(bytes_of(a->data, a->prefix_len), bytes_of(b->data, b->prefix_len));
}

static bool nodes_join_well(const struct listq *q, uint32_t i)
{
    if (i + 1 >= q->ring_count)
        return false;
    const struct listq_node *left = node_at(q, i);
    const struct listq_node *right = node_at(q, i + 1);
    return node_used(left) + node_used(right) < NODE_JOIN_BOTH_BYTES && same_prefix(left, right);
}

/* Moves the entries of node `i` + 1 to the end of node `i`. */
static void nodes_join(struct listq *q, uint32_t i)
{
    struct listq_node *right = node_at(q, i + 1);
    const uint32_t moved = node_used(right);

    node_resize(q, i, (size_t)right->prefix_len + node_used(node_at(q, i)) + moved, false);
    struct listq_node *left = node_at(q, i);
    memcpy(left->data + left->end, right->data + right->begin, moved);
    left->end += moved;
    slot_at(q, i)->count += slot_at(q, i + 1)->count;
    if (right->flight == q->flight)
        left->flight = right->flight;
    /* The older of both places in the queue. */
    if (list_linked(&right->link) && (!list_linked(&left->link) || right->lsn < left->lsn)) {
        if (list_linked(&left->link))
            list_remove(&left->link);
        left->lsn = right->lsn;
        list_insert_after(&right->link, &left->link);
    }
    node_free(q, right);
    ring_remove(q, i + 1);
}

/*
 * Gives memory back after a removal from a node that is not empty. Not from the ends of a longer
 * list: pushes and pops happen there.
 */
static void node_trim(struct listq *q, struct place *at)
{
    struct listq_node *node = node_at(q, at->ring);
    uint32_t before = at->offset - node->begin;

    if (node_used(node) >= NODE_JOIN_ONE_BYTES)
        return;
    const bool inner = at->ring > 0 && at->ring + 1 < q->ring_count;
    if (inner && at->ring > 1 && nodes_join_well(q, at->ring - 1)) {
        at->ring--;
        before += node_used(node_at(q, at->ring));
        nodes_join(q, at->ring);
    } else if (inner && at->ring + 2 < q->ring_count && nodes_join_well(q, at->ring)) {
        nodes_join(q, at->ring);
    } else if ((inner || q->ring_count == 1) && node->size >= NODE_SHRINK_BYTES_MIN &&
               node_used(node) < node->size / 8) {
        const bool front = node->begin - node->prefix_len > node->size - node->end;
        node_resize(q, at->ring, node->prefix_len + 2 * (size_t)node_used(node), front);
    }
    at->offset = node_at(q, at->ring)->begin + before;
}

void entry_remove(struct listq *q, struct place *at)
{
    struct listq_node *node = node_at(q, at->ring);
    struct entry entry;

    entry_load(node, at->offset, &entry);
    const uint32_t before = at->offset - node->begin;
    const uint32_t after = node->end - at->offset - entry.size;
    if (before < after) {
        if (before != 0)
            memmove(node->data + node->begin + entry.size, node->data + node->begin, before);
        node->begin += entry.size;
        at->offset += entry.size;
    } else {
        if (after != 0)
            memmove(node->data + at->offset, node->data + at->offset + entry.size, after);
        node->end -= entry.size;
    }
    q->count--;
    if (--slot_at(q, at->ring)->count == 0) {
        node_free(q, node);
        ring_remove(q, at->ring);
        at->offset = at->ring < q->ring_count ? node_at(q, at->ring)->begin : 0;
        return;
    }
    node_trim(q, at);
    if (at->offset == node_at(q, at->ring)->end && at->ring + 1 < q->ring_count) {
        at->ring++;
        at->offset = node_at(q, at->ring)->begin;
    }
}

void node_drop(struct listq *q, uint32_t i)
{
    q->count -= slot_at(q, i)->count;
    node_free(q, node_at(q, i));
    ring_remove(q, i);
}

void nodes_clear(struct listq *q)
{
    for (uint32_t i = 0; i < q->ring_count; i++)
        node_free(q, node_at(q, i));
    q->ring_count = 0;
    q->count = 0;
    ring_resize(q, 0);
}
