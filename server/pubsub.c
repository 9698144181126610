/* Subscriptions and messages; pubsub.h tells. */
#include "server/pubsub.h"

#include <stdatomic.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/sum.h"

#include "server/config.h"
#include "server/conn.h"
#include "server/forward.h"
#include "server/glob.h"
#include "server/monitor.h"
#include "server/node.h"
#include "server/shard.h"
#include "server/tracking.h"

#define BUCKETS_MIN 64u

struct table {
    struct list *buckets;
    uint32_t buckets_count;
    uint64_t count;
};

struct pubsub {
    struct table table[PUBSUB_KINDS_COUNT];
    _Atomic uint64_t subs[PUBSUB_KINDS_COUNT]; /* Any thread reads. */
    _Atomic uint64_t backlog_bytes;            /* On their way here. */
    uint64_t dropped;                          /* On their way from here. */
};

/* --- names --- */

static void table_init(struct table *t, uint32_t n)
{
    t->buckets_count = n;
    t->buckets = mem_alloc(n * sizeof(*t->buckets));
    for (uint32_t i = 0; i < n; i++)
        list_init(&t->buckets[i]);
}

struct pubsub *pubsub_create(void)
{
    struct pubsub *ps = mem_zalloc(sizeof(*ps));

    for (int i = 0; i < PUBSUB_KINDS_COUNT; i++)
        table_init(&ps->table[i], BUCKETS_MIN);
    return ps;
}

void pubsub_destroy(struct pubsub *ps)
{
    if (ps == NULL)
        return;
    for (int i = 0; i < PUBSUB_KINDS_COUNT; i++) {
        CHECK(ps->table[i].count == 0);
        mem_free(ps->table[i].buckets);
    }
    mem_free(ps);
}

static uint64_t hash_of(struct bytes name)
{
    return hash64(name.ptr, name.len, 0);
}

static struct list *bucket_of(const struct table *t, uint64_t hash)
{
    return &t->buckets[hash & (t->buckets_count - 1)];
}

static void grow(struct table *t)
{
    const struct table old = *t;
    struct list_link *link;

    table_init(t, old.buckets_count * 4);
    for (uint32_t i = 0; i < old.buckets_count; i++) {
        while ((link = list_pop_front(&old.buckets[i])) != NULL) {
            const struct pubsub_topic *topic = LIST_ITEM(link, struct pubsub_topic, bucket_link);
            list_push_back(bucket_of(t, topic->hash), link);
        }
    }
    mem_free(old.buckets);
}

static struct pubsub_topic *find(const struct table *t, uint64_t hash, struct bytes name)
{
    LIST_FOR_EACH(link, bucket_of(t, hash)) {
        struct pubsub_topic *topic = LIST_ITEM(link, struct pubsub_topic, bucket_link);
        if (topic->hash == hash && bytes_eq(pubsub_name(topic), name))
            return topic;
    }
    return NULL;
}

const struct pubsub_topic *pubsub_find(const struct pubsub *ps, enum pubsub_kind kind,
                                       struct bytes name)
{
    const struct table *t = &ps->table[kind];

    return likely(t->count == 0) ? NULL : find(t, hash_of(name), name);
}

uint64_t pubsub_topics(const struct pubsub *ps, enum pubsub_kind kind)
{
    return ps->table[kind].count;
}

void pubsub_each(const struct pubsub *ps, enum pubsub_kind kind,
                 void (*fn)(void *ctx, const struct pubsub_topic *topic), void *ctx)
{
    const struct table *t = &ps->table[kind];

    for (uint32_t i = 0; i < t->buckets_count && t->count != 0; i++) {
        LIST_FOR_EACH(link, &t->buckets[i])
            fn(ctx, LIST_ITEM(link, struct pubsub_topic, bucket_link));
    }
}

/* --- subscriptions --- */

static struct pubsub_client *client_of(struct conn *c)
{
    if (c->pubsub == NULL) {
        c->pubsub = mem_zalloc(sizeof(*c->pubsub));
        for (int i = 0; i < PUBSUB_KINDS_COUNT; i++)
            list_init(&c->pubsub->subs[i]);
        reply_init(&c->pubsub->held, UINT32_MAX, NULL);
    }
    return c->pubsub;
}

void pubsub_open(struct conn *c)
{
    (void)client_of(c);
}

