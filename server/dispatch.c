/* From a parsed command to its handler; dispatch.h gives the order of the steps. */
#include "server/dispatch.h"

#include <errno.h>

#include "engine/base/clock.h"
#include "engine/base/err.h"

#include "engine/space/group.h"
#include "engine/space/resident.h"

#include "replication/mutate.h"

#include "server/acl.h"
#include "server/blocked.h"
#include "server/cluster_route.h"
#include "server/config.h"
#include "server/conn.h"
#include "server/forward.h"
#include "server/group_refuse.h"
#include "server/group_shard.h"
#include "server/latency.h"
#include "server/migrate.h"
#include "server/monitor.h"
#include "server/needs.h"
#include "server/node.h"
#include "server/notify.h"
#include "server/pubsub.h"
#include "server/request.h"
#include "server/route.h"
#include "server/shard.h"
#include "server/slowlog.h"
#include "server/stream.h"
#include "server/tracking.h"
#include "server/txn.h"
#include "server/unblock.h"

/* The longest that a writer waits for room on flash before it is refused. */
#define GROWTH_WAIT_MS 5000
/* A writer that is held back by a stream (stream.h) is tried again after this time. */
#define HELD_BACK_MS 2
/* Arguments whose elements, each with its key, the slack of a batch has room for. */
#define FEW_ARGS 64u

/* --- the plan --- */

void dispatch_plan_keys(const struct shard *sh, uint32_t argc, const struct bytes *argv,
                        struct dispatch_plan *plan)
{
    const uint32_t at = plan->cmd->single_key;

    if (at == 0 || at >= argc || argv[at].len > KS_NAME_BYTES_MAX)
        return;
    plan->key_at = at;
    plan->need = command_need(plan->cmd, 0, argc, argv);
    plan->key = ks_key_of(argv[at], ks_seed(sh->ks));
}

void dispatch_plan(const struct shard *sh, const struct resp_cmd *rc, struct dispatch_plan *out)
{
    *out = (struct dispatch_plan){0};
    out->cmd = command_resolve(sh->commands, rc->argc, rc->argv, &out->container);
    if (unlikely(out->cmd == NULL))
        return;
    if (likely(command_is_here(out->cmd)))
        dispatch_plan_keys(sh, rc->argc, rc->argv, out);
    else
        out->cmd = NULL;
}

/* Keys and subkeys that are too long never reach the keyspace. */
static bool names_ok(struct shard *sh, const struct cmd *cmd, uint32_t argc,
                     const struct bytes *argv)
{
    if (likely(cmd->single_key != 0))
        return argv[cmd->single_key].len <= KS_NAME_BYTES_MAX;
    if (cmd->key_specs_count == 0 || command_keys(cmd, argc, argv, &sh->keys) != 0)
        return true;
    for (uint32_t i = 0; i < sh->keys.count; i++) {
        if (argv[sh->keys.key[i].pos].len > KS_NAME_BYTES_MAX)
            return false;
    }
    return true;
}

/* The flags of the command; of EXEC also those of what it runs. */
static uint32_t flags_of(const struct conn *c, const struct cmd *cmd)
{
    uint32_t flags = cmd->flags;

    if (likely(cmd->id != CMD_ID_exec) || c->txn == NULL)
        return flags;
    for (uint32_t i = 0; i < c->txn->cmds_count; i++)
        flags |= c->txn->cmds[i].cmd->flags;
    return flags;
}

/* --- refusals --- */

/* For CLIENT LIST: also what is refused or queued. A client that waits elsewhere shows for what. */
static void note_last(struct conn *c, const struct cmd *cmd)
{
    if (c->fw == NULL || !c->fw->blocking)
        c->last_cmd = cmd;
}

