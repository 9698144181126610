/* One shard: its start and its end. shard.h gives the order of things. */
#include "server/shard.h"

#include <inttypes.h>
#include <stdio.h>

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"

#include "engine/io/file.h"
#include "engine/space/evict.h"
#include "engine/space/flush.h"
#include "engine/space/keymerge.h"
#include "engine/space/recover.h"
#include "engine/space/resident.h"
#include "engine/store/store.h"

#include "replication/replay.h"

#include "server/acl_log.h"
#include "server/acl_users.h"
#include "server/blocked.h"
#include "server/config.h"
#include "server/config_hooks.h"
#include "server/group_node.h"
#include "server/group_shard.h"
#include "server/latency.h"
#include "server/node.h"
#include "server/notify.h"
#include "server/pubsub.h"
#include "server/scanplaces.h"
#include "server/shard_store.h"
#include "server/shard_turn.h"
#include "server/slowlog.h"
#include "server/tracking.h"
#include "server/txn.h"

/* Completions of other threads handled in one turn. */
#define MAILS_MAX 4096
/* With less DRAM for a shard than this its buffers are smaller than by default. Bytes. */
#define DRAM_FOR_DEFAULTS    (256u << 20)
#define LOG_BUFFER_SHARE     64
#define LOG_BUFFER_BYTES_MIN (512u << 10)
#define RECV_BUFS_SHARE      64
#define RECV_BUFS_MIN        32
#define RECV_BUF_BYTES       (16u << 10)
/*
 * Replay: up to this part of maxmemory nothing is written; and by how much the keyspace may grow in
 * any case between two times that it is. Bytes.
 */
#define REPLAY_PERCENT   82
#define REPLAY_BYTES_MIN (1u << 20)
/* The longest turn of a shard that ends. Milliseconds. */
#define FINISH_TURN_MS 10
/* Only what is durable is shipped: a member syncs its log so often. */
#define GROUP_SYNC_MS 5
/* Our origin number until the node joins a group. */
#define ORIGIN_ALONE 1

/* --- what others call --- */

static void on_wake(void *ctx)
{
    struct shard *sh = ctx;

    (void)mailbox_drain(&sh->mailbox, MAILS_MAX);
}

static void on_durable(void *ctx, uint64_t lsn)
{
    struct shard *sh = ctx;

    ks_flush_on_durable(sh->ks, lsn);
    if (sh->group != NULL)
        group_shard_durable(sh->group, lsn);
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

    if (unlikely(sh->reclaims))
        watch_touch_expired(sh->watches, key);
    else
        watch_touch(sh->watches, key);
    blocked_touch(sh->blocked, key);
    notify_touch(sh->notify, key);
    tracking_touch(sh, sh->tracking, node_bcasts(sh->node), key);
}

static void on_remote(void *ctx, const struct ks_key *key, const struct op *op)
{
    notify_remote(ctx, key, op);
}

static void on_reply_error(void *ctx, struct bytes code)
{
    struct shard *sh = ctx;

    stats_count_error(&sh->stats, code);
}

/* --- start --- */

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
                                          .sync_period_ms = sh->group != NULL ? GROUP_SYNC_MS : 0,
                                          .buffer_bytes_max = log_buffer_bytes(sh),
                                          .accept_loss = sh->cfg->accept_loss,
                                          .must_exist = !sh->store_first,
                                          .on_durable = on_durable,
                                          .on_fence = on_fence,
                                          .ctx = sh};
    return oplog_open(&options, &sh->log, why, why_len);
}

/*
 * By how much the keyspace may grow during replay: its part of what is free; UINT64_MAX: no limit.
 * The write buffers fill when room is made, the keyspaces of later shards are empty yet.
 */
static uint64_t replay_room(const struct shard *sh)
{
    const uint64_t most = sh->cfg->maxmemory / 100 * REPLAY_PERCENT;
    const uint64_t taken = mem_rss_bytes() + node_memtable_bytes(sh->node);

    if (sh->cfg->maxmemory == 0)
        return UINT64_MAX;
    const uint64_t room = most > taken ? (most - taken) / (sh->node->shards_count - sh->id) : 0;
    return u64_max(room, REPLAY_BYTES_MIN);
}

