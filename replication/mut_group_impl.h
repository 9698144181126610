/*
 * The inside of the write path of a member of a group, shared by mut_group.c (keys and elements)
 * and mut_group_string.c (parts of strings).
 */
#ifndef TIERRA_REPLICATION_MUT_GROUP_IMPL_H
#define TIERRA_REPLICATION_MUT_GROUP_IMPL_H

#include "engine/base/buf.h"

#include "replication/mutate_impl.h"

/* A row as it was before the batch. */
struct before {
    uint64_t name;
    uint64_t at;    /* In mut_group.rows. */
    uint32_t batch; /* Valid if it is that of the batch. */
    uint32_t order; /* When it was kept. */
    uint32_t wiped; /* Of a key: when it was last written as a whole; 0: never. */
    uint32_t len : 31;
    uint32_t absent : 1; /* Of a key: it was not there. */
    uint32_t says;       /* Of a key: index + 1 in mut_group.says; 0: none. */
};
STATIC_ASSERT(sizeof(struct before) == 40);

struct says;

struct mut_group {
    struct batch batch; /* Tag and context of the batch under way. */
    struct buf rows;
    struct before *before; /* Open addressing. */
    uint32_t before_cap;
    uint32_t before_count;
    uint32_t number; /* Of the batch. */
    uint32_t order;
    struct buf seen;
    struct buf expanded; /* Scratch of op_expand; */
    struct buf joined;   /* of a join; */
    struct buf base;     /* of a row that several ops make; */
    struct buf operand;  /* the operand of an element. */
    struct buf text;     /* A string that is being changed. */
    struct buf name;     /* Of the key of an element. */
    /* mut_group_says.c: */
    struct says *says; /* Of keys whose rows were made again. */
    uint32_t says_count;
    uint32_t says_cap;
    uint32_t said;          /* Ops of the batch that were looked at. */
    struct buf said_before; /* u32 for each of these: index + 1 of the one before it that counts. */
    struct buf key_row;     /* A key row with what was said of it. */
};

/* --- rows before the batch; slices are valid until the next row is kept --- */

/* The key as it was before the batch. Valid until the next row is kept. */
struct before *mut_group_key_before(struct mut *m, const struct ks_key *key);
/* The element's row before the batch, or since its key was written as a whole. */
struct bytes mut_group_elem_before(struct mut *m, const struct ks_key *key, const struct coll *coll,
                                   struct bytes sub);
struct bytes mut_group_row_before(const struct mut_group *g, const struct before *b);
/* Of a key or element that the batch has kept. */
struct before *mut_group_before_of(const struct mut_group *g, uint64_t name);
/* What an op that replaces the row has seen of its counters; in g->seen. */
struct bytes mut_group_seen(struct mut_group *g, struct bytes row);

/* --- ops of the batch --- */

/* The op in the batch that a ref stands for; its slices borrow from the batch. */
void mut_group_op(const struct mut *m, const struct ref *r, struct op *out);
/* Voids the op that names it, if it is of that kind. */
bool mut_group_void(struct mut *m, uint64_t name, uint8_t kind);
/* Of the op of the batch that has given the key its value; OP_VOID: none. */
uint8_t mut_group_kind_of_value(struct mut *m, const struct ks_key *key);

/* --- making rows --- */

/* `row` joined with an operand, in `out`. */
struct bytes mut_group_join(struct buf *out, struct bytes row, struct bytes operand);
/* What the op does to its element; in g->operand. */
struct bytes mut_group_operand(struct mut *m, const struct ks_key *key, const struct op *op);
/* Joins an op's operand to the key row as it is. */
void mut_group_make_key(struct mut *m, const struct ks_key *key, const struct op *op);

/* --- mut_group_says.c --- */

/* Makes the key row again: as it was before the batch, with the living ops of the key. */
void mut_group_make_key_again(struct mut *m, const struct ks_key *key);
/* An op is about to be voided; `taken_back`: no other that sets the element comes in its place. */
void mut_group_says_void(struct mut *m, const struct ref *r, bool taken_back);
/* All ops of the key are voided. */
void mut_group_says_forget(struct mut_group *g, const struct before *key);
/* The batch is over. */
void mut_group_says_clear(struct mut_group *g);

/* --- times of strings in chunks --- */

/* EXPIRE of a generation; the value that shows has no time of its own. */
void mut_group_expire_string(struct mut *m, const struct ks_key *key, struct tag generation,
                             uint64_t expire_at_ms);
/*
 * The time that the value has for itself, from before, becomes one of its generation. False: it
 * cannot, as the string stands before a collection (mut_group_string.c).
 */
bool mut_group_own_generation(struct mut *m, const struct ks_key *key, const struct coll *coll);

/* All of a string, if there is one, into g->text. */
void mut_group_text(struct mut *m, const struct obj *obj);

#endif
