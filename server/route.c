/* Which shard runs a command; route.h has the rules. */
#include "server/route.h"

#include "engine/space/keytab.h"

#include "server/collscan.h"
#include "server/conn.h"
#include "server/dispatch.h"
#include "server/figures.h"
#include "server/forward.h"
#include "server/monitor.h"
#include "server/node.h"
#include "server/pubsub.h"
#include "server/scatter.h"
#include "server/shard.h"
#include "server/txn.h"

/* What covers the node. */
#define NODE_FLAGS (CMD_EVERY_SHARD | CMD_FIRST_SHARD | CMD_FIGURES | CMD_ANY_SHARD)

/* Where the keys of a command are. */
struct where {
    uint32_t owner; /* Of the first. */
    bool any;       /* It names keys. */
    bool one_slot;
    bool one_shard;
};

static struct where where_is(const struct shard *sh, uint16_t slot)
{
    return (struct where){.owner = route_shard_of(slot, sh->node->shards_count),
                          .any = true,
                          .one_slot = true,
                          .one_shard = true};
}

static struct where where_of(struct shard *sh, const struct cmd *cmd, uint32_t argc,
                             const struct bytes *argv)
{
    const uint32_t n = sh->node->shards_count;
    struct where w = {.one_slot = true, .one_shard = true};
    uint16_t first = 0;

    if (likely(cmd->single_key != 0))
        return where_is(sh, key_slot(argv[cmd->single_key]));
    if (cmd->key_specs_count == 0 || command_keys(cmd, argc, argv, &sh->keys) != 0)
        return w;
    for (uint32_t i = 0; i < sh->keys.count; i++) {
        const uint16_t slot = key_slot(argv[sh->keys.key[i].pos]);
        if (!w.any) {
            w.any = true;
            w.owner = route_shard_of(slot, n);
            first = slot;
        }
        w.one_slot = w.one_slot && slot == first;
        w.one_shard = w.one_shard && route_shard_of(slot, n) == w.owner;
    }
    return w;
}

static enum route_result cross_slot(struct conn *c, const struct cmd *cmd)
{
    reply_err_crossslot(&c->out);
    dispatch_reject(c, cmd);
    return ROUTE_DONE;
}

/* Until all replies before it are there. */
static enum route_result wait_for_replies(struct conn *c)
{
    forward_wait(c);
    return ROUTE_WAIT;
}

static void note(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    if (unlikely(node_monitored(c->sh->node)) && cmd->id != CMD_ID_exec)
        monitor_show(c, cmd, rc->argc, rc->argv);
    c->last_cmd = cmd;
    c->commands++;
}

static enum route_result to_owner(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc,
                                  uint32_t owner)
{
    if (owner == c->sh->id && !forward_busy(c, owner))
        return ROUTE_HERE;
    if (forward_full(c))
        return wait_for_replies(c);
    note(c, cmd, rc);
    scatter_one(c, rc, owner);
    return ROUTE_DONE;
}

/* --- transactions --- */

/* The transaction is on `owner` from now on; false if it is elsewhere. */
static bool txn_bind(struct conn *c, uint32_t owner)
{
    struct txn *txn = txn_of(c);

    if (txn->shard == TXN_NO_SHARD)
        txn->shard = owner;
    return txn->shard == owner;
}

/* What is queued runs on one shard. */
static enum route_result queued(struct conn *c, const struct cmd *cmd, const struct where *w)
{
    const bool publishes = cmd->id == CMD_ID_publish || cmd->id == CMD_ID_spublish;
    const bool of_node = (cmd->flags & (NODE_FLAGS | CMD_PUBSUB)) != 0 && !publishes;

    if (of_node && c->sh->node->shards_count > 1) {
        reply_error(&c->out, "ERR %s covers all shards and is not possible within MULTI",
                    cmd->name);
        dispatch_reject(c, cmd);
        return ROUTE_DONE;
    }
    if (!w->any)
        return ROUTE_HERE;
    if (!w->one_shard || (!w->one_slot && (cmd->flags & CMD_SPANS_SHARDS) == 0) ||
        !txn_bind(c, w->owner))
        return cross_slot(c, cmd);
    return ROUTE_HERE;
}

/* The queue may change the session: AUTH, HELLO, CLIENT REPLY and so on. */
static bool of_session(const struct txn *txn)
{
    for (uint32_t i = 0; i < txn->cmds_count; i++) {
        if ((txn->cmds[i].cmd->acl & ACL_CONNECTION) != 0)
            return true;
    }
    return false;
}

