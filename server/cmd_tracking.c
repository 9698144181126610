/* CLIENT TRACKING, CACHING, GETREDIR and TRACKINGINFO; tracking.h has what they turn on. */
#include "engine/base/mem.h"

#include "server/conn.h"
#include "server/handlers.h"
#include "server/prefixtree.h"
#include "server/request.h"
#include "server/tracking.h"

/* Of each of two in an error. */
#define SHOWN_BYTES 448

/* --- options --- */

/* REDIRECT. False: an error was replied, or the command will be called again. */
static bool parse_redirect(struct request *rq, uint32_t at, uint64_t *out)
{
    int64_t id;
    bool found = false;

    if (*out != 0) {
        reply_error(rq->out, "ERR A client can only redirect to a single other client");
        return false;
    }
    if (!req_i64(rq, at, &id))
        return false;
    if (id > 0 && rq->nested) {
        /* It cannot wait for what another shard knows: what nobody gets shows as broken. */
        *out = (uint64_t)id;
        return true;
    }
    if (id > 0 && tracking_find_target(rq->conn, (uint64_t)id, &found) != 0) {
        rq->parked = true;
        return false;
    }
    if (!found) {
        reply_error(rq->out, "ERR The client ID you want redirect to does not exist");
        return false;
    }
    *out = (uint64_t)id;
    return true;
}

/* Likewise. */
static bool parse(struct request *rq, struct tracking_options *o)
{
    for (uint32_t i = 3; i < rq->argc; i++) {
        const bool more = i + 1 < rq->argc;
        if (req_is(rq, i, "REDIRECT") && more) {
            if (!parse_redirect(rq, ++i, &o->redirect))
                return false;
        } else if (req_is(rq, i, "PREFIX") && more) {
            o->prefixes[o->prefixes_count++] = &rq->argv[++i];
        } else if (req_is(rq, i, "BCAST")) {
            o->bcast = true;
        } else if (req_is(rq, i, "OPTIN")) {
            o->optin = true;
        } else if (req_is(rq, i, "OPTOUT")) {
            o->optout = true;
        } else if (req_is(rq, i, "NOLOOP")) {
            o->noloop = true;
        } else {
            reply_err_syntax(rq->out);
            return false;
        }
    }
    return true;
}

static bool overlap(struct request *rq, struct bytes prefix, const char *with, struct bytes other)
{
    reply_error(rq->out,
                "ERR Prefix '%.*s' overlaps with %s prefix '%.*s'. Prefixes for a single client "
                "must not overlap.",
                (int)size_min(prefix.len, SHOWN_BYTES), (const char *)prefix.ptr, with,
                (int)size_min(other.len, SHOWN_BYTES), (const char *)other.ptr);
    return false;
}

/* The first prefix that overlaps with one of the client's, or with one that follows it. */
static bool find_overlap(const struct request *rq, const struct tracking_options *o, uint32_t *out)
{
    struct prefixtree later = {0};
    struct bytes other;
    bool found = false;

    for (uint32_t i = o->prefixes_count; i-- > 0;) {
        const struct bytes *prefix = o->prefixes[i];
        struct prefixtree_heads heads = prefixtree_heads(&later, *prefix);
        if (tracking_overlaps(rq->conn, *prefix, &other) || prefixtree_heads_next(&heads) != NULL ||
            prefixtree_first_of(&later, *prefix) != NULL) {
            found = true;
            *out = i;
        }
        if (prefixtree_get(&later, *prefix) == NULL)
            prefixtree_add(&later, *prefix, &o->prefixes[i]);
    }
    prefixtree_deinit(&later);
    return found;
}

/* False after an error reply. */
static bool prefixes_fit(struct request *rq, const struct tracking_options *o)
{
    struct bytes other;
    uint32_t at;

    if (!tracking_prefixes_fit(rq->conn, o)) {
        reply_error(rq->out, "OOM prefixes of clients take a sixteenth of maxmemory: raise it, or "
                             "use fewer of them");
        return false;
    }
    if (!find_overlap(rq, o, &at))
        return true;
    const struct bytes prefix = *o->prefixes[at];
    if (tracking_overlaps(rq->conn, prefix, &other))
        return overlap(rq, prefix, "an existing", other);
    for (uint32_t k = at + 1; k < o->prefixes_count; k++) {
        other = *o->prefixes[k];
        if (bytes_starts(prefix, other) || bytes_starts(other, prefix))
            return overlap(rq, prefix, "another provided", other);
    }
    return true;
}

