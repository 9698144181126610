/*
 * The packed list, without a server: time per element and bytes per element.
 *
 *     bench-lists [elements [value bytes]]      1,000,000 of 16 bytes unless told
 *
 * One thread, in its processor time. Positions are 22 bytes as pushes make them, rows are 10 bytes
 * and a value.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "engine/base/bytes.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"
#include "engine/base/rng.h"

#include "engine/space/listq.h"

#define POSITION_BYTES 22
#define ROW_HEAD_BYTES 10
#define ROW_BYTES_MAX  65536
#define RANGE          600u

struct bench {
    struct listq q;
    uint64_t n;
    struct bytes row;
    struct rng rng;
    double from_ns;
};

/* The processor's time, so that other work on the machine counts little. */
static double now_ns(void)
{
    struct rusage use;

    (void)getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e9 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e3;
}

static void start(struct bench *b)
{
    b->from_ns = now_ns();
}

static void stop(const struct bench *b, const char *what, uint64_t n)
{
    printf("%-34s %8.1f ns\n", what, (now_ns() - b->from_ns) / (double)n);
}

static struct bytes position(uint8_t *out, uint32_t offset)
{
    memset(out, 7, POSITION_BYTES);
    be32_store(out + POSITION_BYTES - 5, offset ^ 0x80000000u);
    out[POSITION_BYTES - 1] = 0x80;
    return bytes_of(out, POSITION_BYTES);
}

static void fill(struct bench *b, bool front)
{
    uint8_t room[POSITION_BYTES];

    listq_init(&b->q);
    start(b);
    for (uint32_t i = 0; i < b->n; i++) {
        const struct listq_item item = {
            .position = position(room, front ? 0 - i : i), .row = b->row, .flags = LISTQ_DIRTY};
        if (front)
            listq_push_front(&b->q, &item, i + 1);
        else
            listq_push_back(&b->q, &item, i + 1);
    }
    stop(b, front ? "push front" : "push back", b->n);
}

static void on_put(void *ctx, struct bytes at, struct bytes row)
{
    uint64_t *sum = ctx;

    *sum += at.len + row.len;
}

static void on_delete(void *ctx, struct bytes at)
{
    uint64_t *sum = ctx;

    *sum += at.len;
}

static void flush(struct bench *b, const char *what)
{
    uint64_t sum = 0;

    start(b);
    (void)listq_flush_begin(&b->q, SIZE_MAX, SIZE_MAX, on_put, on_delete, &sum);
    stop(b, what, b->n);
    listq_flush_done(&b->q);
    CHECK(!listq_dirty(&b->q));
}

/* All elements in slices as LRANGE reads them, both ways. */
static void ranges(struct bench *b)
{
    struct listq_at at;
    uint64_t sum = 0;
    const uint64_t turns = 2000;

    start(b);
    for (uint64_t i = 0; i < turns; i++) {
        listq_first(&b->q, &at);
        for (uint32_t k = 0; k < RANGE && listq_valid(&at); k++, listq_next(&b->q, &at))
            sum += at.row.len + at.row.ptr[0];
    }
    stop(b, "range of 600 from the front", turns * RANGE);
    start(b);
    for (listq_first(&b->q, &at); listq_valid(&at); listq_next(&b->q, &at))
        sum += at.row.len + at.row.ptr[0];
    stop(b, "all, forwards", b->n);
    start(b);
    for (listq_last(&b->q, &at); listq_valid(&at); listq_prev(&b->q, &at))
        sum += at.row.len + at.row.ptr[0];
    stop(b, "all, backwards", b->n);
    CHECK(sum != 0);
}

static void random_access(struct bench *b)
{
    uint8_t room[POSITION_BYTES];
    struct listq_at at;
    const uint64_t turns = 20000;

    start(b);
    for (uint64_t i = 0; i < turns; i++)
        listq_at_index(&b->q, rng_below(&b->rng, b->n), &at);
    stop(b, "by index", turns);
    start(b);
    for (uint64_t i = 0; i < turns; i++) {
        const bool found =
            listq_find(&b->q, position(room, (uint32_t)rng_below(&b->rng, b->n)), &at);
        CHECK(found);
    }
    stop(b, "by position", turns);
}

static void pop(struct bench *b, bool front)
{
    start(b);
    for (uint64_t i = 0; i < b->n; i++) {
        if (front)
            listq_pop_front(&b->q, b->n + i);
        else
            listq_pop_back(&b->q, b->n + i);
    }
    stop(b, front ? "pop front" : "pop back", b->n);
    listq_deinit(&b->q);
}

/* A short list that is pushed to and popped from, as a queue. */
static void queue(struct bench *b)
{
    uint8_t room[POSITION_BYTES];

    listq_init(&b->q);
    start(b);
    for (uint32_t i = 0; i < b->n; i++) {
        const struct listq_item item = {
            .position = position(room, i), .row = b->row, .flags = LISTQ_DIRTY};
        listq_push_back(&b->q, &item, i + 1);
        if (i >= 10)
            listq_pop_front(&b->q, i + 1);
    }
    stop(b, "push back and pop front of ten", b->n);
    listq_deinit(&b->q);
}

static bool argument(const char *text, uint64_t max, uint64_t *out)
{
    return num_parse_u64(bytes_cstr(text), out) && *out != 0 && *out <= max;
}

int main(int argc, char **argv)
{
    uint64_t value_bytes = 16;
    struct bench b = {.n = 1000000};

    if ((argc > 1 && !argument(argv[1], 1u << 30, &b.n)) ||
        (argc > 2 && !argument(argv[2], ROW_BYTES_MAX - ROW_HEAD_BYTES, &value_bytes))) {
        fprintf(stderr, "usage: %s [elements [value bytes]]\n", argv[0]);
        return 2;
    }
    uint8_t *row = mem_zalloc(ROW_BYTES_MAX);
    b.row = bytes_of(row, ROW_HEAD_BYTES + value_bytes);
    rng_seed(&b.rng, 1);
    printf("%" PRIu64 " elements, rows of %zu bytes, %s\n", b.n, b.row.len, mem_allocator());
    fill(&b, true);
    flush(&b, "flush, all dirty");
    pop(&b, true);
    fill(&b, false);
    printf("%-34s %8.2f bytes an element\n", "memory", (double)listq_bytes(&b.q) / (double)b.n);
    ranges(&b);
    random_access(&b);
    pop(&b, false);
    queue(&b);
    mem_free(row);
    return 0;
}