/* The queue goes to the agent, which may hold the watches; it ends the transaction. */
static enum route_result hand_over(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    const uint32_t owner = c->txn->shard;
    const bool session = cmd->id == CMD_ID_exec && of_session(c->txn);

    note(c, cmd, rc);
    txn_hand_over(c, forward_agent(c, owner));
    forward_pin(c, owner, false);
    const uint8_t reply_mode = c->reply_mode;
    struct forward_slot *slot = forward_slot_add(c, NULL);
    slot->session = session;
    if (session) {
        /* Its queue may change this: what is not replied is left out there. */
        slot->silent = false;
        c->reply_mode = reply_mode;
    }
    forward_put(c, slot, 0, owner, rc->argc, rc->argv);
    /* What follows is run, and replied to, in the session that it leaves. */
    c->fw->exclusive = session;
    return ROUTE_DONE;
}

static enum route_result watch(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc,
                               const struct where *w)
{
    if (txn_active(c))
        return ROUTE_HERE; /* An error. */
    if (!w->one_shard || !txn_bind(c, w->owner))
        return cross_slot(c, cmd);
    if (w->owner == c->sh->id)
        return ROUTE_HERE;
    forward_pin(c, w->owner, true);
    return to_owner(c, cmd, rc, w->owner);
}

static enum route_result transaction(struct conn *c, const struct cmd *cmd,
                                     const struct resp_cmd *rc, const struct where *w)
{
    if (forward_pending(c) || forward_releases(c))
        return wait_for_replies(c);
    if (cmd->id == CMD_ID_watch)
        return watch(c, cmd, rc, w);
    if (c->txn == NULL || c->txn->shard == TXN_NO_SHARD || c->txn->shard == c->sh->id)
        return ROUTE_HERE;
    if (cmd->id == CMD_ID_exec || cmd->id == CMD_ID_discard)
        return c->txn->active ? hand_over(c, cmd, rc) : ROUTE_HERE;
    if (cmd->id != CMD_ID_unwatch)
        return ROUTE_HERE;
    const uint32_t owner = c->txn->shard;
    c->txn->shard = TXN_NO_SHARD;
    forward_pin(c, owner, false);
    return to_owner(c, cmd, rc, owner);
}

/* --- without keys --- */

/* The shard where a walk goes on. */
static uint32_t scan_owner(const struct conn *c, struct bytes text)
{
    uint64_t cursor;

    if (!collscan_parse_cursor(text, &cursor))
        return c->sh->id; /* An error. */
    const uint64_t slot = u64_min(cursor >> KEYTAB_CURSOR_HASH_BITS, KEY_SLOTS - 1);
    return route_shard_of((uint16_t)slot, c->sh->node->shards_count);
}

/* A shard by its share of the keys. */
static uint32_t random_owner(const struct conn *c)
{
    const struct node *node = c->sh->node;
    uint64_t keys = 0;

    for (uint32_t i = 0; i < node->shards_count; i++)
        keys += shard_keys(node->shards[i]);
    if (keys == 0)
        return c->sh->id;
    uint64_t pick = rng_below(&c->sh->rng, keys);
    for (uint32_t i = 0; i < node->shards_count; i++) {
        const uint64_t here = shard_keys(node->shards[i]);
        if (pick < here)
            return i;
        pick -= here;
    }
    return c->sh->id;
}

static enum route_result any_shard(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    static const char *const debug_all[] = {"sleep", "set-active-expire", "reload", "loadaof"};

    if (cmd->id == CMD_ID_scan)
        return to_owner(c, cmd, rc, scan_owner(c, rc->argv[1]));
    if (cmd->id == CMD_ID_randomkey)
        return to_owner(c, cmd, rc, random_owner(c));
    /* DEBUG */
    if (rc->argc > 2 &&
        (bytes_eq_nocase(rc->argv[1], "object") || bytes_eq_nocase(rc->argv[1], "diverge")))
        return to_owner(c, cmd, rc,
                        route_shard_of(key_slot(rc->argv[2]), c->sh->node->shards_count));
    for (size_t i = 0; i < sizeof(debug_all) / sizeof(debug_all[0]); i++) {
        if (bytes_eq_nocase(rc->argv[1], debug_all[i])) {
            note(c, cmd, rc);
            scatter_all(c, cmd, rc);
            c->fw->exclusive = true;
            return ROUTE_DONE;
        }
    }
    return ROUTE_HERE;
}