/* With each other and with what is on already; false after an error reply. */
static bool fit(struct request *rq, const struct tracking_options *o)
{
    const struct tracking_client *now = tracking_of(rq->conn);

    if (!o->bcast && o->prefixes_count != 0) {
        reply_error(rq->out, "ERR PREFIX option requires BCAST mode to be enabled");
    } else if (now->on && now->bcast != o->bcast) {
        reply_error(rq->out, "ERR You can't switch BCAST mode on/off before disabling tracking for "
                             "this client, and then re-enabling it with a different mode.");
    } else if (o->bcast && (o->optin || o->optout)) {
        reply_error(rq->out, "ERR OPTIN and OPTOUT are not compatible with BCAST");
    } else if (o->optin && o->optout) {
        reply_error(rq->out, "ERR You can't specify both OPTIN mode and OPTOUT mode");
    } else if ((o->optin && now->optout) || (o->optout && now->optin)) {
        reply_error(rq->out, "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for "
                             "this client, and then re-enabling it with a different mode.");
    } else {
        return !o->bcast || prefixes_fit(rq, o);
    }
    return false;
}

/* What a transaction runs at another shard has no connection. */
static bool at_home(struct request *rq)
{
    if (!rq->conn->is_agent)
        return true;
    reply_error(rq->out, "ERR %s is not possible within MULTI on keys of another shard",
                rq->cmd->name);
    return false;
}

/* CLIENT TRACKING ON | OFF [REDIRECT id] [BCAST] [PREFIX prefix ..] [OPTIN] [OPTOUT] [NOLOOP] */
void cmd_client_tracking(struct request *rq)
{
    struct tracking_options o = {0};

    if (!at_home(rq))
        return;
    o.prefixes = mem_zalloc_array(rq->argc, sizeof(const struct bytes *));
    if (!parse(rq, &o)) {
        mem_free(o.prefixes);
        return;
    }
    if (req_is(rq, 2, "OFF")) {
        tracking_disable(rq->conn);
        reply_ok(rq->out);
    } else if (!req_is(rq, 2, "ON")) {
        reply_err_syntax(rq->out);
    } else if (fit(rq, &o)) {
        tracking_enable(rq->conn, &o);
        reply_ok(rq->out);
    }
    mem_free(o.prefixes);
}

void cmd_client_caching(struct request *rq)
{
    const struct tracking_client *now = tracking_of(rq->conn);
    const bool yes = req_is(rq, 2, "YES");

    if (!at_home(rq))
        return;
    if (!now->on)
        reply_error(rq->out, "ERR CLIENT CACHING can be called only when the client is in tracking "
                             "mode with OPTIN or OPTOUT mode enabled");
    else if (!yes && !req_is(rq, 2, "NO"))
        reply_err_syntax(rq->out);
    else if (yes && !now->optin)
        reply_error(rq->out, "ERR CLIENT CACHING YES is only valid when tracking is enabled in "
                             "OPTIN mode.");
    else if (!yes && !now->optout)
        reply_error(rq->out, "ERR CLIENT CACHING NO is only valid when tracking is enabled in "
                             "OPTOUT mode.");
    else {
        tracking_set_caching(rq->conn);
        reply_ok(rq->out);
    }
}

static void reply_redirect(struct request *rq)
{
    const struct tracking_client *now = tracking_of(rq->conn);

    reply_i64(rq->out, now->on ? (int64_t)now->redirect : -1);
}

void cmd_client_getredir(struct request *rq)
{
    if (at_home(rq))
        reply_redirect(rq);
}

static void reply_prefix(void *ctx, struct bytes prefix)
{
    reply_bulk(ctx, prefix);
}

void cmd_client_trackinginfo(struct request *rq)
{
    const struct tracking_client *now = tracking_of(rq->conn);
    const struct {
        bool is;
        const char *name;
    } flags[] = {{now->on, "on"},
                 {!now->on, "off"},
                 {now->bcast, "bcast"},
                 {now->optin, "optin"},
                 {now->optin && now->caching, "caching-yes"},
                 {now->optout, "optout"},
                 {now->optout && now->caching, "caching-no"},
                 {now->noloop, "noloop"},
                 {now->broken, "broken_redirect"}};
    uint64_t n = 0;

    if (!at_home(rq))
        return;
    reply_map(rq->out, 3);
    reply_bulk_cstr(rq->out, "flags");
    const struct reply_mark mark = reply_deferred_begin(rq->out, 1);
    for (size_t i = 0; i < ARRAY_COUNT(flags); i++) {
        if (!flags[i].is)
            continue;
        reply_bulk_cstr(rq->out, flags[i].name);
        n++;
    }
    reply_deferred_set(rq->out, mark, n);
    reply_bulk_cstr(rq->out, "redirect");
    reply_redirect(rq);
    reply_bulk_cstr(rq->out, "prefixes");
    reply_array(rq->out, now->prefixes.count);
    tracking_each_prefix(rq->conn, reply_prefix, rq->out);
}
