/*
 * Who listens to what: channels, patterns and shard channels of one shard's connections, and how a
 * message gets to them.
 *
 *     name ("news") -> subscription -> subscription      in the order in which they came
 *     conn          -> subscription -> subscription      of each kind
 *
 * A subscription lives with its connection. A message is delivered to those of the own shard at
 * once, and goes to each other shard that has subscriptions (an atomic count says so, which is all
 * that PUBLISH costs if there are none) by its mailbox, in the order in which it was published.
 * PUBLISH of a client is run by each such shard, so that the replies give the number of receivers;
 * within a transaction it is mailed, and only those of the own shard are counted.
 *
 * As in Redis nobody waits for a slow reader: one whose replies exceed the limits of class pubsub
 * of client-output-buffer-limit is closed. Messages on their way to a shard that does not keep up
 * are dropped beyond PUBSUB_BACKLOG_BYTES_MAX, and counted.
 *
 * Thread: the shard's, unless something else is said.
 */
#ifndef TIERRA_SERVER_PUBSUB_H
#define TIERRA_SERVER_PUBSUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/attr.h"
#include "engine/base/bytes.h"
#include "engine/base/list.h"

#include "server/reply.h"

struct conn;
struct shard;

/* Bytes of messages that are on their way to one shard. */
#define PUBSUB_BACKLOG_BYTES_MAX (64u << 20)

enum pubsub_kind {
    PUBSUB_CHANNEL,
    PUBSUB_PATTERN,
    PUBSUB_SHARD, /* SSUBSCRIBE: names of their own, no patterns. */
    PUBSUB_KINDS_COUNT
};

/* One name of one kind, as long as somebody listens. */
struct pubsub_topic {
    struct list_link bucket_link;
    struct list subs; /* struct pubsub_sub, by topic_link. */
    uint64_t hash;
    uint64_t count;
    size_t name_len;
    uint8_t kind;
    uint8_t name[];
};

struct pubsub_sub {
    struct list_link topic_link;
    struct list_link conn_link;
    struct pubsub_topic *topic;
    struct conn *conn;
};

/* What a connection listens to; made on first use. */
struct pubsub_client {
    struct list subs[PUBSUB_KINDS_COUNT];
    uint64_t count[PUBSUB_KINDS_COUNT];
    size_t bytes;
    struct reply held; /* Messages that came while a reply was sent in parts (stream.h). */
};

struct pubsub;

MUST_USE struct pubsub *pubsub_create(void);
void pubsub_destroy(struct pubsub *ps); /* Nobody listens. */

/* Number of names of a kind to which somebody listens. */
uint64_t pubsub_topics(const struct pubsub *ps, enum pubsub_kind kind);

/* The name if somebody listens, else NULL. */
const struct pubsub_topic *pubsub_find(const struct pubsub *ps, enum pubsub_kind kind,
                                       struct bytes name);

/* Calls `fn` for every name of the kind. */
void pubsub_each(const struct pubsub *ps, enum pubsub_kind kind,
                 void (*fn)(void *ctx, const struct pubsub_topic *topic), void *ctx);

static inline struct bytes pubsub_name(const struct pubsub_topic *topic)
{
    return bytes_of(topic->name, topic->name_len);
}

/* False: it did so already. */
bool pubsub_subscribe(struct conn *c, enum pubsub_kind kind, struct bytes name);
/* False: it did not listen. */
bool pubsub_unsubscribe(struct conn *c, enum pubsub_kind kind, struct bytes name);

/* Makes room for what is held back; for those who write to it without a subscription. */
void pubsub_open(struct conn *c);

/* Everything: RESET, or the connection closes. */
void pubsub_leave(struct conn *c);

/* Names of a kind that a connection listens to. */
uint64_t pubsub_count(const struct conn *c, enum pubsub_kind kind);
/* It listens to anything: in RESP2 few commands are possible then. */
bool pubsub_listens(const struct conn *c);
size_t pubsub_memory_bytes(const struct conn *c);

/* Some other shard has subscriptions of the kind, or for a channel patterns. Any thread. */
bool pubsub_elsewhere(const struct shard *sh, enum pubsub_kind kind);
/* Somebody would hear of an event: on this node, be it one of a cluster. Any thread. */
bool pubsub_anybody(const struct shard *sh);

/* To the listeners of this shard (kind: CHANNEL or SHARD). Returns how many there were. */
uint64_t pubsub_deliver(struct shard *sh, enum pubsub_kind kind, struct bytes channel,
                        struct bytes message);

/* An event of this node's keys: to all shards, of a cluster's node to its own listeners only. */
void pubsub_tell(struct shard *sh, struct bytes channel, struct bytes message);

/* To all shards; likewise. */
uint64_t pubsub_publish(struct shard *sh, enum pubsub_kind kind, struct bytes channel,
                        struct bytes message);

/*
 * Where a push to it may stand: neither within a reply that is sent in parts nor in what CLIENT
 * REPLY takes back.
 */
struct reply *pubsub_out(struct conn *c);

/* That reply, or that command, is complete: what came meanwhile follows it. */
void pubsub_release(struct conn *c);

/*
 * Something was written to a connection that did not ask for it: sends it at the end of the turn,
 * or closes a connection that does not read.
 */
void pubsub_wrote(struct conn *c);

/*
 * Closes a connection, of any kind, that has been above the soft limit of its class for too long,
 * or is above the hard one. The timer asks.
 */
void pubsub_check_limit(struct conn *c);

/* Messages that were dropped. */
uint64_t pubsub_dropped(const struct shard *sh);

#endif
