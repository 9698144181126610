/* Transactions; txn.h tells what they are. */
#include "server/txn.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "engine/space/keyspace.h"

#include "server/conn.h"
#include "server/resp.h"
#include "server/shard.h"

#define WATCH_BUCKETS_MIN 64u
/* Commands queued by one MULTI. */
#define QUEUE_COMMANDS_MAX (1u << 20)

/* One key watched by one connection, or sent by a MIGRATE. */
struct watch {
    struct list_link txn_link;
    struct list_link bucket_link;
    _Atomic bool *dirty; /* Set when the key is changed. */
    uint64_t hash;
    uint16_t slot;
    uint16_t name_len;
    bool existed; /* When it was watched, and had not expired. */
    bool holds;   /* Writers of the key have to wait. */
    uint8_t name[];
};

struct watch_table {
    struct list *buckets;
    uint32_t buckets_count;
    uint64_t count;
    uint64_t holds; /* Of these, those that hold writers back. */
};

/* --- watches --- */

struct watch_table *watch_table_create(void)
{
    struct watch_table *t = mem_zalloc(sizeof(*t));

    t->buckets_count = WATCH_BUCKETS_MIN;
    t->buckets = mem_alloc(t->buckets_count * sizeof(*t->buckets));
    for (uint32_t i = 0; i < t->buckets_count; i++)
        list_init(&t->buckets[i]);
    return t;
}

void watch_table_destroy(struct watch_table *t)
{
    if (t == NULL)
        return;
    CHECK(t->count == 0);
    mem_free(t->buckets);
    mem_free(t);
}

static struct list *bucket_of(const struct watch_table *t, uint64_t hash)
{
    return &t->buckets[hash & (t->buckets_count - 1)];
}

static void grow(struct watch_table *t)
{
    struct list *old = t->buckets;
    const uint32_t count = t->buckets_count;
    struct list_link *link;

    t->buckets_count = count * 4;
    t->buckets = mem_alloc(t->buckets_count * sizeof(*t->buckets));
    for (uint32_t i = 0; i < t->buckets_count; i++)
        list_init(&t->buckets[i]);
    for (uint32_t i = 0; i < count; i++) {
        while ((link = list_pop_front(&old[i])) != NULL) {
            struct watch *w = LIST_ITEM(link, struct watch, bucket_link);
            list_push_back(bucket_of(t, w->hash), link);
        }
    }
    mem_free(old);
}

static void touch(struct watch_table *t, const struct ks_key *key, bool absent_too)
{
    LIST_FOR_EACH(link, bucket_of(t, key->hash)) {
        struct watch *w = LIST_ITEM(link, struct watch, bucket_link);
        if (w->hash == key->hash && bytes_eq(bytes_of(w->name, w->name_len), key->name) &&
            (absent_too || w->existed))
            *w->dirty = true;
    }
}

void watch_touch(struct watch_table *t, const struct ks_key *key)
{
    if (unlikely(t->count != 0))
        touch(t, key, true);
}

void watch_touch_expired(struct watch_table *t, const struct ks_key *key)
{
    if (unlikely(t->count != 0))
        touch(t, key, false);
}

void watch_touch_all(struct watch_table *t)
{
    for (uint32_t i = 0; i < t->buckets_count; i++) {
        LIST_FOR_EACH(link, &t->buckets[i]) {
            struct watch *w = LIST_ITEM(link, struct watch, bucket_link);
            if (w->existed)
                *w->dirty = true;
        }
    }
}

uint64_t watch_count(const struct watch_table *t)
{
    return t->count - t->holds;
}

static struct watch *add(struct watch_table *t, const struct ks_key *key, _Atomic bool *dirty)
{
    if (t->count >= t->buckets_count)
        grow(t);
    struct watch *w = mem_zalloc(sizeof(*w) + key->name.len);
    w->dirty = dirty;
    w->hash = key->hash;
    w->slot = key->slot;
    w->name_len = (uint16_t)key->name.len;
    if (key->name.len != 0)
        memcpy(w->name, key->name.ptr, key->name.len);
    list_push_back(bucket_of(t, w->hash), &w->bucket_link);
    t->count++;
    return w;
}

struct watch *watch_hold(struct watch_table *t, const struct ks_key *key, _Atomic bool *changed)
{
    struct watch *w = add(t, key, changed);

    w->existed = true;
    w->holds = true;
    t->holds++;
    return w;
}

void watch_release(struct watch_table *t, struct watch *w)
{
    list_remove(&w->bucket_link);
    t->count--;
    t->holds--;
    mem_free(w);
}

bool watch_holds(const struct watch_table *t, const struct ks_key *key)
{
    if (t->holds == 0)
        return false;
    LIST_FOR_EACH(link, bucket_of(t, key->hash)) {
        const struct watch *w = LIST_ITEM(link, struct watch, bucket_link);
        if (w->holds && w->hash == key->hash && bytes_eq(bytes_of(w->name, w->name_len), key->name))
            return true;
    }
    return false;
}

