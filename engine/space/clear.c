/*
 * Forgetting every key at once: the key table and the ring are exchanged for empty ones, and what
 * they held is freed in slices on the maintenance thread, so that the shard's thread does the same
 * work for ten keys as for ten million.
 *
 * What is freed belongs to a keyspace of its own, which nobody else can reach: objects count
 * themselves there.
 */
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/space/demote.h"
#include "engine/space/ks_state.h"

/* Leaves of the key table in one slice: some ten thousand keys, between two other jobs. */
#define SLICE_LEAVES 128

struct remains {
    struct pool_job job;
    struct keyspace *ks; /* Whose they were. */
    uint64_t cursor;
    bool done;
    struct keyspace old; /* Table, ring, large collections and counts; the rest is not used. */
};

static void free_entry(void *ctx, const struct keytab_entry *entry)
{
    struct keyspace *old = ctx;
    struct obj *obj = entry->kind == KEYTAB_HOT ? entry->ref.obj : NULL;

    keytab_remove(old->tab, &entry->ref);
    if (obj != NULL)
        ks_obj_free(old, obj);
}

void ks_free_all(struct keyspace *ks)
{
    uint64_t cursor = 0;

    ks->reap_above = UINT64_MAX;
    do {
        cursor = keytab_walk(ks->tab, cursor, free_entry, ks);
    } while (cursor != 0);
    while (ks_reap_some(ks, 0)) {
    }
}

/* Maintenance thread. */
static void free_slice(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    CHECK(n == 1);
    struct remains *r = container_of(jobs[0], struct remains, job);

    for (int i = 0; i < SLICE_LEAVES; i++) {
        r->cursor = keytab_walk(r->old.tab, r->cursor, free_entry, &r->old);
        if (r->cursor == 0) {
            while (ks_reap_some(&r->old, 0)) {
            }
            dirty_deinit(&r->old.dirty);
            keytab_destroy(r->old.tab);
            r->done = true;
            return;
        }
    }
}

/* Back on the shard's thread. */
static void on_slice(struct mail *mail)
{
    struct remains *r =
        container_of(container_of(mail, struct pool_job, mail), struct remains, job);
    struct keyspace *ks = r->ks;

    if (!r->done) {
        pool_submit(&ks->clear_class, &r->job);
        return;
    }
    mem_free(r);
    ks->clearing = false;
}

void ks_clear(struct keyspace *ks)
{
    CHECK(!ks_busy(ks) && ks->walks_count == 0);
    struct remains *r = mem_zalloc(sizeof(*r));
    r->ks = ks;
    r->old.tab = ks->tab;
    r->old.dirty = ks->dirty;
    r->old.bytes = ks->bytes;
    list_init(&r->old.large);
    list_splice_back(&r->old.large, &ks->large);
    r->old.large_size = ks->large_size;
    r->old.fresh_bytes = ks->fresh_bytes;
    list_init(&r->old.retired);
    list_splice_back(&r->old.retired, &ks->retired);
    r->old.retired_count = ks->retired_count;
    r->old.reap_above = UINT64_MAX;
    r->old.hot_ttl = ks->hot_ttl;
    r->old.tombstones = ks->tombstones;
    r->job = (struct pool_job){.mail = {.fn = on_slice}, .reply_to = ks->options.mailbox};

    ks->tab = keytab_create(ks->options.seed);
    dirty_init(&ks->dirty);
    ks->bytes = 0;
    ks->large_size = 0;
    ks->fresh_bytes = 0;
    ks->retired_count = 0;
    ks->hot_ttl = 0;
    ks->tombstones = 0;
    ks->clock_hand = 0;
    ks_too_large_clear(ks);
    ks_scan_deinit(ks);
    ks_sweep_deinit(ks);
    ks_group_clear(ks);
    ks->clearing = true;
    pool_submit(&ks->clear_class, &r->job);
    CHECK(ks_count(ks) == 0);
}

void ks_clear_init(struct keyspace *ks)
{
    ks->clear_class = (struct pool_class){.name = "clear",
                                          .priority = POOL_BACKGROUND,
                                          .batch_max = 1,
                                          .run_batch = free_slice,
                                          .ctx = ks};
    pool_add_class(ks->options.maintainer, &ks->clear_class);
}
