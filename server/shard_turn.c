/*
 * The turn of a shard's loop: waiting commands, the log's write, replies, write-back and demotion;
 * and its timer: measures, expiry, the trim of the log.
 */
#include "server/shard_turn.h"

#include "engine/space/demote.h"
#include "engine/space/expire.h"
#include "engine/space/flush.h"
#include "engine/space/keymerge.h"
#include "engine/space/resident.h"
#include "engine/store/store.h"

#include "server/blocked.h"
#include "server/config.h"
#include "server/group_shard.h"
#include "server/node.h"
#include "server/notify.h"
#include "server/pubsub.h"
#include "server/shard.h"
#include "server/stream.h"
#include "server/tracking.h"
#include "server/unblock.h"

/* The timer of a shard. */
#define CRON_MS 10
/* Time of one slice of demotion. */
#define DEMOTE_SLICE_NS 100000
/* And for freeing what was deleted, unless memory is short. */
#define REAP_SLICE_NS 500000
/* Keys that one run of the timer reclaims at most. */
#define EXPIRE_KEYS_MAX 2000
/* The same when cold keys have come from flash for a command. */
#define EXPIRE_READ_KEYS_MAX 16
/* Every so many runs of the timer: a look for expired cold keys. */
#define EXPIRE_COLD_CRONS 50
/* Bytes of one batch for the store: a quarter of what waits, within these and a share of DRAM. */
#define FLUSH_BATCH_BYTES_MIN  (256u << 10)
#define FLUSH_BATCH_BYTES_MAX  (8u << 20)
#define FLUSH_BATCH_DRAM_SHARE 64
/* After a slice of demotion that freed nothing, unless a batch is written before. */
#define DEMOTE_REST_MS 10
/*
 * The part of the log that a restart replays is kept below this, of all shards together, but for
 * what is in the write buffers of the store: what replays within two seconds, and does not fill
 * DRAM. Bytes, and parts of maxmemory.
 */
#define LOG_TAIL_BYTES_MAX  (256u << 20)
#define LOG_TAIL_BYTES_MIN  (4u << 20)
#define LOG_TAIL_DRAM_SHARE 4
/* What the store has, too, but would lose in a crash may be so many times as long. */
#define LOG_TAILS_MAX 2
/* Rows that wait longer than this are written even without need. Milliseconds. */
#define FLUSH_IDLE_MS 2000

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
    ks_flush_give_up(sh->ks);
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

static uint64_t log_tail_bytes(const struct shard *sh)
{
    const uint64_t dram = sh->cfg->maxmemory;
    const uint64_t all =
        dram == 0 ? LOG_TAIL_BYTES_MAX : u64_min(dram / LOG_TAIL_DRAM_SHARE, LOG_TAIL_BYTES_MAX);

    return flash_log_tail_bytes(sh->node,
                                u64_max(all / sh->node->shards_count, LOG_TAIL_BYTES_MIN));
}

/* Whether the store should be given rows now. */
static bool flush_due(const struct shard *sh)
{
    if (node_wants_flush(sh))
        return true;
    if (sh->log_bytes_since_covered > log_tail_bytes(sh) || save_wants_flush(sh) ||
        flash_level(&sh->node->flash) != FLASH_FREE)
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
    const bool may = !sh->flushing && !sh->stopping && !sh->mend.ailing && !sh->fenced;

    if (may && !ks_flush_busy(sh->ks) && ks_flush_needed(sh->ks) && flush_due(sh))
        (void)ks_flush_start(sh->ks, flush_batch_bytes(sh), reactor_now_ms(sh->reactor));
    if (!ks_flush_building(sh->ks))
        return;
    shard_note_position(sh);
    if (ks_flush_step(sh->ks))
        ks_flush_on_durable(sh->ks, oplog_durable_lsn(sh->log));
    else
        reactor_wake(sh->reactor); /* The next slice. */
}

/* One slice; a rest after one that came to nothing, until there is something clean again. */
static void demote(struct shard *sh, uint64_t overshoot)
{
    const uint64_t now_ms = reactor_now_ms(sh->reactor);
    /* Keys that reads bring are clean, too. */
    const uint64_t cleaned = ks_metrics(sh->ks)->flushes + ks_metrics(sh->ks)->promotions;

    if (sh->demote_cleaned == cleaned && now_ms < sh->demote_idle_ms)
        return;
    if (ks_demote_some(sh->ks, overshoot / sh->node->shards_count + 4096, DEMOTE_SLICE_NS)) {
        reactor_wake(sh->reactor);
        return;
    }
    sh->demote_cleaned = cleaned;
    sh->demote_idle_ms = now_ms + DEMOTE_REST_MS;
}