static struct pubsub_sub *find_sub(const struct conn *c, enum pubsub_kind kind, struct bytes name)
{
    const struct pubsub_topic *topic = pubsub_find(c->sh->pubsub, kind, name);

    if (topic == NULL)
        return NULL;
    LIST_FOR_EACH(link, &topic->subs) {
        struct pubsub_sub *sub = LIST_ITEM(link, struct pubsub_sub, topic_link);
        if (sub->conn == c)
            return sub;
    }
    return NULL;
}

bool pubsub_subscribe(struct conn *c, enum pubsub_kind kind, struct bytes name)
{
    struct pubsub_client *client = client_of(c);
    struct table *t = &c->sh->pubsub->table[kind];

    CHECK(!c->is_agent);
    if (find_sub(c, kind, name) != NULL)
        return false;
    if (t->count >= t->buckets_count)
        grow(t);
    const uint64_t hash = hash_of(name);
    struct pubsub_topic *topic = find(t, hash, name);
    if (topic == NULL) {
        topic = mem_zalloc(sizeof(*topic) + name.len);
        list_init(&topic->subs);
        topic->hash = hash;
        topic->kind = (uint8_t)kind;
        topic->name_len = name.len;
        if (name.len != 0)
            memcpy(topic->name, name.ptr, name.len);
        list_push_back(bucket_of(t, hash), &topic->bucket_link);
        t->count++;
    }
    struct pubsub_sub *sub = mem_zalloc(sizeof(*sub));
    sub->topic = topic;
    sub->conn = c;
    list_push_back(&topic->subs, &sub->topic_link);
    list_push_back(&client->subs[kind], &sub->conn_link);
    topic->count++;
    const bool first = !pubsub_listens(c);
    client->count[kind]++;
    if (first)
        conn_follow_limits(c);
    client->bytes += sizeof(*sub) + sizeof(*topic) + name.len;
    atomic_fetch_add(&c->sh->pubsub->subs[kind], 1);
    return true;
}

static void remove_sub(struct pubsub_sub *sub)
{
    struct pubsub_topic *topic = sub->topic;
    struct conn *c = sub->conn;

    c->pubsub->count[topic->kind]--;
    c->pubsub->bytes -= sizeof(*sub) + sizeof(*topic) + topic->name_len;
    atomic_fetch_sub(&c->sh->pubsub->subs[topic->kind], 1);
    list_remove(&sub->topic_link);
    list_remove(&sub->conn_link);
    mem_free(sub);
    if (--topic->count != 0)
        return;
    c->sh->pubsub->table[topic->kind].count--;
    list_remove(&topic->bucket_link);
    mem_free(topic);
}

bool pubsub_unsubscribe(struct conn *c, enum pubsub_kind kind, struct bytes name)
{
    struct pubsub_sub *sub = c->pubsub == NULL ? NULL : find_sub(c, kind, name);

    if (sub == NULL)
        return false;
    remove_sub(sub);
    if (!pubsub_listens(c))
        conn_follow_limits(c);
    return true;
}

void pubsub_leave(struct conn *c)
{
    struct list_link *link;

    if (c->pubsub == NULL)
        return;
    for (int i = 0; i < PUBSUB_KINDS_COUNT; i++) {
        while ((link = list_first(&c->pubsub->subs[i])) != NULL)
            remove_sub(LIST_ITEM(link, struct pubsub_sub, conn_link));
    }
    reply_deinit(&c->pubsub->held);
    mem_free(c->pubsub);
    c->pubsub = NULL;
    if (!c->closed)
        conn_follow_limits(c);
}

uint64_t pubsub_count(const struct conn *c, enum pubsub_kind kind)
{
    return c->pubsub == NULL ? 0 : c->pubsub->count[kind];
}

bool pubsub_listens(const struct conn *c)
{
    return c->pubsub != NULL &&
           (c->pubsub->count[PUBSUB_CHANNEL] | c->pubsub->count[PUBSUB_PATTERN] |
            c->pubsub->count[PUBSUB_SHARD]) != 0;
}

size_t pubsub_memory_bytes(const struct conn *c)
{
    return c->pubsub == NULL ? 0 : sizeof(*c->pubsub) + c->pubsub->bytes + c->pubsub->held.out.cap;
}

/* --- messages --- */

