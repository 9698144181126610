/*
 * A collection's resident part: hash, set, sorted set or list.
 *
 * The key row stands in a struct obj (BLK_COLL), which points here. Hash fields, set members and
 * sorted set members are struct elem, one block each, found by elemtab; a sorted set also has them
 * in the order of their scores. A list keeps its elements packed, in listq.
 *
 * Residency: `complete` says that every live element is in DRAM. If not, an element that is not
 * found may still be on flash; the dispatcher has then fetched those that a command names. An
 * element that was read and is not there is remembered by a dead elem with BLK_UNKNOWN, so that
 * the command can tell "no such field" from "not loaded". An element that was deleted stays as a
 * dead elem until the store knows. Dead ones are invisible to the functions below, and stand in a
 * table of their own: a set that is popped empty before the store is told would else be drawn from
 * among ever more of them. In a group they stay in `tab`.
 *
 * A list may have one gap: a stretch of elements that are on flash only, clean, between those that
 * are resident at its front and at its back. The positions around the gap bound what a read of more
 * may bring, from either side:
 *
 *     seq:  e0 e1 .. e(before-1)            e(before) ..
 *                              | low    high |
 *     flash:                   (  e e e e e  )     `gap->count` elements
 *
 * A list that has just become hot is all gap. Pushes and pops happen outside of it. What a push
 * must know of the positions ever used stands in the key row.
 *
 * A sorted set may have some ranges of its order resident (struct zset_range): what was read of it
 * by score or rank.
 *
 * `count` is exact in both tiers: every local write knows whether its element existed.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_COLL_H
#define TIERRA_ENGINE_SPACE_COLL_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/list.h"
#include "engine/base/rng.h"

#include "engine/space/chunks.h"
#include "engine/space/elemtab.h"
#include "engine/space/listq.h"
#include "engine/space/obj.h"
#include "engine/space/zorder.h"
#include "engine/value/listpos.h"
#include "engine/value/row.h"
#include "engine/value/tag.h"

/* Elements of a list that are not in DRAM. */
struct list_gap {
    uint64_t count;  /* Of them. */
    uint64_t before; /* Resident elements in front of them. */
    struct buf low;  /* All of them are behind this position; empty: no bound. */
    struct buf high; /* And before this one. */
    bool low_in;     /* The bounds belong to them. */
    bool high_in;
};

/*
 * A part of the order of a sorted set: while `covers`, all live members whose place in the order,
 * score bytes | member (rowkey.h), is at or between the bounds are resident.
 */
struct zset_range {
    struct buf low;  /* Empty: from the begin. */
    struct buf high; /* Empty: to the end. */
    uint64_t bytes;  /* Of what was read to make it. */
    uint64_t used;   /* When, by zset_side.clock. */
    bool covers;
};
/* What one command, or the commands of a transaction, may ask for at once. */
#define ZSET_RANGES_MAX 8

/* What a sorted set has beside its members, if it has gone through the store. */
struct zset_side {
    struct zset_range range[ZSET_RANGES_MAX];
    uint64_t clock;
    struct buf gone; /* Index rows that the store is to lose: length 2, score 8, member. */
    size_t flying;   /* Bytes of these that are in the batch under way. */
};
#define ZKEY_BYTES_MAX (8u + 65535u)

/* The dead elements of a collection; there while there are any. */
struct coll_gone {
    struct elemtab tab;
    uint64_t hand; /* Of shedding. */
};

/* Chunks with something to collect in their rows (group_gc.c); one may stand here twice. */
struct coll_folds {
    uint32_t count;
    uint32_t cap;
    uint32_t at; /* Those before it were looked at since the horizons moved. */
    uint32_t index[];
};

