/* One shard of a member: inputs, questions, and what the core asks of its host. */
#include "replication/replica.h"

#include <errno.h>
#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/log.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/space/flush.h"
#include "engine/space/group.h"
#include "engine/value/op.h"

#include "replication/apply.h"
#include "replication/mutate.h"
#include "replication/oplog.h"
#include "replication/replica_impl.h"

/* Keys with garbage that one turn looks at. */
#define COLLECT_KEYS        16u
#define HORIZONS_MS_DEFAULT 1000u

METRIC_TABLE(replica_metric_descs, REPLICA_METRICS);

/* --- what the core asks; none of these may call it --- */

static void host_send(void *ctx, uint8_t peer, struct bytes frame)
{
    const struct replica *r = ctx;

    r->options.host->send(r->options.ctx, peer, frame);
}

static void host_close(void *ctx, uint8_t peer)
{
    const struct replica *r = ctx;

    r->options.host->close(r->options.ctx, peer);
}

static void host_event(void *ctx, const struct core_event *event)
{
    const struct replica *r = ctx;

    r->options.host->event(r->options.ctx, event);
}

static int refuse(struct replica *r, const struct batch *batch, int err)
{
    r->metrics.refused_batches++;
    LOG_EVERY_MS(10000, LOG_LEVEL_ERROR, "replica",
                 "a batch cannot be applied here shard=%u origin=%u seq=%llu err=\"%s\"",
                 r->options.shard, batch->origin, (unsigned long long)batch->seq, err_str(err));
    return err;
}

static int host_can_apply(void *ctx, const struct batch *batch, struct bytes bytes)
{
    struct replica *r = ctx;

    if (replica_flush_due(r))
        return -ERR_BUSY;
    int err = mut_check_remote(r->options.mut, bytes.len);
    if (err == -ERR_LIMIT)
        return refuse(r, batch, err);
    const char *why = replica_no_room_for_batch(r, bytes.len);
    if (err != 0 || why != NULL || r->stopping) {
        r->metrics.waits_for_room++;
        return -ERR_BUSY;
    }
    err = apply_check(r->options.mut, batch);
    if (err == 0)
        return 0;
    if (err == -ENOMEM)
        return -ERR_BUSY;
    /* The core gives them in order: what it and the log think of that must be the same. */
    return refuse(r, batch, err == APPLY_KNOWN || err == -ERR_RANGE ? -ERR_CORRUPT : err);
}

static uint64_t host_apply(void *ctx, const struct batch *batch, struct bytes bytes)
{
    struct replica *r = ctx;
    const uint64_t lsn = apply_checked(r->options.mut, batch, bytes);

    r->metrics.applied_batches++;
    r->metrics.applied_bytes += bytes.len;
    replica_log_note(r, lsn, bytes.len);
    return lsn;
}

static void host_flush(void *ctx, uint32_t flush)
{
    struct replica *r = ctx;

    r->flush_wanted = flush;
    r->empty_retry_ms = 0;
    replica_take_flushed(r);
}

static void host_fetch(void *ctx, const struct core_fetch *fetch)
{
    replica_log_fetch(ctx, fetch);
}

static void host_sync_open(void *ctx, uint8_t peer, uint32_t id)
{
    replica_give_open(ctx, peer, id);
}

static void host_sync_read(void *ctx, uint8_t peer, const struct wire_sync_ask *ask,
                           size_t bytes_max)
{
    replica_give_read(ctx, peer, ask, bytes_max);
}

static void host_sync_close(void *ctx, uint8_t peer)
{
    replica_give_close(ctx, peer);
}

static void host_sync_begin(void *ctx)
{
    replica_take_aside(ctx);
}

static void host_sync_sum(void *ctx, uint16_t first)
{
    replica_take_sum(ctx, first);
}

static void host_sync_put(void *ctx, struct wire_sync_rows *rows)
{
    replica_take_rows(ctx, rows);
}

static void host_sync_finish(void *ctx, const struct posv *at, const struct posv *newest,
                             bool joins)
{
    replica_take_finish(ctx, at, newest, joins);
}

