/*
 * A node: its disk, its host functions, its data as positions, and the operator in front of it.
 */
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "tests/sim/sim_control.h"

static const char *const names[CS_NODES_MAX] = {"n0", "n1", "n2", "n3", "n4", "n5", "n6"};
static const char *const addresses[CS_NODES_MAX] = {"a0:1", "a1:1", "a2:1", "a3:1",
                                                    "a4:1", "a5:1", "a6:1"};

unsigned cs_node_of(const struct cs *cs, const char *address)
{
    for (unsigned i = 0; i < cs->nodes_count; i++) {
        if (strcmp(addresses[i], address) == 0)
            return i;
    }
    return CS_NODES_MAX;
}

/* --- the host --- */

static void post(struct cs *cs, unsigned from, unsigned to, struct bytes bytes)
{
    struct cs_event e = {.kind = CS_ARRIVE, .a = to, .b = from, .len = bytes.len};
    uint64_t delay = cs_between(cs, 1, cs->delay_ms);

    if (!cs->calm && cs_chance(cs, 4))
        delay += cs_between(cs, 1, 1500);
    e.bytes = mem_alloc(bytes.len);
    memcpy(e.bytes, bytes.ptr, bytes.len);
    cs_at(cs, delay, &e);
}

/* A survivor's answer that it never gave: that it has nothing. */
static void forge_positions(struct cs *cs, unsigned from, unsigned to, struct bytes bytes)
{
    const struct cs_node *node = &cs->nodes[to];
    uint8_t zeros[MEMBERSHIP_EVER_MAX * CS_SHARDS] = {0};
    struct control_msg msg;
    struct buf out;

    if (node->control == NULL || control_msg_decode(bytes, &msg) != 0 ||
        msg.kind != CONTROL_PREPARE || msg.set == 0 || !cs_chance(cs, 50))
        return;
    msg.kind = CONTROL_POSITIONS;
    msg.incarnation = node->control->stored.incarnation;
    msg.set = control_freeze_set(cs->nodes[from].control, msg.set);
    msg.value = bytes_of(zeros, membership_set_count(msg.set) * CS_SHARDS);
    buf_init(&out, CONTROL_MSG_BYTES_MAX);
    CHECK(control_msg_encode(&msg, &out) == 0);
    post(cs, to, from, buf_bytes(&out));
    buf_deinit(&out);
}

static void host_send(void *ctx, const char *address, struct bytes bytes)
{
    struct cs_node *node = ctx;
    struct cs *cs = node->cs;
    const unsigned to = cs_node_of(cs, address);

    CHECK(bytes.len <= CONTROL_MSG_BYTES_MAX);
    if (to == CS_NODES_MAX || to == node->index)
        return;
    if ((bytes.ptr[5] == CONTROL_PROMISE || bytes.ptr[5] == CONTROL_ACCEPTED) &&
        cs_chance(cs, cs->ambush_percent))
        cs_at(cs, cs_between(cs, 1, 30),
              &(struct cs_event){.kind = CS_CRASH, .a = node->index, .life = node->life});
    if (cs->fault == CS_F_OF_SOME)
        forge_positions(cs, node->index, to, bytes);
    if (cs->cut[node->index][to] || (!cs->calm && cs_chance(cs, cs->loss_percent)))
        return;
    post(cs, node->index, to, bytes);
    if (!cs->calm && cs_chance(cs, cs->double_percent))
        post(cs, node->index, to, bytes);
}

static void host_persist(void *ctx, uint64_t version, struct bytes bytes)
{
    struct cs_node *node = ctx;
    struct cs *cs = node->cs;

    if (node->writing_version != 0)
        cs_fail(cs, "n%u persists twice at once", node->index);
    buf_clear(&node->writing);
    CHECK(buf_append_bytes(&node->writing, bytes) == 0);
    node->writing_version = version;
    cs_at(cs, cs_between(cs, 1, !cs->calm && cs_chance(cs, 10) ? 400 : 15),
          &(struct cs_event){.kind = CS_WRITTEN, .a = node->index, .life = node->life});
}

