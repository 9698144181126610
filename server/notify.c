/* Keyspace notifications; notify.h tells how events are found. */
#include "server/notify.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"

#include "engine/value/op.h"

#include "server/config.h"
#include "server/pubsub.h"
#include "server/request.h"
#include "server/shard.h"

/* Changes of one command that are told apart; beyond, all its keys count as changed. */
#define TOUCHED_MAX       (1u << 20)
#define CHANNEL_BYTES_MAX (KS_NAME_BYTES_MAX + 64)

struct notify {
    struct cmd_keys keys; /* Of the command that runs, */
    uint8_t *types;       /* and what they were before. */
    uint32_t types_cap;
    uint64_t *touched; /* Hashes. */
    uint32_t touched_count;
    uint32_t touched_cap;
    bool active;
    struct buf channel;
};

/* --- what happened --- */

enum how {
    HOW_PLAIN,
    HOW_REMOVES, /* Then "del" if the key is gone. */
    HOW_STORES,  /* "del" instead if it is gone. */
    HOW_TTL,     /* Then "expire" if it has an expiry. */
    HOW_ALWAYS,  /* As REMOVES, and even if nothing was changed, if the key was there. */
    HOW_EXPIRES, /* "del" if it is gone, "persist" if it has no expiry. */
    HOW_END      /* Of a list: 'l' or 'r' is put before, by an argument; then as REMOVES. */
};

struct event {
    uint16_t cmd;
    uint8_t spec; /* Of the key. */
    uint8_t how;
    int16_t class;
    int8_t arg; /* HOW_END: the argument that is LEFT or RIGHT; < 0: as many behind the last key. */
    const char *name;
};

