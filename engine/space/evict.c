/* Eviction; evict.h tells the steps of a round. */
#include "engine/space/evict.h"

#include <stdlib.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/space/ks_state.h"

/* Keys of one sample. */
#define SAMPLE_MAX 1024
/* Leaves looked at for one sample; under a rule for few keys most of them have none. */
#define LEAVES_MAX 128
/* Rows that one job reads, one after the other. */
#define JOB_ROWS 8
/* Of a round: keys that have to be read before they can be compared. */
#define UNKNOWN_MAX 48
/* A collection's element counts as so many bytes. */
#define ELEM_BYTES 64

STATIC_ASSERT(KS_EVICT_ROUND_MAX % JOB_ROWS == 0);
#define JOBS_MAX (KS_EVICT_ROUND_MAX / JOB_ROWS)

struct candidate {
    uint64_t rank;
    uint64_t hash;   /* All of it if hot, else its top KEYTAB_HASH_BITS. */
    struct obj *obj; /* Hot; while the sample is taken. */
    uint16_t slot;
    bool hot;
    bool known; /* The rank is right. */
    /* Read: */
    bool found;
    uint64_t expire_at_ms;
    uint64_t changed_ms;
    uint64_t bytes;
    uint32_t name_at; /* In the names of its job. */
    uint32_t name_len;
};

struct read_job {
    struct pool_job job;
    struct keyspace *ks;
    struct candidate *first;
    uint32_t count;
    struct buf names;
};

struct ks_evict {
    struct keyspace *ks;
    struct pool_class cls;
    struct rng rng;
    struct ks_evict_rule rule;
    ks_evict_fn fn;
    void *ctx;
    uint64_t now_ms;
    uint32_t sample_count;
    uint32_t cold_count; /* The first candidates of the round are cold, */
    uint32_t count;      /* the others hot. */
    uint32_t victims;    /* So many of them are to be evicted. */
    uint32_t reading;    /* Jobs under way. */
    struct read_job jobs[JOBS_MAX];
    struct candidate round[KS_EVICT_ROUND_MAX];
    struct candidate sample[SAMPLE_MAX];
};

/* What the elements of a collection take, or a string in chunks, whose count is its length. */
static uint64_t counted_bytes(uint8_t type, uint64_t count)
{
    return type == VT_STRING ? count : u64_min(count, UINT32_MAX) * ELEM_BYTES;
}

/* --- the sample --- */

static void rank_hot(struct ks_evict *e, struct candidate *c)
{
    const struct ks_key key = ks_key_of_obj(e->ks, c->obj);

    c->known = true;
    switch (e->rule.by) {
    case KS_EVICT_BY_USE:
        c->rank = use_rank(&e->ks->use.rule, ks_use_of(e->ks, &key, c->obj), e->now_ms);
        return;
    case KS_EVICT_BY_EXPIRY:
        c->rank = UINT64_MAX - ks_expire_at(c->obj);
        return;
    case KS_EVICT_BY_CHANCE:
        c->rank = rng_u64(&e->rng);
        return;
    }
    UNREACHABLE();
}

static void rank_cold(struct ks_evict *e, struct candidate *c)
{
    const struct ks_use *u = &e->ks->use;
    uint32_t use;

    c->known = e->rule.by == KS_EVICT_BY_CHANCE;
    c->rank = c->known ? rng_u64(&e->rng) : UINT64_MAX;
    if (e->rule.by == KS_EVICT_BY_USE && u->table != NULL &&
        usage_get(u->table, c->slot, c->hash, &use)) {
        c->known = true;
        c->rank = use_rank(&u->rule, use, e->now_ms);
    }
}

static void take(void *ctx, const struct keytab_entry *entry)
{
    struct ks_evict *e = ctx;

    if (e->sample_count == SAMPLE_MAX)
        return;
    struct candidate *c = &e->sample[e->sample_count];
    if (entry->kind == KEYTAB_HOT) {
        struct obj *obj = entry->ref.obj;
        if ((obj->h.flags & BLK_DEAD) != 0 || obj->pins != 0 ||
            (e->rule.expiring_only && (obj->h.flags & BLK_TTL) == 0))
            return;
        *c = (struct candidate){.obj = obj, .slot = entry->slot, .hot = true};
        rank_hot(e, c);
    } else {
        if (e->rule.expiring_only && !keytab_has_ttl(&entry->ref))
            return;
        *c = (struct candidate){.hash = entry->hash, .slot = entry->slot};
        rank_cold(e, c);
    }
    e->sample_count++;
}