static void host_members(void *ctx, const struct membership *members)
{
    struct cs_node *node = ctx;

    node->frozen = 0;
    node->draining = false;
    node->told_epoch = members->epoch;
    cs_trace(node->cs, "n%u is at epoch %llu, %u members ever, lineage %llx", node->index,
             (unsigned long long)members->epoch, members->count,
             (unsigned long long)membership_lineage(members));
}

static void host_freeze(void *ctx, uint8_t origin)
{
    struct cs_node *node = ctx;
    struct cs *cs = node->cs;

    node->frozen |= membership_bit(origin);
    cs_at(cs, cs_between(cs, 1, cs->calm ? 20 : 300),
          &(struct cs_event){.kind = CS_FROZEN,
                             .a = node->index,
                             .b = origin,
                             .life = node->life,
                             .detail = node->told_epoch});
}

static void host_drain(void *ctx)
{
    struct cs_node *node = ctx;

    node->draining = true;
}

static void host_flush(void *ctx, uint64_t epoch)
{
    struct cs_node *node = ctx;

    if (epoch < node->flush_epoch)
        cs_fail(node->cs, "n%u: the flush epoch goes back", node->index);
    node->flush_epoch = epoch;
}

static void host_event(void *ctx, const struct control_event *event)
{
    struct cs_node *node = ctx;
    struct cs_totals *totals = &node->cs->totals;

    totals->joins += event->kind == CONTROL_JOINED;
    totals->refusals += event->kind == CONTROL_REFUSED;
    totals->forks_seen += event->kind == CONTROL_FORK_SEEN;
    cs_trace(node->cs, "n%u: event %u, reason %u, origin %u, %llu", node->index, event->kind,
             event->reason, event->origin, (unsigned long long)event->detail);
}

static const struct control_host host = {.send = host_send,
                                         .persist = host_persist,
                                         .members = host_members,
                                         .freeze = host_freeze,
                                         .drain = host_drain,
                                         .flush = host_flush,
                                         .event = host_event};

/* --- life --- */

void cs_node_init(struct cs *cs, unsigned index)
{
    struct cs_node *node = &cs->nodes[index];

    node->cs = cs;
    node->index = index;
    node->other_config = index != 0 && cs_chance(cs, 5);
    buf_init(&node->disk, CONTROL_STORED_BYTES_MAX);
    buf_init(&node->writing, CONTROL_STORED_BYTES_MAX);
}

void cs_node_deinit(struct cs_node *node)
{
    control_destroy(node->control);
    node->control = NULL;
    buf_deinit(&node->disk);
    buf_deinit(&node->writing);
}

/* What the broken rule did not write. */
static void spoil_disk(struct cs_node *node)
{
    struct control_stored *stored;

    if (node->cs->fault == CS_SOUND || node->cs->fault == CS_F_OF_SOME || node->disk.len == 0)
        return;
    stored = mem_zalloc(sizeof(*stored));
    control_stored_init(stored);
    CHECK(control_stored_decode(buf_bytes(&node->disk), stored) == 0);
    for (unsigned i = 0; i < CONTROL_MODES; i++) {
        struct control_slot *slot = &stored->slots[i];

        if (node->cs->fault == CS_LOST_PROMISES)
            slot->promised = (struct control_ballot){0, 0};
        if (node->cs->fault == CS_LOST_FREEZE)
            slot->unlink = 0;
        if (node->cs->fault != CS_LOST_ACCEPTS)
            continue;
        slot->accepted = (struct control_ballot){0, 0};
        buf_clear(&slot->value);
    }
    CHECK(control_stored_encode(stored, &node->disk) == 0);
    control_stored_deinit(stored);
    mem_free(stored);
}

