/*
 * The key table, without a server: time per operation and bytes per key.
 *
 *     bench-keytab [keys [slots]]      1,000,000 keys over 16,384 slots unless told
 *
 * One thread, in its processor time; names of 16 bytes from a fixed seed, hot objects with rows of
 * 16 bytes, looked up in random order. "ahead" looks up 16 keys at a time, prefetched in stages.
 * Bytes are those of the table alone; resident: what the process grew by, pages included.
 */
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "engine/base/bytes.h"
#include "engine/base/crc16.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"
#include "engine/base/rng.h"
#include "engine/base/sum.h"

#include "engine/space/keytab.h"
#include "engine/space/obj.h"

#define SEED       1
#define NAME_BYTES 16
#define BATCH      16u

struct bench {
    struct keytab *tab;
    struct obj **obj;
    uint32_t *order; /* A random permutation of the keys. */
    uint64_t n;
    uint32_t slots;
    double from_ns;
};

/* A key with what is derived from it. Those from n on are absent. */
struct name {
    uint8_t text[NAME_BYTES];
    uint64_t hash;
    uint16_t slot;
};

static void name_of(const struct bench *b, uint64_t i, struct name *out)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t at = 0; at < NAME_BYTES; at++)
        out->text[at] = (uint8_t)digits[i >> (4 * at) & 15];
    out->hash = hash64(out->text, NAME_BYTES, SEED);
    out->slot = (uint16_t)(out->hash % b->slots);
}

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

static void stop(const struct bench *b, const char *what)
{
    printf("%-34s %8.1f ns\n", what, (now_ns() - b->from_ns) / (double)b->n);
}

static void show_bytes(const struct bench *b, const char *what, uint64_t rss_before)
{
    mem_purge();
    const uint64_t rss = mem_rss_bytes();
    printf("%-34s %8.3f bytes a key, resident %.3f\n", what,
           (double)keytab_bytes(b->tab) / (double)b->n,
           rss > rss_before ? (double)(rss - rss_before) / (double)b->n : 0.0);
}

static void shuffle(struct bench *b)
{
    struct rng rng;

    rng_seed(&rng, SEED);
    for (uint64_t i = 0; i < b->n; i++)
        b->order[i] = (uint32_t)i;
    for (uint64_t i = b->n; i > 1; i--) {
        const uint64_t j = rng_below(&rng, i);
        const uint32_t other = b->order[j];
        b->order[j] = b->order[i - 1];
        b->order[i - 1] = other;
    }
}

/* --- cold --- */

static void bench_cold(struct bench *b)
{
    struct keytab_ref ref;
    struct name name;
    uint64_t found = 0;
    const uint64_t rss = mem_rss_bytes();

    b->tab = keytab_create(SEED);
    start(b);
    for (uint64_t i = 0; i < b->n; i++) {
        name_of(b, i, &name);
        keytab_insert_cold(b->tab, name.slot, name.hash, 1, false);
    }
    stop(b, "insert cold");
    show_bytes(b, "cold", rss);
    start(b);
    for (uint64_t i = 0; i < b->n; i++) {
        name_of(b, b->order[i], &name);
        found += keytab_find(b->tab, name.slot, name.hash, bytes_of(name.text, NAME_BYTES), &ref) ==
                 KEYTAB_COLD;
    }
    stop(b, "find cold");
    CHECK(found == b->n);
}

struct exported {
    struct keytab_cold *entries;
    uint16_t *slots;
    uint64_t count;
};

static void export_entry(void *ctx, const struct keytab_entry *entry)
{
    struct exported *e = ctx;

    e->entries[e->count] = (struct keytab_cold){.hash = entry->hash, .type = 1};
    e->slots[e->count++] = entry->slot;
}

/* Reads the whole table in order, and builds another one from that. */
static void bench_reload(struct bench *b)
{
    const uint64_t count = keytab_count_cold(b->tab);
    struct exported e = {.entries = mem_zalloc_array(count, sizeof(*e.entries)),
                         .slots = mem_zalloc_array(count, sizeof(*e.slots))};
    uint64_t cursor = 0;

    start(b);
    do {
        cursor = keytab_scan(b->tab, cursor, 1000, export_entry, &e);
    } while (cursor != 0);
    stop(b, "scan in order, 1000 at a time");
    CHECK(e.count == count);
    keytab_destroy(b->tab);
    b->tab = keytab_create(SEED);
    start(b);
    for (uint64_t i = 0; i < count;) {
        uint64_t end = i + 1;
        while (end < count && e.slots[end] == e.slots[i])
            end++;
        keytab_load_cold(b->tab, e.slots[i], e.entries + i, end - i);
        i = end;
    }
    stop(b, "load in order");
    mem_free(e.entries);
    mem_free(e.slots);
    start(b);
    keytab_destroy(b->tab);
    stop(b, "destroy");
    mem_purge();
}

