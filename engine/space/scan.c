/* Walking over all keys; scan.h tells how. */
#include "engine/space/scan.h"

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "engine/space/ks_state.h"
#include "engine/space/resident.h"

/* Names read for one stretch. Bounds a stretch of enormous names. Bytes. */
#define NAMES_BYTES_MAX (64u << 20)
/* Stretches read and not fetched yet; the oldest is dropped. */
#define STRETCHES_MAX 64

/* --- the stretch of the table --- */

struct stretch {
    bool any_cold;
};

static void look(void *ctx, const struct keytab_entry *entry)
{
    struct stretch *s = ctx;

    s->any_cold |= entry->kind == KEYTAB_COLD;
}

struct show {
    struct keyspace *ks;
    ks_scan_fn fn;
    void *ctx;
    uint64_t now_ms;
};

static void show_hot(void *ctx, const struct keytab_entry *entry)
{
    const struct show *s = ctx;

    if (entry->kind != KEYTAB_HOT || (entry->ref.obj->h.flags & BLK_DEAD) != 0)
        return;
    const struct obj *obj = entry->ref.obj;
    const uint64_t at_ms = ks_expire_at(obj);
    s->fn(s->ctx, obj_key(obj), obj->h.type, at_ms != 0 && at_ms <= s->now_ms);
}

/* --- names from the store --- */

struct ks_names {
    struct list_link link;
    struct pool_job job;
    struct keyspace *ks;
    struct list waiters;
    struct buf names; /* u16 length, u8 type, u64 expiry, name. */
    uint64_t cursor;
    uint64_t next; /* The stretch ends before it; 0: the end of all. */
    int err;
    bool done;
};

/* The row key at which a cursor's stretch begins. */
static size_t cursor_key(uint64_t cursor, uint8_t out[ROWKEY_HEAD_BYTES])
{
    be16_store(out, (uint16_t)(cursor >> KEYTAB_CURSOR_HASH_BITS));
    be64_store(out + 2, cursor << (64 - KEYTAB_CURSOR_HASH_BITS));
    return 10;
}

static int keep_name(struct ks_names *n, const struct rowkey *rk, struct bytes row)
{
    struct row_view view;
    uint8_t head[11];

    int err = row_view(row, 0, &view);
    if (err != 0 || view.type == VT_NONE)
        return err;
    le16_store(head, (uint16_t)rk->key.len);
    head[2] = view.type;
    le64_store(head + 3, view.expire_at_ms);
    err = buf_append(&n->names, head, sizeof(head));
    return err != 0 ? err : buf_append_bytes(&n->names, rk->key);
}

/* From a key row to the next one, over its elements. */
static int step_over(struct store_iter *it, struct buf *room)
{
    struct rowkey rk;

    store_iter_next(it);
    if (!store_iter_valid(it) || rowkey_parse(store_iter_key(it), &rk) != 0 ||
        rk.kind == ROWKEY_KIND_KEY)
        return 0;
    const struct bytes prefix = bytes_of(store_iter_key(it).ptr, ROWKEY_HEAD_BYTES + rk.key.len);
    buf_clear(room);
    const int err = buf_reserve(room, prefix.len + 1);
    if (err != 0)
        return err;
    const size_t len = rowkey_store_after(buf_end(room), prefix);
    store_iter_seek(it, bytes_of(buf_end(room), len));
    return 0;
}

static void read_names(struct ks_names *n)
{
    uint8_t lower[ROWKEY_HEAD_BYTES], upper[ROWKEY_HEAD_BYTES] = {0x80};
    struct store_iter *it;
    struct rowkey rk;
    struct bytes row;
    struct buf room;
    const size_t lower_len = cursor_key(n->cursor, lower);
    const size_t upper_len = n->next == 0 ? 1 : cursor_key(n->next, upper);
    const struct store_iter_options options = {.lower = bytes_of(lower, lower_len),
                                               .upper = bytes_of(upper, upper_len)};

    n->err = store_iter_open(n->ks->options.store, &options, &it);
    if (n->err != 0)
        return;
    buf_init(&room, ROWKEY_BYTES_MAX);
    store_iter_seek(it, bytes_of(NULL, 0));
    while (store_iter_valid(it) && n->err == 0) {
        if (rowkey_parse(store_iter_key(it), &rk) != 0)
            break;
        if (rk.kind == ROWKEY_KIND_KEY)
            n->err =
                store_iter_row(it, &row) == STORE_FOUND ? keep_name(n, &rk, row) : -ERR_CORRUPT;
        if (n->err == 0)
            n->err = step_over(it, &room);
    }
    if (n->err == 0)
        n->err = store_iter_status(it);
    store_iter_close(it);
    buf_deinit(&room);
}

