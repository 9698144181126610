/* One shard: its turn of the loop, its start and its end. shard.h gives the order of things. */
#include "server/shard.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/io/file.h"
#include "engine/space/demote.h"
#include "engine/space/evict.h"
#include "engine/space/expire.h"
#include "engine/space/flush.h"
#include "engine/space/keymerge.h"
#include "engine/space/recover.h"
#include "engine/store/store.h"

#include "replication/replay.h"

#include "server/config.h"
#include "server/config_hooks.h"
#include "server/latency.h"
#include "server/node.h"
#include "server/shard_store.h"
#include "server/slowlog.h"
#include "server/txn.h"

/* The timer of a shard. */
#define CRON_MS 10
/* Completions of other threads handled in one turn. */
#define MAILS_MAX 4096
/* Time of one slice of demotion. */
#define DEMOTE_SLICE_NS 100000
/* Keys that one run of the timer reclaims at most. */
#define EXPIRE_KEYS_MAX 2000
/* Every so many runs of the timer: a look for expired cold keys. */
#define EXPIRE_COLD_CRONS 50
/* Bytes of one batch for the store: a quarter of what waits, within these and a share of DRAM. */
#define FLUSH_BATCH_BYTES_MIN  (256u << 10)
#define FLUSH_BATCH_BYTES_MAX  (8u << 20)
#define FLUSH_BATCH_DRAM_SHARE 64
/* After a slice of demotion that freed nothing, unless a batch is written before. */
#define DEMOTE_REST_MS 10
/* The part of the log that a restart replays is kept below this. Bytes. */
#define LOG_TAIL_BYTES (256u << 20)
/* With less DRAM for a shard than this its buffers are smaller than by default. Bytes. */
#define DRAM_FOR_DEFAULTS    (256u << 20)
#define LOG_BUFFER_SHARE     64
#define LOG_BUFFER_BYTES_MIN (512u << 10)
#define RECV_BUFS_SHARE      64
#define RECV_BUFS_MIN        32
#define RECV_BUF_BYTES       (16u << 10)
/* Rows that wait longer than this are written even without need. Milliseconds. */
#define FLUSH_IDLE_MS 2000
/* Replay: dirty rows kept in DRAM before they are written. Bytes. */
#define REPLAY_DIRTY_BYTES (64u << 20)
/* The longest turn of a shard that ends. Milliseconds. */
#define FINISH_TURN_MS 10
/* Our origin number until the node joins a group. */
#define ORIGIN_ALONE 1

/* --- used by connections --- */

struct resp_limits shard_resp_limits(const struct shard *sh, const struct conn *c)
{
    return (struct resp_limits){.bulk_bytes_max = sh->cfg->proto_max_bulk_len,
                                .args_max = RESP_ARGS_MAX,
                                .unauthenticated = !c->authenticated};
}

size_t shard_query_bytes_max(const struct shard *sh)
{
    return sh->cfg->client_query_buffer_limit;
}

size_t shard_output_bytes_max(const struct shard *sh)
{
    const uint64_t hard = sh->cfg->client_output_buffer_limit.class[CONFIG_LIMIT_NORMAL].hard_bytes;

    return hard == 0 ? UINT32_MAX : hard;
}

uint64_t shard_bulk_bytes_max(const struct shard *sh)
{
    return sh->cfg->proto_max_bulk_len;
}

bool shard_needs_auth(const struct shard *sh)
{
    return sh->cfg->requirepass[0] != '\0';
}

const char *shard_unixsocket(const struct shard *sh)
{
    return sh->cfg->unixsocket;
}

void shard_format_addr(const struct sockaddr_storage *addr, char *out, size_t out_len)
{
    char text[INET6_ADDRSTRLEN] = "?";

    if (addr->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)addr;
        (void)inet_ntop(AF_INET, &in->sin_addr, text, sizeof(text));
        (void)snprintf(out, out_len, "%s:%u", text, ntohs(in->sin_port));
    } else if (addr->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const void *)addr;
        (void)inet_ntop(AF_INET6, &in->sin6_addr, text, sizeof(text));
        (void)snprintf(out, out_len, "[%s]:%u", text, ntohs(in->sin6_port));
    } else {
        (void)snprintf(out, out_len, "%s:0", text);
    }
}

