/*
 * The inside of the group's keyspace, shared by group.c (keys), group_elem.c (elements and what is
 * derived from them) and group_load.c (reads). Not for users of group.h.
 */
#ifndef TIERRA_ENGINE_SPACE_GROUP_IMPL_H
#define TIERRA_ENGINE_SPACE_GROUP_IMPL_H

#include "engine/base/buf.h"

#include "engine/io/pool.h"
#include "engine/space/flight.h"
#include "engine/space/group.h"
#include "engine/space/ks_state.h"
#include "engine/space/overlay.h"

struct group_gc;
struct group_name;

struct ks_group {
    struct overlay overlay;
    uint64_t overlay_bytes; /* As counted in ks->bytes. */
    struct buf row;         /* Scratch: the result of a join. */
    struct buf clipped;     /* Scratch. */
    struct buf expanded;    /* Scratch of op_expand. */
    struct buf operands;    /* Element operands of the op under way, behind its key operand. */
    uint64_t lsn;           /* Of the last change. */
    uint64_t maybes;        /* Cold entries of type KS_MAYBE, */
    uint64_t ghosts;        /* and of KS_GHOST. */
    struct pool_class load_class;
    struct pool_class name_class;
    struct group_name *name; /* The search for a name that is under way, or NULL. */
    uint32_t probes;         /* Reads of unsettled keys under way. */
    struct group_gc *gc;
    uint64_t probe_bucket; /* Where to go on looking for them in the overlay, */
    uint64_t probe_cursor; /* and in the table. */
    struct ks_group_metrics metrics;
};

/* What a key row shows, as far as residency is concerned. */
struct group_shape {
    uint8_t type; /* As in the key table: VT_CHUNKED for strings in chunks; VT_NONE. */
    struct tag generation;
};

static inline struct group_shape group_shape_of(const struct row_view *view)
{
    return (struct group_shape){.type = row_table_type(view), .generation = view->generation};
}

/* The position of a change that no op makes: that of the last one that did, at least. */
static inline uint64_t group_lsn(const struct keyspace *ks)
{
    return u64_max(1, u64_max(ks->group->lsn, ks->applied_lsn));
}

static inline bool group_row_dead(struct bytes row)
{
    return row.len == 0 || (row.len == 1 && row.ptr[0] == ROW_DEAD);
}

/* --- group.c --- */

/* `row` joined with an operand, settled; in g->row. Never fails. */
struct bytes group_fold(struct ks_group *g, struct bytes row, struct bytes operand);

/* Whether a row of another member makes sense in a row of this kind: 0, -ERR_*. */
MUST_USE int group_check_row(uint8_t kind, struct bytes sub, struct bytes row);

/* What it shows, whatever the time; VT_NONE for what is damaged. */
void group_view(struct bytes row, struct row_view *out);

/* Changes of cold entries of the table go through here, for the counts. */
void group_set_cold(struct keyspace *ks, const struct keytab_ref *ref, uint64_t hash, uint8_t type,
                    bool ttl);
void group_insert_cold(struct keyspace *ks, const struct ks_key *key, uint8_t type, bool ttl);
/* The cold entry goes, or is about to become hot. */
void group_uncount_cold(struct keyspace *ks, const struct keytab_ref *ref);

/* Another block for the object, of another shape: takes its place in table and ring. */
struct obj *group_swap(struct keyspace *ks, const struct ks_key *key, struct keytab_ref *ref,
                       struct coll *coll, uint8_t type, struct bytes row);

/* Brings flags and counts up to date with the row, and with the number of elements. */
void group_refresh(struct keyspace *ks, const struct ks_key *key, struct obj *obj);

void group_account(struct keyspace *ks);

/* --- group_elem.c --- */

/* A collection object's fields from its key row. */
void group_coll_derive(struct keyspace *ks, struct coll *coll, const struct row_view *view);
struct coll *group_coll_new(struct keyspace *ks, const struct ks_key *key,
                            const struct group_shape *shape);
/* An element of a coll that is being loaded; `row` as the store has it, or will have. */
struct elem *group_elem_load(struct keyspace *ks, struct coll *coll, struct bytes sub,
                             struct bytes row, bool stored);
