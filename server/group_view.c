/* What INFO and REPLGROUP show of a group. */
#include "server/group_view.h"

#include <inttypes.h>

#include "engine/base/num.h"

#include "server/config.h"
#include "server/info.h"
#include "server/node.h"

const char *group_view_state(uint8_t state)
{
    static const char *const names[] = {
        [CONTROL_STARTING] = "starting", [CONTROL_SEEKING] = "seeking",
        [CONTROL_JOINING] = "joining",   [CONTROL_ACTIVE] = "active",
        [CONTROL_LEAVING] = "leaving",   [CONTROL_UNLINKED] = "unlinked",
        [CONTROL_LEFT] = "left",         [CONTROL_RETIRING] = "retiring",
    };

    return state < ARRAY_COUNT(names) ? names[state] : "?";
}

const char *group_view_link(uint8_t state)
{
    static const char *const names[] = {
        [CORE_LINK_DOWN] = "down",
        [CORE_LINK_GREETING] = "greeting",
        [CORE_LINK_UP] = "up",
        [CORE_LINK_PARKED] = "parked",
    };

    return state < ARRAY_COUNT(names) ? names[state] : "?";
}

static const char *member_state(uint8_t state)
{
    switch ((enum membership_state)state) {
    case MEMBERSHIP_JOINING:
        return "joining";
    case MEMBERSHIP_ACTIVE:
        return "active";
    case MEMBERSHIP_SEALED:
        return "unlinked";
    case MEMBERSHIP_LEFT:
        return "left";
    case MEMBERSHIP_NONE:
        break;
    }
    return "?";
}

/* The worst and the sums of all shards. */
static void sum_up(const struct group *g, uint8_t origin, struct core_peer_info *sum)
{
    *sum = (struct core_peer_info){.retained_left_ms = UINT64_MAX};
    for (uint32_t i = 0; i < g->node->shards_count; i++) {
        const struct core_peer_info *p = &g->reports[i].peer[origin];

        if (!g->reports[i].is_peer[origin])
            continue;
        sum->lag_ms = u64_max(sum->lag_ms, p->lag_ms);
        sum->rtt_ms = u64_max(sum->rtt_ms, p->rtt_ms);
        sum->retained_left_ms = u64_min(sum->retained_left_ms, p->retained_left_ms);
        sum->offset_ms = p->offset_ms;
        sum->behind = sum->behind || p->behind;
        sum->self_behind = sum->self_behind || p->self_behind;
        sum->full = sum->full || p->full;
        sum->lag_batches += p->lag_batches;
        sum->retained_bytes += p->retained_bytes;
        sum->bytes_out += p->bytes_out;
        sum->bytes_unpacked_out += p->bytes_unpacked_out;
        sum->batches_out += p->batches_out;
        sum->bytes_in += p->bytes_in;
        sum->batches_in += p->batches_in;
        sum->relayed_in += p->relayed_in;
    }
}

void group_view_member(const struct group *g, uint8_t origin, struct group_view *out)
{
    const struct membership_member *m = &control_members(g->control)->at[origin - 1];
    struct control_peer peer;

    *out = (struct group_view){.name = m->name,
                               .address = m->address,
                               .member_state = member_state(m->state),
                               .link_state = ""};
    sum_up(g, origin, &out->sum);
    if (!control_peer(g->control, origin, &peer))
        return;
    out->link_state = control_link_state_str(peer.state);
    memcpy(out->link_error, peer.error, sizeof(out->link_error));
}

uint64_t group_view_members(const struct group *g)
{
    const struct membership *m = control_members(g->control);

    return m == NULL ? 0 : membership_set_count(membership_live_set(m));
}

const char *group_view_refusal(const struct group *g)
{
    /* The others wait for it in vain. */
    for (uint32_t i = 0; i < g->node->shards_count; i++) {
        if (g->reports[i].failed)
            return g->reports[i].refusal;
    }
    for (uint32_t i = 0; i < g->node->shards_count; i++) {
        if (!g->reports[i].here)
            return "this node is not a member of its replication group yet";
        if (g->reports[i].refusal != NULL)
            return g->reports[i].refusal;
    }
    return NULL;
}

const char *group_view_full(const struct group *g)
{
    for (uint32_t i = 0; i < g->node->shards_count; i++) {
        if (g->reports[i].full[0] != '\0')
            return g->reports[i].full;
    }
    return NULL;
}

const char *group_view_peer_room(const struct core_peer_info *p)
{
    return p->full ? "full" : "ok";
}

/* --- INFO --- */