void shard_conn_gone(struct shard *sh, struct conn *c)
{
    (void)c;
    sh->conns_count--;
    atomic_fetch_sub(&sh->conns_given, 1);
    atomic_fetch_sub(&sh->node->conns_count, 1);
}

void shard_retry_next_turn(struct shard *sh, struct conn *c)
{
    if (!list_linked(&c->retry_link))
        list_push_back(&sh->retry_conns, &c->retry_link);
    reactor_wake(sh->reactor);
}

static void on_retry_timer(struct reactor_timer *t)
{
    conn_resume(container_of(t, struct conn, retry));
}

void shard_retry_after(struct shard *sh, struct conn *c, uint32_t delay_ms)
{
    reactor_timer_start(sh->reactor, &c->retry, reactor_now_ms(sh->reactor) + delay_ms,
                        on_retry_timer);
}

bool shard_paused(const struct shard *sh)
{
    return sh->pause_until_ms > reactor_now_ms(sh->reactor);
}

void shard_pause(struct shard *sh, uint64_t until_ms, bool all)
{
    const bool more = shard_paused(sh);

    sh->pause_until_ms = more ? u64_max(sh->pause_until_ms, until_ms) : until_ms;
    sh->pause_all = all || (more && sh->pause_all);
}

static void resume_postponed(struct shard *sh, struct list *conns)
{
    LIST_FOR_EACH_SAFE(link, conns) {
        struct conn *c = LIST_ITEM(link, struct conn, link);
        if (c->postponed) {
            c->postponed = false;
            reactor_timer_stop(sh->reactor, &c->retry);
            shard_retry_next_turn(sh, c);
        }
    }
}

void shard_unpause(struct shard *sh)
{
    sh->pause_until_ms = 0;
    resume_postponed(sh, &sh->conns);
    resume_postponed(sh, &sh->forward.agents);
}

uint64_t shard_postponed_count(const struct shard *sh)
{
    uint64_t count = 0;

    LIST_FOR_EACH(link, &sh->conns)
        count += LIST_ITEM(link, struct conn, link)->postponed;
    LIST_FOR_EACH(link, &sh->forward.agents)
        count += LIST_ITEM(link, struct conn, link)->postponed;
    return count;
}

static void on_wait_ready(struct ks_wait *wait)
{
    conn_resume(container_of(wait, struct conn, wait));
}

/* --- connections from the listener --- */

struct accept_mail {
    struct mail mail;
    struct shard *sh;
    uint64_t id; /* Of the client, in the order of arrival. */
    int fd;
    bool local;
};

static void on_accepted(struct mail *mail)
{
    struct accept_mail *m = container_of(mail, struct accept_mail, mail);
    struct shard *sh = m->sh;
    struct conn *c = NULL;
    const uint64_t id = m->id;

    if (sh->stopping)
        (void)close(m->fd);
    else
        c = conn_open(sh, m->fd, m->local);
    mem_free(m);
    sh->conns_count++;
    if (c == NULL) {
        shard_conn_gone(sh, NULL);
        return;
    }
    c->id = id;
    c->wait.on_ready = on_wait_ready;
    sh->stats.connections++;
}

void shard_accept(struct shard *sh, int fd, bool local)
{
    struct accept_mail *m = mem_alloc(sizeof(*m));

    *m = (struct accept_mail){.mail = {.fn = on_accepted},
                              .sh = sh,
                              .id = ++sh->node->last_client_id,
                              .fd = fd,
                              .local = local};
    atomic_fetch_add(&sh->node->conns_count, 1);
    atomic_fetch_add(&sh->conns_given, 1);
    if (sh->node->shards_count == 1)
        on_accepted(&m->mail);
    else
        mailbox_post(&sh->mailbox, &m->mail);
}

/* --- the turn --- */

static void retry_all(struct shard *sh)
{
    struct list again;
    struct list_link *link;

    list_init(&again);
    list_splice_back(&again, &sh->retry_conns);
    while ((link = list_pop_front(&again)) != NULL)
        conn_resume(LIST_ITEM(link, struct conn, retry_link));
}