/* The same of a member of a group. */
static int recover_member(struct shard *sh, char *why, size_t why_len)
{
    const uint64_t began_ns = clock_mono_ns();
    const uint8_t origin = group_origin(sh->node->group);
    const struct replica_state *state;

    const struct group_shard_recovery recovery = {
        .origin = origin, .room_bytes = replay_room(sh), .room_bytes_min = REPLAY_BYTES_MIN};
    const int err = group_shard_recover(sh->group, &recovery, &state, why, why_len);
    if (err != 0)
        return err;
    LOG_NOTICE("server",
               "recovered shard=%u keys=%" PRIu64 " covered=%" PRIu64 " records=%" PRIu64
               " ops=%" PRIu64 " log_bytes=%" PRIu64 " replay_ms=%" PRIu64,
               sh->id, state->keys, state->note.covered_lsn, state->records, state->ops,
               state->bytes, (clock_mono_ns() - began_ns) / 1000000);
    const struct mut_options options = {.ks = sh->ks,
                                        .log = sh->log,
                                        .origin = origin,
                                        .seq_seen = state->seq,
                                        .vv = state->vv,
                                        .group = true,
                                        .seqs = state->seqs,
                                        .flush = state->note.flush,
                                        .on_logged = group_shard_logged,
                                        .on_change = on_change,
                                        .on_remote = on_remote,
                                        .ctx = sh};
    mut_create(&options, &sh->mut);
    sh->persisted_lsn = state->note.covered_lsn;
    return 0;
}

static void recovered(struct shard *sh)
{
    shard_note_position(sh);
    sh->evict.policy = -1;
    ks_use_once(sh->ks, &sh->stats.commands);
    evict_follow(sh);
}

/* Brings the keyspace to where the log ends, and makes the write path ready. */
static int recover(struct shard *sh, char *why, size_t why_len)
{
    struct replay r = {.ks = sh->ks, .origin = ORIGIN_ALONE, .room_bytes_min = REPLAY_BYTES_MIN};
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
    const uint64_t room = replay_room(sh);
    r.bytes_max = room == UINT64_MAX ? UINT64_MAX : ks_recover_held(sh->ks) + room;
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
               " ops=%" PRIu64 " log_bytes=%" PRIu64 " writes=%" PRIu64 " replay_ms=%" PRIu64,
               sh->id, ks_count(sh->ks), covered, r.records, r.ops, r.bytes, r.rooms, took_ms);
    const struct mut_options options = {.ks = sh->ks,
                                        .log = sh->log,
                                        .origin = ORIGIN_ALONE,
                                        .seq_seen = r.seq,
                                        .vv = r.vv,
                                        .on_change = on_change,
                                        .ctx = sh};
    mut_create(&options, &sh->mut);
    sh->persisted_lsn = covered;
    return 0;
}

static void init_lists(struct shard *sh)
{
    list_init(&sh->conns);
    list_init(&sh->turn_conns);
    list_init(&sh->held_conns);
    list_init(&sh->retry_conns);
    list_init(&sh->streams);
    list_init(&sh->migrates.all);
    client_room_init(&sh->room);
    window_init(&sh->window);
    forward_shard_init(&sh->forward, sh->node->shards_count);
    resp_cmd_init(&sh->ahead_cmd);
    cmd_keys_init(&sh->keys);
    sh->reply_env = (struct reply_env){.on_error = on_reply_error, .ctx = sh};
    sh->slowlog = slowlog_create();
    sh->acl_log = acl_log_create();
    sh->latency = latency_create();
    sh->watches = watch_table_create();
    sh->blocked = blocked_create();
    sh->pubsub = pubsub_create();
    sh->tracking = tracking_create();
    list_init(&sh->monitors);
    sh->notify = notify_create();
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
    reactor_set_turn_hook(sh->reactor, shard_turn, sh);
    reactor_set_ahead_hook(sh->reactor, window_announced, sh);
    reactor_set_wake_hook(sh->reactor, on_wake, sh);
    mailbox_init(&sh->mailbox, sh->reactor);
    return 0;
}

static int open_pools(struct shard *sh, char *why, size_t why_len)
{
    const struct pool_options options = {
        .name = "flash", .threads = 1, .nice = NODE_MAINTAINER_NICE};

    const int err = pool_create(&options, &sh->maintainer);
    if (err != 0) {
        (void)snprintf(why, why_len, "cannot start a thread: %s", err_str(err));
        return err;
    }
    shard_turn_init(sh);
    save_shard_init(sh);
    shard_store_init(sh);
    flash_relief_init(sh);
    mend_init(sh);
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
    sh->routes = sh->cfg->clustering_policy != CLUSTERING_NONE;
    sh->cluster = sh->cfg->clustering_policy == CLUSTERING_OSS;
    sh->commands = o->commands;
    sh->users = acl_users_ref(o->node->users);
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
    if (err == 0 && sh->node->group != NULL) {
        sh->group = group_shard_create(sh);
        err = group_shard_look(sh->group, why, why_len);
    }
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
                                       .origin = sh->group != NULL ? group_origin(sh->node->group)
                                                                   : ORIGIN_ALONE,
                                       .group = sh->group != NULL,
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
        err = sh->group != NULL ? recover_member(sh, why, why_len) : recover(sh, why, why_len);
    if (err == 0)
        recovered(sh);
    return err;
}

