/*
 * Measures the op log alone: what a commit takes under `always` by each method, and what an append
 * costs the shard's thread.
 *
 *     oplog-bench <directory> [seconds per line]      (in <directory>/oplog-bench-data)
 *
 * commit: each turn appends one record of the given size and waits until it is durable, so that
 *         latency is that of one group commit. The log is trimmed all the time, so that segments
 *         are recycled as in use.
 * append: records of 100 bytes, 32 per turn, under `no`; processor time of the whole process.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "engine/base/check.h"
#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/hist.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "engine/io/file.h"
#include "engine/io/reactor.h"

#include "replication/oplog.h"

#define APPEND_RECORD_BYTES 100
#define APPEND_PER_TURN     32
#define COMMIT_BYTES_MAX    (1u << 20)
#define LOG_SEGMENT_BYTES   (16u << 20)

static const struct {
    const char *name;
    enum oplog_method method;
} methods[] = {
    {"dsync", OPLOG_METHOD_DSYNC},
    {"fsync", OPLOG_METHOD_FSYNC},
    {"direct", OPLOG_METHOD_DIRECT},
};

struct bench {
    const char *dir;
    uint64_t run_ns;
    struct reactor *reactor;
    struct oplog *log;
    struct hist hist;
    uint8_t *payload;
};

/* Of the whole process, the kernel's workers for its ring included. */
static uint64_t cpu_ns(void)
{
    struct rusage u;

    CHECK(getrusage(RUSAGE_SELF, &u) == 0);
    return ((uint64_t)u.ru_utime.tv_sec + (uint64_t)u.ru_stime.tv_sec) * 1000000000u +
           ((uint64_t)u.ru_utime.tv_usec + (uint64_t)u.ru_stime.tv_usec) * 1000u;
}

static void begin(struct bench *b, enum reactor_backend backend, enum oplog_policy policy,
                  enum oplog_method method)
{
    const struct reactor_options reactor_options = {.backend = backend, .max_conns = 4};
    char why[256];
    int err = reactor_create(&reactor_options, &b->reactor);

    CHECK(err == 0);
    const struct oplog_options options = {.dir = b->dir,
                                          .reactor = b->reactor,
                                          .policy = policy,
                                          .method = method,
                                          .segment_bytes = LOG_SEGMENT_BYTES};
    CHECK(file_remove_tree(b->dir) == 0);
    err = oplog_open(&options, &b->log, why, sizeof(why));
    if (err == 0)
        err = oplog_recover(b->log, 0, NULL, NULL, why, sizeof(why));
    if (err != 0) {
        (void)fprintf(stderr, "%s\n", why);
        exit(1); /* NOLINT(concurrency-mt-unsafe) */
    }
}

static void end(struct bench *b)
{
    CHECK(oplog_close(b->log) == 0);
    reactor_destroy(b->reactor);
}

static void commit_one(struct bench *b, size_t len)
{
    CHECK(oplog_can_append(b->log, len) == 0);
    const uint64_t lsn = oplog_append(b->log, bytes_of(b->payload, len), 0, 0);

    oplog_turn_end(b->log);
    while (oplog_durable_lsn(b->log) < lsn)
        reactor_run_once(b->reactor, -1);
    (void)oplog_trim(b->log, lsn);
}

static void bench_commit(struct bench *b, enum reactor_backend backend, size_t method, size_t len)
{
    begin(b, backend, OPLOG_SYNC_ALWAYS, methods[method].method);
    /* Once round, so that all segments have been written before. */
    for (uint64_t done = 0; done < 3ull * LOG_SEGMENT_BYTES; done += COMMIT_BYTES_MAX)
        commit_one(b, COMMIT_BYTES_MAX);
    hist_reset(&b->hist);
    const uint64_t cpu_before_ns = cpu_ns();
    const uint64_t start_ns = clock_mono_ns();
    uint64_t now_ns = start_ns;
    while (now_ns - start_ns < b->run_ns) {
        commit_one(b, len);
        const uint64_t done_ns = clock_mono_ns();
        hist_record(&b->hist, done_ns - now_ns);
        now_ns = done_ns;
    }
    const uint64_t count = hist_count(&b->hist);
    printf("commit %-8s %-6s %6zu B: %7.0f/s  p50 %6.0f us  p99 %6.0f us  cpu %5.1f us\n",
           reactor_backend_name(b->reactor), methods[method].name, len,
           (double)count * 1e9 / (double)(now_ns - start_ns),
           (double)hist_percentile(&b->hist, 50) / 1e3, (double)hist_percentile(&b->hist, 99) / 1e3,
           (double)(cpu_ns() - cpu_before_ns) / 1e3 / (double)count);
    end(b);
}

static void bench_append(struct bench *b, enum reactor_backend backend)
{
    uint64_t count = 0;

    begin(b, backend, OPLOG_SYNC_NO, OPLOG_METHOD_AUTO);
    const uint64_t cpu_before_ns = cpu_ns();
    const uint64_t start_ns = clock_mono_ns();
    while (clock_mono_ns() - start_ns < b->run_ns) {
        for (int i = 0; i < APPEND_PER_TURN; i++) {
            if (oplog_can_append(b->log, APPEND_RECORD_BYTES) != 0)
                break;
            (void)oplog_append(b->log, bytes_of(b->payload, APPEND_RECORD_BYTES), 0, count++);
        }
        oplog_turn_end(b->log);
        reactor_run_once(b->reactor, 0);
        (void)oplog_trim(b->log, oplog_durable_lsn(b->log));
    }
    const uint64_t ns = clock_mono_ns() - start_ns;
    printf("append %-8s %d B, %d a turn: %.2f M/s, cpu %.0f ns a record\n",
           reactor_backend_name(b->reactor), APPEND_RECORD_BYTES, APPEND_PER_TURN,
           (double)count * 1e3 / (double)ns, (double)(cpu_ns() - cpu_before_ns) / (double)count);
    end(b);
}

int main(int argc, char **argv)
{
    static const size_t lens[] = {4096 - 64, 65536 - 64};
    static const enum reactor_backend backends[] = {REACTOR_AUTO, REACTOR_EPOLL};

    double seconds = 1;

    if (argc < 2 || (argc > 2 && !num_parse_double(bytes_cstr(argv[2]), &seconds))) {
        (void)fprintf(stderr, "usage: %s <directory> [seconds per line]\n", argv[0]);
        return 2;
    }
    struct bench *b = mem_zalloc(sizeof(*b));
    const size_t dir_bytes = strlen(argv[1]) + sizeof("/oplog-bench-data");
    char *dir = mem_alloc(dir_bytes);
    (void)snprintf(dir, dir_bytes, "%s/oplog-bench-data", argv[1]);
    b->dir = dir;
    b->run_ns = (uint64_t)(seconds * 1e9);
    b->payload = mem_zalloc(COMMIT_BYTES_MAX);

    for (size_t i = 0; i < ARRAY_COUNT(backends); i++) {
        bench_append(b, backends[i]);
        for (size_t k = 0; k < ARRAY_COUNT(lens); k++) {
            for (size_t m = 0; m < ARRAY_COUNT(methods); m++)
                bench_commit(b, backends[i], m, lens[k]);
        }
    }
    CHECK(file_remove_tree(b->dir) == 0);
    mem_free(b->payload);
    mem_free(dir);
    mem_free(b);
    return 0;
}