static void housekeep(struct shard *sh)
{
    const uint64_t overshoot = node_overshoot(sh);

    if (unlikely(ks_reap_some(sh->ks, REAP_SLICE_NS)))
        reactor_wake(sh->reactor);
    if (overshoot != 0 && !sh->stopping)
        demote(sh, overshoot);
    write_back(sh);
    evict_step(sh);
    node_pace(sh);
}

/* What other shards may read of this one at any time. */
static void publish(struct shard *sh)
{
    atomic_store_explicit(&sh->published.keys, ks_count(sh->ks), memory_order_relaxed);
    atomic_store_explicit(&sh->published.bytes, ks_bytes(sh->ks), memory_order_relaxed);
    atomic_store_explicit(&sh->published.changes, mut_changes(sh->mut), memory_order_relaxed);
    atomic_store_explicit(&sh->published.appended, oplog_metrics(sh->log)->bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&sh->published.progress, node_progress(sh), memory_order_relaxed);
    atomic_store_explicit(&sh->published.hot_bytes, ks_hot_bytes(sh->ks), memory_order_relaxed);
    atomic_store_explicit(&sh->published.writing, ks_flush_needed(sh->ks), memory_order_relaxed);
}

uint64_t shard_keys(const struct shard *sh)
{
    return atomic_load_explicit(&sh->published.keys, memory_order_relaxed);
}

void shard_turn(void *ctx)
{
    struct shard *sh = ctx;

    retry_all(sh);
    if (unlikely(ks_metrics(sh->ks)->expired_reads != sh->expired_reads))
        shard_expire_read(sh);
    if (unlikely(sh->routes))
        forward_send_staged(sh);
    if (unlikely(sh->group != NULL))
        group_shard_turn(sh->group);
    /* What came from other members, above all. */
    if (unlikely(blocked_any_ready(sh->blocked)))
        unblock_serve(sh);
    if (unlikely(tracking_due(sh->tracking)))
        tracking_turn(sh);
    oplog_turn_end(sh->log);
    if (unlikely(oplog_fenced(sh->log, NULL)) && !sh->fenced)
        give_up_replies(sh);
    send_held(sh);
    send_replies(sh);
    if (unlikely(sh->room.limit != 0))
        client_room_keep(sh);
    if (unlikely(sh->group != NULL))
        group_shard_turn_end(sh->group);
    if (unlikely(sh->routes)) {
        publish(sh);
        forward_turn_end(sh, oplog_applied_lsn(sh->log), safe_lsn(sh));
    }
    housekeep(sh);
    ks_submit_reads(sh->ks);
    sh->stats.last_ns = reactor_now_ns(sh->reactor);
}

/* --- the timer --- */

static void reclaim(void *ctx, const struct ks_key *key)
{
    struct shard *sh = ctx;

    if (mut_check(sh->mut, key->name.len + 64) != 0)
        return;
    mut_begin(sh->mut, shard_now_ms(sh));
    sh->reclaims = true;
    const bool expired = mut_reclaim(sh->mut, key);
    (void)mut_end(sh->mut);
    sh->reclaims = false;
    sh->stats.expired_keys += expired;
    if (!expired)
        return;
    /* In a group nothing was changed, but it is hidden from now on. */
    tracking_touch(sh, sh->tracking, node_bcasts(sh->node), key);
    notify_event(sh, EVENT_EXPIRED, "expired", key->name);
}

/* And those that do not read their messages, or wait for keys and are gone. */
static void close_idle(struct shard *sh)
{
    const uint64_t limit_ms = (uint64_t)sh->cfg->timeout * 1000;
    const uint64_t now_ms = reactor_wall_ms(sh->reactor);

    LIST_FOR_EACH_SAFE(link, &sh->conns) {
        struct conn *c = LIST_ITEM(link, struct conn, link);
        pubsub_check_limit(c);
        if (limit_ms != 0 && !c->closed && !c->parked && !forward_pending(c) &&
            !pubsub_listens(c) && now_ms - c->active_ms > limit_ms)
            conn_close(c);
        if (!c->closed)
            conn_look_for_end(c);
    }
}

/* Of the log more than that waits for the store to become persistent: flash_relief_step. */
static bool log_is_long(struct shard *sh, uint64_t bytes)
{
    struct flash_relief *r = &sh->relief;

    if (sh->persisted_lsn != r->log_seen_lsn) {
        r->log_seen_lsn = sh->persisted_lsn;
        r->log_seen = bytes;
    }
    return bytes - r->log_seen > LOG_TAILS_MAX * log_tail_bytes(sh);
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
    sh->relief.log_long = log_is_long(sh, bytes);
    sh->log_bytes_since_covered = ks_flush_needed(sh->ks) ? bytes - sh->covered_bytes_before : 0;
    const uint64_t needed = sh->group != NULL ? group_shard_trim_lsn(sh->group) : UINT64_MAX;
    if (sh->persisted_lsn > 1)
        (void)oplog_trim(sh->log, u64_min(sh->persisted_lsn, needed));
}