/*
 * How far the log must have come before a reply leaves: synced under ALWAYS, else written, so that
 * the death of the process takes back nothing that a client was told.
 */
static uint64_t safe_lsn(const struct shard *sh)
{
    /* Nobody who waited is left, and no write is taken: what is asked now may be answered. */
    if (unlikely(sh->fenced))
        return UINT64_MAX;
    return oplog_policy(sh->log) == OPLOG_SYNC_ALWAYS ? oplog_durable_lsn(sh->log)
                                                      : oplog_written_lsn(sh->log);
}

/*
 * The log is fenced: what it has not made safe by now never will be, and nobody knows what the disk
 * has of it. The clients that wait for such replies are told so and let go.
 */
static void give_up_replies(struct shard *sh)
{
    const bool lost = oplog_applied_lsn(sh->log) > safe_lsn(sh);

    sh->fenced = true;
    if (!lost)
        return;
    LIST_FOR_EACH_SAFE(link, &sh->conns)
        conn_give_up(LIST_ITEM(link, struct conn, link));
    forward_give_up(sh);
}

static void send_replies(struct shard *sh)
{
    struct list_link *link;
    const uint64_t safe = safe_lsn(sh);
    const uint64_t hold = oplog_applied_lsn(sh->log);

    while ((link = list_pop_front(&sh->turn_conns)) != NULL)
        conn_flush(LIST_ITEM(link, struct conn, turn_link), hold, safe);
}

static void send_held(struct shard *sh)
{
    const uint64_t safe = safe_lsn(sh);
    struct list again;
    struct list_link *link;

    if (list_empty(&sh->held_conns))
        return;
    list_init(&again);
    list_splice_back(&again, &sh->held_conns);
    /* What is collected after the last mark stays held: the end of the turn marks it. */
    while ((link = list_pop_front(&again)) != NULL)
        conn_release(LIST_ITEM(link, struct conn, held_link), safe);
}

/* Whether the store should be given rows now. */
static bool flush_due(const struct shard *sh)
{
    if (node_wants_flush(sh))
        return true;
    if (sh->log_bytes_since_covered > flash_log_tail_bytes(sh->node, LOG_TAIL_BYTES) ||
        save_wants_flush(sh) || flash_level(&sh->node->flash) != FLASH_FREE)
        return true;
    return reactor_now_ms(sh->reactor) - sh->busy_at_ms > FLUSH_IDLE_MS;
}

void shard_note_position(struct shard *sh)
{
    const uint64_t lsn = oplog_applied_lsn(sh->log);

    if (lsn != sh->noted_lsn) {
        ks_flush_point(sh->ks, lsn, mut_vv(sh->mut));
        sh->noted_lsn = lsn;
    }
}

static uint64_t flush_batch_bytes(const struct shard *sh)
{
    const uint64_t dram = sh->cfg->maxmemory;
    const uint64_t most = dram == 0
                              ? FLUSH_BATCH_BYTES_MAX
                              : u64_min(dram / FLUSH_BATCH_DRAM_SHARE / sh->node->shards_count,
                                        FLUSH_BATCH_BYTES_MAX);

    return u64_max(u64_min(ks_flush_backlog(sh->ks) / 4, most), FLUSH_BATCH_BYTES_MIN);
}

static void write_back(struct shard *sh)
{
    if (!sh->flushing && !ks_flush_busy(sh->ks) && ks_flush_needed(sh->ks) && flush_due(sh))
        (void)ks_flush_start(sh->ks, flush_batch_bytes(sh), reactor_now_ms(sh->reactor));
    if (!ks_flush_building(sh->ks))
        return;
    shard_note_position(sh);
    if (ks_flush_step(sh->ks))
        ks_flush_on_durable(sh->ks, oplog_durable_lsn(sh->log));
    else
        reactor_wake(sh->reactor); /* The next slice. */
}

