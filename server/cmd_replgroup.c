/* REPLGROUP but for EXPLAIN (cmd_explain.c): on shard 0's thread. */
#include <inttypes.h>

#include "server/audit.h"
#include "server/config.h"
#include "server/conn.h"
#include "server/group_node.h"
#include "server/group_view.h"
#include "server/handlers.h"
#include "server/node.h"
#include "server/request.h"
#include "server/shard.h"

#define TEXT_BYTES_MAX 1024

/* NULL, and an error was replied: the node stands alone. */
static struct group *group_of(struct request *rq)
{
    struct group *g = rq->sh->node->group;

    if (g == NULL)
        reply_err_no_group(rq->out);
    return g;
}

static void field(struct reply *r, const char *name, const char *value)
{
    reply_bulk_cstr(r, name);
    reply_bulk_cstr(r, value);
}

static void field_u64(struct reply *r, const char *name, uint64_t value)
{
    reply_bulk_cstr(r, name);
    reply_u64(r, value);
}

static void field_i64(struct reply *r, const char *name, int64_t value)
{
    reply_bulk_cstr(r, name);
    reply_i64(r, value);
}

void cmd_replgroup_status(struct request *rq)
{
    struct group *g = group_of(rq);
    struct control_status s;

    if (g == NULL)
        return;
    control_status(g->control, &s);
    const char *refusal = group_view_refusal(g);
    reply_map(rq->out, 13);
    field(rq->out, "group-nickname", rq->sh->cfg->group_nickname);
    field(rq->out, "member-name", rq->sh->cfg->member_name);
    field(rq->out, "state", group_view_state(s.state));
    field_u64(rq->out, "origin", s.origin);
    field_u64(rq->out, "epoch", s.epoch);
    reply_bulk_cstr(rq->out, "lineage");
    reply_bulk_printf(rq->out, "%016" PRIx64, s.lineage);
    field_u64(rq->out, "flush-epoch", s.flush_epoch);
    field_u64(rq->out, "members", group_view_members(g));
    field(rq->out, "writes", refusal == NULL ? "ok" : refusal);
    const char *full = group_view_full(g);
    field(rq->out, "incoming", full == NULL ? "ok" : full);
    field(rq->out, "refused", s.refused_text);
    field(rq->out, "waits", s.waits_text);
    field(rq->out, "apart", s.apart_text);
}

static void reply_member(struct reply *r, const struct group *g, uint8_t origin)
{
    struct group_view v;

    group_view_member(g, origin, &v);
    reply_map(r, 10);
    field(r, "name", v.name);
    field(r, "address", v.address);
    field_u64(r, "origin", origin);
    field(r, "member-state", v.member_state);
    field(r, "link-state", v.link_state);
    field(r, "link-error", v.link_error);
    field_u64(r, "lag-ms", v.sum.lag_ms);
    field_u64(r, "lag-ops", v.sum.lag_batches);
    field_u64(r, "lag-bytes", v.sum.retained_bytes);
    field(r, "incoming", group_view_peer_room(&v.sum));
}

void cmd_replgroup_members(struct request *rq)
{
    struct group *g = group_of(rq);

    if (g == NULL)
        return;
    const struct membership *m = control_members(g->control);
    const uint8_t count = m == NULL ? 0 : m->count;
    reply_array(rq->out, count);
    for (uint8_t origin = 1; origin <= count; origin++)
        reply_member(rq->out, g, origin);
}

static void reply_lag(struct reply *r, const struct group *g, uint8_t origin, uint32_t shard)
{
    const struct core_peer_info *p = &g->reports[shard].peer[origin];

    reply_map(r, 18);
    field(r, "peer", control_members(g->control)->at[origin - 1].name);
    field_u64(r, "shard", shard);
    field(r, "link", group_view_link(p->state));
    field(r, "incoming", group_view_peer_room(p));
    field(r, "last-error", p->reason == WIRE_OK ? "" : wire_reason_str(p->reason));
    field_u64(r, "lag-ms", p->lag_ms);
    field_u64(r, "lag-ops", p->lag_batches);
    field_u64(r, "lag-bytes", p->retained_bytes);
    field_i64(r, "retention-left-ms",
              p->retained_left_ms == UINT64_MAX ? -1 : (int64_t)p->retained_left_ms);
    field_u64(r, "behind-retention", p->behind);
    field_u64(r, "rtt-ms", p->rtt_ms);
    field_i64(r, "clock-offset-ms", p->offset_ms);
    field_u64(r, "bytes-out", p->bytes_out);
    field_u64(r, "bytes-out-unpacked", p->bytes_unpacked_out);
    field_u64(r, "ops-out", p->batches_out);
    field_u64(r, "bytes-in", p->bytes_in);
    field_u64(r, "ops-in", p->batches_in);
    field_u64(r, "relayed-in", p->relayed_in);
}

