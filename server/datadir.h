/*
 * The small text files of a data directory, and the numbered names in it.
 *
 *     FORMAT                    "tierra-format 6\nshards N\nseed HEX\n": what the directory is;
 *                               that of a member of a replication group has "group NAME\n" more
 *     GROUP                     what a member has agreed to (replication/group/control_stored.c)
 *     CLUSTER                   clustering-policy oss: the id of each shard as a node of a cluster,
 *                               "tierra-cluster 1\n", and for shard 0, 1, .. in this order
 *                               "shard N ID\n": N decimal, ID 40 lower-case hexadecimal digits.
 *                               Written when a node first starts with that policy
 *     shard-000/CURRENT         "store-000001\n": the store that counts (shard_store.h)
 *     shard-000/store-000001/   numbers have at least six digits
 *     shard-000/keys-000001     the checkpoint of the key table of that store
 */
#ifndef TIERRA_SERVER_DATADIR_H
#define TIERRA_SERVER_DATADIR_H

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

#include "replication/group/membership.h"

#define DATADIR_FORMAT_VERSION 6
#define DATADIR_FORMAT_FILE    "FORMAT"
#define DATADIR_FORMAT_BYTES   224 /* Room for the text of one. */
#define DATADIR_CURRENT_FILE   "CURRENT"
#define DATADIR_CURRENT_BYTES  64 /* More than the text of any. */
#define DATADIR_CLUSTER_FILE   "CLUSTER"
#define DATADIR_ID_DIGITS      40
#define DATADIR_IDS_MAX        256
#define DATADIR_IDS_BYTES      (32 + DATADIR_IDS_MAX * 56) /* More than the text of any. */
/* Names, as formats for printf: of a uint32_t and of two uint64_t. */
#define DATADIR_SHARD "shard-%03u"
#define DATADIR_STORE "store-%06" PRIu64
#define DATADIR_KEYS  "keys-%06" PRIu64

struct datadir_format {
    uint64_t version;
    uint64_t shards;
    uint64_t seed;                         /* Of the key hash. */
    char group[MEMBERSHIP_NICKNAME_BYTES]; /* Empty: a node that stands alone. */
};

/* False if it is no such text, of any version. */
MUST_USE bool datadir_format_parse(struct bytes text, struct datadir_format *out);

/* Returns the length. */
size_t datadir_format_print(char out[DATADIR_FORMAT_BYTES], const struct datadir_format *format);

/* Ids of cluster nodes, by shard. */
struct datadir_ids {
    uint32_t count;
    char id[DATADIR_IDS_MAX][DATADIR_ID_DIGITS + 1];
};

/* False if it is no such text. */
MUST_USE bool datadir_ids_parse(struct bytes text, struct datadir_ids *out);

/* Returns the length. */
size_t datadir_ids_print(char out[DATADIR_IDS_BYTES], const struct datadir_ids *ids);

/* The number in a name like "keys-000001.tmp", with `before` "keys-"; false if it is another. */
MUST_USE bool datadir_number(struct bytes name, const char *before, uint64_t *out);

/* The same of the text of CURRENT. */
MUST_USE bool datadir_current_parse(struct bytes text, uint64_t *out);

/* Returns the length. */
size_t datadir_current_print(char out[DATADIR_CURRENT_BYTES], uint64_t number);

#endif