/* The highest rank first; what is not known before all; the same key side by side. */
static int by_rank(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;

    if (x->rank != y->rank)
        return x->rank > y->rank ? -1 : 1;
    if (x->hot != y->hot)
        return x->hot ? 1 : -1;
    if (x->hot)
        return x->obj < y->obj ? -1 : x->obj > y->obj;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static bool same(const struct candidate *a, const struct candidate *b)
{
    if (a->hot != b->hot)
        return false;
    return a->hot ? a->obj == b->obj : a->hash == b->hash && a->slot == b->slot;
}

static void take_sample(struct ks_evict *e, uint32_t wanted)
{
    e->sample_count = 0;
    for (uint32_t i = 0; i < LEAVES_MAX && e->sample_count < wanted; i++) {
        const uint64_t cursor =
            keytab_cursor((uint16_t)rng_below(&e->rng, KEY_SLOTS), rng_u64(&e->rng));
        /* Behind the last entry of the table: from the first one on. */
        if (keytab_walk(e->ks->tab, cursor, take, e) == 0 && e->sample_count == 0)
            (void)keytab_walk(e->ks->tab, 0, take, e);
    }
    qsort(e->sample, e->sample_count, sizeof(e->sample[0]), by_rank);
    /* A leaf may have been met twice. */
    uint32_t kept = 0;
    for (uint32_t i = 0; i < e->sample_count; i++) {
        if (kept == 0 || !same(&e->sample[kept - 1], &e->sample[i]))
            e->sample[kept++] = e->sample[i];
    }
    e->sample_count = kept;
}

/*
 * Chooses what goes into the round: the best if they are known. Else what is not known, to be read
 * and compared with the best of the others, for which some room is kept.
 */
static void choose(struct ks_evict *e, uint32_t max)
{
    struct candidate hot[KS_EVICT_ROUND_MAX];
    uint32_t hot_count = 0, unknown = 0;
    const uint32_t best =
        u32_min(u32_max(e->sample_count / e->rule.samples, 1), u32_min(max, e->sample_count));

    /* They are the first of the sample. */
    while (unknown < e->sample_count && !e->sample[unknown].known)
        unknown++;
    const uint32_t limit = unknown == 0 ? best : KS_EVICT_ROUND_MAX;
    e->cold_count = 0;
    for (uint32_t i = 0; i < e->sample_count && e->cold_count + hot_count < limit; i++) {
        struct candidate *c = &e->sample[i];
        if (!c->known && i >= UNKNOWN_MAX)
            continue;
        if (!c->hot) {
            e->round[e->cold_count++] = *c;
            continue;
        }
        c->hash = ks_key_of_obj(e->ks, c->obj).hash;
        c->obj = NULL;
        hot[hot_count++] = *c;
    }
    memcpy(e->round + e->cold_count, hot, hot_count * sizeof(hot[0]));
    e->count = e->cold_count + hot_count;
    e->victims = unknown == 0 ? best : u32_min(best, u32_max(e->count / e->rule.samples, 1));
}

/* --- reading, on a reader thread --- */

static void keep(struct candidate *c, struct buf *names, const struct rowkey *rk,
                 const struct row_view *view, size_t row_len)
{
    c->name_at = (uint32_t)names->len;
    c->name_len = (uint32_t)rk->key.len;
    if (buf_append_bytes(names, rk->key) != 0)
        return;
    c->found = true;
    c->expire_at_ms = view->expire_at_ms;
    c->changed_ms = hlc_ms(view->tag.hlc);
    c->bytes = rk->key.len + row_len + counted_bytes(view->type, view->count);
}

/* The key row of the place; damaged ones are left alone. */
static void read_one(struct store_iter *it, struct candidate *c, struct buf *names)
{
    uint8_t from[10];
    struct rowkey rk;
    struct row_view view;
    struct bytes row;

    be16_store(from, c->slot);
    be64_store(from + 2, c->hash);
    store_iter_seek(it, bytes_of(from, sizeof(from)));
    if (!store_iter_valid(it) || rowkey_parse(store_iter_key(it), &rk) != 0 || rk.slot != c->slot ||
        (rk.hash ^ c->hash) >> (64 - KEYTAB_HASH_BITS) != 0 || rk.kind != ROWKEY_KIND_KEY ||
        store_iter_row(it, &row) != STORE_FOUND || row_view(row, 0, &view) != 0 ||
        view.type == VT_NONE)
        return;
    keep(c, names, &rk, &view, row.len);
}

static void read_batch(void *ctx, struct pool_job **jobs, uint32_t n)
{
    (void)ctx;
    for (uint32_t i = 0; i < n; i++) {
        struct read_job *j = container_of(jobs[i], struct read_job, job);
        const struct store_iter_options options = {.fill_cache = false};
        struct store_iter *it;
        if (store_iter_open(j->ks->options.store, &options, &it) != 0)
            continue;
        for (uint32_t k = 0; k < j->count; k++)
            read_one(it, &j->first[k], &j->names);
        store_iter_close(it);
    }
}

/* --- the end of a round --- */

static void evict_hot(struct ks_evict *e, const struct candidate *c)
{
    struct keyspace *ks = e->ks;
    struct keytab_ref ref;

    if (!keytab_find_hot(ks->tab, c->slot, c->hash, &ref) || (ref.obj->h.flags & BLK_DEAD) != 0 ||
        ref.obj->pins != 0 || (e->rule.expiring_only && (ref.obj->h.flags & BLK_TTL) == 0))
        return;
    const struct obj *obj = ref.obj;
    const uint64_t elems =
        (obj->h.flags & BLK_COLL) != 0 ? counted_bytes(obj->h.type, obj_coll(obj)->count) : 0;
    const uint64_t bytes = obj->h.name_len + obj->h.row_len + elems;
    /* The callback frees the object, and its name with it. */
    const struct bytes name = obj_key(obj);
    uint8_t *copy = mem_alloc(size_max(name.len, 1));
    if (name.len != 0)
        memcpy(copy, name.ptr, name.len);
    const struct ks_key key = {.name = bytes_of(copy, name.len), .hash = c->hash, .slot = c->slot};
    e->fn(e->ctx, &key, bytes);
    mem_free(copy);
}

static void evict_cold(struct ks_evict *e, const struct candidate *c)
{
    struct keyspace *ks = e->ks;
    struct keytab_ref ref;
    const uint32_t at = (uint32_t)(c - e->round);
    const struct bytes name = bytes_of(e->jobs[at / JOB_ROWS].names.ptr + c->name_at, c->name_len);
    const struct ks_key key = ks_key_of(name, ks->options.seed);

    /* Somebody may have used it meanwhile: then it is hot. */
    if (keytab_find(ks->tab, key.slot, key.hash, key.name, &ref) != KEYTAB_COLD ||
        (e->rule.expiring_only && !keytab_has_ttl(&ref)))
        return;
    e->fn(e->ctx, &key, c->bytes);
}

/* What was read makes the ranks right. */
static void rank_read(struct ks_evict *e, struct candidate *c)
{
    struct ks_use *u = &e->ks->use;

    if (c->known || !c->found)
        return;
    c->known = true;
    if (e->rule.by == KS_EVICT_BY_EXPIRY) {
        c->rank = UINT64_MAX - c->expire_at_ms;
        return;
    }
    const uint32_t use = use_at(&u->rule, c->changed_ms);
    c->rank = use_rank(&u->rule, use, e->now_ms);
    if (u->table != NULL)
        usage_put(u->table, c->slot, c->hash, use, &u->rule, e->now_ms);
}

/* Evicts the best; `e->count` is small. */
static void end_round(struct ks_evict *e)
{
    for (uint32_t i = 0; i < e->cold_count; i++)
        rank_read(e, &e->round[i]);
    for (uint32_t n = 0; n < e->victims; n++) {
        struct candidate *best = NULL;
        for (uint32_t i = 0; i < e->count; i++) {
            struct candidate *c = &e->round[i];
            if ((c->hot || c->found) && c->known && (best == NULL || c->rank > best->rank))
                best = c;
        }
        if (best == NULL)
            return;
        best->known = false; /* Once. */
        if (best->hot)
            evict_hot(e, best);
        else
            evict_cold(e, best);
    }
}

static void on_read(struct mail *mail)
{
    struct read_job *j =
        container_of(container_of(mail, struct pool_job, mail), struct read_job, job);
    struct ks_evict *e = j->ks->evict;

    if (--e->reading == 0)
        end_round(e);
}

bool ks_evict_start(struct keyspace *ks, const struct ks_evict_rule *rule, uint32_t max,
                    uint64_t now_ms, ks_evict_fn fn, void *ctx)
{
    struct ks_evict *e = ks->evict;

    CHECK(e->reading == 0 && rule->samples != 0 && max != 0);
    e->rule = *rule;
    e->fn = fn;
    e->ctx = ctx;
    e->now_ms = now_ms;
    max = u32_min(max, KS_EVICT_ROUND_MAX);
    if (!ks_evict_possible(ks, rule->expiring_only))
        return false;
    take_sample(e, u32_min(max * u32_min(rule->samples, SAMPLE_MAX), SAMPLE_MAX));
    if (e->sample_count == 0)
        return false;
    choose(e, max);
    for (uint32_t at = 0; at < e->cold_count; at += JOB_ROWS) {
        struct read_job *j = &e->jobs[at / JOB_ROWS];
        j->first = &e->round[at];
        j->count = u32_min(JOB_ROWS, e->cold_count - at);
        buf_clear(&j->names);
        e->reading++;
    }
    if (e->reading == 0)
        end_round(e);
    for (uint32_t i = 0, n = e->reading; i < n; i++) {
        e->jobs[i].job =
            (struct pool_job){.mail = {.fn = on_read}, .reply_to = ks->options.mailbox};
        pool_submit(&e->cls, &e->jobs[i].job);
    }
    return true;
}

bool ks_evict_busy(const struct keyspace *ks)
{
    return ks->evict->reading != 0;
}

bool ks_evict_possible(const struct keyspace *ks, bool expiring_only)
{
    return expiring_only ? ks_count_expiring(ks) != 0 : ks_count(ks) != 0;
}

/* --- uses --- */

uint32_t ks_use_of(const struct keyspace *ks, const struct ks_key *key, const struct obj *obj)
{
    const struct ks_use *u = &ks->use;
    struct row_view view;
    struct tag tag = {0};
    uint32_t use;

    if (u->table != NULL && usage_get(u->table, key->slot, key->hash, &use))
        return use;
    if ((obj->h.flags & BLK_COLL) != 0)
        tag = obj_coll(obj)->tag;
    else if (row_view(obj_row(obj), 0, &view) == 0)
        tag = view.tag;
    return use_at(&u->rule, hlc_ms(tag.hlc));
}

void ks_use_tell(struct keyspace *ks, const struct ks_key *key, int64_t idle_s, int64_t frequency)
{
    const struct ks_use *u = &ks->use;

    if (u->table == NULL || (u->rule.kind == USE_LRU ? idle_s : frequency) < 0)
        return;
    CHECK(frequency <= UINT8_MAX);
    const uint32_t use =
        use_told(&u->rule, (uint64_t)i64_max(idle_s, 0), (uint8_t)i64_max(frequency, 0), u->now_ms);
    usage_put(u->table, key->slot, key->hash, use, &u->rule, u->now_ms);
}

void ks_use_move(struct keyspace *ks, const struct ks_key *from, const struct obj *obj,
                 const struct ks_key *to)
{
    const struct ks_use *u = &ks->use;

    if (u->table != NULL)
        usage_put(u->table, to->slot, to->hash, ks_use_of(ks, from, obj), &u->rule, u->now_ms);
}

void ks_use_once(struct keyspace *ks, const uint64_t *commands)
{
    ks->use.commands = commands;
}

void ks_use_set(struct keyspace *ks, const struct use_rule *rule, size_t bytes_max)
{
    struct ks_use *u = &ks->use;

    /* A cold key's use of the other kind would only mislead. */
    if (u->table != NULL && (bytes_max == 0 || rule->kind != u->rule.kind)) {
        usage_destroy(u->table);
        u->table = NULL;
    }
    u->rule = *rule;
    if (bytes_max != 0 && u->table == NULL)
        u->table = usage_create(bytes_max);
    ks_use_tick(ks, u->now_ms);
}

void ks_use_tick(struct keyspace *ks, uint64_t now_ms)
{
    struct ks_use *u = &ks->use;

    u->now_ms = now_ms;
    u->fresh = use_first(&u->rule, now_ms);
    if (u->table != NULL)
        usage_fit(u->table, ks_count(ks));
}

void ks_evict_init(struct keyspace *ks)
{
    struct ks_evict *e = mem_zalloc(sizeof(*e));

    e->ks = ks;
    rng_seed(&e->rng, ks->options.seed);
    e->cls = (struct pool_class){.name = "evict",
                                 .priority = POOL_BACKGROUND,
                                 .batch_max = 1,
                                 .run_batch = read_batch,
                                 .ctx = e};
    pool_add_class(ks->options.readers, &e->cls);
    for (uint32_t i = 0; i < JOBS_MAX; i++) {
        e->jobs[i].ks = ks;
        buf_init(&e->jobs[i].names, JOB_ROWS * (KS_NAME_BYTES_MAX + 1));
    }
    rng_seed(&ks->use.rng, ks->options.seed + 1);
    ks->evict = e;
}

void ks_evict_deinit(struct keyspace *ks)
{
    CHECK(ks->evict->reading == 0);
    for (uint32_t i = 0; i < JOBS_MAX; i++)
        buf_deinit(&ks->evict->jobs[i].names);
    mem_free(ks->evict);
    usage_destroy(ks->use.table);
}