/* One slice; a rest after one that freed nothing, until there is something clean again. */
static void demote(struct shard *sh, uint64_t overshoot)
{
    const uint64_t now_ms = reactor_now_ms(sh->reactor);
    /* Keys that reads bring are clean, too. */
    const uint64_t cleaned = ks_metrics(sh->ks)->flushes + ks_metrics(sh->ks)->promotions;

    if (sh->demote_cleaned == cleaned && now_ms < sh->demote_idle_ms)
        return;
    const uint64_t freed =
        ks_demote_some(sh->ks, overshoot / sh->node->shards_count + 4096, DEMOTE_SLICE_NS);
    if (freed != 0) {
        reactor_wake(sh->reactor);
        return;
    }
    sh->demote_cleaned = cleaned;
    sh->demote_idle_ms = now_ms + DEMOTE_REST_MS;
}

static void housekeep(struct shard *sh)
{
    const uint64_t overshoot = node_overshoot(sh);

    if (overshoot != 0)
        demote(sh, overshoot);
    write_back(sh);
    evict_step(sh);
    node_pace(sh);
}

/* What other shards may read of this one at any time. */
static void publish(struct shard *sh)
{
    const bool can_free = ks_flush_needed(sh->ks) || ks_count_hot(sh->ks) != 0;

    atomic_store_explicit(&sh->published.keys, ks_count(sh->ks), memory_order_relaxed);
    atomic_store_explicit(&sh->published.bytes, ks_bytes(sh->ks), memory_order_relaxed);
    atomic_store_explicit(&sh->published.changes, mut_changes(sh->mut), memory_order_relaxed);
    atomic_store_explicit(&sh->published.appended, oplog_metrics(sh->log)->bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&sh->published.can_free, can_free, memory_order_relaxed);
}

uint64_t shard_keys(const struct shard *sh)
{
    return atomic_load_explicit(&sh->published.keys, memory_order_relaxed);
}

static void on_turn(void *ctx)
{
    struct shard *sh = ctx;

    retry_all(sh);
    if (unlikely(sh->routes))
        forward_send_staged(sh);
    oplog_turn_end(sh->log);
    if (unlikely(oplog_fenced(sh->log, NULL)) && !sh->fenced)
        give_up_replies(sh);
    send_held(sh);
    send_replies(sh);
    if (unlikely(sh->routes)) {
        publish(sh);
        forward_turn_end(sh, oplog_applied_lsn(sh->log), safe_lsn(sh));
    }
    housekeep(sh);
    sh->stats.last_ns = reactor_now_ns(sh->reactor);
}

static void on_wake(void *ctx)
{
    struct shard *sh = ctx;

    (void)mailbox_drain(&sh->mailbox, MAILS_MAX);
}

static void on_durable(void *ctx, uint64_t lsn)
{
    struct shard *sh = ctx;

    ks_flush_on_durable(sh->ks, lsn);
}

static void on_fence(void *ctx, const char *why)
{
    const struct shard *sh = ctx;

    LOG_ERROR("server", "the op log is fenced, no writes until a restart shard=%u why=\"%s\"",
              sh->id, why);
}

static void request_sync(void *ctx)
{
    struct shard *sh = ctx;

    oplog_request_sync(sh->log);
}

static void on_change(void *ctx, const struct ks_key *key)
{
    struct shard *sh = ctx;

    watch_touch(sh->watches, key);
}

static void on_reply_error(void *ctx, struct bytes code)
{
    struct shard *sh = ctx;

    stats_count_error(&sh->stats, code);
}

/* --- the timer --- */

static void reclaim(void *ctx, const struct ks_key *key)
{
    struct shard *sh = ctx;

    if (mut_check(sh->mut, key->name.len + 64) != 0)
        return;
    mut_begin(sh->mut, reactor_wall_ms(sh->reactor));
    mut_reclaim(sh->mut, key);
    (void)mut_end(sh->mut);
    sh->stats.expired_keys++;
}

static void close_idle(struct shard *sh)
{
    const uint64_t limit_ms = (uint64_t)sh->cfg->timeout * 1000;
    const uint64_t now_ms = reactor_wall_ms(sh->reactor);

    if (limit_ms == 0)
        return;
    LIST_FOR_EACH_SAFE(link, &sh->conns) {
        struct conn *c = LIST_ITEM(link, struct conn, link);
        if (!c->parked && !forward_pending(c) && now_ms - c->active_ms > limit_ms)
            conn_close(c);
    }
}