static void names_batch(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++)
        read_names(container_of(jobs[i], struct ks_names, job));
}

static void names_free(struct ks_names *n)
{
    list_remove(&n->link);
    n->ks->names_count--;
    buf_deinit(&n->names);
    mem_free(n);
}

static void on_names(struct mail *mail)
{
    struct ks_names *n =
        container_of(container_of(mail, struct pool_job, mail), struct ks_names, job);

    n->done = true;
    n->ks->names_reading--;
    ks_wake(&n->waiters, 0);
}

static struct ks_names *find(struct keyspace *ks, uint64_t cursor, uint64_t next)
{
    LIST_FOR_EACH(link, &ks->names) {
        struct ks_names *n = LIST_ITEM(link, struct ks_names, link);
        if (n->cursor == cursor && n->next == next)
            return n;
    }
    return NULL;
}

/* Drops the oldest stretch that nobody has fetched. */
static void drop_one(struct keyspace *ks)
{
    LIST_FOR_EACH(link, &ks->names) {
        struct ks_names *n = LIST_ITEM(link, struct ks_names, link);
        if (n->done && list_empty(&n->waiters)) {
            names_free(n);
            return;
        }
    }
}

static struct ks_names *start(struct keyspace *ks, uint64_t cursor, uint64_t next)
{
    struct ks_names *n = mem_zalloc(sizeof(*n));

    if (ks->names_count >= STRETCHES_MAX)
        drop_one(ks);
    n->ks = ks;
    n->cursor = cursor;
    n->next = next;
    list_init(&n->waiters);
    buf_init(&n->names, NAMES_BYTES_MAX);
    n->job = (struct pool_job){.mail = {.fn = on_names}, .reply_to = ks->options.mailbox};
    list_push_back(&ks->names, &n->link);
    ks->names_count++;
    ks->names_reading++;
    pool_submit(&ks->names_class, &n->job);
    return n;
}

/* Shows the names of keys that are cold now: those that are hot were shown by the table. */
static void show_cold(const struct show *s, const struct ks_names *n)
{
    struct bytes in = buf_bytes(&n->names);
    struct bytes name;
    struct keytab_ref ref;

    while (in.len != 0) {
        const size_t len = le16_load(in.ptr);
        const uint8_t type = in.ptr[2];
        const uint64_t at_ms = le64_load(in.ptr + 3);
        in = bytes_from(in, 11);
        CHECK(bytes_take(&in, len, &name));
        const struct ks_key key = ks_key_of(name, s->ks->options.seed);
        if (keytab_find(s->ks->tab, key.slot, key.hash, name, &ref) == KEYTAB_COLD)
            s->fn(s->ctx, name, type, at_ms != 0 && at_ms <= s->now_ms);
    }
}

/* --- the walk --- */

int ks_scan(struct keyspace *ks, uint64_t cursor, uint32_t count, uint64_t now_ms,
            struct ks_wait *wait, ks_scan_fn fn, void *ctx, uint64_t *out_next)
{
    struct stretch s = {0};
    struct show show = {.ks = ks, .fn = fn, .ctx = ctx, .now_ms = now_ms};
    struct ks_names *n = NULL;

    const uint64_t next = keytab_scan(ks->tab, cursor, count, look, &s);
    if (s.any_cold && wait != NULL) {
        n = find(ks, cursor, next);
        if (n == NULL)
            n = start(ks, cursor, next);
        if (!n->done) {
            ks_wait_on(&n->waiters, wait);
            return 1;
        }
        if (n->err != 0) {
            const int err = n->err;
            names_free(n);
            return err;
        }
    }
    /* The same call again: nothing has changed in between. */
    CHECK(keytab_scan(ks->tab, cursor, count, show_hot, &show) == next);
    if (n != NULL) {
        show_cold(&show, n);
        names_free(n);
    }
    *out_next = next;
    return 0;
}

void ks_scan_init(struct keyspace *ks)
{
    list_init(&ks->names);
    ks->names_class = (struct pool_class){.name = "names",
                                          .priority = POOL_BACKGROUND,
                                          .batch_max = 1,
                                          .run_batch = names_batch,
                                          .ctx = ks};
    pool_add_class(ks->options.readers, &ks->names_class);
}

void ks_scan_deinit(struct keyspace *ks)
{
    while (!list_empty(&ks->names))
        names_free(LIST_ITEM(list_first(&ks->names), struct ks_names, link));
}
