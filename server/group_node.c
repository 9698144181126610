/* A node as a member of a group: shard 0's part; group_node.h tells the others. */
#include "server/group_node.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/io/file.h"

#include "server/config.h"
#include "server/datadir.h"
#include "server/group_digest.h"
#include "server/group_shard.h"
#include "server/group_talk.h"
#include "server/node.h"
#include "server/shard.h"

#define GROUP_FILE    "GROUP"
#define FILE_RETRY_MS 1000
#define TICK_MS       20
/* More than control keeps. */
#define CONTROL_STATE_BYTES (1u << 20)
#define PATH_ROOM           4200

/* --- orders to the shards --- */

enum order {
    ORDER_MEMBERS,
    ORDER_FREEZE,
    ORDER_DRAIN,
    ORDER_FLUSH,
    ORDER_RETIRE
};

struct order_mail {
    struct mail mail;
    struct shard *sh;
    enum order order;
    uint8_t origin;
    uint64_t number;               /* FREEZE, DRAIN: the round; FLUSH: the epoch. */
    struct group_members *members; /* Owned. */
};

static void on_order(struct mail *mail)
{
    struct order_mail *m = container_of(mail, struct order_mail, mail);
    struct group_shard *gs = m->sh->group;

    if (group_shard_stopping(gs)) {
        mem_free(m->members);
        mem_free(m);
        return;
    }
    switch (m->order) {
    case ORDER_MEMBERS:
        group_shard_set_members(gs, m->members);
        break;
    case ORDER_FREEZE:
        group_shard_freeze(gs, m->origin, (uint32_t)m->number);
        break;
    case ORDER_DRAIN:
        group_shard_drain(gs, (uint32_t)m->number);
        break;
    case ORDER_FLUSH:
        group_shard_flush(gs, m->number);
        break;
    case ORDER_RETIRE:
        group_shard_retire(gs);
        break;
    }
    mem_free(m->members);
    mem_free(m);
}

static void order_all(struct group *g, enum order order, uint8_t origin, uint64_t number,
                      const struct group_members *members)
{
    for (uint32_t i = 0; i < g->node->shards_count; i++) {
        struct order_mail *m = mem_alloc(sizeof(*m));

        *m = (struct order_mail){.mail = {.fn = on_order},
                                 .sh = g->node->shards[i],
                                 .order = order,
                                 .origin = origin,
                                 .number = number};
        if (members != NULL) {
            m->members = mem_alloc(sizeof(*members));
            *m->members = *members;
            membership_shard(control_members(g->control), i, &m->members->members);
        }
        mailbox_post(&g->node->shards[i]->mailbox, &m->mail);
    }
}

/* --- the host of control --- */

static void host_send(void *ctx, const char *address, struct bytes bytes)
{
    struct group *g = ctx;

    group_talk_send(g->talk, address, bytes);
}

static void submit_file(struct group *g)
{
    g->file_busy = true;
    pool_submit(&g->file_class, &g->file_job);
}

static void host_persist(void *ctx, uint64_t version, struct bytes bytes)
{
    struct group *g = ctx;

    CHECK(!g->file_busy && g->file_retry_ms == 0);
    buf_clear(&g->file);
    CHECK(buf_append_bytes(&g->file, bytes) == 0);
    g->file_version = version;
    submit_file(g);
}

static void host_members(void *ctx, const struct membership *m)
{
    struct group *g = ctx;
    struct control_status status;
    struct group_members *members = mem_zalloc(sizeof(*members));

    control_status(g->control, &status);
    members->origin = status.origin;
    members->flush_epoch = status.flush_epoch;
    if (status.origin != 0)
        members->incarnation = m->at[status.origin - 1].incarnation;
    memcpy(members->group_id, m->group_id, sizeof(members->group_id));
    for (uint8_t origin = 1; origin <= m->count; origin++) {
        memcpy(members->address[origin], m->at[origin - 1].address, MEMBERSHIP_ADDRESS_BYTES);
        memcpy(members->name[origin], m->at[origin - 1].name, MEMBER_NAME_BYTES);
    }
    order_all(g, ORDER_MEMBERS, 0, 0, members);
    mem_free(members);
    if (control_retired(g->control)) {
        LOG_WARN("group", "the incarnation that this node had is over: its data is set aside, and "
                          "it begins anew");
        node_begin_anew(g->node);
    }
}