void dispatch_reject(struct conn *c, const struct cmd *cmd)
{
    note_last(c, cmd);
    if (cmd != NULL)
        c->sh->stats.cmd[cmd->id].rejected_calls++;
    if (c->sh->flush_conn == c)
        shard_flush_cancel(c->sh);
    migrate_drop(c);
    /* A refused EXEC ends the transaction: what follows is meant to run, not to be queued. */
    if (cmd != NULL && cmd->id == CMD_ID_exec) {
        if (c->txn != NULL && c->txn->shard != TXN_NO_SHARD && !c->is_agent)
            forward_release(c, c->txn->shard);
        txn_reset(c);
        reply_execabort_because(&c->out);
    } else {
        txn_fail(c);
    }
}

/* What is to be done about a value that is too large to be loaded. */
static const char *too_large(const struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    if (stream_could(c, cmd, rc))
        return "the value is larger than a quarter of maxmemory, and would be sent while it is "
               "read, but too many are read in that way already; try again";
    if (cmd->id == CMD_ID_exec)
        return "a value is larger than a quarter of maxmemory; read it in parts, or not within "
               "MULTI";
    if ((cmd->flags & CMD_WRITE) != 0)
        return "the command needs more of a value in DRAM than a quarter of maxmemory; ask "
               "for less at a time";
    return "the value is larger than a quarter of maxmemory; read it in parts";
}

static void reply_unreadable(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc,
                             int err)
{
    if (err == -ERR_LIMIT)
        reply_err_oom(&c->out, too_large(c, cmd, rc));
    else if (err == -ERR_CLOSED)
        reply_error(&c->out,
                    "ERR the flash tier could not be opened again after an error: %s; that is "
                    "tried again, see store_status in INFO tiering",
                    c->sh->mend.why);
    else
        reply_error(
            &c->out,
            "ERR a row of this key cannot be read from flash: %s; run tierra-inspect verify",
            err_str(err));
}

/* Whether the log takes a write now; else replies or parks. */
static bool log_ready(struct conn *c, const struct cmd *cmd, size_t len, bool *parked)
{
    const int err = mut_check(c->sh->mut, len);

    if (likely(err == 0))
        return true;
    if (err == -ERR_BUSY) {
        *parked = true;
        shard_retry_next_turn(c->sh, c);
        return false;
    }
    const char *why = NULL;
    if (oplog_fenced(c->sh->log, &why))
        reply_error(&c->out,
                    "MISCONF the op log failed (%s); no writes until a restart. Writes without a "
                    "reply are unknown, not failed",
                    why);
    else if (err == -ENOSPC)
        reply_err_oom(&c->out, "no space left on the device for the op log");
    else
        reply_error(&c->out, "ERR the command is too large for one record of the op log");
    dispatch_reject(c, cmd);
    return false;
}

static void refuse_growth(struct conn *c, enum node_growth growth, const char *why)
{
    if (growth == NODE_GROWTH_FAILED) {
        reply_error(&c->out,
                    "MISCONF Errors writing to the flash tier: %s; commands that grow the data are "
                    "refused until it takes writes again",
                    why);
        return;
    }
    c->sh->stats.refused_memory++;
    reply_err_oom(&c->out, why);
}

/* Memory and flash fuses, and the delay of writers. */
static bool fuses_ok(struct conn *c, const struct cmd *cmd, size_t bytes, bool *parked)
{
    const char *why = NULL;
    uint32_t delay_ms = 0;

    /*
     * Once is enough: what waits for reads now counts for the pace already, and would wait for
     * memory that its own pins may keep from being freed.
     */
    if (c->admitted)
        return true;
    const enum node_growth growth = node_growth(c->sh, bytes, &why, &delay_ms);
    switch (growth) {
    case NODE_GROWTH_OK:
        c->admitted = true;
        return true;
    case NODE_GROWTH_SLOW:
        c->admitted = true;
        *parked = true;
        c->sh->stats.delayed++;
        shard_retry_after(c->sh, c, delay_ms);
        return false;
    case NODE_GROWTH_LATER:
        c->growth_since_ms = reactor_now_ms(c->sh->reactor);
        FALLTHROUGH;
    case NODE_GROWTH_WAIT:
        if (c->growth_since_ms == 0)
            c->growth_since_ms = reactor_now_ms(c->sh->reactor);
        if (reactor_now_ms(c->sh->reactor) - c->growth_since_ms > GROWTH_WAIT_MS)
            break;
        c->sh->stats.delayed += !c->delayed;
        c->delayed = true;
        *parked = true;
        shard_retry_after(c->sh, c, delay_ms);
        return false;
    case NODE_GROWTH_REFUSED:
    case NODE_GROWTH_FAILED:
        break;
    }
    refuse_growth(c, growth, why);
    dispatch_reject(c, cmd);
    return false;
}

