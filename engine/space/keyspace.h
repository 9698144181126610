/*
 * The keyspace of one shard, across both tiers.
 *
 * A key is in one of four states:
 *
 *     absent     nothing in the key table
 *     hot        its key row is in DRAM (struct obj); a collection's elements may be there in part
 *     cold       7 bytes in the key table; its rows are in the store
 *     tombstone  hot, but dead: deleted in DRAM, the store does not know it yet
 *
 * Reads look at hot rows only. ks_need() tells whether everything a command names is hot and, if
 * not, starts the reads and calls back; commands are run when it says so (resolve first, run
 * after).
 *
 * Writes come from the layer above, which has logged them: the ks_apply_* functions cannot fail.
 * They change DRAM and mark rows dirty; the flusher (flush.h) brings dirty rows to the store in
 * the order of their first unstored change, the demoter (demote.h) frees clean ones when memory
 * is short.
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_ENGINE_SPACE_KEYSPACE_H
#define TIERRA_ENGINE_SPACE_KEYSPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/crc16.h"
#include "engine/base/metric.h"
#include "engine/base/sum.h"

#include "engine/space/coll.h"
#include "engine/space/keytab.h"
#include "engine/space/obj.h"
#include "engine/value/row.h"
#include "engine/value/tag.h"

struct keyspace;
struct mailbox;
struct pool;
struct reactor;
struct store;

/* Longest key and longest field, member or element name. A row key holds both. */
#define KS_NAME_BYTES_MAX 65535u

/* A key with what is derived from it. The name is borrowed. */
struct ks_key {
    struct bytes name;
    uint64_t hash;
    uint16_t slot;
};

struct ks_options {
    uint64_t seed; /* Of the hashes of keys and of elements; fixed with the data directory. */
    struct store *store;
    struct pool *readers;    /* Blocking reads. */
    struct pool *maintainer; /* Blocking writes: one thread, in order. */
    struct mailbox *mailbox; /* Of the shard thread: completions come back by it. */
    uint64_t dram_bytes;     /* The shard's share of maxmemory; 0: no limit. For sizes of tables. */
    uint8_t origin;
    bool group; /* A member of a replication group (group.h). */
    /*
     * Of a group: rows of a cold key that is to be written as a whole, up to which it is loaded, at
     * most a slice of a read; 0: a slice (group_known.c).
     */
    uint32_t small_bytes_max;
    const char *keys_path; /* Of the checkpoint of the key table (keyfile.h); NULL: none. */
    /* Everything of the log up to `lsn` must become durable; asked before rows go to the store. */
    void (*request_sync)(void *ctx);
    void *ctx;
};

/* clang-format off */
#define KS_METRICS(X)                                                                            \
    X(hot_reads,        METRIC_COUNTER, "Keys that a command found in DRAM.")                     \
    X(expired_reads,    METRIC_COUNTER, "Keys that were found expired, and not reclaimed yet.")   \
    X(cold_reads,       METRIC_COUNTER, "Keys or elements that had to be read from flash.")       \
    X(row_reads,        METRIC_COUNTER, "Rows read from flash for commands.")                     \
    X(row_read_misses,  METRIC_COUNTER, "Of these, rows that were not there.")                    \
    X(row_read_errors,  METRIC_COUNTER, "Of these, rows that were damaged or could not be read.") \
    X(scans,            METRIC_COUNTER, "Collections loaded whole.")                              \
    X(stale_reads,      METRIC_COUNTER, "Reads repeated because the row changed meanwhile.")      \
    X(promotions,       METRIC_COUNTER, "Keys that became hot by a read.")                        \
    X(stale_index_rows, METRIC_COUNTER, "Score index rows found without their member.")           \
    X(demotions,        METRIC_COUNTER, "Keys that became cold.")                                 \
    X(demoted_elements, METRIC_COUNTER, "Elements of collections that left DRAM.")                \
    X(flushed_rows,     METRIC_COUNTER, "Rows written to the store.")                             \
    X(flushed_bytes,    METRIC_COUNTER, "Bytes of these rows.")                                   \
    X(flushed_deletes,  METRIC_COUNTER, "Rows removed from the store.")                          \
    X(flushes,          METRIC_COUNTER, "Batches written to the store.")                          \
    X(flush_failures,   METRIC_COUNTER, "Batches that the store refused.")                        \
    X(sweeps,           METRIC_COUNTER, "Deleted collections whose rows were removed.")           \
    X(key_checkpoints,  METRIC_COUNTER, "Checkpoints of the key table.")                          \
    X(key_checkpoint_keys, METRIC_COUNTER, "Keys written to them.")                    \
    X(key_checkpoint_remakes, METRIC_COUNTER, "Times that one was damaged and made anew.")
/* clang-format on */
METRIC_STRUCT(ks_metrics, KS_METRICS);

MUST_USE int ks_create(const struct ks_options *options, struct keyspace **out);
void ks_destroy(struct keyspace *ks);

/*
 * Forgets every key, written or not, for a store that is about to be replaced. Not while busy.
 * O(1): memory is freed on the maintenance thread, and the keyspace is busy until that has ended.
 */
void ks_clear(struct keyspace *ks);
/* The store is empty. `keys_path` as in the options. Reads one row: blocks a little. */
void ks_set_store(struct keyspace *ks, struct store *store, const char *keys_path);

