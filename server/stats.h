/*
 * The figures of one shard's commands and clients, for INFO, SLOWLOG and the like. Plain fields of
 * the shard's thread.
 */
#ifndef TIERRA_SERVER_STATS_H
#define TIERRA_SERVER_STATS_H

#include <stdint.h>

#include "engine/base/bytes.h"
#include "engine/base/list.h"

#include "server/command.h"

/* Per command; index is the command's id. */
struct cmd_stats {
    uint64_t calls;
    uint64_t ns;
    uint64_t rejected_calls; /* Refused before they ran. */
    uint64_t failed_calls;   /* Replied an error. */
};

/* Error codes told apart in INFO errorstats; further ones are counted as "others". */
#define STATS_ERRORS_MAX 128

struct error_stats {
    char code[24];
    uint64_t count;
};

struct shard_stats {
    struct cmd_stats cmd[CMD_IDS_COUNT];
    struct error_stats errors[STATS_ERRORS_MAX];
    uint32_t errors_count;
    uint64_t error_replies;
    uint64_t commands;
    uint64_t connections;
    uint64_t rejected_connections;
    uint64_t net_in_bytes;
    uint64_t net_out_bytes;
    uint64_t keyspace_hits;
    uint64_t keyspace_misses;
    uint64_t expired_keys;
    uint64_t evicted_keys;
    uint64_t parked;         /* Commands that had to wait for cold data. */
    uint64_t delayed;        /* Writers slowed down because memory was short. */
    uint64_t refused_memory; /* -OOM replies. */
    uint64_t last_ns;        /* End of the last command: the start of the next. */
};

/* Counts one error reply by its first word. */
void stats_count_error(struct shard_stats *stats, struct bytes code);
void stats_reset(struct shard_stats *stats);

#endif