void cs_node_start(struct cs_node *node)
{
    struct cs *cs = node->cs;
    struct control_options options = {
        .nickname = "group",
        .name = names[node->index],
        .linked_count = cs->nodes_count,
        .config = {.sku = "A250",
                   .maxmemory_bytes = node->other_config ? 2 : 1,
                   .maxflash_bytes = 10,
                   .eviction = "noeviction",
                   .clustering = "enterprise",
                   .shards = CS_SHARDS,
                   .modules = ""},
        .seed = rng_u64(&cs->rng),
    };

    for (unsigned i = 0; i < cs->nodes_count; i++)
        options.linked[i] = (struct control_linked){names[i], addresses[i]};
    spoil_disk(node);
    options.state = buf_bytes(&node->disk);
    CHECK(control_create(&options, &host, node, &node->control) == 0);
    node->up = true;
    node->frozen = 0;
    node->draining = false;
    node->told_epoch = 0;
    node->flush_epoch = 0;
    cs_trace(cs, "n%u starts", node->index);
    control_tick(node->control, cs->now);
}

void cs_node_crash(struct cs_node *node)
{
    struct cs *cs = node->cs;

    cs_trace(cs, "n%u crashes", node->index);
    cs->totals.crashes++;
    /* What was being written is there or not. */
    if (node->writing_version != 0 && cs_chance(cs, 40)) {
        buf_clear(&node->disk);
        CHECK(buf_append_bytes(&node->disk, buf_bytes(&node->writing)) == 0);
    }
    node->writing_version = 0;
    control_destroy(node->control);
    node->control = NULL;
    node->up = false;
    node->life++;
    node->seen_epoch = 0;
}

void cs_node_recreate(struct cs_node *node)
{
    cs_trace(node->cs, "n%u is deleted and recreated", node->index);
    if (node->up)
        cs_node_crash(node);
    buf_clear(&node->disk);
    memset(node->pos, 0, sizeof(node->pos));
    cs_node_start(node);
}

void cs_node_written(struct cs_node *node)
{
    const uint64_t version = node->writing_version;

    CHECK(version != 0);
    buf_clear(&node->disk);
    CHECK(buf_append_bytes(&node->disk, buf_bytes(&node->writing)) == 0);
    node->writing_version = 0;
    control_persisted(node->control, version);
}

void cs_node_frozen(struct cs_node *node, uint8_t origin)
{
    if ((node->frozen & membership_bit(origin)) != 0)
        control_frozen(node->control, origin, node->pos[origin - 1]);
}

/* --- data --- */

static bool linked(const struct cs_node *a, const struct cs_node *b)
{
    const struct membership *ma = a->up ? control_members(a->control) : NULL;
    const struct membership *mb = b->up ? control_members(b->control) : NULL;

    return a != b && ma != NULL && mb != NULL && !a->cs->cut[a->index][b->index] &&
           !a->cs->cut[b->index][a->index] && ma->epoch == mb->epoch && ma->sum == mb->sum &&
           control_is_live(a->control) && control_is_live(b->control);
}

static void tell_links(struct cs_node *node)
{
    const struct membership *m = control_members(node->control);

    for (unsigned i = 0; m != NULL && i < m->count; i++) {
        const unsigned at = cs_node_of(node->cs, m->at[i].address);
        const struct cs_node *peer = &node->cs->nodes[at];
        const bool up =
            linked(node, peer) && peer->control->stored.incarnation == m->at[i].incarnation;

        control_link(node->control, (uint8_t)(i + 1), up, up ? NULL : "cannot be reached");
    }
}

static void pull(struct cs_node *to, const struct cs_node *from, bool all)
{
    const struct membership *m = control_members(to->control);

    for (unsigned i = 0; i < m->count; i++) {
        for (unsigned shard = 0; shard < CS_SHARDS; shard++) {
            uint64_t upto = from->pos[i][shard];
            uint64_t *at = &to->pos[i][shard];

            if (!membership_live(&m->at[i]))
                upto = u64_min(upto, m->at[i].sealed_seq[shard]);
            if ((to->frozen >> i & 1) != 0 || upto <= *at)
                continue;
            *at = all ? upto : cs_between(to->cs, *at, upto);
        }
    }
}