static const struct core_host core_host = {.send = host_send,
                                           .close = host_close,
                                           .can_apply = host_can_apply,
                                           .apply = host_apply,
                                           .flush = host_flush,
                                           .fetch = host_fetch,
                                           .event = host_event,
                                           .sync_open = host_sync_open,
                                           .sync_read = host_sync_read,
                                           .sync_close = host_sync_close,
                                           .sync_begin = host_sync_begin,
                                           .sync_sum = host_sync_sum,
                                           .sync_put = host_sync_put,
                                           .sync_finish = host_sync_finish};

/* --- life --- */

static void create_core(struct replica *r)
{
    const struct replica_options *o = &r->options;
    const struct replica_state *state = o->state;
    struct core_options options = {0};

    if (o->limits != NULL)
        options = *o->limits;
    options.origin = o->origin;
    options.shard = o->shard;
    options.incarnation = o->incarnation;
    memcpy(options.group_id, o->group_id, WIRE_GROUP_ID_BYTES);
    options.flush = state->note.flush;
    options.resync = o->host->set_aside != NULL;
    options.sync_id = (uint32_t)rng_u64(o->rng);
    options.recovered = state->applied;
    options.recovered_lsn = state->lsn;
    options.acked = state->note.acked;
    options.newest = state->note.newest;
    options.covered = state->note.covered;
    options.covered_lsn = state->note.covered_lsn;
    core_create(&options, &core_host, r, &r->core);
}

int replica_create(const struct replica_options *options, struct replica **out, char *why,
                   size_t why_len)
{
    CHECK(options->origin != 0 && !options->state->note.copying);
    int err = replica_check_origins(options->state, options->members, why, why_len);
    if (err != 0)
        return err;
    struct replica *r = mem_zalloc(sizeof(*r));
    r->options = *options;
    r->flush = r->flush_wanted = options->state->note.flush;
    r->durable_lsn = options->state->lsn;
    posv_copy(&r->newest, &options->state->note.newest);
    err = replica_lease_open(r, why, why_len);
    if (err != 0) {
        replica_lease_close(r);
        mem_free(r);
        return err;
    }
    mut_start_clock(options->mut, r->lease.hlc, rng_u64(options->rng));
    replica_log_init(r);
    replica_give_init(r);
    replica_take_init(r);
    replica_sums_init(r);
    create_core(r);
    replica_note_changed(r);
    r->options.state = NULL; /* It was copied. */
    r->options.members = NULL;
    *out = r;
    return 0;
}

bool replica_stop(struct replica *r)
{
    if (!r->stopping)
        replica_note_changed(r); /* What is written from now on is the last for some time. */
    r->stopping = true;
    replica_log_stop(r);
    (void)replica_give_close_all(r);
    return r->jobs == 0;
}

void replica_destroy(struct replica *r)
{
    if (r == NULL)
        return;
    CHECK(r->stopping && r->jobs == 0);
    core_destroy(r->core);
    replica_log_deinit(r);
    replica_give_deinit(r);
    replica_take_deinit(r);
    replica_sums_deinit(r);
    replica_lease_close(r);
    mem_free(r);
}

/* --- time --- */

/* What is garbage by now, and which part of the log nobody needs. */
static void look_at_horizons(struct replica *r)
{
    const uint64_t every_ms =
        r->options.horizons_ms != 0 ? r->options.horizons_ms : HORIZONS_MS_DEFAULT;
    struct core_horizons h;

    /* Without peers nothing would be needed by anybody. */
    if (!r->has_members || r->now_ms - r->horizons_at_ms < every_ms || core_syncing(r->core))
        return;
    r->horizons_at_ms = r->now_ms;
    replica_note_changed(r); /* With what peers acknowledged; then what follows from that. */
    core_horizons(r->core, &h);
    r->trim_lsn = h.trim_lsn;
    const struct row_horizons rows = {
        .stable = &h.stable, .lst = h.lst, .now_ms = mut_now_ms(r->options.mut, r->clock_ms)};
    ks_group_set_horizons(r->options.ks, &rows);
}

