/*
 * INFO: the sections of Redis 7.0, with its field names where ours means the same, and `# Tiering`.
 *
 * Every value is measured; a field of Redis whose thing does not exist here is either a true zero
 * or not there. Figures of other shards are read as they stand, without waiting for them.
 */
#ifndef TIERRA_SERVER_INFO_H
#define TIERRA_SERVER_INFO_H

#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#define INFO_BYTES_MAX (4u << 20)

struct node;
struct shard;

/* Appends the sections that the arguments (of INFO, its name left out) ask for. */
void info_write(struct shard *sh, uint32_t argc, const struct bytes *argv, struct buf *out);

/* Bytes of records appended to the logs since the start: a replication offset. */
uint64_t info_repl_offset(const struct node *node);

/* --- the sections; info_<topic>.c --- */

#define INFO_PRINT(out, ...) IGNORE_RESULT(buf_printf((out), __VA_ARGS__)) /* It is cut then. */

/* One field with a number. */
#define INFO_U64(out, name, value) INFO_PRINT((out), name ":%llu\r\n", (unsigned long long)(value))

/* The sum of a field of struct shard_stats over the shards. */
#define INFO_STAT(node, field) info_stat((node), offsetof(struct shard_stats, field))
uint64_t info_stat(const struct node *node, size_t offset);

typedef void (*info_section_fn)(struct shard *sh, struct buf *out);

void info_server(struct shard *sh, struct buf *out);
void info_clients(struct shard *sh, struct buf *out);
void info_memory(struct shard *sh, struct buf *out);
void info_persistence(struct shard *sh, struct buf *out);
void info_stats(struct shard *sh, struct buf *out);
void info_replication(struct shard *sh, struct buf *out);
void info_cpu(struct shard *sh, struct buf *out);
void info_modules(struct shard *sh, struct buf *out);
void info_commandstats(struct shard *sh, struct buf *out);
void info_errorstats(struct shard *sh, struct buf *out);
void info_latencystats(struct shard *sh, struct buf *out);
void info_cluster(struct shard *sh, struct buf *out);
void info_keyspace(struct shard *sh, struct buf *out);
void info_tiering(struct shard *sh, struct buf *out);

/* What the memory of the process goes to, for INFO and MEMORY STATS. Bytes. */
struct info_memory {
    uint64_t used;     /* Handed out by the allocator. */
    uint64_t peak;     /* The most of it that was measured. */
    uint64_t startup;  /* When the node had started. */
    uint64_t clients;  /* Buffers of connections. */
    uint64_t keytab;   /* Key tables. */
    uint64_t oplog;    /* Buffers of the logs. */
    uint64_t store;    /* Write buffers, block cache and readers of tables. */
    uint64_t overhead; /* All of the above. */
    uint64_t dataset;  /* The rest. */
    double dataset_percent;
    double peak_percent;
};
void info_measure_memory(struct shard *sh, struct info_memory *out);

#endif