static void host_freeze(void *ctx, uint8_t origin)
{
    struct group *g = ctx;

    order_all(g, ORDER_FREEZE, origin, group_asked_begin(&g->frozen[origin]), NULL);
}

static void host_drain(void *ctx)
{
    struct group *g = ctx;

    order_all(g, ORDER_DRAIN, 0, group_asked_begin(&g->drained), NULL);
}

static void host_flush(void *ctx, uint64_t epoch)
{
    order_all(ctx, ORDER_FLUSH, 0, epoch, NULL);
}

static void host_event(void *ctx, const struct control_event *event)
{
    const struct group *g = ctx;
    struct control_status status;

    control_status(g->control, &status);
    switch ((enum control_event_kind)event->kind) {
    case CONTROL_FOUNDED:
        LOG_NOTICE("group", "founded the replication group group=%s", g->node->cfg->group_nickname);
        break;
    case CONTROL_JOINED:
        LOG_NOTICE("group", "joined the replication group group=%s origin=%u",
                   g->node->cfg->group_nickname, status.origin);
        break;
    case CONTROL_REFUSED:
        LOG_WARN("group", "not let in: %s", status.refused_text);
        break;
    case CONTROL_CHANGED:
        LOG_NOTICE("group", "the membership changed epoch=%" PRIu64, event->detail);
        break;
    case CONTROL_REPLACES:
        LOG_WARN("group",
                 "a member has lost its data, or came back with an older copy of it: it is "
                 "unlinked, to join anew under its name name=%s origin=%u",
                 control_members(g->control)->at[event->origin - 1].name, event->origin);
        break;
    case CONTROL_FENCED_OFF:
        if (control_retired(g->control))
            break;
        LOG_WARN("group", "this node is no member any more: it takes no writes; delete its dir "
                          "and start it again to join anew");
        break;
    case CONTROL_FORK_SEEN:
        LOG_WARN("group", "the group was forced apart from that of a peer origin=%u",
                 event->origin);
        break;
    }
}

static const struct control_host host = {.send = host_send,
                                         .persist = host_persist,
                                         .members = host_members,
                                         .freeze = host_freeze,
                                         .drain = host_drain,
                                         .flush = host_flush,
                                         .event = host_event};

/* --- the file --- */

static void file_path(const struct group *g, char out[PATH_ROOM])
{
    (void)snprintf(out, PATH_ROOM, "%s/" GROUP_FILE, g->node->dir);
}

/* Maintenance thread of shard 0. */
static void write_file(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct group *g = ctx;
    char path[PATH_ROOM];

    (void)jobs;
    (void)n;
    file_path(g, path);
    g->file_err = file_write_atomic(path, buf_bytes(&g->file));
}

static void on_written(struct mail *mail)
{
    struct group *g =
        container_of(container_of(mail, struct pool_job, mail), struct group, file_job);

    g->file_busy = false;
    if (g->file_err != 0) {
        LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "group",
                     "cannot write " GROUP_FILE ", trying again: %s", err_str(g->file_err));
        g->file_retry_ms = reactor_now_ms(g->node->shards[0]->reactor) + FILE_RETRY_MS;
        return;
    }
    if (g->running)
        control_persisted(g->control, g->file_version);
}

static void retry_file(struct group *g, uint64_t now_ms)
{
    if (g->file_retry_ms == 0 || now_ms < g->file_retry_ms)
        return;
    g->file_retry_ms = 0;
    submit_file(g);
}

/* --- what the shards say --- */

struct said_mail {
    struct mail mail;
    struct group *group;
    enum group_said what;
    uint8_t origin;
    bool up;
    uint32_t shard;
    uint32_t round;
    uint64_t seq;
    char why[CONTROL_TEXT_BYTES];
    struct group_report *report; /* Owned. */
};

