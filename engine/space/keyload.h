/*
 * The key table as its checkpoint and the journal of keys have it (keylog.h): for the start, and
 * for inspection.
 */
#ifndef TIERRA_ENGINE_SPACE_KEYLOAD_H
#define TIERRA_ENGINE_SPACE_KEYLOAD_H

#include <stdint.h>

#include "engine/base/attr.h"

#include "engine/space/keyfile.h"
#include "engine/space/keylog.h"

struct keytab;
struct store;

struct keyload {
    struct keylog_head head;  /* Of the journal. */
    struct keyfile_head file; /* Of the checkpoint; base 0: there is none, the journal has all. */
    uint64_t changes;         /* Entries of the journal beyond it. */
    const char *what;         /* After an error: the part that is not good; static text. */
    uint64_t offset;          /* Of the damage in the file, if it is that. */
};

/*
 * Fills the empty table, all keys cold. Returns 0; -ERR_NOT_FOUND: the store has no journal;
 * -ERR_LOST: checkpoint and journal do not belong together; -ERR_CORRUPT, -ERR_FORMAT, -errno.
 * After an error the table is good for nothing. Blocks.
 */
MUST_USE int keyload_table(struct keytab *tab, struct store *store, const char *path,
                           struct keyload *out);

#endif
