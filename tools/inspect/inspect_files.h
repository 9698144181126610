/*
 * The table files of a store, as RocksDB's manifest lists them.
 *
 * A second, read-only opening of the database, for what the store's own interface does not tell:
 * which files there are, and in which of them a block is damaged.
 */
#ifndef TIERRA_TOOLS_INSPECT_INSPECT_FILES_H
#define TIERRA_TOOLS_INSPECT_INSPECT_FILES_H

#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct files;

struct files_info {
    const char *name; /* "/000012.sst" */
    int level;
    uint64_t bytes;
    uint64_t entries;
    uint64_t deletions;
    struct bytes smallest;
    struct bytes largest;
};

/* 0; else an error, and `why` names the file. */
MUST_USE int files_open(const char *dir, struct files **out, char *why, size_t why_len);
void files_close(struct files *files);

int files_count(const struct files *files);
/* Valid while open. */
void files_get(const struct files *files, int index, struct files_info *out);

/*
 * RocksDB's words for what stops a reader that comes from `from` (empty: the beginning), with file
 * and offset; empty if nothing stops it before `to` (empty: the end).
 */
void files_explain(struct files *files, struct bytes from, struct bytes to, char *why,
                   size_t why_len);

#endif
