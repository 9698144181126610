/* Transactions: the handlers of MULTI, EXEC, DISCARD, WATCH and UNWATCH. */
#include "engine/base/err.h"

#include "replication/mutate.h"

#include "server/acl.h"
#include "server/conn.h"
#include "server/dispatch.h"
#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/txn.h"

#define QUEUED_BYTES     (1u << 20)
#define QUEUED_ARG_BYTES 64u

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

/*
 * Whether what a queued command logs fits behind what those before it have logged, which nobody
 * could foresee as a whole; else it gets an error. Beside its arguments, each with the name of its
 * key, it may log a few elements (a pop), or a short value once more.
 */
static bool fits(struct request *rq)
{
    const size_t key = rq->cmd->single_key == 0 ? 0 : rq->argv[rq->cmd->single_key].len;
    size_t len = QUEUED_BYTES;

    if ((rq->cmd->flags & CMD_WRITE) == 0)
        return true;
    for (uint32_t i = 1; i < rq->argc; i++)
        len += rq->argv[i].len + key + QUEUED_ARG_BYTES;
    if (mut_room(rq->mut, len) != -ERR_LIMIT)
        return true; /* The dispatcher has asked the log. */
    req_log_full(rq, -ERR_LIMIT);
    return false;
}

/* CLIENT REPLY in the queue holds from there on: the number of replies stands before it. */
static void run_queue(struct request *rq, const struct txn *txn)
{
    struct conn *c = rq->conn;
    size_t before = rq->out->out.len;
    uint64_t ended_ns = 0;

    txn_unwatch(c);
    reply_array(rq->out, txn->cmds_count);
    dispatch_silence(c, before);
    for (uint32_t i = 0; i < txn->cmds_count; i++) {
        struct request inner = *rq;
        inner.nested = true;
        inner.cmd = txn->cmds[i].cmd;
        inner.argv = txn->cmds[i].argv;
        inner.argc = txn->cmds[i].argc;
        before = rq->out->out.len;
        if (acl_admits_queued(c, &txn->cmds[i]) && fits(&inner)) {
            ended_ns = dispatch_queued(&inner, ended_ns);
            rq->sh->stats.commands++;
        }
        dispatch_silence(c, before);
    }
}

/* All keys of all queued commands are resident: the dispatcher has seen to that. */
void cmd_exec(struct request *rq)
{
    struct conn *c = rq->conn;
    const size_t before = rq->out->out.len;
    const bool active = txn_active(c);
    struct txn *txn = c->txn;

    if (active && !txn->failed && !txn->dirty && !txn_expired(c, rq->now_ms)) {
        if (!may_begin(rq, txn))
            return;
        run_queue(rq, txn);
    } else {
        if (!active)
            reply_err_exec_no_multi(rq->out);
        else if (txn->failed)
            reply_err_execabort(rq->out);
        else
            reply_null_array(rq->out);
        dispatch_silence(c, before);
    }
    if (!active)
        return;
    if (rq->sh->flush_conn == c)
        shard_flush_cancel(rq->sh);
    txn_reset(c);
}
