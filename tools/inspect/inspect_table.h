/* The checkpoint of the key table, with the journal of keys, against the key rows. */
#ifndef TIERRA_TOOLS_INSPECT_INSPECT_TABLE_H
#define TIERRA_TOOLS_INSPECT_INSPECT_TABLE_H

#include <stdbool.h>

#include "engine/base/attr.h"

struct inspect;
struct inspect_shard;
struct out;
struct problems;
struct table;
struct walk_key;

/*
 * Loads both; what is wrong with them becomes problems. NULL: there is nothing to compare with.
 * The store is open.
 */
MUST_USE struct table *table_open(const struct inspect *in, const struct inspect_shard *sh,
                                  struct problems *problems);

/* A key of the store. */
void table_check(struct table *t, const struct walk_key *key, struct problems *problems);

/* All keys of the store have been checked, if `complete`. NULL is allowed. */
void table_close(struct table *t, bool complete, struct problems *problems);

/* Figures of the checkpoint, as fields of the record under way. */
void table_print(const struct inspect *in, const struct inspect_shard *sh, struct out *out);

#endif
