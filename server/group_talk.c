/* Messages of control; group_talk.h tells how they travel. */
#include "server/group_talk.h"

#include <stdio.h>
#include <string.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "replication/group/control.h"
#include "replication/link/link.h"

#include "server/group_digest.h"

/* Nodes that are sent something at the same time: members and those who want to be. */
#define PARTNERS_MAX    48
#define WAITING_BYTES   (256u << 10) /* For a link that is being made. */
#define QUEUE_BYTES_MAX (1u << 20)
#define IDLE_MS         60000
#define PAUSE_MS        200
#define LOG_EVERY_IN_MS 10000

struct partner {
    char address[MEMBERSHIP_ADDRESS_BYTES]; /* Empty: the place is free. */
    struct link *link;
    struct buf waiting; /* length 4 | message, as often */
    uint64_t used_ms;
    uint64_t dial_at_ms;
};

struct group_talk {
    struct link_hub *hub;
    struct control *control;
    struct group_digest *digest;
    char own[MEMBERSHIP_ADDRESS_BYTES];
    uint64_t now_ms;
    struct partner partners[PARTNERS_MAX];
};

static struct partner *partner_of(struct group_talk *talk, const struct link *link)
{
    for (unsigned i = 0; i < PARTNERS_MAX; i++) {
        if (talk->partners[i].link == link)
            return &talk->partners[i];
    }
    return NULL;
}

/* --- links --- */

/* Where the peer is reached; false: it does not say. */
static bool address_of(const struct link *link, char out[MEMBERSHIP_ADDRESS_BYTES])
{
    const struct bytes identity = link_peer_identity(link);

    if (!membership_address_valid(identity))
        return false;
    memcpy(out, identity.ptr, identity.len);
    out[identity.len] = '\0';
    return true;
}

static const char *on_peer(struct link *link, void *ctx)
{
    char address[MEMBERSHIP_ADDRESS_BYTES];

    (void)ctx;
    return address_of(link, address) ? NULL : "the handshake does not say where to answer";
}

static void on_ready(struct link *link, void *ctx)
{
    struct group_talk *talk = ctx;
    struct partner *p = partner_of(talk, link);
    struct bytes message;

    if (p == NULL)
        return; /* It was accepted. */
    struct bytes in = buf_bytes(&p->waiting);
    while (in.len != 0) {
        const size_t len = le32_load(in.ptr);

        in = bytes_from(in, 4);
        if (!bytes_take(&in, len, &message) || link_send(link, message) != 0)
            break;
    }
    buf_clear(&p->waiting);
    link_flush(link);
}

static void on_frame(struct link *link, void *ctx, struct bytes frame)
{
    struct group_talk *talk = ctx;
    char from[MEMBERSHIP_ADDRESS_BYTES];

    if (digest_is_message(frame))
        group_digest_receive(talk->digest, frame);
    else if (address_of(link, from))
        control_receive(talk->control, from, frame);
}

static void on_closed(struct link *link, void *ctx, int err, const char *why)
{
    struct group_talk *talk = ctx;
    struct partner *p = partner_of(talk, link);

    if (err != -ERR_CANCELLED && err != -ERR_CLOSED)
        LOG_EVERY_MS(LOG_EVERY_IN_MS, LOG_LEVEL_NOTICE, "group", "no message gets through: %s",
                     why);
    if (p == NULL)
        return;
    p->link = NULL;
    p->dial_at_ms = talk->now_ms + PAUSE_MS;
    buf_clear(&p->waiting);
}

static const struct link_ops ops = {
    .on_peer = on_peer, .on_ready = on_ready, .on_frame = on_frame, .on_closed = on_closed};

static struct link_options options_of(struct group_talk *talk)
{
    return (struct link_options){.ops = &ops,
                                 .ctx = talk,
                                 .kind = LINK_CONTROL,
                                 .identity = bytes_cstr(talk->own),
                                 .frame_bytes_max = CONTROL_MSG_BYTES_MAX,
                                 .queue_bytes_max = QUEUE_BYTES_MAX};
}

void group_talk_accept(struct group_talk *talk, struct link_guest *take_guest)
{
    const struct link_options options = options_of(talk);

    (void)link_accept(talk->hub, take_guest, &options);
}

/* --- sending --- */

/* The partner at the address, or a place for it: a free one, or that of the longest silent. */
static struct partner *find(struct group_talk *talk, const char *address)
{
    struct partner *oldest = &talk->partners[0];

    for (unsigned i = 0; i < PARTNERS_MAX; i++) {
        struct partner *p = &talk->partners[i];

        if (strcmp(p->address, address) == 0)
            return p;
        if (p->address[0] == '\0' ? oldest->address[0] != '\0'
                                  : oldest->address[0] != '\0' && p->used_ms < oldest->used_ms)
            oldest = p;
    }
    if (oldest->link != NULL)
        link_drop(oldest->link);
    oldest->link = NULL;
    oldest->dial_at_ms = 0;
    buf_clear(&oldest->waiting);
    (void)snprintf(oldest->address, sizeof(oldest->address), "%s", address);
    return oldest;
}

static void wait_for_link(struct partner *p, struct bytes message)
{
    uint8_t head[4];

    if (p->waiting.len + sizeof(head) + message.len > WAITING_BYTES)
        return; /* It is repeated. */
    le32_store(head, (uint32_t)message.len);
    IGNORE_RESULT(buf_append(&p->waiting, head, sizeof(head)));
    IGNORE_RESULT(buf_append_bytes(&p->waiting, message));
}

void group_talk_send(struct group_talk *talk, const char *address, struct bytes message)
{
    struct partner *p = find(talk, address);
    const struct link_options options = options_of(talk);

    p->used_ms = talk->now_ms;
    if (p->link != NULL && link_is_ready(p->link)) {
        IGNORE_RESULT(link_send(p->link, message)); /* It is repeated. */
        return;
    }
    if (p->link == NULL && talk->now_ms < p->dial_at_ms)
        return;
    wait_for_link(p, message);
    if (p->link == NULL)
        p->link = link_dial(talk->hub, p->address, &options);
}

void group_talk_tick(struct group_talk *talk, uint64_t now_ms)
{
    talk->now_ms = now_ms;
    for (unsigned i = 0; i < PARTNERS_MAX; i++) {
        struct partner *p = &talk->partners[i];

        if (p->link != NULL && now_ms - p->used_ms > IDLE_MS)
            link_close(p->link, NULL);
    }
}

/* --- life --- */

struct group_talk *group_talk_create(struct link_hub *hub, struct control *control,
                                     struct group_digest *digest, const char *own)
{
    struct group_talk *talk = mem_zalloc(sizeof(*talk));

    talk->hub = hub;
    talk->control = control;
    talk->digest = digest;
    memcpy(talk->own, own, strlen(own) + 1);
    for (unsigned i = 0; i < PARTNERS_MAX; i++)
        buf_init(&talk->partners[i].waiting, WAITING_BYTES);
    return talk;
}

void group_talk_destroy(struct group_talk *talk)
{
    if (talk == NULL)
        return;
    for (unsigned i = 0; i < PARTNERS_MAX; i++)
        buf_deinit(&talk->partners[i].waiting);
    mem_free(talk);
}
