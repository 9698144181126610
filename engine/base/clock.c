/*
 * The system's clocks. Both reads go through the vDSO: no system call, some twenty nanoseconds.
 */
#include "engine/base/clock.h"

#include <stdio.h>
#include <time.h>

#include "engine/base/attr.h"
#include "engine/base/check.h"

static struct timespec clock_read(clockid_t id)
{
    struct timespec now;
    const int err = clock_gettime(id, &now);

    CHECK(err == 0);
    return now;
}

uint64_t clock_mono_ns(void)
{
    const struct timespec now = clock_read(CLOCK_MONOTONIC);

    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint64_t clock_wall_us(void)
{
    const struct timespec now = clock_read(CLOCK_REALTIME);

    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t clock_wall_ms(void)
{
    return clock_wall_us() / 1000u;
}

static uint64_t real_mono_ns(void *ctx UNUSED)
{
    return clock_mono_ns();
}

static uint64_t real_wall_us(void *ctx UNUSED)
{
    return clock_wall_us();
}

const struct clock_source *clock_real(void)
{
    static const struct clock_source source = {.mono_ns = real_mono_ns, .wall_us = real_wall_us};

    return &source;
}

void clock_iso(char text[CLOCK_ISO_BYTES], uint64_t ms)
{
    const time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    char date[CLOCK_ISO_BYTES - 6];

    /* No number of milliseconds reaches a year that has no place in struct tm, or in `date`. */
    CHECK(gmtime_r(&seconds, &tm) != NULL);
    CHECK(strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) != 0);
    (void)snprintf(text, CLOCK_ISO_BYTES, "%s.%03uZ", date, (unsigned)(ms % 1000));
}
