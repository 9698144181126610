/*
 * The inside of a keyspace, shared by the files that implement it; README.md lists them. Not for
 * users of the keyspace.
 */
#ifndef TIERRA_ENGINE_SPACE_KS_STATE_H
#define TIERRA_ENGINE_SPACE_KS_STATE_H

#include "engine/base/buf.h"
#include "engine/base/list.h"
#include "engine/base/rng.h"

#include "engine/io/pool.h"
#include "engine/space/demote.h"
#include "engine/space/dirty.h"
#include "engine/space/flush.h"
#include "engine/space/keylog.h"
#include "engine/space/keyspace.h"
#include "engine/space/strval.h"
#include "engine/space/usage.h"
#include "engine/store/store.h"
#include "engine/value/rowkey.h"
#include "engine/value/vv.h"

struct ks_evict;
struct ks_group;
struct keymerge;
struct ks_expire;
struct ks_wait;

/* Buckets of the tables of flights and of sweeps; powers of two. */
#define KS_FLIGHT_BUCKETS 4096
#define KS_SWEEP_BUCKETS  4096
/* Positions (lsn, vv) remembered for the covered position. */
#define KS_POINTS_MAX 1024
/* Keys on probation; beyond it the oldest leave. A small budget allows fewer. Powers of two. */
#define KS_PROBATION_MAX 65536
#define KS_PROBATION_MIN 4096

/* A position of the log with the version vector that it stands for. */
struct ks_point {
    uint64_t lsn;
    struct vv vv;
};

/* Write-back: one batch at a time (flush.c). */
struct ks_flush {
    struct store_batch batch;
    struct pool_class cls;
    struct pool_job job;
    struct keyspace *ks;
    struct list lists;      /* Lists with changes in the batch, by coll.flush_link. */
    uint64_t batch_lsn;     /* What the log must have made durable before the batch is written. */
    uint64_t bytes_max;     /* Of the batch being built; */
    uint32_t end;           /* what entered the ring from here on is not for it. */
    bool busy;              /* From the building of a batch to its end. */
    bool building;          /* More rows may be added. */
    bool waiting;           /* For the log. */
    int err;                /* Of the last write. */
    struct store_debt debt; /* As the last batch found it. */
    struct store_debt debt_found; /* The maintenance thread's while a batch is written; */
    uint64_t debt_at_ms;          /* also its. */
    uint64_t now_ms;              /* When it was started. */
    uint64_t retry_at_ms;
    uint32_t retries;
    uint32_t points_first; /* A ring, oldest first. */
    uint32_t points_count;
    struct ks_point points[KS_POINTS_MAX];
    struct vv *point_seqs; /* Of each point, in a group; else NULL. */
    struct vv seqs;        /* As they are now. */
    uint32_t note_len;     /* Of a group. */
    uint8_t note[KS_NOTE_BYTES_MAX];
    uint64_t covered_lsn;      /* Of the last batch that was written. */
    uint64_t covered_building; /* Of the batch being written; 0: it has none. */
};

/* The journal of keys and its checkpoint (keylog.h). */
struct ks_keys {
    char *path;              /* Of the checkpoint; NULL: there is neither. */
    struct keylog_head head; /* As of the last batch that was written; id 0: no journal. */
    struct buf entries;      /* Of the batch being built or written. */
    uint64_t base;           /* Of the checkpoint. */
    uint64_t covered_lsn;    /* When it was begun. */
    uint64_t written_ms;
    uint64_t changes; /* Entries in the journal beyond it, roughly. */
    uint64_t due;     /* So many are written to a new checkpoint; 0: by the number of keys. */
    bool loaded;      /* The start used a checkpoint. */
    struct keymerge *merge;
};

struct ks_probationer {
    uint64_t hash;
    uint16_t slot;
};

struct ks_probation {
    struct ks_probationer *key; /* A ring of `max`. */
    uint32_t max;
    uint32_t first;
    uint32_t count;
};