/* How much of the log a restart would replay, and what can be dropped. */
static void look_after_log(struct shard *sh)
{
    const uint64_t covered = ks_flush_covered(sh->ks);
    const uint64_t bytes = oplog_metrics(sh->log)->bytes;

    if (covered != sh->covered_lsn) {
        sh->covered_lsn = covered;
        sh->covered_bytes_before = sh->covered_bytes;
        sh->covered_bytes = bytes;
    }
    sh->log_bytes_since_covered = ks_flush_needed(sh->ks) ? bytes - sh->covered_bytes_before : 0;
    if (sh->persisted_lsn > 1)
        (void)oplog_trim(sh->log, sh->persisted_lsn);
}

static void on_cron(struct reactor_timer *t)
{
    struct shard *sh = container_of(t, struct shard, cron);
    const uint64_t now_ms = reactor_now_ms(sh->reactor);
    const uint64_t changes = mut_changes(sh->mut);

    sh->cron_count++;
    if (changes != sh->changes_seen) {
        sh->changes_seen = changes;
        sh->busy_at_ms = now_ms;
    }
    if (sh->id == 0)
        node_measure(sh->node, now_ms);
    else
        node_press(sh);
    evict_follow(sh);
    save_step(sh);
    if (!oplog_fenced(sh->log, NULL) && !sh->no_active_expire && !shard_paused(sh)) {
        (void)ks_expire_some(sh->ks, reactor_wall_ms(sh->reactor), EXPIRE_KEYS_MAX, reclaim, sh);
        if (sh->cron_count % EXPIRE_COLD_CRONS == 0 && !sh->flushing)
            ks_expire_look_cold(sh->ks, reactor_wall_ms(sh->reactor), reclaim, sh);
    }
    if (sh->cron_count % 10 == 0) {
        ks_keys_set_due(sh->ks, (uint64_t)sh->cfg->key_checkpoint_changes);
        if (!sh->flushing)
            ks_keys_step(sh->ks, now_ms);
        shard_note_position(sh);
        look_after_log(sh);
        flash_relief_step(sh);
        if (sh->id != 0)
            flash_publish(sh);
        stats_sample(&sh->stats, now_ms);
    }
    if (sh->cron_count % 100 == 0) {
        close_idle(sh);
        shard_look_persisted(sh);
    }
    reactor_timer_start(sh->reactor, &sh->cron, now_ms + CRON_MS, on_cron);
}

/* The persisted covered position is read in the background; it decides what the log may drop. */
static void read_persisted(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct shard *sh = ctx;
    uint64_t lsn = 0;

    (void)jobs;
    (void)n;
    if (store_covered(sh->store, true, &lsn, NULL) == 0)
        sh->persisted_found = lsn;
}

static void on_persisted(struct mail *mail)
{
    struct shard *sh =
        container_of(container_of(mail, struct pool_job, mail), struct shard, persisted_job);

    sh->persisted_busy = false;
    sh->persisted_lsn = sh->persisted_found;
}

void shard_look_persisted(struct shard *sh)
{
    if (sh->persisted_busy)
        return;
    sh->persisted_busy = true;
    pool_submit(&sh->persisted_class, &sh->persisted_job);
}

/* --- life --- */

/* The shard's part of maxmemory; 0: no limit. */
static uint64_t dram_share(const struct shard *sh)
{
    return sh->cfg->maxmemory / sh->node->shards_count;
}

/* What is not written yet and what is in flight: together twice this. 0: the default. */
static size_t log_buffer_bytes(const struct shard *sh)
{
    const uint64_t dram = dram_share(sh);

    if (dram == 0 || dram >= DRAM_FOR_DEFAULTS)
        return 0;
    return u64_max(dram / LOG_BUFFER_SHARE, LOG_BUFFER_BYTES_MIN);
}

