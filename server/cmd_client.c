/* CLIENT: what the server knows of its connections, and what it does to them. */
#include <stdio.h>
#include <string.h>

#include "server/acl.h"
#include "server/client_line.h"
#include "server/conn.h"
#include "server/forward.h"
#include "server/handlers.h"
#include "server/monitor.h"
#include "server/pubsub.h"
#include "server/request.h"
#include "server/session.h"
#include "server/shard.h"
#include "server/tracking.h"
#include "server/txn.h"
#include "server/unblock.h"

#define CLIENT_LIST_BYTES_MAX (64u << 20)

/* Who a filter of LIST and KILL can ask for; replicas and masters do not exist. */
enum client_type {
    TYPE_ANY,
    TYPE_NORMAL,
    TYPE_PUBSUB,
    TYPE_NONE
};

static bool parse_type(struct request *rq, struct bytes name, enum client_type *out)
{
    static const char *const others[] = {"master", "slave", "replica"};

    if (bytes_eq_nocase(name, "normal")) {
        *out = TYPE_NORMAL;
        return true;
    }
    if (bytes_eq_nocase(name, "pubsub")) {
        *out = TYPE_PUBSUB;
        return true;
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (bytes_eq_nocase(name, others[i])) {
            *out = TYPE_NONE;
            return true;
        }
    }
    reply_error(rq->out, "ERR Unknown client type '%.*s'", REPLY_SHOWN(name));
    return false;
}

static bool is_type(const struct conn *c, enum client_type type)
{
    return type == TYPE_ANY || type == (pubsub_listens(c) ? TYPE_PUBSUB : TYPE_NORMAL);
}

static struct conn *find_id(const struct shard *sh, int64_t id)
{
    LIST_FOR_EACH(link, &sh->conns) {
        struct conn *c = LIST_ITEM(link, struct conn, link);
        if (id >= 0 && c->id == (uint64_t)id)
            return c;
    }
    return NULL;
}

/* --- description --- */

static void flags_text(const struct conn *c, char out[16])
{
    const struct tracking_client *t = tracking_of(c);
    char *p = out;

    if (monitor_is(c))
        *p++ = 'O';
    if (pubsub_listens(c))
        *p++ = 'P';
    if (txn_active(c))
        *p++ = 'x';
    if (c->postponed || c->block != NULL || forward_waits(c))
        *p++ = 'b';
    if (t->on)
        *p++ = 't';
    if (t->on && t->broken)
        *p++ = 'R';
    if (t->bcast)
        *p++ = 'B';
    if ((c->txn != NULL && c->txn->dirty) || forward_dirty(c))
        *p++ = 'd';
    if (c->closing)
        *p++ = 'c';
    if (c->local)
        *p++ = 'U';
    if (c->no_evict)
        *p++ = 'e';
    if (p == out)
        *p++ = 'N';
    *p = '\0';
}

/* Where the bytes of a client's input are. */
struct input {
    size_t query; /* Not taken apart yet, or of the command that runs. */
    size_t args;  /* Arguments of the command that runs, waits or is incomplete. */
};

static size_t sum_of(const struct resp_cmd *cmd)
{
    size_t bytes = 0;

    for (uint32_t i = 0; i < cmd->argc; i++)
        bytes += cmd->argv[i].len;
    return bytes;
}

/* The command that waits is taken apart again: only its length is known. */
static struct input parked_input(const struct conn *c)
{
    const struct resp_limits limits = {.bulk_bytes_max = UINT64_MAX, .args_max = RESP_ARGS_MAX};
    struct input in = {.query = c->in.len - size_min(c->in.len, c->parked_bytes)};
    struct resp_parser parser;
    struct resp_cmd cmd;

    if (c->parked_bytes == 0)
        return in; /* Its turn was over: no command waits, and maybe there is no input. */
    resp_parser_init(&parser);
    resp_cmd_init(&cmd);
    if (resp_parse(&parser, &limits, bytes_of(c->in.ptr, c->in.len - in.query), &cmd) == RESP_READY)
        in.args = sum_of(&cmd);
    resp_cmd_deinit(&cmd);
    return in;
}

/*
 * As Redis counts: what stands before a long argument that is under way has been taken apart and
 * belongs to the arguments, though here it is kept with it.
 */