/* Uses of keys (usage.h). */
struct ks_use {
    struct use_rule rule;
    uint32_t fresh;      /* Of a key that is made now. */
    uint64_t now_ms;     /* Wall clock of the last tick. */
    struct usage *table; /* NULL: none are kept. */
    struct rng rng;
    const uint64_t *commands; /* NULL: each look-up is a use. Else what was counted last, */
    uint64_t counted_command; /* when, */
    uint64_t counted_hash;    /* and of which key. */
};

/* Some that a load of all has found to be too large (toolarge.c), by the hash of the key. */
#define KS_TOO_LARGE 64u
struct ks_too_large {
    uint64_t hash;
    uint64_t limit;  /* That was met. Bytes; 0: there is none here. */
    uint64_t loaded; /* Elements until then. */
    uint32_t asks;   /* Since then. */
};

struct keyspace {
    struct ks_options options;
    struct keytab *tab;
    struct dirty dirty;
    struct ks_flush flush;
    struct ks_expire *expire;
    struct ks_evict *evict;
    struct ks_group *group; /* NULL: a node without peers. */
    struct ks_use use;
    struct ks_keys keys;
    struct ks_probation *probation;
    struct list flights[KS_FLIGHT_BUCKETS];      /* By key. */
    struct list elem_flights[KS_FLIGHT_BUCKETS]; /* Those of elements also by key and element. */
    struct list room;                            /* Who waits to start a read (wait.c). */
    const struct ks_wait *holder;                /* Whose pins keep elements, too. */
    uint32_t flights_count;
    uint64_t flight_bytes;      /* Of one on average. */
    uint64_t flights_bytes_max; /* Of all together. */
    uint64_t fresh_bytes;       /* Elements that reads have brought and nobody has used. */
    /* Reads of rows that the pool does not have yet (flight.c). */
    struct pool_job *gathered_first;
    struct pool_job *gathered_last;
    uint32_t gathered_count;
    struct pool_class read_class;
    struct pool_class scan_class;
    struct pool_class ends_class;
    struct pool_class zset_class;
    struct pool_class sweep_class;
    struct pool_class clear_class;
    struct pool_class names_class;
    struct pool_class stream_class;
    uint32_t streams_count; /* Open, or being closed (collstream.c). */
    uint32_t walks_count;   /* Under way (collwalk.c). */
    struct list names;      /* Stretches of names, being read or read (scan.c). */
    uint32_t names_count;
    uint32_t names_reading;
    struct list sweeps;       /* To be looked at when a batch is done; */
    struct list sweeps_begun; /* slices run; */
    struct list sweeps_ended; /* their rows are to go (sweep.c). */
    uint32_t sweeps_running;
    uint32_t sweeps_ended_count;
    struct list *sweep_buckets; /* By the hash of the key; NULL: there was no sweep yet. */
    uint32_t sweeps_count;
    uint64_t tombstones; /* Dead objects in the table. */
    uint64_t hot_ttl;    /* Living hot keys with an expiry. */
    uint64_t bytes;      /* Of objects and collections, as allocated. */
    uint64_t coll_ids;
    uint64_t clock_hand;
    struct list large;   /* Collections that are large in DRAM, in turn (demote.c). */
    struct list retired; /* Dropped collections whose elements are being freed. */
    uint32_t retired_count;
    uint64_t reap_above;     /* Elements beyond which one gets there; fewer are freed at once. */
    uint64_t dropped;        /* Elements of others that were freed at once in this turn. */
    uint64_t large_size;     /* Of all of them, by coll.c's measure. */
    uint64_t large_credit;   /* What their turn is behind that of the keys. */
    uint64_t scan_bytes_max; /* Largest collection that is loaded whole. */
    struct ks_too_large too_large[KS_TOO_LARGE];
    uint64_t applied_lsn;
    bool clock_ages;      /* The present turn of the clock's hand takes touches away. */
    bool clock_may_age;   /* The next one does in any case. */
    bool clearing;        /* What ks_clear forgot is being freed. */
    bool gathers;         /* ks_submit_reads is called at the end of each turn. */
    bool writing_here;    /* ks_flush_batch_now writes from the shard's thread. */
    bool recovering;      /* The store may have rows of elements that DRAM believes to be new. */
    bool recovered_lists; /* Lists hold records that the store lacks (ks_recover_list). */
    bool pressure;        /* Memory is short: admit on the second touch only. */
    uint8_t *name;        /* Scratch for one row key. */
    struct buf scratch;
    struct ks_metrics metrics;
};

