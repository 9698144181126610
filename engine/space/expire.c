/* Expiry: the two indexes; expire.h tells what they are for. */
#include "engine/space/expire.h"

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/space/ks_state.h"

#define HEAP_CAP_MIN 256u
/* Index rows of one look. */
#define LOOK_ROWS 1024
/* From one walk from the begin to the next, at least. */
#define AGAIN_MS 10000
/* The same by its rows, so that reading them is a small part of the maintenance thread's work. */
#define AGAIN_ROWS_PER_MS 10

struct due {
    uint64_t at_ms;
    uint64_t hash;
    uint16_t slot;
};

struct cold_look {
    struct keyspace *ks;
    struct pool_class cls;
    struct pool_job job;
    struct store_batch batch; /* Removes the index rows that have done their work. */
    struct buf keys;          /* Names of expired keys: u16 length, name. */
    struct buf resume;
    uint64_t now_ms;
    uint64_t begun_ms; /* The walk from the begin of the index; */
    uint64_t walked;   /* index rows since. */
    ks_expire_fn fn;
    void *ctx;
    int err;
    bool busy;
    bool more;
};

struct ks_expire {
    struct due *heap;
    uint32_t count;
    uint32_t cap;
    struct cold_look look;
};

/* --- in DRAM --- */

static void sift_up(struct ks_expire *x, uint32_t i)
{
    const struct due d = x->heap[i];

    while (i != 0 && x->heap[(i - 1) / 2].at_ms > d.at_ms) {
        x->heap[i] = x->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    x->heap[i] = d;
}

static void sift_down(struct ks_expire *x, uint32_t i)
{
    const struct due d = x->heap[i];

    for (;;) {
        uint32_t child = 2 * i + 1;
        if (child >= x->count)
            break;
        if (child + 1 < x->count && x->heap[child + 1].at_ms < x->heap[child].at_ms)
            child++;
        if (x->heap[child].at_ms >= d.at_ms)
            break;
        x->heap[i] = x->heap[child];
        i = child;
    }
    x->heap[i] = d;
}

/* Drops the entries of keys that are not hot or have another time, when they are the majority. */
static void rebuild(struct keyspace *ks, struct ks_expire *x)
{
    uint32_t kept = 0;
    struct keytab_ref ref;

    for (uint32_t i = 0; i < x->count; i++) {
        const struct due d = x->heap[i];
        if (keytab_find_hot(ks->tab, d.slot, d.hash, &ref) && ks_expire_at(ref.obj) == d.at_ms)
            x->heap[kept++] = d;
    }
    x->count = kept;
    for (uint32_t i = kept / 2; i-- > 0;)
        sift_down(x, i);
}

void ks_expire_note(struct keyspace *ks, const struct ks_key *key, uint64_t at_ms)
{
    struct ks_expire *x = ks->expire;

    if (x->count == x->cap) {
        if (x->count > 4096 && x->count > 2 * ks->hot_ttl)
            rebuild(ks, x);
        if (x->count > x->cap / 2) {
            x->cap *= 2;
            x->heap = mem_realloc(x->heap, x->cap * sizeof(*x->heap));
        }
    }
    x->heap[x->count] = (struct due){.at_ms = at_ms, .hash = key->hash, .slot = key->slot};
    sift_up(x, x->count++);
}

static void pop(struct ks_expire *x)
{
    x->heap[0] = x->heap[--x->count];
    if (x->count != 0)
        sift_down(x, 0);
}

uint32_t ks_expire_some(struct keyspace *ks, uint64_t now_ms, uint32_t max, ks_expire_fn fn,
                        void *ctx)
{
    struct ks_expire *x = ks->expire;
    struct keytab_ref ref;
    uint32_t looked = 0;

    while (looked < max && x->count != 0 && x->heap[0].at_ms <= now_ms) {
        const struct due d = x->heap[0];
        pop(x);
        looked++;
        if (!keytab_find_hot(ks->tab, d.slot, d.hash, &ref) ||
            (ref.obj->h.flags & (BLK_DEAD | BLK_TTL)) != BLK_TTL)
            continue;
        const uint64_t at_ms = ks_expire_at(ref.obj);
        if (at_ms == 0 || at_ms > now_ms)
            continue;
        uint8_t name[256];
        const struct bytes in = obj_key(ref.obj);
        uint8_t *copy = in.len <= sizeof(name) ? name : mem_alloc(in.len);
        if (in.len != 0)
            memcpy(copy, in.ptr, in.len);
        const struct ks_key key = {.name = bytes_of(copy, in.len), .hash = d.hash, .slot = d.slot};
        fn(ctx, &key);
        if (copy != name)
            mem_free(copy);
    }
    return looked;
}

/* --- on flash --- */

void ks_expire_put(struct keyspace *ks, const struct ks_key *key, uint64_t at_ms)
{
    static const uint8_t mark[1] = {0x01};
    const size_t len = rowkey_store_expiry(ks->name, at_ms, key->slot, key->hash, key->name);

    CHECK(store_batch_put(&ks->flush.batch, bytes_of(ks->name, len), bytes_of(mark, 1)) == 0);
}

/* What the key row says of an index row whose time has come. */
enum verdict {
    VERDICT_DONE,    /* Absent, or it expires later, by an index row of its own. */
    VERDICT_DUE,     /* The index row stays until the reclaim is in the store. */
    VERDICT_UNKNOWN, /* It cannot be read now. */
};

static enum verdict judge(const struct cold_look *l, struct store_iter *it, const struct rowkey *rk)
{
    enum verdict verdict = VERDICT_UNKNOWN;
    struct store_value value;
    struct row_view view;
    uint8_t *name = mem_alloc(rowkey_size(rk->key, ROWKEY_KIND_KEY, bytes_of(NULL, 0)));
    const size_t len = rowkey_store_key(name, rk->slot, rk->hash, rk->key);

    store_iter_get(it, bytes_of(name, len), STORE_READ_NO_FILL, &value);
    if (value.status == STORE_ABSENT)
        verdict = VERDICT_DONE;
    else if (value.status == STORE_FOUND && row_view(value.row, l->now_ms, &view) == 0)
        verdict = view.expired ? VERDICT_DUE : VERDICT_DONE;
    store_value_release(&value);
    mem_free(name);
    return verdict;
}

static void look(struct cold_look *l)
{
    static const uint8_t first[2] = {ROWKEY_SPECIAL, ROWKEY_EXPIRY};
    static const uint8_t beyond[2] = {ROWKEY_SPECIAL, ROWKEY_EXPIRY + 1};
    const struct store_iter_options options = {.lower = bytes_of(first, 2),
                                               .upper = bytes_of(beyond, 2)};
    struct store_iter *it;
    struct rowkey rk;
    uint64_t at_ms;
    uint8_t head[2];

    store_batch_clear(&l->batch);
    buf_clear(&l->keys);
    l->more = false;
    l->err = store_iter_open(l->ks->options.store, &options, &it);
    if (l->err != 0)
        return;
    store_iter_seek(it, buf_bytes(&l->resume));
    for (uint32_t i = 0; store_iter_valid(it) && l->err == 0; store_iter_next(it), i++) {
        const struct bytes name = store_iter_key(it);
        if (rowkey_parse_expiry(name, &at_ms, &rk) != 0 || at_ms > l->now_ms)
            break;
        buf_clear(&l->resume);
        l->err = buf_append_bytes(&l->resume, name);
        if (i == LOOK_ROWS) {
            l->more = true;
            break;
        }
        l->walked++;
        const enum verdict verdict = judge(l, it, &rk);
        if (verdict == VERDICT_DUE) {
            le16_store(head, (uint16_t)rk.key.len);
            l->err = buf_append(&l->keys, head, 2);
            if (l->err == 0)
                l->err = buf_append_bytes(&l->keys, rk.key);
        }
        if (l->err == 0 && verdict == VERDICT_DONE)
            l->err = store_batch_delete(&l->batch, name);
    }
    if (l->err == 0)
        l->err = store_iter_status(it);
    store_iter_close(it);
    if (l->err == 0 && store_batch_count(&l->batch) != 0)
        l->err = store_write(l->ks->options.store, &l->batch, 0);
}

static void look_batch(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)jobs;
    (void)n;
    look(ctx);
}