static size_t request_bytes(const struct resp_cmd *rc, const struct conn *c)
{
    return rc->consumed + 64u * (size_t)rc->argc + (c->txn != NULL ? c->txn->bytes : 0);
}

/*
 * What the command logs, roughly from above: the name of its key goes with each element. Of few
 * there is always room.
 */
static size_t log_bytes(const struct resp_cmd *rc, const struct dispatch_plan *plan,
                        const struct conn *c)
{
    const size_t bytes = request_bytes(rc, c);

    if (likely(rc->argc <= FEW_ARGS) || plan->key_at == 0)
        return bytes;
    return bytes + (size_t)rc->argc * plan->key.name.len;
}

/* In a group: what it has no use for, and what the member cannot do now. */
static bool group_admits(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    const struct group_shard *gs = c->sh->group;
    const uint32_t flags = flags_of(c, cmd);
    const char *why = group_forbids(cmd);

    if (why == NULL && unlikely(rc->consumed > MUT_ELEM_BYTES_MAX))
        why = group_forbids_args(cmd, rc->argc, rc->argv);
    if (why != NULL) {
        reply_error(&c->out, "ERR %s", why);
    } else {
        if ((flags & CMD_WRITE) != 0)
            why = group_shard_refusal(gs);
        if (why == NULL && (flags & (CMD_WRITE | CMD_READONLY)) != 0)
            why = group_shard_read_refusal(gs);
        if (why != NULL)
            reply_error(&c->out, "%s %s", group_shard_is_new(gs) ? "LOADING" : "READONLY", why);
    }
    if (why == NULL)
        return true;
    dispatch_reject(c, cmd);
    return false;
}

/* By a subscriber that speaks RESP2, and cannot tell replies from messages. */
static bool possible_while_listening(const struct cmd *cmd)
{
    switch (cmd->id) {
    case CMD_ID_subscribe:
    case CMD_ID_psubscribe:
    case CMD_ID_ssubscribe:
    case CMD_ID_unsubscribe:
    case CMD_ID_punsubscribe:
    case CMD_ID_sunsubscribe:
    case CMD_ID_ping:
    case CMD_ID_quit:
    case CMD_ID_reset:
        return true;
    default:
        return false;
    }
}

/* Replies the error of a command that is unknown, or which only Redis has. */
static void refuse_unknown(struct conn *c, const struct resp_cmd *rc, bool container)
{
    const struct cmd *named = command_resolve(c->sh->commands, rc->argc, rc->argv, NULL);

    /* Users are judged by the rules on its name first. */
    if (named != NULL && command_arity_ok(named, rc->argc) && c->gate != 0 && !c->is_agent &&
        !acl_admits(c, named, rc->argc, rc->argv))
        return;
    if (container)
        reply_err_unknown_subcommand(&c->out, rc->argv);
    else
        reply_err_unknown_command(&c->out, rc->argc, rc->argv);
    dispatch_reject(c, NULL);
}

/* Whether there is such a command, with so many arguments. */
static bool well_formed(const struct cmd *cmd, const struct resp_cmd *rc)
{
    return cmd != NULL && command_arity_ok(cmd, rc->argc) && cmd->fn != NULL;
}

