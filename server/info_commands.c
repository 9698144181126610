/* INFO: commandstats, errorstats, latencystats. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hist.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "server/config.h"
#include "server/info.h"
#include "server/node.h"
#include "server/shard.h"

static struct cmd_stats sum_of(const struct node *node, uint32_t id)
{
    struct cmd_stats sum = {0};

    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct cmd_stats *s = &node->shards[i]->stats.cmd[id];
        sum.calls += s->calls;
        sum.ns += s->ns;
        sum.rejected_calls += s->rejected_calls;
        sum.failed_calls += s->failed_calls;
    }
    return sum;
}

void info_commandstats(struct shard *sh, struct buf *out)
{
    INFO_PRINT(out, "# Commandstats\r\n");
    for (uint32_t id = 0; id < command_count(sh->commands); id++) {
        const struct cmd_stats s = sum_of(sh->node, id);
        if (s.calls == 0 && s.rejected_calls == 0 && s.failed_calls == 0)
            continue;
        const uint64_t us = s.ns / 1000;
        INFO_PRINT(out,
                   "cmdstat_%s:calls=%llu,usec=%llu,usec_per_call=%.2f,rejected_calls=%llu,"
                   "failed_calls=%llu\r\n",
                   command_at(sh->commands, id)->name, (unsigned long long)s.calls,
                   (unsigned long long)us, s.calls == 0 ? 0 : (double)us / (double)s.calls,
                   (unsigned long long)s.rejected_calls, (unsigned long long)s.failed_calls);
    }
}

/* True if a shard before `index` has the same error. */
static bool error_seen(const struct node *node, uint32_t index, const char *code)
{
    for (uint32_t i = 0; i < index; i++) {
        const struct shard_stats *s = &node->shards[i]->stats;
        for (uint32_t k = 0; k < s->errors_count; k++) {
            if (strcmp(s->errors[k].code, code) == 0)
                return true;
        }
    }
    return false;
}

static uint64_t error_sum(const struct node *node, const char *code)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct shard_stats *s = &node->shards[i]->stats;
        for (uint32_t k = 0; k < s->errors_count; k++) {
            if (strcmp(s->errors[k].code, code) == 0)
                sum += s->errors[k].count;
        }
    }
    return sum;
}

void info_errorstats(struct shard *sh, struct buf *out)
{
    const struct node *node = sh->node;

    INFO_PRINT(out, "# Errorstats\r\n");
    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct shard_stats *s = &node->shards[i]->stats;
        for (uint32_t k = 0; k < s->errors_count; k++) {
            const char *code = s->errors[k].code;
            if (!error_seen(node, i, code))
                INFO_PRINT(out, "errorstat_%s:count=%llu\r\n", code,
                           (unsigned long long)error_sum(node, code));
        }
    }
}

/* p50=1.003,p99=... for the percentiles that the configuration names. */
static void write_percentiles(const struct config *cfg, const struct hist *hist, struct buf *out)
{
    char words[1024];
    char *rest = NULL;
    const char *comma = "";

    (void)snprintf(words, sizeof(words), "%s", cfg->latency_tracking_info_percentiles);
    for (const char *word = strtok_r(words, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        double percent = 0;
        if (!num_parse_double(bytes_cstr(word), &percent))
            continue; /* The configuration has checked them. */
        INFO_PRINT(out, "%sp%s=%.3f", comma, word, (double)hist_percentile(hist, percent) / 1000);
        comma = ",";
    }
}

void info_latencystats(struct shard *sh, struct buf *out)
{
    struct hist *sum = mem_zalloc(sizeof(*sum));

    INFO_PRINT(out, "# Latencystats\r\n");
    for (uint32_t id = 0; id < command_count(sh->commands); id++) {
        hist_reset(sum);
        for (uint32_t i = 0; i < sh->node->shards_count; i++) {
            const struct hist *hist = sh->node->shards[i]->stats.latency[id];
            if (hist != NULL)
                hist_merge(sum, hist);
        }
        if (hist_count(sum) == 0)
            continue;
        INFO_PRINT(out, "latency_percentiles_usec_%s:", command_at(sh->commands, id)->name);
        write_percentiles(sh->cfg, sum, out);
        INFO_PRINT(out, "\r\n");
    }
    mem_free(sum);
}
