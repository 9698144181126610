/* tierra-inspect keys: the keys of the stores with their sizes, and histograms. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "server/glob.h"

#include "tools/inspect/inspect.h"
#include "tools/inspect/inspect_walk.h"

#define LARGEST_MAX 1000000
#define CLASSES     65

struct row_of_key {
    uint8_t *name;
    size_t name_len;
    uint32_t shard;
    uint8_t type;
    uint64_t bytes;
    uint64_t elements;
    uint64_t expire_at_ms;
};

struct keys {
    struct inspect *in;
    uint32_t shard;
    bool has_pattern;
    struct bytes pattern;
    uint8_t type;            /* VT_NONE: all. */
    uint64_t largest_max;    /* 0: print all as they come. */
    struct row_of_key *heap; /* The largest; the smallest of them at the root. */
    size_t heap_count;
    uint64_t count;
    uint64_t bytes;
    uint64_t damaged;
    uint64_t by_size[CLASSES]; /* By the number of bits of the size. */
    uint64_t by_ttl[CLASSES];  /* By that of the seconds left. */
    uint64_t never;
    uint64_t expired;
};

static void print_key(struct keys *k, const struct row_of_key *row)
{
    struct out *out = &k->in->out;

    out_begin(out, "key", OUT_LINE);
    out_u64(out, "shard", row->shard);
    out_bytes(out, "key", bytes_of(row->name, row->name_len));
    out_text(out, "type", inspect_type_name(row->type));
    out_u64(out, "bytes", row->bytes);
    if (row->type != VT_STRING)
        out_u64(out, "elements", row->elements);
    if (row->expire_at_ms != 0 && row->expire_at_ms != ROW_EXPIRE_NEVER)
        out_time(out, "expire_at", row->expire_at_ms);
    out_end(out);
}

static void sift_down(struct row_of_key *heap, size_t count, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= count)
            return;
        if (child + 1 < count && heap[child + 1].bytes < heap[child].bytes)
            child++;
        if (heap[at].bytes <= heap[child].bytes)
            return;
        const struct row_of_key keep = heap[at];
        heap[at] = heap[child];
        heap[child] = keep;
        at = child;
    }
}

static void keep_largest(struct keys *k, const struct row_of_key *row)
{
    struct row_of_key copy = *row;

    if (k->heap_count == k->largest_max && k->heap[0].bytes >= row->bytes)
        return;
    copy.name = mem_alloc(row->name_len);
    if (row->name_len != 0)
        memcpy(copy.name, row->name, row->name_len);
    if (k->heap_count == k->largest_max) {
        mem_free(k->heap[0].name);
        k->heap[0] = copy;
        sift_down(k->heap, k->heap_count, 0);
        return;
    }
    size_t at = k->heap_count++;
    for (; at != 0 && k->heap[(at - 1) / 2].bytes > copy.bytes; at = (at - 1) / 2)
        k->heap[at] = k->heap[(at - 1) / 2];
    k->heap[at] = copy;
}

static unsigned class_of(uint64_t value)
{
    return value == 0 ? 0 : 64u - (unsigned)__builtin_clzll(value);
}

static void count_key(struct keys *k, const struct row_of_key *row)
{
    const uint64_t now = k->in->now_ms;

    k->count++;
    k->bytes += row->bytes;
    k->by_size[class_of(row->bytes)]++;
    if (row->expire_at_ms == 0 || row->expire_at_ms == ROW_EXPIRE_NEVER)
        k->never++;
    else if (row->expire_at_ms <= now)
        k->expired++;
    else
        k->by_ttl[class_of((row->expire_at_ms - now) / 1000)]++;
}

static int take_key(void *ctx, struct walk_key *key)
{
    struct keys *k = ctx;

    k->damaged += key->damaged;
    if (!key->has_row || key->view.type == VT_NONE)
        return 0; /* What a sweep has yet to remove. */
    if (k->type != VT_NONE && key->view.type != k->type)
        return 0;
    if (k->has_pattern && !glob_match(k->pattern, key->name, false))
        return 0;
    const struct row_of_key row = {.name = unconst(key->name.ptr),
                                   .name_len = key->name.len,
                                   .shard = k->shard,
                                   .type = key->view.type,
                                   .bytes = key->bytes,
                                   .elements = key->elements,
                                   .expire_at_ms = key->view.expire_at_ms};
    count_key(k, &row);
    if (k->largest_max == 0)
        print_key(k, &row);
    else
        keep_largest(k, &row);
    return 0;
}

