/*
 * FLUSHALL and FLUSHDB.
 *
 * Few keys, all of them hot, are deleted one by one, in one batch of the log. Else the shard gets a
 * new, empty store whose covered position says that it has everything up to now; what the log
 * holds before is thereby without effect. In between the command waits, in this order, until the
 * new store is open, the log is durable and nothing is on its way to or from the old one. Within
 * MULTI EXEC waits for that before it begins; what the transaction has changed before is not
 * logged.
 */
#include "server/conn.h"
#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/tracking.h"
#include "server/txn.h"

/* False after an error reply. */
static bool options_ok(struct request *rq)
{
    if (rq->argc == 1 || (rq->argc == 2 && (req_is(rq, 1, "ASYNC") || req_is(rq, 1, "SYNC"))))
        return true;
    reply_err_syntax(rq->out);
    return false;
}

static void flush_generic(struct request *rq)
{
    char why[512] = "";

    if (!options_ok(rq))
        return;
    rq->sh->tracking->muted = true;
    rq->sh->reclaims = true;
    const enum shard_flush result = shard_flush_all(rq->sh, rq->nested, why, sizeof(why));
    rq->sh->reclaims = false;
    rq->sh->tracking->muted = false;
    if (result != SHARD_FLUSH_WAIT && !rq->nested)
        shard_flush_cancel(rq->sh);
    switch (result) {
    case SHARD_FLUSH_DONE:
        watch_touch_all(rq->sh->watches);
        tracking_flushed(rq->sh);
        reply_ok(rq->out);
        return;
    case SHARD_FLUSH_WAIT:
        rq->parked = true;
        rq->sh->flush_conn = rq->conn;
        shard_retry_next_turn(rq->sh, rq->conn);
        return;
    case SHARD_FLUSH_FAILED:
        reply_error(rq->out, "ERR %s", why);
        return;
    }
}

void cmd_flushall(struct request *rq)
{
    flush_generic(rq);
}

void cmd_flushdb(struct request *rq)
{
    flush_generic(rq);
}