struct coll {
    struct obj *obj;       /* Its key row; follows it when it moves. */
    uint64_t hash;         /* Of the key; with the slot: ks_key_of_coll. */
    uint64_t id;           /* Of this collection among all of the process: tells late reads. */
    struct tag tag;        /* Of the last write: the type assertion. */
    uint64_t lsn;          /* Of the last change. */
    uint64_t count;        /* Live elements in both tiers. */
    uint64_t expire_at_ms; /* 0: never. */
    uint64_t table_bytes;  /* Of the containers, as accounted. */
    uint64_t shed_hand;
    uint64_t *fresh_bytes; /* That of the keyspace. */
    uint64_t dead;         /* Dead elements in `tab`, if `grouped`; else those are in `gone`. */
    uint32_t reads;        /* Reads under way, */
    uint32_t spans; /* and those of more than one row: what may leave meanwhile, flight.c tells. */
    uint16_t slot;
    uint8_t type;
    bool held; /* The holder (wait.c) needs what is there. */
    bool complete;
    bool stored; /* The store may hold element rows. */
    struct elemtab tab;
    struct coll_gone *gone; /* Or NULL. */
    struct zorder order;    /* Of a sorted set. */
    struct listq seq;       /* Of a list. */
    struct list_gap *gap;   /* Of a list; NULL: it is complete. */
    struct list_run run;    /* Of a list: our own runs at its ends; hlc 0: none. */
    int64_t rank_min;       /* Of all positions it ever had, if `ranked`. */
    int64_t rank_max;
    uint64_t unsaved; /* Bytes of its changes that wait for the store, roughly. */
    bool ranked;
    bool retired; /* Dropped, without an object; its elements are being freed (ks_reap_some), or
                     wait for the end of the walks. */
    bool grouped; /* All rows are elements of `tab`; the rest is derived (group.h). */
    bool holes;   /* A list: elements within were removed, and the store may not know yet. */
    struct row_head list_head;   /* Stands for the whole list in the dirty ring. */
    struct list_link flush_link; /* Has changes, or index rows to lose, in the batch under way. */
    /* A large one has its turn when memory is short (demote.c); or among ks->retired. */
    struct list_link large_link;
    uint64_t large_size;      /* As counted in ks->large_size; 0 unless linked. */
    struct zset_side *side;   /* Of a sorted set, or NULL. */
    struct chunks chunks;     /* Of a string (strval.h); `count` is its length. */
    struct tag generation;    /* Likewise. */
    struct coll_folds *folds; /* Likewise, in a group; or NULL. */
    uint64_t noted_ms;        /* In a group: the expiry that expire.c was told. */
    uint32_t walks;           /* Under way (collwalk.h). */
    uint32_t wanted_ms;       /* When a walk held a change back last, low bits, 0: never; and */
    uint32_t wanted_lsn;      /* `lsn` then, likewise: for who sees to it. */
};

/* The live element, or NULL: absent, or not resident (coll_knows tells). */
struct elem *coll_find(const struct coll *coll, struct bytes sub);

/* Live elements in DRAM of what is not a list or a string: all of them if it is complete. */
uint64_t coll_resident(const struct coll *coll);

/* Whether DRAM has the element, live or dead: a row of it that is read now is older. */
bool coll_remembers(const struct coll *coll, struct bytes sub);

/* Whether DRAM can tell if the element exists. */
bool coll_knows(const struct coll *coll, struct bytes sub);

/*
 * Live elements; nothing may be changed between the calls. Those of a small collection come as they
 * were added while none of them has left DRAM and none was removed, others in no order.
 */
struct coll_iter {
    struct elemtab_iter it;
};
void coll_iter_init(const struct coll *coll, struct coll_iter *it);
/* NULL at the end. */
struct elem *coll_iter_next(struct coll_iter *it);

/* The live elements of one leaf from `cursor` on; returns where to go on, 0 at the end. See
 * elemtab_scan. */
typedef void coll_scan_fn(void *ctx, struct elem *elem);
uint64_t coll_scan(const struct coll *coll, uint64_t cursor, coll_scan_fn *fn, void *ctx);

/* A live element, each as likely as the other; NULL if there is none. */
struct elem *coll_random(const struct coll *coll, struct rng *rng);

/* Resident elements at the front and at the back of a list; a complete one is all front. */
uint64_t coll_list_front(const struct coll *coll);
uint64_t coll_list_back(const struct coll *coll);

/* By index from 0: an element that is resident, or beyond the end. */
void coll_list_at(const struct coll *coll, uint64_t index, struct listq_at *out);

/* What the list knows of the positions it ever had. Only `used`, ranks and runs are written. */
void coll_list_meta(const struct coll *coll, struct list_meta *out);

/*
 * Of a sorted set: the index among the resident members (zorder_at) of the one that has this rank
 * in the whole set. False if it is not known to be resident.
 */
MUST_USE bool coll_zset_rank(const struct coll *coll, uint64_t rank, uint64_t *out);

/*
 * The rank of a live member in the whole set. False if what is resident does not tell: neither all
 * members before it nor all behind it are known to be.
 */
MUST_USE bool coll_zset_rank_of(const struct coll *coll, const struct elem *elem, uint64_t *out);

/* The score of a sorted set's live element. */
double coll_score(const struct elem *elem);

#endif
