/* The links of one shard; group_link.h tells who dials, and what is said in the handshake. */
#include "server/group_link.h"

#include <string.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/log.h"

#include "replication/link/link.h"

#include "server/config.h"
#include "server/group_shard_impl.h"
#include "server/node.h"
#include "server/shard.h"

#define IDENTITY_BYTES  40u
#define SILENT_MS       1000u       /* Ten heartbeats: a new connection may take its place. */
#define QUEUE_BYTES_MAX (64u << 20) /* The core's credit bounds it far below. */
#define LOG_EVERY_IN_MS 10000

struct identity {
    uint8_t protocol;
    uint8_t origin;
    uint16_t shard;
    uint8_t group_id[WIRE_GROUP_ID_BYTES];
    uint64_t incarnation;
    uint64_t epoch;
};

static void put_identity(const struct group_shard *gs, uint8_t out[IDENTITY_BYTES])
{
    memset(out, 0, IDENTITY_BYTES);
    out[0] = WIRE_PROTOCOL;
    out[1] = gs->members.origin;
    le16_store(out + 2, (uint16_t)gs->sh->id);
    memcpy(out + 8, gs->members.group_id, WIRE_GROUP_ID_BYTES);
    le64_store(out + 24, gs->members.incarnation);
    le64_store(out + 32, gs->members.members.epoch);
}

static bool get_identity(struct bytes in, struct identity *out)
{
    if (in.len != IDENTITY_BYTES)
        return false;
    *out = (struct identity){.protocol = in.ptr[0],
                             .origin = in.ptr[1],
                             .shard = le16_load(in.ptr + 2),
                             .incarnation = le64_load(in.ptr + 24),
                             .epoch = le64_load(in.ptr + 32)};
    memcpy(out->group_id, in.ptr + 8, WIRE_GROUP_ID_BYTES);
    return out->origin != 0 && out->origin < GROUP_ORIGINS;
}

/* Whose link it is, once that is known; 0: nobody's. */
static uint8_t origin_of(const struct group_shard *gs, const struct link *link)
{
    const struct bytes identity = link_peer_identity(link);
    struct identity id;

    if (get_identity(identity, &id))
        return gs->links[id.origin].link == link ? id.origin : 0;
    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        if (gs->links[origin].link == link)
            return origin;
    }
    return 0;
}

static void tell(struct group_shard *gs, uint8_t origin, bool up, const char *why)
{
    struct group_link *l = &gs->links[origin];

    if (!up && !l->told && why == NULL)
        return;
    l->told = up;
    group_say_link(gs->sh, origin, up, why);
}

/* The connection is gone, or does not count any more. */
static void down(struct group_shard *gs, uint8_t origin, int err, const char *why)
{
    struct group_link *l = &gs->links[origin];
    const bool was_up = l->up;

    l->link = NULL;
    l->up = false;
    l->dial_at_ms = reactor_now_ms(gs->sh->reactor) + link_pause_next(&l->pause, err, &gs->sh->rng);
    tell(gs, origin, false, why);
    if (was_up && !gs->stopping)
        replica_link_down(gs->replica, origin);
}

/* --- callbacks of a link --- */

static const char *judge(const struct group_shard *gs, const struct link *link)
{
    struct identity id;

    if (!get_identity(link_peer_identity(link), &id))
        return "the handshake is not that of a shard of a member";
    if (id.protocol != WIRE_PROTOCOL)
        return "another version of the replication protocol: upgrade the older node";
    if (memcmp(id.group_id, gs->members.group_id, sizeof(id.group_id)) != 0)
        return "another replication group of the same name";
    if (id.shard != gs->sh->id)
        return "another shard than was asked for";
    const struct member *m = members_find(&gs->members.members, id.origin);
    if (m == NULL)
        return "not known as a member here yet";
    if (m->state == MEMBER_SEALED)
        return "unlinked from the group: delete its data directory and start it again";
    if (m->incarnation != id.incarnation)
        return "this member was recreated, and is not the one that the group knows";
    if (link_is_dialer(link) ? gs->links[id.origin].link != link : id.origin < gs->members.origin)
        return "not the member that was expected at this address";
    return NULL;
}

static const char *on_peer(struct link *link, void *ctx)
{
    const struct group_shard *gs = ctx;

    return gs->stopping ? "this node is stopping" : judge(gs, link);
}

/* Whether the link of before is dead, or there is none. */
static bool make_way(struct group_shard *gs, uint8_t origin, const struct link *link)
{
    struct link *old = gs->links[origin].link;
    struct link_figures figures;

    if (old == NULL || old == link)
        return true;
    link_figures(old, &figures);
    if (reactor_now_ms(gs->sh->reactor) - figures.heard_at_ms < SILENT_MS)
        return false;
    down(gs, origin, 0, NULL);
    link_drop(old);
    return true;
}

static void on_ready(struct link *link, void *ctx)
{
    struct group_shard *gs = ctx;
    struct identity id;

    if (!get_identity(link_peer_identity(link), &id) || gs->stopping ||
        !make_way(gs, id.origin, link) || !replica_may_link(gs->replica, id.origin)) {
        link_close(link, "not now");
        return;
    }
    struct group_link *l = &gs->links[id.origin];
    l->link = link;
    l->up = true;
    replica_link_up(gs->replica, id.origin);
}

