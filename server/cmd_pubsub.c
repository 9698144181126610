/* SUBSCRIBE and its relatives, PUBLISH, PUBSUB; pubsub.h tells how messages travel. */
#include "engine/base/check.h"

#include "server/conn.h"
#include "server/glob.h"
#include "server/handlers.h"
#include "server/pubsub.h"
#include "server/request.h"
#include "server/shard.h"

/* --- subscriptions --- */

/* Shard channels are counted by themselves. */
static uint64_t count_of(const struct conn *c, enum pubsub_kind kind)
{
    return kind == PUBSUB_SHARD ? pubsub_count(c, PUBSUB_SHARD)
                                : pubsub_count(c, PUBSUB_CHANNEL) + pubsub_count(c, PUBSUB_PATTERN);
}

/* `name` NULL: there was none to leave. */
static void confirm(struct request *rq, enum pubsub_kind kind, const char *word,
                    const struct bytes *name)
{
    struct reply *out = pubsub_out(rq->conn);

    reply_push(out, 3);
    reply_bulk_cstr(out, word);
    if (name == NULL)
        reply_null(out);
    else
        reply_bulk(out, *name);
    reply_u64(out, count_of(rq->conn, kind));
}

static void subscribe(struct request *rq, enum pubsub_kind kind, const char *word)
{
    for (uint32_t i = 1; i < rq->argc; i++) {
        (void)pubsub_subscribe(rq->conn, kind, rq->argv[i]);
        confirm(rq, kind, word, &rq->argv[i]);
    }
}

/* Of one that is listened to: its name goes with the subscription, hence the copy. */
static void leave_first(struct request *rq, enum pubsub_kind kind, const char *word)
{
    struct buf name;
    struct list_link *link = list_first(&rq->conn->pubsub->subs[kind]);

    CHECK(link != NULL);
    buf_init(&name, SIZE_MAX / 2);
    if (buf_append_bytes(&name,
                         pubsub_name(LIST_ITEM(link, struct pubsub_sub, conn_link)->topic)) != 0)
        rq->out->failed = true; /* No memory: the connection is closed. */
    const struct bytes copy = buf_bytes(&name);
    if (rq->out->failed)
        pubsub_leave(rq->conn);
    else if (pubsub_unsubscribe(rq->conn, kind, copy))
        confirm(rq, kind, word, &copy);
    buf_deinit(&name);
}

static void unsubscribe(struct request *rq, enum pubsub_kind kind, const char *word)
{
    for (uint32_t i = 1; i < rq->argc; i++) {
        (void)pubsub_unsubscribe(rq->conn, kind, rq->argv[i]);
        confirm(rq, kind, word, &rq->argv[i]);
    }
    if (rq->argc > 1)
        return;
    if (pubsub_count(rq->conn, kind) == 0)
        confirm(rq, kind, word, NULL);
    while (pubsub_count(rq->conn, kind) != 0)
        leave_first(rq, kind, word);
}

void cmd_subscribe(struct request *rq)
{
    subscribe(rq, PUBSUB_CHANNEL, "subscribe");
}

void cmd_psubscribe(struct request *rq)
{
    subscribe(rq, PUBSUB_PATTERN, "psubscribe");
}

void cmd_ssubscribe(struct request *rq)
{
    subscribe(rq, PUBSUB_SHARD, "ssubscribe");
}

void cmd_unsubscribe(struct request *rq)
{
    unsubscribe(rq, PUBSUB_CHANNEL, "unsubscribe");
}

void cmd_punsubscribe(struct request *rq)
{
    unsubscribe(rq, PUBSUB_PATTERN, "punsubscribe");
}

void cmd_sunsubscribe(struct request *rq)
{
    unsubscribe(rq, PUBSUB_SHARD, "sunsubscribe");
}

/* --- PUBLISH --- */

/*
 * Outside of a transaction each shard that has listeners runs it (route.c). Nodes of a cluster pass
 * the message on, but as in Redis count their own listeners only; those of a shard channel are all
 * at the node that owns its slot.
 */
static void publish(struct request *rq, enum pubsub_kind kind)
{
    const bool passes_on = rq->sh->cluster ? kind == PUBSUB_CHANNEL : rq->nested;
    const uint64_t n = passes_on ? pubsub_publish(rq->sh, kind, rq->argv[1], rq->argv[2])
                                 : pubsub_deliver(rq->sh, kind, rq->argv[1], rq->argv[2]);

    reply_u64(rq->out, n);
}

void cmd_publish(struct request *rq)
{
    publish(rq, PUBSUB_CHANNEL);
}

void cmd_spublish(struct request *rq)
{
    publish(rq, PUBSUB_SHARD);
}

/* --- PUBSUB --- */

struct listing {
    struct reply *out;
    const struct bytes *pattern; /* NULL: all. */
    uint64_t count;
};

static void list_one(void *ctx, const struct pubsub_topic *topic)
{
    struct listing *l = ctx;

    if (l->pattern != NULL && !glob_match(*l->pattern, pubsub_name(topic), false))
        return;
    reply_bulk(l->out, pubsub_name(topic));
    l->count++;
}

static void channels(struct request *rq, enum pubsub_kind kind)
{
    struct listing l = {.out = rq->out, .pattern = rq->argc == 3 ? &rq->argv[2] : NULL};

    if (rq->argc > 3) {
        reply_err_subcommand_syntax(rq->out, rq->argv);
        return;
    }
    const struct reply_mark mark = reply_deferred_begin(rq->out, 1);
    pubsub_each(rq->sh->pubsub, kind, list_one, &l);
    reply_deferred_array(rq->out, mark, l.count);
}

static void numsub(struct request *rq, enum pubsub_kind kind)
{
    reply_array(rq->out, 2 * (uint64_t)(rq->argc - 2));
    for (uint32_t i = 2; i < rq->argc; i++) {
        const struct pubsub_topic *topic = pubsub_find(rq->sh->pubsub, kind, rq->argv[i]);
        reply_bulk(rq->out, rq->argv[i]);
        reply_u64(rq->out, topic == NULL ? 0 : topic->count);
    }
}

void cmd_pubsub_channels(struct request *rq)
{
    channels(rq, PUBSUB_CHANNEL);
}

void cmd_pubsub_shardchannels(struct request *rq)
{
    channels(rq, PUBSUB_SHARD);
}

void cmd_pubsub_numsub(struct request *rq)
{
    numsub(rq, PUBSUB_CHANNEL);
}

void cmd_pubsub_shardnumsub(struct request *rq)
{
    numsub(rq, PUBSUB_SHARD);
}

void cmd_pubsub_numpat(struct request *rq)
{
    reply_u64(rq->out, pubsub_topics(rq->sh->pubsub, PUBSUB_PATTERN));
}

void cmd_pubsub_help(struct request *rq)
{
    static const char *const lines[] = {
        "CHANNELS [<pattern>]",
        "    Return the currently active channels matching a <pattern> (default: '*').",
        "NUMPAT",
        "    Return number of subscriptions to patterns.",
        "NUMSUB [<channel> ...]",
        "    Return the number of subscribers for the specified channels, excluding",
        "    pattern subscriptions(default: no channels).",
        "SHARDCHANNELS [<pattern>]",
        "    Return the currently active shard level channels matching a <pattern> (default: '*').",
        "SHARDNUMSUB [<shardchannel> ...]",
        "    Return the number of subscribers for the specified shard level channel(s)",
        NULL,
    };

    reply_help(rq->out, "PUBSUB", lines);
}
