/* INFO, TIME, saves, SHUTDOWN, ROLE, LOLWUT, and what has no meaning with one database. */
#include <limits.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "server/conn.h"
#include "server/figures.h"
#include "server/handlers.h"
#include "server/info.h"
#include "server/monitor.h"
#include "server/node.h"
#include "server/req_range.h"
#include "server/request.h"
#include "server/session.h"
#include "server/shard.h"

void cmd_info(struct request *rq)
{
    struct figures *f = figures_take(rq);
    struct buf text;

    buf_init(&text, INFO_BYTES_MAX);
    info_write(rq->sh, f, rq->argc - 1, rq->argv + 1, &text);
    figures_destroy(f);
    reply_verbatim(rq->out, buf_bytes(&text), "txt");
    buf_deinit(&text);
}

void cmd_time(struct request *rq)
{
    const uint64_t now_us = clock_wall_us();

    reply_array(rq->out, 2);
    reply_bulk_i64(rq->out, (int64_t)(now_us / 1000000));
    reply_bulk_i64(rq->out, (int64_t)(now_us % 1000000));
}

/* --- saves --- */

void cmd_save(struct request *rq)
{
    const struct save *save = &rq->sh->node->save;

    if (rq->conn->save_ticket == 0 && save->running && save->kind == SAVE_CHECKPOINT) {
        reply_error(rq->out, "ERR Background save already in progress");
        return;
    }
    if (!save_wait(rq, SAVE_CHECKPOINT))
        return;
    if (save->last_err == 0)
        reply_ok(rq->out);
    else
        reply_error(rq->out, "ERR the checkpoint failed: %s", save->last_why);
}

void cmd_bgsave(struct request *rq)
{
    struct node *node = rq->sh->node;
    const bool schedule = rq->argc == 2 && req_is(rq, 1, "SCHEDULE");

    if (rq->argc > 1 && !schedule) {
        reply_err_syntax(rq->out);
    } else if (save_start(node, SAVE_CHECKPOINT)) {
        reply_status(rq->out, "Background saving started");
    } else if (node->save.kind == SAVE_CHECKPOINT) {
        reply_error(rq->out, "ERR Background save already in progress");
    } else if (schedule || rq->nested) {
        node->save.save_scheduled = true;
        reply_status(rq->out, "Background saving scheduled");
    } else {
        reply_error(rq->out,
                    "ERR Another child process is active (AOF?): can't BGSAVE right now. Use "
                    "BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.");
    }
}

void cmd_bgrewriteaof(struct request *rq)
{
    struct node *node = rq->sh->node;

    if (save_start(node, SAVE_FLUSH)) {
        reply_status(rq->out, "Background append only file rewriting started");
    } else if (node->save.kind == SAVE_FLUSH) {
        reply_error(rq->out, "ERR Background append only file rewriting already in progress");
    } else {
        node->save.flush_scheduled = true;
        reply_status(rq->out, "Background append only file rewriting scheduled");
    }
}

void cmd_lastsave(struct request *rq)
{
    reply_u64(rq->out, rq->sh->node->save.saved_s);
}

/* --- the end --- */

/*
 * The op log has everything. SAVE brings all of it to the store too, NOW and NOSAVE nothing, else
 * what goes within shutdown-timeout. FORCE has no error to pass over, and as the end begins at once
 * there is none to abort.
 */
void cmd_shutdown(struct request *rq)
{
    bool save = false, nosave = false, now = false, force = false, abort = false;

    for (uint32_t i = 1; i < rq->argc; i++) {
        if (req_is(rq, i, "NOSAVE"))
            nosave = true;
        else if (req_is(rq, i, "SAVE"))
            save = true;
        else if (req_is(rq, i, "NOW"))
            now = true;
        else if (req_is(rq, i, "FORCE"))
            force = true;
        else if (req_is(rq, i, "ABORT"))
            abort = true;
        else {
            reply_err_syntax(rq->out);
            return;
        }
    }
    if ((abort && (save || nosave || now || force)) || (save && nosave))
        reply_err_syntax(rq->out);
    else if (abort)
        reply_error(rq->out, "ERR No shutdown in progress.");
    else
        node_stop(rq->sh->node, save            ? NODE_END_ALL
                                : nosave || now ? NODE_END_NOTHING
                                                : NODE_END_BOUNDED);
}

/* --- replication and databases --- */

void cmd_role(struct request *rq)
{
    struct figures *f = figures_take(rq);

    reply_array(rq->out, 3);
    reply_bulk_cstr(rq->out, "master");
    reply_u64(rq->out, rq->sh->node->group == NULL ? 0 : f->log_appended_bytes);
    figures_destroy(f);
    reply_array(rq->out, 0);
}

/* There are no replicas whose acknowledgement could come: nobody waits for them. */
void cmd_wait(struct request *rq)
{
    int64_t replicas, timeout_ms;

    if (!req_i64(rq, 1, &replicas))
        return;
    if (!num_parse_i64(rq->argv[2], &timeout_ms))
        reply_error(rq->out, "ERR timeout is not an integer or out of range");
    else if (timeout_ms < 0)
        reply_err_timeout_neg(rq->out);
    else
        reply_i64(rq->out, 0);
}

static bool parse_db(struct bytes text, int64_t *out)
{
    return num_parse_i64(text, out) && *out >= INT_MIN && *out <= INT_MAX;
}

void cmd_swapdb(struct request *rq)
{
    int64_t a, b;

    if (rq->sh->cluster)
        reply_error(rq->out, "ERR SWAPDB is not allowed in cluster mode");
    else if (!parse_db(rq->argv[1], &a))
        reply_error(rq->out, "ERR invalid first DB index");
    else if (!parse_db(rq->argv[2], &b))
        reply_error(rq->out, "ERR invalid second DB index");
    else if (a != 0 || b != 0)
        reply_err_db_index(rq->out);
    else
        reply_ok(rq->out);
}

void cmd_move(struct request *rq)
{
    int64_t db;

    if (rq->sh->cluster)
        reply_error(rq->out, "ERR MOVE is not allowed in cluster mode");
    else if (!req_db(rq, 2, &db))
        return;
    else if (db != 0)
        reply_err_db_index(rq->out);
    else
        reply_err_same_object(rq->out);
}

void cmd_lolwut(struct request *rq)
{
    static const char text[] = "Redis ver. " SESSION_REDIS_VERSION "\n";
    int64_t version;

    if (rq->argc >= 3 && req_is(rq, 1, "VERSION") && !req_i64(rq, 2, &version))
        return;
    reply_verbatim(rq->out, bytes_cstr(text), "txt");
}

void cmd_monitor(struct request *rq)
{
    if (rq->nested)
        reply_error(rq->out, "ERR MONITOR isn't allowed for DENY BLOCKING client");
    else if (monitor_join(rq->conn))
        reply_ok(rq->out); /* One that does already gets no reply, as with Redis. */
}
