/*
 * The crash report of a failed CHECK.
 *
 * It goes to stderr and to the log by plain writes of a stack buffer: at this point the heap may
 * be the thing that is broken.
 */
#include "engine/base/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/log.h"

/* Enough for a path, an expression and the numbers; a longer report is cut. */
#define REPORT_BYTES_MAX 512

static _Thread_local int check_shard = -1;

void check_set_shard(int shard)
{
    check_shard = shard;
}

NORETURN void check_fail(const char *expression, const char *file, int line)
{
    char report[REPORT_BYTES_MAX];
    const int len = snprintf(report, sizeof(report), "CHECK failed: %s:%d: %s (shard %d)\n", file,
                             line, expression, check_shard);

    const size_t report_len = len < 0 ? 0 : size_min((size_t)len, sizeof(report) - 1);

    log_write_tail(STDERR_FILENO);
    log_write_report(report, report_len);
    /* Nothing is left to do about a report that cannot be written. */
    IGNORE_RESULT(write(STDERR_FILENO, report, report_len));
    abort();
}
