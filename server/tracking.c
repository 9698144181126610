/* Who tracks, and which keys change; tracking.h tells. */
#include "server/tracking.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/node.h"
#include "server/pubsub.h"
#include "server/shard.h"
#include "server/tracking_send.h"
#include "server/txn.h"

#define CLIENT_BUCKETS 256u
/* The table takes at most this part of maxmemory. */
#define TABLE_SHARE 16
/* Keys are forgotten for the limit's sake in a turn, times the turns in a row. As Redis. */
#define FORGET_EFFORT 100u
/* More than that of changed keys is sent before the turn has ended. Bytes. */
#define CHANGED_BYTES_MAX (1u << 20)
/* What a client may be told of its own command. Bytes. */
#define OWN_BYTES_MAX (256u << 20)
/* Head of a changed key: writer 8, length 2. */
#define CHANGED_HEAD_BYTES 10u

/* --- clients --- */

/* A prefix of this shard's clients. */
struct prefix {
    struct list_link link;
    struct list subs;
    size_t len;
    uint8_t text[];
};

struct prefix_sub {
    struct list_link prefix_link;
    struct list_link client_link;
    struct prefix *prefix;
    struct tracking_client *client;
};

static struct bytes text_of(const struct prefix *p)
{
    return bytes_of(p->text, p->len);
}

struct tracking *tracking_create(void)
{
    struct tracking *t = mem_zalloc(sizeof(*t));

    t->clients = mem_alloc(CLIENT_BUCKETS * sizeof(*t->clients));
    for (uint32_t i = 0; i < CLIENT_BUCKETS; i++)
        list_init(&t->clients[i]);
    list_init(&t->prefixes);
    buf_init(&t->changed, CHANGED_BYTES_MAX + KS_NAME_BYTES_MAX + CHANGED_HEAD_BYTES);
    buf_init(&t->own, OWN_BYTES_MAX);
    return t;
}

void tracking_destroy(struct tracking *t)
{
    if (t == NULL)
        return;
    CHECK(t->prefixes_count == 0);
    tracktab_deinit(&t->keys);
    buf_deinit(&t->changed);
    buf_deinit(&t->own);
    mem_free(t->clients);
    mem_free(t);
}

static struct list *bucket_of(const struct tracking *t, uint64_t id)
{
    return &t->clients[id * UINT64_C(0x9e3779b97f4a7c15) >> 56];
}
STATIC_ASSERT(CLIENT_BUCKETS == 1u << (64 - 56));

struct tracking_client *tracking_client_find(const struct tracking *t, uint64_t id)
{
    LIST_FOR_EACH(link, bucket_of(t, id)) {
        struct tracking_client *tc = LIST_ITEM(link, struct tracking_client, link);
        if (tc->conn->id == id)
            return tc;
    }
    return NULL;
}

static struct tracking_client *client_of(struct conn *c)
{
    struct tracking *t = c->sh->tracking;

    CHECK(!c->is_agent);
    if (c->tracking == NULL) {
        c->tracking = mem_zalloc(sizeof(*c->tracking));
        c->tracking->conn = c;
        list_init(&c->tracking->prefixes);
        list_push_back(bucket_of(t, c->id), &c->tracking->link);
    }
    return c->tracking;
}

const struct tracking_client *tracking_of(const struct conn *c)
{
    static const struct tracking_client none = {.on = false};

    return c->tracking == NULL ? &none : c->tracking;
}

/* Whether what it reads is to be remembered. */
static void set_tracks(struct tracking_client *tc)
{
    const bool left_out = tc->optin ? !tc->caching : tc->optout && tc->caching;

    tc->conn->tracks = tc->on && !tc->bcast && !left_out;
}

static bool listens(const struct tracking_client *tc)
{
    return tc->on || tc->target;
}

static void count(struct tracking_client *tc, bool listened)
{
    _Atomic uint32_t *listeners = &tc->conn->sh->tracking->listeners;

    if (listens(tc) && !listened)
        atomic_fetch_add(listeners, 1);
    else if (!listens(tc) && listened)
        atomic_fetch_sub(listeners, 1);
}

/* --- prefixes --- */