static bool over_limit(struct conn *c, enum config_limit_class class)
{
    const struct config_limit *limit = &c->sh->cfg->client_output_buffer_limit.class[class];
    const struct reply *held = c->pubsub == NULL ? NULL : &c->pubsub->held;
    const uint64_t bytes = c->out.out.len + c->sending.len + (held == NULL ? 0 : held->out.len);
    const uint64_t now_ms = reactor_now_ms(c->sh->reactor);

    if (c->out.failed || (held != NULL && held->failed) ||
        (limit->hard_bytes != 0 && bytes > limit->hard_bytes))
        return true;
    if (limit->soft_bytes == 0 || bytes <= limit->soft_bytes) {
        c->soft_since_ms = 0;
        return false;
    }
    if (c->soft_since_ms == 0)
        c->soft_since_ms = now_ms;
    return now_ms - c->soft_since_ms > (uint64_t)limit->soft_seconds * 1000;
}

/* Not now: whoever delivers is going through its subscriptions. At the end of its run or the turn.
 */
static void close_slow(struct conn *c)
{
    if (!c->out.failed)
        LOG_NOTICE("server", "client closed: it does not read what it is sent id=%llu",
                   (unsigned long long)c->id);
    c->out.failed = true;
    if (!c->running)
        conn_touch(c);
}

void pubsub_wrote(struct conn *c)
{
    if (c->closed)
        return;
    if (unlikely(over_limit(c, CONFIG_LIMIT_PUBSUB))) {
        close_slow(c);
        return;
    }
    if (c->running)
        return;
    if (unlikely(c->fw != NULL))
        forward_keep(c);
    conn_touch(c);
}

void pubsub_check_limit(struct conn *c)
{
    const bool pushed = pubsub_listens(c) || monitor_is(c) || tracking_of(c)->on;

    if (over_limit(c, pushed ? CONFIG_LIMIT_PUBSUB : CONFIG_LIMIT_NORMAL))
        close_slow(c);
}

struct reply *pubsub_out(struct conn *c)
{
    const bool taken_back = c->now != NULL && c->reply_mode != CONN_REPLY_ON;

    if (likely(c->stream == NULL && !taken_back) || c->pubsub == NULL)
        return &c->out;
    c->pubsub->held.proto = c->out.proto;
    return &c->pubsub->held;
}

void pubsub_release(struct conn *c)
{
    struct buf *held = &c->pubsub->held.out;

    if (likely(held->len == 0) || c->stream != NULL)
        return;
    reply_raw(&c->out, held->ptr, held->len);
    buf_deinit(held);
}

static void write_message(struct reply *out, const char *word, const struct pubsub_topic *pattern,
                          struct bytes channel, struct bytes message)
{
    reply_push(out, pattern == NULL ? 3 : 4);
    reply_bulk_cstr(out, word);
    if (pattern != NULL)
        reply_bulk(out, pubsub_name(pattern));
    reply_bulk(out, channel);
    reply_bulk(out, message);
}

/* The subscribers of one name. */
static uint64_t to_topic(const struct pubsub_topic *topic, struct bytes channel,
                         struct bytes message)
{
    static const char *const words[] = {"message", "pmessage", "smessage"};
    const struct pubsub_topic *pattern = topic->kind == PUBSUB_PATTERN ? topic : NULL;
    uint64_t n = 0;

    LIST_FOR_EACH(link, &topic->subs) {
        struct conn *c = LIST_ITEM(link, struct pubsub_sub, topic_link)->conn;
        n++;
        if (c->closing)
            continue;
        write_message(pubsub_out(c), words[topic->kind], pattern, channel, message);
        pubsub_wrote(c);
    }
    return n;
}

/* What is to be done with each pattern that matches. */
struct matching {
    struct bytes channel;
    const struct pubsub_topic **topics;
    uint64_t count;
};

static void collect(void *ctx, const struct pubsub_topic *topic)
{
    struct matching *m = ctx;

    if (glob_match(pubsub_name(topic), m->channel, false))
        m->topics[m->count++] = topic;
}