static struct input input_of(const struct conn *c)
{
    /* The command that is running may lie in the buffer of the socket. */
    if (c->now != NULL)
        return (struct input){.query = size_max(c->in.len, c->now->consumed),
                              .args = sum_of(c->now)};
    if (c->parked)
        return parked_input(c);
    if (c->parser.args_left == 0)
        return (struct input){.query = c->in.len};
    return (struct input){.query = c->in.len - size_min(c->in.len, c->parser.pos),
                          .args = sum_of(&c->cmd)};
}

void client_line(const struct conn *c, const struct conn *self, uint64_t now_ms, struct buf *out)
{
    char flags[16];
    const size_t waiting = c->out.out.len + c->sending.len;
    const struct input in = input_of(c);

    flags_text(c, flags);
    IGNORE_RESULT(buf_printf(
        out,
        "id=%llu addr=%s laddr=%s fd=%d name=%s age=%llu idle=%llu flags=%s db=0 sub=%llu "
        "psub=%llu "
        "ssub=%llu multi=%d qbuf=%zu qbuf-free=%zu argv-mem=%zu multi-mem=%zu rbs=%zu rbp=%zu "
        "obl=%zu oll=0 omem=%zu tot-mem=%zu events=%s cmd=%s user=%.*s redir=%lld resp=%d\n",
        (unsigned long long)c->id, c->addr, c->laddr, c->sock.fd, c->name == NULL ? "" : c->name,
        (unsigned long long)((now_ms - u64_min(now_ms, c->created_ms)) / 1000),
        (unsigned long long)((now_ms - u64_min(now_ms, c->active_ms)) / 1000), flags,
        (unsigned long long)pubsub_count(c, PUBSUB_CHANNEL),
        (unsigned long long)pubsub_count(c, PUBSUB_PATTERN),
        (unsigned long long)pubsub_count(c, PUBSUB_SHARD),
        txn_active(c) ? (int)c->txn->cmds_count : -1, in.query, c->in.cap - c->in.len, in.args,
        c->txn == NULL ? 0 : c->txn->bytes, c->out.out.cap, c->out.out.cap, waiting, c->sending.len,
        conn_room_bytes(c), waiting != 0 && c->id != self->id ? "rw" : "r",
        c->last_cmd == NULL ? "NULL" : c->last_cmd->name, (int)c->user->name_len,
        (const char *)c->user->name,
        tracking_of(c)->on ? (long long)tracking_of(c)->redirect : -1LL, c->out.proto));
}

void cmd_client_info(struct request *rq)
{
    struct buf text;

    buf_init(&text, CLIENT_LIST_BYTES_MAX);
    client_line(rq->conn, rq->conn, rq->now_ms, &text);
    reply_verbatim(rq->out, buf_bytes(&text), "txt");
    buf_deinit(&text);
}

/* LIST ID id...; false: an id is none, the error was replied. */
static bool list_ids(struct request *rq, struct buf *text)
{
    for (uint32_t i = 3; i < rq->argc; i++) {
        int64_t id;
        if (!num_parse_i64(rq->argv[i], &id)) {
            reply_error(rq->out, "ERR Invalid client ID");
            return false;
        }
        const struct conn *c = find_id(rq->sh, id);
        if (c != NULL)
            client_line(c, rq->conn, rq->now_ms, text);
    }
    return true;
}

void cmd_client_list(struct request *rq)
{
    struct buf text;
    enum client_type type = TYPE_ANY;
    bool ok = true;

    buf_init(&text, CLIENT_LIST_BYTES_MAX);
    if (rq->argc > 3 && req_is(rq, 2, "ID")) {
        ok = list_ids(rq, &text);
    } else if (rq->argc == 4 && req_is(rq, 2, "TYPE")) {
        ok = parse_type(rq, rq->argv[3], &type);
    } else if (rq->argc != 2) {
        reply_err_syntax(rq->out);
        ok = false;
    }
    if (ok && (rq->argc == 2 || req_is(rq, 2, "TYPE")) && type != TYPE_NONE) {
        LIST_FOR_EACH(link, &rq->sh->conns) {
            const struct conn *c = LIST_ITEM(link, struct conn, link);
            if (is_type(c, type))
                client_line(c, rq->conn, rq->now_ms, &text);
        }
    }
    if (ok)
        reply_verbatim(rq->out, buf_bytes(&text), "txt");
    buf_deinit(&text);
}