void txn_watch(struct conn *c, const struct ks_key *key, uint64_t now_ms)
{
    struct txn *txn = txn_of(c);
    struct obj *obj;

    LIST_FOR_EACH(link, &txn->watches) {
        const struct watch *w = LIST_ITEM(link, struct watch, txn_link);
        if (w->hash == key->hash && bytes_eq(bytes_of(w->name, w->name_len), key->name))
            return;
    }
    struct watch *w = add(c->sh->watches, key, &txn->dirty);
    w->existed = ks_look(c->sh->ks, key, now_ms, &obj) != KS_ABSENT;
    list_push_back(&txn->watches, &w->txn_link);
    txn->watches_bytes += sizeof(*w) + key->name.len;
}

void txn_unwatch(struct conn *c)
{
    struct list_link *link;

    if (c->txn == NULL)
        return;
    while ((link = list_pop_front(&c->txn->watches)) != NULL) {
        struct watch *w = LIST_ITEM(link, struct watch, txn_link);
        list_remove(&w->bucket_link);
        c->sh->watches->count--;
        mem_free(w);
    }
    c->txn->watches_bytes = 0;
    c->txn->dirty = false;
    if (!c->txn->active)
        c->txn->shard = TXN_NO_SHARD;
}

bool txn_expired(struct conn *c, uint64_t now_ms)
{
    struct obj *obj;

    LIST_FOR_EACH(link, &c->txn->watches) {
        const struct watch *w = LIST_ITEM(link, struct watch, txn_link);
        const struct ks_key key = {
            .name = bytes_of(w->name, w->name_len), .hash = w->hash, .slot = w->slot};
        if (w->existed && ks_look(c->sh->ks, &key, now_ms, &obj) == KS_ABSENT)
            return true;
    }
    return false;
}

/* --- the queue --- */

struct txn *txn_of(struct conn *c)
{
    if (c->txn == NULL) {
        c->txn = mem_zalloc(sizeof(*c->txn));
        list_init(&c->txn->watches);
        c->txn->shard = TXN_NO_SHARD;
    }
    return c->txn;
}

static void drop_queue(struct txn *txn)
{
    for (uint32_t i = 0; i < txn->cmds_count; i++)
        mem_free(txn->cmds[i].argv);
    txn->cmds_count = 0;
    txn->bytes = 0;
}

void txn_reset(struct conn *c)
{
    if (c->txn == NULL)
        return;
    drop_queue(c->txn);
    c->txn->active = false;
    c->txn->failed = false;
    txn_unwatch(c);
}

void txn_hand_over(struct conn *from, struct conn *to)
{
    struct txn *a = from->txn;
    struct txn *b = txn_of(to);

    CHECK(a->active && b->cmds_count == 0);
    mem_free(b->cmds);
    b->active = true;
    b->failed = a->failed;
    b->cmds = a->cmds;
    b->cmds_count = a->cmds_count;
    b->cmds_cap = a->cmds_cap;
    b->bytes = a->bytes;
    a->cmds = NULL;
    a->cmds_count = a->cmds_cap = 0;
    txn_reset(from);
}

void txn_destroy(struct conn *c)
{
    if (c->txn == NULL)
        return;
    txn_reset(c);
    mem_free(c->txn->cmds);
    mem_free(c->txn);
    c->txn = NULL;
}

size_t txn_memory_bytes(const struct conn *c)
{
    const struct txn *txn = c->txn;

    return txn == NULL ? 0
                       : sizeof(*txn) + txn->cmds_cap * sizeof(*txn->cmds) + txn->bytes +
                             txn->watches_bytes;
}

bool txn_active(const struct conn *c)
{
    return c->txn != NULL && c->txn->active;
}

void txn_fail(struct conn *c)
{
    if (txn_active(c))
        c->txn->failed = true;
}

/* One block: the array of arguments, then their bytes. */
static struct bytes *copy_args(const struct resp_cmd *rc, size_t *out_bytes)
{
    size_t bytes = rc->argc * sizeof(struct bytes);

    for (uint32_t i = 0; i < rc->argc; i++)
        bytes += rc->argv[i].len;
    struct bytes *argv = mem_try_alloc(bytes);
    if (argv == NULL)
        return NULL;
    uint8_t *p = (uint8_t *)(argv + rc->argc);
    for (uint32_t i = 0; i < rc->argc; i++) {
        if (rc->argv[i].len != 0)
            memcpy(p, rc->argv[i].ptr, rc->argv[i].len);
        argv[i] = bytes_of(p, rc->argv[i].len);
        p += rc->argv[i].len;
    }
    *out_bytes = bytes;
    return argv;
}

bool txn_queue(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    struct txn *txn = c->txn;
    size_t bytes = 0;

    /* It will not run: no memory for what follows, as Redis. */
    if (txn->failed || txn->dirty)
        return true;
    if (txn->cmds_count == QUEUE_COMMANDS_MAX || txn->bytes > shard_query_bytes_max(c->sh))
        return false;
    if (txn->cmds_count == txn->cmds_cap) {
        txn->cmds_cap = txn->cmds_cap == 0 ? 16 : txn->cmds_cap * 2;
        txn->cmds = mem_realloc(txn->cmds, txn->cmds_cap * sizeof(*txn->cmds));
    }
    struct bytes *argv = copy_args(rc, &bytes);
    if (argv == NULL)
        return false;
    txn->cmds[txn->cmds_count++] = (struct txn_cmd){.cmd = cmd, .argv = argv, .argc = rc->argc};
    txn->bytes += bytes;
    return true;
}