/* PUBLISH: every shard, if another one has listeners. */
static enum route_result to_listeners(struct conn *c, const struct cmd *cmd,
                                      const struct resp_cmd *rc)
{
    if (!pubsub_elsewhere(c->sh, cmd->id == CMD_ID_publish ? PUBSUB_CHANNEL : PUBSUB_SHARD))
        return ROUTE_HERE;
    note(c, cmd, rc);
    scatter_all(c, cmd, rc);
    return ROUTE_DONE;
}

static enum route_result keyless(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    if (forward_pending(c))
        return wait_for_replies(c);
    if (cmd->id == CMD_ID_reset && c->txn != NULL && c->txn->shard != TXN_NO_SHARD)
        forward_release(c, c->txn->shard);
    if ((cmd->flags & (NODE_FLAGS | CMD_PUBSUB)) == 0 || c->sh->node->shards_count == 1)
        return ROUTE_HERE;
    if ((cmd->flags & CMD_FIGURES) != 0)
        return figures_ready(c, rc) ? ROUTE_HERE : ROUTE_WAIT;
    if (cmd->id == CMD_ID_publish || cmd->id == CMD_ID_spublish)
        return to_listeners(c, cmd, rc);
    if ((cmd->flags & CMD_ANY_SHARD) != 0)
        return any_shard(c, cmd, rc);
    if ((cmd->flags & NODE_FLAGS) == 0)
        return ROUTE_HERE; /* Subscriptions stand at home. */
    note(c, cmd, rc);
    if ((cmd->flags & CMD_EVERY_SHARD) != 0)
        scatter_all(c, cmd, rc);
    else
        scatter_one(c, rc, 0);
    /* What follows sees its effect on every shard. */
    c->fw->exclusive = true;
    return ROUTE_DONE;
}

/* Nothing of the connection runs beside it, at whatever shard, while it may wait. */
static enum route_result blocking(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc,
                                  const struct where *w)
{
    enum route_result result = ROUTE_DONE;

    if (forward_pending(c))
        return wait_for_replies(c);
    if (w->one_shard) {
        result = to_owner(c, cmd, rc, w->owner);
    } else {
        note(c, cmd, rc);
        scatter_migrate(c, cmd, rc);
    }
    if (result != ROUTE_DONE)
        return result;
    forward_set_blocking(c);
    if (c->ended)
        forward_ended(c);
    return result;
}

/* A last key without its value is an error, which any shard can reply. */
static bool keys_whole(const struct cmd *cmd, const struct resp_cmd *rc)
{
    const uint32_t step = (uint32_t)cmd->key_step, words = (uint32_t)rc->argc - 1;

    return words % step == 0;
}

enum route_result route(struct conn *c, const struct resp_cmd *rc, const struct dispatch_plan *plan)
{
    const struct cmd *cmd = plan->cmd;
    const struct where w = plan->key_at != 0 ? where_is(c->sh, plan->key.slot)
                                             : where_of(c->sh, cmd, rc->argc, rc->argv);

    if (forward_exclusive(c))
        return wait_for_replies(c);
    if (txn_active(c) && !dispatch_runs_in_multi(cmd))
        return queued(c, cmd, &w);
    if ((cmd->acl & ACL_TRANSACTION) != 0)
        return transaction(c, cmd, rc, &w);
    if (!w.any)
        return keyless(c, cmd, rc);
    if (!w.one_slot && (cmd->flags & CMD_SPANS_SHARDS) == 0)
        return cross_slot(c, cmd);
    if (unlikely((cmd->flags & (CMD_BLOCKING | CMD_WAITS)) != 0))
        return blocking(c, cmd, rc, &w);
    if (w.one_shard || !keys_whole(cmd, rc))
        return to_owner(c, cmd, rc, w.owner);
    if (forward_full(c))
        return wait_for_replies(c);
    note(c, cmd, rc);
    scatter_keys(c, cmd, rc);
    return ROUTE_DONE;
}

bool route_is_here(struct shard *sh, const struct cmd *cmd, const struct resp_cmd *rc)
{
    const struct where w = where_of(sh, cmd, rc->argc, rc->argv);

    return w.any && w.one_shard && w.owner == sh->id;
}