/* clang-format off */
static const struct event events[] = {
    {CMD_ID_set, 0, HOW_TTL, EVENT_STRING, 0, "set"},
    {CMD_ID_setnx, 0, HOW_PLAIN, EVENT_STRING, 0, "set"},
    {CMD_ID_setex, 0, HOW_TTL, EVENT_STRING, 0, "set"},
    {CMD_ID_psetex, 0, HOW_TTL, EVENT_STRING, 0, "set"},
    {CMD_ID_getset, 0, HOW_PLAIN, EVENT_STRING, 0, "set"},
    {CMD_ID_getdel, 0, HOW_PLAIN, EVENT_GENERIC, 0, "del"},
    {CMD_ID_getex, 0, HOW_EXPIRES, EVENT_GENERIC, 0, "expire"},
    {CMD_ID_mset, 0, HOW_PLAIN, EVENT_STRING, 0, "set"},
    {CMD_ID_msetnx, 0, HOW_PLAIN, EVENT_STRING, 0, "set"},
    {CMD_ID_append, 0, HOW_PLAIN, EVENT_STRING, 0, "append"},
    {CMD_ID_setrange, 0, HOW_PLAIN, EVENT_STRING, 0, "setrange"},
    {CMD_ID_incr, 0, HOW_PLAIN, EVENT_STRING, 0, "incrby"},
    {CMD_ID_decr, 0, HOW_PLAIN, EVENT_STRING, 0, "incrby"},
    {CMD_ID_incrby, 0, HOW_PLAIN, EVENT_STRING, 0, "incrby"},
    {CMD_ID_decrby, 0, HOW_PLAIN, EVENT_STRING, 0, "incrby"},
    {CMD_ID_incrbyfloat, 0, HOW_PLAIN, EVENT_STRING, 0, "incrbyfloat"},
    {CMD_ID_setbit, 0, HOW_PLAIN, EVENT_STRING, 0, "setbit"},
    {CMD_ID_bitfield, 0, HOW_PLAIN, EVENT_STRING, 0, "setbit"},
    {CMD_ID_bitop, 0, HOW_STORES, EVENT_STRING, 0, "set"},
    {CMD_ID_del, 0, HOW_PLAIN, EVENT_GENERIC, 0, "del"},
    {CMD_ID_unlink, 0, HOW_PLAIN, EVENT_GENERIC, 0, "del"},
    {CMD_ID_migrate, 0, HOW_PLAIN, EVENT_GENERIC, 0, "del"},
    {CMD_ID_migrate, 1, HOW_PLAIN, EVENT_GENERIC, 0, "del"},
    {CMD_ID_rename, 0, HOW_PLAIN, EVENT_GENERIC, 0, "rename_from"},
    {CMD_ID_rename, 1, HOW_PLAIN, EVENT_GENERIC, 0, "rename_to"},
    {CMD_ID_renamenx, 0, HOW_PLAIN, EVENT_GENERIC, 0, "rename_from"},
    {CMD_ID_renamenx, 1, HOW_PLAIN, EVENT_GENERIC, 0, "rename_to"},
    {CMD_ID_copy, 1, HOW_PLAIN, EVENT_GENERIC, 0, "copy_to"},
    {CMD_ID_expire, 0, HOW_STORES, EVENT_GENERIC, 0, "expire"},
    {CMD_ID_pexpire, 0, HOW_STORES, EVENT_GENERIC, 0, "expire"},
    {CMD_ID_expireat, 0, HOW_STORES, EVENT_GENERIC, 0, "expire"},
    {CMD_ID_pexpireat, 0, HOW_STORES, EVENT_GENERIC, 0, "expire"},
    {CMD_ID_persist, 0, HOW_PLAIN, EVENT_GENERIC, 0, "persist"},
    {CMD_ID_sort, 2, HOW_STORES, EVENT_LIST, 0, "sortstore"},
    {CMD_ID_lpush, 0, HOW_PLAIN, EVENT_LIST, 0, "lpush"},
    {CMD_ID_lpushx, 0, HOW_PLAIN, EVENT_LIST, 0, "lpush"},
    {CMD_ID_rpush, 0, HOW_PLAIN, EVENT_LIST, 0, "rpush"},
    {CMD_ID_rpushx, 0, HOW_PLAIN, EVENT_LIST, 0, "rpush"},
    {CMD_ID_lpop, 0, HOW_REMOVES, EVENT_LIST, 0, "lpop"},
    {CMD_ID_rpop, 0, HOW_REMOVES, EVENT_LIST, 0, "rpop"},
    {CMD_ID_blpop, 0, HOW_REMOVES, EVENT_LIST, 0, "lpop"},
    {CMD_ID_brpop, 0, HOW_REMOVES, EVENT_LIST, 0, "rpop"},
    {CMD_ID_lmpop, 0, HOW_END, EVENT_LIST, -1, "pop"},
    {CMD_ID_blmpop, 0, HOW_END, EVENT_LIST, -1, "pop"},
    {CMD_ID_linsert, 0, HOW_PLAIN, EVENT_LIST, 0, "linsert"},
    {CMD_ID_lset, 0, HOW_PLAIN, EVENT_LIST, 0, "lset"},
    {CMD_ID_lrem, 0, HOW_REMOVES, EVENT_LIST, 0, "lrem"},
    {CMD_ID_ltrim, 0, HOW_ALWAYS, EVENT_LIST, 0, "ltrim"},
    {CMD_ID_lmove, 0, HOW_END, EVENT_LIST, 3, "pop"},
    {CMD_ID_lmove, 1, HOW_END, EVENT_LIST, 4, "push"},
    {CMD_ID_blmove, 0, HOW_END, EVENT_LIST, 3, "pop"},
    {CMD_ID_blmove, 1, HOW_END, EVENT_LIST, 4, "push"},
    {CMD_ID_rpoplpush, 0, HOW_REMOVES, EVENT_LIST, 0, "rpop"},
    {CMD_ID_rpoplpush, 1, HOW_PLAIN, EVENT_LIST, 0, "lpush"},
    {CMD_ID_brpoplpush, 0, HOW_REMOVES, EVENT_LIST, 0, "rpop"},
    {CMD_ID_brpoplpush, 1, HOW_PLAIN, EVENT_LIST, 0, "lpush"},
    {CMD_ID_sadd, 0, HOW_PLAIN, EVENT_SET, 0, "sadd"},
    {CMD_ID_srem, 0, HOW_REMOVES, EVENT_SET, 0, "srem"},
    {CMD_ID_spop, 0, HOW_REMOVES, EVENT_SET, 0, "spop"},
    {CMD_ID_smove, 0, HOW_REMOVES, EVENT_SET, 0, "srem"},
    {CMD_ID_smove, 1, HOW_PLAIN, EVENT_SET, 0, "sadd"},
    {CMD_ID_sinterstore, 0, HOW_STORES, EVENT_SET, 0, "sinterstore"},
    {CMD_ID_sunionstore, 0, HOW_STORES, EVENT_SET, 0, "sunionstore"},
    {CMD_ID_sdiffstore, 0, HOW_STORES, EVENT_SET, 0, "sdiffstore"},
    {CMD_ID_hset, 0, HOW_PLAIN, EVENT_HASH, 0, "hset"},
    {CMD_ID_hmset, 0, HOW_PLAIN, EVENT_HASH, 0, "hset"},
    {CMD_ID_hsetnx, 0, HOW_PLAIN, EVENT_HASH, 0, "hset"},
    {CMD_ID_hincrby, 0, HOW_PLAIN, EVENT_HASH, 0, "hincrby"},
    {CMD_ID_hincrbyfloat, 0, HOW_PLAIN, EVENT_HASH, 0, "hincrbyfloat"},
    {CMD_ID_hdel, 0, HOW_REMOVES, EVENT_HASH, 0, "hdel"},
    {CMD_ID_zadd, 0, HOW_PLAIN, EVENT_ZSET, 0, "zadd"},
    {CMD_ID_zincrby, 0, HOW_PLAIN, EVENT_ZSET, 0, "zincr"},
    {CMD_ID_zrem, 0, HOW_REMOVES, EVENT_ZSET, 0, "zrem"},
    {CMD_ID_zremrangebyrank, 0, HOW_REMOVES, EVENT_ZSET, 0, "zremrangebyrank"},
    {CMD_ID_zremrangebyscore, 0, HOW_REMOVES, EVENT_ZSET, 0, "zremrangebyscore"},
    {CMD_ID_zremrangebylex, 0, HOW_REMOVES, EVENT_ZSET, 0, "zremrangebylex"},
    {CMD_ID_zpopmin, 0, HOW_REMOVES, EVENT_ZSET, 0, "zpopmin"},
    {CMD_ID_zpopmax, 0, HOW_REMOVES, EVENT_ZSET, 0, "zpopmax"},
    {CMD_ID_bzpopmin, 0, HOW_REMOVES, EVENT_ZSET, 0, "zpopmin"},
    {CMD_ID_bzpopmax, 0, HOW_REMOVES, EVENT_ZSET, 0, "zpopmax"},
    {CMD_ID_zmpop, 0, HOW_END, EVENT_ZSET, -1, "zpop"},
    {CMD_ID_bzmpop, 0, HOW_END, EVENT_ZSET, -1, "zpop"},
    {CMD_ID_geoadd, 0, HOW_PLAIN, EVENT_ZSET, 0, "zadd"},
    {CMD_ID_geosearchstore, 0, HOW_STORES, EVENT_ZSET, 0, "geosearchstore"},
    {CMD_ID_georadius, 1, HOW_STORES, EVENT_ZSET, 0, "georadiusstore"},
    {CMD_ID_georadius, 2, HOW_STORES, EVENT_ZSET, 0, "georadiusstore"},
    {CMD_ID_georadiusbymember, 1, HOW_STORES, EVENT_ZSET, 0, "georadiusstore"},
    {CMD_ID_georadiusbymember, 2, HOW_STORES, EVENT_ZSET, 0, "georadiusstore"},
    {CMD_ID_pfadd, 0, HOW_PLAIN, EVENT_STRING, 0, "pfadd"},
    {CMD_ID_pfmerge, 0, HOW_PLAIN, EVENT_STRING, 0, "pfadd"},
    {CMD_ID_zrangestore, 0, HOW_STORES, EVENT_ZSET, 0, "zrangestore"},
    {CMD_ID_zunionstore, 0, HOW_STORES, EVENT_ZSET, 0, "zunionstore"},
    {CMD_ID_zinterstore, 0, HOW_STORES, EVENT_ZSET, 0, "zinterstore"},
    {CMD_ID_zdiffstore, 0, HOW_STORES, EVENT_ZSET, 0, "zdiffstore"},
};
/* clang-format on */