/* Buffers of 16 KiB that all sockets share. 0: the default. */
static uint32_t recv_bufs(const struct shard *sh)
{
    const uint64_t dram = dram_share(sh);

    if (dram == 0 || dram >= DRAM_FOR_DEFAULTS)
        return 0;
    uint32_t count = RECV_BUFS_MIN;
    while (count * 2 * RECV_BUF_BYTES <= dram / RECV_BUFS_SHARE)
        count *= 2;
    return count;
}

static int open_log(struct shard *sh, struct pool *helpers, char *why, size_t why_len)
{
    oplog_pool_class(&sh->log_class);
    pool_add_class(helpers, &sh->log_class);
    (void)snprintf(sh->log_dir, sizeof(sh->log_dir), "%s/oplog", sh->dir);
    const struct oplog_options options = {.dir = sh->log_dir,
                                          .reactor = sh->reactor,
                                          .jobs = &sh->log_class,
                                          .mailbox = &sh->mailbox,
                                          .policy = config_sync_policy(sh->cfg),
                                          .segment_bytes = flash_segment_bytes(sh->node),
                                          .buffer_bytes_max = log_buffer_bytes(sh),
                                          .accept_loss = sh->cfg->accept_loss,
                                          .must_exist = !sh->store_first,
                                          .on_durable = on_durable,
                                          .on_fence = on_fence,
                                          .ctx = sh};
    return oplog_open(&options, &sh->log, why, why_len);
}

/* Brings the keyspace to where the log ends, and makes the write path ready. */
static int recover(struct shard *sh, char *why, size_t why_len)
{
    struct replay r = {.ks = sh->ks, .origin = ORIGIN_ALONE, .dirty_bytes_max = REPLAY_DIRTY_BYTES};
    struct buf vv;
    uint64_t covered = 0;

    int err = ks_recover_table(sh->ks, why, why_len);
    if (err != 0)
        return err;
    buf_init(&vv, VV_BYTES_MAX);
    err = store_covered(sh->store, true, &covered, &vv);
    struct bytes in = buf_bytes(&vv);
    if (err == 0 && in.len != 0)
        err = vv_decode(&in, &r.vv);
    buf_deinit(&vv);
    if (err != 0) {
        (void)snprintf(why, why_len, "the covered position of the store is damaged: %s",
                       err_str(err));
        return err;
    }
    r.lsn = covered;
    /* Alone every record is ours, and none is skipped: the sequence number of one is its LSN. */
    r.seq = covered;
    const uint64_t began_ns = clock_mono_ns();
    err = oplog_recover(sh->log, covered, replay_record, &r, why, why_len);
    if (err != 0)
        return err;
    err = ks_recover_done(sh->ks, r.lsn, &r.vv);
    if (err != 0) {
        (void)snprintf(why, why_len, "cannot write what was replayed to the store: %s",
                       err_str(err));
        return err;
    }
    const uint64_t took_ms = (clock_mono_ns() - began_ns) / 1000000;
    LOG_NOTICE("server",
               "recovered shard=%u keys=%" PRIu64 " covered=%" PRIu64 " records=%" PRIu64
               " ops=%" PRIu64 " log_bytes=%" PRIu64 " replay_ms=%" PRIu64,
               sh->id, ks_count(sh->ks), covered, r.records, r.ops, r.bytes, took_ms);
    const struct mut_options options = {.ks = sh->ks,
                                        .log = sh->log,
                                        .origin = ORIGIN_ALONE,
                                        .seq_seen = r.seq,
                                        .vv = r.vv,
                                        .on_change = on_change,
                                        .ctx = sh};
    mut_create(&options, &sh->mut);
    sh->persisted_lsn = covered;
    shard_note_position(sh);
    sh->evict.policy = -1;
    evict_follow(sh);
    return 0;
}

static void init_lists(struct shard *sh)
{
    list_init(&sh->conns);
    list_init(&sh->turn_conns);
    list_init(&sh->held_conns);
    list_init(&sh->retry_conns);
    window_init(&sh->window);
    forward_shard_init(&sh->forward, sh->node->shards_count);
    resp_cmd_init(&sh->ahead_cmd);
    cmd_keys_init(&sh->keys);
    sh->reply_env = (struct reply_env){.on_error = on_reply_error, .ctx = sh};
    sh->slowlog = slowlog_create();
    sh->latency = latency_create();
    sh->watches = watch_table_create();
}