static void refuse_malformed(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc,
                             bool container)
{
    if (cmd == NULL) {
        refuse_unknown(c, rc, container);
        return;
    }
    reply_err_arity(&c->out, cmd->name);
    dispatch_reject(c, cmd);
}

/* An EXEC under way at another shard may say who the client is, and whether it wants replies. */
static bool waits_for_exec(struct conn *c)
{
    if (c->is_agent || !forward_exclusive(c))
        return false;
    forward_wait(c);
    return true;
}

/* Who may run it, and when; after false the error was replied. */
static bool admitted(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    if (unlikely(c->gate != 0) && !c->is_agent && !c->allowed) {
        if (!acl_admits(c, cmd, rc->argc, rc->argv))
            return false;
        c->allowed = true;
    }
    if (unlikely(c->pubsub != NULL) && c->out.proto == 2 && pubsub_listens(c) &&
        !possible_while_listening(cmd)) {
        reply_error(&c->out,
                    "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT "
                    "/ RESET are allowed in this context",
                    cmd->name);
        dispatch_reject(c, cmd);
        return false;
    }
    if (unlikely(!names_ok(c->sh, cmd, rc->argc, rc->argv))) {
        reply_err_key_too_long(&c->out);
        dispatch_reject(c, cmd);
        return false;
    }
    /* There are no replicas, hence any number that is asked for is too high. */
    if (unlikely(c->sh->cfg->min_replicas_to_write > 0) && (cmd->flags & CMD_WRITE) != 0 &&
        c->sh->cfg->min_replicas_max_lag > 0) {
        reply_error(&c->out, "NOREPLICAS Not enough good replicas to write.");
        dispatch_reject(c, cmd);
        return false;
    }
    return true;
}

/* CLIENT PAUSE; what is queued in a transaction counts at EXEC, as what is being queued. */
static bool paused(struct conn *c, const struct cmd *cmd)
{
    struct shard *sh = c->sh;
    const uint32_t writes = CMD_WRITE | CMD_MAY_REPLICATE;

    c->postponed = false;
    if (!shard_paused(sh))
        return false;
    if (!sh->pause_all && (flags_of(c, cmd) & writes) == 0)
        return false;
    c->postponed = true;
    if (sh->flush_conn == c)
        shard_flush_cancel(sh);
    const uint64_t left_ms = sh->pause_until_ms - reactor_now_ms(sh->reactor);
    shard_retry_after(sh, c, (uint32_t)u64_min(left_ms, UINT32_MAX));
    return true;
}

/* --- running --- */

static void run_handler(struct request *rq)
{
    struct cmd_stats *stats = &rq->sh->stats.cmd[rq->cmd->id];
    const uint32_t errors = rq->out->errors_count;

    if (unlikely(rq->sh->cfg->notify_keyspace_events != 0) && notify_begin(rq)) {
        rq->cmd->fn(rq);
        notify_end(rq);
    } else {
        rq->cmd->fn(rq);
    }
    if (rq->parked)
        return;
    stats->calls++;
    stats->failed_calls += rq->out->errors_count != errors;
    if (unlikely(rq->conn->tracks))
        tracking_remember(rq->sh, rq->conn, rq->cmd, rq->argc, rq->argv);
    if (unlikely(node_monitored(rq->sh->node)))
        monitor_ran(rq);
}

/* The first command of a turn began when the loop woke up; the others when the last ended. */
static uint64_t began_ns(const struct shard *sh)
{
    return u64_max(sh->stats.last_ns, reactor_now_ns(sh->reactor));
}

