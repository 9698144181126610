/* The room that clients take; client_room.h tells how it is bounded. */
#include "server/client_room.h"

#include <inttypes.h>
#include <stdatomic.h>

#include "engine/base/attr.h"
#include "engine/base/log.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/forward.h"
#include "server/node.h"
#include "server/shard.h"

void client_room_init(struct client_room *room)
{
    room->limit = 0;
    room->bytes = 0;
    for (uint32_t i = 0; i < CLIENT_ROOM_LISTS; i++)
        list_init(&room->by_size[i]);
}

uint64_t client_room_limit(const struct config *cfg)
{
    const int64_t set = cfg->maxmemory_clients;
    uint64_t bytes;

    if (set > 0)
        bytes = (uint64_t)set;
    else if (set < 0 && cfg->maxmemory != 0)
        bytes = (uint64_t)((double)cfg->maxmemory * (double)-set / 100);
    else
        return 0;
    return u64_max(bytes, CLIENT_ROOM_BYTES_MIN);
}

uint32_t client_room_list(uint64_t bytes)
{
    uint32_t i = 0;

    while (i < CLIENT_ROOM_LISTS - 1 && bytes >> (i + CLIENT_ROOM_SHIFT) != 0)
        i++;
    return i;
}

void client_room_forget(struct conn *c)
{
    c->sh->room.bytes -= c->room_bytes;
    c->room_bytes = 0;
    if (list_linked(&c->room_link))
        list_remove(&c->room_link);
}

/* It has replies that had no chance to leave, or will have the one of a command that waits. */
static bool leaves_soon(const struct conn *c)
{
    return conn_has_unsent(c) || forward_may_wait(c);
}

void client_room_count(struct conn *c)
{
    struct client_room *room = &c->sh->room;

    if (room->limit == 0 || c->closed || c->is_agent)
        return;
    client_room_forget(c);
    if (unlikely(c->closing) && leaves_soon(c))
        return;
    c->room_bytes = conn_room_bytes(c);
    room->bytes += c->room_bytes;
    if (!c->no_evict)
        list_push_back(&room->by_size[client_room_list(c->room_bytes)], &c->room_link);
}

void client_room_count_all(struct shard *sh)
{
    LIST_FOR_EACH(link, &sh->conns)
        client_room_count(LIST_ITEM(link, struct conn, link));
}

static void forget_all(struct shard *sh)
{
    LIST_FOR_EACH(link, &sh->conns)
        client_room_forget(LIST_ITEM(link, struct conn, link));
}

/* The number of the list that has the largest, plus 1; 0: nobody may be closed. */
static uint32_t largest(const struct client_room *room)
{
    uint32_t i = CLIENT_ROOM_LISTS;

    while (i != 0 && list_empty(&room->by_size[i - 1]))
        i--;
    return i;
}

static void publish(struct shard *sh)
{
    atomic_store_explicit(&sh->published.clients_bytes, sh->room.bytes, memory_order_relaxed);
    atomic_store_explicit(&sh->published.clients_largest, largest(&sh->room), memory_order_relaxed);
}

void client_room_follow(struct shard *sh)
{
    const uint64_t limit = client_room_limit(sh->cfg);
    const uint64_t before = sh->room.limit;

    if (likely(limit == before))
        return;
    sh->room.limit = limit;
    if (limit == 0)
        forget_all(sh);
    else if (before == 0)
        client_room_count_all(sh);
    publish(sh);
}

/* All clients take too much, and the largest, or one like it, is here. */
static bool must_close(const struct shard *sh)
{
    const struct node *node = sh->node;
    const uint32_t mine = largest(&sh->room);
    uint64_t sum = 0;

    if (mine == 0)
        return false;
    for (uint32_t i = 0; i < node->shards_count; i++) {
        const struct shard *other = node->shards[i];
        const uint64_t its =
            atomic_load_explicit(&other->published.clients_largest, memory_order_relaxed);
        if (its > mine || (its == mine && i < sh->id))
            return false;
        sum += atomic_load_explicit(&other->published.clients_bytes, memory_order_relaxed);
    }
    return sum > sh->room.limit;
}

static void close_one(struct shard *sh)
{
    struct conn *c =
        LIST_ITEM(list_first(&sh->room.by_size[largest(&sh->room) - 1]), struct conn, room_link);

    if (c->closing) {
        conn_close(c);
        return;
    }
    LOG_NOTICE("server",
               "client closed: all clients take more than maxmemory-clients id=%" PRIu64
               " addr=%s bytes=%" PRIu64,
               c->id, c->addr, c->room_bytes);
    sh->stats.evicted_clients++;
    if (leaves_soon(c)) {
        client_room_forget(c);
        conn_close_after_reply(c);
        if (c->fw != NULL)
            forward_ended(c);
    } else {
        conn_close(c);
    }
}

void client_room_keep(struct shard *sh)
{
    publish(sh);
    while (unlikely(must_close(sh))) {
        close_one(sh);
        publish(sh);
    }
}
