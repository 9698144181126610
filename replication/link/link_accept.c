/*
 * The acceptor: guests of the door, and its side of the handshake.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/mem.h"

#include "replication/link/link_impl.h"

void link_guest_drop(struct link_guest *take_guest)
{
    if (take_guest == NULL)
        return;
    if (take_guest->fd >= 0)
        (void)close(take_guest->fd); /* The descriptor is gone whatever it says. */
    mem_free(take_guest);
}

void link_no_longer_unproven(struct link *link)
{
    if (!list_linked(&link->in_unproven))
        return;
    list_remove(&link->in_unproven);
    link->hub->unproven_count--;
}

static void become_unproven(struct link *link)
{
    struct link_hub *hub = link->hub;

    if (hub->unproven_count == LINK_UNPROVEN_MAX)
        link_end(LIST_ITEM(list_first(&hub->unproven), struct link, in_unproven), -ERR_LIMIT,
                 "%u newer connections wait for their handshake", LINK_UNPROVEN_MAX);
    list_push_back(&hub->unproven, &link->in_unproven);
    hub->unproven_count++;
}

static struct link *take_in(struct link_hub *hub, struct link_guest *take_guest,
                            const struct link_options *options, const char *refusal)
{
    struct link *link = link_create(hub, options, take_guest->peer);
    uint8_t message[SHAKE_BYTES_MAX];
    struct shake_hello hello;
    size_t len = 0;

    hub->metrics.accepts++;
    hub->metrics.bytes_in += take_guest->hello_len;
    link->figures.bytes_in = take_guest->hello_len;
    link->state = LINK_SHAKING;
    link_start_timer(link, reactor_now_ms(hub->reactor) + hub->handshake_ms);
    become_unproven(link);
    if (refusal != NULL)
        link->refusal = mem_strdup(refusal);
    const struct bytes said = bytes_of(take_guest->hello, take_guest->hello_len);
    CHECK(shake_parse_hello(said, &hello) == 0); /* The door has looked. */
    shake_on_hello(link->shake, said);
    memcpy(link->peer_identity, hello.identity.ptr, hello.identity.len);
    link->peer_identity_len = hello.identity.len;
    int err = reactor_sock_open(hub->reactor, &link->sock, take_guest->fd, &link_sock_ops);
    if (err == 0) {
        link->sock_open = true;
        link_set_sock_options(take_guest->fd);
        take_guest->fd = -1;
        err = shake_put_challenge(link->shake, message, &len);
    }
    link_guest_drop(take_guest);
    if (err != 0)
        link_end(link, err, "cannot begin the handshake: %s", err_str(err));
    else
        link_say(link, message, len);
    return link;
}

struct link *link_accept(struct link_hub *hub, struct link_guest *take_guest,
                         const struct link_options *options)
{
    const bool fits = take_guest->kind == options->kind && take_guest->shard == options->shard;

    if (hub->stopped) {
        link_guest_drop(take_guest);
        return NULL;
    }
    return take_in(hub, take_guest, options,
                   fits ? NULL : "the link is for another purpose or shard");
}

void link_refuse(struct link_hub *hub, struct link_guest *take_guest, const char *text)
{
    if (hub->stopped)
        link_guest_drop(take_guest);
    else
        (void)take_in(hub, take_guest, NULL, text); /* Nobody wants to know of it. */
}

/* The peer is who it says: shall it come in? NULL: yes. */
static const char *ask(struct link *link)
{
    if (link->refusal != NULL)
        return link->refusal;
    if (link->ops == NULL)
        return "closed meanwhile";
    return link->ops->on_peer(link, link->ctx);
}

static void refuse(struct link *link, const char *text)
{
    uint8_t message[SHAKE_BYTES_MAX];

    link->hub->metrics.refused++;
    link_say(link, message, shake_put_refuse(link->shake, bytes_cstr(text), message));
    if (link->state == LINK_SHAKING)
        link_end_after_queue(link, -ERR_REFUSED, "refused here: %s", text);
}

static void on_bad_proof(struct link *link, int err)
{
    uint8_t message[SHAKE_BYTES_MAX];
    const bool auth = err == -ERR_AUTH;

    link->hub->metrics.auth_failures += auth;
    link_say(link, message, shake_put_reject(auth ? SHAKE_NO_SECRET : SHAKE_MALFORMED, message));
    if (link->state == LINK_SHAKING)
        link_end_after_queue(link, err, "%s",
                             auth
                                 ? "its proof is wrong: it repeats an old connection, or something "
                                   "between the two changes what they say"
                                 : "its proof was not to come now, or is malformed");
}

void link_acceptor_hears(struct link *link, struct bytes message)
{
    uint8_t welcome[SHAKE_BYTES_MAX];
    const int err = shake_on_proof(link->shake, message);

    if (err != 0) {
        on_bad_proof(link, err);
        return;
    }
    link_no_longer_unproven(link);
    link->proven = true;
    const char *refusal = ask(link);
    if (link->state != LINK_SHAKING)
        return;
    if (refusal != NULL) {
        refuse(link, refusal);
        return;
    }
    const size_t len =
        shake_put_welcome(link->shake, bytes_of(link->identity, link->identity_len), welcome);
    link_use_keys(link);
    link->state = LINK_AGREEING;
    link_say(link, welcome, len);
}