/* The type that the key table has of it when it is cold; in a group as ks_group_cold_type. */
static inline uint8_t ks_obj_table_type(const struct obj *obj)
{
    if (!obj_is_chunked(obj))
        return obj->h.type;
    const struct bytes row = obj_row(obj);
    return obj_coll(obj)->grouped && !row_is_chunked(row) ? VT_STRING : VT_CHUNKED;
}

/* As obj.told would have it. */
static inline uint8_t ks_obj_state(const struct obj *obj)
{
    return (uint8_t)(ks_obj_table_type(obj) << 1 | ((obj->h.flags & BLK_TTL) != 0));
}

/* --- toolarge.c --- */

/* A load of all of it was given up after so many elements. */
void ks_too_large_note(struct keyspace *ks, const struct coll *coll, uint64_t loaded);
/* That was so, and another load is likely to be given up, too. */
bool ks_too_large(struct keyspace *ks, const struct coll *coll);
/* The collection of this name has gone. */
void ks_too_large_forget(struct keyspace *ks, const struct ks_key *key);
/* All have. */
void ks_too_large_clear(struct keyspace *ks);

/* --- keyspace.c --- */

/* Frees the block and, of a collection, its elements. It is in no table. */
void ks_obj_free(struct keyspace *ks, struct obj *obj);

struct ks_key ks_key_of_obj(const struct keyspace *ks, const struct obj *obj);

/*
 * Whether a key row that was read makes sense: 0 and what it shows; -ERR_CORRUPT, -ERR_POISON. A
 * list that has elements must know what positions it gave them.
 */
MUST_USE int ks_key_row_check(struct bytes row, struct row_view *out);

/* A cold key becomes hot: `row` as read from the store, `view` of it (ks_key_row_check). */
struct obj *ks_install(struct keyspace *ks, const struct ks_key *key, const struct keytab_ref *ref,
                       struct bytes row, const struct row_view *view);

/* A hot key becomes cold, if it is clean and alive. */
bool ks_demote(struct keyspace *ks, const struct keytab_ref *ref, bool touched);

/* What stands where the key belongs. */
struct ks_place {
    enum keytab_kind kind;
    struct keytab_ref ref; /* Set unless `kind` is NONE. */
};

static inline struct ks_place ks_place_of(const struct keyspace *ks, const struct ks_key *key)
{
    struct ks_place at;

    at.kind = keytab_find(ks->tab, key->slot, key->hash, key->name, &at.ref);
    return at;
}

/* Puts a new object for the key there; what was a collection is swept. */
void ks_obj_place(struct keyspace *ks, const struct ks_key *key, struct ks_place *at,
                  struct obj *obj, struct tag tag);

/* Sets or clears the expiry flag, and counts. */
void ks_obj_set_ttl(struct keyspace *ks, struct obj *obj, bool ttl);

/* Room for a row of `row_len`; table and ring learn the new address. */
struct obj *ks_obj_resize(struct keyspace *ks, struct obj *obj, const struct keytab_ref *ref,
                          uint64_t hash, size_t row_len);

/* --- group.c, group_load.c --- */

void ks_group_init(struct keyspace *ks);
void ks_group_deinit(struct keyspace *ks);
/* Forgets the overlay, with all keys. */
void ks_group_clear(struct keyspace *ks);
/* The table was filled at start. */
void ks_group_count_loaded(struct keyspace *ks);
/* Cold entries of the table that are no keys. */
uint64_t ks_group_ghosts(const struct keyspace *ks);
bool ks_group_busy(const struct keyspace *ks);
/* A read of the whole cold key; as ks_need_key. */
int ks_group_need(struct keyspace *ks, const struct ks_key *key, struct ks_wait *wait);
/* Of a cold key with an expiry: it has passed, as far as the key row is known (group_known.c). */
bool ks_group_cold_expired(const struct keyspace *ks, const struct ks_key *key, uint64_t now_ms);
/* What is known of a cold key stays until it is unpinned. False: nothing is. */
bool ks_group_pin(struct keyspace *ks, uint16_t slot, uint64_t hash);
void ks_group_unpin(struct keyspace *ks, uint16_t slot, uint64_t hash);
/* A row of the overlay is to go into the batch; it was written. */
void ks_group_put(struct keyspace *ks, struct row_head *row);
void ks_group_written(struct keyspace *ks, struct row_head *row);
/*
 * The type that the table has of a cold key with this key row: one that has elements may have none.
 * VT_CHUNKED only of a row that is nothing else, so that it has no clear vector (group.c,
 * after_op); other strings in chunks are VT_STRING.
 */
