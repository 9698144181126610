/* COMMAND. The replies are written by command_docs.h. */
#include "server/command_docs.h"
#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"

void cmd_command(struct request *rq)
{
    command_reply_info(rq->out, rq->sh->commands, rq->argc, rq->argv);
}

void cmd_command_info(struct request *rq)
{
    command_reply_info(rq->out, rq->sh->commands, rq->argc, rq->argv);
}

void cmd_command_docs(struct request *rq)
{
    command_reply_docs(rq->out, rq->sh->commands, rq->argc, rq->argv);
}

void cmd_command_count(struct request *rq)
{
    command_reply_count(rq->out, rq->sh->commands);
}

void cmd_command_list(struct request *rq)
{
    command_reply_list(rq->out, rq->sh->commands, rq->argc, rq->argv);
}

void cmd_command_getkeys(struct request *rq)
{
    command_reply_getkeys(rq->out, rq->sh->commands, rq->argc, rq->argv, false);
}

void cmd_command_getkeysandflags(struct request *rq)
{
    command_reply_getkeys(rq->out, rq->sh->commands, rq->argc, rq->argv, true);
}

void cmd_command_help(struct request *rq)
{
    command_reply_help(rq->out);
}
