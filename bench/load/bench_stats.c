/* Counting and merging. */
#include "bench/load/bench_stats.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

static void init_op(struct bench_op_stats *op, bool open_loop)
{
    op->latency = mem_zalloc(sizeof(*op->latency));
    if (open_loop)
        op->service = mem_zalloc(sizeof(*op->service));
}

void bench_stats_init(struct bench_stats *stats, const struct bench_mix *mix, bool open_loop)
{
    *stats = (struct bench_stats){0};
    for (size_t i = 0; i < mix->count; i++)
        init_op(&stats->ops[mix->ops[i]], open_loop);
    init_op(&stats->ops[BENCH_OP_PRELOAD], open_loop);
}

void bench_stats_deinit(struct bench_stats *stats)
{
    for (size_t i = 0; i < BENCH_OP_COUNT; i++) {
        mem_free(stats->ops[i].latency);
        mem_free(stats->ops[i].service);
    }
    *stats = (struct bench_stats){0};
}

void bench_stats_reset(struct bench_stats *stats)
{
    struct bench_stats empty = {0};

    for (size_t i = 0; i < BENCH_OP_COUNT; i++) {
        empty.ops[i].latency = stats->ops[i].latency;
        empty.ops[i].service = stats->ops[i].service;
        if (empty.ops[i].latency != NULL)
            hist_reset(empty.ops[i].latency);
        if (empty.ops[i].service != NULL)
            hist_reset(empty.ops[i].service);
    }
    *stats = empty;
}

static struct bench_error_word *find_word(struct bench_stats *stats, const char *word, size_t len)
{
    for (size_t i = 0; i < stats->word_count; i++) {
        if (strlen(stats->words[i].word) == len && memcmp(stats->words[i].word, word, len) == 0)
            return &stats->words[i];
    }
    if (stats->word_count == BENCH_ERROR_WORDS_MAX)
        return NULL;
    struct bench_error_word *entry = &stats->words[stats->word_count++];
    *entry = (struct bench_error_word){0};
    memcpy(entry->word, word, len);
    return entry;
}

/* Counts `count` errors that begin with the first word of `text`. */
static void add_errors(struct bench_stats *stats, const char *text, size_t len, uint64_t count)
{
    const char *blank = memchr(text, ' ', len);
    const size_t word_len =
        size_min(blank == NULL ? len : (size_t)(blank - text), BENCH_ERROR_WORD_BYTES - 1);
    struct bench_error_word *entry = find_word(stats, text, word_len);

    if (entry == NULL) {
        stats->other_errors += count;
        return;
    }
    if (entry->count == 0)
        memcpy(entry->sample, text, size_min(len, BENCH_REPLY_TEXT_MAX));
    entry->count += count;
}

void bench_stats_merge(struct bench_stats *into, const struct bench_stats *from)
{
    for (size_t i = 0; i < BENCH_OP_COUNT; i++) {
        struct bench_op_stats *op = &into->ops[i];
        const struct bench_op_stats *other = &from->ops[i];
        if (other->latency != NULL)
            hist_merge(op->latency, other->latency);
        if (other->service != NULL)
            hist_merge(op->service, other->service);
        op->errors += other->errors;
        op->misses += other->misses;
        op->wrong += other->wrong;
    }
    for (size_t i = 0; i < from->word_count; i++) {
        const struct bench_error_word *word = &from->words[i];
        add_errors(into, word->sample, strlen(word->sample), word->count);
    }
    into->other_errors += from->other_errors;
    into->checked += from->checked;
    into->bytes_sent += from->bytes_sent;
    into->bytes_received += from->bytes_received;
}

void bench_stats_record(struct bench_stats *stats, enum bench_op op,
                        const struct bench_timing *timing)
{
    struct bench_op_stats *entry = &stats->ops[op];

    CHECK(timing->done_ns >= timing->sent_ns);
    CHECK(timing->sent_ns >= timing->intended_ns);
    hist_record(entry->latency, timing->done_ns - timing->intended_ns);
    if (entry->service != NULL)
        hist_record(entry->service, timing->done_ns - timing->sent_ns);
}

void bench_stats_error(struct bench_stats *stats, enum bench_op op, const char *text, size_t len)
{
    stats->ops[op].errors++;
    add_errors(stats, text, len, 1);
}

uint64_t bench_stats_count(const struct bench_stats *stats)
{
    uint64_t count = 0;

    for (size_t i = 0; i < BENCH_OP_COUNT; i++)
        count += stats->ops[i].latency == NULL ? 0 : hist_count(stats->ops[i].latency);
    return count;
}

uint64_t bench_stats_errors(const struct bench_stats *stats)
{
    uint64_t count = 0;

    for (size_t i = 0; i < BENCH_OP_COUNT; i++)
        count += stats->ops[i].errors;
    return count;
}

uint64_t bench_stats_wrong(const struct bench_stats *stats)
{
    uint64_t count = 0;

    for (size_t i = 0; i < BENCH_OP_COUNT; i++)
        count += stats->ops[i].wrong;
    return count;
}