uint8_t ks_group_cold_type(struct bytes row, const struct row_view *view);
/* A row of a hot key is on its way to the store: garbage collection may want it. */
void ks_group_note_row(struct keyspace *ks, const struct ks_key *key, struct bytes row);
/* A dead object that the store knows and that nothing waits for: leaves DRAM. */
bool ks_group_demote_dead(struct keyspace *ks, const struct keytab_ref *ref);

/* --- coll.c --- */

struct coll *coll_create(struct keyspace *ks, const struct ks_key *key, uint8_t type);
/* Frees the elements and the collection itself, not its object. */
void coll_destroy(struct keyspace *ks, struct coll *coll);
/* Brings the count of bytes up to date after a change of the containers. */
void coll_account(struct keyspace *ks, struct coll *coll);
/* The key row as it is to be stored; in ks->scratch. */
struct bytes coll_key_row(struct keyspace *ks, const struct coll *coll);
/* Installs an element that was read; empty: it is not there. Ignored if it is known. */
void coll_install(struct keyspace *ks, struct coll *coll, struct bytes sub, struct bytes row);
/* The same for a command that waits for it, or will ask for it soon: it stays until it is used. */
void coll_install_fresh(struct keyspace *ks, struct coll *coll, struct bytes sub, struct bytes row);
/* The element was written and is clean: a dead one goes. */
void coll_elem_clean(struct keyspace *ks, struct coll *coll, struct elem *elem);
/* Recovery: the element is dead, whatever DRAM and the store have of it. */
void coll_bury(struct keyspace *ks, struct coll *coll, struct bytes sub, uint64_t lsn);
/* Nothing of it is dirty, being read, or fresh and within what is kept (ks_fresh_full). */
bool coll_clean(const struct keyspace *ks, const struct coll *coll);
/*
 * Lets some clean elements go that were not touched lately, of COLL_SHED_SIZE at most by the
 * measure of large_size; true if any went, or will go the next time as they have lost their touch.
 */
#define COLL_SHED_SIZE 128
bool coll_shed(struct keyspace *ks, struct coll *coll);
/* Kind of the row keys of a collection's elements. */
uint8_t coll_row_kind(uint8_t type);

/* --- coll_list.c --- */

/* `count` elements are on flash only, and nothing is known of their place. NULL if there are none.
 */
struct list_gap *coll_gap_open(struct coll *coll, uint64_t count);
void coll_gap_close(struct coll *coll);
uint64_t coll_gap_bytes(const struct coll *coll);
/*
 * A row was read at the near end of the gap; empty: nothing that shows. The gap ends there from
 * now on. Ignored if the position is outside of it.
 */
void coll_gap_fill(struct keyspace *ks, struct coll *coll, struct bytes pos, struct bytes row,
                   bool front);
/* All of the gap was read. */
void coll_gap_end(struct keyspace *ks, struct coll *coll);
void coll_list_set_meta(struct coll *coll, const struct list_meta *meta, uint8_t origin);
/* Everything of the list is in the store: all elements leave DRAM. */
void coll_list_forget(struct keyspace *ks, struct coll *coll);
/* Lets clean elements go from the middle; true if any went. */
bool coll_list_shed(struct keyspace *ks, struct coll *coll);

/* --- strval.c --- */

