/*
 * The small text files of a data directory, and the numbered names in it.
 *
 *     FORMAT                    "tierra-format 4\nshards N\nseed HEX\n": what the directory is
 *     shard-000/CURRENT         "store-000001\n": the store that counts (shard_store.h)
 *     shard-000/store-000001/   numbers have at least six digits
 */
#ifndef TIERRA_SERVER_DATADIR_H
#define TIERRA_SERVER_DATADIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#define DATADIR_FORMAT_VERSION 4
#define DATADIR_FORMAT_FILE    "FORMAT"
#define DATADIR_FORMAT_BYTES   128 /* Room for the text of one. */

struct datadir_format {
    uint64_t version;
    uint64_t shards;
    uint64_t seed; /* Of the key hash. */
};

/* False if it is no such text, of any version. */
MUST_USE bool datadir_format_parse(struct bytes text, struct datadir_format *out);

/* Returns the length. */
size_t datadir_format_print(char out[DATADIR_FORMAT_BYTES], const struct datadir_format *format);

/* The number in a name like "keys-000001.tmp", with `before` "keys-"; false if it is another. */
MUST_USE bool datadir_number(struct bytes name, const char *before, uint64_t *out);

/* The same of the text of CURRENT. */
MUST_USE bool datadir_current_parse(struct bytes text, uint64_t *out);

#endif
