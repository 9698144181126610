/*
 * The network: connections that keep their order, take their time, are cut, stall in one direction
 * or in both, and whose two ends learn of that at different times.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "tests/sim/sim_group.h"

static unsigned pair_of(const struct gs *gs, unsigned a, unsigned b)
{
    for (unsigned i = 0; i < gs->pairs_count; i++) {
        const struct gs_pair *pair = &gs->pairs[i];

        if ((pair->member[0] == a && pair->member[1] == b) ||
            (pair->member[0] == b && pair->member[1] == a))
            return i;
    }
    UNREACHABLE();
}

static void way_clear(struct gs_way *way)
{
    struct list_link *link;

    while ((link = list_pop_front(&way->frames)) != NULL)
        mem_free(LIST_ITEM(link, struct gs_frame, link));
    way->bytes = 0;
    way->stalled = 0;
}

void gs_net_init(struct gs *gs)
{
    for (unsigned i = 0; i < gs->members_count; i++) {
        for (unsigned j = i + 1; j < gs->members_count; j++) {
            struct gs_pair *pair = &gs->pairs[gs->pairs_count];

            pair->member[0] = i;
            pair->member[1] = j;
            pair->delay_us = gs_between(gs, 100, gs_chance(gs, 50) ? 5 * GS_MS : 80 * GS_MS);
            list_init(&pair->way[0].frames);
            list_init(&pair->way[1].frames);
            gs_at(gs, gs_between(gs, 0, 50 * GS_MS),
                  &(struct gs_event){.kind = GS_DIAL, .a = gs->pairs_count});
            gs->pairs_count++;
        }
    }
}

void gs_net_deinit(struct gs *gs)
{
    for (unsigned i = 0; i < gs->pairs_count; i++) {
        way_clear(&gs->pairs[i].way[0]);
        way_clear(&gs->pairs[i].way[1]);
    }
}

static void put(struct gs *gs, unsigned at, unsigned side, struct bytes bytes, bool fin)
{
    struct gs_pair *pair = &gs->pairs[at];
    struct gs_way *way = &pair->way[side];
    struct gs_frame *frame = mem_alloc(sizeof(*frame) + bytes.len);

    *frame = (struct gs_frame){.fin = fin, .len = bytes.len};
    if (bytes.len != 0)
        memcpy(frame->bytes, bytes.ptr, bytes.len);
    list_push_back(&way->frames, &frame->link);
    way->bytes += bytes.len;
    way->last_at =
        u64_max(way->last_at, gs->now + pair->delay_us + gs_between(gs, 0, pair->delay_us / 4 + 1));
    gs_at(gs, way->last_at - gs->now,
          &(struct gs_event){.kind = GS_ARRIVE, .a = at, .b = side, .life = pair->epoch});
}

/* An ACK that says that nothing was made before it. */
static bool hasten_ack(struct bytes frame, struct buf *out)
{
    struct wire_frame opened;
    struct wire_ack ack;

    if (frame.ptr[4] != WIRE_ACK)
        return false;
    CHECK(wire_open(frame, NULL, NULL, &opened) == 0);
    CHECK(wire_get_ack(opened.body, &ack) == 0);
    ack.as_of_seq = 0;
    CHECK(wire_put_ack(out, &ack) == 0);
    return true;
}

void gs_net_send(struct gs *gs, unsigned from, unsigned to, struct bytes bytes)
{
    struct buf changed;

    const unsigned at = pair_of(gs, from, to);
    struct gs_pair *pair = &gs->pairs[at];
    const unsigned side = pair->member[0] == from ? 0 : 1;

    CHECK(pair->up[side]);
    gs->totals.frames++;
    gs->totals.bytes += bytes.len;
    buf_init(&changed, SIZE_MAX);
    if (gs->fault == GS_ACK_OVERTAKES && hasten_ack(bytes, &changed))
        bytes = buf_bytes(&changed);
    if (!pair->cut)
        put(gs, at, side, bytes, false);
    buf_deinit(&changed);
}

void gs_net_close(struct gs *gs, unsigned from, unsigned to)
{
    const unsigned at = pair_of(gs, from, to);
    struct gs_pair *pair = &gs->pairs[at];
    const unsigned side = pair->member[0] == from ? 0 : 1;

    if (!pair->up[side])
        return;
    pair->up[side] = false;
    if (!pair->cut)
        put(gs, at, side, bytes_of(NULL, 0), true);
}

/* The side learns that the connection is gone. */
static void lose(struct gs *gs, struct gs_pair *pair, unsigned side)
{
    struct gs_member *m = &gs->members[pair->member[side]];

    if (!pair->up[side])
        return;
    pair->up[side] = false;
    if (m->up)
        core_link_down(m->core, GS_ORIGIN(pair->member[1 - side]));
}