static struct prefix *prefix_of(struct tracking *t, struct bytes text)
{
    LIST_FOR_EACH(link, &t->prefixes) {
        struct prefix *p = LIST_ITEM(link, struct prefix, link);
        if (bytes_eq(text_of(p), text))
            return p;
    }
    struct prefix *p = mem_zalloc(sizeof(*p) + text.len);
    list_init(&p->subs);
    p->len = text.len;
    if (text.len != 0)
        memcpy(p->text, text.ptr, text.len);
    list_push_back(&t->prefixes, &p->link);
    t->prefixes_count++;
    return p;
}

static bool has_prefix(const struct tracking_client *tc, struct bytes text)
{
    LIST_FOR_EACH(link, &tc->prefixes) {
        if (bytes_eq(text_of(LIST_ITEM(link, struct prefix_sub, client_link)->prefix), text))
            return true;
    }
    return false;
}

static void add_prefix(struct tracking_client *tc, struct bytes text)
{
    if (has_prefix(tc, text))
        return;
    struct prefix_sub *sub = mem_zalloc(sizeof(*sub));
    sub->client = tc;
    sub->prefix = prefix_of(tc->conn->sh->tracking, text);
    list_push_back(&sub->prefix->subs, &sub->prefix_link);
    list_push_back(&tc->prefixes, &sub->client_link);
    tc->prefixes_count++;
    tc->bytes += sizeof(*sub) + sizeof(struct prefix) + text.len;
}

static void drop_prefixes(struct tracking_client *tc)
{
    struct tracking *t = tc->conn->sh->tracking;
    struct list_link *link;

    while ((link = list_pop_front(&tc->prefixes)) != NULL) {
        struct prefix_sub *sub = LIST_ITEM(link, struct prefix_sub, client_link);
        struct prefix *p = sub->prefix;
        list_remove(&sub->prefix_link);
        mem_free(sub);
        if (!list_empty(&p->subs))
            continue;
        list_remove(&p->link);
        mem_free(p);
        t->prefixes_count--;
    }
    tc->prefixes_count = 0;
    tc->bytes = 0;
}

bool tracking_overlaps(const struct conn *c, struct bytes prefix, struct bytes *out)
{
    if (c->tracking == NULL)
        return false;
    LIST_FOR_EACH(link, &c->tracking->prefixes) {
        const struct bytes text = text_of(LIST_ITEM(link, struct prefix_sub, client_link)->prefix);
        if (!bytes_starts(text, prefix) && !bytes_starts(prefix, text))
            continue;
        *out = text;
        return true;
    }
    return false;
}

void tracking_each_prefix(const struct conn *c, void (*fn)(void *ctx, struct bytes prefix),
                          void *ctx)
{
    if (c->tracking == NULL)
        return;
    LIST_FOR_EACH(link, &c->tracking->prefixes)
        fn(ctx, text_of(LIST_ITEM(link, struct prefix_sub, client_link)->prefix));
}

/* --- on and off --- */

static void set_bcast(struct tracking_client *tc, bool bcast)
{
    struct shard *sh = tc->conn->sh;

    if (bcast && !tc->bcast) {
        atomic_fetch_add(&sh->tracking->bcast_clients, 1);
        atomic_fetch_add(&sh->node->bcast_clients, 1);
    } else if (!bcast && tc->bcast) {
        atomic_fetch_sub(&sh->tracking->bcast_clients, 1);
        atomic_fetch_sub(&sh->node->bcast_clients, 1);
    }
    tc->bcast = bcast;
}

void tracking_enable(struct conn *c, const struct tracking_options *o)
{
    struct tracking_client *tc = client_of(c);
    const bool listened = listens(tc);

    c->sh->tracking->clients_on += !tc->on;
    tc->on = true;
    tc->broken = false;
    tc->optin = o->optin;
    tc->optout = o->optout;
    tc->noloop = o->noloop;
    tc->redirect = o->redirect;
    set_bcast(tc, o->bcast);
    if (o->bcast && o->prefixes_count == 0)
        add_prefix(tc, bytes_of(NULL, 0));
    for (uint32_t i = 0; o->bcast && i < o->prefixes_count; i++)
        add_prefix(tc, *o->prefixes[i]);
    set_tracks(tc);
    count(tc, listened);
}

