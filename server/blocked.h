/*
 * Who waits for which keys: the table behind BLPOP and its relatives.
 *
 *     key "a"  ->  waiter 1 -> waiter 2          in the order in which they came
 *     key "b"  ->  waiter 1 -> waiter 3
 *     ready:       "b", "a"                      in the order in which they were touched
 *
 * A key stands in the table as long as somebody waits for it. Whoever changes a key calls
 * blocked_touch, which puts it among the ready ones; at the end of the command or transaction its
 * owner takes one ready key after the other and tries the waiters of each. What makes a key worth
 * trying (it exists, it has the right type) is not known here.
 *
 * A waiter is "under way" from the moment it is tried until it leaves or goes on waiting. It keeps
 * its place meanwhile, and nobody behind it is tried, as it may have to read cold data first.
 *
 * Bounded by BLOCKED_PLACES_MAX. Owned by one shard thread.
 */
#ifndef TIERRA_SERVER_BLOCKED_H
#define TIERRA_SERVER_BLOCKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/list.h"

#include "engine/space/keyspace.h"

/* Keys that all waiters of a shard name, together. */
#define BLOCKED_PLACES_MAX (1u << 20)

struct blocked_key;
struct blocked_place;
struct blocked_table;

/* One who waits. Embedded in its owner; zero ({0}) waits for nothing. */
struct blocked {
    struct list_link link;        /* All of the table, the oldest first. */
    struct blocked_place *places; /* One for each key; NULL: it waits for nothing. */
    uint32_t places_count;
    uint32_t places_cap;
    const struct blocked_key *serving; /* The ready key that it was last tried for; NULL: none. */
    uint8_t type;                      /* enum value_type that the key must have. */
    bool under_way;
};

MUST_USE struct blocked_table *blocked_create(void);
void blocked_destroy(struct blocked_table *t); /* Nobody waits. */

/*
 * Waits for `n` keys, of which some may be the same. False if too many are waited for; nothing
 * changed then.
 */
MUST_USE bool blocked_add(struct blocked_table *t, struct blocked *b, uint8_t type,
                          const struct ks_key *keys, uint32_t n);

/*
 * Leaves. If it was under way, those behind it have their turn: its keys become ready. No effect on
 * one who does not wait.
 */
void blocked_remove(struct blocked_table *t, struct blocked *b);

/* It was tried in vain and goes on waiting, at its place; likewise. */
void blocked_again(struct blocked_table *t, struct blocked *b);

/* Whether it is to look at this key: at the one it is tried for, or any. */
bool blocked_looks_at(const struct blocked *b, const struct ks_key *key);

/* The key was changed. Quick if nobody waits. */
void blocked_touch(struct blocked_table *t, const struct ks_key *key);

/* Some key is ready. */
bool blocked_any_ready(const struct blocked_table *t);

/*
 * Takes the next ready key; NULL if there is none. It stays valid until blocked_release, even if
 * nobody waits for it any more.
 */
struct blocked_key *blocked_take_ready(struct blocked_table *t);
void blocked_release(struct blocked_table *t, struct blocked_key *key);

/* Its name, borrowed. */
struct ks_key blocked_name(const struct blocked_key *key);

/*
 * The oldest waiter for a value of `type` at the key, now tried for it: under way. NULL if there is
 * none, or it is under way already.
 */
struct blocked *blocked_try(const struct blocked_key *key, uint8_t type);

/* The waiters by `link`, the oldest first. */
struct list *blocked_all(struct blocked_table *t);
uint32_t blocked_count(const struct blocked_table *t);

/* Memory of one waiter's places, and of the table as a whole. */
size_t blocked_bytes(const struct blocked *b);
size_t blocked_table_bytes(const struct blocked_table *t);

#endif
