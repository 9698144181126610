/* CONFIG. The work is done by config.h and config_reply.h. */
#include "server/config_reply.h"
#include "server/config_share.h"
#include "server/conn.h"
#include "server/handlers.h"
#include "server/node.h"
#include "server/request.h"
#include "server/session.h"
#include "server/shard.h"

/* Until it is looked again whether all shards have the change. */
#define SHARE_LOOK_MS 1

void cmd_config_get(struct request *rq)
{
    config_reply_get(rq->out, rq->sh->cfg, rq->argc, rq->argv);
}

void cmd_config_set(struct request *rq)
{
    struct conn *c = rq->conn;
    struct node *node = rq->sh->node;
    const uint32_t errors = rq->out->errors_count;

    if (c->config_ticket == 0) {
        config_reply_set(rq->out, node->cfg, session_is_local(c), rq->argc, rq->argv);
        if (rq->out->errors_count != errors)
            return;
        c->config_ticket = config_share(node);
    }
    /* With several shards an agent runs this, whose reply leaves when the command has ended. */
    if (!config_shared(node, c->config_ticket)) {
        rq->parked = true;
        shard_retry_after(rq->sh, c, SHARE_LOOK_MS);
        return;
    }
    c->config_ticket = 0;
}

void cmd_config_rewrite(struct request *rq)
{
    config_reply_rewrite(rq->out, rq->sh->cfg);
}

void cmd_config_resetstat(struct request *rq)
{
    stats_reset(&rq->sh->stats);
    reply_ok(rq->out);
}

void cmd_config_help(struct request *rq)
{
    config_reply_help(rq->out);
}