void tracking_disable(struct conn *c)
{
    struct tracking_client *tc = c->tracking;

    if (tc == NULL || !tc->on)
        return;
    drop_prefixes(tc);
    set_bcast(tc, false);
    c->sh->tracking->clients_on--;
    tc->on = false;
    tc->broken = false;
    tc->optin = false;
    tc->optout = false;
    tc->noloop = false;
    tc->caching = false;
    set_tracks(tc);
    count(tc, true);
}

void tracking_set_caching(struct conn *c)
{
    c->tracking->caching = true;
    set_tracks(c->tracking);
}

void tracking_over(struct conn *c, const struct cmd *cmd)
{
    struct tracking_client *tc = c->tracking;

    /* What follows in a transaction, and CLIENT's own commands, leave it as it is. */
    if (!tc->caching || txn_active(c) || (cmd != NULL && cmd->parent == CMD_ID_client))
        return;
    tc->caching = false;
    set_tracks(tc);
}

void tracking_leave(struct conn *c)
{
    struct tracking_client *tc = c->tracking;

    if (tc == NULL)
        return;
    tracking_disable(c);
    const bool listened = listens(tc);
    tc->target = false;
    count(tc, listened);
    list_remove(&tc->link);
    mem_free(tc);
    c->tracking = NULL;
    if (c == c->sh->current)
        buf_clear(&c->sh->tracking->own);
}

size_t tracking_memory_bytes(const struct conn *c)
{
    return c->tracking == NULL ? 0 : sizeof(*c->tracking) + c->tracking->bytes;
}

/* --- whom clients redirect to --- */

bool tracking_make_target(struct shard *sh, uint64_t id)
{
    struct tracking_client *tc = tracking_client_find(sh->tracking, id);

    if (tc == NULL) {
        LIST_FOR_EACH(link, &sh->conns) {
            struct conn *c = LIST_ITEM(link, struct conn, link);
            if (c->id == id)
                tc = client_of(c);
        }
    }
    if (tc == NULL)
        return false;
    const bool listened = listens(tc);
    tc->target = true;
    count(tc, listened);
    return true;
}

int tracking_find_target(struct conn *c, uint64_t id, bool *out_found)
{
    const uint32_t to = tracking_shard_of(id, c->sh->node->shards_count);

    if (to == c->sh->id) {
        *out_found = tracking_make_target(c->sh, id);
        return 0;
    }
    struct tracking_client *tc = client_of(c);
    if (tc->asked == id && tc->answered) {
        tc->asked = 0;
        *out_found = tc->found;
        return 0;
    }
    if (tc->asked == id)
        return 1;
    tc->asked = id;
    tc->answered = false;
    const struct tracking_note note = {.kind = TRACKING_ASK, .id = id, .other = c->id};
    tracking_send(c->sh, to, &note);
    return 1;
}

/* --- keys --- */

void tracking_remember(struct shard *sh, const struct conn *c, const struct cmd *cmd, uint32_t argc,
                       const struct bytes *argv)
{
    if ((cmd->flags & CMD_READONLY) == 0 || command_keys(cmd, argc, argv, &sh->keys) != 0)
        return;
    for (uint32_t i = 0; i < sh->keys.count; i++) {
        const struct ks_key key = ks_key_of(argv[sh->keys.key[i].pos], ks_seed(sh->ks));
        tracktab_add(&sh->tracking->keys, key.name, key.hash, c->id);
    }
}

static void append_key(struct buf *to, struct bytes name)
{
    char head[32];
    const int len = snprintf(head, sizeof(head), "$%zu\r\n", name.len);

    CHECK(len > 0 && buf_append(to, head, (size_t)len) == 0);
    CHECK(buf_append_bytes(to, name) == 0 && buf_append(to, "\r\n", 2) == 0);
}

void tracking_on_key(struct shard *sh, uint64_t id, uint64_t writer, struct bytes name)
{
    struct tracking_client *tc = tracking_client_find(sh->tracking, id);
    struct buf keys;

    /* What it read before it changed to BCAST, or to nothing, counts no more. */
    if (tc == NULL || !tc->on || tc->bcast || (tc->noloop && writer == id))
        return;
    buf_init(&keys, KS_NAME_BYTES_MAX + 64);
    CHECK(buf_append(&keys, "*1\r\n", 4) == 0);
    append_key(&keys, name);
    tracking_tell(sh, tc, buf_bytes(&keys));
    buf_deinit(&keys);
}

