/*
 * DEBUG: the part of Redis' that tests of clients and servers use. Refused unless
 * enable-debug-command allows it. What would crash, leak or look into structures that Redis has
 * and we have not is no subcommand here.
 */
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "engine/base/err.h"
#include "engine/base/log.h"

#include "engine/space/demote.h"
#include "engine/space/group.h"
#include "engine/value/row_chunk.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/encoding.h"
#include "server/glob.h"
#include "server/handlers.h"
#include "server/node.h"
#include "server/request.h"
#include "server/session.h"
#include "server/shard.h"
#include "server/valuesum.h"

/* DEBUG SLEEP stops everything, hence not for ever. */
#define SLEEP_SECONDS_MAX 3600.0
/* Of a number that a command is given. */
#define NUMBER_BYTES_MAX 128
/* DEBUG RELOAD demotes in one go. */
#define RELOAD_SLICE_NS 2000000000u

static bool allowed(const struct request *rq)
{
    switch (rq->sh->cfg->enable_debug_command) {
    case ALLOWED_YES:
        return true;
    case ALLOWED_LOCAL:
        return session_is_local(rq->conn);
    default:
        return false;
    }
}

/* The number that a text begins with, as strtod reads it but for leading blanks; 0: with none. */
static double number_at_start(struct bytes text)
{
    double number;

    for (size_t len = size_min(text.len, NUMBER_BYTES_MAX); len > 0; len--) {
        if (num_parse_double(bytes_of(text.ptr, len), &number))
            return number;
    }
    return 0;
}

/* As in Redis, what is no time to sleep is none. */
static void debug_sleep(struct request *rq)
{
    const double given = number_at_start(rq->argv[2]);
    const double seconds = isfinite(given) && given > 0 ? given : 0;

    if (seconds > SLEEP_SECONDS_MAX) {
        reply_error(rq->out, "ERR DEBUG SLEEP takes %d seconds at most", (int)SLEEP_SECONDS_MAX);
        return;
    }
    const double whole = floor(seconds);
    const struct timespec t = {.tv_sec = (time_t)whole, .tv_nsec = (long)((seconds - whole) * 1e9)};
    (void)nanosleep(&t, NULL); /* tidy: allow nanosleep, to stop the thread is what is asked */
    reply_ok(rq->out);
}

static void debug_active_expire(struct request *rq)
{
    rq->sh->no_active_expire = bytes_eq(rq->argv[2], BYTES_LIT("0"));
    reply_ok(rq->out);
}

/* COLD 1: as if DRAM were short all the time, whatever there is of it. */
static void debug_cold(struct request *rq)
{
    struct node_limits *l = &rq->sh->node->limits;

    if (node_limit(&l->maxmemory) == 0) {
        reply_error(rq->out, "ERR DEBUG COLD needs a maxmemory");
        return;
    }
    atomic_store_explicit(&l->cold, !bytes_eq(rq->argv[2], BYTES_LIT("0")), memory_order_relaxed);
    reply_ok(rq->out);
}

static void debug_log(struct request *rq)
{
    LOG_WARN("debug", "DEBUG LOG: %.*s", (int)size_min(rq->argv[2].len, 1024),
             (const char *)rq->argv[2].ptr);
    reply_ok(rq->out);
}

static void debug_error(struct request *rq)
{
    reply_error_bytes(rq->out, rq->argv[2]);
}

/* DEBUG STRINGMATCH-LEN pattern text: whether the pattern matches. */
static void debug_stringmatch(struct request *rq)
{
    reply_i64(rq->out, glob_match(rq->argv[2], rq->argv[3], false));
}

static void debug_ok(struct request *rq)
{
    reply_ok(rq->out);
}

/* What waits for flash cannot within MULTI: true after the error reply. */
static bool refused_in_multi(struct request *rq, const char *name)
{
    if (rq->nested)
        reply_error(rq->out, "ERR DEBUG %s is not possible within MULTI: send it before or after",
                    name);
    return rq->nested;
}

/*
 * RELOAD and LOADAOF: everything goes to flash and comes back from there when it is asked for. What
 * stays hot is what was changed meanwhile.
 */
static void debug_reload(struct request *rq)
{
    if (refused_in_multi(rq, "RELOAD") || !save_flush_here(rq))
        return;
    /* Touched keys stay until the hand has passed them as often as they were touched. */
    for (int i = 0; i < 4; i++)
        (void)ks_demote_some(rq->ks, UINT64_MAX, RELOAD_SLICE_NS);
    reply_ok(rq->out);
}

/* The shard's keys as the store has them, after all has been written back. */
static void debug_digest(struct request *rq)
{
    char text[VALUESUM_TEXT_BYTES];

    if (refused_in_multi(rq, "DIGEST"))
        return;
    if (rq->sh->node->shards_count > 1) {
        reply_error(rq->out,
                    "ERR DEBUG DIGEST is of one shard, and this node has several: start it "
                    "with shards 1, or ask for DEBUG DIGEST-VALUE of keys");
        return;
    }
    if (!save_flush_here(rq))
        return;
    const int err = valuesum_all(rq, text);
    if (err != 0)
        reply_error(rq->out, "ERR the store could not be read: %s", err_str(err));
    else
        reply_status(rq->out, text);
}

