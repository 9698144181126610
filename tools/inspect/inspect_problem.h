/* Findings of a verification: one record each, up to a limit, and their number. */
#ifndef TIERRA_TOOLS_INSPECT_INSPECT_PROBLEM_H
#define TIERRA_TOOLS_INSPECT_INSPECT_PROBLEM_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"

struct oplog_record;
struct out;

/* More than these are counted and not printed. */
#define PROBLEMS_PRINTED_MAX 1000

struct problems {
    struct out *out;
    uint32_t shard;
    uint64_t count;
};

void problems_init(struct problems *p, struct out *out, uint32_t shard);

void problem_file(struct problems *p, const char *file, uint64_t offset, const char *format, ...)
    PRINTF_LIKE(4, 5);
/* A row of the store by its name: key, kind and sub are told if it can be taken apart. */
void problem_row(struct problems *p, struct bytes name, const char *format, ...) PRINTF_LIKE(3, 4);
void problem_key(struct problems *p, struct bytes key, const char *format, ...) PRINTF_LIKE(3, 4);
void problem_record(struct problems *p, const struct oplog_record *record, const char *format, ...)
    PRINTF_LIKE(3, 4);

#endif