/* --- the connection itself --- */

void cmd_client_id(struct request *rq)
{
    reply_u64(rq->out, rq->conn->id);
}

void cmd_client_getname(struct request *rq)
{
    reply_bulk_cstr(rq->out, rq->conn->name);
}

void cmd_client_setname(struct request *rq)
{
    if (!session_name_ok(rq->argv[2])) {
        reply_error(rq->out,
                    "ERR Client names cannot contain spaces, newlines or special characters.");
        return;
    }
    session_set_name(rq->conn, rq->argv[2]);
    reply_ok(rq->out);
}

void cmd_client_reply(struct request *rq)
{
    struct conn *c = rq->conn;

    if (req_is(rq, 2, "ON")) {
        c->reply_mode &= (uint8_t)~CONN_REPLY_SILENT;
        reply_ok(rq->out);
    } else if (req_is(rq, 2, "OFF")) {
        c->reply_mode |= CONN_REPLY_OFF;
    } else if (req_is(rq, 2, "SKIP")) {
        if ((c->reply_mode & CONN_REPLY_OFF) == 0)
            c->reply_mode |= CONN_REPLY_SKIP_NEXT;
    } else {
        reply_err_syntax(rq->out);
    }
}

void cmd_client_no_evict(struct request *rq)
{
    if (!req_is(rq, 2, "ON") && !req_is(rq, 2, "OFF")) {
        reply_err_syntax(rq->out);
        return;
    }
    rq->conn->no_evict = req_is(rq, 2, "ON");
    client_room_count(rq->conn);
    reply_ok(rq->out);
}

/* --- KILL --- */

struct kill_filter {
    const struct bytes *addr;  /* NULL: any; */
    const struct bytes *laddr; /* likewise. */
    const struct bytes *user;  /* likewise. */
    uint64_t id;               /* 0: any. */
    enum client_type type;
    bool skip_me;
};

static bool parse_kill_id(struct request *rq, struct bytes text, uint64_t *out)
{
    int64_t id;

    if (!num_parse_i64(text, &id) || id < 1) {
        reply_error(rq->out, "ERR client-id should be greater than 0");
        return false;
    }
    *out = (uint64_t)id;
    return true;
}

static bool parse_kill_option(struct request *rq, uint32_t i, struct kill_filter *f)
{
    const struct bytes value = rq->argv[i + 1];

    if (req_is(rq, i, "ID"))
        return parse_kill_id(rq, value, &f->id);
    if (req_is(rq, i, "TYPE"))
        return parse_type(rq, value, &f->type);
    if (req_is(rq, i, "USER")) {
        f->user = &rq->argv[i + 1];
        if (acl_users_find(rq->sh->users, value) != NULL)
            return true;
        reply_error(rq->out, "ERR No such user '%.*s'", REPLY_SHOWN(value));
        return false;
    }
    if (req_is(rq, i, "ADDR")) {
        f->addr = &rq->argv[i + 1];
    } else if (req_is(rq, i, "LADDR")) {
        f->laddr = &rq->argv[i + 1];
    } else if (req_is(rq, i, "SKIPME") && (req_is(rq, i + 1, "YES") || req_is(rq, i + 1, "NO"))) {
        f->skip_me = req_is(rq, i + 1, "YES");
    } else {
        reply_err_syntax(rq->out);
        return false;
    }
    return true;
}

static bool kill_matches(const struct kill_filter *f, const struct conn *c, const struct conn *self)
{
    return (f->addr == NULL || bytes_eq(bytes_cstr(c->addr), *f->addr)) &&
           (f->laddr == NULL || bytes_eq(bytes_cstr(c->laddr), *f->laddr)) &&
           (f->user == NULL || bytes_eq(acl_user_name(c->user), *f->user)) &&
           (f->id == 0 || c->id == f->id) && is_type(c, f->type) &&
           (c->id != self->id || !f->skip_me);
}