/* One more shard has answered; true: all have. */
static bool answer(const struct group *g, struct group_asked *asked, const struct said_mail *m)
{
    return group_asked_answer(asked, g->node->shards_count, m->shard, m->round, m->seq);
}

/* The link of one shard has come up or ended; a member counts as linked when all are up. */
static void on_link(struct group *g, const struct said_mail *m)
{
    bool all = true;

    g->links_up[m->shard][m->origin] = m->up;
    for (uint32_t i = 0; i < g->node->shards_count; i++)
        all = all && g->links_up[i][m->origin];
    if (all || g->linked[m->origin] || m->why[0] != '\0')
        control_link(g->control, m->origin, all, m->why[0] == '\0' ? NULL : m->why);
    g->linked[m->origin] = all;
}

/* A shard lacks what it had acknowledged, or its peers have other writes of it. */
static void retire(struct group *g)
{
    struct control_status status;

    control_status(g->control, &status);
    if (status.state != CONTROL_ACTIVE && status.state != CONTROL_JOINING)
        return;
    LOG_WARN("group", "this node has an older copy of its data: it takes no writes any more, asks "
                      "its peers to unlink it as what it was, and then joins anew");
    control_retire(g->control);
    order_all(g, ORDER_RETIRE, 0, 0, NULL);
}

static void on_said(struct mail *mail)
{
    struct said_mail *m = container_of(mail, struct said_mail, mail);
    struct group *g = m->group;

    if (!g->running) {
        mem_free(m->report);
        mem_free(m);
        return;
    }
    switch (m->what) {
    case GROUP_SAID_FROZEN:
        if (answer(g, &g->frozen[m->origin], m))
            control_frozen(g->control, m->origin, g->frozen[m->origin].seqs);
        break;
    case GROUP_SAID_DRAINED:
        if (answer(g, &g->drained, m))
            control_drained(g->control, g->drained.seqs);
        break;
    case GROUP_SAID_SYNCED:
        if (++g->synced == g->node->shards_count)
            control_synced(g->control);
        break;
    case GROUP_SAID_LINK:
        on_link(g, m);
        break;
    case GROUP_SAID_PAST:
        retire(g);
        break;
    case GROUP_SAID_REPORT:
        g->reports[m->shard] = *m->report;
        break;
    }
    mem_free(m->report);
    mem_free(m);
}

static struct said_mail *say(struct shard *sh, enum group_said what, uint8_t origin)
{
    struct said_mail *m = mem_zalloc(sizeof(*m));

    m->mail.fn = on_said;
    m->group = sh->node->group;
    m->what = what;
    m->origin = origin;
    m->shard = sh->id;
    return m;
}

void group_say_seq(struct shard *sh, enum group_said what, uint8_t origin, uint64_t seq,
                   uint32_t round)
{
    struct said_mail *m = say(sh, what, origin);

    m->seq = seq;
    m->round = round;
    mailbox_post(&sh->node->shards[0]->mailbox, &m->mail);
}

void group_say_link(struct shard *sh, uint8_t origin, bool up, const char *why)
{
    struct said_mail *m = say(sh, GROUP_SAID_LINK, origin);

    m->up = up;
    if (why != NULL)
        (void)snprintf(m->why, sizeof(m->why), "%s", why);
    mailbox_post(&sh->node->shards[0]->mailbox, &m->mail);
}

void group_say_report(struct shard *sh, struct group_report *take_report)
{
    struct said_mail *m = say(sh, GROUP_SAID_REPORT, 0);

    m->report = take_report;
    mailbox_post(&sh->node->shards[0]->mailbox, &m->mail);
}

/* --- start and end --- */

static void on_tick(struct reactor_timer *t)
{
    struct group *g = container_of(t, struct group, timer);
    struct reactor *r = g->node->shards[0]->reactor;
    const uint64_t now_ms = reactor_now_ms(r);

    retry_file(g, now_ms);
    control_tick(g->control, now_ms);
    group_talk_tick(g->talk, now_ms);
    group_digest_tick(g->digest, now_ms);
    reactor_timer_start(r, &g->timer, now_ms + TICK_MS, on_tick);
}