/* All who may have the key. */
static void tell_all(struct shard *sh, const struct tracktab_entry *e, uint64_t writer)
{
    for (uint32_t i = 0; i < e->ids_count; i++) {
        const struct tracking_note note = {
            .kind = TRACKING_KEY, .id = e->ids[i], .other = writer, .text = tracktab_name(e)};
        tracking_send(sh, tracking_shard_of(e->ids[i], sh->node->shards_count), &note);
    }
}

/* The keys that have changed, to each shard that has clients with prefixes. */
static void distribute(struct shard *sh)
{
    struct buf changed = sh->tracking->changed;
    const struct tracking_note note = {.kind = TRACKING_CHANGED, .text = buf_bytes(&changed)};

    buf_init(&sh->tracking->changed, changed.limit);
    for (uint32_t i = 0; i < sh->node->shards_count; i++) {
        if (atomic_load_explicit(&sh->node->shards[i]->tracking->bcast_clients,
                                 memory_order_relaxed) != 0)
            tracking_send(sh, i, &note);
    }
    buf_deinit(&changed);
}

void tracking_changed(struct shard *sh, const struct ks_key *key)
{
    struct tracking *t = sh->tracking;
    const uint64_t writer = sh->current == NULL ? 0 : sh->current->id;
    uint8_t head[CHANGED_HEAD_BYTES];

    if (t->muted)
        return;
    struct tracktab_entry *e = tracktab_take(&t->keys, key->name, key->hash);
    if (e != NULL) {
        tell_all(sh, e, writer);
        tracktab_free(e);
    }
    if (!node_bcasts(sh->node))
        return;
    le64_store(head, writer);
    le16_store(head + 8, (uint16_t)key->name.len);
    CHECK(buf_append(&t->changed, head, sizeof(head)) == 0);
    CHECK(buf_append_bytes(&t->changed, key->name) == 0);
    if (t->changed.len > CHANGED_BYTES_MAX)
        distribute(sh);
}

/* --- BCAST --- */

struct changed_key {
    struct bytes name;
    uint64_t writer;
    size_t place;
};

static int by_name(const void *a, const void *b)
{
    const struct changed_key *x = a, *y = b;
    const int order = bytes_cmp(x->name, y->name);

    return order != 0 ? order : (x->place > y->place) - (x->place < y->place);
}

/* In the order of their names, each once with its last writer. Returns how many. */
static size_t read_changed(struct bytes list, struct changed_key *out)
{
    size_t n = 0, kept = 0;
    struct bytes name;

    while (list.len >= CHANGED_HEAD_BYTES) {
        const uint64_t writer = le64_load(list.ptr);
        const size_t len = le16_load(list.ptr + 8);
        list = bytes_from(list, CHANGED_HEAD_BYTES);
        CHECK(bytes_take(&list, len, &name));
        out[n] = (struct changed_key){.name = name, .writer = writer, .place = n};
        n++;
    }
    qsort(out, n, sizeof(*out), by_name);
    for (size_t i = 0; i < n; i++) {
        if (kept != 0 && bytes_eq(out[kept - 1].name, out[i].name))
            kept--;
        out[kept++] = out[i];
    }
    return kept;
}

/* The keys with the prefix, but those of `but` (0: nobody); false: there are none. */
static bool array_of(const struct changed_key *keys, size_t n, struct bytes prefix, uint64_t but,
                     struct buf *out)
{
    uint64_t found = 0;
    struct buf names;
    char head[32];

    buf_clear(out);
    buf_init(&names, out->limit - sizeof(head));
    for (size_t i = 0; i < n; i++) {
        if (!bytes_starts(keys[i].name, prefix) || (but != 0 && keys[i].writer == but))
            continue;
        append_key(&names, keys[i].name);
        found++;
    }
    const int len = snprintf(head, sizeof(head), "*%llu\r\n", (unsigned long long)found);
    CHECK(len > 0 && buf_append(out, head, (size_t)len) == 0);
    CHECK(buf_append_bytes(out, buf_bytes(&names)) == 0);
    buf_deinit(&names);
    return found != 0;
}

