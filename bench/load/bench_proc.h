/*
 * What the kernel knows about the server's process: CPU time, bytes read and written, memory.
 */
#ifndef TIERRA_BENCH_LOAD_BENCH_PROC_H
#define TIERRA_BENCH_LOAD_BENCH_PROC_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/attr.h"

struct bench_proc {
    uint64_t cpu_us;      /* User and system, all threads; the kernel counts in ticks of 10 ms. */
    uint64_t read_bytes;  /* From the device: what the page cache served is not in it. */
    uint64_t write_bytes; /* To be written to the device. */
    uint64_t rss_bytes;
    bool has_io; /* Reading another user's I/O counters needs privileges. */
};

/* Returns 0 or -errno. */
MUST_USE int bench_proc_read(int pid, struct bench_proc *out);

#endif