static int read_file(const struct group *g, struct buf *out, char *why, size_t why_len)
{
    char path[PATH_ROOM];

    file_path(g, path);
    const int err = file_read_all(path, out);
    if (err == 0 || err == -ENOENT)
        return 0;
    (void)snprintf(why, why_len, "cannot read %s: %s", path, err_str(err));
    return err;
}

static int make_control(struct group *g, char *why, size_t why_len)
{
    struct control_options options;
    struct buf state;
    struct rng rng;

    int err = rng_seed_from_os(&rng);
    if (err != 0) {
        (void)snprintf(why, why_len, "no random numbers from the kernel: %s", err_str(err));
        return err;
    }
    group_config_control(g->node->cfg, &g->config, g->node->shards_count, &options);
    buf_init(&state, CONTROL_STATE_BYTES);
    err = read_file(g, &state, why, why_len);
    options.seed = rng_u64(&rng);
    options.state = buf_bytes(&state);
    if (err == 0)
        err = control_create(&options, &host, g, &g->control);
    buf_deinit(&state);
    if (err != 0 && why[0] == '\0')
        (void)snprintf(why, why_len,
                       "%s/" GROUP_FILE ": %s; restore it, or delete the dir and join anew",
                       g->node->dir, err_str(err));
    return err;
}

/* --- a new incarnation --- */

static int set_aside(const struct group *g, const char *aside, const char *name)
{
    char from[PATH_ROOM], to[PATH_ROOM];

    (void)snprintf(from, sizeof(from), "%s/%s", g->node->dir, name);
    (void)snprintf(to, sizeof(to), "%s/%s", aside, name);
    const int err = file_rename(from, to);
    return err == -ENOENT ? 0 : err;
}

static int sync_both(const struct group *g, const char *aside)
{
    const int err = file_sync_dir(aside);

    return err != 0 ? err : file_sync_dir(g->node->dir);
}

/* FORMAT stays; with a copy of it what is set aside is whole, for tierra-inspect. */
static int copy_format(const struct group *g, const char *aside)
{
    char path[PATH_ROOM];
    struct buf text;

    (void)snprintf(path, sizeof(path), "%s/" DATADIR_FORMAT_FILE, g->node->dir);
    buf_init(&text, DATADIR_FORMAT_BYTES);
    int err = file_read_all(path, &text);
    (void)snprintf(path, sizeof(path), "%s/" DATADIR_FORMAT_FILE, aside);
    if (err == 0)
        err = file_write_atomic(path, buf_bytes(&text));
    buf_deinit(&text);
    return err;
}

/*
 * The incarnation that the directory has is over: what it has goes aside, GROUP at last, so that a
 * start that was cut short goes on here.
 */
static int begin_anew(struct group *g, char *why, size_t why_len)
{
    char aside[PATH_ROOM], shard[32];

    (void)snprintf(aside, sizeof(aside), "%s/aside-%016" PRIx64, g->node->dir,
                   control_incarnation(g->control));
    int err = file_mkdir_sync(aside);
    if (err == 0)
        err = copy_format(g, aside);
    for (uint32_t i = 0; err == 0 && i < g->node->shards_count; i++) {
        (void)snprintf(shard, sizeof(shard), DATADIR_SHARD, i);
        err = set_aside(g, aside, shard);
    }
    if (err == 0)
        err = sync_both(g, aside);
    if (err == 0)
        err = set_aside(g, aside, GROUP_FILE);
    if (err == 0)
        err = sync_both(g, aside);
    if (err != 0) {
        (void)snprintf(why, why_len,
                       "cannot set the data of the member that this was aside: %s: %s", aside,
                       err_str(err));
        return err;
    }
    LOG_WARN("group",
             "this node was unlinked as the member that it was; its data is kept until you delete "
             "it, and it joins anew aside=%s",
             aside);
    control_destroy(g->control);
    g->control = NULL;
    return make_control(g, why, why_len);
}

/* --- the door --- */

