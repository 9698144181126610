/* Parsing and drawing of value sizes; a fixed size is a mix of one range of width one. */
#include "bench/load/bench_size.h"

#include <stdbool.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/num.h"

static int parse_bytes(struct bytes text, uint32_t *out)
{
    uint64_t value;

    if (!num_parse_u64(text, &value))
        return -ERR_SYNTAX;
    if (value > BENCH_SIZE_BYTES_MAX)
        return -ERR_RANGE;
    *out = (uint32_t)value;
    return 0;
}

/* "size", "min-max", each with an optional ":weight". */
static int parse_entry(struct bytes text, uint64_t weight_before, struct bench_size_entry *out)
{
    const size_t colon = bytes_find_u8(text, ':');
    const struct bytes range = bytes_of(text.ptr, colon);
    const size_t dash = bytes_find_u8(range, '-');
    uint64_t weight = 1;
    int err;

    if (colon < text.len && !num_parse_u64(bytes_from(text, colon + 1), &weight))
        return -ERR_SYNTAX;
    if (weight == 0 || weight > UINT32_MAX)
        return -ERR_RANGE;
    err = parse_bytes(bytes_of(range.ptr, dash), &out->min_bytes);
    if (err != 0)
        return err;
    out->max_bytes = out->min_bytes;
    if (dash < range.len) {
        err = parse_bytes(bytes_from(range, dash + 1), &out->max_bytes);
        if (err != 0)
            return err;
    }
    if (out->max_bytes < out->min_bytes)
        return -ERR_RANGE;
    out->weight_end = weight_before + weight;
    return 0;
}

int bench_size_parse(const char *text, struct bench_size *out)
{
    struct bench_size size = {0};
    struct bytes rest = bytes_cstr(text);
    uint64_t weight = 0;

    for (;;) {
        const size_t comma = bytes_find_u8(rest, ',');
        if (size.count == BENCH_SIZE_ENTRIES_MAX)
            return -ERR_LIMIT;
        struct bench_size_entry *entry = &size.entries[size.count];
        const int err = parse_entry(bytes_of(rest.ptr, comma), weight, entry);
        if (err != 0)
            return err;
        weight = entry->weight_end;
        size.count++;
        if (comma == rest.len)
            break;
        rest = bytes_from(rest, comma + 1);
    }
    *out = size;
    return 0;
}

uint32_t bench_size_next(const struct bench_size *size, struct rng *rng)
{
    const struct bench_size_entry *entry = &size->entries[0];

    if (size->count > 1) {
        const uint64_t at = rng_below(rng, size->entries[size->count - 1].weight_end);
        while (at >= entry->weight_end)
            entry++;
    }
    if (entry->min_bytes == entry->max_bytes)
        return entry->min_bytes;
    return entry->min_bytes + (uint32_t)rng_below(rng, entry->max_bytes - entry->min_bytes + 1u);
}

uint32_t bench_size_min(const struct bench_size *size)
{
    uint32_t min = UINT32_MAX;

    for (size_t i = 0; i < size->count; i++)
        min = size->entries[i].min_bytes < min ? size->entries[i].min_bytes : min;
    return min;
}

uint32_t bench_size_max(const struct bench_size *size)
{
    uint32_t max = 0;

    for (size_t i = 0; i < size->count; i++)
        max = size->entries[i].max_bytes > max ? size->entries[i].max_bytes : max;
    return max;
}

double bench_size_mean(const struct bench_size *size)
{
    double sum = 0.0;
    uint64_t before = 0;

    CHECK(size->count > 0);
    for (size_t i = 0; i < size->count; i++) {
        const struct bench_size_entry *entry = &size->entries[i];
        const double middle = ((double)entry->min_bytes + (double)entry->max_bytes) / 2.0;
        sum += middle * (double)(entry->weight_end - before);
        before = entry->weight_end;
    }
    return sum / (double)before;
}
