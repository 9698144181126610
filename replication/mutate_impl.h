/*
 * The inside of the local write path, shared by the files that implement it: mutate.c (batches,
 * keys, elements), mut_string.c (strings in chunks), mut_group.c and mut_group_string.c. Not for
 * users of mutate.h.
 */
#ifndef TIERRA_REPLICATION_MUTATE_IMPL_H
#define TIERRA_REPLICATION_MUTATE_IMPL_H

#include "engine/base/buf.h"

#include "engine/value/listpos.h"
#include "engine/value/op.h"

#include "replication/hlc.h"
#include "replication/mutate.h"
#include "replication/oplog.h"

/* One op of the batch under way. */
struct ref {
    uint64_t key;  /* Hash that names its key, and */
    uint64_t name; /* that names what it changes: the key row's value, its expiry, an element. */
    uint32_t at;   /* Offset in the batch. */
    uint32_t prev; /* Index + 1 of the op before it that names the same key; 0: none. */
    uint32_t prev_name; /* The same of what it changes. */
    uint8_t kind;       /* enum op_kind; OP_VOID once voided. */
};
STATIC_ASSERT(sizeof(struct ref) == 32);

/* What the index knows of a hash: the last op with it. */
struct name {
    uint64_t hash;
    uint32_t ref; /* Index + 1 */
    uint32_t batch;
};

struct mut_group;

struct mut {
    struct mut_options options;
    struct hlc hlc;
    struct vv vv;
    uint64_t seq;
    uint64_t now_ms;
    uint64_t changes;
    struct buf batch;        /* Header and ops; empty: nothing was changed yet. */
    struct buf row;          /* Scratch. */
    struct list_meta meta;   /* Scratch: the ends of one list. */
    struct mut_group *group; /* NULL: a node without peers. */
    struct vv seqs;          /* Of a group: the last sequence number of each origin. */
    uint32_t flush;          /* Of a group: the flush epoch of the keys. */
    uint32_t depth;
    uint32_t nops;
    struct tag tag;
    uint64_t lsn;
    struct ref *refs; /* One per op of the batch. */
    uint32_t refs_cap;
    uint32_t indexed;   /* Refs that the index knows: none, or all but the last. */
    struct name *names; /* The index: open addressing; valid where name.batch is batch_number. */
    uint32_t names_cap;
    uint32_t names_count;
    uint32_t batch_number;
};

/* Starts a change: opens the batch if need be, and has the index ready if there are ops before. */
void mut_begin_op(struct mut *m);

/* Logs an op. `key`: hash that all ops on the key share; `name`: of what it changes. */
void mut_append(struct mut *m, const struct op *op, uint64_t key, uint64_t name);

uint64_t mut_group_of(const struct ks_key *key);
uint64_t mut_name_of_value(const struct ks_key *key);
uint64_t mut_name_of_expiry(const struct ks_key *key);
uint64_t mut_name_of_elem(const struct ks_key *key, struct bytes sub);
uint64_t mut_name_of_chunk(const struct ks_key *key, uint64_t index);

/* The living op of the batch that named `hash` last, or NULL; only with ops in the batch. */
struct ref *mut_ref_find(const struct mut *m, uint64_t hash);
void mut_ref_void(struct mut *m, struct ref *r);

/* The ops of the batch that name the key since it was voided as a whole, living or void, the last
 * one first; NULL: no more. */
struct ref *mut_ref_last(const struct mut *m, uint64_t key);
struct ref *mut_ref_prev(const struct mut *m, const struct ref *r);
/* Likewise those that change the same; mut_ref_last finds the first of them by its name. */
struct ref *mut_ref_prev_name(const struct mut *m, const struct ref *r);

/* Voids every op of the batch that names the key. */
void mut_void_key(struct mut *m, uint64_t key);

/* --- elements of collections --- */

/* The batch has changed this element before: its op is voided. True if it was set, or counted. */
bool mut_void_elem(struct mut *m, const struct ks_key *key, struct bytes sub);
/* Logs an op on one; `count`: of those that are there with it. */
void mut_append_elem(struct mut *m, const struct ks_key *key, struct op *op, uint64_t count);
/* A collection without elements is no key: what is left is garbage of this node alone. */
bool mut_drop_if_empty(struct mut *m, struct coll *coll, const struct ks_key *key);

/* --- mut_group.c: the same for a member of a group; see mutate.h --- */

void mut_group_create(struct mut *m);
void mut_group_destroy(struct mut *m);
/* A batch begins: writes its header, returns the bytes. */
size_t mut_group_open(struct mut *m, uint8_t *dst);
/* It was logged. */
void mut_group_logged(struct mut *m);
void mut_group_set(struct mut *m, const struct ks_key *key, struct bytes value,
                   uint64_t expire_at_ms);
void mut_group_del(struct mut *m, const struct ks_key *key);
bool mut_group_expired(struct mut *m, const struct ks_key *key);
void mut_group_expire(struct mut *m, const struct ks_key *key, uint64_t expire_at_ms);
MUST_USE int mut_group_incr(struct mut *m, const struct ks_key *key, int64_t delta, int64_t *out);
MUST_USE int mut_group_incr_float(struct mut *m, const struct ks_key *key, long double delta,
                                  long double *out);
MUST_USE int mut_group_patch(struct mut *m, const struct ks_key *key, uint64_t offset,
                             struct bytes patch, uint64_t *out_len);
MUST_USE int mut_group_bits(struct mut *m, const struct ks_key *key, uint64_t bit, uint32_t count,
                            uint64_t value);
/* A string of which mut_string_ships_parts is true. */
MUST_USE int mut_group_lengthen(struct mut *m, const struct ks_key *key, struct coll *coll,
                                uint64_t len);
struct coll *mut_group_coll(struct mut *m, const struct ks_key *key, uint8_t type);
bool mut_group_elem_set(struct mut *m, struct coll *coll, struct bytes sub, struct bytes value);
bool mut_group_elem_del(struct mut *m, struct coll *coll, struct bytes sub);
MUST_USE int mut_group_elem_incr(struct mut *m, struct coll *coll, struct bytes sub, int64_t delta,
                                 int64_t *out);
MUST_USE int mut_group_elem_incr_float(struct mut *m, struct coll *coll, struct bytes sub,
                                       long double delta, long double *out);

/* --- mut_string.c --- */

/* EXPIRE and PERSIST of a string in chunks. */
void mut_string_expire(struct mut *m, const struct ks_key *key, struct coll *coll,
                       uint64_t expire_at_ms);

#endif
