/*
 * Time. The only module that reads the system's clocks.
 *
 * Code that decides by time takes a struct clock_source from its owner, so that a simulator can
 * put its own time there. The plain functions read the real clocks; they are for logs, figures
 * and programs. All functions: any thread.
 */
#ifndef TIERRA_ENGINE_BASE_CLOCK_H
#define TIERRA_ENGINE_BASE_CLOCK_H

#include <stdint.h>

struct clock_source {
    uint64_t (*mono_ns)(void *ctx); /* Never goes back; no relation to the date. */
    uint64_t (*wall_us)(void *ctx); /* Since 1970, UTC; may jump. */
    void *ctx;
};

/* The clocks of the system. Static storage. */
const struct clock_source *clock_real(void);

/* Nanoseconds, never goes back. */
uint64_t clock_mono_ns(void);

/* Since 1970-01-01 UTC. */
uint64_t clock_wall_ms(void);
uint64_t clock_wall_us(void);

/* `ms` since 1970, any number, as 2026-11-29T12:20:13.123Z, zero terminated. */
#define CLOCK_ISO_BYTES 32
void clock_iso(char text[CLOCK_ISO_BYTES], uint64_t ms);

static inline uint64_t clock_source_mono_ns(const struct clock_source *source)
{
    return source->mono_ns(source->ctx);
}

static inline uint64_t clock_source_wall_us(const struct clock_source *source)
{
    return source->wall_us(source->ctx);
}

static inline uint64_t clock_source_wall_ms(const struct clock_source *source)
{
    return source->wall_us(source->ctx) / 1000;
}

#endif