void gs_net_arrive(struct gs *gs, unsigned at, unsigned side, uint64_t epoch)
{
    struct gs_pair *pair = &gs->pairs[at];
    struct gs_way *way = &pair->way[side];
    struct gs_member *to = &gs->members[pair->member[1 - side]];

    if (pair->epoch != epoch || pair->cut)
        return;
    if (way->blocked || to->paused) {
        way->stalled++;
        return;
    }
    struct list_link *link = list_pop_front(&way->frames);
    if (link == NULL)
        return;
    struct gs_frame *frame = LIST_ITEM(link, struct gs_frame, link);
    way->bytes -= frame->len;
    if (frame->fin)
        lose(gs, pair, 1 - side);
    else if (pair->up[1 - side] && to->up)
        core_receive(to->core, GS_ORIGIN(pair->member[side]), bytes_of(frame->bytes, frame->len));
    mem_free(frame);
}

static bool reachable(const struct gs *gs, const struct gs_pair *pair)
{
    for (unsigned side = 0; side < 2; side++) {
        const struct gs_member *m = &gs->members[pair->member[side]];

        if (!m->up || m->paused || pair->way[side].blocked)
            return false;
    }
    return true;
}

void gs_net_dial(struct gs *gs, unsigned at)
{
    struct gs_pair *pair = &gs->pairs[at];
    const unsigned side = gs_pick(gs, 2);
    const unsigned dialer = pair->member[side];
    const unsigned other = pair->member[1 - side];

    gs_at(gs, gs_between(gs, 20 * GS_MS, 120 * GS_MS),
          &(struct gs_event){.kind = GS_DIAL, .a = at});
    if (pair->up[side] || !reachable(gs, pair) ||
        !core_may_link(gs->members[dialer].core, GS_ORIGIN(other)))
        return;
    /* The other side may still believe in the old connection. */
    lose(gs, pair, 1 - side);
    way_clear(&pair->way[0]);
    way_clear(&pair->way[1]);
    pair->epoch++;
    pair->cut = false;
    pair->way[0].last_at = pair->way[1].last_at = gs->now;
    pair->up[0] = pair->up[1] = true;
    gs_trace(gs, "link %u-%u", dialer, other);
    core_link_up(gs->members[dialer].core, GS_ORIGIN(other));
    if (pair->up[1 - side])
        core_link_up(gs->members[other].core, GS_ORIGIN(dialer));
}

void gs_net_link_down(struct gs *gs, unsigned at, unsigned side, uint64_t epoch)
{
    struct gs_pair *pair = &gs->pairs[at];

    if (pair->epoch == epoch)
        lose(gs, pair, side);
}

void gs_net_cut(struct gs *gs, unsigned at)
{
    struct gs_pair *pair = &gs->pairs[at];

    if (pair->cut)
        return;
    pair->cut = true;
    way_clear(&pair->way[0]);
    way_clear(&pair->way[1]);
    gs->totals.cuts++;
    for (unsigned side = 0; side < 2; side++)
        gs_at(gs, gs_between(gs, 0, 300 * GS_MS),
              &(struct gs_event){.kind = GS_LINK_DOWN, .a = at, .b = side, .life = pair->epoch});
}

static void release(struct gs *gs, unsigned at, unsigned side)
{
    struct gs_way *way = &gs->pairs[at].way[side];

    for (; way->stalled != 0; way->stalled--)
        gs_at(
            gs, 1,
            &(struct gs_event){.kind = GS_ARRIVE, .a = at, .b = side, .life = gs->pairs[at].epoch});
}

void gs_net_block(struct gs *gs, unsigned at, unsigned side, bool blocked)
{
    gs->pairs[at].way[side].blocked = blocked;
    if (!blocked)
        release(gs, at, side);
}

void gs_net_member_down(struct gs *gs, unsigned index)
{
    for (unsigned i = 0; i < gs->pairs_count; i++) {
        struct gs_pair *pair = &gs->pairs[i];

        for (unsigned side = 0; side < 2; side++) {
            if (pair->member[side] != index)
                continue;
            pair->up[side] = false;
            gs_net_cut(gs, i);
        }
    }
}

void gs_net_member_resumed(struct gs *gs, unsigned index)
{
    for (unsigned i = 0; i < gs->pairs_count; i++) {
        for (unsigned side = 0; side < 2; side++) {
            if (gs->pairs[i].member[1 - side] == index && !gs->pairs[i].way[side].blocked)
                release(gs, i, side);
        }
    }
}
