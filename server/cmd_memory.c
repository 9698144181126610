/* MEMORY: USAGE, STATS, DOCTOR, MALLOC-STATS, PURGE, HELP. */
#include <stdio.h>

#include "engine/base/mem.h"

#include "engine/space/demote.h"

#include "server/figures.h"
#include "server/handlers.h"
#include "server/info.h"
#include "server/node.h"
#include "server/request.h"
#include "server/shard.h"

/* Elements looked at unless SAMPLES says otherwise; the rest is taken to be like them. */
#define SAMPLES_DEFAULT 5
/* Place of a key in the key table. */
#define TABLE_ENTRY_BYTES 7

/* What the resident part of a collection takes. */
static uint64_t coll_bytes(const struct coll *coll, uint64_t samples)
{
    uint64_t sum = 0, n = 0;
    const uint64_t resident = coll->tab.count - u64_min(coll->dead, coll->tab.count);
    struct coll_iter it;
    const struct elem *e;

    /* listq holds the elements themselves. */
    const uint64_t containers = mem_class_bytes(sizeof(*coll)) + elemtab_bytes(&coll->tab) +
                                zorder_bytes(&coll->order) + listq_bytes(&coll->seq) +
                                chunks_bytes(&coll->chunks) +
                                (coll->gone == NULL ? 0 : elemtab_bytes(&coll->gone->tab));
    if (resident == 0)
        return containers;
    coll_iter_init(coll, &it);
    while (n < samples && (e = coll_iter_next(&it)) != NULL) {
        sum += elem_bytes(e);
        n++;
    }
    return containers + (n == 0 ? 0 : sum * resident / n);
}

void cmd_memory_usage(struct request *rq)
{
    int64_t samples = SAMPLES_DEFAULT;

    for (uint32_t i = 3; i < rq->argc; i += 2) {
        if (!req_is(rq, i, "SAMPLES") || i + 1 == rq->argc) {
            reply_err_syntax(rq->out);
            return;
        }
        if (!req_i64(rq, i + 1, &samples))
            return;
        if (samples < 0) {
            reply_err_syntax(rq->out);
            return;
        }
        if (samples == 0)
            samples = INT64_MAX;
    }
    const struct ks_key key = req_key(rq, 2);
    const struct obj *obj = ks_peek(rq->ks, &key, rq->now_ms);
    if (obj == NULL) {
        reply_null(rq->out);
        return;
    }
    uint64_t bytes = obj_bytes(obj) + TABLE_ENTRY_BYTES;
    if ((obj->h.flags & BLK_COLL) != 0)
        bytes += coll_bytes(obj_coll(obj), (uint64_t)samples);
    reply_u64(rq->out, bytes);
}

static void field(struct reply *r, const char *name, uint64_t value)
{
    reply_bulk_cstr(r, name);
    reply_u64(r, value);
}

static void field_double(struct reply *r, const char *name, double value)
{
    reply_bulk_cstr(r, name);
    reply_double(r, value);
}

static double ratio(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

static void stats_totals(struct reply *r, const struct info_memory *m, uint64_t keys)
{
    field(r, "peak.allocated", m->peak);
    field(r, "total.allocated", m->used);
    field(r, "startup.allocated", m->startup);
    field(r, "replication.backlog", 0);
    field(r, "clients.slaves", 0);
    field(r, "clients.normal", m->clients);
    field(r, "cluster.links", 0);
    field(r, "aof.buffer", m->oplog);
    field(r, "lua.caches", 0);
    field(r, "functions.caches", 0);
    reply_bulk_cstr(r, "db.0");
    reply_map(r, 3);
    field(r, "overhead.hashtable.main", m->keytab);
    field(r, "overhead.hashtable.expires", 0);
    field(r, "overhead.hashtable.slot-to-keys", 0);
    field(r, "overhead.total", m->overhead);
    field(r, "keys.count", keys);
    field(r, "keys.bytes-per-key", keys == 0 ? 0 : (m->used - u64_min(m->startup, m->used)) / keys);
    field(r, "dataset.bytes", m->dataset);
    field_double(r, "dataset.percentage", m->dataset_percent);
    field_double(r, "peak.percentage", m->peak_percent);
}

void cmd_memory_stats(struct request *rq)
{
    struct figures *f = figures_take(rq);
    struct reply *r = rq->out;
    struct info_memory m;
    struct mem_stats mem;
    const uint64_t rss = mem_rss_bytes();

    info_measure_memory(f, &m);
    mem_stats(&mem);
    reply_map(r, 28);
    stats_totals(r, &m, f->keys);
    field(r, "allocator.allocated", mem.allocated);
    field(r, "allocator.active", mem.active);
    field(r, "allocator.resident", mem.resident);
    field_double(r, "allocator-fragmentation.ratio", ratio(mem.active, mem.allocated));
    field(r, "allocator-fragmentation.bytes", mem.active - u64_min(mem.allocated, mem.active));
    field_double(r, "allocator-rss.ratio", ratio(mem.resident, mem.active));
    reply_bulk_cstr(r, "allocator-rss.bytes");
    reply_i64(r, (int64_t)(mem.resident - mem.active));
    field_double(r, "rss-overhead.ratio", ratio(rss, mem.resident));
    reply_bulk_cstr(r, "rss-overhead.bytes");
    reply_i64(r, (int64_t)(rss - mem.resident));
    field_double(r, "fragmentation", ratio(rss, m.used));
    reply_bulk_cstr(r, "fragmentation.bytes");
    reply_i64(r, (int64_t)(rss - m.used));
    figures_destroy(f);
}

void cmd_memory_doctor(struct request *rq)
{
    struct figures *f = figures_take(rq);
    const struct node_budget *b = &f->budget;
    const struct node_limits *l = &rq->sh->node->limits;
    const uint64_t used = node_limit(&l->used);
    char text[512];
    int len;

    if (node_limit(&l->maxmemory) != 0 && used > node_limit(&l->soft))
        len = snprintf(text, sizeof(text),
                       "DRAM is short: %llu of %llu bytes are used, and keys are demoted to flash. "
                       "INFO tiering tells how fast.\n",
                       (unsigned long long)used, (unsigned long long)node_limit(&l->maxmemory));
    else if (b->mem.active > b->mem.allocated + b->mem.allocated / 2 &&
             b->mem.allocated > (64u << 20))
        len = snprintf(text, sizeof(text),
                       "The heap is fragmented: %llu bytes are allocated, %llu are held in pages. "
                       "MEMORY PURGE gives unused pages back.\n",
                       (unsigned long long)b->mem.allocated, (unsigned long long)b->mem.active);
    else
        len = snprintf(text, sizeof(text), "No memory problem was found.\n");
    figures_destroy(f);
    reply_verbatim(rq->out, bytes_of(text, (size_t)len), "txt");
}

void cmd_memory_malloc_stats(struct request *rq)
{
    struct mem_stats m;
    char text[512];

    mem_stats(&m);
    const int len =
        snprintf(text, sizeof(text),
                 "allocator: %s\nallocated: %llu\nactive: %llu\nresident: %llu\n"
                 "retained: %llu\n",
                 mem_allocator(), (unsigned long long)m.allocated, (unsigned long long)m.active,
                 (unsigned long long)m.resident, (unsigned long long)m.retained);
    reply_verbatim(rq->out, bytes_of(text, (size_t)len), "txt");
}

void cmd_memory_purge(struct request *rq)
{
    mem_purge();
    reply_ok(rq->out);
}

void cmd_memory_help(struct request *rq)
{
    static const char *const lines[] = {
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
        NULL,
    };

    reply_help(rq->out, "MEMORY", lines);
}