/* Of a string that is about to be freed. */
void strval_deinit(struct keyspace *ks, struct coll *coll);
/* A chunk as it was read; an empty row: there is none. 0, -ERR_CORRUPT, -ERR_POISON. */
MUST_USE int strval_install(struct coll *coll, struct bytes sub, struct bytes row);
/* The scan of a span (two indices) has brought all that there is. */
void strval_span_done(struct coll *coll, struct bytes span);
/* Gives `fn` the rows of all dirty chunks; the string joins the lists of the batch. */
typedef void ks_put_fn(struct keyspace *ks, struct bytes key, struct bytes row);
void strval_put(struct keyspace *ks, struct coll *coll, ks_put_fn *fn);
void strval_put_done(struct keyspace *ks, struct coll *coll, bool written);

/* --- coll_zset.c --- */

void coll_side_free(struct coll *coll);
uint64_t coll_side_bytes(const struct coll *coll);
/*
 * The member is about to lose its score, of which the store may have an index row. Writing the
 * member takes the flag BLK_NOTED away.
 */
void coll_index_gone(struct coll *coll, struct elem *elem, double score);
/* The store has an index row that it should not have. */
void coll_index_add_gone(struct coll *coll, double score, struct bytes member);
/* For the batch: the next index row to remove; false if there is none. Valid until a change. */
bool coll_index_take_gone(struct coll *coll, double *out_score, struct bytes *out_member);
/* The batch was written, or not. */
void coll_index_flown(struct keyspace *ks, struct coll *coll, bool written);

enum coll_zset_state {
    COLL_ZSET_THERE, /* All that is wanted is resident. */
    COLL_ZSET_BEGUN, /* The range has the begin of it (the end, if `back`). */
    COLL_ZSET_APART  /* Not even that. */
};
struct ks_zset_need;
/* `*out_range`: number of the range that has it or begins it, or that a new one takes over. */
enum coll_zset_state coll_zset_state(struct coll *coll, const struct ks_zset_need *want,
                                     uint32_t *out_range);
/* How many members more are wanted, at most, than the range has; BEGUN. */
uint64_t coll_zset_missing(const struct coll *coll, const struct ks_zset_need *want,
                           uint32_t range);
/* All members from one place of the order to another were read and are resident. */
struct coll_zset_read {
    struct bytes from; /* Of a new range. */
    struct bytes to;
    uint64_t bytes; /* What was read. */
    uint32_t range;
    bool anew; /* Else more of the range that there is. */
    bool back; /* Towards the begin. */
};
void coll_zset_cover(struct keyspace *ks, struct coll *coll, const struct coll_zset_read *read);
/* Whether a member stays for the sake of a range. `room`: ZKEY_BYTES_MAX bytes. */
bool coll_zset_keeps(const struct coll *coll, const struct elem *elem, uint8_t *room);
/* Memory is short: gives long and old ranges up. */
void coll_zset_shed(struct coll *coll);
/* Gives all ranges up. */
void coll_zset_uncover(struct coll *coll);

/* --- flight.c --- */

/* Reads of a hot string's chunks; as ks_need_elem. `span`: first and last index. */
int ks_need_chunk(struct keyspace *ks, const struct ks_key *key, struct bytes sub,
                  struct coll *coll, struct ks_wait *wait);
int ks_need_scan(struct keyspace *ks, const struct ks_key *key, struct bytes span,
                 struct coll *coll, struct ks_wait *wait);

void ks_flights_init(struct keyspace *ks);
/* Reads that may be under way at a time. */
uint32_t ks_flights_max(const struct keyspace *ks);
/* What reads have brought for commands that have not run yet is more than is kept for them. */
bool ks_fresh_full(const struct keyspace *ks);
/* An element was changed: a read of it that is under way brings old news. */
void ks_flights_stale_elem(struct keyspace *ks, const struct coll *coll, struct bytes sub);
/* A read of the key, or of a part of it, is under way. */
bool ks_flights_any(const struct keyspace *ks, const struct ks_key *key);
/* A row was changed or created: reads of it that are under way bring old news. */
void ks_flights_stale(struct keyspace *ks, const struct ks_key *key);

/* --- wait.c --- */