struct notify *notify_create(void)
{
    struct notify *n = mem_zalloc(sizeof(*n));

    cmd_keys_init(&n->keys);
    buf_init(&n->channel, CHANNEL_BYTES_MAX);
    return n;
}

void notify_destroy(struct notify *n)
{
    if (n == NULL)
        return;
    cmd_keys_deinit(&n->keys);
    buf_deinit(&n->channel);
    mem_free(n->types);
    mem_free(n->touched);
    mem_free(n);
}

/* --- telling --- */

static void publish(struct shard *sh, const char *space, struct bytes about, struct bytes message)
{
    struct buf *channel = &sh->notify->channel;

    buf_clear(channel);
    if (buf_append_bytes(channel, bytes_cstr(space)) == 0 && buf_append_bytes(channel, about) == 0)
        pubsub_tell(sh, buf_bytes(channel), message);
}

void notify_event(struct shard *sh, int class, const char *event, struct bytes key)
{
    const int wanted = sh->cfg->notify_keyspace_events;

    if (likely((wanted & class) == 0) || !pubsub_anybody(sh))
        return;
    if ((wanted & EVENT_KEYSPACE) != 0)
        publish(sh, "__keyspace@0__:", key, bytes_cstr(event));
    if ((wanted & EVENT_KEYEVENT) != 0)
        publish(sh, "__keyevent@0__:", bytes_cstr(event), key);
}