static void on_look(struct mail *mail)
{
    struct cold_look *l =
        container_of(container_of(mail, struct pool_job, mail), struct cold_look, job);
    struct bytes in = buf_bytes(&l->keys);
    struct bytes name;

    l->busy = false;
    if (l->err != 0)
        LOG_EVERY_MS(1000, LOG_LEVEL_WARN, "space", "cannot look for expired keys err=\"%s\"",
                     err_str(l->err));
    while (in.len != 0) {
        const size_t len = le16_load(in.ptr);
        in = bytes_from(in, 2);
        CHECK(bytes_take(&in, len, &name));
        const struct ks_key key = ks_key_of(name, l->ks->options.seed);
        struct keytab_ref ref;
        /* Whatever is hot is judged by the index in DRAM. */
        if (keytab_find(l->ks->tab, key.slot, key.hash, key.name, &ref) == KEYTAB_COLD &&
            keytab_has_ttl(&ref))
            l->fn(l->ctx, &key);
    }
    if (l->more && l->err == 0)
        ks_expire_look_cold(l->ks, l->now_ms, l->fn, l->ctx);
}

void ks_expire_look_cold(struct keyspace *ks, uint64_t now_ms, ks_expire_fn fn, void *ctx)
{
    struct cold_look *l = &ks->expire->look;

    if (l->busy)
        return;
    if (now_ms >= l->begun_ms + u64_max(AGAIN_MS, l->walked / AGAIN_ROWS_PER_MS)) {
        buf_clear(&l->resume);
        l->begun_ms = now_ms;
        l->walked = 0;
    }
    l->busy = true;
    l->now_ms = now_ms;
    l->fn = fn;
    l->ctx = ctx;
    pool_submit(&l->cls, &l->job);
}

bool ks_expire_looking(const struct keyspace *ks)
{
    return ks->expire->look.busy;
}

void ks_expire_init(struct keyspace *ks)
{
    struct ks_expire *x = mem_zalloc(sizeof(*x));
    struct cold_look *l = &x->look;

    x->cap = HEAP_CAP_MIN;
    x->heap = mem_alloc(x->cap * sizeof(*x->heap));
    l->ks = ks;
    store_batch_init(&l->batch, 256u << 20);
    buf_init(&l->keys, 256u << 20);
    buf_init(&l->resume, ROWKEY_BYTES_MAX);
    l->cls = (struct pool_class){.name = "expire",
                                 .priority = POOL_BACKGROUND,
                                 .batch_max = 1,
                                 .run_batch = look_batch,
                                 .ctx = l};
    pool_add_class(ks->options.maintainer, &l->cls);
    l->job = (struct pool_job){.mail = {.fn = on_look}, .reply_to = ks->options.mailbox};
    ks->expire = x;
}

void ks_expire_deinit(struct keyspace *ks)
{
    struct ks_expire *x = ks->expire;

    CHECK(!x->look.busy);
    store_batch_deinit(&x->look.batch);
    buf_deinit(&x->look.keys);
    buf_deinit(&x->look.resume);
    mem_free(x->heap);
    mem_free(x);
}
