/*
 * Reading the rows of a store key by key.
 *
 * A walk goes through the rows in order and leaves out nothing: rows that cannot be read are
 * counted and told. It remembers which rows a pending sweep hides.
 */
#ifndef TIERRA_TOOLS_INSPECT_INSPECT_WALK_H
#define TIERRA_TOOLS_INSPECT_INSPECT_WALK_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "engine/value/row.h"
#include "engine/value/rowkey.h"
#include "engine/value/vv.h"

struct store;

/* All rows of one key. */
struct walk_key {
    struct bytes name; /* Valid during the call. */
    uint64_t hash;
    uint16_t slot;
    bool has_row;          /* The key row is there. */
    bool damaged;          /* Some of its rows are not readable. */
    struct row_view view;  /* Of the key row, as if nothing expired. `value` is not valid. */
    struct vv clear;       /* Its element rows with tags up to here are gone. */
    struct tag swept;      /* And up to here: a sweep that waits. No tag: none. */
    uint64_t rows;         /* Of all kinds. */
    uint64_t elements;     /* Element rows that are alive. */
    uint64_t garbage;      /* And those that are not. */
    uint64_t orphans;      /* Alive, but of another type or generation than the key. */
    uint64_t bytes;        /* Names and rows, the garbage's too. */
    uint64_t value_bytes;  /* Rows alone, alive. */
    struct bytes bad_name; /* Of a row that is damaged; empty: none. */
};

struct walk_fns {
    /* One row, good or not (`status` of enum store_status; `row` if found). May be NULL. */
    void (*row)(void *ctx, struct walk_key *key, struct bytes name, int status, struct bytes row);
    /* All rows of a key were seen. A result other than 0 ends the walk and is returned. */
    int (*key)(void *ctx, struct walk_key *key);
    /* A row whose key is none of ours. May be NULL. */
    void (*alien)(void *ctx, struct bytes name);
    /*
     * The store could not be read on after the row `name` (empty: from the start); it goes on
     * before or at `next` (empty: at the end). May be NULL: then that is an error.
     */
    void (*gap)(void *ctx, struct bytes name, struct bytes next, int err);
    /* A live element row: whether it counts. NULL: yes. */
    bool (*counts)(void *ctx, const struct walk_key *key, struct bytes sub);
    void *ctx;
};

/* 0, an error of the store, or what `key` gave. */
MUST_USE int walk_store(struct store *store, const struct walk_fns *fns);

/* Only the rows of one key; `key` is called once, also if there is no row. */
MUST_USE int walk_one(struct store *store, uint64_t seed, struct bytes name,
                      const struct walk_fns *fns);

/* Whether an element row of the key is alive. */
bool walk_alive(const struct walk_key *key, struct bytes row, const struct row_view *view);

#endif