void replica_tick(struct replica *r, uint64_t mono_ms, uint64_t wall_ms)
{
    r->now_ms = mono_ms;
    if (r->stopping)
        return;
    replica_room_tick(r);
    const struct core_time time = {
        .mono_ms = mono_ms, .wall_ms = wall_ms, .hlc = replica_lease_hlc(r)};
    core_tick(r->core, &time);
    /* Whatever others take for heard is before what is written here. */
    if (unlikely(!core_has_begun(r->core)))
        mut_observe(r->options.mut, core_promised_hlc(r->core));
    r->clock_ms = core_clock_ms(r->core, mono_ms, wall_ms);
    /* An idle member's promise goes on with its clock: not before the core has looked at that. */
    if (core_clock_promises(r->core)) {
        mut_observe(r->options.mut, r->clock_ms << 16);
        replica_lease_tick(r);
    }
    replica_log_tick(r);
    replica_take_tick(r);
    replica_sums_tick(r);
    look_at_horizons(r);
}

/* The keys go, when all that the new store covers is durable and nothing is open on the old one. */
static void empty(struct replica *r)
{
    const struct replica_options *o = &r->options;
    const uint64_t lsn = oplog_applied_lsn(o->log);
    uint8_t note[REPLICA_NOTE_BYTES_MAX];
    struct store *store = NULL;
    const uint32_t flush = r->flush;

    if (oplog_durable_lsn(o->log) < lsn) {
        oplog_request_sync(o->log);
        return;
    }
    if (r->now_ms < r->empty_retry_ms || !replica_take_idle(r) || !replica_sums_idle(r) ||
        !replica_give_close_all(r))
        return;
    r->flush = r->flush_wanted;
    if (r->take.kept != NULL)
        r->take.copying = false; /* What one has oneself is emptied, too. */
    const size_t len = replica_covered_store(r, mut_vv(o->mut), apply_seqs(o->mut), note);
    ks_flush_point(o->ks, lsn, mut_vv(o->mut)); /* No batch after that covers less. */
    const int err = o->host->empty(o->ctx, lsn, bytes_of(note, len), &store);
    if (err != 0) {
        r->flush = flush;
        if (err != -ERR_BUSY)
            r->empty_retry_ms = r->now_ms + REPLICA_RETRY_MS;
        return;
    }
    r->options.store = store;
    r->take.kept = NULL;
    r->take.has_rows = false;
    mut_set_flush(o->mut, r->flush);
    replica_note_changed(r);
    r->metrics.flushes++;
}

void replica_turn(struct replica *r)
{
    if (r->stopping)
        return;
    if (replica_flush_due(r)) {
        empty(r);
        return;
    }
    if (r->take.aside_due) {
        replica_take_set_aside(r);
        return;
    }
    if (core_syncing(r->core))
        return;
    if (ks_group_unsettled(r->options.ks) != 0)
        (void)ks_group_step(r->options.ks);
    (void)ks_group_collect_some(r->options.ks, COLLECT_KEYS);
}

/* --- inputs --- */

void replica_logged(struct replica *r, uint64_t lsn, const struct batch *batch, struct bytes bytes)
{
    const struct core_record record = {.seq = batch->seq, .hlc = batch->hlc, .bytes = bytes};

    CHECK(!replica_flush_due(r));
    core_logged(r->core, lsn, &record);
    replica_log_note(r, lsn, bytes.len);
}

void replica_durable(struct replica *r, uint64_t lsn)
{
    r->durable_lsn = lsn;
    core_durable(r->core, lsn);
}

int replica_covered(struct replica *r, uint64_t lsn, struct bytes covered)
{
    struct replica_note note;

    const int err = replica_note_parse(covered, &note);
    /* The store can be a step ahead of what on_durable has told. */
    if (err != 0 || lsn > r->durable_lsn || core_syncing(r->core))
        return err;
    core_covered(r->core, lsn, &note.covered);
    if (r->newest.count != 0 && posv_leq(&r->newest, &note.covered)) {
        posv_init(&r->newest);
        replica_note_changed(r);
    }
    return 0;
}

void replica_set_members(struct replica *r, const struct members *members)
{
    r->has_members = true;
    core_set_members(r->core, members);
    /* Also where it makes this member active. */
    mut_observe(r->options.mut, core_promised_hlc(r->core));
}

void replica_join(struct replica *r)
{
    if (vv_empty(mut_vv(r->options.mut)) && !core_syncing(r->core))
        replica_take_begin(r);
}

void replica_set_retention(struct replica *r, uint64_t bytes, uint64_t ms)
{
    core_set_retention(r->core, bytes, ms);
}

void replica_freeze(struct replica *r, uint8_t origin)
{
    core_freeze(r->core, origin);
}