/* --- commands --- */

static void *grown(void *old, uint32_t *cap, uint32_t need, size_t size)
{
    if (need <= *cap)
        return old;
    *cap = u32_max(*cap * 2, u32_max(need, 16));
    return mem_realloc(old, *cap * size);
}

bool notify_begin(struct request *rq)
{
    struct shard *sh = rq->sh;
    struct notify *n = sh->notify;

    if (rq->cmd->key_specs_count == 0 || !pubsub_anybody(sh) ||
        command_keys(rq->cmd, rq->argc, rq->argv, &n->keys) != 0)
        return false;
    n->types = grown(n->types, &n->types_cap, n->keys.count, sizeof(*n->types));
    for (uint32_t i = 0; i < n->keys.count; i++) {
        const struct ks_key key = req_key(rq, n->keys.key[i].pos);
        n->types[i] = ks_type(rq->ks, &key, rq->now_ms);
    }
    n->touched_count = 0;
    n->active = true;
    return true;
}

void notify_touch(struct notify *n, const struct ks_key *key)
{
    if (likely(!n->active) || n->touched_count > TOUCHED_MAX ||
        (n->touched_count != 0 && n->touched[n->touched_count - 1] == key->hash))
        return;
    n->touched = grown(n->touched, &n->touched_cap, n->touched_count + 1, sizeof(*n->touched));
    n->touched[n->touched_count++] = key->hash;
}

static bool was_touched(const struct notify *n, uint64_t hash)
{
    for (uint32_t i = 0; i < n->touched_count; i++) {
        if (n->touched[i] == hash)
            return true;
    }
    return n->touched_count > TOUCHED_MAX;
}

static const struct event *event_of(const struct cmd *cmd, uint8_t spec)
{
    for (size_t i = 0; i < ARRAY_COUNT(events); i++) {
        if (events[i].cmd == cmd->id && events[i].spec == spec)
            return &events[i];
    }
    return NULL;
}

/* "lpop" or "rpop", "zpopmin" or "zpopmax". */
static void name_by_end(const struct request *rq, const struct event *e, char out[16])
{
    const struct notify *n = rq->sh->notify;
    const uint32_t at = e->arg >= 0 ? (uint32_t)e->arg : n->keys.key[n->keys.count - 1].pos + 1;
    const bool first =
        bytes_eq_nocase(rq->argv[at], "LEFT") || bytes_eq_nocase(rq->argv[at], "MIN");

    if (e->class == EVENT_ZSET)
        (void)snprintf(out, 16, "%s%s", e->name, first ? "min" : "max");
    else
        (void)snprintf(out, 16, "%c%s", first ? 'l' : 'r', e->name);
}

static bool has_word(const struct request *rq, const char *word)
{
    for (uint32_t i = 2; i < rq->argc; i++) {
        if (bytes_eq_nocase(rq->argv[i], word))
            return true;
    }
    return false;
}