/* Joins an operand to an element of a hot collection. */
void group_elem_merge(struct keyspace *ks, struct coll *coll, struct bytes sub,
                      struct bytes operand, uint64_t lsn);
/*
 * The collection is about to be freed: what the store lacks of it goes to the overlay as it is
 * under `clear`. `seen`: nothing of it is alive there, nor of what the store has.
 */
void group_coll_apart(struct keyspace *ks, const struct ks_key *key, struct coll *coll,
                      const struct vv *clear, bool seen);
/* The elements of a collection that stays, under another clear vector. */
void group_coll_clip(struct keyspace *ks, struct coll *coll, const struct vv *clear, uint64_t lsn);
/*
 * What the overlay has of elements of this type becomes dead elements of the new collection:
 * nothing, or what `clear` leaves of them.
 */
void group_coll_absorb(struct keyspace *ks, const struct ks_key *key, struct coll *coll,
                       const struct vv *clear);

/*
 * Of a string: the next chunk that has something to collect, from coll->folds->at on; those that
 * have nothing any more are forgotten, and so is the list with its last. NULL: none.
 */
struct elem *group_folds_next(struct coll *coll);

/*
 * `heir` stands for the row from now on, as an element of `coll` or by itself: it waits from where
 * the other did, and anew if that is in flight.
 */
void group_inherit(struct keyspace *ks, struct row_head *from, struct row_head *heir,
                   struct coll *coll);

/* Puts a key row in place that shows the same, or nothing; of a hot key. */
void group_collected(struct keyspace *ks, const struct ks_key *key, struct keytab_ref *ref,
                     struct bytes row);

/* --- group_gc.c --- */

void group_gc_init(struct keyspace *ks);
void group_gc_deinit(struct keyspace *ks);
/* A row of the key is on its way to the store: if it holds what can be collected, it is noted. */
void group_gc_note(struct keyspace *ks, const struct ks_key *key, struct bytes row);
/* The horizons; NULL: none are known. */
const struct row_horizons *group_gc_horizons(const struct keyspace *ks);
/* Nothing is left to collect of it. */
void group_gc_done(struct keyspace *ks, const struct ks_key *key);

/*
 * How far the rows of a cold key were looked at, and what was found: that goes on over several
 * reads.
 */
struct group_pass {
    struct buf resume; /* The row key to go on from; empty: a new one begins. */
    uint32_t slices;
    uint64_t key_sum; /* Of the key row as it was at the begin. */
    uint16_t lost;    /* Types that had lost for good (row_collect) in all reads. */
    bool clearing;    /* Its clear vector was not stable then. */
    bool any;         /* Rows were to go, or change, before it can be said that none is left. */
    bool waits;       /* Rows hold what is to be collected later. */
};
/* Of a key that is noted, made if there is none; else NULL. */
struct group_pass *group_gc_pass(struct keyspace *ks, const struct ks_key *key);
/* It is the next one to be looked at, with the same horizons. */
void group_gc_again(struct keyspace *ks, const struct ks_key *key);
/*
 * It holds only what waits for `stable`: until that has moved there is nothing to look for. As it
 * may move each time, a string is to rest for as many horizons as it took slices.
 */
void group_gc_rest(struct keyspace *ks, const struct ks_key *key, uint32_t horizons);

/* --- group_known.c --- */

/* The key row of a cold key, if all of it is in the overlay, or NULL. */
struct overlay_entry *group_known(const struct keyspace *ks, const struct ks_key *key);
/* The entry was written, and stays all the same. */
bool group_keeps_known(const struct overlay_entry *e);

/* --- group_load.c --- */

/* A read of a cold key: FLIGHT_GROUP, FLIGHT_ROW or FLIGHT_PROBE. As ks_need_key. */
MUST_USE int group_need(struct keyspace *ks, const struct ks_key *key, enum flight_kind kind,
                        struct ks_wait *wait);

/* Starts the read by which a cold key is collected, from a row key on that is not its first. */
void group_sweep(struct keyspace *ks, const struct ks_key *key, struct bytes resume);

void group_load_init(struct keyspace *ks);
void group_load_deinit(struct keyspace *ks);
bool group_load_busy(const struct keyspace *ks);

#endif
