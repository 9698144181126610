/* FUNCTION FLUSH: there are no functions, hence nothing is left after it. */
#include "server/handlers.h"
#include "server/request.h"

void cmd_function_flush(struct request *rq)
{
    if (rq->argc > 3) {
        reply_err_subcommand_syntax(rq->out, rq->argv);
        return;
    }
    if (rq->argc == 3 && !req_is(rq, 2, "SYNC") && !req_is(rq, 2, "ASYNC")) {
        reply_error(rq->out, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
        return;
    }
    reply_ok(rq->out);
}