static ALWAYS_INLINE void account(struct conn *c, const struct cmd *cmd, uint32_t argc,
                                  const struct bytes *argv, uint64_t spent_ns)
{
    struct shard *sh = c->sh;

    sh->stats.cmd[cmd->id].ns += spent_ns;
    if (sh->cfg->latency_tracking)
        stats_latency(&sh->stats, cmd->id, spent_ns);
    latency_note(sh->latency, (cmd->flags & CMD_FAST) != 0 ? "fast-command" : "command",
                 spent_ns / 1000000, sh->cfg->latency_monitor_threshold);
    if (unlikely((int64_t)(spent_ns / 1000) >= sh->cfg->slowlog_log_slower_than) &&
        (cmd->flags & CMD_SKIP_SLOWLOG) == 0)
        slowlog_add(c, cmd, argc, argv, spent_ns / 1000);
}

uint64_t dispatch_queued(struct request *rq, uint64_t from_ns)
{
    const uint64_t from = from_ns != 0 ? from_ns : began_ns(rq->sh);

    run_handler(rq);
    const uint64_t now_ns = clock_mono_ns();
    account(rq->conn, rq->cmd, rq->argc, rq->argv, now_ns - u64_min(from, now_ns));
    return now_ns;
}

void dispatch_silence(struct conn *c, size_t before)
{
    if (unlikely((c->reply_mode & CONN_REPLY_SILENT) != 0) && !c->out.failed &&
        c->out.out.len >= before)
        buf_truncate(&c->out.out, before);
}

/* A command has ended: CLIENT REPLY SKIP begins with the next one, or has had its effect. */
static void next_reply_mode(struct conn *c)
{
    const bool skip = (c->reply_mode & CONN_REPLY_SKIP_NEXT) != 0;

    c->reply_mode = (uint8_t)((c->reply_mode & CONN_REPLY_OFF) | (skip ? CONN_REPLY_SKIP : 0));
}

/* False: the handler has to wait for something. */
static bool run(struct conn *c, const struct dispatch_plan *plan, const struct resp_cmd *rc)
{
    struct shard *sh = c->sh;
    const struct cmd *cmd = plan->cmd;
    struct request rq = {.sh = sh,
                         .ks = sh->ks,
                         .mut = sh->mut,
                         .conn = c,
                         .out = &c->out,
                         .stats = &sh->stats,
                         .cmd = cmd,
                         .argv = rc->argv,
                         .argc = rc->argc,
                         .key_at = plan->key_at,
                         .key = plan->key,
                         .now_ms = shard_now_ms(sh)};
    const size_t before = c->out.out.len;
    struct conn *const around = sh->current;

    c->last_cmd = cmd;
    sh->current = c;
    mut_begin(sh->mut, rq.now_ms);
    run_handler(&rq);
    (void)mut_end(sh->mut);
    sh->current = around;
    if (rq.parked)
        return false;
    c->commands++;
    sh->stats.commands++;
    sh->stats.key_commands += cmd->key_specs_count != 0 || c->waited;
    sh->stats.flash_commands += c->waited;
    c->waited = false;
    if (unlikely(c->reply_mode != CONN_REPLY_ON)) {
        /* EXEC has left out what is not replied of each command in it. */
        if (cmd->id != CMD_ID_exec)
            dispatch_silence(c, before);
        next_reply_mode(c);
    }
    if (unlikely(tracking_follows(sh->tracking)))
        tracking_follow(c);
    const uint64_t now_ns = clock_mono_ns();
    const uint64_t from_ns = began_ns(sh);
    sh->stats.last_ns = now_ns;
    account(c, cmd, rc->argc, rc->argv, now_ns - u64_min(from_ns, now_ns));
    return true;
}

bool dispatch_runs_in_multi(const struct cmd *cmd)
{
    return cmd->id == CMD_ID_exec || cmd->id == CMD_ID_discard || cmd->id == CMD_ID_multi ||
           cmd->id == CMD_ID_watch || cmd->id == CMD_ID_quit || cmd->id == CMD_ID_reset;
}

