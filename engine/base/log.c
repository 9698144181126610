/*
 * The logger of the process.
 *
 * A line is formatted on the stack of the caller, outside the lock; the lock covers one write of
 * the whole line and its copy into a small ring of recent lines, which the crash report prints.
 * The level is an atomic, so that a suppressed line costs one load.
 */
#include "engine/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"

/* Recent lines for the crash report: enough to see what led to it, little enough to keep always. */
#define LOG_TAIL_LINES 16

struct log_line {
    size_t len;
    char text[LOG_LINE_BYTES_MAX];
};

/* See the header for why this is global. All but `level` is guarded by `mutex`. */
static struct {
    pthread_mutex_t mutex;
    _Atomic int level;
    int fd; /* STDERR_FILENO or our own. */
    char path[PATH_MAX];
    size_t tail_next; /* Of `tail`; the oldest line once the ring is full. */
    struct log_line tail[LOG_TAIL_LINES];
} logger = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .level = LOG_LEVEL_NOTICE,
    .fd = STDERR_FILENO,
};

static const struct {
    const char *name;
    enum log_level level;
} level_names[] = {
    {"error", LOG_LEVEL_ERROR},  {"warning", LOG_LEVEL_WARN}, {"notice", LOG_LEVEL_NOTICE},
    {"verbose", LOG_LEVEL_INFO}, {"info", LOG_LEVEL_INFO},    {"debug", LOG_LEVEL_DEBUG},
};

bool log_level_parse(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(level_names); i++) {
        if (strcasecmp(name, level_names[i].name) == 0) {
            *out = level_names[i].level;
            return true;
        }
    }
    return false;
}

const char *log_level_name(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "ERROR";
    case LOG_LEVEL_WARN:
        return "WARN";
    case LOG_LEVEL_NOTICE:
        return "NOTICE";
    case LOG_LEVEL_INFO:
        return "INFO";
    case LOG_LEVEL_DEBUG:
        return "DEBUG";
    }
    return "?";
}

/* Opens `path` and makes it the destination. The lock is held. */
static int log_open_locked(const char *path)
{
    const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);

    if (fd < 0)
        return -errno;
    if (logger.fd != STDERR_FILENO)
        (void)close(logger.fd); /* An append-only log has nothing to lose at close. */
    logger.fd = fd;
    return 0;
}

int log_init(enum log_level level, const char *path)
{
    log_set_level(level);
    if (path == NULL || path[0] == '\0') {
        log_close();
        return 0;
    }
    const size_t len = strlen(path);
    if (len >= sizeof(logger.path))
        return -ENAMETOOLONG;

    (void)pthread_mutex_lock(&logger.mutex);
    const int err = log_open_locked(path);
    if (err == 0)
        memcpy(logger.path, path, len + 1);
    (void)pthread_mutex_unlock(&logger.mutex);
    return err;
}

int log_reopen(void)
{
    int err = 0;

    (void)pthread_mutex_lock(&logger.mutex);
    if (logger.path[0] != '\0')
        err = log_open_locked(logger.path);
    (void)pthread_mutex_unlock(&logger.mutex);
    return err;
}

void log_close(void)
{
    (void)pthread_mutex_lock(&logger.mutex);
    if (logger.fd != STDERR_FILENO)
        (void)close(logger.fd);
    logger.fd = STDERR_FILENO;
    logger.path[0] = '\0';
    (void)pthread_mutex_unlock(&logger.mutex);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&logger.level, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&logger.level, memory_order_relaxed);
}

/* Writes time, level and subsystem at `out`; the length, below LOG_LINE_BYTES_MAX. */
static size_t log_format_head(char *out, enum log_level level, const char *subsystem)
{
    const uint64_t now_ms = clock_wall_ms();
    const time_t now_s = (time_t)(now_ms / 1000);
    struct tm tm = {0};

    (void)gmtime_r(&now_s, &tm); /* Fails for years beyond an int only; the line is then undated. */
    const size_t date_len = strftime(out, LOG_LINE_BYTES_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    const size_t room = LOG_LINE_BYTES_MAX - date_len;
    const int len = snprintf(out + date_len, room, ".%03uZ %-6s %s: ", (unsigned)(now_ms % 1000),
                             log_level_name(level), subsystem);

    return date_len + (len < 0 ? 0 : size_min((size_t)len, room - 1));
}

/* One event, one line: whatever a message quotes. The bytes above ASCII stay, they may be UTF-8. */
static void log_clean(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            text[i] = ' ';
    }
}

/*
 * A log that cannot be written to must not stop the node: errors are dropped, but the tail has
 * it.
 */
static void log_put_locked(const char *text, size_t len)
{
    struct log_line *kept = &logger.tail[logger.tail_next];

    memcpy(kept->text, text, len);
    kept->len = len;
    logger.tail_next = (logger.tail_next + 1) % LOG_TAIL_LINES;

    IGNORE_RESULT(write(logger.fd, text, len));
}

void log_write(enum log_level level, const char *subsystem, const char *format, ...)
{
    char line[LOG_LINE_BYTES_MAX];
    const int saved_errno = errno;
    const size_t head_len = log_format_head(line, level, subsystem);
    va_list args;

    va_start(args, format);
    const int body_len = vsnprintf(line + head_len, sizeof(line) - head_len, format, args);
    va_end(args);

    /* The last byte of the buffer, where vsnprintf put its zero at worst, is for the line end. */
    const size_t room = sizeof(line) - head_len - 1;
    const size_t len = head_len + (body_len < 0 ? 0 : size_min((size_t)body_len, room));
    log_clean(line, len);
    line[len] = '\n';

    (void)pthread_mutex_lock(&logger.mutex);
    log_put_locked(line, len + 1);
    (void)pthread_mutex_unlock(&logger.mutex);
    errno = saved_errno;
}

bool log_limit_pass(struct log_limit *limit, uint64_t period_ms, uint64_t *out_suppressed)
{
    const uint64_t now_ns = clock_mono_ns();
    uint64_t next_at_ns = atomic_load_explicit(&limit->next_at_ns, memory_order_relaxed);

    /*
     * Of several threads that find the period over, one wins the exchange; the others are
     * counted.
     */
    if (now_ns < next_at_ns || !atomic_compare_exchange_strong(&limit->next_at_ns, &next_at_ns,
                                                               now_ns + period_ms * 1000000u)) {
        (void)atomic_fetch_add_explicit(&limit->suppressed_count, 1, memory_order_relaxed);
        return false;
    }
    *out_suppressed = atomic_exchange_explicit(&limit->suppressed_count, 0, memory_order_relaxed);
    return true;
}

void log_write_tail(int fd)
{
    /* The failed thread may hold the lock, or the writer may hang: a report must not wait. */
    if (pthread_mutex_trylock(&logger.mutex) != 0)
        return;
    for (size_t i = 0; i < LOG_TAIL_LINES; i++) {
        const struct log_line *line = &logger.tail[(logger.tail_next + i) % LOG_TAIL_LINES];
        if (line->len != 0)
            IGNORE_RESULT(write(fd, line->text, line->len));
    }
    (void)pthread_mutex_unlock(&logger.mutex);
}

void log_write_report(const char *text, size_t len)
{
    if (pthread_mutex_trylock(&logger.mutex) != 0)
        return;
    if (logger.fd != STDERR_FILENO)
        IGNORE_RESULT(write(logger.fd, text, len));
    (void)pthread_mutex_unlock(&logger.mutex);
}