static inline struct ks_key ks_key_of(struct bytes name, uint64_t seed)
{
    return (struct ks_key){
        .name = name, .hash = hash64(name.ptr, name.len, seed), .slot = key_slot(name)};
}
/* The key of a collection that stands in the table. Valid as long as its key row. */
static inline struct ks_key ks_key_of_coll(const struct coll *coll)
{
    return (struct ks_key){.name = obj_key(coll->obj), .hash = coll->hash, .slot = coll->slot};
}

uint64_t ks_seed(const struct keyspace *ks);

/* Of a member of a group that had none: nothing has been written yet. */
void ks_set_origin(struct keyspace *ks, uint8_t origin);

/* --- reading --- */

enum ks_where {
    KS_ABSENT,
    KS_HOT,
    KS_COLD
};

/*
 * Where the key is at `now_ms`. KS_HOT: `*out` is its object, alive (not expired) and valid until
 * the next call that changes the keyspace. KS_ABSENT also for a tombstone and for a key that has
 * expired; then `*out_expired`, if not NULL, tells that the key's memory could be reclaimed.
 */
enum ks_where ks_find(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms,
                      struct obj **out, bool *out_expired);

/*
 * The same, but it does not count as a use for eviction (usage.h): what asks about a key and not
 * for what it holds. It keeps the key in DRAM as any look-up does.
 */
enum ks_where ks_look(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms,
                      struct obj **out);

/* The object if the key is hot and alive, else NULL. */
struct obj *ks_get(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms);

/* The same, but it leaves no trace: neither a use nor a reason to stay in DRAM. */
struct obj *ks_peek(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms);

/* Likewise, in either tier. */
bool ks_is_absent(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms);

/* The collection at a hot key that is not deleted, else NULL. Does not count as a use of it. */
struct coll *ks_peek_coll(struct keyspace *ks, const struct ks_key *key);

/* Its type, enum value_type, in either tier; VT_NONE if it is absent. */
uint8_t ks_type(struct keyspace *ks, const struct ks_key *key, uint64_t now_ms);

/* When the object expires, in ms since 1970; 0: never. */
uint64_t ks_expire_at(const struct obj *obj);

/* Keys that exist, hot and cold; those that expired but were not reclaimed yet count. O(1). */
uint64_t ks_count(const struct keyspace *ks);
uint64_t ks_count_expiring(const struct keyspace *ks);
uint64_t ks_count_hot(const struct keyspace *ks);

const struct ks_metrics *ks_metrics(const struct keyspace *ks);

/* Reads, writes or sweeps are under way: not a time to end. */
bool ks_busy(const struct keyspace *ks);

/* --- writing; `lsn` is the position of the logged batch, `tag` its tag --- */

/* SET: replaces whatever is there. `expire_at_ms` 0: never. */
void ks_apply_set(struct keyspace *ks, const struct ks_key *key, struct tag tag, uint64_t lsn,
                  struct bytes value, uint64_t expire_at_ms);

/* EXPIRE and PERSIST of a hot key; `row`: the new key row, of a string only. */
void ks_apply_expire(struct keyspace *ks, const struct ks_key *key, uint64_t lsn, struct bytes row,
                     uint64_t expire_at_ms);

/* Replaces the key row of a string by `row` (a counter, a new expiry). The key may be absent. */
void ks_apply_row(struct keyspace *ks, const struct ks_key *key, uint64_t lsn, struct bytes row,
                  uint64_t expire_at_ms);

/* DEL, hot or cold. Rows of a collection are swept from the store later. */
void ks_apply_del(struct keyspace *ks, const struct ks_key *key, struct tag tag, uint64_t lsn);

/* The key is hot, or absent and becomes an empty collection of `type`. */
struct coll *ks_apply_coll(struct keyspace *ks, const struct ks_key *key, uint8_t type,
                           struct tag tag, uint64_t lsn);

/*
 * Adds or replaces an element of a hash, set or sorted set. What is known of it must be resident.
 * True if it is new.
 */
bool ks_apply_elem(struct keyspace *ks, struct coll *coll, struct bytes sub, struct tag tag,
                   uint64_t lsn, struct bytes row);

/* Removes a live element; `sub` may be its own. The collection stays, even if it is empty now. */
void ks_apply_elem_del(struct keyspace *ks, struct coll *coll, struct bytes sub, struct tag tag,
                       uint64_t lsn);

/* What an element becomes; `sub` of a list is a position. */
struct ks_elem {
    struct bytes sub;
    struct bytes row;
    struct tag tag;
    uint64_t lsn;
};

/*
 * Where a list changes: at an end, or where the position says. An element within is resident; an
 * insertion or removal there needs all of the list.
 */
enum ks_list_place {
    KS_LIST_FRONT,
    KS_LIST_BACK,
    KS_LIST_WITHIN
};

void ks_apply_list_put(struct keyspace *ks, struct coll *coll, const struct ks_elem *elem,
                       enum ks_list_place place);
void ks_apply_list_del(struct keyspace *ks, struct coll *coll, struct bytes pos, struct tag tag,
                       uint64_t lsn, enum ks_list_place place);

#endif
