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

/* A rate over the last STATS_RATE_SAMPLES looks of 100 ms. */
#define STATS_RATE_SAMPLES 16

struct stats_rate {
    uint64_t last;
    uint64_t last_ms;
    uint64_t sample[STATS_RATE_SAMPLES]; /* Per second. */
    uint32_t next;
};

struct hist;

struct error_stats {
    char code[24];
    uint64_t count;
};

struct shard_stats {
    struct cmd_stats cmd[CMD_IDS_COUNT];
    struct hist *latency[CMD_IDS_COUNT]; /* Nanoseconds; NULL until the first call. */
    struct error_stats errors[STATS_ERRORS_MAX];
    uint32_t errors_count;
    uint64_t error_replies;
    uint64_t commands;
    uint64_t connections;
    uint64_t rejected_connections;
    uint64_t net_in_bytes;
    uint64_t net_out_bytes;
    uint64_t reads;  /* Receives; */
    uint64_t writes; /* and sends. */
    uint64_t keyspace_hits;
    uint64_t keyspace_misses;
    uint64_t expired_keys;
    uint64_t evicted_keys;
    uint64_t evicted_clients;
    uint64_t key_commands;   /* Commands that name keys; */
    uint64_t flash_commands; /* of these, those that had to wait for flash. */
    uint64_t parked;         /* Commands that had to wait for cold data. */
    uint64_t delayed;        /* Writers slowed down because memory was short. */
    uint64_t refused_memory; /* -OOM replies. */
    struct stats_rate rate_commands;
    struct stats_rate rate_in;
    struct stats_rate rate_out;
    uint64_t last_ns; /* End of the last command: the start of the next. */
};

/* Counts one error reply by its first word. */
void stats_count_error(struct shard_stats *stats, struct bytes code);

/* The same for `count` of them. */
void stats_add_errors(struct shard_stats *stats, struct bytes code, uint64_t count);

/* Notes how long a command took. */
void stats_latency(struct shard_stats *stats, uint16_t cmd_id, uint64_t ns);

/* Every 100 ms: for the rates. */
void stats_sample(struct shard_stats *stats, uint64_t now_ms);
uint64_t stats_rate(const struct stats_rate *rate);

/* CONFIG RESETSTAT, and at the end. */
void stats_reset(struct shard_stats *stats);

#endif