/* Class n holds values from 2^(n-1) to 2^n - 1. */
static void print_histogram(struct out *out, const char *name, const char *unit,
                            const uint64_t classes[CLASSES])
{
    for (unsigned i = 0; i < CLASSES; i++) {
        if (classes[i] == 0)
            continue;
        out_begin(out, name, OUT_LINE);
        char from[32], to[32];
        (void)snprintf(from, sizeof(from), "from_%s", unit);
        (void)snprintf(to, sizeof(to), "to_%s", unit);
        out_u64(out, from, i == 0 ? 0 : (uint64_t)1 << (i - 1));
        out_u64(out, to, i == 64 ? UINT64_MAX : ((uint64_t)1 << i) - 1);
        out_u64(out, "keys", classes[i]);
        out_end(out);
    }
}

static int keys_shard(struct inspect *in, struct inspect_shard *sh, void *ctx)
{
    struct keys *k = ctx;
    const struct walk_fns fns = {.key = take_key, .ctx = k};

    (void)in;
    k->shard = sh->index;
    const int err = walk_store(sh->store, &fns);
    if (err != 0)
        inspect_say("shard %u: %s: %s; see tierra-inspect verify", sh->index, sh->store_dir,
                    err_str(err));
    return inspect_exit_of(err);
}

static void print_largest(struct keys *k)
{
    /* The root is the smallest: taken to the end one by one, the largest come to stand first. */
    for (size_t count = k->heap_count; count > 1; count--) {
        const struct row_of_key smallest = k->heap[0];
        k->heap[0] = k->heap[count - 1];
        k->heap[count - 1] = smallest;
        sift_down(k->heap, count - 1, 0);
    }
    for (size_t i = 0; i < k->heap_count; i++) {
        print_key(k, &k->heap[i]);
        mem_free(k->heap[i].name);
    }
    mem_free(k->heap);
}

static void print_totals(struct keys *k)
{
    struct out *out = &k->in->out;

    print_histogram(out, "sizes", "bytes", k->by_size);
    print_histogram(out, "ttl", "seconds", k->by_ttl);
    out_begin(out, "keys", OUT_LINE);
    out_u64(out, "keys", k->count);
    out_u64(out, "bytes", k->bytes);
    out_u64(out, "without_expiry", k->never);
    out_u64(out, "expired", k->expired);
    if (k->damaged != 0)
        out_u64(out, "damaged", k->damaged);
    out_end(out);
}

static bool keys_option(int c, struct keys *k)
{
    switch (c) {
    case 'l':
        if (!inspect_number("--largest", optarg, &k->largest_max))
            return false;
        if (k->largest_max == 0 || k->largest_max > LARGEST_MAX)
            return inspect_usage("--largest takes 1 to %d", LARGEST_MAX) == INSPECT_OK;
        return true;
    case 'p':
        k->pattern = bytes_cstr(optarg);
        k->has_pattern = true;
        return true;
    case 't':
        if (!inspect_type_parse(optarg, &k->type))
            return inspect_usage("--type takes string, list, set, zset or hash") == INSPECT_OK;
        return true;
    default:
        return false;
    }
}

int inspect_cmd_keys(struct inspect *in, int argc, char **argv)
{
    static const struct option options[] = {{"largest", required_argument, NULL, 'l'},
                                            {"pattern", required_argument, NULL, 'p'},
                                            {"type", required_argument, NULL, 't'},
                                            {NULL, 0, NULL, 0}};
    static struct keys k; /* Large. */
    int c;

    k.in = in;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread. */
    while ((c = getopt_long(argc, argv, "l:p:t:", options, NULL)) != -1) {
        if (!keys_option(c, &k))
            return INSPECT_USAGE;
    }
    if (optind != argc)
        return inspect_usage("keys takes no argument");
    if (k.largest_max != 0)
        k.heap = mem_zalloc_array(k.largest_max, sizeof(*k.heap));
    const int code = inspect_each_shard(in, true, keys_shard, &k);
    print_largest(&k);
    print_totals(&k);
    return code;
}
