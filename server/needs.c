/* What a command needs to be in DRAM; needs.h. */
#include "server/needs.h"

#include "engine/base/err.h"

#include "engine/space/ahead.h"
#include "engine/space/group.h"
#include "engine/space/resident.h"

#include "server/conn.h"
#include "server/dispatch.h"
#include "server/migrate.h"
#include "server/need_list.h"
#include "server/need_sort.h"
#include "server/need_zset.h"
#include "server/shard.h"
#include "server/stream.h"
#include "server/strspan.h"
#include "server/txn.h"

/*
 * Of a range of a sorted set that can be streamed as well so much is loaded at most. Each member is
 * a read of its own, and they come one after the other; streamed, it is a step of a cursor.
 */
#define PART_MEMBERS_MAX 2048u
#define PART_BYTES_MAX   (128u * PART_MEMBERS_MAX)

/* What the ks_need_* calls share. */
struct needs {
    const struct shard *sh;
    struct keyspace *ks; /* Of the shard. */
    uint64_t now_ms;
    struct ks_wait *wait;  /* NULL: look ahead only. */
    int waiting;           /* Reads under way. */
    int err;               /* What is needed does not fit into memory. */
    uint64_t moved;        /* Elements of lists that the transaction pushes and pops. */
    const struct cmd *cmd; /* What asks, and */
    uint32_t zset_parts;   /* Of sorted sets that were asked for. */
    uint32_t spec;         /* the specification of the key that is asked for. */
    bool streams;          /* What is too large can be sent while it is read. */
    bool exec;             /* Other commands run before. */
    bool pin;              /* Nothing is asked for: what is there already has to stay. */
};

/* Of a ks_need_* call. */
static void need_result(struct needs *n, int result)
{
    if (result < 0)
        n->err = result;
    else
        n->waiting += result;
}

/* It is absent already, and waits to be reclaimed. */
static bool has_expired(const struct needs *n, const struct coll *coll)
{
    return coll->expire_at_ms != 0 && coll->expire_at_ms <= n->now_ms;
}

static void need_whole(struct needs *n, const struct ks_key *key)
{
    const struct coll *coll = n->streams ? ks_peek_coll(n->ks, key) : NULL;

    if (coll != NULL && (!stream_fits(n->cmd, coll) || has_expired(n, coll)))
        return; /* All of it is there, or the key row tells that the type is wrong. */
    if (coll != NULL && stream_is_better(n->sh, n->cmd, coll))
        need_result(n, -ERR_LIMIT);
    else
        need_result(n, ks_need_whole(n->ks, key, n->wait));
}

/* A part of a list, string or sorted set, or all of another collection. */
static void need_part(struct needs *n, const struct ks_key *key, uint32_t argc,
                      const struct bytes *argv)
{
    if (strspan_is(n->cmd)) {
        const struct strspan_asked asked = {.cmd = n->cmd, .argc = argc, .argv = argv};
        need_result(n, strspan_need(n->ks, key, &asked, n->now_ms, n->wait));
        return;
    }
    const int waiting = ks_need_key(n->ks, key, n->wait);
    const struct coll *coll = ks_peek_coll(n->ks, key);

    if (waiting != 0 || coll == NULL || coll->complete || has_expired(n, coll)) {
        need_result(n, waiting);
        return;
    }
    /* A transaction that asks for more parts than a set keeps would ask for ever. */
    if (coll->type == VT_ZSET && need_zset_is_part(n->cmd) && n->zset_parts++ < ZSET_RANGES_MAX) {
        /* What is stored may be too large to be streamed: it is loaded if it can be. */
        const bool shown = n->streams && (n->cmd->flags & CMD_WRITE) == 0;
        const struct zset_asked asked = {.cmd = n->cmd,
                                         .spec = n->spec,
                                         .argc = argc,
                                         .argv = argv,
                                         .moved = n->moved,
                                         .members_max = shown ? PART_MEMBERS_MAX : 0,
                                         .bytes_max = shown ? PART_BYTES_MAX : 0};
        need_result(n, need_zset(n->ks, key, coll, &asked, n->wait));
        return;
    }
    if (coll->type != VT_LIST) {
        need_whole(n, key);
        return;
    }
    const struct list_need need = list_need(n->cmd, n->spec, argc, argv, coll, n->moved);
    need_result(n, ks_need_list(n->ks, key, need.front, need.back, n->wait));
}

