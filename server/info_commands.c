/* INFO: commandstats, errorstats, latencystats. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/hist.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "server/config.h"
#include "server/figures.h"
#include "server/info.h"
#include "server/node.h"
#include "server/shard.h"

void info_commandstats(const struct shard *sh, const struct figures *f, struct buf *out)
{
    INFO_PRINT(out, "# Commandstats\r\n");
    for (uint32_t id = 0; id < command_count(sh->commands); id++) {
        const struct cmd_stats s = f->stats.cmd[id];
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

static int by_code(const void *a, const void *b)
{
    return strcmp(((const struct error_stats *)a)->code, ((const struct error_stats *)b)->code);
}

/* In the order of their codes, as Redis. */
void info_errorstats(const struct shard *sh, const struct figures *f, struct buf *out)
{
    struct error_stats errors[STATS_ERRORS_MAX];
    const uint32_t n = f->stats.errors_count;

    (void)sh;
    memcpy(errors, f->stats.errors, n * sizeof(*errors));
    qsort(errors, n, sizeof(*errors), by_code);
    INFO_PRINT(out, "# Errorstats\r\n");
    for (uint32_t i = 0; i < n; i++)
        INFO_PRINT(out, "errorstat_%s:count=%llu\r\n", errors[i].code,
                   (unsigned long long)errors[i].count);
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

void info_latencystats(const struct shard *sh, const struct figures *f, struct buf *out)
{
    INFO_PRINT(out, "# Latencystats\r\n");
    for (uint32_t id = 0; id < command_count(sh->commands); id++) {
        if (f->stats.latency[id] == NULL || hist_count(f->stats.latency[id]) == 0)
            continue;
        INFO_PRINT(out, "latency_percentiles_usec_%s:", command_at(sh->commands, id)->name);
        write_percentiles(sh->cfg, f->stats.latency[id], out);
        INFO_PRINT(out, "\r\n");
    }
}
