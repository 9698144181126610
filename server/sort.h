/*
 * SORT: its options, and the elements of a collection in the order that they ask for.
 *
 *     sort_parse -> sort_load -> sort_prepare -> sort_value ..
 *
 * A pattern (of BY, of GET) leads from an element to a value: its first '*' becomes the element,
 * which makes the name of a key, and what stands behind "->" is a field of the hash there. "#" is
 * the element itself; without '*' it leads nowhere.
 *
 * The keys of patterns are known only when the elements are. So they cannot be asked for before the
 * command runs: sort_prepare asks, and is called again from the start when they have come. What GET
 * leads to is asked for together with BY if most of the elements are shown, else when the order is
 * known. Each round of reads begins where the last one ended (struct sort_walk); when it has come
 * to the end all are looked at once more, for what was there before may have left meanwhile. What
 * patterns lead to may fill a quarter of maxmemory, as what a command names otherwise.
 *
 * Texts are compared byte by byte, as by redis-server in the locale "C"; elements with the same
 * number are ordered by their bytes.
 *
 * Owned by one shard thread. Nothing of the keyspace may be changed before sort_end.
 */
#ifndef TIERRA_SERVER_SORT_H
#define TIERRA_SERVER_SORT_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#include "engine/value/row.h"

struct coll;
struct keyspace;
struct ks_wait;
struct obj;

/* --- options --- */

struct sort_pattern {
    struct bytes head; /* The key is head, element, tail. */
    struct bytes tail;
    struct bytes field; /* Empty: the string at the key. */
    bool itself;        /* "#" */
    bool leads;         /* It has a '*'. */
};

struct sort_args {
    struct sort_pattern by;
    struct sort_pattern *gets;
    uint32_t gets_count;
    uint32_t store_at; /* The argument that is the destination; 0: none. */
    bool has_by;
    bool unsorted; /* BY without '*'. */
    bool descending;
    bool alpha;
    int64_t offset;
    int64_t limit; /* < 0: none. */
};

enum sort_parsed {
    SORT_OK,
    SORT_SYNTAX,
    SORT_NOT_INTEGER,
    SORT_BY_ELSEWHERE, /* The pattern may lead to keys of another slot. */
    SORT_GET_ELSEWHERE,
};

/*
 * The options from argument 2 on. `slot`: the only one that patterns may lead to; < 0: any. After
 * SORT_OK `*out`, which borrows from `argv`, is to be given to sort_args_deinit.
 */
enum sort_parsed sort_parse(uint32_t argc, const struct bytes *argv, bool may_store, int slot,
                            struct sort_args *out);
void sort_args_deinit(struct sort_args *args);

/* --- sorting --- */

struct sort_item {
    struct bytes element;
    union {
        double score;
        struct bytes text; /* ptr NULL: there is none, which is before all. */
    } by;
};

/* How far a command has come that waits for the keys of its patterns. */
struct sort_walk {
    uint64_t at;
    uint64_t bytes; /* Of what was found so far. */
};

struct sort {
    struct keyspace *ks;
    uint64_t now_ms;
    const struct sort_args *args;
    const struct sort_pattern *by; /* NULL: by the elements themselves. */
    struct sort_item *items;
    uint64_t count;
    uint64_t first; /* What LIMIT shows of them: from here to before `end`. */
    uint64_t end;
    struct sort_text *texts; /* Copies of what does not stand in memory as text. */
    struct buf name;         /* Of the key that a pattern leads to. */
    bool as_it_is;           /* Not sorted. */
    bool by_text;
    bool not_number; /* A text to sort by is none. */
    bool cold;       /* Something was not resident. */
};

/* To be given to sort_end. `args` must outlive it. */
void sort_begin(struct sort *s, struct keyspace *ks, uint64_t now_ms, const struct sort_args *args);
void sort_end(struct sort *s);

/* All of `coll`, which is a resident list, set or sorted set. 0 or -ENOMEM. */
MUST_USE int sort_load(struct sort *s, const struct coll *coll);

/* The words, in place of what was loaded before. Likewise. */
MUST_USE int sort_load_words(struct sort *s, const struct bytes *words, uint64_t n);

/*
 * Makes resident what the patterns lead to, and puts the items in order. 0: done; > 0: `wait` will
 * be called; -ERR_LIMIT: it would be too much; -ENOMEM. `walk` is {0} before the first call.
 */
MUST_USE int sort_prepare(struct sort *s, struct sort_walk *walk, struct ks_wait *wait);

/* The order alone, of what is resident: else s->cold. 0, or -ENOMEM. */
MUST_USE int sort_order(struct sort *s);

/* What a pattern leads to. */
struct sort_value {
    bool found;
    struct obj *chunked; /* A long string, or NULL: then it is */
    struct bytes bytes;  /* this, a slice of the keyspace or of `text`. */
    char text[ROW_TEXT_BYTES];
};

void sort_value(struct sort *s, const struct sort_pattern *pattern, struct bytes element,
                struct sort_value *out);

#endif