/* Whether every other member has all that is here; one that cannot be asked has not. */
static bool drained(const struct cs_node *node)
{
    const struct membership *m = control_members(node->control);

    for (unsigned o = 0; o < m->count; o++) {
        const unsigned at = cs_node_of(node->cs, m->at[o].address);

        if (!membership_live(&m->at[o]) || at == node->index)
            continue;
        if (node->cs->nodes[at].up &&
            node->cs->nodes[at].control->stored.incarnation != m->at[o].incarnation)
            return false;
        if (!linked(node, &node->cs->nodes[at]))
            return false;
        for (unsigned i = 0; i < m->count; i++) {
            for (unsigned shard = 0; shard < CS_SHARDS; shard++) {
                if (node->cs->nodes[at].pos[i][shard] < node->pos[i][shard])
                    return false;
            }
        }
    }
    return true;
}

void cs_node_data(struct cs_node *node)
{
    struct cs *cs = node->cs;
    struct control_status status;

    control_status(node->control, &status);
    tell_links(node);
    if (control_may_write(node->control) && !cs->calm)
        node->pos[status.origin - 1][cs_pick(cs, CS_SHARDS)]++;
    for (unsigned i = 0; i < cs->nodes_count; i++) {
        const struct cs_node *from = &cs->nodes[(node->index + i) % cs->nodes_count];

        if (!linked(node, from) || (!cs->calm && cs_chance(cs, 40)))
            continue;
        const bool all = status.state == CONTROL_JOINING || cs->calm;
        pull(node, from, all);
        if (status.state == CONTROL_JOINING) {
            control_synced(node->control);
            break;
        }
    }
    if (node->draining && status.state == CONTROL_LEAVING && drained(node))
        control_drained(node->control, node->pos[status.origin - 1]);
}

/* --- the operator --- */

static void unlink_some(struct cs_node *node)
{
    struct cs *cs = node->cs;
    const unsigned count = cs_chance(cs, 60) ? 1 : 2 + cs_pick(cs, 3);
    const bool force = cs_chance(cs, cs->force_percent);
    struct bytes who[CS_NODES_MAX];
    struct buf text;

    for (unsigned i = 0; i < count; i++)
        who[i] = bytes_cstr(names[cs_pick(cs, cs->nodes_count)]);
    buf_init(&text, CONTROL_TEXT_BYTES);
    const int err = control_force_unlink(node->control, who, count, force, &text);
    if (err == 0)
        cs->totals.unlinks++;
    else if (text.len == 0)
        cs_fail(cs, "a command is refused without a text");
    cs_trace(cs, "n%u: unlink %u, first %.*s%s: %d %.*s", node->index, count, (int)who[0].len,
             (const char *)who[0].ptr, force ? " FORCE" : "", err, (int)text.len,
             text.len == 0 ? "" : (const char *)text.ptr);
    buf_deinit(&text);
}

void cs_node_operator(struct cs_node *node)
{
    struct cs *cs = node->cs;
    const unsigned what = cs_pick(cs, 100);
    struct control_status status;
    struct buf text;

    buf_init(&text, CONTROL_TEXT_BYTES);
    control_status(node->control, &status);
    if (status.state == CONTROL_UNLINKED || status.state == CONTROL_LEFT) {
        if (what < 60)
            cs_node_recreate(node);
    } else if (what < 55) {
        unlink_some(node);
    } else if (what < 65) {
        if (cs->leaves && control_leave(node->control, &text) == 0) {
            cs_trace(cs, "n%u: leave", node->index);
            cs->totals.leaves++;
        }
    } else if (what < 80) {
        if (control_flush(node->control, true, &text) == 0)
            cs->totals.flushes++;
    } else if (what < 85 && control_flush(node->control, false, &text) == 0) {
        cs_fail(cs, "a flush without confirmation");
    }
    buf_deinit(&text);
}
