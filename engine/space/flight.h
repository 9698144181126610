/*
 * A read under way, for the files that start one: flight.c (keys, elements, whole collections),
 * flight_list.c (ends of lists), flight_zset.c (ranges of sorted sets), group_load.c (keys of a
 * group). Not for users of the keyspace.
 */
#ifndef TIERRA_ENGINE_SPACE_FLIGHT_H
#define TIERRA_ENGINE_SPACE_FLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"
#include "engine/base/le.h"
#include "engine/base/list.h"

#include "engine/io/pool.h"
#include "engine/space/keyspace.h"
#include "engine/store/store.h"

struct ks_wait;
struct rowkey;

/* One slice of rows: bytes and rows. */
#define FLIGHT_SLICE_BYTES (512u << 10)
#define FLIGHT_SLICE_ROWS  4096u
/* Rows of a sweep, each of which the shard's thread joins and looks through. */
#define FLIGHT_SWEEP_ROWS 512u

enum flight_kind {
    FLIGHT_KEY,
    FLIGHT_ELEM,
    FLIGHT_SCAN,
    FLIGHT_FRONT, /* The subkey is the bound of the list's gap where it begins. */
    FLIGHT_BACK,
    FLIGHT_ZSET,
    FLIGHT_GROUP, /* All rows of a key of a group (group_load.c), */
    FLIGHT_ROW,   /* its key row, and what follows within a slice, */
    FLIGHT_PROBE, /* to see whether it exists, */
    FLIGHT_SWEEP  /* to collect garbage. */
};

struct flight {
    struct list_link bucket_link;
    struct list_link elem_link; /* Of an element flight. */
    struct list_link park_link; /* An element flight that waits for its key flight. */
    struct list parked;         /* Of a key flight: those. */
    struct list waiters;
    struct keyspace *ks;
    struct pool_job job;
    struct store_value value; /* Of a key or element flight. */
    struct buf rows;          /* Of others: u16 name length, u32 row length, name, row. */
    struct buf resume;        /* Row key, or place in the order, to go on from. */
    struct buf far;           /* Of parts of a collection: the other bound, likewise. */
    struct buf last;          /* Of a sorted set: the place that was read last. */
    uint64_t scanned_bytes;
    uint64_t scanned_rows;
    uint32_t slices;   /* Of a group: those that have landed. */
    bool resumed;      /* Of a sweep: it did not begin with the key's first row. */
    uint32_t rows_max; /* Of parts of a collection. */
    uint32_t range;    /* Of a sorted set: which one of its ranges becomes longer. */
    bool near_in;      /* The bounds are rows to be read. */
    bool far_in;
    bool back; /* Downwards. */
    int err;
    bool end; /* There are no more rows. */
    bool stale;
    uint8_t kind;
    uint8_t elem_kind; /* Of a scan: the row kind that it brings. */
    uint16_t slot;
    uint16_t key_len;
    uint16_t sub_len;
    uint32_t row_key_len;
    uint64_t hash;
    uint64_t coll_id; /* The collection whose `reads` counts this flight; 0: none yet. */
    uint8_t data[];   /* Key, subkey (of a scan over a part of a string: its span), row key. */
};

static inline struct ks_key flight_key(const struct flight *f)
{
    return (struct ks_key){.name = bytes_of(f->data, f->key_len), .hash = f->hash, .slot = f->slot};
}

static inline struct bytes flight_sub(const struct flight *f)
{
    return bytes_of(f->data + f->key_len, f->sub_len);
}

static inline struct bytes flight_row_key(const struct flight *f)
{
    return bytes_of(f->data + f->key_len + f->sub_len, f->row_key_len);
}

/* One that others may join, or NULL. */
struct flight *flight_find(struct keyspace *ks, enum flight_kind kind, const struct ks_key *key,
                           struct bytes sub);

/* What one reads. */
struct flight_spec {
    enum flight_kind kind;
    uint8_t row_kind;  /* 0, ROWKEY_KIND_KEY: the row of the key; else that of the element `sub`. */
    struct bytes sub;  /* With the kind it tells the flights of a key apart. */
    struct coll *coll; /* Counts it; NULL: nothing of the collection is resident. */
};

/* A new one, in its bucket, to be submitted. `fn` gets its job's mail. */
struct flight *flight_create(struct keyspace *ks, const struct ks_key *key,
                             const struct flight_spec *spec, void (*fn)(struct mail *mail));

/* The command waits for it, if there is one that waits. Returns 1. */
int flight_wait(struct flight *f, struct ks_wait *wait);

/* It has come back: nobody joins it any more, the collection no longer counts it. */
void flight_land(struct flight *f);

/* Of a part of a collection: `install` takes what was read, and it ends. */
void flight_part_land(struct flight *f, int (*install)(struct flight *f, struct coll *coll));

/* Wakes who waits, and frees it. */
void flight_finish(struct flight *f, int err);

/*
 * Whether the row can be shown; a row that is garbage, waiting to be swept, becomes empty. False,
 * with f->err, if it is damaged.
 */
bool flight_row_ok(struct flight *f, const struct coll *coll, const struct ks_key *key,
                   struct bytes *row);

/* In the rows before each element: lengths of its name and its row, 4 bytes each. The name may
 * be a subkey with what stands before it in the row key: longer than 65,535 bytes. */
#define FLIGHT_ROW_HEAD_BYTES 8u
static inline void flight_row_head(uint8_t head[FLIGHT_ROW_HEAD_BYTES], size_t sub_len,
                                   size_t row_len)
{
    le32_store(head, (uint32_t)sub_len);
    le32_store(head + 4, (uint32_t)row_len);
}

/* On a thread of the pool: appends an element to the rows. 0 or -ENOMEM. */
MUST_USE int flight_rows_add(struct flight *f, struct bytes sub, struct bytes row);

/*
 * On a thread of the pool: gives `take` the rows of the store from `from` on (which is left out
 * unless near_in), backwards if `back`, until it returns false, with f->err or because what follows
 * is not wanted, or rows_max or the bytes of a slice were taken. f->end: there was no more to take.
 */
typedef bool flight_take_fn(struct flight *f, struct store_iter *it, void *ctx);
void flight_walk(struct flight *f, struct bytes from, flight_take_fn *take, void *ctx);

/* Back on the shard's thread: takes the first of `*rows`; false at the end. */
bool flight_rows_take(struct bytes *rows, struct bytes *out_sub, struct bytes *out_row);

/*
 * On a thread of the pool: the next slice of a scan, from `resume` or the flight's row key on.
 * `take` adds the row at the cursor to `rows`; false: it is behind the last one, or f->err says
 * what is wrong. `end` is false if a slice follows, from `resume` on.
 */
void flight_read_slice(struct flight *f, bool (*take)(struct flight *f, struct store_iter *it));

/* --- flight_order.c --- */

/* Fields of a hash whose order is kept: what a table in DRAM keeps in order, too. */
#define FLIGHT_ORDERED_MAX ELEMTAB_LEAF_MAX

struct flight_row {
    struct bytes sub;
    struct bytes row;
    struct tag tag; /* When it was written. */
    uint32_t at;    /* Its place in the store. */
};

/* Takes the first rows of `*rows`; they stand in `out` from the oldest to the youngest. */
uint32_t flight_rows_by_age(struct bytes *rows, struct flight_row out[FLIGHT_ORDERED_MAX]);

/* --- flight_list.c --- */

void flight_list_init(struct keyspace *ks);

/* --- flight_zset.c --- */

void flight_zset_init(struct keyspace *ks);

#endif
