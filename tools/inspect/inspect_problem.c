/* Findings of a verification. */
#include "tools/inspect/inspect_problem.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/value/rowkey.h"

#include "replication/oplog_segment.h"

#include "tools/inspect/inspect.h"
#include "tools/inspect/inspect_out.h"

#define WHAT_BYTES 1024

void problems_init(struct problems *p, struct out *out, uint32_t shard)
{
    *p = (struct problems){.out = out, .shard = shard};
}

/* False: enough were printed. */
static bool begin(struct problems *p)
{
    p->count++;
    if (p->count > PROBLEMS_PRINTED_MAX)
        return false;
    out_begin(p->out, "problem", OUT_LINE);
    out_u64(p->out, "shard", p->shard);
    return true;
}

static void end(struct problems *p, const char *format, va_list args) PRINTF_LIKE(2, 0);

static void end(struct problems *p, const char *format, va_list args)
{
    char what[WHAT_BYTES];

    (void)vsnprintf(what, sizeof(what), format, args); /* Cut if too long. */
    out_text(p->out, "what", what);
    out_end(p->out);
}

void problem_file(struct problems *p, const char *file, uint64_t offset, const char *format, ...)
{
    va_list args;

    if (!begin(p))
        return;
    out_text(p->out, "file", file);
    if (offset != 0)
        out_u64(p->out, "offset", offset);
    va_start(args, format);
    end(p, format, args);
    va_end(args);
}

void problem_row(struct problems *p, struct bytes name, const char *format, ...)
{
    struct rowkey rk;
    va_list args;

    if (!begin(p))
        return;
    if (rowkey_parse(name, &rk) == 0) {
        out_bytes(p->out, "key", rk.key);
        if (rk.kind != ROWKEY_KIND_KEY)
            out_bytes(p->out, inspect_kind_name(rk.kind), rk.sub);
    } else {
        out_bytes(p->out, "row", name);
    }
    va_start(args, format);
    end(p, format, args);
    va_end(args);
}

void problem_key(struct problems *p, struct bytes key, const char *format, ...)
{
    va_list args;

    if (!begin(p))
        return;
    out_bytes(p->out, "key", key);
    va_start(args, format);
    end(p, format, args);
    va_end(args);
}

void problem_record(struct problems *p, const struct oplog_record *record, const char *format, ...)
{
    va_list args;

    if (!begin(p))
        return;
    out_u64(p->out, "lsn", record->lsn);
    va_start(args, format);
    end(p, format, args);
    va_end(args);
}
