/*
 * Metrics declared once, as a table, next to the module that counts.
 *
 *     #define STORE_METRICS(X)                                       \
 *         X(reads, METRIC_COUNTER, "Rows asked for.")                \
 *         X(queue, METRIC_GAUGE,   "Reads that wait for a thread.")
 *
 *     METRIC_STRUCT(store_metrics, STORE_METRICS);            in the header
 *     METRIC_TABLE(store_metric_table, STORE_METRICS);        in the source
 *
 * The struct has one uint64_t per line, in order; the table has name, type and help in the same
 * order. Exporters walk the table and read the struct by index. Plain fields: each is written by
 * one thread, the owner; a reader on another thread gets a copy by message.
 */
#ifndef TIERRA_ENGINE_BASE_METRIC_H
#define TIERRA_ENGINE_BASE_METRIC_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum metric_type {
    METRIC_COUNTER, /* Only grows. */
    METRIC_GAUGE,
};

struct metric_desc {
    const char *name;
    const char *help;
    enum metric_type type;
};

#define METRIC_FIELD_(name, type, help)   uint64_t name;
#define METRIC_DESC_(name_, type_, help_) {.name = #name_, .help = (help_), .type = (type_)},

/* struct `tag` with a field per metric. */
#define METRIC_STRUCT(tag, LIST) \
    struct tag {                 \
        LIST(METRIC_FIELD_)      \
    }

/* A static constant array `table` of struct metric_desc. */
#define METRIC_TABLE(table, LIST) static const struct metric_desc table[] = {LIST(METRIC_DESC_)}

/*
 * The value of metric number `index` of a struct made by METRIC_STRUCT. All fields are uint64_t
 * and in table order, hence the offset follows from the index.
 */
static inline uint64_t metric_value(const void *metrics, size_t index)
{
    uint64_t value;

    memcpy(&value, (const uint8_t *)metrics + index * sizeof(value), sizeof(value));
    return value;
}

#endif