static void tell_prefix(struct shard *sh, const struct prefix *p, const struct changed_key *keys,
                        size_t n, size_t bytes_max)
{
    struct buf all, some;

    buf_init(&all, bytes_max);
    buf_init(&some, bytes_max);
    const bool any = array_of(keys, n, text_of(p), 0, &all);
    LIST_FOR_EACH(link, &p->subs) {
        struct tracking_client *tc = LIST_ITEM(link, struct prefix_sub, prefix_link)->client;
        if (!any)
            break;
        if (!tc->noloop)
            tracking_tell(sh, tc, buf_bytes(&all));
        else if (array_of(keys, n, text_of(p), tc->conn->id, &some))
            tracking_tell(sh, tc, buf_bytes(&some));
    }
    buf_deinit(&all);
    buf_deinit(&some);
}

void tracking_on_changed(struct shard *sh, struct bytes list)
{
    struct changed_key *keys =
        mem_alloc((list.len / CHANGED_HEAD_BYTES + 1) * sizeof(struct changed_key));
    const size_t n = read_changed(list, keys);

    /* A name takes 16 bytes more in RESP, at most. */
    LIST_FOR_EACH(link, &sh->tracking->prefixes)
        tell_prefix(sh, LIST_ITEM(link, struct prefix, link), keys, n, list.len + n * 16 + 64);
    mem_free(keys);
}

/* --- all keys --- */

void tracking_on_flushed(struct shard *sh)
{
    for (uint32_t i = 0; i < CLIENT_BUCKETS; i++) {
        LIST_FOR_EACH(link, &sh->tracking->clients[i]) {
            struct tracking_client *tc = LIST_ITEM(link, struct tracking_client, link);
            if (tc->on)
                tracking_tell(sh, tc, bytes_of(NULL, 0));
        }
    }
}

void tracking_flushed(struct shard *sh)
{
    const struct tracking_note note = {.kind = TRACKING_FLUSHED};

    tracktab_deinit(&sh->tracking->keys);
    for (uint32_t i = 0; i < sh->node->shards_count; i++) {
        if (atomic_load_explicit(&sh->node->shards[i]->tracking->listeners, memory_order_relaxed) !=
            0)
            tracking_send(sh, i, &note);
    }
}

void tracking_on_lost(struct shard *sh)
{
    tracking_on_flushed(sh);
    /* And those to whom clients of other shards redirect. */
    for (uint32_t i = 0; i < CLIENT_BUCKETS; i++) {
        LIST_FOR_EACH(link, &sh->tracking->clients[i]) {
            const struct tracking_client *tc = LIST_ITEM(link, struct tracking_client, link);
            const struct tracking_note note = {.kind = TRACKING_REDIRECT, .id = tc->conn->id};
            if (tc->target)
                tracking_send(sh, sh->id, &note);
        }
    }
}

/* --- the turn --- */

void tracking_follow(struct conn *c)
{
    tracking_tell_own(c);
}

static bool over_limit(const struct shard *sh)
{
    const struct tracktab *keys = &sh->tracking->keys;
    const uint64_t shards = sh->node->shards_count;
    const uint64_t keys_max = (uint64_t)sh->cfg->tracking_table_max_keys;
    const uint64_t bytes_max = sh->cfg->maxmemory / TABLE_SHARE / shards;

    return (keys_max != 0 && keys->count > (keys_max + shards - 1) / shards) ||
           (bytes_max != 0 && keys->bytes > bytes_max && keys->count != 0);
}

static void keep_to_limit(struct shard *sh)
{
    struct tracking *t = sh->tracking;

    if (!over_limit(sh)) {
        t->over = 0;
        return;
    }
    t->over += t->over < UINT32_MAX / FORGET_EFFORT;
    for (uint32_t n = t->over * FORGET_EFFORT; n != 0 && over_limit(sh); n--) {
        struct tracktab_entry *e = tracktab_take_any(&t->keys, &sh->rng);
        tell_all(sh, e, 0);
        tracktab_free(e);
    }
    if (t->keys.count == 0)
        tracktab_deinit(&t->keys); /* The buckets count too, and would leave room for none. */
    if (over_limit(sh))
        reactor_wake(sh->reactor);
}

void tracking_turn(struct shard *sh)
{
    keep_to_limit(sh);
    if (sh->tracking->changed.len != 0)
        distribute(sh);
}