bool replica_frozen(const struct replica *r, uint8_t origin, struct pos *out)
{
    return core_frozen(r->core, origin, out);
}

void replica_flush(struct replica *r, uint32_t epoch)
{
    core_flush(r->core, epoch);
}

void replica_link_up(struct replica *r, uint8_t origin)
{
    core_link_up(r->core, origin);
}

void replica_link_down(struct replica *r, uint8_t origin)
{
    core_link_down(r->core, origin);
}

void replica_receive(struct replica *r, uint8_t origin, struct bytes frame)
{
    core_receive(r->core, origin, frame);
}

bool replica_release_store(struct replica *r)
{
    const bool closed = replica_give_close_all(r);

    return closed && replica_take_idle(r) && replica_sums_idle(r);
}

/* --- questions --- */

const char *replica_may_read(const struct replica *r)
{
    if (replica_flush_due(r))
        return "the group is being emptied";
    return core_syncing(r->core) ? "a copy of the group's data is being made here" : NULL;
}

const char *replica_may_write(const struct replica *r)
{
    if (r->stopping)
        return "the node is shutting down";
    if (replica_flush_due(r))
        return "the group is being emptied";
    switch (core_may_write(r->core)) {
    case CORE_WRITE_OK:
        return NULL;
    case CORE_WRITE_JOINING:
        return "this member does not have all data of the group yet";
    case CORE_WRITE_OWN_LOST:
        return "writes of this member that it has lost are being fetched from its peers";
    case CORE_WRITE_RESYNC:
        if (replica_take_is_stuck(r))
            return "rows of this member cannot be read from its disk, so that what it missed is "
                   "not joined to them: see the log of the server";
        return "this member was away for too long; what it missed is being copied from a peer";
    case CORE_WRITE_FORKED:
        return "the history of this member differs from what its peers have: delete and recreate "
               "it";
    case CORE_WRITE_ASKING:
        return "this member has just started and asks its peers whether it is as they know it";
    case CORE_WRITE_WENT_BACK:
        return "this member has lost what it had acknowledged to its peers (an older copy of its "
               "data directory?)";
    case CORE_WRITE_CLOCK:
        return "this node was down for a while, and no peer has confirmed its clock yet; it goes "
               "on within seconds";
    case CORE_WRITE_SKEW:
    default:
        return "the clock of this member differs too much from those of its peers";
    }
}

bool replica_asks(const struct replica *r)
{
    return core_may_write(r->core) == CORE_WRITE_ASKING;
}

bool replica_may_link(const struct replica *r, uint8_t origin)
{
    return !r->stopping && core_may_link(r->core, origin);
}

uint64_t replica_clock_ms(const struct replica *r, uint64_t mono_ms, uint64_t wall_ms)
{
    return core_clock_ms(r->core, mono_ms, wall_ms);
}

void replica_position(const struct replica *r, struct posv *out)
{
    core_position(r->core, out);
}

bool replica_synced(const struct replica *r)
{
    struct posv applied;

    core_position(r->core, &applied);
    return !core_syncing(r->core) && !replica_flush_due(r) && core_clock_known(r->core) &&
           posv_leq(&r->newest, &applied);
}

bool replica_drained(const struct replica *r, uint64_t *out_seq)
{
    struct posv applied;

    core_position(r->core, &applied);
    *out_seq = posv_get(&applied, r->options.origin).seq;
    return core_drained(r->core);
}

uint32_t replica_flush_epoch(const struct replica *r)
{
    return r->flush;
}

uint64_t replica_trim_lsn(const struct replica *r)
{
    return r->trim_lsn;
}

bool replica_peer_info(const struct replica *r, uint8_t origin, struct core_peer_info *out)
{
    return core_peer_info(r->core, origin, out);
}

const struct replica_metrics *replica_metrics(const struct replica *r)
{
    return &r->metrics;
}

const struct metric_desc *replica_metric_table(size_t *out_count)
{
    *out_count = ARRAY_COUNT(replica_metric_descs);
    return replica_metric_descs;
}

size_t replica_memory_bytes(const struct replica *r)
{
    return sizeof(*r) + core_memory_bytes(r->core) + replica_log_bytes(r) + replica_give_bytes(r) +
           replica_sums_bytes(r) + replica_take_bytes(r);
}
