/*
 * Invalidation messages, on their way to clients and between shards; tracking.h tells. For
 * tracking.c only.
 *
 * `keys`: an array of names in RESP; empty: all keys.
 */
#ifndef TIERRA_SERVER_TRACKING_SEND_H
#define TIERRA_SERVER_TRACKING_SEND_H

#include <stdint.h>

#include "engine/base/bytes.h"

struct conn;
struct shard;
struct tracking;
struct tracking_client;

/* Between shards. */
enum tracking_mail_kind {
    TRACKING_KEY,      /* `id` may have the key in the text, which `other` has changed. */
    TRACKING_CHANGED,  /* Keys of a turn, for those with prefixes. */
    TRACKING_FLUSHED,  /* All keys of a shard are gone. */
    TRACKING_REDIRECT, /* To `id`, in place of `other`: keys. */
    TRACKING_BROKEN,   /* `id` redirects to nobody. */
    TRACKING_ASK,      /* `other` wants to redirect to `id`: */
    TRACKING_ANSWER    /* to `id`: `other` is 1 if the client is there. */
};

struct tracking_note {
    enum tracking_mail_kind kind;
    uint64_t id;
    uint64_t other;
    struct bytes text; /* Copied. */
};

/* Does what the note says: at once on this shard, else by mail. */
void tracking_send(struct shard *sh, uint32_t to, const struct tracking_note *note);

/* Messages for a client of this shard. */
void tracking_tell(struct shard *sh, struct tracking_client *tc, struct bytes keys);

/* What came while its own command ran. */
void tracking_tell_own(struct conn *c);

/* --- of tracking.c, for what arrives --- */

/* NULL: unknown. */
struct tracking_client *tracking_client_find(const struct tracking *t, uint64_t id);
void tracking_on_key(struct shard *sh, uint64_t id, uint64_t writer, struct bytes name);
void tracking_on_changed(struct shard *sh, struct bytes list);
void tracking_on_flushed(struct shard *sh);
/* Some messages are missing: whoever listens here has nothing that is valid. */
void tracking_on_lost(struct shard *sh);
/* Whether the client of this shard is there; it is a target from now on. */
bool tracking_make_target(struct shard *sh, uint64_t id);

#endif