static void queue(struct conn *c, const struct cmd *cmd, const struct resp_cmd *rc)
{
    note_last(c, cmd);
    if ((cmd->flags & CMD_NO_MULTI) != 0) {
        reply_err_no_multi(&c->out);
        dispatch_reject(c, cmd);
    } else if (txn_queue(c, cmd, rc)) {
        REPLY_RAW(&c->out, "+QUEUED\r\n");
    } else {
        reply_err_oom(&c->out, "the transaction does not fit into memory");
        dispatch_reject(c, cmd);
    }
}

/* A write of a key whose reply is about to be read from flash waits for a moment. */
static bool held_back(struct conn *c, const struct dispatch_plan *plan, const struct resp_cmd *rc)
{
    if ((flags_of(c, plan->cmd) & CMD_WRITE) == 0 || !stream_holds_back(c, plan, rc))
        return false;
    shard_retry_after(c->sh, c, HELD_BACK_MS);
    return true;
}

/* The reply is sent while it is read. */
static enum dispatch_result streamed(struct conn *c, const struct dispatch_plan *plan,
                                     const struct resp_cmd *rc)
{
    struct shard *sh = c->sh;
    const uint32_t errors = c->out.errors_count;
    bool fixed = false;

    c->last_cmd = plan->cmd;
    c->waited = !stream_of_dram(c);
    const enum stream_result result = stream_step(c, plan, rc, &fixed);
    /* Changes from now on are not in the reply, long before it ends. */
    if (unlikely(fixed && c->tracks))
        tracking_remember(sh, c, plan->cmd, rc->argc, rc->argv);
    switch (result) {
    case STREAM_PARKED:
        return DISPATCH_PARKED;
    case STREAM_GONE:
        shard_retry_next_turn(sh, c);
        return DISPATCH_PARKED;
    case STREAM_RUN:
        if (!run(c, plan, rc))
            return DISPATCH_PARKED;
        stream_drop(c);
        return DISPATCH_DONE;
    case STREAM_DONE:
        break;
    }
    c->commands++;
    sh->stats.commands++;
    sh->stats.key_commands++;
    sh->stats.flash_commands += c->waited;
    sh->stats.cmd[plan->cmd->id].calls++;
    sh->stats.cmd[plan->cmd->id].failed_calls += c->out.errors_count != errors;
    c->waited = false;
    if (unlikely(node_monitored(sh->node)))
        monitor_show(c, plan->cmd, rc->argc, rc->argv);
    return DISPATCH_DONE;
}

static enum dispatch_result attempt(struct conn *c, const struct resp_cmd *rc,
                                    const struct dispatch_plan *plan)
{
    struct shard *sh = c->sh;
    bool parked = false;
    int err;
    const struct cmd *cmd = plan->cmd;

    const bool sound = well_formed(cmd, rc);
    if (unlikely(!sound || c->gate != 0) && waits_for_exec(c))
        return DISPATCH_PARKED;
    if (unlikely(!sound)) {
        refuse_malformed(c, cmd, rc, plan->container);
        return DISPATCH_DONE;
    }
    if (!admitted(c, cmd, rc))
        return DISPATCH_DONE;
    if (unlikely(sh->pause_until_ms != 0) && paused(c, cmd))
        return DISPATCH_PARKED;
    if (unlikely(sh->routes) && !c->is_agent) {
        switch (sh->cluster ? cluster_route(c, rc, plan) : route(c, rc, plan)) {
        case ROUTE_HERE:
            break;
        case ROUTE_DONE:
            return DISPATCH_DONE;
        case ROUTE_WAIT:
            return DISPATCH_PARKED;
        }
    }
    if (unlikely(sh->group != NULL) && !group_admits(c, cmd, rc))
        return DISPATCH_DONE;
    if (unlikely((flags_of(c, cmd) & CMD_DENYOOM) != 0) &&
        !fuses_ok(c, cmd, request_bytes(rc, c), &parked))
        return parked ? DISPATCH_PARKED : DISPATCH_DONE;
    if (unlikely(c->txn != NULL) && txn_active(c) && !dispatch_runs_in_multi(cmd)) {
        queue(c, cmd, rc);
        return DISPATCH_DONE;
    }
    if (unlikely(sh->streams_shut != 0) && held_back(c, plan, rc))
        return DISPATCH_PARKED;
    if (((cmd->flags & CMD_WRITE) != 0 || cmd->id == CMD_ID_exec) &&
        !log_ready(c, cmd, log_bytes(rc, plan, c), &parked))
        return parked ? DISPATCH_PARKED : DISPATCH_DONE;
    if (unlikely(c->stream != NULL))
        return streamed(c, plan, rc);
    if (!needs_resident(c, plan, rc->argc, rc->argv, &err)) {
        if (err == -ERR_LIMIT && stream_begin(c, plan, rc))
            return streamed(c, plan, rc);
        if (err != 0) {
            reply_unreadable(c, cmd, rc, err);
            dispatch_reject(c, cmd);
            return DISPATCH_DONE;
        }
        sh->stats.parked++;
        c->waited = true;
        return DISPATCH_PARKED;
    }
    return run(c, plan, rc) ? DISPATCH_DONE : DISPATCH_PARKED;
}

