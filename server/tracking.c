/* Who tracks, and which keys change; tracking.h tells. */
#include "server/tracking.h"

#include <stdatomic.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/node.h"
#include "server/pubsub.h"
#include "server/shard.h"
#include "server/tracking_bcast.h"
#include "server/tracking_send.h"
#include "server/txn.h"

#define CLIENT_BUCKETS 256u
/* The table takes at most this part of maxmemory, and so do all prefixes. */
#define TABLE_SHARE 16
/* Keys are forgotten for the limit's sake in a turn, times the turns in a row. As Redis. */
#define FORGET_EFFORT 100u
/* More than that of changed keys is sent before the turn has ended. Bytes. */
#define CHANGED_BYTES_MAX (1u << 20)
/* What a client may be told of its own command. Bytes. */
#define OWN_BYTES_MAX (256u << 20)

/* --- clients --- */

struct tracking *tracking_create(void)
{
    struct tracking *t = mem_zalloc(sizeof(*t));

    t->clients = mem_alloc(CLIENT_BUCKETS * sizeof(*t->clients));
    for (uint32_t i = 0; i < CLIENT_BUCKETS; i++)
        list_init(&t->clients[i]);
    buf_init(&t->changed, CHANGED_BYTES_MAX + KS_NAME_BYTES_MAX + TRACKING_CHANGED_HEAD_BYTES);
    buf_init(&t->own, OWN_BYTES_MAX);
    return t;
}

void tracking_destroy(struct tracking *t)
{
    if (t == NULL)
        return;
    CHECK(t->prefixes.count == 0);
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
        list_init(&c->tracking->subs);
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
        tracking_bcast_add(tc, bytes_of(NULL, 0));
    for (uint32_t i = 0; o->bcast && i < o->prefixes_count; i++)
        tracking_bcast_add(tc, *o->prefixes[i]);
    set_tracks(tc);
    count(tc, listened);
}

void tracking_disable(struct conn *c)
{
    struct tracking_client *tc = c->tracking;

    if (tc == NULL || !tc->on)
        return;
    tracking_bcast_drop(tc);
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
    return c->tracking == NULL ? 0 : sizeof(*c->tracking) + tracking_bcast_bytes(c->tracking);
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

void tracking_on_key(struct shard *sh, uint64_t id, uint64_t writer, struct bytes name)
{
    struct tracking_client *tc = tracking_client_find(sh->tracking, id);
    struct buf keys;

    /* What it read before it changed to BCAST, or to nothing, counts no more. */
    if (tc == NULL || !tc->on || tc->bcast || (tc->noloop && writer == id))
        return;
    buf_init(&keys, KS_NAME_BYTES_MAX + 64);
    CHECK(buf_append(&keys, "*1\r\n", 4) == 0);
    tracking_append_key(&keys, name);
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
    uint8_t head[TRACKING_CHANGED_HEAD_BYTES];

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

uint64_t tracking_bytes_max(const struct shard *sh)
{
    return sh->cfg->maxmemory / TABLE_SHARE / sh->node->shards_count;
}

static bool over_limit(const struct shard *sh)
{
    const struct tracktab *keys = &sh->tracking->keys;
    const uint64_t shards = sh->node->shards_count;
    const uint64_t keys_max = (uint64_t)sh->cfg->tracking_table_max_keys;
    const uint64_t bytes_max = tracking_bytes_max(sh);

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
