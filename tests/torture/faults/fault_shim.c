/*
 * A disk that fails: preloaded into the server, it makes chosen calls on chosen files return an
 * error. The rules stand in a file that the test maps too (TIERRA_FAULTS; faultctl.py), so that
 * faults come and go while the server runs:
 *
 *     RULES of RULE_BYTES each, little-endian as the machine has it
 *      0  4  calls: 0 any of these, 1 open, 2 write, 3 sync, 4 read
 *      4  4  errno that they return
 *      8  8  countdown: 0 off, 1 the next call fails, 2 the one after it, ..
 *     16  4  1: every call after that fails as well, until the rule is switched off
 *     20  4  1: it is a file only if it is opened for writing (open)
 *     24  8  calls that matched while the countdown was not 0
 *     32  8  of these, failed
 *     40 88  text that the path contains, zero-terminated
 *
 * Ring operations pass no function of the C library: for the op log's files the server has to run
 * with io-backend epoll. RocksDB uses none.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/lib/real.h"

#define RULES     16
#define PATH_ROOM 4400

enum call {
    CALL_ANY,
    CALL_OPEN,
    CALL_WRITE,
    CALL_SYNC,
    CALL_READ
};

struct rule {
    _Atomic uint32_t call;
    _Atomic uint32_t err;
    _Atomic uint64_t countdown;
    _Atomic uint32_t sticky;
    _Atomic uint32_t for_writing;
    _Atomic uint64_t matched;
    _Atomic uint64_t failed;
    char path[88];
};

static struct rule *rules; /* NULL: not under test. */

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("TIERRA_FAULTS");

    if (path == NULL)
        return;
    const int fd = REAL(open, int, const char *, int, ...)(path, O_RDWR | O_CLOEXEC);
    void *map =
        fd < 0 ? MAP_FAILED
               : mmap(NULL, RULES * sizeof(struct rule), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        (void)fprintf(stderr, "fault_shim: cannot map %s\n", path);
        abort();
    }
    (void)close(fd);
    rules = map;
}

/* The call passes: does this rule let it fail? */
static bool hits(struct rule *r)
{
    uint64_t left = atomic_load(&r->countdown);

    while (left != 0) {
        const uint64_t next = left > 1 ? left - 1 : atomic_load(&r->sticky) != 0 ? 1 : 0;
        if (next == left || atomic_compare_exchange_strong(&r->countdown, &left, next)) {
            atomic_fetch_add(&r->matched, 1);
            if (left != 1)
                return false;
            atomic_fetch_add(&r->failed, 1);
            return true;
        }
    }
    return false;
}

static bool path_of(int fd, char path[PATH_ROOM])
{
    char link[64];

    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    const ssize_t len = readlink(link, path, PATH_ROOM - 1);
    if (len <= 0)
        return false;
    path[len] = '\0';
    return true;
}

/* `path` NULL: that of the descriptor. True: the call fails, and errno says with what. */
static bool fails(enum call call, int fd, const char *path, bool writing)
{
    char own[PATH_ROOM];

    for (struct rule *r = rules; r != NULL && r < rules + RULES; r++) {
        const uint32_t which = atomic_load(&r->call);
        if (atomic_load(&r->countdown) == 0 || (which != CALL_ANY && which != call) ||
            (atomic_load(&r->for_writing) != 0 && !writing))
            continue;
        if (path == NULL && !path_of(fd, own))
            return false;
        if (path == NULL)
            path = own;
        if (strstr(path, r->path) != NULL && hits(r)) {
            errno = (int)atomic_load(&r->err);
            return true;
        }
    }
    return false;
}

/* --- in place of the C library's --- */

#define MODE_OF(flags)                            \
    mode_t mode = 0;                              \
    if (((flags) & (O_CREAT | O_TMPFILE)) != 0) { \
        va_list args;                             \
        va_start(args, flags);                    \
        mode = (mode_t)va_arg(args, unsigned);    \
        va_end(args);                             \
    }

int open(const char *path, int flags, ...)
{
    MODE_OF(flags)
    if (fails(CALL_OPEN, -1, path, (flags & O_ACCMODE) != O_RDONLY))
        return -1;
    return REAL(open, int, const char *, int, ...)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_OF(flags)
    return open(path, flags | O_LARGEFILE, mode);
}

int fsync(int fd)
{
    return fails(CALL_SYNC, fd, NULL, true) ? -1 : REAL(fsync, int, int)(fd);
}

int fdatasync(int fd)
{
    return fails(CALL_SYNC, fd, NULL, true) ? -1 : REAL(fdatasync, int, int)(fd);
}

ssize_t write(int fd, const void *buf, size_t len)
{
    if (fails(CALL_WRITE, fd, NULL, true))
        return -1;
    return REAL(write, ssize_t, int, const void *, size_t)(fd, buf, len);
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t offset)
{
    if (fails(CALL_WRITE, fd, NULL, true))
        return -1;
    return REAL(pwrite, ssize_t, int, const void *, size_t, off_t)(fd, buf, len, offset);
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t offset)
{
    return pwrite(fd, buf, len, offset);
}

/* A write of the log that is a sync at once counts as both. */
ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    if (fails(CALL_WRITE, fd, NULL, true) ||
        ((flags & (RWF_DSYNC | RWF_SYNC)) != 0 && fails(CALL_SYNC, fd, NULL, true)))
        return -1;
    return REAL(pwritev2, ssize_t, int, const struct iovec *, int, off_t, int)(fd, iov, count,
                                                                               offset, flags);
}

ssize_t pread(int fd, void *buf, size_t len, off_t offset)
{
    if (fails(CALL_READ, fd, NULL, false))
        return -1;
    return REAL(pread, ssize_t, int, void *, size_t, off_t)(fd, buf, len, offset);
}

ssize_t pread64(int fd, void *buf, size_t len, off64_t offset)
{
    return pread(fd, buf, len, offset);
}
