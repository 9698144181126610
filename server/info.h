/*
 * INFO: the sections of Redis 7.0, with its field names where ours means the same, `# Tiering` and
 * `# Replgroup`.
 *
 * Every value is measured; a field of Redis whose thing does not exist here is either a true zero
 * or not there. Figures are those of all shards, as they came together (figures.h).
 */
#ifndef TIERRA_SERVER_INFO_H
#define TIERRA_SERVER_INFO_H

#include <stdint.h>

#include "engine/base/buf.h"
#include "engine/base/bytes.h"

#define INFO_BYTES_MAX (4u << 20)

struct figures;
struct shard;

/* Appends the sections that the arguments (of INFO, its name left out) ask for. */
void info_write(const struct shard *sh, const struct figures *f, uint32_t argc,
                const struct bytes *argv, struct buf *out);

/* --- the sections; info_<topic>.c --- */

#define INFO_PRINT(out, ...) IGNORE_RESULT(buf_printf((out), __VA_ARGS__)) /* It is cut then. */

/* One field with a number. */
#define INFO_U64(out, name, value) INFO_PRINT((out), name ":%llu\r\n", (unsigned long long)(value))

typedef void (*info_section_fn)(const struct shard *sh, const struct figures *f, struct buf *out);

void info_server(const struct shard *sh, const struct figures *f, struct buf *out);
void info_clients(const struct shard *sh, const struct figures *f, struct buf *out);
void info_memory(const struct shard *sh, const struct figures *f, struct buf *out);
void info_persistence(const struct shard *sh, const struct figures *f, struct buf *out);
void info_stats(const struct shard *sh, const struct figures *f, struct buf *out);
void info_replication(const struct shard *sh, const struct figures *f, struct buf *out);
void info_cpu(const struct shard *sh, const struct figures *f, struct buf *out);
void info_modules(const struct shard *sh, const struct figures *f, struct buf *out);
void info_commandstats(const struct shard *sh, const struct figures *f, struct buf *out);
void info_errorstats(const struct shard *sh, const struct figures *f, struct buf *out);
void info_latencystats(const struct shard *sh, const struct figures *f, struct buf *out);
void info_cluster(const struct shard *sh, const struct figures *f, struct buf *out);
void info_keyspace(const struct shard *sh, const struct figures *f, struct buf *out);
void info_tiering(const struct shard *sh, const struct figures *f, struct buf *out);
void info_replgroup(const struct shard *sh, const struct figures *f, struct buf *out);

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
void info_measure_memory(const struct figures *f, struct info_memory *out);

#endif
