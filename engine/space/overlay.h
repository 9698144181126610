/*
 * The overlay: what has been applied to keys that are not in DRAM, and is not in the store yet.
 *
 * An op that comes from another member of the group is applied to a cold key without reading it:
 * its operands (op.h) stand here, one entry a row, until the flusher writes them as merge operands.
 * Whoever reads a row of a cold key joins what is here to what the store has.
 *
 *     overlay -> keys, by hash -> entries of the key: row kind, subkey, row
 *
 * An entry is either an operand, to be joined with what the store has, or `full`: it is all there
 * is of the row and takes the place of what the store has. An entry waits in the dirty ring like
 * any row of DRAM (dirty.h), where its type OVERLAY_ROW tells it from a key's row.
 *
 * Operands of one row are joined as they come (row_merge_partial), which keeps their contexts. So
 * an entry may be joined into a row that has a part of it already: that changes nothing.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_OVERLAY_H
#define TIERRA_ENGINE_SPACE_OVERLAY_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/list.h"

#include "engine/space/obj.h"

struct dirty;
struct ks_key;

/* In row_head.type: no key has it. */
#define OVERLAY_ROW 0xffu

struct overlay_key {
    struct overlay_key *next; /* In its bucket. */
    struct list_link slot_link;
    struct list entries;
    uint64_t hash;
    uint16_t slot;
    uint16_t name_len;
    bool fresh;    /* The store has no row of this key: all entries are full. */
    uint32_t pins; /* Commands under way that have asked for its key row (group_known.c). */
    uint8_t name[];
};

struct overlay_entry {
    struct row_head h;          /* name_len: of the subkey; type: OVERLAY_ROW. */
    uint8_t kind;               /* Row kind (rowkey.h). */
    bool full;                  /* Else an operand. */
    struct overlay_entry *next; /* In its bucket. */
    struct overlay_key *key;
    struct list_link link; /* In key->entries. */
    uint64_t hash;
    uint8_t data[]; /* Subkey, row. */
};

struct overlay {
    struct dirty *dirty; /* The ring that entries wait in. */
    struct overlay_key **keys;
    struct list *slots; /* The keys of each slot: for who walks in the order of the table. */
    struct overlay_entry **entries;
    uint64_t keys_count;
    uint64_t entries_count;
    uint64_t keys_cap; /* Powers of two. */
    uint64_t entries_cap;
    uint64_t bytes; /* Memory, as allocated. */
};

void overlay_init(struct overlay *o, struct dirty *dirty);
/* Frees everything; the ring must not be used any more, or be forgotten as a whole. */
void overlay_deinit(struct overlay *o);

/* The first key of the slot (LIST_ITEM of slot_link); empty if there is none. */
static inline const struct list *overlay_slot(const struct overlay *o, uint16_t slot)
{
    return &o->slots[slot];
}

/* NULL if there is nothing of the key. */
MUST_USE struct overlay_key *overlay_key_find(const struct overlay *o, const struct ks_key *key);
/* By its hash alone: the first that has it. */
MUST_USE struct overlay_key *overlay_key_by_hash(const struct overlay *o, uint16_t slot,
                                                 uint64_t hash);
/* Made if it is not there; an entry must be put before the next call of another function. */
struct overlay_key *overlay_key_get(struct overlay *o, const struct ks_key *key);

static inline struct bytes overlay_key_name(const struct overlay_key *k)
{
    return bytes_of(k->name, k->name_len);
}

MUST_USE struct overlay_entry *overlay_find(const struct overlay *o, const struct overlay_key *k,
                                            uint8_t kind, struct bytes sub);

static inline struct bytes overlay_sub(const struct overlay_entry *e)
{
    return bytes_of(e->data, e->h.name_len);
}

static inline struct bytes overlay_row(const struct overlay_entry *e)
{
    return bytes_of(e->data + e->h.name_len, e->h.row_len);
}

/*
 * Puts `row` in place of what the entry has, or makes it; not as garbage. Its place in the ring
 * stays; a new one is clean, to be marked by the caller. `row` must not be of the entry itself.
 */
struct overlay_entry *overlay_put(struct overlay *o, struct overlay_key *k, uint8_t kind,
                                  struct bytes sub, struct bytes row, bool full);

/* Memory of keys and entries, without the tables, which do not become smaller. */
uint64_t overlay_row_bytes(const struct overlay *o);

/* Forgets its place in the ring, too. With its last entry the key goes. */
void overlay_remove(struct overlay *o, struct overlay_entry *e);

#endif