static int open_reactor(struct shard *sh, char *why, size_t why_len)
{
    static const enum reactor_backend backends[] = {
        [IO_BACKEND_AUTO] = REACTOR_AUTO,
        [IO_BACKEND_URING] = REACTOR_URING,
        [IO_BACKEND_EPOLL] = REACTOR_EPOLL,
    };
    const struct reactor_options options = {.backend = backends[sh->cfg->io_backend],
                                            .recv_bufs_count = recv_bufs(sh)};

    const int err = reactor_create(&options, &sh->reactor);
    if (err != 0) {
        (void)snprintf(why, why_len,
                       "io-backend %s is not available: %s; io-backend auto or epoll would work",
                       config_enum_name(sh->cfg, CONFIG_ID_io_backend), err_str(err));
        return err;
    }
    reactor_set_turn_hook(sh->reactor, on_turn, sh);
    reactor_set_ahead_hook(sh->reactor, window_announced, sh);
    reactor_set_wake_hook(sh->reactor, on_wake, sh);
    mailbox_init(&sh->mailbox, sh->reactor);
    return 0;
}

static int open_pools(struct shard *sh, char *why, size_t why_len)
{
    const struct pool_options options = {.name = "flash", .threads = 1};

    const int err = pool_create(&options, &sh->maintainer);
    if (err != 0) {
        (void)snprintf(why, why_len, "cannot start a thread: %s", err_str(err));
        return err;
    }
    sh->persisted_class = (struct pool_class){.name = "covered",
                                              .priority = POOL_BACKGROUND,
                                              .batch_max = 1,
                                              .run_batch = read_persisted,
                                              .ctx = sh};
    pool_add_class(sh->maintainer, &sh->persisted_class);
    save_shard_init(sh);
    shard_store_init(sh);
    flash_relief_init(sh);
    sh->persisted_job = (struct pool_job){.mail = {.fn = on_persisted}, .reply_to = &sh->mailbox};
    return 0;
}

int shard_open(const struct shard_options *o, struct shard **out, char *why, size_t why_len)
{
    struct shard *sh = mem_zalloc(sizeof(*sh));

    sh->id = o->id;
    sh->node = o->node;
    if (sh->id != 0)
        sh->own_cfg = config_clone(o->cfg);
    sh->cfg = sh->id == 0 ? o->cfg : sh->own_cfg;
    sh->routes = sh->cfg->clustering_policy == CLUSTERING_ENTERPRISE;
    sh->commands = o->commands;
    (void)snprintf(sh->dir, sizeof(sh->dir), "%s", o->dir);
    init_lists(sh);
    *out = sh;
    int err = rng_seed_from_os(&sh->rng);
    if (err == 0)
        err = file_mkdir_sync(o->dir);
    if (err != 0) {
        (void)snprintf(why, why_len, "cannot create %s: %s", o->dir, err_str(err));
        return err;
    }
    err = open_reactor(sh, why, why_len);
    if (err == 0)
        err = open_pools(sh, why, why_len);
    if (err == 0)
        err = shard_store_open(sh, why, why_len);
    if (err != 0)
        return err;
    char keys_path[sizeof(sh->dir) + 32];
    shard_keys_path(sh, keys_path, sizeof(keys_path));
    const struct ks_options options = {.seed = o->seed,
                                       .store = sh->store,
                                       .readers = o->readers,
                                       .maintainer = sh->maintainer,
                                       .mailbox = &sh->mailbox,
                                       .dram_bytes = dram_share(sh),
                                       .origin = ORIGIN_ALONE,
                                       .keys_path = keys_path,
                                       .request_sync = request_sync,
                                       .ctx = sh};
    err = ks_create(&options, &sh->ks);
    if (err == 0)
        ks_use_tick(sh->ks, reactor_wall_ms(sh->reactor));
    if (err == 0)
        err = open_log(sh, o->readers, why, why_len);
    if (err == 0)
        err = shard_store_keep(sh, why, why_len);
    if (err == 0)
        err = recover(sh, why, why_len);
    return err;
}