static uint64_t to_patterns(struct pubsub *ps, struct bytes channel, struct bytes message)
{
    struct matching m = {.channel = channel};
    uint64_t n = 0;

    if (likely(pubsub_topics(ps, PUBSUB_PATTERN) == 0))
        return 0;
    m.topics = mem_alloc(pubsub_topics(ps, PUBSUB_PATTERN) * sizeof(struct pubsub_topic *));
    pubsub_each(ps, PUBSUB_PATTERN, collect, &m);
    for (uint64_t i = 0; i < m.count; i++)
        n += to_topic(m.topics[i], channel, message);
    mem_free(m.topics);
    return n;
}

uint64_t pubsub_deliver(struct shard *sh, enum pubsub_kind kind, struct bytes channel,
                        struct bytes message)
{
    const struct pubsub_topic *topic = pubsub_find(sh->pubsub, kind, channel);
    uint64_t n = topic == NULL ? 0 : to_topic(topic, channel, message);

    if (kind == PUBSUB_CHANNEL)
        n += to_patterns(sh->pubsub, channel, message);
    return n;
}

/* --- between shards --- */

static uint64_t subs_of(const struct pubsub *ps, enum pubsub_kind kind)
{
    uint64_t n = atomic_load_explicit(&ps->subs[kind], memory_order_relaxed);

    if (kind == PUBSUB_CHANNEL)
        n += atomic_load_explicit(&ps->subs[PUBSUB_PATTERN], memory_order_relaxed);
    return n;
}

bool pubsub_elsewhere(const struct shard *sh, enum pubsub_kind kind)
{
    for (uint32_t i = 0; i < sh->node->shards_count; i++) {
        if (i != sh->id && subs_of(sh->node->shards[i]->pubsub, kind) != 0)
            return true;
    }
    return false;
}

bool pubsub_anybody(const struct shard *sh)
{
    return subs_of(sh->pubsub, PUBSUB_CHANNEL) != 0 ||
           (!sh->cluster && pubsub_elsewhere(sh, PUBSUB_CHANNEL));
}

uint64_t pubsub_dropped(const struct shard *sh)
{
    return sh->pubsub->dropped;
}

struct message_mail {
    struct mail mail;
    struct shard *to;
    enum pubsub_kind kind;
    size_t channel_len;
    size_t message_len;
    uint8_t text[]; /* Channel, message. */
};

static void on_message(struct mail *mail)
{
    struct message_mail *m = container_of(mail, struct message_mail, mail);

    (void)pubsub_deliver(m->to, m->kind, bytes_of(m->text, m->channel_len),
                         bytes_of(m->text + m->channel_len, m->message_len));
    atomic_fetch_sub(&m->to->pubsub->backlog_bytes, m->channel_len + m->message_len);
    mem_free(m);
}

static void mail_to(struct shard *from, struct shard *to, enum pubsub_kind kind,
                    struct bytes channel, struct bytes message)
{
    const size_t bytes = channel.len + message.len;
    _Atomic uint64_t *backlog = &to->pubsub->backlog_bytes;

    if (atomic_load_explicit(backlog, memory_order_relaxed) > PUBSUB_BACKLOG_BYTES_MAX) {
        from->pubsub->dropped++;
        return;
    }
    struct message_mail *m = mem_alloc(sizeof(*m) + bytes);
    *m = (struct message_mail){.mail = {.fn = on_message},
                               .to = to,
                               .kind = kind,
                               .channel_len = channel.len,
                               .message_len = message.len};
    if (channel.len != 0)
        memcpy(m->text, channel.ptr, channel.len);
    if (message.len != 0)
        memcpy(m->text + channel.len, message.ptr, message.len);
    atomic_fetch_add(backlog, bytes);
    forward_post(from, to->id, &m->mail);
}

uint64_t pubsub_publish(struct shard *sh, enum pubsub_kind kind, struct bytes channel,
                        struct bytes message)
{
    for (uint32_t i = 0; i < sh->node->shards_count; i++) {
        struct shard *to = sh->node->shards[i];
        if (to != sh && subs_of(to->pubsub, kind) != 0)
            mail_to(sh, to, kind, channel, message);
    }
    return pubsub_deliver(sh, kind, channel, message);
}

void pubsub_tell(struct shard *sh, struct bytes channel, struct bytes message)
{
    if (sh->cluster)
        (void)pubsub_deliver(sh, PUBSUB_CHANNEL, channel, message);
    else
        (void)pubsub_publish(sh, PUBSUB_CHANNEL, channel, message);
}
