/*
 * A wall clock that is wrong: preloaded into a server, it adds what stands in a file that the test
 * maps too (TIERRA_CLOCK): 8 bytes, milliseconds, signed, as the machine has them; whole seconds
 * count. Monotonic clocks stay as they are.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/real.h"

static _Atomic int64_t *offset_ms; /* NULL: not under test. */

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("TIERRA_CLOCK");

    if (path == NULL)
        return;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *map = fd < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);
    if (map == MAP_FAILED) {
        (void)fprintf(stderr, "clock_shim: cannot map %s\n", path);
        abort();
    }
    (void)close(fd);
    offset_ms = map;
}

int clock_gettime(clockid_t clock_id, struct timespec *tp)
{
    const int err = REAL(clock_gettime, int, clockid_t, struct timespec *)(clock_id, tp);

    if (err == 0 && offset_ms != NULL &&
        (clock_id == CLOCK_REALTIME || clock_id == CLOCK_REALTIME_COARSE))
        tp->tv_sec += atomic_load(offset_ms) / 1000;
    return err;
}