/* One key, which was changed. */
static void tell(struct request *rq, const struct event *e, const struct ks_key *key)
{
    struct shard *sh = rq->sh;
    const bool gone = ks_type(rq->ks, key, rq->now_ms) == VT_NONE;
    struct obj *obj = gone ? NULL : ks_peek(rq->ks, key, rq->now_ms);
    const bool expires = obj != NULL && ks_expire_at(obj) != 0;
    char text[16];

    switch ((enum how)e->how) {
    case HOW_PLAIN:
        notify_event(sh, e->class,
                     e->class == EVENT_ZSET && e->cmd == CMD_ID_zadd && has_word(rq, "INCR")
                         ? "zincr"
                         : e->name,
                     key->name);
        return;
    case HOW_TTL:
        notify_event(sh, e->class, e->name, key->name);
        if (expires && !has_word(rq, "KEEPTTL"))
            notify_event(sh, EVENT_GENERIC, "expire", key->name);
        return;
    case HOW_STORES:
        if (!gone)
            notify_event(sh, e->class, e->name, key->name);
        break;
    case HOW_EXPIRES:
        if (!gone)
            notify_event(sh, e->class, expires ? e->name : "persist", key->name);
        break;
    case HOW_END:
        name_by_end(rq, e, text);
        notify_event(sh, e->class, text, key->name);
        break;
    case HOW_ALWAYS:
    case HOW_REMOVES:
        notify_event(sh, e->class, e->name, key->name);
        break;
    }
    if (gone)
        notify_event(sh, EVENT_GENERIC, "del", key->name);
}

static void tell_key(struct request *rq, uint32_t i)
{
    struct notify *n = rq->sh->notify;
    const struct ks_key key = req_key(rq, n->keys.key[i].pos);

    if ((rq->cmd->flags & CMD_WRITE) == 0) {
        if (n->types[i] == VT_NONE)
            notify_event(rq->sh, EVENT_MISS, "keymiss", key.name);
        return;
    }
    const struct event *e = event_of(rq->cmd, n->keys.key[i].spec);
    if (e == NULL)
        return;
    if (!was_touched(n, key.hash) && (e->how != HOW_ALWAYS || n->types[i] != VT_LIST))
        return;
    if (n->types[i] == VT_NONE && ks_type(rq->ks, &key, rq->now_ms) != VT_NONE)
        notify_event(rq->sh, EVENT_NEW, "new", key.name);
    tell(rq, e, &key);
}

void notify_end(struct request *rq)
{
    struct notify *n = rq->sh->notify;
    /* Of a move within lists the push is told first. */
    const bool backward = (rq->cmd->acl & ACL_LIST) != 0 && rq->cmd->key_specs_count == 2;

    n->active = false;
    /* What has to wait has changed nothing, but for this one. */
    if (rq->parked && rq->cmd->id != CMD_ID_migrate)
        return;
    for (uint32_t i = 0; i < n->keys.count; i++)
        tell_key(rq, backward ? n->keys.count - 1 - i : i);
}

/* --- ops of other members --- */

static void tell_element(struct shard *sh, const struct ks_key *key, const struct op *op)
{
    const bool set = op->kind == OP_ELEM_SET, del = op->kind == OP_ELEM_DEL;

    switch (op->type) {
    case VT_LIST: /* Where it was pushed or popped is not known. */
        notify_event(sh, EVENT_LIST, del ? "lrem" : "rpush", key->name);
        return;
    case VT_SET:
        notify_event(sh, EVENT_SET, del ? "srem" : "sadd", key->name);
        return;
    case VT_ZSET:
        notify_event(sh, EVENT_ZSET, del ? "zrem" : set ? "zadd" : "zincr", key->name);
        return;
    case VT_HASH:
        notify_event(sh, EVENT_HASH, del ? "hdel" : set ? "hset" : "hincrby", key->name);
        return;
    default:
        return;
    }
}

void notify_remote(struct shard *sh, const struct ks_key *key, const struct op *op)
{
    if (likely(sh->cfg->notify_keyspace_events == 0))
        return;
    switch (op->kind) {
    case OP_SET:
    case OP_STRING: /* With the chunks and bits of its batch, which say nothing. */
        notify_event(sh, EVENT_STRING, "set", key->name);
        return;
    case OP_DEL:
        notify_event(sh, EVENT_GENERIC, "del", key->name);
        return;
    case OP_INCR:
        notify_event(sh, EVENT_STRING, "incrby", key->name);
        return;
    case OP_EXPIRE:
        notify_event(sh, EVENT_GENERIC, op->expire_at_ms == 0 ? "persist" : "expire", key->name);
        return;
    case OP_ELEM_SET:
    case OP_ELEM_INCR:
    case OP_ELEM_DEL:
        tell_element(sh, key, op);
        return;
    default:
        return;
    }
}