void cmd_client_kill(struct request *rq)
{
    struct kill_filter f = {.skip_me = true};
    struct conn *self = rq->conn;
    const bool old_form = rq->argc == 3;
    struct conn *kill_self = NULL; /* This one, or the one whose agent this is. */
    int64_t killed = 0;

    if (old_form) {
        f.addr = &rq->argv[2];
        f.skip_me = false;
    }
    for (uint32_t i = 2; !old_form && i < rq->argc; i += 2) {
        if (i + 1 == rq->argc) {
            reply_err_syntax(rq->out);
            return;
        }
        if (!parse_kill_option(rq, i, &f))
            return;
    }
    LIST_FOR_EACH_SAFE(link, &rq->sh->conns) {
        struct conn *c = LIST_ITEM(link, struct conn, link);
        if (!kill_matches(&f, c, self))
            continue;
        killed++;
        if (c->id == self->id)
            kill_self = c;
        else
            conn_close(c);
    }
    if (!old_form)
        reply_i64(rq->out, killed);
    else if (killed == 0)
        reply_error(rq->out, "ERR No such client");
    else
        reply_ok(rq->out);
    if (kill_self != NULL)
        conn_close_after_reply(kill_self);
}

/* --- PAUSE and UNBLOCK --- */

void cmd_client_pause(struct request *rq)
{
    int64_t ms;
    const uint64_t now_ms = reactor_now_ms(rq->sh->reactor);

    if (rq->argc > 4) {
        reply_err_subcommand_syntax(rq->out, rq->argv);
        return;
    }
    if (rq->argc == 4 && !req_is(rq, 3, "WRITE") && !req_is(rq, 3, "ALL")) {
        reply_error(rq->out, "ERR CLIENT PAUSE mode must be WRITE or ALL");
        return;
    }
    if (!num_parse_i64(rq->argv[2], &ms)) {
        reply_error(rq->out, "ERR timeout is not an integer or out of range");
        return;
    }
    if (ms < 0) {
        reply_err_timeout_neg(rq->out);
        return;
    }
    /* Redis adds it to the time of day, and what is beyond 63 bits is over at once there. */
    if ((uint64_t)ms > (uint64_t)INT64_MAX - rq->now_ms) {
        reply_error(rq->out, "ERR timeout is out of range");
        return;
    }
    shard_pause(rq->sh, now_ms + (uint64_t)ms, rq->argc == 3 || req_is(rq, 3, "ALL"));
    reply_ok(rq->out);
}

void cmd_client_unpause(struct request *rq)
{
    shard_unpause(rq->sh);
    reply_ok(rq->out);
}

/* Not of those that wait for the end of PAUSE. */
void cmd_client_unblock(struct request *rq)
{
    int64_t id;

    if (rq->argc > 4) {
        reply_err_subcommand_syntax(rq->out, rq->argv);
        return;
    }
    if (rq->argc == 4 && !req_is(rq, 3, "TIMEOUT") && !req_is(rq, 3, "ERROR")) {
        reply_error(rq->out, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
        return;
    }
    if (req_i64(rq, 2, &id))
        reply_i64(rq->out, id > 0 && unblock_client(rq->sh, (uint64_t)id,
                                                    rq->argc == 4 && req_is(rq, 3, "ERROR")));
}

void cmd_client_help(struct request *rq)
{
    static const char *const lines[] = {
        "CACHING (YES|NO)",
        "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
        "GETREDIR",
        "    Return the client ID we are redirecting to when tracking is enabled.",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options are:",
        "    * ADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made from the specified address",
        "    * LADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made to specified local address",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Kill connections by type.",
        "    * USER <username>",
        "      Kill connections authenticated by <username>.",
        "    * SKIPME (YES|NO)",
        "      Skip killing current connection (default: yes).",
        "LIST [options ...]",
        "    Return information about client connections. Options:",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Return clients of specified type.",
        "UNPAUSE",
        "    Stop the current client pause, resuming traffic.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Suspend all, or just write, clients for <timeout> milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
        "         [OPTIN] [OPTOUT] [NOLOOP]",
        "    Control server assisted client side caching.",
        "TRACKINGINFO",
        "    Report tracking status for the current connection.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Unblock the specified blocked client.",
        "NO-EVICT (ON|OFF)",
        "    Protect current client connection from eviction.",
        NULL,
    };

    reply_help(rq->out, "CLIENT", lines);
}