static void write_peer(const struct group *g, uint8_t origin, unsigned number, struct buf *out)
{
    struct group_view v;

    group_view_member(g, origin, &v);
    const struct core_peer_info *p = &v.sum;
    INFO_PRINT(out,
               "peer%u:name=%s,address=%s,origin=%u,member_state=%s,link_state=%s,lag_ms=%" PRIu64
               ",lag_ops=%" PRIu64 ",lag_bytes=%" PRIu64 ",rtt_ms=%" PRIu64
               ",clock_offset_ms=%" PRId64 ",bytes_out=%" PRIu64 ",bytes_unpacked_out=%" PRIu64
               ",ops_out=%" PRIu64 ",bytes_in=%" PRIu64 ",ops_in=%" PRIu64 ",incoming=%s\r\n",
               number, v.name, v.address, origin, v.member_state, v.link_state, p->lag_ms,
               p->lag_batches, p->retained_bytes, p->rtt_ms, p->offset_ms, p->bytes_out,
               p->bytes_unpacked_out, p->batches_out, p->bytes_in, p->batches_in,
               group_view_peer_room(p));
    for (uint32_t i = 0; i < g->node->shards_count; i++) {
        p = &g->reports[i].peer[origin];
        INFO_PRINT(out,
                   "peer%u_shard%u:link=%s,lag_ms=%" PRIu64 ",lag_ops=%" PRIu64
                   ",lag_bytes=%" PRIu64 "\r\n",
                   number, i, group_view_link(p->state), p->lag_ms, p->lag_batches,
                   p->retained_bytes);
    }
}

static void write_peers(const struct group *g, struct buf *out)
{
    const struct membership *m = control_members(g->control);
    struct control_status s;
    unsigned number = 0;

    control_status(g->control, &s);
    for (uint8_t origin = 1; m != NULL && origin <= m->count; origin++) {
        if (origin != s.origin && membership_live(&m->at[origin - 1]))
            write_peer(g, origin, number++, out);
    }
}

static void write_metrics(const struct group *g, struct buf *out)
{
    struct replica_metrics sum = {0};
    struct ks_group_metrics keys = {0};
    struct link_metrics links = {0};
    uint64_t memory = 0, unsettled = 0, waiting = 0;

    for (uint32_t i = 0; i < g->node->shards_count; i++) {
        const struct group_report *r = &g->reports[i];
#define ADD(name, type, help) sum.name += r->metrics.name;
        REPLICA_METRICS(ADD)
#undef ADD
#define ADD(name, type, help) keys.name += r->keys.name;
        KS_GROUP_METRICS(ADD)
#undef ADD
#define ADD(name, type, help) links.name += r->links.name;
        LINK_METRICS(ADD)
#undef ADD
        memory += r->memory_bytes;
        unsettled += r->unsettled_keys;
        waiting += r->waiting_keys;
    }
#define WRITE(name, type, help) INFO_U64(out, #name, sum.name);
    REPLICA_METRICS(WRITE)
#undef WRITE
#define WRITE(name, type, help) INFO_U64(out, #name, keys.name);
    KS_GROUP_METRICS(WRITE)
#undef WRITE
#define WRITE(name, type, help) INFO_U64(out, "link_" #name, links.name);
    LINK_METRICS(WRITE)
#undef WRITE
    INFO_U64(out, "replica_memory_bytes", memory);
    INFO_U64(out, "unsettled_keys", unsettled);
    INFO_U64(out, "keys_waiting_for_gc", waiting);
}

void group_view_info(const struct group *g, struct buf *out)
{
    struct control_status s;

    INFO_PRINT(out, "# Replgroup\r\n");
    INFO_U64(out, "replgroup_enabled", g != NULL);
    if (g == NULL)
        return;
    control_status(g->control, &s);
    const char *refusal = group_view_refusal(g);
    INFO_PRINT(out, "group_nickname:%s\r\nmember_name:%s\r\nmember_state:%s\r\n",
               g->node->cfg->group_nickname, g->node->cfg->member_name, group_view_state(s.state));
    INFO_U64(out, "member_origin", s.origin);
    INFO_U64(out, "membership_epoch", s.epoch);
    INFO_U64(out, "flush_epoch", s.flush_epoch);
    INFO_U64(out, "members", group_view_members(g));
    const char *full = group_view_full(g);
    INFO_PRINT(out, "writes:%s\r\nincoming:%s\r\napart:%s\r\n", refusal == NULL ? "ok" : refusal,
               full == NULL ? "ok" : full, s.apart_text);
    write_peers(g, out);
    write_metrics(g, out);
}
