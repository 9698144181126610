/*
 * The system's clocks. Both reads go through the vDSO: no system call, some twenty nanoseconds.
 */
#include "engine/base/clock.h"

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
