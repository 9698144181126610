/*
 * What a worker counts: per operation latencies, errors, misses and wrong values; errors by their
 * first word. One struct per worker, merged for the report. Owned by one thread at a time.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_STATS_H
#define TIERRA_BENCH_LOAD_BENCH_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/hist.h"

#include "bench/load/bench_ops.h"
#include "bench/load/bench_reply.h"

#define BENCH_ERROR_WORDS_MAX  16
#define BENCH_ERROR_WORD_BYTES 24

struct bench_error_word {
    char word[BENCH_ERROR_WORD_BYTES];
    char sample[BENCH_REPLY_TEXT_MAX + 1]; /* The first whole message. */
    uint64_t count;
};

struct bench_op_stats {
    struct hist *latency; /* Nanoseconds of correct replies; NULL for operations not in the run. */
    struct hist *service; /* Open loop: counted from the send; else NULL. */
    uint64_t errors;
    uint64_t misses;
    uint64_t wrong; /* Values that failed verification. */
};

struct bench_stats {
    struct bench_op_stats ops[BENCH_OP_COUNT];
    struct bench_error_word words[BENCH_ERROR_WORDS_MAX];
    size_t word_count;
    uint64_t other_errors; /* Of words beyond BENCH_ERROR_WORDS_MAX. */
    uint64_t checked;      /* Values verified. */
    uint64_t bytes_sent;
    uint64_t bytes_received;
};

/* Room for the operations of `mix` and for preloads; `open_loop`: service times too. */
void bench_stats_init(struct bench_stats *stats, const struct bench_mix *mix, bool open_loop);
void bench_stats_deinit(struct bench_stats *stats);
void bench_stats_reset(struct bench_stats *stats);
/* Both were made for the same mix and loop. */
void bench_stats_merge(struct bench_stats *into, const struct bench_stats *from);

/* When a request was meant to start, when it was sent, when its reply was seen. Nanoseconds. */
struct bench_timing {
    uint64_t intended_ns;
    uint64_t sent_ns;
    uint64_t done_ns;
};

/* A correct reply. In the closed loop the intended start is the send. */
void bench_stats_record(struct bench_stats *stats, enum bench_op op,
                        const struct bench_timing *timing);

/* An error reply; `text` is the message without its '-'. */
void bench_stats_error(struct bench_stats *stats, enum bench_op op, const char *text, size_t len);

/* Over all operations. */
uint64_t bench_stats_count(const struct bench_stats *stats);
uint64_t bench_stats_errors(const struct bench_stats *stats);
uint64_t bench_stats_wrong(const struct bench_stats *stats);

#endif
