/*
 * The hub: the links of one thread, and what they do together at the end of a turn.
 */
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "replication/link/link_impl.h"

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

struct link_hub *link_hub_create(const struct link_hub_options *options)
{
    struct link_hub *hub = mem_zalloc(sizeof(*hub));

    CHECK(options->secret != NULL);
    CHECK(options->resolver == NULL || options->mailbox != NULL);
    CHECK(options->nickname.len >= 1);
    CHECK(options->nickname.len <= LINK_NICKNAME_BYTES_MAX);
    hub->reactor = options->reactor;
    hub->mailbox = options->mailbox;
    hub->resolver = options->resolver;
    hub->secret = options->secret;
    memcpy(hub->nickname, options->nickname.ptr, options->nickname.len);
    hub->nickname_len = options->nickname.len;
    hub->connect_ms = or_default(options->connect_ms, LINK_CONNECT_MS);
    hub->handshake_ms = or_default(options->handshake_ms, LINK_HANDSHAKE_MS);
    hub->close_ms = or_default(options->close_ms, LINK_CLOSE_MS);
    list_init(&hub->links);
    list_init(&hub->unproven);
    list_init(&hub->dirty);
    list_init(&hub->later);
    return hub;
}

static void on_timer(struct reactor_timer *t)
{
    struct link_hub *hub = container_of(t, struct link_hub, timer);
    struct list now;
    struct list_link *it;

    link_hub_flush(hub);
    /* What they ask for now is for the next time. A link is never freed in here. */
    list_init(&now);
    list_splice_back(&now, &hub->later);
    while ((it = list_pop_front(&now)) != NULL)
        link_run_later(LIST_ITEM(it, struct link, in_later));
    link_hub_flush(hub);
}

static void ask_timer(struct link_hub *hub)
{
    if (!timer_running(&hub->timer))
        reactor_timer_start(hub->reactor, &hub->timer, reactor_now_ms(hub->reactor), on_timer);
}

void link_mark_dirty(struct link *link)
{
    if (!list_linked(&link->in_dirty))
        list_push_back(&link->hub->dirty, &link->in_dirty);
    ask_timer(link->hub);
}

void link_mark_later(struct link *link)
{
    if (!list_linked(&link->in_later))
        list_push_back(&link->hub->later, &link->in_later);
    ask_timer(link->hub);
}

void link_hub_flush(struct link_hub *hub)
{
    struct list now;
    struct list_link *it;

    if (list_empty(&hub->dirty))
        return;
    list_init(&now);
    list_splice_back(&now, &hub->dirty);
    while ((it = list_pop_front(&now)) != NULL)
        link_pump(LIST_ITEM(it, struct link, in_dirty));
    if (list_empty(&hub->dirty) && list_empty(&hub->later))
        reactor_timer_stop(hub->reactor, &hub->timer);
}

void link_hub_stop(struct link_hub *hub, const char *text)
{
    hub->stopped = true;
    LIST_FOR_EACH(it, &hub->links) {
        struct link *link = LIST_ITEM(it, struct link, in_links);
        link->ops = NULL;
        link_close(link, text);
    }
}

bool link_hub_empty(const struct link_hub *hub)
{
    return list_empty(&hub->links) && hub->lookups == 0 && !timer_running(&hub->timer);
}

void link_hub_destroy(struct link_hub *hub)
{
    if (hub == NULL)
        return;
    CHECK(link_hub_empty(hub));
    mem_free(hub);
}

const struct link_metrics *link_hub_metrics(const struct link_hub *hub)
{
    return &hub->metrics;
}