/* True: all values are there; else it waits for some. */
static bool all_resident(struct request *rq)
{
    int waiting = 0;

    for (uint32_t i = 2; i < rq->argc; i++) {
        const struct ks_key key = req_key(rq, i);
        const int n = ks_need_whole(rq->ks, &key, &rq->conn->wait);
        if (n > 0)
            waiting += n;
    }
    rq->parked = waiting != 0;
    return waiting == 0;
}

/* DIGEST-VALUE key [key ...]: of each value. */
static void debug_digest_value(struct request *rq)
{
    char text[VALUESUM_TEXT_BYTES];

    if (refused_in_multi(rq, "DIGEST-VALUE") || !all_resident(rq))
        return;
    reply_array(rq->out, rq->argc - 2);
    for (uint32_t i = 2; i < rq->argc; i++) {
        const struct ks_key key = req_key(rq, i);
        const struct obj *obj = ks_peek(rq->ks, &key, rq->now_ms);
        const bool whole =
            obj != NULL && ((obj->h.flags & BLK_COLL) == 0 || obj_coll(obj)->complete);
        valuesum_none(text);
        if (obj != NULL && (!whole || valuesum_of(rq, obj, text) != 0))
            reply_err_oom(rq->out, "the value does not fit into memory");
        else
            reply_status(rq->out, text);
    }
}

static void debug_object(struct request *rq)
{
    const struct ks_key key = req_key(rq, 2);
    struct obj *obj = NULL;
    const enum ks_where where = ks_look(rq->ks, &key, rq->now_ms, &obj);

    if (where == KS_ABSENT) {
        reply_err_no_such_key(rq->out);
        return;
    }
    if (where == KS_COLD) {
        reply_status(rq->out, "tier:flash");
        return;
    }
    const struct coll *coll = (obj->h.flags & BLK_COLL) != 0 ? obj_coll(obj) : NULL;
    const char *encoding = encoding_of(rq, &key, obj);
    char text[256];
    if (encoding == NULL)
        return;
    (void)snprintf(text, sizeof(text),
                   "Value at:%p refcount:%d encoding:%s tier:dram dirty:%d row_bytes:%u heat:%u "
                   "elements:%llu complete:%d",
                   (void *)obj, encoding_is_shared(rq, obj) ? INT32_MAX : 1, encoding,
                   obj->h.dirty != 0, obj->h.row_len, (unsigned)obj->heat,
                   (unsigned long long)(coll == NULL ? 0 : coll->count),
                   coll == NULL || coll->complete);
    reply_status(rq->out, text);
}

/*
 * DIVERGE key value: the key of a group's member gets another value under the tag that it has, here
 * alone and past the log. What must never happen, for tests of what would notice it.
 */
static void debug_diverge(struct request *rq)
{
    const struct ks_key key = req_key(rq, 2);
    struct row_view view;
    struct buf row;

    const struct obj *obj = rq->sh->group == NULL ? NULL : ks_peek(rq->ks, &key, rq->now_ms);
    if (obj == NULL || row_view(obj_row(obj), rq->now_ms, &view) != 0 || view.type != VT_STRING ||
        rq->argv[3].len > ROW_INLINE_BYTES_MAX) {
        reply_error(rq->out, "ERR no hot string of a replication group at that key");
        return;
    }
    buf_init(&row, UINT32_MAX);
    CHECK(buf_reserve(&row, row_value_size(rq->argv[3].len, false)) == 0);
    buf_commit(&row, row_value_store(buf_end(&row), view.tag, rq->argv[3], 0));
    ks_group_set_key(rq->ks, &key, buf_bytes(&row), oplog_applied_lsn(rq->sh->log));
    buf_deinit(&row);
    reply_ok(rq->out);
}

/* --- PROTOCOL: one reply of each kind --- */

static void protocol_aggregate(struct reply *r, struct bytes name)
{
    if (bytes_eq_nocase(name, "array"))
        reply_array(r, 3);
    else if (bytes_eq_nocase(name, "set"))
        reply_set(r, 3);
    else
        reply_map(r, 3);
    for (int i = 0; i < 3; i++) {
        reply_i64(r, i);
        if (bytes_eq_nocase(name, "map"))
            reply_bool(r, i == 1);
    }
}

static void protocol_attribute(struct reply *r)
{
    if (r->proto >= 3) {
        reply_attribute(r, 1);
        reply_bulk_cstr(r, "key-popularity");
        reply_array(r, 2);
        reply_bulk_cstr(r, "key:123");
        reply_i64(r, 90);
    }
    reply_bulk_cstr(r, "Some real reply following the attribute");
}

