/*
 * The local write path: the only way by which a command changes data.
 *
 *     mut_begin  .. mut_set, mut_del, mut_elem_set ..  mut_end
 *
 * Each mut_* call stamps its change with the tag of the batch, encodes it as an op and applies it
 * to DRAM; mut_end hands the batch to the op log as one record. A batch is what a peer applies
 * whole: one command, or one EXEC.
 *
 * A handler first reads and decides, then calls mut_*; a mut_* call cannot fail, because
 * mut_check, which the dispatcher calls before a write command, has seen that the log takes
 * records.  Handlers have made sure that what they change is resident (the command table says
 * what they need).
 *
 * The batch holds at most one net op per row: a row that is changed twice within a batch has its
 * earlier op voided (mutate.c tells how).
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_REPLICATION_MUTATE_H
#define TIERRA_REPLICATION_MUTATE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/space/keyspace.h"
#include "engine/value/vv.h"

struct batch;
struct mut;
struct op;
struct oplog;

struct mut_options {
    struct keyspace *ks;
    struct oplog *log;
    uint8_t origin;
    uint64_t seq_seen; /* Highest own sequence number found at recovery. */
    struct vv vv;      /* Of everything applied at recovery. */
    /*
     * A member of a replication group (the keyspace's option, too): ops carry what peers need, rows
     * are joined. Then every key that a command writes must be resident or absent, which
     * ks_need_key sees to, or, for SET and DEL, its key row be known (ks_need_row); and an element
     * that is added again must be set again, or a concurrent removal would win.
     */
    bool group;
    struct vv seqs; /* In a group: the last sequence number applied of each origin, at recovery. */
    uint32_t flush; /* In a group: the flush epoch of the keys. */
    /* In a group: a batch was logged here at `lsn`; the bytes are borrowed. May be NULL. */
    void (*on_logged)(void *ctx, uint64_t lsn, const struct batch *batch, struct bytes bytes);
    /* A key was changed: WATCH, keyspace events. May be NULL. */
    void (*on_change)(void *ctx, const struct ks_key *key);
    /* In a group: `op` of another member was applied to the key. May be NULL. */
    void (*on_remote)(void *ctx, const struct ks_key *key, const struct op *op);
    void *ctx;
};

void mut_create(const struct mut_options *options, struct mut **out);
void mut_destroy(struct mut *m);

/* --- a member of a group; between batches --- */

/* Of a shard that was opened with origin 0, and its keyspace; nothing has been applied yet. */
void mut_set_origin(struct mut *m, uint8_t origin);

/*
 * The flush epoch that batches carry from now on. Batches of a lower one have no effect any more;
 * the caller has emptied the keyspace.
 */
void mut_set_flush(struct mut *m, uint32_t flush);

/*
 * Everything up to these vectors is here, some of it without having passed through the log. They
 * are not below what was applied.
 */
void mut_adopt(struct mut *m, const struct vv *vv, const struct vv *seqs);

/*
 * Once, at a start: where the clock begins, at the lease or a little above it, and where it does in
 * each millisecond (hlc.h). `chance` is random, of this start alone.
 */
void mut_start_clock(struct mut *m, uint64_t lease, uint64_t chance);

/* The clock is at least at `hlc` from now on: local batches are above it. */
void mut_observe(struct mut *m, uint64_t hlc);

/* The clock: local batches are above it. */
uint64_t mut_hlc(const struct mut *m);

/*
 * What a batch may be said to come to: the longest string, also as chunks, and its key. It may
 * become longer, by what was not foreseen: up to the longest record of the log, 16 MiB more.
 */
#define MUT_BATCH_BYTES_MAX (560u << 20)

/*
 * In a group: the longest value of a field or element. Its row has the concurrent values of all
 * origins, and crosses a link whole in a copy (replica_take.c); long strings are rows of chunks.
 */
#define MUT_ELEM_BYTES_MAX (16u << 20)

/*
 * Whether a batch of about `len` bytes can be logged now: 0, -ERR_BUSY (try again next turn),
 * -ERR_FENCED, -ENOSPC, -ERR_LIMIT.
 */
MUST_USE int mut_check(struct mut *m, size_t len);

/* The same of a batch of another member, which has exactly this length. */
MUST_USE int mut_check_remote(struct mut *m, size_t len);

/*
 * Within a batch, before a command's first change: whether the log takes `len` bytes of ops beyond
 * those of the batch so far. For effects that mut_check could not foresee; results likewise.
 */
MUST_USE int mut_room(struct mut *m, size_t len);

/* Starts a batch at `now_ms`. Nested calls (a command within EXEC) join the outer batch. */
void mut_begin(struct mut *m, uint64_t now_ms);

/*
 * The time by which a member of a group decides what has expired: that of its clock (HLC), never
 * behind what it has heard of. Without a group it is `wall_ms`.
 */
uint64_t mut_now_ms(const struct mut *m, uint64_t wall_ms);

/* Ends it. Returns its position, or 0 if nothing was changed or an outer batch is still open. */
uint64_t mut_end(struct mut *m);

/*
 * Within a batch, outside a group: the caller has emptied the keyspace, and what the batch has
 * changed so far is gone with the rest; the log does not hear of it.
 */
void mut_forget(struct mut *m);

