/*
 * Nodes and entries of listq, for the files that implement it.
 *
 * An entry, at `offset` of its node:
 *
 *     0  1   flags: enum listq_flag, ENTRY_WHOLE
 *     1  4   suffix of the position; with ENTRY_WHOLE its length (2, little-endian) and all of it
 *     .. 1-5 row length, a varint
 *     .. ..  row
 *     .. 1-5 length of all that, to be read from the end: seven bits a byte, low bits last, the top
 *            bit set if there is another byte before
 *
 * A position stands without ENTRY_WHOLE if it is the prefix of the node, four bytes and 0x80.
 */
#ifndef TIERRA_ENGINE_SPACE_LISTQ_NODE_H
#define TIERRA_ENGINE_SPACE_LISTQ_NODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/list.h"

#include "engine/space/listq.h"

#define ENTRY_WHOLE        0x4u
#define ENTRY_SUFFIX_BYTES 4u
#define ENTRY_LAST_BYTE    0x80u

/* A node takes no more than this, unless it has only one entry. */
#define NODE_BYTES_MAX 4096u
/* Longer prefixes are not shared. */
#define NODE_PREFIX_BYTES_MAX 48u

struct listq_node {
    struct list_link link; /* In listq.waiting while it has dirty entries. */
    uint64_t lsn;          /* Lowest of its unstored changes, while it waits. */
    uint32_t flight;       /* The last flight that it had entries in. */
    uint32_t size;         /* Bytes of data. */
    uint32_t begin;        /* Of the entries in data, behind the prefix. */
    uint32_t end;
    uint16_t prefix_len; /* 0: all positions are whole. */
    uint8_t data[];
};
#define NODE_HEAD_BYTES offsetof(struct listq_node, data)

struct listq_slot {
    struct listq_node *node;
    uint64_t count; /* Entries. */
};

/* An entry taken apart. The slices point into the node. */
struct entry {
    struct bytes suffix; /* Or the whole position. */
    struct bytes row;
    uint32_t size; /* Of the entry, its back length included. */
    uint8_t flags;
};

/* A place in the list. */
struct place {
    uint32_t ring; /* Number of the node, from the front. */
    uint32_t offset;
};

static inline struct listq_slot *slot_at(const struct listq *q, uint32_t i)
{
    return &q->ring[(q->ring_first + i) & (q->ring_cap - 1)];
}

static inline struct listq_node *node_at(const struct listq *q, uint32_t i)
{
    return slot_at(q, i)->node;
}

static inline uint32_t node_used(const struct listq_node *node)
{
    return node->end - node->begin;
}

/* Bytes of a back length. */
static inline uint32_t back_size(uint32_t len)
{
    return len < 0x80 ? 1 : len < 0x4000 ? 2 : len < 0x200000 ? 3 : len < 0x10000000 ? 4 : 5;
}

/* The length of the entry that ends at `end`, its back length included. */
static inline uint32_t back_load(const uint8_t *end)
{
    uint32_t len = 0;
    uint32_t n = 0;
    uint8_t byte;

    do {
        byte = *--end;
        len |= (uint32_t)(byte & 0x7f) << (7 * n++);
    } while ((byte & 0x80) != 0);
    return len + n;
}

static inline void entry_load(const struct listq_node *node, uint32_t offset, struct entry *out)
{
    const uint8_t *const start = node->data + offset;
    const uint8_t *p = start + 1;
    uint32_t len = ENTRY_SUFFIX_BYTES;

    out->flags = *start;
    if (unlikely((out->flags & ENTRY_WHOLE) != 0)) {
        len = (uint32_t)p[0] | (uint32_t)p[1] << 8;
        p += 2;
    }
    out->suffix = bytes_of(p, len);
    p += len;
    uint32_t row_len = *p & 0x7f;
    for (unsigned shift = 7; unlikely((*p++ & 0x80) != 0); shift += 7)
        row_len |= (uint32_t)(*p & 0x7f) << shift;
    out->row = bytes_of(p, row_len);
    len = (uint32_t)(p - start) + row_len;
    out->size = len + back_size(len);
}

/* The position of an entry, in `out` if it is not whole. */
struct bytes entry_position(const struct listq_node *node, const struct entry *entry, uint8_t *out);

/* Whether an entry at that position would have the prefix of the node. */
bool node_shares(const struct listq_node *node, struct bytes position);

/* The order of the first entry's position and another one. */
int node_cmp(const struct listq_node *node, struct bytes position);

/* Writes `item` at the place, and makes room for it; the place becomes where it is. */
void entry_insert(struct listq *q, struct place *at, const struct listq_item *item);

/*
 * Takes the entry out; the place becomes that of the next one, which may be the end of the last
 * node, or of no node.
 */
void entry_remove(struct listq *q, struct place *at);

/* Another row of the same length. */
static inline void entry_overwrite(struct listq_node *node, const struct entry *entry,
                                   struct bytes row)
{
    CHECK(entry->row.len == row.len);
    if (row.len != 0)
        memcpy(node->data + (entry->row.ptr - node->data), row.ptr, row.len);
}

/* Moves the entries from the place on, which is within a node, to a node of their own behind. */
void node_split(struct listq *q, const struct place *at);

/* Whether the node has what the store lacks or is just being given. */
static inline bool node_is_busy(const struct listq *q, const struct listq_node *node)
{
    return list_linked(&node->link) || (q->flying && node->flight == q->flight);
}

/* Takes node `i` with all its entries away. */
void node_drop(struct listq *q, uint32_t i);

/* Takes all nodes away. */
void nodes_clear(struct listq *q);

/* Notes that the node has an entry that changed at `lsn`. */
static inline void node_mark(struct listq *q, struct listq_node *node, uint64_t lsn)
{
    if (list_linked(&node->link))
        return;
    node->lsn = lsn;
    list_push_back(&q->waiting, &node->link);
}

/* The same for an `lsn` that may be lower than others that wait. */
void node_mark_older(struct listq *q, struct listq_node *node, uint64_t lsn);

#endif