void shard_run(struct shard *sh)
{
    check_set_shard((int)sh->id);
    thread_prompt_self();
    shard_turn_start_timer(sh);
    ks_gather_reads(sh->ks);
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

/* --- end --- */

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
    /* Control first: it speaks over the links of this shard. */
    while (sh->id == 0 && node->group != NULL && !group_stop(node->group))
        one_more_turn(sh);
    while (sh->group != NULL && !group_shard_stop(sh->group))
        one_more_turn(sh);
    forward_stop(sh);
    while (atomic_load(&sh->conns_given) != 0 || sh->migrates.links != 0)
        one_more_turn(sh);
    if (atomic_load(&node->shards_serving) != 0)
        atomic_fetch_sub(&node->shards_serving, 1);
    while (atomic_load(&node->shards_serving) != 0)
        one_more_turn(sh);
    while (ks_busy(sh->ks) || sh->retired != NULL || sh->persisted_busy || sh->save.busy ||
           sh->relief.busy || sh->mend.busy ||
           (sh->id == 0 && (flash_walking(node) || node_budget_busy(node))))
        one_more_turn(sh);
}

/* A write or a flush would wait for compactions. */
static bool store_stalls(const struct shard *sh)
{
    struct store_stats stats;

    store_stats(sh->store, &stats);
    return stats.write_stopped != 0 || stats.delayed_write_bytes_sec != 0;
}

/* The end may go on writing. */
static bool may_write(const struct shard *sh, uint64_t until_ns)
{
    switch ((enum node_end)atomic_load(&sh->node->end)) {
    case NODE_END_ALL:
        return true;
    case NODE_END_BOUNDED:
        return clock_mono_ns() < until_ns && !store_stalls(sh);
    case NODE_END_NOT_YET: /* Another shard could not be started. */
    case NODE_END_NOTHING:
    case NODE_END_AT_ONCE:
        break;
    }
    return false;
}

/*
 * What the store lacks, when the log is safe, for as long as it is worth: to replay the rest is
 * quicker than to write it. With the bound reached in the last moment it goes on for one batch and
 * the write buffers.
 */
static int write_rest(const struct shard *sh)
{
    const uint64_t seconds = (uint64_t)sh->cfg->shutdown_timeout;
    const uint64_t until_ns = clock_mono_ns() + seconds * 1000000000;
    int err = 0;

    if (ks_flush_needed(sh->ks))
        LOG_NOTICE("server",
                   "writing back before the end shard=%u bytes=%" PRIu64 " seconds_max=%" PRIu64,
                   sh->id, ks_flush_backlog(sh->ks), seconds);
    while (err == 0 && ks_flush_needed(sh->ks) && may_write(sh, until_ns))
        err = ks_flush_batch_now(sh->ks);
    const bool flushes = err == 0 && may_write(sh, seconds == 0 ? 0 : UINT64_MAX);
    if (flushes)
        err = store_flush(sh->store);
    /* One that failed may stall as well, and then nothing was tried. */
    if (err == 0)
        err = store_health(sh->store, NULL, 0);
    if (err != 0)
        LOG_ERROR("server", "not everything is in the store; the log has it err=\"%s\"",
                  err_str(err));
    else if (ks_flush_needed(sh->ks))
        LOG_NOTICE("server", "the next start replays the rest shard=%u bytes=%" PRIu64, sh->id,
                   ks_flush_backlog(sh->ks));
    else if (!flushes)
        LOG_NOTICE("server", "the next start replays what is in the store's write buffers shard=%u",
                   sh->id);
    return err;
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
        node_log_closed(sh->node);
        err = write_rest(sh);
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
    pool_destroy(sh->migrates.names);
    while (sh->reactor != NULL && !mailbox_empty(&sh->mailbox))
        (void)mailbox_drain(&sh->mailbox, MAILS_MAX);
    group_shard_destroy(sh->group);
    ks_destroy(sh->ks);
    shard_store_drop_next(sh);
    store_close(sh->kept);
    store_close(sh->store);
    mailbox_deinit(&sh->mailbox);
    reactor_destroy(sh->reactor);
    slowlog_destroy(sh->slowlog);
    acl_log_destroy(sh->acl_log);
    acl_users_unref(sh->users);
    latency_destroy(sh->latency);
    stats_reset(&sh->stats);
    watch_table_destroy(sh->watches);
    scan_places_destroy(sh->scan_places);
    pop_ahead_deinit(&sh->pop_ahead);
    blocked_destroy(sh->blocked);
    pubsub_destroy(sh->pubsub);
    tracking_destroy(sh->tracking);
    notify_destroy(sh->notify);
    window_deinit(&sh->window);
    resp_cmd_deinit(&sh->ahead_cmd);
    cmd_keys_deinit(&sh->keys);
    forward_shard_deinit(&sh->forward);
    buf_deinit(&sh->persisted_note);
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
