/* SLOWLOG GET, LEN, RESET, HELP. */
#include "server/command_docs.h"
#include "server/handlers.h"
#include "server/request.h"
#include "server/shard.h"
#include "server/slowlog.h"

#define SLOWLOG_GET_DEFAULT 10

static void reply_entry(struct reply *r, const struct slowlog_entry *e)
{
    reply_array(r, 6);
    reply_u64(r, e->id);
    reply_u64(r, e->at_s);
    reply_u64(r, e->spent_us);
    reply_array(r, e->argc);
    for (uint32_t i = 0; i < e->argc; i++)
        reply_bulk(r, e->argv[i]);
    reply_bulk_cstr(r, e->addr);
    reply_bulk_cstr(r, e->name);
}

void cmd_slowlog_get(struct request *rq)
{
    const struct slowlog *log = rq->sh->slowlog;
    int64_t count = SLOWLOG_GET_DEFAULT;

    if (rq->argc > 3) {
        reply_err_subcommand_syntax(rq->out, rq->argv);
        return;
    }
    if (rq->argc == 3 && (!num_parse_i64(rq->argv[2], &count) || count < -1)) {
        reply_error(rq->out, "ERR count should be greater than or equal to -1");
        return;
    }
    uint64_t n = slowlog_count(log);
    if (count >= 0)
        n = u64_min(n, (uint64_t)count);
    reply_array(rq->out, n);
    for (uint64_t i = 0; i < n; i++)
        reply_entry(rq->out, slowlog_at(log, i));
}

void cmd_slowlog_len(struct request *rq)
{
    reply_u64(rq->out, slowlog_count(rq->sh->slowlog));
}

void cmd_slowlog_reset(struct request *rq)
{
    slowlog_reset(rq->sh->slowlog);
    reply_ok(rq->out);
}

void cmd_slowlog_help(struct request *rq)
{
    static const char *const lines[] = {
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
        NULL,
    };

    reply_help(rq->out, "SLOWLOG", lines);
}
