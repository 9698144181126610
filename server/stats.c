/* The figures of one shard; stats.h lists them. */
#include "server/stats.h"

#include <string.h>

#include "engine/base/attr.h"
#include "engine/base/hist.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

static struct error_stats *error_find(struct shard_stats *stats, struct bytes code)
{
    const size_t len = size_min(code.len, sizeof(stats->errors[0].code) - 1);

    for (uint32_t i = 0; i < stats->errors_count; i++) {
        struct error_stats *e = &stats->errors[i];
        if (strlen(e->code) == len && memcmp(e->code, code.ptr, len) == 0)
            return e;
    }
    return NULL;
}

void stats_count_error(struct shard_stats *stats, struct bytes code)
{
    stats->error_replies++;
    stats_add_errors(stats, code, 1);
}

void stats_add_errors(struct shard_stats *stats, struct bytes code, uint64_t count)
{
    struct error_stats *e = error_find(stats, code);
    if (e == NULL && stats->errors_count == STATS_ERRORS_MAX - 1)
        code = BYTES_LIT("others");
    if (e == NULL)
        e = error_find(stats, code);
    if (e == NULL) {
        e = &stats->errors[stats->errors_count++];
        memcpy(e->code, code.ptr, size_min(code.len, sizeof(e->code) - 1));
    }
    e->count += count;
}

void stats_latency(struct shard_stats *stats, uint16_t cmd_id, uint64_t ns)
{
    struct hist *hist = stats->latency[cmd_id];

    if (unlikely(hist == NULL))
        hist = stats->latency[cmd_id] = mem_zalloc(sizeof(*hist));
    hist_record(hist, ns);
}

static void sample(struct stats_rate *rate, uint64_t value, uint64_t now_ms)
{
    const uint64_t ms = now_ms - rate->last_ms;

    /* The first look has nothing to compare with; and RESETSTAT may have been between. */
    rate->sample[rate->next] =
        rate->last_ms == 0 || ms == 0 || value < rate->last ? 0 : (value - rate->last) * 1000 / ms;
    rate->next = (rate->next + 1) % STATS_RATE_SAMPLES;
    rate->last = value;
    rate->last_ms = now_ms;
}

void stats_sample(struct shard_stats *stats, uint64_t now_ms)
{
    sample(&stats->rate_commands, stats->commands, now_ms);
    sample(&stats->rate_in, stats->net_in_bytes, now_ms);
    sample(&stats->rate_out, stats->net_out_bytes, now_ms);
}

uint64_t stats_rate(const struct stats_rate *rate)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < STATS_RATE_SAMPLES; i++)
        sum += rate->sample[i];
    return sum / STATS_RATE_SAMPLES;
}

void stats_reset(struct shard_stats *stats)
{
    const uint64_t last_ns = stats->last_ns;

    for (uint32_t i = 0; i < CMD_IDS_COUNT; i++)
        mem_free(stats->latency[i]);
    memset(stats, 0, sizeof(*stats));
    stats->last_ns = last_ns;
}