static void need_subkeys(struct needs *n, const struct ks_key *key, const struct cmd_need *need,
                         uint32_t argc, const struct bytes *argv)
{
    n->waiting += ks_need_key(n->ks, key, n->wait);
    for (uint32_t i = need->first; i < need->end && i < argc; i += need->step) {
        if (argv[i].len <= KS_NAME_BYTES_MAX)
            n->waiting += ks_need_elem(n->ks, key, argv[i], n->wait);
    }
}

/* What it pops was drawn before. */
static bool has_drawn(const struct needs *n, const struct ks_key *key, uint32_t argc,
                      const struct bytes *argv)
{
    const struct coll *coll = stream_is_pop(n->cmd) ? ks_peek_coll(n->ks, key) : NULL;

    return coll != NULL && !has_expired(n, coll) &&
           stream_pops_ahead(n->sh, n->cmd, coll, argc, argv);
}

/* Some elements, all of which it takes to choose them; or too many for that. */
static void need_random(struct needs *n, const struct ks_key *key, uint32_t argc,
                        const struct bytes *argv)
{
    if (n->streams && has_drawn(n, key, argc, argv))
        return;
    if (!n->streams || stream_random_asks(n->cmd, argc, argv))
        need_whole(n, key);
    else
        n->waiting += ks_need_key(n->ks, key, n->wait);
}

/* The place of a member in the order: all of it, unless the member is absent or at a known end. */
static void need_rank(struct needs *n, const struct ks_key *key, const struct cmd_need *need,
                      uint32_t argc, const struct bytes *argv)
{
    const int before = n->waiting;
    uint64_t rank;

    /* What the commands before it do may move the member. */
    if (n->exec) {
        need_whole(n, key);
        return;
    }
    need_subkeys(n, key, need, argc, argv);
    const struct coll *coll = n->waiting != before ? NULL : ks_peek_coll(n->ks, key);
    if (coll == NULL || coll->type != VT_ZSET || has_expired(n, coll))
        return;
    const struct elem *elem = coll_find(coll, argv[need->first]);
    if (elem != NULL && !coll_zset_rank_of(coll, elem, &rank))
        need_whole(n, key);
}

/* A member's ops carry what the key row knows: that of what a command writes must be there. */
static bool must_know_key(const struct needs *n)
{
    return unlikely(ks_group_on(n->ks)) && (n->cmd->flags & CMD_WRITE) != 0;
}

static void need_one(struct needs *n, const struct cmd_need *need, const struct ks_key *key,
                     uint32_t argc, const struct bytes *argv)
{
    if (unlikely(n->pin)) {
        ks_wait_pin(n->ks, key, n->wait);
        return;
    }
    switch (need->kind) {
    case NEED_NOTHING:
        n->waiting += must_know_key(n) ? ks_need_row(n->ks, key, n->wait)
                                       : ks_need_existence(n->ks, key, n->wait);
        return;
    case NEED_KEY:
        n->waiting += ks_need_key(n->ks, key, n->wait);
        return;
    case NEED_SUBKEYS:
        need_subkeys(n, key, need, argc, argv);
        return;
    case NEED_ENDS:
    case NEED_SPAN:
        need_part(n, key, argc, argv);
        return;
    case NEED_RANK:
        need_rank(n, key, need, argc, argv);
        return;
    case NEED_RANDOM:
        need_random(n, key, argc, argv);
        return;
    case NEED_WHOLE:
        need_whole(n, key);
        return;
    case NEED_BLIND: /* Not even whether the key exists. */
        if (must_know_key(n))
            n->waiting += ks_need_row(n->ks, key, n->wait);
        return;
    case NEED_BY_SET:
    case NEED_BY_ZADD:
    case NEED_BY_GEOADD:
        break;
    }
    UNREACHABLE();
}

/* MIGRATE that has begun, which asks for one key after the other. */
static bool asks_itself(const struct needs *n, const struct cmd *cmd)
{
    return cmd->id == CMD_ID_migrate && n->wait != NULL &&
           container_of(n->wait, struct conn, wait)->migrate != NULL;
}

