/*
 * Latency events: what took at least latency-monitor-threshold milliseconds, by class of event.
 *
 * Of each class the last 160 samples are kept, at most one per second: a second keeps its worst.
 * Classes: "command" and "fast-command" (as the command table calls it fast).
 *
 * Owned by one shard thread.
 */
#ifndef TIERRA_SERVER_LATENCY_H
#define TIERRA_SERVER_LATENCY_H

#include <stdint.h>

#include "engine/base/bytes.h"

struct latency;

#define LATENCY_SAMPLES_MAX 160
#define LATENCY_CLASSES_MAX 16

struct latency_sample {
    uint64_t at_s; /* 0: none. */
    uint64_t ms;
};

struct latency_class {
    const char *name; /* Static text. */
    uint64_t ms_max;  /* Since the last reset. */
    uint32_t next;    /* Where the next sample goes: the oldest. */
    struct latency_sample sample[LATENCY_SAMPLES_MAX];
};

struct latency *latency_create(void);
void latency_destroy(struct latency *l);

void latency_add(struct latency *l, const char *name, uint64_t ms);

/* Adds the event if it is slow; a threshold of 0 switches all off. */
static inline void latency_note(struct latency *l, const char *name, uint64_t ms,
                                int64_t threshold_ms)
{
    if (unlikely(threshold_ms > 0 && ms >= (uint64_t)threshold_ms))
        latency_add(l, name, ms);
}

/* Adds the samples of `from`: a second keeps its worst, and the newest seconds stay. */
void latency_merge(struct latency *l, const struct latency *from);

/* Classes with events; `index` below the count. */
uint32_t latency_count(const struct latency *l);
const struct latency_class *latency_at(const struct latency *l, uint32_t index);
/* NULL: no such event was seen. */
const struct latency_class *latency_find(const struct latency *l, struct bytes name);

/* Forgets a class, or all if `name` is NULL; returns how many. */
uint32_t latency_reset(struct latency *l, const struct bytes *name);

#endif