/* --- hot --- */

static void bench_insert_hot(struct bench *b)
{
    struct name name;
    const uint64_t rss = mem_rss_bytes();

    b->tab = keytab_create(SEED);
    for (uint64_t i = 0; i < b->n; i++) {
        name_of(b, i, &name);
        b->obj[i] = obj_new(bytes_of(name.text, NAME_BYTES), 1, 0, NULL, 16);
    }
    printf("%-34s %8.3f bytes a key\n", "objects, resident",
           (double)(mem_rss_bytes() - rss) / (double)b->n);
    start(b);
    for (uint64_t i = 0; i < b->n; i++) {
        name_of(b, i, &name);
        keytab_insert_hot(b->tab, name.slot, name.hash, b->obj[i]);
    }
    stop(b, "insert hot");
}

static void bench_find_hot(struct bench *b)
{
    struct keytab_ref ref;
    struct name name;
    uint64_t found = 0;

    start(b);
    for (uint64_t i = 0; i < b->n; i++) {
        name_of(b, b->order[i], &name);
        found += keytab_find(b->tab, name.slot, name.hash, bytes_of(name.text, NAME_BYTES), &ref) ==
                 KEYTAB_HOT;
    }
    stop(b, "find hot");
    CHECK(found == b->n);
    start(b);
    for (uint64_t i = 0; i < b->n; i++) {
        name_of(b, b->n + b->order[i], &name);
        found += keytab_find(b->tab, name.slot, name.hash, bytes_of(name.text, NAME_BYTES), &ref) !=
                 KEYTAB_NONE;
    }
    stop(b, "find absent");
    CHECK(found == b->n);
}

static void bench_find_ahead(struct bench *b)
{
    struct keytab_ref ref;
    struct name names[BATCH];
    struct keytab_ahead ahead[BATCH];
    uint64_t found = 0;

    start(b);
    for (uint64_t i = 0; i + BATCH <= b->n; i += BATCH) {
        for (uint32_t k = 0; k < BATCH; k++) {
            name_of(b, b->order[i + k], &names[k]);
            ahead[k] = (struct keytab_ahead){.hash = names[k].hash, .slot = names[k].slot};
        }
        keytab_ahead(b->tab, ahead, BATCH);
        for (uint32_t k = 0; k < BATCH; k++) {
            const struct bytes key = bytes_of(names[k].text, NAME_BYTES);
            found += keytab_find(b->tab, names[k].slot, names[k].hash, key, &ref) == KEYTAB_HOT;
        }
    }
    stop(b, "find hot, ahead");
    CHECK(found == b->n / BATCH * BATCH);
}

static void bench_remove(struct bench *b)
{
    struct keytab_ref ref;
    struct name name;

    start(b);
    for (uint64_t i = 0; i < b->n; i++) {
        name_of(b, b->order[i], &name);
        const enum keytab_kind kind =
            keytab_find(b->tab, name.slot, name.hash, bytes_of(name.text, NAME_BYTES), &ref);
        CHECK(kind == KEYTAB_HOT);
        keytab_remove(b->tab, &ref);
    }
    stop(b, "find and remove hot");
    keytab_destroy(b->tab);
    for (uint64_t i = 0; i < b->n; i++)
        mem_free(b->obj[i]);
}

static bool argument(const char *text, uint64_t max, uint64_t *out)
{
    return num_parse_u64(bytes_cstr(text), out) && *out != 0 && *out <= max;
}

int main(int argc, char **argv)
{
    uint64_t slots = KEY_SLOTS;
    struct bench b = {.n = 1000000};

    if ((argc > 1 && !argument(argv[1], 1u << 30, &b.n)) ||
        (argc > 2 && !argument(argv[2], KEY_SLOTS, &slots))) {
        fprintf(stderr, "usage: %s [keys [slots]]\n", argv[0]);
        return 2;
    }
    b.slots = (uint32_t)slots;
    b.order = mem_zalloc_array(b.n, sizeof(*b.order));
    b.obj = mem_zalloc_array(b.n, sizeof(struct obj *)); /* NOLINT(bugprone-sizeof-expression) */
    shuffle(&b);
    printf("%" PRIu64 " keys in %" PRIu64 " slots, %s\n", b.n, slots, mem_allocator());
    bench_cold(&b);
    bench_reload(&b);
    bench_insert_hot(&b);
    bench_find_hot(&b);
    bench_find_ahead(&b);
    bench_remove(&b);
    mem_free(b.order);
    mem_free(b.obj);
    return 0;
}