/* Several keys, or ones whose place depends on the arguments. */
static void need_keys(struct needs *n, struct shard *sh, const struct cmd *cmd, uint32_t argc,
                      const struct bytes *argv)
{
    struct ks_ahead ahead[KS_AHEAD_MAX];

    if (cmd->key_specs_count == 0 || asks_itself(n, cmd) ||
        command_keys(cmd, argc, argv, &sh->keys) != 0)
        return;
    for (uint32_t from = 0; from < sh->keys.count; from += KS_AHEAD_MAX) {
        const struct cmd_key *keys = &sh->keys.key[from];
        const uint32_t count = (uint32_t)u64_min(sh->keys.count - from, KS_AHEAD_MAX);
        for (uint32_t i = 0; i < count; i++)
            ahead[i] = (struct ks_ahead){.key = ks_key_of(argv[keys[i].pos], ks_seed(n->ks))};
        ks_ahead(n->ks, ahead, count);
        for (uint32_t i = 0; i < count; i++) {
            const struct cmd_need need = command_need(cmd, keys[i].spec, argc, argv);
            n->spec = keys[i].spec;
            need_one(n, &need, &ahead[i].key, argc, argv);
        }
    }
}

/* Asks for all that the command names. */
static void need_all(struct needs *n, struct shard *sh, const struct dispatch_plan *plan,
                     uint32_t argc, const struct bytes *argv)
{
    n->cmd = plan->cmd;
    n->spec = 0;
    if (likely(plan->key_at != 0))
        need_one(n, &plan->need, &plan->key, argc, argv);
    else if (n->streams && !n->pin && stream_is_of_sets(plan->cmd))
        need_result(n, stream_need_sets(sh, plan->cmd, argc, argv, n->wait));
    else
        need_keys(n, sh, plan->cmd, argc, argv);
}

/* Asks for all that the queued commands name. */
static void need_exec(struct needs *n, struct shard *sh, const struct txn *txn)
{
    uint64_t words = 0;

    for (uint32_t i = 0; i < txn->cmds_count; i++) {
        const struct txn_cmd *q = &txn->cmds[i];
        struct dispatch_plan queued = {.cmd = q->cmd};
        dispatch_plan_keys(sh, q->argc, q->argv, &queued);
        need_all(n, sh, &queued, q->argc, q->argv);
        if (unlikely(q->cmd->class == CMD_CLASS_DYNAMIC) && !n->pin)
            need_result(n, need_sort(sh, txn, i, n->wait, &words));
    }
}

bool needs_resident(struct conn *c, const struct dispatch_plan *plan, uint32_t argc,
                    const struct bytes *argv, int *err)
{
    struct shard *sh = c->sh;
    const bool exec = plan->cmd->id == CMD_ID_exec && c->txn != NULL;
    struct needs n = {.sh = sh,
                      .ks = sh->ks,
                      .now_ms = shard_now_ms(sh),
                      .wait = &c->wait,
                      .exec = exec,
                      .streams = stream_is_ready(c, plan->cmd)};

    *err = c->wait.err;
    c->wait.err = 0;
    if (*err != 0)
        return c->migrate != NULL && migrate_keeps(c, err);
    for (uint32_t i = 0; exec && i < c->txn->cmds_count; i++) {
        const struct txn_cmd *q = &c->txn->cmds[i];
        if ((q->cmd->acl & ACL_LIST) != 0)
            n.moved += list_need_moved(q->cmd, q->argc, q->argv);
        else if ((q->cmd->acl & ACL_SORTEDSET) != 0)
            n.moved += need_zset_moved(q->cmd, q->argc, q->argv);
    }
    if (exec)
        need_exec(&n, sh, c->txn);
    else
        need_all(&n, sh, plan, argc, argv);
    if (unlikely(n.err != 0)) {
        ks_wait_cancel(&c->wait);
        *err = n.err;
        return false;
    }
    if (n.waiting == 0)
        return true;
    /* The keys of it that are there must not leave while the others come. */
    n.pin = true;
    if (exec)
        need_exec(&n, sh, c->txn);
    else if (plan->key_at == 0)
        need_all(&n, sh, plan, argc, argv);
    return false;
}

void needs_ahead(struct conn *c, const struct dispatch_plan *plan, uint32_t argc,
                 const struct bytes *argv)
{
    struct shard *sh = c->sh;
    struct needs n = {.sh = sh,
                      .ks = sh->ks,
                      .now_ms = shard_now_ms(sh),
                      .streams = stream_is_ready(c, plan->cmd)};

    need_all(&n, sh, plan, argc, argv);
}
