/*
 * The tables of collections, without a server: time per operation and bytes per element.
 *
 *     bench-elems [elements]      1,000,000 unless told
 *
 * One thread, in its processor time; keys and scores from a fixed seed. The bytes are those of the
 * index alone, as the allocator counts them; the time of creating the elements is not measured.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "engine/base/bytes.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"
#include "engine/base/rng.h"

#include "engine/space/elemtab.h"
#include "engine/space/obj.h"
#include "engine/space/zorder.h"

#define SEED 1

struct bench {
    struct elem **elem;
    double *score;
    uint32_t *order; /* A random permutation. */
    uint32_t n;
    struct rng rng;
};

/* The processor's time, so that other work on the machine counts little. */
static double now_ns(void)
{
    struct rusage use;
    (void)getrusage(RUSAGE_SELF, &use);
    return (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e9 +
           (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e3;
}

static void report(const char *what, double start, uint64_t n)
{
    printf("%-36s %8.1f ns\n", what, (now_ns() - start) / (double)n);
}

static void report_bytes(const char *what, size_t bytes, uint64_t n)
{
    printf("%-36s %8.2f bytes per element\n", what, (double)bytes / (double)n);
}

static void bench_init(struct bench *b, uint32_t n)
{
    *b = (struct bench){.n = n};
    rng_seed(&b->rng, SEED);
    b->elem = mem_zalloc_array(n, sizeof(struct elem *));
    b->score = mem_zalloc_array(n, sizeof(*b->score));
    b->order = mem_zalloc_array(n, sizeof(*b->order));
    for (uint32_t i = 0; i < n; i++) {
        char text[32];
        const int len = snprintf(text, sizeof(text), "member:%u", i);
        b->elem[i] = elem_new(bytes_of(text, (size_t)len), 0, 0, 10);
        b->score[i] = rng_double(&b->rng) * 1e9;
        b->order[i] = i;
    }
    for (uint32_t i = n; i > 1; i--) {
        const uint32_t j = (uint32_t)rng_below(&b->rng, i);
        const uint32_t swap = b->order[i - 1];
        b->order[i - 1] = b->order[j];
        b->order[j] = swap;
    }
}

static void bench_deinit(struct bench *b)
{
    for (uint32_t i = 0; i < b->n; i++)
        mem_free(b->elem[i]);
    mem_free(b->elem);
    mem_free(b->score);
    mem_free(b->order);
}

static void run_elemtab(struct bench *b)
{
    struct elemtab t;
    uint64_t found = 0;

    elemtab_init(&t, 1);
    double start = now_ns();
    for (uint32_t i = 0; i < b->n; i++)
        elemtab_insert(&t, b->elem[i]);
    report("elemtab insert", start, b->n);
    report_bytes("elemtab", elemtab_bytes(&t), b->n);
    start = now_ns();
    for (uint32_t i = 0; i < b->n; i++)
        found += elemtab_find(&t, elem_sub(b->elem[b->order[i]])) != NULL;
    report("elemtab find, random", start, b->n);
    start = now_ns();
    for (uint32_t i = 0; i < b->n; i++)
        found += elemtab_random(&t, &b->rng) != NULL;
    report("elemtab random", start, b->n);
    start = now_ns();
    for (uint32_t i = 0; i < b->n; i++)
        elemtab_remove(&t, b->elem[b->order[i]]);
    report("elemtab remove, random", start, b->n);
    if (found != 2ull * b->n)
        abort();
    elemtab_deinit(&t);
}

/* Of as many collections as there are elements, one element each. */
static void run_elemtab_one(struct bench *b)
{
    size_t bytes = 0;
    const double start = now_ns();

    for (uint32_t i = 0; i < b->n; i++) {
        struct elemtab t;
        elemtab_init(&t, 1);
        elemtab_insert(&t, b->elem[i]);
        bytes += elemtab_bytes(&t) + sizeof(t);
        elemtab_deinit(&t);
    }
    report("elemtab create, insert 1, free", start, b->n);
    report_bytes("elemtab of 1, with its struct", bytes, b->n);
}

static void zorder_drain(struct zorder *z, const char *what)
{
    const uint64_t n = zorder_count(z);
    struct zorder_pos pos;
    const double start = now_ns();

    while (zorder_first(z, &pos))
        zorder_remove(z, pos.score, pos.elem);
    report(what, start, n);
}

static void run_zorder(struct bench *b)
{
    struct zorder z;
    uint64_t sum = 0;

    zorder_init(&z);
    double start = now_ns();
    for (uint32_t i = 0; i < b->n; i++)
        zorder_insert(&z, b->score[i], b->elem[i]);
    report("zorder insert, random scores", start, b->n);
    report_bytes("zorder, random scores", zorder_bytes(&z), b->n);
    start = now_ns();
    for (uint32_t i = 0; i < b->n; i++) {
        const uint32_t j = b->order[i];
        sum += zorder_rank(&z, b->score[j], elem_sub(b->elem[j]));
    }
    report("zorder rank", start, b->n);
    start = now_ns();
    for (uint32_t i = 0; i < b->n; i++) {
        struct zorder_pos pos;
        sum -= zorder_at(&z, b->order[i], &pos) ? b->order[i] : 0;
    }
    report("zorder at", start, b->n);
    start = now_ns();
    for (uint32_t i = 0; i < b->n; i++) {
        const uint32_t j = b->order[i];
        zorder_remove(&z, b->score[j], b->elem[j]);
        b->score[j] = rng_double(&b->rng) * 1e9;
        zorder_insert(&z, b->score[j], b->elem[j]);
    }
    report("zorder change of score", start, b->n);
    report_bytes("zorder, after the changes", zorder_bytes(&z), b->n);
    zorder_drain(&z, "zorder pop first, elements scattered");
    if (sum != 0 || zorder_bytes(&z) != 0)
        abort();
    for (uint32_t i = 0; i < b->n; i++)
        zorder_insert(&z, b->score[i], b->elem[i]);
    start = now_ns();
    for (uint32_t i = 0; i < b->n; i++)
        zorder_remove(&z, b->score[b->order[i]], b->elem[b->order[i]]);
    report("zorder remove, random", start, b->n);
    zorder_deinit(&z);
}

static void run_zorder_ordered(struct bench *b)
{
    struct zorder z;

    zorder_init(&z);
    double start = now_ns();
    for (uint32_t i = 0; i < b->n; i++)
        zorder_insert(&z, (double)i, b->elem[i]);
    report("zorder insert, ascending", start, b->n);
    report_bytes("zorder, ascending", zorder_bytes(&z), b->n);
    zorder_drain(&z, "zorder pop first");
    start = now_ns();
    for (uint32_t i = 0; i < b->n; i++)
        zorder_insert(&z, -(double)i, b->elem[i]);
    report("zorder insert, descending", start, b->n);
    report_bytes("zorder, descending", zorder_bytes(&z), b->n);
    zorder_deinit(&z);
    start = now_ns();
    for (uint32_t i = 0; i < b->n; i++)
        zorder_insert(&z, 0, b->elem[b->order[i]]);
    report("zorder insert, equal scores", start, b->n);
    zorder_deinit(&z);
}

int main(int argc, char **argv)
{
    struct bench b;
    uint64_t n = 1000000;

    if (argc > 2 || (argc == 2 && !num_parse_u64(bytes_cstr(argv[1]), &n)) || n == 0 ||
        n > UINT32_MAX) {
        (void)fprintf(stderr, "usage: %s [elements]\n", argv[0]);
        return EXIT_FAILURE;
    }
    printf("%lu elements, %s\n", (unsigned long)n, mem_allocator());
    bench_init(&b, (uint32_t)n);
    run_elemtab(&b);
    run_elemtab_one(&b);
    run_zorder(&b);
    run_zorder_ordered(&b);
    bench_deinit(&b);
    return EXIT_SUCCESS;
}
