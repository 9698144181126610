/* Connections: PING, ECHO, AUTH, HELLO, SELECT, QUIT, RESET. */
#include <string.h>

#include "engine/base/mem.h"

#include "server/acl.h"
#include "server/conn.h"
#include "server/handlers.h"
#include "server/monitor.h"
#include "server/pubsub.h"
#include "server/req_range.h"
#include "server/request.h"
#include "server/session.h"
#include "server/shard.h"
#include "server/tracking.h"
#include "server/txn.h"

void cmd_ping(struct request *rq)
{
    if (rq->argc > 2) {
        reply_err_arity(rq->out, rq->cmd->name);
    } else if (pubsub_listens(rq->conn) && rq->out->proto == 2) {
        /* As a message, so that a subscriber can tell what it is. */
        reply_array(rq->out, 2);
        reply_bulk_cstr(rq->out, "pong");
        reply_bulk(rq->out, rq->argc == 2 ? rq->argv[1] : bytes_of(NULL, 0));
    } else if (rq->argc == 2) {
        reply_bulk(rq->out, rq->argv[1]);
    } else {
        REPLY_RAW(rq->out, "+PONG\r\n");
    }
}

void cmd_echo(struct request *rq)
{
    reply_bulk(rq->out, rq->argv[1]);
}

void cmd_auth(struct request *rq)
{
    if (rq->argc > 3) {
        reply_err_syntax(rq->out);
        return;
    }
    if (rq->argc == 2 && rq->sh->users->first->nopass) {
        reply_error(rq->out,
                    "ERR AUTH <password> called without any password configured for the default "
                    "user. Are you sure your configuration is correct?");
        return;
    }
    const struct bytes user = rq->argc == 3 ? rq->argv[1] : BYTES_LIT("default");
    if (acl_login(rq->conn, rq->argv[0], user, rq->argv[rq->argc - 1]))
        reply_ok(rq->out);
    else
        reply_err_wrongpass(rq->out);
}

static void reply_hello(struct request *rq)
{
    reply_map(rq->out, 7);
    reply_bulk_cstr(rq->out, "server");
    reply_bulk_cstr(rq->out, "redis");
    reply_bulk_cstr(rq->out, "version");
    reply_bulk_cstr(rq->out, SESSION_REDIS_VERSION);
    reply_bulk_cstr(rq->out, "proto");
    reply_i64(rq->out, rq->out->proto);
    reply_bulk_cstr(rq->out, "id");
    reply_u64(rq->out, rq->conn->id);
    reply_bulk_cstr(rq->out, "mode");
    reply_bulk_cstr(rq->out, rq->sh->cluster ? "cluster" : "standalone");
    reply_bulk_cstr(rq->out, "role");
    reply_bulk_cstr(rq->out, "master");
    reply_bulk_cstr(rq->out, "modules");
    reply_array(rq->out, 0);
}

/* HELLO [protover [AUTH user pass] [SETNAME name]] */
void cmd_hello(struct request *rq)
{
    int64_t version = 0;
    const struct bytes *name = NULL;
    struct conn *c = rq->conn;

    if (rq->argc > 1 && (!num_parse_i64(rq->argv[1], &version) || version < 2 || version > 3)) {
        if (version == 0 && !num_parse_i64(rq->argv[1], &version))
            reply_error(rq->out, "ERR Protocol version is not an integer or out of range");
        else
            reply_err_noproto(rq->out);
        return;
    }
    for (uint32_t i = 2; i < rq->argc; i++) {
        const uint32_t more = rq->argc - 1 - i;
        if (req_is(rq, i, "AUTH") && more >= 2) {
            if (!acl_login(c, rq->argv[0], rq->argv[i + 1], rq->argv[i + 2])) {
                reply_err_wrongpass(rq->out);
                return;
            }
            i += 2;
        } else if (req_is(rq, i, "SETNAME") && more >= 1) {
            name = &rq->argv[++i];
            if (!session_name_ok(*name)) {
                reply_error(rq->out, "ERR Client names cannot contain spaces, newlines or special "
                                     "characters.");
                return;
            }
        } else {
            reply_error(rq->out, "ERR Syntax error in HELLO option '%.*s'",
                        (int)size_min(rq->argv[i].len, 128), (const char *)rq->argv[i].ptr);
            return;
        }
    }
    if ((c->gate & ACL_GATE_AUTH) != 0) {
        reply_error(rq->out,
                    "NOAUTH HELLO must be called with the client already authenticated, otherwise "
                    "the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the "
                    "client and select the RESP protocol version at the same time");
        return;
    }
    if (name != NULL)
        session_set_name(c, *name);
    if (version != 0)
        rq->out->proto = (uint8_t)version;
    reply_hello(rq);
}

void cmd_select(struct request *rq)
{
    int64_t index;

    if (!req_db(rq, 1, &index))
        return;
    if (index == 0)
        reply_ok(rq->out);
    else if (rq->sh->cluster)
        reply_error(rq->out, "ERR SELECT is not allowed in cluster mode");
    else
        reply_err_db_index(rq->out);
}

void cmd_quit(struct request *rq)
{
    reply_ok(rq->out);
    conn_close_after_reply(rq->conn);
}

void cmd_reset(struct request *rq)
{
    struct conn *c = rq->conn;

    txn_reset(c);
    monitor_leave(c);
    tracking_disable(c);
    pubsub_leave(c);
    session_set_name(c, bytes_of(NULL, 0));
    c->reply_mode = CONN_REPLY_ON;
    c->no_evict = false; /* As Redis 7.2 and later; 7.0 leaves it. */
    acl_greet(c);
    rq->out->proto = 2;
    reply_status(rq->out, "RESET");
}