static void on_frame(struct link *link, void *ctx, struct bytes frame)
{
    struct group_shard *gs = ctx;
    const uint8_t origin = origin_of(gs, link);

    if (origin != 0 && gs->links[origin].up && !gs->stopping)
        replica_receive(gs->replica, origin, frame);
}

static void on_closed(struct link *link, void *ctx, int err, const char *why)
{
    struct group_shard *gs = ctx;
    const uint8_t origin = origin_of(gs, link);

    if (err != -ERR_CANCELLED)
        LOG_EVERY_MS(LOG_EVERY_IN_MS, LOG_LEVEL_NOTICE, "group", "link ended shard=%u why=\"%s\"",
                     gs->sh->id, why);
    if (origin != 0)
        down(gs, origin, err, why);
}

static const struct link_ops ops = {
    .on_peer = on_peer, .on_ready = on_ready, .on_frame = on_frame, .on_closed = on_closed};

static void options_of(struct group_shard *gs, const uint8_t identity[IDENTITY_BYTES],
                       struct link_options *out)
{
    *out = (struct link_options){.ops = &ops,
                                 .ctx = gs,
                                 .kind = LINK_SHARD,
                                 .shard = (uint16_t)gs->sh->id,
                                 .identity = bytes_of(identity, IDENTITY_BYTES),
                                 .frame_bytes_max = LINK_FRAME_BYTES_MAX,
                                 .queue_bytes_max = QUEUE_BYTES_MAX};
}

/* --- what the shard asks for --- */

static bool is_live(const struct group_shard *gs, uint8_t origin)
{
    const struct member *m = members_find(&gs->members.members, origin);

    return m != NULL && m->state != MEMBER_SEALED;
}

static void dial(struct group_shard *gs, uint8_t origin)
{
    uint8_t identity[IDENTITY_BYTES];
    struct link_options options;

    put_identity(gs, identity);
    options_of(gs, identity, &options);
    gs->links[origin].link = link_dial(gs->hub, gs->members.address[origin], &options);
}

void group_links_tick(struct group_shard *gs, uint64_t now_ms)
{
    for (uint8_t origin = 1; origin < gs->members.origin; origin++) {
        const struct group_link *l = &gs->links[origin];

        if (l->link == NULL && now_ms >= l->dial_at_ms && is_live(gs, origin) &&
            replica_may_link(gs->replica, origin))
            dial(gs, origin);
    }
}

void group_links_accept(struct group_shard *gs, struct link_guest *take_guest)
{
    uint8_t identity[IDENTITY_BYTES];
    struct link_options options;

    if (gs->replica == NULL) {
        link_refuse(gs->hub, take_guest, "this node is not a member of the group yet");
        return;
    }
    put_identity(gs, identity);
    options_of(gs, identity, &options);
    (void)link_accept(gs->hub, take_guest, &options);
}

void group_links_members(struct group_shard *gs)
{
    for (uint8_t origin = 1; origin < GROUP_ORIGINS; origin++) {
        struct link *link = gs->links[origin].link;

        gs->links[origin].dial_at_ms = 0;
        gs->links[origin].pause = (struct link_pause){0};
        if (link == NULL || is_live(gs, origin))
            continue;
        down(gs, origin, 0, NULL);
        link_close(link, "unlinked from the group");
    }
}

void group_link_send(struct group_shard *gs, uint8_t origin, struct bytes frame)
{
    struct link *link = gs->links[origin].link;

    if (link == NULL || !gs->links[origin].up)
        return;
    const int err = link_send(link, frame);
    if (err == 0)
        return;
    /* on_closed tells the core. */
    LOG_EVERY_MS(LOG_EVERY_IN_MS, LOG_LEVEL_WARN, "group", "cannot send shard=%u err=\"%s\"",
                 gs->sh->id, err_str(err));
    link_close(link, "the send queue is full");
}

void group_link_close(struct group_shard *gs, uint8_t origin, const char *why)
{
    struct link *link = gs->links[origin].link;

    if (link == NULL)
        return;
    gs->links[origin].up = false; /* The core knows. */
    down(gs, origin, 0, NULL);
    link_close(link, why);
}

void group_link_greeted(struct group_shard *gs, uint8_t origin)
{
    gs->links[origin].pause = (struct link_pause){0};
    tell(gs, origin, true, NULL);
}

void group_links_flush(struct group_shard *gs)
{
    link_hub_flush(gs->hub);
}

/* --- life --- */

void group_links_init(struct group_shard *gs)
{
    struct group *g = gs->sh->node->group;
    const struct link_hub_options options = {.reactor = gs->sh->reactor,
                                             .mailbox = &gs->sh->mailbox,
                                             .resolver = &g->resolver,
                                             .secret = g->secret,
                                             .nickname = bytes_cstr(gs->sh->cfg->group_nickname)};

    gs->hub = link_hub_create(&options);
}

bool group_links_stop(struct group_shard *gs)
{
    if (!gs->hub_stopped)
        link_hub_stop(gs->hub, "this node is stopping");
    memset(gs->links, 0, sizeof(gs->links)); /* The hub frees them without a word. */
    gs->hub_stopped = true;
    return link_hub_empty(gs->hub);
}

void group_links_destroy(struct group_shard *gs)
{
    link_hub_destroy(gs->hub);
}