/* Everything applied so far, as a vector. */
const struct vv *mut_vv(const struct mut *m);

/* Rows changed since the process started: rdb_changes_since_last_save and the like. */
uint64_t mut_changes(const struct mut *m);

/* --- keys --- */

/*
 * Tells who watches that the key was changed. Each change does so by itself; commands that Redis
 * counts as changes although nothing is another than before call it.
 */
void mut_changed(const struct mut *m, const struct ks_key *key);

/* SET: replaces whatever is there. `expire_at_ms` since 1970; 0: never. */
void mut_set(struct mut *m, const struct ks_key *key, struct bytes value, uint64_t expire_at_ms);

/* DEL of a key that exists, in either tier. */
void mut_del(struct mut *m, const struct ks_key *key);

/*
 * The key expired: removes it here only. No peer hears of it. In a group nothing happens: the key
 * stays hidden until garbage collection finds that it is so everywhere. False if that was noted
 * before.
 */
bool mut_reclaim(struct mut *m, const struct ks_key *key);

/* EXPIRE and PERSIST (`expire_at_ms` 0) of a key that is hot. */
void mut_expire(struct mut *m, const struct ks_key *key, uint64_t expire_at_ms);

/*
 * INCRBY on a string that is hot, or absent. Returns 0 and the new value; -ERR_FORMAT: not an
 * integer; -ERR_RANGE: overflow. After an error nothing changed.
 */
MUST_USE int mut_incr(struct mut *m, const struct ks_key *key, int64_t delta, int64_t *out);

/* INCRBYFLOAT likewise; -ERR_RANGE: NaN or infinity. */
MUST_USE int mut_incr_float(struct mut *m, const struct ks_key *key, long double delta,
                            long double *out);

/* --- parts of strings --- */

/*
 * SETRANGE and APPEND: `patch` (not empty) at `offset`, zeros before it if the string was shorter;
 * the string is hot or absent, and the chunks that are not written over as a whole are resident.
 * Returns the new length; -ENOMEM or, with nothing changed, -ERR_LIMIT and the like: the log does
 * not take it (mut_room).
 */
MUST_USE int mut_string_patch(struct mut *m, const struct ks_key *key, uint64_t offset,
                              struct bytes patch, uint64_t *out_len);

/*
 * SETBIT and BITFIELD: `count` (1 .. 64) bits from `bit` on become those of `value`, of which the
 * first is the most significant; likewise.
 */
MUST_USE int mut_string_bits(struct mut *m, const struct ks_key *key, uint64_t bit, uint32_t count,
                             uint64_t value);

/*
 * BITFIELD: the string, which is shorter, reaches to `len` with zeros; likewise. Of one in chunks
 * no chunk is written.
 */
MUST_USE int mut_string_lengthen(struct mut *m, const struct ks_key *key, uint64_t len);

/*
 * Whether changes of this string (NULL: there is none) go to other members as changes of its parts.
 * To give a bit the value that it has is a change then, too: it may be another one's elsewhere.
 */
bool mut_string_ships_parts(struct mut *m, const struct ks_key *key, const struct obj *obj);

/* --- elements of hashes, sets, sorted sets --- */

/*
 * The collection at `key`, which is hot or absent; made with `type` if absent. NULL if it has
 * another type.
 */
struct coll *mut_coll(struct mut *m, const struct ks_key *key, uint8_t type);

/*
 * Adds or replaces one element. `value` empty for sets; 8 bytes for sorted sets
 * (row_score_store). What is known of the element must be resident. True if it is new.
 * A member that a set has already is no change, and logs nothing, on a node without peers.
 */
bool mut_elem_set(struct mut *m, struct coll *coll, struct bytes sub, struct bytes value);

/*
 * Removes one live element; `sub` may be its own. With its last element the key goes: false, and
 * `coll` is freed.
 */
bool mut_elem_del(struct mut *m, struct coll *coll, struct bytes sub);

/* HINCRBY, HINCRBYFLOAT, ZINCRBY; errors as mut_incr and mut_incr_float. */
MUST_USE int mut_elem_incr(struct mut *m, struct coll *coll, struct bytes sub, int64_t delta,
                           int64_t *out);
MUST_USE int mut_elem_incr_float(struct mut *m, struct coll *coll, struct bytes sub,
                                 long double delta, long double *out);

/* --- lists; what is named must be resident, for an insertion all of the list --- */

struct listq_at;

/* At either end. */
void mut_list_push(struct mut *m, struct coll *coll, struct bytes value, bool front);

/* Removes the first or last element; false as mut_elem_del. */
bool mut_list_pop(struct mut *m, struct coll *coll, bool front);

/* Removes the element at the cursor; false as mut_elem_del. The cursor is not valid any more. */
bool mut_list_remove(struct mut *m, struct coll *coll, const struct listq_at *at);

/* LSET. The cursor is not valid any more. */
void mut_list_set(struct mut *m, struct coll *coll, const struct listq_at *at, struct bytes value);

/*
 * LINSERT before or behind the element at the cursor, which is not valid any more then. -ERR_LIMIT:
 * so much was inserted at this place that the list has to be written anew first; nothing changed.
 */
MUST_USE int mut_list_insert(struct mut *m, struct coll *coll, const struct listq_at *at,
                             bool before, struct bytes value);

#endif
