/* CONFIG. The work is done by config.h and config_reply.h. */
#include "server/config_reply.h"
#include "server/conn.h"
#include "server/handlers.h"
#include "server/node.h"
#include "server/request.h"
#include "server/session.h"
#include "server/shard.h"

void cmd_config_get(struct request *rq)
{
    config_reply_get(rq->out, rq->sh->cfg, rq->argc, rq->argv);
}

void cmd_config_set(struct request *rq)
{
    config_reply_set(rq->out, rq->sh->node->cfg, session_is_local(rq->conn), rq->argc, rq->argv);
}

void cmd_config_rewrite(struct request *rq)
{
    config_reply_rewrite(rq->out, rq->sh->cfg);
}

void cmd_config_resetstat(struct request *rq)
{
    const struct node *node = rq->sh->node;

    for (uint32_t i = 0; i < node->shards_count; i++)
        stats_reset(&node->shards[i]->stats);
    reply_ok(rq->out);
}

void cmd_config_help(struct request *rq)
{
    config_reply_help(rq->out);
}
