/* Transactions: the handlers of MULTI, EXEC, DISCARD, WATCH and UNWATCH. */
#include "server/acl.h"
#include "server/conn.h"
#include "server/dispatch.h"
#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/txn.h"

void cmd_multi(struct request *rq)
{
    if (txn_active(rq->conn)) {
        reply_err_multi_nested(rq->out);
        return;
    }
    txn_of(rq->conn)->active = true;
    reply_ok(rq->out);
}

void cmd_discard(struct request *rq)
{
    if (!txn_active(rq->conn)) {
        reply_err_discard_no_multi(rq->out);
        return;
    }
    txn_reset(rq->conn);
    reply_ok(rq->out);
}

void cmd_watch(struct request *rq)
{
    if (txn_active(rq->conn)) {
        reply_err_watch_multi(rq->out);
        return;
    }
    for (uint32_t i = 1; i < rq->argc; i++) {
        const struct ks_key key = req_key(rq, i);
        txn_watch(rq->conn, &key, rq->now_ms);
    }
    reply_ok(rq->out);
}

void cmd_unwatch(struct request *rq)
{
    txn_unwatch(rq->conn);
    reply_ok(rq->out);
}

/* FLUSHALL cannot wait once the commands before it have run. */
static bool may_begin(struct request *rq, const struct txn *txn)
{
    bool flushes = false;

    for (uint32_t i = 0; i < txn->cmds_count && !flushes; i++)
        flushes = txn->cmds[i].cmd->id == CMD_ID_flushall || txn->cmds[i].cmd->id == CMD_ID_flushdb;
    if (!flushes || shard_flush_ready(rq->sh))
        return true;
    rq->sh->flush_conn = rq->conn;
    rq->parked = true;
    shard_retry_next_turn(rq->sh, rq->conn);
    return false;
}

/* All keys of all queued commands are resident: the dispatcher has seen to that. */
void cmd_exec(struct request *rq)
{
    struct conn *c = rq->conn;

    if (!txn_active(c)) {
        reply_err_exec_no_multi(rq->out);
        return;
    }
    struct txn *txn = c->txn;
    if (txn->failed) {
        reply_err_execabort(rq->out);
    } else if (txn->dirty || txn_expired(c, rq->now_ms)) {
        reply_null_array(rq->out);
    } else if (!may_begin(rq, txn)) {
        return;
    } else {
        txn_unwatch(c);
        reply_array(rq->out, txn->cmds_count);
        for (uint32_t i = 0; i < txn->cmds_count; i++) {
            struct request inner = *rq;
            inner.nested = true;
            inner.cmd = txn->cmds[i].cmd;
            inner.argv = txn->cmds[i].argv;
            inner.argc = txn->cmds[i].argc;
            if (acl_admits_queued(c, &txn->cmds[i]))
                dispatch_run(&inner);
        }
    }
    if (rq->sh->flush_conn == c)
        shard_flush_cancel(rq->sh);
    txn_reset(c);
}