/* CLIENT REPLY OFF and SKIP: takes back the reply of what was refused or queued, too. */
static enum dispatch_result attempt_silent(struct conn *c, const struct resp_cmd *rc,
                                           const struct dispatch_plan *plan)
{
    const size_t before = c->out.out.len;
    const uint64_t commands = c->commands;
    const enum dispatch_result result = attempt(c, rc, plan);

    /* What has run, or was forwarded, has seen to that. */
    if (result == DISPATCH_DONE && c->commands == commands) {
        dispatch_silence(c, before);
        next_reply_mode(c);
    }
    return result;
}

void dispatch_forget(struct conn *c)
{
    c->admitted = false;
    c->delayed = false;
    c->allowed = false;
    c->waited = false;
    c->growth_since_ms = 0;
    c->sort_walk.at = 0;
}

enum dispatch_result dispatch(struct conn *c, const struct resp_cmd *rc,
                              const struct dispatch_plan *plan)
{
    enum dispatch_result result;

    if (unlikely(unblock_is_over(c)))
        result = run(c, plan, rc) ? DISPATCH_DONE : DISPATCH_PARKED;
    else if (unlikely(c->reply_mode != CONN_REPLY_ON))
        result = attempt_silent(c, rc, plan);
    else
        result = attempt(c, rc, plan);
    if (result == DISPATCH_DONE) {
        if (unlikely(c->stream != NULL)) {
            /* Refused half way: it was admitted once, and may not be any more. */
            ks_wait_cancel(&c->wait);
            stream_drop(c);
        }
        ks_wait_unpin(&c->wait);
        dispatch_forget(c);
        if (unlikely(c->block != NULL))
            unblock_forget(c);
        if (unlikely(c->tracking != NULL))
            tracking_over(c, plan->cmd);
        if (unlikely(c->pubsub != NULL))
            pubsub_release(c);
    }
    if (unlikely(blocked_any_ready(c->sh->blocked)))
        unblock_serve(c->sh);
    return result;
}

void dispatch_prefetch(struct conn *c, const struct resp_cmd *rc)
{
    struct shard *sh = c->sh;
    struct dispatch_plan plan;

    dispatch_plan(sh, rc, &plan);
    if (plan.cmd == NULL || !command_arity_ok(plan.cmd, rc->argc) ||
        !names_ok(sh, plan.cmd, rc->argc, rc->argv))
        return;
    if (unlikely(sh->routes) && !c->is_agent && !route_is_here(sh, plan.cmd, rc))
        return;
    needs_ahead(c, &plan, rc->argc, rc->argv);
}