void shard_run(struct shard *sh)
{
    check_set_shard((int)sh->id);
    reactor_timer_start(sh->reactor, &sh->cron, reactor_now_ms(sh->reactor) + CRON_MS, on_cron);
    reactor_run(sh->reactor);
}

static void run_thread(void *arg)
{
    shard_run(arg);
    shard_finish(arg);
}

int shard_start(struct shard *sh)
{
    char name[THREAD_NAME_BYTES];

    (void)snprintf(name, sizeof(name), "shard-%u", sh->id);
    return thread_start(&sh->thread, name, run_thread, sh);
}

void shard_stop(struct shard *sh)
{
    reactor_stop(sh->reactor);
}

static void one_more_turn(struct shard *sh)
{
    oplog_turn_end(sh->log);
    reactor_run_once(sh->reactor, FINISH_TURN_MS);
}

/*
 * Closes the connections, and waits until nothing is under way any more. As long as one shard has a
 * connection the others answer its commands.
 */
static void drain(struct shard *sh)
{
    struct node *node = sh->node;

    reactor_timer_stop(sh->reactor, &sh->cron);
    while (!list_empty(&sh->conns))
        conn_close(LIST_ITEM(list_first(&sh->conns), struct conn, link));
    ks_keys_stop(sh->ks);
    forward_stop(sh);
    while (atomic_load(&sh->conns_given) != 0)
        one_more_turn(sh);
    if (atomic_load(&node->shards_serving) != 0)
        atomic_fetch_sub(&node->shards_serving, 1);
    while (atomic_load(&node->shards_serving) != 0)
        one_more_turn(sh);
    while (ks_busy(sh->ks) || sh->retired != NULL || sh->persisted_busy || sh->save.busy ||
           sh->relief.busy || (sh->id == 0 && (flash_walking(node) || node_budget_busy(node))))
        one_more_turn(sh);
}

void shard_finish(struct shard *sh)
{
    int err;

    if (sh == NULL || sh->mut == NULL || sh->finished)
        return;
    sh->stopping = true;
    drain(sh);
    shard_note_position(sh);
    sh->finished = true;
    /* The log first: no row may be in the store before the log is durable. */
    err = oplog_close(sh->log);
    sh->log = NULL;
    if (err == 0) {
        err = ks_flush_now(sh->ks);
        if (err == 0)
            err = store_flush(sh->store);
        if (err != 0)
            LOG_ERROR("server", "not everything is in the store; the log has it err=\"%s\"",
                      err_str(err));
    }
    sh->finish_err = err;
}

void shard_join(struct shard *sh)
{
    if (sh != NULL)
        thread_join(&sh->thread);
}

int shard_close(struct shard *sh)
{
    int err = 0;

    if (sh == NULL)
        return 0;
    if (sh->finished)
        err = sh->finish_err;
    else if (sh->log != NULL)
        err = oplog_close(sh->log);
    mut_destroy(sh->mut);
    pool_destroy(sh->maintainer);
    while (sh->reactor != NULL && !mailbox_empty(&sh->mailbox))
        (void)mailbox_drain(&sh->mailbox, MAILS_MAX);
    ks_destroy(sh->ks);
    store_close(sh->store);
    mailbox_deinit(&sh->mailbox);
    reactor_destroy(sh->reactor);
    slowlog_destroy(sh->slowlog);
    latency_destroy(sh->latency);
    stats_reset(&sh->stats);
    watch_table_destroy(sh->watches);
    window_deinit(&sh->window);
    resp_cmd_deinit(&sh->ahead_cmd);
    cmd_keys_deinit(&sh->keys);
    forward_shard_deinit(&sh->forward);
    config_destroy(sh->own_cfg);
    mem_free(sh);
    return err;
}

int shard_merge_rows(void *ctx, struct bytes key, struct bytes existing,
                     const struct bytes *operands, size_t n, struct buf *out)
{
    (void)ctx;
    (void)key;
    return row_merge_store(existing, operands, n, out);
}