static bool may_reclaim(const struct shard *sh)
{
    return !oplog_fenced(sh->log, NULL) && !shard_paused(sh);
}

static bool may_expire(const struct shard *sh)
{
    return may_reclaim(sh) && !sh->no_active_expire;
}

/* What was read may have been found expired: it is gone now, as with Redis. */
void shard_expire_read(struct shard *sh)
{
    if (may_reclaim(sh))
        (void)ks_expire_some(sh->ks, shard_now_ms(sh), EXPIRE_READ_KEYS_MAX, reclaim, sh);
    sh->expired_reads = ks_metrics(sh->ks)->expired_reads;
}

static void on_unpaused(struct mail *mail)
{
    struct shard *sh = container_of(mail, struct shard, unpaused);

    sh->unpaused.fn = NULL;
    if (!sh->stopping && may_expire(sh))
        (void)ks_expire_some(sh->ks, shard_now_ms(sh), EXPIRE_KEYS_MAX, reclaim, sh);
}

void shard_expire_soon(struct shard *sh)
{
    if (sh->unpaused.fn != NULL)
        return;
    sh->unpaused.fn = on_unpaused;
    mailbox_post(&sh->mailbox, &sh->unpaused);
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
    shortage_follow(sh, now_ms);
    if (sh->id == 0)
        node_measure(sh->node, now_ms);
    else
        node_press(sh);
    evict_follow(sh);
    client_room_follow(sh);
    mend_step(sh);
    save_step(sh);
    if (sh->group != NULL)
        group_shard_tick(sh->group);
    if (may_expire(sh)) {
        (void)ks_expire_some(sh->ks, shard_now_ms(sh), EXPIRE_KEYS_MAX, reclaim, sh);
        if (sh->cron_count % EXPIRE_COLD_CRONS == 0 && !sh->flushing && !sh->mend.ailing)
            ks_expire_look_cold(sh->ks, shard_now_ms(sh), reclaim, sh);
    }
    if (sh->cron_count % 10 == 0) {
        ks_keys_set_due(sh->ks, (uint64_t)sh->cfg->key_checkpoint_changes);
        if (!sh->flushing && !sh->mend.ailing)
            ks_keys_step(sh->ks, now_ms);
        shard_note_position(sh);
        look_after_log(sh);
        flash_relief_step(sh);
        stream_look(sh);
        if (sh->id != 0)
            flash_publish(sh);
        stats_sample(&sh->stats, now_ms);
    }
    if (sh->cron_count % 100 == 0) {
        close_idle(sh);
        client_room_count_all(sh);
        shard_look_persisted(sh);
        ks_demote_age(sh->ks);
    }
    reactor_timer_start(sh->reactor, &sh->cron, now_ms + CRON_MS, on_cron);
}

void shard_turn_start_timer(struct shard *sh)
{
    reactor_timer_start(sh->reactor, &sh->cron, reactor_now_ms(sh->reactor) + CRON_MS, on_cron);
}

/* --- the persisted position --- */

/* The persisted covered position is read in the background; it decides what the log may drop. */
static void read_persisted(void *ctx, struct pool_job **jobs, uint32_t n)
{
    struct shard *sh = ctx;
    uint64_t lsn = 0;

    (void)jobs;
    (void)n;
    buf_clear(&sh->persisted_note);
    if (store_covered(sh->store, true, &lsn, &sh->persisted_note) == 0)
        sh->persisted_found = lsn;
    else
        buf_clear(&sh->persisted_note);
    mend_look(sh);
}

static void on_persisted(struct mail *mail)
{
    struct shard *sh =
        container_of(container_of(mail, struct pool_job, mail), struct shard, persisted_job);

    sh->persisted_busy = false;
    sh->persisted_lsn = sh->persisted_found;
    if (sh->group != NULL && sh->persisted_note.len != 0)
        group_shard_covered(sh->group, sh->persisted_lsn, buf_bytes(&sh->persisted_note));
}

void shard_look_persisted(struct shard *sh)
{
    if (sh->persisted_busy)
        return;
    sh->persisted_busy = true;
    pool_submit(&sh->persisted_class, &sh->persisted_job);
}

void shard_turn_init(struct shard *sh)
{
    sh->persisted_class = (struct pool_class){.name = "covered",
                                              .priority = POOL_BACKGROUND,
                                              .batch_max = 1,
                                              .run_batch = read_persisted,
                                              .ctx = sh};
    buf_init(&sh->persisted_note, REPLICA_NOTE_BYTES_MAX);
    pool_add_class(sh->maintainer, &sh->persisted_class);
    sh->persisted_job = (struct pool_job){.mail = {.fn = on_persisted}, .reply_to = &sh->mailbox};
}