static void protocol_push(struct reply *r)
{
    if (r->proto < 3) {
        reply_error(r, "ERR RESP2 is not supported by this command");
        return;
    }
    reply_push(r, 2);
    reply_bulk_cstr(r, "server-cpu-usage");
    reply_i64(r, 42);
    reply_bulk_cstr(r, "Some real reply following the push reply");
}

static void debug_protocol(struct request *rq)
{
    struct reply *r = rq->out;

    if (req_is(rq, 2, "string"))
        reply_bulk_cstr(r, "Hello World");
    else if (req_is(rq, 2, "integer"))
        reply_i64(r, 12345);
    else if (req_is(rq, 2, "double"))
        reply_double(r, 3.141);
    else if (req_is(rq, 2, "bignum"))
        reply_bignum(r, BYTES_LIT("1234567999999999999999999999999999999"));
    else if (req_is(rq, 2, "null"))
        reply_null(r);
    else if (req_is(rq, 2, "array") || req_is(rq, 2, "set") || req_is(rq, 2, "map"))
        protocol_aggregate(r, rq->argv[2]);
    else if (req_is(rq, 2, "attrib"))
        protocol_attribute(r);
    else if (req_is(rq, 2, "push"))
        protocol_push(r);
    else if (req_is(rq, 2, "true") || req_is(rq, 2, "false"))
        reply_bool(r, req_is(rq, 2, "true"));
    else if (req_is(rq, 2, "verbatim"))
        reply_verbatim(r, BYTES_LIT("This is a verbatim\nstring"), "txt");
    else
        reply_error(r, "ERR Wrong protocol type name. Please use one of the following: "
                       "string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|"
                       "false");
}

static void debug_help(struct request *rq)
{
    static const char *const lines[] = {
        "COLD <0|1>",
        "    Setting it to 1 moves all that is not in use to flash, at once and from then",
        "    on, however much memory there is: for tests. Needs a maxmemory.",
        "DIGEST",
        "    Output a hex signature representing the current content of the keyspace.",
        "DIGEST-VALUE <key> [<key> ...]",
        "    Output a hex signature of the values of all the specified keys.",
        "DIVERGE <key> <value>",
        "    Give a key of a replication group another value on this member alone, which",
        "    must never happen: for tests of REPLGROUP DIGEST.",
        "ERROR <string>",
        "    Return a Redis protocol error with <string> as message. Useful for clients",
        "    unit tests to simulate Redis errors.",
        "LOG <message>",
        "    Write <message> to the server log.",
        "LOADAOF",
        "    As RELOAD.",
        "OBJECT <key>",
        "    Show low level info about `key` and associated value.",
        "PAUSE-CRON <0|1>",
        "    Accepted: what a timer does here no client has to see.",
        "PROTOCOL <type>",
        "    Reply with a test value of the specified type. <type> can be: string,",
        "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
        "    true, false.",
        "RELOAD",
        "    Write everything to flash and forget it in memory.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Setting it to 0 disables expiring keys in background when they are not",
        "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
        "    default.",
        "SLEEP <seconds>",
        "    Stop the server for <seconds>. Decimals allowed.",
        "STRINGMATCH-LEN <pattern> <string>",
        "    Whether the glob-style pattern matches.",
        NULL,
    };

    reply_help(rq->out, "DEBUG", lines);
}

void cmd_debug(struct request *rq)
{
    static const struct {
        const char *name;
        uint32_t argc; /* 0: any. */
        void (*run)(struct request *rq);
    } subcommands[] = {
        {"help", 2, debug_help},
        {"sleep", 3, debug_sleep},
        {"set-active-expire", 3, debug_active_expire},
        {"cold", 3, debug_cold},
        {"protocol", 3, debug_protocol},
        {"object", 3, debug_object},
        {"digest", 2, debug_digest},
        {"digest-value", 0, debug_digest_value},
        {"diverge", 4, debug_diverge},
        {"reload", 0, debug_reload},
        {"loadaof", 2, debug_reload},
        {"log", 3, debug_log},
        {"error", 3, debug_error},
        {"stringmatch-len", 4, debug_stringmatch},
        /* They tune encodings and checks that do not exist here: any setting is in force. */
        {"quicklist-packed-threshold", 3, debug_ok},
        {"set-disable-deny-scripts", 3, debug_ok},
        {"replybuffer", 4, debug_ok},
        /* Ours does nothing that a client has to see. */
        {"pause-cron", 3, debug_ok},
    };

    if (!allowed(rq)) {
        reply_error(rq->out,
                    "ERR DEBUG command not allowed. If the enable-debug-command option is set to "
                    "\"local\", you can run it from a local connection, otherwise you need to set "
                    "this option in the configuration file, and then restart the server.");
        return;
    }
    for (size_t i = 0; i < sizeof(subcommands) / sizeof(subcommands[0]); i++) {
        if (req_is(rq, 1, subcommands[i].name) &&
            (subcommands[i].argc == 0 || subcommands[i].argc == rq->argc)) {
            subcommands[i].run(rq);
            return;
        }
    }
    reply_err_subcommand_syntax(rq->out, rq->argv);
}
