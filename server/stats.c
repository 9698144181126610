/* The figures of one shard; stats.h lists them. */
#include "server/stats.h"

#include <string.h>

#include "engine/base/attr.h"

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
    struct error_stats *e = error_find(stats, code);
    if (e == NULL && stats->errors_count == STATS_ERRORS_MAX - 1)
        code = BYTES_LIT("others");
    if (e == NULL)
        e = error_find(stats, code);
    if (e == NULL) {
        e = &stats->errors[stats->errors_count++];
        memcpy(e->code, code.ptr, size_min(code.len, sizeof(e->code) - 1));
    }
    e->count++;
}

void stats_reset(struct shard_stats *stats)
{
    const uint64_t last_ns = stats->last_ns;

    memset(stats, 0, sizeof(*stats));
    stats->last_ns = last_ns;
}