static void on_guest(void *ctx, struct link_guest *take_guest)
{
    struct group *g = ctx;

    if (take_guest->kind == LINK_CONTROL) {
        group_talk_accept(g->talk, take_guest);
    } else if (take_guest->shard < g->node->shards_count) {
        struct shard *sh = g->node->shards[take_guest->shard];
        group_shard_pass(sh, take_guest);
    } else {
        link_guest_drop(take_guest);
    }
}

static int open_door(struct group *g, char *why, size_t why_len)
{
    const char *const bind = g->node->cfg->group_bind;
    const struct link_door_options options = {
        .reactor = g->node->shards[0]->reactor,
        .secret = g->secret,
        .nickname = bytes_cstr(g->node->cfg->group_nickname),
        .address = bind[0] != '\0' ? bind : g->config.linked[g->config.own].address,
        .on_guest = on_guest,
        .ctx = g};
    char reason[512] = "";

    const int err = link_door_open(&options, &g->door, reason, sizeof(reason));
    if (err != 0)
        (void)snprintf(why, why_len, "%s: %s", bind[0] != '\0' ? "group-bind" : "linked-databases",
                       reason);
    return err;
}

int group_open(struct node *node, struct group **out, char *why, size_t why_len)
{
    *out = NULL;
    if (!group_configured(node->cfg))
        return 0;
    struct group *g = mem_zalloc(sizeof(*g));
    *out = g;
    g->node = node;
    buf_init(&g->file, CONTROL_STATE_BYTES);
    g->reports = mem_zalloc_array(node->shards_count, sizeof(*g->reports));
    g->links_up = mem_zalloc_array(node->shards_count, sizeof(*g->links_up));
    int err = group_config_read(node->cfg, &g->config, why, why_len);
    if (err == 0 && link_secret_load(node->cfg->group_secret_file, &g->secret, why, why_len) != 0)
        err = -ERR_CONFIG;
    if (err == 0)
        err = make_control(g, why, why_len);
    if (err == 0 && control_retired(g->control))
        err = begin_anew(g, why, why_len);
    if (err == 0)
        err = pool_create(&(struct pool_options){.name = "names", .threads = 1}, &g->resolver_pool);
    if (err == 0)
        link_resolver_init(&g->resolver, g->resolver_pool);
    return err;
}

uint8_t group_origin(const struct group *g)
{
    struct control_status status;

    control_status(g->control, &status);
    return status.origin;
}

int group_start(struct group *g, char *why, size_t why_len)
{
    struct shard *sh = g->node->shards[0];

    g->file_class = (struct pool_class){.name = "group",
                                        .priority = POOL_BACKGROUND,
                                        .batch_max = 1,
                                        .run_batch = write_file,
                                        .ctx = g};
    pool_add_class(sh->maintainer, &g->file_class);
    g->file_job = (struct pool_job){.mail = {.fn = on_written}, .reply_to = &sh->mailbox};
    g->digest = group_digest_create(g);
    g->talk = group_talk_create(group_shard_hub(sh->group), g->control, g->digest,
                                g->config.linked[g->config.own].address);
    const int err = open_door(g, why, why_len);
    if (err != 0)
        return err;
    g->running = true;
    reactor_timer_start(sh->reactor, &g->timer, reactor_now_ms(sh->reactor) + 1, on_tick);
    return 0;
}

bool group_stop(struct group *g)
{
    if (g->running)
        reactor_timer_stop(g->node->shards[0]->reactor, &g->timer);
    g->running = false;
    if (g->door != NULL && !g->door_stopped)
        link_door_stop(g->door);
    g->door_stopped = true;
    return !g->file_busy && (g->door == NULL || link_door_empty(g->door));
}

void group_destroy(struct group *g)
{
    if (g == NULL)
        return;
    link_door_destroy(g->door);
    group_talk_destroy(g->talk);
    group_digest_destroy(g->digest);
    pool_destroy(g->resolver_pool);
    control_destroy(g->control);
    link_secret_destroy(g->secret);
    buf_deinit(&g->file);
    mem_free(g->reports);
    mem_free(g->links_up);
    mem_free(g);
}
