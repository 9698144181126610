/*
 * The log of the process: leveled, one line per event, to stderr or to a file.
 *
 *     2024-05-06T07:08:09.123Z WARN  oplog: sync slow shard=3 took_ms=210
 *
 * The time is UTC. A message is fixed text followed by key=value pairs; no user data and no keys
 * above debug. Control characters are replaced by blanks, so that one event is one line; a line
 * that is too long is cut at LOG_LINE_BYTES_MAX.
 *
 * There is one logger per process, with static storage: the one mutable global of the project. A
 * log line must be possible anywhere, before anything is set up and while everything is torn
 * down, and it carries no state that one node could take from another. Before log_init it writes
 * to stderr at level notice.
 *
 * All functions: any thread. A write blocks for as long as the file does.
 */
#ifndef TIERRA_ENGINE_BASE_LOG_H
#define TIERRA_ENGINE_BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

enum log_level {
    LOG_LEVEL_ERROR, /* An operator has to act. */
    LOG_LEVEL_WARN,  /* Something is wrong, and handled. */
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};

#define LOG_LINE_BYTES_MAX 2048

/*
 * Sends the log to the file `path` (created with mode 0640, appended to), or to stderr if it is
 * NULL or empty. Returns 0 or -errno; after an error the former destination stays.
 */
MUST_USE int log_init(enum log_level level, const char *path);

/* Opens the path of log_init again, after a rotation. Returns 0 or -errno. */
MUST_USE int log_reopen(void);

/* Back to stderr. */
void log_close(void);

void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

/*
 * "debug", "info", "verbose" (info), "notice", "warning" or "error" to a level; false if unknown.
 */
bool log_level_parse(const char *name, enum log_level *out);
const char *log_level_name(enum log_level level);

/* Writes one line whatever the level; use the macros. */
void log_write(enum log_level level, const char *subsystem, const char *format, ...)
    PRINTF_LIKE(3, 4);

/* Writes the last few lines to `fd`, for the crash report. Gives up if the log is locked. */
void log_write_tail(int fd);

/* Writes a crash report as it is to the log file, if the log goes to a file and is not locked. */
void log_write_report(const char *text, size_t len);

#define LOG_AT(level, subsystem, ...)                     \
    do {                                                  \
        if (log_enabled(level))                           \
            log_write((level), (subsystem), __VA_ARGS__); \
    } while (0)

#define LOG_ERROR(subsystem, ...)  LOG_AT(LOG_LEVEL_ERROR, subsystem, __VA_ARGS__)
#define LOG_WARN(subsystem, ...)   LOG_AT(LOG_LEVEL_WARN, subsystem, __VA_ARGS__)
#define LOG_NOTICE(subsystem, ...) LOG_AT(LOG_LEVEL_NOTICE, subsystem, __VA_ARGS__)
#define LOG_INFO(subsystem, ...)   LOG_AT(LOG_LEVEL_INFO, subsystem, __VA_ARGS__)
#define LOG_DEBUG(subsystem, ...)  LOG_AT(LOG_LEVEL_DEBUG, subsystem, __VA_ARGS__)

/* The state of one rate-limited call site; zero at the start. */
struct log_limit {
    _Atomic uint64_t next_at_ns;
    _Atomic uint64_t suppressed_count;
};

/*
 * True if the call site may write now, at most once per `period_ms`. Then `*out_suppressed` is
 * the number of lines dropped since the last one.
 */
bool log_limit_pass(struct log_limit *limit, uint64_t period_ms, uint64_t *out_suppressed);

/*
 * One line per `period_ms` at most from this place; lines dropped before are counted in a line of
 * their own. LOG_EVERY_MS(1000, LOG_LEVEL_WARN, "store", "read failed err=%s", ...).
 */
#define LOG_EVERY_MS(period_ms, level, subsystem, ...)                                         \
    do {                                                                                       \
        static struct log_limit log_limit_here;                                                \
        uint64_t log_suppressed_here;                                                          \
        if (log_enabled(level) &&                                                              \
            log_limit_pass(&log_limit_here, (period_ms), &log_suppressed_here)) {              \
            log_write((level), (subsystem), __VA_ARGS__);                                      \
            if (log_suppressed_here != 0)                                                      \
                log_write((level), (subsystem), "lines like the last were dropped count=%llu", \
                          (unsigned long long)log_suppressed_here);                            \
        }                                                                                      \
    } while (0)

#endif
