/* MOVED and CROSSSLOT; cluster_route.h has the rules. */
#include "server/cluster_route.h"

#include "server/cluster.h"
#include "server/command.h"
#include "server/conn.h"
#include "server/dispatch.h"
#include "server/figures.h"
#include "server/forward.h"
#include "server/node.h"
#include "server/scatter.h"
#include "server/shard.h"
#include "server/txn.h"

#define NO_SLOT KEY_SLOTS

/* The slots of keys that were seen so far. */
struct slots {
    uint32_t first; /* NO_SLOT: none yet. */
    bool several;
};

static void see(struct slots *s, struct bytes key)
{
    const uint32_t slot = key_slot(key);

    if (s->first == NO_SLOT)
        s->first = slot;
    s->several |= slot != s->first;
}

/* The names of shard channels stand where keys would. */
static void see_channels(struct slots *s, const struct cmd_key_spec *spec, uint32_t argc,
                         const struct bytes *argv)
{
    const uint32_t first = (uint32_t)spec->index;
    const uint32_t end = spec->last < 0 ? argc : first + 1;

    for (uint32_t i = first; i < end && i < argc; i++)
        see(s, argv[i]);
}

static void see_command(struct slots *s, struct shard *sh, const struct cmd *cmd, uint32_t argc,
                        const struct bytes *argv)
{
    if (cmd->key_specs_count == 0)
        return;
    if ((cmd->key_specs[0].flags & KEY_NOT_KEY) != 0) {
        see_channels(s, cmd->key_specs, argc, argv);
        return;
    }
    if (command_keys(cmd, argc, argv, &sh->keys) != 0)
        return; /* The handler reports it. */
    for (uint32_t i = 0; i < sh->keys.count; i++)
        see(s, argv[sh->keys.key[i].pos]);
}

/* EXEC: what it would run. */
static void see_queue(struct slots *s, struct conn *c)
{
    for (uint32_t i = 0; i < c->txn->cmds_count; i++) {
        const struct txn_cmd *q = &c->txn->cmds[i];
        see_command(s, c->sh, q->cmd, q->argc, q->argv);
    }
}

/* The error was replied. */
static enum route_result refused(struct conn *c, const struct cmd *cmd)
{
    if (cmd->id == CMD_ID_exec) {
        txn_reset(c);
        c->sh->stats.cmd[cmd->id].rejected_calls++;
    } else {
        dispatch_reject(c, cmd);
    }
    return ROUTE_DONE;
}

static enum route_result moved(struct conn *c, const struct cmd *cmd, uint32_t slot)
{
    const uint32_t owner = route_shard_of((uint16_t)slot, c->sh->node->shards_count);
    char host[CLUSTER_HOST_BYTES];

    if (likely(owner == c->sh->id))
        return ROUTE_HERE;
    cluster_endpoint(c, host);
    reply_error(&c->out, "MOVED %u %s:%u", slot, host, cluster_announced_port(c->sh->cfg, owner));
    return refused(c, cmd);
}

static enum route_result of_process(struct conn *c, const struct cmd *cmd,
                                    const struct resp_cmd *rc)
{
    if (txn_active(c)) {
        reply_error(&c->out, "ERR %s is about the whole process and is not possible within MULTI",
                    cmd->name);
        return refused(c, cmd);
    }
    if ((cmd->flags & CMD_FIGURES) != 0)
        return figures_ready(c, rc) ? ROUTE_HERE : ROUTE_WAIT;
    c->last_cmd = cmd;
    c->commands++;
    scatter_one(c, rc, 0);
    /* What follows sees its effect. */
    c->fw->exclusive = true;
    return ROUTE_DONE;
}

enum route_result cluster_route(struct conn *c, const struct resp_cmd *rc,
                                const struct dispatch_plan *plan)
{
    const struct cmd *cmd = plan->cmd;
    struct slots s = {.first = NO_SLOT};

    if (unlikely(forward_pending(c))) {
        forward_wait(c);
        return ROUTE_WAIT;
    }
    if (likely(plan->key_at != 0))
        return moved(c, cmd, plan->key.slot);
    if (cmd->id == CMD_ID_exec && txn_active(c))
        see_queue(&s, c);
    else
        see_command(&s, c->sh, cmd, rc->argc, rc->argv);
    if (s.several) {
        reply_err_crossslot(&c->out);
        return refused(c, cmd);
    }
    if (s.first != NO_SLOT)
        return moved(c, cmd, s.first);
    if ((cmd->flags & (CMD_FIRST_SHARD | CMD_FIGURES)) != 0 && c->sh->node->shards_count > 1)
        return of_process(c, cmd, rc);
    return ROUTE_HERE;
}