void cmd_replgroup_lag(struct request *rq)
{
    struct group *g = group_of(rq);
    uint64_t count = 0;

    if (g == NULL)
        return;
    const struct reply_mark mark = reply_deferred_begin(rq->out, 8);
    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        for (uint32_t i = 0; i < rq->sh->node->shards_count; i++) {
            if (!g->reports[i].is_peer[origin] || control_members(g->control) == NULL)
                continue;
            reply_lag(rq->out, g, origin, i);
            count++;
        }
    }
    reply_deferred_array(rq->out, mark, count);
}

/* --- changes --- */

/* `what`: with REPLGROUP in front. Who did it, or tried to, stands in the log of the server. */
static void reply_outcome(struct request *rq, int err, const struct buf *text, const char *what)
{
    const struct bytes none = BYTES_LIT("");

    if (err == 0) {
        audit_note(rq->conn, what, none, "ok");
        reply_ok(rq->out);
        return;
    }
    audit_note(rq->conn, what, none, "refused");
    reply_error(rq->out, "ERR %.*s", (int)text->len, (const char *)text->ptr);
}

void cmd_replgroup_force_unlink(struct request *rq)
{
    struct group *g = group_of(rq);
    const bool force = req_is(rq, rq->argc - 1, "FORCE");
    const uint32_t names = rq->argc - 2 - force;
    struct buf text;

    if (g == NULL)
        return;
    if (names == 0) {
        reply_error(rq->out, "ERR name the members to unlink: REPLGROUP FORCE-UNLINK name [name "
                             "...] [FORCE]");
        return;
    }
    buf_init(&text, TEXT_BYTES_MAX);
    const int err = control_force_unlink(g->control, rq->argv + 2, names, force, &text);
    reply_outcome(rq, err, &text,
                  force ? "REPLGROUP FORCE-UNLINK with FORCE" : "REPLGROUP FORCE-UNLINK");
    buf_deinit(&text);
}

void cmd_replgroup_leave(struct request *rq)
{
    struct group *g = group_of(rq);
    struct buf text;

    if (g == NULL)
        return;
    buf_init(&text, TEXT_BYTES_MAX);
    const int err = control_leave(g->control, &text);
    reply_outcome(rq, err, &text, "REPLGROUP LEAVE");
    buf_deinit(&text);
}

void cmd_replgroup_flush(struct request *rq)
{
    struct group *g = group_of(rq);
    struct buf text;

    if (g == NULL)
        return;
    const bool confirmed =
        rq->argc == 3 && bytes_eq(rq->argv[2], bytes_cstr(rq->sh->cfg->group_nickname));
    if (!confirmed) {
        audit_note(rq->conn, "REPLGROUP FLUSH", BYTES_LIT(""), "unconfirmed");
        reply_error(rq->out,
                    "ERR this removes all keys from every member of the group; to confirm it, give "
                    "its nickname: REPLGROUP FLUSH %s",
                    rq->sh->cfg->group_nickname);
        return;
    }
    buf_init(&text, TEXT_BYTES_MAX);
    const int err = control_flush(g->control, true, &text);
    reply_outcome(rq, err, &text, "REPLGROUP FLUSH");
    buf_deinit(&text);
}

void cmd_replgroup_help(struct request *rq)
{
    static const char *const lines[] = {
        "STATUS",
        "    What this node is in its replication group, whether it takes writes, and what it",
        "    waits for.",
        "MEMBERS",
        "    All members there ever were, and the state of the links to them: Linked, Linking,",
        "    LinkFailed, Unlinking, UnlinkFailed.",
        "LAG",
        "    For each peer and shard: how far it is behind this node, and what is kept for it.",
        "FORCE-UNLINK <name> [<name> ...] [FORCE]",
        "    Remove members that are gone for good. FORCE: although those who stay are not the",
        "    majority.",
        "LEAVE",
        "    Leave the group when the others have all that is here.",
        "DIGEST",
        "    Whether all members hold the same, or which keys differ. Reads all data.",
        "EXPLAIN <key> [<field>|<member>|<index>]",
        "    Why what is there won: its tag, what lost to it and why, what each member added.",
        "FLUSH <group-nickname>",
        "    Remove all keys from every member.",
        NULL,
    };

    reply_help(rq->out, "REPLGROUP", lines);
}