/* Puts `wait` into a queue of waiters. */
void ks_wait_on(struct list *waiters, struct ks_wait *wait);
/* Wakes all of a queue, which belongs to nothing that others can find any more or is done. */
void ks_wake(struct list *waiters, int err);
/* The same; the key, whose read has come, is pinned for all of them. */
void ks_wake_pinning(struct list *waiters, struct keyspace *ks, uint16_t slot, uint64_t hash,
                     int err);
/* True: there are too many reads, and `wait` queues for room to start one. */
bool ks_wait_for_room(struct keyspace *ks, struct ks_wait *wait);
/* A read has ended: those who queue for room may try again. */
void ks_wake_room(struct keyspace *ks);

/* --- clear.c --- */

void ks_clear_init(struct keyspace *ks);
/* Takes every key out of DRAM, written or not, on this thread. */
void ks_free_all(struct keyspace *ks);

/* --- demote.c --- */

void ks_probation_init(struct keyspace *ks);
void ks_probation_deinit(struct keyspace *ks);
void ks_probation_add(struct keyspace *ks, const struct ks_key *key);

/* --- flush.c --- */

void ks_flush_init(struct keyspace *ks);
void ks_flush_deinit(struct keyspace *ks);

/* --- expire.c --- */

void ks_expire_init(struct keyspace *ks);
void ks_expire_deinit(struct keyspace *ks);
/* The hot key expires then. */
void ks_expire_note(struct keyspace *ks, const struct ks_key *key, uint64_t at_ms);
/* Appends its index row to the batch. */
void ks_expire_put(struct keyspace *ks, const struct ks_key *key, uint64_t at_ms);

/* A look for cold keys is under way. */
bool ks_expire_looking(const struct keyspace *ks);

/* --- evict.c --- */

void ks_evict_init(struct keyspace *ks);
void ks_evict_deinit(struct keyspace *ks);

/* --- scan.c --- */

void ks_scan_init(struct keyspace *ks);
void ks_scan_deinit(struct keyspace *ks);
/* The hot key is about to become cold: stretches of names that were read before may lack it. */
void ks_scan_demoted(struct keyspace *ks, const struct ks_key *key, const struct obj *obj);

/* --- collstream.c --- */

void ks_streams_init(struct keyspace *ks);

/* --- keymerge.c --- */

void ks_keys_init(struct keyspace *ks, const char *path);
void ks_keys_deinit(struct keyspace *ks);
/* The batch that is being built brings the key row, or removes it (VT_NONE). */
void ks_keys_note(struct keyspace *ks, const struct ks_key *key, uint8_t type, bool has_ttl);
/* Appends what was noted to the batch. */
void ks_keys_put(struct keyspace *ks, struct store_batch *batch);
/* The batch was written, or not. */
void ks_keys_done(struct keyspace *ks, bool written);
bool ks_keys_merging(const struct keyspace *ks);

/* --- sweep.c --- */

bool ks_sweep_running(const struct keyspace *ks);

void ks_sweep_init(struct keyspace *ks);
void ks_sweep_deinit(struct keyspace *ks);
/* Element rows of the key with tags before `tag` are garbage from now on. */
void ks_sweep_add(struct keyspace *ks, const struct ks_key *key, struct tag tag);
/* The same, as found in the store at start. */
void ks_sweep_load(struct keyspace *ks, const struct ks_key *key, struct tag limit);
/* Appends the key's sweep row, if it needs one, to the batch that brings its key row. */
void ks_sweep_put(struct keyspace *ks, const struct ks_key *key);
/* Appends the removal of the sweep rows that have done their work to the batch. */
void ks_sweep_take(struct keyspace *ks);
/* The batch was written, or not. Starts the sweeps whose rows are in the store now. */
void ks_sweep_batch_done(struct keyspace *ks, bool written);
/* Those that are not done. */
uint64_t ks_sweep_count(const struct keyspace *ks);
bool ks_sweep_pending(const struct keyspace *ks, const struct ks_key *key);
/* Element rows of the key with tags up to `*out` are garbage; false: none are. */
bool ks_sweep_limit(const struct keyspace *ks, const struct ks_key *key, struct tag *out);
/* Whether an element row with this tag is garbage. */
bool ks_sweep_hides(const struct keyspace *ks, const struct ks_key *key, struct tag tag);

#endif
